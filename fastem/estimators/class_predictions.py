"""Predictions of FastEMClassifier."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax
from sklearn.utils.validation import check_is_fitted

from fastem.estimators.arguments import generator_of
from fastem.estimators.inference import FittedNetwork, joined
from fastem.families import Bernoulli, Categorical
from fastem.parameters import Array


class ClassPredictions:
    """Methods of a fitted `FastEMClassifier` that predict or draw classes or labels."""

    classes_: NDArray[Any]
    family_: Categorical | Bernoulli
    size_path_: dict[str, NDArray[Any]]
    prediction: str
    _check_X: Callable[..., Any]  # noqa: N815
    _network: Callable[[], Any]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of every row; for multilabel, of every label by itself.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        labels : array (n_samples,), or (n_samples, n_labels) of 0 and 1 for multilabel

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict_log_proba` does.
        """
        if self._has_labels():

            def most_probable(network: FittedNetwork, rows: Any) -> NDArray[Any]:
                return (self._label_probability(network, rows) > 0.5).astype(np.int64)
        else:

            def most_probable(network: FittedNetwork, rows: Any) -> NDArray[Any]:
                return self.classes_[np.argmax(self._log_probability(network, rows), axis=1)]

        return self._by_rows(X, most_probable)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return P(y = k | x) of every class.

        With ``prediction="marginal"`` this is the exact sum ``sum_z P(z|x) P(y|z)``. With
        ``prediction="plugin"`` it is the softmax of the mean hidden activation, computed layer by
        layer. A model fitted by `Sampling` averages P(y|z) over samples of P(z|x). The samples
        depend on its seed and the row only. Equal rows therefore have equal probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        probability : array (n_samples, n_classes)
            For multilabel, P(y_l = 1 | x) of every label by itself, (n_samples, n_labels).

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict_log_proba` does.
        """
        if not self._has_labels():
            return self._by_rows(
                X, lambda network, rows: np.exp(self._log_probability(network, rows))
            )
        return self._by_rows(X, self._label_probability)

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Return log P(y = k | x); finite for every probability of a class.

        For multilabel, the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

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
        if self._has_labels():
            probability = self.predict_proba(X)
            with np.errstate(divide="ignore"):
                return np.log(probability, out=probability)
        return self._by_rows(X, self._log_probability)

    def sample(
        self, X: ArrayLike, random_state: int | np.random.RandomState | None = None
    ) -> tuple[NDArray[Any], Array]:
        """Draw hidden states and labels for given rows.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        random_state : int, RandomState or None, default=None

        Returns
        -------
        y : array (n_samples,), or (n_samples, n_labels) for multilabel
            Labels drawn from P(y | z), those of a row jointly.
        z : array (n_samples, n_hidden)
            Hidden states, 0.0 or 1.0, drawn from P(z | x). Columns of several hidden layers are
            concatenated, the first layer first.

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
        random_state = generator_of(random_state)
        has_labels = self._has_labels()

        def draw(hidden: Array) -> NDArray[Any]:
            eta = network.natural_parameter(hidden)
            if has_labels:
                return self.family_.draw(eta, np.ones(1), random_state).astype(np.int64)
            return self.classes_[self.family_.draw(log_softmax(eta, axis=1), random_state)]

        states = network.sample_states(X, random_state)
        return network.by_rows(draw, states[-1]), joined(states)

    def _by_rows(
        self, X: ArrayLike, function: Callable[[FittedNetwork, Any], NDArray[Any]]
    ) -> NDArray[Any]:
        """Check X; apply a function of the network and rows to blocks of rows."""
        X, network = self._check_X(X), self._network()
        return network.by_rows(partial(function, network), X)

    def _label_probability(self, network: FittedNetwork, X: Any) -> Array:
        """Return P(y_l = 1 | x) of every label."""
        if self.prediction == "plugin":
            return expit(network.natural_parameter(network.mean_activation(X)))
        return network.label_probability(X)

    def _log_probability(self, network: FittedNetwork, X: Any) -> Array:
        """Return log P(y = k | x) of every class, nats."""
        if self.prediction == "plugin":
            return network.log_plugin(X)
        # The probabilities sum to one up to rounding; normalise.
        return log_softmax(network.log_marginal(X, len(self.classes_)), axis=1)

    def _has_labels(self) -> bool:
        """Whether y has several labels, each absent or present."""
        check_is_fitted(self)
        return isinstance(self.family_, Bernoulli)
