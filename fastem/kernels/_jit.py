"""Compile policy: the decorators that compile every kernel of the package.

A kernel is compiled at its first call for given types, runs without the global interpreter lock,
and is kept on disk between processes (`fastem.kernels._cache`). Kernels that only other kernels
call get no machine code of their own (`fastem.kernels._compiler`).
"""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import config

from fastem.kernels._cache import cache_of

try:
    from fastem.kernels._compiler import Kernel
except ImportError:  # a version of Numba with other internals: kernels take longer to compile
    Kernel = None

# Reassociation and contraction let the compiler vectorise sums. "nnan" and "ninf" are left out:
# they delete the checks for NaN and infinity on which the log-space kernels rely.
_FASTMATH = {"contract", "reassoc", "arcp", "nsz", "afn"}


def _compile(function: Callable, fastmath: set[str]) -> Any:
    if config.DISABLE_JIT:
        return function
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
