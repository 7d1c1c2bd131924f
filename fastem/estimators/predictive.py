"""Predictive distributions of a fitted network whose outputs are numbers or counts."""

from collections.abc import Iterator

import numpy as np
from scipy.special import xlogy

from fastem.estimators.inference import FittedNetwork
from fastem.families import Mixture, blocks, mixtures_of_rows
from fastem.parameters import Array

_DEEP_STATES = 2000  # states that stand for the distribution of the last of several layers


class PredictiveDistribution:
    """Distribution of y given x: moments, probabilities and quantiles of every output.

    With one hidden layer all results are exact. With several, the states of the last layer are
    sampled with the engine's seed; equal rows have equal results.

    Parameters
    ----------
    network : FittedNetwork
    X : array (n_samples, n_features)
    """

    def __init__(self, network: FittedNetwork, X: Array) -> None:
        self._network, self.X = network, X
        self._coefs, self._intercepts = network.coefs[-1], network.intercepts[-1]
        n_outputs = len(self._intercepts)
        self._variance = network.variance if network.family.has_variance else np.ones(n_outputs)

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance of every output, (n_samples, n_outputs)."""
        if self._network.depth == 1:
            on = self._network.hidden_probability(self.X, 0)
            return self._network.family.moments(on, self._coefs, self._intercepts, self._variance)
        means, variances = np.empty((2, len(self.X), len(self._intercepts)))
        for rows, mixture in self._mixtures():
            means[rows], variances[rows] = mixture.moments()
        return means, variances

    def cdf(self, y: Array) -> Array:
        """Return ``P(Y_d <= y_d | x)`` (n_samples, n_outputs) of every output by itself."""
        out = np.empty(y.shape)
        for rows, mixture in self._mixtures():
            out[rows] = mixture.cdf(y[rows])
        return out

    def quantiles(self, q: Array) -> Array:
        """Return quantiles (n_samples, n_outputs, n_quantiles) of every output by itself."""
        out = np.empty((len(self.X), len(self._intercepts), len(q)))
        for rows, mixture in self._mixtures():
            out[rows] = mixture.quantiles(q)
        return out

    def _mixtures(self) -> Iterator[tuple[slice, Mixture]]:
        network = self._network
        if network.depth == 1:
            on = network.hidden_probability(self.X, 0)
            yield from mixtures_of_rows(
                network.family, on, self._coefs, self._intercepts, self._variance
            )
            return
        seed = network.engine.get_params().get("random_state")
        generator = np.random.RandomState(0 if seed is None else seed % 2**32)
        # the same random numbers for every row, so that rows do not depend on each other
        uniform = [generator.uniform(size=(_DEEP_STATES, len(b))) for b in network.intercepts[:-1]]
        for rows in blocks(len(self.X), _DEEP_STATES * max(map(len, network.intercepts))):
            n_rows = rows.stop - rows.start
            states = np.repeat(self.X[rows], _DEEP_STATES, axis=0)
            for layer, draws in enumerate(uniform):
                on = network.hidden_probability(states, layer)
                states = (np.tile(draws, (n_rows, 1)) < on).astype(np.float64)
            eta = network.natural_parameter(states).reshape(n_rows, _DEEP_STATES, -1)
            prior = np.full((n_rows, _DEEP_STATES), 1.0 / _DEEP_STATES)
            yield rows, Mixture(network.family, prior, eta, self._variance)


def deviance_explained(counts: Array, means: Array, weights: Array) -> float:
    """Return D^2, the share of the Poisson deviance explained; the mean over outputs.

    A constant output has the share 1 if it is predicted exactly, and otherwise 0.

    Parameters
    ----------
    counts, means : arrays (n_samples, n_outputs)
    weights : array (n_samples,)
    """
    means = np.maximum(means, np.finfo(float).tiny)
    average = np.average(counts, axis=0, weights=weights)
    left = weights @ (xlogy(counts, counts / means) - counts + means)
    whole = weights @ (xlogy(counts, counts / np.where(average > 0.0, average, 1.0)))
    is_constant = np.ptp(counts[weights > 0.0], axis=0) == 0.0
    shares = 1.0 - left / np.where(is_constant, 1.0, whole)
    return float(np.mean(np.where(is_constant, left <= 0.0, shares)))
