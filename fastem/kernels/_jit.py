"""Compile policy: the decorators that compile every kernel of the package.

A kernel is compiled at its first call for given types, runs without the global interpreter lock,
and is kept on disk between processes (`fastem.kernels._cache`). Kernels that only other kernels
call get no machine code of their own (`fastem.kernels._compiler`).
"""

import functools
import os
from collections.abc import Callable
from typing import Any, NoReturn

from numba import njit
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from fastem.kernels._cache import cache_of

try:
    from fastem.kernels._compiler import Kernel
except ImportError:  # a version of Numba with other internals: kernels take longer to compile
    Kernel = None

# Reassociation and contraction let the compiler vectorise sums. "nnan" and "ninf" are left out:
# they delete the checks for NaN and infinity on which the log-space kernels rely.
_FASTMATH = {"contract", "reassoc", "arcp", "nsz", "afn"}
# A fork waits for a compilation in another thread at most this long.
_PATIENCE = 60.0


def _compile(function: Callable, fastmath: set[str]) -> Any:
    if config.DISABLE_JIT:
        return _refuse(function)
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", "boundscheck": None}
    dispatcher = njit(**options)(function) if Kernel is None else Kernel(function, {}, options)
    cache = cache_of(function)
    if cache is not None:
        dispatcher._cache = cache
    return dispatcher


def jit(function: Callable) -> Any:
    """Compile a kernel: the compiler may reorder sums."""
    return _compile(function, _FASTMATH)


def jit_strict(function: Callable) -> Any:
    """Compile a helper that must round in the order in which its operations are written."""
    return _compile(function, {"contract"})


def _refuse(function: Callable) -> Callable:
    """Return a kernel that raises: kernels call machine code that Python cannot call."""

    @functools.wraps(function)
    def kernel(*args: Any) -> NoReturn:
        raise ImportError(
            "fastem needs the compiler of Numba, which NUMBA_DISABLE_JIT switches off; unset "
            "NUMBA_DISABLE_JIT or set it to 0."
        )

    return kernel


def _wait_for_compilers() -> None:
    """Take the lock of the compiler, so that no other thread holds it when a child is forked.

    The child would wait for the lock at its first compilation, for ever.
    """
    lock = getattr(global_compiler_lock, "_lock", None)
    if lock is not None:
        lock.acquire(timeout=_PATIENCE)


def _let_compile() -> None:
    """Release the lock of the compiler, unless it could not be taken in time."""
    lock = getattr(global_compiler_lock, "_lock", None)
    if lock is not None and lock._is_owned():
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_for_compilers, after_in_parent=_let_compile, after_in_child=_let_compile
    )
