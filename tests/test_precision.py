"""Sums in single precision: their error, rows near underflow, and fits that begin with them."""

import itertools
import warnings

import numpy as np
import pytest
import reference
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engines import EnumerationPlan, Shape
from fastem.estimators import base_training
from fastem.rows import sort_rows
from fastem.solvers import Monitor, QuasiNewtonStep, run_em
from fastem.solvers.em import CoarsePhase
from fastem.solvers.network import Network

MIXED = fastem.Enumeration(precision="mixed")


def _relative_error(n_hidden):
    """What the docstring of Enumeration states."""
    return 1e-7 * (n_hidden + 8)


def _problem(n=60, p=3, m=5, g=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.integers(0, g, size=n)
    return X, y, *reference.draw_network(rng, p, m, g, scale=scale)


def _assert_close(got, X, y, coefs, intercepts, weights, m):
    truth = reference.e_step(X, y, coefs, intercepts, weights)
    error = _relative_error(m)
    np.testing.assert_allclose(got.log_likelihood, truth["log_likelihood"], rtol=0, atol=error)
    posterior = truth["hidden_posterior"]
    np.testing.assert_allclose(got.hidden_posterior, posterior, rtol=2 * error, atol=1e-30)
    # errors of the posterior enter the gradients with the weights of the rows
    sizes = [weights @ np.abs(X), weights.sum(), weights.sum(), weights.sum()]
    for size, a, b in zip(
        sizes,
        [got.coef_gradients[0], got.intercept_gradients[0], got.coef_gradients[1],
         got.intercept_gradients[1]],
        [truth["coef_gradients"][0], truth["intercept_gradients"][0],
         truth["coef_gradients"][1], truth["intercept_gradients"][1]],
        strict=True,
    ):  # fmt: skip
        bound = (
            3 * error * np.broadcast_to(np.reshape(size, (-1, 1) if a.ndim == 2 else -1), a.shape)
        )
        assert (np.abs(a - b) <= bound + 1e-300).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("n", "m", "g"), [(60, 1, 2), (60, 5, 3), (700, 9, 3), (90, 12, 5)])
def test_the_stated_error(n, m, g, scale):
    X, y, coefs, intercepts = _problem(n, 3, m, g, scale)
    weights = np.random.default_rng(1).uniform(0.0, 3.0, size=n)
    oracle = fastem.EStep(
        X, y, hidden_layer_sizes=m, n_classes=g, method=MIXED, sample_weight=weights
    )
    _assert_close(oracle(coefs, intercepts), X, y, coefs, intercepts, weights, m)


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e30, 1e99])
def test_weights_of_any_size(unit):
    X, y, coefs, intercepts = _problem()
    weights = unit * np.random.default_rng(1).uniform(0.0, 3.0, size=len(X))
    got = fastem.e_step(X, y, coefs, intercepts, method=MIXED, sample_weight=weights)
    _assert_close(got, X, y, coefs, intercepts, weights, 5)


def _with_unlikely_rows(share):
    """Rows of which a share has likelihoods far below those that single precision can sum."""
    X, y, coefs, intercepts = _problem(400, 3, 6, 3)
    coefs[1] *= 150.0
    few = np.arange(0, len(X), round(1 / share))
    X[few] *= 500.0
    log_p = reference.log_marginal(X, coefs, intercepts)
    y[:] = log_p.argmax(axis=1)
    y[few] = log_p[few].argmin(axis=1)
    return X, y, coefs, intercepts


@pytest.mark.parametrize("share", [1 / 80, 1 / 4])
def test_unlikely_rows(share, monkeypatch):
    X, y, coefs, intercepts = _with_unlikely_rows(share)
    used = []
    fill_rows = EnumerationPlan._fill_rows

    def record(plan, hidden, parameters, is_single):
        used.append(is_single)
        fill_rows(plan, hidden, parameters, is_single)

    monkeypatch.setattr(EnumerationPlan, "_fill_rows", record)
    got = fastem.e_step(X, y, coefs, intercepts, method=MIXED)
    assert (got.log_likelihood < np.log(1e-25)).sum() >= 3
    # many of them: the E-step is done in double precision
    assert used == ([True] if share < 1 / 32 else [True, False])
    _assert_close(got, X, y, coefs, intercepts, np.ones(len(X)), 6)


