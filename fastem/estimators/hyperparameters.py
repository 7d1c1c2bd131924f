"""Permitted values of the constructors' parameters, for both families of estimators.

Messages have the form that scikit-learn uses, and for the perceptrons its exact words.
"""

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.m_step import M_STEPS
from fastem.perceptron import HIDDEN_ACTIVATIONS

CLASSIFIER_LOSSES = ("log_loss", "squared_error")
REGRESSOR_LOSSES = ("squared_error", "poisson", "absolute_error")


class _Rule(NamedTuple):
    """A kind of value that a parameter may have."""

    words: str
    holds: Callable[[Any], bool]


def _interval(
    kind: type, low: float, high: float = np.inf, closed: str = "[)", *, booleans: bool = True
) -> _Rule:
    """Return a rule for numbers; Python counts booleans among the integers."""
    real = kind is numbers.Real
    low_word, high_word = (float(low), float(high)) if real else (low, high)
    words = f"{'a float' if real else 'an int'} in the range "
    words += f"{closed[0]}{low_word}, {high_word}{closed[1]}"

    def holds(value: Any) -> bool:
        if not isinstance(value, kind) or (isinstance(value, bool) and not booleans):
            return False
        above = value >= low if closed[0] == "[" else value > low
        return bool(above and (value <= high if closed[1] == "]" else value < high))

    return _Rule(words, holds)


def _among(options: Iterable[str]) -> _Rule:
    options = tuple(options)
    words = f"a str among {{{', '.join(map(repr, options))}}}"
    return _Rule(words, lambda value: isinstance(value, str) and value in options)


def _instance(words: str, *kinds: type) -> _Rule:
    return _Rule(words, lambda value: isinstance(value, kinds))


_NONE = _Rule("None", lambda value: value is None)
_BOOLEAN = [
    _instance("an instance of 'bool'", bool),
    _instance("an instance of 'numpy.bool'", np.bool_),
]
_INFINITE = _Rule("a float among {inf}", lambda value: isinstance(value, float) and value == np.inf)
_ARRAYS = [_instance("a list or tuple of arrays", list, tuple), _NONE]
_LAYERS = [
    _Rule(
        "an array-like",
        lambda value: (
            isinstance(value, (list, tuple, range))
            or (hasattr(value, "__array__") and np.ndim(value) == 1)
        ),
    ),
    _interval(numbers.Integral, 1),
]
_SHARED = {
    "early_stopping": _BOOLEAN,
    "validation_fraction": [_interval(numbers.Real, 0, 1)],
    "n_iter_no_change": [_interval(numbers.Integral, 1), _INFINITE],
    "hidden_layer_sizes": _LAYERS,
    "warm_start": _BOOLEAN,
    "random_state": [
        _interval(numbers.Integral, 0, 2**32 - 1, "[]"),
        _instance("an instance of 'numpy.random.mtrand.RandomState'", np.random.RandomState),
        _Rule("None", lambda value: value is None or value is np.random),
    ],
    "verbose": [_interval(numbers.Integral, 0), *_BOOLEAN],
    "coefs_init": _ARRAYS,
    "intercepts_init": _ARRAYS,
}
_CLASS_WEIGHT = [_among(("balanced",)), _instance("an instance of 'dict'", dict), _NONE]
_EM_COUNT = _interval(numbers.Integral, 1, booleans=False)
_EM_RULES: dict[str, list[_Rule]] = {
    **_SHARED,
    "hidden_layer_sizes": [_among(("auto",)), *_LAYERS],
    "m_step": [_among(("auto", *M_STEPS))],
    "solver": [_among(("auto", "em", "lbfgs", "adam"))],
    "accelerate": _BOOLEAN,
    "fit_intercept": _BOOLEAN,
    "standardize": _BOOLEAN,
    "alpha": [_among(("auto",)), _interval(numbers.Real, 0, booleans=False)],
    "tol": [_interval(numbers.Real, 0, booleans=False)],
    "learning_rate_init": [
        _among(("auto",)),
        _interval(numbers.Real, 0, closed="()", booleans=False),
    ],
    "batch_size": [_among(("auto",)), _EM_COUNT],
    "max_iter": [_EM_COUNT],
    "n_init": [_EM_COUNT],
}
_EM_OPTIONAL: dict[str, list[_Rule]] = {
    "class_weight": _CLASS_WEIGHT,
    "prediction": [_among(("marginal", "plugin"))],
    "variance_floor": [_among(("auto",)), _interval(numbers.Real, 0, 1, "()", booleans=False)],
}
_MLP_RULES: dict[str, list[_Rule]] = {
    **_SHARED,
    "solver": [_among(("lbfgs", "sgd", "adam"))],
    "alpha": [_interval(numbers.Real, 0)],
    "batch_size": [_among(("auto",)), _interval(numbers.Integral, 1)],
    "learning_rate": [_among(("constant", "invscaling", "adaptive"))],
    "learning_rate_init": [_interval(numbers.Real, 0, closed="()")],
    "power_t": [_interval(numbers.Real, 0)],
    "max_iter": [_interval(numbers.Integral, 1)],
    "shuffle": _BOOLEAN,
    "tol": [_interval(numbers.Real, 0)],
    "momentum": [_interval(numbers.Real, 0, 1, "[]")],
    "nesterovs_momentum": _BOOLEAN,
    "beta_1": [_interval(numbers.Real, 0, 1)],
    "beta_2": [_interval(numbers.Real, 0, 1)],
    "epsilon": [_interval(numbers.Real, 0, closed="()")],
    "max_fun": [_interval(numbers.Integral, 1)],
    "dropout": [_interval(numbers.Real, 0, 1)],
    "init": [_among(("glorot", "he"))],
    "activation": [
        _among(HIDDEN_ACTIVATIONS),
        _Rule(
            "a sequence of such, one per hidden layer",
            lambda value: (
                not isinstance(value, str)
                and isinstance(value, Sequence)
                and all(isinstance(name, str) and name in HIDDEN_ACTIVATIONS for name in value)
            ),
        ),
    ],
}


