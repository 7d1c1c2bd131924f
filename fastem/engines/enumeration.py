"""The enumeration engine: exact sums over all ``2**m`` hidden configurations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from fastem.engines.base import Engine, Plan, check_classes, check_depth, quadrature_serves
from fastem.engines.configuration_tables import (
    LOG_TABLES,
    ConfigurationTable,
    Redo,
    buffers_of_tables,
    halves,
    table_of_layer,
)
from fastem.engines.grouping import Groups, most_groups
from fastem.engines.row_tables import buffers_of_row_table, row_table
from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import enumeration, log_space
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds, largest_inputs
from fastem.runtime import (
    TILE,
    Buffers,
    Shapes,
    bytes_of,
    check_memory,
    cut_by_group,
    most_chunks,
    n_low_bits,
    row_ranges,
    run,
    single_threaded_blas,
    threads_worth,
)

_MOST_UNITS = 60  # beyond the memory of any machine
# Rough costs, to decide whether work is worth sharing among threads.
_SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_UNIT = 9e-9
_SECONDS_PER_LOG_TERM = 3e-9


class EnumerationPlan(Plan):
    """An exact E-step prepared for given rows; see `Enumeration`."""

    def __init__(self, rows: TrainingRows, shape: Shape, n_threads: int) -> None:
        self._shape = shape
        self._most_threads = n_threads
        self._buffers = Buffers()
        self._table = row_table(shape, len(rows.weights), n_threads)
        self.rebind(rows)

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        shape, n_samples = self._shape, len(rows.weights)
        self._rows = rows
        self._largest_inputs = largest_inputs(rows.inputs)
        self._table.bind(rows)
        self._n_threads = threads_worth(_seconds_of_rows(shape, n_samples), self._most_threads)
        self._groups: Groups | None = None

    def _cut(self) -> None:
        """Cut the rows of every group into chunks, unless the groups are those of the last call."""
        shape, n_samples = self._shape, len(self._rows.weights)
        groups, last = self._table.groups, self._groups
        self._groups = groups
        if last is not None and (groups is last or np.array_equal(groups.starts, last.starts)):
            return
        self._chunks = chunks = cut_by_group(groups.starts, shape.first)
        n_chunks = len(chunks.groups)
        sizes = (b - a for a, b in zip(chunks.row_starts, chunks.row_stops, strict=True))
        self._tile = min(max(sizes, default=1), TILE)
        declared = _plan_buffers(shape, n_samples, n_chunks, self._tile, self._n_threads)
        self._arrays = self._buffers.allocate(declared)
        self._chunk_redo = np.zeros(n_chunks, dtype=np.int64)

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step: ``6 n 2**m`` flops in matrix products, m units in the first layer.

        ``draw`` is ignored.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        check_log_odds(self._largest_inputs, parameters.hidden[0])
        with single_threaded_blas():
            self._table.fill(parameters)
            self._cut()
            arrays = self._arrays
            coefs_T = np.ascontiguousarray(parameters.hidden[0].T)
            self._fill_rows(coefs_T, parameters)
            self._fill_counts()
            hidden_gradient = arrays.chunk_gradients.sum(axis=0)
            if self._chunk_redo.any():
                hidden_gradient += self._redo_in_log_space(coefs_T)
            upper = self._table.expect(arrays.counts, arrays.posterior)
        hidden = HiddenStatistics(
            self._rows.inputs,
            self._rows.weights,
            arrays.probability,
            arrays.posterior,
            hidden_gradient,
        )
        return Statistics(
            arrays.log_likelihood,
            (hidden, *upper.hidden),
            upper.counts,
            upper.output_table,
            upper.output_gradient[: len(parameters.output)],
            squared_residuals=upper.squared_residuals,
        )

    def _fill_rows(self, coefs_T: Array, parameters: Parameters) -> None:
        rows, chunks, arrays = self._rows, self._chunks, self._arrays
        groups = self._groups
        output_coefs = np.ascontiguousarray(parameters.output[: self._shape.last])

        def add_chunk(piece: int, worker: int) -> None:
            self._chunk_redo[piece] = enumeration.fill_rows(
                rows.inputs,
                rows.weights,
                coefs_T,
                self._table.values[chunks.groups[piece]],
                output_coefs,
                groups.tilts,
                groups.constants,
                chunks.row_starts[piece],
                chunks.row_stops[piece],
                self._tile,
                arrays.workspaces[worker],
                arrays.log_likelihood,
                arrays.probability,
                arrays.posterior,
                arrays.chunk_counts[piece],
                arrays.chunk_gradients[piece],
            )

        run(add_chunk, len(chunks.groups), self._n_threads)

    def _fill_counts(self) -> None:
        def fill_slice(piece: int, worker: int) -> None:
            enumeration.fill_counts(
                self._arrays.chunk_counts,
                self._chunks.group_starts,
                self._table.values,
                *self._table.slices[piece],
                self._arrays.counts,
            )

        run(fill_slice, len(self._table.slices), self._table.n_threads)

    def _redo_in_log_space(self, coefs_T: Array) -> Array:
        """Redo the marked rows; return their share of the gradient."""
        rows, arrays, table = self._rows, self._arrays, self._table
        marked = np.flatnonzero(np.isneginf(arrays.log_likelihood))
        lanes = table.redo_lanes(marked, arrays.counts)
        gradients = np.zeros((len(lanes), rows.inputs.shape[1], self._shape.first))

        def redo_lane(piece: int, worker: int) -> None:
            lane: Redo = lanes[piece]
            for target, own in lane.pieces:
                log_space.redo_rows(
                    rows.inputs,
                    rows.weights,
                    coefs_T,
                    table.log_table(target),
                    own,
                    arrays.log_likelihood,
                    arrays.probability,
                    arrays.posterior,
                    lane.counts,
                    gradients[piece],
                )

        seconds = len(marked) * arrays.counts[0].size * _SECONDS_PER_LOG_TERM
        # each lane in progress holds a table of its own
        run(redo_lane, len(lanes), min(threads_worth(seconds, self._n_threads), LOG_TABLES))
        table.join_lanes(lanes, arrays.log_likelihood, marked)
        return gradients.sum(axis=0)


def _seconds_of_rows(shape: Shape, n_samples: int) -> float:
    """Estimate the time of the products and priors of all rows on one thread."""
    per_row = 6 * 2.0**shape.first * _SECONDS_PER_FLOP + shape.first * _SECONDS_PER_UNIT
    return n_samples * per_row


def _plan_buffers(shape: Shape, n_samples: int, n_chunks: int, tile: int, n_threads: int) -> Shapes:
    """Declare the arrays of a plan."""
    p, m = shape.n_inputs, shape.first
    low_bits = n_low_bits(m)
    n_workers = min(n_threads, max(n_chunks, 1))
    return {
        "workspaces": (n_workers, enumeration.workspace_size(p, m, low_bits, tile)),
        "counts": (shape.n_outputs if shape.has_classes else 1, *halves(m)),
        "chunk_counts": (n_chunks, *halves(m)),
        "chunk_gradients": (n_chunks, p, m),
        "log_likelihood": (n_samples,),
        "probability": (m, n_samples),
        "posterior": (m, n_samples),
    }


def _temporaries(shape: Shape, n_threads: int) -> Shapes:
    """Declare the arrays that an E-step allocates to redo rows in log space."""
    p, m, g = shape.n_inputs, shape.first, shape.n_outputs
    return {
        "log_tables": (min(LOG_TABLES, n_threads), *halves(m)),
        "gradients": (g + 3, p, m),
    }


def _prediction_buffers(shape: Shape, n_samples: int, n_threads: int) -> Shapes:
    """Declare the arrays that `log_marginal` allocates beside the tables."""
    m, tile = shape.first, min(n_samples, TILE)
    n_workers = min(n_threads, len(row_ranges(n_samples, TILE)))
    size = enumeration.workspace_size(shape.n_inputs, m, n_low_bits(m), tile)
    return {"workspaces": (n_workers, size), "out": (n_samples, shape.n_outputs)}


def _prediction_temporaries(shape: Shape, n_samples: int) -> Shapes:
    """Declare the arrays that `log_marginal` allocates to redo rows in log space."""
    return {
        "log_table": halves(shape.first),
        "coefs_T": (shape.first, shape.n_inputs),
        "of_class": (n_samples,),
    }


def _check_memory(n_bytes: Callable[[Shape, int, int], int], shape: Shape, *sizes: int) -> None:
    """Raise ValueError, before anything is allocated, if the tables do not fit into memory."""
    largest = max(shape.hidden_layer_sizes)
    if largest > _MOST_UNITS:
        needed = math.inf, f"more than 2**{largest} bytes"
    else:
        needed = (n_bytes(shape, *sizes),)
    check_memory(
        f"hidden_layer_sizes={shape.hidden_layer_sizes}",
        f"for exact enumeration of 2**{largest} hidden configurations",
        "Use fewer hidden units: one unit less halves the memory. Or use "
        + ("fastem.Quadrature() or " if quadrature_serves(shape) else "")
        + "fastem.Sampling(), which estimates.",
        *needed,
    )


@dataclass
class Enumeration(Engine):
    """Exact E-step by enumeration of the ``2**m`` configurations of a hidden layer.

    Cost: ``6 n 2**m`` flops in matrix products and ``O(n 2**(m / 2) + g 2**m)`` other operations,
    with m units in the first layer. Each pair of neighbouring layers adds
    ``8 g 2**(m + m_above)`` flops, which does not depend on n.
    Memory: about ``(2 g + chunks + threads + 2) 2**m`` numbers, never ``n 2**m``. Chunks of
    rows sum into tables of their own; there are at most g chunks plus as many as fit into
    256 MiB. The last 2 tables are for rows that are redone in log space.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier(e_step=fastem.Enumeration())
    """

    name: ClassVar[str] = "enumeration"
    statistics: ClassVar[str] = "counts"

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Estimate the time of an E-step on one thread, in seconds."""
        if max(shape.hidden_layer_sizes) > _MOST_UNITS:
            return math.inf
        if not shape.has_classes:
            return math.inf if shape.depth > 1 else _seconds_of_rows(shape, n_samples)
        # The time to fill tables is left out on purpose: with it, "auto" would choose
        # differently for a few rows of the same data.
        pairs = pairwise(shape.hidden_layer_sizes)
        upper = 8 * shape.n_outputs * _SECONDS_PER_FLOP * sum(2.0 ** (a + b) for a, b in pairs)
        return _seconds_of_rows(shape, n_samples) + upper

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes.

        The memory of the rows themselves is not counted.
        """
        n_chunks = most_chunks(n_samples, shape.first, most_groups(shape, n_samples))
        tile = min(n_samples, TILE)
        own = _plan_buffers(shape, n_samples, n_chunks, tile, n_threads)
        tables = buffers_of_row_table(shape, n_samples, n_threads)
        return bytes_of(own, _temporaries(shape, n_threads), *tables)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal` for ``n_samples`` rows, in bytes."""
        return bytes_of(
            _prediction_buffers(shape, n_samples, n_threads),
            _prediction_temporaries(shape, n_samples),
            *buffers_of_tables(shape, n_threads, predicts_only=True),
        )

    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> EnumerationPlan:
        """Prepare exact E-steps on the given rows.

        Raises
        ------
        ValueError
            If the tables exceed the available memory, before anything is allocated.
        """
        check_depth(shape)
        _check_memory(self.bytes_needed, shape, len(rows.weights), n_threads)
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
            If the tables exceed the available memory.
        FloatingPointError
            If inputs times weights overflow.
        """
        n_samples = len(inputs)
        check_classes(shape)
        _check_memory(self.bytes_to_predict, shape, n_samples, n_threads)
        check_log_odds(largest_inputs(inputs), parameters.hidden[0])
        table = table_of_layer(shape, 0, n_threads)
        coefs_T = np.ascontiguousarray(parameters.hidden[0].T)
        pieces, tile = row_ranges(n_samples, TILE), min(n_samples, TILE)
        flops = n_samples * shape.n_outputs * 2 * 2.0**shape.first
        n_threads = threads_worth(flops * _SECONDS_PER_FLOP, n_threads)
        arrays = Buffers().allocate(_prediction_buffers(shape, n_samples, n_threads))
        n_redo = np.zeros(len(pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_redo[piece] = enumeration.fill_log_marginal(
                inputs, coefs_T, table.values, *pieces[piece], tile, arrays.workspaces[worker],
                arrays.out,
            )  # fmt: skip

        with single_threaded_blas():
            table.fill(parameters)
            run(fill_piece, len(pieces), n_threads)
        if n_redo.any():
            _redo_log_marginal(inputs, coefs_T, table, arrays.out)
        return arrays.out


def _redo_log_marginal(
    inputs: Array, coefs_T: Array, table: ConfigurationTable, out: Array
) -> None:
    """Overwrite the marked entries of ``out`` (n_samples, n_classes), summed in log space."""
    for k in range(out.shape[1]):
        marked = np.flatnonzero(np.isneginf(out[:, k]))
        if len(marked) > 0:
            of_class = out[:, k].copy()  # kernels are compiled for contiguous arrays
            log_space.redo_log_marginal(inputs, coefs_T, table.log_table(k), marked, of_class)
            out[:, k] = of_class
