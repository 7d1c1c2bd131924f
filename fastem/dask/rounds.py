"""Rounds: one task per partition on the workers, and the results in the order of the partitions."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from dask import delayed
from distributed import Client, Future, wait

from fastem.dask import faults

Item = tuple[Any, ...]


class Rounds:
    """Runs functions on partitions.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current client.
    timeout : float, default=300.0
        Seconds without a finished partition after which the workers are asked for an answer.

    Attributes
    ----------
    client : distributed.Client
    n_workers, n_threads : int
        Number of workers, and of their threads, at the creation.
    worker_memory : float
        The smallest memory limit of a worker, in bytes; infinity if there is none.

    Raises
    ------
    ValueError
        If there is no client, it is asynchronous, or the cluster has no workers.
    """

    def __init__(self, client: Client | None = None, timeout: float = 300.0) -> None:
        self.client, self._timeout = faults.usable(client), timeout
        workers = faults.workers_of(self.client, timeout)
        self.n_workers = len(workers)
        self.n_threads = sum(worker["nthreads"] for worker in workers.values())
        limits = [worker["memory_limit"] or float("inf") for worker in workers.values()]
        self.worker_memory = min(limits)

    def run(
        self, stage: str, function: Callable, items: Sequence[Item], *arguments: Any
    ) -> list[Any]:
        """Return ``function(*item, *arguments)`` of every item, computed on the workers.

        Parameters
        ----------
        stage : str
            Name of the tasks in the dashboard and in messages.
        function : callable
            At the top level of a module.
        items : sequence of tuples
            One per partition, of Delayed, Future or plain values.
        *arguments
            The same for all partitions; small.

        Raises
        ------
        FloatingPointError
            As in a task.
        PartitionError
            If a task raises another error, or the workers that run it die.
        TimeoutError
            If no partition is finished for `timeout` seconds although all workers answer.
        """
        return self.collect(stage, self.submit(stage, function, items, *arguments))

    def submit(
        self, stage: str, function: Callable, items: Sequence[Item], *arguments: Any
    ) -> list[Future]:
        """Start the tasks of `run`; return their futures at once."""
        token = uuid.uuid4().hex  # equal calls run again
        keys = [(f"{stage}-{token}", i) for i in range(len(items))]
        are_tasks = [any(hasattr(value, "dask") for value in item) for item in items]
        if not items:
            return []
        if not any(are_tasks):
            columns = [list(column) for column in zip(*items, strict=True)]
            return self.client.map(
                _call, *columns, key=keys, pure=False, function=function, arguments=arguments
            )
        # one graph, in which the arguments occur once
        shared = delayed(arguments, pure=False, traverse=False)
        call = delayed(_call, pure=False, traverse=False)
        calls = [
            call(*item, function=function, arguments=shared, dask_key_name=key)
            for item, key in zip(items, keys, strict=True)
        ]
        return self.client.compute(calls, optimize_graph=True)

    def collect(self, stage: str, futures: list[Future]) -> list[Any]:
        """Return the results of all tasks, in their order; cancel the tasks if one fails."""
        try:
            self._wait(stage, futures)
            return self.client.gather(futures)
        except BaseException as error:
            self._cancel(futures)
            explained = faults.explained(error, stage, futures)
            if explained is error:
                raise
            raise explained from error

    def _wait(self, stage: str, futures: list[Future]) -> None:
        n_done = -1
        while True:
            try:
                wait(futures, timeout=self._timeout)
            except TimeoutError:
                found = sum(future.done() for future in futures)
                if found == n_done and not faults.remove_silent_workers(self.client):
                    raise faults.timed_out(stage, futures, self.client, self._timeout) from None
                n_done = found
                continue
            return

    def _cancel(self, futures: list[Future]) -> None:
        if self.client.status == "running":
            self.client.cancel(futures, force=True)


def _call(*item: Any, function: Callable, arguments: tuple) -> Any:
    return function(*item, *arguments)
