"""What all pictures share: the check for matplotlib, and the step that is drawn."""

from typing import Any

FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps")


def require_matplotlib(who: str) -> None:
    """Raise an ImportError that says how to get matplotlib, where there is none."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{who} needs matplotlib: pip install '.[plot]'") from error


def figure_of_its_own(who: str) -> Any:
    """Return a new figure to be saved; not pyplot's, which would look for a screen.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    require_matplotlib(who)
    from matplotlib.figure import Figure

    return Figure(figsize=(7.0, 4.5), layout="constrained")


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or what is no pipeline as it is."""
    return estimator[-1] if hasattr(estimator, "steps") else estimator
