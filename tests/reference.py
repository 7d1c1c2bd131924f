"""The slow truth: plain NumPy over `itertools.product`, in log space.

Every fast path of the package is compared with these functions, and they import nothing
of it. A configuration is a tuple of zeros and ones, unit 0 first.
"""

import itertools
import math

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


def joint_states(sizes):
    """All states of several layers together: one array (n_joint, m_l) per layer."""
    Z = configurations(sum(sizes))
    return np.split(Z, np.cumsum(sizes)[:-1], axis=1)


def log_upper(layers, coefs, intercepts):
    """log P(z_2, ..., z_L | z_1) and log P(y = k | z_L) of joint states, (n_joint, ...)."""
    log_p = np.zeros(len(layers[0]))
    for below, above, W, b in zip(layers, layers[1:], coefs[1:], intercepts[1:], strict=False):
        a = below @ W + b
        log_p += (above * log_sigmoid(a) + (1.0 - above) * log_sigmoid(-a)).sum(axis=1)
    logits = layers[-1] @ coefs[-1] + intercepts[-1]
    return log_p, logits - log_sum_exp(logits, axis=1)[:, None]


def log_first(X, Z, W, b):
    """log P(z_1 | x) of given states of the first layer, (n_samples, n_joint)."""
    a = X @ W + b
    return log_sigmoid(a) @ Z.T + log_sigmoid(-a) @ (1.0 - Z).T


def log_marginal(X, coefs, intercepts):
    """log p(y = k | x), (n_samples, n_classes); any number of hidden layers."""
    layers = joint_states([len(V) for V in coefs[1:]])
    log_p, log_o = log_upper(layers, coefs, intercepts)
    log_pi = log_first(X, layers[0], coefs[0], intercepts[0]) + log_p
    return log_sum_exp(log_pi[:, :, None] + log_o[None], axis=1)


def e_step(X, y, coefs, intercepts, weights=None):
    """The exact E-step and the gradient of the weighted total log-likelihood.

    Any number of hidden layers, by brute force over their joint states. ``counts`` are of the
    last layer's configurations.
    """
    w = np.ones(len(X)) if weights is None else weights
    sizes = [len(V) for V in coefs[1:]]
    layers = joint_states(sizes)
    log_p, log_o = log_upper(layers, coefs, intercepts)
    log_joint = log_first(X, layers[0], coefs[0], intercepts[0]) + log_p + log_o[:, y].T
    log_likelihood = log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_likelihood[:, None])
    posterior = r @ layers[0]
    probability = np.exp(log_sigmoid(X @ coefs[0] + intercepts[0]))
    n_classes = coefs[-1].shape[1]
    joint = np.array([(r * w[:, None])[y == k].sum(axis=0) for k in range(n_classes)])
    residual = joint - joint.sum(axis=0) * np.exp(log_o).T
    delta = w[:, None] * (posterior - probability)
    coef_gradients, intercept_gradients = [X.T @ delta], [delta.sum(axis=0)]
    for below, above, W, b in zip(layers, layers[1:], coefs[1:], intercepts[1:], strict=False):
        delta = joint.sum(axis=0)[:, None] * (above - np.exp(log_sigmoid(below @ W + b)))
        coef_gradients.append(below.T @ delta)
        intercept_gradients.append(delta.sum(axis=0))
    states = (layers[-1] @ 2 ** np.arange(sizes[-1])).astype(int)
    counts = np.array([np.bincount(states, of_class, 2 ** sizes[-1]) for of_class in joint])
    return {
        "log_likelihood": log_likelihood,
        "hidden_posterior": posterior,
        "counts": counts,
        "coef_gradients": [*coef_gradients, layers[-1].T @ residual.T],
        "intercept_gradients": [*intercept_gradients, residual.sum(axis=1)],
    }


def draw_network(rng, n_features, n_hidden, n_classes, fit_intercept=True, scale=1.0):
    """Random weights as two lists: ``[W, ..., V], [b, ..., c]``; no intercepts are zeros.

    ``n_hidden`` is the number of hidden units, or one number per hidden layer.
    """
    sizes = [n_features, *np.atleast_1d(n_hidden), n_classes]
    coefs = [scale * rng.normal(size=shape) for shape in itertools.pairwise(sizes)]
    intercepts = [scale * fit_intercept * rng.normal(size=size) for size in sizes[1:]]
    return coefs, intercepts


def directional_slopes(coefs, intercepts, objective, step=1e-5):
    """Return a random direction for every array, and the central difference along it.

    ``objective`` is called without arguments; the arrays are moved in place, and moved back.
    """
    rng = np.random.default_rng(1)
    slopes = []
    for array in [*coefs, *intercepts]:
        direction, values = rng.normal(size=array.shape), []
        for sign in (1.0, -1.0):
            array += sign * step * direction
            values.append(objective())
            array -= sign * step * direction
        slopes.append((direction, (values[0] - values[1]) / (2.0 * step)))
    return slopes


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


