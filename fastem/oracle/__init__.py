"""The public E-step, prepared once for given rows."""

from fastem.oracle.checks import SMALLEST_VARIANCE, check_parameters, shape_of
from fastem.oracle.e_step import EStep, e_step
from fastem.oracle.row_gradients import row_gradients
from fastem.oracle.row_likelihood import Point, RowLikelihood

__all__ = [
    "SMALLEST_VARIANCE",
    "EStep",
    "Point",
    "RowLikelihood",
    "check_parameters",
    "e_step",
    "row_gradients",
    "shape_of",
]
