"""Outputs, losses and gradients of a deterministic network."""

from typing import Any

import numpy as np

from fastem.kernels import backprop
from fastem.kernels.descent import OUTPUTS, SUM, Rule, State
from fastem.kernels.losses import fill_output_deltas
from fastem.parameters import Array
from fastem.perceptron.layers import Layers, Objective, Rows, Task, Workspace
from fastem.perceptron.optimizers import Optimizer

BLOCK = 1024
"""Rows per block of a pass over all rows: enough for BLAS, and few enough for the caches."""


def rows_of(X: Any, targets: Array, weights: Array) -> Rows:
    """Return rows in the form that kernels read.

    Parameters
    ----------
    X : array (n_samples, n_features), C-ordered and writeable, or CSR matrix
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
    """
    if hasattr(X, "indptr"):
        return Rows(
            np.empty((0, X.shape[1]), X.dtype), X.data, X.indices, X.indptr, targets, weights
        )
    nothing = np.empty(0, np.int32)
    return Rows(X, np.empty(0, X.dtype), nothing, nothing, targets, weights)


class FeedForward:
    """A network; its parameters are arguments of the methods.

    Parameters
    ----------
    layers : Layers
    objective : Objective
    """

    def __init__(self, layers: Layers, objective: Objective) -> None:
        self.layers = layers
        self.objective = objective

    def outputs(self, theta: Array, X: Any) -> Array:
        """Run the forward pass.

        Parameters
        ----------
        theta : array (n_parameters,)
        X : array (n_samples, n_features) or CSR matrix, of the precision of ``theta``

        Returns
        -------
        outputs : array (n_samples, n_outputs)
        """
        outputs = np.empty((X.shape[0], self.layers.widths[-1]), theta.dtype)
        rows = rows_of(X, outputs[:0], np.empty(0, theta.dtype))
        self._pass_over_all(OUTPUTS, State(theta, theta, theta), rows, outputs)
        return outputs

    def loss(self, outputs: Array, targets: Array, weights: Array) -> float:
        """Return the loss per unit weight, summed over outputs.

        Not defined for the exact loss (``smallest=0``), because it needs the weighted sums.
        """
        assert self.objective.smallest > 0.0
        assert outputs.shape == targets.shape == (len(weights), self.layers.widths[-1])
        deltas = np.empty_like(outputs)
        code, activation = self.objective.loss, int(self.layers.activations[-1])
        total = fill_output_deltas(
            code, activation, outputs, targets, weights, self.objective.smallest, deltas
        )
        return float(total / weights.sum())

    def loss_gradient(self, theta: Array, rows: Rows) -> tuple[float, float, Array]:
        """Return loss and penalty per unit weight, and the gradient of their sum.

        Parameters
        ----------
        theta : array (n_parameters,)
        rows : Rows

        Returns
        -------
        loss, penalty : float
        gradient : array (n_parameters,)

        Notes
        -----
        Costs about ``6 n_samples n_coefs`` flops, and scratch memory for one block of rows.
        """
        gradient = np.zeros_like(theta)
        state = State(theta, gradient, gradient)
        total = self._pass_over_all(SUM, state, rows, self._no_outputs(theta))
        weight = rows.weights.sum()
        coefs, alpha = theta[: self.layers.n_coefs], self.objective.alpha
        penalty = 0.0
        if alpha > 0.0:  # without a penalty, squares of the coefs may overflow
            penalty = float(0.5 * alpha * (coefs @ coefs) / weight)
            gradient[: self.layers.n_coefs] += alpha * coefs
        gradient /= weight
        return float(total / weight), penalty, gradient

    def train(
        self,
        theta: Array,
        optimizer: Optimizer,
        rows: Rows,
        order: np.ndarray,
        piece: tuple[int, int],
        seed: int,
        work: Workspace,
    ) -> tuple[float, float]:
        """Train on a piece of an epoch, with a step of the optimizer after every batch.

        Parameters
        ----------
        theta : array (n_parameters,)
            Modified in place.
        optimizer : Optimizer
            Modified in place.
        rows : Rows
        order : array of int (n_samples,) or (0,)
            Indices of the rows of the epoch. Empty: all rows in their order.
        piece : (int, int)
            Range of positions in the epoch.
        seed : int
            Seed of dropout.
        work : Workspace
            Its capacity is the batch size.

        Returns
        -------
        loss, penalty : float
            Mean loss and mean penalty of each batch before its step, summed over rows.
        """
        task = Task(self.layers, self.objective, optimizer.rule())
        loss, penalty, optimizer.n_steps = backprop.run_batches(
            optimizer.state(theta), optimizer.n_steps, rows, order, *piece, task, np.uint64(seed),
            work, self._no_outputs(theta),
        )  # fmt: skip
        return float(loss), float(penalty)

    def _pass_over_all(self, kind: int, state: State, rows: Rows, outputs: Array) -> float:
        """Run through all rows in blocks, without dropout; return their summed loss."""
        n_rows = max(len(rows.weights), len(outputs))
        task = Task(self.layers, self.objective._replace(dropout=0.0), Rule(kind))
        work = Workspace.of(self.layers, min(n_rows, BLOCK), state.theta.dtype, gathers=False)
        in_order, seed = np.empty(0, np.int64), np.uint64(0)
        return backprop.run_batches(
            state, 0, rows, in_order, 0, n_rows, task, seed, work, outputs
        )[0]  # fmt: skip

    def _no_outputs(self, theta: Array) -> Array:
        return np.empty((0, self.layers.widths[-1]), theta.dtype)
