"""Fixtures that several test files share."""

import subprocess
import sys

import pytest

from fastem.profiling import stopwatch

# Perceptrons first: the first test files compile the other kernels meanwhile.
_COMPILE = """
import warnings
import numpy as np
import fastem

warnings.simplefilter("ignore")  # of no convergence
X = np.arange(8.0)[:, None]
for dtype in (np.float64, np.float32):
    fastem.FastMLPClassifier((2,), max_iter=1).fit(X.astype(dtype), np.arange(8) % 2)
fastem.warmup()
"""


@pytest.fixture(scope="session", autouse=True)
def kernels_compiled_beside(request):
    """Fill the disk cache of kernels in a second process while a long session begins.

    The fixture saves time only: a kernel that is not in the cache yet is compiled by the test.
    """
    if request.session.testscollected < 1000:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", _COMPILE]) as process:
        yield
        process.kill()


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
