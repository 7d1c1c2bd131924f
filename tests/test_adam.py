"""Mini-batches: their gradients, Adam's steps, and what a fit by them promises."""

import warnings

import numpy as np
import pytest
import reference
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import FastEMClassifier
from fastem.engines.auto import ENGINES
from fastem.engines.enumeration import Enumeration
from fastem.estimators.em_ending import warn_of_ending
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.solvers.adam import AdamState, BatchedNetwork, Extent, run_adam
from fastem.solvers.monitor import EpochMonitor
from fastem.solvers.network import Network

CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"
ALPHA = 0.3


def problem(sizes=(3,), n_classes=3, n_rows=57, fit_intercept=True, seed=0):
    rng = np.random.default_rng(seed)
    shape = Shape(2, sizes, n_classes, fit_intercept)
    X, y = rng.normal(size=(n_rows, 2)), rng.integers(0, n_classes, n_rows)
    weights = rng.uniform(0.1, 3.0, n_rows)
    return X, y, weights, shape, 0.5 * rng.normal(size=shape.n_parameters)


def batched(X, y, weights, shape, batch_size, engine=None, n_threads=1):
    engine = Enumeration() if engine is None else engine
    extent = Extent().plus(weights)
    return BatchedNetwork(
        X, y, weights, shape, engine, batch_size, alpha=ALPHA, extent=extent, n_threads=n_threads
    )


def whole(X, y, weights, shape):
    rows = sort_rows(X, y, weights, shape)
    return Network(rows, shape, Enumeration(), None, alpha=ALPHA, n_threads=1)


# Plans that take new rows


@pytest.mark.parametrize(
    ("sizes", "name"),
    [((4,), name) for name in ENGINES] + [((3, 2), "enumeration"), ((3, 2), "sampling")],
    ids=str,
)
def test_a_plan_that_is_rebound_equals_a_new_plan(name, sizes):
    X, y, weights, shape, theta = problem(sizes, n_classes=2, n_rows=700)
    engine = ENGINES[name]().seeded(0)
    parameters, rng = shape.unpack(theta), np.random.default_rng(1)
    plan = engine.plan(sort_rows(X, y, weights, shape), shape, 2)
    plan.expect(parameters)
    for n_rows in (700, 300, 1, 699, 20):
        some = rng.permutation(700)[:n_rows]
        rows = sort_rows(X[some], y[some], weights[some], shape)
        plan.rebind(rows)
        found, expected = (p.expect(parameters) for p in (plan, engine.plan(rows, shape, 2)))
        np.testing.assert_array_equal(found.log_likelihood, expected.log_likelihood)
        np.testing.assert_array_equal(found.output_gradient, expected.output_gradient)
        for mine, theirs in zip(found.hidden, expected.hidden, strict=True):
            np.testing.assert_array_equal(mine.gradient, theirs.gradient)
            np.testing.assert_array_equal(mine.posterior, theirs.posterior)


# Gradients and objectives of batches


