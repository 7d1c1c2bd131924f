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

from fastem.kernels._blas import (
    add_product_a_bt,
    add_product_at_bt,
    fill_product,
    fill_product_a_bt,
    fill_product_at_b,
    fill_product_at_bt,
)
from fastem.kernels._jit import jit
from fastem.kernels.configurations import fill_prior, fold_product, n_bits_of
from fastem.kernels.special import exp_clipped, log1p_exp_of_negative, log_positive, sigmoids
from fastem.kernels.views import matrix, vector

# Rows of smaller likelihood are computed by the log-space kernels. Every factor is at most 1 and
# has an absolute error below 1e-248 (output table) or 1e-307 (priors). The error of a sum of 2**m
# terms is therefore negligible relative to 1e-200 for every m that fits into memory.
SMALLEST_LIKELIHOOD = 1e-200
# The same for sums in single precision, whose factors and half sums lose what is below 1.2e-38: at
# most 5 * 2**(m / 2) times that, which is 1e-8 of this bound for m = 30.
SMALLEST_SINGLE = 1e-25
# If log-odds or tilt are smaller in size than this, at least one of the two terms of
# ``1 - u + u exp(tilt)`` does not underflow.
_LARGE = 300.0


def workspace_size(n_hidden, n_low_bits, tile):
    """Return the size of the workspace of `fill_rows` and `fill_log_marginal`, in numbers."""
    n_low = 1 << n_low_bits
    n_high = 1 << (n_hidden - n_low_bits)
    return tile * (2 * (n_high + n_low) + 3 * n_hidden)


def scratch_size(n_hidden, tile):
    """Return the size of the float64 scratch of `fill_rows` and `fill_log_marginal`."""
    return tile * (2 * n_hidden + 2)


@jit
def _fill_probabilities(log_odds, probability, on, off):
    """Fill the prior probabilities of one unit, for a range of rows.

    Parameters
    ----------
    log_odds : array (n_rows,)
    probability, on : arrays (n_rows,), probability
        Overwritten with P(Z=1); ``on`` may be of lower precision.
    off : array (n_rows,), probability
        Overwritten with P(Z=0).
    """
    for i in range(on.size):
        u, v = sigmoids(log_odds[i])
        probability[i] = u
        on[i] = u
        off[i] = v


@jit
def _fill_log_odds(X, hidden, start, stop, log_odds):
    """Fill log-odds (n_hidden, n_rows) of the rows ``start:stop``."""
    if X.shape[1] > 0:
        fill_product_at_bt(hidden, X[start:stop], log_odds)
    else:
        log_odds[:] = 0.0


@jit
def _tilt(log_odds, tilt, prior, on, off, log_ratio):
    """Tilt the log-odds of one unit, for a range of rows.

    Parameters
    ----------
    log_odds, tilt : arrays (n_rows,), log-odds
        Log-odds a, and their tilt.
    prior : array (n_rows,), probability
        Overwritten with P(Z = 1) at log-odds a.
    on, off : arrays (n_rows,), probability
        Overwritten with the probabilities of 1 and 0 at log-odds ``a + tilt``.
    log_ratio : array (n_rows,), nats
        ``log(1 - u + u exp(tilt))`` is added to it, where u is the prior.
    """
    extreme = 0
    for i in range(on.size):
        extreme += (abs(log_odds[i]) > _LARGE) & (abs(tilt[i]) > _LARGE)
    if extreme > 0:
        for i in range(on.size):
            a = log_odds[i]
            b = a + tilt[i]
            log_ratio[i] += max(b, 0.0) - max(a, 0.0)
            log_ratio[i] += log1p_exp_of_negative(b) - log1p_exp_of_negative(a)
            prior[i], _ = sigmoids(a)
            on[i], off[i] = sigmoids(b)
        return
    for i in range(on.size):
        u, v = sigmoids(log_odds[i])
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
    """Return the column sums of ``factor * table``; they overwrite the first row of ``table``."""
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
    rest = vector(workspace, size, workspace.size - size)
    return matrix(workspace, 0, n_rows, n_columns), rest


