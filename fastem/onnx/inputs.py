"""The inputs of a graph: one tensor, or one tensor for every column of a table."""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from fastem.onnx.pipelines import first_step
from fastem.onnx.steps import Columns


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
    first = first_step(model)
    if isinstance(first, Columns):
        kinds = {"number": np.empty(0, real), "text": np.empty(0, str), "boolean": np.empty(0, str)}
        return [(name, _type_of(kinds[kind], real, 1)) for name, kind in first.kinds.items()]
    names = getattr(first, "feature_names_in_", None)
    if not (isinstance(first, ColumnTransformer) and names is not None):
        n_features = _n_features(first, X)
        if X is not None and (len(np.shape(X)) != 2 or np.shape(X)[1] != n_features):
            raise ValueError(
                f"X must have the {n_features} features of the model, got the shape {np.shape(X)}."
            )
        return [("X", _type_of(_as_array(X), real, n_features))]
    if not hasattr(X, "columns"):
        raise ValueError(
            "The first step of this model takes columns of a DataFrame by their names. Pass some "
            "rows as X, so that the types of the columns are known: fastem.to_onnx(model, X)."
        )
    absent = [name for name in names if name not in X.columns]
    if absent:
        raise ValueError(f"X lacks columns that the model was fitted with: {absent}.")
    return [(str(name), _type_of(_values(X[name]), real, 1)) for name in names]


def _values(column: Any) -> np.ndarray:
    """Return values of the type of a column; nullable types of pandas are not objects here."""
    inner = getattr(column.dtype, "numpy_dtype", None)
    return np.asarray(column) if inner is None else np.empty(0, inner)


def _n_features(first: Any, X: Any) -> int:
    n_features = getattr(first, "n_features_in_", None)
    if n_features is None and len(np.shape(X)) == 2:
        return int(np.shape(X)[1])
    if n_features is None:
        raise ValueError(
            f"The first step, {type(first).__name__}, has no attribute n_features_in_. Pass some "
            "rows as X, so that the number of features is known: fastem.to_onnx(model, X)."
        )
    return int(n_features)


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


def restore_input_names(graph: Any, types: list[tuple[str, Any]]) -> None:
    """Give inputs their names back: skl2onnx replaces characters such as blanks."""
    nodes = graph.graph.node
    taken = {name for node in nodes for name in (*node.input, *node.output)}
    names = {}
    for value, (name, _) in zip(graph.graph.input, types, strict=True):
        if name not in taken:
            names[value.name] = value.name = name
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


def remove_unused_inputs(graph: Any) -> None:
    """Remove inputs that no node reads, such as columns that a ColumnTransformer drops."""
    inputs = graph.graph.input
    used = {name for node in graph.graph.node for name in node.input}
    for value in [value for value in inputs if value.name not in used]:
        inputs.remove(value)
