"""Families: the functions of each one against each other, and a family of the user's own."""

import pickle

import numpy as np
import pytest
import reference
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import fastem
from fastem import Bernoulli, FastEMClassifier, FastEMRegressor, Gaussian, Poisson
from fastem.families import Mixture


class Binomial(fastem.IndependentOutputs):
    """Number of successes among known trials: a family that the package does not have."""

    name = "binomial"
    start_deviation = 2.0

    def __init__(self, n_trials=1):
        self.n_trials = n_trials

    @property
    def curvature_bound(self):
        return self.n_trials / 4.0

    def targets(self, y):
        values = np.array(y, dtype=np.float64)
        if ((values < 0.0) | (values > self.n_trials) | (values != np.floor(values))).any():
            raise ValueError(f"y must hold whole numbers from 0 to {self.n_trials}.")
        return values.reshape(len(values), -1)

    def log_partition(self, eta):
        return -self.n_trials * special.log_expit(-eta)

    def mean(self, eta):
        return self.n_trials * special.expit(eta)

    def curvature(self, eta):
        return self.n_trials * special.expit(eta) * special.expit(-eta)

    def natural_parameter(self, mean):
        return special.logit(np.clip(mean / self.n_trials, 1e-3, 1.0 - 1e-3))

    def conjugate(self, t):
        rest = self.n_trials - t
        return special.xlogy(t, t / self.n_trials) + special.xlogy(rest, rest / self.n_trials)

    def log_largest(self, y, variance):
        n = self.n_trials
        ways = special.gammaln(n + 1) - special.gammaln(y + 1) - special.gammaln(n - y + 1)
        return ways + self.conjugate(y)

    def cdf(self, y, eta, variance):
        y = np.clip(np.floor(y), -1.0, self.n_trials)
        return stats.binom.cdf(y, self.n_trials, special.expit(eta))

    def draw(self, eta, variance, random_state):
        return random_state.binomial(self.n_trials, special.expit(eta)).astype(np.float64)


# Functions of a family against each other

VARIANCE = {"gaussian": 0.7}
FAMILIES = {family.name: family for family in (Bernoulli(), Gaussian(), Poisson(), Binomial(10))}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
ETA = np.linspace(-6.0, 6.0, 25)
POSSIBLE = {
    "bernoulli": np.array([0.0, 1.0]),
    "gaussian": np.array([-1e3, -1.5, 0.0, 2.0, 40.0]),
    "poisson": np.array([0.0, 1.0, 2.0, 7.0, 100.0, 9999.0, 10000.0, 1e6]),
    "binomial": np.arange(11.0),
}
BETWEEN = {
    "bernoulli": np.linspace(0.0, 1.0, 9),
    "gaussian": np.linspace(-5.0, 5.0, 9),
    "poisson": np.array([0.0, 0.1, 0.5, 1.0, 3.3, 50.0]),
    "binomial": np.linspace(0.0, 10.0, 9),
}


def dispersion(family):
    return np.array([VARIANCE.get(family.name, 1.0)])


def log_density_of_family(family, y, eta, variance):
    """log p(y | eta) of the family itself, (n_samples, n_outputs)."""
    return family.relative_log_density(eta, y) / variance + family.log_largest(y, variance)


def log_density(family, y, eta):
    """log p(y | eta) from SciPy, elementwise."""
    if family.name == "gaussian":
        return stats.norm.logpdf(y, eta, np.sqrt(VARIANCE["gaussian"]))
    if family.name == "poisson":
        return stats.poisson.logpmf(y, np.exp(eta))
    n = getattr(family, "n_trials", 1)
    # SciPy's own binomial rounds the probability to one
    ways = special.gammaln(n + 1) - special.gammaln(y + 1) - special.gammaln(n - y + 1)
    return ways + y * reference.log_sigmoid(eta) + (n - y) * reference.log_sigmoid(-eta)


def slope(function, at, step=1e-5):
    return (function(at + step) - function(at - step)) / (2.0 * step)


