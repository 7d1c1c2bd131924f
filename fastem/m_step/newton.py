"""Newton M-step: one damped step on each of the regressions into which Q splits."""

import numpy as np

from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import logistic, multinomial
from fastem.m_step.base import RIDGE, HiddenRegressions, layer_rows
from fastem.m_step.bound import Bound
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import TILE, run, threads_worth


class Newton(Bound):
    """One Newton step per hidden unit and one for the output layer, each damped.

    Where Q is so flat that no length of the Newton step holds, as under saturated units,
    the step under the fixed bound is taken, which always does.

    Cost: ``2 n p**2 m`` flops for the Hessians of the hidden units and ``2/3 p**3 m`` for
    their solutions. For that of the output layer every one of the ``g (g - 1) / 2`` pairs
    of classes takes, in each of ``2**m`` configurations, two products and two additions,
    and another addition for each of the ``m / 2`` high bits in the half of the
    configurations in which it is set: ``g**2 2**m (2 + m / 8)`` flops; and
    ``2/3 ((m + 1) g)**3`` for its solution.
    """

    @classmethod
    def bytes_needed(
        cls, shape: Shape, n_samples: int, n_threads: int = 1, *, has_table: bool = True,
        is_exact: bool = True,
    ) -> int:  # fmt: skip
        """Return the peak memory of an M-step in bytes: Hessians of ``m p**2`` numbers."""
        hidden, output = 0, 0
        n_rows = layer_rows(shape, n_samples, has_table)
        for n, (p, m) in zip(n_rows, shape.hidden_shapes, strict=True):
            n_workers = min(n_threads, m)
            hidden = max(hidden, (m + n_workers + 2) * p**2 + n_workers * min(n, TILE) * p)
        if has_table:
            m, g = shape.last, shape.n_classes
            output = g * (g - 1) // 2 * (m + 1) ** 2 + 2 * ((m + 1) * g) ** 2
            # moments of a pair, on each thread
            output += n_threads * (m - m // 2 + 3) * 2 ** (m - m // 2)
        kind = {"has_table": has_table, "is_exact": is_exact}
        return super().bytes_needed(shape, n_samples, n_threads, **kind) + 8 * (hidden + output)

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        hidden = [self._hidden(*layer) for layer in self.layers(parameters, statistics)]
        joined = self._output(self.output.join(parameters), statistics)
        return Parameters(tuple(hidden), *self.output.split(joined))

    def _hidden(self, part: HiddenRegressions, weights: Array, layer: HiddenStatistics) -> Array:
        if layer.inputs is None:
            return self.step_hidden(part, weights, layer)
        hessians = self._hidden_hessians(part, layer)
        gradient = part.gradient(weights, layer)
        step = np.linalg.solve(hessians, gradient.T[:, :, None])[:, :, 0].T
        new, failed = part.damped(weights, step, layer)
        if failed.any():
            new[:, failed] = self.step_hidden(part, weights, layer)[:, failed]
        return new

    def _hidden_hessians(self, part: HiddenRegressions, layer: HiddenStatistics) -> Array:
        (n_rows, n_inputs), n_hidden = layer.inputs.shape, len(layer.probability)
        hessians = np.empty((n_hidden, n_inputs, n_inputs))
        seconds = 1e-10 * n_rows * n_hidden * n_inputs**2
        n_threads = min(threads_worth(seconds, self.n_threads), n_hidden)
        workspaces = np.empty((n_threads, part.tile * n_inputs + n_inputs**2))

        def fill_unit(unit: int, worker: int) -> None:
            logistic.fill_hessian(
                layer.inputs,
                layer.weights,
                layer.probability[unit],
                part.tile,
                workspaces[worker],
                hessians[unit],
            )

        run(fill_unit, n_hidden, n_threads)
        diagonal = np.arange(n_inputs)
        curvature = hessians[:, diagonal, diagonal]
        ridge = RIDGE * curvature.mean(axis=1, keepdims=True) + np.finfo(float).tiny
        hessians[:, diagonal, diagonal] = curvature + part.penalty + ridge
        return hessians

    def _output(self, joined: Array, statistics: Statistics) -> Array:
        if statistics.counts is None:
            return self.step_output(joined, statistics)
        gradient = self.output.gradient(joined, statistics)
        step = np.linalg.solve(self._output_hessian(statistics), gradient.ravel())
        new = self.output.damped(joined, step.reshape(joined.shape), statistics)
        return self.step_output(joined, statistics) if new is None else new

    def _output_hessian(self, statistics: Statistics) -> Array:
        """Return the negative Hessian, made regular.

        Adding the same number to one row of weights of every class changes nothing but the
        penalty; where there is no penalty, that direction is given the mean curvature. The
        gradient has no part along it.
        """
        table, n_rows = statistics.output_table, self.output.n_rows
        n_classes = len(table)
        pairs = [(j, k) for j in range(n_classes) for k in range(j)]
        grams = self._pair_grams(statistics, pairs)[:, :n_rows, :n_rows]
        hessian = np.zeros((n_rows, n_classes, n_rows, n_classes))
        for (j, k), gram in zip(pairs, grams, strict=True):
            hessian[:, j, :, k] = hessian[:, k, :, j] = -gram
            hessian[:, j, :, j] += gram
            hessian[:, k, :, k] += gram
        flat = hessian.reshape(n_rows * n_classes, n_rows * n_classes)
        mean = flat.trace() / len(flat) + np.finfo(float).tiny
        flat[np.diag_indices(len(flat))] += np.repeat(self.output.penalty, n_classes) + RIDGE * mean
        for row in np.flatnonzero(self.output.penalty == 0.0):
            hessian[row, :, row, :] += mean / n_classes
        return flat

    def _pair_grams(self, statistics: Statistics, pairs: list[tuple[int, int]]) -> Array:
        """Return ``sum_s N(s) o_j(s) o_k(s) z z'`` for every pair of classes."""
        table = statistics.output_table
        totals = statistics.counts.sum(axis=0)
        n_high, n_low = totals.shape
        n_rows = self.output.shape.last + 1
        grams = np.empty((len(pairs), n_rows, n_rows))

        def fill_pair(piece: int, worker: int) -> None:
            high_sums, low_sums = np.empty(n_high), np.empty(n_low)
            bit_sums = np.empty((n_high.bit_length() - 1, n_low))
            multinomial.fill_pair_moments(
                table, totals, *pairs[piece], 0, n_high, high_sums, low_sums, bit_sums
            )
            grams[piece] = multinomial.gram_of_bits(high_sums, low_sums, bit_sums)

        seconds = 1e-9 * len(pairs) * totals.size
        run(fill_pair, len(pairs), threads_worth(seconds, self.n_threads))
        return grams
