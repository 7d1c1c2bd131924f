"""What an E-step engine is: settings that plan, and a plan that is run many times."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastem.expectations import Statistics
from fastem.parameters import Array, Parameters, Shape

LARGEST_WEIGHT = 1e100
"""Of a row: sums of weights over rows and configurations stay finite below."""


class ClassSortedRows(NamedTuple):
    """Labelled rows, sorted by class once so that every E-step finds them so.

    Attributes
    ----------
    inputs : array (n_samples, n_inputs)
        C-ordered; the last column is ones in a network with intercepts.
    weights : array (n_samples,)
    class_starts : array (n_classes + 1,)
        Rows ``class_starts[k]:class_starts[k + 1]`` are of class k.
    order : array (n_samples,)
        Where each row stood before: ``inputs = X[order]``.
    """

    inputs: Array
    weights: Array
    class_starts: NDArray[np.int64]
    order: NDArray[np.int64]


def add_ones(X: Array, fit_intercept: bool) -> Array:
    """Return X as float64 in C order, with a column of ones where there are intercepts."""
    X = np.asarray(X, dtype=np.float64)
    if fit_intercept:
        X = np.hstack([X, np.ones((X.shape[0], 1))])
    return np.ascontiguousarray(X)


def sort_by_class(X: Array, y: NDArray, weights: Array, shape: Shape) -> ClassSortedRows:
    """Sort rows by class index.

    Parameters
    ----------
    X : array (n_samples, n_features)
    y : array of int (n_samples,)
        Class indices ``0, ..., n_classes - 1``.
    weights : array (n_samples,)
    shape : Shape

    Returns
    -------
    rows : ClassSortedRows
    """
    order = np.argsort(y, kind="stable")
    starts = np.searchsorted(y[order], np.arange(shape.n_classes + 1))
    inputs = add_ones(np.asarray(X)[order], shape.fit_intercept)
    return ClassSortedRows(inputs, np.ascontiguousarray(weights[order]), starts, order)


def largest_inputs(inputs: Array) -> Array:
    """Return the largest size of every column; no array of the size of the inputs is made."""
    return np.maximum(inputs.max(axis=0, initial=0.0), -inputs.min(axis=0, initial=0.0))


def check_log_odds(largest: Array, hidden: Array) -> None:
    """Raise if log-odds could overflow: ``largest`` is the largest input of each column."""
    with np.errstate(over="ignore"):
        bound = largest @ np.abs(hidden)
    if not np.isfinite(bound).all():
        raise FloatingPointError(
            "The log-odds of a hidden unit are not a number: inputs times weights overflow. "
            "Rescale the features (standardize=True) or use smaller weights."
        )


class Memory:
    """Arrays by name, whose memory is used again until one asks for more of it."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}

    def array(self, name: str, *shape: int) -> Array:
        """Return an array in C order; earlier ones of that name lose their contents."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = self._flat[name] = np.empty(size)
        return flat[:size].reshape(shape)


class EngineSettings:
    """The settings of an engine as scikit-learn knows parameters: ``e_step__tol`` and the like.

    Engines are frozen dataclasses of their settings.
    """

    is_exact: ClassVar[bool] = True

    def seeded(self, random_state: Any) -> "EngineSettings":
        """Return the engine as it runs under a ``random_state``: exact ones draw nothing."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **settings: Any) -> "EngineSettings":
        """Change settings; return the engine.

        Raises
        ------
        ValueError
            If there is no such setting.
        """
        known = self.get_params()
        for name, value in settings.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no setting {name!r}; it has {sorted(known)}."
                )
            object.__setattr__(self, name, value)
        return self


class Plan(Protocol):
    """An E-step prepared for given rows: memory allocated, pieces cut."""

    def take(self, rows: ClassSortedRows) -> None:
        """Go over to other rows, as many as it was planned for or fewer, in the same memory."""

    def rewind(self, n_done: int) -> None:
        """Go on as if so many E-steps had been done; only plans that draw number theirs."""

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step under the given parameters."""


class Engine(Protocol):
    """An algorithm for the E-step, with its settings."""

    name: str
    has_table: bool
    """Whether its statistics hold counts of configurations, for M-steps of the output layer."""
    is_exact: bool
    """Whether equal parameters give equal expectations, without error of sampling."""

    def seeded(self, random_state: Any) -> "Engine":
        """Return the engine as it runs under a ``random_state``: with a seed, if it draws."""

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread; infinity where it does not apply."""

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan, in bytes."""

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> Plan:
        """Prepare E-steps on the given rows."""

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, n_classes), in nats."""
