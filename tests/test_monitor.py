"""The record of an ascent: what is kept, what is convergence, and what is an alarm."""

import math

import numpy as np
import pytest

from fastem.solvers.monitor import Monitor

THETA = np.zeros(2)


def _started(objective=-100.0, tol=1e-3, report=None):
    monitor = Monitor(tol, report)
    monitor.start(objective, THETA)
    return monitor


def test_a_new_record_is_empty():
    monitor = Monitor(0.1)
    assert (monitor.history, monitor.n_iter) == ([], 0)
    assert not any([monitor.converged, monitor.stopped, monitor.interrupted, monitor.fell])


def test_iterates_are_counted_without_the_start():
    monitor = _started()
    assert (monitor.history, monitor.n_iter) == ([-100.0], 0)
    for n_iter, objective in enumerate([-90.0, -80.0, -70.0], start=1):
        assert not monitor.update(objective, THETA)
        assert monitor.n_iter == n_iter
    assert monitor.history == [-100.0, -90.0, -80.0, -70.0]


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_not_finite_raises(objective):
    with pytest.raises(FloatingPointError, match="starting values"):
        Monitor(0.1).start(objective, THETA)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e9])
def test_convergence_is_relative(size, sign):
    last = sign * size
    for share, converges in [(0.9e-3, True), (1.2e-3, False)]:
        monitor = _started(last, tol=1e-3)
        assert monitor.update(last + share * size, THETA) is converges
        assert monitor.converged is converges
        assert monitor.n_iter == 1


def test_without_tolerance_only_a_gain_goes_on():
    monitor = _started(-1.0, tol=0.0)
    assert not monitor.update(math.nextafter(-1.0, 0.0), THETA)
    assert monitor.update(monitor.history[-1], THETA)
    assert monitor.converged


def test_a_small_gain_may_be_kept_from_being_convergence():
    monitor = _started(-1.0, tol=0.1)
    assert not monitor.update(-1.0, THETA, may_converge=lambda: False)
    assert not monitor.converged
    monitor.report = lambda *_: True
    assert monitor.update(-1.0, THETA, may_converge=lambda: False)
    assert (monitor.converged, monitor.stopped) == (False, True)


@pytest.mark.parametrize("last", [-100.0, 100.0, -1e-7])
def test_a_fall_is_an_alarm_and_not_convergence(last):
    monitor = _started(last, tol=1.0)
    assert monitor.update(last - 1e-8 * abs(last), THETA)
    assert monitor.fell
    assert not monitor.converged
    assert (monitor.history, monitor.n_iter) == ([last], 0)


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_an_iterate_that_is_not_finite_is_an_alarm(objective, tol):
    monitor = _started(tol=tol)
    assert monitor.update(objective, THETA)
    assert monitor.fell
    assert not monitor.converged
    assert monitor.history == [-100.0]


def test_a_fall_by_rounding_is_none():
    monitor = _started(-100.0, tol=0.0)
    assert monitor.update(-100.0 - 1e-8, THETA)
    assert monitor.converged
    assert not monitor.fell


def test_a_report_is_told_every_iterate():
    told = []
    monitor = _started(report=lambda *iterate: told.append(iterate))
    monitor.update(-90.0, THETA)
    monitor.update(-89.999, THETA + 1.0)
    monitor.update(-1e3, THETA)  # an alarm is no iterate
    assert [(n_iter, objective) for n_iter, objective, _ in told] == [(1, -90.0), (2, -89.999)]
    np.testing.assert_array_equal([theta for *_, theta in told], [[0.0, 0.0], [1.0, 1.0]])


def test_a_report_may_stop_the_ascent():
    monitor = _started(report=lambda n_iter, objective, theta: n_iter == 2)
    assert not monitor.update(-90.0, THETA)
    assert monitor.update(-80.0, THETA)
    assert monitor.stopped
    assert not monitor.converged
    assert not monitor.interrupted  # by the user
    assert monitor.history == [-100.0, -90.0, -80.0]


def test_convergence_is_not_stopped():
    monitor = _started(report=lambda *iterate: True)
    assert monitor.update(-99.999, THETA)
    assert monitor.converged
    assert not monitor.stopped


@pytest.mark.parametrize("flag", ["converged", "stopped", "interrupted", "fell"])
def test_an_ascent_continues_where_it_ended(flag):
    monitor = Monitor(0.0)
    assert not monitor.start(-100.0, THETA)
    monitor.update(-90.0, THETA)
    setattr(monitor, flag, True)
    assert monitor.start(-90.0, THETA)
    assert monitor.history == [-100.0, -90.0]
    assert not any([monitor.converged, monitor.stopped, monitor.interrupted, monitor.fell])


def test_another_objective_begins_anew():
    monitor = _started()
    monitor.update(-90.0, THETA)
    assert not monitor.start(math.nextafter(-90.0, 0.0), THETA)
    assert len(monitor.history) == 1
    assert monitor.n_iter == 0