@every_family
def test_mean_and_curvature_are_derivatives(family):
    scale = 1.0 + np.abs(family.mean(ETA))
    np.testing.assert_array_less(
        np.abs(family.mean(ETA) - slope(family.log_partition, ETA)) / scale, 1e-8
    )
    np.testing.assert_array_less(
        np.abs(family.curvature(ETA) - slope(family.mean, ETA)) / scale, 1e-8
    )
    if family.curvature_bound is not None:
        assert family.curvature(ETA).max() <= family.curvature_bound
        assert family.curvature(np.zeros(1)) == pytest.approx(family.curvature_bound)
    at_y = family.curvature_at(POSSIBLE[family.name])
    assert at_y.shape == POSSIBLE[family.name].shape
    assert (at_y > 0.0).all()


@every_family
def test_conjugate_is_the_maximum(family):
    t = BETWEEN[family.name]
    grid = np.linspace(-40.0, 40.0, 80_001)
    values = t[:, None] * grid - family.log_partition(grid)
    np.testing.assert_allclose(family.conjugate(t), values.max(axis=1), atol=1e-6)
    reference_t = np.roll(t, 3)
    np.testing.assert_allclose(
        family.conjugate_difference(t, reference_t),
        family.conjugate(t) - family.conjugate(reference_t),
        atol=1e-12,
    )


@every_family
def test_densities_are_those_of_scipy(family):
    y = POSSIBLE[family.name]
    eta = family.natural_parameter(y)[:, None] + np.linspace(-3.0, 3.0, 13)
    y, s = np.broadcast_to(y[:, None], eta.shape), dispersion(family)
    assert (family.relative_log_density(eta, y) <= 1e-13).all()
    found = log_density_of_family(family, y, eta, np.full(eta.shape[1], s[0]))
    np.testing.assert_allclose(found, log_density(family, y, eta), rtol=1e-9, atol=1e-9)
    by_definition = y * eta - family.log_partition(eta) - family.conjugate(y)
    np.testing.assert_allclose(
        family.relative_log_density(eta, y), by_definition, rtol=1e-9, atol=1e-7
    )


@every_family
def test_the_largest_log_density(family):
    y, s = POSSIBLE[family.name], dispersion(family)
    near = family.natural_parameter(y)[:, None] + np.linspace(-4.0, 4.0, 4001)
    found = log_density(family, y[:, None], near).max(axis=1)
    np.testing.assert_allclose(family.log_largest(y, s), found, atol=2e-2)
    assert (found <= family.log_largest(y, s) + 1e-6).all()


@every_family
def test_distribution_function(family):
    eta, s = ETA[::4], dispersion(family)
    if family.is_discrete:
        y = np.arange(0.0, 12.0)
        steps = (
            np.exp(log_density(family, y[:, None], eta))
            if family.name != "bernoulli"
            else (
                np.where(
                    y[:, None] < 2.0,
                    np.exp(log_density(family, np.minimum(y, 1.0)[:, None], eta)),
                    0.0,
                )
            )
        )
        if family.name == "binomial":
            steps[11:] = 0.0
        expected = np.cumsum(steps, axis=0)
        np.testing.assert_allclose(family.cdf(y[:, None] + 0.4, eta, s), expected, atol=1e-12)
    else:
        y = np.linspace(-9.0, 9.0, 12)
        expected = stats.norm.cdf(y[:, None], eta, np.sqrt(s))
    np.testing.assert_allclose(family.cdf(y[:, None], eta, s), expected, atol=1e-12)
    for far, limit in ((-1e300, 0.0), (-np.inf, 0.0), (1e300, 1.0), (np.inf, 1.0)):
        np.testing.assert_array_equal(family.cdf(np.full(len(eta), far), eta, s), limit)


