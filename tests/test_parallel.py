"""Threads: every piece once, no worker twice at a time, nothing lost, nothing left behind."""

import multiprocessing
import threading
import time
import warnings
from typing import ClassVar

import numpy as np
import pytest
from child_process import small_problem, squares_and_log_likelihood
from sklearn.datasets import load_iris
from threadpoolctl import OpenBLASController, ThreadpoolController, threadpool_info

from fastem import FastEMClassifier
from fastem.engines.enumeration import Enumeration
from fastem.estimators.standardization import Standardization
from fastem.runtime import cores, threads
from fastem.runtime.cores import effective_n_jobs
from fastem.runtime.threads import run, single_threaded_blas, threads_worth

START_METHODS = [x for x in multiprocessing.get_all_start_methods() if x != "forkserver"]
PATIENCE = 60.0  # seconds after which a test that would hang fails instead


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


# ---- effective_n_jobs


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("n_jobs", "expected"),
    [(None, 8), (1, 1), (3, 3), (64, 64), (-1, 8), (-2, 7), (-8, 1), (-100, 1), (np.int64(2), 2)],
)
def test_effective_n_jobs(n_jobs, expected):
    assert effective_n_jobs(n_jobs) == expected


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("numba", "omp", "expected"),
    [
        ("2", None, 2),
        (None, "3", 3),
        ("5", "3", 3),
        ("2", "3", 2),
        (" 4 ", None, 4),
        ("64", "64", 8),
        ("0", "", 8),
        ("many", "-1", 8),
        (None, "4,2", 4),  # OpenMP's list, outermost level first
        ("²", None, 8),
    ],
)
def test_none_minds_the_environment(monkeypatch, numba, omp, expected):
    for name, value in (("NUMBA_NUM_THREADS", numba), ("OMP_NUM_THREADS", omp)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert effective_n_jobs(None) == expected
    assert effective_n_jobs(6) == 6
    assert effective_n_jobs(-1) == 8


@pytest.mark.parametrize(
    "n_jobs", [0, True, False, 1.5, 2.0, "2", [1], np.float64(2.0), np.array([2]), int]
)
def test_other_n_jobs_are_refused(n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be None or an integer other than 0"):
        effective_n_jobs(n_jobs)


def test_threads_worth():
    assert threads_worth(10.0, 4) == 4
    assert threads_worth(1e-9, 4) == 1
    assert threads_worth(0.0, 4) == threads_worth(10.0, 1) == 1


# ---- run


class Watch:
    """A piece of work that records who does it, and objects to two at once as one worker."""

    def __init__(self, n_threads, seconds=0.0):
        self.seconds = seconds
        self.done = []
        self.idents = set()
        self.scratch = [threading.Lock() for _ in range(n_threads)]
        self.active = 0
        self.lock = threading.Lock()

    def __call__(self, piece, worker):
        assert self.scratch[worker].acquire(blocking=False), f"two at once as worker {worker}"
        with self.lock:
            self.active += 1
        try:
            self.idents.add(threading.get_ident())
            time.sleep(self.seconds)
            self.act(piece, worker)
            self.done.append(piece)
        finally:
            with self.lock:
                self.active -= 1
            self.scratch[worker].release()

    def act(self, piece, worker):
        """Do nothing; tests put something else here."""


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_pieces", [0, 1, 2, 7, 200])
def test_every_piece_is_done_once(n_pieces, n_threads):
    watch = Watch(n_threads, seconds=1e-4)
    run(watch, n_pieces, n_threads)
    assert sorted(watch.done) == list(range(n_pieces))
    assert len(watch.idents) <= n_threads


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_threads_work_at_the_same_time(n_threads):
    together = threading.Barrier(n_threads)
    workers = []

    def meet(piece, worker):
        together.wait(PATIENCE)
        workers.append(worker)

    run(meet, n_threads, n_threads)
    assert sorted(workers) == list(range(n_threads))


@pytest.mark.parametrize(("n_pieces", "n_threads"), [(5, 1), (1, 8)])
def test_one_thread_or_one_piece_stays_with_the_caller(n_pieces, n_threads):
    watch = Watch(n_threads)
    run(watch, n_pieces, n_threads)
    assert watch.done == list(range(n_pieces))
    assert watch.idents == {threading.get_ident()}


def test_more_threads_than_pieces():
    watch = Watch(2, seconds=1e-3)  # workers from 2 on have no scratch: an IndexError
    run(watch, 2, 64)
    assert sorted(watch.done) == [0, 1]


ERRORS = pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])


