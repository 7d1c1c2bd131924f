"""What a fit that chooses its penalty guarantees: resuming, invariances, failures."""

import functools
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor
from fastem.estimators import base_training, em_training
from fastem.solvers import Network

N = 120
_rng = np.random.default_rng(0)
X = _rng.normal(size=(N, 3))
NUMBERS = X[:, 0] - 0.5 * X[:, 1] + 0.5 * _rng.normal(size=N)
CLASSES = np.digitize(NUMBERS, [-0.5, 0.6])
SOLVERS = [{"solver": "em"}, {"solver": "adam"}]
every_solver = pytest.mark.parametrize("options", SOLVERS, ids=str)


def classifier(**options):
    options = {"random_state": 0, "n_jobs": 1, "max_iter": 30, **options}
    return FastEMClassifier(**{"hidden_layer_sizes": (2,), **options})


def regressor(**options):
    options = {"random_state": 0, "n_jobs": 1, "max_iter": 30, "variance_floor": 0.1, **options}
    return FastEMRegressor((2,), **options)


def fit(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


@functools.cache
def _fitted(solver):
    return fit(classifier(solver=solver), X, CLASSES)


def fitted(options):
    return _fitted(options["solver"])


def assert_same_bits(a, b):
    for one, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert a.loss_curve_ == b.loss_curve_
    assert a.alpha_ == b.alpha_
    np.testing.assert_equal(a.alpha_path_, b.alpha_path_)


# Resuming


@every_solver
@pytest.mark.parametrize("n_steps", [1, 4])
def test_resuming_equals_not_stopping(options, n_steps):
    options = {**options, "tol": 0.0}
    whole = fit(classifier(max_iter=8, **options), X, CLASSES)
    steps = classifier(max_iter=n_steps, warm_start=True, **options)
    for _ in range(8 // n_steps):
        steps = pickle.loads(pickle.dumps(fit(steps, X, CLASSES)))
    assert_same_bits(steps, whole)
    assert steps.n_iter_ == whole.n_iter_ == 8


def test_resuming_a_regressor_equals_not_stopping():
    whole = fit(regressor(max_iter=6, tol=0.0), X, NUMBERS)
    steps = regressor(max_iter=2, tol=0.0, warm_start=True)
    for _ in range(3):
        fit(steps, X, NUMBERS)
    assert_same_bits(steps, whole)


def test_a_warm_start_on_other_rows_keeps_the_penalty():
    model = fit(classifier(warm_start=True), X, CLASSES)
    alpha, path = model.alpha_, model.alpha_path_
    fit(model, X[:40], CLASSES[:40])
    assert model.alpha_ == alpha
    assert model.alpha_path_ is path


# Invariances


@every_solver
def test_units_of_features_do_not_matter(options):
    model, units = fitted(options), np.array([1e-100, 1e6, 3.0])
    other = fit(classifier(**options), X * units + [0.0, 1e5, 0.0], CLASSES)
    assert other.alpha_ == model.alpha_
    for name, column in model.alpha_path_.items():
        np.testing.assert_allclose(other.alpha_path_[name], column, rtol=1e-4)
    probability = other.predict_proba(X * units + [0.0, 1e5, 0.0])
    np.testing.assert_allclose(probability, model.predict_proba(X), atol=1e-4)


def test_the_unit_of_a_number_does_not_matter():
    model, other = fit(regressor(), X, NUMBERS), fit(regressor(), X, 1e3 * NUMBERS + 7.0)
    assert other.alpha_ == model.alpha_
    shift = np.log(1e3)  # of a log-density
    for name in ("cross_validation", "training"):
        expected = model.alpha_path_[name] - shift
        np.testing.assert_allclose(other.alpha_path_[name], expected, rtol=1e-5)
    np.testing.assert_allclose(other.predict(X), 1e3 * model.predict(X) + 7.0, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:The fit predicts the same for every row")
@pytest.mark.parametrize("weight", [1e-100, 1e-3, 1e3, 1e50])
def test_weights_of_any_scale_choose_a_penalty(weight):
    model = fit(classifier(), X, CLASSES, np.full(N, weight))
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.predict_log_proba(X)).all()


@every_solver
def test_a_generator_with_the_same_seed_gives_the_same_bits(options):
    generator = np.random.RandomState(0)
    model = fit(classifier(random_state=generator, **options), X, CLASSES)
    assert_same_bits(model, fitted(options))
    fit(model, X, CLASSES)  # the generator has moved on
    assert model.loss_curve_ != fitted(options).loss_curve_


@every_solver
@pytest.mark.parametrize("n_jobs", [2, None])
def test_threads_do_not_change_a_bit(options, n_jobs):
    assert_same_bits(fit(classifier(n_jobs=n_jobs, **options), X, CLASSES), fitted(options))


# Calls that do not end


def interrupt_after(monkeypatch, n_calls, error=KeyboardInterrupt):
    """Raise an error in the E-step after this many."""
    expect, calls = Network.expect, []

    def interrupted(self, theta, draw=0):
        calls.append(1)
        if len(calls) > n_calls:
            raise error
        return expect(self, theta, draw)

    monkeypatch.setattr(Network, "expect", interrupted)


@pytest.mark.parametrize("earlier", [False, True], ids=["unfitted", "fitted"])
@pytest.mark.parametrize("n_calls", [0, 1, 9, 60])
@every_solver
def test_ctrl_c_while_the_penalty_is_chosen_leaves_the_estimator(
    options, n_calls, earlier, monkeypatch
):
    model = classifier(**options)
    if earlier:
        fit(model, X[:60], CLASSES[:60])
    before = dict(vars(model))
    interrupt_after(monkeypatch, n_calls)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, CLASSES)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_ctrl_c_in_the_regressors_first_runs_leaves_the_estimator(monkeypatch):
    model = regressor()
    before = dict(vars(model))
    interrupt_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, NUMBERS)
    assert vars(model) == before


