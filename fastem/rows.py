"""Training rows as engines and M-steps see them: sorted by target, with a column of ones."""

import heapq
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import caller_order
from fastem.parameters import Array, Shape
from fastem.runtime import finite_array
from fastem.sparse import SparseFeatures

LARGEST_WEIGHT = 1e100
"""Largest weight of a row: below it, sums over rows and configurations stay finite."""

MOST_GROUPS = 32
"""Largest number of groups of rows with similar targets."""


class TrainingRows(NamedTuple):
    """Rows with targets, sorted once before the first E-step.

    Attributes
    ----------
    inputs : array (n_samples, n_inputs), or SparseFeatures of that shape
        In C order. In a network with intercepts the last column is ones. Engines get arrays only:
        see `fastem.engines.SparsePlan`.
    weights : array (n_samples,)
    class_starts : array (n_classes + 1,) or None
        Rows ``class_starts[k]:class_starts[k + 1]`` are of class k. None if the outputs are not
        classes.
    order : array (n_samples,)
        Original position of each row: ``inputs = X[order]``.
    targets : array (n_samples, n_outputs) or None
        Values of the outputs. None if the outputs are classes.
    cuts : dict of (start, stop) to int
        Where ranges of rows are cut, beginning with all rows, so that the targets of a range become
        similar. Empty for classes and for one output, whose rows are sorted.
    largest : array (n_inputs,) or None
        Largest absolute value of every input, if it is known already.
    """

    inputs: Array | SparseFeatures
    weights: Array
    class_starts: NDArray[np.int64] | None
    order: NDArray[np.int64]
    targets: Array | None = None
    cuts: dict[tuple[int, int], int] = {}  # noqa: RUF012  never modified
    largest: Array | None = None

    @property
    def largest_inputs(self) -> Array:
        """Largest absolute value of every input, (n_inputs,)."""
        return largest_inputs(self.inputs) if self.largest is None else self.largest

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of every row, (n_samples,)."""
        return np.repeat(np.arange(len(self.class_starts) - 1), np.diff(self.class_starts))


def add_ones(X: Array | SparseFeatures, fit_intercept: bool) -> Array | SparseFeatures:
    """Return X as float64 in C order, with a column of ones last if there are intercepts."""
    if isinstance(X, SparseFeatures):
        return X.with_ones() if fit_intercept else X
    X = np.asarray(X, dtype=np.float64)
    if fit_intercept:
        X = np.hstack([X, np.ones((X.shape[0], 1))])
    return np.ascontiguousarray(X)


def sort_rows(
    X: Array | SparseFeatures, targets: NDArray[Any], weights: Array, shape: Shape
) -> TrainingRows:
    """Sort rows by class, or such that neighbours have similar targets.

    Parameters
    ----------
    X : array (n_samples, n_features) in the form of `fastem.runtime.kernel_array`, or
        SparseFeatures
    targets : array
        Class indices (n_samples,) of int, or values (n_samples, n_outputs).
    weights : array (n_samples,)
    shape : Shape

    Returns
    -------
    rows : TrainingRows

    Raises
    ------
    ValueError
        If X contains NaN or infinity.
    """
    if isinstance(X, SparseFeatures):
        return sort_inputs(add_ones(X, shape.fit_intercept), targets, weights, shape)
    rows = _gather(X, targets, weights, shape, X.shape[1] + shape.fit_intercept)
    if not np.isfinite(rows.largest).all():
        finite_array("X", X)  # raises
    return rows


def sort_inputs(
    inputs: Array | SparseFeatures, targets: NDArray[Any], weights: Array, shape: Shape
) -> TrainingRows:
    """Sort rows as `sort_rows` does; the inputs have their column of ones already."""
    if isinstance(inputs, SparseFeatures):
        order, sorting = _order(targets, shape)
        return TrainingRows(inputs[order], weights[order], order=order, **sorting)
    return _gather(inputs, targets, weights, shape, inputs.shape[1])


def _gather(
    X: Array, targets: NDArray[Any], weights: Array, shape: Shape, n_inputs: int
) -> TrainingRows:
    """Sort rows in one pass over X."""
    order, sorting = _order(targets, shape)
    inputs, largest = np.empty((len(X), n_inputs)), np.empty(n_inputs)
    caller_order.gather_rows(X, order, inputs, largest)
    return TrainingRows(inputs, weights[order], order=order, largest=largest, **sorting)


def _order(targets: NDArray[Any], shape: Shape) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return the order of sorted rows, and what `TrainingRows` holds about their targets."""
    if shape.has_classes:
        n_classes = shape.n_outputs
        # small integers are sorted in linear time
        keys = targets.astype(np.uint8 if n_classes <= 256 else np.int64)
        starts = np.zeros(n_classes + 1, dtype=np.int64)
        np.cumsum(np.bincount(targets, minlength=n_classes), out=starts[1:])
        return np.argsort(keys, kind="stable"), {"class_starts": starts}
    cuts: dict[tuple[int, int], int]
    if shape.n_outputs == 1:
        order, cuts = np.argsort(targets[:, 0], kind="stable"), {}
    else:
        order, cuts = _order_by_bisection(targets)
    return order, {"class_starts": None, "targets": targets[order], "cuts": cuts}


