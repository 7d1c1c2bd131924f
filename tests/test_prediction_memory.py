"""Predictions in blocks of rows: bounded memory, and the bits of all rows at once."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastem
from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier, FastMLPRegressor
from fastem.runtime import in_blocks, pieces

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
LABELS = np.column_stack([CLASSES > 0, CLASSES > 1]).astype(int)
EM = {"max_iter": 2, "alpha": 0.1, "random_state": 0, "n_jobs": 1}
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:The noise variance"
)


def em(y=CLASSES, n_hidden=3, **options):
    return FastEMClassifier((n_hidden,), **EM | options).fit(X, y)


def numbers(**options):
    y = X[:, 0] if options.get("family") != "poisson" else CLASSES
    return FastEMRegressor((3,), variance_floor=0.1, **EM | options).fit(X, y)


MODELS = {
    "classes": em,
    "plugin": lambda: em(prediction="plugin"),
    "labels": lambda: em(LABELS),
    "numbers": numbers,
    "counts": lambda: numbers(family="poisson"),
    "perceptron": lambda: FastMLPClassifier((50,), max_iter=1).fit(X, CLASSES),
    "perceptron of two classes": lambda: FastMLPClassifier((50,), max_iter=1).fit(X, CLASSES > 0),
    "perceptron of labels": lambda: FastMLPClassifier((50,), max_iter=1).fit(X, LABELS),
    "perceptron of numbers": lambda: FastMLPRegressor("poisson", (50,), max_iter=1).fit(X, CLASSES),
}
METHODS = ["predict", "predict_proba", "predict_log_proba", "transform"]
LACKING = {"numbers": METHODS[1:3], "counts": METHODS[1:3], "perceptron of numbers": METHODS[1:]}
LACKING |= {name: METHODS[3:] for name in MODELS if name not in LACKING and "perceptron" in name}
CASES = [
    (name, method) for name in MODELS for method in METHODS if method not in LACKING.get(name, [])
]


def result(model, method, rows):
    with_std = method == "predict" and isinstance(model, FastEMRegressor)
    found = model.predict(rows, return_std=True) if with_std else getattr(model, method)(rows)
    return found if isinstance(found, tuple) else (found,)


def working_memory(model, method, rows):
    """Return the bytes that a prediction allocates beyond its result."""
    tracemalloc.start()
    try:
        found = result(model, method, rows)
        return tracemalloc.get_traced_memory()[1] - sum(part.nbytes for part in found)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "method"), CASES)
def test_working_memory_does_not_grow_with_the_rows(name, method):
    model = MODELS[name]()
    result(model, method, X)  # compiles
    small, large = (
        working_memory(model, method, RNG.normal(size=(n_rows, 3))) for n_rows in (200_000, 400_000)
    )
    # 12 and 24 blocks; the last one has up to twice the rows
    assert large < 1.4 * small + 1e5
    assert large < 8e6


@pytest.mark.parametrize("method", ["posterior", "log_likelihood"])
@pytest.mark.parametrize("name", ["classes", "labels", "numbers", "counts"])
def test_memory_of_likelihoods_is_that_of_their_vectors(name, method):
    model, n_rows = MODELS[name](), 100_000
    rows = RNG.normal(size=(n_rows, 3))
    y = np.resize(LABELS, (n_rows, 2)) if name == "labels" else np.resize(CLASSES, n_rows)
    getattr(model, method)(X, y[:60])
    tracemalloc.start()
    found = getattr(model, method)(rows, y)
    peak = tracemalloc.get_traced_memory()[1] - np.size(found) * 8
    tracemalloc.stop()
    assert peak < 1.1e7 + 50 * n_rows


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut rows into blocks of 256."""
    monkeypatch.setattr(pieces, "_ROWS_AT_ONCE", 256)


OTHERS = {
    "predict_interval": lambda model, rows: model.predict_interval(rows),
    "predict_cdf": lambda model, rows: model.predict_cdf(rows, np.resize(CLASSES, rows.shape[0])),
    "sample": lambda model, rows: model.sample(rows, random_state=1),
}
DEEP = {"e_step": fastem.Sampling(10)}
MORE = {
    **MODELS,
    "samples": lambda: em(**DEEP),
    "two layers": lambda: FastEMClassifier((3, 2), **EM, **DEEP).fit(X, CLASSES),
    "numbers above two layers": lambda: FastEMRegressor(
        (3, 2), variance_floor=0.1, **EM, **DEEP
    ).fit(X, X[:, 0]),
}


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("name", MORE)
def test_blocks_have_the_bits_of_all_rows(name, form, monkeypatch):
    model, rows = MORE[name](), form(np.repeat(RNG.normal(size=(335, 3)), 2, axis=0).round(1))
    calls = [*METHODS, *OTHERS]
    if name in ("counts", "numbers above two layers"):
        calls.remove("predict_interval")
    for method in calls:
        if not hasattr(model, method) or (method == "predict" and "above" in name):
            continue
        call = OTHERS.get(method, lambda m, r, method=method: result(m, method, r))
        monkeypatch.setattr(pieces, "_ROWS_AT_ONCE", 2**14)
        whole = call(model, rows)
        monkeypatch.setattr(pieces, "_ROWS_AT_ONCE", 256)
        for part, expected in zip(call(model, rows), whole, strict=True):
            np.testing.assert_array_equal(part, expected)


def test_posterior_by_samples_is_that_of_all_rows(small_blocks):
    model, y = em(**DEEP), np.resize(CLASSES, 700)
    rows = RNG.normal(size=(700, 3))
    direct = fastem.e_step(rows, y, model.coefs_, model.intercepts_, method=model.e_step_)
    np.testing.assert_array_equal(model.posterior(rows, y), direct.hidden_posterior)


def test_posterior_by_blocks(small_blocks):
    model, y = em(), np.resize(CLASSES, 700)
    rows = RNG.normal(size=(700, 3))
    direct = fastem.e_step(rows, y, model.coefs_, model.intercepts_)
    np.testing.assert_allclose(model.posterior(rows, y), direct.hidden_posterior, rtol=1e-12)
    total = model.log_likelihood(rows, y)
    assert total == pytest.approx(direct.log_likelihood.sum(), rel=1e-12)


@pytest.mark.parametrize("n_rows", [0, 1, 255, 256, 511, 512, 513, 767, 768, 1300])
def test_every_row_is_in_one_block(n_rows, small_blocks):
    sizes = []

    def function(values, others):
        sizes.append(len(values))
        return values + others, np.column_stack([values, others])

    values = np.arange(n_rows)
    found, pairs = in_blocks(function, values, 2 * values)
    np.testing.assert_array_equal(found, 3 * values)
    np.testing.assert_array_equal(pairs, np.column_stack([values, 2 * values]))
    assert sum(sizes) == n_rows
    assert max(sizes) < 512 or n_rows < 512
    assert all(size % 256 == 0 for size in sizes[:-1])


def test_blocks_of_many_features_have_few_rows():
    sizes = []
    in_blocks(lambda rows: sizes.append(len(rows)) or rows, np.zeros(5000), width=20_000)
    assert max(sizes) < 512
