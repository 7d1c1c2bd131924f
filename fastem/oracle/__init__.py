"""The public E-step, prepared once for given rows."""

from fastem.oracle.checks import SMALLEST_VARIANCE, check_parameters, shape_of
from fastem.oracle.e_step import EStep, e_step

__all__ = ["SMALLEST_VARIANCE", "EStep", "check_parameters", "e_step", "shape_of"]
