"""Exact E-steps with gradients as in a fit: one plan, many runs.

``ns_per_configuration`` is the time per row and hidden configuration. If it is constant, the
time doubles with every hidden unit and is linear in the rows. ``share_of_dgemm`` is the rate
of ``6 n 2**m`` flops, those of the three products of the E-step, relative to the rate of a
matrix product of SciPy's BLAS library, which the kernels call, on the same threads. This rate is
measured immediately before and after.

``ratio_to_one_layer`` is the minimum time of a deep network divided by that of its first layer
alone, measured alternately. Only the first layer processes the samples.
"""

import statistics
from functools import partial

import pytest
from measure import best_seconds
from problems import e_step_problem

from fastem import Enumeration
from fastem.profiling.stopwatch import dgemm_rate
from fastem.runtime import effective_n_jobs

ALL_THREADS = effective_n_jobs(None)

_seconds_by_hidden = {}


def _smoke(first, *others, name):
    """Return parameters with ids; the first size belongs to the smoke run."""
    sizes = [pytest.param(first, id=f"{name}={first}-smoke")]
    return sizes + [pytest.param(size, id=f"{name}={size}") for size in others]


def _run(benchmark, n_samples, n_hidden, n_classes, n_threads):
    problem = e_step_problem(n_samples, n_hidden, n_classes)
    plan = Enumeration().plan(problem.rows, problem.shape, n_threads)
    rate = dgemm_rate(n_threads)
    for _ in range(2):  # compile, and allocate all memory
        plan.expect(problem.parameters)
    benchmark(plan.expect, problem.parameters)
    rate = max(rate, dgemm_rate(n_threads))
    seconds = benchmark.stats["min"]
    n_terms = n_samples * 2**n_hidden
    return {
        "n": n_samples,
        "m": n_hidden,
        "g": n_classes,
        "threads": n_threads,
        "ns_per_configuration": seconds * 1e9 / n_terms,
        "share_of_dgemm": 6 * n_terms / seconds / rate,
        "dgemm_gflops": rate / 1e9,
    }


@pytest.mark.benchmark(group="e_step: hidden units")
@pytest.mark.parametrize("n_hidden", _smoke(4, 6, 8, 10, *range(12, 21), name="m"))
def bench_hidden_units(benchmark, record, n_hidden):
    figures = _run(benchmark, 10_000, n_hidden, 3, ALL_THREADS)
    seconds = _seconds_by_hidden[n_hidden] = benchmark.stats["min"]
    if n_hidden - 1 in _seconds_by_hidden:
        figures["ratio_to_one_unit_less"] = seconds / _seconds_by_hidden[n_hidden - 1]
    record(**figures)


@pytest.mark.benchmark(group="e_step: samples")
@pytest.mark.parametrize("n_samples", _smoke(1_000, 3_000, 10_000, 30_000, 100_000, name="n"))
def bench_samples(benchmark, record, n_samples):
    record(**_run(benchmark, n_samples, 12, 3, ALL_THREADS))


@pytest.mark.benchmark(group="e_step: classes")
@pytest.mark.parametrize("n_classes", _smoke(2, 3, 5, 10, name="g"))
def bench_classes(benchmark, record, n_classes):
    record(**_run(benchmark, 10_000, 12, n_classes, ALL_THREADS))


@pytest.mark.benchmark(group="e_step: threads")
@pytest.mark.parametrize("n_threads", [1, ALL_THREADS], ids=["threads=1", "threads=all"])
@pytest.mark.parametrize("n_hidden", _smoke(10, 14, 16, name="m"))
def bench_threads(benchmark, record, n_hidden, n_threads):
    record(**_run(benchmark, 10_000, n_hidden, 3, n_threads))


@pytest.mark.benchmark(group="e_step: depth")
@pytest.mark.parametrize("n_classes", [2, 3], ids=["g=2", "g=3"])
@pytest.mark.parametrize(
    "sizes",
    [pytest.param((12, 8), id="12-8-smoke"), pytest.param((12, 8, 8), id="12-8-8")],
)
def bench_depth(benchmark, record, sizes, n_classes):
    deep, first = (_planned(layers, n_classes) for layers in (sizes, sizes[:1]))
    one_layer = []
    benchmark.pedantic(deep, setup=lambda: one_layer.append(best_seconds(first, 1)), rounds=100)
    record(
        n=10_000,
        g=n_classes,
        ms_one_layer=1e3 * min(one_layer),
        ratio_to_one_layer=benchmark.stats["min"] / min(one_layer),
        ratio_of_median_times=benchmark.stats["median"] / statistics.median(one_layer),
    )


def _planned(sizes, n_classes):
    """Return an E-step that has already run once."""
    problem = e_step_problem(10_000, sizes, n_classes)
    plan = Enumeration().plan(problem.rows, problem.shape, ALL_THREADS)
    plan.expect(problem.parameters)
    return partial(plan.expect, problem.parameters)
