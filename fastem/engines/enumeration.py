"""The enumeration engine: exact sums over all ``2**m`` hidden configurations."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from fastem.engines.base import ClassSortedRows
from fastem.expectations import Statistics
from fastem.kernels import configurations, enumeration, log_space
from fastem.memory import available_bytes, format_bytes
from fastem.parallel import run, single_threaded_blas, threads_worth
from fastem.parameters import Array, Parameters, Shape

_TILE = 256  # rows a kernel handles at once: four half tables of m = 16 fit a 2 MiB cache
_MAX_CHUNKS = 32
_MAX_CHUNK_BYTES = 2**28
_MAX_SLICES = 16
_SLICE_ENTRIES = 2**14
_MOST_UNITS = 60
# Rough costs, to tell what is worth sharing among threads.
_SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_UNIT = 9e-9
_SECONDS_PER_LOG_TERM = 3e-9
_SECONDS_PER_TABLE_ENTRY = 5e-10


class Grid(NamedTuple):
    """How the work is cut: by the size of the data alone.

    So results do not depend on the number of threads.

    Attributes
    ----------
    row_starts, row_stops, classes : lists, one entry per chunk
        Chunks are ranges of rows of one class.
    chunk_starts : array (n_classes + 1,)
        Chunks of each class.
    slices : list of (start, stop)
        Ranges of high parts for passes over tables.
    """

    row_starts: list[int]
    row_stops: list[int]
    classes: list[int]
    chunk_starts: np.ndarray
    slices: list[tuple[int, int]]


def _n_low_bits(n_hidden: int) -> int:
    return n_hidden // 2


def _rows_per_chunk(n_samples: int, n_hidden: int) -> int:
    most = max(1, min(_MAX_CHUNKS, _MAX_CHUNK_BYTES // (8 * 2**n_hidden)))
    n_tiles = -(-n_samples // _TILE)
    return _TILE * max(1, -(-n_tiles // most))


def _grid(class_starts: np.ndarray, n_hidden: int) -> Grid:
    rows = _rows_per_chunk(int(class_starts[-1]), n_hidden)
    starts, stops, classes, chunk_starts = [], [], [], [0]
    for k in range(len(class_starts) - 1):
        first, last = int(class_starts[k]), int(class_starts[k + 1])
        for start in range(first, last, rows):
            starts.append(start)
            stops.append(min(start + rows, last))
            classes.append(k)
        chunk_starts.append(len(starts))
    return Grid(starts, stops, classes, np.array(chunk_starts), _slices(n_hidden))


def _slices(n_hidden: int) -> list[tuple[int, int]]:
    n_high = 2 ** (n_hidden - _n_low_bits(n_hidden))
    step = -(-n_high // min(_MAX_SLICES, max(1, 2**n_hidden // _SLICE_ENTRIES)))
    return [(start, start + step) for start in range(0, n_high, step)]


class _OutputTable:
    """P(y|z) over all configurations, rebuilt for each set of output weights."""

    def __init__(self, shape: Shape, n_threads: int) -> None:
        self._n_low_bits = _n_low_bits(shape.n_hidden)
        self._slices = _slices(shape.n_hidden)
        n_low = 2**self._n_low_bits
        self.values = np.empty((shape.n_classes, 2**shape.n_hidden // n_low, n_low))
        self.n_threads = threads_worth(self.values.size * _SECONDS_PER_TABLE_ENTRY, n_threads)

    def fill(self, parameters: Parameters) -> None:
        high, low = configurations.half_logits(
            parameters.output, parameters.output_intercepts, self._n_low_bits
        )
        exp_high, exp_low = (configurations.scaled_exponentials(x)[0] for x in (high, low))

        def fill_slice(piece: int, worker: int) -> None:
            configurations.fill_output_table(
                high, low, exp_high, exp_low, *self._slices[piece], self.values
            )

        run(fill_slice, len(self._slices), self.n_threads)
        self._logits = high, low

    def log_of_class(self, k: int) -> Array:
        """Return ``log P(y = k | z)`` (nats) over all configurations."""
        out = np.empty(self.values.shape[1:])
        configurations.fill_log_output_table(*self._logits, k, out)
        return out


class EnumerationPlan:
    """An exact E-step prepared for given rows; see `Enumeration`."""

    def __init__(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> None:
        n_samples, n_inputs = rows.inputs.shape
        n_hidden = shape.n_hidden
        self._rows = rows
        self._largest_inputs = np.abs(rows.inputs).max(axis=0, initial=0.0)
        self._shape = shape
        self._grid = grid = _grid(rows.class_starts, n_hidden)
        self._table = _OutputTable(shape, n_threads)
        seconds = n_samples * (6 * 2.0**n_hidden * _SECONDS_PER_FLOP + n_hidden * _SECONDS_PER_UNIT)
        self._n_threads = threads_worth(seconds, n_threads)
        n_workers = min(self._n_threads, max(len(grid.classes), 1))
        tile = max((b - a for a, b in zip(grid.row_starts, grid.row_stops, strict=True)), default=1)
        self._tile = min(tile, _TILE)
        size = enumeration.workspace_size(n_inputs, n_hidden, _n_low_bits(n_hidden), self._tile)
        self._workspaces = np.empty((n_workers, size))
        table_shape = self._table.values.shape
        self._chunk_counts = np.empty((len(grid.classes), *table_shape[1:]))
        self._chunk_gradients = np.empty((len(grid.classes), n_inputs, n_hidden))
        self._chunk_redo = np.zeros(len(grid.classes), dtype=np.int64)
        self._log_likelihood = np.empty(n_samples)
        self._hidden_probability = np.empty((n_hidden, n_samples))
        self._hidden_posterior = np.empty((n_hidden, n_samples))
        self._counts = np.empty(table_shape)
        self._high_sums = np.empty(table_shape[:2])
        self._low_sums = np.empty((len(grid.slices), table_shape[0], table_shape[2]))

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step: ``6 n 2**m`` flops in matrix products.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        _check_log_odds(self._largest_inputs, parameters.hidden)
        with single_threaded_blas():
            self._table.fill(parameters)
            coefs_T = np.ascontiguousarray(parameters.hidden.T)
            self._add_rows(coefs_T)
            self._fill_counts()
            hidden_gradient = self._chunk_gradients.sum(axis=0)
            if self._chunk_redo.any():
                hidden_gradient += self._redo_in_log_space(coefs_T)
            output_gradient = self._output_gradient()
        return Statistics(
            self._log_likelihood,
            self._hidden_probability,
            self._hidden_posterior,
            self._counts,
            self._table.values,
            hidden_gradient,
            output_gradient,
        )

    def _add_rows(self, coefs_T: Array) -> None:
        rows, grid = self._rows, self._grid

        def add_chunk(piece: int, worker: int) -> None:
            self._chunk_redo[piece] = enumeration.add_rows(
                rows.inputs,
                rows.weights,
                coefs_T,
                self._table.values[grid.classes[piece]],
                grid.row_starts[piece],
                grid.row_stops[piece],
                self._tile,
                self._workspaces[worker],
                self._log_likelihood,
                self._hidden_probability,
                self._hidden_posterior,
                self._chunk_counts[piece],
                self._chunk_gradients[piece],
            )

        run(add_chunk, len(grid.classes), self._n_threads)

    def _fill_counts(self) -> None:
        def fill_slice(piece: int, worker: int) -> None:
            enumeration.fill_counts(
                self._chunk_counts,
                self._grid.chunk_starts,
                self._table.values,
                *self._grid.slices[piece],
                self._counts,
            )

        run(fill_slice, len(self._grid.slices), self._table.n_threads)

    def _redo_in_log_space(self, coefs_T: Array) -> Array:
        """Redo the marked rows, a class at a time; return their share of the gradient."""
        rows, n_classes = self._rows, self._shape.n_classes
        marked = np.flatnonzero(np.isneginf(self._log_likelihood))
        cuts = np.searchsorted(marked, rows.class_starts)
        gradients = np.zeros((n_classes, rows.inputs.shape[1], self._shape.n_hidden))

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
        run(redo_class, n_classes, min(threads_worth(seconds, self._n_threads), 2))
        return gradients.sum(axis=0)

    def _output_gradient(self) -> Array:
        def sum_slice(piece: int, worker: int) -> None:
            enumeration.fill_output_residuals(
                self._counts,
                self._table.values,
                *self._grid.slices[piece],
                self._high_sums,
                self._low_sums[piece],
            )

        run(sum_slice, len(self._grid.slices), self._table.n_threads)
        return configurations.unit_sums(self._high_sums, self._low_sums.sum(axis=0))


def _check_log_odds(largest: Array, hidden: Array) -> None:
    """Raise if log-odds could overflow: ``largest`` is the largest input of each column."""
    with np.errstate(over="ignore"):
        bound = largest @ np.abs(hidden)
    if not np.isfinite(bound).all():
        raise FloatingPointError(
            "The log-odds of a hidden unit are not a number: inputs times weights overflow. "
            "Rescale the features (standardize=True) or use smaller weights."
        )


@dataclass(frozen=True)
class Enumeration:
    """Exact E-step by enumeration of the ``2**m`` configurations of the hidden units.

    Cost: ``6 n 2**m`` flops in matrix products and ``O(n 2**(m / 2) + g 2**m)`` beside.
    Memory: about ``(2 + accumulators) g 2**m`` numbers, with accumulators bounded by
    memory and not by the number of threads; never ``n 2**m``.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier(e_step=fastem.Enumeration())
    """

    name: ClassVar[str] = "enumeration"

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes."""
        n_hidden = shape.n_hidden
        table = 8 * 2**n_hidden
        half = 8 * 2 ** (n_hidden - _n_low_bits(n_hidden))
        n_chunks = shape.n_classes + n_samples // _rows_per_chunk(n_samples, n_hidden)
        n_workers = min(n_threads, n_chunks)
        rows = 8 * n_samples * (2 * n_hidden + 1)
        return (
            (2 * shape.n_classes + n_chunks) * table + n_workers * (table + 4 * _TILE * half) + rows
        )

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> EnumerationPlan:
        """Prepare exact E-steps on the given rows.

        Raises
        ------
        ValueError
            If the tables exceed the memory that this machine has, before allocating any.
        """
        self._check_memory(shape, len(rows.weights), n_threads)
        return EnumerationPlan(rows, shape, n_threads)

    def _check_memory(self, shape: Shape, n_samples: int, n_threads: int) -> None:
        available = available_bytes()
        if shape.n_hidden > _MOST_UNITS:  # beyond any machine, and too long a number to print
            needed, text = math.inf, f"more than 2**{shape.n_hidden} bytes"
        else:
            needed = self.bytes_needed(shape, n_samples, n_threads)
            text = format_bytes(needed)
        if available is not None and needed > available:
            raise ValueError(
                f"hidden_layer_sizes=({shape.n_hidden},) needs {text} for exact enumeration of "
                f"2**{shape.n_hidden} hidden configurations, and {format_bytes(available)} are "
                f"available. Use fewer hidden units: each one less halves the need."
            )

    def log_evidence(
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
        log_evidence : array (n_samples, n_classes), nats

        Raises
        ------
        ValueError
            If the tables exceed the memory that this machine has.
        FloatingPointError
            If inputs times weights overflow.
        """
        self._check_memory(shape, len(inputs), n_threads)
        _check_log_odds(np.abs(inputs).max(axis=0, initial=0.0), parameters.hidden)
        n_low_bits = _n_low_bits(shape.n_hidden)
        table = _OutputTable(shape, n_threads)
        out = np.empty((len(inputs), shape.n_classes))
        coefs_T = np.ascontiguousarray(parameters.hidden.T)
        pieces = [(a, min(a + _TILE, len(inputs))) for a in range(0, len(inputs), _TILE)]
        flops = len(inputs) * shape.n_classes * 2 * 2.0**shape.n_hidden
        n_threads = threads_worth(flops * _SECONDS_PER_FLOP, n_threads)
        size = enumeration.workspace_size(inputs.shape[1], shape.n_hidden, n_low_bits, _TILE)
        workspaces = np.empty((min(n_threads, len(pieces)), size))
        n_redo = np.zeros(len(pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_redo[piece] = enumeration.fill_evidence(
                inputs, coefs_T, table.values, *pieces[piece], _TILE, workspaces[worker], out
            )

        with single_threaded_blas():
            table.fill(parameters)
            run(fill_piece, len(pieces), n_threads)
        if n_redo.any():
            for k in range(shape.n_classes):
                marked = np.flatnonzero(np.isneginf(out[:, k]))
                if len(marked) > 0:
                    log_table = table.log_of_class(k)
                    log_space.redo_evidence(inputs, coefs_T, log_table, marked, out[:, k])
        return out
