"""The course of a training: epochs with their stopping rules, or L-BFGS."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastem.feedforward import FeedForward, rows_of
from fastem.layers import Workspace
from fastem.optimizers import Adam, Optimizer, Sgd
from fastem.parameters import Array

_DIVERGED = (
    "The loss became non-finite in epoch {epoch} of solver={solver!r}: the weights ran away. Use a "
    "smaller learning_rate_init than {rate:g}, or bring the features of X to a common scale; the "
    "last finite weights are kept."
)


class DivergenceError(ValueError):
    """The loss became non-finite; the last finite weights are in place."""


class Validation(NamedTuple):
    """A held-out set.

    Attributes
    ----------
    X : array (n_samples, n_features) or CSR matrix
    y : array
        Labels or numbers, as the estimator's score takes them.
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
    is_weighted : bool
        Whether weights were given by the user.
    """

    X: Any
    y: Any
    targets: Array
    weights: Array
    is_weighted: bool


def train_epochs(
    estimator: Any,
    network: FeedForward,
    theta: Array,
    train: tuple[Any, Any, Array, Array],
    validation: Validation | None,
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
    train : (X, y, targets, weights)
    validation : Validation, optional
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
    weights = train[-1]
    kept_rows = np.empty(0, np.int64)
    if estimator.early_stopping and validation is None:
        kept_rows, validation = _split(estimator, train)
    elif estimator.shuffle:
        kept_rows = np.arange(len(weights))
    epochs = _Epochs(estimator, network, train, kept_rows, validation)
    epochs.run(theta, incremental)
    best = estimator._best_theta
    estimator._keep(best.copy() if estimator.early_stopping and best is not None else theta)
    return estimator


def _optimizer(estimator: Any, theta: Array) -> Optimizer:
    of, rate = estimator, estimator.learning_rate_init
    if of.solver == "adam":
        return Adam(theta, rate, of.beta_1, of.beta_2, of.epsilon)
    return Sgd(theta, rate, of.learning_rate, of.power_t, of.momentum, of.nesterovs_momentum)


def _split(estimator: Any, train: tuple[Any, Any, Array, Array]) -> tuple[np.ndarray, Validation]:
    """Return indices of the rows to train on, and the others as a validation set."""
    X, y, targets, weights = train
    is_binary = hasattr(estimator, "classes_") and estimator.n_outputs_ == 1
    rows, held_out = train_test_split(
        np.arange(len(weights)),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=targets if is_binary else None,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    is_weighted = bool((weights != 1.0).any())
    part = X[held_out], y[held_out], targets[held_out], weights[held_out]
    return rows, Validation(*part, is_weighted)


class _Epochs:
    """Epochs over some rows of the data, until a rule stops them."""

    def __init__(self, estimator, network, train, kept_rows, validation) -> None:
        X, _, targets, weights = train
        self._estimator = estimator
        self._network = network
        self._rows = rows_of(X, targets, weights)
        self._order = kept_rows
        self._n_samples = len(kept_rows) if len(kept_rows) > 0 else len(weights)
        self._validation = validation
        # reported means: scikit-learn's squared error is a mean over outputs too
        self._scale = estimator._loss_scale()
        is_sparse = hasattr(X, "indptr")
        self._work = Workspace.of(
            network.layers,
            _batch_size(estimator.batch_size, self._n_samples),
            weights.dtype,
            gathers=len(kept_rows) > 0 and not is_sparse,
        )

    def run(self, theta: Array, incremental: bool) -> None:
        estimator, optimizer = self._estimator, self._estimator._optimizer
        estimator.loss_curve_ = list(estimator.loss_curve_)
        if self._validation is not None:
            estimator.validation_scores_ = list(estimator.validation_scores_ or [])
            estimator.validation_loss_curve_ = list(estimator.validation_loss_curve_ or [])
            if estimator.best_validation_score_ is None:
                estimator.best_validation_score_ = -np.inf
        if not estimator.early_stopping and estimator.best_loss_ is None:
            estimator.best_loss_ = np.inf
        finite = np.empty_like(theta)
        estimator.n_iter_ = 0
        try:
            for _ in range(estimator.max_iter):
                np.copyto(finite, theta)
                loss = self._epoch(theta, optimizer)
                if not (np.isfinite(loss) and np.isfinite(theta).all()):
                    self._give_up(finite)
                estimator.n_iter_ += 1
                estimator.loss_ = loss
                estimator.t_ += self._n_samples
                estimator.loss_curve_.append(loss)
                if estimator.verbose:
                    print(f"Iteration {estimator.n_iter_:d}, loss = {loss:.8f}")
                self._judge(theta)
                optimizer.end_epoch(estimator.t_)
                if self._is_over(optimizer) or incremental:
                    break
                if estimator.n_iter_ == estimator.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached "
                        "and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=6,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=6)

    def _epoch(self, theta: Array, optimizer: Optimizer) -> float:
        estimator, network = self._estimator, self._network
        if estimator.shuffle:
            order = np.arange(self._n_samples)
            estimator._random_state.shuffle(order)
            self._order = self._order[order]
        seed = 0
        if network.objective.dropout > 0:
            seed = int(estimator._random_state.randint(2**62)) + estimator.t_
        loss, penalty = network.epoch(theta, optimizer, self._rows, self._order, seed, self._work)
        return loss * self._scale + penalty

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
        outputs = self._network.outputs(theta, held_out.X)
        loss = self._network.loss(outputs, held_out.targets, held_out.weights) * self._scale
        weights = held_out.weights if held_out.is_weighted else None
        score = estimator._score_outputs(outputs, held_out.y, weights)
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
        estimator._keep(finite)
        rate = estimator._optimizer.rate
        del estimator._optimizer  # its memory is not finite any more
        raise DivergenceError(
            _DIVERGED.format(epoch=estimator.n_iter_ + 1, solver=estimator.solver, rate=rate)
        )


def _batch_size(batch_size: int | str, n_samples: int) -> int:
    if batch_size == "auto":
        return min(200, n_samples)
    if batch_size > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=7,
        )
    return int(np.clip(batch_size, 1, n_samples))


def train_lbfgs(
    estimator: Any,
    network: FeedForward,
    theta: Array,
    train: tuple[Any, Any, Array, Array],
    validation: Validation | None,
) -> Any:
    """Train on all rows at once with SciPy's L-BFGS, and set the fitted attributes.

    Parameters, errors and warnings as in `train_epochs`.
    """
    X, _, targets, weights = train
    rows, scale = rows_of(X, targets, weights), estimator._loss_scale()
    last_finite = theta.copy()
    curve: list[float] = []

    def objective(candidate: Array) -> tuple[float, Array]:
        loss, penalty, gradient = network.loss_gradient(np.ascontiguousarray(candidate), rows)
        return loss * scale + penalty, gradient

    def record(intermediate_result: Any) -> None:
        if not np.isfinite(intermediate_result.fun):
            raise StopIteration
        np.copyto(last_finite, intermediate_result.x)
        curve.append(float(intermediate_result.fun))
        if estimator.verbose:
            print(f"Iteration {len(curve):d}, loss = {curve[-1]:.8f}")

    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    result = minimize(
        objective, theta, method="L-BFGS-B", jac=True, callback=record, options=options
    )
    estimator.n_iter_ = min(int(result.nit), estimator.max_iter)
    estimator.loss_curve_ = curve
    if not (np.isfinite(result.fun) and np.isfinite(result.x).all()):
        estimator._keep(last_finite)
        raise DivergenceError(
            f"The loss became non-finite in iteration {estimator.n_iter_ + 1} of solver='lbfgs'. "
            "The input data may contain large values and need to be preprocessed; the last finite "
            "weights are kept."
        )
    estimator.loss_ = estimator.best_loss_ = float(result.fun)
    estimator._keep(np.array(result.x))
    if validation is not None:
        outputs = network.outputs(np.array(result.x), validation.X)
        held_out = validation.weights if validation.is_weighted else None
        score = estimator._score_outputs(outputs, validation.y, held_out)
        loss = network.loss(outputs, validation.targets, validation.weights) * scale
        estimator.validation_scores_, estimator.validation_loss_curve_ = [score], [loss]
        estimator.best_validation_score_ = score
    if result.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) "
            f"(status={result.status}):\n{result.message}\nIncrease the number of iterations to "
            f"improve the convergence (max_iter={estimator.max_iter}), or scale the features of X.",
            ConvergenceWarning,
            stacklevel=5,
        )
    return estimator
