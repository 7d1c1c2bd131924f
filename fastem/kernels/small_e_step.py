"""A whole E-step in one call, for problems so small that calls cost as much as their work."""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.caller_order import bound_of_log_odds, fill_in_order
from fastem.kernels.configurations import fill_output_table, unit_sums
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD, fill_rows
from fastem.kernels.expected_counts import fill_output_residuals


@jit
def fill_expectations(
    X, weights, order, class_starts, largest_inputs, hidden, output, tile,
    tables, counts, workspace, scratch, prior, posterior, values, high_sums, low_sums,
    log_likelihood, hidden_posterior, coef_gradient, intercept_gradient,
    output_coef_gradient, output_intercept_gradient,
):  # fmt: skip
    """Run the E-step of one hidden layer and classes; fill its results in the caller's order.

    Parameters
    ----------
    X, weights, tile
        As for `fill_rows`, with a column of ones.
    order : array of int (n_samples,)
        Original position of each row.
    class_starts : array (n_classes + 1,)
    largest_inputs : array (n_inputs,)
        Largest absolute value of every input.
    hidden, output : arrays (n_inputs, n_hidden), (n_hidden + 1, n_classes)
        Weights, with the intercepts as the last row.
    tables, counts : arrays (n_classes, n_high, n_low)
        Scratch.
    workspace, scratch, prior, posterior
        As for `fill_rows`: scratch here.
    values : array (n_samples,)
        Scratch.
    high_sums, low_sums : arrays (n_classes, n_high), (1, n_classes, n_low)
        Scratch.
    log_likelihood : array (1, n_samples), nats
    hidden_posterior : array (n_hidden, n_samples), probability
    coef_gradient, intercept_gradient : arrays (n_features, n_hidden), (n_hidden,)
    output_coef_gradient, output_intercept_gradient : arrays (n_hidden, n_classes), (n_classes,)
        Overwritten with the results.

    Returns
    -------
    is_complete : bool
        False if log-odds may overflow, or if a row has to be summed in log space. The results are
        undefined then.
    """
    if not math.isfinite(bound_of_log_odds(largest_inputs, hidden)):
        return False
    n_inputs, n_hidden = hidden.shape
    n_classes, n_high, _ = tables.shape
    no_tilts, no_numbers = np.empty((X.shape[0], 0)), np.empty(0)
    no_counts = tables[:0]
    gradient = np.empty((n_inputs, n_hidden))
    fill_output_table(output[:n_hidden], output[n_hidden], 0, n_high, tables)
    n_redo = fill_rows(
        X, weights, hidden, tables, class_starts, 0, output[:n_hidden], no_tilts, no_numbers,
        0, X.shape[0], tile, SMALLEST_LIKELIHOOD, 1.0, workspace, scratch,
        values, prior, posterior, counts, gradient,
    )  # fmt: skip
    if n_redo > 0:
        return False
    sums_of_classes = np.arange(n_classes + 1)
    fill_output_residuals(
        counts, sums_of_classes, tables, 1.0, no_counts, 0, n_high, high_sums, low_sums[0]
    )
    sums = unit_sums(high_sums, low_sums)
    fill_in_order(values.reshape(1, values.size), order, 0, 1, log_likelihood)
    fill_in_order(posterior, order, 0, n_hidden, hidden_posterior)
    coef_gradient[:] = gradient[: n_inputs - 1]
    intercept_gradient[:] = gradient[n_inputs - 1]
    output_coef_gradient[:] = sums[:n_hidden]
    output_intercept_gradient[:] = sums[n_hidden]
    return True
