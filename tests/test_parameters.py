"""The way between parameters, flat vectors, and lists as scikit-learn has them."""

import itertools
from itertools import pairwise

import numpy as np
import pytest

from fastem.parameters import Parameters, Shape, split_intercepts

SHAPES = [
    Shape(n_features, sizes, n_classes, fit_intercept)
    for n_features, sizes, n_classes in [(4, (3,), 2), (1, (1,), 2), (2, (5,), 4), (3, (2, 4), 3)]
    for fit_intercept in (True, False)
]


def _theta(shape):
    return np.random.default_rng(0).normal(size=shape.n_parameters)


def _lists(shape):
    """Every number is another one, so that none can be mistaken."""
    units = [shape.n_features, *shape.hidden_layer_sizes, shape.n_outputs]
    numbers = itertools.count(1.0)
    coefs = [[[next(numbers) for _ in range(m)] for _ in range(n)] for n, m in pairwise(units)]
    intercepts = [[next(numbers) * shape.fit_intercept for _ in range(m)] for m in units[1:]]
    return [np.array(W) for W in coefs], [np.array(b) for b in intercepts]


def _arrays(parameters):
    return [*parameters.hidden, parameters.output]


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes(shape):
    coefs, intercepts = _lists(shape)
    assert shape.n_inputs == shape.n_features + shape.fit_intercept
    assert shape.depth == len(shape.hidden_layer_sizes)
    assert (shape.first, shape.last) == (coefs[0].shape[1], coefs[-1].shape[0])
    n_intercepts = sum(b.size for b in intercepts) * shape.fit_intercept
    assert shape.n_parameters == sum(W.size for W in coefs) + n_intercepts


def test_intercepts_are_the_default():
    assert Shape(1, (2,), 3) == Shape(1, (2,), 3, True)


@pytest.mark.parametrize("shape", SHAPES)
def test_flat_vectors_come_back(shape):
    theta = _theta(shape)
    parameters = shape.unpack(theta)
    sizes = [*shape.hidden_shapes, shape.output_shape]
    assert [x.shape for x in _arrays(parameters)] == sizes
    packed = shape.pack(parameters)
    np.testing.assert_array_equal(packed, theta)
    packed[:] = 0.0  # the packed vector is new
    np.testing.assert_array_equal(theta, _theta(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_copies_nothing(shape):
    theta = _theta(shape)
    parameters = shape.unpack(theta)
    for array in _arrays(parameters):
        assert np.shares_memory(array, theta)
        assert array.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_lists_come_back(shape):
    coefs, intercepts = _lists(shape)
    parameters = shape.from_lists(coefs, intercepts)
    got_coefs, got_intercepts = shape.to_lists(shape.unpack(shape.pack(parameters)))
    for got, expected in zip(got_coefs + got_intercepts, coefs + intercepts, strict=True):
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_lists_are_taken_in_any_layout_and_returned_new(shape):
    coefs, intercepts = _lists(shape)
    expected = shape.from_lists(coefs, intercepts)
    odd = [np.asfortranarray(x.astype(np.int64)) for x in coefs]
    parameters = shape.from_lists(odd, [x.tolist() for x in intercepts])
    for got, wanted in zip(_arrays(parameters), _arrays(expected), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == np.float64
        assert got.flags.c_contiguous
    lists = shape.to_lists(parameters)
    for array in lists[0] + lists[1]:
        assert not any(np.shares_memory(array, own) for own in _arrays(parameters))


@pytest.mark.parametrize("shape", SHAPES)
def test_intercepts_stand_in_the_last_row(shape):
    coefs, intercepts = _lists(shape)
    layers = _arrays(shape.from_lists(coefs, intercepts))
    for joined, W, b in zip(layers, coefs, intercepts, strict=True):
        X = np.random.default_rng(1).normal(size=(5, len(W)))
        inputs = np.hstack([X, np.ones((5, 1))]) if shape.fit_intercept else X
        np.testing.assert_allclose(inputs @ joined, X @ W + b)
        for got, wanted in zip(split_intercepts(joined, len(W)), (W, b), strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_weights_are_one_for_coefficients_alone(shape):
    weights = shape.unpack(shape.penalty_weights())
    coefs, intercepts = shape.to_lists(Parameters(*weights))
    assert all((array == 1.0).all() for array in coefs)
    assert all((array == 0.0).all() for array in intercepts)
    assert shape.penalty_weights().shape == (shape.n_parameters,)
