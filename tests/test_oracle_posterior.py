"""Posterior quantities of the public E-step against sums over all configurations."""

import doctest

import numpy as np
import pytest
import reference

import fastem
from fastem.oracle.configurations import ConfigurationsMixin
from fastem.oracle.posterior import PosteriorMixin

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
PROBLEMS = {  # n, p, hidden layers, outputs, family, scale of the weights
    "two classes": (40, 3, (4,), 2, "categorical", 1.0),
    "three classes": (40, 2, (5,), 3, "categorical", 1.0),
    "five classes": (40, 2, (4,), 5, "categorical", 2.0),
    "one unit": (20, 2, (1,), 3, "categorical", 1.0),
    "one row": (1, 2, (3,), 2, "categorical", 1.0),
    "no rows": (0, 2, (3,), 2, "categorical", 1.0),
    "several pieces": (700, 2, (5,), 3, "categorical", 1.0),
    "classes, log-odds of 300": (30, 2, (4,), 3, "categorical", 300.0),
    "two layers": (40, 2, (3, 2), 3, "categorical", 1.0),
    "three layers": (40, 2, (2, 3, 2), 2, "categorical", 1.0),
    "two layers, log-odds of 300": (40, 2, (3, 3), 2, "categorical", 300.0),
    "three layers, log-odds of 1000": (40, 2, (3, 2, 2), 3, "categorical", 1000.0),
    "one unit a layer": (10, 2, (1, 1), 2, "categorical", 1.0),
    "one number": (40, 2, (4,), 1, "gaussian", 1.0),
    "two numbers": (300, 2, (4,), 2, "gaussian", 1.0),
    "no rows of numbers": (0, 2, (4,), 2, "gaussian", 1.0),
    "numbers, log-odds of 300": (40, 2, (4,), 2, "gaussian", 300.0),
    "one count": (40, 2, (4,), 1, "poisson", 0.7),
    "two counts": (40, 2, (3,), 2, "poisson", 0.7),
    "three labels": (40, 2, (4,), 3, "bernoulli", 1.0),
    "labels, log-odds of 300": (40, 2, (4,), 3, "bernoulli", 300.0),
}


class Problem:
    """Rows, weights of a network, an E-step and the truth."""

    def __init__(self, kind, method="enumeration", n_jobs=1, seed=0):
        n, p, sizes, d, self.family, scale = PROBLEMS[kind]
        rng = np.random.default_rng(seed)
        self.X, self.weights = rng.normal(size=(n, p)), rng.choice([0.0, 0.3, 1.0, 7.0], size=n)
        coefs, intercepts = reference.draw_network(rng, p, sizes, d, scale=scale)
        self.variance = np.array([0.7, 2.0])[:d] if self.family == "gaussian" else None
        if self.family == "categorical":
            self.y = rng.integers(0, d, size=n)
        elif self.family == "gaussian":
            self.y = 2.0 * rng.normal(size=(n, d))
        elif self.family == "poisson":
            self.y = rng.poisson(2.0, size=(n, d)).astype(float)
        else:
            self.y = rng.integers(0, 2, size=(n, d)).astype(float)
        self.parameters = coefs, intercepts
        if self.family != "categorical":
            self.parameters = coefs, intercepts, self.variance
        self.oracle = self.prepare(method, n_jobs)
        self.m, self.n = sizes[0], n
        self._network = coefs, intercepts
        self._sizes, self._n_outputs = sizes, d

    def prepare(self, method, n_jobs=1):
        coefs = self.parameters[0]
        return fastem.EStep(
            self.X, self.y, hidden_layer_sizes=tuple(len(V) for V in coefs[1:]),
            n_classes=coefs[-1].shape[1] if self.family == "categorical" else None,
            family=self.family, method=method, sample_weight=self.weights, n_jobs=n_jobs,
            random_state=0,
        )  # fmt: skip

    @property
    def truth(self):
        coefs, intercepts = self._network
        return reference.first_layer_posterior(
            self.X, self.y, coefs, intercepts, self.family, self.variance
        )


