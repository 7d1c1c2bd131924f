"""The gallery, section teaching: the examples show what the package really does."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from gallery import EXAMPLES, run_example
from scipy.special import expit, softmax
from scipy.stats import binom, norm

# Mean cross-entropies of the plug-in forward pass, by iteration. PUBLISHED is printed in the slides
# "EM Algorithm to Train Neural Networks". CORRECT was computed with the same gradient steps, with
# equation 15 summed by brute force.
PUBLISHED = {
    0: 1.1427729846642725, 5: 0.8477192072820486, 10: 0.8088932560503146, 15: 0.8013409928099052,
    20: 0.7953260351338284, 25: 0.7862787851641184, 30: 0.6765491949913677, 35: 0.6733092653604303,
    40: 0.670328548725725, 45: 0.6676518890360496, 50: 0.6652140857718162,
}  # fmt: skip
CORRECT = {0: 1.1427729848, 5: 0.6630088002, 10: 0.5840563717, 25: 0.5293556718, 50: 0.4688172619}


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _printed(capsys):
    """Return the words of every printed line."""
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def published_run():
    names, printed = run_example("teaching/published_run")
    return SimpleNamespace(**names, printed=printed)


@pytest.mark.parametrize(
    ("run", "expected", "right"),
    [("EM, published", PUBLISHED, (28, 30)), ("EM, corrected", CORRECT, (28, 29))],
)
def test_published_run(published_run, run, expected, right):
    tolerance = 1e-12 if expected is PUBLISHED else 1e-9
    for iteration, loss in expected.items():
        assert published_run.losses[run][iteration] == pytest.approx(loss, abs=tolerance)
    # correct test rows: plug-in, marginal
    assert tuple(published_run.n_correct[run]) == right


def test_published_run_prints_both_columns(published_run):
    rows = [line.split() for line in published_run.printed.splitlines()]
    last = next(row for row in rows if row[:1] == ["50"])
    assert last[1:3] == ["0.6652140858", "0.4688172619"]


def test_the_published_fault_leaves_the_output_layer_untrained(published_run):
    assert abs(published_run.V_moved - published_run.V_start).max() > 0.1
    np.testing.assert_allclose(published_run.after.output, published_run.before.output, atol=1e-14)


def test_backpropagation_beside_the_published_run(published_run):
    """The deterministic network written out; its gradient by central differences."""
    X, y = published_run.X_train, published_run.y_train

    def loss(W, V):
        return -np.log(softmax(expit(X @ W) @ V, axis=1)[np.arange(len(y)), y]).sum()

    W, V = published_run.W_start, published_run.V_start
    losses = published_run.losses
    assert loss(W, V) / len(y) == pytest.approx(losses["backpropagation"][0], abs=1e-12)
    new = published_run.backpropagation_step(W, V)
    assert loss(*new) / len(y) == pytest.approx(losses["backpropagation"][1], abs=1e-12)
    rng = np.random.default_rng(0)
    dW, dV, h = rng.normal(size=W.shape), rng.normal(size=V.shape), 1e-5
    slope = (loss(W + h * dW, V + h * dV) - loss(W - h * dW, V - h * dV)) / (2.0 * h)
    moved = np.sum(dW * (new[0] - W)) + np.sum(dV * (new[1] - V))
    assert moved == pytest.approx(-published_run.rate * slope, rel=1e-6)


def test_what_the_published_run_says_of_speed(published_run):
    corrected, backpropagation = (
        np.array(published_run.losses[name]) for name in ("EM, corrected", "backpropagation")
    )
    assert (corrected[1:31] < backpropagation[1:31]).all()
    assert backpropagation[50] < corrected[50]
    assert published_run.means[0] == pytest.approx(published_run.means[1], rel=0.03)
    # the estimator takes the same gradient steps, and Newton's M-step needs about ten iterations
    gradient, newton = published_run.curves["gradient"], published_run.curves["newton"]
    marginal = published_run.marginal_loss(published_run.weights["EM, corrected"])
    assert gradient[-1] == pytest.approx(marginal, abs=1e-12)
    assert newton[10] < 0.3 * gradient[50]


@pytest.fixture(scope="module")
def two_coins():
    names, printed = run_example("teaching/two_coins")
    return SimpleNamespace(**names, printed=printed)


@pytest.mark.parametrize(("iteration", "expected"), [(1, (0.71, 0.58)), (-1, (0.80, 0.52))])
def test_two_coins(two_coins, iteration, expected):
    # the published results for 5, 9, 8, 4 and 7 heads in ten tosses
    assert tuple(two_coins.thetas[iteration].round(2)) == expected
    assert min(np.diff(two_coins.log_likelihoods)) >= 0.0


def test_first_step_of_two_coins(two_coins):
    # the slides' own sums of expected heads and tails
    assert two_coins.expected_heads.round(1).tolist() == [21.3, 11.7]
    assert two_coins.expected_tails.round(1).tolist() == [8.6, 8.4]
    np.testing.assert_array_equal(two_coins.after_one, two_coins.thetas[1])
    expected = np.array([[binom.pmf(h, 10, p) for p in (0.6, 0.5)] for h in (5, 9, 8, 4, 7)])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(two_coins.posteriors[0], expected, rtol=1e-12)


def test_every_iteration_of_two_coins_is_in_the_table(two_coins):
    rows = [line.split() for line in two_coins.printed.splitlines()]
    table = [row for row in rows if len(row) == 9 and row[0].isdigit()]
    assert [int(row[0]) for row in table] == [*range(11), len(two_coins.thetas) - 1]
    for t, a, b, log_likelihood, *of_a in table:
        theta = np.array([a, b], dtype=float)
        np.testing.assert_allclose(theta, two_coins.thetas[int(t)], atol=6e-4)
        assert float(log_likelihood) == pytest.approx(two_coins.e_step(two_coins.thetas[int(t)])[0])
        posterior = two_coins.e_step(two_coins.thetas[int(t)])[1]
        np.testing.assert_allclose(np.array(of_a, dtype=float), posterior[:, 0], atol=6e-3)


def test_a_network_has_the_posterior_of_the_coins(two_coins):
    result = two_coins.result
    np.testing.assert_allclose(
        result.hidden_posterior[:, 0], two_coins.posteriors[0][:, 0], rtol=1e-12
    )
    assert result.log_likelihood.sum() == pytest.approx(two_coins.log_likelihoods[0], rel=1e-13)


@pytest.fixture(scope="module")
def xor():
    names, printed = run_example("teaching/xor")
    return SimpleNamespace(**names, printed=printed)


def test_xor_by_em(xor):
    assert xor.model.score(xor.X, xor.y) == 1.0
    assert xor.model.converged_
    # 0.0399 is the optimum with this penalty: all converged starts but degenerate ones have it
    assert xor.model.loss_ == pytest.approx(0.0399, abs=2e-4)


def test_hidden_states_of_xor(xor):
    """The posterior from two means and a product is Bayes' rule over the four states."""
    states = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # the columns of the table
    for model in (xor.model, xor.early):
        (W, V), (b, c) = model.coefs_, model.intercepts_
        u = expit(xor.X @ W + b)
        prior = np.where(states == 1, u[:, None], 1.0 - u[:, None]).prod(axis=2)
        joint = prior * softmax(states @ V + c, axis=1)[:, xor.y].T
        expected = joint / joint.sum(axis=1, keepdims=True)
        posterior = xor.state_posterior(model.coefs_, model.intercepts_)
        np.testing.assert_allclose(posterior, expected, atol=1e-12)
    # the text below the table: class 1 has state 00, each point of class 0 its own state
    assert xor.posterior.min(axis=1).max() < 0.01 < 0.99 < xor.posterior.max(axis=1).min()
    of_point = xor.posterior.argmax(axis=1)
    assert of_point[1] == of_point[2] == 0
    assert sorted([of_point[0], of_point[3]]) == [1, 2]


