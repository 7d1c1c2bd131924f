"""EM on estimates: decreasing steps, and convergence that noise neither feigns nor hides.

An E-step that draws gives the M-step M(theta) with an error of sampling. Full steps climb as
EM does, until the error hides what is left to climb; from there on

    theta <- theta + gamma_t (M(theta) - theta),      gamma_t = t**(-a),   1/2 < a <= 1

averages the error over iterations (Robbins and Monro 1951; Delyon, Lavielle and Moulines 1999).
A *plateau* is where the mean objective of so many iterations no longer rises above that of
as many before: at the first one steps begin to decrease, at the second one the ascent ends.
"""

import numpy as np

from fastem.solvers.em import Iterate, Model
from fastem.solvers.monitor import Monitor

_POWER = 0.6
_WINDOW = 30


def plateaus(objectives: list[float], tol: float) -> list[int]:
    """Return the iterations at which the smoothed objective has stopped to rise.

    A plateau is found in iterations since the last one: ``2 w`` at the least, the mean of the last
    w of which exceeds that of the w before by no more than ``tol`` times its size per
    iteration. Noise of deviation s hides a rise of about ``s / w**1.5`` per iteration.

    Parameters
    ----------
    objectives : list of float, nats
    tol : float
    """
    found: list[int] = []
    if len(objectives) < 2 * _WINDOW:
        return found
    totals = np.cumsum([0.0, *objectives])
    means = (totals[_WINDOW:] - totals[:-_WINDOW]) / _WINDOW  # of windows, by their first
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

    Nothing is halved or refused: a lower estimate is no lower likelihood.

    Parameters
    ----------
    tol : float
        Of plateaus.

    References
    ----------
    Delyon, Lavielle and Moulines (1999), Convergence of a stochastic approximation version
    of the EM algorithm, Annals of Statistics 27(1).
    """

    def __init__(self, tol: float) -> None:
        self._tol = tol
        self.restart()

    def restart(self) -> None:
        """Begin with full steps."""
        self._objectives: list[float] = []

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate, wherever it leads."""
        self._objectives.append(iterate.objective)
        found = plateaus(self._objectives, self._tol)
        n_after = len(self._objectives) - 1 - found[0] if found else 0
        step = model.maximize(iterate.theta, iterate.statistics) - iterate.theta
        theta = iterate.theta + (n_after + 1) ** -_POWER * step
        return Iterate(theta, *model.expect(theta))


class SmoothedMonitor(Monitor):
    """Record of an ascent whose objectives are estimates: it has converged at the second plateau.

    A lower estimate raises no alarm; one that is not finite does.
    """

    def falls(self, objective: float) -> bool:
        """Tell whether the objective is no number."""
        return not np.isfinite(objective)

    def has_converged(self) -> bool:
        """Tell whether the last iterate is at a plateau beyond the first."""
        found = plateaus(self.history, self.tol)
        return len(found) > 1 and found[-1] == len(self.history) - 1
