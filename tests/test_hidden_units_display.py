"""Hidden units as bars and images: the plotted numbers and their names."""

import numpy as np
import pytest
import reference
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from fastem import (
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    HiddenUnitsDisplay,
    LossCurveDisplay,
)

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")


pytestmark = [
    pytest.mark.usefixtures("figures_closed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def assert_scaled(display, model, X, columns=slice(None)):
    """The bars are the weights times the standard deviations of the rows in training."""
    expected = model.coefs_[0][:, columns] * np.std(X, axis=0)[:, None]
    np.testing.assert_allclose(display.weights, expected, rtol=1e-9)


def test_bars_and_posterior_by_class():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = FastEMClassifier((3,), alpha=0.15, max_iter=5, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X, y)
    *bars, following, heat = display.axes_
    scaled = model.coefs_[0] * X.to_numpy().std(axis=0)[:, None]
    for h, ax in enumerate(bars):
        widths = [b.get_width() for b in ax.patches]
        np.testing.assert_allclose(widths, scaled[:, h], rtol=1e-12)
        assert ax.get_title() == f"unit {h}"
    label = "weight times standard deviation\nof the feature (log-odds)"
    assert display.weight_label == display.figure_.subfigs[0].get_supxlabel() == label
    np.testing.assert_array_equal(following.images[0].get_array(), model.coefs_[1])
    largest = np.abs(model.coefs_[1]).max()
    assert following.images[0].get_clim() == (-largest, largest)
    assert [label.get_text() for label in following.get_xticklabels()] == ["0", "1", "2"]
    assert (following.get_xlabel(), following.get_title()) == ("class", "weights out of the units")
    names = [label.get_text() for label in bars[0].get_yticklabels()]
    assert names == list(X.columns)
    posterior = model.posterior(X, y)
    expected = [posterior[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(heat.images[0].get_array(), np.transpose(expected))
    assert [label.get_text() for label in heat.get_xticklabels()] == ["0", "1", "2"]
    display.figure_.canvas.draw()


def test_pictures_share_a_symmetric_scale():
    X, y = load_digits(return_X_y=True)
    model = FastEMClassifier((8,), alpha=0.15, max_iter=2, random_state=0).fit(X[:300], y[:300])
    display = HiddenUnitsDisplay.from_estimator(model, max_units=7)
    *units, following = display.axes_
    assert len(units) == 7
    scaled = model.coefs_[0][:, :7] * X[:300].std(axis=0)[:, None]
    largest = np.abs(scaled).max()
    for h, ax in enumerate(units):
        picture = ax.images[0]
        np.testing.assert_allclose(picture.get_array(), scaled[:, h].reshape(8, 8), rtol=1e-12)
        np.testing.assert_allclose(picture.get_clim(), (-largest, largest), rtol=1e-12)
    np.testing.assert_array_equal(following.images[0].get_array(), model.coefs_[1][:7])
    label = "weight times standard deviation\nof the pixel (log-odds)"
    assert display.weight_label == label


def test_pictures_without_deviations_show_the_weights():
    X, y = load_digits(return_X_y=True)
    model = MLPClassifier((3,), max_iter=2, random_state=0).fit(X[:300], y[:300])
    display = HiddenUnitsDisplay.from_estimator(model)
    picture = display.axes_[0].images[0]
    np.testing.assert_array_equal(picture.get_array(), model.coefs_[0][:, 0].reshape(8, 8))
    assert display.weight_label == "weight"
    scaled = HiddenUnitsDisplay.from_estimator(model, X[:300])
    expected = model.coefs_[0] * X[:300].std(axis=0)[:, None]
    np.testing.assert_allclose(scaled.weights, expected, rtol=1e-9, atol=1e-12)
    assert scaled.weight_label == "weight times standard deviation\nof the pixel"


def test_a_table_with_a_square_number_of_features_has_bars():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 16))
    model = FastEMClassifier((2,), alpha=0.15, max_iter=2, random_state=0).fit(X, X[:, 0] > 0.0)
    draw = HiddenUnitsDisplay.from_estimator
    assert draw(model).image_shape is None
    assert draw(model, image_shape=(2, 8)).image_shape == (2, 8)
    assert HiddenUnitsDisplay(weights=np.ones((64, 1)), image_shape="auto").image_shape == (8, 8)


def test_maxout_shows_both_pieces():
    X, y = load_iris(return_X_y=True)
    model = FastMLPClassifier((3,), "maxout", max_iter=2, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X, max_units=2)
    assert display.unit_names == [
        f"unit {h}, {piece}" for h in (0, 1) for piece in ("first", "second")
    ]
    assert_scaled(display, model, X, [0, 3, 1, 4])
    np.testing.assert_array_equal(display.next_weights, model.coefs_[1][[0, 0, 1, 1]])


@pytest.mark.parametrize("sizes", [(3, 4), (3, 2, 2)])
def test_the_first_layer_of_several(sizes):
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier(sizes, alpha=0.15, max_iter=5, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X, y)
    *bars, following, heat = display.axes_
    assert [ax.get_title() for ax in bars] == display.unit_names == ["unit 0", "unit 1", "unit 2"]
    assert_scaled(display, model, X)
    np.testing.assert_array_equal(following.images[0].get_array(), model.coefs_[1])
    assert following.get_xlabel() == "unit of layer 2"
    assert display.next_names == [str(j) for j in range(sizes[1])]
    posterior = reference.e_step(X, y, model.coefs_, model.intercepts_)["hidden_posterior"]
    expected = [posterior[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(heat.images[0].get_array(), np.transpose(expected), rtol=1e-8)
    few = HiddenUnitsDisplay.from_estimator(model, X, y, max_units=2)
    np.testing.assert_allclose(few.activations, display.activations[:2])
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("activation", "columns"),
    [("relu", [0, 1, 2]), (("tanh", "maxout"), [0, 1, 2]), (["maxout", "elu"], [0, 3, 1, 4, 2, 5])],
)
def test_the_first_layer_of_a_deep_perceptron(activation, columns):
    X, y = load_iris(return_X_y=True)
    model = FastMLPClassifier((3, 2), activation, max_iter=2, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X)
    assert_scaled(display, model, X, columns)
    assert len(display.axes_) == len(columns) + 1


def test_learning_curves_of_several_layers():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3, 2), alpha=0.15, max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.losses[0], model.data_loss_curve_)


def test_bars_agree_with_permutation_importance():
    X, y = load_breast_cancer(return_X_y=True)
    model = FastEMClassifier((5,), alpha=0.15, max_iter=100, random_state=0).fit(X, y)
    importance = permutation_importance(
        model, X, y, scoring="neg_log_loss", n_repeats=5, random_state=0
    ).importances_mean
    display = HiddenUnitsDisplay.from_estimator(model)
    heights = np.abs(display.weights).sum(axis=1)
    assert spearmanr(heights, importance)[0] > 0.5
    assert spearmanr(np.abs(model.coefs_[0]).sum(axis=1), importance)[0] < 0.3


def test_bars_do_not_depend_on_the_unit_of_a_feature():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), alpha=0.15, max_iter=5, random_state=0)
    first = HiddenUnitsDisplay.from_estimator(model.fit(X, y)).weights
    second = HiddenUnitsDisplay.from_estimator(model.fit(X * [1e-3, 1.0, 5.0, 1e6], y)).weights
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize("kind", [MLPClassifier, FastMLPClassifier])
def test_a_pipeline_names_features_and_classes(kind):
    X, y = load_iris(return_X_y=True, as_frame=True)
    y = load_iris().target_names[y]
    scaled = make_pipeline(
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        kind((3,), max_iter=2, random_state=0),
    ).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(scaled)
    np.testing.assert_allclose(display.weights, scaled[-1].coefs_[0], rtol=1e-12)
    assert display.feature_names[:2] == ["sepal length (cm)", "sepal width (cm)"]
    assert display.feature_names[-1] == "petal width (cm)^2"
    assert display.next_names == ["setosa", "versicolor", "virginica"]
    assert display.weight_label == "weight times standard deviation\nof the feature"
    np.testing.assert_array_equal(display.next_weights, scaled[-1].coefs_[1])
    display.figure_.canvas.draw()

    raw = make_pipeline(PolynomialFeatures(2), kind((3,), max_iter=2, random_state=0)).fit(X, y)
    with pytest.raises(ValueError, match="does not contain these deviations"):
        HiddenUnitsDisplay.from_estimator(raw)
    display = HiddenUnitsDisplay.from_estimator(raw, X)
    features = PolynomialFeatures(2).fit_transform(X)
    assert_scaled(display, raw[-1], features)
    assert (display.weights[0] == 0.0).all()  # the column of ones


