"""Counts: Poisson given z, with the rate exp(z V + c)."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, pdtr, xlogy

from fastem.families.base import Array, IndependentOutputs, numeric_targets

_LARGEST_COUNT = 1e9
_SMALLEST_RATE = 1e-3  # of starting values
LARGEST_LOG_RATE = 700.0  # exp stays finite
_MODERATE_LOG_RATE = 30.0  # of a unit; sums of exponentials are accurate enough beyond it
_STIRLING_FROM = 1e4  # above it the first terms of Stirling's series are exact in float64


class Poisson(IndependentOutputs):
    """Counts: output d is Poisson with the rate ``exp(z V + c)_d``.

    Given x, the distribution of a count is a mixture of ``2**m`` Poisson distributions. Its
    variance is at least its mean.

    Examples
    --------
    Mean and variance of a count whose rate is 1 or 3, with equal probabilities:

    >>> import numpy as np
    >>> from fastem import Poisson
    >>> on, V, c = np.array([[0.5]]), np.log([[3.0]]), np.zeros(1)
    >>> mean, variance = Poisson().moments(on, V, c, np.ones(1))
    >>> mean.round(2), variance.round(2)
    (array([[2.]]), array([[3.]]))
    """

    name: ClassVar[str] = "poisson"
    start_deviation: ClassVar[float] = 0.5

    def targets(self, y: ArrayLike) -> Array:
        """Return y as counts (n_samples, n_outputs).

        Raises
        ------
        ValueError
            If a value is negative, not whole, or above 1e9.
        """
        values = numeric_targets(y)
        wrong = (values < 0.0) | (values != np.floor(values))
        if wrong.any():
            raise ValueError(
                f"y must hold counts (whole numbers of at least 0) for family='poisson', got "
                f"{values[wrong][0]:g}."
            )
        if values.size and values.max() > _LARGEST_COUNT:
            raise ValueError(
                f"y has counts up to {values.max():g}; family='poisson' takes at most "
                f"{_LARGEST_COUNT:g}. Use family='gaussian', or count in a larger unit."
            )
        return values

    def log_partition(self, eta: Array) -> Array:
        """Return the rate."""
        return self.mean(eta)

    def mean(self, eta: Array) -> Array:
        """Return the rate ``exp(eta)``."""
        return np.exp(np.minimum(eta, LARGEST_LOG_RATE))

    def curvature(self, eta: Array) -> Array:
        """Return the rate."""
        return self.mean(eta)

    def curvature_at(self, y: Array) -> Array:
        """Return y, and 1/2 in place of 0."""
        return np.maximum(y, 0.5)

    def natural_parameter(self, mean: Array) -> Array:
        """Return the logarithm of the rate; rates below 0.001 are replaced by 0.001."""
        return np.log(np.maximum(mean, _SMALLEST_RATE))

    def conjugate(self, t: Array) -> Array:
        """Return ``t log t - t``."""
        return xlogy(t, t) - t

    def relative_log_density(self, eta: Array, y: Array) -> Array:
        """Return ``y (d - (exp(d) - 1))`` with ``d = eta - log y``; ``-exp(eta)`` where y is 0."""
        eta = np.minimum(eta, LARGEST_LOG_RATE)
        y = np.asarray(y)
        if not (y > 0.0).any():
            return np.broadcast_to(-np.exp(eta), np.broadcast_shapes(eta.shape, y.shape))
        d = eta - np.log(np.where(y > 0.0, y, 1.0))
        with np.errstate(over="ignore"):
            relative = np.where(y > 0.0, y, 1.0) * (d - np.expm1(d))
        return np.where(y > 0.0, relative, -np.exp(eta)) if (y == 0.0).any() else relative

    def log_largest(self, y: Array, variance: Array) -> Array:
        """Return ``y log y - y - log y!``."""
        safe = np.maximum(y, _STIRLING_FROM)
        series = -0.5 * np.log(2.0 * np.pi * safe) - 1.0 / (12.0 * safe)
        return np.where(y < _STIRLING_FROM, xlogy(y, y) - y - gammaln(y + 1.0), series)

    def cdf(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return the Poisson distribution function."""
        y, rate = np.broadcast_arrays(np.floor(y), self.mean(eta))
        return np.where(y < 0.0, 0.0, pdtr(np.maximum(y, 0.0), rate))

    def draw(self, eta: Array, variance: Array, random_state: np.random.RandomState) -> Array:
        """Draw counts; rates above 1e18 are drawn as 1e18."""
        return random_state.poisson(np.minimum(self.mean(eta), 1e18)).astype(np.float64)

    def moments(
        self, on: Array, coefs: Array, intercepts: Array, variance: Array
    ) -> tuple[Array, Array]:
        """Return ``E rate`` and ``E rate + Var rate``, computed in log space.

        ``E rate = exp(c) prod_h F_h`` with ``F_h = 1 - u_h + u_h exp(V_h)``, and
        ``Var rate / (E rate)**2 = prod_h (1 + u_h (1 - u_h) (exp(V_h) - 1)**2 / F_h**2) - 1``.
        """
        log_mean, log_square = np.empty((2, len(on), coefs.shape[1]))
        with np.errstate(divide="ignore"):  # log 0
            log_on, log_off = np.log(on), np.log1p(-on)
            for d, v in enumerate(coefs.T):
                log_factors = _log_factors(on, v, log_on, log_off)
                log_mean[:, d] = intercepts[d] + log_factors.sum(axis=1)
                log_step = np.maximum(v, 0.0) + np.log(-np.expm1(-np.abs(v)))  # |exp(v) - 1|
                log_ratios = log_on + log_off + 2.0 * (log_step - log_factors)
                log_square[:, d] = np.logaddexp(0.0, log_ratios).sum(axis=1)
        spread = np.expm1(np.minimum(log_square, LARGEST_LOG_RATE))
        with np.errstate(divide="ignore"):
            log_of_rates = 2.0 * log_mean + np.log(spread)
        mean = self.mean(log_mean)
        return mean, mean + self.mean(log_of_rates)


def _log_factors(on: Array, v: Array, log_on: Array, log_off: Array) -> Array:
    """Return ``log(1 - u + u exp(v))`` (n_samples, n_hidden), exactly 0 where v is 0."""
    is_moderate = np.abs(v) < _MODERATE_LOG_RATE
    moderate = np.where(is_moderate, v, 0.0)
    from_off = np.log1p(on * np.expm1(moderate))
    from_on = moderate + np.log1p((1.0 - on) * np.expm1(-moderate))
    near = np.where(on <= 0.5, from_off, from_on)
    return np.where(is_moderate, near, np.logaddexp(log_off, log_on + v))
