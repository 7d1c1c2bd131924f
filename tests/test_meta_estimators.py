"""Meta-estimators, searches and tools of scikit-learn around the four estimators."""

import numpy as np
import pytest
import sklearn
from sklearn import (
    calibration,
    ensemble,
    feature_selection,
    inspection,
    model_selection,
    multiclass,
    multioutput,
    semi_supervised,
)
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier, FastMLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:The fit predicts the same", "ignore:The noise variance"),
]
X, Y = (part[::2] for part in load_iris(return_X_y=True))
X = StandardScaler().fit_transform(X)
XR, YR = (part[:80] for part in load_diabetes(return_X_y=True))
XR, YR = 20.0 * XR, YR / 100.0
LABELS = np.column_stack([Y == 0, Y == 1, X[:, 0] > 0.0]).astype(int)
NUMBERS = np.column_stack([YR, XR[:, 2]])


def em(**options):
    return FastEMClassifier(
        (2,), **{"alpha": 0.1, "max_iter": 30, "random_state": 0, "n_jobs": 1, **options}
    )


PERCEPTRON = {"learning_rate_init": 0.03, "max_iter": 80, "random_state": 0}


def mlp(**options):
    return FastMLPClassifier((6,), **PERCEPTRON | options)


def em_regressor(**options):
    return FastEMRegressor(
        (2,),
        **{"alpha": 0.1, "variance_floor": 0.2, "max_iter": 30, "random_state": 0, "n_jobs": 1}
        | options,
    )


def mlp_regressor(**options):
    return FastMLPRegressor("squared_error", (6,), **PERCEPTRON | {"alpha": 1.0} | options)


classifiers = pytest.mark.parametrize("make", [em, mlp])
regressors = pytest.mark.parametrize("make", [em_regressor, mlp_regressor])
everything = pytest.mark.parametrize("make", [em, mlp, em_regressor, mlp_regressor])


def rows_for(model):
    return (X, Y) if sklearn.base.is_classifier(model) else (XR, YR)


def check_probabilities(model, least=0.85):
    p = model.predict_proba(X)
    assert p.shape == (len(X), 3)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert model.score(X, Y) > least


# Several binary problems, several outputs


@classifiers
def test_one_against_the_rest_is_one_fit_per_class(make):
    model = multiclass.OneVsRestClassifier(make()).fit(X, Y)
    check_probabilities(model)
    own = make().fit(X, Y == 1).predict_proba(X)[:, 1]
    np.testing.assert_array_equal(model.estimators_[1].predict_proba(X)[:, 1], own)


@classifiers
def test_one_against_one_is_one_fit_per_pair(make):
    model = multiclass.OneVsOneClassifier(make()).fit(X, Y)
    assert model.score(X, Y) > 0.9
    pair = Y < 2
    own = make().fit(X[pair], Y[pair]).predict(X)
    np.testing.assert_array_equal(model.estimators_[0].predict(X), own)


@classifiers
def test_error_correcting_codes(make):
    model = multiclass.OutputCodeClassifier(make(), code_size=3, random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.8


@classifiers
def test_several_labels_are_one_fit_each(make):
    model = multioutput.MultiOutputClassifier(make()).fit(X, LABELS)
    own = make().fit(X, LABELS[:, 1]).predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X)[1], own)
    assert (model.predict(X) == LABELS).mean() > 0.85


@regressors
def test_several_numbers_are_one_fit_each(make):
    model = multioutput.MultiOutputRegressor(make()).fit(XR, NUMBERS)
    np.testing.assert_array_equal(
        model.predict(XR)[:, 1], make().fit(XR, NUMBERS[:, 1]).predict(XR)
    )


def test_several_outputs_by_partial_fit():
    for model, rows, y, options in (
        (
            multioutput.MultiOutputClassifier(em(solver="adam")),
            X,
            LABELS,
            {"classes": [[0, 1]] * 3},
        ),
        (
            multioutput.MultiOutputClassifier(mlp(solver="adam")),
            X,
            LABELS,
            {"classes": [[0, 1]] * 3},
        ),
        (multioutput.MultiOutputRegressor(em_regressor(solver="adam")), XR, NUMBERS, {}),
    ):
        model.partial_fit(rows, y, **options)
        model.partial_fit(rows, y)
        assert np.isfinite(model.predict(rows)).all()
    both = multiclass.OneVsRestClassifier(em(solver="adam"))
    both.partial_fit(X, Y, classes=[0, 1, 2])
    both.partial_fit(X[Y == 0], Y[Y == 0])
    assert both.predict_proba(X).shape == (len(X), 3)


@classifiers
def test_chain_of_labels(make):
    model = multioutput.ClassifierChain(make(), order=[0, 1, 2]).fit(X, LABELS)
    np.testing.assert_array_equal(
        model.predict_proba(X)[:, 0], make().fit(X, LABELS[:, 0]).predict_proba(X)[:, 1]
    )
    assert (model.predict(X) == LABELS).mean() > 0.85


