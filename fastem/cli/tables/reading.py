"""Find the separator, the lines and the fields of a table in text, and read it with pandas."""

import csv
import io
import itertools
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.arguments import SEPARATORS
from fastem.cli.messages import counted
from fastem.cli.tables.codes import columns_of_codes
from fastem.cli.tables.columns import DECIMAL_COMMA
from fastem.cli.tables.sources import decoded, shown_name

if TYPE_CHECKING:
    import pandas

TRIED = ",;\t|"
_HEAD_BYTES, _HEAD_LINES, _SNIFFED_LINES = 1 << 20, 1000, 100
_BLOCK = 1 << 24
_MOST_LISTED = 5
_QUOTED_COMMA = re.compile(rb'"[ +-]*[0-9]+,[0-9]+[^",;\r\n]*"')
# Excel reads and removes a first line like sep=;
_EXCEL_SEPARATOR = re.compile(rb'("?)sep=([,;\t|: ])\1[,;\t|: ]*(?:\r\n|\n|\r)', re.IGNORECASE)


class TableOptions(NamedTuple):
    """How a table is written, and which columns are used.

    Attributes
    ----------
    sep : str or None
        Separator of fields, one character. None: that of a first line like ``sep=;``, which is
        for Excel and no row; otherwise found in the first lines.
    decimal : {".", ","} or None
        Decimal mark of numbers. None: the point, but points that may separate thousands are
        refused or announced.
    encoding : str or None
        Encoding of the text. None: that of the byte order mark, otherwise UTF-8.
    header : bool or None
        Whether the first line contains the names of the columns. None: it does, and a line that
        looks like data is refused.
    drop : tuple of str
        Columns that are not used. An entry that is no column may contain several names,
        separated by commas.
    impute : bool
        Whether missing values of features are allowed, because they are replaced later.
    """

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    drop: tuple[str, ...] = ()
    impute: bool = False

    @property
    def mark(self) -> str:
        """The decimal mark."""
        return self.decimal or "."


class Lines(NamedTuple):
    """The text of a table, before pandas parses it.

    Attributes
    ----------
    name : str
        Name of the source in messages.
    data : bytes
        UTF-8, without blank lines at the end.
    sep : str
        Separator of fields.
    decimal : str
    head : list of list of str
        Fields of the first rows; the first row may be the header.
    first_line : int
        Number of the line in the source with which ``data`` begins.
    has_header : bool
    counts : array of int (n_samples,)
        Number of fields of every row below the header.
    numbers : array of int (n_samples,)
        Number of the line in the source with which every row begins.
    start : int
        Position in ``data`` of the first row below the header.
    """

    name: str
    data: bytes
    sep: str
    decimal: str
    head: list[list[str]]
    first_line: int
    has_header: bool = True
    counts: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    numbers: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    start: int = 0

    def separated_by(self) -> str:
        """Return the separator in words, or nothing if it is the comma."""
        names = {sep: name for name, sep in SEPARATORS.items()}
        return "" if self.sep == "," else f" (fields separated by {names.get(self.sep, self.sep)})"


def read_lines(source: str, data: bytes, table: TableOptions) -> Lines:
    """Decode a table and find its separator.

    Parameters
    ----------
    source : str
        Name of the source.
    data : bytes
        Content of the source, decompressed.
    table : TableOptions

    Returns
    -------
    lines : Lines

    Raises
    ------
    ValueError
        If the data is not text or is empty, if a quotation mark is not closed, or if the decimal
        mark is also the separator and no number with a comma is in quotation marks.
    """
    name = shown_name(source)
    data = _without_last_blanks(decoded(source, data, table.encoding))
    first_line = 1
    announced = _EXCEL_SEPARATOR.match(data)
    if announced:
        data, first_line = data[announced.end() :], 2
    if b'"' not in data and b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if table.header is not False:  # blank lines above the header are no rows
        above = re.match(rb"(?:[ \t]*(?:\r\n|\n|\r))*", data).end()
        first_line += len(re.findall(rb"\r\n|\n|\r", data[:above]))
        data = data[above:]
    if not data:
        raise ValueError(f"{name} is empty")
    sep = table.sep or (announced and announced[2].decode()) or _find_separator(data, table.mark)
    if sep == table.decimal and not _QUOTED_COMMA.search(data):
        raise ValueError(
            "argument --decimal: it is also the separator of fields (--sep), and no number with a "
            "comma is in quotation marks"
        )
    if sep == " " and b'"' not in data:  # several blanks are one separator
        data = re.sub(rb"(?m)^ | $", b"", re.sub(rb"[ \t]+", b" ", data))
    lines = Lines(name, data, sep, table.mark, _head(data, sep, _HEAD_LINES), first_line)
    has_header = table.header is not False
    counts, numbers, start = (_quoted_rows if b'"' in data else _plain_rows)(lines, has_header)
    return lines._replace(counts=counts, numbers=numbers, start=start, has_header=has_header)


