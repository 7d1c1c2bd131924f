"""Methods of `fastem.EStep` about the posterior: moments, entropy and divergence."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.engines import Engine, Enumeration, expected_log_prior
from fastem.expectations import Statistics
from fastem.oracle.configurations import ConfigurationsMixin
from fastem.oracle.exclusive import exclusive
from fastem.oracle.moments import tables_in_use
from fastem.oracle.pair_moments import joint_probabilities, pair_moments
from fastem.oracle.upper_layers import buffers_above, posteriors_of_layers
from fastem.parameters import Array, ArrayLikes, Parameters
from fastem.runtime import bytes_of, check_memory, single_threaded_blas


class PosteriorMixin(ConfigurationsMixin):
    """Quantities of the posterior P(z | x, y), computed when their method is called.

    Notes
    -----
    All methods take the parameters as `fastem.EStep` does, and raise the same errors. Results are
    float64 arrays, and rows are in the order of X. In a deep network, configurations and units are
    those of the first hidden layer, unless a method returns all layers.
    """

    @exclusive
    def class_log_probability(
        self, coefs: ArrayLikes, intercepts: ArrayLikes
    ) -> NDArray[np.float64]:
        """Compute ``log p(y = k | x)`` of every class, whatever the observed class is.

        Parameters
        ----------
        coefs, intercepts
            As for `fastem.e_step`.

        Returns
        -------
        log_probability : array (n_samples, n_classes), nats
            Estimates if the engine is `Sampling`.

        Raises
        ------
        ValueError
            If the outputs are not classes.

        Notes
        -----
        Enumeration costs ``2 g n 2**m`` flops in matrix products.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> oracle = fastem.EStep([[0.0], [1.0]], [0, 1], hidden_layer_sizes=2)
        >>> oracle.class_log_probability(coefs, [np.zeros(2), np.zeros(2)]).round(4)
        array([[-0.3122, -1.3162],
               [-0.163 , -1.8944]])
        """
        shape = self._shape
        if not shape.has_classes:
            raise ValueError(
                f"class_log_probability needs classes, got family={shape.family.name!r}. The "
                "log-density of y is the log_likelihood that calling the E-step returns."
            )
        parameters = self._parameters(coefs, intercepts, None)
        found = self._engine.log_marginal(self._rows.inputs, parameters, shape, self._n_threads)
        return self._as_given(found)

    @exclusive
    def layer_posteriors(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> list[Array]:
        """Compute the posterior means of the units of every hidden layer.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.

        Returns
        -------
        posteriors : list of arrays (n_samples, n_hidden), probability
            ``P(Z_h = 1 | x_i, y_i)``, the first layer first. Estimates if the engine is
            `Sampling`.

        Raises
        ------
        ValueError
            If the network is deep and the engine is neither `Enumeration` nor one that returns
            posteriors of the samples for every layer.

        Warns
        -----
        UserWarning
            If the effective sample size is low: see `Sampling`.

        Notes
        -----
        One hidden layer needs one E-step. By enumeration, every later layer of u units adds
        ``2 (u + 1) n 2**m`` flops in matrix products, with m units in the first layer, and
        ``2 (u + 1) g 2**(a + b)`` for each pair of neighbouring layers of a and b units below it.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.ones((1, 2)), np.array([[1.0], [-2.0]]), np.array([[1.0, 0.0]])]
        >>> oracle = fastem.EStep([[0.0], [1.0]], [0, 1], hidden_layer_sizes=(2, 1))
        >>> first, second = oracle.layer_posteriors(coefs, [np.zeros(2), np.zeros(1), np.zeros(2)])
        >>> second.round(4)
        array([[0.4986],
               [0.2223]])
        """
        parameters = self._parameters(coefs, intercepts, variance)
        if isinstance(self._engine, Enumeration):
            self._check_tables("layer_posteriors", 1 + max(self._shape.hidden_layer_sizes))
            given = self._rows, self._shape, parameters, self._n_threads
            return [self._as_given(posterior.T) for posterior in posteriors_of_layers(*given)]
        statistics = self._statistics(parameters)
        hidden, effective = statistics.hidden, statistics.effective_sample_size
        if effective is not None and len(effective) > 0:
            self._engine.warn_if_noisy(float(np.median(effective)))
        if any(layer.inputs is not None for layer in hidden[1:]):
            self._need_enumeration("layer_posteriors of several hidden layers")
        return [self._as_given(layer.posterior.T) for layer in hidden]

    @exclusive
    def pair_moments(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
        *,
        summed: bool = False,
    ) -> Array:
        """Compute ``E[z_h z_k | x, y]`` of all pairs of units of the first hidden layer.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.
        summed : bool, default=False
            Return the sum over rows, each times its weight.

        Returns
        -------
        moments : array (n_samples, n_hidden, n_hidden) or (n_hidden, n_hidden), probability
            Symmetric. The diagonal holds the posterior means. If summed, in units of weight.

        Raises
        ------
        ValueError
            If the engine is not exact, or if the result does not fit into memory.
        FloatingPointError
            If inputs times weights overflow, or if the engine does not reach its tolerance on one
            of the smaller networks in the notes.

        Notes
        -----
        Enumeration costs about ``(m / 2 + 6) n 2**m`` flops in matrix products. The other engines
        run m E-steps on networks with one unit less: P(z_k = 1 | x, y, z_h = 1) is the posterior of
        the network in which the weights of unit h are added to the intercepts of the layer above.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> oracle = fastem.EStep([[0.0]], [0], hidden_layer_sizes=2)
        >>> oracle.pair_moments(coefs, [np.zeros(2), np.zeros(2)]).round(4)
        array([[[0.6166, 0.3157],
                [0.3157, 0.5283]]])
        """
        self._need_exact("pair_moments")
        shape, rows = self._shape, self._rows
        m, n_samples = shape.first, len(rows.weights)
        if not summed:
            check_memory(
                f"pair_moments of {n_samples} rows and {m} units",
                "for n_samples * n_hidden**2 numbers",
                "Use summed=True, which needs fewer numbers, or fewer rows.",
                2 * 8 * n_samples * m * m,
            )
        parameters = self._parameters(coefs, intercepts, variance)
        if isinstance(self._engine, Enumeration):
            self._check_tables("pair_moments", 1)
            found = pair_moments(rows, shape, parameters, summed, self._n_threads)
            return found if summed else self._as_given(found)
        out = np.zeros((m, m) if summed else (n_samples, m, m))
        for h, joint in enumerate(self._joint(parameters, self._statistics(parameters))):
            if summed:
                own = (joint * rows.weights).sum(axis=1)
                out[h] += 0.5 * own
                out[:, h] += 0.5 * own
            else:
                out[:, h] += 0.5 * joint.T
                out[:, :, h] += 0.5 * joint.T
        return out if summed else self._as_given(out)

    @exclusive
    def posterior_entropy(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Compute the entropy of the posterior over configurations.

        ``-sum_z P(z | x, y) log P(z | x, y)``, from 0 to ``n_hidden log 2``.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.

        Returns
        -------
        entropy : array (n_samples,), nats
            In a deep network that of the first hidden layer.

        Raises
        ------
        ValueError
            If the engine is not `Enumeration`; for a Gaussian family, if it is not exact.

        Notes
        -----
        Enumeration costs an E-step and ``4 n 2**m`` flops. With Gaussian outputs and another exact
        engine, the entropy follows from `pair_moments`, which needs m E-steps.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> oracle = fastem.EStep([[0.0]], [0], hidden_layer_sizes=2, method="enumeration")
        >>> oracle.posterior_entropy(coefs, [np.zeros(2), np.zeros(2)]).round(4)
        array([1.3564])
        """
        parameters = self._parameters(coefs, intercepts, variance)
        return self._entropy_and_divergence(parameters, "posterior_entropy")[0]

    @exclusive
    def posterior_divergence(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Compute the Kullback-Leibler divergence of the posterior from the prior.

        ``sum_z P(z | x, y) log(P(z | x, y) / P(z | x))``: the information that y adds to x.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `fastem.e_step`.

        Returns
        -------
        divergence : array (n_samples,), nats
            At least 0. In a deep network that of the first hidden layer.

        Raises
        ------
        ValueError
            As `posterior_entropy`.

        Notes
        -----
        The cost is that of `posterior_entropy`.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> coefs = [np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])]
        >>> oracle = fastem.EStep([[0.0]], [0], hidden_layer_sizes=2, method="enumeration")
        >>> oracle.posterior_divergence(coefs, [np.zeros(2), np.zeros(2)]).round(4)
        array([0.0299])
        """
        parameters = self._parameters(coefs, intercepts, variance)
        return self._entropy_and_divergence(parameters, "posterior_divergence")[1]

    def _entropy_and_divergence(self, parameters: Parameters, method: str) -> tuple[Array, Array]:
        """Return entropy and divergence of the posterior, (n_samples,), in the order of X."""
        family = self._shape.family
        if isinstance(self._engine, Enumeration):
            # in double precision, because log-odds multiply the errors of the posterior
            statistics = self._statistics(parameters, Enumeration(precision="double"))
            posterior = statistics.hidden[0].posterior
            found = self._configurations(parameters).entropy_and_divergence(posterior)
        elif family.has_variance:
            self._need_exact(method)
            found = self._of_normal_noise(parameters)
        else:
            self._need_enumeration(method)
        return self._as_given(found[0]), self._as_given(found[1])

    def _of_normal_noise(self, parameters: Parameters) -> tuple[Array, Array]:
        """Return entropy and divergence for normal noise: ``E[log p(y | z)]`` needs two moments."""
        statistics = self._statistics(parameters)
        posterior = statistics.hidden[0].posterior.copy()
        log_likelihood = statistics.log_likelihood.copy()
        coefs = parameters.output[: self._shape.first]
        spread = np.zeros((len(log_likelihood), coefs.shape[1]))
        for h, joint in enumerate(self._joint(parameters, statistics)):
            covariance = joint - posterior[h] * posterior
            with single_threaded_blas():
                spread += (covariance.T @ coefs) * coefs[h]
        spread = np.maximum(spread, 0.0)
        divergence = self._expected_log_normal(posterior, spread, parameters) - log_likelihood
        log_prior = expected_log_prior(posterior, self._log_odds(parameters))
        entropy = -divergence - log_prior
        most = len(posterior) * np.log(2.0)
        return np.clip(entropy, 0.0, most), np.maximum(divergence, 0.0)

    def _check_tables(self, method: str, n_tables: int) -> None:
        """Raise ValueError if tables over the configurations do not fit into memory."""
        shape, n_samples = self._shape, len(self._rows.weights)
        declared = tables_in_use(shape, n_samples, n_tables, self._n_threads)
        declared += buffers_above(shape, n_tables, sum(shape.hidden_layer_sizes), self._n_threads)
        check_memory(
            f"{method} with hidden_layer_sizes={shape.hidden_layer_sizes}",
            f"for tables over 2**{max(shape.hidden_layer_sizes)} configurations",
            "Use fewer hidden units: one unit less halves the memory.",
            bytes_of(*declared),
        )

    def _statistics(self, parameters: Parameters, engine: Engine | None = None) -> Statistics:
        """Run the E-step in a plan of its own, with the engine of this instance by default."""
        plan = (engine or self._engine).plan(self._rows, self._shape, self._n_threads)
        return plan.expect(parameters)

    def _joint(self, parameters: Parameters, statistics: Statistics) -> Iterator[Array]:
        rows, shape = self._rows, self._shape
        return joint_probabilities(
            self._engine, rows, parameters, shape, statistics, self._n_threads
        )
