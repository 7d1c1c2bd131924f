"""Tables over bit-encoded configurations against loops over the bits."""

import numpy as np
import pytest
import reference

from fastem.kernels import configurations

# (n_hidden, n_low_bits): even and odd splits, and halves without a bit
SPLITS = [(1, 0), (1, 1), (2, 1), (3, 0), (4, 4), (5, 2), (6, 3), (7, 5)]


def _weights(seed, n_hidden, n_classes, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n_hidden, n_classes)), scale * rng.normal(size=n_classes)


def _scaled(V, c, n_low_bits):
    high, low = configurations.half_logits(V, c, n_low_bits)
    exp_high, _ = configurations.scaled_exponentials(high)
    exp_low, _ = configurations.scaled_exponentials(low)
    return high, low, exp_high, exp_low


def _output_table(V, c, n_low_bits, slices=None):
    n_low = 2**n_low_bits
    n_high = 2 ** len(V) // n_low
    out = np.full((len(c), n_high, n_low), np.nan)
    for start, stop in slices or [(0, n_high)]:
        configurations.fill_output_table(V, c, start, stop, out)
    return out


@pytest.mark.parametrize(("first", "n_bits"), [(0, 5), (0, 1), (1, 0), (2, 3), (4, 1)])
@pytest.mark.parametrize("n_rows", [1, 7])
def test_fill_prior(first, n_bits, n_rows):
    on = np.random.default_rng(n_bits).uniform(size=(5, n_rows))
    off = 1.0 - on
    out = np.full((2**n_bits, n_rows), np.nan)
    group = slice(first, first + n_bits)
    configurations.fill_prior(on[group], off[group], out)
    Z = reference.configurations(n_bits)[:, :, None]
    np.testing.assert_allclose(out, np.prod(Z * on[group] + (1.0 - Z) * off[group], axis=1))
    np.testing.assert_allclose(out.sum(axis=0), 1.0)


@pytest.mark.parametrize(("first", "n_bits"), [(0, 5), (0, 1), (1, 0), (2, 3), (4, 1)])
def test_fold(first, n_bits):
    table = np.random.default_rng(n_bits).normal(size=(2**n_bits, 3))
    out = np.full((5, 3), np.nan)
    expected = out.copy()
    expected[first : first + n_bits] = reference.configurations(n_bits).T @ table
    configurations.fold(table, out[first : first + n_bits])
    np.testing.assert_allclose(out, expected, atol=1e-13)  # rows of other units stay NaN


@pytest.mark.parametrize(("first", "n_bits"), [(0, 5), (0, 1), (1, 0), (2, 3), (4, 1)])
def test_fold_product(first, n_bits):
    factor, table = np.random.default_rng(n_bits).normal(size=(2, 2**n_bits, 3))
    out, expected = np.full((5, 3), np.nan), np.full((5, 3), np.nan)
    product = factor * table
    expected[first : first + n_bits] = reference.configurations(n_bits).T @ product
    total = configurations.fold_product(factor, table, out[first : first + n_bits])
    np.testing.assert_allclose(out, expected, atol=1e-13)
    np.testing.assert_allclose(total, product.sum(axis=0), atol=1e-13)


@pytest.mark.parametrize(("first", "n_bits"), [(0, 6), (2, 3), (5, 1), (3, 0)])
def test_subset_sums(first, n_bits):
    values = np.random.default_rng(n_bits).normal(size=6)
    sums = np.full(2**n_bits, np.nan)
    configurations.fill_subset_sums(values[first : first + n_bits], 0.5, sums)
    expected = 0.5 + reference.configurations(n_bits) @ values[first : first + n_bits]
    np.testing.assert_allclose(sums, expected, atol=1e-14)