@jit
def _fill_scales(weights, likelihood, smallest, factor, reciprocal, scale, log_likelihood):
    """Fill the scales and log-likelihoods of rows; return the number of rows for log space.

    ``reciprocal`` is that of the likelihood, and ``scale`` is the factor times weight over
    likelihood. Both are zero in rows for log space, which ``log_likelihood`` marks by ``-inf``.
    """
    n_redo = 0
    for i in range(likelihood.size):
        total = np.float64(likelihood[i])
        if total >= smallest:
            log_likelihood[i] = log_positive(total)
            reciprocal[i] = 1.0 / total
            scale[i] = weights[i] * factor * reciprocal[i]
        else:
            log_likelihood[i] = -math.inf
            reciprocal[i] = 0.0
            scale[i] = 0.0
            n_redo += 1
    return n_redo


@jit
def _fill_posterior(joint, reciprocal, weights, prior, posterior, delta):
    """Fill the posterior of one unit from its joint probability with the target.

    ``delta`` is overwritten with weight times (posterior - prior), zero in rows for log space.
    """
    for i in range(delta.size):
        posterior[i] = min(joint[i] * reciprocal[i], 1.0)
        delta[i] = weights[i] * (posterior[i] - prior[i]) if reciprocal[i] > 0.0 else 0.0


@jit
def _sum_over_tables(tables, starts, begin, A, B, M, N):
    """Fill the products of the tables with the priors of the high and of the low half.

    Parameters
    ----------
    tables : array (n_groups, n_high, n_low), probability
    starts : array (n_own_groups + 1,)
        Rows ``starts[k]:starts[k + 1]`` are of group k.
    begin : int
        Number of the first row.
    A, B : arrays (n_high, n_rows), (n_low, n_rows), probability
    M, N : arrays (n_low, n_rows), (n_high, n_rows)
        Overwritten with ``T'A`` and ``T B``.
    """
    for k in range(starts.size - 1):
        here = max(starts[k] - begin, 0)
        there = min(starts[k + 1] - begin, A.shape[1])
        if here < there:
            fill_product_at_b(tables[k], A[:, here:there], M[:, here:there])
            fill_product(tables[k], B[:, here:there], N[:, here:there])


@jit
def _add_counts(starts, begin, A, B, counts):
    """Add ``A B'`` of the rows of every group to its counts (n_own_groups, n_high, n_low)."""
    for k in range(starts.size - 1):
        here = max(starts[k] - begin, 0)
        there = min(starts[k + 1] - begin, A.shape[1])
        if here < there:
            add_product_a_bt(A[:, here:there], B[:, here:there], counts[k])


