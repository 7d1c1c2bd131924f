"""Backpropagation compared with scikit-learn: the same networks, batches and random numbers.

Both implementations do the same work: a bench fails unless their losses agree in every epoch.
They run alternately in one process, each with its default number of threads. ``ms_*`` are median
times of whole fits; ``ratio_of_median_times`` and ``ratio_of_minimum_times`` are times of
scikit-learn divided by times of fastem. Peak memory is measured in a separate process for each:
``mib_growth`` is the increase of resident memory during a fit, after a small fit that loads
everything; ``mib_total`` is the peak of the whole process, including the compiler.
"""

from pathlib import Path

import numpy as np
import pytest
from measure import alternate, convergence_warnings_ignored, run_in_new_process
from problems import mlp_problem
from sklearn.neural_network import MLPClassifier

from fastem import FastMLPClassifier

_MEMORY = """
import json
import numpy as np
from {module} import {name} as Model

def mib(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

X, y, parameters = np.load("X.npy"), np.load("y.npy"), {parameters}
few_units = tuple(2 for _ in parameters["hidden_layer_sizes"])
small = dict(parameters, max_iter=1, hidden_layer_sizes=few_units)
Model(**small).fit(X[:600, :2], y[:600])
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # resets the peak to the resident memory
before = mib("VmRSS")
Model(**parameters).fit(X, y)
print(json.dumps([mib("VmHWM") - before, mib("VmHWM")]))
"""


def _largest_difference(ours, theirs):
    """Return the largest relative difference of the losses; it must be of rounding size."""
    if ours.solver == "lbfgs":  # scikit-learn has no loss curve
        losses = [ours.loss_], [theirs.loss_]
    else:
        losses = ours.loss_curve_, theirs.loss_curve_
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert ours.n_iter_ == theirs.n_iter_
    return float(np.max(np.abs(np.divide(*losses) - 1.0)))


def _run(benchmark, problem, rounds):
    X, y, parameters = problem
    with convergence_warnings_ignored():
        ours, theirs, figures = alternate(
            benchmark,
            lambda: FastMLPClassifier(**parameters).fit(X, y),
            lambda: MLPClassifier(**parameters).fit(X, y),
            rounds,
        )
    difference = _largest_difference(ours, theirs)
    return {
        **figures,
        "n_iter": ours.n_iter_,
        "loss": ours.loss_,
        "largest_difference_of_losses": difference,
    }


@pytest.mark.benchmark(group="mlp: against scikit-learn")
@pytest.mark.parametrize(
    ("name", "changes", "rounds"),
    [
        pytest.param("iris", {}, 15, id="iris-smoke"),
        pytest.param("digits", {}, 15, id="digits"),
        pytest.param("digits-lbfgs", {}, 9, id="digits-lbfgs"),
        pytest.param("online", {}, 9, id="online"),
        pytest.param("online", {"momentum": 0.0}, 9, id="online-no-momentum"),
        pytest.param("wide", {}, 5, id="wide"),
    ],
)
def bench_mlp(benchmark, record, name, changes, rounds):
    problem = mlp_problem(name).with_parameters(**changes)
    record(**_run(benchmark, problem, rounds))


def _peak_mib(estimator, parameters, folder):
    code = _MEMORY.format(
        module=estimator.__module__.partition("._")[0],
        name=estimator.__name__,
        parameters=parameters,
    )
    return run_in_new_process(code, folder)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.benchmark(group="mlp: peak memory against scikit-learn")
@pytest.mark.parametrize("name", ["online", "wide"])
def bench_mlp_memory(benchmark, record, tmp_path, name):
    X, y, parameters = mlp_problem(name)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    theirs = _peak_mib(MLPClassifier, parameters, tmp_path)
    _peak_mib(FastMLPClassifier, parameters, tmp_path)  # fills the cache of compiled code
    ours = benchmark.pedantic(_peak_mib, args=(FastMLPClassifier, parameters, tmp_path), rounds=1)
    (growth, total), (growth_sklearn, total_sklearn) = ours, theirs
    record(
        mib_growth=growth,
        mib_growth_sklearn=growth_sklearn,
        growth_over_sklearn=growth / growth_sklearn,
        mib_total=total,
        mib_total_sklearn=total_sklearn,
    )
