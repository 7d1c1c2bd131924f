"""A part of the rows, prepared for E-steps where it is."""

import threading
from typing import Any, NamedTuple

import numpy as np

from fastem.engines import Engine
from fastem.estimators.ascent import Problem
from fastem.estimators.parts.summary import read_part
from fastem.estimators.standardization import Standardization
from fastem.expectations import Sums
from fastem.m_step import M_STEPS
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, sort_rows
from fastem.runtime import bytes_of, single_threaded_blas
from fastem.selection import row_numbers_of_part
from fastem.solvers import Network, Request

_BYTES = 8


class Preparation(NamedTuple):
    """How the rows of a part become those of E-steps.

    Attributes
    ----------
    model : BaseFastEM
        With the labels and the columns that it has learned.
    shape : Shape
        Its hidden layers are not used.
    standardization : Standardization
    factors : array (n_classes,) or None
        Weights of classes.
    share : float
        Share of the rows that is held out while penalties are compared.
    """

    model: Any
    shape: Shape
    standardization: Standardization
    factors: Array | None
    share: float = 0.0


class Work(NamedTuple):
    """Which E-steps run on a part.

    Attributes
    ----------
    shape : Shape
    engine : Engine
    m_step : {"bound", "gradient"}
        M-step whose sums are computed.
    is_trial : bool
        Whether rows are held out.
    """

    shape: Shape
    engine: Engine
    m_step: str
    is_trial: bool = False


class Description(NamedTuple):
    """What the driver learns of a prepared part.

    Attributes
    ----------
    weight : float
        Summed weight of the rows that are not held out.
    targets : array (n_outputs,)
        Weight of every class, or weighted sum of every standardised output, of these rows.
    held : array (n_held,)
        Weights of the rows that are held out.
    may_begin_in_single_precision : bool
        Whether EM should begin with E-steps in single precision.
    """

    weight: float
    targets: Array
    held: Array
    may_begin_in_single_precision: bool


class PreparedPart:
    """Standardised and sorted rows of a part, and the plan of their E-steps.

    The plan is made when it is first used. A copy in another process makes its own.

    Parameters
    ----------
    rows : TrainingRows
    totals : tuple of float and array (n_outputs,)
        Weight and targets of `Description`, of all rows.
    is_held : array of bool (n_samples,)
        Rows that are held out in a trial.
    """

    def __init__(
        self, rows: TrainingRows, totals: tuple[float, Array], is_held: np.ndarray
    ) -> None:
        self.rows, self._totals, self._is_held = rows, totals, is_held
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._work: Work | None = None

    def __getstate__(self) -> tuple:
        return self.rows, self._totals, self._is_held

    def __setstate__(self, state: tuple) -> None:
        rows, self._totals, self._is_held = state
        # arrays from another process may be read-only, for which kernels are not compiled
        self.rows = rows._replace(**{
            name: np.array(values) for name, values in rows._asdict().items()
            if isinstance(values, np.ndarray)
        })  # fmt: skip
        self._begin()

    def __sizeof__(self) -> int:
        """Return the bytes of rows and plan."""
        n_samples, n_inputs = self.rows.inputs.shape
        n_outputs = 0 if self.rows.targets is None else self.rows.targets.shape[1]
        work = 0 if self._work is None else bytes_of_work(self._work, n_samples)
        return _bytes_of_rows(n_samples, n_inputs, n_outputs) + work

    def describe(self, work: Work) -> Description:
        """Return the description of the part."""
        with self._lock:
            may_begin = self._network_for(work).may_begin_in_single_precision
            weight, targets = self._totals
            held = self.rows.weights[self._is_held]
            if work.is_trial:
                weights = self._weights_in_trial()
                weight, targets = float(weights.sum()), _summed_targets(self.rows, weights)
            return Description(weight, targets, held, may_begin)

    def sums(self, work: Work, request: Request) -> Sums:
        """Run an E-step on the rows that are not held out."""
        with self._lock, single_threaded_blas():
            return self._expect(work, request)[1]

    def held_log_likelihood(self, work: Work, parameters: Parameters) -> Array:
        """Return the log-likelihood of the rows that are held out (n_held,), in nats."""
        with self._lock, single_threaded_blas():
            return self._expect(work, Request(parameters))[0][self._is_held]

    def _expect(self, work: Work, request: Request) -> tuple[Array, Sums]:
        return self._network_for(work).sums(
            request.parameters,
            with_first_moments=request.with_first_moments,
            is_single=request.is_single,
        )

    def _network_for(self, work: Work) -> Network:
        if self._network is None or work != self._work:
            self._network = None  # its memory is needed
            rows = self.rows
            if work.is_trial:  # rows without weight do not change sums
                rows = rows._replace(weights=self._weights_in_trial())
            self._network = Network(
                rows, work.shape, work.engine, work.m_step, alpha=0.0, n_threads=1
            )
            self._work = work
        return self._network

    def _weights_in_trial(self) -> Array:
        return np.where(self._is_held, 0.0, self.rows.weights)


