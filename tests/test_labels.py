"""Labels that are missing, of several types, or of one class; and the arguments of partial_fit."""

import numpy as np
import pytest

import fastem
from fastem import FastEMClassifier, FastMLPClassifier

X = np.random.default_rng(0).normal(size=(12, 2))
Y = np.array(["a", "b"] * 6)
pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def em(**options):
    return FastEMClassifier((2,), solver="adam", alpha=0.1, max_iter=2, n_jobs=1, **options)


def mlp(**options):
    return FastMLPClassifier((2,), max_iter=2, **options)


KINDS = {"em": em, "mlp": mlp}


def with_gaps(value, dtype=object):
    labels = np.array(Y, dtype=dtype)
    labels[[3, 7]] = value
    return labels


MISSING = {
    "None": with_gaps(None),
    "None in a list": with_gaps(None).tolist(),
    "nan": with_gaps(np.nan),
    "NA": with_gaps(pd.NA),
    "NaT": with_gaps(pd.NaT),
    "text column": pd.Series(with_gaps(pd.NA), dtype="string"),
    "categories": pd.Series(with_gaps(None)).astype("category"),
    "integers with NA": pd.Series(np.arange(12) % 2)
    .astype("Int64")
    .where([*[True] * 3, False] * 3),
    "booleans with NA": pd.Series([True, False, True, None] * 3, dtype="boolean"),
    "numbers with nan": np.where(np.isin(np.arange(12), (3, 7)), np.nan, np.arange(12) % 2),
    "dates": pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01"] * 6)).where(
        np.arange(12) % 4 < 3
    ),
    "masked": np.ma.masked_array(Y, np.isin(np.arange(12), (3, 7))),
}

CALLS = {
    "fit": lambda model, y: model.fit(X, y),
    "partial_fit": lambda model, y: model.partial_fit(X, y, classes=["a", "b"]),
    "classes": lambda model, y: model.partial_fit(X, Y, classes=y),
    "y_val": lambda model, y: model.fit(X, Y, X_val=X, y_val=y),
    "score": lambda model, y: model.fit(X, Y).score(X, y),
    "log_likelihood": lambda model, y: model.fit(X, Y).log_likelihood(X, y),
    "posterior": lambda model, y: model.fit(X, Y).posterior(X, y),
}


@pytest.mark.parametrize(
    ("kind", "call"),
    [("em", call) for call in CALLS] + [("mlp", call) for call in [*CALLS][:5]],
)
@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_missing_labels_are_counted(kind, call, y):
    with pytest.raises(ValueError, match=r"[23] (label|masked).*the first in row 3"):
        CALLS[call](KINDS[kind](), y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_among_several_labels(kind, missing):
    y = np.tile([[0, 1], [1, 0]], (6, 1)).astype(object)
    y[4, 1] = missing
    with pytest.raises(ValueError, match=r"1 label\(s\) are missing, the first in row 4"):
        KINDS[kind]().fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["fit", "partial_fit", "classes", "y_val", "score"])
@pytest.mark.parametrize("form", [np.asarray, list], ids=["array", "list"])
@pytest.mark.parametrize("other", [3, 3.5, True, b"a"])
def test_labels_of_several_types(kind, call, form, other):
    y = Y.astype(object)
    y[3] = other
    with pytest.raises(ValueError, match=r"several types.*first in row 3.*one type"):
        CALLS[call](KINDS[kind](), form(y))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["i8", "?", "f8"])
def test_objects_that_are_numbers_are_labels(kind, dtype):
    numbers = (Y == "b").astype(dtype)
    model = KINDS[kind](random_state=0).fit(X, numbers.astype(object))
    same = KINDS[kind](random_state=0).fit(X, numbers)
    assert model.predict(X).dtype == numbers.dtype
    np.testing.assert_array_equal(model.predict_proba(X), same.predict_proba(X))
    assert model.score(X, numbers.astype(object)) == same.score(X, numbers)


@pytest.mark.parametrize("y", [np.zeros(12, dtype=[("a", float)]), np.ones(12) * 1j])
@pytest.mark.parametrize("kind", KINDS)
def test_records_and_complex_numbers_are_no_labels(kind, y):
    with pytest.raises(ValueError, match=r"\by\b.*(structured|real)"):
        KINDS[kind]().fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_start_accepts_a_batch_that_lacks_a_class(kind):
    model = KINDS[kind](warm_start=True, random_state=0)
    model.partial_fit(X, Y, classes=["a", "b"]).partial_fit(X[::2], Y[::2])
    cold = KINDS[kind](random_state=0)
    cold.partial_fit(X, Y, classes=["a", "b"]).partial_fit(X[::2], Y[::2])
    np.testing.assert_array_equal(model.predict_proba(X), cold.predict_proba(X))
    assert model.classes_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"'c'|not in `self.classes_`"):
        model.partial_fit(X, np.where(Y == "a", "c", Y))


@pytest.mark.parametrize(
    "kind",
    [fastem.FastEMClassifier, fastem.FastMLPClassifier, fastem.FastEMRegressor,
     fastem.FastMLPRegressor],
)  # fmt: skip
def test_classes_and_weights_of_partial_fit_have_no_positions(kind):
    model = kind(solver="adam")
    with pytest.raises(TypeError, match="positional"):
        model.partial_fit(X, np.arange(12) % 2, [0, 1])
    assert not hasattr(model, "coefs_")


def test_one_class_has_one_column_of_ones_or_is_refused():
    model = mlp().fit(X, ["a"] * 12)
    assert model.classes_.tolist() == ["a"]
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((12, 1)))
    np.testing.assert_array_equal(model.predict_log_proba(X), np.zeros((12, 1)))
    assert set(model.predict(X)) == {"a"}
    with pytest.raises(ValueError, match=r"one class.*'a'.*at least two"):
        em().fit(X, ["a"] * 12)
