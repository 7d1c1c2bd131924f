"""The slow truth of derivatives: sums over all joint states of all layers, in extended precision.

Imports nothing of the package. Parameters are in the order: for every layer its coefs row by row,
then its intercepts; last the variances.
"""

import numpy as np
from reference import joint_states, log_sigmoid, log_sum_exp

EXTENDED = np.longdouble


def _curvature(family, eta):
    if family == "bernoulli":
        return np.exp(log_sigmoid(eta) + log_sigmoid(-eta))
    return np.exp(eta) if family == "poisson" else np.ones_like(eta)


def _outputs(family, y, eta, variance):
    """log p(y | eta) without its constant, and residuals: (n, S) and (n, S, outputs)."""
    if family == "categorical":
        log_o = eta - log_sum_exp(eta, axis=2)[:, :, None]
        chosen = np.eye(eta.shape[2], dtype=EXTENDED)[y][:, None]
        return (chosen * log_o).sum(axis=2), chosen - np.exp(log_o)
    y = y[:, None].astype(EXTENDED)
    if family == "gaussian":
        log_p = -((y - eta) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
        return log_p.sum(axis=2), (y - eta) / variance
    if family == "bernoulli":
        log_p = y * log_sigmoid(eta) + (1 - y) * log_sigmoid(-eta)
        return log_p.sum(axis=2), y - np.exp(log_sigmoid(eta))
    return (y * eta - np.exp(eta)).sum(axis=2), y - np.exp(eta)


class _Hessian:
    """Sums of outer products over rows and states, into blocks of layers."""

    def __init__(self, size):
        self.total = np.zeros((size, size), dtype=EXTENDED)

    def add(self, start, inputs, curvature, r):
        """Subtract ``r inputs inputs' curvature`` (n, S, i), (n, S, a, b), (n, S)."""
        n_inputs, n_units = inputs.shape[2], curvature.shape[2]
        block = np.einsum("nsi,nsj,nsab,ns->iajb", inputs, inputs, curvature, r)
        stop = start + n_inputs * n_units
        self.total[start:stop, start:stop] -= block.reshape(stop - start, -1)


def derivatives(X, y, coefs, intercepts, variance=None, weights=None, family="categorical"):
    """Per-row gradients, and the information by Louis' identity.

    Returns
    -------
    row_gradients (n, P), input_gradient (n, p), information (P, P) : float64 arrays
    """
    X = X.astype(EXTENDED)
    n, w = len(X), np.ones(len(X)) if weights is None else weights
    s = None if variance is None else np.asarray(variance, dtype=EXTENDED)
    layers = [x.astype(EXTENDED) for x in joint_states([len(V) for V in coefs[1:]])]
    n_states = len(layers[0])
    log_joint, scores, curvatures = np.zeros((n, n_states), dtype=EXTENDED), [], []
    below = np.broadcast_to(X[:, None], (n, n_states, X.shape[1]))
    for depth, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        eta = below @ W.astype(EXTENDED) + b
        if depth < len(layers):
            z = np.broadcast_to(layers[depth], (n, *layers[depth].shape))
            log_joint += (z * log_sigmoid(eta) + (1 - z) * log_sigmoid(-eta)).sum(axis=2)
            residual = z - np.exp(log_sigmoid(eta))
            diagonal = np.exp(log_sigmoid(eta) + log_sigmoid(-eta))
            curvature = diagonal[..., None] * np.eye(len(b), dtype=EXTENDED)
        else:
            log_p, residual = _outputs(family, y, eta, s)
            log_joint += log_p
            if family == "categorical":
                o = np.exp(eta - log_sum_exp(eta, axis=2)[:, :, None])
                curvature = o[..., None] * (np.eye(len(b), dtype=EXTENDED) - o[..., None, :])
            else:
                own = _curvature(family, eta) / (1 if s is None else s)
                curvature = own[..., None] * np.eye(len(b), dtype=EXTENDED)
        inputs = np.concatenate([below, np.ones((n, n_states, 1), dtype=EXTENDED)], axis=2)
        scores.append((inputs[..., None] * residual[..., None, :]).reshape(n, n_states, -1))
        curvatures.append((inputs, curvature))
        below = z
    if s is not None:
        scores.append((residual**2 - 1 / s) / 2)
    r = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None])
    score = np.concatenate(scores, axis=2)
    rows = np.einsum("ns,nsp->np", r, score)
    hessian, start, size = _Hessian(score.shape[2]), 0, score.shape[2]
    for inputs, curvature in curvatures:
        hessian.add(start, inputs, curvature, r * w[:, None])
        start += inputs.shape[2] * curvature.shape[2]
    total = hessian.total
    if s is not None:
        _add_variances(total, start - inputs.shape[2] * len(s), inputs, residual, s, r, w)
    away = score - rows[:, None]
    total += np.einsum("ns,nsp,nsq->pq", r * w[:, None], away, away, optimize=True)
    first = (rows[:, : coefs[0].size + coefs[0].shape[1]]).reshape(n, -1, coefs[0].shape[1])
    return {
        "row_gradients": rows.astype(float).reshape(n, size),
        "input_gradient": (first[:, -1] @ coefs[0].astype(EXTENDED).T).astype(float),
        "information": -total.astype(float),
    }


def _add_variances(total, start, inputs, residual, s, r, w):
    """Add expected second derivatives of ``log p(y | z)`` by variances."""
    d, at = len(s), len(total) - len(s)
    for e in range(d):
        cross = -np.einsum("nsi,ns,ns,n->i", inputs, residual[..., e], r, w) / s[e]
        columns = np.arange(start + e, at, d)
        total[columns, at + e] += cross
        total[at + e, columns] += cross
        square = -np.einsum("ns,ns,n->", residual[..., e] ** 2, r, w) / s[e]
        total[at + e, at + e] += square + w.sum() / (2 * s[e] ** 2)
