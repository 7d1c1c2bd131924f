"""E-steps of numbers, counts and labels by enumeration, against the slow truth."""

import numpy as np
import pytest
import reference

from fastem.engines import Enumeration
from fastem.families import FAMILIES
from fastem.parameters import Shape
from fastem.rows import sort_rows

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
    np.testing.assert_allclose(found.counts.ravel(), truth["counts"], rtol=rtol, atol=atol)
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
    check((shape, X, y, *rest), rtol=1e-9)


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
    check((shape, X, y, coefs, intercepts, variance), rtol=1e-9)
