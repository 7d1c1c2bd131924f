"""Tables of p(reference | configuration) for families whose outputs are independent.

They have the role that `fastem.engines.configuration_tables.OutputTable` has for classes. NumPy
evaluates the family on sums of two halves of the natural parameter: ``2**m`` values per group and
output. For many rows this cost is small compared with the ``6 n 2**m`` flops of the rows.
"""

import numpy as np

from fastem.engines.configuration_tables import (
    LOG_TABLES,
    Redo,
    UpperStatistics,
    halves,
)
from fastem.engines.expected_counts import ExpectedCounts
from fastem.engines.grouping import LARGEST_SPAN, Groups, groups_of_targets, most_groups
from fastem.kernels import configurations
from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.rows import TrainingRows
from fastem.runtime import Buffers, Shapes, n_low_bits, run, table_slices, threads_worth

# Rough cost, to decide whether work is worth sharing among threads.
_SECONDS_PER_TABLE_ENTRY = 1e-8


class DensityTable:
    """Densities of reference values, relative to their maximum, over all configurations.

    Parameters
    ----------
    shape : Shape
        With one hidden layer.
    n_samples : int
        Largest number of rows.
    n_threads : int
    """

    def __init__(self, shape: Shape, n_samples: int, n_threads: int) -> None:
        n_high, n_low = halves(shape.last)
        self._shape, self._most = shape, n_threads
        self.slices = table_slices(n_high, n_low)
        self._arrays = Buffers().allocate(self.buffers(shape, n_samples))
        self.groups: Groups

    @staticmethod
    def buffers(shape: Shape, n_samples: int) -> Shapes:
        """Declare the tables of all groups, and sums of one table over its parts."""
        d, (n_high, n_low) = shape.n_outputs, halves(shape.last)
        n_slices = len(table_slices(n_high, n_low))
        return {
            "values": (most_groups(shape, n_samples), n_high, n_low),
            "high_sums": (d, n_high),
            "low_sums": (n_slices, d, n_low),
            "squares": (n_slices, d),
        }

    @staticmethod
    def temporaries(shape: Shape, n_threads: int) -> Shapes:
        """Declare half sums, values of a family on slices, and counts of rows in log space.

        The engine declares the tables in log space.
        """
        n_high, n_low = halves(shape.last)
        start, stop = table_slices(n_high, n_low)[0]
        return {
            "halves": (2, shape.n_outputs, n_high + n_low),
            "on_slices": (n_threads, 6, stop - start, n_low),
            "lane_counts": (LOG_TABLES - 1, n_high, n_low),
        }

    def bind(self, rows: TrainingRows) -> None:
        """Set the rows whose targets the tables serve, at most ``n_samples``."""
        self._rows = rows
        self._weighted_targets = rows.weights[:, None] * rows.targets
        self._largest_targets = np.abs(rows.targets).max(axis=0, initial=0.0)

    def fill(self, parameters: Parameters, largest_span: float = LARGEST_SPAN) -> None:
        """Choose groups of at most a given span, and compute their tables.

        Raises
        ------
        FloatingPointError
            If squared residuals overflow.
        """
        shape = self._shape
        if shape.family.has_variance:
            self._check_residuals(parameters)
        self.groups = groups_of_targets(self._rows, parameters, shape, largest_span)
        self._dispersion = parameters.dispersion
        self._output = parameters.output
        coefs, intercepts = split_intercepts(parameters.output, shape.last)
        self._halves = configurations.half_logits(coefs, intercepts, n_low_bits(shape.last))
        references = self.groups.references
        self.values = self._arrays.values[: len(references)]
        pieces = [(k, cut) for k in range(len(references)) for cut in self.slices]
        self.n_threads = threads_worth(
            self.values.size * shape.n_outputs * _SECONDS_PER_TABLE_ENTRY, self._most
        )

        def fill_piece(piece: int, worker: int) -> None:
            k, (start, stop) = pieces[piece]
            log_density = self._log_density(references[k], start, stop)
            np.exp(log_density, out=self.values[k, start:stop])

        run(fill_piece, len(pieces), self.n_threads)

    def _check_residuals(self, parameters: Parameters) -> None:
        """Check that squared residuals are finite, as are their ratios to the variance squared."""
        with np.errstate(over="ignore"):
            largest = self._largest_targets + np.abs(parameters.output).sum(axis=0)
            ratio = largest / parameters.variance
            is_finite = np.isfinite(np.maximum(largest**2, ratio**2) * self._rows.weights.sum())
        if not is_finite.all():
            raise FloatingPointError(
                "Squared residuals of y overflow: y or the weights into the outputs are too large, "
                "or a noise variance is too small. Rescale y."
            )

    def _natural_parameter(self, d: int, start: int, stop: int) -> Array:
        """Return eta of output d for the configurations of the high parts ``start:stop``."""
        high, low = self._halves
        return high[d, start:stop, None] + low[d]

    def _log_density(self, y: Array, start: int, stop: int) -> Array:
        """Return ``log p(y | z)`` relative to its maximum, summed over outputs (nats)."""
        total = None
        for d, value in enumerate(y):
            eta = self._natural_parameter(d, start, stop)
            own = self._shape.family.relative_log_density(eta, value)
            if self._shape.family.has_variance:
                own /= self._dispersion[d]
            total = own if total is None else total + own
        return total

    def redo_lanes(self, marked: Array, counts: Array) -> list[Redo]:
        """Distribute rows over lanes of work in log space: rows of equal targets together."""
        targets = self._rows.targets[marked]
        _, first, inverse = np.unique(targets, axis=0, return_index=True, return_inverse=True)
        by_target = np.argsort(inverse.ravel(), kind="stable")
        cuts = np.cumsum(np.bincount(inverse.ravel()))[:-1]
        same = np.split(marked[by_target], cuts)
        pieces = [(targets[i], rows) for i, rows in zip(first, same, strict=True)]
        lanes = [Redo(pieces[::LOG_TABLES], counts[0])]
        for lane in range(1, min(LOG_TABLES, len(pieces))):
            lanes.append(Redo(pieces[lane::LOG_TABLES], np.zeros_like(counts[0])))
        return lanes

    def log_table(self, y: Array) -> Array:
        """Return ``log p(y | z)`` relative to its maximum (nats) over all configurations."""
        out = np.empty(halves(self._shape.last))
        for start, stop in self.slices:
            out[start:stop] = self._log_density(y, start, stop)
        return out

    def join_lanes(self, lanes: list[Redo], log_likelihood: Array, marked: Array) -> None:
        """Add up the counts of the lanes, and complete the log-likelihoods of their rows."""
        for lane in lanes[1:]:
            np.add(lanes[0].counts, lane.counts, out=lanes[0].counts)
        largest = self._shape.family.log_largest(self._rows.targets[marked], self._dispersion)
        log_likelihood[marked] += largest.sum(axis=1)

    def expect(self, counts: ExpectedCounts, posterior: Array) -> UpperStatistics:
        """Return the gradient of the output layer, and the squared residuals.

        Parameters
        ----------
        counts : ExpectedCounts
        posterior : array (n_hidden, n_samples), probability
        """
        arrays, family = self._arrays, self._shape.family
        totals = counts.complete(self.values, self.slices, self.n_threads)[0]
        n_outputs = self._shape.n_outputs

        def sum_slice(piece: int, worker: int) -> None:
            start, stop = self.slices[piece]
            weights = totals[start:stop]
            for d in range(n_outputs):
                eta = self._natural_parameter(d, start, stop)
                means = weights * family.mean(eta)
                arrays.high_sums[d, start:stop] = means.sum(axis=1)
                arrays.low_sums[piece, d] = means.sum(axis=0)
                if family.has_variance:
                    arrays.squares[piece, d] = np.sum(means * eta)

        run(sum_slice, len(self.slices), self.n_threads)
        expected = configurations.unit_sums(arrays.high_sums, arrays.low_sums)
        weighted = self._weighted_targets
        observed = np.vstack([posterior @ weighted, weighted.sum(axis=0)])
        gradient = (observed - expected) / self._dispersion
        squares = None
        if family.has_variance:
            moments = observed[: len(self._output)]
            cross = 2.0 * (self._output * moments).sum(axis=0)
            squares = (weighted * self._rows.targets).sum(axis=0) - cross
            squares = np.maximum(squares + arrays.squares.sum(axis=0), 0.0)
        return UpperStatistics((), counts.out, None, gradient, squares)
