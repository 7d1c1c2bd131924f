"""Sampling of numbers, counts and labels: against brute force, at extremes, and fits by it."""

import tracemalloc

import numpy as np
import pytest
import reference
from scipy import stats
from scipy.special import comb
from test_families import NAMES, draw_problem

from fastem.engines import Enumeration, Sampling, proposals, sampler
from fastem.families import FAMILIES, IndependentOutputs
from fastem.families.base import numeric_targets
from fastem.parameters import NO_VARIANCE, Shape
from fastem.rows import sort_rows
from fastem.solvers.em import run_em
from fastem.solvers.monitor import Monitor
from fastem.solvers.network import Network
from fastem.solvers.stochastic import SmoothedMonitor, StochasticStep

TRIALS = 5.0


class Binomial(IndependentOutputs):
    """Successes among five trials: a family that the package does not have."""

    name = "binomial"
    curvature_bound = 0.25 * TRIALS

    def targets(self, y):
        return numeric_targets(y)

    def log_partition(self, eta):
        return TRIALS * np.logaddexp(0.0, eta)

    def mean(self, eta):
        return TRIALS * np.exp(-np.logaddexp(0.0, -eta))

    def curvature(self, eta):
        return TRIALS * np.exp(-np.logaddexp(0.0, -eta) - np.logaddexp(0.0, eta))

    def natural_parameter(self, mean):
        share = np.clip(mean / TRIALS, 0.01, 0.99)
        return np.log(share / (1.0 - share))

    def conjugate(self, t):
        share = np.clip(t / TRIALS, 1e-300, 1.0)
        rest = np.clip(1.0 - t / TRIALS, 1e-300, 1.0)
        return t * np.log(share) + (TRIALS - t) * np.log(rest)

    def log_largest(self, y, variance):
        return np.log(comb(TRIALS, y)) + self.conjugate(y)

    def cdf(self, y, eta, variance):
        return stats.binom.cdf(y, TRIALS, self.mean(eta) / TRIALS)

    def draw(self, eta, variance, random_state):
        return random_state.binomial(int(TRIALS), self.mean(eta) / TRIALS).astype(float)


FAMILIES_HERE = {**FAMILIES, "binomial": Binomial}


def log_density(name, y, eta, variance):
    if name != "binomial":
        return reference.log_density(name, y, eta, variance)
    y, eta = y[:, None, :], eta[None, :, :]
    own = y * reference.log_sigmoid(eta) + (TRIALS - y) * reference.log_sigmoid(-eta)
    return (own + np.log(comb(TRIALS, y))).sum(axis=2)


def mean_of(name, eta):
    if name == "binomial":
        return TRIALS * np.exp(reference.log_sigmoid(eta))
    return reference.mean_of(name, eta)


def brute_force(problem, weights):
    """Sums over the joint states of all hidden layers, in the order of the given rows."""
    shape, X, y, coefs, intercepts, variance = problem
    name, s = shape.family.name, variance if len(variance) else np.ones(shape.n_outputs)
    layers = reference.joint_states(list(shape.hidden_layer_sizes))
    log_joint = reference.log_first(X, layers[0], coefs[0], intercepts[0])
    inner = list(zip(layers, layers[1:], coefs[1:-1], intercepts[1:-1], strict=False))
    for below, above, W, b in inner:
        a = below @ W + b
        both = above * reference.log_sigmoid(a) + (1.0 - above) * reference.log_sigmoid(-a)
        log_joint = log_joint + both.sum(axis=1)
    eta = layers[-1] @ coefs[-1] + intercepts[-1]
    log_joint = log_joint + log_density(name, y, eta, s)
    log_likelihood = reference.log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_likelihood[:, None])
    own = r * weights[:, None]
    u = np.exp(reference.log_sigmoid(X @ coefs[0] + intercepts[0]))
    delta = weights[:, None] * (r @ layers[0] - u)
    gradients = [np.vstack([X.T @ delta, delta.sum(axis=0)])]
    for below, above, W, b in inner:
        delta = own.sum(axis=0)[:, None] * (above - np.exp(reference.log_sigmoid(below @ W + b)))
        gradients.append(np.vstack([below.T @ delta, delta.sum(axis=0)]))
    residuals = (y[:, None, :] - mean_of(name, eta)[None]) / s
    delta = np.einsum("ik,ikd->kd", own, residuals)
    gradients.append(np.vstack([layers[-1].T @ delta, delta.sum(axis=0)]))
    squares = np.einsum("ik,ikd->d", own, (y[:, None, :] - eta[None]) ** 2)
    return {
        "log_likelihood": log_likelihood,
        "posterior": np.hstack([r @ z for z in layers]),
        "gradients": np.concatenate([g.ravel() for g in gradients]),
        "squares": squares if shape.family.has_variance else np.empty(0),
    }


