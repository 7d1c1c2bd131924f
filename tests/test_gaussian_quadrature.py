"""Quadrature of a scalar Gaussian output against sums over all states, in plain NumPy."""

import tracemalloc

import numpy as np
import pytest
from reference import configurations, log_sigmoid, log_sum_exp
from scipy.stats import norm

from fastem.engines.quadrature.gaussian import GaussianIntegrator
from fastem.engines.quadrature.gaussian_distribution import (
    distribution_buffers,
    gaussian_cdf,
    gaussian_quantiles,
)
from fastem.runtime import bytes_of

TOL = 1e-10


def log_priors(log_odds, Z):
    return log_sigmoid(log_odds) @ Z.T + log_sigmoid(-log_odds) @ (1.0 - Z).T


def truth(log_odds, y, v, c, variance):
    """The entries of `GaussianIntegrals`, by a sum over all states in log space."""
    Z = configurations(len(v))
    residual = y[:, None] - c - Z @ v
    log_joint = log_priors(log_odds, Z) - 0.5 * residual**2 / variance
    log_joint -= 0.5 * np.log(2.0 * np.pi * variance)
    log_density = log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_density[:, None])
    slopes = (r * residual) @ Z / variance
    slope_of_c = (r * residual).sum(axis=1) / variance
    return log_density, r @ Z, slopes, slope_of_c, (r * residual**2).sum(axis=1)


def true_cdf(log_odds, y, v, c, variance):
    Z = configurations(len(v))
    below = norm.cdf((y[:, None] - c - Z @ v) / np.sqrt(variance))
    return (np.exp(log_priors(log_odds, Z)) * below).sum(axis=1)


def draw(rng, n_rows, n_hidden, scale, noise, scale_of_log_odds=2.0):
    """Log-odds, y drawn from the model, v, c and variance."""
    log_odds = scale_of_log_odds * rng.normal(size=(n_rows, n_hidden))
    v, c = scale * rng.normal(size=n_hidden), rng.normal()
    z = rng.random((n_rows, n_hidden)) < np.exp(log_sigmoid(log_odds))
    y = c + z @ v + noise * rng.normal(size=n_rows)
    return log_odds, y, v, c, noise**2


def integrate(log_odds, y, v, c, variance, tol=TOL, n_threads=1, derivatives=True):
    return GaussianIntegrator(
        log_odds, y, v, c, variance, tol, n_threads, derivatives=derivatives
    ).integrate()


def assert_right(problem, tol=TOL):
    """Compare all results with the truth, in units of the noise and of the residual of the row."""
    found, exact = integrate(*problem, tol), truth(*problem)
    variance = problem[-1]
    residual = np.sqrt(variance + exact[-1])
    units = (1.0, 1.0, residual[:, None] / variance, residual / variance, residual**2)
    for a, b, unit in zip(found, exact, units, strict=True):
        assert np.max(np.abs(a - b) / np.maximum(np.abs(b), unit)) <= tol
    assert (found.posterior >= 0.0).all()
    assert (found.posterior <= 1.0).all()


def across(v, c, noise, n_rows):
    """Values of y from six deviations below the lowest mean to six above the highest one."""
    low, high = np.minimum(v, 0.0).sum(), np.maximum(v, 0.0).sum()
    return c + np.linspace(low - 6.0 * noise, high + 6.0 * noise, n_rows)


@pytest.mark.parametrize("n_hidden", [1, 2, 5, 11, 16])
@pytest.mark.parametrize(("scale", "noise"), [(0.1, 1.0), (1.0, 0.1), (2.0, 0.7)])
def test_the_sum_over_states(n_hidden, scale, noise):
    rng = np.random.default_rng(n_hidden)
    assert_right(draw(rng, 40, n_hidden, scale, noise))


