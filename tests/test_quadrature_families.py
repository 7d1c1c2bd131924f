"""Quadrature of one Gaussian output: the engine, fits and predictions."""

import tracemalloc

import numpy as np
import pytest
import reference
from scipy.stats import norm
from sklearn.base import clone
from test_families import draw_problem

import fastem
from fastem.engines import Enumeration, Quadrature, Shape, resolve_engine
from fastem.engines.auto import cheapest_engine
from fastem.families import Bernoulli, Gaussian, Poisson
from fastem.m_step.parts import moments_bound
from fastem.rows import sort_rows
from fastem.solvers import Network

CONVERGENCE = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def expect(problem, weights=None, n_threads=1, tol=1e-10):
    shape, X, y, coefs, intercepts, variance = problem
    weights = np.ones(len(X)) if weights is None else weights
    rows = sort_rows(X, y, weights, shape)
    plan = Quadrature(tol).plan(rows, shape, n_threads)
    return rows, plan.expect(shape.from_lists(coefs, intercepts, variance))


def check(problem, weights=None, tol=1e-10):
    _, X, y, coefs, intercepts, variance = problem
    rows, found = expect(problem, weights, tol=tol)
    truth = reference.family_e_step("gaussian", X, y, coefs, intercepts, variance, weights)
    exact = truth["log_likelihood"][rows.order]
    assert (np.abs(found.log_likelihood - exact) <= tol * np.maximum(1.0, np.abs(exact))).all()
    posterior = found.hidden[0].posterior.T
    atol = tol * max(1.0, np.abs(exact).max())
    np.testing.assert_allclose(posterior, truth["hidden_posterior"][rows.order], atol=atol)
    # sums over rows, in units of the largest residual
    residual = np.abs(y - intercepts[1]).max() + np.abs(coefs[1]).sum()
    atol *= rows.weights.sum()
    for got, on_coefs, on_intercepts, unit in zip(
        (found.hidden[0].gradient, found.output_gradient), truth["coef_gradients"],
        truth["intercept_gradients"], (np.abs(X).max(), residual / variance[0]), strict=True,
    ):  # fmt: skip
        wanted = np.vstack([on_coefs, on_intercepts[None]])[: len(got)]
        np.testing.assert_allclose(got, wanted, rtol=0.0, atol=atol * max(unit, 1.0))
    squares = truth["squared_residuals"]
    np.testing.assert_allclose(found.squared_residuals, squares, atol=atol * residual**2)
    assert found.squared_residuals.shape == (1,)
    assert found.counts is None
    assert (posterior >= 0.0).all()
    assert (posterior <= 1.0).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("m", [1, 2, 5, 8, 12])
def test_the_e_step_against_the_sum_over_states(m, fit_intercept):
    weights = np.random.default_rng(0).uniform(0.0, 2.0, size=60)
    weights[:3], weights[3] = 0.0, 1e3
    check(draw_problem("gaussian", m, m=m, fit_intercept=fit_intercept), weights)


@pytest.mark.parametrize("noise", [3.0, 0.1, 0.01])
def test_much_noise_and_little_noise(noise):
    problem = draw_problem("gaussian", 1, m=6, noise=noise)
    check(problem)
    shape, X, y, *rest = problem
    # improbable values too
    check((shape, X, y + 3.0 * np.random.default_rng(0).normal(size=y.shape), *rest), tol=1e-9)


def test_hidden_log_odds_of_800():
    check(draw_problem("gaussian", 2, m=5, hidden_scale=800.0))


def flat_problem(m, n, variance_floor=0.0):
    shape, X, y, coefs, intercepts, variance = draw_problem("gaussian", 3, m=m, n=n, scale=0.5)
    shape = shape._replace(variance_floor=variance_floor)
    rows = sort_rows(X, y, np.random.default_rng(1).uniform(0.5, 2.0, n), shape)
    network = Network(rows, shape, Quadrature(), "newton", alpha=0.3, n_threads=1)
    return network, shape.pack(shape.from_lists(coefs, intercepts, variance))


@pytest.mark.parametrize("m", [3, 40])
def test_gradients_by_differences(m):
    network, theta = flat_problem(m, 30, variance_floor=0.01)
    _, statistics = network.expect(theta)
    gradient = network.gradient(theta, statistics)
    rng = np.random.default_rng(0)
    for _ in range(4):
        direction, values = rng.normal(size=theta.size), []
        for sign in (1.0, -1.0):
            values.append(network.expect(theta + sign * 1e-5 * direction)[0])
        slope = (values[0] - values[1]) / 2e-5
        assert gradient @ direction == pytest.approx(slope, rel=1e-5)


