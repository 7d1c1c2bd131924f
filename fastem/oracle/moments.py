"""Posterior moments of functions of the hidden configuration, row by row, by enumeration.

For a function F of the configuration z of the first hidden layer, `Tile` computes ``E[F(z)]``,
``E[z_h F(z)]`` and ``E[z_h z_k F(z)]`` under the posterior of every row. A configuration is a pair
of a high and a low half, as in `fastem.engines`. The joint probability of a row is ``T * (A B')``,
with the priors A and B of both halves and the table T of its group. All moments are matrix products
over the rows of a tile; no array has ``n 2**m`` entries.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines import (
    buffers_of_row_table,
    finite_log_table,
    half_priors,
    log_posterior_of,
    log_probabilities,
    row_table,
)
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds
from fastem.runtime import (
    Shapes,
    lazy_property,
    n_low_bits,
    row_ranges,
    run,
    single_threaded_blas,
    threads_worth,
)
from fastem.tables import first_moments, second_moments, states_of

_TILE_ENTRIES = 2**17
_SMALLEST_TILE = 64
_SECONDS_PER_FLOP = 5e-11
MOST_CHUNKS = 8
"""Largest number of pieces of work with sums of their own."""


def table_products(table: Array, factors: Array) -> Array:
    """Return ``table * factors``; zero where the table is zero, also for infinite factors."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(table > 0.0, table * factors, 0.0)


def tables_in_use(shape: Shape, n_samples: int, n_tables: int, n_threads: int) -> list[Shapes]:
    """Declare the memory of an `Enumerated`, whose tiles use ``n_tables`` functions each."""
    tables = {"tables": (2 * n_threads, n_tables, 2**shape.first)}
    return [tables, *buffers_of_row_table(shape, n_samples, n_threads)]