@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_half_logits_add_up_to_the_logits(n_hidden, n_low_bits):
    V, c = _weights(1, n_hidden, 3)
    high, low = configurations.half_logits(V, c, n_low_bits)
    assert high.shape == (3, 2 ** (n_hidden - n_low_bits))
    logits = (high[:, :, None] + low[:, None, :]).reshape(3, -1)
    np.testing.assert_allclose(logits, (reference.configurations(n_hidden) @ V + c).T, atol=1e-14)


def test_scaled_exponentials():
    logits = np.random.default_rng(2).normal(scale=100.0, size=(3, 50))
    scaled, largest = configurations.scaled_exponentials(logits)
    np.testing.assert_array_equal(largest, logits.max(axis=0))
    np.testing.assert_allclose(scaled, np.exp(logits - largest), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("n_classes", [1, 2, 5])
@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_output_table(n_hidden, n_low_bits, n_classes, scale):
    V, c = _weights(3, n_hidden, n_classes, scale)
    table = _output_table(V, c, n_low_bits).reshape(n_classes, -1)
    log_table = reference.log_output_table(V, c).T
    np.testing.assert_allclose(table, np.exp(log_table), rtol=1e-11, atol=1e-240)
    np.testing.assert_allclose(table.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("scale", [138.0, 150.0, 700.0, 1e3, 1e6])
def test_output_table_where_the_halves_disagree(scale):
    # high logits favour class 0 and low logits class 1 equally: the products underflow
    V = scale * np.array([[-1.0, 1.0], [0.0, 1e-3], [1.0, -1.0]])
    c = np.array([0.0, 0.5])
    table = _output_table(V, c, 1).reshape(2, -1)
    expected = np.exp(reference.log_output_table(V, c).T)
    both_on = 0b101
    assert 0.1 < expected[0, both_on] < 0.9
    np.testing.assert_allclose(table, expected, rtol=1e-9, atol=1e-240)


def test_output_table_by_slices_is_the_same_and_stays_in_them():
    V, c = _weights(4, 6, 3, 100.0)
    whole = _output_table(V, c, 3)
    np.testing.assert_array_equal(_output_table(V, c, 3, [(5, 8), (0, 1), (1, 5)]), whole)
    part = _output_table(V, c, 3, [(2, 5)])
    np.testing.assert_array_equal(part[:, 2:5], whole[:, 2:5])
    assert np.isnan(np.delete(part, [2, 3, 4], axis=1)).all()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e200])
@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_log_output_table_and_normaliser(n_hidden, n_low_bits, scale):
    V, c = _weights(5, n_hidden, 3, scale)
    high, low = configurations.half_logits(V, c, n_low_bits)
    expected = reference.log_output_table(V, c)
    out = np.empty((high.shape[1], low.shape[1]))
    for k in range(3):
        configurations.fill_log_output_table(high, low, k, out)
        np.testing.assert_allclose(out.ravel(), expected[:, k], rtol=1e-12, atol=1e-12 * scale)
    logits = reference.configurations(n_hidden) @ V + c
    got = configurations.log_normaliser(high, low, high.shape[1] - 1, low.shape[1] - 1)
    np.testing.assert_allclose(got, reference.log_sum_exp(logits[-1], axis=0), rtol=1e-13)


@pytest.mark.parametrize(("n_hidden", "n_low_bits"), SPLITS)
def test_unit_sums(n_hidden, n_low_bits):
    n_low = 2**n_low_bits
    table = np.random.default_rng(6).normal(size=(3, 2**n_hidden // n_low, n_low))
    sums = configurations.unit_sums(table.sum(axis=2), table.sum(axis=1)[None])
    Z = np.column_stack([reference.configurations(n_hidden), np.ones(2**n_hidden)])
    np.testing.assert_allclose(sums, Z.T @ table.reshape(3, -1).T, atol=1e-12)


@pytest.mark.parametrize("n_bits", [0, 1, 2, 13, 40])
def test_bits_of_a_table(n_bits):
    assert configurations.n_bits_of(2**n_bits) == n_bits
