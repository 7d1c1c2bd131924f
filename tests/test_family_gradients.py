"""Gradients, M-steps and ascents of numbers, counts and labels against slow truths."""

import warnings

import numpy as np
import pytest
import reference
from sklearn.exceptions import ConvergenceWarning
from test_families import NAMES, draw_problem

import fastem
from fastem import FastEMRegressor
from fastem.engines import Enumeration
from fastem.m_step import M_STEPS, Parts
from fastem.rows import sort_rows
from fastem.solvers import Network

# some fits have large penalties, and some have outputs that are all zero
pytestmark = pytest.mark.filterwarnings("ignore:The fit predicts the same for every row")

every_family = pytest.mark.parametrize("name", NAMES)
outputs = pytest.mark.parametrize("d", [1, 3])
INTERCEPTS = pytest.mark.parametrize("fit_intercept", [True, False])
WEIGHTS = np.random.default_rng(0).uniform(0.0, 2.0, size=60)
FLOOR = 0.01


# Gradients


@every_family
@outputs
def test_gradients_of_e_step_are_differences(name, d):
    _, X, y, coefs, intercepts, variance = draw_problem(name, 1, d=d)
    variance = variance if len(variance) else None

    def result():
        return fastem.e_step(
            X, y, coefs, intercepts, family=name, variance=variance, sample_weight=WEIGHTS, n_jobs=1
        )

    def total():
        return WEIGHTS @ result().log_likelihood

    found = result()
    slopes = reference.directional_slopes(coefs, intercepts, total)
    gradients = [*found.coef_gradients, *found.intercept_gradients]
    for gradient, (direction, slope) in zip(gradients, slopes, strict=True):
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6, abs=1e-5)
    if variance is None:
        assert found.variance_gradient is None
        return
    for output in range(d):
        values, step = [], 1e-6
        for sign in (1.0, -1.0):
            variance[output] += sign * step
            values.append(total())
            variance[output] -= sign * step
        slope = (values[0] - values[1]) / (2.0 * step)
        assert found.variance_gradient[output] == pytest.approx(slope, rel=1e-5)


def network(problem, m_step=None, alpha=0.3, weights=WEIGHTS, n_threads=1, rate=0.0):
    shape, X, y, coefs, intercepts, variance = problem
    shape = shape._replace(variance_floor=FLOOR if shape.n_variances else 0.0)
    rows = sort_rows(X, y, weights, shape)
    model = Network(
        rows, shape, Enumeration(), m_step, alpha=alpha, n_threads=n_threads, learning_rate=rate
    )
    return rows, model, shape.pack(shape.from_lists(coefs, intercepts, variance))


@INTERCEPTS
@outputs
@every_family
def test_gradient_over_the_flat_vector_is_differences(name, d, fit_intercept):
    problem = draw_problem(name, 2, d=d, fit_intercept=fit_intercept)
    _, model, theta = network(problem)
    gradient = model.gradient(theta, model.expect(theta)[1])
    assert len(gradient) == model.shape.n_parameters == len(theta)
    for j in range(len(theta)):
        moved = np.zeros(len(theta))
        moved[j] = 1e-5
        up, down = model.expect(theta + moved)[0], model.expect(theta - moved)[0]
        assert gradient[j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=2e-5)


@every_family
@outputs
def test_packing_is_inverted_by_unpacking(name, d):
    problem = draw_problem(name, d=d)
    _, model, theta = network(problem)
    parameters = model.shape.unpack(theta)
    np.testing.assert_allclose(parameters.variance, problem[-1], rtol=1e-14)
    np.testing.assert_allclose(model.shape.pack(parameters), theta, rtol=1e-14)
    n_penalised = sum(weights.size for weights in problem[3])
    assert model.shape.penalty_weights().sum() == n_penalised


# M-steps


