"""Hidden units as bars and images: the plotted numbers and their names."""

import numpy as np
import pytest
import reference
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from fastem import FastEMClassifier, FastMLPClassifier, HiddenUnitsDisplay, LossCurveDisplay

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")


pytestmark = [
    pytest.mark.usefixtures("figures_closed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def test_bars_and_posterior_by_class():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = FastEMClassifier((3,), max_iter=5, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X, y)
    *bars, heat = display.axes_
    for h, ax in enumerate(bars):
        np.testing.assert_array_equal([b.get_width() for b in ax.patches], model.coefs_[0][:, h])
        assert ax.get_title() == f"unit {h}"
    names = [label.get_text() for label in bars[0].get_yticklabels()]
    assert names == list(X.columns)
    posterior = model.posterior(X, y)
    expected = [posterior[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(heat.images[0].get_array(), np.transpose(expected))
    assert [label.get_text() for label in heat.get_xticklabels()] == ["0", "1", "2"]
    display.figure_.canvas.draw()


def test_pictures_share_a_symmetric_scale():
    X, y = load_digits(return_X_y=True)
    model = FastEMClassifier((8,), max_iter=2, random_state=0).fit(X[:300], y[:300])
    display = HiddenUnitsDisplay.from_estimator(model, max_units=7)
    assert len(display.axes_) == 7
    largest = np.abs(model.coefs_[0][:, :7]).max()
    for h, ax in enumerate(display.axes_):
        picture = ax.images[0]
        np.testing.assert_array_equal(picture.get_array(), model.coefs_[0][:, h].reshape(8, 8))
        assert picture.get_clim() == (-largest, largest)


def test_maxout_shows_both_pieces():
    X, y = load_iris(return_X_y=True)
    model = FastMLPClassifier((3,), "maxout", max_iter=2, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, max_units=2)
    assert display.unit_names == [
        f"unit {h}, {piece}" for h in (0, 1) for piece in ("first", "second")
    ]
    np.testing.assert_array_equal(display.weights, model.coefs_[0][:, [0, 3, 1, 4]])


@pytest.mark.parametrize("sizes", [(3, 4), (3, 2, 2)])
def test_the_first_layer_of_several(sizes):
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier(sizes, max_iter=5, random_state=0).fit(X, y)
    display = HiddenUnitsDisplay.from_estimator(model, X, y)
    *bars, heat = display.axes_
    assert [ax.get_title() for ax in bars] == display.unit_names == ["unit 0", "unit 1", "unit 2"]
    np.testing.assert_array_equal(display.weights, model.coefs_[0])
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
    display = HiddenUnitsDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.weights, model.coefs_[0][:, columns])
    assert len(display.axes_) == len(columns)


def test_learning_curves_of_several_layers():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3, 2), max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.losses[0], model.loss_curve_)


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
    with pytest.raises(ValueError, match="has no posterior"):
        draw(model, X, y)
    with pytest.raises(ValueError, match="belong together"):
        draw(model, X)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": [1.0]}, "weights must have shape"),
        ({"weights": np.ones((4, 2)), "image_shape": (3, 3)}, "does not match 4 features"),
        ({"weights": np.ones((4, 2)), "image_shape": "square"}, "image_shape must be"),
        ({"weights": np.ones((4, 2)), "unit_names": ["a"]}, "a list of 2"),
        ({"weights": np.ones((4, 2)), "activations": np.ones((3, 2))}, "one row per unit"),
    ],
)
def test_data_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        HiddenUnitsDisplay(**options)


def test_learning_curves_against_seconds():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3,), max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model, x="seconds")
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), model.loss_curve_seconds_)
    assert display.ax_.get_xlabel() == "wall time (seconds)"
    with pytest.raises(ValueError, match="x must be 'iterations' or 'seconds'"):
        LossCurveDisplay.from_estimator(model, x="hours")
    del model.loss_curve_seconds_
    with pytest.raises(ValueError, match="has not recorded a time"):
        LossCurveDisplay.from_estimator(model, x="seconds")
