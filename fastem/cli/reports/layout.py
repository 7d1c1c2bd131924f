"""Lines, tables and numbers that the texts of the command line have in common."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from fastem.cli.messages import counted

MAX_CLASSES_IN_COLUMNS = 10


def data_line(data: dict[str, Any]) -> str:
    """Return name, sizes and targets of a data set as one line."""
    sizes = f"{counted(data['rows'], 'row')}, {counted(data['features'], 'feature')}"
    if "y" in data:
        kind = "counts" if data["task"] == "count" else "numbers"
        names = "minimum", "maximum", "mean", "standard_deviation"
        low, high, mean, deviation = (f"{data['y'][name]:.4g}" for name in names)
        target = f"{kind} from {low} to {high} (mean {mean}, standard deviation {deviation})"
        return f"data     {data['name']}: {sizes}, {target}"
    classes = data["classes"]
    listed = ", ".join(map(str, classes[:MAX_CLASSES_IN_COLUMNS]))
    dots = ", ..." if len(classes) > MAX_CLASSES_IN_COLUMNS else ""
    return f"data     {data['name']}: {sizes}, {len(classes)} classes ({listed}{dots})"


def compile_line(content: dict[str, Any]) -> str:
    """Return the time of compilation as one line."""
    seconds = content["compile_seconds"]
    return (
        f"compile  {seconds:.2f} s to make machine code and to warm up, not included in the "
        "seconds below"
    )


def format_of(data: dict[str, Any]) -> Callable[[float], str]:
    """Return a format of numbers in the unit of y: their deviation has four digits."""
    place = math.floor(math.log10(data["y"]["standard_deviation"]))
    decimals = f".{max(0, 3 - place)}f" if -6 <= place <= 9 else ".4g"
    return lambda value: f"{value:{decimals if abs(value) < 1e15 else '.4g'}}"


def layers(values: str | Sequence[Any]) -> str:
    """Return sizes or activations of hidden layers from first to last: ``12-8``, ``relu-tanh``."""
    return values if isinstance(values, str) else "-".join(map(str, values))


def aligned(rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """Return a table as text: the first ``n_left`` columns left-aligned, others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < n_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
