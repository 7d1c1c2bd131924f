"""The public E-step against sums over all configurations, and what it refuses."""

import doctest

import numpy as np
import pytest
import reference
from scipy.sparse import csr_array

import fastem

PROBLEMS = {  # n, p, m, g, scale of the weights
    "plain": (40, 3, 4, 3, 1.0),
    "one row": (1, 2, 3, 2, 1.0),
    "one unit": (20, 2, 1, 2, 1.0),
    "one feature": (20, 1, 5, 4, 1.0),
    "more features than rows": (4, 30, 3, 2, 1.0),
    "several blocks": (700, 3, 7, 3, 1.0),
    "log-odds in the hundreds": (30, 3, 4, 3, 300.0),
}
METHODS = ["auto", "enumeration", fastem.Enumeration()]


def _problem(kind="plain", seed=0):
    n, p, m, g, scale = PROBLEMS[kind]
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.integers(0, g, size=n)  # not sorted by class
    weights = rng.choice([0.0, 0.3, 1.0, 1e3], size=n)
    return X, y, weights, *reference.draw_network(rng, p, m, g, scale=scale)


def _assert_equal(got, truth, tolerance=1e-10):
    for name in ("log_likelihood", "hidden_posterior"):
        expected = truth[name]
        np.testing.assert_allclose(getattr(got, name), expected, rtol=tolerance, atol=tolerance)
    for name in ("coef_gradients", "intercept_gradients"):
        for a, b in zip(getattr(got, name), truth[name], strict=True):
            assert a.shape == b.shape
            atol = tolerance * np.abs(b).max() + 1e-300
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_it_is_the_sum_over_all_configurations(kind, n_jobs, method):
    X, y, weights, coefs, intercepts = _problem(kind)
    for sample_weight in (None, weights):
        truth = reference.e_step(X, y, coefs, intercepts, sample_weight)
        got = fastem.e_step(
            X, y, coefs, intercepts, method=method, sample_weight=sample_weight, n_jobs=n_jobs
        )
        _assert_equal(got, truth)
        assert got.effective_sample_size is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_certain_units_and_wrong_labels(sign):
    X, y = np.array([[1.0], [-1.0], [0.0]]), np.array([0, 1, 1])
    coefs = [np.array([[800.0, -800.0]]), sign * np.array([[900.0, -900.0], [-400.0, 700.0]])]
    intercepts = [np.zeros(2), np.zeros(2)]
    got = fastem.e_step(X, y, coefs, intercepts)
    _assert_equal(got, reference.e_step(X, y, coefs, intercepts))
    assert ((got.hidden_posterior >= 0.0) & (got.hidden_posterior <= 1.0)).all()


def test_gradients_are_slopes_of_the_weighted_total():
    X, y, weights, coefs, intercepts = _problem()

    def total():
        return weights @ fastem.e_step(X, y, coefs, intercepts).log_likelihood

    got = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights)
    gradients, step = got.coef_gradients + got.intercept_gradients, 1e-5
    for array, gradient in zip(coefs + intercepts, gradients, strict=True):
        for index in np.ndindex(array.shape):
            middle = array[index]
            array[index] = middle + step
            up = total()
            array[index] = middle - step
            down = total()
            array[index] = middle
            assert (up - down) / (2 * step) == pytest.approx(gradient[index], rel=1e-5, abs=1e-3)


def test_rows_may_come_in_any_order_and_layout():
    X, y, weights, coefs, intercepts = _problem("several blocks")
    got = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights)
    order = np.random.default_rng(1).permutation(len(X))
    other = fastem.e_step(
        np.asfortranarray(X[order]),
        y[order].astype(np.uint8),
        [np.asfortranarray(x) for x in coefs],
        tuple(x.tolist() for x in intercepts),
        sample_weight=np.repeat(weights[order], 2)[::2],
    )
    np.testing.assert_allclose(other.log_likelihood, got.log_likelihood[order], rtol=1e-12)
    np.testing.assert_allclose(other.hidden_posterior, got.hidden_posterior[order], rtol=1e-12)
    np.testing.assert_allclose(other.coef_gradients[0], got.coef_gradients[0], rtol=1e-9)


