"""The part of Q of a first hidden layer whose inputs are sparse features."""

import numpy as np

from fastem.expectations import HiddenStatistics
from fastem.m_step.parts import HiddenPart
from fastem.parameters import Array
from fastem.runtime import Shapes


class SparseHiddenPart(HiddenPart):
    """A logistic regression per unit on sparse features.

    The objective is evaluated on the log-odds, one sparse product. A Hessian costs a multiplication
    for every pair of entries of a row.
    """

    @staticmethod
    def buffers(n_rows: int, n_inputs: int, n_hidden: int, n_threads: int) -> Shapes:
        """Declare the memory of `HiddenPart`, and the log-odds."""
        declared = HiddenPart.buffers(n_rows, n_inputs, n_hidden, n_threads)
        return {**declared, "log_odds": (n_rows, n_hidden)}

    def _regressors(self, weights: Array, layer: HiddenStatistics) -> tuple[Array, Array]:
        """Return the log-odds as inputs, and identity weights."""
        log_odds = np.empty((len(layer.weights), weights.shape[1]))
        layer.inputs.fill_product(weights, self._n_threads, log_odds)
        return log_odds, np.eye(weights.shape[1])

    def fill_hessian(
        self, layer: HiddenStatistics, unit: int, workspace: Array, hessian: Array
    ) -> None:
        """Fill the negative Hessian of a unit without its penalty, (n_inputs, n_inputs)."""
        on = layer.probability[unit]
        layer.inputs.fill_second_moments(layer.weights * (on * (1.0 - on)), hessian)

    def second_moments(self, layer: HiddenStatistics) -> Array:
        """Return the weighted second moments of the inputs, (n_inputs, n_inputs)."""
        n_inputs = layer.inputs.shape[1]
        moments = np.empty((n_inputs, n_inputs))
        layer.inputs.fill_second_moments(layer.weights, moments)
        return moments
