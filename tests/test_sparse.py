"""Sparse X for networks with stochastic units: the results of dense X, without a dense copy."""

import pickle
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

import fastem
from fastem import FastEMClassifier, FastEMRegressor
from fastem.engines import Shape
from fastem.estimators import ascent
from fastem.estimators.ascent import Problem
from fastem.runtime import memory
from fastem.selection import row_numbers
from fastem.sparse import SparseFeatures

N, P = 240, 7


def table(seed=0, n=N, p=P):
    """A table with empty rows, an empty column, a full column, and scales from 1e-3 to 1e3."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.uniform(size=(n, p)) < 0.3, rng.normal(1.0, 1.0, size=(n, p)), 0.0)
    X *= 10.0 ** np.linspace(-3, 3, p)
    X[:, 1], X[:, 2] = 0.0, rng.normal(50.0, 1.0, size=n)
    X[::9] = 0.0
    X[::9, 2] = rng.normal(50.0, 1.0, size=len(X[::9]))
    return X


X = table()
_rng = np.random.default_rng(1)
_score = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
_score = _score @ _rng.normal(size=(P, 2)) + 0.5 * _rng.normal(size=(N, 2))
WEIGHTS = np.where(_rng.uniform(size=N) < 0.1, 0.0, _rng.uniform(0.5, 2.0, size=N))
TWO = np.where(_score[:, 0] > 0, "yes", "no")
THREE = np.argmax(np.c_[_score, np.zeros(N)], axis=1)
LABELS = (_score > 0).astype(int)
NUMBERS = _score[:, 0]
COUNTS = _rng.poisson(np.exp(0.3 * np.clip(_score[:, 0], -3, 3)))


def untidy(values):
    """The same values in any order, some of them as sums of two entries, with explicit zeros."""
    rng = np.random.default_rng(2)
    entries = sparse.coo_array(values)
    rows, columns = entries.coords
    twice = rng.uniform(size=len(rows)) < 0.3
    data = np.concatenate([np.where(twice, 0.5, 1.0) * entries.data, 0.5 * entries.data[twice]])
    rows, columns = np.append(rows, rows[twice]), np.append(columns, columns[twice])
    zeros = rng.integers(0, values.shape[0], 5), rng.integers(0, values.shape[1], 5)
    data, rows, columns = np.append(data, np.zeros(5)), *map(np.append, (rows, columns), zeros)
    order = rng.permutation(len(data))
    return sparse.coo_array((data[order], (rows[order], columns[order])), values.shape)


def long_indices(values):
    rows = sparse.csr_array(values)
    rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    return rows


FORMS = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "lil": sparse.lil_matrix,
    "bsr": sparse.bsr_array,
    "int64": long_indices,
    "untidy": untidy,
}


# The features by themselves, against NumPy


def standardised(values, centre, scale):
    return SparseFeatures.of(sparse.csr_array(values)).standardised(centre, scale)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_has_the_same_values(form):
    given = sparse.csr_array(form(X))
    kept = given.copy()
    np.testing.assert_allclose(SparseFeatures.of(given).toarray(), X, rtol=1e-15)
    for before, after in zip(
        (kept.data, kept.indices, kept.indptr), (given.data, given.indices, given.indptr),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(before, after)


def test_arrays_that_are_longer_than_the_entries():
    rows = sparse.csr_array(X)
    n = rows.nnz
    rows.data, rows.indices = np.append(rows.data, np.nan), np.append(rows.indices, 10**6)
    features = SparseFeatures.of(rows)
    assert (len(rows.data), len(rows.indices)) == (n + 1, n + 1)
    np.testing.assert_array_equal(features.toarray(), X)


@pytest.mark.parametrize("has_ones", [False, True])
@pytest.mark.parametrize("n", [0, 1, N, 5000])
def test_products_and_second_moments(n, has_ones):
    values, rng = table(n=n), np.random.default_rng(3)
    centre, scale = rng.normal(size=P), 10.0 ** np.linspace(-3, 3, P)
    dense, features = (values - centre) / scale, standardised(values, centre, scale)
    if has_ones:
        dense, features = np.hstack([dense, np.ones((n, 1))]), features.with_ones()
    assert features.shape == dense.shape
    assert len(features) == n
    np.testing.assert_allclose(features.toarray(), dense, rtol=1e-12, atol=1e-13)
    chosen = rng.permutation(n)[: n // 2 + 1] if n else np.arange(0)
    features, dense = features[chosen], dense[chosen]
    weights, d = rng.normal(size=(features.shape[1], 3)), rng.uniform(size=len(dense))
    np.testing.assert_allclose(features @ weights, dense @ weights, rtol=1e-11, atol=1e-11)
    values = rng.normal(size=(len(dense), 3))
    for n_threads in (1, 2):
        found = features.transposed_product(values, n_threads)
        np.testing.assert_allclose(found, dense.T @ values, rtol=1e-10, atol=1e-9)
    assert found.flags.c_contiguous
    moments = np.full((features.shape[1],) * 2, np.nan)
    features.fill_second_moments(d, moments)
    np.testing.assert_allclose(moments, (dense.T * d) @ dense, rtol=1e-10, atol=1e-9)
    assert (np.abs(dense) <= features.largest * (1 + 1e-12)).all()


def test_products_of_many_rows_do_not_depend_on_the_threads():
    rng = np.random.default_rng(4)
    rows = sparse.random_array((30_000, 20), density=0.2, rng=rng, format="csr")
    features = SparseFeatures.of(rows).standardised(rng.normal(size=20), np.ones(20)).with_ones()
    weights, values = rng.normal(size=(21, 4)), rng.normal(size=(30_000, 4))
    found = []
    for n_threads in (1, 2, 3):
        out = np.empty((30_000, 5))
        features.fill_product(weights, n_threads, out)
        found.append(
            (out[:, :4].tobytes(), features.transposed_product(values, n_threads).tobytes())
        )
    assert found[0] == found[1] == found[2]


def test_products_of_other_shapes_are_refused():
    features = SparseFeatures.of(sparse.csr_array(X))
    for n_inputs in (P - 1, P + 1):
        with pytest.raises(ValueError, match="does not fit"):
            features @ np.ones((n_inputs, 2))
    with pytest.raises(ValueError, match="does not fit"):
        features.fill_product(np.ones((P, 3)), 1, np.ones((N, 2)))


@pytest.mark.parametrize("centred", [True, False])
def test_moments_of_columns(centred):
    shares = WEIGHTS / WEIGHTS.sum()
    units = np.where(np.abs(X).max(axis=0) > 0, np.abs(X).max(axis=0), 1.0)
    mean, deviation = SparseFeatures.of(sparse.csr_array(X)).moments(shares, units, centred=centred)
    expected = (shares @ (X / units)) * centred
    np.testing.assert_allclose(mean, expected, rtol=1e-13, atol=1e-15)
    variance = shares @ (X / units - expected) ** 2
    np.testing.assert_allclose(deviation, np.sqrt(variance), rtol=1e-12, atol=1e-15)


def test_deviation_due_to_one_row_of_small_weight():
    values = np.ones((50, 3))
    values[0, 0], values[:49, 1] = 0.0, 0.0
    shares = np.full(50, 1.0 / 49)
    shares[0] = 1e-20
    shares[49], shares[1] = 1e-20, 2.0 / 49
    found = SparseFeatures.of(sparse.csr_array(values)).moments(shares, np.ones(3), centred=True)
    np.testing.assert_allclose(found[1], [1e-10, 1e-10, 0.0], rtol=1e-6, atol=1e-15)


def test_a_full_column_is_as_exact_as_a_dense_one():
    rng = np.random.default_rng(5)
    values = np.c_[rng.normal(1e9, 1.0, size=100), np.where(np.arange(100) < 50, 0.0, 1.0)]
    centre, scale = values.mean(axis=0), values.std(axis=0)
    features = standardised(values, centre, scale)
    weights = np.array([[0.1], [0.0]])
    exact = values / scale - centre / scale
    np.testing.assert_allclose(features @ weights, exact @ weights, rtol=1e-12)
    moments = np.empty((2, 2))
    features.fill_second_moments(np.ones(100), moments)
    np.testing.assert_allclose(moments, exact.T @ exact, rtol=1e-12)


def test_features_are_no_array_for_the_oracle():
    features = SparseFeatures.of(sparse.csr_array(X))
    for rows in (features, sparse.csr_array(X)):
        with pytest.raises(ValueError, match=r"X must be a dense array; pass X.toarray\(\)"):
            fastem.EStep(rows, THREE, hidden_layer_sizes=2)


# Fits


OPTIONS = {"hidden_layer_sizes": (3,), "random_state": 0, "max_iter": 12, "tol": 0.0, "alpha": 1.0}
START = [np.linspace(-1.0, 1.0, 3 * P).reshape(P, 3) ** 3, np.array([[1.0], [-1.0], [0.5]])]
FITS = {
    "em": (FastEMClassifier, THREE, {}),
    "plain em": (FastEMClassifier, THREE, {"accelerate": False}),
    "bound": (FastEMClassifier, THREE, {"m_step": "bound"}),
    "gradient": (FastEMClassifier, THREE, {"m_step": "gradient"}),
    "lbfgs": (FastEMClassifier, THREE, {"solver": "lbfgs"}),
    "adam": (FastEMClassifier, THREE, {"solver": "adam", "batch_size": 50}),
    "mixed": (FastEMClassifier, THREE, {"e_step": fastem.Enumeration(precision="mixed")}),
    "quadrature": (FastEMClassifier, TWO, {"e_step": "quadrature"}),
    "quadrature, bound": (FastEMClassifier, TWO, {"e_step": "quadrature", "m_step": "bound"}),
    "sampling": (FastEMClassifier, THREE, {"e_step": fastem.Sampling(50)}),
    "deep": (FastEMClassifier, THREE, {"hidden_layer_sizes": (3, 2)}),
    "deep sampling": (
        FastEMClassifier, LABELS, {"hidden_layer_sizes": (3, 2), "e_step": fastem.Sampling(50)}
    ),
    "no intercepts": (FastEMClassifier, THREE, {"fit_intercept": False}),
    "no standardisation": (FastEMClassifier, THREE, {"standardize": False, "m_step": "newton"}),
    "neither": (FastEMClassifier, THREE, {"standardize": False, "fit_intercept": False}),
    "plugin": (FastEMClassifier, THREE, {"prediction": "plugin"}),
    "two starts": (FastEMClassifier, THREE, {"n_init": 2}),
    "labels": (FastEMClassifier, LABELS, {}),
    "labels by sampling": (FastEMClassifier, LABELS, {"e_step": fastem.Sampling(50)}),
    "numbers": (FastEMRegressor, NUMBERS, {}),
    "two numbers": (FastEMRegressor, _score, {"variance_floor": 0.02}),
    "numbers, quadrature": (FastEMRegressor, NUMBERS, {"e_step": "quadrature"}),
    "numbers, adam": (FastEMRegressor, NUMBERS, {"solver": "adam"}),
    # a given start: a random one is improved first, until a tolerance is reached
    "numbers, lbfgs": (
        FastEMRegressor, NUMBERS,
        {"solver": "lbfgs", "variance_floor": 0.02, "coefs_init": START, "standardize": False},
    ),
    "counts": (FastEMRegressor, COUNTS, {"family": "poisson"}),
    "deep numbers": (
        FastEMRegressor, NUMBERS,
        {"hidden_layer_sizes": (3, 2), "e_step": fastem.Sampling(20), "variance_floor": 0.05},
    ),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:The fit predicts the same for every row",
)


def assert_close(ours, dense, rtol=1e-8):
    assert len(ours.loss_curve_) == len(dense.loss_curve_)
    if not hasattr(dense, "variance_"):  # a start with a noise variance is an iterate already
        np.testing.assert_allclose(ours.loss_curve_[0], dense.loss_curve_[0], rtol=1e-12)
    np.testing.assert_allclose(ours.loss_curve_, dense.loss_curve_, rtol=1e-9)
    parts = zip(ours.coefs_ + ours.intercepts_, dense.coefs_ + dense.intercepts_, strict=True)
    for a, b in parts:
        # weights of features in the units of X differ in size by six powers of ten
        size = np.abs(b).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(a / size.clip(1.0), b / size.clip(1.0), rtol=rtol, atol=rtol)
    if hasattr(dense, "variance_floor_"):
        assert ours.variance_floor_ == dense.variance_floor_


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_that_of_the_dense_rows(name, weights):
    kind, y, options = FITS[name]
    values = X if options.get("standardize", True) else X / np.abs(X).max(axis=0).clip(1.0)
    models = [
        kind(**(OPTIONS | options)).fit(rows, y, weights)
        for rows in (sparse.csr_array(values), values)
    ]
    assert_close(*models)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_has_the_same_fit(form):
    rows = form(X)
    kept = rows.copy()
    found = FastEMClassifier(**OPTIONS).fit(rows, THREE)
    assert_close(found, FastEMClassifier(**OPTIONS).fit(X, THREE))
    np.testing.assert_array_equal(rows.toarray(), kept.toarray())
    assert rows.nnz == kept.nnz


def test_single_precision_and_integers():
    values = np.round(X)
    dense = FastEMClassifier(**OPTIONS).fit(values, THREE)
    for dtype in (np.float32, np.int64, np.int8):
        if dtype != np.int8:
            found = FastEMClassifier(**OPTIONS).fit(sparse.csr_array(values.astype(dtype)), THREE)
            assert_close(found, dense)
        few = np.clip(values, -100, 100).astype(dtype)
        np.testing.assert_allclose(
            dense.predict_proba(sparse.csc_array(few)), dense.predict_proba(few), rtol=1e-10
        )


def test_read_only_arrays():
    rows = sparse.csr_array(X)
    for values in (rows.data, rows.indices, rows.indptr):
        values.setflags(write=False)
    found = FastEMClassifier(**OPTIONS).fit(rows, THREE)
    assert_close(found, FastEMClassifier(**OPTIONS).fit(X, THREE))
    assert found.predict(rows).shape == THREE.shape


@pytest.mark.parametrize("name", ["em", "bound", "quadrature", "numbers", "adam"])
def test_a_fit_does_not_depend_on_the_threads(name):
    kind, y, options = FITS[name]
    rows, y = sparse.csr_array(np.tile(X, (30, 1))), np.tile(y, 30)
    options = OPTIONS | options | {"max_iter": 3, "variance_floor": 0.05}
    if kind is FastEMClassifier:
        del options["variance_floor"]
    a, b = (kind(**options, n_jobs=n_jobs).fit(rows, y) for n_jobs in (1, 3))
    assert a.loss_curve_ == b.loss_curve_
    assert all(map(np.array_equal, a.coefs_, b.coefs_))


@pytest.mark.parametrize("name", ["em", "lbfgs", "adam", "numbers"])
def test_a_converged_fit_has_the_same_optimum(name):
    kind, y, options = FITS[name]
    options = OPTIONS | options | {"tol": 1e-9, "max_iter": 2000, "alpha": 3.0}
    if options.get("solver") == "adam":
        options |= {"learning_rate_init": 1e-3, "max_iter": 3}
    assert_close(*(kind(**options).fit(rows, y) for rows in (sparse.csr_array(X), X)), rtol=1e-5)


def test_objectives_at_the_same_parameters():
    rng = np.random.default_rng(6)
    start = {
        "coefs_init": [rng.normal(size=(P, 3)) / X.std(axis=0).clip(1e-3)[:, None],
                       rng.normal(size=(3, 3))],
        "intercepts_init": [rng.normal(size=3), rng.normal(size=3)],
    }  # fmt: skip
    for alpha in (0.0, 1.0):
        options = OPTIONS | start | {"alpha": alpha, "max_iter": 1}
        a, b = (FastEMClassifier(**options).fit(rows, THREE) for rows in (sparse.csr_array(X), X))
        assert a.loss_curve_[0] == pytest.approx(b.loss_curve_[0], rel=1e-12)


# Predictions


@pytest.fixture(scope="module", params=FITS)
def fitted(request):
    kind, y, options = FITS[request.param]
    values = X if options.get("standardize", True) else X / np.abs(X).max(axis=0).clip(1.0)
    return kind(**(OPTIONS | options)).fit(values, y), values, y


def assert_same_values(ours, dense, name):
    if np.asarray(ours).dtype.kind == "U":
        np.testing.assert_array_equal(ours, dense, err_msg=name)
    else:
        np.testing.assert_allclose(ours, dense, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("form", [sparse.csr_matrix, untidy])
def test_predictions_are_those_of_dense_rows(fitted, form):
    model, values, y = fitted
    rows = form(values)
    is_regressor = isinstance(model, FastEMRegressor)
    calls = {
        "predict": (),
        "transform": (),
        "posterior": (y,),
        "log_likelihood": (y, WEIGHTS),
        "score": (y,),
        "bic": (y,),
    }
    if is_regressor:
        more = {"log_density": (y,), "predict_cdf": (y,), "predict_quantile": ([0.1, 0.5],),
                "predict_interval": (0.8,)}  # fmt: skip
    else:
        more = {"predict_proba": (), "predict_log_proba": ()}
    for name, arguments in (calls | more).items():
        method = getattr(model, name)
        assert_same_values(method(rows, *arguments), method(values, *arguments), name)
    for ours, dense in zip(model.sample(rows, 0), model.sample(values, 0), strict=True):
        assert_same_values(ours, dense, "sample")


def test_standard_deviations():
    model = FastEMRegressor(**OPTIONS).fit(X, NUMBERS)
    found, expected = (model.predict(rows, return_std=True) for rows in (sparse.csr_array(X), X))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_equal_rows_have_equal_probabilities_of_a_wide_model_by_sampling():
    n_features = 30_000  # too many to write the rows out
    rng = np.random.default_rng(7)
    rows = sparse.random_array((40, n_features), density=1e-3, rng=rng, format="csr")
    model = FastEMClassifier(
        (3,), alpha=0.15, e_step=fastem.Sampling(20), m_step="gradient", max_iter=2
    )
    model.fit(rows, np.arange(40) % 3)
    found = model.predict_proba(sparse.vstack([rows, rows[::-1]]))
    np.testing.assert_array_equal(found[:40], found[40:][::-1])


@pytest.mark.parametrize("name", ["predict", "transform", "log_likelihood"])
def test_other_features_are_refused(name):
    model = FastEMClassifier(**OPTIONS).fit(sparse.csr_array(X), THREE)
    arguments = (THREE,) if name == "log_likelihood" else ()
    with pytest.raises(ValueError, match=f"X has 3 features, but .* is expecting {P} features"):
        getattr(model, name)(sparse.csr_array(X[:, :3]), *arguments)


@pytest.mark.parametrize("name", ["predict", "predict_proba", "transform", "posterior"])
def test_weights_set_by_hand_that_do_not_fit_are_refused(name):
    model = FastEMClassifier(**OPTIONS).fit(sparse.csr_array(X), THREE)
    model.coefs_[0] = model.coefs_[0][:-1]
    arguments = (THREE,) if name == "posterior" else ()
    with pytest.raises(ValueError, match=r"coefs|fit"):
        getattr(model, name)(sparse.csr_array(X), *arguments)


def test_overflow_of_log_odds():
    model = FastEMClassifier(**OPTIONS).fit(sparse.csr_array(X), THREE)
    model.coefs_[0] = np.full_like(model.coefs_[0], 1e300)
    model.coefs_[0][::2] *= -1.0
    rows = sparse.csr_array(1e100 * X)
    for name, arguments in {"predict": (), "posterior": (THREE,)}.items():
        with pytest.raises(FloatingPointError, match="overflow"):
            getattr(model, name)(rows, *arguments)
    assert not np.isnan(model.transform(rows)).any()


def test_density_displays(figures_closed):
    for columns in (slice(2, 3), slice(None)):
        values = X[:40, columns]
        model = FastEMRegressor((2,), alpha=0.5, max_iter=3, variance_floor=0.1).fit(
            values, NUMBERS[:40]
        )
        ours, dense = (
            fastem.DensityDisplay.from_estimator(model, rows, NUMBERS[:40])
            for rows in (sparse.csr_matrix(values), values)
        )
        for a, b in zip(ours.grid or ours.forecasts, dense.grid or dense.forecasts, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


# Warm starts and streams


@pytest.mark.parametrize("name", ["em", "adam"])
def test_warm_starts_go_on_to_the_bit(name):
    kind, y, options = FITS[name]
    options = OPTIONS | options
    rows = sparse.csr_array(X)
    whole = kind(**(options | {"max_iter": 6})).fit(rows, y)
    parts = kind(**(options | {"max_iter": 2}), warm_start=True)
    for _ in range(3):
        parts = pickle.loads(pickle.dumps(parts)).fit(rows, y)
    assert parts.loss_curve_[-1] == whole.loss_curve_[-1]
    assert all(map(np.array_equal, parts.coefs_, whole.coefs_))


def test_a_warm_start_continues_a_fit_of_dense_rows():
    options = OPTIONS | {"warm_start": True, "max_iter": 3}
    model = FastEMClassifier(**options).fit(X, THREE)
    ended = model.loss_
    model.fit(sparse.csr_array(X), THREE)
    assert model.loss_curve_[0] == pytest.approx(ended, rel=1e-12)
    assert model.loss_ < ended


@pytest.mark.parametrize("kind", [FastEMClassifier, FastEMRegressor])
def test_streams(kind):
    y = THREE if kind is FastEMClassifier else NUMBERS
    first = {"classes": [0, 1, 2]} if kind is FastEMClassifier else {}
    models = []
    for form in (sparse.csr_array, np.asarray):
        model = kind((3,), alpha=0.15, solver="adam", batch_size=20, random_state=0)
        model.partial_fit(form(X[:90]), y[:90], sample_weight=WEIGHTS[:90], **first)
        for start in (90, 160):
            model.partial_fit(form(X[start : start + 70]), y[start : start + 70])
        models.append(model)
    assert_close(*models)


# Rows that repeat, and rows held out


def test_equal_rows_are_merged(monkeypatch):
    rng = np.random.default_rng(8)
    values = rng.integers(0, 3, size=(900, 2)).astype(float)
    y, weights = rng.integers(0, 2, size=900), rng.uniform(0.5, 1.0, size=900)
    shape, engine = Shape(2, (2,), 2), fastem.Enumeration()
    rows = untidy(values).tocsr()
    assert rows.nnz > np.count_nonzero(values)
    found = Problem(shape, engine, SparseFeatures.of(rows), y, weights).merged()
    dense = Problem(shape, engine, values, y, weights).merged()
    assert len(found.weights) == len(dense.weights) == 18
    ours = np.c_[found.X.toarray(), found.targets, found.weights]
    expected = np.c_[dense.X, dense.targets, dense.weights]
    np.testing.assert_allclose(
        ours[np.lexsort(ours.T[:3])], expected[np.lexsort(expected.T[:3])], rtol=1e-13
    )
    different = Problem(shape, engine, SparseFeatures.of(sparse.csr_array(X)), THREE, WEIGHTS)
    monkeypatch.setattr(ascent, "_FEWEST_ROWS_TO_MERGE", 10)
    assert different.merged() is different


@pytest.mark.parametrize("name", ["em", "lbfgs", "adam", "sampling", "labels", "numbers", "counts"])
@pytest.mark.parametrize("is_passed", [True, False])
def test_held_out_rows(name, is_passed):
    kind, y, options = FITS[name]
    options = {**OPTIONS, "early_stopping": True, **options}
    models = []
    for rows in (untidy(X).tocsr(), untidy(X).toarray()):
        held_out = {"X_val": rows[:40], "y_val": y[:40]} if is_passed else {}
        models.append(kind(**options).fit(rows[40:], y[40:], **held_out))
    losses = [model.validation_loss_curve_ for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    huge = sparse.csr_array(1.7e308 * np.eye(N, P)[:40])
    with pytest.raises(ValueError, match="X_val has values that overflow"):
        kind(**options).fit(1e-3 * untidy(X).tocsr(), y, X_val=huge, y_val=y[:40])


def test_the_same_rows_are_held_out():
    numbers = []
    for rows in (SparseFeatures.of(untidy(X).tocsr()), untidy(X).toarray()):
        numbers.append(row_numbers(rows, _score))
    np.testing.assert_array_equal(*numbers)
    assert len(np.unique(numbers[0])) == N


def test_the_variance_floor_of_very_many_features():
    rng = np.random.default_rng(9)
    rows = sparse.random_array((60, 30_000), density=1e-4, rng=rng, format="csr")
    model = FastEMRegressor((1,), alpha=0.5, m_step="gradient", max_iter=2).fit(
        rows, rng.normal(size=60)
    )
    assert 0.0 < model.variance_floor_ < 1.0
    assert np.isfinite(model.predict(rows)).all()


# Unusual tables


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((40, 3)),
        np.eye(40)[:, :1],
        np.eye(40),
        np.ones((40, 2)),
        1e-300 * np.eye(40)[:, :4],
        1e300 * np.eye(40)[:, :4],
        np.c_[1e10 + np.arange(40.0), np.arange(40) == 3],
    ],
    ids=["zeros", "one entry", "identity", "ones", "tiny", "huge", "far from zero"],
)
@pytest.mark.parametrize("options", [{}, {"m_step": "bound"}, {"solver": "lbfgs"}])
def test_unusual_tables(values, options):
    y = np.arange(40) % 2
    a, b = (
        FastEMClassifier(**(OPTIONS | options)).fit(rows, y)
        for rows in (sparse.csr_array(values), values)
    )
    # a mean of 1e10 deviations has a rounding error of 1e-6 deviations
    np.testing.assert_allclose(
        a.loss_curve_[0], b.loss_curve_[0], rtol=1e-12 if values.max() != 1e10 + 39.0 else 1e-8
    )
    np.testing.assert_allclose(a.loss_, b.loss_, rtol=1e-8)
    found = a.predict_proba(sparse.csr_array(values))
    np.testing.assert_allclose(found, b.predict_proba(values), rtol=1e-5)
    assert np.isfinite(found).all()


def test_extreme_weights():
    weights = 10.0 ** np.linspace(-90, 90, N)
    a, b = (
        FastEMClassifier(**(OPTIONS | {"max_iter": 3})).fit(rows, THREE, weights)
        for rows in (sparse.csr_array(X), X)
    )
    np.testing.assert_allclose(a.loss_curve_[0], b.loss_curve_[0], rtol=1e-9)
    assert np.isfinite(a.coefs_[0]).all()


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    bad = X.copy()
    bad[3, 2] = value
    model = FastEMClassifier(**OPTIONS).fit(sparse.csr_array(X), THREE)
    with pytest.raises(ValueError, match="Input X contains"):
        FastEMClassifier(**OPTIONS).fit(sparse.csr_array(bad), THREE)
    with pytest.raises(ValueError, match="Input X contains"):
        model.predict(sparse.csc_array(bad))


def test_entries_with_an_infinite_sum():
    rows = sparse.csr_array(([1e308, 1e308, 1.0], [0, 0, 1], [0, 2, 3]), shape=(2, 2))
    with pytest.raises(ValueError, match=r"X contains NaN or infinity; .* sum of"):
        FastEMClassifier(**OPTIONS).fit(rows, [0, 1])


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("column", [-1, 5, 2**30])
def test_columns_out_of_range(kind, column):
    model = FastEMClassifier(**OPTIONS).fit(np.eye(5), np.arange(5) % 2)
    rows = kind(np.eye(5))
    rows.indices[2] = column
    with pytest.raises(ValueError, match="X is not a valid sparse matrix"):
        model.predict(rows)
    with pytest.raises(ValueError, match="X is not a valid sparse matrix"):
        FastEMClassifier(**OPTIONS).fit(rows, np.arange(5) % 2)


def test_other_bad_tables():
    y = np.arange(N) % 2
    with pytest.raises(ValueError, match="Complex data not supported"):
        FastEMClassifier().fit(sparse.csr_array(X + 1j), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FastEMClassifier().fit(sparse.csr_array(X[:-1]), y)
    with pytest.raises(ValueError, match="0 sample"):
        FastEMClassifier().fit(sparse.csr_array((0, 3)), [])
    with pytest.raises(ValueError, match="0 feature"):
        FastEMClassifier().fit(sparse.csr_array((N, 0)), y)
    with pytest.raises(ValueError, match="too large without standardisation"):
        FastEMClassifier(standardize=False).fit(sparse.csr_array(1e200 * X), y)


# Engines


def test_engines_see_log_odds():
    seen = []

    @dataclass
    class Watching(fastem.Engine):
        name = "watching"
        statistics = "counts"

        def plan(self, rows, shape, n_threads):
            seen.append((type(rows.inputs), rows.inputs.shape, shape.n_features))
            return fastem.Enumeration().plan(rows, shape, n_threads)

        def log_marginal(self, inputs, parameters, shape, n_threads):
            seen.append((type(inputs), inputs.shape, shape.n_features))
            return fastem.Enumeration().log_marginal(inputs, parameters, shape, n_threads)

    model = FastEMClassifier(**OPTIONS, e_step=Watching()).fit(sparse.csr_array(X), THREE)
    model.predict(sparse.csr_array(X[:50]))
    assert seen == [(np.ndarray, (N, 4), 3), (np.ndarray, (50, 4), 3)]
    assert_close(model, FastEMClassifier(**OPTIONS).fit(X, THREE))


def test_auto_does_not_count_the_features_of_sparse_rows(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**28)
    rows = sparse.random_array((500, 300_000), density=1e-5, rng=0, format="csr")
    model = FastEMClassifier((12,), alpha=0.15, m_step="gradient", max_iter=1)
    model.fit(rows, np.arange(500) % 5)
    assert type(model.e_step_) is fastem.Enumeration


def test_tags():
    for model in (FastEMClassifier(), FastEMRegressor()):
        assert model.__sklearn_tags__().input_tags.sparse


# Memory


def test_a_fit_needs_no_dense_copy():
    n, p = 20_000, 5000
    rng = np.random.default_rng(10)
    rows = sparse.random_array((n, p), density=0.002, rng=rng, format="csr")
    y = (rows @ rng.normal(size=p) > 0).astype(int)
    fits = [{"m_step": "gradient"}, {"solver": "lbfgs"}, {"solver": "adam", "batch_size": 5000}]
    for options in fits:
        tracemalloc.start()
        try:
            model = FastEMClassifier((4,), alpha=0.15, max_iter=2, random_state=0, **options).fit(
                rows, y
            )
            model.predict_proba(rows)
            model.posterior(rows, y)
            model.log_likelihood(rows, y)
            model.sample(rows, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 * n * p / 10, options  # a tenth of a dense copy


def test_curvatures_that_do_not_fit_name_the_remedy(monkeypatch):
    rows = sparse.csr_array(([1.0, 1.0], ([0, 1], [0, 40_000])), shape=(4, 60_000))
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    for m_step in ("newton", "bound"):
        message = rf"m_step='{m_step}' on 60001 inputs.*m_step='gradient', or solver='lbfgs'"
        with pytest.raises(ValueError, match=message):
            FastEMClassifier((2,), alpha=0.15, m_step=m_step).fit(rows, [0, 1, 0, 1])
    for options in ({"m_step": "gradient"}, {"solver": "lbfgs"}, {"solver": "adam"}):
        model = FastEMClassifier((2,), alpha=0.15, max_iter=1, **options).fit(rows, [0, 1, 0, 1])
        assert np.isfinite(model.predict_proba(rows)).all()


def test_the_rows_themselves_do_not_count_as_dense(monkeypatch):
    """A dense copy of these rows takes 480 MB; the M-step asks for less than that."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**28)
    rows = sparse.random_array((100_000, 600), density=0.005, rng=0, format="csr")
    for m_step in ("newton", "bound"):
        model = FastEMClassifier((2,), alpha=0.15, m_step=m_step, max_iter=1).fit(
            rows, np.arange(100_000) % 2
        )
        assert np.isfinite(model.loss_)
