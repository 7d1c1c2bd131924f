"""Where and how densely the plane is sampled for a row, and how far off the sum can be.

All of it follows from the moments ``log E exp(-w . S)`` of a row at points w of a grid over the
triangle: see `fastem.kernels.plane` for the bounds.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative

ROUNDING = 2e-16  # of a factor, and in the root of their number: signs are random
_GAMMAS = 10.0  # roundings of the three Gamma functions
_ALIASES = 3.9  # nats: a quarter of the tolerance for about a dozen terms
_TAIL = 2.9  # nats: a quarter of the tolerance for sides of the hexagon
_NOISE = 1.4
_STEPS = 40
_GRID = 6


def _grid():
    """Return points of the closed triangle, and which of them are inside."""
    pairs = [(i, j) for i in range(_GRID + 1) for j in range(_GRID + 1 - i)]
    inside = [k for k, (i, j) in enumerate(pairs) if i > 0 and j > 0 and i + j < _GRID]
    return np.array(pairs) / _GRID, np.array(inside)


def _shifts(most):
    """Return points of the lattice of aliases, in units of r, the nearest first."""
    near = range(-most, most + 1)
    found = [(i, j) for i in near for j in near if (i + j) % 3 == 0 and (i or j)]
    found = [x for x in found if abs(x[0] - x[1]) <= most]
    return np.array(sorted(found, key=lambda x: x[0] ** 2 - x[0] * x[1] + x[1] ** 2), dtype=float)


def _neighbours(points, inside):
    """Return, for points inside, the numbers of their six neighbours, opposite ones in turn."""
    around = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, -1], [-1, 1]])
    whole = np.rint(points * _GRID).astype(int)
    at = {tuple(point): k for k, point in enumerate(whole.tolist())}
    return np.array([[at[tuple((whole[g] + x).tolist())] for x in around] for g in inside])


POINTS, INSIDE = _grid()
NEIGHBOURS = _neighbours(POINTS, INSIDE)
SHIFTS = _shifts(6)
_N_NEAREST = 12
_along = (POINTS[None, :, :] - POINTS[INSIDE][:, None, :]) @ SHIFTS[:_N_NEAREST].T
with np.errstate(divide="ignore"):
    LENGTHS = np.where(_along > 1e-9, 1.0 / _along, 1e300)
"""r that a shift needs per nat of safety: (inside, points, nearest shifts)."""
with np.errstate(divide="ignore", invalid="ignore"):
    _weights = np.column_stack([POINTS, 1.0 - POINTS.sum(axis=1)])
    LOG_PEAKS = np.where(_weights > 1e-9, _weights * np.log(_weights), 0.0).sum(axis=1)
"""``log max f(S) exp(w . S)`` at the points: a moment plus this bounds log p."""
BEYOND = np.array(
    [[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0], [-1.0, 1.0], [-1.0, 2.0], [0.0, -1.0],
     [1.0, -1.0], [2.0, -1.0]]
)  # fmt: skip
"""Three points each beyond the three sides, whose moments bound what leaving a class out does."""


@jit
def _psi(x):
    """Return the first two derivatives of log Gamma, to about six digits."""
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
def _log_amplitudes(points, inside, out):
    """Overwrite three Gammas' log at points inside, and second derivatives of it: 11, 22, 12."""
    for g in range(len(inside)):
        d_1, d_2 = points[inside[g], 0], points[inside[g], 1]
        d_0 = 1.0 - d_1 - d_2
        a, b, c = _psi(d_0)[1], _psi(d_1)[1], _psi(d_2)[1]
        out[0, g] = math.lgamma(d_0) + math.lgamma(d_1) + math.lgamma(d_2)
        out[1, g], out[2, g], out[3, g] = a + b, a + c, a


@jit
def _log_sum_of_moduli(moments, at, around, amplitudes):
    """Return about the log of the integral of moduli: as if both decays were Gaussian."""
    twice, square = 2.0 * moments[at], _GRID * _GRID
    along = square * (moments[around[0]] + moments[around[1]] - twice)
    across = square * (moments[around[2]] + moments[around[3]] - twice)
    mixed = 0.5 * (along + across - square * (moments[around[4]] + moments[around[5]] - twice))
    det = (amplitudes[1] + along) * (amplitudes[2] + across) - (amplitudes[3] + mixed) ** 2
    least = amplitudes[1] * amplitudes[2] - amplitudes[3] * amplitudes[3]
    value = amplitudes[0] - math.log(2.0 * math.pi) - 0.5 * math.log(max(det, least))
    return value + moments[at]


@jit
def _log_moment(log_odds, v, c, d_1, d_2):
    total = -d_1 * c[0] - d_2 * c[1]
    for h in range(len(log_odds)):
        a = log_odds[h]
        b = a - d_1 * v[0, h] - d_2 * v[1, h]
        total += max(b, 0.0) - max(a, 0.0)
        total += log1p_exp_of_negative(b) - log1p_exp_of_negative(a)
    return total


