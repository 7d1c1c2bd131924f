"""Models whose arrays come back as read-only memory: mapped files, immutable buffers, workers.

The cases run in child processes: a kernel that writes to a mapped file kills its process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from child_process import LIST_SIGNATURES
from numba.core.errors import TypingError
from scipy import sparse

import fastem
from fastem.kernels import backprop
from fastem.kernels._jit import jit
from fastem.kernels.views import matrix, untracked, vector
from fastem.perceptron import Adam, Layers, Sgd

CASES = """
import pickle, tempfile
from pathlib import Path
import joblib, numpy as np
warnings.simplefilter("ignore")

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 3))
y = (X[:, 0] > 0).astype(int)
mlp, regressor, em = fastem.FastMLPClassifier, fastem.FastMLPRegressor, fastem.FastEMClassifier
common = {"random_state": 0, "max_iter": 3}
warm = {**common, "warm_start": True}
online = lambda model, X, y: model.partial_fit(X, y)
first = lambda model, X, y: model.partial_fit(X, y, classes=[0, 1])
again = lambda model, X, y: model.fit(X, y)
CASES = {
    "adam": (mlp((4,), **common), X, first, online),
    "sgd": (mlp((4,), solver="sgd", **common), X, first, online),
    "sgd without momentum": (mlp((4,), solver="sgd", momentum=0.0, **common), X, first, online),
    "float32": (mlp((4,), **common), X.astype(np.float32), first, online),
    "prelu": (mlp((4,), activation="prelu", **common), X, first, online),
    "early stopping": (mlp((4,), early_stopping=True, **warm), X, again, again),
    "perceptron by lbfgs": (mlp((4,), solver="lbfgs", **warm), X, again, again),
    "regressor": (regressor(hidden_layer_sizes=(4,), **common), X, online, online),
    "em by adam": (em((3,), solver="adam", **common), X, first, online),
    "em by adam, warm start": (em((3,), solver="adam", **warm), X, again, again),
    "em": (em((3,), **{**warm, "max_iter": 12}), X, again, again),
    "em by lbfgs": (em((3,), solver="lbfgs", **warm), X, again, again),
    "em by sampling": (em((3,), e_step=fastem.Sampling(n_samples=8), **warm), X, again, again),
    "two layers": (em((3, 2), **warm), X, again, again),
    "quadrature": (em((3,), e_step="quadrature", **warm), X, again, again),
}

def mapped(model, folder):
    file = Path(folder, "model")
    joblib.dump(model, file)
    return lambda: joblib.load(file, mmap_mode="r"), file.read_bytes

def immutable(model, folder):
    buffers = []
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    # one byte further on: no address is a multiple of eight
    held = b"".join([b"x", *(b"".join([buffer.raw(), b"x" * 8]) for buffer in buffers)])
    def load():
        views, start = [], 1
        for buffer in buffers:
            views.append(memoryview(held)[start:start + buffer.raw().nbytes])
            start += buffer.raw().nbytes + 8
        return pickle.loads(data, buffers=views)
    return load, lambda: bytes(held)

for name, (model, rows, begin, go_on) in CASES.items():
    begin(model, rows, y)
    expected = model.predict(rows), go_on(pickle.loads(pickle.dumps(model)), rows, y)
    for how in (mapped, immutable):
        with tempfile.TemporaryDirectory() as folder:
            load, content = how(model, folder)
            before = content()
            restored, other = load(), load()
            known = signatures()
            same = np.array_equal(restored.predict(rows), expected[0])
            compiled = signatures() != known
            results = [go_on(restored, rows, y), go_on(other, rows, y), expected[1]]
            coefs = [np.concatenate([w.ravel() for w in m.coefs_]).tolist() for m in results]
            print(json.dumps([name, how.__name__, {
                "predictions are the same": same,
                "predict compiles nothing": not compiled,
                "training compiles nothing": signatures() == known,
                "a second model goes on alike": coefs[0] == coefs[1],
                "it goes on as its original does": coefs[0] == coefs[2],
                "the memory is unchanged": content() == before,
            }]), flush=True)
