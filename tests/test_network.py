"""The network as a model: its objective and gradient, and that EM never lowers it."""

import tracemalloc

import numpy as np
import pytest
import reference
from sklearn.datasets import load_iris, load_wine

from fastem.engines.enumeration import Enumeration
from fastem.m_step import M_STEPS
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.runtime import bytes_of, memory
from fastem.solvers.em import DampedStep, PlainStep, run_em
from fastem.solvers.monitor import Monitor
from fastem.solvers.network import Network
from fastem.solvers.starts import draw_start

LOADERS = {"iris": load_iris, "wine": load_wine}
INTERCEPTS = pytest.mark.parametrize("fit_intercept", [True, False])
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.7])


def _network(X, y, weights, shape, m_step="newton", alpha=0.0, learning_rate=0.01):
    rows = sort_rows(X, y, weights, shape)
    settings = {"alpha": alpha, "learning_rate": learning_rate, "n_threads": 1}
    return Network(rows, shape, Enumeration(), m_step, **settings)


def _random(fit_intercept, alpha, scale=1.0):
    rng = np.random.default_rng(0)
    shape = Shape(3, (4,), 3, fit_intercept)
    X, y, weights = rng.normal(size=(25, 3)), rng.integers(0, 3, size=25), rng.uniform(0, 5, 25)
    lists = reference.draw_network(rng, 3, 4, 3, fit_intercept, scale)
    network = _network(X, y, weights, shape, alpha=alpha)
    return network, shape, lists, (X, y, weights)


@INTERCEPTS
@ALPHAS
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_objective_and_gradient_are_the_references(scale, alpha, fit_intercept):
    network, shape, (coefs, intercepts), (X, y, weights) = _random(fit_intercept, alpha, scale)
    theta = shape.pack(shape.from_lists(coefs, intercepts))
    objective, statistics = network.expect(theta)
    truth = reference.e_step(X, y, coefs, intercepts, weights)
    expected = weights @ truth["log_likelihood"] - reference.penalty(coefs, alpha)
    assert objective == pytest.approx(expected, rel=1e-10)
    assert isinstance(objective, float)
    slopes = [g - alpha * x for g, x in zip(truth["coef_gradients"], coefs, strict=True)]
    expected = shape.pack(shape.from_lists(slopes, truth["intercept_gradients"]))
    np.testing.assert_allclose(network.gradient(theta, statistics), expected, rtol=1e-9, atol=1e-9)


@INTERCEPTS
@ALPHAS
def test_gradient_is_the_slope_of_the_objective(alpha, fit_intercept):
    network, shape, lists, _ = _random(fit_intercept, alpha)
    theta = shape.pack(shape.from_lists(*lists))
    gradient = network.gradient(theta, network.expect(theta)[1])
    step = 1e-5
    for j in range(theta.size):
        moved = np.zeros(theta.size)
        moved[j] = step
        up, down = (network.expect(theta + x)[0] for x in (moved, -moved))
        assert (up - down) / (2.0 * step) == pytest.approx(gradient[j], abs=1e-6)


@pytest.mark.parametrize("m_step", ["newton", "bound"])
@INTERCEPTS
def test_a_step_of_the_m_step_raises_q_and_so_the_objective(fit_intercept, m_step):
    _, shape, lists, (X, y, weights) = _random(fit_intercept, 0.7)
    network = _network(X, y, weights, shape, m_step, alpha=0.7)
    theta = shape.pack(shape.from_lists(*lists))
    before, statistics = network.expect(theta)
    truth = reference.e_step(X, y, *lists, weights)
    fixed = X, truth["hidden_posterior"], truth["counts"]
    new = network.maximize(theta, statistics)
    assert new.shape == theta.shape
    q = [
        reference.expected_objective(*fixed, *shape.to_lists(shape.unpack(x)), weights, 0.7)
        for x in (theta, new)
    ]
    gain = network.expect(new)[0] - before
    assert gain >= q[1] - q[0] > 0.0  # Jensen


@pytest.mark.parametrize("m_step", ["newton", "bound", "gradient"])
@pytest.mark.parametrize("data", LOADERS)
@INTERCEPTS
def test_plain_em_never_falls(fit_intercept, data, m_step):
    X, y = LOADERS[data](return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    shape = Shape(X.shape[1], (4,), 3, fit_intercept)
    class_weights = np.bincount(y).astype(float)
    stepper = DampedStep() if m_step == "gradient" else PlainStep()
    for seed, alpha in enumerate([0.0, 0.0, 0.1, 0.1, 1.0, 1.0, 10.0, 100.0]):
        network = _network(X, y, np.ones(len(y)), shape, m_step, alpha)
        start = draw_start(shape, class_weights, np.random.RandomState(seed))
        monitor = Monitor(tol=0.0)
        run_em(network, shape.pack(start), monitor, 40, stepper)
        assert not monitor.fell
        history = np.array(monitor.history)
        assert np.diff(history).min() >= -1e-9 * np.abs(history).max()
        assert history[-1] > history[0]
        assert monitor.n_iter == 40 or monitor.converged


def _many_features(n_features=300):
    rng = np.random.default_rng(0)
    shape = Shape(n_features, (5,), 3)
    return rng.normal(size=(400, n_features)), rng.integers(0, 3, size=400), np.ones(400), shape


def _bytes_of_step(m_step, shape):
    return bytes_of(*M_STEPS[m_step].buffers(shape, 400, "counts", 1))


def test_hessians_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    X, y, weights, shape = _many_features()
    needed = {name: _bytes_of_step(name, shape) for name in M_STEPS}
    assert needed["gradient"] < needed["bound"] < needed["newton"]
    assert needed["newton"] > 8 * 5 * 301**2
    there = Enumeration().bytes_needed(shape, 400, 1) + needed["gradient"]
    monkeypatch.setattr(memory, "available_bytes", lambda: there)
    monkeypatch.setattr(memory, "_NEGLIGIBLE_BYTES", 0)
    _network(X, y, weights, shape, m_step="gradient")
    _network(X, y, weights, shape, m_step=None)
    for m_step in ("newton", "bound"):
        message = rf"m_step='{m_step}' on 301 inputs.*{there} bytes.*m_step='gradient'"
        with pytest.raises(ValueError, match=message):
            _network(X, y, weights, shape, m_step=m_step)


@pytest.mark.parametrize("m_step", M_STEPS)
@pytest.mark.parametrize(("n_features", "scale"), [(300, 1.0), (300, 1e3), (2, 1.0)])
def test_an_m_step_takes_what_it_announces(m_step, n_features, scale):
    X, y, weights, shape = _many_features(n_features)
    rng = np.random.default_rng(1)
    lists = reference.draw_network(rng, n_features, 5, 3, True, scale)
    theta = shape.pack(shape.from_lists(*lists))
    network = _network(X, y, weights, shape, m_step=m_step)
    _, statistics = network.expect(theta)
    network.maximize(theta, statistics)  # compiles
    network = _network(X, y, weights, shape, m_step=m_step)
    _, statistics = network.expect(theta)
    tracemalloc.start()
    try:
        network.maximize(theta, statistics)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.02 * _bytes_of_step(m_step, shape) + 2**16
