"""`fastem.torch` against sums over all configurations that PyTorch differentiates."""

import copy
import doctest
import itertools
import pickle

import numpy as np
import pytest

import fastem

torch = pytest.importorskip("torch", exc_type=ImportError)

PROBLEMS = {  # n, p, hidden layers, outputs, family
    "two classes": (30, 3, (4,), 2, "categorical"),
    "three classes": (40, 2, (5,), 3, "categorical"),
    "two layers": (25, 3, (3, 2), 3, "categorical"),
    "three layers": (12, 2, (2, 3, 2), 2, "categorical"),
    "one number": (30, 2, (4,), 1, "gaussian"),
    "two numbers": (30, 3, (3,), 2, "gaussian"),
    "counts": (30, 2, (4,), 2, "poisson"),
    "labels": (30, 2, (4,), 3, "bernoulli"),
}
WEIGHTS = {
    "equal": lambda n, rng: np.full(n, -0.3),
    "positive": lambda n, rng: rng.uniform(0.1, 2.0, size=n),
    "negative": lambda n, rng: -rng.uniform(0.1, 2.0, size=n),
    "some zero": lambda n, rng: rng.choice([0.0, 1.5], size=n),
    "both signs": lambda n, rng: rng.normal(size=n),
    "large": lambda n, rng: 1e120 * rng.normal(size=n),
}


class Problem:
    """Tensors of float64 that require gradients, and y."""

    def __init__(self, kind, scale=1.0, seed=0):
        n, p, sizes, d, self.family = PROBLEMS[kind]
        rng = np.random.default_rng(seed)
        layers = list(itertools.pairwise([p, *sizes, d]))
        self.X = self._tensor(rng.normal(size=(n, p)))
        self.coefs = [self._tensor(scale * rng.normal(size=shape)) for shape in layers]
        self.intercepts = [self._tensor(scale * rng.normal(size=b)) for _, b in layers]
        self.variance = self._tensor(rng.uniform(0.3, 2.0, size=d))
        y = {
            "categorical": lambda: rng.integers(0, d, size=n),
            "gaussian": lambda: rng.normal(size=(n, d)),
            "poisson": lambda: rng.poisson(2.0, size=(n, d)),
            "bernoulli": lambda: rng.integers(0, 2, size=(n, d)),
        }[self.family]()
        self.y, self.rng = torch.from_numpy(y), rng

    def _tensor(self, values):
        return torch.tensor(values, dtype=torch.float64, requires_grad=True)

    @property
    def parameters(self):
        own = [self.variance] if self.family == "gaussian" else []
        return [self.X, *self.coefs, *self.intercepts, *own]

    def fastem(self, function=fastem.torch.log_likelihood, **settings):
        variance = self.variance if self.family == "gaussian" else None
        return function(
            self.X, self.y, self.coefs, self.intercepts, variance, family=self.family, **settings
        )

    def plain(self):
        """Return the log-sum-exp over all joint configurations of the hidden layers."""
        sizes = [len(V) for V in self.coefs[1:]]
        Z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=sum(sizes))))
        layers = torch.split(Z.to(torch.float64), sizes, dim=1)
        log_p, below = 0.0, self.X
        for states, W, b in zip(layers, self.coefs, self.intercepts, strict=False):
            a = below @ W + b
            on, off = (torch.nn.functional.logsigmoid(x) for x in (a, -a))
            if below is self.X:
                log_p = on @ states.T + off @ (1.0 - states).T
            else:
                log_p = log_p + (on * states + off * (1.0 - states)).sum(dim=1)
            below = states
        return torch.logsumexp(log_p + self._log_outputs(below), dim=1)

    def _log_outputs(self, states):
        """Return log p(y | z) of every row and configuration."""
        eta = (states @ self.coefs[-1] + self.intercepts[-1])[None]
        if self.family == "categorical":
            return torch.log_softmax(eta[0], dim=1)[:, self.y].T
        y = self.y.to(torch.float64)[:, None]
        if self.family == "gaussian":
            log_p = torch.distributions.Normal(eta, self.variance.sqrt()).log_prob(y)
        elif self.family == "poisson":
            log_p = y * eta - eta.exp() - torch.lgamma(y + 1.0)
        else:
            log_p = torch.nn.functional.logsigmoid(torch.where(y > 0.0, eta, -eta))
        return log_p.sum(dim=2)


