"""The layers above the first: their rows are the configurations of the first layer, per class."""

import numpy as np

from fastem.engines import configuration_inputs
from fastem.oracle.moments import Enumerated, Tile, tables_in_use
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import Shapes, n_low_bits


def network_above(shape: Shape, parameters: Parameters) -> tuple[TrainingRows, Shape, Parameters]:
    """Return the network above the first layer, and its rows: all configurations for class 0, ...

    Parameters
    ----------
    shape : Shape
        With classes, with intercepts, and with at least two hidden layers.
    parameters : Parameters
    """
    m, g = shape.first, shape.n_outputs
    inputs = np.tile(configuration_inputs(m), (g, 1))
    starts = 2**m * np.arange(g + 1)
    rows = TrainingRows(inputs, np.ones(len(inputs)), starts, np.arange(len(inputs)))
    above = shape._replace(n_features=m, hidden_layer_sizes=shape.hidden_layer_sizes[1:])
    return rows, above, Parameters(parameters.hidden[1:], parameters.output)


def functions_above(values: Array, shape: Shape) -> Array:
    """Return values of the rows of `network_above` as functions of the configuration.

    Parameters
    ----------
    values : array (n_functions, n_classes * 2**m)
    shape : Shape
        Of the whole network.

    Returns
    -------
    functions : array (n_classes, n_functions, n_high, n_low)
    """
    by_class = values.reshape(len(values), shape.n_outputs, -1).swapaxes(0, 1)
    n_low = 2 ** n_low_bits(shape.first)
    return np.ascontiguousarray(by_class).reshape(*by_class.shape[:2], -1, n_low)


def buffers_above(shape: Shape, n_tables: int, n_functions: int, n_threads: int) -> list[Shapes]:
    """Declare the memory of all networks above the first layer, and of functions of their rows."""
    declared, g = [], shape.n_outputs
    for layer in range(1, shape.depth):
        m, *above = shape.hidden_layer_sizes[layer - 1 :]
        upper = shape._replace(n_features=m, hidden_layer_sizes=tuple(above))
        declared.append({"above": (2, g, 2**m, n_functions), "inputs": (2, g, 2**m, m + 1)})
        declared += tables_in_use(upper, g * 2**m, n_tables, n_threads)
    return declared


def posteriors_of_layers(
    rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
) -> list[Array]:
    """Return P(Z = 1 | x, y) (n_hidden, n_samples) of every hidden layer, by enumeration.

    ``P(Z_h = 1 | x, y)`` of a unit of a later layer is the posterior expectation of
    ``P(Z_h = 1 | s, y)`` over the configurations s of the first layer.

    Cost: ``4 n 2**m`` flops in matrix products for the first layer of m units, and
    ``2 n_hidden n 2**m`` for each later layer of n_hidden units, beside that of the network above,
    whose rows are ``g 2**m``.

    Raises
    ------
    FloatingPointError
        If inputs times weights overflow.
    """
    functions = []
    if shape.depth > 1:
        above = posteriors_of_layers(*network_above(shape, parameters), n_threads)
        functions = [functions_above(posterior, shape) for posterior in above]
    source = Enumerated(rows, shape, parameters, n_threads)
    found = [np.empty((m, len(rows.weights))) for m in shape.hidden_layer_sizes]

    def fill(tile: Tile, chunk: int) -> None:
        own = slice(tile.start, tile.stop)
        np.minimum(tile.first_moments()[0, : shape.first], 1.0, out=found[0][:, own])
        for posterior, function in zip(found[1:], functions, strict=True):
            np.minimum(tile.means(function[tile.group]), 1.0, out=posterior[:, own])

    source.run(fill, 2.0 + sum(shape.hidden_layer_sizes[1:]))
    return found
