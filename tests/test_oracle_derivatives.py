"""Derivatives of the public E-step against sums over all states in extended precision."""

import numpy as np
import pytest
import reference
from reference_derivatives import derivatives
from scipy.special import expit

import fastem
from fastem.oracle import row_gradients
from fastem.oracle.differences import differences
from fastem.parameters import Shape
from fastem.rows import sort_rows

# family, hidden layer sizes, outputs, variance, scale of the weights, scale of X
PROBLEMS = {
    "two classes": ("categorical", (4,), 2, None, 1.0, 1.0),
    "three classes": ("categorical", (5,), 3, None, 1.0, 1.0),
    "five classes": ("categorical", (3,), 5, None, 1.0, 1.0),
    "one unit": ("categorical", (1,), 3, None, 1.0, 1.0),
    "two layers": ("categorical", (3, 4), 3, None, 1.0, 1.0),
    "three layers": ("categorical", (3, 2, 3), 2, None, 1.0, 1.0),
    "one number": ("gaussian", (5,), 1, [0.7], 1.0, 1.0),
    "one unit, one number": ("gaussian", (1,), 1, [0.7], 1.0, 1.0),
    "two numbers": ("gaussian", (4,), 2, [0.7, 0.02], 1.0, 1.0),
    "three numbers": ("gaussian", (3,), 3, [0.7, 2.0, 0.3], 1.0, 1.0),
    "small noise": ("gaussian", (4,), 1, [1e-4], 1.0, 1.0),
    "counts": ("poisson", (4,), 1, None, 1.0, 1.0),
    "two counts": ("poisson", (3,), 2, None, 1.0, 1.0),
    "labels": ("bernoulli", (4,), 3, None, 1.0, 1.0),
    "classes, 300": ("categorical", (4,), 3, None, 300.0, 1.0),
    "classes, 800": ("categorical", (4,), 2, None, 1.0, 800.0),
    "two layers, 300": ("categorical", (3, 3), 3, None, 300.0, 1.0),
    "labels, 300": ("bernoulli", (4,), 2, None, 300.0, 1.0),
    "counts, 300": ("poisson", (4,), 1, None, 300.0, 1.0),
    "number, 300": ("gaussian", (4,), 1, [0.5], 300.0, 1.0),
    "number, 800": ("gaussian", (4,), 1, [0.5], 1.0, 800.0),
}
ONE_LAYER = [kind for kind, problem in PROBLEMS.items() if len(problem[1]) == 1]


class Delegating(fastem.Engine):
    """A user's engine, which is not a subclass of the engines of the package."""

    name = "delegating"
    statistics = "counts"

    def plan(self, rows, shape, n_threads):
        return fastem.Enumeration().plan(rows, shape, n_threads)

    def log_marginal(self, inputs, parameters, shape, n_threads):
        return fastem.Enumeration().log_marginal(inputs, parameters, shape, n_threads)


def _targets(rng, family, n, n_outputs):
    if family == "categorical":
        return rng.integers(0, n_outputs, size=n)
    if family == "gaussian":
        return 2.0 * rng.normal(size=(n, n_outputs))
    return rng.poisson(2.0, (n, n_outputs)) if family == "poisson" else rng.integers(
        0, 2, (n, n_outputs)
    )  # fmt: skip


def _problem(kind, n=25, p=3, method="enumeration", n_jobs=1, seed=0):
    """Return an oracle, its parameters, and arguments of the truth."""
    family, sizes, g, variance, scale, scale_x = PROBLEMS[kind]
    rng = np.random.default_rng(seed)
    X, y = scale_x * rng.normal(size=(n, p)), _targets(rng, family, n, g)
    weights = rng.choice([0.0, 0.3, 1.0, 5.0], size=n)
    coefs, intercepts = reference.draw_network(rng, p, sizes, g, scale=scale)
    oracle = fastem.EStep(
        X, y, hidden_layer_sizes=sizes, n_classes=g if family == "categorical" else None,
        family=family, method=method, sample_weight=weights, n_jobs=n_jobs,
    )  # fmt: skip
    point = coefs, intercepts, variance
    return oracle, point, (X, y, *point, weights, family)


