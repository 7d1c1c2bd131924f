"""Standardisation of features and numeric outputs, folded back into an estimator's weights."""

from typing import NamedTuple

import numpy as np

from fastem.estimators.validation import check_output_scale
from fastem.parameters import Array, Parameters, Shape

# A column is constant if its deviation is below this fraction of its largest value.
_CONSTANT = 1e-13
# Dividing a weight by a smaller scale would overflow.
_SMALLEST_SCALE = 1e-305


class Standardization(NamedTuple):
    """Centre and scale of every feature: ``standardised = X / scale - centre / scale``.

    The formula avoids ``X - centre``, which could overflow. Outputs that have a noise variance are
    standardised in the same way.

    Attributes
    ----------
    centre, scale : arrays (n_features,), in the features' units
    output_centre, output_scale : arrays (n_outputs,), in the unit of y
        Zeros and ones for outputs without a noise variance.
    """

    centre: Array
    scale: Array
    output_centre: Array
    output_scale: Array

    @classmethod
    def of(
        cls, X: Array, targets: Array, weights: Array, shape: Shape, *, features: bool
    ) -> "Standardization":
        """Return weighted means and standard deviations.

        Parameters
        ----------
        X : array (n_samples, n_features)
        targets : array
            Class indices, or values (n_samples, n_outputs).
        weights : array (n_samples,)
        shape : Shape
            Networks without intercepts cannot represent a shift. All centres are zero then.
        features : bool
            Whether to standardise the features.

        Raises
        ------
        ValueError
            If noise variances of an output would be too small.
        """
        of_features = np.zeros(shape.n_features), np.ones(shape.n_features)
        of_outputs = np.zeros(shape.n_outputs), np.ones(shape.n_outputs)
        if features:
            of_features = _centre_and_scale(X, weights, shape.fit_intercept)
        if shape.family.has_variance:
            of_outputs = _centre_and_scale(targets, weights, shape.fit_intercept)
            check_output_scale(of_outputs[1], shape.variance_floor)
        return cls(*of_features, *of_outputs)

    def apply(self, X: Array) -> Array:
        """Return the standardised features."""
        return X / self.scale - self.centre / self.scale

    def apply_to_targets(self, targets: Array) -> Array:
        """Return the standardised outputs; class indices are returned as they are."""
        if targets.ndim == 1:
            return targets
        return targets / self.output_scale - self.output_centre / self.output_scale

    @property
    def log_scale(self) -> float:
        """Log-density of standardised outputs minus log-density of y, in nats."""
        return float(np.log(self.output_scale).sum())

    def fold(self, parameters: Parameters) -> Parameters:
        """Convert weights of the standardised network into weights in the units of X and y."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features]
        hidden[:n_features] = weights / self.scale[:, None]
        if len(hidden) > n_features:
            hidden[-1] -= (self.centre / self.scale) @ weights
        parameters = parameters._replace(hidden=(hidden, *parameters.hidden[1:]))
        if len(parameters.variance) == 0:
            return parameters
        output = parameters.output * self.output_scale
        if self._has_intercepts(parameters):
            output[-1] += self.output_centre
        variance = parameters.variance * self.output_scale**2
        return parameters._replace(output=output, variance=variance)

    def unfold(self, parameters: Parameters) -> Parameters:
        """Convert weights in the units of X and y into weights of the standardised network."""
        n_features = len(self.scale)
        hidden = parameters.hidden[0].copy()
        weights = parameters.hidden[0][:n_features] * self.scale[:, None]
        hidden[:n_features] = weights
        if len(hidden) > n_features:
            hidden[-1] += (self.centre / self.scale) @ weights
        parameters = parameters._replace(hidden=(hidden, *parameters.hidden[1:]))
        if len(parameters.variance) == 0:
            return parameters
        output = parameters.output.copy()
        if self._has_intercepts(parameters):
            output[-1] -= self.output_centre
        variance = parameters.variance / self.output_scale**2
        return parameters._replace(output=output / self.output_scale, variance=variance)

    def _has_intercepts(self, parameters: Parameters) -> bool:
        return len(parameters.hidden[0]) > len(self.scale)


def _centre_and_scale(values: Array, weights: Array, centred: bool) -> tuple[Array, Array]:
    """Return the weighted mean and standard deviation of every column.

    Columns are first divided by their largest absolute value, so that squares of values like 1e300
    and 1e-300 are within range.
    """
    largest = np.abs(values).max(axis=0)
    largest[largest < _SMALLEST_SCALE] = 1.0
    shares = weights / weights.sum()
    ratio = values / largest
    mean = shares @ ratio if centred else np.zeros(values.shape[1])
    deviation = np.sqrt(shares @ (ratio - mean) ** 2)
    scale = largest * np.where(deviation > _CONSTANT, deviation, 1.0)
    scale[scale < _SMALLEST_SCALE] = 1.0
    return mean * largest, scale
