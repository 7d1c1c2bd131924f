"""Groups of rows that share a table over the configurations.

The table of a group holds ``p(reference | configuration)`` for one reference value of the
outputs. The density of another target y has the additional factor ``exp((y - reference) eta / s)``.
This factor is a product over units: it *tilts* the log-odds of the units of that row. For classes,
every class is a group and no row is tilted.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import MOST_GROUPS, TrainingRows

_MOST_GROUP_BYTES = 2**28
LARGEST_SPAN = 300.0
"""Largest span (nats) of the exponents of rows that share a table, for sums in double precision.

No sum of a row with a likely configuration underflows."""


class Groups(NamedTuple):
    """Ranges of rows that share a table.

    Attributes
    ----------
    starts : array (n_groups + 1,)
        Rows ``starts[k]:starts[k + 1]`` are in group k.
    references : array (n_groups, n_outputs)
        Reference values of the outputs; no columns for classes.
    tilts : array (n_samples, n_outputs) or None
        ``(target - reference) / dispersion`` of every row; None for classes.
    constants : array (n_samples,) or None, nats
        Part of the log-likelihood of a row that does not depend on the configuration; None for
        classes.
    """

    starts: NDArray[np.int64]
    references: Array
    tilts: Array | None
    constants: Array | None


def most_groups(shape: Shape, n_samples: int) -> int:
    """Return the largest number of groups: one per class, or at most 32 and 256 MiB of tables."""
    if shape.has_classes:
        return shape.n_outputs
    affordable = max(_MOST_GROUP_BYTES // (8 * 2**shape.last), 1)
    return min(MOST_GROUPS, max(n_samples, 1), affordable)


def groups_of_classes(rows: TrainingRows) -> Groups:
    """Return the classes as groups."""
    none = np.empty((len(rows.class_starts) - 1, 0))
    return Groups(rows.class_starts, none, None, None)


def groups_of_targets(
    rows: TrainingRows, parameters: Parameters, shape: Shape, largest_span: float
) -> Groups:
    """Return as few groups of similar targets as the range of the natural parameter permits.

    Parameters
    ----------
    rows : TrainingRows
    parameters : Parameters
    shape : Shape
    largest_span : float, nats
        The exponents of tilt and table of a row span at most the width of its group times the
        reach of the natural parameter. Groups with a larger span are cut.

    Returns
    -------
    groups : Groups

    Notes
    -----
    The groups depend on targets and parameters only.
    """
    targets, family = rows.targets, shape.family
    coefs, intercepts = split_intercepts(parameters.output, shape.last)
    dispersion = parameters.dispersion
    reach = np.abs(coefs).sum(axis=0) / dispersion
    ranges = _cut(rows, reach, largest_span, most_groups(shape, len(targets)))
    starts = np.array([*(start for start, _, _, _ in ranges), len(targets)])
    references = np.array([0.5 * low + 0.5 * high for _, _, low, high in ranges])
    if not ranges:
        return Groups(starts, np.empty((0, shape.n_outputs)), targets, np.empty(0))
    reference = np.repeat(references, np.diff(starts), axis=0)
    away = targets - reference
    moved = family.conjugate_difference(targets, reference) - away * intercepts
    constants = family.log_largest(targets, dispersion) - moved / dispersion
    return Groups(starts, references, away / dispersion, constants.sum(axis=1))


def _cut(
    rows: TrainingRows, reach: Array, largest_span: float, most: int
) -> list[tuple[int, int, Array, Array]]:
    """Return (start, stop, lowest target, highest target) of every group, in order."""

    def entry(start: int, stop: int) -> tuple[float, int, int, Array, Array]:
        own = rows.targets[start:stop]
        if own.shape[1] == 1:  # sorted
            low, high = own[0], own[-1]
        else:
            low, high = own.min(axis=0), own.max(axis=0)
        return -float(((high - low) * reach).sum()), start, stop, low, high

    n_samples = len(rows.targets)
    heap = [entry(0, n_samples)] if n_samples else []
    done: list[Any] = []
    while heap and len(heap) + len(done) < most and -heap[0][0] > largest_span:
        node = heapq.heappop(heap)
        _, start, stop, low, high = node
        middle = _middle(rows, start, stop, low, high)
        if middle is None:
            done.append(node)
            continue
        heapq.heappush(heap, entry(start, middle))
        heapq.heappush(heap, entry(middle, stop))
    return [node[1:] for node in sorted([*heap, *done], key=lambda node: node[1])]


def _middle(rows: TrainingRows, start: int, stop: int, low: Array, high: Array) -> int | None:
    """Return where a range of rows is cut; None if all its targets are equal or it has no cut."""
    if rows.targets.shape[1] > 1:
        return rows.cuts.get((start, stop))
    if low[0] == high[0]:
        return None
    half = low[0] + 0.5 * (high[0] - low[0])
    middle = start + int(np.searchsorted(rows.targets[start:stop, 0], half, side="right"))
    return middle if start < middle < stop else None
