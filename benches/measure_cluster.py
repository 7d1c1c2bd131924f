"""Measures what `simulate_cluster.py` needs: E-steps, sums, and rounds of a small Dask cluster."""

import pickle
import platform
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from measure import convergence_warnings_ignored

from fastem.dask import DaskEMClassifier
from fastem.dask.rounds import Rounds
from fastem.engines import Enumeration
from fastem.expectations import Sums, total
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.solvers import Network, Request, SummedNetwork, draw_start

N_WORKERS = 2
_REPEATS = 7


def measured(
    n_features: int, n_classes: int, hidden: Sequence[int], *, quick: bool = False
) -> dict[str, Any]:
    """Return all measured figures, in the form that a JSON file holds.

    Parameters
    ----------
    n_features, n_classes : int
    hidden : sequence of int
        Numbers of hidden units.
    quick : bool, default=False
        Whether few repetitions are enough.

    Returns
    -------
    figures : dict
        ``e_step``, ``sum`` and ``m_step`` by the number of hidden units; ``rounds`` and ``check``
        of the cluster. All times are in seconds.
    """
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "n_features": n_features, "n_classes": n_classes, "e_step": {}, "sum": {}, "m_step": {},
        "bytes": {},
    }  # fmt: skip
    sums = {}
    for m in hidden:
        n_rows = (1000, 4000) if quick else (4000, 20_000)
        key = str(m)
        figures["e_step"][key], sums[m] = _e_step(n_features, n_classes, m, n_rows)
        figures["bytes"][key] = len(pickle.dumps(sums[m], protocol=5))
        figures["sum"][key] = _sum(sums[m])
        figures["m_step"][key] = _m_step(n_features, n_classes, m, sums[m])
    with (
        dask.config.set({"distributed.worker.memory.target": False}),
        LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        numbers = (2, 16) if quick else (2, 8, 32, 128)
        figures["rounds"] = _rounds(client, numbers, sums[hidden[0]])
        figures["check"] = _check(client, n_features, n_classes, hidden, quick=quick)
    return figures


def _least(function: Callable[[], Any], repeats: int = _REPEATS) -> float:
    """Return the least time of a call; the first call is not counted."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _shape(n_features: int, n_classes: int, m: int) -> Shape:
    return Shape(n_features, (m,), n_classes)


def _start(shape: Shape) -> Any:
    return draw_start(shape, np.ones(shape.n_outputs), np.random.RandomState(0))


def _e_step(
    n_features: int, n_classes: int, m: int, sizes: Sequence[int]
) -> tuple[dict[str, float], Sums]:
    """Return the time of an E-step and its sums on one thread, as a line in the rows."""
    shape, rng = _shape(n_features, n_classes, m), np.random.default_rng(0)
    seconds = []
    for n_rows in sizes:
        X, y = rng.normal(size=(n_rows, n_features)), rng.integers(n_classes, size=n_rows)
        rows = sort_rows(X, y, np.ones(n_rows), shape)
        network = Network(rows, shape, Enumeration(), "bound", alpha=0.0, n_threads=1)
        start = _start(shape)

        def step(network: Network = network, start: Any = start) -> Sums:
            return network.sums(start, with_first_moments=False, is_single=False)[1]

        seconds.append(_least(step))
    per_row, per_part = _line(sizes, seconds)
    return {"per_row": per_row, "per_partition": per_part}, step()


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return slope and intercept of a line; neither is negative."""
    slope, intercept = np.polyfit(x, y, 1)
    if intercept < 0.0:  # the line through the origin
        return float(np.dot(x, y) / np.dot(x, x)), 0.0
    return max(float(slope), 0.0), float(intercept)


def _sum(sums: Sums, n_parts: int = 64) -> float:
    """Return the time per partition to read its sums from bytes and to add them up."""
    contents = [pickle.dumps(sums, protocol=5) for _ in range(n_parts)]
    return _least(lambda: total([pickle.loads(content) for content in contents])) / n_parts


def _m_step(n_features: int, n_classes: int, m: int, sums: Sums) -> float:
    """Return the time of an M-step and a gradient on the driver."""
    shape = _shape(n_features, n_classes, m)
    moments = np.eye(shape.n_inputs)
    first = sums.hidden[0]._replace(moments=moments)

    def e_step(request: Request) -> list[Sums]:
        return [sums._replace(hidden=(first,))]

    network = SummedNetwork(e_step, shape, Enumeration().statistics, "bound", alpha=0.5)
    theta = shape.pack(_start(shape))
    _, found = network.expect(theta)
    return _least(lambda: (network.maximize(theta, found), network.gradient(theta, found)))


def returned(part: Any, request: Any) -> Any:
    """Return a part: a task without work, whose result has the size of sums."""
    return part


def _rounds(client: Client, numbers: Sequence[int], sums: Sums) -> dict[str, Any]:
    """Return the costs of rounds of so many tasks without work.

    Times of processors are counted for the driver (client and scheduler, which are one process
    here) and for the workers. They do not depend on other processes of the machine.
    """
    rounds, shape = Rounds(client), _shape(20, 3, 4)
    request = Request(_start(shape))
    walls, of_driver, of_workers = [], [], []
    for n in numbers:
        parts = client.map(_same, [sums] * n, list(range(n)), pure=False)
        items = [(part,) for part in parts]
        for _ in range(2):
            rounds.run("simulate-warm", returned, items, request)
        before = sum(client.run(time.process_time).values())
        own, wall = [], []
        for _ in range(_REPEATS):
            began, cpu = time.perf_counter(), time.process_time()
            rounds.run("simulate-round", returned, items, request)
            own.append(time.process_time() - cpu)
            wall.append(time.perf_counter() - began)
        after = sum(client.run(time.process_time).values())
        walls.append(min(wall))
        of_driver.append(median(own))
        of_workers.append((after - before) / _REPEATS)
    driver_per_task, cpu_per_round = _line(numbers, of_driver)
    worker_per_task, _ = _line(numbers, of_workers)
    # what is left of the smallest round: messages wait for each other
    per_round = walls[0] - numbers[0] * (driver_per_task + worker_per_task / N_WORKERS)
    return {
        "n_tasks": list(numbers), "seconds": walls, "driver_seconds": of_driver,
        "worker_seconds": of_workers, "per_round": max(per_round, cpu_per_round),
        "driver_per_task": driver_per_task, "worker_per_task": worker_per_task,
    }  # fmt: skip


def _same(sums: Any, number: int) -> Any:
    return sums


def _check(
    client: Client, n_features: int, n_classes: int, hidden: Sequence[int], *, quick: bool
) -> list[dict[str, Any]]:
    """Return the least time of an iteration of real fits on the cluster, by the fit's clock."""
    sizes = ((2000, 2),) if quick else ((256, 2), (1024, 32), (40_000, 2), (40_000, 16))
    found = []
    for m in hidden[:1] if quick else hidden[:2]:
        for n_rows, n_parts in sizes:
            rng = da.random.default_rng(0)
            X = rng.standard_normal((n_rows, n_features), chunks=(n_rows // n_parts, -1))
            noise = 0.5 * rng.standard_normal((n_rows, n_classes), chunks=(n_rows // n_parts, -1))
            y = (X[:, :n_classes] * X[:, 1 : 1 + n_classes] + noise).argmax(axis=1)
            model = DaskEMClassifier(
                (m,), e_step=Enumeration(precision="double"), m_step="bound", alpha=0.5, tol=0.0,
                max_iter=12 if quick else 24, random_state=0, client=client,
            )  # fmt: skip
            with convergence_warnings_ignored():
                model.fit(X, y)
            seconds = min(np.diff(model.loss_curve_seconds_)[1:])
            found.append({"m": m, "n": n_rows, "partitions": n_parts, "seconds": float(seconds)})
    return found
