"""The network with stochastic hidden units, in the form of a model for the solvers."""

from collections.abc import Callable

import numpy as np

from fastem.engines import Engine, EnumerationPlan, SparsePlan, shape_of_plan
from fastem.expectations import Statistics, Sums
from fastem.m_step import M_STEPS, MStep, Parts
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import bytes_of, check_memory
from fastem.solvers.em import CoarsePhase
from fastem.sparse import SparseFeatures

SINGLE_ERROR = 1e-7
"""Error of a log-likelihood in single precision, per unit of weight (nats).

Rounding of the tables, which rows share, is at most 6e-8. Errors of single rows are larger, but
have either sign."""

FIRST_DRAW_OF_OBJECTIVE = 2**40
"""Number of the first random draw of an objective that is compared with others: above the number of
any step."""


class PenalisedNetwork:
    """Penalised marginal likelihood over flat parameter vectors: what does not depend on the rows.

    A subclass defines `expect` and `maximize`, and calls `set_penalty` when it is complete.

    Parameters
    ----------
    shape : Shape
    new_m_step : callable or None
        Returns the M-step for a penalty; None if only the gradient is needed.

    Attributes
    ----------
    last_penalty : float, nats
        Penalty in the objective of the last E-step.
    """

    def __init__(self, shape: Shape, new_m_step: Callable[[float], MStep] | None) -> None:
        self.shape, self._new_m_step = shape, new_m_step
        self.last_penalty = 0.0

    def set_penalty(self, alpha: float) -> None:
        """Change the penalty: ``alpha / 2`` times the squared norm of all but intercepts."""
        self._whole_penalty = self._penalty = alpha * self.shape.penalty_weights()
        if self._new_m_step is not None:
            self._m_step = self._new_m_step(alpha)

    def set_variance_floor(self, floor: float) -> None:
        """Change the lower bound of the noise variances, and with it the flat vectors."""
        self.shape = self.shape._replace(variance_floor=floor)

    @property
    def is_single(self) -> bool:
        """Whether E-steps are in single precision now."""
        return False

    def median_effective_size(self) -> float | None:
        """Return the median effective sample size of the last E-step; None for exact engines."""
        return None

    def expect(self, theta: Array, draw: int = 0) -> tuple[float, Statistics | Sums]:
        """Run the E-step; return the penalised log-likelihood (nats) and its statistics.

        ``draw`` is the number of the random draw, for engines that sample.
        """
        raise NotImplementedError

    def objective(self, theta: Array) -> float:
        """Return the penalised log-likelihood (nats), by fixed random draws if the engine samples.

        Equal parameters have equal objectives.
        """
        return self.expect(theta, FIRST_DRAW_OF_OBJECTIVE)[0]

    def penalty(self, theta: Array) -> float:
        """Return the whole penalty (nats), not only a share of it."""
        return _half_squares(self._whole_penalty, theta)

    def gradient(self, theta: Array, statistics: Statistics | Sums) -> Array:
        """Return the gradient of the penalised log-likelihood, by Fisher's identity."""
        hidden = tuple(layer.gradient for layer in statistics.hidden)
        gradient = Parameters(hidden, statistics.output_gradient)
        if self.shape.n_variances > 0:
            variance = self.shape.unpack(theta).variance
            gradient = gradient._replace(variance=statistics.variance_gradient(variance))
        return self.shape.pack_gradient(gradient, theta) - self._penalty * theta

    def _penalised(self, log_likelihood: float, theta: Array) -> float:
        """Return the objective for a log-likelihood (nats), and store its penalty."""
        self.last_penalty = _half_squares(self._penalty, theta)
        return float(log_likelihood - self.last_penalty)


