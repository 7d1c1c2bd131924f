"""Examples of the gallery, run as scripts in this process."""

import contextlib
import functools
import io
import runpy
import warnings
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


@functools.cache
def run_example(name):
    """Run ``examples/NAME.py`` once per process, and return its global names and its output."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive", UserWarning)
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    plt.close("all")
    return names, printed.getvalue()
