"""Standardisation inside an estimator, folded back into its weights."""

from typing import NamedTuple

import numpy as np

from fastem.parameters import Array, Parameters

# A deviation below this share of the largest value is rounding: the column is constant.
_CONSTANT = 1e-13
# Scales below this would overflow when weights are divided by them.
_SMALLEST_SCALE = 1e-305


class Scaling(NamedTuple):
    """Centre and scale of every feature: ``standardised = X / scale - centre / scale``.

    Written so because ``X - centre`` could overflow.

    Attributes
    ----------
    centre, scale : arrays (n_features,), in the features' units
    """

    centre: Array
    scale: Array

    @classmethod
    def identity(cls, n_features: int) -> "Scaling":
        """Return the scaling that changes nothing."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def of(cls, X: Array, weights: Array, centred: bool) -> "Scaling":
        """Return weighted means and deviations; features are first divided by their largest.

        That keeps squares of values like 1e300 and 1e-300 within range. Without intercepts
        nothing could take up a shift, so the centre is zero.
        """
        largest = np.abs(X).max(axis=0)
        largest[largest < _SMALLEST_SCALE] = 1.0
        shares = weights / weights.sum()
        ratio = X / largest
        mean = shares @ ratio if centred else np.zeros(X.shape[1])
        deviation = np.sqrt(shares @ (ratio - mean) ** 2)
        scale = largest * np.where(deviation > _CONSTANT, deviation, 1.0)
        scale[scale < _SMALLEST_SCALE] = 1.0
        return cls(mean * largest, scale)

    def apply(self, X: Array) -> Array:
        """Return the standardised features."""
        return X / self.scale - self.centre / self.scale

    def fold(self, parameters: Parameters) -> Parameters:
        """Turn weights on standardised features into weights on the features themselves."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features]
        hidden[:n_features] = weights / self.scale[:, None]
        if len(hidden) > n_features:
            hidden[-1] -= (self.centre / self.scale) @ weights
        return parameters._replace(hidden=(hidden, *parameters.hidden[1:]))

    def unfold(self, parameters: Parameters) -> Parameters:
        """Undo `fold`."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features] * self.scale[:, None]
        hidden[:n_features] = weights
        if len(hidden) > n_features:
            hidden[-1] += (self.centre / self.scale) @ weights
        return parameters._replace(hidden=(hidden, *parameters.hidden[1:]))
