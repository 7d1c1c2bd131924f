"""Average marginal effects of the features on predictions, with their gradients.

A shift of feature j by t changes the prediction as if the intercepts of the first layer had changed
by ``t W_j``. The effect is therefore the slope of the average prediction along this direction of
the parameters, and its gradient follows from a Hessian product.
"""

from typing import NamedTuple

import numpy as np

from fastem.estimators import FittedProblem
from fastem.families import Bernoulli
from fastem.inference.predictions import (
    class_oracle,
    flat_parameters,
    label_network,
    label_places,
    mean_gradients,
)
from fastem.parameters import Array
from fastem.runtime import row_ranges

_STEP = 0.01  # largest change of a log-odds in a central difference
_ROWS_AT_ONCE = 4096


class Effects(NamedTuple):
    """Average effects of standardised features, and their gradients by the parameters.

    Attributes
    ----------
    values : array (n_features, n_outputs)
        Slope of the average prediction; outputs with a noise variance are standardised.
    gradients : array (n_features, n_outputs, n_parameters)
    """

    values: Array
    gradients: Array


def average_effects(problem: FittedProblem) -> Effects:
    """Return the effects, averaged over the weighted rows of the problem."""
    shape = problem.shape
    if shape.has_classes:
        network = problem.coefs, problem.intercepts
        of_outputs = [_of_class(problem, *network, k) for k in range(shape.n_outputs)]
        return Effects(*(np.stack(parts, axis=1) for parts in zip(*of_outputs, strict=True)))
    if type(shape.family) is not Bernoulli:
        return _of_means(problem)
    values = np.empty((shape.n_features, shape.n_outputs))
    gradients = np.zeros((shape.n_features, shape.n_outputs, shape.n_parameters))
    for label in range(shape.n_outputs):
        values[:, label], of_two = _of_class(problem, *label_network(problem, label), 1)
        in_two, places = label_places(problem, label)
        gradients[:, label, places] = of_two[:, in_two]
    return Effects(values, gradients)


def _of_class(
    problem: FittedProblem, coefs: list[Array], intercepts: list[Array], k: int
) -> tuple[Array, Array]:
    """Return the effects (p,) on the probability of a class, and their gradients (p, P).

    With ``p = exp(log p)``, the Hessian of p is p times the Hessian of log p plus the outer product
    of its gradient.
    """
    oracle = class_oracle(problem, problem.X, coefs[-1].shape[1])
    log_p = oracle.class_log_probability(coefs, intercepts)[:, k]
    shares = problem.weights / problem.weights.sum() * np.exp(log_p)
    oracle.rebind(problem.X, np.full(len(shares), k), shares)
    scores = oracle.row_gradients(coefs, intercepts)
    slope = shares @ scores
    values, gradients = [], []
    for direction, from_weights in _directions(coefs[0], slope):
        product = oracle.hessian_product(coefs, intercepts, direction)
        product += (shares * (scores @ direction)) @ scores
        values.append(slope @ direction)
        gradients.append(product + from_weights)
    return np.array(values), np.array(gradients)


def _directions(W: Array, slope: Array) -> list[tuple[Array, Array]]:
    """Return for every feature the direction of a shift, and the part of the gradient by W.

    Parameters
    ----------
    W : array (n_features, n_hidden)
    slope : array (n_parameters,)
        Gradient of the average prediction.
    """
    (p, m), found = W.shape, []
    of_intercepts = slope[p * m : (p + 1) * m]
    for j in range(p):
        direction, from_weights = np.zeros((2, len(slope)))
        direction[p * m : (p + 1) * m] = W[j]
        from_weights[j * m : (j + 1) * m] = of_intercepts
        found.append((direction, from_weights))
    return found


def _of_means(problem: FittedProblem) -> Effects:
    """Return the effects on means, with Hessian products by central differences of order four."""
    theta = flat_parameters(problem)
    slope = _average_gradient(problem, theta)  # (d, P)
    p = problem.shape.n_features
    values = np.empty((p, len(slope)))
    gradients = np.empty((p, *slope.shape))
    for d, of_output in enumerate(slope):
        for j, (direction, from_weights) in enumerate(_directions(problem.coefs[0], of_output)):
            values[j, d] = of_output @ direction
            gradients[j, d] = from_weights
    for j, (direction, _) in enumerate(_directions(problem.coefs[0], slope[0])):
        largest = np.abs(direction).max()
        if largest > 0.0:
            change = _STEP / largest * direction
            near, far = (
                _average_gradient(problem, theta + t * change)
                - _average_gradient(problem, theta - t * change)
                for t in (1.0, 2.0)
            )
            gradients[j] += (8.0 * near - far) / 12.0 * (largest / _STEP)
    return Effects(values, gradients)


def _average_gradient(problem: FittedProblem, theta: Array) -> Array:
    """Return the gradient (n_outputs, n_parameters) of the average mean of every output."""
    shares = problem.weights / problem.weights.sum()
    total = np.zeros((problem.shape.n_outputs, len(theta)))
    for start, stop in row_ranges(len(shares), _ROWS_AT_ONCE):
        _, gradients = mean_gradients(problem, problem.X[start:stop], theta)
        total += np.einsum("i,dip->dp", shares[start:stop], gradients)
    return total
