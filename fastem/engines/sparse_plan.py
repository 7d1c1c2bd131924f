"""E-steps on sparse rows: any engine, on the log-odds of the first hidden layer."""

import math

import numpy as np

from fastem.engines.base import Engine, Plan
from fastem.expectations import Statistics
from fastem.kernels import caller_order
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds
from fastem.sparse import SparseFeatures


class SparsePlan(Plan):
    """An E-step on rows whose inputs are `SparseFeatures`.

    The engine gets the log-odds of the first hidden layer in place of the features, and an identity
    matrix in place of the weights. One sparse product gives these log-odds, and another one gives
    the gradient with respect to the weights, ``X' (w (q - u))``. No dense copy of X is made.

    Parameters
    ----------
    engine : Engine
    rows : TrainingRows
    shape : Shape
    n_threads : int

    Attributes
    ----------
    of_log_odds : Plan
        The plan of the engine.
    """

    def __init__(self, engine: Engine, rows: TrainingRows, shape: Shape, n_threads: int) -> None:
        inner = shape_on_log_odds(shape)
        self._n_threads = n_threads
        self._hidden = identity_weights(inner)
        self._inputs = np.ones((len(rows.weights), inner.n_inputs))
        self.rebind(rows)
        self.of_log_odds = engine.plan(self._inner_rows(), inner, n_threads)

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        self._rows, self._largest_inputs = rows, rows.largest_inputs

    def _inner_rows(self) -> TrainingRows:
        return self._rows._replace(inputs=self._inputs[: len(self._rows.weights)])

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step; see `Plan`.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or as the engine does.
        """
        rows, hidden, inner = self._rows, parameters.hidden[0], self._inner_rows()
        if not math.isfinite(caller_order.bound_of_log_odds(self._largest_inputs, hidden)):
            check_log_odds(self._largest_inputs, hidden)
        rows.inputs.fill_product(hidden, self._n_threads, inner.inputs)
        self.of_log_odds.rebind(inner)
        layers = self._hidden, *parameters.hidden[1:]
        found = self.of_log_odds.expect(parameters._replace(hidden=layers), draw)
        first = found.hidden[0]
        moved = rows.weights * (first.posterior - first.probability)
        gradient = rows.inputs.transposed_product(np.ascontiguousarray(moved.T), self._n_threads)
        layer = first._replace(inputs=rows.inputs, gradient=gradient)
        return found._replace(hidden=(layer, *found.hidden[1:]))


def shape_of_plan(shape: Shape, X: Array | SparseFeatures) -> Shape:
    """Return the shape that an engine's plan has for these features: see `shape_on_log_odds`."""
    return shape_on_log_odds(shape) if isinstance(X, SparseFeatures) else shape


def shape_on_log_odds(shape: Shape) -> Shape:
    """Return the network whose features are the log-odds of the first hidden layer."""
    return shape._replace(n_features=shape.first)


def identity_weights(shape: Shape) -> Array:
    """Return the weights into a first hidden layer whose log-odds are the features."""
    return np.eye(shape.n_inputs, shape.first)