class Delegating(fastem.Engine):
    """A user's exact engine: it sums over configurations, but is not `fastem.Enumeration`."""

    name = "delegating"
    statistics = "counts"

    def plan(self, rows, shape, n_threads):
        return fastem.Enumeration().plan(rows, shape, n_threads)

    def log_marginal(self, inputs, parameters, shape, n_threads):
        return fastem.Enumeration().log_marginal(inputs, parameters, shape, n_threads)


QUADRATURE = [
    (kind, method)
    for method in (fastem.Quadrature(tol=1e-12), Delegating())
    for kind in ("two classes", "three classes", "one unit", "one row", "one number")
]


def test_log_probability_of_all_classes():
    for kind in ("two classes", "five classes", "no rows", "two layers", "one row"):
        problem = Problem(kind)
        expected = reference.log_marginal(problem.X, *problem.parameters)
        found = problem.oracle.class_log_probability(*problem.parameters)
        np.testing.assert_allclose(found, expected, **TOLERANCE)
        chosen = np.take_along_axis(found, problem.y[:, None], axis=1)[:, 0]
        result = problem.oracle(*problem.parameters)
        np.testing.assert_allclose(chosen, result.log_likelihood, **TOLERANCE)


@pytest.mark.parametrize("method", [fastem.Quadrature(), Delegating()], ids=str)
def test_log_probability_of_all_classes_by_other_engines(method):
    problem = Problem("three classes", method)
    expected = reference.log_marginal(problem.X, *problem.parameters)
    found = problem.oracle.class_log_probability(*problem.parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_log_probability_of_classes_needs_classes():
    problem = Problem("one number")
    with pytest.raises(ValueError, match=r"class_log_probability needs classes.*gaussian"):
        problem.oracle.class_log_probability(*problem.parameters[:2])


@pytest.mark.parametrize("kind", PROBLEMS)
def test_posteriors_of_all_layers(kind):
    problem = Problem(kind)
    found, truth = problem.oracle.layer_posteriors(*problem.parameters), problem.truth["layers"]
    assert len(found) == len(truth)
    for posterior, expected in zip(found, truth, strict=True):
        np.testing.assert_allclose(posterior, expected, **TOLERANCE)


@pytest.mark.parametrize("kind", ["two layers", "three layers", "three labels", "three classes"])
def test_posteriors_of_all_layers_by_sampling(kind):
    problem = Problem(kind, fastem.Sampling(20_000, random_state=0))
    found = problem.oracle.layer_posteriors(*problem.parameters)
    for posterior, expected in zip(found, problem.truth["layers"], strict=True):
        np.testing.assert_allclose(posterior, expected, atol=0.05)


def test_noisy_posteriors_of_all_layers_are_reported():
    m = 8  # only one of 2**8 configurations explains y
    coefs = [np.zeros((1, m)), np.column_stack([np.full(m, 5.0), np.zeros(m)])]
    method = fastem.Sampling(1000, random_state=0)
    oracle = fastem.EStep(np.zeros((3, 1)), [0, 0, 0], hidden_layer_sizes=m, method=method)
    with pytest.warns(UserWarning, match="effective sample size"):
        oracle.layer_posteriors(coefs, [np.zeros(m), np.array([-5.0 * m, 0.0])])


@pytest.mark.parametrize(("kind", "method"), QUADRATURE, ids=str)
def test_posteriors_of_one_layer_by_other_engines(kind, method):
    problem = Problem(kind, method)
    (found,) = problem.oracle.layer_posteriors(*problem.parameters)
    np.testing.assert_allclose(found, problem.truth["layers"][0], **TOLERANCE)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_pair_moments(kind):
    problem = Problem(kind)
    truth = reference.pair_moments(problem.truth)
    found = problem.oracle.pair_moments(*problem.parameters)
    np.testing.assert_allclose(found, truth, **TOLERANCE)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    total = problem.oracle.pair_moments(*problem.parameters, summed=True)
    np.testing.assert_allclose(total, np.einsum("n,nhk->hk", problem.weights, truth), **TOLERANCE)
    (first, *_) = problem.oracle.layer_posteriors(*problem.parameters)
    np.testing.assert_allclose(np.diagonal(found, axis1=1, axis2=2), first, **TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "method"),
    [*QUADRATURE, ("two layers", Delegating()), ("two counts", Delegating())],
    ids=str,
)
def test_pair_moments_by_conditioning_on_a_unit(kind, method):
    problem = Problem(kind, method)
    truth = reference.pair_moments(problem.truth)
    found = problem.oracle.pair_moments(*problem.parameters)
    np.testing.assert_allclose(found, truth, **TOLERANCE)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    total = problem.oracle.pair_moments(*problem.parameters, summed=True)
    np.testing.assert_allclose(total, np.einsum("n,nhk->hk", problem.weights, truth), **TOLERANCE)


