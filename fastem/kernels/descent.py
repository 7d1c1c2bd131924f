"""Steps of stochastic descent: one pass over parameters, gradient and optimiser state."""

import math

from fastem.kernels._jit import jit

SUM, SGD, ADAM = range(3)


@jit
def descend(rule, rate, parameters, gradient, alpha, weight, first, second):
    """Take one step, or add up the gradient; return the squared norm before it.

    Parameters
    ----------
    rule : Rule
        What to do. SUM only adds onto ``first``.
    rate : float
        Learning rate, with the correction of Adam's moments in it.
    parameters : array (n,)
        Modified in place.
    gradient : array (n,)
        Of the summed loss of a batch, without the penalty.
    alpha : float
        Penalty on half the squared parameters.
    weight : float
        Total weight of the batch, by which gradient and penalty are divided.
    first, second : array (n,)
        Velocity (SGD), first and second moments (ADAM), or total (SUM) of these parameters.
        Modified in place.

    Returns
    -------
    squares : float
        ``sum(parameters**2)`` before the step, zero where ``alpha`` is.

    Notes
    -----
    Reads and writes each array once: 2 + 2 (SGD) or 3 + 2 (ADAM) streams of 8 n bytes.
    """
    squares = 0.0
    if rule.kind == SUM:
        for j in range(len(parameters)):
            first[j] += gradient[j]
        return squares
    # numbers of the arrays' own precision: products with others would be taken in double
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
