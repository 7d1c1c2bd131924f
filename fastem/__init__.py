"""Exact EM for neural networks with stochastic binary hidden units."""

from fastem._version import __version__
from fastem.backpropagation import Backpropagation, backpropagate
from fastem.engines.enumeration import Enumeration
from fastem.engines.evaluate import e_step
from fastem.engines.quadrature import Quadrature
from fastem.engines.sampling import Sampling
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.mlp_classifier import FastMLPClassifier
from fastem.estimators.mlp_regressor import FastMLPRegressor
from fastem.expectations import Expectations
from fastem.plotting import HiddenUnitsDisplay, LossCurveDisplay, ScalingDisplay
from fastem.scaling import ScalingProfile, profile_scaling
from fastem.warm_up import warmup

__all__ = [
    "Backpropagation",
    "Enumeration",
    "Expectations",
    "FastEMClassifier",
    "FastMLPClassifier",
    "FastMLPRegressor",
    "HiddenUnitsDisplay",
    "LossCurveDisplay",
    "Quadrature",
    "Sampling",
    "ScalingDisplay",
    "ScalingProfile",
    "__version__",
    "backpropagate",
    "e_step",
    "profile_scaling",
    "warmup",
]
