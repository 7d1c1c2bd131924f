"""Selection of an engine: by name, by instance, or automatically."""

import warnings

from fastem.engines.base import KINDS_OF_STATISTICS, Engine, check_depth
from fastem.engines.enumeration import Enumeration
from fastem.engines.quadrature import Quadrature
from fastem.engines.sampling import Sampling
from fastem.parameters import Shape
from fastem.runtime import fits

ENGINES: dict[str, type[Engine]] = {
    "enumeration": Enumeration,
    "quadrature": Quadrature,
    "sampling": Sampling,
}
"""Engines by the name that the parameters ``e_step`` and ``method`` take."""

MOST_SECONDS = 10.0
"""Largest estimated time of an exact E-step on one thread for which "auto" does not sample.

A fit takes hundreds of E-steps."""


def resolve_engine(
    e_step: str | Engine,
    name: str = "e_step",
    shape: Shape | None = None,
    n_samples: int = 1,
) -> Engine:
    """Return the engine that the parameter ``e_step`` (or ``method``) stands for.

    Parameters
    ----------
    e_step : {"auto", "enumeration", "quadrature", "sampling"} or Engine
        "auto" selects the cheapest exact engine for the problem, or sampling if no exact engine
        is affordable.
    name : str, default="e_step"
        Name of the parameter, for messages.
    shape : Shape, optional
        The problem that "auto" selects for; without it "auto" is enumeration.
    n_samples : int

    Returns
    -------
    engine : Engine
        A copy of an instance that was passed: later changes of its settings do not reach a fit.

    Raises
    ------
    ValueError
        If there is no engine of that name, or `Engine.statistics` of an instance is unknown. Also
        for "auto" and a network with several hidden layers whose outputs are not classes.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling.
    """
    if isinstance(e_step, str):
        if e_step == "auto":
            if shape is None:
                return Enumeration()
            check_depth(shape)
            engine = cheapest_engine(shape, n_samples)
            # if sampling does not fit either, its plan raises instead
            if not engine.is_exact and _fits(engine, shape, n_samples):
                _warn_of_sampling(shape, name, engine.seconds(shape, n_samples))
            return engine
        if e_step in ENGINES:
            return ENGINES[e_step]()
    elif isinstance(e_step, Engine):
        if e_step.statistics not in KINDS_OF_STATISTICS:
            raise ValueError(
                f"{name}.statistics must be one of {KINDS_OF_STATISTICS}, got "
                f"{e_step.statistics!r} from {type(e_step).__qualname__}."
            )
        return e_step.copy()
    choices = ", ".join(repr(choice) for choice in ("auto", *ENGINES))
    kinds = ", ".join(f"fastem.{kind.__name__}()" for kind in ENGINES.values())
    raise ValueError(
        f"{name} must be one of {choices}, or an instance of fastem.Engine such as {kinds}; "
        f"got {e_step!r}."
    )


def cheapest_engine(shape: Shape, n_samples: int) -> Engine:
    """Return the fastest exact engine among those that fit into memory.

    If none fits, or none is expected to finish an E-step within ten seconds on one thread, return
    sampling, provided that it is faster.

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
    return fits(engine.bytes_needed(shape, n_samples))


def _warn_of_sampling(shape: Shape, name: str, seconds: float) -> None:
    """Warn that "auto" falls back to sampling; ``seconds`` is the expected time of an E-step."""
    outputs = f"{shape.n_outputs} classes"
    if not shape.has_classes:
        outputs = f"{shape.n_outputs} outputs of family={shape.family.name!r}"
    warnings.warn(
        f"{name}='auto' falls back to sampling for hidden_layer_sizes="
        f"{shape.hidden_layer_sizes} and {outputs}: no exact engine fits into "
        f"memory and is expected to finish an E-step within {MOST_SECONDS:g} s. The results are "
        f"estimates; an E-step is expected to take about {seconds:.1g} s. "
        f"Use {name}='sampling' to get them without this warning, or use fewer hidden "
        "units.",
        UserWarning,
        stacklevel=1,  # a fixed place, so that Python's default filter shows it once per process
    )
