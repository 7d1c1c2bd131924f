"""Bad input raises an error that names it and leaves the fitted model unchanged."""

import re
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastem
from fastem import FastEMClassifier

X, Y = load_iris(return_X_y=True)
X.setflags(write=False)
ONES = np.ones(len(X))
NUMBERS = r"contains (NaN|infinity|NaN or infinity)"


def classifier(n_hidden=3, **options):
    return FastEMClassifier((n_hidden,), **{"random_state": 0, "n_jobs": 1, **options})


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, Y)


def altered(array, value, index=(2, 1)):
    array = np.array(array, dtype=float)
    array[index] = value
    return array


def starting_values(which=None, value=None):
    start = [np.ones((4, 3)), np.ones((3, 3)), np.zeros(3), np.zeros(3)]
    if which is not None:
        start[which] = altered(start[which], value, (0,) * start[which].ndim)
    return {"coefs_init": start[:2], "intercepts_init": start[2:]}


# Data

BAD_DATA = {
    "NaN in X": (altered(X, np.nan), Y, None, "X contains NaN"),
    "infinity in X": (altered(X, np.inf), Y, None, "X contains infinity"),
    "minus infinity in X": (altered(X, -np.inf), Y, None, "X contains infinity"),
    "vector X": (X[:, 0], Y, None, "2D array"),
    "cube X": (X[None], Y, None, "dim 3|3D"),
    "text in X": (np.full(X.shape, "a"), Y, None, "could not convert string to float.*'a'"),
    "complex X": (X * 1j, Y, None, "Complex data"),
    "empty X": (X[:0], Y[:0], None, "0 sample"),
    "no columns": (X[:, :0], Y, None, "0 feature"),
    "short y": (X, Y[:-1], None, r"\[150, 149\]"),
    "y of two columns": (X, np.c_[Y, Y], None, "y should be a 1d array"),
    "no y": (X, None, None, "y to be passed"),
    "measurements for y": (X, X[:, 0], None, "Unknown label type: continuous"),
    "NaN in y": (X, altered(Y, np.nan, 3), None, "y contains NaN"),
    "one class": (X[:50], Y[:50], None, "y has only one class.*0.*at least two"),
    "one class with weight": (X, Y, ONES * (Y == 1), "y has only one class.*1.*positive weight"),
    "NaN in weights": (X, Y, altered(ONES, np.nan, 3), "sample_weight contains NaN"),
    "infinity in weights": (X, Y, altered(ONES, np.inf, 3), "sample_weight contains infinity"),
    "negative weight": (X, Y, altered(ONES, -1e-9, 3), "[Nn]egative.*sample_weight"),
    "zero weights": (X, Y, 0.0 * ONES, "(?i)sample.weight.*(zero)"),
    "short weights": (X, Y, ONES[1:], r"sample_weight.*\(149,\).*\(150,\)"),
    "weights of two columns": (X, Y, np.c_[ONES, ONES], "Sample weights must be 1D"),
    "weights beyond range": (X, Y, 1e200 * ONES, "largest sample_weight.*1e.100.*rescale"),
}


