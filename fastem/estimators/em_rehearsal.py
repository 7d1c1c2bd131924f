"""A short fit that compiles the kernels of a long one."""

import copy
import math
import warnings
from typing import Any, NamedTuple

from fastem.estimators.choices import SMALL_PENALTY, resolve_solver
from fastem.runtime import worth_sharing

_FEWEST_UNITS, _MOST_ROWS = 12, 1000
# Rows times configurations above which an E-step by enumeration is shared among threads. Other
# kernels run then.
_TERMS_OF_SHARED_WORK = 5_000_000


class Rehearsal(NamedTuple):
    """Parameters and size of a short fit.

    Attributes
    ----------
    parameters : dict
        Parameters of the estimator in place of "auto", and fewer hidden units.
    n_rows : int
        Number of rows that suffices; 0 if any number does.
    """

    parameters: dict[str, Any]
    n_rows: int


def rehearsal_for(estimator: Any, X: Any, y: Any) -> Rehearsal:
    """Return a short fit that runs the kernels of a fit to all rows.

    The engine, the solver and the M-step are those that the fit to all rows selects. The hidden
    layers have at most 12 units, or as many more as an E-step needs to be shared among threads.

    Parameters
    ----------
    estimator : BaseFastEM
        It is not changed.
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,)

    Raises
    ------
    ValueError
        As in `fit`.
    """
    settings = copy.copy(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit issues them
        problem = settings._check_problem(X, y, None, resumes=False)
        settings, problem, _ = resolve_solver(settings, problem)
    shape, engine, n_samples = problem.shape, problem.engine, len(problem.weights)
    parameters = {"e_step": engine, "solver": settings.solver, "m_step": settings.m_step}
    if isinstance(estimator.alpha, str):
        parameters["alpha"] = SMALL_PENALTY
    if shape.n_variances > 0 and isinstance(estimator.variance_floor, str):
        parameters["variance_floor"] = 0.05
    n_rows, most = 0, _FEWEST_UNITS
    is_shared = worth_sharing(engine.seconds(shape, n_samples))
    if shape.has_classes and settings.solver == "em" and is_shared:
        n_rows = min(n_samples, _MOST_ROWS)
        most = max(most, math.ceil(math.log2(_TERMS_OF_SHARED_WORK / n_rows)))
    if not isinstance(estimator.hidden_layer_sizes, str):
        sizes = shape.hidden_layer_sizes
        parameters["hidden_layer_sizes"] = tuple(min(size, most) for size in sizes)
    return Rehearsal(parameters, n_rows)
