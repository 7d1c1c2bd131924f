"""Exact EM for neural networks with stochastic binary hidden units."""

from fastem._version import __version__
from fastem.engines.enumeration import Enumeration
from fastem.engines.evaluate import e_step
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.expectations import Expectations
from fastem.plotting import LossCurveDisplay
from fastem.warm_up import warmup

__all__ = [
    "Enumeration",
    "Expectations",
    "FastEMClassifier",
    "LossCurveDisplay",
    "__version__",
    "e_step",
    "warmup",
]
