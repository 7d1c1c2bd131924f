"""Data formats, random generator and interface equal those of scikit-learn's perceptrons."""

import inspect
import itertools

import numpy as np
import pytest
import reference_backprop as reference
from mlp_problems import (
    ADAM,
    BY_SOLVER,
    CONVERGENCE,
    REGRESSIONS,
    SGD,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    X,
    assert_same,
    assert_same_fit,
    fast,
    parameters,
    slow,
)
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastem import FastMLPClassifier, FastMLPRegressor
from fastem.perceptron.feed_forward import FeedForward

pytest.importorskip("sklearn", minversion="1.9")  # whose numbers they are
pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

SINGLE = {"rtol": 2e-3, "atol": 2e-4}


# The generator


@pytest.mark.parametrize("task", ["multiclass", "three outputs"])
@pytest.mark.parametrize(
    "options", [SGD, ADAM, {**ADAM, "shuffle": False}, {**SGD, "early_stopping": True},
                {"solver": "lbfgs", "max_iter": 3}],
    ids=["sgd", "adam", "in order", "early stopping", "lbfgs"],
)  # fmt: skip
def test_the_generator_is_used_alike(options, task):
    states = []
    models = []
    for kind in (fast, slow):
        generator = np.random.RandomState(5)
        generator.normal()  # leaves half of a pair
        model = kind(task, **options, random_state=generator).fit(X, TARGETS[task])
        models.append(model.fit(X, TARGETS[task]))
        assert model.random_state is generator
        states.append(generator.get_state(legacy=False))
    assert_same(*models)
    np.testing.assert_equal(states[0], states[1])


def test_the_global_generator_is_used_alike():
    after = []
    for kind in (fast, slow):
        np.random.seed(3)  # noqa: NPY002
        kind("binary", **ADAM, random_state=None).fit(X, TARGETS["binary"])
        after.append(np.random.uniform())  # noqa: NPY002
    assert after[0] == after[1]


# Formats of X and y


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("solver", [*STOCHASTIC, {"solver": "lbfgs"}], **BY_SOLVER)
def test_sparse_rows(solver, task, form):
    rows = form(np.where(np.abs(X) < 0.7, 0.0, X))
    options = {**solver, "hidden_layer_sizes": (6, 4)}
    ours = assert_same_fit(task, WEIGHTS, rows, **options)
    dense = fast(task, **options).fit(rows.toarray(), TARGETS[task], WEIGHTS)
    assert_same(ours, dense, rows.toarray())
    if solver.get("solver") != "lbfgs":
        assert_same_fit(task, WEIGHTS, rows, **options, early_stopping=True)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_with_entries_in_any_order_and_more_than_once(solver):
    rows = sparse.csr_matrix(
        ([1.0, 2.0, 3.0, -1.0, 0.0, 5.0], [2, 0, 2, 1, 1, 3], [0, 3, 4, 5, 6]), shape=(4, 4)
    )
    dense, y = rows.toarray(), [0, 1, 0, 1]
    assert dense[0, 2] == 4.0
    a, b = (fast("binary", solver=solver, max_iter=4).fit(one, y) for one in (rows, dense))
    np.testing.assert_allclose(a.predict_proba(rows), b.predict_proba(dense), rtol=1e-10)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC, **BY_SOLVER)
def test_single_precision(solver, task):
    rows = X.astype(np.float32)
    models = [kind(task, **solver).fit(rows, TARGETS[task]) for kind in (fast, slow)]
    assert_same(*models, rows, SINGLE)
    assert {values.dtype for values in parameters(models[0])} == {np.dtype(np.float32)}
    for output in ("predict_proba", "predict"):
        if hasattr(models[1], output):
            a, b = (getattr(model, output)(rows) for model in models)
            assert a.dtype == b.dtype
    # rows in double precision meet the same weights, in double precision
    model = models[0]
    output = model.predict(X) if task in REGRESSIONS else model.predict_proba(X)[:, -3:]
    assert output.dtype == np.float64
    net = reference.Net(*upcast(model), [None], ("relu",), model.out_activation_)
    expected = reference.outputs(net, X)
    if expected.shape[1] == 1 and task not in REGRESSIONS:
        output = output[:, 1:]
    np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=1e-10)


def upcast(model):
    return [[a.astype(float) for a in arrays] for arrays in (model.coefs_, model.intercepts_)]


