"""Quasi-Newton acceleration: never down, sooner at the top, and EM where it fails."""

import math

import numpy as np
import pytest

from fastem.kernels import quasi_newton
from fastem.solvers import acceleration
from fastem.solvers.acceleration import QuasiNewtonStep
from fastem.solvers.em import Iterate, PlainStep, run_em
from fastem.solvers.monitor import Monitor

MEMORY = 20


class Ascending:
    """A model whose M-step is a short step along the gradient; counts its E-steps."""

    def __init__(self, rate):
        self.rate = rate
        self.n_expects = 0

    def expect(self, theta, draw=0):
        self.n_expects += 1
        return self.objective(theta), self.slope(theta)

    def maximize(self, theta, slope):
        return theta + self.rate * slope

    def gradient(self, theta, slope):
        return slope


class Quadratic(Ascending):
    """Concave, with curvatures from 1 to `condition` along random axes."""

    def __init__(self, size, condition):
        super().__init__(rate=1.0 / condition)
        rng = np.random.default_rng(size)
        axes = np.linalg.qr(rng.normal(size=(size, size)))[0]
        self.curvature = axes * np.geomspace(1.0, condition, size) @ axes.T
        self.top = rng.normal(size=size)
        self.start = self.top + rng.normal(size=size)

    def objective(self, theta):
        return float(-0.5 * (theta - self.top) @ self.curvature @ (theta - self.top)) - 3.0

    def slope(self, theta):
        return -self.curvature @ (theta - self.top)


class Rosenbrock(Ascending):
    """A curved ridge, its top of zero at (1, 1)."""

    top, start = np.ones(2), np.array([-1.2, 1.0])

    def __init__(self):
        super().__init__(rate=2e-5)  # safe wherever the objective is above that of the start

    def objective(self, theta):
        x, y = theta
        return float(-((1.0 - x) ** 2) - 100.0 * (y - x * x) ** 2)

    def slope(self, theta):
        x, y = theta
        across = y - x * x
        return np.array([2.0 * (1.0 - x) + 400.0 * x * across, -200.0 * across])


class Cliff(Quadratic):
    """A quadratic of which only EM's own iterates can be evaluated.

    Keeps its expectations in one array, as networks do: a failed E-step spoils them.
    """

    def __init__(self, beyond):
        super().__init__(6, 10.0)
        self.beyond = beyond
        self.known = {self.start.tobytes()}
        self.shared = np.empty(6)

    def expect(self, theta, draw=0):
        objective, self.shared[:] = super().expect(theta)
        if theta.tobytes() in self.known:
            return objective, self.shared
        self.shared[:] = math.nan
        if isinstance(self.beyond, Exception):
            raise self.beyond
        return self.beyond, self.shared

    def maximize(self, theta, slope):
        new = super().maximize(theta, slope)
        self.known.add(new.tobytes())
        return new


def _climb(model, n_iter, stepper=None, tol=0.0):
    monitor = Monitor(tol)
    theta = run_em(model, model.start, monitor, n_iter, stepper or QuasiNewtonStep())
    return theta, monitor


def _dense_direction(gradient, steps, falls):
    """BFGS with matrices: the inverse Hessian, updated pair by pair, times the gradient."""
    newest = steps[-1] @ falls[-1] / (falls[-1] @ falls[-1])
    inverse = newest * np.eye(len(gradient))
    for step, fall in zip(steps, falls, strict=True):
        rho = 1.0 / (step @ fall)
        left = np.eye(len(gradient)) - rho * np.outer(step, fall)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    return inverse @ gradient


@pytest.mark.parametrize("first", [0, 1, 4])
@pytest.mark.parametrize(("memory", "n_pairs"), [(5, 1), (5, 3), (5, 5), (7, 6)])
def test_direction_is_that_of_dense_bfgs(memory, n_pairs, first):
    rng = np.random.default_rng(n_pairs)
    size = 9
    root = rng.normal(size=(size, size))
    steps = rng.normal(size=(n_pairs, size))
    falls = steps @ (root @ root.T + np.eye(size))
    gradient = rng.normal(size=size)
    ring = np.full((2, memory, size), np.nan)  # what is not in use is not looked at
    slots = (first + np.arange(n_pairs)) % memory
    ring[0, slots], ring[1, slots] = steps, falls
    before = gradient.copy(), ring.copy()
    got = quasi_newton.direction(gradient, ring[0], ring[1], first, n_pairs)
    np.testing.assert_allclose(got, _dense_direction(gradient, steps, falls), rtol=1e-9)
    np.testing.assert_array_equal(gradient, before[0])
    np.testing.assert_array_equal(ring, before[1])


def test_direction_of_a_complete_set_of_secants_is_newtons():
    model = Quadratic(4, 50.0)
    steps = np.linalg.eigh(model.curvature)[1].T.copy()
    got = quasi_newton.direction(model.slope(model.start), steps, steps @ model.curvature, 0, 4)
    np.testing.assert_allclose(got, model.top - model.start, rtol=1e-9)


