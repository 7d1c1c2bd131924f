"""Methods of `fastem.EStep` about single configurations: a bound, a maximum, and samples."""

import numbers
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from fastem.engines import (
    ConfigurationPosterior,
    Engine,
    Enumeration,
    draw_seed,
    expected_log_prior,
)
from fastem.oracle.exclusive import exclusive
from fastem.parameters import Array, ArrayLikes, Parameters, Shape, split_intercepts
from fastem.rows import TrainingRows, check_log_odds
from fastem.runtime import check_memory, finite_array, single_threaded_blas


class ConfigurationsMixin:
    """Quantities of the posterior that concern configurations of the first hidden layer."""

    _rows: TrainingRows
    _shape: Shape
    _engine: Engine
    _n_threads: int
    _parameters: Callable[..., Parameters]

    @exclusive
    def evidence_bound(
        self,
        q: ArrayLike,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Compute the evidence lower bound of a distribution with independent units.

        ``sum_z q(z) (log P(z | x) + log p(y | z) - log q(z))``. It is at most the log-likelihood.
        The difference is the divergence of q from the posterior.

        Parameters
        ----------
        q : array-like (n_samples, n_hidden), probability
            Probability that each unit of the first hidden layer is on.
        coefs, intercepts, variance
            As for `fastem.e_step`.

        Returns
        -------
        bound : array (n_samples,), nats
            Exact, not an estimate. In a deep network the layers above the first are summed out.

        Raises
        ------
        ValueError
            If q has another shape or is not a probability; if the engine is not `Enumeration` and
            the outputs have no noise variance.
        FloatingPointError
            If inputs times weights or squared residuals overflow.

        Notes
        -----
        Enumeration costs ``2 n 2**m`` flops in matrix products. For Gaussian outputs there is a
        closed form for any number of units and any engine: it needs mean and variance of
        ``z V + c`` under q.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> intercepts = [np.zeros(2), np.zeros(2)]
        >>> oracle = fastem.EStep([[0.0]], [0], hidden_layer_sizes=2, method="enumeration")
        >>> result = oracle(coefs, intercepts)
        >>> result.log_likelihood.round(4)
        array([-0.3122])
        >>> oracle.evidence_bound(result.hidden_posterior, coefs, intercepts).round(4)
        array([-0.313])
        """
        shape, rows = self._shape, self._rows
        parameters = self._parameters(coefs, intercepts, variance)
        q = _checked_probability(q, (len(rows.weights), shape.first))[rows.order].T
        if shape.family.has_variance:
            squared_coefs = parameters.output[: shape.last] ** 2
            spread = (q * (1.0 - q)).T @ squared_coefs
            density = self._expected_log_normal(q, spread, parameters)
        else:
            self._need_enumeration("evidence_bound")
            density = self._configurations(parameters).expected_log_density(q)
        entropy = -(xlogy(q, q) + xlogy(1.0 - q, 1.0 - q)).sum(axis=0)
        return self._as_given(density + expected_log_prior(q, self._log_odds(parameters)) + entropy)

    @exclusive
    def most_probable(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int8], Array]:
        """Find the most probable configuration of every row under the posterior.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.

        Returns
        -------
        states : array of int8 (n_samples, n_hidden)
            Zeros and ones. If several configurations have the same computed probability, the
            smallest one, ``sum_h 2**h z_h``, is returned.
        log_probability : array (n_samples,), nats
            Log-probability of this configuration under the posterior.

        Raises
        ------
        ValueError
            If the engine is not `Enumeration`.

        Notes
        -----
        The cost is ``n 2**m`` additions and comparisons, and ``2 n 2**m`` flops in matrix products.
        In a deep network the layers above the first are summed out.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> oracle = fastem.EStep([[1.0]], [0], hidden_layer_sizes=2, method="enumeration")
        >>> states, log_probability = oracle.most_probable(coefs, [np.zeros(2), np.zeros(2)])
        >>> states, log_probability.round(4)
        (array([[1, 0]], dtype=int8), array([-0.4041]))
        """
        self._need_enumeration("most_probable")
        parameters = self._parameters(coefs, intercepts, variance)
        states = np.empty((len(self._rows.weights), self._shape.first), dtype=np.int8)
        log_probability = self._configurations(parameters).most_probable(states)
        return states, self._as_given(log_probability)

    @exclusive
    def sample_posterior(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
        *,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[np.int8]:
        """Draw independent configurations from the exact posterior.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.
        n_samples : int, default=1
            Configurations per row.
        random_state : int or RandomState, optional
            Seed. Equal seeds give equal samples, whatever ``n_jobs`` is. The first samples do not
            depend on the number of samples.

        Returns
        -------
        states : array of int8 (n_samples, n_rows, n_hidden)
            Zeros and ones. ``states[j]`` is the sample number j of every row, in the order of X.

        Raises
        ------
        ValueError
            If the engine is not `Enumeration`, ``n_samples`` is not a positive integer, or the
            result does not fit into memory.

        Notes
        -----
        The cost is ``4 n 2**m`` flops in matrix products, and ``O(2**(m / 2) + m)`` operations for
        every sample. In a deep network the layers above the first are summed out.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> intercepts = [np.zeros(2), np.zeros(2)]
        >>> oracle = fastem.EStep([[1.0]], [0], hidden_layer_sizes=2, method="enumeration")
        >>> states = oracle.sample_posterior(coefs, intercepts, n_samples=10_000, random_state=0)
        >>> states.shape
        (10000, 1, 2)
        >>> oracle(coefs, intercepts).hidden_posterior.round(2), states.mean(axis=0).round(2)
        (array([[0.93, 0.28]]), array([[0.93, 0.28]]))
        """
        self._need_enumeration("sample_posterior")
        is_integer = isinstance(n_samples, numbers.Integral) and not isinstance(n_samples, bool)
        if not is_integer or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}.")
        seed = draw_seed(random_state)
        if seed >= 2**64:
            raise ValueError(f"random_state must be below 2**64, got {random_state!r}.")
        n_rows, m = len(self._rows.weights), self._shape.first
        check_memory(
            f"n_samples={n_samples} for {n_rows} rows and {m} units",
            "for the samples",
            "Draw fewer samples at once, with other seeds.",
            int(n_samples) * (n_rows * m + 24 * self._n_threads),
        )
        parameters = self._parameters(coefs, intercepts, variance)
        out = np.empty((int(n_samples), n_rows, m), dtype=np.int8)
        self._configurations(parameters).sample(int(n_samples), seed, out)
        return out

    def _expected_log_normal(self, mean: Array, spread: Array, parameters: Parameters) -> Array:
        """Return ``E[log p(y | z)]`` (n_samples,), in nats, of a family with noise variances.

        Parameters
        ----------
        mean : array (n_hidden, n_samples), probability
            Mean of z in every row.
        spread : array (n_samples, n_outputs), squared unit of y
            Variance of ``z V + c`` in every row.
        parameters : Parameters

        Raises
        ------
        FloatingPointError
            If squared residuals overflow.
        """
        targets, dispersion = self._rows.targets, parameters.dispersion
        coefs, intercepts = split_intercepts(parameters.output, self._shape.last)
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
            residuals = targets - (mean.T @ coefs + intercepts)
            squares = (residuals**2 + spread) / dispersion
        if not np.isfinite(squares).all():
            raise FloatingPointError(
                "Squared residuals of y overflow: y or the weights into the outputs are too large, "
                "or a noise variance is too small. Rescale y."
            )
        largest = self._shape.family.log_largest(targets, dispersion)
        return (largest - 0.5 * squares).sum(axis=1)

    def _log_odds(self, parameters: Parameters) -> Array:
        """Return the log-odds (n_hidden, n_samples) of the first hidden layer."""
        check_log_odds(self._rows.largest_inputs, parameters.hidden[0])
        with single_threaded_blas():
            return (self._rows.inputs @ parameters.hidden[0]).T

    def _configurations(self, parameters: Parameters) -> ConfigurationPosterior:
        return ConfigurationPosterior(self._rows, self._shape, parameters, self._n_threads)

    def _as_given(self, values: Array) -> Array:
        """Return a copy of values of the sorted rows in the order of X."""
        out = np.empty(values.shape)
        out[self._rows.order] = values
        return out

    def _need_enumeration(self, method: str) -> None:
        """Raise ValueError if the engine is not `Enumeration`."""
        if not isinstance(self._engine, Enumeration):
            raise ValueError(
                f"{method} needs sums over all configurations of the hidden units, which the "
                f"engine {self._engine.name!r} does not compute. Prepare the E-step with "
                "method=fastem.Enumeration()."
            )

    def _need_exact(self, method: str) -> None:
        """Raise ValueError if the engine returns estimates."""
        if not self._engine.is_exact:
            raise ValueError(
                f"{method} needs an exact engine, and the engine {self._engine.name!r} returns "
                "estimates. Prepare the E-step with method=fastem.Enumeration(), or with "
                "method=fastem.Quadrature() for two or three classes or one Gaussian output."
            )


def _checked_probability(q: ArrayLike, wanted: tuple[int, int]) -> Array:
    """Return q as an array of the wanted shape with values from 0 to 1."""
    q = finite_array("q", q, 2)
    if q.shape != wanted:
        raise ValueError(
            f"q must have shape {wanted}, one probability per row and unit of the first hidden "
            f"layer, got {q.shape}."
        )
    if q.size and not 0.0 <= q.min() <= q.max() <= 1.0:
        raise ValueError(f"q must be between 0 and 1, got values from {q.min()} to {q.max()}.")
    return q