@pytest.mark.parametrize("n_hidden", [1, 3, 10])
@pytest.mark.parametrize(("scale", "noise"), [(1.0, 0.5), (1.0, 0.03), (1.0, 0.003), (300.0, 1.0)])
def test_gaps_and_tails(n_hidden, scale, noise):
    log_odds, _, v, c, variance = draw(np.random.default_rng(3), 60, n_hidden, scale, noise)
    assert_right((log_odds, across(v, c, noise, 60), v, c, variance))


@pytest.mark.parametrize("n_hidden", [1, 4, 12])
def test_forty_deviations_outside(n_hidden):
    noise = 0.3
    log_odds, _, v, c, variance = draw(np.random.default_rng(4), 20, n_hidden, 1.0, noise)
    y = across(v, c, noise, 2)[np.arange(20) % 2] + np.where(np.arange(20) % 2, 34.0, -34.0) * noise
    problem = (log_odds, y, v, c, variance)
    assert (truth(*problem)[0] < -790.0).all()
    assert_right(problem)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_log_odds_of_800(scale):
    rng = np.random.default_rng(5)
    log_odds, _, v, c, variance = draw(rng, 60, 6, scale, 1.0)
    log_odds = rng.choice([-800.0, -1.0, 0.5, 800.0], size=log_odds.shape)
    assert_right((log_odds, across(v, c, 1.0, 60), v, c, variance))


def test_units_without_influence_keep_their_prior():
    log_odds, y, v, c, variance = draw(np.random.default_rng(6), 30, 6, 1.0, 0.4)
    v[[0, 3]] = 0.0
    assert_right((log_odds, y, v, c, variance))
    found = integrate(log_odds, y, v, c, variance)
    prior = np.exp(log_sigmoid(log_odds[:, [0, 3]]))
    np.testing.assert_allclose(found.posterior[:, [0, 3]], prior, rtol=1e-9)
    only_noise = integrate(log_odds, y, np.zeros(6), c, variance).log_density
    np.testing.assert_allclose(only_noise, norm.logpdf(y, c, np.sqrt(variance)), atol=TOL)


def test_equal_weights_whose_characteristic_function_is_periodic():
    log_odds, _, _, c, variance = draw(np.random.default_rng(7), 50, 12, 1.0, 0.1)
    v = np.ones(12)
    assert_right((log_odds, across(v, c, 0.1, 50), v, c, variance))


@pytest.mark.parametrize("tol", [1e-13, 1e-6, 1e-2, 0.9])
def test_the_error_stays_below_the_tolerance(tol):
    log_odds, y, v, c, variance = draw(np.random.default_rng(8), 200, 9, 1.0, 0.3)
    y[::2] = across(v, c, 0.3, 100)
    error = integrate(log_odds, y, v, c, variance, tol).log_density
    error -= truth(log_odds, y, v, c, variance)[0]
    assert np.abs(error).max() <= tol


def test_many_units_against_a_convolution():
    """With weights on a lattice, the distribution of the mean is a convolution."""
    rng, n_hidden, unit, noise = np.random.default_rng(9), 300, 0.02, 0.4
    log_odds = rng.normal(size=(20, n_hidden))
    steps = rng.integers(1, 12, size=n_hidden)
    means = unit * np.arange(steps.sum() + 1)
    y = means[-1] * rng.random(20)
    exact = []
    for row, value in zip(np.exp(log_sigmoid(log_odds)), y, strict=True):
        weights = np.ones(1)
        for u, step in zip(row, steps, strict=True):
            weights = np.convolve(weights, [1.0 - u, *np.zeros(step - 1), u])
        with np.errstate(divide="ignore"):
            exact.append(log_sum_exp(np.log(weights) + norm.logpdf(value, means, noise), 0))
    found = integrate(log_odds, y, unit * steps, 0.0, noise**2).log_density
    assert min(exact) < -50.0
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-10)


