"""E-steps of numbers, counts and labels by enumeration, against the slow truth."""

import tracemalloc

import numpy as np
import pytest
import reference

from fastem.engines import Enumeration
from fastem.engines.grouping import groups_of_targets, most_groups
from fastem.families import FAMILIES
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.runtime import TILE

NAMES = "bernoulli", "gaussian", "poisson"


def draw_problem(
    name, seed=0, n=60, m=4, d=1, p=3, *, fit_intercept=True, scale=1.0, hidden_scale=1.0, noise=0.3
):
    """Random rows, parameters, and targets that the network could have drawn."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[name]()
    shape = Shape(p, (m,), d, fit_intercept, family)
    X = rng.normal(size=(n, p))
    coefs, intercepts = reference.draw_network(rng, p, m, d, fit_intercept)
    coefs = [hidden_scale * coefs[0], scale * coefs[1]]
    variance = noise**2 * rng.uniform(0.5, 2.0, size=d) if family.has_variance else np.empty(0)
    on = 1.0 / (1.0 + np.exp(-np.clip(X @ coefs[0] + intercepts[0], -700, 700)))
    z = (rng.uniform(size=on.shape) < on).astype(float)
    eta = z @ coefs[1] + intercepts[1]
    random_state = np.random.RandomState(seed)
    y = family.draw(eta, variance if len(variance) else np.ones(d), random_state)
    return shape, X, y, coefs, intercepts, variance


def expect(problem, weights=None, n_threads=1):
    shape, X, y, coefs, intercepts, variance = problem
    weights = np.ones(len(X)) if weights is None else weights
    rows = sort_rows(X, y, weights, shape)
    plan = Enumeration().plan(rows, shape, n_threads)
    return rows, plan.expect(shape.from_lists(coefs, intercepts, variance))


def check(problem, weights=None, n_threads=1, rtol=1e-10):
    shape, X, y, coefs, intercepts, variance = problem
    rows, found = expect(problem, weights, n_threads)
    name = shape.family.name
    truth = reference.family_e_step(
        name, X, y, coefs, intercepts, variance if len(variance) else None, weights
    )
    order = rows.order
    size = max(1.0, np.max(np.abs(truth["log_likelihood"])))
    np.testing.assert_allclose(
        found.log_likelihood, truth["log_likelihood"][order], rtol=rtol, atol=rtol
    )
    np.testing.assert_allclose(
        found.hidden[0].posterior.T, truth["hidden_posterior"][order], rtol=rtol, atol=rtol * size
    )
    largest = 1.0 if weights is None else max(1.0, weights.max())
    atol = rtol * size * len(X) * largest
    np.testing.assert_allclose(
        found.expected_counts().ravel(), truth["counts"], rtol=rtol, atol=atol
    )
    gradients = [found.hidden[0].gradient, found.output_gradient]
    for got, on_coefs, on_intercepts in zip(
        gradients, truth["coef_gradients"], truth["intercept_gradients"], strict=True
    ):
        wanted = np.vstack([on_coefs, on_intercepts[None]])[: len(got)]
        np.testing.assert_allclose(
            got, wanted, rtol=rtol, atol=atol * max(1.0, np.abs(wanted).max())
        )
    if shape.family.has_variance:
        atol *= np.max(np.abs(y)) ** 2
        np.testing.assert_allclose(
            found.squared_residuals, truth["squared_residuals"], rtol=rtol, atol=atol
        )
    assert (found.hidden[0].posterior >= 0.0).all()
    assert (found.hidden[0].posterior <= 1.0).all()
    return found


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("m", [1, 2, 5, 8])
@pytest.mark.parametrize("name", NAMES)
def test_random_problems(name, m, d, fit_intercept):
    weights = np.random.default_rng(0).uniform(0.0, 2.0, size=60)
    weights[:3] = 0.0
    weights[3] = 1e3
    check(draw_problem(name, m, m=m, d=d, fit_intercept=fit_intercept), weights)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("noise", [0.1, 0.01, 0.001])
def test_little_noise(noise, d):
    problem = draw_problem("gaussian", 1, m=6, d=d, noise=noise * 5.0)
    check(problem)
    shape, X, y, *rest = problem
    y = y + 10.0 * np.random.default_rng(0).normal(size=y.shape)  # impossible values too
    check((shape, X, y, *rest))


@pytest.mark.parametrize("name", NAMES)
def test_hidden_log_odds_of_800(name):
    check(draw_problem(name, 2, m=5, d=2, hidden_scale=800.0))


@pytest.mark.parametrize("name", ["gaussian", "bernoulli"])
def test_output_weights_of_300(name):
    check(draw_problem(name, 3, m=5, d=2, scale=300.0))
    check(draw_problem(name, 3, m=5, d=2, scale=300.0, hidden_scale=300.0))


def test_labels_that_contradict_log_odds_of_800():
    shape, X, y, coefs, intercepts, variance = draw_problem("bernoulli", 4, m=3, d=2, scale=800.0)
    check((shape, X, 1.0 - y, coefs, intercepts, variance))


@pytest.mark.parametrize("rate", [1.0, 100.0, 1e4])
def test_large_counts(rate):
    shape, X, y, coefs, intercepts, variance = draw_problem("poisson", 5, m=5, d=1, scale=0.7)
    intercepts[1] += np.log(rate)
    rng = np.random.RandomState(0)
    y = rng.poisson(rate * np.exp(rng.normal(size=y.shape))).astype(float)
    y[:4] = [[0.0], [1.0], [0.0], [3.0 * rate]]
    check((shape, X, y, coefs, intercepts, variance))


@pytest.mark.parametrize(("m", "n", "d"), [(12, 400, 1), (14, 3000, 1), (12, 400, 3), (15, 60, 2)])
@pytest.mark.parametrize("noise", [1.0, 0.01])
@pytest.mark.parametrize("name", NAMES)
def test_memory_is_announced(name, noise, m, n, d):
    """With little noise there are many groups, and rows in log space."""
    scale = 30.0 * d if name == "bernoulli" and noise < 1.0 else 1.0
    shape, X, y, coefs, intercepts, variance = draw_problem(
        name, 7, n=n, m=m, d=d, scale=scale, noise=noise
    )
    if name == "gaussian":
        y[: n // 10] += 3.0
    rows = sort_rows(X, y, np.ones(n), shape)
    parameters = shape.from_lists(coefs, intercepts, variance)
    engine = Enumeration()
    engine.plan(rows, shape, 2).expect(parameters)  # compiles
    tracemalloc.start()
    try:
        engine.plan(rows, shape, 2).expect(parameters)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    announced = engine.bytes_needed(shape, n, 2)
    assert peak <= announced
    chunks = -(-n // TILE) + most_groups(shape, n)
    tables = most_groups(shape, n) + chunks + 4
    assert announced <= 8 * 2**m * tables + 2000 * n * (d + 5) + 2**23


def test_rows_of_similar_targets_share_a_table():
    """Few groups where the noise is large; every row is in one group, in the order of the rows."""
    shape, X, y, coefs, intercepts, _ = draw_problem("gaussian", 8, n=200, m=6)
    rows = sort_rows(X, y, np.ones(200), shape)
    found = []
    for noise in (10.0, 1.0, 0.1, 0.001):
        parameters = shape.from_lists(coefs, intercepts, np.array([noise**2]))
        groups = groups_of_targets(rows, parameters, shape, 300.0)
        assert groups.starts[0] == 0
        assert groups.starts[-1] == 200
        assert (np.diff(groups.starts) > 0).all()
        reference = np.repeat(groups.references, np.diff(groups.starts), axis=0)
        np.testing.assert_allclose(
            groups.tilts * noise**2 + reference, rows.targets, rtol=1e-12, atol=1e-12
        )
        found.append(len(groups.starts) - 1)
    assert found[0] == 1
    assert found == sorted(found)
    assert found[-1] == most_groups(shape, 200) == 32
