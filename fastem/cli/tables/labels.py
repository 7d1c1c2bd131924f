"""Targets of a table: labels, numbers or counts. Unusable targets raise before training."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastem.cli.messages import counted, listed, notify
from fastem.cli.tables.codes import CODE
from fastem.cli.tables.columns import COMMA_REMEDY, DECIMAL_COMMA, MISSING, ROW, as_numbers
from fastem.cli.tables.headers import counts_rows
from fastem.cli.tables.marks import MARKS, marked_numbers, without_marks
from fastem.parameters import Array
from fastem.runtime import lazy_property

if TYPE_CHECKING:
    import pandas

MOST_LABELS = 20
ROWS_PER_LABEL = 50
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # int64 prints it as it was written
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FEWEST_COUNTS, _FEW_ROWS = 8, 3
_FINAL_MARKS = ".,;:!?"


def targets(
    source: str, name: str, column: "pandas.Series", task: str | None, decimal: str = "."
) -> tuple[NDArray[Any], str]:
    """Return the values of the target column, and the task.

    Parameters
    ----------
    source : str
        Name of the table.
    name : str
        Name of the column.
    column : Series (n_samples,)
        Texts as written in the table, NaN for empty fields.
    task : {"class", "regression", "count"} or None
        None: "regression" if all values are numbers, and they have fractions or more than 20
        different values with, on average, fewer than 50 rows of each; otherwise "class".
    decimal : {".", ","}
        Decimal mark of numbers.

    Returns
    -------
    y : array (n_samples,)
        Labels as int or str, or numbers as float64.
    task : {"class", "regression", "count"}

    Raises
    ------
    ValueError
        If values are missing or cannot be targets of the task.
    """
    values = _Values(source, name, column, decimal)
    values.check_missing()
    values.check_decimal_comma(task)
    if task is None:
        values.check_nearly_numeric()
    if task in (None, "class"):
        values.check_index()
    if (task or values.likely_task()) == "class":
        y = _labels(values)
        if task is None and values.look_like_counts():
            notify(
                f"note: the target {name!r} is taken for classes; if the values are counts or "
                "numbers, give --task count or --task regression"
            )
        return y, "class"
    task = task or "regression"
    y = values.as_numbers()
    check_numbers(f"{source}: column {name!r}", y, task)
    return y, task


class _Values:
    """The different texts of the target column; there may be as many as rows.

    Attributes
    ----------
    codes : array of int (n_samples,)
        Position of the text of every row; -1 for empty fields.
    texts : list of str
        As written.
    counts : list of int
        Number of rows with each text.
    stripped : list of str
        The texts without blanks around them.
    numbers : array (n_different,)
        The texts as numbers, NaN for other texts.
    are_numeric : bool
        Whether all texts are numbers, or spellings of missing values beside numbers.
    """

    def __init__(self, source: str, name: str, column: "pandas.Series", decimal: str) -> None:
        import pandas as pd

        self.source, self.name, self.decimal = source, name, decimal
        self.codes, texts = pd.factorize(column.astype(object))
        self.texts: list[str] = texts.tolist()
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(texts)).tolist()
        self.stripped = [text.strip() for text in self.texts]
        self.numbers = as_numbers(self.stripped, decimal)
        others = [self.stripped[i] for i in np.flatnonzero(np.isnan(self.numbers))]
        self.are_numeric = len(others) < len(self.texts) and all(
            not text or text.lower() in MISSING for text in others
        )

    @lazy_property
    def marked(self) -> NDArray[np.bool_]:
        """Return which texts are numbers with a currency sign, a unit or a thousands mark."""
        return marked_numbers(self.stripped, self.counts, self.decimal)

    def first(self, marked: NDArray[np.bool_]) -> str:
        """Return the first marked text and its row."""
        row = int(np.argmax(np.append(marked, False)[self.codes]))
        return f"{self.texts[self.codes[row]]!r} in row {row + 1}"

    def check_missing(self) -> None:
        """Raise ValueError if fields are empty, or if a missing value is written among numbers."""
        absent = np.array([not text for text in self.stripped], dtype=bool)
        if self.are_numeric:
            absent |= np.isnan(self.numbers)
        rows = np.flatnonzero(np.append(absent, True)[self.codes]) + 1
        if len(rows):
            spelled = [repr(self.texts[i]) for i in np.flatnonzero(absent) if self.stripped[i]]
            what = f", written as {listed(spelled)}" if spelled else ""
            found = missing_values(self.source, [(self.name, len(rows), rows[0])])
            remedy = "; remove these rows, because missing targets cannot be replaced"
            raise ValueError(found + what + remedy)

    def check_decimal_comma(self, task: str | None) -> None:
        """Raise ValueError if all values are numbers with a comma and are to be numbers."""
        are_numbers = all(map(DECIMAL_COMMA.fullmatch, self.stripped))
        if self.decimal == "." and task != "class" and are_numbers:
            first = without_marks(self.stripped[0], ".") if self.marked.all() else None
            thousands = f"write {first[0]} if commas separate thousands, " if first else ""
            raise ValueError(
                f"{self.source}: column {self.name!r} contains numbers with a comma: "
                f"{self.texts[0]!r} in row 1 {ROW}; {thousands}give --decimal , if commas are "
                "decimal marks, or --task class if they are labels"
            )

    def check_nearly_numeric(self) -> None:
        """Raise ValueError if the values cannot be labels, and most of them are numbers.

        Numbers with a currency sign, a unit, a thousands mark or a comma as decimal mark count as
        numbers here. If the values can be labels, but are numbers to predict without the others,
        a note is printed instead.
        """
        bad = np.isnan(self.numbers)
        if not bad.any() or any(map(CODE.fullmatch, self.stripped)):
            return
        plain = list(self.stripped)
        for i in np.flatnonzero(bad):
            found = without_marks(plain[i], self.decimal) if self.marked[i] else None
            if found is not None:
                plain[i] = found[0]
            elif DECIMAL_COMMA.fullmatch(plain[i]):
                plain[i] = plain[i].replace(",", ".")
        numbers = as_numbers(plain, self.decimal)
        is_number, n_rows = np.isfinite(numbers), np.array(self.counts)
        if 2 * n_rows[~is_number].sum() >= n_rows.sum():
            return
        n_different = len(np.unique(numbers[is_number]))
        if self.are_too_many():
            raise ValueError(
                f"{self.source}: column {self.name!r} is not numeric: {self.described(bad)}, or "
                f"name another column with --target{self.comma_hint()}"
            )
        has_fractions = not self.marked.any() and (numbers[is_number] % 1.0 != 0.0).any()
        if self._are_many(n_different) or has_fractions:
            notify(
                f"note: the target {self.name!r} is taken for classes, because "
                f"{self.first(bad)} {ROW} is not a number{self.marks(bad)}"
            )

    def are_too_many(self) -> bool:
        """Return whether there are too many different texts for labels."""
        return len(self.texts) > MOST_LABELS and 2 * len(self.texts) > len(self.codes)

    def comma_hint(self) -> str:
        """Return the remedy if texts are numbers with a comma."""
        has_comma = self.decimal == "." and any(map(DECIMAL_COMMA.fullmatch, self.stripped))
        return f"; {COMMA_REMEDY}" if has_comma else ""

    def described(self, bad: NDArray[np.bool_]) -> str:
        """Return in words why texts are no numbers, and what to do."""
        if (bad & ~self.marked).any():
            return f"{self.first(bad & ~self.marked)} {ROW} is not a number; correct it"
        return f"{self.first(bad)} {ROW} is not a number{self.marks(bad)}"

    def marks(self, bad: NDArray[np.bool_]) -> str:
        """Return how to write the first bad text if it is a number with marks."""
        i = self.codes[int(np.argmax(np.append(bad, False)[self.codes]))]
        found = without_marks(self.stripped[i], self.decimal) if self.marked[i] else None
        return f", but looks like one with {MARKS}: write {found[0]}" if found else ""

    def look_like_counts(self) -> bool:
        """Return whether labels are whole numbers that may be counts.

        There are at least 8, most of them follow each other, and some occur in few rows, or in
        less than a tenth of the rows of the most frequent one.
        """
        if len(self.texts) < _FEWEST_COUNTS or not all(map(_WHOLE_NUMBER.fullmatch, self.texts)):
            return False
        known = set(map(int, self.texts))
        n_followed = sum(value + 1 in known for value in known)
        is_uneven = min(self.counts) < _FEW_ROWS or 10 * min(self.counts) < max(self.counts)
        return min(known) >= 0 and 2 * n_followed > len(known) and is_uneven

    def check_index(self) -> None:
        """Raise ValueError if the values count the rows."""
        if self.are_numeric and counts_rows(self.numbers[self.codes]):
            raise ValueError(
                f"{self.source}: column {self.name!r} counts the rows, so it is an index and not a "
                "target; name another column with --target, or give --task regression if it is one"
            )

    def likely_task(self) -> str:
        """Return the task of the values if none is given."""
        if not self.are_numeric or any(map(CODE.fullmatch, self.stripped)):
            return "class"
        finite = self.numbers[np.isfinite(self.numbers)]
        n_different = len(np.unique(finite))
        has_fractions = (finite != np.floor(finite)).any()
        return "regression" if self._are_many(n_different) or has_fractions else "class"

    def _are_many(self, n_different: int) -> bool:
        """Return whether there are too many different numbers for labels."""
        return n_different > MOST_LABELS and len(self.codes) < ROWS_PER_LABEL * n_different

    def as_numbers(self) -> Array:
        """Return the number of every row; raise ValueError if one is not finite."""
        for bad, what in (
            (np.isnan(self.numbers), "a number"),
            (np.isinf(self.numbers), "finite"),
        ):
            if bad.any():
                comma = self.comma_hint()
                if not (bad & ~self.marked).any():
                    comma = f"{self.marks(bad)}{comma}"
                raise ValueError(
                    f"{self.source}: column {self.name!r} is not numeric: {self.first(bad)} {ROW} "
                    f"is not {what}{comma}"
                )
        return self.numbers[self.codes]


def _labels(values: _Values) -> NDArray[Any]:
    """Return labels as int or str; raise ValueError or notify of suspicious labels."""
    texts, what = values.texts, f"{values.source}: column {values.name!r}"
    if len(texts) < 2:
        raise ValueError(f"{what} contains only the class {texts[0]!r}; two are needed")
    n_rows = len(values.codes)
    if values.are_too_many():
        are_mostly_numbers = 2 * np.isnan(values.numbers).sum() < len(texts)
        remedy = "if they are numbers to predict, give --task regression; otherwise "
        raise ValueError(
            f"{what} has {len(texts)} different labels in {n_rows} rows, which cannot be learned; "
            f"{remedy if are_mostly_numbers else ''}name another column with --target"
        )
    for key, problem in (
        (_normal_form, "that differ only in blanks, in capital letters or as written numbers"),
        (_without_final_marks, "that differ only in punctuation at the end"),
    ):
        groups: dict[Hashable, list[str]] = defaultdict(list)
        for text, count in zip(texts, values.counts, strict=True):
            groups[key(text)].append(f"{text!r} ({counted(count, 'row')})")
        found = [" and ".join(group) for group in groups.values() if len(group) > 1]
        if found and key is _normal_form:
            raise ValueError(
                f"{what} has labels {problem}: {listed(found)}; write each label in one way"
            )
        if found:
            notify(f"note: column {values.name!r} has labels {problem}: {listed(found)}")
    once = [repr(text) for text, count in zip(texts, values.counts, strict=True) if count == 1]
    if once:
        notify(f"note: labels of column {values.name!r} that occur in one row only: {listed(once)}")
    if all(_WHOLE_NUMBER.fullmatch(text) and text != "-0" for text in texts):
        return np.array([int(text) for text in texts])[values.codes]
    return np.array(texts)[values.codes]


def _normal_form(label: str) -> Hashable:
    """Return a key that is equal for labels of the same meaning."""
    text = label.strip()
    if _NUMBER.fullmatch(text) and not CODE.fullmatch(text):
        return Decimal(text)
    return unicodedata.normalize("NFC", " ".join(text.split())).casefold()


def _without_final_marks(label: str) -> str:
    return label.rstrip(_FINAL_MARKS) or label


def check_numbers(what: str, y: Array, task: str) -> None:
    """Raise ValueError if all numbers are equal, or if a count is negative or a fraction."""
    if task == "count":
        wrong = ~is_count(y)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{what} has {y[row]:g} in row {row + 1}, which is not a count (a whole number of "
                "at least 0); use --task regression"
            )
    if y.min() == y.max():
        raise ValueError(f"{what} contains only the number {y[0]:g}; two are needed")


def is_count(y: Array) -> NDArray[np.bool_]:
    """Return which numbers are whole numbers of at least 0."""
    return (y >= 0.0) & (y == np.floor(y))


def are_counts(y: Array) -> bool:
    """Return whether all numbers are whole numbers of at least 0."""
    return bool(is_count(y).all())


def reason_to_regress(y: Array) -> str:
    """Return in words why `targets` takes these values for numbers."""
    fractions = y[y != np.floor(y)]
    if len(fractions) > 0:
        return f"fractions like {fractions[0]:.12g}"
    return f"{len(np.unique(y))} different whole numbers"


def missing_values(source: str, found: list[tuple[str, int, int]]) -> str:
    """Return a message about missing values: names, how many, and the first row of each."""
    columns = [f"{name!r} ({count}, the first in row {row})" for name, count, row in found]
    return f"{source} has missing values. Columns and how many: {listed(columns)}"
