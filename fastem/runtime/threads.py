"""Threads: the only place of the package that knows them.

Kernels release the GIL and work on a numbered piece of a problem; `run` shares the
numbers among threads of one pool that the package owns. No Numba threading layer is
used: those abort the process when two Python threads meet in one, or after a fork.
What is computed must not depend on who computes it, so pieces are cut by the size of
the data alone and their results are added up in the order of their numbers.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import joblib
import scipy.linalg  # noqa: F401  loads the BLAS that compiled kernels call, to be limited
import threadpoolctl

# Waking threads takes 20 to 90 microseconds, so less than this is done by the caller alone.
_SERIAL_SECONDS = 5e-4


class _State:
    """What has to be made anew in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pool: ThreadPoolExecutor | None = None
        self.pool_size = 0
        self.inside = threading.local()
        self.blas_users = 0
        self.blas_limit = None
        self.controller: threadpoolctl.ThreadpoolController | None = None


_state = _State()


def _forget() -> None:
    global _state
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def effective_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads that ``n_jobs`` stands for.

    Parameters
    ----------
    n_jobs : int or None
        None for all the cores that this process may use, within ``NUMBA_NUM_THREADS`` and
        ``OMP_NUM_THREADS`` where they are set; -1 for all cores, -2 for all but one.

    Returns
    -------
    n_threads : int
        At least 1.

    Raises
    ------
    ValueError
        If ``n_jobs`` is zero or not an integer.
    """
    cores = joblib.cpu_count()
    if n_jobs is None:
        for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
            value = os.environ.get(name, "").split(",")[0].strip()  # OpenMP allows a list
            if value.isdecimal() and int(value) > 0:
                cores = min(cores, int(value))
        return max(cores, 1)
    if isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__") or n_jobs == 0:
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}.")
    n_jobs = int(n_jobs)
    return n_jobs if n_jobs > 0 else max(cores + 1 + n_jobs, 1)


def threads_worth(seconds: float, n_threads: int) -> int:
    """Return ``n_threads``, or 1 where so little work is not worth waking them for."""
    return n_threads if seconds > _SERIAL_SECONDS else 1


def _take_blas_control() -> None:
    """Let the calling thread set BLAS limits.

    threadpoolctl 3.8 ignores limits from any thread but the first that has set one. Ours
    must hold whichever thread asks; others find theirs again when it is gone.
    """
    controller = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread(force=True)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread: the package's own threads call it side by side.

    The limit is global to the process. Users are counted, so that of two threads that fit
    at once the first in sets it and the last out takes it back.
    """
    state = _state
    with state.lock:
        if state.blas_users == 0:
            if state.controller is None:
                state.controller = threadpoolctl.ThreadpoolController()
            _take_blas_control()
            state.blas_limit = state.controller.limit(limits=1, user_api="blas")
        state.blas_users += 1
    try:
        yield
    finally:
        with state.lock:
            state.blas_users -= 1
            if state.blas_users == 0:
                _take_blas_control()
                state.blas_limit.restore_original_limits()
                _take_blas_control()


def _pool(size: int) -> ThreadPoolExecutor:
    with _state.lock:
        if _state.pool is None or _state.pool_size < size:
            # The smaller pool is not shut down: another thread may be about to use it. Its
            # threads end when the last user drops it.
            _state.pool = ThreadPoolExecutor(size, thread_name_prefix="fastem")
            _state.pool_size = size
        return _state.pool


def run(function: Callable[[int, int], None], n_pieces: int, n_threads: int) -> None:
    """Call ``function(piece, worker)`` once for every piece, on up to ``n_threads`` threads.

    Parameters
    ----------
    function : callable
        Must release the GIL to gain anything. ``worker`` is below ``n_threads`` and is the
        same for no two calls that run at once: a number to pick scratch memory by.
    n_pieces, n_threads : int
        The caller's thread is one of them. With one thread, one piece, or from inside
        another call of `run`, pieces run one after the other.

    Raises
    ------
    BaseException
        What a piece raised, or ``KeyboardInterrupt``; after all threads have stopped.
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
        stopped.set()  # either every piece is taken, or something was raised
        # helpers that have not begun may stand behind another caller's: do without them
        futures = [future for future in futures if not future.cancel()]
        _wait_for_all(futures)
    for future in futures:
        future.result()


def _wait_for_all(futures: list[Future]) -> None:
    """Wait, through any Ctrl-C, until nobody works on the caller's arrays any more."""
    interrupt = None
    while True:
        try:
            wait(futures)
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
