"""The path of penalties, and the search along it."""

from collections.abc import Callable

import numpy as np

PENALTIES = (
    1.5e-4, 5e-4, 1.5e-3, 5e-3, 0.015, 0.05, 0.15, 0.5, 1.5, 5.0, 15.0, 50.0, 150.0, 500.0,
)  # fmt: skip
"""Penalties that ``alpha="auto"`` chooses from."""

_PATIENCE = 2  # penalties in a row with lower scores, after which a direction is given up


def search(score: Callable[[float], float], first: float) -> dict[float, float]:
    """Return the scores of penalties around the best one.

    Larger penalties than the first are tried until two in a row score lower than the best. Then
    smaller ones are tried in the same way, unless the best is so large that the first two penalties
    both scored lower than a later one.

    Parameters
    ----------
    score : callable
        Takes a penalty and returns its score; higher is better. It may begin at the parameters
        found for the penalty before. A score that is not finite counts as the lowest.
    first : float
        One of `PENALTIES`.

    Returns
    -------
    scores : dict of float to float
        By penalty, in ascending order.
    """
    start = PENALTIES.index(first)
    scores: dict[float, float] = {}
    best = -np.inf
    for path in (PENALTIES[start:], PENALTIES[:start][::-1]):
        n_lower = 0
        for alpha in path:
            found = score(alpha)
            scores[alpha] = found if np.isfinite(found) else -np.inf
            n_lower = 0 if scores[alpha] > best else n_lower + 1
            best = max(best, scores[alpha])
            if n_lower == _PATIENCE:
                break
        if best > max(scores[alpha] for alpha in PENALTIES[start : start + 2] if alpha in scores):
            break
    return dict(sorted(scores.items()))
