"""The tables of docs/results.md: of the same E-step in other libraries."""

import statistics

from results import duration, figure, markdown

_LIBRARIES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
_OTHERS = {"numpyro": "NumPyro", "loops": "Python loops"}
_PRECISIONS = {"float64": "float64", "float32": "float32, mixed in fastem"}


def peers_tables(rows: list[dict]) -> str:
    """Return the table of three products, a sentence on it, and the table of other forms.

    Parameters
    ----------
    rows : list of dict
        ``extra_info`` of the benchmarks.
    """
    split = {f"{name}-split": title for name, title in _LIBRARIES.items()}
    log = {f"{name}-log": title for name, title in _LIBRARIES.items()} | _OTHERS
    parts = [_table(rows, split), _ranges(rows, split), _table(rows, log)]
    disturbed = sum(map(_is_disturbed, rows))
    if disturbed:
        parts.append(
            f"**In {disturbed} of {len(rows)} measurements the ratios of median and of minimum "
            "times differ by\na third or more: other work disturbed one of the sides.**"
        )
    return "\n\n".join(parts)


def _is_disturbed(row):
    pair = row["ratio_of_median_times"], row["ratio_of_minimum_times"]
    return max(pair) > 4 / 3 * min(pair)


def _table(rows, titles):
    """Return the times of fastem, and one column of ratios per library."""
    header = ["threads", "precision", "rows", "hidden units", "classes", "fastem", *titles.values()]
    cells = []
    for (threads, precision, *sizes), by_library in _problems(rows, titles).items():
        fastem = statistics.median(row["ms_fastem"] for row in by_library.values()) / 1e3
        ratios = [
            figure(by_library[name]["ratio_of_median_times"]) if name in by_library else "-"
            for name in titles
        ]
        sizes = map(figure, sizes)
        cells.append([str(threads), _PRECISIONS[precision], *sizes, duration(fastem), *ratios])
    return markdown(header, cells)


def _ranges(rows, titles):
    """Return the range of the ratio to the fastest library, by threads and precision."""
    found: dict[tuple, list[float]] = {}
    for (threads, precision, *_), by_library in _problems(rows, titles).items():
        smallest = min(row["ratio_of_median_times"] for row in by_library.values())
        found.setdefault((threads, precision), []).append(smallest)
    lines = []
    for (threads, precision), ratios in found.items():
        extent = f"{figure(min(ratios))} to {figure(max(ratios))}"
        lines.append(f"- threads: {threads}, {_PRECISIONS[precision]}: {extent}")
    return "\n".join(["Ratio of the fastest of these libraries to fastem:", "", *lines])


def _problems(rows, titles):
    """Return rows by (threads, precision, rows, hidden units, classes) and library."""
    found: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        if row["library"] in titles:
            key = tuple(row[name] for name in ("threads", "precision", "n", "m", "g"))
            found.setdefault(key, {})[row["library"]] = row
    return found
