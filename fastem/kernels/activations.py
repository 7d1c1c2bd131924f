"""Activation functions of a layer of deterministic units, and their derivatives."""

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.random import GAMMA, mix, uniform
from fastem.kernels.special import exp_clipped, expm1_clipped

IDENTITY, LOGISTIC, TANH, RELU, LEAKY_RELU, PRELU, ELU, MAXOUT, SOFTMAX, EXP = range(10)

# Slope below zero of "leaky_relu", and starting value of the slopes of "prelu" (He et al. 2015).
LEAKY_SLOPE = 0.1
FIRST_SLOPE = 0.25


@jit
def fill_hidden(activation, nets, intercepts, slopes, values):
    """Apply the activation of a hidden layer, and overwrite its input with the derivative.

    Parameters
    ----------
    activation : int
    nets : array (n_rows, n_columns)
        On entry, weighted sums without intercepts. On return, derivatives; for PRELU, weighted
        sums with intercepts. Modified in place.
    intercepts : array (n_columns,)
    slopes : array (n_units,)
        Used by PRELU only.
    values : array (n_rows, n_units)
        Overwritten. ``n_columns`` is ``2 n_units`` for MAXOUT, ``n_units`` otherwise.
    """
    n_rows, n_units = values.shape
    for i in range(n_rows):
        if activation == IDENTITY:
            for j in range(n_units):
                values[i, j] = nets[i, j] + intercepts[j]
                nets[i, j] = 1.0
        elif activation == LOGISTIC:
            for j in range(n_units):
                v = 1.0 / (1.0 + exp_clipped(-(nets[i, j] + intercepts[j])))
                values[i, j] = v
                nets[i, j] = v * (1.0 - v)
        elif activation == TANH:
            for j in range(n_units):
                a = nets[i, j] + intercepts[j]
                # a negative argument: no cancellation near zero, no overflow far from it
                e = expm1_clipped(-2.0 * abs(a))
                v = -e / (2.0 + e)
                v = v if a >= 0.0 else -v
                values[i, j] = v
                nets[i, j] = 1.0 - v * v
        elif activation == RELU:
            for j in range(n_units):
                a = nets[i, j] + intercepts[j]
                # in all branches the comparison is false for NaN, so that NaN is passed on
                values[i, j] = 0.0 if a <= 0.0 else a
                nets[i, j] = 0.0 if a <= 0.0 else 1.0
        elif activation == LEAKY_RELU:
            for j in range(n_units):
                a = nets[i, j] + intercepts[j]
                slope = LEAKY_SLOPE if a <= 0.0 else 1.0
                values[i, j] = slope * a
                nets[i, j] = slope
        elif activation == PRELU:
            for j in range(n_units):
                a = nets[i, j] + intercepts[j]
                values[i, j] = slopes[j] * a if a <= 0.0 else a
                nets[i, j] = a
        elif activation == ELU:
            for j in range(n_units):
                a = nets[i, j] + intercepts[j]
                e = expm1_clipped(0.0 if a > 0.0 else a)
                values[i, j] = e if a <= 0.0 else a
                nets[i, j] = e + 1.0 if a <= 0.0 else 1.0
        else:
            _maxout(i, nets, intercepts, values)


@jit
def _maxout(i, nets, intercepts, values):
    n_units = values.shape[1]
    for j in range(n_units):
        a, b = nets[i, j] + intercepts[j], nets[i, n_units + j] + intercepts[n_units + j]
        first = 1.0 if a >= b else 0.0
        values[i, j] = a if a >= b else b
        nets[i, j] = first
        nets[i, n_units + j] = 1.0 - first


@jit
def fill_hidden_deltas(activation, errors, slopes, deltas, slope_gradient):
    """Multiply the errors of a layer's values by the derivative of its activation.

    Parameters
    ----------
    activation : int
    errors : array (n_rows, n_units)
        Derivative of the loss with respect to the values.
    slopes : array (n_units,)
    deltas : array (n_rows, n_columns)
        On entry, ``nets`` as `fill_hidden` has overwritten it. On return, derivative of the loss
        with respect to the weighted sums. Modified in place.
    slope_gradient : array (n_units,)
        Derivative of the loss with respect to the slopes. Overwritten for PRELU only.
    """
    n_rows, n_units = errors.shape
    if activation == PRELU:
        slope_gradient[:] = 0.0
    for i in range(n_rows):
        if activation == MAXOUT:
            for j in range(n_units):
                deltas[i, j] *= errors[i, j]
                deltas[i, n_units + j] *= errors[i, j]
        elif activation == PRELU:
            for j in range(n_units):
                a = deltas[i, j]
                slope_gradient[j] += errors[i, j] * min(a, 0.0)
                deltas[i, j] = errors[i, j] * (slopes[j] if a <= 0.0 else 1.0)
        else:
            for j in range(n_units):
                deltas[i, j] *= errors[i, j]


@jit
def fill_output(activation, nets, intercepts, values):
    """Apply the output layer's activation: IDENTITY, LOGISTIC, SOFTMAX or EXP.

    Parameters
    ----------
    activation : int
    nets : array (n_rows, n_outputs)
        Weighted sums: without intercepts on entry, with them on return. Modified in place.
    intercepts : array (n_outputs,)
    values : array (n_rows, n_outputs)
        Overwritten.
    """
    n_rows, n_outputs = values.shape
    for i in range(n_rows):
        for k in range(n_outputs):
            nets[i, k] += intercepts[k]
        if activation == IDENTITY:
            for k in range(n_outputs):
                values[i, k] = nets[i, k]
        elif activation == LOGISTIC:
            for k in range(n_outputs):
                values[i, k] = 1.0 / (1.0 + exp_clipped(-nets[i, k]))
        elif activation == EXP:
            for k in range(n_outputs):
                values[i, k] = exp_clipped(nets[i, k])
        else:
            _softmax(i, nets, values)


@jit
def _softmax(i, nets, values):
    largest = -np.inf
    for k in range(values.shape[1]):
        largest = max(largest, nets[i, k])
    total = 0.0
    for k in range(values.shape[1]):
        below = nets[i, k] - largest
        e = 0.0 if below < -708.0 else exp_clipped(below)
        values[i, k] = e
        total += e
    for k in range(values.shape[1]):
        values[i, k] /= total


@jit
def drop(rate, seed, first, values):
    """Set each value to zero with probability ``rate``, and divide the others by ``1 - rate``.

    Every random number is computed from its counter alone. The backward pass therefore repeats the
    draws of the forward pass instead of storing them.

    Parameters
    ----------
    rate : float
    seed, first : uint64
        Stream of random numbers, and the counter of the number that belongs to ``values[0, 0]``.
    values : array (n_rows, n_units)
        Modified in place.
    """
    n_rows, n_units = values.shape
    scale = 1.0 / (1.0 - rate)
    for i in range(n_rows):
        start = first + np.uint64(i * n_units)
        for j in range(n_units):
            number = uniform(mix(seed + (start + np.uint64(j)) * GAMMA))
            values[i, j] = values[i, j] * scale if number >= rate else 0.0