"""
NAMES = [
    "adam", "sgd", "sgd without momentum", "float32", "prelu", "early stopping",
    "perceptron by lbfgs", "regressor", "em by adam", "em by adam, warm start", "em",
    "em by lbfgs", "em by sampling", "two layers", "quadrature",
]  # fmt: skip


def _run(code):
    package = str(Path(fastem.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": package},
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    done = _run(LIST_SIGNATURES + CASES)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(name, how): checks for name, how, checks in found}, done.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["mapped", "immutable"])
def test_a_restored_model_goes_on(outcomes, name, how):
    found, errors = outcomes
    assert (name, how) in found, errors
    assert [what for what, holds in found[name, how].items() if not holds] == []


WORKERS = """
import joblib, numpy as np
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
import fastem

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = (X[:, :2] > 0).astype(int)
options = {"hidden_layer_sizes": (4,), "random_state": 0}
models = [
    (MultiOutputClassifier, fastem.FastMLPClassifier(**options), Y, {"classes": [[0, 1]] * 2}),
    (OneVsRestClassifier, fastem.FastMLPClassifier(**options), Y[:, 0] + Y[:, 1],
     {"classes": [0, 1, 2]}),
    (MultiOutputRegressor, fastem.FastMLPRegressor(**options), X[:, :2], {}),
]
for kind, model, targets, known in models:
    found = []
    for n_jobs in (1, 2):
        # as joblib does with arguments above a megabyte: workers see them read-only
        with joblib.parallel_config("loky", max_nbytes=1):
            both = kind(model, n_jobs=n_jobs)
            both.partial_fit(X, targets, **known)
            both.partial_fit(X, targets)
            found.append(both.predict(X))
    assert np.array_equal(*found), kind
print("done")
"""


def test_workers_that_map_their_arguments():
    done = _run(WORKERS)
    assert done.stdout.split() == ["done"], done.stderr


def _read_only(array):
    array.setflags(write=False)
    return array


@jit
def _write_to_vector(array):
    vector(array, 0, 2)[0] = 5.0


@jit
def _write_to_matrix(array):
    matrix(array, 0, 1, 2)[0, 0] = 5.0


@jit
def _write_to_member(array):
    vector(untracked((array, 1))[0], 0, 2)[0] = 5.0


@pytest.mark.parametrize("kernel", [_write_to_vector, _write_to_matrix, _write_to_member])
def test_a_kernel_that_writes_to_a_read_only_view_does_not_compile(kernel):
    array = np.zeros(2)
    kernel(array)
    assert array[0] == 5.0
    with pytest.raises(TypingError, match="readonly"):
        kernel(_read_only(np.zeros(2)))


@pytest.mark.parametrize(
    "optimizer",
    [Adam(np.zeros(3), 0.1, 0.9, 0.999, 1e-8), Sgd(np.zeros(3), 0.1, "constant", 0.5, 0.9, True)],
)
def test_a_restored_optimizer_owns_its_memory(optimizer):
    state = {
        name: tuple(map(_read_only, value)) if isinstance(value, tuple)
        and isinstance(value[0], np.ndarray) else value
        for name, value in vars(optimizer).items()
    }  # fmt: skip
    restored = object.__new__(type(optimizer))
    restored.__setstate__(state)
    for array in restored.state(np.zeros(3)):
        assert array.flags.writeable
        assert array.flags.owndata


def test_no_array_of_a_layout_is_pickled():
    layers = Layers.of([3, 4, 2, 1], ["maxout", "prelu"], "logistic")
    function, arguments = layers.__reduce__()
    assert "array" not in repr(arguments)
    for old, new in zip(layers, function(*arguments), strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("form", ["dense", "sparse", "unaligned"])
def test_read_only_rows(form):
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(20, 3)), np.arange(20) % 2, rng.random(20)
    model = fastem.FastMLPClassifier((3,), max_iter=2, random_state=0, tol=0.0)
    options = {"n_iter_no_change": np.inf}
    expected = model.set_params(**options, shuffle=True)
    with pytest.warns(match="Maximum iterations"):
        expected = model.fit(X, y, weights).coefs_
    kept, known = X.copy(), list(backprop.run_batches.signatures)
    if form == "sparse":
        X = sparse.csr_matrix(X)
        for part in (X.data, X.indices, X.indptr):
            _read_only(part)
    elif form == "unaligned":
        X = np.frombuffer(b"x" + X.tobytes(), dtype=np.float64, offset=1).reshape(X.shape)
        assert not X.flags.aligned
    else:
        _read_only(X)
    with pytest.warns(match="Maximum iterations"):
        found = model.fit(X, _read_only(y), _read_only(weights)).coefs_
    if form != "sparse":
        assert backprop.run_batches.signatures == known
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_array_equal(X.toarray() if form == "sparse" else X, kept)
