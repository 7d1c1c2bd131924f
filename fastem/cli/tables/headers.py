"""Names of columns: what the first line of a table must and must not contain."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastem.cli.messages import listed, notify
from fastem.cli.tables.columns import MISSING, are_empty
from fastem.cli.tables.reading import TRIED, Lines

if TYPE_CHECKING:
    import pandas

FIRST_UNNAMED = "Unnamed: 0"  # the name that pandas gives to a first column without a name
STORED_INDEX = "__index_level_0__"  # the name that pandas gives to an index in a parquet file
_INDEX = ("", FIRST_UNNAMED, STORED_INDEX)
_FEWEST_ROWS = 3  # two values count by chance
REMOVE_ABOVE = "remove lines above the header"
_MOST_LINES, _START_BYTES = 100, 1 << 16
_FORMATS = {
    r"\{\s*(\"|\}|$)": "JSON: write the table as a CSV file",
    r"\[[ \t]*([\[{\r\n]|$)|\[[-\s\d.,e+]*\]\s*\Z": "JSON: write the table as a CSV file",
    r"<(!doctype|!--|(html|head|body|table)[\s>])": "an HTML page: save the table as a CSV file",
    r"<[a-z][^<>]*>(\s*[\r\n]\s*)?<": "XML or HTML: save the table as a CSV file",
}
_COUNTER = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")


def column_names(lines: Lines, header: bool | None, wanted: Collection[str] = ()) -> list[str]:
    """Return the names of the columns, without blanks around them.

    Parameters
    ----------
    lines : Lines
    header : bool or None
        As in `TableOptions`. Without a header the names are "1", "2", and so on.
    wanted : collection of str
        Names that prove that the first line is a header, if it contains all of them.

    Returns
    -------
    names : list of str
        An empty name is "".

    Raises
    ------
    ValueError
        If two columns have the same name, or if the first line looks like data and ``header`` is
        None.
    """
    first = lines.head[0] or [""] if lines.head else [""]
    if header is False:
        return [str(j) for j in range(1, len(first) + 1)]
    names = [cell.strip() for cell in first]
    is_certain = header or (len(wanted) > 0 and set(wanted) <= set(names))
    if not is_certain and _looks_like_data(names, lines.head[1:]):
        raise ValueError(
            f"{lines.name}: the first line looks like data, not like names of columns "
            f"({listed(names)}){lines.separated_by()}; give --no-header if the file has no "
            "header, or --header if these are the names"
        )
    check_names(lines.name, names)
    return names


def check_format(source: str, data: bytes) -> None:
    """Raise ValueError if a text begins like JSON, HTML or XML."""
    start = data[:_START_BYTES].decode("utf-8-sig", errors="replace").lstrip()
    for pattern, what in _FORMATS.items():
        if re.match(pattern, start, re.IGNORECASE):
            raise ValueError(f"{source} cannot be read as a CSV file: it begins like {what}")


def hint_of_preamble(lines: Lines) -> str:
    """Return a hint if the first line has one field, and most of the others have more."""
    rows = lines.data[:_START_BYTES].decode("utf-8", errors="replace").splitlines()[:_MOST_LINES]
    if len(rows) < _FEWEST_ROWS:
        return ""
    most = (1, 0)
    for sep in dict.fromkeys((lines.sep, *TRIED.replace(lines.decimal, ""))):
        if len(list(filter(str.strip, rows[0].split(sep)))) > 1:
            continue
        width, n_rows = Counter(row.count(sep) + 1 for row in rows[1:]).most_common(1)[0]
        if 2 * n_rows > len(rows) - 1:
            most = max(most, (width, n_rows))
    if most[0] == 1:
        return ""
    return (
        f"; line {lines.first_line} has 1 field, and the following lines have {most[0]}: "
        f"{REMOVE_ABOVE}"
    )


def check_names(source: str, names: Sequence[str]) -> None:
    """Raise ValueError if two columns have the same name."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        found = []
        for name in twice:
            places = [str(j) for j, other in enumerate(names, start=1) if other == name]
            found.append(f"{name!r} (columns {', '.join(places)})")
        raise ValueError(
            f"{source}: several columns have the same name; rename all but one of each: "
            f"{listed(found)}"
        )


def without_unnamed(source: str, frame: "pandas.DataFrame", *, strict: bool) -> "pandas.DataFrame":
    """Remove columns without names that contain no data: an index, or empty fields at the end.

    Parameters
    ----------
    source : str
        Name of the source.
    frame : DataFrame
        The name of a column without a name is "".
    strict : bool
        Whether other columns without a name are refused. Otherwise they are removed, too.

    Returns
    -------
    frame : DataFrame

    Raises
    ------
    ValueError
        If a column without a name may contain data.
    """
    names = list(frame.columns)
    is_kept = [bool(name) for name in names]
    if not strict:
        return frame.loc[:, is_kept]
    unnamed = [j for j, name in enumerate(names) if not name]
    if unnamed and unnamed[-1] == len(names) - 1 > 0 and are_empty(frame.iloc[:, -1]).all():
        del unnamed[-1]  # every line ends in a separator
    if len(names) > 1 and names[0] in _INDEX:
        first = frame.iloc[:, 0]
        counts = counts_rows(first.to_numpy())
        if counts or (first.is_unique and not _has_fractions(first)):
            what = f"column {names[0]!r}" if names[0] else "the first column, without a name,"
            how = "counts the rows" if counts else "is different in every row"
            notify(f"note: {what} {how} and is not used as a feature")
            is_kept[0] = False
            unnamed = [j for j in unnamed if j > 0]
    if unnamed:
        raise ValueError(
            f"{source}: no name in the header for {'columns' if len(unnamed) > 1 else 'column'} "
            f"{listed([str(j + 1) for j in unnamed])}; every column needs a name there, also one "
            "that contains the names of rows"
        )
    return frame if all(is_kept) else frame.loc[:, is_kept]


def counts_rows(values: NDArray[Any]) -> bool:
    """Return whether values are 0, 1, 2, ... or 1, 2, 3, ... in this order."""
    if len(values) < _FEWEST_ROWS or values.dtype.kind not in "iuf" or values[0] not in (0, 1):
        return False
    return bool((values == np.arange(len(values)) + values[0]).all())


def _has_fractions(column: "pandas.Series") -> bool:
    """Return whether values are numbers, not all of them whole."""
    values = column.dropna()
    if values.dtype.kind == "f":
        return bool((values != np.floor(values)).any())
    texts = [text for text in map(str.strip, map(str, values)) if text.lower() not in MISSING]
    are_numbers = bool(texts) and all(map(_NUMBER.fullmatch, texts))
    return are_numbers and any(re.search(r"[.,]", text) for text in texts)


def _looks_like_data(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether cells are numbers that do not count, or occur in their columns below."""
    cells = [(j, name) for j, name in enumerate(names) if name]
    numbers = [name for _, name in cells if _NUMBER.fullmatch(name)]
    if numbers and numbers != ["0"] and not _count_up(numbers):
        return True
    below: list[set[str]] = [set() for _ in names]
    for row in rows:
        for values, value in zip(below, row, strict=False):
            values.add(value.strip())
    n_repeated = sum(name in below[j] for j, name in cells)
    return 0 < n_repeated >= len(cells) / 2


def _count_up(numbers: Sequence[str]) -> bool:
    if len(numbers) < 2 or not all(map(_COUNTER.fullmatch, numbers)):
        return False
    first = int(numbers[0])
    return list(map(int, numbers)) == list(range(first, first + len(numbers)))
