"""E-step engines: from rows and parameters to expectations.

Your own engine needs only the names of this module: see `Engine`.
"""

from fastem.engines.auto import ENGINES, resolve_engine
from fastem.engines.base import Engine, Plan
from fastem.engines.enumeration import Enumeration
from fastem.engines.enumeration_plan import EnumerationPlan
from fastem.engines.quadrature import (
    Quadrature,
    distribution_buffers,
    gaussian_cdf,
    gaussian_quantiles,
)
from fastem.engines.sampling import Sampling
from fastem.expectations import HiddenStatistics, Statistics
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows

__all__ = [
    "ENGINES",
    "Engine",
    "Enumeration",
    "EnumerationPlan",
    "HiddenStatistics",
    "Parameters",
    "Plan",
    "Quadrature",
    "Sampling",
    "Shape",
    "Statistics",
    "TrainingRows",
    "distribution_buffers",
    "gaussian_cdf",
    "gaussian_quantiles",
    "resolve_engine",
]
