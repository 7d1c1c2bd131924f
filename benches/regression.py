"""Compare predictive densities of regression methods on public tables, over five folds.

    pip install '.[tables]'
    python benches/regression.py
    python benches/regression.py --tables boston engel --methods em ridge
    python benches/regression.py --json results.json --markdown results.md

All methods have the same folds, and every row is held out once. The measures are the mean log
density of the held-out targets (nats per row), the root mean square error, the share of targets
in the 90 % interval and its mean width, and the mean seconds of a fit. Targets are in units of
their standard deviation in the whole table, so that tables are comparable.

With ``--json FILE``, results in the file are kept, and only missing results are computed;
``--again`` computes the named methods again. The file is written after every result.

Every method except ``em`` has standardised features and targets. The seconds of a fit contain the
tuning and the inner cross-validation of a method, which run in two processes.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import convergence_warnings_ignored
from numpy.typing import NDArray
from regression_tables import FOR_CHOICES, FOR_JUDGEMENT, TABLES, table
from results import UnusableError, exit_status, markdown, read_text, write_text
from scipy.optimize import minimize
from scipy.stats import norm, rankdata
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastem

COVERAGE = 0.9
_TAIL = (1 - COVERAGE) / 2
_PROCESSES = 2
_FOLDS = KFold(5, shuffle=True, random_state=0)
_MEASURES = ("log_density", "rmse", "coverage", "width", "seconds")


class Judged(NamedTuple):
    """Predictions of held-out rows, arrays of shape (n_samples,) in the unit of y.

    Quantile methods have no log-density (nats) and no mean.
    """

    log_density: NDArray[np.float64] | None
    mean: NDArray[np.float64] | None
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


Fitted = Callable[[NDArray[np.float64], NDArray[np.float64]], Judged]  # of held-out X and y
Method = Callable[[NDArray[np.float64], NDArray[np.float64]], Fitted]  # fits to X and y


def gaussian(y, mean, deviation) -> Judged:
    """Return the predictions of Gaussians with given means and standard deviations."""
    half_width = norm.ppf(1 - _TAIL) * deviation
    log_density = norm.logpdf(y, mean, deviation)
    return Judged(log_density, mean, mean - half_width, mean + half_width)


def on_standardised(method: Method) -> Method:
    """Return a method that fits to standardised features and targets."""

    @functools.wraps(method)
    def fit(X, y):
        scaler = StandardScaler().fit(X)
        centre, scale = y.mean(), y.std()
        with threadpool_limits(1):  # more threads cost time on small tables
            fitted = method(scaler.transform(X), (y - centre) / scale)

        def judge(X, y):
            judged = fitted(scaler.transform(X), (y - centre) / scale)
            log_density, *places = judged
            places = (None if x is None else centre + scale * x for x in places)
            return Judged(None if log_density is None else log_density - np.log(scale), *places)

        return judge

    return fit


def em(X, y) -> Fitted:
    """FastEMRegressor with ten hidden units and a given penalty."""
    with convergence_warnings_ignored():
        model = fastem.FastEMRegressor((10,), alpha=0.5, random_state=0).fit(X, y)

    def judge(X, y):
        lower, upper = model.predict_interval(X, coverage=COVERAGE).T
        return Judged(model.log_density(X, y), model.predict(X), lower, upper)

    return judge


def _constant_variance(model, held_out_mse: float) -> Fitted:
    """Return Gaussian predictions; their variance is the mean square of held-out residuals."""
    return lambda X, y: gaussian(y, model.predict(X), np.sqrt(held_out_mse))


def _held_out_mse(model, X, y) -> float:
    with convergence_warnings_ignored():
        predicted = cross_val_predict(model, X, y, cv=_FOLDS, n_jobs=_PROCESSES)
    return float(np.mean((y - predicted) ** 2))


@on_standardised
def ridge(X, y) -> Fitted:
    """Ridge regression; leave-one-out residuals select the penalty."""
    model = RidgeCV(alphas=np.logspace(-3, 4, 15))
    return _constant_variance(model.fit(X, y), _held_out_mse(model, X, y))


@on_standardised
def mlp(X, y) -> Fitted:
    """MLPRegressor with its defaults and enough epochs to converge."""
    return _tuned([MLPRegressor(max_iter=2000, random_state=0)], X, y)


@on_standardised
def mlp_tuned(X, y) -> Fitted:
    """MLPRegressor with L-BFGS; cross-validation selects the penalty."""
    settings = {"solver": "lbfgs", "max_iter": 500, "random_state": 0}
    return _tuned([MLPRegressor(alpha=a, **settings) for a in (0.3, 3.0, 30.0, 300.0)], X, y)


def _tuned(models, X, y) -> Fitted:
    """Fit the model with the smallest held-out residuals."""
    errors = [_held_out_mse(model, X, y) for model in models]
    best = int(np.argmin(errors))
    with convergence_warnings_ignored():
        return _constant_variance(models[best].fit(X, y), errors[best])


@on_standardised
def forest(X, y) -> Fitted:
    """Random forest; out-of-bag residuals select its settings and give the variance."""
    forests = [
        RandomForestRegressor(
            300,
            min_samples_leaf=leaf,
            max_features=share,
            oob_score=True,
            n_jobs=_PROCESSES,
            random_state=0,
        ).fit(X, y)
        for leaf in (1, 5, 20)
        for share in (1 / 3, 1.0)
    ]
    errors = [float(np.mean((y - model.oob_prediction_) ** 2)) for model in forests]
    best = int(np.argmin(errors))
    return _constant_variance(forests[best], errors[best])


_GP_ROWS = 500  # the time per step of the hyperparameters grows with the cube of the rows
_GP_STEPS = 30  # more steps change the marginal likelihood by less than one nat


@on_standardised
def gp(X, y) -> Fitted:
    """Gaussian process with a length scale for each feature, and noise.

    The hyperparameters maximise the marginal likelihood of at most 500 random rows: first with
    one length scale for all features, from three starts, and then with one for each feature. The
    predictions use these hyperparameters and all rows.
    """
    few = np.random.default_rng(0).permutation(len(y))[:_GP_ROWS]
    start = _gp_kernel(1.0, np.sqrt(X.shape[1]), 0.1)
    with convergence_warnings_ignored():
        shared = GaussianProcessRegressor(start, n_restarts_optimizer=2, random_state=0)
        variance, length, noise = np.exp(shared.fit(X[few], y[few]).kernel_.theta)
        kernel = _gp_kernel(variance, np.full(X.shape[1], length), noise)
        separate = GaussianProcessRegressor(kernel, optimizer=_few_steps).fit(X[few], y[few])
    model = GaussianProcessRegressor(separate.kernel_, optimizer=None).fit(X, y)
    return lambda X, y: gaussian(y, *model.predict(X, return_std=True))


def _gp_kernel(variance, length, noise):
    smooth = ConstantKernel(variance, (1e-3, 1e3)) * RBF(length, (1e-2, 1e3))
    return smooth + WhiteKernel(noise, (1e-6, 1e1))


def _few_steps(loss, start, bounds):
    limit = {"maxiter": _GP_STEPS}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=limit)
    return found.x, found.fun


@on_standardised
def boosting(X, y) -> Fitted:
    """Gradient boosting of two quantiles; cross-validation selects the number of trees."""
    models = [_boosted_quantile(X, y, quantile) for quantile in (_TAIL, 1 - _TAIL)]

    def judge(X, y):
        bounds = np.sort([model.predict(X) for model in models], axis=0)
        return Judged(None, None, *bounds)

    return judge


def _boosted_quantile(X, y, quantile):
    settings = {"loss": "quantile", "quantile": quantile, "learning_rate": 0.05}
    settings |= {"early_stopping": False, "random_state": 0}
    losses = np.zeros(200)
    for train, test in _FOLDS.split(X):
        model = HistGradientBoostingRegressor(max_iter=len(losses), **settings)
        stages = model.fit(X[train], y[train]).staged_predict(X[test])
        losses += [mean_pinball_loss(y[test], stage, alpha=quantile) for stage in stages]
    n_trees = int(np.argmin(losses)) + 1
    return HistGradientBoostingRegressor(max_iter=n_trees, **settings).fit(X, y)


METHODS: dict[str, Method] = {
    "em": em,
    "mlp": mlp,
    "mlp_tuned": mlp_tuned,
    "forest": forest,
    "ridge": ridge,
    "gp": gp,
    "boosting": boosting,
}


def measure(method: Method, X, y) -> dict[str, float | None]:
    """Return the measures of one method on one table."""
    parts, seconds = [], []
    for train, test in _FOLDS.split(X):
        start = time.perf_counter()
        fitted = method(X[train], y[train])
        seconds.append(time.perf_counter() - start)
        parts.append((test, fitted(X[test], y[test])))
    rows = np.concatenate([test for test, _ in parts])
    columns = zip(*(judged for _, judged in parts), strict=True)
    joined = Judged(*(None if c[0] is None else np.concatenate(c) for c in columns))
    return {**judgement(joined, y[rows], y.std()), "seconds": float(np.mean(seconds))}


def judgement(judged: Judged, y, unit: float) -> dict[str, float | None]:
    """Return the measures of predictions, with targets in multiples of ``unit``."""
    measures: dict[str, float | None] = {"log_density": None, "rmse": None}
    if judged.log_density is not None:
        measures["log_density"] = float(np.mean(judged.log_density) + np.log(unit))
    if judged.mean is not None:
        measures["rmse"] = float(np.sqrt(np.mean((y - judged.mean) ** 2)) / unit)
    measures["coverage"] = float(np.mean((judged.lower <= y) & (y <= judged.upper)))
    measures["width"] = float(np.mean(judged.upper - judged.lower) / unit)
    return measures


def summary(results: dict, methods: list[str]) -> str:
    """Return means over those tables of ``results`` that have a result of every method."""
    full = [r for r in results.values() if all(method in r for method in methods)]
    if not full:
        return "No table has results of all methods."
    header = ["method", "log-density", "rank", "EM wins", "EM loses", "RMSE", "EM wins", "EM loses"]
    header += ["coverage", "smallest", "largest", "width", "seconds"]
    rows = [[m, *_comparison(full, methods, m), *_of_interval(full, m)] for m in methods]
    return f"Number of tables: {len(full)}.\n\n{markdown(header, rows, left=1)}"


def _comparison(full, methods, method):
    """Yield the cells of log-density and RMSE: mean, rank, and tables that EM wins and loses."""
    for name, sign in (("log_density", 1), ("rmse", -1)):
        rated = [m for m in methods if full[0][m][name] is not None]
        if method not in rated:
            yield from ["-"] * (4 if sign == 1 else 3)
            continue
        scores = {m: sign * np.array([r[m][name] for r in full]) for m in rated}
        yield f"{sign * scores[method].mean():.3f}"
        if sign == 1:
            ranks = rankdata(-np.array([scores[m] for m in rated]), axis=0)
            yield f"{ranks[rated.index(method)].mean():.2f}"
        if method == "em" or "em" not in rated:
            yield from ["-"] * 2
        else:
            yield str(int((scores["em"] > scores[method]).sum()))
            yield str(int((scores["em"] < scores[method]).sum()))


def _of_interval(full, method):
    coverages, widths, seconds = (
        np.array([r[method][name] for r in full]) for name in ("coverage", "width", "seconds")
    )
    shown = coverages.mean(), coverages.min(), coverages.max(), widths.mean()
    return [*(f"{x:.3f}" for x in shown), f"{seconds.mean():.2f}"]


_INTRODUCTION = """\
Predictive densities of `FastEMRegressor(alpha=0.5)` (`em`) and of other methods on
public tables, over five folds. `python benches/regression.py` writes this file. Targets are in
units of their standard deviation. The log-density is the mean over held-out rows, in nats;
higher is better. Coverage and width are those of the 90 % interval. Wins and losses count
tables on which EM has the better, or the worse, mean.

