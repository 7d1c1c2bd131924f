"""The quadrature engine: two or three classes, any number of hidden units, to a tolerance."""

import math
import numbers
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from fastem.engines.base import Engine, Plan
from fastem.engines.quadrature.line import LineIntegrator
from fastem.engines.quadrature.three_classes import ThreeClassIntegrator, log_probabilities
from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import line, plane
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import ClassSortedRows, check_log_odds, largest_inputs
from fastem.runtime import check_memory, row_ranges, single_threaded_blas, threads_worth

_NODES = {2: 100, 3: 30_000}  # that a row takes under the weights that fits end with
_SECONDS_PER_NODE = {2: 4e-9, 3: 7.5e-10}
_ROWS_AT_ONCE = 8192  # of three classes
_LOG_HALF = math.log(0.5)


def _difference(parameters: Parameters) -> tuple[Array, float]:
    """Return the output weights and intercept of class 1 less those of class 0."""
    output, intercepts = _output(parameters)
    v = np.ascontiguousarray(output[:, 1] - output[:, 0])
    return v, float(intercepts[1] - intercepts[0])


def _output(parameters: Parameters) -> tuple[Array, Array]:
    """Return the weights and the intercepts of the output layer."""
    return split_intercepts(parameters.output, parameters.hidden[0].shape[1])


def _log_odds(inputs: Array, largest: Array, parameters: Parameters) -> Array:
    check_log_odds(largest, parameters.hidden[0])
    with single_threaded_blas():
        return inputs @ parameters.hidden[0]


