"""What the driver of a fit learns of every part of the rows in the first pass."""

from typing import Any, NamedTuple

import numpy as np

from fastem._version import __version__
from fastem.estimators.standardization import Moments, extremes_of
from fastem.parameters import Array
from fastem.selection import values_of_columns
from fastem.sparse import SparseFeatures

MOST_CELLS = 10_000.0
"""Largest product of the numbers of values of the columns in a table of few categories."""


class PartSummary(NamedTuple):
    """Sums, extremes and labels of a part of the rows that has rows.

    Attributes
    ----------
    n_rows, n_features : int
    n_outputs : int or None
        Number of columns of targets that are not classes.
    names : array of str (n_features,) or None
    version : str
        Version of the package that has read the part.
    largest_weight : float
    labels : array (n_labels,) or None
        Sorted labels of a classifier with one label per row.
    weights : array (n_labels,)
        Summed weight of the rows with every label; of all rows, (1,), if there are no labels.
    counts : array (n_labels,) or (1,)
        Number of the rows of positive weight, as ``weights``.
    are_counts : bool
        Whether all weights are integers.
    values : tuple of arrays (n_features,) or None
        Sorted values of every column in rows of positive weight; None if their combinations are
        many, or if no row has weight.
    features : tuple of Moments or None (n_labels,) or (1,)
        Moments of the features, by label if classes have weights. None for rows without weight.
    outputs : Moments or None
        Of targets that are not classes. None also if the rows have no weight.
    extremes : array (2, n_outputs) or None
        Smallest and largest values of these targets in rows of positive weight, if they are
        numbers.
    """

    n_rows: int
    n_features: int
    n_outputs: int | None
    names: np.ndarray | None
    version: str
    largest_weight: float
    labels: np.ndarray | None
    weights: Array
    counts: Array
    are_counts: bool
    values: tuple[Array, ...] | None
    features: tuple[Moments | None, ...]
    outputs: Moments | None
    extremes: Array | None


def read_part(model: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Any, ...]:
    """Return checked rows of a part: features, y and weights, which may all be zero.

    ``reset`` states whether to store the columns in the model; otherwise they are compared.

    Raises
    ------
    TypeError, ValueError
        As in `fit`.
    """
    if sample_weight is None or np.any(np.asarray(sample_weight)):
        return model._read_rows(X, y, sample_weight, reset=reset)
    X, y, weights = model._read_rows(X, y, None, reset=reset)  # scikit-learn refuses zeros
    return X, y, 0.0 * weights


def summary_of_part(X: Any, y: Any, sample_weight: Any, model: Any) -> PartSummary | None:
    """Check the rows of a part, and summarise them; None if there are none.

    Parameters
    ----------
    X, y, sample_weight
        As in `fit`; ``sample_weight`` may be None.
    model : BaseFastEM
        Its parameters are read; it is not fitted. It is changed.

    Raises
    ------
    TypeError, ValueError
        As in `fit`.
    """
    if X.shape[0] == 0:
        return None
    X, y, weights = read_part(model, X, y, sample_weight, reset=True)
    labels, targets = model._targets_of_part(y)
    groups, kept = np.zeros(len(X), dtype=np.int64), weights > 0.0
    if labels is not None:
        labels, groups = np.unique(labels, return_inverse=True)
    summed, counts = np.bincount(groups, weights), np.bincount(groups, 1.0 * kept)
    if labels is None or model.class_weight is None:
        groups[:] = 0
    features = tuple(_moments(X, weights, kept & (groups == k)) for k in range(groups.max() + 1))
    n_outputs = None if targets is None else targets.shape[1]
    names = getattr(model, "feature_names_in_", None)
    outputs = extremes = None
    if targets is not None and kept.any():
        outputs, extremes = _moments(targets, weights, kept), extremes_of(targets[kept])
    are_counts = bool((weights == np.round(weights)).all())
    return PartSummary(
        len(X), X.shape[1], n_outputs, names, __version__, float(weights.max()), labels, summed,
        counts, are_counts, _few_values(X, kept), features, outputs, extremes,
    )  # fmt: skip


def _few_values(X: Any, kept: np.ndarray) -> tuple[Array, ...] | None:
    """Return the values of every column; None if their combinations are many, or without rows."""
    if isinstance(X, SparseFeatures) or not kept.any():
        return None
    return values_of_columns(X if kept.all() else X[kept], MOST_CELLS)


def _moments(values: Any, weights: Array, kept: np.ndarray) -> Moments | None:
    if not kept.any():
        return None
    return Moments.of(values, weights) if kept.all() else Moments.of(values[kept], weights[kept])
