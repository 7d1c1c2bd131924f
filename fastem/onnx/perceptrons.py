"""Graphs of deterministic networks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators import BaseFastMLP, FastMLPClassifier
from fastem.onnx.nodes import Nodes
from fastem.perceptron import HIDDEN_ACTIVATIONS, LEAKY_SLOPE

_EXP_RANGE = -708.0, 709.0  # of an exponential output, as in the kernels


def outputs(nodes: Nodes, X: str, model: BaseFastMLP) -> str:
    """Return the outputs of the network, a float64 tensor (n_samples, n_outputs).

    Parameters
    ----------
    nodes : Nodes
    X : float64 tensor (n_samples, n_features)
    model : FastMLPClassifier or FastMLPRegressor
    """
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    names = {code: name for name, code in HIDDEN_ACTIVATIONS.items()}
    activations = [names[code] for code in model._layers.activations[:-1].tolist()]
    for (W, b), name, slopes in zip(layers[:-1], activations, model.slopes_, strict=True):
        X = _hidden(nodes, nodes.affine(X, W, b), name, slopes, len(b))
    sums = nodes.affine(X, *layers[-1])
    if model.out_activation_ == "softmax":
        return nodes.add("Softmax", sums, axis=1)
    if model.out_activation_ == "logistic":
        return nodes.logistic(sums)
    if model.out_activation_ == "exp":
        return nodes.add("Exp", nodes.add("Clip", sums, *map(nodes.constant, _EXP_RANGE)))
    return sums


def probabilities(nodes: Nodes, X: str, model: FastMLPClassifier) -> str:
    """Return the probabilities of classes or labels, a float64 tensor (n_samples, n_classes)."""
    found = outputs(nodes, X, model)
    if len(model.classes_) == 1:  # the output of the network is not used
        return nodes.add("Max", found, nodes.constant(1.0))
    if model.n_outputs_ == 1:
        rest = nodes.add("Sub", nodes.constant(1.0), found)
        return nodes.add("Concat", rest, found, axis=1)
    return found


def _hidden(
    nodes: Nodes, sums: str, activation: str, slopes: NDArray[Any] | None, n_columns: int
) -> str:
    """Return the values of a hidden layer."""
    if activation == "identity":
        return sums
    if activation == "logistic":
        return nodes.logistic(sums)
    if activation == "tanh":
        return nodes.add("Tanh", sums)
    if activation == "relu":
        return nodes.add("Relu", sums)
    if activation == "elu":
        zero = nodes.constant(0.0)
        below = nodes.expm1(nodes.add("Min", sums, zero))
        return nodes.add("Add", nodes.add("Max", sums, zero), below)
    if activation == "maxout":
        return nodes.add("Max", *nodes.halves(sums, n_columns // 2))
    slope = np.array([LEAKY_SLOPE]) if slopes is None else np.asarray(slopes, dtype=np.float64)
    return nodes.add("PRelu", sums, nodes.constant(slope))
