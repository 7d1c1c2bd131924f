"""Ascent of the marginal likelihood by mini-batches: Adam on exact gradients of some rows."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastem.engines import Engine
from fastem.kernels.descent import Rule, State, descend, rate_of_step
from fastem.parameters import Array, Shape
from fastem.rows import ClassSortedRows, add_ones
from fastem.solvers.monitor import EpochMonitor
from fastem.solvers.network import Network

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_LARGEST_SEED = 2**31 - 1
_LARGEST_PARAMETER = 1e100  # nothing that learns comes near
_JUDGING = 2**40  # in place of the number of a step


class Extent(NamedTuple):
    """How much data there is, which a mini-batch is a part of.

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


class BatchModel(Protocol):
    """A model whose objective is a sum over rows, and which looks at some of them at a time."""

    n_rows: int

    def rewind(self, n_done: int) -> None:
        """Go on as if so many batches had been looked at: models that draw number them."""

    def batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows in a given order into mini-batches."""

    def climb(self, theta: Array, batch: NDArray[np.int64]) -> tuple[float, Array]:
        """Return the batch's share of the objective, and its estimate of the mean gradient."""

    def objective(self, theta: Array) -> float:
        """Return the objective of all rows."""


class BatchedNetwork:
    """Penalised marginal likelihood of rows, a mini-batch at a time, over flat parameters.

    Parameters
    ----------
    X : array (n_samples, n_features)
    labels : array of int (n_samples,)
        Class indices.
    weights : array (n_samples,)
    shape : Shape
    engine : Engine
    batch_size : int
        At most ``n_samples``.
    alpha : float
        As for `Network`.
    extent : Extent
        Of the data that these rows are part of. Every unit of weight carries the same share of
        the penalty, and the sum over a batch stands for the mean over rows of average weight:
        so the gradients of an epoch add up to that of the whole objective, and a batch of
        light rows takes a short step.
    n_threads : int

    Raises
    ------
    ValueError
        If an E-step on a batch does not fit into memory.

    Notes
    -----
    Memory beside the rows: that of an E-step on one batch, which all of them use.
    """

    def __init__(
        self,
        X: Array,
        labels: NDArray[np.int64],
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
        # integers of 16 bits are sorted by radix, ten times as fast
        self._labels = labels.astype(np.uint16) if shape.n_classes <= 2**16 else labels
        self._weights = weights
        self._n_classes = shape.n_classes
        self._batch_size = batch_size
        self._extent = extent
        first = self._sorted(np.arange(batch_size))
        self._network = Network(first, shape, engine, None, alpha=alpha, n_threads=n_threads)

    def rewind(self, n_done: int) -> None:
        """Go on as if so many batches had been looked at: engines that draw number them."""
        self._network.rewind(n_done)

    def median_effective_size(self) -> float | None:
        """Return the median effective sample size of the last batch; None of exact engines."""
        return self._network.median_effective_size()

    def batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows in a given order into mini-batches, the last one shorter."""
        for start in range(0, len(order), self._batch_size):
            yield order[start : start + self._batch_size]

    def climb(self, theta: Array, batch: NDArray[np.int64]) -> tuple[float, Array]:
        """Return the batch's share of the penalised log-likelihood, and a mean gradient.

        Parameters
        ----------
        theta : array (n_parameters,)
        batch : array of int (n_rows,)
            Indices of rows, no more than a mini-batch.

        Returns
        -------
        objective : float, nats
            Over all rows these sum to the objective of `Network`.
        gradient : array (n_parameters,), nats per unit of weight and of parameter
            Exact for these rows; of exact engines, its mean over the rows of an epoch is the
            gradient of all rows over their weight.
        """
        objective, statistics = self._look_at(theta, batch)
        typical = len(batch) * (self._extent.weight / self._extent.n_rows)
        return objective, self._network.gradient(theta, statistics) / typical

    def objective(self, theta: Array) -> float:
        """Return the penalised log-likelihood (nats) of all rows: an E-step, batch after batch."""
        every = np.arange(self.n_rows)
        self.rewind(_JUDGING)  # the same draws whenever the same parameters are judged
        return float(sum(self._look_at(theta, batch)[0] for batch in self.batches(every)))

    def _look_at(self, theta: Array, batch: NDArray[np.int64]):
        rows = self._sorted(batch)
        self._network.take(rows, float(rows.weights.sum()) / self._extent.weight)
        return self._network.expect(theta)

    def _sorted(self, batch: NDArray[np.int64]) -> ClassSortedRows:
        labels = self._labels[batch]
        order = np.argsort(labels, kind="stable")
        rows = batch[order]
        starts = np.zeros(self._n_classes + 1, dtype=np.int64)
        np.cumsum(np.bincount(labels, minlength=self._n_classes), out=starts[1:])
        return ClassSortedRows(self._inputs[rows], self._weights[rows], starts, order)


class Descent:
    """The state of an ascent by mini-batches: a resumed ascent equals an uninterrupted one.

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
        Of the data seen so far.
    """

    def __init__(self, learning_rate: float, random_state: np.random.RandomState) -> None:
        self._shuffler = np.random.RandomState(random_state.randint(_LARGEST_SEED))
        self.learning_rate = learning_rate
        self.extent = Extent()
        self.restart(np.empty(0))

    @property
    def theta(self) -> Array:
        """The last iterate; empty before the start."""
        return self._state.theta

    def __setstate__(self, state: dict) -> None:
        """Restore a pickled descent; its arrays are copied, because steps overwrite them."""
        vars(self).update(state)
        self._state, self.best = State.owned(*self._state), np.array(self.best)

    def restart(self, theta: Array) -> None:
        """Start at the given parameters, with moments of zero."""
        self.best, self._n_steps = theta.copy(), 0
        self._state = State(theta.copy(), np.zeros_like(theta), np.zeros_like(theta))

    def run_epoch(self, model: BatchModel) -> float:
        """Go once through the rows in a new order; return the running objective (nats).

        Raises
        ------
        FloatingPointError
            If it is not finite, or a weight runs away.
        """
        total = 0.0
        model.rewind(self._n_steps)
        for batch in model.batches(self._shuffler.permutation(model.n_rows)):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    objective, gradient = model.climb(self.theta, batch)
            except FloatingPointError as error:
                raise self.runaway(str(error)) from error
            total += objective
            if not np.isfinite(total):
                raise self.runaway("The objective is not finite.")
            self._step(-gradient)
        if not np.abs(self.theta).max() <= _LARGEST_PARAMETER:
            raise self.runaway(f"A weight is beyond {_LARGEST_PARAMETER:g}.")
        return total

    def _step(self, gradient: Array) -> None:
        """Take a step of Adam that lowers the objective of ``gradient``."""
        rule = Rule.adam(self.learning_rate, _BETA_1, _BETA_2, _EPSILON)
        self._n_steps += 1
        theta, first, second = self._state
        rate = rate_of_step(rule, self._n_steps)
        descend(rule, rate, theta, gradient, 0.0, 1.0, first, second)

    def runaway(self, what: str) -> FloatingPointError:
        """Return the error to raise where an objective is not finite."""
        return FloatingPointError(
            f"{what} The weights ran away in step {self._n_steps} of solver='adam'. Use a "
            f"smaller learning_rate_init than {self.learning_rate:g}."
        )


def run_adam(
    model: BatchModel, theta: Array, monitor: EpochMonitor, max_epochs: int, descent: Descent
) -> Array:
    """Climb the objective by steps of Adam, each on a mini-batch of rows.

    Parameters
    ----------
    model : BatchModel
    theta : array (n_parameters,)
        Starting values.
    monitor : EpochMonitor
        Continuing with the same monitor and descent from what was returned equals not having
        stopped, but for interruptions.
    max_epochs : int
    descent : Descent
        Restarted, unless the objective says that theta is where it ended; modified in place.

    Returns
    -------
    theta : array (n_parameters,)
        The last iterate or the one after the best epoch, whichever has the higher objective of
        all rows. On ``KeyboardInterrupt`` the second, without another look at the rows, and
        ``monitor.interrupted`` is True.

    Raises
    ------
    FloatingPointError
        If an objective is not finite.

    Notes
    -----
    Costs an E-step on all rows per epoch, and two or three more: at the start, and of what may
    be returned.
    """
    if not monitor.start(model.objective(theta)):
        descent.restart(theta)
    try:
        for _ in range(max_epochs):
            stop = monitor.update(descent.run_epoch(model), descent.theta)
            if monitor.improved:
                descent.best = descent.theta.copy()
            if stop:
                break
        if not monitor.interrupted:
            theta, objective = _better(model, descent)
            monitor.settle(objective)
    except KeyboardInterrupt:
        monitor.interrupted, monitor.converged = True, False
    if monitor.interrupted:
        theta = descent.best
        monitor.settle(monitor.best)
    return theta.copy()


def _better(model: BatchModel, descent: Descent) -> tuple[Array, float]:
    """Return the last iterate or the one after the best epoch, with its objective."""
    candidates = [descent.best]
    if not np.array_equal(descent.theta, descent.best):
        candidates.append(descent.theta)
    objectives = []
    for theta in candidates:
        try:
            objective = model.objective(theta)
        except FloatingPointError:
            objective = -np.inf
        objectives.append(objective if np.isfinite(objective) else -np.inf)
    found = int(np.argmax(objectives))
    if not np.isfinite(objectives[found]):
        raise descent.runaway("The objective is not finite at the end.")
    return candidates[found], objectives[found]
