"""Estimators over Dask collections, on real clusters of worker processes."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("distributed")

import dask.array as da
import dask.dataframe as dd
import dask_tasks
import pandas as pd
from dask_clusters import Saboteur, cluster_of
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastem import FastEMClassifier, FastEMRegressor
from fastem.dask import DaskEMClassifier, DaskEMRegressor, PartitionError
from fastem.estimators.parts.training import PartsTraining

pytestmark = pytest.mark.cluster

SETTINGS = {"alpha": 0.3, "random_state": 0, "max_iter": 40}
LENGTHS = (700, 0, 350, 1200, 250)  # of the partitions


@pytest.fixture(scope="module")
def client():
    with cluster_of(2) as client:
        yield client


def rows():
    X = np.random.default_rng(0).standard_normal((sum(LENGTHS), 4))
    y = np.array(["a", "b", "c"])[1 * (X[:, 0] * X[:, 1] > 0) + (X[:, 2] > 1)]
    return X, y


def parts(X, y, lengths=LENGTHS):
    return da.from_array(X, chunks=(lengths, -1)), da.from_array(y, chunks=(lengths,))


def bits(model):
    return [*model.coefs_, *model.intercepts_, np.array(model.loss_curve_)]


def assert_same_bits(one, other):
    assert len(bits(one)) == len(bits(other))
    for mine, its in zip(bits(one), bits(other), strict=True):
        assert_array_equal(mine, its)


@pytest.fixture(scope="module")
def expected(client):
    """The model that every cluster must find, to the bit."""
    return fitted(client)


def fitted(client, **settings):
    X, y = parts(*rows())
    model = DaskEMClassifier((5,), client=client, **{**SETTINGS, **settings})
    with pytest.warns(ConvergenceWarning):
        return model.fit(X, y)


@pytest.fixture
def watched_rounds(monkeypatch):
    """Return a function that installs a saboteur, which is called at the start of every round."""

    def install(saboteur):
        e_step = PartsTraining._e_step

        def watched(self, request):
            saboteur.round_begins()
            return e_step(self, request)

        monkeypatch.setattr(PartsTraining, "_e_step", watched)

    return install


# Results


def test_a_fit_equals_the_local_one(expected):
    X, y = rows()
    local = FastEMClassifier((5,), m_step="bound", **SETTINGS)
    with pytest.warns(ConvergenceWarning):
        local.fit(X, y)
    assert_allclose(expected.loss_curve_, local.loss_curve_, rtol=1e-10)
    assert_allclose(expected.coefs_[0], local.coefs_[0], rtol=1e-6)
    assert expected.n_iter_ == local.n_iter_
    assert_array_equal(expected.classes_, ["a", "b", "c"])
    assert_allclose(expected.feature_deviation_, local.feature_deviation_, rtol=1e-12)


def test_one_partition_equals_the_local_fit_to_the_bit(client):
    X, y = rows()
    local = FastEMClassifier((5,), m_step="bound", **SETTINGS)
    with pytest.warns(ConvergenceWarning):
        local.fit(X, y)
    with pytest.warns(ConvergenceWarning):
        model = DaskEMClassifier((5,), client=client, **SETTINGS).fit(*parts(X, y, (len(X),)))
    assert_same_bits(model, local)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_results_do_not_depend_on_the_workers(expected, n_workers):
    with cluster_of(n_workers) as client:
        assert_same_bits(fitted(client), expected)


def test_results_do_not_depend_on_where_partitions_are(client, expected):
    X, y = parts(*rows())
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    X, y = client.persist([X, y], workers=workers[:1])
    with pytest.warns(ConvergenceWarning):
        model = DaskEMClassifier((5,), client=client, **SETTINGS).fit(X, y)
    assert_same_bits(model, expected)


def test_partitions_that_do_not_fit_are_prepared_in_every_round(client, expected, monkeypatch):
    monkeypatch.setattr("fastem.dask.divided._LARGEST_SHARE", 0.0)
    assert_same_bits(fitted(client), expected)


@pytest.mark.parametrize(
    ("settings", "family"),
    [
        ({}, "gaussian"),
        ({"e_step": "quadrature"}, "gaussian"),
        ({}, "poisson"),
    ],
)
def test_regressors(client, settings, family):
    X, _ = rows()
    y = X[:, 0] ** 2 + 0.1 * X[:, 1]
    if family == "poisson":
        y = np.random.default_rng(1).poisson(np.exp(0.5 * X[:, 0])).astype(float)
    settings = {**SETTINGS, "max_iter": 15, "m_step": "bound", "family": family, **settings}
    with pytest.warns(ConvergenceWarning):
        model = DaskEMRegressor((3,), client=client, **settings).fit(*parts(X, y))
    with pytest.warns(ConvergenceWarning):
        local = FastEMRegressor((3,), **settings).fit(X, y)
    assert_allclose(model.loss_, local.loss_, rtol=2e-3)
    assert_allclose(
        model.predict(parts(X, y)[0]).compute(), model.to_local().predict(X), rtol=1e-12
    )
    if family == "gaussian":
        assert 0.0 < model.variance_floor_ < 1.0


def test_data_frames_with_unknown_lengths_and_categories(client, tmp_path):
    X, y = rows()
    table = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(y=pd.Categorical(y))
    for i, block in enumerate(np.array_split(np.arange(len(X)), 4)):
        table.iloc[block].to_parquet(tmp_path / f"part-{i}.parquet")
    frame = dd.read_parquet(tmp_path / "part-*.parquet")
    features = frame[["a", "b", "c", "d"]]
    with pytest.warns(ConvergenceWarning):
        model = DaskEMClassifier((5,), client=client, **SETTINGS).fit(features, frame["y"])
    with pytest.warns(ConvergenceWarning):
        local = FastEMClassifier((5,), m_step="bound", **SETTINGS).fit(table[list("abcd")], y)
    assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-10)
    assert_array_equal(model.feature_names_in_, local.feature_names_in_)
    probability = model.predict_proba(features).compute()
    assert list(probability.columns) == ["a", "b", "c"]
    assert_allclose(probability, local.predict_proba(table[list("abcd")]), rtol=1e-6)
    assert (model.predict(features).compute() == local.predict(table[list("abcd")])).all()
    for columns, words in (
        (
            ["a", "b", "d"],
            "seen at fit time, yet now missing:\\n- c",
        ),
        (["b", "a", "c", "d"], "must be in the same order as they were in fit"),
        (
            ["a", "b", "c", "y"],
            "unseen at fit time:\\n- y\\nFeature names seen at fit time, yet now missing:\\n- d",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict_proba(frame[columns])


def test_weights_and_class_weights(client):
    X, y = rows()
    weights = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    settings = {**SETTINGS, "class_weight": "balanced", "max_iter": 12}
    parts_of_weights = da.from_array(weights, chunks=(LENGTHS,))
    model = DaskEMClassifier((4,), client=client, **settings)
    with pytest.warns(ConvergenceWarning):
        model.fit(*parts(X, y), sample_weight=parts_of_weights)
    with pytest.warns(ConvergenceWarning):
        local = FastEMClassifier((4,), m_step="bound", **settings).fit(X, y, weights)
    assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-10)
    lazy = model.log_likelihood(*parts(X, y), sample_weight=parts_of_weights)
    assert_allclose(lazy.compute(), local.log_likelihood(X, y, weights), rtol=1e-9)


def test_predictions_are_lazy_and_equal_the_local_ones(client, expected):
    X, y = rows()
    lazy, local = parts(X, y)[0], expected.to_local()
    for method in ("predict", "predict_proba", "predict_log_proba", "transform"):
        found = getattr(expected, method)(lazy)
        assert isinstance(found, da.Array)
        assert_array_equal(found.compute(), getattr(local, method)(X))
        assert found.compute().dtype == found.dtype or found.dtype.kind == "U"


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "log_likelihood"])
def test_rows_with_other_features_are_refused_at_once(expected, method):
    X, y = parts(*rows())
    arguments = (X[:, :3], y) if method == "log_likelihood" else (X[:, :3],)
    with pytest.raises(ValueError, match="X has 3 features, but FastEMClassifier is expecting 4"):
        getattr(expected, method)(*arguments)


def test_partial_fit_equals_local_calls(client):
    X, y = rows()
    settings = {"solver": "adam", "random_state": 0}
    model, local = (
        DaskEMClassifier((4,), client=client, **settings),
        FastEMClassifier((4,), **settings),
    )
    for _ in range(2):
        model.partial_fit(*parts(X, y), classes=["a", "b", "c"])
    for _ in range(2):
        start = 0
        for length in LENGTHS:
            block = slice(start, start + length)
            if length:
                local.partial_fit(X[block], y[block], classes=["a", "b", "c"])
            start += length
    assert_same_bits(model, local)


def test_a_fit_leaves_nothing_on_the_workers(client):
    fitted(client, max_iter=3)
    assert _ends(lambda: not client.run_on_scheduler(_tasks_of_fits))


def _tasks_of_fits(dask_scheduler):
    return [key for key in dask_scheduler.tasks if "fastem" in str(key)]


def test_partial_fit_needs_mini_batches(client):
    with pytest.raises(AttributeError, match="partial_fit"):
        DaskEMClassifier((4,), client=client).partial_fit(*parts(*rows()), classes=["a", "b"])


def test_a_model_file_is_that_of_the_local_estimator(expected, tmp_path):
    expected.save(tmp_path / "model.npz")
    X, _ = rows()
    loaded = FastEMClassifier.load(tmp_path / "model.npz")
    assert_array_equal(loaded.predict_proba(X), expected.to_local().predict_proba(X))


def test_warm_start_continues(client):
    whole = fitted(client, max_iter=12)
    model = DaskEMClassifier((5,), client=client, **{**SETTINGS, "max_iter": 1}, warm_start=True)
    X, y = parts(*rows())
    for _ in range(12):
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
    assert_same_bits(model, whole)


def test_clones_keep_the_client(client, expected):
    copy = clone(expected)
    assert copy.client is expected.client
    with pytest.raises(NotFittedError):
        copy.to_local()


# Checkpoints and interrupts


def test_a_fit_continues_from_its_checkpoint(client, expected, tmp_path, watched_rounds):
    path = tmp_path / "checkpoint.npz"
    settings = {"checkpoint": path, "checkpoint_seconds": 0.0, "warm_start": True}

    class Interrupt:
        n_rounds = 0

        def round_begins(self):
            self.n_rounds += 1
            if self.n_rounds == 15:
                raise RuntimeError("stopped")

    X, y = parts(*rows())
    watched_rounds(Interrupt())
    with pytest.raises(RuntimeError, match="stopped"):
        DaskEMClassifier((5,), client=client, **SETTINGS, **settings).fit(X, y)
    assert FastEMClassifier.load(path).n_iter_ > 5
    assert_same_bits(fitted(client, **settings), expected)


def test_checkpoints_need_a_single_start(client, tmp_path):
    model = DaskEMClassifier((5,), client=client, checkpoint=tmp_path / "file", n_init=2)
    with pytest.raises(ValueError, match="n_init=1"):
        model.fit(*parts(*rows()))


def test_ctrl_c_keeps_the_best_iterate_and_ends_the_tasks(client, watched_rounds):
    class Interrupt:
        n_rounds = 0

        def round_begins(self):
            self.n_rounds += 1
            if self.n_rounds == 15:
                threading.Timer(0.005, signal.raise_signal, [signal.SIGINT]).start()

    watched_rounds(Interrupt())
    X, y = parts(*rows())
    model = DaskEMClassifier((5,), client=client, **{**SETTINGS, "max_iter": 2000, "tol": 0.0})
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X, y)
    assert 5 < model.n_iter_ < 2000
    assert client.run(int) == dict.fromkeys(client.run(int), 0)  # the cluster still works
    assert _ends(lambda: not client.run_on_scheduler(_e_steps))


def _e_steps(dask_scheduler):
    return [key for key in dask_scheduler.tasks if "e-step" in str(key)]


def _ends(condition):
    """Return whether a condition becomes true within some seconds."""
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.1)
    return False


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"m_step": "newton"}, ValueError, "m_step='bound'"),
        ({"solver": "adam"}, ValueError, "partial_fit"),
        ({"e_step": "sampling"}, ValueError, "exact E-steps"),
        ({"alpha": -1}, ValueError, "alpha"),
        ({"hidden_layer_sizes": (40,), "e_step": "enumeration"}, ValueError, "fewer hidden units"),
    ],
)
def test_parameters_that_a_cluster_cannot_use(client, change, error, text):
    model = DaskEMClassifier(**{"hidden_layer_sizes": (3,), "client": client, **change})
    with pytest.raises(error, match=text):
        model.fit(*parts(*rows()))
    assert not hasattr(model, "coefs_")


def test_a_bad_value_names_its_partition(client):
    X, y = rows()
    X[800, 1] = np.nan
    with pytest.raises(ValueError, match=r"(?s)partition 3 of 5.*NaN"):
        DaskEMClassifier((3,), client=client).fit(*parts(X, y))


def test_rows_in_memory_are_refused(client):
    X, y = rows()
    with pytest.raises(TypeError, match=r"X must be a Dask array or data frame, got ndarray"):
        DaskEMClassifier((3,), client=client).fit(X, y)


def test_a_partition_that_cannot_be_read_is_named(client):
    X, y = parts(*rows())
    X = X.map_blocks(dask_tasks.read_with_error, dtype=float, meta=np.empty((0, 4)))
    with pytest.raises(PartitionError, match=r"partition 3 of 5.*OSError: disk is gone"):
        DaskEMClassifier((3,), client=client, alpha=0.1).fit(X, y)


def test_partitions_that_exceed_the_memory_of_a_worker_are_refused():
    with cluster_of(1, memory_limit="400MB") as client:
        X = da.zeros((10_000_000, 20), chunks=(5_000_000, 20))
        y = da.zeros(10_000_000, chunks=5_000_000, dtype=int)
        began = time.monotonic()
        with pytest.raises(ValueError, match=r"Partition 1 of 2.*800000000 bytes.*worker has"):
            DaskEMClassifier((3,), client=client).fit(X, y)
        assert time.monotonic() - began < 10.0
        X, y = parts(*rows())
        model = DaskEMClassifier((21,), e_step="enumeration", client=client, alpha=0.1)
        with pytest.raises(ValueError, match=r"Partition 1 of 5.*E-step on 700 rows needs.*bytes"):
            model.fit(X, y)


# Faults


@pytest.mark.parametrize(
    ("at", "n_killed"), [(1, 1), (20, 1), (40, 1), (10, 2)], ids=["first", "middle", "last", "two"]
)
def test_killed_workers_cost_nothing_but_time(expected, watched_rounds, at, n_killed):
    with cluster_of(3) as client:
        saboteur = Saboteur(client, at, n_killed)
        watched_rounds(saboteur)
        model = fitted(client)
        assert len(saboteur.victims) == n_killed
        assert_same_bits(model, expected)


def test_a_worker_that_hangs_is_given_up(expected, watched_rounds):
    with cluster_of(2) as client:
        saboteur = Saboteur(client, 10, sent=signal.SIGSTOP)
        watched_rounds(saboteur)
        began = time.monotonic()
        model = fitted(client, timeout=2.0)
        assert time.monotonic() - began < 60.0
        assert_same_bits(model, expected)
        for process in saboteur.victims:
            with contextlib.suppress(ProcessLookupError):  # the nanny may have done it
                os.kill(process, signal.SIGKILL)


def test_work_that_never_ends_is_refused_within_the_timeout(client):
    X, y = parts(*rows())
    X = X.map_blocks(dask_tasks.read_for_ever, dtype=float, meta=np.empty((0, 4)))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no partition finished for 1 seconds"):
        DaskEMClassifier((3,), client=client, alpha=0.1, timeout=1.0).fit(X, y)
    assert time.monotonic() - began < 20.0
