"""partial_fit of FastEMClassifier: streams of rows, and the state between calls."""

import inspect
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor

from fastem import (
    DivergenceError,
    FastEMClassifier,
    FastMLPClassifier,
    FastMLPRegressor,
    Sampling,
)
from fastem.solvers.network import Network

X, Y = load_iris(return_X_y=True)
CLASSES = [0, 1, 2]
ORDER = np.random.default_rng(0).permutation(150)
CHUNKS = [(X[i], Y[i]) for i in np.array_split(ORDER, 6)]


def classifier(**options):
    options = {"solver": "adam", "alpha": 0.15, "learning_rate_init": 0.05, **options}
    options = {"random_state": 0, "n_jobs": 1, "batch_size": 10, **options}
    return FastEMClassifier(**{"hidden_layer_sizes": (3,), **options})


def fitted(model, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, sample_weight)


def streamed(model, chunks=CHUNKS):
    for data, y in chunks:
        model.partial_fit(data, y, classes=CLASSES)
    return model


def same_bits(a, b):
    pairs = zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    return all(np.array_equal(x, y) for x, y in pairs) and a.loss_curve_ == b.loss_curve_


def state_of(model):
    return pickle.dumps(vars(model))


# Streams


def test_a_stream_keeps_the_penalty_of_a_fit():
    model = classifier(alpha="auto").partial_fit(*CHUNKS[0], classes=CLASSES)
    assert (model.alpha_, model.solver_) == (0.15, "adam")
    assert same_bits(model, streamed(classifier(), CHUNKS[:1]))
    chosen = fitted(classifier(alpha="auto"), X, Y)
    given = fitted(classifier(alpha=chosen.alpha_), X, Y)
    assert chosen.alpha_ != 0.15
    given._ascent, given.coefs_, given.intercepts_ = (
        chosen._ascent, chosen.coefs_, chosen.intercepts_,
    )  # fmt: skip
    given.loss_curve_ = list(chosen.loss_curve_)
    assert same_bits(streamed(chosen), streamed(given))
    assert chosen.alpha_ == given.alpha_


def test_a_stream_learns():
    model = classifier()
    for _ in range(40):
        streamed(model)
    assert model.score(X, Y) > 0.95
    assert model.n_iter_ == len(model.loss_curve_) == len(model.loss_curve_seconds_) == 240
    assert model.loss_ == model.loss_curve_[-1] < 0.3 * model.loss_curve_[0]
    assert model.converged_ is False
    assert min(np.diff(model.loss_curve_seconds_)) > 0.0
    assert (model.n_features_in_, model.n_layers_) == (4, 3)
    assert model.classes_.tolist() == CLASSES


def test_a_call_returns_the_estimator():
    model = classifier()
    assert model.partial_fit(X, Y, classes=CLASSES) is model
    assert model.partial_fit(X, Y) is model


@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"batch_size": "auto"}], ids=str)
def test_one_call_with_all_rows_is_the_first_epoch_of_fit(options):
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 150)
    one = classifier(**options).partial_fit(X, Y, classes=CLASSES, sample_weight=weights)
    if "batch_size" in options:
        options = {"batch_size": 200}  # in `fit`, "auto" is less
    epoch = fitted(classifier(max_iter=1, **options), X, Y, weights)
    np.testing.assert_array_equal(one.coefs_[0], epoch.coefs_[0])
    np.testing.assert_array_equal(one.intercepts_[1], epoch.intercepts_[1])
    assert one.loss_ == epoch.loss_curve_[1]


