"""Regressors as conditional densities: their output is the mean of a distribution of y."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, poisson
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.preprocessing import StandardScaler

from fastem.parameters import Array
from fastem.plotting import final_step

_MOST_ROWS_OF_FOLDS = 10_000
_SMALLEST_DEVIATION = 1e-9  # relative to that of y: densities stay finite
_LARGEST_RATE = 2e9  # of intervals: counts are at most 1e9, and SciPy fails at 1e12
_RATES = 1e-300, 1e300


class _Density(BaseEstimator):
    """Distribution whose mean is the output of a regressor.

    Parameters
    ----------
    regressor : regressor, or pipeline that ends in one
        Not fitted.

    Attributes
    ----------
    mean_ : fitted regressor
    n_iter_, converged_, loss_curve_
        Those of the regressor, if it has them.
    """

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def _keep(self, mean: Any, regressor: Any) -> None:
        self.mean_, final = mean, final_step(regressor)
        for name in ("n_iter_", "converged_", "loss_curve_"):
            if hasattr(final, name):
                setattr(self, name, getattr(final, name))


class NormalDensity(_Density):
    """Normal distribution around the regressor's output, with a constant standard deviation.

    The regressor is trained on the standardised target.

    Attributes
    ----------
    deviation_ : float, unit of y
        Only after `estimate_deviation`.
    """

    def fit(self, X: Array, y: Array) -> "NormalDensity":
        """Fit the mean."""
        mean = self._new_mean().fit(X, y)
        self._keep(mean, mean.regressor_)
        return self

    def estimate_deviation(self, X: Array, y: Array, seed: int) -> str:
        """Set `deviation_` to the root mean squared error on rows that were not trained on.

        Cost: five fits on four fifths of the rows; for more than 10 000 rows, one fit.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : array (n_samples,)
            Training rows; at least five.
        seed : int
            Seed of the split.

        Returns
        -------
        origin : str
            How the training rows with these errors were chosen.
        """
        if len(y) > _MOST_ROWS_OF_FOLDS:
            splits, origin = (
                ShuffleSplit(1, test_size=0.1, random_state=seed),
                "a held-out tenth",
            )
        else:
            splits, origin = (
                KFold(5, shuffle=True, random_state=seed),
                "5-fold cross-validation",
            )
        errors = [
            y[test] - self._new_mean().fit(X[train], y[train]).predict(X[test])
            for train, test in splits.split(X)
        ]
        deviation = np.sqrt(np.mean(np.concatenate(errors) ** 2))
        self.deviation_ = float(max(deviation, _SMALLEST_DEVIATION * np.std(y)))
        return origin

    def predict(self, X: Array) -> Array:
        """Return the mean of y given x."""
        return self.mean_.predict(X)

    def log_density(self, X: Array, y: Array) -> Array:
        """Return ``log p(y | x)`` of every row, in nats per unit of y."""
        return norm.logpdf(y, self.predict(X), self.deviation_)

    def predict_interval(self, X: Array, coverage: float = 0.9) -> Array:
        """Return central prediction intervals (n_samples, 2)."""
        return np.column_stack(norm.interval(coverage, self.predict(X), self.deviation_))

    def _new_mean(self) -> TransformedTargetRegressor:
        return TransformedTargetRegressor(
            clone(self.regressor), transformer=StandardScaler(), check_inverse=False
        )


class PoissonDensity(_Density):
    """Poisson distribution whose rate is the regressor's output."""

    def fit(self, X: Array, y: NDArray[Any]) -> "PoissonDensity":
        """Fit the rate."""
        mean = clone(self.regressor).fit(X, y)
        self._keep(mean, mean)
        return self

    def predict(self, X: Array) -> Array:
        """Return the rate given x."""
        return np.clip(self.mean_.predict(X), *_RATES)

    def log_density(self, X: Array, y: Array) -> Array:
        """Return ``log P(y | x)`` of every row, in nats."""
        return poisson.logpmf(y, self.predict(X))

    def predict_interval(self, X: Array, coverage: float = 0.9) -> Array:
        """Return the quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``."""
        rate = np.minimum(self.predict(X), _LARGEST_RATE)
        return np.column_stack(poisson.interval(coverage, rate))
