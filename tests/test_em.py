"""The EM loop on toy models: two coins, a model that misbehaves on demand, and a network."""

import itertools
import math

import numpy as np
import pytest
import reference

from fastem.engines.enumeration import Enumeration
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.solvers.acceleration import QuasiNewtonStep
from fastem.solvers.em import DampedStep, Iterate, PlainStep, run_em
from fastem.solvers.monitor import Monitor
from fastem.solvers.network import Network

START = np.array([0.6, 0.5])
STEPPERS = [PlainStep, QuasiNewtonStep, DampedStep]


class TwoCoins:
    """Heads in ten tosses of one of two coins, each as likely; theta holds their biases.

    Keeps its expectations in one array that every E-step overwrites, as networks do.
    """

    def __init__(self, heads=(5, 9, 8, 4, 7)):
        self.heads = np.array(heads, dtype=float)
        self.shares = np.empty((2, len(heads)))

    def expect(self, theta, draw=0):
        if not ((theta > 0.0) & (theta < 1.0)).all():
            raise FloatingPointError("a bias outside (0, 1)")
        heads, tails = self.heads, 10.0 - self.heads
        log_joint = np.log(theta)[:, None] * heads + np.log1p(-theta)[:, None] * tails
        log_joint += math.log(0.5)
        log_marginal = reference.log_sum_exp(log_joint, axis=0)
        self.shares[:] = np.exp(log_joint - log_marginal)
        return float(log_marginal.sum()), self.shares

    def maximize(self, theta, shares):
        return shares @ self.heads / (10.0 * shares.sum(axis=1))

    def gradient(self, theta, shares):
        return shares @ self.heads / theta - shares @ (10.0 - self.heads) / (1.0 - theta)


class Scripted:
    """Climbs a given list of objectives; theta counts the M-steps.

    An objective that is an exception is raised in place of it.
    """

    def __init__(self, *objectives):
        self.objectives = objectives

    def expect(self, theta, draw=0):
        objective = self.objectives[int(theta[0])]
        if isinstance(objective, BaseException):
            raise objective
        return objective, None

    def maximize(self, theta, statistics):
        return theta + 1.0


def _network(m_step="newton", weights=None):
    """A slow climb: labels that say nothing."""
    rng = np.random.default_rng(0)
    shape = Shape(2, (3,), 2)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, size=60)
    rows = sort_rows(X, y, np.ones(60) if weights is None else weights, shape)
    start = shape.from_lists(*reference.draw_network(rng, 2, 3, 2))
    settings = {"alpha": 0.1, "learning_rate": 0.05, "n_threads": 1}
    return Network(rows, shape, Enumeration(), m_step, **settings), shape.pack(start)


def test_the_slides_two_coins_after_one_iteration():
    # slides "EM Algorithm to Train Neural Networks": 0.71 and 0.58, then 0.80 and 0.52
    monitor = Monitor(tol=0.0)
    theta = run_em(TwoCoins(), START, monitor, 1)
    np.testing.assert_array_equal(theta.round(2), [0.71, 0.58])
    assert monitor.n_iter == 1
    assert not monitor.converged


@pytest.mark.parametrize("stepper", STEPPERS)
def test_the_slides_two_coins_at_the_end(stepper):
    monitor = Monitor(tol=1e-12)
    theta = run_em(TwoCoins(), START, monitor, 1000, stepper())
    np.testing.assert_array_equal(theta.round(2), [0.80, 0.52])
    assert monitor.converged
    assert 5 < monitor.n_iter < 100


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("max_iter", [0, 1, 9])
def test_the_record_is_of_the_iterates(max_iter, stepper):
    model, monitor, iterates = TwoCoins(), Monitor(0.0), []
    monitor.report = lambda n_iter, objective, theta: iterates.append(theta.copy())
    theta = run_em(model, START, monitor, max_iter, stepper())
    assert monitor.n_iter == max_iter == len(monitor.history) - 1
    assert monitor.history == [model.expect(x)[0] for x in [START, *iterates]]
    assert (np.diff(monitor.history) > 0.0).all()
    np.testing.assert_array_equal(theta, [START, *iterates][-1])
    np.testing.assert_array_equal(START, [0.6, 0.5])  # the start itself is left alone


def test_plain_em_is_the_default():
    one, other = Monitor(0.0), Monitor(0.0)
    run_em(TwoCoins(), START, one, 20)
    run_em(TwoCoins(), START, other, 20, PlainStep())
    assert one.history == other.history


def test_convergence_is_the_first_gain_within_tol():
    monitor = Monitor(tol=1e-5)
    run_em(TwoCoins(), START, monitor, 1000)
    assert monitor.converged
    within = np.diff(monitor.history) <= 1e-5 * np.abs(monitor.history[:-1])
    assert within.tolist() == [False] * (monitor.n_iter - 1) + [True]


@pytest.mark.parametrize("worse", [-50.0, -40.001, -math.inf, math.inf, math.nan])
def test_an_alarm_keeps_the_better_iterate(worse):
    monitor = Monitor(tol=1e-3)
    theta = run_em(Scripted(-100.0, -50.0, -40.0, worse, -1.0), np.zeros(1), monitor, 10)
    assert monitor.fell
    assert not monitor.converged
    assert not monitor.interrupted
    assert monitor.history == [-100.0, -50.0, -40.0]
    assert theta == [2.0]


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("stepper", STEPPERS)
def test_a_start_that_is_not_finite_raises(objective, stepper):
    with pytest.raises(FloatingPointError, match="starting values"):
        run_em(Scripted(objective), np.zeros(1), Monitor(0.1), 10, stepper())