class Enumerated:
    """Rows of a network whose first hidden layer is enumerated, under given parameters.

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
    parameters : Parameters
    n_threads : int

    Raises
    ------
    FloatingPointError
        If inputs times weights or squared residuals overflow.
    """

    def __init__(
        self, rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
    ) -> None:
        check_log_odds(rows.largest_inputs, parameters.hidden[0])
        self.rows, self.shape, self.parameters = rows, shape, parameters
        self.n_threads = n_threads
        self.table = row_table(shape, len(rows.weights), n_threads)
        self.table.bind(rows)
        with single_threaded_blas():
            self.table.fill(parameters)
        self.groups = self.table.groups
        self.coefs_T = np.ascontiguousarray(parameters.hidden[0].T)
        self.output_coefs = parameters.output[: shape.last]
        self.low_bits = n_low_bits(shape.first)
        self.low_states = states_of(self.low_bits)
        self.high_states = states_of(shape.first - self.low_bits)
        self._log_table: tuple[int, Array] | None = None

    def tile_size(self) -> int:
        """Return the number of rows of a tile, which depends on the network only."""
        m = self.shape.first
        per_row = 2 ** (m - self.low_bits) + (m + 1) ** 2
        return max(_TILE_ENTRIES // per_row, _SMALLEST_TILE)

    def tiles(self) -> list[tuple[int, int, int]]:
        """Return (group, start, stop) of every tile, in order of the rows."""
        size, found = self.tile_size(), []
        starts = self.groups.starts
        for k in range(len(starts) - 1):
            first = int(starts[k])
            for start, stop in row_ranges(int(starts[k + 1]) - first, size):
                found.append((k, first + start, first + stop))
        return found

    def run(self, function: Callable[["Tile", int], None], n_products: float) -> None:
        """Call ``function(tile, chunk)`` for every tile; a chunk's tiles run one after another.

        There are at most `MOST_CHUNKS` chunks. They depend on the data only. Overflow gives
        infinity or NaN, which the caller must check.

        Parameters
        ----------
        function : callable
        n_products : float
            Matrix products of ``2 n 2**m`` flops per row, to decide about threads.
        """
        tiles = self.tiles()
        chunks = row_ranges(len(tiles), max(-(-len(tiles) // MOST_CHUNKS), 1))
        flops = 2.0 * n_products * len(self.rows.weights) * 2.0**self.shape.first
        n_threads = threads_worth(flops * _SECONDS_PER_FLOP, self.n_threads)

        def work(chunk: int, worker: int) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # holds for this thread only
                for number in range(*chunks[chunk]):
                    function(Tile(self, *tiles[number]), chunk)

        with single_threaded_blas():
            run(work, len(chunks), n_threads)

    def unit_sums(self, table: Array) -> Array:
        """Return ``sum_s table(s) (s, 1)`` over all configurations s, (n_hidden + 1,)."""
        return first_moments(table.sum(axis=1)[None], table.sum(axis=0)[None])[:, 0]

    def log_table(self, group: int, row: int) -> Array:
        """Return ``log p(y | configuration)`` (nats) of one row; for classes, that of its class."""
        if not self.shape.has_classes:
            return finite_log_table(self.table, self.rows.targets[row])
        kept = self._log_table  # one assignment: another thread may replace it
        if kept is None or kept[0] != group:
            kept = self._log_table = group, finite_log_table(self.table, group)
        return kept[1]


class Changes(NamedTuple):
    """Posterior of the rows of a tile, and its derivative along a direction.

    Attributes
    ----------
    first, first_change : arrays (n_hidden + 1, n_rows)
        ``E[(z, 1)]``.
    counts, counts_change : arrays (n_high, n_low), summed weight
        Expected weight of every configuration.
    """

    first: Array
    first_change: Array
    counts: Array
    counts_change: Array


class Tile:
    """Rows ``start:stop`` of one group.

    Attributes
    ----------
    group, start, stop : int
    probability : array (n_hidden, n_rows)
        P(Z = 1 | x).
    """

    def __init__(self, source: Enumerated, group: int, start: int, stop: int) -> None:
        self._source, self.group, self.start, self.stop = source, group, start, stop
        self._log_odds = source.coefs_T @ source.rows.inputs[start:stop].T
        self.probability = expit(self._log_odds)
        tilted = self._log_odds
        tilts = source.groups.tilts
        if tilts is not None:
            tilted = tilted + source.output_coefs @ tilts[start:stop].T
        self._high, self._low = half_priors(expit(tilted), expit(-tilted))
        self._table = source.table.values[group]
        self._of_low = self._table.T @ self._high
        likelihood = np.einsum("sn,sn->n", self._of_low, self._low)
        self._marked = np.flatnonzero(~(likelihood >= SMALLEST_LIKELIHOOD))
        likelihood[self._marked] = np.inf
        self._low /= likelihood

    @lazy_property
    def _of_high(self) -> Array:
        return self._table @ self._low

    @property
    def inputs(self) -> Array:
        """Inputs of the rows, (n_rows, n_inputs)."""
        return self._source.rows.inputs[self.start : self.stop]

    @property
    def weights(self) -> Array:
        """Weights of the rows, (n_rows,)."""
        return self._source.rows.weights[self.start : self.stop]

    def means(self, factors: Array) -> Array:
        """Return ``E[F(z)]``, (n_factors, n_rows).

        Parameters
        ----------
        factors : array (n_factors, n_high, n_low)
            Values of F over all configurations.
        """
        out = np.empty((len(factors), self.stop - self.start))
        for j, factor in enumerate(factors):
            table = table_products(self._table, factor)
            np.einsum("sn,sn->n", table.T @ self._high, self._low, out=out[j])
        for i, posterior in self._redone():
            out[:, i] = [table_products(posterior, factor).sum() for factor in factors]
        return out

    def first_moments(self, factors: Array | None = None) -> Array:
        """Return ``E[(z, 1) F(z)]``, (1 + n_factors, n_hidden + 1, n_rows); F = 1 comes first."""
        tables = self._tables(factors)
        n_low, m = self._source.low_bits, self._source.shape.first
        out = np.empty((len(tables), m + 1, self.stop - self.start))
        for j, table in enumerate(tables):
            joint = self._low * (self._of_low if j == 0 else table.T @ self._high)
            out[j, :n_low] = self._source.low_states @ joint
            out[j, m] = joint.sum(axis=0)
            joint = self._high * (self._of_high if j == 0 else table @ self._low)
            out[j, n_low:m] = self._source.high_states @ joint
        for i, posterior in self._redone():
            for j, table in enumerate(self._redone_tables(posterior, factors)):
                out[j, :, i] = self._source.unit_sums(table)
        return out

    def second_moments(self, factors: Array | None = None) -> Array:
        """Return ``E[(z, 1) (z, 1)' F(z)]``, (1 + n_factors, n_hidden + 1, n_hidden + 1, n_rows).

        F = 1 comes first. Pairs of a high and a low unit take ``n 2**m`` flops per high unit.
        """
        tables = self._tables(factors)
        source, n_rows = self._source, self.stop - self.start
        n_low, m = source.low_bits, source.shape.first
        low_pairs, high_pairs = _pairs(source.low_states), _pairs(source.high_states)
        is_on = source.high_states > 0.0
        out = np.empty((len(tables), m + 1, m + 1, n_rows))
        for j, table in enumerate(tables):
            joint = self._low * (self._of_low if j == 0 else table.T @ self._high)
            out[j, :n_low, :n_low] = (low_pairs @ joint).reshape(n_low, n_low, n_rows)
            out[j, m, m] = joint.sum(axis=0)
            joint = self._high * (self._of_high if j == 0 else table @ self._low)
            out[j, n_low:m, n_low:m] = (high_pairs @ joint).reshape(m - n_low, m - n_low, n_rows)
            for h, on in enumerate(is_on, n_low):
                joint = self._low * (table[on].T @ self._high[on])
                out[j, h, :n_low] = out[j, :n_low, h] = source.low_states @ joint
            diagonal = np.arange(m)
            out[j, :m, m] = out[j, m, :m] = out[j, diagonal, diagonal]
        for i, posterior in self._redone():
            for j, table in enumerate(self._redone_tables(posterior, factors)):
                out[j, :, :, i] = second_moments(table)
        return out

    def counts(self) -> Array:
        """Return the expected weight of every configuration, (n_high, n_low)."""
        counts = self._table * ((self._high * self.weights) @ self._low.T)
        for i, posterior in self._redone():
            counts += self.weights[i] * posterior
        return counts

    def changes(self, slopes: Array, function: Array) -> Changes:
        """Return how the posterior changes if ``log p(y, z | x)`` changes with a given speed.

        The speed is ``psi(z) = sum_h slopes_h z_h + function(z)``, up to a constant per row.

        Parameters
        ----------
        slopes : array (n_hidden, n_rows)
        function : array (n_high, n_low)
        """
        source, table, high, low = self._source, self._table, self._high, self._low
        weights = self.weights
        n_low, m = source.low_bits, source.shape.first
        of_low, of_high = self._of_low, self._of_high
        first = self.first_moments()[0]
        # z_h - E[z_h] in place of z_h: the constant would cost digits
        slopes_low, slopes_high = slopes[:n_low], slopes[n_low:]
        speed_low = source.low_states.T @ slopes_low - (slopes_low * first[:n_low]).sum(axis=0)
        speed_high = source.high_states.T @ slopes_high - (slopes_high * first[n_low:m]).sum(axis=0)
        moved_low, moved_high = low * speed_low, high * speed_high
        moved_table = table_products(table, function)
        mixed = np.empty_like(first)
        joint = moved_low * of_low + low * (table.T @ moved_high + moved_table.T @ high)
        mixed[:n_low], mixed[m] = source.low_states @ joint, joint.sum(axis=0)
        joint = moved_high * of_high + high * (table @ moved_low + moved_table @ low)
        mixed[n_low:m] = source.high_states @ joint
        weighted = high * weights
        shared = weighted @ low.T
        counts = table * shared
        moved = (moved_high - high * mixed[m]) * weights
        changed = table * (moved @ low.T + weighted @ moved_low.T) + moved_table * shared
        for i, posterior in self._redone():
            speed = function + speed_high[:, i : i + 1] + speed_low[:, i]
            moved = table_products(posterior, speed)
            mixed[:, i] = source.unit_sums(moved)
            counts += weights[i] * posterior
            changed += weights[i] * (moved - posterior * mixed[m, i])
        change = mixed - first * mixed[m]
        change[m] = 0.0
        return Changes(first, change, counts, changed)

    def _tables(self, factors: Array | None) -> Array:
        own = self._table[None]
        return own if factors is None else np.concatenate([own, table_products(own, factors)])

    @staticmethod
    def _redone_tables(posterior: Array, factors: Array | None) -> Array:
        own = posterior[None]
        return own if factors is None else np.concatenate([own, table_products(own, factors)])

    def _redone(self) -> Iterator[tuple[int, Array]]:
        """Yield (number of the row in the tile, its posterior (n_high, n_low)) of marked rows."""
        log_on, log_off = log_probabilities(self._log_odds.T[self._marked])
        for j, i in enumerate(self._marked):
            log_table = self._source.log_table(self.group, self.start + i)
            found = log_posterior_of(log_on[j], log_off[j], log_table)
            yield i, np.exp(found.log_posterior)


def _pairs(states: Array) -> Array:
    """Return ``states[a] * states[b]`` for all pairs, (n_bits**2, n_states)."""
    return (states[:, None] * states[None]).reshape(-1, states.shape[1])
