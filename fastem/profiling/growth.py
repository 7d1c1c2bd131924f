"""How times grow with the sizes of a problem: slopes, and where two curves cross.

Functions of timings alone; nothing here looks at a clock.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastem.parameters import Array

_TIMES_OVERHEAD = 10.0  # a time of so many times the overhead grows as its work does
_FEWEST_SIZES = 3  # that leave a degree of freedom to judge the fit by


class Slope(NamedTuple):
    """A slope by least squares.

    Attributes
    ----------
    value : float
    standard_error : float
        Of the value, from what the line leaves over.
    sizes : list of int
        Those that the line was fitted to.
    """

    value: float
    standard_error: float
    sizes: list[int]


class Crossing(NamedTuple):
    """Where two curves of time against size cross.

    Attributes
    ----------
    size : float
        Between two sizes that were measured.
    seconds : float
    """

    size: float
    seconds: float


def slope_in_units(
    n_hidden: Sequence[int], seconds: Sequence[float], overhead: float = 0.0
) -> Slope | None:
    """Return how ``log2(seconds)`` grows with every hidden unit: 1 where time doubles.

    Parameters
    ----------
    n_hidden : sequence of int
    seconds : sequence of float
        One per entry of ``n_hidden``.
    overhead : float, seconds
        What a problem takes that has hardly any units. Times below ten times as much do not
        show the growth yet, and are left out.

    Returns
    -------
    slope : Slope or None
        None where fewer than three different sizes are left.
    """
    sizes, times = _beyond(overhead, n_hidden, seconds)
    return _least_squares(sizes, sizes, np.log2(times))


def slope_in_rows(
    n_samples: Sequence[int], seconds: Sequence[float], overhead: float = 0.0
) -> Slope | None:
    """Return how ``log(seconds)`` grows with ``log(n_samples)``: 1 where time is linear.

    Parameters and result as in `slope_in_units`; ``overhead`` is the time of hardly any rows.
    """
    sizes, times = _beyond(overhead, n_samples, seconds)
    return _least_squares(sizes, np.log(sizes), np.log(times))


def crossings(first: Mapping[int, float], second: Mapping[int, float]) -> list[Crossing]:
    """Return where two curves of time cross.

    Parameters
    ----------
    first, second : dict of int to float
        Seconds by size. Only the sizes of both are looked at.

    Returns
    -------
    crossings : list of Crossing
        Ascending. Between two sizes, log time is taken for a straight line.
    """
    sizes = sorted(first.keys() & second.keys())
    log_first = np.log([first[size] for size in sizes])
    gaps = log_first - np.log([second[size] for size in sizes])
    apart = np.flatnonzero(gaps)  # where the times are not the same
    found = []
    for a, b in pairwise(apart):
        if gaps[a] * gaps[b] < 0.0:
            last = a + 1  # the next size, or one at which both take the same time
            share = gaps[a] / (gaps[a] - gaps[last])
            size = sizes[a] + share * (sizes[last] - sizes[a])
            found.append(Crossing(float(size), float(np.exp(np.interp(size, sizes, log_first)))))
    return found


def _beyond(overhead: float, sizes: Sequence[int], seconds: Sequence[float]) -> tuple[Array, Array]:
    points = np.array(sorted(zip(sizes, seconds, strict=True)), dtype=np.float64).reshape(-1, 2)
    points = points[(points[:, 1] > 0.0) & (points[:, 1] >= _TIMES_OVERHEAD * overhead)]
    return points[:, 0], points[:, 1]


def _least_squares(sizes: Array, x: Array, y: Array) -> Slope | None:
    different = np.unique(sizes)
    if different.size < _FEWEST_SIZES:
        return None
    x, y = x - x.mean(), y - y.mean()
    spread = x @ x
    slope = x @ y / spread
    left_over = y - slope * x
    variance = left_over @ left_over / (x.size - 2)
    return Slope(float(slope), float(np.sqrt(variance / spread)), different.astype(int).tolist())
