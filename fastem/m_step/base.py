"""What all M-steps share: the parts of Q, and steps damped until Q does not fall.

Q, the expected penalised log-likelihood of rows and hidden states together, splits into
one logistic regression per hidden unit and one multinomial regression for the output.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import configurations, logistic, multinomial
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows
from fastem.runtime import TILE, row_ranges, run, table_slices, threads_worth

RIDGE = 1e-10  # of the mean curvature: keeps singular systems solvable, changes no digit
_ROWS_PER_PIECE = 2048
_MAX_HALVINGS = 10
_ROUNDING = 1e-12


def _floor_of(objective: Array | float) -> Array | float:
    """Return what a new objective may not fall below: the old one, less its rounding."""
    return objective - _ROUNDING * np.abs(objective)


def layer_rows(shape: Shape, n_samples: int, has_table: bool = True) -> list[int]:
    """Return how many rows each hidden layer regresses on: samples, then configurations.

    None after the first layer where the E-step visits no configurations.
    """
    return [n_samples, *(2**m if has_table else 0 for m in shape.hidden_layer_sizes[:-1])]


def _penalty(n_rows: int, alpha: float, fit_intercept: bool) -> Array:
    penalty = np.full(n_rows, alpha)
    if fit_intercept:
        penalty[-1] = 0.0
    return penalty


class HiddenRegressions:
    """The part of Q of one hidden layer, unit by unit."""

    def __init__(
        self, n_rows: int, n_inputs: int, n_hidden: int, penalty: Array, n_threads: int
    ) -> None:
        self.penalty = penalty
        self.tile = min(TILE, max(n_rows, 1))
        seconds = 1e-9 * n_rows * n_hidden * (2 + n_inputs / 10)
        self._n_threads = threads_worth(seconds, n_threads)
        self._pieces = row_ranges(n_rows, _ROWS_PER_PIECE)
        n_workers = min(self._n_threads, len(self._pieces))
        self._workspaces = np.empty((n_workers, self.tile * n_hidden))

    def gradient(self, weights: Array, layer: HiddenStatistics) -> Array:
        """Return the gradient of Q, which here is that of the objective."""
        return layer.gradient - self.penalty[:, None] * weights

    def objective(self, weights: Array, layer: HiddenStatistics) -> Array:
        """Return each unit's part of Q, (n_hidden,), in nats."""
        coefs_T = np.ascontiguousarray(weights.T)
        parts = np.zeros((len(self._pieces), len(coefs_T)))

        def add_piece(piece: int, worker: int) -> None:
            logistic.add_objective(
                layer.inputs,
                layer.weights,
                coefs_T,
                layer.posterior,
                *self._pieces[piece],
                self.tile,
                self._workspaces[worker],
                parts[piece],
            )

        run(add_piece, len(self._pieces), self._n_threads)
        penalty = 0.5 * (self.penalty[:, None] * weights**2).sum(axis=0)
        return parts.sum(axis=0) - penalty

    def damped(self, weights: Array, step: Array, layer: HiddenStatistics) -> tuple[Array, Array]:
        """Return ``weights + step``, each unit's step halved until its part of Q holds.

        Returns
        -------
        weights : array (n_inputs, n_hidden)
        failed : array of bool (n_hidden,)
            Units for which no length of step held; they have not moved.
        """
        floor = _floor_of(self.objective(weights, layer))
        scale = np.ones(weights.shape[1])
        for _ in range(_MAX_HALVINGS):
            # a step may overflow: what it leads to is not finite, and it is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new = weights + scale * step
                falls = ~(self.objective(new, layer) >= floor)
            if not falls.any():
                return new, falls
            scale[falls] *= 0.5
        return np.where(falls, weights, new), falls


