"""Compare methods for numbers and counts on the same rows; the counterpart of `comparison`."""

import time
from typing import Any

import numpy as np

from fastem.cli.comparison import N_PREDICTIONS, learning_curves
from fastem.cli.datasets import Dataset
from fastem.cli.fitting import Fit, fit_method, named_errors, noting_interrupt
from fastem.cli.methods import METHODS, Method, Options
from fastem.parameters import Array

COVERAGE = 0.9
_FEWEST_ROWS = 10
_SMALLEST_RATE = 1e-300  # the Poisson deviance stays finite


def compare_numbers(
    dataset: Dataset, options: Options, *, test_size: float = 0.25
) -> dict[str, Any]:
    """Fit every method on the same training rows, and evaluate it on the same test rows.

    Parameters
    ----------
    dataset : Dataset
        Of the task "regression" or "count".
    options : Options
        Options of all methods; its seed is also the seed of the split.
    test_size : float
        Share of the rows for testing.

    Returns
    -------
    content : dict
        Plain Python values that JSON can store. Log densities are means over test rows in nats,
        per unit of y.

    Raises
    ------
    ValueError
        If there are fewer than ten training rows, they have equal targets, or a method rejects
        them or diverges. Then the message starts with the name of the method.
    KeyboardInterrupt
        After Ctrl-C, also if the estimator itself only stops early.
    """
    X_train, X_test, y_train, y_test = _split(dataset, test_size, options.seed)
    fits, results = {}, []
    for make in METHODS:
        method = make(options, len(y_train), dataset.task)
        with named_errors(method):
            fit, more = _fit(method, X_train, y_train, options.seed)
            figures = _figures(fit.estimator, X_test, y_test, dataset.task)
        options = options._replace(hidden_layer_sizes=fit.hidden_layer_sizes)
        fits[method.name] = fit
        results.append(
            {
                "method": method.name,
                "hidden_layer_sizes": list(fit.hidden_layer_sizes),
                "n_iter": fit.n_iter,
                "converged": fit.converged,
                "seconds": fit.seconds,
                **figures,
                "settings": fit.settings | more,
            }
        )
    first = next(iter(fits.values())).estimator
    shown = slice(N_PREDICTIONS)
    rows = number_predictions(first, X_test[shown])
    split = {"train": len(y_train), "test": len(y_test), "seed": options.seed}
    return {
        "data": dataset.describe() | split,
        "compile_seconds": sum(fit.compile_seconds for fit in fits.values()),
        "methods": results,
        "predictions": [
            {"true": y, **row} for y, row in zip(y_test[shown].tolist(), rows, strict=True)
        ],
        "learning_curves": learning_curves({name: fit.estimator for name, fit in fits.items()}),
    }


def number_predictions(model: Any, X: Any) -> list[dict[str, float]]:
    """Return mean, standard deviation, and the 5 % and 95 % quantiles of y for every row.

    Parameters
    ----------
    model : FastEMRegressor
        With one output.
    X : array or DataFrame (n_samples, n_features)

    Returns
    -------
    rows : list of dict
        Quantiles of counts are int, all other values float.
    """
    mean, std = model.predict(X, return_std=True)
    low, high = model.predict_interval(X, COVERAGE).T.tolist()
    if model.family_.is_discrete:
        low, high = list(map(int, low)), list(map(int, high))
    names = "predicted", "std", "q05", "q95"
    rows = zip(mean.tolist(), std.tolist(), low, high, strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def training_figures(model: Any, X: Any, y: Array, task: str) -> dict[str, float]:
    """Return mean log density and errors of a `FastEMRegressor` on its training rows."""
    figures = _errors(model.predict(X), y, task)
    share = "d2" if task == "count" else "r2"
    figures = {_log_name(task): _mean_log(model, X, y), **figures, share: model.score(X, y)}
    return {f"train_{name}": float(value) for name, value in figures.items()}


def _fit(method: Method, X: Array, y: Array, seed: int) -> tuple[Fit, dict[str, Any]]:
    """Fit, and estimate the constant deviation of a perceptron; return both with its settings."""
    fit = fit_method(method, X, y)
    if fit.interrupted:
        raise KeyboardInterrupt
    if not hasattr(fit.estimator, "estimate_deviation"):
        return fit, {}
    with noting_interrupt() as interrupts:
        start = time.perf_counter()
        origin = fit.estimator.estimate_deviation(X, y, seed)
        seconds = time.perf_counter() - start
    if interrupts:
        raise KeyboardInterrupt
    return fit, {
        "standard_deviation": fit.estimator.deviation_,
        "standard_deviation_from": origin,
        "standard_deviation_seconds": seconds,
    }


def _figures(estimator: Any, X: Array, y: Array, task: str) -> dict[str, float]:
    low, high = estimator.predict_interval(X, COVERAGE).T
    figures = {
        _log_name(task): _mean_log(estimator, X, y),
        **_errors(estimator.predict(X), y, task),
        "coverage": np.mean((low <= y) & (y <= high)),
        "width": np.mean(high - low),
    }
    return {f"test_{name}": float(value) for name, value in figures.items()}


def _log_name(task: str) -> str:
    return "log_probability" if task == "count" else "log_density"


def _mean_log(estimator: Any, X: Any, y: Array) -> float:
    return float(np.mean(estimator.log_density(X, y)))


def _errors(predicted: Array, y: Array, task: str) -> dict[str, float]:
    from sklearn.metrics import mean_poisson_deviance, root_mean_squared_error

    if task == "count":
        return {"deviance": mean_poisson_deviance(y, np.maximum(predicted, _SMALLEST_RATE))}
    return {"rmse": root_mean_squared_error(y, predicted)}


def _split(dataset: Dataset, test_size: float, seed: int) -> list[Array]:
    from sklearn.model_selection import train_test_split

    parts = train_test_split(dataset.X, dataset.y, test_size=test_size, random_state=seed)
    y_train = parts[2]
    if len(y_train) < _FEWEST_ROWS:
        raise ValueError(
            f"{dataset.name}: {len(y_train)} training rows; a comparison of regressions needs at "
            f"least {_FEWEST_ROWS}"
        )
    if y_train.min() == y_train.max():
        raise ValueError(
            f"{dataset.name}: all training rows have the target {y_train[0]:g}; a comparison of "
            "regressions needs different ones. Use another --seed or a smaller --test-size"
        )
    return parts