def test_derivatives_by_differences():
    log_odds, y, v, c, variance = draw(np.random.default_rng(10), 10, 40, 0.5, 0.5)
    found, h = integrate(log_odds, y, v, c, variance), 1e-5

    def difference(move):
        sides = [integrate(*move(sign * h), derivatives=False).log_density for sign in (1, -1)]
        return (sides[0] - sides[1]) / (2.0 * h)

    direction = np.random.default_rng(11).normal(size=40)
    moved_v = difference(lambda d: (log_odds, y, v + d * direction, c, variance))
    moved_c = difference(lambda d: (log_odds, y, v, c + d, variance))
    moved_variance = difference(lambda d: (log_odds, y, v, c, variance + d))
    moved_a = difference(lambda d: (log_odds + d * direction, y, v, c, variance))
    np.testing.assert_allclose(found.slopes @ direction, moved_v, atol=1e-5)
    np.testing.assert_allclose(found.slope_of_c, moved_c, atol=1e-5)
    by_residual = 0.5 * (found.squared_residual / variance - 1.0) / variance
    np.testing.assert_allclose(by_residual, moved_variance, atol=1e-5)
    prior = np.exp(log_sigmoid(log_odds))
    np.testing.assert_allclose((found.posterior - prior) @ direction, moved_a, atol=1e-5)


def test_without_derivatives():
    problem = draw(np.random.default_rng(12), 30, 7, 1.0, 0.3)
    full, short = integrate(*problem), integrate(*problem, derivatives=False)
    assert short.posterior.shape == short.slopes.shape == (30, 0)
    np.testing.assert_array_equal(full.log_density, short.log_density)
    np.testing.assert_array_equal(full.squared_residual, short.squared_residual)


def test_threads_do_not_change_the_bits():
    log_odds, y, v, c, variance = draw(np.random.default_rng(13), 700, 20, 1.0, 0.3)
    y[:50] = across(v, c, 0.3, 50)
    results = []
    for n_threads in (1, 2, 3):
        arguments = (log_odds, y, v, c, variance, TOL, n_threads)
        quantiles = gaussian_quantiles(log_odds, [0.05, 0.5, 0.9], *arguments[2:])
        results.append([*integrate(*arguments), gaussian_cdf(*arguments), quantiles])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_noise_too_small_for_the_tolerance():
    log_odds, _, v, c, variance = draw(np.random.default_rng(14), 3, 60, 1.0, 1e-5)
    y = across(v, c, 1e-5, 3)
    with pytest.raises(FloatingPointError, match="Quadrature"):
        integrate(log_odds, y, v, c, variance)
    with pytest.raises(FloatingPointError, match="Quadrature"):
        gaussian_cdf(log_odds, y, v, c, 1e-20, TOL, 1)
    with pytest.raises(FloatingPointError, match="Quadrature"):
        gaussian_quantiles(log_odds, [0.5], v, c, 1e-20, TOL, 1)


@pytest.mark.parametrize("n_hidden", [1, 2, 7, 12])
@pytest.mark.parametrize(("scale", "noise"), [(0.2, 1.0), (1.0, 0.01), (300.0, 1.0)])
def test_cdf_and_quantiles_of_the_mixture(n_hidden, scale, noise):
    log_odds, y, v, c, variance = draw(np.random.default_rng(15), 40, n_hidden, scale, noise)
    y[::2] = across(v, c, noise, 20)
    found = gaussian_cdf(log_odds, y, v, c, variance, TOL, 1)
    np.testing.assert_allclose(found, true_cdf(log_odds, y, v, c, variance), rtol=0.0, atol=TOL)
    q = np.array([1e-6, 0.05, 0.31, 0.5, 0.95, 1.0 - 1e-6])
    quantiles = gaussian_quantiles(log_odds, q, v, c, variance, TOL, 1)
    assert quantiles.shape == (40, 6)
    assert (np.diff(quantiles, axis=1) > 0.0).all()
    for column, probability in zip(quantiles.T, q, strict=True):
        reached = true_cdf(log_odds, column, v, c, variance)
        np.testing.assert_allclose(reached, probability, rtol=0.0, atol=2.0 * TOL)


