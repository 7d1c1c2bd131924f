"""Posteriors of the hidden layers above the first, by enumeration.

``P(Z_h = 1 | x, y)`` of a unit of a later layer is the posterior expectation of
``P(Z_h = 1 | s, y)`` over the configurations s of the first layer. The latter probability is the
same expectation one layer further up, with the configurations of a layer as rows.
"""

import numpy as np
from scipy.special import expit

from fastem.engines.configuration_posterior import ConfigurationPosterior
from fastem.engines.configuration_tables import halves, table_of_layer
from fastem.engines.half_sums import fill_expected
from fastem.engines.log_posterior import LEAST_LOG_DENSITY, log_posterior_of, log_probabilities
from fastem.kernels import configurations
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import TrainingRows
from fastem.runtime import (
    TILE,
    bytes_of,
    check_memory,
    n_low_bits,
    row_ranges,
    single_threaded_blas,
)


def upper_posteriors(
    rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
) -> list[Array]:
    """Return P(Z = 1 | x, y) (n_hidden, n_samples) of every hidden layer above the first.

    Cost: ``2 (n_hidden + 1) n 2**m`` flops in matrix products for a layer of n_hidden units, with m
    units in the first layer, and ``2 (n_hidden + 1) g 2**(a + b)`` for every pair of neighbouring
    layers of a and b units below it.

    Raises
    ------
    ValueError
        If the tables do not fit into memory.
    FloatingPointError
        If inputs times weights overflow.
    """
    sizes = shape.hidden_layer_sizes
    largest, most_units = max(sizes), max(sizes[1:])
    check_memory(
        f"hidden_layer_sizes={sizes}",
        "for the posteriors of the layers above the first",
        "Use fewer hidden units: one unit less halves the memory.",
        bytes_of({"functions": ((shape.n_outputs + 6) * (most_units + 1), 2**largest)}),
    )
    posterior = ConfigurationPosterior(rows, shape, parameters, n_threads)
    upper = _UpperLayers(shape, parameters, n_threads)
    found = [
        posterior.expected(lambda k, layer=layer: upper.probability(layer, k), sizes[layer])
        for layer in range(1, shape.depth)
    ]
    return [np.minimum(of_layer, 1.0) for of_layer in found]


class _UpperLayers:
    """Posteriors of the units above the first layer, given a configuration of the first layer."""

    def __init__(self, shape: Shape, parameters: Parameters, n_threads: int) -> None:
        self._shape, self._parameters, self._n_threads = shape, parameters, n_threads
        self._tables = [table_of_layer(shape, layer, n_threads) for layer in range(1, shape.depth)]
        with single_threaded_blas():
            for table in self._tables:
                table.fill(parameters)

    def probability(self, layer: int, k: int) -> Array:
        """Return P(Z = 1 | s, y = k) of the units of a layer, for all s of the first layer.

        Returns
        -------
        probability : array (n_hidden, n_high, n_low)
        """
        m = self._shape.hidden_layer_sizes[layer]
        bits = (np.arange(2**m) >> np.arange(m)[:, None]) & 1
        functions = bits.reshape(m, *halves(m)).astype(np.float64)
        with single_threaded_blas():
            for below in range(layer - 1, -1, -1):
                functions = self._expected_above(below, k, functions)
        return functions

    def _expected_above(self, layer: int, k: int, functions: Array) -> Array:
        """Return ``E[f | configuration of the layer, class k]`` of functions of the layer above.

        Parameters
        ----------
        layer, k : int
        functions : array (n_functions, n_high, n_low)
            Over the configurations of the layer above.

        Returns
        -------
        expected : array (n_functions, n_high, n_low)
            Over the configurations of the layer.
        """
        m, m_above = self._shape.hidden_layer_sizes[layer : layer + 2]
        coefs, intercepts = split_intercepts(self._parameters.hidden[layer + 1], m)
        high, low = configurations.half_logits(coefs, intercepts, n_low_bits(m))
        log_odds = (high[:, :, None] + low[:, None, :]).reshape(m_above, -1)
        table = self._tables[layer]  # of the layer above
        values = table.values[k : k + 1]
        sums = np.empty((len(functions) + 1, 2**m))
        tables = np.concatenate([values, values * functions])
        pieces = row_ranges(2**m, TILE)
        fill_expected(expit(log_odds), expit(-log_odds), tables, pieces, self._n_threads, sums)
        is_normal = sums[0] >= SMALLEST_LIKELIHOOD
        expected = np.divide(sums[1:], sums[0], out=np.zeros_like(sums[1:]), where=is_normal)
        marked = np.flatnonzero(~is_normal)
        if len(marked) > 0:
            log_table = np.maximum(table.log_table(k), LEAST_LOG_DENSITY)
            log_on, log_off = log_probabilities(log_odds.T[marked])
            for j, s in enumerate(marked):
                found = log_posterior_of(log_on[j], log_off[j], log_table)
                expected[:, s] = (functions * np.exp(found.log_posterior)).sum(axis=(1, 2))
        return np.minimum(expected, 1.0).reshape(len(functions), *halves(m))
