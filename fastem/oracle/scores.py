"""Gradients of ``log p(y | z)`` by the output weights: polynomials in functions of z.

The gradient by the weights into output c is ``(z, 1) rho_c(z)``, with the residual
``rho_c = 1{y = c} - P(c | z)`` for classes and ``rho_d = (y_d - E[Y_d | z]) / s_d`` for the other
families. The gradient by a noise variance s_d is ``(rho_d**2 - 1 / s_d) / 2``. A residual is the
sum of a function of the configuration and of a number of the row.
"""

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

import numpy as np

from fastem.oracle.moments import Enumerated, bits
from fastem.parameters import Array, Shape

Key = tuple[int, ...]
"""Sorted numbers of the outputs whose residuals are multiplied."""


def first_keys(shape: Shape) -> list[Key]:
    """Return the products of residuals of which the gradient consists."""
    outputs = range(shape.n_outputs)
    return [*((d,) for d in outputs), *((d, d) for d in outputs[: shape.n_variances])]


def second_keys(shape: Shape) -> list[Key]:
    """Return the products of residuals of which products of two gradients consist.

    Parts of a product come before it.
    """
    outputs = range(shape.n_outputs)
    keys = [*((d,) for d in outputs), *combinations_with_replacement(outputs, 2)]
    if shape.n_variances > 0:
        cubes = {_sorted(d, e, e) for d in outputs for e in outputs}
        fourths = [(d, d, e, e) for d, e in combinations_with_replacement(outputs, 2)]
        keys += [*sorted(cubes), *fourths]
    return keys


class ClassScores:
    """Residuals of classes: one factor for every class but that of the rows.

    Parameters
    ----------
    source : Enumerated
        With one hidden layer, whose outputs are classes.
    """

    def __init__(self, source: Enumerated) -> None:
        self._table = source.table.values
        self._bits = source.low_bits, source.shape.last - source.low_bits

    def factors(self, group: int) -> Array:
        """Return P(c | z) of the other classes, (n_classes - 1, n_high, n_low)."""
        return np.delete(self._table, group, axis=0)

    def residuals(self, group: int, moments: Array) -> Array:
        """Return moments of the residuals, (n_classes, ...).

        Parameters
        ----------
        group : int
            Class of the rows.
        moments : array (n_classes, ..., n_rows)
            Moments of the functions 1 and `factors`.
        """
        out = np.empty_like(moments)
        others = np.arange(len(moments)) != group
        out[others] = -moments[1:]
        out[group] = moments[1:].sum(axis=0)  # 1 - P(y | z) would lose digits
        return out

    def directional(self, group: int, direction: Array) -> Array:
        """Return the derivative of ``log P(y | z)`` along a direction, (n_high, n_low).

        Parameters
        ----------
        group : int
        direction : array (n_hidden + 1, n_classes)
            Of the weights and intercepts of the output layer.
        """
        logits = _linear(direction, *self._bits)
        return ((logits[group] - logits) * self._table).sum(axis=0)

    def tables(self, group: int, direction: Array) -> tuple[Array, Array]:
        """Return residuals and their derivatives along a direction, (n_classes, n_high, n_low)."""
        logits = _linear(direction, *self._bits)
        residuals = -self._table
        residuals[group] = np.delete(self._table, group, axis=0).sum(axis=0)
        mean = (logits * self._table).sum(axis=0)
        return residuals, self._table * (mean - logits)


