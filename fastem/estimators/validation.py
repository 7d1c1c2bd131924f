"""Checks of data, starting values and warm starts, for both families of estimators.

Every message states name, value and remedy. Where scikit-learn's perceptrons raise the same
error, the words are theirs.
"""

from typing import Any

import numpy as np
from sklearn.utils.multiclass import unique_labels

from fastem.engines import Engine
from fastem.estimators.arguments import labels_of
from fastem.families import Family
from fastem.oracle import SMALLEST_VARIANCE
from fastem.parameters import Array
from fastem.perceptron import Layers
from fastem.runtime import finite_array, warn_user

# The square of a target, and the sum over rows of squared features, must be finite.
_LARGEST_TARGET = 1e150
_LARGEST_RAW_FEATURE = 1e140


def check_solver(solver: str, engine: Engine) -> None:
    """Check that the solver can use the E-steps of the engine.

    Raises
    ------
    ValueError
        If the solver is L-BFGS and the engine gives estimates. The line search needs exact values.
    """
    if solver == "lbfgs" and not engine.is_exact:
        raise ValueError(
            f"solver='lbfgs' needs exact E-steps, but e_step={engine.name!r} gives estimates. Use "
            "solver='em' or 'adam', or an exact engine: fastem.Enumeration(), or, for two or three "
            "classes or one Gaussian output, fastem.Quadrature()."
        )


# Starting values


def check_start(
    estimator: Any,
    coef_shapes: list[tuple[int, ...]],
    intercept_shapes: list[tuple[int, ...]],
    largest: float = np.inf,
) -> tuple[list[Array] | None, list[Array] | None]:
    """Return `coefs_init` and `intercepts_init` as lists of float64 arrays, or None.

    Parameters
    ----------
    estimator : estimator
    coef_shapes, intercept_shapes : lists of tuples
    largest : float, default=inf
        Largest permitted absolute value.

    Raises
    ------
    ValueError
        If a shape is wrong, or a value is not finite or too large.
    """
    coefs = _check_arrays("coefs_init", estimator.coefs_init, coef_shapes, largest)
    names = "intercepts_init", estimator.intercepts_init
    return coefs, _check_arrays(*names, intercept_shapes, largest)


def _check_arrays(
    name: str, given: Any, shapes: list[tuple[int, ...]], largest: float
) -> list[Array] | None:
    if given is None:
        return None
    if len(given) != len(shapes):
        raise ValueError(f"{name} must be a list of {len(shapes)} arrays, got {len(given)}.")
    arrays = []
    for i, (values, shape) in enumerate(zip(given, shapes, strict=True)):
        array = finite_array(f"{name}[{i}]", values)
        if array.shape != shape:
            raise ValueError(f"{name}[{i}] must have shape {shape}, got {array.shape}.")
        if np.abs(array).max(initial=0.0) > largest:
            found = np.abs(array).max()
            raise ValueError(f"{name}[{i}] has values up to {found:g}; use smaller ones.")
        arrays.append(array)
    return arrays


# Rows


def check_weights(weights: Array, largest: float) -> None:
    """Check that a row has positive weight, and that sums of weights are finite.

    Parameters
    ----------
    weights : array (n_samples,)
    largest : float
        Upper bound of the largest weight; its reciprocal is the lower bound.

    Raises
    ------
    ValueError
        If all weights are zero, one is negative, or the largest is out of range.
    """
    if not weights.any():
        raise ValueError(
            "sample_weight (times class_weight, if any) is zero for every row; give some row a "
            "weight."
        )
    if weights.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {weights.min():g}.")
    if not 1.0 / largest <= float(weights.max()) <= largest:
        raise ValueError(
            f"The largest sample_weight (times class_weight, if any) must be between "
            f"{1.0 / largest:g} and {largest:g}, got {weights.max():g}; rescale sample_weight."
        )


def check_two_classes(weights: Array, labels: np.ndarray, classes: np.ndarray) -> None:
    """Check that at least two classes have positive weight.

    Raises
    ------
    ValueError
        If at most one class has positive weight.
    """
    present = np.unique(labels[weights > 0.0])
    if len(present) < 2:
        raise ValueError(
            f"y has only one class, {classes[present].tolist()[0]!r} (in rows of positive weight); "
            "a classifier needs rows of at least two classes."
        )


def class_indices(labels: np.ndarray, classes: np.ndarray, source: str) -> np.ndarray:
    """Return the index of every label in the sorted classes.

    Raises
    ------
    ValueError
        If a label is not among the classes; ``source`` states where the classes come from.
    """
    known = np.isin(labels, classes)
    if not known.all():
        unknown = sorted(set(labels[~known].tolist()), key=repr)
        raise ValueError(
            f"y holds labels that are not {source}: {unknown}. The classes are {classes.tolist()}."
        )
    return np.searchsorted(classes, labels)


def announced_classes(estimator: Any, classes: Any) -> np.ndarray:
    """Return the sorted labels of a stream: those passed to `partial_fit`, or the earlier ones.

    Raises
    ------
    ValueError
        If the first call passes no classes, or a later call passes other classes.
    """
    is_first = not hasattr(estimator, "classes_")
    if classes is None:
        if is_first:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return estimator.classes_
    given, classes = classes, unique_labels(labels_of("classes", classes))
    if not is_first and not np.array_equal(estimator.classes_, classes):
        raise ValueError(
            f"`classes={given!r}` is not the same as on last call to partial_fit, was: "
            f"{estimator.classes_!r}"
        )
    return classes


