"""`fastem.to_onnx` of pipelines and meta-estimators; skl2onnx with the registered converters."""

import doctest
import functools
import warnings

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

import fastem
from fastem.preparation import prepare

onnx = pytest.importorskip("onnx")
skl2onnx = pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")
pandas = pytest.importorskip("pandas")

CLASSIFIER = fastem.FastEMClassifier((3,), alpha=1.0, max_iter=10, random_state=0)
PERCEPTRON = fastem.FastMLPClassifier((4,), "tanh", solver="lbfgs", max_iter=5, random_state=0)
REGRESSOR = fastem.FastEMRegressor((2,), alpha=0.1, variance_floor=0.1, max_iter=10, random_state=0)


def session_of(graph):
    onnx.checker.check_model(graph, full_check=True)
    return runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def fitted(model, X, y):
    """Fit without warnings: a few iterations do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return model.fit(X, y)


@functools.cache
def iris():
    X, y = load_iris(return_X_y=True)
    return X[::3], np.array(["setosa", "versicolor", "virginica"])[y[::3]]


def table():
    """Return a DataFrame of numbers, text and booleans, and classes."""
    rng = np.random.default_rng(0)
    X, y = iris()
    columns = {
        "petal width (cm)": X[:, 3],
        "home town": rng.choice(["Oslo", "Rome", "Paris"], len(X)),
        "count": rng.integers(0, 5, len(X)),
        "is new": rng.random(len(X)) < 0.5,
        "unused": "a",
        "length": X[:, 0],
    }
    return pandas.DataFrame(columns), y


CLASSIFIERS = {
    "scaled": make_pipeline(StandardScaler(), CLASSIFIER),
    "scaled perceptron": make_pipeline(MinMaxScaler(), PERCEPTRON),
    "nested": make_pipeline(
        make_pipeline(StandardScaler(), "passthrough"), make_pipeline(PCA(2), CLASSIFIER)
    ),
    "union with hidden units": make_pipeline(
        make_union(StandardScaler(), CLASSIFIER), LogisticRegression()
    ),
    "union": make_pipeline(make_union(StandardScaler(), PCA(2)), CLASSIFIER),
    "columns by number": make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), [0, 2])], remainder="passthrough"),
        CLASSIFIER,
    ),
    "hidden units as features": make_pipeline(StandardScaler(), CLASSIFIER, LogisticRegression()),
    "hidden units in a nested pipeline": make_pipeline(
        make_pipeline(StandardScaler(), CLASSIFIER), LogisticRegression()
    ),
    "search": GridSearchCV(
        make_pipeline(StandardScaler(), CLASSIFIER), {"fastemclassifier__alpha": [1.0, 2.0]}, cv=2
    ),
    "calibrated": CalibratedClassifierCV(CLASSIFIER, cv=2),
    "calibrated pipeline": CalibratedClassifierCV(
        make_pipeline(StandardScaler(), CLASSIFIER), cv=2
    ),
    "soft vote": VotingClassifier([("em", CLASSIFIER), ("mlp", PERCEPTRON)], voting="soft"),
    "hard vote": VotingClassifier(
        [("em", CLASSIFIER), ("mlp", PERCEPTRON), ("lr", LogisticRegression())]
    ),
    "stacked": StackingClassifier([("em", CLASSIFIER), ("lr", LogisticRegression())], cv=2),
    "one against the rest": OneVsRestClassifier(CLASSIFIER),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_pipelines_and_meta_estimators_of_classifiers(kind):
    X, y = iris()
    model = fitted(CLASSIFIERS[kind], X, y)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
        session = session_of(fastem.to_onnx(model, dtype=dtype))
        rounded = X.astype(dtype)
        label, probability = session.run(None, {"X": rounded})
        wide = rounded.astype(np.float64)
        assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
        assert (label == model.predict(wide)).all()
        if kind != "hard vote":
            # scikit-learn's own steps are in float32 in this graph
            found = np.abs(probability - model.predict_proba(wide)).max()
            assert found < (tolerance if dtype == np.float64 else 5.0 * tolerance)


REGRESSORS = {
    "scaled": make_pipeline(StandardScaler(), REGRESSOR),
    "perceptron": make_pipeline(
        StandardScaler(),
        fastem.FastMLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=5),
    ),
    "hidden units as features": make_pipeline(REGRESSOR, Ridge()),
    "vote": VotingRegressor([("em", REGRESSOR), ("ridge", Ridge())]),
    "bag": BaggingRegressor(REGRESSOR, n_estimators=2, random_state=0),
    "outputs": MultiOutputRegressor(REGRESSOR),
}


@pytest.mark.parametrize("kind", REGRESSORS)
def test_pipelines_and_meta_estimators_of_regressors(kind):
    X, y = (values[::10] for values in load_diabetes(return_X_y=True))
    y = np.column_stack([y, -y]) if kind == "outputs" else y
    model = fitted(REGRESSORS[kind], X, y)
    session = session_of(fastem.to_onnx(model, dtype=np.float64))
    expected = {"variable": model.predict(X)}
    if kind == "scaled":
        expected["std"] = model.predict(X, return_std=True)[1]
    names = [output.name for output in session.get_outputs()]
    assert names == list(expected)
    for values, wanted in zip(session.run(None, {"X": X}), expected.values(), strict=True):
        assert values.shape == wanted.shape
        np.testing.assert_allclose(values, wanted, rtol=1e-12)


def by_columns(last=CLASSIFIER):
    numbers = ["petal width (cm)", "count", "length"]
    steps = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    branches = [
        ("numbers", steps, numbers),
        ("town", OneHotEncoder(handle_unknown="ignore"), ["home town"]),
        ("flag", "passthrough", ["is new"]),
    ]
    return Pipeline([("columns", ColumnTransformer(branches)), ("model", last)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_a_data_frame_are_inputs_by_name(dtype):
    X, y = table()
    model = fitted(by_columns(), X, y)
    session = session_of(fastem.to_onnx(model, X, dtype=dtype))
    names = ["petal width (cm)", "home town", "count", "is new", "length"]
    assert [x.name for x in session.get_inputs()] == names
    X.loc[2, "length"] = np.nan
    X.loc[4, "home town"] = "Bergen"  # not in training
    real = "petal width (cm)", "length"
    X = X.astype(dict.fromkeys(real, dtype))
    feed = {name: X[[name]].to_numpy() for name in names}
    label, probability = session.run(None, feed)
    wide = X.astype(dict.fromkeys(real, np.float64))
    np.testing.assert_allclose(
        probability, model.predict_proba(wide), atol=1e-12 if dtype == np.float64 else 2e-6
    )
    assert (label == model.predict(wide)).all()


def test_nullable_columns_have_the_types_of_their_values():
    X, y = table()
    model = fitted(by_columns(), X, y)
    typed = X.astype(
        {"count": "Int64", "length": "Float64", "is new": "boolean", "home town": "str"}
    )
    plain, nullable = (fastem.to_onnx(model, rows).graph.input for rows in (X, typed))
    assert [x.SerializeToString() for x in plain] == [x.SerializeToString() for x in nullable]


def test_columns_need_their_types():
    X, y = table()
    model = fitted(by_columns(), X, y)
    for given in (None, X.to_numpy()):
        with pytest.raises(ValueError, match=r"takes columns .* Pass some rows as X"):
            fastem.to_onnx(model, given)
    with pytest.raises(ValueError, match=r"X lacks columns .*\['count'\]"):
        fastem.to_onnx(model, X.drop(columns="count"))


@pytest.mark.parametrize("impute", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_pipeline_takes_columns_of_numbers_and_text(tmp_path, dtype, impute):
    X, y = table()
    X = X.drop(columns="unused")
    if impute:
        X.loc[3, "length"] = np.nan
        X = X.astype({"is new": object})
        X.loc[7, ["home town", "is new"]] = None
    model, prepared = CLASSIFIER, prepare(X, impute=impute)
    model = fitted(model, prepared.features(X), y)
    fastem.estimators.save_model(model, tmp_path / "model.npz", prepared.to_json())
    pipeline = fastem.load_pipeline(tmp_path / "model.npz")
    session = session_of(fastem.to_onnx(pipeline, dtype=dtype))
    assert [x.name for x in session.get_inputs()] == list(X.columns)
    X.loc[5, "home town"] = "Bergen"  # not in training
    feed = {}
    for name, values in X.items():
        if name in ("home town", "is new"):
            texts = ["" if value is None or value is np.nan else str(value) for value in values]
            feed[name] = np.array(texts, object)[:, None]
        else:
            feed[name] = values.to_numpy(dtype)[:, None]
            X[name] = feed[name][:, 0].astype(np.float64)
    label, probability = session.run(None, feed)
    np.testing.assert_allclose(
        probability, pipeline.predict_proba(X), atol=1e-12 if dtype == np.float64 else 1e-6
    )
    assert (label == pipeline.predict(X)).all()


def test_a_loaded_pipeline_without_columns(tmp_path):
    X, y = iris()
    fitted(CLASSIFIER, X, y).save(tmp_path / "model.npz")
    pipeline = fastem.load_pipeline(tmp_path / "model.npz")
    session = session_of(fastem.to_onnx(pipeline, dtype=np.float64))
    found = session.run(["probabilities"], {"X": X})[0]
    np.testing.assert_allclose(found, pipeline.predict_proba(X), atol=1e-12)


def test_steps_without_converter_are_named():
    X, y = iris()
    model = fitted(make_pipeline(FunctionTransformer(np.log1p), CLASSIFIER), X, y)
    with pytest.raises(ValueError, match=r"FunctionTransformer.*before the graph") as raised:
        fastem.to_onnx(model)
    assert "\n" not in str(raised.value)
    model = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    with pytest.raises(ValueError, match="no converter for TransformedTargetRegressor"):
        fastem.to_onnx(fitted(model, X[:, :1], X[:, 1]))


def test_hidden_units_within_a_meta_estimator_are_refused():
    X, y = iris()
    inner = make_pipeline(CLASSIFIER, LogisticRegression())
    model = fitted(make_pipeline(StandardScaler(), OneVsRestClassifier(inner)), X, y)
    with pytest.raises(ValueError, match="transforms within OneVsRestClassifier"):
        fastem.to_onnx(model)


def _in_a_pipeline(step):
    return make_pipeline(step, CLASSIFIER)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (CalibratedClassifierCV(CLASSIFIER, cv=2, method="isotonic"), "Use method='sigmoid'"),
        (
            GridSearchCV(CalibratedClassifierCV(CLASSIFIER, cv=2), {"method": ["isotonic"]}, cv=2),
            "Use method='sigmoid'",
        ),
        (FixedThresholdClassifier(CLASSIFIER, threshold=0.2), "ignores its threshold"),
        (
            TunedThresholdClassifierCV(CLASSIFIER, cv=2, store_cv_results=True),
            "ignores its threshold",
        ),
        (_in_a_pipeline(KNNImputer()), "Use SimpleImputer"),
        (_in_a_pipeline(SimpleImputer(add_indicator=True)), "no indicators"),
        (
            StackingClassifier([("em", CLASSIFIER)], stack_method="predict", cv=2),
            "Use stack_method='predict_proba'",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_graphs_of_skl2onnx_are_refused(model, words):
    X, y = iris()
    model = fitted(model, X, y == y[0])
    with pytest.raises(ValueError, match=f"cannot be exported: .*{words}"):
        fastem.to_onnx(model)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_only_the_best_estimator_of_a_search_counts(in_pipeline):
    X, y = iris()
    calibrated = CalibratedClassifierCV(CLASSIFIER, cv=2, method="isotonic")
    model = GridSearchCV(calibrated, {"method": ["sigmoid"]}, cv=2)
    model = fitted(make_pipeline(StandardScaler(), model) if in_pipeline else model, X, y)
    X = X.astype(np.float32)
    probability = session_of(fastem.to_onnx(model)).run(["probabilities"], {"X": X})[0]
    np.testing.assert_allclose(probability, model.predict_proba(X), atol=1e-6)


def test_an_imputer_within_an_ensemble_is_float32():
    X, y = iris()
    model = fitted(CalibratedClassifierCV(make_pipeline(SimpleImputer(), CLASSIFIER), cv=2), X, y)
    with pytest.raises(ValueError, match="imputes float32 only"):
        fastem.to_onnx(model, dtype=np.float64)
    X = X.astype(np.float32)
    probability = session_of(fastem.to_onnx(model)).run(["probabilities"], {"X": X})[0]
    np.testing.assert_allclose(probability, model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_votes_with_weights(voting):
    X, y = iris()
    members = [("em", CLASSIFIER), ("mlp", PERCEPTRON), ("linear", LogisticRegression())]
    model = fitted(VotingClassifier(members, voting=voting, weights=[1, 2, 1]), X, y)
    X = X.astype(np.float32)
    label = session_of(fastem.to_onnx(model)).run(["label"], {"X": X})[0]
    np.testing.assert_array_equal(label, model.predict(X))
    assert model.weights == [1, 2, 1]


@pytest.mark.parametrize("X", [np.zeros((2, 3)), np.zeros(4), "abc", 5])
def test_rows_with_other_features_are_refused(X):
    model = fitted(CLASSIFIER, *iris())
    with pytest.raises(ValueError, match="X must have the 4 features"):
        fastem.to_onnx(model, X)


def test_old_operator_sets_are_refused():
    X, y = iris()
    fastem.onnx.register_converters()
    with pytest.raises(ValueError, match="target_opset must be at least 13"):
        skl2onnx.to_onnx(fitted(CLASSIFIER, X, y), X.astype(np.float32), target_opset=11)
    graph = skl2onnx.to_onnx(fitted(CLASSIFIER, X, y), X.astype(np.float32), target_opset=13)
    session_of(graph)


def test_invalid_graphs_of_skl2onnx_are_refused():
    X, y = iris()
    model = fitted(make_pipeline(PolynomialFeatures(2), CLASSIFIER), X, y)
    session_of(fastem.to_onnx(model))


def test_an_invalid_graph_is_refused(monkeypatch):
    """As skl2onnx 1.20 builds it for PolynomialFeatures in float64."""
    X, y = iris()
    model = fitted(make_pipeline(StandardScaler(), CLASSIFIER), X, y)
    convert = skl2onnx.convert_sklearn

    def broken(*args, **kwargs):
        graph = convert(*args, **kwargs)
        graph.graph.node[-1].input[0] = "absent"
        return graph

    monkeypatch.setattr(skl2onnx, "convert_sklearn", broken)
    with pytest.raises(ValueError, match="built an invalid graph"):
        fastem.to_onnx(model)


def test_a_search_without_best_estimator_is_refused():
    X, y = iris()
    search = fitted(GridSearchCV(CLASSIFIER, {"alpha": [1.0, 2.0]}, cv=2, refit=False), X, y)
    with pytest.raises(ValueError, match=r"refit=True"):
        fastem.to_onnx(search)


@pytest.mark.parametrize("opset", [13, 18])
def test_skl2onnx_converts_pipelines_by_itself(opset):
    X, y = iris()
    fastem.onnx.register_converters()
    model = fitted(make_pipeline(StandardScaler(), CLASSIFIER), X, y)
    X = X.astype(np.float32)
    graph = skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}, target_opset=opset)
    label, probability = session_of(graph).run(None, {"X": X})
    np.testing.assert_allclose(probability, model.predict_proba(X.astype(float)), atol=5e-6)
    assert (label == model.predict(X)).all()
    graph = skl2onnx.to_onnx(model, X[:1], target_opset=opset)  # with ZipMap
    records = session_of(graph).run(None, {"X": X})[1]
    assert set(records[0]) == set(model.classes_)
    assert records[7]["versicolor"] == probability[7, 1]


def test_skl2onnx_returns_columns_and_deviations_of_regressors():
    X, y = (values[::10] for values in load_diabetes(return_X_y=True))
    fastem.onnx.register_converters()
    model = fitted(make_pipeline(StandardScaler(), REGRESSOR), X, y)
    for options, names in ((None, ["variable"]), ({"return_std": True}, ["variable", "std"])):
        options = options and {id(model[-1]): options}
        session = session_of(skl2onnx.to_onnx(model, X[:1], options=options, target_opset=18))
        assert [output.name for output in session.get_outputs()] == names
        found = session.run(None, {"X": X})
        for values, wanted in zip(found, model.predict(X, return_std=True), strict=False):
            np.testing.assert_allclose(values[:, 0], wanted, rtol=1e-12)


def test_features_of_another_number_or_kind_are_refused():
    X, y = iris()
    fastem.onnx.register_converters()
    model = fitted(CLASSIFIER, X, y)
    with pytest.raises(ValueError, match="has 4 features, and the graph passes 3"):
        skl2onnx.to_onnx(model, X[:1, :3])
    with pytest.raises(ValueError, match="must be one tensor of numbers"):
        skl2onnx.to_onnx(model, np.array([["a", "b", "c", "d"]]))
    with pytest.raises(ValueError, match="must be one tensor of numbers"):
        fastem.to_onnx(model, np.array([["a", "b", "c", "d"]]))


def test_the_example_in_the_docstring_holds():
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(
        fastem.onnx.register_converters, "register_converters", globs={}
    ):
        runner.run(example)
    assert runner.tries > 5
    assert runner.failures == 0
