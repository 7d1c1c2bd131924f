"""Estimators; the only room that uses scikit-learn's estimator interface."""

from fastem.estimators.arguments import generator_of
from fastem.estimators.checkpoints import Checkpoints, continue_from
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.em_regressor import FastEMRegressor
from fastem.estimators.em_rehearsal import rehearsal_for
from fastem.estimators.fitted_problem import FittedProblem, fitted_problem, penalty_in_use
from fastem.estimators.inference import FittedNetwork
from fastem.estimators.mlp import BaseFastMLP
from fastem.estimators.mlp_classifier import FastMLPClassifier
from fastem.estimators.mlp_regressor import FastMLPRegressor
from fastem.estimators.models import load_model, read_preparation, save_model
from fastem.estimators.parts import (
    DividedRows,
    Function,
    PreparedParts,
    fit_parts,
    log_likelihood_of_part,
    memory_error,
    partial_fit_part,
)
from fastem.estimators.predictive import levels_of_interval

__all__ = [
    "BaseFastMLP",
    "Checkpoints",
    "DividedRows",
    "FastEMClassifier",
    "FastEMRegressor",
    "FastMLPClassifier",
    "FastMLPRegressor",
    "FittedNetwork",
    "FittedProblem",
    "Function",
    "PreparedParts",
    "continue_from",
    "fit_parts",
    "fitted_problem",
    "generator_of",
    "levels_of_interval",
    "load_model",
    "log_likelihood_of_part",
    "memory_error",
    "partial_fit_part",
    "penalty_in_use",
    "read_preparation",
    "rehearsal_for",
    "save_model",
]
