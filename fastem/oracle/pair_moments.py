"""Second moments of hidden units under the posterior: by enumeration, and by any exact engine.

``E[z_h z_k | x, y] = P(z_h = 1 | x, y) P(z_k = 1 | x, y, z_h = 1)``. The last factor is the
posterior of a smaller network: without unit h, and with the weights of this unit added to the
intercepts of the layer above.
"""

from collections.abc import Iterator

import numpy as np

from fastem.engines import Engine
from fastem.expectations import Statistics
from fastem.oracle.moments import MOST_CHUNKS, Enumerated, Tile
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows


def pair_moments(
    rows: TrainingRows, shape: Shape, parameters: Parameters, summed: bool, n_threads: int
) -> Array:
    """Return ``E[z_h z_k | x, y]`` by enumeration.

    Returns
    -------
    moments : array (n_samples, n_hidden, n_hidden) or (n_hidden, n_hidden), probability
        In the order of the rows, or summed by weight.
    """
    m, source = shape.first, Enumerated(rows, shape, parameters, n_threads)
    out = np.zeros((MOST_CHUNKS if summed else len(rows.weights), m, m))

    def fill(tile: Tile, chunk: int) -> None:
        moments = np.minimum(tile.second_moments()[0, :m, :m], 1.0)
        if summed:
            out[chunk] += moments @ tile.weights
        else:
            out[tile.start : tile.stop] = moments.transpose(2, 0, 1)

    source.run(fill, 2.0 + m / 4)
    return out.sum(axis=0) if summed else out


def without_unit(parameters: Parameters, shape: Shape, h: int) -> tuple[Parameters, Shape]:
    """Return the network in which unit h of the first hidden layer is always on.

    Parameters
    ----------
    parameters : Parameters
    shape : Shape
        With intercepts, and with at least two units in the first hidden layer.
    h : int

    Returns
    -------
    parameters, shape
        Of the network without this unit.
    """
    first, *layers = *parameters.hidden, parameters.output
    above = layers[0]
    rest = np.delete(above, h, axis=0)
    rest[-1] += above[h]
    hidden = (np.ascontiguousarray(np.delete(first, h, axis=1)), rest, *layers[1:])
    sizes = shape.first - 1, *shape.hidden_layer_sizes[1:]
    smaller = Parameters(hidden[:-1], hidden[-1], parameters.variance)
    return smaller, shape._replace(hidden_layer_sizes=sizes)


def joint_probabilities(
    engine: Engine,
    rows: TrainingRows,
    parameters: Parameters,
    shape: Shape,
    statistics: Statistics,
    n_threads: int,
) -> Iterator[Array]:
    """Yield, for every unit h, P(z_h = 1, z_k = 1 | x, y) of all units k, (n_hidden, n_samples).

    The results for (h, k) and for (k, h) differ by the error of the engine.

    Parameters
    ----------
    engine : Engine
        An exact one. Its plan runs one E-step per unit, on ``n_hidden - 1`` units.
    rows : TrainingRows
    parameters : Parameters
    shape : Shape
    statistics : Statistics
        Of an E-step of this network.
    n_threads : int
    """
    m = shape.first
    posterior = statistics.hidden[0].posterior.copy()
    if m == 1:
        yield posterior
        return
    plan = engine.plan(rows, without_unit(parameters, shape, 0)[1], n_threads)
    joint = np.empty_like(posterior)
    for h in range(m):
        given_h = plan.expect(without_unit(parameters, shape, h)[0]).hidden[0].posterior
        others = np.arange(m) != h
        joint[others] = posterior[h] * given_h
        joint[h] = posterior[h]
        yield joint
