"""The verb predict on raw files: preparation, columns that pass through, and evaluation."""

import csv
import io
import json
import re
import warnings

import numpy as np
import pytest

from fastem import FastEMClassifier, FastEMRegressor, load_pipeline
from fastem.cli.command_line import main

pd = pytest.importorskip("pandas")

QUICK = ["--hidden", "2", "--max-iter", "20", "--alpha", "0.5"]


def run(capsys, *argv):
    """Return what a successful call prints on stdout, and its notes."""
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    assert status == 0, output.err
    notes = [line for line in output.err.splitlines() if line.startswith("fastem: note: ")]
    return output.out, "\n".join(notes)


def refuse(capsys, *argv):
    """Return the error message, one line."""
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    [line] = [line for line in output.err.splitlines() if line.startswith("fastem: error: ")]
    return line


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def raw_table(rng, n_rows):
    """Return a table with text, booleans, gaps, and an index without a name."""
    table = pd.DataFrame(
        {
            "age": rng.integers(20, 70, n_rows).astype(float),
            "city": rng.choice(["Bonn", "Köln", "Mainz, am Rhein"], n_rows),
            "smoker": rng.choice(["true", "false"], n_rows),
            "width": rng.normal(size=n_rows).round(3),
        }
    )
    table["answer"] = np.where((table.age > 45) ^ (table.city == "Bonn"), "yes", "no")
    table.loc[rng.random(n_rows) < 0.2, "age"] = np.nan
    table.loc[rng.random(n_rows) < 0.2, "city"] = None
    return table


@pytest.fixture
def raw(tmp_path, capsys):
    """Return the folder with train.csv, test.csv, and the model of the former."""
    rng = np.random.default_rng(0)
    raw_table(rng, 120).to_csv(tmp_path / "train.csv")
    raw_table(rng, 40).to_csv(tmp_path / "test.csv")
    argv = ["fit", tmp_path / "train.csv", "--target", "answer", "--impute", *QUICK]
    run(capsys, *argv, "--model", tmp_path / "m.npz")
    return tmp_path


