"""Training on rows in parts, and trials of penalties in which rows are held out."""

from typing import Any

import numpy as np

from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import learning_rate
from fastem.estimators.em_folds import BaseFold
from fastem.estimators.parts.divided_rows import PreparedParts
from fastem.estimators.parts.part import (
    Work,
    description_of_part,
    held_log_likelihood_of_part,
    sums_of_part,
)
from fastem.estimators.parts.problem import PartsProblem
from fastem.estimators.standardization import Standardization
from fastem.expectations import Sums
from fastem.parameters import Array
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
    is_trial : bool, default=False
        Whether rows are held out.

    Attributes
    ----------
    held_weights : array (n_held,)
        Weights of the held-out rows, in the order of the parts.
    """

    def __init__(
        self,
        settings: Any,
        problem: PartsProblem,
        standardization: Standardization,
        parts: PreparedParts,
        *,
        is_trial: bool = False,
    ) -> None:
        shape, engine = problem.shape, problem.engine
        self._parts = parts
        self._work = Work(shape, engine, m_step_in_use(settings), is_trial)
        found = parts.map("fastem-describe", description_of_part, self._work)
        found = [part for part in found if part is not None]
        self.held_weights = np.concatenate([part.held for part in found])
        typical, weight = found[0].targets, found[0].weight
        for part in found[1:]:
            typical, weight = typical + part.targets, weight + part.weight
        if shape.has_classes:
            weight = float(typical.sum())
        else:
            typical = typical / (weight or 1.0)
        super().__init__(settings, shape, engine, standardization, typical, weight)
        may_begin = settings.solver == "em" and any(
            part.may_begin_in_single_precision for part in found
        )
        self.model = SummedNetwork(
            self._e_step, shape, engine.statistics, self._work.m_step,
            alpha=float(settings.alpha), learning_rate=learning_rate(settings),
            weight=weight if may_begin else 0.0,
        )  # fmt: skip

    def _e_step(self, request: Request) -> list[Sums]:
        found = self._parts.map("fastem-e-step", sums_of_part, self._work, request)
        return [sums for sums in found if sums is not None]

    def can_hold_out(self, fewest: int) -> bool:
        """Return whether there are so many held-out rows, and training rows."""
        return len(self.held_weights) >= fewest and self._total_weight > 0.0

    def held_log_density(self, theta: Array) -> Array:
        """Return the log-density of the held-out rows (n_held,) in the units of y, in nats."""
        found = self._parts.map(
            "fastem-held-out", held_log_likelihood_of_part, self._work, self.shape.unpack(theta)
        )
        return np.concatenate(found) - self._standardization.log_scale


class PartsFold(BaseFold):
    """A network on rows in parts, followed along a path of penalties.

    Parameters
    ----------
    training : PartsTraining
        Of a trial.
    settings : BaseFastEM
    """

    def log_density(self, alpha: float) -> Array:
        """Return the log-density of every held-out row under a penalty, in nats."""
        return self._training.held_log_density(self.solve(alpha))


def m_step_in_use(settings: Any) -> str:
    """Return the M-step whose sums a solver needs; L-BFGS needs the gradient only."""
    return settings.m_step if settings.solver == "em" else "gradient"
