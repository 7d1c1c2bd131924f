"""Checks of what a user passes to an estimator: name, value and remedy in every message."""

import numbers
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from fastem.engines import Engine
from fastem.m_step import M_STEPS
from fastem.parameters import Array, Shape
from fastem.rows import LARGEST_WEIGHT
from fastem.solvers import Monitor

_CHOICES = {
    "m_step": tuple(M_STEPS),
    "solver": ("em", "lbfgs", "adam"),
    "prediction": ("marginal", "plugin"),
}
# What learning_rate_init="auto" stands for. A step of Adam is about as long as its rate; the
# gradient M-step multiplies a sum over rows. With 0.05 Adam ends within 7 % of EM's loss
# on iris, wine and breast cancer, mostly within 3 %; with 0.005 at twice that loss on two of them.
_LEARNING_RATES = {"adam": 0.05, "em": 0.005, "lbfgs": 0.005}
_BATCH_SIZE = 200  # what batch_size="auto" stands for
# Squares of features, summed over rows, must stay finite.
_LARGEST_RAW_FEATURE = 1e140


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))


def check_hyperparameters(estimator: Any) -> tuple[int, ...]:
    """Check the constructor's parameters; return the units of every hidden layer.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    for name, choices in _CHOICES.items():
        value = getattr(estimator, name)
        if value not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
    for name in ("accelerate", "fit_intercept", "standardize", "warm_start"):
        value = getattr(estimator, name)
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} must be True or False, got {value!r}.")
    for name, lowest, included in (
        ("alpha", 0.0, True), ("tol", 0.0, True), ("learning_rate_init", 0.0, False),
    ):  # fmt: skip
        value = getattr(estimator, name)
        if name == "learning_rate_init" and isinstance(value, str) and value == "auto":
            continue
        inside = _is_number(value, numbers.Real) and np.isfinite(value)
        if not inside or value < lowest or (value == lowest and not included):
            sign = ">=" if included else ">"
            auto = "'auto' or " if name == "learning_rate_init" else ""
            raise ValueError(
                f"{name} must be {auto}a finite number {sign} {lowest:g}, got {value!r}."
            )
    for name, lowest in (("max_iter", 1), ("n_init", 1), ("verbose", 0), ("batch_size", 1)):
        value = getattr(estimator, name)
        if isinstance(value, (bool, np.bool_)) and name == "verbose":
            continue
        if isinstance(value, str) and value == "auto" and name == "batch_size":
            continue
        if not _is_number(value, numbers.Integral) or value < lowest:
            auto = "'auto' or " if name == "batch_size" else ""
            raise ValueError(f"{name} must be {auto}an integer >= {lowest}, got {value!r}.")
    return _check_hidden_layer_sizes(estimator.hidden_layer_sizes)


def _check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    layers = [sizes] if _is_number(sizes, numbers.Integral) else sizes
    try:
        layers = list(layers)
    except TypeError:
        layers = None
    if not layers or not all(_is_number(m, numbers.Integral) for m in layers):
        raise ValueError(
            "hidden_layer_sizes must be a tuple of integers such as (10,) or (12, 8), "
            f"got {sizes!r}."
        )
    if min(layers) < 1:
        raise ValueError(f"hidden_layer_sizes must be positive, got {sizes!r}.")
    return tuple(int(m) for m in layers)


def learning_rate(estimator: Any) -> float:
    """Return the checked parameter `learning_rate_init` as a number."""
    rate = estimator.learning_rate_init
    return _LEARNING_RATES[estimator.solver] if isinstance(rate, str) else float(rate)


def check_solver(solver: str, engine: Engine) -> None:
    """Check that the solver can use what the engine gives.

    Raises
    ------
    ValueError
        If a line search would be led by estimates.
    """
    if solver == "lbfgs" and not engine.is_exact:
        raise ValueError(
            f"solver='lbfgs' needs exact E-steps, and e_step={engine.name!r} gives estimates. Use "
            "solver='em' or 'adam', or an exact engine: fastem.Enumeration(), or for two or three "
            "classes fastem.Quadrature()."
        )


def rows_at_once(estimator: Any, n_samples: int) -> int:
    """Return how many rows an E-step of a fit looks at: all of them, or a mini-batch."""
    if estimator.solver != "adam":
        return n_samples
    return _BATCH_SIZE if isinstance(estimator.batch_size, str) else int(estimator.batch_size)


def class_indices(labels: np.ndarray, classes: np.ndarray, known_as: str) -> np.ndarray:
    """Return the place of every label in the sorted classes.

    Raises
    ------
    ValueError
        If a label is none of them; ``known_as`` says what it is not.
    """
    known = np.isin(labels, classes)
    if not known.all():
        unknown = sorted(set(labels[~known].tolist()), key=repr)
        raise ValueError(
            f"y holds labels that are not {known_as}: {unknown}. "
            f"The classes are {classes.tolist()}."
        )
    return np.searchsorted(classes, labels)


def check_weights_and_classes(weights: Array, labels: np.ndarray, classes: np.ndarray) -> None:
    """Check that some weight is on two classes at least.

    Raises
    ------
    ValueError
        If all weights are zero, one is too large, or there is one class only.
    """
    check_some_weight(weights)
    present = np.unique(labels[weights > 0.0])
    if len(present) < 2:
        raise ValueError(
            f"y has only one class, {classes[present].tolist()[0]!r} (in rows of positive weight); "
            "a classifier needs samples of at least two classes."
        )


def check_some_weight(weights: Array) -> None:
    """Check that some row has a weight, and none too large a one.

    Raises
    ------
    ValueError
        If not.
    """
    if not weights.any():
        raise ValueError("sample_weight is zero for every row; give some row a weight.")
    if weights.max() > LARGEST_WEIGHT:
        raise ValueError(f"sample_weight must not exceed {LARGEST_WEIGHT:g}; rescale it.")


def check_scale(X: Array) -> None:
    """Check that unscaled features are not so large that their squares overflow.

    Raises
    ------
    ValueError
        If they are.
    """
    largest = np.abs(X).max()
    if largest > _LARGEST_RAW_FEATURE:
        raise ValueError(
            f"X has values up to {largest:.3g}, too large to fit as they are; use standardize=True."
        )


def check_start(
    coefs: list[ArrayLike] | None, intercepts: list[ArrayLike] | None, shape: Shape
) -> tuple[list[Array] | None, list[Array] | None]:
    """Check `coefs_init` and `intercepts_init`; return them as float arrays.

    Raises
    ------
    ValueError
        If a shape is wrong or a value is not finite.
    """
    units = [shape.n_features, *shape.hidden_layer_sizes, shape.n_classes]
    wanted = {"coefs_init": list(pairwise(units)), "intercepts_init": [(m,) for m in units[1:]]}
    checked: list[list[Array] | None] = []
    for (name, shapes), given in zip(wanted.items(), (coefs, intercepts), strict=True):
        if given is None:
            checked.append(None)
            continue
        if not isinstance(given, (list, tuple)) or len(given) != len(shapes):
            got = f"{len(given)} of them" if isinstance(given, (list, tuple)) else repr(given)
            raise ValueError(f"{name} must be a list of {len(shapes)} arrays, got {got}.")
        try:
            arrays = [np.array(values, dtype=np.float64) for values in given]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must hold arrays of numbers: {error}") from error
        for i, (array, size) in enumerate(zip(arrays, shapes, strict=True)):
            if array.shape != size:
                raise ValueError(f"{name}[{i}] must have shape {size}, got {array.shape}.")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}[{i}] contains NaN or infinity.")
        checked.append(arrays)
    if checked[1] is not None and not shape.fit_intercept and any(b.any() for b in checked[1]):
        raise ValueError("intercepts_init must be zeros or None when fit_intercept=False.")
    return checked[0], checked[1]


def _going_on(estimator: Any) -> str:
    return "warm_start=True" if estimator.warm_start else "partial_fit"


def check_continuation(estimator: Any, classes: np.ndarray, sizes: tuple[int, ...]) -> None:
    """Check that a warm start or a stream meets the network that was fitted.

    Raises
    ------
    ValueError
        If classes or the numbers of hidden units have changed.
    """
    if not np.array_equal(classes, estimator.classes_):
        raise ValueError(
            f"warm_start=True needs the classes of the earlier fit, "
            f"{estimator.classes_.tolist()}, got {classes.tolist()}; use warm_start=False."
        )
    if not estimator.fit_intercept and any(b.any() for b in estimator.intercepts_):
        raise ValueError(
            f"{_going_on(estimator)} cannot go on without the intercepts of the earlier fit, got "
            "fit_intercept=False; use fit with warm_start=False."
        )
    fitted = tuple(len(b) for b in estimator.intercepts_[:-1])
    if sizes != fitted:
        raise ValueError(
            f"{_going_on(estimator)} needs the hidden units of the earlier fit, {fitted}, got "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}; use fit with warm_start=False."
        )


def check_finite(theta: Array) -> None:
    """Check that weights in the features' units can be represented.

    Raises
    ------
    ValueError
        If a weight overflowed.
    """
    if not np.isfinite(theta).all():
        raise ValueError("A weight overflows in the units of X; rescale the features of X.")


def warn_about(monitor: Monitor, max_iter: int) -> None:
    """Warn of a fit that did not end in convergence, with advice.

    Warns
    -----
    ConvergenceWarning
        If the fit was interrupted or did not converge.
    RuntimeWarning
        If the objective fell, which no step may cause.
    """
    if monitor.fell:
        warnings.warn(
            f"The penalised log-likelihood fell in iteration {monitor.n_iter + 1}, which is a "
            "fault in fastem and not convergence; the parameters before the fall are kept. "
            "Please report it.",
            RuntimeWarning,
            stacklevel=5,
        )
    elif monitor.interrupted or monitor.stopped:
        warnings.warn(
            f"The fit was interrupted after {monitor.n_iter} iterations; the best parameters "
            "so far are in place.",
            ConvergenceWarning,
            stacklevel=5,
        )
    elif not monitor.converged and monitor.n_iter < max_iter:
        warnings.warn(
            f"The fit stopped after {monitor.n_iter} iterations without convergence: no step "
            "led higher. Use solver='em', standardize=True, or other starting values.",
            ConvergenceWarning,
            stacklevel=5,
        )
    elif not monitor.converged:
        warnings.warn(
            f"The fit did not converge in {max_iter} iterations. Increase max_iter or tol, or "
            "increase alpha, which makes the optimum better determined.",
            ConvergenceWarning,
            stacklevel=5,
        )
