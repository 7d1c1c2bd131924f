"""Samples of rows: kernels with their tables and scratch memory, and what they cost."""

from itertools import pairwise

import numpy as np

from fastem.kernels import random, sampling
from fastem.parameters import Array, Parameters, Shape

_MOST_PIECES = 128
_MOST_SUMS = 2**23  # numbers, of all pieces together
# Of a sample, on one thread: per unit, and per unit of one layer and output of the next.
_SECONDS_PER_UNIT = 3e-10
_SECONDS_PER_PRODUCT = 1.3e-10
_SECONDS_PER_OUTPUT = 2.5e-9
_BITS = np.array([[code >> b & 1 for b in range(sampling.UNITS)] for code in range(sampling.CODES)])


class Sampler:
    """Kernels, scratch memory and tables for one shape and number of samples."""

    def __init__(self, shape: Shape, n_samples: int, n_workers: int) -> None:
        self.n_samples = n_samples
        self.sizes = np.array([*shape.hidden_layer_sizes, shape.n_classes])
        groups, columns = layout(shape)
        self._cuts = np.cumsum(
            [0, *(g * sampling.CODES * w for g, w in zip(groups, columns, strict=True))]
        )
        self._shapes = [(g, sampling.CODES, w) for g, w in zip(groups, columns, strict=True)]
        self._codes = np.empty((n_workers, n_samples * sum(groups)), dtype=np.uint8)
        self._values = np.empty((n_workers, n_samples * sum(columns)))
        self._work = np.empty((n_workers, 3, n_samples))
        self._thresholds = np.empty((n_workers, sampling.UNITS * groups[0]), dtype=np.uint64)
        self.sums = np.empty((n_workers, self._cuts[-1]))
        self._tables = np.zeros(self._cuts[-1])

    def fill_tables(self, parameters: Parameters, fit_intercept: bool) -> None:
        """Sum the weights out of every hidden layer by code."""
        pairs = [_split(weights, fit_intercept) for weights in parameters.hidden[1:]]
        pairs.append((parameters.output, parameters.output_intercepts))
        for (weights, intercepts), table in zip(pairs, self._layers(self._tables), strict=True):
            n_units, n_outputs = weights.shape
            padded = np.zeros((len(table) * sampling.UNITS, n_outputs))
            padded[:n_units] = weights
            table[:, :, :n_outputs] = _BITS @ padded.reshape(len(table), sampling.UNITS, -1)
            table[0, :, :n_outputs] += intercepts

    def add_rows(self, worker: int, rows: tuple[int, int], per_row: tuple, out: tuple) -> None:
        """Sample rows; `sums` of the worker are added to."""
        sampling.add_rows(
            *per_row, *rows, self.n_samples, self.sizes, self._tables, self._codes[worker],
            self._values[worker], self._work[worker], self._thresholds[worker],
            self.sums[worker], *out,
        )  # fmt: skip

    def fill_log_marginal(
        self, worker: int, rows: tuple[int, int], log_odds: Array, keys: Array, out: Array
    ) -> None:
        """Fill rows of log-probabilities of all classes."""
        sampling.fill_log_marginal(
            log_odds, keys, *rows, self.n_samples, self.sizes, self._tables, self._codes[worker],
            self._values[worker], self._work[worker], self._thresholds[worker], out,
        )  # fmt: skip

    def folded(self, sums: Array) -> list[Array]:
        """Return sums by unit for every hidden layer, (n_units + 1, n_outputs); last over all."""
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
    """Return the groups of units of every hidden layer, and the columns that it sends to."""
    sizes = [*shape.hidden_layer_sizes, shape.n_classes]
    groups = [-(-m // sampling.UNITS) for m in sizes[:-1]]
    return groups, [4 * -(-n // 4) for n in sizes[1:]]


def _split(joined: Array, fit_intercept: bool) -> tuple[Array, Array]:
    """Return the weights and the intercepts of a later hidden layer."""
    if fit_intercept:
        return joined[:-1], joined[-1]
    return joined, np.zeros(joined.shape[1])


def keys_of(seed: int, n_done: int, numbers: Array) -> Array:
    """Return a key for every row of an E-step, (n_rows,)."""
    keys = np.empty(len(numbers), dtype=np.uint64)
    path = np.array([[seed, n_done]], dtype=np.uint64)
    top = np.empty(1, dtype=np.uint64)
    random.fill_keys_of_rows(np.uint64(0), path, top)
    random.fill_keys_of_rows(top[0], numbers, keys)
    return keys


def n_sums(shape: Shape) -> int:
    """Return how many numbers the folded sums of a piece of rows are."""
    sizes = [*shape.hidden_layer_sizes, shape.n_classes]
    return sum((m + 1) * n for m, n in pairwise(sizes))


def rows_per_piece(shape: Shape, n_rows: int) -> int:
    """Return the rows of a piece, so that pieces are at most 128 and their sums 64 MiB."""
    most = max(1, min(_MOST_PIECES, _MOST_SUMS // n_sums(shape)))
    return max(8, -(-n_rows // most))


def seconds_per_sample(shape: Shape) -> float:
    """Return about what a sample of a row takes on one thread."""
    sizes = [*shape.hidden_layer_sizes, shape.n_classes]
    seconds = 0.0
    for m, n in pairwise(sizes):
        columns = 4 * -(-n // 4)
        seconds += m * (_SECONDS_PER_UNIT + columns * _SECONDS_PER_PRODUCT)
        seconds += n * _SECONDS_PER_OUTPUT
    return seconds
