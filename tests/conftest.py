"""What tests of pictures share."""

import pytest


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
