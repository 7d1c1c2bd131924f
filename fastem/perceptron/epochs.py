"""Training of deterministic networks by epochs with stopping rules."""

import time

import numpy as np

from fastem.parameters import Array
from fastem.perceptron.feed_forward import FeedForward, rows_of
from fastem.perceptron.layers import Workspace
from fastem.perceptron.optimizers import Adam, Optimizer, Sgd
from fastem.perceptron.training import (
    Ending,
    Printer,
    Samples,
    Settings,
    TrainingResult,
    TrainingState,
    ValidationSet,
    is_sane,
    report_step,
    silent,
    validate,
)

# Rough costs, used to cut an epoch into pieces. Ctrl-C is handled between two pieces.
_SECONDS_PER_FLOP = 5e-11
_SECONDS_PER_UPDATE = 1e-9
_SECONDS_PER_PIECE = 0.2


def train_epochs(
    network: FeedForward,
    samples: Samples,
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
    samples : Samples
    state : TrainingState
        Modified in place.
    settings : Settings
        Their solver is "adam" or "sgd".
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
        n_samples = len(samples.weights)
        order = np.arange(n_samples) if settings.shuffle else np.empty(0, np.int64)
    epochs = _Epochs(network, samples, state, settings, random_state, order, validation)
    return epochs.run(report)


def _new_optimizer(theta: Array, settings: Settings) -> Optimizer:
    if settings.solver == "adam":
        return Adam(
            theta, settings.learning_rate_init, settings.beta_1, settings.beta_2, settings.epsilon
        )
    return Sgd(
        theta,
        settings.learning_rate_init,
        settings.learning_rate,
        settings.power_t,
        settings.momentum,
        settings.nesterovs_momentum,
    )


class _Epochs:
    """Epochs over some rows of the data, until a rule stops them."""

    def __init__(
        self,
        network: FeedForward,
        samples: Samples,
        state: TrainingState,
        settings: Settings,
        random_state: np.random.RandomState,
        order: np.ndarray,
        validation: ValidationSet | None,
    ) -> None:
        self._network, self._settings, self._random_state = network, settings, random_state
        self._rows = rows_of(samples.X, samples.targets, samples.weights)
        self._order, self._validation = order, validation
        self._n_samples = len(order) if len(order) > 0 else len(samples.weights)
        self._state = state
        if state.optimizer is None:
            state.optimizer = _new_optimizer(state.theta, settings)
        if validation is not None:
            state.scores, state.score_losses = state.scores or [], state.score_losses or []
            state.best_score = -np.inf if state.best_score is None else state.best_score
        if not settings.early_stopping and state.best_loss is None:
            state.best_loss = np.inf
        gathers = len(order) > 0 and not hasattr(samples.X, "indptr")
        self._work = Workspace.of(
            network.layers, settings.batch_size, samples.weights.dtype, gathers=gathers
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
                loss, data_loss = self._epoch()
                if not (np.isfinite(loss) and is_sane(state.theta)):
                    ending = Ending.DIVERGED
                    break
                n_iter += 1
                state.loss = loss
                state.n_rows += self._n_samples
                state.loss_curve.append(loss)
                state.data_losses.append(data_loss)
                state.seconds.append(time.perf_counter() - began)
                report(f"Iteration {n_iter:d}, loss = {loss:.8f}")
                report_step("epoch", n_iter, settings.max_iter, loss)
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

    def _epoch(self) -> tuple[float, float]:
        """Process all rows once; return the running loss with and without penalty."""
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
        loss *= self._settings.loss_scale
        return (loss + penalty) / self._n_samples, loss / self._n_samples

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


def _pieces(n_samples: int, batch_size: int, n_parameters: int) -> list[tuple[int, int]]:
    """Cut an epoch between batches into ranges of rows that take about a fifth of a second."""
    seconds = n_parameters * (batch_size * _SECONDS_PER_FLOP * 6 + _SECONDS_PER_UPDATE)
    n_rows = batch_size * max(int(_SECONDS_PER_PIECE / seconds), 1)
    return [(start, min(start + n_rows, n_samples)) for start in range(0, n_samples, n_rows)]
