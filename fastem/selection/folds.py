"""Rows that are held out, selected by their values.

The selection depends neither on the order of the rows nor on whether a row is repeated or has a
weight. A fit with a row of weight 2 and a fit with that row repeated therefore make the same
choices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array
from fastem.sparse import SparseFeatures

N_FOLDS = 5
"""Number of folds. A single split holds out the first of them."""

_CELLS_PER_ROW = 10.0  # at most, in tables of categories
_LARGEST_COUNT = 2.0**50  # of all rows; larger weights are not numbers of rows

# Constants of the finaliser of SplitMix64: Steele, Lea and Flood (2014), Fast splittable
# pseudorandom number generators.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Split(NamedTuple):
    """Distinct rows, and how much of the weight of each is held out in every fold.

    Attributes
    ----------
    rows : array of int (n_distinct,)
        The first of equal rows.
    weights : array (n_distinct,)
        Summed weight of equal rows.
    held : array (n_folds, n_distinct)
        The part of the weight that a fold holds out.
    size : int
        Number of rows that are held out by themselves: distinct rows, or all rows.
    """

    rows: NDArray[np.int64]
    weights: Array
    held: Array
    size: int


def row_numbers(X: Array | SparseFeatures, targets: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a pseudorandom 64-bit number for every row, from its values only.

    It depends on the ranks of the values in their columns, and so not on the units of the features
    and of the outputs. Sparse features have the same numbers as the same features in an array.

    Parameters
    ----------
    X : array (n_samples, n_features) or SparseFeatures
    targets : array (n_samples,) or (n_samples, n_outputs)

    Returns
    -------
    numbers : array of uint64 (n_samples,)
    """
    if not isinstance(X, SparseFeatures):
        return _numbers_by(_ranks, X, targets)
    numbers = np.zeros(len(X), dtype=np.uint64)
    rows, columns, values = X.coordinates()
    order = np.lexsort((values, columns))
    rows, columns, values = rows[order], columns[order], values[order]
    is_first = np.diff(columns, prepend=-1) != 0
    ranks = np.cumsum(is_first | (np.diff(values, prepend=np.nan) != 0.0))
    ranks -= np.maximum.accumulate(np.where(is_first, ranks, 0))
    np.add.at(numbers, rows, _entry_numbers(columns, ranks))
    return _with_targets(numbers, _ranks, targets)


