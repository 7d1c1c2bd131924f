"""Tables as people have them: what the command line reads, announces and refuses."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import socket
import sys
import threading
import warnings
import zipfile

import numpy as np
import pytest

from fastem.cli.command_line import main
from fastem.cli.tables import codes, reading
from fastem.cli.tables.columns import MOST_CATEGORIES, column_of_kind, feature_column
from fastem.cli.tables.datasets import read_dataset, read_features, read_rows
from fastem.cli.tables.reading import TableOptions

pd = pytest.importorskip("pandas")

ROWS = [(i % 3, "ab"[i % 2]) for i in range(8)]
Y = [label for _, label in ROWS]
QUICK = ["--hidden", "1", "--max-iter", "2", "--alpha", "0.1"]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or bytes into a file and returns its path."""

    def make(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make


def joined(sep, header=("x", "label"), rows=ROWS, end="\n"):
    return end.join(sep.join(map(str, row)) for row in [header, *rows]) + end


def lines(*rows):
    return "\n".join(rows) + "\n"


def table(header, rows):
    return lines(header, *rows)


def refused(path, target=None, task=None, **options):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the callers compare the message)
        read_dataset(path, target, task, TableOptions(**options))
    return str(error.value).replace(str(path), "FILE")


def notes(capsys):
    return [
        line.removeprefix("fastem: note: ")
        for line in capsys.readouterr().err.splitlines()
        if not line.endswith("in one row only: 'a', 'b'")
    ]


def check_small_table(dataset):
    assert dataset.feature_names == ["x"]
    assert dataset.X["x"].dtype == np.float64
    assert dataset.X["x"].tolist() == [x for x, _ in ROWS]
    assert dataset.y.tolist() == Y


# --- formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("options", [{}, {"sep": "given"}])
def test_separators(write, sep, end, options):
    options = {"sep": sep} if options else {}
    path = write(joined(sep, end=end))
    check_small_table(read_dataset(path, table=TableOptions(**options)))


@pytest.mark.parametrize("word", ["comma", "semicolon", "tab", "pipe", "space"])
def test_separators_have_names(capsys, tmp_path, write, word):
    sep = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}[word]
    path = write(joined(sep))
    assert main(["fit", path, "--sep", word, "--model", str(tmp_path / "m.npz"), *QUICK]) == 0


@pytest.mark.parametrize("sep", ["", "::", "a", '"', "1", "."])
def test_what_cannot_separate(capsys, write, sep):
    assert main(["compare", write(joined(",")), f"--sep={sep}"]) == 2
    assert "argument --sep" in capsys.readouterr().err


def test_several_blanks_are_one_separator(write):
    text = " x   label\n" + "".join(f"  {x}   {label} \n" for x, label in ROWS)
    check_small_table(read_dataset(write(text), table=TableOptions(sep=" ")))


