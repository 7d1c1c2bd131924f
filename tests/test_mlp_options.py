"""Options that scikit-learn's perceptrons lack: activations, dropout, losses."""

import numpy as np
import pytest
import reference_backprop as reference
from mlp_problems import (
    ADAM,
    BY_SOLVER,
    CONVERGENCE,
    REGRESSIONS,
    SGD,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    X,
    fast,
    parameters,
    same_bits,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from fastem import FastMLPClassifier, FastMLPRegressor, backpropagate

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

NEW = ["leaky_relu", "prelu", "elu", "maxout"]
SOLVERS = [*STOCHASTIC, {"solver": "lbfgs"}]
INDICATORS = np.eye(3)[TARGETS["multiclass"]]


def slow_net(model, names):
    """Convert a fitted model for the slow reference."""
    return reference.Net(
        model.coefs_, model.intercepts_, model.slopes_, tuple(names), model.out_activation_
    )


# Activations


@pytest.mark.parametrize("hidden", [(5,), (4, 3)])
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "one output", "poisson"])
@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_activations_learn(solver, name, task, hidden):
    options = {"hidden_layer_sizes": hidden, "activation": name, "max_iter": 25}
    model = fast(task, **solver, **options).fit(X, TARGETS[task], WEIGHTS)
    assert model.loss_ < 0.9 * model.loss_curve_[0]
    pieces = 2 if name == "maxout" else 1
    columns = [pieces * units for units in hidden] + [model.n_outputs_]
    assert [W.shape for W in model.coefs_] == list(zip((4, *hidden), columns, strict=True))
    assert [b.shape for b in model.intercepts_] == [(n,) for n in columns]
    assert model.n_layers_ == len(hidden) + 2
    assert len(model.slopes_) == len(hidden)
    for units, slopes in zip(hidden, model.slopes_, strict=True):
        if name == "prelu":
            assert slopes.shape == (units,)
            assert np.abs(slopes - 0.25).max() > 1e-3
        else:
            assert slopes is None
    output = model.predict_proba(X) if task not in REGRESSIONS else model.predict(X)
    expected = reference.outputs(slow_net(model, [name] * len(hidden)), X)
    np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("hidden", [("prelu",), ("maxout", "prelu"), ("prelu", "elu", "maxout")])
def test_one_step_of_descent_is_along_the_exact_gradient(hidden, alpha):
    options = {
        "hidden_layer_sizes": (4, 3, 2)[: len(hidden)], "activation": hidden, "alpha": alpha,
        "solver": "sgd", "momentum": 0.0, "batch_size": 45, "learning_rate_init": 0.01,
    }  # fmt: skip
    model = fast("multiclass", **options).partial_fit(
        X, TARGETS["multiclass"], classes=[0, 1, 2], sample_weight=WEIGHTS
    )
    before = [values.copy() for values in (*parameters(model), *drop_none(model.slopes_))]
    step = backpropagate(
        X, INDICATORS, model.coefs_, model.intercepts_, activation=hidden, alpha=alpha,
        sample_weight=WEIGHTS, slopes=model.slopes_,
    )  # fmt: skip
    model.partial_fit(X, TARGETS["multiclass"], sample_weight=WEIGHTS)
    assert model.loss_ == pytest.approx(step.loss, rel=1e-12)
    after = [*parameters(model), *drop_none(model.slopes_)]
    gradients = [
        *step.coef_gradients, *step.intercept_gradients, *drop_none(step.slope_gradients),
    ]  # fmt: skip
    for a, b, g in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(b, a - 0.01 * g, rtol=1e-11, atol=1e-13)
    assert any(g.any() for g in gradients)


def drop_none(arrays):
    return [values for values in arrays if values is not None]


@pytest.mark.parametrize("name", ["relu", "prelu", "maxout"])
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_a_name_for_every_layer_is_the_name_for_all(solver, name):
    options = {**solver, "hidden_layer_sizes": (4, 3)}
    one = fast("multiclass", **options, activation=name).fit(X, TARGETS["multiclass"])
    for names in ((name, name), [name, name]):
        each = fast("multiclass", **options, activation=names).fit(X, TARGETS["multiclass"])
        assert same_bits(one, each)
        assert one.loss_curve_ == each.loss_curve_
    other = fast("multiclass", **options, activation=(name, "tanh")).fit(X, TARGETS["multiclass"])
    assert not same_bits(one, other)