def _limit_memory(monkeypatch, n_bytes):
    monkeypatch.setattr("fastem.runtime.memory.available_bytes", lambda: n_bytes)
    monkeypatch.setattr("fastem.runtime.memory._NEGLIGIBLE_BYTES", 0)


def test_pair_moments_of_many_rows_are_refused_before_they_are_allocated(monkeypatch):
    problem = Problem("several pieces", Delegating())
    _limit_memory(monkeypatch, 2**18)
    with pytest.raises(ValueError, match=r"pair_moments of 700 rows.*summed=True"):
        problem.oracle.pair_moments(*problem.parameters)


def test_work_that_exceeds_the_memory_is_refused(monkeypatch):
    problem = Problem("two classes")
    _limit_memory(monkeypatch, 1000)
    for call in (problem.oracle.most_probable, problem.oracle.sample_posterior):
        with pytest.raises(ValueError, match=r"\(4,\) .* posterior of 2\*\*4 .* 1000 bytes"):
            call(*problem.parameters)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_entropy_and_divergence(kind):
    problem = Problem(kind)
    entropy, divergence = reference.entropy_and_divergence(problem.truth)
    found = problem.oracle.posterior_entropy(*problem.parameters)
    np.testing.assert_allclose(found, entropy, **TOLERANCE)
    assert ((found >= 0.0) & (found <= problem.m * np.log(2.0))).all()
    found = problem.oracle.posterior_divergence(*problem.parameters)
    np.testing.assert_allclose(found, divergence, **TOLERANCE)
    assert (found >= 0.0).all()


def test_the_posterior_is_in_double_precision_always():
    problem = Problem("several pieces", fastem.Enumeration(precision="mixed"))
    entropy, divergence = reference.entropy_and_divergence(problem.truth)
    found = problem.oracle.posterior_entropy(*problem.parameters)
    np.testing.assert_allclose(found, entropy, **TOLERANCE)
    found = problem.oracle.posterior_divergence(*problem.parameters)
    np.testing.assert_allclose(found, divergence, **TOLERANCE)
    found = problem.oracle.pair_moments(*problem.parameters)
    np.testing.assert_allclose(found, reference.pair_moments(problem.truth), **TOLERANCE)


@pytest.mark.parametrize("method", [fastem.Quadrature(tol=1e-12), Delegating()], ids=str)
@pytest.mark.parametrize("kind", ["one number", "two numbers"])
def test_entropy_for_normal_noise_follows_from_pair_moments(kind, method):
    if kind == "two numbers" and isinstance(method, fastem.Quadrature):
        pytest.skip("Quadrature takes one Gaussian output.")
    problem = Problem(kind, method)
    entropy, divergence = reference.entropy_and_divergence(problem.truth)
    found = problem.oracle.posterior_entropy(*problem.parameters)
    np.testing.assert_allclose(found, entropy, **TOLERANCE)
    found = problem.oracle.posterior_divergence(*problem.parameters)
    np.testing.assert_allclose(found, divergence, **TOLERANCE)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_evidence_bound(kind):
    problem, rng = Problem(kind), np.random.default_rng(1)
    truth = problem.truth
    random = rng.uniform(size=(problem.n, problem.m))
    (posterior, *_) = problem.oracle.layer_posteriors(*problem.parameters)
    for q in (random, np.round(random), posterior, np.ones_like(random)):
        found = problem.oracle.evidence_bound(q, *problem.parameters)
        expected = reference.evidence_bound(truth, q)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)
        slack = 1e-12 * (1.0 + np.abs(truth["log_likelihood"]))
        assert (found <= truth["log_likelihood"] + slack).all()
    if problem.m == 1:
        found = problem.oracle.evidence_bound(posterior, *problem.parameters)
        np.testing.assert_allclose(found, truth["log_likelihood"], **TOLERANCE)


