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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Parameters(NamedTuple):
    """Weights of a network with one stochastic hidden layer, in the kernels' terms.

    Attributes
    ----------
    hidden : array (n_inputs, n_hidden), log-odds per unit of input
        Weights into the hidden units; with intercepts, the last row.
    output : array (n_hidden, n_classes), log-odds
        Weights out of the hidden units.
    output_intercepts : array (n_classes,), log-odds
        Zeros in a network without intercepts.
    """

    hidden: Array
    output: Array
    output_intercepts: Array


class Shape(NamedTuple):
    """Sizes of a network, and the way between its parameters and one flat vector."""

    n_features: int
    n_hidden: int
    n_classes: int
    fit_intercept: bool = True

    @property
    def n_inputs(self) -> int:
        """Features, and the column of ones."""
        return self.n_features + self.fit_intercept

    @property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        n_output_rows = self.n_hidden + self.fit_intercept
        return self.n_inputs * self.n_hidden + n_output_rows * self.n_classes

    def unpack(self, theta: Array) -> Parameters:
        """Return the parameters in a flat vector, as views."""
        cut = self.n_inputs * self.n_hidden
        stop = cut + self.n_hidden * self.n_classes
        intercepts = theta[stop:] if self.fit_intercept else np.zeros(self.n_classes)
        return Parameters(
            theta[:cut].reshape(self.n_inputs, self.n_hidden),
            theta[cut:stop].reshape(self.n_hidden, self.n_classes),
            intercepts,
        )

    def pack(self, parameters: Parameters) -> Array:
        """Return the parameters as one new flat vector."""
        parts = [parameters.hidden.ravel(), parameters.output.ravel()]
        if self.fit_intercept:
            parts.append(parameters.output_intercepts)
        return np.concatenate(parts)

    def penalty_weights(self) -> Array:
        """Return a flat vector: 1 for penalised weights, 0 for intercepts."""
        hidden = np.ones((self.n_inputs, self.n_hidden))
        if self.fit_intercept:
            hidden[-1] = 0.0
        output = np.ones((self.n_hidden, self.n_classes))
        return self.pack(Parameters(hidden, output, np.zeros(self.n_classes)))

    def from_lists(self, coefs: list[Array], intercepts: list[Array]) -> Parameters:
        """Return the parameters given as ``coefs_`` and ``intercepts_``."""
        hidden = np.array(coefs[0], dtype=np.float64, order="C")
        if self.fit_intercept:
            hidden = np.vstack([hidden, np.asarray(intercepts[0], dtype=np.float64)[None]])
        return Parameters(
            np.ascontiguousarray(hidden),
            np.array(coefs[1], dtype=np.float64, order="C"),
            np.array(intercepts[1], dtype=np.float64),
        )

    def to_lists(self, parameters: Parameters) -> tuple[list[Array], list[Array]]:
        """Return new ``coefs_`` and ``intercepts_``: ``[W, V], [b, c]``."""
        hidden = np.array(parameters.hidden)
        intercepts = hidden[-1].copy() if self.fit_intercept else np.zeros(self.n_hidden)
        coefs = hidden[: self.n_features].copy()
        return (
            [coefs, np.array(parameters.output)],
            [intercepts, np.array(parameters.output_intercepts)],
        )
