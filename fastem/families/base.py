"""The interface of output distributions: what the network's outputs are, given its hidden units.

The interface is public. A family of your own is one subclass of `IndependentOutputs` in one file.
It can be passed to ``FastEMRegressor(family=...)`` and to ``fastem.e_step(..., family=...)``.
"""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.families.mixture import mixtures_of_rows

Array = NDArray[np.float64]


class Family(ABC):
    """Distribution of the outputs given the states z of the last hidden layer.

    Two kinds exist: `Categorical`, one label among several classes, and the subclasses of
    `IndependentOutputs`. A family without settings equals every other instance of its class.

    Attributes
    ----------
    name : str
        Used in messages and in model files.
    has_variance : bool, default=False
        Whether every output has a noise variance, which is a parameter of the network.
    """

    name: ClassVar[str] = "family"
    has_variance: ClassVar[bool] = False

    @abstractmethod
    def targets(self, y: ArrayLike) -> NDArray:
        """Return y, checked, as numbers.

        Parameters
        ----------
        y : array-like (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        targets : array
            Class indices (n_samples,) of int for `Categorical`; otherwise float64
            (n_samples, n_outputs).

        Raises
        ------
        ValueError
            If a value is impossible under the family.
        """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name: the parameters of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; return the family. A grid search needs it (``family__n_trials``).

        Raises
        ------
        ValueError
            If there is no such setting.
        """
        names = self.get_params()
        for name, value in settings.items():
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__} has no setting {name!r}; it has {sorted(names)}."
                )
            setattr(self, name, value)
        return self

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
    ``eta = z V + c``. The dispersion s is the noise variance if the family `has_variance`, else 1.

    A subclass defines the log-partition A, its first two derivatives, its convex conjugate
    ``A*(t) = max over eta of t eta - A(eta)``, the largest log-density, draws, and the checks of
    y. All functions are elementwise over arrays of any shape.

    Attributes
    ----------
    is_discrete : bool, default=True
        Whether y takes whole numbers only.
    curvature_bound : float or None, default=None
        Largest value of `curvature`, if there is one. The M-step "bound" needs it.
    start_deviation : float, default=1.0
        Standard deviation of output weights under random starting values, with up to 16 units.
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
        """Return ``A''(eta)``, the variance of y at dispersion 1."""

    @abstractmethod
    def natural_parameter(self, mean: Array) -> Array:
        """Return the natural parameter of a mean; a finite one at the ends of the range."""

    @abstractmethod
    def conjugate(self, t: Array) -> Array:
        """Return ``A*(t)``, in nats; finite for every possible y and all values between."""

    @abstractmethod
    def log_largest(self, y: Array, variance: Array) -> Array:
        """Return ``log max over eta of p(y | eta)``, in nats.

        Parameters
        ----------
        y : array (n_samples, n_outputs)
        variance : array (n_outputs,)
            Dispersion of every output: ones if the family has no variance.

        Returns
        -------
        log_density : array (n_samples, n_outputs)
        """

    @abstractmethod
    def cdf(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return ``P(Y <= y | eta)``, elementwise; 0 and 1 at minus and plus infinity."""

    @abstractmethod
    def draw(self, eta: Array, variance: Array, random_state: np.random.RandomState) -> Array:
        """Draw y (n_samples, n_outputs) given natural parameters of the same shape."""

    def relative_log_density(self, eta: Array, y: Array) -> Array:
        """Return ``y eta - A(eta) - A*(y)``, nats, at most 0: the log-density over its maximum.

        A family overrides it where the three terms cancel.
        """
        return y * eta - self.log_partition(eta) - self.conjugate(y)

    def conjugate_difference(self, y: Array, reference: Array) -> Array:
        """Return ``A*(y) - A*(reference)``, in nats."""
        return self.conjugate(y) - self.conjugate(reference)

    def moments(
        self, on: Array, coefs: Array, intercepts: Array, variance: Array
    ) -> tuple[Array, Array]:
        """Return mean and variance of every output, summed over the states of one hidden layer.

        The default sums over all ``2**n_hidden`` states. A family overrides it where there is a
        closed form.

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
        for rows, mixture in mixtures_of_rows(self, on, coefs, intercepts, variance):
            means[rows], variances[rows] = mixture.moments()
        return means, variances

    def curvature_at(self, y: Array) -> Array:
        """Return about the curvature at natural parameters under which y is likely."""
        return np.full(np.shape(y), self.curvature_bound)

    def log_density(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return ``log p(y | eta)`` of every row, summed over outputs, (n_samples,), nats."""
        relative = self.relative_log_density(eta, y) / variance
        return (relative + self.log_largest(y, variance)).sum(axis=-1)


def numeric_targets(y: ArrayLike) -> Array:
    """Return y as finite float64 numbers (n_samples, n_outputs).

    Raises
    ------
    ValueError
        If y is not numeric, not finite, or has more than two dimensions.
    """
    try:
        values = np.asarray(y)
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
