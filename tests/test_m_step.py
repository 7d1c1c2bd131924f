"""M-steps against Q in plain NumPy: they climb it, by the step that they promise."""

from typing import NamedTuple

import numpy as np
import pytest
import reference

from fastem.engines.enumeration import Enumeration
from fastem.expectations import Statistics
from fastem.m_step import M_STEPS, Parts
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows, sort_rows

INTERCEPTS = pytest.mark.parametrize("fit_intercept", [True, False])
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.7])


class Problem(NamedTuple):
    """Rows, a network, and what the E-step says of them; X is without the ones."""

    X: np.ndarray
    rows: TrainingRows
    shape: Shape
    parameters: Parameters
    statistics: Statistics

    def q(self, parameters, alpha):
        coefs, intercepts = self.shape.to_lists(parameters)
        return reference.expected_objective(*self._fixed(), coefs, intercepts, self.weights, alpha)

    def q_gradient(self, parameters, alpha):
        lists = self.shape.to_lists(parameters)
        gradients = reference.expected_gradients(*self._fixed(), *lists, self.weights, alpha)
        return self.shape.pack(self.shape.from_lists(*gradients))

    @property
    def weights(self):
        return self.rows.weights

    def _fixed(self):
        counts = self.statistics.expected_counts()
        return self.X, self.statistics.hidden[0].posterior.T, counts.reshape(len(counts), -1)

    def at(self, parameters):
        """Return the statistics at other parameters, posterior and counts held fixed."""
        (W, V), (b, c) = self.shape.to_lists(parameters)
        gradient = self.shape.unpack(self.q_gradient(parameters, 0.0))
        table = np.exp(reference.log_output_table(V, c)).T
        probability = np.exp(reference.log_sigmoid(self.X @ W + b)).T
        layer = self.statistics.hidden[0]._replace(
            probability=np.ascontiguousarray(probability), gradient=gradient.hidden[0]
        )
        return self.statistics._replace(
            hidden=(layer,),
            output_table=table.reshape(self.statistics.expected_counts().shape).copy(),
            output_gradient=gradient.output,
        )


def _problem(X, y, weights, coefs, intercepts, fit_intercept=True, n_threads=1):
    shape = Shape(X.shape[1], (len(coefs[1]),), coefs[1].shape[1], fit_intercept)
    rows = sort_rows(X, np.asarray(y), np.asarray(weights, dtype=float), shape)
    parameters = shape.from_lists(coefs, intercepts)
    statistics = Enumeration().plan(rows, shape, n_threads).expect(parameters)
    return Problem(X[rows.order], rows, shape, parameters, statistics)


