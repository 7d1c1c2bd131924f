"""Files that are written completely or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the body ends without an error.

    The bytes go to a temporary file in the same folder, which then replaces ``path`` in one
    step. After an error in the body, the temporary file is removed and ``path`` is unchanged.
    Two kinds of files are written in place instead: devices and pipes, and an existing
    file in a folder where the process cannot create files.

    Parameters
    ----------
    path : path-like
        A symbolic link stays, and its target is written. An existing file keeps its permissions.

    Yields
    ------
    file : binary file

    Raises
    ------
    OSError
        If the file cannot be written. The error names ``path`` and not the temporary file.
    """
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".fastem.{secrets.token_hex(8)}")
    try:
        if _is_written_in_place(path):
            with open(path, "wb") as file:
                yield file
            return
        file = open(temporary, "xb")  # noqa: SIM115  nothing to remove if this fails
        try:
            with file:
                if os.path.exists(target):
                    shutil.copymode(target, temporary)
                yield file
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # Ctrl-C may come after the replacement
                os.unlink(temporary)
            raise
    except OSError as error:
        # An error of a write has no file name.
        if error.errno is None or error.filename not in (None, temporary):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _is_written_in_place(path: str | os.PathLike[str]) -> bool:
    if not os.path.exists(path):
        return False
    if not os.path.isfile(path):
        return True
    return not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK | os.X_OK)
