"""Standardisation of features and numeric outputs, folded back into an estimator's weights."""

from collections.abc import Sequence
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


class Moments(NamedTuple):
    """Weighted mean and deviation of every column, relative to its largest absolute value.

    Columns are divided by their largest absolute value, so that squares of values like 1e300 and
    1e-300 are within range.

    Attributes
    ----------
    weight : float
    largest : array (n_columns,)
        Largest absolute values; 1 for values that are too small to divide by.
    mean, deviation : arrays (n_columns,)
        Mean and standard deviation as shares of ``largest``. Not centred: the mean is zero, and the
        deviation is the root of the mean square.
    """

    weight: float
    largest: Array
    mean: Array
    deviation: Array

    @classmethod
    def of(
        cls, values: Array | SparseFeatures, weights: Array, *, centred: bool = True
    ) -> "Moments":
        """Return the moments of columns (n_samples, n_columns)."""
        largest = largest_inputs(values)
        largest = np.where(largest < _SMALLEST_SCALE, 1.0, largest)
        weight = weights.sum()
        shares = weights / weight
        if isinstance(values, SparseFeatures):
            return cls(weight, largest, *values.moments(shares, largest, centred=centred))
        ratio = values / largest
        mean = shares @ ratio if centred else np.zeros(values.shape[1])
        return cls(weight, largest, mean, np.sqrt(shares @ (ratio - mean) ** 2))

    @classmethod
    def merged(cls, parts: Sequence["Moments"]) -> "Moments":
        """Return the moments of all rows from the centred moments of several parts of them."""
        if len(parts) == 1:
            return parts[0]
        largest = np.max([part.largest for part in parts], axis=0)
        weights = np.array([part.weight for part in parts])
        shares = (weights / weights.sum())[:, None]
        ratios = np.array([part.largest / largest for part in parts])
        means = ratios * [part.mean for part in parts]
        deviations = ratios * [part.deviation for part in parts]
        mean = (shares * means).sum(axis=0)
        variance = (shares * (deviations**2 + (means - mean) ** 2)).sum(axis=0)
        return cls(float(weights.sum()), largest, mean, np.sqrt(variance))

    def uncentred(self) -> "Moments":
        """Return the moments around zero from those around the mean."""
        return self._replace(
            mean=np.zeros(len(self.mean)), deviation=np.hypot(self.deviation, self.mean)
        )

    def centre_and_scale(self) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of every column; 1 for constant columns."""
        scale = self.largest * np.where(self.deviation > _CONSTANT, self.deviation, 1.0)
        scale[scale < _SMALLEST_SCALE] = 1.0
        return self.mean * self.largest, scale


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
        of_features = of_outputs = extremes = None
        if features:
            of_features = Moments.of(X, weights, centred=shape.fit_intercept)
        if shape.family.has_variance:
            of_outputs = Moments.of(targets, weights, centred=shape.fit_intercept)
            extremes = extremes_of(targets[weights > 0.0])
        return cls.from_moments(shape, of_features, of_outputs, extremes)

    @classmethod
    def from_moments(
        cls,
        shape: Shape,
        features: Moments | None,
        outputs: Moments | None,
        extremes: Array | None = None,
    ) -> "Standardization":
        """Return means and standard deviations from moments.

        Parameters
        ----------
        shape : Shape
        features, outputs : Moments or None
            None if they are not standardised. Not centred if the network has no intercepts.
        extremes : array (2, n_outputs) or None
            Smallest and largest value of every output with a noise variance.

        Raises
        ------
        ValueError
            If noise variances of an output would be too small.
        """
        of_features = np.zeros(shape.n_features), np.ones(shape.n_features)
        of_outputs = np.zeros(shape.n_outputs), np.ones(shape.n_outputs)
        if features is not None:
            of_features = features.centre_and_scale()
        if outputs is not None:
            of_outputs = outputs.centre_and_scale()
            check_output_scale(extremes, of_outputs[1], shape.variance_floor)
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


def feature_deviations(moments: Moments) -> Array:
    """Return the weighted standard deviation of every feature (n_features,), in its unit.

    Unlike `Standardization.scale`, it is zero for a constant feature, and it does not depend on
    whether features are standardised.

    Parameters
    ----------
    moments : Moments
        Centred.
    """
    deviation = moments.deviation
    return np.where(deviation > _CONSTANT, deviation, 0.0) * moments.largest


def extremes_of(values: Array) -> Array:
    """Return the smallest and the largest value of every column, (2, n_columns)."""
    return np.array([values.min(axis=0), values.max(axis=0)])


def warn_of_constant_outputs(extremes: Array, moments: Moments) -> None:
    """Warn if an output has one value only, or varies by little more than its rounding error.

    Parameters
    ----------
    extremes : array (2, n_outputs)
        Smallest and largest value of every output in rows of positive weight.
    moments : Moments
        Of the outputs in these rows, centred.

    Warns
    -----
    UserWarning
        With the column and the value.
    """
    is_constant = np.ptp(extremes, axis=0) == 0.0
    for column in np.flatnonzero(is_constant)[:1]:
        warn_user(
            f"y is constant in column {column}: every value is {extremes[0, column]:g}. The model "
            "predicts this value, with the smallest variance that variance_floor permits."
        )
    is_tiny = np.abs(extremes).max(axis=0) < _SMALLEST_SCALE  # fit refuses it
    is_close = (moments.deviation <= _CONSTANT) & ~is_constant & ~is_tiny
    for column in np.flatnonzero(is_close)[:1]:
        warn_user(
            f"y is treated as constant in column {column}: its standard deviation is less than "
            f"{_CONSTANT:g} times its largest value, {moments.largest[column]:g}, which is close "
            "to the rounding error. Subtract a constant from y."
        )
