"""Quadrature over a line, for a scalar Gaussian output: the sums over nodes.

Let ``y | z ~ Normal(c + sum_h v_h z_h, variance)``. The density of y is the integral

    p = 1/(2 pi) integral exp(variance w^2/2 + w (c - y)) prod_h (1 - u_h + u_h exp(w v_h)) dt

over the line ``w = delta + i t``. delta is any real number; `fastem.kernels.gaussian_plan`
chooses it near the saddle point. The units are tilted to ``beta_h = sigmoid(a_h + delta v_h)``.
This takes the scale ``exp(K(delta))`` out of the integral and leaves

    exp(-variance t^2/2 + i t (c - y + variance delta)) prod_h (1 - beta_h + beta_h exp(i t v_h)).

All factors have a modulus of at most one. A block of nodes is therefore dropped as soon as the
running product is negligible in all of its nodes. The moduli that are dropped bound the error.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped

NODES_AT_ONCE = 16  # a power of two
ROUNDING = 2e-16  # relative rounding error of one factor
_UNITS_AT_ONCE = 16  # units between two checks whether a block of nodes is negligible
_TINY_SQUARE = 1e-60  # squared modulus below which a factor counts as zero
_TINY = 1e-30  # is added to such a factor, and divides out again


@jit
def fill_powers(first, step, frequency, cosines, sines):
    """Compute cosine and sine of ``frequency * (first + k) * step`` for a block of nodes.

    The angles are doubled: a few library calls serve all nodes of the block.
    """
    angle = frequency * (first * step)
    cosines[0], sines[0] = math.cos(angle), math.sin(angle)
    n = 1
    while n < NODES_AT_ONCE:
        angle = frequency * (n * step)
        x, y = math.cos(angle), math.sin(angle)
        for k in range(n):
            cosines[n + k] = cosines[k] * x - sines[k] * y
            sines[n + k] = cosines[k] * y + sines[k] * x
        n *= 2


@jit
def multiply_units(
    log_odds, i, v, delta, first, step, threshold, ready, on, cosines, sines, real, imaginary
):  # fmt: skip
    """Multiply a block of nodes by the factors of all units, or stop when it is negligible.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    i : int
        The row.
    v : array (n_hidden,)
    delta : float
    first : float
        Number of the first node of the block, in steps from t = 0.
    step, threshold : float
    ready : int
        Number of units whose tables of sines are complete.
    on : array (n_hidden,)
        Overwritten: the tilted probabilities of the units.
    cosines, sines : array (n_hidden, NODES_AT_ONCE)
        Tables of the block. Missing ones are computed in place.
    real, imaginary : array (NODES_AT_ONCE,)
        The running products. Modified in place.

    Returns
    -------
    is_alive : bool
        False if all moduli are below the threshold.
    ready : int
    """
    n_hidden = len(v)
    for low in range(0, n_hidden, _UNITS_AT_ONCE):
        high = min(low + _UNITS_AT_ONCE, n_hidden)
        for h in range(ready, high):
            fill_powers(first, step, v[h], cosines[h], sines[h])
        ready = max(ready, high)
        for h in range(low, high):
            on[h] = 1.0 / (1.0 + exp_clipped(-(log_odds[i, h] + delta * v[h])))
        for h in range(low, high):
            q = on[h]
            for k in range(NODES_AT_ONCE):
                x, y = (1.0 - q) + q * cosines[h, k], q * sines[h, k]
                if x * x + y * y < _TINY_SQUARE:
                    x += _TINY
                r = real[k]
                real[k] = r * x - imaginary[k] * y
                imaginary[k] = r * y + imaginary[k] * x
        largest = 0.0
        for k in range(NODES_AT_ONCE):
            largest = max(largest, real[k] * real[k] + imaginary[k] * imaginary[k])
        if largest < threshold * threshold:
            return False, ready
    return True, ready


@jit
def add_nodes(
    log_odds, gaps, order, start, stop, plan, v, variance, step, n_nodes, derivatives, work,
    sums, sums_of_units, sums_of_slopes,
):  # fmt: skip
    """Add the integrand over the nodes of one grid to the sums of some rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    gaps : array (n_rows,)
        ``c - y``.
    order : array of int
        Row numbers. The kernel works on the rows ``order[start:stop]``.
    start, stop : int
    plan : GaussianPlan
    v : array (n_hidden,)
    variance : float
    step : float
        Distance of the nodes, the same for all of these rows.
    n_nodes : int
        Number of nodes of the row with the largest reach.
    derivatives : bool
        Whether to fill the last two sums.
    work : array (2 * n_hidden + 4, NODES_AT_ONCE)
        Scratch.
    sums : array (n_rows, 6)
        In units of ``exp(K(delta))``: the integral; the integral with a factor w and with a
        factor w^2; the moduli of dropped nodes; the moduli of the other nodes; these with a
        factor t. Modified in place.
    sums_of_units, sums_of_slopes : array (n_rows, n_hidden)
        The integral with a factor ``Z_h``, and with a factor ``Z_h w``. Modified in place; not
        used without derivatives.

    Notes
    -----
    About 40 flops per row, unit and node.
    """
    n_hidden = len(v)
    cosines, sines = work[:n_hidden], work[n_hidden : 2 * n_hidden]
    real, imaginary, times, decay = work[2 * n_hidden :]
    on = np.empty(n_hidden)
    for first in range(0, n_nodes, NODES_AT_ONCE):
        for k in range(NODES_AT_ONCE):
            times[k] = (first + k) * step
            decay[k] = step / math.pi * math.exp(-0.5 * variance * times[k] * times[k])
        if first == 0:  # the integrand is Hermitian: the sum takes half of its first node
            decay[0] *= 0.5
        ready = 0
        for position in range(start, stop):
            i = order[position]
            if plan.reach[i] < times[0]:
                continue
            delta = plan.abscissa[i]
            fill_powers(first, step, gaps[i] + variance * delta, real, imaginary)
            for k in range(NODES_AT_ONCE):
                real[k] *= decay[k]
                imaginary[k] *= decay[k]
            is_alive, ready = multiply_units(
                log_odds, i, v, delta, first, step, plan.threshold[i] * step / math.pi, ready,
                on, cosines, sines, real, imaginary,
            )  # fmt: skip
            _add_block(is_alive, delta, times, real, imaginary, sums[i])
            if is_alive and derivatives:
                _add_derivatives(
                    on, delta, times, cosines, sines, real, imaginary, sums_of_units[i],
                    sums_of_slopes[i],
                )  # fmt: skip


@jit
def _add_block(is_alive, delta, times, real, imaginary, sums):
    """Add a block of nodes to the sums of one row."""
    total = slope = square = moduli = moments = 0.0
    for k in range(NODES_AT_ONCE):
        t, modulus = times[k], math.sqrt(real[k] * real[k] + imaginary[k] * imaginary[k])
        total += real[k]
        slope += delta * real[k] - t * imaginary[k]
        square += (delta * delta - t * t) * real[k] - 2.0 * delta * t * imaginary[k]
        moduli += modulus
        moments += t * modulus
    if is_alive:
        sums[0] += total
        sums[1] += slope
        sums[2] += square
        sums[4] += moduli
        sums[5] += moments
    else:
        sums[3] += moduli


@jit
def _add_derivatives(
    on, delta, times, cosines, sines, real, imaginary, sums_of_units, sums_of_slopes
):
    """Add a block of nodes, with the factors of each unit being on, to the sums of one row."""
    for h in range(len(on)):
        q = on[h]
        total = slope = 0.0
        for k in range(NODES_AT_ONCE):
            a, y = q * cosines[h, k], q * sines[h, k]
            x = (1.0 - q) + a
            if x * x + y * y < _TINY_SQUARE:
                x += _TINY
            over = 1.0 / (x * x + y * y)
            # the part of the factor with Z_h = 1, divided by the factor
            g_real, g_imaginary = (a * x + y * y) * over, (y * x - a * y) * over
            total += real[k] * g_real - imaginary[k] * g_imaginary
            slope += times[k] * (real[k] * g_imaginary + imaginary[k] * g_real)
        sums_of_units[h] += total
        sums_of_slopes[h] += delta * total - slope
