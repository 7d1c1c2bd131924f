"""Slopes and crossings of made-up times."""

import numpy as np
import pytest

from fastem.profiling.growth import Slope, crossings, slope_in_rows, slope_in_units

UNITS = np.arange(4, 17)
ROWS = np.array([100, 1_000, 10_000, 30_000])


@pytest.mark.parametrize("planted", [1.0, 0.5, 0.0, -0.25])
def test_a_planted_slope_in_units_is_found(planted):
    slope = slope_in_units(UNITS, 3e-6 * 2.0 ** (planted * UNITS))
    assert slope.value == pytest.approx(planted, abs=1e-12)
    assert slope.standard_error == pytest.approx(0.0, abs=1e-7)
    assert slope.sizes == UNITS.tolist()


@pytest.mark.parametrize("planted", [1.0, 2.0, 0.3])
def test_a_planted_slope_in_rows_is_found(planted):
    slope = slope_in_rows(ROWS, 1e-7 * ROWS**planted)
    assert slope.value == pytest.approx(planted, abs=1e-12)
    assert slope.standard_error == pytest.approx(0.0, abs=1e-7)
    assert slope.sizes == ROWS.tolist()


def test_the_order_of_the_sizes_does_not_matter():
    seconds = 2.0**UNITS * np.linspace(1.0, 1.2, UNITS.size)
    assert slope_in_units(UNITS[::-1], seconds[::-1]) == slope_in_units(UNITS, seconds)


def test_the_standard_error_is_that_of_the_noise():
    """The scatter of slopes under noise agrees with their standard errors."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=(400, UNITS.size))
    slopes = [slope_in_units(UNITS, 1e-6 * 2.0 ** (UNITS + row)) for row in noise]
    values = np.array([slope.value for slope in slopes])
    expected = 0.1 / np.sqrt(((UNITS - UNITS.mean()) ** 2).sum())
    assert values.mean() == pytest.approx(1.0, abs=3 * expected / 20)
    assert values.std() == pytest.approx(expected, rel=0.15)
    assert np.mean([s.standard_error**2 for s in slopes]) == pytest.approx(expected**2, rel=0.15)


def test_slope_and_standard_error_agree_with_the_normal_equations():
    seconds = 1e-5 * 2.0 ** (UNITS + np.sin(UNITS))
    design = np.column_stack([np.ones(UNITS.size), UNITS])
    inverse = np.linalg.inv(design.T @ design)
    line = inverse @ design.T @ np.log2(seconds)
    residuals = np.log2(seconds) - design @ line
    variance = residuals @ residuals / (UNITS.size - 2) * inverse[1, 1]
    found = slope_in_units(UNITS, seconds)
    assert found.value == pytest.approx(line[1], rel=1e-10)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_sizes_dominated_by_overhead_are_left_out():
    overhead = 1e-3
    seconds = np.maximum(1e-7 * 2.0**UNITS, overhead)
    with_them = slope_in_units(UNITS, seconds)
    assert with_them.value < 0.5
    without = slope_in_units([*UNITS, 17, 18], [*seconds, 1e-7 * 2**17, 1e-7 * 2**18], 1e-3)
    assert without is None  # only 17 and 18 take ten times the overhead
    units = np.arange(4, 22)
    slope = slope_in_units(units, np.maximum(1e-7 * 2.0**units, overhead), overhead)
    assert slope.sizes == [17, 18, 19, 20, 21]
    assert slope.value == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("n_points", [0, 1, 2])
def test_fewer_than_three_sizes_give_no_slope(n_points):
    assert slope_in_units(UNITS[:n_points], 2.0 ** UNITS[:n_points]) is None
    assert slope_in_rows(ROWS[:n_points], 1.0 * ROWS[:n_points]) is None


def test_one_size_many_times_gives_no_slope():
    assert slope_in_units([5, 5, 5, 6], [1.0, 1.1, 1.2, 2.0]) is None


def test_three_sizes_are_enough():
    assert slope_in_units([1, 2, 3], [1.0, 2.0, 4.0]) == Slope(
        pytest.approx(1.0), pytest.approx(0.0, abs=1e-7), [1, 2, 3]
    )


def test_curves_cross_where_planted():
    doubling = {m: 1e-6 * 2.0**m for m in range(4, 17)}
    level = {m: 1e-6 * 2.0**10.25 for m in range(8, 20)}
    (found,) = crossings(doubling, level)
    assert found.size == pytest.approx(10.25)
    assert found.seconds == pytest.approx(1e-6 * 2.0**10.25)
    (mirrored,) = crossings(level, doubling)
    assert mirrored == pytest.approx(found)


def test_curves_cross_at_a_size_where_times_are_the_same():
    first, second = {1: 1.0, 2: 2.0, 3: 4.0}, {1: 2.0, 2: 2.0, 3: 2.0}
    (found,) = crossings(first, second)
    assert found == pytest.approx((2.0, 2.0))


def test_curves_that_touch_or_stay_apart_do_not_cross():
    assert crossings({1: 1.0, 2: 2.0, 3: 1.0}, {1: 2.0, 2: 2.0, 3: 2.0}) == []
    assert crossings({1: 1.0, 2: 2.0}, {1: 2.0, 2: 4.0}) == []
    assert crossings({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}) == []


def test_curves_without_common_sizes_do_not_cross():
    assert crossings({1: 1.0, 2: 3.0}, {3: 2.0}) == []
    assert crossings({}, {}) == []


def test_curves_may_cross_more_than_once():
    first = {1: 1.0, 2: 4.0, 3: 1.0}
    assert [c.size for c in crossings(first, dict.fromkeys(first, 2.0))] == [1.5, 2.5]
