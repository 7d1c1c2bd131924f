"""Predictive distributions of a fitted network whose outputs are numbers or counts."""

from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, xlogy

from fastem.engines import (
    Quadrature,
    distribution_buffers,
    gaussian_cdf,
    gaussian_quantiles,
)
from fastem.estimators.inference import FittedNetwork
from fastem.families import (
    MOST_UNITS_OF_A_MIXTURE,
    Gaussian,
    Mixture,
    blocks,
    mixtures_of_rows,
)
from fastem.oracle import check_parameters
from fastem.parameters import Array
from fastem.runtime import (
    bytes_of,
    check_memory,
    effective_n_jobs,
    row_ranges,
    single_threaded_blas,
)
from fastem.sparse import SparseFeatures

_DEEP_STATES = 2000  # samples of the states of the last of several layers
_ROWS_TO_INTEGRATE = 8192  # at once: bounds the memory
_TAIL = 1e-8  # probability below which an absolute error of 1e-10 is relevant
_LEVELS = 1e-300, 1.0 - 1e-15  # smallest and largest level of a quantile
_LARGEST_COVERAGE = 1.0 - 2e-15  # its levels are permitted
_LARGEST_LOG_ODDS = 1e300  # the integrals need finite log-odds


class _GaussianOutput(NamedTuple):
    """One Gaussian output above one hidden layer, and the settings of its integrals.

    If the noise is too small for the integral, or if a probability is so small that the absolute
    error of the integral is relevant, the distribution is summed over all states instead.

    Attributes
    ----------
    v : array (n_hidden,), units of y
    c : float, units of y
    variance : float, squared units of y
    tol : float
        Error of a probability that is allowed.
    n_threads : int
    """

    v: Array
    c: float
    variance: float
    tol: float
    n_threads: int

    @property
    def _can_list_states(self) -> bool:
        return len(self.v) <= MOST_UNITS_OF_A_MIXTURE

    def cdf(self, log_odds: Array, y: Array) -> Array:
        """Return ``P(Y <= y | x)`` (n_samples,)."""
        try:
            out = np.clip(gaussian_cdf(log_odds, y, *self), 0.0, 1.0)
            listed = np.flatnonzero(np.minimum(out, 1.0 - out) < _TAIL)
        except FloatingPointError:
            if not self._can_list_states:
                raise
            out, listed = np.empty(len(y)), np.arange(len(y))
        if self._can_list_states:
            for rows, mixture in self._mixtures(log_odds[listed]):
                out[listed[rows]] = mixture.cdf(y[listed[rows], None])[:, 0]
        return out

    def quantiles(self, log_odds: Array, q: Array) -> Array:
        """Return quantiles (n_samples, n_quantiles)."""
        in_tail = bool((np.minimum(q, 1.0 - q) < _TAIL).any())
        if not (in_tail and self._can_list_states):
            try:
                return gaussian_quantiles(log_odds, q, *self)
            except FloatingPointError:
                if not self._can_list_states:
                    raise
        out = np.empty((len(log_odds), len(q)))
        for rows, mixture in self._mixtures(log_odds):
            out[rows] = mixture.quantiles(q)[:, 0]
        return out

    def _mixtures(self, log_odds: Array) -> Iterator[tuple[slice, Mixture]]:
        output = self.v[:, None], np.array([self.c]), np.array([self.variance])
        return mixtures_of_rows(Gaussian(), expit(log_odds), expit(-log_odds), *output)