def test_calls_of_a_batch_each_are_the_first_epoch_of_fit():
    """Without penalty, whose share depends on the rows so far, and without standardisation."""
    start = fitted(classifier(solver="em", max_iter=1), X, Y)
    options = {
        "alpha": 0.0, "standardize": False, "coefs_init": start.coefs_,
        "intercepts_init": start.intercepts_,
    }  # fmt: skip
    epoch = fitted(classifier(max_iter=1, **options), X, Y)
    seeds = np.random.RandomState(0)
    shape = (4, 3), (3, 3)
    # the estimator draws starting values, used or not, and then the seed of its shuffles
    for size in shape:
        seeds.standard_normal(size)
    order = np.random.RandomState(seeds.randint(2**31 - 1)).permutation(150)
    model = classifier(**options)
    for batch in np.split(order, 15):
        model.partial_fit(X[batch], Y[batch], classes=CLASSES)
    np.testing.assert_allclose(model.coefs_[0], epoch.coefs_[0], rtol=1e-9, atol=1e-12)
    assert np.mean(model.loss_curve_) == pytest.approx(epoch.loss_curve_[1], rel=1e-12)


def test_the_penalty_is_against_all_rows_so_far():
    """Losses of three calls with the same rows, at constant parameters."""
    model = classifier(learning_rate_init=1e-15, alpha=50.0, batch_size=200)
    for _ in range(3):
        model.partial_fit(X, Y, classes=CLASSES)
    unpenalised = -model.log_likelihood(X, Y) / 150
    shares = np.array(model.loss_curve_) - unpenalised
    np.testing.assert_allclose(shares / shares[0], [1.0, 1.0 / 2.0, 1.0 / 3.0], rtol=1e-6)


def test_the_first_rows_set_the_scale():
    first, rest = (X[:75], Y[:75]), (X[75:], Y[75:])
    shifted = classifier().partial_fit(1e3 * first[0] + 7.0, first[1], classes=CLASSES)
    plain = classifier().partial_fit(*first, classes=CLASSES)
    shifted.partial_fit(1e3 * rest[0] + 7.0, rest[1])
    plain.partial_fit(*rest)
    np.testing.assert_allclose(1e3 * shifted.coefs_[0], plain.coefs_[0], rtol=1e-8)
    np.testing.assert_allclose(
        shifted.predict_proba(1e3 * X + 7.0), plain.predict_proba(X), rtol=1e-8
    )


def test_rows_of_one_class_and_single_rows_are_welcome():
    model = classifier()
    for k in CLASSES:
        of_class = np.flatnonzero(k == Y)
        model.partial_fit(X[of_class], Y[of_class], classes=CLASSES)
    model.partial_fit(X[:1], Y[:1])
    assert np.isfinite(model.predict_proba(X)).all()
    one = classifier().partial_fit(X[:1], Y[:1], classes=CLASSES)
    assert one.predict_proba(X).shape == (150, 3)
    assert one.predict_proba(X).min() > 1e-6  # also of classes without rows so far


@pytest.mark.parametrize("labels", [["a", "b", "c"], [3, 5, 9]], ids=str)
def test_labels(labels):
    y = np.array(labels)[Y]
    model = classifier()
    for _ in range(60):
        model.partial_fit(X, y, classes=labels[::-1])
    assert model.classes_.tolist() == labels
    assert model.score(X, y) > 0.9


def test_weights_are_respected():
    weights = np.ones(150)
    weights[::2] = 0.0
    kept = weights > 0.0
    a = classifier().partial_fit(X, Y, classes=CLASSES, sample_weight=weights)
    b = classifier().partial_fit(X[kept], Y[kept], classes=CLASSES)
    assert same_bits(a, b)
    c = classifier().partial_fit(X, Y, classes=CLASSES, sample_weight=np.linspace(0.1, 2.0, 150))
    assert not same_bits(a, c)


def test_threads_do_not_change_a_bit():
    data, y = load_breast_cancer(return_X_y=True)
    models = [
        FastEMClassifier((11,), solver="adam", random_state=0, n_jobs=n_jobs, batch_size=500)
        for n_jobs in (1, 2, 3)
    ]
    for model in models:
        model.partial_fit(data, y, classes=[0, 1]).partial_fit(data[::2], y[::2])
    assert all(same_bits(models[0], other) for other in models[1:])


