"""The quadrature engine: two classes, any number of hidden units, to a stated tolerance."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from fastem.engines.base import ClassSortedRows, EngineSettings, check_log_odds, largest_inputs
from fastem.expectations import HiddenStatistics, Statistics
from fastem.grid import row_ranges
from fastem.kernels import quadrature
from fastem.memory import check_memory
from fastem.parallel import run, single_threaded_blas, threads_worth
from fastem.parameters import Array, Parameters, Shape

_LEVEL = 1.15  # ratio of the steps between which rows are grouped
_ATTEMPTS = 4
_MOST_SPLITS = 12
_CERTAIN = 1000.0  # log-odds of a unit that is known to be on
_MOST_NODES = 1_000_000
_NODES_PER_PIECE = 2_000_000  # of rows times units times nodes: some ten milliseconds
_SECONDS_PER_NODE = 4e-9
_TYPICAL_NODES = 100
_ROWS_PER_PIECE = 256
_LOG_HALF = math.log(0.5)


class _Integrals(NamedTuple):
    """What quadrature finds of some rows.

    Attributes
    ----------
    log_probability : array (n_rows,), nats
    posterior : array (n_rows, n_hidden) or (n_rows, 0), probability
    slopes : array (n_rows, n_hidden) or (n_rows, 0)
        Derivatives of ``log p`` with respect to v.
    slope_of_c : array (n_rows,)
    """

    log_probability: Array
    posterior: Array
    slopes: Array
    slope_of_c: Array


class _Integrator:
    """Quadrature of rows under one set of output weights."""

    def __init__(
        self, log_odds: Array, v: Array, c: float, tol: float, n_threads: int, depth: int = 0
    ) -> None:
        n_rows, n_hidden = log_odds.shape
        self._log_odds, self._v, self._c, self._tol = log_odds, v, c, tol
        self._n_threads, self._depth = n_threads, depth
        self._work = np.empty((n_threads, 2 * n_hidden + 6, quadrature.NODES_AT_ONCE))
        # side, line, L, reach, log F, log E exp(S)
        self._plans = np.empty((6, n_rows))
        self._steps = np.empty(n_rows)

    def integrate(self, signs: Array, *, derivatives: bool) -> _Integrals:
        """Integrate ``p(y|x)`` of every row; ``signs`` are +1 for class 1, -1 for class 0.

        Raises
        ------
        FloatingPointError
            If the tolerance cannot be reached.
        """
        n_rows, n_hidden = self._log_odds.shape
        width = n_hidden if derivatives else 0
        sums, of_units, of_slopes = (np.zeros((n_rows, k)) for k in (2, width, width))
        log_probability, odds, error = np.empty(n_rows), np.ones(n_rows), np.empty(n_rows)
        needs, pending = np.full(n_rows, np.nan), np.arange(n_rows)
        for _ in range(_ATTEMPTS):
            self._plan(pending, signs, needs)
            for array in (sums, of_units, of_slopes):
                array[pending] = 0.0
            self._add(pending, derivatives, sums, of_units, of_slopes)
            self._judge(pending, signs, sums, log_probability, odds, error)
            guess = np.where(np.isnan(needs[pending]), 0.0, needs[pending]) - 10.0
            needs[pending] = np.where(error[pending] < 0.5, log_probability[pending], guess)
            pending = pending[~(error[pending] <= self._tol)]
            if len(pending) == 0:
                break
        with np.errstate(all="ignore"):  # rows still pending are overwritten
            found = self._conclude(log_probability, odds, sums, of_units, of_slopes)
        if len(pending) > 0:
            self._split(pending, signs, derivatives, error, found)
        return found

    def _conclude(self, log_probability, odds, sums, of_units, of_slopes) -> _Integrals:
        """Return posterior and slopes, of p or of what 1 - p leaves of the prior."""
        share = sums[:, :1]
        posterior = of_units / share
        other = np.flatnonzero(odds < 0.0)
        if posterior.shape[1] > 0 and len(other) > 0:
            prior = expit(self._log_odds[other])
            posterior[other] = prior - odds[other, None] * (prior - posterior[other])
        np.clip(posterior, 0.0, 1.0, out=posterior)
        scale = self._plans[0] * odds
        slopes = scale[:, None] * (of_slopes / share)
        return _Integrals(log_probability, posterior, slopes, scale * sums[:, 1] / sums[:, 0])

    def _split(
        self, rows: Array, signs: Array, derivatives: bool, error: Array, found: _Integrals
    ) -> None:
        """Overwrite rows whose S has two heaps, by conditioning on a unit that parts them.

        No line through the strip serves both heaps without cancellation; given the unit that
        varies S most, each is a quadrature of its own.
        """
        if self._depth == _MOST_SPLITS:
            raise FloatingPointError(
                f"Quadrature reached a relative error of {np.max(error[rows]):.1e} in "
                f"{len(rows)} row(s), and tol={self._tol:g} is asked for. Use a larger tol, "
                "smaller weights (a larger alpha), or fastem.Enumeration()."
            )
        side, delta = self._plans[:2, rows]
        on = expit(self._log_odds[rows] + (side * delta)[:, None] * self._v)
        units = np.argmax(self._v**2 * on * (1.0 - on), axis=1)
        each = np.arange(len(rows))
        halves = np.repeat(self._log_odds[rows], 2, axis=0)
        halves[2 * each, units], halves[2 * each + 1, units] = -_CERTAIN, _CERTAIN
        part = _Integrator(
            halves, self._v, self._c, self._tol, self._n_threads, self._depth + 1
        ).integrate(np.repeat(signs[rows], 2), derivatives=derivatives)
        a = self._log_odds[rows, units]
        logs = part.log_probability + np.column_stack([log_expit(-a), log_expit(a)]).ravel()
        log_p = np.logaddexp(logs[::2], logs[1::2])
        shares = np.exp(logs - np.repeat(log_p, 2))
        found.log_probability[rows] = log_p
        for whole, of_halves in zip(found[1:], part[1:], strict=True):
            weights = shares if of_halves.ndim == 1 else shares[:, None]
            weighted = weights * of_halves
            whole[rows] = weighted[::2] + weighted[1::2]

    def _plan(self, pending: Array, signs: Array, needs: Array) -> None:
        pieces = row_ranges(len(pending), _ROWS_PER_PIECE)

        def plan_piece(piece: int, worker: int) -> None:
            rows = pending[slice(*pieces[piece])]
            out = np.empty((6, len(rows)))
            quadrature.plan_rows(
                self._log_odds[rows], signs[rows], self._v, self._c, self._tol, needs[rows], *out
            )
            self._plans[:, rows] = out

        run(plan_piece, len(pieces), self._n_threads)
        nodes = self._plans[2, pending] * self._plans[3, pending] / (2.0 * np.pi)
        if not (nodes <= _MOST_NODES).all():
            raise FloatingPointError(
                f"Quadrature would need {np.max(nodes):.1e} nodes: the output weights are too "
                "large. Use a larger alpha, a larger tol, or fastem.Enumeration()."
            )

    def _add(self, pending: Array, derivatives: bool, sums, of_units, of_slopes) -> None:
        """Add up the integrands, rows of like steps together."""
        sides, deltas, lengths, reaches, _, _ = self._plans
        levels = np.ceil(np.log(lengths[pending]) / math.log(_LEVEL)).astype(np.int64)
        self._steps[pending] = 2.0 * np.pi / _LEVEL**levels
        order = pending[np.lexsort((reaches[pending], levels))]
        pieces = self._cut(order)

        def add_piece(piece: int, worker: int) -> None:
            start, stop, step, n_nodes = pieces[piece]
            quadrature.add_nodes(
                self._log_odds, order, start, stop, sides, deltas, reaches, self._v, self._c, step,
                n_nodes, derivatives, self._work[worker], sums, of_units, of_slopes,
            )  # fmt: skip

        run(add_piece, len(pieces), self._n_threads)

    def _cut(self, order: Array) -> list[tuple[int, int, float, int]]:
        """Cut rows in order into pieces of one step and of about the same work."""
        steps, n_hidden = self._steps[order], self._log_odds.shape[1]
        nodes = np.floor(self._plans[3, order] / steps).astype(np.int64) + 2
        edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(order)]
        pieces = []
        for low, high in pairwise(edges):
            start = low
            while start < high:
                n_rows = max(_NODES_PER_PIECE // (n_hidden * int(nodes[start])), 8)
                stop = min(start + n_rows, high)
                pieces.append((start, stop, float(steps[start]), int(nodes[start:stop].max())))
                start = stop
        return pieces

    def _judge(self, pending, signs, sums, log_probability, odds, error) -> None:
        """Fill log p and a bound on its relative error."""
        side, delta, _, reach, scale, top = self._plans[:, pending]
        length = 2.0 * np.pi / self._steps[pending]
        with np.errstate(all="ignore"):
            log_value = np.log(sums[pending, 0]) + scale
            value = np.exp(log_value)
            is_direct = side == signs[pending]
            log_p = np.where(is_direct, log_value, np.log1p(-value))
            log_p = np.minimum(log_p, 0.0)
            aliases = np.exp(-delta * length - log_p) / -np.expm1(-delta * length)
            aliases += np.exp(top - (1.0 - delta) * length - log_p) / -np.expm1(
                -(1.0 - delta) * length
            )
            tail = np.exp(scale - np.pi * reach - log_p)
            amplitude = scale + np.log(np.pi / np.sin(np.pi * delta))
            noise = (
                quadrature.ROUNDING * (2.0 + math.sqrt(len(self._v))) * np.exp(amplitude - log_p)
            )
            odds[pending] = np.where(is_direct, 1.0, -np.exp(log_value - log_p))
            error[pending] = aliases + tail + noise
        bad = ~np.isfinite(log_p)
        log_probability[pending] = log_p
        error[pending[bad]] = np.inf


def _difference(parameters: Parameters) -> tuple[Array, float]:
    """Return the output weights and intercept of class 1 less those of class 0."""
    v = np.ascontiguousarray(parameters.output[:, 1] - parameters.output[:, 0])
    return v, float(parameters.output_intercepts[1] - parameters.output_intercepts[0])


def _log_odds(inputs: Array, largest: Array, parameters: Parameters) -> Array:
    check_log_odds(largest, parameters.hidden[0])
    with single_threaded_blas():
        return inputs @ parameters.hidden[0]


class QuadraturePlan:
    """An E-step by quadrature prepared for given rows; see `Quadrature`."""

    def __init__(self, rows: ClassSortedRows, tol: float, n_threads: int) -> None:
        self._rows, self._tol = rows, tol
        self._largest_inputs = largest_inputs(rows.inputs)
        self._n_threads = n_threads
        self._signs = np.full(len(rows.weights), 1.0)
        self._signs[: rows.class_starts[1]] = -1.0

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        rows, (v, c) = self._rows, _difference(parameters)
        log_odds = _log_odds(rows.inputs, self._largest_inputs, parameters)
        seconds = log_odds.size * _TYPICAL_NODES * _SECONDS_PER_NODE
        n_threads = threads_worth(seconds, self._n_threads)
        found = _Integrator(log_odds, v, c, self._tol, n_threads).integrate(
            self._signs, derivatives=True
        )
        prior = expit(log_odds)
        with single_threaded_blas():
            moved = rows.weights[:, None] * (found.posterior - prior)
            hidden_gradient = rows.inputs.T @ moved
            of_class_1 = np.append(rows.weights @ found.slopes, rows.weights @ found.slope_of_c)
        hidden = HiddenStatistics(
            rows.inputs,
            rows.weights,
            np.ascontiguousarray(prior.T),
            np.ascontiguousarray(found.posterior.T),
            hidden_gradient,
        )
        output_gradient = np.stack([-of_class_1, of_class_1], axis=1)
        return Statistics(found.log_probability, (hidden,), None, None, output_gradient)


@dataclass(frozen=True)
class Quadrature(EngineSettings):
    """E-step of two classes by quadrature: linear in the number of hidden units.

    Parameters
    ----------
    tol : float, default=1e-10
        Relative error of every p(y|x) that is allowed for. Rows are redone with more nodes
        until a bound on it holds; where none can, an error says how far it came.

    Notes
    -----
    About ``40 n m`` flops a node, and a hundred nodes where weights are moderate: the number
    follows from the bound, and grows with their size. Memory: ``O(n m)``.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier((100,), e_step=fastem.Quadrature())
    """

    tol: float = 1e-10
    name: ClassVar[str] = "quadrature"
    has_table: ClassVar[bool] = False

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread, weights being moderate."""
        if shape.n_classes != 2 or shape.depth > 1:
            return math.inf
        return n_samples * shape.first * _TYPICAL_NODES * _SECONDS_PER_NODE

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes."""
        scratch = n_threads * (2 * shape.first + 6) * quadrature.NODES_AT_ONCE
        return 8 * (9 * n_samples * shape.first + 24 * n_samples + scratch)

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        return self.bytes_needed(shape, n_samples, n_threads)

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> QuadraturePlan:
        """Prepare E-steps on the given rows.

        Raises
        ------
        ValueError
            If there are other than two classes, `tol` is out of range, or the rows times the
            hidden units do not fit into memory.
        """
        self._check(shape, len(rows.weights), n_threads)
        return QuadraturePlan(rows, self.tol, n_threads)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, 2), in nats.

        Raises
        ------
        ValueError
            As `plan`.
        FloatingPointError
            If inputs times weights overflow, or the tolerance cannot be reached.
        """
        self._check(shape, len(inputs), n_threads)
        v, c = _difference(parameters)
        log_odds = _log_odds(inputs, largest_inputs(inputs), parameters)
        n_threads = threads_worth(log_odds.size * _TYPICAL_NODES * _SECONDS_PER_NODE, n_threads)
        out = np.empty((len(inputs), 2))
        # what is integrated is the class that S is against: the other is one less that, and
        # needs an integral of its own only where the guess was wrong
        minority = (expit(log_odds) @ v + c <= 0.0).astype(np.int64)
        rows = np.arange(len(inputs))
        for _ in range(2):
            integrator = _Integrator(log_odds[rows], v, c, self.tol, n_threads)
            found = integrator.integrate(2.0 * minority[rows] - 1.0, derivatives=False)
            out[rows, minority[rows]] = found.log_probability
            with np.errstate(divide="ignore"):
                out[rows, 1 - minority[rows]] = np.log(-np.expm1(found.log_probability))
            rows = rows[found.log_probability > _LOG_HALF]
            minority[rows] = 1 - minority[rows]
            if len(rows) == 0:
                break
        return out

    def _check(self, shape: Shape, n_samples: int, n_threads: int) -> None:
        if shape.depth > 1:
            raise ValueError(
                f"Quadrature is for one hidden layer, and there are {shape.depth}. Use "
                "fastem.Enumeration()."
            )
        if shape.n_classes != 2:
            raise ValueError(
                f"Quadrature is for two classes, and there are {shape.n_classes}. Use "
                "fastem.Enumeration()."
            )
        if not 1e-13 <= self.tol < 1.0:
            raise ValueError(f"tol must be between 1e-13 and 1, got {self.tol!r}.")
        check_memory(
            f"hidden_layer_sizes={shape.hidden_layer_sizes} on {n_samples} rows",
            "for quadrature",
            "Use fewer rows or hidden units.",
            self.bytes_needed(shape, n_samples, n_threads),
        )
