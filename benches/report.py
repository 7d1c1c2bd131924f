"""Write the tables of docs/results.md and docs/benchmarks.md from one run of the benches.

    pip install .
    pytest --benchmark-only --benchmark-json=benchmarks.json
    python benches/report.py benchmarks.json

The run must be from a commit without changes. The required part of the JSON is stored in
docs/benchmarks.json, without fields that identify the machine. The same command with that file
writes the same tables. Tables of docs/results.md are between
``<!-- e_step table: written by benches/report.py -->`` and ``<!-- end -->``. The tables ``e_step``
and ``mlp`` are required; ``fit``, ``many``, ``engines`` and ``peers`` are optional.
"""

import argparse
import json
import sys
from pathlib import Path

from report_peers import peers_tables
from results import (
    UnusableError,
    duration,
    exit_status,
    figure,
    markdown,
    read,
    read_text,
    write_text,
)

ROOT = Path(__file__).resolve().parents[1]

E_STEP = "e_step: hidden units"
MLP = "mlp: against scikit-learn"
FIT = "fit: quality and time"
MANY = "fit: many hidden units"
ENGINES = "e_step: engines"
PEERS = "e_step: peers"

_SKLEARN = "`MLPClassifier`"

# Names of the rows in docs/results.md by the id of the benchmark.
NETWORKS = {
    "iris-smoke": "iris, 8 units, Adam, batches of 8",
    "digits": "digits, 32 units, Adam, batches of 32",
    "digits-lbfgs": "digits, 32 units, L-BFGS",
    "online": "784-100-100-100-10, SGD, batches of 1",
    "online-no-momentum": "784-100-100-100-10, SGD without momentum, batches of 1",
    "wide": "784-256-10, Adam, batches of 256, 20 000 rows",
}

COLUMNS = {
    "n": "rows",
    "m": "hidden units",
    "g": "classes",
    "samples": "samples per row",
    "threads": "threads",
    "ns_per_configuration": "time per row and configuration, ns",
    "ns_per_unit": "time per row and hidden unit, ns",
    "ns_per_term": "time per row, sample and hidden unit, ns",
    "us_per_batch": "time per batch, µs",
    "us_e_step": "E-step of a batch, µs",
    "compiled_calls": "compiled calls",
    "us_call": "prepared call, µs",
    "us_kernels": "its compiled calls, µs",
    "us_one_shot": "`e_step`, µs",
    "ratio_to_kernels": "prepared call over compiled calls",
    "ratio_of_one_shot": "`e_step` over compiled calls",
    "rate_over_dgemm": "rate relative to float64 dgemm",
    "ratio_to_double": "ratio of double precision to this",
    "ms_per_iteration": "time per iteration, ms",
    "ratio_to_full_e_step": "ratio to one E-step on all rows",
    "dgemm_gflops": "dgemm, Gflop/s",
    "ratio_to_one_unit_less": "ratio to one unit less, minimum times",
    "ms_one_layer": "first layer alone, ms",
    "ratio_to_one_layer": "ratio to the first layer alone, minimum times",
    "enumeration_over_quadrature": "ratio of enumeration to quadrature",
    "choice_of_auto": 'engine selected by "auto"',
    "slope_from_50": "exponent of growth from 50 units",
    "median_effective_sample_size": "median effective sample size",
    "error": "root mean square error of log p, nats",
    "time_over_estimate": "ratio to the estimated time",
    "largest_difference": "largest difference of results",
    "ratio_to_classes": "ratio to three classes",
    "ratio_per_iteration": "ratio to three classes, per iteration",
    "n_iter_classes": "iterations with three classes",
    "ms_per_iteration_classes": "time per iteration with three classes, ms",
    "log_density": "log-density, nats",
    "noise": "standard deviation of the noise over that of y",
    "library": "library and form",
    "precision": "precision of the library",
    "ms_library": "library, ms",
    "ms_fastem": "fastem, ms",
    "ms_sklearn": "scikit-learn, ms",
    "busy_cores": "busy cores, library",
    "busy_cores_fastem": "busy cores, fastem",
    "ratio_of_median_times": "ratio of median times",
    "ratio_of_minimum_times": "ratio of minimum times",
    "n_iter": "iterations",
    "loss": "final loss",
    "largest_difference_of_losses": "largest relative difference of losses",
    "log_likelihood": "log-likelihood, nats",
    "penalised_log_likelihood": "penalised log-likelihood, nats",
    "cv_log_loss": "log-loss, five folds, nats",
    "cv_accuracy": "accuracy, five folds",
    "log_loss": "log-loss, nats",
    "log_loss_mlp": "log-loss of MLPClassifier, nats",
    "accuracy_mlp": "accuracy of MLPClassifier",
    "seconds_import": "import, s",
    "seconds_import_sklearn": "import of scikit-learn alone, s",
    "seconds_above_sklearn": "difference of imports, s",
    "seconds_first_fit": "first fit, s",
    "cpu_seconds_first_fit": "processor time of the first fit, s",
    "seconds_warmup": "warm-up, s",
    "cpu_seconds_warmup": "processor time of the warm-up, s",
    "seconds_until_table": "from the start to the table, s",
    "seconds_second_fit": "second fit, s",
    "mib_growth": "growth, MiB",
    "mib_growth_sklearn": "growth in scikit-learn, MiB",
    "growth_over_sklearn": "ratio of growth to scikit-learn",
    "mib_total": "whole process, MiB",
    "mib_total_sklearn": "whole process with scikit-learn, MiB",
}

