"""What can go wrong in a round of tasks, and the error that explains it."""

from collections.abc import Callable, Sequence
from typing import Any

from distributed import KilledWorker

from fastem._version import __version__
from fastem.runtime import format_bytes

_NEEDS_FASTEM = f"The scheduler and all workers need fastem {__version__} with its extra [dask]."


class PartitionError(RuntimeError):
    """The task of one partition failed on a worker.

    The message names the step, the partition ("partition 3 of 8", counted from 1) and the original
    error, which is also the ``__cause__`` of this one.
    """


class VersionError(ImportError):
    """A worker has another version of fastem than the client."""


def call(version: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``: what a worker runs, if its fastem has this version."""
    if version != __version__:
        raise VersionError(f"The client has fastem {version}, the worker has fastem {__version__}.")
    return function(*arguments)


def call_each(
    function: Callable[..., Any], parts: Sequence[Any], arguments: tuple[Any, ...]
) -> list[Any]:
    """Return ``function(part, *arguments)`` of every part of a bundle."""
    results = []
    for position, part in enumerate(parts):
        try:
            results.append(function(part, *arguments))
        except Exception as error:
            error.position = position  # of the part in its bundle
            raise
    return results


def version_reader() -> Callable[[], str]:
    """Return a function that imports fastem and returns its version.

    It is nested so that it is pickled by value and also runs on a worker without fastem.
    """

    def read_version() -> str:
        import fastem.dask

        return fastem.__version__

    return read_version


def missing_version(worker: str, found: str | BaseException) -> ImportError:
    """Return the error if a worker has no fastem, or another version of it."""
    if isinstance(found, BaseException):
        found = f"cannot import fastem.dask ({type(found).__name__}: {found})"
    else:
        found = f"has fastem {found}"
    return ImportError(f"The worker {worker} {found}. {_NEEDS_FASTEM}")


def partition_error(
    stage: str, numbers: Sequence[int], n_partitions: int, error: BaseException
) -> Exception:
    """Return the error to raise instead of the one that a task has raised.

    Parameters
    ----------
    stage : str
    numbers : sequence of int
        The partitions of the task, counted from 0.
    n_partitions : int
    error : exception
    """
    if hasattr(error, "position"):
        numbers = [numbers[error.position]]
    listed = ", ".join(str(i + 1) for i in numbers)
    where = f"partition {listed}" if len(numbers) == 1 else f"one of the partitions {listed}"
    where = f"{stage} failed for {where} of {n_partitions}"
    if isinstance(error, KilledWorker):
        return PartitionError(f"{where}: {_of_killed_worker(error)}")
    if type(error) in (TypeError, ValueError):
        return type(error)(f"{where}: {error}")
    what = f"{type(error).__name__}: {error}"
    return PartitionError(f"{where}: {what.rstrip('.')}. {_remedy(error)}")


def _of_killed_worker(error: KilledWorker) -> str:
    limit = getattr(error.last_worker, "memory_limit", 0)
    limited = f"The memory limit of the last worker is {format_bytes(limit)}. " if limit else ""
    return (
        f"{error.allowed_failures + 1} workers died one after another while they processed it. "
        f"The usual reason is too little memory. {limited}"
        "Use smaller partitions (X.rechunk, or repartition for dataframes) "
        "or workers with more memory. The log of the workers shows the reason."
    )


def _remedy(error: BaseException) -> str:
    # A scheduler that cannot unpickle the tasks reports a RuntimeError with the reason as cause.
    for reason in (error, error.__cause__):
        if isinstance(reason, ImportError | AttributeError) and _missing_fastem(reason):
            return _NEEDS_FASTEM
        if isinstance(reason, ImportError):
            return "The scheduler and all workers need the same packages as the client."
    if isinstance(error, MemoryError):
        return (
            "Use smaller partitions (X.rechunk, or repartition for dataframes) "
            "or workers with more memory."
        )
    return "Correct the data or the task graph of this partition, then fit again."


def _missing_fastem(error: BaseException) -> bool:
    return isinstance(error, VersionError) or "fastem" in str(error)


def no_answer(
    stage: str, seconds: float, waiting: dict[int, str | None], n_partitions: int, n_workers: int
) -> TimeoutError:
    """Return the error if no partition finished for a long time.

    Parameters
    ----------
    waiting
        Number of each unfinished partition, from 0, and the address of the worker that processes
        it (None: no worker does).
    n_workers
        Number of workers of the cluster.
    """
    shown = ", ".join(str(partition + 1) for partition in list(waiting)[:10])
    shown += ", ..." if len(waiting) > 10 else ""
    where = f"{stage}: no partition finished for {seconds:g} seconds. Unfinished: {shown}"
    where += f" of {n_partitions}."
    if not n_workers:
        return TimeoutError(
            f"{where} The cluster has no workers. Start workers, then fit again. If workers "
            "stopped during the fit, their log shows why, for example a module that they lack."
        )
    workers = sorted({address for address in waiting.values() if address is not None})
    if not workers:
        busy = f"All {n_workers} workers of the cluster are busy with other tasks."
    else:
        busy = f"The workers {', '.join(workers)} still process them."
    return TimeoutError(
        f"{where} {busy} Use smaller partitions. Increase timeout if a partition needs more time."
    )


def lost_scheduler(stage: str, address: str) -> ConnectionError:
    """Return the error if the client has lost its scheduler."""
    return ConnectionError(
        f"{stage}: the client has lost the connection to the Dask scheduler {address}. "
        "Check that the scheduler runs, connect a new client, then fit again."
    )


def cancelled(stage: str, error: BaseException) -> RuntimeError:
    """Return the error if the tasks of a round were cancelled elsewhere."""
    return RuntimeError(
        f"{stage}: the tasks were cancelled, or their inputs were released ({error}). "
        "Do not cancel tasks or restart the cluster during a fit."
    )
