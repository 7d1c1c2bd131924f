"""Quadrature over a line, for one Gaussian output: plan rows, sum their nodes, bound errors.

All arrays here have one entry per row. Arrays of row numbers (``pending``, ``rows``, ``order``)
select some of them.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from fastem.engines.quadrature.constants import (
    LARGE_SHARE_OF_VARIANCE,
    LINE_NODE_IN_PLANE_NODES,
    LINE_NODES_PER_PIECE,
    LINE_ROWS_TO_PLAN,
    LINE_STEP_RATIO,
    LOG_NEGLIGIBLE_PART,
    MOST_CONDITIONED_UNITS_OF_GAUSSIAN,
    MOST_LINE_NODES,
    NODES_TO_CONDITION,
    ROWS_TO_CONDITION_AT_ONCE,
    ROWS_TO_SHARE_TABLES,
)
from fastem.engines.quadrature.refine import Budget, condition_on_units, repeat_until_reached
from fastem.engines.quadrature.subsets import overwrite, subset
from fastem.kernels import gaussian_line, gaussian_plan
from fastem.parameters import Array
from fastem.runtime import Buffers, Shapes, row_ranges, run


class GaussianIntegrals(NamedTuple):
    """Results of a quadrature of a Gaussian output, one entry per row.

    Attributes
    ----------
    log_density : array (n_rows,), nats
        ``log p(y|x)``.
    posterior : array (n_rows, n_hidden) or (n_rows, 0), probability
        ``P(Z_h = 1 | x, y)``.
    slopes : array (n_rows, n_hidden) or (n_rows, 0)
        Derivatives of ``log p`` with respect to v.
    slope_of_c : array (n_rows,)
    squared_residual : array (n_rows,)
        ``E[(y - c - sum_h v_h Z_h)^2 | x, y]``.
    """

    log_density: Array
    posterior: Array
    slopes: Array
    slope_of_c: Array
    squared_residual: Array


class GaussianIntegrator:
    """Quadrature of the density of ``y | z ~ Normal(c + sum_h v_h z_h, variance)``.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
        -inf is allowed: such a unit is off.
    y : array (n_rows,)
    v : array (n_hidden,), units of y
    c : float, units of y
    variance : float, squared units of y
        Positive.
    tol : float
        Error of ``log p`` that is allowed, as a multiple of ``max(1, abs(log p))``. This is the
        relative error of p unless p is extremely large or small.
    n_threads : int
    derivatives : bool
        Whether to compute posterior and slopes.
    budget : Budget, optional
    floors : array (n_rows,), nats, optional
        A density below its floor needs no relative accuracy: its error is relative to the floor.

    Raises
    ------
    ValueError
        If ``variance`` is not positive and finite; if ``y``, ``v`` or ``c`` are not finite; if
        log-odds are +inf or NaN.
    """

    def __init__(
        self,
        log_odds: Array,
        y: Array,
        v: Array,
        c: float,
        variance: float,
        tol: float,
        n_threads: int,
        *,
        derivatives: bool,
        budget: Budget | None = None,
        floors: Array | None = None,
    ) -> None:
        check_gaussian(log_odds, v, c, variance)
        check_finite("y", y)
        n_rows, n_hidden = log_odds.shape
        self._log_odds, self._v, self._variance = log_odds, v, float(variance)
        self._gaps = c - y
        self._tol, self._n_threads, self._derivatives = tol, n_threads, derivatives
        self._budget = budget or Budget(n_rows, tol, MOST_CONDITIONED_UNITS_OF_GAUSSIAN)
        self._floors = np.full(n_rows, -np.inf) if floors is None else floors
        self._log_width = 0.5 * math.log(2.0 * math.pi * variance)
        declared = self.buffers(n_rows, n_hidden, n_threads, derivatives=derivatives)
        arrays = Buffers().allocate(declared)
        self._work, self._steps = arrays.work, arrays.steps
        self._plan = gaussian_plan.GaussianPlan(*arrays.plan)
        self._sums, self._sums_of_units = arrays.sums, arrays.sums_of_units
        self._sums_of_slopes = arrays.sums_of_slopes
        self._log_density, self._error = arrays.log_density, arrays.error
        self._log_expected = arrays.log_expected
        # more nodes cannot reach the tolerance: rounding errors, or too many nodes
        self._is_hopeless = np.zeros(n_rows, dtype=bool)

    @staticmethod
    def buffers(n_rows: int, n_hidden: int, n_threads: int, *, derivatives: bool) -> Shapes:
        """Declare the arrays of an integrator."""
        width = n_hidden if derivatives else 0
        return {
            "work": (n_threads, 2 * n_hidden + 4, gaussian_line.NODES_AT_ONCE),
            "plan": (len(gaussian_plan.GaussianPlan._fields), n_rows),
            "steps": (n_rows,),
            "sums": (n_rows, 6),
            "sums_of_units": (n_rows, width),
            "sums_of_slopes": (n_rows, width),
            "log_density": (n_rows,),
            "error": (n_rows,),
            "log_expected": (n_rows,),
        }

    @staticmethod
    def temporaries(n_rows: int, n_hidden: int) -> Shapes:
        """Declare the temporary arrays of NumPy."""
        return {
            "posterior_and_slopes": (2, n_rows, n_hidden),
            "probabilities_of_long_rows": (4, min(n_rows, ROWS_TO_CONDITION_AT_ONCE), n_hidden),
            "bounds_and_orders": (30, n_rows),
        }

    @np.errstate(all="ignore")  # an overflow makes the error infinite, and the row is conditioned
    def integrate(self) -> GaussianIntegrals:
        """Return the integrals of all rows.

        Raises
        ------
        FloatingPointError
            If the tolerance cannot be reached.
        """
        self._find_saddles()
        pending, _ = repeat_until_reached(self._attempt, self._log_expected, self._tol)
        found = self._conclude()
        if len(pending) > 0:
            self._condition(pending, found)
        return found

    def _find_saddles(self) -> None:
        """Choose the lines, and estimate ``log p`` by the saddle point approximation."""
        pieces = row_ranges(len(self._gaps), LINE_ROWS_TO_PLAN)

        def find_piece(piece: int, worker: int) -> None:
            here = slice(*pieces[piece])
            part = gaussian_plan.GaussianPlan(*(array[here] for array in self._plan))
            gaussian_plan.find_saddles(
                self._log_odds[here], self._gaps[here], self._v, self._variance, part
            )

        run(find_piece, len(pieces), self._n_threads)
        plan = self._plan
        self._log_expected[:] = plan.log_scale - 0.5 * np.log(2.0 * np.pi * plan.curvature)

    def _attempt(self, pending: Array, log_expected: Array) -> tuple[Array, Array]:
        """Integrate rows once; return ``log p`` and bounds on the relative error."""
        is_tried = ~self._is_hopeless[pending]
        bound = self._plan.log_scale[pending] - self._log_width  # of Chernoff
        is_negligible = bound < self._floors[pending] + math.log(self._tol)
        negligible = pending[is_negligible]
        self._sums[negligible], self._sums[negligible, 0] = 0.0, 1.0
        self._sums_of_units[negligible] = self._sums_of_slopes[negligible] = 0.0
        self._log_density[negligible], self._error[negligible] = bound[is_negligible], 0.0
        is_tried &= ~is_negligible
        rows = self._choose(pending[is_tried], log_expected[is_tried])
        for sums in (self._sums, self._sums_of_units, self._sums_of_slopes):
            sums[rows] = 0.0
        self._add(rows)
        self._judge(rows)
        return self._log_density[pending], self._error[pending]

    def _choose(self, pending: Array, log_expected: Array) -> Array:
        """Choose period and reach of rows; return the rows that do not need too many nodes."""
        pieces = row_ranges(len(pending), LINE_ROWS_TO_PLAN)
        log_expected = np.maximum(log_expected, self._floors[pending])

        def plan_piece(piece: int, worker: int) -> None:
            here = slice(*pieces[piece])
            rows = pending[here]
            part = subset(self._plan, rows)
            gaussian_plan.plan_rows(
                self._log_odds[rows], self._gaps[rows], self._v, self._variance, self._tol,
                log_expected[here], part,
            )  # fmt: skip
            overwrite(self._plan, rows, part)

        run(plan_piece, len(pieces), self._n_threads)
        nodes = self._plan.period[pending] * self._plan.reach[pending] / (2.0 * np.pi)
        is_possible = ~are_too_long(
            nodes, NODES_TO_CONDITION, MOST_LINE_NODES, self._log_odds, pending,
            self._plan.abscissa[pending], self._v, self._variance,
        )  # fmt: skip
        too_long = pending[~is_possible]
        self._is_hopeless[too_long] = True
        self._error[too_long] = self._log_density[too_long] = np.inf
        self._budget.use_nodes(LINE_NODE_IN_PLANE_NODES * float(nodes[is_possible].sum()))
        return pending[is_possible]

    def _add(self, pending: Array) -> None:
        """Sum the integrands over the nodes: rows with the same step share tables of sines."""
        periods, reaches = self._plan.period[pending], self._plan.reach[pending]
        levels = np.ceil(np.log(periods) / math.log(LINE_STEP_RATIO))
        self._steps[pending] = 2.0 * np.pi / LINE_STEP_RATIO**levels
        order = pending[np.lexsort((reaches, levels))]
        pieces = cut_rows(self._steps[order], self._plan.reach[order], len(self._v))

        def add_piece(piece: int, worker: int) -> None:
            start, stop, step, n_nodes = pieces[piece]
            gaussian_line.add_nodes(
                self._log_odds, self._gaps, order, start, stop, self._plan, self._v,
                self._variance, step, n_nodes, self._derivatives, self._work[worker], self._sums,
                self._sums_of_units, self._sums_of_slopes,
            )  # fmt: skip

        run(add_piece, len(pieces), self._n_threads)

    def _judge(self, pending: Array) -> None:
        """Compute ``log p`` of rows and a bound on its relative error.

        The error is the sum of the aliasing, the truncation and the rounding error.
        """
        plan, sums = subset(self._plan, pending), self._sums[pending]
        period, step = 2.0 * np.pi / self._steps[pending], self._steps[pending]
        log_p = np.log(sums[:, 0]) + plan.log_scale
        # of the Chernoff bound at the line
        bound = np.exp(plan.log_scale - self._log_width - log_p)
        aliases = 0.0
        for tilt, rise in ((plan.tilt_above, plan.rise_above), (plan.tilt_below, plan.rise_below)):
            aliases = aliases + np.exp(rise - tilt * period) / -np.expm1(-tilt * period)
        tail = np.exp(-0.5 * self._variance * plan.reach**2) / np.pi
        tail *= step + 1.0 / (self._variance * plan.reach)
        truncation = (sums[:, 3] + tail) / sums[:, 0]
        roundings = 2.0 + math.sqrt(len(self._v))
        noise = (roundings * sums[:, 4] + plan.phase * sums[:, 5]) / sums[:, 0]
        noise += plan.scale_size / np.maximum(np.abs(log_p), 1.0)
        noise *= gaussian_line.ROUNDING
        # relative to the floor, where p is smaller
        share = np.exp(np.minimum(log_p - self._floors[pending], 0.0))
        error = share * (bound * aliases + truncation + noise)
        error[~np.isfinite(log_p)] = np.inf
        self._error[pending], self._log_density[pending] = error, log_p
        self._is_hopeless[pending] = ~(share * noise <= self._tol)

    def _conclude(self) -> GaussianIntegrals:
        """Return the results of all rows; those of rows still pending have no meaning."""
        integral = self._sums[:, :1]
        posterior = self._sums_of_units / integral
        np.clip(posterior, 0.0, 1.0, out=posterior)
        slopes = self._sums_of_slopes / integral
        squares = self._sums[:, 2] / self._sums[:, 0]
        squared_residual = self._variance * (1.0 + self._variance * squares)
        return GaussianIntegrals(
            self._log_density,
            posterior,
            slopes,
            self._sums[:, 1] / self._sums[:, 0],
            np.maximum(squared_residual, 0.0),
        )

    def _condition(self, rows: Array, found: GaussianIntegrals) -> None:
        """Overwrite rows by conditioning on the unit that contributes most to the variance of y.

        The joint probability of y and one state is a lower bound on p. Parts that are far below
        it are negligible.
        """
        self._budget.use_conditionings(len(rows), float(np.max(self._error[rows])))
        log_odds, tilts, gaps = self._log_odds[rows], self._plan.abscissa[rows], self._gaps[rows]
        floors = np.empty(len(rows))
        gaussian_plan.fill_floors(log_odds, gaps, self._v, self._variance, tilts, floors)
        floors = np.maximum(floors + LOG_NEGLIGIBLE_PART, self._floors[rows])
        on = expit(log_odds + tilts[:, None] * self._v)
        units = np.argmax(self._v**2 * on * (1.0 - on), axis=1)
        priors = log_odds[np.arange(len(rows)), units]

        def integrate(parts: Array, positions: Array) -> GaussianIntegrals:
            # a unit that is on is replaced by a unit that is off and a shift of y
            each, fixed = np.arange(len(parts)), units[positions]
            is_on = parts[each, fixed] > 0.0
            parts[each, fixed] = -np.inf
            log_prior = log_expit(np.where(is_on, 1.0, -1.0) * priors[positions])
            shifted = np.where(is_on, self._v[fixed], 0.0) + gaps[positions]
            of_parts = GaussianIntegrator(
                parts, -shifted, self._v, 0.0, self._variance, self._tol, self._n_threads,
                derivatives=self._derivatives, budget=self._budget,
                floors=floors[positions] - log_prior,
            ).integrate()  # fmt: skip
            if self._derivatives:
                of_parts.posterior[each[is_on], fixed[is_on]] = 1.0
                of_parts.slopes[each[is_on], fixed[is_on]] = of_parts.slope_of_c[is_on]
            return of_parts

        condition_on_units(found, rows, log_odds, units, integrate, self._budget)
        np.clip(found.posterior, 0.0, 1.0, out=found.posterior)  # weights sum to one up to rounding


def cut_rows(
    steps: Array, reaches: Array, n_hidden: int, most_stored: float = math.inf
) -> list[tuple[int, int, float, int]]:
    """Cut ordered rows into pieces of one step and of about the same work.

    Parameters
    ----------
    steps, reaches : array (n_rows,)
        Equal steps stand together. Within a step, the reach increases.
    n_hidden : int
    most_stored : float
        Most nodes of all rows of a piece, unless the piece has only one row.

    Returns
    -------
    pieces : list of (start, stop, step, n_nodes)
        Ranges of the rows.
    """
    nodes = np.floor(reaches / steps).astype(np.int64) + 2
    edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    pieces = []
    for low, high in pairwise(edges):
        start = low
        while start < high:
            n_rows = LINE_NODES_PER_PIECE // (n_hidden * int(nodes[start]))
            n_rows = min(max(n_rows, ROWS_TO_SHARE_TABLES), most_stored // int(nodes[start]))
            stop = min(start + max(int(n_rows), 1), high)
            pieces.append((start, stop, float(steps[start]), int(nodes[start:stop].max())))
            start = stop
    return pieces


def are_too_long(
    nodes: Array, few: float, most: float, log_odds: Array, rows: Array, tilts: Array, v: Array,
    variance: float,
) -> Array:  # fmt: skip
    """Return which rows should be conditioned on units because they need too many nodes.

    Parameters
    ----------
    nodes : array (n_selected,)
        Numbers of nodes of the selected rows.
    few, most : float
        A row with r units of large weights may have ``few * 2**(r / 2)`` nodes, at most ``most``.
    log_odds : array (n_rows, n_hidden)
    rows : array of int (n_selected,)
    tilts : array (n_selected,)
    v : array (n_hidden,)
    variance : float
    """
    is_long = ~(nodes <= most)
    some = np.flatnonzero(nodes > few)
    for start, stop in row_ranges(len(some), ROWS_TO_CONDITION_AT_ONCE):
        here = some[start:stop]
        on = expit(log_odds[rows[here]] + tilts[here, None] * v)
        is_large = v * v * on * (1.0 - on) > LARGE_SHARE_OF_VARIANCE * variance
        n_large = is_large.sum(axis=1)
        is_long[here] |= (n_large > 0) & (nodes[here] > few * 2.0 ** (0.5 * n_large))
    return is_long


def check_gaussian(log_odds: Array, v: Array, c: float, variance: float) -> None:
    """Raise ValueError if an argument is out of range."""
    if not (log_odds < np.inf).all():
        bad = log_odds[~(log_odds < np.inf)][0]
        raise ValueError(
            f"log_odds must be finite or -inf, got {bad}. Use smaller inputs or weights."
        )
    check_finite("v", v)
    check_finite("c", c)
    if not (np.isfinite(variance) and variance > 0.0):
        raise ValueError(
            f"variance must be a positive finite number, got {variance!r}. "
            "Fit a positive variance, or use a larger floor for it."
        )


def check_finite(name: str, values: Array | float) -> None:
    """Raise ValueError if some values are infinite or NaN."""
    bad = np.asarray(values)[~np.isfinite(values)]
    if len(bad) > 0:
        raise ValueError(f"{name} must be finite, got {bad[0]}. Remove or replace such values.")
