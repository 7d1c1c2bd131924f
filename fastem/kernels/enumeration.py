"""The exact E-step: sums over all hidden configurations of every row, as matrix products.

Rows are sorted into groups, so all rows of a range use one table ``T`` over the configurations. The
groups are the classes, or rows with similar values of the outputs. In the latter case the log-odds
of the units are tilted by the difference between the row and the reference value of its group.
Let ``A`` and ``B`` be the priors of the high and of the low half of the units (``Notes`` of
`fill_rows`). Likelihood, hidden posterior and expected counts of configurations are three matrix
products of ``6 n 2**m`` flops in total. All other operations cost ``O(n 2**(m / 2))``.

Within a tile of rows the row index runs fastest. Doubling, folding and scaling are therefore
vector operations over rows, for any number of units.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import fill_prior, fold_product, n_bits_of
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative, log_positive

# Rows of smaller likelihood are computed by the log-space kernels. Every factor is at most 1 and
# has an absolute error below 1e-248 (output table) or 1e-307 (priors). The error of a sum of 2**m
# terms is therefore negligible relative to 1e-200 for every m that fits into memory.
SMALLEST_LIKELIHOOD = 1e-200
# If log-odds or tilt are smaller than this, the two terms of ``1 - u + u exp(tilt)`` do not both
# underflow.
_LARGE = 300.0


def workspace_size(n_inputs, n_hidden, n_low_bits, tile):
    """Return the size of the workspace of `fill_rows` and `fill_log_marginal`, in numbers."""
    n_low = 1 << n_low_bits
    n_high = 1 << (n_hidden - n_low_bits)
    per_row = 2 * (n_high + n_low) + 3 * n_hidden + 1
    return tile * per_row + n_high * n_low + n_inputs * n_hidden


@jit
def fill_sigmoids(on, off):
    """Overwrite log-odds ``on`` with P(Z=1), and ``off`` with P(Z=0)."""
    for i in range(on.size):
        a = on[i]
        e = exp_clipped(-abs(a))
        larger = 1.0 / (1.0 + e)
        smaller = e * larger
        on[i] = larger if a >= 0.0 else smaller
        off[i] = smaller if a >= 0.0 else larger


@jit
def _fill_log_odds(X, coefs_T, start, stop, log_odds):
    """Fill log-odds (n_hidden, n_rows) of the rows ``start:stop``."""
    if coefs_T.size > 0 and X.shape[1] > 0:
        np.dot(coefs_T, X[start:stop].T, log_odds)
    else:
        log_odds[:] = 0.0


@jit
def _fill_hidden_probability(X, coefs_T, start, stop, on, off):
    """Fill P(Z=1|x) and P(Z=0|x), each by its own sigmoid: 1 - u would lose digits."""
    _fill_log_odds(X, coefs_T, start, stop, on)
    for h in range(on.shape[0]):
        fill_sigmoids(on[h], off[h])


@jit
def _tilt(on, off, tilt, prior, log_ratio):
    """Tilt the log-odds of one unit, for a range of rows.

    Parameters
    ----------
    on, off : arrays (n_rows,)
        ``on`` holds log-odds a. Both are overwritten with the probabilities of 1 and 0 at log-odds
        ``a + tilt``.
    tilt : array (n_rows,), log-odds
    prior : array (n_rows,), probability
        Overwritten with P(Z = 1) at log-odds a.
    log_ratio : array (n_rows,), nats
        ``log(1 - u + u exp(tilt))`` with u the prior is added.
    """
    extreme = 0
    for i in range(on.size):
        extreme += (abs(on[i]) > _LARGE) & (abs(tilt[i]) > _LARGE)
    if extreme > 0:
        for i in range(on.size):
            a = on[i]
            b = a + tilt[i]
            e = exp_clipped(-abs(a))
            prior[i] = (1.0 if a >= 0.0 else e) / (1.0 + e)
            log_ratio[i] += max(b, 0.0) - max(a, 0.0)
            log_ratio[i] += log1p_exp_of_negative(b) - log1p_exp_of_negative(a)
            on[i] = b
        fill_sigmoids(on, off)
        return
    for i in range(on.size):
        e = exp_clipped(-abs(on[i]))
        larger = 1.0 / (1.0 + e)
        smaller = e * larger
        u = larger if on[i] >= 0.0 else smaller
        v = smaller if on[i] >= 0.0 else larger
        x = exp_clipped(-abs(tilt[i]))
        rises = tilt[i] > 0.0
        u_tilted = u if rises else u * x
        v_tilted = v * x if rises else v
        total = u_tilted + v_tilted
        log_ratio[i] += log_positive(total) + max(tilt[i], 0.0)
        prior[i] = u
        on[i] = u_tilted / total
        off[i] = v_tilted / total


@jit
def _sum_of_products(factor, table):
    """Return the column sums of ``factor * table``; the first row of ``table`` holds them."""
    total = table[0]
    for s in range(table.shape[0]):
        f = factor[s]
        t = table[s]
        if s == 0:
            for i in range(total.size):
                total[i] *= f[i]
        else:
            for i in range(total.size):
                total[i] += f[i] * t[i]
    return total


@jit
def carve(workspace, n_rows, n_columns):
    """Return a matrix at the start of the workspace, and the rest of the workspace."""
    size = n_rows * n_columns
    return workspace[:size].reshape(n_rows, n_columns), workspace[size:]


@jit
def _fill_scales(weights, likelihood, scale, log_likelihood):
    """Overwrite likelihoods with their reciprocals; return the number of rows for log space.

    ``scale`` is overwritten with weight over likelihood. Both are zero in rows for log space,
    which ``log_likelihood`` marks by ``-inf``.
    """
    n_redo = 0
    for i in range(likelihood.size):
        if likelihood[i] >= SMALLEST_LIKELIHOOD:
            log_likelihood[i] = math.log(likelihood[i])
            likelihood[i] = 1.0 / likelihood[i]
            scale[i] = weights[i] * likelihood[i]
        else:
            log_likelihood[i] = -math.inf
            likelihood[i] = 0.0
            scale[i] = 0.0
            n_redo += 1
    return n_redo


@jit
def _fill_posterior(delta, reciprocal, weights, prior, posterior):
    """Fill the posterior of one unit.

    On entry ``delta`` is the joint probability of the unit being on and of the target. On return
    it is weight times (posterior - prior), zero in rows for log space.
    """
    for i in range(delta.size):
        posterior[i] = min(delta[i] * reciprocal[i], 1.0)
        delta[i] = weights[i] * (posterior[i] - prior[i]) if reciprocal[i] > 0.0 else 0.0


@jit
def fill_rows(
    X, weights, coefs_T, table, output_coefs, tilts, constants, start, stop, tile, workspace,
    log_likelihood, hidden_probability, hidden_posterior, counts, gradient,
):  # fmt: skip
    """Run the E-step of the rows ``start:stop``, which are of one group.

    Parameters
    ----------
    X : array (n_samples, n_inputs)
        Inputs; with intercepts, one column of ones.
    weights : array (n_samples,)
    coefs_T : array (n_hidden, n_inputs), log-odds per unit of input
    table : array (n_high, n_low), probability
        ``P(y | z)`` for the class of these rows, or the density of a reference value relative to
        its maximum.
    output_coefs : array (n_hidden, n_outputs)
    tilts : array (n_samples, n_outputs)
        Differences of y from the reference value, divided by the dispersion. Without columns (for
        classes) no row is tilted.
    constants : array (n_samples,), nats
        Part of the log-likelihood that does not depend on the configuration. Not used if ``tilts``
        has no columns.
    start, stop, tile : int
        Range of rows, and the number of rows of a tile.
    workspace : array (workspace_size(...),)
        Scratch.
    log_likelihood : array (n_samples,), nats
        Overwritten in the range. ``-inf`` marks rows to be computed in log space.
    hidden_probability, hidden_posterior : array (n_hidden, n_samples), probability
        P(Z=1|x) and P(Z=1|x,y). Overwritten in the range.
    counts : array (n_high, n_low)
        Overwritten with ``sum_i weights_i prior_i(s) / p(y_i|x_i)``; times the table, the
        expected number of rows in each configuration.
    gradient : array (n_inputs, n_hidden)
        Overwritten with ``X' (weights (posterior - probability))``, eq. 12.

    Returns
    -------
    n_redo : int
        Number of marked rows.

    Notes
    -----
    For ``A (n_high, rows)`` and ``B (n_low, rows)``: ``M = T'A``, likelihood = column sums
    of ``M * B``, low posterior = fold of it; ``N = T B``, high posterior = fold of
    ``A * N``; ``counts += (A w / likelihood) B'``.
    """
    n_high, n_low = table.shape
    n_hidden, n_inputs = coefs_T.shape
    n_low_bits = n_bits_of(n_low)
    n_redo = 0
    first = True
    counts[:] = 0.0
    gradient[:] = 0.0
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = carve(workspace, n_high, n)
        N, rest = carve(rest, n_high, n)
        B, rest = carve(rest, n_low, n)
        M, rest = carve(rest, n_low, n)
        on, rest = carve(rest, n_hidden, n)
        off, rest = carve(rest, n_hidden, n)
        delta, rest = carve(rest, n_hidden, n)
        log_ratio, rest = carve(rest, 1, n)
        more_counts, rest = carve(rest, n_high, n_low)
        more_gradient, rest = carve(rest, n_inputs, n_hidden)

        _fill_log_odds(X, coefs_T, begin, end, on)
        if tilts.shape[1] > 0:
            np.dot(output_coefs, tilts[begin:end].T, delta)
            log_ratio[:] = 0.0
        for h in range(n_hidden):
            if tilts.shape[1] > 0:
                _tilt(on[h], off[h], delta[h], hidden_probability[h, begin:end], log_ratio[0])
            else:
                fill_sigmoids(on[h], off[h])
                hidden_probability[h, begin:end] = on[h]
        fill_prior(on[n_low_bits:], off[n_low_bits:], A)
        fill_prior(on[:n_low_bits], off[:n_low_bits], B)

        np.dot(table.T, A, M)
        likelihood = fold_product(B, M, delta[:n_low_bits])
        np.dot(table, B, N)
        scale = fold_product(A, N, delta[n_low_bits:])  # overwritten below

        n_redo += _fill_scales(weights[begin:end], likelihood, scale, log_likelihood[begin:end])
        if tilts.shape[1] > 0:
            for i in range(n):
                log_likelihood[begin + i] += log_ratio[0, i] + constants[begin + i]
        for h in range(n_hidden):
            prior, posterior = hidden_probability[h, begin:end], hidden_posterior[h, begin:end]
            _fill_posterior(delta[h], likelihood, weights[begin:end], prior, posterior)
        for s in range(n_high):
            a = A[s]
            for i in range(n):
                a[i] *= scale[i]
        if first:
            np.dot(A, B.T, counts)
            np.dot(X[begin:end].T, delta.T, gradient)
            first = False
        else:
            np.dot(A, B.T, more_counts)
            counts += more_counts
            np.dot(X[begin:end].T, delta.T, more_gradient)
            gradient += more_gradient
    return n_redo


@jit
def fill_counts(chunk_counts, chunk_starts, table, start, stop, counts):
    """Sum the chunks of every group, and multiply by its table: expected counts.

    Parameters
    ----------
    chunk_counts : array (n_chunks, n_high, n_low)
        From `fill_rows`, chunks sorted by group.
    chunk_starts : array (n_groups + 1,)
        Chunks ``chunk_starts[k]:chunk_starts[k + 1]`` belong to group k.
    table : array (n_groups, n_high, n_low), probability
    start, stop : int
        Range of high parts.
    counts : array (n_groups, n_high, n_low) or (1, n_high, n_low), summed weight
        Overwritten between start and stop: the counts of every group (of every class), or their
        sum over groups. Chunks are added in order.
    """
    n_groups, _, n_low = table.shape
    is_total = counts.shape[0] == 1
    own = np.empty(n_low)
    for hi in range(start, stop):
        if is_total:
            counts[0, hi, :] = 0.0
        for k in range(n_groups):
            own[:] = 0.0
            for chunk in range(chunk_starts[k], chunk_starts[k + 1]):
                part = chunk_counts[chunk, hi]
                for lo in range(n_low):
                    own[lo] += part[lo]
            probability = table[k, hi]
            if is_total:
                row = counts[0, hi]
                for lo in range(n_low):
                    row[lo] += own[lo] * probability[lo]
            else:
                row = counts[k, hi]
                for lo in range(n_low):
                    row[lo] = own[lo] * probability[lo]


@jit
def fill_output_residuals(counts, table, start, stop, high_sums, low_sums):
    """Sum the residuals ``R_k(s) - R_.(s) o_k(s)`` of eq. 15 over low and over high parts.

    Parameters
    ----------
    counts, table : arrays (n_classes, n_high, n_low)
    start, stop : int
        Range of high parts.
    high_sums : array (n_classes, n_high)
        Overwritten between start and stop with the sums over low parts.
    low_sums : array (n_classes, n_low)
        Overwritten with the sums over ``start:stop``.
    """
    n_classes, _, n_low = table.shape
    total = np.empty(n_low)
    low_sums[:] = 0.0
    for hi in range(start, stop):
        total[:] = 0.0
        for k in range(n_classes):
            row = counts[k, hi]
            for lo in range(n_low):
                total[lo] += row[lo]
        for k in range(n_classes):
            row = counts[k, hi]
            probability = table[k, hi]
            sums = low_sums[k]
            high_sum = 0.0
            for lo in range(n_low):
                residual = row[lo] - total[lo] * probability[lo]
                sums[lo] += residual
                high_sum += residual
            high_sums[k, hi] = high_sum


@jit
def fill_log_marginal(X, coefs_T, table, start, stop, tile, workspace, log_marginal):
    """Fill ``log p(y = k | x)`` of the rows ``start:stop`` for every class k.

    Parameters
    ----------
    X, coefs_T, start, stop, tile, workspace
        As for `fill_rows`.
    table : array (n_classes, n_high, n_low), probability
    log_marginal : array (n_samples, n_classes), nats
        Overwritten in the range. ``-inf`` marks entries to be computed in log space.

    Returns
    -------
    n_redo : int
        Number of marked entries.
    """
    n_classes, n_high, n_low = table.shape
    n_hidden = coefs_T.shape[0]
    n_low_bits = n_bits_of(n_low)
    n_redo = 0
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        n = end - begin
        A, rest = carve(workspace, n_high, n)
        B, rest = carve(rest, n_low, n)
        M, rest = carve(rest, n_low, n)
        on, rest = carve(rest, n_hidden, n)
        off, rest = carve(rest, n_hidden, n)
        _fill_hidden_probability(X, coefs_T, begin, end, on, off)
        fill_prior(on[n_low_bits:], off[n_low_bits:], A)
        fill_prior(on[:n_low_bits], off[:n_low_bits], B)
        for k in range(n_classes):
            np.dot(table[k].T, A, M)
            likelihood = _sum_of_products(B, M)
            for i in range(n):
                if likelihood[i] >= SMALLEST_LIKELIHOOD:
                    log_marginal[begin + i, k] = math.log(likelihood[i])
                else:
                    log_marginal[begin + i, k] = -math.inf
                    n_redo += 1
    return n_redo
