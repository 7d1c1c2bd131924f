"""Forward pass, backpropagation and epochs of training of a deterministic network.

The loop over mini-batches is part of the kernel: Python calls it once per piece of an epoch. All
parameters are one flat vector, and arrays of integers hold the positions of the layers in it, so
one compiled kernel serves any depth. Large matrix products use BLAS, small ones are loops.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.activations import PRELU, drop, fill_hidden, fill_hidden_deltas, fill_output
from fastem.kernels.descent import OUTPUTS, SUM, compiled_rate_of_step, descend
from fastem.kernels.losses import fill_output_deltas
from fastem.kernels.views import matrix, untracked, vector

# A call of BLAS costs about a tenth of a microsecond. A loop does this many multiplications in
# that time. With few rows the time of a product is that of reading the matrix, for loops too.
_BLAS_WORTH = 256
_FEW_ROWS = 4
# The gradient of this many parameters is computed and used at a time: it stays in the L1 cache.
_CHUNK = 1024


class Batch(NamedTuple):
    """The rows of a mini-batch.

    Attributes
    ----------
    inputs : array (n_rows, n_features); not used if rows are sparse
    targets : array (n_rows, n_outputs)
    weights : array (n_rows,)
    n_rows : int
    seed : uint64
        Seed of the random numbers of dropout.
    counter : int
        Counter of the first random number of the batch.
    """

    inputs: Any
    targets: Any
    weights: Any
    n_rows: Any
    seed: Any
    counter: Any


@jit
def _is_for_blas(n_rows, n_in, n_columns):
    return n_rows >= _FEW_ROWS and n_rows * n_in * n_columns >= _BLAS_WORTH


@jit
def _fill_product(below, coefs, nets):
    """Overwrite ``nets`` with ``below @ coefs``."""
    n_rows, n_in = below.shape
    n_columns = coefs.shape[1]
    if _is_for_blas(n_rows, n_in, n_columns):
        np.dot(below, coefs, nets)
        return
    for i in range(n_rows):
        for k in range(n_columns):
            nets[i, k] = 0.0
        for j in range(n_in):
            x = below[i, j]
            if x != 0.0:
                for k in range(n_columns):
                    nets[i, k] += x * coefs[j, k]


@jit
def _fill_sparse_product(rows, picked, coefs, nets):
    n_rows, n_columns = nets.shape
    for i in range(n_rows):
        row = picked[i]
        for k in range(n_columns):
            nets[i, k] = 0.0
        for entry in range(rows.starts[row], rows.starts[row + 1]):
            x, j = rows.data[entry], rows.columns[entry]
            for k in range(n_columns):
                nets[i, k] += x * coefs[j, k]


@jit
def _fill_errors(deltas, coefs, errors):
    """Overwrite ``errors`` with ``deltas @ coefs.T``."""
    n_rows, n_columns = deltas.shape
    n_in = coefs.shape[0]
    if _is_for_blas(n_rows, n_in, n_columns):
        np.dot(deltas, coefs.T, errors)
        return
    for i in range(n_rows):
        for j in range(n_in):
            total = 0.0
            for k in range(n_columns):
                total += deltas[i, k] * coefs[j, k]
            errors[i, j] = total


@jit
def _pick(rows, order, start, stop, seed, counter, work):
    """Return a batch: rows copied in the given order, or views if ``order`` is empty."""
    n_rows, n_features, n_outputs = stop - start, rows.dense.shape[1], rows.targets.shape[1]
    picked = work.rows
    if len(order) == 0:
        for i in range(n_rows):
            picked[i] = start + i
        inputs = matrix(rows.dense, start * n_features, n_rows, n_features)
        targets = matrix(rows.targets, start * n_outputs, n_rows, n_outputs)
        return Batch(inputs, targets, vector(rows.weights, start, n_rows), n_rows, seed, counter)
    if len(rows.dense) == 0:
        n_features = 0
    for i in range(n_rows):
        row = order[start + i]
        picked[i] = row
        work.weights[i] = rows.weights[row]
        for k in range(n_outputs):
            work.targets[i, k] = rows.targets[row, k]
        for j in range(n_features):
            work.inputs[i, j] = rows.dense[row, j]
    inputs = matrix(work.inputs, 0, n_rows, n_features)
    targets = matrix(work.targets, 0, n_rows, n_outputs)
    return Batch(inputs, targets, vector(work.weights, 0, n_rows), n_rows, seed, counter)


@jit
def _forward(theta, layers, rows, batch, dropout, work):
    """Fill values and derivatives of every layer; return the values of the last layer."""
    n_layers, n_rows, capacity = len(layers.columns), batch.n_rows, len(work.rows)
    below = batch.inputs
    at_values = at_deltas = 0
    for layer in range(n_layers):
        n_in, n_units = layers.widths[layer], layers.widths[layer + 1]
        n_columns = layers.columns[layer]
        coefs = matrix(theta, layers.coefs[layer], n_in, n_columns)
        intercepts = vector(theta, layers.intercepts[layer], n_columns)
        nets = matrix(work.deltas, at_deltas, n_rows, n_columns)
        values = matrix(work.values, at_values, n_rows, n_units)
        if layer == 0 and len(rows.dense) == 0:
            _fill_sparse_product(rows, work.rows, coefs, nets)
        else:
            _fill_product(below, coefs, nets)
        activation = layers.activations[layer]
        if layer == n_layers - 1:
            fill_output(activation, nets, intercepts, values)
        else:
            slopes = vector(theta, layers.slopes[layer], n_units)
            fill_hidden(activation, nets, intercepts, slopes, values)
            if dropout > 0.0:
                drop(dropout, batch.seed, np.uint64(batch.counter + at_values), values)
        below = values
        at_values += capacity * n_units
        at_deltas += capacity * n_columns
    return below


@jit
def _descend(task, rate, state, start, n, gradient, alpha, weight):
    """Update the parameters ``start : start + n``; return their squared norm before the step."""
    return descend(
        task.rule, rate, vector(state.theta, start, n), gradient, alpha, weight,
        vector(state.first, start, n), vector(state.second, start, n),
    )  # fmt: skip


@jit
def _descend_coefs(layer, task, rate, state, rows, below, deltas, weight, work):
    """Update the coefs of a layer; return their squared norm before the step."""
    n_in, n_columns = task.layers.widths[layer], task.layers.columns[layer]
    n_rows, start, alpha = len(deltas), task.layers.coefs[layer], task.objective.alpha
    is_sparse = layer == 0 and len(rows.dense) == 0
    if is_sparse or _is_for_blas(n_rows, n_in, n_columns):
        gradient = matrix(work.gradient, 0, n_in, n_columns)
        if is_sparse:
            _fill_sparse_gradient(rows, work.rows, deltas, gradient)
        else:
            np.dot(below.T, deltas, gradient)
        return _descend(task, rate, state, start, n_in * n_columns, work.gradient, alpha, weight)
    squares = 0.0
    step = max(_CHUNK // n_columns, 1)
    for low in range(0, n_in, step):
        n_chunk = min(step, n_in - low)
        gradient = matrix(work.gradient, 0, n_chunk, n_columns)
        for j in range(n_chunk):
            for k in range(n_columns):
                gradient[j, k] = 0.0
            for i in range(n_rows):
                x = below[i, low + j]
                if x != 0.0:
                    for k in range(n_columns):
                        gradient[j, k] += x * deltas[i, k]
        squares += _descend(
            task, rate, state, start + low * n_columns, n_chunk * n_columns, work.gradient, alpha,
            weight,
        )  # fmt: skip
    return squares


@jit
def _fill_sparse_gradient(rows, picked, deltas, gradient):
    gradient[:] = 0.0
    n_rows, n_columns = deltas.shape
    for i in range(n_rows):
        row = picked[i]
        for entry in range(rows.starts[row], rows.starts[row + 1]):
            x, j = rows.data[entry], rows.columns[entry]
            for k in range(n_columns):
                gradient[j, k] += x * deltas[i, k]


@jit
def _backward(task, rate, state, rows, batch, weight, work):
    """Propagate deltas from the last layer to the first, and update the parameters.

    The coefs of a layer are updated after its deltas have been multiplied by them. Returns the
    squared norm of all coefs before the step.
    """
    layers, objective, theta = task.layers, task.objective, state.theta
    n_rows, capacity, unpenalised = batch.n_rows, len(work.rows), 0.0
    at_values = at_deltas = 0
    for layer in range(len(layers.columns)):
        at_values += capacity * layers.widths[layer + 1]
        at_deltas += capacity * layers.columns[layer]
    at_values -= capacity * layers.widths[len(layers.columns)]
    squares = 0.0
    for layer in range(len(layers.columns) - 1, -1, -1):
        n_in, n_columns = layers.widths[layer], layers.columns[layer]
        at_deltas -= capacity * n_columns
        deltas = matrix(work.deltas, at_deltas, n_rows, n_columns)
        below = batch.inputs
        if layer > 0:
            at_values -= capacity * n_in
            below = matrix(work.values, at_values, n_rows, n_in)
            errors = matrix(work.errors, 0, n_rows, n_in)
            _fill_errors(deltas, matrix(theta, layers.coefs[layer], n_in, n_columns), errors)
            if objective.dropout > 0.0:
                counter = np.uint64(batch.counter + at_values)
                drop(objective.dropout, batch.seed, counter, errors)
            wide, at_slopes = layers.columns[layer - 1], layers.slopes[layer - 1]
            lower = matrix(work.deltas, at_deltas - capacity * wide, n_rows, wide)
            activation, slopes = layers.activations[layer - 1], vector(theta, at_slopes, n_in)
            fill_hidden_deltas(activation, errors, slopes, lower, work.short)
            if activation == PRELU:
                _descend(task, rate, state, at_slopes, n_in, work.short, unpenalised, weight)
        squares += _descend_coefs(layer, task, rate, state, rows, below, deltas, weight, work)
        total = vector(work.short, 0, n_columns)
        for k in range(n_columns):
            total[k] = 0.0
        for i in range(n_rows):
            for k in range(n_columns):
                total[k] += deltas[i, k]
        at = layers.intercepts[layer]
        _descend(task, rate, state, at, n_columns, total, unpenalised, weight)
    return squares


@jit
def _loss_of(output, task, batch, work):
    """Return the summed loss of a batch, and fill the output's deltas."""
    layers, objective = task.layers, task.objective
    last = len(layers.columns) - 1
    at = 0
    for layer in range(last):
        at += len(work.rows) * layers.columns[layer]
    deltas = matrix(work.deltas, at, batch.n_rows, layers.widths[last + 1])
    return fill_output_deltas(
        objective.loss, layers.activations[last], output, batch.targets, batch.weights,
        objective.smallest, deltas,
    )  # fmt: skip


