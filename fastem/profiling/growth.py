"""Growth of times with the size of a problem: slopes, and the points where two curves cross.

The functions take measured times. They measure nothing themselves.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.stats import linregress

from fastem.parameters import Array

_TIMES_OVERHEAD = 10.0  # shorter times are dominated by the overhead
_MIN_SIZES = 3  # with two, the standard error is undefined


class Slope(NamedTuple):
    """A slope of linear regression.

    Attributes
    ----------
    value : float
    standard_error : float
        Standard error of the value, estimated from the residuals.
    sizes : list of int
        The sizes that the line was fitted to.
    """

    value: float
    standard_error: float
    sizes: list[int]


class Crossing(NamedTuple):
    """A point at which two curves of time against size cross.

    Attributes
    ----------
    size : float
        Interpolated between two measured sizes.
    seconds : float
        Interpolated time of both curves at this size.
    """

    size: float
    seconds: float


def slope_in_units(
    n_hidden: Sequence[int], seconds: Sequence[float], overhead: float = 0.0
) -> Slope | None:
    """Return the increase of ``log2(seconds)`` per hidden unit: 1 if the time doubles.

    Parameters
    ----------
    n_hidden : sequence of int
    seconds : sequence of float
        Time for every entry of ``n_hidden``.
    overhead : float, seconds
        Time of a problem with one unit. Shorter times than ten times the overhead are
        excluded, because they do not show the growth.

    Returns
    -------
    slope : Slope or None
        None if fewer than three different sizes remain.
    """
    sizes, times = _beyond(overhead, n_hidden, seconds)
    return _regression(sizes, sizes, np.log2(times))


def slope_in_rows(
    n_samples: Sequence[int], seconds: Sequence[float], overhead: float = 0.0
) -> Slope | None:
    """Return the slope of ``log(seconds)`` against ``log(n_samples)``: 1 if time is linear.

    Parameters and result are those of `slope_in_units`. ``overhead`` is the time of one row per
    class.
    """
    sizes, times = _beyond(overhead, n_samples, seconds)
    return _regression(sizes, np.log(sizes), np.log(times))


def crossings(first: Mapping[int, float], second: Mapping[int, float]) -> list[Crossing]:
    """Return the points where two curves of time cross.

    Parameters
    ----------
    first, second : dict of int to float
        Seconds by size. Only sizes in both are used.

    Returns
    -------
    crossings : list of Crossing
        In ascending order. Between two sizes, log time is interpolated linearly.
    """
    sizes = sorted(first.keys() & second.keys())
    log_first = np.log([first[size] for size in sizes])
    gaps = log_first - np.log([second[size] for size in sizes])
    apart = np.flatnonzero(gaps)  # sizes with different times
    found = []
    for a, b in pairwise(apart):
        if gaps[a] * gaps[b] < 0.0:
            last = a + 1  # the next size; both may take the same time there
            share = gaps[a] / (gaps[a] - gaps[last])
            size = sizes[a] + share * (sizes[last] - sizes[a])
            found.append(Crossing(float(size), float(np.exp(np.interp(size, sizes, log_first)))))
    return found


def _beyond(overhead: float, sizes: Sequence[int], seconds: Sequence[float]) -> tuple[Array, Array]:
    points = np.array(sorted(zip(sizes, seconds, strict=True)), dtype=np.float64).reshape(-1, 2)
    points = points[(points[:, 1] > 0.0) & (points[:, 1] >= _TIMES_OVERHEAD * overhead)]
    return points[:, 0], points[:, 1]


def _regression(sizes: Array, x: Array, y: Array) -> Slope | None:
    different = np.unique(sizes)
    if different.size < _MIN_SIZES:
        return None
    line = linregress(x, y)
    return Slope(float(line.slope), float(line.stderr), different.astype(int).tolist())
