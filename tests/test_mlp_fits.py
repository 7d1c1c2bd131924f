"""Fits with starting values, weights of classes and validation sets of the user's own."""

import copy
import pickle
import re

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
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_sample_weight

from fastem import FastMLPClassifier, FastMLPRegressor

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

STAY = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1}
SOLVERS = [*STOCHASTIC, {"solver": "lbfgs"}]
TRAIN, HELD_OUT = np.arange(30), np.arange(30, 45)
INDICATORS = {"multiclass": np.eye(3)[TARGETS["multiclass"]]}


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


# Weights of classes


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


# Validation sets


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
@pytest.mark.parametrize("weights", [None, WEIGHTS[HELD_OUT]], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["multiclass", "binary", "one output", "three outputs", "poisson"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_validation_curves(solver, task, weights, form):
    rows, y = form(X), TARGETS[task]
    held_out = {"X_val": rows[HELD_OUT], "y_val": y[HELD_OUT], "sample_weight_val": weights}
    model = fast(task, **solver).fit(rows[TRAIN], y[TRAIN], **held_out)
    assert same_bits(model, fast(task, **solver).fit(rows[TRAIN], y[TRAIN]))  # it has no say
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 6
    for n in (1, 4, 6):
        part = clone(model).set_params(max_iter=n).fit(rows[TRAIN], y[TRAIN])
        score = part.score(rows[HELD_OUT], y[HELD_OUT], weights)
        assert model.validation_scores_[n - 1] == pytest.approx(score, abs=1e-12)
        net = reference.Net(part.coefs_, part.intercepts_, [None], ("relu",), part.out_activation_)
        name = "log_loss" if task not in REGRESSIONS else part.loss
        targets = INDICATORS.get(task, y.reshape(45, -1))[HELD_OUT]
        loss = reference.total_loss(net, X[HELD_OUT], targets, name, 0.0, weights)
        if task == "three outputs":  # as scikit-learn reports it: the mean over outputs
            loss /= 3.0
        assert model.validation_loss_curve_[n - 1] == pytest.approx(loss, rel=1e-10)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ == min(model.loss_curve_)


def test_no_validation_no_curves():
    model = fast("multiclass", **SGD).fit(X, TARGETS["multiclass"])
    assert model.validation_scores_ is None
    assert model.validation_loss_curve_ is None
    model.set_params(early_stopping=True).fit(X, TARGETS["multiclass"])
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.validation_loss_curve_).all()
    model.set_params(early_stopping=False).fit(X, TARGETS["multiclass"])
    assert model.validation_loss_curve_ is None


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_early_stopping_by_a_set_of_ones_own(solver, task):
    y = TARGETS[task]
    held_out = {"X_val": X[HELD_OUT], "y_val": y[HELD_OUT]}
    options = {**solver, "learning_rate_init": 0.1, "n_iter_no_change": 3, "max_iter": 80}
    model = fast(task, **options, early_stopping=True).fit(X[TRAIN], y[TRAIN], **held_out)
    assert model.n_iter_ < 80
    scores = model.validation_scores_
    assert model.best_validation_score_ == max(scores)
    assert model.score(X[HELD_OUT], y[HELD_OUT]) == max(scores) > scores[-1]
    assert model.best_loss_ is None
    assert model.t_ == 30 * model.n_iter_  # all rows of the training set are trained on
    best = int(np.argmax(scores)) + 1
    same = fast(task, **{**options, "max_iter": best}).fit(X[TRAIN], y[TRAIN])
    assert same_bits(model, same)
    # the rule itself
    count, top = 0, -np.inf
    for i, score in enumerate(scores):
        count = count + 1 if score < top + model.tol else 0
        top = max(top, score)
        assert (count > 3) == (i + 1 == model.n_iter_)


def test_going_on_keeps_the_best_epoch_of_all_fits():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **SGD, early_stopping=True, warm_start=True, max_iter=10)
    model.fit(X, y, X_val=X, y_val=y)
    best = model.best_validation_score_
    assert model.score(X, y) == best
    model.set_params(learning_rate_init=1.0)  # nothing good comes of that
    model.fit(X, y, X_val=X, y_val=y)
    assert model.best_validation_score_ >= best
    assert model.score(X, y) == model.best_validation_score_


def test_early_stopping_comes_and_goes_in_warm_starts():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **SGD, warm_start=True).fit(X, y)
    assert model.best_loss_ == min(model.loss_curve_)
    model.set_params(early_stopping=True).fit(X, y, X_val=X, y_val=y)
    assert model.best_validation_score_ == max(model.validation_scores_) == model.score(X, y)
    assert len(model.validation_scores_) == 6
    assert len(model.loss_curve_) == 12
    last = model.set_params(early_stopping=False, max_iter=1).fit(X, y).loss_
    assert model.best_loss_ <= last
    assert len(model.loss_curve_) == 13


