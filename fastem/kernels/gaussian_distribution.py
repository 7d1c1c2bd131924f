"""Distribution function of a scalar Gaussian output: nodes of a row, and sums for several y.

Let phi be the characteristic function of ``y - mean``, the product of
``exp(-variance t^2/2 - i t (mean - c))`` and of the factors ``1 - u_h + u_h exp(i t v_h)``. With
the step h, ``t_k = (k + 1/2) h`` and ``x = y - mean``,

    F(y) = 1/2 - sum_k Im[phi(t_k) exp(-i t_k x)] / (pi (k + 1/2)),    k = 0, 1, ...

The error of the infinite sum is at most the larger one of P(Y < y - L) and P(Y > y + L), where
``L = 2 pi / h`` (R. B. Davies, Biometrika 60, 1973, 415-417). The nodes do not depend on y. They
are computed once per row and serve all values of y. The density has the same nodes.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.gaussian_line import NODES_AT_ONCE, fill_powers, multiply_units

_MOST_SOLVER_STEPS = 400  # bisection alone needs at most about 120
RESOLUTION = 4.5e-16  # two roundings, relative to y


@jit
def fill_nodes(
    log_odds, means, order, start, stop, v, c, variance, step, n_nodes, threshold, work, nodes,
    lengths,
):  # fmt: skip
    """Compute the terms of F at the mean of y, for rows of one grid.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    means : array (n_rows,)
        Means of y.
    order : array of int
        Row numbers. The kernel works on the rows ``order[start:stop]``.
    start, stop : int
    v : array (n_hidden,)
    c, variance : float
    step : float
        h.
    n_nodes : int
        A multiple of NODES_AT_ONCE.
    threshold : float
        Terms with a smaller modulus are negligible.
    work : array (2 * n_hidden + 1, NODES_AT_ONCE)
        Scratch.
    nodes : array (stop - start, 2, n_nodes)
        Overwritten: real and imaginary part of ``phi(t_k) / (pi (k + 1/2))``.
    lengths : array of int (stop - start,)
        Overwritten: the number of terms up to the last one that is not negligible.

    Notes
    -----
    About 8 flops per row, unit and node.
    """
    n_hidden = len(v)
    cosines, sines = work[:n_hidden], work[n_hidden : 2 * n_hidden]
    decay = work[2 * n_hidden]
    on = np.empty(n_hidden)
    lengths[:] = 0
    for first in range(0, n_nodes, NODES_AT_ONCE):
        for k in range(NODES_AT_ONCE):
            number = first + k + 0.5
            t = number * step
            decay[k] = math.exp(-0.5 * variance * t * t) / (math.pi * number)
        ready = 0
        for position in range(start, stop):
            i, row = order[position], position - start
            real = nodes[row, 0, first : first + NODES_AT_ONCE]
            imaginary = nodes[row, 1, first : first + NODES_AT_ONCE]
            fill_powers(first + 0.5, step, c - means[i], real, imaginary)
            for k in range(NODES_AT_ONCE):
                real[k] *= decay[k]
                imaginary[k] *= decay[k]
            is_alive, ready = multiply_units(
                log_odds, i, v, 0.0, first + 0.5, step, threshold, ready, on, cosines, sines,
                real, imaginary,
            )  # fmt: skip
            if is_alive:
                lengths[row] = first + NODES_AT_ONCE
            else:
                real[:] = 0.0
                imaginary[:] = 0.0


@jit
def _evaluate(nodes, length, step, x, cosines, sines):
    """Return distribution function and density of one row at the distance x from the mean."""
    fill_powers(0.0, step, -x, cosines, sines)
    below, density = 0.5, 0.0
    for first in range(0, length, NODES_AT_ONCE):
        real = imaginary = real_moment = imaginary_moment = 0.0
        for k in range(NODES_AT_ONCE):
            a, b = nodes[0, first + k], nodes[1, first + k]
            r = a * cosines[k] - b * sines[k]
            j = a * sines[k] + b * cosines[k]
            real += r
            imaginary += j
            real_moment += k * r
            imaginary_moment += k * j
        number = first + 0.5
        angle = -number * step * x
        cosine, sine = math.cos(angle), math.sin(angle)
        below -= imaginary * cosine + real * sine
        density += cosine * (number * real + real_moment)
        density -= sine * (number * imaginary + imaginary_moment)
    return below, density * step


@jit
def fill_cdf(distances, order, start, stop, step, nodes, lengths, out):
    """Compute the distribution function at one value of y per row.

    Parameters
    ----------
    distances : array (n_rows,)
        y minus the mean of y.
    order, start, stop, step, nodes, lengths
        See `fill_nodes`.
    out : array (n_rows,)
        Overwritten for the rows ``order[start:stop]``.
    """
    cosines, sines = np.empty(NODES_AT_ONCE), np.empty(NODES_AT_ONCE)
    for row in range(stop - start):
        i = order[start + row]
        below, _ = _evaluate(nodes[row], lengths[row], step, distances[i], cosines, sines)
        out[i] = min(max(below, 0.0), 1.0)


@jit
def fill_quantiles(
    q, starts, tol, means, lowest, highest, order, start, stop, step, nodes, lengths, out
):
    """Solve ``F(y) = q`` for rows of one grid, by Newton's method and bisection.

    Parameters
    ----------
    q : array (n_values,), probability
    starts : array (n_values,)
        First values of y minus its mean, in units of the length of the interval.
    tol : float
        Error of F that is allowed.
    means, lowest, highest : array (n_rows,)
        Mean of y, and the interval of y minus its mean that contains the solution.
    order, start, stop, step, nodes, lengths
        See `fill_nodes`.
    out : array (n_rows, n_values)
        Overwritten for the rows ``order[start:stop]``.
    """
    cosines, sines = np.empty(NODES_AT_ONCE), np.empty(NODES_AT_ONCE)
    for row in range(stop - start):
        i = order[start + row]
        for j in range(len(q)):
            low, high, last = lowest[i], highest[i], 1.0
            x = min(max(starts[j] * (high - low), low), high)
            for _ in range(_MOST_SOLVER_STEPS):
                below, density = _evaluate(nodes[row], lengths[row], step, x, cosines, sines)
                error = below - q[j]
                largest = max(abs(low + means[i]), abs(high + means[i]))
                if abs(error) <= tol or high - low <= RESOLUTION * largest:
                    break
                if error > 0.0:
                    high = x
                else:
                    low = x
                new = x - error / density
                is_slow = abs(error) > 0.5 * last
                if is_slow or not (low < new < high):
                    new = 0.5 * (low + high)
                    error = 1.0  # the next Newton step is not compared with this one
                x, last = new, abs(error)
            out[i, j] = x + means[i]