def test_states_of_xor_are_uncertain_at_first(xor):
    first, fifth, last = xor.snapshots.values()
    assert first.max(axis=1).min() < 0.6
    assert fifth.max(axis=1).min() < 0.7
    np.testing.assert_array_equal(last, xor.posterior)


@pytest.mark.parametrize(
    ("gate", "linear_fit", "right", "best"),
    [
        ("OR", [0.25, 0.75, 0.75, 1.25], 4, 4),
        ("AND", [-0.25, 0.25, 0.25, 0.75], 4, 4),
        ("XOR", [0.5, 0.5, 0.5, 0.5], 2, 3),
    ],
)
def test_gates(xor, gate, linear_fit, right, best):
    np.testing.assert_allclose(xor.outputs[gate, 0], linear_fit, atol=1e-6)
    np.testing.assert_allclose(xor.outputs[gate, 2], xor.gates[gate], atol=1e-4)
    assert (xor.correct[gate, 0], xor.correct[gate, 2]) == (right, 4)
    assert xor.best_line[gate] == best
    rows = [line.split() for line in xor.printed.splitlines()]
    assert [row[-1] for row in rows if row[:1] == [gate]] == [f"{right}/4", "4/4"]


def test_least_squares_of_xor_is_constant(xor):
    line = xor.least_squares(xor.y, ())
    np.testing.assert_allclose(line.coefs_[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(line.intercepts_[0], 0.5, atol=1e-6)
    assert line.loss_ == pytest.approx(0.125)  # half of 0.5 squared


def test_xor_fixed_network_is_exact(xor):
    assert xor.fixed.output.tolist() == [[0.0], [1.0], [1.0], [0.0]]
    assert xor.fixed.loss == 0.0
    assert not any(gradient.any() for gradient in xor.fixed.coef_gradients)
    assert xor.trained.predict(xor.X).tolist() == [0.0, 1.0, 1.0, 0.0]
    for coefs, fixed in zip(xor.trained.coefs_, xor.coefs, strict=True):
        np.testing.assert_array_equal(coefs, fixed)


def test_loss_by_hand(capsys):
    example = _example("teaching/loss_by_hand")
    assert example.mean_squared_error() == pytest.approx(4.0, abs=1e-12)
    assert example.total_cross_entropy() == pytest.approx(-np.log(0.3 * 0.8 * 0.6 * 0.4))
    example.main()
    for row in _printed(capsys)[1:]:
        computed, by_hand = row[-2:]
        digits = len(by_hand.partition(".")[2])
        assert f"{float(computed):.{digits}f}" == by_hand, row


@pytest.mark.parametrize("changed", [("target", 0.9), ("weight", 0.7)])
def test_the_step_by_hand_does_not_depend_on_values_that_the_seminar_omits(monkeypatch, changed):
    example = _example("teaching/loss_by_hand")
    before = example.step().coef_gradients[1][0, 0]
    name, value = changed
    if name == "target":
        monkeypatch.setattr(example, "TARGET", np.array([[0.2, value]]))
    else:
        monkeypatch.setattr(
            example, "COEFS", [example.COEFS[0], np.array([[0.4, value], [0.1, value]])]
        )
    result = example.step()
    assert result.coef_gradients[1][0, 0] == pytest.approx(before, rel=1e-14)


def test_regression_curve(capsys):
    _example("teaching/regression_curve").main()
    rows = _printed(capsys)[1:]
    assert len(rows) == 18
    for solver, activation, batch, _, train, test, log_density, epochs, _ in rows:
        case = solver, activation, batch
        assert 0.005 < float(train) < 0.06, case  # the noise gives 0.01, a straight line 0.18
        assert 0.005 < float(test) < 0.06, case
        # the density of the data gives 0.88, a straight line -0.56
        assert -0.4 < float(log_density) < 1.1, case
        assert int(epochs) <= (1000 if solver == "em" else 100), case
    assert [row[:3] for row in rows[16:]] == [["em", "5-binary", "all"], ["em", "10-binary", "all"]]


def test_log_density_of_the_regression_curve():
    example = _example("teaching/regression_curve")
    _, X, _, y = example.curve()
    network, _ = example.train("adam", "relu", 8, max_iter=3)
    train_error, test_error, log_density = example.figures(network)
    expected = norm.logpdf(y, network.predict(X), np.sqrt(train_error)).mean()
    assert log_density == pytest.approx(expected)
    assert test_error == pytest.approx(np.mean((y - network.predict(X)) ** 2))