@pytest.mark.parametrize(
    ("text", "sep"),
    [
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("1,5;2,5\n3,5;4,5\n", ";"),  # three fields with commas, and more than with semicolons
        ("1,5\t2,5\n3,5\t4,5\n", "\t"),
        ("text;label\nhello, world;1\nwell, then;2\n", ";"),
        ("a,b\n1;2,3\n4,5\n", ","),
        ('a,b\n"x;y;z",1\n"u;v;w",2\n', ","),
        ("a\n1\n2\n", ","),
        ("a,b,c\n1,2\n1,2,3\n1,2,3\n", ","),  # a line is too short
        ("a|b,c|d\n1|2|3\n4|5|6\n", "|"),
    ],
)
def test_the_separator_that_gives_most_fields_in_all_lines(text, sep):
    found = reading.read_lines("a.csv", text.encode(), TableOptions(header=False))
    assert found.sep == sep


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["sep={}", '"sep={}"', "SEP={}"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_first_line_for_excel_names_the_separator(write, sep, first, end):
    first = first.format(sep) + end
    check_small_table(read_dataset(write("\ufeff" + first + joined(sep, end=end))))
    check_small_table(
        read_dataset(write(first + joined(";", end=end)), table=TableOptions(sep=";"))
    )
    path = write(first + end.join(f"{x}{sep}{label}" for x, label in ROWS))
    assert read_dataset(path, "2", table=TableOptions(header=False)).y.tolist() == Y
    if end != "\r":
        assert "line 3 has 1" in refused(write(f"{first}x{sep}label{end}5{end}"))


def test_the_separator_for_excel_wins_over_the_first_lines(write):
    path = write("sep=;\na,b;label\n1,5;x\n2,5;y\n")
    assert read_dataset(path, table=TableOptions(decimal=",")).feature_names == ["a,b"]


@pytest.mark.parametrize(("sep", "word"), [(";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_an_error_names_the_separator(write, sep, word):
    assert refused(write(joined(sep)), "kind") == (
        "FILE has no column 'kind'; name the label column with --target. Its columns are x, label "
        f"(fields separated by {word})"
    )


def test_a_wrong_separator_is_named(write):
    message = refused(write(joined(" ")))
    assert message.endswith("columns are x label; if blanks separate the fields, give --sep space")
    message = refused(write(joined(";")), sep="|")
    assert message.endswith("Its columns are x;label (fields separated by pipe)")


def test_decimal_commas(capsys, write):
    path = write(joined(";", rows=[(f"{x},5", label) for x, label in ROWS]))
    dataset = read_dataset(path, table=TableOptions(decimal=","))
    assert dataset.X["x"].tolist() == [x + 0.5 for x, _ in ROWS]
    assert refused(path) == (
        "FILE: column 'x' contains numbers with a comma: '0,5' in row 1 (row 1 is the "
        "first below the header); correct the file, give --decimal , if commas are decimal marks, "
        "or leave out columns with --drop x"
    )
    assert main(["compare", path, "--decimal", ",", "--sep", ","]) == 2
    assert "it is also the separator of fields" in capsys.readouterr().err


def test_decimal_commas_beside_missing_values_and_thousands(write):
    path = write("x;label\n1,5;a\nNA;b\n2,5;a\n;b\n")
    X = read_dataset(path, table=TableOptions(decimal=",", impute=True)).X
    np.testing.assert_array_equal(X["x"], [1.5, np.nan, 2.5, np.nan])
    path = write("x;label\n1.234,5;a\n2,5;b\n2,5;b\n")
    assert "'1.234,5' in row 1, to be written as 1234,5" in refused(path, decimal=",")


QUOTED = lines("x,y,label", *(f'"{x},13","0,{x + 2}",{label}' for x, label in ROWS))


@pytest.mark.parametrize("sep", [None, ","])
@pytest.mark.parametrize("all_quoted", [False, True])
def test_quoted_decimal_commas_between_commas(write, sep, all_quoted):
    text = QUOTED
    if all_quoted:
        text = text.replace("x,y,label", '"x","y","label"').replace(",a", ',"a"')
    path = write(text)
    assert "contains numbers with a comma: '0,13' in row 1" in refused(path)
    assert "give --decimal ," in refused(path)
    X = read_dataset(path, table=TableOptions(sep=sep, decimal=",")).X
    assert X["x"].tolist() == [x + 0.13 for x, _ in ROWS]
    assert X["y"].tolist() == [(x + 2) / 10 for x, _ in ROWS]
    frame, _ = read_rows(path, {"y": "number"}, TableOptions(sep=sep, decimal=","))
    assert frame["y"].tolist() == X["y"].tolist()


def test_quoted_decimal_commas_with_missing_values(write):
    path = write('x,label\n"0,13",a\nNA,b\n,a\n2,b\n"1,5",b\n')
    X = read_dataset(path, table=TableOptions(decimal=",", impute=True)).X
    np.testing.assert_array_equal(X["x"], [0.13, np.nan, np.nan, 2.0, 1.5])


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_quoted_decimal_commas_between_other_separators(write, sep):
    for text in ('"x"+"y"+"label"\n"0,5"+"1,5"+"a"\n"2,5"+3+"b"\n', 'x+label\n"1,5"+a\n2+b\n'):
        path = write(text.replace("+", sep))
        dataset = read_dataset(path, table=TableOptions(decimal=","))
        assert (dataset.feature_names[0], dataset.y.tolist()) == ("x", ["a", "b"])
        assert dataset.X["x"].dtype == np.float64


def test_decimal_commas_between_commas_need_quotes(capsys, tmp_path, write):
    model = str(tmp_path / "m.npz")
    argv = ["fit", write(QUOTED), "--sep", "comma", "--decimal", ",", "--model", model, *QUICK]
    assert main(argv) == 0
    capsys.readouterr()
    path = write(QUOTED.replace('"', ""))
    assert main(["compare", path, "--sep", "comma", "--decimal", ","]) == 2
    assert capsys.readouterr().err == (
        "fastem: error: argument --decimal: it is also the separator of fields (--sep), and no "
        "number with a comma is in quotation marks\n"
    )


THOUSANDS = ["999", "1.001", "2.500", "NA", "12", "1.234.567"]


def test_points_that_separate_thousands_are_refused(capsys, write):
    rows = [(value, 7 - i % 3, "ab"[i % 2]) for i, value in enumerate(THOUSANDS)]
    path = write(joined(";", ("x", "y", "label"), rows))
    message = (
        "FILE: the points in column 'x' ('1.001') may separate thousands; remove the points from "
        "the file, or give --decimal . if the point is the decimal mark"
    )
    assert message in refused(path, impute=True)
    assert message in refused(path, impute=True, decimal=",")
    assert message in refused(
        write(joined("\t", ("x", "y", "label"), rows), "tab.csv"), impute=True, decimal=","
    )
    assert read_dataset(path, table=TableOptions(drop=("x",))).feature_names == ["y"]
    with pytest.raises(ValueError, match="may separate thousands"):
        read_rows(path, {"x": "number"})
    path = write(joined(";", ("x", "y"), [row[:2] for row in rows]))
    with pytest.raises(ValueError, match="may separate thousands"):
        read_features(path, 2)
    assert notes(capsys) == []


def test_points_that_separate_thousands_are_one_error(write):
    rows = [(f"{1 + i}.{100 + i}", "ab"[i % 2]) for i in range(30)]
    path = write(joined(";", ("x", "label"), rows))
    for options in ({}, {"decimal": ","}):
        message = refused(path, **options)
        assert message.startswith("FILE: the points in column 'x' ('1.100') may separate")
        assert message.endswith("--decimal . if the point is the decimal mark")


def test_a_point_that_is_given_is_the_decimal_mark(capsys, write):
    rows = [(value, "ab"[i % 2]) for i, value in enumerate(["999", "1.001", "2.500", "12"])]
    for sep in ";,":
        path = write(joined(sep, rows=rows))
        X = read_dataset(path, table=TableOptions(decimal=".")).X
        assert X["x"].tolist() == [999, 1.001, 2.5, 12]
        assert notes(capsys) == []
    read_dataset(path)
    assert notes(capsys) == [
        "the points in column 'x' ('1.001') are read as decimal marks; if they separate thousands, "
        "remove them from the file; if not, --decimal . avoids this note"
    ]


def test_points_in_the_target_that_separate_thousands(capsys, tmp_path, write):
    values = ["999", "1.001", "2.500", "12", "1.001", "2.500"]
    rows = [(7 - i % 3, value) for i, value in enumerate(values)]
    path = write(joined(";", rows=rows))
    assert "column 'label' ('1.001') may separate thousands" in refused(path)
    assert "column 'label' ('1.001') may separate thousands" in refused(path, decimal=",")
    assert read_dataset(path, task="class").y.tolist() == values
    assert main(["compare", path, *QUICK]) == 2
    argv = ["fit", path, "--decimal", ".", "--model", str(tmp_path / "m.npz"), *QUICK]
    capsys.readouterr()
    assert main(argv) == 0


@pytest.mark.parametrize(
    "values",
    [
        ["1.001", "2.5"], ["0.999", "1.001", "1.002"], ["1.001", "1234.567"],
        ["1.001", "2.002", "1234"], ["1.0015", "2.0025"],
    ],
)  # fmt: skip
def test_points_that_are_decimal_marks(capsys, write, values):
    rows = [(value, "ab"[i % 2]) for i, value in enumerate(values * 2)]
    X = read_dataset(write(joined(";", rows=rows))).X
    assert X["x"].tolist() == [float(value) for value in values * 2]
    assert notes(capsys) == []


def test_decimal_commas_of_the_target(write):
    path = write(joined(";", rows=[(x, f"{x},{i}") for i, (x, _) in enumerate(ROWS)]))
    dataset = read_dataset(path, table=TableOptions(decimal=","))
    assert dataset.task == "regression"
    assert dataset.y.tolist() == [x + i / 10 for i, (x, _) in enumerate(ROWS)]
    assert "or --task class if they are labels" in refused(path)
    assert "give --decimal , if commas are decimal marks" in refused(
        write("x;label\n1;1,5\n2;2\n"), "label", "regression"
    )


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le+mark", "utf-16-be+mark", "utf-32"]
)
def test_encodings_with_marks(write, encoding):
    text = joined(",", header=("größe", "日本"))
    encoding, marked, _ = encoding.partition("+")
    path = write((("\ufeff" if marked else "") + text).encode(encoding))
    dataset = read_dataset(path, "日本")
    assert (dataset.feature_names, dataset.y.tolist()) == (["größe"], Y)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16", "cp500"])
def test_encodings_by_name(write, encoding):
    path = write(joined(",", header=("größe", "label")).encode(encoding))
    dataset = read_dataset(path, table=TableOptions(encoding=encoding))
    assert dataset.feature_names == ["größe"]


def test_other_encodings_are_refused(write):
    path = write(joined(",", header=("größe", "label")).encode("latin-1"))
    assert refused(path) == (
        "FILE is not UTF-8 text: byte 0xf6 in line 1 is invalid; name its encoding, for example "
        "--encoding latin-1"
    )
    assert refused(path, encoding="ascii") == (
        "FILE is not text in the encoding ascii: byte 0xf6 in line 1 is invalid"
    )
    assert "Python has no encoding 'utf-9'" in refused(path, encoding="utf-9")
    assert "is not text in the encoding base64" in refused(path, encoding="base64")
    path = write(joined(",").encode("utf-16-le"))
    assert "line 1 contains a NUL character" in refused(path)
    assert "--encoding utf-16-le" in refused(path)


def test_bytes_of_cp1252_are_not_read_as_latin_1(write):
    text = joined(",", rows=[(x, ("“yes”", "no … €")[x % 2]) for x, _ in ROWS])
    path = write(text.encode("cp1252"))
    assert refused(path).endswith(
        "byte 0x93 in line 2 is invalid; name its encoding, for example --encoding cp1252"
    )
    for encoding in ("latin-1", "iso-8859-15"):
        assert refused(path, encoding=encoding) == (
            f"FILE is not text in the encoding {encoding}: byte 0x93 in line 2 is a control "
            "character there; give --encoding cp1252, in which it is a letter or a mark"
        )
    labels = read_dataset(path, table=TableOptions(encoding="cp1252")).y
    assert set(labels) == {"“yes”", "no … €"}


@pytest.mark.parametrize("options", [{}, {"encoding": "latin-1"}])
def test_binary_files_are_no_tables_in_any_encoding(write, options):
    content = bytes(range(1, 32)) * 20 + b"\xff" * 999
    assert "FILE is not a table of text" in refused(write(content), **options)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("word", ["größe", "ПАРК", "日本"])
def test_wide_text_without_a_mark_is_text(write, encoding, word):
    content = joined(",", header=(word, "label")).encode(encoding)
    assert "name its encoding" in refused(write(content)) or "NUL character" in refused(
        write(content)
    )
    dataset = read_dataset(write(content), table=TableOptions(encoding=encoding))
    assert dataset.feature_names == [word]


def test_a_nul_character_has_a_line(write):
    assert "line 3 contains a NUL character" in refused(write("x,label\n1,a\n\0,b\n"))


def _zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_DOT_", ".").replace("_IN_", "/"), content)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.bin"])  # the suffix does not matter
@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda text: _zipped(a_DOT_csv=text),
        lambda text: _zipped(__MACOSX_IN_a_DOT_csv="?", b_IN_a_DOT_csv=text),
        lambda text: gzip.compress(text[:9]) + gzip.compress(text[9:]),
    ],
)
def test_compression(write, name, compress):
    check_small_table(read_dataset(write(compress(joined(",").encode()), name)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"x,label\n" * 99)[:30], "cannot be read as a CSV file: Compressed file"),
        (bz2.compress(b"x,label\n" * 99)[:30], "cannot be read as a CSV file: Compressed data"),
        (lzma.compress(b"x,label\n" * 99)[:30], "cannot be read as a CSV file: Compressed data"),
        (_zipped(a="x", b="y"), "the zip archive contains 2 files, and one is needed"),
        (_zipped(), "the zip archive contains 0 files"),
        (_zipped(a="x")[:40], "cannot be read as a CSV file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "an Excel file of the old format"),
        (b"%PDF-1.7\n", "it is a PDF file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n\0\0", "it is a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "it is a JPEG image"),
        (pickle.dumps([1.5] * 9, 2), "a pickle of Python objects"),
        (pickle.dumps([1.5] * 9), "a pickle of Python objects"),
        (
            b"\x7fELF\x02\x01\x01\0\0",
            "FILE is not a table of text: it contains bytes that occur in",
        ),
        (np.arange(999.0).tobytes(), "like 0x00 in line 1"),
        (np.random.default_rng(0).bytes(9999), "is not a table of text"),
        (b"x\x01label\n1\x01a\n2\x01b\n", "is not a table of text"),
        (b"", "FILE is empty"),
        (b"\n\n  \n", "FILE is empty"),
        (b"\xef\xbb\xbf", "FILE is empty"),
        (gzip.compress(b""), "FILE is empty"),
    ],
)
def test_files_that_are_no_tables(write, content, words):
    assert words in refused(write(content))


