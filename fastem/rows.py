"""Training rows as engines and M-steps see them: sorted by class, with a column of ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array, Shape

LARGEST_WEIGHT = 1e100
"""Largest weight of a row: below it, sums over rows and configurations stay finite."""


class ClassSortedRows(NamedTuple):
    """Labelled rows, sorted by class once before the first E-step.

    Attributes
    ----------
    inputs : array (n_samples, n_inputs)
        In C order. In a network with intercepts the last column is ones.
    weights : array (n_samples,)
    class_starts : array (n_classes + 1,)
        Rows ``class_starts[k]:class_starts[k + 1]`` are of class k.
    order : array (n_samples,)
        Original position of each row: ``inputs = X[order]``.
    """

    inputs: Array
    weights: Array
    class_starts: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of every row, (n_samples,)."""
        return np.repeat(np.arange(len(self.class_starts) - 1), np.diff(self.class_starts))


def add_ones(X: Array, fit_intercept: bool) -> Array:
    """Return X as float64 in C order, with a column of ones last if there are intercepts."""
    X = np.asarray(X, dtype=np.float64)
    if fit_intercept:
        X = np.hstack([X, np.ones((X.shape[0], 1))])
    return np.ascontiguousarray(X)


def sort_by_class(X: Array, y: NDArray, weights: Array, shape: Shape) -> ClassSortedRows:
    """Sort rows by class index.

    Parameters
    ----------
    X : array (n_samples, n_features)
    y : array of int (n_samples,)
        Class indices ``0, ..., n_classes - 1``.
    weights : array (n_samples,)
    shape : Shape

    Returns
    -------
    rows : ClassSortedRows
    """
    order = np.argsort(y, kind="stable")
    starts = np.searchsorted(y[order], np.arange(shape.n_classes + 1))
    inputs = add_ones(np.asarray(X)[order], shape.fit_intercept)
    return ClassSortedRows(inputs, np.ascontiguousarray(weights[order]), starts, order)


def largest_inputs(inputs: Array) -> Array:
    """Return the largest absolute value of every column, without a copy of the inputs."""
    return np.maximum(inputs.max(axis=0, initial=0.0), -inputs.min(axis=0, initial=0.0))


def check_log_odds(largest: Array, hidden: Array) -> None:
    """Check that log-odds cannot overflow.

    Parameters
    ----------
    largest : array (n_inputs,)
        Largest absolute value of every input (`largest_inputs`).
    hidden : array (n_inputs, n_hidden), log-odds per unit of input

    Raises
    ------
    FloatingPointError
        If the log-odds of a unit can overflow.
    """
    with np.errstate(over="ignore"):
        bound = largest @ np.abs(hidden)
    if not np.isfinite(bound).all():
        raise FloatingPointError(
            "The log-odds of a hidden unit are not a number: inputs times weights overflow. "
            "Rescale the features (standardize=True) or use smaller weights."
        )
