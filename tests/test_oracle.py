"""The prepared E-step: many calls, its results, the network it is for, and what it refuses."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from scipy.sparse import csr_array

import fastem

MIXED = fastem.Enumeration(precision="mixed")


def _problem(n=60, p=3, m=4, g=3, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.integers(0, g, size=n)
    return X, y, *reference.draw_network(rng, p, m, g)


def _assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        if isinstance(x, list):
            _assert_same(x, y)
        elif x is not None:
            np.testing.assert_array_equal(x, y)


SIZES = {"one call": (60, 4), "threads": (3000, 10), "one row": (1, 4), "one unit": (40, 1)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "method", ["enumeration", "quadrature", fastem.Sampling(20, random_state=0)]
)
def test_any_number_of_calls(size, method):
    n, m = SIZES[size]
    X, y, coefs, intercepts = _problem(n, m=m)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=m, n_classes=3, method=method)
    first = oracle(coefs, intercepts)
    kept = [np.copy(x) for x in (*first[:2], *first.coef_gradients)]
    other = oracle([2.0 * W for W in coefs], intercepts)
    _assert_same(kept, [*first[:2], *first.coef_gradients])  # not overwritten
    assert not np.array_equal(other.log_likelihood, first.log_likelihood)
    _assert_same(oracle(coefs, intercepts), first)
    _assert_same(fastem.e_step(X, y, coefs, intercepts, method=method), first)


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize(("n", "m", "g"), [(1, 1, 2), (50, 3, 2), (90, 7, 3), (300, 5, 4)])
def test_one_compiled_call_equals_the_sum_over_all_configurations(n, m, g, scale):
    X, y, coefs, intercepts = _problem(n, 2, m, g)
    coefs = [scale * W for W in coefs]
    weights = np.random.default_rng(1).choice([0.0, 0.5, 2.0, 1e6], size=n)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=(m,), n_classes=g, sample_weight=weights)
    got, truth = oracle(coefs, intercepts), reference.e_step(X, y, coefs, intercepts, weights)
    for name in ("log_likelihood", "hidden_posterior"):
        np.testing.assert_allclose(getattr(got, name), truth[name], rtol=1e-10, atol=1e-12)
    for name in ("coef_gradients", "intercept_gradients"):
        for a, b in zip(getattr(got, name), truth[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max() + 1e-300)


def test_results_can_be_overwritten():
    X, y, coefs, intercepts = _problem()
    oracle = fastem.EStep(X, y, hidden_layer_sizes=4, n_classes=3)
    result, fresh = oracle(coefs, intercepts), oracle([3.0 * W for W in coefs], intercepts)
    arrays = [result.log_likelihood, result.hidden_posterior, *result.coef_gradients]
    again = oracle([3.0 * W for W in coefs], intercepts, out=result)
    assert again is result
    _assert_same(again, fresh)
    assert all(
        a is b
        for a, b in zip(
            arrays,
            [again.log_likelihood, again.hidden_posterior, *again.coef_gradients],
            strict=True,
        )
    )


@pytest.mark.parametrize("family", ["gaussian", "poisson", "bernoulli"])
def test_families(family):
    rng = np.random.default_rng(2)
    X, V, c = rng.normal(size=(40, 2)), rng.normal(size=(3, 2)), np.zeros(2)
    coefs, intercepts = [rng.normal(size=(2, 3)), V], [np.zeros(3), c]
    y = rng.integers(0, 2, size=(40, 2))
    variance = [0.5, 2.0] if family == "gaussian" else None
    oracle = fastem.EStep(X, y, hidden_layer_sizes=3, family=family)
    once = fastem.e_step(X, y, coefs, intercepts, family=family, variance=variance)
    result = oracle(coefs, intercepts, variance)
    _assert_same(result, once)
    fresh = oracle([2.0 * W for W in coefs], intercepts, variance)
    _assert_same(oracle([2.0 * W for W in coefs], intercepts, variance, out=result), fresh)


def test_an_out_of_another_shape_is_refused():
    X, y, coefs, intercepts = _problem()
    oracle = fastem.EStep(X, y, hidden_layer_sizes=4, n_classes=3)
    other = fastem.EStep(X[:50], y[:50], hidden_layer_sizes=4, n_classes=3)
    result = oracle(coefs, intercepts)
    with pytest.raises(ValueError, match="out must be a result of the same E-step"):
        other(coefs, intercepts, out=result)
    in_rows = result._replace(hidden_posterior=np.empty((60, 4)))
    single = result._replace(log_likelihood=np.empty(60, dtype=np.float32))
    frozen = result._replace(log_likelihood=result.log_likelihood.copy())
    frozen.log_likelihood.setflags(write=False)
    for out in (in_rows, single, frozen, 3):
        with pytest.raises(ValueError, match="out must be a result of the same E-step"):
            oracle(coefs, intercepts, out=out)


def test_classes_that_do_not_occur():
    X, y, coefs, intercepts = _problem(g=5)
    y[y > 2] = 0
    oracle = fastem.EStep(X, y, hidden_layer_sizes=4, n_classes=5)
    _assert_same(oracle(coefs, intercepts), fastem.e_step(X, y, coefs, intercepts))
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(4,\) and 3 outputs"):
        fastem.EStep(X, y, hidden_layer_sizes=4)(coefs, intercepts)


@pytest.mark.parametrize(
    ("form", "changed"),
    [
        ("lists", lambda a: a.tolist()),
        ("single precision", lambda a: a.astype(np.float32).astype(float)),
        ("by columns", np.asfortranarray),
        ("every other", lambda a: np.repeat(a, 2, axis=0)[::2]),
    ],
)
def test_parameters_of_any_form(form, changed):
    X, y, coefs, intercepts = _problem()
    coefs, intercepts = (
        [a.astype(np.float32).astype(float) for a in x] for x in (coefs, intercepts)
    )
    oracle = fastem.EStep(X, y, hidden_layer_sizes=4, n_classes=3)
    expected = oracle(coefs, intercepts)
    got = oracle(tuple(map(changed, coefs)), [changed(b) for b in intercepts])
    _assert_same(got, expected)
    if form == "single precision":
        _assert_same(oracle([W.astype(np.float32) for W in coefs], intercepts), expected)


GOOD = {"hidden_layer_sizes": 4, "n_classes": 3}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("hidden_layer_sizes", {"hidden_layer_sizes": 0}),
        ("hidden_layer_sizes", {"hidden_layer_sizes": ()}),
        ("hidden_layer_sizes", {"hidden_layer_sizes": 2.0}),
        ("hidden_layer_sizes", {"hidden_layer_sizes": (3, True)}),
        ("hidden_layer_sizes", {"hidden_layer_sizes": "4"}),
        ("n_classes", {"n_classes": 1}),
        ("n_classes", {"n_classes": 2.0}),
        ("n_classes", {"n_classes": 3, "family": "poisson"}),
        ("y", {"n_classes": 2}),
        ("y", {"y": np.zeros(59, dtype=int)}),
        ("y", {"y": np.zeros(60)}),
        ("X", {"X": np.full((60, 3), np.nan)}),
        ("X", {"X": np.full((60, 3), np.inf)}),
        ("X", {"X": np.zeros(60)}),
        ("sample_weight", {"sample_weight": -np.ones(60)}),
        ("method", {"method": "exact"}),
        ("n_jobs", {"n_jobs": 0}),
    ],
)
def test_bad_arguments_are_named(name, bad):
    X, y, _, _ = _problem()
    arguments = {"X": X, "y": y, **GOOD, **bad}
    with pytest.raises(ValueError, match=rf"(?<![\w\]]){name}(?!\w)"):
        fastem.EStep(arguments.pop("X"), arguments.pop("y"), **arguments)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("coefs", lambda W, V, b, c: (None, [b, c])),
        ("coefs", lambda W, V, b, c: ([W], [b, c])),
        (r"coefs\[0\]", lambda W, V, b, c: ([W * np.nan, V], [b, c])),
        (r"coefs\[1\]", lambda W, V, b, c: ([W, V + np.inf], [b, c])),
        (r"coefs\[0\]", lambda W, V, b, c: ([W[:2], V], [b, c])),
        ("coefs", lambda W, V, b, c: ([W[:, :3], V[:3]], [b[:3], c])),
        (r"intercepts\[0\]", lambda W, V, b, c: ([W, V], [b + 1j, c])),
        (r"intercepts\[1\]", lambda W, V, b, c: ([W, V], [b, 0.0])),
    ],
)
def test_bad_parameters_are_named_and_leave_no_trace(name, change):
    X, y, coefs, intercepts = _problem()
    oracle = fastem.EStep(X, y, **GOOD)
    before = oracle(coefs, intercepts)
    with pytest.raises(ValueError, match=name):
        oracle(*change(*coefs, *intercepts))
    _assert_same(oracle(coefs, intercepts), before)


def test_weights_that_overflow_raise():
    X, y, coefs, intercepts = _problem()
    oracle = fastem.EStep(1e200 * X, y, **GOOD)
    with pytest.raises(FloatingPointError, match="overflow"):
        oracle([1e200 * coefs[0], coefs[1]], intercepts)


def test_soft_labels_are_repeated_rows():
    # as the notes of EStep state it
    X, _, coefs, intercepts = _problem()
    shares = np.random.default_rng(1).dirichlet(np.ones(3), size=len(X))
    oracle = fastem.EStep(
        np.repeat(X, 3, axis=0), np.tile([0, 1, 2], len(X)), sample_weight=shares.ravel(), **GOOD
    )
    result = oracle(coefs, intercepts)
    log_p = reference.log_marginal(X, coefs, intercepts)
    soft = shares.ravel() @ result.log_likelihood
    np.testing.assert_allclose(soft, (shares * log_p).sum(), rtol=1e-12)


ENGINES = ["enumeration", MIXED, "quadrature", fastem.Sampling(20, random_state=0)]


@pytest.mark.parametrize("method", ENGINES, ids=str)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda oracle: pickle.loads(pickle.dumps(oracle))]
)
def test_copies_have_memory_of_their_own(copied, method):
    X, y, coefs, intercepts = _problem(g=2)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=4, method=method)
    first, other = oracle(coefs, intercepts), [2.0 * W for W in coefs]
    clone = copied(oracle)
    _assert_same(clone(other, intercepts), oracle(other, intercepts))
    _assert_same(
        [clone.row_gradients(other, intercepts)], [oracle.row_gradients(other, intercepts)]
    )
    clone.rebind(X[::-1][:20], y[::-1][:20])
    assert len(clone(coefs, intercepts).log_likelihood) == 20
    _assert_same(oracle(coefs, intercepts), first)


def test_threads_may_share_an_instance():
    X, y, coefs, intercepts = _problem(500, m=8)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=8, n_classes=3)
    points = [[factor * W for W in coefs] for factor in np.linspace(0.1, 2.0, 8)]
    expected = [oracle(point, intercepts) for point in points]
    entropies = [oracle.posterior_entropy(point, intercepts) for point in points]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, known in zip(
                pool.map(lambda point: oracle(point, intercepts), points), expected, strict=True
            ):
                _assert_same(got, known)
            found = pool.map(lambda point: oracle.posterior_entropy(point, intercepts), points)
            _assert_same(list(found), entropies)


def test_sparse_arrays_are_refused_with_the_remedy():
    X, y, coefs, intercepts = _problem()
    with pytest.raises(ValueError, match=r"X must be a dense array; pass X\.toarray\(\)"):
        fastem.e_step(csr_array(X), y, coefs, intercepts)


_OPENED = """
import sys
import numpy as np, fastem
rng = np.random.default_rng(0)
X, y = rng.normal(size=(90, 3)), rng.integers(0, 3, size=90)
coefs, intercepts = [rng.normal(size=(3, 7)), rng.normal(size=(7, 3))], [np.zeros(7), np.zeros(3)]
fastem.e_step(X, y, coefs, intercepts)
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
fastem.e_step(X, y, coefs, intercepts)
fastem.EStep(X, y, hidden_layer_sizes=7)(coefs, intercepts)
print(opened)
"""


def test_a_small_e_step_opens_no_file():
    done = subprocess.run(
        [sys.executable, "-c", _OPENED], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
