"""Compare engines for classes and for one number: which is faster, and how its time grows.

``enumeration_over_quadrature`` is the time of enumeration divided by that of quadrature for the
same rows; ``ns_per_unit`` is the time of quadrature per row and hidden unit. ``choice_of_auto`` is
the engine that "auto" selects; it should be the faster one. Sampling is measured separately,
because its results are estimates.
"""

import numpy as np
import pytest
from measure import best_seconds
from problems import EStepProblem, e_step_problem, family_problem

from fastem import Enumeration, Quadrature, Sampling
from fastem.engines.auto import cheapest_engine
from fastem.runtime import effective_n_jobs

_THREADS = effective_n_jobs(None)
_MOST_ENUMERATED = {2: 17, 3: 23}
_ROWS = {2: 10_000, 3: 1000}
_seconds = {}


def _moderate(problem):
    """Return the parameters with logits as large as those of fitted models, for any units.

    The standard deviation of the difference of two logits is 2 for two classes and 3 for three,
    as measured on fits of wine, iris and digits. At the starting values it is 11.
    """
    parameters, shape = problem.parameters, problem.shape
    deviation = shape.n_outputs * np.sqrt(2.0 / shape.first)
    output = parameters.output.copy()
    output[: shape.last] *= deviation
    return parameters._replace(output=output)


def _e_step(benchmark, problem: EStepProblem, enumerates: bool) -> dict:
    """Measure an E-step by quadrature, and by enumeration if requested; return the figures."""
    n_rows, n_hidden = len(problem.rows.weights), problem.shape.first
    parameters = problem.parameters
    plan = Quadrature().plan(problem.rows, problem.shape, _THREADS)
    plan.expect(parameters)
    benchmark.pedantic(plan.expect, (parameters,), rounds=3)
    seconds = benchmark.stats["min"]
    figures = {
        "m": n_hidden,
        "ns_per_unit": seconds * 1e9 / n_rows / n_hidden,
        "choice_of_auto": cheapest_engine(problem.shape, n_rows).name,
    }
    if enumerates:
        other = Enumeration().plan(problem.rows, problem.shape, _THREADS)
        exact = other.expect(parameters).log_likelihood
        difference = np.abs(plan.expect(parameters).log_likelihood - exact)
        assert (difference <= 1e-10 * np.maximum(1.0, np.abs(exact))).all()
        figures["enumeration_over_quadrature"] = (
            best_seconds(lambda: other.expect(parameters), 3) / seconds
        )
        figures["largest_difference"] = float(difference.max())
    return figures


@pytest.mark.benchmark(group="e_step: engines")
@pytest.mark.parametrize(
    ("n_classes", "n_hidden"),
    [
        pytest.param(2, 8, id="m=8-smoke"),
        *((2, m) for m in (12, 14, 15, 16, 17, 20, 50, 100, 200, 1000)),
        pytest.param(3, 6, id="g=3-m=6-smoke"),
        *((3, m) for m in (12, 16, 18, 20, 21, 22, 23, 30, 50, 100, 200)),
    ],
)
def bench_engines(benchmark, record, n_classes, n_hidden):
    problem = e_step_problem(_ROWS[n_classes], n_hidden, n_classes)
    problem = problem._replace(parameters=_moderate(problem))
    figures = _e_step(benchmark, problem, n_hidden <= _MOST_ENUMERATED[n_classes])
    seconds = _seconds[n_classes, n_hidden] = benchmark.stats["min"]
    if n_hidden > 50 and (n_classes, 50) in _seconds:
        ratio = seconds / _seconds[n_classes, 50]
        figures["slope_from_50"] = float(np.log(ratio) / np.log(n_hidden / 50))
    record(g=n_classes, **figures)


@pytest.mark.benchmark(group="e_step: engines for one number")
@pytest.mark.parametrize(
    "n_hidden",
    [pytest.param(8, id="m=8-smoke"), 12, 14, 15, 16, 17, 50, 100, 1000],
)
def bench_number(benchmark, record, n_hidden):
    """Measure 10 000 rows of one Gaussian output whose noise is 0.3 times the spread of means."""
    problem = family_problem("gaussian", 10_000, n_hidden, 1, 0.3)
    record(**_e_step(benchmark, problem, n_hidden <= 17))


@pytest.mark.benchmark(group="e_step: sampling")
@pytest.mark.parametrize(
    ("n_hidden", "n_classes", "n_draws"),
    [
        pytest.param(8, 3, 64, id="m=8-smoke"),
        (16, 10, 256),
        (64, 2, 256),
        (64, 10, 256),
        (256, 10, 256),
    ],
)
def bench_sampling(benchmark, record, n_hidden, n_classes, n_draws):
    """Measure E-steps by sampling; ``ns_per_term`` is the time per row, sample and hidden unit.

    ``error`` is the root mean square error of ``log p(y|x)``; the reference has 16 times the
    samples. ``time_over_estimate`` is the time divided by the estimate of the engine.
    """
    problem = e_step_problem(10_000, n_hidden, n_classes)
    engine = Sampling(n_draws, random_state=0)
    plan = engine.plan(problem.rows, problem.shape, _THREADS)
    plan.expect(problem.parameters)
    benchmark.pedantic(plan.expect, (problem.parameters,), rounds=3)
    seconds = benchmark.stats["min"]
    found = plan.expect(problem.parameters)
    few, effective = found.log_likelihood.copy(), np.median(found.effective_sample_size)
    better = Sampling(16 * n_draws, random_state=1).plan(problem.rows, problem.shape, _THREADS)
    error = few - better.expect(problem.parameters).log_likelihood
    record(
        m=n_hidden,
        classes=n_classes,
        samples=n_draws,
        ns_per_term=seconds * 1e9 / 10_000 / n_draws / n_hidden,
        median_effective_sample_size=float(effective),
        error=float(np.sqrt(np.mean(error**2))),
        time_over_estimate=seconds * _THREADS / engine.seconds(problem.shape, 10_000),
    )