def _assert_close(got, expected, tolerance=1e-10):
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert a.shape == b.shape
            atol = tolerance * float(b.detach().abs().max()) + 1e-20 * (tolerance > 0.0)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=atol)


def _gradients(problem, log_likelihood, weights):
    return torch.autograd.grad(
        (torch.tensor(weights) * log_likelihood).sum(), problem.parameters, retain_graph=True
    )


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", PROBLEMS)
def test_values_and_gradients_are_those_of_the_sum_over_configurations(kind, weights):
    problem = Problem(kind)
    got, expected = problem.fastem(), problem.plain()
    _assert_close([got], [expected])
    v = WEIGHTS[weights](len(got), problem.rng)
    _assert_close(_gradients(problem, got, v), _gradients(problem, expected, v))


@pytest.mark.parametrize("weights", ["equal", "both signs"])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "one number"])
def test_quadrature_has_the_same_gradients(kind, weights):
    problem = Problem(kind)
    got, expected = problem.fastem(method="quadrature"), problem.plain()
    v = WEIGHTS[weights](len(got), problem.rng)
    _assert_close([got], [expected], 1e-8)
    _assert_close(_gradients(problem, got, v), _gradients(problem, expected, v), 1e-7)


@pytest.mark.parametrize("weights", ["equal", "both signs"])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "two layers", "labels"])
def test_log_odds_in_the_thousands(kind, weights):
    problem = Problem(kind, scale=3000.0)
    got, expected = problem.fastem(), problem.plain()
    _assert_close([got], [expected])
    assert float(expected.detach().min()) < -460.0  # such rows are summed in log space
    v = WEIGHTS[weights](len(got), problem.rng)
    _assert_close(_gradients(problem, got, v), _gradients(problem, expected, v))


@pytest.mark.parametrize("weights", ["equal", "both signs"])
def test_only_what_requires_a_gradient_has_one(weights):
    problem = Problem("one number")
    v = WEIGHTS[weights](len(problem.X), problem.rng)
    everything = _gradients(problem, problem.fastem(), v)
    for i, (kept, expected) in enumerate(zip(problem.parameters, everything, strict=True)):
        for values in problem.parameters:
            values.requires_grad_(values is kept)
        (torch.tensor(v) * problem.fastem()).sum().backward()
        _assert_close([values.grad for values in problem.parameters if values is kept], [expected])
        others = [values for j, values in enumerate(problem.parameters) if j != i]
        assert all(values.grad is None for values in others)
        kept.grad = None
    with torch.no_grad():
        assert not problem.fastem().requires_grad
    for values in problem.parameters:
        values.requires_grad_(False)
    assert not problem.fastem().requires_grad


@pytest.mark.parametrize("weights", ["equal", "both signs"])
def test_float32_is_computed_in_float64(weights):
    problem = Problem("one number")
    doubles = [values.detach().float().double() for values in problem.parameters]
    v = WEIGHTS[weights](len(problem.X), problem.rng)
    results = []
    for dtype in (torch.float32, torch.float64):
        tensors = [values.to(dtype).requires_grad_() for values in doubles]
        X, W, V, b, c, variance = tensors
        got = fastem.torch.log_likelihood(X, problem.y, [W, V], [b, c], variance, family="gaussian")
        assert got.dtype == dtype
        (torch.tensor(v, dtype=torch.float32) * got).sum().backward()
        assert all(values.grad.dtype == dtype for values in tensors)
        results.append([got.detach(), *(values.grad for values in tensors)])
    rounded = [values.float() for values in results[1]]
    _assert_close(results[0][:1], rounded[:1], 0.0)
    _assert_close(results[0], rounded, 1e-6)


