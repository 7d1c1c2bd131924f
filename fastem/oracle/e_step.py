"""The public E-step: `EStep`, prepared once for given rows, and `e_step`, its form for one call."""

import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from fastem.engines import Engine, EnumerationPlan, resolve_engine
from fastem.expectations import Expectations, Statistics
from fastem.families import Family, resolve_family
from fastem.kernels import caller_order
from fastem.oracle.checks import (
    as_vector,
    check_out,
    check_outputs,
    check_parameters,
    check_shapes,
    check_sizes,
    check_targets,
    check_weights,
    shape_of,
)
from fastem.oracle.derivatives import DerivativesMixin
from fastem.oracle.exclusive import exclusive
from fastem.oracle.posterior import PosteriorMixin
from fastem.parameters import Array, ArrayLikes, Parameters, Shape
from fastem.rows import TrainingRows, sort_rows
from fastem.runtime import effective_n_jobs, give_lock, kernel_array, real_array, run, threads_worth

_SECONDS_PER_VALUE = 1e-9  # time to copy a value to its row in the original order


class EStep(DerivativesMixin, PosteriorMixin):
    """An E-step prepared for given rows, to be evaluated at any number of parameters.

    The rows are checked and sorted once, and memory is checked and allocated once.

    Parameters
    ----------
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
        As for `e_step`.
    hidden_layer_sizes : int or tuple of int
        Units of every hidden layer, the first layer first.
    n_classes : int, optional
        Number of classes of the family "categorical". By default the largest class index in y
        plus one, but at least 2. The other families do not accept it.
    family, method, sample_weight, n_jobs, random_state
        As for `e_step`.

    Raises
    ------
    ValueError
        As for `e_step`.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling.

    See Also
    --------
    fastem.e_step : The same for a single call, with the formulas.

    Notes
    -----
    An instance works in memory of its own. Threads that call one instance therefore wait for each
    other; use an instance per thread. Copies and unpickled instances have their own memory.

    Rows with probabilities of classes in place of one class (soft labels) have the expected
    log-likelihood ``sum_k share_ik log p(k | x_i)`` as their objective. Repeat every row once per
    class, with the probability as its weight: ``EStep(np.repeat(X, g, axis=0),
    np.tile(np.arange(g), n), sample_weight=shares.ravel(), ...)``.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
    >>> W, V = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])
    >>> oracle = fastem.EStep(X, y, hidden_layer_sizes=2)
    >>> result = oracle([W, V], [np.zeros(2), np.zeros(2)])
    >>> result.log_likelihood.round(4)
    array([-0.3122, -1.8944])
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        hidden_layer_sizes: int | tuple[int, ...],
        n_classes: int | None = None,
        family: str | Family = "categorical",
        method: str | Engine = "auto",
        sample_weight: ArrayLike | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        X = real_array("X", X, 2)
        family = resolve_family(family)
        sizes = check_sizes(hidden_layer_sizes)
        targets = family.targets(y)
        n_outputs = check_outputs(targets, family, n_classes)
        shape = Shape(X.shape[1], sizes, n_outputs, fit_intercept=True, family=family)
        self._prepare(X, targets, shape, method, sample_weight, n_jobs, random_state)

    def _prepare(
        self,
        X: Array,
        y: ArrayLike,
        shape: Shape,
        method: str | Engine,
        sample_weight: ArrayLike | None,
        n_jobs: int | None,
        random_state: int | np.random.RandomState | None,
    ) -> Self:
        """Sort the rows and make a plan. X is a matrix of numbers; its values are checked here."""
        targets = check_targets(y, len(X), shape)
        weights = check_weights(sample_weight, len(X))
        engine = resolve_engine(method, "method", shape, len(X)).seeded(random_state)
        rows = sort_rows(X, targets, weights, shape)
        self.__setstate__((shape, rows, engine, effective_n_jobs(n_jobs)))
        return self

    def __getstate__(self) -> tuple[Shape, TrainingRows, Engine, int]:
        """Return what a copy is made from: it has memory of its own."""
        return self._shape, self._rows, self._engine, self._n_threads

    def __setstate__(self, state: tuple[Shape, TrainingRows, Engine, int]) -> None:
        """Prepare E-steps on sorted rows."""
        shape, rows, engine, n_threads = state
        self._shape, self._rows, self._engine, self._n_threads = shape, rows, engine, n_threads
        give_lock(self)
        self._most_rows = len(rows.weights)
        self._plan = engine.plan(rows, shape, n_threads)
        self._has_call = isinstance(self._plan, EnumerationPlan)
        self._flat = np.zeros(shape.n_parameters)
        self._own = shape.unpack(self._flat)
        layers = (*self._own.hidden, self._own.output)
        self._layers = [(layer[:-1], layer[-1]) for layer in layers]

    @exclusive
    def rebind(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Replace the rows, in the same memory: for mini-batches, or if X is itself computed.

        Parameters
        ----------
        X, y, sample_weight
            As for `e_step`. At most as many rows as the E-step was prepared for.

        Raises
        ------
        ValueError
            If a value is not valid, as for `e_step`, or there are too many rows or other features.
        """
        X, n_features = real_array("X", X, 2), self._shape.n_features
        if X.shape[1] != n_features or len(X) > self._most_rows:
            raise ValueError(
                f"X must have {n_features} features and at most {self._most_rows} rows, as the "
                f"E-step was prepared for; got shape {X.shape}."
            )
        targets = check_targets(y, len(X), self._shape)
        rows = sort_rows(X, targets, check_weights(sample_weight, len(X)), self._shape)
        self._plan.rebind(rows)
        self._rows = rows

    @exclusive
    def __call__(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
        *,
        out: Expectations | None = None,
    ) -> Expectations:
        """Run the E-step under the given parameters.

        Parameters
        ----------
        coefs, intercepts, variance
            As for `e_step`, in the shapes of the network that the E-step was prepared for.
        out : Expectations, optional
            An earlier result of this instance, whose arrays are overwritten.

        Returns
        -------
        expectations : Expectations
            New arrays, or ``out``.

        Raises
        ------
        ValueError
            If a shape does not match, or a value is not finite.
        FloatingPointError
            If inputs times weights or squared residuals overflow.

        Warns
        -----
        UserWarning
            If the effective sample size is low: see `Sampling`.
        """
        parameters = self._parameters(coefs, intercepts, variance)
        if out is None:
            out = self._new_result()
        else:
            check_out(out, self._new_result())
        if not (self._has_call and self._plan.fill_expectations(parameters, out)):
            out = self._fill(parameters, self._plan.expect(parameters), out)
        return out

    def _parameters(
        self, coefs: ArrayLikes, intercepts: ArrayLikes, variance: ArrayLike | None
    ) -> Parameters:
        """Return checked parameters, in memory of this instance that the next call overwrites."""
        shape = self._shape
        if not (self._take(coefs, intercepts) and variance is None and not shape.n_variances):
            variance = as_vector(variance)
            checked = check_parameters(coefs, intercepts, shape.n_features, shape.family, variance)
            check_shapes(checked[0], shape)
            self._take(*checked)
        if shape.n_variances:
            return self._own._replace(variance=np.array(variance))
        return self._own

    def _take(self, coefs: ArrayLikes, intercepts: ArrayLikes) -> bool:
        """Copy parameters; return whether they are finite float64 arrays of the right shapes."""
        lists = (list, tuple)
        if not (isinstance(coefs, lists) and isinstance(intercepts, lists)):
            return False
        if not len(coefs) == len(intercepts) == len(self._layers):
            return False
        for (own_coefs, own_intercepts), W, b in zip(self._layers, coefs, intercepts, strict=True):
            if not (_has_form_of(own_coefs, W) and _has_form_of(own_intercepts, b)):
                return False
            own_coefs[:] = W
            own_intercepts[:] = b
        return math.isfinite(caller_order.sum_of_sizes(self._flat))

    def _fill(
        self, parameters: Parameters, statistics: Statistics, out: Expectations
    ) -> Expectations:
        """Return ``out``, filled with the statistics in the order of X."""
        effective = statistics.effective_sample_size
        if effective is None:
            out = out._replace(effective_sample_size=None)
        else:
            self._fill_in_order(effective[None], out.effective_sample_size[None])
            if len(effective) > 0:
                self._engine.warn_if_noisy(float(np.median(effective)))
        self._fill_in_order(statistics.log_likelihood[None], out.log_likelihood[None])
        self._fill_in_order(statistics.hidden[0].posterior, out.hidden_posterior.T)
        gradients = [*(layer.gradient for layer in statistics.hidden), statistics.output_gradient]
        of_layers = zip(gradients, out.coef_gradients, out.intercept_gradients, strict=True)
        for gradient, of_coefs, of_intercepts in of_layers:
            of_coefs[:] = gradient[:-1]
            of_intercepts[:] = gradient[-1]
        if self._shape.n_variances > 0:
            out.variance_gradient[:] = statistics.variance_gradient(parameters.variance)
        return out

    def _new_result(self) -> Expectations:
        """Return new arrays; the posterior is stored unit by unit, as engines have it."""
        shape, n_samples = self._shape, len(self._rows.weights)
        return Expectations(
            np.empty(n_samples),
            np.empty((shape.first, n_samples)).T,
            [np.empty(coefs.shape) for coefs, _ in self._layers],
            [np.empty(intercepts.shape) for _, intercepts in self._layers],
            None if self._engine.is_exact else np.empty(n_samples),
            np.empty(shape.n_variances) if shape.n_variances > 0 else None,
        )

    def _fill_in_order(self, values: Array, out: Array) -> None:
        """Copy values (k, n_samples) of sorted rows, to the original order of the rows."""
        values, order = kernel_array(values), self._rows.order
        n_threads = threads_worth(values.size * _SECONDS_PER_VALUE, self._n_threads)
        if n_threads == 1:
            caller_order.fill_in_order(values, order, 0, len(values), out)
            return

        def fill_row(piece: int, worker: int) -> None:
            caller_order.fill_in_order(values, order, piece, piece + 1, out)

        run(fill_row, len(values), n_threads)