@pytest.mark.parametrize("scale", [300.0, 1e4])
def test_certain_networks(scale):
    X, y, coefs, intercepts = _problem(scale=scale)
    got = fastem.e_step(X, y, coefs, intercepts, method=MIXED)
    truth = reference.e_step(X, y, coefs, intercepts)
    np.testing.assert_allclose(
        got.log_likelihood, truth["log_likelihood"], rtol=1e-10, atol=_relative_error(5)
    )
    np.testing.assert_allclose(got.hidden_posterior, truth["hidden_posterior"], atol=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli", "deep"])
def test_other_networks(family):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 2))
    sizes, d = ((4, 3), 3) if family == "deep" else ((5,), 2)
    layers = [2, *sizes, d]
    coefs = [rng.normal(size=shape) for shape in itertools.pairwise(layers)]
    intercepts = [rng.normal(size=m) for m in layers[1:]]
    options = {}
    if family == "deep":
        y = rng.integers(0, 3, size=80)
    else:
        y = {"gaussian": rng.normal(size=(80, 2)), "poisson": rng.poisson(2.0, size=(80, 2)),
             "bernoulli": rng.integers(0, 2, size=(80, 2))}[family]  # fmt: skip
        options = {"family": family, "variance": [0.5, 2.0] if family == "gaussian" else None}
    exact, mixed = (
        fastem.e_step(X, y, coefs, intercepts, method=method, **options)
        for method in ("enumeration", MIXED)
    )
    np.testing.assert_allclose(
        mixed.log_likelihood, exact.log_likelihood, rtol=0, atol=_relative_error(5)
    )
    np.testing.assert_allclose(mixed.hidden_posterior, exact.hidden_posterior, atol=2e-6)
    for a, b in zip(mixed.coef_gradients, exact.coef_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-4)
        assert not np.array_equal(a, b)


def test_threads_leave_every_bit_in_place():
    X, y, coefs, intercepts = _problem(3000, 3, 10, 3)
    first = fastem.e_step(X, y, coefs, intercepts, method=MIXED, n_jobs=1)
    for n_jobs in (2, 3):
        again = fastem.e_step(X, y, coefs, intercepts, method=MIXED, n_jobs=n_jobs)
        np.testing.assert_array_equal(again.log_likelihood, first.log_likelihood)
        np.testing.assert_array_equal(again.coef_gradients[0], first.coef_gradients[0])
        np.testing.assert_array_equal(again.coef_gradients[1], first.coef_gradients[1])


def test_e_steps_are_double_unless_mixed_is_chosen():
    X, y, coefs, intercepts = _problem(3000, 3, 10, 3)
    auto, double = (
        fastem.e_step(X, y, coefs, intercepts, method=fastem.Enumeration(precision=name))
        for name in ("auto", "double")
    )
    np.testing.assert_array_equal(auto.log_likelihood, double.log_likelihood)
    np.testing.assert_array_equal(auto.coef_gradients[0], double.coef_gradients[0])


def test_an_unknown_precision_is_refused():
    X, y, coefs, intercepts = _problem()
    with pytest.raises(ValueError, match=r"precision must be one of .*, got 'half'"):
        fastem.e_step(X, y, coefs, intercepts, method=fastem.Enumeration(precision="half"))


# ---- fits that begin in single precision


class _Rounded:
    """One maximum; objectives are rounded while the model is coarse."""

    def __init__(self, error):
        self.error, self.is_coarse = error, True
        self.n_exact = 0

    def expect(self, theta, draw=0):
        objective = -float(((theta - 1.0) ** 2).sum())
        if self.is_coarse:
            return float(np.round(objective / self.error) * self.error), None
        self.n_exact += 1
        return objective, None

    def maximize(self, theta, statistics):
        return theta + 0.2 * (1.0 - theta)

    def end(self):
        self.is_coarse = False


@pytest.mark.parametrize("tol", [1e-12, 0.05])
@pytest.mark.parametrize("error", [1e-6, 1e-3, 10.0])
def test_objectives_never_fall_and_end_exact(error, tol):
    model, monitor = _Rounded(error), Monitor(tol, scale=1.0)
    theta = run_em(model, np.zeros(3), monitor, 200, coarse=CoarsePhase(error / 2, model.end))
    assert not model.is_coarse
    assert monitor.converged
    assert not monitor.fell
    assert (np.diff(monitor.history) >= 0.0).all()
    assert monitor.objective == model.expect(theta)[0]


def test_a_run_that_ends_early_ends_exact():
    model, monitor = _Rounded(1e-6), Monitor(1e-12)
    theta = run_em(model, np.zeros(3), monitor, 2, coarse=CoarsePhase(5e-7, model.end))
    assert monitor.n_iter == 2
    assert monitor.objective == -float(((theta - 1.0) ** 2).sum())
    assert model.n_exact == 1


def _digits_network(alpha=0.15, m=12):
    X, y = load_digits(return_X_y=True)
    X, shape = X / 16.0, Shape(64, (m,), 10)
    rows = sort_rows(np.ascontiguousarray(X), y, np.ones(len(X)), shape)
    start = reference.draw_network(np.random.default_rng(0), 64, m, 10, scale=0.3)
    network = Network(rows, shape, fastem.Enumeration(), "newton", alpha=alpha, n_threads=2)
    return network, shape.pack(shape.from_lists(*start))


