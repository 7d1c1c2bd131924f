"""The record of held-out rows: their objective by iteration, and whether it still rises."""

from collections.abc import Callable

import numpy as np

from fastem.parameters import Array


class HeldOut:
    """Objective of held-out rows at every iterate of a run, and the best iterate by it.

    Parameters
    ----------
    tol : float
        An iterate is an improvement if its objective exceeds the best one by more than ``tol``
        times its absolute value.
    patience : float
        Number of iterations in a row without improvement after which the run is over.
    keeps_best : bool
        Whether the best iterate is kept and the run can be over. If False, the objective is
        recorded only.
    scale : float, default=0.0
        Smallest absolute value of the objective for ``tol``, in nats.

    Attributes
    ----------
    evaluate : callable or None
        Returns the objective of the held-out rows for given parameters. None between runs.
    history : list of float, nats
        Objective of every iterate, including the starting point. NaN for earlier iterates, which
        were not evaluated on these rows; -inf if it overflows.
    best : float, nats
        Highest objective.
    theta : array (n_parameters,) or None
        The first iterate with this objective.
    index : int
        Position of this iterate in ``history``.
    """

    def __init__(
        self, tol: float, patience: float, *, keeps_best: bool, scale: float = 0.0
    ) -> None:
        self.tol, self.patience, self.scale = tol, patience, scale
        self.keeps_best = keeps_best
        self.evaluate: Callable[[Array], float] | None = None
        self.history: list[float] = []
        self.best, self.theta, self.index = -np.inf, None, 0
        self._n_stale = 0

    @property
    def is_over(self) -> bool:
        """Whether the objective has not improved for ``patience`` iterations in a row."""
        return self.keeps_best and self._n_stale >= self.patience

    def follow(self, last: "HeldOut") -> None:
        """Copy a record, so that the next run may continue it."""
        self.history, self._n_stale = list(last.history), last._n_stale
        self.best, self.theta, self.index = last.best, last.theta, last.index

    def start(self, theta: Array, n_before: int, continues: bool) -> None:
        """Record the starting point, or continue the record of the last run.

        Parameters
        ----------
        theta : array (n_parameters,)
        n_before : int
            Number of iterates before this one.
        continues : bool
            Whether the run continues the last one. The record is continued if the best iterate has
            the same objective as before, to the bit.
        """
        if continues and self._still_holds(n_before + 1):
            return
        value = self.objective(theta)
        self.history = [np.nan] * n_before + [value]
        self.best, self.theta, self.index = value, theta.copy(), n_before
        self._n_stale = 0

    def _still_holds(self, n_iterates: int) -> bool:
        """Whether the record is of this number of iterates, and of the rows to be evaluated."""
        if self.theta is None or len(self.history) != n_iterates:
            return False
        return self.objective(self.theta) == self.best

    def objective(self, theta: Array) -> float:
        """Return the objective at theta (nats); -inf if it overflows."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                value = self.evaluate(theta)
        except FloatingPointError:
            return -np.inf
        return value if np.isfinite(value) else -np.inf

    def record(self, objective: float, theta: Array) -> None:
        """Record an iterate by its objective."""
        gain = objective - self.best if objective > self.best else 0.0
        known = [abs(value) for value in (objective, self.best) if np.isfinite(value)]
        is_stale = gain <= self.tol * max([*known, self.scale])
        self._n_stale = self._n_stale + 1 if is_stale else 0
        self.history.append(objective)
        if gain > 0.0:
            self.best, self.theta, self.index = objective, theta.copy(), len(self.history) - 1
