"""FastEMRegressor from fit to prediction: attributes, closed forms, densities, persistence."""

import functools
import inspect
import pickle
import re
import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import special, stats
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import d2_tweedie_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastem
from fastem import FastEMRegressor
from fastem.solvers import Network

FAMILIES = "gaussian", "poisson", "bernoulli"
every_family = pytest.mark.parametrize("name", FAMILIES)
outputs = pytest.mark.parametrize("d", [1, 2])
CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"
NO_EFFECT = "ignore:The fit predicts the same for every row"


@functools.cache
def data(name="gaussian", d=1, n=150, seed=0):
    """Rows drawn from a network with three units; numbers are in an odd unit."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    W, V = 2.0 * rng.normal(size=(3, 3)), rng.normal(size=(3, d))
    on = special.expit((X - X.mean(axis=0)) / X.std(axis=0) @ W)
    eta = (rng.uniform(size=on.shape) < on) @ V
    if name == "gaussian":
        y = 30.0 + 7.0 * (eta + 0.3 * rng.normal(size=eta.shape))
    elif name == "poisson":
        y = rng.poisson(np.exp(eta)).astype(float)
    else:
        y = (rng.uniform(size=eta.shape) < special.expit(2.0 * eta)).astype(float)
    y = y[:, 0] if d == 1 else y
    for values in (X, y):
        values.setflags(write=False)
    return X, y


def regressor(name="gaussian", **options):
    options = {"family": name, "random_state": 0, "n_jobs": 1, "alpha": 1.0, **options}
    options.setdefault("variance_floor", 0.01)
    return FastEMRegressor(**{"hidden_layer_sizes": (3,), **options})


def fit(model, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, sample_weight)


@functools.cache
def fitted(name="gaussian", d=1):
    return fit(regressor(name), *data(name, d))


def states(model, X):
    """P(z | x) of all states (n, K), and their natural parameters (K, d), by brute force."""
    (W, V), (b, c) = model.coefs_, model.intercepts_
    Z = reference.configurations(len(V))
    return np.exp(reference.log_first(X, Z, W, b)), Z @ V + c


def truth(model, X, y):
    variance = getattr(model, "variance_", None)
    y = np.asarray(y, dtype=float).reshape(len(X), -1)
    return reference.family_e_step(
        model.family_.name, X, y, model.coefs_, model.intercepts_, variance
    )


def loss_of(model, X, y, weights=None):
    """The loss by its definition: weights on standardised features and numbers are penalised."""
    w = np.ones(len(X)) if weights is None else weights

    def deviations(values):
        centre = np.average(values, axis=0, weights=w) if model.fit_intercept else 0.0
        return np.sqrt(np.average((values - centre) ** 2, axis=0, weights=w))

    W, V = model.coefs_
    W = W * deviations(X)[:, None] if model.standardize else W
    if model.family_.has_variance:
        V = V / deviations(np.reshape(y, (len(X), -1)))
    own = truth(model, X, y)["log_likelihood"]
    return (reference.penalty([W, V], model.alpha) - w @ own) / w.sum()


def arrays_of(model):
    return [*model.coefs_, *model.intercepts_, getattr(model, "variance_", np.empty(0))]


def assert_same_bits(a, b):
    for x, y in zip(arrays_of(a), arrays_of(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.loss_curve_ == b.loss_curve_


# Attributes


@outputs
@every_family
def test_fitted_attributes(name, d):
    X, y = data(name, d)
    model = fitted(name, d)
    assert [W.shape for W in model.coefs_] == [(3, 3), (3, d)]
    assert [b.shape for b in model.intercepts_] == [(3,), (d,)]
    assert model.family_.name == name
    assert (model.n_features_in_, model.n_layers_) == (3, 3)
    assert model.e_step_.name == "enumeration"
    assert len(model.loss_curve_) == len(model.loss_curve_seconds_) == model.n_iter_ + 1
    assert model.converged_
    assert model.loss_ == model.loss_curve_[-1]
    assert not hasattr(model, "classes_")
    assert is_regressor(model)
    if name == "gaussian":
        assert model.variance_.shape == (d,)
        assert (model.variance_ > 0.0).all()
    else:
        assert not hasattr(model, "variance_")
    np.testing.assert_allclose(model.loss_, loss_of(model, X, y), rtol=1e-9)


OPTIONS = [
    {}, {"accelerate": False}, {"m_step": "bound"}, {"m_step": "gradient"}, {"solver": "lbfgs"},
    {"solver": "adam"}, {"standardize": False, "alpha": 0.1}, {"fit_intercept": False},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@every_family
def test_loss_is_that_of_the_definition(name, options):
    X, y = data(name)
    weights = np.linspace(0.5, 1.5, len(X))
    model = fit(regressor(name, max_iter=9, **options), X, y, weights)
    np.testing.assert_allclose(model.loss_, loss_of(model, X, y, weights), rtol=1e-8)
    if options.get("solver") != "adam":
        assert max(np.diff(model.loss_curve_)) <= 1e-10
    if not model.fit_intercept:
        assert not any(b.any() for b in model.intercepts_)


def test_defaults_in_the_docstring_are_those_of_the_code():
    stated = dict(re.findall(r"^    (\w+) : .*default=(.+)$", FastEMRegressor.__doc__, re.M))
    parameters = inspect.signature(FastEMRegressor).parameters
    assert {"hidden_layer_sizes", "family", "alpha", "variance_floor"} <= set(stated)
    for name, default in stated.items():
        assert repr(parameters[name].default).replace("'", '"') == default or (
            float(default) == parameters[name].default
        )


# Moments, quantiles, densities


@outputs
@every_family
def test_mean_and_deviation_are_sums_over_states(name, d):
    X, _ = data(name, d)
    model = fitted(name, d)
    prior, eta = states(model, X)
    own = reference.mean_of(name, eta)
    spread = {"gaussian": getattr(model, "variance_", None), "poisson": own}.get(
        name, own * (1.0 - own)
    )
    mean, std = model.predict(X, return_std=True)
    expected = prior @ own
    variance = prior @ (own**2 + spread) - expected**2
    assert mean.shape == std.shape == ((len(X),) if d == 1 else (len(X), d))
    np.testing.assert_allclose(mean.reshape(expected.shape), expected, rtol=1e-10)
    np.testing.assert_allclose(std.reshape(expected.shape) ** 2, variance, rtol=1e-8)
    np.testing.assert_array_equal(model.predict(X), mean)
    if name == "gaussian":
        u = model.transform(X)
        closed = u @ model.coefs_[1] + model.intercepts_[1]
        np.testing.assert_allclose(mean.reshape(closed.shape), closed, rtol=1e-13)


@outputs
@every_family
def test_samples_have_the_predicted_distribution(name, d):
    X, _ = data(name, d)
    model = fitted(name, d)
    rows = np.repeat(X[:2], 40_000, axis=0)
    y, z = model.sample(rows, random_state=0)
    assert z.shape == (80_000, 3)
    assert set(np.unique(z)) <= {0.0, 1.0}
    mean, std = model.predict(X[:2], return_std=True)
    for row in (0, 1):
        drawn = y[row * 40_000 : (row + 1) * 40_000]
        np.testing.assert_allclose(drawn.mean(axis=0), mean[row], atol=5.0 * std[row].max() / 200.0)
        np.testing.assert_allclose(drawn.std(axis=0), std[row], rtol=0.03)
        np.testing.assert_allclose(
            z[row * 40_000 : (row + 1) * 40_000].mean(axis=0),
            model.transform(X[:2])[row],
            atol=0.02,
        )
    again = model.sample(rows, random_state=0)
    np.testing.assert_array_equal(again[0], y)
    np.testing.assert_array_equal(again[1], z)
    assert y.shape == ((80_000,) if d == 1 else (80_000, d))


LEVELS = [0.001, 0.05, 0.5, 0.9, 0.999]


@outputs
def test_quantiles_invert_the_distribution_function(d):
    X, _ = data("gaussian", d)
    model = fitted("gaussian", d)
    quantiles = model.predict_quantile(X, LEVELS)
    assert quantiles.shape == ((len(X), 5) if d == 1 else (len(X), d, 5))
    assert (np.diff(quantiles, axis=-1) > 0.0).all()
    prior, eta = states(model, X)
    for k, level in enumerate(LEVELS):
        one = model.predict_quantile(X, level)
        np.testing.assert_array_equal(one, quantiles[..., k])
        np.testing.assert_allclose(model.predict_cdf(X, one), level, rtol=0.0, atol=3e-9)
        standardised = (one.reshape(len(X), 1, -1) - eta) / np.sqrt(model.variance_)
        slow = np.einsum("ns,nsd->nd", prior, stats.norm.cdf(standardised))
        np.testing.assert_allclose(slow, level, rtol=0.0, atol=3e-9)
    interval = model.predict_interval(X, coverage=0.8)
    np.testing.assert_allclose(interval, model.predict_quantile(X, [0.1, 0.9]), rtol=1e-12)


@outputs
@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_quantiles_of_whole_numbers(name, d):
    X, _ = data(name, d)
    model = fitted(name, d)
    for level in LEVELS:
        q = model.predict_quantile(X, level)
        np.testing.assert_array_equal(q, np.floor(q))
        # a value below 0 has no probability, and y of the family is checked
        below = np.where(q >= 1.0, model.predict_cdf(X, np.maximum(q - 1.0, 0.0)), 0.0)
        assert (below < level).all()
        assert (model.predict_cdf(X, q) >= level).all()


@pytest.mark.parametrize("level", [1e-300, 1e-20, 1e-9, 1.0 - 1e-9, 1.0 - 1e-15])
@every_family
def test_quantiles_of_extreme_levels(name, level):
    X, _ = data(name)
    model = fitted(name)
    q = model.predict_quantile(X[:5], level)
    assert np.isfinite(q).all()
    reached = model.predict_cdf(X[:5], q)
    if name == "gaussian":
        np.testing.assert_allclose(
            np.minimum(reached, 1.0 - reached), min(level, 1.0 - level), rtol=0.2, atol=5e-16
        )
    else:
        assert (reached >= level).all()


@pytest.mark.parametrize("level", [1e-300, 1e-15, 1e-9, 0.2])
def test_tails_of_a_normal_mixture(level):
    """Both tails of the distribution are solved to the digits of the smaller probability."""
    X, _ = data()
    model = fitted()
    prior, eta = states(model, X[:5])
    deviation = np.sqrt(model.variance_)

    def tail(y, of_states):
        return (prior * of_states((y[:, None] - eta[:, 0]) / deviation)).sum(axis=1)

    lower = model.predict_quantile(X[:5], level)
    np.testing.assert_allclose(tail(lower, stats.norm.cdf), level, rtol=1e-9)
    if level >= 1e-15:
        upper = model.predict_quantile(X[:5], 1.0 - level)
        np.testing.assert_allclose(tail(upper, stats.norm.sf), 1.0 - (1.0 - level), rtol=1e-9)
        interval = model.predict_interval(X[:5], 1.0 - 2.0 * level)
        np.testing.assert_allclose(interval, np.c_[lower, upper], rtol=1e-2)


def slow_quantile(prior, own_cdf, level):
    """The first whole number whose distribution function reaches the level, one after another."""
    for y in range(100_000):
        below = own_cdf(y)
        if prior @ below >= level if level <= 0.5 else prior @ (1.0 - below) <= 1.0 - level:
            return y
    raise AssertionError("the level is not reached")


@pytest.mark.filterwarnings(NO_EFFECT)
@pytest.mark.parametrize("n_hidden", [1, 6])
@pytest.mark.parametrize("largest", [0.1, 3.0, 40.0, 9000.0])
def test_quantiles_of_counts_are_those_of_a_search(largest, n_hidden):
    """Small counts come from tables, large ones from bisection, also within the same rows."""
    rng = np.random.default_rng(5)
    X = np.linspace(-3.0, 3.0, 30)[:, None]
    model = fit(regressor("poisson", hidden_layer_sizes=(n_hidden,), max_iter=2),
                X, rng.poisson(3.0, size=30))  # fmt: skip
    model.coefs_ = [rng.normal(size=(1, n_hidden)) * 20.0, rng.uniform(0.0, 1.0, (n_hidden, 1))]
    model.coefs_[1] *= np.log(largest / 0.01) / model.coefs_[1].sum()
    model.intercepts_ = [rng.normal(size=n_hidden), np.array([np.log(0.01)])]
    prior, eta = states(model, X)
    levels = [1e-300, 1e-12, 0.05, 0.5, 0.95, 1.0 - 1e-15]
    found = model.predict_quantile(X, levels)
    for i in range(0, 30, 3):
        for k, level in enumerate(levels):
            expected = slow_quantile(prior[i], lambda y: special.pdtr(y, np.exp(eta[:, 0])), level)
            assert found[i, k] == expected
    one_by_one = [model.predict_quantile(x[None], levels)[0] for x in X]
    np.testing.assert_array_equal(found, one_by_one)
    y = found[:, 2]
    own = special.pdtr(y[:, None], np.exp(eta[:, 0]))
    np.testing.assert_allclose(model.predict_cdf(X, y), (prior * own).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("n_hidden", [1, 10, 13])
def test_sums_that_end_below_one_reach_the_largest_level(n_hidden):
    """By rounding, the probabilities of the states need not sum to one."""
    X, y = data("poisson")
    model = fit(regressor("poisson", hidden_layer_sizes=(n_hidden,), max_iter=2), X, y)
    upper = model.predict_quantile(X, 1.0 - 1e-15)
    assert upper.max() < 1000.0
    assert (upper >= model.predict_quantile(X, 1.0 - 1e-12)).all()
    np.testing.assert_array_equal(model.predict_quantile(X, 1e-300), 0.0)


class Shifted(fastem.Poisson):
    """Counts minus 3: whole numbers that can be negative."""

    def cdf(self, y, eta, variance):
        return fastem.Poisson().cdf(y + 3.0, eta, variance)

    def mean(self, eta):
        return fastem.Poisson().mean(eta) - 3.0

    def curvature(self, eta):
        return fastem.Poisson().mean(eta)


def test_quantiles_of_whole_numbers_below_zero():
    X, _ = data("poisson")
    model = fitted("poisson")
    levels = [1e-300, 0.05, 0.5, 0.95, 1.0 - 1e-15]
    expected = model.predict_quantile(X, levels) - 3.0
    shifted = pickle.loads(pickle.dumps(model))
    shifted.family_ = Shifted()
    np.testing.assert_array_equal(shifted.predict_quantile(X, levels), expected)


def test_quantiles_of_many_counts_take_few_evaluations(monkeypatch):
    """The distribution functions of the states serve all rows of a block."""
    X, _ = data("poisson")
    model, sizes = fitted("poisson"), []
    cdf = fastem.Poisson.cdf

    def counted(self, y, eta, variance):
        out = cdf(self, y, eta, variance)
        sizes.append(out.size)
        return out

    monkeypatch.setattr(fastem.Poisson, "cdf", counted)
    rows = np.tile(X, (100, 1))
    y = model.predict_quantile(rows, 0.9)
    assert sum(sizes) < 8 * 200
    sizes.clear()
    model.predict_cdf(rows, y)
    assert sum(sizes) == 8 * len(np.unique(y))


@pytest.mark.parametrize("offset", [1e6, -1e9, 1e12])
def test_an_offset_of_y_costs_few_digits(offset):
    X, y = data()
    near, far = fitted(), fit(regressor(), X, y + offset)
    tolerance = {"rtol": 0.0, "atol": 0.2}  # of a deviation of 9; fits end near, not at, an optimum
    q = far.predict_quantile(X, [0.05, 0.5, 0.95])
    assert np.isfinite(q).all()
    np.testing.assert_allclose(q - offset, near.predict_quantile(X, [0.05, 0.5, 0.95]), **tolerance)
    for got, expected in zip(
        far.predict(X, return_std=True), near.predict(X, return_std=True), strict=True
    ):
        shift = offset if got.mean() * np.sign(offset) > 1e5 else 0.0
        np.testing.assert_allclose(got - shift, expected, **tolerance)


def test_intervals_cover_what_the_model_draws():
    X, _ = data(n=2000)
    model = fitted()
    y, _ = model.sample(X, random_state=1)
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(X, coverage).T
        share = np.mean((low <= y) & (y <= high))
        assert abs(share - coverage) < 5.0 * np.sqrt(coverage * (1.0 - coverage) / len(X))
    uniform = model.predict_cdf(X, y)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


@outputs
@every_family
def test_densities_and_posteriors_are_those_of_brute_force(name, d):
    X, y = data(name, d)
    model = fitted(name, d)
    slow = truth(model, X, y)
    density = model.log_density(X, y)
    assert density.shape == (len(X),)
    np.testing.assert_allclose(density, slow["log_likelihood"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.posterior(X, y), slow["hidden_posterior"], atol=1e-10)
    weights = np.linspace(0.0, 2.0, len(X))
    assert model.log_likelihood(X, y) == pytest.approx(density.sum(), rel=1e-12)
    assert model.log_likelihood(X, y, weights) == pytest.approx(weights @ density, rel=1e-12)
    prior = special.expit(X @ model.coefs_[0] + model.intercepts_[0])
    np.testing.assert_allclose(model.transform(X), prior, rtol=1e-12)
    assert list(model.get_feature_names_out()) == [f"fastemregressor{i}" for i in range(3)]


def test_a_density_integrates_to_one():
    X, _ = data()
    model = fitted()
    grid = np.linspace(-60.0, 120.0, 20_001)
    for x in X[:3]:
        density = np.exp(model.log_density(np.repeat(x[None], len(grid), axis=0), grid))
        assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-9)
        cumulated = np.cumsum(density) * (grid[1] - grid[0])
        cdf = model.predict_cdf(np.repeat(x[None], len(grid), axis=0), grid)
        np.testing.assert_allclose(cumulated, cdf, atol=2e-3)


@pytest.mark.parametrize(("name", "largest"), [("poisson", 400), ("bernoulli", 1)])
def test_probabilities_sum_to_one(name, largest):
    X, _ = data(name)
    model = fitted(name)
    support = np.arange(largest + 1.0)
    for x in X[:3]:
        rows = np.repeat(x[None], len(support), axis=0)
        p = np.exp(model.log_density(rows, support))
        assert p.sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(np.cumsum(p), model.predict_cdf(rows, support), atol=1e-12)


# Criteria


def test_score_is_r2_for_numbers():
    for d in (1, 2):
        X, y = data("gaussian", d)
        weights = np.linspace(0.5, 1.5, len(X))
        model = fitted("gaussian", d)
        assert model.score(X, y) == r2_score(y, model.predict(X))
        assert model.score(X, y, weights) == r2_score(y, model.predict(X), sample_weight=weights)


def test_score_is_d2_for_counts():
    weights = np.linspace(0.5, 1.5, 150)
    X, y = data("poisson")
    model = fitted("poisson")
    for w in (None, weights):
        expected = d2_tweedie_score(y, model.predict(X), sample_weight=w, power=1)
        assert model.score(X, y, w) == pytest.approx(expected, rel=1e-12)
    X, y = data("poisson", 2)
    model = fitted("poisson", 2)
    each = [d2_tweedie_score(a, b, power=1) for a, b in zip(y.T, model.predict(X).T, strict=True)]
    assert model.score(X, y) == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.filterwarnings(NO_EFFECT)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_score_of_constant_counts(value):
    X, _ = data("poisson")
    model = fitted("poisson")
    assert model.score(X, np.full(len(X), value)) == 0.0
    exact = fit(regressor("poisson"), X, np.zeros(len(X)))
    exact.intercepts_[1][:], exact.coefs_[1][:] = 0.0, 0.0
    assert exact.score(X, np.ones(len(X))) == 1.0


@pytest.mark.parametrize("fit_intercept", [True, False])
@outputs
@every_family
def test_criteria_count_the_free_parameters(name, d, fit_intercept):
    X, y = data(name, d)
    model = fit(regressor(name, fit_intercept=fit_intercept, max_iter=5), X, y)
    k = 3 * 3 + 3 * d + (3 + d) * fit_intercept + d * (name == "gaussian")
    log_likelihood = model.log_likelihood(X, y)
    assert model.aic(X, y) == pytest.approx(2.0 * k - 2.0 * log_likelihood)
    assert model.bic(X, y) == pytest.approx(k * np.log(len(X)) - 2.0 * log_likelihood)
    weights = np.full(len(X), 2.0)
    assert model.bic(X, y, weights) == pytest.approx(
        k * np.log(2.0 * len(X)) - 4.0 * log_likelihood
    )


# Starting values, warm starts, streams


@pytest.mark.parametrize("standardize", [True, False])
@every_family
def test_given_starting_values(name, standardize):
    X, y = data(name)
    start = fitted(name)
    options = {"coefs_init": start.coefs_, "intercepts_init": start.intercepts_}
    options |= {"m_step": "gradient", "learning_rate_init": 1e-300, "max_iter": 1}
    model = fit(regressor(name, standardize=standardize, **options), X, y)
    for got, expected in zip(
        model.coefs_ + model.intercepts_, start.coefs_ + start.intercepts_, strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(options["coefs_init"][1], start.coefs_[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"m_step": "bound"},
        {"accelerate": False},
        {"solver": "adam"},
        {"variance_floor": "auto"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings(CONVERGENCE)
@every_family
def test_resuming_equals_not_stopping(name, options):
    X, y = data(name)
    whole = regressor(name, max_iter=5, tol=0.0, **options).fit(X, y)
    resumed = regressor(name, max_iter=1, tol=0.0, warm_start=True, **options)
    for _ in range(5):
        resumed.fit(X, y)
    assert_same_bits(resumed, whole)
    assert resumed.n_iter_ == 5


def test_warm_start_of_another_network():
    X, y = data("gaussian", 2)
    model = fit(regressor(warm_start=True), X, y)
    with pytest.raises(ValueError, match=r"earlier fit has 2 outputs, y has 1.*warm_start=False"):
        model.fit(X, y[:, 0])
    model.set_params(family="poisson")
    with pytest.raises(ValueError, match=r"outputs of the earlier fit, Gaussian\(\).*Poisson"):
        model.fit(X, np.round(y))
    np.testing.assert_array_equal(model.predict(X), fit(regressor(), X, y).predict(X))


def test_warm_start_on_other_numbers():
    X, y = data()
    model = fit(regressor(warm_start=True), X, y)
    again = fit(model, X, 1e3 * y - 5.0)
    np.testing.assert_allclose(again.predict(X), 1e3 * fitted().predict(X) - 5.0, rtol=0.05)


def stream(name="gaussian", **options):
    options = {"batch_size": 20, "learning_rate_init": 0.05, **options}
    return regressor(name, solver="adam", **options)


@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"batch_size": "auto"}], ids=str)
@outputs
@every_family
def test_one_call_with_all_rows_is_the_first_epoch_of_fit(name, d, options):
    X, y = data(name, d)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(X))
    model = stream(name).set_params(**options)
    one = clone(model).partial_fit(X, y, sample_weight=weights)
    if "batch_size" in options:
        model.set_params(batch_size=200)  # in `fit`, "auto" is less
    epoch = fit(model.set_params(max_iter=1), X, y, weights)
    for got, expected in zip(arrays_of(one), arrays_of(epoch), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert one.loss_ == epoch.loss_curve_[1]


@every_family
def test_a_stream_learns_and_goes_on_after_pickling(name):
    X, y = data(name)
    chunks = np.array_split(np.random.default_rng(0).permutation(len(X)), 5)
    model, pickled = stream(name), stream(name)
    for _ in range(10):
        for chunk in chunks:
            model.partial_fit(X[chunk], y[chunk])
            pickled = pickle.loads(pickle.dumps(pickled)).partial_fit(X[chunk], y[chunk])
    assert_same_bits(model, pickled)
    assert model.n_iter_ == 50
    assert model.converged_ is False
    assert np.mean(model.loss_curve_[-5:]) < np.mean(model.loss_curve_[:5])
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"earlier fit has 1 output, y has 2; use a new estimator"):
        model.partial_fit(X, np.c_[y, y])
    np.testing.assert_array_equal(model.predict(X), before)
    with pytest.raises(AttributeError, match="partial_fit"):
        regressor(name).partial_fit(X, y)


@pytest.mark.parametrize(
    ("options", "y"),
    [
        ({"hidden_layer_sizes": (4,)}, data()[1]),
        ({"fit_intercept": False}, data()[1]),
        ({"family": "poisson"}, data("poisson")[1]),
        ({}, data("gaussian", 2)[1]),
    ],
    ids=["units", "intercepts", "family", "outputs"],
)
def test_another_network_in_a_stream(options, y):
    X, first = data()
    model = stream().partial_fit(X, first).set_params(**options)
    with pytest.raises(ValueError, match="; use a new estimator") as error:
        model.partial_fit(X, y)
    assert "warm_start" not in str(error.value)


def test_constant_rows_of_a_stream():
    X, y = data()
    with pytest.warns(UserWarning, match="y is constant in column 0"):
        stream().partial_fit(X[:1], y[:1])
    model = stream().partial_fit(X[:50], y[:50])
    for row in range(50, 55):  # one row has one value of y; this is no reason for a warning
        model.partial_fit(X[row : row + 1], y[row : row + 1])
    assert np.isfinite(model.log_density(X, y)).all()


# Files, pickles, copies


@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "adam", "variance_floor": "auto"}, {"e_step": fastem.Enumeration()}],
    ids=str,
)
@outputs
@every_family
def test_save_and_load(name, d, options, tmp_path):
    X, y = data(name, d)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = fit(regressor(name, max_iter=5, **options), frame, y)
    model.save(tmp_path / "model")
    loaded = FastEMRegressor.load(tmp_path / "model")
    assert_same_bits(loaded, model)
    assert list(loaded.feature_names_in_) == ["a", "b", "c"]
    assert loaded.family_ == model.family_
    assert loaded.get_params() == model.get_params() or options.get("e_step") is not None
    assert type(loaded.e_step_) is type(model.e_step_)
    floors = [getattr(each, "variance_floor_", None) for each in (loaded, model)]
    assert floors[0] == floors[1]
    assert (floors[0] is not None) == (name == "gaussian")
    for attribute in ("loss_", "n_iter_", "converged_", "n_features_in_", "n_layers_"):
        assert getattr(loaded, attribute) == getattr(model, attribute)
    assert hasattr(loaded, "variance_") == (name == "gaussian")
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    np.testing.assert_array_equal(loaded.log_density(frame, y), model.log_density(frame, y))
    with pytest.raises(ValueError, match="holds a FastEMRegressor, not a FastEMClassifier"):
        fastem.FastEMClassifier.load(tmp_path / "model")


def test_a_family_instance_is_saved(tmp_path):
    X, y = data("poisson")
    model = fit(regressor(fastem.Poisson()), X, y)
    model.save(tmp_path / "model")
    loaded = FastEMRegressor.load(tmp_path / "model")
    assert loaded.family == fastem.Poisson()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@every_family
def test_pickles_and_clones(name):
    X, y = data(name)
    model = fitted(name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(model, protocol))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert_same_bits(fit(clone(model), X, y), model)


# Kinds of input


def test_kinds_of_input_give_the_same_fit():
    X, y = data("poisson")
    counts = y.astype(int)
    model = fit(regressor("poisson"), X, y)
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X))[::-1])
    for rows, targets in (
        (np.asfortranarray(X), y), (X, counts), (X, counts.astype(np.uint8)),
        (X.tolist(), y.tolist()), (X, y.astype(object)), (X, y.astype(np.float32)),
        (frame, pd.Series(counts, name="n", index=frame.index)), (X[::-1][::-1], y[::-1][::-1]),
    ):  # fmt: skip
        other = fit(regressor("poisson"), rows, targets)
        assert_same_bits(other, model)
        assert other.predict(rows).dtype == np.float64
        np.testing.assert_array_equal(other.log_density(rows, targets), model.log_density(X, y))
    assert list(fit(regressor("poisson"), frame, counts).feature_names_in_) == ["a", "b", "c"]


def test_single_precision():
    X, y = data()
    single = X.astype(np.float32), y.astype(np.float32)
    model = fit(regressor(), *single)
    assert_same_bits(model, fit(regressor(), *(values.astype(float) for values in single)))
    assert all(values.dtype == np.float64 for values in arrays_of(model))


def test_frames_of_several_outputs():
    X, y = data("gaussian", 2)
    model = fit(regressor(), X, pd.DataFrame(y, columns=["u", "v"]))
    assert_same_bits(model, fitted("gaussian", 2))
    np.testing.assert_array_equal(
        model.log_density(X, pd.DataFrame(y)), fitted("gaussian", 2).log_density(X, y)
    )


def test_arguments_are_left_alone():
    X, y = (values.copy() for values in data("gaussian", 2))
    before = X.copy(), y.copy()
    model = fit(regressor(), X, y)
    model.predict_interval(X)
    model.log_density(X, y)
    model.predict_cdf(X, y)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.filterwarnings(NO_EFFECT)
def test_pipelines_and_searches():
    X, y = data()
    pipeline = make_pipeline(StandardScaler(), regressor(tol=1e-4))
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2)).all()
    search = GridSearchCV(regressor(tol=1e-4), {"alpha": [1.0, 1e6]}, cv=2)
    assert search.fit(X, y).best_params_ == {"alpha": 1.0}
    transformed = TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp)
    assert transformed.fit(X, y).score(X, y) > 0.0


# Units and symmetry


@pytest.mark.parametrize("factor", [2.0**-40, 4.0, 2.0**60])
def test_a_power_of_two_changes_no_bit(factor):
    X, y = data()
    other = fit(regressor(), X, factor * y)
    np.testing.assert_array_equal(other.predict(X), factor * fitted().predict(X))
    np.testing.assert_allclose(
        other.log_density(X, factor * y), fitted().log_density(X, y) - np.log(factor), rtol=1e-9
    )


def test_outputs_are_independent_given_the_states():
    """The joint density of two outputs is not the product of their marginals."""
    X, y = data("gaussian", 2)
    model = fitted("gaussian", 2)
    marginal = 0.0
    for d in range(2):
        marginal = marginal + reference.family_e_step(
            "gaussian", X, y[:, d : d + 1], [model.coefs_[0], model.coefs_[1][:, d : d + 1]],
            [model.intercepts_[0], model.intercepts_[1][d : d + 1]], model.variance_[d : d + 1],
        )["log_likelihood"]  # fmt: skip
    assert np.abs(marginal - model.log_density(X, y)).max() > 0.1
    one = fit(regressor(), X, np.c_[y[:, 0]][:, 0])
    assert one.predict(X).shape == (len(X),)


# Deep networks


@pytest.mark.parametrize("e_step", ["enumeration", "quadrature"])
@every_family
def test_a_deep_network_is_refused_by_exact_engines(name, e_step):
    X, y = data(name)
    model = FastEMRegressor((3, 2), family=name, e_step=e_step)
    message = r"one hidden layer" if e_step == "enumeration" else "classes|one hidden layer"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")


def test_the_reason_for_refusing_a_deep_network():
    X, y = data()
    message = r"family='gaussian' needs one hidden layer, got hidden_layer_sizes=\(3, 2\).*every"
    with pytest.raises(ValueError, match=message):
        FastEMRegressor((3, 2), e_step="enumeration").fit(X, y)
    coefs = [np.ones((3, 3)), np.ones((3, 2)), np.ones((2, 1))]
    intercepts = [np.zeros(3), np.zeros(2), np.zeros(1)]
    with pytest.raises(ValueError, match=message):
        fastem.e_step(
            X, y, coefs, intercepts, family="gaussian", variance=[1.0], method="enumeration"
        )


# scikit-learn's callbacks

if find_spec("sklearn.callback"):

    class Recorder:
        """Callback that records iterations and can request to stop."""

        def __init__(self, stop_at=None):
            self.stop_at = stop_at
            self.iterations = []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
            pass

        def on_fit_task_end(
            self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
        ):
            if "iteration" not in context.task_name:
                return False
            loss = loss_of(fitted_estimator, X, y, metadata and metadata["sample_weight"])
            assert len(fitted_estimator.predict(X)) == len(X)
            self.iterations.append((fitted_estimator.loss_, loss))
            return context.task_name == f"iteration {self.stop_at}"

    @pytest.mark.filterwarnings(CONVERGENCE)
    @pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"m_step": "bound"}], ids=str)
    @every_family
    def test_callback_sees_every_iteration(name, options):
        X, y = data(name)
        weights = np.linspace(0.5, 1.5, len(X))
        callback = Recorder()
        model = regressor(name, max_iter=6, **options).set_callbacks(callback)
        model.fit(X, y, sample_weight=weights)
        told, true = zip(*callback.iterations, strict=True)
        assert list(told) == model.loss_curve_[1:]
        np.testing.assert_allclose(true, told, rtol=1e-9)
        assert_same_bits(model, regressor(name, max_iter=6, **options).fit(X, y, weights))

    @every_family
    def test_callback_stops_the_ascent(name):
        X, y = data(name)
        model = regressor(name).set_callbacks(Recorder(stop_at=3))
        with pytest.warns(ConvergenceWarning, match="interrupted after 3 iterations"):
            model.fit(X, y)
        assert model.n_iter_ == 3
        assert model.loss_curve_ == fitted(name).loss_curve_[:4]
        np.testing.assert_allclose(model.loss_, loss_of(model, X, y), rtol=1e-10)


def test_the_chosen_bound_of_the_variance_depends_on_the_values_of_rows_only():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 12))
    y = X[:, 0] + rng.normal(size=300)
    weights = np.where(np.arange(300) < 60, 2.0, 1.0)
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 1, "alpha": 0.01}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one iteration; a bound that is reached
        weighted = FastEMRegressor(**options).fit(X, y, weights)
        repeated = FastEMRegressor(**options).fit(np.vstack([X, X[:60]]), np.append(y, y[:60]))
        few = FastEMRegressor(**options).fit(X[:49], y[:49])
        few_again = FastEMRegressor(**options).fit(np.vstack([X[:49]] * 3), np.tile(y[:49], 3))
        given = FastEMRegressor(variance_floor=0.3, **options).fit(X, y)
    # more than a hundred weights fit the noise of the rows; held-out rows show it
    assert weighted.variance_floor_ == repeated.variance_floor_ >= 0.3
    assert few.variance_floor_ == few_again.variance_floor_ == 0.05
    assert given.variance_floor_ == 0.3
    for model, own in ((repeated, np.append(y, y[:60])), (few, y[:49]), (given, y)):
        assert model.variance_[0] >= model.variance_floor_ * np.var(own) * (1.0 - 1e-12)


def test_a_fit_with_another_family_leaves_no_variance(tmp_path):
    X, y = data("poisson")
    model = fit(regressor("gaussian", variance_floor="auto"), X, y)
    assert model.variance_.shape == (1,)
    fit(model.set_params(family="poisson"), X, y)
    assert not hasattr(model, "variance_")
    assert not hasattr(model, "variance_floor_")
    new = fit(regressor("gaussian", variance_floor="auto").set_params(family="poisson"), X, y)
    assert model.aic(X, y) == new.aic(X, y)
    model.save(tmp_path / "model")
    assert not hasattr(fastem.FastEMRegressor.load(tmp_path / "model"), "variance_")


@pytest.mark.parametrize("n_before", [1, 30])
@pytest.mark.parametrize("floor", ["auto", 0.01])
def test_ctrl_c_before_the_first_iteration_ends_the_fit(monkeypatch, floor, n_before):
    """In the choice of the bound, and while the starting values are improved."""
    X, y = data("gaussian")
    model, calls = regressor(variance_floor=floor, tol=0.0, max_iter=3), []
    expect = Network.expect

    def interrupted(self, theta, draw=0):
        calls.append(theta)
        if len(calls) == n_before:
            raise KeyboardInterrupt
        return expect(self, theta, draw)

    monkeypatch.setattr(Network, "expect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
    assert len(calls) <= n_before + 1
