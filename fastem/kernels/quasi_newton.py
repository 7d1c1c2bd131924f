"""The two-loop recursion of limited-memory BFGS."""

import numpy as np

from fastem.kernels._jit import jit


@jit
def direction(gradient, steps, decreases, first, n_pairs):
    """Return the quasi-Newton direction of ascent: the inverse Hessian times the gradient.

    Parameters
    ----------
    gradient : array (n_parameters,), nats per unit of parameter
    steps, decreases : arrays (memory, n_parameters)
        Ring buffers: changes of the parameters, and decreases of the gradient over these
        changes. The inner product of each pair must be positive.
    first, n_pairs : int
        Index of the oldest pair, and number of pairs in use (at least 1).

    Returns
    -------
    direction : array (n_parameters,)

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4.
    """
    memory = steps.shape[0]
    out = gradient.copy()
    share = np.empty(n_pairs)
    inverse = np.empty(n_pairs)
    for j in range(n_pairs - 1, -1, -1):
        slot = (first + j) % memory
        inverse[j] = 1.0 / np.sum(steps[slot] * decreases[slot])
        share[j] = inverse[j] * np.sum(steps[slot] * out)
        out -= share[j] * decreases[slot]
    newest = decreases[(first + n_pairs - 1) % memory]
    out *= 1.0 / (inverse[n_pairs - 1] * np.sum(newest * newest))
    for j in range(n_pairs):
        slot = (first + j) % memory
        out += (share[j] - inverse[j] * np.sum(decreases[slot] * out)) * steps[slot]
    return out