def test_excel_files_are_named(write):
    content = _zipped(workbook="x").replace(b"workbook", b"mimetype")
    assert "it is a spreadsheet or a document: save the sheet as a CSV file" in refused(
        write(content)
    )


def test_paths_that_are_no_files(tmp_path, capsys):
    assert refused(str(tmp_path)) == "FILE is a directory, not a file"
    assert "no such file or data set: 'FILE'; built-in data sets: iris" in refused("none.csv")
    assert "(download the file first)" in refused("https://example.org/iris.csv")
    if hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s"))
            assert refused(str(tmp_path / "s")) == "FILE is a socket, not a file"
    if sys.platform != "win32":
        assert refused("/dev/zero") == "FILE is a device, not a file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(joined(","),), daemon=True)
    writer.start()
    check_small_table(read_dataset(str(path)))
    writer.join(5)


def _standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_standard_input(monkeypatch, compress):
    _standard_input(monkeypatch, compress(joined(",").encode()))
    dataset = read_dataset("-")
    check_small_table(dataset)
    assert dataset.describe()["name"] in ("-", "standard input")
    _standard_input(monkeypatch, joined(";").encode())
    assert refused("-", "kind").startswith("standard input has no column 'kind'")
    monkeypatch.setattr(sys, "stdin", None)
    assert refused("-") == "standard input is closed"


def test_fit_and_predict_from_standard_input(capsys, monkeypatch, tmp_path):
    model = str(tmp_path / "m.npz")
    _standard_input(monkeypatch, joined(",").encode())
    assert main(["fit", "-", "--model", model, *QUICK]) == 0
    _standard_input(monkeypatch, b"x\n0\n1\n")
    capsys.readouterr()
    assert main(["predict", model, "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


# --- headers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1,a\n2,b\n3,a\n4,b\n5,a\n",
        "5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n",
        "5.1;3.5\n4.9;3.0\n",
        "1,5;a\n2,5;b\n",
        "0,1\n1,0\n0,1\n",  # they count, but occur below
        "p,x,s\ne,x,s\np,b,y\ne,y,s\n",
        "-1,b\n2,a\n",
        "1e3,b\n2,a\n",
        "1,2,4,label\n1,2,3,a\n",
        "5,?\n6,?\n7,a\n",
    ],
)
def test_a_first_line_of_data_is_refused(write, text):
    message = refused(write(text), "a")
    assert message.startswith("FILE: the first line looks like data, not like names of columns (")
    assert "give --no-header if the file has no header, or --header if these are the names" in (
        message
    )


@pytest.mark.parametrize(
    "header",
    ["0,1,2,label", "2010,2011,2012,label", ",0,1,label", "0,label", "x1,x2,label", "label,3,4,5"],
)
def test_headers_with_counting_numbers(write, header):
    n = len(header.split(","))
    place = header.split(",").index("label")
    cells = [[f"{(7 * i + 3 * j) % 11 / 2}" for j in range(n)] for i in range(11)]
    for i, row in enumerate(cells):
        row[place] = "ab"[i % 2]
        if not header[:1].strip(","):  # names of rows
            row[0] = f"r{i}"
    dataset = read_dataset(write(joined(",", header.split(","), cells)))
    assert len(dataset.y) == 11


def test_counting_numbers_may_be_data(write):
    assert refused(write("1,2\n3,4\n")).endswith(
        "Its columns are 1, 2; if the first line contains data, give --no-header"
    )


def test_no_header(write):
    dataset = read_dataset(
        write("1,a\n2,b\n3,a\n5,b\n5,a\n"), "2", table=TableOptions(header=False)
    )
    assert (dataset.feature_names, dataset.target) == (["1"], "2")
    assert dataset.X["1"].tolist() == [1, 2, 3, 5, 5]
    assert dataset.y.tolist() == list("ababa")
    message = refused(write("1,a\n2,b\n"), header=False)
    assert message.endswith("name the label column with --target. Its columns are 1, 2")


def test_a_header_that_looks_like_data_can_be_insisted_on(write):
    dataset = read_dataset(write("0.5,1.5,label\n1,2,a\n3,4,b\n"), table=TableOptions(header=True))
    assert dataset.feature_names == ["0.5", "1.5"]


def test_a_first_line_of_data_for_predictions(write):
    path = write("5,9\n7,8\n")
    with pytest.raises(ValueError, match="looks like data"):
        read_rows(path, dict(x="number"))
    with pytest.raises(ValueError, match="lacks columns of the model"):
        read_rows(path, dict(x="number"), TableOptions(header=True))
    frame, _ = read_rows(path, {"2": "number", "1": "number"}, TableOptions(header=False))
    assert frame[["2", "1"]].to_numpy().tolist() == [[9, 5], [8, 7]]
    X = read_features(path, 2, TableOptions(header=False))
    assert X.tolist() == [[5, 9], [7, 8]]
    with pytest.raises(ValueError, match="has 2 columns, but the model was fitted on 3"):
        read_features(write("Unnamed: 0,a,b\n0,5,1\n1,4,2\n2,3,1\n", "i.csv"), 3)
    # names of the model are certainly a header
    assert read_rows(path, {"9": "number"})[0]["9"].tolist() == [8]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x,label,label\n5,0,0\n4,0,0\n5,1,1\n4,1,1\n", "'label' (columns 2, 3)"),
        ("x,label ,label\n5,0,0\n4,0,0\n5,1,1\n4,1,1\n", "'label' (columns 2, 3)"),
        ("a,a.1,a,label\n1,2,3,x\n4,5,6,y\n", "'a' (columns 1, 3)"),
        ("a,b,a,b,label\n1,2,3,4,x\n", "'a' (columns 1, 3), 'b' (columns 2, 4)"),
    ],
)
def test_equal_names_are_refused(write, text, found):
    assert refused(write(text)) == (
        f"FILE: several columns have the same name; rename all but one of each: {found}"
    )


def test_names_like_those_of_pandas_are_names(write):
    dataset = read_dataset(write("a,a.1,label\n5,2,x\n3,4,y\n"))
    assert dataset.feature_names == ["a", "a.1"]


