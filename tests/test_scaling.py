"""The cost of E-steps against the size of the problem: measurement and evaluation."""

import inspect
import json

import numpy as np
import pytest

import fastem
from fastem import profile_scaling
from fastem.engines.auto import ENGINES
from fastem.engines.enumeration import Enumeration
from fastem.parameters import Shape
from fastem.profiling import stopwatch
from fastem.profiling.stopwatch import Stopwatch, dgemm_rate, draw_problem
from fastem.runtime import effective_n_jobs

# With four classes, enumeration is the only exact engine.
FOUR_CLASSES = {"n_classes": 4, "n_features": 2, "n_jobs": 1}
QUICK = {"hidden_layer_sizes": [2, 3], "n_samples": [20], **FOUR_CLASSES}


class Level(Enumeration):
    """An engine under another name."""

    name = "level"


@pytest.fixture
def two_engines(monkeypatch):
    monkeypatch.setitem(ENGINES, "level", Level)


@pytest.fixture
def planted(monkeypatch):
    """Known times: doubling with units and linear in rows, or constant in units."""

    def seconds(self, engine, shape, n_samples):
        if shape.first > 20:
            raise ValueError(f"{2**shape.first} tables are too many")
        units = shape.first if engine.name == "enumeration" else 9.5
        return 1e-7 * n_samples * 2.0**units + 1e-6 * n_samples

    monkeypatch.delitem(ENGINES, "quadrature")
    monkeypatch.setattr(Stopwatch, "_seconds", seconds)
    monkeypatch.setattr(stopwatch, "dgemm_rate", lambda n_threads: 1e9)


# --- measured -----------------------------------------------------------------------------


@pytest.mark.usefixtures("short_timings")
def test_every_pair_of_sizes_is_a_row():
    profile = profile_scaling(
        **{**QUICK, "hidden_layer_sizes": (3, 2, 3), "n_samples": iter([30, 20])}
    )
    assert [(r.n_samples, r.n_hidden) for r in profile.rows] == [(20, 2), (20, 3), (30, 2), (30, 3)]
    for row in profile.rows:
        assert (row.engine, row.n_classes, row.n_threads) == ("enumeration", 4, 1)
        assert row.n_configs == 2**row.n_hidden
        n_terms = row.n_samples * row.n_configs
        assert row.seconds > 0.0
        assert row.ns_per_configuration == pytest.approx(1e9 * row.seconds / n_terms)
        share = 6 * n_terms / row.seconds / row.dgemm_rate
        assert row.share_of_dgemm == pytest.approx(share)
        shape = Shape(2, (row.n_hidden,), 4)
        assert row.bytes == Enumeration().bytes_needed(shape, row.n_samples, 1)


@pytest.mark.usefixtures("short_timings")
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_and_the_plain_product(n_threads):
    assert dgemm_rate(n_threads) > 0.0
    profile = profile_scaling(**{**QUICK, "n_jobs": n_threads})
    assert {row.n_threads for row in profile.rows} == {n_threads}


@pytest.mark.usefixtures("short_timings")
def test_fewer_rows_than_classes():
    profile = profile_scaling(**{**QUICK, "n_samples": [1], "n_classes": 5})
    assert [row.n_samples for row in profile.rows] == [1, 1]


