"""The form of a deterministic network that kernels read: a flat vector and positions in it.

Glossary. The *weighted sums* of a layer are ``values_below @ coefs + intercepts``, one per
*column*. Its activation maps them to *values*, one per *unit*. A unit has one column; a unit of
"maxout" has two. *Deltas* are the derivatives of the loss with respect to the weighted sums.
*Errors* are the derivatives with respect to the values.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels import activations, losses
from fastem.kernels.descent import Rule
from fastem.parameters import Array
from fastem.runtime import Buffers, Shapes

HIDDEN_ACTIVATIONS = {
    "identity": activations.IDENTITY,
    "logistic": activations.LOGISTIC,
    "tanh": activations.TANH,
    "relu": activations.RELU,
    "leaky_relu": activations.LEAKY_RELU,
    "prelu": activations.PRELU,
    "elu": activations.ELU,
    "maxout": activations.MAXOUT,
}
OUTPUT_ACTIVATIONS = {
    "identity": activations.IDENTITY,
    "logistic": activations.LOGISTIC,
    "softmax": activations.SOFTMAX,
    "exp": activations.EXP,
}
LOSSES = {
    "log_loss": losses.LOG_LOSS,
    "squared_error": losses.SQUARED_ERROR,
    "poisson": losses.POISSON,
    "absolute_error": losses.ABSOLUTE_ERROR,
}
FIRST_SLOPE = activations.FIRST_SLOPE
LEAKY_SLOPE = activations.LEAKY_SLOPE


class Layers(NamedTuple):
    """Shape of a network, and the positions of its parameters in one vector: coefs first.

    Attributes
    ----------
    widths : array of int (n_layers + 1,)
        Number of features, of units of each hidden layer, and of outputs.
    columns : array of int (n_layers,)
        Number of columns of each matrix of coefs.
    activations : array of int (n_layers,)
        Codes of `fastem.kernels.activations`.
    coefs, intercepts, slopes : array of int (n_layers + 1,)
        Start positions of the layers, and the end position of the last layer.
    """

    widths: np.ndarray
    columns: np.ndarray
    activations: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    slopes: np.ndarray

    @classmethod
    def of(cls, widths: Sequence[int], hidden: Sequence[str], output: str) -> "Layers":
        """Return the layout of a network.

        Parameters
        ----------
        widths : sequence of int (n_layers + 1,)
            As the attribute.
        hidden : sequence of str (n_layers - 1,)
            Names of the hidden layers' activations.
        output : str
            Name of the output activation.
        """
        codes = [HIDDEN_ACTIVATIONS[name] for name in hidden] + [OUTPUT_ACTIVATIONS[output]]
        columns = columns_of(widths, hidden)
        n_slopes = [
            units if code == activations.PRELU else 0
            for units, code in zip(widths[1:], codes, strict=True)
        ]
        sizes = [*(a * b for a, b in zip(widths, columns, strict=False)), *columns, *n_slopes]
        starts, n = np.cumsum([0, *sizes]), len(columns)
        as_integers = [np.array(values, dtype=np.int64) for values in (widths, columns, codes)]
        return cls(*as_integers, starts[: n + 1], starts[n : 2 * n + 1], starts[2 * n :])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments of `of`: arrays could come back as read-only views of a file."""
        *hidden, output = self._names()
        return Layers.of, (self.widths.tolist(), hidden, output)

    def __str__(self) -> str:
        layers = zip(self.widths[1:], self._names(), strict=True)
        return " - ".join([str(self.widths[0]), *(f"{n} {name}" for n, name in layers)])

    def _names(self) -> list[str]:
        """Return the name of every layer's activation."""
        names = {code: name for name, code in (HIDDEN_ACTIVATIONS | OUTPUT_ACTIVATIONS).items()}
        return [names[code] for code in self.activations.tolist()]

    @property
    def n_parameters(self) -> int:
        """Length of the vector."""
        return int(self.slopes[-1])

    @property
    def n_coefs(self) -> int:
        """Number of coefs, the first part of the vector; they are penalised."""
        return int(self.coefs[-1])

    def shapes(self) -> list[tuple[int, int]]:
        """Return the shapes of the matrices of coefs."""
        return list(zip(self.widths[:-1].tolist(), self.columns.tolist(), strict=True))

    def pack(
        self, coefs: Sequence[Array], intercepts: Sequence[Array], slopes: Sequence[Array | None]
    ) -> Array:
        """Return the vector of all parameters, in the highest of their precisions.

        Raises
        ------
        ValueError
            If a shape differs from the layout. Kernels do not check bounds.
        """
        shapes = [np.shape(part) for part in [*coefs, *intercepts]]
        wanted = [*self.shapes(), *((n,) for n in self.columns.tolist())]
        if shapes != wanted:
            raise ValueError(f"coefs and intercepts must have shapes {wanted}, got {shapes}.")
        lengths = [0 if values is None else np.size(values) for values in slopes]
        if lengths != np.diff(self.slopes)[:-1].tolist():
            raise ValueError(
                f"slopes must have lengths {np.diff(self.slopes)[:-1].tolist()}, got {lengths}."
            )
        parts = [*coefs, *intercepts, *(values for values in slopes if values is not None)]
        # a plain array even if every part is a memory map
        return np.asarray(np.concatenate([np.ravel(part) for part in parts]))

    def unpack(self, theta: Array) -> tuple[list[Array], list[Array], list[Array | None]]:
        """Return coefs, intercepts and slopes as views of the vector."""
        coefs = [
            theta[start : start + a * b].reshape(a, b)
            for start, (a, b) in zip(self.coefs, self.shapes(), strict=False)
        ]
        intercepts = [
            theta[start:stop]
            for start, stop in zip(self.intercepts[:-1], self.intercepts[1:], strict=True)
        ]
        slopes = [
            theta[start:stop] if stop > start else None
            for start, stop in zip(self.slopes[:-2], self.slopes[1:-1], strict=True)
        ]
        return coefs, intercepts, slopes


