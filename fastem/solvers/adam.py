"""Adam on the marginal likelihood: exact gradients of one mini-batch of rows at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastem.engines import Engine
from fastem.expectations import Statistics
from fastem.kernels.descent import Rule, State, descend, rate_of_step
from fastem.parameters import Array, Shape
from fastem.rows import TrainingRows, add_ones, sort_inputs
from fastem.runtime import DivergenceError
from fastem.solvers.monitor import EpochMonitor
from fastem.solvers.network import FIRST_DRAW_OF_OBJECTIVE, Network

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_LARGEST_SEED = 2**31 - 1
_LARGEST_PARAMETER = 1e100  # far above any useful weight


class Extent(NamedTuple):
    """Size of the data that a mini-batch is a part of.

    Attributes
    ----------
    n_rows : int
    weight : float
        Summed weight of the rows.
    """

    n_rows: int = 0
    weight: float = 0.0

    def plus(self, weights: Array) -> "Extent":
        """Return the extent with more rows."""
        return Extent(self.n_rows + len(weights), self.weight + float(weights.sum()))


class FallingRate(NamedTuple):
    """A learning rate that falls linearly from epoch to epoch, and ends the run at zero.

    Attributes
    ----------
    first : float
        Rate of the first epoch.
    n_epochs : int
    """

    first: float
    n_epochs: int

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch; the first has the number 0."""
        return self.first * (1.0 - epoch / self.n_epochs)


class BatchModel(Protocol):
    """A model whose objective is a sum over rows, evaluated on a mini-batch at a time.

    ``last_penalty`` is the penalty (nats) in the objective of the last batch.
    """

    n_rows: int
    last_penalty: float

    def batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows in a given order into mini-batches."""

    def mean_gradient(
        self, theta: Array, batch: NDArray[np.int64], draw: int = 0
    ) -> tuple[float, Array]:
        """Return the batch's share of the objective, and its estimate of the mean gradient.

        ``draw`` is the number of the random draw, for models that sample.
        """

    def penalty(self, theta: Array) -> float:
        """Return the penalty that the objective of all rows contains."""

    def objective(self, theta: Array) -> float:
        """Return the objective of all rows."""


class BatchedNetwork:
    """Penalised marginal likelihood of rows, evaluated on mini-batches, over flat parameters.

    Parameters
    ----------
    X : array (n_samples, n_features)
    targets : array
        Class indices (n_samples,) of int, or values (n_samples, n_outputs).
    weights : array (n_samples,)
    shape : Shape
    engine : Engine
    batch_size : int
        At most ``n_samples``.
    alpha : float
        As for `Network`.
    extent : Extent
        Size of the data that these rows are part of. Each unit of weight carries the same share
        of the penalty. The gradient of a batch is divided by its number of rows times the mean
        weight of all rows. The gradients of an epoch therefore add up to the gradient of the whole
        objective, and a batch of rows with small weights takes a short step.
    n_threads : int

    Raises
    ------
    ValueError
        If an E-step on a batch does not fit into memory.

    Notes
    -----
    All batches share the memory of one E-step on a batch.
    """

    def __init__(
        self,
        X: Array,
        targets: NDArray[Any],
        weights: Array,
        shape: Shape,
        engine: Engine,
        batch_size: int,
        *,
        alpha: float,
        extent: Extent,
        n_threads: int,
    ) -> None:
        self.n_rows = len(weights)
        self._inputs = add_ones(X, shape.fit_intercept)
        # NumPy sorts 16-bit integers by radix, which is ten times as fast
        is_short = shape.has_classes and shape.n_outputs <= 2**16
        self._targets = targets.astype(np.uint16) if is_short else targets
        self._weights, self._shape = weights, shape
        self._batch_size, self._extent = batch_size, extent
        first = self._sorted(np.arange(batch_size))
        self._network = Network(first, shape, engine, None, alpha=alpha, n_threads=n_threads)

    def set_penalty(self, alpha: float) -> None:
        """Change the penalty."""
        self._network.set_penalty(alpha)

    def median_effective_size(self) -> float | None:
        """Return the median effective sample size of the last batch; None for exact engines."""
        return self._network.median_effective_size()

    def batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows in a given order into mini-batches, the last one shorter."""
        for start in range(0, len(order), self._batch_size):
            yield order[start : start + self._batch_size]

    def mean_gradient(
        self, theta: Array, batch: NDArray[np.int64], draw: int = 0
    ) -> tuple[float, Array]:
        """Return the batch's share of the penalised log-likelihood, and a mean gradient.

        Parameters
        ----------
        theta : array (n_parameters,)
        batch : array of int (n_rows,)
            Indices of rows, at most ``batch_size``.
        draw : int
            Number of the random draw, for engines that sample.

        Returns
        -------
        objective : float, nats
            The shares of all batches sum to the objective of `Network`.
        gradient : array (n_parameters,), nats per unit of weight and of parameter
            With an exact engine, its mean over the batches of an epoch is the gradient of the
            whole objective divided by the total weight.
        """
        objective, statistics = self._expect(theta, batch, draw)
        typical = len(batch) * (self._extent.weight / self._extent.n_rows)
        return objective, self._network.gradient(theta, statistics) / typical

    def penalty(self, theta: Array) -> float:
        """Return the penalty (nats) of the whole data."""
        return self._network.penalty(theta)

    @property
    def last_penalty(self) -> float:
        """The share of the penalty (nats) in the objective of the last batch."""
        return self._network.last_penalty

    def objective(self, theta: Array) -> float:
        """Return the penalised log-likelihood (nats) of all rows, at the cost of an E-step."""
        every = np.arange(self.n_rows)
        # fixed draws, so that equal parameters have equal objectives
        draws = enumerate(self.batches(every), FIRST_DRAW_OF_OBJECTIVE)
        return float(sum(self._expect(theta, batch, draw)[0] for draw, batch in draws))

    def _expect(
        self, theta: Array, batch: NDArray[np.int64], draw: int
    ) -> tuple[float, Statistics]:
        rows = self._sorted(batch)
        self._network.rebind(rows, float(rows.weights.sum()) / self._extent.weight)
        return self._network.expect(theta, draw)

    def _sorted(self, batch: NDArray[np.int64]) -> TrainingRows:
        targets, n_classes = self._targets[batch], self._shape.n_outputs
        if not self._shape.has_classes:
            return sort_inputs(self._inputs[batch], targets, self._weights[batch], self._shape)
        order = np.argsort(targets, kind="stable")
        rows = batch[order]
        starts = np.zeros(n_classes + 1, dtype=np.int64)
        np.cumsum(np.bincount(targets, minlength=n_classes), out=starts[1:])
        return TrainingRows(self._inputs[rows], self._weights[rows], starts, order)