def test_mixed_activations():
    names = ("tanh", "maxout", "prelu")
    model = fast("three outputs", hidden_layer_sizes=(5, 4, 3), activation=names, **ADAM)
    model.fit(X, TARGETS["three outputs"])
    np.testing.assert_allclose(
        model.predict(X), reference.outputs(slow_net(model, names), X), rtol=1e-11
    )
    assert [slopes is None for slopes in model.slopes_] == [True, True, False]


def test_leaky_units_are_prelu_units_of_a_fixed_slope():
    leaky = fast("binary", activation="leaky_relu", **ADAM).fit(X, TARGETS["binary"])
    given = X, TARGETS["binary"][:, None], leaky.coefs_, leaky.intercepts_
    step = [
        backpropagate(*given, activation=name, output_activation="logistic", slopes=slopes)
        for name, slopes in (("leaky_relu", None), ("prelu", [np.full(5, 0.1)]))
    ]
    assert step[0].loss == pytest.approx(step[1].loss, rel=1e-14)
    np.testing.assert_allclose(step[0].coef_gradients[0], step[1].coef_gradients[0], rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_slopes_go_on_in_a_warm_start_and_begin_anew_without(solver):
    y = TARGETS["multiclass"]
    model = fast("multiclass", activation="prelu", **solver, warm_start=True, max_iter=8).fit(X, y)
    first = model.slopes_[0].copy()
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.slopes_[0], first)
    losses = model.loss_
    assert model.fit(X, y).loss_ < losses
    assert np.abs(model.slopes_[0] - first).max() > 0.0


def test_early_stopping_keeps_the_slopes_of_the_best_epoch():
    options = {**SGD, "learning_rate_init": 0.1, "activation": "prelu", "max_iter": 12}
    y = TARGETS["multiclass"]
    model = fast("multiclass", **options, early_stopping=True).fit(X, y, X_val=X, y_val=y)
    assert model.validation_scores_[-1] < model.best_validation_score_
    assert model.score(X, y) == model.best_validation_score_


# Dropout


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_dropout(solver, task):
    y = TARGETS[task]
    options = {**solver, "hidden_layer_sizes": (8, 6)}
    plain = fast(task, **options).fit(X, y)
    assert same_bits(plain, fast(task, **options, dropout=0.0).fit(X, y))
    dropped = fast(task, **options, dropout=0.4).fit(X, y)
    assert not same_bits(plain, dropped)
    assert all(a != b for a, b in zip(plain.loss_curve_, dropped.loss_curve_, strict=True))
    assert same_bits(dropped, clone(dropped).fit(X, y))
    other = clone(dropped).set_params(random_state=2, coefs_init=None).fit(X, y)
    assert not same_bits(dropped, other)
    np.testing.assert_array_equal(dropped.predict(X), dropped.predict(X))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropped_units_are_as_many_as_asked_and_the_mean_stays(rate):
    # the output is the sum of 400 units that are one: what is kept, scaled up
    n = 400
    model = FastMLPRegressor(
        hidden_layer_sizes=(n,), activation="identity", solver="sgd", learning_rate_init=1e-300,
        momentum=0.0, alpha=0.0, batch_size=1, dropout=rate, max_iter=1, random_state=3,
        coefs_init=[np.zeros((1, n)), np.ones((n, 1))], intercepts_init=[np.ones(n), np.zeros(1)],
    )  # fmt: skip
    rows = np.zeros((300, 1))
    model.fit(rows, np.full(300, float(n)))
    # half the variance of the sum of n kept units, each 1 / (1 - rate) with probability 1 - rate
    variance = n * rate / (1.0 - rate)
    assert model.loss_ == pytest.approx(0.5 * variance, rel=0.25)
    # for targets of zero the loss is half the mean squared output
    model.fit(rows, np.zeros(300))
    assert model.loss_ == pytest.approx(0.5 * (n**2 + variance), rel=0.02)
    np.testing.assert_allclose(model.predict(rows), n)  # all are there outside training


