"""Kernels of importance sampling for outputs other than classes.

NumPy evaluates the family of the outputs between two kernels. `fill_samples` draws the samples of
some rows and fills the natural parameters of their outputs. From these the caller computes
log-weights and residuals, and `add_weighted_samples` adds them to the statistics. The samples of
all these rows are stored between the two calls, in the arrays that `fastem.kernels.sampling`
describes.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.sampling import (
    add_layers,
    draw_samples,
    fill_thresholds,
    n_groups,
    normalise,
    sample_layers_above,
    width,
)
from fastem.kernels.special import exp_clipped, log_positive
from fastem.kernels.views import matrix

# A normalised weight below this size counts as zero: the natural parameters of its sample may be so
# far from the target that residuals are huge or infinite.
_NEGLIGIBLE = 1e-280


@jit
def fill_samples(
    log_odds, tilted, tilts, log_normalisers, n_untilted, keys, start, stop, n_samples, sizes,
    tables, thresholds, codes, values, probability, eta, log_weights,
):  # fmt: skip
    """Draw all layers of rows ``start:stop``, and fill the natural parameters of their outputs.

    Parameters
    ----------
    log_odds, keys, n_samples, sizes, tables, thresholds
        As for `fastem.kernels.sampling.add_sampled_rows`.
    tilted : array (stop - start, n_hidden)
        Log-odds of the first layer from which all samples but the first ``n_untilted`` are drawn.
    tilts : array (stop - start, n_outputs), log_normalisers : array (stop - start,), nats
        ``eta . tilt - log_normaliser`` is the log-density of the tilted proposal relative to the
        prior.
    n_untilted : int
    codes : array of uint8 (n_at_once, n_codes), values : array (n_at_once, n_values)
        Overwritten: codes and values of the samples, one line per row from ``start`` on.
    probability : array (n_hidden, n_rows)
        Columns ``start:stop`` are overwritten.
    eta : array (n_outputs, stop - start, n_samples)
        Overwritten.
    log_weights : array (stop - start, n_samples), nats
        Overwritten: log-density of the prior relative to the proposal of every sample.
    """
    n_outputs = sizes[-1]
    on = np.empty(sizes[0])
    for i in range(start, stop):
        r = i - start
        own_codes = matrix(codes[r], 0, codes.shape[1] // n_samples, n_samples)
        first_layer = matrix(codes[r], 0, n_groups(sizes[0]), n_samples)
        fill_thresholds(log_odds, i, on, thresholds)
        draw_samples(keys[i], thresholds, 0, n_untilted, first_layer)
        for h in range(sizes[0]):
            probability[h, i] = on[h]
        if n_untilted < n_samples:
            fill_thresholds(tilted, r, on, thresholds)
            draw_samples(keys[i], thresholds, n_untilted, n_samples, first_layer)
        position = sample_layers_above(keys[i], sizes, tables, own_codes, values[r])
        of_row = matrix(values[r], position, n_samples, width(n_outputs))
        for d in range(n_outputs):
            for s in range(n_samples):
                eta[d, r, s] = of_row[s, d]
        if n_untilted < n_samples:
            share = n_untilted / n_samples
            _fill_log_weights(of_row, tilts[r], log_normalisers[r], share, log_weights[r])
        else:
            log_weights[r, :] = 0.0


@jit
def _fill_log_weights(eta, tilt, log_normaliser, share, out):
    """Fill minus the log of ``share + (1 - share) exp(eta . tilt - log_normaliser)`` (nats)."""
    for s in range(len(out)):
        out[s] = -log_normaliser
        for d in range(len(tilt)):
            out[s] += eta[s, d] * tilt[d]
    for s in range(len(out)):
        top = max(out[s], 0.0)
        total = share * exp_clipped(-top) + (1.0 - share) * exp_clipped(out[s] - top)
        out[s] = -top - log_positive(total)


@jit
def add_weighted_samples(
    log_weights, residuals, targets, sample_weights, start, sizes, codes, values, work, sums,
    squares, log_likelihood, effective, posterior,
):  # fmt: skip
    """Add the samples of some rows to sums over rows; fill arrays per row.

    Parameters
    ----------
    log_weights : array (n_at_once, n_samples), nats
        Log of ``p(y|z)``, times the ratio of prior and proposal, of every sample, up to a constant
        per row. NaN counts as -inf.
    residuals : array (n_outputs, n_at_once, n_samples)
        ``(y - E[y|z]) / s`` of every sample, with the dispersion s.
    targets : array (n_rows, n_outputs)
    sample_weights : array (n_rows,)
    start : int
        First of the rows.
    sizes : array of int (n_layers + 1,)
    codes, values
        Those of `fill_samples`. Values are overwritten.
    work : array (3, n_samples)
        Scratch.
    sums : flat array
        Modified in place: residuals of all layers are added per code, weighted by the posterior and
        by the weights of the rows.
    squares : array (n_outputs,) or (0,)
        Modified in place: weighted posterior means of ``(y - eta)**2`` are added.
    log_likelihood : array (n_rows,), nats
        Log of the mean of the weights; -inf if no sample has a finite log-weight. Such a row adds
        nothing to the sums.
    effective : array (n_rows,)
        Effective sample size ``(sum w)**2 / sum w**2``; zero for such a row.
    posterior : array (sum of units of all hidden layers, n_rows)
    """
    n_at_once, n_samples = log_weights.shape
    n_outputs = sizes[-1]
    columns = width(n_outputs)
    position = values.shape[1] - n_samples * columns
    weights, scaled = work[0], work[1]
    for r in range(n_at_once):
        i = start + r
        for s in range(n_samples):
            # the comparison is false for NaN
            weights[s] = log_weights[r, s] if log_weights[r, s] <= math.inf else -math.inf
        log_likelihood[i], effective[i] = normalise(weights)
        if effective[i] == 0.0:
            continue
        for s in range(n_samples):
            weights[s] = 0.0 if weights[s] < _NEGLIGIBLE else weights[s]
            scaled[s] = sample_weights[i] * weights[s]
        of_row = matrix(values[r], position, n_samples, columns)
        for d in range(len(squares)):
            squares[d] += _sum_squares(of_row, targets[i, d], d, scaled)
        for s in range(n_samples):
            for d in range(n_outputs):
                of_row[s, d] = residuals[d, r, s] if weights[s] > 0.0 else 0.0
            for d in range(n_outputs, columns):
                of_row[s, d] = 0.0
        own_codes = matrix(codes[r], 0, codes.shape[1] // n_samples, n_samples)
        add_layers(own_codes, values[r], weights, scaled, sizes, i, sums, posterior)


@jit
def _sum_squares(eta, target, d, scaled):
    """Return the weighted sum of ``(target - eta)**2`` over the samples of a row."""
    total = 0.0
    for s in range(len(scaled)):
        if scaled[s] > 0.0:
            residual = target - eta[s, d]
            total += scaled[s] * (residual * residual)
    return total
