"""Random tables and options through the command line: no traceback, and no shifted row."""

import bz2
import contextlib
import csv
import gzip
import io
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastem.cli.command_line import main

pytest.importorskip("pandas")

N_EXAMPLES = int(os.environ.get("FASTEM_FUZZ", "60"))
QUICK = ["--hidden", "1", "--max-iter", "2", "--alpha", "0.1"]
MISSING = ["", " ", "NA", "nan", "?", "None", "null", "-"]

whole = st.integers(-3, 12).map(str)
fractions = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: f"{x:.3g}")
words = st.sampled_from(["red", "blue", "green ", " red", "NA", "two words", "a,b", 'say "x"', "é"])
CELLS = {
    "whole": whole,
    "fractions": fractions,
    "commas": fractions.map(lambda text: text.replace(".", ",")),
    "words": words,
    "booleans": st.sampled_from(["True", "False"]),
    "lower booleans": st.sampled_from(["true", "false"]),
    "dates": st.dates().map(str),
    "constant": st.just("7"),
    "nothing": st.just(""),
    "large": st.integers(2**62, 2**66).map(str),
    "extreme": st.sampled_from(["inf", "-Infinity", "1e999", "1e308", "-0", "1e-320"]),
    "any": st.text(max_size=6),
    "codes": st.sampled_from(["01", "1", "007", "1.0", "A1"]),
}
TAME_KINDS = ["whole", "fractions", "words", "booleans", "constant", "large"]
LABELS = {
    "text": st.sampled_from(["yes", "no", "NA"]),
    "digits": st.sampled_from(["0", "1", "2"]),
    "punctuation": st.sampled_from([">50K", ">50K.", "<=50K"]),
    "codes": st.sampled_from(["01", "1", "007"]),
    "fractions": fractions,
    "commas": CELLS["commas"],
    "twice": st.sampled_from(["yes", "no", " yes", "YES"]),
    "equal": st.sampled_from(["0", "1", "1.0", "nan"]),
    "any": st.text(max_size=3),
}
TAME_LABELS = ["text", "digits", "punctuation", "codes", "fractions"]
TAME_NAMES = ["x", "y", "z", "size (cm)", "größe", " w ", "a,b", "x.1"]
NAMES = [*TAME_NAMES, "Unnamed: 0", "", "label", "5"]
OPTIONS = ["--decimal=,", "--header", "--drop=x", "--drop=y,z", "--sep=;", "--sep=space"]
OPTIONS += ["--task=class", "--task=regression", "--task=count"]


@st.composite
def columns(draw, n_rows, is_tame):
    """Return the cells of a column."""
    if draw(st.integers(0, 9)) == 9:
        start = draw(st.integers(0, 2))
        return [str(i) for i in range(start, start + n_rows)]
    cells = CELLS[draw(st.sampled_from(TAME_KINDS if is_tame else list(CELLS)))]
    values = draw(st.lists(cells, min_size=n_rows, max_size=n_rows))
    for place in draw(st.lists(st.integers(0, n_rows - 1), max_size=2)):
        values[place] = draw(st.sampled_from(MISSING))
    return values


@st.composite
def tables(draw):
    """Return the bytes of a table, its text, its separator, the target and options."""
    is_tame = draw(st.integers(0, 3)) > 0
    n_rows = draw(st.integers(8 if is_tame else 1, 24))
    n_columns = draw(st.integers(int(is_tame), 4))
    cells = [draw(columns(n_rows, is_tame)) for _ in range(n_columns)]
    kind = draw(st.sampled_from(TAME_LABELS if is_tame else list(LABELS)))
    labels = draw(st.lists(LABELS[kind], min_size=n_rows, max_size=n_rows))
    known = st.sampled_from(TAME_NAMES if is_tame else NAMES)
    names = draw(st.lists(known, min_size=n_columns, max_size=n_columns, unique=True))
    place = draw(st.integers(0, n_columns))
    cells.insert(place, labels)
    names.insert(place, "label")
    sep = draw(st.sampled_from(",;\t|"))
    options, target = ["--impute"] * is_tame, "label"
    if draw(st.integers(0, 4)) == 4:
        names = None
        if is_tame or draw(st.booleans()):
            options, target = [*options, "--no-header"], str(place + 1)
    text = written(draw, names, list(zip(*cells, strict=True)), sep, is_tame)
    if not is_tame:
        options += draw(st.lists(st.sampled_from([*OPTIONS, "--impute"]), max_size=2, unique=True))
    if draw(st.booleans()):
        options += [f"--sep={sep}"]
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    if encoding == "latin-1" and (is_tame or draw(st.booleans())):
        options += ["--encoding=latin-1"]
    pack = draw(st.sampled_from([bytes, bytes, bytes, gzip.compress, bz2.compress]))
    content = pack(text.encode(encoding, "replace"))
    return Table(content, text, sep, target, options, draw(later_tables(names, sep, is_tame)))


