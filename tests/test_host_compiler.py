"""The compiler in a host process: switched off, busy when a child is forked, without a cache."""

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from kernel_probe import VALUES, WITHOUT_PRIVILEGES, copy_of_kernels
from kernel_probe import probe as long_probe
from numba.core.compiler_lock import global_compiler_lock

import fastem
from fastem.kernels import _jit
from fastem.kernels._jit import jit

PATIENCE = 60.0
PACKAGE = str(Path(fastem.__file__).parents[1])

# ---- the compiler is switched off

CALLS = """
import contextlib, io, json, pickle, sys, warnings
import numpy as np
import fastem
from fastem.cli import main

warnings.simplefilter("ignore")
folder = sys.argv[1]
with open(f"{folder}/models.pickle", "rb") as file:
    models = pickle.load(file)
X = np.random.default_rng(0).normal(size=(12, 2))
y, numbers = (X[:, 0] > 0).astype(int), X[:, 0] - X[:, 1]
parameters = [np.ones((2, 1)), np.ones((1, 2))], [np.zeros(1), np.zeros(2)]
calls = {
    "e_step": lambda: fastem.e_step(X, y, *parameters),
    "EStep": lambda: fastem.EStep(X, y, hidden_layer_sizes=1),
    "backpropagate": lambda: fastem.backpropagate(X, np.eye(2)[y], *parameters),
    "warmup": fastem.warmup,
    "profile_scaling": fastem.profile_scaling,
    "bootstrap": lambda: fastem.bootstrap(models[0], X, y, n_resamples=3),
    "Inference": lambda: fastem.Inference(models[0], X, y),
    "new": lambda: [fastem.FastEMClassifier().get_params(), fastem.Sampling(n_samples=7)],
}
for model in models:
    values = numbers if "Regressor" in type(model).__name__ else y
    own = {"q": [0.5], "classes": [0, 1]}
    for name in (
        "fit", "partial_fit", "score", "log_likelihood", "posterior", "aic", "bic", "log_density",
        "predict_cdf", "fit_transform", "predict", "predict_proba", "predict_log_proba",
        "transform", "predict_interval", "sample", "predict_quantile",
    ):
        method = getattr(pickle.loads(pickle.dumps(model)), name, None)
        if method is None:
            continue
        arguments = [X] if name.startswith(("predict", "tr", "sample")) else [X, values]
        if name in ("predict_cdf", "predict_quantile"):
            arguments = [X, values if name == "predict_cdf" else [0.5]]
        calls[f"{type(model).__name__}.{name}"] = lambda f=method, a=arguments: f(*a)
for verb in (
    ["fit", f"{folder}/table.csv", "--target", "y", "--model", f"{folder}/new.npz"],
    ["compare", f"{folder}/table.csv", "--target", "y"],
    ["predict", f"{folder}/model.npz", f"{folder}/rows.csv"],
    ["profile"],
):
    def command(verb=verb):
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = main(verb)
        return [status, out.getvalue(), errors.getvalue()]
    calls[f"fastem {verb[0]}"] = command
for name, call in calls.items():
    try:
        result = call()
        outcome = result if name.startswith("fastem ") else "works"
    except Exception as error:
        outcome = [type(error).__name__, str(error)]
    print(json.dumps([name, outcome]), flush=True)
"""
MESSAGE = (
    "fastem needs the compiler of Numba, which NUMBA_DISABLE_JIT switches off; unset "
    "NUMBA_DISABLE_JIT or set it to 0."
)


