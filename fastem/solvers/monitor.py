"""The record of a fit: objective by iteration, convergence, and whether the objective fell."""

import time
from collections.abc import Callable

import numpy as np

from fastem.parameters import Array
from fastem.runtime import Loop, current_activity
from fastem.solvers.held_out import HeldOut

Report = Callable[[int, float, Array], bool | None]
Penalty = Callable[[Array], float]

# A fall by less than this share of the objective is rounding; a larger one is a fault in the code.
_ROUNDING = 1e-9
# The same as a share of the first objective. With separable data and no penalty the objective
# approaches zero, where it is a sum of rounding errors. Labels and counts that are all zero start
# near 0.001 nats per row, and every row has rounding errors of up to 1e-14 nats.
_ABSOLUTE_ROUNDING = 1e-11


class Monitor:
    """Record of a run that maximises an objective.

    Parameters
    ----------
    tol : float
        The run has converged when an iteration gains less than ``tol`` times the absolute value
        of the objective.
    scale : float, default=0.0
        Smallest absolute value of the objective for ``tol``, in nats. Log-densities can sum to
        zero.
    report : callable or None
        Called as ``report(n_iter, objective, theta)`` after every iteration. If it returns a true
        value, the run stops.

    Attributes
    ----------
    penalty : callable or None
        Returns the penalty (nats) that the objective contains, for given parameters.
    held_out : HeldOut or None
        Record of held-out rows, with one entry for every entry of ``history``. The run has
        converged if it is over by this record.
    loss : callable or None
        Returns the loss (nats per unit weight) of an objective, for reports of the running work.
    limit : int or None
        Number of iterations after which the run ends.
    history : list of float, nats
        Objective of every iterate, including the starting point.
    penalties : list of float, nats
        Penalty of every iterate. The sum of objective and penalty is the log-likelihood.
    seconds : list of float
        Wall time from the creation of the monitor to each iterate. When a run is continued, the
        clock continues from the last entry, and the time in between is not counted.
    converged : bool
    stopped : bool
        ``report`` stopped the run.
    interrupted : bool
        The user pressed Ctrl-C.
    before_correction : float or None, nats
        The last objective before its correction, if the run ended in a coarse phase. A run that
        continues it begins with this value.
    fell : bool
        The objective fell by more than rounding. This is a fault, never convergence.
    """

    _STEP = "iteration"

    def __init__(self, tol: float, report: Report | None = None, scale: float = 0.0) -> None:
        self.tol, self.scale = tol, scale
        self.report = report
        self.penalty: Penalty | None = None
        self.held_out: HeldOut | None = None
        self.loss: Callable[[float], float] | None = None
        self.limit: int | None = None
        self._settled: float | None = None
        self.history: list[float] = []
        self.penalties: list[float] = []
        self.seconds: list[float] = []
        self._began = time.perf_counter()
        self.converged = False
        self.fell = False
        self.stopped = False
        self.interrupted = False
        self.before_correction: float | None = None

    @property
    def objective(self) -> float:
        """Objective of the current iterate."""
        return self.history[-1]

    @property
    def kept_objective(self) -> float:
        """Objective of the iterate that is kept: `settle` sets it, if it is not the current one."""
        return self.objective if self._settled is None else self._settled

    @property
    def kept(self) -> Array | None:
        """The best iterate on held-out rows, if the run keeps it."""
        held_out = self.held_out
        if held_out is None or not held_out.keeps_best or held_out.best == -np.inf:
            return None
        return held_out.theta

    @property
    def merit(self) -> float:
        """Value (nats) by which runs from several starts are compared: the higher, the better."""
        held_out = self.held_out
        return self.objective if held_out is None or not held_out.keeps_best else held_out.best

    def follow(self, last: "Monitor") -> None:
        """Copy a record, so that the next run may continue it."""
        self.history, self.seconds = list(last.history), list(last.seconds)
        self.penalties = list(last.penalties)
        self.before_correction = last.before_correction
        self.held_out = last.held_out

    @property
    def n_iter(self) -> int:
        """Iterations done."""
        return max(len(self.history) - 1, 0)

    def start(self, objective: float, theta: Array) -> bool:
        """Record the starting point, or continue the run that ended at this objective.

        Returns
        -------
        continues : bool
            Whether the last recorded objective equals this one, to the bit. If not, the record
            starts anew.

        Raises
        ------
        FloatingPointError
            If the objective is not finite.
        """
        if not np.isfinite(objective):
            raise FloatingPointError(f"The objective at the starting values is {objective}.")
        if self.before_correction is not None and self.before_correction == objective:
            self.history[-1] = objective
        self.before_correction = None
        continues = bool(self.history) and self.objective == objective
        now = time.perf_counter()
        if continues:
            self._began = now - self.seconds[-1]
        else:
            self.history, self.seconds = [objective], [now - self._began]
            self.penalties = [self._penalty_at(theta)]
        self.converged = self.stopped = self.interrupted = self.fell = False
        self._settled = None
        if self.held_out is not None:
            self.held_out.start(theta, self.n_iter, continues)
        return continues

    def falls(self, objective: float) -> bool:
        """Return whether an objective is below the last recorded one by more than rounding."""
        last = self.history[-1]
        size = max(abs(last), abs(objective), self.scale)
        slack = _ABSOLUTE_ROUNDING * abs(self.history[0])
        return not np.isfinite(objective) or objective < last - _ROUNDING * size - slack

    def smallest_gain(self, before: float, last: float) -> float:
        """Return the gain from one objective to the next up to which they agree (nats)."""
        return self.tol * max(abs(before), abs(last), self.scale)

    def has_converged(self) -> bool:
        """Return whether the last two recorded objectives agree within the tolerance."""
        before, last = self.history[-2:]
        return last - before <= self.smallest_gain(before, last)

    def correct(self, objective: float) -> None:
        """Replace the last recorded objective by a more exact value.

        Earlier ones, which are less exact, are lowered to it if they exceed it.
        """
        self.history = [min(earlier, objective) for earlier in self.history[:-1]] + [objective]

    def update(
        self, objective: float, theta: Array, may_converge: Callable[[], bool] | None = None
    ) -> bool:
        """Record an iterate; return whether the run should stop.

        An iterate that is not finite, or lower than the last one by more than rounding, is not
        recorded: `fell` is set, and the last iterate is kept. ``may_converge`` is called if the
        gain is small. If it returns False, the small gain does not count as convergence.
        """
        if self.falls(objective):
            self.fell = True
            return True
        self._record(objective, self._penalty_at(theta))
        self.converged = self.has_converged() and (may_converge is None or may_converge())
        self._judge(theta)
        return self._report(objective, theta)

    def settle(self, objective: float) -> None:
        """Record the objective of the iterate that is kept."""
        self._settled = objective

    def detach(self) -> None:
        """Drop the functions that the run has called, which cannot be pickled."""
        self.report = self.penalty = self.loss = None
        if self.held_out is not None:
            self.held_out.evaluate = None

    def _penalty_at(self, theta: Array) -> float:
        return 0.0 if self.penalty is None else self.penalty(theta)

    def _record(self, objective: float, penalty: float) -> None:
        self.history.append(objective)
        self.penalties.append(penalty)
        self.seconds.append(time.perf_counter() - self._began)

    def _judge(self, theta: Array) -> None:
        """Record a recorded iterate on the held-out rows too."""
        held_out = self.held_out
        if held_out is None:
            return
        try:
            objective = held_out.objective(theta)
        except KeyboardInterrupt:
            self.interrupted = True
            objective = held_out.objective(theta)  # every iterate has one
        held_out.record(objective, theta)
        self.converged = (self.converged or held_out.is_over) and not self.interrupted

    def _report(self, objective: float, theta: Array) -> bool:
        """Report a recorded iterate; return whether the run should stop."""
        activity = current_activity()
        try:
            if activity is not None:
                loss = None if self.loss is None else self.loss(objective)
                activity.iterate(Loop(self._STEP, self.n_iter, self.limit, loss=loss, unit="nats"))
            if self.report is not None and self.report(self.n_iter, objective, theta):
                self.stopped = not self.converged
        except KeyboardInterrupt:
            self.interrupted, self.converged = True, False
        return self.converged or self.stopped or self.interrupted


