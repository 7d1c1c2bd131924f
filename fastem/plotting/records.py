"""Losses and times that estimators recorded during training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.parameters import Array
from fastem.plotting._matplotlib import final_step
from fastem.runtime import warn_user

_EM = FastEMClassifier, FastEMRegressor
_WITH_PENALTY = "with penalty"


class LossCurve(NamedTuple):
    """Losses that a fitted estimator recorded: means per unit weight, in nats for log-loss.

    Attributes
    ----------
    iterations : array (n_points,) of int
        Starts at 0 (starting values) after `fit` of `FastEMClassifier` or `FastEMRegressor`, and
        at 1 for all others. After a warm start, earlier fits are included. Empty if L-BFGS ended
        at its starting values.
    objective : array (n_points,)
        Training loss with penalty.
    data : array (n_points,) or None
        Training loss without penalty. None if the estimator has a penalty and recorded only
        losses that contain it, as scikit-learn's networks do.
    validation : array (n_points,) or None
        Loss of held-out rows without penalty; NaN where it was not computed.
    """

    iterations: np.ndarray
    objective: Array
    data: Array | None
    validation: Array | None


def loss_curve(estimator: Any) -> LossCurve:
    """Return the losses that a fitted estimator recorded during training.

    Parameters
    ----------
    estimator : fitted estimator, or pipeline that ends in one

    Returns
    -------
    record : LossCurve

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator records no losses, or a curve has another length than ``loss_curve_``.

    Warns
    -----
    UserWarning
        If held-out losses are left out, because their iterations are unknown.
    """
    final = final_step(estimator)
    check_is_fitted(final)
    kind = type(final).__name__
    if getattr(final, "loss_curve_", None) is None:
        raise ValueError(f"{kind} has recorded no losses: it has no loss_curve_ to plot")
    objective = np.asarray(final.loss_curve_, dtype=np.float64)
    n_points = objective.size
    # `partial_fit` records no starting values
    starts_at_0 = isinstance(final, _EM) and n_points > getattr(final, "n_iter_", 0)
    iterations = np.arange(n_points) + (0 if starts_at_0 else 1)
    data = getattr(final, "data_loss_curve_", None)
    if data is not None and len(data) != n_points:
        raise ValueError(
            f"data_loss_curve_ of {kind} has {len(data)} entries, and loss_curve_ has {n_points}. "
            "Fit again."
        )
    if data is not None:
        data = np.asarray(data, dtype=np.float64)
    elif getattr(final, "alpha_", getattr(final, "alpha", 0.0)) == 0.0:
        data = objective
    return LossCurve(iterations, objective, data, _validation(final, n_points))


def _validation(estimator: Any, n_points: int) -> Array | None:
    losses = getattr(estimator, "validation_loss_curve_", None)
    if losses is None or len(losses) == 0:
        return None
    losses = np.asarray(losses, dtype=np.float64)
    if losses.size == n_points:
        return losses
    if losses.size == 1 and n_points > 0:  # L-BFGS: at the end of the fit
        return np.append(np.full(n_points - 1, np.nan), losses)
    warn_user(
        f"The held-out losses of {type(estimator).__name__} are left out: there are "
        f"{losses.size} for {n_points} iterations, because only some of its fits had held-out "
        "rows. Pass X_val and y_val to every fit."
    )
    return None


def loss_seconds(estimator: Any) -> Array:
    """Return the wall time (s) of every entry of ``loss_curve_``.

    Raises
    ------
    ValueError
        If the estimator recorded no times.
    """
    seconds = getattr(estimator, "loss_curve_seconds_", None)
    if seconds is None or len(seconds) != len(estimator.loss_curve_):
        raise ValueError(
            f"{type(estimator).__name__} has not recorded a time for every loss: it has no "
            "loss_curve_seconds_ to plot. Use x='iterations', or fit again."
        )
    return np.asarray(seconds, dtype=np.float64)


def label_of_iterations(estimators: Sequence[Any]) -> str:
    """Return the label of an axis of iterations or epochs."""
    kinds = {"epoch" if _solver(x) in ("sgd", "adam") else "iteration" for x in estimators}
    return kinds.pop() if len(kinds) == 1 else "iteration of EM, or epoch of backpropagation"


def _solver(estimator: Any) -> str:
    """Return the solver that was used; only networks by EM select one for "auto"."""
    return getattr(estimator, "solver_", getattr(estimator, "solver", ""))


def label_losses(
    names: Sequence[str], estimators: Sequence[Any], penalised: Sequence[bool]
) -> tuple[list[str], str]:
    """Return the names of curves and the label of their axis.

    A property that all curves share is in the label. A property in which they differ is in the
    names: the kind of loss, or the penalty.

    Parameters
    ----------
    names : sequence of str (n_curves,)
    estimators : sequence of estimators (n_curves,)
    penalised : sequence of bool (n_curves,)
        Whether the losses contain the penalty.
    """
    kinds = [_kind(estimator) for estimator in estimators]
    one_kind, one_penalty = len(set(kinds)) == 1, len(set(penalised)) == 1
    labels = []
    for name, kind, with_penalty in zip(names, kinds, penalised, strict=True):
        parts = [] if one_kind else [kind]
        if with_penalty and not one_penalty:
            parts.append(_WITH_PENALTY)
        labels.append(", ".join([name, *parts]))
    words = [kinds[0] if one_kind else "loss"]
    if one_penalty:
        words.append(_WITH_PENALTY if penalised[0] else "without penalty")
    words.append("(nats per row)" if all("log-" in kind for kind in kinds) else "(mean per row)")
    return labels, " ".join(words)


def _kind(estimator: Any) -> str:
    """Return the kind of loss; perceptrons name theirs in the parameter ``loss``."""
    if isinstance(estimator, FastEMRegressor):
        is_discrete = estimator.family_.is_discrete
        return f"minus log-{'probability' if is_discrete else 'density'}"
    loss = getattr(estimator, "loss", "log_loss")
    return "log-loss" if loss == "log_loss" else f"{loss} loss"
