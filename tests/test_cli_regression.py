"""The command line for numbers and counts: recognition of the task, output, files and errors."""

import csv
import io
import json
import re
import signal
import warnings

import numpy as np
import pytest
from scipy.special import gammaln, xlogy
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, FastEMRegressor, FastMLPRegressor
from fastem.cli.arguments import TASKS
from fastem.cli.command_line import main
from fastem.cli.comparison import densities, methods
from fastem.cli.comparison.densities import NormalDensity, PoissonDensity
from fastem.cli.tables.datasets import read_dataset, with_names
from fastem.cli.tables.labels import MOST_LABELS, ROWS_PER_LABEL
from fastem.estimators import load_model
from fastem.estimators.model_files import write_model

pytest.importorskip("pandas")

QUICK_AUTO = ["--hidden", "3", "--max-iter", "5"]
QUICK = [*QUICK_AUTO, "--alpha", "0.5"]
QUICK_COMPARE = [*QUICK_AUTO, "--epochs", "5"]
METHODS = ["EM", "backpropagation", "ridge regression", "gradient boosting"]
FRACTIONS = [f"{np.sin(i):.3f}" for i in range(60)]
COUNTS = [(7 * i) % 5 + i % 3 for i in range(60)]


def table(path, targets, header="width,height,label"):
    """Write a CSV file with two features."""
    rows = [f"{i % 7},{(3 * i) % 5 - 0.5 * (i % 2)},{y}" for i, y in enumerate(targets)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def run(capsys, *argv):
    """Return status, stdout, and the lines of stderr without warnings of the fit."""
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    skipped = (
        r"fastem: \d+ s: |.*(The fit did not converge|The fit predicts the same for every row)"
    )
    lines = [x for x in output.err.splitlines() if not re.match(skipped, x)]
    return status, output.out, lines


def refuse(capsys, *argv):
    """Return the error message."""
    status, out, errors = run(capsys, *argv)
    assert (status, out) == (2, "")
    notes = [line for line in errors if line.startswith("fastem: note: ")]
    (error,) = [line for line in errors if line not in notes]
    assert error.startswith("fastem: error: ")
    return error


def as_json(capsys, *argv):
    status, out, _ = run(capsys, *argv, "--json")
    assert status == 0
    return json.loads(out)


# --- recognition ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (FRACTIONS, "regression"),
        (["1e-3", "2e-3"] * 5, "regression"),
        ([*range(20, -1, -1)], "regression"),
        ([f"{i}.0" for i in range(20, -1, -1)], "regression"),
        ([*range(-30, 30)], "regression"),
        ([*range(20)] * 2, "class"),
        ([*range(21)] * 49, "regression"),
        ([*range(21)] * 50, "class"),  # 50 rows of each number
        ([1, 2, 3] * 5, "class"),
        (["1.0", "0.0"] * 5, "class"),
        ([f"{i:05d}" for i in range(40)] * 2, "class"),  # codes
        ([f"letter{i}" for i in range(40)] * 2, "class"),
        (["0.5", "0.7", "other"] * 5, "class"),
        (["NA", "None"] * 5, "class"),
        (([str(i) for i in range(40)] + ["x"]) * 2, "class"),
    ],
)
def test_recognition(tmp_path, targets, task):
    dataset = read_dataset(table(tmp_path / "a.csv", targets))
    assert dataset.task == task
    if task == "regression":
        assert dataset.y.dtype == np.float64
        np.testing.assert_array_equal(dataset.y, np.array(targets, dtype=np.float64))
    else:
        assert set(map(str, dataset.y.tolist())) == set(map(str, targets))