def draw(name, sizes=(4,), d=1, n=30, seed=0, noise=1.0, scale=0.7):
    """Rows, a network of any depth, and targets that it could have drawn."""
    rng = np.random.default_rng([seed, d, *sizes])
    family = FAMILIES_HERE[name]()
    shape = Shape(3, sizes, d, True, family)
    X = rng.normal(size=(n, 3))
    coefs, intercepts = reference.draw_network(rng, 3, sizes, d, scale=scale)
    variance = noise**2 * rng.uniform(0.5, 2.0, size=d) if family.has_variance else NO_VARIANCE
    z = X
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        on = np.exp(reference.log_sigmoid(z @ W + b))
        z = (rng.uniform(size=on.shape) < on).astype(float)
    eta = z @ coefs[-1] + intercepts[-1]
    y = family.draw(eta, variance if len(variance) else np.ones(d), np.random.RandomState(seed))
    return shape, X, y, coefs, intercepts, variance


def some_weights(n):
    weights = np.random.default_rng(1).random(n)
    weights[:2] = 0.0
    return weights


def plan_of(problem, n_samples, seed=0, weights=None, n_threads=1):
    shape, X, y, coefs, intercepts, variance = problem
    weights = some_weights(len(X)) if weights is None else weights
    rows = sort_rows(X, y, weights, shape)
    plan = Sampling(n_samples, seed).plan(rows, shape, n_threads)
    return rows, plan, shape.from_lists(coefs, intercepts, variance)


def estimate(problem, n_samples, seed=0, weights=None, n_threads=1):
    """Statistics by name, in the order of the given rows."""
    rows, plan, parameters = plan_of(problem, n_samples, seed, weights, n_threads)
    found = plan.expect(parameters)
    back = np.argsort(rows.order)
    gradients = [*(layer.gradient for layer in found.hidden), found.output_gradient]
    has_variance = problem[0].family.has_variance
    assert (found.squared_residuals is not None) == has_variance
    return {
        "log_likelihood": found.log_likelihood[back],
        "posterior": np.vstack([layer.posterior for layer in found.hidden]).T[back],
        "gradients": np.concatenate([g.ravel() for g in gradients]),
        "squares": found.squared_residuals.copy() if has_variance else np.empty(0),
        "effective": found.effective_sample_size[back],
    }


def errors_in_deviations(problem, truth, n_samples=1000):
    """Mean errors of forty runs, in units of their standard errors."""
    n_runs = 40
    weights = some_weights(len(problem[1]))
    runs = [estimate(problem, n_samples, seed, weights) for seed in range(n_runs)]
    out = {}
    for name, wanted in truth.items():
        values = np.array([run[name].ravel() for run in runs])
        errors = np.maximum(values.std(axis=0, ddof=1) / np.sqrt(n_runs), 1e-4)
        out[name] = (values.mean(axis=0) - wanted.ravel()) / errors
    return out


# What is estimated


