"""The E-step of a hidden layer whose rows are the configurations of the layer below.

A configuration of the layer below stands for every sample that may be in it, once per class. So
all classes share its prior, and their tables are stacked: each product does for every class at
once what the samples' kernel does class by class.

Arrays are as in `fastem.kernels.enumeration`: configurations of this layer down, rows across.
"""

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import fill_prior, fold_product, n_bits_of
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD, fill_hidden_probability, take


def workspace_size(n_inputs, n_hidden, n_low_bits, n_classes, tile):
    """Return how many float64 `fill_marginals` and `add_configurations` need for scratch."""
    n_low = 1 << n_low_bits
    n_high = 1 << (n_hidden - n_low_bits)
    per_row = 2 * (n_low + n_high) + n_classes * n_high + 3 * n_hidden
    return tile * per_row + n_classes * n_high * n_low + n_inputs * n_hidden


@jit
def _fill_priors(X, coefs_T, start, stop, on, off, high, low):
    """Fill the probabilities of the units, and the priors of both halves of them."""
    n_low_bits = n_bits_of(low.shape[0])
    fill_hidden_probability(X, coefs_T, start, stop, on, off)
    fill_prior(on[n_low_bits:], off[n_low_bits:], high)
    fill_prior(on[:n_low_bits], off[:n_low_bits], low)


@jit
def fill_marginals(X, coefs_T, stacked, n_low, start, stop, tile, workspace, marginals):
    """Fill ``P(y = k | configuration)`` of the rows ``start:stop`` for every class k.

    Parameters
    ----------
    X : array (n_rows, n_inputs)
        Configurations of the layer below, a column of ones where there are intercepts.
    coefs_T : array (n_hidden, n_inputs), log-odds per unit of input
    stacked : array (n_classes * n_low, n_high), probability
        ``P(y = k | z)``, every class's table transposed, one below the other.
    n_low, start, stop, tile : int
        Low halves are not larger than high ones.
    workspace : array (workspace_size(...),)
    marginals : array (n_classes, n_rows), probability
        Overwritten in the range, right to 1e-248 absolute.

    Returns
    -------
    n_small : int
        Entries below `SMALLEST_LIKELIHOOD`, whose digits may be lost.
    """
    n_hidden = coefs_T.shape[0]
    n_classes, n_high = stacked.shape[0] // n_low, stacked.shape[1]
    n_small = 0
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = take(workspace, n_high, n)
        B, rest = take(rest, n_low, n)
        M, rest = take(rest, n_classes * n_low, n)
        on, rest = take(rest, n_hidden, n)
        off, rest = take(rest, n_hidden, n)
        _fill_priors(X, coefs_T, begin, end, on, off, A, B)
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
def _add_scaled(stacked, scale, start, out):
    """Fill ``out`` with the sum over classes k of ``scale[k] * stacked[k]``, row by row."""
    n_rows = out.shape[0]
    n = out.shape[1]
    for k in range(scale.shape[0]):
        r = scale[k, start : start + n]
        for s in range(n_rows):
            o = out[s]
            t = stacked[k * n_rows + s]
            if k == 0:
                for i in range(n):
                    o[i] = r[i] * t[i]
            else:
                for i in range(n):
                    o[i] += r[i] * t[i]


@jit
def add_configurations(
    X, coefs_T, table, stacked, scale, start, stop, tile, workspace,
    probability, on_weight, counts, gradient,
):  # fmt: skip
    """Run the E-step of the rows ``start:stop``, for all classes at once.

    Parameters
    ----------
    X, coefs_T, stacked, start, stop, tile, workspace
        As for `fill_marginals`.
    table : array (n_classes * n_high, n_low), probability
        The same tables, not transposed.
    scale : array (n_classes, n_rows)
        Expected weight of every class in a row's configuration, over its marginal.
    probability : array (n_hidden, n_rows), probability
        P(Z=1|configuration). Overwritten in the range.
    on_weight : array (n_hidden, n_rows), summed weight
        Expected weight of a row with the unit on. Overwritten in the range.
    counts : array (n_classes * n_high, n_low)
        Overwritten with ``sum_i scale[k, i] prior_i(s)``; times the table, the expected weight
        of every class in every configuration of this layer.
    gradient : array (n_inputs, n_hidden)
        Overwritten with ``X' (on_weight - weight * probability)``, eq. 12.
    """
    n_hidden, n_inputs = coefs_T.shape
    n_high, n_low = stacked.shape[1], table.shape[1]
    n_classes = scale.shape[0]
    n_low_bits = n_bits_of(n_low)
    counts[:] = 0.0
    gradient[:] = 0.0
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = take(workspace, n_high, n)
        B, rest = take(rest, n_low, n)
        on, rest = take(rest, n_hidden, n)
        off, rest = take(rest, n_hidden, n)
        delta, rest = take(rest, n_hidden, n)
        of_low, rest = take(rest, n_low, n)
        of_high, rest = take(rest, n_high, n)
        M, _ = take(rest, n_classes * n_low, n)
        N, rest = take(rest, n_classes * n_high, n)  # over M, which is not larger
        more_counts, rest = take(rest, n_classes * n_high, n_low)
        more_gradient, rest = take(rest, n_inputs, n_hidden)

        _fill_priors(X, coefs_T, begin, end, on, off, A, B)
        np.dot(stacked, A, M)
        _add_scaled(M, scale, begin, of_low)
        weight = fold_product(B, of_low, delta[:n_low_bits])
        np.dot(table, B, N)
        _add_scaled(N, scale, begin, of_high)
        fold_product(A, of_high, delta[n_low_bits:])
        for h in range(n_hidden):
            p = probability[h, begin:end]
            w = on_weight[h, begin:end]
            for i in range(n):
                p[i] = on[h, i]
                w[i] = delta[h, i]
                delta[h, i] -= weight[i] * on[h, i]
        for k in range(n_classes):
            r = scale[k, begin:end]
            for s in range(n_high):
                a = A[s]
                o = N[k * n_high + s]
                for i in range(n):
                    o[i] = a[i] * r[i]
        np.dot(N, B.T, more_counts)
        counts += more_counts
        np.dot(X[begin:end].T, delta.T, more_gradient)
        gradient += more_gradient