def test_posterior_in_a_pipeline_whose_steps_have_no_names():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(
        FunctionTransformer(np.sqrt), FastEMClassifier((2,), alpha=0.15, max_iter=3, random_state=0)
    ).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(pipeline, X, y)
    posterior = pipeline[-1].posterior(np.sqrt(X), y)
    expected = [posterior[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(display.activations, np.transpose(expected))
    assert display.feature_names == [f"feature {j}" for j in range(4)]
    assert_scaled(display, pipeline[-1], np.sqrt(X))
    alone = make_pipeline(FastEMClassifier((2,), alpha=0.15, max_iter=3, random_state=0)).fit(X, y)
    assert_scaled(HiddenUnitsDisplay.from_estimator(alone, X, y), alone[-1], X)


def test_a_scaler_without_scaling_gives_no_deviations():
    X, y = load_iris(return_X_y=True)
    network = MLPClassifier((2,), max_iter=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(with_std=False), network).fit(X, y)
    with pytest.raises(ValueError, match="does not contain these deviations"):
        HiddenUnitsDisplay.from_estimator(pipeline)
    assert_scaled(HiddenUnitsDisplay.from_estimator(pipeline, X), network, X)
    constant = np.column_stack([X, np.ones(len(X))])
    pipeline = make_pipeline(StandardScaler(), network).fit(constant, y)
    assert (HiddenUnitsDisplay.from_estimator(pipeline).weights[-1] == 0.0).all()


def test_sparse_rows_give_deviations():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), alpha=0.15, max_iter=2, random_state=0).fit(csr_matrix(X), y)
    display = HiddenUnitsDisplay.from_estimator(model, csr_matrix(X), y)
    assert_scaled(display, model, X)
    dense = HiddenUnitsDisplay.from_estimator(model, X, y)
    np.testing.assert_allclose(display.activations, dense.activations)
    model = MLPClassifier((2,), max_iter=2, random_state=0).fit(csr_matrix(X), y)
    assert_scaled(HiddenUnitsDisplay.from_estimator(model, csr_matrix(X)), model, X)


