"""Estimators; the only room that uses scikit-learn's estimator interface."""

from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.em_regressor import FastEMRegressor
from fastem.estimators.mlp import BaseFastMLP
from fastem.estimators.mlp_classifier import FastMLPClassifier
from fastem.estimators.mlp_regressor import FastMLPRegressor
from fastem.estimators.models import load_model

__all__ = [
    "BaseFastMLP",
    "FastEMClassifier",
    "FastEMRegressor",
    "FastMLPClassifier",
    "FastMLPRegressor",
    "load_model",
]
