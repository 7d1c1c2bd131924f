"""Time and quality of fits on real data, compared with scikit-learn's backpropagation.

For `FastEMClassifier` the log-likelihood and the maximised penalised log-likelihood are recorded,
for `MLPClassifier` the log-likelihood of its predictions. Log-loss and accuracy are means over
five folds.
"""

import statistics

import pytest
from measure import best_seconds, convergence_warnings_ignored, cross_validate, log_likelihood
from problems import (
    DATASETS,
    MANY_UNITS,
    PENALTY_OF_CLASSES,
    dataset,
    fastem_settings,
    many_units,
)
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, warmup

_ITERATIONS = 100


def _model(method, name):
    if method == "mlp":
        return make_pipeline(StandardScaler(), MLPClassifier(random_state=0))
    settings = {**fastem_settings(name), "solver": method}
    return FastEMClassifier(random_state=0, **settings)


def _figures(fitted, X, y):
    last = fitted[-1] if hasattr(fitted, "steps") else fitted
    figures = {"n_iter": int(last.n_iter_), "log_likelihood": log_likelihood(fitted, X, y)}
    if isinstance(last, FastEMClassifier):
        figures["penalised_log_likelihood"] = -float(last.loss_) * len(y)
    return figures


@pytest.mark.benchmark(group="fit: quality and time")
@pytest.mark.parametrize("method", ["em", "lbfgs", "mlp"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name + "-smoke" * (name == "iris")) for name in DATASETS]
)
def bench_fit(benchmark, record, name, method):
    X, y = dataset(name)
    model = _model(method, name)

    def fit():
        return clone(model).fit(X, y)

    with convergence_warnings_ignored():
        fit()  # warm up
        rounds = 2 if name == "digits" else 5
        fitted = benchmark.pedantic(fit, rounds=rounds)
    record(**_figures(fitted, X, y), **cross_validate(model, X, y))


@pytest.mark.benchmark(group="fit: choice of penalty and units")
@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name + "-smoke" * (name == "iris")) for name in DATASETS]
)
def bench_defaults(benchmark, record, name):
    """Both classifiers with their defaults; the fit by EM chooses its penalty and its units."""
    X, y = dataset(name)
    model = FastEMClassifier(random_state=0)
    other = _model("mlp", name)
    fitted, figures = _beside(benchmark, model, other, X, y, rounds=2 if name == "digits" else 5)
    record(
        m=len(fitted.intercepts_[0]),
        alpha=fitted.alpha_,
        **figures,
        **cross_validate(model, X, y),
        cv_log_loss_mlp=cross_validate(other, X, y)["cv_log_loss"],
    )


@pytest.mark.benchmark(group="fit: given penalty")
def bench_given_penalty_smoke(benchmark, record):
    """Iris with given units and a given penalty, beside MLPClassifier with its defaults.

    A fit should take at most a fifth of the time.
    """
    X, y = dataset("iris")
    model, other = _model("em", "iris"), _model("mlp", "iris")
    _, figures = _beside(benchmark, model, other, X, y, rounds=10)
    record(**figures)


def _beside(benchmark, model, other, X, y, *, rounds):
    """Time fits of two models alternately; return the first one fitted, and figures of both."""
    seconds = []

    def fit(estimator):
        return clone(estimator).fit(X, y)

    with convergence_warnings_ignored():
        fit(model)  # warm up
        fit(other)
        fitted = benchmark.pedantic(
            fit,
            (model,),
            setup=lambda: seconds.append(best_seconds(lambda: fit(other), 1)),
            rounds=rounds,
        )
    return fitted, {
        "ms_mlp": 1e3 * statistics.median(seconds),
        "ratio_to_mlp": benchmark.stats["median"] / statistics.median(seconds),
    }


@pytest.mark.benchmark(group="fit: many hidden units")
@pytest.mark.parametrize("name", MANY_UNITS)
def bench_many_units(benchmark, record, name):
    """A given penalty; log-loss on one held-out quarter of the rows."""
    n_hidden, X, y = many_units(name)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    settings = {"solver": "em", "m_step": "newton", "alpha": PENALTY_OF_CLASSES}
    model = FastEMClassifier((n_hidden,), random_state=0, **settings)
    other = make_pipeline(StandardScaler(), MLPClassifier((n_hidden,), random_state=0))
    warmup()
    with convergence_warnings_ignored():
        fitted = benchmark.pedantic(model.fit, (X, y), rounds=1)
        other.fit(X, y)
    record(
        m=n_hidden,
        engine=fitted.e_step_.name,
        n_iter=fitted.n_iter_,
        log_loss=log_loss(y_test, fitted.predict_proba(X_test)),
        log_loss_mlp=log_loss(y_test, other.predict_proba(X_test)),
        accuracy=fitted.score(X_test, y_test),
        accuracy_mlp=other.score(X_test, y_test),
    )


@pytest.mark.benchmark(group="fit: one EM iteration")
def bench_one_iteration_smoke(benchmark, record):
    """90 rows, 7 hidden units, 3 classes: the time of a long run minus that of a short run."""
    X, y = dataset("iris")
    X, _, y, _ = train_test_split(X, y, train_size=90, stratify=y, random_state=0)

    settings = {"solver": "em", "m_step": "newton", "alpha": PENALTY_OF_CLASSES}

    def fit(max_iter):
        model = FastEMClassifier(
            (7,), accelerate=False, tol=0.0, max_iter=max_iter, random_state=0, **settings
        )
        return model.fit(X, y)

    with convergence_warnings_ignored():
        short, long = fit(_ITERATIONS), fit(2 * _ITERATIONS)
        more_iterations = long.n_iter_ - short.n_iter_
        benchmark.pedantic(fit, args=(2 * _ITERATIONS,), rounds=20)
        seconds_short = best_seconds(lambda: fit(_ITERATIONS), 20)
    assert more_iterations > 0, "the run converged before its second half"
    seconds = (benchmark.stats["min"] - seconds_short) / more_iterations
    record(n=len(y), m=7, g=3, ms_per_iteration=1e3 * seconds)
