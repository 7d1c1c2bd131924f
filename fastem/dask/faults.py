"""What can go wrong on a cluster: workers that die or do not answer, tasks that fail."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from distributed import Client, Future, KilledWorker, default_client
from distributed.client import FutureCancelledError

from fastem._version import __version__

_SECONDS_TO_ANSWER = 10.0


class PartitionError(RuntimeError):
    """A partition could not be processed on the cluster."""


def usable(client: Client | None) -> Client:
    """Return the client, or the current one.

    Raises
    ------
    ValueError
        If there is none, or it is asynchronous or closed.
    """
    if client is None:
        try:
            client = default_client()
        except ValueError as error:
            raise ValueError(
                "There is no Dask client. Create one by distributed.Client(...), or pass client=."
            ) from error
    if not isinstance(client, Client):
        raise ValueError(f"client must be a distributed.Client, got {type(client).__name__}.")
    if client.asynchronous:
        raise ValueError("client must not be asynchronous: fit waits for every round.")
    if client.status != "running":
        raise ValueError(f"client is {client.status}, not connected to a scheduler.")
    return client


def workers_of(client: Client, timeout: float) -> dict[str, Any]:
    """Return the workers of the cluster by address, after the first of them has come.

    Raises
    ------
    ValueError
        If there are none after ``timeout`` seconds, at most 30.
    """
    seconds = min(timeout, 30.0)
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise ValueError(
            f"The cluster at {client.scheduler.address} has no workers, and none has come within "
            f"{seconds:g} s."
        ) from error
    return client.scheduler_info(n_workers=-1)["workers"]


def remove_silent_workers(client: Client) -> bool:
    """Ask all workers for an answer; remove those that give none within ten seconds.

    The scheduler then lets other workers do their work again.

    Returns
    -------
    removed : bool
        Whether a worker was removed and another one is left.
    """
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    answers = client.sync(_answers, client, workers)
    silent = [address for address, answer in zip(workers, answers, strict=True) if not answer]
    if not silent:
        return False
    client.run_on_scheduler(_remove_workers, silent)
    return len(silent) < len(workers)


async def _answers(client: Client, addresses: Sequence[str]) -> list[bool]:
    async def answers(address: str) -> bool:
        try:
            asked = client.run(_answer, workers=[address])
            return await asyncio.wait_for(asked, _SECONDS_TO_ANSWER)
        except Exception:  # of the connection
            return False

    return await asyncio.gather(*map(answers, addresses))


def _answer() -> bool:
    return True


async def _remove_workers(addresses: Sequence[str], dask_scheduler: Any = None) -> None:
    for address in addresses:
        await dask_scheduler.remove_worker(address, stimulus_id=f"fastem-silent-{time.time()}")


def timed_out(
    stage: str,
    done: Sequence[bool],
    numbers: Sequence[Sequence[int]],
    client: Client,
    timeout: float,
) -> TimeoutError:
    """Return the error for a round in which nothing happens.

    Parameters
    ----------
    stage : str
    done : sequence of bool
        Whether a task is done.
    numbers : sequence of sequences of int
        Partitions of every task, counted from 0.
    client : Client
    timeout : float, seconds
    """
    unfinished = [i for own, is_done in zip(numbers, done, strict=True) if not is_done for i in own]
    shown = ", ".join(str(i + 1) for i in unfinished[:10])
    shown += ", ..." if len(unfinished) > 10 else ""
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    where = f"Workers: {', '.join(workers)}." if workers else "The cluster has no workers."
    return TimeoutError(
        f"{stage}: no task was finished for {timeout:g} s. Unfinished partitions of "
        f"{sum(map(len, numbers))}: {shown}. {where} If the work takes longer, use a larger "
        "timeout or smaller partitions."
    )


def explained(
    error: BaseException,
    stage: str,
    futures: Sequence[Future],
    numbers: Sequence[Sequence[int]],
) -> BaseException:
    """Return an error with the number of the partition and a remedy, if it lacks them.

    Parameters
    ----------
    error : exception
    stage : str
    futures : sequence of Future
    numbers : sequence of sequences of int
        Partitions of every future, counted from 0.
    """
    if isinstance(error, FutureCancelledError):
        return PartitionError(
            f"{stage}: the tasks were cancelled ({error.reason}). The connection to the scheduler "
            "was lost, or another process has cancelled them."
        )
    failed = [i for i, future in enumerate(futures) if future.status == "error"]
    if not failed or isinstance(error, (FloatingPointError, KeyboardInterrupt)):
        return error
    own, position = numbers[failed[0]], getattr(error, "position", None)
    own = own if position is None else [own[position]]
    where = f"partition {own[0] + 1}" if len(own) == 1 else (
        "one of the partitions " + ", ".join(str(i + 1) for i in own)
    )  # fmt: skip
    where = f"{stage}: {where} of {sum(map(len, numbers))}"
    if isinstance(error, KilledWorker):
        return PartitionError(
            f"{where}: {error.allowed_failures + 1} workers died while they worked on it. The "
            "usual reason is memory: use smaller partitions, or workers with more memory."
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "fastem":
        return PartitionError(f"{where}: install fastem {__version__} on all workers.")
    kind = type(error) if type(error) in (TypeError, ValueError) else PartitionError
    return kind(f"{where} failed with {type(error).__name__}: {error}")