def log_density(family, y, eta, variance):
    """log p(y | eta) of every pair of a row (n, d) and a configuration (K, d), (n, K)."""
    y, eta = y[:, None, :], eta[None, :, :]
    if family == "gaussian":
        own = -0.5 * (np.log(2.0 * np.pi * variance) + (y - eta) ** 2 / variance)
    elif family == "bernoulli":
        own = y * log_sigmoid(eta) + (1.0 - y) * log_sigmoid(-eta)
    elif family == "poisson":
        factorial = np.vectorize(math.lgamma)(y + 1.0)
        own = y * eta - np.exp(eta) - factorial
    else:
        raise ValueError(family)
    return own.sum(axis=2)


def mean_of(family, eta):
    if family == "bernoulli":
        return np.exp(log_sigmoid(eta))
    return np.exp(eta) if family == "poisson" else eta


def family_e_step(family, X, y, coefs, intercepts, variance=None, weights=None):
    """The exact E-step of outputs y (n, d) that are independent given one hidden layer.

    Gradients are of the weighted total log-likelihood; ``counts`` are of all rows together.
    """
    w = np.ones(len(X)) if weights is None else weights
    (W, V), (b, c) = coefs, intercepts
    s = np.ones(V.shape[1]) if variance is None else variance
    Z = configurations(len(V))
    eta = Z @ V + c
    log_joint = log_first(X, Z, W, b) + log_density(family, y, eta, s)
    log_likelihood = log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_likelihood[:, None]) * w[:, None]
    posterior = np.exp(log_joint - log_likelihood[:, None]) @ Z
    delta = w[:, None] * (posterior - np.exp(log_sigmoid(X @ W + b)))
    residuals = y[:, None, :] - mean_of(family, eta)[None]  # (n, K, d)
    summed = np.einsum("ik,ikd->kd", r, residuals) / s
    squares = np.einsum("ik,ikd->d", r, (y[:, None, :] - eta[None]) ** 2)
    return {
        "log_likelihood": log_likelihood,
        "hidden_posterior": posterior,
        "counts": r.sum(axis=0),
        "coef_gradients": [X.T @ delta, Z.T @ summed],
        "intercept_gradients": [delta.sum(axis=0), summed.sum(axis=0)],
        "squared_residuals": squares,
    }


def first_layer_posterior(X, y, coefs, intercepts, family="categorical", variance=None):
    """The posterior over the configurations of the first hidden layer, and of every layer's units.

    ``y`` holds class indices (n,), or values (n, d) for the other families.
    """
    layers = joint_states([len(V) for V in coefs[1:]])
    log_p, log_o = log_upper(layers, coefs, intercepts)
    if family == "categorical":
        log_density_of_y = log_o[:, y].T
    else:
        s = np.ones(coefs[-1].shape[1]) if variance is None else variance
        eta = layers[-1] @ coefs[-1] + intercepts[-1]
        log_density_of_y = log_density(family, y, eta, s)
    log_joint = log_first(X, layers[0], coefs[0], intercepts[0]) + log_p + log_density_of_y
    log_likelihood = log_sum_exp(log_joint, axis=1)
    # the state of the first layer runs fastest
    n, m = len(X), layers[0].shape[1]
    of_first = log_sum_exp(log_joint.reshape(n, len(layers[0]) >> m, 2**m), axis=1)
    Z = configurations(m)
    r = np.exp(log_joint - log_likelihood[:, None])
    return {
        "Z": Z,
        "log_likelihood": log_likelihood,
        "log_prior": log_first(X, Z, coefs[0], intercepts[0]),
        "log_joint": of_first,
        "log_posterior": of_first - log_likelihood[:, None],
        "layers": [r @ states for states in layers],
    }


def pair_moments(found):
    """E[z z' | x, y] (n, m, m) from `first_layer_posterior`."""
    Z = found["Z"]
    return np.einsum("ns,sh,sk->nhk", np.exp(found["log_posterior"]), Z, Z)


def entropy_and_divergence(found):
    """Entropy of the posterior and its divergence from the prior, (n,), in nats."""
    log_r = found["log_posterior"]
    r = np.exp(log_r)
    return -(r * log_r).sum(axis=1), (r * (log_r - found["log_prior"])).sum(axis=1)


def evidence_bound(found, q):
    """sum_z q(z) (log p(z, y | x) - log q(z)) (n,), with 0 log 0 = 0."""
    out = np.zeros(len(q))
    for s, z in enumerate(found["Z"]):
        own = np.prod(np.where(z == 1.0, q, 1.0 - q), axis=1)
        is_on = own > 0.0
        log_q = np.log(np.where(is_on, own, 1.0))
        out += np.where(is_on, own * (found["log_joint"][:, s] - log_q), 0.0)
    return out
