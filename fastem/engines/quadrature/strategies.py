"""One strategy per kind of output: the integrals of two classes, three classes and one number."""

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import expit

from fastem.engines.base import check_depth, quadrature_serves
from fastem.engines.quadrature.constants import (
    GAUSSIAN_NODES,
    GAUSSIAN_SECONDS_PER_NODE,
    LINE_NODES,
    LINE_SECONDS_PER_NODE,
    LOG_HALF,
    OVERHEAD_BYTES,
    PLANE_NODES,
    PLANE_SECONDS_PER_NODE,
    THREE_CLASS_ROWS_AT_ONCE,
)
from fastem.engines.quadrature.gaussian import GaussianIntegrator
from fastem.engines.quadrature.line import LineIntegrator
from fastem.engines.quadrature.plane import Tasks
from fastem.engines.quadrature.refine import Budget
from fastem.engines.quadrature.three_classes import (
    ThreeClassIntegrator,
    log_probabilities,
)
from fastem.parameters import Array, Shape
from fastem.runtime import bytes_of, row_ranges, single_threaded_blas


class OutputLayer(NamedTuple):
    """The output layer: natural parameters of the outputs, and their noise variances.

    Attributes
    ----------
    weights : array (n_hidden, n_outputs)
    intercepts : array (n_outputs,)
    variance : array (n_outputs,) or (0,)
    """

    weights: Array
    intercepts: Array
    variance: Array


class RowStatistics(NamedTuple):
    """Results of an E-step on all rows.

    Attributes
    ----------
    log_probability : array (n_rows,), nats
        ``log p(y|x)``.
    posterior : array (n_rows, n_hidden), probability
    output_gradient : array (n_hidden + 1, n_outputs)
        Weighted sum over rows of the derivatives of ``log p(y|x)`` with respect to output weights
        and, last, intercepts.
    squared_residuals : array (n_outputs,) or None
        See `fastem.expectations.Statistics`.
    """

    log_probability: Array
    posterior: Array
    output_gradient: Array
    squared_residuals: Array | None = None


