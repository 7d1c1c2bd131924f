"""Named tuples of arrays that all have one entry per row (or task): subsets of the entries."""

from typing import Any

from fastem.parameters import Array


def take(whole: Any, index: Array) -> Any:
    """Return a tuple of the same type with copies of the entries ``index``."""
    return type(whole)(*(array[index] for array in whole))


def put(whole: Any, index: Array, part: Any) -> None:
    """Overwrite the entries ``index`` of every array with those of ``part``."""
    for array, of_part in zip(whole, part, strict=True):
        array[index] = of_part


def bytes_of(*lists: dict[str, tuple[int, ...]]) -> int:
    """Return the bytes of float64 arrays whose shapes are listed by name."""
    total = 0
    for shapes in lists:
        for shape in shapes.values():
            size = 8
            for length in shape:
                size *= length
            total += size
    return total
