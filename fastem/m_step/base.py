"""The interface of M-steps: parameters and statistics in, parameters out."""

from typing import Protocol

from fastem.expectations import Statistics
from fastem.m_step.parts import HiddenPart, OutputPart, Parts, layer_rows
from fastem.parameters import Parameters, Shape
from fastem.runtime import Shapes


class MStep(Protocol):
    """An M-step for given rows.

    Parameters
    ----------
    parts : Parts
        The parts of Q.
    learning_rate : float
        Rate of `Gradient`. The other M-steps do not use it.
    """

    def __init__(self, parts: Parts, learning_rate: float) -> None: ...

    @classmethod
    def buffers(cls, shape: Shape, n_samples: int, kind: str, n_threads: int) -> list[Shapes]:
        """Declare the memory of a step beside that of the E-step."""

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""


def buffers_of_parts(shape: Shape, n_samples: int, kind: str, n_threads: int) -> list[Shapes]:
    """Declare the memory of the parts of Q; ``kind`` is that of the engine's statistics."""
    n_rows = layer_rows(shape, n_samples, kind)
    hidden = [
        HiddenPart.buffers(n, p, m, n_threads)
        for n, (p, m) in zip(n_rows, shape.hidden_shapes, strict=True)
    ]
    return [*hidden, OutputPart.buffers(shape, kind == "counts")]