def _check_it_comes_out(act, n_pieces, n_threads, error):
    """Run an act that raises: after it no thread works on, and `run` can be used again."""
    watch = Watch(n_threads)
    watch.act = act
    with pytest.raises(error, match="as asked"):
        run(watch, n_pieces, n_threads)
    done = len(watch.done)
    assert watch.active == 0
    assert done <= n_pieces // 2
    time.sleep(0.01)
    assert len(watch.done) == done
    test_every_piece_is_done_once(20, n_threads)
    if n_threads > 1:
        test_threads_work_at_the_same_time(n_threads)


@ERRORS
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_what_the_caller_raises(n_threads, error):
    caller = threading.get_ident()

    def act(piece, worker):
        time.sleep(1e-3)
        if threading.get_ident() == caller:
            raise error("as asked")

    _check_it_comes_out(act, 1000, n_threads, error)


@ERRORS
@pytest.mark.parametrize("n_threads", [2, 3])
def test_what_a_helper_raises_while_the_caller_has_work(n_threads, error):
    caller = threading.get_ident()
    started = threading.Event()

    def act(piece, worker):
        if threading.get_ident() == caller:
            assert started.wait(PATIENCE)
            time.sleep(2e-3)
        else:
            started.set()
            raise error("as asked")

    _check_it_comes_out(act, 1000, n_threads, error)


@ERRORS
@pytest.mark.parametrize("n_threads", [2, 3])
def test_what_a_helper_raises_when_the_caller_has_done(n_threads, error):
    caller = threading.get_ident()
    together = threading.Barrier(n_threads)

    def act(piece, worker):
        together.wait(PATIENCE)
        if threading.get_ident() != caller:
            time.sleep(0.02)
            raise error("as asked")

    _check_it_comes_out(act, n_threads, n_threads, error)


def test_when_all_raise_one_error_comes_out():
    def act(piece, worker):
        raise ValueError("as asked")

    _check_it_comes_out(act, 50, 3, ValueError)


def test_a_run_inside_a_run_is_serial():
    def outer(piece, worker):
        watch = Watch(1, seconds=1e-3)  # no scratch but that of worker 0
        run(watch, 5, 8)
        assert watch.done == [0, 1, 2, 3, 4]
        assert watch.idents == {threading.get_ident()}

    run(outer, 6, 3)
    test_threads_work_at_the_same_time(2)  # no thread still believes to be inside


def test_a_run_does_without_helpers_that_have_not_begun(monkeypatch):
    state = threads._State()
    monkeypatch.setattr(threads, "_state", state)
    monkeypatch.setattr(threads, "share_of_cores", lambda: 8)
    state.helpers.start(1)
    monkeypatch.setattr(state.helpers, "start", lambda n_threads: n_threads)  # no second helper
    begun, release = threading.Event(), threading.Event()

    def occupy(piece, worker):
        if worker == 1:
            begun.set()
            assert release.wait(PATIENCE)
        else:
            assert begun.wait(PATIENCE)

    watch = Watch(2)
    other = threading.Thread(target=run, args=(occupy, 2, 2))
    mine = threading.Thread(target=run, args=(watch, 5, 2))
    other.start()
    try:
        assert begun.wait(PATIENCE)
        mine.start()
        mine.join(PATIENCE / 4)
        assert not mine.is_alive()
        assert watch.done == [0, 1, 2, 3, 4]
    finally:
        release.set()
        other.join(PATIENCE)
        mine.join(PATIENCE)
    assert watch.done == [0, 1, 2, 3, 4]  # and nobody does them again


def test_callers_in_several_threads_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setattr(threads, "share_of_cores", lambda: 12)
    watches = [Watch(3, seconds=1e-4) for _ in range(4)]
    callers = [threading.Thread(target=run, args=(watch, 50, 3)) for watch in watches]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive()
    for watch in watches:
        assert sorted(watch.done) == list(range(50))


# ---- BLAS


def _blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def _set_blas_threads(n_threads):
    """Set them, and let no thread be the one that may set them from now on."""
    release = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    release(force=True)  # threadpoolctl 3.8 heeds the first thread only
    ThreadpoolController().limit(limits=n_threads, user_api="blas")
    release(force=True)


@pytest.fixture(autouse=True)
def two_blas_threads():
    """More than one, so that a limit shows; every test has to leave them so."""
    (before,) = _blas_threads()
    _set_blas_threads(2)
    yield
    after = _blas_threads()
    _set_blas_threads(before)
    assert after == {2}


def _hold(inside=lambda: None):
    with single_threaded_blas():
        inside()
        return _blas_threads()


def _in_a_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(PATIENCE)
    return results[0]


def test_blas_is_held_to_one_thread_and_released():
    for _ in range(2):
        assert _hold(_hold) == {1}
        assert _blas_threads() == {2}


def test_blas_is_released_after_an_error():
    with pytest.raises(ValueError, match="inside"), single_threaded_blas():
        raise ValueError("inside")
    assert _blas_threads() == {2}