def dropout_step(rows, y, start, rate):
    """One step of descent at rate one: the model, and minus its gradients."""
    model = FastMLPRegressor(
        hidden_layer_sizes=[W.shape[1] for W in start[0][:-1]], activation="tanh", solver="sgd",
        learning_rate_init=1.0, momentum=0.0, alpha=0.0, dropout=rate, max_iter=1, shuffle=False,
        random_state=0, coefs_init=start[0], intercepts_init=start[1],
    ).fit(rows, y)  # fmt: skip
    return model, [a - b for a, b in zip([*start[0], *start[1]], parameters(model), strict=True)]


def test_what_is_dropped_forward_is_dropped_backward():
    # row i has feature i alone: the gradient of W tells what was kept for which row
    n, rate, rng = 40, 0.3, np.random.default_rng(0)
    start = [rng.normal(size=(n, 6)), rng.normal(size=(6, 1))], [rng.normal(size=6), np.ones(1)]
    y = rng.normal(size=n)
    model, (dW, dV, db, dc) = dropout_step(np.eye(n), y, start, rate)
    kept = (dW != 0.0) / (1.0 - rate)
    assert 0.6 < np.mean(dW != 0.0) < 0.8
    (W, V), (b, c) = start
    values = kept * np.tanh(W + b)
    delta = (values @ V + c - y[:, None]) / n
    assert model.loss_ == pytest.approx(0.5 * n * np.sum(delta**2), rel=1e-11)
    np.testing.assert_allclose(dV, values.T @ delta, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(dc, delta.sum(axis=0), rtol=1e-9, atol=1e-13)
    below = delta @ V.T * kept * (1.0 - np.tanh(W + b) ** 2)
    np.testing.assert_allclose(dW, below, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(db, below.sum(axis=0), rtol=1e-9, atol=1e-13)


def test_two_layers_drop_forward_and_backward():
    rate, rng = 0.5, np.random.default_rng(1)
    coefs = [rng.normal(size=shape) for shape in ((1, 8), (8, 9), (9, 1))]
    intercepts = [rng.normal(size=n) for n in (8, 9, 1)]
    model, (dU, dW, dV, *_) = dropout_step(np.ones((1, 1)), [5.0], (coefs, intercepts), rate)
    first, second = (dW != 0.0).any(axis=1), (dV != 0.0)[:, 0]
    assert 0 < first.sum() < 8
    assert 0 < second.sum() < 9
    one = np.tanh(coefs[0][0] + intercepts[0])
    two = np.tanh(2.0 * first * one @ coefs[1] + intercepts[1])
    delta = (2.0 * second * two) @ coefs[2] + intercepts[2] - 5.0
    assert model.loss_ == pytest.approx(0.5 * delta[0] ** 2, rel=1e-12)
    middle = delta[0] * coefs[2][:, 0] * 2.0 * second * (1.0 - two**2)
    np.testing.assert_allclose(dV[:, 0], delta * 2.0 * second * two, rtol=1e-9)
    np.testing.assert_allclose(dW, np.outer(2.0 * first * one, middle), rtol=1e-9, atol=1e-14)
    below = coefs[1] @ middle * 2.0 * first * (1.0 - one**2)
    np.testing.assert_allclose(dU[0], below, rtol=1e-9, atol=1e-14)


def test_every_layer_and_every_epoch_drops_units_of_its_own():
    n = 50
    options = {
        "activation": "identity", "solver": "sgd", "learning_rate_init": 1e-300, "alpha": 0.0,
        "dropout": 0.5, "max_iter": 4, "random_state": 0, "tol": 0.0, "n_iter_no_change": 99,
    }  # fmt: skip
    first = [np.zeros((1, n)), np.ones((n, 1))], [np.ones(n), np.zeros(1)]
    model = FastMLPRegressor(hidden_layer_sizes=(n,), **options)
    model.set_params(coefs_init=first[0], intercepts_init=first[1])
    model.fit(np.zeros((40, 1)), np.zeros(40))
    assert len(set(model.loss_curve_)) == 4
    # the second layer sees what the first one kept: twice a scale of two, or nothing
    model = FastMLPRegressor(hidden_layer_sizes=(1, 1), **{**options, "max_iter": 1})
    model.set_params(
        coefs_init=[np.ones((1, 1))] * 3, intercepts_init=[np.zeros(1)] * 3, batch_size=1
    )
    model.fit(np.ones((4000, 1)), np.zeros(4000))
    assert model.loss_ == pytest.approx(0.5 * 16.0 * 0.25, rel=0.15)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_dropout_depends_on_no_storage(form):
    rows = np.where(np.abs(X) < 0.7, 0.0, X)
    a = fast("multiclass", **ADAM, dropout=0.3).fit(rows, TARGETS["multiclass"])
    b = fast("multiclass", **ADAM, dropout=0.3).fit(form(rows), TARGETS["multiclass"])
    for p, q in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12)


def test_dropout_without_hidden_layers_drops_nothing():
    models = [
        fast("multiclass", **ADAM, hidden_layer_sizes=(), dropout=rate, shuffle=False).fit(
            X, TARGETS["multiclass"]
        )
        for rate in (0.0, 0.5)
    ]
    assert same_bits(*models)


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor])
def test_dropout_needs_epochs(kind):
    with pytest.raises(ValueError, match=r"dropout=0.5.*solver='sgd' or 'adam'"):
        kind(dropout=0.5, solver="lbfgs").fit(X, TARGETS["binary"])


