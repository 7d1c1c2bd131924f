"""E-steps of two classes by quadrature: linear in the number of hidden units.

With ``S = c + sum_h v_h Z_h``, ``p(y|x) = E sigmoid(S)`` is an integral over a line in the
strip 0 < Re omega < 1 (a Mellin-Barnes integral),

    p = 1/(2 pi) integral pi / sin(pi omega) exp(omega c) prod_h (1 - u_h + u_h exp(omega v_h)) dt

at ``omega = delta + i t``. Tilting the units, ``beta_h = sigmoid(a_h + delta v_h)``, leaves the
scale ``F = E exp(delta S)`` in front and factors ``1 - beta_h + beta_h exp(i t v_h)`` of modulus
one at most. The trapezoid rule of step ``2 pi / L`` errs by no more than

    exp(-delta L) / (1 - exp(-delta L))  +  E exp(S) exp(-(1 - delta) L) / (1 - exp(...))

(Poisson's sum), its tail beyond t by about ``F exp(-pi t)``, and rounding by its unit times
``pi F / sin(pi delta)``, which is least on the line through the saddle.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative

NODES_AT_ONCE = 128  # whose running products stay in the first cache
ROUNDING = 2e-16  # of a factor, and in the root of their number: signs are random
_MARGIN = 4.0  # nats, for the factor omega in derivatives and for shares of the tolerance
_STEPS = 60
_TINY = 1e-60  # of squared moduli: a factor that vanishes is divided out all the same


@jit
def _log_moment(log_odds, i, slope, v, base):
    """Return ``log E exp(slope * sum_h v_h Z_h)``, in nats."""
    total = 0.0
    for h in range(len(v)):
        a = log_odds[i, h] + slope * v[h]
        total += max(a, 0.0) + log1p_exp_of_negative(a)
    return total - base


@jit
def _saddle(log_odds, i, sign, v, c):
    """Return where log(pi / sin) + log E exp(delta S) is least on (0, 1), and its curvature."""
    low, high, delta = 0.0, 1.0, 0.5
    curvature = 1.0
    for _ in range(_STEPS):
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
        if abs(new - delta) < 1e-3 * min(new, 1.0 - new):
            return new, curvature
        delta = new
    return delta, curvature


@jit
def plan_rows(
    log_odds, signs, v, c, tol, log_needs, sides, deltas, lengths, reaches, log_scales, log_tops
):
    """Choose side, line, step and reach of the quadrature for rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    signs : array (n_rows,)
        +1 for class 1, -1 for class 0.
    v : array (n_hidden,)
        Output weights of class 1 less those of class 0.
    c : float
    tol : float
        Relative error of p that is asked for.
    log_needs : array (n_rows,), nats
        Log of what the error is relative to, where it is known; NaN where not.
    sides : array (n_rows,)
        Sign of v in the integral: ``signs`` itself, or its opposite where 1 - p is integrated.
    deltas, lengths, reaches : array (n_rows,)
        Line, L, and where the sum may end.
    log_scales, log_tops : array (n_rows,), nats
        ``log F`` and ``log E exp(S)``. The last six are overwritten.
    """
    n_rows, n_hidden = log_odds.shape
    for i in range(n_rows):
        base = 0.0
        for h in range(n_hidden):
            base += max(log_odds[i, h], 0.0) + log1p_exp_of_negative(log_odds[i, h])
        sign = signs[i]
        direct = 0.5 * sign * c + _log_moment(log_odds, i, 0.5 * sign, v, base)
        other = -0.5 * sign * c + _log_moment(log_odds, i, -0.5 * sign, v, base)
        side = sign if direct <= other else -sign
        if log_needs[i] < -1.0:  # a small p is not what is left of 1 - p
            side = sign
        sides[i] = side
        saddle, curvature = _saddle(log_odds, i, side, v, c)
        top = log_tops[i] = side * c + _log_moment(log_odds, i, side, v, base)
        need = log_needs[i]
        if math.isnan(need):
            at_saddle = side * c * saddle + _log_moment(log_odds, i, side * saddle, v, base)
            amplitude = at_saddle + math.log(math.pi / math.sin(math.pi * saddle))
            need = min(amplitude - 0.5 * math.log(2.0 * math.pi * curvature), 0.0) - 1.0
            if side != sign:
                need = -1.0
        wanted = _MARGIN - math.log(tol) - need
        best = math.inf
        for candidate in range(3):
            delta = 0.5 + 0.5 * candidate * (saddle - 0.5)
            scale = side * c * delta + _log_moment(log_odds, i, side * delta, v, base)
            amplitude = scale + math.log(math.pi / math.sin(math.pi * delta))
            noise = math.log(ROUNDING * (2.0 + math.sqrt(n_hidden))) + amplitude
            if candidate < 2 and noise > math.log(tol) + need:
                continue
            length = max(wanted / delta, (wanted + top) / (1.0 - delta))
            reach = max((wanted + scale) / math.pi, 1.0)
            if length * reach < best:
                best = length * reach
                deltas[i], lengths[i], reaches[i], log_scales[i] = delta, length, reach, scale


@jit
def add_nodes(
    log_odds, order, start, stop, sides, deltas, reaches, v, c, step, n_nodes, derivatives, work,
    sums, sums_of_units, sums_of_slopes,
):  # fmt: skip
    """Add the integrand over the nodes of one grid to the sums of some rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    order : array of int
        Row numbers; ``order[start:stop]`` are worked on.
    sides, deltas, reaches : array (n_rows,)
    v : array (n_hidden,)
    c : float
    step : float
    n_nodes : int
        Of the row that reaches furthest.
    derivatives : bool
        Whether the last two sums are wanted.
    work : array (2 * n_hidden + 6, NODES_AT_ONCE)
        Scratch.
    sums : array (n_rows, 2)
        In units of F: the integral, and that with a factor omega. Added to.
    sums_of_units, sums_of_slopes : array (n_rows, n_hidden)
        The same with ``Z_h``. Added to; not read without derivatives.

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
        for place in range(start, stop):
            i = order[place]
            if reaches[i] < times[0]:
                continue
            delta, side = deltas[i], sides[i]
            for h in range(n_hidden):
                on[h] = 1.0 / (1.0 + exp_clipped(-(log_odds[i, h] + delta * side * v[h])))
            _begin(delta, side, step, n, first, times, decay, c_cosine, c_sine, real, imaginary)
            for h in range(n_hidden):
                q, s = on[h], side * on[h]
                for k in range(n):
                    x, y = (1.0 - q) + q * cosines[h, k], s * sines[h, k]
                    if x * x + y * y < _TINY:
                        x += 1e-30
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
                        if x * x + y * y < _TINY:
                            x += 1e-30
                        over = 1.0 / (x * x + y * y)
                        a, b = q * cosines[h, k], s * sines[h, k]
                        # the share of the unit in its factor, times the integrand
                        g_real, g_imaginary = (a * x + b * y) * over, (b * x - a * y) * over
                        r = real[k] * g_real - imaginary[k] * g_imaginary
                        j = real[k] * g_imaginary + imaginary[k] * g_real
                        total += r
                        slope += delta * r - times[k] * j
                    sums_of_units[i, h] += total
                    sums_of_slopes[i, h] += slope


@jit
def _begin(delta, side, step, n, first, times, decay, c_cosine, c_sine, real, imaginary):
    """Overwrite the running product with ``step / pi * pi / sin(pi omega) * exp(i t c)``."""
    sine, cosine = math.sin(math.pi * delta), math.cos(math.pi * delta)
    for k in range(n):
        square = decay[k] * decay[k]
        x, y = sine * (1.0 + square), cosine * (1.0 - square)
        over = 2.0 * step * decay[k] / (x * x + y * y)
        x, y = x * over, -y * over
        a, b = c_cosine[k], side * c_sine[k]
        real[k], imaginary[k] = x * a - y * b, x * b + y * a
    if first == 0:  # the integrand is even: half of it is summed, and half of its first node
        real[0] *= 0.5
        imaginary[0] *= 0.5
