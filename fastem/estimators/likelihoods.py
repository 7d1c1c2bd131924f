"""Likelihoods of rows under a fitted model, and the criteria that are based on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastem.engines import Engine
from fastem.estimators.arguments import row_weights
from fastem.estimators.fitted_attributes import FittedAttributes
from fastem.families import Categorical
from fastem.parameters import NO_VARIANCE, Array


class Likelihoods(FittedAttributes):
    """Methods that estimators with stochastic units share."""

    fit_intercept: bool
    _check_X: Callable[..., Any]  # noqa: N815
    _known_targets: Callable[..., Any]
    _network: Callable[[], Any]

    # fitted attributes
    alpha_: float
    alpha_path_: dict[str, NDArray[Any]]
    best_validation_loss_: float | None
    coefs_: list[Array]
    e_step_: Engine
    family_: Any
    feature_deviation_: Array
    intercepts_: list[Array]
    solver_: str
    starts_: list[dict[str, Any]]

    def log_likelihood(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the total marginal log-likelihood ``sum_i w_i log p(y_i | x_i)``.

        With several outputs, p is their joint density or probability. Densities are in the unit
        of y.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like
            Labels or values, as in `fit`.
        sample_weight : array-like (n_samples,), optional

        Returns
        -------
        log_likelihood : float, nats
            Without penalty and without class weights.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, y has a label that was not
            in `fit` or a value that is impossible under the family, a weight is negative, or the
            problem does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        X = self._check_X(X)
        targets = self._known_targets(y, len(X))
        weights = row_weights(sample_weight, targets)
        return float(np.sum(weights * self._network().log_density(X, targets)))

    def aic(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's criterion, ``2 k - 2 log L`` with k free parameters; lower is better.

        Parameters
        ----------
        X, y, sample_weight
            As for `log_likelihood`.

        Returns
        -------
        aic : float
            On the scale of deviances: twice the scale of nats.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `log_likelihood` does.
        """
        return 2.0 * self._n_free_parameters() - 2.0 * self.log_likelihood(X, y, sample_weight)

    def bic(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Schwarz's criterion, ``k log n - 2 log L``; lower is better.

        Parameters
        ----------
        X, y, sample_weight
            As for `log_likelihood`; n is the summed weight.

        Returns
        -------
        bic : float
            On the scale of deviances: twice the scale of nats.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `log_likelihood` does.
        """
        log_likelihood = self.log_likelihood(X, y, sample_weight)
        n = np.sum(row_weights(sample_weight, y))
        return float(self._n_free_parameters() * np.log(n) - 2.0 * log_likelihood)

    def _n_free_parameters(self) -> int:
        """Count parameters; one class of the softmax is redundant."""
        check_is_fitted(self)
        ones = int(bool(self.fit_intercept))
        n_hidden = sum((len(W) + ones) * W.shape[1] for W in self.coefs_[:-1])
        n_outputs = self.coefs_[-1].shape[1] - isinstance(self.family_, Categorical)
        n_variances = len(getattr(self, "variance_", NO_VARIANCE))
        return n_hidden + (len(self.coefs_[-1]) + ones) * n_outputs + n_variances