def _assert_close(got, truth, tolerance=1e-10):
    assert got.shape == truth.shape
    atol = tolerance * np.abs(truth).max(initial=1.0)
    np.testing.assert_allclose(got, truth, rtol=tolerance, atol=atol)


def _total_gradient(oracle, point):
    result = oracle(*point)
    return oracle.flatten(
        result.coef_gradients, result.intercept_gradients, result.variance_gradient
    )


@pytest.mark.parametrize("kind", PROBLEMS)
def test_gradients_of_rows_are_sums_over_all_states(kind):
    oracle, point, arguments = _problem(kind)
    truth = derivatives(*arguments)
    scores = oracle.row_gradients(*point)
    _assert_close(scores, truth["row_gradients"])
    _assert_close(oracle.input_gradient(*point), truth["input_gradient"])
    weights = arguments[-2]
    _assert_close(weights @ scores, _total_gradient(oracle, point))


@pytest.mark.parametrize("kind", PROBLEMS)
def test_products_with_a_vector_do_not_need_the_matrix(kind):
    oracle, point, arguments = _problem(kind)
    truth = derivatives(*arguments)["row_gradients"]
    rng = np.random.default_rng(1)
    for vector in (rng.normal(size=truth.shape[1]), *np.eye(truth.shape[1])[[0, -1]]):
        products = oracle.row_gradients(*point, vector=vector)
        assert products.shape == (len(truth),)
        atol = 1e-10 * max((np.abs(truth) @ np.abs(vector)).max(), 1.0)
        np.testing.assert_allclose(products, truth @ vector, rtol=1e-10, atol=atol)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_information_is_minus_the_second_derivative(kind):
    oracle, point, arguments = _problem(kind)
    truth = derivatives(*arguments)["information"]
    information = oracle.information(*point)
    _assert_close(information, truth, 1e-10 if kind in ONE_LAYER else 1e-9)
    np.testing.assert_array_equal(information, information.T)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_hessian_products_are_second_derivatives(kind):
    oracle, (coefs, intercepts, variance), arguments = _problem(kind)
    truth = derivatives(*arguments)["information"]
    tolerance = 1e-10 if kind in ONE_LAYER else 1e-9
    for unit in np.eye(len(truth)):
        product = oracle.hessian_product(coefs, intercepts, unit, variance)
        atol = tolerance * max(np.abs(truth).max(), 1.0)
        np.testing.assert_allclose(product, -truth @ unit, rtol=tolerance, atol=atol)
    for size in (1.0, 1e-200, 1e200):
        vector = size * np.random.default_rng(1).normal(size=len(truth))
        product = oracle.hessian_product(coefs, intercepts, vector, variance)
        _assert_close(product / size, -truth @ (vector / size), tolerance)
    nothing = oracle.hessian_product(coefs, intercepts, 0.0 * vector, variance)
    np.testing.assert_array_equal(nothing, 0.0)


