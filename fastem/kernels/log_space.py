"""The exact E-step of single rows in log space.

It is used for rows of such small likelihood that sums of probabilities may have underflowed. This
happens if log-odds are in the hundreds and the network is certain of a wrong class, or if y is far
from all values that the network predicts.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.configurations import n_bits_of
from fastem.kernels.special import add_in_order, exp_clipped, log_sigmoid

# Log-odds are clipped to this size, so that their sum over units is finite.
_LARGEST_LOG_ODDS = 1e300
# Terms that are smaller than the largest by this factor (nats) are zero relative to it in float64.
_NEGLIGIBLE = -745.0


@jit
def redo_rows(
    X, weights, coefs_T, log_table, marked,
    log_likelihood, hidden_probability, hidden_posterior, counts, gradient,
):  # fmt: skip
    """Run the E-step of marked rows that share a table; add the result to that of other rows.

    Parameters
    ----------
    X, weights, coefs_T
        As for `fastem.kernels.enumeration.fill_rows`.
    log_table : array (n_high, n_low), nats
        ``log p(y | z)`` for the class, or for the common value of y, of these rows.
    marked : array of int (n_marked,)
        Indices of these rows.
    log_likelihood : array (n_samples,), nats
    hidden_probability, hidden_posterior : arrays (n_hidden, n_samples), probability
        Probabilities are inputs. Likelihood and posterior are overwritten in marked rows.
    counts : array (n_high, n_low), summed weight
        Modified in place: expected counts of these rows are added.
    gradient : array (n_inputs, n_hidden)
        Modified in place: ``X' (weights (posterior - probability))`` is added.
    """
    n_hidden, n_inputs = coefs_T.shape
    posterior = np.empty(n_hidden)
    for i in marked:
        high, low = _log_priors(X[i], coefs_T, log_table.shape)
        largest, total = _sum_configurations(high, low, log_table, posterior)
        log_likelihood[i] = largest + math.log(total)
        _add_counts(high, low, log_table, largest, weights[i] / total, counts)
        for h in range(n_hidden):
            hidden_posterior[h, i] = posterior[h]
            delta = weights[i] * (posterior[h] - hidden_probability[h, i])
            for j in range(n_inputs):
                gradient[j, h] += X[i, j] * delta


@jit
def redo_log_marginal(X, coefs_T, log_table, marked, log_marginal):
    """Fill ``log p(y = k | x)`` (nats) of marked rows for the class of ``log_table``."""
    posterior = np.empty(coefs_T.shape[0])
    for i in marked:
        high, low = _log_priors(X[i], coefs_T, log_table.shape)
        largest, total = _sum_configurations(high, low, log_table, posterior)
        log_marginal[i] = largest + math.log(total)


@jit
def _log_priors(x, coefs_T, shape):
    """Return the log prior (nats) of every high and every low part for one row."""
    n_hidden = coefs_T.shape[0]
    log_on = np.empty(n_hidden)
    log_off = np.empty(n_hidden)
    for h in range(n_hidden):
        a = 0.0
        for j in range(x.size):
            a += coefs_T[h, j] * x[j]
        if a > _LARGEST_LOG_ODDS:
            a = _LARGEST_LOG_ODDS
        elif a < -_LARGEST_LOG_ODDS:
            a = -_LARGEST_LOG_ODDS
        log_on[h] = log_sigmoid(a)
        log_off[h] = log_sigmoid(-a)
    n_low_bits = n_bits_of(shape[1])
    return (
        _log_prior(log_on[n_low_bits:], log_off[n_low_bits:]),
        _log_prior(log_on[:n_low_bits], log_off[:n_low_bits]),
    )


@jit
def _log_prior(log_on, log_off):
    out = np.empty(1 << log_on.size)
    out[0] = 0.0
    size = 1
    for b in range(log_on.size):
        for s in range(size):
            out[s + size] = out[s] + log_on[b]
            out[s] += log_off[b]
        size *= 2
    return out


@jit
def _log_joint(high, low, log_probability):
    """Return ``log P(z|x) P(y|z)``, with the same rounding at every call."""
    return add_in_order(add_in_order(high, low), log_probability)


@jit
def _sum_configurations(high, low, log_table, posterior):
    """Overwrite ``posterior`` with P(Z=1|x,y); return p(y|x) as ``exp(largest) * total``.

    The parts are returned separately: next to a ``largest`` of -1e12 nats the sum with
    ``log(total)`` would lose the digits of the latter.
    """
    n_high, n_low = log_table.shape
    largest = -math.inf
    for hi in range(n_high):
        row = log_table[hi]
        for lo in range(n_low):
            largest = max(largest, _log_joint(high[hi], low[lo], row[lo]))
    n_low_bits = n_bits_of(n_low)
    largest_low = low.max()
    low_sums = np.zeros(n_low)
    posterior[:] = 0.0
    total = 0.0
    for hi in range(n_high):
        if high[hi] + largest_low - largest < _NEGLIGIBLE:
            continue
        row = log_table[hi]
        high_sum = 0.0
        for lo in range(n_low):
            p = exp_clipped(_log_joint(high[hi], low[lo], row[lo]) - largest)
            low_sums[lo] += p
            high_sum += p
        total += high_sum
        for h in range(n_low_bits, posterior.size):
            if (hi >> (h - n_low_bits)) & 1:
                posterior[h] += high_sum
    for lo in range(n_low):
        for h in range(n_low_bits):
            if (lo >> h) & 1:
                posterior[h] += low_sums[lo]
    for h in range(posterior.size):
        posterior[h] = min(posterior[h] / total, 1.0)
    return largest, total


@jit
def _add_counts(high, low, log_table, largest, weight, counts):
    """Add ``weight * exp(log joint - largest)`` of every configuration."""
    n_high, n_low = log_table.shape
    largest_low = low.max()
    for hi in range(n_high):
        if high[hi] + largest_low - largest < _NEGLIGIBLE:
            continue
        row = log_table[hi]
        out = counts[hi]
        for lo in range(n_low):
            log_joint = _log_joint(high[hi], low[lo], row[lo])
            out[lo] += weight * exp_clipped(log_joint - largest)
