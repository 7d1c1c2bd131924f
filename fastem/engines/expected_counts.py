"""Expected weights of the configurations, computed from the sums of chunks when they are needed."""

from typing import Self

import numpy as np

from fastem.kernels import expected_counts
from fastem.parameters import Array
from fastem.runtime import run


class ExpectedCounts:
    """Expected weight of every configuration, for every group or summed over groups.

    Only some M-steps read the weights themselves. The gradient of the output layer needs the sums
    of the chunks only, so the weights are computed at the first call.

    Parameters
    ----------
    out : array (n_classes, n_high, n_low) or (1, n_high, n_low), summed weight
        Memory of the result.
    """

    def __init__(self, out: Array) -> None:
        self.out = out
        self.unit = 1.0
        self.has_more = False

    @classmethod
    def of_array(cls, counts: Array) -> Self:
        """Return weights that are known already."""
        known = cls(counts)
        n_classes, n_high, n_low = counts.shape
        known.reset(np.empty((0, n_high, n_low)), np.zeros(n_classes + 1, dtype=np.int64), 1.0)
        known.has_more = known._is_complete = True
        return known

    def reset(self, chunks: np.ndarray, starts: np.ndarray, unit: float) -> None:
        """Set the sums of the chunks.

        Parameters
        ----------
        chunks : array (n_sums, n_high, n_low)
        starts : array (n_groups + 1,)
            Sums ``starts[k]:starts[k + 1]`` are of group k.
        unit : float
            Factor of the sums.
        """
        self.chunks, self.starts, self.unit = chunks, starts, unit
        self.has_more = self._is_complete = False

    def add_more(self) -> Array:
        """Return an array of zeros, to which weights of further rows are added."""
        self.out[:] = 0.0
        self.has_more = True
        return self.out

    @property
    def more(self) -> Array:
        """Weights of further rows; an empty array if there are none."""
        return self.out if self.has_more else self.out[:0]

    def complete(self, table: Array, slices: list[tuple[int, int]], n_threads: int) -> Array:
        """Return the weights, (n_classes, n_high, n_low) or (1, n_high, n_low).

        Parameters
        ----------
        table : array (n_groups, n_high, n_low)
            Of the E-step that the chunks come from.
        slices : list of (start, stop)
        n_threads : int
        """
        if not self._is_complete:

            def fill_slice(piece: int, worker: int) -> None:
                expected_counts.fill_counts(
                    self.chunks, self.starts, table, self.unit, self.has_more, *slices[piece],
                    self.out,
                )  # fmt: skip

            run(fill_slice, len(slices), n_threads)
            self._is_complete = True
        return self.out
