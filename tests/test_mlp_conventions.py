"""The multi-layer perceptrons pass scikit-learn's checks and use its messages."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from child_process import LIST_SIGNATURES, SEVERAL_SIGNATURES
from mlp_problems import ADAM, CONVERGENCE, SGD, TARGETS, WEIGHTS, X, fast, parameters, slow
from reference_backprop import HIDDEN
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import FastMLPClassifier, FastMLPRegressor

pytest.importorskip("sklearn", minversion="1.9")  # whose words they are


@pytest.mark.filterwarnings(CONVERGENCE)
@parametrize_with_checks(
    [
        FastMLPClassifier(max_iter=100),
        FastMLPRegressor(max_iter=100),
        FastMLPClassifier((8,), "maxout", max_iter=30, solver="lbfgs"),
        FastMLPRegressor("squared_error", (8, 4), ("prelu", "elu"), max_iter=30, solver="lbfgs"),
    ]
)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


# Hyperparameters

BAD_PARAMETERS = {
    "hidden_layer_sizes": [0, -3, (0,), (-2,), (3, 0), 2.0, "5", None, np.nan],
    "activation": ["swish", None, 3, "softmax", "exp"],
    "solver": ["newton", None, ("sgd",)],
    "alpha": [-1, -1e-9, np.nan, np.inf, "1", None, [0.1]],
    "batch_size": [0, -1, 1.5, "all", None, np.nan],
    "learning_rate": ["linear", None],
    "learning_rate_init": [0, -0.1, np.nan, np.inf, "1", None],
    "power_t": [-1, np.nan, "1", None, np.inf],
    "max_iter": [0, -1, 1.5, 10.0, "10", None, np.inf],
    "shuffle": ["yes", 1, None],
    "random_state": ["x", -1, 1.5, 2**32, np.random.default_rng(0)],
    "tol": [-1e-9, np.nan, np.inf, "1", None],
    "verbose": [-1, 0.5, "yes", None],
    "warm_start": ["yes", 1, None],
    "momentum": [-0.1, 1.1, np.nan, "1", None],
    "nesterovs_momentum": ["yes", 1, None],
    "early_stopping": ["yes", 1, None],
    "validation_fraction": [-0.1, 1.0, 2, "1", None, np.nan],
    "beta_1": [-0.1, 1.0, None, np.nan],
    "beta_2": [-0.1, 1.0, None, np.nan],
    "epsilon": [0.0, -1, None, "1", np.inf],
    "n_iter_no_change": [0, -1, 1.5, "1", None],
    "max_fun": [0, -1, 1.5, None, "1"],
}


def refusal(model, task):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared
        model.fit(X, TARGETS[task])
    assert not hasattr(model, "coefs_")
    return str(caught.value).replace("FastMLP", "MLP")


def parts(message):
    """Split a message into name, value, permitted kinds and permitted names."""
    found = re.fullmatch(
        r"The '(\w+)' parameter of (\w+) must be (.*)\. Got (.*) instead\.", message
    )
    if found is None:
        return None, message, set(), set()
    name, kind, wanted, value = found.groups()
    names = set(re.findall(r"'(\w+)'(?=[,}])", wanted))
    kinds = set(re.split(r", | or ", re.sub(r"\{.*?\}", "", wanted)))
    return (name, kind), value, kinds, names


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in BAD_PARAMETERS.items() for v in values],
    ids=lambda x: str(x)[:30],
)  # fmt: skip
def test_bad_hyperparameters_are_told_in_scikit_learns_words(name, value, task):
    ours = refusal(fast(task, **{name: value}), task)
    theirs = refusal(slow(task, **{name: value}), task)
    (kind, got, kinds, names), (kind_, got_, kinds_, names_) = parts(ours), parts(theirs)
    assert (kind, got) == (kind_, got_)
    assert kinds_ <= kinds
    assert names_ <= names
    if name != "activation":
        assert (kinds, names) == (kinds_, names_)


NEW_PARAMETERS = [
    *[("dropout", v) for v in (-0.1, 1.0, 1, np.nan, "1", None)],
    *[("init", v) for v in ("xavier", None, 1)],
    *[("loss", v) for v in ("hinge", None, 2)],
    *[("activation", v) for v in (("relu", "relu"), (), ("swish",), [3], ("softmax",))],
    *[("coefs_init", v) for v in ("ab", 1.0, [], [np.ones((4, 5))], [np.ones((4, 5))] * 2,
                                  [np.full((4, 5), np.nan), np.ones((5, 1))],
                                  [np.ones((4, 5)), "a"], [np.ones(4), np.ones((5, 1))])],
    *[("intercepts_init", v) for v in ("ab", 1.0, [], [np.ones(5)], [np.ones(5), np.ones(2)],
                                       [np.ones(5), [np.inf]], [np.ones(5), "a"])],
    *[("hidden_layer_sizes", v) for v in ((2.5,), ("a",), [[3]], {"a": 1}, np.ones((2, 2)), True,
                                          (True,))],
]  # fmt: skip


@pytest.mark.parametrize("task", ["binary", "one output"])
@pytest.mark.parametrize(("name", "value"), NEW_PARAMETERS, ids=lambda x: str(x)[:30])
def test_bad_values_of_new_hyperparameters(name, value, task):
    assert name in refusal(fast(task, **{name: value}), task)


@pytest.mark.parametrize(
    ("name", "task", "known"),
    [("init", "binary", ("glorot", "he")), ("loss", "binary", ("log_loss", "squared_error")),
     ("loss", "one output", ("squared_error", "poisson", "absolute_error")),
     ("activation", "binary", HIDDEN)],
)  # fmt: skip
def test_unknown_name_lists_the_known(name, task, known):
    message = refusal(fast(task, **{name: "nonsense"}), task)
    assert set(re.findall(r"'(\w+)'(?=[,}])", message)) == set(known)
    assert "Got 'nonsense' instead." in message


# Inconsistent data and calls


def raised(call, *args, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - compared below
        call(*args, **options)
    return type(caught.value), str(caught.value).replace("FastMLP", "MLP")


CALLS = {
    "no classes": ("multiclass", {}, lambda m, y: m.partial_fit(X, y)),
    "other classes": (
        "multiclass", {},
        lambda m, y: m.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y, classes=[0, 1]),
    ),
    "a class that was not announced": (
        "multiclass", {}, lambda m, y: m.partial_fit(X, y, classes=[0, 1]),
    ),
    "a new class": ("multiclass", {}, lambda m, y: m.fit(X, y).partial_fit(X, y + 1)),
    "warm start with other classes": (
        "multiclass", {"warm_start": True}, lambda m, y: m.fit(X, y).fit(X, y + 1),
    ),
    "warm start with fewer classes": (
        "multiclass", {"warm_start": True}, lambda m, y: m.fit(X, y).fit(X[y > 0], y[y > 0]),
    ),
    "partial fit with early stopping": (
        "one output", {"early_stopping": True}, lambda m, y: m.partial_fit(X, y),
    ),
    "validation set of one": (
        "one output", {"early_stopping": True, "validation_fraction": 0.01},
        lambda m, y: m.fit(X, y),
    ),
    "a class of one with early stopping": (
        "binary", {"early_stopping": True}, lambda m, y: m.fit(X, np.arange(45) == 3),
    ),
    "more features": ("binary", {}, lambda m, y: m.fit(X, y).predict(np.c_[X, X])),
    "more features of a partial fit": (
        "one output", {}, lambda m, y: m.fit(X, y).partial_fit(np.c_[X, X], y),
    ),
    "short weights": ("binary", {}, lambda m, y: m.fit(X, y, WEIGHTS[1:])),
    "NaN weight": ("binary", {}, lambda m, y: m.fit(X, y, WEIGHTS * np.nan)),
    "NaN": ("binary", {}, lambda m, y: m.fit(X * np.nan, y)),
    "infinity": ("binary", {}, lambda m, y: m.fit(X * np.inf, y)),
    "short y": ("binary", {}, lambda m, y: m.fit(X, y[1:])),
    "measurements as labels": ("binary", {}, lambda m, y: m.fit(X, X[:, 0])),
    "NaN in predictions": ("binary", {}, lambda m, y: m.fit(X, y).predict_proba(X * np.nan)),
    "not fitted": ("binary", {}, lambda m, y: m.predict(X)),
    "no partial fit": (
        "binary", {"solver": "lbfgs"}, lambda m, y: m.partial_fit(X, y, classes=[0, 1]),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings(CONVERGENCE, "ignore:invalid value encountered")
@pytest.mark.parametrize(("task", "options", "call"), CALLS.values(), ids=CALLS)
def test_bad_calls_are_told_in_scikit_learns_words(task, options, call):
    ours, theirs = (raised(call, k(task, **options), TARGETS[task]) for k in (fast, slow))
    assert issubclass(ours[0], theirs[0])
    # arrays and coded labels may be shown in other ways
    told = [re.sub(r"\s+", " ", one[1]).split("members are: ")[0] for one in (ours, theirs)]
    assert told[0].startswith(told[1])  # ours may add figures


@pytest.mark.parametrize("kind", [FastMLPClassifier, FastMLPRegressor])
def test_partial_fit_is_there_for_descent_only(kind):
    for solver in ("sgd", "adam"):
        assert hasattr(kind(solver=solver), "partial_fit")
    assert not hasattr(kind(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        kind(solver="lbfgs").partial_fit(X, TARGETS["binary"])
    assert "only available for stochastic optimizers. lbfgs is not" in str(caught.value.__cause__)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_not_fitted(method):
    for kind in (FastMLPClassifier, FastMLPRegressor):
        if hasattr(kind, method):
            with pytest.raises(
                NotFittedError, match=f"This {kind.__name__} instance is not fitted"
            ):
                getattr(kind(), method)(X)
    assert is_classifier(FastMLPClassifier())
    assert not hasattr(FastMLPRegressor, "predict_proba")


BAD_DATA = {
    "negative weight": ("binary", {}, X, -WEIGHTS, "negative"),
    "no weight": ("binary", {}, X, 0.0 * WEIGHTS, "zero"),
    "infinite weight": ("binary", {}, X, np.inf + WEIGHTS, "infinity"),
    "negative counts": ("one output", {"loss": "poisson"}, X, None, r"poisson.*y >= 0.*-"),
    "too large a network": (
        "binary", {"hidden_layer_sizes": (10**6, 10**6)}, X, None, "hidden_layer_sizes.*bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("task", "options", "rows", "weights", "message"), BAD_DATA.values(),
                         ids=BAD_DATA)  # fmt: skip
def test_bad_data(task, options, rows, weights, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fast(task, **options).fit(rows, TARGETS[task], weights)


# A failed fit leaves the earlier one unchanged

FAILURES = {
    "NaN": ({}, X * np.nan, TARGETS["strings"], None),
    "other columns": ({"alpha": -1.0}, X[:, :2], TARGETS["strings"], None),
    "no labels": ({}, X[:, :2], X[:, 0], None),
    "weights": ({}, X[:, :2], TARGETS["binary"], -WEIGHTS),
    "no weight": ({}, X[:, :2], TARGETS["binary"], 0.0 * WEIGHTS),
    "sizes": ({"hidden_layer_sizes": (0,)}, X, TARGETS["binary"], None),
    "seed": ({"random_state": "x"}, X, TARGETS["binary"], None),
    "memory": ({"hidden_layer_sizes": (10**6, 10**6)}, X, TARGETS["binary"], None),
    "start": ({"coefs_init": [np.ones((2, 2))] * 2}, X, TARGETS["binary"], None),
    "class weights": ({"class_weight": "even"}, X, TARGETS["binary"], None),
    "dropout": ({"dropout": 0.5, "solver": "lbfgs"}, X, TARGETS["binary"], None),
    "split": ({"early_stopping": True, "validation_fraction": 0.01}, X, TARGETS["binary"], None),
}


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(("options", "rows", "y", "weights"), FAILURES.values(), ids=FAILURES)
def test_failing_fit_leaves_the_fitted_model(options, rows, y, weights, warm_start):
    model = fast("multiclass", **ADAM, warm_start=warm_start).fit(X, TARGETS["multiclass"])
    same = clone(model).fit(X, TARGETS["multiclass"])
    before = set(vars(model))
    model.set_params(**options)
    with pytest.raises(ValueError, match=r"."):
        model.fit(rows, y, weights)
    model.set_params(**{name: same.get_params()[name] for name in options})
    assert set(vars(model)) == before
    np.testing.assert_array_equal(model.classes_, same.classes_)
    np.testing.assert_array_equal(model.predict_proba(X), same.predict_proba(X))
    assert model.loss_curve_ == same.loss_curve_
    for m in (model, same):  # and it resumes as if nothing had happened
        m.partial_fit(X, TARGETS["multiclass"])
    for a, b in zip(parameters(model), parameters(same), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("change", [{"hidden_layer_sizes": (3,)}, {"activation": "maxout"},
                                    {"hidden_layer_sizes": (5, 5)}])  # fmt: skip
def test_going_on_with_another_network(change):
    model = fast("multiclass", **SGD, warm_start=True).fit(X, TARGETS["multiclass"])
    kept = model.predict_proba(X)
    model.set_params(**change)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"hidden_layer_sizes=.*activation="):
            call(X, TARGETS["multiclass"])
    model.set_params(hidden_layer_sizes=(5,), activation="relu")
    np.testing.assert_array_equal(model.predict_proba(X), kept)


# Kernels

_SIGNATURES = (
    LIST_SIGNATURES
    + """
