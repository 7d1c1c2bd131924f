"""The sampling engine: any network, by configurations drawn from the prior."""

import dataclasses
import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fastem.engines.base import EngineSettings, Plan
from fastem.engines.sampler import (
    Sampler,
    keys_of,
    layout,
    n_sums,
    rows_per_piece,
    seconds_per_sample,
)
from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import sampling
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows, check_log_odds, largest_inputs
from fastem.runtime import (
    Memory,
    check_memory,
    row_ranges,
    run,
    single_threaded_blas,
    threads_worth,
    warn_user,
)

_LOW_SHARE = 0.1  # of the samples: half of the rows should have a larger effective size
_ATTEMPTS = 3  # at a row without weight, each with ten times the samples
_PREDICTING = 2**64 - 1  # in place of the number of an E-step


class SamplingPlan(Plan):
    """An E-step by sampling prepared for given rows; see `Sampling`."""

    def __init__(
        self, rows: ClassSortedRows, shape: Shape, n_samples: int, seed: int, n_threads: int
    ) -> None:
        self._shape, self._seed, self._memory = shape, seed, Memory()
        self._n_done = 0
        pieces = row_ranges(len(rows.weights), rows_per_piece(shape, len(rows.weights)))
        seconds = len(rows.weights) * n_samples * seconds_per_sample(shape)
        n_threads = threads_worth(seconds, n_threads)
        self._most_threads = max(min(n_threads, len(pieces)), 1)
        self._sampler = Sampler(shape, n_samples, self._most_threads)
        self.take(rows)

    def take(self, rows: ClassSortedRows) -> None:
        """Go over to other rows, as many as it was planned for or fewer, in the same memory."""
        shape, array, n_rows = self._shape, self._memory.array, len(rows.weights)
        self._rows = rows
        self._largest_inputs = largest_inputs(rows.inputs)
        self._pieces = row_ranges(n_rows, rows_per_piece(shape, n_rows))
        seconds = n_rows * self._sampler.n_samples * seconds_per_sample(shape)
        self._n_threads = threads_worth(seconds, self._most_threads)
        labels = np.repeat(np.arange(shape.n_classes), np.diff(rows.class_starts))
        self._per_row = labels, rows.weights
        self._numbers = np.ascontiguousarray(rows.order[:, None]).view(np.uint64)
        self._log_odds = array("log-odds", n_rows, shape.first)
        self._log_likelihood = array("log-likelihood", n_rows)
        self._effective = array("effective", n_rows)
        self._probability = array("probability", shape.first, n_rows)
        self._posterior = array("posterior", sum(shape.hidden_layer_sizes), n_rows)

    def rewind(self, n_done: int) -> None:
        """Go on as if so many E-steps had been done: the next draws what that one drew."""
        self._n_done = n_done

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step, with fresh samples.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or a row has no sample of positive weight.
        """
        check_log_odds(self._largest_inputs, parameters.hidden[0])
        keys = keys_of(self._seed, self._n_done, self._numbers)
        self._n_done += 1
        per_row = self._log_odds, *self._per_row, keys
        with single_threaded_blas():
            self._sampler.fill_tables(parameters, self._shape.fit_intercept)
            sums = self._add_rows(parameters, per_row)
            empty = np.flatnonzero(np.isneginf(self._log_likelihood))
            for i in empty:
                for total, more in zip(sums, self._redo(i, parameters, per_row), strict=True):
                    total += more
            hidden = [self._first_layer(), *self._later_layers(sums[:-1])]
        log_likelihood, effective = self._log_likelihood, self._effective
        return Statistics(log_likelihood, tuple(hidden), None, None, sums[-1], effective)

    def _out(self) -> tuple[Array, ...]:
        return self._log_likelihood, self._effective, self._probability, self._posterior

    def _add_rows(self, parameters: Parameters, per_row: tuple) -> list[Array]:
        """Sample all rows; return sums over them by layer."""
        found: list[list[Array]] = [[]] * len(self._pieces)

        def add_piece(piece: int, worker: int) -> None:
            start, stop = self._pieces[piece]
            np.dot(
                self._rows.inputs[start:stop], parameters.hidden[0], out=self._log_odds[start:stop]
            )
            self._sampler.sums[worker] = 0.0
            self._sampler.add_rows(worker, (start, stop), per_row, self._out())
            found[piece] = self._sampler.folded(self._sampler.sums[worker])

        run(add_piece, len(self._pieces), self._n_threads)
        if not found:
            return self._sampler.folded(np.zeros_like(self._sampler.sums[0]))
        return [np.sum(of_layer, axis=0) for of_layer in zip(*found, strict=True)]

    def _redo(self, i: int, parameters: Parameters, per_row: tuple) -> list[Array]:
        """Sample a row without weight again, and again, with more samples."""
        n_samples = self._sampler.n_samples
        for _ in range(_ATTEMPTS):
            n_samples *= 10
            sampler = Sampler(self._shape, n_samples, 1)
            sampler.fill_tables(parameters, self._shape.fit_intercept)
            sampler.sums[0] = 0.0
            sampler.add_rows(0, (i, i + 1), per_row, self._out())
            if not np.isneginf(self._log_likelihood[i]):
                return sampler.folded(sampler.sums[0])
        raise FloatingPointError(
            f"None of {n_samples} samples gives row {self._rows.order[i]} a positive probability "
            "of its class: the weights are too large. Use smaller weights (a larger alpha, "
            "standardize=True), or fastem.Enumeration() where it fits."
        )

    def _first_layer(self) -> HiddenStatistics:
        rows, posterior = self._rows, self._posterior[: self._shape.first]
        moved = rows.weights * (posterior - self._probability)
        gradient = np.ascontiguousarray((moved @ rows.inputs).T)
        return HiddenStatistics(rows.inputs, rows.weights, self._probability, posterior, gradient)

    def _later_layers(self, sums: list[Array]) -> Iterator[HiddenStatistics]:
        units = np.cumsum([0, *self._shape.hidden_layer_sizes])
        by_layer = [self._posterior[a:b] for a, b in pairwise(units)]
        for gradient, (below, own) in zip(sums, pairwise(by_layer), strict=True):
            n_inputs = len(below) + self._shape.fit_intercept
            yield HiddenStatistics(None, self._rows.weights, None, own, gradient[:n_inputs], below)


def warn_of_few(median: float, n_samples: int) -> None:
    """Warn if samples are worth too few draws from the posterior.

    Parameters
    ----------
    median : float
        Effective sample size of half of the rows at most.
    n_samples : int

    Warns
    -----
    UserWarning
        If it is below a tenth of the samples.
    """
    if median < _LOW_SHARE * n_samples:
        warn_user(
            f"Of n_samples={n_samples} samples, {median:.3g} are worth as much as draws from the "
            "posterior (median effective sample size of the rows): the estimates are noisy. "
            "Increase n_samples or alpha, or use an exact engine, fastem.Enumeration(), where it "
            "fits."
        )


@dataclass(frozen=True)
class Sampling(EngineSettings):
    """E-step by importance sampling: any network, estimates in place of exact sums.

    For every row, configurations are drawn from the prior P(z|x) and weighed by P(y|z).
    Estimates are consistent: their standard error falls as ``1 / sqrt(n_samples)``, their bias
    as ``1 / n_samples``. They are never exact, and an iteration of EM may lower the likelihood.

    Parameters
    ----------
    n_samples : int, default=500
        Configurations per row.
    random_state : int, optional
        Seed; None takes one from the ``random_state`` of the estimator or of `fastem.e_step`.

    Notes
    -----
    Cost: ``n_samples`` times, per row, half a random word per unit and ``m g / 2`` additions.
    Memory: ``O(n m)``, and ``O(n_samples m)`` per thread.

    The effective sample size ``(sum w)**2 / sum w**2`` of a row is about ``n_samples`` times
    its probability at the least.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier((64,), e_step=fastem.Sampling(n_samples=200))
    """

    n_samples: int = 500
    random_state: int | None = None
    name: ClassVar[str] = "sampling"
    has_table: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False

    def seeded(self, random_state: Any) -> "Sampling":
        """Return an engine with an integer seed: its own, or one from ``random_state``."""
        seed = self.random_state
        if seed is None:
            seed = _draw_seed(random_state)
        return dataclasses.replace(self, random_state=seed)

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread."""
        return n_samples * self.n_samples * seconds_per_sample(shape)

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes."""
        pieces = -(-n_samples // rows_per_piece(shape, n_samples))
        rows = 8 * n_samples * (4 * shape.first + sum(shape.hidden_layer_sizes) + 8)
        return rows + 8 * (pieces + 2) * n_sums(shape) + self._scratch(shape, n_threads)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        rows = 8 * n_samples * (shape.first + shape.n_classes + 2)
        return rows + self._scratch(shape, n_threads)

    def _scratch(self, shape: Shape, n_threads: int) -> int:
        groups, columns = layout(shape)
        tables = 8 * sampling.CODES * sum(map(math.prod, zip(groups, columns, strict=True)))
        per_sample = sum(groups) + 8 * sum(columns) + 24
        return (n_threads + 2) * tables + n_threads * self.n_samples * per_sample

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> SamplingPlan:
        """Prepare E-steps on the given rows.

        Raises
        ------
        ValueError
            If a setting is out of range, or rows times hidden units do not fit into memory.
        """
        self._check(shape, len(rows.weights), self.bytes_needed, n_threads)
        seed = self.seeded(None).random_state
        return SamplingPlan(rows, shape, self.n_samples, seed, n_threads)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, n_classes), in nats: finite estimates.

        What is drawn for a row depends on the seed and on the row's numbers, so that the same row
        is given the same probabilities, whatever rows it stands among.

        Raises
        ------
        ValueError
            As `plan`.
        FloatingPointError
            If inputs times weights overflow.
        """
        n_rows = len(inputs)
        self._check(shape, n_rows, self.bytes_to_predict, n_threads)
        check_log_odds(largest_inputs(inputs), parameters.hidden[0])
        n_threads = threads_worth(self.seconds(shape, n_rows), n_threads)
        pieces = row_ranges(n_rows, rows_per_piece(shape, n_rows))
        sampler = Sampler(shape, self.n_samples, max(min(n_threads, len(pieces)), 1))
        keys = keys_of(
            self.seeded(None).random_state,
            _PREDICTING,
            np.ascontiguousarray(inputs).view(np.uint64),
        )
        log_odds, out = np.empty((n_rows, shape.first)), np.empty((n_rows, shape.n_classes))

        def fill_piece(piece: int, worker: int) -> None:
            start, stop = pieces[piece]
            np.dot(inputs[start:stop], parameters.hidden[0], out=log_odds[start:stop])
            sampler.fill_log_marginal(worker, (start, stop), log_odds, keys, out)

        with single_threaded_blas():
            sampler.fill_tables(parameters, shape.fit_intercept)
            run(fill_piece, len(pieces), n_threads)
        return out

    def _check(self, shape: Shape, n_rows: int, bytes_needed: Any, n_threads: int) -> None:
        if not _is_integer(self.n_samples) or self.n_samples < 1:
            raise ValueError(
                f"n_samples must be a positive integer, got {self.n_samples!r}; a few hundred "
                "are a good start."
            )
        seed = self.random_state
        if seed is not None and not (_is_integer(seed) and 0 <= seed < 2**64):
            raise ValueError(
                f"random_state of Sampling must be None or an integer from 0 to 2**64 - 1, "
                f"got {seed!r}."
            )
        check_memory(
            f"hidden_layer_sizes={shape.hidden_layer_sizes} on {n_rows} rows",
            f"for {self.n_samples} samples a row",
            "Use fewer rows, hidden units or samples.",
            bytes_needed(shape, n_rows, n_threads),
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _draw_seed(random_state: Any) -> int:
    """Return a seed below 2**31 from what scikit-learn takes for a ``random_state``."""
    if random_state is None:
        return int(np.random.randint(2**31 - 1))  # noqa: NPY002  as scikit-learn's None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if _is_integer(random_state) and random_state >= 0:
        return int(random_state)
    raise ValueError(
        f"random_state must be None, an integer of at least 0 or a RandomState, "
        f"got {random_state!r}."
    )
