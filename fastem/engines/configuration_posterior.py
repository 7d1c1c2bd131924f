"""The posterior over the configurations of the first hidden layer, by enumeration.

All quantities are sums, maxima or samples over the configurations of tiles of rows. Rows of one
group share a table (`fastem.engines.row_tables`). Rows whose likelihood underflows are computed
one by one in log space.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fastem.engines.configuration_tables import halves
from fastem.engines.half_sums import fill_expected
from fastem.engines.log_posterior import (
    LogPosterior,
    expected_log_prior,
    finite_log_table,
    log_posterior_of,
    log_probabilities,
)
from fastem.engines.row_tables import buffers_of_row_table, row_table
from fastem.engines.sampler import keys_of
from fastem.kernels import posterior as kernels
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds
from fastem.runtime import (
    TILE,
    bytes_of,
    check_memory,
    lazy_property,
    row_ranges,
    run,
    single_threaded_blas,
    threads_worth,
)

_SECONDS_PER_ENTRY = 2e-10  # per row and configuration
_TABLES_AT_ONCE = 6  # in addition to the tables of the groups
_DRAWS_AT_ONCE = 2**18  # in a piece of rows; a single row may have more
_STATES_AT_ONCE = 2**15  # states of one half of the units, summed over the rows of a piece
# A unit with log-odds of larger size has one state only, except in rows computed in log space.
_CERTAIN = 700.0


def _columns(start: int, stop: int, *arrays: Array) -> list[Array]:
    return [np.ascontiguousarray(values[:, start:stop]) for values in arrays]


class ConfigurationPosterior:
    """The posterior over the configurations of the first hidden layer, for given rows.

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
        Of a network that `Enumeration` supports.
    parameters : Parameters
    n_threads : int

    Raises
    ------
    ValueError
        If the tables do not fit into memory.
    FloatingPointError
        If inputs times weights or squared residuals overflow.
    """

    def __init__(
        self, rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
    ) -> None:
        n_samples, m = len(rows.weights), shape.first
        own = {
            "tables": (_TABLES_AT_ONCE + 3 * n_threads, *halves(m)),
            "of_units": (8, m, n_samples),
        }
        check_memory(
            f"hidden_layer_sizes={shape.hidden_layer_sizes} on {n_samples} rows",
            f"for the posterior of 2**{m} hidden configurations",
            "Use fewer hidden units: one unit less halves the memory.",
            bytes_of(own, *buffers_of_row_table(shape, n_samples, n_threads)),
        )
        check_log_odds(rows.largest_inputs, parameters.hidden[0])
        self._rows, self._shape = rows, shape
        self._table = row_table(shape, n_samples, n_threads)
        self._table.bind(rows)
        self._n_threads = threads_worth(n_samples * 2.0**m * _SECONDS_PER_ENTRY, n_threads)
        with single_threaded_blas():
            self._table.fill(parameters)
            self._log_odds = np.ascontiguousarray((rows.inputs @ parameters.hidden[0]).T)
            self._tilts = None
            if not shape.has_classes:
                coefs = parameters.output[: shape.last]
                self._tilts = np.ascontiguousarray(coefs @ self._table.groups.tilts.T)

    @lazy_property
    def _tilted(self) -> Array:
        """Log-odds (n_hidden, n_samples) with which the tables of the groups are summed."""
        return self._log_odds if self._tilts is None else self._log_odds + self._tilts

    @lazy_property
    def _tilted_probability(self) -> tuple[Array, Array]:
        return expit(self._tilted), expit(-self._tilted)

    def _pieces(self, k: int, most: int = _STATES_AT_ONCE) -> list[tuple[int, int]]:
        """Return the ranges of rows of group k, each of at most ``most`` rows."""
        size = min(max(TILE, _STATES_AT_ONCE // halves(self._shape.first)[0]), most)
        first, last = (int(start) for start in self._table.groups.starts[k : k + 2])
        return [(first + a, first + b) for a, b in row_ranges(last - first, size)]

    @property
    def _groups(self) -> range:
        return range(len(self._table.groups.starts) - 1)

    def _expected_under(self, on: Array, off: Array, table_of: Callable[[int], Array]) -> Array:
        """Return the expectation (n_samples,) of the table of each row's group."""
        out = np.empty(len(self._rows.weights))
        with single_threaded_blas():
            for k in self._groups:
                if pieces := self._pieces(k):
                    fill_expected(on, off, table_of(k), pieces, self._n_threads, out)
        return out

    @lazy_property
    def _likelihood(self) -> Array:
        """Return the expectation of the table under the tilted prior, (n_samples,)."""
        values = self._table.values
        return self._expected_under(*self._tilted_probability, lambda k: values[k])

    @lazy_property
    def _marked(self) -> NDArray[np.int64]:
        """Numbers of the rows that are computed in log space."""
        return np.flatnonzero(~(self._likelihood >= SMALLEST_LIKELIHOOD))

    @lazy_property
    def _groups_of_marked(self) -> NDArray[np.int64]:
        return np.searchsorted(self._table.groups.starts, self._marked, side="right") - 1

    @property
    def _scale(self) -> Array:
        """Reciprocal of the likelihood, (n_samples,); zero in rows of log space."""
        is_normal = self._likelihood >= SMALLEST_LIKELIHOOD
        return np.divide(1.0, self._likelihood, out=np.zeros(len(is_normal)), where=is_normal)

    def _each_marked_row(self, function: Callable[[int, int, LogPosterior], None]) -> None:
        """Call ``function(row, group, log_posterior)`` for every row of log space."""
        log_on, log_off = log_probabilities(self._log_odds.T[self._marked])

        def do_target(target: Any, positions: NDArray[np.int64]) -> None:
            log_table = finite_log_table(self._table, target)

            def do_row(piece: int, worker: int) -> None:
                j = positions[piece]
                found = log_posterior_of(log_on[j], log_off[j], log_table)
                function(int(self._marked[j]), int(self._groups_of_marked[j]), found)

            run(do_row, len(positions), self._n_threads)

        with single_threaded_blas():
            for target, positions in self._marked_by_target():
                do_target(target, positions)

    def _marked_by_target(self) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Yield every target of marked rows, and the positions of its rows in ``_marked``."""
        marked, rows = self._marked, self._rows
        if len(marked) == 0:
            return
        targets = rows.labels[marked, None] if rows.targets is None else rows.targets[marked]
        distinct, inverse = np.unique(targets, axis=0, return_inverse=True)
        for number, target in enumerate(distinct):
            positions = np.flatnonzero(inverse.ravel() == number)
            yield int(target[0]) if rows.targets is None else target, positions

    def entropy_and_divergence(self, posterior: Array) -> tuple[Array, Array]:
        """Return entropy of the posterior and its divergence from the prior.

        Parameters
        ----------
        posterior : array (n_hidden, n_samples), probability
            P(Z = 1 | x, y) of every unit.

        Returns
        -------
        entropy, divergence : arrays (n_samples,), nats
        """
        values, tiny = self._table.values, np.finfo(np.float64).tiny
        log_density = self._expected_under(
            *self._tilted_probability,
            lambda k: values[k] * np.log(np.maximum(values[k], tiny)),
        )
        with np.errstate(divide="ignore"):  # rows of log space
            log_density = log_density * self._scale - np.log(self._likelihood)
        q = np.where(np.abs(self._tilted) > _CERTAIN, self._tilted > 0.0, posterior)
        log_prior = expected_log_prior(q, self._tilted)
        entropy = -log_density - log_prior
        if self._tilts is not None:
            log_prior = expected_log_prior(q, self._log_odds)
        divergence = -entropy - log_prior

        def redo(row: int, k: int, found: LogPosterior) -> None:
            r = np.exp(found.log_posterior)
            entropy[row] = -(r * found.log_posterior).sum()
            divergence[row] = (r * (found.log_posterior - found.log_prior)).sum()

        self._each_marked_row(redo)
        most = self._shape.first * np.log(2.0)
        return np.clip(entropy, 0.0, most), np.maximum(divergence, 0.0)

    def expected_log_density(self, q: Array) -> Array:
        """Return ``sum_z q(z) log p(y | z)`` (n_samples,), in nats, of independent units.

        Parameters
        ----------
        q : array (n_hidden, n_samples), probability
        """
        groups, table = self._table.groups, self._table

        def log_table(k: int) -> Array:
            target = k if self._tilts is None else groups.references[k]
            return finite_log_table(table, target)

        out = self._expected_under(q, 1.0 - q, log_table)
        if self._tilts is not None:
            out += (q * self._tilts).sum(axis=0) + groups.constants
        return out

    def most_probable(self, out: NDArray[np.int8]) -> Array:
        """Find the most probable configuration of every row.

        Parameters
        ----------
        out : array of int8 (n_samples, n_hidden)
            Overwritten with the states of the units, in the order of X.

        Returns
        -------
        log_probability : array (n_samples,), nats
            Under the posterior, in the order of the rows.
        """
        n_samples = len(self._rows.weights)
        states, largest = np.zeros(n_samples, dtype=np.int64), np.zeros(n_samples)
        log_on, log_off = log_probabilities(self._tilted)
        for k in self._groups:
            with np.errstate(divide="ignore"):
                log_table = np.log(self._table.values[k])
            pieces = self._pieces(k)

            def fill_piece(
                piece: int, worker: int, pieces: Any = pieces, log_table: Array = log_table
            ) -> None:
                start, stop = pieces[piece]
                kernels.fill_most_probable(
                    *_columns(start, stop, log_on, log_off), log_table,
                    largest[start:stop], states[start:stop],
                )  # fmt: skip

            run(fill_piece, len(pieces), self._n_threads)
        with np.errstate(divide="ignore", invalid="ignore"):  # rows of log space
            log_probability = largest - np.log(self._likelihood)

        def redo(row: int, k: int, found: LogPosterior) -> None:
            states[row] = np.argmax(found.log_posterior)
            log_probability[row] = found.log_posterior.flat[states[row]]

        self._each_marked_row(redo)
        kernels.fill_bits(states[None], self._rows.order, out[None])
        return np.minimum(log_probability, 0.0)

    def sample(self, n_draws: int, seed: int, out: NDArray[np.int8]) -> None:
        """Fill ``out (n_draws, n_samples, n_hidden)`` with samples, in the order of X.

        A sample depends on the seed, on its number, and on the row's position in X only.
        """
        numbers = np.ascontiguousarray(self._rows.order[:, None]).view(np.uint64)
        keys = keys_of(seed, 0, numbers)
        probability, most = self._tilted_probability, max(1, _DRAWS_AT_ONCE // n_draws)
        pieces = [(k, piece) for k in self._groups for piece in self._pieces(k, most)]

        def fill_piece(piece: int, worker: int) -> None:
            k, (start, stop) = pieces[piece]
            uniforms = np.empty((2, n_draws, stop - start))
            kernels.fill_uniforms(keys[start:stop], uniforms)
            states = np.empty((n_draws, stop - start), dtype=np.int64)
            on, off = _columns(start, stop, *probability)
            kernels.fill_samples(on, off, self._table.values[k], uniforms, states)
            kernels.fill_bits(states, self._rows.order[start:stop], out)

        def redo(row: int, k: int, found: LogPosterior) -> None:
            uniforms = np.empty((2, n_draws, 1))
            kernels.fill_uniforms(keys[row : row + 1], uniforms)
            below = np.cumsum(np.exp(found.log_posterior))
            states = np.searchsorted(below, uniforms[0] * below[-1], side="right")
            kernels.fill_bits(states, self._rows.order[row : row + 1], out)

        with single_threaded_blas():
            run(fill_piece, len(pieces), self._n_threads)
        self._each_marked_row(redo)
