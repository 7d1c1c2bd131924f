"""Forward pass, backpropagation and whole epochs of a deterministic network.

The loop over mini-batches is inside, so that Python is entered once an epoch. Parameters are
one flat vector and what is where comes as arrays of integers: one compilation serves every
depth. Products of many operations go to BLAS, small ones are loops.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels._jit import jit
from fastem.kernels.activations import PRELU, drop, fill_hidden, fill_hidden_deltas, fill_output
from fastem.kernels.descent import ADAM, descend
from fastem.kernels.losses import fill_output_deltas
from fastem.kernels.views import matrix, untracked, vector

# A call of BLAS costs about a tenth of a microsecond, in which a loop does about this many
# multiplications; of few rows a loop makes a product in the time that memory needs to bring it.
_BLAS_WORTH = 256
_FEW_ROWS = 4
# Parameters whose gradient is formed and used before the next: they stay in the first cache.
_CHUNK = 1024


class Batch(NamedTuple):
    """Rows that go through the network together.

    Attributes
    ----------
    inputs : array (n_rows, n_features), or anything when rows are sparse
    targets : array (n_rows, n_outputs)
    weights : array (n_rows,)
    n_rows : int
    seed : uint64
        Stream of dropout's random numbers.
    place : int
        Place in that stream where the batch begins.
    """

    inputs: Any
    targets: Any
    weights: Any
    n_rows: Any
    seed: Any
    place: Any


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
def _pick(rows, order, start, stop, seed, place, work):
    """Return a batch: copied in the order given, or in place where there is none."""
    n_rows, n_features, n_outputs = stop - start, rows.dense.shape[1], rows.targets.shape[1]
    picked = work.rows
    if len(order) == 0:
        for i in range(n_rows):
            picked[i] = start + i
        inputs = matrix(rows.dense, start * n_features, n_rows, n_features)
        targets = matrix(rows.targets, start * n_outputs, n_rows, n_outputs)
        return Batch(inputs, targets, vector(rows.weights, start, n_rows), n_rows, seed, place)
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
    return Batch(inputs, targets, vector(work.weights, 0, n_rows), n_rows, seed, place)


@jit
def _forward(theta, layers, rows, batch, dropout, work):
    """Fill values and derivatives of every layer; return the values of the last."""
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
                drop(dropout, batch.seed, np.uint64(batch.place + at_values), values)
        below = values
        at_values += capacity * n_units
        at_deltas += capacity * n_columns
    return below


@jit
def _descend(plan, rate, state, start, n, gradient, alpha, weight):
    """Take a step with ``n`` parameters from ``start`` on; return their squared norm before."""
    return descend(
        plan.rule, rate, vector(state.theta, start, n), gradient, alpha, weight,
        vector(state.first, start, n), vector(state.second, start, n),
    )  # fmt: skip


@jit
def _descend_coefs(layer, plan, rate, state, rows, below, deltas, weight, work):
    """Form the gradient of a layer's coefs and use it; return their squared norm before."""
    n_in, n_columns = plan.layers.widths[layer], plan.layers.columns[layer]
    n_rows, start, alpha = len(deltas), plan.layers.coefs[layer], plan.objective.alpha
    is_sparse = layer == 0 and len(rows.dense) == 0
    if is_sparse or _is_for_blas(n_rows, n_in, n_columns):
        gradient = matrix(work.gradient, 0, n_in, n_columns)
        if is_sparse:
            _fill_sparse_gradient(rows, work.rows, deltas, gradient)
        else:
            np.dot(below.T, deltas, gradient)
        return _descend(plan, rate, state, start, n_in * n_columns, work.gradient, alpha, weight)
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
            plan, rate, state, start + low * n_columns, n_chunk * n_columns, work.gradient, alpha,
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
def _backward(plan, rate, state, rows, batch, weight, work):
    """Carry deltas from the last layer to the first, each layer's parameters following.

    A layer's coefs change only after its deltas have passed through them. Returns the squared
    norm of all coefs before the step.
    """
    layers, objective, theta = plan.layers, plan.objective, state.theta
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
                place = np.uint64(batch.place + at_values)
                drop(objective.dropout, batch.seed, place, errors)
            wide, at_slopes = layers.columns[layer - 1], layers.slopes[layer - 1]
            lower = matrix(work.deltas, at_deltas - capacity * wide, n_rows, wide)
            activation, slopes = layers.activations[layer - 1], vector(theta, at_slopes, n_in)
            fill_hidden_deltas(activation, errors, slopes, lower, work.short)
            if activation == PRELU:
                _descend(plan, rate, state, at_slopes, n_in, work.short, unpenalised, weight)
        squares += _descend_coefs(layer, plan, rate, state, rows, below, deltas, weight, work)
        total = vector(work.short, 0, n_columns)
        for k in range(n_columns):
            total[k] = 0.0
        for i in range(n_rows):
            for k in range(n_columns):
                total[k] += deltas[i, k]
        at = layers.intercepts[layer]
        _descend(plan, rate, state, at, n_columns, total, unpenalised, weight)
    return squares


