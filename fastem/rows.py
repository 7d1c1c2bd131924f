"""Training rows as engines and M-steps see them: sorted by class, with a column of ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array, Shape

LARGEST_WEIGHT = 1e100
"""Of a row: sums of weights over rows and configurations stay finite below."""


class ClassSortedRows(NamedTuple):
    """Labelled rows, sorted by class once so that every E-step finds them so.

    Attributes
    ----------
    inputs : array (n_samples, n_inputs)
        C-ordered; the last column is ones in a network with intercepts.
    weights : array (n_samples,)
    class_starts : array (n_classes + 1,)
        Rows ``class_starts[k]:class_starts[k + 1]`` are of class k.
    order : array (n_samples,)
        Where each row stood before: ``inputs = X[order]``.
    """

    inputs: Array
    weights: Array
    class_starts: NDArray[np.int64]
    order: NDArray[np.int64]


def add_ones(X: Array, fit_intercept: bool) -> Array:
    """Return X as float64 in C order, with a column of ones where there are intercepts."""
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
    """Return the largest size of every column; no array of the size of the inputs is made."""
    return np.maximum(inputs.max(axis=0, initial=0.0), -inputs.min(axis=0, initial=0.0))


def check_log_odds(largest: Array, hidden: Array) -> None:
    """Raise if log-odds could overflow: ``largest`` is the largest input of each column."""
    with np.errstate(over="ignore"):
        bound = largest @ np.abs(hidden)
    if not np.isfinite(bound).all():
        raise FloatingPointError(
            "The log-odds of a hidden unit are not a number: inputs times weights overflow. "
            "Rescale the features (standardize=True) or use smaller weights."
        )
