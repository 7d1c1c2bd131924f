"""Fits to rows that are divided into parts, such as those of several machines.

A function of this room runs on a part wherever its rows are, and returns sums. The fit combines the
sums in the order of the parts.
"""

from fastem.estimators.parts.divided_rows import DividedRows, PreparedParts
from fastem.estimators.parts.fit import fit_parts

__all__ = ["DividedRows", "PreparedParts", "fit_parts"]
