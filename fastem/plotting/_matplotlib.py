"""Functions that all displays share: the check for matplotlib, and figures without a screen."""

import os
from pathlib import Path
from typing import Any

from fastem.runtime import replacing

FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps")


def require_matplotlib(who: str) -> None:
    """Raise an ImportError with the command that installs matplotlib, if it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{who} needs matplotlib: pip install '.[plot]'") from error


def new_figure(who: str) -> Any:
    """Return a new figure that is saved to a file and needs no screen, unlike pyplot's.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    require_matplotlib(who)
    from matplotlib.figure import Figure

    return Figure(figsize=(7.0, 4.5), layout="constrained")


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Save a figure in the format of the suffix; after an error an earlier file is unchanged."""
    with replacing(path) as file:
        figure.savefig(file, dpi=150, format=Path(path).suffix[1:].lower() or None)


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline; return any other estimator unchanged."""
    return estimator[-1] if hasattr(estimator, "steps") else estimator
