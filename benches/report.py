"""Write the README's tables of speed, and docs/benchmarks.md, from one run of the benches.

    pytest --benchmark-only --benchmark-json=benchmarks.json
    python benches/report.py benchmarks.json

What is needed of the JSON is kept in docs/benchmarks.json, without what names the machine,
and the same command on that file writes the same tables. The README's stand between
``<!-- e_step table: written by benches/report.py -->`` (or ``mlp``, and where the README has such a
line ``fit``, ``many``, ``engines`` and ``peers``) and ``<!-- end -->``.
"""

import argparse
import json
import sys
from pathlib import Path

from results import UnusableError, duration, exit_status, figure, read, read_text, write_text

ROOT = Path(__file__).resolve().parents[1]

E_STEP = "e_step: hidden units"
MLP = "mlp: against scikit-learn"
FIT = "fit: quality and time"
MANY = "fit: many hidden units"
ENGINES = "e_step: engines"
PEERS = "e_step: peers"

# What a row of the README is called, by the id of the benchmark.
NETWORKS = {
    "iris-smoke": "iris, 8 units, Adam, batches of 8",
    "digits": "digits, 32 units, Adam, batches of 32",
    "digits-lbfgs": "digits, 32 units, L-BFGS",
    "online": "784-100-100-100-10, on-line SGD",
    "online-no-momentum": "the same without momentum",
    "wide": "20 000 rows, 784-256-10, batches of 256",
}

COLUMNS = {
    "n": "rows",
    "m": "hidden units",
    "g": "classes",
    "ns_per_configuration": "ns per row and configuration",
    "dgemm_gflops": "dgemm, Gflop/s",
    "times_one_unit_less": "least time over that of one unit less",
    "ms_fastem": "fastem, ms",
    "ms_sklearn": "scikit-learn, ms",
    "times_sklearn_speed": "times scikit-learn's speed",
    "by_least_times": "the same by least times",
    "n_iter": "iterations",
    "loss": "loss reached",
    "loss_differs": "largest relative difference of the losses",
    "mib_growth": "growth, MiB",
    "mib_growth_sklearn": "growth in scikit-learn, MiB",
    "share_of_sklearn": "growth over scikit-learn's",
    "mib_total": "whole process, MiB",
    "mib_total_sklearn": "whole process with scikit-learn, MiB",
}

_E_STEP_TEXT = (
    "One exact E-step with gradients. Share of dgemm is `6 n 2^m` flops over the least time, as a "
    "share of\nthe rate of a plain float64 product with the same threads, measured right before "
    "and right after."
)
_MLP_TEXT = (
    "Whole fits, both sides by turns in one process. Times in ms are medians; a bench fails unless "
    "the\nlosses of the two sides agree."
)
_MEMORY_TEXT = (
    "Peak memory of a process of its own for either side: what a fit adds to what was resident "
    "before\nit, and the whole process. The times are those of the processes, not of the fits."
)
TEXTS = {"e_step": _E_STEP_TEXT, MLP: _MLP_TEXT, "mlp: peak memory": _MEMORY_TEXT}

_KEPT_STATS = ("min", "median", "max", "mean", "stddev", "rounds")
_KEPT_MACHINE = (
    "system", "python_implementation", "python_version",
    "cores", "memory_bytes", "versions", "command",
)  # fmt: skip


def trim(results: dict, note: str | None = None) -> dict:
    """Return what the tables need, with six digits; trimming that changes nothing.

    Left out are the raw times and what tells this machine from others of its kind.
    """
    machine = results["machine_info"]
    kept = {name: machine[name] for name in _KEPT_MACHINE if name in machine}
    cpu = machine.get("cpu", {})
    kept["cpu"] = {name: cpu[name] for name in ("brand_raw", "count") if name in cpu}
    commit = results.get("commit_info") or {}
    trimmed = {
        "datetime": results.get("datetime"),
        "commit_info": {name: commit.get(name) for name in ("id", "dirty")},
        "note": results.get("note") if note is None else note,
        "machine_info": kept,
        "benchmarks": [_trim_row(row) for row in results["benchmarks"]],
    }
    return json.loads(json.dumps(trimmed), parse_float=lambda text: float(f"{float(text):.6g}"))


def _trim_row(row):
    stats = {name: row["stats"][name] for name in _KEPT_STATS if name in row["stats"]}
    extra = row.get("extra_info") or {}
    return {"group": row["group"], "name": row["name"], "stats": stats, "extra_info": extra}