class QuadraturePlan(Plan):
    """An E-step by quadrature prepared for given rows; see `Quadrature`."""

    def __init__(self, rows: ClassSortedRows, tol: float, n_threads: int) -> None:
        self._tol, self._n_threads = tol, n_threads
        self.rebind(rows)

    def rebind(self, rows: ClassSortedRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for."""
        self._rows = rows
        self._largest_inputs = largest_inputs(rows.inputs)
        self._labels = np.repeat(np.arange(len(rows.class_starts) - 1), np.diff(rows.class_starts))

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step; ``draw`` is ignored.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        rows = self._rows
        log_odds = _log_odds(rows.inputs, self._largest_inputs, parameters)
        seconds = _seconds(log_odds.size, parameters.output.shape[1])
        n_threads = threads_worth(seconds, self._n_threads)
        integrate = _expect_two if parameters.output.shape[1] == 2 else _expect_three
        log_probability, posterior, output_gradient = integrate(
            log_odds, self._labels, rows.weights, parameters, self._tol, n_threads
        )
        prior = expit(log_odds)
        with single_threaded_blas():
            moved = rows.weights[:, None] * (posterior - prior)
            hidden_gradient = rows.inputs.T @ moved
        hidden = HiddenStatistics(
            rows.inputs,
            rows.weights,
            np.ascontiguousarray(prior.T),
            np.ascontiguousarray(posterior.T),
            hidden_gradient,
        )
        output_gradient = output_gradient[: len(parameters.output)]
        return Statistics(log_probability, (hidden,), None, None, output_gradient)


def _expect_two(
    log_odds: Array, labels: Array, weights: Array, parameters: Parameters, tol: float,
    n_threads: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return log p, hidden posteriors, and the weighted gradient of the output layer."""
    v, c = _difference(parameters)
    found = LineIntegrator(log_odds, v, c, tol, n_threads).integrate(
        2.0 * labels - 1.0, derivatives=True
    )
    with single_threaded_blas():
        of_class_1 = np.append(weights @ found.slopes, weights @ found.slope_of_c)
    return found.log_probability, found.posterior, np.stack([-of_class_1, of_class_1], axis=1)


def _expect_three(
    log_odds: Array, labels: Array, weights: Array, parameters: Parameters, tol: float,
    n_threads: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Do the same for three classes, so many rows at once."""
    log_probability, posterior = np.empty(len(log_odds)), np.empty_like(log_odds)
    gradient = np.zeros((log_odds.shape[1] + 1, 3))
    for start, stop in row_ranges(len(log_odds), _ROWS_AT_ONCE):
        some, n_rows = slice(start, stop), stop - start
        found = ThreeClassIntegrator(
            log_odds[some], *_output(parameters), tol, n_threads
        ).integrate(
            np.arange(n_rows), labels[some], np.full(n_rows, -np.inf), derivatives=True
        )  # fmt: skip
        log_probability[some], posterior[some] = found.log_probability, found.posterior
        gradient += np.einsum("i,ihk->hk", weights[some], found.slopes)
    return log_probability, posterior, gradient


def _predict_two(log_odds: Array, parameters: Parameters, tol: float, n_threads: int) -> Array:
    """Return ``log p(y = k | x)`` of both classes.

    What is integrated is the class that S is against: the other is one less that, and needs an
    integral of its own only where the guess was wrong.
    """
    v, c = _difference(parameters)
    out = np.empty((len(log_odds), 2))
    minority = (expit(log_odds) @ v + c <= 0.0).astype(np.int64)
    rows = np.arange(len(log_odds))
    for _ in range(2):
        integrator = LineIntegrator(log_odds[rows], v, c, tol, n_threads)
        found = integrator.integrate(2.0 * minority[rows] - 1.0, derivatives=False)
        out[rows, minority[rows]] = found.log_probability
        with np.errstate(divide="ignore"):
            out[rows, 1 - minority[rows]] = np.log(-np.expm1(found.log_probability))
        rows = rows[found.log_probability > _LOG_HALF]
        minority[rows] = 1 - minority[rows]
        if len(rows) == 0:
            break
    return out


def _predict_three(log_odds: Array, parameters: Parameters, tol: float, n_threads: int) -> Array:
    """Return ``log p(y = k | x)`` of three classes, so many rows at once."""
    out = np.empty((len(log_odds), 3))
    output, intercepts = _output(parameters)
    logits = expit(log_odds) @ output + intercepts
    for start, stop in row_ranges(len(log_odds), _ROWS_AT_ONCE):
        integrator = ThreeClassIntegrator(
            log_odds[start:stop], *_output(parameters), tol, n_threads
        )
        out[start:stop] = log_probabilities(integrator, logits[start:stop].argmax(axis=1))
    return out


def _seconds(n_rows_times_units: float, n_classes: int) -> float:
    return n_rows_times_units * _NODES[n_classes] * _SECONDS_PER_NODE[n_classes]


@dataclass
class Quadrature(Engine):
    """E-step of two or three classes by quadrature: linear in the number of hidden units.

    Parameters
    ----------
    tol : float, default=1e-10
        Relative error of every p(y|x) that is allowed for. Rows are redone with more nodes
        until a bound on it holds; where none can, an error says how far it came.

    Notes
    -----
    Two classes take about ``40 n m`` flops a node, and a hundred nodes where weights are
    moderate; three take ``30 n m`` flops, and eight thousand. The numbers follow from the bound,
    and grow with the weights. Memory: ``O(n m)``.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier((100,), e_step=fastem.Quadrature())
    """

    tol: float = 1e-10
    name: ClassVar[str] = "quadrature"
    statistics: ClassVar[str] = "means"

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread, weights being moderate."""
        if shape.n_classes not in _NODES or shape.depth > 1:
            return math.inf
        return _seconds(n_samples * shape.first, shape.n_classes)

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes."""
        m = shape.first
        if shape.n_classes == 2:
            scratch = n_threads * (2 * m + 6) * line.NODES_AT_ONCE
            return 8 * (9 * n_samples * m + 24 * n_samples + scratch)
        # log-odds, prior and posterior of all; the rest of so many rows at once
        at_once = min(n_samples, _ROWS_AT_ONCE)
        scratch = n_threads * (4 * m * plane.NODES_AT_ONCE + 1000 * m + 4000)
        return 8 * (6 * n_samples * m + at_once * (28 * m + 120) + 8 * n_samples + scratch)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        return self.bytes_needed(shape, n_samples, n_threads)

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> QuadraturePlan:
        """Prepare E-steps on the given rows.

        Raises
        ------
        ValueError
            If there are four classes or more, `tol` is out of range, or the rows times the
            hidden units do not fit into memory.
        """
        self._check(shape, len(rows.weights), n_threads)
        return QuadraturePlan(rows, self.tol, n_threads)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, n_classes), in nats.

        Raises
        ------
        ValueError
            As `plan`.
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        self._check(shape, len(inputs), n_threads)
        log_odds = _log_odds(inputs, largest_inputs(inputs), parameters)
        n_threads = threads_worth(_seconds(log_odds.size, shape.n_classes), n_threads)
        predict = _predict_two if shape.n_classes == 2 else _predict_three
        return predict(log_odds, parameters, self.tol, n_threads)

    def _check(self, shape: Shape, n_samples: int, n_threads: int) -> None:
        if shape.depth > 1:
            raise ValueError(
                f"Quadrature is for one hidden layer, and there are {shape.depth}. Use "
                "fastem.Enumeration(), or fastem.Sampling() for estimates."
            )
        if shape.n_classes not in _NODES:
            raise ValueError(
                f"Quadrature is for two or three classes, and there are {shape.n_classes}. Use "
                "fastem.Enumeration(), or fastem.Sampling() for estimates."
            )
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