_DGEMM_TEXT = (
    "One exact E-step with gradients. Share of dgemm: rate of `6 n 2^m` flops in the minimum time, "
    "relative\nto the rate of a float64 matrix product on the same threads, measured immediately "
    "before and after."
)
_DEPTH_TEXT = "One exact E-step with gradients of a deep network, and of its first layer alone."
_ENGINES_TEXT = "One exact E-step with gradients by quadrature, compared with enumeration."
_SAMPLING_TEXT = "One E-step by sampling."
_PEERS_TEXT = (
    "One exact E-step with gradients in another library and by `fastem.EStep`, prepared once. Both "
    "run\nalternately in one process with the same number of threads. Times in ms are medians, "
    "ratios are times of\nthe library divided by times of fastem. Busy cores: CPU time of the "
    "process divided by elapsed time.\nThe minimum and median times are those of the whole "
    "measurement. The benchmark fails if the results of\nthe two differ."
)
_CALLS_TEXT = (
    "Calls of a prepared `fastem.EStep` on one thread, medians. Compiled calls: the kernels of the "
    "call alone,\nwith the same arguments. `e_step` prepares every call anew."
)
_RATE_TEXT = (
    "The public E-step on 10 000 rows: prepared in double and in mixed precision, and `e_step`. "
    "The rate is that\nof `6 n 2^m` flops in the minimum time, relative to a float64 matrix "
    "product on the same threads."
)
_MLP_TEXT = (
    "Whole fits of both implementations, alternately in one process. Times in ms are medians, "
    "ratios are\ntimes of scikit-learn divided by times of fastem. The benchmark fails if the "
    "losses of the two differ."
)
_MEMORY_TEXT = (
    "Peak memory, measured in a separate process for each implementation: the increase during a "
    "fit, and\nthe whole process. The times are those of the processes, not of the fits."
)
TEXTS = {
    "e_step: hidden units": _DGEMM_TEXT,
    "e_step: samples": _DGEMM_TEXT,
    "e_step: classes": _DGEMM_TEXT,
    "e_step: threads": _DGEMM_TEXT,
    "e_step: depth": _DEPTH_TEXT,
    "oracle: calls": _CALLS_TEXT,
    "oracle: rate": _RATE_TEXT,
    ENGINES: _ENGINES_TEXT,
    "e_step: engines for one number": _ENGINES_TEXT,
    "e_step: sampling": _SAMPLING_TEXT,
    PEERS: _PEERS_TEXT,
    MLP: _MLP_TEXT,
    "mlp: peak memory against scikit-learn": _MEMORY_TEXT,
}