def test_memory_stays_flat():
    rng = np.random.default_rng(0)
    model = classifier(batch_size=100)
    peaks = []
    for _ in range(12):
        data = rng.normal(size=(2000, 20))
        y = (data[:, 0] > 0).astype(int)
        tracemalloc.start()
        model.partial_fit(data, y, classes=[0, 1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks[2:]) < 1.05 * peaks[1]
    assert len(pickle.dumps(model)) < 20_000


# Resuming


@pytest.mark.parametrize("cut", [1, 3])
def test_pickling_in_between_changes_nothing(cut):
    whole = streamed(classifier())
    part = pickle.loads(pickle.dumps(streamed(classifier(), CHUNKS[:cut])))
    assert same_bits(streamed(part, CHUNKS[cut:]), whole)


def test_after_fit_it_goes_on():
    model = fitted(classifier(max_iter=300), X, Y)
    n_iter, loss, scale = model.n_iter_, model.loss_, np.abs(model.coefs_[0]).max()
    streamed(model)
    assert model.n_iter_ == n_iter + 6
    assert len(model.loss_curve_) == n_iter + 7
    assert np.mean(model.loss_curve_[-6:]) < 2.0 * loss
    assert 0.5 < np.abs(model.coefs_[0]).max() / scale < 2.0


def test_after_fit_it_is_the_next_epoch():
    two = fitted(classifier(max_iter=2), X, Y)
    model = fitted(classifier(max_iter=1, alpha=0.15), X, Y)
    model.set_params(alpha=0.3).partial_fit(X, Y)  # against twice the weight
    np.testing.assert_allclose(model.coefs_[0], two.coefs_[0], rtol=1e-9)


def test_after_em_and_after_load_it_goes_on_with_new_moments(tmp_path):
    em = fitted(classifier(solver="em"), X, Y)
    before = em.log_likelihood(X, Y)
    em.set_params(solver="adam", learning_rate_init=1e-3).partial_fit(X, Y)
    assert em.log_likelihood(X, Y) == pytest.approx(before, rel=0.1)
    em.save(tmp_path / "model")
    read = FastEMClassifier.load(tmp_path / "model")
    assert read.loss_curve_ == em.loss_curve_
    read.partial_fit(X, Y)
    assert read.n_iter_ == em.n_iter_ + 1
    assert read.log_likelihood(X, Y) == pytest.approx(before, rel=0.1)


def test_fit_and_clone_begin_anew():
    model = streamed(classifier(max_iter=3))
    assert same_bits(fitted(model, X, Y), fitted(classifier(max_iter=3), X, Y))
    assert not hasattr(clone(model), "coefs_")
    assert same_bits(streamed(clone(model)), streamed(classifier()))


def test_a_warm_start_goes_on_from_a_stream():
    model = streamed(classifier(warm_start=True, max_iter=1))
    coefs = model.coefs_[0].copy()
    fitted(model.set_params(learning_rate_init=1e-12), X, Y)
    np.testing.assert_allclose(model.coefs_[0], coefs, rtol=1e-6)


def test_weights_that_were_set_by_hand_are_gone_on_from():
    model = streamed(classifier(learning_rate_init=1e-12))
    model.coefs_ = [0.5 * values for values in model.coefs_]
    expected = model.coefs_[0].copy()
    model.partial_fit(X, Y)
    np.testing.assert_allclose(model.coefs_[0], expected, rtol=1e-6)


def test_the_rate_may_be_changed_between_calls():
    model = streamed(classifier())
    before = model.coefs_[0].copy()
    model.set_params(learning_rate_init=1e-12).partial_fit(X, Y)
    np.testing.assert_allclose(model.coefs_[0], before, rtol=1e-6)


# Errors


@pytest.mark.parametrize("solver", ["em", "lbfgs"])
def test_only_adam_streams(solver):
    model = classifier(solver=solver)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit") as caught:
        model.partial_fit(X, Y, classes=CLASSES)
    assert "solver='adam'" in str(caught.value.__cause__)


BAD = {
    "no classes": ((X, Y), {}, "classes must be passed"),
    "one class": ((X, Y), {"classes": [0]}, "at least two labels"),
    "too few classes": ((X, Y), {"classes": [0, 1]}, r"not among classes: \[2\]"),
    "text": ((X, np.array(["a", "b", "c"])[Y]), {"classes": CLASSES}, "not among classes"),
    "NaN": ((np.where(X > 7, np.nan, X), Y), {"classes": CLASSES}, "NaN"),
    "lengths": ((X, Y[1:]), {"classes": CLASSES}, "inconsistent"),
    "no rows": ((X[:0], Y[:0]), {"classes": CLASSES}, "minimum of 1"),
    "numbers": ((X, Y + 0.5), {"classes": CLASSES}, "Unknown label type"),
    "weights": ((X, Y), {"classes": CLASSES, "sample_weight": -np.ones(150)}, "Negative"),
    "no weight": ((X, Y), {"classes": CLASSES, "sample_weight": np.zeros(150)}, "zero"),
    "heavy": (
        (X, Y),
        {"classes": CLASSES, "sample_weight": np.full(150, 1e200)},
        "largest sample_weight",
    ),
}
BAD_LATER = {
    **{name: bad for name, bad in BAD.items() if name not in ("no classes", "one class")},
    "other classes": ((X, Y), {"classes": [0, 1, 2, 3]}, "not the same as on last call"),
    "too few classes": ((X, Y), {"classes": [0, 1]}, "not the same as on last call"),
    "unseen": ((X, Y + 1), {}, r"not among classes: \[3\]"),
    "features": ((X[:, 1:], Y), {}, "3 features"),
}


@pytest.mark.parametrize(("data", "named", "message"), BAD.values(), ids=BAD)
def test_bad_first_call(data, named, message):
    model = classifier()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*data, **named)
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize(("data", "named", "message"), BAD_LATER.values(), ids=BAD_LATER)
def test_a_call_that_fails_leaves_the_estimator_as_it_was(data, named, message):
    model = streamed(classifier())
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*data, **named)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (4,)}, "hidden"),
        ({"fit_intercept": False}, "intercepts"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate_init": -1.0}, "learning_rate_init"),
    ],
    ids=str,
)
def test_another_network_is_refused(options, message):
    model = streamed(classifier()).set_params(**options)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, Y)
    assert state_of(model) == before