# Losses


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_squared_error_of_probabilities(task, weights):
    y = TARGETS[task]
    targets = INDICATORS if task == "multiclass" else y.reshape(45, -1)
    model = fast(task, solver="lbfgs", loss="squared_error", alpha=0.3, max_iter=25)
    model.fit(X, y, weights)
    expected = reference.total_loss(
        slow_net(model, ["relu"]), X, targets, "squared_error", 0.3, weights
    )
    assert model.loss_ == pytest.approx(expected, rel=1e-10)
    assert model.loss_ < model.loss_curve_[0]
    other = fast(task, solver="lbfgs", alpha=0.3, max_iter=25).fit(X, y, weights)
    assert np.abs(model.predict_proba(X) - other.predict_proba(X)).max() > 1e-3


def test_absolute_error_finds_the_median():
    rng = np.random.default_rng(0)
    y = rng.lognormal(size=301)
    model = FastMLPRegressor(
        "absolute_error", hidden_layer_sizes=(), alpha=0.0, solver="sgd", batch_size=301,
        learning_rate_init=0.2, learning_rate="invscaling", momentum=0.0, max_iter=4000, tol=0.0,
        n_iter_no_change=4000, random_state=0, power_t=0.3,
    )  # fmt: skip
    model.fit(np.zeros((301, 1)), y)
    median, mean = np.median(y), np.mean(y)
    assert abs(model.predict([[0.0]])[0] - median) < 0.05 * (mean - median)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["one output", "three outputs"])
def test_the_reported_absolute_error_is_the_sum_over_outputs(task, weights):
    y = TARGETS[task]
    model = fast(task, **SGD, loss="absolute_error", alpha=0.5, warm_start=True).fit(X, y, weights)
    expected = reference.total_loss(
        slow_net(model, ["relu"]), X, y.reshape(45, -1), "absolute_error", 0.5, weights
    )
    model.set_params(batch_size=45, max_iter=1).fit(X, y, weights)
    assert model.loss_ == pytest.approx(expected, rel=1e-10)


# No hidden layer


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "strings"])
def test_no_hidden_layer_is_logistic_regression(task, weights):
    y = TARGETS[task]
    model = fast(task, hidden_layer_sizes=(), solver="lbfgs", alpha=0.5, tol=1e-10, max_iter=500)
    model.fit(X, y, weights)
    theirs = LogisticRegression(C=2.0, tol=1e-12, max_iter=5000).fit(X, y, weights)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=5e-4)
    assert model.coefs_[0].shape == (4, model.n_outputs_)
    assert model.slopes_ == []


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["one output", "three outputs"])
def test_no_hidden_layer_is_ridge_regression(task, weights):
    y = TARGETS[task]
    model = fast(task, hidden_layer_sizes=(), solver="lbfgs", alpha=0.5, tol=1e-10, max_iter=500)
    model.fit(X, y, weights)
    theirs = Ridge(0.5).fit(X, y, weights)
    tolerance = 1e-4 if task == "one output" else 2e-2
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), atol=tolerance)
    descended = FastMLPRegressor(
        hidden_layer_sizes=(), solver="sgd", alpha=0.5, learning_rate_init=0.1, batch_size=45,
        max_iter=500, tol=0.0, n_iter_no_change=500, random_state=0,
    ).fit(X, y, weights)  # fmt: skip
    np.testing.assert_allclose(descended.predict(X), theirs.predict(X), atol=1e-6)
