"""The choice of the penalty: the plotted numbers, and calibration with scikit-learn's display."""

import io

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibrationDisplay, calibration_curve
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, PenaltyDisplay

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")

pytestmark = [
    pytest.mark.usefixtures("figures_closed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

nan = np.nan
PATH = {
    "alpha": [5.0, 0.05, 0.5],
    "leave_one_out": [-0.6, nan, -0.4],
    "cross_validation": [nan, -0.5, nan],
    "training": [-0.55, -0.1, -0.3],
    "effective_parameters": [3.0, 30.0, 12.0],
}


class Chooser(BaseEstimator):
    """An estimator that has chosen its penalty."""

    def __init__(self, alpha="auto"):
        self.alpha = alpha

    def fit(self, X, y):
        self.alpha_path_ = {name: np.array(values) for name, values in PATH.items()}
        self.alpha_ = 0.5
        return self


def points(line):
    return list(zip(*map(list, line.get_data()), strict=True))


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_path_of_an_estimator(ax):
    for estimator in (Chooser(), make_pipeline(StandardScaler(), Chooser())):
        display = PenaltyDisplay.from_estimator(estimator.fit(np.eye(2), [0, 1]), ax=ax)
    lines = display.lines_
    assert points(lines["leave_one_out"]) == [(0.5, -0.4), (5.0, -0.6)]
    assert points(lines["cross_validation"]) == [(0.05, -0.5)]
    assert points(lines["training"]) == [(0.05, -0.1), (0.5, -0.3), (5.0, -0.55)]
    assert points(lines["effective_parameters"]) == [(0.05, 30.0), (0.5, 12.0), (5.0, 3.0)]
    assert lines["chosen"].get_xdata() == [0.5, 0.5]
    assert lines["effective_parameters"].axes is display.parameters_ax_ is not ax
    assert display.parameters_ax_.get_ylim()[0] == 0.0
    assert ax is display.ax_ is lines["training"].axes
    assert display.figure_ is ax.figure
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "penalty alpha"
    assert ax.get_ylabel() == "mean log-likelihood (nats per row)"
    assert legend(ax) == [
        "approximate leave-one-out",
        "cross-validation",
        "training rows",
        "effective parameters (right)",
        "chosen: 0.5",
    ]
    ax.figure.savefig(io.BytesIO())


def test_a_new_figure_and_columns_without_values():
    display = PenaltyDisplay(
        alpha=[1.0, 2.0], leave_one_out=[-0.3, -0.2], cross_validation=[nan, nan]
    ).plot()
    assert list(display.lines_) == ["leave_one_out"]
    assert display.parameters_ax_ is None
    assert display.ax_.get_title() == "Choice of the penalty"
    display.figure_.savefig(io.BytesIO())


def test_very_low_scores_are_cut_off(ax):
    display = PenaltyDisplay(
        alpha=[0.01, 0.1, 1.0], leave_one_out=[-90.0, -0.5, -0.7], training=[-0.1, -0.3, -0.6]
    )
    display.plot(ax)
    low, high = ax.get_ylim()
    assert -1.2 < low < -1.1  # the lowest training score less the range of training scores
    assert -0.1 < high < 0.0
    assert display.lines_["leave_one_out"].get_ydata()[0] == -90.0


def test_the_best_score_of_each_kind_is_visible(ax):
    display = PenaltyDisplay(
        alpha=[0.01, 0.1, 1.0],
        leave_one_out=[-0.724, -0.723, -0.731],
        cross_validation=[-50.0, -0.75, nan],
        training=[-0.697, -0.698, -0.709],
        effective_parameters=[23.0, 22.0, 21.0],
    )
    low, high = display.plot(ax).ax_.get_ylim()
    assert -0.85 < low < -0.75
    assert -0.697 < high < -0.68
    only = PenaltyDisplay(alpha=[0.01, 0.1], leave_one_out=[-90.0, -0.7]).plot(ax)
    assert only.lines_["leave_one_out"].get_ydata().tolist() == [-90.0, -0.7]
    parameters = PenaltyDisplay(alpha=[0.01, 0.1], effective_parameters=[2.0, 1.0]).plot()
    assert list(parameters.lines_) == ["effective_parameters"]


def test_scores_of_one_range_are_all_visible(ax):
    display = PenaltyDisplay(alpha=[1.0, 2.0], leave_one_out=[-0.9, -0.8], training=[-0.5, -0.7])
    low, _ = display.plot(ax).ax_.get_ylim()
    assert low < -0.9


def test_a_title_that_is_there_stays(ax):
    ax.set_title("mine")
    PenaltyDisplay(alpha=[1.0], training=[-0.5]).plot(ax)
    assert ax.get_title() == "mine"


def test_what_has_no_path():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(NotFittedError):
        PenaltyDisplay.from_estimator(FastEMClassifier())
    model = FastEMClassifier((2,), alpha=0.5, max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"FastEMClassifier has no alpha_path_.*Its alpha is 0.5"):
        PenaltyDisplay.from_estimator(model)
    with pytest.raises(ValueError, match=r"StandardScaler has no alpha_path_.*alpha='auto'"):
        PenaltyDisplay.from_estimator(StandardScaler().fit(X))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 1.0, "training": [1.0]}, "alpha must be a vector"),
        ({"alpha": [], "training": []}, "alpha must be a vector of at least one penalty"),
        (
            {"alpha": [0.0, 1.0], "training": [1.0, 2.0]},
            r"alpha must be pos.*Got \[0.0, 1.0\]",
        ),
        ({"alpha": [nan], "training": [1.0]}, "alpha must be positive and finite"),
        ({"alpha": [1.0], "training": [1.0], "chosen": -1.0}, "chosen must be positive"),
        (
            {"alpha": [1.0, 2.0], "training": [1.0]},
            "training must have one value for each",
        ),
        ({"alpha": [1.0]}, "no score has a finite value"),
        ({"alpha": [1.0], "training": [nan]}, "no score has a finite value"),
    ],
)
def test_data_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        PenaltyDisplay(**options)


# --- calibration, by scikit-learn -----------------------------------------------------------


def test_calibration_of_two_classes(ax):
    X, y = load_breast_cancer(return_X_y=True)
    model = FastEMClassifier((3,), max_iter=20, random_state=0).fit(X[::2], y[::2])
    display = CalibrationDisplay.from_estimator(model, X[1::2], y[1::2], n_bins=4, ax=ax)
    share, mean = calibration_curve(y[1::2], model.predict_proba(X[1::2])[:, 1], n_bins=4)
    np.testing.assert_array_equal(display.line_.get_xdata(), mean)
    np.testing.assert_array_equal(display.line_.get_ydata(), share)
    assert display.estimator_name == "FastEMClassifier"
    assert display.pos_label == 1


def test_calibration_of_one_class_against_the_rest(ax):
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), max_iter=20, random_state=0).fit(X, y)
    probability = model.predict_proba(X)
    for k, name in enumerate(load_iris().target_names):
        display = CalibrationDisplay.from_predictions(
            y == k, probability[:, k], n_bins=3, name=name, ax=ax
        )
        # the shares of a class, weighted by the rows of the bins, average to its frequency
        bins = np.clip((3 * probability[:, k]).astype(int), 0, 2)
        rows = np.bincount(bins, minlength=3)
        assert rows[rows > 0] @ display.prob_true == pytest.approx(50.0)
    assert legend(ax)[-1] == "virginica"
