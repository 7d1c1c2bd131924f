"""A fitted network together with its rows, as the maximum of a penalised likelihood."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.engines import Engine
from fastem.estimators.arguments import row_weights
from fastem.estimators.standardization import Standardization
from fastem.estimators.validation import check_weights
from fastem.parameters import NO_VARIANCE, Array, Shape
from fastem.rows import LARGEST_WEIGHT
from fastem.sparse import SparseFeatures

# A variance closer to its lower bound than this share of the bound is held at the bound.
_AT_FLOOR = 1e-3


class FittedProblem(NamedTuple):
    """The likelihood that a fit maximised, on standardised features and outputs.

    Flat vectors have the order of `EStep.flatten`, with intercepts in every layer.

    Attributes
    ----------
    shape : Shape
        With intercepts, also if the estimator has none.
    engine : Engine
    X : array or SparseFeatures (n_samples, n_features)
    targets, weights : arrays (n_samples, ...)
        Rows of positive weight.
    coefs, intercepts : lists of arrays
        The fitted parameters on standardised features and outputs. Intercepts that the estimator
        does not have are zero.
    variance : array (n_outputs,) or None
    free : array (n_parameters,) of bool
        Parameters that were estimated. Missing intercepts and noise variances at their lower bound
        are not.
    penalty : array (n_parameters,)
        The objective is the log-likelihood minus half the sum of ``penalty * parameter**2``.
    standardization : Standardization
    n_jobs : int or None
    """

    shape: Shape
    engine: Engine
    X: Array | SparseFeatures
    targets: np.ndarray
    weights: Array
    coefs: list[Array]
    intercepts: list[Array]
    variance: Array | None
    free: np.ndarray
    penalty: Array
    standardization: Standardization
    n_jobs: int | None


def fitted_problem(
    model: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> FittedProblem:
    """Return the problem that a fitted model solves on the given rows.

    Parameters
    ----------
    model : BaseFastEM
    X, y, sample_weight
        The rows that the model was fitted to.

    Raises
    ------
    NotFittedError
        If `fit` has not been called.
    ValueError
        If X, y or a weight is out of range.
    """
    X = model._check_X(X)
    targets = model._known_targets(y, len(X))
    weights = row_weights(sample_weight, X)
    weights = model._with_class_weights(targets, weights, incremental=False)
    check_weights(weights, LARGEST_WEIGHT)
    kept = weights > 0.0
    X, targets, weights = X[kept], targets[kept], weights[kept]
    sizes = tuple(len(b) for b in model.intercepts_[:-1])
    n_outputs, family = len(model.intercepts_[-1]), model.family_
    floor = getattr(model, "variance_floor_", 0.0)
    own = Shape(X.shape[1], sizes, n_outputs, bool(model.fit_intercept), family, floor)
    standardization = Standardization.of(X, targets, weights, own, features=model.standardize)
    given = getattr(model, "variance_", NO_VARIANCE) if own.n_variances > 0 else NO_VARIANCE
    parameters = own.from_lists(model.coefs_, model.intercepts_, given)
    parameters = standardization.unfold(parameters)
    shape = own._replace(fit_intercept=True, variance_floor=0.0)
    coefs, intercepts = own.to_lists(parameters)
    variance = parameters.variance if own.n_variances > 0 else None
    is_weight = shape.penalty_weights() > 0.0
    free = is_weight | own.fit_intercept
    if variance is not None:
        free[len(free) - len(variance) :] = variance > (1.0 + _AT_FLOOR) * floor
    return FittedProblem(
        shape, model.e_step_, standardization.apply(X), standardization.apply_to_targets(targets),
        weights, coefs, intercepts, variance, free, penalty_in_use(model) * is_weight,
        standardization, model.n_jobs,
    )  # fmt: skip


def penalty_in_use(model: Any) -> float:
    """Return the penalty that a fitted model has: `alpha_` if it was chosen, else `alpha`."""
    return float(getattr(model, "alpha_", model.alpha))