_KEPT_STATS = ("min", "median", "max", "mean", "stddev", "rounds")
_KEPT_MACHINE = ("system", "python_implementation", "python_version")
_KEPT_RUN = ("command", "cores", "memory_bytes", "versions")


def trim(results: dict, note: str | None = None) -> dict:
    """Return the part of the results that the tables need, with six digits.

    Raw times and fields that identify the machine are removed. A second trim changes nothing.
    """
    machine, facts = results["machine_info"], results.get("run") or {}
    kept = {name: machine[name] for name in _KEPT_MACHINE if name in machine}
    cpu = machine.get("cpu", {})
    kept["cpu"] = {name: cpu[name] for name in ("brand_raw", "count") if name in cpu}
    commit = results.get("commit_info") or {}
    trimmed = {
        "datetime": results.get("datetime"),
        "commit_info": {"id": commit.get("id")},
        "note": results.get("note") if note is None else note,
        "machine_info": kept,
        "run": {name: facts[name] for name in _KEPT_RUN if name in facts},
        "benchmarks": [_trim_row(row) for row in results["benchmarks"]],
    }
    return json.loads(json.dumps(trimmed), parse_float=lambda text: float(f"{float(text):.6g}"))


def check_origin(results: dict, path: str | Path) -> None:
    """Raise UnusableError unless the figures belong to one commit."""
    if (results.get("commit_info") or {}).get("dirty"):
        raise UnusableError(
            f"{path} is from a tree with uncommitted changes: commit them and repeat the run"
        )


def _trim_row(row):
    stats = {name: row["stats"][name] for name in _KEPT_STATS if name in row["stats"]}
    extra = row.get("extra_info") or {}
    return {"group": row["group"], "name": row["name"], "stats": stats, "extra_info": extra}


def e_step_table(results: dict) -> str:
    """Return the table of E-steps with 10, 12, 14, ... hidden units."""
    cells = []
    rows = _rows_of_group(results, E_STEP)
    for row in rows:
        n_hidden, stats = row["extra_info"]["m"], row["stats"]
        if n_hidden >= 10 and n_hidden % 2 == 0:
            times = duration(stats["min"]), duration(stats["median"])
            share = f"{row['extra_info']['share_of_dgemm']:.2f}"
            cells.append([str(n_hidden), figure(2**n_hidden), *times, share])
    if not cells:
        raise UnusableError(f"no benchmark of {E_STEP!r} has ten hidden units or more")
    header = ["hidden units", "states", "minimum time", "median time", "share of dgemm"]
    return "\n\n".join([markdown(header, cells), *_cautions(rows), _origin(results)])


def mlp_table(results: dict) -> str:
    """Return the table of backpropagation compared with scikit-learn."""
    cells = []
    rows = _rows_of_group(results, MLP)
    for row in rows:
        network = _id(row)
        extra = row["extra_info"]
        times = [duration(extra[side] / 1e3) for side in ("ms_fastem", "ms_sklearn")]
        names = "ratio_of_median_times", "ratio_of_minimum_times"
        ratios = [f"{extra[name]:.2g}" for name in names]
        cells.append([NETWORKS.get(network, network), *times, *ratios])
    header = ["network", "fastem", "scikit-learn", *(COLUMNS[name] for name in names)]
    return "\n\n".join([markdown(header, cells, left=1), *_cautions(rows), _origin(results)])


