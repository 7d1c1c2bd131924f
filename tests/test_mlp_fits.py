"""Fits with given starting values and class weights, and copies of fitted models."""

import copy
import pickle

import numpy as np
import pytest
from mlp_problems import (
    BY_SOLVER,
    CONVERGENCE,
    SGD,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    X,
    fast,
    parameters,
    same_bits,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_sample_weight

from fastem import FastMLPClassifier, FastMLPRegressor

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

STAY = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1}
SOLVERS = [*STOCHASTIC, {"solver": "lbfgs"}]


def start_of(task, widths, pieces=1):
    rng = np.random.default_rng(4)
    coefs = [rng.normal(size=(widths[i], widths[i + 1])) for i in range(len(widths) - 1)]
    return {"coefs_init": coefs, "intercepts_init": [rng.normal(size=n) for n in widths[1:]]}


# Starting values


@pytest.mark.parametrize(
    ("init", "name", "factor"),
    [("glorot", "relu", 6.0), ("glorot", "logistic", 2.0), ("glorot", "prelu", 6.0),
     ("he", "relu", 6.0), ("he", "logistic", 6.0)],
)  # fmt: skip
def test_bounds_of_starting_values(init, name, factor):
    model = fast("multiclass", **STAY, hidden_layer_sizes=(70, 60), activation=name, init=init)
    model.fit(X, TARGETS["multiclass"])
    for W, b in zip(model.coefs_, model.intercepts_, strict=True):
        bound = np.sqrt(factor / (W.shape[0] + (W.shape[1] if init == "glorot" else 0)))
        assert np.abs(W).max() <= bound
        assert (W.max(), W.min()) == pytest.approx((bound, -bound), rel=0.1)
        assert np.abs(W.mean()) < 0.2 * bound
        if init == "he":
            assert np.abs(b).max() < 1e-290
        else:
            assert np.abs(b).max() <= bound
            assert len(np.unique(b)) == len(b)
    if name == "prelu":
        np.testing.assert_array_equal(model.slopes_[0], np.full(70, 0.25))


def test_every_layer_is_drawn_by_its_own_activation():
    names = ("logistic", "relu")
    model = fast("multiclass", **STAY, hidden_layer_sizes=(60, 60), activation=names)
    model.fit(X, TARGETS["multiclass"])
    top = [np.abs(W).max() for W in model.coefs_]
    assert top[0] == pytest.approx(np.sqrt(2.0 / 64.0), rel=0.1)
    assert top[1] == pytest.approx(np.sqrt(6.0 / 120.0), rel=0.1)


@pytest.mark.parametrize("task", ["binary", "multiclass", "three outputs"])
def test_what_is_given_is_taken(task):
    n_outputs = 1 if task == "binary" else 3
    start = start_of(task, (4, 5, n_outputs))
    kept = copy.deepcopy(start)
    model = fast(task, **STAY, **start).fit(X, TARGETS[task])
    for given, found in zip([*kept["coefs_init"], *kept["intercepts_init"]], parameters(model)):  # noqa: B905
        np.testing.assert_array_equal(found, given)
    fast(task, **SGD, **start).fit(X, TARGETS[task])
    np.testing.assert_equal(start, kept)


def test_what_is_given_is_not_drawn():
    y, start = TARGETS["multiclass"], start_of("multiclass", (4, 5, 3))
    generators = [np.random.RandomState(1) for _ in range(2)]
    fast("multiclass", **STAY, **start, shuffle=False, random_state=generators[0]).fit(X, y)
    np.testing.assert_equal(*(g.get_state(legacy=False) for g in generators))
    for name in ("coefs_init", "intercepts_init"):
        model = fast("multiclass", **STAY, **{name: start[name]}).fit(X, y)
        drawn = model.intercepts_ if name == "coefs_init" else model.coefs_
        given = model.coefs_ if name == "coefs_init" else model.intercepts_
        for a, b in zip(given, start[name], strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(0.0 < np.abs(values).max() < 1.0 for values in drawn)


@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_starting_from_a_fit_is_a_warm_start(solver):
    y, options = TARGETS["multiclass"], {**solver, "shuffle": False, "activation": "tanh"}
    first = fast("multiclass", **options, warm_start=True).fit(X, y)
    start = {"coefs_init": [W.copy() for W in first.coefs_],
             "intercepts_init": [b.tolist() for b in first.intercepts_]}  # fmt: skip
    second = fast("multiclass", **options, **start).fit(X, y)
    assert same_bits(first.fit(X, y), second)


def test_starting_values_of_maxout_and_in_single_precision():
    start = start_of("binary", (4, 10, 1))
    start["coefs_init"][1] = start["coefs_init"][1][:5]
    rows = X.astype(np.float32)
    model = fast("binary", **STAY, **start, activation="maxout").fit(rows, TARGETS["binary"])
    assert {values.dtype for values in parameters(model)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(model.coefs_[0], start["coefs_init"][0].astype(np.float32))


# Class weights


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "strings"])
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_class_weights_given_are_sample_weights(solver, task, weights):
    y = TARGETS[task]
    by_class = dict(zip(np.unique(y).tolist(), (0.5, 3.0, 1.5), strict=False))
    of_row = compute_sample_weight(by_class, y)
    model = fast(task, **solver, class_weight=by_class).fit(X, y, weights)
    same = fast(task, **solver).fit(X, y, of_row if weights is None else of_row * weights)
    assert same_bits(model, same)
    assert not same_bits(model, fast(task, **solver).fit(X, y, weights))


