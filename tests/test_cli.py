"""The command line: its output, its files, and its errors."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from fastem import DivergenceError, FastEMClassifier, FastEMRegressor, FastMLPClassifier
from fastem.cli.command_line import main
from fastem.cli.comparison import compare as comparison
from fastem.cli.comparison import methods
from fastem.cli.files import check_files
from fastem.cli.tables.datasets import BUILT_IN, read_dataset, with_names
from fastem.perceptron.layers import HIDDEN_ACTIVATIONS

pytest.importorskip("pandas")

ROOT = Path(__file__).parents[1]
QUICK_AUTO = ["--hidden", "3", "--max-iter", "20"]
QUICK = [*QUICK_AUTO, "--alpha", "0.15"]
QUICK_COMPARE = [*QUICK_AUTO, "--epochs", "20"]
METHODS = ["EM", "backpropagation", "logistic regression", "gradient boosting"]
CSV_ROWS = [f"{i % 7},{(3 * i) % 5 - 0.5 * (i % 2)},{'no' if i % 2 else 'yes'}" for i in range(40)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["width,height,label", *CSV_ROWS]) + "\n")
    return str(path)


@pytest.fixture
def iris_model(tmp_path, capsys):
    path = str(tmp_path / "iris.npz")
    assert main(["fit", "iris", "--model", path, *QUICK]) == 0
    capsys.readouterr()
    return path


def succeed(capsys, *argv):
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    assert status == 0, output.err
    return output.out


def words(capsys, *argv):
    """Return the output with single spaces in place of line breaks."""
    return " ".join(succeed(capsys, *argv).split())


def is_ignored(line):
    """Return whether a line is a note, shows the progress of slow work, or warns of a short fit."""
    return (
        re.match(r"fastem: \d+ s: |fastem: note: |.*The fit predicts the same for every row", line)
        is not None
    )


def refuse(capsys, *argv):
    """Return the single line of the error message, which may follow notes."""
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    lines = [line for line in output.err.splitlines() if not is_ignored(line)]
    assert status == 2
    assert output.out == ""
    assert len(lines) == 1
    assert lines[0].startswith("fastem: error: ")
    return lines[0]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


# --- compare ------------------------------------------------------------------------------


def test_no_argument_compares_on_iris(capsys):
    lines = succeed(capsys).splitlines()
    assert lines[0] == (
        "data     iris: 150 rows, 4 features, 3 classes (setosa, versicolor, virginica)"
    )
    assert lines[1] == (
        "split    112 rows for training, 38 for testing, drawn at random (seed 0), stratified by "
        "class"
    )
    assert "not included in the seconds" in lines[2]
    columns = "method", "test loss", "minus EM", "test accuracy", "train loss", "seconds"
    assert " ".join(lines[4].split()) == " ".join(columns)
    assert [line.split("  ")[0] for line in lines[6:10]] == METHODS
    start = next(i for i, line in enumerate(lines) if line.startswith("true "))
    predictions = [line.split() for line in lines[start + 2 : start + 7]]
    for label, predicted, *probabilities in predictions:
        assert {label, predicted} <= {"setosa", "versicolor", "virginica"}
        assert sum(map(float, probabilities)) == pytest.approx(1.0, abs=2e-4)
    assert max(map(len, lines)) <= 100
    assert lines[start + 8].startswith("Result: EM has the lowest test loss. The difference to ")


def test_compare_as_json_holds_the_same(capsys):
    content = json.loads(succeed(capsys, "compare", "iris", "--json", *QUICK_COMPARE))
    assert content["data"] == {
        "name": "iris",
        "rows": 150,
        "features": 4,
        "classes": ["setosa", "versicolor", "virginica"],
        "train": 112,
        "test": 38,
        "seed": 0,
        "splits": 1,
        "seeds": [0],
    }
    assert [row["method"] for row in content["methods"]] == METHODS
    assert [row["hidden_layer_sizes"] for row in content["methods"]] == [[3], [3], [], []]
    for row in content["methods"]:
        for name in ("seconds", "train_log_loss", "test_log_loss", "test_accuracy"):
            assert isinstance(row[name], float)
    assert len(content["predictions"]) == 10
    best = [
        max(row["probabilities"], key=row["probabilities"].get) for row in content["predictions"]
    ]
    assert best == [row["predicted"] for row in content["predictions"]]
    assert isinstance(content["compile_seconds"], float)


def test_options_without_a_verb_are_those_of_compare_iris(capsys):
    argv = ["--json", "--hidden", "2", "--max-iter", "4", "--epochs", "5"]
    content = json.loads(succeed(capsys, *argv))
    networks = content["methods"][:2]
    rows = [(row["hidden_layer_sizes"], row["n_iter"]) for row in networks]
    assert rows == [([2], 4), ([2], 5)]
    assert not any(row["converged"] for row in networks)


def test_settings_reach_both_methods():
    own = {"activation": ("tanh", "relu"), "solver": "sgd", "epochs": 9}
    settings = methods.Options((5, 4), 7, 0.25, 3, **own)
    em = methods.exact_em(settings, np.zeros(500)).estimator
    network = methods.backpropagation(settings, np.zeros(500)).estimator[-1]
    for estimator in (em, network):
        assert estimator.hidden_layer_sizes == (5, 4)
        assert estimator.random_state == 3
    assert em.alpha == 0.25
    assert network.alpha == pytest.approx(0.25 / 3)  # three batches
    assert (em.max_iter, network.max_iter) == (7, 9)
    assert (network.activation, network.solver) == (("tanh", "relu"), "sgd")


def test_compare_splits_by_test_size_and_seed(capsys, table):
    arguments = ["compare", table, "--json", "--test-size", "0.5", *QUICK_COMPARE]
    first = json.loads(succeed(capsys, *arguments, "--seed", "1"))
    other = json.loads(succeed(capsys, *arguments, "--seed", "2"))
    assert (first["data"]["train"], first["data"]["test"]) == (20, 20)
    assert (first["data"]["seed"], other["data"]["seed"]) == (1, 2)
    assert first["predictions"] != other["predictions"]


def test_compare_is_reproducible(capsys):
    first, second = (json.loads(succeed(capsys, *QUICK_COMPARE, "--json")) for _ in range(2))
    assert first["predictions"] == second["predictions"]


def test_many_classes_are_shown_by_the_most_probable(capsys, tmp_path):
    rows = [f"{i % 12}.{i % 3},letter{i % 12:02d}" for i in range(72)]
    path = write(tmp_path / "letters.csv", "size,label", *rows)
    text = succeed(capsys, "compare", path, *QUICK_COMPARE)
    assert "12 classes (letter00, letter01" in text
    assert "most probable" in text


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_data_sets(name):
    table = read_dataset(name)
    assert table.X.shape == (len(table.y), len(table.feature_names))
    assert all(isinstance(feature, str) for feature in table.feature_names)


def test_target_is_not_needed_for_built_in_data(capsys):
    assert main(["compare", "iris", "--target", "species", *QUICK_COMPARE]) == 0
    assert "note: iris is built-in data with its own labels" in capsys.readouterr().err


def test_compare_refuses_a_class_of_one_row(capsys, tmp_path):
    path = write(tmp_path / "lonely.csv", "a,label", "1,x", "2,x", "3,x", "4,y")
    assert "class 'y' has only one row" in refuse(capsys, "compare", path)


def test_iterations_and_epochs_are_set_apart(capsys):
    content = json.loads(succeed(capsys, "--json", "--max-iter", "3", "--epochs", "6"))
    em, network = content["methods"][:2]
    assert (em["n_iter"], network["n_iter"]) == (3, 6)
    assert (em["settings"]["max_iter"], network["settings"]["max_iter"]) == (3, 6)


def test_learning_curves_as_json(capsys):
    content = json.loads(succeed(capsys, "--json", *QUICK_COMPARE))
    em, network = content["learning_curves"]
    assert (em["method"], network["method"]) == ("EM", "backpropagation")
    # the starting point is in one record and not in the other
    assert (em["first_iteration"], network["first_iteration"]) == (0, 1)
    assert [len(em["loss"]), len(network["loss"])] == [21, 20]
    assert max(np.diff(em["loss"])) <= 1e-12
    assert network["loss"][-1] < network["loss"][0]
    for curve in (em, network):  # without penalty
        assert len(curve["data_loss"]) == len(curve["loss"])
        assert min(np.subtract(curve["loss"], curve["data_loss"])) > 0.0
    assert em["data_loss"][-1] == pytest.approx(content["methods"][0]["train_log_loss"])


@pytest.mark.parametrize("activation", HIDDEN_ACTIVATIONS)
def test_activation(capsys, activation):
    argv = ["compare", "iris", "--activation", activation, *QUICK_COMPARE]
    em, network = json.loads(succeed(capsys, *argv, "--json"))["methods"][:2]
    assert network["settings"]["activation"] == activation
    assert "activation" not in em["settings"]
    assert f" ({activation}), trained by gradient steps (adam); " in words(capsys, *argv)


@pytest.mark.parametrize(
    ("solver", "turns"), [("lbfgs", "iterations"), ("sgd", "epochs"), ("adam", "epochs")]
)
def test_solver(capsys, solver, turns):
    argv = ["compare", "iris", "--solver", solver, *QUICK_COMPARE]
    network = json.loads(succeed(capsys, *argv, "--json"))["methods"][1]
    assert network["settings"]["solver"] == solver
    line = f"gradient steps ({solver}); penalty on large weights: 0.0001; not yet converged at the "
    line += f"limit of 20 {turns}; --epochs allows more"
    assert line in words(capsys, *argv)


def test_penalties_are_printed_in_one_unit(capsys):
    argv = ["compare", "breast_cancer", "--alpha", "0.5", *QUICK_COMPARE]
    text = words(capsys, *argv)
    assert text.count("penalty on large weights: 0.5;") == 2
    assert text.count("penalty on large weights: 1;") == 1
    content = json.loads(succeed(capsys, *argv, "--json"))
    settings = [row["settings"] for row in content["methods"]]
    assert [x.get("penalty") for x in settings] == [0.5, 0.5, 1.0, None]
    assert [settings[i]["alpha"] for i in (0, 1)] == [0.5, pytest.approx(0.5 / 3)]  # three batches
    assert "against the summed log-likelihood of the training rows" in content["penalty_unit"]


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("n_samples", [150, 400, 450])  # one batch, two, and two and a quarter
def test_both_methods_minimise_the_same_penalised_loss(alpha, solver, n_samples):
    """The recorded loss is the mean log-loss plus penalty / (2 n) times the squared weights."""
    rng = np.random.default_rng(0)
    X = StandardScaler().fit_transform(rng.normal(size=(n_samples, 3)))
    y = np.argmax(X + rng.normal(size=X.shape), axis=1)
    settings = methods.Options((4,), alpha=alpha, max_iter=2, epochs=1, solver=solver)
    em = methods.exact_em(settings, y)
    network = methods.backpropagation(settings, y)
    if solver != "lbfgs":  # the weights stay constant during the epoch
        network.estimator[-1].set_params(learning_rate_init=1e-15)
    for method in (em, network):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            method.estimator.fit(X, y)
        final = method.estimator if method is em else method.estimator[-1]
        squares = sum(np.sum(W**2) for W in final.coefs_)
        penalty = final.loss_curve_[-1] - comparison.mean_log_loss(method.estimator, X, y)
        expected = methods.fitted_settings(method)["penalty"] / (2 * n_samples) * squares
        assert penalty == pytest.approx(expected, rel=1e-6, abs=1e-12)
        if alpha is not None:
            assert method.settings["penalty"] == pytest.approx(alpha)


def test_defaults_in_the_help_are_those_of_the_estimators(capsys):
    em, network = FastEMClassifier(), FastMLPClassifier()
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    (units,) = np.ravel(FastEMRegressor().hidden_layer_sizes)
    default = f"default: {em.hidden_layer_sizes} for classes, {units} for numbers and counts"
    assert default in text
    assert f"default: {em.alpha} for EM, and alpha={network.alpha} of the perceptron" in text
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert em.alpha == FastEMRegressor().alpha
    assert f"held-out rows best (default: {em.alpha})" in text


def test_a_penalty_that_chooses_itself(capsys):
    argv = ["compare", "iris", "--hidden", "3", "--epochs", "5"]
    content = json.loads(succeed(capsys, *argv, "--json"))
    settings = content["methods"][0]["settings"]
    assert settings["alpha"] == "auto"
    assert settings["penalty_chosen"]
    assert 0.0 < settings["penalty"] < 150.0
    line = f"weights: {settings['penalty']:.3g} (chosen on held-out training rows);"
    assert line in words(capsys, *argv, "--alpha", "auto")


def test_units_that_choose_themselves_are_those_of_both_methods(capsys):
    argv = ["compare", "iris", "--hidden", "auto", "--alpha", "0.15", "--epochs", "5", "--json"]
    em, network = json.loads(succeed(capsys, *argv))["methods"][:2]
    assert em["hidden_layer_sizes"] == network["hidden_layer_sizes"] == [10]


def test_the_perceptron_needs_the_units_as_numbers():
    with pytest.raises(ValueError, match="needs hidden_layer_sizes as numbers, got 'auto'"):
        methods.backpropagation(methods.Options(), np.zeros(100))


def test_a_model_file_keeps_the_penalty(capsys, tmp_path):
    path = tmp_path / "model.npz"
    argv = ["fit", "iris", "--model", path, "--hidden", "3"]
    settings = json.loads(succeed(capsys, *argv, "--json"))["settings"]
    model = FastEMClassifier.load(path)
    assert (model.alpha, model.alpha_) == ("auto", settings["penalty"])
    assert model.alpha_ in model.alpha_path_["alpha"]
    text = succeed(capsys, *argv)
    assert f"\npenalty  {settings['penalty']:.3g} (chosen on held-out rows)\n" in text
    text = succeed(capsys, *argv, "--alpha", "0.15")
    assert "\npenalty  0.15\n" in text
    assert FastEMClassifier.load(path).alpha_ == 0.15


def test_too_few_rows_to_choose_a_penalty(capsys, tmp_path):
    rows = [f"{i}.5,{i % 2}" for i in range(12)]
    path = write(tmp_path / "few.csv", "x,label", *rows)
    argv = ["fit", path, "--model", tmp_path / "model.npz", *QUICK_AUTO]
    line = "\npenalty  0.01 (fixed, because there are too few rows to choose one)\n"
    assert line in succeed(capsys, *argv)


def test_several_hidden_layers(capsys):
    argv = ["compare", "iris", "--hidden", "3,2", "--max-iter", "20", "--epochs", "5"]
    content = json.loads(succeed(capsys, *argv, "--json"))
    em, network = content["methods"][:2]
    assert em["hidden_layer_sizes"] == network["hidden_layer_sizes"] == [3, 2]
    assert network["settings"]["activation"] == "relu"
    assert (em["n_iter"], network["n_iter"]) == (20, 5)
    assert max(np.diff(content["learning_curves"][0]["loss"])) <= 1e-12
    text = words(capsys, *argv)
    assert "EM: a neural network with hidden layers of 3 and 2 units that are on or off" in text
    assert "backpropagation: a usual neural network with hidden layers of 3 and 2 units" in text


def test_both_methods_train_the_hidden_layers_they_are_given():
    settings = methods.Options((3, 2), max_iter=3, activation=("relu", "tanh"), epochs=3)
    result = comparison.compare(read_dataset("iris"), settings)
    assert list(result.networks) == METHODS[:2]
    em, pipeline = result.networks.values()
    for estimator in (em, pipeline[-1]):
        assert [W.shape for W in estimator.coefs_] == [(4, 3), (3, 2), (2, 3)]
    sizes = [run.fit.hidden_layer_sizes for (run,) in result.runs.values()]
    assert sizes == [(3, 2), (3, 2), (), ()]


def test_an_activation_for_every_hidden_layer(capsys):
    argv = ["compare", "iris", "--hidden", "3, 2", "--activation", "relu, tanh"]
    argv += ["--max-iter", "5", "--epochs", "5"]
    network = json.loads(succeed(capsys, *argv, "--json"))["methods"][1]
    assert network["settings"]["activation"] == ["relu", "tanh"]
    assert "units (relu and tanh), trained by" in words(capsys, *argv)


@pytest.mark.parametrize(
    ("sizes", "names", "words"),
    [
        (None, "tanh,relu", "1 hidden layer (auto): give one"),
        ("4", "tanh,relu", "1 hidden layer (4): give one"),
        ("4,3", "tanh,relu,elu", "2 hidden layers (4-3): give one for all, or 2"),
        ("4,3,2", "tanh,relu", "3 hidden layers (4-3-2): give one for all, or 3"),
    ],
)
def test_activations_that_are_not_one_to_a_hidden_layer(capsys, monkeypatch, sizes, names, words):
    monkeypatch.setattr(comparison, "compare", None)  # refused before the work
    hidden = [] if sizes is None else ["--hidden", sizes]
    line = refuse(capsys, "compare", "wine", *hidden, "--activation", names)
    n_names = len(names.split(","))
    assert f"argument --activation: {names!r} has {n_names} activations" in line
    assert line.endswith(f"have {words}")


def test_unknown_names_are_answered_by_the_known(capsys):
    line = refuse(capsys, "compare", "wine", "--activation", "tanh,swish")
    assert "'swish' is not one of identity, logistic, tanh, relu" in line
    line = refuse(capsys, "compare", "wine", "--solver", "newton")
    assert "'newton' is not one of lbfgs, sgd, adam" in line


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_divergence_is_told_in_one_line(capsys, solver):
    argv = ["compare", "iris", *QUICK, "--solver", solver, "--alpha", "1e300"]
    line = refuse(capsys, *argv)
    assert line.startswith("fastem: error: backpropagation: The loss became non-finite in ")
    assert ("in epoch " if solver == "sgd" else "in iteration ") in line
    assert line.endswith("Use another --solver or a smaller --alpha")


def test_divergence_of_em_names_no_option_of_backpropagation(capsys, monkeypatch):
    def diverge(*arguments):
        raise DivergenceError("No start reached a finite objective.")

    monkeypatch.setattr(FastEMClassifier, "fit", diverge)
    line = refuse(capsys, "compare", "iris")
    assert line == "fastem: error: EM: No start reached a finite objective."


def test_a_fit_that_ends_where_it_began_has_no_learning_curve(capsys, monkeypatch):
    fit = FastMLPClassifier.fit

    def without_a_step(self, X, y):
        fit(self, X, y)
        self.n_iter_, self.loss_curve_, self.data_loss_curve_ = 0, [], []
        return self

    monkeypatch.setattr(FastMLPClassifier, "fit", without_a_step)
    content = json.loads(succeed(capsys, "--json", "--solver", "lbfgs", *QUICK_COMPARE))
    assert content["learning_curves"][1] == {
        "method": "backpropagation", "first_iteration": None, "loss": [], "data_loss": []
    }  # fmt: skip


# --- plot ---------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_trained(monkeypatch):
    def trained(*args, **kwargs):
        raise AssertionError("work began before its result had a place to go")

    monkeypatch.setattr(comparison, "compare", trained)


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml"), ("a.jpg", b"\xff\xd8")],
)
def test_plot(capsys, tmp_path, name, begins):
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    text = succeed(capsys, "compare", "iris", "--plot", path, *QUICK_COMPARE)
    remark = "the curves do not contain the penalties, which differ between the methods; "
    assert f"\nlearning curves written to {path}\n{remark}" in text
    assert path.read_bytes().startswith(begins)


def test_plot_with_one_penalty_needs_no_remark(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    argv = ["compare", "breast_cancer", "--alpha", "0.1", "--plot", tmp_path / "a.png"]
    assert "penalties" not in succeed(capsys, *argv, *QUICK_COMPARE)


def test_plot_as_json(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    content = json.loads(succeed(capsys, "--plot", path, "--json", *QUICK_COMPARE))
    assert content["plot"] == str(path)
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("sizes", ["3", "3,2"])
def test_plot_says_the_hidden_units(capsys, monkeypatch, tmp_path, sizes):
    pytest.importorskip("matplotlib")
    titles = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *args, **kwargs: titles.append(figure.axes[0].get_title()),
    )
    argv = [*QUICK_COMPARE, "--hidden", sizes, "--plot", tmp_path / "curves.png"]
    succeed(capsys, "compare", "iris", *argv)
    assert titles == [f"iris: training loss, 112 rows, {sizes.replace(',', '-')} hidden units"]


def test_plot_needs_no_screen(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    environment = {name: os.environ[name] for name in os.environ if name != "DISPLAY"}
    environment["MPLBACKEND"] = "tkagg"  # what would open a window, or fail
    subprocess.run(
        [sys.executable, "-m", "fastem", "--plot", path, *QUICK_COMPARE],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert path.exists()


def test_plot_of_a_table_whose_name_looks_like_a_formula(capsys, tmp_path, table):
    pytest.importorskip("matplotlib")
    path = tmp_path / "$x_{.csv"
    os.rename(table, path)
    succeed(capsys, "compare", path, "--plot", tmp_path / "$y_{.png", *QUICK_COMPARE)
    assert (tmp_path / "$y_{.png").exists()


@pytest.mark.usefixtures("nothing_is_trained")
def test_plot_refused_before_the_work(capsys, tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, words in (
        ("a.gif", "'.gif' is not one of .png, .pdf, .svg"),
        ("a", "the suffix must be one of .png, .pdf, .svg"),
        ("no/a.png", "there is no directory"),
        ("folder.png", "it is a directory"),
    ):
        line = refuse(capsys, "--plot", tmp_path / name)
        assert words in line
        assert str(tmp_path / name) in line
        assert not (tmp_path / name).is_file()


@pytest.mark.usefixtures("no_matplotlib", "nothing_is_trained")
def test_plot_without_matplotlib(capsys, tmp_path):
    line = refuse(capsys, "--plot", tmp_path / "a.png")
    assert line == "fastem: error: --plot needs matplotlib: pip install '.[plot]'"


@pytest.mark.usefixtures("no_matplotlib")
def test_compare_without_matplotlib(capsys):
    assert "learning_curves" in json.loads(succeed(capsys, "--json", *QUICK_COMPARE))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_results_outlive_a_plot_that_cannot_be_written(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "full.png"
    path.symlink_to("/dev/full")
    assert main(["--plot", str(path), *QUICK_COMPARE]) == 2
    output = capsys.readouterr()
    assert "\nbackpropagation " in output.out
    assert "learning curves written" not in output.out
    assert output.err.splitlines() == [f"fastem: error: {path}: No space left on device"]


# --- fit and predict ----------------------------------------------------------------------


def test_fit_reports_what_it_did(capsys, tmp_path):
    path = tmp_path / "model.npz"
    text = succeed(capsys, "fit", "iris", "--model", path, "--hidden", "3")
    assert "150 rows" in text
    assert "3 hidden units" in text
    assert "converged" in text
    assert str(path) in text
    model = FastEMClassifier.load(path)
    assert list(model.feature_names_in_) == list(load_iris().feature_names)


def test_fit_as_json(capsys, tmp_path, table):
    path = tmp_path / "model.npz"
    content = json.loads(succeed(capsys, "fit", table, "--model", path, "--json", *QUICK))
    assert content["model"] == str(path)
    assert content["data"]["classes"] == ["no", "yes"]
    assert content["hidden_layer_sizes"] == [3]
    for name in ("seconds", "train_log_loss", "train_accuracy"):
        assert isinstance(content[name], float)


@pytest.mark.parametrize("data", ["iris", "breast_cancer"])
def test_fit_and_predict_with_several_hidden_layers(capsys, tmp_path, data):
    path = tmp_path / "model.npz"
    argv = ["fit", data, "--model", path, "--hidden", "4,3,2", "--max-iter", "20"]
    assert json.loads(succeed(capsys, *argv, "--json"))["hidden_layer_sizes"] == [4, 3, 2]
    assert "fit      4-3-2 hidden units, " in succeed(capsys, *argv)
    model = FastEMClassifier.load(path)
    assert model.hidden_layer_sizes == (4, 3, 2)
    rows = read_csv(succeed(capsys, "predict", path, data))
    table = read_dataset(data)
    expected = model.predict_proba(with_names(table.X, table.feature_names))
    for k, name in enumerate(model.classes_):
        got = [float(row[f"probability_{name}"]) for row in rows]
        np.testing.assert_allclose(got, expected[:, k], rtol=1e-12)


def test_fit_tells_of_a_fit_that_did_not_converge(capsys, tmp_path):
    argv = ["fit", "iris", "--model", str(tmp_path / "m.npz"), "--max-iter", "2", "--hidden", "2"]
    assert main(argv) == 0
    output = capsys.readouterr()
    assert "stopped before convergence" in output.out
    assert "fastem: warning: The fit did not converge in 2 iterations" in output.err


def test_predict_writes_labels_and_probabilities(capsys, iris_model):
    rows = read_csv(succeed(capsys, "predict", iris_model, "iris"))
    assert list(rows[0]) == [
        "predicted",
        "probability_setosa",
        "probability_versicolor",
        "probability_virginica",
    ]
    model = FastEMClassifier.load(iris_model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X has no names here
        expected = model.predict_proba(load_iris().data)
    found = [[float(row[f"probability_{k}"]) for k in model.classes_] for row in rows]
    np.testing.assert_array_equal(found, expected)
    assert [row["predicted"] for row in rows] == list(model.classes_[expected.argmax(axis=1)])


def test_predict_to_a_file(capsys, tmp_path, iris_model):
    path = tmp_path / "out.csv"
    text = succeed(capsys, "predict", iris_model, "iris", "--output", path)
    assert text == f"150 predictions written to {path}\n"
    printed = succeed(capsys, "predict", iris_model, "iris")
    assert path.read_text() == printed
    content = json.loads(succeed(capsys, "predict", iris_model, "iris", "--output", path, "--json"))
    assert (content["predictions"], content["output"]) == (150, str(path))


def test_predict_as_json(capsys, iris_model):
    content = json.loads(succeed(capsys, "predict", iris_model, "iris", "--json"))
    assert len(content["predictions"]) == 150
    row = content["predictions"][0]
    assert row["predicted"] == "setosa"
    assert sum(row["probabilities"].values()) == pytest.approx(1.0)


def test_predict_finds_columns_by_name(capsys, tmp_path, table):
    model = tmp_path / "model.npz"
    succeed(capsys, "fit", table, "--model", model, *QUICK)
    rows = [row.split(",") for row in CSV_ROWS]
    moved = [f"?,{height},{width}" for width, height, _ in rows]
    other = write(tmp_path / "moved.csv", "remark,height,width", *moved)
    assert succeed(capsys, "predict", model, other) == succeed(capsys, "predict", model, table)


def test_predict_names_missing_columns(capsys, tmp_path, iris_model, table):
    line = refuse(capsys, "predict", iris_model, table)
    assert "sepal length (cm), sepal width (cm), petal length (cm), petal width (cm)" in line
    path = write(tmp_path / "part.csv", "sepal length (cm),petal length (cm)", "1,2")
    line = refuse(capsys, "predict", iris_model, path)
    assert line.endswith("Missing: sepal width (cm), petal width (cm)")


def test_predict_with_a_model_without_names(capsys, tmp_path):
    X, y = load_iris(return_X_y=True)
    path = tmp_path / "model.npz"
    FastEMClassifier((2,), random_state=0, tol=1e-2).fit(X, y).save(path)
    rows = read_csv(succeed(capsys, "predict", path, "iris"))
    assert {row["predicted"] for row in rows} <= {"0", "1", "2"}
    line = refuse(capsys, "predict", path, "wine")
    assert "13 columns" in line
    assert "fitted on 4" in line


@pytest.mark.parametrize(
    "labels",
    [
        ("NA", "None"),
        ("01", "1"),
        ("a, b", 'say "c"'),
        ("true", "False"),
        (" x", "y "),
        ("é", "日本"),
    ],
)
def test_text_labels_come_back_as_they_were(capsys, tmp_path, labels):
    path, model, output = (tmp_path / name for name in ("data.csv", "model.npz", "out.csv"))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "kind"])
        writer.writerows([i % 2 + 0.1 * (i % 3), labels[i % 2]] for i in range(30))
    succeed(capsys, "fit", path, "--target", "kind", "--model", model, "--hidden", "2")
    succeed(capsys, "predict", model, path, "--output", output)
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == [labels[i % 2] for i in range(30)]
    assert set(rows[0]) == {"predicted", *(f"probability_{label}" for label in labels)}


def test_whole_numbers_are_integer_labels(capsys, tmp_path):
    """The MNIST layout: label first, and a column per pixel."""
    rows = [f"{i % 3},{i % 3},{(i + 1) % 3},0" for i in range(30)]
    path = write(tmp_path / "digits.csv", "label,1x1,1x2,1x3", *rows)
    assert read_dataset(path).y.dtype == np.int64
    content = json.loads(succeed(capsys, "compare", path, "--json", *QUICK_COMPARE))
    assert content["data"]["classes"] == [0, 1, 2]
    assert content["predictions"][0]["label"] in (0, 1, 2)


def test_default_settings_are_those_of_the_estimator():
    em = methods.exact_em(methods.Options(), 100)
    default = FastEMClassifier(random_state=0)
    assert em.estimator.get_params() == default.get_params()
    assert em.hidden_layer_sizes == default.hidden_layer_sizes == "auto"


# --- files --------------------------------------------------------------------------------


def _spellings(path, folder):
    """Yield other names of a file: relative, through links, and through a linked folder."""
    yield str(path)
    yield os.path.relpath(path)
    yield f"{folder}/./{path.name}"
    yield f"{folder}/../{folder.name}/{path.name}"
    (folder / f"symbolic{path.suffix}").symlink_to(path)
    yield str(folder / f"symbolic{path.suffix}")
    (folder / f"hard{path.suffix}").hardlink_to(path)
    yield str(folder / f"hard{path.suffix}")
    (folder / "linked").symlink_to(folder, target_is_directory=True)
    yield str(folder / "linked" / path.name)
    if (folder / path.name.upper()).exists():  # the file system ignores case
        yield str(folder / path.name.upper())


def _refuse_every_spelling(capsys, path, folder, *argv):
    before = path.read_bytes()
    for spelling in _spellings(path, folder):
        line = refuse(capsys, *argv, spelling)
        assert f"cannot write {spelling}: {argv[-1]} names the same file as " in line
        assert line.endswith("which would be overwritten")
        assert path.read_bytes() == before
        assert os.path.samefile(path, spelling)


@pytest.fixture
def table_with_suffix(tmp_path):
    """Return a function that writes a CSV file under any name into a folder of its own."""

    def make(name):
        folder = tmp_path / "folder"
        folder.mkdir()
        path = folder / name
        path.write_text("\n".join(["width,height,label", *CSV_ROWS]) + "\n")
        return path, folder

    return make


def test_fit_does_not_overwrite_its_data(capsys, table_with_suffix):
    path, folder = table_with_suffix("own.csv")
    _refuse_every_spelling(capsys, path, folder, "fit", path, *QUICK, "--model")


def test_the_data_may_be_the_link(capsys, tmp_path, table):
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    before = link.read_bytes()
    assert "same file as DATA" in refuse(capsys, "fit", link, *QUICK, "--model", table)
    assert link.read_bytes() == before


def test_compare_does_not_overwrite_its_data(capsys, table_with_suffix):
    path, folder = table_with_suffix("own.png")
    _refuse_every_spelling(capsys, path, folder, "compare", path, *QUICK_COMPARE, "--plot")


def test_predict_does_not_overwrite_its_data(capsys, iris_model, table_with_suffix):
    path, folder = table_with_suffix("own.csv")
    _refuse_every_spelling(capsys, path, folder, "predict", iris_model, path, "--output")


def test_predict_does_not_overwrite_its_model(capsys, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    model = folder / "m.npz"
    succeed(capsys, "fit", "iris", "--model", model, *QUICK)
    _refuse_every_spelling(capsys, model, folder, "predict", model, "iris", "--output")
    FastEMClassifier.load(model)


def test_files_beside_the_inputs_may_be_written(capsys, tmp_path, table):
    model = tmp_path / "table.npz"
    for _ in range(2):  # the second time it exists and is no input
        succeed(capsys, "fit", table, "--model", model, *QUICK)
    output = tmp_path / "TABLE.CSV"
    if not output.exists():  # the file system distinguishes case: another file
        succeed(capsys, "predict", model, table, "--output", output)
        assert os.path.getsize(table) != output.stat().st_size


def test_a_built_in_data_set_is_no_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeed(capsys, "fit", "iris", "--model", "iris", *QUICK)
    succeed(capsys, "fit", "iris", "--model", "iris", *QUICK)
    assert FastEMClassifier.load("iris").n_features_in_ == 4
    line = refuse(capsys, "predict", "iris", "iris", "--output", "iris")
    assert "--output names the same file as FILE (iris)" in line
    assert FastEMClassifier.load("iris").n_features_in_ == 4


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no null device")
def test_a_device_may_be_input_and_output():
    check_files({"DATA": "/dev/null"}, {"--output": "/dev/null"})


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty"),
        (["a,label"], "has a header but no rows"),
        (["a,kind", "1,x", "2,y"], "has no column 'label'; name the label column with --target. "
         "Its columns are a, kind"),
        (["label", "x", "y"], "has no column except the label"),
        (["a,b,label", "1,2,x", "3,4,y", "5,six,x", "7,eight,y"],
         "column 'b' is not numeric: 'six' in row 3"),
        (["a,label", "1,x", "inf,y"], "column 'a' is not numeric: 'inf' in row 2"),
        (["a,b,c,label", "1,,3,x", "4,5,6,y", "7,,NA,x"],
         "missing values. Columns and how many: 'b' (2, the first in row 1), "
         "'c' (1, the first in row 3)"),
        (["a,label", "1,x", "2,", "3,y"], "missing values. Columns and how many: 'label' (1, the "
         "first in row 2)"),
        (["a,label", "1,x", "2,x"], "column 'label' contains only the class 'x'"),
        (["a,label", "1,0.25", "2,NA"], "'label' (1, the first in row 2), written as 'NA'"),
        (["a,label", "1,x,9", "2,y,9"], "all rows have 3 fields, more fields than the header (2)"),
        (["a,label", "1,x", "2,y,9"], "the header has 2 fields, but line 3 has 3"),
    ],
)  # fmt: skip
def test_bad_table(capsys, tmp_path, lines, words):
    path = tmp_path / "bad.csv"
    path.write_text("".join(line + "\n" for line in lines))
    line = refuse(capsys, "fit", path, "--model", tmp_path / "model.npz")
    assert words in line
    assert str(path) in line
    assert not (tmp_path / "model.npz").exists()


def test_many_columns_are_not_all_listed(capsys, tmp_path):
    path = write(tmp_path / "wide.csv", ",".join(f"pixel{j}" for j in range(784)), "0," * 783 + "0")
    line = refuse(capsys, "compare", path)
    assert "pixel0, pixel1" in line
    assert line.endswith("and 772 more")


def test_unknown_data_set(capsys, tmp_path):
    line = refuse(capsys, "compare", "irsi")
    assert "no such file or data set: 'irsi'" in line
    assert "iris, wine, breast_cancer, digits" in line
    assert "no such file" in refuse(capsys, "compare", "https://example.org/iris.csv")
    assert "directory" in refuse(capsys, "compare", tmp_path).lower()


def test_missing_target_lists_the_columns(capsys, table):
    line = refuse(capsys, "compare", table, "--target", "species")
    assert "has no column 'species'" in line
    assert "width, height, label" in line


def test_binary_file_as_data(capsys, tmp_path, iris_model):
    assert "cannot be read as a CSV file" in refuse(capsys, "predict", iris_model, iris_model)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\x00\x00")
    assert "cannot be read as a CSV file" in refuse(capsys, "compare", path)


class Without:
    """An import hook that reports a package as missing."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}")


