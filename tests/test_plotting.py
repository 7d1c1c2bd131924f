"""Learning curves: the plotted numbers and their names."""

import io
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import (
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    FastMLPRegressor,
    LossCurveDisplay,
)
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
    em = FastEMClassifier((3,), alpha=0.15, max_iter=8, random_state=0)
    network = FastMLPClassifier((3,), max_iter=80, random_state=0)
    fitted = {"EM": em, "backpropagation": make_pipeline(StandardScaler(), network)}
    for estimator in fitted.values():
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X, y)
    return fitted


class Recorder(BaseEstimator):
    """An estimator that has recorded the given attributes."""

    def __init__(self, alpha=0.1, **record):
        self.alpha = alpha
        vars(self).update(record)

    def fit(self, X, y):
        raise NotImplementedError

    def __sklearn_is_fitted__(self):
        return True


def drawn(display):
    return [(line.get_label(), *map(list, line.get_data())) for line in display.lines_]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- the record of an estimator -----------------------------------------------------------


def test_the_record_of_em_begins_at_the_starting_point(fitted):
    record = loss_curve(fitted["EM"])
    assert record.iterations.tolist() == list(range(9))
    assert record.objective.tolist() == fitted["EM"].loss_curve_
    assert record.objective[-1] == fitted["EM"].loss_
    assert record.data.tolist() == fitted["EM"].data_loss_curve_
    assert record.validation is None


def test_the_record_of_numbers_begins_at_the_starting_point():
    X = load_iris().data
    model = FastEMRegressor((2,), alpha=0.5, max_iter=3, variance_floor=0.1, random_state=0).fit(
        X, X[:, 0]
    )
    assert loss_curve(model).iterations.tolist() == [0, 1, 2, 3]


def test_the_record_of_backpropagation_begins_after_the_first_epoch(fitted):
    record = loss_curve(fitted["backpropagation"])
    assert record.iterations.tolist() == list(range(1, 81))
    assert record.objective.tolist() == fitted["backpropagation"][-1].loss_curve_


def test_the_record_of_a_warm_start_goes_on():
    X, y = load_iris(return_X_y=True)
    for model, first in (
        (FastEMClassifier((2,), alpha=0.15, max_iter=2, warm_start=True, random_state=0), 0),
        (FastMLPClassifier((2,), max_iter=2, warm_start=True, random_state=0), 1),
    ):
        model.fit(X, y).fit(X, y)
        assert loss_curve(model).iterations.tolist() == list(range(first, 5))


def test_the_record_of_a_stream_begins_after_the_first_call():
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((2,), alpha=0.15, solver="adam", random_state=0)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert loss_curve(model).iterations.tolist() == [1, 2, 3]


def test_the_data_loss_of_a_fit_without_penalty_is_its_objective():
    losses = [0.7, 0.5]
    without = Recorder(alpha=0.0, loss_curve_=losses)
    assert loss_curve(without).data.tolist() == losses
    with_penalty = Recorder(alpha=0.1, loss_curve_=losses)
    assert loss_curve(with_penalty).data is None
    chosen = Recorder(alpha="auto", alpha_=0.0, loss_curve_=losses)
    assert loss_curve(chosen).data.tolist() == losses


def test_a_record_of_another_length():
    broken = Recorder(loss_curve_=[0.7, 0.5], data_loss_curve_=[0.6])
    with pytest.raises(ValueError, match=r"data_loss_curve_ of Recorder has 1 entries.* has 2"):
        loss_curve(broken)


def test_held_out_losses_of_the_record():
    losses = [0.7, 0.5, 0.4]

    def record(held_out):
        return loss_curve(Recorder(loss_curve_=losses, validation_loss_curve_=held_out)).validation

    assert record([0.8, 0.6, 0.5]).tolist() == [0.8, 0.6, 0.5]
    assert record(None) is None
    assert record([]) is None
    np.testing.assert_array_equal(record([0.6]), [np.nan, np.nan, 0.6])  # L-BFGS: of its end
    with pytest.warns(UserWarning, match="left out: there are 2 for 3 iterations"):
        assert record([0.6, 0.5]) is None


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
    losses = fitted["EM"].data_loss_curve_
    assert drawn(display) == [("FastEMClassifier", list(range(9)), losses)]
    assert display.validation_lines_ == [None]
    assert legend(display.ax_) == ["FastEMClassifier"]
    assert display.ax_.get_title() == "Learning curve"
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_ylabel() == "log-loss without penalty (nats per row)"
    assert display.figure_ is display.ax_.figure
    assert display.figure_.number in plt.get_fignums()


