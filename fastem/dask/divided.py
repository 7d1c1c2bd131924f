"""Rows in the partitions of Dask collections, as a fit to rows in parts needs them."""

from collections.abc import Sequence
from typing import Any

from dask import delayed
from dask.delayed import Delayed

from fastem.dask.collections import Partitioned
from fastem.dask.placement import Placement
from fastem.dask.rounds import Rounds
from fastem.estimators import Function, memory_error

# Share of its memory limit up to which a worker keeps prepared partitions. Above it, Dask moves
# results to disk.
_LARGEST_SHARE = 0.6


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
        self._kept: list[Placement] = []
        memory = self.memory
        for number, n_bytes in enumerate(data.n_bytes, start=1):
            if n_bytes is not None and n_bytes > memory:
                raise memory_error(number, len(self._parts), "part of X", n_bytes, memory)

    @property
    def n_threads(self) -> int:
        """Number of threads of the cluster at this moment, at least one."""
        return max(self._rounds.n_threads, 1)

    @property
    def memory(self) -> float:
        """Bytes that the work on one partition may use at this moment."""
        return self._rounds.memory_of_task()

    def map(self, stage: str, function: Function, *arguments: Any) -> list[Any]:
        """Return ``function(X, y, sample_weight, *arguments)`` of every partition, in order."""
        return self._rounds.run(stage, function, self._parts, *arguments)

    def prepare(
        self, stage: str, function: Function, *arguments: Any, n_bytes: Sequence[int]
    ) -> "PreparedPartitions":
        """Keep the results of a function on the workers, as far as their memory permits.

        The first partitions are kept. Those that do not fit are computed again in every round.
        """
        room = self._rounds.spare_memory(_LARGEST_SHARE)
        n_kept = 0
        while n_kept < len(self._parts) and n_bytes[n_kept] <= room:
            room -= n_bytes[n_kept]
            n_kept += 1
        kept = self._rounds.submit(stage, function, self._parts[:n_kept], *arguments)
        placement = Placement(self._rounds.client, kept, n_bytes[:n_kept])
        self._kept.append(placement)
        self._wait(f"{stage}-done", placement)
        placement.balance()
        self._wait("fastem-move-done", placement)
        again = delayed(function, name=stage, pure=False)
        others = [again(*part, *arguments) for part in self._parts[n_kept:]]
        return PreparedPartitions(self._rounds, placement, others)

    def _wait(self, stage: str, placement: Placement) -> None:
        """Wait until all partitions are where they are to be."""
        self._rounds.run(stage, _nothing, [(future,) for future in placement.futures])

    def release(self) -> None:
        """Release the partitions that the workers keep."""
        for placement in self._kept:
            placement.release()


class PreparedPartitions:
    """Prepared partitions: see `fastem.estimators.PreparedParts`.

    Parameters
    ----------
    rounds : Rounds
    kept : Placement
        Partitions on the workers.
    others : list of Delayed
        The partitions that follow, which are prepared in every round.
    """

    def __init__(self, rounds: Rounds, kept: Placement, others: list[Delayed]) -> None:
        self._rounds, self._kept, self._others = rounds, kept, others

    def map(self, stage: str, function: Function, *arguments: Any) -> list[Any]:
        """Return ``function(part, *arguments)`` of every partition, in order."""
        bundles = self._kept.bundles()
        items = [tuple(self._kept.futures[i] for i in bundle) for bundle in bundles]
        n_kept = len(self._kept.futures)
        numbers = [*bundles, *([n_kept + i] for i in range(len(self._others)))]
        items += [(other,) for other in self._others]
        return self._rounds.run_bundles(stage, function, items, numbers, *arguments)


def _nothing(part: Any) -> None:
    """Return nothing, when the part is there."""
