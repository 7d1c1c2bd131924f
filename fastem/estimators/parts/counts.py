"""Numbers of the rows of all parts, from which follows how some of them are held out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.estimators.parts.summary import MOST_CELLS, PartSummary
from fastem.parameters import Array

MOST_HELD_OUT = 20_000
"""About the largest number of rows that are held out: the driver gets a number of each."""

_SHARE_HELD_OUT = 0.2
_FEWEST_ROWS_OF_CLASS = 5  # all rows of a smaller class could be held out by chance


class HoldOut(NamedTuple):
    """Which rows of a part are held out while penalties are compared.

    Attributes
    ----------
    share : float
    has_few_values : bool
        Whether rows of tables of few categories are held out one by one; see
        `fastem.selection.held_shares_of_part`.
    are_counts : bool
        Whether the weights are numbers of rows.
    frequent : array of bool (n_classes,) or None
        Classes whose rows may be held out; None for all.
    """

    share: float
    has_few_values: bool
    are_counts: bool
    frequent: np.ndarray | None


class RowCounts(NamedTuple):
    """Numbers of rows of positive weight in all parts.

    Attributes
    ----------
    n_rows : int
    n_distinct : int
        At most so many of them are distinct. Equal rows are counted only in tables of few
        categories.
    size : float
        Number of rows that can be held out by themselves. A row counts as often as its weight in
        tables of few categories, if the weights are numbers of rows.
    hold_out : HoldOut
    """

    n_rows: int
    n_distinct: int
    size: float
    hold_out: HoldOut


def count_rows(summaries: Sequence[PartSummary], classes: Any) -> RowCounts:
    """Return the numbers of rows of all parts.

    Parameters
    ----------
    summaries : sequence of PartSummary
    classes : array (n_classes,)
        Sorted labels. Not used without one label per row.
    """
    n_rows = int(sum(summary.counts.sum() for summary in summaries))
    n_cells, frequent = _n_cells(summaries), None
    has_few_values = n_cells <= MOST_CELLS
    if summaries[0].labels is not None:
        of_classes = np.zeros(len(classes))
        for summary in summaries:
            of_classes[np.searchsorted(classes, summary.labels)] += summary.counts
        n_cells *= len(classes)
        frequent = of_classes >= _FEWEST_ROWS_OF_CLASS
    are_counts = all(summary.are_counts for summary in summaries)
    has_cells = has_few_values and frequent is not None
    size = float(n_rows)
    if has_few_values and are_counts:
        size = float(sum(summary.weights.sum() for summary in summaries))
    share = min(_SHARE_HELD_OUT, MOST_HELD_OUT / max(size, 1.0))
    return RowCounts(
        n_rows, min(n_rows, int(n_cells)) if has_cells else n_rows, size,
        HoldOut(share, has_few_values, are_counts, frequent),
    )  # fmt: skip


def _n_cells(summaries: Sequence[PartSummary]) -> float:
    """Return the product of the numbers of values of the columns; infinity if it is large."""
    found = [summary for summary in summaries if summary.counts.any()]
    if any(summary.values is None for summary in found):
        return np.inf
    product = 1.0
    for columns in zip(*[summary.values for summary in found], strict=True):
        product *= len(_union(columns))
        if product > MOST_CELLS:
            return np.inf
    return product


def _union(columns: Sequence[Array]) -> Array:
    return np.unique(np.concatenate(columns))
