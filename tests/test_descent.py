"""The rules of descent that the perceptron and solver="adam" share."""

import math
from pathlib import Path

import numpy as np
import pytest

import fastem
from fastem.kernels.descent import Rule, State, compiled_rate_of_step, descend, rate_of_step

ADAM = Rule.adam(0.1, 0.9, 0.999, 1e-8)


@pytest.mark.parametrize("n_steps", [1, 2, 1000])
def test_the_rate_of_adam_contains_the_correction_of_both_moments(n_steps):
    expected = 0.1 * math.sqrt(1.0 - 0.999**n_steps) / (1.0 - 0.9**n_steps)
    for rate in (rate_of_step, compiled_rate_of_step):
        assert rate(ADAM, n_steps) == pytest.approx(expected, rel=1e-12)


def test_the_rate_of_sgd_is_constant():
    assert rate_of_step(Rule.sgd(0.1, 0.9, True), 7) == 0.1


def test_two_steps_of_adam():
    state = State(np.array([1.0, -2.0]), np.zeros(2), np.zeros(2))
    theta, first, second = state.theta.copy(), np.zeros(2), np.zeros(2)
    for t, gradient in enumerate(([0.5, 0.0], [-1.0, 3.0]), 1):
        gradient = np.array(gradient)
        squares = descend(
            ADAM, rate_of_step(ADAM, t), state.theta, gradient, 0.2, 4.0, *state[1:]
        )  # fmt: skip
        assert squares == pytest.approx(theta @ theta)
        mean = (gradient + 0.2 * theta) / 4.0
        first = 0.9 * first + 0.1 * mean
        second = 0.999 * second + 0.001 * mean**2
        rate = 0.1 * math.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        theta = theta - rate * first / (np.sqrt(second) + 1e-8)
        np.testing.assert_allclose(state.theta, theta, rtol=1e-12)


def test_an_owned_state_shares_no_memory():
    theta = np.frombuffer(np.ones(2).tobytes())
    owned = State.owned(theta, theta, theta)
    owned.theta[0] = owned.first[0] = owned.second[0] = 5.0
    assert theta.tolist() == [1.0, 1.0]
    assert not np.shares_memory(owned.first, owned.second)


@pytest.mark.parametrize(("room", "other"), [("solvers", "perceptron"), ("perceptron", "solvers")])
def test_neither_side_imports_the_other(room, other):
    sources = list((Path(fastem.__file__).parent / room).glob("*.py"))
    assert len(sources) > 3
    assert [path.name for path in sources if f"fastem.{other}" in path.read_text("utf-8")] == []
