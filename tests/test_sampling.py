"""Sampling against the slow truth: its errors, its random numbers, and fits by it."""

import pickle
import warnings

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import fastem
from fastem.engines.auto import cheapest_engine
from fastem.engines.sampling import SamplingPlan
from fastem.kernels import random, sampling
from fastem.parameters import Parameters, Shape
from fastem.profiling.scaling import engine_names, profile_scaling
from fastem.rows import add_ones, sort_rows
from fastem.runtime.memory import available_bytes
from fastem.solvers.stochastic import SmoothedMonitor, StochasticStep, plateaus

Sampling = fastem.Sampling


def draw(sizes, n_classes, n=30, seed=0, scale=0.7):
    rng = np.random.default_rng([seed, n, n_classes, *np.atleast_1d(sizes)])
    coefs, intercepts = reference.draw_network(rng, 3, sizes, n_classes, scale=scale)
    X, y = rng.normal(size=(n, 3)), rng.integers(0, n_classes, n)
    return X, y, coefs, intercepts, rng.random(n)


def gradients(result):
    found = [*result.coef_gradients, *result.intercept_gradients]
    return np.concatenate([array.ravel() for array in found])


def estimates(problem, n_samples, seed=0, **settings):
    X, y, coefs, intercepts, weights = problem
    return fastem.e_step(
        X, y, coefs, intercepts, sample_weight=weights, method=Sampling(n_samples, seed), **settings
    )


def exact(problem):
    truth = reference.e_step(*problem)
    return fastem.Expectations(*(truth[name] for name in fastem.Expectations._fields[:4]))


# What is estimated


@pytest.mark.parametrize(
    ("sizes", "n_classes"), [(1, 2), (3, 2), (4, 3), (5, 7), (9, 4), ((3, 4), 3), ((2, 5, 3), 2)]
)
def test_estimates_lie_around_the_truth(sizes, n_classes):
    problem = draw(sizes, n_classes)
    truth = exact(problem)
    runs = [estimates(problem, 2000, seed) for seed in range(40)]
    for part in (lambda r: r.log_likelihood, lambda r: r.hidden_posterior.ravel(), gradients):
        values = np.array([part(run) for run in runs])
        errors = values.std(axis=0, ddof=1) / np.sqrt(len(runs))
        off = (values.mean(axis=0) - part(truth)) / np.maximum(errors, 1e-4)
        # a few hundred standard errors: the largest is below five, and their mean square near one
        assert np.abs(off).max() < 5.0
        assert np.mean(off**2) < 2.0


@pytest.mark.parametrize("sizes", [4, (3, 3)])
def test_a_planted_bias_would_be_seen(sizes):
    problem = draw(sizes, 3)
    moved = problem[0], problem[1], [*problem[2][:-1], problem[2][-1] * 1.1], *problem[3:]
    truth = exact(moved)
    values = np.array([estimates(problem, 2000, seed).log_likelihood for seed in range(40)])
    off = (values.mean(axis=0) - truth.log_likelihood) / (values.std(axis=0) / np.sqrt(40))
    assert np.mean(off**2) > 20.0


@pytest.mark.parametrize("sizes", [6, (4, 5)])
def test_error_falls_as_the_root_of_the_samples(sizes):
    problem = draw(sizes, 3, n=60)
    truth = exact(problem)
    ladder = [100, 300, 1000, 3000, 10_000]
    runs = [[estimates(problem, S, seed) for seed in range(8)] for S in ladder]
    for part in (lambda r: r.log_likelihood, lambda r: r.hidden_posterior.ravel(), gradients):
        errors = [
            np.sqrt(np.mean([np.mean((part(run) - part(truth)) ** 2) for run in of_size]))
            for of_size in runs
        ]
        slope = np.polyfit(np.log(ladder), np.log(errors), 1)[0]
        assert -0.6 < slope < -0.4


