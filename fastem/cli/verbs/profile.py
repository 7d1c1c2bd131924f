"""The verb ``profile`` of the command line: time and memory of E-steps on this machine."""

import argparse
import json
from typing import Any

from fastem._version import __version__
from fastem.cli.arguments import number, positive, seed, sizes
from fastem.cli.files import check_files
from fastem.cli.messages import print_text
from fastem.cli.reports import report
from fastem.runtime import Loop, current_activity, replacing

_classes = number(int, lambda value: value > 1, "a whole number of at least 2")


def add_profile(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "measure the time of E-steps for several sizes, and how it grows"
    parser = verbs.add_parser("profile", help=text, description=text)
    add = parser.add_argument
    text = "numbers of hidden units, for example 4-20 or 8,10,12 (default: 4-16)"
    add("--hidden", type=sizes, default="4-16", metavar="SIZES", help=text)
    text = "numbers of rows, for example 1000,10000 (default: %(default)s)"
    add("--samples", type=sizes, default="10000", metavar="SIZES", help=text)
    text = "number of classes (default: %(default)s)"
    add("--classes", type=_classes, default=3, metavar="G", help=text)
    text = "an engine, several separated by commas, or all exact ones (default: %(default)s)"
    add("--engine", type=_engines, default="all", metavar="NAME", help=text)
    add("--threads", type=positive, metavar="N", help="number of threads (default: all cores)")
    add("--seed", type=seed, default=0, help="seed of the networks and rows (default: %(default)s)")
    add("--json", metavar="FILE", help="write all numbers to FILE as JSON")
    text = "write a figure of the times to FILE; its suffix (.png, .pdf, .svg, ...) selects the "
    text += "format"
    add("--plot", metavar="FILE", help=text)
    parser.set_defaults(run=_run_profile)


def _engines(text: str) -> list[str]:
    from fastem.profiling import engine_names

    names = [name.strip() for name in text.split(",")]
    try:
        engine_names(names, n_classes=2)  # checks the names only
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def _run_profile(arguments: argparse.Namespace) -> int:
    from fastem.profiling import profile_scaling

    check_files({}, {"--json": arguments.json, "--plot": arguments.plot})
    profile = profile_scaling(
        arguments.hidden,
        arguments.samples,
        n_classes=arguments.classes,
        engines=arguments.engine,
        n_jobs=arguments.threads,
        random_state=arguments.seed,
        callback=_report,
    )
    if not profile.rows:
        raise ValueError(f"no size could be measured: {profile.skipped[0].reason}")
    content = {"fastem": __version__, "seed": arguments.seed, **profile.to_dict()}
    written = []
    try:
        if arguments.json is not None:
            text = json.dumps(content, indent=2, allow_nan=False)
            with replacing(arguments.json) as file:
                file.write(f"{text}\n".encode())
            written.append(f"numbers written to {arguments.json}")
        if arguments.plot is not None:
            from fastem.plotting import save_scaling

            save_scaling(profile, arguments.plot)
            written.append(f"figure written to {arguments.plot}")
    finally:  # print the results even if a file cannot be written
        print_text("\n".join([report.scaling_text(content), *written]))
    return 0


def _report(done: int, total: int, problem: str) -> None:
    """Report a measurement; the first one of an engine also compiles its kernels."""
    activity = current_activity()
    if activity is not None and problem:
        activity.enter(f"measuring {problem}")
        activity.iterate(Loop("measurement", done + 1, total, may_end_earlier=False))
