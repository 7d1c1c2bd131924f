"""The gallery, section research: the examples show what the package really does."""

import importlib.util
import itertools
import subprocess
import sys

import numpy as np
import pytest
from gallery import EXAMPLES


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _printed(capsys):
    """Return the words of every printed line."""
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_on_a_cluster():
    """In a process of its own, as a user starts it: workers import the example."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "practice" / "on_a_cluster.py"], capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(float(line.split()[-1]) > 0.88 for line in lines[1:])  # 0.95 is possible


def _expected_estimates(example, problem, n_samples):
    """Return the expectations over all samples of one row, and that of log mean_s p(y|z_s)."""
    n_hidden = len(problem.V)
    u = 1.0 / (1.0 + np.exp(-(problem.X @ problem.W + problem.b)))[0]
    states = np.array(list(itertools.product([0.0, 1.0], repeat=n_hidden)))
    prior = np.prod(np.where(states > 0.0, u, 1.0 - u), axis=1)
    total = dict.fromkeys(example.OBJECTIVES, 0.0)
    for chosen in itertools.product(range(len(states)), repeat=n_samples):
        chosen = list(chosen)
        for name, values in example.estimates(problem, states[None, chosen]).items():
            total[name] += np.prod(prior[chosen]) * values
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
    example = _example("research/gradient_estimators")
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=size) for size in [(2, 2), (2,), (2, 3), (3,)])
    problem = example.Problem(rng.normal(size=(1, 2)), np.array([1]), *arrays)
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
    np.testing.assert_allclose(example.of_bound(problem), of_bound, atol=1e-9)
    exact = example.of_e_step(problem, "enumeration")
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
    example = _example("research/gradient_estimators")
    rng = np.random.default_rng(0)
    exact, off = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.0, -0.4])
    found = []
    for _ in range(200):
        values = exact + off + rng.normal(scale=2.0, size=(100, 3))
        found.append((*example.bias(values, exact), *example.deviation(values)))
    norm, norm_error, root, root_error = np.transpose(found)
    assert np.mean(norm**2) == pytest.approx(0.25, abs=0.06)  # unbiased but for zeros
    assert np.std(norm**2) == pytest.approx(np.mean(2.0 * norm * norm_error), rel=0.3)
    assert np.mean(root) == pytest.approx(np.sqrt(12.0), rel=0.01)
    assert np.std(root) == pytest.approx(np.mean(root_error), rel=0.3)


def test_gradient_estimators(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "estimators.png"
    _example("research/gradient_estimators").main(str(path), sizes=(2, 16), n_repeats=60)
    lines = capsys.readouterr().out.splitlines()
    distance = float(lines[2].split()[-2])
    assert 40.0 < distance < 70.0
    rows = {(line[:19].strip(), int(line[32:36])): line[36:].split() for line in lines[4:-1]}
    assert len(rows) == 10
    for (name, n_samples), cells in rows.items():
        own, own_error, log_p, error = (float(cells[i]) for i in (0, 2, 3, 5))
        if name.startswith("REINFORCE"):
            assert own < 4.0 * own_error
            assert abs(log_p - distance) < 4.0 * error
        elif name == "straight-through":
            assert min(own, log_p) > 20.0
        else:
            assert own == log_p
            assert (log_p > 25.0) == (n_samples == 2)
        ratio = float(rows[name, 2][6]) / float(rows[name, 16][6])
        assert ratio == pytest.approx(np.sqrt(8.0), rel=0.4), name
    assert lines[-1] == str(path)
    assert 10_000 < path.stat().st_size < 150_000


def test_online_digits(capsys, tmp_path):
    example = _example("practice/online_digits")
    paths = example.make_files(tmp_path, shifts=(0, 2))
    with open(paths[0]) as lines:
        header, first = (next(lines).rstrip().split(",") for _ in range(2))
    assert header[:2] + header[-1:] == ["label", "1x1", "28x28"]
    assert len(header) == len(first) == 785
    pixels = np.array(first[1:], int)
    assert pixels.min() == 0
    assert 200 < pixels.max() <= 255

    example.main(["--train", str(paths[0]), "--test", str(paths[1])])
    title, _, *rows = _printed(capsys)
    assert title == ["5388", "training", "rows,", "450", "test", "rows"]
    assert [row[0] for row in rows] == ["2000", "4000", "5388"]
    accuracy = [float(row[1]) for row in rows]
    assert accuracy[0] > 0.5
    assert min(accuracy[1:]) > 0.8


def test_online_digits_needs_both_files(capsys):
    with pytest.raises(SystemExit):
        _example("practice/online_digits").main(["--train", "train.csv"])
    assert "--train and --test must be used together" in capsys.readouterr().err
