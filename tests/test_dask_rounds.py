"""Rounds of tasks on Dask workers: order, errors, and workers that die or stop."""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask_tasks
import numpy as np
import pytest

import fastem

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
if os.name != "posix":
    pytest.skip("Signals stop and kill workers.", allow_module_level=True)

from fastem.dask import PartitionError  # noqa: E402
from fastem.dask.rounds import Rounds  # noqa: E402
from fastem.runtime import format_bytes  # noqa: E402

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        [str(Path(__file__).parent), str(Path(fastem.__file__).parents[1])]
    ),
}
pytestmark = pytest.mark.cluster

ITEMS = [(i,) for i in range(6)]


@pytest.fixture(autouse=True)
def time_limit():
    def stop(*_):
        raise AssertionError("The test took more than 60 seconds.")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def new_cluster(n_workers):
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", memory_limit="1 GiB"
    )


@pytest.fixture(scope="module")
def cluster():
    """Two workers for the tests that do no damage."""
    with new_cluster(2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client
        assert not tasks_on(client), "A test has left tasks on the scheduler."


@pytest.fixture
def three_workers():
    with new_cluster(3) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def two_workers():
    with new_cluster(2) as cluster, distributed.Client(cluster) as client:
        yield client


def process_ids(client):
    return sorted(client.run(os.getpid).values())


def tasks_on(client, seconds=5.0):
    """Return the tasks of the scheduler, as soon as there are none or after some seconds."""
    end = time.monotonic() + seconds
    while True:
        tasks = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
        if not tasks or time.monotonic() > end:
            return tasks
        time.sleep(0.05)


def later(seconds, function, *arguments):
    timer = threading.Timer(seconds, function, arguments)
    timer.start()
    return timer


def assert_sums(results, number, items=ITEMS):
    assert len(results) == len(items)
    for (value,), result in zip(items, results, strict=True):
        np.testing.assert_array_equal(result, np.arange(4.0) * value + number)


# ---- order, inputs, arguments


def test_results_are_in_the_order_of_the_items(client):
    rounds = Rounds(client)
    assert rounds.run("order", dask_tasks.finish_backwards, ITEMS) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["values", "futures", "delayed", "mixed"])
def test_inputs_of_every_kind(client, kind):
    rounds = Rounds(client)
    lazy = [dask.delayed(float)(i) for (i,) in ITEMS]
    futures = rounds.submit("inputs", float, ITEMS)
    items = {
        "values": ITEMS,
        "futures": [(future,) for future in futures],
        "delayed": [(value,) for value in lazy],
        "mixed": [(futures[0],), (lazy[1],), (2,), (3,), (4,), (futures[5],)],
    }[kind]
    assert_sums(rounds.run("inputs", dask_tasks.add, items, 0.5), 0.5)
    assert rounds.run("inputs", dask_tasks.add, []) == []


def test_equal_rounds_run_twice(client, tmp_path):
    rounds = Rounds(client)
    first, second = (rounds.run("count", dask_tasks.count_call, ITEMS, tmp_path) for _ in range(2))
    assert len(set(first + second)) == len(list(tmp_path.iterdir())) == 12


def test_tasks_have_readable_keys(client):
    futures = Rounds(client).submit("fastem-e-step", dask_tasks.add, ITEMS, 1.0)
    names, numbers = zip(*(future.key for future in futures), strict=True)
    assert len(set(names)) == 1
    assert names[0].startswith("fastem-e-step-")
    assert numbers == (0, 1, 2, 3, 4, 5)
    lazy = [(dask.delayed(float)(1),)]
    (future,) = Rounds(client).submit("fastem-e-step", dask_tasks.add, lazy, 1.0)
    assert future.key[0].startswith("fastem-e-step-")
    assert future.key[1] == 0


