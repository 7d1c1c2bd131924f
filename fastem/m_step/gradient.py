"""Gradient M-step: a step along the gradient of Q with a given rate."""

from fastem.expectations import LayerSums, Statistics, Sums
from fastem.m_step.base import Parts, buffers_of_parts
from fastem.m_step.parts import output_sums
from fastem.parameters import Parameters, Shape
from fastem.runtime import Shapes


class Gradient:
    """One gradient step of a given rate on the summed Q.

    A rate that is too large for Q can still raise the likelihood, and often does. Therefore Q
    is not checked here: the EM loop halves the step if the objective itself falls.

    References
    ----------
    Eqs. 12 and 15 of the slides "EM Algorithm to Train Neural Networks", after Ng and
    McLachlan (2004), IEEE Transactions on Neural Networks 15(3).
    """

    def __init__(self, parts: Parts, learning_rate: float) -> None:
        self._parts = parts
        self._rate = learning_rate

    @classmethod
    def buffers(
        cls, shape: Shape, n_samples: int, kind: str, n_threads: int, *, is_sparse: bool = False
    ) -> list[Shapes]:
        """Declare the memory of a step beside that of the E-step."""
        return buffers_of_parts(shape, n_samples, kind, n_threads, is_sparse=is_sparse)

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        sums = self.summarise(parameters, statistics, with_first_moments=False)
        return self.step(parameters, sums)

    def summarise(
        self, parameters: Parameters, statistics: Statistics, *, with_first_moments: bool
    ) -> Sums:
        """Return the sums over the rows of an E-step."""
        hidden = tuple(LayerSums(layer.gradient, None) for layer in statistics.hidden)
        return Sums(statistics.total_log_likelihood(), hidden, output_sums(statistics))

    def step(self, parameters: Parameters, sums: Sums) -> Parameters:
        """Return the parameters after the step, from the sums over all rows."""
        layers = zip(self._parts.hidden, parameters.hidden, sums.hidden, strict=True)
        hidden = tuple(
            weights + self._rate * part.gradient(weights, layer) for part, weights, layer in layers
        )
        part = self._parts.output
        if not self._parts.has_classes:
            return Parameters(hidden, *part.gradient_step(parameters, sums.output, self._rate))
        gradient = part.gradient(parameters.output, sums.output)
        return Parameters(hidden, parameters.output + self._rate * gradient)
