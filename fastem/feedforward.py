"""Deterministic networks: outputs, losses and gradients of a vector of parameters."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.kernels import backprop
from fastem.kernels.losses import fill_output_deltas
from fastem.layers import (
    HIDDEN_ACTIVATIONS,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    SUM,
    Layers,
    Objective,
    Plan,
    Rows,
    State,
    Workspace,
)
from fastem.optimizers import Optimizer
from fastem.parameters import Array

# Rows of a full pass that go through together: enough for BLAS, few enough for the caches.
_BLOCK = 1024
# The output that each loss of a network may have.
_OUTPUTS_OF = {
    "log_loss": ("softmax", "logistic"),
    "squared_error": ("identity", "logistic", "softmax", "exp"),
    "poisson": ("exp",),
    "absolute_error": ("identity", "logistic", "softmax", "exp"),
}


def rows_of(X: Any, targets: Array, weights: Array) -> Rows:
    """Return rows as kernels take them.

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
    """A network without its parameters.

    Parameters
    ----------
    layers : Layers
    objective : Objective
    """

    def __init__(self, layers: Layers, objective: Objective) -> None:
        self.layers = layers
        self.objective = objective

    def outputs(self, theta: Array, X: Any) -> Array:
        """Run rows forward.

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
        backprop.fill_outputs(
            theta, rows, self._plan(), self._workspace(len(outputs), theta), outputs
        )
        return outputs

    def loss(self, outputs: Array, targets: Array, weights: Array) -> float:
        """Return the mean loss of outputs per unit weight, summed over outputs."""
        deltas = np.empty_like(outputs)
        code, activation = self.objective.loss, int(self.layers.activations[-1])
        total = fill_output_deltas(
            code, activation, outputs, targets, weights, self.objective.smallest, deltas
        )
        return float(total / weights.sum())

    def loss_gradient(self, theta: Array, rows: Rows) -> tuple[float, float, Array]:
        """Return mean loss and penalty per unit weight, and the gradient of their sum.

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
        About ``6 n_samples n_coefs`` flops; memory for a block of rows only.
        """
        gradient = np.zeros_like(theta)
        state = State(theta, gradient, gradient)
        work = self._workspace(len(rows.weights), theta)
        total, weight = (
            backprop.add_loss_gradient(state, rows, self._plan(), work),
            rows.weights.sum(),
        )
        coefs, alpha = theta[: self.layers.n_coefs], self.objective.alpha
        gradient[: self.layers.n_coefs] += alpha * coefs
        gradient /= weight
        return float(total / weight), float(0.5 * alpha * (coefs @ coefs) / weight), gradient

    def epoch(
        self,
        theta: Array,
        optimizer: Optimizer,
        rows: Rows,
        order: np.ndarray,
        seed: int,
        work: Workspace,
    ) -> tuple[float, float]:
        """Go through the rows once, a step of the optimizer after every batch.

        Parameters
        ----------
        theta : array (n_parameters,)
            Modified in place.
        optimizer : Optimizer
            Modified in place.
        rows : Rows
        order : array of int (n_samples,) or (0,)
            The rows to take, in their order; empty for all in the order they are in.
        seed : int
            Of dropout.
        work : Workspace
            Its capacity is the size of a batch.

        Returns
        -------
        loss, penalty : float
            Means over the rows, of each batch before its step.
        """
        plan = Plan(self.layers, self.objective, optimizer.rule())
        loss, penalty, optimizer.n_steps = backprop.train_epoch(
            optimizer.state(theta), optimizer.n_steps, rows, order, plan, np.uint64(seed), work
        )
        return float(loss), float(penalty)

    def _plan(self) -> Plan:
        return Plan(self.layers, self.objective._replace(dropout=0.0), SUM)

    def _workspace(self, n_samples: int, theta: Array) -> Workspace:
        return Workspace.of(self.layers, min(n_samples, _BLOCK), theta.dtype, gathers=False)


class Backpropagation(NamedTuple):
    """Result of `backpropagate`.

    Attributes
    ----------
    loss : float
        Mean loss per unit weight, penalty included.
    output : array (n_samples, n_outputs)
    coef_gradients, intercept_gradients : lists of arrays
        Derivatives of ``loss``, shaped as coefs and intercepts.
    slope_gradients : list of arrays or None
        One entry per hidden layer; None where its activation is not "prelu".

    Examples
    --------
    >>> import fastem
    >>> half = fastem.backpropagate([[1.0]], [[1.0, 0.0]], [[[0.0, 0.0]]], [[0.0, 0.0]])
    >>> round(half.loss, 4), half.intercept_gradients[0]
    (0.6931, array([-0.5,  0.5]))
    """

    loss: float
    output: Array
    coef_gradients: list[Array]
    intercept_gradients: list[Array]
    slope_gradients: list[Array | None]


def backpropagate(
    X: ArrayLike,
    targets: ArrayLike,
    coefs: list[ArrayLike],
    intercepts: list[ArrayLike],
    *,
    activation: str | list[str] | tuple[str, ...] = "logistic",
    output_activation: str = "softmax",
    loss: str = "log_loss",
    alpha: float = 0.0,
    sample_weight: ArrayLike | None = None,
    slopes: list[ArrayLike | None] | None = None,
) -> Backpropagation:
    """Compute the loss of a deterministic network and its exact gradient.

    ``delta_l = (delta_(l+1) W_(l+1)') * f'(a_l)``, ``dL/dW_l = values_(l-1)' delta_l``

    Parameters
    ----------
    X : array-like (n_samples, n_features)
    targets : array-like (n_samples, n_outputs)
        Any numbers: soft class memberships as well as indicators.
    coefs : list of arrays (n_below, n_columns)
        One per layer; columns are units, two to a unit for "maxout".
    intercepts : list of arrays (n_columns,)
    activation : str or sequence of str
        Of all hidden layers or of each: "identity", "logistic", "tanh", "relu", "leaky_relu",
        "prelu", "elu" or "maxout".
    output_activation : {"softmax", "logistic", "identity", "exp"}
    loss : {"log_loss", "squared_error", "poisson", "absolute_error"}
        Summed over outputs; "squared_error" is half the square.
    alpha : float
        Penalty on half the squared coefs, divided by the total weight.
    sample_weight : array-like (n_samples,), optional
    slopes : list of arrays (n_units,) or None, optional
        Slopes below zero of "prelu" layers, one entry per hidden layer; 0.25 by default.

    Returns
    -------
    result : Backpropagation

    Raises
    ------
    ValueError
        If shapes do not fit together, a value is not finite, a name is unknown, or the loss
        does not go with the output.

    Notes
    -----
    Costs about ``6 n_samples n_coefs`` flops. Rumelhart, Hinton and Williams (1986), Learning
    representations by back-propagating errors, Nature 323.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X, targets = np.array([[1.0, 2.0]]), np.array([[1.0]])
    >>> step = fastem.backpropagate(
    ...     X, targets, [np.array([[0.5], [-0.25]])], [np.zeros(1)],
    ...     output_activation="logistic", loss="squared_error",
    ... )
    >>> step.output, step.coef_gradients[0].ravel()
    (array([[0.5]]), array([-0.125, -0.25 ]))
    """
    X, targets = _array("X", X, 2), _array("targets", targets, 2)
    if len(X) == 0 or len(X) != len(targets):
        raise ValueError(f"X and targets must have as many rows, got {len(X)} and {len(targets)}.")
    if len(coefs) == 0 or len(coefs) != len(intercepts):
        raise ValueError(
            "coefs and intercepts must be lists with an array for every layer, got "
            f"{len(coefs)} and {len(intercepts)}."
        )
    names = _hidden_activations(activation, len(coefs) - 1)
    _check_names(output_activation, loss)
    if not 0.0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a finite number >= 0, got {alpha!r}.")
    coefs = [_array(f"coefs[{i}]", values, 2) for i, values in enumerate(coefs)]
    widths = [X.shape[1]]
    for values, name in zip(coefs, [*names, output_activation], strict=True):
        pieces = 2 if name == "maxout" else 1
        if values.shape[1] == 0 or values.shape[1] % pieces:
            raise ValueError(
                f"coefs[{len(widths) - 1}] must have columns, two to a unit for 'maxout', got "
                f"shape {values.shape}."
            )
        widths.append(values.shape[1] // pieces)
    layers = Layers.of(widths, names, output_activation)
    _check_shapes(layers, coefs, intercepts, targets)
    intercepts = [_array(f"intercepts[{i}]", values, 1) for i, values in enumerate(intercepts)]
    theta = layers.pack(coefs, intercepts, _slopes(slopes, layers, names))
    weights = (
        np.ones(len(X)) if sample_weight is None else _array("sample_weight", sample_weight, 1)
    )
    if len(weights) != len(X) or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight must be {len(X)} numbers >= 0 and not all zero, got {weights!r}."
        )
    objective = Objective(LOSSES[loss], float(alpha), 0.0, float(np.finfo(float).eps))
    network = FeedForward(layers, objective)
    mean, penalty, gradient = network.loss_gradient(theta, rows_of(X, targets, weights))
    parts = layers.unpack(gradient)
    return Backpropagation(mean + penalty, network.outputs(theta, X), *parts)


def _array(name: str, values: ArrayLike, ndim: int) -> Array:
    try:
        array = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from error
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity.")
    return array


def _hidden_activations(activation: Any, n_hidden: int) -> list[str]:
    names = [activation] * n_hidden if isinstance(activation, str) else list(activation)
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be a name, or {n_hidden} of them, one less than coefs, got "
            f"{activation!r}."
        )
    for name in names:
        if name not in HIDDEN_ACTIVATIONS:
            raise ValueError(f"activation must be among {list(HIDDEN_ACTIVATIONS)}, got {name!r}.")
    return names


def _check_names(output_activation: str, loss: str) -> None:
    if output_activation not in OUTPUT_ACTIVATIONS:
        known = list(OUTPUT_ACTIVATIONS)
        raise ValueError(f"output_activation must be among {known}, got {output_activation!r}.")
    if loss not in LOSSES:
        raise ValueError(f"loss must be among {list(LOSSES)}, got {loss!r}.")
    if output_activation not in _OUTPUTS_OF[loss]:
        raise ValueError(
            f"loss={loss!r} goes with output_activation among {list(_OUTPUTS_OF[loss])}, got "
            f"{output_activation!r}."
        )


def _check_shapes(layers: Layers, coefs: list, intercepts: list, targets: Array) -> None:
    for i, (values, shape) in enumerate(zip(coefs, layers.shapes(), strict=True)):
        if values.shape != shape:
            raise ValueError(f"coefs[{i}] must have shape {shape}, got {values.shape}.")
    lengths = [np.shape(values) for values in intercepts]
    wanted = [(n,) for n in layers.columns.tolist()]
    if lengths != wanted:
        raise ValueError(f"intercepts must have shapes {wanted}, got {lengths}.")
    if targets.shape[1] != layers.widths[-1]:
        raise ValueError(
            f"targets must have {layers.widths[-1]} columns, as coefs[{len(coefs) - 1}] has, got "
            f"{targets.shape[1]}."
        )


def _slopes(slopes: list | None, layers: Layers, names: list[str]) -> list[Array | None]:
    """Return slopes of the right length for "prelu" layers, None for others."""
    given = [None] * len(names) if slopes is None else list(slopes)
    if len(given) != len(names):
        raise ValueError(f"slopes must have an entry per hidden layer, got {len(given)}.")
    checked: list[Array | None] = []
    for i, (values, name, n_units) in enumerate(zip(given, names, layers.widths[1:], strict=False)):
        if name != "prelu":
            checked.append(None)
            continue
        values = np.full(n_units, 0.25) if values is None else _array(f"slopes[{i}]", values, 1)
        if len(values) != n_units:
            raise ValueError(f"slopes[{i}] must have {n_units} numbers, got {len(values)}.")
        checked.append(values)
    return checked
