"""The verb `profile`: its table, its files, its progress, and its errors."""

import json
import os
import subprocess
import sys

import pytest

from fastem.cli.command_line import main
from fastem.cli.progress import Display
from fastem.engines.auto import ENGINES
from fastem.engines.enumeration import Enumeration
from fastem.profiling import scaling, stopwatch
from fastem.profiling.stopwatch import Stopwatch
from fastem.runtime import Activity

HEADER = [
    "engine", "n", "m", "configurations", "time", "ns/config", "dgemm", "share", "memory"
]  # fmt: skip


class Level(Enumeration):
    """An engine under another name."""

    name = "level"


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    """Known times: those of enumeration double with every unit, those of the other are constant."""

    def seconds(self, engine, shape, n_samples):
        if shape.first > 20:
            raise ValueError(f"{2**shape.first} tables are too many")
        units = shape.first if engine.name == "enumeration" else 9.5
        return 1e-7 * n_samples * 2.0**units

    monkeypatch.setitem(ENGINES, "level", Level)
    monkeypatch.setattr(Stopwatch, "_seconds", seconds)
    monkeypatch.setattr(stopwatch, "dgemm_rate", lambda n_threads: 1e9)


@pytest.fixture
def nothing_is_measured(monkeypatch):
    def measured(*args, **kwargs):
        raise AssertionError("work began before its result had a place to go")

    monkeypatch.setattr(scaling, "profile_scaling", measured)


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def succeed(capsys, *argv):
    status = main(["profile", *map(str, argv)])
    output = capsys.readouterr()
    assert status == 0, output.err
    assert output.err == ""
    return output.out


def refuse(capsys, *argv):
    """Return the single line of the error message."""
    assert main(["profile", *map(str, argv)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("fastem: error: ")
    return line


def test_the_table(capsys):
    text = succeed(capsys, "--hidden", "4-6,8", "--engine", "enumeration", "--threads", 1)
    lines = text.splitlines()
    assert "3 classes, 1 thread(s)" in lines[0]
    assert lines[2].split() == HEADER
    rows = [line.split() for line in lines[4:8]]
    assert [row[:4] for row in rows] == [
        ["enumeration", "10000", "4", "16"],
        ["enumeration", "10000", "5", "32"],
        ["enumeration", "10000", "6", "64"],
        ["enumeration", "10000", "8", "256"],
    ]
    assert rows[0][4:8] == ["16.0", "ms", "100", "0.06"]
    assert rows[3][4:8] == ["256", "ms", "100", "0.06"]
    assert all(row[-1] in ("KiB", "MiB") for row in rows)


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(1023 * 1024, "1023 KiB"), (1024 * 1024, "1.00 MiB"), (999, "0.976 KiB")]
)
def test_memory_has_no_exponent(capsys, monkeypatch, n_bytes, words):
    monkeypatch.setattr(Enumeration, "bytes_needed", lambda *args, **kwargs: n_bytes)
    text = succeed(capsys, "--hidden", "4", "--engine", "enumeration")
    assert text.splitlines()[4].endswith(f"  {words}")


def test_growth_is_told_with_its_standard_error(capsys):
    text = succeed(capsys, "--hidden", "1-8,10", "--samples", "1000,10000,100000")
    assert (
        "growth of enumeration at n = 1000: 1.000 +- 0.000 doublings of time per hidden unit, "
        "from m = 5-8, 10\n"
    ) in text
    assert (
        "growth of enumeration at m = 8: time is proportional to n^(1.000 +- 0.000), "
        "from n = 1000, 10000, 100000\n"
    ) in text
    few = "not fitted, fewer than three sizes take ten times the overhead"
    assert f"growth of level at n = 1000: {few}\n" in text


def test_crossings_are_told(capsys):
    text = succeed(capsys, "--samples", "100")
    assert "enumeration and level take equal time at n = 100, m = 9.5" in text


def test_sizes_that_were_refused_are_told_once(capsys):
    text = succeed(capsys, "--hidden", "4,20-24,30", "--engine", "enumeration")
    (line,) = [line for line in text.splitlines() if line.startswith("skipped")]
    assert line == (
        "skipped: enumeration, n = 10000, m = 21-24, 30: 2097152 tables are too many"
    )  # fmt: skip


def test_nothing_fits(capsys):
    line = refuse(capsys, "--hidden", "21,22")
    assert "no size could be measured: 2097152 tables are too many" in line


