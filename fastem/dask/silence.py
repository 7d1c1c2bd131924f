"""Functions that run on the scheduler: which workers a round waits for, and which answer."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

_SECONDS_TO_KILL = 60.0


class Worker(NamedTuple):
    """A worker of the cluster.

    Attributes
    ----------
    n_threads : int
    limit : int
        Memory limit in bytes; 0 if there is none.
    used : int
        Memory of the process in bytes.
    base : int
        Memory of the process without the results that it keeps, in bytes.
    """

    n_threads: int
    limit: int
    used: int
    base: int


def list_workers(dask_scheduler: Any = None) -> list[Worker]:
    """Return the workers of the cluster."""
    return [
        Worker(ws.nthreads, ws.memory_limit, ws.memory.process, ws.memory.unmanaged)
        for ws in dask_scheduler.workers.values()
    ]


async def remove_silent_workers(
    keys: Sequence[Any], seconds: float, dask_scheduler: Any = None
) -> dict[str, Any]:
    """Remove the workers that a round waits for and that do not answer in time.

    Their tasks go to other workers. If a worker has a nanny, the nanny kills the process and starts
    a new worker.

    Parameters
    ----------
    keys
        Keys of the tasks of the round.
    seconds
        Time that workers have to answer.

    Returns
    -------
    dict
        "removed": addresses of the removed workers. "n_workers": number of remaining workers.
        "processing": worker that processes each unfinished task.
    """
    tasks = [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    holders = _holders(tasks)
    answers = await asyncio.gather(*(_answers(dask_scheduler, a, seconds) for a in holders))
    silent = [
        address
        for address, answer in zip(holders, answers, strict=True)
        if not answer and address in dask_scheduler.workers
    ]
    for address in silent:
        nanny = dask_scheduler.workers[address].nanny
        if nanny:
            dask_scheduler.loop.add_callback(_kill, dask_scheduler, nanny)
        await dask_scheduler.remove_worker(address, stimulus_id=f"fastem-silent-{address}")
    return {
        "removed": silent,
        "n_workers": len(dask_scheduler.workers),
        "processing": {ts.key: _processing(ts) for ts in tasks},
    }


def _holders(tasks: Sequence[Any]) -> list[str]:
    """Return the workers that process the tasks or inputs of theirs, or hold their data."""
    found: set[str]
    found, seen, stack = set(), set(), list(tasks)
    while stack:
        ts = stack.pop()
        if ts.key in seen:
            continue
        seen.add(ts.key)
        found.update(ws.address for ws in ts.who_has or ())
        if ts.processing_on is not None:
            found.add(ts.processing_on.address)
        stack.extend(ts.dependencies)
    return sorted(found)


def _processing(ts: Any) -> str | None:
    """Return the worker that processes a task or, if none does, one of its inputs."""
    stack, seen = [ts], set()
    while stack:
        ts = stack.pop()
        if ts.processing_on is not None:
            return ts.processing_on.address
        if ts.key not in seen and ts.state != "memory":
            seen.add(ts.key)
            stack.extend(ts.dependencies)
    return None


async def _answers(scheduler: Any, address: str, seconds: float) -> bool:
    try:
        await asyncio.wait_for(scheduler.rpc(address).identity(), seconds)
    except (OSError, TimeoutError):
        return False
    return True


async def _kill(scheduler: Any, nanny: str) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(scheduler.rpc(nanny).kill(reason="fastem-silent"), _SECONDS_TO_KILL)
