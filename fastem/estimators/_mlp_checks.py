"""Checks of what a user passes to the multi-layer perceptrons, in scikit-learn's words."""

import numbers
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastem.parameters import Array
from fastem.perceptron import BLOCK, HIDDEN_ACTIVATIONS, Layers
from fastem.runtime import check_memory

LARGEST = {8: 1e100, 4: 1e12}
"""Of weights of rows, starting values and parameters, by the bytes of a number: products of a
few such stay finite."""
_LARGEST_TARGET = 1e150  # its square is finite
CLASSIFIER_LOSSES = ("log_loss", "squared_error")
REGRESSOR_LOSSES = ("squared_error", "poisson", "absolute_error")
_SOLVERS = ("lbfgs", "sgd", "adam")
_SCHEDULES = ("constant", "invscaling", "adaptive")


class _Wanted(NamedTuple):
    words: str
    holds: Callable[[Any], bool]


def _interval(kind: type, low: float, high: float = np.inf, closed: str = "[)") -> _Wanted:
    real = kind is numbers.Real
    low_word, high_word = (float(low), float(high)) if real else (low, high)
    words = f"{'a float' if real else 'an int'} in the range "
    words += f"{closed[0]}{low_word}, {high_word}{closed[1]}"

    def holds(value: Any) -> bool:
        # booleans are integers, as scikit-learn has it
        if not isinstance(value, kind):
            return False
        above = value >= low if closed[0] == "[" else value > low
        return bool(above and (value <= high if closed[1] == "]" else value < high))

    return _Wanted(words, holds)


def _among(*options: str) -> _Wanted:
    words = f"a str among {{{', '.join(map(repr, options))}}}"
    return _Wanted(words, lambda value: isinstance(value, str) and value in options)


def _instance(words: str, *kinds: type) -> _Wanted:
    return _Wanted(words, lambda value: isinstance(value, kinds))


_BOOLEAN = [
    _instance("an instance of 'bool'", bool),
    _instance("an instance of 'numpy.bool'", np.bool_),
]
_INFINITE = _Wanted(
    "a float among {inf}", lambda value: isinstance(value, float) and value == np.inf
)
_GIVEN_ARRAYS = [
    _instance("a list or tuple of arrays", list, tuple),
    _Wanted("None", lambda value: value is None),
]
_WANTED: dict[str, list[_Wanted]] = {
    "hidden_layer_sizes": [
        _Wanted(
            "an array-like",
            lambda value: (
                isinstance(value, (list, tuple, range))
                or (hasattr(value, "__array__") and np.ndim(value) == 1)
            ),
        ),
        _interval(numbers.Integral, 1),
    ],
    "solver": [_among(*_SOLVERS)],
    "alpha": [_interval(numbers.Real, 0)],
    "batch_size": [_among("auto"), _interval(numbers.Integral, 1)],
    "learning_rate": [_among(*_SCHEDULES)],
    "learning_rate_init": [_interval(numbers.Real, 0, closed="()")],
    "power_t": [_interval(numbers.Real, 0)],
    "max_iter": [_interval(numbers.Integral, 1)],
    "shuffle": _BOOLEAN,
    "random_state": [
        _interval(numbers.Integral, 0, 2**32 - 1, "[]"),
        _instance("an instance of 'numpy.random.mtrand.RandomState'", np.random.RandomState),
        _Wanted("None", lambda value: value is None or value is np.random),
    ],
    "tol": [_interval(numbers.Real, 0)],
    "verbose": [_interval(numbers.Integral, 0), *_BOOLEAN],
    "warm_start": _BOOLEAN,
    "momentum": [_interval(numbers.Real, 0, 1, "[]")],
    "nesterovs_momentum": _BOOLEAN,
    "early_stopping": _BOOLEAN,
    "validation_fraction": [_interval(numbers.Real, 0, 1)],
    "beta_1": [_interval(numbers.Real, 0, 1)],
    "beta_2": [_interval(numbers.Real, 0, 1)],
    "epsilon": [_interval(numbers.Real, 0, closed="()")],
    "n_iter_no_change": [_interval(numbers.Integral, 1), _INFINITE],
    "max_fun": [_interval(numbers.Integral, 1)],
    "dropout": [_interval(numbers.Real, 0, 1)],
    "init": [_among("glorot", "he")],
    "coefs_init": _GIVEN_ARRAYS,
    "intercepts_init": _GIVEN_ARRAYS,
}
_ACTIVATION = [
    _among(*HIDDEN_ACTIVATIONS),
    _Wanted(
        "a sequence of such, one per hidden layer",
        lambda value: (
            not isinstance(value, str)
            and isinstance(value, Sequence)
            and all(isinstance(name, str) and name in HIDDEN_ACTIVATIONS for name in value)
        ),
    ),
]
_CLASS_WEIGHT = [
    _among("balanced"),
    _instance("an instance of 'dict'", dict),
    _Wanted("None", lambda value: value is None),
]


