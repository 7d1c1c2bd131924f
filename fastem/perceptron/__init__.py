"""Deterministic networks: forward pass, backpropagation, optimizers and training."""

from fastem.perceptron.backpropagation import Backpropagation, backpropagate
from fastem.perceptron.epochs import train_epochs
from fastem.perceptron.feed_forward import BLOCK, FeedForward, rows_of
from fastem.perceptron.layers import (
    FIRST_SLOPE,
    HIDDEN_ACTIVATIONS,
    LEAKY_SLOPE,
    LOSSES,
    Layers,
    Objective,
    Workspace,
    columns_of,
)
from fastem.perceptron.lbfgs import train_lbfgs
from fastem.perceptron.optimizers import Adam, Optimizer, Sgd
from fastem.perceptron.training import (
    LARGEST_VALUE,
    Ending,
    Samples,
    Settings,
    TrainingResult,
    TrainingState,
    ValidationSet,
)

__all__ = [
    "BLOCK",
    "FIRST_SLOPE",
    "HIDDEN_ACTIVATIONS",
    "LARGEST_VALUE",
    "LEAKY_SLOPE",
    "LOSSES",
    "Adam",
    "Backpropagation",
    "Ending",
    "FeedForward",
    "Layers",
    "Objective",
    "Optimizer",
    "Samples",
    "Settings",
    "Sgd",
    "TrainingResult",
    "TrainingState",
    "ValidationSet",
    "Workspace",
    "backpropagate",
    "columns_of",
    "rows_of",
    "train_epochs",
    "train_lbfgs",
]
