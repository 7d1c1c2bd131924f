"""The exact log-likelihood as a differentiable function in JAX.

JAX is imported when the function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastem.engines import Engine
from fastem.families import Family
from fastem.oracle import Point, RowLikelihood

if TYPE_CHECKING:
    import jax
    from numpy.typing import ArrayLike

__all__ = ["log_likelihood"]


def log_likelihood(
    X: ArrayLike,
    y: ArrayLike,
    coefs: Sequence[ArrayLike],
    intercepts: Sequence[ArrayLike],
    variance: ArrayLike | None = None,
    *,
    family: str | Family = "categorical",
    method: str | Engine = "auto",
    n_jobs: int | None = None,
) -> jax.Array:
    """Return the exact ``log p(y_i | x_i)`` of every row, differentiable in JAX.

    It can be used inside ``jax.jit``, ``jax.grad``, ``jax.vmap`` and their combinations.

    Parameters
    ----------
    X : array-like (n_samples, n_features)
        Inputs. They can be the output of other layers.
    y, coefs, intercepts, variance, family, method, n_jobs
        As for `fastem.e_step`.

    Returns
    -------
    log_likelihood : array (n_samples,), nats
        Differentiable with respect to X, coefs, intercepts and variance; y is a constant. It has
        JAX's common floating-point type of these arrays. It is computed in float64.

    Raises
    ------
    ImportError
        If JAX is not installed.
    ValueError
        If a shape or a type does not match, or the engine does not support the network.
    jax.errors.JaxRuntimeError
        In a compiled function, in place of any other error of `fastem.e_step`, which its message
        contains. Without compilation, the error itself.
    TypeError, ValueError
        For forward-mode and second derivatives. Only first derivatives in reverse mode are
        available.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling, or the effective sample size is low: see
        `fastem.Sampling`.

    Notes
    -----
    The E-step runs on the CPU, by ``jax.pure_callback``. Arrays on other devices are copied. The
    first E-step of a compiled function allocates memory, which later E-steps of this function use.
    ``jax.vmap`` runs one E-step after the other.

    The forward pass is one E-step, which returns the gradients too. The backward pass needs no
    E-step if the loss weights all rows equally, as a mean or a sum does. Otherwise it takes one
    E-step, or two if the weights of rows have both signs.

    Examples
    --------
    >>> import jax, fastem
    >>> import numpy as np
    >>> import jax.numpy as jnp
    >>> X, y = jnp.array([[0.0], [1.0]]), jnp.array([0, 1])
    >>> W, V = jnp.array([[2.0, -1.0]]), jnp.array([[1.0, -1.0], [0.5, 0.0]])
    >>> def loss(coefs, intercepts):
    ...     return -fastem.jax.log_likelihood(X, y, coefs, intercepts).mean()
    >>> into_coefs, into_intercepts = jax.jit(jax.grad(loss, (0, 1)))([W, V], [jnp.zeros(2)] * 2)
    >>> np.asarray(into_coefs[0]).round(4)
    array([[0.1255, 0.0345]], dtype=float32)
    """
    import jax
    import jax.numpy as jnp

    rows = RowLikelihood(family, method, n_jobs)
    if not rows.family.has_variance:
        variance = None
    X, y = jnp.asarray(X), jnp.asarray(y)  # a list is one array, not a tree of numbers
    coefs, intercepts = (
        [jnp.asarray(own) for own in layers] if isinstance(layers, (list, tuple)) else layers
        for layers in (coefs, intercepts)
    )
    variance = None if variance is None else jnp.asarray(variance)
    point = Point(*jax.tree.map(jnp.asarray, (X, y, coefs, intercepts, variance)))
    rows.check(Point(*jax.tree.map(_known, tuple(point))))
    counts = len(coefs), len(intercepts)
    X, y, *parameters = jax.tree.leaves(point)
    if variance is not None:
        parameters[-1] = jnp.atleast_1d(parameters[-1])
    dtype = jnp.result_type(float, X, *parameters)
    parameters = [values.astype(dtype) for values in parameters]
    return _function(rows, counts, dtype)(X.astype(dtype), y, parameters)


def _known(values: jax.Array) -> np.ndarray:
    """Return values, or ones of the same shape and type where values are not known yet.

    Ones are possible values of every argument, so that a check finds wrong shapes and types.
    """
    import jax

    is_traced = isinstance(values, jax.core.Tracer)
    return np.ones(values.shape, values.dtype) if is_traced else np.asarray(values)


def _function(rows: RowLikelihood, counts: tuple[int, int], dtype: Any) -> Callable[..., Any]:
    """Return the log-likelihood as a function of X, y and a list of parameters, with its rule."""
    import jax

    def call(callback: Callable[..., Any], like: Any, *arguments: Any) -> Any:
        """Call a function of arrays; its results have the shapes of ``like``."""
        shapes = jax.tree.map(lambda values: jax.ShapeDtypeStruct(values.shape, dtype), like)

        def in_float64(*arguments: Any) -> Any:
            results = callback(*jax.tree.map(np.asarray, arguments))
            return jax.tree.map(lambda values: values.astype(dtype), results)

        return jax.pure_callback(in_float64, shapes, *arguments, vmap_method="sequential")

    def evaluate(X: Any, y: Any, parameters: Any) -> tuple[Any, ...]:
        point = _point(counts, X, y, parameters)
        log_likelihood, posterior, gradients = rows.evaluate(point)
        return log_likelihood, rows.input_gradient(point, posterior), gradients

    def weighted(weights: Any, gradients: Any, X: Any, y: Any, parameters: Any) -> list[Any]:
        return rows.weighted_gradients(_point(counts, X, y, parameters), weights, gradients)

    @jax.custom_vjp
    def log_likelihood(X: Any, y: Any, parameters: Any) -> jax.Array:
        return forward(X, y, parameters)[0]

    def forward(X: Any, y: Any, parameters: Any) -> tuple[Any, ...]:
        like = X[:, 0], X, parameters
        log_likelihood, into_X, gradients = call(evaluate, like, X, y, parameters)
        return log_likelihood, (into_X, gradients, X, y, parameters)

    def backward(saved: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
        into_X, gradients, *arguments = saved
        found = call(weighted, gradients, weights, gradients, *arguments)
        return weights[:, None] * into_X, None, found

    log_likelihood.defvjp(forward, backward)
    return log_likelihood


def _point(counts: tuple[int, int], X: Any, y: Any, parameters: list[Any]) -> Point:
    """Return the arguments as arrays of float64; y as it is."""
    n_coefs, n_weights = counts[0], sum(counts)
    X, *values = (np.asarray(values, dtype=np.float64) for values in (X, *parameters))
    variance = values[-1] if len(values) > n_weights else None
    return Point(X, y, values[:n_coefs], values[n_coefs:n_weights], variance)
