"""Arguments that the verbs of the command line share, and their types."""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

_MAX_SIZES = 1000
TASKS = "class", "regression", "count"
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
_DATA_HELP = (
    "iris, wine, breast_cancer, digits, diabetes, or the path of a table: CSV (also compressed: "
    ".gz, .zip, .bz2, .xz) or parquet; - is standard input"
)
_FILES_HELP = (
    ". With --dask or --workers: one or several paths or quoted patterns like 'part-*.parquet' of "
    "files with the same columns, all parquet or all CSV"
)
_TASK_HELP = (
    "predict labels (class), numbers (regression) or counts (count: Poisson). By default a target "
    "is numbers if it has fractions, or more than 20 different whole numbers with fewer than 50 "
    "rows of each on average; all other targets are labels"
)
ALPHA_HELP = (
    "A/2 times the squared weights (on standardised features, without intercepts) against the "
    "summed log-likelihood of the training rows"
)


def number(kind: type, accept: Callable[[Any], bool], what: str) -> Callable[[str], Any]:
    """Return a parser of numbers: it converts to ``kind`` and rejects values by ``accept``."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not accept(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


positive = number(int, lambda value: value > 0, "a positive whole number")
seed = number(int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295")
_penalty = number(float, lambda value: 0 <= value < math.inf, "a finite number >= 0, or auto")
share = number(float, lambda value: 0 < value < 1, "a number between 0 and 1")


def penalty(text: str) -> float | Literal["auto"]:
    """Return a penalty, or "auto"."""
    return "auto" if text == "auto" else _penalty(text)


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that accepts only the given names."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}")
        return text

    return parse


def hidden_layer_sizes(text: str) -> tuple[int, ...] | Literal["auto"]:
    """Return the number of units in every hidden layer: ``12`` is one layer, ``12,8`` two."""
    if text == "auto":
        return "auto"
    try:
        found = tuple(map(int, text.split(",")))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive whole number, or one for every hidden layer separated by "
            "commas, for example 12 or 12,8, or auto"
        )
    return found


def sizes(text: str) -> list[int]:
    """Return the numbers of ``4-6,10`` in ascending order: 4, 5, 6 and 10."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            start, stop = int(first), int(last if dash else first)
        except ValueError:
            start, stop = 0, 0
        if not 0 < start <= stop:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a list of positive whole numbers and ranges, like 4-16 or 8,10,12"
            )
        if stop - start >= _MAX_SIZES:
            raise argparse.ArgumentTypeError(f"{text!r} contains more than {_MAX_SIZES} sizes")
        found.update(range(start, stop + 1))
    return sorted(found)


def add_common(parser: argparse.ArgumentParser, *, target: bool, several: bool = False) -> None:
    """Add the data and the options that verbs with data share; ``several`` allows a list."""
    if several:
        parser.add_argument("data", metavar="DATA", nargs="+", help=_DATA_HELP + _FILES_HELP)
    else:
        parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    if target:
        text = "target column of a table (default: label); ignored for built-in data"
        parser.add_argument("--target", metavar="COLUMN", help=text)
        names = f"{{{','.join(TASKS)}}}"
        parser.add_argument("--task", type=one_of(TASKS), metavar=names, help=_TASK_HELP)
    _add_table_options(parser, fit=target)


def _add_table_options(parser: argparse.ArgumentParser, *, fit: bool) -> None:
    """Add the options that describe a table; with ``fit`` also those that choose its columns."""
    group = parser.add_argument_group("options of tables")
    add = group.add_argument
    text = "separator of fields: a character, or tab, semicolon, comma, pipe, space (default: "
    text += "found in the first lines)"
    add("--sep", type=separator, metavar="SEP", help=text)
    text = "decimal mark of numbers, . or , (default: . unless points may separate thousands)"
    add("--decimal", type=one_of((".", ",")), metavar="MARK", help=text)
    text = "encoding of the text, for example latin-1 (default: utf-8, or that of the byte order "
    text += "mark)"
    add("--encoding", metavar="NAME", help=text)
    text = "whether the first line contains the names of the columns; without a header the columns "
    text += "are 1, 2, ... (default: it does, and a line that looks like data is refused)"
    add("--header", action=argparse.BooleanOptionalAction, help=text)
    if fit:
        text = "columns to leave out, separated by commas; a name that contains commas needs its "
        text += "own --drop"
        add("--drop", action="append", metavar="COLUMNS", help=text)
        text = "replace missing values of features (default: missing values are an error)"
        add("--impute", action="store_true", help=text)


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that divide the rows among workers."""
    add = (
        parser.add_argument_group("options of data past one machine")
        .add_mutually_exclusive_group()
        .add_argument
    )
    text = "fit on the workers of a Dask cluster, by the address of its scheduler, for example "
    text += "tcp://host:8786. The workers must see the files under the same paths"
    add("--dask", metavar="ADDRESS", help=text)
    text = "start N worker processes of one thread on this machine, and end them after the fit"
    add("--workers", type=positive, metavar="N", help=text)


def separator(text: str) -> str:
    """Return the separator of fields for a character or a word."""
    found = SEPARATORS.get(text, "\t" if text == "\\t" else text)
    if len(found) != 1 or not found.isascii() or (not found.isprintable() and found != "\t"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one character, or one of {', '.join(SEPARATORS)}"
        )
    if found.isalnum() or found in "\"'.-+":
        raise argparse.ArgumentTypeError(f"{text!r} cannot separate fields")
    return found


def add_options(parser: argparse.ArgumentParser, alpha_help: str) -> None:
    """Add the options of a fit by EM."""
    add = parser.add_argument
    text = "units of the hidden layer, for example 12, or of several layers, for example 12,8; "
    text += "auto: 10 units, or more if they predict held-out rows better (default: auto for "
    text += "classes, 10 for numbers and counts)"
    add("--hidden", type=hidden_layer_sizes, metavar="SIZES", help=text)
    add("--max-iter", type=positive, metavar="N", help="maximum number of iterations of EM")
    add("--alpha", type=penalty, metavar="A", help=alpha_help)
    text = "seed of random numbers (default: %(default)s)"
    add("--seed", type=seed, default=0, help=text)
