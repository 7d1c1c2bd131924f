"""Held-out rows of networks with stochastic units: passed to `fit`, or split off."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastem.estimators.ascent import Problem
from fastem.estimators.standardization import Standardization
from fastem.estimators.validation import check_targets
from fastem.parameters import Array
from fastem.rows import largest_inputs
from fastem.runtime import lazy_property
from fastem.solvers import BatchedNetwork, HeldOut, Network


def hold_out(
    estimator: Any, problem: Problem, X_val: Any, y_val: Any, sample_weight_val: Any
) -> Problem:
    """Return the problem with its held-out rows, if there are any.

    They are the validation set that was passed to `fit`. Without one, `early_stopping` splits rows
    off.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem
        All rows of X.
    X_val, y_val, sample_weight_val
        Arguments of `fit`.

    Raises
    ------
    ValueError
        If the validation set is incomplete, does not fit X and y, or would be too small.
    """
    if X_val is None and y_val is None and sample_weight_val is None:
        return _split(estimator, problem) if estimator.early_stopping else problem
    check_complete(X_val, y_val)
    try:
        X, y, weights = estimator._check_rows(X_val, y_val, sample_weight_val, reset=False)
        targets = estimator._known_targets(y, len(X), problem.shape.n_outputs)
        if problem.shape.family.has_variance:
            check_targets(targets)
    except ValueError as error:
        raise ValueError(f"The validation set (X_val, y_val) cannot be used: {error}") from error
    held_out = problem._replace(X=X, targets=targets, weights=weights, counts=None)
    return problem._replace(held_out=held_out.of_rows(weights > 0.0))


def check_complete(X_val: Any, y_val: Any) -> None:
    """Check that a validation set has rows and targets.

    Raises
    ------
    ValueError
        If one of them is missing.
    """
    missing = [name for name, given in (("X_val", X_val), ("y_val", y_val)) if given is None]
    if missing:
        raise ValueError(
            f"A validation set needs both X_val and y_val. Missing: {', '.join(missing)}."
        )


def too_small(estimator: Any, n_held_out: int, n_samples: int) -> ValueError:
    """Return the error for a validation set of fewer than two rows."""
    return ValueError(
        "The validation set is too small. Increase 'validation_fraction' or the size of your "
        f"dataset. validation_fraction={estimator.validation_fraction!r} of {n_samples} rows gives "
        f"{n_held_out} row(s); at least 2 are needed, beside rows to train on."
    )


def _split(estimator: Any, problem: Problem) -> Problem:
    """Split off `validation_fraction` of the rows of positive weight, stratified by class."""
    problem = problem.of_rows(problem.weights > 0.0)
    n_samples = len(problem.weights)
    order = _candidates(problem, check_random_state(estimator.random_state))
    n_held_out = int(np.ceil(estimator.validation_fraction * n_samples))
    n_held_out = min(n_held_out, len(order), n_samples - 1)
    if n_held_out < 2:
        raise too_small(estimator, n_held_out, n_samples)
    # evenly spaced in an order by class: every class has its share, up to one row
    positions = (np.arange(n_held_out) + 0.5) * (len(order) / n_held_out)
    is_held_out = np.zeros(n_samples, dtype=bool)
    is_held_out[order[positions.astype(np.int64)]] = True
    return problem.of_rows(~is_held_out)._replace(held_out=problem.of_rows(is_held_out))


def _candidates(problem: Problem, random_state: np.random.RandomState) -> Array:
    """Return the rows that may be held out, in random order; sorted by class if there are classes.

    One row of every class is left out: it is trained on.
    """
    order = random_state.permutation(len(problem.weights))
    if not problem.shape.has_classes:
        return order
    order = order[np.argsort(problem.targets[order], kind="stable")]
    _, first = np.unique(problem.targets[order], return_index=True)
    return np.delete(order, first)


class HeldOutRows:
    """Held-out rows of a fit, with the plan of their E-steps.

    Parameters
    ----------
    problem : Problem
        The rows, in the units of X and y.
    standardization : Standardization
        That of the rows that are trained on.
    estimator : BaseFastEM
    new_model : callable
        Makes a model without penalty of a standardised problem.
    """

    def __init__(
        self,
        problem: Problem,
        standardization: Standardization,
        estimator: Any,
        new_model: Callable[[Problem], Network | BatchedNetwork],
    ) -> None:
        self._problem, self._standardization = problem, standardization
        self._estimator, self._new_model = estimator, new_model
        self._total_weight = float(problem.weights.sum())

    @lazy_property
    def _model(self) -> Network | BatchedNetwork:
        with np.errstate(over="ignore"):
            problem = self._problem.standardized(self._standardization)
        if not np.isfinite(largest_inputs(problem.X)).all():
            raise ValueError(
                "X_val has values that overflow when they are standardised as X is; rescale X and "
                "X_val."
            )
        return self._new_model(problem)

    def new_record(self, last: HeldOut | None) -> HeldOut:
        """Return a record of a run, which may continue the one of an earlier run."""
        estimator, has_variance = self._estimator, self._problem.shape.n_variances > 0
        record = HeldOut(
            float(estimator.tol),
            estimator.n_iter_no_change,
            keeps_best=bool(estimator.early_stopping),
            scale=self._total_weight if has_variance else 0.0,
        )
        record.evaluate = self._model.objective
        if last is not None:
            record.follow(last)
        return record

    def loss(self, objective: float) -> float:
        """Return an objective (nats) as a loss per unit weight in the unit of y."""
        return self._standardization.log_scale - objective / self._total_weight


def losses_of(rows: HeldOutRows | None, record: HeldOut | None) -> dict[str, Any]:
    """Return the fitted attributes that describe held-out rows: None if there are none."""
    if rows is None:
        return {"validation_loss_curve_": None, "best_validation_loss_": None}
    return {
        "validation_loss_curve_": [rows.loss(value) for value in record.history],
        "best_validation_loss_": rows.loss(record.best),
    }
