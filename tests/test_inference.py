"""Standard errors, intervals and summaries of fitted networks, against brute force."""

import itertools
import re
import warnings

import interval_coverage
import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from scipy.special import expit, logit, ndtri
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastem
from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier
from fastem.estimators import base_training
from fastem.inference import refits

N, P = 60, 2
_rng = np.random.default_rng(3)
X = _rng.normal(size=(N, P)) * [3.0, 0.5] + [1.0, -0.5]
NEW = _rng.normal(size=(5, P)) * [3.0, 0.5] + [1.0, -0.5]
WEIGHTS = _rng.integers(0, 4, size=N).astype(float)
ON = _rng.uniform(size=(N, 2)) < expit(X @ [[0.8, -0.5], [1.0, 3.0]])
Y = {
    "two": (_rng.uniform(size=N) < expit(3.0 * ON[:, 0] - 2.0 * ON[:, 1])).astype(int),
    "three": (ON[:, 0] + 1 * ON[:, 1] + (_rng.uniform(size=N) < 0.2)).clip(0, 2),
    "labels": (_rng.uniform(size=(N, 2)) < expit(4.0 * ON - 2.0)).astype(int),
    "number": 10.0 * ON[:, 0] - 5.0 * ON[:, 1] + _rng.normal(size=N),
    "numbers": ON @ [[3.0, 1.0], [1.0, -20.0]] + _rng.normal(size=(N, 2)) * [0.5, 5.0],
    "counts": _rng.poisson(np.exp(3.0 * ON[:, 0] - 2.0 * ON[:, 1] + 1.0)).astype(float),
}
EXACT = {"tol": 1e-12, "max_iter": 5000, "random_state": 0, "n_jobs": 1}


def fitted(kind, sizes=(2,), *, weights=None, **options):
    options = {"alpha": 0.05} | EXACT | options
    if kind in ("number", "numbers", "counts"):
        family = "poisson" if kind == "counts" else "gaussian"
        model = FastEMRegressor(sizes, family=family, variance_floor=0.01, **options)
    else:
        model = FastEMClassifier(sizes, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits without convergence or without effect of X
        return model.fit(X, Y[kind], sample_weight=weights)


class Truth:
    """The penalised likelihood and the predictions as functions of one vector of raw parameters."""

    def __init__(self, model, kind, weights=None):
        self.kind, self.y = kind, Y[kind]
        self.w = np.ones(N) if weights is None else weights
        arrays = [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]
        self.shapes = [a.shape for a in arrays]
        self.has_variance = kind.startswith("number")
        arrays += [model.variance_] if self.has_variance else []
        self.theta = np.concatenate([a.ravel() for a in arrays])
        scale = np.ones(P)
        if model.standardize:
            mean = np.average(X, axis=0, weights=self.w) if model.fit_intercept else 0.0
            scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=self.w))
        penalties = []
        for layer, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            own = np.ones(W.shape)
            if layer == 0:
                own *= scale[:, None] ** 2
            if layer == len(model.coefs_) - 1 and self.has_variance:
                y = self.y.reshape(N, -1)
                own /= np.average((y - np.average(y, axis=0, weights=self.w)) ** 2, axis=0,
                                  weights=self.w)  # fmt: skip
            penalties += [own.ravel(), np.zeros(b.size)]
        penalties += [np.zeros(model.variance_.size)] if self.has_variance else []
        self.penalty = model.alpha * np.concatenate(penalties)
        free = [np.ones(a.size, dtype=bool) for a in arrays]
        if not model.fit_intercept:
            for b in free[1 : 2 * len(model.coefs_) : 2]:
                b[:] = False
        self.free = np.concatenate(free)

    def lists(self, theta):
        parts, start = [], 0
        for shape in self.shapes:
            stop = start + int(np.prod(shape))
            parts.append(theta[start:stop].reshape(shape))
            start = stop
        return parts[0::2], parts[1::2], theta[start:]

    def log_likelihood(self, theta):
        return self.w @ self.rows(theta)

    def rows(self, theta):
        """log p(y_i | x_i) (n,)."""
        coefs, intercepts, variance = self.lists(theta)
        if self.kind in ("two", "three"):
            return reference.log_marginal(X, coefs, intercepts)[np.arange(N), self.y]
        family = {"labels": "bernoulli", "counts": "poisson"}.get(self.kind, "gaussian")
        y = self.y.reshape(N, -1)
        variance = variance if self.has_variance else None
        found = reference.family_e_step(family, X, y, coefs, intercepts, variance)
        return found["log_likelihood"]

    def prediction(self, theta, points):
        """Probabilities or means (n, outputs)."""
        coefs, intercepts, _ = self.lists(theta)
        if self.kind in ("two", "three"):
            return np.exp(reference.log_marginal(points, coefs, intercepts))
        Z = reference.configurations(len(coefs[1]))
        prior = np.exp(reference.log_first(points, Z, coefs[0], intercepts[0]))
        eta = Z @ coefs[1] + intercepts[1]
        family = {"labels": "bernoulli", "counts": "poisson"}.get(self.kind, "gaussian")
        return prior @ reference.mean_of(family, eta)

    def link(self, theta, points):
        found = self.prediction(theta, points)
        if self.kind.startswith("number"):
            return found
        return np.log(found) if self.kind == "counts" else logit(found)

    def effects(self, theta):
        """Average slopes (p, outputs)."""
        share, found = self.w / self.w.sum(), []
        for j in range(P):
            step = 1e-4 * np.eye(P)[j]
            ends = [self.prediction(theta, X + t * step) for t in (1.0, -1.0)]
            found.append(share @ (ends[0] - ends[1]) / 2e-4)
        return np.array(found)

    def jacobian(self, function):
        columns = []
        for j in range(len(self.theta)):
            h = 1e-4 * max(abs(self.theta[j]), 0.1)
            step = h * np.eye(len(self.theta))[j]
            columns.append((function(self.theta + step) - function(self.theta - step)) / (2.0 * h))
        return np.stack(columns, axis=-1)

    def information(self):
        size = len(self.theta)
        h = 2e-4 * np.maximum(np.abs(self.theta), 0.1)
        H = np.empty((size, size))
        for i, j in itertools.product(range(size), repeat=2):
            a, b = h[i] * np.eye(size)[i], h[j] * np.eye(size)[j]
            signs = itertools.product((1.0, -1.0), repeat=2)
            H[i, j] = sum(
                s * t * self.log_likelihood(self.theta + s * a + t * b) for s, t in signs
            ) / (-4.0 * h[i] * h[j])
        return H

    def covariance(self, J):
        """Pseudo-inverse of an information with the penalty."""
        H = (J + np.diag(self.penalty))[np.ix_(self.free, self.free)]
        scale = 1.0 / np.sqrt(np.diag(H))  # so that units of features do not matter
        values, vectors = np.linalg.eigh(H * scale[:, None] * scale)
        kept = values > 1e-5 * values.max()
        root = scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
        covariance = np.zeros_like(J)
        covariance[np.ix_(self.free, self.free)] = root @ root.T
        return covariance


