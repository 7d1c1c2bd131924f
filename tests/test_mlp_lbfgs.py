"""L-BFGS of the multi-layer perceptrons against scikit-learn's.

A line search amplifies rounding: scikit-learn's own results move by up to 1e-11 after 15 to 40
iterations, and by more than 0.1 after 200, when starting values are changed by 1e-15. What is
compared here are fits of which they move by less than 1e-10.
"""

import numpy as np
import pytest
from mlp_problems import (
    CONVERGENCE,
    TARGETS,
    WEIGHTS,
    X,
    assert_same,
    assert_same_fit,
    fast,
    parameters,
    slow,
)
from sklearn.exceptions import ConvergenceWarning

from fastem import FastMLPClassifier

pytest.importorskip("sklearn", minversion="1.9")  # whose numbers they are
pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

LBFGS = {"solver": "lbfgs"}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_activations_and_targets(activation, task, weights):
    ours = assert_same_fit(task, weights, **LBFGS, activation=activation, max_iter=15)
    assert len(ours.loss_curve_) == ours.n_iter_ > 5
    assert ours.loss_curve_[-1] == ours.loss_
    assert max(np.diff(ours.loss_curve_)) < 0.0
    # rounding decides when the linear network for three outputs stops: it is stopped before
    max_iter = 12 if (activation, task) == ("identity", "three outputs") else 35
    assert_same_fit(task, weights, **LBFGS, activation=activation, max_iter=max_iter, alpha=1.0)


@pytest.mark.parametrize("hidden", [(), 5, (6, 4), [7, 3, 2]])
@pytest.mark.parametrize("task", ["multiclass", "three outputs", "poisson"])
def test_hidden_layer_sizes(hidden, task):
    for activation in ("tanh", "logistic"):
        options = {"hidden_layer_sizes": hidden, "activation": activation, "max_iter": 12}
        assert_same_fit(task, **LBFGS, **options)


@pytest.mark.parametrize("task", ["binary", "two strings"])
def test_convergence(task):
    # moves by 5e-14 and 4e-13
    for activation in ("identity", "tanh"):
        ours = assert_same_fit(task, WEIGHTS, **LBFGS, activation=activation, max_iter=200)
        assert 10 < ours.n_iter_ < 30


def test_converged_fits_do_not_warn(recwarn):
    fast("binary", **LBFGS, activation="identity", max_iter=200).fit(X, TARGETS["binary"])
    assert not recwarn.list


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("limit", [{"max_iter": 3}, {"max_fun": 3}])
def test_limits(limit):
    told = []
    models = []
    for kind in (fast, slow):
        with pytest.warns(ConvergenceWarning, match=r"^lbfgs failed to converge") as caught:
            models.append(kind("multiclass", **LBFGS, **limit).fit(X, TARGETS["multiclass"]))
        assert len(caught) == 1
        told.append(str(caught[0].message).splitlines()[:2])
    assert told[0] == told[1]  # number of iterations, and which limit was reached
    assert_same(*models)
    assert models[0].n_iter_ <= 3


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "one output"])
def test_warm_starts(task):
    models = [kind(task, **LBFGS, warm_start=True) for kind in (fast, slow)]
    for options in ({}, {"max_iter": 3}, {"alpha": 0.1}):
        for model in models:
            model.set_params(**options).fit(X, TARGETS[task], WEIGHTS)
        assert_same(*models)


def test_going_on_from_descent():
    models = [kind("multiclass", solver="adam", warm_start=True) for kind in (fast, slow)]
    for solver in ("adam", "lbfgs", "sgd", "lbfgs"):
        for model in models:
            model.set_params(solver=solver, max_iter=4).fit(X, TARGETS["multiclass"])
        for a, b in zip(parameters(models[0]), parameters(models[1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
        assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-8)


@pytest.mark.parametrize("task", ["multiclass", "one output"])
def test_single_precision_becomes_double(task):
    rows = X.astype(np.float32)
    models = [kind(task, **LBFGS).fit(rows, TARGETS[task]) for kind in (fast, slow)]
    assert_same(*models, rows, {"rtol": 2e-4, "atol": 2e-5})


def test_rows_go_through_in_blocks():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2500, 2))
    y = np.sign(rows[:, 0] * rows[:, 1])
    ours = fast("binary", **LBFGS).fit(rows, y)
    assert_same(ours, slow("binary", **LBFGS).fit(rows, y), rows)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", ["multiclass", "three outputs", "poisson"])
def test_weight_zero_is_removal(kind, weights):
    y, keep = TARGETS[kind], np.ones(45)
    keep[::4] = 0.0
    weights = keep if weights is None else keep * weights
    kept = np.flatnonzero(weights)
    a = fast(kind, **LBFGS, max_iter=15).fit(X, y, weights)
    b = fast(kind, **LBFGS, max_iter=15).fit(X[kept], y[kept], weights[kept])
    for p, q in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-10)


def test_integer_weight_is_replication():
    y, times = TARGETS["multiclass"], np.arange(45) % 3
    a = fast("multiclass", **LBFGS, max_iter=15).fit(X, y, times)
    b = fast("multiclass", **LBFGS, max_iter=15).fit(np.repeat(X, times, 0), np.repeat(y, times))
    for p, q in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-9)


def test_iterations_are_told(capsys):
    model = FastMLPClassifier((3,), **LBFGS, max_iter=4, random_state=0, verbose=True)
    model.fit(X, TARGETS["binary"])
    lines = [f"Iteration {i + 1}, loss = {loss:.8f}" for i, loss in enumerate(model.loss_curve_)]
    assert capsys.readouterr().out.splitlines() == lines
    assert len(lines) == 4
