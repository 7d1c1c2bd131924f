"""The exact E-step in three matrix products: the form of `fastem.Enumeration` in other libraries.

The units are split into a low and a high half. ``A`` (high states, rows) and ``B`` (low states,
rows) hold the prior probabilities of the states of each half, and ``T`` (high, low) the probability
of one class. With the weights w and the likelihoods p of the rows of this class,

    M = B * (T' A)    p = column sums of M    posterior of the low units = Z_low' M / p
    N = A * (T B)                             posterior of the high units = Z_high' N / p
    C = A (B w / p)'                          expected weight of every state = C * T

``Z_low`` and ``Z_high`` are the states of each half as zeros and ones. Every ``prepare_*`` takes
labelled rows sorted by class, a network and a precision, does the work that a training loop does
once, and returns one E-step as a function without arguments.

NumPy and PyTorch write into memory that is allocated once, through views that are made once. Their
priors start from the state in which all units are off. Every unit doubles them: the entries with
the unit on are those with the unit off times ``exp(a)``, with a its log-odds. Log-odds whose sum
over a half exceeds the range of the precision are not supported. No version redoes rows of tiny
likelihood.

Slower on one thread, by minimum times: rows along the first axis (NumPy: up to 1.5 times); arrays
and views made anew in every E-step (NumPy: 1.1 to 1.3 times); autograd through the split (PyTorch:
1.4 to 4.7 times, ``value_and_grad`` in JAX: 1.1 to 1.5 times); ``torch.compile`` of this autograd
function (1.6 to 3 times, after 10 to 40 seconds of compilation); whole classes in place of tiles
(JAX with 10 000 rows and 16 units: 1.7 to 2.2 times).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from peer_arrays import EStep, Gradients, arrays_of, configurations, ranges_by_class
from problems import EStepProblem

# Rows of a tile with many units, whose priors fit into a cache, and with few units. Chosen by
# measurement. Threads of BLAS need large products.
_ROWS_OF_MANY_UNITS = {"numpy": 256, "torch": 256, "jax": 512}
_ROWS_OF_FEW_UNITS = 1024
_FEW_UNITS = 14
_ROWS_OF_SEVERAL_THREADS = {"numpy": 4096, "torch": 4096, "jax": 512}


def _rows_of_tiles(library: str, n_hidden: int, n_threads: int) -> int:
    if n_hidden > _FEW_UNITS and n_threads > 1:
        return _ROWS_OF_SEVERAL_THREADS[library]
    return _ROWS_OF_FEW_UNITS if n_hidden <= _FEW_UNITS else _ROWS_OF_MANY_UNITS[library]


class _Tile(NamedTuple):
    """Views of the memory for a range of rows; arrays of NumPy or of PyTorch."""

    A: Any
    B: Any
    M: Any
    N: Any
    doublings: list[tuple]  # (states with the unit off, exp(a), states with the unit on)
    off: tuple  # of the low and the high units
    posterior: tuple
    likelihood: Any
    weights: Any
    classes: list[tuple]  # (T', T, A, B, B', M, N, C, whether C has a sum already)


class _Memory(NamedTuple):
    """Arrays that all E-steps of a problem use."""

    T: Any
    C: Any
    odds: Any
    off: Any
    posterior: Any
    likelihood: Any
    tiles: list[_Tile]


def _allocate(problem: EStepProblem, weights: Any, size: int, empty: Callable[..., Any]) -> _Memory:
    """Allocate arrays by ``empty(*shape)``, and make the views of every tile of ``size`` rows."""
    starts, m, g = problem.rows.class_starts, problem.shape.first, problem.shape.n_outputs
    n, low = len(weights), m // 2
    T, C = empty(g, 2 ** (m - low), 2**low), empty(g, 2 ** (m - low), 2**low)
    odds, off, posterior, likelihood = empty(m, n), empty(m, n), empty(m, n), empty(n)
    size = min(n, size)
    halves = [empty(2**bits, size) for bits in (m - low, low, low, m - low)]
    C[:] = 0.0
    tiles, begun = [], set()
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        A, B, M, N = (array[:, : rows.stop - start] for array in halves)
        doublings = [
            (out[: 2**h], odds[first + h, rows], out[2**h : 2 ** (h + 1)])
            for out, first, n_units in ((B, 0, low), (A, low, m - low))
            for h in range(n_units)
        ]
        classes = []
        for k, part in ranges_by_class(starts, start, rows.stop, size):
            own = slice(part.start - start, part.stop - start)
            a, b = A[:, own], B[:, own]
            classes.append((T[k].T, T[k], a, b, b.T, M[:, own], N[:, own], C[k], k in begun))
            begun.add(k)
        both = [(array[:low, rows], array[low:, rows]) for array in (off, posterior)]
        of_rows = likelihood[rows], weights[rows]
        tiles.append(_Tile(A, B, M, N, doublings, *both, *of_rows, classes))
    return _Memory(T, C, odds, off, posterior, likelihood, tiles)


def _states(n_hidden: int, dtype: type) -> tuple[NDArray, NDArray, NDArray]:
    """Return the states of the low and high half, (units, states), and ones above the low ones."""
    low = n_hidden // 2
    Z_low, Z_high = (
        np.ascontiguousarray(configurations(n_units, dtype).T) for n_units in (low, n_hidden - low)
    )
    return Z_low, Z_high, np.concatenate([np.ones((1, 2**low), dtype), Z_low])


def prepare_numpy(problem: EStepProblem, dtype: type, n_threads: int = 1) -> EStep:
    """Prepare NumPy."""
    X, _, weights, W, b, V, c = arrays_of(problem, dtype)
    low = len(b) // 2
    Z_low, Z_high, ones_and_Z_low = _states(len(b), dtype)
    X_T, b = np.ascontiguousarray(X.T), b[:, None]
    T, C, odds, off, posterior, likelihood, tiles = _allocate(
        problem,
        weights,
        _rows_of_tiles("numpy", len(b), n_threads),
        lambda *shape: np.empty(shape, dtype),
    )

    def fill_tile(tile: _Tile) -> None:
        A, B, M, N = tile[:4]
        for out, off_half in zip((B, A), tile.off, strict=True):
            np.multiply.reduce(off_half, axis=0, out=out[0])
        for states_off, unit_odds, states_on in tile.doublings:
            np.multiply(states_off, unit_odds, out=states_on)
        for T_T, T_k, A_k, B_k, _, M_k, N_k, _, _ in tile.classes:
            np.matmul(T_T, A_k, out=M_k)
            np.matmul(T_k, B_k, out=N_k)
        np.multiply(M, B, out=M)
        np.multiply(N, A, out=N)
        sums = ones_and_Z_low @ M
        p = sums[0]
        tile.likelihood[:] = p
        np.divide(sums[1:], p, out=tile.posterior[0])
        np.divide(Z_high @ N, p, out=tile.posterior[1])
        np.multiply(B, tile.weights / p, out=B)
        for _, _, A_k, _, B_T, _, _, C_k, begun in tile.classes:
            if begun:
                C_k += A_k @ B_T
            else:
                np.matmul(A_k, B_T, out=C_k)

    def e_step() -> Gradients:
        high_part, low_part = np.exp(V[low:].T @ Z_high + c[:, None]), np.exp(V[:low].T @ Z_low)
        np.multiply(high_part[:, :, None], low_part[:, None, :], out=T)
        np.divide(T, T.sum(axis=0), out=T)
        a = W.T @ X_T
        a += b
        np.exp(a, out=odds)
        np.add(odds, 1.0, out=off)
        np.divide(1.0, off, out=off)
        for tile in tiles:
            fill_tile(tile)
        delta = posterior - odds * off
        delta *= weights
        residuals = C * T
        np.multiply(T, residuals.sum(axis=0), out=T)
        residuals -= T
        by_low, by_high = residuals.sum(axis=1), residuals.sum(axis=2)
        return Gradients(
            np.log(likelihood),
            X_T @ delta.T,
            delta.sum(axis=1),
            np.concatenate([Z_low @ by_low.T, Z_high @ by_high.T]),
            by_high.sum(axis=1),
        )

    return e_step


def prepare_torch(problem: EStepProblem, dtype: type, n_threads: int = 1) -> EStep:
    """Prepare PyTorch on the CPU, eager, with explicit formulas instead of autograd."""
    import torch

    X, _, weights, W, b, V, c = map(torch.as_tensor, arrays_of(problem, dtype))
    low = len(b) // 2
    Z_low, Z_high, ones_and_Z_low = map(torch.as_tensor, _states(len(b), dtype))
    X_T, b, c = X.T.contiguous(), b[:, None], c[:, None]
    T, C, odds, off, posterior, likelihood, tiles = _allocate(
        problem,
        weights,
        _rows_of_tiles("torch", len(b), n_threads),
        partial(torch.empty, dtype=X.dtype),
    )

    def fill_tile(tile: _Tile) -> None:
        A, B, M, N = tile[:4]
        for out, off_half in zip((B, A), tile.off, strict=True):
            torch.prod(off_half, 0, out=out[0])
        for states_off, unit_odds, states_on in tile.doublings:
            torch.mul(states_off, unit_odds, out=states_on)
        for T_T, T_k, A_k, B_k, _, M_k, N_k, _, _ in tile.classes:
            torch.mm(T_T, A_k, out=M_k)
            torch.mm(T_k, B_k, out=N_k)
        M.mul_(B)
        N.mul_(A)
        sums = ones_and_Z_low @ M
        p = sums[0]
        tile.likelihood.copy_(p)
        torch.div(sums[1:], p, out=tile.posterior[0])
        torch.div(Z_high @ N, p, out=tile.posterior[1])
        B.mul_(tile.weights / p)
        for _, _, A_k, _, B_T, _, _, C_k, begun in tile.classes:
            if begun:
                C_k.addmm_(A_k, B_T)
            else:
                torch.mm(A_k, B_T, out=C_k)

    @torch.inference_mode()
    def e_step() -> Gradients:
        high_part, low_part = torch.addmm(c, V[low:].T, Z_high).exp_(), (V[:low].T @ Z_low).exp_()
        torch.mul(high_part[:, :, None], low_part[:, None, :], out=T)
        T.div_(T.sum(0))
        torch.addmm(b, W.T, X_T, out=odds).exp_()
        torch.add(odds, 1.0, out=off).reciprocal_()
        for tile in tiles:
            fill_tile(tile)
        delta = posterior - odds * off
        delta.mul_(weights)
        residuals = C * T
        T.mul_(residuals.sum(0))
        residuals.sub_(T)
        by_low, by_high = residuals.sum(1), residuals.sum(2)
        dV = torch.cat([Z_low @ by_low.T, Z_high @ by_high.T])
        results = likelihood.log(), X_T @ delta.T, delta.sum(1), dV, by_high.sum(1)
        return Gradients(*(array.numpy() for array in results))

    return e_step


def prepare_jax(problem: EStepProblem, dtype: type, n_threads: int = 1) -> EStep:
    """Prepare JAX: one compiled function with explicit formulas, a scan over tiles per class."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    X, _, weights, *parameters = arrays_of(problem, dtype)
    parameters = tuple(map(jnp.asarray, parameters))
    n_hidden, n_classes = problem.shape.first, problem.shape.n_outputs
    low = n_hidden // 2
    Z_low, Z_high, _ = map(jnp.asarray, _states(n_hidden, dtype))
    classes = list(ranges_by_class(problem.rows.class_starts, 0, len(X), len(X)))
    size = _rows_of_tiles("jax", n_hidden, n_threads)

    def cut(rows):
        """Cut rows into tiles of equal size: rows of weight zero fill the last one."""
        n_rows = rows.stop - rows.start
        n_tiles = -(-n_rows // size)
        n_more = -n_rows % n_tiles
        X_own = np.pad(X[rows], ((0, n_more), (0, 0))).reshape(n_tiles, -1, X.shape[1])
        own_weights = np.pad(weights[rows], (0, n_more)).reshape(n_tiles, -1)
        return jnp.asarray(X_own), jnp.asarray(own_weights)

    tiles = [cut(rows) for _, rows in classes]

    def priors(on, off):
        states = jnp.ones((1, on.shape[1]), on.dtype)
        for h in range(len(on)):
            states = jnp.concatenate([states * off[h], states * on[h]])
        return states

    @jax.jit
    def log_likelihood_and_gradients(W, b, V, c, tiles):
        logits = (V[low:].T @ Z_high + c[:, None])[:, :, None] + (V[:low].T @ Z_low)[:, None, :]
        T = jax.nn.softmax(logits, axis=0)

        def add_tile(sums, tile, T):
            (C, dW, db), (X, weights) = sums, tile
            a = W.T @ X.T + b[:, None]
            on, off = jax.nn.sigmoid(a), jax.nn.sigmoid(-a)
            A, B = priors(on[low:], off[low:]), priors(on[:low], off[:low])
            M, N = (T.T @ A) * B, (T @ B) * A
            p = M.sum(axis=0)
            delta = weights * (jnp.concatenate([Z_low @ M, Z_high @ N]) / p - on)
            C += A @ (B * (weights / p)).T
            return (C, dW + X.T @ delta.T, db + delta.sum(axis=1)), jnp.log(p)

        log_p, counts = [], [jnp.zeros_like(T[0])] * n_classes
        dW, db = jnp.zeros_like(W), jnp.zeros_like(b)
        for (k, rows), own in zip(classes, tiles, strict=True):
            sums = counts[k], dW, db
            add = partial(add_tile, T=T[k])
            if len(own[0]) == 1:  # a scan over one tile is slower
                (C, dW, db), of_tiles = add(sums, (own[0][0], own[1][0]))
            else:
                (C, dW, db), of_tiles = jax.lax.scan(add, sums, own)
            counts[k] = C * T[k]
            log_p.append(of_tiles.ravel()[: rows.stop - rows.start])
        counts = jnp.stack(counts)
        residuals = counts - counts.sum(axis=0) * T
        by_low, by_high = residuals.sum(axis=1), residuals.sum(axis=2)
        dV = jnp.concatenate([Z_low @ by_low.T, Z_high @ by_high.T])
        return jnp.concatenate(log_p), dW, db, dV, by_high.sum(axis=1)

    def e_step() -> Gradients:
        return Gradients(*map(np.asarray, log_likelihood_and_gradients(*parameters, tiles)))

    return e_step
