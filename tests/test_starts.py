"""Starting values: what they depend on, and what they promise."""

import numpy as np
import pytest

from fastem.parameters import Shape
from fastem.solvers.starts import draw_start

INTERCEPTS = pytest.mark.parametrize("fit_intercept", [True, False])


def _draw(shape, class_weights, seed=0):
    return draw_start(shape, np.asarray(class_weights, dtype=float), np.random.RandomState(seed))


def _softmax(logits):
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


@INTERCEPTS
def test_a_seed_is_a_start(fit_intercept):
    shape = Shape(3, (4,), 2, fit_intercept)
    one, same, other = (_draw(shape, [3, 5], seed) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.hidden[0], other.hidden[0])
    assert not np.array_equal(one.output, other.output)


@pytest.mark.parametrize("factor", [1e-6, 2.0, 2.0**40])
@INTERCEPTS
def test_the_number_of_rows_does_not_matter(fit_intercept, factor):
    shape = Shape(2, (5,), 3, fit_intercept)
    weights = np.array([1.0, 2.0, 5.0])
    for a, b in zip(_draw(shape, weights), _draw(shape, factor * weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_class_weights_move_nothing_but_the_intercepts():
    shape = Shape(2, (3,), 3)
    one, other = _draw(shape, [1, 1, 1]), _draw(shape, [1, 5, 100])
    np.testing.assert_array_equal(one.hidden[0], other.hidden[0])
    np.testing.assert_array_equal(one.output[:-1], other.output[:-1])
    assert not np.allclose(one.output[-1], other.output[-1])


def test_a_generator_is_drawn_on():
    random_state = np.random.RandomState(0)
    shape, weights = Shape(2, (3,), 2), np.ones(2)
    one, other = (draw_start(shape, weights, random_state) for _ in range(2))
    assert not np.array_equal(one.hidden[0], other.hidden[0])


@INTERCEPTS
@pytest.mark.parametrize("size", [(1, (1,), 2), (4, (3,), 3), (2, (10,), 7)])
def test_shapes_and_intercepts(size, fit_intercept):
    shape = Shape(*size, fit_intercept)
    start = _draw(shape, np.arange(1.0, shape.n_outputs + 1.0))
    assert shape.pack(start).shape == (shape.n_parameters,)
    back = shape.unpack(shape.pack(start))
    assert [x.shape for x in back.hidden] == [x.shape for x in start.hidden]
    assert back.output.shape == start.output.shape == shape.output_shape
    assert (start.hidden[0][: shape.n_features] != 0.0).all()
    np.testing.assert_array_equal(start.hidden[0][shape.n_features :], 0.0)
    np.testing.assert_allclose(start.output[: shape.last].sum(axis=1), 0.0, atol=1e-12)


@pytest.mark.parametrize("class_weights", [[1.0, 1.0], [10.0, 1.0, 4.0], [1e-3, 1e3]])
def test_units_half_on_give_the_classes_their_frequencies(class_weights):
    shape = Shape(2, (6,), len(class_weights))
    for seed in range(3):
        start = _draw(shape, class_weights, seed)
        logits = 0.5 * start.output[:-1].sum(axis=0) + start.output[-1]
        shares = np.divide(class_weights, np.sum(class_weights))
        np.testing.assert_allclose(_softmax(logits), shares, rtol=1e-5)


@pytest.mark.parametrize("class_weights", [[0.0, 3.0], [1e300, 0.0, 1e-300], [0.0, 0.0, 1e-12]])
@INTERCEPTS
def test_classes_without_weight_are_finite_and_rare(class_weights, fit_intercept):
    start = _draw(Shape(2, (3,), len(class_weights), fit_intercept), class_weights)
    assert all(np.isfinite(array).all() for array in start)
    if fit_intercept:
        logits = 0.5 * start.output[:-1].sum(axis=0) + start.output[-1]
        assert _softmax(logits)[np.equal(class_weights, 0.0)].max() < 1e-5


def test_log_odds_have_the_same_spread_whatever_the_number_of_features():
    rng = np.random.default_rng(0)
    spreads = []
    for n_features in (1, 10, 100):
        start = _draw(Shape(n_features, (400,), 2), [1, 1])
        log_odds = rng.normal(size=(500, n_features)) @ start.hidden[0][:-1]
        spreads.append(log_odds.std())
    np.testing.assert_allclose(spreads, 2.0, rtol=0.1)
