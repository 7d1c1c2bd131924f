"""P(y | configuration of a hidden layer), for every class: what the rows below sum against.

Above the last hidden layer stands the softmax. Any other layer is summed over the layer above
it, whose E-step has the layer's configurations for rows: so tables are filled from the top
down, and expected weights are passed from the bottom up.
"""

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from fastem.expectations import HiddenStatistics
from fastem.kernels import configurations, enumeration, log_space, upper_layers
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import check_log_odds
from fastem.runtime import (
    TILE,
    n_low_bits,
    row_ranges,
    rows_per_chunk,
    run,
    table_slices,
    threads_worth,
)

# Rough costs, to tell what is worth sharing among threads.
_SECONDS_PER_TABLE_ENTRY = 5e-10
_SECONDS_PER_FLOP = 5e-11
_TILE_ENTRIES = 2**18  # of the scratch of a tile, which should stay within a cache


class UpperStatistics(NamedTuple):
    """What an E-step tells about everything above a hidden layer; see `Statistics`."""

    hidden: tuple[HiddenStatistics, ...]
    counts: Array
    output_table: Array
    output_gradient: Array


class ConfigurationTable(Protocol):
    """P(y | configuration) of one hidden layer.

    Attributes
    ----------
    values : array (n_classes, n_high, n_low), probability
    slices : list of (start, stop)
        Ranges of high parts to work on.
    n_threads : int
        As many as such work is worth.
    """

    values: Array
    slices: list[tuple[int, int]]
    n_threads: int

    def fill(self, parameters: Parameters) -> None:
        """Compute the values under given parameters."""

    def log_of_class(self, k: int) -> Array:
        """Return ``log P(y = k | configuration)`` (nats) over all configurations."""

    def expect(self, counts: Array) -> UpperStatistics:
        """Run the E-steps above, given the expected weight of every class and configuration."""


def table_of_layer(shape: Shape, layer: int, n_threads: int) -> ConfigurationTable:
    """Return the table over the configurations of a hidden layer, 0 being the first."""
    kind = OutputTable if layer == shape.depth - 1 else HiddenTable
    return kind(shape, layer, n_threads)


def _halves(n_hidden: int) -> tuple[int, int]:
    n_low = 2 ** n_low_bits(n_hidden)
    return 2**n_hidden // n_low, n_low


class OutputTable:
    """Softmax over all configurations of the last hidden layer."""

    def __init__(self, shape: Shape, layer: int, n_threads: int) -> None:
        n_high, n_low = _halves(shape.hidden_layer_sizes[layer])
        self._n_low_bits = n_low_bits(shape.hidden_layer_sizes[layer])
        self.slices = table_slices(n_high, n_low)
        self.values = np.empty((shape.n_classes, n_high, n_low))
        self.n_threads = threads_worth(self.values.size * _SECONDS_PER_TABLE_ENTRY, n_threads)

    def fill(self, parameters: Parameters) -> None:
        """Compute the softmax under given output weights."""
        high, low = configurations.half_logits(
            parameters.output, parameters.output_intercepts, self._n_low_bits
        )
        exp_high, exp_low = (configurations.scaled_exponentials(x)[0] for x in (high, low))

        def fill_slice(piece: int, worker: int) -> None:
            configurations.fill_output_table(
                high, low, exp_high, exp_low, *self.slices[piece], self.values
            )

        run(fill_slice, len(self.slices), self.n_threads)
        self._logits = high, low

    def log_of_class(self, k: int) -> Array:
        """Return ``log P(y = k | z)`` (nats) over all configurations."""
        out = np.empty(self.values.shape[1:])
        configurations.fill_log_output_table(*self._logits, k, out)
        return out

    def expect(self, counts: Array) -> UpperStatistics:
        """Return the gradient of the output layer."""
        n_classes, n_high, n_low = counts.shape
        high_sums = np.empty((n_classes, n_high))
        low_sums = np.empty((len(self.slices), n_classes, n_low))

        def sum_slice(piece: int, worker: int) -> None:
            enumeration.fill_output_residuals(
                counts, self.values, *self.slices[piece], high_sums, low_sums[piece]
            )

        run(sum_slice, len(self.slices), self.n_threads)
        gradient = configurations.unit_sums(high_sums, low_sums.sum(axis=0))
        return UpperStatistics((), counts, self.values, gradient)


