"""Quadrature over a line, of two classes: the rows of one set of output weights."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.refine import Splits, overwrite_by_halves, repeat_until_reached
from fastem.kernels import line
from fastem.parameters import Array
from fastem.runtime import row_ranges, run

_LEVEL = 1.15  # ratio of the steps between which rows are grouped
_MOST_NODES = 1_000_000
_WORTH_OF_A_NODE = 5.0  # in time, of those of a plane, in which the budget is
_NODES_PER_PIECE = 2_000_000  # of rows times units times nodes: some ten milliseconds
_ROWS_PER_PIECE = 256


class LineIntegrals(NamedTuple):
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


class LineIntegrator:
    """Quadrature of rows under one set of output weights."""

    def __init__(
        self,
        log_odds: Array,
        v: Array,
        c: float,
        tol: float,
        n_threads: int,
        splits: Splits | None = None,
    ) -> None:
        n_rows, n_hidden = log_odds.shape
        self._log_odds, self._v, self._c, self._tol = log_odds, v, c, tol
        self._n_threads, self._splits = n_threads, splits or Splits(n_rows, tol)
        self._work = np.empty((n_threads, 2 * n_hidden + 6, line.NODES_AT_ONCE))
        # side, line, L, reach, log F, log E exp(S)
        self._plans = np.empty((6, n_rows))
        self._steps = np.empty(n_rows)

    @np.errstate(all="ignore")  # what overflows is judged, and told in words
    def integrate(self, signs: Array, *, derivatives: bool) -> LineIntegrals:
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
        needs = np.full(n_rows, np.nan)

        def attempt(pending: Array, needs: Array) -> tuple[Array, Array]:
            self._plan(pending, signs, needs)
            for array in (sums, of_units, of_slopes):
                array[pending] = 0.0
            self._add(pending, derivatives, sums, of_units, of_slopes)
            self._judge(pending, signs, sums, log_probability, odds, error)
            return log_probability[pending], error[pending]

        pending, _ = repeat_until_reached(attempt, needs, self._tol)
        # rows still pending are overwritten
        found = self._conclude(log_probability, odds, sums, of_units, of_slopes)
        if len(pending) > 0:
            self._split(pending, signs, derivatives, error, found)
        return found

    def _conclude(self, log_probability, odds, sums, of_units, of_slopes) -> LineIntegrals:
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
        return LineIntegrals(log_probability, posterior, slopes, scale * sums[:, 1] / sums[:, 0])

    def _split(
        self, rows: Array, signs: Array, derivatives: bool, error: Array, found: LineIntegrals
    ) -> None:
        """Overwrite rows whose S has two heaps, by conditioning on a unit that parts them."""
        self._splits.take(len(rows), float(np.max(error[rows])))
        side, delta = self._plans[:2, rows]
        on = expit(self._log_odds[rows] + (side * delta)[:, None] * self._v)
        units = np.argmax(self._v**2 * on * (1.0 - on), axis=1)

        def integrate(halves: Array, places: Array) -> LineIntegrals:
            return LineIntegrator(
                halves, self._v, self._c, self._tol, self._n_threads, self._splits
            ).integrate(signs[rows[places]], derivatives=derivatives)

        overwrite_by_halves(found, rows, self._log_odds[rows], units, integrate, self._splits)

    def _plan(self, pending: Array, signs: Array, needs: Array) -> None:
        pieces = row_ranges(len(pending), _ROWS_PER_PIECE)

        def plan_piece(piece: int, worker: int) -> None:
            here = slice(*pieces[piece])
            rows = pending[here]
            out = np.empty((6, len(rows)))
            line.plan_rows(
                self._log_odds[rows], signs[rows], self._v, self._c, self._tol, needs[here], *out
            )
            self._plans[:, rows] = out

        run(plan_piece, len(pieces), self._n_threads)
        nodes = self._plans[2, pending] * self._plans[3, pending] / (2.0 * np.pi)
        if not (nodes <= _MOST_NODES).all():
            raise FloatingPointError(
                f"Quadrature would need more than {_MOST_NODES:.0e} nodes a row: the output "
                "weights are too large. Use a larger alpha or tol, fastem.Enumeration() or "
                "fastem.Sampling()."
            )
        self._splits.spend(_WORTH_OF_A_NODE * float(nodes.sum()))

    def _add(self, pending: Array, derivatives: bool, sums, of_units, of_slopes) -> None:
        """Add up the integrands, rows of like steps together."""
        sides, deltas, lengths, reaches, _, _ = self._plans
        levels = np.ceil(np.log(lengths[pending]) / math.log(_LEVEL)).astype(np.int64)
        self._steps[pending] = 2.0 * np.pi / _LEVEL**levels
        order = pending[np.lexsort((reaches[pending], levels))]
        pieces = self._cut(order)

        def add_piece(piece: int, worker: int) -> None:
            start, stop, step, n_nodes = pieces[piece]
            line.add_nodes(
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
        log_value = np.log(sums[pending, 0]) + scale
        value = np.exp(log_value)
        is_direct = side == signs[pending]
        log_p = np.where(is_direct, log_value, np.log1p(-value))
        log_p = np.minimum(log_p, 0.0)
        aliases = np.exp(-delta * length - log_p) / -np.expm1(-delta * length)
        aliases += np.exp(top - (1.0 - delta) * length - log_p) / -np.expm1(-(1.0 - delta) * length)
        tail = np.exp(scale - np.pi * reach - log_p)
        amplitude = scale + np.log(np.pi / np.sin(np.pi * delta))
        noise = line.ROUNDING * (2.0 + math.sqrt(len(self._v))) * np.exp(amplitude - log_p)
        odds[pending] = np.where(is_direct, 1.0, -np.exp(log_value - log_p))
        error[pending] = aliases + tail + noise
        bad = ~np.isfinite(log_p)
        log_probability[pending] = log_p
        error[pending[bad]] = np.inf
