"""The simulation of a cluster: limits that can be computed by hand, and the script."""

import json
import math

import cluster_model
import pytest
import simulate_cluster
from cluster_model import Costs, limit, simulate

IDEAL = Costs(per_row=1e-6)
USUAL = Costs(
    per_row=1e-6, per_partition=1e-4, per_round=0.01, driver_per_task=1e-3, worker_per_task=1e-3,
    per_sum=2e-5, parameter_bytes=2000, sum_bytes=4000, latency=2e-4, bandwidth=1.25e8,
)  # fmt: skip
FIGURES = {
    "machine": "Abacus", "n_features": 20, "n_classes": 3,
    "e_step": {"4": {"per_row": 1e-7, "per_partition": 1e-5}},
    "sum": {"4": 1e-5}, "m_step": {"4": 1e-4}, "bytes": {"4": 1500},
    "rounds": {"per_round": 0.01, "driver_per_task": 1e-3, "worker_per_task": 1e-3},
    "check": [{"m": 4, "n": 2000, "partitions": 2, "seconds": 0.012}],
}  # fmt: skip


# Limits


@pytest.mark.parametrize("fan_in", [None, 2, 8])
@pytest.mark.parametrize("n_threads", [1, 2, 10, 1000])
def test_without_overhead_the_speed_up_is_linear(n_threads, fan_in):
    found = simulate(IDEAL, 1e6, n_threads, fan_in=fan_in)
    assert found.seconds == pytest.approx(1.0 / n_threads)
    assert found.efficiency == found.computing == pytest.approx(1.0)
    assert found.driver == 0.0


def test_one_worker():
    """Everything happens one after the other."""
    found = simulate(USUAL, 1e5, 1)
    out, back = (2000 + 1000) / 1.25e8, (4000 + 1000) / 1.25e8
    compute = 1e5 * 1e-6 + 1e-4
    expected = 0.01 + 1e-3 + out + 2e-4 + 1e-3 + compute + 2e-4 + 2 * 2e-4 + back + 2e-5
    assert found.seconds == pytest.approx(expected)
    assert found.computing == pytest.approx(compute / expected)
    assert found.efficiency == pytest.approx(0.1 / expected)
    assert found.driver == pytest.approx((0.01 + 1e-3 + 2e-5) / expected)
    assert found.n_tasks == 1


def test_partitions_of_a_thread_run_one_after_the_other():
    one = simulate(USUAL, 1e6, 1, partition_rows=1e6)
    ten = simulate(USUAL, 1e6, 1, partition_rows=1e5)
    extra = 9 * (1e-4 + 2e-5 + 4000 / 1.25e8)
    assert ten.n_tasks == one.n_tasks == 1
    assert ten.seconds == pytest.approx(one.seconds + extra)


def test_uneven_partitions_wait_for_the_longest():
    found = simulate(IDEAL, 3e6, 2, n_partitions=3)
    assert found.seconds == pytest.approx(2.0)
    assert found.efficiency == pytest.approx(0.75)


def test_more_threads_than_partitions():
    found = simulate(IDEAL, 3e6, 8, n_partitions=3)
    assert found.seconds == pytest.approx(1.0)
    assert found.n_tasks == 3


def test_the_driver_is_the_limit_of_many_tasks():
    """Dispatch, ends and sums of all tasks, one after the other."""
    costs = Costs(per_row=1e-12, driver_per_task=1e-3, per_sum=1e-4)
    found = simulate(costs, 1e6, 1000)
    assert found.seconds == pytest.approx(1000 * (1e-3 + 1e-4), rel=0.01)
    assert found.driver > 0.99


def test_dispatch_overlaps_the_work_of_others():
    """The last task begins after all dispatches; the others have ended by then."""
    costs = Costs(per_row=1e-6, driver_per_task=2e-3)
    found = simulate(costs, 1e5, 10)  # 0.01 s of work per task, 0.001 s for each dispatch
    assert found.seconds == pytest.approx(10 * 1e-3 + 0.01 + 1e-3)


def test_the_link_is_the_limit_of_large_sums():
    costs = Costs(per_row=1e-12, sum_bytes=1e6, bandwidth=1e8)
    found = simulate(costs, 1e6, 100)
    assert found.seconds == pytest.approx(100 * 1e6 / 1e8, rel=0.01)
    assert found.driver == 0.0


def test_latency_is_paid_once_for_all_workers():
    for n_threads in (1, 100):
        found = simulate(Costs(per_row=0.0, latency=0.01), 1e6, n_threads)
        assert found.seconds == pytest.approx(0.04)


# Trees


