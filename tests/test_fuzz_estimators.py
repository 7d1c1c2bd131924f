"""Random inputs of estimators and of the E-step: a finite result, or an error that names a cause.

More examples, in random order: ``FASTEM_FUZZ_EXAMPLES=1000 pytest tests/test_fuzz_estimators.py``.
"""

import os
import re
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array, csr_matrix

import fastem
from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier, FastMLPRegressor

_EXAMPLES = int(os.environ.get("FASTEM_FUZZ_EXAMPLES", "40"))
some = settings(
    max_examples=_EXAMPLES,
    derandomize=_EXAMPLES == 40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# Values of features and targets, with the ordinary ones most often.
ORDINARY = [0.0, 1.0, -1.0, 0.5, 2.0, -3.25, 7.0, 0.1]
EXTREME = [
    1e308, -1e308, 1.7e308, 1e200, -1e155, 1e150, 1e30, 5e-324, -2e-310, 1e-160, 1e-30, -0.0,
    2.0**53, 2.0**63, np.inf, -np.inf, np.nan,
]  # fmt: skip
OBJECTS = [10**400, None, "a", "1.5", b"2", 1j, True, object(), [1], np.datetime64("2020")]
DTYPES = ["f8", "f4", "f2", ">f8", "g", "i1", "u8", "i8", "?", "c16", "M8[D]", "U8", "O"]


@st.composite
def tables(draw, n_rows, n_columns, odd):
    """Draw X in one of many forms, some of which are no tables of numbers."""
    pool = draw(
        st.sampled_from([[*ORDINARY, *EXTREME[:12]], EXTREME] if "values" in odd else [ORDINARY])
    )
    size = n_rows * n_columns
    values = draw(st.lists(st.sampled_from(pool), min_size=size, max_size=size))
    dtype = draw(st.sampled_from(DTYPES if "type" in odd else ["f8"]))
    X = np.empty(size, dtype=object)
    X[:] = values
    if dtype == "O" and size > 0:
        X[draw(st.integers(0, size - 1))] = draw(st.sampled_from(OBJECTS))
    elif dtype != "O":
        with np.errstate(all="ignore"):
            X = X.astype("f8")
            X = (np.nan_to_num(X).astype("i8") if dtype in ("u8", "M8[D]") else X).astype(dtype)
    form = draw(st.sampled_from(FORMS if "form" in odd else [same]))
    return form(X.reshape(n_rows, n_columns))


def masked(X):
    return np.ma.masked_array(X, np.arange(X.size).reshape(X.shape) == 1)


def sparse(kind):
    def form(X):
        return kind(X) if X.dtype.str in ("<f8", "<f4", "<i8") else X

    return form


def same(X):
    return X


FORMS = [
    np.asfortranarray, lambda X: np.repeat(X, 2, axis=0)[::2],
    lambda X: X[:, ::-1], np.ndarray.tolist, sparse(csr_matrix), sparse(csc_array), masked,
    lambda X: X[None], lambda X: X.ravel(), lambda X: X[:1].ravel(), iter,
]  # fmt: skip
LABELS = [
    [0, 1], [0, 1, 2], ["a", "b"], [-1, 2**40], [0.0, 1.0], [False, True], [0, None], ["a", 1],
    [0.0, np.nan], [0.5, 1.5], [0], [np.datetime64("2020"), np.datetime64("NaT")], [b"a", b"b"],
]  # fmt: skip


WEIGHTS = [
    [0.0, 1.0, 2.5], [1e-30, 3.0], [1e20, 1.0], [0.0, 0.0, 1.0], [*ORDINARY, *EXTREME], ["a"],
    [None, 1.0], [True, False], [1e-120], [5e-324, 1.0],
]  # fmt: skip


@st.composite
def weights(draw, n_rows):
    pool, kind = draw(st.sampled_from(WEIGHTS)), draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(pool))
    size = max(n_rows - (kind == 1), 0)
    return np.array(draw(st.lists(st.sampled_from(pool), min_size=size, max_size=size)))


@st.composite
def problems(draw, targets):
    """Draw X, y and weights, at most two properties of which are unusual."""
    odd = draw(st.sets(st.sampled_from(["values", "type", "form", "y", "w", "shape"]), max_size=2))
    n_rows = draw(st.sampled_from([0, 1, 2, 3] if "shape" in odd else [6, 9, 20]))
    n_columns = draw(st.integers(0 if "shape" in odd else 1, 3))
    X = draw(tables(n_rows, n_columns, odd))
    pool = draw(st.sampled_from(targets if "y" in odd else targets[:2]))
    y = draw(st.lists(st.sampled_from(pool), min_size=n_rows, max_size=n_rows))
    y = y if draw(st.booleans()) else np.array(y, dtype=object if None in pool else None)
    if "y" in odd and draw(st.integers(0, 2)) == 0:
        y = np.array([[value, other] for value, other in zip(y, y[::-1], strict=True)])
    return X, y, draw(weights(n_rows)) if "w" in odd else None


NAMES = re.compile(
    r"\b(X|y|[Ss]ample.weights?|hidden_layer_sizes|samples|rows|features?|targets?|labels?|"
    r"coefs|intercepts|variance|[Ff]ound array|batch_size|coefs_|label)\b"
)
REFUSALS = (ValueError, TypeError, FloatingPointError, fastem.DivergenceError)


