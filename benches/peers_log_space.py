"""The exact E-step by log-sum-exp over all configurations: the form of textbooks.

Every ``prepare_*`` takes labelled rows, a network and a precision, does the work that a training
loop does once, and returns a function without arguments. This function is one E-step. As for
`Enumeration`, rows are sorted by class.

Except for the loops, all versions work in pieces of ``_ENTRIES`` rows times configurations. The
log-prior is ``a Z' - sum(softplus(a))``, one product. The output table and its derivatives are
computed once for all rows. Variants that were tried and not faster: a copy of the table per row,
larger pieces, and in JAX ``lax.map`` with recomputation over pieces or rows instead of ``lax.scan``
with summed gradients.
"""

import math
from collections.abc import Iterator

import numpy as np
from peer_arrays import EStep, Gradients, arrays_of, configurations, ranges_by_class
from problems import EStepProblem

# Rows times configurations in one piece; this limits the memory. Chosen by measurement.
_ENTRIES = {"numpy": 2**18, "torch": 2**19, "jax": 2**20}


def _pieces(problem: EStepProblem, entries: int) -> Iterator[tuple[int, slice]]:
    """Yield pairs of a class and a range of its rows that cover all rows."""
    rows = problem.rows
    size = max(entries // 2**problem.shape.first, 1)
    return ranges_by_class(rows.class_starts, 0, len(rows.weights), size)


def prepare_loops(problem: EStepProblem, dtype: type) -> EStep:
    """Prepare plain Python loops over rows, configurations, units and classes.

    Quantities that do not depend on the row, or not on the configuration, are computed once.
    Products of probabilities are sums of logarithms. Python computes in float64.
    """
    arrays = [array.tolist() for array in arrays_of(problem, dtype)]
    shape = problem.shape
    n_features, n_hidden, n_classes = shape.n_features, shape.first, shape.n_outputs
    features, units, classes = range(n_features), range(n_hidden), range(n_classes)
    states = [[s >> h & 1 for h in units] for s in range(2**n_hidden)]

    def log_sigmoid(a):
        return -math.log1p(math.exp(-a)) if a > 0 else a - math.log1p(math.exp(a))

    def log_sum_exp(terms):
        largest = max(terms)
        return largest + math.log(sum(math.exp(term - largest) for term in terms))

    def e_step() -> Gradients:
        X, y, weights, W, b, V, c = arrays
        log_likelihood = []
        dW, db = [[0.0] * n_hidden for _ in features], [0.0] * n_hidden
        dV, dc = [[0.0] * n_classes for _ in units], [0.0] * n_classes
        log_output = []
        for z in states:
            logits = [c[k] + sum(z[h] * V[h][k] for h in units) for k in classes]
            total = log_sum_exp(logits)
            log_output.append([logit - total for logit in logits])
        output = [[math.exp(log_o) for log_o in row] for row in log_output]

        for x, label, weight in zip(X, y, weights, strict=True):
            a = [b[h] + sum(x[j] * W[j][h] for j in features) for h in units]
            log_u = [(log_sigmoid(-a_h), log_sigmoid(a_h)) for a_h in a]
            log_joint = [
                sum(log_u[h][z[h]] for h in units) + log_o[label]
                for z, log_o in zip(states, log_output, strict=True)
            ]
            log_p = log_sum_exp(log_joint)
            log_likelihood.append(log_p)
            posterior = [0.0] * n_hidden
            for z, o, log_r in zip(states, output, log_joint, strict=True):
                r = weight * math.exp(log_r - log_p)
                for k in classes:
                    residual = r * ((k == label) - o[k])
                    dc[k] += residual
                    for h in units:
                        dV[h][k] += z[h] * residual
                for h in units:
                    posterior[h] += z[h] * r
            for h in units:
                delta = posterior[h] - weight * math.exp(log_u[h][1])
                db[h] += delta
                for j in features:
                    dW[j][h] += x[j] * delta
        return Gradients(*(np.array(values) for values in (log_likelihood, dW, db, dV, dc)))

    return e_step


def prepare_numpy(problem: EStepProblem, dtype: type) -> EStep:
    """Prepare vectorised NumPy with gradients derived by hand."""
    X, _, weights, W, b, V, c = arrays_of(problem, dtype)
    Z = configurations(problem.shape.first, dtype)
    Z_T = np.ascontiguousarray(Z.T)
    pieces = list(_pieces(problem, _ENTRIES["numpy"]))

    def e_step() -> Gradients:
        a = X @ W + b
        logits = V.T @ Z_T + c[:, None]
        log_output = logits - np.logaddexp.reduce(logits, axis=0)
        log_likelihood, posterior = np.empty(len(X), dtype), np.empty_like(a)
        counts = np.zeros_like(log_output)
        for k, rows in pieces:
            terms = a[rows] @ Z_T
            terms += log_output[k]
            largest = terms.max(axis=1)
            terms -= largest[:, None]
            np.exp(terms, out=terms)
            total = terms.sum(axis=1)
            log_likelihood[rows] = np.log(total) + largest
            posterior[rows] = terms @ Z / total[:, None]
            counts[k] += weights[rows] / total @ terms
        log_likelihood -= np.logaddexp(0.0, a).sum(axis=1)
        delta = weights[:, None] * (posterior - np.exp(-np.logaddexp(0.0, -a)))
        residuals = counts - counts.sum(axis=0) * np.exp(log_output)
        return Gradients(
            log_likelihood,
            X.T @ delta,
            delta.sum(axis=0),
            Z_T @ residuals.T,
            residuals.sum(axis=1),
        )

    return e_step


def prepare_torch(problem: EStepProblem, dtype: type) -> EStep:
    """Prepare PyTorch with autograd, eager, on the CPU.

    The backward pass of every piece follows its forward pass and ends at the output table. The
    backward pass of the table is the last. Therefore only one piece is in memory.
    """
    import torch

    X, _, weights, *parameters = map(torch.as_tensor, arrays_of(problem, dtype))
    Z = torch.as_tensor(configurations(problem.shape.first, dtype))
    Z_T = Z.T.contiguous()
    pieces = list(_pieces(problem, _ENTRIES["torch"]))

    def e_step() -> Gradients:
        W, b, V, c = leaves = [p.detach().requires_grad_() for p in parameters]
        log_output = torch.log_softmax(Z @ V + c, dim=1).T
        table = log_output.detach().contiguous().requires_grad_()
        log_likelihood = []
        for k, rows in pieces:
            a = X[rows] @ W + b
            log_terms = torch.addmm(table[k], a, Z_T)
            log_p = torch.logsumexp(log_terms, dim=1)
            log_p = log_p - torch.nn.functional.softplus(a).sum(dim=1)
            (weights[rows] @ log_p).backward()
            log_likelihood.append(log_p.detach())
        log_output.backward(table.grad)
        gradients = (leaf.grad.numpy() for leaf in leaves)
        return Gradients(torch.cat(log_likelihood).numpy(), *gradients)

    return e_step


def prepare_jax(problem: EStepProblem, dtype: type) -> EStep:
    """Prepare JAX: one compiled function, ``value_and_grad`` of a piece under ``lax.scan``."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    X, y, weights, *parameters = arrays_of(problem, dtype)
    n_samples, n_hidden = len(X), problem.shape.first
    Z = jnp.asarray(configurations(n_hidden, dtype))
    # pieces have equal size: rows of weight zero fill the last one
    n_pieces = -(-n_samples * 2**n_hidden // _ENTRIES["jax"])
    size = -(-n_samples // n_pieces)

    def cut(array):
        padding = [(0, n_pieces * size - n_samples)] + [(0, 0)] * (array.ndim - 1)
        return jnp.asarray(np.pad(array, padding).reshape(n_pieces, size, *array.shape[1:]))

    pieces = tuple(map(cut, (X, y, weights)))
    parameters = tuple(map(jnp.asarray, parameters))

    def fill_table(V, c):
        return jax.nn.log_softmax(Z @ V + c, axis=1).T

    def total(W, b, table, X, y, weights):
        a = X @ W + b
        log_p = jax.nn.logsumexp(a @ Z.T + table[y], axis=1) - jax.nn.softplus(a).sum(axis=1)
        return weights @ log_p, log_p

    @jax.jit
    def value_and_gradients(W, b, V, c, pieces):
        table, pull_back = jax.vjp(fill_table, V, c)
        of_piece = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)

        def add_piece(sums, piece):
            (_, log_p), gradients = of_piece(W, b, table, *piece)
            return jax.tree.map(jnp.add, sums, gradients), log_p

        zeros = tuple(map(jnp.zeros_like, (W, b, table)))
        (dW, db, d_table), log_p = jax.lax.scan(add_piece, zeros, pieces)
        return log_p.ravel()[:n_samples], dW, db, *pull_back(d_table)

    def e_step() -> Gradients:
        return Gradients(*map(np.asarray, value_and_gradients(*parameters, pieces)))

    return e_step
