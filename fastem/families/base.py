"""The interface of families: the distribution of the outputs given the hidden units.

The interface is public. Your own family is one subclass of `IndependentOutputs` in one file. It
can be passed to ``FastEMRegressor(family=...)`` and to ``fastem.e_step(..., family=...)``.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.families.mixture import mixtures_of_rows
from fastem.runtime import HasSettings, detached

Array = NDArray[np.float64]


class Family(HasSettings, ABC):
    """Distribution of the outputs given the states z of the last hidden layer.

    Two kinds exist: `Categorical`, one label among several classes, and the subclasses of
    `IndependentOutputs`. A family without settings equals every other instance of its class.

    Attributes
    ----------
    name : str
        Used in messages and in model files.
    has_variance : bool, default=False
        Whether every output has a noise variance, which is a parameter of the network. The M-step
        of the variance is that of normal noise: only a family with ``A(eta) = eta**2 / 2`` can
        have one.

    Examples
    --------
    >>> import fastem
    >>> isinstance(fastem.Poisson(), fastem.Family)
    True
    >>> fastem.Poisson() == fastem.Poisson()
    True
    >>> fastem.Gaussian().has_variance, fastem.Poisson().has_variance
    (True, False)
    """

    name: ClassVar[str] = "family"
    has_variance: ClassVar[bool] = False

    @abstractmethod
    def targets(self, y: ArrayLike) -> NDArray[Any]:
        """Check y, and return it as numbers.

        Parameters
        ----------
        y : array-like (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        targets : array
            Class indices (n_samples,) of int for `Categorical`. For the other families a float64
            array (n_samples, n_outputs) in C order, finite, with one column if y has one
            dimension.

        Raises
        ------
        ValueError
            If a value is impossible under the family.
        """

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(self.get_params().items()))))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({settings})"


class IndependentOutputs(Family):
    """Outputs that are independent given z, each of a one-parameter exponential family.

    ``p(y | eta) = base(y) exp((y eta - A(eta)) / s)`` for each output, with the natural parameter
    ``eta = z V + c``, which can be any real number. A is the log-partition. The dispersion s is
    the noise variance if the family `has_variance`, else 1.

    Attributes
    ----------
    is_discrete : bool, default=True
        Whether y takes whole numbers only.
    curvature_bound : float or None, default=None
        Largest value of `curvature`, if there is one. ``m_step="bound"`` uses it. Engines whose
        statistics are "means" need it for EM; see `Engine`.
    start_deviation : float, default=1.0
        Standard deviation of output weights under random starting values, with up to 16 units.

    Notes
    -----
    A subclass must define nine methods: `targets`, `log_partition`, `mean`, `curvature`,
    `natural_parameter`, `conjugate`, `log_largest`, `cdf` and `draw`. All except `targets` and
    `draw` are elementwise: arguments of different shapes are broadcast, and the result has their
    common shape. They do not change their arguments, and return no NaN for finite arguments. Arrays
    named ``variance`` hold the dispersion of every output, (n_outputs,): ones if the family has no
    variance.

    The other methods have defaults, which a subclass can override: `relative_log_density` and
    `conjugate_difference` where the default loses digits, and `moments` where there is a closed
    form. The settings of a family are the parameters of its constructor, stored under the same
    names, as scikit-learn requires. `FastEMRegressor.save` supports only the families of this
    package.

    Examples
    --------
    The number of successes in ``n_trials`` trials, with log-odds eta:

    >>> import numpy as np
    >>> from scipy.special import bdtr, binom, expit, log_expit, logit, xlogy
    >>> import fastem
    >>> class Binomial(fastem.IndependentOutputs):
    ...     name = "binomial"
    ...
    ...     def __init__(self, n_trials=1):
    ...         self.n_trials = n_trials
    ...
    ...     def targets(self, y):
    ...         y = np.array(y, dtype=np.float64)
    ...         if not np.isin(y, np.arange(self.n_trials + 1)).all():
    ...             raise ValueError(f"y must hold whole numbers from 0 to {self.n_trials}.")
    ...         return y.reshape(len(y), -1)
    ...
    ...     def log_partition(self, eta):
    ...         return -self.n_trials * log_expit(-eta)
    ...
    ...     def mean(self, eta):
    ...         return self.n_trials * expit(eta)
    ...
    ...     def curvature(self, eta):
    ...         return self.n_trials * expit(eta) * expit(-eta)
    ...
    ...     def natural_parameter(self, mean):
    ...         return logit(np.clip(mean / self.n_trials, 0.001, 0.999))
    ...
    ...     def conjugate(self, t):
    ...         share = t / self.n_trials
    ...         return xlogy(t, share) + xlogy(self.n_trials - t, 1.0 - share)
    ...
    ...     def log_largest(self, y, variance):
    ...         return np.log(binom(self.n_trials, y)) + self.conjugate(y)
    ...
    ...     def cdf(self, y, eta, variance):
    ...         below = bdtr(np.clip(y, 0.0, self.n_trials), self.n_trials, expit(eta))
    ...         return np.where(y < 0.0, 0.0, below)
    ...
    ...     def draw(self, eta, variance, random_state):
    ...         return random_state.binomial(self.n_trials, expit(eta)).astype(np.float64)
    >>> W, V = np.array([[2.0, -1.0]]), np.array([[1.0], [-0.5]])
    >>> result = fastem.e_step(
    ...     [[0.0], [1.0]], [1, 3], [W, V], [np.zeros(2), np.zeros(1)], family=Binomial(3)
    ... )
    >>> result.log_likelihood.round(4)
    array([-1.1723, -1.1353])
    >>> model = fastem.FastEMRegressor((2,), family=Binomial(3))
    """

    is_discrete: ClassVar[bool] = True
    curvature_bound: ClassVar[float | None] = None
    start_deviation: ClassVar[float] = 1.0

    @abstractmethod
    def log_partition(self, eta: Array) -> Array:
        """Return ``A(eta)``, in nats."""

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """Return ``A'(eta)``, the mean of y."""

    @abstractmethod
    def curvature(self, eta: Array) -> Array:
        """Return ``A''(eta)``: the variance of y divided by the dispersion."""

    @abstractmethod
    def natural_parameter(self, mean: Array) -> Array:
        """Return the eta with ``A'(eta) = mean``.

        It is finite, also for means at the ends of their range.
        """

    @abstractmethod
    def conjugate(self, t: Array) -> Array:
        """Return the convex conjugate ``A*(t) = max over eta of t eta - A(eta)``, in nats.

        It is finite if t is a possible value of y, or lies between two of them.
        """

    @abstractmethod
    def log_largest(self, y: Array, variance: Array) -> Array:
        """Return ``log max over eta of p(y | eta)``, which is ``log base(y) + A*(y) / s``, in nats.

        Parameters
        ----------
        y : array (n_samples, n_outputs)
        variance : array (n_outputs,)

        Returns
        -------
        log_density : array (n_samples, n_outputs)
        """

    @abstractmethod
    def cdf(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return ``P(Y <= y | eta)``: 0 at minus infinity, 1 at plus infinity."""

    @abstractmethod
    def draw(self, eta: Array, variance: Array, random_state: np.random.RandomState) -> Array:
        """Draw y, float64 (n_samples, n_outputs), given natural parameters of the same shape."""

    def relative_log_density(self, eta: Array, y: Array) -> Array:
        """Return ``y eta - A(eta) - A*(y)``, in nats; it is at most 0.

        Divided by the dispersion, it is the log-density minus its maximum over eta. A family
        overrides it where the three terms cancel. If the family has a variance, the result must be
        a new array, because callers overwrite it.
        """
        return y * eta - self.log_partition(eta) - self.conjugate(y)

    def conjugate_difference(self, y: Array, reference: Array) -> Array:
        """Return ``A*(y) - A*(reference)``, in nats."""
        return self.conjugate(y) - self.conjugate(reference)

    def moments(
        self, on: Array, coefs: Array, intercepts: Array, variance: Array
    ) -> tuple[Array, Array]:
        """Return mean and variance of every output, summed over the states of one hidden layer.

        The default sums over all ``2**n_hidden`` states, at a cost of about
        ``n_samples n_outputs 2**n_hidden`` flops. A family overrides it where there is a closed
        form.

        Parameters
        ----------
        on : array (n_samples, n_hidden), probability
            P(Z = 1 | x) of independent units.
        coefs : array (n_hidden, n_outputs)
        intercepts, variance : arrays (n_outputs,)

        Returns
        -------
        mean, variance : arrays (n_samples, n_outputs)

        Raises
        ------
        ValueError
            If there are too many hidden units to sum over their states.
        """
        means, variances = np.empty((2, len(on), len(intercepts)))
        for rows, mixture in mixtures_of_rows(self, on, 1.0 - on, coefs, intercepts, variance):
            means[rows], variances[rows] = mixture.moments()
        return means, variances

    def curvature_at(self, y: Array) -> Array:
        """Return about the curvature at natural parameters under which y is likely.

        The M-step on estimates from samples uses it.
        """
        if self.curvature_bound is None:
            return self.curvature(self.natural_parameter(y))
        return np.full(np.shape(y), self.curvature_bound)


def numeric_targets(y: ArrayLike) -> Array:
    """Return y as finite float64 numbers (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If y is not numeric, not finite, or has more than two dimensions.
    """
    try:
        values = np.asarray(detached(y))
        if values.dtype.kind not in "buifO" or np.iscomplexobj(values):
            raise ValueError(f"its dtype is {values.dtype}")
        values = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"y must be numeric, with one row per sample: {error}") from error
    if values.ndim not in (1, 2):
        raise ValueError(f"y must have one or two dimensions, got {values.ndim}.")
    if not np.isfinite(values).all():
        raise ValueError("y contains NaN or infinity; remove those rows.")
    return values if values.ndim == 2 else values[:, None]