def outcome(call):
    """Return the result of a call, or None if it raised an error that names an argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # of convergence and of columns of y
        warnings.filterwarnings("ignore", "A column-vector y")
        try:
            return call()
        except REFUSALS as caught:
            error = caught
    assert NAMES.search(str(error)), f"{type(error).__name__}: {error}"
    return None


def check_finite(*arrays):
    for array in arrays:
        assert np.isfinite(array).all(), array


def check_classifier(model, X, y, w):
    if outcome(lambda: model.fit(X, y, w)) is None:
        return
    check_finite(*model.coefs_, *model.intercepts_)
    p = outcome(lambda: model.predict_proba(X))
    n_rows, has_labels = np.shape(y)[0], np.ndim(y) == 2 and np.shape(y)[1] > 1
    if p is None:
        return
    check_finite(p)
    assert p.shape == (n_rows, len(model.classes_))
    assert ((p >= 0.0) & (p <= 1.0)).all()
    if not has_labels:
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    assert len(model.predict(X)) == n_rows
    assert 0.0 <= model.score(X, y) <= 1.0


def check_regressor(model, X, y, w):
    if outcome(lambda: model.fit(X, y, w)) is None:
        return
    check_finite(*model.coefs_, *model.intercepts_)
    mean = outcome(lambda: model.predict(X))
    if mean is not None:
        check_finite(mean)
        assert mean.shape == np.shape(y)


NUMBERS = [
    [0.0, 1.0, 2.0], [0, 1, 5], [*ORDINARY], [*ORDINARY, *EXTREME[:12]], EXTREME, [1.0],
    [0.0, None], [1e308, -1e308], [5e-324, 0.0], ["a", "b"], [1j, 0], [10**400, 0],
]  # fmt: skip
EM = {"max_iter": 3, "alpha": 0.1, "random_state": 0, "n_jobs": 1}
EM_OPTIONS = st.sampled_from(
    [{}, {"solver": "lbfgs"}, {"solver": "adam"}, {"m_step": "bound"}, {"m_step": "gradient"},
     {"alpha": "auto"}, {"standardize": False}, {"fit_intercept": False}, {"alpha": 0},
     {"early_stopping": True}, {"class_weight": "balanced"}]
)  # fmt: skip
MLP_OPTIONS = st.sampled_from(
    [{}, {"solver": "lbfgs"}, {"solver": "sgd"}, {"activation": "tanh"}, {"batch_size": 2},
     {"early_stopping": True, "validation_fraction": 0.5}]
)  # fmt: skip


@some
@given(problems(LABELS), EM_OPTIONS)
def test_em_classifier(problem, options):
    check_classifier(FastEMClassifier((2,), **{**EM, **options}), *problem)


@some
@given(problems(NUMBERS), EM_OPTIONS, st.sampled_from(["gaussian", "poisson"]))
def test_em_regressor(problem, options, family):
    own = {name: value for name, value in options.items() if name != "class_weight"}
    check_regressor(FastEMRegressor((2,), family=family, **{**EM, **own}), *problem)


@some
@given(problems(LABELS), MLP_OPTIONS)
def test_perceptron_classifier(problem, options):
    check_classifier(FastMLPClassifier((2,), max_iter=2, random_state=0, **options), *problem)


@some
@given(
    problems(NUMBERS), MLP_OPTIONS, st.sampled_from(["squared_error", "poisson", "absolute_error"])
)
def test_perceptron_regressor(problem, options, loss):
    check_regressor(FastMLPRegressor(loss, (2,), max_iter=2, random_state=0, **options), *problem)


@some
@given(
    problems([[0, 1], [1, 0], [0], [0, 2], [-1, 0], [0.0, 0.5], ["a", "b"], [0, None], EXTREME]),
    st.sampled_from(["categorical", "gaussian", "poisson", "bernoulli"]),
    st.sampled_from([ORDINARY, ORDINARY, [*ORDINARY, *EXTREME[:12]]]).flatmap(
        lambda pool: st.lists(st.sampled_from(pool), min_size=14, max_size=14)
    ),
)
def test_e_step(problem, family, theta):
    (X, y, w), theta = problem, np.array(theta)
    n_features = np.shape(X)[1] if len(np.shape(X)) == 2 else 3
    n_outputs = 2 if family == "categorical" else max(np.size(y) // max(len(y), 1), 1)
    coefs = [theta[: 2 * n_features].reshape(-1, 2), theta[6 : 6 + 2 * n_outputs].reshape(2, -1)]
    intercepts = [theta[10:12], theta[12 : 12 + n_outputs]]
    options = {"variance": np.ones(n_outputs)} if family == "gaussian" else {}
    result = outcome(
        lambda: fastem.e_step(X, y, coefs, intercepts, sample_weight=w, family=family, **options)
    )
    if result is not None:
        assert not np.isnan(result.log_likelihood).any()
        assert (result.log_likelihood < np.inf).all()
        check_finite(result.hidden_posterior)
        assert result.hidden_posterior.shape == (np.shape(X)[0], 2)
