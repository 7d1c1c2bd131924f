"""Training on rows in parts."""

from typing import Any

from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import learning_rate
from fastem.estimators.parts.divided_rows import PreparedParts
from fastem.estimators.parts.part import description_of_part, sums_of_part
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
        found = parts.map("fastem-describe", description_of_part)
        found = [part for part in found if part is not None]
        typical, weight = found[0].targets, found[0].weight
        for part in found[1:]:
            typical, weight = typical + part.targets, weight + part.weight
        shape, engine = problem.shape, problem.engine
        if shape.has_classes:
            weight = float(typical.sum())
        else:
            typical = typical / weight
        super().__init__(settings, shape, engine, standardization, typical, weight)
        self._parts = parts
        is_em = settings.solver == "em"
        may_begin = is_em and any(part.may_begin_in_single_precision for part in found)
        self.model = SummedNetwork(
            self._e_step, shape, engine.statistics, settings.m_step if is_em else "gradient",
            alpha=float(settings.alpha), learning_rate=learning_rate(settings),
            weight=weight if may_begin else 0.0,
        )  # fmt: skip

    def _e_step(self, request: Request) -> list[Sums]:
        found = self._parts.map("fastem-e-step", sums_of_part, request)
        return [sums for sums in found if sums is not None]