def test_the_truth_is_the_second_difference_of_the_log_likelihood():
    X, y, coefs, intercepts, variance, weights, family = _problem("two numbers")[2]
    names = "log_likelihood", "coef_gradients", "intercept_gradients", "squared_residuals"

    def total(step, vector):
        oracle = _problem("two numbers")[0]
        flat = oracle.flatten(coefs, intercepts, variance) + step * vector
        moved = oracle.unflatten(flat)
        result = reference.family_e_step(family, X, y, *moved, weights)
        assert set(names) <= set(result)
        return weights @ result["log_likelihood"]

    truth = derivatives(X, y, coefs, intercepts, variance, weights, family)
    vector = np.random.default_rng(1).normal(size=len(truth["information"]))
    vector[-2:] *= np.array(variance)
    steps = np.array([total(step, vector) for step in (-1e-4, 0.0, 1e-4)])
    curvature = (steps[0] - 2.0 * steps[1] + steps[2]) / 1e-8
    assert curvature == pytest.approx(-vector @ truth["information"] @ vector, rel=1e-5)
    slope = weights @ truth["row_gradients"] @ vector
    assert (steps[2] - steps[0]) / 2e-4 == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_certain_units_and_wrong_labels(sign):
    X, y = np.array([[1.0], [-1.0], [0.0]]), np.array([0, 1, 1])
    V = sign * np.array([[900.0, -900.0], [-400.0, 700.0]])
    point = [np.array([[800.0, -800.0]]), V], [np.zeros(2), np.zeros(2)]
    oracle = fastem.EStep(X, y, hidden_layer_sizes=2, method="enumeration")
    truth = derivatives(X, y, *point)
    vector = np.arange(10.0)
    _assert_close(oracle.row_gradients(*point), truth["row_gradients"])
    products = oracle.row_gradients(*point, vector=vector)
    _assert_close(products, truth["row_gradients"] @ vector)
    _assert_close(oracle.input_gradient(*point), truth["input_gradient"])
    _assert_close(oracle.information(*point), truth["information"])


def test_far_values_are_summed_in_log_space():
    X, y = np.array([[1.0], [-1.0], [0.5]]), np.array([1e3, -1e3, 0.0])
    point = [np.array([[2.0, -1.0]]), np.array([[1.0], [2.0]])], [np.zeros(2), np.zeros(1)], [0.1]
    oracle = fastem.EStep(X, y, hidden_layer_sizes=2, family="gaussian", method="enumeration")
    truth = derivatives(X, y[:, None], *point, family="gaussian")
    _assert_close(oracle.row_gradients(*point), truth["row_gradients"])
    vector = np.ones(8)
    _assert_close(oracle.row_gradients(*point, vector=vector), truth["row_gradients"] @ vector)
    _assert_close(oracle.information(*point), truth["information"])


@pytest.mark.parametrize("kind", ["two classes", "two layers", "two numbers", "counts"])
@pytest.mark.parametrize("n", [0, 1])
def test_no_rows_and_one_row(kind, n):
    oracle, point, arguments = _problem(kind, n=n, seed=3)
    size = len(oracle.flatten(*point))
    scores, information = oracle.row_gradients(*point), oracle.information(*point)
    product = oracle.hessian_product(*point[:2], np.ones(size), point[2])
    assert scores.shape == (n, size)
    assert oracle.row_gradients(*point, vector=np.ones(size)).shape == (n,)
    assert oracle.input_gradient(*point).shape == (n, 3)
    if n == 0:
        assert not information.any()
        assert not product.any()
    else:
        truth = derivatives(*arguments)
        _assert_close(scores, truth["row_gradients"])
        np.testing.assert_allclose(information, truth["information"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["three classes", "two layers", "two numbers"])
def test_threads_do_not_change_a_bit(kind):
    results = []
    for n_jobs in (1, 2):
        family, sizes, g, variance, *_ = PROBLEMS[kind]
        rng = np.random.default_rng(0)
        sizes = (9, *sizes[1:])
        X, y = rng.normal(size=(4000, 2)), _targets(rng, family, 4000, g)
        point = *reference.draw_network(rng, 2, sizes, g), variance
        oracle = fastem.EStep(
            X, y, hidden_layer_sizes=sizes, family=family, method="enumeration", n_jobs=n_jobs
        )
        vector = np.ones(len(oracle.flatten(*point)))
        results.append([
            oracle.row_gradients(*point),
            oracle.row_gradients(*point, vector=vector),
            oracle.input_gradient(*point),
            oracle.hessian_product(*point[:2], vector, variance),
            *([oracle.information(*point)] if len(sizes) == 1 else []),
        ])  # fmt: skip
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "one number"])
def test_quadrature_of_few_units_is_enumerated(kind):
    oracle, point, arguments = _problem(kind, method="quadrature")
    truth = derivatives(*arguments)
    _assert_close(oracle.row_gradients(*point), truth["row_gradients"])
    _assert_close(oracle.information(*point), truth["information"])
    _assert_close(oracle.input_gradient(*point), truth["input_gradient"], 1e-8)
    vector = np.random.default_rng(1).normal(size=len(truth["information"]))
    product = oracle.hessian_product(*point[:2], vector, point[2])
    _assert_close(product, -truth["information"] @ vector)


