"""Sums over the states of stochastic hidden units, in a graph and in NumPy.

The probability of a state of m independent units is a product. The units are divided into two
halves. The states of a half have the probabilities ``exp(log_states @ states)``, a table
(n_samples, 2**(m / 2)), so that the table (n_samples, 2**m) is never stored.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines import half_priors
from fastem.onnx.nodes import Nodes
from fastem.parameters import Array
from fastem.runtime import n_low_bits
from fastem.tables import states_of

MOST_UNITS = 16
"""Largest number of units of a layer whose states a graph sums over: 2**16 states."""

_ENTRIES_AT_ONCE = 2**22  # of the sums of a block of rows


class Halves(NamedTuple):
    """A table of values of all states, in the layout of two halves of the units.

    Attributes
    ----------
    n_low, n_high : int
        Numbers of units. A state is numbered by its bits: unit h has the value ``2**h``.
    table : array (2**n_low, n_values * 2**n_high)
    """

    n_low: int
    n_high: int
    table: Array

    @classmethod
    def of(cls, values: Array) -> "Halves":
        """Return the layout of values (2**n_units, n_values)."""
        n_units = len(values).bit_length() - 1
        n_low = n_low_bits(n_units)
        n_high = n_units - n_low
        split = values.reshape(2**n_high, 2**n_low, -1).transpose(1, 2, 0)
        return cls(n_low, n_high, np.ascontiguousarray(split.reshape(2**n_low, -1)))

    @property
    def n_values(self) -> int:
        """Number of values per state."""
        return self.table.shape[1] >> self.n_high


def expected_values(nodes: Nodes, log_odds: str, values: Array, dtype: Any = np.float64) -> str:
    """Return the expectation of values of the states, a tensor (n_samples, n_values).

    Parameters
    ----------
    nodes : Nodes
    log_odds : tensor (n_samples, n_units)
    values : array (2**n_units, n_values)
    dtype : dtype, default=float64
        Precision of the products. float32 is for nonnegative values, whose sums have small relative
        errors.
    """
    halves = Halves.of(values)
    log_states = nodes.log_states(log_odds)
    n_low, n_high = halves.n_low, halves.n_high
    bits = states_of(n_low), states_of(n_high)
    blank = np.zeros((n_high, 2**n_low)), np.zeros((n_low, 2**n_high))
    low_on, low_off = (np.vstack([x, blank[0]]) for x in (bits[0], 1.0 - bits[0]))
    low = nodes.cast(_probability(nodes, log_states, low_on, low_off), dtype)
    product = nodes.add("MatMul", low, nodes.constant(halves.table.astype(dtype)))
    high_on, high_off = (np.vstack([blank[1], x]) for x in (bits[1], 1.0 - bits[1]))
    high = nodes.cast(_probability(nodes, log_states, high_on, high_off), dtype)
    high = nodes.add("Unsqueeze", high, nodes.constant(np.array([1])))
    shape = nodes.constant(np.array([0, halves.n_values, 2**n_high]))  # 0: as it is
    product = nodes.add("Mul", nodes.add("Reshape", product, shape), high)
    return nodes.cast(nodes.sum(product, axis=2), np.float64)


def _probability(nodes: Nodes, log_states: str, on: Array, off: Array) -> str:
    """Return the probabilities of states, which are given by the units that are on and off."""
    states = nodes.constant(np.vstack([on, off]))
    return nodes.add("Exp", nodes.add("MatMul", log_states, states))


def fold_upper_layers(coefs: list[Array], intercepts: list[Array], values: Array) -> Array:
    """Return expected values given the states of the first hidden layer.

    Parameters
    ----------
    coefs, intercepts : lists of arrays
        Of the second and the further hidden layers, from the lowest to the highest.
    values : array (2**n_hidden, n_values)
        Values of the states of the last hidden layer.

    Returns
    -------
    values : array (2**n_first, n_values)

    Notes
    -----
    Costs about ``2 n_values 2**(m + m_above)`` flops per pair of layers.
    """
    for W, b in zip(reversed(coefs), reversed(intercepts), strict=True):
        log_odds = states_of(len(W)).T @ W + b
        values = _expectation(log_odds, Halves.of(values))
    return values


def _expectation(log_odds: Array, halves: Halves) -> Array:
    """Return expected values (n_rows, n_values) for log-odds (n_rows, n_units), in NumPy."""
    out = np.empty((len(log_odds), halves.n_values))
    step = max(1, _ENTRIES_AT_ONCE // max(halves.table.shape))
    for start in range(0, len(out), step):
        block = log_odds[start : start + step]
        high, low = half_priors(expit(block.T), expit(-block.T))
        product = (low.T @ halves.table).reshape(len(block), halves.n_values, -1)
        out[start : start + step] = np.einsum("nkh,hn->nk", product, high)
    return out
