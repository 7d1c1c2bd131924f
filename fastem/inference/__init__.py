"""Inference with fitted networks: standard errors, the bootstrap and likelihood-ratio tests."""

from fastem.inference.bootstrap import bootstrap
from fastem.inference.inference import Inference
from fastem.inference.likelihood_ratio import likelihood_ratio_test

__all__ = ["Inference", "bootstrap", "likelihood_ratio_test"]