def fit_table(results: dict) -> str:
    """Return the table of fits compared with MLPClassifier."""
    found: dict[str, dict] = {}
    rows = _rows_of_group(results, FIT)
    for row in rows:
        data, _, method = _id(row).rpartition("-")
        found.setdefault(data.removesuffix("-smoke").replace("_", " "), {})[method] = row
    cells = []
    for data, by_method in found.items():
        times = [duration(by_method[x]["stats"]["median"]) for x in ("em", "lbfgs", "mlp")]
        losses = [f"{by_method[x]['extra_info']['cv_log_loss']:.3f}" for x in ("em", "mlp")]
        cells.append([data, *times, *losses])
    header = ["data", "EM", "L-BFGS", _SKLEARN, "log-loss of EM", f"log-loss of {_SKLEARN}"]
    return "\n\n".join([markdown(header, cells, left=1), _origin(results)])


def many_table(results: dict) -> str:
    """Return the table of fits with many hidden units."""
    cells = []
    for row in _rows_of_group(results, MANY):
        extra = row["extra_info"]
        losses = [f"{extra[name]:.3f}" for name in ("log_loss", "log_loss_mlp")]
        data = _id(row).rpartition("-")[0].replace("_", " ")
        cells.append([data, str(extra["m"]), duration(row["stats"]["min"]), *losses])
    header = ["data", "hidden units", "time of the fit", "log-loss", f"log-loss of {_SKLEARN}"]
    return "\n\n".join([markdown(header, cells, left=1), _origin(results)])


def engines_table(results: dict) -> str:
    """Return the table of quadrature with 20 hidden units or more."""
    cells = []
    for row in _rows_of_group(results, ENGINES):
        extra = row["extra_info"]
        if extra["m"] >= 20 and extra["m"] % 10 == 0:
            times = row["stats"]["min"], 1e-9 * extra["ns_per_unit"] * extra["m"]
            cells.append([str(extra["g"]), str(extra["m"]), *map(duration, times)])
    header = ["classes", "hidden units", "minimum time", "time per row"]
    return "\n\n".join([markdown(header, cells), _origin(results)])


def peers_table(results: dict) -> str:
    """Return the tables of the same E-step with other libraries."""
    rows = _rows_of_group(results, PEERS)
    figures = [row["extra_info"] for row in rows]
    return "\n\n".join([peers_tables(figures), _origin(results)])


def _id(row):
    return row["name"].partition("[")[2].removesuffix("]")


def _rows_of_group(results, group):
    rows = [row for row in results["benchmarks"] if row["group"] == group]
    if not rows:
        raise UnusableError(f"the run contains no benchmarks of the group {group!r}")
    return rows


def _cautions(rows):
    """Yield warnings if the figures of a group show that the machine was busy."""
    if any(row["extra_info"].get("share_of_dgemm", 0.0) > 1.0 for row in rows):
        yield (
            "**A share above 1 shows that other work slowed down the matrix product. The shares "
            "and times of\nthis table are not reliable.**"
        )
    pairs = (
        (row["extra_info"]["ratio_of_median_times"], row["extra_info"]["ratio_of_minimum_times"])
        for row in rows
        if row["group"] == MLP or "library" in row["extra_info"]
    )
    if any(max(pair) > 4 / 3 * min(pair) for pair in pairs):
        yield (
            "**Rows whose two ratios differ by a third or more are not reliable: other work "
            "disturbed one of\nthe implementations.**"
        )


def _origin(results):
    machine = results["machine_info"]
    cores = results["run"].get("cores", machine["cpu"].get("count", "unknown"))
    processor = machine["cpu"].get("brand_raw", "unknown processor")
    date = (results["datetime"] or "unknown date")[:10]
    return f"({processor}, cores: {cores}, {date}; [all figures](benchmarks.md).)"


