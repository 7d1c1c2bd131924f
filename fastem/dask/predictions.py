"""Lazy predictions: a function of rows, applied to the partitions of a Dask collection."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize
from dask.dataframe import map_partitions
from dask.delayed import Delayed

from fastem.dask.collections import Part, features_in_partitions


def _task_name(name: str) -> str:
    """Return the name of tasks. Dask's dashboard shows it up to the first underscore."""
    return f"fastem-{name.replace('_', '-')}"


class _Form(NamedTuple):
    """Form of the results for a partition.

    Attributes
    ----------
    columns : tuple or None
    dtype : dtype
        In arrays.
    dtype_in_frames : dtype or pandas dtype
    name : str
        Of a Series.
    """

    columns: tuple[Any, ...] | None
    dtype: np.dtype
    dtype_in_frames: Any
    name: str

    def empty(self) -> np.ndarray:
        """Return the results for no rows."""
        shape = (0,) if self.columns is None else (0, len(self.columns))
        return np.empty(shape, self.dtype)

    def framed(self, values: np.ndarray, index: Any) -> Any:
        """Return results as a pandas Series or DataFrame."""
        import pandas as pd

        if values.dtype.kind == "U":  # pandas has no text of fixed length
            values = values.astype(object)
        form = {"index": index, "dtype": self.dtype_in_frames}
        if self.columns is None:
            return pd.Series(values, name=self.name, **form)
        return pd.DataFrame(values, columns=list(self.columns), **form)


def apply_to_rows(
    function: Callable[..., Any],
    X: Any,
    *,
    columns: Sequence[Any] | None = None,
    dtype: Any = np.float64,
    labels: np.ndarray | None = None,
    name: str,
) -> Any:
    """Return a function of the rows of X, without computing it.

    Parameters
    ----------
    function : callable
        Takes the rows of a partition, at least one: an array or a pandas DataFrame. Returns an
        array (n_rows,), or (n_rows, n_columns) if there are columns. It is not called for
        partitions without rows. The graph holds it once.
    X : dask Array (n_samples, n_features) or dask DataFrame
    columns : sequence, optional
        Names of the columns of the result.
    dtype : dtype, default=float64
        Of the result.
    labels : array (n_labels,), optional
        If the result consists of labels, all of them; `dtype` is ignored then. In data frames,
        labels of text have the dtype that pandas infers for them.
    name : str
        Name of a Series; with a prefix, of the tasks.

    Returns
    -------
    results : dask Array, Series or DataFrame
        An array for an array. A data frame or series for a data frame, with its index and
        divisions. In the partitions of X.

    Raises
    ------
    TypeError, ValueError
        As `features_in_partitions`.
    """
    X = features_in_partitions(X)
    dtype = np.dtype(dtype) if labels is None else labels.dtype
    columns = None if columns is None else tuple(columns)
    form = _Form(columns, dtype, _dtype_in_frames(dtype, labels), name)
    constant = _constant(function)
    if isinstance(X, da.Array):
        change = {"drop_axis": 1} if columns is None else {"chunks": (X.chunks[0], (len(columns),))}
        return da.map_blocks(
            partial(_values, form=form), X, constant, dtype=dtype, meta=form.empty(),
            token=_task_name(name), **change,
        )  # fmt: skip
    meta = form.framed(form.empty(), X._meta.index)
    return map_partitions(
        partial(_frame, form=form), X, constant, meta=meta, enforce_metadata=False,
        token=_task_name(name),
    )  # fmt: skip


def sum_over_partitions(function: Callable[..., Any], parts: Sequence[Part], name: str) -> da.Array:
    """Return the sum of ``function(X, y, sample_weight)`` over partitions, without computing it.

    One task adds up the summands in the order of the partitions.

    Parameters
    ----------
    function : callable
        Returns a number. It is not called for partitions without rows. The graph holds it once.
    parts : sequence of tuples
        Those of `Partitioned`.
    name : str
        Name of the tasks, with a prefix.

    Returns
    -------
    total : dask Array (), float64
    """
    constant, of_part = _constant(function), delayed(_of_part, pure=False)
    own = [value.key for part in parts for value in part if isinstance(value, Delayed)]
    token = tokenize(constant.key, own)
    found = [
        of_part(constant, *part, dask_key_name=(f"{_task_name(name)}-{token}", i))
        for i, part in enumerate(parts)
    ]
    total = delayed(_total, pure=False)(found, dask_key_name=f"{_task_name(name)}-sum-{token}")
    return da.from_delayed(total, shape=(), dtype=np.float64)


def _constant(function: Callable[..., Any]) -> Delayed:
    """Return a function as one task, on which those of all partitions depend."""
    return delayed(function, name=f"fastem-model-{tokenize(function)}", traverse=False)


def _dtype_in_frames(dtype: np.dtype, labels: np.ndarray | None) -> Any:
    import pandas as pd

    if labels is None or dtype.kind not in "OU":
        return dtype
    return pd.Series(labels.tolist()).dtype


def _of_part(function: Callable[..., Any], X: Any, y: Any, sample_weight: Any) -> float:
    return 0.0 if X.shape[0] == 0 else function(X, y, sample_weight)


def _total(values: Sequence[float]) -> np.float64:
    total = np.float64(0.0)
    for value in values:
        total += value
    return total


def _values(rows: Any, function: Callable[..., Any], form: _Form) -> np.ndarray:
    return form.empty() if rows.shape[0] == 0 else function(rows)


def _frame(rows: Any, function: Callable[..., Any], form: _Form) -> Any:
    return form.framed(_values(rows, function, form), rows.index)