@st.composite
def later_tables(draw, names, sep, is_tame):
    """Return the text of a table for predictions: the columns in any order, and other rows."""
    if names is None:
        return "x\n1\n"
    names = draw(st.permutations([name for name in names if name != "label"]))
    names = draw(st.sampled_from([names, names, ["id", *names], names[1:]]))
    n_rows = draw(st.integers(1, 8))
    cells = [draw(columns(n_rows, is_tame)) for _ in names]
    return written(draw, names, list(zip(*cells, strict=True)), sep, draw(st.booleans()))


class Table(NamedTuple):
    """A table of a training, the arguments, and a table for predictions."""

    content: bytes
    text: str
    sep: str
    target: str
    options: list[str]
    later: str


def written(draw, names, rows, sep, is_tame):
    """Return the table as text, sometimes with faults."""
    stream = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n", "\r"]))
    writer = csv.writer(stream, delimiter=sep, quoting=quoting, lineterminator=end)
    writer.writerows([*([] if names is None else [names]), *rows])
    text = stream.getvalue()
    fault = 5 if is_tame else draw(st.integers(0, 9))
    lines = text.split(end)
    place = draw(st.integers(0, len(lines) - 1))
    if fault == 0:
        lines.insert(place, draw(st.sampled_from(["", " ", "\t", sep])))
    elif fault == 1:
        lines[place] += sep
    elif fault == 2:
        lines[place] = lines[place].partition(sep)[0]
    elif fault == 3:
        lines = [line + sep for line in lines]
    elif fault == 4:
        place = draw(st.integers(0, len(text)))
        return text[:place] + draw(st.sampled_from(['"', "\0", "\n", sep])) + text[place:]
    return end.join(lines) + draw(st.sampled_from(["", "", end, end * 2, " " + end]))


def n_data_lines(text, sep, has_header):
    """Return the number of rows of a well-formed table."""
    text = re.sub(r"(?:[\r\n] *)+\Z", "", text)  # blank lines at the end are no rows
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sep))
    while has_header and rows and not "".join(rows[0]).strip():
        rows.pop(0)
    return len(rows) - has_header


def run(*argv):
    """Return status and stdout of a call; check what it prints on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(argv))
    lines = err.getvalue().split("\n")
    assert lines.pop() == ""
    errors = [line for line in lines if line.startswith("fastem: error: ")]
    known = re.compile(r"fastem: (error|note|warning|\d+ s): ?")
    assert all(map(known.match, lines)), lines
    assert status in (0, 2)
    assert len(errors) == (status == 2), lines
    assert status == 0 or not out.getvalue()
    return status, out.getvalue(), lines


@settings(
    max_examples=N_EXAMPLES,
    derandomize="FASTEM_FUZZ" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(table=tables())
def test_tables_are_read_or_refused(table):
    sep, options = table.sep, table.options
    with tempfile.TemporaryDirectory() as folder:
        data, model, output = (str(Path(folder) / name) for name in ("a.csv", "m.npz", "out.csv"))
        Path(data).write_bytes(table.content)
        argv = ["fit", data, "--model", model, f"--target={table.target}", *options, *QUICK]
        status, _, errors = run(*argv)
        assert Path(model).exists() == (status == 0)
        if status == 2:
            assert not any("Traceback" in line or "pandas" in line for line in errors)
            return
        kept = ("--decimal", "--sep", "--encoding", "--header", "--no-header")
        shared = [option for option in options if option.startswith(kept)]
        status, _, errors = run("predict", model, data, "--output", output, *shared)
        assert status == 0, errors
        if not {"--sep=;", "--sep=space"} & set(options):
            expected = n_data_lines(table.text, sep, "--no-header" not in options)
            assert n_predictions(output) == expected
        Path(data).write_bytes(table.later.encode())
        status, _, errors = run("predict", model, data, "--output", output, f"--sep={sep}")
        if status == 0:
            assert n_predictions(output) == n_data_lines(table.later, sep, True)


def n_predictions(path):
    with open(path, encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
