"""Maxima and samples over the configurations of a tile of rows; posteriors of rows in log space.

The rows of a tile share a table over the configurations. As in `fastem.kernels.enumeration`, a
configuration is split into a high and a low part, and the row index runs fastest.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import fill_prior, n_bits_of
from fastem.kernels.random import GAMMA, derive, mix, uniform
from fastem.kernels.special import add_in_order, exp_clipped


@jit
def _fill_log_prior(log_on, log_off, out):
    """Fill the log prior (nats) of every state of a group of units, (2**n_bits, n_rows)."""
    n_rows = out.shape[1]
    out[0, :] = 0.0
    size = 1
    for b in range(log_on.shape[0]):
        for s in range(size):
            lower = out[s]
            upper = out[s + size]
            for i in range(n_rows):
                upper[i] = lower[i] + log_on[b, i]
                lower[i] = lower[i] + log_off[b, i]
        size *= 2


@jit
def fill_most_probable(log_on, log_off, log_table, largest, states):
    """Find the configuration with the largest sum of log prior and log table.

    Parameters
    ----------
    log_on, log_off : arrays (n_hidden, n_rows), nats
        log P(Z = 1) and log P(Z = 0) of every unit.
    log_table : array (n_high, n_low), nats
        May hold ``-inf``.
    largest : array (n_rows,), nats
        Overwritten with the largest sum.
    states : array of int64 (n_rows,)
        Overwritten with the smallest configuration that has the largest sum.
    """
    n_high, n_low = log_table.shape
    n_rows = log_on.shape[1]
    n_low_bits = n_bits_of(n_low)
    high = np.empty((n_high, n_rows))
    low = np.empty((n_low, n_rows))
    best = np.empty(n_rows)
    best_low = np.empty(n_rows, dtype=np.int64)
    _fill_log_prior(log_on[n_low_bits:], log_off[n_low_bits:], high)
    _fill_log_prior(log_on[:n_low_bits], log_off[:n_low_bits], low)
    largest[:] = -math.inf
    states[:] = 0
    for hi in range(n_high):
        best[:] = -math.inf
        best_low[:] = 0
        for lo in range(n_low):
            t = log_table[hi, lo]
            own = low[lo]
            for i in range(n_rows):
                value = own[i] + t
                is_better = value > best[i]
                best[i] = value if is_better else best[i]
                best_low[i] = lo if is_better else best_low[i]
        own = high[hi]
        for i in range(n_rows):
            value = own[i] + best[i]
            is_better = value > largest[i]
            largest[i] = value if is_better else largest[i]
            states[i] = hi * n_low + best_low[i] if is_better else states[i]


@jit
def fill_uniforms(keys, out):
    """Fill two numbers in [0, 1) per draw and row, which depend on key and draw only.

    Parameters
    ----------
    keys : array of uint64 (n_rows,)
    out : array (2, n_draws, n_rows)
        Overwritten.
    """
    _, n_draws, n_rows = out.shape
    for draw in range(n_draws):
        for i in range(n_rows):
            key = derive(keys[i], draw)
            out[0, draw, i] = uniform(mix(key + GAMMA))
            out[1, draw, i] = uniform(mix(key + GAMMA + GAMMA))


@jit
def fill_samples(on, off, table, uniforms, out):
    """Draw configurations with probability proportional to prior times table.

    The high part is drawn from its marginal, and then the low part given the high part.

    Parameters
    ----------
    on, off : arrays (n_hidden, n_rows), probability
        P(Z = 1) and P(Z = 0) of every unit, unit 0 first.
    table : array (n_high, n_low)
        The sum over configurations must be positive for every row.
    uniforms : array (2, n_draws, n_rows)
        Numbers in [0, 1): for the high part, and for the low part.
    out : array of int64 (n_draws, n_rows)
        Overwritten with configurations.
    """
    n_high, n_low = table.shape
    n_rows = on.shape[1]
    n_low_bits = n_bits_of(n_low)
    A = np.empty((n_high, n_rows))
    B = np.empty((n_low, n_rows))
    N = np.empty((n_high, n_rows))
    of_high = np.empty(n_high)
    of_low = np.empty(n_low)
    own = np.empty(n_low)
    fill_prior(on[n_low_bits:], off[n_low_bits:], A)
    fill_prior(on[:n_low_bits], off[:n_low_bits], B)
    np.dot(table, B, N)
    for i in range(n_rows):
        total = 0.0
        for hi in range(n_high):
            total += A[hi, i] * N[hi, i]
            of_high[hi] = total
        for lo in range(n_low):
            own[lo] = B[lo, i]
        for draw in range(out.shape[0]):
            hi = _first_above(of_high, uniforms[0, draw, i] * of_high[n_high - 1])
            total = 0.0
            for lo in range(n_low):
                total += own[lo] * table[hi, lo]
                of_low[lo] = total
            lo = _first_above(of_low, uniforms[1, draw, i] * of_low[n_low - 1])
            out[draw, i] = hi * n_low + lo


@jit
def _first_above(cumulative, level):
    """Return the first index whose cumulative sum exceeds a level, by bisection."""
    below = -1
    above = cumulative.size - 1
    while above - below > 1:
        middle = (below + above) // 2
        if cumulative[middle] > level:
            above = middle
        else:
            below = middle
    return above


@jit
def fill_bits(states, positions, out):
    """Fill ``out[draw, positions[i], h]`` with bit h of ``states[draw, i]``.

    Parameters
    ----------
    states : array of int64 (n_draws, n_rows)
        Configurations.
    positions : array of int64 (n_rows,)
    out : array of int8 (n_draws, n_samples, n_hidden)
        Overwritten at the positions.
    """
    n_draws, n_rows = states.shape
    n_hidden = out.shape[2]
    for draw in range(n_draws):
        for i in range(n_rows):
            s = states[draw, i]
            own = out[draw, positions[i]]
            for h in range(n_hidden):
                own[h] = (s >> h) & 1


@jit
def fill_log_posterior(log_on, log_off, log_table, log_prior, log_posterior):
    """Fill prior and posterior of all configurations of one row, in nats.

    Parameters
    ----------
    log_on, log_off : arrays (n_hidden,), nats
        log P(Z = 1) and log P(Z = 0) of every unit; finite.
    log_table : array (n_high, n_low), nats
        Finite.
    log_prior, log_posterior : arrays (n_high, n_low), nats
        Overwritten.
    """
    n_high, n_low = log_table.shape
    n_low_bits = n_bits_of(n_low)
    high = np.empty((n_high, 1))
    low = np.empty((n_low, 1))
    units_on = log_on.reshape(log_on.size, 1)
    units_off = log_off.reshape(log_off.size, 1)
    _fill_log_prior(units_on[n_low_bits:], units_off[n_low_bits:], high)
    _fill_log_prior(units_on[:n_low_bits], units_off[:n_low_bits], low)
    largest = -math.inf
    for hi in range(n_high):
        for lo in range(n_low):
            prior = add_in_order(high[hi, 0], low[lo, 0])
            joint = add_in_order(prior, log_table[hi, lo])
            log_prior[hi, lo] = prior
            log_posterior[hi, lo] = joint
            largest = max(largest, joint)
    total = 0.0
    for hi in range(n_high):
        for lo in range(n_low):
            log_posterior[hi, lo] -= largest
            total += exp_clipped(log_posterior[hi, lo])
    log_total = math.log(total)
    for hi in range(n_high):
        for lo in range(n_low):
            log_posterior[hi, lo] -= log_total