@pytest.mark.parametrize(("data", "y", "weights", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data(data, y, weights, message):
    model = classifier()
    with pytest.raises(ValueError, match=message):
        model.fit(data, y, weights)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("factor", [1e150, 1e300])
def test_features_too_large_to_be_taken_as_they_are(factor):
    with pytest.raises(ValueError, match=r"X has values up to .*e\+.*standardize=True"):
        classifier(standardize=False).fit(X * factor, Y)


BAD_START = {
    "NaN in W": ("coefs_init", starting_values(0, np.nan), r"coefs_init\[0\] " + NUMBERS),
    "infinity in V": ("coefs_init", starting_values(1, np.inf), r"coefs_init\[1\] " + NUMBERS),
    "NaN in b": ("intercepts_init", starting_values(2, np.nan), r"intercepts_init\[0\] " + NUMBERS),
    "infinity in c": ("intercepts_init", starting_values(3, -np.inf), r"intercepts_init\[1\] "),
    "one array": ("coefs_init", {"coefs_init": [np.ones((4, 3))]}, "2 arrays, got 1"),
    "three arrays": ("coefs_init", {"coefs_init": [np.ones((4, 3))] * 3}, "2 arrays, got 3"),
    "W of another shape": (
        "coefs_init", {"coefs_init": [np.ones((4, 2)), np.ones((3, 3))]},
        r"coefs_init\[0\] must have shape \(4, 3\), got \(4, 2\)",
    ),
    "V of another shape": (
        "coefs_init", {"coefs_init": [np.ones((4, 3)), np.ones((3, 2))]},
        r"coefs_init\[1\] must have shape \(3, 3\), got \(3, 2\)",
    ),
    "b of another shape": (
        "intercepts_init", {"intercepts_init": [np.ones(2), np.ones(3)]},
        r"intercepts_init\[0\] must have shape \(3,\), got \(2,\)",
    ),
    "no list": ("coefs_init", {"coefs_init": 5}, "a list or tuple of arrays"),
    "text": ("coefs_init", {"coefs_init": [[["a"]], [["b"]]]}, "number"),
    "ragged": ("intercepts_init", {"intercepts_init": [[1.0, [2.0, 3.0]], [0.0]]}, "number|shape"),
    "intercepts that are not fitted": (
        "intercepts_init", {"intercepts_init": [np.ones(3), np.ones(3)], "fit_intercept": False},
        "zeros or None when fit_intercept=False",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "message"), BAD_START.values(), ids=BAD_START)
def test_bad_starting_values(name, options, message):
    with pytest.raises(ValueError, match=name) as caught:
        classifier(**options).fit(X, Y)
    assert re.search(message, str(caught.value))


@pytest.mark.filterwarnings("ignore:Start .* is dropped", "ignore:overflow encountered")
@pytest.mark.parametrize("value", [1e200, 1e308])
def test_starting_values_beyond_range(value):
    with pytest.raises((ValueError, FloatingPointError), match=r"starting values|overflow"):
        classifier(coefs_init=[np.full((4, 3), value), np.full((3, 3), -value)]).fit(X, Y)


# Parameters of the constructor

BAD_PARAMETERS = [
    *[("hidden_layer_sizes", v) for v in (0, -3, (0,), (-2,), 2.0, (2.5,), "5", None, True)],
    *[("hidden_layer_sizes", v) for v in ((), (3, 0), [4, 4.0], ("a",), {"a": 1}, np.nan, (True,))],
    *[("e_step", v) for v in ("exact", "", None, 3, fastem.Enumeration, object())],
    *[("m_step", v) for v in ("Newton", None, 1, ["newton"])],
    *[("solver", v) for v in ("sgd", None, ("em",))],
    *[("prediction", v) for v in ("mean", None, 0)],
    *[("alpha", v) for v in (-1e-9, np.nan, np.inf, "1", None, True, [0.1], np.array([1.0, 2.0]))],
    *[("tol", v) for v in (-1e-9, np.nan, np.inf, "1", None)],
    *[("learning_rate_init", v) for v in (0.0, -0.1, np.nan, np.inf, "1", None)],
    *[("batch_size", v) for v in (0, -1, 2.0, np.nan, "all", None, True, (3,))],
    *[("max_iter", v) for v in (0, -1, 1.5, 10.0, "10", None, True, np.inf)],
    *[("n_init", v) for v in (0, -1, 1.5, "2", None, True)],
    *[("verbose", v) for v in (-1, 0.5, "yes", None)],
    *[
        (name, v)
        for name in ("accelerate", "fit_intercept", "standardize", "warm_start")
        for v in ("yes", 1, None)
    ],
    *[("n_jobs", v) for v in (0, 1.5, "all", True)],
    *[("coefs_init", v) for v in ("ab", {}, 1.0)],
    *[("intercepts_init", v) for v in ([], 0)],
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS, ids=lambda x: str(x)[:30])
def test_bad_parameter(name, value):
    model = FastEMClassifier(**{"hidden_layer_sizes": (2,), name: value})
    with pytest.raises(ValueError, match=name) as caught:
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")
    if "_init" not in name:
        values = [value, list(value)] if isinstance(value, (list, tuple)) else [value]
        assert any(repr(one) in str(caught.value) for one in values)


@pytest.mark.parametrize("seed", ["x", -1, 1.5])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match=r"seed|Seed|random_state"):
        classifier(random_state=seed).fit(X, Y)


@pytest.mark.parametrize(
    ("name", "known"),
    [("e_step", ("auto", "enumeration", "fastem.Enumeration()")),
     ("m_step", ("newton", "bound", "gradient")), ("solver", ("em", "lbfgs")),
     ("prediction", ("marginal", "plugin"))],
)  # fmt: skip
def test_unknown_name_lists_the_known(name, known):
    with pytest.raises(ValueError, match="'nonsense'") as caught:
        FastEMClassifier((2,), **{name: "nonsense"}).fit(X, Y)
    assert all(one in str(caught.value) for one in known)


def says_what_memory_is_needed(message):
    needed, there = re.findall(r"(?:2\*\*)?(\d+) bytes", message)
    assert f"2**{needed} bytes" in message or int(needed) > int(there) > 0
    assert "fewer hidden units" in message


def fit_with(n_hidden):
    classifier(n_hidden, e_step="enumeration").fit(X, Y)


def e_step_with(n_hidden):
    coefs = [np.ones((4, n_hidden)), np.ones((n_hidden, 3))]
    fastem.e_step(X, Y, coefs, [np.ones(n_hidden), np.ones(3)], method="enumeration")


@pytest.mark.parametrize("n_hidden", [40, 60, 200])
@pytest.mark.parametrize("use", [fit_with, e_step_with])
def test_too_many_hidden_units(n_hidden, use):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"\b{n_hidden}\b") as caught:
            use(n_hidden)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    says_what_memory_is_needed(str(caught.value))


