"""The interface of M-steps: parameters and statistics in, parameters out."""

from typing import NamedTuple, Protocol

import numpy as np

from fastem.expectations import Statistics, Sums
from fastem.m_step.independent_outputs import IndependentOutputsPart
from fastem.m_step.parts import HiddenPart, OutputPart, layer_rows, penalty_of
from fastem.m_step.sparse_part import SparseHiddenPart
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import Shapes
from fastem.sparse import SparseFeatures


class Parts(NamedTuple):
    """The parts of Q for given rows.

    Attributes
    ----------
    hidden : tuple of HiddenPart
        One per hidden layer, the first layer first.
    output : OutputPart or IndependentOutputsPart
    class_starts : array (n_classes + 1,) or None
        Rows ``class_starts[k]:class_starts[k + 1]`` are of class k; None without classes.
    kind : {"counts", "means", "estimates"}
        Kind of the engine's statistics; see `Engine.statistics`.
    n_threads : int
    """

    hidden: tuple[HiddenPart, ...]
    output: OutputPart | IndependentOutputsPart
    class_starts: np.ndarray | None
    kind: str
    n_threads: int

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are the classes of one label."""
        return self.class_starts is not None

    @classmethod
    def of(
        cls, rows: TrainingRows, shape: Shape, kind: str, alpha: float, n_threads: int
    ) -> "Parts":
        """Return the parts of Q under a penalty of ``alpha / 2`` times the squared weights."""
        n_rows = layer_rows(shape, len(rows.weights), kind)
        kinds = _kinds_of_parts(shape, is_sparse=isinstance(rows.inputs, SparseFeatures))
        hidden = tuple(
            part(n, p, m, penalty_of(p, alpha, shape.fit_intercept), n_threads)
            for part, n, (p, m) in zip(kinds, n_rows, shape.hidden_shapes, strict=True)
        )
        if shape.has_classes:
            output = OutputPart(shape, alpha, n_threads)
        else:
            output = IndependentOutputsPart(rows, shape, kind, alpha)
        return cls(hidden, output, rows.class_starts, kind, n_threads)


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
    def buffers(
        cls, shape: Shape, n_samples: int, kind: str, n_threads: int, *, is_sparse: bool = False
    ) -> list[Shapes]:
        """Declare the memory of a step beside that of the E-step; for sparse features or not."""

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""


class AdditiveMStep(MStep, Protocol):
    """An M-step from sums over rows, which different parts of the rows can contribute to."""

    def summarise(
        self, parameters: Parameters, statistics: Statistics, *, with_first_moments: bool
    ) -> Sums:
        """Return the sums over the rows of an E-step.

        ``with_first_moments`` states whether to include the moments of the first layer's inputs, if
        the step needs them. They are the same in every E-step.
        """

    def step(self, parameters: Parameters, sums: Sums) -> Parameters:
        """Return the parameters after the step, from the sums over all rows."""


def _kinds_of_parts(shape: Shape, *, is_sparse: bool) -> list[type[HiddenPart]]:
    """Return the class of the part of every hidden layer."""
    return [SparseHiddenPart if is_sparse else HiddenPart, *[HiddenPart] * (shape.depth - 1)]


def buffers_of_parts(
    shape: Shape, n_samples: int, kind: str, n_threads: int, *, is_sparse: bool
) -> list[Shapes]:
    """Declare the memory of the parts of Q; ``kind`` is that of the engine's statistics."""
    n_rows, kinds = layer_rows(shape, n_samples, kind), _kinds_of_parts(shape, is_sparse=is_sparse)
    hidden = [
        part.buffers(n, p, m, n_threads)
        for part, n, (p, m) in zip(kinds, n_rows, shape.hidden_shapes, strict=True)
    ]
    if shape.has_classes:
        return [*hidden, OutputPart.buffers(shape, kind == "counts")]
    return [*hidden, IndependentOutputsPart.buffers(shape, n_samples, kind)]
