"""The parameters of a network, and the glossary of the package.

====================  ==================================================================
``n_samples``  (n)    rows of X; loop letter i
``n_features`` (p)    columns of X; loop letter j
``n_inputs``          inputs of a layer: features or units, plus one (a column of ones) if there
                      are intercepts
``n_hidden``   (m)    hidden units of a layer; loop letter h
``n_outputs``         classes (g; loop letter k); otherwise columns of y: labels, numbers or counts
                      (loop letter d)
``targets``           y as the network has it: class indices, or values of the outputs
``n_configs``  (K)    hidden configurations, ``2**m``; loop letter s, bit h of s is unit h
configuration         the states (0 or 1) of all hidden units of a layer
log-odds              ``log(p / (1 - p))`` of a hidden unit or of a label
prior                 P(z | x), the product of the units' probabilities
posterior             P(z | x, y); *hidden posterior*: its marginals P(Z_h = 1 | x, y)
marginal likelihood   p(y | x), the sum of P(z | x) P(y | z) over configurations
family                distribution of the outputs given the states of the last hidden layer
natural parameter     ``eta = z V + c`` of an output: a logit, a mean, or a log-rate
dispersion            ``s`` in ``p(y | eta) = base(y) exp((y eta - A(eta)) / s)``: the noise
                      variance if the family has one, else 1
tilt                  change of the units' log-odds that accounts for a factor ``exp(y eta)``
group                 rows that share a table: the rows of one class, or rows of similar targets
reference value       the value of y whose density is in the table of a group
counts                ``R_k(s)``, expected weight of class k in configuration s; for other families
                      ``R(s)``, expected weight of configuration s
table                 P(y | configuration) of every class, over all configurations of a layer; for
                      other families the density of the reference value of every group
E-step, M-step        expectation under the posterior, maximisation given it
engine                an algorithm of the E-step; estimators take it as ``e_step``, functions as
                      ``method``
plan                  an engine prepared for given rows, which runs many times
draw                  a numbered set of random samples of an engine that samples
====================  ==================================================================

Quantities whose name begins with ``log_`` are in nats. Objectives are penalised log-likelihoods
in nats, to be maximised. Losses are their negatives per unit weight.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.families import Categorical, Family

Array = NDArray[np.float64]
ArrayLikes = Sequence[ArrayLike]
"""One array-like per layer: a list or a tuple."""

NO_VARIANCE: Array = np.empty(0)
"""Variances of a family without them."""
NO_VARIANCE.setflags(write=False)


CATEGORICAL = Categorical()
"""The family of one label among several classes."""

_LARGEST_LOG_VARIANCE = 300.0  # variances stay finite, and so do their squares
_SMALLEST_EXCESS = 1e-9  # above the floor, as a share of it


class Parameters(NamedTuple):
    """Weights of a network with stochastic hidden layers, in the form that kernels read.

    Attributes
    ----------
    hidden : tuple of arrays (n_inputs, n_hidden), log-odds per unit of input
        Weights into the units of each hidden layer, the first layer first. In a network with
        intercepts they are the last row of each array. The inputs of a later layer are the
        units of the layer before it.
    output : array (n_inputs, n_outputs), natural parameter
        Weights into the outputs, in the same form: the inputs are the units of the last hidden
        layer, and the last row holds the intercepts if there are any. Logits for classes.
    variance : array (n_outputs,) or (0,), squared unit of y
        Noise variance of every output; empty if the family has none.
    """

    hidden: tuple[Array, ...]
    output: Array
    variance: Array = NO_VARIANCE

    @property
    def dispersion(self) -> Array:
        """Dispersion of every output, (n_outputs,): the noise variance if there is one, else 1."""
        return self.variance if len(self.variance) > 0 else np.ones(self.output.shape[1])

    @property
    def flat(self) -> Array:
        """All weights and variances in one new vector."""
        arrays = *self.hidden, self.output, self.variance
        return np.concatenate([values.ravel() for values in arrays])


def split_intercepts(weights: Array, n_units: int) -> tuple[Array, Array]:
    """Split the weights into a layer into coefs and intercepts.

    Parameters
    ----------
    weights : array (n_inputs, n_outputs)
        Of one layer, as in `Parameters`.
    n_units : int
        Units of the layer below: ``n_inputs``, or one less in a network with intercepts.

    Returns
    -------
    coefs : array (n_units, n_outputs)
        A view.
    intercepts : array (n_outputs,)
        A view of the last row, or zeros in a network without intercepts.
    """
    if len(weights) == n_units:
        return weights, np.zeros(weights.shape[1])
    return weights[:n_units], weights[n_units]


class Shape(NamedTuple):
    """Sizes of a network, and the conversion between its parameters and one flat vector.

    Attributes
    ----------
    n_features : int
    hidden_layer_sizes : tuple of int
        Number of units of every hidden layer, the first layer first.
    n_outputs : int
        Classes of a categorical family; otherwise columns of y.
    fit_intercept : bool, default=True
        Whether every layer has intercepts.
    family : Family, default=Categorical()
        Distribution of the outputs.
    variance_floor : float, default=0.0
        Lower bound of every noise variance. The flat vector holds ``log(variance - floor)``, so
        every vector is within bounds.
    """

    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    n_outputs: int
    fit_intercept: bool = True
    family: Family = CATEGORICAL
    variance_floor: float = 0.0

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are the classes of one label."""
        return isinstance(self.family, Categorical)

    @property
    def n_variances(self) -> int:
        """Number of noise variances."""
        return self.n_outputs if self.family.has_variance else 0

    @property
    def first(self) -> int:
        """Units of the first hidden layer."""
        return self.hidden_layer_sizes[0]

    @property
    def last(self) -> int:
        """Units of the last hidden layer."""
        return self.hidden_layer_sizes[-1]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden_layer_sizes)

    @property
    def n_inputs(self) -> int:
        """Features, plus one for the column of ones if there are intercepts."""
        return self.n_features + self.fit_intercept

    @property
    def hidden_shapes(self) -> list[tuple[int, int]]:
        """(n_inputs, n_hidden) of every hidden layer."""
        below = (self.n_features, *self.hidden_layer_sizes)
        return [(n + self.fit_intercept, m) for n, m in pairwise(below)]

    @property
    def output_shape(self) -> tuple[int, int]:
        """(n_inputs, n_outputs) of the output layer."""
        return self.last + self.fit_intercept, self.n_outputs

    @property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        weights = sum(n * m for n, m in (*self.hidden_shapes, self.output_shape))
        return weights + self.n_variances

    def unpack(self, theta: Array) -> Parameters:
        """Return the parameters in a flat vector: weights as views, variances as a new array."""
        layers, start = [], 0
        for n_inputs, n_outputs in (*self.hidden_shapes, self.output_shape):
            stop = start + n_inputs * n_outputs
            layers.append(theta[start:stop].reshape(n_inputs, n_outputs))
            start = stop
        if self.n_variances == 0:
            return Parameters(tuple(layers[:-1]), layers[-1])
        excess = np.exp(np.clip(theta[start:], -_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE))
        return Parameters(tuple(layers[:-1]), layers[-1], self.variance_floor + excess)

    def pack(self, parameters: Parameters) -> Array:
        """Return the parameters as one new flat vector."""
        layers = (*parameters.hidden, parameters.output)
        flat = [weights.ravel() for weights in layers]
        if self.n_variances > 0:
            # a variance at the floor has no logarithm: it moves by a negligible share above it
            smallest = max(_SMALLEST_EXCESS * self.variance_floor, np.finfo(float).tiny)
            flat.append(np.log(np.maximum(parameters.variance - self.variance_floor, smallest)))
        return np.concatenate(flat)

    def pack_gradient(self, gradient: Parameters, theta: Array) -> Array:
        """Return a gradient as one new flat vector: the chain rule for variances at theta."""
        flat = [weights.ravel() for weights in (*gradient.hidden, gradient.output)]
        if self.n_variances > 0:
            flat.append(gradient.variance * (self.unpack(theta).variance - self.variance_floor))
        return np.concatenate(flat)

    def penalty_weights(self) -> Array:
        """Return a flat vector: 1 for penalised weights, 0 for intercepts and variances."""
        layers = [np.ones(size) for size in (*self.hidden_shapes, self.output_shape)]
        if self.fit_intercept:
            for weights in layers:
                weights[-1] = 0.0
        flat = [weights.ravel() for weights in layers]
        return np.concatenate([*flat, np.zeros(self.n_variances)])

    def from_lists(
        self, coefs: list[Array], intercepts: list[Array], variance: Array = NO_VARIANCE
    ) -> Parameters:
        """Return new parameters, joined from ``coefs_``, ``intercepts_`` and variances."""
        layers = []
        for weights, own in zip(coefs, intercepts, strict=True):
            joined = np.array(weights, dtype=np.float64, order="C")
            if self.fit_intercept:
                joined = np.vstack([joined, np.asarray(own, dtype=np.float64)[None]])
            layers.append(np.ascontiguousarray(joined))
        return Parameters(tuple(layers[:-1]), layers[-1], variance)

    def to_lists(self, parameters: Parameters) -> tuple[list[Array], list[Array]]:
        """Return new ``coefs_`` and ``intercepts_``: ``[W, ..., V], [b, ..., c]``."""
        coefs, intercepts = [], []
        for joined in (*parameters.hidden, parameters.output):
            weights, own = split_intercepts(joined, len(joined) - self.fit_intercept)
            coefs.append(np.array(weights))
            intercepts.append(np.array(own))
        return coefs, intercepts
