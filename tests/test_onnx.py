"""`fastem.to_onnx`: graphs that ONNX Runtime evaluates, against Python and against slow sums."""

import copy
import sys
import warnings

import numpy as np
import pytest
import reference
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastem

onnx = pytest.importorskip("onnx")
pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}


def evaluate(graph, X):
    """Return the outputs of a graph by name; X is an array or a dict of inputs."""
    onnx.checker.check_model(graph, full_check=True)
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, X if isinstance(X, dict) else {"X": X})
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, found, strict=True))


def fitted(estimator, X, y, **parameters):
    """Fit by few iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.set_params(random_state=0, **parameters).fit(X, y)


def quick(sizes, y, *, kind=fastem.FastEMClassifier, n_features=3, scale=1.0, seed=0, **parameters):
    """Return a model whose parameters are random numbers of a given scale."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(len(y), n_features))
    model = kind(sizes, alpha=1.0, max_iter=1, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = fitted(model, X, y)
    for values in (*model.coefs_, *model.intercepts_):
        values[...] = scale * rng.normal(size=values.shape)
    return model


def rows(dtype, n_features=3, scale=1.0, n_rows=40, seed=1):
    """Return rows of a dtype, and the same numbers in float64."""
    X = (scale * np.random.default_rng(seed).normal(size=(n_rows, n_features))).astype(dtype)
    return X, X.astype(np.float64)


def assert_probabilities(found, model, X, dtype):
    """Compare the outputs of a classifier's graph with the methods of the model."""
    assert list(found) == ["label", "probabilities"]
    probability = model.predict_proba(X)
    assert found["probabilities"].dtype == dtype
    assert found["probabilities"].shape == probability.shape
    np.testing.assert_allclose(
        found["probabilities"], probability, rtol=TOLERANCE[dtype], atol=0.1 * TOLERANCE[dtype]
    )
    assert (found["label"] == model.predict(X)).all()


TABLES = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer, "digits": load_digits}
CLASSIFIERS = {
    "em": fastem.FastEMClassifier((7,), alpha=1.0, max_iter=10),
    "two layers": fastem.FastEMClassifier((5, 3), alpha=1.0, max_iter=3, e_step="enumeration"),
    "plugin": fastem.FastEMClassifier((12,), alpha=1.0, max_iter=3, prediction="plugin"),
    "perceptron": fastem.FastMLPClassifier((20, 10), max_iter=20),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("table", TABLES)
def test_classes_of_the_test_sets(table, kind):
    X, y = TABLES[table](return_X_y=True)
    model = fitted(CLASSIFIERS[kind], X, y)
    for dtype in DTYPES:
        graph = fastem.to_onnx(model, dtype=dtype)
        rounded = X.astype(dtype)
        found = evaluate(graph, rounded)
        assert_probabilities(found, model, rounded.astype(np.float64), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", ["number", "numbers", "count", "counts", "perceptron"])
def test_numbers_of_diabetes(outputs, dtype):
    X, y = load_diabetes(return_X_y=True)
    y = np.round(y / 50.0) if outputs.startswith("count") else y
    y = np.column_stack([y, 3.0 * y[::-1] + 4.0]) if outputs.endswith("s") else y
    if outputs == "perceptron":
        model = fitted(fastem.FastMLPRegressor(hidden_layer_sizes=(9,)), X, y, max_iter=20)
    else:
        family = "poisson" if outputs.startswith("count") else "gaussian"
        model = fastem.FastEMRegressor((6,), family=family, alpha=1.0, variance_floor=0.05)
        model = fitted(model, X, y, max_iter=5)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X.astype(dtype))
    wide = X.astype(dtype).astype(np.float64)
    if outputs == "perceptron":
        expected = {"variable": model.predict(wide)}
    else:
        expected = dict(zip(["variable", "std"], model.predict(wide, return_std=True), strict=True))
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert found[name].dtype == dtype
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("sizes", [(1,), (2,), (7,), (3, 1), (2, 3, 2), (1, 1)])
def test_classes_against_sums_over_all_states(sizes, scale, dtype):
    model = quick(sizes, np.arange(20) % 3, scale=scale)
    X, wide = rows(dtype)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X)
    expected = np.exp(reference.log_marginal(wide, model.coefs_, model.intercepts_))
    # rounding of log-odds a changes probabilities by eps * |a|
    tolerance = TOLERANCE[dtype] * (1.0 if dtype == np.float32 else max(1.0, scale / 30.0))
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prediction", ["marginal", "plugin"])
@pytest.mark.parametrize("sizes", [(3,), (2, 2)])
def test_labels_against_sums_over_all_states(sizes, prediction, dtype):
    y = np.random.default_rng(0).integers(0, 2, size=(30, 4))
    e_step = "sampling" if len(sizes) > 1 else "auto"
    model = quick(sizes, y, scale=2.0, prediction=prediction, e_step=e_step)
    X, wide = rows(dtype)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X)
    states = reference.joint_states(sizes) if prediction == "marginal" else [None]
    if prediction == "marginal":
        upper, _ = reference.log_upper(states, model.coefs_, model.intercepts_)
        prior = np.exp(
            reference.log_first(wide, states[0], model.coefs_[0], model.intercepts_[0]) + upper
        )
        expected = prior @ expit(states[-1] @ model.coefs_[-1] + model.intercepts_[-1])
    else:
        expected = wide
        for W, b in zip(model.coefs_, model.intercepts_, strict=True):
            expected = expit(expected @ W + b)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=TOLERANCE[dtype])
    assert found["label"].dtype == np.int64
    assert (found["label"] == (expected > 0.5)).all()


