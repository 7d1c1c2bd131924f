"""Graphs of networks with stochastic hidden units."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, softmax

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.families import Bernoulli, Family, Gaussian, IndependentOutputs, Poisson
from fastem.onnx.nodes import Nodes
from fastem.onnx.states import MOST_UNITS, expected_values, fold_upper_layers
from fastem.oracle import check_parameters
from fastem.parameters import NO_VARIANCE, Array
from fastem.tables import states_of

_LARGEST_LOG_RATE = 700.0  # as in the moments of Poisson
_SMALLEST = float(np.finfo(np.float64).tiny)
_LARGEST_DEVIATION = 1e150  # its square is finite


class _Network(NamedTuple):
    """Checked parameters of a fitted model.

    Attributes
    ----------
    coefs, intercepts : lists of arrays
    family : Family
    dispersion : array (n_outputs,)
        Noise variances, or ones.
    """

    coefs: list[Array]
    intercepts: list[Array]
    family: Family
    dispersion: Array

    @classmethod
    def of(cls, model: FastEMClassifier | FastEMRegressor) -> "_Network":
        family = model.family_
        variance = getattr(model, "variance_", NO_VARIANCE)
        coefs, intercepts = check_parameters(
            model.coefs_,
            model.intercepts_,
            model.n_features_in_,
            family,
            variance if family.has_variance else None,
        )
        dispersion = np.asarray(variance) if family.has_variance else np.ones(len(intercepts[-1]))
        return cls(coefs, intercepts, family, dispersion)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of units of the hidden layers."""
        return tuple(len(b) for b in self.intercepts[:-1])

    def log_odds(self, nodes: Nodes, X: str) -> str:
        """Return the log-odds of the first hidden layer in the graph."""
        return nodes.affine(X, self.coefs[0], self.intercepts[0])

    def natural_parameters(self) -> Array:
        """Return those of all states of the last hidden layer, (2**n_hidden, n_outputs)."""
        return states_of(len(self.coefs[-1])).T @ self.coefs[-1] + self.intercepts[-1]

    def of_first_layer(self, values: Array) -> Array:
        """Return expected values given the first layer, from those given the last layer."""
        return fold_upper_layers(self.coefs[1:-1], self.intercepts[1:-1], values)


def check_size(model: FastEMClassifier | FastEMRegressor) -> None:
    """Raise ValueError if the states of the hidden units are too many for a graph."""
    network = _Network.of(model)
    if isinstance(model, FastEMClassifier):
        if model.prediction == "plugin" or max(network.sizes) <= MOST_UNITS:
            return
        remedy = (
            'model.set_params(prediction="plugin") exports the network of mean activations, of any '
            "size; its probabilities are approximations. Otherwise, fit fewer hidden units."
        )
    else:
        if _has_closed_form(network) or max(network.sizes) <= MOST_UNITS:
            return
        remedy = "Fit fewer hidden units."
    raise ValueError(
        f"The hidden layers of this model have {', '.join(map(str, network.sizes))} units. A graph "
        f"sums over the 2**m states of a layer, for at most {MOST_UNITS} units. {remedy}"
    )


def class_probabilities(nodes: Nodes, X: str, model: FastEMClassifier, dtype: Any) -> str:
    """Return the probabilities of classes or labels, a float64 tensor (n_samples, n_outputs).

    Parameters
    ----------
    nodes : Nodes
    X : float64 tensor (n_samples, n_features)
    model : FastEMClassifier
    dtype : dtype
        Precision of the sums over states.
    """
    check_size(model)
    network = _Network.of(model)
    has_labels = isinstance(network.family, Bernoulli)
    if model.prediction == "plugin":
        for W, b in zip(network.coefs[:-1], network.intercepts[:-1], strict=True):
            X = nodes.logistic(nodes.affine(X, W, b))
        eta = nodes.affine(X, network.coefs[-1], network.intercepts[-1])
        return nodes.logistic(eta) if has_labels else nodes.add("Softmax", eta, axis=1)
    logits = network.natural_parameters()
    of_states = expit(logits) if has_labels else softmax(logits, axis=1)
    given_states = network.of_first_layer(of_states)
    found = expected_values(nodes, network.log_odds(nodes, X), given_states, dtype)
    if has_labels:  # rounding can exceed 1
        return nodes.add("Min", found, nodes.constant(1.0))
    total = nodes.add("ReduceSum", found, nodes.constant(np.array([1])), keepdims=1)
    return nodes.add("Div", found, total)