def test_a_network_reaches_the_same_optimum():
    found = []
    for begins_single in (True, False):
        network, theta = _digits_network()
        coarse = network.begin_in_single_precision() if begins_single else None
        assert (coarse is not None) == begins_single
        monitor = Monitor(1e-6)
        theta = run_em(network, theta, monitor, 300, QuasiNewtonStep(), coarse)
        assert network.expect(theta)[0] == monitor.objective
        assert (np.diff(monitor.history) >= 0.0).all()
        found.append(monitor.objective)
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_the_bound_of_the_error_of_an_objective():
    network, theta = _digits_network()
    for _ in range(2):
        coarse = network.begin_in_single_precision()
        single = network.expect(theta)[0]
        coarse.end()
        double = network.expect(theta)[0]
        assert 0.0 < abs(single - double) < 0.5 * coarse.error
        theta = run_em(network, theta, Monitor(1e-9), 20, QuasiNewtonStep())


@pytest.mark.parametrize(
    ("n", "m", "precision", "family"),
    [(90, 12, "auto", "categorical"), (3000, 8, "auto", "categorical"),
     (3000, 11, "double", "categorical"), (3000, 11, "auto", "gaussian")],
)  # fmt: skip
def test_where_a_fit_stays_in_double_precision(n, m, precision, family):
    rng = np.random.default_rng(0)
    X, shape = rng.normal(size=(n, 2)), Shape(2, (m,), 2)
    y = rng.integers(0, 2, size=n)
    if family == "gaussian":
        shape, y = Shape(2, (m,), 1, family=fastem.Gaussian()), y[:, None].astype(float)
    rows = sort_rows(X, y, np.ones(n), shape)
    engine = fastem.Enumeration(precision=precision)
    network = Network(rows, shape, engine, None, alpha=0.1, n_threads=1)
    assert network.begin_in_single_precision() is None


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"solver": "adam"}, {"alpha": 3.0}])
def test_fits_end_in_double_precision_at_any_size(options):
    X, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 3
    options = {"alpha": 0.15, "random_state": 0, "e_step": MIXED, "max_iter": 30, **options}
    model = fastem.FastEMClassifier((4,), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    penalty = 0.5 * model.alpha * _squared_weights_on_standardised_features(model, X)
    exact = fastem.e_step(X, y, model.coefs_, model.intercepts_).log_likelihood.sum()
    assert model.loss_ == pytest.approx((penalty - exact) / len(X), rel=1e-12)


def _squared_weights_on_standardised_features(model, X):
    W, V = model.coefs_
    return ((W * X.std(axis=0)[:, None]) ** 2).sum() + (V**2).sum()


def test_earlier_objectives_are_lowered_to_an_exact_one():
    monitor = Monitor(0.0)
    monitor.start(-5.0, np.zeros(1))
    for objective in (-3.0, -2.0, -1.9):
        monitor.update(objective, np.zeros(1))
    monitor.correct(-2.5)
    assert monitor.history == [-5.0, -3.0, -2.5, -2.5]


def test_estimators_begin_in_single_precision(monkeypatch):
    phases = []
    run = base_training.run_em

    def record(model, theta, monitor, max_iter, optimizer, coarse):
        phases.append(coarse is not None)
        return run(model, theta, monitor, max_iter, optimizer, coarse)

    monkeypatch.setattr(base_training, "run_em", record)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1500, 3)), rng.integers(0, 3, size=1500)
    settings = {"alpha": 0.15, "random_state": 0, "max_iter": 4, "tol": 1e-30, "warm_start": True}
    model = fastem.FastEMClassifier((12,), **settings)
    with pytest.warns(UserWarning, match="converge"):
        model.fit(X, y)
    with pytest.warns(UserWarning, match="converge"):
        model.fit(X, y)
    assert phases == [True, True]  # a run that is continued begins as it ended
    assert (np.diff(model.loss_curve_) <= 0.0).all()


@pytest.mark.parametrize("precision", ["auto", "mixed", "double"])
def test_a_run_that_is_continued_equals_one_run(precision):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1500, 3)), rng.integers(0, 3, size=1500)
    engine = fastem.Enumeration(precision=precision)
    settings = {"alpha": 0.15, "random_state": 0, "tol": 1e-30, "e_step": engine}
    steps = fastem.FastEMClassifier((12,), max_iter=2, warm_start=True, **settings)
    whole = fastem.FastEMClassifier((12,), max_iter=10, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(5):
            steps.fit(X, y)
        whole.fit(X, y)
    assert steps.n_iter_ == whole.n_iter_ == 10
    assert steps.loss_ == whole.loss_
    np.testing.assert_array_equal(steps.coefs_[0], whole.coefs_[0])
    np.testing.assert_allclose(steps.loss_curve_, whole.loss_curve_, rtol=1e-15)
