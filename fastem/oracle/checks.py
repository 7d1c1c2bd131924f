"""Checks of what a caller passes to an E-step: parameters, targets and weights."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.expectations import Expectations
from fastem.families import Categorical, Family
from fastem.parameters import CATEGORICAL, Array, ArrayLikes, Shape
from fastem.rows import LARGEST_WEIGHT
from fastem.runtime import finite_array, real_array

SMALLEST_VARIANCE = 1e-100
"""Smallest noise variance: the square of its reciprocal is finite."""


def check_sizes(hidden_layer_sizes: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes of the hidden layers as a tuple of positive integers.

    Raises
    ------
    ValueError
        If there is no layer, or a size is not a positive integer.
    """
    given = hidden_layer_sizes
    sizes = (given,) if isinstance(given, numbers.Integral) else given
    if not isinstance(sizes, (tuple, list)) or len(sizes) == 0:
        raise ValueError(
            f"hidden_layer_sizes must be an integer or a tuple of integers, got {given!r}."
        )
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"hidden_layer_sizes must be positive integers, got {given!r}.")
    return tuple(int(size) for size in sizes)


def check_outputs(targets: np.ndarray, family: Family, n_classes: int | None) -> int:
    """Return the number of outputs: of classes, or of columns of y.

    Parameters
    ----------
    targets : array (n_samples,) or (n_samples, n_outputs)
        From `Family.targets`.
    family : Family
    n_classes : int or None

    Raises
    ------
    ValueError
        If ``n_classes`` is not an integer of at least 2, or is given for a family without classes.
    """
    if not isinstance(family, Categorical):
        if n_classes is not None:
            raise ValueError(f"n_classes needs family='categorical', got family={family.name!r}.")
        return targets.shape[1]
    if n_classes is None:
        return max(int(targets.max(initial=0)) + 1, 2)
    if isinstance(n_classes, bool) or not isinstance(n_classes, numbers.Integral) or n_classes < 2:
        raise ValueError(f"n_classes must be an integer of at least 2, got {n_classes!r}.")
    return int(n_classes)


def as_vector(variance: ArrayLike | None) -> Array | None:
    """Return noise variances with one dimension: a number is the variance of a single output."""
    return None if variance is None else np.atleast_1d(real_array("variance", variance))


def check_parameters(
    coefs: ArrayLikes,
    intercepts: ArrayLikes,
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


def check_shapes(coefs: list[Array], shape: Shape) -> None:
    """Check that checked weights belong to a network of a given shape.

    Raises
    ------
    ValueError
        If they do not.
    """
    if shape_of(coefs, shape.family) != shape:
        raise ValueError(
            "coefs must have the shapes of the network that the E-step was prepared for: "
            f"hidden_layer_sizes={shape.hidden_layer_sizes} and {shape.n_outputs} outputs; "
            f"got {[W.shape for W in coefs]}."
        )


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


def check_targets(y: ArrayLike, n_samples: int, shape: Shape) -> np.ndarray:
    """Return class indices (n_samples,) or values (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If y has another shape, or a value is impossible under the family.
    """
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


def check_weights(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    """Return the weights of the rows, (n_samples,); ones by default.

    Raises
    ------
    ValueError
        If the shape is wrong, or a weight is negative, too large or not finite.
    """
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


def check_out(out: Expectations, wanted: Expectations) -> None:
    """Check that a result has arrays of the same forms as another.

    Raises
    ------
    ValueError
        If it has other arrays.
    """
    if not isinstance(out, Expectations):
        raise ValueError(f"out must be a result of the same E-step, got {type(out).__name__}.")
    forms, wanted_forms = _forms(out), _forms(wanted)
    if forms != wanted_forms:
        shapes, wanted_shapes = (
            [form and form[0] for form in found] for found in (forms, wanted_forms)
        )
        raise ValueError(
            "out must be a result of the same E-step: writeable float64 arrays of shapes "
            f"{wanted_shapes}, and hidden_posterior is the transpose of an array in C order; got "
            f"shapes {shapes}."
        )


def _forms(result: Expectations) -> list[tuple[Any, ...] | None]:
    """Return the shapes, layouts and types of all arrays of a result."""
    gradients = [*result.coef_gradients, *result.intercept_gradients]
    arrays = [result.log_likelihood, result.hidden_posterior, *gradients, *result[4:]]
    return [
        None if x is None else (x.shape, x.T.flags.c_contiguous, x.dtype, x.flags.writeable)
        for x in arrays
    ]