def test_problems_are_repeatable_and_follow_their_seed():
    shape = Shape(3, (2,), 4)
    (rows, parameters), (again, _), (other, _) = (
        draw_problem(shape, 40, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(rows.inputs, again.inputs)
    assert not np.array_equal(rows.inputs, other.inputs)
    assert rows.inputs.shape == (40, 4)
    assert parameters.output.shape == (3, 4)
    assert rows.class_starts[-1] == 40


@pytest.mark.usefixtures("short_timings")
def test_sizes_beyond_memory_are_skipped_with_the_reason():
    profile = profile_scaling(
        **{**QUICK, "hidden_layer_sizes": [2, 45, 500], "n_samples": [20, 10**15]}
    )
    assert [(row.n_samples, row.n_hidden) for row in profile.rows] == [(20, 2)]
    skipped = {(skip.n_samples, skip.n_hidden): skip.reason for skip in profile.skipped}
    assert set(skipped) == {(20, 45), (20, 500), (10**15, 2), (10**15, 45), (10**15, 500)}
    assert "2**45 hidden configurations" in skipped[20, 45]
    assert "n_samples=1000000000000000 needs" in skipped[10**15, 2]
    assert [(fit.n_samples, fit.slope) for fit in profile.by_hidden] == [(20, None)]


def test_an_allocation_that_fails_is_a_size_that_is_skipped(monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(Stopwatch, "_seconds", fail)
    profile = profile_scaling(**QUICK)
    assert profile.rows == profile.by_hidden == []
    assert [skip.reason for skip in profile.skipped] == ["out of memory"] * 2


# --- made of timings that are known -------------------------------------------------------


@pytest.mark.usefixtures("planted")
def test_growth_is_fitted_where_overhead_is_small():
    profile = profile_scaling(range(4, 17), [100, 1000, 10_000])
    assert [(fit.n_samples, fit.n_hidden) for fit in profile.by_hidden] == [
        (100, None), (1000, None), (10_000, None)
    ]  # fmt: skip
    for fit in profile.by_hidden:
        assert fit.slope.sizes == list(range(7, 17))  # ten times the time of one unit
        assert fit.slope.value == pytest.approx(1.0, abs=0.02)
        assert fit.slope.standard_error < 0.01
    assert [fit.n_hidden for fit in profile.by_samples] == list(range(4, 17))
    for fit in profile.by_samples:
        assert fit.n_samples is None
        assert fit.slope.value == pytest.approx(1.0)
        assert fit.slope.sizes == [100, 1000, 10_000]


@pytest.mark.usefixtures("planted")
def test_two_numbers_of_rows_are_too_few_for_a_slope():
    assert profile_scaling([4], [100, 1000]).by_samples == []


@pytest.mark.usefixtures("planted", "two_engines")
def test_engines_cross():
    profile = profile_scaling(range(4, 24), [100])
    (crossing,) = profile.crossings
    assert crossing.engines == ("enumeration", "level")
    assert crossing.n_samples == 100
    assert crossing.n_hidden == pytest.approx(9.5, abs=0.02)
    assert {skip.n_hidden for skip in profile.skipped} == {21, 22, 23}


@pytest.mark.usefixtures("planted", "two_engines")
@pytest.mark.parametrize(
    ("engines", "names"),
    [
        ("all", ["enumeration", "level"]),
        ("level", ["level"]),
        (["level", "enumeration", "level"], ["level", "enumeration"]),
        (("level", "all"), ["level", "enumeration"]),
    ],
)
def test_engines_by_name(engines, names):
    profile = profile_scaling([4], [100], engines=engines)
    assert [row.engine for row in profile.rows] == names


@pytest.mark.usefixtures("planted", "two_engines")
def test_as_json():
    content = profile_scaling(range(4, 24), [10, 100, 1000]).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert {name: len(rows) for name, rows in content.items()} == {
        "rows": 102, "by_hidden": 6, "by_samples": 34, "crossings": 3, "skipped": 18
    }  # fmt: skip
    assert set(content["by_hidden"][0]["slope"]) == {"value", "standard_error", "sizes"}


@pytest.mark.usefixtures("planted")
def test_callback_counts_to_the_end():
    calls = []
    profile_scaling([1, 4], [10], callback=lambda *call: calls.append(call))
    assert calls == [
        (0, 4, "enumeration, n = 10, m = 1"),
        (1, 4, "enumeration, n = 10, m = 4"),
        (2, 4, "enumeration, n = 10, m = 1"),
        (3, 4, "enumeration, n = 10, m = 4"),
        (4, 4, ""),
    ]


def test_the_least_of_all_rounds_counts(monkeypatch):
    times = iter([3.0, 5.0, 2.0, 7.0])
    monkeypatch.setattr(Stopwatch, "_seconds", lambda *args: next(times))
    monkeypatch.setattr(stopwatch, "dgemm_rate", lambda n_threads: 1e9)
    profile = profile_scaling([1, 4], [10], n_classes=4)
    assert [row.seconds for row in profile.rows] == [2.0, 5.0]


@pytest.mark.usefixtures("planted")
def test_the_best_rate_of_products_counts(monkeypatch):
    rates = iter([3e9, 4e9, 2e9, 1e9])
    monkeypatch.setattr(stopwatch, "dgemm_rate", lambda n_threads: next(rates))
    assert {row.dgemm_rate for row in profile_scaling([1, 4], [10]).rows} == {4e9}


def test_sizes_may_be_given_by_position_and_all_else_by_keyword():
    parameters = inspect.signature(profile_scaling).parameters
    kinds = [(name, p.kind is p.KEYWORD_ONLY) for name, p in parameters.items()]
    assert kinds[:2] == [("hidden_layer_sizes", False), ("n_samples", False)]
    assert all(keyword for _, keyword in kinds[2:])


@pytest.mark.usefixtures("planted")
def test_all_cores_as_in_scikit_learn():
    row = profile_scaling([4], [100], n_jobs=-1).rows[0]
    assert row.n_threads == effective_n_jobs(-1)


# --- refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("hidden_layer_sizes", []),
        ("hidden_layer_sizes", [0]),
        ("hidden_layer_sizes", [2.5]),
        ("hidden_layer_sizes", 4),
        ("hidden_layer_sizes", "4-6"),
        ("hidden_layer_sizes", [True]),
        ("n_samples", [-1]),
        ("n_samples", []),
        ("n_classes", 1),
        ("n_classes", "3"),
        ("n_features", 0),
        ("engines", "exact"),
        ("engines", []),
        ("engines", None),
        ("engines", [Enumeration()]),
        ("n_jobs", 0),
        ("n_jobs", 1.0),
        ("random_state", -1),
        ("random_state", None),
    ],
)
def test_a_bad_argument_is_named_before_any_work(monkeypatch, name, bad):
    monkeypatch.setattr(Stopwatch, "time", None)  # calling it fails
    with pytest.raises(ValueError, match=rf"^{name} must"):
        fastem.profile_scaling(**{**QUICK, name: bad})
