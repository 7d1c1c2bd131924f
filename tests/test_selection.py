"""Choice of the penalty, of the number of units, of the solver and of the start."""

import warnings

import numpy as np
import pytest
from reference import log_marginal
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from fastem import Enumeration, EStep, FastEMClassifier, FastEMRegressor, Sampling
from fastem.selection import (
    PENALTIES,
    largest_good,
    leave_one_out,
    row_numbers,
    search,
    split_rows,
)
from fastem.sparse import features_of


def rows(seed=0, n_samples=60, n_features=4, n_classes=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    X[rng.random(X.shape) < 0.3] = 0.0
    return X, rng.integers(n_classes, size=n_samples)


def logistic(n_samples=300, seed=0):
    """Rows whose log-odds are linear in two of five features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 5))
    log_odds = X[:, 0] + 2.0 * X[:, 1]
    return X, (log_odds + rng.logistic(size=n_samples) > 0.0).astype(int), log_odds


# Folds


def test_equal_rows_have_equal_numbers_and_other_rows_have_others():
    X, y = rows()
    X[3], y[3] = X[7], y[7]
    numbers = row_numbers(X, y)
    assert numbers[3] == numbers[7]
    assert len(np.unique(numbers)) == len(X) - 1
    other = y.copy()
    other[7] = (y[7] + 1) % 3
    assert row_numbers(X, other)[3] != row_numbers(X, other)[7]


def test_numbers_depend_neither_on_units_nor_on_order_nor_on_storage():
    X, y = rows()
    numbers = row_numbers(X, y)
    np.testing.assert_array_equal(row_numbers(X * [1e-200, 3.0, 7e100, 1.0], y), numbers)
    order = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_array_equal(row_numbers(X[order], y[order]), numbers[order])
    np.testing.assert_array_equal(row_numbers(features_of(csr_array(X)), y), numbers)
    values = np.column_stack([y * 0.1, y**2.0])
    np.testing.assert_array_equal(row_numbers(X, values), row_numbers(X, 1e9 * values))


@pytest.mark.parametrize("weight", [1.0, 0.37, 2.0, 1e60])
def test_every_row_is_held_out_once_in_equal_shares_of_every_class(weight):
    X, y = rows(n_samples=100)
    split = split_rows(X, y, np.full(100, weight))
    np.testing.assert_allclose(split.held.sum(axis=0), split.weights)
    for k in range(3):
        of_class = split.held[:, y[split.rows] == k].sum(axis=1) / weight
        assert np.ptp(of_class) <= 1.0 + 1e-9
    assert split.size == 100


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("form", [np.asarray, lambda X: features_of(csr_array(X))])
def test_integer_weights_equal_repeated_rows(categories, form):
    X, y = rows()
    if categories:
        X = np.sign(X)
        _, kept = np.unique(np.column_stack([X, y]), axis=0, return_index=True)
        X, y = X[kept], y[kept]
    weights = np.random.default_rng(0).integers(2, 9, size=len(X)).astype(float)
    by_weight = split_rows(form(X), y, weights)
    repeated = np.repeat(np.arange(len(X)), weights.astype(int))
    by_rows = split_rows(form(X[repeated]), y[repeated], np.ones(len(repeated)))
    np.testing.assert_array_equal(X[by_weight.rows], X[repeated][by_rows.rows])
    np.testing.assert_array_equal(by_weight.held, by_rows.held)
    n_held = np.count_nonzero(by_weight.held, axis=0)
    assert (n_held > 1 if categories else n_held == 1).all()
    assert by_weight.size == by_rows.size == (weights.sum() if categories else len(X))


def test_weights_that_are_no_counts_do_not_divide_rows():
    X, y = rows()
    weights = np.random.default_rng(0).uniform(0.1, 50.0, size=len(X))
    split = split_rows(X, y, weights)
    assert set(np.count_nonzero(split.held, axis=0)) == {1}
    assert split.size == len(X)


def test_the_only_row_of_a_class_is_never_held_out():
    X, y = rows()
    y[11] = 3
    split = split_rows(X, y, np.ones(len(X)))
    only = split.rows == 11
    assert split.held[:, only].sum() == 0.0
    assert (split.held[:, ~only].sum(axis=0) == 1.0).all()


# The search


@pytest.mark.parametrize("best", PENALTIES)
@pytest.mark.parametrize("coarse", [False, True])
def test_the_search_finds_the_top_of_a_hill(best, coarse):
    calls = []

    def score(alpha):
        calls.append(alpha)
        return -abs(np.log(alpha / best))

    scores = search(score, 0.15, coarse=coarse)
    assert len(calls) == len(set(calls)) == len(scores)
    assert list(scores) == sorted(scores)
    found = max(scores, key=scores.get)
    distance = abs(PENALTIES.index(found) - PENALTIES.index(best))
    assert distance <= coarse
    assert abs(PENALTIES.index(calls[-1]) - PENALTIES.index(best)) <= 3 or len(calls) <= 6


def test_a_score_that_is_not_finite_is_the_lowest():
    scores = search(lambda alpha: np.nan if alpha > 1.0 else alpha, 0.15)
    assert max(scores, key=scores.get) == 0.5


def test_scores_that_begin_finite_late_are_found():
    scores = search(lambda alpha: -np.inf if alpha < 10.0 else -alpha, 0.15)
    assert max(scores, key=scores.get) == 15.0


def test_a_larger_penalty_is_taken_if_the_difference_is_noise():
    rng = np.random.default_rng(0)
    best = rng.normal(size=400)
    close, far = best - 1e-4 + 0.1 * rng.normal(size=400), best - 0.05
    close += np.mean(best - 1e-4) - close.mean()
    weights = np.ones(400)
    assert largest_good({0.5: best, 1.5: close, 5.0: far}, weights) == 1.5
    assert largest_good({0.5: best, 1.5: far}, weights) == 0.5
    assert largest_good({0.5: close, 1.5: best}, weights) == 1.5


# Leave-one-out


def penalised_fit(X, y, sizes, alpha, start):
    """Return the maximiser of the penalised likelihood, by numerical gradients of brute force."""
    m, g = sizes
    p = X.shape[1]
    cuts = np.cumsum([p * m, m, m * g])

    def unpack(theta):
        W, b, V, c = np.split(theta, cuts)
        return [W.reshape(p, m), V.reshape(m, g)], [b, c]

    def loss(theta):
        coefs, intercepts = unpack(theta)
        log_p = log_marginal(X, coefs, intercepts)[np.arange(len(X)), y]
        return 0.5 * alpha * sum((W**2).sum() for W in coefs) - log_p.sum()

    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-5})
    return found.x, unpack(found.x)


def test_leave_one_out_is_close_to_fits_without_each_row():
    """The matrix of squared gradients is smaller than the Hessian: the score is pessimistic."""
    X, y, _ = logistic(40)
    X, sizes, alpha = X[:, :2], (1, 2), 1.0
    start = np.random.default_rng(0).normal(size=2 + 1 + 2 + 2)
    theta, (coefs, intercepts) = penalised_fit(X, y, sizes, alpha, start)
    exact = 0.0
    for i in range(len(X)):
        kept = np.arange(len(X)) != i
        _, (W, b) = penalised_fit(X[kept], y[kept], sizes, alpha, theta)
        exact += log_marginal(X[[i]], W, b)[0, y[i]] / len(X)
    oracle = EStep(X, y, hidden_layer_sizes=1)
    scores = oracle.row_gradients(coefs, intercepts)
    log_p = oracle(coefs, intercepts).log_likelihood
    penalty = alpha * oracle.flatten(
        [np.ones_like(W) for W in coefs], [np.zeros_like(b) for b in intercepts]
    )
    found = leave_one_out(scores, log_p, np.ones(len(X)), penalty)
    optimism = log_p.mean() - exact
    assert optimism > 0.01
    assert 0.8 * optimism < log_p.mean() - found.score < 2.0 * optimism
    assert 1.0 < found.effective_parameters < 5.0
    assert 0.0 < found.leverage < 1.0


def test_leave_one_out_counts_a_weight_as_rows():
    rng = np.random.default_rng(0)
    gradients, log_p, penalty = rng.normal(size=(30, 4)), -rng.random(30), np.full(4, 2.0)
    weights = rng.integers(1, 4, size=30)
    repeated = np.repeat(np.arange(30), weights)
    a = leave_one_out(gradients, log_p, weights.astype(float), penalty)
    b = leave_one_out(gradients[repeated], log_p[repeated], np.ones(len(repeated)), penalty)
    np.testing.assert_allclose(a, b, rtol=1e-10)


def test_leave_one_out_of_as_many_parameters_as_rows_has_no_score():
    found = leave_one_out(np.eye(5), np.zeros(5), np.ones(5), np.zeros(5))
    assert found.leverage == pytest.approx(1.0, abs=1e-8)
    assert not found.score > -1e6


# The choice of a fit


def test_noise_gives_the_frequencies_of_the_classes():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 5)), rng.integers(2, size=300)
    with pytest.warns(UserWarning, match="no effect. No smaller penalty predicted"):
        model = FastEMClassifier(random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], y.mean(), atol=0.01)
    assert model.alpha_ >= 15.0


@pytest.mark.parametrize("seed", range(10))
def test_the_four_rows_of_xor_are_solved(seed):
    X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [0, 1, 1, 0]
    model = FastEMClassifier((3,), random_state=seed).fit(X, y)
    assert model.predict_proba(X)[np.arange(4), y].min() > 0.9
    assert model.alpha_ == 0.01
    assert not hasattr(model, "alpha_path_")


def test_many_rows_of_xor_are_solved():
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(200, 2)) + 0.1 * rng.normal(size=(200, 2))
    y = (X[:, 0] > 0.5) ^ (X[:, 1] > 0.5)
    model = FastEMClassifier((3,), random_state=0).fit(X, y)
    assert -np.mean(model.predict_log_proba(X)[np.arange(200), y.astype(int)]) < 0.01
    assert model.alpha_ < 0.15


def test_a_linear_problem_is_fitted_about_as_well_as_by_logistic_regression():
    X, y, _ = logistic()
    Z, _, log_odds = logistic(5000, seed=1)
    p = 1.0 / (1.0 + np.exp(-log_odds))

    def loss(model):
        q = model.fit(X, y).predict_proba(Z)[:, 1]
        return -np.mean(p * np.log(q) + (1.0 - p) * np.log1p(-q))

    assert loss(FastEMClassifier(random_state=0)) < 1.05 * loss(LogisticRegression())


def test_the_path_is_kept():
    X, y, _ = logistic()
    model = FastEMClassifier(random_state=0).fit(X, y)
    path = model.alpha_path_
    assert set(path) == {
        "alpha", "leave_one_out", "cross_validation", "training", "effective_parameters"
    }  # fmt: skip
    assert set(path["alpha"]) <= set(PENALTIES)
    assert model.alpha_ in path["alpha"]
    score = path["cross_validation"]
    assert np.isnan(path["leave_one_out"]).all()
    assert score.argmax() <= np.flatnonzero(path["alpha"] == model.alpha_)[0]
    assert (np.diff(path["training"]) < 0.02).all()  # smaller penalties fit better
    assert (path["training"] > score).all()


def test_the_comparison_is_reported(capsys):
    X, y, _ = logistic(100)
    model = FastEMClassifier((2,), verbose=1, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    compared = [line for line in lines if "held-out loss" in line]
    assert len(compared) == len(model.alpha_path_["alpha"])
    assert compared[0].startswith("[fastem] 2 units, alpha 0.15: held-out loss 0.")


def test_many_rows_per_parameter_use_leave_one_out():
    X, y, _ = logistic(2000)
    model = FastEMClassifier((2,), random_state=0).fit(X, y)
    path = model.alpha_path_
    assert np.isfinite(path["leave_one_out"]).all()
    assert np.isnan(path["cross_validation"]).all()
    n_parameters = 2 * 6 + 3 * 2
    assert (path["effective_parameters"] < n_parameters).all()
    assert path["effective_parameters"][-1] < path["effective_parameters"][0]


def test_a_number_is_that_number():
    X, y, _ = logistic()
    model = FastEMClassifier((2,), alpha=0.7, random_state=0).fit(X, y)
    assert model.alpha_ == 0.7
    assert not hasattr(model, "alpha_path_")
    chosen = FastEMClassifier((2,), random_state=0).fit(X, y)
    again = FastEMClassifier((2,), alpha=chosen.alpha_, random_state=0).fit(X, y)
    np.testing.assert_array_equal(again.coefs_[0], chosen.coefs_[0])
    assert not hasattr(chosen.set_params(alpha=1.0).fit(X, y), "alpha_path_")
    chosen.set_params(alpha="auto").fit(X, y)
    assert not hasattr(chosen.set_params(alpha=1.0, warm_start=True).fit(X, y), "alpha_path_")


def test_rows_in_another_order_and_repeated_rows_choose_the_same():
    X, y, _ = logistic(150)
    weights = np.random.default_rng(0).integers(1, 4, size=150)
    repeated = np.random.default_rng(1).permutation(np.repeat(np.arange(150), weights))
    a = FastEMClassifier((2,), random_state=0).fit(X, y, weights)
    b = FastEMClassifier((2,), random_state=0).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(
        a.alpha_path_["cross_validation"], b.alpha_path_["cross_validation"], rtol=1e-8
    )
    assert a.alpha_ == b.alpha_


def test_weights_that_are_no_counts_scale_the_penalty():
    X, y, _ = logistic(150)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, size=150)
    a = FastEMClassifier((2,), random_state=0).fit(X, y, weights)
    b = FastEMClassifier((2,), random_state=0).fit(X, y, weights * 2.0**-20)
    np.testing.assert_allclose(b.alpha_, a.alpha_ * 2.0**-20)
    np.testing.assert_allclose(b.predict_proba(X), a.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("factor", [2.0**-9, 2.0**9])
def test_the_unit_of_weights_does_not_change_scores_by_leave_one_out(factor):
    X, y, _ = logistic(2000)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, size=2000)
    a = FastEMClassifier((2,), random_state=0).fit(X, y, weights)
    b = FastEMClassifier((2,), random_state=0).fit(X, y, weights * factor)
    assert np.isfinite(a.alpha_path_["leave_one_out"]).all()
    for name in ("leave_one_out", "effective_parameters"):
        np.testing.assert_allclose(b.alpha_path_[name], a.alpha_path_[name], rtol=1e-4)
    np.testing.assert_allclose(b.alpha_, a.alpha_ * factor)


def test_a_given_penalty_is_kept_while_the_size_is_chosen():
    X, y, _ = logistic(600)
    model = FastEMClassifier(alpha=0.03, random_state=0).fit(X, y)
    assert model.alpha_ == 0.03
    assert not hasattr(model, "alpha_path_")
    assert set(model.size_path_["alpha"]) == {0.03}


def test_classes_of_single_rows_have_no_path():
    X = np.random.default_rng(0).normal(size=(25, 2))
    model = FastEMClassifier((2,), max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge
        model.fit(X, np.arange(25))
    assert model.alpha_ == 0.01
    assert not hasattr(model, "alpha_path_")


def test_copies_of_rows_do_not_reveal_the_held_out_rows():
    X, y, _ = logistic(150)
    plain = FastEMClassifier((2,), random_state=0).fit(X, y)
    for copies in (2, 3):
        rows = np.tile(np.arange(150), copies)
        model = FastEMClassifier((2,), random_state=0).fit(X[rows], y[rows])
        assert model.alpha_ == pytest.approx(copies * plain.alpha_)
        np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=0.01)


def test_class_weights_choose_as_sample_weights_do():
    X, y, _ = logistic(150)
    by_class = FastEMClassifier((2,), class_weight={0: 3.0, 1: 1.0}, random_state=0).fit(X, y)
    by_row = FastEMClassifier((2,), random_state=0).fit(X, y, np.where(y == 0, 3.0, 1.0))
    assert by_class.alpha_ == by_row.alpha_
    np.testing.assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])


def test_class_weights_do_not_divide_rows():
    """With them, a row must not be trained on and held out at the same time."""
    X, y, _ = logistic(150)
    model = FastEMClassifier((2,), class_weight={0: 5.0, 1: 5.0}, random_state=0).fit(X, y)
    plain = FastEMClassifier((2,), random_state=0).fit(X, y)
    assert model.alpha_ >= plain.alpha_
    path = model.alpha_path_
    assert (path["training"] > path["cross_validation"]).all()


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_penalty_of_a_regressor_is_chosen(family):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    y = (
        rng.poisson(np.exp(0.5 * X[:, 0]))
        if family == "poisson"
        else X[:, 0] + rng.normal(size=150)
    )
    model = FastEMRegressor((2,), family=family, random_state=0).fit(X, y)
    assert np.isfinite(model.alpha_path_["cross_validation"]).all()
    fixed = FastEMRegressor((2,), family=family, alpha=0.0015, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        fixed.fit(X, y)
    Z = np.random.default_rng(1).normal(size=(2000, 3))
    mean = np.exp(0.5 * Z[:, 0]) if family == "poisson" else Z[:, 0]
    error, of_fixed = (np.mean((m.predict(Z) - mean) ** 2) for m in (model, fixed))
    assert error < of_fixed


def test_labels_of_several_outputs_choose_a_penalty():
    X, y, _ = logistic(120)
    Y = np.column_stack([y, X[:, 2] > 0.0])
    model = FastEMClassifier((3,), random_state=0).fit(X, Y)
    assert model.alpha_ in model.alpha_path_["alpha"]


# Size and solver


def test_more_units_are_taken_where_they_gain():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, size=(900, 2))
    y = (np.floor(3 * X[:, 0]) + 6 * np.floor(3 * X[:, 1])).astype(int) % 7  # a chequered plane
    model = FastEMClassifier(random_state=0).fit(X, y)
    assert model.coefs_[0].shape == (2, 64)
    assert model.solver_ == "adam"
    assert isinstance(model.e_step_, Sampling)
    sizes = model.size_path_
    assert sizes["n_hidden"].tolist() == [10, 64]
    assert sizes["held_out"][1] > sizes["held_out"][0]
    assert sizes["alpha"][1] == model.alpha_
    k = 64 * 3 + 65 * 6
    assert sizes["bic"][1] - sizes["aic"][1] == pytest.approx(k * (np.log(900) - 2.0))
    ten = FastEMClassifier((10,), random_state=0).fit(X, y)
    Z = rng.uniform(-1.0, 1.0, size=(1000, 2))
    t = (np.floor(3 * Z[:, 0]) + 6 * np.floor(3 * Z[:, 1])).astype(int) % 7
    loss, of_ten = (-m.predict_log_proba(Z)[np.arange(1000), t].mean() for m in (model, ten))
    assert loss < of_ten


@pytest.mark.parametrize("weight", [1.0, 2.0**-9])
def test_ten_units_stay_where_noise_limits_the_fit(weight):
    X, y, _ = logistic(600)
    model = FastEMClassifier(random_state=0).fit(X, y, np.full(600, weight))
    assert model.coefs_[0].shape[1] == 10
    assert model.size_path_["n_hidden"].tolist() == [10]


def test_given_starting_values_keep_the_size():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 2)), np.arange(600) % 7
    start = [rng.normal(size=(2, 10)), rng.normal(size=(10, 7))]
    model = FastEMClassifier(coefs_init=start, alpha=0.01, max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert model.size_path_["n_hidden"].tolist() == [10]


def test_a_given_engine_is_kept_while_the_size_is_chosen():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, size=(900, 2))
    y = (np.floor(3 * X[:, 0]) + 6 * np.floor(3 * X[:, 1])).astype(int) % 7
    model = FastEMClassifier(e_step="enumeration", max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert isinstance(model.e_step_, Enumeration)
    assert model.size_path_["n_hidden"].tolist() == [10]


def test_many_units_and_classes_are_trained_by_mini_batches():
    X, y = load_iris(return_X_y=True)
    y = np.repeat(np.arange(6), 25)
    few = FastEMClassifier((6,), alpha=0.15, random_state=0).fit(X, y)
    many = FastEMClassifier((22,), alpha=0.15, random_state=0).fit(X, y)
    assert (few.solver_, many.solver_) == ("em", "adam")
    assert many.e_step_.is_exact  # predictions are affordable
    given = FastEMClassifier((22,), alpha=0.15, e_step="sampling", tol=1.0, random_state=0)
    assert given.fit(X, y).solver_ == "em"


def test_many_features_use_the_bound():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 400))
    y = (X[:, 0] > 0.0).astype(int)
    bound = FastEMClassifier((4,), alpha=5.0, m_step="bound", random_state=0).fit(X, y)
    auto = FastEMClassifier((4,), alpha=5.0, random_state=0).fit(X, y)
    np.testing.assert_array_equal(auto.coefs_[0], bound.coefs_[0])


def test_fitting_in_the_regressor_begins_with_ten_units():
    X, y = load_diabetes(return_X_y=True)
    model = FastEMRegressor("auto", random_state=0).fit(X[:200], y[:200])
    assert model.size_path_["n_hidden"].tolist() == [10]  # fewer rows than growth needs
    assert model.coefs_[0].shape[1] == 10


# Starts


def test_the_best_starts_go_on():
    X, y, _ = logistic(150)
    model = FastEMClassifier((3,), alpha=0.05, n_init=7, random_state=0).fit(X, y)
    assert len(model.starts_) == 7
    losses = np.array([start["loss"] for start in model.starts_])
    n_iter = np.array([start["n_iter"] for start in model.starts_])
    assert np.count_nonzero(n_iter > 30) == 3
    assert model.loss_ == losses.min()
    best = model.starts_[losses.argmin()]
    np.testing.assert_array_equal(best["coefs"][0], model.coefs_[0])
    np.testing.assert_array_equal(best["intercepts"][1], model.intercepts_[1])


def test_all_starts_are_run_after_a_choice_on_a_single_split():
    X, y, _ = logistic(150)
    options = {"solver": "adam", "batch_size": 50, "random_state": 0}
    assert not hasattr(FastEMClassifier((2,), **options).fit(X, y), "starts_")
    assert len(FastEMClassifier((2,), n_init=2, **options).fit(X, y).starts_) == 2


def test_a_start_that_goes_on_equals_a_single_start():
    X, y, _ = logistic(150)
    single = FastEMClassifier((3,), alpha=0.05, random_state=1).fit(X, y)
    model = FastEMClassifier((3,), alpha=0.05, n_init=4, random_state=1).fit(X, y)
    first = model.starts_[0]
    assert first["n_iter"] == single.n_iter_ > 30
    np.testing.assert_array_equal(first["coefs"][0], single.coefs_[0])
    assert first["loss"] == single.loss_
    two = FastEMClassifier((3,), alpha=0.05, n_init=2, random_state=1).fit(X, y)
    np.testing.assert_array_equal(two.starts_[0]["coefs"][0], single.coefs_[0])


def test_a_fit_without_effect_warns():
    X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [0, 1, 1, 0]
    with pytest.warns(
        UserWarning, match="the same for every row.*indistinguishable.*smaller alpha"
    ):
        FastEMClassifier((3,), alpha=0.15, random_state=0).fit(X, y)


def test_equal_units_warn():
    X, y, _ = logistic(100)
    start = [np.ones((5, 3)), np.tile([1.0, -1.0], (3, 1))]
    model = FastEMClassifier(
        (3,), alpha=0.1, coefs_init=start, intercepts_init=[np.zeros(3), np.zeros(2)]
    )
    with pytest.warns(UserWarning, match="All hidden units of a layer are equal"):
        model.fit(X, y)