CASES = [
    *((name, sizes, d) for name in NAMES for sizes in [(4,), (9,)] for d in (1, 3)),
    *((name, sizes, 2) for name in NAMES for sizes in [(3, 4), (2, 5, 3)]),
    ("binomial", (5,), 1),
    ("binomial", (3, 2), 2),
]


@pytest.mark.parametrize(("name", "sizes", "d"), CASES)
def test_estimates_lie_around_the_truth(name, sizes, d):
    problem = draw(name, sizes, d, scale=0.5)
    truth = brute_force(problem, some_weights(30))
    for part, off in errors_in_deviations(problem, truth).items():
        assert np.abs(off).max(initial=0.0) < 5.5, part
        assert np.sum(off**2) <= 2.0 * len(off) + 10.0, part


def test_a_planted_bias_would_be_seen():
    problem = draw("gaussian")
    shape, X, y, coefs, intercepts, variance = problem
    moved = shape, X, y, coefs, intercepts, 1.1 * variance
    off = errors_in_deviations(problem, brute_force(moved, some_weights(30)))
    assert np.mean(off["log_likelihood"] ** 2) > 20.0
    assert np.abs(off["gradients"]).max() > 20.0
    assert np.abs(off["squares"]).max() > 20.0


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_many_samples_come_near_the_reference(name, fit_intercept):
    problem = draw_problem(name, 2, d=2, noise=1.0, scale=0.5, fit_intercept=fit_intercept)
    shape, X, y, coefs, intercepts, variance = problem
    weights = some_weights(len(X))
    truth = reference.family_e_step(
        name, X, y, coefs, intercepts, variance if len(variance) else None, weights
    )
    found = estimate(problem, 100_000, 0, weights)
    np.testing.assert_allclose(found["log_likelihood"], truth["log_likelihood"], atol=0.03)
    np.testing.assert_allclose(found["posterior"], truth["hidden_posterior"], atol=0.03)
    gradients = zip(truth["coef_gradients"], truth["intercept_gradients"], strict=True)
    rows = [np.vstack([g, b[None]]) if fit_intercept else g for g, b in gradients]
    wanted = np.concatenate([array.ravel() for array in rows])
    assert np.abs(found["gradients"] - wanted).max() < 0.01 * max(10.0, np.abs(wanted).max())
    if shape.family.has_variance:
        np.testing.assert_allclose(found["squares"], truth["squared_residuals"], rtol=0.01)


@pytest.mark.parametrize("name", [*NAMES, "binomial"])
def test_equal_weights_are_worth_all_samples(name):
    shape, X, y, coefs, intercepts, variance = draw(name, (5,), 2)
    problem = shape, X, y, [coefs[0], np.zeros((5, 2))], intercepts, variance
    found = estimate(problem, 77)
    np.testing.assert_allclose(found["effective"], 77.0, rtol=1e-12)
    truth = brute_force(problem, some_weights(30))
    np.testing.assert_allclose(found["log_likelihood"], truth["log_likelihood"], rtol=1e-12)
    np.testing.assert_allclose(found["squares"], truth["squares"], rtol=1e-12)


@pytest.mark.parametrize("sizes", [(4, 5), (2, 3, 4)])
def test_one_label_is_two_classes(sizes):
    _, X, y, coefs, intercepts, _ = problem = draw("bernoulli", sizes, n=50)
    found = estimate(problem, 200)
    classes = Shape(3, sizes, 2)
    above = [
        np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 0)])
        for array in (coefs[-1], intercepts[-1])
    ]
    labels = y[:, 0].astype(int)
    of_classes = (
        classes,
        X,
        labels,
        [*coefs[:-1], above[0]],
        [*intercepts[:-1], above[1]],
        NO_VARIANCE,
    )
    wanted = estimate(of_classes, 200)
    for part in ("log_likelihood", "posterior", "effective"):
        np.testing.assert_allclose(found[part], wanted[part], rtol=1e-9, atol=1e-12)
    n_above = sizes[-1] + 1
    output = wanted["gradients"][-2 * n_above :].reshape(n_above, 2)[:, 1]
    gradients = np.concatenate([wanted["gradients"][: -2 * n_above], output])
    np.testing.assert_allclose(found["gradients"], gradients, rtol=1e-9, atol=1e-10)


