"""Threads of a host process: the end of the interpreter, limits, joblib's workers, forks."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import joblib
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info

import fastem
from fastem.perceptron import FeedForward
from fastem.runtime import cores, helpers, threads
from fastem.runtime.cores import effective_n_jobs, share_of_cores
from fastem.runtime.threads import run, single_threaded_blas

PATIENCE = 60.0
PACKAGE = str(Path(fastem.__file__).parents[1])

# ---- hosts in which no thread can be started, or in which the main thread has returned

WORK = """
import atexit, hashlib, json, os, sys, threading, warnings
import numpy as np, scipy.sparse
import fastem
from fastem.runtime import threads

threads._SERIAL_SECONDS = 0.0  # share all work, however short
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(700, 3))
y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 1.0)
numbers, counts = X[:, 0] + 0.1 * rng.normal(size=700), rng.poisson(np.exp(0.5 * X[:, 0]))
common = {"alpha": 0.1, "random_state": 0, "max_iter": 2}
two = {"hidden_layer_sizes": (2,)}

def classes(labels=y, rows=X, **settings):
    model = fastem.FastEMClassifier(**{"hidden_layer_sizes": (3,), **common, **settings})
    model.fit(rows, labels)
    predictions = model.predict_proba(rows), model.transform(rows), model.score(rows, labels)
    return [*model.coefs_, *predictions]

def outputs(values, **settings):
    model = fastem.FastEMRegressor(**{"hidden_layer_sizes": (3,), **common, **settings})
    model.fit(X, values)
    found = [*model.coefs_, model.predict(X)]
    return found if "family" in settings else [*found, model.predict_quantile(X[:20], [0.1, 0.9])]

def expectations(**settings):
    W, V = np.random.default_rng(1).normal(size=(2, 3, 3))
    result = fastem.e_step(X, y, [W, V], [np.zeros(3)] * 2, n_jobs=common["n_jobs"], **settings)
    return [result.log_likelihood, result.hidden_posterior, *result.coef_gradients]

def perceptron(kind, values):
    model = kind(hidden_layer_sizes=(5,), random_state=0, max_iter=3).fit(X, values)
    return [*model.coefs_, model.predict(X)]

def refits():
    model = fastem.FastEMClassifier((2,), **common).fit(X[:60], y[:60] > 0)
    found = fastem.bootstrap(model, X[:60], y[:60] > 0, n_resamples=3, random_state=0)
    return found.coefs_

CASES = {
    "enumeration": classes,
    "deep": lambda: classes(hidden_layer_sizes=(2, 2)),
    "quadrature, two classes": lambda: classes(y > 0, e_step="quadrature"),
    "quadrature, three classes": lambda: classes(e_step="quadrature", **two),
    "sampling": lambda: classes(e_step="sampling"),
    "bound": lambda: classes(m_step="bound"),
    "lbfgs": lambda: classes(solver="lbfgs"),
    "adam": lambda: classes(solver="adam"),
    "choice of the penalty": lambda: classes(alpha="auto", **two),
    "sparse": lambda: classes(rows=scipy.sparse.csr_array(X)),
    "numbers": lambda: outputs(numbers, e_step="enumeration"),
    "numbers by quadrature": lambda: outputs(numbers, e_step="quadrature", **two),
    "counts": lambda: outputs(counts, family="poisson"),
    "e_step": expectations,
    "e_step by sampling": lambda: expectations(method=fastem.Sampling(n_samples=8), random_state=0),
    "perceptron": lambda: perceptron(fastem.FastMLPClassifier, y),
    "perceptron for numbers": lambda: perceptron(fastem.FastMLPRegressor, numbers),
    "bootstrap": refits,
}

def work(host, n_jobs=3):
    common["n_jobs"] = n_jobs
    threads._state.helpers = threads.Helpers()  # no thread has been started
    for name, case in CASES.items():
        try:
            content = b"".join(np.ascontiguousarray(array).tobytes() for array in case())
            outcome = hashlib.sha256(content).hexdigest()
        except BaseException as error:
            outcome = repr(error)
        print(json.dumps([host, name, outcome]), flush=True)

def refuse(n_threads):
    # let a number of threads start, and no more
    left = iter(range(n_threads))
    def limited(self):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(self)
    threading.Thread.start = limited

