"""Measurements: alternating runs, new processes, and the quality of a fit."""

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold

import fastem

_SETTLING_SECONDS = 0.3


def best_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the minimum time of several calls, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def alternate(benchmark, ours: Callable, theirs: Callable, rounds: int) -> tuple:
    """Run two functions alternately; return their last results, and ratios of their times.

    The benchmark measures ``ours``. Before every measured run the same function runs for a
    while, so that the caches belong to it and the BLAS threads of the other have stopped
    spinning. Other load on the machine slows both functions. Medians are robust to
    disturbances of one of them, and minimum times belong to the least disturbed runs.
    """
    seconds, results = [], []

    def run_theirs():
        _settle(theirs)
        start = time.perf_counter()
        results.append(theirs())
        seconds.append(time.perf_counter() - start)
        _settle(ours)

    ours()  # compiles
    result = benchmark.pedantic(ours, setup=run_theirs, rounds=rounds)
    median, median_theirs = benchmark.stats["median"], statistics.median(seconds)
    figures = {
        "ms_fastem": 1e3 * median,
        "ms_sklearn": 1e3 * median_theirs,
        "ratio_of_median_times": median_theirs / median,
        "ratio_of_minimum_times": min(seconds) / benchmark.stats["min"],
    }
    return result, results[-1], figures


def _settle(function):
    """Call a function for a while, at least once."""
    end = time.perf_counter() + _SETTLING_SECONDS
    function()
    while time.perf_counter() < end:
        function()


def run_in_new_process(code: str, folder: Path):
    """Run code in a new process outside the source tree; return the JSON that it prints.

    Its compiled kernels are kept in ``folder``.
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, **_place(folder))
    return json.loads(done.stdout)


def seconds_until_line(arguments: list[str], start: str, folder: Path) -> float:
    """Run Python in a new process; return the seconds until a line of its output begins so."""
    began, seconds = time.perf_counter(), None
    with subprocess.Popen([sys.executable, "-u", *arguments], **_place(folder)) as process:
        for line in process.stdout:
            if seconds is None and line.startswith(start):
                seconds = time.perf_counter() - began
    if process.returncode != 0 or seconds is None:
        raise RuntimeError(f"exit code {process.returncode}, line found: {seconds is not None}")
    return seconds


def _place(folder):
    """Return the options of a process outside the source tree with its own compiled kernels."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "PYTHONPATH": str(Path(fastem.__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "",  # an import reads compiled modules, as for a user
        "PYTHONWARNINGS": "ignore",
    }
    return {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "text": True}


@contextmanager
def convergence_warnings_ignored() -> Iterator[None]:
    """Ignore warnings of fits that reach their limit of iterations; tables show the number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def cross_validate(model, X, y) -> dict[str, float]:
    """Return mean log-loss and accuracy over five folds, which are the same for all models."""
    losses, accuracies = [], []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        with convergence_warnings_ignored():
            fitted = clone(model).fit(X[train], y[train])
        probability = fitted.predict_proba(X[test])
        losses.append(log_loss(y[test], probability, labels=fitted.classes_))
        accuracies.append(accuracy_score(y[test], fitted.classes_[probability.argmax(axis=1)]))
    return {
        "cv_log_loss": float(np.mean(losses)),
        "cv_accuracy": float(np.mean(accuracies)),
    }


def log_likelihood(model, X, y) -> float:
    """Return the total log-likelihood of labels under the predicted probabilities, in nats."""
    return -float(log_loss(y, model.predict_proba(X), labels=model.classes_, normalize=False))
