"""The Hessian of the weighted total log-likelihood.

For one hidden layer, by enumeration. By Louis' identity, the Hessian is the expected Hessian of
``log p(y, z | x)`` plus the covariance of its gradient, under the posterior of every row.
"""

from collections.abc import Callable

import numpy as np

from fastem.oracle.moments import (
    MOST_CHUNKS,
    Enumerated,
    Tile,
    pair_sums,
    table_products,
    tables_in_use,
)
from fastem.oracle.scores import ClassScores, FamilyScores, second_keys
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import bytes_of, check_memory


def exact_hessian(
    rows: TrainingRows, shape: Shape, parameters: Parameters, counts: Array, n_threads: int
) -> Array:
    """Return the Hessian of the weighted total log-likelihood, (n_parameters, n_parameters).

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
        With one hidden layer.
    parameters : Parameters
    counts : array (n_classes, n_high, n_low) or (1, n_high, n_low), summed weight
        Expected weight of every configuration, from an E-step.
    n_threads : int
    """
    size = shape.n_parameters
    declared = {"sums": (MOST_CHUNKS + 2, size, size)}
    n_tables = shape.n_outputs if shape.has_classes else 1 + len(second_keys(shape))
    check_memory(
        f"The information of {size} parameters",
        "in all",
        "Use hessian_product, which needs no matrix.",
        bytes_of(declared, *tables_in_use(shape, len(rows.weights), n_tables, n_threads)),
    )
    source = Enumerated(rows, shape, parameters, n_threads)
    sums = np.zeros(declared["sums"])
    if shape.has_classes:
        add, output = _adder_of_classes(source), _class_block(source, counts)
    else:
        scores = FamilyScores(source)
        add, output = _adder_of_family(source, scores), _family_block(source, scores, counts[0])
    source.run(lambda tile, chunk: add(tile, sums[chunk]), n_tables * (4.0 + shape.first / 2))
    hessian = sums.sum(axis=0)
    start = shape.n_inputs * shape.first
    stop = start + len(output)
    hessian[start:stop, start:stop] += output
    hessian[start:, :start] = hessian[:start, start:].T
    return 0.5 * hessian + 0.5 * hessian.T


def _adder_of_classes(source: Enumerated) -> Callable[[Tile, Array], None]:
    """Return a function that adds the part of a tile to the Hessian."""
    scores, m = ClassScores(source), source.shape.first
    start = source.shape.n_inputs * m

    def add(tile: Tile, hessian: Array) -> None:
        weights = source.rows.weights[tile.start : tile.stop]
        second = tile.second_moments(scores.factors(tile.group))
        hessian[:start, :start] += _hidden_block(tile, second[0], weights)
        residuals = scores.residuals(tile.group, second)
        joint, mean = _by_weight(residuals[:, :m]), _by_weight(residuals[:, m:])[0]
        hessian[:start, start:] += _cross_block(tile, second[0, :m, m], joint, mean, weights)
        hessian[start:, start:] -= (mean * weights) @ mean.T

    return add


def _adder_of_family(source: Enumerated, scores: FamilyScores) -> Callable[[Tile, Array], None]:
    """Return a function that adds the part of a tile to the Hessian."""
    m, n_outputs = source.shape.first, source.shape.n_outputs
    start, keys = source.shape.n_inputs * m, second_keys(source.shape)
    variances = source.parameters.variance

    def add(tile: Tile, hessian: Array) -> None:
        weights = source.rows.weights[tile.start : tile.stop]
        second = tile.second_moments(scores.factors(tile.group, keys))
        hessian[:start, :start] += _hidden_block(tile, second[0], weights)
        of_key = scores.residuals(tile.group, tile.start, tile.stop, keys, second)
        residuals = np.array([of_key[d,] for d in range(n_outputs)])
        joint, mean = _by_weight(residuals[:, :m]), _by_weight(residuals[:, m:])[0]
        if len(variances) > 0:
            own = [0.5 * (of_key[d, d] - second[0] / s) for d, s in enumerate(variances)]
            by_variance = np.array(own)[:, :, m]
            joint = np.concatenate([joint, by_variance[:, :m].transpose(1, 0, 2)], axis=1)
            mean = np.concatenate([mean, by_variance[:, m]])
        hessian[:start, start:] += _cross_block(tile, second[0, :m, m], joint, mean, weights)
        summed = {key: moments @ weights for key, moments in of_key.items()}
        hessian[start:, start:] += scores.products(summed) - (mean * weights) @ mean.T

    return add


def _by_weight(residuals: Array) -> Array:
    """Return moments (n_outputs, a, n_units, n_rows) in the order of weights, (a, -1, n_rows)."""
    n_outputs, n_first, n_units, n_rows = residuals.shape
    return residuals.transpose(1, 2, 0, 3).reshape(n_first, n_units * n_outputs, n_rows)


def _hidden_block(tile: Tile, second: Array, weights: Array) -> Array:
    """Return the block of hidden weights, given ``E[(z, 1) (z, 1)']`` of the rows."""
    X, u = tile.inputs, tile.probability
    (n_rows, n_inputs), m = X.shape, len(u)
    posterior = second[:m, m]
    covariance = second[:m, :m] - posterior[:, None] * posterior
    units = np.arange(m)
    covariance[units, units] = posterior * (1.0 - posterior) - u * (1.0 - u)
    covariance *= weights
    block = np.empty((n_inputs, m, n_inputs, m))
    for h in range(m):
        scaled = covariance[h].T[:, None, :] * X[:, :, None]
        block[:, h] = (X.T @ scaled.reshape(n_rows, -1)).reshape(n_inputs, n_inputs, m)
    return block.reshape(n_inputs * m, -1)


def _cross_block(tile: Tile, posterior: Array, joint: Array, mean: Array, weights: Array) -> Array:
    """Return ``sum_i w_i x_i Cov(z_h, f)`` for every unit h and every f.

    Parameters
    ----------
    tile : Tile
    posterior : array (n_hidden, n_rows), probability
    joint : array (n_hidden, n_functions, n_rows)
        ``E[z_h f]``.
    mean : array (n_functions, n_rows)
    weights : array (n_rows,)
    """
    covariance = weights * (joint - posterior[:, None] * mean)
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
            sums = pair_sums(of_pair, source.low_states, source.high_states)
            block[:, k, :, c] = block[:, c, :, k] = sums
    return block.reshape((m + 1) * n_classes, -1)


def _family_block(source: Enumerated, scores: FamilyScores, totals: Array) -> Array:
    """Return ``sum_i w_i E[dd' log p(y_i | z)]`` by the output weights."""
    m, n_outputs = source.shape.first, source.shape.n_outputs
    block = np.zeros((m + 1, n_outputs, m + 1, n_outputs))
    for d, curvature in enumerate(scores.curvature()):
        weighted = table_products(totals, curvature)
        block[:, d, :, d] = -pair_sums(weighted, source.low_states, source.high_states)
    return block.reshape((m + 1) * n_outputs, -1)
