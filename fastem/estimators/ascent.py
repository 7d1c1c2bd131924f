"""The problem that a fit solves, and its solution.

An *ascent* is one maximisation of the objective from one start.
"""

from typing import NamedTuple

import numpy as np

from fastem.engines import Engine
from fastem.estimators.standardization import Standardization
from fastem.parameters import Array, Parameters, Shape
from fastem.solvers import AdamState, Monitor, Stepper
from fastem.sparse import SparseFeatures

_FEWEST_ROWS_TO_MERGE = 500  # the E-steps of fewer rows take no longer than the code around them
_TRIED_ROWS = 1000  # size of the sample of rows in which equal rows are counted first

Optimizer = Stepper | AdamState


class EqualRows(NamedTuple):
    """Groups of equal rows.

    Attributes
    ----------
    first : array of int (n_groups,)
        Number of the first row of every group.
    groups : array of int (n_samples,)
        Number of the group of every row.
    """

    first: np.ndarray
    groups: np.ndarray


class Problem(NamedTuple):
    """Checked rows, and the network and engine to train on them.

    Attributes
    ----------
    shape : Shape
    engine : Engine
    X : array (n_samples, n_features) or SparseFeatures
    targets : array
        Class indices (n_samples,) of int, or values (n_samples, n_outputs).
    weights : array (n_samples,)
    counts : array (n_samples,) or None
        The weights without those of classes; None if they are equal.
    held_out : Problem or None
        Rows that are not trained on, of positive weight.
    """

    shape: Shape
    engine: Engine
    X: Array | SparseFeatures
    targets: np.ndarray
    weights: Array
    counts: Array | None = None
    held_out: "Problem | None" = None

    def of_rows(self, kept: np.ndarray) -> "Problem":
        """Return the problem of some of the rows, given by a mask or by numbers."""
        X, targets, weights = (values[kept] for values in (self.X, self.targets, self.weights))
        counts = None if self.counts is None else self.counts[kept]
        return self._replace(X=X, targets=targets, weights=weights, counts=counts)

    def standardized(self, standardization: Standardization) -> "Problem":
        """Return the problem for standardised features and outputs."""
        return self._replace(
            X=standardization.apply(self.X),
            targets=standardization.apply_to_targets(self.targets),
        )

    def summed_targets(self) -> Array:
        """Return the weight of every class, or the weighted sum of every output, (n_outputs,)."""
        if self.shape.has_classes:
            return np.bincount(self.targets, self.weights, minlength=self.shape.n_outputs)
        return self.weights @ self.targets

    def merged(self) -> "Problem":
        """Return the problem with equal rows merged, if at most half of the rows are distinct.

        The weight of a merged row is the sum of the weights. Tables of categories have many equal
        rows.
        """
        equal = self.equal_rows()
        return self if equal is None else self.with_merged(equal)

    def with_merged(self, equal: EqualRows) -> "Problem":
        """Return the problem with given equal rows merged."""
        weights = np.bincount(equal.groups, self.weights)
        return self.of_rows(equal.first)._replace(weights=weights, counts=None)

    def equal_rows(self) -> EqualRows | None:
        """Return which rows are equal; None if more than half of the rows are distinct, or few."""
        n_samples = len(self.weights)
        if n_samples < _FEWEST_ROWS_TO_MERGE:
            return None
        some = self.of_rows(np.arange(0, n_samples, -(-n_samples // _TRIED_ROWS)))
        if 2 * len(np.unique(some._keys())) > len(some.weights):
            return None
        _, first, groups = np.unique(self._keys(), return_index=True, return_inverse=True)
        return None if 2 * len(first) > n_samples else EqualRows(first, groups)

    def _keys(self) -> np.ndarray:
        """Return one value per row, equal for rows with equal features and targets."""
        if isinstance(self.X, SparseFeatures):
            pairs = zip(self.X.bytes_of_rows(), self.targets + 0, strict=True)
            keys = np.empty(len(self.weights), dtype=object)
            keys[:] = [features + target.tobytes() for features, target in pairs]
            return keys
        rows = np.column_stack([self.X, self.targets]) + 0.0  # -0.0 becomes 0.0
        return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()


class Ascent(NamedTuple):
    """A maximisation of the objective, and everything that is needed to resume it exactly.

    Attributes
    ----------
    theta : array (n_parameters,)
        Parameters to keep, on standardised features.
    monitor : Monitor
    optimizer : Stepper or AdamState
        Chooses the steps, and stores quantities of earlier iterates.
    standardization : Standardization
    median_effective_size : float or None
        Median effective sample size of the last E-step; None for exact engines.
    end : array (n_parameters,) or None
        The last iterate, if another one is kept. On the same rows, the ascent continues there.
    is_running : bool
        Whether the ascent had not ended. On the same rows, ``max_iter`` includes its iterations.
    """

    theta: Array
    monitor: Monitor
    optimizer: Optimizer
    standardization: Standardization
    median_effective_size: float | None = None
    end: Array | None = None
    is_running: bool = False


def ended_in(last: Ascent | None, shape: Shape, parameters: Parameters) -> bool:
    """Return whether an ascent ended in these parameters, to the bit."""
    if last is None or last.theta.size != shape.n_parameters:
        return False
    found = last.standardization.fold(shape.unpack(last.theta))
    return np.array_equal(found.flat, parameters.flat)
