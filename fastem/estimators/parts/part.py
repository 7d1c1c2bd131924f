"""A part of the rows, prepared for E-steps where it is."""

import threading
from typing import Any, NamedTuple

import numpy as np

from fastem.engines import Engine
from fastem.estimators.ascent import Problem
from fastem.estimators.parts.counts import HoldOut
from fastem.estimators.parts.summary import read_part
from fastem.estimators.standardization import Standardization
from fastem.expectations import Sums
from fastem.m_step import M_STEPS
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, sort_rows
from fastem.runtime import bytes_of, single_threaded_blas
from fastem.selection import held_shares_of_part
from fastem.solvers import Network, Request

_BYTES = 8
_ROUNDING = 1e-9  # of sums of weights


class PartPreparation(NamedTuple):
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
    hold_out : HoldOut or None
        Which rows are held out while penalties are compared; None for no rows.
    """

    model: Any
    shape: Shape
    standardization: Standardization
    factors: Array | None
    hold_out: HoldOut | None = None


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
        Summed weight of the rows, without what is held out.
    targets : array (n_outputs,)
        Weight of every class, or weighted sum of every standardised output, in the same way.
    held : array (n_held,)
        Positive weights that are held out, of rows or of parts of their weight.
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
    held : array (n_samples,)
        Weight of every row that is held out in a trial.
    """

    def __init__(self, rows: TrainingRows, totals: tuple[float, Array], held: Array) -> None:
        self.rows, self._totals, self._held = rows, totals, held
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._work: Work | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        return self.rows, self._totals, self._held

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        rows, self._totals, self._held = state
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
            held = self._held[self._held > 0.0]
            if work.is_trial:
                weights = self._weights_in_trial()
                weight, targets = float(weights.sum()), _summed_targets(self.rows, weights)
            return Description(weight, targets, held, may_begin)

    def sums(self, work: Work, request: Request) -> Sums:
        """Run an E-step on the rows, with the weight that is not held out."""
        with self._lock, single_threaded_blas():
            return self._expect(work, request)[1]

    def held_log_likelihood(self, work: Work, parameters: Parameters) -> Array:
        """Return the log-likelihood of the rows that are held out (n_held,), in nats."""
        with self._lock, single_threaded_blas():
            return self._expect(work, Request(parameters))[0][self._held > 0.0]

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
        return self.rows.weights - self._held


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


def prepare_part(X: Any, y: Any, sample_weight: Any, how: PartPreparation) -> PreparedPart | None:
    """Return the prepared rows of a part; None if no row has weight."""
    if X.shape[0] == 0:
        return None
    model, shape = how.model, how.shape
    X, y, weights = read_part(model, X, y, sample_weight, reset=False)
    targets = model._known_targets(y, len(X), shape.n_outputs)
    counts = weights
    if how.factors is not None:
        weights = weights * how.factors[targets]
    problem = Problem(shape, None, X, targets, weights, counts).of_rows(weights > 0.0)
    if len(problem.weights) == 0:
        return None
    held = _held_weights(problem, how.hold_out)
    with single_threaded_blas():
        problem = problem.standardized(how.standardization)
        totals = float(problem.weights.sum()), problem.summed_targets()
        equal = problem.equal_rows()
        if equal is not None:
            problem, held = problem.with_merged(equal), np.bincount(equal.groups, held)
        rows = sort_rows(problem.X, problem.targets, problem.weights, shape)
    return PreparedPart(rows, totals, _whole(held[rows.order], rows.weights))


def _held_weights(problem: Problem, hold_out: HoldOut | None) -> Array:
    """Return the weight of every row that is held out.

    The rows are as they are in X and y: the last bits of standardised values depend on the parts.
    """
    if hold_out is None:
        return np.zeros(len(problem.weights))
    copies = None
    if hold_out.has_few_values:
        copies = problem.counts if hold_out.are_counts else np.ones(len(problem.weights))
    shares = held_shares_of_part(problem.X, problem.targets, copies, hold_out.share)
    if hold_out.frequent is not None:
        shares[~hold_out.frequent[problem.targets]] = 0.0
    return shares * problem.weights


def _whole(held: Array, weights: Array) -> Array:
    """Return held-out weights; those that equal the weights up to rounding are set to these."""
    return np.where(held > (1.0 - _ROUNDING) * weights, weights, held)


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
