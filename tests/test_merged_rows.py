"""Equal rows of a table of categories are merged into one row with the sum of their weights."""

import numpy as np
import pytest

from fastem import Enumeration, FastEMClassifier, FastEMRegressor
from fastem.engines import Shape
from fastem.estimators import ascent
from fastem.estimators.ascent import Problem


def _table(n_samples, n_values=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, n_values, size=(n_samples, 2)).astype(float)
    y = (rng.uniform(size=n_samples) < 0.2 + 0.3 * X[:, 0]).astype(int)
    return X, y, rng.uniform(0.5, 2.0, size=n_samples)


def _problem(X, y, weights):
    return Problem(Shape(X.shape[1], (3,), 2), Enumeration(), X, y, weights)


def test_equal_rows_become_one():
    X, y, weights = _table(1200)
    X[X == 0.0] = -0.0
    X[::2][X[::2] == 0.0] = 0.0
    merged = _problem(X, y, weights).merged()
    rows = np.column_stack([merged.X, merged.targets])
    assert len(rows) == len(np.unique(rows, axis=0)) == len(np.unique([*X.T, y], axis=1).T)
    for row, weight in zip(rows, merged.weights, strict=True):
        same = (row[:2] == X).all(axis=1) & (y == row[2])
        assert weight == pytest.approx(weights[same].sum(), rel=1e-13)


@pytest.mark.parametrize(("n_samples", "n_values"), [(100, 2), (1200, 200)])
def test_few_rows_and_rows_that_hardly_repeat_stay(n_samples, n_values):
    problem = _problem(*_table(n_samples, n_values))
    assert problem.merged() is problem


def test_rows_that_repeat_in_the_tried_rows_only_stay():
    X, y, weights = _table(5000, 10**6)
    X[::5], y[::5] = 0.0, 0  # every row that is tried
    problem = _problem(X, y, weights)
    assert problem.merged() is problem


@pytest.mark.parametrize("kind", ["classes", "deep", "labels", "lbfgs", "numbers", "counts"])
def test_a_fit_is_the_same(kind, monkeypatch):
    X, y, weights = _table(600)
    settings = {"random_state": 0, "max_iter": 15, "tol": 0.0}
    models = {
        "classes": FastEMClassifier((3,), **settings),
        "deep": FastEMClassifier((3, 2), **settings),
        "labels": FastEMClassifier((3,), **settings),
        "lbfgs": FastEMClassifier((3,), solver="lbfgs", **settings),
        "numbers": FastEMRegressor((3,), variance_floor=0.01, **settings),
        "counts": FastEMRegressor((3,), family="poisson", **settings),
    }
    target = np.column_stack([y, 1 - y]) if kind == "labels" else y
    if kind == "numbers":
        target = np.round(2.0 * np.random.default_rng(1).normal(X[:, 0]))
    found = []
    for fewest in (500, 10**9):
        monkeypatch.setattr(ascent, "_FEWEST_ROWS_TO_MERGE", fewest)
        with pytest.warns(UserWarning, match="converge"):
            model = models[kind].fit(X, target, sample_weight=weights)
        found.append((model.loss_curve_, model.coefs_))
    (losses, coefs), (plain_losses, plain_coefs) = found
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-8)
    for a, b in zip(coefs, plain_coefs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
