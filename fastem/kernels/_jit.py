"""Compile policy: how every kernel of the package is compiled and cached.

Kernels are compiled on first call, run without the global interpreter lock, and are
kept on disk between processes. The disk cache must never be the reason for a failure,
so a folder that cannot be written or a damaged file falls back to compiling in memory,
and the cache key covers the source of *all* kernels: a kernel inlines its helpers, and
Numba by itself notices a change in the kernel's own file only.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache

# Reassociation and contraction let the compiler vectorise sums. "nnan" and "ninf" are
# left out on purpose: they delete the checks on which the log-space kernels rely.
_FASTMATH = {"contract", "reassoc", "arcp", "nsz", "afn"}


def _source_stamp() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _source_stamp()


class _StampedResult(CompileResultCacheImpl):
    """Compiled code on disk, with the stamp of the source that it was compiled from."""

    def reduce(self, cres):
        return _STAMP, super().reduce(cres)

    def rebuild(self, target_context, payload):
        stamp, result = payload
        if stamp != _STAMP:
            raise ValueError("compiled from other source")
        return super().rebuild(target_context, result)


class _ForgivingCache(FunctionCache):
    """A disk cache whose faults cost a compilation, never an exception.

    Numba numbers its data files within an index, so of two processes that write at once
    one may find the other's code under its own number: what is loaded is checked.
    """

    _impl_class = _StampedResult

    def _index_key(self, sig, codegen):
        return (*super()._index_key(sig, codegen), _STAMP)

    def load_overload(self, sig, target_context):
        try:
            result = super().load_overload(sig, target_context)
        except Exception:  # damaged bytes can raise anything out of an unpickler
            with suppress(Exception):
                self.flush()  # or every later process would stumble over them again
            return None
        if result is not None and tuple(result.signature.args) != tuple(sig):
            return None
        return result

    def save_overload(self, sig, data):
        with suppress(Exception):
            super().save_overload(sig, data)


def _compile(function: Callable, fastmath: set[str]) -> Any:
    dispatcher = njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)
    # where no folder can be written, every process compiles for itself
    with suppress(RuntimeError, OSError):
        dispatcher._cache = _ForgivingCache(function)
    return dispatcher


def jit(function: Callable) -> Any:
    """Compile a kernel: cached on disk, GIL released, sums free to be reordered."""
    return _compile(function, _FASTMATH)


def jit_strict(function: Callable) -> Any:
    """Compile a helper whose rounding must happen in the order that is written."""
    return _compile(function, {"contract"})