@jit
def fill_rows(
    X, weights, hidden, tables, group_starts, first_group, output_coefs, tilts, constants,
    start, stop, tile, smallest, factor, workspace, scratch,
    log_likelihood, hidden_probability, hidden_posterior, counts, gradient,
):  # fmt: skip
    """Run the E-step of the rows ``start:stop``.

    Parameters
    ----------
    X : array (n_samples, n_inputs)
        Inputs; with intercepts, one column of ones.
    weights : array (n_samples,)
    hidden : array (n_inputs, n_hidden), log-odds per unit of input
    tables : array (n_groups, n_high, n_low), probability
        ``P(y | z)`` of every class, or the density of the reference value of every group, relative
        to its maximum. In float64, or in float32 for sums in single precision.
    group_starts : array (n_groups + 1,)
        Rows ``group_starts[k]:group_starts[k + 1]`` are of group k.
    first_group : int
        Group of the first row of the range.
    output_coefs : array (n_hidden, n_outputs) or None
        None for classes.
    tilts : array (n_samples, n_outputs) or None
        Differences of y from the reference value, divided by the dispersion. None for classes: the
        kernel is then compiled without tilts.
    constants : array (n_samples,) or None, nats
        Part of the log-likelihood that does not depend on the configuration. None for classes.
    start, stop, tile : int
        Range of rows, and the number of rows of a tile.
    smallest : float, probability
        Rows with a smaller sum are marked, and left to the kernels in log space.
    factor : float
        Factor of the weights within ``counts``.
    workspace : array (workspace_size(...),)
        Scratch, in the precision of the tables.
    scratch : array (scratch_size(...),)
        Scratch.
    log_likelihood : array (n_samples,), nats
        Overwritten in the range. ``-inf`` marks rows to be computed in log space.
    hidden_probability, hidden_posterior : array (n_hidden, n_samples), probability
        P(Z=1|x) and P(Z=1|x,y). Overwritten in the range.
    counts : array (n_own_groups, n_high, n_low), in the precision of the tables
        Overwritten, for every group of the range, with ``sum_i weights_i prior_i(s) / p(y_i|x_i)``
        times the factor. Times the table, it is the expected weight of each configuration.
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
    _, n_high, n_low = tables.shape
    n_hidden = hidden.shape[1]
    n_low_bits = n_bits_of(n_low)
    n_redo = 0
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
        joint, rest = carve(rest, n_hidden, n)
        log_odds, more = carve(scratch, n_hidden, n)
        delta, more = carve(more, n_hidden, n)
        ratios, more = carve(more, 2, n)
        log_ratio, reciprocal = ratios[0], ratios[1]

        _fill_log_odds(X, hidden, begin, end, log_odds)
        if tilts is not None:
            fill_product_a_bt(output_coefs, tilts[begin:end], delta)
            log_ratio[:] = 0.0
        for h in range(n_hidden):
            prior = hidden_probability[h, begin:end]
            if tilts is not None:
                _tilt(log_odds[h], delta[h], prior, on[h], off[h], log_ratio)
            else:
                _fill_probabilities(log_odds[h], prior, on[h], off[h])
        fill_prior(on[n_low_bits:], off[n_low_bits:], A)
        fill_prior(on[:n_low_bits], off[:n_low_bits], B)

        own_starts = group_starts[first_group : first_group + counts.shape[0] + 1]
        _sum_over_tables(tables[first_group:], own_starts, begin, A, B, M, N)
        likelihood = fold_product(B, M, joint[:n_low_bits])
        scale = fold_product(A, N, joint[n_low_bits:])  # overwritten below

        n_redo += _fill_scales(
            weights[begin:end], likelihood, smallest, factor, reciprocal, scale,
            log_likelihood[begin:end],
        )  # fmt: skip
        if tilts is not None:
            for i in range(n):
                log_likelihood[begin + i] += log_ratio[i] + constants[begin + i]
        for h in range(n_hidden):
            prior, posterior = hidden_probability[h, begin:end], hidden_posterior[h, begin:end]
            _fill_posterior(joint[h], reciprocal, weights[begin:end], prior, posterior, delta[h])
        for s in range(n_high):
            a = A[s]
            for i in range(n):
                a[i] *= scale[i]
        _add_counts(own_starts, begin, A, B, counts)
        if X.shape[1] > 0:
            add_product_at_bt(X[begin:end], delta, gradient)
    return n_redo


@jit
def fill_log_marginal(X, hidden, table, start, stop, tile, workspace, scratch, log_marginal):
    """Fill ``log p(y = k | x)`` of the rows ``start:stop`` for every class k.

    Parameters
    ----------
    X, hidden, start, stop, tile, workspace, scratch
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
    n_hidden = hidden.shape[1]
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
        log_odds, more = carve(scratch, n_hidden, n)
        prior, more = carve(more, n_hidden, n)
        _fill_log_odds(X, hidden, begin, end, log_odds)
        for h in range(n_hidden):
            _fill_probabilities(log_odds[h], prior[h], on[h], off[h])
        fill_prior(on[n_low_bits:], off[n_low_bits:], A)
        fill_prior(on[:n_low_bits], off[:n_low_bits], B)
        for k in range(n_classes):
            fill_product_at_b(table[k], A, M)
            likelihood = _sum_of_products(B, M)
            for i in range(n):
                if likelihood[i] >= SMALLEST_LIKELIHOOD:
                    log_marginal[begin + i, k] = math.log(likelihood[i])
                else:
                    log_marginal[begin + i, k] = -math.inf
                    n_redo += 1
    return n_redo
