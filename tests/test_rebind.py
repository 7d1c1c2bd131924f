"""Replacing the rows of a prepared E-step."""

import numpy as np
import pytest
import reference

import fastem

FAMILIES = {"categorical": None, "gaussian": np.array([0.5, 2.0]), "poisson": None}


def _problem(family, n, seed=0):
    rng = np.random.default_rng(seed)
    X, weights = rng.normal(size=(n, 3)), rng.uniform(size=n)
    y = {
        "categorical": lambda: rng.integers(0, 3, size=n),
        "gaussian": lambda: rng.normal(size=(n, 2)),
        "poisson": lambda: rng.poisson(2.0, size=(n, 2)),
    }[family]()
    d = 3 if family == "categorical" else 2
    return X, y, weights, *reference.draw_network(np.random.default_rng(1), 3, 5, d)


@pytest.mark.parametrize("method", ["enumeration", fastem.Sampling(100, random_state=0)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_equals_a_new_e_step(family, method):
    settings = {"family": family, "method": method}
    variance = FAMILIES[family]
    X, y, *_ = _problem(family, 60)
    n_classes = 3 if family == "categorical" else None
    oracle = fastem.EStep(X, y, hidden_layer_sizes=5, n_classes=n_classes, **settings)
    for seed, n in enumerate([60, 7, 1, 0, 59]):
        X, y, weights, coefs, intercepts = _problem(family, n, seed)
        for sample_weight in (weights, None):
            oracle.rebind(X, y, sample_weight)
            got = oracle(coefs, intercepts, variance)
            expected = fastem.e_step(
                X, y, coefs, intercepts, variance=variance, sample_weight=sample_weight, **settings
            )
            np.testing.assert_array_equal(got.log_likelihood, expected.log_likelihood)
            np.testing.assert_array_equal(got.hidden_posterior, expected.hidden_posterior)
            for a, b in zip(got.coef_gradients, expected.coef_gradients, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, w: (X[:, :2], y, w), "X must have 3 features and at most 20 rows"),
        (lambda X, y, w: (X.repeat(2, 0), y.repeat(2), w), "X must have 3 features and at most 20"),
        (lambda X, y, w: (X * np.nan, y, w), "X contains NaN"),
        (lambda X, y, w: (X, y[1:], w), "y must have shape"),
        (lambda X, y, w: (X, y + 1, w), "y must hold class indices"),
        (lambda X, y, w: (X, y, -w), "sample_weight must not be negative"),
    ],
)
def test_bad_rows_raise_and_the_rows_before_are_kept(change, message):
    X, y, weights, coefs, intercepts = _problem("categorical", 20)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=5, n_classes=3, sample_weight=weights)
    expected = oracle(coefs, intercepts)
    with pytest.raises(ValueError, match=message):
        oracle.rebind(*change(X, y, weights))
    got = oracle(coefs, intercepts)
    np.testing.assert_array_equal(got.log_likelihood, expected.log_likelihood)
    np.testing.assert_array_equal(got.coef_gradients[0], expected.coef_gradients[0])
