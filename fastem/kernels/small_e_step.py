"""A whole E-step in one compiled call, for small problems.

For these, separate calls of several kernels take as long as the work itself. The network has one
hidden layer, and its outputs are classes. For larger problems, separate kernels do the same in
pieces.
"""

import math

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.caller_order import bound_of_log_odds, fill_in_order
from fastem.kernels.configurations import fill_output_table, unit_sums
from fastem.kernels.enumeration import SMALLEST_LIKELIHOOD, fill_rows
from fastem.kernels.expected_counts import fill_output_residuals
from fastem.kernels.views import matrix


@jit
def fill_statistics(
    X, weights, class_starts, hidden, output, tile, tables, workspace, scratch,
    high_sums, low_sums, log_likelihood, probability, posterior, counts, gradient,
    output_gradient,
):  # fmt: skip
    """Run the E-step of sorted rows.

    Parameters
    ----------
    X, weights, tile
        As for `fill_rows`.
    class_starts : array (n_classes + 1,)
    hidden, output : arrays (n_inputs, n_hidden), (n_inputs_above, n_classes)
        Weights; with intercepts, their last rows are the intercepts.
    tables : array (n_classes, n_high, n_low), probability
        Overwritten with P(y|z).
    workspace, scratch
        As for `fill_rows`.
    high_sums, low_sums : arrays (n_classes, n_high), (n_slices, n_classes, n_low)
        Scratch.
    log_likelihood, probability, posterior, counts, gradient
        Overwritten as by `fill_rows`.
    output_gradient : array (n_hidden + 1, n_classes), nats per unit of weight
        Overwritten with eq. 15; the last row belongs to the intercepts.

    Returns
    -------
    n_redo : int
        Number of rows to be summed in log space. The results are incomplete if there are any.
    """
    n_samples, n_hidden = X.shape[0], hidden.shape[1]
    n_classes, n_high, _ = tables.shape
    coefs = matrix(output.ravel(), 0, n_hidden, n_classes)
    intercepts = np.zeros(n_classes)
    if output.shape[0] > n_hidden:
        for k in range(n_classes):
            intercepts[k] = output[n_hidden, k]
    fill_output_table(coefs, intercepts, 0, n_high, tables)
    n_redo = fill_rows(
        X, weights, hidden, tables, class_starts, 0, None, None, None,
        0, n_samples, tile, SMALLEST_LIKELIHOOD, 1.0, workspace, scratch,
        log_likelihood, probability, posterior, counts, gradient,
    )  # fmt: skip
    if n_redo == 0:
        each = np.arange(n_classes + 1)
        fill_output_residuals(
            counts, each, tables, 1.0, tables[:0], 0, n_high, high_sums, low_sums[0]
        )
        sums = unit_sums(high_sums, low_sums[:1])
        for h in range(n_hidden + 1):
            for k in range(n_classes):
                output_gradient[h, k] = sums[h, k]
    return n_redo


@jit
def fill_expectations(
    X, weights, class_starts, hidden, output, tile, tables, workspace, scratch,
    high_sums, low_sums, sorted_log_likelihood, probability, posterior, counts, gradient,
    output_gradient, largest_inputs, order, log_likelihood, hidden_posterior,
    coef_gradient, intercept_gradient, output_coef_gradient, output_intercept_gradient,
):  # fmt: skip
    """Run the E-step of sorted rows; fill its results in the caller's order of rows.

    Parameters
    ----------
    X, weights, ..., output_gradient
        As for `fill_statistics`, in a network with intercepts.
    largest_inputs : array (n_inputs,)
        Largest absolute value of every input.
    order : array of int (n_samples,)
        Original position of each row.
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
    n_redo = fill_statistics(
        X, weights, class_starts, hidden, output, tile, tables, workspace, scratch,
        high_sums, low_sums, sorted_log_likelihood, probability, posterior, counts, gradient,
        output_gradient,
    )  # fmt: skip
    if n_redo > 0:
        return False
    n_samples, n_hidden = X.shape[0], hidden.shape[1]
    fill_in_order(matrix(sorted_log_likelihood, 0, 1, n_samples), order, 0, 1, log_likelihood)
    fill_in_order(posterior, order, 0, n_hidden, hidden_posterior)
    _split(gradient, coef_gradient, intercept_gradient)
    _split(output_gradient, output_coef_gradient, output_intercept_gradient)
    return True


@jit
def _split(joined, coefs, intercepts):
    """Copy the rows of a gradient to those of coefs, and the last row to intercepts."""
    n_inputs, n_outputs = coefs.shape
    for k in range(n_outputs):
        for j in range(n_inputs):
            coefs[j, k] = joined[j, k]
        intercepts[k] = joined[n_inputs, k]
