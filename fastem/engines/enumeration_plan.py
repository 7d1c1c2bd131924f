"""The plan of enumeration: exact E-steps on given rows, run many times."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.engines.base import Plan
from fastem.engines.configuration_tables import LOG_TABLES, Redo, UpperStatistics, halves
from fastem.engines.expected_counts import ExpectedCounts
from fastem.engines.grouping import LARGEST_SPAN, Groups
from fastem.engines.row_tables import row_table
from fastem.expectations import Expectations, HiddenStatistics, Statistics
from fastem.kernels import (
    caller_order,
    enumeration,
    expected_counts,
    log_space,
    small_e_step,
)
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds
from fastem.runtime import (
    TILE,
    Buffers,
    Shapes,
    blas_for,
    cut_by_group,
    n_low_bits,
    run,
    threads_worth,
    worth_sharing,
)

_SPAN_IN_SINGLE = 40.0  # nats; as `LARGEST_SPAN` for sums in single precision
_FEWEST_UNITS_IN_SINGLE = 10  # with fewer, the products take too small a share of the time
# In single precision, rows that are summed again in log space must be few: this share of the rows.
_MOST_REDONE = 1 / 32
# Rough costs, to decide whether work is worth sharing among threads.
SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_UNIT = 9e-9
_SECONDS_PER_LOG_TERM = 3e-9


class EnumerationPlan(Plan):
    """An exact E-step prepared for given rows; see `Enumeration`.

    Attributes
    ----------
    is_single : bool
        Whether the sums over configurations are in single precision. It can be changed between
        calls.
    """

    def __init__(self, rows: TrainingRows, shape: Shape, n_threads: int, precision: str) -> None:
        self._shape = shape
        self._most_threads = n_threads
        self._precision = precision
        self.is_single = precision == "mixed"
        self._buffers = Buffers()
        self._table = row_table(shape, len(rows.weights), n_threads)
        self.rebind(rows)

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        shape, seconds = self._shape, seconds_of_rows(self._shape, len(rows.weights))
        self._rows = rows
        self._largest_inputs = rows.largest_inputs
        self._unit = _power_of_two(rows.weights)
        self._table.bind(rows)
        self._largest_product = _largest_product(self._shape, len(rows.weights))
        self._is_small = not worth_sharing(seconds)
        has_rows = len(rows.weights) > 0
        self._is_whole = self._is_small and shape.has_classes and shape.depth == 1 and has_rows
        self._n_threads = threads_worth(seconds, self._most_threads)
        self._groups: Groups | None = None

    @property
    def may_begin_in_single_precision(self) -> bool:
        """Whether EM begins with sums in single precision: where it is faster, or if chosen."""
        pays = self._shape.first >= _FEWEST_UNITS_IN_SINGLE and not self._is_small
        is_faster = pays and self._shape.has_classes
        return self._precision == "mixed" or (self._precision == "auto" and is_faster)

    def _cut(self, is_single: bool) -> None:
        """Cut the rows into chunks, unless groups and precision are those of the last call."""
        shape, n_samples = self._shape, len(self._rows.weights)
        groups, last = self._table.groups, self._groups
        if last is not None and self._arrays_are_single == is_single:
            if groups is last:
                return
            if np.array_equal(groups.starts, last.starts):
                self._groups = groups
                return
        self._groups = groups
        chunks = cut_by_group(groups.starts, shape.first, is_small=self._is_small)
        self._pieces = chunks.pieces
        n_chunks, n_sums = len(chunks.pieces), int(chunks.group_starts[-1])
        self._tile = min(max((c.stop - c.start for c in chunks.pieces), default=1), TILE)
        declared = buffers_of_plan(shape, n_samples, n_chunks, self._tile, self._n_threads)
        sums = buffers_of_sums(shape, n_sums, n_chunks, self._tile, self._n_threads)
        if is_single:
            sums |= {"tables": (len(groups.starts) - 1, *halves(shape.first))}
        self._arrays = self._buffers.allocate(declared)
        self._sums = self._buffers.allocate(sums, np.float32 if is_single else np.float64)
        self._arrays_are_single = is_single
        self._counts = ExpectedCounts(self._arrays.counts)
        self._group_starts = chunks.group_starts
        self._chunk_redo = np.zeros(n_chunks, dtype=np.int64)

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step: ``6 n 2**m`` flops in matrix products, m units in the first layer.

        ``draw`` is ignored.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        hidden, output = parameters.hidden[0], parameters.output
        if not math.isfinite(caller_order.bound_of_log_odds(self._largest_inputs, hidden)):
            check_log_odds(self._largest_inputs, hidden)
        with blas_for(self._largest_product):
            upper = None
            if self._is_whole and not self.is_single:
                upper = self._sum_at_once(parameters)
            if upper is None:
                self._sum_rows(parameters, self.is_single)
                n_redo = self._chunk_redo.sum()
                if self.is_single and n_redo > _MOST_REDONE * len(self._rows.weights):
                    self._sum_rows(parameters, is_single=False)
            rows, arrays = self._rows, self._arrays
            hidden_gradient = _sum_of_parts(arrays.chunk_gradients)
            if upper is None:
                if self._chunk_redo.any():
                    hidden_gradient += self._redo_in_log_space(hidden)
                upper = self._table.expect(self._counts, arrays.posterior)
        layer = HiddenStatistics(
            rows.inputs, rows.weights, arrays.probability, arrays.posterior, hidden_gradient
        )
        return Statistics(
            arrays.log_likelihood,
            (layer, *upper.hidden),
            upper.counts,
            upper.output_table,
            upper.output_gradient[: len(output)],
            squared_residuals=upper.squared_residuals,
        )

    def fill_expectations(self, parameters: Parameters, out: Expectations) -> bool:
        """Run a small E-step in one compiled call, and fill ``out`` in the original order of rows.

        Parameters
        ----------
        parameters : Parameters
        out : Expectations
            Whose posterior is the transpose of an array in C order.

        Returns
        -------
        is_complete : bool
            False if the problem is not small, if the sums are in single precision, if log-odds may
            overflow, or if a row has to be summed in log space. ``out`` is undefined then.
        """
        if not (self._is_whole and self._shape.fit_intercept) or self.is_single:
            return False
        self._cut(False)
        with blas_for(self._largest_product):
            return small_e_step.fill_expectations(
                *self._whole_arguments(parameters), self._largest_inputs, self._rows.order,
                out.log_likelihood[None], out.hidden_posterior.T,
                out.coef_gradients[0], out.intercept_gradients[0],
                out.coef_gradients[1], out.intercept_gradients[1],
            )  # fmt: skip

    def _sum_at_once(self, parameters: Parameters) -> UpperStatistics | None:
        """Run a small E-step in one compiled call; return None if it needs sums in log space."""
        self._cut(False)
        if small_e_step.fill_statistics(*self._whole_arguments(parameters)) > 0:
            return None
        table = self._table
        self._counts.reset(self._sums.chunk_counts, self._group_starts, 1.0)
        counts = partial(self._counts.complete, table.values, table.slices, table.n_threads)
        return UpperStatistics((), counts, table.values, self._arrays.output_gradient.copy())

    def _whole_arguments(self, parameters: Parameters) -> tuple[Any, ...]:
        """Return the arguments of the kernels that do a whole E-step in one call."""
        rows, arrays, sums, table = self._rows, self._arrays, self._sums, self._table
        return (
            rows.inputs, rows.weights, rows.class_starts, parameters.hidden[0], parameters.output,
            self._tile, table.values, sums.workspaces[0], arrays.scratch[0],
            table.high_sums, table.low_sums, arrays.log_likelihood, arrays.probability,
            arrays.posterior, sums.chunk_counts, arrays.chunk_gradients[0],
            arrays.output_gradient,
        )  # fmt: skip

    def _sum_rows(self, parameters: Parameters, is_single: bool) -> None:
        """Sum over the configurations of all rows."""
        self._table.fill(parameters, _SPAN_IN_SINGLE if is_single else LARGEST_SPAN)
        self._cut(is_single)
        self._fill_rows(parameters.hidden[0], parameters, is_single)

    def _fill_rows(self, hidden: Array, parameters: Parameters, is_single: bool) -> None:
        rows, pieces, arrays, sums = self._rows, self._pieces, self._arrays, self._sums
        groups = self._groups
        is_tilted = groups.tilts is not None
        output_coefs = parameters.output[: self._shape.last] if is_tilted else None
        tables, smallest, unit = self._table.values, enumeration.SMALLEST_LIKELIHOOD, 1.0
        if is_single:
            tables, smallest, unit = sums.tables, enumeration.SMALLEST_SINGLE, self._unit
            self._round_tables(tables)

        def add_chunk(piece: int, worker: int) -> None:
            chunk = pieces[piece]
            self._chunk_redo[piece] = enumeration.fill_rows(
                rows.inputs, rows.weights, hidden, tables, groups.starts, chunk.group,
                output_coefs, groups.tilts, groups.constants,
                chunk.start, chunk.stop, self._tile, smallest, 1.0 / unit,
                sums.workspaces[worker], arrays.scratch[worker],
                arrays.log_likelihood, arrays.probability, arrays.posterior,
                sums.chunk_counts[chunk.sums], arrays.chunk_gradients[piece],
            )  # fmt: skip

        run(add_chunk, len(pieces), self._n_threads)
        self._counts.reset(sums.chunk_counts, self._group_starts, unit)

    def _round_tables(self, out: np.ndarray) -> None:
        """Round the tables to single precision."""
        table = self._table

        def round_slice(piece: int, worker: int) -> None:
            expected_counts.fill_single(table.values, *table.slices[piece], out)

        run(round_slice, len(table.slices), table.n_threads)

    def _redo_in_log_space(self, hidden: Array) -> Array:
        """Redo the marked rows; return their share of the gradient."""
        rows, arrays, table = self._rows, self._arrays, self._table
        coefs_T = np.ascontiguousarray(hidden.T)
        marked = np.flatnonzero(np.isneginf(arrays.log_likelihood))
        counts = self._counts.add_more()
        lanes = table.redo_lanes(marked, counts)
        gradients = np.zeros((len(lanes), rows.inputs.shape[1], self._shape.first))

        def redo_lane(piece: int, worker: int) -> None:
            lane: Redo = lanes[piece]
            for target, own in lane.pieces:
                log_space.redo_rows(
                    rows.inputs, rows.weights, coefs_T, table.log_table(target), own,
                    arrays.log_likelihood, arrays.probability, arrays.posterior,
                    lane.counts, gradients[piece],
                )  # fmt: skip

        seconds = len(marked) * counts[0].size * _SECONDS_PER_LOG_TERM
        # each lane in progress holds a table of its own
        run(redo_lane, len(lanes), min(threads_worth(seconds, self._n_threads), LOG_TABLES))
        table.join_lanes(lanes, arrays.log_likelihood, marked)
        return gradients.sum(axis=0)


def _sum_of_parts(parts: Array) -> Array:
    """Return the sum of the arrays along the first axis; a copy if there is one."""
    return parts[0].copy() if len(parts) == 1 else parts.sum(axis=0)


def _power_of_two(weights: Array) -> float:
    """Return a power of two near the largest weight: divided by it, weights are below 2."""
    largest = float(weights.max(initial=0.0))
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0.0 else 1.0


def seconds_of_rows(shape: Shape, n_samples: int) -> float:
    """Estimate the time of the products and priors of all rows on one thread."""
    per_row = 6 * 2.0**shape.first * SECONDS_PER_FLOP + shape.first * _SECONDS_PER_UNIT
    return n_samples * per_row


def _largest_product(shape: Shape, n_samples: int) -> int:
    """Return the number of multiplications of the largest matrix product of an E-step."""
    rows = min(n_samples, TILE)
    of_tables = (2 ** min(sum(pair), 60) for pair in pairwise(shape.hidden_layer_sizes))
    return max(rows * 2**shape.first, rows * shape.n_inputs * shape.first, *of_tables, 0)


def buffers_of_plan(
    shape: Shape, n_samples: int, n_chunks: int, tile: int, n_threads: int
) -> Shapes:
    """Declare the arrays of a plan that are always in double precision."""
    p, m = shape.n_inputs, shape.first
    n_workers = min(n_threads, max(n_chunks, 1))
    return {
        "scratch": (n_workers, enumeration.scratch_size(m, tile)),
        "counts": (shape.n_outputs if shape.has_classes else 1, *halves(m)),
        "chunk_gradients": (n_chunks, p, m),
        "output_gradient": (shape.last + 1, shape.n_outputs),
        "log_likelihood": (n_samples,),
        "probability": (m, n_samples),
        "posterior": (m, n_samples),
    }


def buffers_of_sums(shape: Shape, n_sums: int, n_chunks: int, tile: int, n_threads: int) -> Shapes:
    """Declare the arrays of a plan that are in the precision of its sums."""
    m = shape.first
    n_workers = min(n_threads, max(n_chunks, 1))
    return {
        "workspaces": (n_workers, enumeration.workspace_size(m, n_low_bits(m), tile)),
        "chunk_counts": (n_sums, *halves(m)),
    }
