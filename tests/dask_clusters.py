"""Real Dask clusters of worker processes, for tests."""

import contextlib
import os
import signal
import threading
import time

import dask
from distributed import Client, LocalCluster


@contextlib.contextmanager
def cluster_of(n_workers, **options):
    """Yield a client of a new cluster of processes with one thread each."""
    settings = {
        "distributed.comm.timeouts.connect": "10s",
        "distributed.worker.memory.pause": False,
        **options.pop("config", {}),
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", **options
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(n_workers, timeout=60)
        yield client


def process_ids(client):
    """Return the process ids of the workers, by address."""
    return client.run(os.getpid)


class Saboteur:
    """Sends a signal to worker processes when the fit reaches a given round.

    Parameters
    ----------
    client : Client
    at : int
        Number of the E-step, from 1 on.
    n_workers : int, default=1
        Number of workers that get the signal.
    sent : signal, default=SIGKILL
    delay : float, default=0.0
        Seconds after the beginning of the round.
    """

    def __init__(self, client, at, n_workers=1, sent=signal.SIGKILL, delay=0.0):
        self._client, self._at, self._n_workers = client, at, n_workers
        self._signal, self._delay = sent, delay
        self.n_rounds, self.victims = 0, []

    def round_begins(self):
        """Count a round; send the signal if it is the one."""
        self.n_rounds += 1
        if self.n_rounds == self._at:
            self.victims = list(process_ids(self._client).values())[: self._n_workers]
            threading.Thread(target=self._strike).start()

    def _strike(self):
        time.sleep(self._delay)
        for process in self.victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, self._signal)
