"""Several labels in FastEMClassifier: probabilities, joint likelihood, samples, streams, files."""

import functools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse, special
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

import fastem
from fastem import FastEMClassifier


@functools.cache
def data(n=150, d=3, seed=0):
    """Rows, and labels that share hidden units: they are correlated given the features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    on = rng.uniform(size=(n, 3)) < special.expit(2.0 * X @ rng.normal(size=(4, 3)))
    eta = 4.0 * (on - 0.5) @ rng.normal(size=(3, d))
    y = (rng.uniform(size=eta.shape) < special.expit(eta)).astype(int)
    X.setflags(write=False)
    y.setflags(write=False)
    return X, y


def classifier(**options):
    return FastEMClassifier((3,), **{"random_state": 0, "n_jobs": 1, "alpha": 1.0, **options})


def fit(model, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, sample_weight)


@functools.cache
def fitted():
    return fit(classifier(), *data())


def states(model, X):
    """P(z | x) (n, K), and P(y_l = 1 | z) (K, d), by brute force."""
    (W, V), (b, c) = model.coefs_, model.intercepts_
    Z = reference.configurations(len(V))
    return np.exp(reference.log_first(X, Z, W, b)), special.expit(Z @ V + c)


def truth(model, X, y):
    y = np.asarray(y, dtype=float)
    return reference.family_e_step("bernoulli", X, y, model.coefs_, model.intercepts_)


def assert_same_bits(a, b):
    for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.loss_curve_ == b.loss_curve_


# Results


def test_fitted_attributes():
    X, y = data()
    model = fitted()
    assert model.family_ == fastem.Bernoulli()
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert [W.shape for W in model.coefs_] == [(4, 3), (3, 3)]
    assert model.converged_
    assert max(np.diff(model.loss_curve_)) <= 0.0
    squares = reference.penalty([model.coefs_[0] * X.std(axis=0)[:, None], model.coefs_[1]], 1.0)
    loss = (squares - truth(model, X, y)["log_likelihood"].sum()) / len(X)
    assert model.loss_ == pytest.approx(loss, rel=1e-9)


def test_probabilities_are_marginals_over_states():
    X, _ = data()
    model = fitted()
    prior, of_states = states(model, X)
    probability = model.predict_proba(X)
    np.testing.assert_allclose(probability, prior @ of_states, rtol=1e-10)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(prior @ of_states), rtol=1e-9)
    predicted = model.predict(X)
    assert predicted.dtype.kind == "i"
    np.testing.assert_array_equal(predicted, probability > 0.5)


def test_probability_by_the_mean_activation():
    X, y = data()
    model = fit(classifier(prediction="plugin"), X, y)
    u = special.expit(X @ model.coefs_[0] + model.intercepts_[0])
    expected = special.expit(u @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), expected > 0.5)


def test_a_column_of_classes_after_a_fit_with_it():
    X, y = data()
    with pytest.warns(DataConversionWarning, match="column-vector"):
        model = fit(classifier(), X, y[:, :1])
    for method in (model.log_likelihood, model.posterior, model.aic, model.bic):
        with pytest.warns(DataConversionWarning, match="column-vector"):
            found = method(X, y[:, :1])
        np.testing.assert_array_equal(found, method(X, y[:, 0]))
    with pytest.raises(ValueError, match=r"y must have shape \(150,\), got \(150, 2\)"):
        model.log_likelihood(X, y[:, :2])
    with (
        pytest.warns(DataConversionWarning),
        pytest.raises(ValueError, match=r"y must have shape \(150,\), got \(149,\)"),
    ):
        model.posterior(X, y[1:, :1])


def test_likelihood_and_posterior_are_joint():
    X, y = data()
    model, slow = fitted(), truth(fitted(), X, y)
    np.testing.assert_allclose(model.log_likelihood(X, y), slow["log_likelihood"].sum(), rtol=1e-10)
    np.testing.assert_allclose(model.posterior(X, y), slow["hidden_posterior"], atol=1e-10)
    weights = np.linspace(0.0, 2.0, len(X))
    expected = weights @ slow["log_likelihood"]
    assert model.log_likelihood(X, y, weights) == pytest.approx(expected, rel=1e-10)
    k = 4 * 3 + 3 + 3 * 3 + 3
    assert model.aic(X, y) == pytest.approx(2.0 * k - 2.0 * slow["log_likelihood"].sum())
    # all combinations of labels of a row have probability one together
    every = reference.configurations(3)
    rows = np.repeat(X[:1], len(every), axis=0)
    total = sum(np.exp(model.log_likelihood(rows[i : i + 1], every[i : i + 1])) for i in range(8))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_score_is_the_accuracy_of_whole_rows():
    X, y = data()
    model = fitted()
    weights = np.linspace(0.0, 2.0, len(X))
    whole = (model.predict(X) == y).all(axis=1)
    assert model.score(X, y) == accuracy_score(y, model.predict(X)) == whole.mean()
    assert model.score(X, y, weights) == pytest.approx(np.average(whole, weights=weights))


def test_samples_are_correlated_as_the_model_says():
    X, _ = data()
    model = fitted()
    prior, of_states = states(model, X[:1])
    mean = (prior @ of_states)[0]
    covariance = (prior[0][:, None] * of_states).T @ of_states - np.outer(mean, mean)
    assert np.abs(covariance[~np.eye(3, dtype=bool)]).max() > 0.01  # labels are dependent
    y, z = model.sample(np.repeat(X[:1], 100_000, axis=0), random_state=0)
    assert y.dtype.kind == "i"
    assert z.shape == (100_000, 3)
    np.testing.assert_allclose(y.mean(axis=0), mean, atol=0.01)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(np.cov(y.T)[off], covariance[off], atol=0.005)
    np.testing.assert_array_equal(
        model.sample(X, random_state=1)[0], model.sample(X, random_state=1)[0]
    )


def test_one_label_of_two_equal_columns_is_that_label():
    """The marginal of every label is the network of this label alone."""
    X, y = data()
    model = fitted()
    for label in range(3):
        v = model.coefs_[1][:, label]
        coefs = [model.coefs_[0], np.column_stack([np.zeros(3), v])]
        intercepts = [model.intercepts_[0], np.array([0.0, model.intercepts_[1][label]])]
        found = fastem.e_step(X, y[:, label], coefs, intercepts).log_likelihood
        own = np.where(
            y[:, label], model.predict_proba(X)[:, label], 1.0 - model.predict_proba(X)[:, label]
        )
        np.testing.assert_allclose(found, np.log(own), rtol=1e-9)


# Input


def test_kinds_of_input_give_the_same_fit():
    X, y = data()
    dense = fitted()
    for labels in (
        sparse.csr_matrix(y), sparse.csr_array(y), sparse.csc_matrix(y), sparse.coo_array(y),
        y.astype(bool), y.astype(float), np.asfortranarray(y), y.tolist(), y.astype(np.uint8),
        pd.DataFrame(y, columns=["a", "b", "c"]),
    ):  # fmt: skip
        model = fit(classifier(), X, labels)
        assert_same_bits(model, dense)
        assert model.log_likelihood(X, labels) == dense.log_likelihood(X, y)
        np.testing.assert_array_equal(model.posterior(X, labels), dense.posterior(X, y))
    assert dense.score(X, sparse.csr_matrix(y)) == dense.score(X, y)
    assert_same_bits(fit(classifier(), X.tolist(), y), dense)


@pytest.mark.parametrize(
    "options", [{}, {"m_step": "bound"}, {"solver": "lbfgs"}, {"alpha": 0.0}], ids=str
)
@pytest.mark.parametrize("value", [0, 1])
def test_a_label_with_one_value(value, options):
    X, y = data()
    y = np.where(np.arange(3) == 1, value, y)
    model = fit(classifier(max_iter=100, **options), X, y)
    assert all(np.isfinite(a).all() for a in model.coefs_ + model.intercepts_)
    probability = model.predict_proba(X)
    assert np.isfinite(probability).all()
    np.testing.assert_allclose(probability[:, 1], value, atol=0.01)
    np.testing.assert_array_equal(model.predict(X)[:, 1], value)
    assert np.isfinite(model.log_likelihood(X, y))


@pytest.mark.parametrize("value", [0, 1])
def test_all_labels_with_one_value(value):
    X, y = data()
    for kind in (np.asarray, sparse.csr_matrix):
        labels = kind(np.full_like(y, value))
        model = fit(classifier(alpha=0.0), X, labels)
        np.testing.assert_array_equal(model.predict(X), value)
        assert np.isfinite(model.loss_curve_).all()


def test_rows_without_any_label():
    X, y = data()
    y = y * (np.arange(len(y)) % 3 > 0)[:, None]
    model = fit(classifier(), X, y)
    np.testing.assert_allclose(model.loss_curve_[-1], model.loss_)
    np.testing.assert_allclose(
        model.log_likelihood(X, y), truth(model, X, y)["log_likelihood"].sum(), rtol=1e-10
    )


def test_many_labels():
    X, y = data(d=40)
    model = fit(classifier(max_iter=5), X, y)
    np.testing.assert_allclose(
        model.log_likelihood(X, y), truth(model, X, y)["log_likelihood"].sum(), rtol=1e-10
    )
    assert model.predict_proba(X).shape == (150, 40)


def test_a_single_column_is_one_label_of_two_classes():
    X, y = data()
    with pytest.warns(UserWarning, match="column-vector y"):
        model = classifier().fit(X, y[:, :1])
    plain = classifier().fit(X, y[:, 0])
    assert model.family_ == fastem.Categorical()
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert model.predict_proba(X).shape == (len(X), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: 2 * y, "0 and 1 for every label, got 2"),
        (lambda y: y - 1, "0 and 1 for every label, got -1"),
        (lambda y: y + np.arange(3), "1d array"),
        (lambda y: 0.5 * y, "1d array|Unknown label type"),
        (lambda y: np.where(y > 0, np.nan, 0.0), "NaN"),
        (lambda y: np.where(y > 0, np.inf, 0.0), "infinity"),
        (lambda y: y.astype(str), "1d array|Unknown label type"),
        (lambda y: y[1:], "inconsistent"),
        (lambda y: y[:, :0], "."),
        (lambda y: y[None], "."),
        (lambda y: sparse.csr_matrix(2 * y), "0 and 1 for every label, got 2"),
    ],
    ids=["twos", "minus ones", "three values", "halves", "NaN", "infinity", "text", "short", "none",
         "cube", "sparse twos"],
)  # fmt: skip
def test_bad_labels(change, message):
    X, y = data()
    model = classifier()
    with pytest.raises(ValueError, match=message):
        model.fit(X, change(y))
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, :2], r"shape \(150, 3\), got \(150, 2\)"),
        (lambda y: y[:, 0], r"shape \(150, 3\), got \(150, 1\)"),
        (lambda y: y[1:], r"shape \(150, 3\), got \(149, 3\)"),
        (lambda y: y + 1, "0 and 1 for every label, got 2"),
        (lambda y: 0.5 * y, "0 and 1 for every label, got 0.5"),
        (lambda y: y[None], "one or two dimensions"),
        (lambda y: np.where(y > 0, np.nan, 0.0), "NaN"),
        (lambda y: y.astype(str), "numeric"),
    ],
)
@pytest.mark.parametrize("method", ["log_likelihood", "posterior", "aic"])
def test_bad_labels_for_a_fitted_model(method, change, message):
    X, y = data()
    with pytest.raises(ValueError, match=message):
        getattr(fitted(), method)(X, change(y))


# Weights, threads, resumption


def test_weights_are_repetitions():
    X, y = data()
    weights = np.where(np.arange(len(X)) % 3 == 0, 2.0, 1.0)
    twice = weights == 2.0
    one = fit(classifier(max_iter=10), X, y, weights)
    other = fit(classifier(max_iter=10), np.r_[X, X[twice]], np.r_[y, y[twice]])
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    zero = np.where(np.arange(len(X)) < 100, 1.0, 0.0)
    assert_same_bits(fit(classifier(), X, y, zero), fit(classifier(), X[:100], y[:100]))


@pytest.mark.parametrize("options", [{}, {"solver": "adam", "max_iter": 5}], ids=str)
def test_threads_do_not_change_a_bit(options, monkeypatch):
    monkeypatch.setattr("fastem.runtime.threads._SERIAL_SECONDS", 0.0)  # share everything
    X, y = data()
    one = fit(classifier(**options), X, y)
    for n_jobs in (2, 3):
        other = fit(classifier(n_jobs=n_jobs, **options), X, y)
        assert_same_bits(one, other)
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", [{}, {"solver": "adam"}], ids=str)
def test_resuming_equals_not_stopping(options):
    X, y = data()
    whole = classifier(max_iter=4, tol=0.0, **options).fit(X, y)
    resumed = classifier(max_iter=1, tol=0.0, warm_start=True, **options)
    for _ in range(4):
        resumed.fit(X, y)
    assert_same_bits(resumed, whole)


def test_warm_start_of_another_network():
    X, y = data()
    model = fit(classifier(warm_start=True), X, y)
    for labels in (y[:, 0], y[:, :2], np.c_[y, y]):
        with pytest.raises(ValueError, match="warm_start=False"):
            model.fit(X, labels)
        assert_same_bits(model, fitted())
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    classes = fit(classifier(warm_start=True), X, y[:, 0])
    with pytest.raises(ValueError, match="warm_start=False"):
        classes.fit(X, y)
    np.testing.assert_array_equal(classes.classes_, [0, 1])


def streaming(**options):
    rate = {"learning_rate_init": 0.05}  # that of partial_fit; constant in fit
    return classifier(solver="adam", batch_size=20, **rate, **options)


def test_a_stream():
    X, y = data()
    one = streaming().partial_fit(X, y, classes=[0, 1, 2])
    epoch = fit(streaming(max_iter=1), X, y)
    for got, expected in zip(
        one.coefs_ + one.intercepts_, epoch.coefs_ + epoch.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert one.loss_ == epoch.loss_curve_[1]
    pickled = pickle.loads(pickle.dumps(one))
    for model in (one, pickled):
        model.partial_fit(X[:30], sparse.csr_matrix(y[:30]))
        model.partial_fit(X[30:31], y[30:31])
    assert_same_bits(one, pickled)
    assert one.predict_proba(X).shape == y.shape


def test_bad_calls_of_a_stream():
    X, y = data()
    model = streaming()
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"column numbers of y, \[0, 1, 2\], got \[0, 1\]"):
        model.partial_fit(X, y, classes=[0, 1])
    assert not hasattr(model, "coefs_")
    model.partial_fit(X, y, classes=[0, 1, 2])
    before = pickle.dumps(vars(model))
    for labels, message in (
        (y[:, :2], "column numbers of y"),
        (y[:, 0], "outputs of the earlier fit"),
        (2 * y, "0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, labels)
        assert pickle.dumps(vars(model)) == before
    of_classes = streaming().partial_fit(X, y.sum(axis=1) // 2, classes=[0, 1])
    with pytest.raises(ValueError, match=r"column numbers of y|outputs of the earlier fit"):
        of_classes.partial_fit(X, y[:, :2])


# Files and scikit-learn


@pytest.mark.parametrize("options", [{}, {"prediction": "plugin"}, {"solver": "adam"}], ids=str)
def test_save_and_load(options, tmp_path):
    X, y = data()
    model = fit(classifier(max_iter=5, **options), pd.DataFrame(X, columns=list("abcd")), y)
    model.save(tmp_path / "model")
    loaded = FastEMClassifier.load(tmp_path / "model")
    assert_same_bits(loaded, model)
    assert loaded.family_ == fastem.Bernoulli()
    frame = pd.DataFrame(X, columns=list("abcd"))
    np.testing.assert_array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    assert loaded.log_likelihood(frame, y) == model.log_likelihood(frame, y)
    assert_same_bits(pickle.loads(pickle.dumps(model)), model)


CHECKS = [name for name in dir(estimator_checks) if name.startswith("check_classifiers_multilabel")]


@pytest.mark.parametrize("solver", ["em", "lbfgs", "adam"])
@pytest.mark.parametrize("check", ["check_classifier_multioutput", *CHECKS])
def test_scikit_learn_accepts_labels(check, solver):
    model = FastEMClassifier((3,), alpha=0.15, solver=solver, tol=1e-3, n_jobs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            getattr(estimator_checks, check)("FastEMClassifier", model)
        except estimator_checks.SkipTest as reason:
            assert "decision_function" in str(reason)  # noqa: PT017


@pytest.mark.filterwarnings("ignore:The fit predicts the same for every row")
def test_searches():
    X, y = data()
    search = GridSearchCV(classifier(tol=1e-4), {"alpha": [1.0, 1e6]}, cv=2)
    assert search.fit(X, y).best_params_ == {"alpha": 1.0}
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


@pytest.mark.parametrize("scale", [800.0, 1e5])
def test_extreme_weights(scale):
    X, _ = data()
    model = clone(fitted()).fit(*data())
    for where in (model.coefs_, model.intercepts_):
        for values in where:
            values *= scale
        probability = model.predict_proba(X)
        assert ((probability >= 0.0) & (probability <= 1.0)).all()
        assert not np.isnan(model.predict_log_proba(X)).any()
        assert np.isfinite(model.log_likelihood(X, data()[1]))
        assert np.isfinite(model.posterior(X, data()[1])).all()
