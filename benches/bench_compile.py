"""What a new process pays: the import, and the first fit with a cold and a warm cache.

Each round is one process, started outside the source tree; the seconds are taken inside
it, without the start of the interpreter; the benchmark's own time is that of the whole
processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastem

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
from fastem import FastEMClassifier
imported = time.perf_counter()
FastEMClassifier(random_state=0).fit(X, y)
first = time.perf_counter()
FastEMClassifier(random_state=0).fit(X, y)
second = time.perf_counter()
print(json.dumps({
    "seconds_import": imported - start,
    "seconds_first_fit": first - imported,
    "seconds_second_fit": second - first,
}))
"""


def _run(code, folder):
    """Run code in a new process whose compiled kernels are kept in ``folder``."""
    package_parent = str(Path(fastem.__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "PYTHONPATH": package_parent,
        "PYTHONDONTWRITEBYTECODE": "",  # an import reads compiled modules, as a user's would
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _import_seconds(folder, rounds):
    """Least seconds of importing scikit-learn's MLP alone and fastem alone, by turns."""
    modules = "sklearn.neural_network", "fastem"
    seconds = [
        [_run(_IMPORT.format(module=name), folder) for name in modules] for _ in range(rounds)
    ]
    return [min(column) for column in zip(*seconds, strict=True)]


@pytest.mark.benchmark(group="compile")
def bench_import_smoke(benchmark, record, tmp_path):
    _import_seconds(tmp_path, 1)  # warm up the disk
    alone, seconds = benchmark.pedantic(_import_seconds, args=(tmp_path, 5), rounds=1)
    record(
        seconds_import=seconds,
        seconds_import_sklearn=alone,
        seconds_above_sklearn=seconds - alone,
    )


@pytest.mark.benchmark(group="compile")
def bench_first_fit_cold(benchmark, record, tmp_path):
    record(**benchmark.pedantic(_run, args=(_FIRST_FIT, tmp_path), rounds=1))


@pytest.mark.benchmark(group="compile")
def bench_first_fit_warm(benchmark, record, tmp_path):
    _run(_FIRST_FIT, tmp_path)  # fill the cache
    record(**benchmark.pedantic(_run, args=(_FIRST_FIT, tmp_path), rounds=1))
