"""Numbers and counts of a regressor with stochastic units."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from fastem.estimators.validation import check_targets, how_to_start_anew
from fastem.families import Family, IndependentOutputs, resolve_family
from fastem.parameters import Array
from fastem.runtime import check_kind


def learn_numbers(estimator: Any, y: Any, *, resumes: bool) -> tuple[Family, Array]:
    """Return family and targets (n_samples, n_outputs) of y.

    Parameters
    ----------
    estimator : FastEMRegressor
    y : array (n_samples,) or (n_samples, n_outputs)
    resumes : bool
        Whether the number of outputs must be that of the earlier fit.

    Raises
    ------
    ValueError
        If the family is for classes, a value is impossible under it or too large, or the number of
        outputs has changed.
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
    n_fitted = len(estimator.intercepts_[-1]) if resumes else targets.shape[1]
    if targets.shape[1] != n_fitted:
        raise ValueError(
            f"The earlier fit has {n_fitted} output{'s' if n_fitted > 1 else ''}, y has "
            f"{targets.shape[1]}; {how_to_start_anew(estimator)}."
        )
    return family, targets


def known_numbers(estimator: Any, y: ArrayLike, wanted: tuple[int, int]) -> Array:
    """Return the targets of y (n_samples, n_outputs), which must have the shape ``wanted``.

    Raises
    ------
    ValueError
        If y has another shape, or a value that is impossible under the family.
    """
    check_kind("y", y)
    targets = estimator.family_.targets(y)
    if targets.shape != wanted:
        raise ValueError(f"y must have shape {wanted}, got {np.shape(y)}.")
    return targets
