"""Clients of Dask clusters, for the time of a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SECONDS = 10.0


@contextmanager
def client_of(address: str | None, n_workers: int | None) -> Iterator[Any]:
    """Connect to a scheduler, or start a cluster on this machine that ends with the body.

    Parameters
    ----------
    address : str or None
        Address of a scheduler.
    n_workers : int or None
        Number of processes with one thread each, if there is no address.

    Yields
    ------
    client : distributed.Client

    Raises
    ------
    ImportError
        If dask is not installed.
    ValueError
        If no scheduler answers within 10 seconds, or it has no workers.
    """
    import fastem.dask  # noqa: F401  the error names the remedy

    if address is None:
        with _local_cluster(n_workers) as cluster, _connected(cluster) as client:
            yield client
        return
    with _connected(address) as client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ValueError(f"argument --dask: the scheduler at {address} has no workers")
        yield client


def _local_cluster(n_workers: int) -> Any:
    import logging

    from distributed import LocalCluster

    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        preload=["fastem.cli.cluster.worker_start"],
    )


@contextmanager
def _connected(target: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(target, timeout=_SECONDS)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"argument --dask: no scheduler answers at {target} within {_SECONDS:.0f} s: "
            f"{error or type(error).__name__}"
        ) from error
    with client:
        yield client
