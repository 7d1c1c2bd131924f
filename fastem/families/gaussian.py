"""One or several numbers: normal given z, with a variance for every output."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from fastem.families.base import Array, IndependentOutputs, numeric_targets

_LOG_2_PI = float(np.log(2.0 * np.pi))


class Gaussian(IndependentOutputs):
    """Numbers: output d is normal with mean ``(z V + c)_d`` and its own noise variance.

    Given x, the density of an output is a mixture of ``2**m`` normal densities of equal variance.
    Its mean is ``u V + c`` with u = P(Z = 1 | x), the deterministic network with sigmoid units. Its
    variance and its number of modes depend on x.

    Examples
    --------
    Mean and variance of an output with two hidden units, whose probabilities are 0.5 and 0.9:

    >>> import numpy as np
    >>> from fastem import Gaussian
    >>> on, V, c = np.array([[0.5, 0.9]]), np.array([[2.0], [10.0]]), np.array([1.0])
    >>> mean, variance = Gaussian().moments(on, V, c, np.array([0.25]))
    >>> mean.round(2), variance.round(2)
    (array([[11.]]), array([[10.25]]))
    """

    name: ClassVar[str] = "gaussian"
    has_variance: ClassVar[bool] = True
    is_discrete: ClassVar[bool] = False
    curvature_bound: ClassVar[float] = 1.0
    start_deviation: ClassVar[float] = 0.5

    def targets(self, y: ArrayLike) -> Array:
        """Return y as finite numbers (n_samples, n_outputs)."""
        return numeric_targets(y)

    def log_partition(self, eta: Array) -> Array:
        """Return ``eta**2 / 2``."""
        return 0.5 * eta * eta

    def mean(self, eta: Array) -> Array:
        """Return eta."""
        return eta

    def curvature(self, eta: Array) -> Array:
        """Return 1."""
        return np.ones(np.shape(eta))

    def natural_parameter(self, mean: Array) -> Array:
        """Return the mean."""
        return mean

    def conjugate(self, t: Array) -> Array:
        """Return ``t**2 / 2``."""
        return 0.5 * t * t

    def relative_log_density(self, eta: Array, y: Array) -> Array:
        """Return ``-(y - eta)**2 / 2``."""
        residual = eta - y
        residual *= residual
        residual *= -0.5
        return residual

    def conjugate_difference(self, y: Array, reference: Array) -> Array:
        """Return ``(y**2 - reference**2) / 2`` without cancellation."""
        return 0.5 * (y - reference) * (y + reference)

    def log_largest(self, y: Array, variance: Array) -> Array:
        """Return ``-log(2 pi variance) / 2``."""
        return np.broadcast_to(-0.5 * (_LOG_2_PI + np.log(variance)), np.shape(y))

    def cdf(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return the normal distribution function."""
        return ndtr((y - eta) / np.sqrt(variance))

    def draw(self, eta: Array, variance: Array, random_state: np.random.RandomState) -> Array:
        """Draw normal numbers."""
        return eta + np.sqrt(variance) * random_state.standard_normal(eta.shape)

    def moments(
        self, on: Array, coefs: Array, intercepts: Array, variance: Array
    ) -> tuple[Array, Array]:
        """Return ``u V + c`` and ``variance + sum_h V_h**2 u_h (1 - u_h)``."""
        return on @ coefs + intercepts, variance + (on * (1.0 - on)) @ coefs**2
