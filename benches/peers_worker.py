"""Measure E-steps of other libraries and of fastem, alternately in a process of their own.

There is one process per number of threads: XLA takes the size of its thread pool from the
environment when JAX starts. Requests and replies are lines of JSON on the standard input and
output.

Both sides run in blocks of calls. The first call of a block is not counted, because the caches
belong to the other side, unless it is the only call of the block. With several threads there is a
pause between blocks: the threads of a library keep cores busy for a while after their last task.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
from peer_arrays import EStep, Gradients, arrays_of
from problems import EStepProblem, e_step_problem
from threadpoolctl import threadpool_limits

import fastem

_TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
_PRECISIONS = {"float64": "double", "float32": "mixed"}
_BLOCK_SECONDS = 0.15
_ROUNDS, _ROUNDS_OF_SLOW_CALLS, _SLOW_SECONDS = 5, 3, 0.3
_PAUSE_SECONDS = 0.2


class Worker:
    """A process that measures on a number of threads.

    Parameters
    ----------
    n_threads : int
        Threads of both sides.
    """

    def __init__(self, n_threads: int) -> None:
        package_parent = str(Path(fastem.__file__).resolve().parent.parent)
        environment = {**os.environ, "PYTHONPATH": package_parent, "NPROC": str(n_threads)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(n_threads)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, size: tuple[int, int, int], name: str, precision: str) -> dict:
        """Return the figures of `compare`; raise RuntimeError with the error of the process."""
        self._process.stdin.write(json.dumps([size, name, precision]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"error": "the process has ended"}
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def prepare_fastem(problem: EStepProblem, precision: str, n_threads: int) -> EStep:
    """Prepare the public E-step; mixed precision is compared with float32 of the libraries."""
    X, y, weights, W, b, V, c = arrays_of(problem, np.float64)
    oracle = fastem.EStep(
        X,
        y,
        hidden_layer_sizes=problem.shape.first,
        n_classes=problem.shape.n_outputs,
        method=fastem.Enumeration(precision=_PRECISIONS[precision]),
        sample_weight=weights,
        n_jobs=n_threads,
    )

    def e_step() -> Gradients:
        result = oracle([W, V], [b, c])
        (dW, dV), (db, dc) = result.coef_gradients, result.intercept_gradients
        return Gradients(result.log_likelihood, dW, db, dV, dc)

    return e_step


def compare(size: tuple[int, int, int], name: str, precision: str, n_threads: int) -> dict:
    """Measure a library and fastem on a problem; return the figures.

    Raises
    ------
    AssertionError
        If the results differ by more than the tolerance of the precision.
    """
    problem = e_step_problem(*size)
    own = {"n_threads": n_threads} if name.endswith("-split") else {}
    theirs = peers.PREPARE[name](problem, np.dtype(precision).type, **own)
    ours = prepare_fastem(problem, precision, n_threads)
    with threadpool_limits(limits=n_threads, user_api="blas"):
        if "torch" in peers.MODULES[name]:
            import torch

            torch.set_num_threads(n_threads)
        start = time.perf_counter()
        results = theirs()  # compiles
        rounds = _ROUNDS
        if time.perf_counter() - start > _SLOW_SECONDS:
            rounds = _ROUNDS_OF_SLOW_CALLS
        difference = largest_difference(results, ours(), _TOLERANCES[precision])
        theirs, ours = _Side(theirs), _Side(ours)
        for _ in range(rounds):
            for side in (theirs, ours):
                time.sleep(_PAUSE_SECONDS if n_threads > 1 else 0.0)
                side.run_block()
    return {
        "library": name,
        "n": size[0],
        "m": size[1],
        "g": size[2],
        "threads": n_threads,
        "precision": precision,
        "ms_library": 1e3 * statistics.median(theirs.seconds),
        "ms_fastem": 1e3 * statistics.median(ours.seconds),
        "ratio_of_median_times": statistics.median(theirs.seconds)
        / statistics.median(ours.seconds),
        "ratio_of_minimum_times": min(theirs.seconds) / min(ours.seconds),
        "busy_cores": theirs.busy_cores,
        "busy_cores_fastem": ours.busy_cores,
        "largest_difference": difference,
    }


def largest_difference(theirs: Gradients, ours: Gradients, tolerance: float) -> float:
    """Return the largest difference, relative to the largest entry of its array."""
    if theirs.log_likelihood.shape == (1,):
        ours = ours._replace(log_likelihood=ours.log_likelihood.sum(keepdims=True))
    differences = [
        np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(theirs, ours, strict=True)
    ]
    assert max(differences) <= tolerance, dict(zip(ours._fields, differences, strict=True))
    return float(max(differences))


class _Side:
    """One of the two E-steps: the times of its calls, and the CPU time that they took."""

    def __init__(self, e_step: Callable[[], object]) -> None:
        self._e_step = e_step
        self.seconds: list[float] = []
        self._cpu = self._wall = 0.0

    def run_block(self) -> None:
        """Call the E-step for a while, at least once."""
        block, begin, cpu = [], time.perf_counter(), time.process_time()
        end = begin
        while end < begin + _BLOCK_SECONDS:
            start = time.perf_counter()
            self._e_step()
            end = time.perf_counter()
            block.append(end - start)
        self._cpu += time.process_time() - cpu
        self._wall += end - begin
        self.seconds += block[1:] or block

    @property
    def busy_cores(self) -> float:
        """CPU time of all threads of the process divided by the elapsed time."""
        return self._cpu / self._wall


def main(n_threads: int) -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        try:
            reply = compare(*json.loads(line), n_threads)
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
