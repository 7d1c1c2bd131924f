"""Quadrature of three classes against enumeration, exact sums over a lattice, and differences."""

from functools import cache, partial

import mpmath
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from test_quadrature import assert_equal, draw

import fastem
from fastem.engines.auto import cheapest_engine
from fastem.engines.quadrature.gamma_tables import gamma_tables
from fastem.kernels import plane, plane_plan
from fastem.parameters import Shape
from fastem.rows import add_ones, sort_rows

QUADRATURE = fastem.Quadrature()


draw = partial(draw, n_classes=3)


@pytest.mark.parametrize("size", [0.0, 0.3, 3.0, 20.0])
@pytest.mark.parametrize("m", [1, 2, 7, 12])
def test_equals_enumeration(m, size):
    n_rows = 40 if size < 20.0 else 12 if m < 12 else 6  # large weights take many nodes
    X, y, coefs, intercepts, weights = draw(m, n_rows, size)
    found, exact = (
        fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=method)
        for method in (QUADRATURE, "enumeration")
    )
    assert_equal(found, exact)
    assert found.effective_sample_size is None


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-12])
def test_other_tolerances(tol):
    X, y, coefs, intercepts, _ = draw(9, 30, 2.0)
    exact = fastem.e_step(X, y, coefs, intercepts, method="enumeration")
    found = fastem.e_step(X, y, coefs, intercepts, method=fastem.Quadrature(tol=tol))
    differences = np.abs(found.log_likelihood - exact.log_likelihood)
    assert differences.max() <= 1.1 * tol


def test_equals_the_slow_truth():
    X, y, coefs, intercepts, weights = draw(6, 20, 4.0)
    truth = reference.e_step(X, y, coefs, intercepts, weights)
    found = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=QUADRATURE)
    for name in ("log_likelihood", "hidden_posterior"):
        np.testing.assert_allclose(getattr(found, name), truth[name], rtol=0.0, atol=1e-10)
    for a, b in zip(found.coef_gradients, truth["coef_gradients"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-9)


def law(on, steps):
    """Exact law of the logits, in thirty digits: weights are multiples of a unit."""
    sums = {(0,) * steps.shape[1]: mpmath.mpf(1)}
    for u, step in zip(on, steps.tolist(), strict=True):
        moved = {}
        for key, p in sums.items():
            there = tuple(a + b for a, b in zip(key, step, strict=True))
            moved[key] = moved.get(key, 0) + (1 - u) * p
            moved[there] = moved.get(there, 0) + u * p
        sums = moved
    return sums


@cache
def thirty_units(n_classes):
    """A network without output intercepts, its laws, and the probability of unit 4.

    The first law is that of all units. In the second, unit 4 is on.
    """
    m, most = 30, 2
    rng = np.random.default_rng(m)
    steps = rng.integers(-most, most + 1, (m, n_classes))
    steps[:, 0] = 0
    W, b = rng.normal(size=(1, m)), rng.normal(size=m) * 2.0
    with mpmath.workdps(30):
        on = [1 / (1 + mpmath.exp(-mpmath.mpf(a))) for a in (0.5 * W[0] + b).tolist()]
        return W, b, steps, law(on, steps), law([*on[:4], 1, *on[5:]], steps), on[4]


def exact_marginal(law, c, unit, k):
    total = mpmath.mpf(0)
    for key, p in law.items():
        logits = [mpmath.mpf(unit) * s + mpmath.mpf(float(b)) for s, b in zip(key, c, strict=True)]
        terms = [mpmath.exp(x - logits[k]) for x in logits]
        total += p / mpmath.fsum(terms)
    return total


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("c", [[0.0, 0.5, -1.0], [0.0, -35.0, 25.0], [14.0, 0.0, -16.0]])
def test_thirty_units_equal_sums_in_thirty_digits(n_classes, c):
    unit, c = 0.625, np.array(c[:n_classes])
    W, b, steps, all_units, fourth_on, on = thirty_units(n_classes)
    with mpmath.workdps(30):
        exact = [exact_marginal(all_units, c, unit, k) for k in range(n_classes)]
        posterior = float(on * exact_marginal(fourth_on, c, unit, 1) / exact[1])
        exact = [float(mpmath.log(p)) for p in exact]
    arguments = [W, unit * steps], [b, c]
    found = fastem.e_step(np.full((n_classes, 1), 0.5), np.arange(n_classes), *arguments,
                          method=QUADRATURE)  # fmt: skip
    np.testing.assert_allclose(found.log_likelihood, exact, rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(found.hidden_posterior[1, 4], posterior, rtol=0.0, atol=1e-10)
    shape = Shape(1, (len(b),), n_classes)
    log_p = QUADRATURE.log_marginal(
        add_ones(np.full((1, 1), 0.5), True), shape.from_lists(*arguments), shape, 1
    )
    np.testing.assert_allclose(log_p[0], exact, rtol=0.0, atol=3e-10)


def test_gradients_of_many_units_are_finite_differences():
    X, y, coefs, intercepts, weights = draw(40, 12, 0.7)
    result = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=QUADRATURE)
    directions = reference.directional_slopes(
        coefs, intercepts,
        lambda: weights @ fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE).log_likelihood,
    )  # fmt: skip
    gradients = [*result.coef_gradients, *result.intercept_gradients]
    for gradient, (direction, slope) in zip(gradients, directions, strict=True):
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=2e-6, atol=2e-6)