def markdown(header: list[str], rows: list[list[str]], left: int = 0) -> str:
    """Return a table, its first ``left`` columns flush left and the others flush right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(rule)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def e_step_table(results: dict) -> str:
    """Return the README's table of E-steps: ten hidden units, twelve, and so on."""
    cells = []
    rows = _of_group(results, E_STEP)
    for row in rows:
        n_hidden, stats = row["extra_info"]["m"], row["stats"]
        if n_hidden >= 10 and n_hidden % 2 == 0:
            times = duration(stats["min"]), duration(stats["median"])
            share = f"{row['extra_info']['share_of_dgemm']:.2f}"
            cells.append([str(n_hidden), figure(2**n_hidden), *times, share])
    if not cells:
        raise UnusableError(f"no benchmark of {E_STEP!r} has ten hidden units or more")
    header = ["hidden units", "configurations", "least time", "median", "share of dgemm"]
    return "\n\n".join([markdown(header, cells), *_cautions(rows), _origin(results)])


def mlp_table(results: dict) -> str:
    """Return the README's table of backpropagation against scikit-learn."""
    cells = []
    rows = _of_group(results, MLP)
    for row in rows:
        name = _id(row)
        extra = row["extra_info"]
        times = [duration(extra[side] / 1e3) for side in ("ms_fastem", "ms_sklearn")]
        ratios = [f"{extra[by]:.2g}" for by in ("times_sklearn_speed", "by_least_times")]
        cells.append([NETWORKS.get(name, name), *times, *ratios])
    header = ["network", "fastem", "scikit-learn", "times its speed", "by least times"]
    return "\n\n".join([markdown(header, cells, left=1), *_cautions(rows), _origin(results)])


def fit_table(results: dict) -> str:
    """Return the README's table of fits beside MLPClassifier's."""
    found: dict[str, dict] = {}
    rows = _of_group(results, FIT)
    for row in rows:
        data, _, method = _id(row).rpartition("-")
        found.setdefault(data.removesuffix("-smoke").replace("_", " "), {})[method] = row
    cells = []
    for data, by_method in found.items():
        times = [duration(by_method[x]["stats"]["median"]) for x in ("em", "lbfgs", "mlp")]
        losses = [f"{by_method[x]['extra_info']['cv_log_loss']:.3f}" for x in ("em", "mlp")]
        cells.append([data, *times, *losses])
    header = ["data", "EM", "L-BFGS", "`MLPClassifier`", "log-loss of EM", "of `MLPClassifier`"]
    return "\n\n".join([markdown(header, cells, left=1), _origin(results)])


def many_table(results: dict) -> str:
    """Return the README's table of fits with many hidden units."""
    cells = []
    for row in _of_group(results, MANY):
        extra = row["extra_info"]
        losses = [f"{extra[name]:.3f}" for name in ("log_loss", "log_loss_mlp")]
        data = _id(row).rpartition("-")[0].replace("_", " ")
        cells.append([data, str(extra["m"]), duration(row["stats"]["min"]), *losses])
    header = ["data", "hidden units", "fit", "log-loss", "of `MLPClassifier`"]
    return "\n\n".join([markdown(header, cells, left=1), _origin(results)])


def engines_table(results: dict) -> str:
    """Return the README's table of quadrature: twenty hidden units, fifty, and so on."""
    cells = []
    for row in _of_group(results, ENGINES):
        extra = row["extra_info"]
        if extra["m"] >= 20 and extra["m"] % 10 == 0:
            times = row["stats"]["min"], 1e-9 * extra["ns_per_unit"] * extra["m"]
            cells.append([str(extra["g"]), str(extra["m"]), *map(duration, times)])
    header = ["classes", "hidden units", "least time", "of a row"]
    return "\n\n".join([markdown(header, cells), _origin(results)])


def peers_table(results: dict) -> str:
    """Return the README's table of the same E-step written for other libraries."""
    cells = []
    for row in _of_group(results, PEERS):
        extra = row["extra_info"]
        times = duration(extra["ms"] / 1e3), duration(extra["ms_fastem"] / 1e3)
        sizes = [figure(extra[name]) for name in ("n", "m", "g")]
        peer = _id(row).removesuffix("-smoke").rpartition("-")[2]
        cells.append([peer, *sizes, *times, figure(extra["times_fastem"])])
    header = ["written with", "rows", "hidden units", "classes", "its time", "fastem's", "times"]
    return "\n\n".join([markdown(header, cells, left=1), _origin(results)])


def _id(row):
    return row["name"].partition("[")[2].removesuffix("]")


