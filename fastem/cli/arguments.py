"""What the verbs of the command line share: kinds of arguments, and files asked before the work."""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_MOST_SIZES = 1000


def number(kind: type, accept: Callable[[Any], bool], what: str) -> Callable[[str], Any]:
    """Return a parser of numbers of a kind, as far as they are accepted."""

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
penalty = number(float, lambda value: 0 <= value < math.inf, "a finite number >= 0")
share = number(float, lambda value: 0 < value < 1, "a number between 0 and 1")


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that takes these names and no other."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}")
        return text

    return parse


def hidden_layer_sizes(text: str) -> tuple[int, ...]:
    """Return the units of every hidden layer: ``12`` is one layer, ``12,8`` are two."""
    try:
        found = tuple(map(int, text.split(",")))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive whole number, or several with commas, one to a hidden "
            "layer, like 12 or 12,8"
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
        if stop - start >= _MOST_SIZES:
            raise argparse.ArgumentTypeError(f"{text!r} names more than {_MOST_SIZES} sizes")
        found.update(range(start, stop + 1))
    return sorted(found)


def check_plot(path: str) -> None:
    """Raise where a figure could not be written: suffix, place, or no matplotlib."""
    from fastem.plotting import FIGURE_SUFFIXES, require_matplotlib

    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        listed = ", ".join(FIGURE_SUFFIXES)
        found = f"{suffix!r} is none of" if suffix else "it needs one of"
        raise ValueError(f"cannot write {path}: the suffix says the format, and {found} {listed}")
    check_writable(path)
    require_matplotlib("--plot")


def check_writable(path: str) -> None:
    """Raise where a file could not be written."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"cannot write {path}: it is a directory")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no directory {target.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: no permission")