# Proposals


def test_tilted_samples_are_worth_more_than_those_of_the_prior(monkeypatch):
    worth = []
    for share in (proposals._PRIOR_SHARE, 1.0):
        monkeypatch.setattr(proposals, "_PRIOR_SHARE", share)
        worth.append(estimate(draw("gaussian", (8,), 3, n=200, noise=0.5), 500)["effective"])
    assert np.median(worth[0]) > 1.5 * np.median(worth[1])
    assert np.quantile(worth[0], 0.1) > 2.0 * np.quantile(worth[1], 0.1)


def test_a_tilt_that_misses_the_posterior_is_corrected():
    # the tilt towards a count of 55 turns all units on; in the posterior one unit is on
    shape = Shape(1, (3,), 1, True, FAMILIES["poisson"]())
    coefs, intercepts = [np.zeros((1, 3)), np.full((3, 1), 4.0)], [np.full(3, -3.0), np.zeros(1)]
    problem = shape, np.zeros((3, 1)), np.array([[55.0], [50.0], [1.0]]), coefs, intercepts
    problem = *problem, NO_VARIANCE
    truth = brute_force(problem, some_weights(3))
    found = estimate(problem, 40_000, 0, some_weights(3))
    np.testing.assert_allclose(found["log_likelihood"], truth["log_likelihood"], atol=0.05)
    np.testing.assert_allclose(found["posterior"], truth["posterior"], atol=0.05)
    assert (found["effective"][:2] < 10_000).all()


def test_many_outputs_are_sampled_from_the_prior():
    problem = draw("bernoulli", (4,), 40, scale=0.2)
    truth = brute_force(problem, some_weights(30))
    off = errors_in_deviations(problem, truth, 200)["log_likelihood"]
    assert np.abs(off).max() < 5.5
    assert proposals.n_from_prior(problem[0], 500) == 500
    assert proposals.n_from_prior(draw("bernoulli", (4,), 32)[0], 500) < 500


def test_tilts_that_overflow_are_zero():
    # the tilt of 1e305 is finite, but the log-odds that it adds are not
    shape = Shape(1, (2,), 1, True, FAMILIES["gaussian"]())
    coefs, intercepts = [np.zeros((1, 2)), np.full((2, 1), 1e4)], [np.full(2, 800.0), np.zeros(1)]
    problem = shape, np.zeros((2, 1)), np.array([[1e5], [2e4]]), coefs, intercepts
    rows, _, parameters = plan_of((*problem, np.array([1e-300])), 1)
    log_odds = rows.inputs @ parameters.hidden[0]
    tilts = proposals.Proposal(parameters, shape).tilts(log_odds, rows.targets)
    np.testing.assert_array_equal(tilts.tilts, 0.0)
    np.testing.assert_array_equal(tilts.log_odds, log_odds)
    np.testing.assert_allclose(tilts.log_normalisers, 0.0, atol=1e-12)


@pytest.mark.parametrize("noise", [1e-6, 1.0])
def test_tilts_of_saturated_units_stay_accurate(noise):
    # the prior is one state; no other state can be a posterior unless the noise is tiny
    shape, X, y, coefs, intercepts, variance = draw("gaussian", (5,), 2, noise=noise)
    coefs = [1e3 * coefs[0], coefs[1]]
    intercepts = [1e3 * intercepts[0], intercepts[1] + 1e3]
    on = (X @ coefs[0] + intercepts[0] > 0.0).astype(float)
    y = on @ coefs[1] + intercepts[1] + noise * np.random.default_rng(0).normal(size=y.shape)
    problem = shape, X, y, coefs, intercepts, variance
    found = estimate(problem, 200)
    truth = brute_force(problem, some_weights(30))
    far = np.abs(X @ coefs[0] + intercepts[0]).min(axis=1) > 50.0
    assert far.sum() > 10
    for part in ("log_likelihood", "posterior"):
        np.testing.assert_allclose(found[part][far], truth[part][far], rtol=1e-8, atol=1e-8)


