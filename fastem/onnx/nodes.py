"""Nodes and constants of a graph, and the functions that the graphs of all models share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST_OPSET = 13  # axes of Unsqueeze and ReduceSum are inputs from it on
_LARGEST_LOG_ODDS = 1e4  # beyond it, a probability is exactly 0 or 1; infinity times 0 is NaN


class Nodes:
    """Appends nodes to a graph that skl2onnx builds. Values are names of tensors.

    All arithmetic on real numbers is in float64. Only operators that ONNX Runtime has for float64
    are used: Softplus, Elu and Erf are absent, and Sigmoid loses the digits of small values.

    Parameters
    ----------
    scope, container
        Those that skl2onnx passes to a converter.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        if container.target_opset < _SMALLEST_OPSET:
            raise ValueError(
                f"target_opset must be at least {_SMALLEST_OPSET} for models of fastem, got "
                f"{container.target_opset}."
            )
        self._scope, self._container = scope, container

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node, and return its output."""
        name = self._scope.get_unique_variable_name(operator.lower())
        self.add_as(name, operator, *inputs, **attributes)
        return name

    def add_as(self, output: str, operator: str, *inputs: str, **attributes: Any) -> None:
        """Append a node whose output has a given name."""
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, list(inputs), [output], name=name, **attributes)

    def constant(self, values: Any) -> str:
        """Return an array as a constant, in its own type."""
        from onnx import numpy_helper

        values = np.ascontiguousarray(values)
        if values.dtype.kind in "US":
            values = values.astype(object)
        name = self._scope.get_unique_variable_name("constant")
        # not by the container's add_initializer, which copies arrays into lists of numbers
        self._container.initializers.append(numpy_helper.from_array(values, name))
        return name

    def cast(self, values: str, dtype: Any) -> str:
        """Return values in another type."""
        return self.add("Cast", values, to=_onnx_type(dtype))

    def cast_as(self, output: str, values: str, dtype: Any) -> None:
        """Write values in another type to a given name."""
        self.add_as(output, "Cast", values, to=_onnx_type(dtype))

    def affine(self, values: str, coefs: NDArray[Any], intercepts: NDArray[Any]) -> str:
        """Return ``values @ coefs + intercepts``."""
        product = self.add("MatMul", values, self.constant(coefs.astype(np.float64)))
        return self.add("Add", product, self.constant(intercepts.astype(np.float64)))

    def logistic(self, log_odds: str) -> str:
        """Return the sigmoid, with all digits also of small values."""
        return self._share(log_odds, log_odds)

    def both_states(self, log_odds: str) -> tuple[str, str]:
        """Return the probabilities of a binary unit to be on and to be off, with all digits."""
        return self.logistic(log_odds), self._share(self.add("Neg", log_odds), log_odds)

    def _share(self, signed: str, log_odds: str) -> str:
        """Return ``exp(min(signed, 0)) / (1 + exp(-abs(log_odds)))``."""
        above = self.add("Exp", self.add("Min", signed, self.constant(0.0)))
        return self.add("Div", above, self._one_plus_exp(log_odds))

    def _one_plus_exp(self, log_odds: str) -> str:
        """Return ``1 + exp(-abs(log_odds))``."""
        below = self.add("Exp", self.add("Neg", self.add("Abs", log_odds)))
        return self.add("Add", below, self.constant(1.0))

    def log_states(self, log_odds: str) -> str:
        """Return the log-probabilities of all units to be on, followed by those to be off.

        Parameters
        ----------
        log_odds : tensor (n_samples, n_units)

        Returns
        -------
        log_states : tensor (n_samples, 2 * n_units), finite
        """
        ends = (self.constant(-_LARGEST_LOG_ODDS), self.constant(_LARGEST_LOG_ODDS))
        log_odds = self.add("Clip", log_odds, *ends)
        signed = self.add("Concat", log_odds, self.add("Neg", log_odds), axis=1)
        top = self.add("Min", signed, self.constant(0.0))
        return self.add("Sub", top, self.add("Log", self._one_plus_exp(signed)))

    def halves(self, values: str, width: int) -> list[str]:
        """Return the first ``width`` columns, and the ``width`` columns after them."""
        sizes = self.constant(np.array([width, width]))
        names = [self._scope.get_unique_variable_name("half") for _ in range(2)]
        name = self._scope.get_unique_operator_name("Split")
        self._container.add_node("Split", [values, sizes], names, name=name, axis=1)
        return names

    def expm1(self, values: str) -> str:
        """Return ``exp(values) - 1``, with all digits near zero."""
        half = self.add("Mul", values, self.constant(0.5))
        half = self.add("Min", half, self.constant(1.0))  # so that no digits cancel below
        t = self.add("Tanh", half)
        rest = self.add("Sub", self.constant(1.0), t)
        near = self.add("Div", self.add("Mul", t, self.constant(2.0)), rest)
        far = self.add("Sub", self.add("Exp", values), self.constant(1.0))
        is_far = self.add("Greater", values, self.constant(1.0))
        return self.add("Where", is_far, far, near)

    def log1p(self, values: str) -> str:
        """Return ``log(1 + values)`` of nonnegative values, with all digits near zero."""
        one = self.constant(1.0)
        above = self.add("Add", values, one)
        rounded = self.add("Sub", above, one)
        ratio = self.add("Div", values, rounded)  # 0 / 0 is not used
        product = self.add("Mul", self.add("Log", above), ratio)
        is_zero = self.add("Equal", rounded, self.constant(0.0))
        return self.add("Where", is_zero, values, product)

    def sum(self, values: str, axis: int) -> str:
        """Return the sum over an axis."""
        return self.add("ReduceSum", values, self.constant(np.array([axis])), keepdims=0)


def _onnx_type(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
