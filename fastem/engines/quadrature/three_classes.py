"""Quadrature of three classes: the choice, task by task, of the integrals that are needed.

A task is one row and one class k, whose probability ``p = p(k|x)`` is to be found. The error may
be relative to p, or to a floor if the floor is larger. There are five cases, in this order:

    1. negligible  An upper bound on p is below a share of the tolerance times the floor. The
                   result is the bound, and the posterior is the prior.
    2. line        Without one of the three classes p changes by less than a share of the
                   tolerance. The class is dropped, and p is an integral over a line.
    3. complement  p > 1/2, and its own integral would take many nodes. The other two classes are
                   integrated instead, as two tasks with a floor, and p is one minus their sum.
    4. plane       p is an integral over a plane.
    5. condition   The integral over the plane misses the tolerance. The task is conditioned on
                   one hidden unit: it becomes two tasks, which start again at case 1.

Cases 1 and 2 are decided with upper bounds from `log_moments`. Case 2 is checked again with the
p that it finds. If the check fails, case 3 follows. Cases 3 and 4 need an estimate of p: a
pilot integral over the plane with a relative error of 3 %.

Index spaces. Every method numbers its own tasks from zero. It returns integrals of all of them, in
the same order, or overwrites integrals that have the same numbers. The caller selects tasks with
an array of task numbers (`subset`), and stores the results with the same array (`overwrite`).

    ==============================  ============================  ========================
    array                           first axis                    further axes
    ==============================  ============================  ========================
    fields of `Tasks`               task                          unit (log_odds only)
    fields of the integrals         task                          unit; output class
    moments                         task                          grid point
    beyond                          task                          point beyond the grid
    upper, dropped, least_change    task
    changes                         task                          class dropped: 0, 1, 2
    `LogitDifferences`              class k                       other class: 0, 1; unit
    index, known, failed, direct    -                             (values are task numbers)
    pending (in `_refine`)          -                             (values: into ``direct``)
    positions (in `_condition`)     part of a conditioned task    (values: into ``index``)
    ==============================  ============================  ========================

"Class dropped" counts from the class of the task, modulo three: 0 is class k itself, 1 is class
k + 1, 2 is class k + 2. "Other class" 0 is class k + 1, 1 is class k + 2.
"""

import math
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.constants import (
    COMPLEMENT_NODES,
    LARGEST_REST,
    LINE_SHARE,
    LOG_COMPLEMENT_FLOOR,
    LOG_HALF,
    LOG_SHARE_EXPECTED,
    LOG_SHARE_FOUND,
    PILOT_TOL,
)
from fastem.engines.quadrature.line import LineIntegrator
from fastem.engines.quadrature.plane import LogitDifferences, PlaneIntegrator, Tasks, log_moments
from fastem.engines.quadrature.refine import Budget, condition_on_units, repeat_until_reached
from fastem.engines.quadrature.subsets import overwrite, subset
from fastem.kernels.plane_plan import BEYOND, N_POINTS, TRIANGLE, VERTEX_1, usual_nodes
from fastem.parameters import Array
from fastem.runtime import Shapes, bytes_of


class ThreeClassIntegrals(NamedTuple):
    """Results of quadratures of three classes, one entry per task.

    Attributes
    ----------
    log_probability : array (n_tasks,), nats
    posterior : array (n_tasks, n_hidden) or (n_tasks, 0), probability
    slopes : array (n_tasks, n_hidden + 1, 3) or (n_tasks, 0, 3)
        Derivatives of ``log p`` with respect to output weights and, last, intercepts.
    """

    log_probability: Array
    posterior: Array
    slopes: Array


