"""Losses of the output layer, and their derivatives, with which backpropagation starts."""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.activations import EXP, LOGISTIC, SOFTMAX
from fastem.kernels.special import add_in_order, log_positive, log_sigmoid

LOG_LOSS, SQUARED_ERROR, POISSON, ABSOLUTE_ERROR = range(4)


@jit
def fill_output_deltas(loss, activation, values, targets, weights, smallest, deltas):
    """Return the weighted loss of a batch of rows, and fill its derivatives.

    The loss of a row is a sum over outputs o with targets t:

    ==============================  =====================================
    LOG_LOSS, activation SOFTMAX    ``-t log o``
    LOG_LOSS, activation LOGISTIC   ``-t log o - (1 - t) log(1 - o)``
    SQUARED_ERROR                   ``(t - o)**2 / 2``
    POISSON, activation EXP         ``t log(t / o) - t + o``
    ABSOLUTE_ERROR                  ``|t - o|``
    ==============================  =====================================

    Parameters
    ----------
    loss, activation : int
    values, targets : array (n_rows, n_outputs)
    weights : array (n_rows,)
    smallest : float
        LOG_LOSS clips o to ``[smallest, 1 - smallest]``; derivatives are not clipped. If it is
        zero, LOG_LOSS and POISSON are computed from the weighted sums, without clipping.
    deltas : array (n_rows, n_outputs)
        On entry, the weighted sums, which are used if ``smallest`` is zero. On return,
        derivatives of the loss with respect to the weighted sums. Modified in place.

    Returns
    -------
    total : float
    """
    n_rows, n_outputs = values.shape
    total = 0.0
    for i in range(n_rows):
        weight = weights[i]
        of_row = 0.0
        if loss == LOG_LOSS:
            if smallest == 0.0:
                of_row = _exact_log_loss(i, activation == SOFTMAX, targets, deltas)
            of_row += _log_loss(i, activation == SOFTMAX, values, targets, smallest, deltas)
        elif loss == POISSON:
            for k in range(n_outputs):
                t, o = targets[i, k], values[i, k]
                of_row += o - t
                if t > 0.0:
                    log_o = deltas[i, k] if smallest == 0.0 else np.log(o)
                    of_row += t * (np.log(t) - log_o)
                deltas[i, k] = o - t
        else:
            for k in range(n_outputs):
                error = values[i, k] - targets[i, k]
                if loss == SQUARED_ERROR:
                    of_row += 0.5 * error * error
                    deltas[i, k] = error
                else:
                    of_row += abs(error)
                    deltas[i, k] = np.sign(error)
            _through_activation(i, activation, values, deltas)
        # a row of weight zero contributes nothing, even if its loss is not finite
        if weight != 0.0:
            total += weight * of_row
        for k in range(n_outputs):
            deltas[i, k] = weight * deltas[i, k] if weight != 0.0 else 0.0
    return total


@jit
def _log_loss(i, is_softmax, values, targets, smallest, deltas):
    n_outputs = values.shape[1]
    of_row, mass = 0.0, 1.0
    if is_softmax:
        mass = 0.0
        for k in range(n_outputs):
            mass += targets[i, k]
    for k in range(n_outputs):
        t, o = targets[i, k], values[i, k]
        if smallest > 0.0:
            clipped = min(max(o, smallest), 1.0 - smallest)
            if t != 0.0:
                of_row -= t * log_positive(clipped)
            if not is_softmax and t != 1.0:
                of_row -= (1.0 - t) * log_positive(1.0 - clipped)
        deltas[i, k] = mass * o - t
    return of_row


@jit
def _exact_log_loss(i, is_softmax, targets, sums):
    """Return the log-loss of a row, computed from its weighted sums without underflow."""
    n_outputs = targets.shape[1]
    of_row = 0.0
    if not is_softmax:
        for k in range(n_outputs):
            t = targets[i, k]
            of_row -= t * log_sigmoid(sums[i, k]) + (1.0 - t) * log_sigmoid(-sums[i, k])
        return of_row
    largest, total = -np.inf, 0.0
    for k in range(n_outputs):
        largest = max(largest, sums[i, k])
    for k in range(n_outputs):
        total += math.exp(add_in_order(sums[i, k], -largest))
    for k in range(n_outputs):
        of_row -= targets[i, k] * (add_in_order(sums[i, k], -largest) - math.log(total))
    return of_row


@jit
def _through_activation(i, activation, values, deltas):
    n_outputs = values.shape[1]
    if activation == LOGISTIC:
        for k in range(n_outputs):
            deltas[i, k] *= values[i, k] * (1.0 - values[i, k])
    elif activation == EXP:
        for k in range(n_outputs):
            deltas[i, k] *= values[i, k]
    elif activation == SOFTMAX:
        mean = 0.0
        for k in range(n_outputs):
            mean += values[i, k] * deltas[i, k]
        for k in range(n_outputs):
            deltas[i, k] = values[i, k] * (deltas[i, k] - mean)
