"""Tables over bit-encoded hidden configurations.

A configuration of m hidden units is the integer ``s`` whose bit h is the state of unit
h. Tables over all ``2**m`` configurations are stored as matrices ``(n_high, n_low)``:
the low bits run along a row, so a flattened table is in the order of s.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.special import add_in_order, exp_clipped

# The normaliser relative to the largest possible term. If it is smaller, products
# exp(high) * exp(low) of other classes may have underflowed. Above it, every probability has an
# absolute error below 1e-308 / 1e-60 = 1e-248.
SMALLEST_NORMALISER = 1e-60


@jit
def n_bits_of(size):
    """Return the number of bits that index a table; ``size`` is a power of two."""
    n_bits = 0
    while (1 << n_bits) < size:
        n_bits += 1
    return n_bits


@jit
def fill_prior(on, off, out):
    """Fill ``out[s, i]`` with the prior probability of state s of a group of units, by doubling.

    Parameters
    ----------
    on, off : arrays (n_bits, n_rows), probability
        P(Z = 1 | x) and P(Z = 0 | x) of the units of the group.
    out : array (2**n_bits, n_rows), probability
        Overwritten. Costs ``2**(n_bits + 1)`` multiplications per row.
    """
    n_rows = out.shape[1]
    out[0, :] = 1.0
    size = 1
    for b in range(on.shape[0]):
        p_on = on[b]
        p_off = off[b]
        for s in range(size):
            lower = out[s]
            upper = out[s + size]
            for i in range(n_rows):
                upper[i] = lower[i] * p_on[i]
                lower[i] = lower[i] * p_off[i]
        size *= 2


@jit
def fold(table, out):
    """Sum, for every unit of a group, the entries of ``table`` in which the unit is on.

    Parameters
    ----------
    table : array (2**n_bits, n_rows)
        Overwritten with partial sums: the upper half is added to the lower half, bit by bit.
    out : array (n_bits, n_rows)
        Overwritten. Costs ``2**(n_bits + 1)`` additions per row.
    """
    n_bits, n_rows = out.shape
    size = 1 << n_bits
    for b in range(n_bits - 1, -1, -1):
        size //= 2
        total = out[b]
        total[:] = 0.0
        for s in range(size):
            lower = table[s]
            upper = table[s + size]
            for i in range(n_rows):
                total[i] += upper[i]
                lower[i] += upper[i]


@jit
def fold_product(factor, table, out):
    """Multiply ``table`` by ``factor`` and `fold` the product; return the sums over all states.

    Parameters
    ----------
    factor, table : arrays (2**n_bits, n_rows)
        ``table`` is overwritten with partial sums.
    out : array (n_bits, n_rows)
        Overwritten, as by `fold`.

    Returns
    -------
    total : array (n_rows,)
        Sums of ``factor * table`` over all states. A view of the first row of ``table``.
    """
    n_bits, n_rows = out.shape
    half = (1 << n_bits) // 2
    if n_bits == 0:
        f = factor[0]
        t = table[0]
        for i in range(n_rows):
            t[i] *= f[i]
        return t
    top = out[n_bits - 1]
    top[:] = 0.0
    for s in range(half):
        f_lower = factor[s]
        f_upper = factor[s + half]
        lower = table[s]
        upper = table[s + half]
        for i in range(n_rows):
            u = upper[i] * f_upper[i]
            top[i] += u
            lower[i] = lower[i] * f_lower[i] + u
    fold(table[:half], out[: n_bits - 1])
    return table[0]


@jit
def fill_subset_sums(values, start, out):
    """Fill ``out[s]`` with ``start + sum of values[b] over the bits b of s``."""
    out[0] = start
    size = 1
    for b in range(values.size):
        for s in range(size):
            out[s + size] = out[s] + values[b]
        size *= 2


@jit
def half_logits(coefs, intercepts, n_low_bits):
    """Split the natural parameters of all configurations into a high and a low part.

    For classes the natural parameters are the logits.

    Parameters
    ----------
    coefs : array (n_hidden, n_outputs), natural parameter per unit
    intercepts : array (n_outputs,), natural parameter
    n_low_bits : int

    Returns
    -------
    high : array (n_outputs, n_high), natural parameter, intercepts included
    low : array (n_outputs, n_low), natural parameter
        Output k has the value ``high[k, hi] + low[k, lo]`` in configuration ``(hi, lo)``.
    """
    n_hidden, n_classes = coefs.shape
    high = np.empty((n_classes, 1 << (n_hidden - n_low_bits)))
    low = np.empty((n_classes, 1 << n_low_bits))
    for k in range(n_classes):
        fill_subset_sums(coefs[n_low_bits:, k], intercepts[k], high[k])
        fill_subset_sums(coefs[:n_low_bits, k], 0.0, low[k])
    return high, low


@jit
def scaled_exponentials(logits):
    """Return ``exp(logits[k, s] - max over k)`` and that maximum, for every s."""
    n_classes, size = logits.shape
    out = np.empty((n_classes, size))
    largest = np.empty(size)
    for s in range(size):
        largest[s] = logits[0, s]
        for k in range(1, n_classes):
            largest[s] = max(largest[s], logits[k, s])
    for k in range(n_classes):
        for s in range(size):
            out[k, s] = exp_clipped(logits[k, s] - largest[s])
    return out, largest


@jit
def fill_output_table(coefs, intercepts, start, stop, out):
    """Fill rows ``start:stop`` of the softmax table of every class.

    Parameters
    ----------
    coefs : array (n_hidden, n_classes), log-odds per unit
    intercepts : array (n_classes,), log-odds
    start, stop : int
        Range of high parts.
    out : array (n_classes, n_high, n_low), probability
        ``out[k, hi, lo] = P(Y = k | z)``. Overwritten between start and stop.

    Notes
    -----
    As ``exp(high + low) = exp(high) exp(low)``, a configuration costs one division and 2 g
    multiplications. Exponentials are needed only if the normaliser is below
    `SMALLEST_NORMALISER`: the best classes of high and low differ, and by more than 138 nats.
    """
    n_classes, _, n_low = out.shape
    high, low = half_logits(coefs, intercepts, n_bits_of(n_low))
    exp_high, _ = scaled_exponentials(high)
    exp_low, _ = scaled_exponentials(low)
    total = np.empty(n_low)
    for hi in range(start, stop):
        total[:] = 0.0
        for k in range(n_classes):
            factor = exp_high[k, hi]
            exp_low_k = exp_low[k]
            for lo in range(n_low):
                total[lo] += factor * exp_low_k[lo]
        smallest = total[0]
        for lo in range(n_low):
            smallest = min(smallest, total[lo])
            total[lo] = 1.0 / total[lo]
        for k in range(n_classes):
            factor = exp_high[k, hi]
            exp_low_k = exp_low[k]
            row = out[k, hi]
            for lo in range(n_low):
                row[lo] = factor * exp_low_k[lo] * total[lo]
        if smallest < SMALLEST_NORMALISER:
            for lo in range(n_low):
                # total holds reciprocals here
                if not total[lo] <= 1.0 / SMALLEST_NORMALISER:
                    _fill_softmax(high, low, hi, lo, out)


@jit
def _fill_softmax(high, low, hi, lo, out):
    log_total = log_normaliser(high, low, hi, lo)
    for k in range(high.shape[0]):
        out[k, hi, lo] = math.exp(add_in_order(high[k, hi], low[k, lo]) - log_total)


@jit
def log_normaliser(high, low, hi, lo):
    """Return ``log sum_k exp(high[k, hi] + low[k, lo])``, in nats."""
    largest = -math.inf
    for k in range(high.shape[0]):
        largest = max(largest, add_in_order(high[k, hi], low[k, lo]))
    total = 0.0
    for k in range(high.shape[0]):
        total += math.exp(add_in_order(high[k, hi], low[k, lo]) - largest)
    return largest + math.log(total)


@jit
def fill_log_output_table(high, low, k, out):
    """Fill ``out[hi, lo]`` with ``log P(Y = k | z)`` (nats) for one class k."""
    n_high, n_low = out.shape
    for hi in range(n_high):
        for lo in range(n_low):
            logit = add_in_order(high[k, hi], low[k, lo])
            out[hi, lo] = logit - log_normaliser(high, low, hi, lo)


@jit
def unit_sums(high_sums, low_sums):
    """Return, for every unit, the sum of the entries of a table in which the unit is on.

    Parameters
    ----------
    high_sums : array (n_outputs, n_high)
        Sums of the table of each class or output over low parts.
    low_sums : array (n_slices, n_outputs, n_low)
        The same over high parts, of which every slice has some.

    Returns
    -------
    sums : array (n_hidden + 1, n_outputs)
        The last row is the sum over all configurations.
    """
    n_slices, n_classes, n_low = low_sums.shape
    n_high = high_sums.shape[1]
    n_low_bits = n_bits_of(n_low)
    n_hidden = n_low_bits + n_bits_of(n_high)
    sums = np.zeros((n_hidden + 1, n_classes))
    for k in range(n_classes):
        for lo in range(n_low):
            own = 0.0
            for piece in range(n_slices):
                own += low_sums[piece, k, lo]
            sums[n_hidden, k] += own
            for b in range(n_low_bits):
                if (lo >> b) & 1:
                    sums[b, k] += own
        for hi in range(n_high):
            for b in range(n_hidden - n_low_bits):
                if (hi >> b) & 1:
                    sums[n_low_bits + b, k] += high_sums[k, hi]
    return sums