numbers = st.floats(-60.0, 60.0)


@given(
    st.lists(st.floats(-900.0, 900.0) | st.floats(-20.0, 20.0), min_size=3, max_size=3),
    st.lists(numbers, min_size=9, max_size=9),
    st.lists(st.floats(-300.0, 300.0) | st.floats(-5.0, 5.0), min_size=3, max_size=3),
    st.integers(0, 2),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_extremes_equal_enumeration(b, v, c, k):
    arguments = (
        np.zeros((1, 1)), [k], [np.zeros((1, 3)), np.reshape(v, (3, 3))], [np.array(b), np.array(c)]
    )  # fmt: skip
    exact = fastem.e_step(*arguments, method="enumeration")
    found = fastem.e_step(*arguments, method=QUADRATURE)
    np.testing.assert_allclose(found.log_likelihood, exact.log_likelihood, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.hidden_posterior, exact.hidden_posterior, rtol=0.0, atol=1e-9)
    for a, e in zip(found.coef_gradients, exact.coef_gradients, strict=True):
        np.testing.assert_allclose(a, e, rtol=0.0, atol=2e-9)


def test_a_wrong_estimate_of_p_does_not_hide_an_error():
    # the first estimate of log p is too large by thirty nats; errors must be relative to p
    b = np.array([-1.9062079, 54.37972684, -50.2180596])
    V = np.array([[31.6, -29.9, -28.5], [-58.5, 48.0, -56.0], [-22.2, 17.6, -20.1]])
    arguments = np.zeros((1, 1)), [0], [np.zeros((1, 3)), V], [b, np.array([1.7, -2.4, 6.8])]
    exact = fastem.e_step(*arguments, method="enumeration")
    assert_equal(fastem.e_step(*arguments, method=QUADRATURE), exact)


@pytest.mark.parametrize("far", [30.0, 12.0, -12.0, -30.0])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_probabilities_near_one_and_near_zero(far, k):
    X, _, coefs, intercepts, weights = draw(8, 10, 1.0)
    intercepts[1][k] += far
    y = np.arange(10) % 3
    found, exact = (
        fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=method)
        for method in (QUADRATURE, "enumeration")
    )
    assert_equal(found, exact)


def test_improbable_labels():
    m = 20
    V = np.column_stack([np.full(m, 4.0), np.full(m, -31.0), np.full(m, 3.0)])
    arguments = (
        np.zeros((1, 1)), [1], [np.zeros((1, m)), V], [np.full(m, 30.0), np.zeros(3)]
    )  # fmt: skip
    exact = fastem.e_step(*arguments, method="enumeration")
    assert exact.log_likelihood[0] < -500.0
    assert_equal(fastem.e_step(*arguments, method=QUADRATURE), exact)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_never_lowers_the_objective():
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(  # seven plain steps, then accelerated ones
        (24,), alpha=0.15, e_step="quadrature", max_iter=10, random_state=0
    ).fit(X[::5], y[::5])
    assert max(np.diff(model.loss_curve_)) <= 1e-10
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_same_fit_as_by_enumeration():
    X, y = load_iris(return_X_y=True)
    curves = [
        fastem.FastEMClassifier(
            (5,), alpha=0.15, e_step=e, solver="lbfgs", max_iter=12, random_state=0
        )
        .fit(X, y)
        .loss_curve_
        for e in ("quadrature", "enumeration")
    ]
    np.testing.assert_allclose(*curves, rtol=1e-7)


# Pieces, the choice, and bad input