def test_evidence_bound_of_numbers_needs_no_sum_over_configurations():
    for method in (fastem.Quadrature(), fastem.Sampling(10), Delegating()):
        problem = Problem("one number", method)
        q = np.random.default_rng(0).uniform(size=(problem.n, problem.m))
        found = problem.oracle.evidence_bound(q, *problem.parameters)
        np.testing.assert_allclose(found, reference.evidence_bound(problem.truth, q), **TOLERANCE)
    m, rng = 200, np.random.default_rng(0)
    coefs = [rng.normal(size=(1, m)), rng.normal(size=(m, 1)) / m]
    oracle = fastem.EStep([[0.3]], [0.1], hidden_layer_sizes=m, family="gaussian")
    result = oracle(coefs, [np.zeros(m), np.zeros(1)], 1.0)
    bound = oracle.evidence_bound(result.hidden_posterior, coefs, [np.zeros(m), np.zeros(1)], 1.0)
    assert result.log_likelihood - 0.01 < bound <= result.log_likelihood


@pytest.mark.parametrize("kind", PROBLEMS)
def test_most_probable_configuration(kind):
    problem = Problem(kind)
    states, log_probability = problem.oracle.most_probable(*problem.parameters)
    log_posterior = problem.truth["log_posterior"]
    assert states.dtype == np.int8
    assert states.shape == (problem.n, problem.m)
    chosen = states @ (1 << np.arange(problem.m))
    at_states = log_posterior[np.arange(problem.n), chosen]
    largest = log_posterior.max(axis=1, initial=-np.inf)
    np.testing.assert_allclose(at_states, largest, **TOLERANCE)
    np.testing.assert_allclose(log_probability, largest, **TOLERANCE)
    assert (log_probability <= 0.0).all()


def test_the_smallest_of_equally_probable_configurations_is_returned():
    oracle = fastem.EStep(np.zeros((3, 1)), [0, 1, 0], hidden_layer_sizes=3, method="enumeration")
    coefs, intercepts = [np.zeros((1, 3)), np.zeros((3, 2))], [np.zeros(3), np.zeros(2)]
    states, log_probability = oracle.most_probable(coefs, intercepts)
    assert not states.any()
    np.testing.assert_allclose(log_probability, -3.0 * np.log(2.0))
    intercepts[0][1] = 1.0
    states, _ = oracle.most_probable(coefs, intercepts)
    np.testing.assert_array_equal(states, [[0, 1, 0]] * 3)


def _frequencies(states):
    """Return the share of every configuration, (n_rows, 2**m)."""
    n_draws, n_rows, m = states.shape
    index = states @ (1 << np.arange(m))
    return np.array([np.bincount(index[:, i], minlength=2**m) for i in range(n_rows)]) / n_draws


@pytest.mark.parametrize("kind", PROBLEMS)
def test_samples_have_the_frequencies_of_the_posterior(kind):
    problem, n_draws = Problem(kind), 4000
    states = problem.oracle.sample_posterior(*problem.parameters, n_samples=n_draws, random_state=3)
    assert states.dtype == np.int8
    assert states.shape == (n_draws, problem.n, problem.m)
    if problem.n == 0:
        return
    p = np.exp(problem.truth["log_posterior"])
    error, variance = _frequencies(states) - p, p * (1.0 - p)
    deviation = np.sqrt(np.maximum(variance, 1e-9) / n_draws)
    assert np.abs(error / (deviation + 1.0 / n_draws)).max() < 6.0
    if variance.sum() > 1.0:
        freedom = variance.sum() ** 2 / (variance**2).sum()
        ratio = (error**2).sum() * n_draws / variance.sum()
        assert abs(ratio - 1.0) < 6.0 * np.sqrt(2.0 / freedom)


