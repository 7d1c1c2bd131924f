"""What the E-steps in other libraries share: their arrays, their result, and the cut into tiles."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from problems import EStepProblem


class Gradients(NamedTuple):
    """Log-likelihood of every row in nats, and gradients of the weighted sum.

    NumPyro returns the sum of the log-likelihoods alone, as an array (1,).
    """

    log_likelihood: NDArray
    W: NDArray
    b: NDArray
    V: NDArray
    c: NDArray


EStep = Callable[[], Gradients]


class Arrays(NamedTuple):
    """Rows sorted by class, labels, weights, and parameters with the names of the formulas."""

    X: NDArray
    y: NDArray[np.int64]
    weights: NDArray
    W: NDArray
    b: NDArray
    V: NDArray
    c: NDArray


def arrays_of(problem: EStepProblem, dtype: type) -> Arrays:
    """Return the arrays of a problem in C order, floats in the given precision."""
    rows, ((hidden,), output, _) = problem.rows, problem.parameters
    layers = [part for layer in (hidden, output) for part in (layer[:-1], layer[-1])]
    X, weights, *layers = (
        np.ascontiguousarray(array, dtype) for array in (rows.inputs[:, :-1], rows.weights, *layers)
    )
    return Arrays(X, rows.labels, weights, *layers)


def configurations(n_hidden: int, dtype: type) -> NDArray:
    """Return all states of the hidden units, (2**n_hidden, n_hidden); bit h is unit h."""
    bits = np.arange(2**n_hidden)[:, None] >> np.arange(n_hidden) & 1
    return bits.astype(dtype)


def ranges_by_class(
    class_starts: NDArray, start: int, stop: int, size: int
) -> Iterator[tuple[int, slice]]:
    """Yield pairs of a class and a range of at most ``size`` of its rows, within start:stop."""
    for k, (first, last) in enumerate(pairwise(class_starts)):
        end = min(int(last), stop)
        for begin in range(max(int(first), start), end, size):
            yield k, slice(begin, min(begin + size, end))
