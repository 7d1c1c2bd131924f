"""The path of penalties, and the search along it."""

from collections.abc import Callable

import numpy as np

from fastem.parameters import Array

PENALTIES = (
    1.5e-4, 5e-4, 1.5e-3, 5e-3, 0.015, 0.05, 0.15, 0.5, 1.5, 5.0, 15.0, 50.0, 150.0, 500.0,
)  # fmt: skip
"""Penalties that ``alpha="auto"`` chooses from."""

_PATIENCE = 2  # penalties in a row without a higher score, after which a direction ends

# Share of the standard error of a difference of scores that does not justify a smaller penalty.
_NEGLIGIBLE_ERROR = 0.25


def search(
    score: Callable[[float], float], first: float, *, coarse: bool = False
) -> dict[float, float]:
    """Return the scores of penalties around the best one.

    Larger penalties than the first are tried until two in a row do not exceed the best. Then
    smaller ones are tried in the same way, unless the best is so large that the first two penalties
    both scored lower than a later one.

    Parameters
    ----------
    score : callable
        Takes a penalty and returns its score; higher is better. It may begin at the parameters
        found for the penalty before. A score that is not finite counts as the lowest.
    first : float
        One of `PENALTIES`.
    coarse : bool, default=False
        Whether to try every second penalty only, and to turn back at the first lower score.

    Returns
    -------
    scores : dict of float to float
        By penalty, in ascending order.
    """
    start = PENALTIES.index(first)
    scores: dict[float, float] = {}
    best = -np.inf
    step, patience = (2, 1) if coarse else (1, _PATIENCE)
    up, down = PENALTIES[start::step], PENALTIES[start - step :: -step] if start >= step else ()
    for path in (up, down):
        n_lower = 0
        for alpha in path:
            found = score(alpha)
            scores[alpha] = found if np.isfinite(found) else -np.inf
            n_lower = 0 if scores[alpha] > best else n_lower + 1
            best = max(best, scores[alpha])
            if best == -np.inf:
                n_lower = 0  # nothing to compare with so far
            if n_lower == patience:
                break
        if best > max(scores[alpha] for alpha in up[:patience] if alpha in scores):
            break
    return dict(sorted(scores.items()))


def largest_good(by_row: dict[float, Array], weights: Array) -> float:
    """Return the largest penalty whose score is not clearly lower than the best.

    A difference of scores counts if it exceeds a share of its standard error, which is that of a
    mean of differences of single rows.

    Parameters
    ----------
    by_row : dict of float to array (n_rows,)
        Log-density of every held-out row, by penalty.
    weights : array (n_rows,)
    """
    shares = weights / weights.sum()
    best = max(by_row, key=lambda alpha: weights @ by_row[alpha])
    good = best
    for alpha, values in by_row.items():
        lower = by_row[best] - values
        mean = shares @ lower
        deviations = shares * (lower - mean)
        scale = np.abs(deviations).max() or 1.0  # squares of large numbers overflow
        error = scale * np.sqrt(((deviations / scale) ** 2).sum())
        if alpha > good and mean <= _NEGLIGIBLE_ERROR * error:
            good = alpha
    return good
