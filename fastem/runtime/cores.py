"""How many threads this process may use, alone or as one worker of a pool of processes."""

import multiprocessing
import numbers
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import joblib

# Modules whose pools start processes that work at the same time and set no limits for threads.
_POOLS = ("multiprocessing.pool", "concurrent.futures.process")
_LIMITS = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"


def effective_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads for ``n_jobs``.

    Parameters
    ----------
    n_jobs : int or None
        None for all cores that this process may use, limited by ``NUMBA_NUM_THREADS`` and
        ``OMP_NUM_THREADS`` if they are set; -1 for all cores, -2 for all but one.

    Returns
    -------
    n_threads : int
        At least 1. In a worker of a process pool, at most `share_of_cores`.

    Raises
    ------
    ValueError
        If ``n_jobs`` is zero or not an integer.
    """
    if n_jobs is None:
        return min(share_of_cores(), _limit_of_environment())
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}.")
    n_jobs = int(n_jobs)
    n_threads = n_jobs if n_jobs > 0 else max(cores() + 1 + n_jobs, 1)
    return n_threads if _pool_of_this_process() is None else min(n_threads, share_of_cores())


def share_of_cores() -> int:
    """Return the cores for this process: all, or an equal share in a worker of a process pool.

    joblib's default backend, loky, sets the share of a worker in environment variables. Workers of
    the pools of `multiprocessing` and `concurrent.futures` divide the cores by the number of
    processes that their parent has started. Where this number is unknown, they use one core.
    """
    pool = _pool_of_this_process()
    if pool is None:
        return cores()
    if pool == "loky":
        return min(cores(), _limit_of_environment())
    return max(cores() // max(_n_siblings(), 1), 1)


def blas_threads_of_worker() -> int | None:
    """Return the threads of BLAS for one worker among several; None if this is not a worker.

    loky sets a limit of its own. A worker of another process pool has its share of the cores, a
    worker in a thread of `joblib.Parallel` has one.
    """
    pool = _pool_of_this_process()
    if pool == "loky":
        return None
    if pool is not None:
        return share_of_cores()
    backend, _ = joblib.parallel.get_active_backend()
    return 1 if (backend.nesting_level or 0) > 0 else None


def cores() -> int:
    """Return the number of cores that this process may use now, at least 1."""
    n_cores = _limit_of_cores()
    if hasattr(os, "sched_getaffinity"):
        n_cores = min(n_cores, len(os.sched_getaffinity(0)))
    return max(n_cores, 1)


@cache
def _limit_of_cores() -> int:
    """Return the cores that the limits of containers leave to this process, read once."""
    return joblib.cpu_count()


def _limit_of_environment() -> int:
    """Return the smallest number of threads that an environment variable sets."""
    limits = [cores()]
    for name in _LIMITS:
        value = os.environ.get(name, "").split(",")[0].strip()  # OpenMP allows a list
        if value.isdecimal() and int(value) > 0:
            limits.append(int(value))
    return min(limits)


def _pool_of_this_process() -> str | None:
    """Return the kind of the process pool that this process works for; None if it does not."""
    if multiprocessing.parent_process() is None:
        return None
    process = multiprocessing.current_process()
    if str(getattr(process, "_start_method", "")).startswith("loky"):
        return "loky"
    module = getattr(getattr(process, "_target", None), "__module__", None)
    return module if module in _POOLS else None


def _n_siblings() -> int:
    """Return how many processes the parent of this process has started; all cores if unknown."""
    found = 0
    with suppress(OSError):
        for task in Path(f"/proc/{os.getppid()}/task").iterdir():
            found += len((task / "children").read_text().split())
    return found or cores()
