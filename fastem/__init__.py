"""Exact EM for neural networks with stochastic binary hidden units."""

from fastem._version import __version__
from fastem.engines import Engine, Enumeration, Quadrature, Sampling, e_step
from fastem.estimators import FastEMClassifier, FastMLPClassifier, FastMLPRegressor
from fastem.expectations import Expectations
from fastem.perceptron import Backpropagation, backpropagate
from fastem.plotting import HiddenUnitsDisplay, LossCurveDisplay, ScalingDisplay
from fastem.profiling import ScalingProfile, profile_scaling, warmup
from fastem.runtime import DivergenceError

__all__ = [
    "Backpropagation",
    "DivergenceError",
    "Engine",
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