class _Doubled(fastem.Poisson):
    """A family of the user, without closed forms."""

    name = "doubled"
    moments = fastem.IndependentOutputs.moments


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("gaussian", (4,)),
        ("poisson", (4,)),
        (_Doubled(), (4,)),
        (fastem.Bernoulli(), (7,)),
        ("gaussian", (2, 3)),
        ("poisson", (3, 2)),
    ],
)
def test_moments_against_sums_over_all_states(family, sizes, dtype):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=(30, 2)).astype(float)
    e_step = "sampling" if len(sizes) > 1 else "auto"
    model = quick(sizes, y, kind=fastem.FastEMRegressor, family=family, e_step=e_step)
    X, wide = rows(dtype)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X)
    states = reference.joint_states(sizes)
    upper, _ = reference.log_upper(states, model.coefs_, model.intercepts_)
    first = reference.log_first(wide, states[0], model.coefs_[0], model.intercepts_[0])
    prior = np.exp(first + upper)
    eta = states[-1] @ model.coefs_[-1] + model.intercepts_[-1]
    name = "poisson" if model.family_.name == "doubled" else model.family_.name
    means = reference.mean_of(name, eta)
    own = {
        "gaussian": lambda: model.variance_ + 0.0 * eta,
        "poisson": lambda: means,
        "bernoulli": lambda: means * (1.0 - means),
    }[name]()
    expected = prior @ means
    squares = np.einsum("is,isd->id", prior, (means[None] - expected[:, None]) ** 2)
    np.testing.assert_allclose(found["variable"], expected, rtol=TOLERANCE[dtype], atol=1e-12)
    np.testing.assert_allclose(found["std"], np.sqrt(prior @ own + squares), rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_saturated_units_and_large_weights(family, dtype):
    """Log-odds of up to some thousands; rates from exp(-60) to exp(60)."""
    y = np.arange(20.0) % 4
    model = quick((6,), y, kind=fastem.FastEMRegressor, family=family, scale=20.0)
    X, wide = rows(dtype, scale=50.0)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X)
    (W, V), (b, c) = model.coefs_, model.intercepts_
    Z = reference.configurations(6)
    log_prior, eta = reference.log_first(wide, Z, W, b), Z @ V[:, 0] + c
    if family == "gaussian":
        mean = np.exp(log_prior) @ eta
        noise = model.variance_
    else:
        mean = noise = np.exp(reference.log_sum_exp(log_prior + eta, axis=1))
        eta = np.exp(eta)
    spread = (np.exp(log_prior) * (eta - mean[:, None]) ** 2).sum(axis=1)
    # sums of log-odds of some thousands have an absolute error of some 1e-12
    np.testing.assert_allclose(found["variable"], mean, rtol=5.0 * TOLERANCE[dtype])
    np.testing.assert_allclose(found["std"], np.sqrt(noise + spread), rtol=5.0 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs_give_probabilities(dtype):
    model = quick((9,), np.arange(20) % 3, scale=5.0)
    largest = float(np.finfo(np.float32).max)
    values = [0.0, -0.0, 1e-30, 1.0, -800.0, 800.0, 1e6, -1e30, largest]
    X = np.random.default_rng(0).choice(values, size=(200, 3)).astype(dtype)
    found = evaluate(fastem.to_onnx(model, dtype=dtype), X)
    assert_probabilities(found, model, X.astype(np.float64), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_rows(dtype):
    for model in (
        quick((8,), np.arange(20) % 3),
        quick((3,), np.arange(20.0), kind=fastem.FastEMRegressor),
        quick((3,), np.arange(20.0) % 4, kind=fastem.FastEMRegressor, family="poisson"),
        fitted(fastem.FastMLPClassifier((3,), max_iter=1), np.eye(3), [0, 1, 2]),
    ):
        graph = fastem.to_onnx(model, dtype=dtype)
        X, _ = rows(dtype)
        full = evaluate(graph, X)
        for n_rows in (0, 1, 2):
            part = evaluate(graph, X[:n_rows])
            assert {name: len(x) for name, x in part.items()} == dict.fromkeys(full, n_rows)
            for name, values in part.items():
                assert values.shape[1:] == full[name].shape[1:]
                if values.dtype.kind == "f":
                    np.testing.assert_allclose(values, full[name][:n_rows], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_number_of_units(dtype):
    model = quick((16,), np.arange(20) % 3, e_step="enumeration")
    X, wide = rows(dtype)
    assert_probabilities(evaluate(fastem.to_onnx(model, dtype=dtype), X), model, wide, dtype)


def test_more_units_need_plugin():
    model = quick((17,), np.arange(20) % 2, e_step="quadrature")
    with pytest.raises(ValueError, match=r"have 17 units\. .* at most 16 .*prediction=\"plugin\""):
        fastem.to_onnx(model)
    model.set_params(prediction="plugin")
    X, wide = rows(np.float64)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)
    assert_probabilities(found, model, wide, np.float64)


def test_more_units_of_a_regressor():
    y = np.arange(20.0) % 4
    model = quick((300,), y, kind=fastem.FastEMRegressor, e_step="quadrature", scale=0.1)
    X, wide = rows(np.float64)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)
    np.testing.assert_allclose(found["variable"], model.predict(wide), rtol=1e-12)
    model = quick((17, 2), y, kind=fastem.FastEMRegressor, e_step="sampling")
    with pytest.raises(ValueError, match=r"have 17, 2 units.*Fit fewer hidden units\.$"):
        fastem.to_onnx(model)


def test_a_sampled_model_is_exported_exactly():
    model = quick((4,), np.arange(20) % 3, e_step=fastem.Sampling(50))
    X, wide = rows(np.float64)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)["probabilities"]
    exact = np.exp(reference.log_marginal(wide, model.coefs_, model.intercepts_))
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert np.abs(model.predict_proba(wide) - exact).max() > 1e-3