start = threading.Thread.start
work("alone", 1)
if sys.argv[1] == "limit":
    import resource
    if os.geteuid() == 0:  # the limit does not hold for the superuser
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        start(threading.Thread())
        sys.exit("the limit does not hold")
    except RuntimeError:
        work("limit")
else:
    refuse(0)
    work("no thread")
    refuse(1)
    work("one thread")
    threading.Thread.start = start
    threading.Thread(target=lambda: (threading.main_thread().join(), work("thread"))).start()
    atexit.register(work, "atexit")
"""
HOSTS = ["no thread", "one thread", "thread", "atexit"]
if sys.platform == "linux":
    HOSTS.append("limit")


def _start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )  # fmt: skip


def _end(process):
    try:
        return process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture(scope="module")
def outcomes():
    """Outcomes of all cases by host, and those of the calling thread alone."""
    found, errors = {}, ""
    for process in [_start(WORK, host) for host in {"limit", "other"} & {*HOSTS, "other"}]:
        out, text = _end(process)
        errors += text
        for host, name, outcome in map(json.loads, out.splitlines()):
            found.setdefault(host, {})[name] = outcome
    return found, errors


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_gets_the_numbers_of_a_single_thread(outcomes, host):
    found, errors = outcomes
    assert len(found["alone"]) == 18, errors
    assert all(len(outcome) == 64 for outcome in found["alone"].values()), found["alone"]
    assert found[host] == found["alone"], errors
    assert "Traceback" not in errors


PROCESSES = """
import sys, threading, warnings
import numpy as np, fastem

warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(40, 2))
y = (X[:, 0] > 0).astype(int)
model = fastem.FastEMClassifier((2,), alpha=0.1, random_state=0, max_iter=3, n_jobs=1).fit(X, y)

def work():
    for n_jobs in (2, None):
        found = fastem.bootstrap(model, X, y, n_resamples=3, n_jobs=n_jobs, random_state=0)
        print([coefs.tolist() for coefs in found.coefs_], flush=True)

def wait_and_work():
    threading.main_thread().join()
    work()

threading.Thread(target=wait_and_work).start()
"""


def test_resamples_where_no_process_can_be_started():
    out, errors = _end(_start(PROCESSES))
    first, second = out.splitlines()
    assert first == second, errors


# ---- a host without standard streams, as a program without a console


def test_verbose_fits_without_standard_streams(monkeypatch):
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    settings = {"alpha": 0.1, "random_state": 0, "verbose": 1}
    model = fastem.FastEMClassifier((1,), **settings).fit(X, y)
    assert model.converged_
    fastem.bootstrap(model, X * 5, y * 5, n_resamples=2, verbose=1)
    assert fastem.FastMLPClassifier((1,), random_state=0, verbose=1, tol=1.0).fit(X, y).converged_


# ---- the threads that wait for work


def test_a_thread_that_cannot_be_started_leaves_nothing_behind(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    state = threads._State()
    monkeypatch.setattr(threads, "_state", state)
    done = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        run(lambda piece, worker: done.append((piece, worker)), 5, 3)
    assert done == [(piece, 0) for piece in range(5)]
    assert state.uses == {}
    assert state.helpers._tickets.empty()
    together = threading.Barrier(3)  # the limit is gone
    run(lambda piece, worker: together.wait(PATIENCE), 3, 3)


def test_a_withdrawn_ticket_keeps_no_arrays_alive():
    queue, done = helpers.Helpers(), []
    tickets = [helpers.Ticket(done.append, worker) for worker in range(3)]
    for ticket in tickets:
        queue.put(ticket)
    helpers.close_all(tickets)
    helpers.close_all(tickets)  # a second time, as after Ctrl-C
    assert all(ticket._work is None for ticket in tickets)
    queue.start(1)
    last = helpers.Ticket(done.append, 7)
    queue.put(last)
    while not last._has_ended:
        time.sleep(1e-3)
    assert done == [7]


def test_a_step_is_repeated_until_ctrl_c_does_not_disturb_it():
    interrupts, steps = iter([True, True, False]), []

    def step():
        steps.append(len(steps))
        if next(interrupts):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        helpers.finish(step)
    assert steps == [0, 1, 2]


# ---- threads and processes that fit at the same time


class Busy:
    """Counts the threads that work at the same time."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def __call__(self, piece, worker):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(1e-3)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("n_cores", "n_callers"), [(2, 2), (4, 2), (6, 2), (4, 3), (3, 5)])