@jit
def run_batches(state, n_steps, rows, order, first, last, task, seed, work, outputs):
    """Run through an epoch, or a piece of it, batch by batch.

    The kind of the rule of descent selects the purpose. One kernel serves all three, because most
    of its time of compilation belongs to their common part.

    ==========  ============================================================================
    SGD, ADAM   Train: a step of descent after every batch. A batch of total weight zero is
                skipped.
    SUM         Add the gradient of the summed loss, without penalty, to ``state.first``.
    OUTPUTS     Fill ``outputs`` by the forward pass. Targets and weights are not used.
    ==========  ============================================================================

    Parameters
    ----------
    state : State
        Modified in place, unless the kind is OUTPUTS.
    n_steps : int
        Number of steps taken before.
    rows : Rows
    order : array of int (n_samples,) or (0,)
        Indices of the rows of the epoch. Empty: all rows in their order.
    first, last : int
        Range of positions in the epoch.
    task : Task
    seed : uint64
        Seed of dropout.
    work : Workspace
        Its capacity is the batch size.
    outputs : array (n_samples, n_outputs)
        Overwritten between first and last if the kind is OUTPUTS, not used otherwise.

    Returns
    -------
    loss, penalty : float
        SGD and ADAM: mean loss and mean penalty of each batch before its step, summed over rows.
        SUM: the summed loss, and zero.
    n_steps : int
        Number of steps taken, those before included.

    Notes
    -----
    Costs about ``6 n_samples n_coefs`` flops, and one pass over all parameters per batch; OUTPUTS
    costs a third of these flops.
    """
    batch_size = len(work.rows)
    state, rows, work, rule = untracked(state), untracked(rows), untracked(work), task.rule
    n_hidden = 0  # dropout takes one random number per hidden unit
    for layer in range(1, len(task.layers.widths) - 1):
        n_hidden += task.layers.widths[layer]
    losses = penalties = rate = 0.0
    for start in range(first, last, batch_size):
        stop = min(start + batch_size, last)
        batch = _pick(rows, order, start, stop, seed, start * n_hidden, work)
        values = _forward(state.theta, task.layers, rows, batch, task.objective.dropout, work)
        if rule.kind == OUTPUTS:
            for i in range(batch.n_rows):
                for k in range(outputs.shape[1]):
                    outputs[start + i, k] = values[i, k]
            continue
        total = _loss_of(values, task, batch, work)
        weight = n_losses = 1.0
        if rule.kind != SUM:
            weight, n_losses = 0.0, float(batch.n_rows)
            for i in range(batch.n_rows):
                weight += batch.weights[i]
            if weight <= 0.0:
                continue
            n_steps += 1
            rate = compiled_rate_of_step(rule, n_steps)
        squares = _backward(task, rate, state, rows, batch, weight, work)
        losses += total / weight * n_losses
        penalties += 0.5 * task.objective.alpha * squares / weight * n_losses
    return losses, penalties, n_steps
