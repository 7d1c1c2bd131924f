"""Fits of copies of a model to resampled rows: in parallel, with progress, and until Ctrl-C."""

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from fastem.estimators import generator_of, penalty_in_use
from fastem.families import Categorical, Family
from fastem.parameters import Array
from fastem.runtime import DivergenceError, effective_n_jobs, warn_user

_BATCHES = 4  # tasks per worker between two lines of progress
_MOST_REDRAWS = 1000
_HISTORY = (
    "n_iter_", "loss_curve_", "loss_curve_seconds_", "data_loss_curve_", "validation_loss_curve_",
)  # fmt: skip


class Fit(NamedTuple):
    """Parameters of a refit.

    Attributes
    ----------
    coefs, intercepts : lists of arrays
    variance : array (n_outputs,) or None
    loss : float, nats
        Penalised negative log-likelihood per unit weight.
    converged : bool
    history : dict
        The attributes that describe the iterations.
    """

    coefs: list[Array]
    intercepts: list[Array]
    variance: Array | None
    loss: float
    converged: bool
    history: dict[str, Any]


def template(model: Any, n_workers: int, **settings: Any) -> Any:
    """Return a copy of a fitted model whose `fit` resumes from its parameters.

    The penalty, the engine, the numbers of units and the bound of the variance are those in use.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
    n_workers : int
        Processes that fit at once. If there are several, each of them uses one thread.
    **settings
        Further constructor parameters.

    Raises
    ------
    ValueError
        If the model stops early: its parameters are not the maximum of the objective.
    """
    if getattr(model, "early_stopping", False):
        raise ValueError(
            "Refits run until they converge, but the model has early_stopping=True; fit it with "
            "early_stopping=False."
        )
    copied = copy.copy(model)
    for name in ("_ascent", "feature_names_in_", "_skl_callbacks", "_parent_callback_ctx"):
        vars(copied).pop(name, None)
    if hasattr(model, "variance_floor_"):
        settings["variance_floor"] = model.variance_floor_
    if n_workers > 1:
        settings["n_jobs"] = 1
    return copied.set_params(
        **{
            "alpha": penalty_in_use(model),
            "e_step": model.e_step_,
            "hidden_layer_sizes": tuple(len(b) for b in model.intercepts_[:-1]),
            "warm_start": True,
            "n_init": 1,
            "coefs_init": None,
            "intercepts_init": None,
            "verbose": 0,
        }
        | settings
    )


def fit_copy(prepared: Any, X: ArrayLike, y: ArrayLike, weights: Array | None = None) -> Fit | None:
    """Fit a copy of a prepared model; return None if it diverges.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C is pressed: a fit that is cut short is not returned.
    """
    fitted = copy.copy(prepared)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted.fit(X, y, sample_weight=weights)
        except DivergenceError:
            return None
    if any("was interrupted" in str(found.message) for found in caught):
        raise KeyboardInterrupt
    history = {name: vars(fitted)[name] for name in _HISTORY if name in vars(fitted)}
    return Fit(
        fitted.coefs_, fitted.intercepts_, getattr(fitted, "variance_", None), fitted.loss_,
        fitted.converged_, history,
    )  # fmt: skip


def with_parameters(model: Any, fit: Fit) -> Any:
    """Return a copy of a fitted model with the parameters of a refit."""
    copied = copy.copy(model)
    for name in ("_ascent", *_HISTORY):
        vars(copied).pop(name, None)
    vars(copied).update(fit.history)
    copied.coefs_, copied.intercepts_ = list(fit.coefs), list(fit.intercepts)
    if fit.variance is not None:
        copied.variance_ = fit.variance
    copied.loss_, copied.converged_ = fit.loss, fit.converged
    return copied


def n_workers_of(n_jobs: int | None) -> int:
    """Return the number of processes: one by default, or that of joblib's context."""
    return joblib.effective_n_jobs(None) if n_jobs is None else effective_n_jobs(n_jobs)


def seeds_of(random_state: Any, n: int) -> list[np.random.SeedSequence]:
    """Return independent seeds, one per resample, which do not depend on the processes."""
    entropy = generator_of(random_state).randint(0, 2**31 - 1, size=4)
    return np.random.SeedSequence(entropy.tolist()).spawn(n)


