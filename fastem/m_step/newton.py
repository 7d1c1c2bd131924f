"""Newton M-step: one damped step on each of the regressions that Q consists of."""

import numpy as np

from fastem.expectations import HiddenStatistics, Statistics
from fastem.kernels import multinomial
from fastem.m_step.base import Parts
from fastem.m_step.bound import Bound
from fastem.m_step.parts import RIDGE, HiddenPart, layer_rows, output_sums
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import TILE, Shapes, bytes_of, run, threads_worth
from fastem.tables import second_moments_of_sums


class Newton:
    """One Newton step per hidden unit and one for the output layer, each damped.

    If Q falls at every length of the Newton step, as it can with saturated units, the step of
    `Bound` is taken instead. The same holds for layers without a Hessian. These are the output
    layer if the engine's statistics hold no counts, and hidden layers whose inputs are not
    enumerated.

    Cost: ``2 n p**2 m`` flops for the Hessians of the hidden units and ``2/3 p**3 m`` for
    their solutions. The Hessian of the output layer takes ``g**2 2**m (2 + m / 8)`` flops, because
    each of the ``g (g - 1) / 2`` pairs of classes needs two products and two additions per
    configuration, and one addition for each high bit that is set; its solution takes
    ``2/3 ((m + 1) g)**3``. The other families take one step per output: see
    `fastem.m_step.independent_outputs`.
    """

    def __init__(self, parts: Parts, learning_rate: float = 0.0) -> None:
        self._parts, self._n_threads = parts, parts.n_threads
        self._bound = Bound(parts)
        if parts.has_classes:
            self._step_classes = self._output if parts.kind == "counts" else self._bound.step_output

    @classmethod
    def buffers(
        cls, shape: Shape, n_samples: int, kind: str, n_threads: int, *, is_sparse: bool = False
    ) -> list[Shapes]:
        """Declare the memory of a step: Hessians of ``m p**2`` numbers, and that of `Bound`."""
        n_rows = layer_rows(shape, n_samples, kind)
        layers = [
            _hessian_buffers(n, p, m, n_threads)
            for n, (p, m) in zip(n_rows, shape.hidden_shapes, strict=True)
        ]
        hidden = max(layers, key=bytes_of)
        has_counts = kind == "counts" and shape.has_classes
        output = _output_buffers(shape) if has_counts else {}
        bound = Bound.buffers(shape, n_samples, kind, n_threads, is_sparse=is_sparse)
        return [*bound, hidden, output]

    def __call__(self, parameters: Parameters, statistics: Statistics) -> Parameters:
        """Return the parameters after the step."""
        layers = zip(self._parts.hidden, parameters.hidden, statistics.hidden, strict=True)
        hidden = tuple(self._hidden(*layer) for layer in layers)
        if self._parts.has_classes:
            return Parameters(hidden, self._step_classes(parameters.output, statistics))
        part = self._parts.output
        sums = part.sums(parameters, statistics, bounded=False)
        return Parameters(hidden, *part.step(parameters, sums))

    def _hidden(self, part: HiddenPart, weights: Array, layer: HiddenStatistics) -> Array:
        if not part.has_inputs:
            return self._bound.step_hidden(part, weights, layer)
        hessians = self._hidden_hessians(part, layer)
        gradient = part.gradient(weights, layer)
        step = np.linalg.solve(hessians, gradient.T[:, :, None])[:, :, 0].T
        new, failed = part.damped(weights, step, layer)
        if failed.any():
            new[:, failed] = self._bound.step_hidden(part, weights, layer)[:, failed]
        return new

    def _hidden_hessians(self, part: HiddenPart, layer: HiddenStatistics) -> Array:
        """Return the negative Hessians of all units, made regular, (n_hidden, p, p)."""
        (n_rows, n_inputs), n_hidden = layer.inputs.shape, len(layer.probability)
        seconds = 1e-10 * n_rows * n_hidden * n_inputs**2
        n_threads = threads_worth(seconds, self._n_threads)
        declared = _hessian_buffers(n_rows, n_inputs, n_hidden, n_threads)
        hessians, workspaces = np.empty(declared["hessians"]), np.empty(declared["workspaces"])

        def fill_unit(unit: int, worker: int) -> None:
            part.fill_hessian(layer, unit, workspaces[worker], hessians[unit])

        run(fill_unit, n_hidden, len(workspaces))
        diagonal = np.arange(n_inputs)
        curvature = hessians[:, diagonal, diagonal]
        ridge = RIDGE * curvature.mean(axis=1, keepdims=True) + np.finfo(float).tiny
        hessians[:, diagonal, diagonal] = curvature + part.penalty + ridge
        return hessians

    def _output(self, weights: Array, statistics: Statistics) -> Array:
        part = self._parts.output
        gradient = part.gradient(weights, output_sums(statistics))
        step = np.linalg.solve(self._output_hessian(statistics), gradient.ravel())
        new = part.damped(weights, step.reshape(weights.shape), statistics.expected_counts())
        return self._bound.step_output(weights, statistics) if new is None else new

    def _output_hessian(self, statistics: Statistics) -> Array:
        """Return the negative Hessian, made regular.

        If the same number is added to the weights of one input into all classes, only the penalty
        changes. Without a penalty, the mean curvature is used along that direction. The gradient
        has no component along it.
        """
        part = self._parts.output
        n_classes, n_inputs = len(statistics.output_table), part.n_inputs
        pairs = [(j, k) for j in range(n_classes) for k in range(j)]
        grams = self._pair_grams(statistics, pairs)[:, :n_inputs, :n_inputs]
        hessian = np.zeros((n_inputs, n_classes, n_inputs, n_classes))
        for (j, k), gram in zip(pairs, grams, strict=True):
            hessian[:, j, :, k] = hessian[:, k, :, j] = -gram
            hessian[:, j, :, j] += gram
            hessian[:, k, :, k] += gram
        flat = hessian.reshape(n_inputs * n_classes, n_inputs * n_classes)
        mean = flat.trace() / len(flat) + np.finfo(float).tiny
        flat[np.diag_indices(len(flat))] += np.repeat(part.penalty, n_classes) + RIDGE * mean
        for row in np.flatnonzero(part.penalty == 0.0):
            hessian[row, :, row, :] += mean / n_classes
        return flat

    def _pair_grams(self, statistics: Statistics, pairs: list[tuple[int, int]]) -> Array:
        """Return ``sum_s N(s) o_j(s) o_k(s) z z'`` for every pair of classes."""
        table = statistics.output_table
        totals = statistics.expected_counts().sum(axis=0)
        n_high, n_low = totals.shape
        high_sums, low_sums = np.empty((len(pairs), n_high)), np.empty((len(pairs), n_low))
        bit_sums = np.empty((len(pairs), n_high.bit_length() - 1, n_low))

        def fill_pair(piece: int, worker: int) -> None:
            multinomial.fill_pair_moments(
                table, totals, *pairs[piece], 0, n_high, high_sums[piece], low_sums[piece],
                bit_sums[piece],
            )  # fmt: skip

        seconds = 1e-9 * len(pairs) * totals.size
        run(fill_pair, len(pairs), threads_worth(seconds, self._n_threads))
        return second_moments_of_sums(high_sums, low_sums, bit_sums)


def _hessian_buffers(n_rows: int, n_inputs: int, n_hidden: int, n_threads: int) -> Shapes:
    """Declare the Hessians of a hidden layer, scratch, and copies that the solver makes."""
    tile, n_workers = min(TILE, max(n_rows, 1)), min(n_threads, n_hidden)
    return {
        "hessians": (n_hidden, n_inputs, n_inputs),
        "workspaces": (n_workers, tile * n_inputs + n_inputs**2),
        "solution": (2, n_inputs, n_inputs),
    }


def _output_buffers(shape: Shape) -> Shapes:
    """Declare the Hessian of the output layer, a copy for the solver, and pair moments."""
    m, g = shape.last, shape.n_outputs
    n_pairs = g * (g - 1) // 2
    return {
        "grams": (n_pairs, m + 1, m + 1),
        "hessians": (2, (m + 1) * g, (m + 1) * g),
        # sums over high parts, over low parts and over each high bit, and a weighted copy of bits
        "pair_moments": (n_pairs, 2 * (m - m // 2) + 2, 2 ** (m - m // 2)),
    }