def _of_group(results, group):
    rows = [row for row in results["benchmarks"] if row["group"] == group]
    if not rows:
        raise UnusableError(f"the run has no benchmarks of the group {group!r}")
    return rows


def _cautions(rows):
    """Yield what to doubt in a group, where other work on the machine shows in its figures."""
    if any(row["extra_info"].get("share_of_dgemm", 0.0) > 1.0 for row in rows):
        yield (
            "**A share above 1 is no merit: other work slowed the product down, and the shares and"
            "\ntimes around it are not to be relied on.**"
        )
    pairs = (
        (row["extra_info"]["times_sklearn_speed"], row["extra_info"]["by_least_times"])
        for row in rows
        if "by_least_times" in row["extra_info"]
    )
    if any(max(pair) > 4 / 3 * min(pair) for pair in pairs):
        yield (
            "**Where the two ratios differ by a third or more, other work disturbed one side more "
            "than the\nother: such a row is not to be relied on.**"
        )


def _origin(results):
    machine = results["machine_info"]
    cores = machine.get("cores", machine["cpu"].get("count", "unknown"))
    processor = machine["cpu"].get("brand_raw", "unknown processor")
    date = (results["datetime"] or "unknown date")[:10]
    return f"({processor}, cores: {cores}, {date}; [all figures](docs/benchmarks.md).)"


def document(results: dict) -> str:
    """Return docs/benchmarks.md: where the figures come from, and all of them."""
    parts = ["# Benchmarks", "Written by `benches/report.py` from "
             "[benchmarks.json](benchmarks.json), not by hand."]  # fmt: skip
    if results["note"]:
        parts.append(results["note"])
    parts += [markdown(["what", "value"], _provenance(results), left=2)]
    parts += ["Made by", f"    {results['machine_info'].get('command', 'an unknown command')}"]
    parts.append("Every row has the least and the median time of its rounds.")
    for group in dict.fromkeys(row["group"] for row in results["benchmarks"]):
        parts.append(f"## {group or 'no group'}")
        parts += [text for start, text in TEXTS.items() if (group or "").startswith(start)]
        rows = _of_group(results, group)
        parts += [_group_table(rows), *_cautions(rows)]
    return "\n\n".join(parts) + "\n"


def _provenance(results):
    machine, commit = results["machine_info"], results["commit_info"]
    memory = machine.get("memory_bytes")
    python = machine.get("python_implementation", ""), machine.get("python_version", "unknown")
    changed = ", with changes" if commit["dirty"] else ""
    count = machine["cpu"].get("count", "unknown")
    return [
        ["processor", machine["cpu"].get("brand_raw", "unknown")],
        ["cores", f"{count}, of which used: {machine.get('cores', count)}"],
        ["memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"],
        ["system", machine.get("system", "unknown")],
        ["Python", " ".join(python).strip()],
        *([name, version] for name, version in machine.get("versions", {}).items()),
        ["date", (results["datetime"] or "unknown")[:10]],
        ["commit", f"`{(commit['id'] or 'unknown')[:12]}`{changed}"],
    ]


def _group_table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["extra_info"]))
    header = ["benchmark", "least time", "median", "rounds"]
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
    """Return a text with what stands between the markers of a table replaced by it."""
    start, end = _marker(name), "<!-- end -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not found or start in rest:
        raise UnusableError(f"{path} must have this line once: {start.strip()}")
    if not ended or "<!-- " in rest.partition(end)[0]:
        raise UnusableError(f"{path} lacks {end} after: {start.strip()}")
    return f"{before}{start}\n{table}\n\n{end}{after}"


def main(argv: list[str] | None = None) -> int:
    """Write the tables; return 0, or 2 for what cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", help="what pytest --benchmark-json wrote, or an earlier --keep")
    parser.add_argument("--readme", default=ROOT / "README.md")
    parser.add_argument("--docs", default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--keep", default=ROOT / "docs" / "benchmarks.json")
    parser.add_argument("--note", help="what else there is to say of the run; kept in the JSON")
    return exit_status(lambda: _write(parser.parse_args(argv)))


def _write(arguments):
    results = trim(read(arguments.json), arguments.note)
    readme = read_text(arguments.readme)
    try:
        for name, table in TABLES.items():
            if name in REQUIRED or _marker(name) in readme:
                readme = with_table(readme, name, table(results), arguments.readme)
    except KeyError as error:
        raise UnusableError(f"{arguments.json} has a benchmark without {error}") from error
    text = document(results)
    write_text(arguments.keep, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(arguments.docs, text)
    write_text(arguments.readme, readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
