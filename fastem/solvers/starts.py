"""Random starting values.

They do not depend on single rows, and so neither on the order nor on the number of the rows. A fit
with a row of weight 2 and a fit with that row repeated therefore have the same start and the same
result.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import doing
from fastem.solvers.network import Network

# Standard deviations of the hidden log-odds and of the output weights. Large values lead to better
# optima than small ones (measured on iris, wine, breast cancer and digits by
# benches/choose_defaults.py).
_LOG_ODDS_DEVIATION = 2.0
_OUTPUT_DEVIATION = 4.0
_VARIANCE = 0.5

_ITERATIONS_PER_FLOOR = 20
_TOL = 1e-5
# With more units than this, the spread of the outputs is that of 16 units. Quadrature needs nodes
# in proportion to the spread, and the optima are as good (breast cancer with 64 units, moons with
# 100).
_MOST_UNITS_AT_FULL_DEVIATION = 16

FLOORS_OF_STARTS = 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08
"""Lower bounds of noise variances, as shares of the variance of y, under which starting values are
improved, one after the other."""


def draw_start(shape: Shape, typical: Array, random_state: np.random.RandomState) -> Parameters:
    """Draw starting values for standardised features.

    Hidden log-odds have standard deviation 2 over rows, or over the states of the layer below if
    each of its units is on with probability 1/2. Output weights have standard deviation 4 and mean
    zero over classes; for other families, the standard deviation ``start_deviation``. The output
    intercepts give the outputs their frequencies or means if every hidden unit has the value 1/2.
    With more than 16 units in the last layer, output weights are smaller: the outputs have the
    spread of 16 units. Noise variances are half those of standardised outputs.

    Parameters
    ----------
    shape : Shape
    typical : array (n_outputs,)
        Total weight of the rows of each class, or the mean of each output.
    random_state : RandomState

    Returns
    -------
    parameters : Parameters
    """
    hidden = []
    for layer, (n_inputs, n_hidden) in enumerate(shape.hidden_shapes):
        n_below = n_inputs - shape.fit_intercept
        deviation = 1.0 if layer == 0 else 0.5  # standard deviation of an input
        spread = _LOG_ODDS_DEVIATION / (deviation * np.sqrt(n_below))
        weights = np.zeros((n_inputs, n_hidden))
        weights[:n_below] = spread * random_state.standard_normal((n_below, n_hidden))
        if shape.fit_intercept and layer > 0:
            weights[-1] = -0.5 * weights[:n_below].sum(axis=0)  # zero where all inputs are 1/2
        hidden.append(weights)
    crowding = min(1.0, _MOST_UNITS_AT_FULL_DEVIATION / shape.last)
    output = (
        (_OUTPUT_DEVIATION if shape.has_classes else shape.family.start_deviation)
        * np.sqrt(crowding)
        * random_state.standard_normal((shape.last, shape.n_outputs))
    )
    if shape.has_classes:
        output -= output.mean(axis=1, keepdims=True)
    if shape.fit_intercept:
        output = np.vstack([output, _centre(shape, typical) - 0.5 * output.sum(axis=0)])
    variance = np.full(shape.n_variances, _VARIANCE)
    return Parameters(tuple(hidden), output, variance)


def _centre(shape: Shape, typical: Array) -> Array:
    """Return the natural parameters of the frequencies of the classes, or of the means."""
    if not shape.has_classes:
        return shape.family.natural_parameter(typical)
    # a class without weight keeps a finite intercept
    return np.log(np.maximum(typical / typical.sum(), 1e-6))


def settle(
    network: Network,
    parameters: Parameters,
    run: Callable[[Array, float, int], tuple[Array, bool]],
    floors: Iterable[float],
) -> Iterator[tuple[float, Parameters]]:
    """Improve starting values by short runs under falling lower bounds of the noise variance.

    With little noise the posterior of the hidden units hardly changes from one iteration to the
    next, and EM stays near its start. Starts that settle under much noise first end in better
    optima (measured on the tables for choices of benches/regression_tables.py).

    Parameters
    ----------
    network : Network
        Its lower bound of the variance is changed, and restored at the end.
    parameters : Parameters
    run : callable
        Takes starting values, a relative tolerance and a number of iterations. It returns the last
        iterate, and whether the user interrupted the run.
    floors : iterable of float
        Lower bounds, from the largest to the smallest.

    Yields
    ------
    floor : float
    parameters : Parameters
        After the run under this bound.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts a run.
    """
    last = network.shape.variance_floor
    for floor in floors:
        network.set_variance_floor(floor)
        with doing(f"noise variance at least {floor:g}"):
            theta, interrupted = run(network.shape.pack(parameters), _TOL, _ITERATIONS_PER_FLOOR)
        if interrupted:
            raise KeyboardInterrupt
        parameters = network.shape.unpack(theta)
        yield floor, parameters
    network.set_variance_floor(last)