class ThreeClassIntegrator:
    """Quadrature of tasks under one set of output weights.

    Parameters
    ----------
    weights : array (n_hidden, 3), log-odds
    intercepts : array (3,), log-odds
    tol : float
        Error that is allowed, relative to the larger of p and its floor.
    n_threads : int
    budget : Budget
    derivatives : bool
        Whether to compute posterior and slopes.
    """

    def __init__(
        self,
        weights: Array,
        intercepts: Array,
        tol: float,
        n_threads: int,
        budget: Budget,
        *,
        derivatives: bool,
    ) -> None:
        self._differences = LogitDifferences.of(weights, intercepts)
        self._tol, self._n_threads, self._budget = tol, n_threads, budget
        self._derivatives = derivatives

    @staticmethod
    def temporaries(n_tasks: int, n_hidden: int) -> Shapes:
        """Declare the arrays of `integrate` beside those of the integrators over planes."""
        return {
            "moments": (n_tasks, 2 * N_POINTS + len(BEYOND)),
            "bounds": (n_tasks, 16),
            "log_odds_over_planes": (n_tasks, n_hidden),
            "integrals": (n_tasks, 4 * n_hidden + 4),
            "integrals_over_planes": (n_tasks, 4 * n_hidden + 4),
        }

    @classmethod
    def bytes_needed(cls, n_tasks: int, n_hidden: int, n_threads: int) -> int:
        """Return the peak memory of `integrate`, in bytes.

        The peak is reached if all tasks are complements (case 3). Then `integrate` calls itself
        with twice as many tasks.
        """
        planes = partial(PlaneIntegrator.buffers, n_threads=n_threads, derivatives=True)
        n_inside = 2 * n_tasks
        return bytes_of(
            cls.temporaries(n_tasks, n_hidden),
            planes(n_tasks, n_hidden),
            {"log_odds_of_others": (n_inside, n_hidden)},
            cls.temporaries(n_inside, n_hidden),
            planes(n_inside, n_hidden),
            PlaneIntegrator.temporaries(n_inside, n_hidden, n_threads),
        )

    def integrate(self, tasks: Tasks) -> ThreeClassIntegrals:
        """Return the integrals of all tasks.

        Raises
        ------
        FloatingPointError
            If the tolerance cannot be reached.
        """
        moments, beyond = log_moments(
            tasks.log_odds, tasks.classes, self._differences, self._n_threads
        )
        upper = np.minimum((moments + TRIANGLE.log_peaks).min(axis=1), 0.0)
        changes = beyond.reshape(-1, 3, 3).min(axis=2)
        found = self._empty(len(upper))
        negligible = self._fill_negligible(tasks, upper, found)
        by_line = self._fill_lines(tasks, moments, upper, changes, ~negligible, found)
        index = np.flatnonzero(~negligible & ~by_line)
        if len(index) > 0:
            overwrite(found, index, self._over_planes(subset(tasks, index), moments[index]))
        return found

    def _fill_negligible(self, tasks: Tasks, upper: Array, found: ThreeClassIntegrals) -> Array:
        """Overwrite tasks of negligible p (case 1); return which tasks these are.

        ``upper`` (n_tasks,) are upper bounds on ``log p``. A bound of NaN decides nothing.
        """
        negligible = upper <= tasks.log_floors + math.log(self._tol) + LOG_SHARE_EXPECTED
        found.log_probability[negligible] = upper[negligible]
        if self._derivatives:
            found.posterior[negligible] = expit(tasks.log_odds[negligible])
        return negligible

    def _fill_lines(
        self,
        tasks: Tasks,
        moments: Array,
        upper: Array,
        changes: Array,
        candidates: Array,
        found: ThreeClassIntegrals,
    ) -> Array:
        """Overwrite tasks in which a class can be dropped (case 2); return which these are.

        Parameters
        ----------
        tasks : Tasks
        moments : array (n_tasks, n_points), nats
        upper : array (n_tasks,), nats
            Upper bounds on ``log p``.
        changes : array (n_tasks, 3), nats
            Upper bounds on the logarithm of the change of p, by class dropped.
        candidates : array of bool (n_tasks,)
        found : ThreeClassIntegrals
            Modified in place. Tasks that fail the check with the p that was found are
            overwritten too; the caller must integrate them again.
        """
        log_tol = math.log(self._tol)
        dropped, least_change = changes.argmin(axis=1), changes.min(axis=1)
        allowed = np.maximum(upper, tasks.log_floors) + log_tol + LOG_SHARE_EXPECTED
        by_line = candidates & (least_change <= allowed)
        for k, out in product(range(3), range(3)):
            index = np.flatnonzero(by_line & (tasks.classes == k) & (dropped == out))
            if len(index) > 0:
                log_tilt = moments[index, VERTEX_1]
                overwrite(found, index, self._over_lines(tasks.log_odds[index], log_tilt, k, out))
        allowed = np.maximum(found.log_probability, tasks.log_floors) + log_tol + LOG_SHARE_FOUND
        return by_line & (least_change <= allowed)

    def _empty(self, n_tasks: int) -> ThreeClassIntegrals:
        """Return integrals that are zero."""
        n_hidden = self._differences.v.shape[2]
        width, depth = (n_hidden, n_hidden + 1) if self._derivatives else (0, 0)
        return ThreeClassIntegrals(
            np.full(n_tasks, -np.inf), np.empty((n_tasks, width)), np.zeros((n_tasks, depth, 3))
        )

    def _over_lines(
        self, log_odds: Array, log_tilt: Array, k: int, dropped: int
    ) -> ThreeClassIntegrals:
        """Return the integrals of tasks of class k without one of the classes (case 2).

        Parameters
        ----------
        log_odds : array (n_tasks, n_hidden)
        log_tilt : array (n_tasks,), nats
            ``log E exp(-A)``, A being the logit of class k + 1 minus that of class k.
        k, dropped : int
            ``dropped`` counts from class k.

        Notes
        -----
        If another class is dropped, ``p = E sigmoid(-B)`` with B the difference of the class
        that remains. If class k itself is dropped, ``1 / (1 + exp(A) + exp(B))`` becomes
        ``exp(-A) sigmoid(A - B)``: a factor ``E exp(-A)``, and an expectation under units that
        are tilted by ``exp(-A)``.
        """
        v, c = self._differences.v[k], self._differences.c[k]
        own, one, two = k, (k + 1) % 3, (k + 2) % 3
        if dropped == 0:
            log_odds = log_odds - v[0]
            line_v, line_c = v[0] - v[1], float(c[0] - c[1])
        else:
            remains = 2 - dropped
            line_v, line_c = -v[remains], -float(c[remains])
        line = LineIntegrator(
            log_odds, np.ones(len(log_odds)), np.ascontiguousarray(line_v), line_c,
            LINE_SHARE * self._tol, self._n_threads, derivatives=self._derivatives,
            budget=self._budget,
        ).integrate()  # fmt: skip
        found = self._empty(len(log_odds))
        found.log_probability[:] = line.log_probability
        if dropped == 0:
            found.log_probability[:] += log_tilt
        if not self._derivatives:
            return found
        found.posterior[:] = line.posterior
        slopes = np.column_stack([line.slopes, line.slope_of_c])
        if dropped == 0:
            found.slopes[:, :-1, own] = line.posterior
            found.slopes[:, -1, own] = 1.0
            found.slopes[:, :, one] = slopes - found.slopes[:, :, own]
            found.slopes[:, :, two] = -slopes
        else:
            found.slopes[:, :, own] = slopes
            found.slopes[:, :, two if dropped == 1 else one] = -slopes
        return found

    def _over_planes(self, tasks: Tasks, moments: Array) -> ThreeClassIntegrals:
        """Return the integrals of tasks that no line can integrate (cases 3 to 5)."""
        planes = PlaneIntegrator(
            tasks, self._differences, moments, self._n_threads, derivatives=self._derivatives,
            budget=self._budget,
        )  # fmt: skip
        log_expected, failed, errors = self._estimate(planes, len(moments))
        known = np.setdiff1d(np.arange(len(moments)), failed)
        log_expected[known] = np.maximum(log_expected[known], tasks.log_floors[known])

        nodes = planes.choose(known, log_expected[known], self._tol)
        # only p without a floor: the two tasks of a complement have floors, and end in case 4 or 5
        use_complement = np.isneginf(tasks.log_floors[known]) & (log_expected[known] > LOG_HALF)
        use_complement &= nodes > COMPLEMENT_NODES * usual_nodes(self._tol)
        complement, direct = known[use_complement], known[~use_complement]

        missed, errors[direct] = self._refine(planes, direct, log_expected[direct])
        found = self._conclude(planes, tasks.classes)
        if len(complement) > 0:
            overwrite(found, complement, self._from_the_others(subset(tasks, complement)))
        index = np.concatenate([failed, missed])
        if len(index) > 0:
            self._budget.use_conditionings(len(index), float(np.max(errors[index])))
            units = planes.units_to_condition_on(index)
            self._condition(tasks, index, units, found)
        return found

    def _estimate(self, planes: PlaneIntegrator, n_tasks: int) -> tuple[Array, Array, Array]:
        """Run the pilot integrals; return ``log p``, tasks that failed, and bounds on errors."""
        log_expected = np.full(n_tasks, np.nan)

        def attempt(pending: Array, log_p: Array) -> tuple[Array, Array]:
            return planes.attempt(pending, log_p, PILOT_TOL, derivatives=False)

        failed, errors = repeat_until_reached(attempt, log_expected, PILOT_TOL)
        return log_expected, failed, errors

    def _refine(
        self, planes: PlaneIntegrator, direct: Array, log_expected: Array
    ) -> tuple[Array, Array]:
        """Integrate the tasks ``direct``; return those that missed, and bounds on all errors."""

        def attempt(pending: Array, log_p: Array) -> tuple[Array, Array]:
            tasks = direct[pending]
            return planes.attempt(tasks, log_p, self._tol, derivatives=self._derivatives)

        missed, errors = repeat_until_reached(attempt, log_expected, self._tol)
        return direct[missed], errors

    def _conclude(self, planes: PlaneIntegrator, classes: Array) -> ThreeClassIntegrals:
        """Return the integrals of all tasks over planes; some of them have no meaning yet."""
        n_tasks = len(classes)
        if not self._derivatives:
            return self._empty(n_tasks)._replace(log_probability=planes.log_probability)
        posterior, of_others = planes.posterior_and_slopes()
        slopes, each = np.empty((n_tasks, of_others.shape[2], 3)), np.arange(n_tasks)
        slopes[each, :, classes] = -of_others.sum(axis=1)
        for other in (0, 1):
            slopes[each, :, (classes + 1 + other) % 3] = of_others[:, other]
        return ThreeClassIntegrals(planes.log_probability, posterior, slopes)

    def _from_the_others(self, tasks: Tasks) -> ThreeClassIntegrals:
        """Return the integrals of tasks with p > 1/2 from the other two classes (case 3)."""
        n_tasks = len(tasks.classes)
        others = Tasks(
            np.tile(tasks.log_odds, (2, 1)),
            np.concatenate([(tasks.classes + 1) % 3, (tasks.classes + 2) % 3]),
            np.full(2 * n_tasks, LOG_COMPLEMENT_FLOOR),
        )
        part = self.integrate(others)
        p_1, p_2 = np.split(np.exp(part.log_probability), 2)
        p = 1.0 - p_1 - p_2
        found = self._empty(n_tasks)
        found.log_probability[:] = np.log1p(-(p_1 + p_2))
        if self._derivatives:
            ratio_1, ratio_2 = p_1 / p, p_2 / p
            posterior = expit(tasks.log_odds) / p[:, None]  # prior over p, minus the other classes
            posterior -= (
                ratio_1[:, None] * part.posterior[:n_tasks]
                + ratio_2[:, None] * part.posterior[n_tasks:]
            )
            found.posterior[:] = np.clip(posterior, 0.0, 1.0)
            found.slopes[:] = -(
                ratio_1[:, None, None] * part.slopes[:n_tasks]
                + ratio_2[:, None, None] * part.slopes[n_tasks:]
            )
        return found

    def _condition(
        self, tasks: Tasks, index: Array, units: Array, found: ThreeClassIntegrals
    ) -> None:
        """Overwrite the tasks ``index``, each conditioned on one unit (case 5)."""

        def integrate(parts: Array, positions: Array) -> ThreeClassIntegrals:
            of_task = index[positions]
            return self.integrate(Tasks(parts, tasks.classes[of_task], tasks.log_floors[of_task]))

        condition_on_units(found, index, tasks.log_odds[index], units, integrate, self._budget)


