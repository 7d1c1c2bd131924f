"""A part of the rows, prepared for E-steps where it is."""

import threading
from typing import Any, NamedTuple

import numpy as np

from fastem.engines import Engine
from fastem.estimators.ascent import Problem
from fastem.estimators.standardization import Standardization
from fastem.expectations import Sums
from fastem.m_step import M_STEPS
from fastem.parameters import Array, Shape
from fastem.rows import TrainingRows, sort_rows
from fastem.runtime import bytes_of, single_threaded_blas
from fastem.solvers import Network, Request

_BYTES = 8


class Preparation(NamedTuple):
    """How the rows of a part become those of E-steps.

    Attributes
    ----------
    model : BaseFastEM
        With the labels and the columns that it has learned.
    shape : Shape
    engine : Engine
    standardization : Standardization
    factors : array (n_classes,) or None
        Weights of classes.
    m_step : {"bound", "gradient"}
        M-step whose sums are computed.
    """

    model: Any
    shape: Shape
    engine: Engine
    standardization: Standardization
    factors: Array | None
    m_step: str


class Description(NamedTuple):
    """What the driver learns of a prepared part.

    Attributes
    ----------
    weight : float
        Summed weight of the rows.
    targets : array (n_outputs,)
        Weight of every class, or weighted sum of every standardised output.
    may_begin_in_single_precision : bool
        Whether EM should begin with E-steps in single precision.
    """

    weight: float
    targets: Array
    may_begin_in_single_precision: bool


class PreparedPart:
    """Standardised and sorted rows of a part, and the plan of their E-steps.

    The plan is made when it is first used. A copy in another process makes its own.

    Parameters
    ----------
    rows : TrainingRows
    totals : tuple of float and array (n_outputs,)
        Weight and targets of `Description`.
    shape : Shape
    engine : Engine
    m_step : {"bound", "gradient"}
    """

    def __init__(
        self,
        rows: TrainingRows,
        totals: tuple[float, Array],
        shape: Shape,
        engine: Engine,
        m_step: str,
    ) -> None:
        self.rows, self._totals = rows, totals
        self._settings = shape, engine, m_step
        self._begin()

    def _begin(self) -> None:
        self._lock, self._network = threading.Lock(), None

    def __getstate__(self) -> tuple:
        return self.rows, self._totals, self._settings

    def __setstate__(self, state: tuple) -> None:
        rows, self._totals, self._settings = state
        # arrays from another process may be read-only, for which kernels are not compiled
        self.rows = rows._replace(**{
            name: np.array(values) for name, values in rows._asdict().items()
            if isinstance(values, np.ndarray)
        })  # fmt: skip
        self._begin()

    def __sizeof__(self) -> int:
        """Return the bytes of rows and plan."""
        shape, engine, m_step = self._settings
        n_samples = len(self.rows.weights)
        return bytes_of_rows(shape, n_samples) + bytes_of_work(shape, engine, m_step, n_samples)

    def describe(self) -> Description:
        """Return the description of the part."""
        with self._lock:
            return Description(*self._totals, self._own_network().may_begin_in_single_precision)

    def sums(self, request: Request) -> Sums:
        """Run an E-step on all rows."""
        with self._lock, single_threaded_blas():
            network = self._own_network()
            return network.sums(
                request.parameters,
                with_first_moments=request.with_first_moments,
                is_single=request.is_single,
            )[1]

    def _own_network(self) -> Network:
        if self._network is None:
            shape, engine, m_step = self._settings
            self._network = Network(self.rows, shape, engine, m_step, alpha=0.0, n_threads=1)
        return self._network


def bytes_of_rows(shape: Shape, n_samples: int) -> int:
    """Return the memory of prepared rows that are not sparse."""
    n_outputs = 0 if shape.has_classes else shape.n_outputs
    return _BYTES * n_samples * (shape.n_inputs + n_outputs + 2)


def bytes_of_work(shape: Shape, engine: Engine, m_step: str, n_samples: int) -> int:
    """Return the memory of an E-step and its sums, beside that of the rows."""
    declared = M_STEPS[m_step].buffers(shape, n_samples, engine.statistics, 1)
    return engine.bytes_needed(shape, n_samples, 1) + bytes_of(*declared)


# Functions that run on parts


def prepare_part(X: Any, y: Any, sample_weight: Any, how: Preparation) -> PreparedPart | None:
    """Return the prepared rows of a part; None if no row has weight."""
    if X.shape[0] == 0:
        return None
    model, shape = how.model, how.shape
    X, y, weights = model._read_rows(X, y, sample_weight, reset=False)
    targets = model._known_targets(y, len(X), shape.n_outputs)
    if how.factors is not None:
        weights = weights * how.factors[targets]
    problem = Problem(shape, how.engine, X, targets, weights).of_rows(weights > 0.0)
    if len(problem.weights) == 0:
        return None
    with single_threaded_blas():
        problem = problem.standardized(how.standardization)
        if shape.has_classes:
            totals = np.bincount(problem.targets, problem.weights, minlength=shape.n_outputs)
        else:
            totals = problem.weights @ problem.targets
        weight, problem = float(problem.weights.sum()), problem.merged()
        rows = sort_rows(problem.X, problem.targets, problem.weights, shape)
    return PreparedPart(rows, (weight, totals), shape, how.engine, how.m_step)


def description_of_part(part: PreparedPart | None) -> Description | None:
    """Return the description of a part; None if it has no rows."""
    return None if part is None else part.describe()


def sums_of_part(part: PreparedPart | None, request: Request) -> Sums | None:
    """Return the sums of an E-step on a part; None if it has no rows."""
    return None if part is None else part.sums(request)
