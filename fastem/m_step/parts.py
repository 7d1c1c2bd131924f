"""The parts of Q: a logistic regression per hidden unit and one regression for the output layer.

Q is the expected penalised log-likelihood of rows and hidden states together. It is a sum over
layers, so an M-step treats each layer by itself. Steps on a part are damped: they are halved
until that part of Q does not fall.
"""

import numpy as np
from scipy.linalg import cho_factor

from fastem.expectations import HiddenStatistics, LayerSums, OutputSums, Statistics
from fastem.kernels import logistic, multinomial
from fastem.parameters import Array, Shape, split_intercepts
from fastem.runtime import TILE, Shapes, row_ranges, run, table_slices, threads_worth
from fastem.tables import first_moments, half_sums

RIDGE = 1e-10
"""Share of the mean curvature that is added to it: singular systems become solvable."""

MAX_HALVINGS = 10
"""Lengths of a step that are tried before another step is taken."""

_ROWS_PER_PIECE = 2048
_ROUNDING = 1e-12  # relative rounding error of a part of Q


def floor_of(objective: Array | float) -> Array | float:
    """Return the objective minus its rounding error: a lower value is a fall."""
    return objective - _ROUNDING * np.abs(objective)


def penalty_of(n_inputs: int, alpha: float, fit_intercept: bool) -> Array:
    """Return the penalty of each row of a layer's weights: alpha, and 0 for intercepts."""
    penalty = np.full(n_inputs, alpha)
    if fit_intercept:
        penalty[-1] = 0.0
    return penalty


class HiddenPart:
    """The part of Q of one hidden layer: a logistic regression per unit.

    Parameters
    ----------
    n_rows : int
        Rows of the regressions: the samples, or the configurations of the layer below. 0 for a
        layer whose inputs the engine does not enumerate.
    n_inputs, n_hidden : int
    penalty : array (n_inputs,)
    n_threads : int
    """

    def __init__(
        self, n_rows: int, n_inputs: int, n_hidden: int, penalty: Array, n_threads: int
    ) -> None:
        self.penalty = penalty
        self.has_inputs = n_rows > 0
        self.tile = min(TILE, max(n_rows, 1))
        seconds = 1e-9 * n_rows * n_hidden * (2 + n_inputs / 10)
        self._n_threads = threads_worth(seconds, n_threads)
        self._pieces = row_ranges(n_rows, _ROWS_PER_PIECE)
        declared = self.buffers(n_rows, n_inputs, n_hidden, self._n_threads)
        self._workspaces = np.empty(declared["workspaces"])

    @staticmethod
    def buffers(n_rows: int, n_inputs: int, n_hidden: int, n_threads: int) -> Shapes:
        """Declare the workspaces, and the copies of weights that a damped step makes."""
        n_workers = min(n_threads, len(row_ranges(n_rows, _ROWS_PER_PIECE)))
        tile = min(TILE, max(n_rows, 1))
        return {
            "workspaces": (n_workers, tile * n_hidden),
            "weights": (8, n_inputs, n_hidden),
        }

    def gradient(self, weights: Array, layer: HiddenStatistics | LayerSums) -> Array:
        """Return the gradient of Q, which equals that of the objective."""
        return layer.gradient - self.penalty[:, None] * weights

    def objective(self, weights: Array, layer: HiddenStatistics) -> Array:
        """Return the part of Q of each unit, (n_hidden,), in nats."""
        inputs, coefs_T = self._regressors(weights, layer)
        parts = np.zeros((len(self._pieces), len(coefs_T)))

        def add_piece(piece: int, worker: int) -> None:
            logistic.add_objective(
                inputs, layer.weights, coefs_T, layer.posterior, *self._pieces[piece],
                self.tile, self._workspaces[worker], parts[piece],
            )  # fmt: skip

        run(add_piece, len(self._pieces), self._n_threads)
        penalty = 0.5 * (self.penalty[:, None] * weights**2).sum(axis=0)
        return parts.sum(axis=0) - penalty

    def _regressors(self, weights: Array, layer: HiddenStatistics) -> tuple[Array, Array]:
        """Return inputs and transposed weights of the regressions."""
        return layer.inputs, np.ascontiguousarray(weights.T)

    def fill_hessian(
        self, layer: HiddenStatistics, unit: int, workspace: Array, hessian: Array
    ) -> None:
        """Fill the negative Hessian of a unit without its penalty, (n_inputs, n_inputs)."""
        logistic.fill_hessian(
            layer.inputs, layer.weights, layer.probability[unit], self.tile, workspace, hessian
        )

    def second_moments(self, layer: HiddenStatistics) -> Array:
        """Return the weighted second moments of the inputs, (n_inputs, n_inputs)."""
        return (layer.inputs * layer.weights[:, None]).T @ layer.inputs

    def damped(self, weights: Array, step: Array, layer: HiddenStatistics) -> tuple[Array, Array]:
        """Return ``weights + step``, the step of each unit halved until its part does not fall.

        Returns
        -------
        weights : array (n_inputs, n_hidden)
        failed : array of bool (n_hidden,)
            Units whose part falls at every length that was tried; their weights are unchanged.
        """
        floor = floor_of(self.objective(weights, layer))
        scale = np.ones(weights.shape[1])
        for _ in range(MAX_HALVINGS):
            # a step may overflow: its objective is not finite then, and the step is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new = weights + scale * step
                falls = ~(self.objective(new, layer) >= floor)
            if not falls.any():
                return new, falls
            scale[falls] *= 0.5
        return np.where(falls, weights, new), falls