@pytest.mark.parametrize(("family", "variance"), [("categorical", None), ("gaussian", [0.4])])
def test_quadrature_of_many_units_runs_row_by_row(family, variance):
    rng = np.random.default_rng(0)
    n, m, g = 6, 13, 2 if variance is None else 1
    X, y = rng.normal(size=(n, 1)), _targets(rng, family, n, g)
    point = *reference.draw_network(rng, 1, m, g, scale=0.5), variance
    made = [
        fastem.EStep(X, y, hidden_layer_sizes=m, family=family, method=method)
        for method in ("quadrature", "enumeration")
    ]
    quadrature, exact = made
    vector = rng.normal(size=len(exact.flatten(*point)))
    _assert_close(quadrature.row_gradients(*point), exact.row_gradients(*point), 1e-8)
    products = [oracle.row_gradients(*point, vector=vector) for oracle in made]
    _assert_close(*products, 1e-8)
    information = quadrature.information(*point)
    _assert_close(information, exact.information(*point), 1e-9)
    np.testing.assert_array_equal(information, information.T)
    products = [oracle.hessian_product(*point[:2], vector, variance) for oracle in made]
    _assert_close(*products, 1e-9)


@pytest.mark.parametrize("kind", ["three classes", "two layers", "two numbers"])
def test_an_engine_of_ones_own(kind):
    oracle, point, arguments = _problem(kind, method=Delegating(), n=6)
    truth = derivatives(*arguments)
    _assert_close(oracle.row_gradients(*point), truth["row_gradients"])
    vector = np.ones(len(truth["information"]))
    _assert_close(
        oracle.row_gradients(*point, vector=vector), truth["row_gradients"] @ vector, 1e-9
    )
    _assert_close(oracle.information(*point), truth["information"], 1e-9)


@pytest.mark.parametrize("kind", ["three classes", "two layers", "two numbers"])
def test_derivatives_are_in_double_precision_always(kind):
    mixed = fastem.Enumeration(precision="mixed")
    oracle, point, arguments = _problem(kind, method=mixed)
    truth = derivatives(*arguments)
    _assert_close(oracle.row_gradients(*point), truth["row_gradients"])
    _assert_close(oracle.information(*point), truth["information"], 1e-9)
    vector = np.ones(len(truth["information"]))
    before = oracle(*point).log_likelihood
    product = oracle.hessian_product(*point[:2], vector, point[2])
    _assert_close(product, -truth["information"] @ vector, 1e-9)
    np.testing.assert_array_equal(oracle(*point).log_likelihood, before)  # as it was


def test_estimates_of_rows_converge_and_second_derivatives_are_refused():
    sampling = fastem.Sampling(20_000, random_state=0)
    oracle, point, arguments = _problem("three classes", method=sampling, n=5)
    truth = derivatives(*arguments)
    scores = oracle.row_gradients(*point)
    np.testing.assert_allclose(scores, truth["row_gradients"], rtol=0, atol=0.05)
    np.testing.assert_allclose(
        oracle.input_gradient(*point), truth["input_gradient"], rtol=0, atol=0.05
    )
    vector = np.ones(scores.shape[1])
    products = oracle.row_gradients(*point, vector=vector)
    np.testing.assert_allclose(products, scores @ vector, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"information needs an exact engine.*Enumeration"):
        oracle.information(*point)
    with pytest.raises(ValueError, match="hessian_product needs an exact engine"):
        oracle.hessian_product(*point[:2], vector)


