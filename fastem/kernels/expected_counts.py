"""Expected weights of the configurations: sums of the chunks of rows, and the output gradient."""

import numpy as np

from fastem.kernels._jit import jit

_SMALLEST_NORMAL = 1.1754944e-38  # of float32


@jit
def fill_counts(chunk_counts, chunk_starts, table, unit, adds, start, stop, counts):
    """Sum the chunks of every group, and multiply by its table: expected counts.

    Parameters
    ----------
    chunk_counts : array (n_chunk_groups, n_high, n_low)
        From `fill_rows`, sorted by group.
    chunk_starts : array (n_groups + 1,)
        Entries ``chunk_starts[k]:chunk_starts[k + 1]`` belong to group k.
    table : array (n_groups, n_high, n_low), probability
    unit : float
        Factor of the sums of the chunks.
    adds : bool
        Whether the result is added to ``counts``.
    start, stop : int
        Range of high parts.
    counts : array (n_groups, n_high, n_low) or (1, n_high, n_low), summed weight
        Overwritten or modified between start and stop: the counts of every group (of every class),
        or their sum over groups. Chunks are added in order.
    """
    n_groups, _, n_low = table.shape
    is_total = counts.shape[0] == 1
    own = np.empty(n_low)
    for hi in range(start, stop):
        if not adds:
            for k in range(counts.shape[0]):
                counts[k, hi, :] = 0.0
        for k in range(n_groups):
            _fill_expected(chunk_counts, chunk_starts, table, unit, k, hi, own)
            row = counts[0 if is_total else k, hi]
            for lo in range(n_low):
                row[lo] += own[lo]


@jit
def _fill_expected(chunk_counts, chunk_starts, table, unit, k, hi, out):
    """Fill ``out`` with the sum of the chunks of group k times its table, for one high part."""
    first, last = chunk_starts[k], chunk_starts[k + 1]
    probability = table[k, hi]
    if last - first == 1:
        part = chunk_counts[first, hi]
        for lo in range(out.size):
            out[lo] = unit * part[lo] * probability[lo]
        return
    out[:] = 0.0
    for chunk in range(first, last):
        part = chunk_counts[chunk, hi]
        for lo in range(out.size):
            out[lo] += part[lo]
    for lo in range(out.size):
        out[lo] = unit * out[lo] * probability[lo]


@jit
def fill_output_residuals(
    chunk_counts, chunk_starts, table, unit, counts, start, stop, high_sums, low_sums
):
    """Sum the residuals ``R_k(s) - R_.(s) o_k(s)`` of eq. 15 over low and over high parts.

    Parameters
    ----------
    chunk_counts, chunk_starts, table, unit
        As for `fill_counts`; the groups are the classes.
    counts : array (n_classes, n_high, n_low) or (0, n_high, n_low), summed weight
        Expected counts of further rows, which are not in the chunks.
    start, stop : int
        Range of high parts.
    high_sums : array (n_classes, n_high)
        Overwritten between start and stop with the sums over low parts.
    low_sums : array (n_classes, n_low)
        Overwritten with the sums over ``start:stop``.
    """
    n_classes, _, n_low = table.shape
    total = np.empty(n_low)
    own = np.empty((n_classes, n_low))
    low_sums[:] = 0.0
    for hi in range(start, stop):
        total[:] = 0.0
        for k in range(n_classes):
            row = own[k]
            _fill_expected(chunk_counts, chunk_starts, table, unit, k, hi, row)
            if counts.shape[0] > 0:
                more = counts[k, hi]
                for lo in range(n_low):
                    row[lo] += more[lo]
            for lo in range(n_low):
                total[lo] += row[lo]
        for k in range(n_classes):
            row = own[k]
            probability = table[k, hi]
            sums = low_sums[k]
            high_sum = 0.0
            for lo in range(n_low):
                residual = row[lo] - total[lo] * probability[lo]
                sums[lo] += residual
                high_sum += residual
            high_sums[k, hi] = high_sum


@jit
def fill_single(values, start, stop, out):
    """Round the high parts ``start:stop`` of tables to float32, and its subnormal numbers to zero.

    Parameters
    ----------
    values : array (n_groups, n_high, n_low)
    start, stop : int
    out : array (n_groups, n_high, n_low) of float32
        Overwritten between start and stop. It holds no subnormal numbers, which are slow.
    """
    for k in range(values.shape[0]):
        for hi in range(start, stop):
            row = out[k, hi]
            own = values[k, hi]
            for lo in range(row.size):
                value = own[lo]
                row[lo] = value if value >= _SMALLEST_NORMAL else 0.0