ACTIVATIONS = ["identity", "logistic", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"]


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, ("elu", "maxout")], ids=str)
def test_every_activation_of_a_perceptron(activation, loss):
    X, wide = rows(np.float32)
    y = np.abs(wide[:, :2] + 0.1)
    model = fastem.FastMLPRegressor(loss, (5, 4), activation, max_iter=3)
    model = fitted(model, wide, y)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), wide)["variable"]
    np.testing.assert_allclose(found, model.predict(wide), rtol=1e-12, atol=1e-12)
    found = evaluate(fastem.to_onnx(model), X)["variable"]
    np.testing.assert_allclose(found, model.predict(wide), rtol=1e-6)


def test_the_activation_of_the_fit_is_exported():
    _, X = rows(np.float64)
    model = fitted(fastem.FastMLPRegressor(activation="tanh", max_iter=1), X, X[:, 0])
    model.set_params(activation="relu")  # without a new fit
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)["variable"]
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-10)


@pytest.mark.parametrize("outputs", ["one class", "two", "three", "labels", "one label"])
@pytest.mark.parametrize("sizes", [(), (4,)])
def test_every_output_of_a_perceptron_classifier(sizes, outputs):
    X, wide = rows(np.float64)
    y = {
        "one class": np.zeros(40, int),
        "two": np.arange(40) % 2,
        "three": np.arange(40) % 3,
        "labels": np.column_stack([np.arange(40) % 2, np.arange(40) < 7]).astype(int),
        "one label": np.arange(40) % 2 == 0,
    }[outputs]
    model = fitted(fastem.FastMLPClassifier(sizes, max_iter=2), wide, y)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)
    assert_probabilities(found, model, wide, np.float64)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        ([3, -7], np.int64),
        (["b", "a"], object),
        ([False, True], np.int64),
        ([2.0, 5.0], np.int64),
        (np.array(["x", "é"], object), object),
        (np.array([4, 9], np.uint8), np.int64),
    ],
)
@pytest.mark.parametrize("kind", [fastem.FastEMClassifier, fastem.FastMLPClassifier])
def test_class_labels_are_whole_numbers_or_text(kind, classes, dtype):
    X, wide = rows(np.float64)
    y = np.asarray(classes)[np.arange(40) % 2]
    model = fitted(kind((2,), max_iter=1), wide, y, alpha=1.0)
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)
    assert found["label"].dtype == dtype
    assert (found["label"] == model.predict(wide)).all()


