"""The network with stochastic hidden units, as a model that the EM loop can climb."""

import numpy as np

from fastem.engines import Engine
from fastem.expectations import Statistics
from fastem.m_step import M_STEPS
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows
from fastem.runtime import check_memory


class Network:
    """Penalised marginal likelihood of given rows, over flat parameter vectors.

    Parameters
    ----------
    rows : ClassSortedRows
    shape : Shape
    engine : Engine
        Algorithm of the E-step.
    m_step : {"newton", "bound", "gradient"} or None
        None where only the gradient is asked for.
    alpha : float
        Penalty: ``alpha / 2`` times the squared norm of all weights but intercepts.
    learning_rate : float, default=0.0
        Of the gradient M-step.
    n_threads : int

    Raises
    ------
    ValueError
        If the E-step and the M-step together do not fit into memory.
    """

    def __init__(
        self,
        rows: ClassSortedRows,
        shape: Shape,
        engine: Engine,
        m_step: str | None,
        *,
        alpha: float,
        n_threads: int,
        learning_rate: float = 0.0,
    ) -> None:
        self.shape = shape
        self._plan = engine.plan(rows, shape, n_threads)  # first: it knows what fits in memory
        self._weights, self._effective = rows.weights, None
        self._whole_penalty = self._penalty = alpha * shape.penalty_weights()
        if m_step is not None:
            kind = M_STEPS[m_step]
            sizes = shape, len(rows.weights), n_threads
            check_memory(
                f"m_step={m_step!r} on {shape.n_inputs} inputs, hidden_layer_sizes="
                f"{shape.hidden_layer_sizes}",
                "together with its E-step",
                "Use fewer features or hidden units, or m_step='gradient'.",
                engine.bytes_needed(*sizes)
                + kind.bytes_needed(*sizes, has_table=engine.has_table, is_exact=engine.is_exact),
            )
            self._m_step = kind(
                rows, shape, alpha, n_threads, learning_rate, has_table=engine.has_table
            )

    def rewind(self, n_done: int) -> None:
        """Go on as if so many E-steps had been done: engines that draw number them."""
        self._plan.rewind(n_done)

    def take(self, rows: ClassSortedRows, share: float) -> None:
        """Go over to other rows, no more than the first were, and to a share of the penalty.

        For E-steps and gradients: an M-step stays with the rows that it was made for.
        """
        self._plan.take(rows)
        self._weights = rows.weights
        self._penalty = share * self._whole_penalty

    def median_effective_size(self) -> float | None:
        """Return the median effective sample size of the last E-step; None of exact ones."""
        return None if self._effective is None else float(np.median(self._effective))

    def expect(self, theta: Array) -> tuple[float, Statistics]:
        """Run the E-step; return the penalised log-likelihood (nats) and its statistics."""
        statistics = self._plan.expect(self.shape.unpack(theta))
        self._effective = statistics.effective_sample_size
        total = np.sum(self._weights * statistics.log_likelihood)
        return float(total - 0.5 * np.sum(self._penalty * theta * theta)), statistics

    def maximize(self, theta: Array, statistics: Statistics) -> Array:
        """Run the M-step; return the new parameters."""
        return self.shape.pack(self._m_step(self.shape.unpack(theta), statistics))

    def gradient(self, theta: Array, statistics: Statistics) -> Array:
        """Return the gradient of the penalised log-likelihood, by Fisher's identity."""
        gradient = Parameters(
            tuple(layer.gradient for layer in statistics.hidden),
            statistics.output_gradient[:-1],
            statistics.output_gradient[-1],
        )
        return self.shape.pack(gradient) - self._penalty * theta
