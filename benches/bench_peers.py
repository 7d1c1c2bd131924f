"""The exact E-step compared with NumPy, PyTorch, JAX, NumPyro and plain loops.

fastem's side is its public call: `fastem.EStep` is prepared once and called many times. The other
libraries compute the same quantities. Their code is in `peers_split`, `peers_log_space` and
`peers_numpyro`. The names end in the form:

- ``split``: the three matrix products of `fastem.Enumeration`, in the fastest form that was found
  for the library. These rows compare implementations.
- ``log``, ``numpyro``, ``loops``: log-sum-exp over all configurations. These rows also show the
  effect of the algorithm.

Both sides use the same number of threads. They run in alternating blocks of calls in one process
(`peers_worker`).
``ms_library`` and ``ms_fastem`` are median times. Ratios are times of the library divided by times
of fastem. ``busy_cores`` is the CPU time of all threads of the process divided by the elapsed time:
it shows how many threads a library uses, and is lower on a busy machine. ``precision`` is that of
the library. Its float32 is compared with the mixed precision of fastem.

A bench fails unless the log-likelihoods of all rows and all gradients agree to 1e-9 (float64) or
1e-4 (float32) of the largest entry of the array; ``largest_difference`` is the largest difference.
The time of the benchmark itself is that of the whole measurement.

Install the libraries with ``pip install '.[peers]'``. Benches of missing libraries are skipped.
"""

import peers
import pytest
from peers_worker import Worker

from fastem.runtime import effective_n_jobs

_ALL_THREADS = effective_n_jobs(None)
_ONE_THREAD_SIZES = (90, 7, 3), (1000, 10, 3), (1000, 14, 3), (2000, 16, 3), (10_000, 16, 3)
_ALL_THREADS_SIZES = (90, 7, 3), (1000, 10, 3), (2000, 16, 3), (10_000, 16, 3)
_SPLIT = [name for name in peers.PREPARE if name.endswith("-split")]
_LOG = [name for name in peers.PREPARE if name.endswith("-log")]
_SMOKE = _ONE_THREAD_SIZES[0], "numpy-split", "float64", 1


def _cases():
    """Yield size, library, precision and number of threads."""
    for precision in ("float64", "float32"):
        for size in _ONE_THREAD_SIZES:
            yield from ((size, name, precision, 1) for name in _SPLIT)
        for size in _ALL_THREADS_SIZES if _ALL_THREADS > 1 else ():
            yield from ((size, name, precision, _ALL_THREADS) for name in _SPLIT)
    for size in _ONE_THREAD_SIZES[:4]:
        yield from ((size, name, "float64", 1) for name in _LOG)
    for size in _ONE_THREAD_SIZES[:2]:
        yield size, "numpyro", "float64", 1
    yield _ONE_THREAD_SIZES[0], "loops", "float64", 1


def _params():
    for case in _cases():
        (n, m, g), name, precision, n_threads = case
        threads = 1 if n_threads == 1 else "all"
        label = f"n={n}-m={m}-g={g}-{name}-{precision}-threads={threads}"
        yield pytest.param(*case, id=label + "-smoke" * (case == _SMOKE))


@pytest.fixture(scope="module")
def worker_with():
    """Return a function that returns the process for a number of threads."""
    workers = {}

    def get(n_threads):
        if n_threads not in workers:
            workers[n_threads] = Worker(n_threads)
        return workers[n_threads]

    yield get
    for worker in workers.values():
        worker.close()


@pytest.mark.benchmark(group="e_step: peers")
@pytest.mark.parametrize(("size", "name", "precision", "n_threads"), list(_params()))
def bench_peers(benchmark, record, worker_with, size, name, precision, n_threads):
    for module in peers.MODULES[name]:
        reason = f"{module} is not installed: pip install '.[peers]'"
        pytest.importorskip(module, reason=reason, exc_type=ImportError)
    worker = worker_with(n_threads)
    record(**benchmark.pedantic(worker.measure, (size, name, precision), rounds=1))
