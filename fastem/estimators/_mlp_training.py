"""The course of a training: epochs with their stopping rules, or L-BFGS."""

import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastem.estimators._mlp_checks import LARGEST
from fastem.parameters import Array
from fastem.perceptron import Adam, FeedForward, Optimizer, Sgd, Workspace, rows_of

# Rough costs, and the time after which a running epoch looks up for Ctrl-C.
_SECONDS_PER_FLOP = 5e-11
_SECONDS_PER_UPDATE = 1e-9
_PATIENCE = 0.2
_DIVERGED = (
    "The loss became non-finite in epoch {epoch} of solver={solver!r}: the weights ran away. Use a "
    "smaller learning_rate_init than {rate:g}, or bring the features of X to a common scale (or a "
    "smaller alpha than {alpha:g}, if that is large); the last finite weights are kept."
)


class DivergenceError(ValueError):
    """The loss became non-finite; the last finite weights are in place."""


class Samples(NamedTuple):
    """Checked rows, to train on or to validate by.

    Attributes
    ----------
    X : array (n_samples, n_features) or CSR matrix
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
        Of the loss, by which classes may count more than others.
    score_weights : array (n_samples,) or None
        Of scores: what the user gave for each row.
    """

    X: Any
    targets: Array
    weights: Array
    score_weights: Array | None

    def part(self, rows: np.ndarray) -> "Samples":
        """Return some of the rows."""
        scores = None if self.score_weights is None else self.score_weights[rows]
        return Samples(self.X[rows], self.targets[rows], self.weights[rows], scores)


def train_epochs(
    estimator: Any,
    network: FeedForward,
    theta: Array,
    train: Samples,
    validation: Samples | None,
    *,
    incremental: bool,
) -> Any:
    """Train by stochastic descent, as scikit-learn's MLP does, and set the fitted attributes.

    Parameters
    ----------
    estimator : BaseFastMLP
    network : FeedForward
    theta : array (n_parameters,)
        Starting values; modified in place.
    train : Samples
    validation : Samples, optional
    incremental : bool
        One epoch only, and the optimizer of earlier calls goes on.

    Returns
    -------
    estimator : BaseFastMLP

    Raises
    ------
    DivergenceError
        If the loss becomes non-finite; the last finite weights are in place.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` epochs did not do.
    """
    if not incremental or not hasattr(estimator, "_optimizer"):
        estimator._optimizer = _optimizer(estimator, theta)
    kept_rows = np.empty(0, np.int64)
    if estimator.early_stopping and validation is None:
        kept_rows, validation = _split(estimator, train)
    elif estimator.shuffle:
        kept_rows = np.arange(len(train.weights))
    epochs = _Epochs(estimator, network, train, kept_rows, validation)
    epochs.run(theta, incremental)
    best = estimator._best_theta
    estimator._keep(best.copy() if estimator.early_stopping and best is not None else theta)
    return estimator


def _clock(estimator: Any) -> tuple[list[float], float]:
    """Return the times on record, and when training would have begun to go on from the last."""
    seconds = list(estimator.loss_curve_seconds_)
    return seconds, time.perf_counter() - (seconds[-1] if seconds else 0.0)


def _is_sane(theta: Array) -> bool:
    """Whether no weight has run away to where products overflow; NaN has."""
    return float(np.abs(theta).max()) <= LARGEST[theta.itemsize]


def _optimizer(estimator: Any, theta: Array) -> Optimizer:
    of, rate = estimator, estimator.learning_rate_init
    if of.solver == "adam":
        return Adam(theta, rate, of.beta_1, of.beta_2, of.epsilon)
    return Sgd(theta, rate, of.learning_rate, of.power_t, of.momentum, of.nesterovs_momentum)