@pytest.mark.parametrize("d", [(1 / 3, 1 / 3), (1 / 6, 2 / 3), (1e-3, 0.4)])
def test_tables_of_gamma_functions(d):
    c, step, size = np.array([0.7, -2.0]), 0.11, 90
    found = gamma_tables(np.array(d), c, step, size)
    with mpmath.workdps(30):
        for j in range(-size, size + 1):
            t = mpmath.mpf(step) * j
            exact = [mpmath.gamma(mpmath.mpc(d[v], t)) * mpmath.expj(-t * c[v]) for v in (0, 1)]
            exact.append(mpmath.gamma(mpmath.mpc(1 - mpmath.mpf(d[0]) - mpmath.mpf(d[1]), -t)))
            np.testing.assert_allclose(
                found.values[:, j + size], np.array(exact, dtype=complex), rtol=2e-14
            )


def test_truncation_of_the_hexagon():
    step, size = 0.2, 12
    tables = gamma_tables(np.array([0.3, 0.4]), np.zeros(2), step, 5 * size)
    found = gamma_tables(np.array([0.3, 0.4]), np.zeros(2), step, size).truncation
    j, k = np.meshgrid(*[np.arange(-2 * size, 2 * size + 1)] * 2)
    outside = ((j - k) % 3 == 0) & (np.abs([j, k, j + k]).max(axis=0) > size)
    first, second, third = np.abs(tables.values)
    middle = 5 * size
    moduli = first[middle + j] * second[middle + k] * third[middle + j + k]
    assert 1.0 <= found / moduli[outside].sum() <= 2.0


def test_moments():
    rng = np.random.default_rng(0)
    log_odds, v, c = rng.normal(size=(4, 600)) * 3.0, rng.normal(size=(2, 600)), rng.normal(size=2)
    found = np.zeros((4, len(plane_plan.TRIANGLE.points)))
    plane.add_log_moments(log_odds, v, c, plane_plan.TRIANGLE.points, found)
    for k, w in enumerate(plane_plan.TRIANGLE.points):
        exact = (np.logaddexp(0.0, log_odds - w @ v) - np.logaddexp(0.0, log_odds)).sum(axis=1)
        np.testing.assert_allclose(found[:, k], exact - w @ c, rtol=1e-12, atol=1e-11)


def test_the_cheapest_engine_of_three_classes():
    assert cheapest_engine(Shape(10, (15,), 3), 1000) == fastem.Enumeration()
    assert cheapest_engine(Shape(10, (26,), 3), 1000) == fastem.Quadrature()
    assert cheapest_engine(Shape(10, (900,), 3), 100) == fastem.Quadrature()
    assert cheapest_engine(Shape(10, (900,), 3), 10_000) == fastem.Sampling()  # minutes
    assert cheapest_engine(Shape(10, (30,), 4), 1000) == fastem.Sampling()


def test_four_classes_are_refused():
    W, V = np.zeros((2, 3)), np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"or one Gaussian output; got 4.*Enumeration.*Sampling"):
        fastem.e_step(
            np.zeros((3, 2)), [0, 1, 2], [W, V], [np.zeros(3), np.zeros(4)], method=QUADRATURE
        )


@pytest.mark.parametrize(
    ("scale", "n_rows", "least_right"), [(100.0, 6, 6), (300.0, 3, 1), (1e7, 2, 0)]
)
def test_rows_of_large_weights_are_right_or_refused(scale, n_rows, least_right):
    X, y, coefs, intercepts, _ = draw(6, 6, scale)
    exact = fastem.e_step(X, y, coefs, intercepts, method="enumeration").log_likelihood
    n_right = 0
    for i in range(n_rows):
        row = slice(i, i + 1)
        try:
            found = fastem.e_step(X[row], y[row], coefs, intercepts, method=QUADRATURE)
        except FloatingPointError as error:
            assert "fastem.Enumeration()" in str(error)  # noqa: PT017
        else:
            np.testing.assert_allclose(found.log_likelihood, exact[row], rtol=1e-9)
            n_right += 1
    assert n_right >= least_right


def test_too_little_memory_raises(monkeypatch):
    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    X, y, coefs, intercepts, _ = draw(30, 10, 1.0)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(30,\) on 10 rows"):
        fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE)


def test_a_class_without_rows():
    X, _, coefs, intercepts, _ = draw(5, 12, 1.0)
    shape = Shape(4, (5,), 3)
    rows = sort_rows(X, np.full(12, 2), np.ones(12), shape)
    parameters = shape.from_lists(coefs, intercepts)
    found = QUADRATURE.plan(rows, shape, 2).expect(parameters)
    exact = fastem.Enumeration().plan(rows, shape, 2).expect(parameters)
    np.testing.assert_allclose(found.log_likelihood, exact.log_likelihood, rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(found.output_gradient, exact.output_gradient, rtol=0.0, atol=1e-9)
