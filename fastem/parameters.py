"""The parameters of a network, and the glossary of the package.

====================  ==================================================================
``n_samples``  (n)    rows of X; loop letter i
``n_features`` (p)    columns of X; loop letter j
``n_inputs``          features, and one more (a column of ones) where there are intercepts
``n_hidden``   (m)    hidden units of a layer; loop letter h
``n_classes``  (g)    classes; loop letter k
``n_configs``  (K)    hidden configurations, ``2**m``; loop letter s, bit h of s is unit h
configuration         the states (0 or 1) of all hidden units of a layer
log-odds              ``log(p / (1 - p))`` of a hidden unit, or a logit of the output layer
prior                 P(z | x), the product of the units' probabilities
posterior             P(z | x, y); *hidden posterior*: its marginals P(Z_h = 1 | x, y)
marginal likelihood   p(y | x), the sum of P(z | x) P(y | z) over configurations
counts                ``R_k(s)``, expected weight of class k in configuration s
E-step, M-step        expectation under the posterior, maximisation given it
====================  ==================================================================

Quantities whose name begins with ``log_`` are in nats; objectives are penalised
log-likelihoods in nats, to be maximised; losses are their negatives per unit weight.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Parameters(NamedTuple):
    """Weights of a network with stochastic hidden layers, in the kernels' terms.

    Attributes
    ----------
    hidden : tuple of arrays (n_inputs, n_hidden), log-odds per unit of input
        Weights into the units of each hidden layer, the first layer first; with intercepts,
        the last row of each. Inputs of a later layer are the units of the one before.
    output : array (n_hidden, n_classes), log-odds
        Weights out of the last hidden layer.
    output_intercepts : array (n_classes,), log-odds
        Zeros in a network without intercepts.
    """

    hidden: tuple[Array, ...]
    output: Array
    output_intercepts: Array


class Shape(NamedTuple):
    """Sizes of a network, and the way between its parameters and one flat vector."""

    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    n_classes: int
    fit_intercept: bool = True

    @property
    def first(self) -> int:
        """Units of the first hidden layer, which the rows meet."""
        return self.hidden_layer_sizes[0]

    @property
    def last(self) -> int:
        """Units of the last hidden layer, which the classes meet."""
        return self.hidden_layer_sizes[-1]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden_layer_sizes)

    @property
    def n_inputs(self) -> int:
        """Features, and the column of ones."""
        return self.n_features + self.fit_intercept

    @property
    def hidden_shapes(self) -> list[tuple[int, int]]:
        """(n_inputs, n_hidden) of every hidden layer."""
        below = (self.n_features, *self.hidden_layer_sizes)
        return [(n + self.fit_intercept, m) for n, m in pairwise(below)]

    @property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        n_output_rows = self.last + self.fit_intercept
        return sum(n * m for n, m in self.hidden_shapes) + n_output_rows * self.n_classes

    def unpack(self, theta: Array) -> Parameters:
        """Return the parameters in a flat vector, as views."""
        hidden, start = [], 0
        for n_inputs, n_hidden in self.hidden_shapes:
            stop = start + n_inputs * n_hidden
            hidden.append(theta[start:stop].reshape(n_inputs, n_hidden))
            start = stop
        stop = start + self.last * self.n_classes
        intercepts = theta[stop:] if self.fit_intercept else np.zeros(self.n_classes)
        output = theta[start:stop].reshape(self.last, self.n_classes)
        return Parameters(tuple(hidden), output, intercepts)

    def pack(self, parameters: Parameters) -> Array:
        """Return the parameters as one new flat vector."""
        parts = [*(weights.ravel() for weights in parameters.hidden), parameters.output.ravel()]
        if self.fit_intercept:
            parts.append(parameters.output_intercepts)
        return np.concatenate(parts)

    def penalty_weights(self) -> Array:
        """Return a flat vector: 1 for penalised weights, 0 for intercepts."""
        hidden = tuple(np.ones(size) for size in self.hidden_shapes)
        if self.fit_intercept:
            for weights in hidden:
                weights[-1] = 0.0
        output = np.ones((self.last, self.n_classes))
        return self.pack(Parameters(hidden, output, np.zeros(self.n_classes)))

    def from_lists(self, coefs: list[Array], intercepts: list[Array]) -> Parameters:
        """Return the parameters given as ``coefs_`` and ``intercepts_``."""
        hidden = []
        for weights, own in zip(coefs[:-1], intercepts[:-1], strict=True):
            joined = np.array(weights, dtype=np.float64, order="C")
            if self.fit_intercept:
                joined = np.vstack([joined, np.asarray(own, dtype=np.float64)[None]])
            hidden.append(np.ascontiguousarray(joined))
        return Parameters(
            tuple(hidden),
            np.array(coefs[-1], dtype=np.float64, order="C"),
            np.array(intercepts[-1], dtype=np.float64),
        )

    def to_lists(self, parameters: Parameters) -> tuple[list[Array], list[Array]]:
        """Return new ``coefs_`` and ``intercepts_``: ``[W, ..., V], [b, ..., c]``."""
        coefs, intercepts = [], []
        for joined, n_hidden in zip(parameters.hidden, self.hidden_layer_sizes, strict=True):
            n_units_below = len(joined) - self.fit_intercept
            coefs.append(np.array(joined[:n_units_below]))
            own = joined[-1] if self.fit_intercept else np.zeros(n_hidden)
            intercepts.append(np.array(own))
        coefs.append(np.array(parameters.output))
        intercepts.append(np.array(parameters.output_intercepts))
        return coefs, intercepts