def _summed_targets(rows: TrainingRows, weights: Array) -> Array:
    """Return the weight of every class, or the weighted sum of every output."""
    if rows.targets is not None:
        return weights @ rows.targets
    return np.bincount(rows.labels, weights, minlength=len(rows.class_starts) - 1)


def _bytes_of_rows(n_samples: int, n_inputs: int, n_outputs: int) -> int:
    return _BYTES * n_samples * (n_inputs + n_outputs + 2)


def bytes_of_work(work: Work, n_samples: int) -> int:
    """Return the memory of an E-step and its sums, beside that of the rows."""
    shape, engine = work.shape, work.engine
    declared = M_STEPS[work.m_step].buffers(shape, n_samples, engine.statistics, 1)
    return engine.bytes_needed(shape, n_samples, 1) + bytes_of(*declared)


def bytes_of_part(work: Work, n_samples: int) -> int:
    """Return the memory of prepared rows that are not sparse, and of their E-steps."""
    n_outputs = 0 if work.shape.has_classes else work.shape.n_outputs
    return _bytes_of_rows(n_samples, work.shape.n_inputs, n_outputs) + bytes_of_work(
        work, n_samples
    )


# Functions that run on parts


def prepare_part(X: Any, y: Any, sample_weight: Any, how: Preparation) -> PreparedPart | None:
    """Return the prepared rows of a part; None if no row has weight."""
    if X.shape[0] == 0:
        return None
    model, shape = how.model, how.shape
    X, y, weights = read_part(model, X, y, sample_weight, reset=False)
    targets = model._known_targets(y, len(X), shape.n_outputs)
    if how.factors is not None:
        weights = weights * how.factors[targets]
    problem = Problem(shape, None, X, targets, weights).of_rows(weights > 0.0)
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
        is_held = np.zeros(len(rows.weights), dtype=bool)
        if how.share > 0.0:
            numbers = row_numbers_of_part(problem.X, problem.targets)
            is_held = (numbers < how.share * 2.0**64)[rows.order]
    return PreparedPart(rows, (weight, totals), is_held)


def description_of_part(part: PreparedPart | None, work: Work) -> Description | None:
    """Return the description of a part; None if it has no rows."""
    return None if part is None else part.describe(work)


def sums_of_part(part: PreparedPart | None, work: Work, request: Request) -> Sums | None:
    """Return the sums of an E-step on a part; None if it has no rows."""
    return None if part is None else part.sums(work, request)


def held_log_likelihood_of_part(
    part: PreparedPart | None, work: Work, parameters: Parameters
) -> Array:
    """Return the log-likelihood of the held-out rows of a part, in nats."""
    return np.empty(0) if part is None else part.held_log_likelihood(work, parameters)