def test_samples_of_rows_and_draws_are_independent():
    """Equal rows have different samples, and draws are not correlated."""
    X, y = np.zeros((400, 1)), np.arange(400) % 2
    oracle = fastem.EStep(X, y, hidden_layer_sizes=2, method="enumeration")
    coefs, intercepts = [np.zeros((1, 2)), np.zeros((2, 2))], [np.zeros(2), np.zeros(2)]
    states = oracle.sample_posterior(coefs, intercepts, n_samples=50, random_state=0)
    bits = states.astype(float) - 0.5
    between_draws = np.einsum("dih,eih->de", bits, bits) / 200.0  # variance 1/4, 800 bits
    between_rows = np.einsum("dih,djh->ij", bits, bits) / 25.0
    assert np.abs(between_draws - np.eye(50)).max() < 6.0 / np.sqrt(800.0)
    assert np.abs(between_rows - np.eye(400)).max() < 6.0 / np.sqrt(100.0)
    assert abs(bits[..., 0].ravel() @ bits[..., 1].ravel()) / 5000.0 < 6.0 / np.sqrt(20_000.0)


def test_samples_are_reproducible():
    problem = Problem("several pieces")
    sample, parameters = problem.oracle.sample_posterior, problem.parameters
    first = sample(*parameters, n_samples=5, random_state=1)
    np.testing.assert_array_equal(sample(*parameters, n_samples=5, random_state=1), first)
    np.testing.assert_array_equal(sample(*parameters, random_state=1), first[:1])
    many = sample(*parameters, n_samples=5000, random_state=1)  # other pieces of rows
    np.testing.assert_array_equal(many[:5], first)
    assert (sample(*parameters, n_samples=5, random_state=2) != first).any()
    of_state = [sample(*parameters, random_state=np.random.RandomState(4)) for _ in range(2)]
    np.testing.assert_array_equal(*of_state)


CERTAIN = {
    "classes": ([[1.0], [-1.0], [0.0]], [0, 1, 1], "categorical", None),
    "labels": ([[1.0], [-1.0], [0.0]], [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], "bernoulli", None),
    "counts": ([[1.0], [-1.0], [0.0]], [[0.0, 9.0], [300.0, 0.0], [1.0, 2.0]], "poisson", None),
    "numbers": ([[1.0], [-1.0], [0.0]], [[0.0, 9.0], [300.0, 0.0], [1.0, 2.0]], "gaussian", 0.5),
}


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", CERTAIN)
def test_certain_units_and_impossible_outputs(kind, sign):
    X, y, family, variance = CERTAIN[kind]
    X, y = np.array(X), np.array(y)
    size = 5.0 if family == "poisson" else 900.0
    coefs = [
        np.array([[800.0, -800.0, 300.0]]),
        sign * size * np.array([[1.0, -1.0], [-0.4, 0.7], [0.2, 0.1]]),
    ]
    intercepts = [np.array([0.0, 0.0, 1e12]), np.zeros(2)]
    variance = None if variance is None else np.full(2, variance)
    parameters = (coefs, intercepts) if family == "categorical" else (coefs, intercepts, variance)
    oracle = fastem.EStep(X, y, hidden_layer_sizes=3, family=family, method="enumeration")
    truth = reference.first_layer_posterior(X, y, coefs, intercepts, family, variance)
    loose = {"rtol": 1e-9, "atol": 1e-7}  # log-densities of a million nats have an error of 1e-10
    np.testing.assert_allclose(
        oracle.pair_moments(*parameters), reference.pair_moments(truth), **loose
    )
    entropy, divergence = reference.entropy_and_divergence(truth)
    np.testing.assert_allclose(oracle.posterior_entropy(*parameters), entropy, **loose)
    np.testing.assert_allclose(oracle.posterior_divergence(*parameters), divergence, **loose)
    states, log_probability = oracle.most_probable(*parameters)
    np.testing.assert_allclose(log_probability, truth["log_posterior"].max(axis=1), **loose)
    samples = oracle.sample_posterior(*parameters, n_samples=50, random_state=0)
    is_certain = log_probability > -1e-9
    assert (samples[:, is_certain] == states[is_certain]).all()
    for q in (np.full((3, 3), 0.5), states.astype(float)):
        found = oracle.evidence_bound(q, *parameters)
        np.testing.assert_allclose(found, reference.evidence_bound(truth, q), **loose)


