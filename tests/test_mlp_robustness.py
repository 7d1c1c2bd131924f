"""Layouts, edits and extremes that must not turn into wrong numbers."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import fastem
from fastem import FastMLPClassifier, FastMLPRegressor
from fastem.kernels import activations
from fastem.perceptron.feed_forward import FeedForward
from fastem.perceptron.layers import HIDDEN_ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 4))
LABELS = _RNG.integers(0, 2, (60, 3))
CLASSES = (X[:, 0] > 0).astype(int)
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 3}


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda y: y[::-1].copy()[::-1]])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_labels_in_any_layout(layout, solver):
    options = {**SMALL, "solver": solver, "shuffle": False}
    expected = FastMLPClassifier(**options).fit(X, LABELS).loss_
    assert FastMLPClassifier(**options).fit(X, layout(LABELS)).loss_ == expected


@pytest.mark.parametrize("change", [lambda y: 2 * y, lambda y: 255 * y, lambda y: -y])
def test_indicators_are_read_as_on_and_off(change):
    options = {**SMALL, "solver": "lbfgs"}
    theirs = MLPClassifier(**options).fit(X, change(LABELS)).loss_
    np.testing.assert_allclose(
        FastMLPClassifier(**options).fit(X, change(LABELS)).loss_, theirs, rtol=1e-10
    )


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_last_step_is_looked_at_too(solver):
    model = FastMLPClassifier(**{**SMALL, "max_iter": 1}, solver=solver, learning_rate_init=1e200)
    with pytest.raises(ValueError, match=r"epoch 1 .*learning_rate_init"):
        model.fit(X, CLASSES)
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_bad_batch_does_not_spoil_a_model():
    model = FastMLPClassifier(**SMALL, solver="sgd").partial_fit(X, CLASSES, classes=[0, 1])
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(1e200 * X, CLASSES)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    model.partial_fit(X, CLASSES)
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_failed_first_partial_fit_leaves_nothing():
    model = FastMLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(np.full_like(X, np.nan), CLASSES, classes=[0, 1, 2])
    assert [name for name in vars(model) if name.endswith("_")] == []
    assert model.partial_fit(X, CLASSES, classes=[0, 1]).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_validation_rows_have_the_outputs_of_training(solver):
    Y = _RNG.normal(size=(60, 5))
    model = FastMLPRegressor(**SMALL, solver=solver)
    with pytest.raises(ValueError, match=r"y_val must have 5 outputs.*1"):
        model.fit(X, Y, X_val=X[:4], y_val=np.zeros(4))
    with pytest.raises(ValueError, match="X_val must have two rows"):
        model.fit(X, Y, X_val=X[:1], y_val=Y[:1])


def test_class_weights_do_not_judge():
    options = {**SMALL, "early_stopping": True, "max_iter": 1}
    weighted = FastMLPClassifier(**options, class_weight={0: 1e-9, 1: 1.0}).fit(X, CLASSES)
    rights = weighted.validation_scores_[0] * 6  # of six rows held out
    assert abs(rights - round(rights)) < 1e-9


def test_parameters_set_by_hand():
    model = FastMLPClassifier(**SMALL, activation="prelu").fit(X, CLASSES)
    model.slopes_ = [np.full(1, 0.25)]
    with pytest.raises(ValueError, match="slopes must have lengths"):
        model.predict(X)
    model = FastMLPClassifier(**SMALL).fit(X, CLASSES)
    theirs = MLPClassifier(**SMALL).fit(X, CLASSES)
    for both in (model, theirs):
        both.coefs_ = [np.ones((4, 6), int), np.full((6, 1), 2)]
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), rtol=1e-12)
    model.coefs_[0] = np.full((4, 6), np.nan)
    with pytest.raises(FloatingPointError, match="not a number"):
        model.predict(X)


def test_a_row_without_weight_may_be_anything():
    coefs, intercepts = [np.full((1, 2), 1e200)], [np.zeros(2)]
    both = fastem.backpropagate(
        [[0.0], [1e200]], [[1.0, 0.0], [0.0, 1.0]], coefs, intercepts, sample_weight=[1.0, 0.0],
        output_activation="identity", loss="squared_error",
    )  # fmt: skip
    one = fastem.backpropagate(
        [[0.0]], [[1.0, 0.0]], coefs, intercepts, output_activation="identity", loss="squared_error"
    )
    assert both.loss == one.loss
    np.testing.assert_array_equal(both.coef_gradients[0], one.coef_gradients[0])


@pytest.mark.parametrize("name", HIDDEN_ACTIVATIONS)
def test_not_a_number_passes_every_hidden_activation(name):
    columns = 4 if name == "maxout" else 2
    nets, values = np.zeros((1, columns)), np.zeros((1, 2))
    nets[0, 0] = np.nan
    activations.fill_hidden(
        HIDDEN_ACTIVATIONS[name], nets, np.zeros(columns), np.full(2, 0.25), values
    )
    if name != "maxout":  # which takes the other piece
        assert np.isnan(values[0, 0])
    assert values[0, 1] == (0.5 if name == "logistic" else 0.0)


@pytest.mark.parametrize(
    "options", [{"alpha": 1e300}, {"coefs_init": [np.full((4, 6), 1e300), np.ones((6, 1))]}]
)
def test_extreme_settings_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FastMLPClassifier(**SMALL, **options).fit(X, CLASSES)


@pytest.mark.parametrize("weight", [1e300, 1e-300])
def test_extreme_weights_are_named(weight):
    with pytest.raises(ValueError, match=r"sample_weight.*rescale"):
        FastMLPClassifier(**SMALL).fit(X, CLASSES, np.full(60, weight))


def test_a_long_epoch_is_cut_into_pieces(monkeypatch):
    pieces = []

    def train(self, theta, optimizer, rows, order, piece, seed, work):
        pieces.append(piece)
        if len(pieces) == 3:  # as Ctrl-C between two pieces does
            raise KeyboardInterrupt
        return 0.0, 0.0

    monkeypatch.setattr(FeedForward, "train", train)
    rows, labels = np.zeros((3000, 50)), np.arange(3000) % 2
    model = FastMLPClassifier((2000, 2000), batch_size=100)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(rows, labels)
    stops = [stop for _, stop in pieces]
    assert pieces == list(zip([0, *stops[:-1]], stops, strict=True))
    assert all((stop - start) % 100 == 0 for start, stop in pieces)
    assert np.isfinite(model.coefs_[0]).all()


def test_a_double_network_keeps_double_rows():
    model = FastMLPClassifier(**SMALL).fit(X.astype(np.float32), CLASSES)
    assert model.coefs_[0].dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert model.predict_proba(X).dtype == np.float64


def test_lbfgs_extends_the_curve_of_a_warm_start():
    model = FastMLPClassifier(**{**SMALL, "max_iter": 4}, solver="lbfgs", warm_start=True)
    with pytest.warns(ConvergenceWarning, match="max_fun"):
        model.fit(X, CLASSES)
    assert len(model.loss_curve_) == 4
    assert len(model.fit(X, CLASSES).loss_curve_) == 8
    assert not model.converged_
