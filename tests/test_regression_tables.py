"""The measures and tables of benches/regression.py; the public tables are not needed."""

import json
from pathlib import Path

import numpy as np
import pytest
import regression
import regression_tables
from regression import Judged


def make_problem(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 2))
    return X, 3.0 + X @ [1.0, -2.0] + rng.normal(size=n_samples)


def constant_gaussian(X, y):
    """Gaussian with mean and standard deviation of the training targets."""
    mean, deviation = y.mean(), y.std()
    return lambda X, y: regression.gaussian(y, np.full(len(y), mean), deviation)


def test_gaussian_has_the_textbook_density_and_interval():
    y, mean, deviation = np.array([1.0, -2.0]), np.array([0.5, 1.0]), np.array([2.0, 0.1])
    judged = regression.gaussian(y, mean, deviation)
    density = np.exp(-0.5 * ((y - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(judged.log_density[0], np.log(density[0]), rtol=1e-13)
    np.testing.assert_allclose(judged.log_density[1], -450 - np.log(0.1 * np.sqrt(2 * np.pi)))
    np.testing.assert_allclose(judged.upper - mean, 1.6448536269514722 * deviation, rtol=1e-13)
    np.testing.assert_allclose(mean - judged.lower, 1.6448536269514722 * deviation, rtol=1e-13)


def test_judgement_of_known_predictions():
    y = np.array([0.0, 2.0, 4.0, 6.0])
    lower, upper = np.array([0.0, 2.5, 3.0, 5.0]), np.array([1.0, 3.5, 4.0, 9.0])
    log_density, mean = np.array([-1.0, -2.0, -3.0, -2.0]), np.array([1.0, 1.0, 5.0, 5.0])
    judged = Judged(log_density, mean, lower, upper)
    found = regression.judgement(judged, y, unit=2.0)
    expected = {"log_density": np.log(2.0) - 2.0, "rmse": 0.5, "coverage": 0.75, "width": 0.875}
    assert found == pytest.approx(expected, rel=1e-14)


def test_quantiles_have_no_density_and_no_mean():
    y = np.arange(3.0)
    found = regression.judgement(Judged(None, None, y, y + 1.0), y, unit=1.0)
    assert found == {"log_density": None, "rmse": None, "coverage": 1.0, "width": 1.0}


def test_every_row_is_held_out_once():
    X, y = make_problem()
    rows = []

    def method(X_train, y_train):
        def judge(X, y):
            rows.extend(X.tolist())
            assert not {tuple(x) for x in X} & {tuple(x) for x in X_train}
            return regression.gaussian(y, np.zeros(len(y)), 1.0)

        return judge

    found = regression.measure(method, X, y)
    assert sorted(rows) == sorted(X.tolist())
    log_density = np.mean(-0.5 * y**2) - 0.5 * np.log(2 * np.pi) + np.log(y.std())
    assert found["log_density"] == pytest.approx(log_density, rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(y**2)) / y.std(), rel=1e-12)


@pytest.mark.parametrize(
    "method",
    [constant_gaussian, regression.ridge, regression.gp],
    ids=["constant", "ridge", "gp"],
)
def test_measures_do_not_depend_on_the_unit_of_the_targets(method, monkeypatch):
    monkeypatch.setattr(regression, "_PROCESSES", 1)
    X, y = make_problem()
    plain, scaled = regression.measure(method, X, y), regression.measure(method, X, 5.0 - 1e3 * y)
    for name in ("log_density", "rmse", "coverage", "width"):
        assert scaled[name] == pytest.approx(plain[name], rel=1e-4), name


def test_standardised_targets_give_predictions_in_the_unit_of_the_targets():
    X, y = make_problem()
    plain = constant_gaussian(X, y)(X, y)
    wrapped = regression.on_standardised(constant_gaussian)(X, y)(X, y)
    for name in Judged._fields:
        expected = getattr(plain, name)
        np.testing.assert_allclose(getattr(wrapped, name), expected, rtol=1e-12, atol=1e-12)


def test_held_out_residuals_are_larger_than_training_residuals(monkeypatch):
    monkeypatch.setattr(regression, "_PROCESSES", 1)
    X, y = make_problem()
    judged = regression.forest(X, y)(X, y)
    training = np.sqrt(np.mean((y - judged.mean) ** 2))
    assert np.all(judged.upper - judged.mean > 1.2 * 1.645 * training)


def made_up(log_density, rmse, coverage=0.9):
    measures = {"log_density": log_density, "rmse": rmse}
    return {**measures, "coverage": coverage, "width": 2.0, "seconds": 0.5}


def test_summary_counts_wins_and_ranks():
    results = {
        "first": {"em": made_up(-1.0, 0.5), "mlp": made_up(-2.0, 0.4), "gp": made_up(0.0, 0.5)},
        "second": {"em": made_up(-1.0, 0.5), "mlp": made_up(-3.0, 0.3), "gp": made_up(-2.0, 0.7)},
        "incomplete": {"em": made_up(-9.0, 9.0)},
    }
    results["second"]["mlp"]["coverage"] = 0.7
    for by_method in results.values():
        by_method["boosting"] = made_up(None, None)
    lines = regression.summary(results, ["em", "mlp", "gp", "boosting"]).splitlines()
    assert lines[0] == "Number of tables: 2."
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in lines[4:]}
    assert cells["em"][1:8] == ["-1.000", "1.50", "-", "-", "0.500", "-", "-"]
    assert cells["mlp"][1:8] == ["-2.500", "3.00", "2", "0", "0.350", "0", "2"]
    assert cells["gp"][1:8] == ["-1.000", "1.50", "1", "1", "0.600", "1", "0"]
    assert cells["boosting"][1:8] == ["-"] * 7
    assert cells["mlp"][8:] == ["0.800", "0.700", "0.900", "2.000", "0.50"]


def test_document_of_tables_without_a_common_method():
    results = {"engel": {"em": made_up(-1.0, 0.5)}, "cpus": {"mlp": made_up(-2.0, 0.5)}}
    text = regression.document(results)
    assert "No table has results of all methods." in text
    assert "| engel | -1.000 | - |" in text
    assert "for choices" not in text


def test_results_of_a_file_are_kept_and_missing_ones_are_added(tmp_path, monkeypatch, capsys):
    X, y = make_problem()
    monkeypatch.setattr(
        regression, "table", lambda name: regression_tables.Table(X, ["a", "b"], y, "y")
    )
    monkeypatch.setitem(regression.METHODS, "mlp", constant_gaussian)
    path = tmp_path / "results.json"
    path.write_text('{"engel": {"gp": ' + str(made_up(-7.0, 1.0)).replace("'", '"') + "}}")
    arguments = ["--tables", "engel", "--methods", "mlp", "gp", "--json", str(path)]
    assert regression.main(arguments) == 0
    kept = regression._read_results(path)["engel"]
    assert kept["gp"]["log_density"] == -7.0
    assert kept["mlp"]["rmse"] == pytest.approx(1.0, abs=0.1)
    output = capsys.readouterr().out
    assert "| engel |" in output
    monkeypatch.setitem(regression.METHODS, "gp", constant_gaussian)
    assert regression.main([*arguments, "--again"]) == 0
    assert regression._read_results(path)["engel"]["gp"]["rmse"] == kept["mlp"]["rmse"]


def test_every_table_has_one_purpose():
    names = regression_tables.TABLES
    assert len(set(names)) == len(names)
    assert set(names) == {"diabetes", *regression_tables._SOURCES}
    assert {"diabetes", "boston", "auto_mpg"} <= set(regression_tables.FOR_JUDGEMENT)


def test_categories_become_columns_of_zeros_and_ones():
    two = regression_tables._indicators("sex", np.array(["m", "f", "m"], dtype=object))
    three = regression_tables._indicators("origin", np.array([3, 1, 2], dtype=object))
    assert {name: column.tolist() for name, column in two.items()} == {"sex=m": [1, 0, 1]}
    assert {name: column.tolist() for name, column in three.items()} == {
        "origin=1": [0, 1, 0],
        "origin=2": [0, 0, 1],
        "origin=3": [1, 0, 0],
    }


def test_diabetes_needs_no_other_package():
    X, features, y, target = regression_tables.table("diabetes")
    assert X.shape == (442, len(features)) == (442, 10)
    assert (target, y.min(), y.max()) == ("progression", 25.0, 346.0)


def test_the_tables_in_the_texts_are_those_of_the_results():
    root = Path(__file__).parent.parent
    results = json.loads((root / "docs/regression.json").read_text("utf-8"))
    assert set(results) == set(regression_tables.TABLES)
    assert all(set(by_method) == set(regression.METHODS) for by_method in results.values())
    assert (root / "docs/regression.md").read_text("utf-8") == regression.document(results)
    page = (root / "docs/results.md").read_text("utf-8")
    assert regression.with_page_table(page, results) == page
