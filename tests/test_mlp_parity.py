"""The perceptrons give the same numbers as scikit-learn's from the same seed."""

import itertools

import numpy as np
import pytest
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
    assert_same,
    assert_same_fit,
    fast,
    parameters,
    slow,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastem import FastMLPClassifier, FastMLPRegressor

pytest.importorskip("sklearn", minversion="1.9")  # whose numbers they are
pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]


# Every solver with its schedules, every activation, every kind of target

SCHEDULES = [
    {"momentum": momentum, "nesterovs_momentum": nesterov, "learning_rate": schedule}
    for momentum, nesterov, schedule in itertools.product(
        (0.0, 0.9), (True, False), ("constant", "invscaling", "adaptive")
    )
]


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: "-".join(map(str, s.values())))
def test_schedules_of_descent(schedule, task):
    assert_same_fit(task, **SGD, **schedule, hidden_layer_sizes=(6, 4), max_iter=12)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_activations_and_targets(solver, activation, task):
    weights = WEIGHTS if activation in ("tanh", "relu") else None
    ours = assert_same_fit(task, weights, **solver, activation=activation)
    assert len(ours.loss_curve_) == 6
    assert ours.loss_curve_[-1] != ours.loss_curve_[0]


@pytest.mark.parametrize("power_t", [0.0, 0.3, 1.0])
def test_power_of_the_inverse_scaling(power_t):
    assert_same_fit("binary", **SGD, learning_rate="invscaling", power_t=power_t)


@pytest.mark.parametrize(
    "options",
    [  # with beta_2=0, epsilon keeps gradients that are rounding errors from taking full steps
        {"beta_1": 0.0},
        {"beta_2": 0.0, "epsilon": 0.1},
        {"beta_1": 0.5, "beta_2": 0.9},
        {"epsilon": 0.1},
    ],
)
def test_rates_of_adam(options):
    assert_same_fit("multiclass", **ADAM, **options)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_penalties(solver, alpha):
    assert_same_fit("multiclass", WEIGHTS, **solver, alpha=alpha)
    assert_same_fit("three outputs", **solver, alpha=alpha)


@pytest.mark.parametrize("hidden", [(), 5, (5,), (6, 4), [7, 3, 2], (1, 1), np.array([4, 3])])
@pytest.mark.parametrize("task", ["binary", "multilabel", "three outputs"])
def test_hidden_layer_sizes(hidden, task):
    for activation in ("relu", "logistic"):  # with other starting values
        assert_same_fit(task, **ADAM, hidden_layer_sizes=hidden, activation=activation)


def test_defaults_on_more_rows_than_a_batch():
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(470, 3)), rng.integers(0, 3, size=470)
    ours = FastMLPClassifier(random_state=0, max_iter=4).fit(rows, y)
    assert_same(ours, MLPClassifier(random_state=0, max_iter=4).fit(rows, y), rows)
    values = rng.normal(size=470)
    ours = FastMLPRegressor(random_state=0, max_iter=4).fit(rows, values)
    assert_same(ours, MLPRegressor(random_state=0, max_iter=4).fit(rows, values), rows)


# Batches, order, weights


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 44, 45, "auto"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_batches(solver, batch_size, shuffle):
    options = {**solver, "batch_size": batch_size, "shuffle": shuffle}
    weights = None if batch_size in (1, 44) else WEIGHTS  # alone a row without weight has no mean
    assert_same_fit("strings", weights, **options, max_iter=3)
    assert_same_fit("one output", weights, **options, max_iter=3, activation="tanh")


@pytest.mark.parametrize("kind", [fast, slow])
def test_a_batch_larger_than_the_sample_is_told(kind):
    with pytest.warns(UserWarning, match=r"^Got `batch_size` less than 1 or larger than sample"):
        kind("binary", batch_size=46).fit(X, TARGETS["binary"])


@pytest.mark.filterwarnings("ignore:Got `batch_size`")
@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "batch_size": 42}])
def test_a_batch_larger_than_the_sample(options):
    assert_same_fit("binary", **{**ADAM, "batch_size": 1000, **options})


@pytest.mark.parametrize("task", [*TARGETS])
def test_weights_of_one_change_nothing(task):
    weighted = assert_same_fit(task, np.ones(len(X)), **ADAM)
    np.testing.assert_array_equal(weighted.coefs_[0], assert_same_fit(task, **ADAM).coefs_[0])


# Stopping


def told(capsys, model, *args):
    capsys.readouterr()
    model.fit(*args)
    return capsys.readouterr().out