CASES = {
    "two classes": ("two", {}),
    "weights": ("two", {"weights": WEIGHTS}),
    "raw features": ("two", {"standardize": False}),
    "no intercepts": ("two", {"fit_intercept": False}),
    "three classes": ("three", {"alpha": 0.2}),
    "two layers": ("two", {"sizes": (2, 1)}),
    "labels": ("labels", {}),
    "one number": ("number", {"weights": WEIGHTS}),
    "two numbers": ("numbers", {"alpha": 0.5}),
    "counts": ("counts", {"alpha": 0.1}),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_brute_force(name):
    kind, options = CASES[name]
    weights = options.get("weights")
    model = fitted(kind, **options)
    truth = Truth(model, kind, weights)
    covariance = truth.covariance(truth.information())
    scores = truth.jacobian(truth.rows)
    squared = (scores.T * truth.w) @ scores
    effective = np.trace(squared @ truth.covariance(squared))
    inference = fastem.Inference(model, X, Y[kind], sample_weight=weights)
    assert inference.n_unidentified == 0
    assert inference.decrement < 1e-6
    assert inference.effective_parameters == pytest.approx(effective, rel=1e-3)

    slopes = truth.jacobian(lambda theta: truth.link(theta, NEW))
    errors = np.sqrt(np.einsum("...i,ij,...j", slopes, covariance, slopes))
    link = truth.link(truth.theta, NEW)
    ends = [link + t * ndtri(0.95) * errors for t in (-1.0, 1.0)]
    if kind == "counts":
        ends = [np.exp(end) for end in ends]
    elif not kind.startswith("number"):
        ends = [expit(end) for end in ends]
    shape = model.predict(NEW).shape if kind in ("number", "numbers", "counts") else link.shape
    found = inference.standard_error(NEW, scale="link")
    np.testing.assert_allclose(found, errors.reshape(shape), rtol=2e-3)
    slopes = truth.jacobian(lambda theta: truth.prediction(theta, NEW))
    errors = np.sqrt(np.einsum("...i,ij,...j", slopes, covariance, slopes))
    np.testing.assert_allclose(inference.standard_error(NEW), errors.reshape(shape), rtol=2e-3)
    found = inference.interval(NEW, coverage=0.9)
    for end, wanted in enumerate(ends):
        np.testing.assert_allclose(found[..., end], wanted.reshape(shape), rtol=2e-3, atol=1e-5)

    summary = inference.summary()
    slopes = truth.jacobian(truth.effects)
    errors = np.sqrt(np.einsum("...i,ij,...j", slopes, covariance, slopes))
    np.testing.assert_allclose(summary.effects, truth.effects(truth.theta), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(summary.effect_errors, errors, rtol=5e-3, atol=1e-6)
    if truth.has_variance:
        n = len(model.variance_)
        wanted = np.sqrt(np.diag(covariance)[-n:])
        np.testing.assert_allclose(summary.noise_variance, model.variance_)
        np.testing.assert_allclose(summary.noise_variance_error, wanted, rtol=2e-3)


class Rates(fastem.Poisson):
    """A family of a user: its mean is not known to be positive."""


def test_families_of_users_have_intervals_of_the_mean():
    y = Y["counts"]
    models = [
        FastEMRegressor((2,), family=family, **EXACT, alpha=0.1).fit(X, y)
        for family in (fastem.Poisson(), Rates())
    ]
    poisson, own = (fastem.Inference(model, X, y) for model in models)
    errors = poisson.standard_error(NEW)
    np.testing.assert_allclose(own.standard_error(NEW), errors, rtol=1e-6)
    np.testing.assert_allclose(own.standard_error(NEW, scale="link"), errors, rtol=1e-6)
    middle = own.interval(NEW).mean(axis=1)
    np.testing.assert_allclose(middle, models[1].predict(NEW), rtol=1e-6)


def test_one_label_of_a_regressor():
    y = Y["labels"][:, 0].astype(float)
    model = FastEMRegressor((2,), family=fastem.Bernoulli(), alpha=0.05, **EXACT).fit(X, y)
    interval = fastem.Inference(model, X, y).interval(NEW)
    assert interval.shape == (len(NEW), 2)
    assert interval.min() > 0.0
    assert interval.max() < 1.0
    assert fastem.bootstrap(model, X, y, n_resamples=2).interval(NEW).shape == (len(NEW), 2)


@pytest.mark.parametrize("kind", ["two", "number"])
def test_sparse_rows_give_the_results_of_dense_rows(kind):
    rows = np.where(np.abs(X) < 0.7, 0.0, X)
    estimator = FastEMRegressor if kind == "number" else FastEMClassifier
    dense = estimator((2,), alpha=0.05, **EXACT).fit(rows, Y[kind])
    own = estimator((2,), alpha=0.05, **EXACT).fit(sparse.csr_array(rows), Y[kind])
    new = sparse.coo_array(NEW)
    found = fastem.Inference(own, sparse.csc_array(rows), Y[kind])
    wanted = fastem.Inference(dense, rows, Y[kind])
    np.testing.assert_allclose(found.interval(new), wanted.interval(NEW), rtol=1e-4)
    effects = found.summary().effects, wanted.summary().effects
    np.testing.assert_allclose(*effects, rtol=1e-4, atol=1e-8)
    for method in ("nonparametric", "parametric"):
        options = {"n_resamples": 3, "method": method, "random_state": 0}
        result = fastem.bootstrap(own, sparse.coo_array(rows), Y[kind], **options)
        same = fastem.bootstrap(dense, rows, Y[kind], **options)
        np.testing.assert_allclose(result.interval(new), same.interval(NEW), rtol=1e-3)
    fastem.likelihood_ratio_test(own, sparse.csr_array(rows), Y[kind], n_resamples=2)


def test_units_of_features_and_outputs_do_not_matter():
    y = Y["number"]
    options = {"alpha": 0.5, "variance_floor": 0.01} | EXACT
    first = FastEMRegressor((2,), **options).fit(X, y)
    other = FastEMRegressor((2,), **options).fit(X * [1e5, 1e-4] + [0.0, 7.0], 1e3 * y - 5e4)
    errors = fastem.Inference(first, X, y).standard_error(NEW)
    moved = X * [1e5, 1e-4] + [0.0, 7.0], 1e3 * y - 5e4
    found = fastem.Inference(other, *moved).standard_error(NEW * [1e5, 1e-4] + [0.0, 7.0])
    np.testing.assert_allclose(found, 1e3 * errors, rtol=1e-5)


def test_a_rate_of_many_classes_and_certain_rows_stays_within_bounds():
    model = fitted("three", alpha=1e-3)
    far = np.array([[1e3, 0.0], [-1e3, 40.0], [0.0, -1e4]])
    inference = fastem.Inference(model, X, Y["three"])
    interval = inference.interval(far, coverage=0.999)
    assert np.isfinite(interval).all()
    assert interval.min() >= 0.0
    assert interval.max() <= 1.0
    assert (interval[..., 0] <= interval[..., 1]).all()
    assert np.isfinite(inference.standard_error(far)).all()


def test_directions_that_rows_do_not_determine():
    rows, y = planted("one", n=400)
    with_constant = np.column_stack([rows, np.ones(len(rows))])
    model = FastEMClassifier((1,), alpha=0.0, **EXACT).fit(with_constant, y)
    inference = fastem.Inference(model, with_constant, y)
    assert inference.n_unidentified == 1  # the weight of the constant
    assert np.isfinite(inference.standard_error(with_constant)).all()
    elsewhere = np.column_stack([rows[:3], np.zeros(3)])
    assert (inference.standard_error(elsewhere) == np.inf).all()
    np.testing.assert_array_equal(inference.interval(elsewhere), [[[0.0, 1.0]] * 2] * 3)
    summary = inference.summary()
    assert (summary.effect_errors[2] == np.inf).all()
    assert (summary.p_values[2] == 1.0).all()
    assert np.isfinite(summary.p_values).all()
    assert "inf" in str(summary)


def test_a_unit_without_weights_has_no_intercept():
    model = fitted("counts", alpha=1e6)
    inference = fastem.Inference(model, X, Y["counts"])
    assert np.abs(model.coefs_[0]).max() < 0.1
    assert inference.n_unidentified == 2
    assert 0.9 < inference.effective_parameters < 1.2  # the intercept of the rate
    # as without features: the logarithm of a Poisson mean has the variance 1 / sum(y)
    wanted = 1.0 / np.sqrt(Y["counts"].sum())
    np.testing.assert_allclose(inference.standard_error(NEW, scale="link"), wanted, rtol=0.05)


def test_a_variance_at_its_lower_bound_is_not_estimated():
    with pytest.warns(UserWarning, match="lower bound"):
        model = FastEMRegressor((2,), variance_floor=0.5, alpha=0.5, **EXACT).fit(X, Y["number"])
    summary = fastem.Inference(model, X, Y["number"]).summary()
    np.testing.assert_array_equal(summary.noise_variance_error, 0.0)
    assert "at its lower bound" in str(summary)


def test_class_weights_are_weights_of_rows():
    y = Y["two"]
    model = fitted("two", class_weight={0: 2.0, 1: 1.0})
    same = fitted("two", weights=np.where(y == 0, 2.0, 1.0))
    found = fastem.Inference(model, X, y).standard_error(NEW)
    wanted = fastem.Inference(same, X, y, np.where(y == 0, 2.0, 1.0)).standard_error(NEW)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_quadrature_and_enumeration_agree():
    errors = [
        fastem.Inference(fitted("two", e_step=name), X, Y["two"]).standard_error(NEW)
        for name in ("enumeration", "quadrature")
    ]
    np.testing.assert_allclose(*errors, rtol=1e-4)


def test_other_rows_and_unfinished_fits_raise_a_warning():
    model = fitted("two")
    with pytest.warns(UserWarning, match="not a maximum of the penalised likelihood"):
        fastem.Inference(model, X, 1 - Y["two"])
    early = fitted("two", sizes=(4,), max_iter=1, alpha=0.01)
    with pytest.warns(UserWarning, match="not a maximum"):
        inference = fastem.Inference(early, X, Y["two"])
    assert np.isfinite(inference.standard_error(NEW)).all()
    assert "did not converge" in str(inference.summary())


def test_the_summary_prints_what_its_attributes_hold():
    names = ["age", "dose"]
    y = np.array(["no", "yes"])[Y["two"]]
    data = pd.DataFrame(X, columns=names), y
    model = FastEMClassifier((2,), alpha=0.05, **EXACT).fit(*data)
    summary = fastem.Inference(model, *data).summary(coverage=0.8)
    assert summary.n_samples == N
    assert summary.n_parameters == 2 * 3 + 3
    assert summary.log_likelihood == model.log_likelihood(*data)
    assert (summary.aic, summary.bic) == (model.aic(*data), model.bic(*data))
    assert (summary.alpha, summary.n_starts, summary.n_iter) == (0.05, 1, model.n_iter_)
    assert 2.0 < summary.effective_parameters < 9.0
    assert (summary.feature_names, summary.output_names) == (names, ["no", "yes"])
    np.testing.assert_allclose(summary.effects.sum(axis=1), 0.0, atol=1e-12)
    half = ndtri(0.9) * summary.effect_errors
    np.testing.assert_allclose(summary.effect_intervals[..., 1], summary.effects + half)
    text = str(summary)
    for word in ("age", "dose", "class yes", "AIC", "[0.1", "likelihood_ratio_test"):
        assert word in text
    assert f"{summary.effects[1, 1]:.4g}" in text
    assert max(map(len, text.splitlines())) <= 78


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e_step": fastem.Sampling(200, random_state=0), "max_iter": 5}, "exact E-steps"),
        ({"prediction": "plugin"}, "prediction='plugin'"),
    ],
)
def test_models_without_exact_derivatives_are_refused(change, message):
    model = fitted("two", **change)
    with pytest.raises(ValueError, match=message):
        fastem.Inference(model, X, Y["two"])


