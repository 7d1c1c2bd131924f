"""FastEMClassifier from fit to prediction: attributes, documented guarantees, hard data."""

import functools
import inspect
import json
import multiprocessing
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import reference
from child_process import LIST_SIGNATURES, SEVERAL_SIGNATURES
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

import fastem
from fastem import FastEMClassifier
from fastem.estimators import em
from fastem.solvers.monitor import Monitor
from fastem.solvers.network import Network

CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"
NO_EFFECT = "ignore:The fit predicts the same for every row"
METHODS = {
    "newton": {},
    "newton-plain": {"accelerate": False},
    "bound": {"m_step": "bound"},
    "bound-plain": {"m_step": "bound", "accelerate": False},
    "gradient": {"m_step": "gradient"},
    "lbfgs": {"solver": "lbfgs"},
}
every_method = pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
TINY_STEP = {"m_step": "gradient", "learning_rate_init": 1e-300, "max_iter": 1}


@functools.cache
def load(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X.setflags(write=False)
    return X, y


def classifier(n_hidden=3, **options):
    options = {"alpha": 0.15, "random_state": 0, "n_jobs": 1, **options}
    return FastEMClassifier((n_hidden,), **options)


def converged(model, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, sample_weight)


@functools.cache
def iris_model(n_hidden=3):
    return classifier(n_hidden).fit(*load("iris"))


def deviations(model, X, weights=None):
    if not model.standardize:
        return np.ones(X.shape[1])
    centre = np.average(X, axis=0, weights=weights) if model.fit_intercept else 0.0
    return np.sqrt(np.average((X - centre) ** 2, axis=0, weights=weights))


def loss_of(model, X, y, weights=None):
    """Return the loss by its definition. Weights on standardised features are penalised."""
    w = np.ones(len(X)) if weights is None else weights
    log_p = reference.log_marginal(X, model.coefs_, model.intercepts_)
    own = log_p[np.arange(len(X)), np.searchsorted(model.classes_, y)]
    W, V = model.coefs_
    squares = np.sum((W * deviations(model, X, weights)[:, None]) ** 2) + np.sum(V**2)
    return (0.5 * model.alpha * squares - w @ own) / w.sum()


def same_bits(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    )


def assert_sound(model, X):
    """All outputs are finite, and probabilities are between 0 and 1 and sum to one."""
    assert all(np.isfinite(values).all() for values in model.coefs_ + model.intercepts_)
    assert np.isfinite(model.loss_curve_).all()
    probability = model.predict_proba(X)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
    assert probability.min() >= 0.0
    assert np.isfinite(model.predict_log_proba(X)).all()
    hidden = model.transform(X)
    assert hidden.min() >= 0.0
    assert hidden.max() <= 1.0


# Fitted attributes, and the definition of the loss


@every_method
@pytest.mark.parametrize("weighted", [False, True])
def test_fitted_attributes(options, weighted):
    X, y = load("iris")
    weights = np.random.default_rng(0).uniform(0.0, 2.0, len(X)) if weighted else None
    model = converged(classifier(max_iter=200, **options), X, y, weights)
    assert [v.shape for v in model.coefs_] == [(4, 3), (3, 3)]
    assert [v.shape for v in model.intercepts_] == [(3,), (3,)]
    assert all(v.dtype == np.float64 for v in model.coefs_ + model.intercepts_)
    assert model.classes_.tolist() == [0, 1, 2]
    assert (model.n_features_in_, model.n_layers_) == (4, 3)
    assert isinstance(model.e_step_, fastem.Enumeration)
    assert len(model.loss_curve_) == model.n_iter_ + 1
    assert model.loss_ == model.loss_curve_[-1]
    assert model.converged_ == (model.n_iter_ < 200)
    assert not hasattr(model, "feature_names_in_")
    np.testing.assert_allclose(model.loss_, loss_of(model, X, y, weights), rtol=1e-10)


@pytest.mark.parametrize(
    "options",
    [{"standardize": False}, {"alpha": 0.0}, {"alpha": 30.0}, {"fit_intercept": False},
     {"fit_intercept": False, "standardize": False}],
    ids=str,
)  # fmt: skip
def test_loss_under_other_options(options):
    X, y = load("iris")
    model = converged(classifier(max_iter=30, **options), X, y)
    np.testing.assert_allclose(model.loss_, loss_of(model, X, y), rtol=1e-10)


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
@every_method
def test_loss_never_rises(options, name):
    X, y = load(name)
    for seed in range(3):
        curve = classifier(random_state=seed, max_iter=60, **options).fit(X, y).loss_curve_
        assert max(np.diff(curve)) <= 1e-9 * max(curve)
        assert curve[-1] < curve[0]


def test_loss_curve_begins_at_the_start():
    X, y = load("iris")
    start = converged(classifier(**TINY_STEP), X, y)  # the weights stay at the start
    curve = iris_model().loss_curve_
    np.testing.assert_allclose(curve[0], loss_of(start, X, y), rtol=1e-12)
    assert curve[0] == start.loss_curve_[0]


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gradient_is_that_of_the_loss(fit_intercept):
    # a gradient step with a tiny rate gives the gradient; differences of losses check it
    X, y = load("iris")
    rng = np.random.default_rng(0)
    X, weights = X - X.mean(axis=0) + 0.3, rng.uniform(0.5, 2.0, len(X))
    start = [rng.normal(size=shape) for shape in ((4, 2), (2, 3), (2,), (3,))]
    if not fit_intercept:
        start[2:] = [np.zeros(2), np.zeros(3)]
    rate = 1e-6
    model = classifier(
        2, standardize=False, fit_intercept=fit_intercept, alpha=2.0, m_step="gradient",
        learning_rate_init=rate, max_iter=1, coefs_init=start[:2], intercepts_init=start[2:],
    )  # fmt: skip
    converged(model, X, y, weights)

    def loss_at(parameters):
        moved = clone(model)
        moved.classes_ = model.classes_
        moved.coefs_, moved.intercepts_ = parameters[:2], parameters[2:]
        return weights.sum() * loss_of(moved, X, y, weights)

    for which, reached in enumerate(model.coefs_ + model.intercepts_):
        for index in np.ndindex(reached.shape):
            either = []
            for h in (1e-5, -1e-5):
                moved = [values.copy() for values in start]
                moved[which][index] += h
                either.append(loss_at(moved))
            slope = (either[1] - either[0]) / 2e-5
            moved_by = reached[index] - start[which][index]
            if which >= 2 and not fit_intercept:
                assert moved_by == 0.0
            else:
                np.testing.assert_allclose(moved_by / rate, slope, rtol=1e-5, atol=1e-4)


def test_without_intercepts():
    X, y = load("iris")
    model = classifier(fit_intercept=False).fit(X, y)
    assert not any(values.any() for values in model.intercepts_)
    np.testing.assert_allclose(model.transform(np.zeros((1, 4))), 0.5)
    assert model.score(X, y) > 0.9


# Inference against the slow reference


@pytest.mark.parametrize("n_hidden", [1, 5])
@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_marginal_prediction(name, n_hidden):
    X, y = load(name)
    model = converged(classifier(n_hidden, max_iter=15), X, y)
    log_p = reference.log_marginal(X, model.coefs_, model.intercepts_)
    np.testing.assert_allclose(model.predict_log_proba(X), log_p, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(model.predict_proba(X), np.exp(log_p), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(X), model.classes_[log_p.argmax(axis=1)])


def test_plugin_prediction():
    X, y = load("iris")
    marginal, plugin = iris_model(), classifier(prediction="plugin").fit(X, y)
    assert same_bits(marginal, plugin)
    logits = plugin.transform(X) @ plugin.coefs_[1] + plugin.intercepts_[1]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(plugin.predict_proba(X), expected, rtol=1e-12)
    np.testing.assert_array_equal(plugin.predict(X), expected.argmax(axis=1))
    assert abs(expected - marginal.predict_proba(X)).max() > 1e-3


def test_hidden_units():
    X, y = load("iris")
    model = iris_model()
    prior = 1.0 / (1.0 + np.exp(-X @ model.coefs_[0] - model.intercepts_[0]))
    np.testing.assert_allclose(model.transform(X), prior, rtol=1e-12)
    truth = reference.e_step(X, y, model.coefs_, model.intercepts_)
    np.testing.assert_allclose(model.posterior(X, y), truth["hidden_posterior"], atol=1e-12)


@pytest.mark.parametrize("prediction", ["marginal", "plugin"])
@pytest.mark.parametrize(
    ("hidden", "output"), [(800.0, 1.0), (1.0, 800.0), (800.0, 1e3), (1e6, 1e6)]
)
def test_extreme_weights(hidden, output, prediction):
    X, y = load("iris")
    rng = np.random.default_rng(3)
    model = clone(iris_model(4)).set_params(prediction=prediction).fit(X, y)
    model.coefs_ = [hidden * rng.normal(size=(4, 4)), output * rng.normal(size=(4, 3))]
    model.intercepts_ = [hidden * rng.normal(size=4), output * rng.normal(size=3)]
    assert_sound(model, X)
    log_p = model.predict_log_proba(X)
    if hidden > 1.0 < output:
        assert log_p.min() < -700.0  # no double holds this probability
    if prediction == "marginal":
        truth = reference.log_marginal(X, model.coefs_, model.intercepts_)
        np.testing.assert_allclose(log_p, truth, rtol=1e-10, atol=1e-10)
        own = model.posterior(X, y)
        assert own.min() >= 0.0
        assert own.max() <= 1.0
        total = truth[np.arange(len(X)), y].sum()
        np.testing.assert_allclose(model.log_likelihood(X, y), total, rtol=1e-10)


def test_likelihood_and_criteria():
    X, y = load("iris")
    model = iris_model()
    rng = np.random.default_rng(0)
    own = reference.log_marginal(X, model.coefs_, model.intercepts_)[np.arange(150), y]
    weights = rng.uniform(0.0, 3.0, 150)
    for w, given in ((np.ones(150), None), (weights, weights), (weights, weights.tolist())):
        total = w @ own
        n_free = (4 + 1) * 3 + (3 + 1) * (3 - 1)
        np.testing.assert_allclose(model.log_likelihood(X, y, given), total, rtol=1e-11)
        np.testing.assert_allclose(model.aic(X, y, given), 2 * n_free - 2 * total, rtol=1e-11)
        bic = n_free * np.log(w.sum()) - 2 * total
        np.testing.assert_allclose(model.bic(X, y, given), bic, rtol=1e-11)
    hits = (model.predict(X) == y).astype(float)
    np.testing.assert_allclose(model.score(X, y, weights), np.average(hits, weights=weights))


def test_parameters_without_intercepts_are_not_counted():
    X, y = load("iris")
    model = classifier(fit_intercept=False).fit(X, y)
    n_free = 4 * 3 + 3 * (3 - 1)
    np.testing.assert_allclose(model.aic(X, y), 2 * n_free - 2 * model.log_likelihood(X, y))


def test_sample():
    X, _ = load("iris")
    model, n = iris_model(), 40_000
    x = X[77:78]  # a row whose class is uncertain
    y, z = model.sample(np.repeat(x, n, axis=0), random_state=1)
    assert set(np.unique(z)) <= {0.0, 1.0}
    assert y.shape == (n,)
    assert z.shape == (n, 3)

    def close(frequency, probability, n):
        allowed = 5.0 * np.sqrt(probability * (1.0 - probability) / n) + 5.0 / n
        assert (abs(frequency - probability) <= allowed).all()

    close(np.array([np.mean(y == k) for k in range(3)]), model.predict_proba(x)[0], n)
    close(z.mean(axis=0), model.transform(x)[0], n)
    for k in range(3):  # labels and hidden states are drawn jointly
        if np.sum(y == k) > 500:
            close(z[y == k].mean(axis=0), model.posterior(x, [k])[0], np.sum(y == k))


def test_sample_under_a_seed():
    X, _ = load("iris")
    one, two, other = (iris_model().sample(X, random_state=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert (one[1] != other[1]).any()


# Labels and weights


@pytest.mark.parametrize(
    "labels",
    [np.array(["ham", "spam", "tofu"]), np.array([-7, 3, 40]), np.array([1.0, 2.0, 5.0]),
     np.array(["a", "bb", "ccc"], dtype=object), np.array([2, 3, 200], dtype=np.uint8)],
    ids=lambda labels: str(labels.dtype),
)  # fmt: skip
def test_labels(labels):
    X, y = load("iris")
    model = classifier().fit(X, labels[y])
    assert same_bits(model, iris_model())
    np.testing.assert_array_equal(model.classes_, labels)
    assert model.classes_.dtype == labels.dtype
    assert model.predict(X).dtype == labels.dtype
    np.testing.assert_array_equal(model.predict(X), labels[iris_model().predict(X)])
    assert model.log_likelihood(X, labels[y]) == iris_model().log_likelihood(X, y)
    np.testing.assert_array_equal(model.posterior(X, labels[y]), iris_model().posterior(X, y))
    assert set(model.sample(X, random_state=0)[0]) <= set(labels)
    assert model.score(X, labels[y]) > 0.9


def test_two_classes():
    X, y = load("breast_cancer")
    model = classifier(2).fit(X, y.astype(bool))
    assert model.predict(X).dtype == bool
    assert model.predict_proba(X).shape == (569, 2)
    assert model.score(X, y.astype(bool)) > 0.95
    assert same_bits(model, classifier(2).fit(X, y))


def test_many_classes():
    X, y = load("digits")
    model = converged(classifier(6, max_iter=30), X, y)
    assert model.predict_proba(X).shape == (1797, 10)
    assert model.score(X, y) > 0.8
    np.testing.assert_allclose(
        model.predict_log_proba(X[:50]),
        reference.log_marginal(X[:50], model.coefs_, model.intercepts_),
        rtol=1e-10,
        atol=1e-13,
    )


def assert_same_model(a, b, X):
    for one, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(a.loss_, b.loss_, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"m_step": "bound"}, {"solver": "lbfgs"}], ids=str)
def test_weights_are_repetitions(options):
    X, y = load("iris")
    times = np.random.default_rng(0).integers(0, 4, len(X))
    options = {"tol": 1e-9, "max_iter": 3000, **options}
    weighted = converged(classifier(2, **options), X, y, times)
    repeated = converged(classifier(2, **options), np.repeat(X, times, axis=0), np.repeat(y, times))
    removed = converged(classifier(2, **options), X[times > 0], y[times > 0], times[times > 0])
    assert_same_model(weighted, repeated, X)
    assert same_bits(weighted, removed)


def test_order_of_rows_does_not_matter():
    X, y = load("wine")
    order = np.random.default_rng(0).permutation(len(X))
    options = {"tol": 1e-9, "max_iter": 3000}
    one = classifier(2, **options).fit(X, y)
    assert_same_model(one, classifier(2, **options).fit(X[order], y[order]), X)


# Starts


@pytest.mark.filterwarnings(CONVERGENCE)
def test_n_init_keeps_the_best_of_different_starts():
    X, y = load("wine")
    options = {"max_iter": 12, "alpha": 1.0}
    together = classifier(n_init=4, **options).fit(X, y)
    random_state = np.random.RandomState(0)
    alone = [classifier(random_state=random_state, **options).fit(X, y) for _ in range(4)]
    assert len({model.loss_curve_[0] for model in alone}) == 4
    best = min(alone, key=lambda model: model.loss_)
    assert together.loss_curve_ == best.loss_curve_
    assert same_bits(together, best)
    assert same_bits(together, classifier(n_init=4, **options).fit(X, y))


@pytest.mark.parametrize("given", [("coefs",), ("intercepts",), ("coefs", "intercepts")], ids=str)
@pytest.mark.parametrize("standardize", [True, False])
def test_given_starting_values(given, standardize):
    X, y = load("iris")
    rng = np.random.default_rng(0)
    start = {
        "coefs": [rng.normal(size=(4, 3)), rng.normal(size=(3, 3))],
        "intercepts": [rng.normal(size=3), rng.normal(size=3)],
    }
    options = {"standardize": standardize, **TINY_STEP}
    drawn = converged(classifier(**options), X, y)
    options |= {f"{name}_init": start[name] for name in given}
    model = converged(classifier(**options), X, y)
    for name in start:
        expected = start[name] if name in given else getattr(drawn, f"{name}_")
        for values, wanted in zip(getattr(model, f"{name}_"), expected, strict=True):
            np.testing.assert_allclose(values, wanted, rtol=1e-12, atol=1e-12)
            assert not np.shares_memory(values, wanted)
    np.testing.assert_allclose(model.loss_curve_[0], loss_of(model, X, y), rtol=1e-11)


def test_starting_values_may_be_plain_lists():
    X, y = load("iris")
    model = iris_model()
    start = {
        "coefs_init": [values.tolist() for values in model.coefs_],
        "intercepts_init": tuple(values.tolist() for values in model.intercepts_),
    }
    again = classifier(max_iter=5, **start).fit(X, y)
    np.testing.assert_allclose(again.loss_curve_[0], model.loss_, rtol=1e-10)


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("m_step", ["newton", "bound", "gradient"])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_resuming_equals_not_stopping(accelerate, m_step, standardize):
    X, y = load("iris")
    options = {"accelerate": accelerate, "m_step": m_step, "standardize": standardize, "tol": 0.0}
    whole = classifier(max_iter=15, **options).fit(X, y)
    steps = classifier(max_iter=1, warm_start=True, **options)
    for _ in range(15):
        steps.fit(X, y)
    assert steps.loss_curve_ == whole.loss_curve_
    assert same_bits(steps, whole)
    assert steps.n_iter_ == whole.n_iter_ == 15


@pytest.mark.parametrize("when", ["in an iteration", "at the end"])
def test_resuming_after_a_failure_equals_not_having_failed(when, monkeypatch):
    X, y = load("iris")
    one = classifier(warm_start=True, max_iter=12, tol=0.0)
    other = clone(one)
    converged(one, X, y)
    converged(other, X, y)
    before = vars(one)["_ascent"]
    with monkeypatch.context() as patch:
        if when == "in an iteration":
            update, calls = Monitor.update, iter([0, 0, 0, 1])
            patch.setattr(
                Monitor,
                "update",
                lambda *args, **options: update(*args, **options) if not next(calls) else 1 / 0,
            )
        else:
            patch.setattr(em, "warn_of_ending", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one.fit(X, y)
    assert vars(one)["_ascent"] is before
    converged(one, X, y)
    converged(other, X, y)
    assert one.loss_curve_ == other.loss_curve_
    assert same_bits(one, other)


@pytest.mark.parametrize("options", [{}, {"accelerate": False}, {"solver": "lbfgs"}], ids=str)
def test_warm_start_on_new_data(options):
    X, y = load("iris")
    model = converged(classifier(warm_start=True, max_iter=20, **options), X[::2], y[::2])
    started = clone(model)
    started.classes_ = model.classes_
    started.coefs_, started.intercepts_ = model.coefs_, model.intercepts_
    at_start = loss_of(started, X[1::2] * 2.0, y[1::2])
    converged(model, X[1::2] * 2.0, y[1::2])
    np.testing.assert_allclose(model.loss_curve_[0], at_start, rtol=1e-10)
    assert len(model.loss_curve_) == model.n_iter_ + 1
    assert model.loss_ < at_start


def test_warm_start_may_add_intercepts():
    X, y = load("iris")
    model = classifier(warm_start=True, fit_intercept=False, standardize=False).fit(X, y)
    without = model.loss_
    model.set_params(fit_intercept=True).fit(X, y)
    np.testing.assert_allclose(model.loss_curve_[0], without, rtol=1e-10)
    assert model.loss_ < without
    assert all(b.any() for b in model.intercepts_)


def test_warm_start_after_convergence_stays():
    X, y = load("iris")
    model = classifier(warm_start=True).fit(X, y)
    loss = model.loss_
    assert model.fit(X, y).loss_ <= loss


# Conventions


def test_parameters_are_kept_and_copied():
    X, y = load("iris")
    model = iris_model()
    options = {
        "hidden_layer_sizes": (3,), "e_step": fastem.Enumeration(), "m_step": "bound",
        "solver": "em", "accelerate": False, "alpha": 0.5, "fit_intercept": True,
        "standardize": False, "prediction": "plugin", "learning_rate_init": 0.1, "max_iter": 2,
        "batch_size": 7, "tol": 1e-3, "n_init": 2, "coefs_init": model.coefs_,
        "intercepts_init": model.intercepts_, "warm_start": True, "n_jobs": 1,
        "random_state": 3, "verbose": 0, "class_weight": {0: 2.0}, "early_stopping": True,
        "validation_fraction": 0.2, "n_iter_no_change": 3,
    }  # fmt: skip
    assert set(options) == set(FastEMClassifier().get_params())
    before = [values.copy() for values in options["coefs_init"]]
    changed = converged(FastEMClassifier(**options), X, y)
    after = changed.get_params()
    assert all(after[name] is options[name] for name in options)
    for kept, old in zip(options["coefs_init"], before, strict=True):
        np.testing.assert_array_equal(kept, old)
    copied = clone(changed)
    assert not hasattr(copied, "coefs_")
    assert copied.get_params()["alpha"] == 0.5
    assert copied.set_params(alpha=0.7).alpha == 0.7


def test_defaults_in_the_docstring_are_those_of_the_code():
    text = inspect.getdoc(FastEMClassifier)
    for name, parameter in inspect.signature(FastEMClassifier).parameters.items():
        if parameter.default is None or name in ("e_step", "m_step", "solver", "prediction"):
            continue
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} : ")]
        default = eval(line.split("default=")[1])
        if isinstance(default, str):
            assert default == parameter.default
        else:
            assert float(np.squeeze(default)) == np.squeeze(parameter.default)


def test_data_frames():
    X, y = load("iris")
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    target = pd.Series(np.array(["x", "y", "z"])[y], name="kind")
    model = classifier().fit(frame, target)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert same_bits(model, iris_model())
    assert model.score(frame, target) == iris_model().score(X, y)
    names = [f"fastemclassifier{h}" for h in range(3)]
    assert model.get_feature_names_out().tolist() == names
    assert model.log_likelihood(frame, target) == iris_model().log_likelihood(X, y)
    out = model.set_output(transform="pandas").transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert out.columns.tolist() == names
    np.testing.assert_array_equal(out.to_numpy(), iris_model().transform(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d"]])


def test_html_repr():
    text = classifier(alpha=0.5)._repr_html_()
    assert "FastEMClassifier" in text
    assert "0.5" in text
    assert "fastem" in repr(iris_model()).lower()


@pytest.mark.parametrize("n_init", [1, 2])
@pytest.mark.parametrize("verbose", [0, False, 1, True, 2])
def test_verbose(verbose, n_init, capfd):
    X, y = load("iris")
    model = converged(classifier(verbose=verbose, n_init=n_init, max_iter=6), X, y)
    out, err = capfd.readouterr()
    assert not err
    if not verbose:
        assert not out
        return
    assert f"loss {model.loss_:.8f}" in out
    lines = out.splitlines() if verbose == 2 else out.replace("\r", "\n").split("\n")
    progress = [line for line in lines if "iteration" in line]
    assert len(progress) == 6 * n_init
    assert out.endswith("\n")
    assert ("\r" in out) == (verbose < 2)
    assert out.count("\n") == (n_init if verbose < 2 else 6 * n_init)
    assert all((f"start {i}/{n_init}" in out) == (n_init > 1) for i in range(1, n_init + 1))


def test_pipeline_and_grid_search():
    X, y = load("wine")
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=40, tol=1e-3))
    search = GridSearchCV(pipeline, {"fastemclassifier__alpha": [0.1, 1.0]}, cv=2, n_jobs=2)
    search.fit(X, y)
    assert search.best_score_ > 0.85
    assert search.predict_proba(X).shape == (178, 3)
    assert pipeline.fit(X, y).score(X, y) > 0.9


# scikit-learn's callbacks

if find_spec("sklearn.callback"):
    from sklearn.callback import ScoringMonitor

    class Recorder:
        """Callback that records its calls and can request to stop."""

        def __init__(self, stop_at=None):
            self.stop_at = stop_at
            self.calls = []
            self.iterations = []

        def setup(self, estimator, context):
            self.calls.append("setup")

        def teardown(self, estimator, context):
            self.calls.append("teardown")

        def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
            self.calls.append(f"begin {context.task_name}")

        def on_fit_task_end(
            self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
        ):
            self.calls.append(f"end {context.task_name}")
            if "iteration" not in context.task_name:
                return False
            loss = loss_of(fitted_estimator, X, y, metadata and metadata["sample_weight"])
            assert fitted_estimator.predict(X).shape == (len(X),)
            self.iterations.append((context.task_name, fitted_estimator.loss_, loss))
            return context.task_name == f"iteration {self.stop_at}"

    @pytest.mark.filterwarnings(CONVERGENCE)
    @every_method
    def test_callback_sees_every_iteration(options):
        X, y = load("iris")
        weights = np.linspace(0.5, 1.5, len(X))
        callback = Recorder()
        model = classifier(max_iter=9, **options).set_callbacks(callback)
        model.fit(X, y, sample_weight=weights)
        names, told, true = zip(*callback.iterations, strict=True)
        assert names == tuple(f"iteration {i + 1}" for i in range(model.n_iter_))
        assert list(told) == model.loss_curve_[1:]
        np.testing.assert_allclose(true, told, rtol=1e-9)
        assert callback.calls[:2] == ["setup", "begin fit"]
        assert callback.calls[-2:] == ["end fit", "teardown"]
        assert same_bits(model, classifier(max_iter=9, **options).fit(X, y, weights))

    @pytest.mark.parametrize(
        "options",
        [{}, {"accelerate": False}, {"solver": "lbfgs"}, {"solver": "adam"}],
        ids=str,
    )
    def test_callback_stops_the_ascent(options):
        X, y = load("iris")
        model = classifier(**options).set_callbacks(Recorder(stop_at=4))
        with pytest.warns(ConvergenceWarning, match="interrupted after 4 iterations"):
            model.fit(X, y)
        assert model.n_iter_ == 4
        assert not model.converged_
        assert model.loss_curve_ == iris_like(options).loss_curve_[:5]
        np.testing.assert_allclose(model.loss_, loss_of(model, X, y), rtol=1e-10)

    def test_callback_stops_one_start_and_not_the_others():
        # "whether or not to stop the current level of iterations", says the protocol
        callback = Recorder(stop_at=2)
        model = classifier(n_init=2, max_iter=5).set_callbacks(callback)
        converged(model, *load("iris"))
        assert [name for name, *_ in callback.iterations] == ["iteration 1", "iteration 2"] * 2

    def test_teardown_after_a_failing_fit():
        X, y = load("iris")
        callback = Recorder()
        model = classifier(coefs_init=[np.full((4, 3), 1e300)] * 2).set_callbacks(callback)
        with pytest.raises((ValueError, FloatingPointError)):
            converged(model, X, y)
        assert callback.calls in ([], ["setup", *callback.calls[1:-1], "teardown"])

    @pytest.mark.filterwarnings(CONVERGENCE)
    def test_callback_of_a_pipeline():
        callback = Recorder()
        callback.max_propagation_depth = None  # makes the callback propagate to sub-estimators
        pipeline = make_pipeline(StandardScaler(), classifier(max_iter=5, tol=0.0))
        pipeline.set_callbacks(callback).fit(*load("iris"))
        assert [name for name, *_ in callback.iterations] == [f"iteration {i}" for i in range(1, 6)]

    def test_scoring_monitor():
        monitor = ScoringMonitor(scoring="neg_log_loss")
        model = classifier(max_iter=5, tol=0.0).set_callbacks(monitor)
        converged(model, *load("iris"))
        rows = monitor.get_logs().data
        scores = [row["neg_log_loss"] for row in rows if "iteration" in row["task_name"]]
        assert len(scores) == 5
        assert scores[-1] > scores[0]


@functools.cache
def _iris_like(options):
    return converged(classifier(**dict(options)), *load("iris"))


def iris_like(options):
    return _iris_like(tuple(options.items()))


# Endings before convergence


def fit_interrupted(model, X, y):
    try:
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model.fit(X, y)
    except KeyboardInterrupt:  # would end pytest itself
        pytest.fail("the interruption was passed on and the fit so far is lost")
    assert not model.converged_
    np.testing.assert_allclose(model.loss_, loss_of(model, X, y), rtol=1e-10)
    assert_sound(model, X)


def interrupt_after(monkeypatch, n_calls):
    """Raise KeyboardInterrupt in the E-step after this many."""
    expect, calls = fastem.solvers.network.Network.expect, []

    def interrupted(self, theta, draw=0):
        calls.append(1)
        if len(calls) > n_calls:
            raise KeyboardInterrupt
        return expect(self, theta, draw)

    monkeypatch.setattr("fastem.solvers.network.Network.expect", interrupted)
    return calls


@every_method
@pytest.mark.parametrize("n_calls", [1, 2, 6, 14])
def test_interruption_keeps_the_best_iterate(options, n_calls, monkeypatch):
    X, y = load("iris")
    whole = iris_like(options)
    model = classifier(**options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, n_calls)
        fit_interrupted(model, X, y)
    assert model.loss_curve_ == whole.loss_curve_[: model.n_iter_ + 1]
    assert model.loss_ == min(model.loss_curve_)


@pytest.mark.parametrize("more", [0, 1, 5])  # from the very first E-step of the second start on
def test_interruption_keeps_the_best_start(more, monkeypatch):
    X, y = load("iris")
    first, model = classifier(max_iter=10), classifier(max_iter=10, n_init=3)
    with monkeypatch.context() as patch:
        calls = interrupt_after(patch, 10**9)
        converged(first, X, y)
    interrupt_after(monkeypatch, len(calls) + more)
    fit_interrupted(model, X, y)
    assert model.loss_ <= first.loss_


@every_method
def test_interruption_while_an_iteration_is_reported(options, monkeypatch):
    # with verbose=2 a small fit spends much of its time printing
    X, y = load("iris")
    model = classifier(verbose=2, **options)
    lines = []

    def write(line, *args, **kwargs):
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("builtins.print", write)
        fit_interrupted(model, X, y)
    assert model.n_iter_ in (2, 3)
    assert model.loss_curve_ == iris_like(options).loss_curve_[: model.n_iter_ + 1]


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}], ids=str)
def test_interruption_before_anything_is_known(options, monkeypatch):
    X, y = load("iris")
    model = clone(iris_model()).set_params(**options).fit(X, y)
    before = model.predict_proba(X)
    interrupt_after(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, np.array(["a", "b", "c"])[y])
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert model.classes_.tolist() == [0, 1, 2]