STOPPING = {
    "loss": {"n_iter_no_change": 2, "tol": 0.05},
    "adaptive": {"n_iter_no_change": 1, "tol": 1.0, "learning_rate": "adaptive"},
    "no patience": {"n_iter_no_change": 1, "tol": 10.0},
    "never": {"n_iter_no_change": np.inf, "tol": 10.0},
    "score": {"n_iter_no_change": 2, "tol": 1e-3, "early_stopping": True},
    "score, adaptive": {
        "n_iter_no_change": 1, "tol": 1e-3, "early_stopping": True, "learning_rate": "adaptive",
        "validation_fraction": 0.3,
    },
}  # fmt: skip


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("rule", STOPPING.values(), ids=STOPPING)
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_stopping_rules_and_what_is_told(solver, rule, task, capsys):
    options = {**solver, **rule, "max_iter": 45, "verbose": True}
    y = TARGETS[task]
    ours, theirs = fast(task, **options), slow(task, **options)
    text = told(capsys, ours, X, y)
    assert text == told(capsys, theirs, X, y)
    assert_same(ours, theirs)
    is_adaptive = solver is SGD and rule.get("learning_rate") == "adaptive"
    assert ("Setting learning rate to " in text) == is_adaptive
    assert ("Validation score: " in text) == ("early_stopping" in rule)
    if rule["n_iter_no_change"] == np.inf:
        assert ours.n_iter_ == 45
    elif is_adaptive and "early_stopping" not in rule:
        assert text.endswith("Learning rate too small. Stopping.\n")
    elif not is_adaptive:
        assert ours.n_iter_ < 45
        assert text.endswith("consecutive epochs. Stopping.\n")


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_early_stopping(solver, task, weights):
    options = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 3}
    for shuffle in (True, False):
        ours = assert_same_fit(task, weights, **solver, **options, shuffle=shuffle, max_iter=15)
        assert len(ours.validation_scores_) == ours.n_iter_ > 3
        assert ours.best_validation_score_ == max(ours.validation_scores_)


def test_the_best_epoch_of_early_stopping_is_kept():
    # a rate so large that the last epoch is not the best
    options = {**SGD, "learning_rate_init": 0.2, "early_stopping": True, "max_iter": 12}
    ours = assert_same_fit("multiclass", **options, validation_fraction=0.4)
    assert ours.validation_scores_[-1] < ours.best_validation_score_


def test_not_converging_is_told_in_the_same_words():
    messages = []
    for kind in (fast, slow):
        with pytest.warns(UserWarning, match="Maximum iterations") as caught:
            kind("binary").fit(X, TARGETS["binary"])
        messages.append([(str(w.message), w.category) for w in caught])
    assert messages[0] == messages[1]
    assert len(messages[0]) == 1


# Resuming


@pytest.mark.parametrize("task", ["binary", "strings", "multilabel", "one output", "poisson"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_warm_starts(solver, task):
    models = [kind(task, **solver, warm_start=True) for kind in (fast, slow)]
    for options in ({}, {"max_iter": 3}, {"learning_rate_init": 0.02, "alpha": 0.1}):
        for model in models:
            model.set_params(**options).fit(X, TARGETS[task])
        assert_same(*models)
    assert len(models[0].loss_curve_) == 6 + 3 + 3


@pytest.mark.parametrize("warm_start", [False, True])
def test_patience_of_a_second_fit(warm_start):
    options = {**ADAM, "n_iter_no_change": 4, "tol": 1.0, "max_iter": 20, "warm_start": warm_start}
    models = [kind("multiclass", **options) for kind in (fast, slow)]
    for n_iter in (6, 1 if warm_start else 6):  # a warm start has lost its patience already
        for model in models:
            model.fit(X, TARGETS["multiclass"])
        assert_same(*models)
        assert models[0].n_iter_ == n_iter


def test_an_optimizer_does_not_outlive_its_network():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **ADAM).fit(X, y)
    model.set_params(solver="lbfgs", hidden_layer_sizes=(8,)).fit(X, y)
    start = {"coefs_init": model.coefs_, "intercepts_init": model.intercepts_}
    fresh = fast("multiclass", **ADAM, hidden_layer_sizes=(8,), shuffle=False, **start)
    fresh.partial_fit(X, y, classes=[0, 1, 2])
    model.set_params(solver="adam", shuffle=False).partial_fit(X, y)
    for a, b in zip(parameters(model), parameters(fresh), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_second_fit_without_warm_start_begins_anew():
    model = fast("multiclass", **ADAM).fit(X, TARGETS["multiclass"])
    first = [values.copy() for values in parameters(model)]
    model.fit(X, TARGETS["multiclass"])
    for a, b in zip(first, parameters(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(model.loss_curve_) == 6


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_partial_fits(solver, task, weights):
    models = [kind(task, **solver) for kind in (fast, slow)]
    y = TARGETS[task]
    first = {}
    if task not in REGRESSIONS:
        first["classes"] = np.arange(3) if task == "multilabel" else np.unique(y)
    chosen = np.arange(45)
    if task in ("multiclass", "strings"):
        chosen = np.flatnonzero(y != y[0])  # the first call sees two of three labels
    for i, rows in enumerate([chosen[:9], np.arange(20), np.arange(20, 45), np.arange(45)]):
        for model in models:
            part = None if weights is None else weights[rows]
            model.partial_fit(X[rows], y[rows], sample_weight=part, **(first if i == 0 else {}))
        assert_same(*models)
        assert len(models[0].loss_curve_) == i + 1
    assert models[0].t_ == 9 + 20 + 25 + 45


@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_partial_fits_after_a_fit_and_fits_after_that(solver):
    models = [kind("multiclass", **solver) for kind in (fast, slow)]
    y = TARGETS["multiclass"]
    for model in models:
        model.fit(X, y).partial_fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    assert_same(*models)
    for model in models:  # the optimizer of the first calls is kept
        model.set_params(learning_rate_init=0.5, alpha=1.0, batch_size=20).partial_fit(X, y)
    assert_same(*models)
    for model in models:
        model.set_params(learning_rate_init=0.02).fit(X, y)
    assert_same(*models)


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_schedules_of_partial_fits(schedule):
    options = {**SGD, "learning_rate": schedule, "tol": 1.0, "n_iter_no_change": 1}
    models = [kind("one output", **options) for kind in (fast, slow)]
    for model in models:
        for _ in range(8):
            model.partial_fit(X, TARGETS["one output"])
    assert_same(*models)
