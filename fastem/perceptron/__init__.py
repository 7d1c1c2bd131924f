"""Deterministic networks: forward pass, backpropagation and optimizers."""

from fastem.perceptron.backpropagation import Backpropagation, backpropagate
from fastem.perceptron.feed_forward import BLOCK, FeedForward, rows_of
from fastem.perceptron.layers import (
    FIRST_SLOPE,
    HIDDEN_ACTIVATIONS,
    LOSSES,
    Layers,
    Objective,
    Workspace,
)
from fastem.perceptron.optimizers import Adam, Optimizer, Sgd

__all__ = [
    "BLOCK",
    "FIRST_SLOPE",
    "HIDDEN_ACTIVATIONS",
    "LOSSES",
    "Adam",
    "Backpropagation",
    "FeedForward",
    "Layers",
    "Objective",
    "Optimizer",
    "Sgd",
    "Workspace",
    "backpropagate",
    "rows_of",
]