def test_weights_are_replication_and_zero_is_removal():
    X, y, _, coefs, intercepts = _problem()
    times = np.random.default_rng(2).integers(0, 4, size=len(X))
    weighted = fastem.e_step(X, y, coefs, intercepts, sample_weight=times)
    repeated = fastem.e_step(X.repeat(times, axis=0), y.repeat(times), coefs, intercepts)
    for name in ("coef_gradients", "intercept_gradients"):
        for a, b in zip(getattr(weighted, name), getattr(repeated, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        weighted.log_likelihood.repeat(times), repeated.log_likelihood, rtol=1e-12
    )


def test_no_rows_and_a_class_without_rows():
    X, y, _, coefs, intercepts = _problem()
    some = y != 1
    got = fastem.e_step(X[some], y[some], coefs, intercepts)
    _assert_equal(got, reference.e_step(X[some], y[some], coefs, intercepts))
    empty = fastem.e_step(X[:0], y[:0], coefs, intercepts)
    assert empty.log_likelihood.shape == (0,)
    assert empty.hidden_posterior.shape == (0, 4)
    assert not any(x.any() for x in empty.coef_gradients + empty.intercept_gradients)


def test_arguments_are_left_alone_and_results_are_new():
    X, y, weights, coefs, intercepts = _problem()
    before = [x.copy() for x in (X, y, weights, *coefs, *intercepts)]
    first = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights)
    kept = first.hidden_posterior.copy()
    fastem.e_step(X, y[::-1], coefs, intercepts)
    np.testing.assert_array_equal(first.hidden_posterior, kept)
    for now, copy in zip((X, y, weights, *coefs, *intercepts), before, strict=True):
        np.testing.assert_array_equal(now, copy)


def _changed(values, index, value):
    values = np.array(values, dtype=float)
    values.flat[index] = value
    return values


def _replaced(lists, position, value):
    return [value if i == position else x for i, x in enumerate(lists)]


