"""Gradients of ``log p(y | z)`` by the output weights, as functions of the configuration z.

The gradient by the weights into output c is ``(z, 1) rho_c(z)``, with the residual
``rho_c = 1{y = c} - P(c | z)`` for classes and ``rho_d = (y_d - E[Y_d | z]) / s_d`` for the other
families. The gradient by a noise variance s_d is ``(rho_d**2 - 1 / s_d) / 2``. A residual is the
sum of a function of the configuration and of a number of the row.
"""

import numpy as np

from fastem.oracle.moments import Enumerated, Tile
from fastem.parameters import Array
from fastem.tables import half_sums


class ClassScores:
    """Residuals of classes: one factor for every class but that of the rows.

    Parameters
    ----------
    source : Enumerated
        With one hidden layer, whose outputs are classes.
    """

    def __init__(self, source: Enumerated) -> None:
        self._table = source.table.values
        self._n_low = source.low_bits

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
        logits = _linear(direction, self._n_low)
        return ((logits[group] - logits) * self._table).sum(axis=0)

    def tables(self, group: int, direction: Array) -> tuple[Array, Array]:
        """Return residuals and their derivatives along a direction, (n_classes, n_high, n_low)."""
        logits = _linear(direction, self._n_low)
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
        self._n_low = source.low_bits
        self._eta = _linear(source.parameters.output, self._n_low)

    def factors(self, group: int) -> Array:
        """Return the residuals of the reference value, (n_outputs, n_high, n_low).

        If there are noise variances, their squares follow.
        """
        scaled = self._scaled(self._source.groups.references[group])
        with _infinite():
            return np.concatenate([scaled, scaled**2]) if self._has_variance else scaled

    def residuals(self, tile: Tile, moments: Array) -> tuple[Array, Array]:
        """Return moments of the residuals and of their squares, each like ``moments``.

        Parameters
        ----------
        tile : Tile
        moments : array (1 + n_factors, n_hidden + 1, n_rows)
            Moments of the functions 1 and `factors`.
        """
        moved = self.moved(tile)[:, None]
        linear, squares = np.split(moments[1:], [len(moved)])
        shift = moved * moments[0]
        if self._has_variance:
            squares = squares + moved * (2.0 * linear + shift)
        return linear + shift, squares

    def directional(self, group: int, direction: Array, variances: Array) -> Array:
        """Return the z-dependent part of the derivative of ``log p(y | z)`` along a direction.

        The factor of a row is that of the reference value of its group; `directional_rest` is the
        remaining part.
        """
        scaled = self._scaled(self._source.groups.references[group])
        with _infinite():
            total = (scaled * _linear(direction, self._n_low)).sum(axis=0)
            for d, change in enumerate(variances):
                total += 0.5 * change * scaled[d] ** 2
        return total

    def directional_rest(
        self, tile: Tile, direction: Array, variances: Array, first: Array
    ) -> Array:
        """Return the rest of the derivative of ``log p(y | z)``, given ``E[(z, 1)]``, (n_rows,).

        Parameters
        ----------
        tile : Tile
        direction : array (n_hidden + 1, n_outputs)
        variances : array (n_outputs,) or (0,)
        first : array (n_hidden + 1, n_rows)
        """
        moved = self.moved(tile).T
        rest = (moved * (first.T @ direction)).sum(axis=1)
        if self._has_variance:  # the mean of y is linear in z
            means = first.T @ self._source.parameters.output
            away = (self._source.groups.references[tile.group] - means) / self._dispersion
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
            derivatives = -self.curvature() * _linear(direction, self._n_low)
        if self._has_variance:
            derivatives -= residuals * (variances / self._dispersion)[:, None, None]
        return residuals, derivatives

    def moved(self, tile: Tile) -> Array:
        """Return the residuals of rows, less those of the reference value, (n_outputs, n_rows)."""
        targets = self._source.rows.targets[tile.start : tile.stop]
        away = targets - self._source.groups.references[tile.group]
        return (away / self._dispersion).T

    def curvature(self) -> Array:
        """Return minus the derivative of the residuals by ``z V + c``, (n_outputs, ...)."""
        return self._family.curvature(self._eta) / self._dispersion[:, None, None]

    def _scaled(self, reference: Array) -> Array:
        away = reference[:, None, None] - self._family.mean(self._eta)
        return away / self._dispersion[:, None, None]


def _infinite() -> np.errstate:
    """Permit infinite means: such configurations have probability zero and are left out."""
    return np.errstate(over="ignore", invalid="ignore")


def _linear(weights: Array, n_low_units: int) -> Array:
    """Return ``(z, 1) weights`` of all configurations, (n_outputs, n_high, n_low)."""
    high, low = half_sums(weights[:-1], weights[-1], n_low_units)
    return high[:, :, None] + low[:, None, :]