def test_the_name_of_one_estimator(fitted, ax):
    for estimator in fitted.values():
        display = LossCurveDisplay.from_estimator(estimator, name="mine", ax=ax)
        assert display.lines_[0].get_label() == "mine"
    display = LossCurveDisplay.from_estimator(fitted["backpropagation"], ax=ax)
    assert display.lines_[0].get_label() == "FastMLPClassifier"
    assert display.ax_.get_xlabel() == "epoch"


def test_the_label_is_that_of_the_solver_in_use(ax):
    X, y = load_iris(return_X_y=True)
    y = np.repeat(np.arange(6), 25)
    model = FastEMClassifier((22,), alpha=0.15, random_state=0).fit(X, y)
    assert (model.solver, model.solver_) == ("auto", "adam")
    assert LossCurveDisplay.from_estimator(model, ax=ax).ax_.get_xlabel() == "epoch"


def test_several_estimators(fitted, ax):
    display = LossCurveDisplay.from_estimator(fitted, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert plt.get_fignums() == []
    assert [line[0] for line in drawn(display)] == legend(ax) == ["EM", "backpropagation"]
    em, network = display.lines_
    assert em.get_xdata()[0] == 0
    assert network.get_xdata()[0] == 1
    np.testing.assert_array_equal(em.get_ydata(), fitted["EM"].data_loss_curve_)
    final = fitted["backpropagation"][-1]
    np.testing.assert_array_equal(network.get_ydata(), final.data_loss_curve_)
    assert ax.get_xlabel() == "iteration of EM, or epoch of backpropagation"
    assert ax.get_title() == "Learning curves"


def test_the_last_loss_is_the_log_loss_of_the_predictions(ax):
    X, y = load_iris(return_X_y=True)
    em = FastEMClassifier((3,), alpha=2.0, max_iter=8, random_state=0).fit(X, y)
    network = FastMLPClassifier((3,), solver="lbfgs", alpha=2.0, max_iter=8, random_state=0)
    estimators = {"EM": em, "L-BFGS": network.fit(X, y)}
    display = LossCurveDisplay.from_estimator(estimators, ax=ax)
    for line, model in zip(display.lines_, estimators.values(), strict=True):
        expected = log_loss(y, model.predict_proba(X))
        assert line.get_ydata()[-1] == pytest.approx(expected, rel=1e-9)
        assert model.loss_curve_[-1] > 1.01 * expected


def test_the_objective(fitted, ax):
    display = LossCurveDisplay.from_estimator(fitted, curve="objective", ax=ax)
    em, network = display.lines_
    np.testing.assert_array_equal(em.get_ydata(), fitted["EM"].loss_curve_)
    np.testing.assert_array_equal(network.get_ydata(), fitted["backpropagation"][-1].loss_curve_)
    assert ax.get_ylabel() == "log-loss with penalty (nats per row)"
    with pytest.raises(ValueError, match=r"curve must be 'data' or 'objective'\. Got 'loss'"):
        LossCurveDisplay.from_estimator(fitted, curve="loss")


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_losses_of_scikit_learn_contain_the_penalty(fitted, ax, solver):
    X, y = load_iris(return_X_y=True)
    theirs = MLPClassifier((3,), solver=solver, max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator({"theirs": theirs, **fitted}, ax=ax)
    assert legend(ax) == ["theirs, with penalty", "EM", "backpropagation"]
    assert ax.get_ylabel() == "log-loss (nats per row)"
    assert display.lines_[0].get_ydata().tolist() == theirs.loss_curve_
    LossCurveDisplay.from_estimator({"theirs": theirs}, ax=ax)
    assert legend(ax)[-1] == "theirs"
    assert ax.get_ylabel() == "log-loss with penalty (nats per row)"
    theirs = MLPClassifier((3,), solver=solver, alpha=0.0, max_iter=5, random_state=0).fit(X, y)
    LossCurveDisplay.from_estimator({"theirs": theirs, **fitted}, ax=ax)
    assert ax.get_ylabel() == "log-loss without penalty (nats per row)"


def test_different_losses_are_named(fitted, ax):
    X = load_iris().data
    X, y = X[:, :3], X[:, 3]
    squares = FastMLPRegressor(hidden_layer_sizes=(2,), alpha=0.0, max_iter=3, random_state=0)
    theirs = MLPRegressor(hidden_layer_sizes=(2,), alpha=0.0, max_iter=3, random_state=0)
    density = FastEMRegressor((2,), alpha=0.0, variance_floor=1e-3, max_iter=3, random_state=0)
    regressors = {"ours": squares.fit(X, y), "theirs": theirs.fit(X, y)}
    LossCurveDisplay.from_estimator(regressors, ax=ax)
    assert ax.get_ylabel() == "squared_error loss without penalty (mean per row)"
    every = {**regressors, "EM": density.fit(X, y), "classes": fitted["EM"]}
    LossCurveDisplay.from_estimator(every, ax=ax)
    assert legend(ax)[-4:] == [
        "ours, squared_error loss",
        "theirs, squared_error loss",
        "EM, minus log-density",
        "classes, log-loss",
    ]
    assert ax.get_ylabel() == "loss without penalty (mean per row)"


def test_held_out_rows_are_dashed(ax):
    first = Recorder(
        loss_curve_=[3.0, 2.0], data_loss_curve_=[2.0, 1.0], validation_loss_curve_=[2.5, 1.5]
    )
    second = Recorder(loss_curve_=[3.0, 2.0], data_loss_curve_=[1.5, 1.0])
    style = {"c": "red", "ls": ":", "lw": 3.0}
    display = LossCurveDisplay.from_estimator(
        {"a": first, "b": second}, ax=ax, curve_kwargs=[style, {}]
    )
    assert legend(ax) == ["a, training rows", "a, held-out rows", "b"]
    dashed, none = display.validation_lines_
    assert none is None
    assert dashed.get_ydata().tolist() == [2.5, 1.5]
    assert [display.lines_[0].get_linestyle(), dashed.get_linestyle()] == [":", "--"]
    assert [x.get_color() for x in (display.lines_[0], dashed)] == ["red", "red"]
    assert dashed.get_linewidth() == 3.0
    display = LossCurveDisplay.from_estimator(first, curve="objective", ax=ax)
    assert display.validation_lines_ == [None]


@pytest.mark.parametrize(
    ("kind", "options", "n_points"),
    [
        (FastMLPClassifier, {}, 4),
        (FastMLPClassifier, {"solver": "lbfgs"}, 1),
        (FastEMClassifier, {}, 5),
        (FastEMClassifier, {"solver": "lbfgs", "alpha": 0.5}, 5),
        (FastEMClassifier, {"solver": "adam", "alpha": 0.5}, 5),
    ],
)
def test_held_out_rows_of_a_fit(ax, kind, options, n_points):
    X, y = load_iris(return_X_y=True)
    model = kind((3,), max_iter=4, random_state=0, **options)
    model.fit(X[::3], y[::3], X_val=X[1::2], y_val=y[1::2])
    display = LossCurveDisplay.from_estimator(model, ax=ax)
    held_out = display.validation_lines_[0].get_ydata()
    assert held_out[-n_points:].tolist() == model.validation_loss_curve_
    expected = log_loss(y[1::2], model.predict_proba(X[1::2]))
    assert held_out[-1] == pytest.approx(expected, rel=1e-9)
    assert ax.get_legend() is not None


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
        ([[0]], [[1.0]], "a", "names must be a list"),
        ([[1, 0]], [[1.0, 2.0]], None, "must ascend"),
    ],
)
def test_curves_that_do_not_fit(iterations, losses, names, words):
    with pytest.raises(ValueError, match=words):
        LossCurveDisplay(iterations=iterations, losses=losses, names=names)


@pytest.mark.parametrize("held_out", [[[1.0]], [None, None], [[1.0, 2.0], None]])
def test_held_out_losses_that_do_not_fit(held_out):
    with pytest.raises(ValueError, match="validation_losses must have 1 entries, one per curve"):
        LossCurveDisplay(iterations=[[0, 1]], losses=[[2.0, 1.0]], validation_losses=held_out)


def test_held_out_losses_without_names(ax):
    display = LossCurveDisplay(
        iterations=[[0, 1]], losses=[[2.0, 1.9]], validation_losses=[[2.5, 0.1]]
    )
    display.plot(ax)
    assert legend(ax) == ["training rows", "held-out rows"]
    assert ax.get_yscale() == "log"  # because of a held-out loss


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