def test_the_result_has_the_widest_type_of_the_tensors():
    problem = Problem("three classes")
    X, coefs = problem.X.detach(), [values.detach().float() for values in problem.coefs]
    arrays = [values.detach().numpy() for values in problem.intercepts]

    def dtype(X, coefs):
        return fastem.torch.log_likelihood(X, problem.y, coefs, arrays).dtype

    assert dtype(X, coefs) == torch.float64
    assert dtype(X.float(), coefs) == torch.float32
    assert dtype(X.half(), [values.half() for values in coefs]) == torch.float16
    assert dtype(X.numpy(), coefs) == torch.float32
    assert dtype(X.numpy(), [values.numpy() for values in coefs]) == torch.float64
    assert dtype(X.long(), coefs) == torch.float32


def test_arrays_and_lists_may_stand_beside_tensors():
    problem = Problem("three classes")
    expected = problem.fastem()
    X = problem.X.detach().numpy().copy()
    X.setflags(write=False)
    intercepts = tuple(values.tolist() for values in problem.intercepts)
    got = fastem.torch.log_likelihood(X, problem.y.tolist(), tuple(problem.coefs), intercepts)
    assert torch.equal(got, expected)
    found, wanted = (torch.autograd.grad(x.sum(), problem.coefs) for x in (got, expected))
    _assert_close(found, wanted, 0.0)


@pytest.mark.parametrize("number", [0.7, torch.tensor(0.7, dtype=torch.float64)])
def test_the_variance_of_one_output_may_be_a_number(number):
    problem = Problem("one number")
    problem.variance = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(problem.fastem().sum(), problem.variance)[0]
    problem.variance = number
    if isinstance(number, torch.Tensor):
        number.requires_grad_()
        assert torch.autograd.grad(problem.fastem().sum(), number)[0] == expected[0]
    else:
        assert problem.fastem().shape == (30,)


def test_gradients_reach_a_layer_below():
    problem = Problem("three classes")
    below = torch.nn.Linear(6, 2).double()
    inputs = torch.randn(40, 6, dtype=torch.float64)
    found = []
    for function in (problem.fastem, problem.plain):
        problem.X = torch.tanh(below(inputs))
        loss = -function().mean()
        found.append(torch.autograd.grad(loss, [*below.parameters(), *problem.coefs]))
    _assert_close(*found)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_gradcheck(kind):
    problem = Problem(kind)

    def function(*arrays):
        n = len(problem.coefs)
        X, coefs, rest = arrays[0], arrays[1 : n + 1], arrays[n + 1 :]
        return fastem.torch.log_likelihood(
            X[:4], problem.y[:4], coefs, rest[:n], *rest[n:], family=problem.family
        )

    assert torch.autograd.gradcheck(function, problem.parameters, fast_mode=True)