def test_a_certain_unit_adds_nothing_to_entropy_and_divergence():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 2)), rng.integers(0, 3, size=200)
    coefs, intercepts = reference.draw_network(rng, 2, 5, 3)
    for value in (1e15, -1e15):
        intercepts[0][2] = value
        truth = reference.first_layer_posterior(X, y, coefs, intercepts)
        entropy, divergence = reference.entropy_and_divergence(truth)
        oracle = fastem.EStep(X, y, hidden_layer_sizes=5, method="enumeration")
        found = oracle.posterior_entropy(coefs, intercepts)
        np.testing.assert_allclose(found, entropy, **TOLERANCE)
        found = oracle.posterior_divergence(coefs, intercepts)
        np.testing.assert_allclose(found, divergence, **TOLERANCE)


@pytest.mark.parametrize("y", [0, 1])
def test_log_odds_close_to_overflow(y):
    coefs = [np.array([[1.5e308, -1.5e308, 1.5e308]]), np.tile([900.0, -900.0], (3, 1))]
    parameters, q = (coefs, [np.zeros(3), np.zeros(2)]), np.array([[1.0, 0.0, 1.0]])
    oracle = fastem.EStep([[1.0]], [y], hidden_layer_sizes=3, method="enumeration", n_classes=2)
    assert oracle.posterior_entropy(*parameters) == [0.0]
    np.testing.assert_allclose(oracle.posterior_divergence(*parameters), [0.0], atol=1e-12)
    np.testing.assert_array_equal(oracle.pair_moments(*parameters), [np.outer(q, q)])
    states, log_probability = oracle.most_probable(*parameters)
    np.testing.assert_array_equal(states, q)
    np.testing.assert_array_equal(log_probability, [0.0])
    bound = oracle.evidence_bound(q, *parameters)
    np.testing.assert_allclose(bound, oracle(*parameters).log_likelihood, atol=1e-12)
    np.testing.assert_array_equal(oracle.sample_posterior(*parameters), [q])


class Steep(fastem.Poisson):
    """Counts whose density can be zero: rates are not limited."""

    def relative_log_density(self, eta, y):
        with np.errstate(over="ignore"):
            return y * eta - np.exp(eta) - self.conjugate(y)


@pytest.mark.parametrize("offset", [0.0, -2000.0])
def test_densities_of_zero_have_no_part_in_the_posterior(offset):
    """The density of y is zero if unit 0 is on; offset -2000: the rows are in log space."""
    oracle = fastem.EStep(
        np.zeros((2, 1)), [0, 3], hidden_layer_sizes=2, family=Steep(), method="enumeration"
    )
    coefs = [np.zeros((1, 2)), np.array([[900.0 - offset], [1.0]])]
    parameters = coefs, [np.zeros(2), np.array([offset + 0.5])]
    q = np.array([[0.0, 0.5]] * 2)
    _, second = oracle.pair_moments(*parameters)[1].diagonal()
    states, _ = oracle.most_probable(*parameters)
    assert not states[:, 0].any()
    assert not oracle.sample_posterior(*parameters, n_samples=30, random_state=0)[..., 0].any()
    entropy = oracle.posterior_entropy(*parameters)
    expected = -second * np.log(second) - (1.0 - second) * np.log1p(-second)
    np.testing.assert_allclose(entropy[1], expected, rtol=1e-9)
    bound, log_likelihood = oracle.evidence_bound(q, *parameters), oracle(*parameters)[0]
    assert (bound <= log_likelihood).all()
    assert (bound > log_likelihood - 2.0).all()


