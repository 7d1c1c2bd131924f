"""Standardisation of features and numeric outputs, folded back into an estimator's weights."""

from typing import NamedTuple

import numpy as np

from fastem.estimators.validation import check_output_scale
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import largest_inputs
from fastem.runtime import warn_user
from fastem.sparse import SparseFeatures

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
        cls,
        X: Array | SparseFeatures,
        targets: Array,
        weights: Array,
        shape: Shape,
        *,
        features: bool,
    ) -> "Standardization":
        """Return weighted means and standard deviations.

        Parameters
        ----------
        X : array (n_samples, n_features) or SparseFeatures
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
            values = targets[weights > 0.0]
            check_output_scale(values, of_outputs[1], shape.variance_floor)
        return cls(*of_features, *of_outputs)

    def apply(self, X: Array | SparseFeatures) -> Array | SparseFeatures:
        """Return the standardised features."""
        if isinstance(X, SparseFeatures):
            return X.standardised(self.centre, self.scale)
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


def feature_deviations(X: Array | SparseFeatures, weights: Array) -> Array:
    """Return the weighted standard deviation of every feature (n_features,), in its unit.

    Unlike `Standardization.scale`, it is zero for a constant feature, and it does not depend on
    whether features are standardised.
    """
    _, deviation, largest = _relative_moments(X, weights, centred=True)
    return np.where(deviation > _CONSTANT, deviation, 0.0) * largest


def warn_of_constant_outputs(targets: Array, weights: Array) -> None:
    """Warn if an output has one value only, or varies by little more than its rounding error.

    Parameters
    ----------
    targets : array (n_samples, n_outputs)
    weights : array (n_samples,)
        Rows of weight zero are ignored.

    Warns
    -----
    UserWarning
        With the column and the value.
    """
    targets, weights = targets[weights > 0.0], weights[weights > 0.0]
    is_constant = np.ptp(targets, axis=0) == 0.0
    for column in np.flatnonzero(is_constant)[:1]:
        warn_user(
            f"y is constant in column {column}: every value is {targets[0, column]:g}. The model "
            "predicts this value, with the smallest variance that variance_floor permits."
        )
    _, deviation, largest = _relative_moments(targets, weights, centred=True)
    is_tiny = np.abs(targets).max(axis=0) < _SMALLEST_SCALE  # fit refuses it
    for column in np.flatnonzero((deviation <= _CONSTANT) & ~is_constant & ~is_tiny)[:1]:
        warn_user(
            f"y is treated as constant in column {column}: its standard deviation is less than "
            f"{_CONSTANT:g} times its largest value, {largest[column]:g}, which is close to the "
            "rounding error. Subtract a constant from y."
        )


def _centre_and_scale(
    values: Array | SparseFeatures, weights: Array, centred: bool
) -> tuple[Array, Array]:
    """Return the weighted mean and standard deviation of every column."""
    mean, deviation, largest = _relative_moments(values, weights, centred)
    scale = largest * np.where(deviation > _CONSTANT, deviation, 1.0)
    scale[scale < _SMALLEST_SCALE] = 1.0
    return mean * largest, scale


def _relative_moments(
    values: Array | SparseFeatures, weights: Array, centred: bool
) -> tuple[Array, Array, Array]:
    """Return weighted mean and standard deviation as shares of the largest absolute value, and it.

    Columns are first divided by their largest absolute value, so that squares of values like 1e300
    and 1e-300 are within range.
    """
    largest = largest_inputs(values)
    largest = np.where(largest < _SMALLEST_SCALE, 1.0, largest)
    shares = weights / weights.sum()
    if isinstance(values, SparseFeatures):
        return *values.moments(shares, largest, centred=centred), largest
    ratio = values / largest
    mean = shares @ ratio if centred else np.zeros(values.shape[1])
    return mean, np.sqrt(shares @ (ratio - mean) ** 2), largest
