"""Print how exact EM would run on clusters that are larger than any that could be measured.

One iteration of EM is a round: the driver sends the parameters to the workers, one task for every
thread; a task runs the E-step on its partitions; the sums over every partition come back, and the
driver adds them up. The script measures the cost of every part on this machine, with a Dask
cluster of two workers. A discrete-event simulation then computes the time of a round on 10 to 1000
workers. First it is compared with measured rounds of the two workers.

The driver (client and scheduler) is one queue: it dispatches a task, notes its end, and reads and
adds sums, one thing at a time. Its network link is a queue in both directions. Workers start at
once and work at the measured speed; prepared rows fit into their memory; workers are equally fast.

With tree summation, workers add up groups of ``--fan-in`` consecutive partitions, then groups of
groups, until so few sums are left. The groups do not depend on the number of workers, and neither
do the bits. The first groups are added up within the tasks if a thread has that many partitions;
later ones are tasks, which the scheduler has to dispatch too.

    python benches/simulate_cluster.py
    python benches/simulate_cluster.py --hidden 8 --bandwidth 10 --threads 16
    python benches/simulate_cluster.py --save figures.json
    python benches/simulate_cluster.py --measured figures.json --partition-rows 100000

Measured figures that are read from a file give the same tables on every machine.
"""

import argparse
import json
import math
import sys
from typing import Any

from cluster_model import MOST_WORKERS, Costs, Round, limit, simulate
from results import UnusableError, duration, exit_status, figure, markdown, read_text, write_text

WORKERS = 10, 30, 100, 300, 1000
ROWS = 10**6, 10**7, 10**8, 10**9, 10**10
_BYTES = 8


def message_bytes(n_features: int, m: int, n_classes: int, *, counts: bool) -> tuple[int, int]:
    """Return the bytes of the parameters, and of the sums over the rows of a partition.

    ``counts`` is for families without a bound, whose M-step needs the configurations.
    """
    n_parameters = (n_features + 1) * m + (m + 1) * n_classes
    second_moments = 2**m if counts else (m + 1) ** 2
    return _BYTES * n_parameters, _BYTES * (1 + n_parameters + second_moments)


def costs_of(figures: dict[str, Any], m: int, *, counts: bool = False, **network: float) -> Costs:
    """Return the costs for measured figures; ``network`` sets latency and bandwidth."""
    rounds, key = figures["rounds"], str(m)
    parameters, sums = message_bytes(figures["n_features"], m, figures["n_classes"], counts=counts)
    measured_sums = figures["bytes"][key]
    return Costs(
        **figures["e_step"][key],
        per_round=rounds["per_round"] + figures["m_step"][key],
        driver_per_task=rounds["driver_per_task"],
        worker_per_task=rounds["worker_per_task"],
        per_sum=figures["sum"][key] * max(1.0, sums / measured_sums),
        parameter_bytes=parameters,
        sum_bytes=max(sums, measured_sums),
        **network,
    )  # fmt: skip


# Texts


def _power(n: int) -> str:
    return f"1e{round(math.log10(n))}"


def table(costs: Costs, threads: int, partition_rows: float, fan_in: int | None) -> str:
    """Return the table of workers and rows."""
    rows = []
    for n_rows in ROWS:
        for n_workers in WORKERS:
            found = simulate(costs, n_rows, n_workers * threads, partition_rows, fan_in)
            rows.append([
                _power(n_rows), str(n_workers), duration(found.seconds), f"{found.computing:.0%}",
                f"{found.efficiency:.0%}", f"{found.driver:.0%}", str(found.n_tasks),
            ])  # fmt: skip
    header = ["rows", "workers", "round", "computing", "efficiency", "driver busy", "tasks"]
    return markdown(header, rows)


def table_of_limits(costs: Costs, threads: int, partition_rows: float, fan_in: int) -> str:
    """Return the numbers of workers from which the efficiency is below one half."""
    rows = []
    for n_rows in ROWS:
        cells = []
        for k in (None, fan_in):

            def of_workers(n: int, n_rows: int = n_rows, k: int | None = k) -> Round:
                return simulate(costs, n_rows, n * threads, partition_rows, k)

            found = limit(of_workers)
            cells.append(f"> {MOST_WORKERS}" if found is None else str(found))
            cells.append("-" if found is None else duration(of_workers(found).seconds))
        rows.append([_power(n_rows), *cells])
    header = ["rows", "workers", "round", f"workers, tree of {fan_in}", "round, tree"]
    return markdown(header, rows)


