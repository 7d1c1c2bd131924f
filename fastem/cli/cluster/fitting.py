"""Fit a network on a divided table, and evaluate it on its training rows."""

import time
from typing import Any

import numpy as np

from fastem.cli.cluster.partitions import figures_of
from fastem.cli.cluster.table import DividedTable, feature_collection, target_array
from fastem.cli.comparison.fitting import Fit, noting_interrupt
from fastem.cli.comparison.methods import Method, fitted_settings, fitted_sizes
from fastem.runtime import doing


def divided_estimator(client: Any, method: Method) -> Any:
    """Return the estimator for Dask collections with the parameters of a method."""
    from fastem.dask import DaskEMClassifier, DaskEMRegressor

    kind = DaskEMClassifier if method.task == "class" else DaskEMRegressor
    known = kind().get_params(deep=False)
    given = method.estimator.get_params(deep=False)
    shared = {name: value for name, value in given.items() if name in known}
    return kind(**shared, client=client)


def fit_divided(method: Method, estimator: Any, table: DividedTable) -> Fit:
    """Fit on the workers; the result has the estimator for one machine.

    The time includes reading, and the compilation of the kernels by the workers.
    """
    X, y = feature_collection(table), target_array(table)
    with noting_interrupt() as interrupts, doing("fitting on the workers"):
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
    local = method._replace(estimator=estimator.to_local())
    return Fit(
        estimator=local.estimator,
        n_iter=int(np.max(local.estimator.n_iter_)),
        converged=bool(local.estimator.converged_),
        interrupted=bool(interrupts),
        seconds=seconds,
        compile_seconds=0.0,
        hidden_layer_sizes=fitted_sizes(local),
        settings=fitted_settings(local),
    )


def divided_figures(client: Any, model: Any, table: DividedTable) -> dict[str, float]:
    """Return the figures of a model on its training rows, as for a table in one file."""
    from fastem.dask import Rounds

    y, task = table.dataset.y, table.dataset.task
    rows = list(zip(table.features, table.targets, strict=True))
    sums = Rounds(client).run("fastem-figures", figures_of, rows, model, task)
    first, second, third = np.sum(sums, axis=0) / len(y)
    if task == "class":
        return {"train_log_loss": float(first), "train_accuracy": float(second)}
    if task == "regression":
        share = 1.0 - second / np.var(y)
        figures = {"log_density": first, "rmse": np.sqrt(second), "r2": share}
    else:
        from scipy.special import xlogy

        mean = y.mean()
        null = 2.0 * np.mean(xlogy(y, y / mean))
        figures = {
            "log_probability": first,
            "deviance": 2.0 * third,
            "d2": 1.0 - 2.0 * third / null,
        }
    return {f"train_{name}": float(value) for name, value in figures.items()}
