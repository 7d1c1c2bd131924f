"""Second derivatives for any exact engine: extrapolated differences of the exact gradient."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from fastem.engines import EnumerationPlan, Plan
from fastem.oracle.flat_vectors import flat_gradient, split_vector
from fastem.parameters import Array, Parameters, Shape

# First step, as a change of log p(y, z | x) in nats. The poles of a sigmoid have the distance pi.
_LARGEST_STEP = 0.25
_MOST_STEPS = 10
_TOLERANCE = 1e-12
_FAIR = 1e-6  # a larger estimated error, relative to the result, is not due to rounding


def gradient_slope(
    plan: Plan, inputs: Array, shape: Shape, parameters: Parameters, vector: Array
) -> Array:
    """Return the derivative of the gradient along a vector, (n_parameters,), by differences.

    Parameters
    ----------
    plan : Plan
        Of an exact engine.
    inputs : array (n_samples, n_inputs)
        Of the rows of the plan.
    shape : Shape
    parameters : Parameters
    vector : array (n_parameters,)
    """
    speed = _largest_speed(inputs, parameters, split_vector(vector, shape))
    if speed == 0.0:  # no row depends on these parameters
        return np.zeros(shape.n_parameters)
    point = parameters.flat

    def gradient(step: float) -> Array:
        moved = split_vector(point + (step / speed) * vector, shape)
        return flat_gradient(plan.expect(moved), moved.variance)

    with _in_double_precision(plan):
        return speed * differences(gradient, _LARGEST_STEP)


@contextmanager
def _in_double_precision(plan: Plan) -> Iterator[None]:
    """Let enumeration sum in float64: differences magnify errors of rounding."""
    is_single = isinstance(plan, EnumerationPlan) and plan.is_single
    if is_single:
        plan.is_single = False
    try:
        yield
    finally:
        if is_single:
            plan.is_single = True


def differences(function: Callable[[float], Array], largest_step: float) -> Array:
    """Return the derivative at zero of an array that depends on one number, by differences.

    Central differences with steps h, h / 2, h / 4, ... are extrapolated: their errors are a series
    in ``h**2`` (Romberg, Ridders). Of all extrapolated values the one with the smallest estimated
    error is returned.

    Parameters
    ----------
    function : callable
        Takes a number and returns an array. It is called twice for every step.
    largest_step : float
        The first step h.

    Notes
    -----
    Steps are halved until the estimated error is at most `_TOLERANCE` times the largest entry, or
    grows because of rounding, but at most `_MOST_STEPS` times.
    """
    best, least = None, np.inf
    previous: list[Array] = []
    for level in range(_MOST_STEPS):
        step = largest_step / 2**level
        row = [(function(step) - function(-step)) / (2.0 * step)]
        smallest = np.inf
        for place, coarse in enumerate(previous):
            factor, fine = 4.0 ** (place + 1), row[-1]
            row.append((factor * fine - coarse) / (factor - 1.0))
            error = max(np.abs(row[-1] - fine).max(), np.abs(row[-1] - coarse).max())
            smallest = min(smallest, error)
            if error < least or best is None:
                best, least = row[-1], error
        previous = row
        if best is not None:
            size = np.abs(best).max()
            is_rounding = level >= 3 and smallest > 4.0 * least and least < _FAIR * size
            if least <= _TOLERANCE * size or is_rounding:
                break
    return best


def _largest_speed(inputs: Array, parameters: Parameters, direction: Parameters) -> float:
    """Return the largest change of ``log p(y, z | x)`` per unit of step, apart from residuals.

    Natural parameters are divided by the standard deviation of the noise, and changes of a
    variance by the variance.
    """
    total = np.abs(inputs @ direction.hidden[0]).sum(axis=1).max(initial=0.0)
    for weights in direction.hidden[1:]:
        total += np.abs(weights).sum()
    total += (np.abs(direction.output).sum(axis=0) / np.sqrt(parameters.dispersion)).max()
    if len(parameters.variance) > 0:
        total += np.abs(direction.variance / parameters.variance).max()
    return float(total)
