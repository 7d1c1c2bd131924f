"""Inference with a fitted network: probabilities, log-densities, posteriors and samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from fastem.engines import Engine
from fastem.expectations import Expectations
from fastem.families import Family
from fastem.oracle import check_parameters, e_step, shape_of
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import add_ones, check_log_odds
from fastem.runtime import blas_for, effective_n_jobs, in_blocks
from fastem.sparse import SparseFeatures


class FittedNetwork(NamedTuple):
    """A network with stochastic hidden units and its parameters.

    Attributes
    ----------
    coefs : list of arrays (n_features, n_hidden), ..., (n_hidden, n_outputs)
    intercepts : list of arrays (n_hidden,), ..., (n_outputs,)
    engine : Engine
    n_jobs : int or None
    family : Family
    variance : array (n_outputs,) or (0,), squared unit of y
        Noise variances; empty if the family has none.
    """

    coefs: list[Array]
    intercepts: list[Array]
    engine: Engine
    n_jobs: int | None
    family: Family
    variance: Array

    def on_log_odds(self, X: SparseFeatures) -> tuple["FittedNetwork", Array]:
        """Return a network whose features are the log-odds of the first layer, and these.

        Its outputs, and the hidden states, have the same distributions.

        Raises
        ------
        ValueError
            If the parameters do not fit together or X.
        FloatingPointError
            If X times weights overflow.
        """
        variance = self.variance if self.family.has_variance else None
        (W, *coefs), (b, *intercepts) = check_parameters(
            self.coefs, self.intercepts, X.shape[1], self.family, variance
        )
        check_log_odds(np.append(X.largest, 1.0), np.vstack([W, b]))
        network = self._replace(
            coefs=[np.eye(len(b)), *coefs], intercepts=[np.zeros(len(b)), *intercepts]
        )
        return network, X @ W + b

    def log_marginal(self, X: Array | SparseFeatures, n_classes: int) -> Array:
        """Return log p(y = k | x) (n_samples, n_classes), nats, summed over hidden states.

        Raises
        ------
        ValueError
            If the parameters do not fit together, X, or the number of classes; or if the engine
            returns an array of another shape, or NaN.
        """
        if isinstance(X, SparseFeatures):
            return self._of_sparse(X, lambda network, X: network.log_marginal(X, n_classes))
        # Attributes can be set by hand, and the kernels check no bounds.
        coefs, _ = check_parameters(self.coefs, self.intercepts, X.shape[1])
        shape = shape_of(coefs)
        if shape.n_outputs != n_classes:
            raise ValueError(
                f"coefs_[-1] has shape {coefs[-1].shape} for {n_classes} classes; call fit "
                "again, or set coefs_ and classes_ that match."
            )
        parameters = shape.from_lists(self.coefs, self.intercepts)
        return self._checked_log_marginal(X, parameters, shape)

    def _of_sparse(
        self, X: SparseFeatures, function: Callable[["FittedNetwork", Array], Array]
    ) -> Array:
        """Return a function of network and rows, evaluated on sparse rows."""
        if self.engine.is_exact or not X.is_written_out:
            return function(*self.on_log_odds(X))
        # the samples of a row depend on the bits of its features
        return np.concatenate([function(self, block) for _, block in X.dense_blocks()])

    def label_probability(self, X: Array | SparseFeatures) -> Array:
        """Return P(y_l = 1 | x) (n_samples, n_labels) of every label.

        The marginal of a label is a network with two classes.
        """
        if isinstance(X, SparseFeatures):
            return self._of_sparse(X, FittedNetwork.label_probability)
        coefs, intercepts = check_parameters(
            self.coefs, self.intercepts, X.shape[1], self.family, None
        )
        out = np.empty((len(X), coefs[-1].shape[1]))
        for label, (v, c) in enumerate(zip(coefs[-1].T, intercepts[-1], strict=True)):
            of_label = [*coefs[:-1], np.column_stack([np.zeros_like(v), v])]
            shape = shape_of(of_label)
            parameters = shape.from_lists(of_label, [*intercepts[:-1], np.array([0.0, c])])
            log_p = self._checked_log_marginal(X, parameters, shape)
            out[:, label] = np.exp(log_softmax(log_p, axis=1)[:, 1])
        return out

    def _checked_log_marginal(self, X: Array, parameters: Parameters, shape: Shape) -> Array:
        n_threads, n_classes = effective_n_jobs(self.n_jobs), shape.n_outputs
        found = self.engine.log_marginal(add_ones(X, True), parameters, shape, n_threads)
        if np.shape(found) != (len(X), n_classes) or np.isnan(found).any():
            raise ValueError(
                f"{type(self.engine).__qualname__}.log_marginal must return an array of shape "
                f"{(len(X), n_classes)} without NaN, got shape {np.shape(found)}."
            )
        return found

    def log_plugin(self, X: Array) -> Array:
        """Return the log-softmax of the mean hidden activation (n_samples, n_classes), nats."""
        return self.log_output(self.mean_activation(X))

    def mean_activation(self, X: Array) -> Array:
        """Return the mean activation of the last hidden layer, computed layer by layer."""
        hidden = X
        for layer in range(self.depth):
            hidden = self.hidden_probability(hidden, layer)
        return hidden

    def hidden_probability(self, inputs: Array, layer: int) -> Array:
        """Return P(Z_h = 1 | inputs) (n_samples, n_hidden) of the units of a hidden layer.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        return expit(self.hidden_log_odds(inputs, layer))

    def hidden_log_odds(self, inputs: Array, layer: int) -> Array:
        """Return the log-odds (n_samples, n_hidden) of the units of a hidden layer.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow.
        """
        n_multiplications = len(inputs) * self.coefs[layer].size
        with blas_for(n_multiplications), np.errstate(over="ignore", invalid="ignore"):
            log_odds = inputs @ self.coefs[layer] + self.intercepts[layer]
        if np.isnan(log_odds).any():
            raise FloatingPointError(
                "The log-odds of a hidden unit are not a number: X times weights overflow. "
                "Rescale the features."
            )
        return log_odds

    def log_output(self, hidden: Array) -> Array:
        """Return log P(y = k | hidden) (n_samples, n_classes), nats, for values of the units."""
        return log_softmax(self.natural_parameter(hidden), axis=1)

    def log_density(self, X: Array, targets: np.ndarray) -> Array:
        """Return log p(y | x) (n_samples,), nats, of class indices or values."""
        if targets.ndim == 1:

            def of_class(rows: Array | SparseFeatures, labels: np.ndarray) -> Array:
                found = self.log_marginal(rows, self.coefs[-1].shape[1])
                return found[np.arange(len(labels)), labels]

            return self.by_rows(of_class, X, targets)
        return self._expected("log_likelihood", X, targets)

    def posterior(self, X: Array, targets: np.ndarray) -> Array:
        """Return P(Z_h = 1 | x, y) (n_samples, n_hidden) of the first hidden layer."""
        return self._expected("hidden_posterior", X, targets)

    def _expected(self, name: str, X: Array | SparseFeatures, targets: np.ndarray) -> Array:
        """Return a result of the E-step, by blocks of rows if it is exact."""

        def of_rows(rows: Array | SparseFeatures, values: np.ndarray) -> Array:
            return getattr(self._expect(rows, values), name)

        # the samples of a row depend on its place among the other rows
        return self.by_rows(of_rows, X, targets) if self.engine.is_exact else of_rows(X, targets)

    def _expect(self, X: Array | SparseFeatures, targets: np.ndarray) -> Expectations:
        if isinstance(X, SparseFeatures):
            network, log_odds = self.on_log_odds(X)
            return network._expect(log_odds, targets)
        return e_step(
            X, targets, self.coefs, self.intercepts, family=self.family,
            variance=self.variance if self.family.has_variance else None, method=self.engine,
            n_jobs=self.n_jobs,
        )  # fmt: skip

    def natural_parameter(self, hidden: Array) -> Array:
        """Return ``z V + c`` (n_samples, n_outputs) for values of the last layer's units."""
        # the order of a sum does not depend on the threads
        with blas_for(len(hidden) * self.coefs[-1].size):
            return hidden @ self.coefs[-1] + self.intercepts[-1]

    def sample_states(self, X: Array, random_state: np.random.RandomState) -> list[Array]:
        """Draw the states of every hidden layer, 0.0 or 1.0, given the layer below."""
        states = [X]
        for layer in range(self.depth):

            def draw(inputs: Array, layer: int = layer) -> Array:
                on = self.hidden_probability(inputs, layer)
                return (random_state.uniform(size=on.shape) < on).astype(np.float64)

            states.append(self.by_rows(draw, states[-1]))
        return states[1:]

    def by_rows(self, function: Callable[..., Any], X: Any, *others: NDArray[Any]) -> Any:
        """Apply a function of rows to blocks of them, so that their number needs no memory."""
        width = max(*map(len, self.coefs), len(self.intercepts[-1]))
        return in_blocks(function, X, *others, width=width)

    @property
    def dispersion(self) -> Array:
        """Dispersion of every output, (n_outputs,): the noise variance if there is one, else 1."""
        return self.variance if len(self.variance) > 0 else np.ones(len(self.intercepts[-1]))

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.coefs) - 1


def joined(states: list[Array]) -> Array:
    """Return the states of all hidden layers side by side, (n_samples, n_hidden)."""
    return states[0] if len(states) == 1 else np.hstack(states)