def test_noise_a_millionth_of_the_weights():
    """Rows that need too many nodes are conditioned on units."""
    log_odds, y, v, c, variance = draw(np.random.default_rng(16), 20, 4, 1.0, 1e-6)
    y[::2] = across(v, c, 1e-6, 10)
    with pytest.raises(FloatingPointError, match="Quadrature reached a relative error of"):
        integrate(log_odds, y, v, c, variance)  # y is rounded to about 1e-10 deviations
    assert_right((log_odds, y, v, c, variance), 1e-7)
    found = gaussian_cdf(log_odds, y, v, c, variance, TOL, 1)
    np.testing.assert_allclose(found, true_cdf(log_odds, y, v, c, variance), rtol=0.0, atol=1e-9)
    quantiles = gaussian_quantiles(log_odds, [0.2, 0.77], v, c, variance, TOL, 1)
    for column, probability in zip(quantiles.T, (0.2, 0.77), strict=True):
        reached = true_cdf(log_odds, column, v, c, variance)
        np.testing.assert_allclose(reached, probability, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("tol", [1e-13, 1e-4, 0.5])
def test_tolerances_of_the_distribution(tol):
    log_odds, y, v, c, variance = draw(np.random.default_rng(17), 50, 8, 1.0, 0.2)
    error = gaussian_cdf(log_odds, y, v, c, variance, tol, 1)
    error -= true_cdf(log_odds, y, v, c, variance)
    assert np.abs(error).max() <= tol
    median = gaussian_quantiles(log_odds, [0.5], v, c, variance, tol, 1)[:, 0]
    assert np.abs(true_cdf(log_odds, median, v, c, variance) - 0.5).max() <= tol


def test_deterministic_units_give_a_gaussian():
    rng = np.random.default_rng(18)
    states = rng.integers(0, 2, size=(30, 5))
    v, c, noise, q = rng.normal(size=5), 0.7, 0.2, np.array([0.01, 0.6])
    log_odds = np.where(states > 0, 800.0, -800.0)
    y = c + states @ v + noise * rng.normal(size=30)
    found = gaussian_cdf(log_odds, y, v, c, noise**2, TOL, 1)
    np.testing.assert_allclose(found, norm.cdf(y, c + states @ v, noise), atol=TOL)
    quantiles = gaussian_quantiles(log_odds, q, v, c, noise**2, TOL, 1)
    exact = norm.ppf(q, (c + states @ v)[:, None], noise)
    np.testing.assert_allclose(quantiles, exact, atol=1e-8 * noise)
    zeros = gaussian_quantiles(log_odds, q, np.zeros(5), c, noise**2, TOL, 1)
    np.testing.assert_allclose(zeros, np.tile(norm.ppf(q, c, noise), (30, 1)), atol=1e-8 * noise)


def test_far_outside_the_cdf_is_zero_or_one():
    log_odds, y, v, c, variance = draw(np.random.default_rng(19), 4, 5, 1.0, 0.2)
    y = np.array([-1e300, -1e3, 1e3, 1e300])
    found = gaussian_cdf(log_odds, y, v, c, variance, TOL, 1)
    np.testing.assert_array_equal(found, [0.0, 0.0, 1.0, 1.0])


def test_the_cdf_increases_with_y():
    log_odds, _, v, c, variance = draw(np.random.default_rng(20), 1, 30, 1.0, 0.05)
    y = across(v, c, 0.05, 2000)
    found = gaussian_cdf(np.repeat(log_odds, 2000, axis=0), y, v, c, variance, TOL, 1)
    assert np.diff(found).min() >= -TOL
    assert found.min() < 1e-9
    assert found.max() > 1.0 - 1e-9


def test_no_rows():
    empty = np.empty((0, 3))
    assert integrate(empty, np.empty(0), np.ones(3), 0.0, 1.0).posterior.shape == (0, 3)
    assert gaussian_cdf(empty, np.empty(0), np.ones(3), 0.0, 1.0, TOL, 1).shape == (0,)
    assert gaussian_quantiles(empty, [0.5], np.ones(3), 0.0, 1.0, TOL, 1).shape == (0, 1)


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf])
def test_a_variance_out_of_range(variance):
    log_odds, y, v, c, _ = draw(np.random.default_rng(21), 4, 3, 1.0, 1.0)
    for call in (
        lambda: integrate(log_odds, y, v, c, variance),
        lambda: gaussian_cdf(log_odds, y, v, c, variance, TOL, 1),
        lambda: gaussian_quantiles(log_odds, [0.5], v, c, variance, TOL, 1),
    ):
        with pytest.raises(ValueError, match="variance must be a positive finite number, got"):
            call()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad):
    log_odds, y, v, c, variance = draw(np.random.default_rng(22), 4, 3, 1.0, 1.0)
    with pytest.raises(ValueError, match="y must be finite, got"):
        integrate(log_odds, np.append(y[:-1], bad), v, c, variance)
    with pytest.raises(ValueError, match="log_odds must be finite or -inf, got"):
        integrate(np.full_like(log_odds, bad), y, v, c, variance)
    with pytest.raises(ValueError, match="v must be finite, got"):
        gaussian_cdf(log_odds, y, np.append(v[:-1], bad), c, variance, TOL, 1)
    with pytest.raises(ValueError, match="c must be finite, got"):
        gaussian_quantiles(log_odds, [0.5], v, bad, variance, TOL, 1)


