"""The verb ``profile`` of the command line: what E-steps cost on this machine."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastem import __version__
from fastem.cli import report
from fastem.cli.arguments import check_plot, check_writable, number, positive, seed, sizes

_classes = number(int, lambda value: value > 1, "a whole number of at least 2")


def add_profile(verbs: Any) -> None:
    """Add the verb to a parser of arguments."""
    text = "time E-steps over sizes, and fit how the time grows"
    parser = verbs.add_parser("profile", help=text, description=text)
    add = parser.add_argument
    text = "hidden units, as in 4-20 or 8,10,12 (default: 4-16)"
    add("--hidden", type=sizes, default="4-16", metavar="SIZES", help=text)
    text = "rows, as in 1000,10000 (default: %(default)s)"
    add("--samples", type=sizes, default="10000", metavar="SIZES", help=text)
    add("--classes", type=_classes, default=3, metavar="G", help="(default: %(default)s)")
    text = "an engine, several with commas, or all exact ones (default: %(default)s)"
    add("--engine", type=_engines, default="all", metavar="NAME", help=text)
    add("--threads", type=positive, metavar="N", help="(default: all cores)")
    add("--seed", type=seed, default=0, help="of the problems (default: %(default)s)")
    add("--json", metavar="FILE", help="keep the numbers in FILE")
    text = "draw the times into FILE, a .png, .pdf, .svg or the like"
    add("--plot", metavar="FILE", help=text)
    parser.set_defaults(run=_run_profile, progress=True)


def _engines(text: str) -> list[str]:
    from fastem.profiling import engine_names

    names = [name.strip() for name in text.split(",")]
    try:
        engine_names(names, n_classes=2)  # "all" stands for what the classes allow, later
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def _run_profile(arguments: argparse.Namespace) -> int:
    from fastem.profiling import profile_scaling

    _check_files(arguments)
    with _Progress() as progress:
        profile = profile_scaling(
            arguments.hidden,
            arguments.samples,
            arguments.classes,
            engines=arguments.engine,
            n_threads=arguments.threads,
            seed=arguments.seed,
            callback=progress,
        )
    if not profile.rows:
        raise ValueError(f"there is no size that could be measured: {profile.skipped[0].reason}")
    content = {"fastem": __version__, "seed": arguments.seed, **profile.to_dict()}
    written = []
    try:
        if arguments.json is not None:
            text = json.dumps(content, indent=2, allow_nan=False)
            Path(arguments.json).write_text(f"{text}\n", encoding="utf-8")
            written.append(f"numbers written to {arguments.json}")
        if arguments.plot is not None:
            from fastem.plotting import save_scaling

            save_scaling(profile, arguments.plot)
            written.append(f"times drawn into {arguments.plot}")
    finally:  # the work is done, whatever becomes of its files
        print("\n".join([report.scaling_text(content), *written]))
    return 0


def _check_files(arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        check_writable(arguments.json)
    if arguments.plot is not None:
        check_plot(arguments.plot)
        if arguments.json is not None and _same(arguments.json, arguments.plot):
            raise ValueError(f"cannot write both numbers and figure to {arguments.plot}")


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


class _Progress:
    """A line on the terminal that says what is being timed; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._write: Callable[[str], Any] | None = None

    def __enter__(self) -> "_Progress":
        if sys.stderr is not None and sys.stderr.isatty():
            self._write = sys.stderr.write
        return self

    def __call__(self, done: int, total: int, problem: str) -> None:
        if self._write is not None and problem:
            begins = " (the first one also compiles)" if done == 0 else ""
            self._write(f"\r\x1b[K{done + 1}/{total}  {problem}{begins}")
            sys.stderr.flush()

    def __exit__(self, *error: object) -> None:
        if self._write is not None:
            self._write("\r\x1b[K")
            sys.stderr.flush()
