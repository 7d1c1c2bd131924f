"""Training on rows in parts."""

from typing import Any

from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import learning_rate
from fastem.estimators.parts.divided_rows import PreparedParts
from fastem.estimators.parts.part import part_may_begin_in_single_precision, sums_of_part
from fastem.estimators.parts.problem import PartsProblem
from fastem.estimators.standardization import Standardization
from fastem.expectations import Sums
from fastem.solvers import Request, SummedNetwork


class PartsTraining(BaseTraining):
    """Training on rows in parts, by EM or L-BFGS.

    Parameters
    ----------
    settings : BaseFastEM
        Without "auto".
    problem : PartsProblem
    standardization : Standardization
    parts : PreparedParts
        Of `PreparedPart` or None.
    """

    def __init__(
        self,
        settings: Any,
        problem: PartsProblem,
        standardization: Standardization,
        parts: PreparedParts,
    ) -> None:
        typical = problem.typical_outputs(standardization)
        super().__init__(
            settings, problem.shape, problem.engine, standardization, typical, problem.weight
        )
        self._parts = parts
        is_em = settings.solver == "em"
        may_begin = is_em and any(parts.map("fastem-describe", part_may_begin_in_single_precision))
        self.model = SummedNetwork(
            self._e_step, problem.shape, problem.engine.statistics,
            settings.m_step if is_em else "gradient",
            alpha=float(settings.alpha), learning_rate=learning_rate(settings),
            weight=problem.weight if may_begin else 0.0,
        )  # fmt: skip

    def _e_step(self, request: Request) -> list[Sums]:
        found = self._parts.map("fastem-e-step", sums_of_part, request)
        return [sums for sums in found if sums is not None]
