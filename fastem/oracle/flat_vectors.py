"""All parameters of a network, or a gradient by them, as one vector."""

import numpy as np
from numpy.typing import ArrayLike

from fastem.expectations import Statistics
from fastem.oracle.checks import as_vector
from fastem.parameters import Array, ArrayLikes, Parameters, Shape
from fastem.runtime import finite_array


class FlatVectorsMixin:
    """Conversion between parameters and one vector.

    The vector holds, for every layer, the first layer first, its coefs row by row
    (``coefs[l].ravel()``) and then its intercepts; last the noise variances, if there are any.
    """

    _shape: Shape

    def flatten(
        self,
        coefs: ArrayLikes,
        intercepts: ArrayLikes,
        variance: ArrayLike | None = None,
    ) -> Array:
        """Return parameters, or their gradients, as one vector.

        Parameters
        ----------
        coefs, intercepts : lists of array-like
            In the shapes of the network.
        variance : array-like (n_outputs,), optional
            Required if the family has a noise variance. A number for a single output.

        Returns
        -------
        vector : array (n_parameters,)
            For every layer ``coefs[l].ravel()`` and then ``intercepts[l]``; last the variances.

        Raises
        ------
        ValueError
            If a shape does not match, or a value is not finite.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> oracle = fastem.EStep([[0.0], [1.0]], [0, 1], hidden_layer_sizes=1)
        >>> oracle.flatten([[[2.0]], [[3.0, 4.0]]], [[5.0], [6.0, 7.0]])
        array([2., 5., 3., 4., 6., 7.])
        """
        shape = self._shape
        sizes = [*shape.hidden_shapes, shape.output_shape]
        parts = []
        for name, arrays, n_dimensions in (("coefs", coefs, 2), ("intercepts", intercepts, 1)):
            if not isinstance(arrays, (list, tuple)) or len(arrays) != len(sizes):
                raise ValueError(f"{name} must be a list of {len(sizes)} arrays.")
            for i, (values, (n_inputs, n_units)) in enumerate(zip(arrays, sizes, strict=True)):
                wanted = (n_inputs - 1, n_units)[-n_dimensions:]
                parts.append(_of_shape(f"{name}[{i}]", values, wanted))
        in_order = [part.ravel() for i in range(len(sizes)) for part in parts[i :: len(sizes)]]
        if shape.n_variances > 0:
            if variance is None:
                raise ValueError("variance is missing: pass one value per output.")
            in_order.append(_of_shape("variance", as_vector(variance), (shape.n_variances,)))
        return np.concatenate(in_order)

    def unflatten(self, vector: ArrayLike) -> tuple[list[Array], list[Array], Array | None]:
        """Return the parameters in a vector: the inverse of `flatten`.

        Parameters
        ----------
        vector : array-like (n_parameters,)

        Returns
        -------
        coefs, intercepts : lists of arrays
        variance : array (n_outputs,) or None
            None if the family has no noise variance.

        Raises
        ------
        ValueError
            If the shape does not match, or a value is not finite.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> oracle = fastem.EStep([[0.0], [1.0]], [0, 1], hidden_layer_sizes=1)
        >>> coefs, intercepts, variance = oracle.unflatten(np.arange(6.0))
        >>> coefs
        [array([[0.]]), array([[2., 3.]])]
        >>> intercepts, variance
        ([array([1.]), array([4., 5.])], None)
        """
        parts = split_vector(self._vector(vector), self._shape)
        coefs, intercepts = self._shape.to_lists(parts)
        return coefs, intercepts, parts.variance.copy() if self._shape.n_variances > 0 else None

    def _vector(self, vector: ArrayLike) -> Array:
        return _of_shape("vector", vector, (self._shape.n_parameters,))


def split_vector(vector: Array, shape: Shape) -> Parameters:
    """Return the parts of a flat vector in the form of parameters, as views."""
    parts, start = [], 0
    for size in (*shape.hidden_shapes, shape.output_shape, (1, shape.n_variances)):
        stop = start + size[0] * size[1]
        parts.append(vector[start:stop].reshape(size))
        start = stop
    return Parameters(tuple(parts[:-2]), parts[-2], parts[-1][0])


def flat_gradient(statistics: Statistics, variance: Array) -> Array:
    """Return the gradient by all parameters as one new vector, in the order of `flatten`."""
    layers = [*(layer.gradient for layer in statistics.hidden), statistics.output_gradient]
    if len(variance) > 0:
        layers.append(statistics.variance_gradient(variance))
    return np.concatenate([gradient.ravel() for gradient in layers])


def _of_shape(name: str, values: ArrayLike, wanted: tuple[int, ...]) -> Array:
    """Return finite numbers of the wanted shape."""
    array = finite_array(name, values, len(wanted))
    if array.shape != wanted:
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}.")
    return array
