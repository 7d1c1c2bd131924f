"""The exact E-step compared with loops, NumPy, PyTorch and JAX; their code is in `peers`.

The peers are straightforward versions in each library: they sum over all configurations in log
space. fastem's side is its internal E-step, planned once and run many times. It splits the sum into
three matrix products: the comparison includes the effect of the algorithm.

Both implementations compute the same results, in one process and in float64. A bench fails unless
the log-likelihoods of all rows and all gradients agree to 1e-9 of the largest entry of the array;
``largest_difference`` is the largest of these differences. Both run alternately, after a warm-up.

fastem uses the default number of threads of a fit. PyTorch uses the same number or one,
whichever is faster in a trial. The BLAS of NumPy uses one, because its products are too small
for several. XLA has a thread pool with one thread per core; loops use one thread. ``ms`` and
``ms_fastem`` are minimum times, ``ratio_of_minimum_times`` and ``ratio_of_median_times`` are times
of the peer divided by times of fastem. A large difference between the two ratios indicates
that the machine was busy.

Install PyTorch and JAX with ``pip install '.[peers]'``.
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
_SECONDS = 1.5  # total time of a peer, but at least 3 rounds
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
    """Return the E-step of a peer, or skip the bench if it is not installed."""
    if name in ("torch", "jax"):
        reason = f"{name} is not installed: pip install '.[peers]'"
        pytest.importorskip(name, reason=reason, exc_type=ImportError)
    return peers.PREPARE[name](problem)


@contextmanager
def _threads(name, n_threads):
    """Limit the number of threads of a peer, if it has such a setting."""
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
    """Return the faster number of threads of a peer, and its time."""
    candidates = {"torch": {1, _THREADS}, "jax": {_THREADS}}.get(name, {1})
    trials = []
    for n_threads in candidates:
        with _threads(name, n_threads):
            trials.append((best_seconds(e_step, 1), n_threads))
    seconds, n_threads = min(trials)
    return n_threads, seconds


def _gradients(statistics):
    """Return copies of the results of a plan, as peers return them."""
    *W, b = statistics.hidden[0].gradient.copy()
    *V, c = statistics.output_gradient.copy()
    return peers.Gradients(statistics.log_likelihood.copy(), np.array(W), b, np.array(V), c)


def _largest_difference(theirs, ours):
    """Return the largest difference, relative to the largest entry of its array."""
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
        time.sleep(_SETTLING_SECONDS)  # threads of the peer keep spinning for a while
        end = time.perf_counter() + _SETTLING_SECONDS
        while time.perf_counter() < end:
            seconds.append(best_seconds(lambda: plan.expect(problem.parameters), 1))

    with _threads(name, 1):
        difference = _largest_difference(e_step(), _gradients(plan.expect(problem.parameters)))
    n_threads, trial = _faster_threads(name, e_step)
    with _threads(name, n_threads):
        rounds = int(np.clip(_SECONDS / trial, 3, 10))
        benchmark.pedantic(e_step, setup=run_fastem, rounds=rounds)
    minimum, minimum_fastem = benchmark.stats["min"], min(seconds)
    median, median_fastem = benchmark.stats["median"], statistics.median(seconds)
    record(
        n=size[0],
        m=size[1],
        g=size[2],
        threads_fastem=_THREADS,
        threads=n_threads,
        ms=1e3 * minimum,
        ms_fastem=1e3 * minimum_fastem,
        ratio_of_minimum_times=minimum / minimum_fastem,
        ratio_of_median_times=median / median_fastem,
        largest_difference=difference,
    )
