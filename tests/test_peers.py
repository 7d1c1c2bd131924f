"""E-steps in other libraries, in benches/, agree with the plain truth and are measured fairly."""

import numpy as np
import peers
import peers_split
import peers_worker
import pytest
import reference
from peer_arrays import Gradients, arrays_of, ranges_by_class
from problems import e_step_problem

TOLERANCES = {np.float64: 1e-10, np.float32: 1e-4}


def _prepare(name, problem, dtype):
    for module in peers.MODULES[name]:
        pytest.importorskip(module, exc_type=ImportError)
    return peers.PREPARE[name](problem, dtype)


def _truth(problem):
    X, y, weights, W, b, V, c = arrays_of(problem, np.float64)
    truth = reference.e_step(X, y, [W, V], [b, c], weights)
    (dW, dV), (db, dc) = truth["coef_gradients"], truth["intercept_gradients"]
    return Gradients(truth["log_likelihood"], dW, db, dV, dc)


def _weighted(problem):
    weights = np.random.default_rng(1).uniform(0.0, 2.0, len(problem.rows.weights))
    return problem._replace(rows=problem.rows._replace(weights=weights))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [(40, 3, 3), (30, 4, 2), (3, 1, 5)])  # the last: absent classes
@pytest.mark.parametrize("name", peers.PREPARE)
def test_results_are_those_of_the_plain_truth(name, size, dtype):
    problem = e_step_problem(*size)
    if name != "numpyro":  # its log_density has no weights of rows
        problem = _weighted(problem)
    e_step = _prepare(name, problem, dtype)
    peers_worker.largest_difference(e_step(), _truth(problem), TOLERANCES[dtype])
    again = e_step()
    peers_worker.largest_difference(again, _truth(problem), TOLERANCES[dtype])
    if name != "loops":  # Python computes in double precision
        assert {array.dtype for array in again} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", ["numpy-split", "torch-split", "jax-split"])
def test_tiles_add_up(name, monkeypatch):
    monkeypatch.setattr(peers_split, "_ROWS_OF_FEW_UNITS", 7)
    problem = _weighted(e_step_problem(40, 5, 3))
    e_step = _prepare(name, problem, np.float64)
    for _ in range(2):
        peers_worker.largest_difference(e_step(), _truth(problem), 1e-10)


def test_ranges_by_class():
    ranges = list(ranges_by_class(np.array([0, 3, 3, 8]), 1, 7, 3))
    assert ranges == [(0, slice(1, 3)), (2, slice(3, 6)), (2, slice(6, 7))]


def test_a_wrong_gradient_is_noticed():
    right = Gradients(*(np.array([1.0, 2.0]) for _ in range(5)))
    wrong = right._replace(V=np.array([1.0, 2.001]))
    assert peers_worker.largest_difference(right, right, 1e-9) == 0.0
    with pytest.raises(AssertionError, match="'V'"):
        peers_worker.largest_difference(wrong, right, 1e-4)


def test_a_process_of_its_own_measures_both_sides():
    worker = peers_worker.Worker(1)
    try:
        figures = worker.measure((30, 3, 2), "numpy-split", "float64")
        with pytest.raises(RuntimeError, match="KeyError: 'unheard of'"):
            worker.measure((30, 3, 2), "unheard of", "float64")
        assert worker.measure((30, 3, 2), "numpy-log", "float64")["library"] == "numpy-log"
    finally:
        worker.close()
    assert figures["threads"] == 1
    assert figures["largest_difference"] < 1e-9
    assert 0.0 < figures["ms_library"] < 1e3
    assert 0.0 < figures["ms_fastem"] < 1e3
    assert figures["busy_cores"] < 1.1
    assert figures["busy_cores_fastem"] < 1.1
