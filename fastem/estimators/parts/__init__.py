"""Fits to rows that are divided into parts, such as those of several machines.

A function of this room runs on a part wherever its rows are, and returns sums. The fit combines the
sums in the order of the parts.
"""

from fastem.estimators.parts.divided_rows import DividedRows, Function, PreparedParts
from fastem.estimators.parts.fit import fit_parts, memory_error
from fastem.estimators.parts.streams import log_likelihood_of_part, partial_fit_part

__all__ = [
    "DividedRows",
    "Function",
    "PreparedParts",
    "fit_parts",
    "log_likelihood_of_part",
    "memory_error",
    "partial_fit_part",
]