@pytest.mark.parametrize("verb", ["fit", "compare"])
@pytest.mark.parametrize(
    ("targets", "words", "others"),
    [
        (FRACTIONS, "has fractions like 0.841", "--task class is for labels"),
        (range(-1, 59), "has 60 different whole numbers", "--task class is for labels"),
        (
            range(59, -1, -1),
            "has 60 different whole numbers",
            "--task count is for counts, --task class is for labels",
        ),
    ],
)
def test_recognition_is_reported_in_one_line(capsys, tmp_path, verb, targets, words, others):
    path = table(tmp_path / "a.csv", targets)
    own = ["--model", tmp_path / "m.npz"] if verb == "fit" else ["--epochs", "5"]
    status, out, errors = run(capsys, verb, path, *own, *QUICK)
    assert (status, len(errors)) == (0, 1)
    assert errors[0] == (
        f"fastem: note: column 'label' {words}, so the task is regression; {others}"
    )
    assert "numbers from" in out
    status, out, errors = run(capsys, verb, path, *own, *QUICK, "--task", "regression")
    assert (status, errors) == (0, [])
    assert "numbers from" in out


def test_few_whole_numbers_stay_labels_without_a_note(capsys, tmp_path):
    path = table(tmp_path / "a.csv", [i % 4 for i in range(40)])
    status, out, errors = run(capsys, "compare", path, *QUICK_COMPARE)
    assert (status, errors) == (0, [])
    assert "4 classes (0, 1, 2, 3)" in out


def test_the_help_states_the_rule(capsys):
    for verb in ("compare", "fit"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert f"--task {{{','.join(TASKS)}}} predict" in text
        rule = f"more than {MOST_LABELS} different whole numbers with fewer than {ROWS_PER_LABEL} "
        assert rule + "rows of each" in text


def test_a_penalty_that_chooses_itself(capsys, tmp_path):
    path = table(tmp_path / "a.csv", FRACTIONS)
    argv = ["compare", path, "--task", "regression", *QUICK_COMPARE, "--alpha", "auto"]
    status, out, _ = run(capsys, *argv, "--json")
    settings = json.loads(out)["methods"][0]["settings"]
    assert (status, settings["alpha"], settings["penalty_chosen"]) == (0, "auto", True)
    status, out, _ = run(capsys, *argv)
    line = f"weights: {settings['penalty']:.3g} (chosen on held-out training rows);"
    assert line in " ".join(out.split())


@pytest.mark.parametrize("task", ["class", "regression", "count"])
def test_task_overrides_recognition(capsys, tmp_path, task):
    path = table(tmp_path / "a.csv", [i % 3 for i in range(30)])
    data = as_json(capsys, "compare", path, "--task", task, *QUICK_COMPARE)["data"]
    if task == "class":
        assert data["classes"] == [0, 1, 2]
    else:
        assert (data["task"], data["y"]["maximum"]) == (task, 2.0)


def test_fractions_as_labels(capsys, tmp_path):
    path = table(tmp_path / "a.csv", ["0.5", "0.25"] * 20)
    data = as_json(capsys, "compare", path, "--task", "class", *QUICK_COMPARE)["data"]
    assert data["classes"] == ["0.25", "0.5"]


def test_task_of_built_in_data(capsys):
    assert read_dataset("diabetes").task == "regression"
    assert read_dataset("diabetes", task="class").y.dtype == np.int64
    assert read_dataset("digits", task="count").y.max() == 9.0
    line = refuse(capsys, "compare", "iris", "--task", "regression")
    assert line.endswith("iris has the labels setosa, ...; --task regression needs numbers")


# --- compare --------------------------------------------------------------------------------


def test_compare_diabetes(capsys):
    argv = ["compare", "diabetes", "--hidden", "3", "--max-iter", "5", "--epochs", "200"]
    status, out, errors = run(capsys, *argv)
    assert (status, errors) == (0, [])
    lines = out.splitlines()
    assert lines[0].startswith("data     diabetes: 442 rows, 10 features, numbers from 25 to 346")
    assert lines[1] == "split    331 rows for training, 111 for testing, drawn at random (seed 0)"
    assert " ".join(lines[4].split()) == "method test loss minus EM RMSE coverage width seconds"
    assert [line.split("  ")[0] for line in lines[6:10]] == METHODS
    text = " ".join(out.split())
    assert "predicts a mixture of normal distributions; " in text
    assert "not yet converged at the limit of 5 iterations; --max-iter allows more" in text
    assert "not yet converged at the limit of 200 epochs; --epochs allows more" in text
    assert text.count("from 5-fold cross-validation of the training rows") == 3
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["true", "predicted"])
    rows = np.array([line.split() for line in lines[start + 2 : start + 7]], dtype=float)
    assert rows.shape == (5, 4)
    assert (rows[:, 2] < rows[:, 1]).all()
    assert (rows[:, 1] < rows[:, 3]).all()