def document(results: dict) -> str:
    """Return docs/benchmarks.md: the origin of the figures, and all figures."""
    origin = "`benches/report.py` writes this file from [benchmarks.json](benchmarks.json)."
    parts = ["# Benchmarks", f"{origin} Do not edit it by hand."]
    if results["note"]:
        parts.append(results["note"])
    parts += [markdown(["item", "value"], _provenance(results), left=2)]
    parts += ["Command:", f"    {results['run'].get('command', 'unknown')}"]
    parts.append("Every row has the minimum and the median time of its rounds.")
    for group in dict.fromkeys(row["group"] for row in results["benchmarks"]):
        parts.append(f"## {group or 'no group'}")
        rows = _rows_of_group(results, group)
        if group in TEXTS:
            parts.append(TEXTS[group])
        parts += [_group_table(rows), *_cautions(rows)]
    return "\n\n".join(parts) + "\n"


def _provenance(results):
    machine, commit = results["machine_info"], results["commit_info"]
    run = results["run"]
    memory = run.get("memory_bytes")
    python = machine.get("python_implementation", ""), machine.get("python_version", "unknown")
    count = machine["cpu"].get("count", "unknown")
    return [
        ["processor", machine["cpu"].get("brand_raw", "unknown")],
        ["cores", f"{count}, used: {run.get('cores', count)}"],
        ["memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"],
        ["system", machine.get("system", "unknown")],
        ["Python", " ".join(python).strip()],
        *([name, version] for name, version in run.get("versions", {}).items()),
        ["date", (results["datetime"] or "unknown")[:10]],
        *([["commit", f"`{commit['id'][:12]}`"]] if commit["id"] else []),
    ]


def _group_table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["extra_info"]))
    header = ["benchmark", "minimum time", "median time", "rounds"]
    header += [COLUMNS.get(name, name.replace("_", " ")) for name in names]
    cells = []
    for row in rows:
        stats = row["stats"]
        times = [duration(stats["min"]), duration(stats["median"]), str(stats.get("rounds", "-"))]
        extra = [_cell(row["extra_info"].get(name)) for name in names]
        cells.append([f"`{row['name'].removeprefix('bench_')}`", *times, *extra])
    return markdown(header, cells, left=1)


def _cell(value):
    if value is None:
        return "-"
    return figure(value) if isinstance(value, int | float) else str(value).replace("|", "\\|")


def _marker(name):
    return f"<!-- {name} table: written by benches/report.py -->\n"


TABLES = {
    "e_step": e_step_table,
    "mlp": mlp_table,
    "fit": fit_table,
    "many": many_table,
    "engines": engines_table,
    "peers": peers_table,
}
REQUIRED = ("e_step", "mlp")


def with_table(text: str, name: str, table: str, path: str | Path) -> str:
    """Return a text in which a table replaces the text between its markers."""
    start, end = _marker(name), "<!-- end -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not found or start in rest:
        raise UnusableError(f"{path} must have this line once: {start.strip()}")
    if not ended or "<!-- " in rest.partition(end)[0]:
        raise UnusableError(f"{path} lacks {end} after: {start.strip()}")
    return f"{before}{start}\n{table}\n\n{end}{after}"


def main(argv: list[str] | None = None) -> int:
    """Write the tables; return 0, or 2 for unusable input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", help="file of pytest --benchmark-json, or of an earlier --keep")
    parser.add_argument("--page", default=ROOT / "docs" / "results.md")
    parser.add_argument("--docs", default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--keep", default=ROOT / "docs" / "benchmarks.json")
    parser.add_argument("--note", help="remark on the run; stored in the JSON")
    return exit_status(lambda: _write(parser.parse_args(argv)))


def _write(arguments):
    results = read(arguments.json)
    check_origin(results, arguments.json)
    results = trim(results, arguments.note)
    page = read_text(arguments.page)
    try:
        for name, table in TABLES.items():
            if name in REQUIRED or _marker(name) in page:
                page = with_table(page, name, table(results), arguments.page)
    except KeyError as error:
        raise UnusableError(f"{arguments.json} contains a benchmark without {error}") from error
    text = document(results)
    write_text(arguments.keep, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(arguments.docs, text)
    write_text(arguments.page, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
