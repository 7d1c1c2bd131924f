"""Exact EM for neural networks with stochastic binary hidden units."""

# fastem.torch and fastem.jax are not in __all__: a star import must not hide PyTorch and JAX
from fastem import jax as jax
from fastem import torch as torch
from fastem._version import __version__
from fastem.engines import Engine, Enumeration, Quadrature, Sampling
from fastem.estimators import (
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    FastMLPRegressor,
)
from fastem.expectations import Expectations
from fastem.families import Bernoulli, Categorical, Family, Gaussian, IndependentOutputs, Poisson
from fastem.inference import Inference, bootstrap, likelihood_ratio_test
from fastem.onnx import to_onnx
from fastem.oracle import EStep, e_step
from fastem.perceptron import Backpropagation, backpropagate
from fastem.plotting import (
    DensityDisplay,
    HiddenUnitsDisplay,
    LossCurveDisplay,
    PenaltyDisplay,
    ScalingDisplay,
)
from fastem.preparation import load_pipeline
from fastem.profiling import ScalingProfile, profile_scaling, warmup
from fastem.runtime import DivergenceError

__all__ = [
    "Backpropagation",
    "Bernoulli",
    "Categorical",
    "DensityDisplay",
    "DivergenceError",
    "EStep",
    "Engine",
    "Enumeration",
    "Expectations",
    "Family",
    "FastEMClassifier",
    "FastEMRegressor",
    "FastMLPClassifier",
    "FastMLPRegressor",
    "Gaussian",
    "HiddenUnitsDisplay",
    "IndependentOutputs",
    "Inference",
    "LossCurveDisplay",
    "PenaltyDisplay",
    "Poisson",
    "Quadrature",
    "Sampling",
    "ScalingDisplay",
    "ScalingProfile",
    "__version__",
    "backpropagate",
    "bootstrap",
    "e_step",
    "likelihood_ratio_test",
    "load_pipeline",
    "profile_scaling",
    "to_onnx",
    "warmup",
]
