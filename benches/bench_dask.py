"""Exact EM on a Dask cluster of this machine, compared with the local fit on the same cores.

``ratio_to_local`` is the time of an iteration of the local fit divided by that on the cluster: two
worker processes of one thread each against one process of two threads. Both run the same iterations
from the same start, in turns with a pause, because threads of BLAS keep a core busy for a while.
``overhead_ms`` is the time of a round on rows so few that computing takes no time.
"""

import time
from statistics import median

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from fastem import FastEMClassifier
from fastem.dask import DaskEMClassifier

_FEATURES, _CLASSES, _WORKERS, _ITERATIONS = 20, 3, 2, 24
_PAUSE = 0.3  # seconds


@pytest.fixture(scope="module")
def client():
    with (
        dask.config.set({"distributed.worker.memory.target": False}),
        LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def _rows(n_samples, n_rows):
    """Return lazy features and labels in partitions of so many rows."""
    rng = da.random.default_rng(0)
    X = rng.standard_normal((n_samples, _FEATURES), chunks=(n_rows, -1))
    noise = 0.5 * rng.standard_normal((n_samples, _CLASSES), chunks=(n_rows, -1))
    return X, (X[:, :_CLASSES] * X[:, 1 : 1 + _CLASSES] + noise).argmax(axis=1)


def _settings(n_hidden, **others):
    return {
        "hidden_layer_sizes": (n_hidden,), "m_step": "bound", "alpha": 0.5, "tol": 0.0,
        "max_iter": _ITERATIONS, "random_state": 0, **others,
    }  # fmt: skip


def _seconds_per_iteration(model):
    """Return the median time of an iteration, from the fit's own clock."""
    return median(np.diff(model.loss_curve_seconds_))


@pytest.mark.benchmark(group="dask: a round without work")
@pytest.mark.parametrize("n_partitions", [2, pytest.param(8, id="parts=8-smoke"), 32])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def bench_overhead(benchmark, record, client, n_partitions):
    X, y = _rows(64 * n_partitions, 64)
    model = DaskEMClassifier(client=client, **_settings(4))
    benchmark.pedantic(model.fit, (X, y), rounds=3, warmup_rounds=1)
    record(
        n=len(X), m=4, g=_CLASSES, partitions=n_partitions,
        overhead_ms=1e3 * _seconds_per_iteration(model),
    )  # fmt: skip


@pytest.mark.benchmark(group="dask: an iteration")
@pytest.mark.parametrize(
    ("n_samples", "n_hidden"),
    [
        pytest.param(20_000, 10, id="n=20000-m=10-smoke"),
        pytest.param(500_000, 12, id="n=500000-m=12"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def bench_iteration(benchmark, record, client, n_samples, n_hidden):
    X_parts, y_parts = client.persist(_rows(n_samples, n_samples // _WORKERS))
    X, y = X_parts.compute(), y_parts.compute()
    local = FastEMClassifier(n_jobs=_WORKERS, **_settings(n_hidden))
    distributed = DaskEMClassifier(client=client, **_settings(n_hidden))
    seconds = {"local": [], "dask": []}
    for _ in range(2):  # the first turn compiles
        time.sleep(_PAUSE)
        seconds["local"].append(_seconds_per_iteration(local.fit(X, y)))
        time.sleep(_PAUSE)
        seconds["dask"].append(_seconds_per_iteration(distributed.fit(X_parts, y_parts)))
    benchmark.pedantic(distributed.fit, (X_parts, y_parts), rounds=1)
    seconds["dask"].append(_seconds_per_iteration(distributed))
    of_local, of_dask = seconds["local"][-1], min(seconds["dask"][1:])
    record(
        n=n_samples, m=n_hidden, g=_CLASSES, workers=_WORKERS, local_ms=1e3 * of_local,
        dask_ms=1e3 * of_dask, ratio_to_local=of_local / of_dask,
        loss_difference=abs(local.loss_ - distributed.loss_),
    )  # fmt: skip
