"""The choice of an engine: by name, by instance, or by itself."""

from fastem.engines.base import Engine
from fastem.engines.enumeration import Enumeration

ENGINES: dict[str, type] = {"enumeration": Enumeration}
"""Engines by the name that ``e_step`` takes."""


def resolve_engine(e_step: str | Engine, name: str = "e_step") -> Engine:
    """Return the engine that the parameter ``e_step`` (or ``method``) stands for.

    Parameters
    ----------
    e_step : {"auto", "enumeration"} or engine instance
        "auto" takes the cheapest exact engine for the problem.
    name : str, default="e_step"
        What the caller's user knows the parameter as.

    Raises
    ------
    ValueError
        If there is no engine of that name.
    """
    if isinstance(e_step, str):
        if e_step == "auto":
            return Enumeration()
        if e_step in ENGINES:
            return ENGINES[e_step]()
    elif isinstance(e_step, tuple(ENGINES.values())):
        return e_step
    choices = ", ".join(repr(choice) for choice in ("auto", *ENGINES))
    kinds = ", ".join(f"fastem.{kind.__name__}()" for kind in ENGINES.values())
    raise ValueError(
        f"{name} must be one of {choices}, or an instance like {kinds}; got {e_step!r}."
    )