def test_numbers_in_a_file(capsys, tmp_path):
    path = tmp_path / "numbers.json"
    argv = ["--hidden", "4-22", "--classes", 4, "--seed", 3, "--json", path]
    text = succeed(capsys, *argv)
    assert text.endswith(f"numbers written to {path}\n")
    content = json.loads(path.read_text())
    assert {row["engine"] for row in content["rows"]} == {"enumeration", "level"}
    assert [row["n_hidden"] for row in content["rows"]] == [*range(4, 21)] * 2
    assert {row["n_classes"] for row in content["rows"]} == {4}
    assert content["by_hidden"][0]["slope"]["value"] == pytest.approx(1.0)
    assert content["by_samples"] == []
    assert content["crossings"][0]["n_hidden"] == pytest.approx(9.5)
    assert {skip["n_hidden"] for skip in content["skipped"]} == {21, 22}
    assert content["seed"] == 3


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_plot(capsys, tmp_path, name, begins):
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    text = succeed(capsys, "--plot", path)
    assert text.endswith(f"figure written to {path}\n")
    assert path.read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--hidden", "0"], "'0' is not a list of positive whole numbers and ranges"),
        (["--hidden", "8-4"], "'8-4' is not"),
        (["--hidden", "4-"], "'4-' is not"),
        (["--hidden", "-4"], "--hidden"),
        (["--hidden", ""], "'' is not"),
        (["--hidden", "4,,5"], "'4,,5' is not"),
        (["--hidden", "4.5"], "'4.5' is not"),
        (["--samples", "many"], "'many' is not"),
        (["--samples", "1-1000000000000"], "contains more than 1000 sizes"),
        (["--classes", "1"], "'1' is not a whole number of at least 2"),
        (["--threads", "0"], "'0' is not a positive whole number"),
        (["--seed", "-1"], "--seed"),
        (["--engine", "exact"], "engines must be among 'all', 'enumeration'"),
        (["--engine", "enumeration,"], "got ''"),
        (["--wrong"], "--wrong"),
        (["iris"], "iris"),
    ],
)
@pytest.mark.usefixtures("nothing_is_measured")
def test_arguments_are_refused_before_the_work(capsys, argv, words):
    assert words in refuse(capsys, *argv)


@pytest.mark.usefixtures("nothing_is_measured")
def test_files_are_refused_before_the_work(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    for option, name, words in (
        ("--plot", "a.gif", "'.gif' is not one of .png, .pdf, .svg"),
        ("--plot", "no/a.png", "there is no directory"),
        ("--json", "no/a.json", "there is no directory"),
        ("--json", "", "it is a directory"),
    ):
        assert words in refuse(capsys, option, tmp_path / name)
    path = tmp_path / "a.png"
    for spelling in (path, f"{tmp_path}/./a.png", os.path.relpath(path), tmp_path / "A.PNG"):
        line = refuse(capsys, "--json", path, "--plot", spelling)
        assert line.endswith(f"cannot write {spelling}: --json and --plot name the same file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.usefixtures("nothing_is_measured")
def test_numbers_and_figure_in_one_file_through_a_link(capsys, tmp_path, link):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "a.json", tmp_path / "b.png"
    first.write_text("kept")
    link(first, second)
    assert "name the same file" in refuse(capsys, "--json", first, "--plot", second)
    assert first.read_text() == "kept"


@pytest.mark.usefixtures("nothing_is_measured", "no_matplotlib")
def test_plot_without_matplotlib(capsys, tmp_path):
    line = refuse(capsys, "--plot", tmp_path / "a.png")
    assert line == "fastem: error: --plot needs matplotlib: pip install '.[plot]'"


@pytest.mark.usefixtures("no_matplotlib")
def test_table_and_numbers_without_matplotlib(capsys, tmp_path):
    assert "numbers written" in succeed(capsys, "--json", tmp_path / "a.json")


def test_progress_on_a_terminal(capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Display, "_start_thread", lambda self: None)
    monkeypatch.setattr(Activity, "_report", lambda self: drawn.append(self.text()))
    assert main(["profile", "--hidden", "1,4", "--engine", "enumeration"]) == 0
    output = capsys.readouterr()
    problems = "measuring enumeration, n = 10000, m = 1", "measuring enumeration, n = 10000, m = 4"
    steps = [f"{problems[i % 2]}, measurement {i + 1} of 4" for i in range(4)]
    assert drawn[1::2] == steps
    assert output.err == ""  # it is too fast for a display
    assert "enumeration" in output.out


def test_interrupt_leaves_no_progress_behind(capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stopwatch, "_seconds", interrupted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["profile"]) == 130
    assert capsys.readouterr().err == "fastem: interrupted\n"


def test_as_a_process():
    argv = ["--hidden", "2", "--samples", "50", "--engine", "enumeration", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "fastem", "profile", *argv],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[2].split() == HEADER


def test_help_names_the_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "profile" in capsys.readouterr().out