def _split(estimator: Any, train: Samples) -> tuple[np.ndarray, Samples]:
    """Return indices of the rows to train on, and the others as a validation set."""
    is_binary = is_classifier(estimator) and estimator.n_outputs_ == 1
    rows, held_out = train_test_split(
        np.arange(len(train.weights)),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=train.targets.astype(bool) if is_binary else None,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    return rows, train.part(held_out)


class _Epochs:
    """Epochs over some rows of the data, until a rule stops them."""

    def __init__(
        self,
        estimator: Any,
        network: FeedForward,
        train: Samples,
        kept_rows: np.ndarray,
        validation: Samples | None,
    ) -> None:
        self._estimator = estimator
        self._network = network
        self._rows = rows_of(train.X, train.targets, train.weights)
        self._order = kept_rows
        self._n_samples = len(kept_rows) if len(kept_rows) > 0 else len(train.weights)
        self._validation = validation
        # reported means: scikit-learn's squared error is a mean over outputs too
        self._scale = estimator._loss_scale()
        is_sparse = hasattr(train.X, "indptr")
        self._work = Workspace.of(
            network.layers,
            _batch_size(estimator.batch_size, self._n_samples),
            train.weights.dtype,
            gathers=len(kept_rows) > 0 and not is_sparse,
        )
        self._pieces = _pieces(self._n_samples, len(self._work.rows), network.layers.n_parameters)

    def run(self, theta: Array, incremental: bool) -> None:
        estimator, optimizer = self._estimator, self._estimator._optimizer
        estimator.loss_curve_ = list(estimator.loss_curve_)
        estimator.loss_curve_seconds_, began = _clock(estimator)
        if self._validation is not None:
            estimator.validation_scores_ = list(estimator.validation_scores_ or [])
            estimator.validation_loss_curve_ = list(estimator.validation_loss_curve_ or [])
            if estimator.best_validation_score_ is None:
                estimator.best_validation_score_ = -np.inf
        if not estimator.early_stopping and estimator.best_loss_ is None:
            estimator.best_loss_ = np.inf
        finite = np.empty_like(theta)
        estimator.n_iter_, estimator.converged_ = 0, False
        try:
            for _ in range(estimator.max_iter):
                np.copyto(finite, theta)
                loss = self._epoch(theta, optimizer)
                if not (np.isfinite(loss) and _is_sane(theta)):
                    self._give_up(finite)
                estimator.n_iter_ += 1
                estimator.loss_ = loss
                estimator.t_ += self._n_samples
                estimator.loss_curve_.append(loss)
                estimator.loss_curve_seconds_.append(time.perf_counter() - began)
                if estimator.verbose:
                    print(f"Iteration {estimator.n_iter_:d}, loss = {loss:.8f}")
                self._judge(theta)
                optimizer.end_epoch(estimator.t_)
                estimator.converged_ = self._is_over(optimizer)
                if estimator.converged_ or incremental:
                    break
                if estimator.n_iter_ == estimator.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached "
                        "and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            if not _is_sane(theta):
                np.copyto(theta, finite)
            warnings.warn("Training interrupted by user.", stacklevel=5)

    def _epoch(self, theta: Array, optimizer: Optimizer) -> float:
        estimator, network = self._estimator, self._network
        if estimator.shuffle:
            order = np.arange(self._n_samples)
            estimator._random_state.shuffle(order)
            self._order = self._order[order]
        seed = 0
        if network.objective.dropout > 0:
            # with an int as random_state each partial_fit draws the same: t_ tells them apart
            seed = int(estimator._random_state.randint(2**31 - 1)) + estimator.t_
        loss = penalty = 0.0
        for piece in self._pieces:  # between them Ctrl-C is heard
            parts = network.train(
                theta, optimizer, self._rows, self._order, piece, seed, self._work
            )
            loss, penalty = loss + parts[0], penalty + parts[1]
        return (loss * self._scale + penalty) / self._n_samples

    def _judge(self, theta: Array) -> None:
        """Count epochs without improvement, of the validation score or else of the loss."""
        estimator = self._estimator
        if self._validation is not None:
            score = self._score(theta)
            if estimator.verbose:
                print(f"Validation score: {score:f}")
            if estimator.early_stopping:
                improved = not score < estimator.best_validation_score_ + estimator.tol
                if score > estimator.best_validation_score_:
                    estimator._best_theta = theta.copy()
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
        loss = estimator.loss_curve_[-1]
        if not estimator.early_stopping:
            improved = not loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(loss, estimator.best_loss_)
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1

    def _score(self, theta: Array) -> float:
        estimator, held_out = self._estimator, self._validation
        score, loss = _validate(estimator, self._network, theta, held_out)
        estimator.validation_loss_curve_.append(loss)
        estimator.validation_scores_.append(score)
        return score

    def _is_over(self, optimizer: Optimizer) -> bool:
        estimator = self._estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        stops, consequence = optimizer.meet_plateau()
        if estimator.verbose:
            print(
                f"{what} did not improve more than tol={estimator.tol:f} for "
                f"{estimator.n_iter_no_change} consecutive epochs. {consequence}"
            )
        if not stops:
            estimator._no_improvement_count = 0
        return stops

    def _give_up(self, finite: Array) -> None:
        estimator = self._estimator
        best = estimator._best_theta if estimator.early_stopping else None
        estimator._keep(finite if best is None else best.copy())
        rate = estimator._optimizer.rate
        del estimator._optimizer  # its memory is not finite any more
        raise DivergenceError(
            _DIVERGED.format(
                epoch=estimator.n_iter_ + 1,
                solver=estimator.solver,
                rate=rate,
                alpha=estimator.alpha,
            )
        )


def _validate(
    estimator: Any, network: FeedForward, theta: Array, held_out: Samples
) -> tuple[float, float]:
    """Return score and mean loss of held-out rows."""
    outputs = network.outputs(theta, held_out.X)
    loss = network.loss(outputs, held_out.targets, held_out.weights) * estimator._loss_scale()
    return estimator._score_outputs(outputs, held_out.targets, held_out.score_weights), loss


def _pieces(n_samples: int, batch_size: int, n_parameters: int) -> list[tuple[int, int]]:
    """Cut an epoch at batches into ranges of rows that take about a fifth of a second."""
    seconds = n_parameters * (batch_size * _SECONDS_PER_FLOP * 6 + _SECONDS_PER_UPDATE)
    n_rows = batch_size * max(int(_PATIENCE / seconds), 1)
    return [(start, min(start + n_rows, n_samples)) for start in range(0, n_samples, n_rows)]


def _batch_size(batch_size: int | str, n_samples: int) -> int:
    if batch_size == "auto":
        return min(200, n_samples)
    if batch_size > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=6,
        )
    return int(np.clip(batch_size, 1, n_samples))