def test_regressors():
    X, y = load_diabetes(return_X_y=True)
    for model in (
        FastEMRegressor((2,), alpha=0.5, max_iter=3, random_state=0),
        MLPRegressor(hidden_layer_sizes=(2,), max_iter=3, random_state=0),
    ):
        display = HiddenUnitsDisplay.from_estimator(model.fit(X, np.c_[y, -y]), X)
        assert (display.next_label, display.next_names) == ("output", ["0", "1"])
        np.testing.assert_array_equal(display.next_weights, model.coefs_[1])
        assert_scaled(display, model, X)


def test_two_classes_of_a_perceptron_have_one_column():
    X, y = load_breast_cancer(return_X_y=True)
    model = MLPClassifier((2,), max_iter=2, random_state=0).fit(X, np.array(["no", "yes"])[y])
    assert HiddenUnitsDisplay.from_estimator(model, X).next_names == ["yes"]


def test_activations_with_several_labels_per_row():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    Y = (X[:, :2] + rng.normal(size=(80, 2)) > 0.3).astype(int)
    model = FastEMClassifier((2,), alpha=0.15, max_iter=3, random_state=0).fit(X, Y)
    posterior = model.posterior(X, Y)
    expected = np.transpose([posterior[Y[:, k] == 1].mean(axis=0) for k in range(2)])
    for labels in (Y, csr_matrix(Y)):
        display = HiddenUnitsDisplay.from_estimator(model, X, labels)
        np.testing.assert_allclose(display.activations, expected)
        assert display.classes.tolist() == [0, 1]


# --- the deviations that estimators by EM contain ---------------------------------------------


@pytest.mark.parametrize("solver", ["em", "lbfgs", "adam"])
@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"fit_intercept": False}])
def test_deviations_of_the_features(solver, options):
    X, y = load_iris(return_X_y=True)
    X = np.column_stack([X, np.full(len(X), 0.1)])  # the mean of a constant is not exact
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    shared = {"alpha": 0.15, "max_iter": 2, "random_state": 0}
    model = FastEMClassifier((2,), solver=solver, **shared, **options)
    expected = np.repeat(X, weights, axis=0).std(axis=0)
    for rows in (X, csr_matrix(X)):
        deviation = model.fit(rows, y, sample_weight=weights).feature_deviation_
        np.testing.assert_allclose(deviation[:4], expected[:4], rtol=1e-12)
        assert deviation[4] == 0.0


