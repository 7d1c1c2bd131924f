"""Gradients of predictions by the parameters, on the scale on which their errors are normal.

The scale (link) is log-odds for the probability of a class or label, the logarithm for the mean of
counts, and the mean itself for other outputs.
"""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, logsumexp

from fastem.estimators import FastEMClassifier, FastEMRegressor, FittedProblem
from fastem.families import Bernoulli, Categorical, Family, Poisson
from fastem.inference.checks import as_dense
from fastem.oracle import EStep
from fastem.parameters import Array
from fastem.sparse import SparseFeatures
from fastem.tables import states_of

_ENTRIES_AT_ONCE = 2**22  # of the gradients of a block of rows
_ENTRIES_OF_STATES = 2**22
# A probability or rate that rounds to 0 or 1 is moved to the nearest number with a finite link.
_SMALLEST, _LARGEST_PROBABILITY = 1e-300, 1.0 - 2.0**-53


def is_probability(family: Family) -> bool:
    """Return whether predictions are probabilities of classes or labels."""
    return isinstance(family, Categorical) or type(family) is Bernoulli


def is_rate(family: Family) -> bool:
    """Return whether predictions are means of counts."""
    return type(family) is Poisson


def response(family: Family, link: Array) -> Array:
    """Return predictions, given their values on the link scale."""
    if is_probability(family):
        return expit(link)
    if is_rate(family):
        with np.errstate(over="ignore"):
            return np.exp(link)
    return link


def slope(family: Family, link: Array) -> Array:
    """Return the derivative of `response` by the link."""
    if is_probability(family):
        return expit(link) * expit(-link)
    if is_rate(family):
        return np.exp(link)
    return np.ones_like(link)


def predicted_link(model: FastEMClassifier | FastEMRegressor, X: ArrayLike) -> Array:
    """Return the predictions of a model on the link scale, in the shape of its predictions."""
    family = model.family_
    if isinstance(family, Categorical):
        return log_odds(model.predict_log_proba(X))
    found = model.predict_proba(X) if isinstance(model, FastEMClassifier) else model.predict(X)
    if is_probability(family):
        return logit(np.clip(found, _SMALLEST, _LARGEST_PROBABILITY))
    return np.log(np.maximum(found, _SMALLEST)) if is_rate(family) else found


def log_odds(log_p: Array) -> Array:
    """Return log-odds (n, g) of every class against all others, given log-probabilities."""
    out = np.empty(log_p.shape)
    for k in range(log_p.shape[1]):
        out[:, k] = log_p[:, k] - logsumexp(np.delete(log_p, k, axis=1), axis=1)
    return out