def test_a_thousand_units_against_a_normal_density():
    """With many weak units, y is nearly normal, with mean and variance in closed form."""
    m, n = 1000, 50
    shape, X, y, coefs, intercepts, variance = draw_problem(
        "gaussian", 0, m=m, n=n, scale=0.02, noise=1.0
    )
    _, found = expect((shape, X, y, coefs, intercepts, variance))
    on = 1.0 / (1.0 + np.exp(-(X @ coefs[0] + intercepts[0])))
    mean, spread = Gaussian().moments(on, coefs[1], intercepts[1], variance)
    order = sort_rows(X, y, np.ones(n), shape).order
    normal = norm.logpdf(y, mean, np.sqrt(spread))[order, 0]
    np.testing.assert_allclose(found.log_likelihood, normal, atol=2e-3)
    assert found.hidden[0].posterior.shape == (m, n)


def test_threads_do_not_change_a_bit():
    problem = draw_problem("gaussian", 4, m=30, n=700, scale=0.5)
    _, one = expect(problem)
    for n_threads in (2, 3):
        _, other = expect(problem, n_threads=n_threads)
        np.testing.assert_array_equal(one.log_likelihood, other.log_likelihood)
        np.testing.assert_array_equal(one.hidden[0].posterior, other.hidden[0].posterior)
        np.testing.assert_array_equal(one.hidden[0].gradient, other.hidden[0].gradient)
        np.testing.assert_array_equal(one.output_gradient, other.output_gradient)
        np.testing.assert_array_equal(one.squared_residuals, other.squared_residuals)


