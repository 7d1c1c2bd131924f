"""The public E-step: what a call costs beside its kernels, and its rate.

``bench_call`` measures ``oracle(coefs, intercepts)`` of a prepared `fastem.EStep` on one thread.
``ratio_to_kernels`` is its median time divided by that of its compiled calls alone, which are
recorded once and repeated with the same arguments. ``ratio_of_one_shot`` is the same for the
function `fastem.e_step`, which prepares every call anew.

``bench_rate`` measures prepared calls and ``e_step`` on all threads. ``rate_over_dgemm`` is the
rate of ``6 n 2**m`` flops relative to that of a float64 matrix product on the same threads.
``ratio_to_double`` is the time of a prepared call in double precision divided by the time of the
row, measured alternately.
"""

import inspect
import statistics
import time

import numpy as np
import pytest
from measure import best_seconds
from problems import e_step_problem

import fastem
from fastem.engines import configuration_tables, enumeration_plan
from fastem.oracle import e_step as oracle_module
from fastem.profiling.stopwatch import dgemm_rate
from fastem.runtime import effective_n_jobs

ALL_THREADS = effective_n_jobs(None)
_MODULES = configuration_tables, enumeration_plan, oracle_module
_N_CALLS = 200


def _arguments(n_samples, n_hidden):
    """Return X, y in random order, coefs and intercepts of a problem with three classes."""
    problem = e_step_problem(n_samples, n_hidden, 3)
    order = np.random.default_rng(0).permutation(n_samples)
    X = np.ascontiguousarray(problem.rows.inputs[order, :-1])
    coefs, intercepts = problem.shape.to_lists(problem.parameters)
    return X, problem.rows.labels[order], coefs, intercepts


class _Recorder:
    """A module of kernels whose calls are recorded."""

    def __init__(self, module, calls):
        self._module, self._calls = module, calls

    def __getattr__(self, name):
        kernel = getattr(self._module, name)
        if not hasattr(kernel, "py_func"):
            return kernel

        def record(*args):
            self._calls.append((kernel, args))
            return kernel(*args)

        return record


def _compiled_calls(function, monkeypatch):
    """Return the compiled calls, with their arguments, that a function makes."""
    calls = []
    with monkeypatch.context() as patch:
        for module in _MODULES:
            for name, value in vars(module).items():
                if inspect.ismodule(value) and value.__name__.startswith("fastem.kernels."):
                    patch.setattr(module, name, _Recorder(value, calls))
        function()
    return calls


def _median_seconds(function, n_calls=_N_CALLS):
    seconds = []
    for _ in range(n_calls):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@pytest.mark.benchmark(group="oracle: calls")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param((100, 6), id="n=100-m=6-smoke"),
        pytest.param((90, 7), id="n=90-m=7"),
        pytest.param((1000, 10), id="n=1000-m=10"),
        pytest.param((1000, 12), id="n=1000-m=12"),
    ],
)
def bench_call(benchmark, record, monkeypatch, size):
    X, y, coefs, intercepts = _arguments(*size)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=size[1], n_classes=3, n_jobs=1)

    def call():
        return oracle(coefs, intercepts)

    call()
    calls = _compiled_calls(call, monkeypatch)

    def run_kernels():
        for kernel, args in calls:
            kernel(*args)

    def once():
        return fastem.e_step(X, y, coefs, intercepts, n_jobs=1)

    kernels, one_shot = [], []

    def run_others():
        kernels.append(_median_seconds(run_kernels, 20))
        one_shot.append(_median_seconds(once, 5))
        for _ in range(3):
            call()

    benchmark.pedantic(call, setup=run_others, rounds=_N_CALLS)
    seconds = benchmark.stats["median"]
    record(
        n=size[0],
        m=size[1],
        compiled_calls=len(calls),
        us_call=1e6 * seconds,
        us_kernels=1e6 * statistics.median(kernels),
        us_one_shot=1e6 * statistics.median(one_shot),
        ratio_to_kernels=seconds / statistics.median(kernels),
        ratio_of_one_shot=statistics.median(one_shot) / statistics.median(kernels),
    )


@pytest.mark.benchmark(group="oracle: rate")
@pytest.mark.parametrize(
    ("n_hidden", "form"),
    [
        pytest.param(m, form, id=f"m={m}-{form}" + "-smoke" * (m == 10 and form == "double"))
        for m in (10, 14, 16)
        for form in ("double", "mixed", "e_step")
    ],
)
def bench_rate(benchmark, record, n_hidden, form):
    X, y, coefs, intercepts = _arguments(10_000, n_hidden)
    double, mixed = (
        fastem.EStep(X, y, hidden_layer_sizes=n_hidden, n_classes=3, method=engine)
        for engine in ("enumeration", fastem.Enumeration(precision="mixed"))
    )
    functions = {
        "double": lambda: double(coefs, intercepts),
        "mixed": lambda: mixed(coefs, intercepts),
        "e_step": lambda: fastem.e_step(X, y, coefs, intercepts, method="enumeration"),
    }
    rate, of_double = dgemm_rate(ALL_THREADS), []
    functions[form]()
    benchmark.pedantic(
        functions[form],
        setup=lambda: of_double.append(best_seconds(functions["double"], 1)),
        rounds=30,
    )
    rate = max(rate, dgemm_rate(ALL_THREADS))
    seconds = benchmark.stats["min"]
    record(
        n=10_000,
        m=n_hidden,
        threads=ALL_THREADS,
        rate_over_dgemm=6 * 10_000 * 2**n_hidden / seconds / rate,
        ratio_to_double=min(of_double) / seconds,
        dgemm_gflops=rate / 1e9,
    )
