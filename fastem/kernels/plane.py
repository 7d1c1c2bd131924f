"""E-steps of three classes by quadrature over a plane: linear in the number of hidden units.

With A and B the logits of two classes less that of the third, the probability of the third,
``f = 1 / (1 + exp(A) + exp(B))``, is an integral over a plane (Mellin-Barnes, twice),

    f = 1/(2 pi)^2 integral  Gamma(w1) Gamma(w2) Gamma(1 - w1 - w2) exp(-w1 A - w2 B) dt1 dt2

at ``w = d + i t``, d within the triangle d1, d2 > 0, d1 + d2 < 1. The expectation of the
exponential is a product over units. Tilting them, ``beta_h = sigmoid(a_h - d . v_h)``, leaves
``F = E exp(-d . S)`` in front and factors of modulus one at most.

The nodes are ``t = (j, k) step`` with ``j - k`` a multiple of three: a lattice of triangles. It
errs by the sum of ``exp(d . l) E f(S + l)`` over the lattice of ``l = r (a, b)``, a + b a multiple
of three but not both zero, ``r = 2 pi / (3 step)``; of those that are as safe at the centroid it
has the fewest nodes, a third of those of a square lattice. Each of the terms is at most
``exp((d - w) . l) E exp(-w . S)``, whatever w of the closed triangle. The Gamma functions fall
like ``exp(-pi max(|t1|, |t2|, |t1 + t2|))``: a hexagon of nodes, of which half are conjugate to
the others.
"""

import cmath
import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import exp_clipped

NODES_AT_ONCE = 64  # whose products, unit by unit, stay in the first cache or close to it
_N = NODES_AT_ONCE
_BEFORE = 2 * _N  # of a unit: versines, sines, and the product before it (real, imaginary)
_AFTER, _T1, _T2 = 2 * _N, 4 * _N, 5 * _N  # of the state: product, product after a unit, t1, t2
_UNITS_AT_ONCE = 8  # between which nodes are dropped
_SHIFT = 10


@jit
def gamma(w):
    """Return the Gamma function of a complex number whose real part is positive."""
    product = 1.0 + 0.0j
    z = w
    for _ in range(_SHIFT):
        product *= z
        z += 1.0
    y = 1.0 / z
    s = y * y
    series = y * (
        1.0 / 12.0
        - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0 - s * (
            1.0 / 1188.0 - s * (691.0 / 360360.0 - s / 156.0)
        ))))
    )  # fmt: skip
    return cmath.exp((z - 0.5) * cmath.log(z) - z + 0.9189385332046727 + series) / product


