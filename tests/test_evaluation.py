"""Evaluation of predictions: against loops in plain Python."""

import math
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor
from fastem.cli.evaluation import evaluate_classes, evaluate_numbers


class Fixed:
    """A classifier with given probabilities."""

    def __init__(self, classes, probabilities):
        self.classes_ = np.array(classes)
        self.probabilities = np.array(probabilities)

    def predict_proba(self, X):
        return self.probabilities


def slow_calibration(classes, probabilities, y):
    """Return {tenth: [(highest probability, whether correct), ...]}."""
    bins = {}
    for row, label in zip(probabilities, y, strict=True):
        highest = max(row)
        tenth = next(k for k in range(10) if highest <= np.linspace(0, 1, 11)[k + 1])
        bins.setdefault(tenth, []).append((highest, classes[list(row).index(highest)] == label))
    return dict(sorted(bins.items()))


@pytest.mark.parametrize("seed", range(4))
def test_classes(seed):
    rng = np.random.default_rng(seed)
    classes = ["a", "b", "c"]
    probabilities = rng.dirichlet([0.5, 0.5, 0.5], size=80)
    y = rng.choice(classes, 80)
    got = evaluate_classes(Fixed(classes, probabilities), None, y)
    losses = [-math.log(row[classes.index(k)]) for row, k in zip(probabilities, y, strict=True)]
    assert got["log_loss"] == pytest.approx(sum(losses) / 80, rel=1e-12)
    bins = slow_calibration(classes, probabilities, y)
    assert got["accuracy"] == sum(hit for rows in bins.values() for _, hit in rows) / 80
    assert [round(10 * entry["from"]) for entry in got["calibration"]] == list(bins)
    error = 0.0
    for entry, rows in zip(got["calibration"], bins.values(), strict=True):
        mean, share = (sum(values) / len(rows) for values in zip(*rows, strict=True))
        assert entry["rows"] == len(rows)
        assert entry["to"] == pytest.approx(entry["from"] + 0.1)
        assert entry["mean_probability"] == pytest.approx(mean, rel=1e-12)
        assert entry["share_correct"] == pytest.approx(share, rel=1e-12)
        error += len(rows) / 80 * abs(mean - share)
    assert got["expected_calibration_error"] == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize(("labels", "accuracy"), [([1, 1], 1.0), ([0, 0], 0.0), ([1, 0], 0.5)])
def test_certain_predictions(labels, accuracy):
    got = evaluate_classes(Fixed([0, 1], [[0.0, 1.0], [0.0, 1.0]]), None, np.array(labels))
    assert got["accuracy"] == accuracy
    assert math.isfinite(got["log_loss"])
    [entry] = got["calibration"]
    assert (entry["from"], entry["to"], entry["rows"]) == (0.9, 1.0, 2)
    assert got["expected_calibration_error"] == pytest.approx(1.0 - accuracy)


def fitted(family, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = FastEMRegressor((2,), family=family, alpha=1.0, max_iter=15, random_state=0)
        return model.fit(X, y)


def test_numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = X[:, 0] + rng.normal(size=200)
    model = fitted("gaussian", X, y)
    got = evaluate_numbers(model, X, y)
    counts = [0] * 10
    for p in model.predict_cdf(X, y):
        counts[min(int(p * 10), 9)] += 1
    assert [entry["share"] for entry in got["calibration"]] == pytest.approx(np.array(counts) / 200)
    inside = sum(
        low <= t <= high for (low, high), t in zip(model.predict_interval(X), y, strict=True)
    )
    assert got["coverage"] == pytest.approx(inside / 200)
    squares = [(a - b) ** 2 for a, b in zip(model.predict(X), y, strict=True)]
    assert got["rmse"] == pytest.approx(math.sqrt(sum(squares) / 200))
    assert got["log_density"] == pytest.approx(sum(model.log_density(X, y)) / 200)
    far = evaluate_numbers(model, X, y + 1e6)
    assert far["calibration"][-1]["share"] == 1.0
    assert far["coverage"] == 0.0


def test_counts():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 2))
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    model = fitted("poisson", X, y)
    got = evaluate_numbers(model, X, y)
    shares = [0.0] * 10
    for i in range(150):
        row, k = X[i : i + 1], y[i]
        above = model.predict_cdf(row, [k])[0]
        below = model.predict_cdf(row, [k - 1.0])[0] if k > 0 else 0.0
        for b in range(10):
            overlap = min(above, (b + 1) / 10) - max(below, b / 10)
            shares[b] += max(overlap, 0.0) / (above - below) / 150
    assert [entry["share"] for entry in got["calibration"]] == pytest.approx(shares, abs=1e-9)
    assert sum(shares) == pytest.approx(1.0)
    terms = [
        2.0 * ((t * math.log(t / m) if t else 0.0) - t + m)
        for t, m in zip(y, model.predict(X), strict=True)
    ]
    assert got["deviance"] == pytest.approx(sum(terms) / 150)
    far = evaluate_numbers(model, X, y + 5000.0)
    assert far["calibration"][-1]["share"] == 1.0


def test_calibration_of_the_true_model_is_flat():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(4000, 1))
    for family, y in (("gaussian", X[:, 0]), ("poisson", np.exp(X[:, 0]).round())):
        model = fitted(family, X[:300], y[:300])
        drawn, _ = model.sample(X, random_state=0)
        got = evaluate_numbers(model, X, drawn)
        # five standard errors of a share of 0.1 in 4000 rows
        assert max(abs(entry["share"] - 0.1) for entry in got["calibration"]) < 0.024


def test_a_classifier():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2))
    y = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
    model = FastEMClassifier((2,), alpha=1.0, random_state=0).fit(X, y)
    got = evaluate_classes(model, X, y)
    assert got["accuracy"] == pytest.approx(model.score(X, y))
