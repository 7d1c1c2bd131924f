"""X, y, weights and seeds in every form that a caller may pass."""

import datetime
import warnings

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

import fastem
from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier, FastMLPRegressor

pd = pytest.importorskip("pandas")
X = np.array([[0.0, 2.0], [1.0, 0.0], [3.0, 1.0], [2.0, 2.0], [0.0, 1.0], [1.0, 3.0]] * 3)
Y = np.array([0, 1, 1, 0, 0, 1] * 3)
N = len(X)
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:The fit predicts the same",
    "ignore:The noise variance",
    "ignore:X has feature names",
)
EM = {"max_iter": 3, "alpha": 0.1, "random_state": 0, "n_jobs": 1}
KINDS = {
    "em": lambda **options: FastEMClassifier(**{"hidden_layer_sizes": (2,), **EM, **options}),
    "em regressor": lambda **options: FastEMRegressor(
        **{"hidden_layer_sizes": (2,), "variance_floor": 0.1, **EM, **options}
    ),
    "mlp": lambda **options: FastMLPClassifier(
        **{"hidden_layer_sizes": (2,), "max_iter": 3, "random_state": 0, **options}
    ),
    "mlp regressor": lambda **options: FastMLPRegressor(
        **{"hidden_layer_sizes": (2,), "max_iter": 3, "random_state": 0, **options}
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def matrix(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(values)


# Forms of X that equal the array

FRAME = pd.DataFrame(X, columns=["a", "b"])
FORMS = {
    "list": X.tolist(),
    "big endian": X.astype(">f8"),
    "Fortran order": np.asfortranarray(X),
    "strided": np.repeat(X, 2, axis=0)[::2],
    "reversed twice": X[::-1].copy()[::-1],
    "int8": X.astype(np.int8),
    "float16": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "objects": X.astype(object),
    "text of numbers": X.astype(str),
    "no masked value": np.ma.masked_array(X, np.zeros(X.shape, dtype=bool)),
    "frame": FRAME,
    "frame of integers": FRAME.astype("Int64"),
    "frame of nullable floats": FRAME.astype("Float64"),
    "frame of objects": FRAME.astype(object),
    "frame of categories": FRAME.astype("int64").astype("category"),
    "frame of text": FRAME.astype("int64").astype("string"),
    "frame with numbers as names": pd.DataFrame(X),
}


@kinds
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_table(kind, form):
    model, same = KINDS[kind]().fit(FORMS[form], Y), KINDS[kind]().fit(X, Y)
    for W, expected in zip(model.coefs_, same.coefs_, strict=True):
        np.testing.assert_array_equal(W, expected)
    np.testing.assert_array_equal(model.predict(FORMS[form]), same.predict(X))


@kinds
def test_booleans_are_zeros_and_ones(kind):
    frame = pd.DataFrame(X > 1.0, columns=["a", "b"])
    expected = KINDS[kind]().fit(1.0 * (X > 1.0), Y).predict(1.0 * (X > 1.0))
    for rows in (X > 1.0, frame, frame.astype("boolean")):
        np.testing.assert_array_equal(KINDS[kind]().fit(rows, Y).predict(rows), expected)


@kinds
def test_frames_of_polars(kind):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(int)})
    labels = polars.Series("label", Y)
    model = KINDS[kind]().fit(frame, labels, polars.Series(np.ones(N)))
    np.testing.assert_array_equal(model.predict(frame), KINDS[kind]().fit(FRAME, Y).predict(FRAME))
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert model.score(frame, labels) <= 1.0
    with pytest.raises(ValueError, match=r"\bX\b"):
        KINDS[kind]().fit(frame.with_columns(polars.lit(None).alias("b")), Y)
    dates = polars.DataFrame({"a": [datetime.date(2020, 1, 1)] * N})
    with pytest.raises(ValueError, match="X holds dates"):
        KINDS[kind]().fit(dates, Y)


@pytest.mark.parametrize("kind", ["em", "mlp"])
@pytest.mark.parametrize(
    "dtype",
    ["Int64", "Float64", "boolean", "category", "string", "object", "int8", ">i4", "float16"],
)
def test_columns_of_labels(kind, dtype):
    labels = pd.Series(Y).astype("bool" if dtype == "boolean" else "int64")
    labels = labels.astype(dtype) if dtype != ">i4" else np.asarray(Y, dtype)
    model = KINDS[kind]().fit(X, labels)
    expected = KINDS[kind]().fit(X, Y).predict(X)
    found = model.predict(X)
    np.testing.assert_array_equal(found.astype(int) if dtype != "string" else found, expected
                                  if dtype != "string" else expected.astype(str))  # fmt: skip
    assert model.score(X, labels) == (expected == Y).mean()


# Refused forms

REFUSED = {
    "generator": (lambda: (row for row in X), TypeError, "X cannot be used"),
    "dictionary": (lambda: {"a": X}, TypeError, "X cannot be used"),
    "text": (lambda: np.full((N, 2), "a"), ValueError, "X cannot be used.*'a'.*encode text"),
    "categories": (
        lambda: pd.DataFrame({"a": ["u", "v"] * (N // 2)}).astype("category"),
        ValueError, "X cannot be used.*encode text",
    ),
    "NA in objects": (
        lambda: pd.DataFrame({"a": [1, pd.NA] * (N // 2)}, dtype=object),
        TypeError, "X cannot be used.*impute",
    ),
    "NA in integers": (
        lambda: pd.DataFrame({"a": [1, pd.NA] * (N // 2)}, dtype="Int64"),
        ValueError, "X contains NaN",
    ),
    "None": (lambda: np.array([[1.0, None]] * N, dtype=object), ValueError, "X contains NaN"),
    "masked": (lambda: np.ma.masked_equal(X, 3.0), ValueError, "X has 6 masked.*first in row 2"),
    "complex": (lambda: X * 1j, ValueError, "X must hold real numbers, got complex128"),
    "dates": (lambda: X.astype("M8[D]"), ValueError, "X holds dates.*days"),
    "durations": (lambda: X.astype("m8[s]"), ValueError, "X holds dates or durations"),
    "frame with dates": (
        lambda: pd.DataFrame({"a": X[:, 0], "b": pd.date_range("2020", periods=N)}),
        ValueError, "X holds dates",
    ),
    "time zones": (
        lambda: pd.DataFrame({"a": pd.date_range("2020", periods=N, tz="UTC")}),
        ValueError, "X holds dates",
    ),
    "records": (
        lambda: np.zeros(N, dtype=[("u", float), ("v", float)]),
        ValueError, "X is a structured.*'u'",
    ),
    "matrix": (lambda: matrix(X), TypeError, "X cannot be used: np.matrix"),
    "number": (lambda: np.array(3.0), ValueError, "X cannot be used.*2D array"),
    "three axes": (lambda: X[None], ValueError, "X cannot be used.*dim 3"),
    "long double that overflows": (
        lambda: X.astype("g") * np.longdouble("1e4000"), ValueError, "X contains infinity",
    ),
    "long integers": (lambda: [[10**400, 1]] * N, ValueError, "X cannot be used.*too large"),
    "no rows": (lambda: X[:0], ValueError, "0 sample"),
    "no columns": (lambda: X[:, :0], ValueError, "0 feature"),
}  # fmt: skip
if np.longdouble(1e300) * np.longdouble(1e300) == np.inf:  # no wider type on this machine
    del REFUSED["long double that overflows"]


@kinds
@pytest.mark.parametrize("form", REFUSED)
def test_forms_that_are_no_table_of_numbers(kind, form):
    make, error, message = REFUSED[form]
    with pytest.raises(error, match=f"(?s){message}"):
        KINDS[kind]().fit(make(), Y)
    fitted = KINDS[kind]().fit(X, Y)
    with pytest.raises(error, match=f"(?s){message}|1 features|fitted with|feature names"):
        fitted.predict(make())


REFUSED_Y = {
    "generator": ((value for value in Y), r"\by\b"),
    "masked": (np.ma.masked_equal(Y, 1), "y has 9 masked"),
    "complex": (Y * 1j, "y must hold real numbers"),
    "records": (np.zeros(N, dtype=[("u", float)]), "y is a structured"),
    "sparse vector": (coo_array(Y), "y must be a dense array"),
    "matrix": (matrix(Y).T, "np.matrix"),
    "number": (3, r"\by\b"),
}


@kinds
@pytest.mark.parametrize("form", REFUSED_Y)
def test_forms_that_are_no_targets(kind, form):
    y, message = REFUSED_Y[form]
    with pytest.raises((ValueError, TypeError), match=message):
        KINDS[kind]().fit(X, y)


@kinds
def test_scores_of_masked_targets_are_refused(kind):
    with pytest.raises(ValueError, match="y has 9 masked"):
        KINDS[kind]().fit(X, Y).score(X, np.ma.masked_equal(Y, 1))


@pytest.mark.parametrize("kind", ["em regressor", "mlp regressor"])
@pytest.mark.parametrize(
    "y", [Y.astype("M8[D]"), np.where(Y == 1, None, Y), pd.Series(Y, dtype="Int64").where(Y == 1)]
)
def test_dates_and_gaps_are_no_numbers(kind, y):
    with pytest.raises(ValueError, match=r"y holds dates|y contains NaN"):
        KINDS[kind]().fit(X, y)


@pytest.mark.parametrize("kind", ["mlp regressor"])
def test_sparse_numbers_are_refused(kind):
    with pytest.raises(TypeError, match=r"y\.toarray"):
        KINDS[kind]().fit(X, csr_array(np.c_[Y, Y]))


# Weights and seeds

WEIGHTS = {
    "text": (["a"] * N, "sample_weight cannot be used.*'a'"),
    "a name": ("balanced", "sample_weight cannot be used"),
    "complex": (np.ones(N) * 1j, "sample_weight must hold real numbers"),
    "masked": (np.ma.masked_equal(np.arange(N), 3), "sample_weight has 1 masked.*row 3"),
    "dates": (pd.Series(pd.date_range("2020", periods=N)), "sample_weight holds dates"),
    "NA": (pd.Series([1, None] * (N // 2), dtype="Int64"), "sample_weight contains NaN"),
    "tiny": (np.full(N, 1e-120), "largest sample_weight.*between 1e-100.*rescale"),
    "subnormal": (np.full(N, 5e-324), "largest sample_weight.*between 1e-100.*rescale"),
}


@kinds
@pytest.mark.parametrize("form", WEIGHTS)
def test_bad_weights(kind, form):
    weights, message = WEIGHTS[form]
    with pytest.raises(ValueError, match=message):
        KINDS[kind]().fit(X, Y, weights)
    with pytest.raises(ValueError, match=message):
        KINDS[kind]().fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weights)
    if form not in ("tiny", "subnormal"):
        with pytest.raises(ValueError, match=message):
            KINDS[kind]().fit(X, Y).score(X, Y, weights)


@kinds
@pytest.mark.parametrize("seed", ["a", 1.5, -1, np.random.default_rng(0)])
def test_bad_seeds(kind, seed):
    with pytest.raises(ValueError, match=r"'random_state' parameter.*Got"):
        KINDS[kind](random_state=seed).fit(X, Y)
    if kind.startswith("em"):
        model = KINDS[kind]().fit(X, Y)
        with pytest.raises(ValueError, match=r"random_state must be an integer"):
            model.sample(X, random_state=seed)
        with pytest.raises(ValueError, match=r"random_state must be an integer"):
            fastem.bootstrap(model, X, Y, n_resamples=2, random_state=seed)


# Validation sets


@kinds
def test_half_a_validation_set(kind):
    for given, missing in (
        ({"X_val": X}, "y_val"), ({"y_val": Y}, "X_val"),
        ({"sample_weight_val": np.ones(N)}, "X_val, y_val"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"both X_val and y_val\. Missing: {missing}\."):
            KINDS[kind]().fit(X, Y, **given)


@kinds
def test_a_small_validation_set_is_described(kind):
    model = KINDS[kind](early_stopping=True, validation_fraction=0.01)
    with pytest.raises(ValueError, match=rf"validation_fraction=0\.01 of {N} rows"):
        model.fit(X, Y)


# Large weights and sizes


@pytest.mark.parametrize("method", ["nonparametric", "parametric"])
def test_resamples_of_too_many_rows(method):
    weights = np.full(N, 1e20)
    model = KINDS["em"]().fit(X, Y, weights)
    with pytest.raises(ValueError, match=r"sample_weight sums to.*rescale"):
        fastem.bootstrap(model, X, Y, n_resamples=2, sample_weight=weights, method=method)


def test_newton_with_many_features_names_other_solvers():
    rows = np.zeros((4, 200_000))
    rows[:, 0] = [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"newton.*m_step='gradient'.*solver='lbfgs'"):
        KINDS["em"](m_step="newton").fit(rows, [0, 1, 0, 1])


def test_many_units_are_announced_with_their_time():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        KINDS["em"](hidden_layer_sizes=(200,), max_iter=1).fit(X, np.arange(N) % 5)
    assert any("E-step is expected to take about" in str(one.message) for one in caught)


def test_scores_of_a_validation_set_that_overflow():
    rows = np.array([[1e308], [-1e308], [1.7e308]] * 4)
    model = FastMLPRegressor(
        "poisson", (2,), early_stopping=True, validation_fraction=0.5, max_iter=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            model.fit(rows, np.arange(12))
        except fastem.DivergenceError:
            assert np.isfinite(model.coefs_[0]).all()


# Fits that learn nothing


@pytest.mark.parametrize("solver", ["lbfgs", "adam", "sgd"])
@pytest.mark.parametrize("kind", ["mlp", "mlp regressor"])
def test_perceptrons_of_zeros_are_announced(kind, solver):
    start = {
        "coefs_init": [np.zeros((2, 2)), np.zeros((2, 1))],
        "intercepts_init": [np.zeros(2), np.zeros(1)],
    }
    with pytest.warns(UserWarning, match=r"All weights are zero.*random"):
        model = KINDS[kind](solver=solver, **start).fit(X, Y)
    assert np.ptp(model.predict(X)) == 0.0