@pytest.mark.parametrize("sizes", [(3,), (3, 2)], ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("batch_size", [1, 10, 57])
def test_batches_add_up_to_the_whole(sizes, fit_intercept, batch_size):
    X, y, weights, shape, theta = problem(sizes, fit_intercept=fit_intercept)
    model, network = batched(X, y, weights, shape, batch_size), whole(X, y, weights, shape)
    objective, statistics = network.expect(theta)
    gradient = network.gradient(theta, statistics).copy()
    order = np.random.default_rng(0).permutation(57)
    parts = [(len(b), *model.mean_gradient(theta, b)) for b in model.batches(order)]
    assert [n for n, _, _ in parts] == [batch_size] * (57 // batch_size) + [7] * (batch_size == 10)
    assert sum(o for _, o, _ in parts) == pytest.approx(objective, rel=1e-12)
    assert model.objective(theta) == pytest.approx(objective, rel=1e-12)
    mean = sum(n * g for n, _, g in parts) / 57
    np.testing.assert_allclose(mean, gradient / weights.sum(), rtol=1e-9, atol=1e-13)


def test_light_batches_take_short_steps():
    X, y, weights, shape, theta = problem()
    weights[:10] *= 1e-6
    model = batched(X, y, weights, shape, 10)
    sizes = [np.abs(model.mean_gradient(theta, b)[1]).max() for b in model.batches(np.arange(57))]
    assert sizes[0] < 1e-4 * min(sizes[1:])


# Adam


def adam_by_hand(X, y, weights, shape, theta, n_steps, rate):
    """Kingma and Ba (2015), algorithm 1, on the mean gradient of all rows."""
    theta, m, v, penalised = theta.copy(), 0.0, 0.0, shape.penalty_weights()
    total, objectives = weights.sum(), []
    for t in range(1, n_steps + 1):
        lists = shape.to_lists(shape.unpack(theta))
        found = reference.e_step(X, y, *lists, weights)
        objectives.append(
            weights @ found["log_likelihood"] - 0.5 * ALPHA * theta @ (penalised * theta)
        )
        gradients = found["coef_gradients"], found["intercept_gradients"]
        g = shape.pack(shape.from_lists(*gradients)) - ALPHA * penalised * theta
        g = -g / total
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat, v_hat = m / (1.0 - 0.9**t), v / (1.0 - 0.999**t)
        # the correction is in the rate, so that epsilon is scaled by it, as in scikit-learn
        theta -= rate * m_hat / (np.sqrt(v_hat) + 1e-8 / np.sqrt(1.0 - 0.999**t))
    return theta, objectives


@pytest.mark.parametrize("sizes", [(3,), (2, 2)], ids=str)
def test_one_batch_of_all_rows_is_plain_adam(sizes):
    X, y, weights, shape, theta = problem(sizes)
    descent, monitor = AdamState(0.1, np.random.RandomState(0)), EpochMonitor(0.0)
    run_adam(batched(X, y, weights, shape, 57), theta, monitor, 5, descent)
    expected, objectives = adam_by_hand(X, y, weights, shape, theta, 5, 0.1)
    np.testing.assert_allclose(descent.theta, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(monitor.history, [objectives[0], *objectives], rtol=1e-12)


class Scripted:
    """Objectives of epochs as they are told, of one batch each; steps of no length."""

    n_rows = 1
    last_penalty = 0.0

    def __init__(self, running, at_the_end=0.0):
        self.running, self.at_the_end = iter(running), at_the_end

    def batches(self, order):
        yield order

    def mean_gradient(self, theta, batch, draw=0):
        objective = next(self.running)
        if isinstance(objective, BaseException):
            raise objective
        return objective, np.ones(1)

    def penalty(self, theta):
        return 0.0

    def objective(self, theta):
        return -100.0 if theta[0] == 0.0 else self.at_the_end


def climb(running, max_epochs=1000, tol=0.0, at_the_end=-50.0):
    monitor, descent = EpochMonitor(tol), AdamState(0.1, np.random.RandomState(0))
    model = Scripted(running, at_the_end)
    return run_adam(model, np.zeros(1), monitor, max_epochs, descent), monitor, descent


def test_ten_epochs_without_a_gain_are_convergence():
    _, monitor, _ = climb([-90.0, -80.0, *[-80.0 - i % 3 for i in range(50)]])
    assert monitor.converged
    assert monitor.n_iter == 12
    assert monitor.objective == -50.0
    _, monitor, _ = climb([-90.0, *[-80.0 + 0.01 * i for i in range(50)]], tol=1e-3)
    assert monitor.converged
    assert monitor.n_iter == 12  # small gains are none


def test_epochs_that_rise_go_on():
    _, monitor, _ = climb([-90.0 + i for i in range(40)], max_epochs=40)
    assert not monitor.converged
    assert monitor.n_iter == 40


def test_the_better_of_the_last_and_the_best_is_kept():
    theta, _, descent = climb([-90.0, -95.0], max_epochs=2)
    assert theta[0] in (descent.theta[0], descent.best[0])
    theta, monitor, descent = climb([-190.0, -195.0], max_epochs=2, at_the_end=-200.0)
    assert theta[0] == 0.0  # the start
    assert monitor.objective == -100.0
    assert descent.theta[0] != 0.0  # from which it would go on


def test_ctrl_c_keeps_the_best_epoch():
    theta, monitor, descent = climb([-90.0, -80.0, -85.0, KeyboardInterrupt()])
    assert monitor.interrupted
    assert not monitor.converged
    assert theta[0] == descent.best[0] != descent.theta[0]
    assert monitor.objective == -80.0
    assert monitor.n_iter == 3


@pytest.mark.parametrize("bad", [np.nan, -np.inf, FloatingPointError("overflow")])
def test_weights_that_run_away_are_an_error(bad):
    with pytest.raises(FloatingPointError, match=r"smaller learning_rate_init than 0\.1"):
        climb([-90.0, bad])


# The estimator


def load(name):
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def classifier(n_hidden=3, **options):
    options = {"solver": "adam", "alpha": 0.15, "random_state": 0, "n_jobs": 1, **options}
    return FastEMClassifier((n_hidden,), **options)


def fitted(model, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, sample_weight)


def same_bits(a, b):
    pairs = zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_the_objective_comes_close_to_that_of_em(name):
    X, y = load(name)
    em = fitted(classifier(10, solver="em"), X, y)
    model = fitted(classifier(10), X, y)
    assert model.loss_ < 1.06 * em.loss_
    assert model.score(X, y) > em.score(X, y) - 0.01


def test_the_loss_is_that_of_all_rows():
    X, y = load("iris")
    weights = np.random.default_rng(0).uniform(0.0, 2.0, 150)
    weights[:20] = 0.0
    model = fitted(classifier(max_iter=7, batch_size=16), X, y, weights)
    squares = np.sum(
        (model.coefs_[0] * np.sqrt(np.cov(X.T, aweights=weights, ddof=0).diagonal())[:, None]) ** 2
    ) + np.sum(model.coefs_[1] ** 2)
    expected = 0.5 * model.alpha * squares - model.log_likelihood(X, y, weights)
    assert model.loss_ == pytest.approx(expected / weights.sum(), rel=1e-10)
    assert len(model.loss_curve_) == len(model.loss_curve_seconds_) == 8
    assert model.n_iter_ == 7
    first = fitted(classifier(max_iter=1), X, y, weights).loss_curve_[0]
    assert model.loss_curve_[0] == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"e_step": "quadrature"}, {"batch_size": 1}], ids=str)
