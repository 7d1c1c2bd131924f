"""`benches/compare.py` on made-up runs."""

import compare
import pytest
from benchmark_json import row, run, write


@pytest.fixture
def both(tmp_path):
    """Write two runs; return their paths as the command line has them."""

    def make(base, head):
        return [
            write(tmp_path / f"{name}.json", run(*rows))
            for name, rows in (("base", base), ("head", head))
        ]

    return make


BASE = [row("a", "same", 1.0, 2.0), row("a", "noisy", 1.0, 2.0), row("b", "slow", 0.1, 0.2)]


def test_ratios_slowest_first(both, capsys):
    head = [row("a", "same", 1.1, 1.8), row("a", "noisy", 1.0, 3.0), row("b", "slow", 0.2, 0.5)]
    assert compare.main(both(BASE, head)) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["head", "/", "base", "median", "least"],
        ["b", "slow", "2.50", "2.00"],
        ["a", "noisy", "1.50", "1.00"],
        ["a", "same", "0.900", "1.10"],
        ["slower", "than", "1.2", "times", "by", "both:", "b", "slow"],
    ]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 1),
        (["--group", "b"], 1),
        (["--group", "a"], 0),
        (["--group", "a", "--group", "b"], 1),
        (["--factor", "2.1"], 0),
        (["--factor", "1.9"], 1),
    ],
)
def test_status(both, capsys, options, status):
    head = [row("a", "same", 1.0, 9.0), row("a", "noisy", 9.0, 2.0), row("b", "slow", 0.2, 0.5)]
    assert compare.main([*both(BASE, head), *options]) == status
    assert ("  slow" in capsys.readouterr().out) == ("a" not in options or "b" in options)


def test_names_in_one_file_only(both, capsys):
    assert compare.main(both(BASE, [BASE[0], row("c", "new", 1.0, 1.0)])) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "only in BASE: a  noisy",
        "only in BASE: b  slow",
        "only in HEAD: c  new",
    ]


def test_the_same_name_in_two_groups(both, capsys):
    rows = [row("a", "x", 1.0, 1.0), row("b", "x", 1.0, 1.0)]
    assert compare.main(both(rows, [rows[0], row("b", "x", 2.0, 3.0)])) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("by both: b  x")


def test_no_group(both, capsys):
    assert compare.main(both([row(None, "x", 1.0, 1.0)], [row(None, "x", 1.0, 1.0)])) == 0
    assert "no group  x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("base", "head", "options", "message"),
    [
        (BASE, [row("a", "other", 1.0, 1.0)], [], "no benchmark is in both files"),
        (BASE, BASE, ["--group", "z"], "neither file has benchmarks of the group 'z'"),
        (BASE, [], [], "holds no benchmarks"),
    ],
)
def test_nothing_to_compare(both, capsys, base, head, options, message):
    assert compare.main([*both(base, head), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("text", [None, "not JSON", "{}"])
def test_unusable_file(both, tmp_path, capsys, text):
    other = tmp_path / "other.json"
    if text is not None:
        other.write_text(text, "utf-8")
    assert compare.main([both(BASE, BASE)[0], str(other)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(other) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("factor", ["0", "-1", "nan", "inf", "much"])
def test_unusable_factor(both, capsys, factor):
    with pytest.raises(SystemExit) as exit_:
        compare.main([*both(BASE, BASE), "--factor", factor])
    assert exit_.value.code == 2
    assert "--factor" in capsys.readouterr().err
