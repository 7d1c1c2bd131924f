"""The choice of an engine: by name, by instance, or by itself."""

import dataclasses

from fastem.engines.base import Engine
from fastem.engines.enumeration import Enumeration
from fastem.engines.quadrature import Quadrature
from fastem.engines.sampling import Sampling
from fastem.memory import available_bytes
from fastem.parameters import Shape

ENGINES: dict[str, type] = {
    "enumeration": Enumeration,
    "quadrature": Quadrature,
    "sampling": Sampling,
}
"""Engines by the name that ``e_step`` takes."""


def resolve_engine(
    e_step: str | Engine,
    name: str = "e_step",
    shape: Shape | None = None,
    n_samples: int = 1,
) -> Engine:
    """Return the engine that the parameter ``e_step`` (or ``method``) stands for.

    Parameters
    ----------
    e_step : {"auto", "enumeration", "quadrature"} or engine instance
        "auto" takes the cheapest exact engine for the problem.
    name : str, default="e_step"
        What the caller's user knows the parameter as.
    shape : Shape, optional
        The problem that "auto" is for; enumeration without one.
    n_samples : int

    Raises
    ------
    ValueError
        If there is no engine of that name.
    """
    if isinstance(e_step, str):
        if e_step == "auto":
            return Enumeration() if shape is None else cheapest_engine(shape, n_samples)
        if e_step in ENGINES:
            return ENGINES[e_step]()
    elif isinstance(e_step, tuple(ENGINES.values())):
        return dataclasses.replace(e_step)  # what is fitted with does not follow later settings
    choices = ", ".join(repr(choice) for choice in ("auto", *ENGINES))
    kinds = ", ".join(f"fastem.{kind.__name__}()" for kind in ENGINES.values())
    raise ValueError(
        f"{name} must be one of {choices}, or an instance like {kinds}; got {e_step!r}."
    )


def cheapest_engine(shape: Shape, n_samples: int) -> Engine:
    """Return the exact engine that takes least time among those that fit into memory.

    Where none fits, that is enumeration, whose plan says what it would need.

    Parameters
    ----------
    shape : Shape
    n_samples : int
    """
    available = available_bytes()
    best, least = Enumeration(), float("inf")
    for kind in ENGINES.values():
        engine = kind()
        seconds = engine.seconds(shape, n_samples)
        if seconds >= least:
            continue
        if available is None or engine.bytes_needed(shape, n_samples) <= available:
            best, least = engine, seconds
    return best
