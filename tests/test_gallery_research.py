"""The gallery, section research and parts of practice: the values that the examples show."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from gallery import EXAMPLES, run_example

pytest.importorskip("matplotlib")


def _expected_estimates(example, problem, n_samples):
    """Return the expectations of the estimates by name, over all samples of one row."""
    n_hidden = len(problem.V)
    u = 1.0 / (1.0 + np.exp(-(problem.X @ problem.W + problem.b)))[0]
    states = np.array(list(itertools.product([0.0, 1.0], repeat=n_hidden)))
    prior = np.prod(np.where(states > 0.0, u, 1.0 - u), axis=1)
    total = {}
    for chosen in itertools.product(range(len(states)), repeat=n_samples):
        chosen = list(chosen)
        for name, values in example["estimates"](problem, states[None, chosen]).items():
            total[name] = total.get(name, 0.0) + np.prod(prior[chosen]) * values
    return total


def _slopes(function, problem, step=1e-5):
    """Return the derivatives of a function of (W, b), in the order of a gradient."""
    slopes = []
    for name in ("W", "b"):
        values = getattr(problem, name)
        for index in np.ndindex(values.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = values.copy()
                moved[index] += sign * step
                ends.append(function(problem._replace(**{name: moved})))
            slopes.append((ends[0] - ends[1]) / (2.0 * step))
    return np.array(slopes)


def test_expectations_of_the_gradient_estimators():
    example = run_example("research/gradient_estimators")[0]
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=size) for size in [(2, 2), (2,), (2, 3), (3,)])
    problem = example["Problem"](rng.normal(size=(1, 2)), np.array([1]), *arrays)
    states = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    logits = states @ problem.V + problem.c
    p_y = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)

    def prior(problem):
        u = 1.0 / (1.0 + np.exp(-(problem.X @ problem.W + problem.b)))[0]
        return np.prod(np.where(states > 0.0, u, 1.0 - u), axis=1)

    q = prior(problem)

    def of_pairs(problem):  # the bound from two samples, whose distribution q is fixed
        ratio = prior(problem) / q * p_y
        return np.einsum("s,t,st", q, q, np.log(0.5 * (ratio[:, None] + ratio)))

    of_bound = _slopes(lambda problem: prior(problem) @ np.log(p_y), problem)
    of_likelihood = _slopes(lambda problem: np.log(prior(problem) @ p_y), problem)
    np.testing.assert_allclose(example["bound_gradient"](problem), of_bound, atol=1e-9)
    exact = example["likelihood_gradient"](problem)
    np.testing.assert_allclose(exact, of_likelihood, atol=1e-9)

    expected = _expected_estimates(example, problem, 2)
    for name in ("REINFORCE", "REINFORCE, baseline"):
        np.testing.assert_allclose(expected[name], of_bound, atol=1e-9)
    sampled = expected["importance sampling"]
    np.testing.assert_allclose(sampled, _slopes(of_pairs, problem), atol=1e-9)
    assert np.linalg.norm(sampled - of_likelihood) > 0.1 * np.linalg.norm(of_likelihood)
    u = 1.0 / (1.0 + np.exp(-(problem.X @ problem.W + problem.b)))[0]
    p_k = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_log_odds = u * (1.0 - u) * (problem.V[:, 1] - q @ p_k @ problem.V.T)
    straight = np.concatenate([np.outer(problem.X[0], by_log_odds).ravel(), by_log_odds])
    np.testing.assert_allclose(expected["straight-through"], straight, atol=1e-12)


def test_bias_and_deviation_of_repeated_estimates():
    example = run_example("research/gradient_estimators")[0]
    rng = np.random.default_rng(0)
    exact, off = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.0, -0.4])
    found = []
    for _ in range(200):
        values = exact + off + rng.normal(scale=2.0, size=(100, 3))
        found.append((*example["bias"](values, exact), *example["deviation"](values)))
    norm, norm_error, root, root_error = np.transpose(found)
    assert np.mean(norm**2) == pytest.approx(0.25, abs=0.06)  # unbiased but for zeros
    assert np.std(norm**2) == pytest.approx(np.mean(2.0 * norm * norm_error), rel=0.3)
    assert np.mean(root) == pytest.approx(np.sqrt(12.0), rel=0.01)
    assert np.std(root) == pytest.approx(np.mean(root_error), rel=0.3)


def test_gradient_estimators():
    example, _ = run_example("research/gradient_estimators")
    distance = example["distance"]
    assert 40.0 < distance < 70.0
    assert len(example["results"]) == 5 * len(example["SIZES"])
    for (name, n_samples), figures in example["results"].items():
        to_bound, bound_error = figures["bias against the bound"]
        to_likelihood, error = figures["bias against log p(y|x)"]
        if name.startswith("REINFORCE"):
            assert to_bound < 4.0 * bound_error
            assert abs(to_likelihood - distance) < 4.0 * error
        elif name == "straight-through":
            assert min(to_bound, to_likelihood) > 20.0
        else:
            assert (to_likelihood > 25.0) == (n_samples == 2)
        first, last = (example["results"][name, S]["standard deviation"][0] for S in (2, 64))
        # the variance is proportional to 1 / S, or with a baseline to 1 / (S - 1)
        ratio = np.sqrt(63.0 if name.endswith("baseline") else 32.0)
        assert first / last == pytest.approx(ratio, rel=0.1), name


def test_gradient_estimators_prints_three_tables():
    _, printed = run_example("research/gradient_estimators")
    tables = printed.split("\n\n")[1:]
    assert [len(table.strip().splitlines()) for table in tables] == [7, 7, 7]


def test_thousand_units():
    example, printed = run_example("research/thousand_units")
    assert "about 10^301" in printed  # 2^1000 = 1.07e301
    assert max(example["differences"].values()) < 1e-10
    assert min(example["differences"]) <= 4
    assert max(example["differences"]) >= 16
    assert 0.3 < example["power"] < 1.9  # about 1, but other programs disturb the clock
    assert example["years"] > 270.0  # 2^1000 states at 1e-12 s each: 10^282 years
    # sampling draws 500 states of 1000 units for each row: not many times faster or slower
    assert 0.05 < example["sampling"][1000] / example["quadrature"][1000] < 20.0
    large = example["models"][1000]
    assert large.coefs_[0].shape == (2, 1000)
    assert all(model.converged_ for model in example["models"].values())
    assert max(example["log_losses"].values()) < 0.25  # without features: log 2 = 0.69


def test_auto_selects_quadrature_for_a_thousand_units():
    example, _ = run_example("research/thousand_units")
    X, y = example["X"], example["y"]
    network = example["random_network"](1000)
    found = [
        example["EStep"](X, y, hidden_layer_sizes=1000, method=method)(*network).log_likelihood
        for method in ("auto", "quadrature")
    ]
    np.testing.assert_array_equal(*found)


def test_depth_helps_on_the_checkerboard_and_not_on_the_moons():
    example, _ = run_example("research/deep_network")
    losses = {key: values.mean() for key, values in example["losses"].items()}
    shallow, *deep = example["NETWORKS"]
    for layers in deep:
        assert losses["checkerboard", layers] < 0.75 * losses["checkerboard", shallow]
        assert 1.0 < losses["moons", layers] / losses["moons", shallow] < 1.2
    sizes = [
        sum(part.size for part in (*model.coefs_, *model.intercepts_))
        for (problem, _), model in example["models"].items()
        if problem == "moons"
    ]
    assert sizes == [62, 56, 62]


def test_posteriors_of_both_layers_by_brute_force():
    example, printed = run_example("research/deep_network")
    assert "shapes: (600, 6) (600, 4)" in printed
    model, rows = example["model"], slice(0, 5)
    X, y = example["X"][rows], example["y"][rows]
    (W, U, V), (b, d, c) = model.coefs_, model.intercepts_
    first, second = (np.array(list(itertools.product([0.0, 1.0], repeat=m))) for m in (6, 4))

    def bernoulli(states, log_odds):  # (n, m), (k, m) -> (n, k)
        u = 1.0 / (1.0 + np.exp(-log_odds))[:, None]
        return np.prod(np.where(states > 0.0, u, 1.0 - u), axis=2)

    p_y = np.exp(second @ V + c)
    p_y /= p_y.sum(axis=1, keepdims=True)
    joint = bernoulli(first, X @ W + b)[:, :, None] * bernoulli(second, first @ U + d)
    joint *= p_y[:, y].T[:, None]
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(example["first"][rows], joint.sum(axis=2) @ first, atol=1e-9)
    np.testing.assert_allclose(example["second"][rows], joint.sum(axis=1) @ second, atol=1e-9)


def test_four_units_of_the_deep_network_are_the_lines_of_the_board():
    example, _ = run_example("research/deep_network")
    X, first, second = example["X"], example["first"], example["second"]
    for feature in (0, 1):
        for line in (1.0, 2.0):
            side = X[:, feature] > line
            agrees = np.mean((first > 0.5) == side[:, None], axis=0)
            assert max(agrees.max(), 1.0 - agrees.min()) > 0.97, (feature, line)
    middle = (np.floor(X) == 1.0).sum(axis=1)  # 0 at the corners, 2 in the centre
    for fields in (middle == 0, middle == 2):
        agrees = np.mean((second > 0.5) == fields[:, None], axis=0)
        assert max(agrees.max(), 1.0 - agrees.min()) > 0.95


def test_on_a_cluster(tmp_path):
    """In a process of its own and in another folder, as a user starts it."""
    pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "practice" / "on_a_cluster.py"], capture_output=True, text=True,
        timeout=280, check=False, cwd=tmp_path, env={**os.environ, "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    workers, size, _, accuracy, difference, loaded = done.stdout.splitlines()
    assert workers == "workers: 2"
    assert size.startswith("4 partitions")
    assert float(difference.split()[-4]) < 1e-6  # rounding, up to the tolerance of both fits
    for line in (accuracy, loaded):
        assert 0.94 < float(line.split()[-1]) < 0.96  # 5 % of the labels are wrong


def test_online_digits():
    example, printed = run_example("practice/online_digits")
    n_seen, accuracies = example["n_seen"], example["accuracies"]
    assert n_seen[-1] == 9 * len(example["images"]) == 12123
    assert accuracies[1] > 0.2  # after 1000 rows; 0.1 by chance
    assert accuracies[-1] > 0.9
    assert printed.splitlines()[-1].split()[0] == "12123"


def test_the_stream_has_nine_shifted_copies_of_every_image():
    example, _ = run_example("practice/online_digits")
    batches = list(example["stream"](batch_size=5000))
    labels = np.concatenate([labels for _, labels in batches])
    assert np.bincount(labels).tolist() == (9 * np.bincount(example["labels"])).tolist()
    image = example["images"][0]
    shifted = {example["shift"](image, s, order=0).tobytes()
               for s in itertools.product((-2, 0, 2), repeat=2)}  # fmt: skip
    seen = {one.tobytes() for batch, _ in batches for one in batch}
    assert len(shifted) == 9
    assert shifted <= seen
    rows = example["rows"](batches[0][0])
    assert rows.shape == (5000, 784)
    assert (rows.min(), rows.max()) == (0.01, 1.0)


def test_uncertainty():
    example, printed = run_example("practice/uncertainty")
    summary = example["summary"]
    for j, effect in enumerate(example["truth"].values()):
        assert abs(summary.effects[j, 0] - effect) < 3.0 * summary.effect_errors[j, 0]
    assert example["truth"]["height"] == 0.0
    assert abs(summary.z_values[2, 0]) < 2.0  # the height has no effect
    assert summary.z_values[0, 0] < -2.0
    assert str(summary) in printed
    lower, upper = np.moveaxis(summary.effect_intervals[:, 0], -1, 0)
    true_effects = np.array(list(example["truth"].values()))
    assert np.all((lower < true_effects) & (true_effects < upper))  # as the text says


def test_both_intervals_of_the_uncertain_probability():
    example, _ = run_example("practice/uncertainty")
    known = example["true_probability"](example["patients"]).to_numpy()
    assert np.all(np.abs(known - example["probability"]) < 0.15)
    widths = []
    for low, high in (interval.T for interval in example["intervals"].values()):
        # 95 % over many data sets; the doses of one data set depend on each other
        assert np.mean((low <= known) & (known <= high)) > 0.7
        assert np.all((low < example["probability"]) & (example["probability"] < high))
        widths.append(np.mean(high - low))
    assert widths[0] == pytest.approx(widths[1], rel=0.2)


def test_the_number_of_units_of_the_uncertain_data():
    example, printed = run_example("practice/uncertainty")
    one, two = example["tests"]
    assert one.p_value == 0.05  # the smallest of 19 simulations
    assert one.statistic > 3.0 * one.null_statistics.max()
    assert two.p_value > 0.2
    assert "Likelihood-ratio test of 2 against 3 hidden units" in printed
