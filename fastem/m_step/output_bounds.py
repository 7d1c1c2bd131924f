"""Steps of the output layer for classes under a fixed curvature, one for each kind of statistics.

`fastem.m_step.independent_outputs` has the steps of the other families.
There are three kinds of statistics of the hidden states given the labels: counts of every class in
every configuration, posterior means of single units, and estimates of those means. The `Bound`
M-step selects the step for the kind of its engine once, when it is built.
"""

from itertools import pairwise

import numpy as np
from scipy.linalg import cho_solve

from fastem.expectations import OutputSums, Statistics
from fastem.m_step.base import Parts
from fastem.m_step.parts import independent_moments, regular_factor
from fastem.parameters import Array, Shape
from fastem.runtime import Shapes
from fastem.tables import second_moments

# Smallest share of a class. It keeps the weights of a class without rows finite.
_SMALLEST_SHARE = 1e-3


class BoundFromCounts:
    """Step under the bound ``(I - 11'/g) / 2`` times the second moments of the bits.

    Along ``11'``, a shift that is common to all classes, only the penalty has curvature. There the
    step is exact.

    References
    ----------
    Boehning (1992), Multinomial logistic regression algorithm.
    """

    def __init__(self, parts: Parts) -> None:
        self._part = parts.output

    @staticmethod
    def buffers(shape: Shape, n_samples: int) -> Shapes:
        """Declare the memory of a step."""
        n_inputs = shape.last + 1
        return {"moments": (4, n_inputs, n_inputs)}

    def moments(self, statistics: Statistics) -> tuple[Array]:
        """Return ``sum_s N(s) z z'``, the last entry of z a one, (n_inputs, n_inputs)."""
        n_inputs = self._part.n_inputs
        return (second_moments(statistics.expected_counts().sum(axis=0))[:n_inputs, :n_inputs],)

    def step(self, weights: Array, sums: OutputSums) -> Array:
        """Return the weights after the step, (n_inputs, n_classes)."""
        penalty, (moments,) = self._part.penalty, sums.moments
        gradient = self._part.gradient(weights, sums)
        factor = regular_factor(0.5 * moments, penalty)
        step = cho_solve(factor, gradient - gradient.mean(axis=1, keepdims=True))
        # the optimum of a shift that is common to all classes is zero
        penalised = penalty > 0.0
        step[penalised] -= weights[penalised].mean(axis=1, keepdims=True)
        return weights + step


class BoundFromMeans:
    """Step under a diagonal bound that needs the posterior means of the units only.

    ``(sum_h z_h d_h)**2 <= (m + 1) sum_h z_h d_h**2`` for bits z with a one at the end. The
    second moments are therefore below ``m + 1`` times the diagonal of the means.
    """

    def __init__(self, parts: Parts) -> None:
        self._part = parts.output

    @staticmethod
    def buffers(shape: Shape, n_samples: int) -> Shapes:
        """Declare the memory of a step."""
        return {"curvature": (2, shape.last + 1)}

    def moments(self, statistics: Statistics) -> tuple[Array]:
        """Return the expected weights of the states in which a unit is on, and of all, (m + 1,)."""
        layer = statistics.hidden[-1]
        return (np.append(layer.posterior @ layer.weights, layer.weights.sum()),)

    def step(self, weights: Array, sums: OutputSums) -> Array:
        """Return the weights after the step, (n_inputs, n_classes)."""
        (means,) = sums.moments
        curvature = 0.5 * len(means) * means[: self._part.n_inputs] + self._part.penalty
        gradient = self._part.gradient(weights, sums)
        return weights + gradient / (curvature[:, None] + np.finfo(float).tiny)


class StepFromEstimates:
    """Step for each class by itself, from second moments estimated from posterior means.

    The curvature ``sum_s N(s) (diag(o) - o o') (x) z z'`` is below its first part, which has a
    block ``sum_s N(s) o_k(s) z z'`` for each class. In the states of a row, P(y = k | s) lies
    between two values: the share of the class, if all output weights are zero, and the indicator
    of the row's label, if the network is certain. The mean of both is used. It is not a bound: a
    step on estimates may lower the likelihood in any case.
    """

    def __init__(self, parts: Parts) -> None:
        self._part, self._class_starts = parts.output, parts.class_starts

    @staticmethod
    def buffers(shape: Shape, n_samples: int) -> Shapes:
        """Declare the memory of a step."""
        n_inputs = shape.last + 1
        return {"moments": (4, n_inputs, n_inputs), "means": (2, n_samples, n_inputs)}

    def moments(self, statistics: Statistics) -> tuple[Array, Array, Array]:
        """Return second moments (n_inputs, n_inputs) of all rows, those and weights of classes."""
        layer, n_inputs = statistics.hidden[-1], self._part.n_inputs
        rows = [slice(*bounds) for bounds in pairwise(self._class_starts)]
        own = [
            independent_moments(layer.posterior[:, kept], layer.weights[kept], n_inputs)
            for kept in rows
        ]
        weights = [layer.weights[kept].sum() for kept in rows]
        all_rows = independent_moments(layer.posterior, layer.weights, n_inputs)
        return all_rows, np.array(own), np.array(weights)

    def step(self, weights: Array, sums: OutputSums) -> Array:
        """Return the weights after the step, (n_inputs, n_classes)."""
        gradient = self._part.gradient(weights, sums)
        all_rows, own, class_weights = sums.moments
        step = np.empty_like(gradient)
        for k, moments in enumerate(own):
            share = max(class_weights[k] / sums.weight, _SMALLEST_SHARE)
            factor = regular_factor(0.5 * (moments + share * all_rows), self._part.penalty)
            step[:, k] = cho_solve(factor, gradient[:, k])
        return weights + step


OUTPUT_BOUNDS = {
    "counts": BoundFromCounts,
    "means": BoundFromMeans,
    "estimates": StepFromEstimates,
}
"""Steps of the output layer by the kind of statistics; see `fastem.engines.Engine`."""