import numpy as np
from scipy import sparse
from fastem import FastMLPClassifier, FastMLPRegressor

warnings.simplefilter("ignore")  # of convergence
fastem.warmup()
before = signatures()
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 5))
y = rng.integers(3, size=40)
frozen = X.copy()
frozen.setflags(write=False)
wide = sparse.csr_matrix(X)
wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
inputs = [X, frozen, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X.astype(int),
          X.tolist(), sparse.csr_matrix(X), sparse.csc_array(X), wide]
options = [{}, {"solver": "sgd", "batch_size": 1}, {"solver": "lbfgs"}, {"shuffle": False},
           {"activation": ("prelu", "maxout"), "dropout": 0.5}, {"early_stopping": True},
           {"hidden_layer_sizes": (), "loss": "squared_error"},
           {"coefs_init": [np.ones((5, 3), np.float32), np.ones((3, 2)), np.ones((2, 3), int)]}]
for data in inputs:
    for option in options:
        option = {"hidden_layer_sizes": (3, 2), "max_iter": 2, "random_state": 0, **option}
        model = FastMLPClassifier(**option).fit(data, y, np.ones(40, np.float32))
        model.predict(data), model.predict_proba(data), model.predict_log_proba(data)
        option.pop("coefs_init", None)
        model = FastMLPRegressor(**option).fit(data, rng.normal(size=(40, 2)).astype(np.float32))
        model.predict(data)
    FastMLPRegressor("poisson", (3,), max_iter=2).fit(data, y.astype(np.int32)).predict(data)
    FastMLPClassifier((3,)).partial_fit(data, y, classes=[0, 1, 2]).partial_fit(data, y)
fastem.backpropagate(X.astype(np.float32), np.eye(3)[y].astype(int), [np.ones((5, 3))], [[0, 1, 2]])
compiled = any(kernel.stats.cache_misses for _, kernel in kernels())
print(json.dumps([compiled, before, signatures()]))
"""
)


def test_one_signature_per_kernel_in_double_precision():
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", _SIGNATURES], capture_output=True, text=True, timeout=300
        )
        assert ran.returncode == 0, ran.stderr
        assert not ran.stderr
        compiled, before, after = json.loads(ran.stdout)
        assert after == before  # of the warm-up
        used = [name for name, types in after.items() if types]
        assert "fastem.kernels.backprop.run_batches" in used
        if not compiled:
            break
    # the second process must load all from the cache
    assert not compiled
    assert {name for name, types in after.items() if len(types) > 1} == SEVERAL_SIGNATURES
