"""Discrete-event simulation of a round of EM on a Dask cluster; see `simulate_cluster.py`."""

import heapq
import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

MOST_WORKERS = 10_000
_HEADER_BYTES = 1000  # of a message, beside its numbers


class Costs(NamedTuple):
    """Times of the parts of a round (s), and sizes of its messages (bytes).

    Attributes
    ----------
    per_row, per_partition : float
        E-step on one thread: per row, and per partition beside its rows.
    per_round : float
        Driver: cost of a round that does not depend on the number of tasks, with the M-step.
    driver_per_task, worker_per_task : float
        Half of the cost on the driver is for the dispatch of a task, half for its end.
    per_sum : float
        To read the sums of one partition and add them to others.
    parameter_bytes, sum_bytes : float
    latency : float
        Of a message.
    bandwidth : float, bytes per second
        Of the driver's link, in each direction, and of a worker's.
    """

    per_row: float
    per_partition: float = 0.0
    per_round: float = 0.0
    driver_per_task: float = 0.0
    worker_per_task: float = 0.0
    per_sum: float = 0.0
    parameter_bytes: float = 0.0
    sum_bytes: float = 0.0
    latency: float = 0.0
    bandwidth: float = math.inf


class Round(NamedTuple):
    """Result of a simulated round.

    Attributes
    ----------
    seconds : float
    computing : float
        Share of the time in which an average thread runs E-steps.
    efficiency : float
        Time of the E-steps on all rows at the speed of one thread, divided by the number of threads
        and by the time of the round.
    driver : float
        Share of the time in which the driver is busy.
    n_tasks : int
    """

    seconds: float
    computing: float
    efficiency: float
    driver: float
    n_tasks: int