def test_validation_under_lbfgs():
    y = TARGETS["multiclass"]
    model = fast("multiclass", solver="lbfgs").fit(X, y, X_val=X[:9], y_val=y[:9])
    assert model.validation_scores_[-1] == model.score(X[:9], y[:9])
    loss = -np.mean(np.log(model.predict_proba(X[:9])[np.arange(9), y[:9]]))
    assert model.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)


BAD_VALIDATION = {
    "no y": ({"X_val": X}, "y_val"),
    "no X": ({"y_val": TARGETS["multiclass"]}, "X_val"),
    "weights alone": ({"sample_weight_val": WEIGHTS}, "X_val"),
    "narrow": ({"X_val": X[:, :3], "y_val": TARGETS["multiclass"]}, "3 features.*expecting 4"),
    "short": ({"X_val": X, "y_val": TARGETS["multiclass"][:9]}, r"\[45, 9\]"),
    "NaN": ({"X_val": X * np.nan, "y_val": TARGETS["multiclass"]}, "contains NaN"),
    "labels": ({"X_val": X, "y_val": TARGETS["multiclass"] + 1}, r"\[1 2 3\]"),
    "short weights": (
        {"X_val": X, "y_val": TARGETS["multiclass"], "sample_weight_val": WEIGHTS[:9]},
        r"sample_weight.*\(9,\).*\(45,\)",
    ),
    "no weight": (
        {"X_val": X, "y_val": TARGETS["multiclass"], "sample_weight_val": 0.0 * WEIGHTS}, "zero",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("held_out", "message"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_bad_validation_sets(held_out, message):
    with pytest.raises(ValueError, match=message):
        fast("multiclass", **SGD).fit(X, TARGETS["multiclass"], **held_out)


# Divergence


@pytest.mark.parametrize("task", ["one output", "three outputs", "poisson"])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_divergence_is_told_and_the_last_finite_weights_kept(call, task):
    y = TARGETS[task]
    model = fast(task, **{**SGD, "learning_rate_init": 1e4, "max_iter": 50}, activation="identity")

    def train():
        for _ in range(50):
            getattr(model, call)(X, y)

    with pytest.raises(ValueError, match=r"non-finite") as caught:
        train()
    message = str(caught.value)
    assert "smaller learning_rate_init" in message
    epoch = int(re.search(r"epoch (\d+)", message)[1])
    assert epoch == (model.n_iter_ + 1 if call == "fit" else 1)
    assert all(np.isfinite(values).all() for values in parameters(model))
    assert np.isfinite(model.loss_curve_).all()
    model.set_params(learning_rate_init=1e-3).fit(X, y)
    fresh = clone(model).fit(X, y)
    assert same_bits(model, fresh)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("factor", [1e100, 1e300])
@pytest.mark.parametrize("task", ["binary", "multiclass", "one output", "poisson"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "elu", "prelu", "maxout"])
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_no_size_of_the_features_gives_not_a_number(solver, activation, task, factor):
    model = fast(task, **solver, activation=activation)
    try:
        model.fit(X * factor, TARGETS[task])
    except ValueError as error:
        assert re.search(r"non-finite", str(error))  # noqa: PT017
    arrays = [*parameters(model), *(s for s in model.slopes_ if s is not None)]
    assert all(np.isfinite(values).all() for values in arrays)
    if hasattr(model, "predict_proba"):
        p = model.predict_proba(X)
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1.0)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "one output", "poisson"])
@pytest.mark.parametrize("activation", ["identity", "relu", "maxout", "tanh"])
def test_rows_too_large_to_predict_are_told(activation, task):
    model = fast(task, **ADAM, activation=activation).fit(X, TARGETS[task])
    method = "predict" if task in REGRESSIONS else "predict_proba"
    for factor in (1e20, 1e150):  # within range
        assert not np.isnan(getattr(model, method)(X * factor)).any()
    try:
        values = getattr(model, method)(np.sign(X) * 1e308)
    except (ValueError, FloatingPointError) as error:
        assert re.search(r"not a number|overflow|non-finite|[Rr]escale", str(error))  # noqa: PT017
        with pytest.raises(type(error), match=r"not a number|overflow|non-finite|[Rr]escale"):
            model.predict(np.sign(X) * 1e308)
    else:
        # infinity less infinity is not a number, or infinity: the order of the sum decides
        assert not np.isnan(values).any()


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
        assert same_bits(same.partial_fit(X, y), deep)  # velocities and moments went along
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