@jit
def _saddle(log_odds, v, c, d_1, d_2):
    """Return where Gammas times ``E exp(-d . S)`` are least: Newton, kept in the triangle."""
    for _ in range(_STEPS):
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
            share = min(share, -0.7 * d_1 / move_1)
        if move_2 < 0.0:
            share = min(share, -0.7 * d_2 / move_2)
        if move_1 + move_2 > 0.0:
            share = min(share, 0.7 * (1.0 - d_1 - d_2) / (move_1 + move_2))
        d_1, d_2 = d_1 + share * move_1, d_2 + share * move_2
        nearest = min(d_1, d_2, 1.0 - d_1 - d_2)
        if abs(move_1) + abs(move_2) < 1e-2 * nearest:
            break
    return d_1, d_2


@jit
def _scale_off_grid(moments, points, shifts, d_1, d_2, wanted):
    """Return the least r that keeps the nearest aliases down."""
    scale = 1.0
    for n in range(_N_NEAREST):
        least = math.inf
        for k in range(len(points)):
            along = (points[k, 0] - d_1) * shifts[n, 0] + (points[k, 1] - d_2) * shifts[n, 1]
            if along > 1e-9:
                least = min(least, max(wanted + moments[k], 1e-3) / along)
        scale = max(scale, least)
    return scale


@jit
def _scales_on_grid(moments, lengths, wanted, best):
    """Overwrite r that every shift needs, by the point of the grid that serves it best."""
    for n in range(_N_NEAREST):
        best[n] = math.inf
    for k in range(lengths.shape[0]):
        safety = max(wanted + moments[k], 1e-3)
        for n in range(_N_NEAREST):
            r = safety * lengths[k, n]
            best[n] = r if r < best[n] else best[n]
    scale = 1.0
    for n in range(_N_NEAREST):
        scale = max(scale, best[n])
    return scale


@jit
def plan_rows(
    log_odds, v, c, moments, points, inside, neighbours, lengths, shifts, log_peaks, tol, log_needs,
    plans,
):  # fmt: skip
    """Choose the plane, density and reach of the quadrature for rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    v : array (2, n_hidden)
    c : array (2,)
    moments : array (n_rows, n_points), nats
    points, inside, neighbours, lengths, shifts, log_peaks : arrays
        Those of this module.
    tol : float
        Relative error that is asked for.
    log_needs : array (n_rows,), nats
        Log of what the error is relative to; NaN where p is, and is not known.
    plans : array (5, n_rows)
        d1, d2, r, reach and ``log F``. Overwritten.
    """
    n_rows, n_hidden = log_odds.shape
    best = np.empty(_N_NEAREST)
    amplitudes = np.empty((4, len(inside)))
    _log_amplitudes(points, inside, amplitudes)
    rounding = math.log(ROUNDING * (_GAMMAS + math.sqrt(n_hidden)))
    for i in range(n_rows):
        need = log_needs[i]
        if math.isnan(need):
            need = 0.0
            for k in range(len(points)):
                need = min(need, moments[i, k] + log_peaks[k])
            need -= 1.0
        wanted = -math.log(tol) - need
        least = math.inf
        for g in range(len(inside)):
            log_scale = moments[i, inside[g]]
            moduli = _log_sum_of_moduli(moments[i], inside[g], neighbours[g], amplitudes[:, g])
            if rounding + moduli > -wanted - _NOISE:
                continue
            r = _scales_on_grid(moments[i], lengths[g], wanted + _ALIASES, best)
            reach = max((wanted + _TAIL + log_scale) / math.pi, 0.5)
            if r * reach < least:
                least = r * reach
                plans[0, i], plans[1, i] = points[inside[g], 0], points[inside[g], 1]
                plans[2, i], plans[3, i], plans[4, i] = r, reach, log_scale
        if least == math.inf:
            d_1, d_2 = _saddle(log_odds[i], v, c, 1.0 / 3.0, 1.0 / 3.0)
            log_scale = _log_moment(log_odds[i], v, c, d_1, d_2)
            plans[0, i], plans[1, i] = d_1, d_2
            plans[2, i] = _scale_off_grid(moments[i], points, shifts, d_1, d_2, wanted + _ALIASES)
            plans[3, i] = max((wanted + _TAIL + log_scale) / math.pi, 0.5)
            plans[4, i] = log_scale


@jit
def fill_aliases(moments, points, shifts, plans, log_aliases):
    """Overwrite bounds on what the other points of the lattice add to p, in nats.

    Parameters
    ----------
    moments : array (n_rows, n_points), nats
    points, shifts : arrays
        Those of this module.
    plans : array (3, n_rows)
        d1, d2 and r.
    log_aliases : array (n_rows,), nats
    """
    n_shifts = len(shifts)
    least = np.empty(n_shifts)
    for i in range(len(moments)):
        r = plans[2, i]
        for n in range(n_shifts):
            least[n] = math.inf
        for k in range(len(points)):
            a, b = r * (plans[0, i] - points[k, 0]), r * (plans[1, i] - points[k, 1])
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


def rounding(n_hidden):
    """Return about the relative error of a term: that of its Gammas, and of every factor."""
    return ROUNDING * (_GAMMAS + math.sqrt(n_hidden))