def link_gradients(
    problem: FittedProblem, X: Array | SparseFeatures
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield blocks of rows with their predictions and gradients, on the link scale.

    Parameters
    ----------
    problem : FittedProblem
    X : array or SparseFeatures (n_samples, n_features)
        Standardised features.

    Yields
    ------
    rows : slice
    link : array (n_rows, n_outputs)
        Outputs with a noise variance are standardised.
    gradients : array (n_outputs, n_rows, n_parameters)
    """
    shape = problem.shape
    n_rows = max(1, _ENTRIES_AT_ONCE // (shape.n_parameters * shape.n_outputs))
    for start in range(0, len(X), n_rows):
        rows = slice(start, min(start + n_rows, len(X)))
        block = as_dense(X[rows])
        if shape.has_classes:
            yield rows, *_class_link(problem, block, problem.coefs, problem.intercepts)
        elif type(shape.family) is Bernoulli:
            yield rows, *_of_labels(problem, block)
        else:
            yield rows, *_of_means(problem, block)


def class_oracle(problem: FittedProblem, X: Array, n_classes: int) -> EStep:
    """Return an E-step on the rows, for a network of the same units with some classes."""
    return EStep(
        X, np.zeros(len(X), dtype=int), hidden_layer_sizes=problem.shape.hidden_layer_sizes,
        n_classes=n_classes, method=problem.engine, n_jobs=problem.n_jobs,
    )  # fmt: skip


def label_network(problem: FittedProblem, label: int) -> tuple[list[Array], list[Array]]:
    """Return the parameters of the two-class network whose class 1 is the label."""
    v, c = problem.coefs[-1][:, label], problem.intercepts[-1][label]
    coefs = [*problem.coefs[:-1], np.column_stack([np.zeros_like(v), v])]
    return coefs, [*problem.intercepts[:-1], np.array([0.0, c])]


def label_places(problem: FittedProblem, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of a label's parameters in its two-class network and in all parameters."""
    shape = problem.shape
    below = sum(n * m for n, m in shape.hidden_shapes)
    inputs = np.arange(shape.last + 1)
    hidden = np.arange(below)
    in_two = np.concatenate([hidden, below + 2 * inputs + 1])
    return in_two, np.concatenate([hidden, below + shape.n_outputs * inputs + label])


def _class_link(
    problem: FittedProblem, X: Array, coefs: list[Array], intercepts: list[Array]
) -> tuple[Array, Array]:
    """Return log-odds (n, g) of every class against all others, and gradients (g, n, P)."""
    g = coefs[-1].shape[1]
    oracle = class_oracle(problem, X, g)
    log_p = oracle.class_log_probability(coefs, intercepts)
    scores = []
    for k in range(g):
        oracle.rebind(X, np.full(len(X), k))
        scores.append(oracle.row_gradients(coefs, intercepts))
    link, gradients = log_odds(log_p), np.array(scores)
    for k, j in permutations(range(g), 2):
        log_rest = log_p[:, k] - link[:, k]
        gradients[k] -= np.exp(log_p[:, j] - log_rest)[:, None] * scores[j]
    return link, gradients


def _of_labels(problem: FittedProblem, X: Array) -> tuple[Array, Array]:
    shape = problem.shape
    link = np.empty((len(X), shape.n_outputs))
    gradients = np.zeros((shape.n_outputs, len(X), shape.n_parameters))
    for label in range(shape.n_outputs):
        found, of_two = _class_link(problem, X, *label_network(problem, label))
        in_two, places = label_places(problem, label)
        link[:, label] = found[:, 1]
        gradients[label][:, places] = of_two[1][:, in_two]
    return link, gradients


def _of_means(problem: FittedProblem, X: Array) -> tuple[Array, Array]:
    theta = flat_parameters(problem)
    mean, gradients = mean_gradients(problem, X, theta)
    if is_rate(problem.shape.family):
        gradients /= mean.T[:, :, None]
        return np.log(mean), gradients
    return mean, gradients


def flat_parameters(problem: FittedProblem) -> Array:
    """Return all parameters as one vector, in the order of `EStep.flatten`."""
    pairs = zip(problem.coefs, problem.intercepts, strict=True)
    parts = [values.ravel() for pair in pairs for values in pair]
    return np.concatenate([*parts, *([] if problem.variance is None else [problem.variance])])


def mean_gradients(problem: FittedProblem, X: Array, theta: Array) -> tuple[Array, Array]:
    """Return means (n, d) of every output given x and their gradients (d, n, n_parameters).

    The mean is a sum over all states of one hidden layer. For outputs with a noise variance it is
    ``u V + c``.

    Parameters
    ----------
    problem : FittedProblem
    X : array (n_samples, n_features)
    theta : array (n_parameters,)
    """
    shape = problem.shape
    m, d, p = shape.first, shape.n_outputs, shape.n_features
    W, b = theta[: p * m].reshape(p, m), theta[p * m : (p + 1) * m]
    output = theta[(p + 1) * m : (p + 1) * m + (m + 1) * d].reshape(m + 1, d)
    u = expit(X @ W + b)
    if shape.family.has_variance:
        mean = u @ output[:-1] + output[-1]
        by_log_odds = (u * (1.0 - u))[:, :, None] * output[:-1]
        by_weights = np.repeat(np.column_stack([u, np.ones(len(X))])[:, :, None], d, axis=2)
    else:
        mean, by_log_odds, by_weights = _sums_over_states(problem, u, output)
    gradients = np.zeros((d, len(X), len(theta)))
    inputs = np.column_stack([X, np.ones(len(X))])
    for j in range(d):
        of_hidden = inputs[:, :, None] * by_log_odds[:, None, :, j]
        gradients[j, :, : (p + 1) * m] = of_hidden.reshape(len(X), -1)
        places = (p + 1) * m + d * np.arange(m + 1) + j
        gradients[j][:, places] = by_weights[:, :, j]
    return mean, gradients


def _sums_over_states(
    problem: FittedProblem, u: Array, output: Array
) -> tuple[Array, Array, Array]:
    """Return means (n, d), their slopes by log-odds (n, m, d) and by output weights (n, m + 1, d).

    With the prior u, the slope by a log-odds is the covariance of the state and the mean given the
    state.
    """
    family, m = problem.shape.family, problem.shape.first
    Z = states_of(m)
    eta = Z.T @ output[:-1] + output[-1]
    of_states, curvature = family.mean(eta), family.curvature(eta)
    mean = np.empty((len(u), output.shape[1]))
    by_log_odds = np.empty((len(u), m, output.shape[1]))
    by_weights = np.empty((len(u), m + 1, output.shape[1]))
    step = max(1, _ENTRIES_OF_STATES >> m)
    for start in range(0, len(u), step):
        rows = slice(start, start + step)
        on, off = u[rows, :, None], 1.0 - u[rows, :, None]
        prior = np.prod(np.where(Z == 1.0, on, off), axis=1)
        mean[rows] = prior @ of_states
        by_weights[rows, m] = prior @ curvature
        for h in range(m):
            by_log_odds[rows, h] = (prior * (Z[h] - u[rows, h, None])) @ of_states
            by_weights[rows, h] = (prior * Z[h]) @ curvature
    return mean, by_log_odds, by_weights