def _random(seed=0, n=30, p=3, m=3, g=3, fit_intercept=True, scale=1.0, weights=None, labels=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = rng.integers(0, labels or g, size=n)
    lists = reference.draw_network(rng, p, m, g, fit_intercept, scale)
    return _problem(X, y, np.ones(n) if weights is None else weights(rng, n), *lists, fit_intercept)


def _step(name, problem, alpha, parameters=None, rate=None, n_threads=1):
    if rate is None and name == "gradient":  # short enough to raise Q
        rate = 1.0 / np.linalg.eigvalsh(_bound(problem, alpha)).max()
    parts = Parts.of(problem.rows, problem.shape, "counts", alpha, n_threads)
    m_step = M_STEPS[name](parts, rate)
    if parameters is None:
        return m_step(problem.parameters, problem.statistics)
    return m_step(parameters, problem.at(parameters))


def _penalty(shape, alpha):
    return np.diag(alpha * shape.penalty_weights())


def _hessian(problem, parameters, alpha, step=1e-5):
    """Negative Hessian of Q over the flat vector, by differences of its gradient."""
    shape, theta = problem.shape, problem.shape.pack(parameters)
    hessian = np.empty((theta.size, theta.size))
    for j in range(theta.size):
        moved = np.zeros(theta.size)
        moved[j] = step
        up, down = (problem.q_gradient(shape.unpack(theta + x), alpha) for x in (moved, -moved))
        hessian[j] = (down - up) / (2.0 * step)
    return 0.5 * (hessian + hessian.T)


def _bound(problem, alpha):
    """Boehning's bound on the curvature of Q over the flat vector, as one dense matrix."""
    shape, inputs = problem.shape, problem.rows.inputs
    m, g, fit_intercept = shape.first, shape.n_outputs, shape.fit_intercept
    gram = (inputs * problem.weights[:, None]).T @ inputs / 4.0
    Z = np.hstack([reference.configurations(m), np.ones((2**m, int(fit_intercept)))])
    totals = problem.statistics.expected_counts().sum(axis=0).ravel()
    moments = (Z * totals[:, None]).T @ Z
    hidden, output = np.kron(gram, np.eye(m)), np.kron(moments, 0.5 * (np.eye(g) - 1.0 / g))
    bound = np.zeros((shape.n_parameters, shape.n_parameters))
    bound[: len(hidden), : len(hidden)] = hidden
    bound[len(hidden) :, len(hidden) :] = output
    return bound + _penalty(shape, alpha)


PROBLEMS = {
    "plain": {},
    "large log-odds": {"scale": 5.0},
    "heavy rows": {"weights": lambda rng, n: rng.choice([1e3, 1.0, 1e-3], size=n)},
    "light rows": {"weights": lambda rng, n: rng.choice([0.0, 1e-8], size=n)},
    "one feature": {"p": 1},
    "one unit": {"m": 1, "g": 2},
    "more features than rows": {"n": 5, "p": 12},
    "one row": {"n": 1},
    "class without rows": {"labels": 2},
    "many units": {"m": 9, "n": 300},
}


@INTERCEPTS
@ALPHAS
@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("name", M_STEPS)
def test_q_rises(name, kind, alpha, fit_intercept):
    for seed in range(3):
        problem = _random(seed, fit_intercept=fit_intercept, **PROBLEMS[kind])
        before = problem.q(problem.parameters, alpha)
        new = _step(name, problem, alpha)
        assert all(np.isfinite(x).all() for x in new)
        assert new.output.shape == problem.shape.output_shape
        assert problem.q(new, alpha) > before


@pytest.mark.parametrize("name", M_STEPS)
@ALPHAS
def test_q_never_falls_on_saturated_rows(name, alpha):
    X = np.array([[1.0], [-1.0], [1.0], [-1.0], [1e-3]])
    W, V = np.array([[800.0, -800.0]]), np.array([[3.0, -3.0], [-900.0, 900.0]])
    for y in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 1]):
        problem = _problem(X, y, np.ones(5), [W, V], [np.zeros(2), np.zeros(2)])
        new = _step(name, problem, alpha)
        before = problem.q(problem.parameters, alpha)
        assert all(np.isfinite(x).all() for x in new)
        assert problem.q(new, alpha) >= before - 1e-11 * abs(before)


@pytest.mark.parametrize("name", M_STEPS)
@ALPHAS
def test_units_that_are_sure_and_wrong_are_moved(name, alpha):
    # the prior says on, by log-odds of 800, and the labels say off, by twice as much
    X, y = np.ones((4, 1)), [0, 0, 0, 1]
    lists = [np.array([[800.0]]), np.array([[-1600.0, 1600.0]])], [np.zeros(1), np.zeros(2)]
    problem = _problem(X, y, np.ones(4), *lists, fit_intercept=False)
    posterior = problem.statistics.hidden[0].posterior
    np.testing.assert_allclose(posterior, [[0.0, 0.0, 0.0, 1.0]], atol=1e-300)
    parameters, q = problem.parameters, [problem.q(problem.parameters, alpha)]
    for _ in range(3):
        parameters = _step(name, problem, alpha, parameters)
        q.append(problem.q(parameters, alpha))
    assert all(np.isfinite(x).all() for x in parameters)
    assert min(np.diff(q)) > 0.0


@INTERCEPTS
@pytest.mark.parametrize("name", M_STEPS)
def test_the_three_end_at_one_maximum_of_q(name, fit_intercept):
    alpha = 1.0
    problem = _random(3, n=20, p=2, m=2, fit_intercept=fit_intercept)
    shape, parameters = problem.shape, problem.parameters
    theta = shape.pack(parameters)
    for _ in range(3000):
        last, parameters = theta, _step(name, problem, alpha, parameters)
        theta = shape.pack(parameters)
        if np.abs(theta - last).max() < 1e-13:
            break
    curvature = _hessian(problem, parameters, alpha)
    assert np.linalg.eigvalsh(curvature).min() > -1e-6
    gap = np.linalg.pinv(curvature, rcond=1e-6) @ problem.q_gradient(parameters, alpha)
    np.testing.assert_allclose(gap, 0.0, atol=1e-6)


