"""Inference with a fitted network: probabilities, posteriors and samples."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax

from fastem.engines import Engine, check_parameters, e_step, shape_of
from fastem.parameters import Array
from fastem.rows import add_ones
from fastem.runtime import effective_n_jobs, single_threaded_blas


class FittedNetwork(NamedTuple):
    """A network with stochastic hidden units and its parameters.

    Attributes
    ----------
    coefs : list of arrays (n_features, n_hidden), ..., (n_hidden, n_classes)
    intercepts : list of arrays (n_hidden,), ..., (n_classes,)
    engine : Engine
    n_jobs : int or None
    """

    coefs: list[Array]
    intercepts: list[Array]
    engine: Engine
    n_jobs: int | None

    def log_marginal(self, X: Array, n_classes: int) -> Array:
        """Return log p(y = k | x) (n_samples, n_classes), nats, summed over hidden states.

        Raises
        ------
        ValueError
            If the parameters do not fit together, X, or the number of classes; or if the engine
            returns an array of another shape, or NaN.
        """
        # Attributes can be set by hand, and the kernels check no bounds.
        coefs, _ = check_parameters(self.coefs, self.intercepts, X.shape[1])
        shape = shape_of(coefs)
        if shape.n_outputs != n_classes:
            raise ValueError(
                f"coefs_[-1] has shape {coefs[-1].shape} for {n_classes} classes; call fit "
                "again, or set coefs_ and classes_ that match."
            )
        parameters = shape.from_lists(self.coefs, self.intercepts)
        n_threads = effective_n_jobs(self.n_jobs)
        found = self.engine.log_marginal(add_ones(X, True), parameters, shape, n_threads)
        if np.shape(found) != (len(X), n_classes) or np.isnan(found).any():
            raise ValueError(
                f"{type(self.engine).__qualname__}.log_marginal must return an array of shape "
                f"{(len(X), n_classes)} without NaN, got shape {np.shape(found)}."
            )
        return found

    def log_plugin(self, X: Array) -> Array:
        """Return the log-softmax of the mean hidden activation (n_samples, n_classes), nats."""
        hidden = X
        for layer in range(self.depth):
            hidden = self.hidden_probability(hidden, layer)
        return self.log_output(hidden)

    def hidden_probability(self, inputs: Array, layer: int) -> Array:
        """Return P(Z_h = 1 | inputs) (n_samples, n_hidden) of the units of a hidden layer.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
            log_odds = inputs @ self.coefs[layer] + self.intercepts[layer]
        if np.isnan(log_odds).any():
            raise FloatingPointError(
                "The log-odds of a hidden unit are not a number: X times weights overflow. "
                "Rescale the features."
            )
        return expit(log_odds)

    def log_output(self, hidden: Array) -> Array:
        """Return log P(y = k | hidden) (n_samples, n_classes), nats, for values of the units."""
        with single_threaded_blas():  # the order of a sum does not depend on the threads
            logits = hidden @ self.coefs[-1] + self.intercepts[-1]
        return log_softmax(logits, axis=1)

    def posterior(self, X: Array, labels: np.ndarray) -> Array:
        """Return P(Z_h = 1 | x, y) (n_samples, n_hidden) of the first hidden layer."""
        return e_step(
            X, labels, self.coefs, self.intercepts, method=self.engine, n_jobs=self.n_jobs
        ).hidden_posterior

    def sample_states(self, X: Array, random_state: np.random.RandomState) -> list[Array]:
        """Draw the states of every hidden layer, 0.0 or 1.0, given the layer below."""
        states = [X]
        for layer in range(self.depth):
            on = self.hidden_probability(states[-1], layer)
            states.append((random_state.uniform(size=on.shape) < on).astype(np.float64))
        return states[1:]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.coefs) - 1
