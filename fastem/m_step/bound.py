"""Bound M-step: the maximum of a quadratic below Q whose curvature does not change."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import multinomial
from fastem.m_step.base import RIDGE, HiddenRegressions, MStep, layer_rows
from fastem.parameters import Array, Parameters, Shape


class Bound(MStep):
    """Steps under a fixed bound on the curvature: monotone without any search.

    Units of a hidden layer share ``X' diag(w) X / 4``, which for the first layer is
    factorised once per fit. The output layer takes ``(I - 11'/g) / 2`` times the second
    moments of the bits under the counts; along ``11'`` only the penalty is curved, and the
    step is exact.

    References
    ----------
    Boehning and Lindsay (1988), Monotonicity of quadratic-approximation algorithms.
    Boehning (1992), Multinomial logistic regression algorithm.
    """

    _factor: tuple[Array, bool] | None = None  # of the first hidden layer

    @classmethod
    def bytes_needed(
        cls, shape: Shape, n_samples: int, n_threads: int = 1, *, has_table: bool = True
    ) -> int:
        """Return the peak memory of an M-step in bytes: weighted rows, and ``4 p**2``."""
        moments = shape.last + 1 if has_table else 0
        rows = layer_rows(shape, n_samples)
        weighted = max(n * p for n, (p, _) in zip(rows, shape.hidden_shapes, strict=True))
        more = weighted + 4 * max(p for p, _ in shape.hidden_shapes) ** 2 + 4 * moments**2
        return super().bytes_needed(shape, n_samples, n_threads, has_table=has_table) + 8 * more

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        hidden = [self.step_hidden(*layer) for layer in self.layers(parameters, statistics)]
        joined = self.step_output(self.output.join(parameters), statistics)
        return Parameters(tuple(hidden), *self.output.split(joined))

    def step_hidden(
        self, part: HiddenRegressions, weights: Array, layer: HiddenStatistics
    ) -> Array:
        """Return the weights of a hidden layer after the step."""
        if part is not self.hidden[0]:
            factor = _hidden_factor(part, layer)  # weights of configurations change
        elif self._factor is None:
            factor = self._factor = _hidden_factor(part, layer)
        else:
            factor = self._factor
        return weights + cho_solve(factor, part.gradient(weights, layer))

    def step_output(self, joined: Array, statistics: Statistics) -> Array:
        """Return the output weights and intercepts after the step."""
        penalty = self.output.penalty
        gradient = self.output.gradient(joined, statistics)
        if statistics.counts is None:
            curvature = self._curvature_without_counts(statistics) + penalty
            return joined + gradient / (curvature[:, None] + np.finfo(float).tiny)
        factor = _regular_factor(0.5 * self._second_moments(statistics), penalty)
        step = cho_solve(factor, gradient - gradient.mean(axis=1, keepdims=True))
        # along a shift common to all classes only the penalty counts: its optimum is zero
        penalised = penalty > 0.0
        step[penalised] -= joined[penalised].mean(axis=1, keepdims=True)
        return joined + step

    def _curvature_without_counts(self, statistics: Statistics) -> Array:
        """Return a diagonal above the curvature of Q that needs posterior means only.

        ``(sum_h z_h d_h)**2 <= (m + 1) sum_h z_h d_h**2`` for bits z with a one at the end, so the
        second moments are below ``m + 1`` times the diagonal of means.
        """
        layer = statistics.hidden[-1]
        means = np.append(layer.posterior @ layer.weights, layer.weights.sum())
        return 0.5 * len(means) * means[: self.output.n_rows]

    def _second_moments(self, statistics: Statistics) -> Array:
        """Return ``sum_s N(s) z z'``, the last entry of z a one, (n_rows, n_rows)."""
        totals = statistics.counts.sum(axis=0)
        n_high, n_low = totals.shape
        high_sums, low_sums = np.empty(n_high), np.empty(n_low)
        bit_sums = np.empty((n_high.bit_length() - 1, n_low))
        multinomial.fill_moments(totals, high_sums, low_sums, bit_sums)
        n_rows = self.output.n_rows
        return multinomial.gram_of_bits(high_sums, low_sums, bit_sums)[:n_rows, :n_rows]


def _hidden_factor(part: HiddenRegressions, layer: HiddenStatistics) -> tuple[Array, bool]:
    """Return the bound on the curvature that the units of a layer share, factorised."""
    curvature = (layer.inputs * layer.weights[:, None]).T @ layer.inputs / 4.0
    return _regular_factor(curvature, part.penalty)


def _regular_factor(curvature: Array, penalty: Array) -> tuple[Array, bool]:
    ridge = RIDGE * curvature.trace() / len(curvature) + np.finfo(float).tiny
    return cho_factor(curvature + np.diag(penalty + ridge))