def test_warm_start_after_an_interruption(monkeypatch):
    X, y = load("iris")
    model = classifier(warm_start=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)
        fit_interrupted(model, X, y)
    np.testing.assert_allclose(model.fit(X, y).loss_, iris_model().loss_, rtol=1e-4)
    assert model.converged_


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("solver", ["em", "lbfgs"])
def test_one_warning_when_iterations_run_out(n_init, solver):
    model = classifier(max_iter=3, n_init=n_init, solver=solver)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(*load("iris"))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert all(advice in message for advice in ("3 iterations", "max_iter", "tol", "alpha"))
    assert not model.converged_
    assert model.n_iter_ == 3


_WARNINGS = """
import json, sys, warnings
import numpy as np, sklearn.model_selection, sklearn.pipeline  # in 1.9 they need callbacks
if "without callbacks" in sys.argv:  # as scikit-learn before 1.9
    sys.modules["sklearn.callback"] = None
import fastem
from fastem import FastEMClassifier
from fastem.solvers.monitor import Monitor

def fit(**options):
    FastEMClassifier((2,), **{"random_state": 0, **options}).fit(np.arange(8.0)[:, None], y)

y = np.arange(8) % 2
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fit(max_iter=1)
    start, fails = Monitor.start, iter([True])
    Monitor.start = lambda m, value, x: start(m, np.nan if next(fails, False) else value, x)
    fit(n_init=2)
    Monitor.update = lambda self, *_, **__: setattr(self, "interrupted", True) or True
    fit()
    Monitor.update = lambda self, *_, **__: setattr(self, "fell", True) or True
    fit()
print(json.dumps([[str(x.message)[:22], x.filename, x.lineno] for x in caught]))
"""