@jit
def add_log_moments(log_odds, v, c, points, out):
    """Add ``log E exp(-w . S)`` of rows, ``S = c + sum_h v_h Z_h``.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    v : array (2, n_hidden)
    c : array (2,)
    points : array (n_points, 2)
        Those w.
    out : array (n_rows, n_points), nats
        Added to.

    Notes
    -----
    An exponential per row, unit and point.
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
def _fill_gammas(d, c, step, size, tables):
    """Overwrite tables of the three Gamma functions, phases of c within; return a tail.

    The tail is the sum of moduli at the nodes beyond the hexagon, about.
    """
    d_0 = 1.0 - d[0] - d[1]
    for j in range(size + 1):
        t = j * step
        values = (
            gamma(complex(d[0], t)) * cmath.exp(complex(0.0, -t * c[0])),
            gamma(complex(d[1], t)) * cmath.exp(complex(0.0, -t * c[1])),
            gamma(complex(d_0, -t)),
        )
        for v in range(3):
            tables[v, size + j] = values[v]
            tables[v, size - j] = values[v].conjugate()
    sides = 0.0
    for k in range(size + 1):
        for v in range(3):
            a, b = (v + 1) % 3, (v + 2) % 3
            across = abs(tables[a, size + k]) * abs(tables[b, 2 * size - k])
            sides += abs(tables[v, 2 * size]) * across
    ratio = math.exp(-math.pi * step)
    # both signs of each side, a third of the nodes of the square lattice, and longer sides
    return 2.0 / 3.0 * sides * ratio / (1.0 - ratio) * (1.0 + 2.0 / max(size * step, 1.0))


@jit
def _fill_phases(angles, size, real, imaginary):
    """Overwrite ``exp(-i j angle_h)`` for j from -size to size: coarse times fine."""
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
def _fill_block(row, first, size, step, weight, gammas, nodes, state, start):
    """Overwrite the next nodes, line by line; return where to go on and how many there are.

    A node is ``t = (j, j - 3 row) step``. Where there are no more the weight is zero.
    """
    n = 0
    for x in range(_N):
        nodes[0, x] = nodes[1, x] = 0
        start[x] = start[_N + x] = state[_T1 + x] = state[_T2 + x] = 0.0
        if 3 * row > 2 * size:
            continue
        j, k = first, first - 3 * row
        nodes[0, x], nodes[1, x] = j, row
        state[_T1 + x], state[_T2 + x] = j * step, k * step
        value = gammas[0, j + size] * gammas[1, k + size] * gammas[2, j + k + size]
        share = weight if row == 0 else 2.0 * weight  # for the conjugate half
        start[x], start[_N + x] = share * value.real, share * value.imag
        n += 1
        first += 1
        if first > min((3 * row + size) // 2, size):
            row += 1
            first = max((3 * row - size + 1) // 2, 3 * row - size)
    return row, first, n


@jit
def _turn(line_angles, nodes, size, phases, start, stop, units):
    """Overwrite ``1 - cos`` and ``-sin`` of ``t . v_h`` of some units at nodes of a block."""
    low = 0
    while low < _N:  # as many as are on one line
        row, first = nodes[1, low], nodes[0, low]
        high = low + 1
        while high < _N and nodes[1, high] == row and nodes[0, high] > first:
            high += 1
        for h in range(start, stop):
            a, b = math.cos(row * line_angles[h]), math.sin(row * line_angles[h])
            real, imaginary, unit = phases[0, h], phases[1, h], units[h]
            shift = first + size - low
            for x in range(low, high):
                r, i = real[shift + x], imaginary[shift + x]
                unit[x] = 1.0 - (a * r - b * i)
                unit[_N + x] = a * i + b * r
        low = high


@jit
def _multiply(on, threshold, keeps, ready, line_angles, nodes, size, phases, units, state):
    """Multiply the product by factors unit by unit, keeping what it was before each.

    Return how many units it came to, a bound on the sum of moduli where all of the nodes have
    fallen below the threshold and the rest is left out, and how many units are ready: have
    their sines of this block, which are made when they are needed.
    """
    for h in range(len(on)):
        if h % _UNITS_AT_ONCE == 0:
            squares = 0.0  # their sum, which vectorises where the largest would not
            for x in range(_N):
                squares += state[x] * state[x] + state[_N + x] * state[_N + x]
            if squares < threshold * threshold:
                return h, math.sqrt(_N * squares), ready
            if h >= ready:
                ready = min(h + _UNITS_AT_ONCE, len(on))
                _turn(line_angles, nodes, size, phases, h, ready, units)
        q, unit = on[h], units[h]
        if keeps:
            for x in range(_N):
                a, b = 1.0 - q * unit[x], q * unit[_N + x]
                r, i = state[x], state[_N + x]
                unit[_BEFORE + x], unit[_BEFORE + _N + x] = r, i
                state[x] = r * a - i * b
                state[_N + x] = r * b + i * a
        else:
            for x in range(_N):
                a, b = 1.0 - q * unit[x], q * unit[_N + x]
                r, i = state[x], state[_N + x]
                state[x] = r * a - i * b
                state[_N + x] = r * b + i * a
    return len(on), 0.0, ready


@jit
def _add_units(on, units, state, sums):
    """Add the integrand without each factor to the sums of a row: products before and after."""
    for x in range(_N):
        state[_AFTER + x], state[_AFTER + _N + x] = 1.0, 0.0
    for g in range(len(on)):
        h = len(on) - 1 - g
        q, unit = on[h], units[h]
        whole = along = across = 0.0
        for x in range(_N):
            p, s = state[_AFTER + x], state[_AFTER + _N + x]
            r, i = unit[_BEFORE + x], unit[_BEFORE + _N + x]
            imaginary = r * s + i * p
            whole += r * p - i * s
            along += state[_T1 + x] * imaginary
            across += state[_T2 + x] * imaginary
            a, b = 1.0 - q * unit[x], q * unit[_N + x]
            state[_AFTER + x] = p * a - s * b
            state[_AFTER + _N + x] = p * b + s * a
        sums[h, 0] += whole
        sums[h, 1] += along
        sums[h, 2] += across


@jit
def _add_whole(state, sums):
    """Add the integrand to the sums of a row."""
    whole = along = across = moduli = 0.0
    for x in range(_N):
        r, i = state[x], state[_N + x]
        whole += r
        along += state[_T1 + x] * i
        across += state[_T2 + x] * i
        moduli += abs(r) + abs(i)
    sums[0] += whole
    sums[1] += along
    sums[2] += across
    sums[3] += moduli


@jit
def add_nodes(
    on, order, start, stop, thresholds, d, v, c, scale, size, derivatives, units, sums,
    sums_of_units,
):  # fmt: skip
    """Add the integrand over the nodes of a hexagon to the sums of some rows; return its tail.

    Parameters
    ----------
    on : array (n_rows, n_hidden)
        Tilted probabilities, beta.
    order : array of int
        Row numbers; ``order[start:stop]`` are worked on.
    thresholds : array (n_rows,)
        Nodes whose terms are known to be less are left out.
    d : array (2,)
    v : array (2, n_hidden)
    c : array (2,)
    scale : float
        r; the step is ``2 pi / (3 r)``.
    size : int
        Of the hexagon, in steps.
    derivatives : bool
        Whether the last sums are wanted.
    units : array (n_hidden, 4 * NODES_AT_ONCE)
        Scratch.
    sums : array (n_rows, 5)
        In units of F: the integral, those of its imaginary part times t1 and t2, of moduli,
        and a bound on what was left out. Added to.
    sums_of_units : array (n_rows, n_hidden, 3)
        The first three without the factor of a unit. Added to; not read without derivatives.

    Notes
    -----
    Each row, unit and node takes 10 flops, 30 with derivatives, and most of them fuse. Loops
    are over so many nodes always, and over few arrays: so they vectorise without leftovers.
    """
    n_hidden = v.shape[1]
    step, weight = 2.0 * math.pi / (3.0 * scale), 1.0 / (3.0 * scale * scale)
    gammas = np.empty((3, 2 * size + 1), dtype=np.complex128)
    tail = weight * _fill_gammas(d, c, step, size, gammas)
    phases = np.empty((2, n_hidden, 2 * size + 1))
    _fill_phases(step * (v[0] + v[1]), size, phases[0], phases[1])
    line_angles = 3.0 * step * v[1]
    nodes = np.empty((2, _N), dtype=np.int64)
    state, begin = np.empty(6 * _N), np.empty(2 * _N)
    row, first = 0, -(size // 2)
    while True:
        row, first, n = _fill_block(row, first, size, step, weight, gammas, nodes, state, begin)
        if n == 0:
            return tail
        ready = 0
        for place in range(start, stop):
            i = order[place]
            for x in range(2 * _N):
                state[x] = begin[x]
            reached, left_out, ready = _multiply(
                on[i], thresholds[i], derivatives, ready, line_angles, nodes, size, phases, units,
                state,
            )  # fmt: skip
            if reached < n_hidden:
                sums[i, 4] += left_out
                continue
            _add_whole(state, sums[i])
            if derivatives:
                _add_units(on[i], units, state, sums_of_units[i])
