"""The sampling engine: any network, by configurations drawn from the prior."""

import dataclasses
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from fastem.engines.base import Engine, Plan, RandomState, check_classes
from fastem.engines.output_sampler import sampler_of
from fastem.engines.sampler import (
    Sampler,
    bytes_of_sampler,
    keys_of,
    n_sums,
    rows_per_piece,
    seconds_per_sample,
)
from fastem.expectations import HiddenStatistics, Statistics
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds, largest_inputs
from fastem.runtime import (
    Buffers,
    Shapes,
    bytes_of,
    check_memory,
    row_ranges,
    run,
    single_threaded_blas,
    threads_worth,
    warn_user,
)

# Share of the samples below which a median effective sample size is reported as low.
_LOW_SHARE = 0.1
# Attempts at a row whose samples all have zero weight, each with ten times the samples.
_ATTEMPTS = 3
_DRAW_OF_PREDICTIONS = 2**64 - 1  # above the number of any draw of an E-step


class SamplingPlan(Plan):
    """An E-step by sampling prepared for given rows; see `Sampling`."""

    def __init__(
        self, rows: TrainingRows, shape: Shape, n_samples: int, seed: int, n_threads: int
    ) -> None:
        self._shape, self._seed, self._buffers = shape, seed, Buffers()
        pieces = row_ranges(len(rows.weights), rows_per_piece(shape, len(rows.weights)))
        seconds = len(rows.weights) * n_samples * seconds_per_sample(shape)
        n_threads = threads_worth(seconds, n_threads)
        self._most_threads = max(min(n_threads, len(pieces)), 1)
        self._sampler = sampler_of(shape, n_samples, self._most_threads)
        self.rebind(rows)

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        shape, n_rows = self._shape, len(rows.weights)
        self._rows = rows
        self._largest_inputs = rows.largest_inputs
        self._pieces = row_ranges(n_rows, rows_per_piece(shape, n_rows))
        seconds = n_rows * self._sampler.n_samples * seconds_per_sample(shape)
        self._n_threads = threads_worth(seconds, self._most_threads)
        targets = rows.labels if shape.has_classes else np.ascontiguousarray(rows.targets)
        self._per_row = targets, rows.weights
        self._numbers = np.ascontiguousarray(rows.order[:, None]).view(np.uint64)
        self._arrays = self._buffers.allocate(_plan_buffers(shape, n_rows))

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step on the samples of a numbered draw.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, residuals of the outputs overflow, or a row has no
            sample of positive weight.
        """
        check_log_odds(self._largest_inputs, parameters.hidden[0])
        arrays, keys = self._arrays, keys_of(self._seed, draw, self._numbers)
        per_row = arrays.log_odds, *self._per_row, keys
        with single_threaded_blas():
            self._sampler.fill_tables(parameters)
            sums = self._add_rows(parameters, per_row)
            for i in np.flatnonzero(np.isneginf(arrays.log_likelihood)):
                for total, more in zip(sums, self._redo(i, parameters, per_row), strict=True):
                    total += more
            of_layers = sums[: self._shape.depth]
            hidden = [self._first_layer(), *self._later_layers(of_layers[:-1])]
        return Statistics(
            arrays.log_likelihood,
            tuple(hidden),
            None,
            None,
            of_layers[-1][: len(parameters.output)],
            arrays.effective,
            sums[-1] if self._shape.n_variances > 0 else None,
        )

    def _out(self) -> tuple[Array, ...]:
        arrays = self._arrays
        return arrays.log_likelihood, arrays.effective, arrays.probability, arrays.posterior

    def _add_rows(self, parameters: Parameters, per_row: tuple[Any, ...]) -> list[Array]:
        """Sample all rows; return sums over them by layer."""
        found: list[list[Array]] = [[]] * len(self._pieces)
        log_odds = self._arrays.log_odds

        def add_piece(piece: int, worker: int) -> None:
            start, stop = self._pieces[piece]
            np.dot(self._rows.inputs[start:stop], parameters.hidden[0], out=log_odds[start:stop])
            self._sampler.sums[worker] = 0.0
            self._sampler.add_rows(worker, (start, stop), per_row, self._out())
            found[piece] = self._sampler.folded(self._sampler.sums[worker])

        run(add_piece, len(self._pieces), self._n_threads)
        if not found:
            return self._sampler.folded(np.zeros_like(self._sampler.sums[0]))
        return [np.sum(of_layer, axis=0) for of_layer in zip(*found, strict=True)]

    def _redo(self, i: int, parameters: Parameters, per_row: tuple[Any, ...]) -> list[Array]:
        """Sample a row again whose samples all had zero weight, with more and more samples."""
        n_samples = self._sampler.n_samples
        for _ in range(_ATTEMPTS):
            n_samples *= 10
            sampler = sampler_of(self._shape, n_samples, 1)
            sampler.fill_tables(parameters)
            sampler.sums[0] = 0.0
            sampler.add_rows(0, (i, i + 1), per_row, self._out())
            if not np.isneginf(self._arrays.log_likelihood[i]):
                return sampler.folded(sampler.sums[0])
        raise FloatingPointError(
            f"None of {n_samples} samples gives row {self._rows.order[i]} a positive probability "
            "of its target: the weights are too large. Use smaller weights (a larger alpha, "
            "standardize=True), or fastem.Enumeration() if it fits into memory."
        )

    def _first_layer(self) -> HiddenStatistics:
        rows, probability = self._rows, self._arrays.probability
        posterior = self._arrays.posterior[: self._shape.first]
        moved = rows.weights * (posterior - probability)
        gradient = np.ascontiguousarray((moved @ rows.inputs).T)
        return HiddenStatistics(rows.inputs, rows.weights, probability, posterior, gradient)

    def _later_layers(self, sums: list[Array]) -> Iterator[HiddenStatistics]:
        units = np.cumsum([0, *self._shape.hidden_layer_sizes])
        by_layer = [self._arrays.posterior[a:b] for a, b in pairwise(units)]
        for gradient, (below, own) in zip(sums, pairwise(by_layer), strict=True):
            n_inputs = len(below) + self._shape.fit_intercept
            yield HiddenStatistics(None, self._rows.weights, None, own, gradient[:n_inputs], below)


def _n_workers(shape: Shape, n_rows: int, n_threads: int) -> int:
    """Return the number of threads that have work."""
    n_pieces = len(row_ranges(n_rows, rows_per_piece(shape, n_rows)))
    return max(min(n_threads, n_pieces), 1)


def _plan_buffers(shape: Shape, n_rows: int) -> Shapes:
    """Declare the arrays of a plan."""
    return {
        "log_odds": (n_rows, shape.first),
        "log_likelihood": (n_rows,),
        "effective": (n_rows,),
        "probability": (shape.first, n_rows),
        "posterior": (sum(shape.hidden_layer_sizes), n_rows),
    }


def _temporaries(shape: Shape, n_rows: int) -> Shapes:
    """Declare labels and keys of the rows, products for the gradient, and sums of the pieces."""
    n_pieces = len(row_ranges(n_rows, rows_per_piece(shape, n_rows)))
    return {
        "of_rows": (n_rows, 4),
        "moved": (2, n_rows, shape.first),
        "sums": (n_pieces + 2, n_sums(shape)),
    }


def _prediction_buffers(shape: Shape, n_rows: int) -> Shapes:
    """Declare the arrays that `log_marginal` allocates for the rows."""
    return {"log_odds": (n_rows, shape.first), "out": (n_rows, shape.n_outputs)}


@dataclass
class Sampling(Engine):
    """E-step by importance sampling: any network, estimates in place of exact sums.

    For every row, configurations are drawn from the prior P(z|x) and weighted by P(y|z). In a
    network with one hidden layer and up to 32 outputs that are not classes, three quarters of them
    are drawn from a prior that is tilted towards y. The weights correct for the tilt.
    The estimates are consistent: their standard error falls as ``1 / sqrt(n_samples)`` and their
    bias as ``1 / n_samples``. They are never exact, and an iteration of EM may lower the
    likelihood.

    Parameters
    ----------
    n_samples : int, default=500
        Configurations per row.
    random_state : int, optional
        Seed. None derives a seed from the ``random_state`` of the estimator or of `fastem.e_step`.

    Notes
    -----
    Cost per row and sample: half a random word per unit and ``m g / 2`` additions.
    Memory: ``O(n m)``, and ``O(n_samples m)`` per thread.

    The effective sample size ``(sum w)**2 / sum w**2`` of a row is at least about ``n_samples``
    times the probability of the row's label. For other outputs it is small if there are many
    outputs, or if their noise variance is small.

    Outputs that are not classes cost about 10 to 60 ns per sample and output, because NumPy
    evaluates their family.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier((64,), e_step=fastem.Sampling(n_samples=200))
    """

    n_samples: int = 500
    random_state: int | None = None
    name: ClassVar[str] = "sampling"
    statistics: ClassVar[str] = "estimates"

    def seeded(self, random_state: RandomState, earlier: Engine | None = None) -> Self:
        """Return an engine with an integer seed.

        The seed is its own, or that of the earlier engine, or drawn from ``random_state``.
        """
        seed = self.random_state
        if seed is None and isinstance(earlier, Sampling):
            seed = earlier.random_state
        if seed is None:
            seed = draw_seed(random_state)
        return dataclasses.replace(self, random_state=seed)

    def warn_if_noisy(self, effective_sample_size: float) -> None:
        """Warn if the effective sample size is low.

        Parameters
        ----------
        effective_sample_size : float
            Median over rows.

        Warns
        -----
        UserWarning
            If it is below a tenth of ``n_samples``.
        """
        if effective_sample_size < _LOW_SHARE * self.n_samples:
            warn_user(
                f"The median effective sample size of the rows is {effective_sample_size:.3g} of "
                f"n_samples={self.n_samples} samples: the estimates are noisy. Increase n_samples "
                "or alpha, or use an exact engine such as fastem.Enumeration() if it fits into "
                "memory."
            )

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Estimate the time of an E-step on one thread, in seconds."""
        return n_samples * self.n_samples * seconds_per_sample(shape)

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes."""
        declared = _plan_buffers(shape, n_samples), _temporaries(shape, n_samples)
        n_workers = _n_workers(shape, n_samples, n_threads)
        return bytes_of(*declared) + bytes_of_sampler(shape, self.n_samples, n_workers)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        rows = bytes_of(_prediction_buffers(shape, n_samples), {"keys": (n_samples, 2)})
        n_workers = _n_workers(shape, n_samples, n_threads)
        return rows + bytes_of_sampler(shape, self.n_samples, n_workers)

    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> SamplingPlan:
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

        The samples of a row depend on the seed and on the row's values only. Equal rows therefore
        have equal probabilities, whatever the other rows are.

        Raises
        ------
        ValueError
            As `plan`, or if the outputs are not classes.
        FloatingPointError
            If inputs times weights overflow.
        """
        check_classes(shape)
        n_rows = len(inputs)
        self._check(shape, n_rows, self.bytes_to_predict, n_threads)
        check_log_odds(largest_inputs(inputs), parameters.hidden[0])
        n_threads = threads_worth(self.seconds(shape, n_rows), n_threads)
        pieces = row_ranges(n_rows, rows_per_piece(shape, n_rows))
        sampler = Sampler(shape, self.n_samples, max(min(n_threads, len(pieces)), 1))
        keys = keys_of(
            self.seeded(None).random_state,
            _DRAW_OF_PREDICTIONS,
            np.ascontiguousarray(inputs).view(np.uint64),
        )
        arrays = Buffers().allocate(_prediction_buffers(shape, n_rows))
        log_odds, out = arrays.log_odds, arrays.out

        def fill_piece(piece: int, worker: int) -> None:
            start, stop = pieces[piece]
            np.dot(inputs[start:stop], parameters.hidden[0], out=log_odds[start:stop])
            sampler.fill_log_marginal(worker, (start, stop), log_odds, keys, out)

        with single_threaded_blas():
            sampler.fill_tables(parameters)
            run(fill_piece, len(pieces), n_threads)
        return out

    def _check(
        self,
        shape: Shape,
        n_rows: int,
        bytes_needed: Callable[[Shape, int, int], int],
        n_threads: int,
    ) -> None:
        if not _is_integer(self.n_samples) or self.n_samples < 1:
            raise ValueError(
                f"n_samples must be a positive integer, got {self.n_samples!r}; start with a few "
                "hundred."
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


def draw_seed(random_state: RandomState) -> int:
    """Return a seed below 2**31 from a ``random_state`` in scikit-learn's sense."""
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
