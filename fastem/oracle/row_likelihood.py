"""The log-likelihood of rows as a differentiable function, for automatic differentiation."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from fastem.engines import Engine, resolve_engine
from fastem.expectations import Expectations
from fastem.families import Family, resolve_family
from fastem.oracle.checks import as_vector, check_parameters, check_targets, shape_of
from fastem.oracle.e_step import EStep
from fastem.parameters import Array, ArrayLikes
from fastem.runtime import effective_n_jobs, finite_array, give_lock


class Point(NamedTuple):
    """Arguments of the log-likelihood; see `fastem.e_step`."""

    X: ArrayLike
    y: ArrayLike
    coefs: ArrayLikes
    intercepts: ArrayLikes
    variance: ArrayLike | None


class RowLikelihood:
    """``log p(y_i | x_i)`` of every row, and products of a vector with the Jacobian.

    Parameters
    ----------
    family, method, n_jobs
        As for `fastem.e_step`.

    Raises
    ------
    ValueError
        If there is no family or engine of that name, or ``n_jobs`` is not possible.

    Notes
    -----
    Memory is allocated by the first call, and again if the sizes change. Calls from several threads
    wait for each other. A copy and an unpickled instance have the settings only.
    """

    def __init__(self, family: str | Family, method: str | Engine, n_jobs: int | None) -> None:
        resolve_engine(method, "method")  # this line and the next one only check the settings
        effective_n_jobs(n_jobs)
        self._settings = family, method, n_jobs
        self.family = resolve_family(family)
        self._sizes: tuple[Any, ...] | None = None
        give_lock(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._settings

    def check(self, point: Point) -> Point:
        """Return the arguments as arrays, after all checks except those of the engine.

        Raises
        ------
        ValueError
            As `fastem.e_step`.
        """
        X = finite_array("X", point.X, 2)
        variance = as_vector(point.variance) if self.family.has_variance else None
        coefs, intercepts = check_parameters(
            point.coefs, point.intercepts, X.shape[1], self.family, variance
        )
        targets = check_targets(point.y, len(X), shape_of(coefs, self.family))
        return Point(X, targets, coefs, intercepts, variance)

    def evaluate(self, point: Point) -> tuple[Array, Array, list[Array]]:
        """Run one E-step.

        Parameters
        ----------
        point : Point

        Returns
        -------
        log_likelihood : array (n_samples,), nats
        hidden_posterior : array (n_samples, n_hidden), probability
        gradients : list of arrays
            Of the sum over rows: with respect to every array of ``coefs``, then of ``intercepts``,
            then to ``variance`` if the family has one.

        Raises
        ------
        ValueError, FloatingPointError
            As `fastem.e_step`.
        """
        result = self._expect(self.check(point), None)
        return result.log_likelihood, result.hidden_posterior, _gradients(result)

    def input_gradient(self, point: Point, hidden_posterior: Array) -> Array:
        """Return the gradient of each row's log-likelihood with respect to the inputs of this row.

        Parameters
        ----------
        point : Point
        hidden_posterior : array (n_samples, n_hidden), probability
            From `evaluate` at the same point.

        Returns
        -------
        gradient : array (n_samples, n_features), nats per unit of a feature
        """
        W, b = point.coefs[0], point.intercepts[0]
        with _overflow_ignored():
            return (hidden_posterior - expit(point.X @ W + b)) @ W.T

    def weighted_gradients(
        self, point: Point, weights: ArrayLike, gradients: list[Array]
    ) -> list[Array]:
        """Return the gradients of ``sum_i weights_i log p(y_i | x_i)``.

        Equal weights need no E-step. Other weights of one sign need one, and weights of both signs
        need two, because the weights of an E-step are nonnegative.

        Parameters
        ----------
        point : Point
        weights : array-like (n_samples,)
            Of any sign. If one of them is not finite, the gradients are NaN.
        gradients : list of arrays
            Those of `evaluate` at the same point.

        Returns
        -------
        gradients : list of arrays
        """
        weights = np.asarray(weights, dtype=np.float64)
        if len(weights) == 0:
            return [np.zeros(values.shape) for values in gradients]
        lowest, highest = weights.min(), weights.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            return [np.full(values.shape, np.nan) for values in gradients]
        if lowest == highest:
            with _overflow_ignored():
                return [highest * values for values in gradients]
        point, largest = self.check(point), max(highest, -lowest)
        total = [np.zeros(values.shape) for values in gradients]
        for scale in (largest, -largest):
            own = np.maximum(weights / scale, 0.0)
            if own.any():
                of_sign = _gradients(self._expect(point, own))
                with _overflow_ignored():
                    for values, more in zip(total, of_sign, strict=True):
                        values += scale * more
        return total

    def _expect(self, point: Point, weights: Array | None) -> Expectations:
        """Run the E-step of a checked point, in the memory of the last one if sizes agree."""
        X, y, coefs, intercepts, variance = point
        shape = shape_of(coefs, self.family)
        sizes = shape, len(X)
        _, method, n_jobs = self._settings
        with self._lock:
            if sizes != self._sizes:
                self._sizes = None
                self._e_step = EStep(
                    X,
                    y,
                    hidden_layer_sizes=shape.hidden_layer_sizes,
                    n_classes=shape.n_outputs if shape.has_classes else None,
                    family=self.family,
                    method=method,
                    sample_weight=weights,
                    n_jobs=n_jobs,
                )
                self._sizes = sizes
            else:
                self._e_step.rebind(X, y, weights)
            return self._e_step(coefs, intercepts, variance)


def _overflow_ignored() -> np.errstate:
    """Return a context in which gradients may become infinity or NaN, as in the frameworks."""
    return np.errstate(over="ignore", invalid="ignore")


def _gradients(result: Expectations) -> list[Array]:
    own = [] if result.variance_gradient is None else [result.variance_gradient]
    return [*result.coef_gradients, *result.intercept_gradients, *own]
