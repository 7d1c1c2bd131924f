"""Direct ascent: SciPy's optimum, under our record and our rules for stopping."""

import math

import numpy as np
import pytest
import reference
from scipy.optimize import minimize
from sklearn.datasets import load_iris

from fastem import FastEMClassifier
from fastem.engines.enumeration import Enumeration
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.solvers import lbfgs
from fastem.solvers.lbfgs import run_lbfgs
from fastem.solvers.monitor import Monitor
from fastem.solvers.network import Network


class Logistic:
    """Penalised logistic regression: one optimum, and no closed form."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.X = rng.normal(size=(40, 4)) * [1.0, 3.0, 0.2, 1.0]
        self.sign = rng.choice([-1.0, 1.0], size=40)
        self.start = np.array([2.0, -3.0, 1.0, 0.0])

    def expect(self, theta):
        margin = self.sign * (self.X @ theta)
        return float(reference.log_sigmoid(margin).sum() - 0.5 * theta @ theta), margin

    def gradient(self, theta, margin):
        return self.X.T @ (self.sign * np.exp(reference.log_sigmoid(-margin))) - theta


class Walled:
    """A curved ridge, its top at (1, 1), that overflows below the start's objective."""

    start = np.array([-1.2, 1.0])

    def __init__(self, wall):
        self.wall = wall
        self.n_overflows = 0

    def expect(self, theta):
        x, y = theta
        across = y - x * x
        objective = float(-((1.0 - x) ** 2) - 100.0 * across**2)
        if objective > -25.0:
            return objective, np.array([2.0 * (1.0 - x) + 400.0 * x * across, -200.0 * across])
        self.n_overflows += 1
        if isinstance(self.wall, Exception):
            raise self.wall
        return self.wall, np.full(2, math.nan)

    def gradient(self, theta, slope):
        return slope


def _network(seed=0):
    rng = np.random.default_rng(seed)
    shape = Shape(2, (3,), 3)
    X, y = rng.normal(size=(50, 2)), rng.integers(0, 3, size=50)
    rows = sort_rows(X, y, np.ones(50), shape)
    start = shape.from_lists(*reference.draw_network(rng, 2, 3, 3))
    settings = {"alpha": 0.5, "learning_rate": 0.1, "n_threads": 1}
    return Network(rows, shape, Enumeration(), "newton", **settings), shape.pack(start)


def _scipy(model, start, **options):
    def loss(theta):
        value, statistics = model.expect(theta)
        return -value, -model.gradient(theta, statistics)

    return minimize(loss, start, jac=True, **options)


def _climb(model, max_iter=1000, tol=0.0, report=None):
    monitor = Monitor(tol, report)
    return run_lbfgs(model, model.start, monitor, max_iter), monitor


