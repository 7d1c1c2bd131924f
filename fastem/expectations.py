"""Results of an E-step: `Expectations` for users, `Statistics` and their `Sums` for M-steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.parameters import Array
from fastem.sparse import SparseFeatures


class Expectations(NamedTuple):
    """Result of an E-step on rows with targets, in the order of X.

    Attributes
    ----------
    log_likelihood : array (n_samples,), nats
        Marginal ``log p(y_i | x_i)`` of each row, without its weight.
    hidden_posterior : array (n_samples, n_hidden), probability
        ``P(Z_h = 1 | x_i, y_i)`` of the units of the first hidden layer.
    coef_gradients : list of arrays shaped like ``coefs``
        Gradient of the weighted total log-likelihood, in nats per unit of a coefficient:
        eqs. 12 and 15 in the notes of `fastem.e_step`.
    intercept_gradients : list of arrays shaped like ``intercepts``
        The same for intercepts.
    effective_sample_size : array (n_samples,) or None
        ``(sum w)**2 / sum w**2`` of each row, the number of independent samples from the posterior
        that its weighted samples are equivalent to. None for exact engines.
    variance_gradient : array (n_outputs,) or None
        Gradient with respect to the noise variances, in nats per squared unit of y. None if the
        family has no variance.
    """

    log_likelihood: Array
    hidden_posterior: Array
    coef_gradients: list[Array]
    intercept_gradients: list[Array]
    effective_sample_size: Array | None = None
    variance_gradient: Array | None = None


class HiddenStatistics(NamedTuple):
    """Statistics of one hidden layer: a logistic regression for every unit.

    Engines that do not enumerate configurations provide no inputs for layers after the first: there
    ``inputs`` and ``probability`` are None, and the rows are the samples.

    Attributes
    ----------
    inputs : array (n_rows, n_inputs), or SparseFeatures of that shape
        Inputs of the layer: the samples, or the configurations of the layer below.
    weights : array (n_rows,), summed weight
        Weights of the samples, or expected weights of the configurations.
    probability, posterior : arrays (n_hidden, n_rows), probability
        P(Z = 1 | inputs) and P(Z = 1 | inputs, y).
    gradient : array (n_inputs, n_hidden), nats per unit of weight
        Gradient of the weighted log-likelihood with respect to the layer's weights: eq. 12 in the
        notes of `fastem.e_step`.
    input_posterior : array (n_units_below, n_rows) or None, probability
        Posterior of the layer below, if there are no inputs.
    """

    inputs: Array | SparseFeatures | None
    weights: Array
    probability: Array | None
    posterior: Array
    gradient: Array
    input_posterior: Array | None = None


class Statistics(NamedTuple):
    """Result of an E-step on sorted rows (`TrainingRows`), for the M-steps.

    The arrays may belong to the plan that returned them. Its next E-step may overwrite them.

    Attributes
    ----------
    log_likelihood : array (n_samples,), nats
        Marginal ``log p(y_i | x_i)`` of each row, without its weight.
    hidden : tuple of HiddenStatistics
        One per hidden layer, the first layer first.
    counts : array (n_classes, n_high, n_low) or (1, n_high, n_low) or None, summed weight
        Expected weight of every configuration of the last hidden layer. For classes there is one
        array per class. For other families there is one array, the sum over all rows. None from
        engines that do not enumerate configurations. It can also be a function without arguments
        that returns the array: some M-steps do not need it.
    output_table : array (n_classes, n_high, n_low) or None, probability
        P(y|z) in this E-step. None without ``counts``, and if the outputs are not classes.
    output_gradient : array (n_inputs, n_outputs), nats per unit of weight
        Gradient of the weighted log-likelihood with respect to the output layer's weights,
        eq. 15; shaped like `Parameters.output`.
    effective_sample_size : array (n_samples,) or None
        As in `Expectations`. None for exact engines.
    squared_residuals : array (n_outputs,) or None, summed weight times squared unit of y
        ``sum_i w_i E[(y_i - eta)**2 | x_i, y_i]`` of every output whose family has a variance.
    """

    log_likelihood: Array
    hidden: tuple[HiddenStatistics, ...]
    counts: Array | Callable[[], Array] | None
    output_table: Array | None
    output_gradient: Array
    effective_sample_size: Array | None = None
    squared_residuals: Array | None = None

    def expected_counts(self) -> Array | None:
        """Return the array ``counts``, which is computed now if it is a function."""
        return self.counts() if callable(self.counts) else self.counts

    def total_log_likelihood(self) -> float:
        """Return the weighted log-likelihood of all rows, in nats."""
        return float(np.sum(self.hidden[0].weights * self.log_likelihood))

    def variance_gradient(self, variance: Array) -> Array:
        """Return the gradient of the weighted log-likelihood by the noise variances.

        Parameters
        ----------
        variance : array (n_outputs,), squared unit of y
            Under which the statistics were computed.

        Returns
        -------
        gradient : array (n_outputs,), nats per squared unit of y
        """
        return _variance_gradient(self.squared_residuals, self.hidden[-1].weights.sum(), variance)


class LayerSums(NamedTuple):
    """Sums over rows of one hidden layer.

    Attributes
    ----------
    gradient : array (n_inputs, n_hidden), nats per unit of weight
        As in `HiddenStatistics`.
    moments : array (n_inputs, n_inputs) or None
        Weighted second moments of the inputs. None if the M-step does not need them.
    """

    gradient: Array
    moments: Array | None


class OutputSums(NamedTuple):
    """Sums over rows of the output layer.

    Attributes
    ----------
    gradient : array (n_inputs, n_outputs), nats per unit of weight
        As in `Statistics`.
    weight : float
        Summed weight of the rows.
    moments : tuple of arrays
        What the M-step needs beside the gradient.
    squared_residuals : array (n_outputs,) or None
        As in `Statistics`.
    """

    gradient: Array
    weight: float
    moments: tuple[Array, ...]
    squared_residuals: Array | None


class Sums(NamedTuple):
    """Sums over rows from which an M-step computes new parameters.

    The sums of several parts of the rows add up to those of all rows.

    Attributes
    ----------
    log_likelihood : float, nats
        Weighted.
    hidden : tuple of LayerSums
        One per hidden layer, the first layer first.
    output : OutputSums
    """

    log_likelihood: float
    hidden: tuple[LayerSums, ...]
    output: OutputSums

    @property
    def output_gradient(self) -> Array:
        """The gradient of the output layer, as in `Statistics`."""
        return self.output.gradient

    def variance_gradient(self, variance: Array) -> Array:
        """Return the gradient of the weighted log-likelihood by the noise variances.

        Parameters and result are those of `Statistics.variance_gradient`.
        """
        return _variance_gradient(self.output.squared_residuals, self.output.weight, variance)


def total(parts: Sequence[Sums]) -> Sums:
    """Return the sums over all rows, added up in the given order of the parts."""
    return _added(parts)


def _added(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, tuple):
        fields = [_added(values) for values in zip(*parts, strict=True)]
        return type(first)(*fields) if hasattr(first, "_fields") else tuple(fields)
    result = np.array(first)
    for other in parts[1:]:
        result += other
    return result if result.ndim else float(result)


def _variance_gradient(squared_residuals: Any, weight: float, variance: Array) -> Array:
    excess = squared_residuals - weight * variance
    return 0.5 * excess / variance / variance  # the square may overflow
