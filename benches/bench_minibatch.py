"""Overhead of mini-batches: an epoch compared with the E-steps that it contains.

``us_per_batch`` is the time of gathering rows, an E-step with gradients and a step of Adam.
``us_e_step`` is the time of the E-step of one batch, planned in advance and with its rows in the
cache. ``ratio_to_full_e_step`` is the time of an epoch divided by that of an E-step on all rows.
"""

import numpy as np
import pytest
from measure import best_seconds
from problems import e_step_problem

from fastem import Enumeration
from fastem.rows import sort_rows
from fastem.runtime import single_threaded_blas
from fastem.solvers.adam import AdamState, BatchedNetwork, Extent
from fastem.solvers.network import Network

_ROWS, _BATCH, _CLASSES = 10_000, 200, 3


@pytest.mark.benchmark(group="minibatch: an epoch")
@pytest.mark.parametrize(
    "n_hidden", [4, pytest.param(10, id="m=10-smoke"), 12, 14], ids=lambda m: f"m={m}"
)
def bench_epoch(benchmark, record, n_hidden):
    problem = e_step_problem(_ROWS, n_hidden, _CLASSES)
    rows, shape = problem.rows, problem.shape
    X, y = (
        rows.inputs[:, : shape.n_features],
        np.repeat(range(_CLASSES), np.diff(rows.class_starts)),
    )
    extent, settings = Extent().plus(rows.weights), {"alpha": 0.1, "n_threads": 1}
    model = BatchedNetwork(
        X, y, rows.weights, shape, Enumeration(), _BATCH, extent=extent, **settings
    )
    state, theta = AdamState(1e-3, np.random.RandomState(0)), shape.pack(problem.parameters)
    state.restart(theta)
    some = np.random.default_rng(0).permutation(_ROWS)[:_BATCH]
    batch = sort_rows(X[some], y[some], rows.weights[some], shape)
    networks = [Network(r, shape, Enumeration(), None, **settings) for r in (batch, rows)]
    with single_threaded_blas():
        state.run_epoch(model)
        benchmark.pedantic(state.run_epoch, (model,), rounds=5)
        of_batch, of_all = (best_seconds(lambda n=n: n.expect(theta), 20) for n in networks)
    seconds = benchmark.stats["min"]
    record(
        n=_ROWS, m=n_hidden, g=_CLASSES, us_per_batch=1e6 * seconds * _BATCH / _ROWS,
        us_e_step=1e6 * of_batch, ratio_to_full_e_step=seconds / of_all,
    )  # fmt: skip
