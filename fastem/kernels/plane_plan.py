"""Quadrature over a plane, for three classes: choice of plane, density and reach; aliasing error.

The choice follows from the moments ``log E exp(-w . S)`` of a row at the points w of a grid over
the closed triangle ``w1, w2 >= 0, w1 + w2 <= 1``. `fastem.kernels.plane` states the bounds.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, polygamma

from fastem.kernels._jit import jit
from fastem.kernels.line import ROUNDING
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative

_ROUNDINGS_OF_GAMMAS = 10.0  # rounding errors of the three Gamma functions, in units of ROUNDING
_ALIASING_MARGIN = 3.9  # nats: a quarter of the tolerance for about a dozen aliases
_TRUNCATION_MARGIN = 2.9  # nats: a quarter of the tolerance for the sides of the hexagon
_ROUNDING_MARGIN = 1.4  # nats: a quarter of the tolerance
_SADDLE_STEPS = 40  # Newton
_SADDLE_TOLERANCE = 1e-2  # relative to the distance from the edges; a point nearby is as good
_SADDLE_SHARE = 0.7  # of the way to an edge that one Newton step may go
_LEAST_SAFETY = 1e-3  # nats: keeps periods positive
_LEAST_REACH = 0.5
_CELLS = 6  # of the grid along one edge of the triangle
_N_NEAREST = 12  # aliases that decide the period; the others are smaller by far
_MOST_SHIFT = 6  # aliases farther away, in periods, are not counted


class PlanePlan(NamedTuple):
    """The choice of a quadrature over a plane: one entry per row.

    Attributes
    ----------
    d1, d2 : array (n_rows,)
        Real part of the plane, a point inside the triangle.
    period : array (n_rows,), log-odds
        r: aliases lie at ``r (a, b)``, a + b a multiple of three. Nodes have the step
        ``2 pi / (3 r)``.
    reach : array (n_rows,)
        The value of ``max(|t1|, |t2|, |t1 + t2|)`` at which the sum ends.
    log_scale : array (n_rows,), nats
        ``log F = log E exp(-d . S)``.
    """

    d1: np.ndarray
    d2: np.ndarray
    period: np.ndarray
    reach: np.ndarray
    log_scale: np.ndarray


class Triangle(NamedTuple):
    """Tables over a triangular grid of points w in the closed triangle.

    Attributes
    ----------
    points : array (n_points, 2)
    log_peaks : array (n_points,), nats
        ``log max f(S) exp(w . S)``: a moment plus this is an upper bound on log p.
    inside : array of int (n_inside,)
        Numbers of the points that do not lie on an edge: the candidates for d.
    neighbours : array of int (n_inside, 6)
        Numbers of the six neighbours of each of them, opposite ones next to each other.
    amplitudes : array (n_inside, 4)
        Logarithm of the product of the three Gamma functions, and its second derivatives
        11, 22, 12.
    shifts : array (n_shifts, 2)
        Aliases l, in units of r, the nearest first.
    lengths : array (n_inside, n_points, 12)
        The smallest sufficient period for an alias, per nat of safety, if the point w gives its
        bound: ``1 / ((w - d) . l)``, or 1e300 if w gives no bound.
    """

    points: np.ndarray
    log_peaks: np.ndarray
    inside: np.ndarray
    neighbours: np.ndarray
    amplitudes: np.ndarray
    shifts: np.ndarray
    lengths: np.ndarray


def _shifts(most):
    near = range(-most, most + 1)
    found = [(i, j) for i in near for j in near if (i + j) % 3 == 0 and (i or j)]
    found = [x for x in found if abs(x[0] - x[1]) <= most]
    return np.array(sorted(found, key=lambda x: x[0] ** 2 - x[0] * x[1] + x[1] ** 2), dtype=float)


def _log_peaks(points):
    weights = np.column_stack([points, 1.0 - points.sum(axis=1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weights > 1e-9, weights * np.log(weights), 0.0).sum(axis=1)


def _amplitudes(points):
    d_1, d_2 = points.T
    d_0 = 1.0 - d_1 - d_2
    a, b, c = polygamma(1, d_0), polygamma(1, d_1), polygamma(1, d_2)
    log_gammas = gammaln(d_0) + gammaln(d_1) + gammaln(d_2)
    return np.ascontiguousarray(np.stack([log_gammas, a + b, a + c, a], axis=1))


def _lengths(points, inside, shifts):
    along = (points[None, :, :] - points[inside][:, None, :]) @ shifts[:_N_NEAREST].T
    with np.errstate(divide="ignore"):
        return np.where(along > 1e-9, 1.0 / along, 1e300)


def _triangle():
    pairs = [(i, j) for i in range(_CELLS + 1) for j in range(_CELLS + 1 - i)]
    inside = [k for k, (i, j) in enumerate(pairs) if i > 0 and j > 0 and i + j < _CELLS]
    number = {pair: k for k, pair in enumerate(pairs)}
    around = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)]
    neighbours = [
        [number[pairs[k][0] + i, pairs[k][1] + j] for i, j in around] for k in inside
    ]  # fmt: skip
    points, inside, shifts = np.array(pairs) / _CELLS, np.array(inside), _shifts(_MOST_SHIFT)
    return Triangle(
        points, _log_peaks(points), inside, np.array(neighbours), _amplitudes(points[inside]),
        shifts, _lengths(points, inside, shifts),
    )  # fmt: skip


TRIANGLE = _triangle()
N_POINTS = len(TRIANGLE.points)
VERTEX_1 = int(np.flatnonzero((TRIANGLE.points == [1.0, 0.0]).all(axis=1))[0])
"""Number of the point (1, 0), whose moment is ``log E exp(-A)``."""
BEYOND = np.array(
    [[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0], [-1.0, 1.0], [-1.0, 2.0], [0.0, -1.0],
     [1.0, -1.0], [2.0, -1.0]]
)  # fmt: skip
"""Three points beyond each edge of the triangle: first d1 + d2 = 1, then d1 = 0, then d2 = 0.