class Network(PenalisedNetwork):
    """Penalised marginal likelihood of given rows, over flat parameter vectors.

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
    engine : Engine
        Algorithm of the E-step.
    m_step : {"newton", "bound", "gradient"} or None
        None if only the gradient is needed.
    alpha : float
        Penalty: ``alpha / 2`` times the squared norm of all weights but intercepts.
    learning_rate : float, default=0.0
        Rate of the gradient M-step.
    n_threads : int

    Raises
    ------
    ValueError
        If the E-step and the M-step together do not fit into memory.
    """

    def __init__(
        self,
        rows: TrainingRows,
        shape: Shape,
        engine: Engine,
        m_step: str | None,
        *,
        alpha: float,
        n_threads: int,
        learning_rate: float = 0.0,
    ) -> None:
        super().__init__(shape, None)
        is_sparse = isinstance(rows.inputs, SparseFeatures)
        # first: the plan checks its own memory
        if is_sparse:
            self._plan = SparsePlan(engine, rows, shape, n_threads)
            self._own_plan = self._plan.of_log_odds
        else:
            self._plan = self._own_plan = engine.plan(rows, shape, n_threads)
        self._set_precision(is_single=False)
        self._weights, self._effective = rows.weights, None
        if m_step is not None:
            step, n_samples = M_STEPS[m_step], len(rows.weights)
            declared = step.buffers(
                shape, n_samples, engine.statistics, n_threads, is_sparse=is_sparse
            )
            of_plan = shape_of_plan(shape, rows.inputs)
            check_memory(
                f"m_step={m_step!r} on {shape.n_inputs} inputs, hidden_layer_sizes="
                f"{shape.hidden_layer_sizes}",
                "together with its E-step",
                "Use fewer features or hidden units, m_step='gradient', or solver='lbfgs' or "
                "'adam'.",
                engine.bytes_needed(of_plan, n_samples, n_threads) + bytes_of(*declared),
            )

            def new_m_step(alpha: float) -> MStep:
                parts = Parts.of(rows, shape, engine.statistics, alpha, n_threads)
                return step(parts, learning_rate)

            self._new_m_step = new_m_step
        self.set_penalty(alpha)

    def rebind(self, rows: TrainingRows, share: float) -> None:
        """Rebind to new rows, at most as many as the first, and to a share of the penalty.

        For E-steps and gradients only: the M-step keeps the rows that it was made for.
        """
        self._plan.rebind(rows)
        self._weights = rows.weights
        self._penalty = share * self._whole_penalty

    @property
    def may_begin_in_single_precision(self) -> bool:
        """Whether EM should begin with E-steps in single precision."""
        plan = self._own_plan
        return isinstance(plan, EnumerationPlan) and plan.may_begin_in_single_precision

    @property
    def is_single(self) -> bool:
        """Whether E-steps are in single precision now."""
        return isinstance(self._own_plan, EnumerationPlan) and self._own_plan.is_single

    def _set_precision(self, *, is_single: bool) -> None:
        if isinstance(self._own_plan, EnumerationPlan):
            self._own_plan.is_single = is_single and self.may_begin_in_single_precision

    def begin_in_single_precision(self) -> CoarsePhase | None:
        """Use single precision for the sums of E-steps from now on, if that is faster.

        Returns
        -------
        phase : CoarsePhase or None
            None if nothing has changed.
        """
        if not self.may_begin_in_single_precision:
            return None
        self._set_precision(is_single=True)

        def end() -> None:
            self._set_precision(is_single=False)

        return CoarsePhase(SINGLE_ERROR * float(self._weights.sum()), end)

    def median_effective_size(self) -> float | None:
        """Return the median effective sample size of the last E-step; None for exact engines."""
        return None if self._effective is None else float(np.median(self._effective))

    def expect(self, theta: Array, draw: int = 0) -> tuple[float, Statistics]:
        """Run the E-step; return the penalised log-likelihood (nats) and its statistics.

        ``draw`` is the number of the random draw, for engines that sample.
        """
        statistics = self._plan.expect(self.shape.unpack(theta), draw)
        self._effective = statistics.effective_sample_size
        return self._penalised(statistics.total_log_likelihood(), theta), statistics

    def sums(
        self, parameters: Parameters, *, with_first_moments: bool, is_single: bool
    ) -> tuple[Array, Sums]:
        """Return the log-likelihood of every row (nats), and sums over the rows for the M-step.

        Parameters
        ----------
        parameters : Parameters
        with_first_moments : bool
            See `AdditiveMStep.summarise`.
        is_single : bool
            Whether to use single precision, where it is faster.
        """
        self._set_precision(is_single=is_single)
        statistics = self._plan.expect(parameters)
        sums = self._m_step.summarise(parameters, statistics, with_first_moments=with_first_moments)
        return statistics.log_likelihood, sums

    def maximize(self, theta: Array, statistics: Statistics) -> Array:
        """Run the M-step; return the new parameters."""
        return self.shape.pack(self._m_step(self.shape.unpack(theta), statistics))


def _half_squares(penalty: Array, theta: Array) -> float:
    return float(0.5 * np.sum(penalty * theta * theta))