def test_secants_are_the_latest_ones_in_their_order(monkeypatch):
    model, asked = Quadratic(30, 1e3), []

    def spy(gradient, steps, falls, first, n_pairs):
        order = (first + np.arange(n_pairs)) % len(steps)
        asked.append((steps[order], falls[order]))
        direction = quasi_newton.direction(gradient, steps, falls, first, n_pairs)
        expected = _dense_direction(gradient, *asked[-1])
        np.testing.assert_allclose(direction, expected, rtol=1e-6, atol=1e-12)
        return direction

    namespace = type("Namespace", (), {"direction": staticmethod(spy)})
    monkeypatch.setattr(acceleration, "quasi_newton", namespace)
    stepper = QuasiNewtonStep()
    iterates = [Iterate(model.start, *model.expect(model.start))]
    while len(asked) < 3 * MEMORY and iterates[-1].objective < -3.0 - 1e-9:
        iterates.append(stepper.advance(model, iterates[-1]))
        if len(asked) > 1:
            steps, falls = asked[-1]
            thetas = np.array([x.theta for x in iterates[:-1]])
            slopes = np.array([x.statistics for x in iterates[:-1]])
            np.testing.assert_array_equal(steps, np.diff(thetas, axis=0)[-len(steps) :])
            np.testing.assert_array_equal(falls, -np.diff(slopes, axis=0)[-len(falls) :])
    assert len(asked) > MEMORY + 5  # the ring has gone round
    assert [len(steps) for steps, _ in asked[:3]] == [1, 2, 3]
    assert [len(steps) for steps, _ in asked[MEMORY - 1 :]] == [MEMORY] * (len(asked) - MEMORY + 1)


@pytest.mark.parametrize(
    ("make", "n_iter", "speedup"),
    [(lambda: Quadratic(5, 1e2), 60, 5), (lambda: Quadratic(30, 1e3), 250, 10),
     (Rosenbrock, 150, 100)],
)  # fmt: skip
def test_the_top_is_reached_in_fewer_e_steps(make, n_iter, speedup):
    model = make()
    theta, monitor = _climb(model, n_iter)
    assert (np.diff(monitor.history) >= 0.0).all()
    np.testing.assert_allclose(theta, model.top, atol=1e-5)
    assert model.n_expects < 3 * n_iter
    plain = make()
    _, plain_monitor = _climb(plain, speedup * model.n_expects, PlainStep())
    assert plain.n_expects >= speedup * model.n_expects or plain_monitor.converged
    assert plain_monitor.history[-1] < monitor.history[-1]


def test_an_iteration_mostly_costs_one_e_step():
    model = Quadratic(30, 1e3)
    _, monitor = _climb(model, 150)
    assert model.n_expects <= 1.2 * monitor.n_iter


def test_it_begins_with_plain_steps():
    fast, plain = _climb(Quadratic(10, 1e3), 8)[1], _climb(Quadratic(10, 1e3), 8, PlainStep())[1]
    assert fast.history[:8] == plain.history[:8]
    assert fast.history[8] > plain.history[8]


@pytest.mark.parametrize("beyond", [-math.inf, math.nan, -1e300, FloatingPointError("overflow")])
def test_failing_trials_leave_plain_em(beyond):
    model = Cliff(beyond)
    theta, monitor = _climb(model, 40)
    expected, plain = _climb(Cliff(beyond), 40, PlainStep())
    np.testing.assert_array_equal(theta, expected)
    assert monitor.history == plain.history
    assert not monitor.fell
    assert model.n_expects <= 10 * 40


def test_a_ridge_that_curves_upwards_gives_no_secant():
    class Saddle(Ascending):
        """Curved upwards along x until far out."""

        start, top = np.array([1e-3, 1.0]), np.array([3.0, 0.0])

        def objective(self, theta):
            x, y = theta
            return float(4.5 * x**2 - 0.25 * x**4 - y**2)

        def slope(self, theta):
            x, y = theta
            return np.array([9.0 * x - x**3, -2.0 * y])

    model = Saddle(0.02)
    theta, monitor = _climb(model, 60)
    assert (np.diff(monitor.history) >= 0.0).all()
    np.testing.assert_allclose(np.abs(theta), model.top, atol=1e-5)


def test_at_the_top_it_stays():
    model = Quadratic(4, 10.0)
    model.start = model.top
    for n_iter in (1, 30):
        theta, monitor = _climb(model, n_iter)
        np.testing.assert_array_equal(theta, model.top)
        assert monitor.converged


def test_after_a_restart_the_problem_may_have_another_size():
    stepper = QuasiNewtonStep()
    for size in (3, 8):
        model = Quadratic(size, 50.0)
        theta, monitor = _climb(model, 60, stepper)
        np.testing.assert_allclose(theta, model.top, atol=1e-5)
        assert (np.diff(monitor.history) >= 0.0).all()
