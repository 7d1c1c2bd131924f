"""Dask collections as partitions, and lazy predictions; without a cluster."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("distributed")

import cloudpickle
import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import pandas as pd
from dask.utils import key_split
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor
from fastem.dask.collections import partitioned
from fastem.dask.predictions import apply_to_rows, sum_over_partitions

LENGTHS = (7, 0, 1, 30, 12)  # of the partitions
NAMES = ["a", "b", "c"]
SCHEDULERS = ["synchronous", "threads"]


def numbers():
    return np.random.default_rng(0).standard_normal((sum(LENGTHS), len(NAMES)))


def text():
    return np.array(["no", "yes", "perhaps"])[np.arange(sum(LENGTHS)) % 3]


def blocks(values, lengths=LENGTHS):
    return np.split(values, np.cumsum(lengths)[:-1])


def arrays(*values):
    return [da.from_array(v, chunks=(LENGTHS, *v.shape[1:])) for v in values]


def of_unknown_length(array):
    return array[da.ones(array.shape[0], chunks=(array.chunks[0],)) > 0]


def frame_of(table, lengths=LENGTHS):
    """Return a data frame with empty partitions and unknown divisions."""
    stops = np.cumsum(lengths)
    parts = [table.iloc[stop - n : stop] for stop, n in zip(stops, lengths, strict=True)]
    return dd.from_map(_itself, parts, meta=table.iloc[:0])


def _itself(part):
    return part


def table():
    return pd.DataFrame(numbers(), columns=NAMES).assign(y=text())


def computed(data, scheduler="synchronous"):
    return dask.compute(data.parts, scheduler=scheduler)[0]


@pytest.fixture(autouse=True)
def nothing_is_computed_by_itself():
    def refuse(graph, keys, **settings):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


# Partitions


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("known", [True, False])
def test_arrays(scheduler, known):
    X, y, weights = numbers(), text(), np.arange(float(sum(LENGTHS)))
    collections = arrays(X, y, weights)
    if not known:
        collections = [of_unknown_length(values) for values in collections]
    data = partitioned(*collections)
    found = computed(data, scheduler)
    for part, *expected in zip(found, blocks(X), blocks(y), blocks(weights), strict=True):
        for mine, its in zip(part, expected, strict=True):
            assert_array_equal(mine, its)
            assert mine.dtype == its.dtype
    assert data.n_bytes == ([24 * n for n in LENGTHS] if known else [None] * 5)


def test_without_weights_and_with_several_outputs():
    X, y = numbers(), numbers()[:, :2]
    lazy = [da.from_array(v, chunks=((20, 30), 1)) for v in (X, y)]
    for collections in (lazy, [of_unknown_length(values) for values in lazy]):
        data = partitioned(*collections)
        assert [part[2] for part in data.parts] == [None, None]
        for (mine, its, _), *expected in zip(
            computed(data), blocks(X, (20, 30)), blocks(y, (20, 30)), strict=True
        ):
            assert_array_equal(mine, expected[0])
            assert_array_equal(its, expected[1])


def test_other_known_lengths_are_made_those_of_X():
    X, y, weights = numbers(), text(), np.arange(50.0)
    lazy = da.from_array(X, chunks=(LENGTHS, 3))
    data = partitioned(lazy, da.from_array(y, chunks=20), da.from_array(weights, chunks=(50,)))
    for (_, mine, own), *expected in zip(computed(data), blocks(y), blocks(weights), strict=True):
        assert_array_equal(mine, expected[0])
        assert_array_equal(own, expected[1])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_data_frames(scheduler):
    frame = frame_of(table().assign(w=1.5, left_out="text"))
    data = partitioned(frame[NAMES], frame["y"], frame["w"])
    found = computed(data, scheduler)
    assert data.n_bytes == [None] * 5
    for (X, y, weights), mine, its in zip(found, blocks(numbers()), blocks(text()), strict=True):
        assert list(X.columns) == NAMES
        assert_array_equal(X, mine)
        assert_array_equal(y, its)
        assert_array_equal(weights, np.full(len(its), 1.5))
        assert y.name == "y"


def test_several_outputs_in_a_data_frame():
    frame = frame_of(table())
    for _, y, _ in computed(partitioned(frame[["a"]], frame[["c", "b"]])):
        assert list(y.columns) == ["c", "b"]


def test_arrays_and_data_frames_together():
    X, frame = da.from_array(numbers(), chunks=(LENGTHS, 3)), frame_of(table())
    of_arrays = computed(partitioned(X, frame["y"], X[:, 0] ** 2))
    of_frames = computed(partitioned(frame[NAMES], X[:, 0], frame["a"].to_dask_array() ** 2))
    for part, other, rows, y in zip(
        of_arrays, of_frames, blocks(numbers()), blocks(text()), strict=True
    ):
        for found, targets in ((part, y), (other, rows[:, 0])):
            for values, expected in zip(found, (rows, targets, rows[:, 0] ** 2), strict=True):
                assert_array_equal(values, expected)


@pytest.mark.parametrize("known", [True, False])
def test_categories(known):
    categories = frame_of(table().assign(y=pd.Categorical(text())))["y"]
    y = categories if known else categories.cat.as_unknown()
    assert y.cat.known == known
    X = frame_of(table())[NAMES]
    for (_, mine, _), its in zip(computed(partitioned(X, y)), blocks(text()), strict=True):
        assert isinstance(mine.dtype, pd.CategoricalDtype)
        assert_array_equal(np.asarray(mine), its)


def write_files(folder, write, n_files=12, n_columns=20):
    """Write files of which Dask would join several if few columns are read."""
    wide = pd.DataFrame(np.arange(60.0)[:, None] + np.arange(n_columns))
    wide.columns = [f"x{j}" for j in range(n_columns)]
    wide["y"] = np.array(["no", "yes"])[np.arange(60) % 2]
    for i in range(n_files):
        write(wide.iloc[5 * i : 5 * i + 5], folder / f"part-{i:02d}")
    return wide


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files(tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        wide = write_files(tmp_path, lambda rows, path: rows.to_parquet(path))
        frame = dd.read_parquet(tmp_path / "part-*")
    else:
        wide = write_files(tmp_path, lambda rows, path: rows.to_csv(path, index=False))
        frame = dd.read_csv(tmp_path / "part-*")
    data = partitioned(frame[["x1", "x2"]], frame["y"])
    found = computed(data)
    assert len(found) == 12  # also of y, which alone Dask would read in fewer partitions
    for i, (X, y, _) in enumerate(found):
        assert_array_equal(X, wide[["x1", "x2"]].iloc[5 * i : 5 * i + 5])
        assert_array_equal(y, wide["y"].iloc[5 * i : 5 * i + 5])


def test_only_the_columns_in_use_are_read_and_once():
    reads = []

    def read(part, columns=None):
        reads.append(columns)
        rows = table().iloc[:2]
        return rows if columns is None else rows[columns]

    frame = dd.from_map(read, range(3), meta=table().iloc[:0])
    computed(partitioned(frame[["b"]], frame["y"]))
    assert reads == [["b", "y"]] * 3


def test_blocks_that_X_and_y_have_in_common_are_read_once():
    reads = []

    def read(number):
        reads.append(number)
        return np.full((4, 3), float(number))

    own = [da.from_delayed(dask.delayed(read)(i), (4, 3), dtype=float) for i in range(3)]
    whole = da.concatenate(own)
    computed(partitioned(whole[:, :2], whole[:, 2], whole[:, 2]))
    assert sorted(reads) == [0, 1, 2]


def test_a_partition_is_computed_without_the_others():
    reads = []

    def read(number):
        reads.append(number)
        return np.full((4, 3), float(number))

    own = [da.from_delayed(dask.delayed(read)(i), (4, 3), dtype=float) for i in range(3)]
    whole = da.concatenate(own)
    for lazy in (whole, whole.to_dask_dataframe(columns=NAMES)):
        y = lazy[:, 2] if lazy is whole else lazy["c"]
        reads.clear()
        part = partitioned(lazy, y).parts[1]
        (X, y, _), = dask.compute(part, scheduler="synchronous")  # fmt: skip
        assert reads == [1]
        assert_array_equal(X, np.ones((4, 3)))


def test_memory_is_unknown_for_objects_and_sparse_blocks():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = arrays(numbers(), text())
    blocks_of_X = X.map_blocks(sparse.csr_matrix, dtype=float, meta=sparse.csr_matrix((0, 0)))
    data = partitioned(blocks_of_X, y)
    assert data.n_bytes == [None] * 5
    assert computed(data)[3][0].shape == (30, 3)
    assert partitioned(X.astype(object), y).n_bytes == [None] * 5
    assert partitioned(X.astype("f4"), y).n_bytes == [12 * n for n in LENGTHS]


# Errors


def lazy_frame():
    return frame_of(table())


def known(rows, npartitions=2):
    return dd.from_pandas(table().iloc[:rows], npartitions=npartitions)


X2 = da.ones((50, 2), chunks=(25, 2))
Y2 = da.ones(50, chunks=25)
UNKNOWN = of_unknown_length(da.ones(50, chunks=10))


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ((np.ones((3, 2)), Y2), TypeError, "X must be .* got ndarray.*FastEMClassifier.*from_arr"),
        (([[1.0]], Y2), TypeError, "X must be a Dask array or data frame, got list"),
        ((pd.DataFrame({"a": [1]}), Y2), TypeError, "X must be .* got DataFrame"),
        ((db.from_sequence([1, 2]), Y2), TypeError, "X must be .* got Bag.*to_dataframe"),
        ((dask.delayed(np.ones)(3), Y2), TypeError, "X must be .* got Delayed.*from_delayed"),
        ((X2, dask.delayed(np.ones)(3)), TypeError, "y must be .* got Delayed.*from_delayed"),
        ((X2, np.ones(50)), TypeError, "y must be .* got ndarray"),
        ((X2, Y2, np.ones(50)), TypeError, "sample_weight must be .* got ndarray"),
        ((X2, Y2, 2.0), TypeError, "sample_weight must be .* got float"),
        ((X2, None), ValueError, "requires y to be passed, but the target y is None"),
        ((Y2, Y2), ValueError, r"X must have two dimensions, got 1.*X\[:, None\]"),
        ((X2[None], Y2), ValueError, "X must have two dimensions, got 3"),
        ((known(9)["a"], Y2), ValueError, "X must have two dimensions, got 1.*to_frame"),
        ((X2, X2[None]), ValueError, "y must have one or two dimensions, got 3"),
        ((X2, X2.sum()), ValueError, "y must have one or two dimensions, got 0"),
        ((X2, Y2, X2), ValueError, "sample_weight must have one dimension, got 2"),
        ((known(9)[["a"]], known(9)["y"], known(9)[["a"]]), ValueError, "one dimension, got 2"),
        ((known(9)[[]], known(9)["y"]), ValueError, "X has no columns"),
        ((known(9)[["a"]], known(9)[[]]), ValueError, "y has no columns"),
        ((X2[:, :0], Y2), ValueError, "X has no columns"),
        ((X2[:, X2[0] > 0], Y2), ValueError, r"X has an unknown number of columns.*compute_chunk"),
        ((X2, Y2[:49]), ValueError, "X has 50 rows and y has 49"),
        ((X2, Y2, Y2[1:]), ValueError, "X has 50 rows and sample_weight has 49"),
        (
            (X2, of_unknown_length(da.ones(50, chunks=10))),
            ValueError,
            "X has 2 partitions and y has 5.*divide y",
        ),
        ((X2, known(9, 3)["y"]), ValueError, "X has 2 partitions and y has 3"),
        ((known(9)[["a"]], known(9, 3)["y"]), ValueError, "X has 2 partitions and y has 3"),
        ((known(9)[["a"]], known(8)["y"]), ValueError, r"different divisions.*y\.repartition\("),
    ],
)
def test_bad_collections(values, error, text):
    with pytest.raises(error, match=text):
        partitioned(*values)


def test_the_remedy_for_different_divisions():
    X, y = known(50)[NAMES], known(50)["y"].repartition(divisions=(0, 30, 49))
    with pytest.raises(ValueError, match="different divisions"):
        partitioned(X, y)
    y = y.repartition(divisions=X.divisions)
    assert [len(part[1]) for part in computed(partitioned(X, y))] == [25, 25]


# Predictions


def fitted(model, *values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*values)


SETTINGS = {"alpha": 0.1, "max_iter": 5, "random_state": 0}


@pytest.fixture(scope="module")
def classifier():
    return fitted(FastEMClassifier((3,), **SETTINGS), numbers(), text())


@pytest.fixture(scope="module")
def classifier_of_table():
    return fitted(FastEMClassifier((3,), **SETTINGS), table()[NAMES], table()["y"])


@pytest.fixture(scope="module")
def regressor():
    targets = numbers()[:, :2]
    return fitted(FastEMRegressor((3,), **SETTINGS, e_step="enumeration"), numbers(), targets)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("known", [True, False])
def test_predictions_for_arrays(classifier, scheduler, known):
    X = da.from_array(numbers(), chunks=(LENGTHS, (2, 1)))
    X = X if known else of_unknown_length(X)
    classes = classifier.classes_
    for method, form in [
        ("predict_proba", {"columns": classes}),
        ("predict_log_proba", {"columns": classes}),
        ("predict", {"labels": classes}),
    ]:
        function = getattr(classifier, method)
        found = apply_to_rows(function, X, **form, name=method)
        assert isinstance(found, da.Array)
        expected = function(numbers())
        assert_array_equal(found.chunks[0], X.chunks[0])
        assert found.chunks[1:] == tuple((n,) for n in expected.shape[1:])
        values = found.compute(scheduler=scheduler)
        assert_array_equal(values, expected)
        assert values.dtype == found.dtype == expected.dtype


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_predictions_for_data_frames(classifier_of_table, scheduler):
    model, rows = classifier_of_table, table()[NAMES].set_index(np.arange(50) % 17 + 3)
    rows.index.name = "id"
    X = frame_of(rows)
    probability = apply_to_rows(
        model.predict_proba, X, columns=model.classes_.tolist(), name="predict_proba"
    )
    assert isinstance(probability, dd.DataFrame)
    labels = apply_to_rows(model.predict, X, labels=model.classes_, name="predict")
    assert isinstance(labels, dd.Series)
    for lazy, expected in (
        (probability, model.predict_proba(rows)),
        (labels, model.predict(rows)),
    ):
        values = lazy.compute(scheduler=scheduler)
        assert_array_equal(values, expected)
        assert_array_equal(values.index, rows.index)
        assert lazy.index.name == values.index.name == "id"
        assert lazy.npartitions == X.npartitions
    values = probability.compute(scheduler=scheduler)
    assert list(values.columns) == list(probability.columns) == ["no", "perhaps", "yes"]
    assert values.columns.dtype == probability.columns.dtype
    assert (values.dtypes == probability.dtypes).all()
    assert labels.name == labels.compute(scheduler=scheduler).name == "predict"


def test_divisions_are_kept(classifier_of_table):
    X = known(50)[NAMES]
    found = apply_to_rows(classifier_of_table.predict, X, name="predict")
    assert found.divisions == X.divisions


@pytest.mark.parametrize("convert", [True, False])
@pytest.mark.parametrize("kind", ["U7", object])
def test_labels_of_text_in_data_frames(classifier_of_table, convert, kind):
    with dask.config.set({"dataframe.convert-string": convert}):
        rows = table()
        frame = frame_of(rows)

        def predict(part):
            return classifier_of_table.predict(part).astype(kind)

        labels = classifier_of_table.classes_.astype(kind)
        lazy = apply_to_rows(predict, frame[NAMES], labels=labels, name="label")
        assert lazy.dtype == pd.Series(["no"]).dtype
        for part in lazy.to_delayed():
            values = part.compute(scheduler="synchronous")
            assert values.dtype == lazy.dtype
            assert {type(value) for value in values} <= {str}
        whole = frame.assign(label=lazy, right=lazy == frame["y"]).compute(scheduler="synchronous")
        expected = classifier_of_table.predict(rows[NAMES])
        assert_array_equal(whole["label"], expected)
        assert_array_equal(whole["right"], expected == rows["y"])
        counts = lazy.value_counts().compute(scheduler="synchronous")
        assert counts.to_dict() == pd.Series(expected).value_counts().to_dict()


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 5], dtype=np.int32),
        np.array([False, True]),
        np.array([0.5, 1.5]),
        np.array(["2020-01-01", "2021-01-01"], dtype="M8[s]"),
        np.array([(1, 2), (3, 4), None], dtype=object)[:2],
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_that_are_no_text(labels):
    def predict(rows):
        return labels[np.arange(len(rows)) % 2]

    for X in (frame_of(table())[NAMES], *arrays(numbers())):
        lazy = apply_to_rows(predict, X, labels=labels, name="label")
        values = lazy.compute(scheduler="synchronous")
        assert lazy.dtype == values.dtype == labels.dtype
        assert list(values) == [labels[i % 2] for n in LENGTHS for i in range(n)]


def test_labels_are_written_to_parquet(classifier_of_table, tmp_path):
    pytest.importorskip("pyarrow")
    frame, model = frame_of(table()), classifier_of_table
    assert model.classes_.dtype == object
    lazy = apply_to_rows(model.predict, frame[NAMES], labels=model.classes_, name="label")
    settings = {"write_index": False, "compute_kwargs": {"scheduler": "synchronous"}}
    frame.assign(label=lazy).to_parquet(tmp_path / "out", **settings)
    found = pd.read_parquet(tmp_path / "out")
    assert_array_equal(found["label"], model.predict(table()[NAMES]))


def test_several_outputs_of_a_regressor(regressor):
    X, rows = da.from_array(numbers(), chunks=(LENGTHS, 3)), pd.DataFrame(numbers())
    expected = regressor.predict(numbers())
    found = apply_to_rows(regressor.predict, X, columns=[0, 1], name="predict")
    assert_array_equal(found.compute(scheduler="synchronous"), expected)
    lazy = apply_to_rows(regressor.predict, frame_of(rows), columns=[0, 1], name="predict")
    assert_array_equal(lazy.compute(scheduler="synchronous"), expected)
    assert list(lazy.columns) == [0, 1]


def test_only_the_files_columns_in_use_are_read(tmp_path, classifier_of_table):
    pytest.importorskip("pyarrow")
    wide = write_files(tmp_path, lambda rows, path: rows.to_parquet(path))
    X = dd.read_parquet(tmp_path / "part-*")[["x0", "x1", "x2"]].rename(
        columns=dict(zip(["x0", "x1", "x2"], NAMES, strict=True))
    )
    model = classifier_of_table
    found = apply_to_rows(model.predict_proba, X, columns=model.classes_, name="predict_proba")
    expected = model.predict_proba(wide[["x0", "x1", "x2"]].set_axis(NAMES, axis=1))
    assert_array_equal(found.compute(scheduler="synchronous"), expected)


@pytest.mark.parametrize("X", [np.ones((3, 2)), Y2, known(9)["a"], X2[:, :0], None])
def test_bad_rows_for_predictions(X):
    with pytest.raises((TypeError, ValueError), match=r"X (must|has)"):
        apply_to_rows(np.sum, X, name="predict")


def graph_of(lazy):
    return dict(dask.optimize(lazy)[0].__dask_graph__())


class Heavy:
    """A model of 800 kB."""

    def __init__(self):
        self.coefs = np.zeros(100_000)

    def predict(self, rows):
        return np.asarray(rows).sum(axis=1)

    def log_likelihood(self, X, y, sample_weight):
        return float(np.asarray(X).sum())


@pytest.mark.parametrize("kind", ["array", "frame", "sum"])
def test_the_model_is_in_the_graph_once(kind):
    X = da.ones((1000, 2), chunks=(1, 2))
    if kind == "frame":
        X = dd.from_map(lambda i: pd.DataFrame({"a": [1.0 * i]}), range(1000), meta={"a": float})
    model = Heavy()
    if kind == "sum":
        parts = partitioned(X, X[:, 0]).parts
        lazy = sum_over_partitions(model.log_likelihood, parts, "log_likelihood")
    else:
        lazy = apply_to_rows(model.predict, X, name="predict")
    sizes = [len(cloudpickle.dumps(task)) for task in graph_of(lazy).values()]
    assert len(sizes) > 1000
    assert max(sizes) > 800_000
    assert sorted(sizes)[-2] < 200_000  # the list of 1000 summands


def test_names_of_tasks_are_read_in_the_dashboard(classifier):
    X, y = arrays(numbers(), text())
    lazy = apply_to_rows(classifier.predict_proba, X, columns=range(3), name="predict_proba")
    assert {key_split(key) for key in graph_of(lazy)} >= {"fastem-predict-proba", "fastem-model"}
    total = sum_over_partitions(
        classifier.log_likelihood, partitioned(X, y).parts, "log_likelihood"
    )
    assert {key_split(key) for key in graph_of(total)} >= {"fastem-log-likelihood"}


# Sums


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", ["arrays", "frames"])
def test_log_likelihood(classifier, classifier_of_table, scheduler, kind):
    model = classifier if kind == "arrays" else classifier_of_table
    weights = np.arange(50.0)
    if kind == "arrays":
        X, y = numbers(), text()
        data = partitioned(*arrays(X, y, weights))
    else:
        X, y = table()[NAMES], table()["y"]
        frame = frame_of(table().assign(w=weights))
        data = partitioned(frame[NAMES], frame["y"], frame["w"])
    lazy = sum_over_partitions(model.log_likelihood, data.parts, "log_likelihood")
    assert lazy.shape == ()
    assert lazy.dtype == np.float64
    expected = 0.0
    for rows in blocks(np.arange(50)):
        if len(rows):
            part = X[rows] if kind == "arrays" else X.iloc[rows]
            expected += model.log_likelihood(part, y[rows], weights[rows])
    assert lazy.compute(scheduler=scheduler) == expected


def test_summands_are_added_in_the_order_of_the_partitions():
    X = da.from_array(np.array([1e16, 1.0, -1e16, 1.0])[:, None], chunks=(1, 1))
    parts = partitioned(X, X[:, 0]).parts
    lazy = sum_over_partitions(lambda X, y, w: X[0, 0], parts, "sum")
    assert lazy.compute(scheduler="threads") == ((1e16 + 1.0) - 1e16) + 1.0


def test_a_function_is_never_called_without_rows():
    def count(X, y, sample_weight):
        assert len(X)
        return len(X)

    X, y = arrays(numbers(), text())
    lazy = sum_over_partitions(count, partitioned(X, y).parts, "count")
    assert lazy.compute(scheduler="synchronous") == 50
    empty = X[:0]
    found = apply_to_rows(count, empty, name="predict").compute(scheduler="synchronous")
    assert found.shape == (0,)
    found = apply_to_rows(count, empty, columns=["u", "v"], dtype="i8", name="predict")
    assert found.compute(scheduler="synchronous").shape == (0, 2)