@pytest.mark.parametrize(
    "function", [fastem.Inference, fastem.bootstrap, fastem.likelihood_ratio_test]
)
def test_bad_models_and_rows_are_refused(function):
    with pytest.raises(TypeError, match="FastMLPClassifier"):
        function(FastMLPClassifier(), X, Y["two"])
    with pytest.raises(NotFittedError):
        function(FastEMClassifier(), X, Y["two"])
    model = fitted("two")
    with pytest.raises(ValueError, match="features"):
        function(model, X[:, :1], Y["two"])
    with pytest.raises(ValueError, match="seen in fit"):
        function(model, X, Y["two"] + 1)
    with pytest.raises(ValueError, match="egative"):
        function(model, X, Y["two"], sample_weight=-np.ones(N))


def test_bad_arguments_are_refused():
    model = fitted("two")
    inference = fastem.Inference(model, X, Y["two"])
    with pytest.raises(ValueError, match="scale must be 'response' or 'link', got 'logit'"):
        inference.standard_error(NEW, scale="logit")
    for bad in (0.0, 1.0, "0.9", -1):
        with pytest.raises(ValueError, match="coverage"):
            inference.interval(NEW, coverage=bad)
    for bad in (1, 2.5, True):
        with pytest.raises(ValueError, match="n_resamples must be an integer of at least 2"):
            fastem.bootstrap(model, X, Y["two"], n_resamples=bad)
    with pytest.raises(ValueError, match="method must be one of"):
        fastem.bootstrap(model, X, Y["two"], method="bayesian")
    with pytest.raises(ValueError, match="n_jobs must be None or an integer"):
        fastem.bootstrap(model, X, Y["two"], n_jobs=0)
    with pytest.raises(ValueError, match="sums to 1"):
        fastem.bootstrap(model, X, Y["two"], sample_weight=np.full(N, 1.0 / N))
    weighted = fitted("two", class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        fastem.likelihood_ratio_test(weighted, X, Y["two"])
    with pytest.raises(ValueError, match=r"whole numbers; got 0\.5"):
        fastem.bootstrap(model, X, Y["two"], sample_weight=np.full(N, 0.5), method="parametric")


def test_a_penalty_that_was_chosen_is_kept(recorded):
    y = Y["two"]
    model = FastEMClassifier((2,), alpha="auto", random_state=0).fit(X, y)
    same = FastEMClassifier((2,), alpha=model.alpha_, random_state=0).fit(X, y)
    vars(same).update(coefs_=model.coefs_, intercepts_=model.intercepts_)
    found = [fastem.Inference(one, X, y) for one in (model, same)]
    assert found[0].summary().alpha == model.alpha_
    errors = [inference.standard_error(NEW) for inference in found]
    np.testing.assert_allclose(*errors)
    fastem.bootstrap(model, X, y, n_resamples=2)
    assert [prepared.alpha for prepared, *_ in recorded] == [model.alpha_] * 2


def test_models_that_stop_early_are_not_refitted():
    model = fitted("two", early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping=False"):
        fastem.bootstrap(model, X, Y["two"])


# ---- the bootstrap


@pytest.fixture
def recorded(monkeypatch):
    """Record the arguments of all refits."""
    calls, fit_copy = [], refits.fit_copy

    def record(prepared, *data):
        calls.append((prepared, *data))
        return fit_copy(prepared, *data)

    monkeypatch.setattr("fastem.inference.resamples.fit_copy", record)
    return calls


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
def test_a_resample_is_a_vector_of_counts(recorded, weights):
    y = Y["two"]
    model = fitted("two", weights=weights)
    result = fastem.bootstrap(model, X, y, n_resamples=40, sample_weight=weights, random_state=0)
    counts = np.array([weights for *_, weights in recorded])
    total = N if weights is None else weights.sum()
    np.testing.assert_array_equal(counts.sum(axis=1), total)
    np.testing.assert_array_equal(counts, np.rint(counts))
    expected = np.ones(N) if weights is None else weights
    assert (counts[:, expected == 0.0] == 0.0).all()
    assert np.abs(counts.mean(axis=0) - expected).max() < 5.0 * np.sqrt(expected.max() / 40)
    # a refit is the maximum for its counts: the same as that of repeated rows
    repeated = np.repeat(np.arange(N), counts[0].astype(int))
    own = fitted("two", weights=weights, warm_start=True)
    own.fit(X[repeated], y[repeated])
    found = result.models_[0].predict_proba(NEW)
    np.testing.assert_allclose(found, own.predict_proba(NEW), atol=1e-6)
    assert result.models_[0].coefs_[0] == pytest.approx(result.coefs_[0][0])


@pytest.mark.parametrize("kind", ["two", "labels", "numbers", "counts"])
@pytest.mark.parametrize("method", ["nonparametric", "parametric"])
def test_intervals_are_normal_on_the_link_scale(kind, method):
    model = fitted(kind, tol=1e-6)
    before = {name: np.copy(value) for name, value in vars(model).items() if name == "loss_"}
    data = X, Y[kind]
    result = fastem.bootstrap(model, *data, n_resamples=12, method=method, random_state=1)
    assert model.loss_ == before["loss_"]
    name = "predict_proba" if kind in ("two", "labels") else "predict"
    replicates = np.stack([getattr(one, name)(NEW) for one in result.models_])
    np.testing.assert_array_equal(result.replicates(NEW), replicates)
    np.testing.assert_allclose(result.standard_error(NEW), replicates.std(axis=0, ddof=1))
    link, back = {"counts": (np.log, np.exp), "numbers": (np.array, np.array)}.get(
        kind, (logit, expit)
    )
    margin = ndtri(0.9) * link(replicates).std(axis=0, ddof=1)
    middle = link(getattr(model, name)(NEW))
    ends = [back(middle - margin), back(middle + margin)]
    found = result.interval(NEW.tolist(), coverage=0.8)
    np.testing.assert_allclose(found, np.stack(ends, axis=-1))
    assert result.coefs_[0].shape == (12, P, 2)
    assert (result.variance_ is None) == (kind != "numbers")
    assert "12 refits" in repr(result)


def test_blocks_of_rows_do_not_change_an_interval(monkeypatch):
    model = fitted("two", tol=1e-6)
    result = fastem.bootstrap(model, X, Y["two"], n_resamples=5, random_state=1)
    whole = result.interval(X)
    monkeypatch.setattr("fastem.inference.resamples._VALUES_AT_ONCE", 30)
    np.testing.assert_array_equal(result.interval(X), whole)
    errors = fastem.Inference(model, X, Y["two"]).standard_error(X)
    monkeypatch.setattr("fastem.inference.predictions._ENTRIES_AT_ONCE", 100)
    found = fastem.Inference(model, X, Y["two"]).standard_error(X)
    np.testing.assert_allclose(found, errors, rtol=1e-10)


def test_results_do_not_depend_on_the_processes():
    model = fitted("two", tol=1e-6)
    frame = pd.DataFrame(X, columns=["a", "b"])
    named = FastEMClassifier((2,), alpha=0.15, random_state=0).fit(frame, Y["two"])
    for one, data in ((model, X), (named, frame)):
        results = [
            fastem.bootstrap(one, data, Y["two"], n_resamples=6, random_state=3, n_jobs=n)
            for n in (1, 2)
        ]
        for a, b in zip(results[0].coefs_, results[1].coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
    tests = [
        fastem.likelihood_ratio_test(model, X, Y["two"], n_resamples=3, random_state=3, n_jobs=n)
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(tests[0].null_statistics, tests[1].null_statistics)
    assert tests[0].statistic == tests[1].statistic


@pytest.mark.parametrize("method", ["nonparametric", "parametric"])
def test_every_resample_contains_every_class(recorded, method):
    y = np.zeros(N, dtype=int)
    y[:2] = 1
    model = FastEMClassifier((1,), alpha=1.0, random_state=0).fit(X, y)
    fastem.bootstrap(model, X, y, n_resamples=40, method=method, random_state=0)
    for _, _, labels, weights in recorded:
        weights = np.ones(N) if weights is None else weights
        assert set(np.unique(labels[weights > 0.0])) == {0, 1}


def test_resamples_without_a_class_end_in_an_error(monkeypatch):
    monkeypatch.setattr(refits, "_MOST_REDRAWS", 0)
    with pytest.raises(ValueError, match="Merge rare classes"):
        fastem.bootstrap(fitted("two"), X, Y["two"], n_resamples=2)


def test_ctrl_c_keeps_the_finished_resamples(monkeypatch, capsys):
    model = fitted("two", tol=1e-6)
    calls, fit_copy = [], refits.fit_copy

    def interrupted(prepared, *data):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit_copy(prepared, *data)

    monkeypatch.setattr("fastem.inference.resamples.fit_copy", interrupted)
    with pytest.warns(ConvergenceWarning, match="after 3 of 9 resamples"):
        result = fastem.bootstrap(model, X, Y["two"], n_resamples=9, random_state=0, verbose=1)
    assert len(result.models_) == 3
    assert "bootstrap 3/9" in capsys.readouterr().out
    calls[:] = [1] * 3
    with pytest.raises(KeyboardInterrupt):
        fastem.bootstrap(model, X, Y["two"], n_resamples=9, random_state=0)


def test_a_refit_that_is_cut_short_by_ctrl_c_is_not_used(monkeypatch):
    model, run_em = fitted("two", tol=1e-6), base_training.run_em

    def interrupted(network, theta, monitor, *rest):
        theta = run_em(network, theta, monitor, *rest)
        monitor.interrupted, monitor.converged = True, False
        return theta

    monkeypatch.setattr(base_training, "run_em", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastem.bootstrap(model, X, Y["two"], n_resamples=3, random_state=0)


def test_refits_that_diverge_or_do_not_converge_are_counted(monkeypatch):
    model = fitted("two", tol=1e-6).set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"5 did not converge and 0 diverged"):
        result = fastem.bootstrap(model, X, Y["two"], n_resamples=5, random_state=0)
    assert not result.converged_.any()
    found, fit_copy = iter([True, True, False, False]), refits.fit_copy

    def diverges(prepared, *data):
        return fit_copy(prepared, *data) if next(found) else None

    monkeypatch.setattr("fastem.inference.resamples.fit_copy", diverges)
    model.set_params(max_iter=500)
    with pytest.warns(ConvergenceWarning, match=r"0 did not converge and 2 diverged"):
        result = fastem.bootstrap(model, X, Y["two"], n_resamples=4, random_state=0)
    assert len(result.models_) == 2
    monkeypatch.setattr("fastem.inference.resamples.fit_copy", lambda *_: None)
    with pytest.raises(fastem.DivergenceError, match="2 of 2 refits"):
        fastem.bootstrap(model, X, Y["two"], n_resamples=2, random_state=0)


def test_refits_of_the_parametric_bootstrap_have_simulated_outputs(recorded):
    model = fitted("numbers", weights=WEIGHTS)
    options = {"sample_weight": WEIGHTS, "method": "parametric", "random_state": 0}
    fastem.bootstrap(model, X, Y["numbers"], n_resamples=30, **options)
    repeated = np.repeat(X, WEIGHTS.astype(int), axis=0)
    mean, std = model.predict(repeated, return_std=True)
    scores = []
    for _, rows, y, weights in recorded:
        np.testing.assert_array_equal(rows, repeated)
        assert weights is None
        scores.append((y - mean) / std)
    assert np.abs(np.mean(scores, axis=(0, 1))).max() < 0.1
    np.testing.assert_allclose(np.std(scores, axis=(0, 1)), 1.0, atol=0.1)


# ---- the likelihood-ratio test


def planted(kind, n=200, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 2))
    if kind == "xor":
        y = (rows[:, 0] * rows[:, 1] > 0.0) ^ (rng.uniform(size=n) < 0.1)
        return rows, y.astype(int)
    on = rng.uniform(size=n) < expit(3.0 * rows[:, 0] - rows[:, 1])
    if kind == "number":
        return rows, 3.0 * on + rng.normal(size=n)
    return rows, (rng.uniform(size=n) < np.where(on, 0.9, 0.2)).astype(int)


@pytest.mark.parametrize(("kind", "is_enough"), [("one", True), ("xor", False), ("number", True)])
def test_one_unit_is_enough_or_not(kind, is_enough):
    rows, y = planted(kind)
    estimator = FastEMRegressor if kind == "number" else FastEMClassifier
    model = estimator((1,), alpha=0.15, random_state=0).fit(rows, y)
    n = 9 if kind == "number" else 19
    result = fastem.likelihood_ratio_test(model, rows, y, n_resamples=n, random_state=0)
    statistics = result.null_statistics
    assert len(statistics) == n
    assert statistics.min() >= 0.0
    assert result.p_value == (1 + (statistics >= result.statistic).sum()) / (n + 1)
    assert (result.p_value > 0.1) if is_enough else (result.p_value == 0.05)
    assert result.null_model.loss_ <= model.loss_ + 1e-12
    gain = 2 * len(y) * (result.null_model.loss_ - result.alternative_model.loss_)
    assert result.statistic == pytest.approx(gain)
    fits = result.null_model, result.alternative_model
    assert [len(fit.intercepts_[0]) for fit in fits] == [1, 2]
    for fit in fits:
        assert fit.loss_curve_[-1] == fit.loss_
        assert fit.predict(rows).shape == (len(rows),)
    # the statistic is that of the penalised likelihood
    for fit in fits:
        own = FastEMClassifier if kind != "number" else FastEMRegressor
        again = own(
            (len(fit.intercepts_[0]),), alpha=0.15, random_state=0, warm_start=True,
            **({"variance_floor": fit.variance_floor_} if kind == "number" else {}),
        )  # fmt: skip
        vars(again).update({k: v for k, v in vars(fit).items() if k.endswith("_")})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a variance at its bound
            assert again.fit(rows, y).loss_ == pytest.approx(fit.loss_, abs=1e-4)
    assert re.search(r"1 against 2 hidden units\nstatistic", str(result))


def test_weights_of_a_test_are_repeated_rows():
    model = fitted("two", (1,), weights=WEIGHTS)
    kept = np.repeat(np.arange(N), WEIGHTS.astype(int))
    found = fastem.likelihood_ratio_test(
        model, X, Y["two"], n_resamples=2, sample_weight=WEIGHTS, random_state=0
    )
    wanted = fastem.likelihood_ratio_test(
        model, X[kept], Y["two"][kept], n_resamples=2, random_state=0
    )
    assert found.statistic == pytest.approx(wanted.statistic, abs=1e-3)


def test_networks_without_a_test_are_refused():
    deep = fitted("two", (2, 1))
    with pytest.raises(ValueError, match="one hidden layer"):
        fastem.likelihood_ratio_test(deep, X, Y["two"])
    noisy = fitted("two", e_step=fastem.Sampling(200, random_state=0), max_iter=5)
    with pytest.raises(ValueError, match="exact E-steps"):
        fastem.likelihood_ratio_test(noisy, X, Y["two"])
    with pytest.raises(ValueError, match="n_starts must be an integer of at least 0"):
        fastem.likelihood_ratio_test(fitted("two"), X, Y["two"], n_starts=-1)


# ---- the bench of coverage


def test_intervals_of_one_repetition_of_the_bench():
    small = interval_coverage.Problem(120, 2, 1, 2)
    found = interval_coverage.measure(small, alpha=0.5, seed=0, n_resamples=30, n_jobs=1)
    assert len(found) == 11
    for name, (coverage, width) in found.items():
        assert coverage > 0.6, name
        assert 0.0 < width < 0.6, name


def test_intervals_of_the_bench_agree_for_normal_refits():
    normal = np.random.default_rng(0).normal(size=(20_000, 1, 1))
    normal = (normal - normal.mean()) / normal.std()
    found = interval_coverage.intervals_of_refits(normal, np.zeros((1, 1)), False)
    for name, ends in found.items():
        np.testing.assert_allclose(ends.ravel(), [-1.96, 1.96], atol=0.06, err_msg=name)
    shifted = interval_coverage.intervals_of_refits(normal + 1.0, np.zeros((1, 1)), False)
    ends = {name: values.ravel() for name, values in shifted.items()}
    np.testing.assert_allclose(ends["percentile"], [-0.96, 2.96], atol=0.06)
    np.testing.assert_allclose(ends["basic"], [-2.96, 0.96], atol=0.06)
    np.testing.assert_allclose(ends["normal, shifted"], [-2.96, 0.96], atol=0.06)
