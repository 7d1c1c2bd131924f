"""Compiled kernels on disk, in a cache folder of the user.

Numba's own cache lies beside the source, where it outlives an uninstalled package, and its index
covers the source of one file, whereas a kernel contains the code of its helpers in other files.
This cache has one file per kernel and signature. The file's name contains a hash of everything
that decides the machine code, so a file that exists is a file that fits:

- the folder's name is the stamp: the source of all kernels, read through the loader of the
  package, and the versions of Python, Numba, llvmlite and NumPy;
- the file's name: the types of the arguments, the field names of NamedTuples among them (Numba
  compares the class and the types of the fields, and their classes are defined outside the
  stamped sources), the processor, and the settings of Numba that change code.

No path is part of either: a checkout and an installed copy with equal sources share their files.
The cache never raises. Where nothing can be read or written, kernels are compiled in memory.
"""

import hashlib
import os
import pickle
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

_KEPT_STAMPS = 8
_STAMP_PATTERN = re.compile("[0-9a-f]{32}")
_DIGEST_SIZE = hashlib.sha256().digest_size
# The settings of numba.config that change machine code. The processor is in the codegen's key.
_SETTINGS = (
    "OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX",
    "USING_SVML", "DEBUG_NRT", "NRT_STATS", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS",
    "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING", "JIT_COVERAGE",
)  # fmt: skip


@cache
def _stamp() -> str | None:
    """Return a hash of the kernels' sources and of the versions; None without sources."""
    digest = hashlib.sha256()
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    digest.update(repr(versions).encode())
    sources = [file for file in files(__package__).iterdir() if file.name.endswith(".py")]
    for file in sorted(sources, key=lambda file: file.name):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}".encode() + content)
    return digest.hexdigest()[:32] if sources else None


@cache
def _root() -> Path | None:
    """Return the folder of all stamps: below NUMBA_CACHE_DIR, or in the user's cache folder.

    None if the user has no home. A home that does not exist is not created, and a relative path is
    not used: the files would be left in whatever folder the process works in.
    """
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR, "fastem").absolute()
    folder, home = Path(AppDirs("fastem", appauthor=False).user_cache_dir), Path("~")
    with suppress(RuntimeError):
        home = Path.home()
    if not folder.is_absolute():  # XDG_CACHE_HOME is empty
        folder = home / ".cache" / "fastem"
    if not folder.is_absolute() or (folder.is_relative_to(home) and not home.is_dir()):
        return None
    return folder


def cache_of(function: Callable) -> "DiskCache | None":
    """Return a cache for a kernel of this package; None for others, which no stamp covers."""
    with suppress(Exception):
        stamp, root = _stamp(), _root()
        if None not in (stamp, root) and function.__module__.startswith(f"{__package__}."):
            return DiskCache(function, root / stamp)
    return None


class DiskCache(_Cache):
    """The compiled versions of one kernel, as Numba's dispatchers use a cache.

    Parameters
    ----------
    function : function
    folder : Path
        Created when the first kernel is saved.

    Notes
    -----
    A file holds a SHA-256 digest and the pickled code. A file whose digest is wrong is ignored
    and overwritten. Files are replaced in one step, so processes may save at the same time.
    """

    def __init__(self, function: Callable, folder: Path) -> None:
        module = function.__module__.rpartition(".")[2]
        self._name = f"{module}.{function.__qualname__}"
        self._folder = folder
        self._is_enabled = True

    @property
    def cache_path(self) -> str:
        """Folder of the files."""
        return str(self._folder)

    def enable(self) -> None:
        """Load and save from now on."""
        self._is_enabled = True

    def disable(self) -> None:
        """Neither load nor save from now on."""
        self._is_enabled = False

    def flush(self) -> None:
        """Remove the kernel's files."""
        with suppress(OSError):
            for file in self._folder.glob(f"{self._name}-*.nbc"):
                file.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Return the code for a signature; None if there is none or if it is damaged."""
        if not self._is_enabled:
            return None
        with suppress(Exception):  # damaged bytes can raise anything in an unpickler
            target_context.refresh()
            content = self._file(sig, target_context.codegen()).read_bytes()
            digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
            if hashlib.sha256(payload).digest() != digest:
                return None
            code = CompileResult._rebuild(target_context, *pickle.loads(payload))
            if tuple(code.signature.args) == tuple(sig):
                _mark_as_used(self._folder)
                return code
        return None

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Save the code for a signature, if it can be saved."""
        if not self._is_enabled or data.lifted or data.library.has_dynamic_globals:
            return
        with suppress(Exception):
            payload = dumps(data._reduce())
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                _prune(self._folder)
            target = self._file(sig, data.codegen)
            _replace(target, hashlib.sha256(payload).digest() + payload)

    def _file(self, sig: Any, codegen: Any) -> Path:
        settings = [(name, str(getattr(config, name, None))) for name in _SETTINGS]
        key = str(tuple(sig)), list(_fields(sig)), codegen.magic_tuple(), settings
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return self._folder / f"{self._name}-{digest[:32]}.nbc"


def _fields(kinds: Any) -> Iterator[tuple]:
    """Yield the field names of all NamedTuple types, nested ones too."""
    for kind in kinds:
        if isinstance(kind, types.BaseNamedTuple):
            yield kind.fields
        if isinstance(kind, types.BaseTuple):
            yield from _fields(kind)


@cache
def _mark_as_used(folder: Path) -> None:
    """Set the folder's time, once per process: the folders used last are kept."""
    with suppress(OSError):
        os.utime(folder)


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_suffix(f".{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _prune(newest: Path) -> None:
    """Remove the folders of old stamps; keep this one and those used last."""
    with suppress(OSError):
        folders = [
            (folder.stat().st_mtime, folder)
            for folder in newest.parent.iterdir()
            if _STAMP_PATTERN.fullmatch(folder.name) and folder.is_dir() and folder != newest
        ]
        for _, folder in sorted(folders, reverse=True)[_KEPT_STAMPS - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)