def quiet_fit(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The fit predicts the same for every row")
        return estimator.fit(X, y)


def test_figures_are_those_of_the_test_rows(capsys):
    """Everything is computed here again, from the two estimators."""
    content = as_json(capsys, "compare", "diabetes", *QUICK_AUTO, "--epochs", "100")
    em, network = content["methods"][:2]
    X, X_test, y, y_test = train_test_split(
        *load_diabetes(return_X_y=True), test_size=0.25, random_state=0
    )
    model = quiet_fit(FastEMRegressor((3,), max_iter=5, random_state=0), X, y)
    low, high = model.predict_interval(X_test).T
    own = model.predict(X_test), model.log_density(X_test, y_test), low, high

    def of_perceptron(rows, new):
        scale, unit = StandardScaler().fit(X[rows]), StandardScaler().fit(y[rows, None])
        mlp = FastMLPRegressor(hidden_layer_sizes=(3,), max_iter=100, random_state=0)
        quiet_fit(mlp, scale.transform(X[rows]), unit.transform(y[rows, None]).ravel())
        return unit.inverse_transform(mlp.predict(scale.transform(new))[:, None]).ravel()

    folds = KFold(5, shuffle=True, random_state=0).split(X)
    errors = [y[test] - of_perceptron(train, X[test]) for train, test in folds]
    deviation = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    mean = of_perceptron(np.arange(len(y)), X_test)
    reach = 1.6448536269514722 * deviation
    other = mean, norm.logpdf(y_test, mean, deviation), mean - reach, mean + reach
    assert network["settings"]["standard_deviation"] == pytest.approx(deviation, rel=1e-9)
    for row, (mean, log, low, high) in ((em, own), (network, other)):
        assert row["test_log_density"] == pytest.approx(log.mean(), rel=1e-9)
        assert row["test_rmse"] == pytest.approx(np.sqrt(np.mean((mean - y_test) ** 2)), rel=1e-9)
        assert row["test_coverage"] == np.mean((low <= y_test) & (y_test <= high))
        assert row["test_width"] == pytest.approx(np.mean(high - low), rel=1e-9)
    for i, row in enumerate(content["predictions"]):
        assert row["true"] == y_test[i]
        assert (row["predicted"], row["q05"]) == pytest.approx((own[0][i], own[2][i]))


def test_comparison_as_json(capsys):
    content = as_json(capsys, "compare", "diabetes", *QUICK_COMPARE)
    assert list(content) == [
        "data", "compile_seconds", "methods", "standard_errors_of", "result", "penalty_unit",
        "classes_without_training_rows", "predictions", "learning_curves",
    ]  # fmt: skip
    y = load_diabetes().target
    assert content["data"] == {
        "name": "diabetes", "rows": 442, "features": 10, "task": "regression",
        "y": {
            "minimum": 25.0, "maximum": 346.0, "mean": pytest.approx(y.mean()),
            "standard_deviation": pytest.approx(y.std()),
        },
        "train": 331, "test": 111, "seed": 0, "splits": 1, "seeds": [0],
    }  # fmt: skip
    assert [row["method"] for row in content["methods"]] == METHODS
    for row in content["methods"][:2]:
        assert (row["hidden_layer_sizes"], row["n_iter"], row["converged"]) == ([3], 5, False)
        assert row["seconds"] > 0.0
    assert list(content["predictions"][0]) == ["true", "predicted", "std", "q05", "q95"]
    em, network = content["learning_curves"]
    assert (len(em["loss"]), len(network["loss"])) == (6, 5)


def test_comparison_is_reproducible(capsys):
    first, second = (as_json(capsys, "compare", "diabetes", *QUICK_COMPARE) for _ in range(2))
    assert first["predictions"] == second["predictions"]
    for one, other in zip(first["methods"], second["methods"], strict=True):
        assert one["test_log_density"] == other["test_log_density"]


def test_compare_counts(capsys, tmp_path):
    path = table(tmp_path / "a.csv", COUNTS)
    argv = ["compare", path, "--task", "count", *QUICK_AUTO, "--epochs", "50"]
    content = as_json(capsys, *argv)
    X, X_test, y, y_test = train_test_split(
        *read_dataset(path, task="count")[1:3], test_size=0.25, random_state=0
    )
    scale = StandardScaler().fit(X)
    mlp = FastMLPRegressor("poisson", hidden_layer_sizes=(3,), max_iter=50, random_state=0)
    rate = quiet_fit(mlp, scale.transform(X), y).predict(scale.transform(X_test))
    em, network = content["methods"][:2]
    log = xlogy(y_test, rate) - rate - gammaln(y_test + 1.0)
    deviance = 2.0 * np.mean(xlogy(y_test, y_test / rate) - y_test + rate)
    assert network["test_log_probability"] == pytest.approx(log.mean(), rel=1e-9)
    assert network["test_deviance"] == pytest.approx(deviance, rel=1e-9)
    model = FastEMRegressor((3,), family="poisson", max_iter=5, random_state=0)
    log = quiet_fit(model, X, y).log_density(X_test, y_test)
    assert em["test_log_probability"] == pytest.approx(log.mean(), rel=1e-9)
    for row in (em, network):
        assert 0.0 <= row["test_coverage"] <= 1.0
        assert "standard_deviation" not in row["settings"]
    status, out, _ = run(capsys, *argv)
    assert status == 0
    assert "counts from 0 to 6" in out
    assert "deviance  coverage" in out
    assert "(minus the mean log probability)" in " ".join(out.split())
    start = next(
        i for i, x in enumerate(out.splitlines()) if x.split()[:2] == ["true", "predicted"]
    )
    assert out.splitlines()[start + 6].split()[0] == f"{y_test[4]:.0f}"


@pytest.mark.parametrize("exponent", [-12, -3, 0, 6, 20, 100])
def test_numbers_of_any_size_are_legible(capsys, tmp_path, exponent):
    path = table(tmp_path / "a.csv", [f"{y}e{exponent}" for y in FRACTIONS])
    status, out, _ = run(capsys, "compare", path, "--task", "regression", *QUICK_COMPARE)
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines[4:10])) < 110
    em = lines[6].split()
    assert len(em[3].replace(".", "").lstrip("0").partition("e")[0]) >= 3  # digits of the RMSE


