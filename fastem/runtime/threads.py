"""Threads: the only module of the package that uses them.

Kernels release the GIL and work on a numbered piece of a problem. `run` distributes the
numbers over the threads of one pool that the package owns. No Numba threading layer is
used: it aborts the process when two Python threads enter it at once, or after a fork.
Results must not depend on the number of threads. Pieces are therefore cut by the size of
the data only, and their results are added up in the order of their numbers.
"""

import itertools
import numbers
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import joblib
import scipy.linalg  # noqa: F401  loads the BLAS that compiled kernels call, to be limited
import threadpoolctl

# BLAS libraries compute products of at most this many multiplications on the calling thread.
_MOST_SERIAL_MULTIPLICATIONS = 2**18
# Waking threads takes 20 to 90 microseconds. The calling thread does shorter work alone.
_SERIAL_SECONDS = 5e-4


class _State:
    """State that must be created anew in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pool: ThreadPoolExecutor | None = None
        self.pool_size = 0
        self.inside = threading.local()
        self.blas_users = 0
        self.blas: list[threadpoolctl.LibController] | None = None
        self.blas_threads: list[int | None] = []


_state = _State()


def _forget() -> None:
    global _state
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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
        At least 1.

    Raises
    ------
    ValueError
        If ``n_jobs`` is zero or not an integer.
    """
    cores = _cores()
    if n_jobs is None:
        for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
            value = os.environ.get(name, "").split(",")[0].strip()  # OpenMP allows a list
            if value.isdecimal() and int(value) > 0:
                cores = min(cores, int(value))
        return max(cores, 1)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}.")
    n_jobs = int(n_jobs)
    return n_jobs if n_jobs > 0 else max(cores + 1 + n_jobs, 1)


@cache
def _limit_of_cores() -> int:
    """Return the cores that the limits of containers leave to this process, read once."""
    return joblib.cpu_count()


def _cores() -> int:
    """Return the number of cores that this process may use now."""
    if hasattr(os, "sched_getaffinity"):
        return min(_limit_of_cores(), len(os.sched_getaffinity(0)))
    return _limit_of_cores()


def worth_sharing(seconds: float) -> bool:
    """Return whether work takes longer than waking threads for it."""
    return seconds > _SERIAL_SECONDS


def threads_worth(seconds: float, n_threads: int) -> int:
    """Return ``n_threads``, or 1 if the work takes less time than waking the threads."""
    return n_threads if worth_sharing(seconds) else 1


def _take_blas_control() -> None:
    """Let the calling thread set BLAS limits.

    threadpoolctl 3.8 ignores limits from every thread except the first that has set one. Our limit
    must hold in any thread. The limits of others are restored afterwards.
    """
    controller = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread(force=True)


def blas_for(n_multiplications: int) -> AbstractContextManager:
    """Return `single_threaded_blas`, or a context that does nothing if all products are small.

    Parameters
    ----------
    n_multiplications : int
        Of the largest matrix product. OpenBLAS shares products of more than ``2**18``
        multiplications among threads.
    """
    if n_multiplications <= _MOST_SERIAL_MULTIPLICATIONS:
        return nullcontext()
    return single_threaded_blas()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread, because the package's own threads call it in parallel.

    The limit is global to the process. Its users are counted: if two threads fit at once, the first
    one sets the limit and the last one restores the earlier limits.
    """
    state = _state
    with state.lock:
        if state.blas_users == 0:
            _limit_blas(state)
        state.blas_users += 1
    try:
        yield
    finally:
        with state.lock:
            state.blas_users -= 1
            if state.blas_users == 0:
                _set_blas_threads(state, state.blas_threads)


def _limit_blas(state: _State) -> None:
    """Store the numbers of threads of all BLAS libraries, and set them to one.

    `threadpoolctl.ThreadpoolController.limit` does the same in four times the time, which is long
    compared with a small E-step.
    """
    if state.blas is None:
        found = threadpoolctl.ThreadpoolController().lib_controllers
        state.blas = [library for library in found if library.user_api == "blas"]
    state.blas_threads = [library.num_threads for library in state.blas]
    _set_blas_threads(state, [1] * len(state.blas))


def _set_blas_threads(state: _State, numbers: list[int | None]) -> None:
    """Set the number of threads of every BLAS library that had more than one before."""
    changed = [
        (library, number)
        for library, number, before in zip(state.blas, numbers, state.blas_threads, strict=True)
        if before not in (1, None)
    ]
    if changed:
        _take_blas_control()
        for library, number in changed:
            library.set_num_threads(number)
        _take_blas_control()


def _pool(size: int) -> ThreadPoolExecutor:
    with _state.lock:
        if _state.pool is None or _state.pool_size < size:
            # The smaller pool is not shut down, because another thread may be about to use it. Its
            # threads end when its last user releases it.
            _state.pool = ThreadPoolExecutor(size, thread_name_prefix="fastem")
            _state.pool_size = size
        return _state.pool


def run(function: Callable[[int, int], None], n_pieces: int, n_threads: int) -> None:
    """Call ``function(piece, worker)`` once for every piece, on up to ``n_threads`` threads.

    Parameters
    ----------
    function : callable
        It gains from threads only if it releases the GIL. ``worker`` is below ``n_threads`` and
        differs between calls that run at the same time: it selects scratch memory.
    n_pieces, n_threads : int
        The calling thread is one of the threads. Pieces run one after the other if there is one
        thread or one piece, or inside another call of `run`.

    Raises
    ------
    BaseException
        The exception of a piece, or ``KeyboardInterrupt``, after all threads have stopped.
    """
    if n_threads <= 1 or n_pieces <= 1 or getattr(_state.inside, "active", False):
        for piece in range(n_pieces):
            function(piece, 0)
        return
    pieces = itertools.count()
    stopped = threading.Event()
    inside = _state.inside

    def work(worker: int) -> None:
        inside.active = True
        try:
            while not stopped.is_set() and (piece := next(pieces)) < n_pieces:
                function(piece, worker)
        except BaseException:
            stopped.set()
            raise
        finally:
            inside.active = False

    n_helpers = min(n_threads, n_pieces) - 1
    pool = _pool(n_helpers)
    futures: list[Future] = []
    try:
        for worker in range(1, n_helpers + 1):
            futures.append(pool.submit(work, worker))
        work(0)
    finally:
        stopped.set()  # every piece is taken, or an exception was raised
        # helpers that have not started may be queued behind another caller's work: cancel them
        futures = [future for future in futures if not future.cancel()]
        _wait_for_all(futures)
    for future in futures:
        future.result()


def _wait_for_all(futures: list[Future]) -> None:
    """Wait, through any Ctrl-C, until no thread uses the caller's arrays any more."""
    interrupt = None
    while True:
        try:
            wait(futures)
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