class FamilyScores:
    """Residuals of outputs that are independent given z, of one hidden layer.

    Parameters
    ----------
    source : Enumerated
    """

    def __init__(self, source: Enumerated) -> None:
        self._source = source
        self._dispersion = source.parameters.dispersion
        self._family = source.shape.family
        self._has_variance = source.shape.n_variances > 0
        self._bits = source.low_bits, source.shape.last - source.low_bits
        self._eta = _linear(source.parameters.output, *self._bits)

    def factors(self, group: int, keys: Sequence[Key]) -> Array:
        """Return products of ``(reference - E[Y | z]) / s``, (n_keys, n_high, n_low)."""
        reference = self._source.groups.references[group]
        scaled = self._scaled(reference)
        with _infinite():
            return np.array([np.prod(scaled[list(key)], axis=0) for key in keys])

    def residuals(
        self, group: int, start: int, stop: int, keys: Sequence[Key], moments: Array
    ) -> dict[Key, Array]:
        """Return moments of products of residuals, each of shape (..., n_rows).

        Parameters
        ----------
        group, start, stop : int
            Rows, which are of one group.
        keys : list of tuple
            Every key comes after the keys that are parts of it.
        moments : array (1 + n_keys, ..., n_rows)
            Moments of the functions 1 and `factors`.
        """
        reference = self._source.groups.references[group]
        moved = (self._source.rows.targets[start:stop] - reference) / self._dispersion
        of_factor = {(): moments[0], **dict(zip(keys, moments[1:], strict=True))}
        out = {(): moments[0]}
        for key in keys:
            places = range(len(key))
            total = np.zeros_like(moments[0])
            for size in range(len(key) + 1):
                for chosen in combinations(places, size):
                    own = tuple(key[place] for place in places if place not in chosen)
                    shift = np.prod(moved[:, [key[place] for place in chosen]], axis=1)
                    total += shift * of_factor[own]
            out[key] = total
        return out

    def directional(self, group: int, direction: Array, variances: Array) -> Array:
        """Return what depends on z in the derivative of ``log p(y | z)`` along a direction.

        The factor of a row is that of the reference value of its group; `directional_rest` is the
        remaining part.
        """
        scaled = self._scaled(self._source.groups.references[group])
        with _infinite():
            total = (scaled * _linear(direction, *self._bits)).sum(axis=0)
            for d, change in enumerate(variances):
                total += 0.5 * change * scaled[d] ** 2
        return total

    def directional_rest(
        self, tile_group: int, rows: slice, direction: Array, variances: Array, first: Array
    ) -> Array:
        """Return the rest of the derivative of ``log p(y | z)``, given ``E[(z, 1)]``, (n_rows,).

        Parameters
        ----------
        tile_group : int
        rows : slice
        direction : array (n_hidden + 1, n_outputs)
        variances : array (n_outputs,) or (0,)
        first : array (n_hidden + 1, n_rows)
        """
        reference = self._source.groups.references[tile_group]
        moved = (self._source.rows.targets[rows] - reference) / self._dispersion
        rest = (moved * (first.T @ direction)).sum(axis=1)
        if self._has_variance:  # the mean of y is linear in z
            means = first.T @ self._source.parameters.output
            away = (reference - means) / self._dispersion
            rest += (0.5 * moved**2 + moved * away - 0.5 / self._dispersion) @ variances
        return rest

    def tables(self, group: int, direction: Array, variances: Array) -> tuple[Array, Array]:
        """Return residuals of the reference value, and their derivatives along a direction.

        Parameters
        ----------
        group : int
        direction : array (n_hidden + 1, n_outputs)
        variances : array (n_outputs,) or (0,)

        Returns
        -------
        residuals, derivatives : arrays (n_outputs, n_high, n_low)
        """
        residuals = self._scaled(self._source.groups.references[group])
        with _infinite():
            derivatives = -self.curvature() * _linear(direction, *self._bits)
        if self._has_variance:
            derivatives -= residuals * (variances / self._dispersion)[:, None, None]
        return residuals, derivatives

    def moved(self, group: int, start: int, stop: int) -> Array:
        """Return the residuals of rows, less those of the reference value, (n_outputs, n_rows)."""
        reference = self._source.groups.references[group]
        return ((self._source.rows.targets[start:stop] - reference) / self._dispersion).T

    def curvature(self) -> Array:
        """Return the curvature of the log-partition of every output, (n_outputs, n_high, n_low)."""
        return self._family.curvature(self._eta) / self._dispersion[:, None, None]

    def products(self, of_key: dict[Key, Array]) -> Array:
        """Return sums over rows for the block of output weights and variances of the Hessian.

        Parameters
        ----------
        of_key : dict of tuple to array (n_hidden + 1, n_hidden + 1)
            ``sum_i w_i E[(z, 1) (z, 1)' f]`` of the products f of `second_keys`.

        Returns
        -------
        products : array (n_weights, n_weights)
            Sums of expectations of products of two gradients. For a variance and any other
            parameter the expectation of the second derivative is added.
        """
        m = len(of_key[()]) - 1
        s, n_outputs = self._dispersion, len(self._dispersion)
        n_weights = (m + 1) * n_outputs
        size = n_weights + n_outputs * self._has_variance
        out = np.empty((size, size))
        weights = out[:n_weights, :n_weights].reshape(m + 1, n_outputs, m + 1, n_outputs)
        for d, e in np.ndindex(n_outputs, n_outputs):
            weights[:, d, :, e] = of_key[_sorted(d, e)]
        if not self._has_variance:
            return out
        for d, e in np.ndindex(n_outputs, n_outputs):
            cross = 0.5 * (of_key[_sorted(d, e, e)][m] - of_key[d,][m] / s[e])
            square = of_key[_sorted(d, d, e, e)] - of_key[d, d] / s[e] - of_key[e, e] / s[d]
            square = 0.25 * (square[m, m] + of_key[()][m, m] / s[d] / s[e])
            if d == e:
                cross -= of_key[d,][m] / s[d]
                square -= (of_key[d, d] - 0.5 * of_key[()] / s[d])[m, m] / s[d]
            place = n_weights + e
            out[d:n_weights:n_outputs, place] = out[place, d:n_weights:n_outputs] = cross
            out[n_weights + d, place] = square
        return out

    def _scaled(self, reference: Array) -> Array:
        away = reference[:, None, None] - self._family.mean(self._eta)
        return away / self._dispersion[:, None, None]


def _infinite() -> np.errstate:
    """Permit infinite means: such configurations have probability zero and are left out."""
    return np.errstate(over="ignore", invalid="ignore")


def _linear(weights: Array, low_bits: int, high_bits: int) -> Array:
    """Return ``(z, 1) weights`` of all configurations, (n_outputs, n_high, n_low)."""
    low = weights[:low_bits].T @ bits(low_bits)
    high = weights[low_bits:-1].T @ bits(high_bits) + weights[-1][:, None]
    return high[:, :, None] + low[:, None, :]


def _sorted(*outputs: int) -> Key:
    return tuple(sorted(outputs))