@every_family
def test_draws(family):
    eta, s = np.repeat([[-1.0, 0.3, 2.0]], 200_000, axis=0), dispersion(family)
    y = family.draw(eta, s, np.random.RandomState(0))
    assert y.shape == eta.shape
    assert y.dtype == np.float64
    np.testing.assert_array_equal(family.targets(y), y)
    variance = s * family.curvature(eta[0])
    np.testing.assert_allclose(
        y.mean(axis=0), family.mean(eta[0]), atol=5.0 * np.sqrt(variance.max() / len(y))
    )
    np.testing.assert_allclose(y.var(axis=0), variance, rtol=0.03)
    assert abs(np.corrcoef(y.T)[0, 1]) < 0.02
    np.testing.assert_array_equal(y[:9], family.draw(eta, s, np.random.RandomState(0))[:9])


@every_family
def test_natural_parameter_inverts_the_mean(family):
    inside = np.linspace(-4.0, 4.0, 9)
    np.testing.assert_allclose(
        family.natural_parameter(family.mean(inside)), inside, rtol=1e-9, atol=1e-9
    )
    ends = {"poisson": [0.0, 1e9, 1e300], "gaussian": [-1e150, 1e150]}
    edges = np.array(ends.get(family.name, POSSIBLE[family.name][[0, -1]]))
    assert np.isfinite(family.natural_parameter(edges)).all()


@example(eta=700.0)
@example(eta=-700.0)
@example(eta=800.0)
@example(eta=-800.0)
@example(eta=1e5)
@example(eta=-1e5)
@given(eta=st.floats(-1e5, 1e5))
@every_family
def test_extreme_natural_parameters(family, eta):
    y, eta = POSSIBLE[family.name], np.array([eta])
    if family.name == "poisson":
        y = np.append(y, 1e9)
    s = dispersion(family)
    relative = family.relative_log_density(eta, y)
    for values in (
        family.log_partition(eta), family.mean(eta), family.curvature(eta), relative,
        family.log_largest(y, s), family.cdf(y, eta, s), family.conjugate(y),
    ):  # fmt: skip
        assert np.isfinite(values).all()
    assert (relative <= 1e-13 * (1.0 + np.abs(y))).all()
    assert (family.curvature(eta) >= 0.0).all()
    probability = family.cdf(y, eta, s)
    assert ((probability >= 0.0) & (probability <= 1.0)).all()
    drawn = family.draw(eta[None], s, np.random.RandomState(0))
    assert np.isfinite(drawn).all()


@given(count=st.integers(0, 10**9), relative=st.floats(-1e-3, 1e-3))
@example(count=10**9, relative=0.0)
@example(count=10**4, relative=1e-9)
def test_large_counts_keep_their_digits(count, relative):
    mpmath = pytest.importorskip("mpmath")
    family, y = Poisson(), np.array([float(count)])
    eta = np.log(np.maximum(y, 1.0)) + relative
    with mpmath.workdps(50):
        exact_eta, k = mpmath.mpf(float(eta[0])), mpmath.mpf(count)
        exact = k * exact_eta - mpmath.exp(exact_eta) - mpmath.loggamma(k + 1)
    found = log_density_of_family(family, y[None], eta[None], np.ones(1)).sum()
    # the rounding of eta alone changes the relative part by count * relative * 1e-16 * eta
    assert found == pytest.approx(float(exact), rel=1e-9, abs=1e-9 + 1e-14 * abs(count * relative))


@every_family
def test_settings(family):
    assert clone(family) == family
    assert hash(clone(family)) == hash(family)
    assert eval(repr(family)) == family  # names of the classes are in this module
    assert pickle.loads(pickle.dumps(family)) == family
    with pytest.raises(ValueError, match="has no setting 'nonsense'"):
        family.set_params(nonsense=1)


