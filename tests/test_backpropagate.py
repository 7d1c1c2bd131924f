"""`fastem.backpropagate` against the slow truth, one entry or one direction at a time."""

import itertools
import re

import numpy as np
import pytest
import reference_backprop as reference
from reference_backprop import HIDDEN, PAIRS, draw_net, draw_targets

import fastem

MIXED = [("prelu", "maxout"), ("maxout", "elu", "tanh"), ("relu", "prelu", "logistic")]


def backpropagate(net, X, targets, loss, alpha=0.0, weights=None):
    return fastem.backpropagate(
        X, targets, net.coefs, net.intercepts, activation=list(net.hidden),
        output_activation=net.output, loss=loss, alpha=alpha, sample_weight=weights,
        slopes=net.slopes,
    )  # fmt: skip


def arrays_of(result):
    slopes = [values for values in result.slope_gradients if values is not None]
    return [*result.coef_gradients, *result.intercept_gradients, *slopes]


def assert_forward(result, net, X, targets, loss, alpha=0.0, weights=None):
    np.testing.assert_allclose(result.output, reference.outputs(net, X), rtol=1e-12, atol=1e-12)
    expected = reference.total_loss(net, X, targets, loss, alpha, weights)
    assert isinstance(result.loss, float)
    assert result.loss == pytest.approx(expected, rel=1e-12)


def assert_same_gradients(result, expected):
    found = arrays_of(result)
    scale = max(np.abs(array).max() for array in expected)
    assert scale > 0.0
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * scale)


def problem(seed, widths, hidden, loss, output, n_samples=5):
    rng = np.random.default_rng(seed)
    net = draw_net(rng, widths, hidden, output)
    X = rng.normal(size=(n_samples, widths[0]))
    return net, X, draw_targets(rng, loss, output, n_samples, widths[-1])


# The truth itself


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("hidden", [*((name,) for name in HIDDEN), MIXED[0]], ids="-".join)
def test_complex_steps_agree_with_central_differences(hidden, pair):
    net, X, targets = problem(0, [3, *[2] * len(hidden), 2], hidden, *pair)
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=a.shape) for a in net.arrays()]
    args = (net, directions, X, targets, pair[0], 0.3)
    assert reference.derivative(*args) == pytest.approx(reference.difference(*args), rel=1e-6)


# Every activation, loss, output and depth


@pytest.mark.parametrize(
    ("n_hidden", "pair"),
    [  # the loss meets the last layer only: two losses do for deeper networks
        *((1, pair) for pair in PAIRS),
        *itertools.product([2, 3], [("log_loss", "softmax"), ("absolute_error", "exp")]),
    ],
    ids=lambda value: value if isinstance(value, int) else "-".join(value),
)
@pytest.mark.parametrize("name", HIDDEN)
def test_gradients_of_every_parameter(name, pair, n_hidden):
    loss, output = pair
    widths = [3, *(4, 3, 2)[:n_hidden], 2]
    net, X, targets = problem([n_hidden, len(name)], widths, name, loss, output)
    args = X, targets, loss, 0.3
    result = backpropagate(net, *args)
    assert_forward(result, net, *args)
    assert_same_gradients(result, reference.gradients(net, *args))
    assert [s is not None for s in result.slope_gradients] == [name == "prelu"] * n_hidden


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("hidden", [(), *MIXED], ids="-".join)
def test_gradients_of_none_and_of_mixed_activations(hidden, pair):
    loss, output = pair
    net, X, targets = problem(3, [2, *(3, 2, 4)[: len(hidden)], 3], hidden, loss, output)
    args = X, targets, loss, 0.05, np.array([0.5, 0.0, 2.0, 1.0, 3.0])
    result = backpropagate(net, *args)
    assert_forward(result, net, *args)
    assert_same_gradients(result, reference.gradients(net, *args))
    assert [s is not None for s in result.slope_gradients] == [n == "prelu" for n in hidden]


# Sizes: from loops to matrix products


