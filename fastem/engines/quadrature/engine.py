"""The quadrature engine: exact to a tolerance, for any number of hidden units.

It serves two or three classes, and one Gaussian output.
"""

import math
import numbers
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from fastem.engines.base import Engine, Plan, check_classes, quadrature_serves
from fastem.engines.quadrature.strategies import OutputLayer, strategy_of
from fastem.expectations import HiddenStatistics, Statistics
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import TrainingRows, check_log_odds, largest_inputs
from fastem.runtime import check_memory, single_threaded_blas, threads_worth


def _output_layer(parameters: Parameters) -> OutputLayer:
    n_units = parameters.hidden[0].shape[1]
    return OutputLayer(*split_intercepts(parameters.output, n_units), parameters.variance)


def _log_odds(inputs: Array, largest: Array, parameters: Parameters) -> Array:
    check_log_odds(largest, parameters.hidden[0])
    with single_threaded_blas():
        return inputs @ parameters.hidden[0]


class QuadraturePlan(Plan):
    """An E-step by quadrature, prepared for given rows; see `Quadrature`.

    Parameters
    ----------
    rows : TrainingRows
    shape : Shape
    tol : float
    n_threads : int
    """

    def __init__(self, rows: TrainingRows, shape: Shape, tol: float, n_threads: int) -> None:
        self._strategy = strategy_of(shape)
        self._tol, self._n_threads = tol, n_threads
        self.rebind(rows)

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        self._rows = rows
        self._largest_inputs = rows.largest_inputs
        self._targets = rows.labels if rows.targets is None else rows.targets

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step; ``draw`` is ignored.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        rows, output = self._rows, _output_layer(parameters)
        log_odds = _log_odds(rows.inputs, self._largest_inputs, parameters)
        n_threads = threads_worth(self._strategy.seconds(log_odds.size), self._n_threads)
        log_probability, posterior, output_gradient, squares = self._strategy.expect(
            log_odds, self._targets, rows.weights, output, self._tol, n_threads
        )
        prior = expit(log_odds)
        with single_threaded_blas():
            weighted = rows.weights[:, None] * (posterior - prior)
            hidden_gradient = rows.inputs.T @ weighted
        hidden = HiddenStatistics(
            rows.inputs,
            rows.weights,
            np.ascontiguousarray(prior.T),
            np.ascontiguousarray(posterior.T),
            hidden_gradient,
        )
        output_gradient = output_gradient[: len(parameters.output)]
        return Statistics(
            log_probability, (hidden,), None, None, output_gradient, squared_residuals=squares
        )


@dataclass
class Quadrature(Engine):
    """E-step by quadrature: linear in the number of hidden units.

    It serves two or three classes, and one Gaussian output; one hidden layer.

    Parameters
    ----------
    tol : float, default=1e-10
        Relative error of every p(y|x) that is allowed. For a density the error of ``log p`` is at
        most ``tol max(1, abs(log p))``, because rounding errors grow with ``abs(log p)``. The
        engine integrates a row again with more nodes until an upper bound on its error is below
        ``tol``. If that fails, it raises FloatingPointError and reports the bound that was
        reached.

    Notes
    -----
    Two classes take about ``40 n m`` flops per node, with 60 to 100 nodes at moderate weights.
    Three classes take about ``30 n m`` flops per node, with 10 000 to 15 000 nodes.
    One Gaussian output takes about ``40 n m`` flops per node, with about thirty nodes if the noise
    is a third of the standard deviation of the means.
    The numbers of nodes follow from the error bound, and grow with the weights. Memory:
    ``O(n m)``.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier((100,), e_step=fastem.Quadrature())
    """

    tol: float = 1e-10
    name: ClassVar[str] = "quadrature"
    statistics: ClassVar[str] = "means"

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about the time of an E-step on one thread, at moderate weights.

        Returns
        -------
        seconds : float
            Infinity if the engine does not apply.
        """
        if not quadrature_serves(shape):
            return math.inf
        return strategy_of(shape).seconds(n_samples * shape.first)

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes.

        Rows that are conditioned on units need more, for the copies of these rows.

        Raises
        ------
        ValueError
            If the engine does not apply.
        """
        return strategy_of(shape).bytes_needed(n_samples, shape.first, n_threads)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        return self.bytes_needed(shape, n_samples, n_threads)

    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> QuadraturePlan:
        """Prepare E-steps on the given rows.

        Raises
        ------
        ValueError
            If there are four classes or more, several outputs, an output that is neither a class
            nor Gaussian, or several hidden layers; if ``tol`` is out of range; if the rows times
            the hidden units do not fit into memory.
        """
        self._check(shape, len(rows.weights), n_threads)
        return QuadraturePlan(rows, shape, self.tol, n_threads)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, n_classes), in nats.

        Raises
        ------
        ValueError
            As `plan`; if the outputs are not classes.
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        check_classes(shape)
        self._check(shape, len(inputs), n_threads)
        strategy = strategy_of(shape)
        log_odds = _log_odds(inputs, largest_inputs(inputs), parameters)
        n_threads = threads_worth(strategy.seconds(log_odds.size), n_threads)
        return strategy.log_marginal(log_odds, _output_layer(parameters), self.tol, n_threads)

    def _check(self, shape: Shape, n_samples: int, n_threads: int) -> None:
        strategy_of(shape)
        is_number = isinstance(self.tol, numbers.Real) and not isinstance(self.tol, bool)
        if not (is_number and 1e-13 <= self.tol < 1.0):
            raise ValueError(
                f"tol of Quadrature must be a number >= 1e-13 and < 1, got {self.tol!r}."
            )
        check_memory(
            f"hidden_layer_sizes={shape.hidden_layer_sizes} on {n_samples} rows",
            "for quadrature",
            "Use fewer rows or hidden units.",
            self.bytes_needed(shape, n_samples, n_threads),
        )
