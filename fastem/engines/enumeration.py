"""The enumeration engine: exact sums over all ``2**m`` hidden configurations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from fastem.engines.base import EngineSettings, Plan
from fastem.engines.configuration_tables import bytes_of_tables, table_of_layer
from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import enumeration, log_space
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows, check_log_odds, largest_inputs
from fastem.runtime import (
    TILE,
    Memory,
    check_memory,
    cut_by_class,
    most_chunks,
    n_low_bits,
    row_ranges,
    run,
    single_threaded_blas,
    table_slices,
    threads_worth,
)

_LOG_TABLES = 2  # at most at once, while rows are redone in log space
_MOST_UNITS = 60  # beyond any machine, and soon too long a number to print
# Rough costs, to tell what is worth sharing among threads.
_SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_UNIT = 9e-9
_SECONDS_PER_LOG_TERM = 3e-9


class EnumerationPlan(Plan):
    """An exact E-step prepared for given rows; see `Enumeration`."""

    def __init__(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> None:
        self._shape = shape
        self._most_threads = n_threads
        self._memory = Memory()
        self._table = table_of_layer(shape, 0, n_threads)
        table_shape = self._table.values.shape
        self._counts = np.empty(table_shape)
        self.take(rows)

    def take(self, rows: ClassSortedRows) -> None:
        """Go over to other rows, as many as it was planned for or fewer, in the same memory."""
        n_samples, n_inputs = rows.inputs.shape
        n_hidden, array = self._shape.first, self._memory.array
        self._rows = rows
        self._largest_inputs = largest_inputs(rows.inputs)
        self._chunks = chunks = cut_by_class(rows.class_starts, n_hidden)
        seconds = n_samples * (6 * 2.0**n_hidden * _SECONDS_PER_FLOP + n_hidden * _SECONDS_PER_UNIT)
        self._n_threads = threads_worth(seconds, self._most_threads)
        n_chunks = len(chunks.classes)
        n_workers = min(self._n_threads, max(n_chunks, 1))
        sizes = (b - a for a, b in zip(chunks.row_starts, chunks.row_stops, strict=True))
        self._tile = min(max(sizes, default=1), TILE)
        size = enumeration.workspace_size(n_inputs, n_hidden, n_low_bits(n_hidden), self._tile)
        self._workspaces = array("workspaces", n_workers, size)
        self._chunk_counts = array("chunk counts", n_chunks, *self._counts.shape[1:])
        self._chunk_gradients = array("chunk gradients", n_chunks, n_inputs, n_hidden)
        self._chunk_redo = np.zeros(n_chunks, dtype=np.int64)
        self._log_likelihood = array("log-likelihood", n_samples)
        self._hidden_probability = array("probability", n_hidden, n_samples)
        self._hidden_posterior = array("posterior", n_hidden, n_samples)

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step: ``6 n 2**m`` flops in matrix products, m units in the first layer.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        check_log_odds(self._largest_inputs, parameters.hidden[0])
        with single_threaded_blas():
            self._table.fill(parameters)
            coefs_T = np.ascontiguousarray(parameters.hidden[0].T)
            self._add_rows(coefs_T)
            self._fill_counts()
            hidden_gradient = self._chunk_gradients.sum(axis=0)
            if self._chunk_redo.any():
                hidden_gradient += self._redo_in_log_space(coefs_T)
            upper = self._table.expect(self._counts)
        hidden = HiddenStatistics(
            self._rows.inputs,
            self._rows.weights,
            self._hidden_probability,
            self._hidden_posterior,
            hidden_gradient,
        )
        return Statistics(
            self._log_likelihood,
            (hidden, *upper.hidden),
            upper.counts,
            upper.output_table,
            upper.output_gradient,
        )

    def _add_rows(self, coefs_T: Array) -> None:
        rows, chunks = self._rows, self._chunks

        def add_chunk(piece: int, worker: int) -> None:
            self._chunk_redo[piece] = enumeration.add_rows(
                rows.inputs,
                rows.weights,
                coefs_T,
                self._table.values[chunks.classes[piece]],
                chunks.row_starts[piece],
                chunks.row_stops[piece],
                self._tile,
                self._workspaces[worker],
                self._log_likelihood,
                self._hidden_probability,
                self._hidden_posterior,
                self._chunk_counts[piece],
                self._chunk_gradients[piece],
            )

        run(add_chunk, len(chunks.classes), self._n_threads)

    def _fill_counts(self) -> None:
        def fill_slice(piece: int, worker: int) -> None:
            enumeration.fill_counts(
                self._chunk_counts,
                self._chunks.class_starts,
                self._table.values,
                *self._table.slices[piece],
                self._counts,
            )

        run(fill_slice, len(self._table.slices), self._table.n_threads)

    def _redo_in_log_space(self, coefs_T: Array) -> Array:
        """Redo the marked rows, a class at a time; return their share of the gradient."""
        rows, n_classes = self._rows, self._shape.n_classes
        marked = np.flatnonzero(np.isneginf(self._log_likelihood))
        cuts = np.searchsorted(marked, rows.class_starts)
        gradients = np.zeros((n_classes, rows.inputs.shape[1], self._shape.first))

        def redo_class(k: int, worker: int) -> None:
            if cuts[k] < cuts[k + 1]:
                log_space.redo_rows(
                    rows.inputs,
                    rows.weights,
                    coefs_T,
                    self._table.log_of_class(k),
                    marked[cuts[k] : cuts[k + 1]],
                    self._log_likelihood,
                    self._hidden_probability,
                    self._hidden_posterior,
                    self._counts[k],
                    gradients[k],
                )

        seconds = len(marked) * self._counts[0].size * _SECONDS_PER_LOG_TERM
        # each class at work holds a table of its own
        run(redo_class, n_classes, min(threads_worth(seconds, self._n_threads), _LOG_TABLES))
        return gradients.sum(axis=0)


def _refuse_too_many_units(
    bytes_needed: Callable[[Shape, int, int], int], shape: Shape, n_samples: int, n_threads: int
) -> None:
    largest = max(shape.hidden_layer_sizes)
    if largest > _MOST_UNITS:
        needed = math.inf, f"more than 2**{largest} bytes"
    else:
        needed = (bytes_needed(shape, n_samples, n_threads),)
    check_memory(
        f"hidden_layer_sizes={shape.hidden_layer_sizes}",
        f"for exact enumeration of 2**{largest} hidden configurations",
        "Use fewer hidden units: each one less halves the need, or "
        + ("fastem.Quadrature() or " if shape.n_classes in (2, 3) and shape.depth == 1 else "")
        + "fastem.Sampling(), which estimates.",
        *needed,
    )


@dataclass(frozen=True)
class Enumeration(EngineSettings):
    """Exact E-step by enumeration of the ``2**m`` configurations of a hidden layer.

    Cost: ``6 n 2**m`` flops in matrix products and ``O(n 2**(m / 2) + g 2**m)`` beside, with m
    units in the first layer. Deeper layers add ``8 g 2**(m + m_above)`` flops for each pair of
    neighbours, whatever n is: samples meet the first layer only.
    Memory: about ``(2 g + chunks + threads + 2) 2**m`` numbers, never ``n 2**m``. Chunks of
    rows, each of which sums into a table of its own, are at most g and as many more as
    fit into 256 MiB; the last 2 are for rows redone in log space.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier(e_step=fastem.Enumeration())
    """

    name: ClassVar[str] = "enumeration"
    has_table: ClassVar[bool] = True

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread."""
        if max(shape.hidden_layer_sizes) > _MOST_UNITS:
            return math.inf
        # tables are left out: a choice that went by them would differ between many rows and the
        # few of a rehearsal
        flops = 6 * 2.0**shape.first
        of_rows = n_samples * (flops * _SECONDS_PER_FLOP + shape.first * _SECONDS_PER_UNIT)
        pairs = pairwise(shape.hidden_layer_sizes)
        return of_rows + 8 * shape.n_classes * _SECONDS_PER_FLOP * sum(
            2.0 ** (a + b) for a, b in pairs
        )

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes.

        That of the rows themselves is not counted.
        """
        m, g, p = shape.first, shape.n_classes, shape.n_inputs
        table, halves = 2**m, 2 ** (m - n_low_bits(m)) + 2 ** n_low_bits(m)
        n_chunks = most_chunks(n_samples, m, g)
        n_workers = min(n_threads, n_chunks)
        tables = 2 * g + n_chunks + min(_LOG_TABLES, n_threads)
        slices = len(table_slices(2 ** (m - n_low_bits(m)), 2 ** n_low_bits(m)))
        return 8 * (
            tables * table
            + n_workers * enumeration.workspace_size(p, m, n_low_bits(m), min(n_samples, TILE))
            + (n_chunks + g + 3) * p * m  # of chunks, of classes in log space, and totals
            + (slices + 8) * g * halves
            + n_samples * (2 * m + 2)
        ) + bytes_of_tables(shape, n_threads)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal` for ``n_samples`` rows, in bytes."""
        m, g = shape.first, shape.n_classes
        table, halves = 2**m, 2 ** (m - n_low_bits(m)) + 2 ** n_low_bits(m)
        tile = min(n_samples, TILE)
        n_workers = min(n_threads, n_samples // TILE + 1)
        return 8 * (
            (g + 1) * table  # one of them for rows redone in log space
            + n_workers * enumeration.workspace_size(shape.n_inputs, m, n_low_bits(m), tile)
            + shape.n_inputs * m
            + 8 * g * halves
            + n_samples * (g + 1)
        ) + bytes_of_tables(shape, n_threads, predicts_only=True)

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> EnumerationPlan:
        """Prepare exact E-steps on the given rows.

        Raises
        ------
        ValueError
            If the tables exceed the memory that this machine has, before allocating any.
        """
        _refuse_too_many_units(self.bytes_needed, shape, len(rows.weights), n_threads)
        return EnumerationPlan(rows, shape, n_threads)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` for every row and class.

        Parameters
        ----------
        inputs : array (n_samples, n_inputs)
        parameters : Parameters
        shape : Shape
        n_threads : int

        Returns
        -------
        log_marginal : array (n_samples, n_classes), nats

        Raises
        ------
        ValueError
            If the tables exceed the memory that this machine has.
        FloatingPointError
            If inputs times weights overflow.
        """
        n_samples, n_inputs = inputs.shape
        _refuse_too_many_units(self.bytes_to_predict, shape, n_samples, n_threads)
        check_log_odds(largest_inputs(inputs), parameters.hidden[0])
        table = table_of_layer(shape, 0, n_threads)
        out = np.empty((n_samples, shape.n_classes))
        coefs_T = np.ascontiguousarray(parameters.hidden[0].T)
        pieces = row_ranges(n_samples, TILE)
        tile = min(n_samples, TILE)
        flops = n_samples * shape.n_classes * 2 * 2.0**shape.first
        n_threads = threads_worth(flops * _SECONDS_PER_FLOP, n_threads)
        low_bits = n_low_bits(shape.first)
        size = enumeration.workspace_size(n_inputs, shape.first, low_bits, tile)
        workspaces = np.empty((min(n_threads, len(pieces)), size))
        n_redo = np.zeros(len(pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_redo[piece] = enumeration.fill_log_marginal(
                inputs, coefs_T, table.values, *pieces[piece], tile, workspaces[worker], out
            )

        with single_threaded_blas():
            table.fill(parameters)
            run(fill_piece, len(pieces), n_threads)
        if n_redo.any():
            for k in range(shape.n_classes):
                marked = np.flatnonzero(np.isneginf(out[:, k]))
                if len(marked) > 0:
                    of_class = out[:, k].copy()  # kernels are compiled for plain arrays
                    log_space.redo_log_marginal(
                        inputs, coefs_T, table.log_of_class(k), marked, of_class
                    )
                    out[:, k] = of_class
        return out