def table_of_checks(figures: dict[str, Any], n_workers: int = 2) -> str:
    """Return measured and simulated rounds of the cluster of this machine."""
    rows = []
    for check in figures["check"]:
        costs = costs_of(figures, check["m"])
        found = simulate(costs, check["n"], n_workers, n_partitions=check["partitions"])
        rows.append([
            figure(check["n"]), str(check["m"]), str(check["partitions"]),
            duration(check["seconds"]), duration(found.seconds),
            f"{found.seconds / check['seconds']:.2f}",
        ])  # fmt: skip
    header = ["rows", "units", "partitions", "measured", "simulated", "ratio"]
    return markdown(header, rows)


def table_of_figures(figures: dict[str, Any]) -> str:
    """Return the measured figures."""
    rounds = figures["rounds"]
    rows = [[f"E-step per row and thread, {m} units", duration(cost["per_row"])]
            for m, cost in figures["e_step"].items()]  # fmt: skip
    for m, seconds in figures["sum"].items():
        text = (
            f"driver: read and add the sums of a partition, {m} units, {figures['bytes'][m]} bytes"
        )
        rows.append([text, duration(seconds)])
    rows += [
        ["driver: per task", duration(rounds["driver_per_task"])],
        ["worker: per task", duration(rounds["worker_per_task"])],
        ["per round, beside tasks", duration(rounds["per_round"])],
    ]
    return markdown(["measured", "time"], rows, left=1)


def read_figures(path: str, m: int) -> dict[str, Any]:
    """Return measured figures from a file that ``--save`` has written."""
    try:
        figures = json.loads(read_text(path))
        costs_of(figures, m)
        table_of_checks(figures)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise UnusableError(
            f"{path} does not hold the measured figures of {m} units: {error!r}. Write it by "
            "--save with the same --hidden."
        ) from error
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, default=20, help="without --measured")
    parser.add_argument("--classes", type=int, default=3, help="without --measured")
    parser.add_argument("--hidden", type=int, default=12, help="number of hidden units")
    parser.add_argument(
        "--counts", action="store_true", help="add 2**hidden counts to the sums (own families)"
    )
    parser.add_argument("--threads", type=int, default=4, help="of a worker")
    parser.add_argument(
        "--partition-rows", type=float, default=1e6, help="most rows of a partition"
    )
    parser.add_argument("--fan-in", type=int, default=8, help="of tree summation")
    parser.add_argument("--bandwidth", type=float, default=1.0, help="of every link, in Gbit/s")
    parser.add_argument("--latency", type=float, default=0.2, help="of a message, in ms")
    parser.add_argument("--measured", metavar="FILE", help="measured figures to use again")
    parser.add_argument("--save", metavar="FILE", help="where to write the measured figures")
    parser.add_argument("--quick", action="store_true", help="few measurements")
    return parser


def main(words: list[str] | None = None) -> int:
    """Measure, simulate, and print all tables."""
    arguments = _parser().parse_args(words)
    m, threads, rows = arguments.hidden, arguments.threads, arguments.partition_rows
    if (
        min(m, threads, rows, arguments.bandwidth) <= 0
        or arguments.latency < 0
        or arguments.fan_in < 2
    ):
        raise UnusableError("sizes and the bandwidth must be positive, and --fan-in at least 2")
    if arguments.measured:
        figures = read_figures(arguments.measured, m)
    else:
        from measure_cluster import measured  # needs Dask

        hidden = [m] if arguments.quick else [m, *(n for n in (8, 10) if n != m)]
        figures = measured(arguments.features, arguments.classes, hidden, quick=arguments.quick)
    if arguments.save:
        write_text(arguments.save, json.dumps(figures, indent=1))
    network = {"latency": 1e-3 * arguments.latency, "bandwidth": 1e9 / 8 * arguments.bandwidth}
    costs = costs_of(figures, m, counts=arguments.counts, **network)
    print(
        f"{table_of_figures(figures)}\n\nRounds of two workers of one thread on this machine\n\n"
        f"{table_of_checks(figures)}\n\n{figures['n_features']} features, {m} units, "
        f"{figures['n_classes']} classes; workers of {threads} threads; links of "
        f"{arguments.bandwidth:g} Gbit/s and {arguments.latency:g} ms; partitions of at most "
        f"{rows:g} rows; {costs.parameter_bytes:.0f} bytes out, {costs.sum_bytes:.0f} bytes back"
        f"\n\nThe driver adds up\n\n{table(costs, threads, rows, None)}"
        f"\n\nTree summation, {arguments.fan_in} sums a task\n\n"
        f"{table(costs, threads, rows, arguments.fan_in)}"
        f"\n\nNumber of workers from which the efficiency is below one half\n\n"
        f"{table_of_limits(costs, threads, rows, arguments.fan_in)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
