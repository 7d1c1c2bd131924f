"""Quadrature over a plane, for three classes: moments, and the sums over the nodes.

Let A and B be the logits of two classes minus the logit of the third, and S = (A, B). The
probability of the third class, ``f = 1 / (1 + exp(A) + exp(B))``, is a Mellin-Barnes integral
over a plane,

    f = 1/(2 pi)^2 integral  Gamma(w1) Gamma(w2) Gamma(1 - w1 - w2) exp(-w1 A - w2 B) dt1 dt2,

with ``w = d + i t`` and d inside the triangle d1, d2 > 0, d1 + d2 < 1. The expectation of the
exponential is a product over units. The units are tilted to ``beta_h = sigmoid(a_h - d . v_h)``.
This takes the scale ``F = E exp(-d . S)`` out of the integral, and leaves factors of modulus at
most one.

The nodes are ``t = (j, k) step``, j - k a multiple of three: a triangular lattice, with a third
of the nodes of the square lattice of the same step. The trapezoid rule has three errors:

    aliasing     sum of exp(d . l) E f(S + l) over l = r (a, b), a + b a multiple of three, l not
                 zero, r = 2 pi / (3 step). Every term is at most exp((d - w) . l) E exp(-w . S)
                 for every w of the closed triangle.
    truncation   the Gamma functions fall like exp(-pi max(|t1|, |t2|, |t1 + t2|)). The nodes
                 therefore fill a hexagon. Half of them are conjugate to the others.
    rounding     about eps times the sum of moduli

Names of nodes: a node is ``t = (j, j - 3 line) step``. A *line* is a line of nodes along the
diagonal. A *block* is 64 nodes in the order of lines.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped

NODES_AT_ONCE = (
    64  # nodes of a block: the products of all units stay close to the first-level cache
)
UNIT_WORK = 4 * NODES_AT_ONCE  # scratch per unit, see below
_N = NODES_AT_ONCE
# The arrays of a block are flat, because loops over few arrays vectorise best. Offsets in
# ``block``: the running product (real 0, imaginary _N), the product of later units
# (_AFTER, _AFTER + _N), and the nodes t1 and t2.
_AFTER, _T1, _T2 = 2 * _N, 4 * _N, 5 * _N
# Offsets in ``unit_work[h]``: 1 - cos (0), -sin (_N), and the product of earlier units
# (_BEFORE, _BEFORE + _N).
_BEFORE = 2 * _N
_UNITS_AT_ONCE = 8  # units between two tests of whether a block can be left out


@jit
def add_log_moments(log_odds, v, c, points, out):
    """Add ``log E exp(-w . S)`` of rows, ``S = c + sum_h v_h Z_h``.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    v : array (2, n_hidden)
    c : array (2,)
    points : array (n_points, 2)
        The points w.
    out : array (n_rows, n_points), nats
        Modified in place.

    Notes
    -----
    One exponential per row, unit and point.
    """
    n_points = len(points)
    products, peaks = np.empty(n_points), np.empty(n_points)
    for i in range(len(log_odds)):
        base, whole = 0.0, 1.0
        for k in range(n_points):
            products[k] = 1.0
            peaks[k] = -points[k, 0] * c[0] - points[k, 1] * c[1]
        for h in range(v.shape[1]):
            a, first, second = log_odds[i, h], v[0, h], v[1, h]
            base += max(a, 0.0)
            whole *= 1.0 + exp_clipped(-abs(a))
            for k in range(n_points):
                tilted = a - points[k, 0] * first - points[k, 1] * second
                products[k] *= 1.0 + exp_clipped(-abs(tilted))
                peaks[k] += 0.5 * (tilted + abs(tilted))
            if h % 512 == 511:  # before the products overflow
                base += math.log(whole)
                whole = 1.0
                for k in range(n_points):
                    peaks[k] += math.log(products[k])
                    products[k] = 1.0
        base += math.log(whole)
        for k in range(n_points):
            out[i, k] += peaks[k] + math.log(products[k]) - base


@jit
def _fill_phases(angles, size, real, imaginary):
    """Overwrite ``exp(-i j angle_h)`` for j from -size to size.

    j is a coarse part plus a fine part, so that few sines are computed.
    """
    fine = 1
    while fine * fine < size + 1:
        fine *= 2
    cosines, sines = np.empty(fine), np.empty(fine)
    for h in range(len(angles)):
        for x in range(fine):
            cosines[x], sines[x] = math.cos(x * angles[h]), -math.sin(x * angles[h])
        for start in range(0, size + 1, fine):
            a, b = math.cos(start * angles[h]), -math.sin(start * angles[h])
            for x in range(min(fine, size + 1 - start)):
                r, i = a * cosines[x] - b * sines[x], a * sines[x] + b * cosines[x]
                j = start + x
                real[h, size + j], imaginary[h, size + j] = r, i
                real[h, size - j], imaginary[h, size - j] = r, -i


@jit
def _fill_block(line, first, size, step, weight, gammas, nodes, block, begin):
    """Overwrite the next block of nodes, and the integrand there without the units' factors.

    Returns line and j of the first node of the next block, and the number of nodes in this one.
    Entries after the last node have zero weight.

    Parameters
    ----------
    line, first : int
        Line and j of the first node of this block.
    size : int
        Size of the hexagon, in steps.
    step, weight : float
        Distance of the nodes, and the weight of one node in the sum.
    gammas : complex array (3, 2 * size + 1)
    nodes : array of int (2, NODES_AT_ONCE)
        j and line of the nodes. Overwritten.
    block : array (6 * NODES_AT_ONCE,)
        t1 and t2 are overwritten.
    begin : array (2 * NODES_AT_ONCE,)
        The integrand (real, imaginary). Overwritten.
    """
    n = 0
    for x in range(_N):
        nodes[0, x] = nodes[1, x] = 0
        begin[x] = begin[_N + x] = block[_T1 + x] = block[_T2 + x] = 0.0
        if 3 * line > 2 * size:
            continue
        j, k = first, first - 3 * line
        nodes[0, x], nodes[1, x] = j, line
        block[_T1 + x], block[_T2 + x] = j * step, k * step
        value = gammas[0, j + size] * gammas[1, k + size] * gammas[2, j + k + size]
        share = weight if line == 0 else 2.0 * weight  # for the conjugate half
        begin[x], begin[_N + x] = share * value.real, share * value.imag
        n += 1
        first += 1
        if first > min((3 * line + size) // 2, size):
            line += 1
            first = max((3 * line - size + 1) // 2, 3 * line - size)
    return line, first, n


@jit
def _fill_sines(line_angles, nodes, size, phases, start, stop, unit_work):
    """Overwrite ``1 - cos`` and ``-sin`` of ``t . v_h`` at the nodes of a block, for some units.

    The angle of a node is that of j plus that of its line.
    """
    low = 0
    while low < _N:  # the nodes low:high are on one line
        line, first = nodes[1, low], nodes[0, low]
        high = low + 1
        while high < _N and nodes[1, high] == line and nodes[0, high] > first:
            high += 1
        for h in range(start, stop):
            a, b = math.cos(line * line_angles[h]), math.sin(line * line_angles[h])
            real, imaginary, unit = phases[0, h], phases[1, h], unit_work[h]
            shift = first + size - low
            for x in range(low, high):
                r, i = real[shift + x], imaginary[shift + x]
                unit[x] = 1.0 - (a * r - b * i)
                unit[_N + x] = a * i + b * r
        low = high


@jit
def _multiply(on, threshold, keeps, ready, line_angles, nodes, size, phases, unit_work, block):
    """Multiply the running product of a block with the factors of one row, unit by unit.

    If all moduli fall below the threshold, the block is left out: moduli never grow again.

    Parameters
    ----------
    on : array (n_hidden,)
        Tilted probabilities of the row.
    threshold : float
    keeps : bool
        Whether to keep the product before each unit, for derivatives.
    ready : int
        Number of units whose sines are filled for this block already.

    Returns
    -------
    reached : int
        Number of units whose factor is in the product; fewer than all if the block is left out.
    left_out : float
        Upper bound on the sum of moduli of a block that is left out.
    ready : int
        The same number on return.
    """
    for h in range(len(on)):
        if h % _UNITS_AT_ONCE == 0:
            squares = 0.0  # a sum vectorises, a maximum does not
            for x in range(_N):
                squares += block[x] * block[x] + block[_N + x] * block[_N + x]
            if squares < threshold * threshold:
                return h, math.sqrt(_N * squares), ready
            if h >= ready:
                ready = min(h + _UNITS_AT_ONCE, len(on))
                _fill_sines(line_angles, nodes, size, phases, h, ready, unit_work)
        q, unit = on[h], unit_work[h]
        if keeps:
            for x in range(_N):
                a, b = 1.0 - q * unit[x], q * unit[_N + x]
                r, i = block[x], block[_N + x]
                unit[_BEFORE + x], unit[_BEFORE + _N + x] = r, i
                block[x] = r * a - i * b
                block[_N + x] = r * b + i * a
        else:
            for x in range(_N):
                a, b = 1.0 - q * unit[x], q * unit[_N + x]
                r, i = block[x], block[_N + x]
                block[x] = r * a - i * b
                block[_N + x] = r * b + i * a
    return len(on), 0.0, ready


@jit
def _add_units(on, unit_work, block, sums):
    """Add the integrand without the factor of each unit to the sums of a row.

    It is the product of the earlier units times the product of the later ones.
    """
    for x in range(_N):
        block[_AFTER + x], block[_AFTER + _N + x] = 1.0, 0.0
    for g in range(len(on)):
        h = len(on) - 1 - g
        q, unit = on[h], unit_work[h]
        whole = along = across = 0.0
        for x in range(_N):
            p, s = block[_AFTER + x], block[_AFTER + _N + x]
            r, i = unit[_BEFORE + x], unit[_BEFORE + _N + x]
            imaginary = r * s + i * p
            whole += r * p - i * s
            along += block[_T1 + x] * imaginary
            across += block[_T2 + x] * imaginary
            a, b = 1.0 - q * unit[x], q * unit[_N + x]
            block[_AFTER + x] = p * a - s * b
            block[_AFTER + _N + x] = p * b + s * a
        sums[h, 0] += whole
        sums[h, 1] += along
        sums[h, 2] += across


@jit
def _add_whole(block, sums):
    """Add the integrand of a block to the sums of a row."""
    whole = along = across = moduli = 0.0
    for x in range(_N):
        r, i = block[x], block[_N + x]
        whole += r
        along += block[_T1 + x] * i
        across += block[_T2 + x] * i
        moduli += abs(r) + abs(i)
    sums[0] += whole
    sums[1] += along
    sums[2] += across
    sums[3] += moduli


@jit
def add_nodes(
    on, order, start, stop, thresholds, gammas, v, period, derivatives, unit_work, sums,
    sums_of_units,
):  # fmt: skip
    """Add the integrand over the nodes of a hexagon to the sums of some rows.

    Parameters
    ----------
    on : array (n_rows, n_hidden)
        Tilted probabilities, beta.
    order : array of int
        Row numbers. The kernel works on the rows ``order[start:stop]``.
    start, stop : int
    thresholds : array (n_rows,)
        Blocks are left out once all their terms are below it.
    gammas : complex array (3, 2 * size + 1)
        Gamma functions with the phases of c, at all steps; ``size`` is that of the hexagon.
    v : array (2, n_hidden), log-odds
    period : float
        r; the step is ``2 pi / (3 r)``, the weight of a node ``1 / (3 r^2)``.
    derivatives : bool
        Whether to fill the last sums.
    unit_work : array (n_hidden, UNIT_WORK)
        Scratch.
    sums : array (n_rows, 5)
        In units of F: the integral; the sums of its imaginary part times t1 and t2; the sum of
        moduli; a bound on the blocks that are left out. Modified in place.
    sums_of_units : array (n_rows, n_hidden, 3)
        The first three without the factor of a unit. Modified in place; not used without
        derivatives.

    Notes
    -----
    10 flops per row, unit and node, 30 with derivatives, most of them fused. Every loop over
    nodes has the same length and few arrays, so that it vectorises without a remainder.
    """
    n_hidden, size = v.shape[1], gammas.shape[1] // 2
    step, weight = 2.0 * math.pi / (3.0 * period), 1.0 / (3.0 * period * period)
    phases = np.empty((2, n_hidden, 2 * size + 1))
    _fill_phases(step * (v[0] + v[1]), size, phases[0], phases[1])
    line_angles = 3.0 * step * v[1]
    nodes = np.empty((2, _N), dtype=np.int64)
    block, begin = np.empty(6 * _N), np.empty(2 * _N)
    line, first = 0, -(size // 2)
    while True:
        line, first, n = _fill_block(line, first, size, step, weight, gammas, nodes, block, begin)
        if n == 0:
            return
        ready = 0
        for position in range(start, stop):
            i = order[position]
            for x in range(2 * _N):
                block[x] = begin[x]
            reached, left_out, ready = _multiply(
                on[i], thresholds[i], derivatives, ready, line_angles, nodes, size, phases,
                unit_work, block,
            )  # fmt: skip
            if reached < n_hidden:
                sums[i, 4] += left_out
                continue
            _add_whole(block, sums[i])
            if derivatives:
                _add_units(on[i], unit_work, block, sums_of_units[i])
