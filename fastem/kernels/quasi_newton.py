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
    memory, n_parameters = steps.shape
    out, share, inverse = np.empty(n_parameters), np.empty(n_pairs), np.empty(n_pairs)
    for i in range(n_parameters):
        out[i] = gradient[i]
    for j in range(n_pairs - 1, -1, -1):
        slot = (first + j) % memory
        step, decrease = steps[slot], decreases[slot]
        inverse[j] = 1.0 / _inner(step, decrease)
        share[j] = inverse[j] * _inner(step, out)
        _add(-share[j], decrease, out)
    newest = decreases[(first + n_pairs - 1) % memory]
    scale = 1.0 / (inverse[n_pairs - 1] * _inner(newest, newest))
    for i in range(n_parameters):
        out[i] *= scale
    for j in range(n_pairs):
        slot = (first + j) % memory
        _add(share[j] - inverse[j] * _inner(decreases[slot], out), steps[slot], out)
    return out


@jit
def _inner(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@jit
def _add(factor, a, out):
    for i in range(out.size):
        out[i] += factor * a[i]
