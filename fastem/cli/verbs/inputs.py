"""Data and options of a call, as the verbs take them from the parsed arguments."""

import argparse
from typing import TYPE_CHECKING

from fastem.cli.messages import notify
from fastem.cli.tables.sources import shown_name
from fastem.runtime import doing

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    from fastem.cli.comparison.methods import Options
    from fastem.cli.tables.datasets import Dataset
    from fastem.cli.tables.reading import TableOptions


def dataset_of(arguments: argparse.Namespace) -> "Dataset":
    """Return the data set of a call; print notes about a chosen task and ignored options."""
    from fastem.cli.tables.datasets import read_dataset

    table = table_options_of(arguments)
    with doing(f"reading {shown_name(arguments.data)}"):
        dataset = read_dataset(arguments.data, arguments.target, arguments.task, table)
    if dataset.target is None:
        given = {
            "--target": arguments.target,
            "--sep": table.sep,
            "--decimal": table.decimal,
            "--encoding": table.encoding,
            "--header": table.header or None,
            "--no-header": True if table.header is False else None,
            "--impute": table.impute or None,
        }
        ignored = [option for option, value in given.items() if value is not None]
        if ignored:
            notify(
                f"note: {dataset.name} is built-in data with its own labels; {', '.join(ignored)} "
                f"{'is' if len(ignored) == 1 else 'are'} ignored"
            )
    announce_regression(arguments, dataset)
    return dataset


def announce_regression(arguments: argparse.Namespace, dataset: "Dataset") -> None:
    """Print a note if the values of a target have made the task a regression."""
    from fastem.cli.tables.labels import are_counts, reason_to_regress

    if dataset.target is not None and arguments.task is None and dataset.task == "regression":
        other = "--task class is for labels"
        if are_counts(dataset.y):
            other = f"--task count is for counts, {other}"
        notify(
            f"note: column {dataset.target!r} has {reason_to_regress(dataset.y)}, so the task is "
            f"regression; {other}"
        )


def table_options_of(arguments: argparse.Namespace) -> "TableOptions":
    """Return how the table of a call is written, and which of its columns are used."""
    from fastem.cli.tables.reading import TableOptions

    given = vars(arguments)
    # predict has neither --drop nor --impute
    drop, impute = tuple(given.get("drop") or ()), bool(given.get("impute"))
    return TableOptions(
        arguments.sep, arguments.decimal, arguments.encoding, arguments.header, drop, impute
    )


def options_of(arguments: argparse.Namespace) -> "Options":
    """Return the options of a fit or a comparison."""
    from fastem.cli.comparison.methods import Options

    given = vars(arguments)
    # fit does not have these options of compare
    own = {name: given.get(name) for name in ("activation", "solver", "epochs")}
    shared = arguments.hidden, arguments.max_iter, arguments.alpha, arguments.seed
    return Options(*shared, **own)


def check_depth(arguments: argparse.Namespace, task: str) -> None:
    """Raise ValueError if EM cannot fit that many hidden layers, before anything is trained."""
    sizes = arguments.hidden
    if task != "class" and isinstance(sizes, tuple) and len(sizes) > 1:
        given = ",".join(map(str, sizes))
        raise ValueError(
            f"argument --hidden: {given!r} has {len(sizes)} hidden layers, but EM for the task "
            f"{task} has one; give one number, for example --hidden {max(sizes)}"
        )