def test_other_class_labels_are_refused():
    _, X = rows(np.float64)
    labels = np.array([2**63, 5], np.uint64)
    model = fitted(
        fastem.FastEMClassifier((2,), alpha=1.0, max_iter=1), X, labels[np.arange(40) % 2]
    )
    with pytest.raises(ValueError, match=r"\[5, 9223372036854775808\] are neither whole numbers"):
        fastem.to_onnx(model)


def test_a_model_of_sparse_features_takes_dense_ones():
    X, wide = rows(np.float64)
    for kind in (fastem.FastEMClassifier, fastem.FastMLPClassifier):
        model = fitted(kind((2,), max_iter=1), csr_matrix(wide), np.arange(40) % 3, alpha=1.0)
        found = evaluate(fastem.to_onnx(model, csr_matrix(wide), dtype=np.float64), X)
        assert_probabilities(found, model, csr_matrix(wide), np.float64)


def test_nan_stays_in_its_row():
    model = quick((8,), np.arange(20) % 3)
    X, wide = rows(np.float64)
    X[3, 0] = np.nan
    found = evaluate(fastem.to_onnx(model, dtype=np.float64), X)["probabilities"]
    assert np.isnan(found[3]).all()
    others = np.delete(np.arange(40), 3)
    np.testing.assert_allclose(found[others], model.predict_proba(wide[others]), rtol=1e-12)


def test_the_model_is_not_changed():
    model = quick((3,), np.arange(20) % 3)
    before, parameters = copy.deepcopy([*model.coefs_, *model.intercepts_]), model.get_params()
    fastem.to_onnx(model)
    for layer, old in zip([*model.coefs_, *model.intercepts_], before, strict=True):
        assert (layer == old).all()
    assert model.get_params() == parameters


@pytest.mark.parametrize("kind", ["FastEMClassifier", "FastMLPRegressor"])
def test_unfitted_models_are_refused(kind):
    with pytest.raises(NotFittedError, match=kind):
        fastem.to_onnx(getattr(fastem, kind)())


@pytest.mark.parametrize("model", [None, "model.npz", fastem.FastEMClassifier, np.eye(2)])
def test_other_objects_are_refused(model):
    with pytest.raises(TypeError, match="must be a fitted FastEMClassifier, FastEMRegressor"):
        fastem.to_onnx(model)


def test_dask_estimators_are_refused():
    dask = pytest.importorskip("fastem.dask", exc_type=ImportError)
    with pytest.raises(TypeError, match=r"fastem\.to_onnx\(model\.to_local\(\)\)"):
        fastem.to_onnx(dask.DaskEMClassifier())


@pytest.mark.parametrize("dtype", [np.float16, int, "text", None, str])
def test_other_types_are_refused(dtype):
    model = quick((3,), np.arange(20) % 3)
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got"):
        fastem.to_onnx(model, dtype=dtype)


def test_parameters_set_by_hand_are_checked():
    model = quick((3,), np.arange(20) % 3)
    model.coefs_[0] = model.coefs_[0][:, :2]
    with pytest.raises(ValueError, match="coefs"):
        fastem.to_onnx(model)


@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_a_missing_package_is_named(package, monkeypatch):
    model = quick((3,), np.arange(20) % 3)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'fastem\[onnx\]'"):
        fastem.to_onnx(model)