def test_settings_reach_both_methods():
    own = {"activation": ("tanh", "relu"), "solver": "sgd", "epochs": 9}
    settings = methods.Options((5, 4), 7, 0.25, 3, **own)
    for task, family, kind, loss in (
        ("regression", "gaussian", NormalDensity, "squared_error"),
        ("count", "poisson", PoissonDensity, "poisson"),
    ):
        em = methods.exact_em(settings, np.zeros(500), task).estimator
        density = methods.backpropagation(settings, np.zeros(500), task).estimator
        network = density.regressor[-1]
        assert (type(em), em.family, type(density), network.loss) == (
            FastEMRegressor, family, kind, loss
        )  # fmt: skip
        for estimator in (em, network):
            assert estimator.hidden_layer_sizes == (5, 4)
            assert estimator.random_state == 3
        assert (em.alpha, network.alpha) == (0.25, pytest.approx(0.25 / 3))  # three batches
        assert (em.max_iter, network.max_iter) == (7, 9)
        assert (network.activation, network.solver) == (("tanh", "relu"), "sgd")


def test_default_settings_are_those_of_the_estimators():
    em = methods.exact_em(methods.Options(), np.zeros(100), "regression").estimator
    default = FastEMRegressor(random_state=0)
    sizes = {"hidden_layer_sizes": tuple(np.ravel(default.hidden_layer_sizes).tolist())}
    assert em.get_params() == default.get_params() | sizes


