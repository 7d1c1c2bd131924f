"""Quadrature over a line, for two classes: choice of the line, and the sums over its nodes.

Let ``S = c + sum_h v_h Z_h``. Then ``p = E sigmoid(S)`` is a Mellin-Barnes integral over a line
in the strip 0 < Re w < 1,

    p = 1/(2 pi) integral pi / sin(pi w) exp(w c) prod_h (1 - u_h + u_h exp(w v_h)) dt,

with ``w = delta + i t``. The units are tilted to ``beta_h = sigmoid(a_h + delta v_h)``. This
takes the scale ``F = E exp(delta S)`` out of the integral. The factors that remain,
``1 - beta_h + beta_h exp(i t v_h)``, have a modulus of at most one. The trapezoid rule has the
step ``2 pi / L``, where L is the period of the sum. It has three errors (absolute errors of p):

    aliasing     exp(-delta L) / (1 - exp(-delta L))
                 + E exp(S) exp(-(1 - delta) L) / (1 - exp(-(1 - delta) L))    (upper bound)
    truncation   about F exp(-pi t) if the sum ends at t
    rounding     about eps * pi F / sin(pi delta), least at the saddle point

`fastem.engines.quadrature.line` evaluates these bounds for the p that the sums give.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative

NODES_AT_ONCE = 128  # their running products stay in the first-level cache
ROUNDING = 2e-16  # relative rounding error of one factor
_ROUNDINGS_OF_SINE = 2.0  # rounding errors of pi / sin(pi w), in units of ROUNDING
_MARGIN = 4.0  # nats: for the factor w in derivatives, and to share the tolerance among errors
_SADDLE_STEPS = 60  # Newton or bisection; bisection alone halves the interval 60 times
_SADDLE_TOLERANCE = 1e-3  # relative; a line close to the saddle point is as good
_ABSCISSAE = 3  # candidates per row: the middle, halfway, the saddle point
_TINY_SQUARE = 1e-60  # squared modulus below which a factor counts as zero
_TINY = 1e-30  # is added to such a factor, and divides out again


class LinePlan(NamedTuple):
    """The choice of a quadrature over a line: one entry per row.

    Attributes
    ----------
    side : array (n_rows,)
        Sign s of the integral ``E sigmoid(s S)``: +1 integrates class 1, -1 class 0.
    abscissa : array (n_rows,)
        delta, the real part of the line, within (0, 1).
    period : array (n_rows,), log-odds
        L. The step of the trapezoid rule is ``2 pi / L``.
    reach : array (n_rows,)
        The value of t at which the sum ends.
    log_scale : array (n_rows,), nats
        ``log F = log E exp(delta s S)``.
    log_top : array (n_rows,), nats
        ``log E exp(s S)``, for the bound on the aliasing error.
    """

    side: np.ndarray
    abscissa: np.ndarray
    period: np.ndarray
    reach: np.ndarray
    log_scale: np.ndarray
    log_top: np.ndarray


def rounding_error(n_hidden):
    """Return about the rounding error of a sum over nodes, relative to the sum of moduli.

    The errors of the factors have random signs. Their sum therefore grows with the square root
    of the number of factors.
    """
    return ROUNDING * (_ROUNDINGS_OF_SINE + math.sqrt(n_hidden))


@jit
def _log_moment(log_odds, i, slope, v, base):
    """Return ``log E exp(slope * sum_h v_h Z_h)`` of row i, in nats."""
    total = 0.0
    for h in range(len(v)):
        a = log_odds[i, h] + slope * v[h]
        total += max(a, 0.0) + log1p_exp_of_negative(a)
    return total - base


@jit
def _saddle_point(log_odds, i, sign, v, c):
    """Return the minimum of log(pi / sin) + log E exp(delta S) on (0, 1), and its curvature."""
    low, high, delta = 0.0, 1.0, 0.5
    curvature = 1.0
    for _ in range(_SADDLE_STEPS):
        mean, variance = sign * c, 0.0
        for h in range(len(v)):
            on = 1.0 / (1.0 + exp_clipped(-(log_odds[i, h] + delta * sign * v[h])))
            mean += sign * v[h] * on
            variance += v[h] * v[h] * on * (1.0 - on)
        sine = math.sin(math.pi * delta)
        slope = mean - math.pi * math.cos(math.pi * delta) / sine
        curvature = (math.pi / sine) ** 2 + variance
        if slope > 0.0:
            high = delta
        else:
            low = delta
        new = delta - slope / curvature
        if not low < new < high:
            new = 0.5 * (low + high)
        if abs(new - delta) < _SADDLE_TOLERANCE * min(new, 1.0 - new):
            return new, curvature
        delta = new
    return delta, curvature


@jit
def plan_rows(log_odds, signs, v, c, tol, rounding, log_expected, plan):
    """Choose side, abscissa, period and reach of the quadrature for rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    signs : array (n_rows,)
        +1 for class 1, -1 for class 0.
    v : array (n_hidden,), log-odds
        Output weights of class 1 minus those of class 0.
    c : float, log-odds
    tol : float
        Relative error of p that is allowed.
    rounding : float
        See `rounding_error`.
    log_expected : array (n_rows,), nats
        An estimate of ``log p``; NaN where there is none yet.
    plan : LinePlan
        Overwritten. ``side`` is the opposite of ``signs`` where 1 - p is integrated.
    """
    for i in range(log_odds.shape[0]):
        base = 0.0
        for h in range(log_odds.shape[1]):
            base += max(log_odds[i, h], 0.0) + log1p_exp_of_negative(log_odds[i, h])
        sign = signs[i]
        direct = 0.5 * sign * c + _log_moment(log_odds, i, 0.5 * sign, v, base)
        other = -0.5 * sign * c + _log_moment(log_odds, i, -0.5 * sign, v, base)
        side = sign if direct <= other else -sign
        if log_expected[i] < -1.0:  # a small p would lose its digits in 1 - (1 - p)
            side = sign
        plan.side[i] = side
        saddle, curvature = _saddle_point(log_odds, i, side, v, c)
        top = plan.log_top[i] = side * c + _log_moment(log_odds, i, side, v, base)
        expected = log_expected[i]
        if math.isnan(expected):  # saddle point approximation of p, or p = exp(-1)
            at_saddle = side * c * saddle + _log_moment(log_odds, i, side * saddle, v, base)
            amplitude = at_saddle + math.log(math.pi / math.sin(math.pi * saddle))
            expected = min(amplitude - 0.5 * math.log(2.0 * math.pi * curvature), 0.0) - 1.0
            if side != sign:
                expected = -1.0
        digits = _MARGIN - math.log(tol) - expected  # nats from one down to the error allowed
        least = math.inf
        for candidate in range(_ABSCISSAE):
            delta = 0.5 + 0.5 * candidate * (saddle - 0.5)
            scale = side * c * delta + _log_moment(log_odds, i, side * delta, v, base)
            amplitude = scale + math.log(math.pi / math.sin(math.pi * delta))
            noise = math.log(rounding) + amplitude
            if candidate < _ABSCISSAE - 1 and noise > math.log(tol) + expected:
                continue
            period = max(digits / delta, (digits + top) / (1.0 - delta))
            reach = max((digits + scale) / math.pi, 1.0)
            if period * reach < least:
                least = period * reach
                plan.abscissa[i], plan.period[i] = delta, period
                plan.reach[i], plan.log_scale[i] = reach, scale


@jit
def add_nodes(
    log_odds, order, start, stop, plan, v, c, step, n_nodes, derivatives, work, sums,
    sums_of_units, sums_of_slopes,
):  # fmt: skip
    """Add the integrand over the nodes of one grid to the sums of some rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    order : array of int
        Row numbers. The kernel works on the rows ``order[start:stop]``.
    start, stop : int
    plan : LinePlan
    v : array (n_hidden,), log-odds
    c : float, log-odds
    step : float
        Distance of the nodes, the same for all of these rows.
    n_nodes : int
        Number of nodes of the row with the largest reach.
    derivatives : bool
        Whether to fill the last two sums.
    work : array (2 * n_hidden + 6, NODES_AT_ONCE)
        Scratch.
    sums : array (n_rows, 2)
        In units of F: the integral, and the integral with a factor w. Modified in place.
    sums_of_units, sums_of_slopes : array (n_rows, n_hidden)
        The same with a factor ``Z_h``. Modified in place; not used without derivatives.

    Notes
    -----
    About 40 flops per row, unit and node.
    """
    n_hidden = len(v)
    cosines, sines = work[:n_hidden], work[n_hidden : 2 * n_hidden]
    real, imaginary, times, decay, c_cosine, c_sine = work[2 * n_hidden :]
    on = np.empty(n_hidden)
    for first in range(0, n_nodes, NODES_AT_ONCE):
        n = min(NODES_AT_ONCE, n_nodes - first)
        for k in range(n):
            times[k] = (first + k) * step
            decay[k] = math.exp(-math.pi * times[k])
            c_cosine[k], c_sine[k] = math.cos(times[k] * c), math.sin(times[k] * c)
        for h in range(n_hidden):
            for k in range(n):
                cosines[h, k], sines[h, k] = math.cos(times[k] * v[h]), math.sin(times[k] * v[h])
        for position in range(start, stop):
            i = order[position]
            if plan.reach[i] < times[0]:
                continue
            delta, side = plan.abscissa[i], plan.side[i]
            for h in range(n_hidden):
                on[h] = 1.0 / (1.0 + exp_clipped(-(log_odds[i, h] + delta * side * v[h])))
            _begin(delta, side, step, n, first, decay, c_cosine, c_sine, real, imaginary)
            for h in range(n_hidden):
                q, s = on[h], side * on[h]
                for k in range(n):
                    x, y = (1.0 - q) + q * cosines[h, k], s * sines[h, k]
                    if x * x + y * y < _TINY_SQUARE:
                        x += _TINY
                    r = real[k]
                    real[k] = r * x - imaginary[k] * y
                    imaginary[k] = r * y + imaginary[k] * x
            total = slope = 0.0
            for k in range(n):
                total += real[k]
                slope += delta * real[k] - times[k] * imaginary[k]
            sums[i, 0] += total
            sums[i, 1] += slope
            if derivatives:
                for h in range(n_hidden):
                    q, s = on[h], side * on[h]
                    total = slope = 0.0
                    for k in range(n):
                        x, y = (1.0 - q) + q * cosines[h, k], s * sines[h, k]
                        if x * x + y * y < _TINY_SQUARE:
                            x += _TINY
                        over = 1.0 / (x * x + y * y)
                        a, b = q * cosines[h, k], s * sines[h, k]
                        # the part of the factor with Z_h = 1, divided by the factor
                        g_real, g_imaginary = (a * x + b * y) * over, (b * x - a * y) * over
                        r = real[k] * g_real - imaginary[k] * g_imaginary
                        j = real[k] * g_imaginary + imaginary[k] * g_real
                        total += r
                        slope += delta * r - times[k] * j
                    sums_of_units[i, h] += total
                    sums_of_slopes[i, h] += slope


@jit
def _begin(delta, side, step, n, first, decay, c_cosine, c_sine, real, imaginary):
    """Overwrite the running product with ``step / pi * pi / sin(pi w) * exp(i t c)``."""
    sine, cosine = math.sin(math.pi * delta), math.cos(math.pi * delta)
    for k in range(n):
        square = decay[k] * decay[k]
        x, y = sine * (1.0 + square), cosine * (1.0 - square)
        over = 2.0 * step * decay[k] / (x * x + y * y)
        x, y = x * over, -y * over
        a, b = c_cosine[k], side * c_sine[k]
        real[k], imaginary[k] = x * a - y * b, x * b + y * a
    if first == 0:  # the integrand is even: the sum takes half of it, and half of its first node
        real[0] *= 0.5
        imaginary[0] *= 0.5