def test_a_tree_of_fan_in_two():
    """Eight sums: levels of four and two tasks; the driver adds up two sums."""
    costs = Costs(per_row=0.0, per_sum=1.0)
    found = simulate(costs, 1.0, 8, fan_in=2)
    assert found.n_tasks == 8 + 4 + 2
    assert found.seconds == pytest.approx(2.0 + 2.0 + 2.0)
    assert simulate(costs, 1.0, 8).seconds == pytest.approx(8.0)


def test_the_first_groups_of_a_tree_are_within_tasks():
    costs = Costs(per_row=0.0, per_sum=1.0)
    found = simulate(costs, 1.0, 2, n_partitions=8, fan_in=4)  # one group on each thread
    assert found.n_tasks == 2
    assert found.seconds == pytest.approx(4.0 + 2.0)


def test_a_tree_moves_the_limit_of_large_sums():
    costs = USUAL._replace(sum_bytes=1e7, per_sum=1e-3, driver_per_task=1e-5)
    assert simulate(costs, 1e8, 400, fan_in=4).seconds < 0.5 * simulate(costs, 1e8, 400).seconds


def test_a_tree_costs_tasks():
    plain, tree = simulate(USUAL, 1e6, 100), simulate(USUAL, 1e6, 100, fan_in=8)
    assert tree.n_tasks == 100 + 13 + 2
    assert tree.seconds > plain.seconds


@pytest.mark.parametrize("fan_in", [2, 3, 8, 1000])
@pytest.mark.parametrize("n_partitions", [1, 2, 7, 64, 100])
def test_trees_of_any_size_end(fan_in, n_partitions):
    for n_threads in (1, 3, 64):
        found = simulate(USUAL, 1e6, n_threads, n_partitions=n_partitions, fan_in=fan_in)
        assert 0.0 < found.efficiency <= found.computing <= 1.0
        assert 0.0 < found.driver <= 1.0


# The number of workers from which half of the time is lost


def test_the_limit_by_hand():
    """With a cost per task c, T threads take T c + work / T: half of it at T**2 = work / c."""
    costs = Costs(per_row=1e-6, per_sum=1e-3)
    found = limit(lambda n: simulate(costs, 1e7, n))
    assert found == pytest.approx(math.sqrt(10.0 / 1e-3), abs=2)


def test_no_limit_and_no_work():
    assert limit(lambda n: simulate(IDEAL, 1e6, n)) is None
    assert limit(lambda n: simulate(USUAL, 10.0, n)) == 1


def test_servers_keep_the_order():
    events, ends = cluster_model.Events(), []
    server = cluster_model.Server(events)
    events.at(1.0, lambda now: server.work(now, 5.0, lambda end: ends.append(("b", end))))
    events.at(0.0, lambda now: server.work(now, 2.0, lambda end: ends.append(("a", end))))
    events.at(9.0, lambda now: server.work(now, 1.0, lambda end: ends.append(("c", end))))
    events.run()
    assert ends == [("a", 2.0), ("b", 7.0), ("c", 10.0)]
    assert server.busy == 8.0


# The script


def test_bytes_of_messages():
    parameters, sums = simulate_cluster.message_bytes(20, 12, 3, counts=False)
    assert parameters == 8 * (21 * 12 + 13 * 3)
    assert sums == 8 * (1 + 21 * 12 + 13 * 3 + 13 * 13)
    with_counts = simulate_cluster.message_bytes(20, 12, 3, counts=True)[1]
    assert with_counts - sums == 8 * (2**12 - 13 * 13)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "figures.json").write_text(json.dumps(FIGURES))
    return str(tmp_path / "figures.json")


def test_the_script_prints_all_tables(file, capsys, monkeypatch):
    monkeypatch.setattr(simulate_cluster, "WORKERS", (1, 20))
    monkeypatch.setattr(simulate_cluster, "ROWS", (10**6, 10**7))
    outputs = []
    for _ in range(2):
        assert simulate_cluster.main(["--measured", file, "--hidden", "4", "--threads", "2"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert outputs[0].count("| 1e6 |") == 2 * 2 + 1
    assert "| 2 000 | 4 | 2 | 12.0 ms |" in outputs[0]


@pytest.mark.parametrize(
    "words",
    [["--hidden", "5"], ["--fan-in", "1"], ["--bandwidth", "0"], ["--threads", "0"],
     ["--latency", "-1"],
     ["--measured", "missing.json"]],
)  # fmt: skip
def test_unusable_arguments(words, file):
    words = ["--measured", file, "--hidden", "4", *words]
    with pytest.raises(simulate_cluster.UnusableError):
        simulate_cluster.main(words)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rounds": 1}'])
def test_files_without_figures(text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(simulate_cluster.UnusableError, match=r"other\.json"):
        simulate_cluster.main(["--measured", str(path)])
