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
        continues = bool(self.history) and self.history[-1] == objective
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

    def update(self, objective: float, theta: Array) -> bool:
        """Record an iterate; return whether the ascent should stop.

        An iterate that is not finite, or lower than the last by more than rounding, is not
        recorded: it raises the alarm `fell`, and the last iterate stands.
        """
        if self.falls(objective):
            self.fell = True
            return True
        self.history.append(objective)
        self.seconds.append(time.perf_counter() - self._began)
        self.converged = self.has_converged()
        try:
            if self.report is not None and self.report(self.n_iter, objective, theta):
                self.stopped = not self.converged
        except KeyboardInterrupt:
            self.interrupted, self.converged = True, False
        return self.converged or self.stopped or self.interrupted
