"""Where prepared partitions are: an even share of the work for every thread of the cluster."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from distributed import Client, Future

# Partitions are moved if a thread would otherwise have so much more work than the average.
_LARGEST_EXCESS = 1.1
_SECONDS_BETWEEN_LOOKS = 5.0  # at the workers of the cluster


class Placement:
    """Kept partitions and the workers that hold them.

    Parameters
    ----------
    client : Client
    futures : sequence of Future
        Prepared partitions.
    sizes : sequence of float
        Work on every partition, such as its number of bytes.
    """

    def __init__(self, client: Client, futures: Sequence[Future], sizes: Sequence[float]) -> None:
        self._client, self.futures, self._sizes = client, list(futures), sizes
        self._workers: set[str] = set()
        self._bundles: list[list[int]] = []
        self._next_look = 0.0

    def bundles(self) -> list[list[int]]:
        """Return the numbers of the partitions that one task works on, for all tasks of a round.

        A task takes partitions of one worker, and there is a task for every thread. The bundles
        change only if the workers of the cluster do. They are asked for from time to time.
        """
        if time.monotonic() < self._next_look:
            return self._bundles
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        threads = _threads_of_workers(self._client)
        if set(threads) != self._workers:
            self._bundles = self._new_bundles(threads)
            self._workers = set(threads)
        return self._bundles

    def balance(self) -> None:
        """Move partitions from workers with too much work to those with too little."""
        threads = _threads_of_workers(self._client)
        held = self._held(threads)
        load = {a: sum(self._sizes[i] for i in held[a]) / threads[a] for a in threads}
        average = sum(self._sizes) / max(sum(threads.values()), 1)
        for i in sorted(range(len(self.futures)), key=lambda i: -self._sizes[i]):
            source = next((a for a in threads if i in held[a]), None)
            target = min(load, key=load.get, default=None)
            if source is None or load[source] <= _LARGEST_EXCESS * average:
                continue
            after = load[target] + self._sizes[i] / threads[target]
            if after < load[source]:
                self.futures[i] = self._client.submit(
                    _same, self.futures[i], workers=[target], allow_other_workers=True,
                    key=("fastem-move-" + self.futures[i].key[0], i), pure=False,
                )  # fmt: skip
                load[source] -= self._sizes[i] / threads[source]
                load[target] = after

    def release(self) -> None:
        """Release the partitions on the workers."""
        for future in self.futures:
            future.release()

    def _held(self, threads: dict[str, int]) -> dict[str, list[int]]:
        """Return the partitions of every worker; those that nobody holds are left out."""
        places = self._client.who_has(self.futures)
        held: dict[str, list[int]] = defaultdict(list)
        for i, future in enumerate(self.futures):
            found = [address for address in places.get(future.key, ()) if address in threads]
            if found:
                held[found[0]].append(i)
        return held

    def _new_bundles(self, threads: dict[str, int]) -> list[list[int]]:
        held = self._held(threads)
        placed = {i for numbers in held.values() for i in numbers}
        bundles = [[i] for i in range(len(self.futures)) if i not in placed]
        for address, numbers in held.items():
            lanes: list[list[int]] = [[] for _ in range(min(threads[address], len(numbers)))]
            for i in sorted(numbers, key=lambda i: -self._sizes[i]):
                min(lanes, key=lambda lane: sum(self._sizes[j] for j in lane)).append(i)
            bundles += [sorted(lane) for lane in lanes]
        return bundles


def _threads_of_workers(client: Client) -> dict[str, int]:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: worker["nthreads"] for address, worker in workers.items()}


def _same(part: Any) -> Any:
    return part
