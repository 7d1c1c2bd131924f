"""Graphs of networks with stochastic hidden units."""

from typing import Any

import numpy as np
from scipy.special import expit, softmax

from fastem.estimators import FastEMClassifier, FastEMRegressor, FittedNetwork
from fastem.families import (
    LARGEST_LOG_RATE,
    Bernoulli,
    Gaussian,
    IndependentOutputs,
    Poisson,
)
from fastem.onnx.nodes import Nodes
from fastem.onnx.states import MOST_UNITS, expected_values, fold_upper_layers
from fastem.oracle import check_parameters
from fastem.parameters import Array
from fastem.tables import states_of

_SMALLEST = float(np.finfo(np.float64).tiny)
_LARGEST_DEVIATION = 1e150  # its square is finite


def _network_of(model: FastEMClassifier | FastEMRegressor) -> FittedNetwork:
    """Return the network of a model; attributes that were set by hand are checked."""
    network = model._network()
    coefs, intercepts = check_parameters(
        network.coefs,
        network.intercepts,
        model.n_features_in_,
        network.family,
        network.variance if network.family.has_variance else None,
    )
    return network._replace(coefs=coefs, intercepts=intercepts)


def _sizes(network: FittedNetwork) -> list[int]:
    """Return the numbers of units of the hidden layers."""
    return [len(b) for b in network.intercepts[:-1]]


def _log_odds(nodes: Nodes, X: str, network: FittedNetwork) -> str:
    """Return the log-odds of the first hidden layer in the graph."""
    return nodes.affine(X, network.coefs[0], network.intercepts[0])


def _natural_parameters(network: FittedNetwork) -> Array:
    """Return those of all states of the last hidden layer, (2**n_hidden, n_outputs)."""
    V, c = network.coefs[-1], network.intercepts[-1]
    return states_of(len(V)).T @ V + c


def _given_first_layer(network: FittedNetwork, values: Array) -> Array:
    """Return expected values given the first layer, from those given the last layer."""
    return fold_upper_layers(network.coefs[1:-1], network.intercepts[1:-1], values)


def check_size(model: FastEMClassifier | FastEMRegressor) -> None:
    """Raise ValueError if the states of the hidden units are too many for a graph."""
    network = _network_of(model)
    if isinstance(model, FastEMClassifier):
        if model.prediction == "plugin" or max(_sizes(network)) <= MOST_UNITS:
            return
        remedy = (
            'model.set_params(prediction="plugin") exports the network of mean activations, of any '
            "size; its probabilities are approximations. Otherwise, fit fewer hidden units."
        )
    else:
        if _has_closed_form(network) or max(_sizes(network)) <= MOST_UNITS:
            return
        remedy = "Fit fewer hidden units."
    sizes = ", ".join(map(str, _sizes(network)))
    raise ValueError(
        f"The hidden layers of this model have {sizes} units. A graph "
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
    network = _network_of(model)
    has_labels = isinstance(network.family, Bernoulli)
    if model.prediction == "plugin":
        for W, b in zip(network.coefs[:-1], network.intercepts[:-1], strict=True):
            X = nodes.logistic(nodes.affine(X, W, b))
        eta = nodes.affine(X, network.coefs[-1], network.intercepts[-1])
        return nodes.logistic(eta) if has_labels else nodes.add("Softmax", eta, axis=1)
    logits = _natural_parameters(network)
    of_states = expit(logits) if has_labels else softmax(logits, axis=1)
    given_states = _given_first_layer(network, of_states)
    found = expected_values(nodes, _log_odds(nodes, X, network), given_states, dtype)
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
    network = _network_of(model)
    log_odds = _log_odds(nodes, X, network)
    if not _has_closed_form(network):
        return _moments_of_states(nodes, log_odds, network)
    if type(network.family) is Gaussian:
        return _gaussian_moments(nodes, log_odds, network)
    return _poisson_moments(nodes, log_odds, network)


def _has_closed_form(network: FittedNetwork) -> bool:
    return network.depth == 1 and type(network.family) in (Gaussian, Poisson)


def _gaussian_moments(nodes: Nodes, log_odds: str, network: FittedNetwork) -> tuple[str, str]:
    """Return ``u V + c`` and ``variance + sum_h V_h**2 u_h (1 - u_h)``."""
    V, c = network.coefs[-1], network.intercepts[-1]
    on, off = nodes.both_states(log_odds)
    variance = nodes.affine(nodes.add("Mul", on, off), V**2, network.dispersion)
    return nodes.affine(on, V, c), variance


def _poisson_moments(nodes: Nodes, log_odds: str, network: FittedNetwork) -> tuple[str, str]:
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
    ends = nodes.constant(0.0), nodes.constant(LARGEST_LOG_RATE)
    spread = nodes.expm1(nodes.add("Clip", log_square, *ends))
    twice = nodes.add("Mul", log_mean, nodes.constant(2.0))

    def exp(values: str) -> str:
        return nodes.add("Exp", nodes.add("Min", values, nodes.constant(LARGEST_LOG_RATE)))

    mean = exp(log_mean)
    return mean, nodes.add("Add", mean, exp(nodes.add("Add", twice, nodes.add("Log", spread))))


def _moments_of_states(nodes: Nodes, log_odds: str, network: FittedNetwork) -> tuple[str, str]:
    """Return the moments as sums over all states, of several layers or of any family."""
    family, eta = network.family, _natural_parameters(network)
    assert isinstance(family, IndependentOutputs)
    means = family.mean(eta)
    variances = network.dispersion * family.curvature(eta)
    middle = 0.5 * means.min(axis=0) + 0.5 * means.max(axis=0)
    deviations = np.clip(means - middle, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    values = _given_first_layer(network, np.hstack([deviations, variances + deviations**2]))
    found = expected_values(nodes, log_odds, values)
    first, second = nodes.halves(found, len(middle))
    variance = nodes.add("Sub", second, nodes.add("Mul", first, first))
    variance = nodes.add("Max", variance, nodes.constant(0.0))
    return nodes.add("Add", first, nodes.constant(middle)), variance