def columns_of(widths: Sequence[int], hidden: Sequence[str]) -> list[int]:
    """Return the number of columns of every layer; the arguments are those of `Layers.of`."""
    columns = [
        2 * n if name == "maxout" else n for n, name in zip(widths[1:], hidden, strict=False)
    ]
    return [*columns, widths[-1]]


class Objective(NamedTuple):
    """The objective, which is minimised.

    Attributes
    ----------
    loss : int
        Code of `fastem.kernels.losses`.
    alpha : float
        Factor of the penalty, half the squared coefs.
    dropout : float
        Probability of a hidden value to be set to zero.
    smallest : float
        The log-loss clips probabilities to ``[smallest, 1 - smallest]``, as scikit-learn does.
        Zero: the exact loss, computed from the weighted sums.
    """

    loss: int
    alpha: float
    dropout: float
    smallest: float


class Task(NamedTuple):
    """The network, the objective and the rule of descent: everything but data and parameters."""

    layers: Layers
    objective: Objective
    rule: Rule


class Rows(NamedTuple):
    """Rows of data: dense, or sparse (CSR) with an empty ``dense``.

    Attributes
    ----------
    dense : array (n_samples, n_features) or (0, n_features)
    data : array (n_entries,)
        Values of the sparse entries.
    columns, starts : arrays of int (n_entries,), (n_samples + 1,)
        Columns of the entries, and start positions of the rows.
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
    """

    dense: Array
    data: Array
    columns: np.ndarray
    starts: np.ndarray
    targets: Array
    weights: Array


class Workspace(NamedTuple):
    """Scratch memory for a batch of up to ``capacity`` rows.

    Attributes
    ----------
    rows : array of int (capacity,)
    inputs : array (capacity or 0, n_features)
    targets : array (capacity, n_outputs)
    weights : array (capacity,)
    values : array (capacity * sum of widths but the first,)
    deltas : array (capacity * sum of columns,)
    errors : array (capacity * widest hidden layer,)
    gradient : array (largest matrix of coefs,)
    short : array (most columns of a layer,)
    """

    rows: np.ndarray
    inputs: Array
    targets: Array
    weights: Array
    values: Array
    deltas: Array
    errors: Array
    gradient: Array
    short: Array

    @classmethod
    def of(cls, layers: Layers, capacity: int, dtype: np.dtype, *, gathers: bool) -> "Workspace":
        """Allocate for batches of ``capacity`` rows; ``gathers``: rows of a dense X are copied."""
        widths, columns = layers.widths.tolist(), layers.columns.tolist()
        declared = cls.buffers(widths, columns, capacity, gathers=gathers)
        arrays = Buffers(dtype).allocate(declared)
        return cls(np.empty(capacity, dtype=np.int64), **vars(arrays))

    @staticmethod
    def buffers(
        widths: Sequence[int], columns: Sequence[int], capacity: int, *, gathers: bool
    ) -> Shapes:
        """Declare all arrays but `rows`; ``widths`` and ``columns`` are those of `Layers`."""
        return {
            "inputs": (capacity if gathers else 0, widths[0]),
            "targets": (capacity, widths[-1]),
            "weights": (capacity,),
            "values": (capacity * sum(widths[1:]),),
            "deltas": (capacity * sum(columns),),
            "errors": (capacity * max(widths[1:-1], default=0),),
            "gradient": (max(a * b for a, b in zip(widths, columns, strict=False)),),
            "short": (max(columns),),
        }