def row_numbers_of_part(X: Array | SparseFeatures, targets: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a pseudorandom 64-bit number for every row, which other rows have no effect on.

    Parameters and result are those of `row_numbers`. The numbers depend on the units of features
    and outputs.
    """
    if not isinstance(X, SparseFeatures):
        return _numbers_by(_bits, X, targets)
    numbers = np.zeros(len(X), dtype=np.uint64)
    rows, columns, values = X.coordinates()
    np.add.at(numbers, rows, _entry_numbers(columns, _bits(values)))
    return _with_targets(numbers, _bits, targets)


def held_shares_of_part(
    X: Array | SparseFeatures, targets: NDArray[Any], counts: Array | None, share: float
) -> Array:
    """Return which share of every row of a part is held out, so that about ``share`` of all is.

    Rows are selected by `row_numbers_of_part`: a row is held out wholly or not at all, and so are
    the rows that are equal to it in any part. Tables of few categories are different, because rows
    are equal by chance. There a share of equal rows is held out, which also depends on the other
    rows of the part.

    Parameters
    ----------
    X : array (n_samples, n_features) or SparseFeatures
    targets : array (n_samples,) or (n_samples, n_outputs)
    counts : array (n_samples,) or None
        How often a row counts, in tables of few categories. None for other tables.
    share : float

    Returns
    -------
    held : array (n_samples,)
        From 0 to 1.
    """
    numbers = row_numbers_of_part(X, targets)
    if counts is None:
        return np.where(numbers < share * 2.0**64, 1.0, 0.0)
    distinct, groups = np.unique(numbers, return_inverse=True)
    summed = np.bincount(groups, counts)
    # without the number of the part, equal rows would be rounded in the same way in all parts
    number_of_part = (distinct * summed.astype(np.uint64)).sum(dtype=np.uint64)
    chances = _mixed(distinct ^ number_of_part) / 2.0**64
    return np.minimum(np.floor(share * summed + chances) / summed, 1.0)[groups]


def _numbers_by(
    code: Callable[[NDArray[Any]], NDArray[Any]], X: Array, targets: NDArray[Any]
) -> NDArray[np.uint64]:
    """Return numbers of rows, for codes of the values in a column."""
    numbers = np.zeros(len(X), dtype=np.uint64)
    for column, values in enumerate(X.T):
        rows = np.flatnonzero(values)
        numbers[rows] += _entry_numbers(column, code(values[rows]))
    return _with_targets(numbers, code, targets)


def _with_targets(
    numbers: NDArray[np.uint64], code: Callable[[NDArray[Any]], NDArray[Any]], targets: NDArray[Any]
) -> NDArray[np.uint64]:
    for values in targets[None] if targets.ndim == 1 else targets.T:
        numbers = _mixed(numbers ^ _mixed(code(values).astype(np.uint64) + _GOLDEN))
    return numbers


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    return np.unique(values, return_inverse=True)[1]


def _bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    return (values.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0


def _entry_numbers(columns: NDArray[Any] | int, ranks: NDArray[Any]) -> NDArray[np.uint64]:
    """Return numbers of entries, whose sum over a row does not depend on entries that are zero."""
    of_columns = np.atleast_1d(columns).astype(np.uint64) * _GOLDEN
    return _mixed(_mixed(ranks.astype(np.uint64) + _GOLDEN) ^ _mixed(of_columns + _FIRST))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))


def split_rows(X: Array, targets: NDArray[Any], weights: Array) -> Split:
    """Divide rows among five folds, at random and in equal shares of every class.

    Equal rows are held out together: copies in the training rows would reveal them. Tables of few
    categories are different, because rows are equal by chance. Such a table has integer weights,
    and at most ten times as many possible rows, the product of the numbers of values of the
    columns, as rows. There a row of weight w is held out in turn by different folds. A class with a
    single row is never held out.

    Parameters
    ----------
    X : array (n_samples, n_features) or SparseFeatures
    targets : array
        Class indices (n_samples,) of int, or values (n_samples, n_outputs).
    weights : array (n_samples,)
        Positive.

    Returns
    -------
    split : Split
    """
    numbers, first, groups = np.unique(
        row_numbers(X, targets), return_index=True, return_inverse=True
    )
    summed = np.bincount(groups, weights)
    classes = targets[first] if targets.ndim == 1 else np.zeros(len(first), dtype=np.int64)
    order = np.lexsort((numbers, classes))
    first, summed, classes = first[order], summed[order], classes[order]
    total = summed.sum()
    are_counts = (
        len(summed) < total < _LARGEST_COUNT
        and (weights == np.round(weights)).all()
        and _has_few_values(X, _CELLS_PER_ROW * total)
    )
    counts = summed if are_counts else np.ones(len(summed))
    start = np.cumsum(counts) - counts
    folds = np.arange(N_FOLDS)[:, None]
    # entries start, ..., start + counts - 1 of a sequence that passes through all folds repeatedly
    held = np.floor((start + counts - 1.0 - folds) / N_FOLDS)
    held -= np.floor((start - 1.0 - folds) / N_FOLDS)
    held *= summed / counts
    if targets.ndim == 1:
        held[:, np.bincount(classes, counts)[classes] < 2] = 0.0
    return Split(first, summed, held, int(counts.sum()))


def _has_few_values(X: Array | SparseFeatures, most: float) -> bool:
    """Return whether the product of the numbers of values of the columns is at most ``most``."""
    if isinstance(X, SparseFeatures):
        _, columns, values = X.coordinates()
        pairs = np.unique(np.column_stack([columns, values]), axis=0)
        counts = np.bincount(pairs[:, 0].astype(np.int64), minlength=X.shape[1])
        counts += np.bincount(columns, minlength=X.shape[1]) < len(X)  # zeros
        return bool(np.log(counts).sum() <= np.log(most))
    return values_of_columns(X, most) is not None


def values_of_columns(X: Array, most: float) -> tuple[Array, ...] | None:
    """Return the sorted values of every column, if the product of their numbers is small.

    ``most`` is the largest product; None is returned if it is larger.
    """
    product, found = 1.0, []
    for column in X.T:
        found.append(np.unique(column))
        product *= len(found[-1])
        if product > most:
            return None
    return tuple(found)
