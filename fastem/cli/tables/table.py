"""Tables of raw columns: from a source to features. One message lists all problems."""

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastem.cli.messages import MOST_LISTED, notify
from fastem.cli.tables.columns import COMMA_REMEDY, DECIMAL_COMMA, ROW, column_of_kind
from fastem.cli.tables.headers import (
    FIRST_UNNAMED,
    check_format,
    column_names,
    counts_rows,
    hint_of_preamble,
    without_unnamed,
)
from fastem.cli.tables.labels import missing_values
from fastem.cli.tables.parquet import read_parquet
from fastem.cli.tables.reading import TableOptions, read_frame, read_lines
from fastem.cli.tables.sources import PARQUET, read_bytes, shown_name
from fastem.cli.tables.thousands import thousands
from fastem.preparation import missing_entries

if TYPE_CHECKING:
    import pandas

_FEWEST_SUCCESSIVE = 20  # fewer numbers are successive by chance


class Table(NamedTuple):
    """A table of raw columns.

    Attributes
    ----------
    frame : DataFrame (n_samples, n_columns)
        The columns that have names.
    typed : bool
        Whether the file has types.
    written : DataFrame (n_samples, n_chosen)
        The chosen columns as they are written; empty fields are "".
    thousands : dict of str to str
        Columns in which points may separate thousands, as `thousands` returns them. It is empty
        if the option says that the point is the decimal mark.
    thousands_likely : bool
        Whether points separate thousands rather than decimals in such a file.
    """

    frame: "pandas.DataFrame"
    typed: bool
    written: "pandas.DataFrame"
    thousands: Mapping[str, str] = MappingProxyType({})
    thousands_likely: bool = False


