"""Find columns of codes: whole numbers with leading zeros, which a number would lose."""

import csv
import io
import re

import numpy as np
from numpy.typing import NDArray

CODE = re.compile(r"-?0[0-9]+")  # a postcode, for example
_BLOCK = 1 << 22
_ZERO, _MINUS, _NEWLINE = ord("0"), ord("-"), ord("\n")


def columns_of_codes(data: bytes, start: int, sep: str, width: int) -> set[int]:
    """Return the positions of columns that contain a whole number with a leading zero.

    Parameters
    ----------
    data : bytes
        UTF-8. Lines end in a line feed, unless there are quotation marks.
    start : int
        Position in ``data`` of the first row.
    sep : str
    width : int
        Number of fields of every row.

    Returns
    -------
    found : set of int

    Notes
    -----
    The cost is a few comparisons per byte. Text with quotation marks is parsed once more, but only
    if it contains such a number.
    """
    has_quotes = b'"' in data
    found: set[int] = set()
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        block = np.frombuffer(data, np.uint8, end - start, start)
        places = _candidates(block, sep)
        if len(places) and has_quotes:
            return _parsed(data, start, sep)
        if len(places):  # every block begins with a row
            ends = np.flatnonzero((block == ord(sep)) | (block == _NEWLINE))
            columns = np.searchsorted(ends, places) % width
            found.update(np.unique(columns).tolist())
        start = end
    return found


def _candidates(block: NDArray[np.uint8], sep: str) -> NDArray[np.intp]:
    """Return the places of zeros that begin a field of digits, perhaps with marks around it."""
    is_digit = (block - _ZERO) < 10  # unsigned: smaller bytes become large
    places = np.flatnonzero((block[:-1] == _ZERO) & is_digit[1:])
    around = np.zeros(256, dtype=bool)
    around[[ord(sep), _NEWLINE, *b'\r "']] = True
    first = places - ((places > 0) & (block[places - 1] == _MINUS))
    places = places[(first == 0) | around[block[first - 1]]]  # 1e-05 is no code
    if not len(places):
        return places
    others = np.append(np.flatnonzero(~is_digit), len(block))
    ends = others[np.searchsorted(others, places)]
    return places[around[np.append(block, np.uint8(_NEWLINE))[ends]]]


def _parsed(data: bytes, start: int, sep: str) -> set[int]:
    """Return the same for the rows from ``start``, which may contain quotation marks."""
    text = io.TextIOWrapper(io.BytesIO(data[start:]), encoding="utf-8", newline="")
    found: set[int] = set()
    for row in csv.reader(text, delimiter=sep):
        for j, field in enumerate(row):
            if "0" in field and j not in found and CODE.fullmatch(field.strip()):
                found.add(j)
    return found
