"""Rows that are held out, selected by their values.

The selection depends neither on the order of the rows nor on whether a row is repeated or has a
weight. A fit with a row of weight 2 and a fit with that row repeated therefore make the same
choices.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array

N_FOLDS = 5
"""Number of folds. A single split holds out the first of them."""

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
        Number of rows, if a row of weight w counts as w rows, rounded up.
    """

    rows: NDArray[np.int64]
    weights: Array
    held: Array
    size: int


def row_numbers(X: Array, targets: NDArray) -> NDArray[np.uint64]:
    """Return a pseudorandom 64-bit number for every row, from its values only.

    Parameters
    ----------
    X : array (n_samples, n_features)
    targets : array (n_samples,) or (n_samples, n_outputs)
    """
    columns = [*X.T, *(targets[None] if targets.ndim == 1 else targets.T)]
    numbers = np.zeros(len(X), dtype=np.uint64)
    for column in columns:
        values = np.ascontiguousarray(column, dtype=np.float64) + 0.0  # -0.0 becomes 0.0
        numbers = _mixed(numbers + _GOLDEN ^ values.view(np.uint64))
    return numbers


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))


def split_rows(X: Array, targets: NDArray, weights: Array) -> Split:
    """Divide rows among five folds, at random and in equal shares of every class.

    A row of weight w counts as w rows of weight 1, which are held out in turn by different folds.
    The last of them has the rest of the weight. A class with a single row is never held out.

    Parameters
    ----------
    X : array (n_samples, n_features)
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
    whole = np.floor(summed)
    counts = np.ceil(summed)
    start = np.cumsum(counts) - counts
    folds = np.arange(N_FOLDS)[:, None]
    # entries start, ..., start + whole - 1 of a sequence that passes through all folds again
    # and again have weight 1, and the next one has the rest
    held = np.floor((start + whole - 1.0 - folds) / N_FOLDS)
    held -= np.floor((start - 1.0 - folds) / N_FOLDS)
    held += np.where((start + whole) % N_FOLDS == folds, summed - whole, 0.0)
    if targets.ndim == 1:
        held[:, np.bincount(classes, counts)[classes] < 2] = 0.0
    return Split(first, summed, held, int(counts.sum()))
