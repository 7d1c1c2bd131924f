"""Engines beside one another on two classes: where each is the cheaper, and how it grows.

``times_enumeration`` is the time of enumeration over that of quadrature for the same rows, where
both run; ``ns_per_unit`` is the time per row and hidden unit. "auto" should take whichever is
the faster: ``auto`` says what it takes.
"""

import numpy as np
import pytest
from measure import best_seconds
from problems import e_step_problem

from fastem import Enumeration, Quadrature
from fastem.engines.auto import cheapest_engine
from fastem.parallel import effective_n_jobs

_THREADS = effective_n_jobs(None)
_MOST_ENUMERATED = 17
_seconds = {}


def _moderate(problem):
    """Return the problem's parameters with a logit of order one, whatever the units."""
    parameters, n_hidden = problem.parameters, problem.shape.first
    return parameters._replace(output=parameters.output * np.sqrt(8.0 / n_hidden))


@pytest.mark.benchmark(group="e_step: engines")
@pytest.mark.parametrize(
    "n_hidden",
    [pytest.param(8, id="m=8-smoke"), *(12, 14, 15, 16, 17, 20, 50, 100, 200, 500, 1000)],
)
def bench_engines(benchmark, record, n_hidden):
    problem = e_step_problem(10_000, n_hidden, 2)
    parameters = _moderate(problem)
    plan = Quadrature().plan(problem.rows, problem.shape, _THREADS)
    plan.expect(parameters)
    benchmark.pedantic(plan.expect, (parameters,), rounds=3)
    seconds = _seconds[n_hidden] = benchmark.stats["min"]
    figures = {
        "m": n_hidden,
        "ns_per_unit": seconds * 1e9 / 10_000 / n_hidden,
        "auto": cheapest_engine(problem.shape, 10_000).name,
    }
    if n_hidden <= _MOST_ENUMERATED:
        other = Enumeration().plan(problem.rows, problem.shape, _THREADS)
        exact = other.expect(parameters).log_likelihood
        difference = np.abs(plan.expect(parameters).log_likelihood - exact)
        assert difference.max() <= 1e-10
        figures["times_enumeration"] = best_seconds(lambda: other.expect(parameters), 3) / seconds
        figures["log_likelihood_differs"] = float(difference.max())
    if n_hidden > 50 and 50 in _seconds:
        figures["slope_from_50"] = float(np.log(seconds / _seconds[50]) / np.log(n_hidden / 50))
    record(**figures)
