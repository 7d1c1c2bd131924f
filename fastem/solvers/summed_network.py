"""The network on rows that are divided into parts, such as those of several machines.

A `Network` on the rows of a part returns sums. `SummedNetwork` is the model for the solvers: it
gets the sums over all parts, and has no rows itself.
"""

from typing import NamedTuple, Protocol

import numpy as np

from fastem.expectations import Sums, total
from fastem.m_step import M_STEPS, AdditiveMStep, Parts
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import sort_rows
from fastem.solvers.em import CoarsePhase
from fastem.solvers.network import SINGLE_ERROR, PenalisedNetwork


class Request(NamedTuple):
    """What an E-step on every part of the rows is to return.

    Attributes
    ----------
    parameters : Parameters
    with_first_moments : bool
        Whether to return the moments of the inputs of the first layer too.
    is_single : bool
        Whether to use single precision, where it is faster.
    """

    parameters: Parameters
    with_first_moments: bool = False
    is_single: bool = False


class EStepOfParts(Protocol):
    """An E-step on all parts of the rows."""

    def __call__(self, request: Request) -> list[Sums]:
        """Return the sums over the rows of every part, always in the same order of the parts."""


class SummedNetwork(PenalisedNetwork):
    """Penalised marginal likelihood of rows in several parts, over flat parameter vectors.

    Parameters
    ----------
    e_step : callable
        See `EStepOfParts`.
    shape : Shape
    kind : {"counts", "means"}
        Kind of the engine's statistics; see `Engine.statistics`.
    m_step : {"bound", "gradient"}
    alpha : float
        As for `Network`.
    learning_rate : float, default=0.0
        Rate of the gradient M-step.
    weight : float, default=0.0
        Summed weight of all rows, if E-steps may begin in single precision.

    Notes
    -----
    The sums are added up in the order of the parts. The results do not depend on where and when the
    parts are computed.
    """

    def __init__(
        self,
        e_step: EStepOfParts,
        shape: Shape,
        kind: str,
        m_step: str,
        *,
        alpha: float,
        learning_rate: float = 0.0,
        weight: float = 0.0,
    ) -> None:
        targets = (
            np.empty(0, dtype=np.int64) if shape.has_classes else np.empty((0, shape.n_outputs))
        )
        rows = sort_rows(np.empty((0, shape.n_features)), targets, np.empty(0), shape)

        def new_m_step(penalty: float) -> AdditiveMStep:
            return M_STEPS[m_step](Parts.of(rows, shape, kind, penalty, 1), learning_rate)

        super().__init__(shape, new_m_step)
        self._e_step, self._weight = e_step, weight
        self._needs_moments, self._first_moments = m_step == "bound", None
        self._is_single = False
        self.set_penalty(alpha)

    @property
    def is_single(self) -> bool:
        """Whether E-steps are in single precision now."""
        return self._is_single

    def begin_in_single_precision(self) -> CoarsePhase | None:
        """Use single precision for the sums of E-steps from now on, if that is faster."""
        if self._weight == 0.0:
            return None
        self._is_single = True

        def end() -> None:
            self._is_single = False

        return CoarsePhase(SINGLE_ERROR * self._weight, end)

    def expect(self, theta: Array, draw: int = 0) -> tuple[float, Sums]:
        """Run the E-step; return the penalised log-likelihood (nats) and sums over all rows."""
        is_first = self._needs_moments and self._first_moments is None
        sums = total(self._e_step(Request(self.shape.unpack(theta), is_first, self._is_single)))
        if is_first:
            self._first_moments = sums.hidden[0].moments
        return self._penalised(sums.log_likelihood, theta), sums

    def maximize(self, theta: Array, sums: Sums) -> Array:
        """Run the M-step; return the new parameters."""
        first = sums.hidden[0]._replace(moments=self._first_moments)
        sums = sums._replace(hidden=(first, *sums.hidden[1:]))
        return self.shape.pack(self._m_step.step(self.shape.unpack(theta), sums))