def quiet_fit(X, y):
    """Return a model, whatever the fit warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FastEMClassifier((2,), alpha=0.1, max_iter=20, random_state=0).fit(X, y)


NEW = '''\
id,width,city,extra,age,smoker,answer
007,0.10,Bonn,x,50,true,
8,1e-1,Ulm,,,false,?
"a,b",.1,,x,30,TRUE,no
,1.,Ulm,,41.0,False,
007,-0,Köln,"q ""r""",,true,yes
'''


def test_from_a_raw_file_to_predictions_with_ids(capsys, raw):
    """Fit with imputation, predict unseen categories and gaps; the same in Python."""
    (raw / "new.csv").write_text(NEW, encoding="utf-8")
    text, notes = run(capsys, "predict", raw / "m.npz", raw / "new.csv", "--id", "id")
    rows = rows_of(text)
    assert list(rows[0]) == ["id", "predicted", "probability_no", "probability_yes"]
    assert [row["id"] for row in rows] == ["007", "8", "a,b", "", "007"]
    assert "column 'city' has values that did not occur in training, in 2 rows: 'Ulm' (2)" in notes
    table = pd.read_csv(raw / "new.csv")
    pipeline = load_pipeline(raw / "m.npz")
    assert [row["predicted"] for row in rows] == pipeline.predict(table).tolist()
    found = [[float(row["probability_no"]), float(row["probability_yes"])] for row in rows]
    np.testing.assert_array_equal(found, pipeline.predict_proba(table))
    train = pd.read_csv(raw / "train.csv")
    features = pipeline["preparation"].transform(train)
    assert [name for name in features if "=" in name] == [
        "city=Bonn", "city=Köln", "city=Mainz, am Rhein", "smoker=False", "smoker=True",
    ]  # fmt: skip
    indicators = [name for name in features if name.endswith("missing")]
    assert indicators == ["age missing", "city missing"]
    assert np.median(train["age"].dropna()) == features["age"][train["age"].isna()].unique()


def test_fit_reports_its_columns(capsys, raw):
    argv = ["fit", raw / "train.csv", "--target", "answer", "--impute", *QUICK]
    text, _ = run(capsys, *argv, "--model", raw / "m.npz")
    [line] = [line for line in text.splitlines() if line.startswith("columns")]
    train = pd.read_csv(raw / "train.csv")
    n_age, n_city = train["age"].isna().sum(), train["city"].isna().sum()
    median = train["age"].median()
    assert line == (
        f"columns  2 numbers, age: {n_age} missing values imputed by the median {median:g}, "
        f"city (3 categories, {n_city} missing), smoker (boolean)"
    )
    content = json.loads(run(capsys, *argv, "--model", raw / "m.npz", "--json")[0])
    columns = {column.pop("column"): column for column in content["preparation"]}
    assert columns["age"] == {"kind": "number", "missing": n_age, "median": median}
    assert columns["smoker"]["categories"] == ["False", "True"]
    assert "preparation" not in json.loads(
        run(capsys, "fit", "iris", *QUICK, "--model", raw / "i.npz", "--json")[0]
    )


def test_columns_pass_through_as_they_are_written(capsys, raw):
    (raw / "new.csv").write_text(NEW, encoding="utf-8")
    argv = ["predict", raw / "m.npz", raw / "new.csv"]
    keep = ["--keep", "extra, width", "--id", "id", "--keep", "age"]
    text, _ = run(capsys, *argv, *keep)
    rows = rows_of(text)
    assert list(rows[0])[:5] == ["id", "extra", "width", "age", "predicted"]
    given = rows_of(NEW)
    for name in ("id", "extra", "width", "age"):
        assert [row[name] for row in rows] == [row[name] for row in given]
    plain = rows_of(run(capsys, *argv)[0])
    assert [{k: row[k] for k in plain[0]} for row in rows] == plain
    output = raw / "out.csv"
    printed, _ = run(capsys, *argv, *keep, "--output", output)
    assert printed == f"5 predictions written to {output}\n"
    assert output.read_text(encoding="utf-8") == text
    content = json.loads(run(capsys, *argv, *keep, "--json")[0])
    assert [row["kept"]["id"] for row in content["predictions"]] == [row["id"] for row in given]


def test_the_index_without_a_name_passes_through(capsys, raw):
    argv = ["predict", raw / "m.npz", raw / "test.csv", "--id", "Unnamed: 0"]
    rows = rows_of(run(capsys, *argv)[0])
    assert [row["Unnamed: 0"] for row in rows] == [str(i) for i in range(40)]


def test_columns_whose_names_contain_commas(capsys, raw):
    header, *lines = NEW.splitlines()
    header = header.replace("extra", '"a,b"').replace("id,", "a,")
    table = "\n".join([header, *lines]) + "\n"
    (raw / "new.csv").write_text(table, encoding="utf-8")
    rows = rows_of(run(capsys, "predict", raw / "m.npz", raw / "new.csv", "--keep", "a,b")[0])
    assert [row["a,b"] for row in rows] == ["x", "", "x", "", 'q "r"']


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--id", "nr"], "argument --id: {new} has no column 'nr'. Its columns are id, width, "),
        (["--keep", "id,nr,x"], "argument --keep: {new} has no column 'nr', 'x'. Its columns are"),
        (["--target", "label"], "argument --target: {new} has no column 'label'"),
        (["--target", "age"], "argument --target: 'age' is a feature of the model"),
        (["--target", "answer"], "{new} has missing values. Columns and how many: 'answer' (2, "),
        (["--target", "extra"], "{new} has missing values. Columns and how many: 'extra' (2, "),
        (["--target", "id"], "'id' (1, the first in row 4)"),
    ],
)
def test_refused_columns(capsys, raw, options, words):
    path = raw / "new.csv"
    path.write_text(NEW, encoding="utf-8")
    assert words.format(new=path) in refuse(capsys, "predict", raw / "m.npz", path, *options)


@pytest.mark.parametrize("name", ["predicted", "probability_no"])
def test_kept_columns_with_names_of_the_output(capsys, raw, name):
    path = raw / "new.csv"
    path.write_text(NEW.replace("extra", name), encoding="utf-8")
    line = refuse(capsys, "predict", raw / "m.npz", path, "--keep", name)
    assert f"the predictions have columns of the same name as '{name}'" in line
    run(capsys, "predict", raw / "m.npz", path, "--keep", "id")


def test_refused_rows_name_columns_and_rows(capsys, raw):
    argv = ["fit", raw / "train.csv", "--target", "answer", "--drop", "age,city", *QUICK]
    run(capsys, *argv, "--model", raw / "complete.npz")
    path = raw / "gaps.csv"
    path.write_text("width,smoker\n1,true\n,\n2,\n")
    line = refuse(capsys, "predict", raw / "complete.npz", path)
    assert f"{path}: Values are missing in 'smoker' (2, the first in row 2), 'width' (1, " in line
    assert "--impute" in line
    path.write_text("width,smoker\nwide,maybe\n")
    line = refuse(capsys, "predict", raw / "complete.npz", path)
    assert "column 'width' has 'wide' in row 1" in line
    assert "column 'smoker' has 'maybe' in row 1" in line
    path.write_text("height\n1\n")
    assert "Missing: " in refuse(capsys, "predict", raw / "complete.npz", path)


def test_missing_text_that_did_not_occur_in_training(capsys, tmp_path):
    lines = [f"{'ab'[i % 2]},{i % 3},{'no' if i % 2 else 'yes'}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["t,x,label", *lines]) + "\n")
    run(capsys, "fit", tmp_path / "t.csv", "--impute", *QUICK, "--model", tmp_path / "m")
    (tmp_path / "new.csv").write_text("t,x\na,1\n,\n")
    text, notes = run(capsys, "predict", tmp_path / "m", tmp_path / "new.csv")
    assert len(rows_of(text)) == 2
    assert "column 't' has no value in 1 row, and had one in every training row" in notes


def test_text_columns_of_digits_stay_text(capsys, tmp_path):
    codes = ["07", "a", "b", "c"]
    lines = [f"{codes[i % 4]},{i % 5},{codes[i % 4]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["code,x,label", *lines]) + "\n")
    run(capsys, "fit", tmp_path / "t.csv", "--hidden", "3", "--model", tmp_path / "m")
    (tmp_path / "new.csv").write_text("code,x\n07,1\n07,2\n")
    text, notes = run(capsys, "predict", tmp_path / "m", tmp_path / "new.csv")
    assert [row["predicted"] for row in rows_of(text)] == ["07", "07"]
    assert notes == ""


# Evaluation


def test_evaluation_of_classes(capsys, raw):
    test, model = raw / "test.csv", raw / "m.npz"
    argv = ["predict", model, test, "--target", "answer"]
    content = json.loads(run(capsys, *argv, "--json")[0])
    table, pipeline = pd.read_csv(test), load_pipeline(model)
    probabilities = pipeline.predict_proba(table)
    chosen = probabilities[np.arange(40), (table["answer"] == "yes").astype(int)]
    figures = content["evaluation"]
    assert (content["predictions"], content["target"]) == (40, "answer")
    assert figures["log_loss"] == pytest.approx(-np.log(chosen).mean())
    assert figures["accuracy"] == pipeline.score(table, table["answer"])
    assert sum(entry["rows"] for entry in figures["calibration"]) == 40
    text, _ = run(capsys, *argv)
    assert f"{test}: 40 rows, target answer" in text
    for words in ("log-loss {log_loss:.4f} nats", "accuracy {accuracy:.4f}",
                  "calibration error {expected_calibration_error:.4f}"):  # fmt: skip
        assert words.format(**figures) in text
    for entry in figures["calibration"]:
        cells = ["rows", "mean_probability", "share_correct"]
        row = " +".join(f"{entry[name]:.{4 * (name != 'rows')}f}" for name in cells)
        assert re.search(f"{entry['from']} to {entry['to']} +{row}\n", text)
    assert "predicted,probability" not in text


def test_evaluation_beside_an_output(capsys, raw):
    argv = ["predict", raw / "m.npz", raw / "test.csv"]
    predictions, _ = run(capsys, *argv)
    options = ["--target", "answer", "--output", raw / "out.csv"]
    text, _ = run(capsys, *argv, *options)
    assert f"output   40 predictions written to {raw / 'out.csv'}\n" in text
    assert "accuracy" in text
    assert (raw / "out.csv").read_text(encoding="utf-8") == predictions
    content = json.loads(run(capsys, *argv, *options, "--json")[0])
    assert content["output"] == str(raw / "out.csv")
    assert "evaluation" in content


def test_labels_that_did_not_occur_in_training(capsys, raw):
    table = pd.read_csv(raw / "test.csv", index_col=0)
    table.loc[[3, 5], "answer"] = "perhaps"
    table.loc[8, "answer"] = "Yes"
    table.to_csv(raw / "other.csv")
    line = refuse(capsys, "predict", raw / "m.npz", raw / "other.csv", "--target", "answer")
    assert "column 'answer' has labels that did not occur in training: 'perhaps' (2 rows)" in line
    assert "'Yes' (1 row). The classes of" in line
    assert "are no, yes" in line


@pytest.mark.parametrize("task", ["class", "count"])
def test_evaluation_of_whole_numbers(capsys, tmp_path, task):
    lines = [f"{i % 7},{(i % 7) // 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["x,label", *lines]) + "\n")
    fit = ["fit", tmp_path / "t.csv", "--task", task, *QUICK, "--model", tmp_path / "m"]
    run(capsys, *fit)
    argv = ["predict", tmp_path / "m", tmp_path / "t.csv", "--target", "label"]
    figures = json.loads(run(capsys, *argv, "--json")[0])["evaluation"]
    if task == "class":
        model, X = FastEMClassifier.load(tmp_path / "m"), pd.DataFrame({"x": np.arange(60.0) % 7})
        assert figures["accuracy"] == model.score(X, (X["x"] // 3).astype(int))
        return
    assert set(figures) == {"log_probability", "deviance", "coverage", "width", "calibration"}
    assert "mean Poisson deviance" in run(capsys, *argv)[0]
    (tmp_path / "t.csv").write_text("x,label\n1,0\n2,1.5\n")
    assert "has '1.5' in row 2" in refuse(capsys, *argv)
    (tmp_path / "t.csv").write_text("x,label\n1,0\n2,two\n")
    assert "has 'two' in row 2" in refuse(capsys, *argv)


def test_evaluation_of_numbers(capsys, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    table = pd.DataFrame({"x": x, "y": 2 * x + rng.normal(size=80)})
    table.to_csv(tmp_path / "t.csv", index=False)
    run(capsys, "fit", tmp_path / "t.csv", "--target", "y", *QUICK, "--model", tmp_path / "m")
    argv = ["predict", tmp_path / "m", tmp_path / "t.csv", "--target", "y"]
    figures = json.loads(run(capsys, *argv, "--json")[0])["evaluation"]
    model = FastEMRegressor.load(tmp_path / "m")
    log_density = model.log_density(table[["x"]], table["y"])
    assert figures["log_density"] == pytest.approx(log_density.mean())
    errors = model.predict(table[["x"]]) - table["y"]
    assert figures["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert sum(entry["share"] for entry in figures["calibration"]) == pytest.approx(1.0)
    text, _ = run(capsys, *argv)
    assert f"90 % interval: coverage {figures['coverage']:.4f} (ideally 0.90)" in text
    assert f"0.9 to 1.0         {figures['calibration'][-1]['share']:.4f}" in text


def test_evaluation_of_built_in_data(capsys, tmp_path):
    for data, word in (("iris", "accuracy"), ("diabetes", "root mean squared error")):
        run(capsys, "fit", data, *QUICK, "--model", tmp_path / "m")
        text, _ = run(capsys, "predict", tmp_path / "m", data, "--target", "own")
        assert word in text
        line = refuse(capsys, "predict", tmp_path / "m", data, "--id", "x")
        assert f"argument --id: {data} is built-in data" in line
    model = tmp_path / "m"
    quiet_fit(np.eye(4), [0, 1, 0, 1]).save(model)
    (tmp_path / "t.csv").write_text("a,b,c,d\n1,0,0,0\n0,1,0,0\n")
    assert len(rows_of(run(capsys, "predict", model, tmp_path / "t.csv")[0])) == 2
    line = refuse(capsys, "predict", model, tmp_path / "t.csv", "--target", "a")
    assert "has no names of columns" in line
    assert "labels that did not occur in training" in refuse(
        capsys, "predict", model, "iris", "--target", "own"
    )


# Model files


def rewrite_preparation(path, content):
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("header")))
    header["preparation"] = content
    with open(path, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


@pytest.mark.parametrize("content", [[], "text", {"impute": True}, {"impute": 1, "columns": []}])
def test_a_damaged_preparation(capsys, raw, content):
    rewrite_preparation(raw / "m.npz", content)
    line = refuse(capsys, "predict", raw / "m.npz", raw / "test.csv")
    assert f"'{raw / 'm.npz'}' is damaged: " in line


def test_a_file_of_an_earlier_version(capsys, raw):
    """Its columns are numbers, selected by their names."""
    table = pd.read_csv(raw / "train.csv", usecols=["width", "answer"])
    model = quiet_fit(table[["width"]], table["answer"])
    model.save(raw / "old.npz")
    argv = ["predict", raw / "old.npz", raw / "test.csv"]
    rows = rows_of(run(capsys, *argv, "--id", "city")[0])
    wanted = model.predict(pd.read_csv(raw / "test.csv")[["width"]])
    assert [row["predicted"] for row in rows] == wanted.tolist()
    assert "accuracy" in run(capsys, *argv, "--target", "answer")[0]


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_several_hidden_layers_are_for_classes(capsys, tmp_path, monkeypatch, verb):
    monkeypatch.setattr("fastem.cli.comparison.fitting.fit_method", None)  # nothing is trained
    own = ["--model", tmp_path / "m"] if verb == "fit" else []
    line = refuse(capsys, verb, "diabetes", "--hidden", "8,2", *own)
    assert "argument --hidden: '8,2' has 2 hidden layers" in line
    assert "--hidden 8" in line
    assert "fastem." not in line.removeprefix("fastem: error: ")


def test_a_kept_column_without_values_stays_empty(capsys, tmp_path):
    lines = [f"{i % 3}.5,,{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["x,gap,label", *lines]) + "\n")
    run(capsys, "fit", tmp_path / "t.csv", "--drop", "gap", *QUICK, "--model", tmp_path / "m")
    text, notes = run(capsys, "predict", tmp_path / "m", tmp_path / "t.csv", "--keep", "gap,x")
    assert [(row["gap"], row["x"]) for row in rows_of(text)][:2] == [("", "0.5"), ("", "1.5")]
    assert notes == ""
