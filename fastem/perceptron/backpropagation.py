"""The public function `backpropagate`: loss and gradient of given rows and parameters."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.parameters import Array
from fastem.perceptron.feed_forward import FeedForward, rows_of
from fastem.perceptron.layers import (
    FIRST_SLOPE,
    HIDDEN_ACTIVATIONS,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    Layers,
    Objective,
)
from fastem.runtime import finite_array

# The output activations that each loss can be combined with.
_OUTPUTS_OF = {
    "log_loss": ("softmax", "logistic"),
    "squared_error": ("identity", "logistic", "softmax", "exp"),
    "poisson": ("exp",),
    "absolute_error": ("identity", "logistic", "softmax", "exp"),
}


class Backpropagation(NamedTuple):
    """Result of `backpropagate`.

    Attributes
    ----------
    loss : float
        Loss per unit weight, penalty included.
    output : array (n_samples, n_outputs)
        Values of the output layer.
    coef_gradients, intercept_gradients : lists of arrays
        Derivatives of ``loss``, with the shapes of coefs and intercepts.
    slope_gradients : list of arrays or None
        One entry per hidden layer; None unless its activation is "prelu".

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
    coefs: Sequence[ArrayLike],
    intercepts: Sequence[ArrayLike],
    *,
    activation: str | list[str] | tuple[str, ...] = "logistic",
    output_activation: str = "softmax",
    loss: str = "log_loss",
    alpha: float = 0.0,
    sample_weight: ArrayLike | None = None,
    slopes: Sequence[ArrayLike | None] | None = None,
) -> Backpropagation:
    """Compute the loss of a deterministic network and its exact gradient.

    ``delta_l = (delta_(l+1) W_(l+1)') * f'(a_l)``, ``dL/dW_l = values_(l-1)' delta_l``

    Parameters
    ----------
    X : array-like (n_samples, n_features)
    targets : array-like (n_samples, n_outputs)
        Any finite numbers: class probabilities are allowed as well as indicators.
    coefs : list of arrays (n_below, n_columns)
        One per layer. Every unit has one column; a unit of "maxout" has two.
    intercepts : list of arrays (n_columns,)
    activation : str or sequence of str
        Activation of all hidden layers, or one per hidden layer: "identity", "logistic", "tanh",
        "relu", "leaky_relu", "prelu", "elu" or "maxout".
    output_activation : {"softmax", "logistic", "identity", "exp"}
    loss : {"log_loss", "squared_error", "poisson", "absolute_error"}
        Summed over outputs. "squared_error" is half the squared error.
    alpha : float
        Factor of the penalty, half the squared coefs divided by the total weight.
    sample_weight : array-like (n_samples,), optional
        Not negative; ones by default.
    slopes : list of arrays (n_units,) or None, optional
        Slopes below zero of "prelu" units, one entry per hidden layer; 0.25 by default.

    Returns
    -------
    result : Backpropagation

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, a name is unknown, the loss cannot be
        combined with the output activation, or a target of "poisson" is negative.
    FloatingPointError
        If the loss or its gradient overflows.

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
    X, targets = finite_array("X", X, 2), finite_array("targets", targets, 2)
    if len(X) == 0 or len(X) != len(targets):
        raise ValueError(
            f"X and targets must have the same number of rows, got {len(X)} and {len(targets)}."
        )
    _check_names(output_activation, loss)
    if loss == "poisson" and targets.min() < 0:
        raise ValueError(f"loss='poisson' needs targets >= 0, got {targets.min():g}.")
    if not isinstance(alpha, numbers.Real) or not 0.0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a finite number >= 0, got {alpha!r}.")
    coefs, intercepts = _arrays("coefs", coefs, 2), _arrays("intercepts", intercepts, 1)
    names = _hidden_activations(activation, len(coefs) - 1)
    layers = Layers.of(_widths(X.shape[1], coefs, names), names, output_activation)
    _check_shapes(layers, coefs, intercepts, targets)
    theta = layers.pack(coefs, intercepts, _slopes(slopes, layers, names))
    weights = _weights(sample_weight, len(X))
    network = FeedForward(layers, Objective(LOSSES[loss], float(alpha), 0.0, 0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, penalty, gradient = network.loss_gradient(theta, rows_of(X, targets, weights))
    if not (np.isfinite(mean + penalty) and np.isfinite(gradient).all()):
        raise FloatingPointError(
            "The loss or its gradient is not finite: products overflow because X, coefs, alpha or "
            "sample_weight are too large. Rescale them."
        )
    parts = layers.unpack(gradient)
    return Backpropagation(mean + penalty, network.outputs(theta, X), *parts)


def _arrays(name: str, values: Any, ndim: int) -> list[Array]:
    if not isinstance(values, (list, tuple)) or len(values) == 0:
        raise ValueError(f"{name} must be a list with one array per layer, got {values!r}.")
    return [finite_array(f"{name}[{i}]", part, ndim) for i, part in enumerate(values)]


def _weights(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    if sample_weight is None:
        return np.ones(n_samples)
    weights = finite_array("sample_weight", sample_weight, 1)
    if len(weights) != n_samples or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight must be {n_samples} numbers >= 0 and not all zero, got {weights!r}."
        )
    return weights


def _hidden_activations(activation: Any, n_hidden: int) -> list[str]:
    if isinstance(activation, str):
        names = [activation] * n_hidden
    elif isinstance(activation, Sequence):
        names = list(activation)
    else:
        names = [activation]
    for name in names:
        if not isinstance(name, str) or name not in HIDDEN_ACTIVATIONS:
            raise ValueError(f"activation must be among {list(HIDDEN_ACTIVATIONS)}, got {name!r}.")
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be a name or {n_hidden} names, one fewer than coefs, got "
            f"{activation!r}."
        )
    return names


def _check_names(output_activation: str, loss: str) -> None:
    for what, name, known in (
        ("output_activation", output_activation, OUTPUT_ACTIVATIONS),
        ("loss", loss, LOSSES),
    ):
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{what} must be among {list(known)}, got {name!r}.")
    if output_activation not in _OUTPUTS_OF[loss]:
        raise ValueError(
            f"loss={loss!r} needs output_activation among {list(_OUTPUTS_OF[loss])}, got "
            f"{output_activation!r}."
        )


def _widths(n_features: int, coefs: list[Array], names: list[str]) -> list[int]:
    """Return the numbers of features, of units per hidden layer and of outputs."""
    widths = [n_features]
    for i, (values, name) in enumerate(zip(coefs, [*names, "output"], strict=True)):
        pieces = 2 if name == "maxout" else 1
        if values.shape[1] == 0 or values.shape[1] % pieces:
            each = ", two per unit of 'maxout'" if pieces == 2 else ""
            raise ValueError(f"coefs[{i}] must have columns{each}, got shape {values.shape}.")
        widths.append(values.shape[1] // pieces)
    return widths


def _check_shapes(
    layers: Layers, coefs: list[Array], intercepts: list[Array], targets: Array
) -> None:
    for i, (values, shape) in enumerate(zip(coefs, layers.shapes(), strict=True)):
        if values.shape != shape:
            raise ValueError(f"coefs[{i}] must have shape {shape}, got {values.shape}.")
    lengths, wanted = [len(values) for values in intercepts], layers.columns.tolist()
    if lengths != wanted:
        raise ValueError(
            f"intercepts must have shapes {[(n,) for n in wanted]}, got {[(n,) for n in lengths]}."
        )
    if targets.shape[1] != layers.widths[-1]:
        raise ValueError(
            f"targets must have {layers.widths[-1]} columns, like coefs[{len(coefs) - 1}], got "
            f"{targets.shape[1]}."
        )


def _slopes(slopes: Any, layers: Layers, names: list[str]) -> list[Array | None]:
    """Return checked slopes for "prelu" layers, and None for other layers."""
    given = [None] * len(names) if slopes is None else slopes
    if not isinstance(given, (list, tuple)) or len(given) != len(names):
        got = len(given) if isinstance(given, (list, tuple)) else repr(slopes)
        raise ValueError(
            f"slopes must be a list with one entry for each of {len(names)} hidden layers, got "
            f"{got}."
        )
    checked: list[Array | None] = []
    for i, (values, name, n_units) in enumerate(zip(given, names, layers.widths[1:], strict=False)):
        if name != "prelu":
            if values is not None:
                raise ValueError(
                    f"slopes[{i}] must be None: the activation of that layer is {name!r}."
                )
            checked.append(None)
            continue
        start = np.full(n_units, FIRST_SLOPE)
        values = start if values is None else finite_array(f"slopes[{i}]", values, 1)
        if len(values) != n_units:
            raise ValueError(f"slopes[{i}] must have {n_units} numbers, got {len(values)}.")
        checked.append(values)
    return checked