def test_probabilities_of_all_classes():
    X, _, coefs, intercepts, _ = draw((4, 3), 5)
    shape = Shape(3, (4, 3), 5)
    arguments = add_ones(X, True), shape.from_lists(coefs, intercepts), shape, 1
    found = Sampling(100_000, 1).log_marginal(*arguments)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-12)
    truth = reference.log_marginal(X, coefs, intercepts)
    np.testing.assert_allclose(np.exp(found), np.exp(truth), rtol=0.0, atol=0.01)
    again = Sampling(100_000, 1).log_marginal(*arguments)
    np.testing.assert_array_equal(found, again)
    alone = Sampling(100_000, 1).log_marginal(arguments[0][7:9], *arguments[1:])
    np.testing.assert_allclose(alone, found[7:9], rtol=1e-13)
    assert np.abs(Sampling(100_000, 2).log_marginal(*arguments) - found).max() > 1e-6


def test_effective_sample_size_is_that_of_the_weights():
    # one unit: the weight of a sample is one of two numbers
    n, S, u = 5, 4000, 0.3
    a, V = np.log(u / (1 - u)), np.array([[2.0, 0.0]])
    result = fastem.e_step(
        np.zeros((n, 1)), [0] * n, [np.zeros((1, 1)), V], [[a], [0.0, 0.0]], method=Sampling(S, 3)
    )
    on, off = 1.0 / (1.0 + np.exp(-2.0)), 0.5
    for posterior, effective in zip(
        result.hidden_posterior[:, 0], result.effective_sample_size, strict=True
    ):
        n_on = posterior * off * S / (on * (1.0 - posterior) + posterior * off)
        assert n_on == pytest.approx(round(n_on), abs=1e-6)
        total, squares = n_on * on + (S - n_on) * off, n_on * on**2 + (S - n_on) * off**2
        assert effective == pytest.approx(total**2 / squares, rel=1e-9)


def test_equal_weights_are_worth_all_samples():
    coefs, intercepts = [np.ones((1, 5)), np.zeros((5, 3))], [np.zeros(5), np.zeros(3)]
    result = fastem.e_step(np.ones((2, 1)), [0, 2], coefs, intercepts, method=Sampling(77, 0))
    np.testing.assert_allclose(result.effective_sample_size, 77.0, rtol=1e-12)
    np.testing.assert_allclose(result.log_likelihood, np.log(1 / 3), rtol=1e-12)


# Random numbers


def test_words_are_those_of_splitmix64():
    # the first words of the reference implementation (Vigna) from the state 1234567
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = [np.uint64((1234567 + j * int(random.GAMMA)) % 2**64) for j in range(1, 5)]
    assert [int(random.mix(state)) for state in states] == known


