"""The public E-step: parameters, rows and their targets in, expectations out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.engines.auto import resolve_engine
from fastem.engines.base import Engine
from fastem.expectations import Expectations
from fastem.families import Categorical, Family, resolve_family
from fastem.parameters import CATEGORICAL, NO_VARIANCE, Array, Shape
from fastem.rows import LARGEST_WEIGHT, sort_rows
from fastem.runtime import effective_n_jobs, finite_array

SMALLEST_VARIANCE = 1e-100
"""Smallest noise variance: the square of its reciprocal is finite."""


def e_step(
    X: ArrayLike,
    y: ArrayLike,
    coefs: list[ArrayLike],
    intercepts: list[ArrayLike],
    *,
    family: str | Family = "categorical",
    variance: ArrayLike | None = None,
    method: str | Engine = "auto",
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Expectations:
    """Compute the marginal log-likelihood, its gradient, and the hidden posterior.

    ``log p(y|x) = log sum_s prod_h P(Z_h = s_h | x) p(y | s)``

    Parameters
    ----------
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
        Class indices ``0, ..., n_classes - 1``, with shape (n_samples,), for "categorical"; 0 and 1
        for every label; numbers; or counts.
    coefs : [W (n_features, n_hidden), ..., V (n_hidden, n_outputs)]
        Weights into hidden units, in log-odds per unit of input, then weights into the outputs, in
        natural parameters per unit. Shaped as in scikit-learn's MLP: one array into every hidden
        layer, and one into the outputs.
    intercepts : [b (n_hidden,), ..., c (n_outputs,)]
        Log-odds of hidden units; natural parameters of outputs (logits of classes and labels,
        means of numbers, log-rates of counts).
    family : {"categorical", "bernoulli", "gaussian", "poisson"} or Family
        Distribution of the outputs given the hidden states: one class, several labels, numbers or
        counts. An instance can be your own family: see `fastem.IndependentOutputs`.
    variance : array-like (n_outputs,), optional
        Noise variance of every output, in the squared unit of y. A number for a single output.
        Required for "gaussian". The other families do not use it.
    method : {"auto", "enumeration", "quadrature", "sampling"} or engine instance
        "auto" selects the cheapest exact engine, or sampling if no exact engine is affordable.
        An instance can be your own engine: see `fastem.Engine`.
    sample_weight : array-like (n_samples,), optional
        Nonnegative weights of the rows in the gradients.
    n_jobs : int, optional
        Number of threads; None for all cores. Results do not depend on it, to the bit.
    random_state : int or RandomState, optional
        Seed of `Sampling`, if the engine has no seed of its own. Exact engines ignore it.

    Returns
    -------
    expectations : Expectations
        Log-likelihood per row (nats), hidden posterior (probability), gradients of the
        weighted total log-likelihood, also with respect to the noise variances if there are any.
        With `Sampling` all of them are estimates, from different samples for every row.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, y is impossible under the family, a variance
        is missing or too small, a weight is negative, the engine does not support the network, or
        the problem does not fit into memory.
    FloatingPointError
        If inputs times weights or squared residuals overflow.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling, or the effective sample size is low: see `Sampling`.

    Notes
    -----
    Enumeration costs ``6 n 2**m`` flops in matrix products for m units in the first hidden layer,
    plus ``8 g 2**(m + m_above)`` for each pair of neighbouring hidden layers.

    With ``u`` the prior and ``q`` the posterior probability of a unit, ``R_k(s)`` the
    expected weight of class k in configuration s, ``R(s)`` their sum over classes, and
    ``o_k(s) = P(Y = k | s)``, the gradients are ``dL/dW = X' (w (q - u))`` (eq. 12) and
    ``dL/dV_k = sum_s s (R_k(s) - R(s) o_k(s))`` (eq. 15). The rows of a further hidden layer are
    the configurations of the layer below it, with weights ``R(s)``. For the other families,
    ``dL/dV_d = (sum_i w_i q_i y_id - sum_s R(s) s E[Y_d | s]) / variance_d``, without the division
    if there is no noise variance.

    References
    ----------
    Slides "EM Algorithm to Train Neural Networks", eqs. 12 and 15, after Ng and McLachlan
    (2004), Using the EM algorithm to train neural networks, IEEE Transactions on Neural
    Networks 15(3).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
    >>> W, V = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])
    >>> result = fastem.e_step(X, y, [W, V], [np.zeros(2), np.zeros(2)])
    >>> result.log_likelihood.round(4)
    array([-0.3122, -1.8944])
    >>> result.hidden_posterior.shape
    (2, 2)
    """
    X = finite_array("X", X, 2)
    family = resolve_family(family)
    if variance is not None and np.ndim(variance) == 0:
        variance = [variance]
    coefs, intercepts = check_parameters(coefs, intercepts, X.shape[1], family, variance)
    shape = shape_of(coefs, family)
    targets = _check_targets(y, len(X), shape)
    weights = _check_weights(sample_weight, len(X))
    rows = sort_rows(X, targets, weights, shape)
    engine = resolve_engine(method, "method", shape, len(X)).seeded(random_state)
    plan = engine.plan(rows, shape, effective_n_jobs(n_jobs))
    variance = np.asarray(variance, dtype=np.float64) if family.has_variance else NO_VARIANCE
    statistics = plan.expect(shape.from_lists(coefs, intercepts, variance))
    effective = statistics.effective_sample_size
    if effective is not None:
        effective = _unsorted(effective, rows.order)
        if len(effective) > 0:
            engine.warn_if_noisy(float(np.median(effective)))
    gradients = [*(layer.gradient for layer in statistics.hidden), statistics.output_gradient]
    return Expectations(
        _unsorted(statistics.log_likelihood, rows.order),
        _unsorted(statistics.hidden[0].posterior.T, rows.order),
        [gradient[:-1].copy() for gradient in gradients],
        [gradient[-1].copy() for gradient in gradients],
        effective,
        statistics.variance_gradient(variance) if family.has_variance else None,
    )


def _unsorted(values: Array, order: NDArray[np.int64]) -> Array:
    """Return a copy of values of sorted rows, in the original order of the rows."""
    out = np.empty(values.shape)
    out[order] = values
    return out


def check_parameters(
    coefs: list[ArrayLike],
    intercepts: list[ArrayLike],
    n_features: int,
    family: Family = CATEGORICAL,
    variance: ArrayLike | None = None,
) -> tuple[list[Array], list[Array]]:
    """Return finite arrays of matching shapes.

    Parameters
    ----------
    coefs : list of array-like
        Shapes (n_units_below, n_units), the first layer first; see `e_step`.
    intercepts : list of array-like
        Shapes (n_units,).
    n_features : int
    family : Family, default=Categorical()
    variance : array-like (n_outputs,), optional

    Returns
    -------
    coefs, intercepts : lists of float64 arrays

    Raises
    ------
    ValueError
        If an array is not finite or does not match the others; the message names it.
    """
    for name, values in (("coefs", coefs), ("intercepts", intercepts)):
        if not isinstance(values, (list, tuple)) or len(values) < 2:
            raise ValueError(
                f"{name} must be a list of two arrays for one hidden layer, plus one array for "
                "each further hidden layer."
            )
    if len(coefs) != len(intercepts):
        raise ValueError(
            f"coefs and intercepts must have the same length, got {len(coefs)} and "
            f"{len(intercepts)}."
        )
    weights = [finite_array(f"coefs[{i}]", values, 2) for i, values in enumerate(coefs)]
    offsets = [finite_array(f"intercepts[{i}]", values, 1) for i, values in enumerate(intercepts)]
    n_above = [W.shape[0] for W in weights[1:]] + [weights[-1].shape[1]]
    n_inputs = n_features
    for i, (W, b, n_units) in enumerate(zip(weights, offsets, n_above, strict=True)):
        for name, got, wanted in (
            (f"coefs[{i}]", W.shape, (n_inputs, n_units)),
            (f"intercepts[{i}]", b.shape, (n_units,)),
        ):
            if got != wanted:
                raise ValueError(
                    f"{name} must have shape {wanted} for X with {n_features} features and coefs "
                    f"of shapes {[W.shape for W in weights]}, got {got}."
                )
        if n_units < 1:
            raise ValueError(f"coefs[{i}] has shape {W.shape}: a layer needs at least one unit.")
        n_inputs = n_units
    if n_inputs < 2 and isinstance(family, Categorical):
        raise ValueError(
            f"coefs[{len(coefs) - 1}] has shape {W.shape}: at least two classes are needed."
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(np.abs(W).sum() + np.abs(b).sum()):
            i = len(coefs) - 1
            raise ValueError(f"coefs[{i}] and intercepts[{i}] are so large that outputs overflow.")
    if family.has_variance:
        _check_variance(variance, n_inputs)
    return weights, offsets


def shape_of(coefs: list[Array], family: Family = CATEGORICAL) -> Shape:
    """Return the shape of a network with the given coefs, and with intercepts."""
    sizes = tuple(len(above) for above in coefs[1:])
    return Shape(len(coefs[0]), sizes, coefs[-1].shape[1], fit_intercept=True, family=family)


def _check_variance(variance: ArrayLike | None, n_outputs: int) -> None:
    if variance is None:
        raise ValueError("variance is missing: pass the noise variance of every output.")
    values = finite_array("variance", variance, 1)
    if values.shape != (n_outputs,):
        raise ValueError(
            f"variance must have shape ({n_outputs},), one value per output, got {values.shape}."
        )
    if not values.min() >= SMALLEST_VARIANCE:
        raise ValueError(f"variance must be at least {SMALLEST_VARIANCE:g}, got {values.min():g}.")


def _check_targets(y: ArrayLike, n_samples: int, shape: Shape) -> np.ndarray:
    """Return class indices (n_samples,) or values (n_samples, n_outputs)."""
    targets = shape.family.targets(y)
    wanted = (n_samples,) if shape.has_classes else (n_samples, shape.n_outputs)
    if targets.shape != wanted:
        if wanted[1:] == (1,) or shape.has_classes:
            wanted, targets = wanted[:1], np.asarray(y)
        raise ValueError(f"y must have shape {wanted}, got {targets.shape}.")
    if (
        shape.has_classes
        and n_samples
        and not 0 <= targets.min() <= targets.max() < shape.n_outputs
    ):
        raise ValueError(
            f"y must hold class indices from 0 to {shape.n_outputs - 1}, "
            f"got {targets.min()} to {targets.max()}."
        )
    return targets


def _check_weights(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    if sample_weight is None:
        return np.ones(n_samples)
    weights = finite_array("sample_weight", sample_weight, 1)
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight must have shape ({n_samples},), got {weights.shape}.")
    if weights.size and weights.min() < 0.0:
        raise ValueError(f"sample_weight must not be negative, got {weights.min()}.")
    if weights.size and weights.max() > LARGEST_WEIGHT:
        raise ValueError(f"sample_weight must not exceed {LARGEST_WEIGHT:g}; rescale it.")
    return weights