X, Y, WEIGHTS, COEFS, INTERCEPTS = _problem()
W, V = COEFS
BAD = [
    ("X", {"X": _changed(X, 3, np.nan)}),
    ("X", {"X": _changed(X, 3, np.inf)}),
    ("X", {"X": X[:, 0]}),
    ("X", {"X": [["a", "b", "c"]] * len(X)}),
    ("X", {"X": csr_array(X)}),
    ("X", {"X": None}),
    ("X", {"X": X + 1j}),
    ("X", {"X": X[:, :2]}),  # says what the weights need
    ("y", {"y": Y[:-1]}),
    ("y", {"y": Y[:, None]}),
    ("y", {"y": Y.astype(float)}),
    ("y", {"y": Y.astype(str)}),
    ("y", {"y": Y > 0}),
    ("y", {"y": Y - 1}),
    ("y", {"y": Y + 1}),
    ("y", {"y": [[0], [0, 1]]}),
    ("y", {"y": None}),
    ("coefs", {"coefs": None}),
    ("coefs", {"coefs": W}),
    ("coefs", {"coefs": [W]}),
    ("coefs", {"coefs": [W, V, V]}),
    (r"coefs\[0\]", {"coefs": [W[:, :2], V]}),
    (r"coefs\[0\]", {"coefs": [W[:2], V]}),
    (r"coefs\[0\]", {"coefs": [_changed(W, 0, np.nan), V]}),
    (r"coefs\[0\]", {"coefs": ["W", V]}),
    (r"coefs\[1\]", {"coefs": [W, _changed(V, 0, -np.inf)]}),
    (r"coefs\[1\]", {"coefs": [W, V[0]]}),
    (r"coefs\[1\]", {"coefs": [W, _changed(V, slice(None), 1e308)]}),
    (r"coefs\[1\]", {"coefs": [W, V[:, :1]], "intercepts": [INTERCEPTS[0], np.zeros(1)]}),
    (r"coefs\[0\]", {"coefs": [W[:, :0], V[:0]], "intercepts": [np.zeros(0), INTERCEPTS[1]]}),
    ("intercepts", {"intercepts": None}),
    ("intercepts", {"intercepts": INTERCEPTS[:1]}),
    (r"intercepts\[0\]", {"intercepts": _replaced(INTERCEPTS, 0, np.zeros(3))}),
    (r"intercepts\[0\]", {"intercepts": _replaced(INTERCEPTS, 0, np.full(4, np.nan))}),
    (r"intercepts\[1\]", {"intercepts": _replaced(INTERCEPTS, 1, np.zeros(4))}),
    (r"intercepts\[1\]", {"intercepts": _replaced(INTERCEPTS, 1, np.zeros((3, 1)))}),
    ("method", {"method": "exact"}),
    ("method", {"method": None}),
    ("method", {"method": fastem.Enumeration}),
    ("sample_weight", {"sample_weight": WEIGHTS[:-1]}),
    ("sample_weight", {"sample_weight": WEIGHTS[:, None]}),
    ("sample_weight", {"sample_weight": _changed(WEIGHTS, 0, -1.0)}),
    ("sample_weight", {"sample_weight": _changed(WEIGHTS, 0, np.nan)}),
    ("sample_weight", {"sample_weight": _changed(WEIGHTS, 0, 1e300)}),
    ("sample_weight", {"sample_weight": "balanced"}),
    ("n_jobs", {"n_jobs": 0}),
    ("n_jobs", {"n_jobs": 1.5}),
    ("n_jobs", {"n_jobs": True}),
]


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_a_bad_argument_is_named(name, bad):
    arguments = {"X": X, "y": Y, "coefs": COEFS, "intercepts": INTERCEPTS, **bad}
    with pytest.raises(ValueError, match=rf"(?<![\w\]]){name}(?!\w)"):
        fastem.e_step(**arguments)


def test_hidden_units_beyond_memory_are_refused_at_once():
    m = 50
    coefs, intercepts = [np.zeros((1, m)), np.zeros((m, 4))], [np.zeros(m), np.zeros(4)]
    with pytest.raises(ValueError, match=rf"2\*\*{m} .* available"):
        fastem.e_step(np.zeros((3, 1)), [0, 1, 2], coefs, intercepts, method="enumeration")


@pytest.mark.parametrize("g", [2, 3])
def test_hidden_units_beyond_memory_of_few_classes_have_another_engine(g):
    m = 50
    coefs, intercepts = [np.zeros((1, m)), np.zeros((m, g))], [np.zeros(m), np.zeros(g)]
    with pytest.raises(ValueError, match=r"available.*fastem\.Quadrature\(\)"):
        fastem.e_step(np.zeros((2, 1)), [0, 1], coefs, intercepts, method="enumeration")
    result = fastem.e_step(np.zeros((2, 1)), [0, 1], coefs, intercepts)
    np.testing.assert_allclose(result.log_likelihood, -np.log(g), rtol=1e-10)


@pytest.mark.parametrize("n_rows", [1, 2, 300])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_odds_that_overflow_raise(sign, n_rows):
    coefs = [sign * np.array([[1e200], [-1e200]]), np.array([[1.0, -1.0]])]
    X, y = np.full((n_rows, 2), 1e200), np.zeros(n_rows, dtype=int)
    with pytest.raises(FloatingPointError, match="overflow"):
        fastem.e_step(X, y, coefs, [np.zeros(1), np.zeros(2)])


@pytest.mark.usefixtures("short_timings")
@pytest.mark.parametrize("name", [name for name in fastem.__all__ if name != "__version__"])
def test_the_examples_in_the_docstrings_hold(name):
    public = getattr(fastem, name)
    assert public.__doc__
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(public, name, globs={}):
        runner.run(example)
    assert runner.failures == 0
    assert runner.tries > 0 or name in {"Expectations", "warmup"}
