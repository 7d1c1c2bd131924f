"""Subsets of the rows (or tasks) of a NamedTuple whose arrays all have one entry per row."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=tuple[Any, ...])


def subset(whole: T, index: NDArray[np.int64]) -> T:
    """Return a tuple of the same type with copies of the entries ``index``."""
    return type(whole)(*(array[index] for array in whole))


def overwrite(whole: T, index: NDArray[np.int64], part: T) -> None:
    """Overwrite the entries ``index`` of every array with those of ``part``."""
    for array, values in zip(whole, part, strict=True):
        array[index] = values
