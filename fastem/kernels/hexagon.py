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
def _begin(product, n, first, row, size, tables, weight):
    """Overwrite the product with the three Gamma functions at nodes of a line."""
    real, imaginary = product
    for x in range(n):
        j = first + x
        k = j - 3 * row
        a = tables[0, j + size] * tables[1, k + size] * tables[2, j + k + size]
        real[x], imaginary[x] = weight * a.real, weight * a.imag


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
def _turn(line_angles, row, first, size, n, real, imaginary, versines, sines):
    """Overwrite ``1 - cos`` and ``-sin`` of ``t . v_h`` at nodes of a line."""
    start = first + size
    for h in range(len(line_angles)):
        a, b = math.cos(row * line_angles[h]), math.sin(row * line_angles[h])
        for x in range(n):
            r, i = real[h, start + x], imaginary[h, start + x]
            versines[h, x] = 1.0 - (a * r - b * i)
            sines[h, x] = a * i + b * r


@jit
def _multiply(on, versines, sines, n, threshold, keeps, product, real, imaginary):
    """Multiply the product by factors unit by unit, keeping what it was before each.

    Return how many units it came to, and a bound on the sum of moduli where all of the nodes
    have fallen below the threshold and the rest is left out.
    """
    p, s = product
    for h in range(len(on)):
        if h % _UNITS_AT_ONCE == 0:
            squares = 0.0  # their sum, which vectorises where the largest would not
            for x in range(n):
                squares += p[x] * p[x] + s[x] * s[x]
            if squares < threshold * threshold:
                return h, math.sqrt(n * squares)
        q = on[h]
        if keeps:
            for x in range(n):
                real[h, x], imaginary[h, x] = p[x], s[x]
        for x in range(n):
            a, b = 1.0 - q * versines[h, x], q * sines[h, x]
            r, i = p[x], s[x]
            p[x] = r * a - i * b
            s[x] = r * b + i * a
    return len(on), 0.0


@jit
def _add_units(on, versines, sines, n, first, row, step, real, imaginary, rest, sums):
    """Add the integrand without each factor to the sums of a row; products are prefixes."""
    rest_real, rest_imaginary = rest
    for x in range(n):
        rest_real[x], rest_imaginary[x] = 1.0, 0.0
    for h in range(len(on) - 1, -1, -1):
        q = on[h]
        whole = turned = along = 0.0
        for x in range(n):
            p, s = rest_real[x], rest_imaginary[x]
            r, i = real[h, x], imaginary[h, x]
            imaginary_part = r * s + i * p
            whole += r * p - i * s
            turned += imaginary_part
            along += x * imaginary_part
            a, b = 1.0 - q * versines[h, x], q * sines[h, x]
            rest_real[x] = p * a - s * b
            rest_imaginary[x] = p * b + s * a
        sums[h, 0] += whole
        sums[h, 1] += step * (along + first * turned)
        sums[h, 2] += step * (along + (first - 3 * row) * turned)


@jit
def add_nodes(
    on, order, start, stop, thresholds, d, v, c, scale, size, derivatives, work, sums, sums_of_units
):
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
    work : array (4 * n_hidden + 4, NODES_AT_ONCE)
        Scratch.
    sums : array (n_rows, 5)
        In units of F: the integral, those of its imaginary part times t1 and t2, of moduli,
        and a bound on what was left out. Added to.
    sums_of_units : array (n_rows, n_hidden, 3)
        The first three without the factor of a unit. Added to; not read without derivatives.

    Notes
    -----
    For each row, unit and node 8 multiplications or additions that fuse or stand alone, 18 with
    derivatives, half of them fused: 14 and 30 flops.
    """
    n_hidden = v.shape[1]
    step = 2.0 * math.pi / (3.0 * scale)
    versines, sines = work[:n_hidden], work[n_hidden : 2 * n_hidden]
    real, imaginary = work[2 * n_hidden : 3 * n_hidden], work[3 * n_hidden : 4 * n_hidden]
    product, rest = (work[-4], work[-3]), (work[-2], work[-1])
    gammas = np.empty((3, 2 * size + 1), dtype=np.complex128)
    tail = _fill_gammas(d, c, step, size, gammas) / (3.0 * scale * scale)
    phases = np.empty((2, n_hidden, 2 * size + 1))
    _fill_phases(step * (v[0] + v[1]), size, phases[0], phases[1])
    line_angles = 3.0 * step * v[1]
    for row in range(2 * size // 3 + 1):
        low = max((3 * row - size + 1) // 2, 3 * row - size)
        high = min((3 * row + size) // 2, size)
        weight = (1.0 if row == 0 else 2.0) / (3.0 * scale * scale)
        for first in range(low, high + 1, NODES_AT_ONCE):
            n = min(NODES_AT_ONCE, high + 1 - first)
            _turn(line_angles, row, first, size, n, phases[0], phases[1], versines, sines)
            for place in range(start, stop):
                i = order[place]
                _begin(product, n, first, row, size, gammas, weight)
                reached, left_out = _multiply(
                    on[i], versines, sines, n, thresholds[i], derivatives, product, real, imaginary
                )
                if reached < n_hidden:
                    sums[i, 4] += left_out
                    continue
                whole = turned = along = moduli = 0.0
                for x in range(n):
                    r, j = product[0][x], product[1][x]
                    whole += r
                    turned += j
                    along += x * j
                    moduli += abs(r) + abs(j)
                sums[i, 0] += whole
                sums[i, 1] += step * (along + first * turned)
                sums[i, 2] += step * (along + (first - 3 * row) * turned)
                sums[i, 3] += moduli
                if derivatives:
                    _add_units(
                        on[i], versines, sines, n, first, row, step, real, imaginary, rest,
                        sums_of_units[i],
                    )  # fmt: skip
    return tail
