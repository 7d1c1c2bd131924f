"""Training of networks with stochastic units by mini-batches: epochs, and streams of rows."""

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastem.estimators.ascent import Ascent, Problem, ended_in
from fastem.estimators.choices import RATE_OF_FIRST_EPOCH, learning_rate, rows_per_e_step
from fastem.estimators.em_training import Training
from fastem.estimators.standardization import Standardization
from fastem.parameters import Array, Parameters
from fastem.runtime import effective_n_jobs, single_threaded_blas
from fastem.solvers import AdamState, BatchedNetwork, EpochMonitor, Extent, FallingRate, run_adam

# First rate and number of epochs, as shares of those of a fit: of the fit itself, of a run before
# the comparison of penalties, of the runs that are compared, and of the fit that begins where the
# best one ended.
_WHOLE, _BASE, _BRANCH, _POLISH = (1.0, 1.0), (1.0, 0.4), (0.5, 0.15), (0.5, 0.4)


class EpochTraining(Training):
    """Training by mini-batches: epochs of `fit`, or one call of `partial_fit`.

    Parameters
    ----------
    estimator, problem, standardization
        As for `Training`.
    seen : Extent, default=Extent()
        Number and weight of the rows of earlier calls of `partial_fit`.
    streams : bool, default=False
        Whether the rows are those of `partial_fit`.

    Attributes
    ----------
    n_epochs : int
        Epochs of a fit whose learning rate falls.
    polishes : bool
        Whether the starting values come from a fit to most of the rows.
    """

    # Steps of a fit whose learning rate falls, and limits of its epochs.
    _N_STEPS, _EPOCHS = 1200, (10, 400)

    def __init__(
        self,
        estimator: Any,
        problem: Problem,
        standardization: Standardization | None = None,
        seen: Extent = Extent(),  # noqa: B008  a constant
        *,
        streams: bool = False,
    ) -> None:
        self._seen, self._streams = seen, streams
        self.polishes = False
        super().__init__(estimator, problem, standardization)

    def _new_model(self, problem: Problem) -> BatchedNetwork:
        estimator, n_rows = self._estimator, len(problem.weights)
        self._extent = self._seen.plus(problem.weights)
        batch_size = min(rows_per_e_step(estimator, n_rows, streams=self._streams), n_rows)
        fewest, most = self._EPOCHS
        self.n_epochs = min(max(-(-self._N_STEPS * batch_size // n_rows), fewest), most)
        return BatchedNetwork(
            problem.X,
            problem.targets,
            problem.weights,
            self.shape,
            self._engine,
            batch_size,
            alpha=float(estimator.alpha),
            extent=self._extent,
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    def _new_held_out_model(self, problem: Problem) -> BatchedNetwork:
        estimator, n_rows = self._estimator, len(problem.weights)
        return BatchedNetwork(
            problem.X,
            problem.targets,
            problem.weights,
            self.shape,
            self._engine,
            min(rows_per_e_step(estimator, n_rows), n_rows),
            alpha=0.0,
            extent=Extent().plus(problem.weights),
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    def _kept(self, theta: Array, monitor: EpochMonitor) -> Array:
        return theta  # `run_adam` has chosen it

    def new_monitor(self) -> EpochMonitor:
        """Return an empty record."""
        estimator = self._estimator
        monitor = EpochMonitor(
            float(estimator.tol), scale=self._scale, patience=estimator.n_iter_no_change
        )
        monitor.penalty, monitor.loss = self.model.penalty, self.loss
        return monitor

    def new_optimizer(self, random_state: np.random.RandomState) -> AdamState:
        """Return a state without memory of earlier iterates."""
        return AdamState(learning_rate(self._estimator), random_state)

    def run(
        self, theta: Array, monitor: EpochMonitor, optimizer: AdamState, max_iter: int
    ) -> Array:
        """Run at most so many epochs; return the iterate to keep."""
        self._update(optimizer)
        schedule = None
        optimizer.polishes = optimizer.polishes or self.polishes
        if isinstance(self._estimator.learning_rate_init, str):
            schedule = self._falling(*(_POLISH if optimizer.polishes else _WHOLE))
        return run_adam(self.model, theta, monitor, max_iter, optimizer, schedule)

    def _falling(self, rate: float, share: float) -> FallingRate:
        """Return a schedule, given its first rate and its epochs as shares of those of a fit."""
        given = self._estimator.learning_rate_init
        first = RATE_OF_FIRST_EPOCH if isinstance(given, str) else float(given)
        return FallingRate(rate * first, max(1, round(share * self.n_epochs)))

    def follow(
        self,
        theta: Array,
        alpha: float,
        random_state: np.random.RandomState,
        *,
        begins: bool = False,
    ) -> tuple[Array, float]:
        """Return the parameters under a penalty and their log-likelihood, after few epochs."""
        self.model.set_penalty(alpha)
        monitor, state = self.new_monitor(), self.new_optimizer(random_state)
        state.extent = self._extent
        schedule = self._falling(*(_BASE if begins else _BRANCH))
        with single_threaded_blas():
            theta = run_adam(self.model, theta, monitor, schedule.n_epochs, state, schedule)
        if monitor.interrupted:
            raise KeyboardInterrupt
        return theta, monitor.objective + self.model.penalty(theta)

    def settled(self, theta: Array, random_state: np.random.RandomState) -> Array:
        """Return the starting values as they are."""
        return theta  # the steps of mini-batches are noisy enough to leave a poor start

    def _update(self, state: AdamState) -> None:
        state.extent = self._extent
        state.learning_rate = learning_rate(self._estimator)

    def begin_stream(self) -> Ascent:
        """Return the starting point of a stream that begins with these rows."""
        typical = self._typical
        if self.shape.has_classes:
            # A class without rows so far gets the weight of one average row.
            typical = np.where(typical > 0.0, typical, self._extent.weight / self._extent.n_rows)
        random_state = check_random_state(self._estimator.random_state)
        return self._at(self.start(random_state, typical), random_state)

    def join_stream(self, parameters: Parameters) -> Ascent:
        """Return the starting point of a stream that begins at given parameters."""
        random_state = check_random_state(self._estimator.random_state)
        theta = self.shape.pack(self._standardization.unfold(parameters))
        return self._at(theta, random_state)

    def _at(self, theta: Array, random_state: np.random.RandomState) -> Ascent:
        state = self.new_optimizer(random_state)
        state.restart(theta)
        return self._paused(theta, state)

    def _paused(self, theta: Array, state: AdamState) -> Ascent:
        """Return a stream between two calls, which keeps no rows."""
        monitor = self.new_monitor()
        monitor.detach()
        return Ascent(theta, monitor, state, self._standardization)

    def stream(self, ascent: Ascent) -> tuple[Ascent, float, float]:
        """Process the rows once; return the new ascent, and its running losses (nats).

        The first loss includes the penalty, the second one does not.

        Raises
        ------
        DivergenceError
            If the objective is not finite, or a weight diverges.
        """
        state = deepcopy(ascent.optimizer)  # a failed call must not change the earlier one
        if not np.array_equal(state.theta, ascent.theta):
            state.restart(ascent.theta)  # `fit` kept an iterate before the last one
        self._update(state)
        with single_threaded_blas():
            objective, penalty = state.run_epoch(self.model)
        loss, data_loss = self.loss(objective), self.loss(objective + penalty)
        theta = state.theta.copy()
        self._check_finite(theta)
        return self._paused(theta, state), loss, data_loss


def training_for(settings: Any, problem: Problem) -> Training:
    """Return the training of a solver that is not "auto"."""
    return (EpochTraining if settings.solver == "adam" else Training)(settings, problem)


def place_in_stream(
    estimator: Any, problem: Problem, parameters: Parameters | None, last: Ascent | None
) -> tuple[EpochTraining, Ascent]:
    """Return the training on the next rows of a stream, and the ascent to continue.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem
    parameters : Parameters or None
        None at the first call of a new estimator.
    last : Ascent or None
        The ascent of the earlier call.
    """
    if parameters is None:
        training = EpochTraining(estimator, problem, streams=True)
        return training, training.begin_stream()
    if ended_in(last, problem.shape, parameters) and isinstance(last.optimizer, AdamState):
        training = EpochTraining(
            estimator, problem, last.standardization, last.optimizer.extent, streams=True
        )
        return training, last
    training = EpochTraining(estimator, problem, streams=True)
    return training, training.join_stream(parameters)
