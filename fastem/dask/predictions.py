"""Lazy predictions: a function of rows, applied to the partitions of a Dask collection."""

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed

from fastem.dask.collections import Part, features_in_partitions

_PREFIX = "fastem-"


def apply_to_rows(
    function: Callable,
    X: Any,
    *,
    columns: Sequence | None = None,
    dtype: Any = np.float64,
    name: str,
) -> Any:
    """Return a function of the rows of X, without computing it.

    Parameters
    ----------
    function : callable
        Takes the rows of a partition, at least one. Returns an array (n_rows,), or
        (n_rows, n_columns) if there are columns.
    X : dask Array (n_samples, n_features) or dask DataFrame
    columns : sequence, optional
        Names of the columns of the result.
    dtype : dtype, default=float64
    name : str
        Name of the tasks, and of a Series.

    Returns
    -------
    results : dask Array, Series or DataFrame
        An array for an array. A data frame or series for a data frame, with its index.
    """
    X = features_in_partitions(X)
    width = None if columns is None else len(columns)
    if isinstance(X, da.Array):
        arguments = {"drop_axis": 1} if width is None else {"chunks": (X.chunks[0], (width,))}
        meta = np.empty((0,) if width is None else (0, width), dtype)
        return X.map_blocks(
            _values, function=function, width=width, out_dtype=dtype, dtype=dtype, meta=meta,
            name=None, token=_PREFIX + name, **arguments,
        )  # fmt: skip
    meta = _framed(np.empty((0,) if width is None else (0, width), dtype), None, columns, name)
    return X.map_partitions(
        _frame, function=function, columns=columns, out_dtype=dtype, own_name=name, meta=meta,
        token=_PREFIX + name, enforce_metadata=False,
    )  # fmt: skip


def sum_over_partitions(function: Callable, parts: Sequence[Part], name: str) -> da.Array:
    """Return the sum of ``function(X, y, sample_weight)`` over partitions, without computing it.

    The summands are added up in the order of the partitions.

    Parameters
    ----------
    function : callable
        Returns a number.
    parts : sequence of tuples
    name : str
        Name of the tasks.

    Returns
    -------
    total : dask Array ()
    """
    of_part = delayed(function, name=None, pure=False)
    found = [of_part(*part) for part in parts]
    total = delayed(_total, pure=False)(found)
    return da.from_delayed(total, shape=(), dtype=np.float64)


def _total(values: Sequence[float]) -> np.float64:
    total = np.float64(0.0)
    for value in values:
        total += value
    return total


def _values(rows: Any, *, function: Callable, width: int | None, out_dtype: Any) -> np.ndarray:
    if rows.shape[0] == 0:
        return np.empty((0,) if width is None else (0, width), out_dtype)
    return function(rows)


def _frame(
    rows: Any, *, function: Callable, columns: Sequence | None, out_dtype: Any, own_name: str
) -> Any:
    width = None if columns is None else len(columns)
    values = _values(rows, function=function, width=width, out_dtype=out_dtype)
    return _framed(values, rows.index, columns, own_name)


def _framed(values: np.ndarray, index: Any, columns: Sequence | None, name: str) -> Any:
    import pandas as pd

    if columns is None:
        return pd.Series(values, index=index, name=name)
    return pd.DataFrame(values, index=index, columns=list(columns))