The moments there are upper bounds on the change of p if a class is dropped: the class itself,
the next one, the one after it (counted modulo three).
"""


def rounding_error(n_hidden):
    """Return about the rounding error of a sum over nodes, relative to the sum of moduli.

    The errors of the factors have random signs. Their sum therefore grows with the square root
    of the number of factors.
    """
    return ROUNDING * (_ROUNDINGS_OF_GAMMAS + math.sqrt(n_hidden))


def usual_nodes(tol):
    """Return about the number of nodes of a row whose p and moments are near one."""
    return 0.5 * (1.5 / np.pi * (_ALIASING_MARGIN - math.log(tol)) ** 2 / np.pi) ** 2


@jit
def _psi(x):
    """Return the first two derivatives of log Gamma at x > 0, to about six digits.

    Only the saddle point needs them, whose position need not be precise. SciPy's digamma and
    polygamma are more precise, but cannot be called from a compiled function.
    """
    first = second = 0.0
    while x < 6.0:
        first -= 1.0 / x
        second += 1.0 / (x * x)
        x += 1.0
    s = 1.0 / (x * x)
    first += math.log(x) - 0.5 / x - s * (1.0 / 12.0 - s / 120.0)
    second += 1.0 / x + 0.5 * s + s / x * (1.0 / 6.0 - s / 30.0)
    return first, second


@jit
def _log_sum_of_moduli(moments, at, around, amplitudes):
    """Return about the log of the integral of moduli over a plane, in nats.

    Both the Gamma functions and the moment are replaced with Gaussians: their second
    derivatives at d, those of the moment from differences to the six neighbours.
    """
    twice, square = 2.0 * moments[at], _CELLS * _CELLS
    along = square * (moments[around[0]] + moments[around[1]] - twice)
    across = square * (moments[around[2]] + moments[around[3]] - twice)
    mixed = 0.5 * (along + across - square * (moments[around[4]] + moments[around[5]] - twice))
    det = (amplitudes[1] + along) * (amplitudes[2] + across) - (amplitudes[3] + mixed) ** 2
    least = amplitudes[1] * amplitudes[2] - amplitudes[3] * amplitudes[3]
    value = amplitudes[0] - math.log(2.0 * math.pi) - 0.5 * math.log(max(det, least))
    return value + moments[at]


@jit
def _log_moment(log_odds, v, c, d_1, d_2):
    """Return ``log E exp(-d . S)`` of a row, in nats."""
    total = -d_1 * c[0] - d_2 * c[1]
    for h in range(len(log_odds)):
        a = log_odds[h]
        b = a - d_1 * v[0, h] - d_2 * v[1, h]
        total += max(b, 0.0) - max(a, 0.0)
        total += log1p_exp_of_negative(b) - log1p_exp_of_negative(a)
    return total


@jit
def _saddle_point(log_odds, v, c, d_1, d_2):
    """Return the minimum of Gammas times ``E exp(-d . S)``: Newton, kept inside the triangle."""
    for _ in range(_SADDLE_STEPS):
        g_0, h_0 = _psi(1.0 - d_1 - d_2)
        g_1, h_1 = _psi(d_1)
        g_2, h_2 = _psi(d_2)
        g_1, g_2 = g_1 - g_0 - c[0], g_2 - g_0 - c[1]
        h_11, h_22, h_12 = h_1 + h_0, h_2 + h_0, h_0
        for h in range(len(log_odds)):
            x, y = v[0, h], v[1, h]
            on = 1.0 / (1.0 + exp_clipped(-(log_odds[h] - d_1 * x - d_2 * y)))
            variance = on * (1.0 - on)
            g_1 -= on * x
            g_2 -= on * y
            h_11 += variance * x * x
            h_22 += variance * y * y
            h_12 += variance * x * y
        det = h_11 * h_22 - h_12 * h_12
        move_1 = (h_12 * g_2 - h_22 * g_1) / det
        move_2 = (h_12 * g_1 - h_11 * g_2) / det
        share = 1.0
        if move_1 < 0.0:
            share = min(share, -_SADDLE_SHARE * d_1 / move_1)
        if move_2 < 0.0:
            share = min(share, -_SADDLE_SHARE * d_2 / move_2)
        if move_1 + move_2 > 0.0:
            share = min(share, _SADDLE_SHARE * (1.0 - d_1 - d_2) / (move_1 + move_2))
        d_1, d_2 = d_1 + share * move_1, d_2 + share * move_2
        nearest = min(d_1, d_2, 1.0 - d_1 - d_2)
        if abs(move_1) + abs(move_2) < _SADDLE_TOLERANCE * nearest:
            break
    return d_1, d_2


@jit
def _period_off_grid(moments, points, shifts, d_1, d_2, digits):
    """Return the smallest period at which the nearest aliases are within the tolerance."""
    period = 1.0
    for n in range(_N_NEAREST):
        least = math.inf
        for k in range(len(points)):
            along = (points[k, 0] - d_1) * shifts[n, 0] + (points[k, 1] - d_2) * shifts[n, 1]
            if along > 1e-9:
                least = min(least, max(digits + moments[k], _LEAST_SAFETY) / along)
        period = max(period, least)
    return period


@jit
def _period_on_grid(moments, lengths, digits, best):
    """Return that period for d at a grid point, from the table ``Triangle.lengths`` of the point.

    ``best`` (12,) is overwritten with the period that each alias needs under its best bound.
    """
    for n in range(_N_NEAREST):
        best[n] = math.inf
    for k in range(lengths.shape[0]):
        safety = max(digits + moments[k], _LEAST_SAFETY)
        for n in range(_N_NEAREST):
            r = safety * lengths[k, n]
            best[n] = r if r < best[n] else best[n]
    period = 1.0
    for n in range(_N_NEAREST):
        period = max(period, best[n])
    return period


@jit
def plan_rows(log_odds, v, c, moments, triangle, tol, rounding, log_expected, plan):
    """Choose the plane, period and reach of the quadrature for rows of one class.

    Of the grid points inside the triangle on which the rounding error permits the tolerance,
    the one with the fewest nodes becomes d. If there is none, d is the saddle point.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    v : array (2, n_hidden), log-odds
    c : array (2,), log-odds
    moments : array (n_rows, n_points), nats
        ``log E exp(-w . S)`` at the grid points.
    triangle : Triangle
        `TRIANGLE`.
    tol : float
        Relative error that is allowed.
    rounding : float
        See `rounding_error`.
    log_expected : array (n_rows,), nats
        The error is relative to the exponential of this: an estimate of p, or a floor above it.
        NaN where there is no estimate of p yet.
    plan : PlanePlan
        Overwritten.
    """
    points, inside = triangle.points, triangle.inside
    best = np.empty(_N_NEAREST)
    log_rounding = math.log(rounding)
    for i in range(log_odds.shape[0]):
        expected = log_expected[i]
        if math.isnan(expected):
            expected = 0.0
            for k in range(len(points)):
                expected = min(expected, moments[i, k] + triangle.log_peaks[k])
            expected -= 1.0
        digits = -math.log(tol) - expected  # nats from one down to the error that is allowed
        least = math.inf
        for g in range(len(inside)):
            log_scale = moments[i, inside[g]]
            moduli = _log_sum_of_moduli(
                moments[i], inside[g], triangle.neighbours[g], triangle.amplitudes[g]
            )
            if log_rounding + moduli > -digits - _ROUNDING_MARGIN:
                continue
            lengths = triangle.lengths[g]
            period = _period_on_grid(moments[i], lengths, digits + _ALIASING_MARGIN, best)
            reach = max((digits + _TRUNCATION_MARGIN + log_scale) / math.pi, _LEAST_REACH)
            if period * reach < least:
                least = period * reach
                plan.d1[i], plan.d2[i] = points[inside[g], 0], points[inside[g], 1]
                plan.period[i], plan.reach[i], plan.log_scale[i] = period, reach, log_scale
        if least == math.inf:
            d_1, d_2 = _saddle_point(log_odds[i], v, c, 1.0 / 3.0, 1.0 / 3.0)
            log_scale = _log_moment(log_odds[i], v, c, d_1, d_2)
            plan.d1[i], plan.d2[i], plan.log_scale[i] = d_1, d_2, log_scale
            plan.period[i] = _period_off_grid(
                moments[i], points, triangle.shifts, d_1, d_2, digits + _ALIASING_MARGIN
            )
            plan.reach[i] = max((digits + _TRUNCATION_MARGIN + log_scale) / math.pi, _LEAST_REACH)


@jit
def fill_aliases(moments, triangle, plan, log_aliases):
    """Overwrite upper bounds on the aliasing error of p.

    Each alias has the bound ``exp((d - w) . l) E exp(-w . S)`` at its best grid point w. The
    result is the sum over the aliases in ``triangle.shifts``.

    Parameters
    ----------
    moments : array (n_rows, n_points), nats
    triangle : Triangle
        `TRIANGLE`.
    plan : PlanePlan
    log_aliases : array (n_rows,), nats
    """
    points, shifts = triangle.points, triangle.shifts
    n_shifts = len(shifts)
    least = np.empty(n_shifts)
    for i in range(len(moments)):
        r = plan.period[i]
        for n in range(n_shifts):
            least[n] = math.inf
        for k in range(len(points)):
            a, b = r * (plan.d1[i] - points[k, 0]), r * (plan.d2[i] - points[k, 1])
            for n in range(n_shifts):
                bound = moments[i, k] + a * shifts[n, 0] + b * shifts[n, 1]
                least[n] = bound if bound < least[n] else least[n]
        largest = -math.inf
        for n in range(n_shifts):
            largest = max(largest, least[n])
        total = 0.0
        for n in range(n_shifts):
            total += exp_clipped(least[n] - largest)
        log_aliases[i] = largest + math.log(total)
