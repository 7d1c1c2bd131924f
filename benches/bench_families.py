"""Exact E-steps of numbers, labels and counts, and a fit, beside those of classes.

``ratio_to_classes`` is the minimum time divided by that of a problem of the same size with three
classes, measured alternately in the same process. ``share_of_dgemm`` is the rate of
``6 n 2**m`` flops relative to that of a matrix product on the same threads, as for classes.
``groups`` is the number of groups of rows that share a table over the configurations. For classes,
every class is a group. Smaller noise needs more groups.
"""

import statistics
from functools import partial

import numpy as np
import pytest
from measure import best_seconds, convergence_warnings_ignored
from problems import PENALTY_OF_CLASSES, PENALTY_OF_NUMBERS, e_step_problem, family_problem
from sklearn.datasets import load_diabetes

from fastem import Enumeration, FastEMClassifier, FastEMRegressor
from fastem.engines.grouping import groups_of_targets
from fastem.profiling.stopwatch import dgemm_rate
from fastem.runtime import effective_n_jobs

ALL_THREADS = effective_n_jobs(None)
ROUNDS = 100

KINDS = {
    "gaussian": ("gaussian", 1),
    "three_gaussians": ("gaussian", 3),
    "four_labels": ("bernoulli", 4),
    "counts": ("poisson", 1),
}
SIZES = {"n=1000-m=4": (1_000, 4), "n=10000-m=10": (10_000, 10), "n=10000-m=14": (10_000, 14)}


def _cases(*others):
    """Return parameters (other, n_samples, n_hidden); the first belongs to the smoke run."""
    cases = [(str(other), name, (other, *size)) for other in others for name, size in SIZES.items()]
    return [
        pytest.param(*values, id=f"{other}-{size}" + "-smoke" * (number == 0))
        for number, (other, size, values) in enumerate(cases)
    ]


def _planned(problem):
    """Return an E-step that has already run twice."""
    plan = Enumeration().plan(problem.rows, problem.shape, ALL_THREADS)
    for _ in range(2):  # compile, and allocate all memory
        plan.expect(problem.parameters)
    return partial(plan.expect, problem.parameters)


def _compare(benchmark, problem):
    """Measure an E-step and that of three classes alternately; return the figures."""
    n_samples, n_hidden = len(problem.rows.weights), problem.shape.first
    ours = _planned(problem)
    classes = _planned(e_step_problem(n_samples, n_hidden, 3))
    rate, of_classes = dgemm_rate(ALL_THREADS), []
    benchmark.pedantic(
        ours, setup=lambda: of_classes.append(best_seconds(classes, 1)), rounds=ROUNDS
    )
    rate = max(rate, dgemm_rate(ALL_THREADS))
    seconds = benchmark.stats["min"]
    groups = groups_of_targets(problem.rows, problem.parameters, problem.shape, 300.0)
    return {
        "n": n_samples,
        "m": n_hidden,
        "outputs": problem.shape.n_outputs,
        "groups": len(groups.starts) - 1,
        "ratio_to_classes": seconds / min(of_classes),
        "ratio_of_median_times": benchmark.stats["median"] / statistics.median(of_classes),
        "share_of_dgemm": 6 * n_samples * 2**n_hidden / seconds / rate,
        "dgemm_gflops": rate / 1e9,
    }


@pytest.mark.benchmark(group="families: e_step")
@pytest.mark.parametrize(("kind", "n_samples", "n_hidden"), _cases(*KINDS))
def bench_family(benchmark, record, kind, n_samples, n_hidden):
    family, n_outputs = KINDS[kind]
    problem = family_problem(family, n_samples, n_hidden, n_outputs)
    record(**_compare(benchmark, problem))


@pytest.mark.benchmark(group="families: noise")
@pytest.mark.parametrize(("noise", "n_samples", "n_hidden"), _cases(1.0, 0.3, 0.1))
def bench_noise(benchmark, record, noise, n_samples, n_hidden):
    problem = family_problem("gaussian", n_samples, n_hidden, 1, noise)
    record(noise=noise, **_compare(benchmark, problem))


@pytest.mark.benchmark(group="families: fit")
@pytest.mark.parametrize("n_hidden", [pytest.param(5, id="m=5-smoke"), pytest.param(10, id="m=10")])
def bench_fit_of_numbers(benchmark, record, n_hidden):
    """Diabetes: fits of y with a given penalty, and of its thirds as classes."""
    X, y = load_diabetes(return_X_y=True)
    thirds = np.searchsorted(np.quantile(y, [1 / 3, 2 / 3]), y)
    numbers = FastEMRegressor((n_hidden,), alpha=PENALTY_OF_NUMBERS, random_state=0)
    classes = FastEMClassifier((n_hidden,), alpha=PENALTY_OF_CLASSES, random_state=0)
    of_classes = []
    with convergence_warnings_ignored():
        numbers.fit(X, y)  # compiles
        classes.fit(X, thirds)
        benchmark.pedantic(
            numbers.fit,
            (X, y),
            setup=lambda: of_classes.append(best_seconds(lambda: classes.fit(X, thirds), 1)),
            rounds=3,
        )
    seconds, seconds_classes = benchmark.stats["min"], min(of_classes)
    per_iteration, of_classes_each = (
        1e3 * seconds / numbers.n_iter_,
        1e3 * seconds_classes / classes.n_iter_,
    )
    record(
        n=len(y),
        m=n_hidden,
        n_iter=numbers.n_iter_,
        n_iter_classes=classes.n_iter_,
        ms_per_iteration=per_iteration,
        ms_per_iteration_classes=of_classes_each,
        ratio_to_classes=seconds / seconds_classes,
        ratio_per_iteration=per_iteration / of_classes_each,
        log_density=float(numbers.log_density(X, y).mean()),
    )
