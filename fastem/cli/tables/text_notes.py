"""Notes on columns of text that become categories, although their values are suspicious."""

from typing import TYPE_CHECKING

from fastem.cli.messages import counted, listed, notify
from fastem.cli.tables.columns import described_marks

if TYPE_CHECKING:
    import pandas


def announce_texts(frame: "pandas.DataFrame", decimal: str) -> None:
    """Print a note for every column whose texts are nearly numbers or nearly equal.

    Parameters
    ----------
    frame : DataFrame (n_samples, n_columns)
        Features without problems, as `feature_frame` returns them.
    decimal : {".", ","}
        Decimal mark of numbers.
    """
    for name, dtype in frame.dtypes.items():
        if dtype.kind != "O":
            continue
        marks = described_marks(frame[name], decimal)
        if marks:
            notify(f"note: column {name!r} is used as text, but it {marks}")
        spellings: dict[str, list[str]] = {}
        for value, count in frame[name].value_counts(sort=False).items():
            text = str(value)
            group = spellings.setdefault("".join(text.split()).casefold(), [])
            group.append(f"{text!r} ({counted(int(count), 'row')})")
        found = [" and ".join(group) for group in spellings.values() if len(group) > 1]
        if found:
            notify(
                f"note: column {name!r} has texts that differ only in blanks or in capital "
                f"letters, and each is a category of its own: {listed(found)}"
            )
