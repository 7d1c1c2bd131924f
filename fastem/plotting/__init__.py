"""Plots of fits and profiles; matplotlib is imported only when something is drawn."""

from fastem.plotting._matplotlib import FIGURE_SUFFIXES, final_step, require_matplotlib
from fastem.plotting.curves import LossCurveDisplay, save_loss_curves
from fastem.plotting.density import DensityDisplay
from fastem.plotting.penalty import PenaltyDisplay
from fastem.plotting.records import loss_curve
from fastem.plotting.scaling import ScalingDisplay, save_scaling
from fastem.plotting.units import HiddenUnitsDisplay

__all__ = [
    "FIGURE_SUFFIXES",
    "DensityDisplay",
    "HiddenUnitsDisplay",
    "LossCurveDisplay",
    "PenaltyDisplay",
    "ScalingDisplay",
    "final_step",
    "loss_curve",
    "require_matplotlib",
    "save_loss_curves",
    "save_scaling",
]