def expected_objective(problem, posterior, responsibilities, parameters, alpha, weights):
    """Q in plain NumPy: the states of every row have given probabilities (n, K)."""
    shape, X, y, *_ = problem
    (W, V), (b, c) = shape.to_lists(parameters)
    s = parameters.variance if len(parameters.variance) else None
    a = X @ W + b
    hidden = posterior * reference.log_sigmoid(a) + (1.0 - posterior) * reference.log_sigmoid(-a)
    eta = reference.configurations(len(V)) @ V + c
    own = reference.log_density(shape.family.name, y, eta, s)
    output = np.sum(responsibilities * own, axis=1)
    return weights @ (hidden.sum(axis=1) + output) - reference.penalty([W, V], alpha)


def responsibilities_of(problem):
    """P(z | x, y) of every row and configuration (n, K)."""
    shape, X, y, (W, V), (b, c), variance = problem
    Z = reference.configurations(len(V))
    s = variance if len(variance) else None
    log_joint = reference.log_first(X, Z, W, b)
    log_joint = log_joint + reference.log_density(shape.family.name, y, Z @ V + c, s)
    return np.exp(log_joint - reference.log_sum_exp(log_joint, axis=1)[:, None])


PROBLEMS = {
    "plain": {},
    "three outputs": {"d": 3},
    "large weights": {"scale": 2.0, "hidden_scale": 3.0},
    "one unit": {"m": 1},
    "one row": {"n": 1},
    "more features than rows": {"n": 5, "p": 12},
    "many units": {"m": 8, "n": 300},
}


@pytest.mark.parametrize(("alpha", "fit_intercept"), [(0.0, True), (0.7, True), (0.7, False)])
@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("m_step", M_STEPS)
@every_family
def test_q_does_not_fall(name, m_step, kind, alpha, fit_intercept):
    for seed in range(2):
        problem = draw_problem(name, seed, fit_intercept=fit_intercept, **PROBLEMS[kind])
        shape, X, y, coefs, intercepts, variance = problem
        shape = shape._replace(variance_floor=FLOOR)  # without it, Q of one row is unbounded
        weights = np.random.default_rng(seed).choice([0.5, 1.0, 20.0], size=len(X))
        parameters = shape.from_lists(coefs, intercepts, variance)
        rows = sort_rows(X, y, weights, shape)
        statistics = Enumeration().plan(rows, shape, 1).expect(parameters)
        rate = 1e-9  # short enough to raise Q
        m_step_of_rows = M_STEPS[m_step](Parts.of(rows, shape, "counts", alpha, 1), rate)
        new = m_step_of_rows(parameters, statistics)
        assert all(np.isfinite(x).all() for x in (*new.hidden, new.output, new.variance))
        new = shape.unpack(shape.pack(new))  # variances below the floor are raised to it
        r = responsibilities_of(problem)
        posterior = r @ reference.configurations(shape.last)
        before, after = (
            expected_objective(problem, posterior, r, x, alpha, weights) for x in (parameters, new)
        )
        assert after > before - 1e-10 * abs(before)
        assert shape.pack(new).shape == (shape.n_parameters,)
        if m_step != "gradient":
            assert after > before


def test_variance_has_a_closed_form():
    problem = draw_problem("gaussian", 3, d=2)
    shape, X, y, coefs, intercepts, variance = problem
    parameters = shape.from_lists(coefs, intercepts, variance)
    rows = sort_rows(X, y, WEIGHTS, shape)
    statistics = Enumeration().plan(rows, shape, 1).expect(parameters)
    r = responsibilities_of(problem) * WEIGHTS[:, None]
    for m_step in ("newton", "bound"):
        new = M_STEPS[m_step](Parts.of(rows, shape, "counts", 0.4, 1), 0.0)(parameters, statistics)
        V, c = shape.to_lists(new)[0][1], shape.to_lists(new)[1][1]
        eta = reference.configurations(shape.last) @ V + c
        squares = np.einsum("is,isd->d", r, (y[:, None, :] - eta[None]) ** 2)
        np.testing.assert_allclose(new.variance, squares / WEIGHTS.sum(), rtol=1e-10)
        # weighted least squares on the states, penalised
        Z = np.hstack([reference.configurations(shape.last), np.ones((len(eta), 1))])
        for d in range(2):
            system = Z.T @ (r.sum(axis=0)[:, None] * Z) / variance[d]
            system[:-1, :-1] += 0.4 * np.eye(shape.last)
            right = Z.T @ (r.T @ y[:, d]) / variance[d]
            np.testing.assert_allclose(
                new.output[:, d], np.linalg.solve(system, right), rtol=1e-7, atol=1e-9
            )