def check_targets(targets: Array) -> None:
    """Check that squared targets are finite.

    Raises
    ------
    ValueError
        If a target is too large.
    """
    largest = np.abs(targets).max()
    if largest > _LARGEST_TARGET:
        raise ValueError(f"y has values up to {largest:g}, whose squares overflow; rescale y.")


def check_output_scale(values: Array, scale: Array, floor: float) -> None:
    """Check that the reciprocal of a noise variance, and its square, are finite.

    Parameters
    ----------
    values : array (n_samples, n_outputs), in the unit of y
        Rows of positive weight.
    scale : array (n_outputs,), in the unit of y
        Standard deviations of the outputs; 1 where they are not representable.
    floor : float
        Lower bound of noise variances as shares of the variances of y.

    Raises
    ------
    ValueError
        If an output varies too little.
    """
    # a standard deviation is at most the largest value
    bounds = np.where(np.ptp(values, axis=0) > 0.0, np.abs(values).max(axis=0), np.inf)
    smallest = np.minimum(scale, bounds).min(initial=np.inf)
    if smallest < np.sqrt(SMALLEST_VARIANCE / floor):
        raise ValueError(
            f"y has a column with a standard deviation of at most {smallest:g}; a noise variance "
            f"of variance_floor={floor:g} times its square is too small. Rescale y, or increase "
            "variance_floor."
        )


def warn_of_variance_at_floor(relative: Array, floor: float) -> None:
    """Warn if a noise variance has ended at its floor.

    Parameters
    ----------
    relative : array (n_outputs,)
        Noise variances as shares of the variances of y.
    floor : float

    Warns
    -----
    UserWarning
        With the remedy.
    """
    at_floor = np.flatnonzero(relative <= 1.001 * floor)
    if len(at_floor) > 0:
        warn_user(
            f"The noise variance of output {int(at_floor[0])} is at its lower bound, "
            f"variance_floor={floor:g} times the variance of y. Either x determines y, or the "
            "model concentrates on repeated values of y. Decrease variance_floor in the first "
            "case; use fewer hidden units, or increase alpha or variance_floor, in the second."
        )


def check_raw_features(largest: Array) -> None:
    """Check that sums of squares of features that are not standardised are finite.

    Parameters
    ----------
    largest : array (n_features,)
        Largest absolute value of every feature.

    Raises
    ------
    ValueError
        If a feature is too large.
    """
    if largest.max() > _LARGEST_RAW_FEATURE:
        raise ValueError(
            f"X has values up to {largest.max():.3g}, too large without standardisation; use "
            "standardize=True."
        )


# Warm starts and partial_fit


def _resuming(estimator: Any) -> str:
    return "warm_start=True" if estimator.warm_start else "partial_fit"


def how_to_start_anew(estimator: Any) -> str:
    """Return the remedy if the earlier training of a warm start or `partial_fit` cannot go on."""
    return "call fit with warm_start=False" if estimator.warm_start else "use a new estimator"


def check_same_classes(estimator: Any, classes: np.ndarray) -> None:
    """Check that a warm start has the classes of the earlier fit.

    Raises
    ------
    ValueError
        If the classes differ.
    """
    if not np.array_equal(classes, estimator.classes_):
        raise ValueError(
            f"warm_start=True needs the classes of the earlier fit, "
            f"{estimator.classes_.tolist()}, got {classes.tolist()}; use warm_start=False."
        )


def check_same_em_network(estimator: Any, sizes: tuple[int, ...], family: Family) -> None:
    """Check that training continues with the network of the earlier fit.

    Raises
    ------
    ValueError
        If intercepts, the numbers of hidden units, or the family of the outputs differ.
    """
    if family != estimator.family_:
        raise ValueError(
            f"{_resuming(estimator)} needs the outputs of the earlier fit, {estimator.family_}, "
            f"got y for {family}; {how_to_start_anew(estimator)}."
        )
    if not estimator.fit_intercept and any(b.any() for b in estimator.intercepts_):
        raise ValueError(
            f"{_resuming(estimator)} cannot drop the intercepts of the earlier fit, got "
            f"fit_intercept=False; {how_to_start_anew(estimator)}."
        )
    fitted = tuple(len(b) for b in estimator.intercepts_[:-1])
    if sizes != fitted:
        raise ValueError(
            f"{_resuming(estimator)} needs the hidden units of the earlier fit, {fitted}, got "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}; {how_to_start_anew(estimator)}."
        )


def check_same_mlp_network(estimator: Any, last: Layers, layers: Layers) -> None:
    """Check that training continues with the network of the earlier fit.

    Raises
    ------
    ValueError
        If layers or activations differ.
    """
    if not all(np.array_equal(now, before) for now, before in zip(layers, last, strict=True)):
        raise ValueError(
            f"warm_start and partial_fit need the network of the earlier fit, {last}. "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, activation="
            f"{estimator.activation!r}, loss and y require {layers}. Use warm_start=False or a new "
            "estimator."
        )
