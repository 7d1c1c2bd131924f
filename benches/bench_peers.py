"""The exact E-step compared with Python loops, NumPy, PyTorch and JAX; their code is in `peers`.

**What is compared.** The peers are straightforward versions in each library: they sum over all
configurations in log space. fastem's side is its internal E-step, planned once and run many times.
It splits the sum into three matrix products: the comparison includes the effect of the algorithm.
Both sides compute in float64 in one process. A benchmark fails unless the log-likelihoods of all
rows and all gradients agree, to 1e-9 of the largest entry of each array. ``differs`` is the largest
of these relative differences. The two sides run alternately, after a first run that compiles.

**Threads.** fastem uses as many threads as a fit. PyTorch uses as many or one, whichever is faster
in a trial. NumPy's BLAS uses one: its products have one short side, and several threads would
mostly wait for each other. XLA has its own pool with one thread per core. The loops use one thread.

**Figures.** ``ms`` are minimum times. ``times_fastem`` is the ratio of the minimum times, and
``by_medians`` the ratio of the medians. If the two ratios differ much, other programs were using
the machine.

PyTorch and JAX are installed by ``pip install '.[peers]'``.
"""

import statistics
import time
from contextlib import contextmanager

import numpy as np
import peers
import pytest
from measure import best_seconds
from problems import e_step_problem
from threadpoolctl import threadpool_limits

from fastem import Enumeration
from fastem.runtime import effective_n_jobs

_TOLERANCE = 1e-9
_SECONDS = 1.5  # total time of the rounds of a peer; there are at least 3 rounds
_SETTLING_SECONDS = 0.05
_THREADS = effective_n_jobs(None)

_SIZES = {
    (90, 7, 3): ["loops", "numpy", "torch", "jax"],
    (1000, 10, 3): ["numpy", "torch", "jax"],
    (1000, 14, 3): ["numpy", "torch", "jax"],
    (2000, 16, 3): ["numpy", "torch", "jax"],
}
_SMOKE = (90, 7, 3), "numpy"


def _rows():
    for size, names in _SIZES.items():
        for name in names:
            label = "n={}-m={}-g={}-".format(*size) + name
            yield pytest.param(size, name, id=label + "-smoke" * ((size, name) == _SMOKE))


def _prepare(name, problem):
    """Return the E-step of a peer; skip the benchmark if the library is not installed."""
    if name in ("torch", "jax"):
        reason = f"{name} is not installed: pip install '.[peers]'"
        pytest.importorskip(name, reason=reason, exc_type=ImportError)
    return peers.PREPARE[name](problem)


@contextmanager
def _threads(name, n_threads):
    """Limit the number of threads of PyTorch or BLAS within the context."""
    if name == "torch":
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
    else:
        with threadpool_limits(limits=n_threads, user_api="blas"):
            yield


def _faster_threads(name, e_step):
    """Return the faster number of threads of a peer, and its time (s) with this number."""
    candidates = {"torch": {1, _THREADS}, "jax": {_THREADS}}.get(name, {1})
    trials = []
    for n_threads in candidates:
        with _threads(name, n_threads):
            trials.append((best_seconds(e_step, 1), n_threads))
    seconds, n_threads = min(trials)
    return n_threads, seconds


def _gradients(statistics):
    """Copy the results of a plan into the format of the peers."""
    *W, b = statistics.hidden[0].gradient.copy()
    *V, c = statistics.output_gradient.copy()
    return peers.Gradients(statistics.log_likelihood.copy(), np.array(W), b, np.array(V), c)


def _largest_difference(theirs, ours):
    """Return the largest difference, relative to the largest entry of the same array."""
    differences = [
        np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(theirs, ours, strict=True)
    ]
    assert max(differences) <= _TOLERANCE, dict(zip(ours._fields, differences, strict=True))
    return float(max(differences))


@pytest.mark.benchmark(group="e_step: peers")
@pytest.mark.parametrize(("size", "name"), list(_rows()))
def bench_peers(benchmark, record, size, name):
    problem = e_step_problem(*size)
    e_step = _prepare(name, problem)
    plan = Enumeration().plan(problem.rows, problem.shape, _THREADS)
    seconds = []

    def run_fastem():
        time.sleep(_SETTLING_SECONDS)  # threads of the other side are still busy-waiting
        end = time.perf_counter() + _SETTLING_SECONDS
        while time.perf_counter() < end:
            seconds.append(best_seconds(lambda: plan.expect(problem.parameters), 1))

    with _threads(name, 1):
        difference = _largest_difference(e_step(), _gradients(plan.expect(problem.parameters)))
    n_threads, trial = _faster_threads(name, e_step)
    with _threads(name, n_threads):
        turns = int(np.clip(_SECONDS / trial, 3, 10))
        benchmark.pedantic(e_step, setup=run_fastem, rounds=turns)
    least, least_fastem = benchmark.stats["min"], min(seconds)
    median, median_fastem = benchmark.stats["median"], statistics.median(seconds)
    record(
        n=size[0],
        m=size[1],
        g=size[2],
        threads_fastem=_THREADS,
        threads=n_threads,
        ms=1e3 * least,
        ms_fastem=1e3 * least_fastem,
        times_fastem=least / least_fastem,
        by_medians=median / median_fastem,
        differs=difference,
    )
