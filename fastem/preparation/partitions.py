"""Learn a preparation from the partitions of a table, with bounded memory.

The partitions are read several times. The first pass finds the kinds of the columns, the second
pass finds categories and missing values, and the following passes find medians by selection: each
pass narrows the interval that contains the median, by exact counts. The result is that of
`prepare` on the concatenated table; it does not depend on the cuts between partitions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.preparation.preparation import Column, Preparation
from fastem.preparation.raw_columns import kinds_of, missing_entries, raw_columns, refuse_entries

if TYPE_CHECKING:
    import pandas

_MOST_CATEGORIES = 10_000  # of one column
_MOST_VALUES = 256  # of one column and partition that a pass returns
_EVERYTHING = (-np.inf, np.inf)


class Sketch(NamedTuple):
    """Some of the different values of a column in an interval, with exact counts.

    Attributes
    ----------
    values : array of float (n_values,)
        Ascending; the smallest and the largest value are among them.
    n_less, n_equal : arrays of int (n_values,)
        Number of rows of the partition with a smaller value, and with this value.
    n_present : int
        Number of rows with a value, also outside of the interval.
    n_to_end : int
        Number of rows with a value up to the end of the interval.
    """

    values: NDArray[np.float64]
    n_less: NDArray[np.int64]
    n_equal: NDArray[np.int64]
    n_present: int
    n_to_end: int


class PartitionSummary(NamedTuple):
    """What one partition adds to a preparation.

    Attributes
    ----------
    n_rows : int
    missing : list of (str, int, int)
        Name, number of missing values and their first row for columns that have some.
    categories : dict of str to (set of str or None)
        Of columns of text and booleans; None if there are too many.
    """

    n_rows: int
    missing: list[tuple[str, int, int]]
    categories: dict[str, set[str] | None]


def prepare_partitions(
    apply: Callable[..., Sequence[Any]], *, impute: bool = False
) -> tuple[Preparation, dict[str, int]]:
    """Learn from the partitions of a table what `prepare` learns from the whole table.

    Parameters
    ----------
    apply : callable
        ``apply(function, *arguments)`` returns the results of ``function(frame, *arguments)`` for
        all partitions, in their order. The frames have the same columns, which hold numbers, text
        or booleans.
    impute : bool, default=False
        Whether values may be missing.

    Returns
    -------
    preparation : Preparation
        Kinds, categories, missing values and medians are those of `prepare` on the concatenated
        table. Medians are exact.
    n_missing : dict of str to int
        Number of missing values of every column.

    Raises
    ------
    ValueError
        As in `prepare`; and if a column of text has more than 10000 categories.

    Notes
    -----
    Without imputation there are two passes over the partitions. With imputation and number columns
    there are at least three: each pass reduces the rows between the bounds of a median by a factor
    of about 60 or more. A pass returns at most about 6 kB for each number column of each partition.
    """
    kinds = merged_kinds(apply(examples_of_kinds))
    summaries = apply(summarise_partition, kinds)
    n_missing, with_gaps = dict.fromkeys(kinds, 0), _merged_missing(summaries)
    n_missing.update({name: count for name, count, _ in with_gaps})
    if with_gaps and not impute:
        order = list(kinds)
        refuse_entries(sorted(with_gaps, key=lambda entry: order.index(entry[0])))
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    medians = _medians(apply, kinds, numbers) if impute and numbers else {}
    columns = [
        Column(
            name,
            kind,
            n_missing[name] > 0,
            medians.get(name),
            () if kind == "number" else _merged_categories(name, summaries),
        )
        for name, kind in kinds.items()
    ]
    return Preparation(columns, impute), n_missing


def examples_of_kinds(frame: "pandas.DataFrame") -> dict[str, "pandas.Series"]:
    """Return, for every column, the first value of every type in the partition.

    The concatenated examples have the same kinds as the concatenated partitions.
    """
    found = {}
    for j, name in enumerate(frame.columns):
        column = frame.iloc[:, j]
        types = column.map(type) if column.dtype == object else column.isna()
        found[name] = column[~types.duplicated().to_numpy()].reset_index(drop=True)
    return found


def merged_kinds(examples: Sequence[Mapping[str, "pandas.Series"]]) -> dict[str, str]:
    """Return the kinds of the columns of all partitions, from the examples of each of them.

    Raises
    ------
    ValueError
        If columns hold neither numbers, text nor booleans.
    """
    import pandas as pd

    filled = [part for part in examples if any(len(column) for column in part.values())]
    used = filled or examples[:1]
    columns = {name: _concatenated([part[name] for part in used]) for name in used[0]}
    return kinds_of(pd.DataFrame(columns))


def _concatenated(parts: Sequence["pandas.Series"]) -> "pandas.Series":
    """Return the examples of one column as one, without the types of empty partitions."""
    import pandas as pd

    given = [part for part in parts if part.notna().any()]
    return pd.concat(given or parts, ignore_index=True)


def summarise_partition(frame: "pandas.DataFrame", kinds: Mapping[str, str]) -> PartitionSummary:
    """Return number of rows, missing values and categories of a partition.

    Raises
    ------
    ValueError
        If columns hold values of another kind.
    """
    raw = raw_columns(frame, kinds, impute=True)
    categories: dict[str, set[str] | None] = {}
    for name, kind in kinds.items():
        if kind != "number":
            found = set(raw[name].dropna().unique())
            categories[name] = found if len(found) <= _MOST_CATEGORIES else None
    return PartitionSummary(len(raw), missing_entries(raw), categories)


def _merged_missing(summaries: Sequence[PartitionSummary]) -> list[tuple[str, int, int]]:
    """Return the missing values of all partitions; rows are counted over all of them."""
    found: dict[str, tuple[int, int]] = {}
    n_above = 0
    for summary in summaries:
        for name, count, row in summary.missing:
            before, first = found.get(name, (0, n_above + row))
            found[name] = before + count, first
        n_above += summary.n_rows
    return [(name, count, first) for name, (count, first) in found.items()]


def _merged_categories(name: str, summaries: Sequence[PartitionSummary]) -> tuple[str, ...]:
    found: set[str] = set()
    for summary in summaries:
        own = summary.categories[name]
        found |= own or set()
        if own is None or len(found) > _MOST_CATEGORIES:
            raise ValueError(
                f"Column {name!r} has more than {_MOST_CATEGORIES} different texts. Drop this "
                "column, or merge rare categories."
            )
    return tuple(sorted(found))


def sketch_partition(
    frame: "pandas.DataFrame",
    kinds: Mapping[str, str],
    intervals: Mapping[str, tuple[float, float]],
) -> dict[str, Sketch]:
    """Return sketches of number columns within intervals; the ends belong to the intervals."""
    chosen = {name: kinds[name] for name in intervals}
    raw = raw_columns(frame[list(chosen)], chosen, impute=True)
    found = {}
    for name, (low, high) in intervals.items():
        column = raw[name].to_numpy()
        present = column[~np.isnan(column)]
        inside = present[(low <= present) & (present <= high)]
        values, n_equal = np.unique(inside, return_counts=True)
        n_less = int((present < low).sum()) + np.cumsum(n_equal) - n_equal
        n_to_end = int((present <= high).sum())
        if len(values) > _MOST_VALUES:
            kept = _kept(values, n_less, n_equal, (low, high))
            values, n_less, n_equal = values[kept], n_less[kept], n_equal[kept]
        found[name] = Sketch(values, n_less, n_equal, len(present), n_to_end)
    return found


def _kept(
    values: NDArray[np.float64],
    n_less: NDArray[np.int64],
    n_equal: NDArray[np.int64],
    interval: tuple[float, float],
) -> NDArray[np.intp]:
    """Return the positions of some values: both ends, and values between them, evenly by rows.

    Rows at the ends do not count, so that every pass reduces the rows strictly between the ends.
    """
    low, high = interval
    first, last = int(values[0] == low), len(values) - 1 - int(values[-1] == high)
    ranks = np.linspace(n_less[first], n_less[last] + n_equal[last] - 1, _MOST_VALUES)
    between = np.searchsorted(n_less, np.floor(ranks), side="right") - 1
    return np.unique(np.concatenate([[0, len(values) - 1], between]))


def _medians(
    apply: Callable[..., Sequence[Any]], kinds: Mapping[str, str], names: Sequence[str]
) -> dict[str, float]:
    """Return the exact medians of number columns; 0 for a column without values."""
    medians: dict[str, float] = {}
    intervals = dict.fromkeys(names, _EVERYTHING)
    while intervals:
        parts = apply(sketch_partition, kinds, intervals)
        left = {}
        for name in intervals:
            sketches = [part[name] for part in parts]
            n_present = sum(sketch.n_present for sketch in sketches)
            if n_present == 0:
                medians[name] = 0.0
                continue
            lower = _bounds(sketches, (n_present - 1) // 2)
            upper = _bounds(sketches, n_present // 2)
            if lower[0] == lower[1] and upper[0] == upper[1]:
                medians[name] = _middle(name, lower[0], upper[0])
            else:
                left[name] = lower[0], upper[1]
        intervals = left
    return medians


def _middle(name: str, low: float, high: float) -> float:
    with np.errstate(over="ignore"):  # refused below
        median = float(np.true_divide(np.float64(low) + np.float64(high), 2.0))
    if not np.isfinite(median):
        raise ValueError(f"The median of column {name!r} is not finite. Rescale this column.")
    return median


def _bounds(sketches: Sequence[Sketch], rank: int) -> tuple[float, float]:
    """Return values between which the value of a rank lies; equal ones if it is certain.

    A partition has at most ``n_less`` of the next kept value rows below a value, and at least
    ``n_less + n_equal`` of the previous kept value rows up to it.
    """
    candidates = np.unique(np.concatenate([sketch.values for sketch in sketches]))

    def most_below(value: float) -> int:
        total = 0
        for s in sketches:
            j = int(np.searchsorted(s.values, value))
            total += int(s.n_less[j]) if j < len(s.values) else s.n_to_end
        return total

    def fewest_up_to(value: float) -> int:
        total = 0
        for s in sketches:
            j = int(np.searchsorted(s.values, value, side="right"))
            if j > 0:
                total += int(s.n_less[j - 1] + s.n_equal[j - 1])
            else:  # all values of the interval are larger
                total += int(s.n_less[0]) if len(s.values) else s.n_to_end
        return total

    first = _last_true(len(candidates), lambda j: most_below(candidates[j]) <= rank)
    last = _last_true(len(candidates), lambda j: fewest_up_to(candidates[j]) <= rank) + 1
    return float(candidates[max(first, 0)]), float(candidates[min(last, len(candidates) - 1)])


def _last_true(n: int, test: Callable[[int], bool]) -> int:
    """Return the largest index that passes a test that no larger index passes again, or -1."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if test(middle) else (low, middle)
    return low
