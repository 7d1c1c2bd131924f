"""Plots of a profile: curves, limits and marks, and their numbers."""

import numpy as np
import pytest

from fastem import ScalingDisplay, profile_scaling
from fastem.plotting import save_scaling
from fastem.profiling.scaling import ScalingProfile
from fastem.profiling.stopwatch import ScalingRow

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

pytestmark = pytest.mark.usefixtures("figures_closed")

RATE = 2e9


def rows_of(engine, n_samples, hidden, time, n_threads=1, n_classes=3):
    return [
        ScalingRow(
            engine, n_samples, m, 2**m, n_classes, n_threads, time(m), 1.0, 0.5, RATE, 1000
        )
        for m in hidden
    ]  # fmt: skip


def profile_of(*curves):
    return ScalingProfile([row for rows in curves for row in rows], [], [], [], [])


def doubling(m):
    return 1e-6 * 2.0**m


def level(m):
    return 1e-6 * 2.0**7.5


ENUMERATION = rows_of("enumeration", 100, range(4, 11), doubling)
LEVEL = rows_of("level", 100, range(4, 13), level)


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_one_curve_per_engine_and_number_of_rows(ax):
    more = rows_of("enumeration", 1000, [6, 4, 5], doubling)
    display = ScalingDisplay.from_results(profile_of(ENUMERATION, LEVEL, more), ax=ax)
    assert [line.get_label() for line in display.lines_] == [
        "enumeration, 100 rows", "level, 100 rows", "enumeration, 1000 rows"
    ]  # fmt: skip
    assert display.lines_[0].get_xdata().tolist() == list(range(4, 11))
    assert display.lines_[0].get_ydata().tolist() == [doubling(m) for m in range(4, 11)]
    assert display.lines_[2].get_xdata().tolist() == [4, 5, 6]
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert ax.get_yscale() == "log"
    assert ax.get_xscale() == "linear"
    assert "hidden units" in ax.get_xlabel()


def test_the_limit_of_dgemm(ax):
    display = ScalingDisplay.from_results(profile_of(ENUMERATION, LEVEL), ax=ax)
    (limit,) = display.limits_
    m = np.arange(4, 13)
    assert limit.get_xdata() == pytest.approx(m)
    assert limit.get_ydata() == pytest.approx(6 * 100 * 2.0**m / RATE)
    assert "dgemm limit, 100 rows" in legend(display)


def test_the_guide_doubles_with_every_unit_and_stays_in_sight(ax):
    display = ScalingDisplay.from_results(profile_of(ENUMERATION, LEVEL), ax=ax)
    (m0, m1), (t0, t1) = display.guide_.get_data()
    assert m0 < m1
    assert np.log2(t1 / t0) / (m1 - m0) == pytest.approx(1.0)
    assert t0 >= min(6 * 100 * 2.0**4 / RATE, doubling(4)) * 0.999


def test_lines_of_two_to_the_m_end_where_the_curves_do(ax):
    """Lines that double must not compress the curve of an engine with constant time."""
    level_rows = [
        row._replace(share_of_dgemm=None) for row in rows_of("level", 100, range(4, 51), level)
    ]
    display = ScalingDisplay.from_results(profile_of(ENUMERATION, level_rows), ax=ax)
    top = 4.0 * max(row.seconds for row in display.rows)
    for line in (*display.limits_, display.guide_):
        assert line.get_ydata().max() < top
    (m0, m1), _ = display.guide_.get_data()
    assert m0 < m1 < 50
    assert ax.get_ylim()[1] < 10.0 * top


def test_one_size_is_drawn(ax):
    display = ScalingDisplay.from_results(profile_of(ENUMERATION[:1]), ax=ax)
    assert len(display.lines_) == 1


def test_crossings_are_marked(ax):
    display = ScalingDisplay.from_results(profile_of(ENUMERATION, LEVEL), ax=ax)
    (crossing,) = display.crossings_
    assert crossing == pytest.approx((7.5, level(0)))
    (text,) = ax.texts
    assert text.get_text() == "equal time\nat 7.5 units"
    assert ScalingDisplay.from_results(profile_of(ENUMERATION)).crossings_ == []


def test_estimates_cross_nothing(ax):
    """Crossings are marked only between exact engines."""
    sampling = rows_of("sampling", 100, range(4, 13), level)
    assert ScalingDisplay.from_results(profile_of(ENUMERATION, sampling), ax=ax).crossings_ == []


def test_several_profiles_are_told_apart_by_what_differs():
    two = rows_of("enumeration", 100, range(4, 11), lambda m: doubling(m) / 2, n_threads=2)
    display = ScalingDisplay.from_results([profile_of(ENUMERATION), profile_of(two)])
    assert [line.get_label() for line in display.lines_] == [
        "enumeration, 100 rows, 1 thread(s)", "enumeration, 100 rows, 2 thread(s)"
    ]  # fmt: skip
    ten = rows_of("enumeration", 100, [4], doubling, n_classes=10)
    display = ScalingDisplay.from_results([profile_of(ENUMERATION), profile_of(ten)])
    assert display.lines_[1].get_label() == "enumeration, 100 rows, 10 classes"


def test_of_the_same_problem_twice_the_least_time_is_drawn():
    slower = rows_of("enumeration", 100, range(4, 11), lambda m: 2 * doubling(m))
    display = ScalingDisplay.from_results([profile_of(slower), profile_of(ENUMERATION)])
    (line,) = display.lines_
    assert line.get_ydata().tolist() == [doubling(m) for m in range(4, 11)]


def test_plot_again_elsewhere(ax):
    display = ScalingDisplay(ENUMERATION).plot()
    assert display.figure_ in map(plt.figure, plt.get_fignums())
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert len(display.lines_) == 1


def test_a_title_that_is_there_stays(ax):
    ax.set_title("mine")
    assert ScalingDisplay(ENUMERATION).plot(ax).ax_.get_title() == "mine"


def test_what_was_measured_is_drawn(tmp_path):
    profile = profile_scaling([2, 3], [20], n_classes=4, n_features=2, n_jobs=1)
    (line,) = ScalingDisplay.from_results(profile).lines_
    assert line.get_ydata().tolist() == [row.seconds for row in profile.rows]
    save_scaling(profile, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("nothing", [[], profile_of(), [profile_of()]])
def test_nothing_to_draw(nothing):
    with pytest.raises(ValueError, match="nothing to plot"):
        ScalingDisplay.from_results(nothing)


def test_other_things_are_no_profile():
    with pytest.raises(ValueError, match="results must be a ScalingProfile"):
        ScalingDisplay.from_results(ENUMERATION)
    with pytest.raises(ValueError, match="rows must be"):
        ScalingDisplay([1])
