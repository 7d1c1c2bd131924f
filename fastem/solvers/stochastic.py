"""EM with a Monte Carlo E-step: decreasing steps, and a convergence test that is robust to noise.

The M-step of a sampled E-step is M(theta) plus a sampling error. Full steps increase the
likelihood until the error is larger than the remaining gain. After that we take

    theta <- theta + gamma_t (M(theta) - theta),      gamma_t = t**(-a),   1/2 < a <= 1,

which averages the error over iterations (Robbins and Monro 1951; Delyon, Lavielle and Moulines
1999). A *plateau* is reached when the mean objective of a window of iterations does not exceed
that of the window before. At the first plateau the steps begin to decrease; at the second one the
run has converged.
"""

import numpy as np

from fastem.solvers.em import Iterate, Model
from fastem.solvers.monitor import Monitor

_POWER = 0.6
_WINDOW = 30


def plateaus(objectives: list[float], tol: float) -> list[int]:
    """Return the iterations at which the smoothed objective has stopped rising.

    A plateau is an iteration at least ``2 w`` after the previous plateau, such that the mean of
    the last w objectives exceeds the mean of the w before by at most ``tol`` times its absolute
    value per iteration. With noise of standard deviation s, gains below ``sqrt(2) s / w**1.5`` per
    iteration cannot be detected.

    Parameters
    ----------
    objectives : list of float, nats
    tol : float
    """
    found: list[int] = []
    if len(objectives) < 2 * _WINDOW:
        return found
    totals = np.cumsum([0.0, *objectives])
    means = (totals[_WINDOW:] - totals[:-_WINDOW]) / _WINDOW  # indexed by the window's first entry
    last, before = means[_WINDOW:], means[:-_WINDOW]
    is_level = last - before <= tol * _WINDOW * np.maximum(np.abs(last), np.abs(before))
    start = 0
    for first in np.flatnonzero(is_level):
        if first >= start:
            start = int(first) + 2 * _WINDOW
            found.append(start - 1)
    return found


class StochasticStep:
    """EM steps of full length up to the first plateau, then of decreasing length.

    No step is halved or rejected: a lower estimate does not mean a lower likelihood. Every
    iteration uses a new random draw.

    Parameters
    ----------
    tol : float
        Tolerance of `plateaus`.

    References
    ----------
    Delyon, Lavielle and Moulines (1999), Convergence of a stochastic approximation version
    of the EM algorithm, Annals of Statistics 27(1).
    """

    def __init__(self, tol: float) -> None:
        self._tol = tol
        self.restart()

    def may_converge(self) -> bool:
        """Return True: `SmoothedMonitor` is robust to noise."""
        return True

    def restart(self) -> None:
        """Start again with full steps."""
        self._objectives: list[float] = []

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate, whether its estimated objective is higher or lower."""
        self._objectives.append(iterate.objective)
        found = plateaus(self._objectives, self._tol)
        n_after = len(self._objectives) - 1 - found[0] if found else 0
        step = model.maximize(iterate.theta, iterate.statistics) - iterate.theta
        theta = iterate.theta + (n_after + 1) ** -_POWER * step
        draw = iterate.draw + 1
        return Iterate(theta, *model.expect(theta, draw), draw)


class SmoothedMonitor(Monitor):
    """Record of a run whose objectives are estimates: it has converged at the second plateau.

    A lower estimate is no fault. An objective that is not finite is one.
    """

    def falls(self, objective: float) -> bool:
        """Return whether the objective is not finite."""
        return not np.isfinite(objective)

    def has_converged(self) -> bool:
        """Return whether the last iterate is at a plateau after the first."""
        found = plateaus(self.history, self.tol)
        return len(found) > 1 and found[-1] == len(self.history) - 1
