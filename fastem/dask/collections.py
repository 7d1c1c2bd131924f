"""Dask collections as lists of partitions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.array as da
import dask.dataframe as dd
import numpy as np

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

    Parameters
    ----------
    X : dask Array (n_samples, n_features) or dask DataFrame
    y : dask Array, Series or DataFrame (n_samples,) or (n_samples, n_outputs)
    sample_weight : dask Array or Series (n_samples,), optional

    Raises
    ------
    TypeError
        If one of them is not a Dask collection.
    ValueError
        If they have the wrong number of dimensions, or other partitions than X.
    """
    X = features_in_partitions(X)
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None.")
    columns = [_delayed(X)]
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        if values is None:
            columns.append([None] * len(columns[0]))
            continue
        _check_kind(name, values)
        if values.ndim > (2 if name == "y" else 1):
            raise ValueError(f"{name} has {values.ndim} dimensions, which is too many.")
        columns.append(_delayed(_matched(name, values, X)))
        if len(columns[-1]) != len(columns[0]):
            raise ValueError(
                f"X has {len(columns[0])} partitions and {name} has {len(columns[-1])}. Create "
                "both from the same collection, or repartition one of them."
            )
    return Partitioned(list(zip(*columns, strict=True)), _known_bytes(X))


def features_in_partitions(X: Any) -> Any:
    """Return X, checked, with all columns of a row in one partition."""
    _check_kind("X", X)
    if X.ndim != 2:
        raise ValueError(
            f"X must have two dimensions, got {X.ndim}. Use X[:, None] for a single feature."
        )
    return X.rechunk({1: -1}) if isinstance(X, da.Array) and X.numblocks[1] > 1 else X


def _check_kind(name: str, values: Any) -> None:
    kinds = (da.Array, dd.DataFrame) if name == "X" else (da.Array, dd.DataFrame, dd.Series)
    if not isinstance(values, kinds):
        raise TypeError(
            f"{name} must be a Dask array or data frame, got {type(values).__name__}. For data in "
            "memory use the estimator for one machine, or dask.array.from_array."
        )


def _matched(name: str, values: Any, X: Any) -> Any:
    """Return y or weights in the partitions of X, as far as the lengths are known."""
    if isinstance(values, da.Array) and values.ndim == 2 and values.numblocks[1] > 1:
        values = values.rechunk({1: -1})
    if isinstance(X, da.Array) and isinstance(values, da.Array):
        rows, own = X.chunks[0], values.chunks[0]
        if _are_known(rows) and _are_known(own) and rows != own:
            if sum(rows) != sum(own):
                raise ValueError(f"X has {sum(rows)} rows and {name} has {sum(own)}.")
            return values.rechunk({0: rows})
    elif not isinstance(X, da.Array) and not isinstance(values, da.Array):
        have_divisions = X.known_divisions and values.known_divisions
        if have_divisions and X.divisions != values.divisions:
            raise ValueError(
                f"X and {name} have different divisions. Use {name}.repartition(divisions="
                "X.divisions)."
            )
    return values


def _are_known(lengths: Sequence[float]) -> bool:
    return not np.isnan(lengths).any()


def _delayed(values: Any) -> list:
    if isinstance(values, da.Array):
        return list(values.to_delayed().ravel())
    # Columns are selected when files are read. Further optimisation could join partitions, of X and
    # y differently.
    return values.simplify().to_delayed(optimize_graph=False)


def _known_bytes(X: Any) -> list[int | None]:
    if isinstance(X, da.Array):
        row = X.shape[1] * X.dtype.itemsize
        return [None if np.isnan(n) else int(n * row) for n in X.chunks[0]]
    return [None] * X.npartitions