class AdamState:
    """State of a run of Adam: a run that continues from it equals one that was not stopped.

    Parameters
    ----------
    learning_rate : float
    random_state : RandomState
        Seeds the order of the rows.

    Attributes
    ----------
    learning_rate : float
        May be changed between epochs.
    best : array (n_parameters,)
        The iterate after the best epoch, or the starting values.
    extent : Extent
        Size of the data seen so far.
    n_epochs : int
        Epochs since the start.
    polishes : bool
        Whether the run that it belongs to has begun close to an optimum.
    """

    def __init__(self, learning_rate: float, random_state: np.random.RandomState) -> None:
        self._shuffler = np.random.RandomState(random_state.randint(_LARGEST_SEED))
        self.learning_rate = learning_rate
        self.extent = Extent()
        self.polishes = False
        self.restart(np.empty(0))

    @property
    def theta(self) -> Array:
        """The last iterate; empty before the start."""
        return self._state.theta

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled state; its arrays are copied, because steps overwrite them."""
        vars(self).update({"n_epochs": 0, "polishes": False, **state})
        self._state, self.best = State.owned(*self._state), np.array(self.best)

    def restart(self, theta: Array) -> None:
        """Start at the given parameters, with moments of zero."""
        self.best, self._n_steps, self.n_epochs = theta.copy(), 0, 0
        self._state = State(theta.copy(), np.zeros_like(theta), np.zeros_like(theta))

    def run_epoch(self, model: BatchModel) -> tuple[float, float]:
        """Process all rows once in a new order.

        Returns
        -------
        objective, penalty : float, nats
            Of every batch before its step, summed. The objective contains the penalty.

        Raises
        ------
        DivergenceError
            If the objective is not finite, or a weight exceeds 1e100.
        """
        total = penalty = 0.0
        for batch in model.batches(self._shuffler.permutation(model.n_rows)):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    objective, gradient = model.mean_gradient(self.theta, batch, self._n_steps)
            except FloatingPointError as error:
                raise self.divergence(str(error)) from error
            total += objective
            if not np.isfinite(total):
                raise self.divergence("The objective is not finite.")
            penalty += model.last_penalty
            self._step(-gradient)
        if not np.abs(self.theta).max() <= _LARGEST_PARAMETER:
            raise self.divergence(f"A weight is beyond {_LARGEST_PARAMETER:g}.")
        self.n_epochs += 1
        return total, penalty

    def _step(self, gradient: Array) -> None:
        """Take a step of Adam that lowers the objective of ``gradient``."""
        rule = Rule.adam(self.learning_rate, _BETA_1, _BETA_2, _EPSILON)
        self._n_steps += 1
        theta, first, second = self._state
        rate = rate_of_step(rule, self._n_steps)
        descend(rule, rate, theta, gradient, 0.0, 1.0, first, second)

    def divergence(self, reason: str) -> DivergenceError:
        """Return the error to raise if the objective is not finite."""
        return DivergenceError(
            f"{reason} The weights diverged in step {self._n_steps} of solver='adam'. Use a "
            f"smaller learning_rate_init than {self.learning_rate:g}."
        )


def run_adam(
    model: BatchModel,
    theta: Array,
    monitor: EpochMonitor,
    max_epochs: int,
    state: AdamState,
    schedule: FallingRate | None = None,
) -> Array:
    """Maximise the objective by steps of Adam, each on a mini-batch of rows.

    Parameters
    ----------
    model : BatchModel
    theta : array (n_parameters,)
        Starting values.
    monitor : EpochMonitor
        A run that continues with the same monitor and state from the returned parameters
        equals a run that was not stopped, except after interruptions.
    max_epochs : int
    state : AdamState
        Modified in place. Restarted, unless the objective shows that it ended at theta.
    schedule : FallingRate, optional
        The run ends after the last epoch of the schedule, and not before. A run that continues
        after it begins the schedule again. By default the rate is constant, and the run ends when
        ten epochs in a row gain too little.

    Returns
    -------
    theta : array (n_parameters,)
        The last iterate or the one after the best epoch, whichever has the higher objective on
        all rows. After ``KeyboardInterrupt`` it is the latter, without another E-step, and
        ``monitor.interrupted`` is True. If the monitor keeps the best iterate on held-out rows, it
        is that one.

    Raises
    ------
    FloatingPointError
        If the objective at the starting values is not finite.
    DivergenceError
        If a later objective is not finite.

    Notes
    -----
    An epoch costs an E-step on all rows. Two or three further E-steps evaluate the starting
    values and the candidates for the result.
    """
    if not monitor.start(model.objective(theta), theta):
        state.restart(theta)
    if schedule is not None and state.n_epochs >= schedule.n_epochs:
        state.n_epochs = 0
    n_epochs = max_epochs if schedule is None else schedule.n_epochs - state.n_epochs
    monitor.limit = monitor.n_iter + min(n_epochs, max_epochs)
    try:
        for _ in range(max_epochs):
            if schedule is not None:
                state.learning_rate = schedule.rate(state.n_epochs)
            objective, penalty = state.run_epoch(model)
            is_last = None if schedule is None else state.n_epochs >= schedule.n_epochs
            stop = monitor.update(objective, state.theta, penalty, is_last)
            if monitor.improved:
                state.best = state.theta.copy()
            if stop:
                break
        if not monitor.interrupted:
            theta, objective = _best(model, _candidates(monitor, state), state)
            monitor.settle(objective)
    except KeyboardInterrupt:
        monitor.interrupted, monitor.converged = True, False
    if monitor.interrupted:
        theta, objective = state.best, monitor.best
        if monitor.kept is not None:
            theta, objective = monitor.kept, monitor.history[monitor.held_out.index]
        monitor.settle(objective)
    return theta.copy()


def _candidates(monitor: EpochMonitor, state: AdamState) -> list[Array]:
    """Return the iterates of which one is kept."""
    if monitor.kept is not None:
        return [monitor.kept]
    return [state.best] if np.array_equal(state.theta, state.best) else [state.best, state.theta]


def _best(model: BatchModel, candidates: list[Array], state: AdamState) -> tuple[Array, float]:
    """Return the candidate with the highest objective, and this objective."""
    objectives = []
    for theta in candidates:
        try:
            objective = model.objective(theta)
        except FloatingPointError:
            objective = -np.inf
        objectives.append(objective if np.isfinite(objective) else -np.inf)
    found = int(np.argmax(objectives))
    if not np.isfinite(objectives[found]):
        raise state.divergence("The objective is not finite at the end.")
    return candidates[found], objectives[found]
