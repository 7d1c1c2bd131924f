"""Choice of the line and of the nodes, for the quadrature of a scalar Gaussian output.

The integral stands in `fastem.kernels.gaussian_line`. This module works with its exponent on the
real line, less the part that does not depend on the line,

    K(delta) = variance delta^2 / 2 + gap delta + sum_h log(1 - u_h + u_h exp(delta v_h)),

where ``gap = c - y``. K is convex. Its minimum is the saddle point of the integrand. The density
obeys the Chernoff bound

    p(y) <= exp(K(delta)) / sqrt(2 pi variance)    for every real delta.

The trapezoid rule with the step ``2 pi / L`` gives ``sum_k p(y + k L) exp(delta k L)`` exactly.
The Chernoff bound at ``delta + eta`` therefore bounds the terms with k > 0 by

    exp(K(delta + eta) - eta k L) / sqrt(2 pi variance),    eta > 0,

and the terms with k < 0 in the same way with a tilt below delta. L is called the period.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative

MARGIN = 7.0  # nats: for the factors w in derivatives, and to share the tolerance among errors
_SADDLE_STEPS = 100  # Newton or bisection
_SADDLE_TOLERANCE = 1e-3  # of K', in standard deviations; such a line is as good as the saddle
_TAIL_STEPS = 4  # Newton steps towards the shortest period; every step gives a valid bound


class GaussianPlan(NamedTuple):
    """The choice of a quadrature over a line: one entry per row.

    Attributes
    ----------
    abscissa : array (n_rows,)
        delta, the real part of the line, in units of 1 / y.
    log_scale : array (n_rows,), nats
        ``K(delta)``.
    scale_size : array (n_rows,), nats
        Sum of the moduli of the terms of ``K(delta)``. Its rounding error is relative to it.
    curvature : array (n_rows,)
        ``K''(delta)``: the variance of y under the tilted units.
    phase : array (n_rows,)
        Rounding error of the phase of the integrand, divided by t and by one rounding error.
    reach : array (n_rows,)
        The value of t at which the Gaussian factor makes the integrand negligible.
    period : array (n_rows,)
        L, in units of y.
    threshold : array (n_rows,)
        Nodes whose modulus is below this share of ``exp(K(delta))`` are negligible.
    tilt_above, rise_above : array (n_rows,)
        eta and ``K(delta + eta) - K(delta)``, for the bound on the aliases with k > 0.
    tilt_below, rise_below : array (n_rows,)
        The same for ``K(delta - eta)`` and k < 0.
    """

    abscissa: np.ndarray
    log_scale: np.ndarray
    scale_size: np.ndarray
    curvature: np.ndarray
    phase: np.ndarray
    reach: np.ndarray
    period: np.ndarray
    threshold: np.ndarray
    tilt_above: np.ndarray
    rise_above: np.ndarray
    tilt_below: np.ndarray
    rise_below: np.ndarray


@jit
def _cumulant(log_odds, i, v, delta):
    """Return ``sum_h softplus(a_h + delta v_h)`` of row i, and two derivatives by delta."""
    value = slope = curvature = 0.0
    for h in range(len(v)):
        a = log_odds[i, h] + delta * v[h]
        small = exp_clipped(-abs(a))
        on = (1.0 if a >= 0.0 else small) / (1.0 + small)
        off = (small if a >= 0.0 else 1.0) / (1.0 + small)
        value += max(a, 0.0) + log1p_exp_of_negative(a)
        slope += v[h] * on
        curvature += v[h] * v[h] * (on * off)
    return value, slope, curvature


@jit
def _log_moment(log_odds, i, v, delta):
    """Return ``sum_h log(1 - u_h + u_h exp(delta v_h))`` of row i, and the sum of moduli.

    The terms are of the size of ``delta v_h``, however large the log-odds are.
    """
    total = size = 0.0
    for h in range(len(v)):
        a, x = log_odds[i, h], delta * v[h]
        hinge = max(x, -a) if a > 0.0 else max(a + x, 0.0)
        term = hinge + (log1p_exp_of_negative(a + x) - log1p_exp_of_negative(a))
        total += term
        size += abs(term)
    return total, size


@jit
def _saddle(log_odds, i, gap, v, variance):
    """Return the minimum of K for row i."""
    smallest = largest = 0.0
    for h in range(len(v)):
        smallest += min(v[h], 0.0)
        largest += max(v[h], 0.0)
    low, high = -(gap + largest) / variance, -(gap + smallest) / variance
    delta = min(max(0.0, low), high)
    for _ in range(_SADDLE_STEPS):
        _, slope, curvature = _cumulant(log_odds, i, v, delta)
        slope += variance * delta + gap
        curvature += variance
        if abs(slope) <= _SADDLE_TOLERANCE * math.sqrt(curvature):
            break
        if slope > 0.0:
            high = delta
        else:
            low = delta
        delta -= slope / curvature
        if not low < delta < high:
            delta = 0.5 * (low + high)
    return delta


@jit
def find_saddles(log_odds, gaps, v, variance, plan):
    """Choose the line of rows: near the saddle point.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
        -inf is allowed: such a unit is off under every tilt.
    gaps : array (n_rows,)
        ``c - y``.
    v : array (n_hidden,)
    variance : float
    plan : GaussianPlan
        ``abscissa``, ``log_scale``, ``scale_size``, ``curvature`` and ``phase`` are overwritten.
    """
    for i in range(log_odds.shape[0]):
        delta = _saddle(log_odds, i, gaps[i], v, variance)
        total, size = _log_moment(log_odds, i, v, delta)
        quadratic = delta * (0.5 * variance * delta + gaps[i])
        plan.abscissa[i], plan.log_scale[i] = delta, quadratic + total
        plan.scale_size[i] = 0.5 * variance * delta * delta + abs(delta * gaps[i]) + size
        squares, curvature = 0.0, variance
        for h in range(len(v)):
            on = 1.0 / (1.0 + exp_clipped(-(log_odds[i, h] + delta * v[h])))
            squares += (v[h] * on) ** 2
            curvature += v[h] * v[h] * on * (1.0 - on)
        plan.curvature[i] = curvature
        plan.phase[i] = math.sqrt(squares) + abs(gaps[i] + variance * delta)


@jit
def _tail(log_odds, i, gap, v, variance, delta, curvature, digits, sign):
    """Return eta > 0, ``K(delta + sign eta) - K(delta)``, and the period that they allow.

    The period ``(digits + K(delta + sign eta) - K(delta)) / eta`` makes the aliases on this side
    smaller than ``exp(-digits)``. Newton's method minimises it over eta. No minimum lies above
    ``sqrt(2 digits / variance)``.
    """
    base, _, _ = _cumulant(log_odds, i, v, delta)
    most = math.sqrt(2.0 * digits / variance)
    eta = math.sqrt(2.0 * digits / curvature)
    best, best_rise, best_period = eta, math.inf, math.inf
    for _ in range(_TAIL_STEPS):
        value, slope, bend = _cumulant(log_odds, i, v, delta + sign * eta)
        linear = sign * (variance * delta + gap)
        rise = eta * (0.5 * variance * eta + linear) + (value - base)
        slope = variance * eta + linear + sign * slope
        period = (digits + rise) / eta
        if period < best_period:
            best, best_rise, best_period = eta, rise, period
        step = (digits + rise - eta * slope) / (eta * (bend + variance))
        eta = min(max(eta + step, 0.25 * eta), most)
    return best, best_rise, best_period


@jit
def plan_rows(log_odds, gaps, v, variance, tol, log_expected, plan):
    """Choose period, reach and threshold of rows with known lines.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    gaps : array (n_rows,)
        ``c - y``.
    v : array (n_hidden,)
    variance : float
    tol : float
        Relative error of p that is allowed.
    log_expected : array (n_rows,), nats
        Estimates of ``log p``.
    plan : GaussianPlan
        The entries that `find_saddles` does not write are overwritten.

    Notes
    -----
    About 12 evaluations of ``exp`` per unit.
    """
    log_width = 0.5 * math.log(2.0 * math.pi * variance)
    for i in range(log_odds.shape[0]):
        delta, curvature, gap = plan.abscissa[i], plan.curvature[i], gaps[i]
        # nats from the largest integrand down to the error allowed
        digits = plan.log_scale[i] - log_width - log_expected[i]
        digits = max(digits, 0.0) + MARGIN - math.log(tol)
        above = _tail(log_odds, i, gap, v, variance, delta, curvature, digits, 1.0)
        below = _tail(log_odds, i, gap, v, variance, delta, curvature, digits, -1.0)
        plan.tilt_above[i], plan.rise_above[i] = above[0], above[1]
        plan.tilt_below[i], plan.rise_below[i] = below[0], below[1]
        plan.period[i] = max(above[2], below[2])
        reach = plan.reach[i] = math.sqrt(2.0 * digits / variance)
        plan.threshold[i] = math.exp(log_width - digits) * math.pi / reach


@jit
def fill_tails(log_odds, v, c, variance, digits, means, below, above):
    """Compute the interval of each row outside which y has a negligible probability.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    v : array (n_hidden,)
    c, variance : float
    digits : float, nats
        y lies below the interval with a probability of at most ``exp(-digits)``. It lies above
        the interval with a probability of at most ``exp(-digits)``.
    means : array (n_rows,)
        Overwritten: the mean of y.
    below, above : array (n_rows,)
        Overwritten: the distances from the mean to the ends of the interval.
    """
    for i in range(log_odds.shape[0]):
        _, mean, curvature = _cumulant(log_odds, i, v, 0.0)
        means[i] = c + mean
        curvature += variance
        upper = _tail(log_odds, i, -mean, v, variance, 0.0, curvature, digits, 1.0)
        lower = _tail(log_odds, i, -mean, v, variance, 0.0, curvature, digits, -1.0)
        above[i], below[i] = upper[2], lower[2]


@jit
def fill_floors(log_odds, gaps, v, variance, tilts, floors):
    """Compute a lower bound on ``log p`` of rows: the joint probability of y and one state.

    The state starts at the likeliest one of the tilted units. Units then change their state one
    at a time, each time the one that increases the joint probability most.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    gaps : array (n_rows,)
        ``c - y``.
    v : array (n_hidden,)
    variance : float
    tilts : array (n_rows,)
    floors : array (n_rows,), nats
        Overwritten.
    """
    n_hidden = len(v)
    states = np.empty(n_hidden)
    for i in range(log_odds.shape[0]):
        mean = gaps[i]
        for h in range(n_hidden):
            states[h] = 1.0 if log_odds[i, h] + tilts[i] * v[h] > 0.0 else 0.0
            mean += states[h] * v[h]
        for _ in range(2 * n_hidden):
            best, most = -1, 0.0
            for h in range(n_hidden):
                sign = 1.0 - 2.0 * states[h]
                change = sign * v[h]
                gain = sign * log_odds[i, h] - change * (mean + 0.5 * change) / variance
                if gain > most:
                    best, most = h, gain
            if best < 0:
                break
            mean += (1.0 - 2.0 * states[best]) * v[best]
            states[best] = 1.0 - states[best]
        total = -0.5 * (mean * mean / variance + math.log(2.0 * math.pi * variance))
        for h in range(n_hidden):
            a = log_odds[i, h] if states[h] > 0.0 else -log_odds[i, h]
            total += min(a, 0.0) - log1p_exp_of_negative(a)
        floors[i] = total
