"""Exact EM for neural networks with stochastic binary hidden units."""

from importlib.metadata import PackageNotFoundError, version

from fastem.engines.enumeration import Enumeration
from fastem.engines.evaluate import e_step
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.expectations import Expectations
from fastem.warm_up import warmup

try:
    __version__ = version("fastem")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = ["Enumeration", "Expectations", "FastEMClassifier", "__version__", "e_step", "warmup"]