def test_ctrl_c_keeps_the_last_iterate():
    monitor = Monitor(tol=0.0)
    model = Scripted(-100.0, -50.0, KeyboardInterrupt(), -1.0)
    theta = run_em(model, np.zeros(1), monitor, 10)
    assert monitor.interrupted
    assert (monitor.converged, monitor.fell) == (False, False)
    assert monitor.history == [-100.0, -50.0]
    assert theta == [1.0]


def test_ctrl_c_while_reporting_keeps_the_last_iterate():
    def report(n_iter, objective, theta):
        if n_iter == 2:
            raise KeyboardInterrupt

    monitor = Monitor(tol=0.0, report=report)
    try:
        theta = run_em(Scripted(-100.0, -50.0, -40.0, -30.0), np.zeros(1), monitor, 10)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C went through the loop")
    assert monitor.interrupted
    assert monitor.history[-1] == Scripted(-100.0, -50.0, -40.0).expect(theta)[0]


def test_a_report_stops_the_loop():
    monitor = Monitor(tol=0.0, report=lambda n_iter, objective, theta: n_iter == 2)
    theta = run_em(Scripted(-100.0, -50.0, -40.0, -30.0), np.zeros(1), monitor, 10)
    assert monitor.stopped
    assert (monitor.converged, monitor.interrupted) == (False, False)
    assert monitor.history == [-100.0, -50.0, -40.0]
    assert theta == [2.0]


def test_overflow_of_a_plain_step_is_not_hidden():
    with pytest.raises(FloatingPointError, match="overflow"):
        run_em(Scripted(-2.0, FloatingPointError("overflow")), np.zeros(1), Monitor(0.0), 5)


RESUMED = [
    ("newton", PlainStep), ("newton", QuasiNewtonStep), ("bound", QuasiNewtonStep),
    ("gradient", DampedStep),
]  # fmt: skip


@pytest.mark.parametrize(("m_step", "stepper"), RESUMED)
@pytest.mark.parametrize("parts", [[1] * 40, [7, 33], [25, 15], [0, 40]])
def test_a_resumed_ascent_equals_one_that_never_stopped(m_step, stepper, parts):
    whole = Monitor(tol=0.0)
    network, start = _network(m_step)
    expected = run_em(network, start, whole, 40, stepper())
    assert whole.n_iter == 40
    monitor, same_stepper, theta = Monitor(tol=0.0), stepper(), start
    for max_iter in parts:
        network, _ = _network(m_step)
        theta = run_em(network, theta, monitor, max_iter, same_stepper)
    assert monitor.history == whole.history
    np.testing.assert_array_equal(theta, expected)


@pytest.mark.parametrize("stop", [3, 9, 20])
@pytest.mark.parametrize("stepper", STEPPERS)
def test_an_ascent_stopped_by_ctrl_c_resumes_as_if_it_had_not(stepper, stop):
    whole = Monitor(tol=0.0)
    network, start = _network()
    expected = run_em(network, start, whole, 30, stepper())

    monitor, same_stepper = Monitor(tol=0.0), stepper()
    theta = run_em(network, start, monitor, stop, same_stepper)
    expect = network.expect
    calls = itertools.count()

    def interrupted(theta, draw=0):
        if next(calls) == 1:  # the first is that of the start
            raise KeyboardInterrupt
        return expect(theta, draw)

    network.expect = interrupted
    theta = run_em(network, theta, monitor, 30 - stop, same_stepper)
    assert monitor.interrupted
    assert monitor.n_iter == stop
    network.expect = expect
    theta = run_em(network, theta, monitor, 30 - stop, same_stepper)
    assert monitor.history == whole.history
    np.testing.assert_array_equal(theta, expected)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_new_data_begins_anew(stepper):
    monitor, same_stepper = Monitor(tol=0.0), stepper()
    network, start = _network()
    theta = run_em(network, start, monitor, 12, same_stepper)
    other, _ = _network(weights=np.linspace(0.5, 2.0, 60))
    got = run_em(other, theta, monitor, 12, same_stepper)
    fresh = Monitor(tol=0.0)
    expected = run_em(other, theta, fresh, 12, stepper())
    assert monitor.history == fresh.history
    np.testing.assert_array_equal(got, expected)


def test_a_new_monitor_makes_an_old_stepper_forget():
    network, start = _network()
    stepper, histories = QuasiNewtonStep(), []
    for _ in range(2):
        monitor = Monitor(tol=0.0)
        run_em(network, start, monitor, 15, stepper)
        histories.append(monitor.history)
    assert histories[0] == histories[1]


class Overshooting(TwoCoins):
    """Steps so long that they leave the model or fall."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def maximize(self, theta, shares):
        return theta + self.factor * (super().maximize(theta, shares) - theta)


@pytest.mark.parametrize("factor", [2.5, 10.0, 1e6])
def test_damped_steps_never_fall(factor):
    monitor = Monitor(tol=1e-14)
    theta = run_em(Overshooting(factor), START, monitor, 500, DampedStep())
    assert (np.diff(monitor.history) >= 0.0).all()
    assert monitor.converged
    np.testing.assert_array_equal(theta.round(2), [0.80, 0.52])


def test_damped_steps_that_only_fall_stay():
    model = Overshooting(-1.0)
    first = Iterate(START, *model.expect(START))
    iterate = DampedStep().advance(model, first)
    np.testing.assert_array_equal(iterate.theta, START)
    assert iterate.objective == first.objective
    np.testing.assert_array_equal(iterate.statistics, TwoCoins().expect(START)[1])


@pytest.mark.parametrize("factor", [-1e20, math.nan])
def test_a_run_without_a_step_ends_and_has_not_converged(factor):
    monitor = Monitor(tol=1e-3)
    theta = run_em(Overshooting(factor), START, monitor, 500, DampedStep())
    np.testing.assert_array_equal(theta, START)
    assert monitor.n_iter == 0
    assert not monitor.converged
