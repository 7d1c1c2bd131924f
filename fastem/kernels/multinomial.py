"""M-step of the output layer: multinomial regression on all hidden configurations.

The rows of this regression are the ``2**m`` configurations, and the counts are the expected
weights ``R_k(s)``. The design contains all bit patterns, so moments cost a few additions per
entry of the table.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import SMALLEST_NORMALISER, log_normaliser
from fastem.kernels.special import log_positive


@jit
def sum_log_normaliser(
    high, low, exp_high, exp_low, largest_high, largest_low, totals, start, stop
):  # fmt: skip
    """Return ``sum_s N(s) log sum_k exp(logit_k(s))`` over the high parts ``start:stop``.

    Parameters
    ----------
    high, low : arrays (n_classes, n_high), (n_classes, n_low), log-odds
    exp_high, exp_low : arrays of the same shapes
        Exponentials, divided by their maximum over classes.
    largest_high, largest_low : arrays (n_high,), (n_low,), log-odds
        Maximum of the logits over classes.
    totals : array (n_high, n_low)
        Counts N(s), summed over classes.
    start, stop : int
    """
    n_classes, n_low = low.shape
    normaliser = np.empty(n_low)
    result = 0.0
    for hi in range(start, stop):
        normaliser[:] = 0.0
        for k in range(n_classes):
            factor = exp_high[k, hi]
            row = exp_low[k]
            for lo in range(n_low):
                normaliser[lo] += factor * row[lo]
        weight = totals[hi]
        smallest = math.inf
        for lo in range(n_low):
            smallest = min(smallest, normaliser[lo])
        if smallest >= SMALLEST_NORMALISER:
            for lo in range(n_low):
                log_total = log_positive(normaliser[lo]) + largest_low[lo] + largest_high[hi]
                result += weight[lo] * log_total
        else:
            for lo in range(n_low):
                result += weight[lo] * log_normaliser(high, low, hi, lo)
    return result


@jit
def fill_pair_moments(table, totals, j, k, start, stop, high_sums, low_sums, bit_sums):
    """Sum ``D(s) = N(s) o_j(s) o_k(s)`` over the configurations in ``start:stop``.

    Parameters
    ----------
    table : array (n_classes, n_high, n_low), probability
    totals : array (n_high, n_low)
    j, k : int
        A pair of classes.
    start, stop : int
        Range of high parts.
    high_sums : array (n_high,)
        Overwritten between start and stop with the sums over low parts.
    low_sums : array (n_low,)
        Overwritten with the sums over ``start:stop``.
    bit_sums : array (n_high_bits, n_low)
        Overwritten with the sums over the high parts in ``start:stop`` whose bit is set.
    """
    n_low = totals.shape[1]
    row = np.empty(n_low)
    low_sums[:] = 0.0
    bit_sums[:] = 0.0
    for hi in range(start, stop):
        o_j = table[j, hi]
        o_k = table[k, hi]
        weight = totals[hi]
        for lo in range(n_low):
            row[lo] = weight[lo] * (o_j[lo] * o_k[lo])
        high_sums[hi] = _add_row(row, hi, low_sums, bit_sums)


@jit
def _add_row(row, hi, low_sums, bit_sums):
    """Add the row of one high part to ``low_sums`` and ``bit_sums``; return its sum."""
    total = 0.0
    for lo in range(row.size):
        low_sums[lo] += row[lo]
        total += row[lo]
    for b in range(bit_sums.shape[0]):
        if (hi >> b) & 1:
            out = bit_sums[b]
            for lo in range(row.size):
                out[lo] += row[lo]
    return total
