"""Gradient M-step: a step along the gradients of Q with a given rate."""

from fastem.expectations import Statistics
from fastem.m_step.base import MStep
from fastem.parameters import Parameters


class Gradient(MStep):
    """One gradient step of a given rate on the summed Q.

    A rate too large for Q can still raise the likelihood, and does in practice, so Q is
    not asked here: the loop halves the step where the objective itself would fall.

    References
    ----------
    Eqs. 12 and 15 of the slides "EM Algorithm to Train Neural Networks", after Ng and
    McLachlan (2004), IEEE Transactions on Neural Networks 15(3).
    """

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        joined = self.output.join(parameters)
        joined = joined + self.learning_rate * self.output.gradient(joined, statistics)
        hidden = [
            weights + self.learning_rate * part.gradient(weights, layer)
            for part, weights, layer in self.layers(parameters, statistics)
        ]
        return Parameters(tuple(hidden), *self.output.split(joined))
