"""Start-up cost of a new process: the import, first fits and the command line.

A cold cache is empty; a warm cache holds the compiled kernels. Every round is one process, started
outside the source tree. The recorded seconds are measured inside the process and exclude the start
of the interpreter; ``cpu_seconds_*`` are processor time, which other processes disturb less. The
seconds until the table of the command line include the start of the interpreter. The time of the
benchmark itself is that of the whole process.
"""

import pytest
from measure import run_in_new_process, seconds_until_line

_ESTIMATORS = ("FastEMClassifier", "FastMLPClassifier")
# a fit that chooses neither its units nor its penalty
_GIVEN = {"FastEMClassifier": "(10,), alpha=0.15, ", "FastMLPClassifier": ""}

_filled_caches = {}

_IMPORT = """
import json, time
start = time.perf_counter()
import {module}
print(json.dumps(time.perf_counter() - start))
"""

_FIRST_FIT = """
import json, time
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
start = time.perf_counter()
from fastem import {estimator}
imported, cpu = time.perf_counter(), time.process_time()
{estimator}({given}random_state=0).fit(X, y)
first, cpu = time.perf_counter(), time.process_time() - cpu
{estimator}({given}random_state=0).fit(X, y)
second = time.perf_counter()
print(json.dumps(dict(
    seconds_import=imported - start,
    seconds_first_fit=first - imported,
    cpu_seconds_first_fit=cpu,
    seconds_second_fit=second - first,
)))
"""

_WARMUP = """
import json, time
import fastem
start, cpu = time.perf_counter(), time.process_time()
fastem.warmup()
print(json.dumps(dict(
    seconds_warmup=time.perf_counter() - start, cpu_seconds_warmup=time.process_time() - cpu
)))
"""


def _import_seconds(folder, rounds):
    """Return the minimum import times of scikit-learn's MLP and of fastem, measured alternately."""
    modules = "sklearn.neural_network", "fastem"
    seconds = [
        [run_in_new_process(_IMPORT.format(module=name), folder) for name in modules]
        for _ in range(rounds)
    ]
    return [min(column) for column in zip(*seconds, strict=True)]


@pytest.mark.benchmark(group="compile")
def bench_import_smoke(benchmark, record, tmp_path):
    _import_seconds(tmp_path, 1)  # fills the disk cache
    alone, seconds = benchmark.pedantic(_import_seconds, args=(tmp_path, 2), rounds=1)
    record(
        seconds_import=seconds,
        seconds_import_sklearn=alone,
        seconds_above_sklearn=seconds - alone,
    )


@pytest.mark.benchmark(group="compile")
@pytest.mark.parametrize("estimator", _ESTIMATORS)
def bench_first_fit_cold(benchmark, record, tmp_path, estimator):
    code = _FIRST_FIT.format(estimator=estimator, given=_GIVEN[estimator])
    record(**benchmark.pedantic(run_in_new_process, args=(code, tmp_path), rounds=1))
    _filled_caches[estimator] = tmp_path


@pytest.mark.benchmark(group="compile")
@pytest.mark.parametrize("estimator", _ESTIMATORS)
def bench_first_fit_warm(benchmark, record, tmp_path, estimator):
    code = _FIRST_FIT.format(estimator=estimator, given=_GIVEN[estimator])
    if estimator not in _filled_caches:
        run_in_new_process(code, tmp_path)
    folder = _filled_caches.get(estimator, tmp_path)
    record(**benchmark.pedantic(run_in_new_process, args=(code, folder), rounds=1))


_CLI = ["-m", "fastem"], "method "  # the head of the table


@pytest.mark.benchmark(group="compile")
def bench_command_line_cold(benchmark, record, tmp_path):
    seconds = benchmark.pedantic(seconds_until_line, args=(*_CLI, tmp_path), rounds=1)
    record(seconds_until_table=seconds)
    _filled_caches["command line"] = tmp_path


@pytest.mark.benchmark(group="compile")
def bench_command_line_warm(benchmark, record, tmp_path):
    folder = _filled_caches.get("command line", tmp_path)
    if folder is tmp_path:
        seconds_until_line(*_CLI, folder)
    seconds = benchmark.pedantic(seconds_until_line, args=(*_CLI, folder), rounds=1)
    record(seconds_until_table=seconds)


@pytest.mark.benchmark(group="compile")
def bench_warmup_cold(benchmark, record, tmp_path):
    record(**benchmark.pedantic(run_in_new_process, args=(_WARMUP, tmp_path), rounds=1))
