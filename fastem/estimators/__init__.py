"""Estimators in scikit-learn's manner; the only place that knows its interface."""

from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.mlp import BaseFastMLP, DivergenceError
from fastem.estimators.mlp_classifier import FastMLPClassifier
from fastem.estimators.mlp_regressor import FastMLPRegressor

__all__ = [
    "BaseFastMLP",
    "DivergenceError",
    "FastEMClassifier",
    "FastMLPClassifier",
    "FastMLPRegressor",
]
