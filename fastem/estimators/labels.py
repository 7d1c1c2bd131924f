"""Labels of a classifier with stochastic units: one class per row, or several labels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, is_multilabel

from fastem.estimators.arguments import labels_of
from fastem.estimators.validation import check_same_classes, check_two_classes, class_indices
from fastem.families import Bernoulli, Family
from fastem.parameters import CATEGORICAL, Array


def learn_labels(
    estimator: Any, y: Any, weights: Array, classes: Any, *, resumes: bool
) -> tuple[Family, np.ndarray]:
    """Return family and targets of y, and set ``classes_``.

    Parameters
    ----------
    estimator : FastEMClassifier
    y : array (n_samples,), or dense or sparse matrix (n_samples, n_labels)
    weights : array (n_samples,)
    classes : array or None
        Labels that were announced to `partial_fit`; None in `fit`.
    resumes : bool
        Whether the labels must be those of the earlier fit.

    Returns
    -------
    family : Categorical or Bernoulli
    targets : array of int (n_samples,) or array (n_samples, n_labels)

    Raises
    ------
    ValueError
        If y has no two classes, other classes than announced, or others than in the earlier fit.
    """
    if is_multilabel(y):
        labels = np.arange(y.shape[1])
        if classes is not None and not np.array_equal(classes, labels):
            raise ValueError(
                f"classes must be the column numbers of y, {labels.tolist()}, got "
                f"{np.asarray(classes).tolist()}."
            )
        if resumes and isinstance(estimator.family_, Bernoulli):
            check_same_classes(estimator, labels)
        estimator.classes_ = labels
        return Bernoulli(), _indicators(y)
    y = single_labels(y)
    if classes is None:
        classes, labels = np.unique(y, return_inverse=True)
        check_two_classes(weights, labels, classes)
        if resumes and not isinstance(estimator.family_, Bernoulli):
            check_same_classes(estimator, classes)
    else:
        if len(classes) < 2:
            raise ValueError(f"classes must hold at least two labels, got {classes.tolist()}.")
        labels = class_indices(y, classes, "among classes")
    estimator.classes_ = classes
    return CATEGORICAL, labels


def single_labels(y: Any) -> np.ndarray:
    """Return one label per row, (n_samples,).

    Raises
    ------
    ValueError
        If y holds numbers that are not whole, or has several columns.

    Warns
    -----
    DataConversionWarning
        If y is a single column.
    """
    check_classification_targets(y)
    return column_or_1d(y, warn=True)


def labels_of_part(y: Any) -> tuple[np.ndarray | None, Array | None]:
    """Return the labels of some of the rows, (n_samples,), or their indicator matrix.

    Raises
    ------
    ValueError
        If y holds numbers that are not whole.
    """
    return (None, _indicators(y)) if is_multilabel(y) else (single_labels(y), None)


def known_labels(estimator: Any, y: ArrayLike, n_samples: int) -> np.ndarray:
    """Return the targets of y for a fitted classifier.

    Raises
    ------
    ValueError
        If y has another shape, or labels that were not in `fit`.

    Warns
    -----
    DataConversionWarning
        If y is a single column; `fit` warns in the same way.
    """
    y, has_labels = labels_of("y", y), isinstance(estimator.family_, Bernoulli)
    if not has_labels and np.ndim(y) == 2 and np.shape(y)[1] == 1:
        y = column_or_1d(y, warn=True)
    labels = _indicators(y) if has_labels else np.asarray(y)
    wanted = (n_samples, len(estimator.classes_)) if has_labels else (n_samples,)
    if labels.shape != wanted:
        raise ValueError(f"y must have shape {wanted}, got {labels.shape}.")
    return labels if has_labels else class_indices(labels, estimator.classes_, "seen in fit")


def _indicators(y: Any) -> Array:
    """Return a matrix of 0 and 1 (n_samples, n_labels), from a dense or sparse one."""
    return Bernoulli().targets(y.toarray() if issparse(y) else y)