def take_away(monkeypatch, package):
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])


@pytest.fixture
def no_pandas(monkeypatch):
    take_away(monkeypatch, "pandas")


@pytest.fixture
def no_matplotlib(monkeypatch):
    take_away(monkeypatch, "matplotlib")


@pytest.mark.usefixtures("no_pandas")
def test_csv_without_pandas(capsys, table):
    assert "pip install 'fastem[cli]'" in refuse(capsys, "compare", table)


@pytest.mark.usefixtures("no_pandas")
def test_built_in_data_without_pandas(capsys, tmp_path):
    path = tmp_path / "model.npz"
    succeed(capsys, "fit", "iris", "--model", path, *QUICK)
    assert len(read_csv(succeed(capsys, "predict", path, "iris"))) == 150


def test_bad_model_file(capsys, tmp_path, iris_model, table):
    cut = tmp_path / "cut.npz"
    with open(iris_model, "rb") as file:
        cut.write_bytes(file.read(2000))
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, x=np.arange(3))
    for path in (cut, foreign, table):
        assert str(path) in refuse(capsys, "predict", path, "iris")
    assert "No such file" in refuse(capsys, "predict", tmp_path / "none.npz", "iris")


def test_unwritable_output(capsys, tmp_path, iris_model):
    nowhere = tmp_path / "no" / "file"
    for argv in (
        ["fit", "iris", "--model"],
        ["predict", iris_model, "iris", "--output"],
    ):
        assert "there is no directory" in refuse(capsys, *argv, nowhere)
        assert "is a directory" in refuse(capsys, *argv, tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_output_without_permission(capsys, tmp_path):
    tmp_path.chmod(0o500)
    assert "no permission" in refuse(capsys, "fit", "iris", "--model", tmp_path / "model.npz")
    assert "no permission" in refuse(capsys, "compare", "iris", "--plot", tmp_path / "a.png")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_disk(capsys, iris_model):
    assert "No space left" in refuse(capsys, "predict", iris_model, "iris", "--output", "/dev/full")
    assert "not a regular file" in refuse(capsys, "fit", "iris", "--model", "/dev/full")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden", "0"),
        ("--hidden", "-3"),
        ("--hidden", "many"),
        ("--hidden", ""),
        ("--hidden", "12,"),
        ("--hidden", "12,0"),
        ("--hidden", "12,-8"),
        ("--hidden", "12,8.5"),
        ("--hidden", "12-8"),
        ("--hidden", "(12, 8)"),
        ("--max-iter", "0"),
        ("--epochs", "0"),
        ("--epochs", "2.5"),
        ("--activation", "softplus"),
        ("--activation", ""),
        ("--solver", "newton"),
        ("--alpha", "-1"),
        ("--alpha", "nan"),
        ("--seed", "-1"),
        ("--test-size", "1"),
        ("--test-size", "0"),
    ],
)
def test_option_out_of_range(capsys, option, value):
    line = refuse(capsys, "compare", "iris", f"{option}={value}")
    assert option in line
    assert repr(value) in line


