"""Validation sets of the multi-layer perceptrons: curves, early stopping, errors."""

import numpy as np
import pytest
import reference_backprop as reference
from mlp_problems import (
    BY_SOLVER,
    CONVERGENCE,
    REGRESSIONS,
    SGD,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    X,
    fast,
    same_bits,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import train_test_split

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

TRAIN, HELD_OUT = np.arange(30), np.arange(30, 45)
INDICATORS = {"multiclass": np.eye(3)[TARGETS["multiclass"]]}


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
@pytest.mark.parametrize("weights", [None, WEIGHTS[HELD_OUT]], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["multiclass", "binary", "one output", "three outputs", "poisson"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_validation_curves(solver, task, weights, form):
    rows, y = form(X), TARGETS[task]
    held_out = {"X_val": rows[HELD_OUT], "y_val": y[HELD_OUT], "sample_weight_val": weights}
    model = fast(task, **solver).fit(rows[TRAIN], y[TRAIN], **held_out)
    assert same_bits(model, fast(task, **solver).fit(rows[TRAIN], y[TRAIN]))  # it has no influence
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


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "one output", "three outputs"])
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_a_split_made_before_is_the_split_made_inside(solver, task, weights):
    y, n_outputs = TARGETS[task], 3 if task in ("multiclass", "three outputs") else 1
    rng = np.random.default_rng(2)
    options = {
        **solver, "early_stopping": True, "validation_fraction": 0.3, "max_iter": 8,
        "coefs_init": [rng.normal(size=(4, 5)), rng.normal(size=(5, n_outputs))],
        "intercepts_init": [np.zeros(5), np.zeros(n_outputs)],  # nothing is drawn before the split
    }  # fmt: skip
    inside = fast(task, **options, random_state=np.random.RandomState(7)).fit(X, y, weights)
    generator = np.random.RandomState(7)
    train, held_out = train_test_split(
        np.arange(45),
        test_size=0.3,
        random_state=generator,
        stratify=y if task == "binary" else None,
    )
    parts = [None, None] if weights is None else [weights[train], weights[held_out]]
    before = fast(task, **options, random_state=generator)
    before.fit(
        X[train], y[train], parts[0],
        X_val=X[held_out], y_val=y[held_out], sample_weight_val=parts[1],
    )  # fmt: skip
    assert same_bits(inside, before)
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_", "n_iter_"):
        assert getattr(inside, name) == getattr(before, name), name
    assert len(set(inside.validation_loss_curve_)) == inside.n_iter_ > 2


def test_going_on_keeps_the_best_epoch_of_all_fits():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **SGD, early_stopping=True, warm_start=True, max_iter=10)
    model.fit(X, y, X_val=X, y_val=y)
    best = model.best_validation_score_
    assert model.score(X, y) == best
    model.set_params(learning_rate_init=1.0)  # too large a rate
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
