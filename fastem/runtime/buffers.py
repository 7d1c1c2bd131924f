"""Named, reusable buffers."""

import math

import numpy as np

from fastem.parameters import Array


class Memory:
    """Arrays by name, whose memory is used again until one asks for more of it."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}

    def array(self, name: str, *shape: int) -> Array:
        """Return an array in C order; earlier ones of that name lose their contents."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = self._flat[name] = np.empty(size)
        return flat[:size].reshape(shape)
