"""Named, reusable buffers, declared once by name and shape.

One declaration serves twice: the arrays are allocated from it, and the memory that a step
needs is computed from it before anything is allocated.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from numpy.typing import DTypeLike

Shapes = Mapping[str, tuple[int, ...]]
"""Buffers by name, each with its shape."""


def bytes_of(*declared: Shapes, dtype: DTypeLike = np.float64) -> int:
    """Return the memory of declared buffers, in bytes.

    Parameters
    ----------
    *declared : dict of str to tuple of int
    dtype : dtype, default=float64
        Type of the numbers in all of them.
    """
    n_numbers = sum(math.prod(shape) for shapes in declared for shape in shapes.values())
    return np.dtype(dtype).itemsize * n_numbers


class Buffers:
    """Memory of declared buffers, which the next declaration of the same names reuses.

    Parameters
    ----------
    dtype : dtype, default=float64
        Type of the numbers in all buffers.
    """

    def __init__(self, dtype: DTypeLike = np.float64) -> None:
        self._dtype = np.dtype(dtype)
        self._flat: dict[str, np.ndarray] = {}

    def allocate(self, declared: Shapes, dtype: DTypeLike | None = None) -> SimpleNamespace:
        """Return arrays in C order as attributes, one for each declared name.

        Their contents are undefined. Memory is allocated only where a buffer of that name needs
        more than it had; arrays returned earlier under the same name lose their contents.

        Parameters
        ----------
        declared : dict of str to tuple of int
        dtype : dtype, optional
            Type of these arrays, by default that of the buffers. Its numbers must not be larger.
        """
        dtype = self._dtype if dtype is None else np.dtype(dtype)
        arrays = {}
        for name, shape in declared.items():
            n_bytes = math.prod(shape) * dtype.itemsize
            size = -(-n_bytes // self._dtype.itemsize)
            flat = self._flat.get(name)
            if flat is None or flat.size < size:
                flat = self._flat[name] = np.empty(size, self._dtype)
            arrays[name] = flat[:size].view(dtype)[: math.prod(shape)].reshape(shape)
        return SimpleNamespace(**arrays)
