"""Dask collections as lists of partitions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.array as da
import dask.dataframe as dd
import numpy as np
from dask.base import tokenize
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from sklearn.utils.validation import validate_data

Part = tuple[Any, ...]


class Partitioned(NamedTuple):
    """X, y and weights in partitions.

    Attributes
    ----------
    parts : list of tuples (X, y, sample_weight) of Delayed
        One per partition; the weights are None if there are none.
    n_bytes : list of int or None
        Memory of the features of every partition, where it is known in advance.
    """

    parts: list[Part]
    n_bytes: list[int | None]


def partitioned(X: Any, y: Any, sample_weight: Any = None) -> Partitioned:
    """Return X, y and weights in partitions that belong together.

    Nothing is computed. Partitions may be empty and of unknown length. If the lengths of two arrays
    are known and differ, y or the weights are divided like X. Otherwise partition i of y
    belongs to partition i of X. Arrays and data frames may be combined.

    Parameters
    ----------
    X : dask Array (n_samples, n_features) or dask DataFrame
    y : dask Array, Series or DataFrame (n_samples,) or (n_samples, n_outputs)
    sample_weight : dask Array or Series (n_samples,), optional

    Returns
    -------
    data : Partitioned
        What X, y and weights need in common is read once per partition. Of files, only the columns
        that they need are read.

    Raises
    ------
    TypeError
        If one of them is not a Dask collection.
    ValueError
        If they have the wrong number of dimensions, no columns, or other partitions than X.
    """
    X = features_in_partitions(X)
    if y is None:
        raise ValueError("The estimator requires y to be passed, but the target y is None.")
    collections = [X, _like("y", y, X, most_dimensions=2)]
    if sample_weight is not None:
        collections.append(_like("sample_weight", sample_weight, X, most_dimensions=1))
    columns = _delayed(collections)
    if sample_weight is None:
        columns.append([None] * len(columns[0]))
    return Partitioned(list(zip(*columns, strict=True)), _known_bytes(X))


def features_in_partitions(X: Any) -> Any:
    """Return X, checked, with all columns of a row in one partition.

    Raises
    ------
    TypeError
        If X is not a Dask array or data frame.
    ValueError
        If it does not have two dimensions, or has no columns or an unknown number of columns.
    """
    _check_kind("X", X)
    if X.ndim != 2:
        remedy = "X[:, None]" if isinstance(X, da.Array) else "X.to_frame()"
        raise ValueError(
            f"X must have two dimensions, got {X.ndim}. Use {remedy} for a single feature."
        )
    return _with_whole_rows("X", X)


def features_of_model(X: Any, model: Any) -> Any:
    """Return X as `features_in_partitions` does, if it has the columns of a fitted model.

    Parameters
    ----------
    X : dask Array (n_samples, n_features) or dask DataFrame
    model : fitted estimator of scikit-learn

    Raises
    ------
    TypeError
        If X is not a Dask array or data frame.
    ValueError
        If X has other columns, or another number or order of them.
    """
    X = features_in_partitions(X)
    if isinstance(X, dd.DataFrame):
        validate_data(model, X._meta, reset=False, skip_check_array=True)
    elif X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    return X


def _check_kind(name: str, values: Any) -> None:
    if isinstance(values, (da.Array, dd.DataFrame, dd.Series)):
        return
    kind = type(values).__name__
    if isinstance(values, Delayed):
        remedy = "Use dask.array.from_delayed or dask.dataframe.from_delayed."
    elif kind == "Bag":
        remedy = "Use its method to_dataframe."
    else:
        remedy = (
            "For data in memory use FastEMClassifier or FastEMRegressor, or dask.array.from_array."
        )
    raise TypeError(f"{name} must be a Dask array or data frame, got {kind}. {remedy}")


def _with_whole_rows(name: str, values: Any) -> Any:
    """Return values with all columns of a row in one partition."""
    if values.ndim < 2:
        return values
    if isinstance(values, da.Array):
        if np.isnan(values.shape[1]):
            raise ValueError(
                f"{name} has an unknown number of columns. Call {name}.compute_chunk_sizes() first."
            )
        if values.numblocks[1] > 1:
            values = values.rechunk({1: -1})
    n_columns = values.shape[1] if isinstance(values, da.Array) else len(values.columns)
    if n_columns == 0:
        raise ValueError(f"{name} has no columns. Select at least one.")
    return values


def _like(name: str, values: Any, X: Any, most_dimensions: int) -> Any:
    """Return y or weights, checked, in the partitions of X."""
    _check_kind(name, values)
    if not 1 <= values.ndim <= most_dimensions:
        allowed = "one dimension" if most_dimensions == 1 else "one or two dimensions"
        raise ValueError(
            f"{name} must have {allowed}, got {values.ndim}. Select one column, or reshape it."
        )
    values = _with_whole_rows(name, values)
    if isinstance(X, da.Array) and isinstance(values, da.Array):
        values = _in_rows_of(name, values, X)
    if values.npartitions != X.npartitions:
        raise ValueError(
            f"X has {X.npartitions} partitions and {name} has {values.npartitions}. Create both "
            f"from the same collection, or divide {name} as X is divided."
        )
    if not isinstance(X, da.Array) and not isinstance(values, da.Array):
        are_known = X.known_divisions and values.known_divisions
        if are_known and X.divisions != values.divisions:
            raise ValueError(
                f"X and {name} have different divisions. Take both from the same data frame, or "
                f"use {name}.repartition(divisions=X.divisions)."
            )
    return values


def _in_rows_of(name: str, values: da.Array, X: da.Array) -> da.Array:
    """Return an array in the rows of X, if all lengths are known."""
    rows, own = X.chunks[0], values.chunks[0]
    if np.isnan(rows).any() or np.isnan(own).any() or rows == own:
        return values
    if sum(rows) != sum(own):
        raise ValueError(
            f"X has {sum(rows)} rows and {name} has {sum(own)}. They must have the same number."
        )
    return values.rechunk({0: rows})


def _delayed(collections: Sequence[Any]) -> list[list[Any]]:
    """Return the partitions of each collection."""
    are_arrays = [isinstance(values, da.Array) for values in collections]
    pairs = list(zip(collections, are_arrays, strict=True))
    of_arrays = iter(_delayed_arrays([values for values, is_array in pairs if is_array]))
    of_frames = iter(_delayed_frames([values for values, is_array in pairs if not is_array]))
    return [next(of_arrays if is_array else of_frames) for is_array in are_arrays]


def _delayed_arrays(arrays: Sequence[da.Array]) -> list[list[Delayed]]:
    """Return the blocks of each array, from one graph: a block that several need is read once."""
    if not arrays:
        return []
    keys = [list(flatten(array.__dask_keys__())) for array in arrays]
    graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
    tasks = da.Array.__dask_optimize__(graph, [key for own in keys for key in own])
    layer = f"fastem-arrays-{tokenize(keys)}"
    graph = HighLevelGraph.from_collections(layer, tasks, dependencies=())
    return [[Delayed(key, graph, layer=layer) for key in own] for own in keys]


def _delayed_frames(frames: Sequence[Any]) -> list[list[Delayed]]:
    """Return the partitions of each data frame, from one expression.

    The expression is simplified, which selects columns when files are read. It is not optimised
    further: Dask could join partitions of files.
    """
    if not frames:
        return []
    joint = dd.map_partitions(
        _together, *frames, meta=(None, object), enforce_metadata=False, clear_divisions=True,
        token="fastem-frames",
    )  # fmt: skip
    rows = joint.simplify().to_delayed(optimize_graph=False)
    return [[row[i] for row in rows] for i in range(len(frames))]


def _together(*frames: Any) -> Part:
    return frames


def _known_bytes(X: Any) -> list[int | None]:
    if not isinstance(X, da.Array):
        return [None] * X.npartitions
    lengths = X.chunks[0]
    if not isinstance(X._meta, np.ndarray) or X.dtype.hasobject:  # sparse, or of any size
        return [None] * len(lengths)
    row = X.shape[1] * X.dtype.itemsize
    return [None if np.isnan(n) else int(n) * row for n in lengths]
