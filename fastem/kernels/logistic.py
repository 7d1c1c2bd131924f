"""M-step of the hidden units: logistic regressions on soft targets."""

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import log1p_exp_of_negative
from fastem.kernels.views import matrix


@jit
def fill_hessian(X, weights, probability, tile, workspace, hessian):
    """Fill the negative Hessian ``X' diag(w u (1 - u)) X`` of one unit.

    Parameters
    ----------
    X : array (n_samples, n_inputs)
    weights, probability : arrays (n_samples,)
        Weight w of each row, and probability u of the unit.
    tile : int
        Number of rows of a tile.
    workspace : array (tile * n_inputs + n_inputs**2,)
        Scratch.
    hessian : array (n_inputs, n_inputs)
        Overwritten. Costs ``2 n p**2`` flops.
    """
    n_samples, n_inputs = X.shape
    more = matrix(workspace, tile * n_inputs, n_inputs, n_inputs)
    hessian[:] = 0.0
    for begin in range(0, n_samples, tile):
        n = min(tile, n_samples - begin)
        scaled = matrix(workspace, 0, n, n_inputs)
        for i in range(n):
            u = probability[begin + i]
            d = weights[begin + i] * (u * (1.0 - u))
            for j in range(n_inputs):
                scaled[i, j] = d * X[begin + i, j]
        np.dot(scaled.T, X[begin : begin + n], more)
        for i in range(n_inputs):
            for j in range(n_inputs):
                hessian[i, j] += more[i, j]


@jit
def add_objective(X, weights, coefs_T, target, start, stop, tile, workspace, objective):
    """Add ``sum_i w_i (q_hi a_hi - log(1 + exp(a_hi)))`` over rows ``start:stop``, per unit.

    Parameters
    ----------
    X : array (n_samples, n_inputs)
    weights : array (n_samples,)
    coefs_T : array (n_hidden, n_inputs), log-odds per unit of input
    target : array (n_hidden, n_samples), probability
        Soft targets q.
    start, stop, tile : int
    workspace : array (tile * n_hidden,)
        Scratch.
    objective : array (n_hidden,), nats
        Modified in place.
    """
    n_hidden = coefs_T.shape[0]
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        log_odds = matrix(workspace, 0, n_hidden, n)
        np.dot(coefs_T, X[begin:end].T, log_odds)
        for h in range(n_hidden):
            total = 0.0
            for i in range(n):
                a = log_odds[h, i]
                part = target[h, begin + i] * a - max(a, 0.0) - log1p_exp_of_negative(a)
                total += weights[begin + i] * part
            objective[h] += total