def test_a_layer_below_is_trained_with_the_gradient_of_its_output():
    rng = np.random.default_rng(0)
    data, y = rng.normal(size=(20, 4)), rng.integers(0, 3, size=20)
    below = rng.normal(size=(4, 2))
    point = reference.draw_network(rng, 2, 3, 3)

    def total(weights):
        X = expit(data @ weights)
        return fastem.EStep(X, y, hidden_layer_sizes=3)(*point).log_likelihood.sum()

    X = expit(data @ below)
    by_inputs = fastem.EStep(X, y, hidden_layer_sizes=3).input_gradient(*point)
    gradient = data.T @ (by_inputs * X * (1.0 - X))
    for index in np.ndindex(below.shape):
        step = np.zeros_like(below)
        step[index] = 1e-5
        slope = (total(below + step) - total(below - step)) / 2e-5
        assert slope == pytest.approx(gradient[index], rel=1e-6, abs=1e-7)


def test_a_feature_of_zeros_has_no_second_derivative():
    X = np.zeros((4, 1))
    oracle = fastem.EStep(X, [0, 1, 1, 0], hidden_layer_sizes=1)
    point = [np.ones((1, 1)), np.ones((1, 2))], [np.zeros(1), np.zeros(2)]
    np.testing.assert_array_equal(oracle.hessian_product(*point, np.eye(6)[0]), 0.0)
    np.testing.assert_array_equal(oracle.information(*point)[0], 0.0)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_flat_vectors_are_unpacked_again(kind):
    oracle, (coefs, intercepts, variance), _ = _problem(kind)
    vector = oracle.flatten(coefs, intercepts, variance)
    layers = [x for pair in zip(coefs, intercepts, strict=True) for x in pair]
    expected = np.concatenate([*(x.ravel() for x in layers), variance or []])
    np.testing.assert_array_equal(vector, expected)
    again = oracle.unflatten(vector)
    assert (again[2] is None) == (variance is None)
    np.testing.assert_array_equal(oracle.flatten(*again), vector)
    np.testing.assert_array_equal(
        oracle(*again).log_likelihood, oracle(coefs, intercepts, variance).log_likelihood
    )
    again[0][0][:] = 0.0
    np.testing.assert_array_equal(vector, expected)


def test_bad_vectors_and_parameters_are_named():
    oracle, (coefs, intercepts, variance), _ = _problem("one number")
    size = len(oracle.flatten(coefs, intercepts, variance))
    point = coefs, intercepts, variance
    for vector in (np.ones(size + 1), np.ones((size, 1))):
        with pytest.raises(ValueError, match="vector"):
            oracle.row_gradients(*point, vector=vector)
        with pytest.raises(ValueError, match="vector"):
            oracle.hessian_product(coefs, intercepts, vector, variance)
        with pytest.raises(ValueError, match="vector"):
            oracle.unflatten(vector)
    with pytest.raises(ValueError, match=r"vector contains NaN"):
        oracle.row_gradients(*point, vector=np.full(size, np.nan))
    with pytest.raises(ValueError, match=r"coefs\[1\] must have shape \(5, 1\), got \(4, 1\)"):
        oracle.flatten([coefs[0], coefs[1][:-1]], intercepts, variance)
    with pytest.raises(ValueError, match="intercepts must be a list of 2 arrays"):
        oracle.flatten(coefs, intercepts[:1], variance)
    with pytest.raises(ValueError, match="variance is missing"):
        oracle.flatten(coefs, intercepts)
    for call in (oracle.row_gradients, oracle.information, oracle.input_gradient):
        with pytest.raises(ValueError, match="variance is missing"):
            call(coefs, intercepts)
        with pytest.raises(FloatingPointError, match="overflow"):
            call([1e308 * np.ones_like(coefs[0]), coefs[1]], intercepts, variance)


