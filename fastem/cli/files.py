"""Checks of the files of a call, before any work: outputs can be written, and are no inputs."""

import os
import stat
import unicodedata
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from fastem.cli.tables.sources import BUILT_IN

_BUILT_IN_DATA = {("DATA", name) for name in BUILT_IN}


def check_files(inputs: Mapping[str, str], outputs: Mapping[str, str | None]) -> None:
    """Raise if an output cannot be written, is an input, or is written twice.

    Every verb calls this function once, before it reads or computes anything.

    Parameters
    ----------
    inputs : dict of str to str
        Paths that the call reads, by the name of their argument. ``DATA`` may also be the name
        of a built-in data set, which is not a file.
    outputs : dict of str to (str or None)
        Paths that the call writes, by the name of their option. None is an option that was
        not given. ``--plot`` also needs matplotlib and the suffix of a figure, and ``--model``
        cannot be a device or a pipe.

    Raises
    ------
    ValueError
        If an output is a directory, has no directory, has no write permission or has an
        unknown suffix; if it is the same file as an input or as another output. Files are the
        same for every spelling of their paths: relative, through symbolic or hard links, or
        with other letters on a file system that ignores case.
    ImportError
        If a figure is to be written and matplotlib is not installed.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    read = {name: path for name, path in inputs.items() if (name, path) not in _BUILT_IN_DATA}
    for option, path in given.items():
        if option == "--plot":
            _check_suffix(path)
        _check_writable(path)
        if option == "--model" and Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"cannot write {path}: it is not a regular file")
        for name, source in read.items():
            if _is_same_file(path, source):
                raise ValueError(
                    f"cannot write {path}: {option} names the same file as {name} ({source}), "
                    "which would be overwritten"
                )
    for (one, first), (other, second) in combinations(given.items(), 2):
        if _is_same_file(first, second):
            raise ValueError(f"cannot write {second}: {one} and {other} name the same file")
    if "--plot" in given:
        from fastem.plotting import require_matplotlib

        require_matplotlib("--plot")


def _check_suffix(path: str) -> None:
    from fastem.plotting import FIGURE_SUFFIXES

    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        listed = ", ".join(FIGURE_SUFFIXES)
        found = f"the suffix {suffix!r} is not one of" if suffix else "the suffix must be one of"
        raise ValueError(f"cannot write {path}: {found} {listed}")


def _check_writable(path: str) -> None:
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"cannot write {path}: it is a directory")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no directory {target.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: no permission")


def _is_same_file(one: str, other: str) -> bool:
    """Return whether writing to one path would change the content of the other.

    Terminals, pipes and devices have no content that could be lost.
    """
    first, second = _stat(one), _stat(other)
    if first is None and second is None:
        return _future_file(one) == _future_file(other)
    if first is None or second is None:
        return False
    return os.path.samestat(first, second) and stat.S_ISREG(first.st_mode)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _future_file(path: str) -> tuple[object, ...]:
    """Return the folder and the name of a file that does not exist yet.

    Names that differ only in case or in the encoding of accents count as equal, because some
    file systems store them as one file.
    """
    folder, name = os.path.split(os.path.realpath(path))
    found = _stat(folder)
    place = folder if found is None else (found.st_dev, found.st_ino)
    return place, unicodedata.normalize("NFC", name).casefold()
