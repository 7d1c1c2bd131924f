"""The quadrature engine: classes and one number, linear in the number of hidden units."""

from fastem.engines.quadrature.engine import Quadrature
from fastem.engines.quadrature.gaussian_distribution import (
    distribution_buffers,
    gaussian_cdf,
    gaussian_quantiles,
)

__all__ = [
    "Quadrature",
    "distribution_buffers",
    "gaussian_cdf",
    "gaussian_quantiles",
]