def test_the_variance_stays_at_its_floor():
    problem = draw_problem("gaussian", 3, noise=1e-4)
    _, model, theta = network(problem, "newton")
    for _ in range(5):
        theta = model.maximize(theta, model.expect(theta)[1])
        variance = model.shape.unpack(theta).variance
        assert variance[0] >= FLOOR
    assert variance[0] == pytest.approx(FLOOR, rel=1e-6)
    assert np.isfinite(model.gradient(theta, model.expect(theta)[1])).all()


# Ascents


def data(name, n=120, d=1, seed=0):
    _, X, y, *_ = draw_problem(name, seed, n=n, m=3, d=d)
    return X, y[:, 0] if d == 1 else y


def model_of(name, **options):
    options = {"random_state": 0, "n_jobs": 1, "tol": 1e-7, "variance_floor": 1e-3, **options}
    return FastEMRegressor((3,), family=name, **options)


def fit(model, X, y, weights=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, weights)


ASCENTS = {
    "newton": {}, "newton-plain": {"accelerate": False}, "bound": {"m_step": "bound"},
    "bound-plain": {"m_step": "bound", "accelerate": False},
    "gradient": {"m_step": "gradient"}, "lbfgs": {"solver": "lbfgs"},
}  # fmt: skip


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("options", ASCENTS.values(), ids=ASCENTS)
@every_family
def test_no_iteration_lowers_the_objective(name, options, alpha):
    X, y = data(name, d=2)
    model = fit(model_of(name, alpha=alpha, max_iter=60, **options), X, y)
    falls = np.diff(model.loss_curve_)
    assert falls.max() <= 1e-9 * abs(model.loss_)
    assert model.loss_ < model.loss_curve_[0]


@every_family
@outputs
def test_em_ends_where_the_gradient_is_zero(name, d):
    X, y = data(name, d=d)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if name == "gaussian":
        y = (y - y.mean(axis=0)) / y.std(axis=0)
    alpha = 5.0
    model = fit(model_of(name, alpha=alpha, tol=1e-14, max_iter=5000, standardize=False), X, y)
    variance = model.variance_ if name == "gaussian" else None
    found = fastem.e_step(
        X, y, model.coefs_, model.intercepts_, family=name, variance=variance, n_jobs=1
    )
    for gradient, coefs in zip(found.coef_gradients, model.coefs_, strict=True):
        np.testing.assert_allclose(gradient - alpha * coefs, 0.0, atol=2e-4)
    for gradient in found.intercept_gradients:
        np.testing.assert_allclose(gradient, 0.0, atol=2e-4)
    if variance is not None:
        np.testing.assert_allclose(found.variance_gradient * variance, 0.0, atol=2e-4)


@every_family
def test_lbfgs_and_em_reach_one_optimum(name):
    X, y = data(name)
    # one start near the optimum, so that both climb the same hill
    start = fit(model_of(name, alpha=20.0, max_iter=5), X, y)
    options = {"coefs_init": start.coefs_, "intercepts_init": start.intercepts_, "alpha": 20.0}
    em = fit(model_of(name, tol=1e-13, max_iter=3000, **options), X, y)
    lbfgs = fit(model_of(name, tol=1e-13, max_iter=3000, solver="lbfgs", **options), X, y)
    assert em.loss_ == pytest.approx(lbfgs.loss_, rel=1e-8)
    np.testing.assert_allclose(em.log_density(X, y), lbfgs.log_density(X, y), atol=1e-3)


# Threads, weights and order


def results(name, **options):
    X, y = data(name, n=400, d=2)
    model = fit(model_of(name, max_iter=8, **options), X, y)
    found = [*model.coefs_, *model.intercepts_, model.log_density(X, y)]
    found += [*model.predict(X, return_std=True), model.predict_cdf(X, y), model.posterior(X, y)]
    return [*found, model.predict_quantile(X, [0.1, 0.5, 0.9])]