@pytest.mark.parametrize("first", ["", '""', " ", "Unnamed: 0"])
@pytest.mark.parametrize(
    ("index", "how"),
    [
        ([0, 1, 2, 3], "counts the rows"),
        ([1, 2, 3, 4], "counts the rows"),
        ([7, 3, 5, 4], "is different in every row"),
        (["Mazda", "Fiat", "Opel", "VW"], "is different in every row"),
    ],
)
def test_an_index_without_a_name_is_no_feature(capsys, write, first, index, how):
    rows = [(i, 5 - j % 2, "ab"[j // 2]) for j, i in enumerate(index)]
    dataset = read_dataset(write(joined(",", (first, "x", "label"), rows)))
    assert dataset.feature_names == ["x"]
    what = "column 'Unnamed: 0'" if "U" in first else "the first column, without a name,"
    assert notes(capsys) == [f"{what} {how} and is not used as a feature"]


def test_other_columns_without_a_name_are_refused(write):
    assert refused(write("x,,label\n5,6,a\n4,7,b\n")) == (
        "FILE: no name in the header for column 2; every column needs a name there, also one that "
        "contains the names of rows"
    )
    assert "columns 1, 3;" in refused(write(",x,,label\n5,6,1,a\n5,7,1,b\n"))
    # data that is not unique is a column
    assert read_dataset(write("Unnamed: 0,x,label\n5,6,a\n5,7,b\n")).feature_names == [
        "Unnamed: 0",
        "x",
    ]


@pytest.mark.parametrize(
    "values", [["0.5", "1.25", "7"], ["0.5", "NA", "7"], ['"0,5"', '"1,25"', "7"]]
)
def test_fractions_without_a_name_are_no_index(write, values):
    rows = [(value, 5 - i % 2, "ab"[i % 2]) for i, value in enumerate(values)]
    assert "no name in the header for column 1" in refused(
        write(joined(",", ("", "x", "label"), rows)), impute=True
    )
    path = write(joined(",", ("Unnamed: 0", "x", "label"), [*rows[:2], *rows[:2]]))
    if "," not in values[0]:
        found = read_dataset(path, table=TableOptions(impute=True))
        assert found.feature_names == ["Unnamed: 0", "x"]


def test_names_of_rows_without_a_name_in_the_header(write):
    message = refused(write('"x" "label"\n"r1" 5 "a"\n"r2" 4 "b"\n'), sep=" ")
    assert message.startswith("FILE: all rows have 3 fields, more fields than the header (2)")


@pytest.mark.parametrize(
    "text", ["x,label,\n5,a,\n4,b,\n", "x,label\n5,a,\n4,b,\n", "x,label, \n5,a,\n4,b, \n"]
)
def test_a_separator_at_the_end_of_every_line(capsys, write, text):
    dataset = read_dataset(write(text))
    assert (dataset.feature_names, dataset.y.tolist()) == (["x"], ["a", "b"])
    assert notes(capsys) == []


def test_blanks_around_names(write):
    dataset = read_dataset(write("x , label\n5,a\n4,b\n"))
    assert (dataset.feature_names, dataset.target) == (["x"], "label")
    assert read_dataset(write("x , label\n5,a\n4,b\n"), " label ").target == "label"


@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_the_rows_is_no_feature(capsys, write, start):
    rows = [(i + start, *row) for i, row in enumerate(ROWS)]
    path = write(joined(",", ("Id", "x", "label"), rows))
    check_small_table(read_dataset(path))
    assert notes(capsys) == ["column 'Id' counts the rows and is not used as a feature"]
    check_small_table(read_dataset(path, table=TableOptions(drop=("Id",))))
    assert notes(capsys) == []


@pytest.mark.parametrize("start", [-3, 0, 1, 1000])
@pytest.mark.parametrize("step", [1, 7])
def test_successive_whole_numbers_are_features_with_a_note(capsys, write, start, step):
    n = 20
    numbers = [start + (step * i + 3) % n for i in range(n)]
    rows = [(number, i % 7, "ab"[i % 2]) for i, number in enumerate(numbers)]
    path = write(joined(",", ("Kunde 1", "x", "label"), rows))
    assert read_dataset(path).X["Kunde 1"].tolist() == numbers
    assert notes(capsys) == [
        f"column 'Kunde 1' has every whole number from {start} to {start + n - 1} once, like "
        "numbers of rows; leave it out with --drop 'Kunde 1' if they say nothing about other rows"
    ]
    read_dataset(path, table=TableOptions(drop=("Kunde 1",)))
    assert notes(capsys) == []


@pytest.mark.parametrize("change", [(0, 0.5), (0, 25), (5, 1004), (0, "NA")])
@pytest.mark.parametrize("n", [20, 21])
def test_numbers_that_are_not_successive(capsys, write, change, n):
    values = [1000 + i for i in range(n)]
    values[change[0]] = change[1]
    rows = [(value, i % 7, "ab"[i % 2]) for i, value in enumerate(values)]
    path = write(joined(",", ("k", "x", "label"), rows))
    read_dataset(path, table=TableOptions(impute=True))
    assert notes(capsys) == []
    few = [(1000 + i, i % 7, "ab"[i % 2]) for i in range(19)]
    read_dataset(write(joined(",", ("k", "x", "label"), few)))
    read_dataset(write(joined(",", ("k", "x", "label"), [(k + 0.5, x, y) for k, x, y in few * 2])))
    assert notes(capsys) == []


def test_columns_that_nearly_count_the_rows_are_features(capsys, write):
    rows = [(i, i + 2, 7 - i, i + (i == 7), *row) for i, row in enumerate(ROWS)]
    dataset = read_dataset(write(joined(",", ("a", "b", "c", "d", "x", "label"), rows)))
    assert dataset.feature_names == ["b", "c", "d", "x"]


def test_the_only_feature_may_count_the_rows(capsys, write):
    path = write(joined(",", ("Id", "label"), [(i, label) for i, (_, label) in enumerate(ROWS)]))
    assert read_dataset(path).feature_names == ["Id"]
    assert notes(capsys) == ["column 'Id' counts the rows; it is used because no other is left"]
    assert "has no column except the label 'label'" in refused(write(",label\n0,a\n1,b\n2,a\n"))


def test_a_target_that_counts_the_rows(write):
    path = write(joined(",", rows=[(x, i) for i, (x, _) in enumerate(ROWS)]))
    assert "column 'label' counts the rows, so it is an index and not a target" in refused(path)
    assert read_dataset(path, task="regression").y.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("start", "sep"), [("Report,,,", ","), ("# exported 2026", ","), ("Report", ";")]
)
def test_lines_above_the_header_are_named(write, start, sep):
    path = write(f"{start}\n" + sep.join("abc") + f"{sep}label\n" + sep.join("123x") + "\n" * 2)
    assert refused(path).endswith(
        "; line 1 has 1 field, and the following lines have 4: remove lines above the header"
    )
    with pytest.raises(ValueError, match="line 1 has 1 field, and the following lines have 4"):
        read_rows(path, dict(a="number"))


def test_a_header_is_no_line_above_the_header(write):
    for text in ("x\n1\n2\n3\n", "x,y\n1,2\n3,4\n3,4\n", "# exported 2026\n1\n2\n3\n"):
        assert "remove lines" not in refused(write(text))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1}\n{"a": 2}\n', "JSON"),
        (' \n[\n  {"a": 1}\n]\n', "JSON"),
        ("[[1, 2], [3, 4]]", "JSON"),
        ("[1, 2]", "JSON"),
        ("\ufeff{\n}", "JSON"),
        (" <!DocType html>\n", "an HTML page"),
        ("<table class='a'>\n<tr>", "an HTML page"),
        ("<rows>\n  <row>", "XML or HTML"),
    ],
)
def test_other_formats_of_text_are_named(write, text, what):
    assert f"cannot be read as a CSV file: it begins like {what}: " in refused(write(text))


@pytest.mark.parametrize("name", ["[mol/l]", "{x}", "<DATE>", "<5", "[1]"])
def test_names_with_brackets_are_no_other_format(write, name):
    path = write(joined(",", header=(name, "label")))
    assert read_dataset(path).feature_names == [name]


def test_a_decimal_comma_cannot_separate_fields(write):
    path = write(joined(","))
    hint = "; with --decimal , the comma cannot separate fields"
    assert hint in refused(path, decimal=",")
    with pytest.raises(ValueError, match=hint):
        read_rows(path, dict(x="number"), TableOptions(decimal=","))
    assert hint not in refused(write(joined(";")), "kind", decimal=",")


# --- rows -----------------------------------------------------------------------------------