def test_ctrl_c_in_a_race_ends_it(monkeypatch):
    """No start goes on after Ctrl-C in the short runs."""
    runs, run = [], base_training.run_em

    def interrupted(model, theta, monitor, max_iter, *others):
        runs.append(max_iter)
        theta = run(model, theta, monitor, 3, *others)
        monitor.interrupted = len(runs) == 2
        return theta

    monkeypatch.setattr(base_training, "run_em", interrupted)
    model = classifier(n_init=6, alpha=0.15)
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 iterations"):
        model.fit(X, CLASSES)
    assert len(runs) == len(model.starts_) == 2
    assert model.loss_ == min(start["loss"] for start in model.starts_)
    assert not model.converged_


def test_a_failing_call_leaves_the_choices(monkeypatch):
    model = clone(fitted(SOLVERS[0]))
    fit(model, X, CLASSES)
    before = dict(vars(model))
    monkeypatch.setattr(em_training.Training, "attributes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(model, X[:70], CLASSES[:70])
    assert all(vars(model)[name] is value for name, value in before.items())
    fixed = model.set_params(alpha=0.5)
    monkeypatch.undo()
    assert fit(fixed, X, CLASSES).alpha_ == 0.5
    assert not hasattr(fixed, "alpha_path_")


@pytest.mark.parametrize("data", [CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_starting_values_without_an_objective_are_named(data):
    make = classifier if data is CLASSES else regressor
    n_outputs = 3 if data is CLASSES else 1
    model = make(coefs_init=[np.full((3, 2), 1e308), np.full((2, n_outputs), 1e308)])
    with pytest.raises((ValueError, FloatingPointError), match=r"overflow|starting values"):
        fit(model, X, data)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("kind", [classifier, regressor])
@pytest.mark.parametrize(("n_features", "expected"), [(300, "em"), (4000, "lbfgs")])
def test_no_matrix_of_thousands_of_features_is_factorised(kind, n_features, expected):
    rows = np.random.default_rng(0).normal(size=(40, n_features))
    targets = CLASSES[:40] if kind is classifier else NUMBERS[:40]
    assert fit(kind(alpha=10.0, max_iter=3), rows, targets).solver_ == expected
    given = kind(alpha=10.0, max_iter=1, solver="em", m_step="gradient")
    assert fit(given, rows, targets).solver_ == "em"
