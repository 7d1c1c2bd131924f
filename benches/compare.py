"""Compare two runs of the benches: the times of HEAD over those of BASE, slowest first.

    pytest --benchmark-only -k e_step --benchmark-json=base.json   # before a change
    pytest --benchmark-only -k e_step --benchmark-json=head.json   # after it
    python benches/compare.py base.json head.json --group "e_step: samples"

The status is 1 where a benchmark is slower than the factor by both its median and its least
time: one of them alone is what noise looks like. Without ``--group`` all groups count.
"""

import argparse
import math
import sys

from results import UnusableError, exit_status, figure, read


def times(results: dict, groups: list[str] | None) -> dict[tuple[str, str], tuple[float, float]]:
    """Return median and least time of every benchmark, by group and name."""
    return {
        (row["group"] or "no group", row["name"]): (row["stats"]["median"], row["stats"]["min"])
        for row in results["benchmarks"]
        if groups is None or row["group"] in groups
    }


def ratios(base: dict, head: dict) -> list[tuple[tuple[str, str], float, float]]:
    """Return (key, ratio of medians, ratio of least times) of what is in both, slowest first."""
    rows = [
        (key, *(new / old for new, old in zip(head[key], base[key], strict=True)))
        for key in base.keys() & head.keys()
    ]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def _factor(text):
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def main(argv: list[str] | None = None) -> int:
    """Print the ratios; return 0, 1 where something is slower, 2 for what cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", metavar="BASE", help="JSON of the run to compare with")
    parser.add_argument("head", metavar="HEAD", help="JSON of the run to judge")
    parser.add_argument("--group", action="append", help="this group only; may be repeated")
    parser.add_argument("--factor", type=_factor, default=1.2, help="default: %(default)s")
    return exit_status(lambda: _compare(parser.parse_args(argv)))


def _compare(arguments):
    runs = [read(path) for path in (arguments.base, arguments.head)]
    for group in arguments.group or []:
        if not any(row["group"] == group for run in runs for row in run["benchmarks"]):
            raise UnusableError(f"neither file has benchmarks of the group {group!r}")
    base, head = (times(run, arguments.group) for run in runs)
    rows = ratios(base, head)
    if not rows:
        raise UnusableError("no benchmark is in both files")

    width = max(len(" ".join(key)) for key, *_ in rows) + 2
    print(f"{'head / base':{width}}{'median':>8}{'least':>8}")
    for (group, name), *pair in rows:
        print(f"{f'{group}  {name}':{width}}" + "".join(f"{figure(x):>8}" for x in pair))
    for label, more, less in (("BASE", base, head), ("HEAD", head, base)):
        for group, name in sorted(more.keys() - less.keys()):
            print(f"only in {label}: {group}  {name}")
    slower = [key for key, *pair in rows if min(pair) > arguments.factor]
    for group, name in slower:
        print(f"slower than {arguments.factor:g} times by both: {group}  {name}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
