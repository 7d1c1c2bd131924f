"""Threads: `run` distributes work, and `single_threaded_blas` limits the threads of others.

Kernels release the GIL and work on a numbered piece of a problem. `run` distributes the
numbers over helper threads that the package owns. No Numba threading layer is used: it
aborts the process when two Python threads enter it at once, or after a fork.
Results must not depend on the number of threads. Pieces are therefore cut by the size of
the data only, and their results are added up in the order of their numbers.

Work does not fail if no thread can be started: the calling thread does the remaining pieces.
Threads that fit at the same time, such as the workers of a grid search, divide the cores.
"""

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import scipy.linalg  # noqa: F401  loads the BLAS that compiled kernels call, to be limited
import threadpoolctl

from fastem.runtime.cores import blas_threads_of_worker, share_of_cores
from fastem.runtime.helpers import Helpers, Ticket, close_all, finish

# BLAS libraries compute products of at most this many multiplications on the calling thread.
_MOST_SERIAL_MULTIPLICATIONS = 2**18
# Waking threads takes 20 to 90 microseconds. The calling thread does shorter work alone.
_SERIAL_SECONDS = 5e-4


class _Use(NamedTuple):
    """What a thread does at the moment.

    Attributes
    ----------
    thread : int
        Its identifier.
    n_helpers : int
        Helpers that work for it.
    most_blas : int or None
        Limit for the threads of BLAS, if it needs one.
    is_helper : bool
    """

    thread: int
    n_helpers: int = 0
    most_blas: int | None = None
    is_helper: bool = False


class _State:
    """State of the process: changed under the lock, and repaired in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.helpers = Helpers()
        self.uses: dict[object, _Use] = {}
        self.inside = threading.local()
        self.blas: list[threadpoolctl.LibController] | None = None
        self.blas_before: list[int | None] | None = None  # None: BLAS is not limited
        self.most_blas: int | None = None
        self.owners_of_locks: weakref.WeakSet[Any] = weakref.WeakSet()

    def take_helpers(self, user: object, wanted: int) -> int:
        """Return how many helpers a caller of `run` gets: fewer if other threads work too."""
        own = threading.get_ident()
        with self.lock:
            callers = {use.thread for use in self.uses.values() if not use.is_helper} | {own}
            busy = sum(use.n_helpers for use in self.uses.values())
            if len(callers) > 1:
                cores = share_of_cores()
                wanted = min(wanted, cores // len(callers) - 1, cores - len(callers) - busy)
            wanted = max(wanted, 0)
            n_helpers = max(self.helpers.start(busy + wanted) - busy, 0)
            self.uses[user] = _Use(own, n_helpers)
            return n_helpers

    def limit_blas(self, user: object, most: int) -> None:
        """Limit the threads of BLAS in this process; the lowest limit of all users holds."""
        with self.lock:
            worker = getattr(self.inside, "worker", None) or 0
            self.uses[user] = _Use(threading.get_ident(), 0, most, worker > 0)
            self._set_blas()

    def forget(self, user: object) -> None:
        """End a use; the last one restores the earlier limits of BLAS. Can be repeated."""
        with self.lock:
            self.uses.pop(user, None)
            if self.blas_before is not None:
                self._set_blas()

    def _set_blas(self) -> None:
        """Set the limit of BLAS that the uses need.

        `threadpoolctl.ThreadpoolController.limit` does the same in four times the time, which is
        long compared with a small E-step.
        """
        limits = [use.most_blas for use in self.uses.values() if use.most_blas is not None]
        if limits and self.blas_before is None:
            self._find_blas()
            self.blas_before = [library.num_threads for library in self.blas]
        most = min(limits, default=None)
        if most != self.most_blas:
            self.most_blas = 0  # unknown, if Ctrl-C interrupts the next line
            _set_blas_threads(self, [_least(most, number) for number in self.blas_before])
            self.most_blas = most
        if most is None:
            self.blas_before = None

    def _find_blas(self) -> None:
        if self.blas is None:
            found = threadpoolctl.ThreadpoolController().lib_controllers
            self.blas = [library for library in found if library.user_api == "blas"]

    def repair(self) -> None:
        """Forget the threads that a forked child does not have; the limits of BLAS follow."""
        self.lock, self.helpers = threading.RLock(), Helpers()
        for owner in self.owners_of_locks:
            owner._lock = threading.RLock()
        own = threading.get_ident()
        self.uses = {
            user: use._replace(n_helpers=0) for user, use in self.uses.items() if use.thread == own
        }
        self.forget(None)


_state = _State()

if hasattr(os, "register_at_fork"):
    # no other thread is inside threadpoolctl, or has set half of the limits, when a child is forked
    os.register_at_fork(
        before=lambda: _state.lock.acquire(),
        after_in_parent=lambda: _state.lock.release(),
        after_in_child=lambda: _state.repair(),
    )


def give_lock(owner: object) -> None:
    """Give an object a re-entrant lock, ``owner._lock``, and a new one in a forked child.

    A thread that holds the lock when another thread forks does not exist in the child.
    """
    owner._lock = threading.RLock()
    _state.owners_of_locks.add(owner)


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


def blas_for(n_multiplications: float) -> AbstractContextManager[Any]:
    """Return `single_threaded_blas`, or a context that does nothing if all products are small.

    Parameters
    ----------
    n_multiplications : float
        Of the largest matrix product. OpenBLAS shares products of more than ``2**18``
        multiplications among threads.
    """
    if n_multiplications <= _MOST_SERIAL_MULTIPLICATIONS:
        return nullcontext()
    return single_threaded_blas()


def single_threaded_blas() -> AbstractContextManager[Any]:
    """Return a context with one thread of BLAS: the package's own threads call it in parallel.

    The limit is global to the process. Its users are counted: if two threads fit at once, the first
    one sets the limit and the last one restores the earlier limits. A child that is forked
    meanwhile has the earlier limits, except for the rest of a block that the child itself runs.
    """
    return _LimitedBlas(1)


def blas_of_worker() -> AbstractContextManager[Any]:
    """Return a context in which one worker among several uses no more than its share of threads.

    For work that leaves the number of threads to BLAS. It changes nothing outside of workers.
    """
    most = blas_threads_of_worker()
    return nullcontext() if most is None else _LimitedBlas(most)


class _LimitedBlas:
    """Context with a limit for the threads of BLAS, of one use."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __enter__(self) -> None:
        try:
            _state.limit_blas(self, self._most)
        except BaseException:  # Ctrl-C
            finish(partial(_state.forget, self))
            raise

    def __exit__(self, *error: object) -> None:
        finish(partial(_state.forget, self))


