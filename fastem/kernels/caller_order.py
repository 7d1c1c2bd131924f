"""Copies between the caller's order of rows and the sorted order; bounds of inputs and weights."""

import numpy as np

from fastem.kernels._jit import jit


@jit
def sum_of_sizes(values):
    """Return the sum of the absolute values of a vector: finite only if all of them are."""
    total = 0.0
    for i in range(values.size):
        total += abs(values[i])
    return total


@jit
def bound_of_log_odds(largest_inputs, hidden):
    """Return a bound of the sizes of all log-odds of hidden units.

    Parameters
    ----------
    largest_inputs : array (n_inputs,)
        Largest absolute value of every input.
    hidden : array (n_inputs, n_hidden), log-odds per unit of input

    Returns
    -------
    bound : float
        Summed over all units. If it is finite, no log-odds overflow.
    """
    bound = 0.0
    for j in range(hidden.shape[0]):
        for h in range(hidden.shape[1]):
            bound += largest_inputs[j] * abs(hidden[j, h])
    return bound


@jit
def fill_in_order(values, order, start, stop, out):
    """Fill ``out[k, order[i]] = values[k, i]`` for the rows ``start:stop`` of ``values``."""
    for k in range(start, stop):
        own = values[k]
        row = out[k]
        for i in range(order.size):
            row[order[i]] = own[i]


@jit
def gather_rows(X, order, inputs, largest):
    """Fill the inputs of an E-step, and the sizes of their columns.

    Parameters
    ----------
    X : array (n_samples, n_features)
    order : array of int (n_samples,)
    inputs : array (n_samples, n_features) or (n_samples, n_features + 1)
        Row i is overwritten with row ``order[i]`` of X, and with a one if it has one more column.
    largest : array (n_inputs,)
        Overwritten with the largest absolute value of every column. All of them are NaN if a value
        is NaN or infinite.
    """
    n_features = X.shape[1]
    largest[:] = 0.0
    total = 0.0
    for i in range(order.size):
        x = X[order[i]]
        row = inputs[i]
        for j in range(n_features):
            value = x[j]
            row[j] = value
            largest[j] = max(largest[j], abs(value))
            total += 0.0 * value
        if row.size > n_features:
            row[n_features] = 1.0
            largest[n_features] = 1.0
    if total != 0.0:
        largest[:] = np.nan
