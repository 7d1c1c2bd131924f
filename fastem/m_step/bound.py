"""Bound M-step: the maximum of a quadratic below Q whose curvature does not change."""

from itertools import pairwise

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import multinomial
from fastem.m_step.base import RIDGE, HiddenRegressions, MStep, layer_rows
from fastem.parameters import Array, Parameters, Shape

_LEAST_SHARE = 1e-3  # of a class: one without rows is left behind, not driven to infinity


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
        cls, shape: Shape, n_samples: int, n_threads: int = 1, *, has_table: bool = True,
        is_exact: bool = True,
    ) -> int:  # fmt: skip
        """Return the peak memory of an M-step in bytes: weighted rows, and ``4 p**2``."""
        moments = shape.last + 1 if has_table or not is_exact else 0
        means = 0 if is_exact else 2 * n_samples * (max(shape.hidden_layer_sizes) + 1)
        rows = layer_rows(shape, n_samples, has_table)
        weighted = max(n * p for n, (p, _) in zip(rows, shape.hidden_shapes, strict=True))
        more = weighted + 4 * max(p for p, _ in shape.hidden_shapes) ** 2 + 4 * moments**2 + means
        kind = {"has_table": has_table, "is_exact": is_exact}
        return super().bytes_needed(shape, n_samples, n_threads, **kind) + 8 * more

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        hidden = [self.step_hidden(*layer) for layer in self.layers(parameters, statistics)]
        joined = self.step_output(self.output.join(parameters), statistics)
        return Parameters(tuple(hidden), *self.output.split(joined))

    def step_hidden(
        self, part: HiddenRegressions, weights: Array, layer: HiddenStatistics
    ) -> Array:
        """Return the weights of a hidden layer after the step."""
        if layer.inputs is None:
            moments = _independent_moments(layer.input_posterior, layer.weights, len(weights))
            factor = _regular_factor(0.25 * moments, part.penalty)
            return weights + cho_solve(factor, part.gradient(weights, layer))
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
        if statistics.effective_sample_size is not None:
            return joined + self._step_on_estimates(gradient, statistics)
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

    def _step_on_estimates(self, gradient: Array, statistics: Statistics) -> Array:
        """Return a step for each class by itself, from moments as posterior means tell them.

        The curvature, ``sum_s N(s) (diag(o) - o o') (x) z z'``, is below its first part, a block
        ``sum_s N(s) o_k(s) z z'`` for each class. P(y = k|s) of a row's states lies between the
        share of the class, in a network that knows nothing, and the row's own label, in one
        that knows all: the mean of both is taken. No bound, but estimates promise no ascent.
        """
        layer, n_rows = statistics.hidden[-1], self.output.n_rows
        moments = _independent_moments(layer.posterior, layer.weights, n_rows)
        total = layer.weights.sum()
        step = np.empty_like(gradient)
        for k, (start, stop) in enumerate(pairwise(self.class_starts)):
            weights = layer.weights[start:stop]
            own = _independent_moments(layer.posterior[:, start:stop], weights, n_rows)
            share = max(weights.sum() / total, _LEAST_SHARE)
            block = 0.5 * (own + share * moments)
            step[:, k] = cho_solve(_regular_factor(block, self.output.penalty), gradient[:, k])
        return step

    def _second_moments(self, statistics: Statistics) -> Array:
        """Return ``sum_s N(s) z z'``, the last entry of z a one, (n_rows, n_rows)."""
        n_rows = self.output.n_rows
        totals = statistics.counts.sum(axis=0)
        n_high, n_low = totals.shape
        high_sums, low_sums = np.empty(n_high), np.empty(n_low)
        bit_sums = np.empty((n_high.bit_length() - 1, n_low))
        multinomial.fill_moments(totals, high_sums, low_sums, bit_sums)
        return multinomial.gram_of_bits(high_sums, low_sums, bit_sums)[:n_rows, :n_rows]


def _independent_moments(posterior: Array, weights: Array, n_rows: int) -> Array:
    """Return second moments of units and a one, (n_rows, n_rows).

    Units are taken as independent given x and y.
    """
    means = np.vstack([posterior, np.ones(len(weights))])[:n_rows]
    moments = (means * weights) @ means.T
    np.fill_diagonal(moments, means @ weights)
    return moments


def _hidden_factor(part: HiddenRegressions, layer: HiddenStatistics) -> tuple[Array, bool]:
    """Return the bound on the curvature that the units of a layer share, factorised."""
    curvature = (layer.inputs * layer.weights[:, None]).T @ layer.inputs / 4.0
    return _regular_factor(curvature, part.penalty)


def _regular_factor(curvature: Array, penalty: Array) -> tuple[Array, bool]:
    ridge = RIDGE * curvature.trace() / len(curvature) + np.finfo(float).tiny
    return cho_factor(curvature + np.diag(penalty + ridge))
