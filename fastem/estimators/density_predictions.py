"""Predictions of FastEMRegressor: moments, quantiles, intervals, densities and samples."""

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from fastem.estimators.arguments import generator_of, row_weights
from fastem.estimators.inference import joined
from fastem.estimators.predictive import (
    PredictiveDistribution,
    deviance_explained,
    levels_of_interval,
    quantile_levels,
)
from fastem.families import IndependentOutputs
from fastem.parameters import Array


class DensityPredictions:
    """Methods of a fitted `FastEMRegressor` that describe the distribution of y given x."""

    family_: IndependentOutputs
    variance_: Array
    variance_floor_: float
    _check_X: Callable[..., Any]  # noqa: N815
    _known_targets: Callable[..., Any]
    _network: Callable[[], Any]

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> Array: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[Array, Array]: ...

    @overload
    def predict(self, X: ArrayLike, return_std: bool) -> Array | tuple[Array, Array]: ...

    def predict(self, X: ArrayLike, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Return the mean of y given x, and its standard deviation if requested.

        With one hidden layer both are exact and need no sum over hidden states: for numbers the
        mean is the network with sigmoid units, ``u V + c``, and the variance is
        ``variance_ + sum_h V_h**2 u_h (1 - u_h)``.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        return_std : bool, default=False

        Returns
        -------
        mean : array (n_samples,) or (n_samples, n_outputs)
        std : array of the same shape
            Only if ``return_std=True``. Of y, the noise included.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        FloatingPointError
            If X times weights overflow.
        """
        X, network = self._check_X(X), self._network()

        def moments(rows: Any) -> Array | tuple[Array, Array]:
            mean, variance = PredictiveDistribution(network, rows).moments()
            return (mean, np.sqrt(variance)) if return_std else mean

        found = network.by_rows(moments, X)
        return (_squeezed(found[0]), _squeezed(found[1])) if return_std else _squeezed(found)

    def predict_quantile(self, X: ArrayLike, q: ArrayLike) -> Array:
        """Return quantiles of y given x, of every output by itself.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        q : float or array-like (n_quantiles,), probability
            Between 1e-300 and 1 - 1e-15.

        Returns
        -------
        quantiles : array (n_samples,) or (n_samples, n_outputs)
            With a further axis (n_quantiles,) last if q is an array. For counts the smallest y with
            ``P(Y <= y) >= q``.

        Raises
        ------
        NotFittedError, FloatingPointError
            As `predict` does.
        ValueError
            As `predict` does, or if q is out of range.
        """
        X, network, levels = self._check_X(X), self._network(), quantile_levels(q)

        def quantiles(rows: Any) -> Array:
            return PredictiveDistribution(network, rows).quantiles(levels)

        found = network.by_rows(quantiles, X)
        found = found[:, 0] if found.shape[1] == 1 else found
        return found[..., 0] if np.ndim(q) == 0 else found

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Array:
        """Return central prediction intervals of y given x, of every output by itself.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        coverage : float, default=0.9, probability
            Above 0, and at most 1 - 2e-15.

        Returns
        -------
        interval : array (n_samples, 2) or (n_samples, n_outputs, 2)
            The quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``.

        Raises
        ------
        NotFittedError, FloatingPointError
            As `predict` does.
        ValueError
            As `predict` does, or if `coverage` is out of range.
        """
        return self.predict_quantile(X, levels_of_interval(coverage))

    def predict_cdf(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return ``P(Y <= y | x)`` of every row, of every output by itself.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        probability : array of the shape of y
            Uniform over rows if the model is right and y is continuous.

        Raises
        ------
        NotFittedError, FloatingPointError
            As `predict` does.
        ValueError
            As `predict` does, or if y is out of range.
        """
        X, network = self._check_X(X), self._network()

        def cdf(rows: Any, values: Array) -> Array:
            return PredictiveDistribution(network, rows).cdf(values)

        return _squeezed(network.by_rows(cdf, X, self._known_targets(y, len(X))))

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return ``log p(y | x)`` of every row; of all outputs jointly.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        log_density : array (n_samples,), nats
            Densities are per unit of y; for counts, probabilities.

        Raises
        ------
        NotFittedError, FloatingPointError
            As `predict` does.
        ValueError
            As `predict` does, or if y is out of range, or the problem does not fit into memory.
        """
        X = self._check_X(X)
        return self._network().log_density(X, self._known_targets(y, len(X)))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R^2 of the predicted means; for counts D^2, the share of deviance explained.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like (n_samples,), optional

        Returns
        -------
        score : float
            At most 1; the mean over outputs.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict` does.
        """
        check_is_fitted(self)
        if self.family_.name != "poisson":
            return float(super().score(X, y, sample_weight))  # type: ignore[misc]  # of a mixin
        predicted = self.predict(X)
        counts = self._known_targets(y, len(predicted))
        weights = row_weights(sample_weight, counts, non_negative=False)
        return deviance_explained(counts, predicted.reshape(counts.shape), weights)

    def sample(
        self, X: ArrayLike, random_state: int | np.random.RandomState | None = None
    ) -> tuple[Array, Array]:
        """Draw hidden states and y for given rows.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        random_state : int, RandomState or None, default=None

        Returns
        -------
        y : array (n_samples,) or (n_samples, n_outputs)
            Drawn from p(y | z).
        z : array (n_samples, n_hidden)
            Hidden states, 0.0 or 1.0, drawn from P(z | x). Columns of several hidden layers are
            concatenated, the first layer first.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict` does.
        """
        X, network = self._check_X(X), self._network()
        random_state = generator_of(random_state)

        def draw(hidden: Array) -> Array:
            eta = network.natural_parameter(hidden)
            return self.family_.draw(eta, network.dispersion, random_state)

        states = network.sample_states(X, random_state)
        return _squeezed(network.by_rows(draw, states[-1])), joined(states)


def _squeezed(values: Array) -> Array:
    """Return (n_samples,) in place of (n_samples, 1)."""
    return values[:, 0] if values.shape[1] == 1 else values
