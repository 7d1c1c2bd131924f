"""Numbers and counts of a regressor with stochastic units."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from fastem.estimators.validation import check_targets, warn_of_constant_outputs
from fastem.families import Family, IndependentOutputs, resolve_family
from fastem.parameters import Array


def learn_numbers(estimator: Any, y: Any, weights: Array, *, resumes: bool) -> tuple[Family, Array]:
    """Return family and targets (n_samples, n_outputs) of y.

    Parameters
    ----------
    estimator : FastEMRegressor
    y : array (n_samples,) or (n_samples, n_outputs)
    weights : array (n_samples,)
    resumes : bool
        Whether the number of outputs must be that of the earlier fit.

    Raises
    ------
    ValueError
        If the family is for classes, a value is impossible under it or too large, or the number of
        outputs has changed.

    Warns
    -----
    UserWarning
        If an output is constant.
    """
    family = resolve_family(estimator.family)
    if not isinstance(family, IndependentOutputs):
        raise ValueError(
            f"family={estimator.family!r} is for classes; use FastEMClassifier, or "
            "family='gaussian' or 'poisson'."
        )
    if np.ndim(y) == 2 and np.shape(y)[1] == 1:
        y = column_or_1d(y, warn=True)
    targets = family.targets(y)
    if family.has_variance:
        check_targets(targets)
        warn_of_constant_outputs(targets[weights > 0.0])
    n_fitted = len(estimator.intercepts_[-1]) if resumes else targets.shape[1]
    if targets.shape[1] != n_fitted:
        raise ValueError(
            f"The earlier fit has {n_fitted} outputs, y has {targets.shape[1]}; call fit with "
            "warm_start=False."
        )
    return family, targets


def known_numbers(estimator: Any, y: ArrayLike, n_samples: int) -> Array:
    """Return the targets of y (n_samples, n_outputs) for a fitted regressor.

    Raises
    ------
    ValueError
        If y has another shape, or a value that is impossible under the family.
    """
    targets = estimator.family_.targets(y)
    wanted = n_samples, len(estimator.intercepts_[-1])
    if targets.shape != wanted:
        raise ValueError(f"y must have shape {wanted}, got {np.shape(y)}.")
    return targets
