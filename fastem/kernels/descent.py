"""Steps of gradient descent: one pass over parameters, gradient and the optimizer's state."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels._jit import jit

SUM, SGD, ADAM, OUTPUTS = range(4)


class Rule(NamedTuple):
    """A rule of descent: its kind and its rates, named as scikit-learn's parameters are.

    Attributes
    ----------
    kind : int
        SGD, ADAM, SUM, which only adds up gradients, or OUTPUTS, which needs no gradients.
    rate : float
        Learning rate.
    momentum : float
        Of SGD.
    nesterov : bool
        Whether SGD uses Nesterov's momentum.
    beta_1, beta_2 : float
        Decay rates of Adam's moments.
    epsilon : float
        Added to the root of Adam's second moment.
    """

    kind: int
    rate: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0

    @classmethod
    def sgd(cls, rate: float, momentum: float, nesterov: bool) -> "Rule":
        """Return gradient descent with momentum."""
        return cls(SGD, float(rate), float(momentum), bool(nesterov))

    @classmethod
    def adam(cls, rate: float, beta_1: float, beta_2: float, epsilon: float) -> "Rule":
        """Return Adam (Kingma and Ba 2015)."""
        rates = float(beta_1), float(beta_2), float(epsilon)
        return cls(ADAM, float(rate), 0.0, False, *rates)


class State(NamedTuple):
    """Parameters, and the memory of a rule of descent.

    Attributes
    ----------
    theta : array (n_parameters,)
    first : array (n_parameters,)
        Velocity (SGD), first moments (ADAM) or sum of gradients (SUM).
    second : array (n_parameters,)
        Second moments (ADAM). Other rules do not use it.
    """

    theta: NDArray
    first: NDArray
    second: NDArray

    @classmethod
    def owned(cls, theta: NDArray, first: NDArray, second: NDArray) -> "State":
        """Copy arrays, which may be read-only views of a file, into new writeable ones."""
        return cls(np.array(theta), np.array(first), np.array(second))


def rate_of_step(rule, n_steps):
    """Return the learning rate of step number ``n_steps``; the first step is number 1.

    Adam's rate contains the correction of the bias of both moments,
    ``sqrt(1 - beta_2**t) / (1 - beta_1**t)`` in step t.

    Python code calls this function, kernels call `compiled_rate_of_step`. They may differ in the
    last digit, because Python and Numba round powers differently.
    """
    rate = rule.rate
    if rule.kind == ADAM:
        correction = math.sqrt(1.0 - rule.beta_2**n_steps) / (1.0 - rule.beta_1**n_steps)
        rate = rule.rate * correction
    return rate


compiled_rate_of_step = jit(rate_of_step)


@jit
def descend(rule, rate, parameters, gradient, alpha, weight, first, second):
    """Take one step, or add up the gradient; return the squared norm before it.

    Parameters
    ----------
    rule : Rule
        SUM only adds the gradient to ``first``.
    rate : float
        Learning rate of this step (`rate_of_step`).
    parameters : array (n,)
        Modified in place.
    gradient : array (n,)
        Gradient of the summed loss of a batch, without the penalty.
    alpha : float
        Factor of the penalty, half the squared parameters.
    weight : float
        Total weight of the batch. Gradient and penalty are divided by it.
    first, second : array (n,)
        Memory of the rule for these parameters, as in `State`. Modified in place.

    Returns
    -------
    squares : float
        ``sum(parameters**2)`` before the step; zero for SUM.

    Notes
    -----
    Every array is read once and written once: 5 passes over 8 n bytes for SGD, 7 for ADAM.
    """
    squares = 0.0
    if rule.kind == SUM:
        for j in range(len(parameters)):
            first[j] += gradient[j]
        return squares
    # in the precision of the arrays: mixed products would be computed in double precision
    number = parameters.dtype.type
    scale, alpha, rate = number(1.0 / weight), number(alpha), number(rate)
    if rule.kind == SGD:
        momentum, nesterov = number(rule.momentum), rule.nesterov
        for j in range(len(parameters)):
            w = parameters[j]
            squares += w * w
            step = rate * scale * (gradient[j] + alpha * w)
            velocity = momentum * first[j] - step
            first[j] = velocity
            if nesterov:
                velocity = momentum * velocity - step
            parameters[j] = w + velocity
        return squares
    beta_1, beta_2 = number(rule.beta_1), number(rule.beta_2)
    rest_1, rest_2 = number(1.0 - rule.beta_1), number(1.0 - rule.beta_2)
    epsilon = number(rule.epsilon)
    for j in range(len(parameters)):
        w = parameters[j]
        squares += w * w
        g = scale * (gradient[j] + alpha * w)
        m = beta_1 * first[j] + rest_1 * g
        v = beta_2 * second[j] + rest_2 * g * g
        first[j] = m
        second[j] = v
        parameters[j] = w - rate * m / (math.sqrt(v) + epsilon)
    return squares