@pytest.mark.parametrize("n_hidden", [1_100, 20_000, 10**6])
def test_absurdly_many_hidden_units(n_hidden):
    # neither a float nor Python's longest printed integer holds the bytes needed
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{n_hidden}.*[Uu]se fewer hidden units"):
            classifier(n_hidden, e_step="enumeration").fit(X[:, :1], Y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6


# Use of a fitted model

METHODS = ["predict", "predict_proba", "predict_log_proba", "transform", "sample"]


@pytest.mark.parametrize("method", [*METHODS, "posterior", "log_likelihood", "score", "aic", "bic"])
@pytest.mark.parametrize(
    ("data", "message"),
    [(X[:, :3], "3 features.*expecting 4"), (np.c_[X, X], "8 features.*expecting 4"),
     (altered(X, np.nan), "X contains NaN"), (altered(X, np.inf), "X contains infinity"),
     (X[0], "2D array"), (X[:0], "0 sample")],
    ids=["narrow", "wide", "NaN", "infinity", "vector", "empty"],
)  # fmt: skip
def test_bad_rows_for_a_fitted_model(fitted, method, data, message):
    arguments = (data,) if method in METHODS else (data, Y[: len(data)])
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(*arguments)


@pytest.mark.parametrize("method", [*METHODS, "posterior", "log_likelihood", "aic", "bic", "save"])
def test_not_fitted(method, tmp_path):
    model = classifier()
    arguments = {"save": (tmp_path / "m",)}.get(method, (X,) if method in METHODS else (X, Y))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(model, method)(*arguments)


@pytest.mark.parametrize("method", ["posterior", "log_likelihood", "aic", "bic"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [(altered(Y, 7, 3), "7"), (Y.astype(str), "'0'"), (altered(Y, 0.5, 3), "0.5")],
    ids=["other number", "text", "between"],
)  # fmt: skip
def test_unseen_labels(fitted, method, labels, message):
    with pytest.raises(ValueError, match=rf"y holds labels.*not seen.*{message}.*\[0, 1, 2\]"):
        getattr(fitted, method)(X, labels)


@pytest.mark.parametrize("unseen", ["d", "", 0, 1.0])
def test_unseen_labels_beside_text(unseen):
    model = classifier(2).fit(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(ValueError, match=r"not seen.*\['a', 'b', 'c'\]"):
        model.posterior(X, [unseen] * len(X))


@pytest.mark.parametrize("method", ["posterior", "log_likelihood"])
@pytest.mark.parametrize("labels", [Y[1:], np.c_[Y, Y], 0, []], ids=["short", "2d", "scalar", "no"])
def test_labels_of_another_shape(fitted, method, labels):
    with pytest.raises(ValueError, match=r"y must have shape \(150,\)"):
        getattr(fitted, method)(X, labels)


@pytest.mark.parametrize("method", ["log_likelihood", "score", "aic", "bic"])
@pytest.mark.parametrize(
    "weights", [ONES[1:], altered(ONES, np.nan, 0), altered(ONES, np.inf, 0), np.c_[ONES, ONES]],
    ids=["short", "NaN", "infinity", "2d"],
)  # fmt: skip
def test_bad_weights_for_a_fitted_model(fitted, method, weights):
    with pytest.raises(ValueError, match=r"(?i)weight|shape|NaN|infinity|inconsistent"):
        getattr(fitted, method)(X, Y, weights)


def test_negative_weights_for_a_fitted_model(fitted):
    with pytest.raises(ValueError, match=r"[Nn]egative.*sample_weight"):
        fitted.log_likelihood(X, Y, altered(ONES, -1.0, 0))


def finite_or_told(compute, rows):
    """Check that results are finite within range, and finite or refused where sums overflow.

    A sum that overflows is infinite or not a number. The order of its terms decides.
    """
    assert all(np.isfinite(values).all() for values in compute(1e-10 * rows))
    try:
        results = compute(rows)
    except FloatingPointError as error:
        assert re.search("not a number.*[Rr]escale", str(error))  # noqa: PT017
    else:
        assert all(np.isfinite(values).all() for values in results)


@pytest.mark.parametrize("prediction", ["marginal", "plugin"])
@pytest.mark.parametrize("method", METHODS)
def test_log_odds_that_overflow(prediction, method):
    model = classifier(prediction=prediction).fit(X, Y)
    model.coefs_[0] = np.full((4, 3), 10.0) * [[1.0], [1.0], [-1.0], [-1.0]]
    for rows in (np.full((2, 4), 1e308), np.full((2, 4), 1e308) * [1.0, -1.0, 1.0, 1.0]):
        finite_or_told(getattr(model, method), rows)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [({}, Y + 1, r"classes.*\[0, 1, 2\].*\[1, 2, 3\].*warm_start=False"),
     ({}, np.array(["a", "b", "c"])[Y], "classes.*warm_start=False"),
     ({}, Y % 2, r"classes.*\[0, 1\].*warm_start=False"),
     ({"hidden_layer_sizes": (2,)}, Y, r"hidden units.*\(3,\).*\(2,\).*warm_start=False")],
)  # fmt: skip
def test_warm_start_of_another_network(options, y, message):
    model = classifier(warm_start=True).fit(X, Y)
    model.set_params(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_warm_start_without_the_intercepts_that_were_fitted():
    model = classifier(warm_start=True).fit(X, Y)
    before = model.predict_proba(X)
    message = r"intercepts of the earlier fit.*fit_intercept=False.*warm_start=False"
    with pytest.raises(ValueError, match=message):
        model.set_params(fit_intercept=False).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


# A failed fit leaves the earlier one unchanged

FAILURES = {
    "one class": ({}, X, 0 * Y, None),
    "one class, other columns": ({}, X[:, :2], 0 * Y, None),
    "NaN": ({}, altered(X, np.nan), Y, None),
    "no labels": ({}, X[:, :2], X[:, 0], None),
    "weights": ({}, X[:, :2], Y, -ONES),
    "zero weights": ({}, X[:, :2], Y, 0.0 * ONES),
    "parameter": ({"alpha": -1.0}, X[:, :2], Y, None),
    "n_jobs": ({"n_jobs": 0}, X[:, :2], Y, None),
    "seed": ({"random_state": "x"}, X, np.array(["a", "b", "c"])[Y], None),
    "memory": ({"hidden_layer_sizes": (60,), "e_step": "enumeration"}, X[:, :2], Y, None),
    "starting values": (
        {"coefs_init": [np.ones((2, 2))] * 2}, X, np.array(["a", "b", "c"])[Y], None,
    ),
    "overflow": (
        {"coefs_init": [np.full((4, 3), 1e308), np.full((3, 2), 1e308)]}, X, Y % 2, None,
    ),
    "scale": ({"standardize": False}, 1e300 * X[:, :2], Y % 2, None),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Start .* is dropped", "ignore:overflow encountered")
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(("options", "data", "y", "weights"), FAILURES.values(), ids=FAILURES)
def test_failing_fit_leaves_the_fitted_model(fitted, options, data, y, weights, warm_start):
    model = clone(fitted).set_params(warm_start=warm_start).fit(X, Y)
    before = set(vars(model))
    model.set_params(**options)
    with pytest.raises((ValueError, FloatingPointError)):
        model.fit(data, y, weights)
    model.set_params(**{name: fitted.get_params()[name] for name in options})
    # first, because kernels check no bounds: with another number of classes they would overrun
    np.testing.assert_array_equal(model.classes_, fitted.classes_)
    assert model.n_features_in_ == 4
    assert set(vars(model)) == before
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
    assert model.log_likelihood(X, Y) == fitted.log_likelihood(X, Y)
    assert model.loss_curve_ == fitted.loss_curve_


# fastem.e_step


def e_step(**changes):
    coefs, intercepts = [np.ones((4, 3)), np.ones((3, 3))], [np.zeros(3), np.zeros(3)]
    arguments = {"X": X, "y": Y, "coefs": coefs, "intercepts": intercepts, **changes}
    return fastem.e_step(**arguments)


W, V, B = np.ones((4, 3)), np.ones((3, 3)), np.zeros(3)
BAD_E_STEP = {
    "NaN in X": ({"X": altered(X, np.nan)}, "X contains NaN or infinity.*remove or impute"),
    "infinity in X": ({"X": altered(X, -np.inf)}, "X contains NaN or infinity"),
    "vector X": ({"X": X[0]}, r"X must have 2 dim.*\(4,\)"),
    "text in X": ({"X": [["a"]]}, "X must be an array of numbers"),
    "ragged X": ({"X": [[1.0], [1.0, 2.0]]}, "X must be an array of numbers"),
    "other features": ({"X": X[:, :3]}, r"coefs\[0\] must have shape \(3, 3\).*got \(4, 3\)"),
    "short y": ({"y": Y[1:]}, r"y must have shape \(150,\), got \(149,\)"),
    "y of two columns": ({"y": np.c_[Y, Y]}, r"y must have shape .*got \(150, 2\)"),
    "float y": ({"y": Y * 1.0}, "y must hold class indices.*float64"),
    "text y": ({"y": Y.astype(str)}, "y must hold class indices"),
    "y too large": ({"y": Y + 1}, "class indices from 0 to 2.*1 to 3"),
    "negative y": ({"y": Y - 1}, "class indices from 0 to 2.*-1 to 1"),
    "NaN in W": ({"coefs": [altered(W, np.nan), V]}, r"coefs\[0\] contains NaN"),
    "infinity in V": ({"coefs": [W, altered(V, np.inf)]}, r"coefs\[1\] contains NaN"),
    "NaN in b": ({"intercepts": [altered(B, np.nan, 0), B]}, r"intercepts\[0\] contains NaN"),
    "infinity in c": ({"intercepts": [B, altered(B, np.inf, 0)]}, r"intercepts\[1\] contains NaN"),
    "one coef": ({"coefs": [W]}, "coefs must be a list of two arrays"),
    "no list of coefs": ({"coefs": W}, "coefs must be a list of two arrays"),
    "coefs None": ({"coefs": None}, "coefs must be a list of two arrays"),
    "three intercepts": ({"intercepts": [B, B, B]}, "the same length, got 2 and 3"),
    "vector W": ({"coefs": [W[0], V]}, r"coefs\[0\] must have 2 dim.*\(3,\)"),
    "text W": ({"coefs": ["a", V]}, r"coefs\[0\] must be an array of numbers"),
    "b of another shape": ({"intercepts": [B[:2], B]}, r"intercepts\[0\] .*\(3,\).*got \(2,\)"),
    "c of another shape": ({"intercepts": [B, B[:2]]}, r"intercepts\[1\] .*\(3,\).*got \(2,\)"),
    "W of another width": ({"coefs": [W[:, :2], V]}, r"coefs\[0\] must .*\(4, 3\).*got \(4, 2\)"),
    "one class": (
        {"y": 0 * Y, "coefs": [W, V[:, :1]], "intercepts": [B, B[:1]]},
        r"coefs\[1\] has shape \(3, 1\).*two classes",
    ),
    "no hidden unit": (
        {"coefs": [W[:, :0], V[:0]], "intercepts": [B[:0], B]},
        r"coefs\[0\].*\(., 0\).*needs at least one unit",
    ),
    "logits beyond range": ({"coefs": [W, 1e308 * V]}, r"coefs\[1\] and intercepts\[1\].*overflow"),
    "NaN in weights": ({"sample_weight": altered(ONES, np.nan, 0)}, "sample_weight contains NaN"),
    "negative weight": ({"sample_weight": altered(ONES, -2.0, 0)}, "sample_weight.*negative.*-2"),
    "short weights": ({"sample_weight": ONES[1:]}, r"sample_weight must .*\(150,\), got \(149,\)"),
    "scalar weight": ({"sample_weight": 1.0}, r"sample_weight must have 1 dim.*\(\)"),
    "weights beyond range": ({"sample_weight": 1e200 * ONES}, "sample_weight must not exceed 1e"),
    "unknown method": ({"method": "magic"}, "method.*'auto', 'enumeration'.*'magic'"),
    "no method": ({"method": None}, "method.*'auto', 'enumeration'.*None"),
    "no thread": ({"n_jobs": 0}, "n_jobs.*0"),
    "half a thread": ({"n_jobs": 1.5}, "n_jobs.*1.5"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD_E_STEP.values(), ids=BAD_E_STEP)
def test_bad_input_of_e_step(changes, message):
    with pytest.raises(ValueError, match=message):
        e_step(**changes)


def test_overflow_in_e_step():
    for signs in ([1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0]):
        rows = np.full((2, 4), 1e308) * signs
        finite_or_told(lambda rows: e_step(X=rows, y=[0, 1], coefs=[10.0 * W, V])[:2], rows)


def test_e_step_changes_no_argument():
    given = [np.ones((4, 3)), np.ones((3, 3)), np.zeros(3), np.zeros(3), X.copy(), Y.copy()]
    kept = [values.copy() for values in given]
    e_step(X=given[4], y=given[5], coefs=given[:2], intercepts=given[2:4])
    for values, copied in zip(given, kept, strict=True):
        np.testing.assert_array_equal(values, copied)


def test_dropped_start_is_told(monkeypatch):
    draw, drawn = fastem.estimators.base_training.draw_start, []

    def second_is_hopeless(shape, *args):
        parameters = draw(shape, *args)
        drawn.append(1)
        if len(drawn) == 2:
            parameters.output[:-1] = np.inf
        return parameters

    monkeypatch.setattr("fastem.estimators.base_training.draw_start", second_is_hopeless)
    with pytest.warns(ConvergenceWarning, match="Start 2 of 3 is dropped"):
        model = classifier(n_init=3, alpha=0.15).fit(X, Y)
    assert len(drawn) == 3
    assert np.isfinite(model.predict_log_proba(X)).all()