@pytest.mark.parametrize("kind", ["two classes", "two layers", "one number"])
def test_overflow_is_an_error_and_not_a_result(kind):
    family, sizes, g, variance, *_ = PROBLEMS[kind]
    rng = np.random.default_rng(0)
    X, y = np.array([[1e200], [-1e200], [3e199]]), _targets(rng, family, 3, g)
    coefs, intercepts = reference.draw_network(rng, 1, sizes, g)
    coefs[0] *= 1e-200
    oracle = fastem.EStep(X, y, hidden_layer_sizes=sizes, family=family, method="enumeration")
    point = coefs, intercepts, variance
    vector = np.ones(len(oracle.flatten(*point)))
    assert np.isfinite(oracle.row_gradients(*point)).all()
    for call in (
        lambda: oracle.information(*point),
        lambda: oracle.hessian_product(coefs, intercepts, vector, variance),
        lambda: oracle.row_gradients(*point, vector=1e200 * vector),
    ):
        with pytest.raises(FloatingPointError, match="overflow"):
            call()


def test_memory_is_checked_first(monkeypatch):
    oracle, point, _ = _problem("three classes", n=200)
    monkeypatch.setattr("fastem.runtime.memory._NEGLIGIBLE_BYTES", 0)
    monkeypatch.setattr("fastem.runtime.memory.available_bytes", lambda: 60_000)
    with pytest.raises(ValueError, match=r"200 rows needs .* Use vector=\.\.\."):
        oracle.row_gradients(*point)
    assert oracle.row_gradients(*point, vector=np.ones(38)).shape == (200,)
    monkeypatch.setattr("fastem.runtime.memory.available_bytes", lambda: 10_000)
    with pytest.raises(ValueError, match=r"information of 38 parameters needs .* hessian_product"):
        oracle.information(*point)


def test_differences_of_known_functions():
    x = np.array([0.3, -1.0, 2.0])
    slope = differences(lambda t: np.exp(np.sin(x + t)), 0.25)
    np.testing.assert_allclose(slope, np.cos(x) * np.exp(np.sin(x)), rtol=1e-11)
    steep = differences(lambda t: np.tanh(40.0 * (x + t)), 0.25)  # steps are halved further
    np.testing.assert_allclose(steep, 40.0 / np.cosh(40.0 * x) ** 2, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(differences(lambda t: 0.0 * x, 0.25), 0.0)
    rng = np.random.default_rng(0)  # rounding errors stop it, and do not spoil the result
    noisy = differences(lambda t: np.exp(x + t) + 1e-9 * rng.normal(size=3), 0.25)
    np.testing.assert_allclose(noisy, np.exp(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("m", "g"), [(4, 2), (5, 3), (1, 3)])
def test_row_gradients_without_intercepts(m, g):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), np.arange(20) * g // 20  # rows are kept in order of classes
    coefs, intercepts = reference.draw_network(rng, 3, m, g, fit_intercept=False)
    truth = derivatives(X, y, coefs, intercepts, None, np.ones(20), "categorical")
    shape = Shape(3, (m,), g, fit_intercept=False)
    rows = sort_rows(X, y, np.ones(20), shape)
    parameters = shape.from_lists(coefs, intercepts)
    found = row_gradients(fastem.Enumeration(), rows, shape, parameters, 1)
    weights = np.r_[: 3 * m, 4 * m : 4 * m + m * g]  # the last row of a layer has its intercepts
    _assert_close(found, truth["row_gradients"][:, weights])


def test_a_penalty_is_chosen_without_intercepts():
    """Few parameters per row: approximate leave-one-out, which needs the gradients of rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (X[:, 0] + 0.5 * rng.normal(size=300) > 0.0).astype(int)
    model = fastem.FastEMClassifier((2,), fit_intercept=False, random_state=0).fit(X, y)
    assert np.isfinite(model.alpha_path_["leave_one_out"]).all()