def log_probabilities(integrator: ThreeClassIntegrator, log_odds: Array, likeliest: Array) -> Array:
    """Return ``log p(y = k | x)`` (n_rows, 3) of rows: mostly two integrals per row.

    Parameters
    ----------
    integrator : ThreeClassIntegrator
        Without derivatives.
    log_odds : array (n_rows, n_hidden)
    likeliest : array of int (n_rows,)
        A guess of the class with the largest probability. Its probability is one minus those of
        the other two. It is integrated only if the guess was wrong.
    """
    n_rows = len(likeliest)
    out, rows = np.empty((n_rows, 3)), np.arange(n_rows)

    def integrate(some: Array, classes: Array) -> None:
        tasks = Tasks(log_odds[some], classes, np.full(len(some), -np.inf))
        out[some, classes] = integrator.integrate(tasks).log_probability

    for k in (1, 2):
        integrate(rows, (likeliest + k) % 3)
    rest = np.exp(out[rows, (likeliest + 1) % 3]) + np.exp(out[rows, (likeliest + 2) % 3])
    with np.errstate(all="ignore"):
        out[rows, likeliest] = np.log1p(-rest)
    wrong = rows[rest > LARGEST_REST]
    if len(wrong) > 0:
        integrate(wrong, likeliest[wrong])
    return out