def test_the_optimum_is_that_of_another_optimiser():
    model = Logistic()
    theta, monitor = _climb(model)
    expected = _scipy(model, model.start, method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(theta, expected, atol=1e-6)
    assert monitor.converged


@pytest.mark.parametrize("seed", range(3))
def test_a_network_ends_where_scipy_ends(seed):
    network, start = _network(seed)
    monitor = Monitor(tol=1e-13)
    theta = run_lbfgs(network, start, monitor, 2000)
    options = {"maxiter": 2000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9}
    expected = _scipy(network, start, method="L-BFGS-B", options=options)
    assert monitor.history[-1] == pytest.approx(-expected.fun, rel=1e-9)
    np.testing.assert_allclose(theta, expected.x, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_record_is_of_the_iterates(seed):
    network, start = _network(seed)
    monitor, iterates = Monitor(tol=1e-6), [start]
    monitor.report = lambda n_iter, objective, theta: iterates.append(theta.copy())
    theta = run_lbfgs(network, start, monitor, 2000)
    np.testing.assert_array_equal(theta, iterates[-1])
    assert monitor.converged
    assert (monitor.fell, monitor.interrupted) == (False, False)
    assert monitor.history == [network.expect(x)[0] for x in iterates]
    assert (np.diff(monitor.history) >= 0.0).all()
    assert monitor.n_iter == len(iterates) - 1


@pytest.mark.parametrize("max_iter", [1, 2, 9])
def test_max_iter_is_respected(max_iter):
    model = Logistic()
    before = model.start.copy()
    theta, monitor = _climb(model, max_iter)
    assert monitor.n_iter == max_iter
    assert not monitor.converged
    assert monitor.history[-1] == model.expect(theta)[0]
    np.testing.assert_array_equal(model.start, before)


def test_a_start_at_the_top_is_kept():
    model = Logistic()
    model.start = _climb(model)[0]
    theta, monitor = _climb(model)
    np.testing.assert_allclose(theta, model.start, atol=1e-7)
    assert monitor.converged


class Misled(Logistic):
    """Its gradient points downhill from some iterate on."""

    def __init__(self, n_right):
        super().__init__()
        self.n_right = n_right

    def gradient(self, theta, margin):
        self.n_right -= 1
        return super().gradient(theta, margin) * (1.0 if self.n_right >= 0 else -1.0)


@pytest.mark.parametrize(("n_right", "zeros"), [(0, False), (0, True), (4, False)])
def test_a_line_search_that_fails_on_a_slope_is_no_convergence(n_right, zeros):
    model = Misled(n_right)
    if zeros:
        model.start = np.zeros(4)
    theta, monitor = _climb(model)
    assert not monitor.converged
    assert (monitor.stopped, monitor.interrupted, monitor.fell) == (False, False, False)
    assert (monitor.n_iter > 0) == (n_right > 0)
    assert monitor.history[-1] == model.expect(theta)[0]


class Unmoved:
    """An objective that no step changes, beside a gradient that says it should rise.

    The rise that the gradient predicts is below the rounding error of the objective. SciPy
    therefore accepts a step that gains exactly nothing.
    """

    start = np.array([1e8, -1e8])

    def expect(self, theta):
        return 1.0, theta

    def gradient(self, theta, statistics):
        return np.where(theta == self.start, 5e-8, 2.5e-8)


@pytest.mark.parametrize("tol", [0.0, 1e-6, 1e-2])
def test_a_step_without_gain_on_a_slope_is_no_convergence(tol):
    theta, monitor = _climb(Unmoved(), tol=tol)
    assert monitor.history == [1.0, 1.0]
    assert (theta != Unmoved.start).any()
    assert not monitor.converged


class Valley:
    """A quadratic that is 1e8 times as steep across as along. Its first step gains little."""

    start = np.array([1e-4, 100.0])
    curvature = np.array([1e8, 1.0])

    def expect(self, theta):
        return float(-1.0 - 0.5 * self.curvature @ theta**2), None

    def gradient(self, theta, statistics):
        return -self.curvature * theta


def test_a_small_gain_on_a_slope_does_not_end_the_ascent():
    _, monitor = _climb(Valley(), max_iter=1)
    before, after = monitor.history
    assert 0.0 < after - before < 1e-3 * abs(before)
    _, monitor = _climb(Valley(), tol=1e-3)
    assert monitor.converged
    assert monitor.objective > -1.1


@pytest.mark.parametrize("tol", [1e-12, 1e-6, 1e-2])
def test_a_start_near_the_top_converges_at_once(tol):
    model = Logistic()
    top, _ = _climb(model)
    model.start = top + 1e-2 * np.sqrt(tol)
    _, monitor = _climb(model, tol=tol)
    assert monitor.converged
    assert monitor.n_iter <= 2


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_a_line_search_that_fails_at_the_top_is_convergence(factor, monkeypatch):
    """Whatever the units of the parameters."""

    class Scaled(Logistic):
        def expect(self, theta):
            return super().expect(factor * theta)

        def gradient(self, theta, margin):
            return factor * super().gradient(factor * theta, margin)

    minimize, status = lbfgs.minimize, []

    def failing(*args, **options):
        result = minimize(*args, **options)
        status.append(result.status)
        result.status = 2
        return result

    monkeypatch.setattr(lbfgs, "minimize", failing)
    monkeypatch.setattr(Monitor, "update", _never_converged)
    model = Scaled()
    model.start = Logistic().start / factor
    theta, monitor = _climb(model, max_iter=200)
    assert monitor.converged
    np.testing.assert_allclose(factor * theta, _climb(Logistic())[0], atol=1e-5)


def _never_converged(monitor, objective, theta, _):
    monitor.history.append(objective)
    return False


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_not_finite_raises(objective):
    model = Walled(objective)
    model.start = np.full(2, 10.0)
    with pytest.raises(FloatingPointError, match="starting values"):
        _climb(model)


@pytest.mark.parametrize("wall", [FloatingPointError("overflow"), -math.inf])
def test_trials_that_overflow_are_drawn_back(wall):
    model = Walled(wall)
    theta, monitor = _climb(model)
    assert model.n_overflows > 0
    assert (np.diff(monitor.history) >= 0.0).all()
    np.testing.assert_allclose(theta, 1.0, atol=1e-5)


def test_a_report_stops_the_ascent():
    model = Logistic()
    theta, monitor = _climb(model, report=lambda n_iter, objective, theta: n_iter == 3)
    assert monitor.stopped
    assert (monitor.converged, monitor.interrupted) == (False, False)
    assert monitor.n_iter == 3
    assert monitor.history[-1] == model.expect(theta)[0]


@pytest.mark.parametrize("where", ["expect", "report"])
def test_ctrl_c_keeps_the_best_iterate(where):
    def interrupt(*_):
        raise KeyboardInterrupt

    def report(n_iter, objective, theta):
        if n_iter == 3:
            if where == "report":
                interrupt()
            model.expect = interrupt

    model = Logistic()
    theta, monitor = _climb(model, report=report)
    assert monitor.interrupted
    assert not monitor.converged
    assert 2 <= monitor.n_iter <= 3
    assert monitor.history[-1] == Logistic().expect(theta)[0]


def test_ctrl_c_before_the_first_iterate_keeps_the_start():
    model = Logistic()
    expect, calls = model.expect, []

    def interrupted(theta):
        calls.append(theta)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return expect(theta)

    model.expect = interrupted
    theta, monitor = _climb(model)
    np.testing.assert_array_equal(theta, model.start)
    assert monitor.interrupted
    assert monitor.n_iter == 0


@pytest.mark.filterwarnings("ignore:The fit predicts the same for every row")
@pytest.mark.parametrize("alpha", [1e150, 1e160, 1e300])
def test_a_penalty_whose_squared_gradient_overflows(alpha):
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3,), solver="lbfgs", alpha=alpha, random_state=0, n_jobs=1).fit(X, y)
    assert model.loss_ < 10.0
    assert np.abs(model.coefs_[1]).max() < 1e-80
