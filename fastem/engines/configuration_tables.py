"""Tables of P(y | configuration of a hidden layer), against which the rows below are summed.

The table of the last hidden layer is the softmax. The table of any other layer is a sum over the
layer above: that layer's E-step has the configurations of this layer as its rows. Tables are
therefore filled from the top down, and expected weights are passed from the bottom up.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.engines.expected_counts import ExpectedCounts
from fastem.expectations import HiddenStatistics
from fastem.kernels import (
    configurations,
    enumeration,
    expected_counts,
    log_space,
    upper_layers,
)
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import check_log_odds
from fastem.runtime import (
    TILE,
    Buffers,
    Shapes,
    lazy_property,
    n_low_bits,
    row_ranges,
    rows_per_chunk,
    run,
    table_slices,
    threads_worth,
)

# Rough costs, to decide whether work is worth sharing among threads.
_SECONDS_PER_TABLE_ENTRY = 5e-10
_SECONDS_PER_FLOP = 5e-11
_TILE_ENTRIES = 2**18  # of the scratch of a tile, which should stay within a cache


LOG_TABLES = 2
"""Tables in log space at the same time."""


class UpperStatistics(NamedTuple):
    """Statistics of everything above a hidden layer; see `Statistics`."""

    hidden: tuple[HiddenStatistics, ...]
    counts: Array | Callable[[], Array]
    output_table: Array | None
    output_gradient: Array
    squared_residuals: Array | None = None


class Redo(NamedTuple):
    """Rows to be summed again in log space, one after the other.

    Attributes
    ----------
    pieces : list of (target, row numbers)
        Rows with the same target share a table.
    counts : array (n_high, n_low), summed weight
        Their expected weights are added to it.
    """

    pieces: list[tuple[Any, Array]]
    counts: Array


class ConfigurationTable(Protocol):
    """P(y | configuration) of one hidden layer.

    Attributes
    ----------
    values : array (n_classes, n_high, n_low), probability
    slices : list of (start, stop)
        Ranges of high parts to work on.
    n_threads : int
        Number of threads that such work is worth.
    """

    values: Array
    slices: list[tuple[int, int]]
    n_threads: int

    def fill(self, parameters: Parameters) -> None:
        """Compute the values under given parameters."""

    def log_table(self, y: Any) -> Array:
        """Return ``log p(y | configuration)`` (nats) over all configurations."""

    def expect(self, counts: ExpectedCounts) -> UpperStatistics:
        """Run the E-steps above, given the expected weight of every class and configuration."""


def table_of_layer(shape: Shape, layer: int, n_threads: int) -> ConfigurationTable:
    """Return the table over the configurations of a hidden layer, 0 being the first."""
    if layer == shape.depth - 1:
        return OutputTable(shape, n_threads)
    return HiddenTable(shape, layer, n_threads)


def halves(n_hidden: int) -> tuple[int, int]:
    """Return the sizes (n_high, n_low) of a table over the configurations of a layer."""
    n_low = 2 ** n_low_bits(n_hidden)
    return 2**n_hidden // n_low, n_low


class OutputTable:
    """Softmax over all configurations of the last hidden layer."""

    def __init__(self, shape: Shape, n_threads: int) -> None:
        n_high, n_low = halves(shape.last)
        self._n_units = shape.last
        self._n_low_bits = n_low_bits(shape.last)
        self.slices = table_slices(n_high, n_low)
        self._arrays = Buffers().allocate(self.buffers(shape))
        self.values = self._arrays.values
        self.high_sums, self.low_sums = self._arrays.high_sums, self._arrays.low_sums
        self.n_threads = threads_worth(self.values.size * _SECONDS_PER_TABLE_ENTRY, n_threads)

    @staticmethod
    def buffers(shape: Shape) -> Shapes:
        """Declare the table, and sums of residuals over its high and over its low parts."""
        g, (n_high, n_low) = shape.n_outputs, halves(shape.last)
        n_slices = len(table_slices(n_high, n_low))
        return {
            "values": (g, n_high, n_low),
            "high_sums": (g, n_high),
            "low_sums": (n_slices, g, n_low),
        }

    @staticmethod
    def temporaries(shape: Shape, n_threads: int) -> Shapes:
        """Declare the logits and exponentials of both halves, which every thread computes."""
        n_workers = min(n_threads, len(table_slices(*halves(shape.last))))
        return {"halves": (n_workers, 4, shape.n_outputs, sum(halves(shape.last)))}

    def fill(self, parameters: Parameters) -> None:
        """Compute the softmax under given output weights."""
        coefs, intercepts = split_intercepts(parameters.output, self._n_units)

        def fill_slice(piece: int, worker: int) -> None:
            configurations.fill_output_table(coefs, intercepts, *self.slices[piece], self.values)

        run(fill_slice, len(self.slices), self.n_threads)
        self._weights = coefs, intercepts

    def log_table(self, k: int) -> Array:
        """Return ``log P(y = k | z)`` (nats) over all configurations."""
        out = np.empty(self.values.shape[1:])
        high, low = configurations.half_logits(*self._weights, self._n_low_bits)
        configurations.fill_log_output_table(high, low, k, out)
        return out

    def expect(self, counts: ExpectedCounts) -> UpperStatistics:
        """Return the gradient of the output layer."""
        high_sums, low_sums = self.high_sums, self.low_sums

        def sum_slice(piece: int, worker: int) -> None:
            expected_counts.fill_output_residuals(
                counts.chunks, counts.starts, self.values, counts.unit, counts.more,
                *self.slices[piece], high_sums, low_sums[piece],
            )  # fmt: skip

        run(sum_slice, len(self.slices), self.n_threads)
        gradient = configurations.unit_sums(high_sums, low_sums)
        complete = partial(counts.complete, self.values, self.slices, self.n_threads)
        return UpperStatistics((), complete, self.values, gradient)


class HiddenTable:
    """Sums over the layer above, and the E-step of that layer.

    The rows of that E-step are the ``2**m`` configurations of this layer, once per class. Their
    weights are the expected weights from the E-step below. Cost: ``8 g 2**(m + m_above)`` flops,
    which does not depend on the number of samples.
    """

    def __init__(self, shape: Shape, layer: int, n_threads: int) -> None:
        m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
        self._shape, self._layer, self._n_units = shape, layer, m
        self._above = table_of_layer(shape, layer + 1, n_threads)
        self._inputs = configuration_inputs(m, shape.fit_intercept)
        self.slices = table_slices(*halves(m))
        self._pieces, self._tile, _ = _cut(shape, layer)
        seconds = 6.0 * shape.n_outputs * 2.0 ** (m + m_above) * _SECONDS_PER_FLOP
        self._n_threads = threads_worth(seconds, n_threads)
        self._arrays = Buffers().allocate(self.buffers(shape, layer, self._n_threads))
        self.values = self._arrays.values
        self.n_threads = threads_worth(self.values.size * _SECONDS_PER_TABLE_ENTRY, n_threads)

    @staticmethod
    def buffers(shape: Shape, layer: int, n_threads: int) -> Shapes:
        """Declare the table, probabilities of the units above, and scratch memory."""
        m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
        g, (n_high_above, n_low_above) = shape.n_outputs, halves(m_above)
        pieces, _, size = _cut(shape, layer)
        return {
            "values": (g, *halves(m)),
            "on": (m_above, 2**m),
            "off": (m_above, 2**m),
            "stacked": (g, n_low_above, n_high_above),
            "workspaces": (min(n_threads, len(pieces)), size),
        }

    @staticmethod
    def sums(shape: Shape, layer: int) -> Shapes:
        """Declare the sums of an E-step; predictions do not need them."""
        m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
        g, (n_high_above, n_low_above) = shape.n_outputs, halves(m_above)
        pieces, _, _ = _cut(shape, layer)
        return {
            "scale": (g, 2**m),
            "counts": (len(pieces), g * n_high_above, n_low_above),
            "on_weight": (m_above, 2**m),
            "posterior": (m_above, 2**m),
        }

    @staticmethod
    def temporaries(shape: Shape, layer: int, *, predicts_only: bool) -> Shapes:
        """Declare the inputs, and counts of the layer above with a copy of them."""
        m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
        made = {"inputs": (2**m, m + shape.fit_intercept)}
        if predicts_only:
            return made
        g = shape.n_outputs
        return {**made, "counts": (2, g, 2**m_above), "rows": (2**m, g + 2 * m_above)}

    @lazy_property
    def _sums(self) -> SimpleNamespace:
        return Buffers().allocate(self.sums(self._shape, self._layer))

    def fill(self, parameters: Parameters) -> None:
        """Compute the marginals of the classes under given parameters.

        Raises
        ------
        FloatingPointError
            If weights overflow.
        """
        weights, arrays = parameters.hidden[self._layer + 1], self._arrays
        check_log_odds(np.ones(len(weights)), weights)
        self._above.fill(parameters)
        n_units = self._n_units
        coefs, intercepts = split_intercepts(weights, n_units)
        high, low = configurations.half_logits(coefs, intercepts, n_low_bits(n_units))
        self._weights = weights
        arrays.stacked[:] = self._above.values.transpose(0, 2, 1)
        g, n_low, n_high = arrays.stacked.shape
        stacked, marginals = arrays.stacked.reshape(g * n_low, n_high), self.values.reshape(g, -1)
        n_small = np.zeros(len(self._pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_small[piece] = upper_layers.fill_marginals(
                high, low, stacked, n_low, *self._pieces[piece], self._tile,
                arrays.workspaces[worker], arrays.on, arrays.off, marginals,
            )  # fmt: skip

        run(fill_piece, len(self._pieces), self._n_threads)
        self._is_small = marginals < enumeration.SMALLEST_LIKELIHOOD if n_small.any() else None

    def log_table(self, k: int) -> Array:
        """Return ``log P(y = k | configuration)`` (nats) over all configurations."""
        with np.errstate(divide="ignore"):  # zeros are redone
            out = np.log(self.values[k])
        if self._is_small is not None:
            log_space.redo_log_marginal(
                self._inputs, np.ascontiguousarray(self._weights.T), self._above.log_table(k),
                np.flatnonzero(self._is_small[k]), out.reshape(-1),
            )  # fmt: skip
        return out

    def expect(self, counts: ExpectedCounts) -> UpperStatistics:
        """Run the E-step of the layer above and of those above it."""
        arrays, sums = self._arrays, self._sums
        g, n_low, n_high = arrays.stacked.shape
        weights = counts.complete(self.values, self.slices, self.n_threads).reshape(g, -1)
        if self._is_small is None:
            np.divide(weights, self.values.reshape(g, -1), out=sums.scale)
        else:
            sums.scale[:] = 0.0
            np.divide(weights, self.values.reshape(g, -1), out=sums.scale, where=~self._is_small)
        table = self._above.values.reshape(g * n_high, n_low)
        stacked = arrays.stacked.reshape(g * n_low, n_high)

        def add_piece(piece: int, worker: int) -> None:
            upper_layers.fill_expectations(
                arrays.on, arrays.off, table, stacked, sums.scale, *self._pieces[piece],
                self._tile, arrays.workspaces[worker], sums.on_weight, sums.counts[piece],
            )  # fmt: skip

        run(add_piece, len(self._pieces), self._n_threads)
        counts_above = sums.counts.sum(axis=0).reshape(g, n_high, n_low) * self._above.values
        if self._is_small is not None:
            self._redo_in_log_space(weights, counts_above)
        upper = self._above.expect(ExpectedCounts.of_array(counts_above))
        layer = self._statistics(weights.sum(axis=0))
        return upper._replace(hidden=(layer, *upper.hidden))

    def _redo_in_log_space(self, weights: Array, counts_above: Array) -> None:
        """Add the rows that the products left out because their marginal is too small."""
        sums = self._sums
        coefs_T = np.ascontiguousarray(self._weights.T)
        # the kernel fills these two; they are not used here
        log_likelihood, gradient = np.empty(weights.shape[1]), np.zeros_like(self._weights)
        for k, of_class in enumerate(weights):
            marked = np.flatnonzero(self._is_small[k] & (of_class > 0.0))
            if len(marked) == 0:
                continue
            log_space.redo_rows(
                self._inputs, of_class, coefs_T, self._above.log_table(k), marked,
                log_likelihood, self._arrays.on, sums.posterior, counts_above[k], gradient,
            )  # fmt: skip
            sums.on_weight[:, marked] += of_class[marked] * sums.posterior[:, marked]

    def _statistics(self, weights: Array) -> HiddenStatistics:
        on, sums = self._arrays.on, self._sums
        upper_layers.fill_posterior(on, weights, sums.on_weight, sums.posterior)
        gradient = self._inputs.T @ sums.on_weight.T
        return HiddenStatistics(self._inputs, weights, on, sums.posterior, gradient)


def configuration_inputs(n_hidden: int, fit_intercept: bool = True) -> Array:
    """Return all configurations of a layer as rows, bit h in column h, (2**m, n_inputs)."""
    states, inputs = np.arange(2**n_hidden), np.ones((2**n_hidden, n_hidden + fit_intercept))
    for unit in range(n_hidden):  # one by one: all at once would need twice the memory
        inputs[:, unit] = (states >> unit) & 1
    return inputs


def _cut(shape: Shape, layer: int) -> tuple[list[tuple[int, int]], int, int]:
    """Return ranges of the configurations of a layer, rows of a tile, and size of its scratch."""
    m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
    n_high, n_low = halves(m_above)
    g = shape.n_outputs
    per_row = (g + 2) * (n_low + n_high)
    tile = min(TILE, max(_TILE_ENTRIES // per_row, 16), 2**m)
    chunk = rows_per_chunk(2**m, m_above + (g - 1).bit_length())
    size = upper_layers.workspace_size(m_above, n_low_bits(m_above), g, tile)
    return row_ranges(2**m, chunk), tile, size


def buffers_of_tables(shape: Shape, n_threads: int, *, predicts_only: bool = False) -> list[Shapes]:
    """Declare the memory of the tables of all hidden layers."""
    declared = [OutputTable.buffers(shape), OutputTable.temporaries(shape, n_threads)]
    for layer in range(shape.depth - 1):
        declared.append(HiddenTable.buffers(shape, layer, n_threads))
        declared.append(HiddenTable.temporaries(shape, layer, predicts_only=predicts_only))
        if not predicts_only:
            declared.append(HiddenTable.sums(shape, layer))
    return declared
