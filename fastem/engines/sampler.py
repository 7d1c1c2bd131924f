"""Samples of rows: the kernels with their tables and scratch memory, and their cost."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.engines.proposals import Proposal
from fastem.kernels import random, sampling
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.runtime import Buffers, Shapes, bytes_of

_MOST_PIECES = 128
_MOST_SUMS = 2**23  # numbers in the sums of all pieces
_VALUES_AT_ONCE = 2**16  # numbers in the samples of the rows for which a family is evaluated
# Time of a sample on one thread: per unit, per product of a unit with an output of its layer, and
# per output.
_SECONDS_PER_UNIT = 3e-10
_SECONDS_PER_PRODUCT = 1.3e-10
_SECONDS_PER_OUTPUT = 2.5e-9
_SECONDS_PER_EVALUATION = 3e-8  # per output that is not a class, by NumPy
_OF_FAMILY = 6  # arrays of a number per sample that a family holds at the same time
_BITS = np.array([[code >> b & 1 for b in range(sampling.UNITS)] for code in range(sampling.CODES)])


class Sampler:
    """Kernels, scratch memory and tables for one shape and number of samples."""

    def __init__(self, shape: Shape, n_samples: int, n_workers: int) -> None:
        self.n_samples = n_samples
        self.sizes = np.array([*shape.hidden_layer_sizes, shape.n_outputs])
        groups, columns = layout(shape)
        self._shapes = [(g, sampling.CODES, w) for g, w in zip(groups, columns, strict=True)]
        self._cuts = np.cumsum([0, *map(math.prod, self._shapes)])
        arrays = Buffers().allocate(float_buffers(shape, n_samples, n_workers))
        self._codes = Buffers(np.uint8).allocate(code_buffers(shape, n_samples, n_workers)).codes
        self._thresholds = np.empty((n_workers, sampling.UNITS * groups[0]), dtype=np.uint64)
        self._values, self._work = arrays.values, arrays.work
        self.sums, self._tables = arrays.sums, arrays.tables
        self._eta, self._log_weights = arrays.eta, arrays.log_weights
        self._tables[:] = 0.0

    def fill_tables(self, parameters: Parameters) -> None:
        """Fill the tables: weights out of every hidden layer, summed over the units of a code."""
        layers = (*parameters.hidden[1:], parameters.output)
        for joined, table, n_units in zip(
            layers, self._layers(self._tables), self.sizes[:-1].tolist(), strict=True
        ):
            weights, intercepts = split_intercepts(joined, n_units)
            n_outputs = weights.shape[1]
            padded = np.zeros((len(table) * sampling.UNITS, n_outputs))
            padded[:n_units] = weights
            table[:, :, :n_outputs] = _BITS @ padded.reshape(len(table), sampling.UNITS, -1)
            table[0, :, :n_outputs] += intercepts

    def add_rows(
        self, worker: int, rows: tuple[int, int], per_row: tuple[Any, ...], out: tuple[Any, ...]
    ) -> None:
        """Sample rows; add to the `sums` of the worker."""
        sampling.add_sampled_rows(
            *per_row, *rows, self.n_samples, self.sizes, self._tables, self._codes[worker],
            self._values[worker], self._work[worker], self._thresholds[worker],
            self.sums[worker], *out,
        )  # fmt: skip

    def fill_log_marginal(
        self, worker: int, rows: tuple[int, int], log_odds: Array, keys: Array, out: Array
    ) -> None:
        """Fill rows of log-probabilities of all classes."""
        sampling.fill_sampled_log_marginal(
            log_odds, keys, *rows, self.n_samples, self.sizes, self._tables, self._codes[worker],
            self._values[worker], self._work[worker], self._thresholds[worker], out,
        )  # fmt: skip

    def folded(self, sums: Array) -> list[Array]:
        """Return sums by unit for every hidden layer, (n_units + 1, n_outputs).

        The last row is the sum over all samples.
        """
        folded = []
        for t, by_code in enumerate(self._layers(sums)):
            by_unit = (_BITS.T @ by_code).reshape(-1, by_code.shape[2])
            both = np.vstack([by_unit[: self.sizes[t]], by_code[0].sum(axis=0)])
            folded.append(both[:, : self.sizes[t + 1]])
        return folded

    def _layers(self, flat: Array) -> list[Array]:
        cuts = zip(self._cuts[:-1], self._cuts[1:], self._shapes, strict=True)
        return [flat[a:b].reshape(shape) for a, b, shape in cuts]


def layout(shape: Shape) -> tuple[list[int], list[int]]:
    """Return the groups of units of every hidden layer, and the columns of its outputs."""
    sizes = [*shape.hidden_layer_sizes, shape.n_outputs]
    groups = [-(-m // sampling.UNITS) for m in sizes[:-1]]
    return groups, [4 * -(-n // 4) for n in sizes[1:]]


def rows_at_once(shape: Shape, n_samples: int) -> int:
    """Return the number of rows whose samples are stored at the same time.

    It is 1 for classes. For other families it is so large that the overhead of calls of NumPy is
    small.
    """
    if shape.has_classes:
        return 1
    return max(1, _VALUES_AT_ONCE // (n_samples * sum(layout(shape)[1])))


def float_buffers(shape: Shape, n_samples: int, n_workers: int) -> Shapes:
    """Declare the arrays of a sampler that hold float64."""
    groups, columns = layout(shape)
    n_entries = sum(g * sampling.CODES * w for g, w in zip(groups, columns, strict=True))
    kept = rows_at_once(shape, n_samples) * n_samples
    evaluated = 0 if shape.has_classes else kept
    return {
        "values": (n_workers, kept * sum(columns)),
        "work": (n_workers, 3, n_samples),
        "sums": (n_workers, n_entries + shape.n_variances),
        "tables": (n_entries,),
        "eta": (n_workers, shape.n_outputs * evaluated),
        "log_weights": (n_workers, evaluated),
    }


def _temporaries(shape: Shape, n_samples: int, n_workers: int) -> Shapes:
    """Declare a copy of the tables while they are filled, and arrays of families and proposals."""
    declared = float_buffers(shape, n_samples, n_workers)
    n_workers, evaluated = declared["log_weights"]
    return {
        "tables": declared["tables"],
        "of_family": (n_workers, _OF_FAMILY, evaluated),
        **Proposal.temporaries(shape, n_workers, rows_at_once(shape, n_samples)),
    }


def code_buffers(shape: Shape, n_samples: int, n_workers: int) -> Shapes:
    """Declare the codes of a sampler, which are bytes."""
    groups, _ = layout(shape)
    return {"codes": (n_workers, rows_at_once(shape, n_samples) * n_samples * sum(groups))}


def bytes_of_sampler(shape: Shape, n_samples: int, n_workers: int) -> int:
    """Return the peak memory of a sampler in bytes."""
    declared = float_buffers(shape, n_samples, n_workers)
    return bytes_of(declared, _temporaries(shape, n_samples, n_workers)) + bytes_of(
        code_buffers(shape, n_samples, n_workers), dtype=np.uint8
    )


def keys_of(seed: int, draw: int, rows: Array) -> Array:
    """Return a key for every row of an E-step, (n_rows,).

    Parameters
    ----------
    seed, draw : int
        Seed of the engine, and number of the random draw.
    rows : array of uint64 (n_rows, n_numbers)
        Numbers that identify each row.
    """
    keys = np.empty(len(rows), dtype=np.uint64)
    path = np.array([[seed, draw]], dtype=np.uint64)
    top = np.empty(1, dtype=np.uint64)
    random.fill_keys_of_rows(np.uint64(0), path, top)
    random.fill_keys_of_rows(top[0], rows, keys)
    return keys


def n_sums(shape: Shape) -> int:
    """Return the size of the folded sums of a piece of rows."""
    sizes = [*shape.hidden_layer_sizes, shape.n_outputs]
    return sum((m + 1) * n for m, n in pairwise(sizes)) + shape.n_variances


def rows_per_piece(shape: Shape, n_rows: int) -> int:
    """Return the rows of a piece: at most 128 pieces, whose sums take at most 64 MiB."""
    most = max(1, min(_MOST_PIECES, _MOST_SUMS // n_sums(shape)))
    return max(32, -(-n_rows // most))


def seconds_per_sample(shape: Shape) -> float:
    """Estimate the time of one sample of a row on one thread, in seconds."""
    sizes, (_, widths) = [*shape.hidden_layer_sizes, shape.n_outputs], layout(shape)
    seconds = 0.0
    for (m, n), columns in zip(pairwise(sizes), widths, strict=True):
        seconds += m * (_SECONDS_PER_UNIT + columns * _SECONDS_PER_PRODUCT)
        seconds += n * _SECONDS_PER_OUTPUT
    return seconds if shape.has_classes else seconds + shape.n_outputs * _SECONDS_PER_EVALUATION