@pytest.mark.parametrize("when", ["at once", "in the second batch"])
def test_ctrl_c_leaves_the_estimator_as_it_was(when, monkeypatch):
    model, other = streamed(classifier()), streamed(classifier())
    before, expect, calls = state_of(model), Network.expect, []

    def interrupted(self, theta, draw=0):
        calls.append(1)
        if when == "at once" or len(calls) > 1:
            raise KeyboardInterrupt
        return expect(self, theta, draw)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "expect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, Y)
    assert state_of(model) == before
    assert same_bits(model.partial_fit(X, Y), other.partial_fit(X, Y))


def test_weights_that_diverge():
    model = streamed(classifier())
    before = state_of(model)
    with pytest.raises(DivergenceError, match="smaller learning_rate_init than 1e"):
        model.set_params(learning_rate_init=1e200).partial_fit(X, Y)
    model.set_params(learning_rate_init=0.05)
    assert state_of(model) == before


def test_feature_names():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = classifier().partial_fit(frame, Y, classes=CLASSES)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    model.partial_fit(frame, Y)
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame[["b", "a", "c", "d"]], Y)
    with pytest.warns(UserWarning, match="feature names"):
        model.partial_fit(X, Y)


def test_verbose(capsys):
    model = streamed(classifier(verbose=1))
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 6
    assert f"call 6, running loss {model.loss_:.8f} nats" in out