class PredictiveDistribution:
    """Distribution of y given x: moments, probabilities and quantiles of every output.

    With one hidden layer all results are exact. Probabilities and quantiles of Gaussian outputs
    are integrals over a line; their absolute error is at most 1e-10, and their cost is linear in
    the number of hidden units. Those of other families are sums over all states, and so are tails
    of Gaussian outputs with up to 20 units. With several layers, the states of the last layer are
    sampled with the engine's seed; equal rows have equal results.

    Parameters
    ----------
    network : FittedNetwork
    X : array (n_samples, n_features) or SparseFeatures
    """

    def __init__(self, network: FittedNetwork, X: Array | SparseFeatures) -> None:
        if isinstance(X, SparseFeatures):
            network, X = network.on_log_odds(X)
        self._network, self.X = network, X
        self._coefs, self._intercepts = network.coefs[-1], network.intercepts[-1]
        self._variance = network.dispersion

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
        if self._has_integrals:
            for rows, d, log_odds, output in self._integrals(1):
                out[rows, d] = output.cdf(log_odds, y[rows, d])
            return out
        for rows, mixture in self._mixtures():
            out[rows] = mixture.cdf(y[rows])
        return out

    def quantiles(self, q: Array) -> Array:
        """Return quantiles (n_samples, n_outputs, n_quantiles) of every output by itself."""
        out = np.empty((len(self.X), len(self._intercepts), len(q)))
        if self._has_integrals:
            for rows, d, log_odds, output in self._integrals(len(q)):
                out[rows, d] = output.quantiles(log_odds, q)
            return out
        with single_threaded_blas():  # the order of a sum does not depend on the threads
            for rows, mixture in self._mixtures():
                out[rows] = mixture.quantiles(q)
        return out

    @property
    def _has_integrals(self) -> bool:
        return self._network.depth == 1 and type(self._network.family) is Gaussian

    def _integrals(self, n_values: int) -> Iterator[tuple[slice, int, Array, _GaussianOutput]]:
        """Yield blocks of rows, and for each of them every output with the log-odds of the units.

        Raises
        ------
        ValueError
            If the parameters do not match X, or the results do not fit into memory.
        """
        network, X = self._network, self.X
        # Attributes can be set by hand, and the kernels check no bounds.
        (_, V), (_, c) = check_parameters(
            network.coefs, network.intercepts, X.shape[1], network.family, network.variance
        )
        engine, n_threads = network.engine, effective_n_jobs(network.n_jobs)
        tol = engine.tol if isinstance(engine, Quadrature) else Quadrature.tol
        n_rows = min(len(X), _ROWS_TO_INTEGRATE)
        declared = {"results": (len(X), len(c), n_values), "log_odds": (3, n_rows, len(V))}
        own = distribution_buffers(n_rows, len(V), n_values, n_threads)
        check_memory(
            f"hidden_layer_sizes={(len(V),)} on {len(X)} rows",
            f"for {n_values} quantiles or probabilities per row and output",
            "Use fewer rows or quantiles at once.",
            bytes_of(declared, own),
        )
        outputs = [
            _GaussianOutput(np.ascontiguousarray(v), float(offset), float(s), tol, n_threads)
            for v, offset, s in zip(V.T, c, network.variance, strict=True)
        ]
        for start, stop in row_ranges(len(X), _ROWS_TO_INTEGRATE):
            rows = slice(start, stop)
            log_odds = network.hidden_log_odds(X[rows], 0)
            np.minimum(log_odds, _LARGEST_LOG_ODDS, out=log_odds)
            for d, output in enumerate(outputs):
                yield rows, d, log_odds, output

    def _mixtures(self) -> Iterator[tuple[slice, Mixture]]:
        network = self._network
        if network.depth == 1:
            log_odds = network.hidden_log_odds(self.X, 0)
            output = self._coefs, self._intercepts, self._variance
            yield from mixtures_of_rows(network.family, expit(log_odds), expit(-log_odds), *output)
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


def quantile_levels(q: Any) -> Array:
    """Return levels (n_quantiles,) of quantiles, probabilities.

    Raises
    ------
    ValueError
        If q is not a number or an array of one dimension, or a level is out of range.
    """
    levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
    smallest, largest = _LEVELS
    if levels.ndim != 1 or not ((levels >= smallest) & (levels <= largest)).all():
        raise ValueError(f"q must lie between 1e-300 and 1 - 1e-15; got {q!r}.")
    return levels


def levels_of_interval(coverage: Any) -> Array:
    """Return the levels (2,) of both ends of a central interval, probabilities.

    Raises
    ------
    ValueError
        If the coverage is not a real number in its range.
    """
    if not (isinstance(coverage, Real) and 0.0 < coverage <= _LARGEST_COVERAGE):
        raise ValueError(
            f"coverage must be a number above 0 and at most 1 - 2e-15; got {coverage!r}."
        )
    half = 0.5 * float(coverage)
    return np.array([0.5 - half, 0.5 + half])


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