def _least(most: int | None, number: int | None) -> int | None:
    return min((x for x in (most, number) if x is not None), default=None)


def _set_blas_threads(state: _State, numbers: list[int | None]) -> None:
    """Set the number of threads of every BLAS library that had more than one before."""
    changed = [
        (library, number)
        for library, number, before in zip(state.blas, numbers, state.blas_before, strict=True)
        if before not in (1, None)
    ]
    if changed:
        _take_blas_control()
        for library, number in changed:
            library.set_num_threads(number)
        _take_blas_control()


def run(function: Callable[[int, int], None], n_pieces: int, n_threads: int) -> None:
    """Call ``function(piece, worker)`` once for every piece, on up to ``n_threads`` threads.

    Parameters
    ----------
    function : callable
        It gains from threads only if it releases the GIL. ``worker`` is below ``n_threads`` and
        differs between calls that run at the same time: it selects scratch memory.
    n_pieces, n_threads : int
        The calling thread is one of the threads. It does the whole work if there is one thread or
        one piece, inside another call of `run`, and if no thread can be started. While other
        threads fit, all of them together use as many threads as the process has cores.

    Raises
    ------
    BaseException
        The exception of a piece, or ``KeyboardInterrupt``, after all threads have stopped.
    """
    state, inside = _state, _state.inside
    if n_threads <= 1 or n_pieces <= 1 or getattr(inside, "worker", None) is not None:
        for piece in range(n_pieces):
            function(piece, 0)
        return
    pieces = itertools.count()
    is_stopped = False

    def work(worker: int) -> None:
        nonlocal is_stopped
        inside.worker = worker
        try:
            while not is_stopped and (piece := next(pieces)) < n_pieces:
                function(piece, worker)
        except BaseException:
            is_stopped = True
            raise
        finally:
            inside.worker = None

    user, tickets = object(), []
    try:
        for worker in range(1, 1 + state.take_helpers(user, min(n_threads, n_pieces) - 1)):
            ticket = Ticket(work, worker)
            tickets.append(ticket)
            state.helpers.put(ticket)
        work(0)
    finally:
        is_stopped = True  # every piece is taken, or an exception was raised
        # tickets that no helper has taken may be queued behind another caller's work
        finish(lambda: (close_all(tickets), state.forget(user)))
    for ticket in tickets:
        if ticket.error is not None:
            raise ticket.error