def test_densities_that_overflow_give_no_nan():
    oracle = fastem.EStep(
        [[0.0], [1.0]], [0, 3], hidden_layer_sizes=2, family="poisson", method="enumeration"
    )
    parameters = [np.array([[1.0, -1.0]]), np.array([[900.0], [800.0]])], [np.zeros(2), [800.0]]
    assert not np.isnan(oracle.posterior_entropy(*parameters)).any()
    assert not np.isnan(oracle.posterior_divergence(*parameters)).any()
    assert not np.isnan(oracle.evidence_bound(np.full((2, 2), 0.5), *parameters)).any()
    assert not np.isnan(oracle.most_probable(*parameters)[1]).any()
    assert not np.isnan(oracle.pair_moments(*parameters)).any()


def _all_results(oracle, parameters, q):
    return [
        *oracle.layer_posteriors(*parameters),
        oracle.pair_moments(*parameters),
        oracle.pair_moments(*parameters, summed=True),
        oracle.posterior_entropy(*parameters),
        oracle.posterior_divergence(*parameters),
        oracle.evidence_bound(q, *parameters),
        *oracle.most_probable(*parameters),
        oracle.sample_posterior(*parameters, n_samples=3, random_state=0),
    ]


LARGE = {
    "classes": (5000, (10,), 3, "categorical", 1.0),
    "classes in log space": (5000, (10,), 3, "categorical", 100.0),
    "deep": (2500, (10, 8), 3, "categorical", 1.0),
    "deep in log space": (2500, (10, 8), 3, "categorical", 200.0),
    "numbers": (5000, (10,), 2, "gaussian", 1.0),
}


@pytest.mark.parametrize("kind", LARGE)
def test_results_do_not_depend_on_the_number_of_threads(kind):
    n, sizes, d, family, scale = LARGE[kind]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    y = rng.integers(0, d, size=n) if family == "categorical" else rng.normal(size=(n, d))
    coefs, intercepts = reference.draw_network(rng, 2, sizes, d, scale=scale)
    parameters = (coefs, intercepts) if family == "categorical" else (coefs, intercepts, [1.0, 2.0])
    q, weights = rng.uniform(size=(n, sizes[0])), rng.uniform(size=n)
    one, two = (
        _all_results(
            fastem.EStep(
                X, y, hidden_layer_sizes=sizes, family=family, method="enumeration",
                sample_weight=weights, n_jobs=n_jobs,
            ),
            parameters, q,
        )
        for n_jobs in (1, 2)
    )  # fmt: skip
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["several pieces", "two numbers", "two layers"])
def test_results_do_not_depend_on_how_rows_are_cut(kind, monkeypatch):
    problem = Problem(kind)
    q = np.random.default_rng(5).uniform(size=(problem.n, problem.m))
    before = _all_results(problem.oracle, problem.parameters, q)
    monkeypatch.setattr("fastem.engines.configuration_posterior.TILE", 16)
    monkeypatch.setattr("fastem.engines.configuration_posterior._STATES_AT_ONCE", 16)
    after = _all_results(problem.oracle, problem.parameters, q)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["three classes", "two numbers", "two layers"])
def test_results_are_in_the_order_of_the_rows(kind):
    problem, rng = Problem(kind), np.random.default_rng(5)
    order, q = rng.permutation(problem.n), rng.uniform(size=(problem.n, problem.m))
    before = _all_results(problem.oracle, problem.parameters, q)
    problem.X, problem.y = problem.X[order], problem.y[order]
    problem.weights = problem.weights[order]
    after = _all_results(problem.prepare("enumeration"), problem.parameters, q[order])
    for a, b in zip(before[:-1], after[:-1], strict=True):
        b = b if b.shape == (problem.m, problem.m) else b[np.argsort(order)]
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


def _enumeration_only(oracle):
    names = ("posterior_entropy", "posterior_divergence", "most_probable", "sample_posterior")
    return {name: getattr(oracle, name) for name in names}