def _can_start(n_workers: int) -> bool:
    """Return whether joblib's workers can be started.

    They cannot at a limit on processes or threads, nor after the main thread has returned.
    """
    try:
        with joblib.Parallel(n_jobs=n_workers) as parallel:
            parallel(joblib.delayed(int)() for _ in range(n_workers))
    except (RuntimeError, OSError):
        return False
    return True


def run_all(
    task: Callable[[Any], Any], arguments: list[Any], n_workers: int, name: str, verbose: int
) -> list[Any]:
    """Return the results of a task for every argument, in order; fewer after Ctrl-C.

    Parameters
    ----------
    task : callable
        Can be pickled.
    arguments : list
    n_workers : int
        If no worker can be started, this process does the whole work.
    name : str
        In the line of progress.
    verbose : int

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C is pressed before two results are available.

    Warns
    -----
    ConvergenceWarning
        If Ctrl-C is pressed later. The finished results are kept.
    """
    results, began = [], time.perf_counter()
    n_workers = n_workers if n_workers > 1 and _can_start(n_workers) else 1
    size = 1 if n_workers == 1 else _BATCHES * n_workers
    try:
        with joblib.Parallel(n_jobs=n_workers) as parallel:
            for start in range(0, len(arguments), size):
                batch = arguments[start : start + size]
                if n_workers == 1:
                    results += [task(argument) for argument in batch]
                else:
                    results += parallel(joblib.delayed(task)(argument) for argument in batch)
                if verbose:
                    seconds = time.perf_counter() - began
                    line = f"[fastem] {name} {len(results)}/{len(arguments)}, {seconds:.2f} s"
                    print(f"\r{line}", end="", flush=True)
    except KeyboardInterrupt:
        if len(results) < 2:
            raise
        warn_user(
            f"The {name} was interrupted after {len(results)} of {len(arguments)} resamples, which "
            "are kept.",
            ConvergenceWarning,
        )
    finally:
        if verbose:
            print()
    return results


def warn_of_refits(found: list[bool | None], name: str) -> None:
    """Warn if refits diverged or did not converge.

    Parameters
    ----------
    found : list of bool or None
        Whether each one converged; None if it diverged.
    name : str

    Raises
    ------
    DivergenceError
        If fewer than two refits are left.

    Warns
    -----
    ConvergenceWarning
        With the numbers of them.
    """
    n_diverged, n_short = found.count(None), found.count(False)
    if len(found) - n_diverged < 2:
        raise DivergenceError(
            f"{n_diverged} of {len(found)} refits of the {name} diverged; increase alpha."
        )
    if n_diverged + n_short > 0:
        warn_user(
            f"Of {len(found)} refits of the {name}, {n_short} did not converge and {n_diverged} "
            "diverged. Those that diverged are dropped. Increase max_iter, or increase alpha.",
            ConvergenceWarning,
        )


def draw_until_complete(draw: Callable[[], Any], is_complete: Callable[[Any], bool]) -> Any:
    """Draw until every class occurs.

    Raises
    ------
    ValueError
        If no draw of many is complete.
    """
    for _ in range(_MOST_REDRAWS):
        found = draw()
        if is_complete(found):
            return found
    raise ValueError(
        f"In each of {_MOST_REDRAWS} draws of a resample, a class of y does not occur, or an "
        "output is constant. Merge rare classes, or drop the output."
    )


def n_values(family: Family, targets: np.ndarray) -> list[int]:
    """Return how many classes occur, or how many values of every output (at most two)."""
    if isinstance(family, Categorical):
        return [len(np.unique(targets))]
    return [1 + int((column != column[0]).any()) for column in targets.T]


def whole_weights(weights: Array, name: str) -> np.ndarray:
    """Return weights as numbers of rows.

    Raises
    ------
    ValueError
        If a weight is not a whole number.
    """
    if weights.sum() >= 2.0**62:
        raise ValueError(
            f"sample_weight sums to {weights.sum():g}, too many rows; rescale the weights so that "
            "they sum to the number of rows."
        )
    counts = np.rint(weights).astype(np.int64)
    if not np.array_equal(counts, weights):
        raise ValueError(
            f"{name} draws y once for each of the w rows that a row of weight w stands for, so "
            "sample_weight must hold whole numbers; got "
            f"{weights[counts != weights][0]:g}."
        )
    return counts
