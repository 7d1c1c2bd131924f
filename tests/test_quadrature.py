"""Quadrature of two classes against enumeration, and against exact sums over a lattice."""

import pickle
import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_moons
from sklearn.model_selection import GridSearchCV

import fastem
from fastem.engines.auto import cheapest_engine
from fastem.parameters import Shape
from fastem.rows import add_ones, sort_rows

QUADRATURE = fastem.Quadrature()


def draw(m, n, size, seed=0, n_features=4, log_odds=2.0, n_classes=2):
    rng = np.random.default_rng([m, n, seed])
    coefs = [
        rng.normal(size=(n_features, m)) * log_odds / 2.0,
        rng.normal(size=(m, n_classes)) * size,
    ]  # fmt: skip
    intercepts = [rng.normal(size=m), rng.normal(size=n_classes)]
    X, y = rng.normal(size=(n, n_features)), rng.integers(0, n_classes, n)
    return X, y, coefs, intercepts, rng.random(n)


def assert_equal(found, exact, tol=1e-10):
    np.testing.assert_allclose(found.log_likelihood, exact.log_likelihood, rtol=0.0, atol=tol)
    np.testing.assert_allclose(found.hidden_posterior, exact.hidden_posterior, rtol=0.0, atol=tol)
    pairs = zip(
        [*found.coef_gradients, *found.intercept_gradients],
        [*exact.coef_gradients, *exact.intercept_gradients],
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0.0, atol=10.0 * tol * max(np.abs(b).max(), 1.0))


@pytest.mark.parametrize("size", [0.0, 0.3, 3.0, 20.0])
@pytest.mark.parametrize("m", [1, 2, 7, 12, 18])
def test_equals_enumeration(m, size):
    X, y, coefs, intercepts, weights = draw(m, 60 if m < 18 else 12, size)
    found, exact = (
        fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=method)
        for method in (QUADRATURE, "enumeration")
    )
    assert_equal(found, exact)
    assert found.effective_sample_size is None


def test_equals_the_slow_truth():
    X, y, (W, V), (b, c), _ = draw(6, 20, 5.0)
    truth = reference.log_marginal(X, [W, V], [b, c])[np.arange(20), y]
    found = fastem.e_step(X, y, [W, V], [b, c], method=QUADRATURE)
    np.testing.assert_allclose(found.log_likelihood, truth, rtol=0.0, atol=1e-10)


def lattice(log_odds, steps, c, unit):
    """Exact ``log E sigmoid(S)`` where v are multiples of a unit: the law of S, bit by bit."""
    low = int(steps[steps < 0].sum())
    law = np.zeros(int(np.abs(steps).sum()) + 1)
    law[-low] = 1.0
    for a, k in zip(log_odds, steps, strict=True):
        on = 1.0 / (1.0 + np.exp(-a))
        moved = np.roll(law, int(k))  # wraps zeros only, see low
        law = on * moved + law / (1.0 + np.exp(a))
    S = c + unit * (low + np.arange(len(law)))
    with np.errstate(divide="ignore"):
        terms = np.log(law) - np.logaddexp(0.0, -S)
    top = terms.max()
    return top + np.log(np.exp(terms - top).sum())


@pytest.mark.parametrize(("m", "most", "unit"), [(30, 9, 0.5), (100, 5, 0.25), (1000, 3, 0.2)])
def test_equals_exact_sums_over_a_lattice(m, most, unit):
    rng = np.random.default_rng(m)
    steps, b = rng.integers(-most, most + 1, m), rng.normal(size=m) * 2.0
    X, W = np.array([[-1.0], [0.0], [1.0]]), rng.normal(size=(1, m))
    V = np.column_stack([np.zeros(m), unit * steps])
    for c in (0.0, -40.0, 35.0):
        for k in (0, 1):
            exact = [
                lattice(x * W[0] + b, steps if k else -steps, c if k else -c, unit) for x in X[:, 0]
            ]
            found = fastem.e_step(X, [k] * 3, [W, V], [b, [0.0, c]], method=QUADRATURE)
            np.testing.assert_allclose(found.log_likelihood, exact, rtol=0.0, atol=1e-9)