def test_a_deep_network_streams():
    options = {"random_state": 0, "n_jobs": 1, "batch_size": 50}
    deep = FastEMClassifier((4, 3), solver="adam", **options)
    for _ in range(60):
        deep.partial_fit(X, Y, classes=CLASSES)
    assert deep.n_layers_ == 4
    assert [values.shape for values in deep.coefs_] == [(4, 4), (4, 3), (3, 3)]
    assert deep.loss_ < 0.5 * deep.loss_curve_[0]
    assert deep.score(X, Y) > 0.9


@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_a_stream_by_sampling_goes_on_after_pickling():
    options = {"e_step": Sampling(n_samples=50)}
    whole = streamed(classifier(**options))
    part = pickle.loads(pickle.dumps(streamed(classifier(**options), CHUNKS[:2])))
    assert same_bits(streamed(part, CHUNKS[2:]), whole)


def test_after_fit_it_goes_on_from_what_was_kept():
    """If an earlier epoch was better, `partial_fit` continues from that epoch."""
    X, y = load_iris(return_X_y=True)
    model = classifier(hidden_layer_sizes=(4,), max_iter=12, learning_rate_init=1.0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert not np.array_equal(model._ascent.theta, model._ascent.optimizer.theta)
    kept = [W.copy() for W in model.coefs_]
    model.set_params(learning_rate_init=1e-12).partial_fit(X, y)
    for W, before in zip(model.coefs_, kept, strict=True):
        np.testing.assert_allclose(W, before, rtol=1e-6)


def test_the_loss_of_a_first_call_without_a_class():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 2)), np.arange(10) % 2
    model = FastEMClassifier(
        (3,), solver="adam", alpha=0.0, learning_rate_init=1e-300, random_state=0
    ).partial_fit(X, y, classes=range(5))
    assert model.loss_ == pytest.approx(-model.log_likelihood(X, y) / 10)


# The signature, which is the same for all estimators


ALL = {
    "EM": classifier(),
    "perceptron": FastMLPClassifier((3,), random_state=0),
    "regressor": FastMLPRegressor(hidden_layer_sizes=(3,), random_state=0),
}


@pytest.mark.parametrize("model", ALL.values(), ids=ALL)
def test_what_follows_y_is_passed_by_keyword(model):
    """By position, labels were weights in one class and classes in another."""
    parameters = list(inspect.signature(model.partial_fit).parameters.values())
    assert [p.name for p in parameters[:2]] == ["X", "y"]
    rest = {p.name for p in parameters[2:]}
    assert rest == {"sample_weight"} | ({"classes"} if is_classifier(model) else set())
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:])
    with pytest.raises(TypeError, match="positional"):
        clone(model).partial_fit(X, Y, CLASSES)


LABELS = np.c_[Y, Y[::-1]]
META = {
    "MultiOutputClassifier": lambda model: MultiOutputClassifier(model).partial_fit(
        X, LABELS, [CLASSES, CLASSES], np.ones(150)
    ),
    "OneVsRestClassifier": lambda model: OneVsRestClassifier(model).partial_fit(X, Y, CLASSES),
    "OneVsOneClassifier": lambda model: OneVsOneClassifier(model).partial_fit(X, Y, CLASSES),
}


@pytest.mark.parametrize("kind", ["EM", "perceptron"])
@pytest.mark.parametrize("fit", META.values(), ids=META)
def test_meta_estimators_stream(fit, kind):
    assert fit(clone(ALL[kind])).predict(X).shape[0] == 150


def test_a_meta_estimator_of_the_regressor_streams():
    model = MultiOutputRegressor(clone(ALL["regressor"]))
    model.partial_fit(X, X[:, :2], np.ones(150))
    assert model.predict(X).shape == (150, 2)
