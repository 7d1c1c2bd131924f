"""Find numbers whose points may separate thousands: 1.001 and 2.500 between 999 and 12."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest

from fastem.cli.messages import listed, notify
from fastem.cli.tables.columns import MISSING

_MARKED = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
_SMALL = re.compile(r"[+-]?[0-9]{1,3}")  # a larger number would have a mark, too
_FEWEST = 2


def thousands(rows: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """Return columns in which all points may separate thousands, with an example of each.

    Parameters
    ----------
    rows : list of list of str
        Fields of the first rows below the header. They are enough: a column of decimals has other
        numbers of decimals there, and the texts of all rows are lost when they become numbers.
    names : list of str

    Returns
    -------
    found : dict of str to str
    """
    found = {}
    for name, fields in zip(names, zip_longest(*rows, fillvalue=""), strict=False):
        if sum("." in field for field in fields) < _FEWEST:
            continue
        texts = [text for text in map(str.strip, fields) if text and text.lower() not in MISSING]
        marked = [text for text in texts if "." in text]
        if len(marked) >= _FEWEST and all(
            (_MARKED if "." in text else _SMALL).fullmatch(text) for text in texts
        ):
            found[name] = marked[0]
    return found


def check_thousands(
    source: str, found: Mapping[str, str], used: Collection[str], *, likely: bool
) -> list[str]:
    """Return an error about points that may separate thousands, or print a note about them.

    Parameters
    ----------
    source : str
        Name of the source.
    found : dict of str to str
        As `thousands` returns it.
    used : collection of str
        The columns that are numbers.
    likely : bool
        Whether the file is of a country in which points separate thousands. If not, the points
        are decimal marks, and a note is printed.

    Returns
    -------
    errors : list of str
        Empty, or one message.
    """
    columns = [f"{name!r} ({example!r})" for name, example in found.items() if name in used]
    if not columns:
        return []
    what = f"the points in {'columns' if len(columns) > 1 else 'column'} {listed(columns)}"
    if likely:
        return [
            f"{source}: {what} may separate thousands; remove the points from the file, or give "
            "--decimal . if the point is the decimal mark"
        ]
    notify(
        f"note: {what} are read as decimal marks; if they separate thousands, remove them from the "
        "file; if not, --decimal . avoids this note"
    )
    return []
