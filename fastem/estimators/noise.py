"""Choice of the lower bound of the noise variance, on rows that are held out."""

from typing import Any

import numpy as np

from fastem.estimators.ascent import Problem
from fastem.estimators.choices import resolve_solver, without_choice
from fastem.estimators.em_training import Training
from fastem.estimators.inference import FittedNetwork
from fastem.runtime import doing
from fastem.selection import row_numbers
from fastem.solvers import FLOORS_OF_STARTS

# Used if there are too few rows to choose the bound. All bounds are shares of the variance of y.
_USUAL_FLOOR = 0.05
_LEAST_ROWS = 50
_SHARE_HELD_OUT = 0.2
MOST_ROWS = 10_000
"""Largest number of rows that the choice uses."""
# A smaller bound would rest on repeated values of y, and would make outliers all but impossible.
_FLOORS = (*FLOORS_OF_STARTS, 0.05, 0.03, 0.02, 0.01, 0.005)
_NEGLIGIBLE = 0.005  # nats per row


def variance_floor(
    estimator: Any, problem: Problem | None, *, resumes: bool, streams: bool
) -> float:
    """Return the parameter `variance_floor` as a number, a share of the variance of y.

    Parameters
    ----------
    estimator : FastEMRegressor
    problem : Problem or None
        None if the choice does not need rows.
    resumes : bool
        Whether to keep the bound of the earlier fit.
    streams : bool
        Whether the rows are those of `partial_fit`, which are too few to choose the bound.
    """
    if not isinstance(estimator.variance_floor, str):
        return float(estimator.variance_floor)
    if resumes and hasattr(estimator, "variance_floor_"):
        return estimator.variance_floor_
    if streams:
        return _USUAL_FLOOR
    with doing("choosing the lower bound of the noise variance"):
        return _choose(estimator, problem)


def needs_rows(estimator: Any, *, resumes: bool) -> bool:
    """Return whether `variance_floor` compares bounds on rows, for a fit that may resume one."""
    is_known = resumes and hasattr(estimator, "variance_floor_")
    return isinstance(estimator.variance_floor, str) and not is_known


def _choose(estimator: Any, problem: Problem) -> float:
    """Return the lower bound of the noise variance under which held-out rows are most likely.

    A model is trained on four fifths of the rows, under bounds that fall from 0.7 to 0.005. The
    bound under which the other rows have the highest log-density is returned; of several that
    differ by less than 0.005 nats per row, the smallest. The maximum likelihood estimate of the
    variance is too small if the network has many weights per row, or if y has outliers.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem

    Returns
    -------
    floor : float
        As a share of the variance of y. 0.05 if fewer than 50 different rows have weight.

    Notes
    -----
    At most 10 000 rows are used. The model is trained by EM also if the solver is Adam. The cost is
    that of at most 240 iterations.
    """
    problem = problem.of_rows(problem.weights > 0.0)
    numbers = row_numbers(problem.X, problem.targets) / 2.0**64
    numbers *= max(1.0, len(problem.weights) / MOST_ROWS)
    if len(np.unique(numbers)) < _LEAST_ROWS:
        return _USUAL_FLOOR
    held = problem.of_rows(numbers < _SHARE_HELD_OUT)
    trained = problem.of_rows((numbers >= _SHARE_HELD_OUT) & (numbers < 1.0))
    trained = trained._replace(shape=problem.shape._replace(variance_floor=_FLOORS[-1]))
    pilot, _, _ = resolve_solver(estimator, trained)
    pilot = without_choice(pilot, problem.shape, "em")
    pilot.solver = "em" if pilot.solver == "adam" else pilot.solver
    densities = []
    for _, parameters in Training(pilot, trained).path(_FLOORS):
        coefs, intercepts = problem.shape.to_lists(parameters)
        network = FittedNetwork(
            coefs, intercepts, problem.engine, estimator.n_jobs, problem.shape.family,
            parameters.variance,
        )  # fmt: skip
        densities.append(held.weights @ network.log_density(held.X, held.targets))
    least = max(densities) - _NEGLIGIBLE * held.weights.sum()
    return min(floor for floor, found in zip(_FLOORS, densities, strict=True) if found >= least)