# How the work is done


@pytest.mark.parametrize("sizes", [(13,), (5, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_a_bit(name, sizes):
    problem = draw(name, sizes, 2, n=700)
    one, *others = (estimate(problem, 300, n_threads=n) for n in (1, 2, 3))
    for other in others:
        for part, values in one.items():
            np.testing.assert_array_equal(values, other[part])


@pytest.mark.parametrize("name", NAMES)
def test_rows_at_once_do_not_matter(name, monkeypatch):
    problem = draw(name, (5, 3), 2, n=50)
    together = estimate(problem, 100)
    monkeypatch.setattr(sampler, "_VALUES_AT_ONCE", 1)
    alone = estimate(problem, 100)
    for part, values in together.items():
        np.testing.assert_allclose(values, alone[part], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_of_other_rows_is_a_new_plan(name):
    problem = draw(name, (5, 3), 2, n=60)
    shape, X, y, *_ = problem
    rows, plan, parameters = plan_of(problem, 50)
    first = plan.expect(parameters, 3).log_likelihood.copy()
    fewer = sort_rows(X[:20], y[:20], np.ones(20), shape)
    plan.rebind(fewer)
    found = plan.expect(parameters, 5)
    wanted = Sampling(50, 0).plan(fewer, shape, 1).expect(parameters, 5)
    np.testing.assert_array_equal(found.log_likelihood, wanted.log_likelihood)
    np.testing.assert_array_equal(found.output_gradient, wanted.output_gradient)
    np.testing.assert_array_equal(found.hidden[1].gradient, wanted.hidden[1].gradient)
    plan.rebind(rows)
    np.testing.assert_array_equal(plan.expect(parameters, 3).log_likelihood, first)
    assert (plan.expect(parameters, 4).log_likelihood != first).any()


@pytest.mark.parametrize(
    ("name", "sizes", "d", "n", "n_samples"),
    [
        ("gaussian", (8,), 1, 3000, 500),
        ("poisson", (8,), 2, 200, 20_000),
        ("bernoulli", (16, 8), 3, 2000, 300),
        ("bernoulli", (4,), 1, 20, 100_000),
    ],
)
def test_memory_is_announced(name, sizes, d, n, n_samples):
    problem = draw(name, sizes, d, n=n, scale=0.3)
    shape = problem[0]
    estimate(draw(name, sizes, d), 10)  # compiled before
    for n_threads in (1, 2):
        rows, _, parameters = plan_of(problem, 1)
        announced = Sampling(n_samples).bytes_needed(shape, n, n_threads)
        tracemalloc.start()
        try:
            statistics = Sampling(n_samples, 0).plan(rows, shape, n_threads).expect(parameters)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(statistics.log_likelihood) == n
        assert 0.5 * announced < peak < announced + 2**18


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    import fastem.runtime.memory

    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(4,\) on 30 rows.*samples"):
        estimate(draw("gaussian"), 100)


def test_outputs_cost_time():
    shapes = [Shape(3, (8,), d, True, FAMILIES["gaussian"]()) for d in (1, 2, 4)]
    seconds = [Sampling(100).seconds(shape, 1000) for shape in shapes]
    assert 1.3 * seconds[0] < seconds[1] < 2.0 * seconds[0]
    assert seconds[1] < seconds[2]


# Extremes


@pytest.mark.parametrize("noise", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("sizes", [(2,), (2, 2)])
def test_outliers_keep_their_logarithms(noise, sizes):
    problem = draw("gaussian", sizes, 2, noise=noise, scale=0.3)
    shape, X, y, *rest = problem
    y = y + np.random.default_rng(0).choice([-3.0, 0.0, 1e3], size=y.shape)
    problem = shape, X, y, *rest
    weights = some_weights(len(X))
    truth = brute_force(problem, weights)
    found = estimate(problem, 5000, 0, weights)
    # every state is among the samples: the errors are those of the shares of the states
    size = np.abs(truth["log_likelihood"])
    assert (np.abs(found["log_likelihood"] - truth["log_likelihood"]) < 0.3 + 1e-12 * size).all()
    if sizes == (2,) and noise < 0.01:  # the posterior is a state
        np.testing.assert_allclose(found["posterior"], truth["posterior"], atol=1e-3)
        np.testing.assert_allclose(found["squares"], truth["squares"], rtol=1e-6)
        size = np.abs(truth["gradients"]).max()
        np.testing.assert_allclose(found["gradients"], truth["gradients"], atol=1e-6 * size)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("sizes", [(8,), (4, 5)])
@pytest.mark.parametrize("name", [*NAMES, "binomial"])
def test_extreme_weights_stay_finite(name, sizes, scale):
    problem = draw(name, sizes, 2, scale=0.7)
    shape, X, y, coefs, intercepts, variance = problem
    # the rates of larger output weights overflow, which is an error
    largest = 100.0 if name == "poisson" else np.inf
    coefs = [scale * coefs[0], *(min(scale, largest) * W for W in coefs[1:])]
    found = estimate((shape, X, y, coefs, intercepts, variance), 64)
    for part in found.values():
        assert np.isfinite(part).all()
    assert ((found["posterior"] >= 0.0) & (found["posterior"] <= 1.0)).all()
    assert (found["effective"] >= 1.0 - 1e-12).all()
    assert (found["squares"] >= 0.0).all()


def test_samples_without_weight_add_nothing():
    # a unit that is on makes the rate exp(690): its samples have no weight, but a huge residual
    shape = Shape(1, (1,), 1, True, FAMILIES["poisson"]())
    problem = shape, np.zeros((2, 1)), np.array([[1.0], [2.0]]), [
        np.zeros((1, 1)), np.array([[690.0]])
    ], [np.zeros(1), np.zeros(1)], NO_VARIANCE  # fmt: skip
    found = estimate(problem, 500, weights=np.ones(2))
    np.testing.assert_array_equal(found["posterior"], 0.0)
    np.testing.assert_allclose(found["gradients"], [0.0, -1.0, 0.0, 1.0], atol=1e-12)


def overflowing(on):
    """Two rows whose output is so large where the unit is on that the density underflows."""
    log_odds = np.log(on / (1.0 - on)) if on < 1.0 else 800.0
    shape = Shape(1, (1,), 1, True, FAMILIES["gaussian"]())
    intercepts = [np.array([log_odds]), np.zeros(1)]
    coefs = [np.zeros((1, 1)), np.array([[1e200]])]
    return shape, np.zeros((2, 1)), np.array([[0.5], [0.0]]), coefs, intercepts, np.ones(1)


def test_rows_without_weight_are_done_again_with_more_samples():
    found = estimate(overflowing(0.98), 5, 1, weights=np.ones(2))
    exact = np.log(0.02) - 0.5 * np.log(2.0 * np.pi) - np.array([0.125, 0.0])
    assert np.abs(found["log_likelihood"] - exact).max() < 3.0
    np.testing.assert_array_equal(found["posterior"], 0.0)
    np.testing.assert_allclose(found["squares"], 0.25)
    assert np.isfinite(found["gradients"]).all()


def test_rows_whose_weights_all_overflow_are_an_error():
    with pytest.raises(FloatingPointError, match=r"5000 samples.*its target.*alpha.*Enumeration"):
        estimate(overflowing(1.0), 5, weights=np.ones(2))


def test_residuals_that_overflow_are_an_error():
    # all states have a rate of exp(700)
    shape = Shape(1, (1,), 1, True, FAMILIES["poisson"]())
    coefs, intercepts = [np.zeros((1, 1)), np.ones((1, 1))], [np.zeros(1), np.full(1, 800.0)]
    problem = shape, np.zeros((1, 1)), np.ones((1, 1)), coefs, intercepts, NO_VARIANCE
    with pytest.raises(FloatingPointError, match=r"Poisson\(\).*alpha.*rescale y"):
        estimate(problem, 5, weights=np.full(1, 1e10))


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_weight_zero_add_nothing(name):
    shape, X, y, coefs, intercepts, variance = draw(name, (4, 3), 2)
    weights = some_weights(30)
    other = y.copy()
    other[:2] = 1.0 - y[:2] if name == "bernoulli" else 1000.0
    one = estimate((shape, X, y, coefs, intercepts, variance), 100, 0, weights)
    two = estimate((shape, X, other, coefs, intercepts, variance), 100, 0, weights)
    for part in ("gradients", "squares"):
        np.testing.assert_allclose(one[part], two[part], rtol=1e-11, atol=1e-11)
    assert (one["log_likelihood"][:2] != two["log_likelihood"][:2]).all()
    np.testing.assert_array_equal(one["log_likelihood"][2:], two["log_likelihood"][2:])


@pytest.mark.parametrize("name", NAMES)
def test_no_rows(name):
    shape, X, y, *rest = draw(name, (4, 3), 2)
    found = estimate((shape, X[:0], y[:0], *rest), 50, weights=np.zeros(0))
    assert found["log_likelihood"].shape == (0,)
    assert not found["gradients"].any()
    assert not found["squares"].any()


def test_probabilities_of_all_classes_need_classes():
    problem = draw("gaussian")
    rows, _, parameters = plan_of(problem, 10)
    with pytest.raises(ValueError, match=r"log_marginal needs classes, got family=Gaussian\(\)"):
        Sampling(10, 0).log_marginal(rows.inputs, parameters, problem[0], 1)


# Fits


@pytest.mark.parametrize(
    ("m_step", "sizes", "d"),
    [
        ("newton", (4,), 1),
        ("newton", (4,), 3),
        ("newton", (4, 3), 1),
        ("newton", (4, 3), 3),
        ("gradient", (4,), 1),
        ("gradient", (4, 3), 3),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_em_leads_up(name, d, sizes, m_step):
    _, X, y, *_ = draw_problem(name, 3, n=150, d=d, noise=0.5, hidden_scale=2.0)
    family = FAMILIES[name]()
    shape = Shape(3, sizes, d, True, family, variance_floor=1e-3 * family.has_variance)
    coefs, intercepts = reference.draw_network(np.random.default_rng(0), 3, sizes, d, scale=0.5)
    variance = y.var(axis=0) if family.has_variance else NO_VARIANCE
    start = shape.pack(shape.from_lists(coefs, intercepts, variance))
    rows = sort_rows(X, y, np.ones(150), shape)
    settings = {"alpha": 0.1, "n_threads": 2}
    engine = Sampling(200).seeded(0)
    network = Network(rows, shape, engine, m_step, learning_rate=1e-3, **settings)
    monitor = SmoothedMonitor(tol=1e-6)
    theta = run_em(network, start, monitor, 30, StochasticStep(1e-6))
    first, last = monitor.history[0], np.mean(monitor.history[-5:])
    assert not monitor.fell
    assert last > first + (3.0 if m_step == "newton" else 1.0)
    if shape.depth == 1:
        exact = Network(rows, shape, Enumeration(), m_step, learning_rate=1e-3, **settings)
        reached = exact.expect(theta)[0]
        assert abs(reached - last) < 0.02 * abs(reached)
        exact_monitor = Monitor(tol=0.0)
        run_em(exact, start, exact_monitor, 30)
        rise = exact_monitor.history[-1] - exact_monitor.history[0]
        assert reached - exact_monitor.history[0] > 0.8 * rise
