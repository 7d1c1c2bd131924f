"""What every bench shares: rows that say what the time bought, printed below the times."""

import importlib.metadata
import os
import re
import shlex

import pytest

import fastem
from fastem.runtime.threads import effective_n_jobs

_LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn")
_ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[_ROWS] = []


def pytest_benchmark_update_machine_info(config, machine_info):
    """Put into the JSON what `report.py` needs to say where its figures come from."""
    words = ["pytest", *map(str, config.invocation_params.args)]
    machine_info["command"] = shlex.join(_without_folder(word) for word in words)
    machine_info["cores"] = effective_n_jobs(None)
    machine_info["versions"] = {
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "fastem": fastem.__version__,
    }
    if hasattr(os, "sysconf"):
        machine_info["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _without_folder(word):
    """An absolute path says more of one machine than of the command."""
    return re.sub(r"(^|=)/.*/", r"\1", word)


@pytest.fixture
def record(request, benchmark):
    """Store figures beside the times of a benchmark, in the table and in the JSON."""

    def add(**figures):
        benchmark.extra_info.update(figures)
        seconds = benchmark.stats["min"]
        row = {"row": request.node.name, "least seconds": seconds, **figures}
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
