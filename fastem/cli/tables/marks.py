"""Texts that become numbers without currency signs, units and thousands marks."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MARKS = "a currency sign, unit or thousands mark"
_SIGN = r"(?P<sign>[+\u2212-]?)"
_CURRENCY = r"(?:[A-Z]{0,3}[$\u00a2-\u00a5\u20a0-\u20cf]|USD|EUR|GBP|CHF|JPY|CNY|INR|Rs\.?)"
_GROUPED = r"[1-9][0-9]{0,2}(?:(?P<mark>[,.'\u2019\s])[0-9]{3})(?:(?P=mark)[0-9]{3})*"
_WORD = r"[^\W\d_]{1,10}"
_UNIT = (
    rf"[%\u2030\u00b0$\u00a2-\u00a5\u20a0-\u20cf]|\u00b0?{_WORD}(?:[/ ]{_WORD})?[23\u00b2\u00b3]?"
)
_MARKED = re.compile(
    rf"{_SIGN}\s?(?:{_CURRENCY}\s?)?(?P<minus>-?)"
    rf"(?:(?P<grouped>{_GROUPED})(?P<rest>[.,][0-9]+)?|(?P<whole>[0-9]*)(?P<part>[.,][0-9]+)?)"
    rf"(?:\s?(?P<unit>{_UNIT}))?"
)


def without_marks(text: str, decimal: str) -> tuple[str, str] | None:
    """Return a number without currency sign, unit and thousands marks, and its unit.

    Parameters
    ----------
    text : str
        Without blanks around it.
    decimal : {".", ","}
        Decimal mark of numbers.

    Returns
    -------
    number, unit : str
        The unit is "" if there is none. None instead of both if the text is no number, or a
        number that contains no marks. A comma as decimal mark is no such mark.
    """
    found = _MARKED.fullmatch(text)
    if found is None:
        return None
    grouped, rest, mark = found["grouped"], found["rest"] or "", found["mark"]
    if grouped and (rest[:1] == mark or (mark == decimal and not rest and len(grouped) < 8)):
        if rest:
            return None
        number = grouped  # the mark of 1.234 is a decimal mark
    elif grouped:
        number = grouped.replace(mark, "") + rest
    else:
        if not (found["whole"] or found["part"]):
            return None
        number = found["whole"] + (found["part"] or "")
    sign = "-" if found["sign"] in ("-", "\u2212") or found["minus"] else ""
    if sign + number == text.removeprefix("+"):
        return None
    other = "," if decimal == "." else "."
    return sign + number.replace(other, decimal), found["unit"] or ""


def marked_numbers(texts: Sequence[str], counts: Sequence[int], decimal: str) -> NDArray[np.bool_]:
    """Return which texts are numbers with marks.

    Parameters
    ----------
    texts : list of str
        Different texts, without blanks around them.
    counts : list of int
        Number of rows with each text.
    decimal : {".", ","}

    Returns
    -------
    marked : array of bool (n_different,)
        All are False if fewer than half of the rows with marks have the same unit: texts such as
        1a, 1b and 2c are codes. Numbers with a unit of letters that occurs in less than a tenth
        of all rows are no such numbers: a single 2x among numbers is a mistake.
    """
    found = [without_marks(text, decimal) for text in texts]
    marked = np.array([entry is not None for entry in found], dtype=bool)
    n_rows: Counter[str] = Counter()
    for entry, count in zip(found, counts, strict=True):
        if entry is not None:
            n_rows[entry[1]] += int(count)
    if n_rows and 2 * max(n_rows.values()) < n_rows.total():
        marked[:] = False
    n_all = sum(counts)
    for i, entry in enumerate(found):
        if entry is not None and entry[1][:1].isalpha() and 10 * n_rows[entry[1]] < n_all:
            marked[i] = False
    return marked


def has_point(text: str) -> bool:
    """Return whether a text is a number with a point that cannot separate thousands."""
    found = re.fullmatch(r"[+-]?[0-9]*\.([0-9]+)", text)
    return found is not None and len(found[1]) != 3