class Strategy(Protocol):
    """Quadrature of one kind of output."""

    def seconds(self, n_rows_times_units: float) -> float:
        """Return about the time of an E-step on one thread, at moderate weights."""

    def bytes_needed(self, n_rows: int, n_hidden: int, n_threads: int) -> int:
        """Return the peak memory of an E-step or a prediction, in bytes."""

    def expect(
        self, log_odds: Array, targets: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """Return the integrals of all rows, with derivatives.

        Targets are class indices (n_rows,), or values (n_rows, n_outputs).
        """


class ClassStrategy(Strategy):
    """Quadrature of one number of classes."""

    def log_marginal(
        self, log_odds: Array, output: OutputLayer, tol: float, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_rows, n_classes), in nats."""


def _bytes_of_e_step(n_rows: int, n_hidden: int, bytes_to_integrate: int) -> int:
    """Return the peak memory of an E-step that integrates within a number of bytes."""
    before = {
        "log_odds": (n_rows, n_hidden),
        "posterior": (n_rows, n_hidden),
        "targets_and_weights": (8, n_rows),
    }
    after = {
        "slopes": (n_rows, n_hidden),
        "prior": (n_rows, n_hidden),
        "weighted_differences": (n_rows, n_hidden),
        "transposed": (2, n_rows, n_hidden),
    }
    return OVERHEAD_BYTES + bytes_of(before) + max(bytes_to_integrate, bytes_of(after))


class TwoClasses(ClassStrategy):
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
        self, log_odds: Array, targets: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """See `Strategy`."""
        v, c = _difference(output)
        found = LineIntegrator(
            log_odds, 2.0 * targets - 1.0, v, c, tol, n_threads, derivatives=True
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


class ThreeClasses(ClassStrategy):
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
        self, log_odds: Array, targets: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """See `Strategy`."""
        log_probability, posterior = np.empty(len(log_odds)), np.empty_like(log_odds)
        gradient = np.zeros((log_odds.shape[1] + 1, 3))
        for start, stop in row_ranges(len(log_odds), THREE_CLASS_ROWS_AT_ONCE):
            some, n_rows = slice(start, stop), stop - start
            integrator = ThreeClassIntegrator(
                output.weights, output.intercepts, tol, n_threads, Budget(n_rows, tol),
                derivatives=True,
            )  # fmt: skip
            tasks = Tasks(log_odds[some], targets[some], np.full(n_rows, -np.inf))
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
                output.weights, output.intercepts, tol, n_threads, Budget(stop - start, tol),
                derivatives=False,
            )  # fmt: skip
            likeliest = logits[start:stop].argmax(axis=1)
            out[start:stop] = log_probabilities(integrator, log_odds[start:stop], likeliest)
        return out


class OneGaussian(Strategy):
    """Integrals over a line, of one number with Gaussian noise."""

    def seconds(self, n_rows_times_units: float) -> float:
        """See `Strategy`."""
        return n_rows_times_units * GAUSSIAN_NODES * GAUSSIAN_SECONDS_PER_NODE

    def bytes_needed(self, n_rows: int, n_hidden: int, n_threads: int) -> int:
        """See `Strategy`."""
        to_integrate = bytes_of(
            GaussianIntegrator.buffers(n_rows, n_hidden, n_threads, derivatives=True),
            GaussianIntegrator.temporaries(n_rows, n_hidden),
        )
        return _bytes_of_e_step(n_rows, n_hidden, to_integrate)

    def expect(
        self, log_odds: Array, targets: Array, weights: Array, output: OutputLayer, tol: float,
        n_threads: int,
    ) -> RowStatistics:  # fmt: skip
        """See `Strategy`."""
        v, c = np.ascontiguousarray(output.weights[:, 0]), float(output.intercepts[0])
        if not (np.isfinite(v).all() and np.isfinite(c)):
            raise FloatingPointError("An output weight is not finite: the weights overflow.")
        found = GaussianIntegrator(
            log_odds, targets[:, 0], v, c, float(output.variance[0]), tol, n_threads,
            derivatives=True,
        ).integrate()  # fmt: skip
        with single_threaded_blas():
            gradient = np.append(weights @ found.slopes, weights @ found.slope_of_c)
            squared_residuals = np.array([weights @ found.squared_residual])
        return RowStatistics(
            found.log_density, found.posterior, gradient[:, None], squared_residuals
        )


def _difference(output: OutputLayer) -> tuple[Array, float]:
    """Return the output weights and intercept of class 1 minus those of class 0."""
    v = np.ascontiguousarray(output.weights[:, 1] - output.weights[:, 0])
    return v, float(output.intercepts[1] - output.intercepts[0])


_OF_CLASSES: dict[int, ClassStrategy] = {2: TwoClasses(), 3: ThreeClasses()}
_OF_A_NUMBER = OneGaussian()


def strategy_of(shape: Shape) -> Strategy:
    """Return the strategy for the outputs of a network.

    Raises
    ------
    ValueError
        If no integral gives its E-step.
    """
    if quadrature_serves(shape):
        return _OF_CLASSES[shape.n_outputs] if shape.has_classes else _OF_A_NUMBER
    check_depth(shape)
    if shape.depth > 1:
        raise ValueError(
            f"Quadrature needs a network with one hidden layer, got {shape.depth} hidden "
            "layers. Use fastem.Enumeration(), or fastem.Sampling() for estimates."
        )
    got = f"{shape.n_outputs} classes"
    if not shape.has_classes:
        outputs = "output" if shape.n_outputs == 1 else "outputs"
        got = f"{shape.n_outputs} {outputs} of family={shape.family.name!r}"
    raise ValueError(
        f"Quadrature needs two or three classes, or one Gaussian output; got {got}. Use "
        "fastem.Enumeration(), or fastem.Sampling() for estimates."
    )