def read_table(
    source: str,
    table: TableOptions,
    read_as_text: Callable[[list[str], str], Collection[str]],
    wanted: Collection[str] = (),
    choose: Callable[[list[str]], list[str]] = lambda names: [],
) -> Table:
    """Read the columns of a table.

    Parameters
    ----------
    source : str
        The path of a table, or ``-`` for standard input.
    table : TableOptions
    read_as_text : callable
        Receives the names of the columns and the separator in words. It checks the names and
        returns those of columns to read as text.
    wanted : collection of str, optional
        As in `column_names`. If there are any, columns without a name are removed.
    choose : callable, optional
        Returns, from the names of the columns, those that are also returned as they are written.
        A first column without a name is called "Unnamed: 0" there.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError
        If the table cannot be read, or has suspicious names or rows.
    OSError
        If the file cannot be read.
    ImportError
        If pandas is not installed, or pyarrow for parquet.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ImportError("reading a table needs pandas: pip install 'fastem[cli]'") from None
    data = read_bytes(source)
    if data.startswith(PARQUET):
        name = shown_name(source)
        frame = read_parquet(name, data)
        read_as_text([name for name in frame.columns if name], "")
        written = _written(frame, _places(list(frame.columns), choose))
        return Table(without_unnamed(name, frame, strict=not wanted), True, written)
    check_format(shown_name(source), data)
    lines = read_lines(source, data, table)
    del data
    names = column_names(lines, table.header, wanted)
    separated_by = lines.separated_by() + hint_of_preamble(lines)
    texts = read_as_text([name for name in names if name], separated_by)
    places = _places(names, choose)
    # a model knows the kinds of its columns
    frame = again = read_frame(lines, names, texts, keep_codes=not wanted)
    chosen = {names[j] for j in places.values()}
    if not chosen <= set(texts):  # once more, because numbers lose how they are written
        again = read_frame(lines, names, chosen)
    written = _written(again, places)
    frame = without_unnamed(lines.name, frame, strict=not wanted)
    rows = lines.head[int(lines.has_header) :]
    found = {} if table.decimal == "." else thousands(rows, names)
    return Table(frame, False, written, found, lines.sep == ";" or table.decimal == ",")


def _places(names: list[str], choose: Callable[[list[str]], list[str]]) -> dict[str, int]:
    """Return the positions of the chosen columns."""
    shown = [FIRST_UNNAMED, *names[1:]] if names and not names[0] else names
    return {name: shown.index(name) for name in choose([name for name in shown if name])}


def _written(frame: "pandas.DataFrame", places: dict[str, int]) -> "pandas.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {name: as_text(frame.iloc[:, j]).fillna("") for name, j in places.items()}, dtype=object
    )


def as_text(column: "pandas.Series") -> "pandas.Series":
    """Return a column of any type as objects: text, or NaN for missing values."""
    texts = column.astype(object).map(str, na_action="ignore")
    return texts.astype(object)  # a column without values has become one of floats


def of_kinds(
    source: str, frame: "pandas.DataFrame", kinds: Mapping[str, str], decimal: str
) -> "pandas.DataFrame":
    """Return columns with the kinds that a model expects, and all others as text."""
    import pandas as pd

    out, problems = {}, []
    for name in frame.columns:
        if name in kinds:
            values, problem, _ = column_of_kind(frame[name], kinds[name], decimal)
            out[name] = pd.Series(values, dtype=values.dtype)
            problems += [f"column {name!r} {problem}"] if problem else []
        else:
            out[name] = as_text(frame[name]).fillna("")
    if problems:
        comma = f"; {COMMA_REMEDY}" if decimal == "." and _has_comma(problems) else ""
        raise ValueError(f"{source}: {_joined(problems)} {ROW}{comma}")
    return pd.DataFrame(out, index=range(len(frame)), copy=False)


def feature_errors(
    source: str,
    X: "pandas.DataFrame",
    problems: Mapping[str, str],
    impute: bool,
    decimal: str = ".",
) -> list[str]:
    """Return what is wrong with features: values that cannot be used, and missing values."""
    return feature_errors_of(source, missing_entries(X), len(X), problems, impute, decimal)


def feature_errors_of(
    source: str,
    missing: list[tuple[str, int, int]],
    n_rows: int,
    problems: Mapping[str, str],
    impute: bool,
    decimal: str = ".",
) -> list[str]:
    """Return what is wrong with features, from their missing values (see `missing_entries`)."""
    missing = [entry for entry in missing if entry[0] not in problems]
    if impute:  # a column without any value has nothing to impute from
        nothing = "contains no value"
        problems = dict(problems) | {name: nothing for name, n, _ in missing if n == n_rows}
        missing = []
    errors = []
    if problems:
        found = [f"column {name!r} {problem}" for name, problem in problems.items()]
        comma = f", {COMMA_REMEDY}," if decimal == "." and _has_comma(found) else ""
        errors.append(
            f"{source}: {_joined(found)} {ROW}; correct the file{comma} or leave out columns with "
            f"{_drop_option(list(problems))}"
        )
    if missing:
        errors.append(
            f"{missing_values(source, missing)}; replace them with --impute, or leave "
            f"out columns with {_drop_option([name for name, *_ in missing])}"
        )
    return errors


def _drop_option(names: list[str]) -> str:
    """Return the option that drops the columns, as it is typed in a shell."""
    if len(names) > MOST_LISTED:
        return "--drop"
    if any("," in name for name in names):
        return " ".join(f"--drop {shlex.quote(name)}" for name in names)
    return f"--drop {shlex.quote(','.join(names))}"


def _joined(found: list[str]) -> str:
    more = len(found) - MOST_LISTED
    return "; ".join([*found[:MOST_LISTED], *([f"and {more} more columns"] if more > 0 else [])])


def _has_comma(found: list[str]) -> bool:
    """Return whether a problem shows a number with a comma."""
    return any(re.search(f"'{DECIMAL_COMMA.pattern}'", text) for text in found)


def _successive(X: "pandas.DataFrame", names: list[str]) -> list[str]:
    """Return columns that contain every whole number between two numbers once, in any order."""
    if len(X) < _FEWEST_SUCCESSIVE:
        return []
    head = X[names].head(_FEWEST_SUCCESSIVE).to_numpy()  # a quick look at many columns
    is_likely = (head % 1.0 == 0.0).all(axis=0) & (
        np.diff(np.sort(head, axis=0), axis=0) > 0.0
    ).all(axis=0)
    likely = [names[j] for j in np.flatnonzero(is_likely)]
    return [name for name in likely if (np.diff(np.sort(X[name].to_numpy())) == 1.0).all()]


def without_index(X: "pandas.DataFrame") -> "pandas.DataFrame":
    """Remove columns that count the rows, unless there is no other feature.

    Columns that contain successive whole numbers in another order are announced and kept.
    """
    numeric = [name for name, dtype in X.dtypes.items() if dtype == np.float64]
    rises = X.head(3)[numeric].diff().iloc[1:].to_numpy()  # a quick look at many columns
    likely = np.flatnonzero((rises == 1.0).all(axis=0))
    numbered = [numeric[j] for j in likely if counts_rows(X[numeric[j]].to_numpy())]
    kept = numbered[:1] if len(numbered) == len(X.columns) else []
    for name in numbered:
        if name in kept:
            notify(f"note: column {name!r} counts the rows; it is used because no other is left")
        else:
            notify(f"note: column {name!r} counts the rows and is not used as a feature")
    for name in _successive(X, [name for name in numeric if name not in numbered]):
        first, last = X[name].min(), X[name].max()
        notify(
            f"note: column {name!r} has every whole number from {first:.0f} to {last:.0f} once, "
            f"like numbers of rows; leave it out with {_drop_option([name])} if they say nothing "
            "about other rows"
        )
    left_out = [name for name in numbered if name not in kept]
    return X.drop(columns=left_out) if left_out else X