@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_balanced_class_weights(solver):
    y = TARGETS["multiclass"]
    model = fast("multiclass", **solver, class_weight="balanced").fit(X, y)
    same = fast("multiclass", **solver).fit(X, y, compute_sample_weight("balanced", y))
    assert same_bits(model, same)


def test_balanced_class_weights_see_weights_as_replication():
    y, times = TARGETS["multiclass"], np.arange(45) % 3
    options = {"solver": "lbfgs", "class_weight": "balanced", "max_iter": 15}
    a = fast("multiclass", **options).fit(X, y, times)
    b = fast("multiclass", **options).fit(np.repeat(X, times, 0), np.repeat(y, times))
    for p, q in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-8)


def test_class_weights_of_partial_fits():
    y, by_class = TARGETS["multiclass"], {0: 0.5, 2: 3.0}
    model = fast("multiclass", **SGD, class_weight=by_class)
    same = fast("multiclass", **SGD)
    for rows in (np.flatnonzero(y != 1), np.arange(45)):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        weights = np.array([0.5, 1.0, 3.0])[y[rows]]
        same.partial_fit(X[rows], y[rows], classes=[0, 1, 2], sample_weight=weights)
    assert same_bits(model, same)


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [("multiclass", "even", "The 'class_weight' parameter of FastMLPClassifier must be.*'even'"),
     ("multiclass", 2.0, "The 'class_weight' parameter of FastMLPClassifier must be.*2.0"),
     ("multiclass", {0: -1.0}, "negative|class_weight"), ("multilabel", "balanced", "class_weight"),
     ("multiclass", {0: np.nan}, "NaN|class_weight")],
)  # fmt: skip
def test_bad_class_weights(task, value, message):
    with pytest.raises(ValueError, match=message):
        fast(task, class_weight=value).fit(X, TARGETS[task])


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_on_line_learning_passes_over_rows_without_weight(solver, task):
    y, kept = TARGETS[task], np.flatnonzero(WEIGHTS)
    options = {**solver, "batch_size": 1, "shuffle": False, "alpha": 0.5}
    weighted = fast(task, **options).fit(X, y, WEIGHTS)
    assert same_bits(weighted, fast(task, **options).fit(X[kept], y[kept], WEIGHTS[kept]))
    assert np.isfinite(weighted.loss_curve_).all()


# Copies


@pytest.mark.parametrize("task", ["strings", "multilabel", "three outputs"])
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_copies(solver, task):
    y = TARGETS[task]
    start = start_of(task, (4, 5, 3))
    model = fast(task, **solver, **start, activation=("prelu",)).fit(X, y)
    same = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(same.predict(X), model.predict(X))
    assert same_bits(model, clone(model).fit(X, y))
    if solver["solver"] != "lbfgs":
        deep = copy.deepcopy(model).partial_fit(X, y)
        assert same_bits(same.partial_fit(X, y), deep)  # velocities and moments were copied
        assert not same_bits(deep, model)


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor])
def test_grid_search(kind):
    names = ["relu", "maxout", ("prelu",), ["tanh"]]
    base = kind(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=5, random_state=0)
    search = GridSearchCV(base, {"activation": names}, cv=2, error_score="raise")
    search.fit(X, TARGETS["multiclass"])
    assert search.best_params_["activation"] in names
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) > 1
    assert np.isfinite(scores).all()
