"""Fixtures of all benches: figures recorded beside the times, printed as tables below them."""

import importlib.metadata
import os
import re
import shlex

import pytest

import fastem
from fastem.runtime import effective_n_jobs

_LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn")
_ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[_ROWS] = []


def pytest_benchmark_update_machine_info(config, machine_info):
    """Drop the current clock rate: ``--benchmark-compare`` fails if machine_info has changed."""
    for name in ("hz_actual", "hz_actual_friendly"):
        machine_info.get("cpu", {}).pop(name, None)


def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Add the facts about the run that `report.py` prints: command, cores, memory, versions."""
    words = ["pytest", *map(str, config.invocation_params.args)]
    output_json["run"] = {
        "command": shlex.join(_without_folder(word) for word in words),
        "cores": effective_n_jobs(None),
        "versions": {
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
            "fastem": fastem.__version__,
        },
    }
    if hasattr(os, "sysconf"):
        n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        output_json["run"]["memory_bytes"] = n_bytes


def _without_folder(word):
    """Remove folders of absolute paths, which are specific to one machine."""
    return re.sub(r"(^|=)/.*/", r"\1", word)


@pytest.fixture
def record(request, benchmark):
    """Return a function that adds figures to the table and the JSON of a benchmark."""

    def add(**figures):
        benchmark.extra_info.update(figures)
        seconds = benchmark.stats["min"]
        row = {"row": request.node.name, "minimum seconds": seconds, **figures}
        request.config.stash[_ROWS].append((benchmark.group, row))

    return add


@pytest.hookimpl(trylast=True)  # below the tables of times
def pytest_terminal_summary(terminalreporter, config):
    tables = {}
    for group, row in config.stash[_ROWS]:
        tables.setdefault(group, []).append(row)
    for group, rows in tables.items():
        terminalreporter.write_sep("-", group)
        for line in _table(rows):
            terminalreporter.write_line(line)


def _table(rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join([first, *(cell.strip().rjust(len(cell)) for cell in others)])


def _cell(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
