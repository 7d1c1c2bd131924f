"""Rounds: tasks for all partitions on the workers, results in the order of the partitions."""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import dask
import distributed
from dask.delayed import Delayed
from distributed import Client, Future

from fastem._version import __version__
from fastem.dask import faults, silence

_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_TO_ANSWER = 10.0
_SECONDS_FOR_SCHEDULER = 30.0
_SECONDS_TO_IMPORT = 30.0


class Rounds:
    """Run one task per partition on a Dask cluster and return the results in order.

    Parameters
    ----------
    client : distributed.Client, optional
        A synchronous client. By default the current one.
    timeout : float, default=300.0
        Seconds without any finished partition after which the workers are checked. Workers that do
        not answer are removed from the cluster and their partitions go to other workers.

    Attributes
    ----------
    client : distributed.Client
    timeout : float

    Raises
    ------
    ValueError
        If there is no client, or `timeout` is not a positive number.
    TypeError
        If `client` is not a client, or is an asynchronous one.
    ImportError
        If a worker cannot import fastem, or has another version of it.
    ConnectionError
        If the client is not connected.

    Notes
    -----
    Results depend neither on the number of workers nor on the order in which tasks finish. Inputs
    and arguments are parts of the task graph and are never scattered: a lost worker costs the
    recomputation of its tasks and nothing else.
    """

    def __init__(self, client: Client | None = None, timeout: float = 300.0):
        if isinstance(timeout, bool) or not (isinstance(timeout, Real) and timeout > 0.0):
            raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}.")
        self.client = _checked_client(client)
        self.timeout = float(timeout)
        self._check_versions()

    @property
    def n_threads(self) -> int:
        """Number of threads of all workers at this moment."""
        return sum(worker.n_threads for worker in self._workers())

    def memory_of_task(self) -> float:
        """Return the memory that a task may take on every worker, in bytes.

        It is the limit of a worker without what its libraries take.
        """
        return min(
            (worker.limit - worker.base for worker in self._workers() if worker.limit),
            default=math.inf,
        )

    def spare_memory(self, share: float) -> float:
        """Return the memory that the processes of all workers may still take, in bytes.

        Parameters
        ----------
        share : float
            Share of its limit up to which a process may grow.
        """
        return sum(
            max(share * worker.limit - worker.used, 0.0) if worker.limit else math.inf
            for worker in self._workers()
        )

    def _workers(self) -> list[silence.Worker]:
        self._check_connection("The list of workers")
        try:
            return self.client.run_on_scheduler(
                silence.list_workers, callback_timeout=_SECONDS_FOR_SCHEDULER
            )
        except (OSError, TimeoutError) as error:
            raise faults.lost_scheduler("The list of workers", _address(self.client)) from error

    def submit(
        self,
        stage: str,
        function: Callable[..., Any],
        items: Sequence[tuple[Any, ...]],
        *arguments: Any,
    ) -> list[Future]:
        """Submit ``function(*item, *arguments)`` for each item and return at once.

        Parameters
        ----------
        stage : str
            Name of the tasks, for example in the dashboard.
        function : callable
            Function that workers can import.
        items : list of tuple
            One tuple of equal length per partition: Delayed, futures or plain values.
        *arguments
            Further arguments, the same for all partitions.

        Returns
        -------
        list of distributed.Future
            One future per item, in the same order. A second call submits new tasks.
        """
        self._check_connection(stage)
        token = uuid.uuid4().hex
        keys = [(f"{stage}-{token}", i) for i in range(len(items))]
        if any(_is_delayed(value) for item in items for value in item):
            task = dask.delayed(faults.call, pure=False, traverse=False)
            tasks = [
                task(__version__, function, *item, *arguments, dask_key_name=key)
                for key, item in zip(keys, items, strict=True)
            ]
            return self.client.compute(tasks)
        n = len(items)
        columns = [*zip(*items, strict=True), *([value] * n for value in arguments)]
        return self.client.map(
            faults.call, [__version__] * n, [function] * n, *columns, key=keys, pure=False
        )

    def collect(
        self,
        stage: str,
        futures: Sequence[Future],
        numbers: Sequence[Sequence[int]] | None = None,
    ) -> list[Any]:
        """Wait for the futures of a round and return their results in order.

        Parameters
        ----------
        stage : str
            Name of the tasks for error messages.
        futures : list of distributed.Future
            What `submit` has returned.
        numbers : sequence of sequences of int, optional
            Partitions of every future, counted from 0. By default every future has one.

        Returns
        -------
        list
            One result per future. If the method raises, all futures are cancelled.

        Raises
        ------
        FloatingPointError
            If a task raised it.
        TypeError, ValueError
            If a task raised it; with the number of the partition.
        PartitionError
            If a task raised any other error, or its workers died repeatedly.
        TimeoutError
            If no partition finished for `timeout` seconds, although the workers answer or because
            there are no workers.
        ConnectionError
            If the scheduler is lost.
        """
        futures = list(futures)
        numbers = [[i] for i in range(len(futures))] if numbers is None else numbers
        try:
            self._check_connection(stage)
            outcome = self.client.sync(self._outcome, stage, futures, numbers)
            if isinstance(outcome, BaseException):
                error = self._explained(stage, futures, numbers, outcome)
                raise error from (None if error is outcome else outcome)
            return outcome
        except BaseException:
            for future in futures:
                future.release()
            raise

    def run(
        self,
        stage: str,
        function: Callable[..., Any],
        items: Sequence[tuple[Any, ...]],
        *arguments: Any,
    ) -> list[Any]:
        """Submit a round, collect its results and release its futures.

        Parameters, results and errors are those of `submit` and `collect`.
        """
        futures = self.submit(stage, function, items, *arguments)
        results = self.collect(stage, futures)
        for future in futures:
            future.release()
        return results

    def run_bundles(
        self,
        stage: str,
        function: Callable[..., Any],
        bundles: Sequence[tuple[Any, ...]],
        numbers: Sequence[Sequence[int]],
        *arguments: Any,
    ) -> list[Any]:
        """Return ``function(part, *arguments)`` of all parts, with one task per bundle of parts.

        The cost of a round depends on the number of tasks, not on that of the parts.

        Parameters
        ----------
        stage, function, arguments
            As for `submit`.
        bundles : sequence of tuples
            Delayed or futures.
        numbers : sequence of sequences of int
            Numbers of the parts in every bundle. All parts together are numbered from 0 on.

        Returns
        -------
        list
            One result per part, in the order of the numbers.

        Raises
        ------
        FloatingPointError, PartitionError, TimeoutError, ConnectionError
            As `collect` does.
        """
        items = [(function, list(bundle), arguments) for bundle in bundles]
        futures = self.submit(stage, faults.call_each, items)
        found = self.collect(stage, futures, numbers)
        for future in futures:
            future.release()
        results: list[Any] = [None] * sum(map(len, numbers))
        for own, values in zip(numbers, found, strict=True):
            for i, value in zip(own, values, strict=True):
                results[i] = value
        return results

    def _check_connection(self, stage: str) -> None:
        if self.client.status != "running":
            raise faults.lost_scheduler(stage, _address(self.client))

    def _check_versions(self) -> None:
        """Raise ImportError if workers have no fastem, or another version of it.

        A worker that cannot import the function of a task loses its connection and stops. Without
        this check the cluster would lose its workers one by one.
        """
        self._check_connection("The check of versions")
        try:
            found = self.client.run(
                faults.version_reader(), on_error="return", callback_timeout=_SECONDS_TO_IMPORT
            )
        except (OSError, TimeoutError):
            return  # rounds remove workers that do not answer
        for worker, version in sorted(found.items()):
            if version != __version__ and not isinstance(version, OSError):
                raise faults.missing_version(worker, version)

    async def _outcome(
        self, stage: str, futures: list[Future], numbers: Sequence[Sequence[int]]
    ) -> list[Any] | BaseException:
        """Return the results or the error of a round. Runs in the event loop of the client."""
        gathering = asyncio.ensure_future(self.client.gather(futures, asynchronous=True))
        interval = min(self.timeout / 4.0, _SECONDS_BETWEEN_CHECKS)
        n_done, since = 0, time.monotonic()
        try:
            while not (await asyncio.wait([gathering], timeout=interval))[0]:
                if self.client.status != "running":
                    return faults.lost_scheduler(stage, _address(self.client))
                n = sum(future.status == "finished" for future in futures)
                if n != n_done:
                    n_done, since = n, time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    error = await self._check_workers(stage, futures, numbers)
                    if error is not None:
                        return error
                    since = time.monotonic()
            if gathering.cancelled():
                return asyncio.CancelledError()
            return gathering.exception() or gathering.result()
        finally:
            await _abandon(gathering, futures)

    async def _check_workers(
        self, stage: str, futures: list[Future], numbers: Sequence[Sequence[int]]
    ) -> BaseException | None:
        """Remove silent workers. Return an error if that cannot help."""
        keys = [future.key for future in futures]
        seconds = min(self.timeout, _SECONDS_TO_ANSWER)
        try:
            report = await asyncio.wait_for(
                self.client.run_on_scheduler(
                    silence.remove_silent_workers, keys, seconds, asynchronous=True
                ),
                _SECONDS_FOR_SCHEDULER,
            )
        except (OSError, TimeoutError):
            return faults.lost_scheduler(stage, _address(self.client))
        if report["removed"] and report["n_workers"]:
            return None
        waiting = {
            i: report["processing"].get(future.key)
            for future, own in zip(futures, numbers, strict=True)
            if future.status != "finished"
            for i in own
        }
        n_parts = sum(map(len, numbers))
        return faults.no_answer(stage, self.timeout, waiting, n_parts, report["n_workers"])

    def _explained(
        self,
        stage: str,
        futures: list[Future],
        numbers: Sequence[Sequence[int]],
        error: BaseException,
    ) -> BaseException:
        if self.client.status != "running":
            return faults.lost_scheduler(stage, _address(self.client))
        if isinstance(error, FloatingPointError):
            return error
        for future, own in zip(futures, numbers, strict=True):
            if future.status == "error":
                return faults.partition_error(stage, own, sum(map(len, numbers)), error)
        if isinstance(error, TimeoutError | ConnectionError):  # of `_check_workers`, not of a task
            return error
        return faults.cancelled(stage, error)


def _is_delayed(value: Any) -> bool:
    return isinstance(value, Delayed) or (isinstance(value, list) and any(map(_is_delayed, value)))


async def _abandon(gathering: asyncio.Future, futures: list[Future]) -> None:
    """End a gathering that is not finished: release its futures first, then cancel it."""
    if gathering.done():
        return
    for future in futures:
        future.release()
    await asyncio.wait([gathering], timeout=_SECONDS_BETWEEN_CHECKS)
    if gathering.done() and not gathering.cancelled():
        gathering.exception()  # asyncio logs exceptions that nobody retrieves
    gathering.cancel()


def _address(client: Client) -> str:
    scheduler = client.scheduler
    return "(address unknown)" if scheduler is None else scheduler.address


def _checked_client(client: Client | None) -> Client:
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError as error:
            raise ValueError(
                "There is no Dask client. Create one first: "
                "client = distributed.Client('address of the scheduler'), "
                "or distributed.Client() for workers on this machine."
            ) from error
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}.")
    if client.asynchronous:
        raise TypeError(
            "client must be synchronous: fit waits for the results of each round. "
            "Create the client without asynchronous=True."
        )
    return client