@regressors
def test_chain_of_numbers(make):
    model = multioutput.RegressorChain(make(), order=[0, 1]).fit(XR, NUMBERS)
    np.testing.assert_array_equal(model.predict(XR)[:, 0], make().fit(XR, YR).predict(XR))


# Ensembles


@everything
def test_bagging(make):
    rows, y = rows_for(make())
    kind = "Classifier" if y is Y else "Regressor"
    bag = getattr(ensemble, f"Bagging{kind}")(make(), 3, random_state=0).fit(rows, y)
    assert bag.score(rows, y) > (0.85 if y is Y else 0.2)
    if y is Y:
        check_probabilities(bag)
    whole = getattr(ensemble, f"Bagging{kind}")(make(), 1, bootstrap=False).fit(rows, y)
    own = make(random_state=whole.estimators_[0].random_state).fit(rows, y)
    np.testing.assert_allclose(whole.predict(rows), own.predict(rows))


def test_bagging_of_perceptrons_that_see_one_class():
    bag = ensemble.BaggingClassifier(mlp(), 5, max_samples=1, random_state=0).fit(X, Y)
    np.testing.assert_allclose(bag.predict_proba(X).sum(axis=1), 1.0)


def test_boosting_needs_a_penalty_that_is_chosen():
    # AdaBoost passes weights that sum to one
    model = ensemble.AdaBoostClassifier(em(alpha="auto"), n_estimators=3, random_state=0)
    check_probabilities(model.fit(X, Y), 0.95)


@regressors
def test_boosting_of_regressors(make):
    model = ensemble.AdaBoostRegressor(make(), n_estimators=3, random_state=0).fit(XR, YR)
    assert model.score(XR, YR) > 0.2


@everything
def test_voting(make):
    rows, y = rows_for(make())
    if y is Y:
        model = ensemble.VotingClassifier(
            [("a", make()), ("b", LogisticRegression())], voting="soft"
        )
        check_probabilities(model.fit(rows, y))
        parts = [make(), LogisticRegression()]
        mean = sum(part.fit(rows, y).predict_proba(rows) for part in parts) / 2.0
        np.testing.assert_allclose(model.predict_proba(rows), mean)
    else:
        model = ensemble.VotingRegressor([("a", make()), ("b", LinearRegression())]).fit(rows, y)
        parts = [make(), LinearRegression()]
        mean = sum(part.fit(rows, y).predict(rows) for part in parts) / 2.0
        np.testing.assert_allclose(model.predict(rows), mean)


@everything
def test_stacking(make):
    rows, y = rows_for(make())
    kind = "Classifier" if y is Y else "Regressor"
    model = getattr(ensemble, f"Stacking{kind}")([("a", make())], cv=2).fit(rows, y)
    assert model.score(rows, y) > (0.85 if y is Y else 0.2)


# Calibration, thresholds, unlabelled rows


@classifiers
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration(make, method):
    check_probabilities(
        calibration.CalibratedClassifierCV(make(), method=method, cv=2).fit(X, Y), 0.8
    )


@classifiers
def test_calibration_of_a_frozen_model_does_not_fit_again(make):
    fitted = make().fit(X, Y)
    before = [W.copy() for W in fitted.coefs_]
    check_probabilities(calibration.CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X, Y), 0.8)
    for now, then in zip(fitted.coefs_, before, strict=True):
        np.testing.assert_array_equal(now, then)


@classifiers
def test_thresholds(make):
    y = (Y == 0).astype(int)
    fixed = model_selection.FixedThresholdClassifier(make(), threshold=0.2).fit(X, y)
    expected = (make().fit(X, y).predict_proba(X)[:, 1] >= 0.2).astype(int)
    np.testing.assert_array_equal(fixed.predict(X), expected)
    tuned = model_selection.TunedThresholdClassifierCV(make(), cv=2, thresholds=5).fit(X, y)
    assert 0.0 <= tuned.best_threshold_ <= 1.0


@classifiers
def test_labels_of_rows_without_labels(make):
    y = np.where(np.arange(len(Y)) % 3 > 0, -1, Y)
    model = semi_supervised.SelfTrainingClassifier(make(), max_iter=3).fit(X, y)
    check_probabilities(model, 0.8)


# Choice of features


@everything
def test_sequential_selection_of_features(make):
    rows, y = rows_for(make())
    model = feature_selection.SequentialFeatureSelector(make(), n_features_to_select=1, cv=2)
    kept = model.fit(rows[:, :3] if y is not Y else rows, y).get_support()
    assert kept.sum() == 1
    if y is Y:
        assert kept[2:].any()  # the petals


def weights_of_first_layer(model):
    return np.abs(model.coefs_[0]).sum(axis=1)


