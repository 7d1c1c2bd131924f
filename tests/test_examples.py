"""The examples and the README show what the package really does."""

import ast
import csv
import inspect
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from shown_code import assert_printed, code_blocks

import fastem
from fastem import FastEMClassifier, FastEMRegressor
from fastem.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda p: p.stem)
def test_examples_import_public_names_only(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        rooms = [name for name in names if name.startswith("fastem.")]
        assert set(rooms) <= {"fastem.dask"}, ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and node.module == "fastem":
            assert {alias.name for alias in node.names} <= set(fastem.__all__)


def test_the_programs_of_the_readme_print_what_it_shows(capsys):
    blocks = code_blocks((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.code, "README.md", "exec"), {})
        # another processor rounds differently, and the fit may reach another local optimum
        assert_printed(capsys.readouterr().out, block.shown, atol=0.02, rtol=0.1)


@pytest.mark.parametrize("kind", [FastEMClassifier, FastEMRegressor])
def test_documented_defaults_are_the_defaults(kind):
    documented = dict(re.findall(r"^    (\w+) : .*default=(.+)$", kind.__doc__, re.M))
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        expected = f'"{default}"' if isinstance(default, str) else repr(default)
        if default is None:
            continue
        if name not in documented:  # "As for `FastEMClassifier`": the same default
            assert kind is not FastEMClassifier
            assert re.search(rf"^    [\w, ]*\b{name}\b[\w, ]*$", kind.__doc__, re.M), name
            assert default == inspect.signature(FastEMClassifier).parameters[name].default, name
        else:
            written = re.sub(r"e-(\d)$", r"e-0\1", documented[name])
            assert written == expected, name


def _commands(document):
    """Return the commands of the program ``fastem`` that a document shows."""
    text = (ROOT / document).read_text("utf-8")
    return [line.split() for line in re.findall(r"^    fastem (.*)$", text, re.M)]


def test_the_three_commands_of_the_readme(tmp_path, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    commands = _commands("README.md")
    assert commands == _commands("docs/start.md")
    assert [verb for verb, *_ in commands] == ["compare", "fit", "predict"]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    printed = ""
    for command in commands:
        assert main(command) == 0
        printed += "".join(capsys.readouterr())
    document = (ROOT / "docs/guide/tables.md").read_text("utf-8")
    for shown in re.findall(r"^    (fastem: .*|columns .*)$", document, re.M):
        assert shown.removesuffix(", ...") in printed
    new = pandas.read_csv("examples/penguins_new.csv", keep_default_na=False, na_values=[""])
    with open("predictions.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["id"] for row in written] == new["id"].tolist()
    pipeline = fastem.load_pipeline("penguins.npz")
    probabilities = [[float(p) for p in list(row.values())[2:]] for row in written]
    np.testing.assert_array_equal(probabilities, pipeline.predict_proba(new))
    predicted = np.array([row["predicted"] for row in written])
    assert predicted.tolist() == pipeline.predict(new).tolist()
    # bills of Adelie penguins are shorter than those of the other species
    assert set(predicted[new["bill_length_mm"] < 40.0]) == {"Adelie"}
    assert set(predicted) == {"Adelie", "Chinstrap", "Gentoo"}