def codes_of(key, probability, n_samples):
    thresholds = np.zeros(-(-len(probability) // 4) * 4, dtype=np.uint64)
    thresholds[: len(probability)] = np.round(np.array(probability) * 2**32).astype(np.uint64)
    codes = np.empty((len(thresholds) // 4, n_samples), dtype=np.uint8)
    sampling._draw(np.uint64(key), thresholds, codes)
    return (codes[:, None, :] >> np.arange(4)[None, :, None] & 1).reshape(-1, n_samples)


def test_units_are_on_as_often_as_they_should_and_independently():
    probability = np.array([0.0, 1e-4, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0, 0.4, 0.6])
    n = 400_000
    bits = codes_of(17, probability, n)
    assert not bits[10:].any()  # what fills up the last code
    bits = bits[:10].astype(float)
    deviation = np.sqrt(probability * (1 - probability) / n)
    assert (np.abs(bits.mean(axis=1) - probability) <= 4.5 * deviation).all()
    inside = (bits - probability[:, None])[2:7]
    correlation = np.corrcoef(inside)[np.triu_indices(5, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)
    for lag in (1, 2, 8):  # and from sample to sample
        after = (inside[:, lag:] * inside[:, :-lag]).mean(axis=1) / inside.var(axis=1)
        assert np.abs(after).max() < 4.5 / np.sqrt(n)


def test_rows_and_e_steps_draw_independently():
    keys = np.empty(2000, dtype=np.uint64)
    numbers = np.arange(2000, dtype=np.uint64)[:, None]
    random.fill_keys_of_rows(np.uint64(5), numbers, keys)
    assert len(np.unique(keys)) == 2000
    first = np.array([codes_of(key, [0.5] * 64, 8)[:, 0] for key in keys]) - 0.5
    assert np.abs(first.mean(axis=0)).max() < 4.5 * 0.5 / np.sqrt(2000)
    neighbours = (first[1:] * first[:-1]).mean(axis=0) / 0.25
    assert np.abs(neighbours).max() < 4.5 / np.sqrt(2000)
    other = np.empty(2000, dtype=np.uint64)
    random.fill_keys_of_rows(np.uint64(6), numbers, other)
    assert len(np.intersect1d(keys, other)) == 0


def test_errors_of_equal_rows_average_out():
    # forty copies of a row: the deviation of the mean is that of one over sqrt(40)
    X, y, coefs, intercepts, _ = draw(5, 3, n=1)
    X, y = np.repeat(X, 40, axis=0), np.repeat(y, 40)
    runs = np.array([
        fastem.e_step(X, y, coefs, intercepts, method=Sampling(50, seed)).log_likelihood
        for seed in range(100)
    ])  # fmt: skip
    ratio = runs.mean(axis=1).std() / runs.std(axis=0).mean()
    assert ratio == pytest.approx(1 / np.sqrt(40), rel=0.25)


@pytest.mark.parametrize("sizes", [13, (5, 6)])
def test_threads_do_not_change_a_bit(sizes):
    problem = draw(sizes, 4, n=700)
    one, *others = (estimates(problem, 300, n_jobs=n_jobs) for n_jobs in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(one.log_likelihood, other.log_likelihood)
        np.testing.assert_array_equal(one.hidden_posterior, other.hidden_posterior)
        np.testing.assert_array_equal(one.effective_sample_size, other.effective_sample_size)
        np.testing.assert_array_equal(gradients(one), gradients(other))


def test_seeds():
    problem = draw(5, 3)
    X, y, coefs, intercepts, _ = problem

    def run(engine=None, random_state=None):
        engine = Sampling(50) if engine is None else engine
        return fastem.e_step(
            X, y, coefs, intercepts, method=engine, random_state=random_state
        ).log_likelihood

    np.testing.assert_array_equal(run(random_state=3), run(random_state=3))
    np.testing.assert_array_equal(run(Sampling(50, 3)), run(random_state=3))
    np.testing.assert_array_equal(run(Sampling(50, 3), 8), run(random_state=3))
    np.testing.assert_array_equal(
        run(random_state=np.random.RandomState(1)), run(random_state=np.random.RandomState(1))
    )
    assert (run(random_state=3) != run(random_state=4)).all()
    assert (run() != run()).any()
    with pytest.raises(ValueError, match="random_state must be None, an integer"):
        run(random_state="seed")


def plan_of(problem, sizes, n_classes, n_samples=50, seed=0):
    X, y, coefs, intercepts, weights = problem
    shape = Shape(X.shape[1], sizes, n_classes)
    rows = sort_rows(X, y, weights, shape)
    return Sampling(n_samples, seed).plan(rows, shape, 1), shape.from_lists(coefs, intercepts)


def test_the_number_of_the_draw_decides_on_the_samples():
    plan, parameters = plan_of(draw(5, 3), (5,), 3)
    first, second = (plan.expect(parameters, n).log_likelihood.copy() for n in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(plan.expect(parameters, 0).log_likelihood, first)


# Extremes


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e5])
@pytest.mark.parametrize("sizes", [8, (4, 5)])
@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_extreme_weights_stay_finite(scale, sizes):
    problem = draw(sizes, 3, scale=scale)
    result = estimates(problem, 64)
    assert np.isfinite(result.log_likelihood).all()
    assert (result.log_likelihood <= 0.0).all()
    assert np.isfinite(gradients(result)).all()
    assert ((result.hidden_posterior >= 0.0) & (result.hidden_posterior <= 1.0)).all()
    assert (result.effective_sample_size >= 1.0 - 1e-12).all()
    X, _, coefs, intercepts, _ = problem
    shape = Shape(3, tuple(np.atleast_1d(sizes).tolist()), 3)
    log_p = Sampling(64, 0).log_marginal(
        add_ones(X, True), shape.from_lists(coefs, intercepts), shape, 1
    )
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0, rtol=1e-9)


def test_improbable_classes_keep_their_logarithms():
    shape = Shape(1, (2,), 2)
    parameters = Parameters((np.zeros((2, 2)),), np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 2000.0]]))
    found = Sampling(10, 0).log_marginal(np.ones((1, 2)), parameters, shape, 1)
    np.testing.assert_allclose(found, [[-2000.0, 0.0]])


def _overflowing(on):
    """Rows of class 1, whose log-weight is -inf wherever the unit is on."""
    shape = Shape(1, (1,), 2)
    rows = sort_rows(np.zeros((3, 1)), np.ones(3, dtype=int), np.ones(3), shape)
    hidden = np.array([[0.0], [np.log(on / (1.0 - on)) if on < 1.0 else 800.0]])
    parameters = Parameters((hidden,), np.array([[1e308, -1e308], [0.0, 0.0]]))
    return rows, shape, parameters


@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_rows_without_weight_are_done_again_with_more_samples():
    rows, shape, parameters = _overflowing(on=0.98)
    found = Sampling(5, 1).plan(rows, shape, 1).expect(parameters)
    exact = np.log(0.02 * 0.5)
    assert np.isfinite(found.log_likelihood).all()
    assert np.abs(found.log_likelihood - exact).max() < 3.0
    assert found.hidden[0].posterior.max() < 1e-6
    assert np.isfinite(found.output_gradient).all()


def test_rows_without_weight_are_told():
    rows, shape, parameters = _overflowing(on=1.0)
    with pytest.raises(FloatingPointError, match=r"5000 samples.*row 0.*alpha.*Enumeration"):
        Sampling(5, 0).plan(rows, shape, 1).expect(parameters)


def test_few_effective_samples_are_told():
    V = np.column_stack([np.zeros(6), np.full(6, -12.0)])
    arguments = np.zeros((3, 1)), [1, 1, 1], [np.zeros((1, 6)), V], [np.zeros(6), np.zeros(2)]
    with pytest.warns(UserWarning, match=r"median effective.*n_samples=400.*Increase n_samples"):
        result = fastem.e_step(*arguments, method=Sampling(400, 0))
    assert np.median(result.effective_sample_size) < 40


def test_a_fit_that_ends_with_few_effective_samples_says_so_once():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.arange(60) % 30  # nothing to learn: p(y|x) is small
    V = np.random.default_rng(2).normal(size=(12, 30)) * 8.0
    model = fastem.FastEMClassifier(
        (12,), e_step=Sampling(200), max_iter=1, random_state=0, alpha=0.0, m_step="gradient",
        learning_rate_init=1e-9, coefs_init=[np.zeros((2, 12)), V],
        intercepts_init=[np.zeros(12), np.zeros(30)],
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    told = [
        str(warning.message)
        for warning in caught
        if "effective sample size" in str(warning.message)
    ]
    assert len(told) == 1
    assert "n_samples=200" in told[0]


def test_log_odds_that_overflow_are_told():
    coefs = [np.array([[1e200], [-1e200]]), np.array([[1.0, -1.0]])]
    for method in (Sampling(10, 0),):
        with pytest.raises(FloatingPointError, match="overflow"):
            fastem.e_step(
                np.full((1, 2), 1e200), [0], coefs, [np.zeros(1), np.zeros(2)], method=method
            )


def test_no_rows():
    _, _, coefs, intercepts, _ = draw(5, 3)
    result = fastem.e_step(
        np.zeros((0, 3)), np.zeros(0, dtype=int), coefs, intercepts, method=Sampling(5, 0)
    )
    assert result.log_likelihood.shape == (0,)
    assert not gradients(result).any()


# Settings


@pytest.mark.parametrize("n_samples", [0, -3, 1.5, True, None, "many"])
def test_samples_out_of_range(n_samples):
    with pytest.raises(ValueError, match=r"n_samples must be a positive integer, got .*hundred"):
        estimates(draw(2, 2), n_samples)


@pytest.mark.parametrize("seed", [-1, 0.5, "seed", 2**64])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match="random_state of Sampling must be None or an integer"):
        estimates(draw(2, 2), 5, seed)


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(fastem.runtime.memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(fastem.runtime.memory, "_NEGLIGIBLE_BYTES", 0)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(5,\) on 30 rows.*samples"):
        estimates(draw(5, 3), 100)


def test_memory_grows_with_rows_and_with_samples_but_not_with_both():
    shape = Shape(20, (64,), 10)
    few, many = (Sampling(100).bytes_needed(shape, n) for n in (10_000, 20_000))
    more = Sampling(1_000_000).bytes_needed(shape, 20_000) - many
    assert many < 3 * few
    assert more < 1_000_000 * 8 * 64
    assert Sampling(1_000_000).bytes_needed(shape, 40_000) - many < 2 * (more + many)


# The choice


def test_auto_samples_only_where_no_exact_engine_is_within_reach():
    assert cheapest_engine(Shape(10, (8,), 3), 1000) == fastem.Enumeration()
    assert cheapest_engine(Shape(10, (60,), 12), 1000) == Sampling()
    assert cheapest_engine(Shape(10, (500,), 12), 10) == Sampling()
    assert cheapest_engine(Shape(10, (60, 60), 2), 1000) == Sampling()
    # fits, but would take minutes: 6 * 1e5 * 2**24 flops
    assert cheapest_engine(Shape(10, (24,), 12), 100_000) == Sampling()
    fits = fastem.Enumeration().bytes_needed(Shape(10, (24,), 12), 50) < available_bytes()
    assert cheapest_engine(Shape(10, (24,), 12), 50) == (
        fastem.Enumeration() if fits else Sampling()
    )


def test_auto_says_so_once():
    coefs, intercepts = [np.zeros((1, 61)), np.zeros((61, 7))], [np.zeros(61), np.zeros(7)]
    with pytest.warns(UserWarning, match=r"\(61,\).*7 classes.*Use method='sampling'"):
        result = fastem.e_step([[0.0]], [1], coefs, intercepts, random_state=0)
    assert result.effective_sample_size is not None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # as Python has it
        for _ in range(3):
            fastem.e_step([[0.0]], [1], coefs, intercepts, random_state=0)
        assert len(caught) == 1
        fastem.e_step([[0.0]], [1], coefs, intercepts, random_state=0, method="sampling")
        assert len(caught) == 1


@pytest.mark.usefixtures("short_timings")
def test_all_engines_of_a_profile_are_exact_and_sampling_goes_by_name():
    assert "sampling" not in engine_names("all", 2)
    assert engine_names(["all", "sampling"], 3)[-1] == "sampling"
    (row,) = profile_scaling([30], [50], engines="sampling", n_jobs=1).rows
    assert row.seconds > 0.0
    assert row.share_of_dgemm is None


def test_engines_name_those_that_can():
    V = np.zeros((61, 3))
    arguments = [[0.0]], [1], [np.zeros((1, 61)), V], [np.zeros(61), np.zeros(3)]
    with pytest.raises(ValueError, match=r"fastem\.Sampling\(\)"):
        fastem.e_step(*arguments, method="enumeration")
    deep = [np.zeros((1, 2)), np.zeros((2, 2)), np.zeros((2, 2))], [np.zeros(2)] * 3
    with pytest.raises(ValueError, match=r"Enumeration\(\), or fastem\.Sampling\(\)"):
        fastem.e_step([[0.0]], [1], *deep, method="quadrature")


# Fits


def exact_objective(model, X, y):
    again = fastem.FastEMClassifier(
        model.hidden_layer_sizes, e_step="enumeration", coefs_init=model.coefs_,
        intercepts_init=model.intercepts_, max_iter=1, solver="lbfgs", alpha=model.alpha,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return -again.fit(X, y).loss_curve_[0] * len(X)


@pytest.mark.parametrize(
    ("load", "sizes", "share"),
    [(load_iris, (5,), 0.04), (load_breast_cancer, (4,), 0.06), (load_iris, (3, 3), 0.05)],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_come_near_the_exact_fit(load, sizes, share):
    X, y = load(return_X_y=True)
    settings = {"alpha": 0.15, "max_iter": 300, "random_state": 0, "accelerate": False}
    by_sum = fastem.FastEMClassifier(sizes, e_step="enumeration", **settings).fit(X, y)
    model = fastem.FastEMClassifier(sizes, e_step=Sampling(300), **settings).fit(X, y)
    best = -by_sum.loss_ * len(X)
    assert best - exact_objective(model, X, y) < share * abs(best)
    assert abs(model.score(X, y) - by_sum.score(X, y)) < 0.03
    assert model.e_step_ == Sampling(300, 0)
    assert len(model.loss_curve_) == model.n_iter_ + 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_many_units_and_classes_are_fitted(tmp_path):
    X, _ = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier((70,), max_iter=5, random_state=1, alpha=1.0)
    with pytest.warns(UserWarning, match="falls back to sampling"):
        model.fit(X, np.repeat(np.arange(10), 15))
    assert model.e_step_ == Sampling(random_state=1)
    p = model.predict_proba(X)
    np.testing.assert_array_equal(p, model.predict_proba(X))
    np.testing.assert_allclose(p[3:5], model.predict_proba(X[3:5]), rtol=1e-9)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    model.save(tmp_path / "model.npz")
    again = fastem.FastEMClassifier.load(tmp_path / "model.npz")
    assert again.e_step_ == model.e_step_
    for other in (again, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict_proba(X), p)


@pytest.mark.parametrize("random_state", [4, None])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_goes_on_to_the_bit(random_state):
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    given = reference.draw_network(rng, 4, 6, 3)
    settings = {
        "hidden_layer_sizes": (6,), "e_step": Sampling(40), "random_state": random_state,
        "coefs_init": given[0], "intercepts_init": given[1], "alpha": 0.15,
    }  # fmt: skip
    steps = fastem.FastEMClassifier(max_iter=1, warm_start=True, **settings).fit(X, y)
    seed = steps.e_step_.random_state
    for _ in range(59):
        steps.fit(X, y)
    assert steps.e_step_.random_state == seed
    settings["e_step"] = Sampling(40, seed)
    whole = fastem.FastEMClassifier(max_iter=60, tol=0.0, **settings).fit(X, y)
    np.testing.assert_array_equal(steps.loss_curve_[: whole.n_iter_ + 1], whole.loss_curve_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_repeat_whatever_the_threads():
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(
        (7,), alpha=0.15, e_step=Sampling(60), max_iter=8, n_init=2, random_state=3
    )
    one, *others = (clone(model).set_params(n_jobs=n).fit(X, y) for n in (1, 2, 3))
    for other in others:
        assert one.loss_curve_ == other.loss_curve_
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_settings_are_parameters():
    X, y = make_moons(60, noise=0.2, random_state=0)
    model = fastem.FastEMClassifier((3,), alpha=0.15, e_step=Sampling(), max_iter=3, random_state=0)
    assert model.get_params()["e_step__n_samples"] == 500
    assert model.get_params()["e_step__random_state"] is None
    search = GridSearchCV(model, {"e_step__n_samples": [20, 40]}, cv=2).fit(X, y)
    assert search.best_estimator_.e_step_.n_samples in (20, 40)
    assert model.e_step == Sampling()
    assert clone(search.best_estimator_).e_step == search.best_estimator_.e_step
    with pytest.raises(ValueError, match="n_samples must be a positive integer, got 0"):
        model.set_params(e_step__n_samples=0).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The median effective sample size")
def test_more_units_than_numbers_have_exponents():
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(
        (1100,), alpha=0.15, e_step=Sampling(20), max_iter=1, random_state=0
    )
    assert np.isfinite(model.fit(X, y).predict_proba(X)).all()


def test_lbfgs_needs_exact_e_steps():
    X, y = make_moons(20, random_state=0)
    model = fastem.FastEMClassifier((3,), alpha=0.15, e_step="sampling", solver="lbfgs")
    with pytest.raises(ValueError, match=r"solver='em' or 'adam'.*Enumeration\(\).*Quadrature\(\)"):
        model.fit(X, y)


@pytest.mark.parametrize("m_step", ["newton", "bound", "gradient"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("sizes", [(5,), (4, 3)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_m_step_leads_up(m_step, sizes, fit_intercept):
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(
        sizes, alpha=0.15, e_step=Sampling(200), m_step=m_step, max_iter=25, random_state=0,
        fit_intercept=fit_intercept,
    ).fit(X, y)  # fmt: skip
    assert np.mean(model.loss_curve_[-5:]) < 0.8 * model.loss_curve_[0]


def test_ctrl_c_keeps_what_there_is(monkeypatch):
    X, y = load_iris(return_X_y=True)
    expect, calls = SamplingPlan.expect, []

    def interrupted(plan, parameters, draw):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return expect(plan, parameters, draw)

    monkeypatch.setattr(SamplingPlan, "expect", interrupted)
    model = fastem.FastEMClassifier((3,), alpha=0.15, e_step=Sampling(50), random_state=0)
    with pytest.warns(ConvergenceWarning, match="interrupted after 5 iterations"):
        model.fit(X, y)
    assert len(model.loss_curve_) == 6
    assert not model.converged_


def test_a_class_without_weight_stays_finite():
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(
        (4,), alpha=0.15, e_step=Sampling(100), max_iter=30, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y, sample_weight=(y != 1).astype(float))
    assert np.abs(model.coefs_[1]).max() < 1e3
    assert np.abs(model.intercepts_[1]).max() < 1e3
    assert model.predict_proba(X)[:, 1].max() < 1e-3


# Steps and convergence


class Noisy:
    """A quadratic whose EM step goes half of the way, seen through noise."""

    def __init__(self, deviation):
        self.rng, self.deviation = np.random.default_rng(0), deviation

    def expect(self, theta, draw=0):
        noise = self.deviation * self.rng.normal()
        return float(-0.5 * np.sum(theta**2) - 100.0 + noise), None

    def maximize(self, theta, statistics):
        return 0.5 * theta + self.deviation * self.rng.normal(size=theta.shape)


def test_decreasing_steps_average_the_noise_away():
    from fastem.solvers.em import run_em

    ends = []
    for _ in range(2):
        monitor = SmoothedMonitor(tol=1e-6)
        theta = run_em(Noisy(0.3), np.full(50, 10.0), monitor, 1000, StochasticStep(1e-6))
        assert monitor.converged
        assert not monitor.fell
        assert min(np.diff(monitor.history)) < 0.0
        ends.append(theta)
    np.testing.assert_array_equal(*ends)
    # steps of full length would leave a deviation of 0.3 / sqrt(1 - 1 / 4)
    assert np.std(ends[0]) < 0.5 * 0.35


def test_plateaus():
    rising = list(np.linspace(-100.0, -50.0, 200))
    assert plateaus(rising, 1e-6) == []
    level = [-50.0] * 200
    found = plateaus(rising + level, 1e-6)
    assert 200 < found[0] < 270
    assert found[1] == found[0] + 60
    rng = np.random.default_rng(0)
    noisy = np.array(rising + level) + 0.3 * rng.normal(size=400)
    found = plateaus(noisy.tolist(), 1e-6)
    assert 200 < found[0] < 300
    # what is told of a record does not change as it grows
    for n in (100, 250, 300, 399):
        assert plateaus(noisy.tolist()[:n], 1e-6) == [t for t in found if t < n]


def test_a_fall_is_no_alarm_and_a_number_that_is_none_is():
    monitor = SmoothedMonitor(tol=1e-6)
    monitor.start(-10.0, np.zeros(1))
    assert not monitor.update(-20.0, np.zeros(1))
    assert not monitor.fell
    assert monitor.update(np.nan, np.zeros(1))
    assert monitor.fell


def test_a_fit_that_is_not_at_a_plateau_has_not_converged():
    X, y = load_iris(return_X_y=True)
    model = fastem.FastEMClassifier(
        (3,), alpha=0.15, e_step=Sampling(50), max_iter=20, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="did not converge in 20"):
        model.fit(X, y)
    assert not model.converged_
