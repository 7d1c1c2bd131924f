"""The format of model files.

A model file is one .npz file with plain arrays and one JSON string. It holds no pickled code.
"""

import json
import os
from typing import Any, BinaryIO

import numpy as np

from fastem.runtime import replacing

_FORMAT = "fastem-model"
_FORMAT_VERSION = 1


def write_model(
    path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write a model file; an existing file is replaced only by a complete one.

    Parameters
    ----------
    path : path-like
        Used without adding a suffix. If it is a symbolic link, its target is written.
    header : dict
        JSON values.
    arrays : dict of arrays
        Numbers or fixed-width strings.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If an array holds Python objects, which need a pickle.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which a model file cannot keep.")
    text = np.array(json.dumps({"format": _FORMAT, "format_version": _FORMAT_VERSION, **header}))
    with replacing(path) as file:
        np.savez(file, header=text, **arrays)


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a model file. No code from the file is run.

    Returns
    -------
    header : dict
    arrays : dict of arrays

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be read.
    ValueError
        If the file is truncated, is not a model of this package, or has a newer format.
    """
    with open(path, "rb") as file:  # errors of the file system are passed on
        try:
            header, arrays = _read_arrays(file)
        except Exception as error:  # unknown bytes can raise any error
            raise ValueError(f"{str(path)!r} is damaged or not a fastem model.") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"{str(path)!r} is not a fastem model.")
    if header.get("format_version") != _FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} has model format {header.get('format_version')}, and this version "
            f"of fastem reads format {_FORMAT_VERSION}. Update fastem to open it."
        )
    return header, arrays


def _read_arrays(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    with np.load(file, allow_pickle=False) as content:
        header = json.loads(str(content["header"]))
        return header, {name: content[name] for name in content.files if name != "header"}