def test_hidden_too_many_for_exact_sums_are_sampled_with_a_warning(capsys, tmp_path):
    path = tmp_path / "model.npz"
    assert main(["fit", "digits", "--model", str(path), "--hidden", "50", "--max-iter", "2"]) == 0
    message = capsys.readouterr().err
    assert "EM falls back to sampling for --hidden 50 and 10 classes" in message
    assert "For exact results, use fewer units (--hidden)." in message
    assert "e_step" not in message
    assert path.exists()


@pytest.mark.parametrize("sizes", ["100000000", "5,100000000", "100000000,5"])
def test_hidden_too_large_for_memory(capsys, tmp_path, sizes):
    assert "available" in refuse(capsys, "compare", "digits", "--hidden", sizes)
    path = tmp_path / "model.npz"
    assert "available" in refuse(capsys, "fit", "digits", "--model", path, "--hidden", sizes)
    assert not path.exists()


def test_usage_errors(capsys):
    assert "VERB" in refuse(capsys, "irsi")
    assert "DATA" in refuse(capsys, "compare")
    assert "--model" in refuse(capsys, "fit", "iris")
    assert "--wrong" in refuse(capsys, "--wrong")


# --- the process --------------------------------------------------------------------------


def test_interrupt(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "compare", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "fastem: interrupted\n"


@pytest.fixture
def ctrl_c_in_fit(monkeypatch):
    """Press Ctrl-C in a fit that answers with its best iterate and a warning."""
    fit = FastEMClassifier.fit

    def interrupted_fit(self, X, y):
        fit(self, X, y)
        if self.tol > 0.0:  # not in the rehearsal
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                warnings.warn("interrupted", ConvergenceWarning, stacklevel=2)
        return self

    monkeypatch.setattr(FastEMClassifier, "fit", interrupted_fit)


@pytest.mark.usefixtures("ctrl_c_in_fit")
def test_interrupted_fit_saves_its_best(capsys, tmp_path):
    path = tmp_path / "model.npz"
    assert main(["fit", "iris", "--model", str(path), *QUICK]) == 130
    assert f"interrupted: the best iterate so far is saved in {path}" in capsys.readouterr().err
    assert FastEMClassifier.load(path).n_features_in_ == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c_in_fit")
def test_interrupted_comparison_is_none(capsys):
    assert main(QUICK_COMPARE) == 130
    output = capsys.readouterr()
    assert output.out == ""
    assert "fastem: interrupted\n" in output.err


def test_broken_pipe(iris_model):
    command = [sys.executable, "-m", "fastem", "predict", iris_model, "iris"]
    reader, writer = os.pipe()
    os.close(reader)  # the reader has closed the pipe before the first line
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_help_as_a_process():
    done = subprocess.run(
        [sys.executable, "-m", "fastem", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    for verb in ("compare", "fit", "predict"):
        assert verb in done.stdout


@pytest.mark.parametrize("verb", ["compare", "fit"])
def test_help_of_several_hidden_layers(capsys, verb):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--hidden SIZES units of the hidden layer, for example 12, or of several layers" in text
    assert ("one for every hidden layer, for example relu,tanh" in text) == (verb == "compare")


def test_console_script(capsys, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (value,) = project["scripts"].values()
    assert list(project["scripts"]) == ["fastem"]
    script = EntryPoint("fastem", value, "console_scripts").load()
    monkeypatch.setattr(sys, "argv", ["fastem", "predict"])
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # a program may ignore Ctrl-C
    assert script() == 2
    assert capsys.readouterr().err.startswith("fastem: error: ")


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("fastem ")
