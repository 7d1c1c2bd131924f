"""`fastem.jax` against sums over all configurations that JAX differentiates."""

import doctest
import itertools

import numpy as np
import pytest

import fastem

jax = pytest.importorskip("jax", exc_type=ImportError)
jnp = pytest.importorskip("jax.numpy")

PROBLEMS = {  # n, p, hidden layers, outputs, family
    "two classes": (30, 3, (4,), 2, "categorical"),
    "three classes": (40, 2, (5,), 3, "categorical"),
    "two layers": (25, 3, (3, 2), 3, "categorical"),
    "one number": (30, 2, (4,), 1, "gaussian"),
    "two numbers": (30, 3, (3,), 2, "gaussian"),
    "counts": (30, 2, (4,), 2, "poisson"),
    "labels": (30, 2, (4,), 3, "bernoulli"),
}
WEIGHTS = {
    "equal": lambda n, rng: np.full(n, -0.3),
    "positive": lambda n, rng: rng.uniform(0.1, 2.0, size=n),
    "both signs": lambda n, rng: rng.normal(size=n),
}


@pytest.fixture(autouse=True)
def x64():
    """Let arrays be of float64, as in no other test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def float32(x64):
    """Restore the default of JAX: arrays of float32 only."""
    jax.config.update("jax_enable_x64", False)


class Problem:
    """Arrays of JAX; ``parameters`` are X, coefs, intercepts and variance."""

    def __init__(self, kind, scale=1.0):
        n, p, sizes, d, self.family = PROBLEMS[kind]
        self.rng = rng = np.random.default_rng(0)
        layers = list(itertools.pairwise([p, *sizes, d]))
        coefs = [scale * rng.normal(size=shape) for shape in layers]
        intercepts = [scale * rng.normal(size=b) for _, b in layers]
        variance = rng.uniform(0.3, 2.0, size=d) if self.family == "gaussian" else None
        self.y = {
            "categorical": lambda: rng.integers(0, d, size=n),
            "gaussian": lambda: rng.normal(size=(n, d)),
            "poisson": lambda: rng.poisson(2.0, size=(n, d)),
            "bernoulli": lambda: rng.integers(0, 2, size=(n, d)),
        }[self.family]()
        self.y = jnp.array(self.y)
        parameters = rng.normal(size=(n, p)), coefs, intercepts, variance
        self.parameters = jax.tree.map(jnp.array, parameters)

    def fastem(self, X, coefs, intercepts, variance, **settings):
        return fastem.jax.log_likelihood(
            X, self.y, coefs, intercepts, variance, family=self.family, **settings
        )

    def plain(self, X, coefs, intercepts, variance):
        """Return the log-sum-exp over all joint configurations of the hidden layers."""
        sizes = [len(V) for V in coefs[1:]]
        Z = np.array(list(itertools.product([0.0, 1.0], repeat=sum(sizes))))
        layers = np.split(Z, np.cumsum(sizes)[:-1], axis=1)
        log_p, below = 0.0, X
        for states, W, b in zip(layers, coefs, intercepts, strict=False):
            a = below @ W + b
            on, off = jax.nn.log_sigmoid(a), jax.nn.log_sigmoid(-a)
            if below is X:
                log_p = on @ states.T + off @ (1.0 - states).T
            else:
                log_p = log_p + (on * states + off * (1.0 - states)).sum(axis=1)
            below = states
        eta = below @ coefs[-1] + intercepts[-1]
        return jax.nn.logsumexp(log_p + self._log_outputs(eta, variance), axis=1)

    def _log_outputs(self, eta, variance):
        """Return log p(y | z) of every row and configuration."""
        if self.family == "categorical":
            return jax.nn.log_softmax(eta, axis=1)[:, self.y].T
        y, eta = self.y[:, None], eta[None]
        if self.family == "gaussian":
            log_p = jax.scipy.stats.norm.logpdf(y, eta, jnp.sqrt(variance))
        elif self.family == "poisson":
            log_p = jax.scipy.stats.poisson.logpmf(y, jnp.exp(eta))
        else:
            log_p = jax.nn.log_sigmoid(jnp.where(y > 0, eta, -eta))
        return log_p.sum(axis=2)


def _assert_close(got, expected, tolerance=1e-10):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        atol = tolerance * float(jnp.abs(b).max(initial=0.0)) + 1e-20
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=atol)


def _value_and_gradient(function):
    """Return a function: a weighted sum of log-likelihoods, these, and the gradients of the sum."""

    def total(parameters, v):
        values = function(*parameters)
        return v @ values, values

    return jax.value_and_grad(total, has_aux=True)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_values_and_gradients_are_those_of_the_sum(kind):
    problem = Problem(kind)
    compiled = jax.jit(_value_and_gradient(problem.fastem))
    plain = jax.jit(_value_and_gradient(problem.plain))
    for draw in WEIGHTS.values():
        v = jnp.array(draw(len(problem.y), problem.rng))
        expected = plain(problem.parameters, v)
        _assert_close(compiled(problem.parameters, v), expected)
    _assert_close(_value_and_gradient(problem.fastem)(problem.parameters, v), expected)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("kind", ["three classes", "one number"])
def test_float32_is_computed_in_float64(kind):
    problem = Problem(kind)
    compiled = jax.jit(_value_and_gradient(problem.fastem))
    for draw in WEIGHTS.values():
        v = jnp.array(draw(len(problem.y), problem.rng))
        (_, values), gradients = compiled(problem.parameters, v)
        assert {x.dtype for x in jax.tree.leaves((values, gradients))} == {np.dtype("float32")}
        jax.config.update("jax_enable_x64", True)
        doubles = jax.tree.map(lambda x: x.astype(float), (problem.parameters, v))
        (_, exact), exact_gradients = _value_and_gradient(problem.fastem)(*doubles)
        jax.config.update("jax_enable_x64", False)
        np.testing.assert_array_equal(values, exact.astype(np.float32))
        for a, b in zip(*map(jax.tree.leaves, (gradients, exact_gradients)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(b).max())


@pytest.mark.parametrize("kind", ["three classes", "two layers", "labels"])
def test_log_odds_in_the_thousands(kind):
    problem = Problem(kind, scale=3000.0)
    v = jnp.ones(len(problem.y))
    (_, values), gradients = _value_and_gradient(problem.fastem)(problem.parameters, v)
    (_, expected), wanted = jax.jit(_value_and_gradient(problem.plain))(problem.parameters, v)
    assert float(values.min()) < -460.0  # such rows are summed in log space
    _assert_close(values, expected)
    _assert_close(gradients, wanted)


@pytest.mark.parametrize("weights", ["equal", "both signs"])
def test_vmap_over_networks_and_over_rows(weights):
    problem = Problem("three classes")
    v = jnp.array(WEIGHTS[weights](len(problem.y), problem.rng))
    X, (W, V), lists, _ = problem.parameters

    def of_network(function):
        def total(W):
            return v @ function(X, [W, V], lists, None)

        return jax.jit(jax.vmap(jax.value_and_grad(total)))(jnp.stack([W, -W, 2.0 * W]))

    _assert_close(of_network(problem.fastem), of_network(problem.plain))

    def of_row(W, x, label):
        return fastem.jax.log_likelihood(x[None], label[None], [W, V], lists)[0]

    per_row = jax.vmap(jax.grad(of_row), (None, 0, 0))(W, X, problem.y)
    expected = jax.jit(jax.jacrev(lambda W: problem.plain(X, [W, V], lists, None)))(W)
    _assert_close(per_row, expected)


def test_gradients_reach_layers_below():
    problem = Problem("three classes")
    inputs = jnp.array(problem.rng.normal(size=(40, 6)))
    below = jnp.array(problem.rng.normal(size=(6, 2)))

    def gradients(function):
        def loss(below, rest):
            return -function(jnp.tanh(inputs @ below), *rest).mean()

        return jax.jit(jax.grad(loss, (0, 1)))(below, problem.parameters[1:])

    _assert_close(gradients(problem.fastem), gradients(problem.plain))


def test_labels_may_be_traced_or_arrays():
    problem = Problem("three classes")
    X, *lists, _ = problem.parameters
    expected = fastem.jax.log_likelihood(X, problem.y, *lists)
    traced = jax.jit(lambda y: fastem.jax.log_likelihood(X, y, *lists))(problem.y)
    np.testing.assert_array_equal(traced, expected)
    arrays = [[np.asarray(x) for x in values] for values in lists]
    given = fastem.jax.log_likelihood(np.asarray(X), np.asarray(problem.y), *arrays)
    np.testing.assert_array_equal(given, expected)


def test_the_variance_of_one_output_may_be_a_number():
    problem = Problem("one number")
    *arguments, _ = problem.parameters

    def total(variance):
        return problem.fastem(*arguments, variance).sum()

    expected = jax.grad(total)(jnp.array([0.7]))
    np.testing.assert_allclose(jax.grad(total)(0.7), expected[0], rtol=1e-6)
    assert problem.fastem(*arguments, 0.7).shape == (30,)


def test_many_rows_in_a_compiled_function():
    X, y = np.tile([[0.3, -1.0]], (100_000, 1)), np.arange(100_000) % 3
    coefs, intercepts = [jnp.ones((2, 3)), jnp.eye(3)], [jnp.zeros(3), jnp.zeros(3)]

    @jax.jit
    def gradient(X, coefs):
        return jax.grad(lambda X: fastem.jax.log_likelihood(X, y, coefs, intercepts).sum())(X)

    for _ in range(2):
        result = gradient(jnp.array(X), coefs)
        assert result.shape == X.shape
        np.testing.assert_array_equal(result[:3], result[-4:-1])


def test_empty_rows():
    problem = Problem("three classes")
    X, *lists, _ = problem.parameters
    result = jax.grad(lambda W: fastem.jax.log_likelihood(X[:0], problem.y[:0], W, lists[1]).sum())
    assert not any(x.any() for x in result(lists[0]))


def test_second_and_forward_mode_derivatives_raise():
    problem = Problem("three classes")
    X, (W, V), lists, _ = problem.parameters

    def total(W):
        return problem.fastem(X, [W, V], lists, None).sum()

    with pytest.raises(ValueError, match="do not support JVP"):
        jax.grad(lambda W: jax.grad(total)(W).sum())(W)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(total, (W,), (W,))


def _good():
    problem = Problem("three classes")
    X, coefs, intercepts, _ = problem.parameters
    return {"X": X, "y": problem.y, "coefs": coefs, "intercepts": intercepts}


SHAPES = [  # found when a function is traced
    (lambda good: {"X": good["X"][:, 0]}, "X must have 2 dimension"),
    (lambda good: {"X": good["X"] + 0j}, "X must be an array of numbers: complex"),
    (lambda good: {"y": good["y"] * 1.0}, "y must hold class indices"),
    (lambda good: {"y": good["y"][1:]}, "y must have shape"),
    (lambda good: {"coefs": good["coefs"][0]}, "coefs must be a list"),
    (lambda good: {"coefs": [*good["coefs"], good["coefs"][1]]}, "same length, got 3 and 2"),
    (lambda good: {"coefs": good["coefs"][::-1]}, r"coefs\[0\] must have shape"),
    (lambda good: {"family": "normal"}, "family must be one of"),
    (lambda good: {"method": "exact"}, "method must be one of"),
    (lambda good: {"family": "gaussian", "y": jnp.ones((40, 3))}, "variance is missing"),
]
VALUES = [
    (lambda good: {"X": good["X"] * jnp.nan}, "X contains NaN"),
    (lambda good: {"y": good["y"] + 1}, "y must hold class indices from 0 to 2"),
    (
        lambda good: {"family": "gaussian", "y": jnp.ones((40, 3)), "variance": -jnp.ones(3)},
        "variance must be at least",
    ),
]


@pytest.mark.parametrize(("change", "message"), SHAPES + VALUES)
def test_a_bad_argument_is_named(change, message):
    arguments = _good()
    arguments |= change(arguments)
    with pytest.raises(ValueError, match=message):
        fastem.jax.log_likelihood(**arguments)


def _compiled(arguments):
    settings = {name: arguments.pop(name) for name in ("family", "method") if name in arguments}
    return jax.jit(lambda given: fastem.jax.log_likelihood(**given, **settings))(arguments)


@pytest.mark.parametrize(("change", "message"), SHAPES)
def test_a_wrong_shape_is_named_when_a_function_is_compiled(change, message):
    arguments = _good()
    with pytest.raises(ValueError, match=message):
        _compiled(arguments | change(arguments))


@pytest.mark.parametrize(("change", "message"), VALUES)
def test_a_bad_value_is_named_by_a_compiled_function(change, message):
    arguments = _good()
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        _compiled(arguments | change(arguments)).block_until_ready()


@pytest.mark.usefixtures("float32")
def test_the_example_in_the_docstring_holds():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(fastem.jax.log_likelihood, "log_likelihood", globs={}):
        runner.run(example)
    assert runner.failures == 0
    assert runner.tries > 0