class Events:
    """The queue of events in the order of their times."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._n = 0

    def at(self, time: float, action: Callable[[float], None]) -> None:
        """Call ``action(time)`` at a time."""
        heapq.heappush(self._heap, (time, self._n, action))
        self._n += 1

    def run(self) -> None:
        """Call all actions."""
        while self._heap:
            time, _, action = heapq.heappop(self._heap)
            action(time)


class Server:
    """Does one thing at a time, in the order in which they arrive."""

    def __init__(self, events: Events) -> None:
        self._events, self._free, self.busy = events, 0.0, 0.0

    def work(self, now: float, seconds: float, then: Callable[[float], None]) -> None:
        """Begin work when the server is free; call ``then`` at its end."""
        self._free = max(self._free, now) + seconds
        self.busy += seconds
        self._events.at(self._free, then)


class Simulation:
    """One round.

    Parameters
    ----------
    costs : Costs
    n_rows : float
    n_threads : int
        Of all workers.
    n_partitions : int
    fan_in : int or None
        None if the driver adds up the sums of all partitions.
    """

    def __init__(
        self, costs: Costs, n_rows: float, n_threads: int, n_partitions: int, fan_in: int | None
    ) -> None:
        self._costs, self._n_rows, self._n_partitions = costs, n_rows, n_partitions
        self._n_threads, self._fan_in = n_threads, fan_in
        self._events = Events()
        self._driver, self._outward, self._inward = (Server(self._events) for _ in range(3))
        bounds = [i * n_partitions // n_threads for i in range(n_threads + 1)]
        self._sizes = [b - a for a, b in pairwise(bounds) if b > a]
        self._lanes = [Server(self._events) for _ in self._sizes]
        self._n_tasks, self._n_left, self._end = 0, 0, 0.0

    def run(self) -> Round:
        """Return the times of the round."""
        costs = self._costs
        self._driver.work(0.0, 0.5 * costs.per_round, lambda now: self._dispatch_all(now))
        self._events.run()
        ideal = self._n_rows * costs.per_row / self._n_threads
        work = ideal + self._n_partitions * costs.per_partition / self._n_threads
        return Round(
            self._end, work / self._end, ideal / self._end, self._driver.busy / self._end,
            self._n_tasks,
        )  # fmt: skip

    def _dispatch_all(self, now: float) -> None:
        self._n_left = len(self._sizes)
        if self._fan_in is not None:
            self._make_groups()
        for number, size in enumerate(self._sizes):
            self._dispatch(now, number, self._e_step_seconds(size), self._costs.parameter_bytes)

    def _dispatch(self, now: float, lane: int, seconds: float, n_bytes: float) -> None:
        """Send a task to a thread; `_finished` is called when the driver has noted its end."""
        costs = self._costs
        self._n_tasks += 1
        transfer = (n_bytes + _HEADER_BYTES) / costs.bandwidth
        half = 0.5 * costs.driver_per_task

        def sent(now: float) -> None:
            self._outward.work(now, transfer, lambda t: self._events.at(t + costs.latency, begin))

        def begin(now: float) -> None:
            self._lanes[lane].work(now, costs.worker_per_task + seconds, end)

        def end(now: float) -> None:
            self._events.at(now + costs.latency, arrived)

        def arrived(now: float) -> None:
            self._driver.work(now, half, self._finished)

        self._driver.work(now, half, sent)

    def _e_step_seconds(self, size: int) -> float:
        costs = self._costs
        n_rows = self._n_rows * size / self._n_partitions
        seconds = n_rows * costs.per_row + size * costs.per_partition
        if self._fan_in is not None and self._has_inner_groups():
            seconds += size * costs.per_sum
        return seconds

    def _has_inner_groups(self) -> bool:
        """Return whether every thread has at least one whole group of partitions."""
        return min(self._sizes) >= self._fan_in

    def _make_groups(self) -> None:
        """Count the sums of every level of the tree; the last level goes to the driver."""
        n_sums, fan_in = self._n_partitions, self._fan_in
        if self._has_inner_groups():
            n_sums = math.ceil(n_sums / fan_in)
        self._levels = []
        while n_sums > fan_in:
            groups = math.ceil(n_sums / fan_in)
            self._levels.append((groups, n_sums / groups))
            n_sums = groups
        self._n_sums = n_sums

    def _finished(self, now: float) -> None:
        self._n_left -= 1
        if self._n_left > 0:
            return
        if self._fan_in is not None and self._levels:
            self._sum_groups(now, *self._levels.pop(0))
            return
        self._gather(now, self._n_partitions if self._fan_in is None else self._n_sums)

    def _sum_groups(self, now: float, n_groups: int, size: float) -> None:
        """Start the tasks of a level of the tree: they fetch sums from other workers."""
        costs = self._costs
        self._n_left = n_groups
        fetched = (size - 1.0) * (costs.sum_bytes + _HEADER_BYTES) / costs.bandwidth
        seconds = 2.0 * costs.latency + fetched + size * costs.per_sum
        for group in range(n_groups):
            self._dispatch(now, group * len(self._lanes) // n_groups, seconds, 0.0)

    def _gather(self, now: float, n_sums: int) -> None:
        """Fetch sums to the driver, and add them up."""
        costs = self._costs
        n_messages = min(n_sums, len(self._sizes))
        shares = [n_sums * (i + 1) // n_messages - n_sums * i // n_messages
                  for i in range(n_messages)]  # fmt: skip
        self._n_left = n_messages

        def added(now: float) -> None:
            self._n_left -= 1
            if self._n_left == 0:
                self._driver.work(now, 0.5 * costs.per_round, self._ended)

        for share in shares:
            transfer = (share * costs.sum_bytes + _HEADER_BYTES) / costs.bandwidth
            self._inward.work(
                now + 2.0 * costs.latency, transfer,
                lambda t, share=share: self._driver.work(t, share * costs.per_sum, added),
            )  # fmt: skip

    def _ended(self, now: float) -> None:
        self._end = now


def simulate(
    costs: Costs,
    n_rows: float,
    n_threads: int,
    partition_rows: float = math.inf,
    fan_in: int | None = None,
    n_partitions: int | None = None,
) -> Round:
    """Simulate one round.

    Parameters
    ----------
    costs : Costs
    n_rows : float
    n_threads : int
        Of all workers.
    partition_rows : float
        Most rows of a partition. Every thread has the same number of partitions.
    fan_in : int or None
        Sums that a task of tree summation adds up.
    n_partitions : int, optional
        Instead of ``partition_rows``.
    """
    if n_partitions is None:
        n_partitions = n_threads * max(1, math.ceil(n_rows / partition_rows / n_threads))
    return Simulation(costs, n_rows, n_threads, n_partitions, fan_in).run()


def limit(of_workers: Callable[[int], Round], share: float = 0.5) -> int | None:
    """Return the number of workers from which the efficiency is below a share; None if beyond."""
    low, high = 0, 1
    while of_workers(high).efficiency >= share:
        low, high = high, 2 * high
        if high > MOST_WORKERS:
            return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if of_workers(middle).efficiency >= share else (low, middle)
    return high