def test_gradients_of_many_units_are_finite_differences():
    X, y, coefs, intercepts, weights = draw(40, 30, 1.0)
    result = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, method=QUADRATURE)
    directions = reference.directional_slopes(
        coefs, intercepts,
        lambda: weights @ fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE).log_likelihood,
    )  # fmt: skip
    gradients = [*result.coef_gradients, *result.intercept_gradients]
    for gradient, (direction, slope) in zip(gradients, directions, strict=True):
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=2e-6, atol=1e-6)


@given(
    st.lists(st.floats(-900.0, 900.0), min_size=3, max_size=3),
    st.lists(st.floats(-60.0, 60.0), min_size=3, max_size=3),
    st.floats(-300.0, 300.0),
    st.integers(0, 1),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_extremes_equal_enumeration(b, v, c, k):
    V = np.column_stack([np.zeros(3), v])
    arguments = np.zeros((1, 1)), [k], [np.zeros((1, 3)), V], [np.array(b), np.array([0.0, c])]
    exact = fastem.e_step(*arguments, method="enumeration")
    found = fastem.e_step(*arguments, method=QUADRATURE)
    np.testing.assert_allclose(found.log_likelihood, exact.log_likelihood, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.hidden_posterior, exact.hidden_posterior, rtol=0.0, atol=1e-9)


def test_factors_that_vanish():
    # the factor of a unit with probability 1/2 is zero where t v = pi, which may be a node
    for v in np.linspace(0.5, 40.0, 60):
        V = np.array([[0.0, v], [0.0, 1.0]])
        arguments = np.zeros((1, 1)), [1], [np.zeros((1, 2)), V], [np.zeros(2), np.zeros(2)]
        assert_equal(
            fastem.e_step(*arguments, method=QUADRATURE),
            fastem.e_step(*arguments, method="enumeration"),
        )


def test_a_bimodal_sum():
    # S is far above zero rarely and far below zero mostly: no single line works
    V = np.array([[0.0, 70.0], [0.0, -3.0], [0.0, 2.0]])
    b, c = np.array([-19.0, 0.3, -0.2]), np.array([0.0, -20.0])
    arguments = np.zeros((1, 1)), [1], [np.zeros((1, 3)), V], [b, c]
    exact = fastem.e_step(*arguments, method="enumeration")
    assert_equal(fastem.e_step(*arguments, method=QUADRATURE), exact)


def test_improbable_labels():
    m = 20
    V = np.column_stack([np.zeros(m), np.full(m, -35.0)])
    b = np.full(m, 30.0)
    result = fastem.e_step(
        np.zeros((1, 1)), [1], [np.zeros((1, m)), V], [b, np.zeros(2)], method=QUADRATURE
    )
    exact = fastem.e_step(
        np.zeros((1, 1)), [1], [np.zeros((1, m)), V], [b, np.zeros(2)], method="enumeration"
    )
    assert exact.log_likelihood[0] < -500.0
    np.testing.assert_allclose(result.log_likelihood, exact.log_likelihood, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize(("n_classes", "n_rows"), [(2, 700), (3, 500)])
def test_threads_do_not_change_a_bit(n_classes, n_rows):
    X, y, coefs, intercepts, weights = draw(20, n_rows, 1.0, n_classes=n_classes)
    one, *others = (
        fastem.e_step(
            X, y, coefs, intercepts, sample_weight=weights, method=QUADRATURE, n_jobs=n_jobs
        )
        for n_jobs in (1, 2, 3)
    )
    for other in others:
        np.testing.assert_array_equal(one.log_likelihood, other.log_likelihood)
        np.testing.assert_array_equal(one.hidden_posterior, other.hidden_posterior)
        np.testing.assert_array_equal(one.coef_gradients[1], other.coef_gradients[1])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_do_not_depend_on_their_neighbours(n_classes):
    X, y, coefs, intercepts, _ = draw(20, 30, 2.0, n_classes=n_classes)
    together = fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE)
    alone = fastem.e_step(X[7:8], y[7:8], coefs, intercepts, method=QUADRATURE)
    np.testing.assert_allclose(
        alone.log_likelihood, together.log_likelihood[7:8], rtol=0.0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("n_classes", "size"), [(2, 0.5), (2, 6.0), (2, 40.0), (3, 0.5), (3, 6.0), (3, 20.0)]
)
def test_all_classes_to_the_tolerance(n_classes, size):
    n_rows = 6 if size * n_classes > 50.0 else 20  # rows of large weights take many nodes
    X, _, coefs, intercepts, _ = draw(10, n_rows, size, n_classes=n_classes)
    shape = Shape(4, (10,), n_classes)
    arguments = add_ones(X, True), shape.from_lists(coefs, intercepts), shape, 1
    exact = fastem.Enumeration().log_marginal(*arguments)
    assert exact.min() < np.log(0.4)
    np.testing.assert_allclose(QUADRATURE.log_marginal(*arguments), exact, rtol=0.0, atol=1e-9)


# Fits


@pytest.mark.parametrize("m_step", ["newton", "bound", "gradient"])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_never_lowers_the_objective(m_step, accelerate):
    X, y = make_moons(80, noise=0.2, random_state=0)
    model = fastem.FastEMClassifier(
        (25,), alpha=0.15, e_step="quadrature", m_step=m_step, accelerate=accelerate, max_iter=25,
        random_state=0, learning_rate_init=0.05,
    ).fit(X, y)  # fmt: skip
    assert max(np.diff(model.loss_curve_)) <= 1e-12
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_same_fit_as_by_enumeration():
    X, y = load_breast_cancer(return_X_y=True)
    start = fastem.FastEMClassifier((6,), alpha=0.15, solver="lbfgs", max_iter=15, random_state=0)
    by_engine = [clone(start).set_params(e_step=e).fit(X, y) for e in ("quadrature", "enumeration")]
    np.testing.assert_allclose(by_engine[0].loss_curve_, by_engine[1].loss_curve_, rtol=1e-7)
    p, q = (model.predict_proba(X) for model in by_engine)
    np.testing.assert_allclose(p, q, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_many_units_are_fitted_by_default(tmp_path):
    X, y = make_moons(120, noise=0.2, random_state=0)
    model = fastem.FastEMClassifier((80,), alpha=0.15, max_iter=40, random_state=0).fit(X, y)
    assert model.e_step_ == fastem.Quadrature()
    assert model.score(X, y) > 0.9
    assert model.posterior(X, y).shape == (120, 80)
    model.save(tmp_path / "moons.npz")
    again = fastem.FastEMClassifier.load(tmp_path / "moons.npz")
    assert again.e_step_ == model.e_step_
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_settings_of_an_engine_are_parameters():
    X, y = make_moons(40, noise=0.2, random_state=0)
    model = fastem.FastEMClassifier(
        (3,), alpha=0.15, e_step=fastem.Quadrature(), max_iter=3, random_state=0
    )
    assert model.get_params()["e_step__tol"] == 1e-10
    search = GridSearchCV(model, {"e_step__tol": [1e-6, 1e-9]}, cv=2).fit(X, y)
    assert search.best_estimator_.e_step_.tol in (1e-6, 1e-9)
    assert model.e_step == fastem.Quadrature()  # the constructor parameter does not change
    fitted = clone(model).fit(X, y)
    fitted.set_params(e_step__tol=1e-3)
    assert fitted.e_step_.tol == 1e-10
    assert clone(search.best_estimator_).e_step == search.best_estimator_.e_step
    assert pickle.loads(pickle.dumps(model)).e_step == model.e_step
    with pytest.raises(ValueError, match=r"no setting 'nodes'; it has \['tol'\]"):
        model.set_params(e_step__nodes=3)


# The choice, and bad input


def test_the_cheapest_engine_that_applies():
    assert cheapest_engine(Shape(10, (8,), 2), 1000) == fastem.Enumeration()
    assert cheapest_engine(Shape(10, (30,), 2), 1000) == fastem.Quadrature()


@pytest.mark.parametrize("n_hidden", range(10, 20))
def test_the_cheapest_engine_is_the_same_for_few_rows_and_many(n_hidden):
    shape = Shape(10, (n_hidden,), 2)
    assert cheapest_engine(shape, 8) == cheapest_engine(shape, 100_000)


@pytest.mark.parametrize("tol", [0.0, -1.0, 1e-15, 1.0, np.nan])
def test_a_tolerance_out_of_range(tol):
    X, y, coefs, intercepts, _ = draw(2, 3, 1.0)
    with pytest.raises(ValueError, match="tol of Quadrature must be a number >= 1e-13 and < 1"):
        fastem.e_step(X, y, coefs, intercepts, method=fastem.Quadrature(tol=tol))


def test_weights_too_large_raise():
    X, y, coefs, intercepts, _ = draw(12, 6, 1e7)
    with pytest.raises(FloatingPointError, match=r"nodes.*alpha.*Enumeration"):
        fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE)


def test_log_odds_that_overflow_raise():
    coefs = [np.array([[1e200], [-1e200]]), np.array([[1.0, -1.0]])]
    with pytest.raises(FloatingPointError, match="overflow"):
        fastem.e_step(
            np.full((1, 2), 1e200), [0], coefs, [np.zeros(1), np.zeros(2)], method=QUADRATURE
        )


def test_too_little_memory_raises(monkeypatch):
    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    X, y, coefs, intercepts, _ = draw(30, 10, 1.0)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(30,\) on 10 rows"):
        fastem.e_step(X, y, coefs, intercepts, method=QUADRATURE)


@pytest.mark.parametrize(
    ("n_classes", "m", "n", "far"),
    [(2, 100, 500, 0.0), (2, 30, 500, 12.0), (3, 30, 60, 0.0), (3, 10, 150, 8.0)],
)
def test_memory_is_announced(n_classes, m, n, far):
    X, y, coefs, intercepts, weights = draw(m, n, np.sqrt(8.0 / m), n_classes=n_classes)
    if far > 0.0:  # p near one, from the integrals of the other classes
        intercepts[1][0] += far
        y = np.zeros_like(y)
    shape = Shape(4, (m,), n_classes)
    rows, parameters = sort_rows(X, y, weights, shape), shape.from_lists(coefs, intercepts)
    QUADRATURE.plan(rows, shape, 1).expect(parameters)  # compiles
    tracemalloc.start()
    QUADRATURE.plan(rows, shape, 1).expect(parameters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= QUADRATURE.bytes_needed(shape, n)


def test_the_posterior_where_the_other_class_is_impossible():
    # p(y = 0 | x) underflows: the posterior given y = 1 is the prior
    X, y = np.zeros((1, 1)), [1]
    V = np.array([[88.4, 145.8], [379.8, 59.2], [151.0, 629.3], [-427.4, 33.2]])
    coefs, intercepts = [np.zeros((1, 4)), V], [[1022.7, -274.5, 438.95, -369.8], [-163.4, 587.6]]
    exact = fastem.e_step(X, y, coefs, intercepts, method="enumeration")
    found = fastem.e_step(X, y, coefs, intercepts, method="quadrature")
    np.testing.assert_allclose(found.hidden_posterior, exact.hidden_posterior, atol=1e-10)


@pytest.mark.parametrize("scale", [100.0, 180.0, 320.0, 560.0])
def test_posteriors_of_networks_that_are_certain(scale):
    rng = np.random.default_rng(0)
    n_compared = 0
    for _ in range(60):
        X, y = rng.normal(size=(5, 1)), rng.integers(0, 2, size=5)
        coefs, intercepts = reference.draw_network(rng, 1, 4, 2, scale=scale)
        exact = fastem.e_step(X, y, coefs, intercepts, method="enumeration")
        try:
            found = fastem.e_step(X, y, coefs, intercepts, method="quadrature")
        except FloatingPointError:  # the tolerance cannot be reached
            continue
        n_compared += 1
        np.testing.assert_allclose(found.hidden_posterior, exact.hidden_posterior, atol=1e-8)
    assert n_compared > 20