@pytest.mark.parametrize(
    ("name", "widths", "n_samples"),
    [
        *itertools.product(
            ["tanh", "maxout", "prelu"],
            [(1, 1, 1), (1, 70, 3), (70, 1, 2), (3, 70, 70), (70, 2, 70)],
            [1, 2, 3, 5, 300],
        ),
        ("tanh", (3, 2, 1), 1025),  # more rows than go through together
    ],
)
def test_narrow_and_wide_layers(name, widths, n_samples):
    loss, output = ("squared_error", "identity")
    net, X, targets = problem(5, [*widths[:2], 4, widths[2]], name, loss, output, n_samples)
    result = backpropagate(net, X, targets, loss, alpha=2.0)
    assert_forward(result, net, X, targets, loss, 2.0)
    found, rng = arrays_of(result), np.random.default_rng(6)
    for i in range(len(found)):  # a direction for each array: an error in one is not lost
        directions = [np.zeros_like(a) for a in net.arrays()]
        directions[i] = rng.normal(size=found[i].shape)
        expected = reference.derivative(net, directions, X, targets, loss, 2.0)
        scale = np.linalg.norm(found[i]) * np.linalg.norm(directions[i])
        assert np.sum(found[i] * directions[i]) == pytest.approx(expected, abs=1e-11 * scale)


@pytest.mark.parametrize("n_samples", [15, 16, 17, 63, 64, 65])
def test_both_sides_of_the_change_to_matrix_products(n_samples):
    # 4 multiplications to a row: the change is at a few dozen rows, wherever it stands
    net, X, targets = problem(7, [4, 1, 4, 2], "elu", "log_loss", "softmax", n_samples)
    result = backpropagate(net, X, targets, "log_loss")
    parts = [
        backpropagate(net, X[i : i + 1], targets[i : i + 1], "log_loss") for i in range(n_samples)
    ]
    np.testing.assert_allclose(result.loss, np.mean([part.loss for part in parts]), rtol=1e-13)
    np.testing.assert_allclose(result.output, [p.output[0] for p in parts], rtol=1e-13, atol=1e-15)
    for i, array in enumerate(arrays_of(result)):
        mean = np.mean([arrays_of(part)[i] for part in parts], axis=0)
        np.testing.assert_allclose(array, mean, rtol=1e-11, atol=1e-14)