def read_frame(
    lines: Lines, names: Sequence[str], as_text: Collection[str], *, keep_codes: bool = False
) -> "pandas.DataFrame":
    """Parse all rows with pandas, one row of the frame for every row of the text.

    Parameters
    ----------
    lines : Lines
    names : list of str
        Names of the columns, empty for columns without a name.
    as_text : set of str
        Columns that are returned as text.
    keep_codes : bool, default=False
        Whether columns that contain whole numbers with leading zeros are returned as text, too.

    Returns
    -------
    frame : DataFrame
        With the types that pandas infers, or object with the fields as written and NaN for empty
        fields. An empty field at the end of all rows, but not of the header, is no column.

    Raises
    ------
    ValueError
        If a row has another number of fields than the header, or is blank in a table with
        several columns.
    """
    import pandas as pd

    counts = lines.counts
    if not len(counts):
        raise ValueError(f"{lines.name} has a header but no rows")
    width = len(names) + bool((counts == len(names) + 1).all())
    _check_counts(lines, width)
    texts = {j: object for j, name in enumerate(names) if name in as_text}
    if keep_codes:
        texts |= dict.fromkeys(columns_of_codes(lines.data, lines.start, lines.sep, width), object)
    stream = io.BytesIO(lines.data)
    stream.seek(lines.start)
    try:
        frame = pd.read_csv(
            stream, sep=lines.sep, decimal=lines.decimal, header=None, names=range(width),
            dtype=texts, keep_default_na=False, na_values=[""],
            skip_blank_lines=False, index_col=False, low_memory=False,
        )  # fmt: skip
    except (OSError, MemoryError):
        raise
    except Exception as error:  # pandas has errors of its own
        raise ValueError(f"{lines.name} cannot be read as a CSV file: {error}") from error
    if len(frame) != len(counts):
        raise ValueError(
            f"{lines.name} cannot be read as a CSV file: it has {len(counts)} rows, and pandas "
            f"finds {len(frame)}"
        )
    if width > len(names):
        if frame[width - 1].notna().any():
            raise ValueError(
                f"{lines.name}: all rows have {width} fields, more fields than the header "
                f"({len(names)}){lines.separated_by()}; give every column a name in the header, "
                "also a column that contains the names of rows"
            )
        frame = frame.drop(columns=width - 1)
    frame.columns = list(names)
    return frame


def _without_last_blanks(data: bytes) -> bytes:
    """Remove blank lines at the end, but no blanks at the end of the last line."""
    end = len(data.rstrip(b" \r\n"))
    found = re.compile(rb"[\r\n]").search(data, end)
    return data if found is None else data[: found.start()]


def _head(data: bytes, sep: str, n_lines: int, *, strict: bool = False) -> list[list[str]]:
    """Return the fields of the first rows; if ``strict``, none if quotation marks are wrong."""
    end, n = 0, 0
    while n < n_lines and (end < _HEAD_BYTES or n < 3):
        end, n = data.find(b"\n", end) + 1, n + 1
        if end == 0:
            break
    is_cut = 0 < end < len(data)
    text = (data[:end] if is_cut else data).decode("utf-8", errors="replace")
    rows: list[list[str]] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=sep, strict=strict)
        for row in itertools.islice(reader, n):
            rows.append(row)  # those before an error are kept
    except csv.Error as error:
        if strict and (not is_cut or "unexpected end" not in str(error)):
            return []
    return rows


