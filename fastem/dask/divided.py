"""Rows in the partitions of Dask collections, as a fit to rows in parts needs them."""

from collections.abc import Sequence
from typing import Any

from dask import delayed

from fastem.dask.collections import Partitioned
from fastem.dask.rounds import Rounds
from fastem.estimators import Function, memory_error

# Share of the workers' memory that prepared partitions may take. Dask moves results to disk from
# 60 % on.
_LARGEST_SHARE = 0.5


class DaskRows:
    """Partitions of Dask collections: see `fastem.estimators.DividedRows`.

    Parameters
    ----------
    rounds : Rounds
    data : Partitioned

    Raises
    ------
    ValueError
        If the features of a partition alone exceed the memory of a worker.
    """

    def __init__(self, rounds: Rounds, data: Partitioned) -> None:
        self._rounds, self._parts = rounds, data.parts
        self.n_threads, self.memory = rounds.n_threads, rounds.worker_memory
        for number, n_bytes in enumerate(data.n_bytes, start=1):
            if n_bytes is not None and n_bytes > self.memory:
                raise memory_error(number, len(self._parts), "part of X", n_bytes, self.memory)

    def map(self, stage: str, function: Function, *arguments: Any) -> list:
        """Return ``function(X, y, sample_weight, *arguments)`` of every partition, in order."""
        return self._rounds.run(stage, function, self._parts, *arguments)

    def prepare(
        self, stage: str, function: Function, *arguments: Any, n_bytes: Sequence[int]
    ) -> "PreparedPartitions":
        """Keep the results of a function on the workers, as far as their memory permits.

        The first partitions are kept. Those that do not fit are computed again in every round.
        """
        room = _LARGEST_SHARE * self.memory * self._rounds.n_workers
        n_kept = 0
        while n_kept < len(self._parts) and n_bytes[n_kept] <= room:
            room -= n_bytes[n_kept]
            n_kept += 1
        kept = self._rounds.submit(stage, function, self._parts[:n_kept], *arguments)
        again = delayed(function, name=stage, pure=False)
        others = [again(*part, *arguments) for part in self._parts[n_kept:]]
        return PreparedPartitions(self._rounds, [*kept, *others])


class PreparedPartitions:
    """Prepared partitions: see `fastem.estimators.PreparedParts`.

    Parameters
    ----------
    rounds : Rounds
    parts : list of Future or Delayed
    """

    def __init__(self, rounds: Rounds, parts: list) -> None:
        self._rounds, self._items = rounds, [(part,) for part in parts]

    def map(self, stage: str, function: Function, *arguments: Any) -> list:
        """Return ``function(part, *arguments)`` of every partition, in order."""
        return self._rounds.run(stage, function, self._items, *arguments)
