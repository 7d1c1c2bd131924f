"""E-step engines: from rows and parameters to expectations.

Your own engine needs only the names of this module: see `Engine`.
"""

from fastem.engines.auto import ENGINES, cheapest_engine, resolve_engine
from fastem.engines.base import Engine, Plan
from fastem.engines.configuration_posterior import ConfigurationPosterior
from fastem.engines.configuration_tables import configuration_inputs
from fastem.engines.enumeration import Enumeration
from fastem.engines.enumeration_plan import EnumerationPlan
from fastem.engines.half_sums import half_priors
from fastem.engines.log_posterior import (
    expected_log_prior,
    finite_log_table,
    log_posterior_of,
    log_probabilities,
)
from fastem.engines.quadrature import (
    Quadrature,
    distribution_buffers,
    gaussian_cdf,
    gaussian_quantiles,
)
from fastem.engines.row_tables import buffers_of_row_table, row_table
from fastem.engines.sampling import Sampling, draw_seed
from fastem.engines.sparse_plan import (
    SparsePlan,
    identity_weights,
    shape_of_plan,
    shape_on_log_odds,
)
from fastem.expectations import HiddenStatistics, Statistics
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows

__all__ = [
    "ENGINES",
    "ConfigurationPosterior",
    "Engine",
    "Enumeration",
    "EnumerationPlan",
    "HiddenStatistics",
    "Parameters",
    "Plan",
    "Quadrature",
    "Sampling",
    "Shape",
    "SparsePlan",
    "Statistics",
    "TrainingRows",
    "buffers_of_row_table",
    "cheapest_engine",
    "configuration_inputs",
    "distribution_buffers",
    "draw_seed",
    "expected_log_prior",
    "finite_log_table",
    "gaussian_cdf",
    "gaussian_quantiles",
    "half_priors",
    "identity_weights",
    "log_posterior_of",
    "log_probabilities",
    "resolve_engine",
    "row_table",
    "shape_of_plan",
    "shape_on_log_odds",
]