@pytest.mark.parametrize(
    "method", [fastem.Quadrature(), fastem.Sampling(10), Delegating()], ids=str
)
def test_what_an_engine_cannot_give_is_refused(method):
    problem = Problem("two classes", method)
    for name, call in _enumeration_only(problem.oracle).items():
        with pytest.raises(
            ValueError, match=rf"{name} needs .*{method.name!r}.*fastem\.Enumeration\(\)"
        ):
            call(*problem.parameters)
    q = np.full((problem.n, problem.m), 0.5)
    with pytest.raises(ValueError, match=r"evidence_bound needs .*fastem\.Enumeration\(\)"):
        problem.oracle.evidence_bound(q, *problem.parameters)


def test_estimates_have_no_pair_moments():
    for kind in ("two classes", "one number"):
        problem = Problem(kind, fastem.Sampling(10))
        with pytest.raises(ValueError, match=r"pair_moments needs an exact .*'sampling'"):
            problem.oracle.pair_moments(*problem.parameters)
    with pytest.raises(ValueError, match="posterior_entropy needs an exact engine"):
        problem.oracle.posterior_entropy(*problem.parameters)


def test_a_users_engine_for_deep_networks_has_no_posteriors_of_all_layers():
    problem = Problem("two layers", Delegating())
    with pytest.raises(ValueError, match=r"layer_posteriors of several .*'delegating'"):
        problem.oracle.layer_posteriors(*problem.parameters)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.full((40, 3), 0.5), r"q must have shape \(40, 4\).*\(40, 3\)"),
        (np.full(40, 0.5), "q must have 2 dimension"),
        (np.full((40, 4), 1.5), "q must be between 0 and 1, .*1.5"),
        (np.full((40, 4), np.nan), "q contains NaN"),
    ],
)
def test_bad_q_is_named(bad, match):
    problem = Problem("two classes")
    with pytest.raises(ValueError, match=match):
        problem.oracle.evidence_bound(bad, *problem.parameters)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_samples": 0}, "n_samples must be a positive integer, got 0"),
        ({"n_samples": 2.0}, "n_samples must be a positive integer"),
        ({"n_samples": True}, "n_samples must be a positive integer"),
        ({"n_samples": 2**50}, f"n_samples={2**50} .* needs .* available"),
        ({"random_state": -1}, "random_state must be"),
        ({"random_state": "a"}, "random_state must be"),
        ({"random_state": 2**64}, "random_state must be below"),
    ],
)
def test_bad_arguments_of_samples_are_named(arguments, match):
    problem = Problem("two classes")
    with pytest.raises(ValueError, match=match):
        problem.oracle.sample_posterior(*problem.parameters, **arguments)


def test_overflow_raises():
    X, y = np.full((2, 1), 1e200), [0, 1]
    coefs, intercepts = [np.full((1, 2), 1e200), np.ones((2, 2))], [np.zeros(2), np.zeros(2)]
    oracle = fastem.EStep(X, y, hidden_layer_sizes=2, method="enumeration")
    for call in (*_enumeration_only(oracle).values(), oracle.pair_moments):
        with pytest.raises(FloatingPointError, match="overflow"):
            call(coefs, intercepts)
    oracle = fastem.EStep([[0.0]], [1e200], hidden_layer_sizes=1, family="gaussian")
    with pytest.raises(FloatingPointError, match="residuals of y overflow"):
        oracle.evidence_bound([[0.5]], [np.ones((1, 1))] * 2, [np.zeros(1)] * 2, 1.0)


@pytest.mark.parametrize("mixin", [PosteriorMixin, ConfigurationsMixin])
def test_the_examples_of_the_methods_hold(mixin):
    assert issubclass(fastem.EStep, mixin)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    methods = {name for name in vars(mixin) if not name.startswith("_")}
    found = {}
    for example in finder.find(mixin, mixin.__name__, globs={}):
        runner.run(example)
        found[example.name.split(".")[-1]] = len(example.examples)
    assert runner.failures == 0
    assert {name for name in methods if not found.get(name)} == set()
