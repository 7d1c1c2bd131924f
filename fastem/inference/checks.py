"""Checks of models, rows and numbers that several functions of inference take."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.parameters import Array


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


def checked_rows(model: Any, X: ArrayLike, y: Any, sample_weight: Any) -> tuple[Array, Any, Array]:
    """Return X as an array, y, and the weights of all rows; they have been checked."""
    X = model._check_X(X)
    weights = np.ones(len(X)) if sample_weight is None else np.array(sample_weight, dtype=float)
    return X, y, weights


def check_count(name: str, value: Any, least: int) -> None:
    """Check a number of resamples or starts.

    Raises
    ------
    ValueError
        If it is not an integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
