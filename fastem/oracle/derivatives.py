"""Derivatives of the log-likelihood that `EStep` offers beside its gradient."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fastem.engines import Engine, Enumeration, Plan, Quadrature
from fastem.oracle.differences import gradient_slope
from fastem.oracle.exclusive import exclusive
from fastem.oracle.flat_vectors import FlatVectorsMixin, split_vector
from fastem.oracle.hessian_products import exact_hessian_product
from fastem.oracle.information import exact_hessian
from fastem.oracle.row_gradients import row_gradients, row_products
from fastem.parameters import Array, ArrayLikes, Parameters
from fastem.rows import TrainingRows
from fastem.runtime import bytes_of, check_memory

_MOST_ENUMERATED = 12  # hidden units up to which enumeration replaces quadrature


class DerivativesMixin(FlatVectorsMixin):
    """Derivatives of ``log p(y | x)`` by inputs and by parameters.

    Parameters form one vector in the order of `flatten`. Derivatives are by the noise variances,
    not by their logarithms.
    """

    _rows: TrainingRows
    _engine: Engine
    _plan: Plan
    _n_threads: int
    _as_given: Callable[[Array], Array]
    _parameters: Callable[..., Parameters]

    @exclusive
    def input_gradient(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Return the gradient of ``log p(y_i | x_i)`` by ``x_i`` for every row.

        A model that computes X, such as a layer below this network, is trained with it.

        Parameters
        ----------
        coefs, intercepts, variance
            As for a call of the instance.

        Returns
        -------
        gradient : array (n_samples, n_features), nats per unit of the feature
            Without the weights of the rows. With `Sampling`, an estimate.

        Raises
        ------
        ValueError
            As for a call of the instance.
        FloatingPointError
            As for a call of the instance, or if derivatives overflow.

        Notes
        -----
        ``W (q_i - u_i)``, with the prior u and the posterior q of the units of the first layer.
        The cost is that of an E-step, plus ``2 n p m`` flops.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
        >>> W, V = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])
        >>> oracle = fastem.EStep(X, y, hidden_layer_sizes=2)
        >>> oracle.input_gradient([W, V], [np.zeros(2), np.zeros(2)]).round(4)
        array([[ 0.2048],
               [-0.433 ]])
        """
        parameters = self._parameters(coefs, intercepts, variance)
        layer = self._plan.expect(parameters).hidden[0]
        weights = parameters.hidden[0][:-1]
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = (layer.posterior - layer.probability).T @ weights.T
        return self._as_given(_finite(gradient))

    @exclusive
    def row_gradients(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
    ) -> Array:
        """Return the gradient of ``log p(y_i | x_i)`` by all parameters for every row (scores).

        Parameters
        ----------
        coefs, intercepts, variance
            As for a call of the instance.
        vector : array-like (n_parameters,), optional
            In the order of `flatten`. With it, products of the gradients and the vector are
            returned, without forming the matrix.

        Returns
        -------
        gradients : array (n_samples, n_parameters) or (n_samples,)
            Parameters are in the order of `flatten`; see `unflatten`. Nats per unit of a parameter,
            without the weights of the rows.

        Raises
        ------
        ValueError
            As for a call of the instance, or if the matrix does not fit into memory.
        FloatingPointError
            As for a call of the instance, or if derivatives overflow.

        Notes
        -----
        By enumeration, the matrix costs ``4 n 2**m`` flops in matrix products for the hidden
        layer, and as many for every class but one or for every output (two times per output with
        a noise variance). With a vector, the cost is that of one E-step, and memory is
        ``O(n + g 2**m)``. In deep networks, the matrix costs ``2 n 2**m`` flops for each
        parameter above the first layer, and holds ``g 2**m`` gradients of these parameters.

        With `Quadrature` and at most 12 hidden units the same sums are enumerated. Otherwise, an
        engine other than `Enumeration` runs one E-step per row. The result is as exact as the
        engine. With `Sampling` it is an estimate, from other samples than those of a call.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
        >>> W, V = np.array([[2.0]]), np.array([[1.0, -1.0]])
        >>> oracle = fastem.EStep(X, y, hidden_layer_sizes=1)
        >>> scores = oracle.row_gradients([W, V], [np.zeros(1), np.zeros(2)])
        >>> scores.shape
        (2, 6)
        >>> result = oracle([W, V], [np.zeros(1), np.zeros(2)])
        >>> gradient = oracle.flatten(result.coef_gradients, result.intercept_gradients)
        >>> bool(np.allclose(scores.sum(axis=0), gradient))
        True
        """
        parameters = self._parameters(coefs, intercepts, variance)
        given = self._engine_of_rows(), self._rows, self._shape, parameters
        if vector is None:
            sorted_rows = row_gradients(*given, self._n_threads)
        else:
            sorted_rows = row_products(*given, self._vector(vector), self._n_threads)
        return self._as_given(_finite(sorted_rows))

    @exclusive
    def information(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Return the observed information: minus the Hessian of the weighted total log-likelihood.

        Parameters
        ----------
        coefs, intercepts, variance
            As for a call of the instance.

        Returns
        -------
        information : array (n_parameters, n_parameters)
            Parameters are in the order of `flatten`. Symmetric to the bit. Away from a maximum of
            the likelihood it need not be positive semidefinite.

        Raises
        ------
        ValueError
            As for a call of the instance, if the matrix does not fit into memory, or if the engine
            samples.
        FloatingPointError
            As for a call of the instance, or if derivatives overflow.

        Notes
        -----
        With one hidden layer, and `Enumeration`, or `Quadrature` and at most 12 units, the result
        is exact. For classes it follows from pairs of units (Louis' identity), at a cost of
        ``(4 + m / 2) n 2**m`` flops in matrix products per class. For other families the rows of
        output weights and variances are products with unit vectors, as by `hessian_product`. Both
        cost ``2 n p**2 m**2`` flops for the hidden weights. In all other cases `hessian_product` is
        called for every parameter; its error is stated there.

        References
        ----------
        Louis (1982), Finding the observed information matrix when using the EM algorithm, Journal
        of the Royal Statistical Society B 44(2).

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
        >>> W, V = np.array([[2.0]]), np.array([[1.0, -1.0]])
        >>> oracle = fastem.EStep(X, y, hidden_layer_sizes=1)
        >>> information = oracle.information([W, V], [np.zeros(1), np.zeros(2)])
        >>> information[0].round(4)
        array([-0.126 , -0.126 ,  0.2035, -0.2035,  0.088 , -0.088 ])
        """
        self._check_exact("information")
        parameters = self._parameters(coefs, intercepts, variance)
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(-self._hessian(parameters))

    @exclusive
    def hessian_product(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        vector: ArrayLike,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Return the Hessian of the weighted total log-likelihood times a vector.

        Parameters
        ----------
        coefs, intercepts, variance
            As for a call of the instance.
        vector : array-like (n_parameters,)
            In the order of `flatten`.

        Returns
        -------
        product : array (n_parameters,)
            The Hessian is minus the `information`, so the product equals
            ``-information(coefs, intercepts, variance) @ vector``.

        Raises
        ------
        ValueError
            As for a call of the instance, or if the engine samples.
        FloatingPointError
            As for a call of the instance, or if derivatives overflow.

        Notes
        -----
        With one hidden layer, and `Enumeration`, or `Quadrature` and at most 12 units, the product
        is exact. It costs ``18 n 2**m`` flops in matrix products, three times as many as an E-step,
        and ``O(g 2**m)`` memory beside the rows.

        In all other cases, it is a central difference of the exact gradient along the vector. Steps
        h, h/2, h/4, ... are extrapolated until the estimated error is 1e-12 of the largest entry,
        or stops falling. This costs 6 to 20 E-steps, usually 8 or 10. The first step h moves the
        log-odds of all units of any row by at most 0.25 in total. The same holds for natural
        parameters, in standard deviations if there is a noise variance, and for variances, relative
        to their value. The error is about 1e-12 of the largest entry in deep networks, and 1e-9 if
        log-odds are in the hundreds. With `Quadrature` it is about 1e-11, at most 1e-10 in tests.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
        >>> W, V = np.array([[2.0]]), np.array([[1.0, -1.0]])
        >>> oracle = fastem.EStep(X, y, hidden_layer_sizes=1)
        >>> unit = np.eye(6)[0]
        >>> oracle.hessian_product([W, V], [np.zeros(1), np.zeros(2)], unit).round(4)
        array([ 0.126 ,  0.126 , -0.2035,  0.2035, -0.088 ,  0.088 ])
        """
        self._check_exact("hessian_product")
        parameters = self._parameters(coefs, intercepts, variance)
        return _finite(self._hessian_product(parameters, self._vector(vector)))

    def _hessian(self, parameters: Parameters) -> Array:
        shape = self._shape
        if self._is_enumerated:
            return exact_hessian(self._rows, shape, parameters, self._n_threads)
        size = shape.n_parameters
        check_memory(
            f"The information of {size} parameters",
            "in all",
            "Use hessian_product, which needs no matrix.",
            bytes_of({"matrices": (3, size, size)}),
        )
        hessian = np.array([self._hessian_product(parameters, unit) for unit in np.eye(size)])
        return 0.5 * hessian + 0.5 * hessian.T

    def _hessian_product(self, parameters: Parameters, vector: Array) -> Array:
        shape, size = self._shape, np.abs(vector).max()
        if size == 0.0:
            return np.zeros(shape.n_parameters)
        unit = vector / size  # its products neither overflow nor underflow
        with np.errstate(over="ignore", invalid="ignore"):
            if self._is_enumerated:
                given = self._rows, shape, parameters, split_vector(unit, shape)
                return size * exact_hessian_product(*given, self._n_threads)
            return size * gradient_slope(self._plan, self._rows.inputs, shape, parameters, unit)

    def _engine_of_rows(self) -> Engine:
        """Return the engine of row gradients and second derivatives: few units are enumerated."""
        is_small = self._shape.first <= _MOST_ENUMERATED
        if isinstance(self._engine, Quadrature) and is_small:
            return Enumeration()
        return self._engine

    @property
    def _is_enumerated(self) -> bool:
        """Whether second derivatives are exact."""
        return isinstance(self._engine_of_rows(), Enumeration) and self._shape.depth == 1

    def _check_exact(self, method: str) -> None:
        if not self._engine.is_exact:
            raise ValueError(
                f"{method} needs an exact engine, got {self._engine!r}: differences of estimates "
                "are noise. Use method=fastem.Enumeration() or fastem.Quadrature()."
            )


def _finite(values: Array) -> Array:
    """Return the values.

    Raises
    ------
    FloatingPointError
        If one of them is not finite.
    """
    if not np.isfinite(values).all():
        raise FloatingPointError(
            "Derivatives overflow: features, weights or the vector are too large. Rescale the "
            "features or use smaller values."
        )
    return values