class _Sums(NamedTuple):
    """What the E-step of a hidden layer takes and adds up."""

    scale: Array
    counts: Array
    on_weight: Array
    posterior: Array


class HiddenTable:
    """Sums over the layer above, and the E-step of that layer.

    The rows of that E-step are the ``2**m`` configurations of this layer, once per class, and
    weigh what the E-step below expects of them: ``8 g 2**(m + m_above)`` flops, however many
    samples there are.
    """

    def __init__(self, shape: Shape, layer: int, n_threads: int) -> None:
        m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
        n_high, n_low = _halves(m)
        self._above = table_of_layer(shape, layer + 1, n_threads)
        self._layer = layer + 1
        self._fit_intercept = shape.fit_intercept
        self._inputs = _configuration_inputs(m, shape.fit_intercept)
        self._on, self._off = np.empty((2, m_above, 2**m))
        self.slices = table_slices(n_high, n_low)
        self.values = np.empty((shape.n_classes, n_high, n_low))
        self.n_threads = threads_worth(self.values.size * _SECONDS_PER_TABLE_ENTRY, n_threads)
        g, n_high_above, n_low_above = self._above.values.shape
        self._stacked = np.empty((g, n_low_above, n_high_above))
        self._pieces, self._tile, size = _cut(shape, layer)
        seconds = 6.0 * g * 2.0 ** (m + m_above) * _SECONDS_PER_FLOP
        self._n_threads = threads_worth(seconds, n_threads)
        self._workspaces = np.empty((min(self._n_threads, len(self._pieces)), size))

    @cached_property
    def _sums(self) -> _Sums:
        g, n_high, n_low = self._above.values.shape
        return _Sums(
            np.empty((g, len(self._inputs))),
            np.empty((len(self._pieces), g * n_high, n_low)),
            np.empty_like(self._on),
            np.empty_like(self._on),
        )

    def fill(self, parameters: Parameters) -> None:
        """Compute the marginals of the classes under given parameters.

        Raises
        ------
        FloatingPointError
            If weights overflow.
        """
        weights = parameters.hidden[self._layer]
        check_log_odds(np.ones(len(weights)), weights)
        self._above.fill(parameters)
        n_units = self._inputs.shape[1] - self._fit_intercept
        intercepts = weights[-1] if self._fit_intercept else np.zeros(weights.shape[1])
        high, low = configurations.half_logits(weights[:n_units], intercepts, n_low_bits(n_units))
        self._weights = weights
        self._stacked[:] = self._above.values.transpose(0, 2, 1)
        g, n_low, n_high = self._stacked.shape
        stacked, marginals = self._stacked.reshape(g * n_low, n_high), self.values.reshape(g, -1)
        n_small = np.zeros(len(self._pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_small[piece] = upper_layers.fill_marginals(
                high, low, stacked, n_low, *self._pieces[piece], self._tile,
                self._workspaces[worker], self._on, self._off, marginals,
            )  # fmt: skip

        run(fill_piece, len(self._pieces), self._n_threads)
        self._is_small = marginals < enumeration.SMALLEST_LIKELIHOOD if n_small.any() else None

    def log_of_class(self, k: int) -> Array:
        """Return ``log P(y = k | configuration)`` (nats) over all configurations."""
        with np.errstate(divide="ignore"):  # what is zero is redone
            out = np.log(self.values[k])
        if self._is_small is not None:
            log_space.redo_log_marginal(
                self._inputs, np.ascontiguousarray(self._weights.T), self._above.log_of_class(k),
                np.flatnonzero(self._is_small[k]), out.reshape(-1),
            )  # fmt: skip
        return out

    def expect(self, counts: Array) -> UpperStatistics:
        """Run the E-step of the layer above and of those above it."""
        g, n_low, n_high = self._stacked.shape
        sums, weights = self._sums, counts.reshape(g, -1)
        if self._is_small is None:
            np.divide(weights, self.values.reshape(g, -1), out=sums.scale)
        else:
            sums.scale[:] = 0.0
            np.divide(weights, self.values.reshape(g, -1), out=sums.scale, where=~self._is_small)
        table = self._above.values.reshape(g * n_high, n_low)
        stacked = self._stacked.reshape(g * n_low, n_high)

        def add_piece(piece: int, worker: int) -> None:
            upper_layers.add_configurations(
                self._on, self._off, table, stacked, sums.scale, *self._pieces[piece],
                self._tile, self._workspaces[worker], sums.on_weight, sums.counts[piece],
            )  # fmt: skip

        run(add_piece, len(self._pieces), self._n_threads)
        counts_above = sums.counts.sum(axis=0).reshape(g, n_high, n_low) * self._above.values
        if self._is_small is not None:
            self._redo_in_log_space(weights, counts_above)
        upper = self._above.expect(counts_above)
        layer = self._statistics(weights.sum(axis=0))
        return upper._replace(hidden=(layer, *upper.hidden))

    def _redo_in_log_space(self, weights: Array, counts_above: Array) -> None:
        """Add what the products left out: rows whose marginal is too small for them."""
        sums = self._sums
        coefs_T = np.ascontiguousarray(self._weights.T)
        log_likelihood, gradient = (
            np.empty(weights.shape[1]),
            np.zeros_like(self._weights),
        )  # not used
        for k, of_class in enumerate(weights):
            marked = np.flatnonzero(self._is_small[k] & (of_class > 0.0))
            if len(marked) == 0:
                continue
            log_space.redo_rows(
                self._inputs, of_class, coefs_T, self._above.log_of_class(k), marked,
                log_likelihood, self._on, sums.posterior, counts_above[k], gradient,
            )  # fmt: skip
            sums.on_weight[:, marked] += of_class[marked] * sums.posterior[:, marked]

    def _statistics(self, weights: Array) -> HiddenStatistics:
        sums = self._sums
        upper_layers.fill_posterior(self._on, weights, sums.on_weight, sums.posterior)
        gradient = self._inputs.T @ sums.on_weight.T
        return HiddenStatistics(self._inputs, weights, self._on, sums.posterior, gradient)


def _configuration_inputs(n_hidden: int, fit_intercept: bool) -> Array:
    """Return all configurations of a layer as rows, bit h in column h, (2**m, n_inputs)."""
    states = np.arange(2**n_hidden)
    inputs = np.ones((2**n_hidden, n_hidden + fit_intercept))
    for unit in range(n_hidden):
        inputs[:, unit] = (states >> unit) & 1
    return inputs


def _cut(shape: Shape, layer: int) -> tuple[list[tuple[int, int]], int, int]:
    """Return pieces of the configurations of a layer, rows of a tile, and its scratch."""
    m, m_above = shape.hidden_layer_sizes[layer : layer + 2]
    n_high, n_low = _halves(m_above)
    g = shape.n_classes
    per_row = (g + 2) * (n_low + n_high)
    tile = min(TILE, max(_TILE_ENTRIES // per_row, 16), 2**m)
    chunk = rows_per_chunk(2**m, m_above + (g - 1).bit_length())
    size = upper_layers.workspace_size(m_above, n_low_bits(m_above), g, tile)
    return row_ranges(2**m, chunk), tile, size


def bytes_of_tables(shape: Shape, n_threads: int, *, predicts_only: bool = False) -> int:
    """Return the memory of all tables above the first hidden layer's own, in bytes."""
    total, g = 0, shape.n_classes
    for layer, (m, m_above) in enumerate(pairwise(shape.hidden_layer_sizes)):
        pieces, _, size = _cut(shape, layer)
        n_inputs = m + shape.fit_intercept
        # the inputs, probabilities, and twice the table of the layer above
        total += 2**m * (n_inputs + 2 * m_above + g) + 2 * g * 2**m_above
        total += min(n_threads, len(pieces)) * size
        if not predicts_only:
            total += (len(pieces) + 2) * g * 2**m_above + 2**m * (2 * g + 4 * m_above)
    return 8 * total
