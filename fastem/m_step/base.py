"""What all M-steps share: the two parts of Q, and steps damped until Q does not fall.

Q, the expected penalised log-likelihood of rows and hidden states together, splits into
one logistic regression per hidden unit and one multinomial regression for the output.
"""

from abc import ABC, abstractmethod

import numpy as np

from fastem.engines.base import ClassSortedRows
from fastem.expectations import Statistics
from fastem.grid import TILE, row_ranges, table_slices
from fastem.kernels import configurations, logistic, multinomial
from fastem.parallel import run, threads_worth
from fastem.parameters import Array, Parameters, Shape

RIDGE = 1e-10  # of the mean curvature: keeps singular systems solvable, changes no digit
_ROWS_PER_PIECE = 2048
_MAX_HALVINGS = 10
_ROUNDING = 1e-12


def _floor_of(objective: Array | float) -> Array | float:
    """Return what a new objective may not fall below: the old one, less its rounding."""
    return objective - _ROUNDING * np.abs(objective)


class HiddenRegressions:
    """The hidden units' part of Q, unit by unit."""

    def __init__(self, rows: ClassSortedRows, shape: Shape, alpha: float, n_threads: int) -> None:
        self.rows = rows
        self.shape = shape
        self.penalty = np.full(shape.n_inputs, alpha)
        if shape.fit_intercept:
            self.penalty[-1] = 0.0
        n_samples = len(rows.weights)
        self.tile = min(TILE, max(n_samples, 1))
        seconds = 1e-9 * n_samples * shape.n_hidden * (2 + shape.n_inputs / 10)
        self._n_threads = threads_worth(seconds, n_threads)
        self._pieces = row_ranges(n_samples, _ROWS_PER_PIECE)
        n_workers = min(self._n_threads, len(self._pieces))
        self._workspaces = np.empty((n_workers, self.tile * shape.n_hidden))

    def gradient(self, hidden: Array, statistics: Statistics) -> Array:
        """Return the gradient of Q, which here is that of the objective."""
        return statistics.hidden_gradient - self.penalty[:, None] * hidden

    def objective(self, hidden: Array, statistics: Statistics) -> Array:
        """Return each unit's part of Q, (n_hidden,), in nats."""
        coefs_T = np.ascontiguousarray(hidden.T)
        parts = np.zeros((len(self._pieces), self.shape.n_hidden))

        def add_piece(piece: int, worker: int) -> None:
            logistic.add_objective(
                self.rows.inputs,
                self.rows.weights,
                coefs_T,
                statistics.hidden_posterior,
                *self._pieces[piece],
                self.tile,
                self._workspaces[worker],
                parts[piece],
            )

        run(add_piece, len(self._pieces), self._n_threads)
        penalty = 0.5 * (self.penalty[:, None] * hidden**2).sum(axis=0)
        return parts.sum(axis=0) - penalty

    def damped(self, hidden: Array, step: Array, statistics: Statistics) -> tuple[Array, Array]:
        """Return ``hidden + step``, each unit's step halved until its part of Q holds.

        Returns
        -------
        hidden : array (n_inputs, n_hidden)
        failed : array of bool (n_hidden,)
            Units for which no length of step held; they have not moved.
        """
        floor = _floor_of(self.objective(hidden, statistics))
        scale = np.ones(self.shape.n_hidden)
        for _ in range(_MAX_HALVINGS):
            # a step may overflow: what it leads to is not finite, and it is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new = hidden + scale * step
                falls = ~(self.objective(new, statistics) >= floor)
            if not falls.any():
                return new, falls
            scale[falls] *= 0.5
        return np.where(falls, hidden, new), falls


class OutputRegression:
    """The output layer's part of Q: a regression on all configurations."""

    def __init__(self, shape: Shape, alpha: float, n_threads: int) -> None:
        self.shape = shape
        self.n_rows = shape.n_hidden + shape.fit_intercept
        self.penalty = np.full(self.n_rows, alpha)
        if shape.fit_intercept:
            self.penalty[-1] = 0.0
        self._n_threads = threads_worth(1e-9 * shape.n_classes * 2.0**shape.n_hidden, n_threads)

    def join(self, parameters: Parameters) -> Array:
        """Return weights and intercepts as one array (n_rows, n_classes)."""
        if not self.shape.fit_intercept:
            return parameters.output
        return np.vstack([parameters.output, parameters.output_intercepts])

    def split(self, joined: Array) -> tuple[Array, Array]:
        """Return what `join` has joined."""
        output = np.ascontiguousarray(joined[: self.shape.n_hidden])
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
    """

    def __init__(
        self,
        rows: ClassSortedRows,
        shape: Shape,
        alpha: float,
        n_threads: int,
        learning_rate: float,
    ) -> None:
        self.n_threads = n_threads
        self.learning_rate = learning_rate
        self.hidden = HiddenRegressions(rows, shape, alpha, n_threads)
        self.output = OutputRegression(shape, alpha, n_threads)

    @classmethod
    def bytes_needed(
        cls, shape: Shape, n_samples: int, n_threads: int = 1, *, has_table: bool = True
    ) -> int:
        """Return the peak memory of an M-step in bytes, beside that of the E-step.

        ``has_table`` says whether the E-step gives counts of configurations.
        """
        m, p, g = shape.n_hidden, shape.n_inputs, shape.n_classes
        n_workers = min(n_threads, n_samples // _ROWS_PER_PIECE + 1)
        scratch = n_workers * min(n_samples, TILE) * m
        tables = 2**m + 16 * g * 2 ** (m - m // 2) if has_table else 0
        return 8 * (tables + scratch + 8 * p * m + 4 * g * m)

    @abstractmethod
    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
