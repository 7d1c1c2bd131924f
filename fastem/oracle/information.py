"""The Hessian of the weighted total log-likelihood.

For one hidden layer, by enumeration. By Louis' identity, the Hessian is the expected Hessian of
``log p(y, z | x)`` plus the covariance of its gradient, under the posterior of every row. For
families other than classes, residuals can be so large that the covariance loses digits: there the
columns of output weights and variances are products with unit vectors.
"""

import numpy as np

from fastem.oracle.flat_vectors import split_vector
from fastem.oracle.hessian_products import product_of
from fastem.oracle.moments import (
    MOST_CHUNKS,
    Enumerated,
    Tile,
    tables_in_use,
)
from fastem.oracle.scores import ClassScores
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import bytes_of, check_memory
from fastem.tables import second_moments


def exact_hessian(
    rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
) -> Array:
    """Return the Hessian of the weighted total log-likelihood, (n_parameters, n_parameters).

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
        With one hidden layer.
    parameters : Parameters
    n_threads : int
    """
    size, g = shape.n_parameters, shape.n_outputs
    declared = {
        "sums": (MOST_CHUNKS + 2, size, size),
        "counts": (MOST_CHUNKS + 1, g, 2**shape.first),
    }
    check_memory(
        f"The information of {size} parameters",
        "in all",
        "Use hessian_product, which needs no matrix.",
        bytes_of(declared, *tables_in_use(shape, len(rows.weights), 4 + 2 * g, n_threads)),
    )
    source = Enumerated(rows, shape, parameters, n_threads)
    hessian = _of_classes(source) if shape.has_classes else _of_family(source)
    start = shape.n_inputs * shape.first
    hessian[start:, :start] = hessian[:start, start:].T
    return 0.5 * hessian + 0.5 * hessian.T


def _of_family(source: Enumerated) -> Array:
    """Return the Hessian; its lower left block is left to the caller, who copies the other."""
    shape, size = source.shape, source.shape.n_parameters
    start = shape.n_inputs * shape.first
    sums = np.zeros((MOST_CHUNKS, start, start))

    def add(tile: Tile, chunk: int) -> None:
        sums[chunk] += _hidden_block(tile, tile.second_moments()[0])

    source.run(add, 2.0 + shape.first / 4)
    hessian = np.empty((size, size))
    hessian[:start, :start] = sums.sum(axis=0)
    for column, unit in enumerate(np.eye(size)[start:], start):
        hessian[:, column] = product_of(source, split_vector(unit, shape))
    return hessian


def _of_classes(source: Enumerated) -> Array:
    """Return the Hessian; its lower left block is left to the caller, who copies the other."""
    shape, scores, m = source.shape, ClassScores(source), source.shape.first
    start, size = shape.n_inputs * m, shape.n_parameters
    sums = np.zeros((MOST_CHUNKS, size, size))
    counts = np.zeros((MOST_CHUNKS, *source.table.values.shape))

    def add(tile: Tile, chunk: int) -> None:
        hessian = sums[chunk]
        second = tile.second_moments(scores.factors(tile.group))
        hessian[:start, :start] += _hidden_block(tile, second[0])
        residuals = scores.residuals(tile.group, second)
        joint, mean = _by_weight(residuals[:, :m]), _by_weight(residuals[:, m:])[0]
        hessian[:start, start:] += _cross_block(tile, second[0, :m, m], joint, mean)
        hessian[start:, start:] -= (mean * tile.weights) @ mean.T
        counts[chunk, tile.group] += tile.counts()

    source.run(add, shape.n_outputs * (2.0 + m / 4) + 1.0)
    hessian = sums.sum(axis=0)
    hessian[start:, start:] += _class_block(source, counts.sum(axis=0))
    return hessian


def _by_weight(residuals: Array) -> Array:
    """Return moments (n_outputs, a, n_units, n_rows) in the order of weights, (a, -1, n_rows)."""
    n_outputs, n_first, n_units, n_rows = residuals.shape
    return residuals.transpose(1, 2, 0, 3).reshape(n_first, n_units * n_outputs, n_rows)


def _hidden_block(tile: Tile, second: Array) -> Array:
    """Return the block of hidden weights, given ``E[(z, 1) (z, 1)']`` of the rows."""
    X, u = tile.inputs, tile.probability
    (n_rows, n_inputs), m = X.shape, len(u)
    posterior = second[:m, m]
    covariance = second[:m, :m] - posterior[:, None] * posterior
    units = np.arange(m)
    covariance[units, units] = posterior * (1.0 - posterior) - u * (1.0 - u)
    covariance *= tile.weights
    block = np.empty((n_inputs, m, n_inputs, m))
    for h in range(m):
        scaled = covariance[h].T[:, None, :] * X[:, :, None]
        block[:, h] = (X.T @ scaled.reshape(n_rows, -1)).reshape(n_inputs, n_inputs, m)
    return block.reshape(n_inputs * m, -1)


def _cross_block(tile: Tile, posterior: Array, joint: Array, mean: Array) -> Array:
    """Return ``sum_i w_i x_i Cov(z_h, f)`` for every unit h and every f.

    Parameters
    ----------
    tile : Tile
    posterior : array (n_hidden, n_rows), probability
    joint : array (n_hidden, n_functions, n_rows)
        ``E[z_h f]``.
    mean : array (n_functions, n_rows)
    """
    covariance = tile.weights * (joint - posterior[:, None] * mean)
    n_functions, n_rows = mean.shape
    product = tile.inputs.T @ covariance.reshape(-1, n_rows).T
    return product.reshape(-1, n_functions)


def _class_block(source: Enumerated, counts: Array) -> Array:
    """Return ``sum_i w_i E[dd' log P(y_i | z) + d log P(y_i | z) d' log P(y_i | z)]``."""
    table, total = source.table.values, counts.sum(axis=0)
    m, n_classes = source.shape.first, len(table)
    block = np.empty((m + 1, n_classes, m + 1, n_classes))
    for k in range(n_classes):
        for c in range(k + 1):
            of_pair = 2.0 * total * table[k] * table[c]
            of_pair -= counts[k] * table[c] + counts[c] * table[k]
            if c == k:
                of_pair += counts[k] - total * table[k]
            block[:, k, :, c] = block[:, c, :, k] = second_moments(of_pair)
    return block.reshape((m + 1) * n_classes, -1)
