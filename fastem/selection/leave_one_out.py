"""Approximate leave-one-out scores from the gradients of single rows.

With the gradient ``s_i`` of ``log p(y_i | x_i)`` and ``H = sum_i w_i s_i s_i' + alpha D``, a fit
without one unit of weight of row i moves by about ``-H^-1 s_i / (1 - h_i)``, with the leverage
``h_i = s_i' H^-1 s_i``. The log-likelihood of the row then falls by ``h_i / (1 - h_i)``.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from fastem.parameters import Array

_RIDGE = 1e-10  # share of the mean curvature that makes a singular matrix regular


class LeaveOneOut(NamedTuple):
    """Approximate leave-one-out scores of a fit.

    Attributes
    ----------
    score : float, nats
        Mean log-likelihood per unit weight of rows that are left out; NaN if a leverage is 1 or
        more.
    leverage : float
        The largest ``h_i``. The approximation is poor if it is close to 1.
    effective_parameters : float
        ``sum_i w_i h_i``.
    """

    score: float
    leverage: float
    effective_parameters: float


def leave_one_out(
    gradients: Array, log_likelihood: Array, weights: Array, penalty: Array
) -> LeaveOneOut:
    """Return approximate leave-one-out scores.

    Parameters
    ----------
    gradients : array (n_samples, n_parameters), nats per unit of parameter
        Gradient of the log-likelihood of every row at the optimum.
    log_likelihood : array (n_samples,), nats
    weights : array (n_samples,)
    penalty : array (n_parameters,)
        Second derivative of the penalty by every parameter.

    Returns
    -------
    result : LeaveOneOut

    Notes
    -----
    The cost is about ``3 n k**2`` flops for k parameters.
    """
    scaled = gradients * np.sqrt(weights)[:, None]
    curvature = scaled.T @ scaled
    ridge = _RIDGE * curvature.trace() / len(penalty) + np.finfo(float).tiny
    curvature[np.diag_indices_from(curvature)] += penalty + ridge
    try:
        factor = cho_factor(curvature, lower=True)
    except LinAlgError:
        return LeaveOneOut(np.nan, 1.0, np.nan)
    leverage = np.einsum("ij,ji->i", gradients, cho_solve(factor, gradients.T))
    largest = float(leverage.max(initial=0.0))
    effective = float(weights @ leverage)
    if largest >= 1.0:
        return LeaveOneOut(np.nan, largest, effective)
    score = weights @ (log_likelihood - leverage / (1.0 - leverage)) / weights.sum()
    return LeaveOneOut(float(score), largest, effective)