@pytest.mark.parametrize(
    "options", [{}, {"m_step": "bound"}, {"solver": "lbfgs"}, {"solver": "adam"}], ids=str
)
@every_family
def test_threads_leave_every_bit_in_place(name, options, monkeypatch):
    monkeypatch.setattr("fastem.runtime.threads._SERIAL_SECONDS", 0.0)  # share everything
    one = results(name, n_jobs=1, **options)
    for n_jobs in (2, 3):
        for got, expected in zip(results(name, n_jobs=n_jobs, **options), one, strict=True):
            np.testing.assert_array_equal(got, expected)


@every_family
@outputs
def test_threads_leave_every_bit_of_a_sliced_table(name, d, monkeypatch):
    monkeypatch.setattr("fastem.runtime.threads._SERIAL_SECONDS", 0.0)
    problem = draw_problem(name, 5, n=2500, m=14, d=d, scale=0.3)
    found = []
    for n_threads in (1, 2, 3):
        _, model, theta = network(problem, "newton", weights=np.ones(2500), n_threads=n_threads)
        objective, statistics = model.expect(theta)
        gradient = model.gradient(theta, statistics)
        found.append((objective, gradient, model.maximize(theta, statistics)))
    for other in found[1:]:
        for got, expected in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@every_family
@outputs
def test_a_row_of_weight_two_is_a_repeated_row(name, d):
    X, y = data(name, d=d)
    weights = np.where(np.arange(len(X)) % 3 == 0, 2.0, 1.0)
    twice = weights == 2.0
    options = {"alpha": 2.0, "max_iter": 15}
    once = fit(model_of(name, **options), X, y, weights)
    repeated = fit(model_of(name, **options), np.r_[X, X[twice]], np.r_[y, y[twice]])
    np.testing.assert_allclose(once.loss_curve_, repeated.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(once.log_density(X, y), repeated.log_density(X, y), atol=1e-7)
    assert once.log_likelihood(X, y, weights) == pytest.approx(
        once.log_likelihood(np.r_[X, X[twice]], np.r_[y, y[twice]]), rel=1e-12
    )


@every_family
def test_rows_of_weight_zero_are_ignored(name):
    X, y = data(name)
    far = np.r_[X, 1e6 * np.ones((3, X.shape[1]))]
    wild = np.r_[y, np.full(3, 1.0 if name == "bernoulli" else 1e6)]
    weights = np.r_[np.ones(len(X)), np.zeros(3)]
    with_them, without = fit(model_of(name), far, wild, weights), fit(model_of(name), X, y)
    for got, expected in zip(
        with_them.coefs_ + with_them.intercepts_, without.coefs_ + without.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@every_family
@outputs
def test_order_of_rows_does_not_matter(name, d):
    X, y = data(name, d=d)
    order = np.random.default_rng(3).permutation(len(X))
    options = {"alpha": 2.0, "max_iter": 10}
    one = fit(model_of(name, **options), X, y)
    other = fit(model_of(name, **options), X[order], y[order])
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(
        one.log_density(X[order], y[order]),
        one.log_density(X, y)[order], rtol=1e-11, atol=1e-11,
    )  # fmt: skip


@every_family
def test_rows_in_several_pieces(name):
    X, y = data(name, n=500, d=2)
    model = fit(model_of(name, max_iter=5), X, y)
    for compute in ("log_density", "posterior"):
        whole = getattr(model, compute)(X, y)
        parts = [getattr(model, compute)(X[i : i + 7], y[i : i + 7]) for i in range(0, len(X), 7)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("alpha", [0.0, 1e-8])
@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_an_objective_near_zero_does_not_fall(name, alpha, n):
    """Its differences are rounding errors; a RuntimeWarning would announce a fall."""
    for seed in range(3):
        X = np.random.default_rng(seed).normal(size=(n, 3))
        for options in ({}, {"accelerate": False}, {"m_step": "bound"}):
            model = FastEMRegressor(
                (4,), family=name, alpha=alpha, max_iter=100, random_state=seed, n_jobs=1, **options
            )
            assert fit(model, X, np.zeros(n)).loss_ < 1e-4
