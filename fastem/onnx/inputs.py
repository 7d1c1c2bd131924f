"""The inputs of a graph: one tensor, or one tensor for every column of a table."""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from fastem.onnx.pipelines import first_step


def input_types(model: Any, X: Any, real: np.dtype) -> list[tuple[str, Any]]:
    """Return the names and types of the inputs, as skl2onnx takes them.

    Parameters
    ----------
    model : estimator
    X : DataFrame or array or None
        Example rows.
    real : dtype
        Type of real numbers.

    Raises
    ------
    ValueError
        If X is needed, or has other columns than those of `fit`.
    """
    names = getattr(model, "feature_names_in_", None)
    takes_columns = isinstance(first_step(model), ColumnTransformer) and names is not None
    if not takes_columns:
        return [("X", _type_of(_as_array(X), real, int(model.n_features_in_)))]
    if not hasattr(X, "columns"):
        raise ValueError(
            "The first step of this model takes columns of a DataFrame by their names. Pass some "
            "rows as X, so that the types of the columns are known: fastem.to_onnx(model, X)."
        )
    absent = [name for name in names if name not in X.columns]
    if absent:
        raise ValueError(f"X lacks columns that the model was fitted with: {absent}.")
    return [(str(name), _type_of(np.asarray(X[name]), real, 1)) for name in names]


def _as_array(X: Any) -> np.ndarray | None:
    return None if X is None or hasattr(X, "tocsr") else np.asarray(X)


def _type_of(values: np.ndarray | None, real: np.dtype, width: int) -> Any:
    """Return the type of a tensor (n_samples, width)."""
    from skl2onnx.common.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )

    shape = [None, width]
    kind = "f" if values is None else values.dtype.kind
    if kind in "OUST":
        return StringTensorType(shape)
    if kind == "b":
        return BooleanTensorType(shape)
    if kind in "iu" and values is not None and values.ndim == 1:
        return Int64TensorType(shape)
    return (DoubleTensorType if real == np.float64 else FloatTensorType)(shape)


def remove_unused_inputs(graph: Any) -> None:
    """Remove inputs that no node reads, such as columns that a ColumnTransformer drops."""
    used = {name for node in graph.graph.node for name in node.input}
    for value in [x for x in graph.graph.input if x.name not in used]:
        graph.graph.input.remove(value)
