"""What a fitted network can tell: probabilities, posteriors, likelihoods, samples."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastem._version import __version__
from fastem.engines import check_parameters, e_step, shape_of
from fastem.estimators._checks import class_indices
from fastem.parameters import Array, Shape
from fastem.rows import add_ones
from fastem.runtime import effective_n_jobs, single_threaded_blas


class NetworkInference(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Methods of a fitted network with stochastic hidden units.

    Uses ``coefs_, intercepts_, classes_, e_step_`` and the parameters ``fit_intercept``,
    ``prediction`` and ``n_jobs`` of the class that it is mixed into.
    """

    def predict(self, X: ArrayLike) -> NDArray:
        """Predict labels: the most probable class of every row.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        labels : array (n_samples,)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, or does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        log_probability = self.predict_log_proba(X)
        return self.classes_[np.argmax(log_probability, axis=1)]

    def predict_proba(self, X: ArrayLike) -> Array:
        """Predict P(y = k | x) of every class.

        Exact, ``sum_z P(z|x) P(y|z)``, with ``prediction="marginal"``; the softmax of the
        mean hidden activation, passed on from layer to layer, with ``prediction="plugin"``. A
        model fitted by `Sampling` averages P(y|z) over as many samples of P(z|x) in place of the
        exact sum. They follow from its seed and the row alone: equal rows are always given equal
        probabilities.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        probability : array (n_samples, n_classes)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, or does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Predict log P(y = k | x), finite however small the probability.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        log_probability : array (n_samples, n_classes), nats

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, or does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        X = self._check_X(X)
        if self.prediction == "plugin":
            hidden = X
            for layer in range(len(self.coefs_) - 1):
                hidden = self._probability(hidden, layer)
            return self._log_classes(hidden)
        log_marginal = self._log_marginal(X)
        # probabilities sum to one up to rounding; take the rounding out
        return log_softmax(log_marginal, axis=1)

    def transform(self, X: ArrayLike) -> Array:
        """Return P(Z_h = 1 | x), the prior probability of the units of the first hidden layer.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        probability : array (n_samples, n_hidden)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        FloatingPointError
            If X times weights overflow.
        """
        return self._probability(self._check_X(X), 0)

    def posterior(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return P(Z_h = 1 | x, y), the posterior probability of the first hidden layer's units.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : array-like (n_samples,)
            Labels among `classes_`.

        Returns
        -------
        probability : array (n_samples, n_hidden)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, y holds a label that was
            not seen in `fit`, or the problem does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        X = self._check_X(X)
        labels = self._class_indices(y, len(X))
        expectations = e_step(
            X, labels, self.coefs_, self.intercepts_, method=self.e_step_, n_jobs=self.n_jobs
        )
        return expectations.hidden_posterior

    def log_likelihood(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the total marginal log-likelihood ``sum_i w_i log p(y_i | x_i)``.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : array-like (n_samples,)
            Labels among `classes_`.
        sample_weight : array-like (n_samples,), optional

        Returns
        -------
        log_likelihood : float, nats
            Not penalised.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, y holds a label that was
            not seen in `fit`, a weight is negative, or the problem does not fit into memory.
        FloatingPointError
            If X times weights overflow.
        """
        X = self._check_X(X)
        labels = self._class_indices(y, len(X))
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        own = self._log_marginal(X)[np.arange(len(X)), labels]
        return float(np.sum(weights * own))

    def aic(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's criterion, ``2 k - 2 log L`` with k free parameters; lower is better.

        Parameters
        ----------
        X, y, sample_weight
            As for `log_likelihood`.

        Returns
        -------
        aic : float
            On the scale of deviances, which is twice that of nats.

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
            On the scale of deviances, which is twice that of nats.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `log_likelihood` does.
        """
        log_likelihood = self.log_likelihood(X, y, sample_weight)
        weights = 1.0 if sample_weight is None else sample_weight
        n = np.sum(np.broadcast_to(weights, len(y)))
        return float(self._n_free_parameters() * np.log(n) - 2.0 * log_likelihood)

    def sample(
        self, X: ArrayLike, random_state: int | np.random.RandomState | None = None
    ) -> tuple[NDArray, Array]:
        """Draw hidden states and labels for given rows.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        random_state : int, RandomState or None, default=None

        Returns
        -------
        y : array (n_samples,)
            Labels drawn from P(y | z).
        z : array (n_samples, n_hidden)
            Hidden states, 0.0 or 1.0, drawn from P(z | x); those of several hidden layers stand
            side by side, the first layer first.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        FloatingPointError
            If X times weights overflow.
        """
        X = self._check_X(X)
        random_state = check_random_state(random_state)
        states = [X]
        for layer in range(len(self.coefs_) - 1):
            on = self._probability(states[-1], layer)
            states.append((random_state.uniform(size=on.shape) < on).astype(np.float64))
        log_probability = self._log_classes(states[-1])
        # adding Gumbel noise makes the largest a draw
        noise = random_state.gumbel(size=log_probability.shape)
        return self.classes_[np.argmax(log_probability + noise, axis=1)], np.hstack(states[1:])

    @property
    def _n_features_out(self) -> int:
        return len(self.intercepts_[0])

    def _check_X(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, order="C", reset=False)

    def _shape(self) -> Shape:
        # kernels check no bounds, and attributes can be set by hand
        coefs, _ = check_parameters(self.coefs_, self.intercepts_, self.n_features_in_)
        shape = shape_of(coefs)
        if shape.n_classes != len(self.classes_):
            raise ValueError(
                f"coefs_[-1] has shape {coefs[-1].shape} for {len(self.classes_)} classes."
            )
        return shape

    def _log_marginal(self, X: Array) -> Array:
        shape = self._shape()
        parameters = shape.from_lists(self.coefs_, self.intercepts_)
        n_threads = effective_n_jobs(self.n_jobs)
        return self.e_step_.log_marginal(add_ones(X, True), parameters, shape, n_threads)

    def _probability(self, inputs: Array, layer: int) -> Array:
        """Return P(Z_h = 1 | inputs) of the units of a hidden layer."""
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
            log_odds = inputs @ self.coefs_[layer] + self.intercepts_[layer]
        if np.isnan(log_odds).any():
            raise FloatingPointError(
                "The log-odds of a hidden unit are not a number: X times weights overflow. "
                "Rescale the features."
            )
        return expit(log_odds)

    def _log_classes(self, hidden: Array) -> Array:
        """Return the log-softmax of the output layer for given hidden values."""
        with single_threaded_blas():  # so that no sum depends on the number of threads
            logits = hidden @ self.coefs_[-1] + self.intercepts_[-1]
        return log_softmax(logits, axis=1)

    def _class_indices(self, y: ArrayLike, n_samples: int) -> NDArray[np.int64]:
        labels = np.asarray(y)
        if labels.shape != (n_samples,):
            raise ValueError(f"y has shape {labels.shape}, and ({n_samples},) is needed.")
        return class_indices(labels, self.classes_, "seen in fit")

    def _n_free_parameters(self) -> int:
        """Count parameters; one class of the softmax is redundant."""
        check_is_fitted(self)
        ones = int(bool(self.fit_intercept))
        n_hidden = sum((len(W) + ones) * W.shape[1] for W in self.coefs_[:-1])
        return n_hidden + (len(self.coefs_[-1]) + ones) * (len(self.classes_) - 1)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_fastem_version": __version__}

    def __setstate__(self, state: dict) -> None:
        version = state.pop("_fastem_version", None)
        if version != __version__:
            warnings.warn(
                f"{type(self).__name__} was pickled by fastem {version} and is opened by "
                f"{__version__}; results may differ. Models from save() do not depend "
                "on the version.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