@INTERCEPTS
@ALPHAS
@pytest.mark.parametrize("name", ["newton", "bound"])
def test_a_step_solves_its_dense_system(name, alpha, fit_intercept):
    for seed in range(3):
        # near the top of Q, where a full Newton step holds
        problem = _random(seed, fit_intercept=fit_intercept, scale=0.3)
        shape, parameters = problem.shape, problem.parameters
        gradient = problem.q_gradient(parameters, alpha)
        if name == "newton":
            system = _hessian(problem, parameters, alpha)
        else:
            system = _bound(problem, alpha)
        expected = np.linalg.pinv(system, rcond=1e-7) @ gradient
        step = shape.pack(_step(name, problem, alpha)) - shape.pack(parameters)
        np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-6)


@INTERCEPTS
@ALPHAS
@pytest.mark.parametrize("kind", ["plain", "large log-odds", "one unit", "class without rows"])
def test_the_bound_is_one(kind, alpha, fit_intercept):
    rng = np.random.default_rng(0)
    problem = _random(1, fit_intercept=fit_intercept, **PROBLEMS[kind])
    bound = _bound(problem, alpha)
    size = np.linalg.eigvalsh(bound).max()
    thetas = [problem.shape.pack(problem.parameters), np.zeros(len(bound))]
    thetas += [rng.normal(size=len(bound)) for _ in range(3)]
    for theta in thetas:
        curvature = _hessian(problem, problem.shape.unpack(theta), alpha)
        assert np.linalg.eigvalsh(bound - curvature).min() > -1e-8 * size
        assert np.linalg.eigvalsh(curvature).min() > -1e-8 * size


@INTERCEPTS
def test_gradient_is_one_step_of_the_given_rate(fit_intercept):
    problem = _random(2, fit_intercept=fit_intercept)
    shape, rate = problem.shape, 0.037
    new = _step("gradient", problem, 0.7, rate=rate)
    step = shape.pack(new) - shape.pack(problem.parameters)
    expected = rate * problem.q_gradient(problem.parameters, 0.7)
    np.testing.assert_allclose(step, expected, rtol=1e-9, atol=1e-12)


def test_a_newton_step_that_overshoots_is_damped():
    # flat where it starts: the full step would leave the regions of any gain
    X = np.linspace(-1.0, 1.0, 12)[:, None]
    lists = [np.array([[30.0, -20.0]]), np.array([[25.0, -25.0], [-30.0, 10.0]])]
    problem = _problem(X, [0, 1] * 6, np.ones(12), lists, [np.zeros(2), np.zeros(2)])
    full = np.linalg.pinv(_hessian(problem, problem.parameters, 0.0), rcond=1e-12)
    theta = problem.shape.pack(problem.parameters)
    far = theta + full @ problem.q_gradient(problem.parameters, 0.0)
    before = problem.q(problem.parameters, 0.0)
    assert problem.q(problem.shape.unpack(far), 0.0) < before
    assert problem.q(_step("newton", problem, 0.0), 0.0) > before


@pytest.mark.parametrize("name", M_STEPS)
def test_arguments_are_left_alone(name):
    problem = _random(4)
    hidden, *output = problem.parameters
    statistics = problem.statistics
    counts = statistics.expected_counts()
    log_likelihood, layers, *counted = statistics._replace(counts=counts)
    arrays = [*hidden, *output, log_likelihood, *(x for layer in layers for x in layer), *counted]
    arrays = [array for array in arrays if array is not None]
    before = [array.copy() for array in arrays]
    _step(name, problem, 0.5)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@INTERCEPTS
@pytest.mark.parametrize("name", M_STEPS)
def test_threads_leave_every_bit_in_place(name, fit_intercept, monkeypatch):
    monkeypatch.setattr("fastem.runtime.threads._SERIAL_SECONDS", 0.0)  # share everything
    # several pieces of rows, and several slices of the table
    problem = _random(5, n=5000, p=4, m=15, fit_intercept=fit_intercept)
    one = _step(name, problem, 0.3, rate=1e-3)
    for n_threads in (2, 3):
        other = _step(name, problem, 0.3, rate=1e-3, n_threads=n_threads)
        for got, expected in zip(other, one, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", M_STEPS)
def test_many_rows_and_a_sliced_table_raise_q(name):
    problem = _random(6, n=2500, p=3, m=15, g=2)
    rate = 1e-4
    q = [problem.q(x, 0.3) for x in (problem.parameters, _step(name, problem, 0.3, rate=rate))]
    assert q[1] > q[0]