def check_em_parameters(estimator: Any) -> tuple[int, ...] | None:
    """Check the parameters of a network with stochastic units; return its hidden layer sizes.

    None stands for "auto".

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    own = {name: rule for name, rule in _EM_OPTIONAL.items() if hasattr(estimator, name)}
    _check_parameters(estimator, _EM_RULES | own)
    if isinstance(estimator.hidden_layer_sizes, str):
        return None
    sizes = _hidden_layer_sizes(estimator)
    if not sizes:
        raise ValueError("hidden_layer_sizes must be a tuple with at least one layer, got ().")
    return tuple(sizes)


def check_mlp_parameters(estimator: Any, losses: tuple[str, ...]) -> list[int]:
    """Check the parameters of a perceptron; return the sizes of its hidden layers.

    Raises
    ------
    ValueError
        If a parameter is out of range, or two parameters contradict each other.
    """
    rules = {**_MLP_RULES, "loss": [_among(losses)]}
    if hasattr(estimator, "class_weight"):
        rules["class_weight"] = _CLASS_WEIGHT
    _check_parameters(estimator, rules)
    sizes = _hidden_layer_sizes(estimator)
    if not isinstance(estimator.activation, str) and len(estimator.activation) != len(sizes):
        raise ValueError(
            f"activation must be one name, or one name for each of the {len(sizes)} hidden "
            f"layers, got {estimator.activation!r}."
        )
    if estimator.dropout > 0 and estimator.solver == "lbfgs":
        raise ValueError(
            f"dropout={estimator.dropout!r} needs solver='sgd' or 'adam': L-BFGS needs the same "
            "loss in every evaluation."
        )
    return sizes


def _check_parameters(estimator: Any, rules: dict[str, list[_Rule]]) -> None:
    for name, options in rules.items():
        value = getattr(estimator, name)
        if not any(option.holds(value) for option in options):
            *most, last = [option.words for option in options]
            words = f"{', '.join(most)} or {last}" if most else last
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be {words}. "
                f"Got {value!r} instead."
            )


def _hidden_layer_sizes(estimator: Any) -> list[int]:
    given = estimator.hidden_layer_sizes
    if isinstance(given, bool):
        raise ValueError(f"hidden_layer_sizes must be integers, got {given!r}.")
    sizes = [given] if isinstance(given, numbers.Integral) else list(given)
    if not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers, got {sizes}.")
    sizes = [int(units) for units in sizes]
    if any(units <= 0 for units in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return sizes