def check_hyperparameters(estimator: Any, losses: tuple[str, ...]) -> list[int]:
    """Check the constructor's parameters; return the sizes of the hidden layers.

    Raises
    ------
    ValueError
        If one is out of range, or two do not go together.
    """
    wanted = {**_WANTED, "activation": _ACTIVATION, "loss": [_among(*losses)]}
    if hasattr(estimator, "class_weight"):
        wanted["class_weight"] = _CLASS_WEIGHT
    for name, options in wanted.items():
        value = getattr(estimator, name)
        if not any(option.holds(value) for option in options):
            *most, last = [option.words for option in options]
            words = f"{', '.join(most)} or {last}" if most else last
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be {words}. "
                f"Got {value!r} instead."
            )
    sizes = estimator.hidden_layer_sizes
    if isinstance(sizes, (bool, np.bool_)):
        raise ValueError(f"hidden_layer_sizes must be integers, got {sizes!r}.")
    sizes = [sizes] if isinstance(sizes, numbers.Integral) else list(sizes)
    if not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers, got {sizes}.")
    sizes = [int(units) for units in sizes]
    if any(units <= 0 for units in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    if not isinstance(estimator.activation, str) and len(estimator.activation) != len(sizes):
        raise ValueError(
            f"activation must be one name, or one for each of the {len(sizes)} hidden layers, got "
            f"{estimator.activation!r}."
        )
    if estimator.dropout > 0 and estimator.solver == "lbfgs":
        raise ValueError(
            f"dropout={estimator.dropout!r} needs solver='sgd' or 'adam': L-BFGS cannot follow a "
            "loss that changes from one evaluation to the next."
        )
    return sizes


def check_memory_for(estimator: Any, widths: list[int], n_samples: int, itemsize: int) -> None:
    """Refuse a network that does not fit into memory.

    Raises
    ------
    ValueError
        If parameters, what the solver remembers of them, and a batch take more than there is.
    """
    names = estimator.activation
    pieces = 2 if "maxout" in ([names] if isinstance(names, str) else names) else 1
    n_parameters = sum((a + 1) * b * pieces for a, b in pairwise(widths))
    batch = 200 if estimator.batch_size == "auto" else estimator.batch_size
    n_rows = min(BLOCK if estimator.solver == "lbfgs" else batch, n_samples)
    # starts, parameters, their last finite and best values, and two moments or a gradient;
    # of a batch inputs and targets, values, deltas, and errors of the widest layer
    n_numbers = 6 * n_parameters + n_rows * ((2 + pieces) * sum(widths) + max(widths))
    check_memory(
        f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} with {widths[0]} features",
        "to train",
        "Use fewer hidden units.",
        n_numbers * itemsize,
    )


def check_start(estimator: Any, layers: Layers) -> tuple[list[Array] | None, list[Array] | None]:
    """Check `coefs_init` and `intercepts_init`; return them as lists of arrays, None if not given.

    Raises
    ------
    ValueError
        If a shape is wrong or a value is not finite.
    """
    shapes = {
        "coefs_init": layers.shapes(),
        "intercepts_init": [(n,) for n in layers.columns.tolist()],
    }
    checked: list[list[Array] | None] = []
    for name, wanted in shapes.items():
        given = getattr(estimator, name)
        if given is None:
            checked.append(None)
            continue
        if len(given) != len(wanted):
            raise ValueError(f"{name} must be a list of {len(wanted)} arrays, got {len(given)}.")
        arrays = []
        for i, (values, shape) in enumerate(zip(given, wanted, strict=True)):
            try:
                array = np.array(values, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}[{i}] must hold numbers: {error}") from error
            if array.shape != shape:
                raise ValueError(f"{name}[{i}] must have shape {shape}, got {array.shape}.")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}[{i}] contains NaN or infinity.")
            if array.size > 0 and np.abs(array).max() > LARGEST[8]:
                largest = np.abs(array).max()
                raise ValueError(f"{name}[{i}] has values up to {largest:g}; use smaller ones.")
            arrays.append(array)
        checked.append(arrays)
    return checked[0], checked[1]


def check_continuation(estimator: Any, layers: Layers) -> None:
    """Check that training goes on with the network that was fitted.

    Raises
    ------
    ValueError
        If layers or activations have changed.
    """
    last = estimator._layers
    if not all(np.array_equal(now, before) for now, before in zip(layers, last, strict=True)):
        raise ValueError(
            f"warm_start and partial_fit go on with the network of the earlier fit, {last}; now "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, activation="
            f"{estimator.activation!r}, loss and y ask for {layers}. Use warm_start=False or a new "
            "estimator."
        )


def check_weights(weights: Array) -> None:
    """Check that some row has a weight, none is negative, and all can be computed with.

    Raises
    ------
    ValueError
        If all are zero, one is negative, or they are extreme.
    """
    if not weights.any():
        raise ValueError("sample_weight is zero for every row; give some row a weight.")
    if weights.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {weights.min():g}.")
    limit = LARGEST[weights.itemsize]
    if not 1.0 / limit <= float(weights.max()) <= limit:
        raise ValueError(
            f"sample_weight (times class_weight) must be between {1.0 / limit:g} and {limit:g} "
            f"where it is largest, got {weights.max():g}; rescale it."
        )


def check_targets(targets: Array) -> None:
    """Check that squared errors stay finite.

    Raises
    ------
    ValueError
        If a target is too large.
    """
    largest = np.abs(targets).max()
    if largest > _LARGEST_TARGET:
        raise ValueError(f"y has values up to {largest:g}, too large to square; rescale it.")
