"""Quadrature over a plane, for three classes: plan tasks, sum their nodes, bound their errors.

A task is one row and one class. All arrays here have one entry per task. Arrays of task numbers
(``pending``, ``tasks``, ``order``) select some of them.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.constants import (
    MOST_PLANE_NODES,
    PLANE_NODES_PER_PIECE,
    PLANE_ROWS_TO_PLAN,
    PLANE_STEP_RATIO,
    ROWS_TO_SHARE_TABLES,
    TABLE_STEPS,
)
from fastem.engines.quadrature.gamma_tables import gamma_tables
from fastem.engines.quadrature.refine import Budget
from fastem.engines.quadrature.subsets import overwrite, subset
from fastem.kernels import plane
from fastem.kernels.plane_plan import (
    BEYOND,
    N_POINTS,
    TRIANGLE,
    PlanePlan,
    fill_aliases,
    plan_rows,
    rounding_error,
)
from fastem.parameters import Array
from fastem.runtime import Buffers, Shapes, row_ranges, run


class LogitDifferences(NamedTuple):
    """Output weights and intercepts of the other two classes minus those of each class.

    Attributes
    ----------
    v : array (3, 2, n_hidden), log-odds
        Entry k: those of classes k + 1 and k + 2 (modulo three) minus those of class k.
    c : array (3, 2), log-odds
    """

    v: Array
    c: Array

    @classmethod
    def of(cls, weights: Array, intercepts: Array) -> "LogitDifferences":
        """Return the differences of output weights (n_hidden, 3) and intercepts (3,)."""
        order = [[1, 2], [2, 0], [0, 1]]
        v = np.ascontiguousarray((weights.T)[order] - weights.T[:, None])
        return cls(v, intercepts[order] - intercepts[:, None])


class Tasks(NamedTuple):
    """Integrals to compute: one entry per task.

    Attributes
    ----------
    log_odds : array (n_tasks, n_hidden)
        Those of the row.
    classes : array of int (n_tasks,)
    log_floors : array (n_tasks,), nats
        The error is relative to the larger of p and ``exp(log_floor)``.
    """

    log_odds: Array
    classes: Array
    log_floors: Array


class PlaneIntegrator:
    """Integrals of tasks, each over a plane of its own.

    Parameters
    ----------
    tasks : Tasks
    differences : LogitDifferences
    moments : array (n_tasks, n_points), nats
        ``log E exp(-w . S)`` at the points of `TRIANGLE`.
    n_threads : int
    derivatives : bool
        Whether `posterior_and_slopes` will be needed.
    budget : Budget

    Attributes
    ----------
    plan : PlanePlan
    log_probability : array (n_tasks,), nats
    """

    def __init__(
        self,
        tasks: Tasks,
        differences: LogitDifferences,
        moments: Array,
        n_threads: int,
        *,
        derivatives: bool,
        budget: Budget,
    ) -> None:
        n_tasks, n_hidden = tasks.log_odds.shape
        self._tasks, self._differences, self._moments = tasks, differences, moments
        self._n_threads, self._budget = n_threads, budget
        self._rounding = rounding_error(n_hidden)
        declared = self.buffers(n_tasks, n_hidden, n_threads, derivatives=derivatives)
        arrays = Buffers().allocate(declared)
        self.plan = PlanePlan(*arrays.plan)
        self.log_probability = arrays.log_probability
        self._work, self._truncation = arrays.work, arrays.truncation
        self._thresholds, self._on = arrays.thresholds, arrays.on
        self._sums, self._sums_of_units = arrays.sums, arrays.sums_of_units
        self._sums.fill(0.0)  # tasks that need too many nodes are never summed
        self._sums_of_units.fill(0.0)

    @staticmethod
    def buffers(n_tasks: int, n_hidden: int, n_threads: int, *, derivatives: bool) -> Shapes:
        """Declare the arrays of an integrator."""
        width = n_hidden if derivatives else 0
        return {
            "work": (n_threads, n_hidden, plane.UNIT_WORK),
            "plan": (len(PlanePlan._fields), n_tasks),
            "log_probability": (n_tasks,),
            "truncation": (n_tasks,),
            "thresholds": (n_tasks,),
            "on": (n_tasks, n_hidden),
            "sums": (n_tasks, 5),
            "sums_of_units": (n_tasks, width, 3),
        }

    @staticmethod
    def temporaries(n_tasks: int, n_hidden: int, n_threads: int) -> Shapes:
        """Declare the temporary arrays of kernels and NumPy."""
        return {
            "posterior_and_slopes": (n_tasks, 3 * n_hidden + 2),
            "logit_differences": (n_tasks, 2, n_hidden),
            "terms": (3, n_tasks, n_hidden),
            "bounds_and_orders": (40, n_tasks),
            "sines": (n_threads, 2, n_hidden, TABLE_STEPS),
            "gammas": (n_threads, 3, 2, TABLE_STEPS),
        }

    def choose(self, pending: Array, log_expected: Array, tol: float) -> Array:
        """Choose plane, period and reach of tasks; return about how many nodes each needs."""
        pieces = _pieces_by_class(self._tasks.classes[pending])

        def plan_piece(piece: int, worker: int) -> None:
            k, positions = pieces[piece]
            tasks = pending[positions]
            part = PlanePlan(*np.empty((len(self.plan), len(tasks))))
            plan_rows(
                self._tasks.log_odds[tasks], self._differences.v[k], self._differences.c[k],
                self._moments[tasks], TRIANGLE, tol, self._rounding, log_expected[positions], part,
            )  # fmt: skip
            # a few periods only, so that tasks share tables
            levels = np.ceil(np.log(part.period) / math.log(PLANE_STEP_RATIO))
            part.period[:] = PLANE_STEP_RATIO**levels
            overwrite(self.plan, tasks, part)

        run(plan_piece, len(pieces), self._n_threads)
        size = self.plan.period[pending] * self.plan.reach[pending] * 1.5 / np.pi
        return 0.5 * size**2

    def attempt(
        self, pending: Array, log_expected: Array, tol: float, *, derivatives: bool
    ) -> tuple[Array, Array]:
        """Integrate tasks once.

        Tasks that would take too many nodes are left out. Their error is infinite.

        Parameters
        ----------
        pending : array of int (n_pending,)
        log_expected : array (n_pending,), nats
            Estimates of ``log p``. A wrong estimate costs nodes or another attempt.
        tol : float
        derivatives : bool

        Returns
        -------
        log_p : array (n_pending,), nats
        errors : array (n_pending,)
            Upper bounds, relative to the larger of p and its floor.
        """
        nodes = self.choose(pending, log_expected, tol)
        small = nodes <= MOST_PLANE_NODES
        self._budget.use_nodes(float(nodes[small].sum()))
        self._sums[pending] = 0.0
        self._sums_of_units[pending] = 0.0
        self._add(pending[small], log_expected[small], tol, derivatives)
        log_p, errors = np.zeros(len(pending)), np.full(len(pending), np.inf)
        log_p[small], errors[small] = self._judge(pending[small])
        self.log_probability[pending] = log_p
        return log_p, errors

    def _add(self, pending: Array, log_expected: Array, tol: float, derivatives: bool) -> None:
        """Sum the integrands over the nodes: tasks with the same class and plane share tables."""
        plan, classes = subset(self.plan, pending), self._tasks.classes[pending]
        sizes = np.ceil(plan.reach * plan.period * 1.5 / np.pi).astype(np.int64) + 1
        unknown = np.isnan(log_expected)
        expected = np.where(unknown, np.minimum(plan.log_scale, 0.0) - 10.0, log_expected)
        with np.errstate(over="ignore"):  # far above any p: all blocks are left out
            # an eighth of the tolerance for all blocks together
            self._thresholds[pending] = tol * np.exp(expected - plan.log_scale) / (8.0 * sizes**2)
        positions = np.lexsort((sizes, plan.d2, plan.d1, plan.period, classes))
        order, sizes = pending[positions], sizes[positions]
        keys = np.stack([classes, plan.period, plan.d1, plan.d2])[:, positions]
        changes = np.any(np.diff(keys) != 0.0, axis=0)
        pieces = _cut(changes, sizes, self._tasks.log_odds.shape[1])

        def add_piece(piece: int, worker: int) -> None:
            start, stop = pieces[piece]
            tasks, first = order[start:stop], order[start]
            k = self._tasks.classes[first]
            v, c = self._differences.v[k], self._differences.c[k]
            d = np.array([self.plan.d1[first], self.plan.d2[first]])
            period = float(self.plan.period[first])
            gammas = gamma_tables(d, c, 2.0 * np.pi / (3.0 * period), int(sizes[start:stop].max()))
            self._truncation[tasks] = gammas.truncation / (3.0 * period**2)
            self._on[tasks] = expit(self._tasks.log_odds[tasks] - d @ v)
            plane.add_nodes(
                self._on, order, start, stop, self._thresholds, gammas.values, v, period,
                derivatives, self._work[worker], self._sums, self._sums_of_units,
            )  # fmt: skip

        run(add_piece, len(pieces), self._n_threads)

    def _judge(self, pending: Array) -> tuple[Array, Array]:
        """Return ``log p`` of tasks and bounds on the error, as in `attempt`.

        The error is the sum of the aliasing, the truncation and the rounding error, and of the
        blocks that were left out.
        """
        plan, sums = subset(self.plan, pending), self._sums[pending]
        log_aliases = np.empty(len(pending))
        fill_aliases(self._moments[pending], TRIANGLE, plan, log_aliases)
        with np.errstate(all="ignore"):
            value, moduli, left_out = sums[:, 0], sums[:, 3], sums[:, 4]
            log_p = np.log(np.maximum(value, 1e-300)) + plan.log_scale
            log_p_or_none = np.where(value > 0.0, log_p, -np.inf)
            relative_to = np.maximum(log_p_or_none, self._tasks.log_floors[pending])
            absolute = self._truncation[pending] + left_out + self._rounding * moduli
            errors = np.exp(log_aliases - relative_to)
            errors += absolute * np.exp(plan.log_scale - relative_to)
        errors[~np.isfinite(value) | ~np.isfinite(errors)] = np.inf
        return np.minimum(log_p, 0.0), errors

    def posterior_and_slopes(self) -> tuple[Array, Array]:
        """Return hidden posteriors and derivatives of ``log p``.

        Returns
        -------
        posterior : array (n_tasks, n_hidden), probability
        slopes : array (n_tasks, 2, n_hidden + 1)
            Derivatives with respect to v and, last, c.
        """
        d = np.stack([self.plan.d1, self.plan.d2]).T
        log_odds, sums = self._tasks.log_odds, self._sums
        v = self._differences.v[self._tasks.classes]
        off = expit(-log_odds + np.einsum("id,idh->ih", d, v))
        with np.errstate(all="ignore"):  # tasks that are overwritten later
            whole = np.maximum(sums[:, 0], 1e-300)[:, None]
            without = off * self._sums_of_units[:, :, 0]  # the part with Z_h = 0
            posterior = np.clip((sums[:, :1] - without) / whole, 0.0, 1.0)
            slopes = np.empty((len(d), 2, log_odds.shape[1] + 1))
            for k in range(2):
                total = d[:, k] * sums[:, 0] - sums[:, 1 + k]
                rest = d[:, k, None] * without - off * self._sums_of_units[:, :, 1 + k]
                slopes[:, k, :-1] = (rest - total[:, None]) / whole
                slopes[:, k, -1] = -total / whole[:, 0]
        return posterior, slopes

    def units_to_condition_on(self, tasks: Array) -> Array:
        """Return the unit of each task that contributes most to the variance of its logits."""
        v = self._differences.v[self._tasks.classes[tasks]]
        d = np.stack([self.plan.d1[tasks], self.plan.d2[tasks]])
        on = expit(self._tasks.log_odds[tasks] - np.einsum("di,idh->ih", d, v))
        size = v[:, 0] ** 2 + v[:, 1] ** 2 + (v[:, 0] - v[:, 1]) ** 2
        return np.argmax(size * on * (1.0 - on), axis=1)


def log_moments(
    log_odds: Array, classes: Array, differences: LogitDifferences, n_threads: int
) -> tuple[Array, Array]:
    """Return ``log E exp(-w . S)`` of tasks, in nats.

    Returns
    -------
    within : array (n_tasks, n_points)
        At the points of `TRIANGLE`.
    beyond : array (n_tasks, 9)
        At the points `BEYOND` it.
    """
    points = np.vstack([TRIANGLE.points, BEYOND])
    out = np.zeros((len(log_odds), len(points)))
    pieces = _pieces_by_class(classes)

    def fill_piece(piece: int, worker: int) -> None:
        k, tasks = pieces[piece]
        part = np.zeros((len(tasks), len(points)))
        plane.add_log_moments(log_odds[tasks], differences.v[k], differences.c[k], points, part)
        out[tasks] = part

    run(fill_piece, len(pieces), n_threads)
    return np.ascontiguousarray(out[:, :N_POINTS]), out[:, N_POINTS:]


def _pieces_by_class(classes: Array) -> list[tuple[int, Array]]:
    """Cut positions in ``classes`` into pieces of one class each: (class, positions)."""
    pieces: list[tuple[int, Array]] = []
    for k in range(3):
        positions = np.flatnonzero(classes == k)
        ranges = row_ranges(len(positions), PLANE_ROWS_TO_PLAN)
        pieces.extend((k, positions[start:stop]) for start, stop in ranges)
    return pieces


def _cut(changes: Array, sizes: Array, n_hidden: int) -> list[tuple[int, int]]:
    """Cut ordered tasks where tables change, and into pieces of about the same work.

    Parameters
    ----------
    changes : array of bool (n_tasks - 1,)
        Whether the next task needs other tables.
    sizes : array of int (n_tasks,)
        Sizes of the hexagons, in steps.
    n_hidden : int

    Returns
    -------
    pieces : list of (start, stop)
    """
    pieces = []
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(sizes)]
    for low, high in pairwise(edges):
        start = low
        while start < high:
            n_nodes = int(sizes[start]) ** 2 // 2 + 1
            n_rows = max(PLANE_NODES_PER_PIECE // (n_hidden * n_nodes), ROWS_TO_SHARE_TABLES)
            pieces.append((start, min(start + n_rows, high)))
            start += n_rows
    return pieces
