"""One strategy per number of classes: the integrals of `Quadrature` for two and three classes."""

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.constants import (
    LINE_NODES,
    LINE_SECONDS_PER_NODE,
    LOG_HALF,
    OVERHEAD_BYTES,
    PLANE_NODES,
    PLANE_SECONDS_PER_NODE,
    THREE_CLASS_ROWS_AT_ONCE,
)
from fastem.engines.quadrature.line import LineIntegrator
from fastem.engines.quadrature.plane import Tasks
from fastem.engines.quadrature.refine import Budget
from fastem.engines.quadrature.three_classes import (
    ThreeClassIntegrator,
    log_probabilities,
)
from fastem.parameters import Array
from fastem.runtime import bytes_of, row_ranges, single_threaded_blas


class OutputLayer(NamedTuple):
    """Weights (n_hidden, n_classes) and intercepts (n_classes,) of the output layer, log-odds."""

    weights: Array
    intercepts: Array


class RowStatistics(NamedTuple):
    """Results of an E-step on all rows.

    Attributes
    ----------
    log_probability : array (n_rows,), nats
        ``log p(y|x)``.
    posterior : array (n_rows, n_hidden), probability
    output_gradient : array (n_hidden + 1, n_classes)
        Weighted sum over rows of the derivatives of ``log p(y|x)`` with respect to output weights
        and, last, intercepts.
    """

    log_probability: Array
    posterior: Array
    output_gradient: Array


class Strategy(Protocol):
    """Quadrature for one number of classes."""

    def seconds(self, n_rows_times_units: float) -> float:
        """Return about the time of an E-step on one thread, at moderate weights."""

    def bytes_needed(self, n_rows: int, n_hidden: int, n_threads: int) -> int:
        """Return the peak memory of an E-step or a prediction, in bytes."""

    def expect(
        self, log_odds: Array, labels: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """Return the integrals of the labels of all rows, with derivatives."""

    def log_marginal(
        self, log_odds: Array, output: OutputLayer, tol: float, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_rows, n_classes), in nats."""


def _bytes_of_e_step(n_rows: int, n_hidden: int, bytes_to_integrate: int) -> int:
    """Return the peak memory of an E-step that integrates within a number of bytes."""
    before = {
        "log_odds": (n_rows, n_hidden),
        "posterior": (n_rows, n_hidden),
        "labels_and_weights": (8, n_rows),
    }
    after = {
        "slopes": (n_rows, n_hidden),
        "prior": (n_rows, n_hidden),
        "weighted_differences": (n_rows, n_hidden),
        "transposed": (2, n_rows, n_hidden),
    }
    return OVERHEAD_BYTES + bytes_of(before) + max(bytes_to_integrate, bytes_of(after))


class TwoClasses:
    """Integrals over a line."""

    def seconds(self, n_rows_times_units: float) -> float:
        """See `Strategy`."""
        return n_rows_times_units * LINE_NODES * LINE_SECONDS_PER_NODE

    def bytes_needed(self, n_rows: int, n_hidden: int, n_threads: int) -> int:
        """See `Strategy`."""
        to_integrate = bytes_of(
            LineIntegrator.buffers(n_rows, n_hidden, n_threads, derivatives=True),
            LineIntegrator.temporaries(n_rows, n_hidden),
        )
        return _bytes_of_e_step(n_rows, n_hidden, to_integrate)

    def expect(
        self, log_odds: Array, labels: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """See `Strategy`."""
        v, c = _difference(output)
        found = LineIntegrator(
            log_odds, 2.0 * labels - 1.0, v, c, tol, n_threads, derivatives=True
        ).integrate()
        with single_threaded_blas():
            of_class_1 = np.append(weights @ found.slopes, weights @ found.slope_of_c)
        output_gradient = np.stack([-of_class_1, of_class_1], axis=1)
        return RowStatistics(found.log_probability, found.posterior, output_gradient)

    def log_marginal(
        self, log_odds: Array, output: OutputLayer, tol: float, n_threads: int
    ) -> Array:
        """See `Strategy`.

        The class that is less likely at the prior means of the units is integrated. The other
        probability is one minus this one. If this one exceeds 1/2, the other class is integrated
        too.
        """
        v, c = _difference(output)
        out = np.empty((len(log_odds), 2))
        less_likely = (expit(log_odds) @ v + c <= 0.0).astype(np.int64)
        rows = np.arange(len(log_odds))
        for _ in range(2):
            signs = 2.0 * less_likely[rows] - 1.0
            log_p = LineIntegrator(
                log_odds[rows], signs, v, c, tol, n_threads, derivatives=False
            ).integrate().log_probability  # fmt: skip
            out[rows, less_likely[rows]] = log_p
            with np.errstate(divide="ignore"):
                out[rows, 1 - less_likely[rows]] = np.log(-np.expm1(log_p))
            rows = rows[log_p > LOG_HALF]
            less_likely[rows] = 1 - less_likely[rows]
            if len(rows) == 0:
                break
        return out


class ThreeClasses:
    """Integrals over a plane, or over a line where a class is negligible."""

    def seconds(self, n_rows_times_units: float) -> float:
        """See `Strategy`."""
        return n_rows_times_units * PLANE_NODES * PLANE_SECONDS_PER_NODE

    def bytes_needed(self, n_rows: int, n_hidden: int, n_threads: int) -> int:
        """See `Strategy`."""
        at_once = min(n_rows, THREE_CLASS_ROWS_AT_ONCE)
        to_integrate = ThreeClassIntegrator.bytes_needed(at_once, n_hidden, n_threads)
        return _bytes_of_e_step(n_rows, n_hidden, to_integrate)

    def expect(
        self, log_odds: Array, labels: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """See `Strategy`."""
        log_probability, posterior = np.empty(len(log_odds)), np.empty_like(log_odds)
        gradient = np.zeros((log_odds.shape[1] + 1, 3))
        for start, stop in row_ranges(len(log_odds), THREE_CLASS_ROWS_AT_ONCE):
            some, n_rows = slice(start, stop), stop - start
            integrator = ThreeClassIntegrator(
                *output, tol, n_threads, Budget(n_rows, tol), derivatives=True
            )
            tasks = Tasks(log_odds[some], labels[some], np.full(n_rows, -np.inf))
            found = integrator.integrate(tasks)
            log_probability[some], posterior[some] = found.log_probability, found.posterior
            gradient += np.einsum("i,ihk->hk", weights[some], found.slopes)
        return RowStatistics(log_probability, posterior, gradient)

    def log_marginal(
        self, log_odds: Array, output: OutputLayer, tol: float, n_threads: int
    ) -> Array:
        """See `Strategy`."""
        out = np.empty((len(log_odds), 3))
        logits = expit(log_odds) @ output.weights + output.intercepts
        for start, stop in row_ranges(len(log_odds), THREE_CLASS_ROWS_AT_ONCE):
            integrator = ThreeClassIntegrator(
                *output, tol, n_threads, Budget(stop - start, tol), derivatives=False
            )
            likeliest = logits[start:stop].argmax(axis=1)
            out[start:stop] = log_probabilities(integrator, log_odds[start:stop], likeliest)
        return out


def _difference(output: OutputLayer) -> tuple[Array, float]:
    """Return the output weights and intercept of class 1 minus those of class 0."""
    v = np.ascontiguousarray(output.weights[:, 1] - output.weights[:, 0])
    return v, float(output.intercepts[1] - output.intercepts[0])


STRATEGIES: dict[int, Strategy] = {2: TwoClasses(), 3: ThreeClasses()}
"""Strategies by number of classes."""