def test_second_derivatives_raise():
    problem = Problem("three classes")
    gradient = torch.autograd.grad(problem.fastem().sum(), problem.coefs[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="first derivatives only"):
        (gradient**2).sum().backward()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.gradgradcheck(
            lambda X: fastem.torch.log_likelihood(X, problem.y, problem.coefs, problem.intercepts),
            [problem.X],
        )


def test_transforms_of_torch_func():
    problem = Problem("three classes")
    y, (W, V) = problem.y, [values.detach() for values in problem.coefs]
    X, (b, c) = problem.X.detach(), [values.detach() for values in problem.intercepts]

    def of_rows(W, X=X, y=y):
        return fastem.torch.log_likelihood(X, y, [W, V], [b, c])

    def of_row(W, x, label):
        return of_rows(W, x[None], label[None]).sum()

    def plain(W):
        changed = copy.copy(problem)
        changed.coefs = [W, V]
        return changed.plain()

    expected = torch.autograd.functional.jacobian(plain, W)
    total = torch.func.grad(lambda W: of_rows(W).sum())(W)
    per_row = torch.func.vmap(torch.func.grad(of_row), (None, 0, 0))(W, X, y)
    _assert_close([total, per_row], [expected.sum(dim=0), expected])
    _assert_close([torch.func.jacrev(of_rows)(W)], [expected])
    both = torch.func.vmap(of_rows)(torch.stack([W, -W]))
    _assert_close([both], [torch.stack([of_rows(W), of_rows(-W)])], 0.0)


def test_a_training_loop_with_mini_batches():
    torch.manual_seed(0)
    X, y = torch.randn(50, 5), torch.arange(50) % 3
    below = torch.nn.Linear(5, 2)
    own = [torch.randn(2, 6), torch.zeros(6), torch.randn(6, 3), torch.zeros(3)]
    W, b, V, c = (values.requires_grad_() for values in own)
    log_p = fastem.torch.LogLikelihood()
    optimizer = torch.optim.Adam([*below.parameters(), W, b, V, c], lr=0.03)
    losses = []
    for _ in range(40):
        for rows in torch.split(torch.randperm(50), 16):  # the last batch has two rows
            optimizer.zero_grad()
            features = below(X[rows])
            result = log_p(features, y[rows], [W, V], [b, c])
            alone = fastem.torch.log_likelihood(features, y[rows], [W, V], [b, c])
            assert torch.equal(result, alone)
            loss = -result.mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.1


def test_calls_of_one_instance_may_alternate():
    log_p = fastem.torch.LogLikelihood()
    problems = [Problem("three classes", seed=seed) for seed in range(3)]
    problems[2].X, problems[2].y = problems[2].X[:9].detach().requires_grad_(), problems[2].y[:9]
    results = [log_p(x.X, x.y, x.coefs, x.intercepts) for x in problems]
    for problem, result in reversed(list(zip(problems, results, strict=True))):
        v = problem.rng.normal(size=len(result))
        _assert_close(_gradients(problem, result, v), _gradients(problem, problem.plain(), v))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_an_instance_can_be_copied(duplicate):
    problem = Problem("one number")
    arguments = problem.X, problem.y, problem.coefs, problem.intercepts, problem.variance
    log_p = fastem.torch.LogLikelihood(family="gaussian", method="enumeration", n_jobs=1)
    expected = log_p(*arguments)
    assert torch.equal(duplicate(log_p)(*arguments), expected)


class CountedPlan:
    """A plan that counts its E-steps."""

    def __init__(self, plan, calls):
        self.rebind, self._expect, self._calls = plan.rebind, plan.expect, calls

    def expect(self, parameters, draw=0):
        self._calls.append("E-step")
        return self._expect(parameters, draw)


class Counted(fastem.Engine):
    """Enumeration that counts its E-steps and plans."""

    name, statistics = "counted", "counts"

    def __init__(self, calls):
        self.calls = calls

    def plan(self, rows, shape, n_threads):
        self.calls.append("plan")
        return CountedPlan(fastem.Enumeration().plan(rows, shape, n_threads), self.calls)

    def log_marginal(self, inputs, parameters, shape, n_threads):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("weights", "n_e_steps"), [("equal", 1), ("positive", 2), ("negative", 2), ("both signs", 3)]
)
def test_number_of_e_steps(weights, n_e_steps):
    calls, problem = [], Problem("three classes")
    log_p = fastem.torch.LogLikelihood(method=Counted(calls))
    v = torch.tensor(WEIGHTS[weights](40, problem.rng))
    for _ in range(2):
        result = log_p(problem.X, problem.y, problem.coefs, problem.intercepts)
        (v * result).sum().backward()
    assert calls.count("E-step") == 2 * n_e_steps
    assert calls.count("plan") == 1


def test_sampling_with_a_seed_is_repeatable():
    problem = Problem("three classes")
    engine = fastem.Sampling(n_samples=2000, random_state=3)
    v = problem.rng.normal(size=40)
    first, second = (problem.fastem(method=engine) for _ in range(2))
    assert torch.equal(first, second)
    exact = problem.plain()
    assert 0.0 < float((first - exact).detach().abs().max()) < 0.3
    for a, b in zip(_gradients(problem, first, v), _gradients(problem, exact, v), strict=True):
        assert float((a - b).norm()) < 0.2 * float(b.norm())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_give_nan(bad):
    problem = Problem("three classes")
    v = np.ones(40)
    v[3] = bad
    for gradient in _gradients(problem, problem.fastem(), v)[1:]:
        assert gradient.isnan().all()


def test_no_rows():
    problem = Problem("three classes")
    problem.X, problem.y = problem.X[:0].detach().requires_grad_(), problem.y[:0]
    result = problem.fastem()
    assert result.shape == (0,)
    result.sum().backward()
    assert all(values.grad.abs().sum() == 0.0 for values in problem.parameters)


