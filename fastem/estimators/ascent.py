"""The problem that a fit solves, and its solution.

An *ascent* is one maximisation of the objective from one start.
"""

from typing import NamedTuple

import numpy as np

from fastem.engines import Engine
from fastem.estimators.standardization import Standardization
from fastem.parameters import Array, Parameters, Shape
from fastem.solvers import AdamState, Monitor, Stepper

Optimizer = Stepper | AdamState


class Problem(NamedTuple):
    """Checked rows, and the network and engine to train on them.

    Attributes
    ----------
    shape : Shape
    engine : Engine
    X : array (n_samples, n_features)
    targets : array
        Class indices (n_samples,) of int, or values (n_samples, n_outputs).
    weights : array (n_samples,)
    """

    shape: Shape
    engine: Engine
    X: Array
    targets: np.ndarray
    weights: Array

    def of_rows(self, kept: np.ndarray) -> "Problem":
        """Return the problem of some of the rows, given by a mask or by numbers."""
        rows = (values[kept] for values in (self.X, self.targets, self.weights))
        return Problem(self.shape, self.engine, *rows)


class Ascent(NamedTuple):
    """A finished maximisation of the objective, and everything that is needed to resume it exactly.

    Attributes
    ----------
    theta : array (n_parameters,)
        Parameters on standardised features.
    monitor : Monitor
    optimizer : Stepper or AdamState
        Chooses the steps, and stores quantities of earlier iterates.
    standardization : Standardization
    median_effective_size : float or None
        Median effective sample size of the last E-step; None for exact engines.
    """

    theta: Array
    monitor: Monitor
    optimizer: Optimizer
    standardization: Standardization
    median_effective_size: float | None = None


def ended_in(last: Ascent | None, shape: Shape, parameters: Parameters) -> bool:
    """Return whether an ascent ended in these parameters, to the bit."""
    if last is None or last.theta.size != shape.n_parameters:
        return False
    found = last.standardization.fold(shape.unpack(last.theta))
    return np.array_equal(found.flat, parameters.flat)
