"""Standardisation of features inside an estimator, folded back into its weights."""

from typing import NamedTuple

import numpy as np

from fastem.parameters import Array, Parameters

# A column is constant if its deviation is below this fraction of its largest value.
_CONSTANT = 1e-13
# Dividing a weight by a smaller scale would overflow.
_SMALLEST_SCALE = 1e-305


class Standardization(NamedTuple):
    """Centre and scale of every feature: ``standardised = X / scale - centre / scale``.

    The formula avoids ``X - centre``, which could overflow.

    Attributes
    ----------
    centre, scale : arrays (n_features,), in the features' units
    """

    centre: Array
    scale: Array

    @classmethod
    def identity(cls, n_features: int) -> "Standardization":
        """Return centre 0 and scale 1: the features are left as they are."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def of(cls, X: Array, weights: Array, centred: bool) -> "Standardization":
        """Return the weighted mean and standard deviation of every feature.

        Features are first divided by their largest absolute value, so that squares of values
        like 1e300 and 1e-300 are within range.

        Parameters
        ----------
        X : array (n_samples, n_features)
        weights : array (n_samples,)
        centred : bool
            False for networks without intercepts, which cannot represent a shift. The centre is
            zero then.
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
        """Convert weights on standardised features into weights on the features."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features]
        hidden[:n_features] = weights / self.scale[:, None]
        if len(hidden) > n_features:
            hidden[-1] -= (self.centre / self.scale) @ weights
        return parameters._replace(hidden=(hidden, *parameters.hidden[1:]))

    def unfold(self, parameters: Parameters) -> Parameters:
        """Convert weights on the features into weights on standardised features."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features] * self.scale[:, None]
        hidden[:n_features] = weights
        if len(hidden) > n_features:
            hidden[-1] += (self.centre / self.scale) @ weights
        return parameters._replace(hidden=(hidden, *parameters.hidden[1:]))