def test_blank_lines_among_several_columns(write):
    assert refused(write("x,label\n1,a\n\n2,b\n \n\t\n3,a\n")) == (
        "FILE: the header has 2 fields, but line 3 is blank, line 5 is blank, line 6 is blank; "
        "every line must be a row with the same fields"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n \n", "\r\n\r\n", "   "])
def test_blank_lines_at_the_end_are_no_rows(write, end, tail):
    check_small_table(read_dataset(write(joined(",", end=end) + tail)))
    check_small_table(read_dataset(write("\n \n" + joined(",", end=end) + tail)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", ["", " ", "\t", '""'])
def test_a_blank_line_in_one_column_is_a_missing_value(write, end, blank):
    path = write(end.join(["x", "0", blank, "1", ""]))
    frame = read_rows(path, dict(x="number"))[0]
    np.testing.assert_array_equal(frame["x"], [0.0, np.nan, 1.0])
    with pytest.raises(ValueError, match=r"missing values. .* 'x' \(1, the first in row 2\)"):
        read_features(path, 1)


def test_a_model_of_one_column_predicts_no_shifted_rows(capsys, tmp_path, write):
    model = str(tmp_path / "m.npz")
    assert main(["fit", write(joined(",")), "--model", model, *QUICK]) == 0
    capsys.readouterr()
    assert main(["predict", model, write("x\n0\n\n1\n")]) == 2
    assert "row 2" in capsys.readouterr().err


def test_lines_with_other_numbers_of_fields(write):
    assert refused(write("x;y;label\n1;2;a\n1;b\n1;2;3;a\n")) == (
        "FILE: the header has 3 fields (fields separated by semicolon), but line 3 has 2, line 4 "
        "has 4; every line must be a row with the same fields"
    )
    many = "".join("1,2,3\n" for _ in range(9))
    assert "line 6 has 3 and 4 more;" in refused(write("x,label\n" + many + "1,a\n"))


def test_lines_are_counted_in_the_file(write):
    assert "line 5 has 3" in refused(write("\n\nx,label\n1,a\n1,2,a\n"))
    assert "line 6 has 3" in refused(write('x,label\n1,"a\n\nb"\n2,c\n1,"2",a\n'))


def test_quoted_fields(write):
    rows = ['1,"yes,\nindeed"', '2,"no ""not"""', '3,"yes,\nindeed"', '4,"no ""not"""']
    dataset = read_dataset(write(lines('"x","label"', *rows)), task="class")
    assert dataset.y.tolist() == ["yes,\nindeed", 'no "not"'] * 2
    rows = ['5" disk,a', '3" disk,b', '5" disk,a']
    assert read_dataset(write(lines("x,label", *rows))).X["x"].tolist() == [
        '5" disk', '3" disk', '5" disk'
    ]  # fmt: skip


def test_wrong_quotation_marks(write):
    assert refused(write('x,label\n1,a\n2,"b\n3,c\n')).endswith(
        "line 3 has a quotation mark that is not closed"
    )
    assert "line 2 has text after a closing quotation mark" in refused(write('x,label\n"1"0,a\n'))
    assert "line 1 has a quotation mark that is not closed" in refused(write('"x,label\n1,a\n'))


def test_long_fields(write):
    long = "x" * 200_000
    assert "line 2 has a field of more than 131072 characters" in refused(
        write(f'label,x\n"{long}",1\n')
    )
    assert "has no column 'label'" in refused(write(long + "\n1\n"))


def test_rows_of_many_blocks(monkeypatch, write):
    monkeypatch.setattr(reading, "_BLOCK", 7)
    check_small_table(read_dataset(write(joined(","))))
    assert "line 4 has 1" in refused(write("x,label\n1,a\n22,b\n333\n4444,d\n"))


@pytest.mark.parametrize("blank", ["", " "])
def test_rows_without_any_value(write, blank):
    empty = f"{blank},{blank},{blank}"
    assert refused(write(lines("x,z,label", "1,2,a", "3,4,b", empty))) == (
        "FILE: row 3 has no values (row 1 is the first below the header): remove it"
    )
    path = write(lines("x,z,label", empty, "1,2,a", "3,4,b", ",,a", "1,,", empty))
    assert "FILE: rows 1, 6 have no values" in refused(path, impute=True)


# --- columns --------------------------------------------------------------------------------


def column(*values, decimal="."):
    return feature_column(pd.Series(list(values), dtype=object), decimal)


def read_column(write, values, **options):
    """Return a column of a table as a feature."""
    rows = [f"{value},{i % 2}" for i, value in enumerate(values)]
    return read_dataset(write(lines("x,label", *rows)), table=TableOptions(**options)).X["x"]


@pytest.mark.parametrize(
    "spelling", ["", " ", "NA", "N/A", "NaN", "nan", "?", "null", "NULL", "None", "-", ".", "<NA>"]
)
@pytest.mark.parametrize("values", [["1", "2.5", "-3e2", " 4 "], ["1", "2", "3", "4"]])
def test_missing_numbers(write, spelling, values):
    found = read_column(write, [*values, spelling], impute=True)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [*map(float, values), np.nan])


@pytest.mark.parametrize("spelling", ["NA", "None", "?", "nan", "null"])
def test_words_for_missing_values_are_categories_in_text(write, spelling):
    found = read_column(write, ["red", spelling, "", " red", "blue "], impute=True)
    assert found.dtype == object
    assert found.isna().tolist() == [False, False, True, False, False]
    assert found.dropna().tolist() == ["red", spelling, "red", "blue"]


@pytest.mark.parametrize("words", [("True", "False"), ("true", "false"), ("TRUE", "FALSE")])
def test_booleans(write, words):
    found = read_column(write, [words[i % 2] for i in range(5)])
    assert found.dtype == bool
    assert found.tolist() == [True, False, True, False, True]
    for spelling in ("", "NA"):
        found = read_column(write, [words[0], spelling, words[1]], impute=True)
        assert found.dtype == object
        assert found.tolist()[::2] == [True, False]
        assert np.isnan(found[1])


def test_constant_columns_are_features(write):
    assert read_column(write, ["7"] * 4).tolist() == [7.0] * 4
    assert read_column(write, ["red"] * 4).tolist() == ["red"] * 4


def test_text_among_numbers(write):
    path = write("b,label\n2,x\n4,y\nsix,x\neight,y\n5,x\n")
    assert refused(path) == (
        "FILE: column 'b' is not numeric: 'six' in row 3 is not a number (row 1 is the first below "
        "the header); correct the file or leave out columns with --drop b"
    )
    assert column("A1", "B2", "3").problem == ""  # codes


NUMBERS = [f"{100 + 7 * i}" for i in range(60)]


@pytest.mark.parametrize(
    ("form", "plain"),
    [
        ("${}", "100"), ("{},5 €", "100.5"), ("{} €", "100"), ("-${}", "-100"), ("{}%", "100"),
        ("{}h", "100"), ("{} km/h", "100"), ("EUR {}", "100"), ("1,{}.50", "1100.50"),
        ("1,{}", "1100"), ("1'{}", "1100"), ("1 {}", "1100"), ("1\u00a0{}", "1100"),
        ("1\u202f{}", "1100"), ("1.{},50", "1100.50"), ("1,{}.5 kg", "1100.5"),
        ("\u2212{}", "-100"),
    ],
)  # fmt: skip
def test_numbers_with_marks_are_named(capsys, write, form, plain):
    def quoted(values):
        return [f'"{form.format(value)}"' for value in values]

    shown = f"{form.format('100')!r} in row 1, to be written as {plain}"
    with pytest.raises(ValueError, match="--drop x") as error:
        read_column(write, quoted(NUMBERS))
    what = "looks like numbers with a currency sign, unit or thousands mark: "
    assert what + shown in str(error.value)
    if form != "1,{}":  # refused in any case
        capsys.readouterr()
        assert read_column(write, quoted(NUMBERS[:3] * 9)).dtype == object
        assert notes(capsys) == [f"column 'x' is used as text, but it {what}{shown}"]
    values = [form.format(value) for value in NUMBERS]
    with pytest.raises(ValueError, match=r"thousands mark: write |if commas separate") as error:
        labels(write, *values, task=None)
    assert f"write {plain}" in str(error.value)
    with pytest.raises(ValueError, match=f"write {plain}"):
        labels(write, *values, task="regression")
    assert labels(write, *values * 2, task="class").task == "class"


def test_thousands_marks_among_plain_numbers(write):
    values = [f'"{i:,}"' for i in range(900, 1100, 3)]
    with pytest.raises(ValueError, match="to be written as 1002") as error:
        read_column(write, values)
    assert "'1,002' in row 35" in str(error.value)
    # some of these commas are decimal marks
    with pytest.raises(ValueError, match="contains numbers with a comma: '1,234' in row 1"):
        read_column(write, ['"1,234"', '"1,5"', '"2,25"'])


@pytest.mark.parametrize(
    "form", ["A{}", "n-{}", "{}-1", "{}:1", "{}/2", "1.2.3.{}", "{} apples and pears", "_{}"]
)
def test_texts_with_digits_are_no_numbers_with_marks(capsys, write, form):
    with pytest.raises(ValueError, match="like names or identifiers"):
        read_column(write, [form.format(value) for value in NUMBERS])
    capsys.readouterr()
    read_column(write, [form.format(value) for value in NUMBERS[:3] * 9])
    assert notes(capsys) == []


def test_codes_with_different_letters_have_no_unit(capsys, write):
    with pytest.raises(ValueError, match="like names or identifiers"):
        read_column(write, [f"{i}{'abcdef'[i % 6]}" for i in range(60)])
    # a single wrong number
    with pytest.raises(ValueError, match=r"'2x' in row 30 is not a number \("):
        read_column(write, [*map(str, range(1, 30)), "2x", "7"])


def test_decimal_points_in_a_file_with_decimal_commas(capsys, write):
    what = "contains numbers with a point as decimal mark in a file read with --decimal ,: '0.5'"
    rows = [f"{i}.5;{'ab'[i % 2]}" for i in range(40)]
    message = refused(write(lines("x;label", *rows)), decimal=",")
    assert f"column 'x' {what} in row 1, to be written as 0,5" in message
    read_dataset(write(lines("x;label", *rows[:4] * 9)), table=TableOptions(decimal=","))
    assert f"column 'x' is used as text, but it {what}" in notes(capsys)[0]
    rows = [f"1.{100 + i};{'ab'[i % 2]}" for i in range(40)]
    message = refused(write(lines("x;label", *rows)), decimal=",")
    assert "the points in column 'x' ('1.100') may separate thousands" in message


def test_texts_that_differ_in_letter_case_or_blanks_are_announced(capsys, write):
    found = read_column(write, ["ja", "JA", "Ja", "nein", " nein", "j a", "gut"])
    assert sorted(set(found)) == ["JA", "Ja", "gut", "j a", "ja", "nein"]
    assert notes(capsys) == [
        "column 'x' has texts that differ only in blanks or in capital letters, and each is a "
        "category of its own: 'ja' (1 row) and 'JA' (1 row) and 'Ja' (1 row) and 'j a' (1 row)"
    ]


@pytest.mark.parametrize(
    "value",
    [
        "2026-12-31", "2026/12/31", "31.12.2026", "31/12/2026", "12/31/2026", "31.12.26",
        "2026-12-31 23:59", "2026-12-31T23:59:01Z", "2026-12-31T23:59:01.25+01:00", "2026-12",
        "12/31/2026 11:59 PM", "31 Dec 2026", "31-Dec-26", "December 31, 2026", "23:59", "23:59:01",
    ],
)  # fmt: skip
def test_dates(write, value):
    if "," in value:
        value = f'"{value}"'
    with pytest.raises(ValueError, match=r"column 'x' contains dates or times: .* in row 1 .*"):
        read_column(write, [value, "?", value])
    assert read_column(write, [value, "now", "then"]).dtype == object


@pytest.mark.parametrize("value", ["1.2.3.4", "12-345", "a-1", "2026", "16:9", "1-2"])
def test_what_is_no_date(value):
    assert column(value, value, value).problem == ""


def test_texts_that_identify_rows(write):
    n = MOST_CATEGORIES
    few, many = ([f"name {i}" for i in range(k)] for k in (n, n + 1))
    assert len(read_column(write, few)) == n
    with pytest.raises(ValueError, match=r"has 21 different texts in 21 rows, like names or ident"):
        read_column(write, many)
    assert len(read_column(write, many * 2)) == 2 * (n + 1)  # half of the rows


def test_infinite_values(write):
    with pytest.raises(ValueError, match="column 'x' is not numeric: 'inf' in row 2 is not finite"):
        read_column(write, ["1", "inf", "3"])
    with pytest.raises(ValueError, match="'-Infinity' in row 1 is not finite"):
        read_column(write, ["-Infinity", "NA", "3"])


def test_all_problems_are_named_at_once(write):
    rows = [
        f"{i % 7},{'six' if i == 2 else i % 5},2026-01-{i + 1},n{i},{'' if i % 2 else 1},{i % 3}"
        for i in range(30)
    ]
    path = write(lines("a,b,when,name,c,label", *rows[:-1], rows[-1] + "x"))
    assert refused(path, None, "regression") == (
        "FILE: column 'label' is not numeric: '2x' in row 30 (row 1 is the first below the header) "
        "is not a number. "
        "FILE: column 'b' is not numeric: 'six' in row 3 is not a number; "
        "column 'when' contains dates or times: '2026-01-1' in row 1; "
        "column 'name' has 30 different texts in 30 rows, like names or identifiers (row 1 is the "
        "first below the header); correct the file or leave out columns with --drop b,when,name. "
        "FILE has missing values. Columns and how many: 'c' (15, the first in row 2); replace them "
        "with --impute, or leave out columns with --drop c"
    )
    rows[-1] = rows[0]
    path = write(lines("a,b,when,name,c,label", *rows))
    dataset = read_dataset(path, table=TableOptions(drop=("b,when", "name"), impute=True))
    assert dataset.feature_names == ["a", "c"]
    assert dataset.impute
    assert dataset.describe()["features"] == 2


def test_many_problems_are_not_all_listed(write):
    names = [f"c{j}" for j in range(15)]
    path = write(lines(",".join([*names, "label"]), "2026-01-01," * 15 + "a", "," * 15 + "b"))
    message = refused(path)
    assert "column 'c11' contains" in message
    assert "; and 3 more columns (row 1 is the first below the header); correct" in message
    assert message.endswith("or leave out columns with --drop")


def test_a_column_without_any_value(write):
    path = write("x,y,label\n1,NA,a\n2,,b\n4,?,a\n")
    assert "'y' (3, the first in row 1); replace them with --impute" in refused(path)
    assert "column 'y' contains no value" in refused(path, impute=True)


def test_drop(write):
    path = write('a,"b,c",d,label\n5,6,7,x\n8,9,1,y\n')

    def names(*drop):
        return read_dataset(path, table=TableOptions(drop=drop)).feature_names

    assert names("a") == ["b,c", "d"]
    assert names("a, d") == ["b,c"]
    assert names("b,c") == ["a", "d"]
    assert names("a", "b,c") == ["d"]
    assert refused(path, drop=("a,e,f",)) == (
        "argument --drop: FILE has no column 'e', 'f'. Its columns are a, b,c, d"
    )
    assert refused(path, drop=("label",)) == "argument --drop: 'label' is the target"
    assert refused(path, drop=("a,d", "b,c")) == (
        "FILE has no column except the label 'label' after --drop a,d, b,c"
    )
    assert read_dataset("iris", table=TableOptions(drop=("petal width (cm)",))).X.shape == (150, 3)


def test_options_of_tables_do_not_concern_built_in_data(capsys):
    options = ["--sep=;", "--decimal=,", "--encoding=ascii", "--no-header", "--impute"]
    argv = ["compare", "iris", *options, "--drop", "petal width (cm)", "--json", "--epochs", "2"]
    assert main([*argv, *QUICK]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["data"]["features"] == 3
    assert (
        "fastem: note: iris is built-in data with its own labels; --sep, --decimal, --encoding, "
        "--no-header, --impute are ignored\n"
    ) in output.err


def test_the_option_that_drops_is_ready_for_a_shell(write):
    path = write('a b,"b,c",d,label\n,,,x\n8,9,1,y\n')
    assert refused(path).endswith("--drop 'a b' --drop b,c --drop d")


def test_leading_zeros_make_a_column_text(capsys, write):
    plz = ["01067", "1067", "00501", "99999", "01067", "1067"]
    found = read_column(write, plz)
    assert found.dtype == object
    assert found.tolist() == plz
    assert notes(capsys) == [
        "column 'x' has values with leading zeros, like '01067', and is read as text"
    ]


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", ["007", " 007 ", "-01", '"007"', "00"])
def test_a_leading_zero_is_found_in_every_place(monkeypatch, write, sep, place, value):
    monkeypatch.setattr(codes, "_BLOCK", 16)
    for row in (0, 7, 19):
        rows = [[str(10 + 10 * j + (3 * i) % 7) for j in range(3)] for i in range(20)]
        rows[row][place] = value
        rows = [[*cells, "ab"[i % 2]] for i, cells in enumerate(rows)]
        X = read_dataset(write(joined(sep, ("x", "y", "z", "label"), rows))).X
        kinds = [X[name].dtype == object for name in "xyz"]
        assert kinds == [j == place for j in range(3)]
        assert X.iloc[row, place] == value.strip(' "')


@pytest.mark.parametrize(
    "values",
    [("0", "10", "-0"), ("0.5", "0.05", "10"), ("1e-05", "2e-01", "3E-07"), ("100", "200", "300")],
)
def test_what_is_no_leading_zero(capsys, write, values):
    assert read_column(write, values * 2).tolist() == [float(value) for value in values * 2]
    assert notes(capsys) == []


@pytest.mark.parametrize("value", ["01.02.2026", "08:30", "2026-01"])
def test_dates_have_no_leading_zeros(write, value):
    with pytest.raises(ValueError, match="contains dates or times"):
        read_column(write, [value, value])


def test_codes_that_identify_rows_are_refused(write):
    path = write(joined(",", ("plz", "label"), [(f"0{1000 + i}", "ab"[i % 2]) for i in range(30)]))
    assert refused(path) == (
        "FILE: column 'plz' has values with leading zeros, like '01000', and is read as text; it "
        "has 30 different texts in 30 rows, like names or identifiers (row 1 is the first below "
        "the header); correct the file or leave out columns with --drop plz"
    )


def test_codes_at_predictions_have_the_kind_of_the_model(write):
    path = write("plz,x\n01067,07\n1067,1\n")
    frame, _ = read_rows(path, {"plz": "text", "x": "number"})
    assert frame["plz"].tolist() == ["01067", "1067"]
    assert frame["x"].tolist() == [7.0, 1.0]


# --- labels ---------------------------------------------------------------------------------


def labels(write, *values, task="class"):
    """Read a table with these labels."""
    rows = [[i % 4, value] for i, value in enumerate(values)]
    text = io.StringIO()
    pd.DataFrame(rows, columns=["x", "label"]).to_csv(text, index=False)
    return read_dataset(write(text.getvalue()), task=task)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("yes", " yes"), ("yes", "yes "), ("yes", "Yes"), ("yes", "YES "), ("1", "1.0"),
        ("1", "1e0"), ("0", "-0"), ("1", " 1"), ("two words", "two  words"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)  # fmt: skip
def test_labels_that_mean_the_same(write, one, other):
    with pytest.raises(ValueError, match="write each label in one way") as error:
        labels(write, one, other, one, "b", "b")
    assert f": {one!r} (2 rows) and {other!r} (1 row); write" in str(error.value)


@pytest.mark.parametrize(
    "values",
    [("01", "1"), ("9007199254740993", "9007199254740992"), ("a", "ab"), ("1", "one")],
)
def test_labels_that_only_look_alike(write, values):
    assert list(map(str, labels(write, *values * 2).y)) == list(values * 2)


def test_labels_that_differ_in_punctuation_are_announced(capsys, write):
    found = labels(write, ">50K", ">50K.", "<=50K", ">50K", ">50K.", "<=50K").y
    assert found.tolist() == [">50K", ">50K.", "<=50K"] * 2
    assert notes(capsys) == [
        "column 'label' has labels that differ only in punctuation at the end: '>50K' (2 rows) and "
        "'>50K.' (2 rows)"
    ]


def test_labels_that_occur_once_are_announced(capsys, write):
    labels(write, "a", "b", "a", "c", "a")
    assert notes(capsys) == ["labels of column 'label' that occur in one row only: 'b', 'c'"]


def test_a_wrong_value_among_numbers_is_named(capsys, write):
    values = [f"{i}.25" for i in range(60)]
    values[7] = "n.a."
    for task in (None, "regression"):
        with pytest.raises(ValueError, match=r"not numeric: 'n.a.' in row 8 .* is not a number"):
            labels(write, *values, task=task)
    with pytest.raises(ValueError, match=r"correct it, or name another column with --target$"):
        labels(write, *values, task=None)
    with pytest.raises(ValueError, match=r"has 60 different labels in 60 rows.*--task regression"):
        labels(write, *values, task="class")
    values[7] = "7,5"
    with pytest.raises(ValueError, match=r"'7,5' in row 8 .*give --decimal , if commas"):
        labels(write, *values, task=None)
    # few values may be labels
    capsys.readouterr()
    assert labels(write, *["1.5", "2.5", "3.5", "control"] * 3, task=None).task == "class"
    assert notes(capsys) == [
        "the target 'label' is taken for classes, because 'control' in row 4 (row 1 is the first "
        "below the header) is not a number"
    ]
    values = [*map(str, range(30)), "2x"] * 2
    assert labels(write, *values, task=None).task == "class"
    assert notes(capsys) == [
        "the target 'label' is taken for classes, because '2x' in row 31 (row 1 is the first below "
        "the header) is not a number"
    ]
    assert labels(write, *[f"{i} kg" for i in range(30)] * 2, task=None).task == "class"
    assert notes(capsys)[0].endswith("currency sign, unit or thousands mark: write 0")
    assert labels(write, *["3h", "6h", "12h"] * 3, task=None).task == "class"
    assert notes(capsys) == []


def test_classes_that_may_be_counts_are_announced(capsys, write):
    note = (
        "the target 'label' is taken for classes; if the values are counts or numbers, give --task "
        "count or --task regression"
    )
    counts = [value for value in range(9) for _ in range(2 ** (8 - value))]
    rare = [*range(9)] * 3 + [10]
    for values, task, is_noted in (
        (counts, None, True),
        (counts, "class", False),
        (rare, None, True),
        ([*range(10)] * 9, None, False),  # digits
        ([10 * value for value in rare], None, False),
        ([value for value in counts if value < 7], None, False),
        ([value - 1 for value in counts], None, False),
    ):
        assert labels(write, *values[::-1], task=task).task == "class"
        assert (note in notes(capsys)) == is_noted


def test_a_comparison_names_the_tasks_of_numbers(capsys, write):
    for labels_, is_hinted in (([0, 0, 0, 1, 1, 9], True), (list("aaabbc"), False)):
        path = write(joined(",", rows=[(i % 4, label) for i, label in enumerate(labels_)]))
        assert main(["compare", path, *QUICK]) == 2
        error = capsys.readouterr().err
        assert "has only one row" in error
        assert ("give --task count or --task regression" in error) == is_hinted


@pytest.mark.parametrize("spelling", ["nan", "NA", "?", "None", "null"])
@pytest.mark.parametrize("task", [None, "class", "regression"])
def test_missing_values_among_numeric_labels(write, spelling, task):
    with pytest.raises(ValueError, match="has missing values") as error:
        labels(write, "1", spelling, "2", "1", spelling, task=task)
    assert f"'label' (2, the first in row 2), written as '{spelling}'" in str(error.value)


@pytest.mark.parametrize("value", ["", "  "])
def test_empty_labels(write, value):
    remedy = "; remove these rows, because missing targets cannot be replaced"
    with pytest.raises(ValueError, match=rf"'label' \(1, the first in row 3\).*{remedy}"):
        labels(write, "a", "b", value, "a")


def test_words_for_missing_values_are_labels_among_texts(write):
    assert labels(write, "NA", "yes", "NA", "None", "None", "yes").y.tolist() == [
        "NA", "yes", "NA", "None", "None", "yes"
    ]  # fmt: skip


def test_nearly_as_many_labels_as_rows(write):
    path = write(joined(",", rows=[(i % 5, 1000 + 7 * i) for i in range(200)]))
    assert refused(path, None, "class") == (
        "FILE: column 'label' has 200 different labels in 200 rows, which cannot be learned; if "
        "they are numbers to predict, give --task regression; otherwise name another column with "
        "--target"
    )
    assert read_dataset(path).task == "regression"
    path = write(joined(",", rows=[(i % 5, f"n{i}") for i in range(200)]))
    assert "has 200 different labels in 200 rows" in refused(path)
    assert "regression" not in refused(path)
    path = write(joined(",", rows=[(i % 5, f"n{i % 100}") for i in range(200)]))
    assert len(set(read_dataset(path).y)) == 100


def test_labels_come_back_as_written(write):
    big = [str(2**64 + k) for k in range(2)] * 2
    assert labels(write, *big).y.tolist() == big
    padded = ["007", "010"] * 2
    assert labels(write, *padded).y.tolist() == padded
    assert labels(write, "3", "-1", "3").y.tolist() == [3, -1, 3]
    assert labels(write, "True", "False", "True").y.tolist() == ["True", "False", "True"]
    assert labels(write, " a", "b ", " a").y.tolist() == [" a", "b ", " a"]


# --- rows for predictions -------------------------------------------------------------------


def test_columns_have_the_kind_that_the_model_expects(write):
    path = write("id,t,b,n,rest\n007,1,True,NA,\n008, 2 ,NA,2.5,NA\n009,,false,3,1.50\n")
    frame, _ = read_rows(path, dict(n="number", t="text", b="boolean"))
    assert frame["id"].tolist() == ["007", "008", "009"]
    assert frame["rest"].tolist() == ["", "NA", "1.50"]
    assert frame["t"].tolist()[:2] == ["1", "2"]
    assert frame["t"].isna().tolist() == [False, False, True]
    np.testing.assert_array_equal(frame["n"], [np.nan, 2.5, 3.0])
    assert [frame["b"][0], frame["b"][2]] == [True, False]
    assert np.isnan(frame["b"][1])


def test_values_of_other_kinds_are_refused(write):
    path = write("a,b\nTrue,1\nFalse,0\n")
    with pytest.raises(
        ValueError, match="has 'True' in row 1, which is not a number; column 'b' ha"
    ):
        read_rows(path, dict(a="number", b="boolean"))
    path = write("a,b,c\n1,x,inf\ny,True,2\n")
    with pytest.raises(ValueError, match="column 'a'") as error:
        read_rows(path, dict(a="number", b="boolean", c="number"))
    assert "column 'a' has 'y' in row 2, which is not a number" in str(error.value)
    assert "column 'b' has 'x' in row 1, which is neither true nor false" in str(error.value)
    assert "column 'c' is not numeric: 'inf' in row 1 is not finite" in str(error.value)
    with pytest.raises(ValueError, match="give --decimal , if commas are decimal marks"):
        read_rows(write("a;b\n1,5;2\n"), dict(a="number"))


@pytest.mark.parametrize("kind", ["number", "text", "boolean"])
def test_a_column_without_values_has_any_kind(kind):
    for dtype in (np.float64, object):
        found = column_of_kind(pd.Series([np.nan, np.nan], dtype=dtype), kind)
        assert found.problem == ""
        assert pd.isna(found.values).all()
        assert found.values.dtype == (np.float64 if kind == "number" else object)


def test_dates_and_index_columns_do_not_disturb_predictions(write):
    path = write(",x,when,,other\n0,5,2026-01-01,1,a\n1,4,2026-01-02,2,b\n")
    frame, _ = read_rows(path, dict(x="number"))
    assert frame.columns.tolist() == ["x", "when", "other"]
    assert len(frame) == 2


def test_missing_columns_of_a_model(write):
    path = write("x;y\n1;2\n")
    with pytest.raises(ValueError, match="Missing: z") as error:
        read_rows(path, dict(x="number", z="text"))
    assert "lacks columns of the model (fields separated by semicolon). Missing: z" in str(
        error.value
    )


def test_a_raw_file_with_everything(capsys, tmp_path, write):
    """Index, text, booleans, gaps and a date; predictions for rows in another order."""
    header = ";colour;ok;size;when;label"
    rows = [
        f"{i};{('red', 'blue', 'NA')[i % 3]};{('True', 'False')[i % 2]};"
        f"{'' if i == 4 else f'{i % 5},5'};2026-01-{i + 1:02d};{'no' if i % 3 else 'yes'}"
        for i in range(30)
    ]
    path, model = write(lines(header, *rows).encode("utf-16")), str(tmp_path / "m.npz")
    argv = ["fit", path, "--decimal", ",", "--drop", "when", "--impute", "--model", model, *QUICK]
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["rows"], data["features"], data["classes"]) == (30, 3, ["no", "yes"])
    new = write(lines("size,colour,ok", "1.5,red,True", ",NA,False", "2.5,green,True"), "new.csv")
    assert main(["predict", model, new]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


# --- parquet --------------------------------------------------------------------------------


def test_parquet_needs_pyarrow(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        read_dataset(write(b"PAR1" + b"\0" * 20))


@pytest.fixture
def parquet(tmp_path):
    pytest.importorskip("pyarrow")

    def make(columns, index=False):
        path = str(tmp_path / "a.parquet")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pd.DataFrame(columns).to_parquet(path, index=index)
        return path

    return make


def test_parquet(parquet):
    import decimal

    label = pd.Series([2**40, 1, 2, 1])
    path = parquet(
        {
            "i": pd.Series([3, None, 5, 1], dtype="Int64"),
            "b": pd.Series([True, None, False, True], dtype="boolean"),
            "plain": [True, False, True, True],
            "c": pd.Categorical(["u", "v", None, "u"]),
            "k": pd.Categorical([10, 20, 10, 20]),
            "t": ["1", "2", "1", None],
            "f": np.array([1, 2, 3, 5], dtype=np.float32),
            "d": [decimal.Decimal("1.5"), None, decimal.Decimal(2), decimal.Decimal(3)],
            "label": label,
        }
    )
    assert "'i' (1, the first in row 2), 'b' (1" in refused(path)
    dataset = read_dataset(path, table=TableOptions(impute=True))
    X = dataset.X
    np.testing.assert_array_equal(X["i"], [3, np.nan, 5, 1])
    np.testing.assert_array_equal(X["d"], [1.5, np.nan, 2, 3])
    assert X["plain"].dtype == bool
    assert X["b"].dropna().tolist() == [True, False, True]
    assert X["c"].dropna().tolist() == ["u", "v", "u"]
    assert X["k"].tolist() == [10, 20, 10, 20]
    assert X["t"].dropna().tolist() == ["1", "2", "1"]  # text with digits is text
    assert dataset.y.tolist() == label.tolist()
    frame, _ = read_rows(path, dict(i="number", t="text", k="text", c="text", b="boolean"))
    assert frame["k"].tolist() == ["10", "20", "10", "20"]
    assert frame["plain"].tolist() == ["True", "False", "True", "True"]


def test_what_parquet_cannot_bring(parquet):
    path = parquet(
        {
            "x": [1.0, 2.0],
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "day": [pd.Timestamp("2026-01-01").date()] * 2,
            "list": [[1, 2], [3]],
            "bytes": [b"a", b"b"],
            "nothing": [None, None],
            "never": pd.to_datetime([None, None]),
            "label": ["a", "b"],
        }
    )
    message = refused(path, impute=True)
    for words in (
        "'when' contains dates or times: '2026-01-01 00:00:00' in row 1",
        "'day' contains dates or times: '2026-01-01'",
        "'list' contains values that are no numbers, texts or booleans: '[1 2]' in row 1",
        "'bytes' contains values that are no numbers, texts or booleans: \"b'a'\" in row 1",
        "'nothing' contains no value",
        "'never' contains no value",
        "--drop when,day,list,bytes,nothing,never",
    ):
        assert words in message


def test_an_index_in_parquet(capsys, parquet, write):
    path = parquet(
        pd.DataFrame({"x": [5, 4, 5], "label": list("aba")}, index=[7, 8, 9]), index=True
    )
    assert read_dataset(path).feature_names == ["x"]
    assert "is not used as a feature" in capsys.readouterr().err
    with open(path, "rb") as file:
        content = file.read()
    assert "cannot be read as a parquet file" in refused(write(content[:50], "cut.parquet"))


# --- size -----------------------------------------------------------------------------------


def test_a_wide_table(write):
    names = [f"g{j}" for j in range(3000)]
    rows = [[*(f"{(i + j) % 7}.5" for j in range(3000)), i % 2] for i in range(12)]
    dataset = read_dataset(write(joined(",", [*names, "label"], rows)))
    assert dataset.X.shape == (12, 3000)
