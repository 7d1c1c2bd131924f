"""Rounds: tasks on the workers for all partitions, and their results in order."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from dask import delayed
from distributed import Client, Future

from fastem.dask import faults

Item = tuple[Any, ...]


class Rounds:
    """Runs functions on partitions.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current client.
    timeout : float, default=300.0
        Seconds without a finished task after which the workers are asked for an answer.

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
        TypeError, ValueError
            As in a task, with the number of the partition.
        PartitionError
            If a task raises another error, or the workers that run it die.
        TimeoutError
            If no task is finished for `timeout` seconds although all workers answer.
        """
        futures = self.submit(stage, function, items, *arguments)
        return self._collect(stage, futures, [[i] for i in range(len(items))])

    def run_bundles(
        self,
        stage: str,
        function: Callable,
        bundles: Sequence[Item],
        *arguments: Any,
        numbers: Sequence[Sequence[int]],
    ) -> list[Any]:
        """Return ``function(part, *arguments)`` of all parts, with one task per bundle of parts.

        Parameters and errors are those of `run`.

        Parameters
        ----------
        bundles : sequence of tuples of parts
            Delayed or Future.
        numbers : sequence of sequences of int
            Numbers of the parts in every bundle, from 0 on.

        Returns
        -------
        results : list
            In the order of the numbers.
        """
        futures = self._start(stage, _call_each, bundles, function, arguments)
        found = self._collect(stage, futures, numbers)
        by_number = {
            i: value
            for own, values in zip(numbers, found, strict=True)
            for i, value in zip(own, values, strict=True)
        }
        return [by_number[i] for i in sorted(by_number)]

    def submit(
        self, stage: str, function: Callable, items: Sequence[Item], *arguments: Any
    ) -> list[Future]:
        """Start the tasks of `run`; return their futures at once."""
        return self._start(stage, _call, items, function, arguments)

    def _start(
        self,
        stage: str,
        caller: Callable,
        items: Sequence[Item],
        function: Callable,
        arguments: tuple,
    ) -> list[Future]:
        if not items:
            return []
        token = uuid.uuid4().hex  # equal calls run again
        keys = [(f"{stage}-{token}", i) for i in range(len(items))]
        if all(isinstance(value, Future) for item in items for value in item):
            return self.client.map(
                caller, list(map(list, items)), key=keys, pure=False, function=function,
                arguments=arguments,
            )  # fmt: skip
        # one graph, in which the arguments occur once
        shared = delayed(arguments, pure=False, traverse=False)
        call = delayed(caller, pure=False, traverse=True)
        calls = [
            call(list(item), function=function, arguments=shared, dask_key_name=key)
            for item, key in zip(items, keys, strict=True)
        ]
        return self.client.compute(calls, optimize_graph=True)

    def _collect(
        self, stage: str, futures: Sequence[Future], numbers: Sequence[Sequence[int]]
    ) -> list[Any]:
        """Return the results of tasks in order; cancel them if one fails, or if nothing happens."""
        n_done = 0
        try:
            while True:
                results = self.client.sync(_gathered, self.client, list(futures), self._timeout)
                if results is not None:
                    return results
                before, n_done = n_done, sum(future.done() for future in futures)
                if n_done == before and not faults.remove_silent_workers(self.client):
                    done = [future.done() for future in futures]
                    raise faults.timed_out(stage, done, numbers, self.client, self._timeout)
        except BaseException as error:
            explained = faults.explained(error, stage, futures, numbers)
            if self.client.status == "running":
                self.client.cancel(list(futures), force=True)
            if explained is error:
                raise
            raise explained from error


async def _gathered(client: Client, futures: list[Future], timeout: float) -> list[Any] | None:
    """Return the results; None if they are not complete after ``timeout`` seconds."""
    gathering = asyncio.ensure_future(client.gather(futures, asynchronous=True))
    done, _ = await asyncio.wait([gathering], timeout=timeout)
    if done:
        return gathering.result()
    gathering.cancel()
    return None


def _call(item: Item, *, function: Callable, arguments: tuple) -> Any:
    return function(*item, *arguments)


def _call_each(parts: Item, *, function: Callable, arguments: tuple) -> list[Any]:
    results = []
    for position, part in enumerate(parts):
        try:
            results.append(function(part, *arguments))
        except Exception as error:
            error.position = position  # type: ignore[attr-defined]  # in the bundle
            raise
    return results
