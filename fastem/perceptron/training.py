"""Training of deterministic networks by epochs with stopping rules.

Training takes settings, rows and a state, and returns a result. It raises no error when the
weights diverge, and issues no warning: the result names the reason why training ended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from fastem.parameters import Array
from fastem.perceptron.feed_forward import FeedForward, rows_of
from fastem.perceptron.layers import Workspace
from fastem.perceptron.optimizers import Adam, Optimizer, Sgd

LARGEST_VALUE = {8: 1e100, 4: 1e12}
"""Largest weight of a row, starting value or parameter, by the bytes of a number: the product of
a few such values is finite."""

# Rough costs, used to cut an epoch into pieces. Ctrl-C is handled between two pieces.
_SECONDS_PER_FLOP = 5e-11
_SECONDS_PER_UPDATE = 1e-9
_SECONDS_PER_PIECE = 0.2

Printer = Callable[[str], Any]


def silent(text: str) -> None:
    """Print nothing."""


class Ending(Enum):
    """Reason why training ended."""

    CONVERGED = "a stopping rule"
    LIMIT = "the limit on epochs, iterations or evaluations"
    INTERRUPTED = "Ctrl-C"
    DIVERGED = "a loss or a weight that is not finite"


class Settings(NamedTuple):
    """Settings of training; the names are those of scikit-learn's MLP.

    Attributes
    ----------
    solver : {"adam", "sgd", "lbfgs"}
    batch_size : int
        At most the number of rows in training.
    max_iter : int
        Limit on epochs, or on iterations of L-BFGS.
    loss_scale : float
        Factor that turns the loss summed over outputs into the reported one.
    """

    solver: str
    batch_size: int
    max_iter: int
    loss_scale: float
    learning_rate: str
    learning_rate_init: float
    power_t: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    shuffle: bool
    tol: float
    early_stopping: bool
    n_iter_no_change: float
    max_fun: int


class Samples(NamedTuple):
    """Checked rows.

    Attributes
    ----------
    X : array (n_samples, n_features) or CSR matrix
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
        Weights of the rows in the loss. They include class weights.
    score_weights : array (n_samples,) or None
        Weights of the rows in the score: the sample weights of the user.
    """

    X: Any
    targets: Array
    weights: Array
    score_weights: Array | None

    def part(self, rows: np.ndarray) -> "Samples":
        """Return some of the rows."""
        scores = None if self.score_weights is None else self.score_weights[rows]
        return Samples(self.X[rows], self.targets[rows], self.weights[rows], scores)


class ValidationSet(NamedTuple):
    """Rows that are not trained on.

    Attributes
    ----------
    samples : Samples
    score : callable
        ``score(outputs, targets, score_weights)`` returns the score of a forward pass.
    """

    samples: Samples
    score: Callable[[Array, Array, Array | None], float]


@dataclass
class TrainingState:
    """Parameters, and everything that training needs to resume exactly.

    Attributes
    ----------
    theta : array (n_parameters,)
    optimizer : Optimizer or None
        None for a new one.
    best_theta : array (n_parameters,) or None
        Parameters after the epoch with the highest validation score.
    n_rows : int
        Rows processed so far, all epochs together.
    n_stale : int
        Epochs in a row without improvement.
    loss, best_loss : float or None
        Loss of the last epoch, and the smallest loss.
    loss_curve, seconds : list of float
        Loss of every epoch or iteration, and the wall time since training began.
    scores, score_losses : list of float or None
        Score and loss of the validation set after every epoch.
    best_score : float or None
    """

    theta: Array
    optimizer: Optimizer | None = None
    best_theta: Array | None = None
    n_rows: int = 0
    n_stale: int = 0
    loss: float | None = None
    best_loss: float | None = np.inf
    loss_curve: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] | None = None
    score_losses: list[float] | None = None
    best_score: float | None = None


class TrainingResult(NamedTuple):
    """Outcome of a call.

    Attributes
    ----------
    state : TrainingState
        Its ``theta`` holds the parameters to keep. They are finite.
    n_iter : int
        Epochs or iterations of this call.
    ending : Ending
    detail : str
        What the optimizer reported, if it reported anything.
    """

    state: TrainingState
    n_iter: int
    ending: Ending
    detail: str = ""


def train_epochs(
    network: FeedForward,
    train: Samples,
    state: TrainingState,
    settings: Settings,
    *,
    random_state: np.random.RandomState,
    order: np.ndarray | None = None,
    validation: ValidationSet | None = None,
    report: Printer = silent,
) -> TrainingResult:
    """Train by stochastic gradient descent, as scikit-learn's MLP does.

    Parameters
    ----------
    network : FeedForward
    train : Samples
    state : TrainingState
        Modified in place.
    settings : Settings
        Of solver "adam" or "sgd".
    random_state : RandomState
        Draws the order of the rows and the seed of dropout, once per epoch.
    order : array of int (n_rows,), optional
        Indices of the rows to train on; by default all rows.
    validation : ValidationSet, optional
    report : callable, default=silent
        Receives one line of text per epoch.

    Returns
    -------
    result : TrainingResult
        With early stopping, the parameters of the epoch with the highest validation score. If
        training diverges, those before the epoch that diverged, and no optimizer.

    Notes
    -----
    An epoch costs about ``6 n_rows n_coefs`` flops, and a pass over all parameters per batch.
    """
    if order is None:
        n_samples = len(train.weights)
        order = np.arange(n_samples) if settings.shuffle else np.empty(0, np.int64)
    epochs = _Epochs(network, train, state, settings, random_state, order, validation)
    return epochs.run(report)


def is_sane(theta: Array) -> bool:
    """Return whether products of weights are finite; False for NaN."""
    return float(np.abs(theta).max()) <= LARGEST_VALUE[theta.itemsize]


def _new_optimizer(theta: Array, settings: Settings) -> Optimizer:
    of, rate = settings, settings.learning_rate_init
    if of.solver == "adam":
        return Adam(theta, rate, of.beta_1, of.beta_2, of.epsilon)
    return Sgd(theta, rate, of.learning_rate, of.power_t, of.momentum, of.nesterovs_momentum)


class _Epochs:
    """Epochs over some rows of the data, until a rule stops them."""

    def __init__(
        self,
        network: FeedForward,
        train: Samples,
        state: TrainingState,
        settings: Settings,
        random_state: np.random.RandomState,
        order: np.ndarray,
        validation: ValidationSet | None,
    ) -> None:
        self._network, self._settings, self._random_state = network, settings, random_state
        self._rows = rows_of(train.X, train.targets, train.weights)
        self._order, self._validation = order, validation
        self._n_samples = len(order) if len(order) > 0 else len(train.weights)
        self._state = state
        if state.optimizer is None:
            state.optimizer = _new_optimizer(state.theta, settings)
        if validation is not None:
            state.scores, state.score_losses = state.scores or [], state.score_losses or []
            state.best_score = -np.inf if state.best_score is None else state.best_score
        if not settings.early_stopping and state.best_loss is None:
            state.best_loss = np.inf
        gathers = len(order) > 0 and not hasattr(train.X, "indptr")
        self._work = Workspace.of(
            network.layers, settings.batch_size, train.weights.dtype, gathers=gathers
        )
        n_parameters = network.layers.n_parameters
        self._pieces = _pieces(self._n_samples, settings.batch_size, n_parameters)

    def run(self, report: Printer) -> TrainingResult:
        state, settings = self._state, self._settings
        began = time.perf_counter() - (state.seconds[-1] if state.seconds else 0.0)
        finite = np.empty_like(state.theta)
        n_iter, ending = 0, Ending.LIMIT
        try:
            while n_iter < settings.max_iter and ending is Ending.LIMIT:
                np.copyto(finite, state.theta)
                loss = self._epoch()
                if not (np.isfinite(loss) and is_sane(state.theta)):
                    ending = Ending.DIVERGED
                    break
                n_iter += 1
                state.loss = loss
                state.n_rows += self._n_samples
                state.loss_curve.append(loss)
                state.seconds.append(time.perf_counter() - began)
                report(f"Iteration {n_iter:d}, loss = {loss:.8f}")
                self._judge(report)
                state.optimizer.end_epoch(state.n_rows)
                if self._is_over(report):
                    ending = Ending.CONVERGED
        except KeyboardInterrupt:
            ending = Ending.INTERRUPTED
        detail = ""
        if ending is Ending.DIVERGED:
            detail = f"{state.optimizer.rate:g}"
            state.optimizer = None  # its moments are not finite
        if ending is Ending.DIVERGED or not is_sane(state.theta):
            state.theta = finite
        if settings.early_stopping and state.best_theta is not None:
            state.theta = state.best_theta.copy()
        return TrainingResult(state, n_iter, ending, detail)

    def _epoch(self) -> float:
        network, random_state = self._network, self._random_state
        if self._settings.shuffle:
            order = np.arange(self._n_samples)
            random_state.shuffle(order)
            self._order = self._order[order]
        seed = 0
        if network.objective.dropout > 0:
            # with an integer as random_state, only the number of rows differs between calls
            seed = int(random_state.randint(2**31 - 1)) + self._state.n_rows
        theta, optimizer = self._state.theta, self._state.optimizer
        loss = penalty = 0.0
        for piece in self._pieces:
            parts = network.train(
                theta, optimizer, self._rows, self._order, piece, seed, self._work
            )
            loss, penalty = loss + parts[0], penalty + parts[1]
        return (loss * self._settings.loss_scale + penalty) / self._n_samples

    def _judge(self, report: Printer) -> None:
        """Count epochs without improvement of the validation score, or else of the loss."""
        state, settings = self._state, self._settings
        if self._validation is not None:
            score, loss = validate(self._network, state.theta, self._validation, settings)
            state.score_losses.append(loss)
            state.scores.append(score)
            report(f"Validation score: {score:f}")
            if settings.early_stopping:
                improved = not score < state.best_score + settings.tol
                if score > state.best_score:
                    state.best_theta = state.theta.copy()
            if score > state.best_score:
                state.best_score = score
        if not settings.early_stopping:
            improved = not state.loss > state.best_loss - settings.tol
            state.best_loss = min(state.loss, state.best_loss)
        state.n_stale = 0 if improved else state.n_stale + 1

    def _is_over(self, report: Printer) -> bool:
        state, settings = self._state, self._settings
        if state.n_stale <= settings.n_iter_no_change:
            return False
        what = "Validation score" if settings.early_stopping else "Training loss"
        stops, consequence = state.optimizer.meet_plateau()
        report(
            f"{what} did not improve more than tol={settings.tol:f} for "
            f"{settings.n_iter_no_change} consecutive epochs. {consequence}"
        )
        if not stops:
            state.n_stale = 0
        return stops


def validate(
    network: FeedForward, theta: Array, validation: ValidationSet, settings: Settings
) -> tuple[float, float]:
    """Return score and mean loss of the validation set."""
    samples = validation.samples
    outputs = network.outputs(theta, samples.X)
    loss = network.loss(outputs, samples.targets, samples.weights) * settings.loss_scale
    return validation.score(outputs, samples.targets, samples.score_weights), loss


def _pieces(n_samples: int, batch_size: int, n_parameters: int) -> list[tuple[int, int]]:
    """Cut an epoch between batches into ranges of rows that take about a fifth of a second."""
    seconds = n_parameters * (batch_size * _SECONDS_PER_FLOP * 6 + _SECONDS_PER_UPDATE)
    n_rows = batch_size * max(int(_SECONDS_PER_PIECE / seconds), 1)
    return [(start, min(start + n_rows, n_samples)) for start in range(0, n_samples, n_rows)]
