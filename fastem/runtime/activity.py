"""Reports of running work, for programs that show them.

Code that can run for seconds reports its stage (`doing`) and the figures of its loop
(`Activity.iterate`). A program receives the reports of the calls that it makes inside `watched`.
Without such a program, a report only reads one variable.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, NamedTuple

_SECONDS_BETWEEN_SNAPSHOTS = 0.3


class Loop(NamedTuple):
    """Progress of a loop.

    Attributes
    ----------
    step : str
        Name of one step, such as "iteration".
    number : int
        Number of the step. The first one has the number 1.
    last : int or None
        Number of the last step, if it is known.
    may_end_earlier : bool
    loss : float or None
        After the step.
    unit : str
        Unit of the loss, or an empty string.
    """

    step: str
    number: int
    last: int | None
    may_end_earlier: bool = True
    loss: float | None = None
    unit: str = ""

    def text(self) -> str:
        """Return the progress in words."""
        words = f"{self.step} {self.number}"
        if self.last is not None:
            words += f" of {'at most ' if self.may_end_earlier else ''}{self.last}"
        if self.loss is not None:
            words += f", loss {self.loss:.4f} {self.unit}".rstrip()
        return words


class Activity:
    """The current state of the work of one thread. Other threads may read it at any time.

    Attributes
    ----------
    stages : tuple of str
        From the outermost to the innermost one.
    loop : Loop or None
        Of the innermost stage.
    on_report : callable or None
        Called without arguments after every report, in the thread that works.
    kept : estimator or None
        The estimator whose fitted attributes are copied while it is fitted.
    snapshot : dict or None
        Fitted attributes of the estimator with the lowest loss so far. They are copied at most
        once in 0.3 seconds.
    """

    def __init__(self) -> None:
        self.stages: tuple[str, ...] = ()
        self.loop: Loop | None = None
        self.on_report: Callable[[], Any] | None = None
        self.kept: Any = None
        self.snapshot: dict[str, Any] | None = None
        self._next_snapshot = 0.0

    def enter(self, *stages: str) -> None:
        """Report the stages, from the outermost to the innermost one."""
        self.stages, self.loop = stages, None
        self._report()

    def iterate(self, loop: Loop) -> None:
        """Report a step of a loop."""
        self.loop = loop
        self._report()

    def offer(self, estimator: Any, fitted: Callable[[], dict[str, Any]]) -> None:
        """Offer the fitted attributes of a running fit; they are computed only if needed.

        Parameters
        ----------
        estimator : estimator
        fitted : callable
            Returns the attributes. ``loss_`` is one of them.
        """
        if estimator is not self.kept or time.perf_counter() < self._next_snapshot:
            return
        found = fitted()
        if self.snapshot is None or found["loss_"] <= self.snapshot["loss_"]:
            self.snapshot = deepcopy(found)  # later steps may overwrite the arrays
        self._next_snapshot = time.perf_counter() + _SECONDS_BETWEEN_SNAPSHOTS

    def text(self) -> str:
        """Return the state in words."""
        loop = self.loop
        return ", ".join(self.stages if loop is None else (*self.stages, loop.text()))

    def _report(self) -> None:
        if self.on_report is not None:
            self.on_report()


_watched: ContextVar[Activity | None] = ContextVar("activity", default=None)


def current_activity() -> Activity | None:
    """Return the activity that receives the reports of this thread; None if nobody watches."""
    return _watched.get()


@contextmanager
def watched(activity: Activity | None) -> Iterator[None]:
    """Send the reports of this thread to an activity while the body runs; None discards them."""
    token = _watched.set(activity)
    try:
        yield
    finally:
        _watched.reset(token)


@contextmanager
def doing(stage: str) -> Iterator[None]:
    """Report a stage of the work while the body runs. Stages can be nested."""
    activity = _watched.get()
    if activity is None:
        yield
        return
    before = activity.stages
    activity.enter(*before, stage)
    try:
        yield
    finally:
        activity.enter(*before)
