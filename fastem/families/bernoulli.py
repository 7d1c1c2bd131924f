"""Several labels, each absent or present: independent Bernoulli variables given z."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, xlogy

from fastem.families.base import Array, IndependentOutputs, numeric_targets

_SMALLEST_SHARE = 1e-3  # of starting values


class Bernoulli(IndependentOutputs):
    """Labels: output l is 1 with probability ``sigmoid(z V + c)_l``.

    Given x, the labels are correlated, because they share the hidden units.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Bernoulli
    >>> family = Bernoulli()
    >>> family.mean(np.array([-2.0, 0.0, 2.0])).round(3)
    array([0.119, 0.5  , 0.881])
    >>> family.targets([[1, 0], [1, 1]])
    array([[1., 0.],
           [1., 1.]])
    """

    name: ClassVar[str] = "bernoulli"
    curvature_bound: ClassVar[float] = 0.25
    start_deviation: ClassVar[float] = 4.0

    def targets(self, y: ArrayLike) -> Array:
        """Return the indicator matrix (n_samples, n_labels).

        Raises
        ------
        ValueError
            If a value is neither 0 nor 1.
        """
        values = numeric_targets(y)
        wrong = (values != 0.0) & (values != 1.0)
        if wrong.any():
            raise ValueError(f"y must hold 0 and 1 for every label, got {values[wrong][0]:g}.")
        return values

    def log_partition(self, eta: Array) -> Array:
        """Return ``log(1 + exp(eta))``."""
        return -log_expit(-eta)

    def mean(self, eta: Array) -> Array:
        """Return the probability of 1."""
        return expit(eta)

    def curvature(self, eta: Array) -> Array:
        """Return ``p (1 - p)``."""
        return expit(eta) * expit(-eta)

    def natural_parameter(self, mean: Array) -> Array:
        """Return the log-odds of probabilities, which are clipped to 0.001 and 0.999."""
        inside = np.clip(mean, _SMALLEST_SHARE, 1.0 - _SMALLEST_SHARE)
        return np.log(inside) - np.log1p(-inside)

    def conjugate(self, t: Array) -> Array:
        """Return minus the entropy of probability t."""
        return xlogy(t, t) + xlogy(1.0 - t, 1.0 - t)

    def relative_log_density(self, eta: Array, y: Array) -> Array:
        """Return ``y log p + (1 - y) log(1 - p)`` plus the entropy of y."""
        return y * log_expit(eta) + (1.0 - y) * log_expit(-eta) - self.conjugate(y)

    def log_largest(self, y: Array, variance: Array) -> Array:
        """Return 0: a label can have probability one."""
        return np.zeros(np.shape(y))

    def cdf(self, y: Array, eta: Array, variance: Array) -> Array:
        """Return 0 below 0, P(y = 0) below 1, and 1 from 1 on."""
        y, off = np.broadcast_arrays(y, expit(-eta))
        return np.where(y < 0.0, 0.0, np.where(y < 1.0, off, 1.0))

    def draw(self, eta: Array, variance: Array, random_state: np.random.RandomState) -> Array:
        """Draw zeros and ones."""
        return (random_state.uniform(size=eta.shape) < expit(eta)).astype(np.float64)