# Weights, penalty, targets


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_weights_are_replication_and_zero_is_removal(pair, alpha):
    loss, output = pair
    net, X, targets = problem(8, [3, 4, 2], "prelu", loss, output)
    weights = np.array([2, 0, 1, 3, 0])
    weighted = backpropagate(net, X, targets, loss, alpha, weights)
    repeated = backpropagate(
        net, np.repeat(X, weights, 0), np.repeat(targets, weights, 0), loss, alpha
    )
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-13)
    for a, b in zip(arrays_of(weighted), arrays_of(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)
    assert weighted.output.shape == (5, 2)  # a row without weight has its output all the same


def test_the_penalty_is_divided_by_the_total_weight():
    net, X, targets = problem(9, [3, 4, 2], "prelu", "log_loss", "softmax")
    weights = np.array([1.0, 2.0, 0.5, 4.0, 0.5])
    without, penalised = (
        backpropagate(net, X, targets, "log_loss", alpha, weights) for alpha in (0.0, 3.0)
    )
    squares = sum(np.sum(W**2) for W in net.coefs)
    assert penalised.loss - without.loss == pytest.approx(0.5 * 3.0 * squares / 8.0)
    for i, W in enumerate(net.coefs):
        change = penalised.coef_gradients[i] - without.coef_gradients[i]
        np.testing.assert_allclose(change, 3.0 * W / 8.0, rtol=1e-11)
    for i in range(2):
        np.testing.assert_array_equal(
            penalised.intercept_gradients[i], without.intercept_gradients[i]
        )
    np.testing.assert_array_equal(penalised.slope_gradients[0], without.slope_gradients[0])


@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_targets_that_are_no_probabilities(output):
    net, X, _ = problem(10, [3, 4, 2], "tanh", "log_loss", output)
    targets = np.random.default_rng(0).uniform(-1.0, 3.0, size=(5, 2))
    result = backpropagate(net, X, targets, "log_loss")
    assert_forward(result, net, X, targets, "log_loss")
    assert_same_gradients(result, reference.gradients(net, X, targets, "log_loss"))


def test_closed_form_of_a_soft_maximum():
    X, W, b = np.array([[2.0, -1.0]]), np.zeros((2, 4)), np.log([1.0, 2.0, 3.0, 4.0])
    t = np.array([[0.0, 0.5, 0.0, 0.5]])
    result = fastem.backpropagate(X, t, [W], [b])
    np.testing.assert_allclose(result.output, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-14)
    assert result.loss == pytest.approx(-0.5 * np.log(0.08))
    np.testing.assert_allclose(result.intercept_gradients[0], [0.1, -0.3, 0.3, -0.1], rtol=1e-13)
    np.testing.assert_allclose(
        result.coef_gradients[0], np.outer(X[0], [0.1, -0.3, 0.3, -0.1]), rtol=1e-13
    )
    assert result.slope_gradients == []


# Defaults, kinks, extremes


def test_defaults():
    net, X, targets = problem(11, [3, 4, 2], "logistic", "log_loss", "softmax")
    short = fastem.backpropagate(X, targets, net.coefs, net.intercepts)
    full = backpropagate(net, X, targets, "log_loss")
    assert (short.loss, short._fields) == (full.loss, fastem.Backpropagation._fields)
    assert short._fields[:2] == ("loss", "output")
    assert short._fields[2:] == ("coef_gradients", "intercept_gradients", "slope_gradients")
    assert short.slope_gradients == [None]
    prelu = draw_net(np.random.default_rng(0), [3, 4, 2], "prelu", "softmax")
    slopes = {"slopes": [np.full(4, 0.25)]}
    losses = [
        fastem.backpropagate(X, targets, *prelu[:2], activation="prelu", **given).loss
        for given in ({}, {"slopes": [None]}, slopes)
    ]
    assert losses[0] == losses[1] == losses[2]
    assert losses[0] != backpropagate(prelu, X, targets, "log_loss").loss


def test_lists_are_as_good_as_arrays_and_nothing_given_is_changed():
    net, X, targets = problem(12, [3, 4, 2], "prelu", "squared_error", "identity")
    given = [X, targets, *net.arrays()]
    kept = [array.copy() for array in given]
    for array in given:
        array.setflags(write=False)
    result = backpropagate(net, X, targets, "squared_error")
    for array, copy in zip(given, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    lists = net._replace(
        coefs=[W.tolist() for W in net.coefs], intercepts=[b.tolist() for b in net.intercepts],
        slopes=[s.tolist() for s in net.slopes],
    )  # fmt: skip
    again = backpropagate(lists, X.tolist(), np.asfortranarray(targets), "squared_error")
    assert again.loss == result.loss
    for a, b in zip(arrays_of(again), arrays_of(result), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "slope"), [("relu", 0.0), ("leaky_relu", 0.1), ("prelu", 0.25)])
def test_the_derivative_at_a_kink_is_that_from_the_left(name, slope):
    X, W, V = np.zeros((1, 2)), np.ones((2, 1)), np.full((1, 1), 3.0)
    result = fastem.backpropagate(
        X, [[-1.0]], [W, V], [np.zeros(1), np.zeros(1)], activation=name,
        output_activation="identity", loss="squared_error",
    )  # fmt: skip
    np.testing.assert_allclose(result.intercept_gradients[0], [3.0 * slope], rtol=1e-15)
    assert result.loss == 0.5


def test_no_error_has_no_gradient():
    X, coefs, intercepts = np.ones((2, 1)), [np.ones((1, 2))], [np.zeros(2)]
    for loss in ("absolute_error", "squared_error"):
        result = fastem.backpropagate(
            X, np.ones((2, 2)), coefs, intercepts, output_activation="identity", loss=loss
        )
        assert (result.loss, result.coef_gradients[0].any()) == (0.0, False)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("name", [None, *HIDDEN])
@pytest.mark.parametrize("size", [40.0, 800.0])
def test_extreme_log_odds(name, pair, size):
    loss, output = pair
    if output == "exp":  # whose log-odds are those of a count: larger ones are no number
        size = min(size, 300.0)
    coefs, intercepts, names = [np.array([[size, -size]])], [np.zeros(2)], []
    if name is not None:
        columns = 2 if name == "maxout" else 1
        top = size if output != "exp" else 0.3
        coefs = [np.full((1, columns), size), np.array([[top, -top]])]
        intercepts, names = [np.zeros(columns), np.zeros(2)], [name]
    X = np.array([[1.0], [-1.0], [0.0], [0.5]])
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    result = fastem.backpropagate(
        X, targets, coefs, intercepts, activation=names, output_activation=output, loss=loss
    )
    assert np.isfinite(result.output).all()
    assert np.isfinite(result.loss)
    assert all(np.isfinite(array).all() for array in arrays_of(result))
    if output in ("softmax", "logistic"):
        assert ((result.output >= 0.0) & (result.output <= 1.0)).all()
        np.testing.assert_allclose(result.output[0], [1.0, 0.0], rtol=0.0, atol=1e-15)
    if loss == "log_loss":
        if name is None:  # the second row is wrong with certainty, and its loss is exact
            a, b = X @ coefs[0], targets
            if output == "softmax":
                exact = np.logaddexp(a[:, 0], a[:, 1]) - (a * b).sum(axis=1)
            else:
                exact = (b * np.logaddexp(0.0, -a) + (1.0 - b) * np.logaddexp(0.0, a)).sum(axis=1)
            np.testing.assert_allclose(result.loss, exact.mean(), rtol=1e-14)
        # the derivative is not clipped: what is wrong with certainty still learns
        assert np.abs(result.coef_gradients[-1]).max() > 0.1


@pytest.mark.parametrize("name", ["identity", "relu", "tanh", "maxout"])
def test_overflow_is_told(name):
    net = draw_net(np.random.default_rng(0), [3, 4, 2], name, "softmax")
    rows = np.array([[1e308, -1e308, 1e308], [1e308, 1e308, 1e308]])
    within_range = backpropagate(net, 1e-160 * rows, np.eye(2), "log_loss")
    assert np.isfinite([within_range.loss, *within_range.output.ravel()]).all()
    try:
        result = backpropagate(net, rows, np.eye(2), "log_loss")
    except (ValueError, FloatingPointError) as error:
        assert re.search(r"not a number|overflow|non-finite|[Rr]escale", str(error))  # noqa: PT017
    else:
        assert not np.isnan([result.loss, *result.output.ravel()]).any()
        assert not any(np.isnan(array).any() for array in arrays_of(result))


# Bad input

NET = draw_net(np.random.default_rng(0), [3, 4, 2], "tanh", "softmax")
W, V = NET.coefs
B, C = NET.intercepts
X = np.random.default_rng(1).normal(size=(5, 3))
T = np.full((5, 2), 0.5)


def altered(array, value):
    array = np.array(array)
    array.flat[0] = value
    return array


BAD = {
    "NaN in X": ({"X": altered(X, np.nan)}, "X contains NaN"),
    "infinity in X": ({"X": altered(X, np.inf)}, "X contains NaN or infinity"),
    "vector X": ({"X": X[0]}, r"X must have 2 dim.*\(3,\)"),
    "text X": ({"X": [["a"]]}, "X must"),
    "no rows": ({"X": X[:0], "targets": T[:0]}, "X.*row"),
    "narrow X": ({"X": X[:, :2]}, r"coefs\[0\].*\(2, 4\).*\(3, 4\)"),
    "rows": ({"targets": T[:4]}, "X and targets.*5 and 4"),
    "vector targets": ({"targets": T[:, 0]}, r"targets must have 2 dim.*\(5,\)"),
    "wide targets": ({"targets": np.c_[T, T]}, "targets must have 2 columns.*4"),
    "NaN in targets": ({"targets": altered(T, np.nan)}, "targets contains NaN"),
    "NaN in W": ({"coefs": [altered(W, np.nan), V]}, r"coefs\[0\] contains NaN"),
    "infinity in V": ({"coefs": [W, altered(V, -np.inf)]}, r"coefs\[1\] contains NaN or inf"),
    "NaN in b": ({"intercepts": [altered(B, np.nan), C]}, r"intercepts\[0\] contains NaN"),
    "no layers": ({"coefs": [], "intercepts": []}, "coefs"),
    "V of another shape": ({"coefs": [W, V[:3]]}, r"coefs\[1\].*\(4, 2\).*\(3, 2\)"),
    "vector W": ({"coefs": [W[0], V]}, r"coefs\[0\] must have 2 dim"),
    "text W": ({"coefs": [[["a"]], V]}, r"coefs\[0\] must"),
    "no list of coefs": ({"coefs": None}, "coefs must"),
    "no units": ({"coefs": [W[:, :0], V[:0]], "intercepts": [B[:0], C]}, r"coefs\[[01]\]"),
    "one intercept": ({"intercepts": [B]}, "intercepts"),
    "b of another shape": ({"intercepts": [B[:3], C]}, r"intercepts.*\(4,\).*\(3,\)"),
    "b of two dimensions": ({"intercepts": [B[None], C]}, r"intercepts.*\(1, 4\)"),
    "no list of intercepts": ({"intercepts": None}, "intercepts must"),
    "ragged b": ({"intercepts": [[1.0, [2.0]], C]}, "intercepts"),
    "unknown activation": ({"activation": "swish"}, "activation.*'swish'"),
    "softmax hidden": ({"activation": "softmax"}, "activation.*'softmax'"),
    "two activations": ({"activation": ["tanh", "tanh"]}, "activation must be.*1"),
    "no activation": ({"activation": None}, "activation.*None"),
    "unknown in list": ({"activation": ["swish"]}, "activation.*'swish'"),
    "list in list": ({"activation": [["tanh"]]}, "activation"),
    "unknown output": ({"output_activation": "tanh"}, "output_activation.*'tanh'"),
    "unknown loss": ({"loss": "hinge"}, "loss.*'hinge'"),
    "no loss": ({"loss": None}, "loss.*None"),
    "log-loss of numbers": ({"output_activation": "identity"}, "log_loss.*'identity'"),
    "poisson of softmax": ({"loss": "poisson"}, "poisson.*exp.*'softmax'"),
    "negative poisson": (
        {"loss": "poisson", "output_activation": "exp", "targets": T - 1.0}, "(?i)poisson.*-0.5",
    ),
    "negative alpha": ({"alpha": -1.0}, "alpha.*-1"),
    "NaN alpha": ({"alpha": np.nan}, "alpha.*nan"),
    "text alpha": ({"alpha": "1"}, "alpha.*'1'"),
    "no alpha": ({"alpha": None}, "alpha.*None"),
    "short weights": ({"sample_weight": np.ones(4)}, "sample_weight.*5"),
    "negative weight": ({"sample_weight": altered(np.ones(5), -1.0)}, "sample_weight.*-1"),
    "NaN weight": ({"sample_weight": altered(np.ones(5), np.nan)}, "sample_weight contains NaN"),
    "no weight": ({"sample_weight": np.zeros(5)}, "sample_weight.*zero"),
    "scalar weight": ({"sample_weight": 1.0}, "sample_weight must have 1 dim"),
    "text weight": ({"sample_weight": ["a"] * 5}, "sample_weight must"),
    "odd maxout": ({"activation": "maxout", "coefs": [W[:, :3], V[:1]]}, r"coefs\[0\].*\(3, 3\)"),
    "maxout of one piece": ({"activation": "maxout"}, r"coefs\[1\].*\(2, 2\).*\(4, 2\)"),
    "short slopes": ({"activation": "prelu", "slopes": [np.ones(3)]}, r"slopes\[0\].*4.*3"),
    "two slopes": ({"activation": "prelu", "slopes": [np.ones(4)] * 2}, "slopes.*2"),
    "NaN slope": ({"activation": "prelu", "slopes": [[np.nan] * 4]}, r"slopes\[0\] contains NaN"),
    "no list of slopes": ({"activation": "prelu", "slopes": 0.25}, "slopes must"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input(changes, message):
    arguments = {"X": X, "targets": T, "coefs": [W, V], "intercepts": [B, C], "activation": "tanh"}
    assert fastem.backpropagate(**arguments).loss > 0.0
    with pytest.raises(ValueError, match=message):
        fastem.backpropagate(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("name", "known"),
    [("activation", HIDDEN), ("output_activation", ("identity", "logistic", "softmax", "exp")),
     ("loss", ("log_loss", "squared_error", "poisson", "absolute_error"))],
)  # fmt: skip
def test_unknown_name_lists_the_known(name, known):
    with pytest.raises(ValueError, match="'nonsense'") as caught:
        fastem.backpropagate(X, T, [W, V], [B, C], **{name: "nonsense"})
    message = str(caught.value)
    assert message.startswith(f"{name} must be")
    assert set(known) <= set(re.findall(r"'(\w+)'", message))
