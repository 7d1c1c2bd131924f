"""Tables over configurations that rows of an E-step share: one interface for all families."""

from typing import Any, Protocol

import numpy as np

from fastem.engines.configuration_tables import (
    Redo,
    UpperStatistics,
    buffers_of_tables,
    table_of_layer,
)
from fastem.engines.density_table import DensityTable
from fastem.engines.expected_counts import ExpectedCounts
from fastem.engines.grouping import LARGEST_SPAN, Groups, groups_of_classes
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import Shapes


class RowTable(Protocol):
    """Tables of groups of rows, and what follows from the expected weights of configurations.

    Attributes
    ----------
    groups : Groups
    values : array (n_groups, n_high, n_low)
    slices : list of (start, stop)
        Ranges of high parts to work on.
    n_threads : int
        Number of threads that such work is worth.
    """

    groups: Groups
    values: Array
    slices: list[tuple[int, int]]
    n_threads: int

    def bind(self, rows: TrainingRows) -> None:
        """Set the rows whose targets the tables serve."""

    def fill(self, parameters: Parameters, largest_span: float = LARGEST_SPAN) -> None:
        """Choose groups of at most a given span (nats), and compute their tables."""

    def redo_lanes(self, marked: Array, counts: Array) -> list[Redo]:
        """Distribute marked rows over lanes of work in log space, done at the same time."""

    def log_table(self, y: Any) -> Array:
        """Return the log-density of a target of `redo_lanes` over all configurations."""

    def join_lanes(self, lanes: list[Redo], log_likelihood: Array, marked: Array) -> None:
        """Add up the counts of the lanes, and complete the log-likelihoods of their rows."""

    def expect(self, counts: ExpectedCounts, posterior: Array) -> UpperStatistics:
        """Return the statistics of everything above the first layer."""


class ClassTable:
    """`RowTable` of classes: the softmax of every class, or a sum over the layers above."""

    def __init__(self, shape: Shape, n_threads: int) -> None:
        self._above = table_of_layer(shape, 0, n_threads)
        self.values, self.slices = self._above.values, self._above.slices
        self.n_threads = self._above.n_threads
        if shape.depth == 1:
            self.high_sums, self.low_sums = self._above.high_sums, self._above.low_sums
        self.log_table = self._above.log_table

    def bind(self, rows: TrainingRows) -> None:
        """See `RowTable`."""
        self.groups = groups_of_classes(rows)

    def fill(self, parameters: Parameters, largest_span: float = LARGEST_SPAN) -> None:
        """See `RowTable`."""
        self._above.fill(parameters)

    def redo_lanes(self, marked: Array, counts: Array) -> list[Redo]:
        """Return one lane per class."""
        cuts = np.searchsorted(marked, self.groups.starts)
        lanes = []
        for k, of_class in enumerate(counts):
            own = marked[cuts[k] : cuts[k + 1]]
            lanes.append(Redo([(k, own)] if len(own) > 0 else [], of_class))
        return lanes

    def join_lanes(self, lanes: list[Redo], log_likelihood: Array, marked: Array) -> None:
        """Do nothing: every class has counts of its own."""

    def expect(self, counts: ExpectedCounts, posterior: Array) -> UpperStatistics:
        """See `RowTable`."""
        return self._above.expect(counts)


def row_table(shape: Shape, n_samples: int, n_threads: int) -> RowTable:
    """Return the tables for at most ``n_samples`` rows."""
    if shape.has_classes:
        return ClassTable(shape, n_threads)
    return DensityTable(shape, n_samples, n_threads)


def buffers_of_row_table(shape: Shape, n_samples: int, n_threads: int) -> list[Shapes]:
    """Declare the memory of the tables."""
    if shape.has_classes:
        return buffers_of_tables(shape, n_threads)
    return [
        DensityTable.buffers(shape, n_samples),
        DensityTable.temporaries(shape, n_threads),
        {"targets": (5, n_samples, shape.n_outputs)},
    ]