class OutputPart:
    """The part of Q of the output layer for classes: a multinomial regression on hidden states.

    Parameters
    ----------
    shape : Shape
    alpha : float
    n_threads : int
    """

    def __init__(self, shape: Shape, alpha: float, n_threads: int) -> None:
        self.shape = shape
        self.n_inputs = shape.output_shape[0]
        self.penalty = penalty_of(self.n_inputs, alpha, shape.fit_intercept)
        self._n_threads = threads_worth(
            1e-9 * shape.n_outputs * 2.0 ** min(shape.last, 60), n_threads
        )

    @staticmethod
    def buffers(shape: Shape, has_counts: bool) -> Shapes:
        """Declare the tables that `damped` needs, and the copies of weights of a step."""
        m, g = shape.last, shape.n_outputs
        copies = {"weights": (4, m, g)}
        if not has_counts:
            return copies
        # logits and exponentials of both halves of the units, twice while a step is tried
        return {"totals": (2**m,), "halves": (16, g, 2 ** (m - m // 2)), **copies}

    def gradient(self, weights: Array, sums: OutputSums) -> Array:
        """Return the gradient of Q, which equals that of the objective."""
        return sums.gradient - self.penalty[:, None] * weights

    def objective(self, weights: Array, moments: Array, totals: Array) -> float:
        """Return this part of Q, in nats.

        Parameters
        ----------
        weights : array (n_inputs, n_classes)
        moments : array (n_inputs, n_classes)
            Counts of each class, summed over the configurations in which a unit is on.
        totals : array (n_high, n_low)
            Counts of all classes together.
        """
        n_high, n_low = totals.shape
        coefs, intercepts = split_intercepts(weights, self.shape.last)
        high, low = half_sums(coefs, intercepts, n_low.bit_length() - 1)
        (exp_high, largest_high), (exp_low, largest_low) = map(_scaled_exponentials, (high, low))
        slices = table_slices(n_high, n_low)
        parts = np.zeros(len(slices))

        def add_slice(piece: int, worker: int) -> None:
            parts[piece] = multinomial.sum_log_normaliser(
                high, low, exp_high, exp_low, largest_high, largest_low, totals,
                *slices[piece],
            )  # fmt: skip

        run(add_slice, len(parts), self._n_threads)
        penalty = 0.5 * (self.penalty[:, None] * weights**2).sum()
        return float((weights * moments).sum() - parts.sum() - penalty)

    def damped(self, weights: Array, step: Array, counts: Array) -> Array | None:
        """Return ``weights + step``, the step halved until this part does not fall.

        Parameters
        ----------
        weights, step : arrays (n_inputs, n_classes)
        counts : array (n_classes, n_high, n_low), summed weight

        Returns
        -------
        weights : array (n_inputs, n_classes) or None
            None if this part falls at every length that was tried.
        """
        moments = first_moments(counts.sum(axis=2), counts.sum(axis=1))
        moments, totals = moments[: self.n_inputs], counts.sum(axis=0)
        floor = floor_of(self.objective(weights, moments, totals))
        for halvings in range(MAX_HALVINGS):
            # a step may overflow: its objective is not finite then, and the step is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new = weights + 0.5**halvings * step
                holds = self.objective(new, moments, totals) >= floor
            if holds:
                return new
        return None


def output_sums(statistics: Statistics, moments: tuple[Array, ...] = ()) -> OutputSums:
    """Return the sums of the output layer; ``moments`` holds what the M-step needs beside them."""
    return OutputSums(
        statistics.output_gradient,
        statistics.hidden[-1].weights.sum(),
        moments,
        statistics.squared_residuals,
    )


def layer_rows(shape: Shape, n_samples: int, kind: str) -> list[int]:
    """Return the number of rows of every hidden layer's regressions.

    The first layer has the samples, a later one the configurations of the layer below; 0 for a
    later layer if the statistics hold no counts of configurations.
    """
    below = shape.hidden_layer_sizes[:-1]
    return [n_samples, *(2**m if kind == "counts" else 0 for m in below)]


def independent_moments(posterior: Array, weights: Array, n_inputs: int) -> Array:
    """Return second moments of the units and a one, (n_inputs, n_inputs).

    The units are treated as independent given x and y.
    """
    means = np.vstack([posterior, np.ones(len(weights))])[:n_inputs]
    moments = (means * weights) @ means.T
    np.fill_diagonal(moments, means @ weights)
    return moments


def moments_bound(posterior: Array, weights: Array, n_inputs: int) -> Array:
    """Return an upper bound on the second moments of the units and a one, (n_inputs, n_inputs).

    It needs the posterior means q only: ``sum_i w_i (q q' + m diag(q (1 - q)))``. For any
    dependence between m units, ``Var(sum_h d_h z_h) <= m sum_h d_h**2 Var(z_h)``.
    """
    moments = independent_moments(posterior, weights, n_inputs)
    n_hidden = len(posterior)
    variances = np.einsum("hi,hi,i->h", posterior, 1.0 - posterior, weights)
    moments.flat[: n_hidden * (n_inputs + 1) : n_inputs + 1] += (n_hidden - 1) * variances
    return moments


def regular_factor(curvature: Array, penalty: Array) -> tuple[Array, bool]:
    """Return the Cholesky factor of ``curvature + diag(penalty)``, made regular by a ridge."""
    ridge = RIDGE * curvature.trace() / len(curvature) + np.finfo(float).tiny
    return cho_factor(curvature + np.diag(penalty + ridge))


def _scaled_exponentials(logits: Array) -> tuple[Array, Array]:
    """Return ``exp(logits - largest)`` and the largest over classes, of every half state."""
    largest = logits.max(axis=0)
    return np.exp(logits - largest), largest
