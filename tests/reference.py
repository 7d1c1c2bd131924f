"""The slow truth: plain NumPy over `itertools.product`, in log space.

Every fast path of the package is compared with these functions, and they import nothing
of it. A configuration is a tuple of zeros and ones, unit 0 first.
"""

import itertools

import numpy as np


def configurations(n_hidden):
    """All states of n_hidden units, (2**n_hidden, n_hidden); bit h of the row is unit h."""
    states = list(itertools.product((0.0, 1.0), repeat=n_hidden))
    return np.array(states).reshape(len(states), n_hidden)[:, ::-1]


def log_sigmoid(a):
    return -np.logaddexp(0.0, -a)


def log_sum_exp(x, axis):
    largest = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    return np.squeeze(total, axis=axis)


def log_output_table(V, c):
    """log P(y = k | z) for every configuration, (n_configs, n_classes)."""
    logits = configurations(len(V)) @ V + c
    return logits - log_sum_exp(logits, axis=1)[:, None]


def log_prior(X, W, b):
    """log P(z | x) for every row and configuration, (n_samples, n_configs)."""
    Z = configurations(W.shape[1])
    a = X @ W + b
    return log_sigmoid(a) @ Z.T + log_sigmoid(-a) @ (1.0 - Z).T


def log_marginal(X, coefs, intercepts):
    """log p(y = k | x), (n_samples, n_classes)."""
    log_pi = log_prior(X, coefs[0], intercepts[0])
    log_o = log_output_table(coefs[1], intercepts[1])
    return log_sum_exp(log_pi[:, :, None] + log_o[None], axis=1)


def e_step(X, y, coefs, intercepts, weights=None):
    """The exact E-step and the gradient of the weighted total log-likelihood."""
    (W, V), (b, c) = coefs, intercepts
    w = np.ones(len(X)) if weights is None else weights
    Z = configurations(W.shape[1])
    log_o = log_output_table(V, c)
    log_joint = log_prior(X, W, b) + log_o[:, y].T
    log_likelihood = log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_likelihood[:, None])
    posterior = r @ Z
    probability = np.exp(log_sigmoid(X @ W + b))
    counts = np.array([(r * w[:, None])[y == k].sum(axis=0) for k in range(V.shape[1])])
    residual = counts - counts.sum(axis=0) * np.exp(log_o).T
    delta = w[:, None] * (posterior - probability)
    return {
        "log_likelihood": log_likelihood,
        "hidden_posterior": posterior,
        "counts": counts,
        "coef_gradients": [X.T @ delta, Z.T @ residual.T],
        "intercept_gradients": [delta.sum(axis=0), residual.sum(axis=1)],
    }


def draw_network(rng, n_features, n_hidden, n_classes, fit_intercept=True, scale=1.0):
    """Random weights as two lists: ``[W, V], [b, c]``; b and c are zeros without intercepts."""
    W, V = rng.normal(size=(n_features, n_hidden)), rng.normal(size=(n_hidden, n_classes))
    b, c = rng.normal(size=n_hidden), rng.normal(size=n_classes)
    if not fit_intercept:
        b, c = np.zeros(n_hidden), np.zeros(n_classes)
    return [scale * W, scale * V], [scale * b, scale * c]


def penalty(coefs, alpha):
    return 0.5 * alpha * sum(np.sum(array**2) for array in coefs)


def expected_objective(X, posterior, counts, coefs, intercepts, weights, alpha=0.0):
    """Q of the M-step: expected log-likelihood of rows and hidden states, penalised.

    Posterior and counts are those of an E-step, under whatever weights it was made.
    """
    (W, V), (b, c) = coefs, intercepts
    a = X @ W + b
    hidden = posterior * log_sigmoid(a) + (1.0 - posterior) * log_sigmoid(-a)
    output = counts * log_output_table(V, c).T
    return weights @ hidden.sum(axis=1) + output.sum() - penalty(coefs, alpha)


def expected_gradients(X, posterior, counts, coefs, intercepts, weights, alpha=0.0):
    """Gradient of `expected_objective`: ``coef_gradients, intercept_gradients``."""
    (W, V), (b, c) = coefs, intercepts
    delta = weights[:, None] * (posterior - np.exp(log_sigmoid(X @ W + b)))
    o = np.exp(log_output_table(V, c)).T
    residual = (counts - counts.sum(axis=0) * o).T
    hidden, output = X.T @ delta, configurations(len(V)).T @ residual
    return [hidden - alpha * W, output - alpha * V], [delta.sum(axis=0), residual.sum(axis=0)]