def _find_separator(data: bytes, decimal: str) -> str:
    """Return the separator that gives the most fields in the same number in all first rows."""
    found: list[Any] = []
    for sep in TRIED.replace(decimal, ""):
        rows = [row for row in _head(data, sep, _SNIFFED_LINES) if any(map(str.strip, row))]
        width = len(rows[0]) if rows else 0
        if width > 1:
            share = sum(len(row) in (width, width + 1) for row in rows) / len(rows)
            found.append((share == 1.0, share > 0.5, width, -len(found), sep, rows))
    has_regular = any(is_regular for is_regular, *_ in found)
    if decimal == "," and not has_regular and _quotes_commas(data):
        return ","
    if not found:
        return "," if decimal == "." else ";"
    best = max(found)
    for other in found:  # 1,5;2,5 has three fields with the wrong separator
        is_better = best[4] == "," and other[4] != "," and other[0]
        if is_better and any(DECIMAL_COMMA.fullmatch(x.strip()) for row in other[5] for x in row):
            return other[4]
    return best[4]


def _quotes_commas(data: bytes) -> bool:
    """Return whether the first rows are fields between commas, with decimal commas in quotes."""
    if not _QUOTED_COMMA.search(data):
        return False
    rows = _head(data, ",", _SNIFFED_LINES, strict=True)
    widths = {len(row) for row in rows if any(map(str.strip, row))}
    return len(widths) == 1 and min(widths) > 1


def _plain_rows(lines: Lines, has_header: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return ``counts``, ``numbers`` and ``start`` of `Lines` for text without quotation marks."""
    counts = _count_fields(lines.data, lines.sep)
    numbers = np.arange(lines.first_line, lines.first_line + len(counts))
    if not has_header:
        return counts, numbers, 0
    return counts[1:], numbers[1:], lines.data.find(b"\n") + 1 or len(lines.data)


def _quoted_rows(lines: Lines, has_header: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return the same for text with quotation marks. A row may then have several lines."""
    text = io.TextIOWrapper(io.BytesIO(lines.data), encoding="utf-8", newline="")
    reader = csv.reader(text, delimiter=lines.sep, strict=True)
    counts, numbers, next_line = [], [], 0
    try:
        for row in reader:
            counts.append(len(row) or 1)
            numbers.append(next_line + lines.first_line)
            next_line = reader.line_num
    except csv.Error as error:
        raise ValueError(_quoting_error(lines, next_line, str(error))) from None
    start = 0
    if has_header:
        n_lines = numbers[1] - numbers[0] if len(numbers) > 1 else next_line
        text = io.TextIOWrapper(io.BytesIO(lines.data), encoding="utf-8", newline="")
        start = sum(len(line.encode()) for line in itertools.islice(text, n_lines))
    skipped = slice(int(has_header), None)
    return np.array(counts[skipped], np.intp), np.array(numbers[skipped], np.intp), start


def _quoting_error(lines: Lines, next_line: int, error: str) -> str:
    where = f"{lines.name} cannot be read as a CSV file: line {next_line + lines.first_line}"
    if "limit" in error:
        return f"{where} has a field of more than {csv.field_size_limit()} characters"
    if "unexpected end" in error:
        return f"{where} has a quotation mark that is not closed"
    return f"{where} has text after a closing quotation mark ({error})"


def _check_counts(lines: Lines, width: int) -> None:
    """Raise ValueError if a row has not ``width`` fields; list the lines."""
    counts, numbers = lines.counts, lines.numbers
    wrong = np.flatnonzero(counts != width)
    if not len(wrong):
        return
    texts = re.split(rb"\r\n|\n|\r", lines.data)
    found = []
    for i in wrong[:_MOST_LISTED]:
        is_blank = counts[i] == 1 and not texts[numbers[i] - lines.first_line].strip()
        found.append(f"line {numbers[i]} {'is blank' if is_blank else f'has {counts[i]}'}")
    more = f" and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
    what = "header" if lines.has_header else "first line"
    raise ValueError(
        f"{lines.name}: the {what} has {counted(width, 'field')}{lines.separated_by()}, but "
        f"{', '.join(found)}{more}; every line must be a row with the same fields"
    )


def _count_fields(data: bytes, sep: str) -> NDArray[np.intp]:
    """Return the number of fields of every line of a text without quotation marks."""
    counts, start = [], 0
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        block = np.frombuffer(data, np.uint8, end - start, start)
        ends = block == ord("\n")
        places = np.flatnonzero(ends | (block == ord(sep)))
        closing = np.flatnonzero(ends[places])
        counts.append(np.diff(closing, prepend=-1))
        if end == len(data) and not ends[-1]:
            counts.append([len(places) - (closing[-1] + 1 if len(closing) else 0) + 1])
        start = end
    return np.concatenate(counts)
