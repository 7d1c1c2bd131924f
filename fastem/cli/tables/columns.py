"""Kinds of feature columns: numbers, text and booleans, and what cannot be a feature."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.messages import notify
from fastem.cli.tables.codes import CODE
from fastem.cli.tables.marks import MARKS, has_point, marked_numbers, without_marks
from fastem.parameters import Array

if TYPE_CHECKING:
    import pandas

MISSING = frozenset(
    ("na", "n/a", "nan", "null", "none", "nil", "<na>", "#n/a", "#na", "?", ".", "-")
)
MOST_CATEGORIES = 20
LIKE_IDENTIFIERS = "like names or identifiers"
_LONGEST_SHOWN = 40
ROW = "(row 1 is the first below the header)"
_BOOLEANS = {"true": True, "false": False}
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
COMMA_REMEDY = "give --decimal , if commas are decimal marks"
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_TIME = (
    r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[ap]m)?( ?(z|utc|gmt|[+-][0-9]{2}:?[0-9]{2}))?"
)
_DAY = "|".join(
    (
        r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}",
        r"(1[5-9]|2[01])[0-9]{2}[-/](0[1-9]|1[0-2])",
        r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.]([0-9]{4}|[0-9]{2})",
        rf"[0-9]{{1,2}}[-. ]+{_MONTH}[-. ,]+[0-9]{{2,4}}",
        rf"{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}",
    )
)
_DATE = re.compile(rf"({_DAY})(,?[t ] ?{_TIME})?|{_TIME}")


class Column(NamedTuple):
    """A column as a feature.

    Attributes
    ----------
    values : array (n_samples,)
        Numbers: float64, NaN is missing. Text: object with str, NaN is missing. Booleans: bool,
        or object with bool and NaN if values are missing.
    problem : str
        Why the column cannot be a feature, or an empty string.
    code : str
        A value with a leading zero, if the column is text because of it; otherwise empty.
    """

    values: NDArray[Any]
    problem: str = ""
    code: str = ""


def feature_column(column: "pandas.Series", decimal: str = ".", *, typed: bool = False) -> Column:
    """Return a column as a feature of the kind that its values suggest.

    A column is a number column if all its values are numbers, except the usual spellings of
    missing values, and a boolean column if they are true and false. All others are text columns,
    in which only empty fields are missing. A column that contains a whole number with a leading
    zero, like a postcode, is a text column.

    Parameters
    ----------
    column : Series (n_samples,)
    decimal : {".", ","}
        Decimal mark of numbers in text.
    typed : bool
        Whether the file has types, so that text with digits is text.

    Returns
    -------
    column : Column
        A text column has a problem if at least half of its values are numbers, dates or numbers
        with a comma; or if more than 20 and more than half of its values differ.
    """
    column = _unpacked(column)
    kind = _kind(column)
    if kind in ("number", "boolean"):
        return _typed_column(column, kind)
    if kind not in ("text", "empty"):
        return Column(np.full(len(column), np.nan), _foreign(column, kind))
    texts = _Texts(column, decimal)
    if not texts.n_given and not (typed and texts.present.any()):
        return Column(np.full(len(column), np.nan))
    codes = texts.mark(CODE.fullmatch)
    if not typed and codes.any():
        return _code_column(texts, texts.first(codes)[1])
    if not typed and texts.n_of(texts.are_numbers) == texts.n_given:
        return _finite(column, texts.numbers())
    if not typed and texts.n_of(texts.are_booleans) == texts.n_given:
        return Column(texts.booleans())
    return Column(texts.stripped(), _problem_of_text(texts, typed))


def column_of_kind(column: "pandas.Series", kind: str, decimal: str = ".") -> Column:
    """Return a column as a feature of the kind that a model expects.

    Parameters
    ----------
    column : Series (n_samples,)
        For ``kind="text"`` the fields as written.
    kind : {"number", "text", "boolean"}
    decimal : {".", ","}
        Decimal mark of numbers in text.

    Returns
    -------
    column : Column
        It has a problem if its values are not of the kind.
    """
    column = _unpacked(column)
    found = _kind(column)
    if kind == "text":
        if found not in ("text", "empty"):
            column = column.map(str, na_action="ignore").astype(object)
        return Column(_Texts(column, decimal).stripped())
    if found == kind:
        return _typed_column(column, kind)
    if found not in ("text", "empty"):
        row, value = _first(column, column.notna().to_numpy())
        return Column(column.to_numpy(), f"has {value!r} in row {row}, which is {_NOT[kind]}")
    texts = _Texts(column, decimal)
    good = texts.are_numbers if kind == "number" else texts.are_booleans
    wrong = texts.given & ~good
    if wrong.any():
        row, value = texts.first(wrong)
        return Column(column.to_numpy(), f"has {value!r} in row {row}, which is {_NOT[kind]}")
    if kind == "number":
        return _finite(column, texts.numbers())
    return Column(texts.booleans())


_NOT = {"number": "not a number", "boolean": "neither true nor false"}


def feature_frame(
    frame: "pandas.DataFrame", decimal: str, *, typed: bool
) -> tuple["pandas.DataFrame", dict[str, str]]:
    """Return all columns as features, and the problems of columns that cannot be features.

    Parameters
    ----------
    frame : DataFrame (n_samples, n_columns)
    decimal, typed
        As in `feature_column`.

    Returns
    -------
    features : DataFrame (n_samples, n_columns)
    problems : dict of str to str
    """
    import pandas as pd

    plain = [
        name
        for name, dtype in frame.dtypes.items()
        if isinstance(dtype, np.dtype) and dtype.kind in "iuf"
    ]
    numbers = frame[plain].to_numpy(dtype=np.float64)
    features = pd.DataFrame(numbers, columns=plain, index=frame.index, copy=False)
    problems = {
        plain[j]: _finite(frame[plain[j]], numbers[:, j]).problem
        for j in np.flatnonzero(np.isinf(numbers).any(axis=0))
    }
    others = {}
    for name in frame.columns.drop(plain):
        column = feature_column(frame[name], decimal, typed=typed)
        others[name] = pd.Series(column.values, frame.index, dtype=column.values.dtype)
        if column.problem:
            problems[name] = column.problem
        elif column.code:
            notify(
                f"note: column {name!r} has values with leading zeros, like {column.code!r}, and "
                "is read as text"
            )
    if others:
        features = pd.concat([features, pd.DataFrame(others)], axis=1)
        features = features[list(frame.columns)]
    return features, problems


def _code_column(texts: "_Texts", code: str) -> Column:
    """Return a column that contains a whole number with a leading zero as text."""
    problem = _problem_of_text(texts, typed=True)
    if not 0 < texts.n_of(texts.are_numbers) >= texts.n_given / 2:  # text without the zeros, too
        return Column(texts.stripped(), problem)
    why = f"has values with leading zeros, like {code!r}, and is read as text; it "
    return Column(texts.stripped(), problem and why + problem, code)


class _Texts:
    """The different texts of a column, without blanks around them, and the kinds of values.

    Attributes
    ----------
    present, given, are_numbers, are_booleans : array of bool (n_different,)
        Whether a text is not empty; not a spelling of a missing value either; a number; true or
        false.
    n_given : int
        Number of rows with a given text.
    """

    def __init__(self, column: "pandas.Series", decimal: str) -> None:
        import pandas as pd

        self.codes, different = pd.factorize(column.astype(object))  # -1 for missing values
        self.texts = [str(text).strip() for text in different]
        lower = [text.lower() for text in self.texts]
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(lower))
        self.present = self._mark(bool, lower)
        self.given = self.present & self._mark(lambda text: text not in MISSING, lower)
        self.values, self.decimal = as_numbers(self.texts, decimal), decimal
        self.are_numbers = self.given & ~np.isnan(self.values)
        self.are_booleans = self._mark(_BOOLEANS.__contains__, lower)
        self.n_given = self.n_of(self.given)

    def _mark(self, test: Callable[[str], Any], texts: list[str]) -> NDArray[np.bool_]:
        return np.array([bool(test(text)) for text in texts], dtype=bool)

    def mark(self, test: Callable[[str], Any]) -> NDArray[np.bool_]:
        """Return which given texts pass a test."""
        return self.given & self._mark(test, self.texts)

    def n_of(self, marked: NDArray[np.bool_]) -> int:
        """Return the number of rows with marked texts."""
        return int(self.counts[marked].sum())

    def n_different(self) -> int:
        """Return the number of different texts that are not empty."""
        return len({text for text in self.texts if text})

    def first(self, marked: NDArray[np.bool_]) -> tuple[int, str]:
        """Return the first row with a marked text, counted from 1, and the text."""
        row = int(np.argmax(np.append(marked, False)[self.codes]))
        return row + 1, self.texts[self.codes[row]][:_LONGEST_SHOWN]

    def numbers(self) -> Array:
        return np.append(np.where(self.are_numbers, self.values, np.nan), np.nan)[self.codes]

    def booleans(self) -> NDArray[Any]:
        """Return bool, or object with bool and NaN if values are missing."""
        values = [_BOOLEANS.get(text.lower(), np.nan) for text in self.texts]
        out = np.array([*values, np.nan], dtype=object)[self.codes]
        is_complete = len(out) == self.n_of(self.are_booleans)
        return out.astype(bool) if is_complete else out

    def stripped(self) -> NDArray[Any]:
        return np.array([*(text or np.nan for text in self.texts), np.nan], dtype=object)[
            self.codes
        ]


def as_numbers(texts: list[str], decimal: str) -> Array:
    """Return texts as numbers, NaN for other texts."""
    import pandas as pd

    if decimal == ",":  # a point would separate thousands
        texts = ["" if "." in text else text.replace(",", ".") for text in texts]
    found = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    return found.to_numpy(dtype=np.float64)


def _unpacked(column: "pandas.Series") -> "pandas.Series":
    """Return a column of categories as a column of their values."""
    return column.astype(object) if hasattr(column, "cat") else column


def _kind(column: "pandas.Series") -> str:
    """Return "number", "boolean", "text", "empty", or a kind of pandas that is none of them."""
    from pandas.api.types import infer_dtype

    if column.isna().all():
        return "empty"
    kind = infer_dtype(column, skipna=True)
    return _KINDS.get(kind, kind)


_KINDS = {
    "string": "text",
    "boolean": "boolean",
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
}


def _typed_column(column: "pandas.Series", kind: str) -> Column:
    if kind == "number":
        return _finite(column, column.to_numpy(dtype=np.float64, na_value=np.nan))
    absent = column.isna().to_numpy()
    if absent.any():
        values = column.astype(object).to_numpy(copy=True)
        values[absent] = np.nan
        return Column(values)
    return Column(column.to_numpy(dtype=bool))


def _finite(column: "pandas.Series", values: Array) -> Column:
    infinite = np.isinf(values)
    if not infinite.any():
        return Column(values)
    row, value = _first(column, infinite)
    return Column(values, f"is not numeric: {value!r} in row {row} is not finite")


def _first(column: "pandas.Series", marked: NDArray[np.bool_]) -> tuple[int, str]:
    """Return the first marked row, counted from 1, and its value as text."""
    row = int(np.argmax(marked))
    return row + 1, str(column.iloc[row])[:_LONGEST_SHOWN]


def _foreign(column: "pandas.Series", kind: str) -> str:
    """Return the problem of a column that contains neither numbers, text nor booleans."""
    row, value = _first(column, column.notna().to_numpy())
    what = "dates or times" if kind in _DATES else "values that are no numbers, texts or booleans"
    return f"contains {what}: {value!r} in row {row}"


_DATES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")


def _problem_of_text(texts: _Texts, typed: bool) -> str:
    """Return why a text column cannot be a feature, or an empty string."""
    half = texts.n_given / 2
    dates = texts.mark(lambda text: _DATE.fullmatch(text.lower()))
    commas = texts.mark(lambda text: texts.decimal == "." and DECIMAL_COMMA.fullmatch(text))
    marked = _marks(texts)
    separate_thousands = marked and not (commas & ~texts.mark(_THOUSANDS.fullmatch)).any()
    for found, what in (
        (dates, "contains dates or times"),
        (commas & (not separate_thousands), "contains numbers with a comma"),
    ):
        if 0 < texts.n_of(found) >= half:
            row, value = texts.first(found)
            return f"{what}: {value!r} in row {row}"
    n_different, n_rows = texts.n_different(), texts.n_of(texts.present)
    identifies = n_different > MOST_CATEGORIES and n_different > n_rows / 2
    are_mostly_numbers = not typed and 0 < texts.n_of(texts.are_numbers) >= half
    if marked and (are_mostly_numbers or identifies or 0 < texts.n_of(commas) >= half):
        return marked
    if are_mostly_numbers:
        row, value = texts.first(texts.given & ~texts.are_numbers)
        return f"is not numeric: {value!r} in row {row} is not a number"
    if identifies:
        return f"has {n_different} different texts in {n_rows} rows, {LIKE_IDENTIFIERS}"
    return ""


def described_marks(column: "pandas.Series", decimal: str) -> str:
    """Return in words that most texts of a column are numbers with marks, or an empty string."""
    return _marks(_Texts(column, decimal)) if _kind(column) == "text" else ""


def _marks(texts: _Texts) -> str:
    points = texts.mark(lambda text: texts.decimal == "," and has_point(text))
    marked = texts.given & marked_numbers(texts.texts, texts.counts, texts.decimal)
    for found, what in (
        (points, "contains numbers with a point as decimal mark in a file read with "
         "--decimal ,"),
        (marked, f"looks like numbers with {MARKS}"),
    ):  # fmt: skip
        n, n_others = texts.n_of(found), texts.n_of(texts.given & ~found & ~texts.are_numbers)
        if n > n_others:
            row, value = texts.first(found)
            plain = without_marks(value, texts.decimal)
            number = value.replace(".", ",") if plain is None else plain[0]
            return f"{what}: {value!r} in row {row}, to be written as {number}"
    return ""


def are_empty(column: "pandas.Series") -> NDArray[np.bool_]:
    """Return in which rows a column has no value, or a text of blanks only."""
    values = column.astype(object)
    blank = values.map(lambda value: isinstance(value, str) and not value.strip())
    return column.isna().to_numpy() | blank.to_numpy(dtype=bool)