@pytest.mark.parametrize("callbacks", ["with callbacks", "without callbacks"])
def test_warnings_point_at_the_line_of_the_caller(callbacks, tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(_WARNINGS)
    ran = subprocess.run(
        [sys.executable, str(script), callbacks], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    line = 1 + _WARNINGS[: _WARNINGS.index("FastEMClassifier((2,)")].count("\n")
    assert {tuple(place) for _, *place in told} == {(str(script), line)}
    kinds = (
        "The fit did not converge",
        "Start 1 of 2 is dropped",
        "The fit was interrupted",
        "The penalised log-likelihood",
    )
    assert [kind[:17] for kind in kinds] == [message[:17] for message, *_ in told]


@pytest.mark.parametrize("factor", [-1.0, -10.0])
def test_a_fit_that_finds_no_step_says_so(factor, monkeypatch):
    # with some BLAS kernels the search accepts a step whose change is rounding, which is no optimum
    gradient = Network.gradient
    monkeypatch.setattr(Network, "gradient", lambda *args: factor * gradient(*args))
    with pytest.warns(ConvergenceWarning, match=r"stopped after \d+ iterations.*solver='em'"):
        model = classifier(solver="lbfgs").fit(*load("iris"))
    assert not model.converged_


@pytest.mark.filterwarnings(NO_EFFECT)
@pytest.mark.parametrize(
    ("options", "rate"),
    [({"m_step": "gradient"}, 1e17), ({"m_step": "gradient"}, 1e20)]
    + [({"solver": "adam", "batch_size": 200}, rate) for rate in (8.0, 10.0, 1e3, 1e90)],
    ids=str,
)
def test_steps_that_are_too_long_are_no_convergence(options, rate):
    message = "no step increased.*smaller learning_rate_init than " + f"{rate:g}".replace("+", ".")
    model = classifier(3, learning_rate_init=rate, **options)
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(*load("iris"))
    assert not model.converged_


# Threads and processes


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("options", [{}, {"m_step": "bound"}, {"solver": "lbfgs"}], ids=str)
def test_threads_do_not_change_a_bit(options):
    X, y = load("digits")  # large enough for all threads to get some of the work
    one, *others = (
        classifier(11, n_jobs=n_jobs, max_iter=4, **options).fit(X, y) for n_jobs in (1, 2, 3, None)
    )
    for other in others:
        assert same_bits(one, other)
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
        np.testing.assert_array_equal(one.posterior(X, y), other.posterior(X, y))
    assert any(thread.name.startswith("fastem") for thread in threading.enumerate())


def blas_threads():
    return [blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"]


@pytest.mark.filterwarnings(CONVERGENCE)
def test_any_thread_gets_the_same_bits():
    X, y = load("digits")
    model = classifier(9, max_iter=2)
    expected = clone(model).fit(X, y)
    with ThreadPoolExecutor(1) as pool:
        assert same_bits(pool.submit(clone(model).fit, X, y).result(60.0), expected)


@pytest.mark.filterwarnings(CONVERGENCE)
def test_two_threads_fit_at_once():
    X, y = load("digits")
    before = blas_threads()
    models = [classifier(9 + seed, random_state=seed, n_jobs=2, max_iter=4) for seed in (0, 1)]
    serial = [clone(model).fit(X, y) for model in models]
    together = threading.Barrier(2)

    def fit(model):
        together.wait(60.0)
        return clone(model).fit(X, y)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            for model, expected in zip(pool.map(fit, models, timeout=120), serial, strict=True):
                assert same_bits(model, expected)
    assert blas_threads() == before  # the limit is removed, whichever fit ends last


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "method", [name for name in multiprocessing.get_all_start_methods() if name == "fork"]
)
def test_forked_processes_fit_after_the_parent(method):
    X, y = load("digits")
    model = classifier(11, n_jobs=2, max_iter=3)
    expected = clone(model).fit(X, y)
    with multiprocessing.get_context(method).Pool(2) as pool:  # its exit kills workers that hang
        fitted = pool.starmap_async(model.fit, [(X, y)] * 4).get(timeout=120)
    assert all(same_bits(one, expected) for one in fitted)
    assert same_bits(clone(model).fit(X, y), expected)  # and the parent still works


_SIGNATURES = (
    LIST_SIGNATURES
    + """
import numpy as np
from sklearn.datasets import load_iris
from fastem import FastEMClassifier

warnings.simplefilter("ignore")  # of convergence
fastem.warmup()
before = signatures()
X, y = load_iris(return_X_y=True)
frozen = X.copy()
frozen.setflags(write=False)
inputs = {
    "float32": X.astype(np.float32), "integers": X.astype(int), "fortran": np.asfortranarray(X),
    "frozen": frozen, "strided": np.repeat(X, 2, axis=1)[:, ::2], "reversed": X[::-1][::-1],
    "list": X.tolist(),
}
options = [{}, {"m_step": "bound"}, {"m_step": "gradient"}, {"solver": "lbfgs"}, {"solver": "adam"},
           {"fit_intercept": False}, {"standardize": False}]
for data in inputs.values():
    for option in options:
        model = FastEMClassifier((3,), random_state=0, max_iter=12, **option)
        model.fit(data, y.astype(np.int32), np.ones(150, dtype=np.float32))
        model.predict(data), model.posterior(data, y), model.score(data, y)
    start = [values.astype(np.float32).T.copy().T for values in model.coefs_]
    model.set_params(coefs_init=start).fit(data, y)
    fastem.e_step(data, y, start, [values.tolist() for values in model.intercepts_])
    huge = [1e4 * values for values in model.coefs_]  # rows redone in log space
    fastem.e_step(data, y, huge, model.intercepts_)

compiled = any(kernel.stats.cache_misses for _, kernel in kernels())
print(json.dumps([compiled, before, signatures()]))
"""
)


def test_one_signature_per_kernel():
    # in a process of its own: tests of the kernels call them in other ways too
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", _SIGNATURES], capture_output=True, text=True, timeout=300
        )
        assert ran.returncode == 0, ran.stderr
        assert not ran.stderr
        compiled, before, after = json.loads(ran.stdout)
        assert after == before  # the warm-up compiles for float64 in C order only
        assert sum(map(bool, after.values())) > 10
        if not compiled:
            break
    # the second process must load all from the cache
    assert not compiled
    assert {name for name, types in after.items() if len(types) > 1} == SEVERAL_SIGNATURES


# Hard data


def separable(n_samples=40, n_features=3, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    return rng.normal(size=(n_samples, n_features)) + 20.0 * y[:, None], y


@pytest.mark.filterwarnings(NO_EFFECT)
@every_method
@pytest.mark.parametrize("alpha", [0.0, 0.15])
@pytest.mark.parametrize(
    "kind", ["separable", "p > n", "one row per class", "constant", "all constant", "duplicated"]
)
def test_hard_data(kind, alpha, options):
    rng = np.random.default_rng(1)
    X, y = separable()
    if kind == "p > n":
        X, y = separable(12, 40)
    elif kind == "one row per class":
        X, y = separable(3)
    elif kind == "constant":
        X = np.column_stack([X, np.ones(40), np.full(40, 1e300), np.full(40, -0.1), np.zeros(40)])
    elif kind == "all constant":
        X = np.full((40, 3), [0.1, -1e5, 0.0])
    elif kind == "duplicated":
        X = rng.normal(size=X.shape)
        X = np.column_stack([X, X, -2.0 * X[:, 0], X[:, 0] + 1e-9 * X[:, 1]])
    model = converged(classifier(max_iter=100, alpha=alpha, **options), X, y)
    assert_sound(model, X)
    assert max(np.diff(model.loss_curve_)) <= 1e-9 * max(model.loss_curve_)
    if kind in ("separable", "p > n", "constant") and options != METHODS["gradient"]:
        assert model.score(X, y) == 1.0


@pytest.mark.parametrize("standardize", [True, False])
def test_separable_data_without_penalty(standardize):
    X, y = load("iris")
    X, y = X[:100], y[:100]
    model = converged(classifier(alpha=0.0, standardize=standardize, max_iter=300), X, y)
    assert_sound(model, X)
    assert model.score(X, y) == 1.0
    assert model.loss_ < 1e-6
    assert_sound(model, 1e6 * X)


@pytest.mark.parametrize("factor", [2.0**900, 2.0**-900])
def test_a_power_of_two_changes_no_bit(factor):
    X, y = load("iris")
    model = classifier().fit(X * factor, y)
    assert model.loss_curve_ == iris_model().loss_curve_
    np.testing.assert_array_equal(model.predict_proba(X * factor), iris_model().predict_proba(X))


@pytest.mark.parametrize(
    "factor", [1e300, 1e-300, 1e150, 1e-150, np.array([1e300, 1e-300, 1.0, -1e9])], ids=str
)
def test_features_of_any_scale(factor):
    X, y = load("iris")
    model = classifier().fit(X * factor, y)
    assert_sound(model, X * factor)
    if np.all(factor > 0):
        np.testing.assert_allclose(model.loss_, iris_model().loss_, rtol=1e-6)
        probability = model.predict_proba(X * factor)
        np.testing.assert_allclose(probability, iris_model().predict_proba(X), atol=1e-4)
    else:
        assert model.score(X * factor, y) > 0.95


@pytest.mark.filterwarnings(NO_EFFECT)
@pytest.mark.parametrize("options", [{"factor": 1e100}, {"factor": 1e-300}], ids=str)
def test_features_of_any_scale_as_they_are(options):
    X, y = load("iris")
    X = X * options["factor"]
    assert_sound(converged(classifier(standardize=False, max_iter=50), X, y), X)


def test_an_offset_costs_few_digits():
    X, y = load("iris")
    model = classifier().fit(X + 1e7, y)
    np.testing.assert_allclose(model.loss_, iris_model().loss_, rtol=1e-6)
    np.testing.assert_allclose(
        model.predict_proba(X + 1e7), iris_model().predict_proba(X), atol=1e-4
    )


@pytest.mark.parametrize("alpha", [0.0, 0.15])
@every_method
def test_a_class_without_weight(options, alpha):
    X, y = load("iris")
    model = converged(classifier(max_iter=50, alpha=alpha, **options), X, y, (y != 1) * 1.0)
    assert model.classes_.tolist() == [0, 1, 2]
    assert_sound(model, X)
    assert model.score(X[y != 1], y[y != 1]) > 0.95
    assert np.isfinite(model.log_likelihood(X, y))


@pytest.mark.parametrize("weight", [1e-100, 1e-3, 1e3, 1e50])
def test_weights_of_any_scale(weight):
    # penalty and rows are scaled alike, so the optimum is the same
    X, y = load("iris")
    model = classifier(alpha=0.15 * weight).fit(X, y, np.full(len(X), weight))
    assert_sound(model, X)
    np.testing.assert_allclose(model.loss_, iris_model().loss_, rtol=1e-6)