def test_equal_arguments_leave_the_client_once(client, monkeypatch):
    sizes = []
    serialize = distributed.client.serialize

    def measured(*arguments, **options):
        header, frames = serialize(*arguments, **options)
        sizes.append(sum(memoryview(frame).nbytes for frame in frames))
        return header, frames

    monkeypatch.setattr("distributed.client.serialize", measured)
    items = [(i,) for i in range(100)]
    Rounds(client).run("bytes", dask_tasks.size_of, items, np.ones(1))
    small = sizes[-1]
    parameters = np.ones(2500)
    Rounds(client).run("bytes", dask_tasks.size_of, items, parameters)
    assert parameters.nbytes < sizes[-1] < small + 1.1 * parameters.nbytes


def test_describes_the_workers(client):
    rounds = Rounds(client)
    assert rounds.n_threads == 2
    assert 2**28 < rounds.memory_of_task() < 2**30
    assert 0.0 < rounds.spare_memory(0.6) < 2 * 0.6 * 2**30


# ---- clients


def test_takes_the_current_client(client):
    assert Rounds().client is client


def test_no_client():
    with pytest.raises(ValueError, match=r"There is no Dask client. Create one first"):
        Rounds()


def test_refuses_what_is_not_a_synchronous_client(client):
    with pytest.raises(TypeError, match=r"must be a distributed.Client, got str"):
        Rounds("tcp://127.0.0.1:8786")
    for timeout in (0.0, -1.0, float("nan"), "5", None, True):
        with pytest.raises(ValueError, match="timeout must be a positive number of seconds"):
            Rounds(client, timeout)


def test_refuses_an_asynchronous_client(cluster):
    async def connect():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(TypeError, match="client must be synchronous"):
                Rounds(client)

    import asyncio

    asyncio.run(connect())


# ---- errors of tasks


def test_floating_point_errors_are_raised_as_such(client):
    with pytest.raises(FloatingPointError, match="no good"):
        Rounds(client).run("step", dask_tasks.fail_at, ITEMS, FloatingPointError, 3)


@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_errors_of_data_keep_their_type(client, kind):
    with pytest.raises(kind, match=r"fastem-e-step failed for partition 3 of 6: no good") as caught:
        Rounds(client).run("fastem-e-step", dask_tasks.fail_at, ITEMS, kind, 2)
    assert isinstance(caught.value.__cause__, kind)


def test_bundles_return_results_in_the_order_of_the_parts(client):
    rounds = Rounds(client)
    parts = rounds.submit("parts", dask_tasks.add, ITEMS, 0.0)
    bundles = [(parts[4], parts[1]), (parts[0], parts[5], parts[3]), (parts[2],)]
    numbers = [[4, 1], [0, 5, 3], [2]]
    assert_sums(rounds.run_bundles("step", dask_tasks.add_to, bundles, numbers, 2.0), 2.0)
    with pytest.raises(PartitionError, match="partition 6 of 6: KeyError"):
        rounds.run_bundles("step", dask_tasks.fail_on_part, bundles, numbers, KeyError, 5)
    for part in parts:
        part.release()


@pytest.mark.parametrize("kind", [KeyError, MemoryError, OSError, TimeoutError, ConnectionError])
def test_errors_name_the_partition(client, kind):
    with pytest.raises(PartitionError) as caught:
        Rounds(client).run("fastem-e-step", dask_tasks.fail_at, ITEMS, kind, 2)
    message = str(caught.value)
    assert message.startswith(f"fastem-e-step failed for partition 3 of 6: {kind.__name__}: ")
    assert "no good" in message
    assert "smaller partitions" in message if kind is MemoryError else "Correct" in message
    assert isinstance(caught.value.__cause__, kind)


def test_an_input_that_fails_names_the_partition(client):
    lazy = [(dask.delayed(dask_tasks.fail_at)(i, OSError, 4),) for (i,) in ITEMS]
    with pytest.raises(PartitionError, match="partition 5 of 6: OSError: no good"):
        Rounds(client).run("read", dask_tasks.add, lazy, 1.0)


