"""Means over the splits of a comparison, and their standard errors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from fastem.parameters import Array

_LEVEL = 0.95


def corrected_standard_error(values: ArrayLike, n_train: int, n_test: int) -> float | None:
    """Return the standard error of a mean over random splits of the same rows.

    The splits share rows, so that ``s^2 / N`` is too small for the variance of the mean. This
    function returns the root of

        (1 / N + n_test / n_train) s^2

    where ``s^2`` is the sample variance of the N values.

    Parameters
    ----------
    values : array (n_splits,)
    n_train, n_test : int
        Rows in both parts of every split.

    Returns
    -------
    standard_error : float or None
        None for a single split.

    References
    ----------
    Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    return math.sqrt(1 / len(values) + n_test / n_train) * _deviation(values)


def paired_difference(
    losses: Sequence[Array], reference: Sequence[Array], n_train: int
) -> tuple[float, float | None]:
    """Return the mean difference of two test losses, and its standard error.

    Parameters
    ----------
    losses, reference : sequence of array (n_test,)
        Losses of the test rows, one array for each split.
    n_train : int

    Returns
    -------
    difference : float
        Mean over the splits.
    standard_error : float or None
        That of `corrected_standard_error`; for one split that of the mean over its test rows.
        None for one split with one test row.
    """
    rows = [a - b for a, b in zip(losses, reference, strict=True)]
    means, n_test = [float(np.mean(row)) for row in rows], len(rows[0])
    if len(rows) > 1:
        return float(np.mean(means)), corrected_standard_error(means, n_train, n_test)
    if n_test < 2:
        return means[0], None
    return means[0], _deviation(rows[0]) / math.sqrt(n_test)


def _deviation(values: Array) -> float:
    """Return the standard deviation of a sample, without overflow of squares."""
    scale = float(np.max(np.abs(values)))
    return float(np.std(values / scale, ddof=1)) * scale if scale > 0.0 else 0.0


def verdict(
    losses: dict[str, float],
    differences: dict[str, tuple[float, float | None]],
    reference: str,
    n_values: int,
) -> dict[str, Any]:
    """Compare the method of the lowest test loss with the reference, or that with the next best.

    Parameters
    ----------
    losses : dict of str to float
        Mean test losses of all methods.
    differences : dict of str to (float, float or None)
        Those of `paired_difference` of the methods except the reference.
    reference : str
    n_values : int
        Number of values whose mean is the difference: splits, or test rows of one split.

    Returns
    -------
    verdict : dict
        ``limit`` is the 97.5 % quantile of Student's t with ``n_values - 1`` degrees of freedom.
        ``may_be_chance`` is whether the difference is at most ``limit`` standard errors; None
        without a standard error.
    """
    best = min(losses, key=losses.__getitem__)
    other = reference
    if best == reference:
        other = min(differences, key=lambda name: losses[name])
    difference, error = differences[other if best == reference else best]
    limit = chance = None
    if error is not None:
        limit = float(t.ppf((1 + _LEVEL) / 2, n_values - 1))
        chance = bool(abs(difference) <= limit * error)
    return {
        "lowest_test_loss": best,
        "compared_with": other,
        "difference": abs(difference),
        "standard_error": error,
        "limit": limit,
        "may_be_chance": chance,
    }
