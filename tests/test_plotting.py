"""Learning curves: the plotted numbers and their names."""

import io
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, FastMLPClassifier, FastMLPRegressor, LossCurveDisplay
from fastem.plotting import loss_curve, save_loss_curves

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("figures_closed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(scope="module")
def fitted():
    X, y = load_iris(return_X_y=True)
    em = FastEMClassifier((3,), max_iter=8, random_state=0)
    network = FastMLPClassifier((3,), max_iter=80, random_state=0)
    fitted = {"EM": em, "backpropagation": make_pipeline(StandardScaler(), network)}
    for estimator in fitted.values():
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X, y)
    return fitted


def drawn(display):
    return [(line.get_label(), *map(list, line.get_data())) for line in display.lines_]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- the record of an estimator -----------------------------------------------------------


def test_the_record_of_em_begins_at_the_starting_point(fitted):
    steps, losses = loss_curve(fitted["EM"])
    assert steps.tolist() == list(range(9))
    assert losses.tolist() == fitted["EM"].loss_curve_
    assert losses[-1] == fitted["EM"].loss_


def test_the_record_of_backpropagation_begins_after_the_first_epoch(fitted):
    steps, losses = loss_curve(fitted["backpropagation"])
    assert steps.tolist() == list(range(1, 81))
    assert losses.tolist() == fitted["backpropagation"][-1].loss_curve_


def test_the_record_of_a_warm_start_goes_on():
    X, y = load_iris(return_X_y=True)
    for model, first in (
        (FastEMClassifier((2,), max_iter=2, warm_start=True, random_state=0), 0),
        (FastMLPClassifier((2,), max_iter=2, warm_start=True, random_state=0), 1),
    ):
        model.fit(X, y).fit(X, y)
        assert loss_curve(model)[0].tolist() == list(range(first, 5))


def test_not_fitted():
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(FastEMClassifier())
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), FastEMClassifier()))


def test_an_estimator_without_a_record(ax):
    scaler = StandardScaler().fit(np.eye(2))
    with pytest.raises(ValueError, match="StandardScaler has recorded no losses"):
        LossCurveDisplay.from_estimator({"scaler": scaler}, ax=ax)


# --- from estimators ----------------------------------------------------------------------


def test_one_estimator(fitted):
    display = LossCurveDisplay.from_estimator(fitted["EM"])
    assert drawn(display) == [("FastEMClassifier", list(range(9)), fitted["EM"].loss_curve_)]
    assert legend(display.ax_) == ["FastEMClassifier"]
    assert display.ax_.get_title() == "Learning curve"
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_ylabel() == "training loss with penalty (nats per row)"
    assert display.figure_ is display.ax_.figure
    assert display.figure_.number in plt.get_fignums()


def test_the_name_of_one_estimator(fitted, ax):
    for estimator in fitted.values():
        display = LossCurveDisplay.from_estimator(estimator, name="mine", ax=ax)
        assert display.lines_[0].get_label() == "mine"
    display = LossCurveDisplay.from_estimator(fitted["backpropagation"], ax=ax)
    assert display.lines_[0].get_label() == "FastMLPClassifier"
    assert display.ax_.get_xlabel() == "epoch"