@pytest.mark.parametrize("form", [sparse.csr_matrix, np.asfortranarray])
def test_single_precision_of_other_forms(form):
    rows, y = form(X.astype(np.float32)), TARGETS["multiclass"]
    models = [kind("multiclass", **ADAM).fit(rows, y) for kind in (fast, slow)]
    assert_same(*models, rows, SINGLE)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    models = []
    for kind in (fast, slow):
        models.append(kind("strings").fit(frame, pandas.Series(TARGETS["strings"], dtype=object)))
        np.testing.assert_array_equal(models[-1].feature_names_in_, list("abcd"))
    assert_same(*models, frame)
    for model in models:
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            model.predict(X)
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(frame[["b", "a", "c", "d"]])


@pytest.mark.parametrize(
    "form",
    [np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=1)[:, ::2], lambda rows: rows.tolist(),
     lambda rows: np.rint(3.0 * rows).astype(int), lambda rows: rows[::-1]],
    ids=["Fortran", "strided", "lists", "integers", "reversed"],
)  # fmt: skip
def test_forms_of_rows(form):
    rows = form(np.array(X))
    for task in ("multiclass", "one output"):
        assert_same_fit(task, rows=rows, **ADAM)
        assert_same_fit(task, rows=rows, **ADAM, shuffle=False)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_nothing_given_is_changed(solver, shuffle):
    rows, y, weights = np.array(X), TARGETS["three outputs"].copy(), WEIGHTS.copy()
    fast("three outputs", solver=solver, shuffle=shuffle).fit(rows, y, weights).predict(rows)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(y, TARGETS["three outputs"])
    np.testing.assert_array_equal(weights, WEIGHTS)


@pytest.mark.parametrize("labels", [[False, True], [1.0, 3.0], [-1, 1], ["a", "b"]], ids=str)
def test_forms_of_labels(labels):
    y = np.array(labels)[TARGETS["binary"]]
    models = [kind("binary", **ADAM).fit(X, y) for kind in (fast, slow)]
    assert_same(*models)
    assert models[0].predict(X).dtype == models[1].predict(X).dtype


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("task", ["multiclass", "one output"])
def test_targets_in_a_column(task):
    models = [kind(task, **ADAM).fit(X, TARGETS[task][:, None]) for kind in (fast, slow)]
    assert_same(*models)
    assert models[0].predict(X).shape == (len(X),)


# Interruptions and warnings


def test_an_interruption_keeps_what_there_is(monkeypatch):
    epoch, epochs = FeedForward.train, itertools.count()

    def interrupted(*args, **options):
        if next(epochs) == 3:
            raise KeyboardInterrupt
        return epoch(*args, **options)

    three = fast("multiclass", **ADAM, max_iter=3).fit(X, TARGETS["multiclass"])
    monkeypatch.setattr(FeedForward, "train", interrupted)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        model = fast("multiclass", **ADAM).fit(X, TARGETS["multiclass"])
    assert [w.filename for w in caught] == [__file__]
    assert model.n_iter_ == 3
    for a, b in zip(parameters(model), parameters(three), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor])
@pytest.mark.parametrize(
    ("call", "options", "message"),
    [("fit", {"max_iter": 2}, "Maximum iterations"), ("fit", {"solver": "lbfgs"}, "lbfgs failed"),
     ("fit", {"batch_size": 99, "tol": 9.0, "n_iter_no_change": 1}, "Got `batch_size`"),
     ("fit", {"early_stopping": True, "max_iter": 2}, "Maximum iterations"),
     ("partial_fit", {"batch_size": 99}, "Got `batch_size`")],
)  # fmt: skip
def test_warnings_point_at_the_line_of_the_caller(kind, call, options, message):
    model = kind(hidden_layer_sizes=(3,), random_state=0, **{"max_iter": 5, **options})
    given = {"classes": [0, 1]} if call == "partial_fit" and kind is FastMLPClassifier else {}
    with pytest.warns(UserWarning, match=message) as caught:
        getattr(model, call)(X, TARGETS["binary"], **given)
    assert [w.filename for w in caught] == [__file__]


# Interface


@pytest.mark.parametrize(
    ("ours", "theirs"), [(FastMLPClassifier, MLPClassifier), (FastMLPRegressor, MLPRegressor)]
)
def test_what_can_be_written_for_scikit_learn_can_be_written_here(ours, theirs):
    for method in ("__init__", "fit", "partial_fit", "predict", "score"):
        a, b = (inspect.signature(getattr(kind, method)).parameters for kind in (ours, theirs))
        if method == "partial_fit":  # keywords only after y
            assert {name: p.default for name, p in a.items()} == {
                name: p.default for name, p in b.items()
            }
            continue
        shared = [a[name] for name in list(a)[: len(b)]]
        told = [(p.name, p.kind, p.default) for p in shared]
        assert told == [(p.name, p.kind, p.default) for p in b.values()]
        rest = list(a.values())[len(b) :]
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in rest)
    a, b = ours().get_params(), theirs().get_params()
    assert {name: a[name] for name in b} == b
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))
