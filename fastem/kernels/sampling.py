"""E-steps by self-normalised importance sampling; the prior is the proposal distribution.

For every row, configurations z_s are drawn from P(z|x) and weighted by ``o_y(z_s)``. A unit with
probability u is on if a 32-bit random word is below ``2**32 u``, rounded. Its probability has an
error of at most 2**-33, and the distribution of m units an error of at most ``m 2**-33`` in total
variation.

The states of four units form a *code*, a number below 16. The logits of the next layer,
``z V + c``, are sums of one table row per code; a table row is the sum of V over the units that
are on. For the gradient with respect to V, a sum of ``z' d`` over samples, d is first summed per
code; the sums per code are turned into sums per unit once for many rows. Both take ``m / 4``
additions per sample and output.

The arrays of all layers are stored one after the other in flat arrays, so one compiled kernel
serves any depth. Layer t has ``sizes[t]`` units and ``n = sizes[t + 1]`` outputs; the last size
is the number of classes.

=========  ======================================  =========================================
codes      (n_groups, n_samples) per hidden layer  codes of the units
tables     (n_groups, 16, width) per hidden layer  logits by code; those of the first group
                                                   hold the intercepts too
values     (n_samples, width) per hidden layer     logits, later residuals ``z - u`` or ``1_y - o``
sums       (n_groups, 16, width) per hidden layer  weighted sums of values, per code
=========  ======================================  =========================================

The width is n, rounded up to a multiple of four. Additional columns hold zeros when they are
summed.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.random import GAMMA, derive, mix, uniform
from fastem.kernels.special import add_in_order, exp_clipped, log_positive
from fastem.kernels.views import matrix, vector

UNITS = 4  # per code
CODES = 16
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_SCALE = 2.0**32
_SMALLEST = 1e-280  # a smaller mean probability may have lost digits to underflow


@jit
def n_groups(n_units):
    """Return the number of codes of a layer."""
    return (n_units + UNITS - 1) // UNITS


@jit
def width(n_outputs):
    """Return the number of columns for ``n_outputs``: the next multiple of four."""
    return 4 * ((n_outputs + 3) // 4)


@jit
def fill_thresholds(log_odds, i, probability, thresholds):
    """Fill the probability of the units, and 2**32 times the probability, rounded.

    Additional units of the last code are never on.
    """
    thresholds[:] = 0
    for h in range(log_odds.shape[1]):
        probability[h] = 1.0 / (1.0 + exp_clipped(-log_odds[i, h]))
        thresholds[h] = np.uint64(probability[h] * _SCALE + 0.5)


@jit
def _draw(key, thresholds, codes):
    """Draw codes (n_groups, n_samples) of independent units, with 32 random bits per unit."""
    draw_samples(key, thresholds, 0, codes.shape[1], codes)


@jit
def draw_samples(key, thresholds, start, stop, codes):
    """Draw the codes of samples ``start:stop`` as `_draw` draws those of all samples."""
    groups, n_samples = codes.shape
    for j in range(groups):
        a, b = thresholds[UNITS * j], thresholds[UNITS * j + 1]
        c, d = thresholds[UNITS * j + 2], thresholds[UNITS * j + 3]
        first = key + np.uint64(2 * j * n_samples) * GAMMA
        second = first + np.uint64(n_samples) * GAMMA
        for s in range(start, stop):
            step = np.uint64(s) * GAMMA
            x, y = mix(first + step), mix(second + step)
            code = np.uint8((x & _LOW) < a) | np.uint8((x >> _32) < b) << np.uint8(1)
            code |= np.uint8((y & _LOW) < c) << np.uint8(2)
            codes[j, s] = code | np.uint8((y >> _32) < d) << np.uint8(3)


@jit
def _draw_next(key, n_units, values, codes):
    """Draw z given logits; overwrite logits (n_samples, width) with ``z - u``, and fill codes.

    A unit takes 53 random bits.
    """
    n_samples, columns = values.shape
    flat = values.ravel()
    for j in range(len(flat)):
        flat[j] = 1.0 / (1.0 + exp_clipped(-flat[j]))
    codes[:] = 0
    for s in range(n_samples):
        first = key + np.uint64(s * columns) * GAMMA
        for h in range(n_units):
            word = mix(first + np.uint64(h) * GAMMA)
            on = uniform(word) < values[s, h]
            codes[h // UNITS, s] |= np.uint8(on) << np.uint8(h % UNITS)
            values[s, h] = on - values[s, h]
        for h in range(n_units, columns):
            values[s, h] = 0.0


@jit
def _fill_logits(codes, tables, start, values):
    """Fill values (n_samples, width) with sums of table rows, one row per code."""
    groups, n_samples = codes.shape
    columns = values.shape[1]
    values[:] = 0.0
    for j in range(groups):
        for s in range(n_samples):
            row = vector(tables, start + (CODES * j + codes[j, s]) * columns, columns)
            out = vector(values, s * columns, columns)
            for k in range(columns):
                out[k] += row[k]


@jit
def _add_sums(codes, values, weights, start, sums):
    """Add weighted values to the sums of their codes: the transpose of `_fill_logits`."""
    groups, n_samples = codes.shape
    columns = values.shape[1]
    for j in range(groups):
        for s in range(n_samples):
            weight = weights[s]
            row = vector(values, s * columns, columns)
            out = vector(sums, start + (CODES * j + codes[j, s]) * columns, columns)
            for k in range(columns):
                out[k] += weight * row[k]


@jit
def _fill_softmax(values, n_classes, log_normalisers):
    """Overwrite logits with probabilities; fill the log of the normalisers (nats)."""
    n_samples = len(values)
    for s in range(n_samples):
        largest = values[s, 0]
        for k in range(1, n_classes):
            largest = max(largest, values[s, k])
        for k in range(n_classes):
            values[s, k] = add_in_order(values[s, k], -largest)
        log_normalisers[s] = largest
    flat = values.ravel()
    for j in range(len(flat)):
        flat[j] = exp_clipped(flat[j])
    for s in range(n_samples):
        total = 0.0
        for k in range(n_classes):
            total += values[s, k]
        over = 1.0 / total
        for k in range(n_classes):
            values[s, k] *= over
        log_normalisers[s] += log_positive(total)


@jit
def _sample_row(key, log_odds, i, sizes, tables, probability, thresholds, codes, values):
    """Draw all layers of a row; return the position of the outputs in ``values``."""
    fill_thresholds(log_odds, i, probability, thresholds)
    _draw(key, thresholds, matrix(codes, 0, n_groups(sizes[0]), codes.shape[1]))
    return sample_layers_above(key, sizes, tables, codes, values)


@jit
def sample_layers_above(key, sizes, tables, codes, values):
    """Draw all layers above the first one; return the position of the outputs in ``values``."""
    n_samples = codes.shape[1]
    group = table = position = 0
    for t in range(len(sizes) - 1):
        columns = width(sizes[t + 1])
        own = matrix(codes, group * n_samples, n_groups(sizes[t]), n_samples)
        out = matrix(values, position, n_samples, columns)
        _fill_logits(own, tables, table, out)
        group += n_groups(sizes[t])
        table += n_groups(sizes[t]) * CODES * columns
        if t < len(sizes) - 2:
            above = matrix(codes, group * n_samples, n_groups(sizes[t + 1]), n_samples)
            _draw_next(derive(key, t), sizes[t + 1], out, above)
            position += n_samples * columns
    return position


@jit
def normalise(weights):
    """Overwrite log-weights (nats) with weights that sum to one.

    Returns the log of the mean weight (nats) and the effective sample size. They are -inf and
    zero if no sample has a finite log-weight.
    """
    n_samples = len(weights)
    largest = -math.inf
    for s in range(n_samples):
        largest = max(largest, weights[s])
    if not -math.inf < largest < math.inf:
        return -math.inf, 0.0
    total = squares = 0.0
    for s in range(n_samples):
        weights[s] = exp_clipped(weights[s] - largest)
        total += weights[s]
        squares += weights[s] * weights[s]
    for s in range(n_samples):
        weights[s] /= total
    return largest + math.log(total / n_samples), total * total / squares


@jit
def _weigh(logits, label, n_classes, weights, normalisers):
    """Fill the normalised weights of the samples; overwrite logits with residuals ``1_y - o``.

    Returns ``log p(y|x)`` (nats) and the effective sample size, as `normalise`.
    """
    n_samples = len(logits)
    for s in range(n_samples):
        weights[s] = logits[s, label]
    _fill_softmax(logits, n_classes, normalisers)
    for s in range(n_samples):
        weights[s] = add_in_order(weights[s], -normalisers[s])
    log_likelihood, effective = normalise(weights)
    for s in range(n_samples):
        for k in range(n_classes):
            logits[s, k] = -logits[s, k]
        logits[s, label] += 1.0
        for k in range(n_classes, logits.shape[1]):
            logits[s, k] = 0.0
    return min(log_likelihood, 0.0), effective


@jit
def _fill_posterior(codes, weights, n_units, first, posterior, i):
    """Fill column i from row ``first`` on with the posterior of each unit."""
    groups, n_samples = codes.shape
    by_code = np.empty(CODES)
    for j in range(groups):
        by_code[:] = 0.0
        for s in range(n_samples):
            by_code[codes[j, s]] += weights[s]
        for h in range(UNITS * j, min(UNITS * j + UNITS, n_units)):
            share = 0.0
            for code in range(CODES):
                if code >> (h - UNITS * j) & 1:
                    share += by_code[code]
            posterior[first + h, i] = min(share, 1.0)


@jit
def add_layers(codes, values, weights, scaled, sizes, i, sums, posterior):
    """Add the residuals of all layers to their sums per code; fill column i of the posterior.

    Parameters
    ----------
    codes : array of uint8 (sum of n_groups, n_samples), values : flat array
        Codes and residuals of the samples of row i.
    weights, scaled : arrays (n_samples,)
        Normalised weights of the samples, and their product with the weight of the row.
    sizes : array of int (n_layers + 1,)
    sums : flat array
        Modified in place.
    posterior : array (sum of units of all hidden layers, n_rows)
    """
    n_samples = len(weights)
    group = table = position = unit = 0
    for t in range(len(sizes) - 1):
        columns = width(sizes[t + 1])
        own = matrix(codes, group * n_samples, n_groups(sizes[t]), n_samples)
        _fill_posterior(own, weights, sizes[t], unit, posterior, i)
        unit += sizes[t]
        _add_sums(own, matrix(values, position, n_samples, columns), scaled, table, sums)
        group += n_groups(sizes[t])
        table += n_groups(sizes[t]) * CODES * columns
        position += n_samples * columns


@jit
def add_sampled_rows(
    log_odds, labels, sample_weights, keys, start, stop, n_samples, sizes, tables, codes, values,
    work, thresholds, sums, log_likelihood, effective, probability, posterior,
):  # fmt: skip
    """Run the E-step of rows ``start:stop``: fill arrays per row, and add to sums over rows.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
        Log-odds of the units of the first layer.
    labels : array of int (n_rows,)
    sample_weights : array (n_rows,)
    keys : array of uint64 (n_rows,)
        Keys of the rows' random streams.
    n_samples : int
        Number of samples per row.
    sizes : array of int (n_layers + 1,)
        Number of units of every hidden layer, and number of classes.
    tables : flat array
    codes : flat array of uint8, values : flat array, work : array (3, n_samples)
        Scratch.
    thresholds : array of uint64 (4 * n_groups of the first layer,)
        Scratch.
    sums : flat array
        Modified in place: residuals of all layers are added per code, weighted by the posterior
        and by the weights of the rows.
    log_likelihood : array (n_rows,), nats
        -inf if no sample has a finite log-weight; such a row adds nothing to ``sums``.
    effective : array (n_rows,)
        Effective sample size ``(sum w)**2 / sum w**2``.
    probability : array (n_hidden, n_rows)
    posterior : array (sum of units of all hidden layers, n_rows)

    Notes
    -----
    Cost per row and sample: half a random word per unit of the first layer; for every layer,
    ``m / 4`` table rows are read and ``m / 4`` rows of sums are added to; one exponential per
    class and per unit of later layers.
    """
    n_classes = sizes[-1]
    all_codes = matrix(codes, 0, len(codes) // n_samples, n_samples)
    weights, scaled, normalisers = work[0], work[1], work[2]
    on = np.empty(sizes[0])
    for i in range(start, stop):
        position = _sample_row(
            keys[i], log_odds, i, sizes, tables, on, thresholds, all_codes, values
        )  # fmt: skip
        for h in range(sizes[0]):
            probability[h, i] = on[h]
        logits = matrix(values, position, n_samples, width(n_classes))
        log_likelihood[i], effective[i] = _weigh(logits, labels[i], n_classes, weights, normalisers)
        if effective[i] == 0.0:
            continue
        for s in range(n_samples):
            scaled[s] = sample_weights[i] * weights[s]
        add_layers(all_codes, values, weights, scaled, sizes, i, sums, posterior)


@jit
def fill_sampled_log_marginal(
    log_odds, keys, start, stop, n_samples, sizes, tables, codes, values, work, thresholds, out
):
    """Fill rows of ``log p(y = k|x)`` (n_rows, n_classes), nats, by means over samples.

    Parameters
    ----------
    log_odds, keys, start, stop, n_samples, sizes, tables, codes, values, work, thresholds
        As for `add_sampled_rows`.
    """
    n_classes = sizes[-1]
    all_codes = matrix(codes, 0, len(codes) // n_samples, n_samples)
    on = np.empty(sizes[0])
    for i in range(start, stop):
        position = _sample_row(
            keys[i], log_odds, i, sizes, tables, on, thresholds, all_codes, values
        )  # fmt: skip
        logits = matrix(values, position, n_samples, width(n_classes))
        _fill_softmax(logits, n_classes, work[2])
        for k in range(n_classes):
            out[i, k] = 0.0
        for s in range(n_samples):
            for k in range(n_classes):
                out[i, k] += logits[s, k]
        smallest = 1.0
        for k in range(n_classes):
            smallest = min(smallest, out[i, k] / n_samples)
            out[i, k] = math.log(out[i, k] / n_samples)
        if not smallest > _SMALLEST:
            _sample_row(keys[i], log_odds, i, sizes, tables, on, thresholds, all_codes, values)
            _fill_log_means(logits, n_classes, work[2], out, i)


@jit
def _fill_log_means(logits, n_classes, normalisers, out, i):
    """Fill ``out[i]`` with the logs of mean probabilities, computed in log space."""
    n_samples = len(logits)
    for k in range(n_classes):
        largest = -math.inf
        for s in range(n_samples):
            largest = max(largest, logits[s, k] - normalisers[s])
        total = 0.0
        for s in range(n_samples):
            total += exp_clipped(add_in_order(logits[s, k] - normalisers[s], -largest))
        out[i, k] = largest + math.log(total / n_samples)
