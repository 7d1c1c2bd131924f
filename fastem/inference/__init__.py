"""Inference with fitted networks: standard errors, the bootstrap and likelihood-ratio tests."""

from fastem.inference.inference import Inference
from fastem.inference.likelihood_ratio import likelihood_ratio_test
from fastem.inference.resamples import bootstrap

__all__ = ["Inference", "bootstrap", "likelihood_ratio_test"]
