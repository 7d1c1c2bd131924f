"""Fixtures that several test files share."""

import pytest

from fastem.profiling import stopwatch


@pytest.fixture
def short_timings(monkeypatch):
    """Let `profile_scaling` spend almost no time on a size."""
    monkeypatch.setattr(stopwatch, "_SECONDS_PER_SIZE", 0.0)
    monkeypatch.setattr(stopwatch, "_PRODUCT_SIZE", 20)


@pytest.fixture
def ax():
    """Axes of a figure that pyplot does not know."""
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture
def figures_closed():
    """Close what displays have opened by themselves."""
    from matplotlib import pyplot

    yield
    pyplot.close("all")