def test_threads_that_fit_at_once_use_no_more_threads_than_cores(monkeypatch, n_cores, n_callers):
    monkeypatch.setattr(threads, "share_of_cores", lambda: n_cores)
    busy, all_inside = Busy(), threading.Barrier(n_callers)

    def fit():
        with single_threaded_blas():
            all_inside.wait(PATIENCE)
            for _ in range(5):
                run(busy, 40, n_cores)
            all_inside.wait(PATIENCE)

    joblib.Parallel(n_callers, "threading")(joblib.delayed(fit)() for _ in range(n_callers))
    assert busy.most <= max(n_cores, n_callers)
    assert busy.most >= min(n_cores // n_callers, 2) * n_callers - 1  # and the cores are used
    alone = Busy()
    run(alone, 200, n_cores)  # a caller without company uses all of them again
    assert alone.most == n_cores


def test_uses_of_one_thread_count_once(monkeypatch):
    monkeypatch.setattr(threads, "share_of_cores", lambda: 2)
    busy = Busy()
    with single_threaded_blas(), single_threaded_blas():
        run(busy, 100, 2)
    assert busy.most == 2


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "executor"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*JAX is multithreaded:RuntimeWarning")
def test_workers_of_a_pool_divide_the_cores(backend, monkeypatch):
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    n_cores = cores.cores()
    numbers = [None, -1, 2, n_cores, 1]
    if backend == "executor":
        with ProcessPoolExecutor(n_cores) as pool:
            found = list(pool.map(effective_n_jobs, numbers, timeout=PATIENCE))
    else:
        found = joblib.Parallel(n_cores, backend)(
            joblib.delayed(effective_n_jobs)(n_jobs) for n_jobs in numbers
        )
    assert found == [1] * 5


@pytest.mark.parametrize(
    ("backend", "expected"),
    [("threading", 1), ("multiprocessing", 1), ("loky", None), ("sequential", None)],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*JAX is multithreaded:RuntimeWarning")
def test_threads_of_blas_of_a_worker(backend, expected):
    n_workers = 1 if backend == "sequential" else max(cores.cores(), 2)
    found = joblib.Parallel(n_workers, backend if n_workers > 1 else None)(
        joblib.delayed(cores.blas_threads_of_worker)() for _ in range(n_workers)
    )
    assert found == [expected] * n_workers
    assert cores.blas_threads_of_worker() is None


def test_the_lowest_limit_of_blas_holds(monkeypatch):
    with ThreadpoolController().limit(limits=4, user_api="blas"):
        monkeypatch.setattr(threads, "blas_threads_of_worker", lambda: 3)
        with threads.blas_of_worker():
            assert _blas_threads() == [3]
            with single_threaded_blas():
                assert _blas_threads() == [1]
            assert _blas_threads() == [3]
        assert _blas_threads() == [4]
        monkeypatch.setattr(threads, "blas_threads_of_worker", lambda: 9)
        with threads.blas_of_worker():  # it raises no limit
            assert _blas_threads() == [4]
        monkeypatch.setattr(threads, "blas_threads_of_worker", lambda: None)
        with threads.blas_of_worker():
            assert _blas_threads() == [4]


def test_ctrl_c_while_the_limit_of_blas_is_set(monkeypatch):
    state = threads._State()
    monkeypatch.setattr(threads, "_state", state)
    set_numbers = threads._set_blas_threads

    def interrupted(*arguments):
        set_numbers(*arguments)
        monkeypatch.setattr(threads, "_set_blas_threads", set_numbers)
        raise KeyboardInterrupt

    with ThreadpoolController().limit(limits=2, user_api="blas"):
        monkeypatch.setattr(threads, "_set_blas_threads", interrupted)
        with pytest.raises(KeyboardInterrupt), single_threaded_blas():
            pytest.fail("the block was entered")
        assert _blas_threads() == [2]
        block = single_threaded_blas()
        block.__enter__()
        monkeypatch.setattr(threads, "_set_blas_threads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            block.__exit__(None, None, None)
        assert _blas_threads() == [2]
    assert state.uses == {}


@pytest.mark.parametrize("name", ["fit", "predict"])
def test_a_perceptron_of_a_worker_uses_its_share_of_blas(monkeypatch, name):
    seen = []
    kind, method = {"fit": (FeedForward, "train"), "predict": (FeedForward, "outputs")}[name]
    original = getattr(kind, method)

    def watched(*arguments, **settings):
        seen.append(_blas_threads())
        return original(*arguments, **settings)

    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    model = fastem.FastMLPClassifier((2,), max_iter=1, random_state=0, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no convergence
        model.fit(X, y)
        monkeypatch.setattr(kind, method, watched)
        arguments = [X, y] if name == "fit" else [X]
        with ThreadpoolController().limit(limits=2, user_api="blas"):
            getattr(model, name)(*arguments)
            joblib.Parallel(2, "threading")([joblib.delayed(getattr(model, name))(*arguments)])
    assert seen == [[2], [1]]


def test_a_process_that_is_not_in_a_pool_has_all_cores():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert 1 <= pool.apply_async(share_of_cores).get(PATIENCE) <= cores.cores()
    assert share_of_cores() == cores.cores()


@pytest.mark.parametrize(("n_siblings", "expected"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 1)])
def test_share_of_a_worker(monkeypatch, n_siblings, expected):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.setattr(cores, "_pool_of_this_process", lambda: "multiprocessing.pool")
    monkeypatch.setattr(cores, "_n_siblings", lambda: n_siblings)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert share_of_cores() == expected
    assert [effective_n_jobs(n) for n in (None, -1, 8, 1)] == [expected] * 3 + [1]


# ---- forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")


def _in_a_child(function):
    """Return what a function returns in a forked child; fail if the child hangs."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks of a process with threads
        child = os.fork()
    if child == 0:
        try:
            signal.alarm(int(PATIENCE))
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    assert text, "the child hangs or fails"
    return json.loads(text)


def _blas_threads():
    return sorted({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})


def _limit():
    with single_threaded_blas():
        return _blas_threads()


def _enough_helpers():
    together = threading.Barrier(3)
    run(lambda piece, worker: together.wait(PATIENCE), 3, 3)
    return True


@pytest.fixture
def two_blas_threads():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        assert _blas_threads() == [2]
        yield
        assert _blas_threads() == [2]


@needs_fork
@pytest.mark.usefixtures("two_blas_threads")
def test_a_child_that_is_forked_during_a_fit_of_another_thread():
    entered, leave = threading.Event(), threading.Event()

    def fit():
        with single_threaded_blas():
            entered.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        assert entered.wait(PATIENCE)
        assert _blas_threads() == [1]
        found = _in_a_child(lambda: [_blas_threads(), _limit(), _blas_threads(), _enough_helpers()])
        assert found == [[2], [1], [2], True]
        assert _blas_threads() == [1]  # the parent still fits
    finally:
        leave.set()
        thread.join(PATIENCE)


@needs_fork
@pytest.mark.usefixtures("two_blas_threads")
def test_a_child_that_is_forked_inside_its_own_fit():
    def rest_of_the_fit():
        inside = _blas_threads()
        block.__exit__(None, None, None)
        return [inside, _blas_threads(), len(threads._state.uses)]

    block = single_threaded_blas()
    with block:
        found = _in_a_child(rest_of_the_fit)
    assert found == [[1], [2], 0]


@needs_fork
@pytest.mark.usefixtures("two_blas_threads")
def test_a_fork_waits_for_a_thread_that_holds_the_state():
    held = threading.Event()

    def hold():
        with threads._state.lock:
            held.set()
            time.sleep(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    assert _in_a_child(lambda: [_limit(), _enough_helpers()]) == [[1], True]
    thread.join(PATIENCE)
    assert _limit() == [1]  # and the parent has released it


@needs_fork
def test_a_child_uses_an_e_step_that_another_thread_is_using():
    oracle = fastem.EStep([[0.0], [1.0]], [0, 1], hidden_layer_sizes=1)
    held, leave = threading.Event(), threading.Event()

    def hold():
        with oracle._lock:
            held.set()
            leave.wait(PATIENCE)

    def evaluate():
        result = oracle([[[1.0]], [[1.0, -1.0]]], [[0.0], [0.0, 0.0]])
        return result.log_likelihood.tolist()

    expected = evaluate()
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(PATIENCE)
        assert _in_a_child(evaluate) == expected
    finally:
        leave.set()
        thread.join(PATIENCE)
    assert evaluate() == expected