def test_deviations_after_later_calls():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), alpha=0.15, solver="adam", max_iter=2, random_state=0)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        np.testing.assert_allclose(model.feature_deviation_, X[::2].std(axis=0))
    model = FastEMClassifier((2,), alpha=0.15, warm_start=True, max_iter=2, random_state=0).fit(
        X, y
    )
    np.testing.assert_allclose(model.fit(X[::2], y[::2]).feature_deviation_, X.std(axis=0))
    model.set_params(warm_start=False)
    np.testing.assert_allclose(model.fit(2.0 * X, y).feature_deviation_, 2.0 * X.std(axis=0))


def test_deviations_in_model_files(tmp_path):
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), alpha=0.15, max_iter=2, random_state=0).fit(X, y)
    model.save(tmp_path / "model")
    read = FastEMClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(read.feature_deviation_, model.feature_deviation_)

    del model.feature_deviation_  # as in files of versions without deviations
    model.save(tmp_path / "older")
    older = FastEMClassifier.load(tmp_path / "older")
    assert not hasattr(older, "feature_deviation_")
    with pytest.raises(ValueError, match="FastEMClassifier does not contain these deviations"):
        HiddenUnitsDisplay.from_estimator(older)
    assert_scaled(HiddenUnitsDisplay.from_estimator(older, X), older, X)

    model.feature_deviation_ = np.ones(3)
    model.save(tmp_path / "damaged")
    with pytest.raises(ValueError, match=r"damaged.*deviations for 4 features"):
        FastEMClassifier.load(tmp_path / "damaged")


# --- errors ---------------------------------------------------------------------------------


def test_what_cannot_be_drawn():
    X, y = load_iris(return_X_y=True)
    draw = HiddenUnitsDisplay.from_estimator
    with pytest.raises(NotFittedError):
        draw(FastEMClassifier())
    with pytest.raises(TypeError, match="Got LogisticRegression"):
        draw(LogisticRegression())
    model = FastMLPClassifier((), max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="no hidden layer"):
        draw(model)
    with pytest.raises(TypeError, match="Got str"):
        draw(make_pipeline(StandardScaler(), "passthrough").fit(X))
    with pytest.raises(NotFittedError):
        draw(make_pipeline(StandardScaler(), FastEMClassifier()))
    model = FastMLPClassifier((2,), max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="Got y for a FastMLPClassifier: do not pass y"):
        draw(model, X, y)
    with pytest.raises(ValueError, match="y holds the labels of X: pass X too"):
        draw(model, y=y)
    with pytest.raises(ValueError, match=r"FastMLPClassifier does not contain.*Pass the training"):
        draw(model)
    with pytest.raises(ValueError, match="X has 3 features, and the network has 4"):
        draw(model, X[:, :3])
    with pytest.raises(ValueError, match="contains NaN"):
        draw(model, X * np.nan)
    with pytest.raises(ValueError, match="max_units must be at least 1"):
        draw(model, X, max_units=0)
    regressor = FastEMRegressor((2,), alpha=0.5, max_iter=2, random_state=0).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Got y for a FastEMRegressor"):
        draw(regressor, X, X[:, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": [1.0]}, "weights must have shape"),
        ({"weights": np.ones((4, 2)), "image_shape": (3, 3)}, "does not match 4 features"),
        ({"weights": np.ones((4, 2)), "image_shape": "square"}, "image_shape must be"),
        ({"weights": np.ones((4, 2)), "unit_names": ["a"]}, "a list of 2"),
        ({"weights": np.ones((4, 2)), "activations": np.ones((3, 2))}, "one row per unit"),
        ({"weights": np.ones((4, 2)), "activations": np.ones((2, 2)), "classes": [1]}, "Got 1 cla"),
        ({"weights": np.ones((4, 2)), "next_weights": np.ones(2)}, r"next_weights.*\(2, n_next\)"),
        (
            {"weights": np.ones((4, 2)), "next_weights": np.ones((2, 3)), "next_names": ["a"]},
            "next_names must be a list of 3",
        ),
    ],
)
def test_data_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        HiddenUnitsDisplay(**options)


def test_learning_curves_against_seconds():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3,), alpha=0.15, max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model, x="seconds")
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), model.loss_curve_seconds_)
    assert display.ax_.get_xlabel() == "wall time (seconds)"
    with pytest.raises(ValueError, match="x must be 'iterations' or 'seconds'"):
        LossCurveDisplay.from_estimator(model, x="hours")
    del model.loss_curve_seconds_
    with pytest.raises(ValueError, match="has not recorded a time"):
        LossCurveDisplay.from_estimator(model, x="seconds")
