"""Predictions of restored models, and of rows in read-only memory, compile nothing.

The cases run in a child process: a kernel that writes to a mapped file kills its process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from child_process import LIST_SIGNATURES

import fastem

CASES = """
import pickle, tempfile
from pathlib import Path
import joblib, numpy as np
from scipy import sparse
warnings.simplefilter("ignore")

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)) * (rng.random((40, 3)) < 0.7)
two = (X[:, 0] > 0).astype(int)
three, numbers, labels = two + (X[:, 1] > 0.5), X[:, 0] + 0.1 * X[:, 1], np.c_[two, X[:, 1] > 0]
common = {"random_state": 0, "max_iter": 2}
em = {"hidden_layer_sizes": (3,), "alpha": 0.1, **common}
classifier, regressor = fastem.FastEMClassifier, fastem.FastEMRegressor
perceptron = fastem.FastMLPClassifier
MODELS = {
    "classifier": (classifier(**em), X, three),
    "two layers": (classifier(**{**em, "hidden_layer_sizes": (3, 2)}), X, three),
    "quadrature": (classifier(e_step="quadrature", **em), X, two),
    "sampling": (classifier(e_step=fastem.Sampling(n_samples=8), **em), X, two),
    "sparse": (classifier(**em), sparse.csr_array(X), three),
    "labels": (classifier(**em), X, labels.astype(int)),
    "regressor": (regressor(e_step="enumeration", **em), X, numbers),
    "regressor by quadrature": (regressor(e_step="quadrature", **em), X, numbers),
    "counts": (regressor(family="poisson", **em), X, three),
    "perceptron": (perceptron((3,), **common), X, three),
    "perceptron in float32": (perceptron((3,), **common), X.astype(np.float32), three),
    "sparse perceptron": (perceptron((3,), **common), sparse.csr_array(X), three),
    "perceptron for numbers": (
        fastem.FastMLPRegressor(hidden_layer_sizes=(3,), **common), X, numbers,
    ),
}
OF_X = "predict", "predict_proba", "predict_log_proba", "transform", "predict_interval", "sample"
OF_X_AND_Y = (
    "score", "log_likelihood", "posterior", "log_density", "predict_cdf", "aic", "bic",
)

def read_only(values):
    values = values.copy()
    arrays = [values.data, values.indices, values.indptr] if sparse.issparse(values) else [values]
    for array in arrays:
        array.setflags(write=False)
    return values

def columns_first(values):
    return values if sparse.issparse(values) else read_only(np.asfortranarray(values))

def mapped(content, folder):
    file = Path(folder, str(len(list(Path(folder).iterdir()))))  # none is overwritten
    joblib.dump(content, file)
    return joblib.load(file, mmap_mode="r")

def immutable(content, folder):
    buffers = []
    data = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])

def results(model, X, y):
    found = {}
    for name in OF_X:
        if hasattr(model, name):
            options = {"random_state": 0} if name == "sample" else {}
            found[name] = getattr(model, name)(X, **options)
    for name in OF_X_AND_Y:
        if hasattr(model, name):
            found[name] = getattr(model, name)(X, y)
    if hasattr(model, "predict_quantile"):
        found["predict_quantile"] = model.predict_quantile(X, read_only(np.array([0.1, 0.9])))
    return {name: repr(values) for name, values in found.items()}

for name, (model, X, y) in MODELS.items():
    model.fit(X, y)
    expected = results(model, X, y)
    known = signatures()
    with tempfile.TemporaryDirectory() as folder:
        for how, restored, rows, values in [
            ("mapped", mapped(model, folder), X, y),
            ("mapped rows", model, mapped(X, folder), mapped(y, folder)),
            ("immutable buffers", immutable(model, folder), X, y),
            ("read-only rows", model, read_only(X), read_only(y)),
            ("columns first", model, columns_first(X), read_only(y)),
        ]:
            found = results(restored, rows, values)
            now = signatures()
            compiled = [kernel for kernel in now if now[kernel] != known.get(kernel)]
            known = now
            differs = [method for method in expected if found[method] != expected[method]]
            print(json.dumps([name, how, len(found), compiled, differs]), flush=True)
"""
NAMES = [
    "classifier", "two layers", "quadrature", "sampling", "sparse", "labels", "regressor",
    "regressor by quadrature", "counts", "perceptron", "perceptron in float32",
    "sparse perceptron", "perceptron for numbers",
]  # fmt: skip
FORMS = ["mapped", "mapped rows", "immutable buffers", "read-only rows", "columns first"]


@pytest.fixture(scope="module")
def outcomes():
    done = subprocess.run(
        [sys.executable, "-c", LIST_SIGNATURES + CASES], capture_output=True, text=True,
        timeout=300, env={**os.environ, "PYTHONPATH": str(Path(fastem.__file__).parents[1])},
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(name, how): rest for name, how, *rest in found}, done.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", FORMS)
def test_predictions_are_the_same_and_nothing_is_compiled(outcomes, name, how):
    found, errors = outcomes
    assert (name, how) in found, errors
    n_methods, compiled, differs = found[name, how]
    assert n_methods >= 2
    assert compiled == []
    assert differs == []