def test_blas_can_be_held_by_one_thread_after_another():
    for _ in range(2):
        assert _hold() == {1}
        assert _in_a_thread(_hold) == {1}
        assert _blas_threads() == {2}


def test_blas_is_held_whoever_set_a_limit_before():
    ThreadpoolController().limit(limits=2, user_api="blas")  # from now on it heeds this thread
    assert _in_a_thread(_hold) == {1}


def test_others_can_limit_blas_again_afterwards():
    def limit():
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            return _blas_threads()

    _hold()
    assert _in_a_thread(limit) == {1}


@pytest.mark.parametrize("first_out", ["first in", "last in"])
def test_the_last_of_two_threads_releases_blas(first_out):
    entered, leave = threading.Event(), threading.Event()

    def other():
        entered.set()
        assert leave.wait(PATIENCE)

    thread = threading.Thread(target=_hold, args=(other,))
    thread.start()
    assert entered.wait(PATIENCE)
    assert _blas_threads() == {1}
    with single_threaded_blas():
        if first_out == "first in":
            leave.set()
            thread.join(PATIENCE)
        assert _blas_threads() == {1}
    if first_out == "last in":
        assert _blas_threads() == {1}
        leave.set()
        thread.join(PATIENCE)
    assert _blas_threads() == {2}


def test_blas_is_released_while_the_first_thread_lives_on():
    entered, leave, left, end = (threading.Event() for _ in range(4))

    def other():
        _hold(lambda: (entered.set(), leave.wait(PATIENCE)))
        left.set()
        end.wait(PATIENCE)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert entered.wait(PATIENCE)
        with single_threaded_blas():
            leave.set()
            assert left.wait(PATIENCE)
        assert _blas_threads() == {2}
    finally:
        end.set()
        thread.join(PATIENCE)


def test_an_e_step_holds_blas_to_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_MOST_SERIAL_MULTIPLICATIONS", 1000)
    rows, shape, parameters = small_problem(4000)
    plan = Enumeration().plan(rows, shape, 1)
    seen = []
    fill_rows = plan._fill_rows
    monkeypatch.setattr(
        plan, "_fill_rows", lambda *x: (seen.append(_blas_threads()), fill_rows(*x))
    )
    plan.expect(parameters)
    assert seen == [{1}]


class Watched(np.ndarray):
    """Weights that note how many threads BLAS has whenever they are multiplied."""

    seen: ClassVar[list] = []

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if ufunc is np.matmul:
            self.seen.append(_blas_threads())
        plain = [np.asarray(x) for x in inputs]
        return getattr(ufunc, method)(*plain, **options)


@pytest.mark.parametrize("method", ["transform", "predict_proba", "sample"])
def test_products_of_a_fitted_network_hold_blas_to_one_thread(monkeypatch, method):
    monkeypatch.setattr(threads, "_MOST_SERIAL_MULTIPLICATIONS", 1000)
    X, y = load_iris(return_X_y=True)
    model = FastEMClassifier((3,), prediction="plugin", random_state=0, tol=1e-3).fit(X, y)
    model.coefs_ = [W.view(Watched) for W in model.coefs_]
    Watched.seen.clear()
    getattr(model, method)(X)
    assert len(Watched.seen) == (1 if method == "transform" else 2)
    assert all(threads == {1} for threads in Watched.seen)


def test_standardising_holds_blas_to_one_thread(monkeypatch):
    seen = []
    scaling = Standardization.of
    monkeypatch.setattr(
        Standardization,
        "of",
        lambda *args, **named: (seen.append(_blas_threads()), scaling(*args, **named))[1],
    )
    FastEMClassifier((2,), alpha=0.15, random_state=0, tol=1e-3).fit(*load_iris(return_X_y=True))
    assert seen == [{1}]


# ---- processes


@pytest.mark.parametrize("method", START_METHODS)
def test_child_processes_have_threads_of_their_own(monkeypatch, method):
    """The parent's pool does not survive a fork; the child makes its own."""
    monkeypatch.setattr(threads, "_SERIAL_SECONDS", 0.0)
    test_threads_work_at_the_same_time(3)
    expected = [squares_and_log_likelihood(seed) for seed in range(3)]
    with warnings.catch_warnings():
        # from Python 3.12 on, a fork of a process with threads is warned of
        warnings.simplefilter("ignore", DeprecationWarning)
        # JAX, if another test has imported it, warns of every fork; the child does not use it
        warnings.filterwarnings("ignore", ".*JAX is multithreaded", RuntimeWarning)
        with multiprocessing.get_context(method).Pool(1) as pool:
            results = pool.map_async(squares_and_log_likelihood, range(3)).get(PATIENCE)
    assert results == expected
    test_threads_work_at_the_same_time(3)  # the parent's pool still works
