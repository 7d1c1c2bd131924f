"""The record of a fit: objective by iteration, convergence, and the alarm for a fall."""

import time
from collections.abc import Callable

import numpy as np

from fastem.parameters import Array

Report = Callable[[int, float, Array], bool | None]

# A fall below this share of the objective is rounding; above it, a fault in the code.
_ROUNDING = 1e-9
# The same in shares of the first objective: near zero, where separable data without a
# penalty lead, the objective is a sum of rounding errors.
_ABSOLUTE_ROUNDING = 1e-13
_PATIENCE = 10  # epochs without a gain before an ascent by mini-batches is over


class Monitor:
    """Record of an ascent.

    Parameters
    ----------
    tol : float
        The ascent has converged when an iteration gains less than ``tol`` times the size
        of the objective.
    report : callable or None
        Called as ``report(n_iter, objective, theta)`` after every iteration; a true answer
        stops the ascent.

    Attributes
    ----------
    history : list of float, nats
        Objective of every iterate, the starting point included.
    seconds : list of float
        Wall time from the making of the monitor to each of them. Where an ascent is continued
        the clock goes on from the last, and what lay between is not counted.
    converged : bool
    stopped : bool
        ``report`` asked for the end.
    interrupted : bool
        The user pressed Ctrl-C.
    fell : bool
        The objective fell by more than rounding. Never convergence: a fault.
    """

    def __init__(self, tol: float, report: Report | None = None) -> None:
        self.tol = tol
        self.report = report
        self.history: list[float] = []
        self.seconds: list[float] = []
        self._began = time.perf_counter()
        self.converged = False
        self.fell = False
        self.stopped = False
        self.interrupted = False

    @property
    def objective(self) -> float:
        """Objective of the iterate that stands."""
        return self.history[-1]

    def follow(self, last: "Monitor") -> None:
        """Take over a record, so that what comes next may continue it."""
        self.history, self.seconds = list(last.history), list(last.seconds)

    @property
    def n_iter(self) -> int:
        """Iterations done."""
        return max(len(self.history) - 1, 0)

    def start(self, objective: float) -> bool:
        """Record the starting point, or continue the ascent that ended in this objective.

        Returns
        -------
        continues : bool
            The last objective on record is this one, to the bit; else the record is new.

        Raises
        ------
        FloatingPointError
            If the objective is not finite.
        """
        if not np.isfinite(objective):
            raise FloatingPointError(f"The objective at the starting values is {objective}.")
        continues = bool(self.history) and self.objective == objective
        now = time.perf_counter()
        if continues:
            self._began = now - self.seconds[-1]
        else:
            self.history, self.seconds = [objective], [now - self._began]
        self.converged = self.stopped = self.interrupted = self.fell = False
        return continues

    def falls(self, objective: float) -> bool:
        """Tell whether an objective is below the last on record by more than rounding."""
        last = self.history[-1]
        size = max(abs(last), abs(objective))
        slack = _ABSOLUTE_ROUNDING * abs(self.history[0])
        return not np.isfinite(objective) or objective < last - _ROUNDING * size - slack

    def has_converged(self) -> bool:
        """Tell whether the last two objectives on record agree within the tolerance."""
        before, last = self.history[-2:]
        return last - before <= self.tol * max(abs(before), abs(last))

    def update(self, objective: float, theta: Array, *, may_converge: bool = True) -> bool:
        """Record an iterate; return whether the ascent should stop.

        With ``may_converge=False`` a small gain is not convergence.
        An iterate that is not finite, or lower than the last by more than rounding, is not
        recorded: it raises the alarm `fell`, and the last iterate stands.
        """
        if self.falls(objective):
            self.fell = True
            return True
        self._record(objective)
        self.converged = may_converge and self.has_converged()
        return self._report(objective, theta)

    def _record(self, objective: float) -> None:
        self.history.append(objective)
        self.seconds.append(time.perf_counter() - self._began)

    def _report(self, objective: float, theta: Array) -> bool:
        """Report an iterate that is on record; return whether the ascent should stop."""
        try:
            if self.report is not None and self.report(self.n_iter, objective, theta):
                self.stopped = not self.converged
        except KeyboardInterrupt:
            self.interrupted, self.converged = True, False
        return self.converged or self.stopped or self.interrupted


class EpochMonitor(Monitor):
    """Record of an ascent by mini-batches, whose objective may fall from epoch to epoch.

    It has converged when each of ten epochs in a row gains less than ``tol`` times its size over
    the best objective before it. Entries of ``history`` but the first are running objectives:
    of every batch before its step, summed over an epoch.

    Attributes
    ----------
    improved : bool
        The last epoch was the best.
    best : float, nats
        Highest entry of ``history`` so far.
    """

    def __init__(self, tol: float, report: Report | None = None) -> None:
        super().__init__(tol, report)
        self.improved = False
        self._standing = self.best = -np.inf
        self._n_stale = 0

    @property
    def objective(self) -> float:
        """Objective of the iterate that stands, of all rows at once where that is known."""
        return self._standing

    def follow(self, last: "EpochMonitor") -> None:
        """Take over a record, so that what comes next may continue it."""
        super().follow(last)
        self._standing, self.best, self._n_stale = last._standing, last.best, last._n_stale

    def start(self, objective: float) -> bool:
        """Record the starting point, or continue the ascent whose end has this objective."""
        continues = super().start(objective)
        if not continues:
            self._standing = self.best = objective
            self._n_stale = 0
        return continues

    def update(self, objective: float, theta: Array) -> bool:
        """Record an epoch by its running objective; return whether the ascent should stop."""
        gain = objective - self.best
        is_stale = gain <= self.tol * max(abs(objective), abs(self.best))
        self._n_stale = self._n_stale + 1 if is_stale else 0
        self.improved = gain > 0.0
        self._standing, self.best = objective, max(objective, self.best)
        self.converged = self._n_stale >= _PATIENCE
        self._record(objective)
        return self._report(objective, theta)

    def settle(self, objective: float) -> None:
        """Note the objective, of all rows at once, of the iterate that is kept."""
        self._standing = objective
