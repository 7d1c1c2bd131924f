"""Settings, rows, state and result of training, for epochs and for L-BFGS.

Training takes settings, rows and a state, and returns a result. It raises no error when the
weights diverge, and issues no warning: the result names the reason why training ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from fastem.parameters import Array
from fastem.perceptron.feed_forward import FeedForward
from fastem.perceptron.optimizers import Optimizer
from fastem.runtime import Loop, current_activity

LARGEST_VALUE = {8: 1e100, 4: 1e12}
"""Largest weight of a row, starting value or parameter, by the bytes of a number: the product of
a few such values is finite."""

Printer = Callable[[str], Any]


def silent(text: str) -> None:
    """Print nothing."""


def report_step(step: str, number: int, last: int, loss: float) -> None:
    """Report an epoch or an iteration to whoever watches the work of this thread."""
    activity = current_activity()
    if activity is not None:
        activity.iterate(Loop(step, number, last, loss=loss))


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
    """Checked rows. `rows_of` converts them into `Rows`, the form that kernels read.

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
    loss_curve, data_losses, seconds : list of float
        Loss of every epoch or iteration with and without penalty, and the wall time since training
        began.
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
    data_losses: list[float] = field(default_factory=list)
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
        Message of the optimizer, or an empty string.
    """

    state: TrainingState
    n_iter: int
    ending: Ending
    detail: str = ""


def is_sane(theta: Array) -> bool:
    """Return whether products of weights are finite; False for NaN."""
    return float(np.abs(theta).max()) <= LARGEST_VALUE[theta.itemsize]


def validate(
    network: FeedForward, theta: Array, validation: ValidationSet, settings: Settings
) -> tuple[float, float]:
    """Return score and mean loss of the validation set."""
    samples = validation.samples
    outputs = network.outputs(theta, samples.X)
    loss = network.loss(outputs, samples.targets, samples.weights) * settings.loss_scale
    return validation.score(outputs, samples.targets, samples.score_weights), loss