def _order_by_bisection(targets: Array) -> tuple[NDArray[np.int64], dict[tuple[int, int], int]]:
    """Return an order and the cuts of at most 32 ranges of rows with similar targets.

    The range with the largest extent, relative to that of all rows, is cut at the middle of this
    extent.
    """
    order = np.arange(len(targets))
    spread = np.ptp(targets, axis=0) if len(targets) else np.zeros(targets.shape[1])
    spread[spread == 0.0] = 1.0
    cuts: dict[tuple[int, int], int] = {}

    def entry(start: int, stop: int) -> tuple[float, int, int]:
        extent = (np.ptp(targets[order[start:stop]], axis=0) / spread).max(initial=0.0)
        return -extent, start, stop

    heap = [entry(0, len(targets))] if len(targets) else []
    while heap and len(cuts) < MOST_GROUPS - 1 and heap[0][0] < 0.0:
        _, start, stop = heapq.heappop(heap)
        here = order[start:stop]
        own = targets[here]
        low, high = own.min(axis=0), own.max(axis=0)
        d = int(np.argmax((high - low) / spread))
        middle_value = low[d] + 0.5 * (high[d] - low[d])
        is_low = own[:, d] <= min(middle_value, np.nextafter(high[d], low[d]))  # not all rows
        order[start:stop] = np.concatenate([here[is_low], here[~is_low]])
        middle = cuts[start, stop] = start + int(is_low.sum())
        heapq.heappush(heap, entry(start, middle))
        heapq.heappush(heap, entry(middle, stop))
    return order, cuts


def largest_inputs(inputs: Array | SparseFeatures) -> Array:
    """Return the largest absolute value of every column, without a copy of the inputs.

    Of sparse inputs it is an upper bound.
    """
    if isinstance(inputs, SparseFeatures):
        return inputs.largest
    return np.maximum(inputs.max(axis=0, initial=0.0), -inputs.min(axis=0, initial=0.0))


def check_log_odds(largest: Array, hidden: Array) -> None:
    """Check that log-odds cannot overflow.

    Parameters
    ----------
    largest : array (n_inputs,)
        Largest absolute value of every input (`largest_inputs`).
    hidden : array (n_inputs, n_hidden), log-odds per unit of input

    Raises
    ------
    FloatingPointError
        If the log-odds of a unit can overflow.
    """
    with np.errstate(over="ignore"):
        bound = largest @ np.abs(hidden)
    if not np.isfinite(bound).all():
        raise FloatingPointError(
            "The log-odds of a hidden unit are not a number: inputs times weights overflow. "
            "Rescale the features (standardize=True) or use smaller weights."
        )
