"""Threads that wait for work. They belong to the package and end with the process.

The threads are daemon threads. They work for any caller until Python ends: also for a thread that
continues after the main thread has returned, and for a function of `atexit`. The executors of
`concurrent.futures` then refuse work. Idle helpers do not delay the end of a process.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Ticket:
    """One helper's share of a caller's work: a helper takes it, or the caller withdraws it.

    Parameters
    ----------
    work : callable
        Called with ``worker``, on the thread of a helper.
    worker : int

    Attributes
    ----------
    error : BaseException or None
        What ``work`` raised.

    Notes
    -----
    The locks are plain ones and every step can be repeated, because Ctrl-C can interrupt the caller
    anywhere. The locks of `threading.Condition` can stay locked after Ctrl-C.
    """

    def __init__(self, work: Callable[[int], None], worker: int) -> None:
        self._work: Callable[[int], None] | None = work
        self._worker = worker
        self._owner: dict[str, str] = {}
        self._has_ended = False
        self._end = threading.Lock()
        self._end.acquire()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        """Do the work, unless the caller has withdrawn the ticket."""
        if self._owner.setdefault("owner", "helper") != "helper":
            return
        try:
            self._work(self._worker)
        except BaseException as error:
            self.error = error
        finally:
            self._work = None
            self._has_ended = True
            self._end.release()

    def close(self) -> None:
        """Withdraw the ticket, or wait until its helper has ended; can be repeated."""
        if self._owner.setdefault("owner", "caller") == "caller":
            self._work = None  # the ticket stays in the queue, but keeps no arrays alive
            return
        while not self._has_ended:
            self._end.acquire()


class Helpers:
    """A queue of tickets and the threads that take them."""

    def __init__(self) -> None:
        self._tickets: SimpleQueue[Ticket] = SimpleQueue()
        self._n_threads = 0

    def start(self, n_threads: int) -> int:
        """Start threads until there are ``n_threads``; return how many of these there are.

        No thread is started beyond the limits of the operating system. The next call tries again.
        Callers must hold a lock.
        """
        while self._n_threads < n_threads:
            name = f"fastem_{self._n_threads}"
            try:
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            except (RuntimeError, MemoryError, OSError):
                break
            self._n_threads += 1
        return min(self._n_threads, n_threads)

    def put(self, ticket: Ticket) -> None:
        """Offer a ticket to the threads."""
        self._tickets.put(ticket)

    def _serve(self) -> None:
        while True:
            self._tickets.get()()


def close_all(tickets: list[Ticket]) -> None:
    """Wait until no helper works on a ticket any more; can be repeated."""
    for ticket in tickets:
        ticket.close()


def finish(step: Callable[[], object]) -> None:
    """Do a step through any Ctrl-C: it is repeated until it has ended.

    Raises
    ------
    KeyboardInterrupt
        At the end, if Ctrl-C was pressed.
    """
    interrupt = None
    while True:
        try:
            step()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
