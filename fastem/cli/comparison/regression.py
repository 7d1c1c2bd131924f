"""Figures and predictions of numbers and counts, and the standard deviation of a density."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.cli.comparison.fitting import Fit, noting_interrupt
from fastem.parameters import Array

COVERAGE = 0.9
_SMALLEST_RATE = 1e-300  # the Poisson deviance stays finite


def number_predictions(model: Any, X: Any) -> Iterator[dict[str, float]]:
    """Yield mean, standard deviation, and the 5 % and 95 % quantiles of y for every row.

    Parameters
    ----------
    model : FastEMRegressor
        With one output.
    X : array or DataFrame (n_samples, n_features)

    Yields
    ------
    row : dict
        Quantiles of counts are int, all other values float.
    """
    kind = int if model.family_.is_discrete else float
    moments = np.column_stack(model.predict(X, return_std=True))
    for (mean, std), interval in zip(moments, model.predict_interval(X, COVERAGE), strict=True):
        low, high = map(kind, interval.tolist())
        yield {"predicted": float(mean), "std": float(std), "q05": low, "q95": high}


def training_figures(model: Any, X: Any, y: Array, task: str) -> dict[str, float]:
    """Return mean log density and errors of a `FastEMRegressor` on its training rows."""
    figures = _errors(model.predict(X), y, task)
    share = "d2" if task == "count" else "r2"
    mean_log = np.mean(model.log_density(X, y))
    figures = {_log_name(task): mean_log, **figures, share: model.score(X, y)}
    return {f"train_{name}": float(value) for name, value in figures.items()}


def with_deviation(fit: Fit, X: Array, y: Array, seed: int) -> Fit:
    """Estimate the constant standard deviation of a density that has one; add it to the settings.

    Parameters
    ----------
    fit : Fit
        Of the task "regression" or "count".
    X : array (n_samples, n_features)
    y : array (n_samples,)
        The training rows.
    seed : int
        Seed of the folds.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    """
    if not hasattr(fit.estimator, "estimate_deviation"):
        return fit
    with noting_interrupt() as interrupts:
        start = time.perf_counter()
        origin = fit.estimator.estimate_deviation(X, y, seed)
        seconds = time.perf_counter() - start
    if interrupts:
        raise KeyboardInterrupt
    more = {
        "standard_deviation": fit.estimator.deviation_,
        "standard_deviation_from": origin,
        "standard_deviation_seconds": seconds,
    }
    return fit._replace(settings=fit.settings | more)


def number_figures(estimator: Any, X: Array, y: Array, task: str) -> tuple[dict[str, float], Array]:
    """Return figures of the test rows, and minus their log densities.

    Parameters
    ----------
    estimator : density or FastEMRegressor, fitted
    X : array (n_samples, n_features)
    y : array (n_samples,)
        The test rows.
    task : {"regression", "count"}

    Returns
    -------
    figures : dict of str to float
        The log density is a mean in nats, per unit of y.
    losses : array (n_samples,)
        Minus the log density, or log probability, of every row.
    """
    low, high = estimator.predict_interval(X, COVERAGE).T
    log_density = estimator.log_density(X, y)
    figures = {
        _log_name(task): np.mean(log_density),
        **_errors(estimator.predict(X), y, task),
        "coverage": np.mean((low <= y) & (y <= high)),
        "width": np.mean(high - low),
    }
    return {f"test_{name}": float(value) for name, value in figures.items()}, -log_density


def _log_name(task: str) -> str:
    return "log_probability" if task == "count" else "log_density"


def _errors(predicted: Array, y: Array, task: str) -> dict[str, float]:
    from sklearn.metrics import mean_poisson_deviance, root_mean_squared_error

    if task == "count":
        return {"deviance": mean_poisson_deviance(y, np.maximum(predicted, _SMALLEST_RATE))}
    return {"rmse": root_mean_squared_error(y, predicted)}