def _has_form_of(own: Array, given: ArrayLike) -> bool:
    return type(given) is np.ndarray and given.dtype == np.float64 and given.shape == own.shape


def e_step(
    X: ArrayLike,
    y: ArrayLike,
    coefs: ArrayLikes,
    intercepts: ArrayLikes,
    *,
    family: str | Family = "categorical",
    variance: ArrayLike | None = None,
    method: str | Engine = "auto",
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Expectations:
    """Compute the marginal log-likelihood, its gradient, and the hidden posterior.

    ``log p(y|x) = log sum_s prod_h P(Z_h = s_h | x) p(y | s)``

    Parameters
    ----------
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
        Class indices ``0, ..., n_classes - 1``, with shape (n_samples,), for "categorical"; 0 and 1
        for every label; numbers; or counts.
    coefs : [W (n_features, n_hidden), ..., V (n_hidden, n_outputs)]
        Weights into hidden units, in log-odds per unit of input, then weights into the outputs, in
        natural parameters per unit. Shaped as in scikit-learn's MLP: one array into every hidden
        layer, and one into the outputs.
    intercepts : [b (n_hidden,), ..., c (n_outputs,)]
        Log-odds of hidden units; natural parameters of outputs (logits of classes and labels,
        means of numbers, log-rates of counts).
    family : {"categorical", "bernoulli", "gaussian", "poisson"} or Family
        Distribution of the outputs given the hidden states: one class, several labels, numbers or
        counts. An instance can be your own family: see `fastem.IndependentOutputs`.
    variance : array-like (n_outputs,), optional
        Noise variance of every output, in the squared unit of y. A number for a single output.
        Required for "gaussian". The other families do not use it.
    method : {"auto", "enumeration", "quadrature", "sampling"} or engine instance
        "auto" selects the cheapest exact engine, or sampling if no exact engine is affordable.
        An instance can be your own engine: see `fastem.Engine`.
    sample_weight : array-like (n_samples,), optional
        Nonnegative weights of the rows in the gradients.
    n_jobs : int, optional
        Number of threads; None for all cores. Results do not depend on it, to the bit.
    random_state : int or RandomState, optional
        Seed of `Sampling`, if the engine has no seed of its own. Exact engines ignore it.

    Returns
    -------
    expectations : Expectations
        Log-likelihood per row (nats), hidden posterior (probability), gradients of the
        weighted total log-likelihood, also with respect to the noise variances if there are any.
        With `Sampling` all of them are estimates, from different samples for every row.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, y is impossible under the family, a variance
        is missing or too small, a weight is negative, the engine does not support the network, or
        the problem does not fit into memory.
    FloatingPointError
        If inputs times weights or squared residuals overflow.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling, or the effective sample size is low: see `Sampling`.

    See Also
    --------
    fastem.EStep : The same, prepared once for many calls.

    Notes
    -----
    Enumeration costs ``6 n 2**m`` flops in matrix products for m units in the first hidden layer,
    plus ``8 g 2**(m + m_above)`` for each pair of neighbouring hidden layers.

    With ``u`` the prior and ``q`` the posterior probability of a unit, ``R_k(s)`` the
    expected weight of class k in configuration s, ``R(s)`` their sum over classes, and
    ``o_k(s) = P(Y = k | s)``, the gradients are ``dL/dW = X' (w (q - u))`` (eq. 12) and
    ``dL/dV_k = sum_s s (R_k(s) - R(s) o_k(s))`` (eq. 15). The rows of a further hidden layer are
    the configurations of the layer below it, with weights ``R(s)``. For the other families,
    ``dL/dV_d = (sum_i w_i q_i y_id - sum_s R(s) s E[Y_d | s]) / variance_d``, without the division
    if there is no noise variance.

    References
    ----------
    Slides "EM Algorithm to Train Neural Networks", eqs. 12 and 15, after Ng and McLachlan
    (2004), Using the EM algorithm to train neural networks, IEEE Transactions on Neural
    Networks 15(3).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X, y = np.array([[0.0], [1.0]]), [0, 1]
    >>> W, V = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.0]])
    >>> result = fastem.e_step(X, y, [W, V], [np.zeros(2), np.zeros(2)])
    >>> result.log_likelihood.round(4)
    array([-0.3122, -1.8944])
    >>> result.hidden_posterior.shape
    (2, 2)
    """
    X = real_array("X", X, 2)
    family = resolve_family(family)
    variance = as_vector(variance)
    coefs, intercepts = check_parameters(coefs, intercepts, X.shape[1], family, variance)
    oracle = EStep.__new__(EStep)._prepare(
        X, y, shape_of(coefs, family), method, sample_weight, n_jobs, random_state
    )
    return oracle(coefs, intercepts, variance)
