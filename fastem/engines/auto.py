"""The choice of an engine: by name, by instance, or by itself."""

import dataclasses
import warnings

from fastem.engines.base import Engine
from fastem.engines.enumeration import Enumeration
from fastem.engines.quadrature import Quadrature
from fastem.engines.sampling import Sampling
from fastem.parameters import Shape
from fastem.runtime import available_bytes

ENGINES: dict[str, type] = {
    "enumeration": Enumeration,
    "quadrature": Quadrature,
    "sampling": Sampling,
}
"""Engines by the name that ``e_step`` takes."""

MOST_SECONDS = 10.0
"""Of an exact E-step on one thread: a fit takes hundreds, so beyond "auto" would rather sample."""


def resolve_engine(
    e_step: str | Engine,
    name: str = "e_step",
    shape: Shape | None = None,
    n_samples: int = 1,
) -> Engine:
    """Return the engine that the parameter ``e_step`` (or ``method``) stands for.

    Parameters
    ----------
    e_step : {"auto", "enumeration", "quadrature", "sampling"} or engine instance
        "auto" takes the cheapest exact engine for the problem, or sampling where none is in
        reach.
    name : str, default="e_step"
        What the caller's user knows the parameter as.
    shape : Shape, optional
        The problem that "auto" is for; enumeration without one.
    n_samples : int

    Raises
    ------
    ValueError
        If there is no engine of that name.

    Warns
    -----
    UserWarning
        If "auto" stands for sampling.
    """
    if isinstance(e_step, str):
        if e_step == "auto":
            if shape is None:
                return Enumeration()
            engine = cheapest_engine(shape, n_samples)
            if not engine.is_exact and _fits(engine, shape, n_samples):  # or its plan says so
                _tell_of_sampling(shape, name)
            return engine
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

    Where none fits, or none is expected to end an E-step within ten seconds on one thread, that is
    sampling, if it is the quicker.

    Parameters
    ----------
    shape : Shape
    n_samples : int
    """
    best, least = None, float("inf")
    for kind in ENGINES.values():
        engine = kind()
        seconds = engine.seconds(shape, n_samples)
        if not engine.is_exact or seconds >= least:
            continue
        if _fits(engine, shape, n_samples):
            best, least = engine, seconds
    sampled = Sampling()
    is_quicker = least > MOST_SECONDS and sampled.seconds(shape, n_samples) < least
    if best is None or (is_quicker and _fits(sampled, shape, n_samples)):
        return sampled
    return best


def _fits(engine: Engine, shape: Shape, n_samples: int) -> bool:
    available = available_bytes()
    return available is None or engine.bytes_needed(shape, n_samples) <= available


def _tell_of_sampling(shape: Shape, name: str) -> None:
    """Warn that "auto" means estimates."""
    warnings.warn(
        f"{name}='auto' takes sampling for hidden_layer_sizes={shape.hidden_layer_sizes} and "
        f"{shape.n_classes} classes: no exact engine fits into memory and is expected to end an "
        f"E-step within {MOST_SECONDS:g} s. Results are estimates. Say {name}='sampling' to have "
        "them without this message, or use fewer hidden units.",
        UserWarning,
        stacklevel=1,  # from one place, so that Python's filters tell a text once in a process
    )
