"""Ctrl-C in the program ``fastem`` ends it within a second; a fit saves its best iterate first.

Between two steps of Python, the main thread raises KeyboardInterrupt and ends by itself. It cannot
do so in a long compiled call, and the compiler of the kernels may discard the exception. A second
thread therefore sees the signal too, and ends the process if the main thread does not.
"""

import copy
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NoReturn

from fastem.cli.messages import INTERRUPTED
from fastem.cli.progress import Display
from fastem.runtime import current_activity

NOTHING_TO_SAVE = "interrupted before there was a model to save"
_SECONDS_FOR_MAIN_THREAD = 0.7
_SECONDS_TO_SAVE = 3.0  # if the main thread is about to end


class Interrupts:
    """State of a program that ends after Ctrl-C.

    Attributes
    ----------
    rescue : callable or None
        Saves the best iterate so far, and returns the message to print; None if there is no
        iterate yet.
    seen : bool
        Whether the user has pressed Ctrl-C.
    """

    def __init__(self) -> None:
        self.rescue: Callable[[], str | None] | None = None
        self.seen = False
        self._ending = threading.RLock()

    def begin_ending(self) -> None:
        """Let the main thread end the program; wait if the other thread is ending it already."""
        self._ending.acquire()

    def watch(self, receiver: socket.socket, display: Display) -> None:
        """Wait for Ctrl-C. End the process if the main thread does not, or at a second Ctrl-C."""
        with receiver:
            if self._receive(receiver, None):
                self._after_first(receiver, display)

    def _after_first(self, receiver: socket.socket, display: Display) -> None:
        self.seen = True
        again = self._receive(receiver, _SECONDS_FOR_MAIN_THREAD)
        if again is False:
            return
        if not self._ending.acquire(blocking=False):  # the main thread is about to end
            if again is None and self._receive(receiver, _SECONDS_TO_SAVE) is False:
                return
            self._end(display, "")
        message = None
        with suppress(BaseException):
            message = None if self.rescue is None else self.rescue()
        self._end(display, f"fastem: {message or 'interrupted'}\n")

    def _receive(self, receiver: socket.socket, seconds: float | None) -> bool | None:
        """Wait for Ctrl-C; return True after it, None if there was none, False at the end."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0.0:
                return None
            receiver.settimeout(left)
            try:
                signals = receiver.recv(1)
            except TimeoutError:
                return None
            except OSError:
                return False
            if not signals:
                return False
            if signals[0] == signal.SIGINT:
                return True

    def _end(self, display: Display, message: str) -> NoReturn:
        with suppress(BaseException):
            display.close()
        with suppress(BaseException):
            # sys.stderr is not used: the main thread may hold its lock
            number = sys.__stderr__.fileno()
            with suppress(OSError, ValueError):  # Windows selects sockets only
                if not select.select([], [number], [], 0.0)[1]:
                    message = ""
            os.write(number, message.encode(sys.__stderr__.encoding, "backslashreplace"))
        os._exit(INTERRUPTED)


_interrupts: ContextVar[Interrupts | None] = ContextVar("interrupts", default=None)


@contextmanager
def ending_on_interrupt(display: Display) -> Iterator[None]:
    """End the process soon after Ctrl-C, whatever the body does. For the main thread of a program.

    The body should catch KeyboardInterrupt. Ctrl-C has no effect after the body.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # jobs in the background ignore Ctrl-C
        return
    interrupts = Interrupts()
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    hook = sys.unraisablehook

    def report(unraisable: Any) -> None:
        # code has discarded KeyboardInterrupt; the watcher ends the process
        if unraisable.exc_type is not KeyboardInterrupt:
            hook(unraisable)

    watcher = threading.Thread(
        target=interrupts.watch, args=(receiver, display), name="fastem Ctrl-C", daemon=True
    )
    try:
        watcher.start()
    except RuntimeError:  # a limit on threads
        receiver.close()
        sender.close()
        yield
        return
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    sys.unraisablehook = report
    token = _interrupts.set(interrupts)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _interrupts.reset(token)
        signal.set_wakeup_fd(-1)
        sender.close()
        sys.unraisablehook = hook


def begin_ending() -> bool:
    """After Ctrl-C, let this thread end the program; return whether Ctrl-C was pressed."""
    interrupts = _interrupts.get()
    if interrupts is None or not interrupts.seen:
        return False
    interrupts.begin_ending()
    return True


@contextmanager
def saving_on_interrupt(estimator: Any, save: Callable[[Any], Any], path: str) -> Iterator[None]:
    """Save the best iterate so far if the process must be ended in the body, which fits.

    Parameters
    ----------
    estimator : estimator
        The one that the body fits.
    save : callable
        Saves a fitted estimator.
    path : str
        Name of the file, for the message.
    """
    interrupts, activity = _interrupts.get(), current_activity()
    if interrupts is None or activity is None:
        yield
        return

    def rescue() -> str:
        if activity.snapshot is None:
            return NOTHING_TO_SAVE
        model = copy.copy(estimator)
        vars(model).update(activity.snapshot)
        save(model)
        return saved_message(path)

    interrupts.rescue, activity.kept = rescue, estimator
    try:
        yield
    finally:
        if interrupts.seen:
            interrupts.begin_ending()
        interrupts.rescue = activity.kept = activity.snapshot = None


def saved_message(path: str) -> str:
    """Return the message after an interrupted fit."""
    return f"interrupted: the best iterate so far is saved in {path}"
