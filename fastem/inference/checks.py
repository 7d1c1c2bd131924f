"""Checks of models, rows and numbers that several functions of inference take."""

import numbers
from typing import Any

import numpy as np
from scipy.sparse import issparse

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.parameters import Array
from fastem.runtime import bytes_of, check_memory
from fastem.sparse import SparseFeatures


def check_model(model: Any) -> None:
    """Check that a model has stochastic units.

    Raises
    ------
    TypeError
        If it has not.
    """
    if not isinstance(model, (FastEMClassifier, FastEMRegressor)):
        raise TypeError(
            "model must be a fitted FastEMClassifier or FastEMRegressor, got "
            f"{type(model).__name__}."
        )


def checked_rows(model: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Array]:
    """Return X as an array or sparse rows, y, and all weights; they have been checked."""
    X = X.tocsr() if issparse(X) else model._check_X(X)
    n = X.shape[0]
    weights = np.ones(n) if sample_weight is None else np.array(sample_weight, dtype=float)
    return X, y, weights


def as_dense(X: Array | SparseFeatures) -> Array:
    """Return all values of the features, (n_samples, n_features).

    Raises
    ------
    ValueError
        If they do not fit into memory.
    """
    if not isinstance(X, SparseFeatures):
        return X
    check_memory(
        f"A dense array of {X.shape[0]} rows and {X.shape[1]} features",
        "for derivatives",
        "Use fastem.bootstrap, or fewer rows or features.",
        bytes_of({"X": (2, *X.shape)}),
    )
    return X.toarray()


def check_count(name: str, value: Any, least: int) -> None:
    """Check a number of resamples or starts.

    Raises
    ------
    ValueError
        If it is not an integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