def test_tensors_changed_before_the_backward_pass_raise():
    problem = Problem("three classes")
    result = problem.fastem()
    with torch.no_grad():
        problem.coefs[0].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


GOOD = Problem("three classes")
BAD = [
    ("X", {"X": GOOD.X.to("meta")}, r"X must be on the CPU, .* X\.cpu\(\)"),
    ("y", {"y": GOOD.y.to("meta")}, r"y must be on the CPU"),
    ("b", {"intercepts": [GOOD.intercepts[0], GOOD.intercepts[1].to("meta")]}, r"intercepts\[1\]"),
    ("complex", {"X": GOOD.X + 0j}, "X must be a dense tensor"),
    ("sparse", {"X": GOOD.X.detach().to_sparse()}, "X must be a dense tensor"),
    ("NaN", {"X": GOOD.X * float("nan")}, "X contains NaN"),
    ("text", {"X": "text"}, "X must be an array of numbers"),
    ("1-d X", {"X": GOOD.X[:, 0]}, "X must have 2 dimension"),
    ("y float", {"y": GOOD.y.double().requires_grad_()}, "y must hold class indices"),
    ("y above", {"y": GOOD.y + 1}, "y must hold class indices from 0 to 2"),
    ("y short", {"y": GOOD.y[1:]}, "y must have shape"),
    ("no list", {"coefs": GOOD.coefs[0]}, "coefs must be a list"),
    ("one array", {"coefs": GOOD.coefs[:1]}, "coefs must be a list of two"),
    ("lengths", {"coefs": [*GOOD.coefs, GOOD.coefs[1]]}, "same length, got 3 and 2"),
    ("shape", {"coefs": GOOD.coefs[::-1]}, r"coefs\[0\] must have shape"),
    ("family", {"family": "normal"}, "family must be one of"),
    ("method", {"method": "exact"}, "method must be one of"),
    ("n_jobs", {"n_jobs": 0}, "n_jobs"),
    ("variance", {"family": "gaussian"}, "variance is missing"),
    ("negative", {"family": "gaussian", "variance": torch.tensor([-1.0] * 3)}, "variance must be"),
]


@pytest.mark.parametrize(("bad", "message"), [x[1:] for x in BAD], ids=[x[0] for x in BAD])
def test_a_bad_argument_is_named(bad, message):
    arguments = {"X": GOOD.X, "y": GOOD.y, "coefs": GOOD.coefs, "intercepts": GOOD.intercepts}
    if bad.get("family") == "gaussian":
        arguments["y"] = torch.zeros(40, 3)
    with pytest.raises(ValueError, match=message):
        fastem.torch.log_likelihood(**arguments | bad)


@pytest.mark.parametrize("kind", ["three classes", "one number", "counts"])
def test_e_steps_take_tensors_that_require_gradients(kind):
    problem = Problem(kind)
    y, weights = problem.y, problem.X[:, 0].abs()
    settings = {"family": problem.family, "sample_weight": weights}
    own = {"variance": problem.variance} if kind == "one number" else {}
    lists = problem.coefs, problem.intercepts
    expected = fastem.e_step(
        *(x.detach().numpy() for x in (problem.X, y)),
        *([x.detach().numpy() for x in arrays] for arrays in lists),
        family=problem.family,
        sample_weight=weights.detach().numpy(),
        **{name: values.detach().numpy() for name, values in own.items()},
    )
    if kind == "one number":
        y = y.clone().requires_grad_()
    oracle = fastem.EStep(problem.X, y, hidden_layer_sizes=len(problem.coefs[1]), **settings)
    for got in (fastem.e_step(problem.X, y, *lists, **settings, **own), oracle(*lists, **own)):
        np.testing.assert_array_equal(got.log_likelihood, expected.log_likelihood)
        np.testing.assert_array_equal(got.coef_gradients[0], expected.coef_gradients[0])


@pytest.mark.parametrize("name", fastem.torch.__all__)
def test_the_examples_in_the_docstrings_hold(name):
    public = getattr(fastem.torch, name)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(public, name, globs={}):
        runner.run(example)
    assert runner.failures == 0
    assert runner.tries > 0