def test_deviation_of_many_rows_is_from_a_held_out_tenth(monkeypatch):
    X = np.random.default_rng(0).normal(size=(200, 2))
    y = X[:, 0] + np.random.default_rng(1).normal(size=200)
    density = methods.backpropagation(methods.Options((3,), epochs=30), y, "regression").estimator
    quiet_fit(density, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert density.estimate_deviation(X, y, 0) == "5-fold cross-validation"
        folds = density.deviation_
        monkeypatch.setattr(densities, "_MOST_ROWS_OF_FOLDS", 199)
        assert density.estimate_deviation(X, y, 0) == "a held-out tenth"
    assert density.deviation_ != folds
    assert density.deviation_ == pytest.approx(folds, rel=0.5)


def test_extreme_rates_have_finite_figures():
    class Mean:
        def predict(self, X):
            return np.array([0.0, 1e-200, 1e9, 1e200, np.inf])

    density = PoissonDensity(None)
    density.mean_ = Mean()
    X, y = np.zeros((5, 1)), np.array([0.0, 3.0, 1e9, 1e9, 0.0])
    assert np.isfinite(density.log_density(X, y)).all()
    low, high = density.predict_interval(X).T
    assert np.isfinite(low).all()
    assert (low <= high).all()


# --- fit and predict ------------------------------------------------------------------------


def test_fit_reports_training_figures(capsys, tmp_path):
    path = tmp_path / "m.npz"
    content = as_json(capsys, "fit", "diabetes", "--model", path, *QUICK)
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    y = y.to_numpy()
    model = FastEMRegressor.load(path)
    assert content["train_log_density"] == pytest.approx(model.log_density(X, y).mean())
    rmse = np.sqrt(np.mean((model.predict(X) - y) ** 2))
    assert content["train_rmse"] == pytest.approx(rmse)
    assert content["train_r2"] == pytest.approx(1.0 - rmse**2 / y.var())
    assert (content["n_iter"], content["hidden_layer_sizes"]) == (5, [3])
    status, out, _ = run(capsys, "fit", "diabetes", "--model", path, *QUICK)
    assert status == 0
    density = content["train_log_density"]
    line = f"train    log density {density:.4f} nats per row, RMSE {rmse:.2f}, R^2 "
    assert f"\n{line}{content['train_r2']:.4f}\n" in out


def test_fit_reports_counts(capsys, tmp_path):
    path, model = table(tmp_path / "a.csv", COUNTS), tmp_path / "m.npz"
    argv = ["fit", path, "--task", "count", "--model", model, *QUICK]
    content = as_json(capsys, *argv)
    X, y = read_dataset(path, task="count")[1:3]
    fitted = load_model(model)
    assert fitted.family_.name == "poisson"
    rate = fitted.predict(with_names(X, ["width", "height"]))
    null = 2.0 * np.mean(xlogy(y, y / y.mean()))
    deviance = 2.0 * np.mean(xlogy(y, y / rate) - y + rate)
    assert content["train_deviance"] == pytest.approx(deviance)
    assert content["train_d2"] == pytest.approx(1.0 - deviance / null)
    status, out, _ = run(capsys, *argv)
    assert status == 0
    assert f"nats per row, mean Poisson deviance {deviance:.4f}, D^2 " in out


@pytest.mark.parametrize(("task", "targets"), [("regression", FRACTIONS), ("count", COUNTS)])
def test_round_trip_by_the_names_of_columns(capsys, tmp_path, task, targets):
    data, model, output = (tmp_path / name for name in ("a.csv", "m.npz", "out.csv"))
    table(data, targets, header="width,height,price")
    argv = ["fit", data, "--target", "price", "--task", task, "--model", model, *QUICK]
    assert run(capsys, *argv)[0] == 0
    swapped = tmp_path / "new.csv"  # other order, one more column, no target
    rows = [line.split(",") for line in data.read_text().splitlines()]
    swapped.write_text("".join(f"{b},extra,{a}\n" for a, b, _ in rows))
    status, out, _ = run(capsys, "predict", model, swapped)
    assert status == 0
    found = list(csv.DictReader(io.StringIO(out)))
    assert list(found[0]) == ["predicted", "std", "q05", "q95"]
    X = with_names(read_dataset(str(data), "price", task).X, ["width", "height"])
    fitted = FastEMRegressor.load(model)
    mean, std = fitted.predict(X, return_std=True)
    expected = np.column_stack([mean, std, fitted.predict_interval(X, 0.9)])
    values = np.array([list(row.values()) for row in found], dtype=np.float64)
    np.testing.assert_array_equal(values, expected)
    if task == "count":
        assert all(row[name].isdigit() for row in found for name in ("q05", "q95"))
    content = as_json(capsys, "predict", model, swapped)
    assert content["predictions"][3] == dict(
        zip(("predicted", "std", "q05", "q95"), expected[3].tolist(), strict=True)
    )
    status, out_of_file, _ = run(capsys, "predict", model, swapped, "--output", output)
    assert (status, out_of_file) == (0, f"60 predictions written to {output}\n")
    assert output.read_text() == out


def test_fit_and_predict_diabetes(capsys, tmp_path):
    model = tmp_path / "m.npz"
    assert run(capsys, "fit", "diabetes", "--model", model, *QUICK)[0] == 0
    status, out, _ = run(capsys, "predict", model, "diabetes")
    assert (status, len(out.splitlines())) == (0, 443)


def test_predict_of_models_with_several_targets(capsys, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    path, data = tmp_path / "m.npz", table(tmp_path / "a.csv", FRACTIONS)
    for model, y in (
        (FastEMRegressor((2,), max_iter=2), X),
        (FastEMClassifier((2,), max_iter=2), (X > 0).astype(int)),
    ):
        quiet_fit(model, X, y).save(path)
        line = refuse(capsys, "predict", path, data)
        assert (
            f"predicts 2 targets per row, and the command line writes one; use {type(model)}"[:60]
            in line
        )
        assert f"{type(model).__name__}.load in Python" in line


def test_load_model_returns_the_class_of_the_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    path = tmp_path / "m.npz"
    for model, y in (
        (FastEMRegressor((2,), max_iter=2, random_state=0), X[:, 0]),
        (FastEMClassifier((2,), max_iter=2, random_state=0), X[:, 0] > 0),
    ):
        quiet_fit(model, X, y.astype(int) if y.dtype == bool else y).save(path)
        loaded = load_model(path)
        assert type(loaded) is type(model)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="holds a FastEMClassifier, not a FastEMRegressor"):
        FastEMRegressor.load(path)


def test_load_model_refuses_other_classes(tmp_path):
    path = tmp_path / "m.npz"
    write_model(path, {"class": "Other"}, {})
    words = "holds a Other, not a FastEMClassifier or a FastEMRegressor"
    with pytest.raises(ValueError, match=words):
        load_model(path)


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (["1.5"] * 30, [], "column 'label' contains only the number 1.5; two are needed"),
        ([7] * 30, ["--task", "regression"], "contains only the number 7"),
        ([0] * 30, ["--task", "count"], "contains only the number 0"),
        (["1.5", "nan"] * 9, [], "'label' (9, the first in row 2), written as 'nan'"),
        (["1.5", "NA"] * 9, [], "'label' (9, the first in row 2), written as 'NA'"),
        (["1.5", "-inf"] * 9, [], "'-inf' in row 2 (row 1 is the first below the header) is not"),
        (["1.5", "1e999"] * 9, ["--task", "regression"], "'1e999' in row 2"),
        (["1.5", ""] * 9, [], "missing values. Columns and how many: 'label' (9, the first in"),
        (["no", "yes"] * 9, ["--task", "regression"], "is not numeric: 'no' in row 1"),
        ([3, -1] * 9, ["--task", "count"], "has -1 in row 2, which is not a count (a whole number "
         "of at least 0); use --task regression"),
        (["3", "0.5"] * 9, ["--task", "count"], "has 0.5 in row 2, which is not a count"),
        ([5, 2 * 10**9] * 9, ["--task", "count"], "y has counts up to 2e+09"),
        (["1e200", "2e200"] * 9, ["--task", "regression"], "overflow; rescale y"),
        ([1, 2] * 9, ["--task", "ordinal"], "'ordinal' is not one of class, regression, count"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_bad_targets(capsys, tmp_path, verb, targets, options, words):
    path, model = table(tmp_path / "a.csv", targets), tmp_path / "m.npz"
    own = ["--model", model] if verb == "fit" else []
    assert words in refuse(capsys, verb, path, *own, *options)
    assert not model.exists()


def test_too_few_rows_to_compare(capsys, tmp_path):
    path = table(tmp_path / "a.csv", ["0.5", "1.5", "2.5"])
    line = refuse(capsys, "compare", path)
    assert "--test-size 0.25 leaves 2 of 3 rows for training; a comparison of regressions" in line
    assert line.endswith("needs at least 10: use a table with more rows")


def test_equal_training_targets(capsys, tmp_path):
    path = table(tmp_path / "a.csv", [0] * 39 + [1])
    lines = set()
    for seed in range(12):  # the only other count is a test row for some seeds
        argv = ["compare", path, "--task", "count", "--seed", seed, *QUICK_COMPARE]
        status, _, errors = run(capsys, *argv)
        lines.update(errors)
        assert status == (2 if errors else 0)
    assert lines
    for line in lines:
        assert "all training rows have the target 0" in line
        assert line.endswith("Use another --seed or a smaller --test-size")


@pytest.mark.parametrize("task", ["regression", "count"])
def test_plot_is_refused_before_the_work(capsys, tmp_path, monkeypatch, task):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(FastEMRegressor, "fit", None)
    path = tmp_path / "a.png"
    line = refuse(capsys, "compare", "diabetes", "--task", task, "--plot", path)
    reason = "the losses of EM and backpropagation are then defined differently"
    assert line.endswith(
        f"error: --plot works for classes only, and the task of diabetes is {task}: {reason}"
    )
    assert not path.exists()


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_divergence_names_the_method(capsys, solver):
    argv = ["compare", "diabetes", *QUICK_AUTO, "--solver", solver, "--alpha", "1e300"]
    line = refuse(capsys, *argv)
    assert line.startswith("fastem: error: backpropagation: The loss became non-finite")
    assert line.endswith("Use another --solver or a smaller --alpha")


@pytest.mark.parametrize("n_fits", [1, 2])  # the fit, and the first fold
def test_interrupted_comparison_has_no_result(capsys, monkeypatch, n_fits):
    fit, calls = FastMLPRegressor.fit, []

    def interrupted_fit(self, X, y):
        fit(self, X, y)
        calls.append(self.max_iter > 1)  # not in the rehearsal
        if sum(calls) == n_fits and calls[-1]:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                warnings.warn("interrupted", ConvergenceWarning, stacklevel=2)
        return self

    monkeypatch.setattr(FastMLPRegressor, "fit", interrupted_fit)
    status, out, errors = run(capsys, "compare", "diabetes", *QUICK_COMPARE)
    assert (status, out) == (130, "")
    assert "fastem: interrupted" in errors