def test_several_estimators(fitted, ax):
    display = LossCurveDisplay.from_estimator(fitted, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert plt.get_fignums() == []
    assert [line[0] for line in drawn(display)] == legend(ax) == ["EM", "backpropagation"]
    em, network = display.lines_
    assert em.get_xdata()[0] == 0
    assert network.get_xdata()[0] == 1
    np.testing.assert_array_equal(em.get_ydata(), fitted["EM"].loss_curve_)
    np.testing.assert_array_equal(network.get_ydata(), fitted["backpropagation"][-1].loss_curve_)
    assert ax.get_xlabel() == "iteration of EM, or epoch of backpropagation"
    assert ax.get_title() == "Learning curves"


def test_losses_that_are_no_log_losses_are_not_in_nats(fitted, ax):
    X, y = load_iris(return_X_y=True)
    regressor = FastMLPRegressor(hidden_layer_sizes=(2,), max_iter=3, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator({"a": regressor, **fitted}, ax=ax)
    assert display.ax_.get_ylabel() == "training loss with penalty (mean per row)"


def test_a_name_beside_a_dict(fitted):
    with pytest.raises(ValueError, match=r"name='both'.*the keys of a dict are the names"):
        LossCurveDisplay.from_estimator(fitted, name="both")


def test_an_empty_dict():
    with pytest.raises(ValueError, match="no estimator to plot"):
        LossCurveDisplay.from_estimator({})


# --- from numbers -------------------------------------------------------------------------


def test_data_are_kept_and_drawn(ax):
    display = LossCurveDisplay(
        iterations=[[0, 1, 2], [1]],
        losses=[[3.0, 2.0, 1.5], [4.0]],
        names=["long", "short"],
        x_label="sweep",
        y_label="deviance",
    )
    assert not hasattr(display, "ax_")
    assert display.plot(ax) is display
    assert drawn(display) == [("long", [0, 1, 2], [3.0, 2.0, 1.5]), ("short", [1], [4.0])]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sweep", "deviance")
    assert legend(ax) == ["long", "short"]
    # a curve of one point would be no line
    assert [line.get_marker() for line in display.lines_] == ["o", "o"]
    assert [line.get_markevery() for line in display.lines_] == [slice(-1, None)] * 2


def test_a_curve_without_points(ax):
    display = LossCurveDisplay(iterations=[[], [0, 1]], losses=[[], [2.0, 1.0]], names=["a", "b"])
    display.plot(ax)
    ax.figure.savefig(io.BytesIO())
    assert drawn(display) == [("a", [], []), ("b", [0, 1], [2.0, 1.0])]


def test_no_names_no_legend(ax):
    LossCurveDisplay(iterations=[[0, 1]], losses=[[2.0, 1.0]]).plot(ax)
    assert ax.get_legend() is None


def test_a_title_that_is_there_stays(ax):
    ax.set_title("mine")
    LossCurveDisplay(iterations=[[0, 1]], losses=[[2.0, 1.0]]).plot(ax)
    assert ax.get_title() == "mine"


@pytest.mark.parametrize(
    ("n_iter", "last", "x_scale", "y_scale"),
    [(30, 0.9, "linear", "linear"), (5000, 0.9, "symlog", "linear"), (30, 0.01, "linear", "log")],
)
def test_automatic_scales(ax, n_iter, last, x_scale, y_scale):
    steps, losses = [0, n_iter], [1.0, last]
    LossCurveDisplay(iterations=[steps], losses=[losses]).plot(ax)
    assert (ax.get_xscale(), ax.get_yscale()) == (x_scale, y_scale)


@pytest.mark.parametrize("losses", [[1.0, 0.0], [1.0, -5.0], [np.nan, 1.0], [np.nan, np.nan]])
def test_no_logarithm_of_what_has_none(ax, losses):
    LossCurveDisplay(iterations=[[0, 1]], losses=[losses]).plot(ax)
    assert ax.get_yscale() == "linear"
    ax.figure.savefig(io.BytesIO())


def test_chosen_scales(ax):
    display = LossCurveDisplay(iterations=[[0, 5000]], losses=[[1.0, 0.01]])
    display.plot(ax, x_scale="linear", y_scale="linear")
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    display.plot(ax, x_scale="log", y_scale="log")
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")


def test_the_starting_point_has_a_place_on_the_logarithmic_axis(ax):
    display = LossCurveDisplay(iterations=[range(5001)], losses=[np.geomspace(1, 0.01, 5001)])
    display.plot(ax)
    x = ax.transData.transform([(0, 1.0), (1, 1.0), (30, 1.0), (5000, 1.0)])[:, 0]
    width = ax.bbox.width
    assert ax.bbox.x0 < x[0]
    assert min(np.diff(x)) > 0.05 * width
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    assert {"0", "1", "10", "100", "1000"} <= set(labels)


def test_curve_kwargs(ax):
    display = LossCurveDisplay(iterations=[[0, 1]] * 2, losses=[[2.0, 1.0]] * 2, names=["a", "b"])
    display.plot(ax, curve_kwargs={"linestyle": "--", "marker": ""})
    assert [line.get_linestyle() for line in display.lines_] == ["--", "--"]
    display.plot(ax, curve_kwargs=[{"color": "red"}, {"label": "mine"}])
    assert display.lines_[0].get_color() == "red"
    assert display.lines_[1].get_label() == "mine"
    with pytest.raises(ValueError, match="a list of 2, one per curve"):
        display.plot(ax, curve_kwargs=[{}] * 3)


@pytest.mark.parametrize(
    ("iterations", "losses", "names", "words"),
    [
        ([[0, 1]], [[1.0]], None, "equal lengths"),
        ([[0]], [[1.0], [2.0]], None, "equal lengths"),
        ([0, 1], [1.0, 2.0], None, "lists of vectors"),
        ([], [], None, "at least one"),
        ([[0]], [[1.0]], ["a", "b"], r"one entry per curve \(1\), got 2"),
    ],
)
def test_curves_that_do_not_fit(iterations, losses, names, words):
    with pytest.raises(ValueError, match=words):
        LossCurveDisplay(iterations=iterations, losses=losses, names=names)


@pytest.mark.parametrize("axis", ["x_scale", "y_scale"])
def test_unknown_scale(ax, axis):
    display = LossCurveDisplay(iterations=[[0, 1]], losses=[[2.0, 1.0]])
    with pytest.raises(ValueError, match=f"{axis} must be one of 'auto', 'linear', 'log'"):
        display.plot(ax, **{axis: "sqrt"})


# --- files, and matplotlib itself ---------------------------------------------------------


def test_saved_to_a_file(fitted, tmp_path):
    path = tmp_path / "curves.png"
    save_loss_curves(fitted, path, "iris: $5 a row, or $6")
    height, width, _ = plt.imread(path).shape
    assert (height, width) == (675, 1050)
    assert plt.get_fignums() == []  # none that pyplot would have to show


def test_matplotlib_is_imported_for_drawing_only():
    code = (
        "import sys, fastem\n"
        "display = fastem.LossCurveDisplay(iterations=[[0, 1]], losses=[[2.0, 1.0]])\n"
        "assert not any(name.split('.')[0] == 'matplotlib' for name in sys.modules)\n"
        "sys.modules['matplotlib'] = None\n"
        "try:\n"
        "    display.plot()\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "LossCurveDisplay.plot needs matplotlib: pip install '.[plot]'\n"
