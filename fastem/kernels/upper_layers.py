"""The E-step of a hidden layer whose rows are the configurations of the layer below.

A row is a configuration of the layer below. It carries one expected weight per class, and its
prior is the same for all classes. The tables of the classes are therefore stacked: one matrix
product covers all classes, where `fastem.kernels.enumeration` needs one per class.

Arrays have the layout of `fastem.kernels.enumeration`: the first index is the configuration of
this layer, the second index is the row.
"""

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import fill_prior, fold_product, n_bits_of
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD, carve
from fastem.kernels.special import sigmoids


def workspace_size(n_hidden, n_low_bits, n_classes, tile):
    """Return the size of the workspace of both kernels below, in numbers."""
    n_low = 1 << n_low_bits
    n_high = 1 << (n_hidden - n_low_bits)
    per_row = 3 * n_hidden + (n_classes + 2) * (n_low + n_high)
    return tile * per_row + n_classes * n_high * n_low


@jit
def _fill_priors(on, off, begin, end, workspace, high, low):
    """Fill the priors of both halves of the units, for the rows ``begin:end``."""
    n_low_bits = n_bits_of(low.shape[0])
    on_here, rest = carve(workspace, on.shape[0], end - begin)
    off_here, rest = carve(rest, on.shape[0], end - begin)
    for h in range(on.shape[0]):
        for i in range(begin, end):
            on_here[h, i - begin] = on[h, i]
            off_here[h, i - begin] = off[h, i]
    fill_prior(on_here[n_low_bits:], off_here[n_low_bits:], high)
    fill_prior(on_here[:n_low_bits], off_here[:n_low_bits], low)
    return rest


@jit
def fill_marginals(high, low, stacked, n_low, start, stop, tile, workspace, on, off, marginals):
    """Fill ``P(y = k | configuration)`` of the rows ``start:stop`` for every class k.

    Parameters
    ----------
    high, low : arrays (n_hidden, n_high_below), (n_hidden, n_low_below), log-odds
        Log-odds of this layer's units: the parts of the high and of the low half of the
        configuration below (`half_logits`).
    stacked : array (n_classes * n_low, n_high), probability
        ``P(y = k | z)``: the transposed tables of all classes, one below the other.
    n_low, start, stop, tile : int
    workspace : array (workspace_size(...),)
    on, off : arrays (n_hidden, n_rows), probability
        P(Z=1|configuration) and P(Z=0|configuration). Overwritten in the range.
    marginals : array (n_classes, n_rows), probability
        Overwritten in the range, with an absolute error below 1e-248.

    Returns
    -------
    n_small : int
        Number of entries below `SMALLEST_LIKELIHOOD`, which may have lost digits.
    """
    n_hidden, n_low_below = low.shape
    n_bits_below = n_bits_of(n_low_below)
    n_classes, n_high = stacked.shape[0] // n_low, stacked.shape[1]
    n_small = 0
    for h in range(n_hidden):
        on_h, off_h = on[h], off[h]
        for i in range(start, stop):
            on_h[i] = high[h, i >> n_bits_below] + low[h, i & (n_low_below - 1)]
        for i in range(start, stop):
            on_h[i], off_h[i] = sigmoids(on_h[i])
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = carve(workspace, n_high, n)
        B, rest = carve(rest, n_low, n)
        rest = _fill_priors(on, off, begin, end, rest, A, B)
        M, rest = carve(rest, n_classes * n_low, n)
        np.dot(stacked, A, M)
        for k in range(n_classes):
            out = marginals[k, begin:end]
            out[:] = 0.0
            for s in range(n_low):
                b = B[s]
                t = M[k * n_low + s]
                for i in range(n):
                    out[i] += b[i] * t[i]
            for i in range(n):
                n_small += out[i] < SMALLEST_LIKELIHOOD
    return n_small


@jit
def _fill_scaled(prior, scale, begin, out):
    """Fill ``out`` with the prior times the scale of each class, one class below the other."""
    size, n = prior.shape
    for k in range(scale.shape[0]):
        r = scale[k, begin : begin + n]
        for s in range(size):
            p = prior[s]
            o = out[k * size + s]
            for i in range(n):
                o[i] = p[i] * r[i]


@jit
def fill_expectations(
    on, off, table, stacked, scale, start, stop, tile, workspace, on_weight, counts
):
    """Run the E-step of the rows ``start:stop`` for all classes.

    Parameters
    ----------
    on, off, stacked, start, stop, tile, workspace
        As for `fill_marginals`.
    table : array (n_classes * n_high, n_low), probability
        The tables of all classes, not transposed, one below the other.
    scale : array (n_classes, n_rows)
        Expected weight of every class in a row, divided by its marginal.
    on_weight : array (n_hidden, n_rows), summed weight
        Expected weight of a row while the unit is on. Overwritten in the range.
    counts : array (n_classes * n_high, n_low)
        Overwritten with ``sum_i scale[k, i] prior_i(s)``. Its product with the table is the
        expected weight of every class in every configuration of this layer.

    Notes
    -----
    ``sum_k T_k' (A scale_k)`` and ``sum_k T_k (B scale_k)`` are one matrix product each: the
    product with the stack also sums over classes.
    """
    n_hidden = on.shape[0]
    n_high, n_low = stacked.shape[1], table.shape[1]
    n_classes = scale.shape[0]
    n_low_bits = n_bits_of(n_low)
    counts[:] = 0.0
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = carve(workspace, n_high, n)
        B, rest = carve(rest, n_low, n)
        of_high, rest = carve(rest, n_high, n)
        of_low, rest = carve(rest, n_low, n)
        A_scaled, rest = carve(rest, n_classes * n_high, n)
        B_scaled, rest = carve(rest, n_classes * n_low, n)
        joint, rest = carve(rest, n_hidden, n)
        more_counts, rest = carve(rest, n_classes * n_high, n_low)
        _fill_priors(on, off, begin, end, rest, A, B)
        _fill_scaled(A, scale, begin, A_scaled)
        _fill_scaled(B, scale, begin, B_scaled)
        np.dot(table.T, A_scaled, of_low)
        np.dot(stacked.T, B_scaled, of_high)
        np.dot(A_scaled, B.T, more_counts)
        counts += more_counts
        fold_product(B, of_low, joint[:n_low_bits])
        fold_product(A, of_high, joint[n_low_bits:])
        for h in range(n_hidden):
            for i in range(n):
                on_weight[h, begin + i] = joint[h, i]


@jit
def fill_posterior(on, weights, on_weight, posterior):
    """Compute posteriors from expected weights, and the residuals of the gradient.

    Parameters
    ----------
    on : array (n_hidden, n_rows), probability
    weights : array (n_rows,)
        Expected weight of every row, summed over classes.
    on_weight : array (n_hidden, n_rows), summed weight
        On entry, from `fill_expectations`. Overwritten with ``weights * (posterior - on)``.
    posterior : array (n_hidden, n_rows), probability
        Overwritten; equal to the prior in rows of expected weight zero.
    """
    for h in range(on.shape[0]):
        for i in range(weights.size):
            has_weight = weights[i] > 0.0
            share = on_weight[h, i] / (weights[i] if has_weight else 1.0)
            posterior[h, i] = min(share, 1.0) if has_weight else on[h, i]
            on_weight[h, i] -= weights[i] * on[h, i]