@everything
def test_weights_as_importances(make):
    rows, y = rows_for(make())
    for model in (
        feature_selection.RFE(
            make(), n_features_to_select=2, importance_getter=weights_of_first_layer
        ),
        feature_selection.SelectFromModel(
            make(), importance_getter=weights_of_first_layer, max_features=2, threshold=-np.inf
        ),
    ):
        assert model.fit(rows, y).transform(rows).shape == (len(rows), 2)
    with pytest.raises(ValueError, match="importance_getter"):
        feature_selection.SelectFromModel(make()).fit(rows, y).transform(rows)


def test_features_are_eliminated_by_cross_validation():
    model = feature_selection.RFECV(em(), cv=2, importance_getter=weights_of_first_layer).fit(X, Y)
    assert 1 <= model.n_features_ <= 4


# Searches and curves


@everything
def test_searches(make):
    rows, y = rows_for(make())
    grid = {"alpha": [0.1, 10000.0]}
    for search in (
        model_selection.GridSearchCV(make(), grid, cv=2),
        model_selection.RandomizedSearchCV(make(), grid, n_iter=2, cv=2),
        model_selection.HalvingGridSearchCV(make(), grid, cv=2, min_resources=30, random_state=0),
    ):
        search.fit(rows, y)
        assert search.best_params_ == {"alpha": 0.1} or y is YR
        best = make(**search.best_params_).fit(rows, y)
        np.testing.assert_array_equal(search.predict(rows), best.predict(rows))


@everything
def test_curves_and_scores(make):
    rows, y = rows_for(make())
    scores = model_selection.cross_validate(
        make(), rows, y, cv=3, return_train_score=True, return_estimator=True
    )
    assert scores["test_score"].mean() > (0.85 if y is Y else -0.5)
    assert scores["estimator"][0].n_features_in_ == rows.shape[1]
    _, train, test = model_selection.learning_curve(
        make(), rows, y, cv=2, train_sizes=[0.5, 1.0], shuffle=True, random_state=0
    )
    assert train.shape == test.shape == (2, 2)
    _, test = model_selection.validation_curve(
        make(), rows, y, param_name="alpha", param_range=[0.1, 1e4], cv=2
    )
    assert test[0].mean() > test[1].mean()
    score, chance, p = model_selection.permutation_test_score(
        make(), rows, y, cv=2, n_permutations=5, random_state=0
    )
    assert score > chance.mean()
    assert p < 0.5
    values = model_selection.cross_val_predict(make(), rows, y, cv=2)
    assert values.shape == y.shape


@everything
def test_importances_and_dependence(make):
    rows, y = rows_for(make())
    model = make().fit(rows, y)
    found = inspection.permutation_importance(model, rows, y, n_repeats=2, random_state=0)
    assert found.importances_mean.max() > 0.02
    grid = inspection.partial_dependence(model, rows, [2], grid_resolution=5, kind="average")
    assert np.isfinite(grid["average"]).all()


# Targets, pipelines, frames


@regressors
def test_transformed_targets(make):
    model = TransformedTargetRegressor(make(), func=np.log, inverse_func=np.exp).fit(XR, YR)
    own = np.exp(make().fit(XR, np.log(YR)).predict(XR))
    np.testing.assert_allclose(model.predict(XR), own)


@pytest.mark.parametrize("make", [em, em_regressor])
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_pipeline_of_frames(make, kind):
    pytest.importorskip(kind)
    rows, y = rows_for(make())
    pipeline = make_pipeline(StandardScaler(), make()).set_output(transform=kind).fit(rows, y)
    frame = pipeline.transform(rows)
    names = [f"{type(make()).__name__.lower()}{i}" for i in range(2)]
    assert list(frame.columns) == pipeline.get_feature_names_out().tolist() == names
    bare = make_pipeline(StandardScaler(), make()).fit(rows, y)
    np.testing.assert_array_equal(np.asarray(frame), bare.transform(rows))


@everything
def test_metadata_are_routed(make):
    rows, y = rows_for(make())
    weights = np.linspace(0.5, 2.0, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        model = make().set_fit_request(
            sample_weight=True, X_val=True, y_val=True, sample_weight_val=True
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        X_val = StandardScaler().fit(rows).transform(rows)
        pipeline.fit(
            rows, y, sample_weight=weights, X_val=X_val, y_val=y, sample_weight_val=weights
        )
        scores = model_selection.cross_validate(
            make().set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
            rows, y, cv=2, params={"sample_weight": weights},
        )  # fmt: skip
    own = make().fit(X_val, y, weights, X_val=X_val, y_val=y, sample_weight_val=weights)
    np.testing.assert_array_equal(pipeline.predict(rows), own.predict(X_val))
    assert own.validation_loss_curve_ == pipeline[-1].validation_loss_curve_
    assert np.isfinite(scores["test_score"]).all()
    assert clone(model).get_metadata_routing().fit.requests["sample_weight"] is True


@classifiers
def test_threads_inside_of_processes(make):
    options = {"n_jobs": 2} if make is em else {}
    models = [
        ensemble.BaggingClassifier(make(**options), 2, random_state=0, n_jobs=n_jobs).fit(X, Y)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in models))
