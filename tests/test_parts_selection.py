"""Choice of the penalty and of the number of units for rows in parts."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from rows_in_parts import Rows

from fastem import Enumeration, FastEMClassifier, FastEMRegressor
from fastem.engines import cheapest_engine
from fastem.estimators import fit_parts
from fastem.estimators.parts.counts import MOST_HELD_OUT, HoldOut, count_rows
from fastem.estimators.parts.part import PartPreparation, Work, bytes_of_part, prepare_part
from fastem.estimators.parts.summary import summary_of_part
from fastem.estimators.standardization import Standardization
from fastem.families import Gaussian
from fastem.parameters import CATEGORICAL, Shape
from fastem.selection import held_shares_of_part
from fastem.solvers import Request, draw_start

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def exclusive_or(n=5600, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, 1 * ((X[:, 0] * X[:, 1] > 0) ^ (rng.random(n) < 0.1))


def categories(n=6000, seed=0):
    rng = np.random.default_rng(seed)
    return 1.0 * rng.integers(0, 2, (n, 1)), rng.integers(0, 2, n)


def fitted(X, y, lengths, sample_weight=None, *, kind=FastEMClassifier, memory=np.inf, **settings):
    settings = {"hidden_layer_sizes": (3,), "random_state": 0, "max_iter": 3, **settings}
    model = kind(**settings)
    rows = Rows(X, y, lengths, sample_weight, memory=memory)
    fit_parts(model, rows, (X, y, sample_weight))
    return model


def counted(X, y, lengths, sample_weight=None, **settings):
    """Return the numbers of rows of parts."""
    rows = Rows(X, y, lengths, sample_weight)
    summaries = rows.map("scan", summary_of_part, FastEMClassifier(**settings))
    return count_rows([found for found in summaries if found is not None], np.unique(y))


# Which rows are held out


def test_held_out_rows_depend_on_their_values_only():
    X, y = exclusive_or()
    X[10], y[10] = X[20], y[20]
    held = held_shares_of_part(X, y, None, 0.2)
    assert set(held) == {0.0, 1.0}
    assert 0.17 < held.mean() < 0.23
    assert held[10] == held[20]
    order = np.random.default_rng(1).permutation(len(X))
    assert_array_equal(held_shares_of_part(X[order], y[order], None, 0.2), held[order])
    some = np.arange(0, len(X), 7)
    assert_array_equal(held_shares_of_part(X[some], y[some], None, 0.2), held[some])


def test_copies_in_tables_of_few_categories_are_held_out_one_by_one():
    X, y = categories()
    held = held_shares_of_part(X, y, np.ones(len(X)), 0.2)
    for x in (0.0, 1.0):
        for k in (0, 1):
            cell = (X[:, 0] == x) & (y == k)
            assert_allclose(held[cell].sum(), 0.2 * cell.sum(), atol=1.0)
            assert np.ptp(held[cell]) == 0.0
    distinct, numbers = np.unique(np.column_stack([X, y]), axis=0, return_counts=True)
    by_weight = held_shares_of_part(distinct[:, :1], distinct[:, 1].astype(int), numbers, 0.2)
    assert_allclose(by_weight @ numbers, held.sum())


def test_small_parts_of_few_categories_hold_out_their_share_together():
    X, y = categories()
    ones = np.ones(12)
    held = np.concatenate([
        held_shares_of_part(X[i : i + 12], y[i : i + 12], ones, 0.2) for i in range(0, len(X), 12)
    ])  # fmt: skip
    for x in (0.0, 1.0):
        for k in (0, 1):
            assert 0.1 < held[(X[:, 0] == x) & (y == k)].mean() < 0.3


def test_share_keeps_the_memory_of_the_driver_bounded():
    X, y = exclusive_or(600)
    assert counted(X, y, [200, 400]).hold_out.share == 0.2
    X, y = categories(600)
    counts = counted(X, y, [600], np.full(600, 1e6))  # weights are numbers of rows
    assert counts.size == 6e8
    assert_allclose(counts.hold_out.share, MOST_HELD_OUT / 6e8)


def test_counts_of_rows():
    X, y = categories()
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    for lengths in ([6000], [100, 0, 5900]):
        counts = counted(X, y, lengths, weights)
        assert counts.n_rows == np.count_nonzero(weights)
        assert counts.size == weights.sum()
        assert counts.n_distinct == 4
        assert counts.hold_out.has_few_values
        assert counts.hold_out.are_counts
    assert counted(X, y, [3000, 3000], 0.5 * weights).size == np.count_nonzero(weights)
    X, y = exclusive_or()
    y[:4] = 2
    counts = counted(X, y, [3, 5597])
    assert counts.n_rows == counts.n_distinct == counts.size == len(X)
    assert not counts.hold_out.has_few_values
    assert_array_equal(counts.hold_out.frequent, [True, True, False])


def test_categories_are_counted_over_all_parts():
    X = np.repeat(np.arange(20_000.0), 2)[:, None]  # few values in every part, many in all
    y = np.arange(len(X)) % 2
    assert not counted(X, y, [8000] * 5).hold_out.has_few_values
    assert counted(X[:8000], y[:8000], [4000] * 2).hold_out.has_few_values


# Sums and scores of a trial


@pytest.mark.parametrize("copies", [False, True])
def test_trials_against_the_slow_truth(copies):
    rng = np.random.default_rng(4)
    X, y = rng.integers(0, 3, (40, 2)) * 1.0, rng.integers(0, 3, 40)
    weights = rng.integers(0, 4, 40).astype(float)
    shape = Shape(2, (3,), 3, True, CATEGORICAL)
    model = FastEMClassifier((3,), alpha=0.1, max_iter=1).fit(X, y)
    standardization = Standardization.of(X, y, weights, shape, features=True)
    hold_out = HoldOut(0.4, has_few_values=copies, are_counts=True, frequent=None)
    part = prepare_part(
        X, y, weights, PartPreparation(model, shape, standardization, None, hold_out)
    )
    work = Work(shape, Enumeration(), "bound", is_trial=True)
    parameters = draw_start(shape, np.ones(3), np.random.RandomState(0))

    kept = weights > 0.0
    X, y, weights = X[kept], y[kept], weights[kept]
    held = weights * held_shares_of_part(X, y, weights if copies else None, 0.4)
    assert 0.0 < held.sum() < weights.sum()
    coefs, intercepts = shape.to_lists(parameters)
    truth = reference.e_step(standardization.apply(X), y, coefs, intercepts)["log_likelihood"]
    found = part.describe(work)
    assert_allclose(found.weight, (weights - held).sum(), rtol=1e-13)
    assert_allclose(found.targets, np.bincount(y, weights - held, minlength=3), rtol=1e-13)
    assert_allclose(np.sort(found.held), np.sort(held[held > 0.0]), rtol=1e-13)
    sums = part.sums(work, Request(parameters, with_first_moments=True))
    assert_allclose(sums.log_likelihood, (weights - held) @ truth, rtol=1e-11)
    assert_allclose(sums.output.weight, (weights - held).sum(), rtol=1e-13)
    by_row = part.held_log_likelihood(work, parameters)
    assert_allclose(np.sort(by_row), np.sort(truth[held > 0.0]), rtol=1e-11)
    assert_allclose(found.held @ by_row, held @ truth, rtol=1e-11)


def test_merged_rows_keep_their_held_weights():
    X, y = categories(2000)
    shape = Shape(1, (2,), 2, True, CATEGORICAL)
    model = FastEMClassifier((2,), alpha=0.1, max_iter=1).fit(X, y)
    standardization = Standardization.of(X, y, np.ones(2000), shape, features=True)
    factors = np.array([0.3, 1.7])  # weights of classes
    hold_out = HoldOut(0.2, has_few_values=True, are_counts=True, frequent=None)
    part = prepare_part(
        X, y, None, PartPreparation(model, shape, standardization, factors, hold_out)
    )
    found = part.describe(Work(shape, Enumeration(), "bound", is_trial=True))
    assert len(found.held) == 4
    assert_allclose(found.weight + found.held.sum(), factors[y].sum(), rtol=1e-12)
    assert_allclose(found.held.sum() / factors[y].sum(), 0.2, atol=0.003)


# Choices


def same_path(first, second, rtol):
    assert first.alpha_ == pytest.approx(second.alpha_, rel=1e-12)
    for name in ("alpha", "cross_validation", "training"):
        assert_allclose(first.alpha_path_[name], second.alpha_path_[name], rtol=rtol)


@pytest.mark.parametrize("solver", ["em", "lbfgs"])
def test_choices_depend_neither_on_parts_nor_on_order(solver):
    X, y = exclusive_or()
    order = np.random.default_rng(1).permutation(len(X))
    whole = fitted(X, y, [len(X)], solver=solver)
    parts = fitted(X[order], y[order], [3000, 0, 1, 2599], solver=solver)
    same_path(parts, whole, 1e-3)
    assert whole.alpha_ in whole.alpha_path_["alpha"]
    assert -0.70 < whole.alpha_path_["cross_validation"].max() < -0.325  # entropy of the noise


def test_rows_without_weight_change_nothing():
    X, y = exclusive_or()
    more_X, more_y = exclusive_or(4000, seed=1)
    weights = np.r_[np.ones(len(X)), np.zeros(len(more_X))]
    whole = fitted(X, y, [3000, 2600])
    model = fitted(np.r_[X, more_X], np.r_[y, more_y], [3000, 2600, 4000], weights)
    same_path(model, whole, 1e-9)


def test_few_rows_with_weight_have_the_choice_of_a_local_fit():
    X, y = exclusive_or()
    weights = np.zeros(len(X))
    weights[:300] = 1.0
    local = FastEMClassifier((3,), random_state=0, max_iter=3).fit(X, y, weights)
    model = fitted(X, y, [200, 5400], weights)
    assert model.alpha_ == local.alpha_
    assert_allclose(model.alpha_path_["alpha"], local.alpha_path_["alpha"])


def test_class_weights_of_few_rows_count_as_locally():
    rng = np.random.default_rng(2)
    X = 1.0 * rng.integers(0, 3, (900, 2))
    y = 1 * (X[:, 0] + rng.standard_normal(900) > 2.0)
    settings = {"class_weight": "balanced", "random_state": 0, "max_iter": 3}
    local = FastEMClassifier((3,), **settings).fit(X, y)
    model = fitted(X, y, [400, 500], **settings)
    assert model.alpha_ == pytest.approx(local.alpha_, rel=1e-12)
    for name in ("alpha", "leave_one_out", "cross_validation"):
        assert_allclose(model.alpha_path_[name], local.alpha_path_[name], rtol=1e-6)


def test_tables_of_few_categories_have_scores_of_many_rows():
    X, y = categories()
    model = fitted(X, y, [3000, 3000], hidden_layer_sizes=(2,))
    assert_allclose(model.alpha_path_["cross_validation"].max(), -np.log(2.0), atol=0.01)
    # whole rows would be training rows or held out, and the largest penalty would win
    assert model.alpha_ < 100.0
    units = fitted(X, y, [3000, 3000], hidden_layer_sizes="auto").size_path_["n_hidden"]
    assert_array_equal(units, [10])  # four distinct rows need no more units


def test_a_rare_class_stays_in_the_training_rows():
    X, y = exclusive_or()
    for row in range(6):
        rare = y.copy()
        rare[row] = 2
        hold_out = counted(X, rare, [3000, 2600]).hold_out
        shape = Shape(3, (3,), 3, True, CATEGORICAL)
        standardization = Standardization.of(X, rare, np.ones(len(X)), shape, features=True)
        model = FastEMClassifier((3,), alpha=0.1, max_iter=1).fit(X[:100], np.arange(100) % 3)
        how = PartPreparation(model, shape, standardization, None, hold_out)
        part = prepare_part(X[:3000], rare[:3000], None, how)
        work = Work(shape, Enumeration(), "bound", is_trial=True)
        assert part.describe(work).targets[2] == 1.0


def test_too_few_distinct_rows_have_a_small_penalty():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, 20))[np.arange(6000) % 3]  # 3 ** 20 combinations of values
    y = np.arange(6000) % 3
    model = fitted(X, y, [1000, 5000])
    assert model.alpha_ == 0.01
    assert not hasattr(model, "alpha_path_")


# Number of units


def test_units_without_an_exact_e_step_are_not_chosen():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4))
    y = (np.floor(X[:, 0] * 2) + np.floor(X[:, 1] * 2)).astype(int) % 6
    model = fitted(X, y, [700, 800], hidden_layer_sizes="auto", alpha=0.1)
    assert_array_equal(model.size_path_["n_hidden"], [10])  # a local fit samples for 64 units
    assert model.e_step_.is_exact


def wave(n=5600):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    return X, np.sin(3.0 * X[:, 0]) + 0.05 * rng.standard_normal(n)


def test_units_that_do_not_fit_into_memory_are_not_tried():
    X, y = wave()
    settings = {
        "kind": FastEMRegressor, "hidden_layer_sizes": "auto", "alpha": 0.1, "variance_floor": 0.01,
    }  # fmt: skip
    lengths = [2800, 2800]
    shape = Shape(2, (10,), 1, True, Gaussian())
    memory = bytes_of_part(Work(shape, cheapest_engine(shape, 2800), "bound"), 2800)
    model = fitted(X, y, lengths, memory=memory, **settings)
    assert_array_equal(model.size_path_["n_hidden"], [10])  # without limit, 16 units are tried
    assert not hasattr(model, "alpha_path_")  # alpha is given
    assert len(model.intercepts_[0]) == 10
    with pytest.raises(ValueError, match="Partition 1 of 2 is too large"):
        fitted(X, y, lengths, memory=memory - 1, **settings)


def test_the_fit_begins_at_the_parameters_of_the_choice():
    X, y = exclusive_or()
    chosen = fitted(X, y, [3000, 2600])
    assert not hasattr(chosen, "starts_")
    scores = chosen.alpha_path_
    of_choice = -scores["training"][scores["alpha"] == chosen.alpha_][0]
    assert chosen.data_loss_curve_[0] < of_choice + 0.05
    assert hasattr(fitted(X, y, [3000, 2600], n_init=2), "starts_")


def test_a_warm_start_keeps_penalty_and_units():
    X, y = exclusive_or()
    model = FastEMClassifier((3,), random_state=0, max_iter=3, warm_start=True)
    rows = Rows(X, y, [3000, 2600])
    fit_parts(model, rows, (X, y, None))
    alpha, loss = model.alpha_, model.loss_
    fit_parts(model, rows, (X, y, None))
    assert model.alpha_ == alpha
    assert model.loss_ <= loss


def test_progress_is_printed_as_for_a_local_fit(capsys):
    X, y = exclusive_or()
    model = fitted(X, y, [3000, 2600], verbose=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "held-out loss" in line]
    assert len(lines) == len(model.alpha_path_["alpha"])
    assert lines[0].startswith("[fastem] 3 units, alpha 0.15: held-out loss 0.")
