"""E-step engines: from rows and parameters to expectations."""

from fastem.engines.auto import ENGINES, resolve_engine
from fastem.engines.base import Engine
from fastem.engines.enumeration import Enumeration
from fastem.engines.evaluate import check_parameters, e_step, shape_of
from fastem.engines.sampling import Sampling, warn_of_few

__all__ = [
    "ENGINES",
    "Engine",
    "Enumeration",
    "Sampling",
    "check_parameters",
    "e_step",
    "resolve_engine",
    "shape_of",
    "warn_of_few",
]
