"""Sums of the M-steps against NumPy, and their derivatives against each other."""

import itertools

import numpy as np
import pytest
import reference

from fastem.kernels import configurations, logistic, multinomial
from fastem.tables import second_moments, second_moments_of_sums

ROWS = [(1, 1, 1, 4), (7, 3, 2, 3), (50, 4, 5, 16), (64, 2, 1, 64), (33, 6, 3, 100)]
SPLITS = [(1, 0), (1, 1), (2, 0), (2, 1), (5, 2), (5, 3), (5, 5)]


def _rows(seed, n_samples, n_inputs, n_hidden, scale=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_inputs))
    weights = rng.uniform(0.0, 3.0, size=n_samples)
    coefs_T = scale * rng.normal(size=(n_hidden, n_inputs))
    return X, weights, coefs_T, rng.uniform(size=(n_hidden, n_samples))


def _objective(X, weights, coefs_T, target, tile, pieces=None, initial=0.0):
    n_hidden = len(coefs_T)
    objective = np.full(n_hidden, initial)
    workspace = np.full(tile * n_hidden, np.nan)
    for start, stop in pieces or [(0, len(X))]:
        logistic.add_objective(X, weights, coefs_T, target, start, stop, tile, workspace, objective)
    return objective


def _hessian(X, weights, probability, tile):
    n_inputs = X.shape[1]
    workspace = np.full(tile * n_inputs + n_inputs**2 + 3, np.nan)  # longer than needed
    hessian = np.full((n_inputs, n_inputs), np.nan)
    logistic.fill_hessian(X, weights, probability, tile, workspace, hessian)
    return hessian


def _table(seed, n_hidden, n_low_bits, n_classes=3, scale=1.0):
    rng = np.random.default_rng(seed)
    V = scale * rng.normal(size=(n_hidden, n_classes))
    c = scale * rng.normal(size=n_classes)
    size = (2 ** (n_hidden - n_low_bits), 2**n_low_bits)
    return V, c, rng.uniform(0.0, 4.0, size=size)


def _log_normaliser(V, c, totals, n_low_bits, pieces=None):
    high, low = configurations.half_logits(V, c, n_low_bits)
    exp_high, largest_high = configurations.scaled_exponentials(high)
    exp_low, largest_low = configurations.scaled_exponentials(low)
    halves = (high, low, exp_high, exp_low, largest_high, largest_low)
    return sum(
        multinomial.sum_log_normaliser(*halves, totals, *piece)
        for piece in pieces or [(0, len(totals))]
    )


def _design(n_hidden):
    return np.column_stack([reference.configurations(n_hidden), np.ones(2**n_hidden)])


def _pair_gram(table, totals, j, k, pieces):
    n_high, n_low = totals.shape
    n_high_bits = n_high.bit_length() - 1
    high_sums = np.full(n_high, np.nan)
    low_sums = np.full((len(pieces), n_low), np.nan)
    bit_sums = np.full((len(pieces), n_high_bits, n_low), np.nan)
    for piece, (start, stop) in enumerate(pieces):
        multinomial.fill_pair_moments(
            table, totals, j, k, start, stop, high_sums, low_sums[piece], bit_sums[piece]
        )
    sums = high_sums, low_sums.sum(axis=0), bit_sums.sum(axis=0)
    return second_moments_of_sums(*(x[None] for x in sums))[0]


@pytest.mark.parametrize(("n_samples", "n_inputs", "n_hidden", "tile"), ROWS)
def test_hessian(n_samples, n_inputs, n_hidden, tile):
    X, weights, _, probability = _rows(0, n_samples, n_inputs, n_hidden)
    u = probability[0]
    got = _hessian(X, weights, u, tile)
    expected = (X * (weights * u * (1.0 - u))[:, None]).T @ X
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize(("n_samples", "n_inputs", "n_hidden", "tile"), ROWS)
def test_objective(n_samples, n_inputs, n_hidden, tile, scale):
    X, weights, coefs_T, target = _rows(1, n_samples, n_inputs, n_hidden, scale)
    log_odds = coefs_T @ X.T
    expected = (target * log_odds - np.logaddexp(0.0, log_odds)) @ weights
    got = _objective(X, weights, coefs_T, target, tile)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    cut = n_samples // 3
    pieces = [(cut, n_samples), (0, cut)]
    added = _objective(X, weights, coefs_T, target, tile, pieces, initial=5.0)
    np.testing.assert_allclose(added, 5.0 + expected, rtol=1e-12, atol=1e-12)