- `mlp` is `MLPRegressor` with 5000 epochs at most, `mlp_tuned` the same with L-BFGS and a tuned
  penalty. `forest` is a tuned random forest and `ridge` a tuned ridge regression. All four
  predict a normal density of constant variance. It is estimated from errors of rows that were
  held out of the training rows.
- `gp` is `GaussianProcessRegressor` with one length scale per feature and a noise term; it
  predicts its own variance.
- `boosting` is `HistGradientBoostingRegressor` for the 5 % and 95 % quantiles; it has no
  density.

Several targets are rounded numbers. A density can concentrate on them: part of a high log
density can come from that, also for EM. Seconds contain the tuning of a method. They were
measured while other programs ran, and show orders of magnitude only.
"""
_PAGE_BEGIN = "<!-- regression table: written by benches/regression.py -->\n"
_PAGE_END = "<!-- end -->"


def page_table(results: dict) -> str:
    """Return the lines between the markers of docs/results.md."""
    chosen = {name: results[name] for name in FOR_JUDGEMENT if name in results}
    return f"\n{summary(chosen, list(METHODS))}\n\n"


def with_page_table(text: str, results: dict) -> str:
    """Return docs/results.md with a new table."""
    before, found, rest = text.partition(_PAGE_BEGIN)
    if not found:
        raise UnusableError(f"the page lacks the line {_PAGE_BEGIN.strip()}")
    _, _, after = rest.partition(_PAGE_END)
    return before + _PAGE_BEGIN + page_table(results) + _PAGE_END + after


def document(results: dict) -> str:
    """Return the summaries and all measures as Markdown."""
    parts = ["# Regression on public tables", _INTRODUCTION.strip()]
    for title, names in (("for judgement", FOR_JUDGEMENT), ("for choices", FOR_CHOICES)):
        chosen = {name: results[name] for name in names if name in results}
        methods = [m for m in METHODS if any(m in r for r in chosen.values())]
        if chosen:
            parts += [f"## Means over the tables {title}", summary(chosen, methods)]
            for name in _MEASURES:
                parts += [f"### {name}, tables {title}", _measure_table(chosen, methods, name)]
    return "\n\n".join(parts) + "\n"


def _measure_table(results, methods, name):
    rows = []
    for table_name, by_method in results.items():
        values = [by_method.get(method, {}).get(name) for method in methods]
        rows.append([table_name, *("-" if x is None else f"{x:.3f}" for x in values)])
    return markdown(["table", *methods], rows, left=1)


def _read_results(path):
    if path is None or not Path(path).exists():
        return {}
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UnusableError(f"{path} is not JSON: {error}") from error


def _run(arguments) -> int:
    results = _read_results(arguments.json)
    for table_name in arguments.tables:
        by_method = results.setdefault(table_name, {})
        X, _, y, _ = table(table_name)
        for method in arguments.methods:
            if method in by_method and not arguments.again:
                continue
            by_method[method] = found = measure(METHODS[method], X, y)
            cells = (f"{k} {'-' if v is None else format(v, '.3f')}" for k, v in found.items())
            print(f"{table_name:16} {method:10}", *cells, flush=True)
            if arguments.json is not None:
                write_text(arguments.json, json.dumps(results, indent=1) + "\n")
    text = document({name: results[name] for name in arguments.tables})
    print("\n" + text)
    if arguments.markdown is not None:
        write_text(arguments.markdown, text)
    if arguments.page is not None:
        write_text(arguments.page, with_page_table(read_text(arguments.page), results))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Measure, and print the tables; return 0, or 2 for unusable input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", help="file of results; missing ones are added")
    parser.add_argument("--again", action="store_true", help="compute results of the file again")
    parser.add_argument("--markdown", help="file for the tables")
    parser.add_argument("--page", help="file with a marked table to replace")
    return exit_status(lambda: _run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