class OutputRegression:
    """The output layer's part of Q: a regression on all configurations."""

    def __init__(self, shape: Shape, alpha: float, n_threads: int) -> None:
        self.shape = shape
        self.n_rows = shape.last + shape.fit_intercept
        self.penalty = _penalty(self.n_rows, alpha, shape.fit_intercept)
        self._n_threads = threads_worth(
            1e-9 * shape.n_classes * 2.0 ** min(shape.last, 60), n_threads
        )

    def join(self, parameters: Parameters) -> Array:
        """Return weights and intercepts as one array (n_rows, n_classes)."""
        if not self.shape.fit_intercept:
            return parameters.output
        return np.vstack([parameters.output, parameters.output_intercepts])

    def split(self, joined: Array) -> tuple[Array, Array]:
        """Return what `join` has joined."""
        output = np.ascontiguousarray(joined[: self.shape.last])
        if not self.shape.fit_intercept:
            return output, np.zeros(self.shape.n_classes)
        return output, joined[-1].copy()

    def gradient(self, joined: Array, statistics: Statistics) -> Array:
        """Return the gradient of Q, which here is that of the objective."""
        return statistics.output_gradient[: self.n_rows] - self.penalty[:, None] * joined

    def objective(self, joined: Array, moments: Array, totals: Array) -> float:
        """Return the output's part of Q, in nats.

        Parameters
        ----------
        joined : array (n_rows, n_classes)
        moments : array (n_rows, n_classes)
            Counts of each class, summed over the configurations that have a unit on.
        totals : array (n_high, n_low)
            Counts of all classes together.
        """
        n_high, n_low = totals.shape
        high, low = configurations.half_logits(*self.split(joined), n_low.bit_length() - 1)
        exp_high, largest_high = configurations.scaled_exponentials(high)
        exp_low, largest_low = configurations.scaled_exponentials(low)
        slices = table_slices(n_high, n_low)
        parts = np.zeros(len(slices))

        def add_slice(piece: int, worker: int) -> None:
            parts[piece] = multinomial.sum_log_normaliser(
                high, low, exp_high, exp_low, largest_high, largest_low, totals,
                *slices[piece],
            )  # fmt: skip

        run(add_slice, len(parts), self._n_threads)
        penalty = 0.5 * (self.penalty[:, None] * joined**2).sum()
        return float((joined * moments).sum() - parts.sum() - penalty)

    def _moments_and_totals(self, statistics: Statistics) -> tuple[Array, Array]:
        """Return what `objective` needs of the counts."""
        counts = statistics.counts
        moments = configurations.unit_sums(counts.sum(axis=2), counts.sum(axis=1))
        return moments[: self.n_rows], counts.sum(axis=0)

    def damped(self, joined: Array, step: Array, statistics: Statistics) -> Array | None:
        """Return ``joined + step``, the step halved until this part of Q holds, or None."""
        moments, totals = self._moments_and_totals(statistics)
        floor = _floor_of(self.objective(joined, moments, totals))
        for halvings in range(_MAX_HALVINGS):
            # a step may overflow: what it leads to is not finite, and it is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new = joined + 0.5**halvings * step
                holds = self.objective(new, moments, totals) >= floor
            if holds:
                return new
        return None


class MStep(ABC):
    """An M-step for given rows: parameters and statistics in, parameters out.

    Parameters
    ----------
    rows : ClassSortedRows
    shape : Shape
    alpha : float
        Penalty: ``alpha / 2`` times the squared norm of all weights but intercepts.
    n_threads : int
    learning_rate : float
        Used by `Gradient`.
    has_table : bool, default=True
        Whether the E-step gives counts of configurations.
    """

    def __init__(
        self,
        rows: ClassSortedRows,
        shape: Shape,
        alpha: float,
        n_threads: int,
        learning_rate: float,
        has_table: bool = True,
    ) -> None:
        self.n_threads = n_threads
        self.class_starts = rows.class_starts
        self.learning_rate = learning_rate
        n_rows = layer_rows(shape, len(rows.weights), has_table)
        self.hidden = [
            HiddenRegressions(n, p, m, _penalty(p, alpha, shape.fit_intercept), n_threads)
            for n, (p, m) in zip(n_rows, shape.hidden_shapes, strict=True)
        ]
        self.output = OutputRegression(shape, alpha, n_threads)

    @classmethod
    def bytes_needed(
        cls, shape: Shape, n_samples: int, n_threads: int = 1, *, has_table: bool = True,
        is_exact: bool = True,
    ) -> int:  # fmt: skip
        """Return the peak memory of an M-step in bytes, beside that of the E-step.

        ``has_table`` says whether the E-step gives counts of configurations, ``is_exact`` whether
        it gives more than estimates.
        """
        scratch, m, g = 0, shape.last, shape.n_classes
        n_rows = layer_rows(shape, n_samples, has_table)
        for n, (p, units) in zip(n_rows, shape.hidden_shapes, strict=True):
            n_workers = min(n_threads, n // _ROWS_PER_PIECE + 1)
            scratch += n_workers * min(n, TILE) * units + 8 * p * units
        tables = 2**m + 16 * g * 2 ** (m - m // 2) if has_table else 0
        return 8 * (tables + scratch + 4 * g * m)

    def layers(
        self, parameters: Parameters, statistics: Statistics
    ) -> Iterator[tuple[HiddenRegressions, Array, HiddenStatistics]]:
        """Yield the regressions, weights and statistics of every hidden layer."""
        return zip(self.hidden, parameters.hidden, statistics.hidden, strict=True)

    @abstractmethod
    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
