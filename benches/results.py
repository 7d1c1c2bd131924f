"""Read and check the JSON of a pytest-benchmark run, and format its figures."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path


class UnusableError(Exception):
    """Unusable input of a script; the message is one line for its user."""


def read(path: str | Path) -> dict:
    """Return the results in a file that ``pytest --benchmark-json`` wrote."""
    text = read_text(path)
    try:
        results = json.loads(text)
    except ValueError as error:
        raise UnusableError(f"{path} is not JSON: {error}") from error
    if not _is_run(results):
        raise UnusableError(f"{path} is not a file that pytest --benchmark-json has written")
    if not results["benchmarks"]:
        raise UnusableError(f"{path} contains no benchmarks")
    return results


def read_text(path: str | Path) -> str:
    """Return the text of a file."""
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise UnusableError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"{path} is not text") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a file, and create its folder if necessary."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise UnusableError(f"cannot write {path}: {error.strerror}") from error


def _is_run(results):
    try:
        machine, rows = results["machine_info"], results["benchmarks"]
        shaped = isinstance(machine.get("cpu", {}), dict) and isinstance(rows, list)
        return shaped and all(_is_benchmark(row) for row in rows)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _is_benchmark(row):
    times = row["stats"]["min"], row["stats"]["median"]
    named = isinstance(row["name"], str) and isinstance(row["group"], str | None)
    named = named and isinstance(row.get("extra_info") or {}, dict)
    return named and all(0.0 < float(time) < math.inf for time in times)


def figure(value: float) -> str:
    """Return a number with three significant digits and spaces between thousands.

    >>> [figure(x) for x in (0.7512, 12, 12.0, 12345.6, 3.2e-13)]
    ['0.751', '12', '12.0', '12 346', '3.20e-13']
    """
    if isinstance(value, int) or abs(value) >= 999.5:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:#.3g}".removesuffix(".")


def duration(seconds: float) -> str:
    """Return a time in the unit that gives one to three digits before the decimal point.

    >>> [duration(x) for x in (12.0, 0.99996, 0.0123, 9.5e-5)]
    ['12.0 s', '1.00 s', '12.3 ms', '95.0 µs']
    """
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((name for name, size in units.items() if seconds >= 0.9995 * size), "µs")
    return f"{figure(seconds / units[unit])} {unit}"


def markdown(header: list[str], rows: list[list[str]], left: int = 0) -> str:
    """Return a table with its first ``left`` columns left-aligned, the others right-aligned."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(rule)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def exit_status(script: Callable[[], int]) -> int:
    """Run a script; return its status. For unusable input, print one line and return 2."""
    try:
        return script()
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
