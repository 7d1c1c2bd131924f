"""The search for the best penalty of a network on folds of rows, wherever these are."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.estimators.choices import first_penalty
from fastem.estimators.em_folds import BaseFold
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import DivergenceError, doing
from fastem.selection import largest_good, search


class Found(NamedTuple):
    """The best penalty for a network, and the path that led to it.

    Attributes
    ----------
    alpha : float
    path : dict of arrays
    score : float
        Mean log-likelihood of held-out rows, in nats.
    of_split : float
        The same for the rows of the single split only; NaN if they were not scored.
    start : Parameters or None
        Parameters of the single split under the penalty.
    """

    alpha: float
    path: dict[str, Array]
    score: float
    of_split: float
    start: Parameters | None


class PenaltySearch:
    """Scores of penalties for one network.

    Parameters
    ----------
    settings : BaseFastEM
        Without "auto", except for `alpha`.
    shape : Shape
    unit : float
        Mean weight of a row. Penalties of the path are in this unit.
    alpha : float, optional
        The only penalty to score. By default the penalties are those of the path.
    """

    def __init__(
        self, settings: Any, shape: Shape, unit: float, alpha: float | None = None
    ) -> None:
        self._shape, self._unit, self._alpha = shape, unit, alpha
        self._is_coarse, self._verbose = settings.solver == "adam", settings.verbose

    def by_folds(self, folds: Sequence[BaseFold], weights: Sequence[Array]) -> Found:
        """Return the best penalty by the log-densities of held-out rows.

        Parameters
        ----------
        folds : sequence of BaseFold
        weights : sequence of arrays
            Of the held-out rows of every fold.
        """
        n_first, weights = len(weights[0]), np.concatenate(weights)
        by_row: dict[float, Array] = {}
        training: dict[float, float] = {}
        failures: list[FloatingPointError] = []

        def score(alpha: float) -> float:
            try:
                by_row[alpha] = np.concatenate(_log_densities(folds, alpha))
            except FloatingPointError as error:
                failures.append(error)
                return -np.inf
            training[alpha] = float(np.mean([fold.training_score(alpha) for fold in folds]))
            return float(np.average(by_row[alpha], weights=weights))

        scores = self.search(score, coarse=self._is_coarse)
        if not by_row:
            raise DivergenceError(
                f"No penalty of alpha='auto' has a finite objective: {failures[0]} Use smaller "
                "coefs_init, standardize=True, or a number as alpha."
            ) from failures[0]
        alpha = largest_good(by_row, weights)
        path = path_of(scores, cross_validation=scores, training=training)
        of_split = float(np.average(by_row[alpha][:n_first], weights=weights[:n_first]))
        start = folds[0].parameters(alpha) if len(folds) == 1 else None
        return Found(alpha, path, scores[alpha], of_split, start)

    def search(
        self, score: Callable[[float], float], *, coarse: bool = False
    ) -> dict[float, float]:
        """Return the scores of penalties, in ascending order."""
        unit, first = self._unit, first_penalty(self._shape)

        def reported(alpha: float) -> float:
            n_units = self._shape.first
            with doing(f"choosing the penalty, {n_units} units"), doing(f"alpha {alpha:g}"):
                found = score(alpha)
            if self._verbose:
                print(f"[fastem] {n_units} units, alpha {alpha:g}: held-out loss {-found:.6f} nats")
            return found

        if self._alpha is not None:
            return {self._alpha: reported(self._alpha)}
        scores = search(lambda share: reported(share * unit), first, coarse=coarse)
        return {share * unit: found for share, found in scores.items()}


def _log_densities(folds: Sequence[BaseFold], alpha: float) -> list[Array]:
    """Return the log-densities (nats) of the held-out rows of every fold."""
    found = []
    for number, fold in enumerate(folds, start=1):
        with doing(f"fold {number} of {len(folds)}"):
            found.append(fold.log_density(alpha))
    return found


def path_of(scores: dict[float, float], **columns: dict[float, float]) -> dict[str, Array]:
    """Return the path as columns of equal length; NaN where a value was not computed."""
    names = "leave_one_out", "cross_validation", "training", "effective_parameters"
    path = {"alpha": np.array(list(scores))}
    for name in names:
        values = columns.get(name, {})
        path[name] = np.array([values.get(alpha, np.nan) for alpha in scores])
    return path
