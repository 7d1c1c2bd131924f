"""Bound M-step: the maximum of a quadratic below Q whose curvature is fixed."""

from scipy.linalg import cho_solve

from fastem.expectations import HiddenStatistics, LayerSums, Statistics, Sums
from fastem.m_step.base import Parts, buffers_of_parts
from fastem.m_step.output_bounds import OUTPUT_BOUNDS
from fastem.m_step.parts import (
    HiddenPart,
    independent_moments,
    layer_rows,
    output_sums,
    regular_factor,
)
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import Shapes

Factor = tuple[Array, bool]


class Bound:
    """Steps under a fixed bound on the curvature: monotone without any search.

    The units of a hidden layer share the bound ``X' diag(w) X / 4``. For the first layer it is
    factorised once per fit. The bound of the output layer depends on the kind of the engine's
    statistics; see `fastem.m_step.output_bounds`.

    References
    ----------
    Boehning and Lindsay (1988), Monotonicity of quadratic-approximation algorithms.
    """

    def __init__(self, parts: Parts, learning_rate: float = 0.0) -> None:
        self._parts = parts
        self._first_factor: Factor | None = None
        self.output = OUTPUT_BOUNDS[parts.kind](parts) if parts.has_classes else None

    @classmethod
    def buffers(
        cls, shape: Shape, n_samples: int, kind: str, n_threads: int, *, is_sparse: bool = False
    ) -> list[Shapes]:
        """Declare the memory of a step: weighted rows, and curvatures of ``p**2`` numbers."""
        rows = layer_rows(shape, 0 if is_sparse else n_samples, kind)
        largest = max(p for p, _ in shape.hidden_shapes)
        weighted = max(n * p for n, (p, _) in zip(rows, shape.hidden_shapes, strict=True))
        own = {"weighted_rows": (weighted,), "curvatures": (4, largest, largest)}
        if shape.depth > 1 and kind != "counts":
            own["posteriors"] = (2, n_samples, max(shape.hidden_layer_sizes) + 1)
        parts = buffers_of_parts(shape, n_samples, kind, n_threads, is_sparse=is_sparse)
        declared = [*parts, own]
        if shape.has_classes:
            declared.append(OUTPUT_BOUNDS[kind].buffers(shape, n_samples))
        return declared

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        is_first = self._first_factor is None
        sums = self.summarise(parameters, statistics, with_first_moments=is_first)
        return self.step(parameters, sums)

    def summarise(
        self, parameters: Parameters, statistics: Statistics, *, with_first_moments: bool
    ) -> Sums:
        """Return the sums over the rows of an E-step.

        The moments of the inputs of the first layer do not change from step to step.
        """
        (first, *upper), parts = statistics.hidden, self._parts.hidden
        moments = parts[0].second_moments(first) if with_first_moments else None
        hidden = LayerSums(first.gradient, moments), *map(_layer_sums, parts[1:], upper)
        if self.output is None:
            output = self._parts.output.sums(parameters, statistics, bounded=True)
        else:
            output = output_sums(statistics, self.output.moments(statistics))
        return Sums(statistics.total_log_likelihood(), hidden, output)

    def step(self, parameters: Parameters, sums: Sums) -> Parameters:
        """Return the parameters after the step, from the sums over all rows."""
        layers = zip(self._parts.hidden, parameters.hidden, sums.hidden, strict=True)
        hidden = tuple(self._step_hidden(*layer) for layer in layers)
        if self.output is not None:
            return Parameters(hidden, self.output.step(parameters.output, sums.output))
        return Parameters(hidden, *self._parts.output.step(parameters, sums.output))

    def step_hidden(self, part: HiddenPart, weights: Array, layer: HiddenStatistics) -> Array:
        """Return the weights of a hidden layer after the step."""
        if part is self._parts.hidden[0] and self._first_factor is not None:
            return self._step_hidden(part, weights, LayerSums(layer.gradient, None))
        return self._step_hidden(part, weights, _layer_sums(part, layer))

    def step_output(self, weights: Array, statistics: Statistics) -> Array:
        """Return the weights of the output layer for classes after the step."""
        return self.output.step(weights, output_sums(statistics, self.output.moments(statistics)))

    def _step_hidden(self, part: HiddenPart, weights: Array, sums: LayerSums) -> Array:
        if part is self._parts.hidden[0]:
            if self._first_factor is None:
                self._first_factor = _factor(part, sums)
            factor = self._first_factor
        else:
            factor = _factor(part, sums)  # the weights of configurations change
        return weights + cho_solve(factor, part.gradient(weights, sums))


def _layer_sums(part: HiddenPart, layer: HiddenStatistics) -> LayerSums:
    if layer.inputs is None:
        n_inputs = len(layer.gradient)
        moments = independent_moments(layer.input_posterior, layer.weights, n_inputs)
    else:
        moments = part.second_moments(layer)
    return LayerSums(layer.gradient, moments)


def _factor(part: HiddenPart, sums: LayerSums) -> Factor:
    """Return the bound on the curvature that the units of a layer share, factorised."""
    return regular_factor(sums.moments / 4.0, part.penalty)