def _child(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": PACKAGE, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes_without_compiler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    X = np.random.default_rng(0).normal(size=(12, 2))
    y = (X[:, 0] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no convergence
        models = [
            kind(hidden_layer_sizes=(2,), max_iter=2, random_state=0, **settings).fit(X, values)
            for kind, values, settings in (
                (fastem.FastEMClassifier, y, {"alpha": 0.1}),
                (fastem.FastEMRegressor, X[:, 0] - X[:, 1], {"alpha": 0.1}),
                (fastem.FastMLPClassifier, y, {}),
                (fastem.FastMLPRegressor, X[:, 0] - X[:, 1], {}),
            )
        ]
    (folder / "models.pickle").write_bytes(pickle.dumps(models))
    models[0].save(folder / "model.npz")
    rows = "".join(f"{a},{b},{'no' if a > 0 else 'yes'}\n" for a, b in X)
    (folder / "table.csv").write_text(f"x0,x1,y\n{rows}")
    (folder / "rows.csv").write_text("x0,x1\n1,2\n")
    done = _child(CALLS, str(folder), NUMBA_DISABLE_JIT="1")
    return dict(json.loads(line) for line in done.stdout.splitlines()), done.stderr


def test_a_call_works_without_compiler_or_names_the_variable(outcomes_without_compiler):
    found, errors = outcomes_without_compiler
    assert len(found) > 40, errors
    of_python = {name: x for name, x in found.items() if not name.startswith("fastem ")}
    assert {name: x for name, x in of_python.items() if x != ["ImportError", MESSAGE]} == {
        name: "works" for name, x in of_python.items() if x == "works"
    }
    assert found["new"] == "works"
    for name in ("e_step", "warmup", "FastEMClassifier.fit", "FastMLPRegressor.predict"):
        assert found[name] == ["ImportError", MESSAGE]
    assert errors == ""


@pytest.mark.parametrize("verb", ["fit", "compare", "predict", "profile"])
def test_the_command_line_without_compiler_ends_with_one_line(outcomes_without_compiler, verb):
    status, _, errors = outcomes_without_compiler[0][f"fastem {verb}"]
    assert status == 2
    assert errors == f"fastem: error: {MESSAGE}\n"


# ---- a child is forked while another thread compiles

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")


def _fork(function):
    """Run a function in a child; return its process and how long the fork took."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks of a process with threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(PATIENCE))
            status = 0 if function() else 2
        finally:
            os._exit(status)
    return child, time.perf_counter() - began


def _status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _compile_something():
    @jit
    def twice(x):
        return 2 * x

    return twice(3) == 6


def _hold_compiler(seconds):
    """Hold the lock of the compiler in another thread; return the thread."""
    held = threading.Event()

    def hold():
        with global_compiler_lock:
            held.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    return thread


@needs_fork
def test_a_fork_waits_for_a_compilation_in_another_thread():
    thread = _hold_compiler(0.3)
    child, seconds = _fork(_compile_something)
    assert not thread.is_alive() or seconds > 0.1
    assert _status(child) == 0
    thread.join()
    assert not global_compiler_lock.is_locked()
    assert _compile_something()
    assert _fork(lambda: True)[1] < PATIENCE / 2


@needs_fork
def test_a_fork_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(_jit, "_PATIENCE", 0.05)
    thread = _hold_compiler(0.5)
    child, seconds = _fork(lambda: True)
    assert seconds < 0.45
    assert _status(child) == 0
    thread.join()
    assert not global_compiler_lock.is_locked()
    assert _compile_something()


@needs_fork
def test_a_thread_that_compiles_can_fork_itself():
    with global_compiler_lock:
        child, _ = _fork(_compile_something)
        assert global_compiler_lock.is_locked()
    assert _status(child) == 0
    assert not global_compiler_lock.is_locked()


@needs_fork
def test_children_of_a_process_that_compiles_compile_too():
    """Children are forked all along a compilation; each has its garbage collector."""
    thread = threading.Thread(target=lambda: [_compile_something() for _ in range(5)])
    thread.start()
    children = []
    while thread.is_alive():
        time.sleep(0.02)
        children.append(_fork(lambda: gc.isenabled() and _compile_something())[0])
    thread.join()
    assert children
    assert [_status(child) for child in children] == [0] * len(children)


# ---- the cache folder


# One small kernel: the result does not depend on the number of kernels.
ONE_KERNEL = """
import json
import numpy as np
from fastem.kernels import random

value = int(random.mix(np.uint64(7)))
print(json.dumps([[value], ["mix"] if random.mix.stats.cache_misses else [], random.__file__]))
"""
COMPILED, LOADED = (VALUES[:1], ["mix"]), (VALUES[:1], [])


def probe(place, cache, change="", **settings):
    return long_probe(place, cache, code=change + ONE_KERNEL, **settings)


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and privileges of Linux")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return copy_of_kernels(tmp_path_factory.mktemp("kernels") / "place")


def _as_file(folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()


def _as_foreign(folder):
    """Make a folder that another user owns, or that cannot be used although it is our own."""
    folder.mkdir(parents=True)
    (folder / "0123").touch()
    folder.chmod(0)
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)


def _as_read_only(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o555)


@linux
@pytest.mark.parametrize(
    ("make", "level"),
    [
        (_as_file, "cache"),
        (_as_file, "cache/fastem"),
        (_as_foreign, "cache/fastem"),
        (_as_read_only, "cache"),
    ],
)
def test_a_cache_folder_that_cannot_be_used(place, tmp_path, make, level):
    make(tmp_path / level)
    try:
        found = probe(place, tmp_path / "cache", first=WITHOUT_PRIVILEGES)
        assert found == COMPILED
    finally:
        (tmp_path / level).chmod(0o755)
    assert list(tmp_path.rglob("*.nbc")) == []


@linux
@pytest.mark.parametrize("kind", ["files", "folder"])
def test_compiled_code_that_cannot_be_read(place, tmp_path, kind):
    assert probe(place, tmp_path / "cache") == COMPILED
    files = list(tmp_path.rglob("*.nbc"))
    assert len(files) == 1
    hidden = files if kind == "files" else [files[0].parent]
    for path in hidden:
        path.chmod(0)
    try:
        found = probe(place, tmp_path / "cache", first=WITHOUT_PRIVILEGES)
        assert found == COMPILED
    finally:
        for path in hidden:
            path.chmod(0o755)


@linux
def test_a_full_disk(place, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    assert probe(place, tmp_path / "cache", first=limit) == COMPILED
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert probe(place, tmp_path / "cache") == COMPILED  # nothing damaged is left


def test_eight_cold_processes_at_once(place, tmp_path):
    found = [None] * 8

    def start(i):
        found[i] = probe(place, tmp_path / "cache")

    starts = [threading.Thread(target=start, args=(i,)) for i in range(8)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    assert [value for (value,), _ in found] == VALUES[:1] * 8
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".nbc"}  # no temporary file is left
    assert len(files) == 1
    assert probe(place, tmp_path / "cache") == LOADED


HOMES = {
    "no home": ({"HOME": None}, "pwd.getpwuid = missing"),
    "home does not exist": ({"HOME": "{folder}/nonexistent"}, ""),
    "home is relative": ({"HOME": "."}, ""),
    "empty cache variable": ({"HOME": "{folder}/nonexistent", "XDG_CACHE_HOME": ""}, ""),
    "relative cache variable": ({"HOME": "{folder}/nonexistent", "XDG_CACHE_HOME": "here"}, ""),
}
UNKNOWN_USER = """
import pwd
def missing(*arguments):
    raise KeyError("no such user")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="cache folders are elsewhere")
@pytest.mark.parametrize("case", HOMES)
def test_no_folder_is_made_where_nobody_looks_for_it(place, tmp_path, case):
    environment, change = HOMES[case]
    environment = {"XDG_CACHE_HOME": None, **environment}
    environment = {k: v and v.format(folder=tmp_path) for k, v in environment.items()}
    (tmp_path / "here").mkdir()
    found = probe(place, "", change=UNKNOWN_USER + change, cwd=tmp_path / "here", **environment)
    assert found == COMPILED
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]