def test_options(options):
    X, y = load("breast_cancer")
    model = fitted(classifier(max_iter=3, **options), X, y)
    assert model.loss_ < model.loss_curve_[0]


def test_weights_are_repetitions_where_all_rows_are_one_batch():
    X, y = load("iris")
    times = np.random.default_rng(0).integers(0, 4, 150)
    options = {"batch_size": 1000, "max_iter": 20}
    weighted = fitted(classifier(**options), X, y, times)
    repeated = fitted(classifier(**options), np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-6)


def test_rows_without_weight_are_left_out():
    X, y = load("iris")
    weights = np.ones(150)
    weights[::3] = 0.0
    kept = weights > 0.0
    options = {"batch_size": 16, "max_iter": 5}
    a, b = fitted(classifier(**options), X, y, weights), classifier(**options)
    assert same_bits(a, fitted(b, X[kept], y[kept]))


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_resuming_equals_not_stopping(standardize, n_steps):
    X, y = load("iris")
    options = {"standardize": standardize, "batch_size": 16, "tol": 1e-4}
    whole = fitted(classifier(max_iter=12, **options), X, y)
    steps = classifier(max_iter=n_steps, warm_start=True, **options)
    for _ in range(12 // n_steps):
        fitted(steps, X, y)
    assert steps.loss_curve_ == whole.loss_curve_
    assert steps.loss_ == whole.loss_
    assert same_bits(steps, whole)
    assert steps.n_iter_ == whole.n_iter_ == 12


def test_resuming_after_convergence_stays():
    X, y = load("breast_cancer")
    model = classifier(warm_start=True, tol=1e-2, learning_rate_init=0.05).fit(X, y)
    assert model.converged_
    n_iter = model.n_iter_
    model.fit(X, y)
    assert model.converged_
    assert model.n_iter_ <= n_iter + 10


def test_the_number_of_epochs_is_fixed_where_the_rate_falls():
    X, y = load("breast_cancer")
    model = classifier(warm_start=True).fit(X, y)
    assert model.converged_
    n_iter = model.n_iter_
    assert n_iter == -(-1200 * 50 // 569)  # 1200 batches of the smallest automatic size
    assert model.fit(X, y).n_iter_ == 2 * n_iter  # it begins anew


def test_a_warm_start_on_other_rows_goes_on_from_the_parameters():
    X, y = load("iris")
    model = fitted(classifier(warm_start=True, max_iter=100), X[::2], y[::2])
    coefs = [values.copy() for values in model.coefs_]
    model.set_params(max_iter=1, learning_rate_init=1e-12)
    fitted(model, X[1::2], y[1::2])
    np.testing.assert_allclose(model.coefs_[0], coefs[0], rtol=1e-6)
    assert model.n_iter_ == 1


def test_seeds_and_starts():
    X, y = load("iris")
    options = {"batch_size": 16, "max_iter": 5}
    a, b, c = (fitted(classifier(random_state=s, **options), X, y) for s in (0, 0, 1))
    assert same_bits(a, b)
    assert not same_bits(a, c)
    assert fitted(classifier(n_init=3, **options), X, y).loss_ <= a.loss_
    em = fitted(classifier(solver="em", max_iter=1), X, y)
    assert a.loss_curve_[0] == pytest.approx(em.loss_curve_[0], rel=1e-12)  # the same start


@pytest.mark.filterwarnings(CONVERGENCE)
def test_threads_do_not_change_a_bit():
    X, y = load("digits")
    one, *others = (
        classifier(11, n_jobs=n_jobs, max_iter=2, batch_size=900).fit(X, y)
        for n_jobs in (1, 2, 3, None)
    )
    assert all(same_bits(one, other) for other in others)


@pytest.mark.parametrize("rate", [1e10, 1e200])
@pytest.mark.filterwarnings(CONVERGENCE)
def test_a_rate_beyond_reason_is_told_or_survived(rate):
    X, y = load("iris")
    model = classifier(learning_rate_init=rate, max_iter=5)
    if rate > 1e100:
        with pytest.raises(ValueError, match="smaller learning_rate_init"):
            model.fit(X, y)
        assert not hasattr(model, "coefs_")
    else:
        assert np.isfinite(model.fit(X, y).loss_)


@pytest.mark.parametrize("verbose", [1, 2])
def test_verbose(verbose, capfd):
    X, y = load("iris")
    model = fitted(classifier(verbose=verbose, max_iter=4), X, y)
    out = capfd.readouterr().out
    assert out.count("iteration") == 4
    assert f"loss {model.loss_curve_[-1]:.8f}" in out


def test_ctrl_c_in_a_fit(monkeypatch):
    X, y = load("iris")
    expect, calls = Network.expect, []

    def interrupted(self, theta, draw=0):
        calls.append(1)
        if len(calls) > 60:
            raise KeyboardInterrupt
        return expect(self, theta, draw)

    model = classifier(batch_size=16, warm_start=True)
    with monkeypatch.context() as patch:
        patch.setattr(Network, "expect", interrupted)
        with pytest.warns(ConvergenceWarning, match="interrupted after 5 iterations"):
            model.fit(X, y)
    assert model.loss_ == min(model.loss_curve_)
    loss = fitted(model, X, y).loss_
    assert loss < model.loss_curve_[0]


def test_no_convergence_is_told():
    X, y = load("iris")
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 iterations"):
        classifier(max_iter=2).fit(X, y)


def test_saved_and_read_back(tmp_path):
    X, y = load("iris")
    model = fitted(classifier(max_iter=4, batch_size=20), X, y)
    model.save(tmp_path / "model")
    read = FastEMClassifier.load(tmp_path / "model")
    assert (read.loss_, read.loss_curve_) == (model.loss_, model.loss_curve_)
    assert read.loss_ != read.loss_curve_[-1]
    assert read.get_params() == {**model.get_params(), "e_step": read.e_step}
    assert isinstance(read.e_step_, fastem.Enumeration)


@pytest.mark.filterwarnings("ignore:The median effective sample size")
@pytest.mark.parametrize("n_steps", [1, 3])
def test_estimates_resume_as_if_they_had_not_stopped(n_steps):
    X, y = load("iris")
    options = {"e_step": fastem.Sampling(n_samples=50), "batch_size": 40}
    whole = fitted(classifier(max_iter=6, **options), X, y)
    steps = classifier(max_iter=n_steps, warm_start=True, **options)
    for _ in range(6 // n_steps):
        fitted(steps, X, y)
    assert steps.loss_curve_ == whole.loss_curve_
    assert same_bits(steps, whole)


@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_estimates_lead_where_exact_gradients_do():
    X, y = load("iris")
    exact = fitted(classifier(batch_size=30, max_iter=150), X, y)
    options = {"e_step": fastem.Sampling(n_samples=200), "batch_size": 30, "max_iter": 150}
    sampled = fitted(classifier(**options), X, y)
    assert -sampled.set_params(e_step="auto").log_likelihood(X, y) < 1.3 * -exact.log_likelihood(
        X, y
    )


def test_the_remedy_names_the_first_rate_of_a_falling_rate():
    monitor = EpochMonitor(0.0)
    monitor.history = [-1.0, -2.0]
    with pytest.warns(ConvergenceWarning, match=r"smaller learning_rate_init than 0\.2\."):
        warn_of_ending(FastEMClassifier(solver="adam"), monitor)