def train_lbfgs(
    estimator: Any,
    network: FeedForward,
    theta: Array,
    train: Samples,
    validation: Samples | None,
) -> Any:
    """Train on all rows at once with SciPy's L-BFGS, and set the fitted attributes.

    Parameters, errors and warnings as in `train_epochs`.
    """
    rows = rows_of(train.X, train.targets, train.weights)
    scale, last_finite = estimator._loss_scale(), theta.copy()
    curve = list(estimator.loss_curve_)
    seconds, began = _clock(estimator)

    def objective(candidate: Array) -> tuple[float, Array]:
        loss, penalty, gradient = network.loss_gradient(np.ascontiguousarray(candidate), rows)
        return loss * scale + penalty, gradient

    def record(intermediate_result: Any) -> None:
        if not np.isfinite(intermediate_result.fun):
            raise StopIteration
        np.copyto(last_finite, intermediate_result.x)
        curve.append(float(intermediate_result.fun))
        seconds.append(time.perf_counter() - began)
        if estimator.verbose:
            print(f"Iteration {len(curve):d}, loss = {curve[-1]:.8f}")

    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    n_before, result = len(curve), None
    try:
        result = minimize(
            objective, theta, method="L-BFGS-B", jac=True, callback=record, options=options
        )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=4)
    estimator.loss_curve_, estimator.n_iter_ = curve, len(curve) - n_before
    estimator.loss_curve_seconds_ = seconds
    estimator.converged_ = result is not None and result.status == 0
    if result is not None:
        if not (np.isfinite(result.fun) and _is_sane(result.x)):
            estimator._keep(last_finite)
            raise DivergenceError(
                f"The loss became non-finite in iteration {estimator.n_iter_ + 1} of "
                "solver='lbfgs'. The input data may contain large values and need to be "
                "preprocessed; the last finite weights are kept."
            )
        estimator.n_iter_ = min(int(result.nit), estimator.max_iter)
        estimator.loss_ = estimator.best_loss_ = float(result.fun)
        np.copyto(last_finite, result.x)
    estimator._keep(last_finite)
    if validation is not None:
        score, loss = _validate(estimator, network, last_finite, validation)
        estimator.validation_scores_, estimator.validation_loss_curve_ = [score], [loss]
        estimator.best_validation_score_ = score
    if result is not None and result.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) "
            f"(status={result.status}):\n{result.message}\nIncrease max_iter="
            f"{estimator.max_iter} or max_fun={estimator.max_fun}, or scale the features of X.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return estimator
