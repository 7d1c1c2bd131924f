"""M-steps: from expectations to new parameters."""

from fastem.m_step.base import AdditiveMStep, MStep, Parts
from fastem.m_step.bound import Bound
from fastem.m_step.gradient import Gradient
from fastem.m_step.newton import Newton

M_STEPS: dict[str, type[MStep]] = {"newton": Newton, "bound": Bound, "gradient": Gradient}
"""M-steps by the name that the parameter ``m_step`` takes."""

__all__ = ["M_STEPS", "AdditiveMStep", "Bound", "Gradient", "MStep", "Newton", "Parts"]
