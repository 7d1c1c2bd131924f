"""Distribution function and quantiles of a scalar Gaussian output, by quadrature over a line.

The distribution of y given x is a mixture of ``2**n_hidden`` Gaussians. Its characteristic
function is a product over units. The nodes of a row are computed once and serve all values of y.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from fastem.engines.quadrature.constants import (
    LINE_NODE_IN_PLANE_NODES,
    LINE_ROWS_TO_PLAN,
    LINE_STEP_RATIO,
    MOST_CONDITIONED_UNITS_OF_GAUSSIAN,
    MOST_STORED_NODES,
    NODES_TO_CONDITION,
)
from fastem.engines.quadrature.gaussian import (
    are_too_long,
    check_finite,
    check_gaussian,
    cut_rows,
)
from fastem.engines.quadrature.refine import Budget, too_many_nodes
from fastem.kernels import gaussian_distribution, gaussian_plan
from fastem.kernels.gaussian_line import NODES_AT_ONCE
from fastem.parameters import Array
from fastem.runtime import Shapes, row_ranges, run

_SHARES = 8.0  # of the tolerance: tails, aliases and dropped terms one each, the solver four
_MOST_BISECTIONS = 200


class _Output(NamedTuple):
    """The output layer and the settings of a quadrature."""

    v: Array
    c: float
    variance: float
    tol: float
    n_threads: int


class _Grids(NamedTuple):
    """Grids of rows, one entry per row.

    Attributes
    ----------
    means : array (n_rows,)
    lowest, highest : array (n_rows,)
        y minus its mean lies outside this interval with a negligible probability.
    steps : array (n_rows,)
    n_nodes : array (n_rows,)
    """

    means: Array
    lowest: Array
    highest: Array
    steps: Array
    n_nodes: Array


def distribution_buffers(n_rows: int, n_hidden: int, n_values: int, n_threads: int) -> Shapes:
    """Declare the arrays of `gaussian_cdf` (one value) and `gaussian_quantiles`.

    Rows whose noise is less than about a ten-thousandth of the spread of their means need more.
    """
    return {
        "results": (n_rows, n_values),
        "grids_and_orders": (20, n_rows),
        "work": (n_threads, 2 * n_hidden + 1, NODES_AT_ONCE),
        "nodes": (n_threads, 2, MOST_STORED_NODES),
    }


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def gaussian_cdf(
    log_odds: Array,
    y: Array,
    v: Array,
    c: float,
    variance: float,
    tol: float,
    n_threads: int,
    budget: Budget | None = None,
) -> Array:
    """Return ``P(Y <= y | x)`` where ``Y | z ~ Normal(c + sum_h v_h z_h, variance)``.

    Parameters
    ----------
    log_odds : array (n_rows, n_hidden)
        -inf is allowed: such a unit is off.
    y : array (n_rows,)
    v : array (n_hidden,), units of y
    c : float, units of y
    variance : float, squared units of y
    tol : float
        Absolute error that is allowed, beside the rounding of y.
    n_threads : int
    budget : Budget, optional

    Returns
    -------
    probability : array (n_rows,)

    Raises
    ------
    ValueError
        If ``variance`` is not positive and finite; if ``y``, ``v`` or ``c`` are not finite; if
        log-odds are +inf or NaN.
    FloatingPointError
        If the noise is so small that the tolerance cannot be reached.
    """
    check_gaussian(log_odds, v, c, variance)
    check_finite("y", y)
    budget = budget or Budget(len(y), tol, MOST_CONDITIONED_UNITS_OF_GAUSSIAN)
    output = _Output(v, float(c), float(variance), tol, n_threads)
    grids = _choose_grids(log_odds, output)
    distances, out = y - grids.means, np.empty(len(y))
    is_below, is_above = distances <= grids.lowest, distances >= grids.highest
    out[is_below], out[is_above] = 0.0, 1.0
    is_open = ~(is_below | is_above)
    is_long = _are_too_long(log_odds, grids, output, budget)

    def fill(*piece: object) -> None:
        gaussian_distribution.fill_cdf(distances, *piece, out)

    _solve(log_odds, np.flatnonzero(is_open & ~is_long), grids, output, budget, fill)
    rows = np.flatnonzero(is_open & is_long)
    if len(rows) > 0:
        out[rows] = _conditioned_cdf(log_odds[rows], y[rows], output, budget)
    return out


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def gaussian_quantiles(
    log_odds: Array,
    q: Array,
    v: Array,
    c: float,
    variance: float,
    tol: float,
    n_threads: int,
) -> Array:
    """Return the values y with ``P(Y <= y | x) = q``.

    Parameters
    ----------
    log_odds, v, c, variance, n_threads
        See `gaussian_cdf`.
    q : array (n_values,), probability
        Between 0 and 1, both excluded.
    tol : float
        Error of ``P(Y <= y | x)`` that is allowed, beside the rounding of y.

    Returns
    -------
    y : array (n_rows, n_values)

    Raises
    ------
    ValueError
        As `gaussian_cdf`; if an entry of ``q`` is not between 0 and 1.
    FloatingPointError
        As `gaussian_cdf`.
    """
    check_gaussian(log_odds, v, c, variance)
    q = np.ascontiguousarray(q, dtype=np.float64)
    if not ((q > 0.0) & (q < 1.0)).all():
        bad = q[~((q > 0.0) & (q < 1.0))][0]
        raise ValueError(f"q must be between 0 and 1, both excluded, got {bad}.")
    output = _Output(v, float(c), float(variance), tol, n_threads)
    budget = Budget(len(log_odds), tol, MOST_CONDITIONED_UNITS_OF_GAUSSIAN)
    grids, out = _choose_grids(log_odds, output), np.empty((len(log_odds), len(q)))
    is_long = _are_too_long(log_odds, grids, output, budget)
    # a Gaussian with the same tails; it has about 2 sqrt(2 digits) standard deviations
    starts = ndtri(q) / (2.0 * math.sqrt(2.0 * _digits(tol)))

    def fill(*piece: object) -> None:
        gaussian_distribution.fill_quantiles(q, starts, 0.5 * tol, *grids[:3], *piece, out)

    _solve(log_odds, np.flatnonzero(~is_long), grids, output, budget, fill)
    rows = np.flatnonzero(is_long)
    if not (np.isfinite(grids.lowest[rows]) & np.isfinite(grids.highest[rows])).all():
        raise too_many_nodes(MOST_STORED_NODES)
    if len(rows) > 0:
        out[rows] = _bisect(log_odds[rows], q, *(array[rows] for array in grids[:3]), output)
    return out


def _digits(tol: float) -> float:
    """Return the nats from one down to the share of the tolerance of one error."""
    return math.log(_SHARES / tol)


def _choose_grids(log_odds: Array, output: _Output) -> _Grids:
    """Choose interval, step and number of nodes of rows."""
    digits, pieces = _digits(output.tol), row_ranges(len(log_odds), LINE_ROWS_TO_PLAN)
    means, below, above = np.empty((3, len(log_odds)))

    def plan_piece(piece: int, worker: int) -> None:
        here = slice(*pieces[piece])
        gaussian_plan.fill_tails(
            log_odds[here], *output[:3], digits, means[here], below[here], above[here]
        )

    run(plan_piece, len(pieces), output.n_threads)
    levels = np.ceil(np.log(below + above) / math.log(LINE_STEP_RATIO))
    steps = 2.0 * np.pi / LINE_STEP_RATIO**levels
    reach = math.sqrt(2.0 * digits / output.variance)
    n_nodes = NODES_AT_ONCE * np.ceil((reach / steps + 1.0) / NODES_AT_ONCE)
    return _Grids(means, -below, above, steps, n_nodes)


def _are_too_long(log_odds: Array, grids: _Grids, output: _Output, budget: Budget) -> Array:
    """Return which rows need too many nodes."""
    n_rows = len(log_odds)
    few = NODES_TO_CONDITION if budget.depth > 0 else MOST_STORED_NODES
    return are_too_long(
        grids.n_nodes, few, MOST_STORED_NODES, log_odds, np.arange(n_rows), np.zeros(n_rows),
        output.v, output.variance,
    )  # fmt: skip


def _solve(
    log_odds: Array,
    rows: Array,
    grids: _Grids,
    output: _Output,
    budget: Budget,
    fill: Callable[..., None],
) -> None:
    """Compute the nodes of rows, piece by piece, and call ``fill`` for every piece."""
    n_nodes, n_hidden = grids.n_nodes[rows], log_odds.shape[1]
    budget.use_nodes(LINE_NODE_IN_PLANE_NODES * float(n_nodes.sum()))
    order = rows[np.argsort(n_nodes, kind="stable")]
    steps = grids.steps[order]
    pieces = cut_rows(steps, steps * grids.n_nodes[order], n_hidden, MOST_STORED_NODES)

    def solve_piece(piece: int, worker: int) -> None:
        start, stop, step, _ = pieces[piece]
        length = int(grids.n_nodes[order[start]])
        work = np.empty((2 * n_hidden + 1, NODES_AT_ONCE))
        nodes = np.empty((stop - start, 2, length))
        lengths = np.empty(stop - start, dtype=np.int64)
        threshold = output.tol / (_SHARES * length)
        gaussian_distribution.fill_nodes(
            log_odds, grids.means, order, start, stop, *output[:3], step, length, threshold,
            work, nodes, lengths,
        )  # fmt: skip
        fill(order, start, stop, step, nodes, lengths)

    run(solve_piece, len(pieces), output.n_threads)


def _conditioned_cdf(log_odds: Array, y: Array, output: _Output, budget: Budget) -> Array:
    """Return the distribution function of rows that need too many nodes.

    Each row is conditioned on the unit that contributes most to the variance of y. Parts whose
    interval does not contain y need no nodes.
    """
    budget.use_conditionings(len(y), math.inf)
    on, each = expit(log_odds), np.arange(len(y))
    units = np.argmax(output.v**2 * on * (1.0 - on), axis=1)
    probability = on[each, units]
    if not (probability > 0.0).any():  # no unit is left: the weights overflow
        raise too_many_nodes(MOST_STORED_NODES)
    parts = log_odds.copy()
    parts[each, units] = -np.inf
    budget.depth += 1
    off, shifted = (
        gaussian_cdf(parts, y - shift, *output, budget=budget) for shift in (0.0, output.v[units])
    )
    budget.depth -= 1
    return (1.0 - probability) * off + probability * shifted


def _bisect(
    log_odds: Array, q: Array, means: Array, lowest: Array, highest: Array, output: _Output
) -> Array:
    """Return quantiles of rows that need too many nodes, by bisection."""
    n_values = len(q)
    pairs, target = np.repeat(log_odds, n_values, axis=0), np.tile(q, len(means))
    low, high = (np.repeat(means + end, n_values) for end in (lowest, highest))
    for _ in range(_MOST_BISECTIONS):
        middle = 0.5 * (low + high)
        size = np.maximum(np.abs(low), np.abs(high))
        active = np.flatnonzero(high - low > gaussian_distribution.RESOLUTION * size)
        if len(active) == 0:
            break
        error = gaussian_cdf(pairs[active], middle[active], *output) - target[active]
        is_found = np.abs(error) <= 0.5 * output.tol
        low[active[(error < 0.0) | is_found]] = middle[active[(error < 0.0) | is_found]]
        high[active[(error >= 0.0) | is_found]] = middle[active[(error >= 0.0) | is_found]]
    return (0.5 * (low + high)).reshape(-1, n_values)
