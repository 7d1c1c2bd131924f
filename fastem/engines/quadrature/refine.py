"""Steps that quadratures over a line and over a plane share.

`repeat_until_reached` integrates rows again until a bound on the error is small enough.
`condition_on_units` handles rows that no line or plane can integrate. `Budget` limits both.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from scipy.special import log_expit

from fastem.engines.quadrature.constants import (
    CERTAIN_LOG_ODDS,
    CONDITIONINGS_PER_ROW,
    LEAST_CONDITIONING_BUDGET,
    LEAST_NODE_BUDGET,
    MOST_ATTEMPTS,
    MOST_CONDITIONED_UNITS,
    NODES_PER_ROW,
    ROWS_TO_CONDITION_AT_ONCE,
)
from fastem.parameters import Array

Integrals = TypeVar("Integrals", bound=tuple[Any, ...])


class Budget:
    """The number of nodes and of conditionings that an integration may still use.

    Parameters
    ----------
    n_rows : int
    tol : float
        For error messages.
    most_units : int
        Number of units that a row may be conditioned on.

    Attributes
    ----------
    depth : int
        Number of units that the rows in progress are conditioned on.
    """

    def __init__(self, n_rows: int, tol: float, most_units: int = MOST_CONDITIONED_UNITS) -> None:
        self.depth, self._tol, self._most_units = 0, tol, most_units
        self._conditionings = LEAST_CONDITIONING_BUDGET + CONDITIONINGS_PER_ROW * n_rows
        self._nodes = LEAST_NODE_BUDGET + NODES_PER_ROW * n_rows

    def use_nodes(self, n_nodes: float) -> None:
        """Subtract nodes from the budget, before they are summed.

        Raises
        ------
        FloatingPointError
            If the budget does not suffice.
        """
        self._nodes -= n_nodes
        if not self._nodes >= 0.0:
            raise too_many_nodes(NODES_PER_ROW)

    def use_conditionings(self, n_rows: int, worst: float) -> None:
        """Subtract one conditioning per row from the budget.

        Parameters
        ----------
        n_rows : int
        worst : float
            Largest bound on the relative error of these rows, for the error message.

        Raises
        ------
        FloatingPointError
            If the budget does not suffice, or the rows are conditioned on too many units.
        """
        self._conditionings -= n_rows
        if self.depth == self._most_units or self._conditionings < 0:
            reached = f"reached a relative error of {worst:.1e}"
            if not np.isfinite(worst):
                reached = "found no bound on the relative error"
            raise FloatingPointError(
                f"Quadrature {reached} in at least one row, but tol={self._tol:g}. Use a "
                "larger tol, smaller weights (a larger alpha), fastem.Enumeration() or "
                "fastem.Sampling()."
            )


def too_many_nodes(most: float) -> FloatingPointError:
    """Return the error for rows that need more than ``most`` nodes."""
    return FloatingPointError(
        f"Quadrature would need more than {most:.0e} nodes per row: the output weights are too "
        "large. Use a larger alpha or tol, fastem.Enumeration() or fastem.Sampling()."
    )


def repeat_until_reached(
    attempt: Callable[[Array, Array], tuple[Array, Array]], log_expected: Array, tol: float
) -> tuple[Array, Array]:
    """Integrate rows again and again until a bound on their error is below ``tol``.

    Parameters
    ----------
    attempt : callable
        Takes row numbers and their estimates of ``log p`` (NaN where there is none). It returns
        ``log p`` and bounds on the relative error of those rows.
    log_expected : array (n_rows,), nats
        First estimates of ``log p``. Modified in place: the ``log p`` of the last attempt.
    tol : float

    Returns
    -------
    pending : array of int
        Rows whose error is still above ``tol``.
    errors : array (n_rows,)
        Bounds on the relative errors.
    """
    pending, errors = np.arange(len(log_expected)), np.full(len(log_expected), np.inf)
    for _ in range(MOST_ATTEMPTS):
        log_p, errors[pending] = attempt(pending, log_expected[pending])
        # with an error of one half or more, p is unknown: expect a smaller p next time
        smaller = np.where(np.isnan(log_expected[pending]), 0.0, log_expected[pending]) - 10.0
        log_expected[pending] = np.where(errors[pending] < 0.5, log_p, smaller)
        pending = pending[~(errors[pending] <= tol)]
        if len(pending) == 0:
            break
    return pending, errors


def condition_on_units(
    found: Integrals,
    rows: Array,
    log_odds: Array,
    units: Array,
    integrate: Callable[[Array, Array], Integrals],
    budget: Budget,
) -> None:
    """Overwrite the integrals of rows by conditioning each row on the state of one unit.

    If S is bimodal, terms cancel on every line or plane. With the state of the unit that
    contributes most to the variance of S fixed, each of the two parts is a quadrature of its own:
    ``p = P(Z_h = 0) p(y | Z_h = 0) + P(Z_h = 1) p(y | Z_h = 1)``.

    Parameters
    ----------
    found : named tuple of arrays, one entry per row
        ``log p`` first. The other entries are averages over the posterior. Modified in place.
    rows : array of int (n_selected,)
        Rows to overwrite.
    log_odds : array (n_selected, n_hidden)
    units : array of int (n_selected,)
        The unit of each row to condition on.
    integrate : callable
        Takes log-odds of parts (n_parts, n_hidden) and, for each part, its position in
        ``rows``. It returns a tuple like ``found`` with one entry per part.
    budget : Budget
    """
    budget.depth += 1
    for start in range(0, len(rows), ROWS_TO_CONDITION_AT_ONCE):
        here = slice(start, start + ROWS_TO_CONDITION_AT_ONCE)
        units_here, each = units[here], np.arange(len(rows[here]))
        # parts 2 i and 2 i + 1 are row i with the unit off and on
        parts = np.repeat(log_odds[here], 2, axis=0)
        parts[2 * each, units_here] = -CERTAIN_LOG_ODDS
        parts[2 * each + 1, units_here] = CERTAIN_LOG_ODDS
        of_parts = integrate(parts, np.repeat(start + each, 2))
        a = log_odds[here][each, units_here]
        log_joint = of_parts[0] + np.column_stack([log_expit(-a), log_expit(a)]).ravel()
        log_p = np.logaddexp(log_joint[::2], log_joint[1::2])
        posterior = np.exp(log_joint - np.repeat(log_p, 2))
        found[0][rows[here]] = log_p
        for whole, of_part in zip(found[1:], of_parts[1:], strict=True):
            weighted = posterior.reshape(-1, *[1] * (of_part.ndim - 1)) * of_part
            whole[rows[here]] = weighted[::2] + weighted[1::2]
    budget.depth -= 1