def test_an_error_stops_the_other_tasks(client, tmp_path):
    rounds = Rounds(client)
    with pytest.raises(PartitionError, match="partition 1 of 400"):
        rounds.run("step", dask_tasks.fail_at, [(i,) for i in range(400)], OSError, 0)
    assert not tasks_on(client)
    assert_sums(rounds.run("after", dask_tasks.add, ITEMS, 1.0), 1.0)


def test_a_module_that_workers_lack(two_workers, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def add(value):\n    return value\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with pytest.raises(TimeoutError, match=r"The cluster has no workers.*a module that they lack"):
        Rounds(two_workers, timeout=2.0).run("step", only_here.add, ITEMS)


def test_a_worker_without_fastem():
    with new_cluster(0) as cluster, distributed.Client(cluster) as client:
        options = [cluster.scheduler_address, "--no-nanny", "--no-dashboard"]
        worker = subprocess.Popen(
            [sys.executable, "-c", dask_tasks.WORKER_WITHOUT_FASTEM, *options], env=ENVIRONMENT
        )
        try:
            client.wait_for_workers(1, timeout=20.0)
            with pytest.raises(ImportError, match=r"cannot import fastem.dask .*all workers need"):
                Rounds(client)
        finally:
            worker.kill()
            worker.wait()


def test_workers_with_another_version(client, monkeypatch):
    rounds = Rounds(client)
    monkeypatch.setattr("fastem.dask.rounds.__version__", "77.0")
    with pytest.raises(ImportError, match=r"The worker tcp:.* has fastem .*all workers need"):
        Rounds(client)
    with pytest.raises(PartitionError, match=r"client has fastem 77.0.*all workers need fastem"):
        rounds.run("step", dask_tasks.add, ITEMS, 1.0)


def test_released_inputs(client):
    rounds = Rounds(client)
    futures = rounds.submit("input", float, ITEMS)
    rounds.collect("input", futures)
    items = [(future,) for future in futures]
    client.cancel(futures)
    with pytest.raises(RuntimeError, match="cancelled, or their inputs were released"):
        rounds.run("step", dask_tasks.add, items, 1.0)


# ---- interruption


def test_interruption_cancels_the_round(client):
    rounds = Rounds(client)
    main = threading.main_thread().ident
    timer = later(0.7, signal.pthread_kill, main, signal.SIGINT)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        rounds.run("step", dask_tasks.slow_add, [(i,) for i in range(300)], 1.0)
    timer.join()
    assert time.monotonic() - start < 5.0
    assert not tasks_on(client)
    assert_sums(rounds.run("after", dask_tasks.add, ITEMS, 1.0), 1.0)


def test_a_killed_client_leaves_no_tasks(cluster, client):
    command = [sys.executable, "-c", dask_tasks.SUBMIT_AND_WAIT, cluster.scheduler_address]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "busy\n"
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) > 100
        child.kill()
    assert not tasks_on(client)


# ---- workers that die


def test_killed_workers(two_workers):
    """Kill one worker before, during, and after the round that the others depend on."""
    rounds = Rounds(two_workers, timeout=20.0)
    for when in ("before", "during", "after"):
        two_workers.wait_for_workers(2, timeout=20.0)
        victim = process_ids(two_workers)[0]
        if when == "before":
            os.kill(victim, signal.SIGKILL)
        prepared = rounds.submit("prepare", dask_tasks.slow_add, ITEMS, 0.0)
        items = [(future,) for future in prepared]
        if when == "during":
            later(0.3, os.kill, victim, signal.SIGKILL)
        elif when == "after":
            rounds.collect("prepare", prepared)
            os.kill(victim, signal.SIGKILL)
        for number in (0.0, 1.0):
            assert_sums(rounds.run("step", dask_tasks.slow_sum, items, number), number)


def test_two_of_three_workers_killed(three_workers):
    rounds = Rounds(three_workers, timeout=20.0)
    prepared = rounds.submit("prepare", dask_tasks.slow_add, ITEMS, 0.0)
    rounds.collect("prepare", prepared)
    items = [(future,) for future in prepared]
    for victim in process_ids(three_workers)[:2]:
        later(0.2, os.kill, victim, signal.SIGKILL)
    for number in (0.0, 1.0):
        assert_sums(rounds.run("step", dask_tasks.slow_sum, items, number), number)