@jit
def _loss_of(theta, plan, rows, batch, work):
    """Run a batch forward; return its summed loss, and leave the output's deltas in place."""
    layers, objective = plan.layers, plan.objective
    output = _forward(theta, layers, rows, batch, objective.dropout, work)
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
def train_batches(state, n_steps, rows, order, first, last, plan, seed, work):
    """Go through an epoch or a piece of it, a step of descent after every batch.

    Parameters
    ----------
    state : State
        Modified in place.
    n_steps : int
        Steps taken before.
    rows : Rows
    order : array of int (n_samples,) or (0,)
        The rows of the epoch, in their order; empty for all in the order they are in.
    first, last : int
        Where in the epoch to begin and to end.
    plan : Plan
    seed : uint64
        Of dropout.
    work : Workspace
        Its capacity is the size of a batch.

    Returns
    -------
    loss, penalty : float
        Sums over the rows of their batches' mean losses and penalties before the steps.
    n_steps : int

    Notes
    -----
    About ``6 n_samples n_coefs`` flops, and a pass over all parameters for every batch. A
    batch whose rows have no weight is passed over.
    """
    batch_size = len(work.rows)
    state, rows, work, rule = untracked(state), untracked(rows), untracked(work), plan.rule
    n_hidden = plan.layers.widths[1:-1].sum()  # of all layers: places for a row's dropout
    losses = penalties = 0.0
    for start in range(first, last, batch_size):
        stop = min(start + batch_size, last)
        batch = _pick(rows, order, start, stop, seed, start * n_hidden, work)
        total = _loss_of(state.theta, plan, rows, batch, work)
        weight = 0.0
        for i in range(batch.n_rows):
            weight += batch.weights[i]
        if weight <= 0.0:
            continue
        n_steps += 1
        rate = rule.rate
        if rule.kind == ADAM:
            correction = math.sqrt(1.0 - rule.beta_2**n_steps) / (1.0 - rule.beta_1**n_steps)
            rate = rule.rate * correction
        squares = _backward(plan, rate, state, rows, batch, weight, work)
        losses += total / weight * batch.n_rows
        penalties += 0.5 * plan.objective.alpha * squares / weight * batch.n_rows
    return losses, penalties, n_steps


@jit
def add_loss_gradient(state, rows, plan, work):
    """Return the summed loss of all rows, without penalty; add up its gradient.

    Parameters
    ----------
    state : State
        ``theta`` is read; ``first`` is added onto.
    rows : Rows
        They go through in blocks of the workspace's capacity.
    plan : Plan
        Its rule is SUM.
    work : Workspace

    Returns
    -------
    total : float
    """
    n_samples, capacity = len(rows.weights), len(work.rows)
    state, rows, work, rate = untracked(state), untracked(rows), untracked(work), plan.rule.rate
    order, seed = vector(work.rows, 0, 0), np.uint64(0)
    total, weight = 0.0, 1.0
    for start in range(0, n_samples, capacity):
        stop = min(start + capacity, n_samples)
        batch = _pick(rows, order, start, stop, seed, start, work)
        total += _loss_of(state.theta, plan, rows, batch, work)
        _backward(plan, rate, state, rows, batch, weight, work)
    return total


@jit
def fill_outputs(theta, rows, plan, work, outputs):
    """Run all rows forward.

    Parameters
    ----------
    theta : array (n_parameters,)
    rows, plan, work
        As in `add_loss_gradient`; targets and weights are not read.
    outputs : array (n_samples, n_outputs)
        Overwritten.
    """
    (n_samples, n_outputs), capacity = outputs.shape, len(work.rows)
    rows, work = untracked(rows), untracked(work)
    order, seed, keep_all = vector(work.rows, 0, 0), np.uint64(0), 0.0
    for start in range(0, n_samples, capacity):
        stop = min(start + capacity, n_samples)
        batch = _pick(rows, order, start, stop, seed, start, work)
        values = _forward(theta, plan.layers, rows, batch, keep_all, work)
        for i in range(stop - start):
            for k in range(n_outputs):
                outputs[start + i, k] = values[i, k]
