"""What quadratures over a line and over a plane have in common: redoing, judging, conditioning."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import log_expit

from fastem.parameters import Array

_ATTEMPTS = 4
_MOST_SPLITS = 12
_SPLITS_PER_ROW = 64  # on average, of many rows
_SPLITS_AT_LEAST = 20_000  # for all of a few rows
_ROWS_AT_ONCE = 4096  # that are split: halves of halves are held for them only
_NODES_PER_ROW = 1e6  # on average, of many rows
_NODES_AT_LEAST = 2e8  # for all of a few rows
_CERTAIN = 1000.0  # log-odds of a unit that is known to be on


class Splits:
    """How often rows may still be split, in depth and all together; and nodes they may take."""

    def __init__(self, n_rows: int, tol: float) -> None:
        self.depth, self._tol = 0, tol
        self._left = _SPLITS_AT_LEAST + _SPLITS_PER_ROW * n_rows
        self._nodes_left = _NODES_AT_LEAST + _NODES_PER_ROW * n_rows

    def spend(self, n_nodes: float) -> None:
        """Note that so many nodes are going to be added up.

        Raises
        ------
        FloatingPointError
            If rows have taken too many already: better told than waited for.
        """
        self._nodes_left -= n_nodes
        if not self._nodes_left >= 0.0:
            raise FloatingPointError(
                f"Quadrature would need more than {_NODES_PER_ROW:.0e} nodes a row: the output "
                "weights are too large. Use a larger alpha or tol, fastem.Enumeration() or "
                "fastem.Sampling()."
            )

    def take(self, n_rows: int, worst: float) -> None:
        """Note that rows are split.

        Raises
        ------
        FloatingPointError
            If they have been split too often already.
        """
        self._left -= n_rows
        if self.depth == _MOST_SPLITS or self._left < 0:
            reached = f"reached a relative error of {worst:.1e}"
            if not np.isfinite(worst):
                reached = "found no bound on the relative error"
            raise FloatingPointError(
                f"Quadrature {reached} in some row, and tol={self._tol:g} is asked for. Use a "
                "larger tol, smaller weights (a larger alpha), fastem.Enumeration() or "
                "fastem.Sampling()."
            )


def repeat_until_reached(
    attempt: Callable[[Array, Array], tuple[Array, Array]], needs: Array, tol: float
) -> tuple[Array, Array]:
    """Integrate rows again and again until a bound on their error is below ``tol``.

    Parameters
    ----------
    attempt : callable
        Takes rows and the log of what their errors shall be relative to (NaN where that is
        still unknown); returns log p and relative errors of those rows.
    needs : array (n_rows,), nats
        Where to begin. Modified in place: log p of rows that were integrated.
    tol : float

    Returns
    -------
    pending : array of int
        Rows that did not reach it.
    errors : array (n_rows,)
    """
    pending, errors = np.arange(len(needs)), np.full(len(needs), np.inf)
    for _ in range(_ATTEMPTS):
        log_p, errors[pending] = attempt(pending, needs[pending])
        guess = np.where(np.isnan(needs[pending]), 0.0, needs[pending]) - 10.0
        needs[pending] = np.where(errors[pending] < 0.5, log_p, guess)
        pending = pending[~(errors[pending] <= tol)]
        if len(pending) == 0:
            break
    return pending, errors


def overwrite_by_halves(
    found: Any,
    rows: Array,
    log_odds: Array,
    units: Array,
    integrate: Callable[[Array, Array], Any],
    splits: Splits,
) -> None:
    """Overwrite rows whose S has separate heaps, by conditioning each on one unit.

    No line or plane serves all heaps without cancellation; given the unit that varies S most,
    each half is a quadrature of its own.

    Parameters
    ----------
    found : named tuple of arrays, one entry per row
        Log p first; the others are averages given the label. Modified in place.
    rows : array of int
        Those to overwrite.
    log_odds : array (len(rows), n_hidden)
    units : array of int (len(rows),)
        What to condition on.
    integrate : callable
        Takes log-odds of halves and the place of each in ``rows``; returns what they come to.
    splits : Splits
    """
    splits.depth += 1
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        here = slice(start, start + _ROWS_AT_ONCE)
        units_here, each = units[here], np.arange(len(rows[here]))
        halves = np.repeat(log_odds[here], 2, axis=0)
        halves[2 * each, units_here], halves[2 * each + 1, units_here] = -_CERTAIN, _CERTAIN
        part = integrate(halves, np.repeat(start + each, 2))
        a = log_odds[here][each, units_here]
        logs = part[0] + np.column_stack([log_expit(-a), log_expit(a)]).ravel()
        log_p = np.logaddexp(logs[::2], logs[1::2])
        shares = np.exp(logs - np.repeat(log_p, 2))
        found[0][rows[here]] = log_p
        for whole, of_halves in zip(found[1:], part[1:], strict=True):
            weighted = shares.reshape(-1, *[1] * (of_halves.ndim - 1)) * of_halves
            whole[rows[here]] = weighted[::2] + weighted[1::2]
    splits.depth -= 1
