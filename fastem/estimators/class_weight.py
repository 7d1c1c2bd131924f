"""Weights of classes, for both kinds of classifier."""

from typing import Any

import numpy as np

from fastem.parameters import Array


def class_weight_of_rows(
    class_weight: Any,
    classes: np.ndarray,
    targets: np.ndarray,
    weights: Array,
    *,
    incremental: bool,
) -> Array | None:
    """Return the class weight of every row (n_samples,), or None.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        The parameter of the estimator. A class that is missing in the dict has weight 1.
    classes : array (n_classes,)
    targets : array (n_samples,) or (n_samples, n_labels)
        Class indices, or one column per label for multilabel.
    weights : array (n_samples,)
        Sample weights. A row of weight w counts as w rows.
    incremental : bool
        Whether the rows are those of `partial_fit`.

    Raises
    ------
    ValueError
        If rows have several labels, `class_weight` is "balanced" in `partial_fit`, it names a label
        that does not occur while a class has no weight, or a weight is negative or not finite.
    """
    if class_weight is None:
        return None
    if targets.ndim == 2:
        raise ValueError("class_weight needs one label per row; use sample_weight instead.")
    if isinstance(class_weight, str):
        if incremental:
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, because it needs all "
                "labels at once; pass a dict of weights."
            )
        totals = np.bincount(targets, weights)
        shares = np.where(totals > 0.0, totals, np.inf)  # rows without weight stay without weight
        return (totals.sum() / (np.count_nonzero(totals) * shares))[targets]
    labels = classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    missing = [label for label in labels if label not in class_weight]
    if unknown and missing:
        raise ValueError(
            f"class_weight has weights for {unknown}, which are not classes, and none for "
            f"{missing}. The classes are {labels}."
        )
    try:
        of_class = np.array([float(class_weight.get(label, 1.0)) for label in labels])
    except (TypeError, ValueError) as error:
        raise ValueError(f"class_weight={class_weight!r}: {error}") from error
    if not (np.isfinite(of_class).all() and (of_class >= 0).all()):
        raise ValueError(f"class_weight must be finite and >= 0, got {class_weight!r}.")
    return of_class[targets]
