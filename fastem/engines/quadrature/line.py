"""Quadrature over a line, for two classes: plan rows, sum their nodes, bound their errors.

All arrays here have one entry per row. Arrays of row numbers (``pending``, ``rows``, ``order``)
select some of them.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.constants import (
    LINE_NODE_IN_PLANE_NODES,
    LINE_NODES_PER_PIECE,
    LINE_ROWS_TO_PLAN,
    LINE_STEP_RATIO,
    MOST_LINE_NODES,
    ROWS_TO_SHARE_TABLES,
)
from fastem.engines.quadrature.refine import (
    Budget,
    condition_on_units,
    repeat_until_reached,
    too_many_nodes,
)
from fastem.engines.quadrature.subsets import overwrite, subset
from fastem.kernels import line
from fastem.parameters import Array
from fastem.runtime import Buffers, Shapes, row_ranges, run


class LineIntegrals(NamedTuple):
    """Results of a quadrature over a line, one entry per row.

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
    """Quadrature of ``p(y|x)`` of rows under one set of output weights.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
    signs : array (n_rows,)
        The label y: +1 for class 1, -1 for class 0.
    v : array (n_hidden,), log-odds
        Output weights of class 1 minus those of class 0.
    c : float, log-odds
    tol : float
        Relative error that is allowed.
    n_threads : int
    derivatives : bool
        Whether to compute posterior and slopes.
    budget : Budget, optional
    """

    def __init__(
        self,
        log_odds: Array,
        signs: Array,
        v: Array,
        c: float,
        tol: float,
        n_threads: int,
        *,
        derivatives: bool,
        budget: Budget | None = None,
    ) -> None:
        n_rows, n_hidden = log_odds.shape
        self._log_odds, self._signs, self._v, self._c = log_odds, signs, v, c
        self._tol, self._n_threads, self._derivatives = tol, n_threads, derivatives
        self._budget = budget or Budget(n_rows, tol)
        self._rounding = line.rounding_error(n_hidden)
        declared = self.buffers(n_rows, n_hidden, n_threads, derivatives=derivatives)
        arrays = Buffers().allocate(declared)
        self._work, self._steps = arrays.work, arrays.steps
        self._plan = line.LinePlan(*arrays.plan)
        self._sums, self._sums_of_units = arrays.sums, arrays.sums_of_units
        self._sums_of_slopes = arrays.sums_of_slopes
        self._log_probability, self._error = arrays.log_probability, arrays.error
        # d log p / d log(integral): 1, or -(1 - p) / p where 1 - p was integrated
        self._chain_factor = arrays.chain_factor
        self._log_expected = arrays.log_expected

    @staticmethod
    def buffers(n_rows: int, n_hidden: int, n_threads: int, *, derivatives: bool) -> Shapes:
        """Declare the arrays of an integrator."""
        width = n_hidden if derivatives else 0
        return {
            "work": (n_threads, 2 * n_hidden + 6, line.NODES_AT_ONCE),
            "plan": (len(line.LinePlan._fields), n_rows),
            "steps": (n_rows,),
            "sums": (n_rows, 2),
            "sums_of_units": (n_rows, width),
            "sums_of_slopes": (n_rows, width),
            "log_probability": (n_rows,),
            "chain_factor": (n_rows,),
            "error": (n_rows,),
            "log_expected": (n_rows,),
        }

    @staticmethod
    def temporaries(n_rows: int, n_hidden: int) -> Shapes:
        """Declare the temporary arrays of NumPy."""
        return {"posterior_and_slopes": (4, n_rows, n_hidden), "bounds_and_orders": (12, n_rows)}

    @np.errstate(all="ignore")  # an overflow makes the error infinite, and the row is redone
    def integrate(self) -> LineIntegrals:
        """Return the integrals of all rows.

        Raises
        ------
        FloatingPointError
            If the tolerance cannot be reached.
        """
        self._log_expected.fill(np.nan)
        pending, _ = repeat_until_reached(self._attempt, self._log_expected, self._tol)
        found = self._conclude()
        if len(pending) > 0:
            self._condition(pending, found)
        return found

    def _attempt(self, pending: Array, log_expected: Array) -> tuple[Array, Array]:
        """Integrate rows once; return ``log p`` and bounds on the relative error."""
        self._choose(pending, log_expected)
        for sums in (self._sums, self._sums_of_units, self._sums_of_slopes):
            sums[pending] = 0.0
        self._add(pending)
        self._judge(pending)
        return self._log_probability[pending], self._error[pending]

    def _choose(self, pending: Array, log_expected: Array) -> None:
        """Choose side, abscissa, period and reach of rows."""
        pieces = row_ranges(len(pending), LINE_ROWS_TO_PLAN)

        def plan_piece(piece: int, worker: int) -> None:
            here = slice(*pieces[piece])
            rows = pending[here]
            part = line.LinePlan(*np.empty((len(self._plan), len(rows))))
            line.plan_rows(
                self._log_odds[rows], self._signs[rows], self._v, self._c, self._tol,
                self._rounding, log_expected[here], part,
            )  # fmt: skip
            overwrite(self._plan, rows, part)

        run(plan_piece, len(pieces), self._n_threads)
        nodes = self._plan.period[pending] * self._plan.reach[pending] / (2.0 * np.pi)
        if not (nodes <= MOST_LINE_NODES).all():
            raise too_many_nodes(MOST_LINE_NODES)
        self._budget.use_nodes(LINE_NODE_IN_PLANE_NODES * float(nodes.sum()))

    def _add(self, pending: Array) -> None:
        """Sum the integrands over the nodes: rows with the same step share tables of sines."""
        periods, reaches = self._plan.period[pending], self._plan.reach[pending]
        levels = np.ceil(np.log(periods) / math.log(LINE_STEP_RATIO)).astype(np.int64)
        self._steps[pending] = 2.0 * np.pi / LINE_STEP_RATIO**levels
        order = pending[np.lexsort((reaches, levels))]
        pieces = self._cut(order)

        def add_piece(piece: int, worker: int) -> None:
            start, stop, step, n_nodes = pieces[piece]
            line.add_nodes(
                self._log_odds, order, start, stop, self._plan, self._v, self._c, step, n_nodes,
                self._derivatives, self._work[worker], self._sums, self._sums_of_units,
                self._sums_of_slopes,
            )  # fmt: skip

        run(add_piece, len(pieces), self._n_threads)

    def _cut(self, order: Array) -> list[tuple[int, int, float, int]]:
        """Cut ordered rows into pieces of one step and of about the same work.

        Returns
        -------
        pieces : list of (start, stop, step, n_nodes)
            Ranges of ``order``.
        """
        steps, n_hidden = self._steps[order], self._log_odds.shape[1]
        nodes = np.floor(self._plan.reach[order] / steps).astype(np.int64) + 2
        edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(order)]
        pieces = []
        for low, high in pairwise(edges):
            start = low
            while start < high:
                n_rows = LINE_NODES_PER_PIECE // (n_hidden * int(nodes[start]))
                stop = min(start + max(n_rows, ROWS_TO_SHARE_TABLES), high)
                pieces.append((start, stop, float(steps[start]), int(nodes[start:stop].max())))
                start = stop
        return pieces

    def _judge(self, pending: Array) -> None:
        """Compute ``log p`` of rows and a bound on its relative error.

        The error is the sum of the aliasing, the truncation and the rounding error.
        """
        plan = subset(self._plan, pending)
        delta, period = plan.abscissa, 2.0 * np.pi / self._steps[pending]
        log_value = np.log(self._sums[pending, 0]) + plan.log_scale
        is_direct = plan.side == self._signs[pending]
        log_p = np.where(is_direct, log_value, np.log1p(-np.exp(log_value)))
        log_p = np.minimum(log_p, 0.0)
        aliases = np.exp(-delta * period - log_p) / -np.expm1(-delta * period)
        above = np.exp(plan.log_top - (1.0 - delta) * period - log_p)
        aliases += above / -np.expm1(-(1.0 - delta) * period)
        truncation = np.exp(plan.log_scale - np.pi * plan.reach - log_p)
        log_amplitude = plan.log_scale + np.log(np.pi / np.sin(np.pi * delta))
        noise = self._rounding * np.exp(log_amplitude - log_p)
        error = aliases + truncation + noise
        error[~np.isfinite(log_p)] = np.inf
        self._error[pending], self._log_probability[pending] = error, log_p
        self._chain_factor[pending] = np.where(is_direct, 1.0, -np.exp(log_value - log_p))

    def _conclude(self) -> LineIntegrals:
        """Return the results of all rows; those of rows still pending have no meaning."""
        integral = self._sums[:, :1]
        posterior = self._sums_of_units / integral
        # the factor is -0.0 where the probability of the other class underflows
        other = np.flatnonzero(np.signbit(self._chain_factor))
        if self._derivatives and len(other) > 0:
            # prior = p q + (1 - p) q', where q' is the posterior given the other class
            prior = expit(self._log_odds[other])
            factor = self._chain_factor[other, None]
            posterior[other] = prior - factor * (prior - posterior[other])
        np.clip(posterior, 0.0, 1.0, out=posterior)
        factor = self._plan.side * self._chain_factor
        slopes = factor[:, None] * (self._sums_of_slopes / integral)
        slope_of_c = factor * self._sums[:, 1] / self._sums[:, 0]
        return LineIntegrals(self._log_probability, posterior, slopes, slope_of_c)

    def _condition(self, rows: Array, found: LineIntegrals) -> None:
        """Overwrite rows by conditioning on the unit that contributes most to the variance of S."""
        self._budget.use_conditionings(len(rows), float(np.max(self._error[rows])))
        log_odds, tilt = self._log_odds[rows], self._plan.side[rows] * self._plan.abscissa[rows]
        on = expit(log_odds + tilt[:, None] * self._v)
        units = np.argmax(self._v**2 * on * (1.0 - on), axis=1)

        def integrate(parts: Array, positions: Array) -> LineIntegrals:
            return LineIntegrator(
                parts, self._signs[rows[positions]], self._v, self._c, self._tol,
                self._n_threads, derivatives=self._derivatives, budget=self._budget,
            ).integrate()  # fmt: skip

        condition_on_units(found, rows, log_odds, units, integrate, self._budget)