def test_weights_that_overflow_raise():
    log_odds, y, v, c, variance = draw(np.random.default_rng(24), 4, 3, 1.0, 1.0)
    v[0] = 1e200
    for call in (
        lambda: integrate(log_odds, y, v, c, variance),
        lambda: gaussian_cdf(log_odds, y, v, c, variance, TOL, 1),
        lambda: gaussian_quantiles(log_odds, [0.5], v, c, variance, TOL, 1),
    ):
        with pytest.raises(FloatingPointError, match="Quadrature"):
            call()


def test_a_unit_with_log_odds_of_minus_infinity_is_off():
    log_odds, y, v, c, variance = draw(np.random.default_rng(25), 20, 5, 1.0, 0.3)
    without, log_odds[:, 2] = np.delete(log_odds, 2, axis=1), -np.inf
    found = integrate(log_odds, y, v, c, variance)
    exact = truth(without, y, np.delete(v, 2), c, variance)
    np.testing.assert_allclose(found.log_density, exact[0], rtol=TOL, atol=TOL)
    assert found.posterior[:, 2].max() < 1e-300


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, np.nan])
def test_probabilities_out_of_range(q):
    log_odds, _, v, c, variance = draw(np.random.default_rng(23), 4, 3, 1.0, 1.0)
    with pytest.raises(ValueError, match="q must be between 0 and 1, both excluded, got"):
        gaussian_quantiles(log_odds, [0.5, q], v, c, variance, TOL, 1)


def peak_bytes(call):
    call()  # compiles
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_rows", [2000, 9000])
def test_declared_memory_covers_the_peak(n_rows):
    problem = draw(np.random.default_rng(26), n_rows, 40, 1.0, 0.1)
    declared = bytes_of(
        GaussianIntegrator.buffers(n_rows, 40, 1, derivatives=True),
        GaussianIntegrator.temporaries(n_rows, 40),
    )
    assert 0.4 * declared < peak_bytes(lambda: integrate(*problem)) <= declared
    log_odds, y, *output = problem
    q = np.linspace(0.1, 0.9, 50)
    for n_values, call in (
        (1, lambda: gaussian_cdf(log_odds, y, *output, TOL, 1)),
        (50, lambda: gaussian_quantiles(log_odds, q, *output, TOL, 1)),
    ):
        declared = bytes_of(distribution_buffers(n_rows, 40, n_values, 1))
        assert peak_bytes(call) <= declared