def test_objective_of_certain_units_is_finite():
    X, weights, coefs_T = np.array([[1.0], [-1.0]]), np.ones(2), np.array([[800.0], [-800.0]])
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(_objective(X, weights, coefs_T, sure, 2), 0.0, atol=1e-300)
    np.testing.assert_allclose(_objective(X, weights, coefs_T, 1.0 - sure, 2), -1600.0)


def test_hessian_is_the_second_difference_of_the_objective():
    X, weights, coefs_T, target = _rows(2, 40, 4, 1)
    step = 1e-5
    u = np.exp(reference.log_sigmoid(coefs_T[0] @ X.T))
    gradient = X.T @ (weights * (target[0] - u))
    hessian = _hessian(X, weights, u, 16)
    for j in range(4):
        moved = [coefs_T.copy(), coefs_T.copy()]
        moved[0][0, j] += step
        moved[1][0, j] -= step
        up, down = (_objective(X, weights, x, target, 16)[0] for x in moved)
        assert (up - down) / (2 * step) == pytest.approx(gradient[j], abs=1e-7)
        slopes = [X.T @ (weights * np.exp(reference.log_sigmoid(x[0] @ X.T))) for x in moved]
        difference = (slopes[0] - slopes[1]) / (2 * step)
        np.testing.assert_allclose(hessian[j], difference, atol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 40.0, 1e3])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_log_normaliser(n_hidden, n_low_bits, n_classes, scale):
    V, c, totals = _table(3, n_hidden, n_low_bits, n_classes, scale)
    logits = reference.configurations(n_hidden) @ V + c
    expected = totals.ravel() @ reference.log_sum_exp(logits, axis=1)
    got = _log_normaliser(V, c, totals, n_low_bits)
    tolerance = 1e-13 * scale * totals.sum()
    assert got == pytest.approx(expected, rel=1e-13, abs=tolerance)
    n_high = len(totals)
    pieces = [(0, n_high // 2), (n_high // 2, n_high)]
    by_parts = _log_normaliser(V, c, totals, n_low_bits, pieces)
    assert by_parts == pytest.approx(expected, rel=1e-13, abs=tolerance)


def test_log_normaliser_where_the_halves_disagree():
    # exp(high) exp(low) underflows for every class in configuration (1, 1)
    V, c, totals = np.array([[0.0, 1e3], [1e3, 0.0]]), np.zeros(2), np.ones((2, 2))
    assert _log_normaliser(V, c, totals, 1) == pytest.approx(3e3 + 2.0 * np.log(2.0), rel=1e-14)


@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_moments_of_a_table(n_hidden, n_low_bits):
    totals = _table(6, n_hidden, n_low_bits)[2]
    Z = _design(n_hidden)
    gram = second_moments(totals)
    np.testing.assert_allclose(gram, Z.T @ (Z * totals.reshape(-1, 1)), rtol=1e-12)


@pytest.mark.parametrize("n_slices", [1, 2])
@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_pair_moments(n_hidden, n_low_bits, n_slices):
    V, c, totals = _table(4, n_hidden, n_low_bits)
    table = np.ascontiguousarray(np.exp(reference.log_output_table(V, c)).T)
    shaped = table.reshape(3, *totals.shape)
    cuts = np.linspace(0, len(totals), n_slices + 1).astype(int).tolist()
    pieces = list(itertools.pairwise(cuts))
    Z = _design(n_hidden)
    for j, k in [(1, 0), (2, 0), (2, 1), (1, 1)]:
        gram = _pair_gram(shaped, totals, j, k, pieces)
        expected = Z.T @ (Z * (totals.ravel() * table[j] * table[k])[:, None])
        np.testing.assert_allclose(gram, expected, rtol=1e-12, atol=1e-13)


def test_pair_moments_are_the_curvature_of_the_normaliser():
    V, c, totals = _table(5, 5, 2)
    n_high = len(totals)
    step = 1e-5

    def slopes(theta):
        o = np.exp(reference.log_output_table(theta[:-1], theta[-1]))
        return _design(5).T @ (totals.ravel()[:, None] * o)

    theta = np.vstack([V, c])
    table = np.ascontiguousarray(np.exp(reference.log_output_table(V, c)).T)
    shaped = table.reshape(3, *totals.shape)
    moments = _pair_gram(shaped, totals, 2, 0, [(0, n_high)])
    for h in range(6):
        moved = np.zeros_like(theta)
        moved[h, 0] = step
        up, down = theta + moved, theta - moved
        values = [_log_normaliser(t[:-1].copy(), t[-1].copy(), totals, 2) for t in (up, down)]
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slopes(theta)[h, 0], rel=1e-7)
        cross = (slopes(up) - slopes(down))[:, 2] / (2 * step)
        np.testing.assert_allclose(-moments[h], cross, atol=1e-6)