def moments(nodes: Nodes, X: str, model: FastEMRegressor) -> tuple[str, str]:
    """Return mean and variance of every output, float64 tensors (n_samples, n_outputs).

    Parameters
    ----------
    nodes : Nodes
    X : float64 tensor (n_samples, n_features)
    model : FastEMRegressor
    """
    check_size(model)
    network = _Network.of(model)
    log_odds = network.log_odds(nodes, X)
    if not _has_closed_form(network):
        return _moments_of_states(nodes, log_odds, network)
    if type(network.family) is Gaussian:
        return _gaussian_moments(nodes, log_odds, network)
    return _poisson_moments(nodes, log_odds, network)


def _has_closed_form(network: _Network) -> bool:
    return len(network.sizes) == 1 and type(network.family) in (Gaussian, Poisson)


def _gaussian_moments(nodes: Nodes, log_odds: str, network: _Network) -> tuple[str, str]:
    """Return ``u V + c`` and ``variance + sum_h V_h**2 u_h (1 - u_h)``."""
    V, c = network.coefs[-1], network.intercepts[-1]
    on, off = nodes.both_states(log_odds)
    variance = nodes.affine(nodes.add("Mul", on, off), V**2, network.dispersion)
    return nodes.affine(on, V, c), variance


def _poisson_moments(nodes: Nodes, log_odds: str, network: _Network) -> tuple[str, str]:
    """Return ``E rate`` and ``E rate + Var rate``, in log space.

    ``E rate = exp(c) prod_h F_h`` with ``F_h = 1 - u_h + u_h exp(V_h)``, and
    ``Var rate / (E rate)**2 = prod_h (1 + u_h (1 - u_h) (exp(V_h) - 1)**2 / F_h**2) - 1``.
    """
    V, c = network.coefs[-1], network.intercepts[-1]
    axis = nodes.constant(np.array([2]))
    on, off = (nodes.add("Unsqueeze", x, axis) for x in nodes.both_states(log_odds))
    top = np.maximum(V, 0.0)  # exp(top) is taken out of every factor
    if_on, if_off = np.exp(V - top), np.exp(-top)
    terms = (
        nodes.add("Mul", off, nodes.constant(if_off)),
        nodes.add("Mul", on, nodes.constant(if_on)),
    )
    # the logarithm of a factor of 0 would be infinite
    factors = nodes.add("Max", nodes.add("Add", *terms), nodes.constant(_SMALLEST))
    log_mean = nodes.sum(nodes.add("Log", factors), axis=1)
    log_mean = nodes.add("Add", log_mean, nodes.constant(c + top.sum(axis=0)))
    step = nodes.constant(np.abs(if_on - if_off))
    shares = [nodes.add("Div", nodes.add("Mul", x, step), factors) for x in (on, off)]
    log_square = nodes.sum(nodes.log1p(nodes.add("Mul", *shares)), axis=1)
    ends = nodes.constant(0.0), nodes.constant(_LARGEST_LOG_RATE)
    spread = nodes.expm1(nodes.add("Clip", log_square, *ends))
    twice = nodes.add("Mul", log_mean, nodes.constant(2.0))

    def exp(values: str) -> str:
        return nodes.add("Exp", nodes.add("Min", values, nodes.constant(_LARGEST_LOG_RATE)))

    mean = exp(log_mean)
    return mean, nodes.add("Add", mean, exp(nodes.add("Add", twice, nodes.add("Log", spread))))


def _moments_of_states(nodes: Nodes, log_odds: str, network: _Network) -> tuple[str, str]:
    """Return the moments as sums over all states, of several layers or of any family."""
    family, eta = network.family, network.natural_parameters()
    assert isinstance(family, IndependentOutputs)
    means = family.mean(eta)
    variances = network.dispersion * family.curvature(eta)
    middle = 0.5 * means.min(axis=0) + 0.5 * means.max(axis=0)
    deviations = np.clip(means - middle, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    values = network.of_first_layer(np.hstack([deviations, variances + deviations**2]))
    found = expected_values(nodes, log_odds, values)
    first, second = nodes.halves(found, len(middle))
    variance = nodes.add("Sub", second, nodes.add("Mul", first, first))
    variance = nodes.add("Max", variance, nodes.constant(0.0))
    return nodes.add("Add", first, nodes.constant(middle)), variance