@pytest.mark.parametrize(("m", "n"), [(100, 500), (20, 5000)])
def test_memory_is_announced(m, n):
    shape, X, y, coefs, intercepts, variance = draw_problem("gaussian", 5, m=m, n=n, scale=0.3)
    rows = sort_rows(X, y, np.ones(n), shape)
    parameters = shape.from_lists(coefs, intercepts, variance)
    Quadrature().plan(rows, shape, 1).expect(parameters)  # compiles
    tracemalloc.start()
    Quadrature().plan(rows, shape, 1).expect(parameters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    declared = Quadrature().bytes_needed(shape, n)
    assert 0.4 * declared <= peak <= declared


# The public E-step, the choice, and refusals


def test_the_public_e_step():
    _, X, y, coefs, intercepts, variance = draw_problem("gaussian", 6, m=7)
    options = {"family": "gaussian", "variance": variance}
    found, exact = (
        fastem.e_step(X, y[:, 0], coefs, intercepts, method=method, **options)
        for method in ("quadrature", "enumeration")
    )
    np.testing.assert_allclose(found.log_likelihood, exact.log_likelihood, atol=1e-9)
    np.testing.assert_allclose(found.variance_gradient, exact.variance_gradient, rtol=1e-8)


def test_the_cheapest_engine():
    def shape(m):
        return Shape(5, (m,), 1, family=Gaussian())

    assert cheapest_engine(shape(8), 1000) == Enumeration()
    assert cheapest_engine(shape(30), 1000) == Quadrature()
    assert resolve_engine("auto", shape=shape(200), n_samples=1000) == Quadrature()


@pytest.mark.parametrize(
    ("family", "n_outputs", "got"),
    [
        (Gaussian(), 2, "2 outputs of family='gaussian'"),
        (Poisson(), 1, "1 output of family='poisson'"),
        (Bernoulli(), 3, "3 outputs of family='bernoulli'"),
    ],
)
def test_other_outputs_are_refused(family, n_outputs, got):
    shape = Shape(2, (3,), n_outputs, family=family)
    rows = sort_rows(np.ones((4, 2)), np.ones((4, n_outputs)), np.ones(4), shape)
    message = rf"one Gaussian output; got {got}.*Enumeration\(\), or fastem.Sampling\(\)"
    with pytest.raises(ValueError, match=message):
        Quadrature().plan(rows, shape, 1)
    assert Quadrature().seconds(shape, 10) == np.inf


def test_a_family_derived_from_gaussian_is_refused():
    class Mine(Gaussian):
        """May have another density."""

    with pytest.raises(ValueError, match="got 1 output"):
        Quadrature().bytes_needed(Shape(2, (3,), 1, family=Mine()), 10)


def test_several_labels_are_predicted_but_not_trained():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.integers(0, 2, size=(40, 3))
    model = fastem.FastEMClassifier((3,), alpha=0.15, e_step="quadrature")
    with pytest.raises(ValueError, match=r"bernoulli.*Enumeration\(\).*Sampling\(\)"):
        model.fit(X, y)
    model = fastem.FastEMClassifier((3,), alpha=0.15, max_iter=200, tol=1e-3, random_state=0).fit(
        X, y
    )
    exact = model.predict_proba(X)
    model.e_step_ = Quadrature()
    np.testing.assert_allclose(model.predict_proba(X), exact, atol=1e-9)


def test_depth_is_refused():
    rng = np.random.default_rng(0)
    model = fastem.FastEMRegressor((3, 2), alpha=0.5, e_step="quadrature")
    with pytest.raises(ValueError, match=r"family='gaussian' needs one hidden layer.*Sampling"):
        model.fit(rng.normal(size=(20, 2)), rng.normal(size=20))


def test_classes_of_a_number_cannot_be_listed():
    shape = Shape(2, (3,), 1, family=Gaussian())
    parameters = shape.unpack(np.zeros(shape.n_parameters))
    with pytest.raises(ValueError, match="log_marginal needs classes"):
        Quadrature().log_marginal(np.ones((4, 3)), parameters, shape, 1)


@pytest.mark.parametrize("tol", [0.0, 1e-15, 1.0, np.nan, None])
def test_a_tolerance_out_of_range(tol):
    with pytest.raises(ValueError, match="tol of Quadrature must be a number >= 1e-13 and < 1"):
        expect(draw_problem("gaussian"), tol=tol)


def test_too_little_noise_raises():
    shape, X, y, coefs, intercepts, _ = draw_problem("gaussian", 7, m=60)
    with pytest.raises(FloatingPointError, match=r"Quadrature.*Enumeration"):
        expect((shape, X, y, coefs, intercepts, np.array([1e-14])))


def test_weights_that_are_not_finite_raise():
    shape, X, y, coefs, intercepts, variance = draw_problem("gaussian", 7)
    coefs[1][0] = np.inf
    with pytest.raises(FloatingPointError, match="output weight is not finite"):
        expect((shape, X, y, coefs, intercepts, variance))


def test_too_little_memory_raises(monkeypatch):
    problem = draw_problem("gaussian", 8, m=30)
    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(30,\) on 60 rows"):
        expect(problem)


# Fits


def waves(n, seed=0):
    """y with a curved mean, and noise that depends on the features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    noise = 0.2 + 0.4 * (X[:, 1] > 0.0)
    return X, 10.0 + 5.0 * (np.sin(2.0 * X[:, 0]) + noise * rng.normal(size=n))


def test_the_bound_on_second_moments_of_dependent_units():
    rng = np.random.default_rng(0)
    Z = reference.configurations(4)
    for _ in range(20):
        share, weights = rng.dirichlet(np.full(16, 0.1), size=5), rng.uniform(size=5)
        exact = np.einsum("i,is,sj,sk->jk", weights, share, *[np.hstack([Z, np.ones((16, 1))])] * 2)
        for n_inputs in (4, 5):
            bound = moments_bound((share @ Z).T, weights, n_inputs)
            least = np.linalg.eigvalsh(bound - exact[:n_inputs, :n_inputs]).min()
            assert least >= -1e-12


class MeansOnly(fastem.Engine):
    """Enumeration that returns no counts."""

    name, statistics = "means_only", "means"

    def plan(self, rows, shape, n_threads):
        plan = Enumeration().plan(rows, shape, n_threads)
        original = plan.expect
        plan.expect = lambda parameters, draw=0: original(parameters)._replace(counts=None)
        return plan

    def log_marginal(self, inputs, parameters, shape, n_threads):
        raise NotImplementedError


@CONVERGENCE
def test_a_family_without_a_bound_on_its_curvature():
    X = np.random.default_rng(0).normal(size=(50, 2))
    y = np.random.default_rng(1).poisson(2.0, size=50)
    model = fastem.FastEMRegressor(
        (3,), alpha=0.5, family="poisson", e_step=MeansOnly(), max_iter=5
    )
    with pytest.raises(ValueError, match=r"family='poisson' has no bound.*m_step='gradient'"):
        model.fit(X, y)
    for settings in ({"m_step": "gradient"}, {"solver": "lbfgs"}):
        curve = clone(model).set_params(**settings).fit(X, y).loss_curve_
        assert curve[-1] < curve[0]


@CONVERGENCE
@pytest.mark.parametrize("m_step", ["newton", "bound", "gradient"])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_em_never_lowers_the_objective(m_step, accelerate, fit_intercept):
    X, y = waves(100)
    model = fastem.FastEMRegressor(
        (25,), alpha=0.5, e_step="quadrature", m_step=m_step, accelerate=accelerate, max_iter=30,
        random_state=0, learning_rate_init=0.002, fit_intercept=fit_intercept,
    ).fit(X, y)  # fmt: skip
    assert max(np.diff(model.loss_curve_)) <= 1e-12
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@CONVERGENCE
@pytest.mark.parametrize("solver", ["em", "lbfgs"])
def test_the_same_optimum_as_by_enumeration(solver):
    X, y = waves(80)
    start = fastem.FastEMRegressor((2,), solver=solver, alpha=2.0, tol=1e-10, max_iter=3000)
    models = [
        clone(start).set_params(e_step=e, random_state=0).fit(X, y)
        for e in ("quadrature", "enumeration")
    ]
    assert models[0].loss_ == pytest.approx(models[1].loss_, abs=1e-5)
    by_both = [model.predict_interval(X) for model in models]
    np.testing.assert_allclose(*by_both, atol=0.05 * y.std())


@CONVERGENCE
def test_batches():
    X, y = waves(300)
    by_engine = [
        fastem.FastEMRegressor(
            (5,),
            alpha=0.5,
            e_step=e,
            solver="adam",
            max_iter=5,
            variance_floor=0.01,
            random_state=0,
        ).fit(X, y)
        for e in ("quadrature", "enumeration")
    ]
    a, b = (model.partial_fit(X[:70], y[:70]) for model in by_engine)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(a.coefs_[1], b.coefs_[1], rtol=1e-5)


@CONVERGENCE
def test_a_hundred_units_by_default(tmp_path):
    X, y = waves(400)
    model = fastem.FastEMRegressor((100,), alpha=1.0, max_iter=40, random_state=0).fit(X, y)
    assert model.e_step_ == Quadrature()
    assert model.score(X, y) > 0.5
    assert model.posterior(X, y).shape == (400, 100)
    interval = model.predict_interval(X, coverage=0.8)
    covered = (interval[:, 0] < y) & (y < interval[:, 1])
    assert 0.7 < covered.mean() < 0.95
    # the distribution function at its own quantiles, and its slope against the density
    for k, level in enumerate((0.1, 0.9)):
        np.testing.assert_allclose(model.predict_cdf(X, interval[:, k]), level, atol=1e-9)
    h = 1e-4 * y.std()
    slope = (model.predict_cdf(X, y + h) - model.predict_cdf(X, y - h)) / (2.0 * h)
    np.testing.assert_allclose(slope, np.exp(model.log_density(X, y)), rtol=1e-3, atol=1e-6)
    model.save(tmp_path / "waves.fem")
    again = fastem.FastEMRegressor.load(tmp_path / "waves.fem")
    np.testing.assert_array_equal(again.predict_interval(X, coverage=0.8), interval)


# Predictions


def fitted(m, n_outputs, noise, **settings):
    """A model whose parameters are set by hand, and rows."""
    _, X, y, coefs, intercepts, variance = draw_problem(
        "gaussian", m, m=m, d=n_outputs, noise=noise
    )
    model = fastem.FastEMRegressor((m,), max_iter=100, tol=1.0, **settings)
    model.fit(X, y if n_outputs > 1 else y[:, 0])
    model.coefs_, model.intercepts_, model.variance_ = coefs, intercepts, variance
    return model, X, y


def true_cdf(model, X, y):
    """P(Y_d <= y_d | x) (n, d) by a sum over all states."""
    (W, V), (b, c) = model.coefs_, model.intercepts_
    Z = reference.configurations(len(V))
    prior = np.exp(reference.log_first(X, Z, W, b))
    own = norm.cdf(y[:, None] - (Z @ V + c)[None], scale=np.sqrt(model.variance_))
    return np.einsum("is,isd->id", prior, own)


@pytest.mark.parametrize("noise", [1.0, 0.1, 1e-9])
@pytest.mark.parametrize(("m", "n_outputs"), [(1, 1), (6, 1), (6, 3)])
def test_distribution_function_and_quantiles(m, n_outputs, noise):
    model, X, y = fitted(m, n_outputs, noise)
    found = model.predict_cdf(X, y if n_outputs > 1 else y[:, 0])
    atol = 1e-9 + 4e-15 / np.sqrt(model.variance_.min())  # the rounding of y
    np.testing.assert_allclose(found.reshape(y.shape), true_cdf(model, X, y), atol=atol)
    q = [0.03, 0.5, 0.9]
    quantiles = model.predict_quantile(X, q)
    assert quantiles.shape == (len(X), *([n_outputs] if n_outputs > 1 else []), 3)
    quantiles = quantiles.reshape(len(X), n_outputs, 3)
    for k, level in enumerate(q):
        # where the distribution function is steep, the rounding of y changes it
        step = 1e-14 * np.abs(quantiles[..., k]) + 1e-14
        below = true_cdf(model, X, quantiles[..., k] - step)
        above = true_cdf(model, X, quantiles[..., k] + step)
        assert (below <= level + 1e-9).all()
        assert (above >= level - 1e-9).all()


def test_log_odds_beyond_the_largest_number():
    model, X, y = fitted(3, 1, 0.5)
    model.coefs_[0][:, 0] = 1e308
    found = model.predict_cdf(np.abs(X), y[:, 0])
    model.coefs_[0][:, 0] = 1e4
    np.testing.assert_allclose(found, model.predict_cdf(np.abs(X), y[:, 0]), atol=1e-9)


def test_too_little_noise_for_integrals(monkeypatch):
    """Up to 20 units, the states are listed; with more units, the error of the integral remains."""
    from fastem.estimators import predictive

    def fail(*arguments):
        raise FloatingPointError("Quadrature would need more nodes")

    model, X, y = fitted(6, 2, 0.3)
    found = model.predict_cdf(X, y), model.predict_quantile(X, [0.2, 0.7])
    monkeypatch.setattr(predictive, "gaussian_cdf", fail)
    monkeypatch.setattr(predictive, "gaussian_quantiles", fail)
    np.testing.assert_allclose(model.predict_cdf(X, y), found[0], atol=1e-9)
    np.testing.assert_allclose(model.predict_quantile(X, [0.2, 0.7]), found[1], atol=1e-8)
    monkeypatch.setattr(predictive, "MOST_UNITS_OF_A_MIXTURE", 5)
    with pytest.raises(FloatingPointError, match="more nodes"):
        model.predict_cdf(X, y)
    with pytest.raises(FloatingPointError, match="more nodes"):
        model.predict_quantile(X, 0.5)


def test_the_tolerance_of_the_engine_is_that_of_predictions(monkeypatch):
    from fastem.estimators import predictive

    seen = []
    original = predictive.gaussian_cdf
    monkeypatch.setattr(predictive, "gaussian_cdf", lambda *a: (seen.append(a[5]), original(*a))[1])
    model, X, y = fitted(3, 1, 0.5, e_step=Quadrature(tol=1e-4))
    model.predict_cdf(X, y[:, 0])
    model.e_step_ = Enumeration()
    model.predict_cdf(X, y[:, 0])
    assert seen == [1e-4, 1e-10]


def test_parameters_that_do_not_match_are_refused():
    model, X, y = fitted(3, 1, 0.5)
    model.coefs_[1] = model.coefs_[1][:2]
    with pytest.raises(ValueError, match=r"coefs\[0\] must have shape"):
        model.predict_cdf(X, y[:, 0])


def test_predictions_need_memory_for_blocks_of_rows_only(monkeypatch):
    model, X, _ = fitted(5, 1, 0.3)
    X = np.tile(X, (400, 1))
    few = model.predict_interval(X[:60])
    tracemalloc.start()
    many = model.predict_interval(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(many, np.tile(few, (400, 1)))
    assert peak - X.nbytes - many.nbytes < 8 * 2**20
    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    with pytest.raises(ValueError, match="quantiles or probabilities per row"):
        model.predict_interval(X)


def test_threads_do_not_change_the_bits_of_predictions():
    model, X, y = fitted(6, 1, 0.3)
    X, y = np.tile(X, (20, 1)), np.tile(y[:, 0], 20)
    results = []
    for n_jobs in (1, 2, 3):
        model.n_jobs = n_jobs
        results.append((model.predict_interval(X), model.predict_cdf(X, y)))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        np.testing.assert_array_equal(results[0][1], other[1])