class EpochMonitor(Monitor):
    """Record of a run by mini-batches, whose objective may fall from epoch to epoch.

    It has converged when ``patience`` epochs in a row each exceed the best objective before them by
    less than ``tol`` times its absolute value, provided that the run ends above its starting point.
    All entries of ``history`` except the first are running objectives: the objective of every batch
    before its step, summed over an epoch. So are the entries of ``penalties``.

    Parameters
    ----------
    tol, report, scale
        As for `Monitor`.
    patience : float, default=10

    Attributes
    ----------
    improved : bool
        Whether the last epoch was the best.
    best : float, nats
        Highest entry of ``history`` so far.
    """

    _STEP = "epoch"

    def __init__(
        self,
        tol: float,
        report: Report | None = None,
        scale: float = 0.0,
        patience: float = 10,
    ) -> None:
        super().__init__(tol, report, scale)
        self.patience = patience
        self.improved = False
        self._current = self.best = -np.inf
        self._n_stale = 0

    @property
    def objective(self) -> float:
        """Objective of the current iterate: of all rows at once if it has been computed."""
        return self._current

    def follow(self, last: "EpochMonitor") -> None:
        """Copy a record, so that the next run may continue it."""
        super().follow(last)
        self._current, self.best, self._n_stale = last._current, last.best, last._n_stale

    def start(self, objective: float, theta: Array) -> bool:
        """Record the starting point, or continue the run that ended at this objective."""
        continues = super().start(objective, theta)
        if not continues:
            self._current = self.best = objective
            self._n_stale = 0
        return continues

    def update(
        self,
        objective: float,
        theta: Array,
        penalty: float = 0.0,
        is_last: bool | None = None,
    ) -> bool:
        """Record an epoch by its running objective and penalty; return whether to stop.

        ``is_last`` states whether a run of fixed length ends here. Without it, the run has
        converged after ten epochs without gain.
        """
        gain = objective - self.best
        is_stale = gain <= self.tol * max(abs(objective), abs(self.best), self.scale)
        self._n_stale = self._n_stale + 1 if is_stale else 0
        self.improved = gain > 0.0
        self._current, self.best = objective, max(objective, self.best)
        self.converged = self._n_stale >= self.patience if is_last is None else is_last
        self._record(objective, penalty)
        self._judge(theta)
        return self._report(objective, theta)

    def settle(self, objective: float) -> None:
        """Record the objective of the iterate that is kept, evaluated on all rows at once.

        A run that did not rise above its starting point has not converged: its steps are too long.
        A run that is over by its held-out rows may keep the starting point.
        """
        self._current = objective
        is_over = self.held_out is not None and self.held_out.is_over
        self.converged = self.converged and (is_over or objective > self.history[0])
