"""The programs of the start page and of the guide print what its pages show."""

import contextlib
import functools
import importlib.util
import io
import re
import shutil
from pathlib import Path

import pytest
from shown_code import assert_printed, code_blocks

import fastem
import fastem.dask
from fastem.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
OPTIONAL = "torch", "jax", "onnx", "onnxruntime"  # blocks that import a missing one are left out


def _is_left_out(code):
    imported = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return any(name in OPTIONAL and importlib.util.find_spec(name) is None for name in imported)


def _run(block, page, names):
    """Run a block in the namespace of its page, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if block.language == "python":
            exec(compile(block.code, page.name, "exec"), names)
        else:
            for command in re.findall(r"^fastem (.*)$", block.code, re.MULTILINE):
                assert main(command.split()) == 0, command
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_programs_of_a_page_print_what_it_shows(page, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    pytest.importorskip("pandas")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in code_blocks(page.read_text("utf-8")):
        if _is_left_out(block.code):
            continue
        printed = _run(block, page, names)
        if block.shown is not None:
            assert_printed(printed, block.shown)
        else:
            assert not printed, f"{page.name} does not show the output of\n{block.code}"


def test_no_output_of_the_guide_is_left_unread():
    """Every block of text follows a program and the word ``prints``."""
    for page in PAGES:
        text = page.read_text("utf-8")
        shown = [block for block in code_blocks(text) if block.shown is not None]
        assert len(shown) == len(re.findall(r"^```text$", text, re.MULTILINE)), page.name
        assert len(shown) == len(re.findall(r"^prints$", text, re.MULTILINE)), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_of_the_package_on_a_page_exist(page):
    """A role without a target is plain text on the site, without a warning."""
    text = page.read_text("utf-8")
    for name in re.findall(r"\{(?:class|func|meth)\}`~?([\w.]+)`", text):
        package, *attributes = name.split(".")
        assert package == "fastem", name
        functools.reduce(getattr, attributes, fastem)


@pytest.mark.parametrize(
    ("printed", "shown", "equal"),
    [
        ("loss 0.123\n", "loss 0.124", True),
        ("loss 0.123\n", "loss 0.125", False),
        ("loss 0.123", "Loss 0.123", False),
        ("[0.1  1. ]\n", "[ 0.1 1. ]\n", True),
        ("[0.1  1. ]\n", "[ 0.1 2. ]\n", False),
        ("3 rows", "4 rows", False),
        ("0.1\n0.2", "0.1", False),
        ("0.1\n0.2\nend", "0.1\n...\nend", True),
        ("EM  0.12  3.4 s", "EM 0.12 ...", True),
        ("EM  0.12  3.4 s", "EM 0.14 ...", False),
        ("1.0", "...", True),
    ],
)
def test_outputs_are_compared_to_the_digits_shown(printed, shown, equal):
    if equal:
        assert_printed(printed, shown)
    else:
        with pytest.raises(AssertionError):
            assert_printed(printed, shown)