@every_family
def test_moments_are_sums_over_states(family):
    rng = np.random.default_rng(0)
    on, coefs, intercepts = rng.uniform(size=(7, 4)), rng.normal(size=(4, 2)), rng.normal(size=2)
    s = np.full(2, dispersion(family)[0])
    Z = reference.configurations(4)
    prior = np.prod(np.where(Z == 1.0, on[:, None], 1.0 - on[:, None]), axis=2)
    eta = Z @ coefs + intercepts
    mean = prior @ family.mean(eta)
    second = prior @ (family.mean(eta) ** 2 + s * family.curvature(eta))
    for moments in (family.moments, super(type(family), family).moments):
        found = moments(on, coefs, intercepts, s)
        np.testing.assert_allclose(found[0], mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[1], second - mean**2, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("log_rate", [-800.0, 690.0, 800.0])
def test_moments_of_extreme_rates_are_finite(log_rate):
    on, coefs = np.array([[0.3, 0.6], [0.0, 1.0]]), np.array([[2.0], [-1.0]])
    for moments in (Poisson().moments, super(Poisson, Poisson()).moments):
        mean, variance = moments(on, coefs, np.array([log_rate]), np.ones(1))
        assert np.isfinite(mean).all()
        assert np.isfinite(variance).all()
        assert (variance >= 0.0).all()


@pytest.mark.parametrize(
    ("on", "coefs", "log_rate"),
    [
        ([0.5], [1e-6], 25.0),  # the difference of the second moment and the squared mean cancels
        ([0.4, 0.7, 0.1], [1e-5, 2.0, -30.0], 3.0),
        ([1e-300], [800.0], -700.0),
        ([1.0, 0.5], [-800.0, 1.0], 0.0),  # a factor underflows
        ([0.0, 0.5], [800.0, 1.0], 0.0),
        ([0.3], [0.0], 1.0),
    ],
)
def test_moments_of_counts_have_all_digits(on, coefs, log_rate):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(700):
        first = mpmath.exp(mpmath.mpf(log_rate))
        second = first**2
        for u, v in zip(map(mpmath.mpf, on), map(mpmath.mpf, coefs), strict=True):
            first *= 1 - u + u * mpmath.exp(v)
            second *= 1 - u + u * mpmath.exp(2 * v)
        expected = float(first), float(first + second - first**2)
    V = np.array(coefs)[:, None]
    mean, variance = Poisson().moments(np.array([on]), V, np.array([log_rate]), np.ones(1))
    # logarithms of several hundred lose three digits
    np.testing.assert_allclose((mean[0, 0], variance[0, 0]), expected, rtol=1e-12, atol=1e-300)


# A family of the user's own


def problem(n=200, d=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    coefs, intercepts = reference.draw_network(rng, 3, 3, d)
    on = np.exp(reference.log_sigmoid(2.0 * X @ coefs[0] + intercepts[0]))
    z = (rng.uniform(size=on.shape) < on).astype(float)
    eta = z @ coefs[1] + intercepts[1]
    y = Binomial(10).draw(eta, np.ones(d), np.random.RandomState(seed))
    return X, y, [2.0 * coefs[0], coefs[1]], intercepts


def brute_force(X, y, coefs, intercepts, weights):
    """Log-likelihood, posterior and gradients by sums over all states, in NumPy."""
    (W, V), (b, c) = coefs, intercepts
    Z = reference.configurations(len(V))
    eta = Z @ V + c
    own = log_density(Binomial(10), y[:, None, :], eta[None]).sum(axis=2)
    log_joint = reference.log_first(X, Z, W, b) + own
    log_likelihood = reference.log_sum_exp(log_joint, axis=1)
    r = np.exp(log_joint - log_likelihood[:, None])
    delta = weights[:, None] * (r @ Z - np.exp(reference.log_sigmoid(X @ W + b)))
    residuals = y[:, None, :] - 10.0 * np.exp(reference.log_sigmoid(eta))[None]
    summed = np.einsum("i,is,isd->sd", weights, r, residuals)
    return log_likelihood, r @ Z, [X.T @ delta, Z.T @ summed], [delta.sum(0), summed.sum(0)]


@pytest.mark.parametrize("d", [1, 2])
def test_e_step_of_an_own_family(d):
    X, y, coefs, intercepts = problem(d=d)
    weights = np.random.default_rng(1).uniform(0.0, 2.0, len(X))
    found = fastem.e_step(
        X, y, coefs, intercepts, family=Binomial(10), sample_weight=weights, n_jobs=1
    )
    log_likelihood, posterior, on_coefs, on_intercepts = brute_force(
        X, y, coefs, intercepts, weights
    )
    np.testing.assert_allclose(found.log_likelihood, log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(found.hidden_posterior, posterior, rtol=1e-9, atol=1e-12)
    for got, wanted in zip(found.coef_gradients, on_coefs, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    for got, wanted in zip(found.intercept_gradients, on_intercepts, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    assert found.variance_gradient is None


OPTIONS = {
    "newton": {}, "bound": {"m_step": "bound"}, "lbfgs": {"solver": "lbfgs"},
    "gradient": {"m_step": "gradient", "max_iter": 20}, "adam": {"solver": "adam", "max_iter": 20},
}  # fmt: skip


def regressor(**options):
    options = {"family": Binomial(10), "random_state": 0, "n_jobs": 1, "alpha": 1.0, **options}
    return FastEMRegressor((3,), **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_fit_of_an_own_family(options):
    X, y, *_ = problem()
    model = regressor(**options).fit(X, y[:, 0])
    if "adam" not in options.values():
        assert min(-np.diff(model.loss_curve_)) >= -1e-12
    assert model.loss_ < model.loss_curve_[0]
    assert not hasattr(model, "variance_")
    log_likelihood, posterior, *_ = brute_force(
        X, y, model.coefs_, model.intercepts_, np.ones(len(X))
    )
    np.testing.assert_allclose(model.log_density(X, y[:, 0]), log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(model.posterior(X, y[:, 0]), posterior, atol=1e-9)


def test_predictions_of_an_own_family():
    X, y, *_ = problem()
    model = regressor().fit(X, y[:, 0])
    support = np.arange(11.0)
    pmf = np.exp([model.log_density(X, np.full(len(X), k)) for k in support])
    np.testing.assert_allclose(pmf.sum(axis=0), 1.0, rtol=1e-12)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, support @ pmf, rtol=1e-10)
    np.testing.assert_allclose(std**2, support**2 @ pmf - mean**2, rtol=1e-8)
    for k in support:
        np.testing.assert_allclose(
            model.predict_cdf(X, np.full(len(X), k)), pmf[: int(k) + 1].sum(axis=0), atol=1e-12
        )
    levels = [0.05, 0.5, 0.9]
    quantiles = model.predict_quantile(X, levels)
    reached = np.cumsum(pmf, axis=0) >= np.array(levels)[:, None, None] - 1e-12
    np.testing.assert_array_equal(quantiles, np.argmax(reached, axis=1).T)
    drawn, states = model.sample(np.repeat(X[:1], 20_000, axis=0), random_state=0)
    assert states.shape == (20_000, 3)
    np.testing.assert_allclose(
        np.bincount(drawn.astype(int), minlength=11) / 2e4, pmf[:, 0], atol=0.015
    )
    residuals = np.sum((y[:, 0] - mean) ** 2) / np.sum((y[:, 0] - y.mean()) ** 2)
    assert model.score(X, y[:, 0]) == pytest.approx(1.0 - residuals)


def test_an_own_family_is_cloned_pickled_and_tuned(tmp_path):
    X, y, *_ = problem(60)
    y = y[:, 0]
    model = regressor(max_iter=500).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.log_density(X, y), model.log_density(X, y))
    assert clone(model).family == Binomial(10)
    assert model.get_params()["family__n_trials"] == 10
    with pytest.raises(ValueError, match=r"cannot hold a family of class Binomial.*Use pickle"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    search = GridSearchCV(
        regressor(max_iter=500, tol=1e-4), {"family__n_trials": [10, 40]}, cv=2,
        scoring=lambda fitted, X, y: fitted.log_likelihood(X, y),
    )  # fmt: skip
    search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]
    assert search.best_estimator_.family_ == Binomial([10, 40][np.argmax(scores)])


def test_a_fitted_family_does_not_follow_the_parameter():
    X, y, *_ = problem(60)
    model = regressor().fit(X, y[:, 0])
    before = model.predict(X)
    model.set_params(family__n_trials=20)
    assert model.family == Binomial(20)
    assert model.family_ == Binomial(10)
    np.testing.assert_array_equal(model.predict(X), before)
    np.testing.assert_array_equal(
        model.set_params(family__n_trials=10).fit(X, y[:, 0]).predict(X), before
    )


class Unbounded(Binomial):
    """The same without a bound on its curvature, which `Sampling` does not need."""

    curvature_bound = None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sampling_trains_a_family_without_a_bound_on_its_curvature():
    X, y, *_ = problem(60)
    family, counts = Unbounded(10), np.arange(11.0)
    np.testing.assert_allclose(
        family.curvature_at(counts)[1:-1], (counts * (1.0 - counts / 10.0))[1:-1]
    )
    assert (family.curvature_at(counts) > 0.0).all()
    model = regressor(family=family, e_step=fastem.Sampling(200)).fit(X, y[:, 0])
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_settings_of_a_family_are_checked_by_it():
    X, y, *_ = problem(60)
    with pytest.raises(ValueError, match="whole numbers from 0 to 3"):
        regressor(family=Binomial(3)).fit(X, y[:, 0])
    with pytest.raises(ValueError, match=r"family must be one of 'categorical'.*got 'binomial'"):
        regressor(family="binomial").fit(X, y[:, 0])
    with pytest.raises(ValueError, match=r"is for classes; use FastEMClassifier"):
        regressor(family="categorical").fit(X, y[:, 0])
    with pytest.raises(ValueError, match="family must be one of"):
        regressor(family=Binomial).fit(X, y[:, 0])


def test_labels_of_an_own_regression_equal_those_of_the_classifier():
    X, y, *_ = problem(80, d=2)
    labels = (y > 5.0).astype(int)
    options = {"alpha": 1.0, "random_state": 0, "n_jobs": 1}
    several = FastEMClassifier((3,), **options).fit(X, labels)
    binomial = FastEMRegressor((3,), family=Binomial(1), **options)
    binomial.set_params(
        coefs_init=several.coefs_, intercepts_init=several.intercepts_, max_iter=50
    ).fit(X, labels)
    assert binomial.loss_ == pytest.approx(several.loss_, rel=1e-5)
    np.testing.assert_allclose(binomial.predict(X), several.predict_proba(X), atol=2e-3)


@pytest.mark.parametrize("level", [1e-300, 1e-20, 1e-9, 0.3, 1.0 - 1e-9])
@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_quantiles_of_a_mixture(level, offset):
    """Far into the tails, and with means that exceed the deviation by many orders."""
    prior, eta = np.array([[0.3, 0.7], [1.0, 0.0]]), offset + np.array([[0.0], [40.0]])
    mixture = Mixture(Gaussian(), prior, eta, np.array([4.0]))
    y = mixture.quantiles(np.array([level]))[:, 0, 0]
    slow = (prior * stats.norm.cdf(y[:, None], eta[:, 0], 2.0)).sum(axis=1)
    share = np.minimum(slow, 1.0 - slow) / min(level, 1.0 - level)
    np.testing.assert_allclose(share, 1.0, rtol=1e-6 if offset == 0.0 else 0.1)
    mean, variance = mixture.moments()
    np.testing.assert_allclose(mean[:, 0] - offset, [28.0, 0.0], atol=1e-15 * abs(offset) + 1e-12)
    np.testing.assert_allclose(variance[:, 0], [4.0 + 0.21 * 1600.0, 4.0], rtol=1e-9)
