"""Choice of the penalty: held-out rows, approximate leave-one-out, and the path of penalties."""

from fastem.selection.folds import (
    Split,
    held_shares_of_part,
    row_numbers,
    row_numbers_of_part,
    split_rows,
    values_of_columns,
)
from fastem.selection.leave_one_out import LeaveOneOut, leave_one_out
from fastem.selection.penalties import PENALTIES, largest_good, search

__all__ = [
    "PENALTIES",
    "LeaveOneOut",
    "Split",
    "held_shares_of_part",
    "largest_good",
    "leave_one_out",
    "row_numbers",
    "row_numbers_of_part",
    "search",
    "split_rows",
    "values_of_columns",
]
