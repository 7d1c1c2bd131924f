"""Bad and extreme numbers and counts: a clear error, or finite results and no NumPy warning."""

import re
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastem
from fastem import FastEMRegressor

CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"
pytestmark = pytest.mark.filterwarnings("ignore:The fit predicts the same for every row")
rng = np.random.default_rng(0)
N = 60  # enough rows to choose the lower bound of the variance
X = rng.normal(size=(N, 3))
Y = X[:, 0] + 0.3 * rng.normal(size=N)
COUNTS = rng.poisson(np.exp(0.5 * X[:, 0])).astype(float)
for values in (X, Y, COUNTS):
    values.setflags(write=False)


def altered(array, value, index=3):
    array = np.array(array)
    array[index] = value
    return array


def regressor(family="gaussian", **options):
    options = {"family": family, "random_state": 0, "n_jobs": 1, "max_iter": 15, **options}
    options = {"alpha": 0.5, "variance_floor": 0.01, **options}
    return FastEMRegressor((4,), **options)


def targets_of(family):
    return Y if family == "gaussian" else COUNTS


# What is refused

BAD_Y = {
    "NaN": (altered(Y, np.nan), "y contains NaN"),
    "infinity": (altered(Y, -np.inf), "y contains infinity"),
    "complex": (Y * 1j, "[Cc]omplex"),
    "text": (np.full(N, "a"), "numeric"),
    "text of numbers": (Y.astype(str), "numeric"),
    "objects": (np.array([object()] * N), "numeric"),
    "text in objects": (altered(Y.astype(object), "a"), "numeric"),
    "None": (altered(Y.astype(object), None), "NaN|numeric"),
    "a large integer": (altered(Y.astype(object), 10**400), "numeric|too large"),
    "dates": (np.arange(N).astype("datetime64[D]"), "y holds dates"),
    "short": (Y[1:], r"\[60, 59\]"),
    "no rows": (Y[:0], "0 sample|inconsistent"),
    "three dimensions": (np.zeros((N, 2, 2)), "dim"),
    "no columns": (np.zeros((N, 0)), "y has no column|0 feature"),
    "none": (None, "y to be passed"),
    "ragged": ([[1.0], [1.0, 2.0]] * (N // 2), "."),
    "too large": (1e300 * Y, r"y has values up to .*e\+300.*rescale y"),
    "too small": (1e-150 * Y, r"standard deviation .*e-1.*Rescale y"),
    "denormal": (1e-320 * Y, r"standard deviation .*e-3.*Rescale y"),
    "one denormal column": (np.c_[Y, 1e-310 * Y], r"standard deviation .*e-3.*Rescale y"),
    "one column too small": (np.c_[Y, 1e-150 * Y], r"standard deviation .*e-1.*Rescale y"),
}


@pytest.mark.parametrize("solver", ["em", "adam"])
@pytest.mark.parametrize(("y", "message"), BAD_Y.values(), ids=BAD_Y)
def test_bad_y(y, message, solver):
    model = regressor(solver=solver)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    if solver == "adam" and y is not None:
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, y)
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        model.predict(X)


BAD_COUNTS = {
    "negative": (COUNTS - 5.0, r"counts \(whole numbers of at least 0\).*got -"),
    "fractional": (COUNTS + 0.5, r"counts \(whole numbers.*got .*\.5"),
    "above 1e9": (altered(COUNTS, 2e9), r"counts up to 2e\+09.*at most 1e\+09"),
    "NaN": (altered(COUNTS, np.nan), "y contains NaN"),
    "infinity": (altered(COUNTS, np.inf), "y contains (NaN or )?infinity"),
    "text": (COUNTS.astype(str), "numeric"),
}


@pytest.mark.parametrize(("y", "message"), BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_bad_counts(y, message):
    with pytest.raises(ValueError, match=message):
        regressor("poisson").fit(X, y)
    coefs, intercepts = [np.ones((3, 2)), np.ones((2, 1))], [np.zeros(2), np.zeros(1)]
    with pytest.raises(ValueError, match=message):
        fastem.e_step(X, y, coefs, intercepts, family="poisson")


def test_sparse_y_is_refused_or_read():
    model = regressor()
    try:
        model.fit(X, sparse.csr_matrix(np.c_[Y, Y]))
    except (ValueError, TypeError) as error:
        assert re.search("(?i)sparse|dense|numeric", str(error))  # noqa: PT017
    assert not hasattr(model, "coefs_")


BAD_PARAMETERS = [
    *[("family", v) for v in ("normal", None, 3, fastem.Gaussian, "", object())],
    *[("variance_floor", v) for v in (0.0, 1.0, -1.0, np.nan, np.inf, "1", None, True)],
    *[("alpha", v) for v in (-1e-9, np.nan, np.inf, "1", None, True)],
    *[("hidden_layer_sizes", v) for v in (0, (), (3, 0), 2.0)],
    *[("coefs_init", v) for v in ([np.ones((3, 4))], [np.ones((3, 4)), np.ones((4, 2))])],
    *[("intercepts_init", v) for v in ([np.ones(4), np.full(1, np.nan)], 0)],
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS, ids=lambda x: str(x)[:30])
def test_bad_parameter(name, value):
    with pytest.raises(ValueError, match=name):
        regressor().set_params(**{name: value}).fit(X, Y)


@pytest.mark.filterwarnings(CONVERGENCE)
def test_families_that_cannot_serve_numbers():
    with pytest.raises(ValueError, match=r"is for classes; use FastEMClassifier"):
        regressor("categorical").fit(X, Y)
    with pytest.raises(ValueError, match="0 and 1 for every label"):
        regressor("bernoulli").fit(X, Y)
    assert regressor("bernoulli").fit(X, COUNTS > 0).predict(X).shape == (N,)


# A fitted model


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return {
            "one": regressor().fit(X, Y),
            "two": regressor().fit(X, np.c_[Y, -Y + X[:, 1]]),
            "counts": regressor("poisson").fit(X, COUNTS),
        }


OF_X = ["predict", "transform", "sample", "predict_interval"]
OF_Y = ["log_density", "predict_cdf", "posterior", "log_likelihood", "aic", "bic", "score"]


@pytest.mark.parametrize("method", [*OF_X, *OF_Y, "predict_quantile"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [(X[:, :2], "2 features.*expecting 3"), (altered(X, np.nan), "X contains NaN"),
     (altered(X, np.inf), "X contains infinity"), (X[0], "2D array"), (X[:0], "0 sample")],
    ids=["narrow", "NaN", "infinity", "vector", "empty"],
)  # fmt: skip
def test_bad_rows_for_a_fitted_model(fitted, method, rows, message):
    arguments = (Y[: len(rows)],) if method in OF_Y else (0.5,) * (method == "predict_quantile")
    with pytest.raises(ValueError, match=message):
        getattr(fitted["one"], method)(rows, *arguments)


@pytest.mark.parametrize("method", [*OF_X, *OF_Y, "predict_quantile", "save"])
def test_not_fitted(method, tmp_path):
    arguments = {"save": (tmp_path / "m",), "predict_quantile": (X, 0.5)}.get(
        method, (X, Y) if method in OF_Y else (X,)
    )
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(regressor(), method)(*arguments)


@pytest.mark.parametrize("method", ["log_density", "predict_cdf", "posterior", "log_likelihood"])
@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        ("one", Y[1:], r"shape \(60, 1\), got \(59,\)|shape \(60,\)"),
        ("one", np.c_[Y, Y], r"shape .*got \(60, 2\)"),
        ("two", Y, r"shape \(60, 2\), got \(60,\)"),
        ("one", 0.0, "one or two dimensions"),
        ("one", altered(Y, np.nan), "y contains NaN"),
        ("one", Y.astype(str), "numeric"),
        ("one", Y * 1j, "real numbers"),
        ("one", np.zeros((N, 1, 1)), "one or two dimensions"),
        ("counts", -COUNTS - 1.0, "counts"),
        ("counts", COUNTS + 0.5, "counts"),
        ("counts", COUNTS + 2e9, "at most"),
    ],
)
def test_bad_y_for_a_fitted_model(fitted, method, model, y, message):
    with pytest.raises(ValueError, match=message):
        getattr(fitted[model], method)(X, y)


BAD_LEVELS = [
    *(0.0, 1.0, -0.1, 1.1, np.nan, [0.5, np.nan], [[0.5]], "a", None, []),
    *(1e-309, 9e-301, np.nextafter(1.0 - 1e-15, 1.0), np.nextafter(1.0, 0.0), [0.5, 1e-309]),
]


@pytest.mark.parametrize("q", BAD_LEVELS)
def test_bad_levels(fitted, q):
    if isinstance(q, list) and not q:
        assert fitted["one"].predict_quantile(X, q).shape == (N, 0)
        return
    with pytest.raises(
        (ValueError, TypeError), match=r"q must lie between 1e-300 and 1 - 1e-15; got|float"
    ):
        fitted["one"].predict_quantile(X, q)


BAD_COVERAGES = [0.0, 1.0, -0.1, np.nan, 1.5, 1.0 - 1.9e-15, [0.9], np.array([0.9]), "0.9", None]


@pytest.mark.parametrize("coverage", BAD_COVERAGES)
def test_bad_coverage(fitted, coverage):
    with pytest.raises(
        ValueError, match="coverage must be a number above 0 and at most 1 - 2e-15; got"
    ):
        fitted["one"].predict_interval(X, coverage)


@pytest.mark.parametrize("method", ["log_likelihood", "aic", "bic", "score"])
@pytest.mark.parametrize("model", ["one", "counts"])
@pytest.mark.parametrize(
    "weights", [np.ones(N - 1), altered(np.ones(N), np.nan), np.ones((N, 2))],
    ids=["short", "NaN", "2d"],
)  # fmt: skip
def test_bad_weights_for_a_fitted_model(fitted, method, model, weights):
    y = Y if model == "one" else COUNTS
    with pytest.raises(ValueError, match=r"(?i)weight|shape|NaN|inconsistent"):
        getattr(fitted[model], method)(X, y, weights)


FAILURES = {
    "NaN": ({}, X, altered(Y, np.nan)),
    "large": ({}, X, 1e300 * Y),
    "small": ({}, X, 1e-150 * Y),
    "parameter": ({"alpha": -1.0}, X[:, :2], Y),
    "family": ({"family": "poisson"}, X[:, :2], Y),
    "memory": ({"hidden_layer_sizes": (60,), "e_step": "enumeration"}, X[:, :2], np.c_[Y, Y]),
    "starting values": ({"coefs_init": [np.ones((2, 2))] * 2}, X, np.c_[Y, Y]),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(("options", "rows", "y"), FAILURES.values(), ids=FAILURES)
def test_failing_fit_leaves_the_fitted_model(fitted, options, rows, y, warm_start):
    model = clone(fitted["one"]).set_params(warm_start=warm_start).fit(X, Y)
    before = set(vars(model))
    model.set_params(**options)
    with pytest.raises((ValueError, FloatingPointError)):
        model.fit(rows, y)
    model.set_params(**{name: fitted["one"].get_params()[name] for name in options})
    assert set(vars(model)) == before
    np.testing.assert_array_equal(model.predict(X), fitted["one"].predict(X))
    np.testing.assert_array_equal(model.log_density(X, Y), fitted["one"].log_density(X, Y))


# What is fitted

HARD_Y = {
    "constant": np.full(N, 3.0),
    "zeros": np.zeros(N),
    "five values": np.digitize(Y, [-1.0, -0.3, 0.3, 1.0]).astype(float),
    "half zeros": np.where(np.arange(N) < N // 2, 0.0, Y),
    "two values": (Y > 0.0).astype(float),
    "without noise": X[:, 0],
    "1e149": 1e149 * Y,
    "1e-40": 1e-40 * Y,
    "constant and denormal": np.full(N, 1e-310),
    "offset": Y + 1e12,
    "offset of few digits": Y + 1e14,
    "offset beyond digits": Y + 1e15,
    "an outlier": altered(Y, 1e6),
    "an outlier of 1e140": altered(Y, 1e140),
    "two units": np.c_[Y, 1e100 * Y],
    "a constant column": np.c_[Y, np.ones(N)],
    "three units": np.c_[1e-40 * Y, Y, 1e120 * Y],
}
HARD_COUNTS = {
    "all zero": np.zeros(N),
    "constant": np.full(N, 1e9),
    "0 and 1e9": np.where(np.arange(N) % 2 == 0, 0.0, 1e9),
    "one of 1e9": altered(np.zeros(N), 1e9),
    "up to 1e9": np.floor(1e9 * rng.uniform(size=N)),
    "half zeros": np.where(np.arange(N) < N // 2, 0.0, COUNTS),
    "two units": np.c_[COUNTS, 1e9 * (COUNTS > 1.0)],
}
OPTIONS = {
    "newton": {"alpha": 0.0}, "bound": {"m_step": "bound", "alpha": 0.0},
    "gradient": {"m_step": "gradient", "variance_floor": 1e-12},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.0}, "adam": {"solver": "adam", "max_iter": 10},
    "alpha=1e300": {"alpha": 1e300}, "alpha=1e300, lbfgs": {"alpha": 1e300, "solver": "lbfgs"},
    "as they are": {"standardize": False, "fit_intercept": False},
    "chosen floor": {"variance_floor": "auto"},
}  # fmt: skip
# scikit-learn's convergence, and the two warnings about y that the package announces
EXPECTED_WARNINGS = (
    "y is (treated as )?constant in column|The noise variance of output|The fit (stopped|did not)"
)


def assert_finite(model, X, y):
    """Fit, and check every result; only the announced warnings are permitted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=EXPECTED_WARNINGS)
        model.fit(X, y)
    level = np.array([1e-12, 0.01, 0.5, 0.99])
    quantiles = model.predict_quantile(X, level)
    mean, std = model.predict(X, return_std=True)
    results = [
        mean, std, quantiles, model.predict_cdf(X, y), model.log_density(X, y), model.transform(X),
        model.posterior(X, y), *model.sample(X, 0), model.loss_curve_, *model.coefs_,
        *model.intercepts_, getattr(model, "variance_", 1.0), model.aic(X, y), model.bic(X, y),
    ]  # fmt: skip
    for values in results:
        assert np.isfinite(values).all()
    assert (np.diff(quantiles, axis=-1) >= 0.0).all()
    assert (std >= 0.0).all()
    if len(X) > 1:
        assert np.isfinite(model.score(X, y))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("y", HARD_Y.values(), ids=HARD_Y)
def test_hard_numbers(y, options):
    assert_finite(regressor(**options), X, y)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("y", HARD_COUNTS.values(), ids=HARD_COUNTS)
def test_hard_counts(y, options):
    assert_finite(regressor("poisson", **options), X, y)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
def test_hard_rows(family, options):
    y = {"gaussian": Y, "poisson": COUNTS, "bernoulli": (Y > 0.0).astype(float)}[family]
    wide = np.random.default_rng(1).normal(size=(5, 20))
    for rows, targets in (
        (X[:1], y[:1]), (X[:2], y[:2]), (wide, y[:5]), (np.ones((N, 2)), y),
        (np.tile(X[:5], (12, 1)), np.tile(y[:5], 12)),
    ):  # fmt: skip
        assert_finite(regressor(family, **options), rows, targets)
    if "standardize" not in options:
        assert_finite(regressor(family, **options), 1e300 * X, y)
        assert_finite(regressor(family, **options), 1e-300 * X, y)


@pytest.mark.filterwarnings(CONVERGENCE, "ignore:The noise variance of output 0")
@pytest.mark.parametrize("value", [0.0, -3.0, 1e100])
def test_constant_numbers_are_announced(value):
    message = re.escape(f"y is constant in column 0: every value is {value:g}")
    with pytest.warns(UserWarning, match=message):
        model = regressor().fit(X, np.full(N, value))
    np.testing.assert_allclose(model.predict(X), value, atol=0.05, rtol=0.05)
    weights = np.where(np.arange(N) < 5, 1.0, 0.0)
    with pytest.warns(UserWarning, match=message):
        regressor().fit(X, np.where(weights > 0.0, value, Y), weights)


@pytest.mark.filterwarnings(CONVERGENCE, "ignore:The noise variance")
def test_numbers_of_few_digits_are_announced():
    y = np.c_[Y, Y + 1e14]
    with pytest.warns(UserWarning, match=r"treated as constant in column 1: .*1e\+14.*Subtract"):
        regressor().fit(X, y)
    y[5] = 1e15  # of a row without weight
    with pytest.warns(UserWarning, match=r"treated as constant in column 1: .*1e\+14.*Subtract"):
        regressor().fit(X, y, np.where(np.arange(N) == 5, 0.0, 1.0))


def test_densities_of_neighbouring_numbers():
    """The middle of two neighbours is one of them, here the larger one."""
    model = regressor().fit(X, np.c_[Y, Y])
    low = np.nextafter(1.0, 2.0)
    y = np.full((N, 2), low)
    y[::2] = np.nextafter(low, 2.0)
    assert low + 0.5 * (y[0, 0] - low) == y[0, 0]
    np.testing.assert_allclose(model.log_density(X, y), model.log_density(X, np.ones((N, 2))))


@pytest.mark.filterwarnings(CONVERGENCE, "ignore:y is constant", "ignore:The noise variance")
@pytest.mark.parametrize(("value", "unit"), [(5.0, 5.0), (-1e80, 1e80), (0.0, 1.0)])
def test_the_variance_of_a_constant_is_a_share_of_its_square(value, unit):
    model = regressor(variance_floor=0.03).fit(X, np.full(N, value))
    np.testing.assert_allclose(model.variance_, 0.03 * unit**2, rtol=1e-8)


@pytest.mark.filterwarnings(CONVERGENCE)
def test_numbers_that_x_determines_are_announced():
    steps = np.c_[Y, 1.0 * (X[:, 0] > 0.0)]
    model = regressor(alpha=1e-6, max_iter=500, variance_floor=0.01)
    with pytest.warns(UserWarning, match=r"noise variance of output 1 is at its lower bound"):
        model.fit(X, steps)


# Memory


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
@pytest.mark.parametrize("n_hidden", [40, 60, 200, 20_000])
def test_too_many_hidden_units(family, n_hidden):
    def fit():
        with pytest.raises(ValueError, match=rf"{n_hidden}.*bytes.*[Uu]se fewer hidden units"):
            regressor(family, e_step="enumeration").set_params(hidden_layer_sizes=n_hidden).fit(
                X, COUNTS > 0
            )

    def e_step():
        coefs, intercepts = (
            [np.ones((3, n_hidden)), np.ones((n_hidden, 1))],
            [np.ones(n_hidden), [0.0]],
        )
        with pytest.raises(ValueError, match=rf"{n_hidden}.*bytes"):
            fastem.e_step(
                X, COUNTS > 0, coefs, intercepts, family=family, variance=[1.0],
                method="enumeration",
            )  # fmt: skip

    assert peak_of(fit) < 50e6
    assert peak_of(e_step) < 50e6


@pytest.mark.parametrize("n_hidden", [2, 10, 14])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
def test_declared_memory_is_enough(family, n_hidden, d):
    """A plan and its E-steps allocate no more than the engine declares, beside the rows."""
    from fastem.engines import Enumeration
    from fastem.families import FAMILIES
    from fastem.parameters import Shape
    from fastem.rows import sort_rows

    shape = Shape(3, (n_hidden,), d, True, FAMILIES[family]())
    generator = np.random.default_rng(0)
    y = (generator.uniform(size=(2000, d)) > 0.5) * (1.0 if family == "bernoulli" else 900.0)
    rows = sort_rows(generator.normal(size=(2000, 3)), y, np.ones(2000), shape)
    coefs = [generator.normal(size=(3, n_hidden)), generator.normal(size=(n_hidden, d))]
    variance = np.full(d, 1e-2) if family == "gaussian" else np.empty(0)
    parameters = shape.from_lists(coefs, [np.zeros(n_hidden), np.zeros(d)], variance)
    Enumeration().plan(rows, shape, 1).expect(parameters)  # compiles
    peak = peak_of(lambda: Enumeration().plan(rows, shape, 1).expect(parameters))
    assert peak < 1.05 * Enumeration().bytes_needed(shape, 2000, 1) + 300_000


# e_step

W, V, B, C = np.ones((3, 2)), np.ones((2, 1)), np.zeros(2), np.zeros(1)
BAD_E_STEP = {
    "no variance": ({"variance": None}, "variance is missing"),
    "zero variance": ({"variance": [0.0]}, "variance must be at least 1e-100, got 0"),
    "negative variance": ({"variance": [-1.0]}, "variance must be at least"),
    "NaN variance": ({"variance": [np.nan]}, "variance contains NaN"),
    "matrix of variances": ({"variance": [[1.0]]}, "variance must have 1 dim"),
    "two variances": ({"variance": [1.0, 1.0]}, r"variance must have shape \(1,\), .*got \(2,\)"),
    "tiny variance": ({"variance": [1e-200]}, "at least 1e-100, got 1e-200"),
    "text variance": ({"variance": ["a"]}, "variance must be an array of numbers"),
    "NaN": ({"y": altered(Y, np.nan)}, "y contains NaN"),
    "infinity": ({"y": altered(Y, np.inf)}, "y contains NaN or infinity"),
    "complex": ({"y": Y * 1j}, "y must be numeric.*complex"),
    "text": ({"y": Y.astype(str)}, "y must be numeric"),
    "short": ({"y": Y[1:]}, r"y must have shape \(60,\), got \(59,\)"),
    "two columns": ({"y": np.c_[Y, Y]}, r"y must have shape \(60,\), got \(60, 2\)"),
    "one column for two": (
        {"coefs": [W, np.ones((2, 2))], "intercepts": [B, B], "variance": [1.0, 1.0]},
        r"y must have shape \(60, 2\), got \(60, 1\)",
    ),
    "three dimensions": ({"y": np.zeros((N, 1, 1))}, "one or two dimensions"),
    "scalar": ({"y": 1.0}, "one or two dimensions"),
    "family": ({"family": "normal"}, "family must be one of 'categorical'.*got 'normal'"),
    "no family": ({"family": None}, "family must be one of"),
    "labels": ({"family": "bernoulli"}, "0 and 1 for every label"),
    "classes": ({"family": "categorical"}, "at least two classes"),
    "quadrature": ({"method": "quadrature", "family": "poisson", "y": COUNTS}, "poisson"),
    "weights": ({"sample_weight": -np.ones(N)}, "negative"),
    "natural parameters": ({"coefs": [W, 1e308 * V]}, r"coefs\[1\] and intercepts\[1\].*overflow"),
}  # fmt: skip


def e_step(**changes):
    arguments = {
        "X": X, "y": Y, "coefs": [W, V], "intercepts": [B, C], "family": "gaussian",
        "variance": [1.0], "n_jobs": 1, **changes,
    }  # fmt: skip
    return fastem.e_step(**arguments)


@pytest.mark.parametrize(("changes", "message"), BAD_E_STEP.values(), ids=BAD_E_STEP)
def test_bad_input_of_e_step(changes, message):
    with pytest.raises(ValueError, match=message):
        e_step(**changes)


def assert_expectations_are_finite(result, family):
    assert np.isfinite(result.log_likelihood).all()
    assert ((result.hidden_posterior >= 0.0) & (result.hidden_posterior <= 1.0)).all()
    for gradient in (*result.coef_gradients, *result.intercept_gradients):
        assert np.isfinite(gradient).all()
    assert (result.variance_gradient is None) == (family != "gaussian")
    if family == "gaussian":
        assert np.isfinite(result.variance_gradient).all()


@pytest.mark.parametrize("value", [0.0, 1e-150, 1.0, -1e20, 1e100, 1e149, 1e300])
@pytest.mark.parametrize("variance", [1e-100, 1e-50, 1.0, 1e100, 1e300])
def test_extreme_numbers_in_e_step(value, variance):
    """Squared residuals must be finite, as must their ratio to the squared variance."""
    y = np.full(N, value)
    with np.errstate(over="ignore"):
        ratios = np.square((abs(value) + 2.0) / np.array([1.0, variance]))
        is_finite = np.isfinite(N * ratios).all()
    if is_finite:
        assert_expectations_are_finite(e_step(y=y, variance=[variance]), "gaussian")
        return
    with pytest.raises(FloatingPointError, match=r"Squared residuals of y overflow.*Rescale"):
        e_step(y=y, variance=[variance])


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
@pytest.mark.parametrize("size", [-1e150, -800.0, 800.0, 1e5, 1e150])
def test_extreme_weights_in_e_step(family, size):
    for y in (np.zeros(N), np.ones(N), 1.0 * (Y > 0.0), np.full(N, 1e9)):
        if family == "bernoulli" and y.max() > 1.0:
            continue
        for changes in (
            {"coefs": [W, size * V]}, {"intercepts": [B, size + C]}, {"coefs": [size * W, V]},
            {"coefs": [size * W, size * V]}, {"intercepts": [size + B, C]},
            {"sample_weight": np.full(N, 1e100 if abs(size) < 1e9 else 1.0)},
        ):  # fmt: skip
            result = e_step(y=y, family=family, **changes)
            assert_expectations_are_finite(result, family)


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
def test_e_step_without_rows(family):
    for d in (1, 2):
        result = e_step(
            X=X[:0], y=np.zeros((0, d)), family=family, coefs=[W, np.ones((2, d))],
            intercepts=[B, np.zeros(d)], variance=np.ones(d),
        )  # fmt: skip
        assert result.log_likelihood.shape == (0,)
        assert result.hidden_posterior.shape == (0, 2)
        assert not result.coef_gradients[1].any()


def test_one_variance_is_a_number_or_an_array():
    expected = e_step(variance=[2.0])
    for variance in (2.0, 2, np.float64(2.0), np.array(2.0)):
        found = e_step(variance=variance)
        np.testing.assert_array_equal(found.log_likelihood, expected.log_likelihood)
        np.testing.assert_array_equal(found.variance_gradient, expected.variance_gradient)
    for value, d in ((1.0, 2), ([1.0, 1.0], 1)):
        message = rf"variance must have shape \({d},\), one value per output, got \({3 - d},\)"
        with pytest.raises(ValueError, match=message):
            e_step(
                y=np.zeros((N, d)), coefs=[W, np.ones((2, d))], intercepts=[B, np.zeros(d)],
                variance=value,
            )  # fmt: skip


def test_e_step_changes_no_argument():
    given = [X.copy(), Y.copy(), W.copy(), V.copy(), np.ones(1)]
    e_step(X=given[0], y=given[1], coefs=given[2:4], variance=given[4])
    for values, kept in zip(given, (X, Y, W, V, np.ones(1)), strict=True):
        np.testing.assert_array_equal(values, kept)
