"""Quadrature over a plane, of three classes: planning, adding up and judging rows."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.refine import Splits
from fastem.kernels import plane, plane_plan
from fastem.parameters import Array
from fastem.runtime import row_ranges, run

_LEVEL = 1.05  # ratio of the steps between which rows are grouped
MOST_NODES = 4_000_000
_NODES_PER_PIECE = 16_000_000  # of rows times units times nodes: some ten milliseconds
_ROWS_TO_SHARE = 8  # at least, that tables are made for
_ROWS_PER_PIECE = 64


class Logits(NamedTuple):
    """Output weights and intercepts of the other two classes less those of each.

    Attributes
    ----------
    v : array (3, 2, n_hidden)
        Entry k: those of classes k + 1 and k + 2, counted around.
    c : array (3, 2)
    """

    v: Array
    c: Array

    @classmethod
    def of(cls, output: Array, intercepts: Array) -> "Logits":
        """Return those of output weights (n_hidden, 3) and intercepts (3,)."""
        order = [[1, 2], [2, 0], [0, 1]]
        v = np.ascontiguousarray((output.T)[order] - output.T[:, None])
        return cls(v, intercepts[order] - intercepts[:, None])


class Hexagons:
    """Integrals of some rows, one class each, over planes of their own.

    Attributes
    ----------
    plans : array (5, n_rows)
        d1, d2, r, reach and ``log F``.
    log_probability : array (n_rows,), nats
    """

    def __init__(
        self,
        log_odds: Array,
        classes: Array,
        floors: Array,
        logits: Logits,
        moments: Array,
        n_threads: int,
        splits: Splits,
    ) -> None:
        n_rows, n_hidden = log_odds.shape
        self._log_odds, self._classes, self._logits = log_odds, classes, logits
        self._floors, self._moments, self._n_threads = floors, moments, n_threads
        self._splits = splits
        self._work = np.empty((n_threads, n_hidden, 4 * plane.NODES_AT_ONCE))
        self.plans = np.empty((5, n_rows))
        self.log_probability = np.empty(n_rows)
        self._tails = np.empty(n_rows)
        self._sums = np.zeros((n_rows, 5))
        self._sums_of_units = np.zeros((n_rows, 0, 3))
        self._off = np.empty((0, n_hidden))

    def plan(self, pending: Array, needs: Array, tol: float) -> Array:
        """Choose planes, steps and reaches; return about how many nodes each row needs."""
        pieces = _pieces_by_class(self._classes[pending])

        def plan_piece(piece: int, worker: int) -> None:
            k, places = pieces[piece]
            rows = pending[places]
            plans = np.empty((5, len(rows)))
            plane_plan.plan_rows(
                self._log_odds[rows], self._logits.v[k], self._logits.c[k], self._moments[rows],
                plane_plan.POINTS, plane_plan.INSIDE, plane_plan.NEIGHBOURS,
                plane_plan.LENGTHS, plane_plan.SHIFTS, plane_plan.LOG_PEAKS,
                tol, needs[places], plans,
            )  # fmt: skip
            # r of a few values only, so that rows share tables
            levels = np.ceil(np.log(plans[2]) / math.log(_LEVEL))
            plans[2] = _LEVEL**levels
            self.plans[:, rows] = plans

        run(plan_piece, len(pieces), self._n_threads)
        return 0.5 * (self.plans[2, pending] * self.plans[3, pending] * 1.5 / np.pi) ** 2

    def integrate(
        self, pending: Array, needs: Array, tol: float, derivatives: bool
    ) -> tuple[Array, Array]:
        """Return ``log p`` and bounds on errors, relative to the larger of p and its floor.

        What p comes to is expected in ``needs``; a wrong guess costs nodes, or another attempt.

        Rows that would take too many nodes are not begun: their error is infinite.
        """
        nodes = self.plan(pending, needs, tol)
        small = nodes <= MOST_NODES
        self._splits.spend(float(nodes[small].sum()))
        if derivatives and self._sums_of_units.shape[1] == 0:
            self._sums_of_units = np.zeros((*self._log_odds.shape, 3))
        self._sums[pending] = 0.0
        self._sums_of_units[pending] = 0.0
        self._add(pending[small], needs[small], tol, derivatives)
        log_p, errors = np.zeros(len(pending)), np.full(len(pending), np.inf)
        log_p[small], errors[small] = self._judge(pending[small])
        self.log_probability[pending] = log_p
        return log_p, errors

    def _add(self, pending: Array, needs: Array, tol: float, derivatives: bool) -> None:
        """Add up the integrands, rows of one plane, step and class together."""
        d_1, d_2, scales, reaches, log_scales = self.plans[:, pending]
        classes = self._classes[pending]
        sizes = np.ceil(reaches * scales * 1.5 / np.pi).astype(np.int64) + 1
        order = np.lexsort((sizes, d_2, d_1, scales, classes))
        keys = np.stack([classes, scales, d_1, d_2])[:, order]
        pieces = _cut(np.any(np.diff(keys) != 0.0, axis=0), sizes[order], self._log_odds.shape[1])
        on = np.empty((len(pending), self._log_odds.shape[1]))
        of_needs = np.where(np.isnan(needs), np.minimum(log_scales, 0.0) - 10.0, needs)
        with np.errstate(over="ignore"):  # a need far above what there is: nothing counts
            thresholds = tol * np.exp(of_needs - log_scales) / (8.0 * sizes**2)
        sums, of_units = np.zeros((len(pending), 5)), self._sums_of_units[pending]

        def add_piece(piece: int, worker: int) -> None:
            start, stop = pieces[piece]
            places = order[start:stop]
            k, row = classes[places[0]], places[0]
            v, c, d = self._logits.v[k], self._logits.c[k], np.array([d_1[row], d_2[row]])
            on[places] = expit(self._log_odds[pending[places]] - d @ v)
            tail = plane.add_nodes(
                on, order, start, stop, thresholds, d, v, c, scales[row], int(sizes[places].max()),
                derivatives, self._work[worker], sums, of_units,
            )  # fmt: skip
            self._tails[pending[places]] = tail

        run(add_piece, len(pieces), self._n_threads)
        self._sums[pending], self._sums_of_units[pending] = sums, of_units

    def _judge(self, pending: Array) -> tuple[Array, Array]:
        sums, log_scale = self._sums[pending], self.plans[4, pending]
        aliases = np.empty(len(pending))
        plane_plan.fill_aliases(
            np.ascontiguousarray(self._moments[pending]), plane_plan.POINTS, plane_plan.SHIFTS,
            np.ascontiguousarray(self.plans[:3, pending]), aliases,
        )  # fmt: skip
        rounding = plane_plan.rounding(self._log_odds.shape[1])
        with np.errstate(all="ignore"):
            value = sums[:, 0]
            log_p = np.log(np.maximum(value, 1e-300)) + log_scale
            relative_to = np.maximum(np.where(value > 0.0, log_p, -np.inf), self._floors[pending])
            absolute = self._tails[pending] + sums[:, 4] + rounding * sums[:, 3]
            errors = np.exp(aliases - relative_to) + absolute * np.exp(log_scale - relative_to)
        errors[~np.isfinite(value) | ~np.isfinite(errors)] = np.inf
        return np.minimum(log_p, 0.0), errors

    def posterior_and_slopes(self) -> tuple[Array, Array]:
        """Return hidden posteriors (n_rows, m) and derivatives of log p (n_rows, 2, m + 1).

        Derivatives are those with respect to v and, last, c.
        """
        d = self.plans[:2].T
        off = expit(-self._log_odds + np.einsum("id,idh->ih", d, self._logits.v[self._classes]))
        with np.errstate(all="ignore"):  # rows that are overwritten later
            whole = np.maximum(self._sums[:, 0], 1e-300)[:, None]
            without = off * self._sums_of_units[:, :, 0]
            posterior = np.clip((self._sums[:, :1] - without) / whole, 0.0, 1.0)
            slopes = np.empty((len(d), 2, self._log_odds.shape[1] + 1))
            for k in range(2):
                total = d[:, k] * self._sums[:, 0] - self._sums[:, 1 + k]
                rest = d[:, k, None] * without - off * self._sums_of_units[:, :, 1 + k]
                slopes[:, k, :-1] = (rest - total[:, None]) / whole
                slopes[:, k, -1] = -total / whole[:, 0]
        return posterior, slopes

    def units_to_split(self, rows: Array) -> Array:
        """Return the unit of each row that varies its logits most."""
        v = self._logits.v[self._classes[rows]]
        tilted = self._log_odds[rows] - np.einsum("di,idh->ih", self.plans[:2, rows], v)
        on = expit(tilted)
        size = v[:, 0] ** 2 + v[:, 1] ** 2 + (v[:, 0] - v[:, 1]) ** 2
        return np.argmax(size * on * (1.0 - on), axis=1)


def log_moments(log_odds: Array, classes: Array, logits: Logits, n_threads: int) -> Array:
    """Return ``log E exp(-w . S)`` at the points of the grid and, after them, beyond it."""
    points = np.vstack([plane_plan.POINTS, plane_plan.BEYOND])
    out = np.zeros((len(log_odds), len(points)))
    pieces = _pieces_by_class(classes)

    def fill_piece(piece: int, worker: int) -> None:
        k, rows = pieces[piece]
        part = np.zeros((len(rows), len(points)))
        plane.add_log_moments(log_odds[rows], logits.v[k], logits.c[k], points, part)
        out[rows] = part

    run(fill_piece, len(pieces), n_threads)
    return out


def _pieces_by_class(classes: Array) -> list[tuple[int, Array]]:
    """Cut row numbers into pieces of one class each."""
    pieces = []
    for k in range(3):
        rows = np.flatnonzero(classes == k)
        ranges = row_ranges(len(rows), _ROWS_PER_PIECE)
        pieces.extend((k, rows[start:stop]) for start, stop in ranges)
    return pieces


def _cut(changes: Array, sizes: Array, n_hidden: int) -> list[tuple[int, int]]:
    """Cut ordered rows where tables change, and into about the same work."""
    pieces = []
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(sizes)]
    for low, high in pairwise(edges):
        start = low
        while start < high:
            n_nodes = int(sizes[start]) ** 2 // 2 + 1
            n_rows = max(_NODES_PER_PIECE // (n_hidden * n_nodes), _ROWS_TO_SHARE)
            pieces.append((start, min(start + n_rows, high)))
            start += n_rows
    return pieces