def test_a_task_that_kills_its_workers():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        new_cluster(2) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(PartitionError) as caught,
    ):
        Rounds(client, timeout=20.0).run("step", dask_tasks.stop_process, [(0,), (1,), (2,)])
    message = str(caught.value)
    assert re.match(r"step failed for partition [123] of 3: 2 workers died one after", message)
    assert f"The memory limit of the last worker is {format_bytes(2**30)}." in message
    assert "Use smaller partitions" in message
    assert isinstance(caught.value.__cause__, distributed.KilledWorker)


def test_no_workers():
    with new_cluster(0) as cluster, distributed.Client(cluster) as client:
        rounds = Rounds(client, timeout=1.0)
        assert (rounds.n_threads, rounds.memory_of_task()) == (0, math.inf)
        with pytest.raises(TimeoutError, match=r"finished for 1 seconds.*has no workers. Start"):
            rounds.run("step", dask_tasks.add, ITEMS, 1.0)
        assert not tasks_on(client)
        rounds = Rounds(client, timeout=20.0)
        timer = later(0.5, cluster.scale, 1)
        assert_sums(rounds.run("step", dask_tasks.add, ITEMS, 1.0), 1.0)
        timer.join()


# ---- workers that do not answer


def test_stopped_workers(two_workers):
    rounds = Rounds(two_workers, timeout=2.0)
    for when in ("during", "after"):
        two_workers.wait_for_workers(2, timeout=20.0)
        victim = process_ids(two_workers)[0]
        start = time.monotonic()
        prepared = rounds.submit("prepare", dask_tasks.slow_add, ITEMS, 0.0)
        if when == "after":
            rounds.collect("prepare", prepared)
            os.kill(victim, signal.SIGSTOP)
        else:
            later(0.3, os.kill, victim, signal.SIGSTOP)
        items = [(future,) for future in prepared]
        for number in (0.0, 1.0):
            assert_sums(rounds.run("step", dask_tasks.slow_sum, items, number), number)
        assert time.monotonic() - start < 20.0
        two_workers.wait_for_workers(2, timeout=20.0)
        assert victim not in process_ids(two_workers), "The nanny has replaced the stopped worker."


def test_tasks_that_do_not_end(two_workers):
    rounds = Rounds(two_workers, timeout=1.0)
    workers = sorted(two_workers.run(os.getpid))
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        rounds.run("step", dask_tasks.sleep_for_ever, [(0,), (1,)])
    assert time.monotonic() - start < 16.0
    message = str(caught.value)
    assert "step: no partition finished for 1 seconds. Unfinished: 1, 2 of 2." in message
    assert f"The workers {workers[0]}, {workers[1]} still process them." in message


# ---- a scheduler that dies


def test_a_killed_scheduler(tmp_path):
    file = str(tmp_path / "scheduler.json")
    options = ["--scheduler-file", file, "--no-dashboard"]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", *options],
        env=ENVIRONMENT,
    )
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--nthreads",
            "1",
            "--no-nanny",
            *options,
        ],
        env=ENVIRONMENT,
    )
    try:
        with distributed.Client(scheduler_file=file, timeout="20s") as client:
            rounds = Rounds(client)
            assert_sums(rounds.run("step", dask_tasks.add, ITEMS, 1.0), 1.0)
            killed = []

            def kill():
                killed.append(time.monotonic())
                scheduler.kill()

            later(0.5, kill)
            with pytest.raises(ConnectionError, match="lost the connection to the Dask scheduler"):
                rounds.run("step", dask_tasks.slow_add, [(i,) for i in range(300)], 1.0)
            assert time.monotonic() - killed[0] < 5.0
            with pytest.raises(ConnectionError, match="lost the connection to the Dask scheduler"):
                rounds.run("step", dask_tasks.add, ITEMS, 1.0)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
