"""M-step of outputs that are independent given z: one generalised linear model per output.

The inputs of every regression are the states of the last hidden layer and a one. If the engine
enumerates configurations, the rows of the regression are the ``2**m`` configurations, weighted by
their counts. Otherwise the posterior means of the units give a bound on the curvature, or an
estimate of it. The noise variance has a closed form.
"""

import numpy as np
from scipy.linalg import cho_solve

from fastem.expectations import OutputSums, Statistics
from fastem.m_step.parts import (
    MAX_HALVINGS,
    floor_of,
    independent_moments,
    moments_bound,
    output_sums,
    penalty_of,
    regular_factor,
)
from fastem.parameters import NO_VARIANCE, Array, Parameters, Shape, split_intercepts
from fastem.rows import TrainingRows
from fastem.runtime import Shapes, n_low_bits
from fastem.tables import first_moments, half_sums, second_moments


class IndependentOutputsPart:
    """The part of Q of the output layer, and its steps.

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
    kind : {"counts", "means", "estimates"}
        Kind of the engine's statistics; see `Engine.statistics`.
    alpha : float
    """

    def __init__(self, rows: TrainingRows, shape: Shape, kind: str, alpha: float) -> None:
        self._shape, self._kind, self._family = shape, kind, shape.family
        self.n_inputs = shape.output_shape[0]
        self.penalty = penalty_of(self.n_inputs, alpha, shape.fit_intercept)
        self._targets = rows.targets

    @staticmethod
    def buffers(shape: Shape, n_samples: int, kind: str) -> Shapes:
        """Declare the memory of a step."""
        n_inputs = shape.last + 1
        declared = {"moments": (4, n_inputs, n_inputs), "weights": (6, n_inputs, shape.n_outputs)}
        if kind == "counts":
            return {**declared, "tables": (5, 2**shape.last)}
        return {**declared, "means": (2, n_samples, n_inputs)}

    def gradient(self, weights: Array, sums: OutputSums) -> Array:
        """Return the gradient of Q, which equals that of the objective."""
        return sums.gradient - self.penalty[:, None] * weights

    def sums(self, parameters: Parameters, statistics: Statistics, *, bounded: bool) -> OutputSums:
        """Return the sums over the rows of an E-step that `step` needs.

        Their moments are the curvature of every output, (n_outputs, n_inputs, n_inputs). If
        configurations are enumerated and the curvature is not a bound, their weights follow.

        Parameters
        ----------
        parameters : Parameters
        statistics : Statistics
        bounded : bool
            Whether to use a fixed bound on the curvature where the family has one.
        """
        outputs = range(self._shape.n_outputs)
        moments = [self._curvature(parameters, statistics, d, bounded=bounded) for d in outputs]
        if self._kind == "counts" and not self._uses_bound(bounded):
            return output_sums(statistics, (np.array(moments), statistics.expected_counts()[0]))
        return output_sums(statistics, (np.array(moments),))

    def step(self, parameters: Parameters, sums: OutputSums) -> tuple[Array, Array]:
        """Return weights (n_inputs, n_outputs) and variances (n_outputs,) after a step."""
        new, changes = parameters.output.copy(), []
        dispersion = parameters.dispersion
        gradient = self.gradient(parameters.output, sums)
        curvatures, *totals = sums.moments
        for d, curvature in enumerate(curvatures):
            factor = regular_factor(curvature / dispersion[d], self.penalty)
            step = cho_solve(factor, gradient[:, d])
            if totals:
                step = self._damped(parameters, sums.gradient[:, d], totals[0], d, step)
            new[:, d] += step
            # of the squared residuals; where the curvature is a bound, so is the change
            slope = dispersion[d] * (step @ sums.gradient[:, d])
            changes.append(step @ curvature @ step - 2.0 * slope)
        return new, self._variance(sums, np.array(changes))

    def gradient_step(
        self, parameters: Parameters, sums: OutputSums, rate: float
    ) -> tuple[Array, Array]:
        """Return weights after a gradient step, and variances in closed form."""
        gradient = self.gradient(parameters.output, sums)
        return parameters.output + rate * gradient, self._variance(sums, 0.0)

    def _variance(self, sums: OutputSums, change: Array | float) -> Array:
        """Return the variances that maximise Q, given the change of the squared residuals.

        `Shape.pack` replaces variances below the floor by the floor.
        """
        if not self._family.has_variance:
            return NO_VARIANCE
        variance = (sums.squared_residuals + change) / sums.weight
        return np.maximum(variance, np.finfo(float).tiny)

    def _uses_bound(self, bounded: bool) -> bool:
        return bounded and self._family.curvature_bound is not None

    def _curvature(
        self, parameters: Parameters, statistics: Statistics, d: int, *, bounded: bool
    ) -> Array:
        """Return the negative Hessian of output d at dispersion 1, a bound on it, or an estimate.

        Raises
        ------
        ValueError
            If the engine returns means only and the family has no bound on its curvature.
        """
        bound, n_inputs = self._family.curvature_bound, self.n_inputs
        layer = statistics.hidden[-1]
        if self._kind == "means":
            if bound is None:
                raise ValueError(
                    f"family={self._family.name!r} has no bound on its curvature. An engine whose "
                    "statistics are 'means' can train it with m_step='gradient' or solver='lbfgs'."
                )
            return bound * moments_bound(layer.posterior, layer.weights, n_inputs)
        if self._kind == "estimates":
            weights = layer.weights * self._family.curvature_at(self._targets[:, d])
            return independent_moments(layer.posterior, weights, n_inputs)
        weights = statistics.expected_counts()[0]
        if self._uses_bound(bounded):
            weights = bound * weights
        else:
            weights = weights * self._family.curvature(self._eta(parameters.output, d))
        return second_moments(weights)[:n_inputs, :n_inputs]

    def _eta(self, weights: Array, d: int) -> Array:
        """Return the natural parameter of output d in every configuration, (n_high, n_low)."""
        coefs, intercepts = split_intercepts(weights[:, d : d + 1], self._shape.last)
        high, low = half_sums(coefs, intercepts, n_low_bits(self._shape.last))
        return high[0][:, None] + low[0]

    def _damped(
        self, parameters: Parameters, gradient: Array, totals: Array, d: int, step: Array
    ) -> Array:
        """Return the step of output d, halved until its part of Q does not fall; else zero.

        ``gradient`` (n_inputs,) is that of the likelihood; ``totals`` are the weights of
        configurations.
        """
        weights, dispersion = parameters.output, parameters.dispersion[d]
        eta, family = self._eta(weights, d), self._family
        means = totals * family.mean(eta)
        moments = first_moments(means.sum(axis=1)[None], means.sum(axis=0)[None])
        moments = moments[: self.n_inputs, 0] + dispersion * gradient

        def objective(v: Array, eta: Array) -> float:
            likelihood = v @ moments - np.sum(totals * family.log_partition(eta))
            return likelihood / dispersion - 0.5 * np.sum(self.penalty * v * v)

        floor = floor_of(objective(weights[:, d], eta))
        for halvings in range(MAX_HALVINGS):
            shorter = 0.5**halvings * step
            new = weights.copy()
            # a step may overflow: its objective is not finite then, and the step is halved
            with np.errstate(over="ignore", invalid="ignore"):
                new[:, d] += shorter
                if objective(new[:, d], self._eta(new, d)) >= floor:
                    return shorter
        return np.zeros_like(step)
