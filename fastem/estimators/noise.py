"""Choice of the lower bound of the noise variance, on rows that are held out."""

import hashlib
from typing import Any

import numpy as np

from fastem.estimators.em_training import Problem, Training
from fastem.estimators.inference import FittedNetwork
from fastem.estimators.progress import Silent
from fastem.parameters import Parameters

# Used if there are too few rows to choose the bound. All bounds are shares of the variance of y.
_USUAL_FLOOR = 0.05
_LEAST_ROWS = 50
_SHARE_HELD_OUT = 0.2
_ITERATIONS = 200
# A smaller bound would be chosen only because values of y repeat. Outliers would then have a
# negligible density.
_FLOORS = np.array([0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8])


def variance_floor(
    estimator: Any, problem: Problem, kind: type[Training] | None, *, resumes: bool
) -> float:
    """Return the parameter `variance_floor` as a number, a share of the variance of y.

    Parameters
    ----------
    estimator : FastEMRegressor
    problem : Problem
    kind : class of Training, or None
        None in `partial_fit`, whose rows are too few to choose the bound.
    resumes : bool
        Whether to keep the bound of the earlier fit.
    """
    if not isinstance(estimator.variance_floor, str):
        return float(estimator.variance_floor)
    if resumes and hasattr(estimator, "variance_floor_"):
        return estimator.variance_floor_
    return _USUAL_FLOOR if kind is None else _choose(estimator, problem, kind)


def _choose(estimator: Any, problem: Problem, kind: type[Training]) -> float:
    """Return the lower bound of the noise variance under which held-out rows are most likely.

    A model is trained on four fifths of the rows. Its noise variances are raised to each of several
    candidates in turn. The candidate with the highest log-density of the other rows is returned.
    The maximum likelihood estimate of the variance is too small if the network has many weights per
    row, or if y has outliers.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem
    kind : class of Training

    Returns
    -------
    floor : float
        As a share of the variance of y. 0.05 if fewer than 50 different rows have weight.
    """
    problem = problem.of_rows(problem.weights > 0.0)
    numbers = _numbers_of_rows(problem)
    if len(np.unique(numbers)) < _LEAST_ROWS:
        return _USUAL_FLOOR
    is_held = numbers < _SHARE_HELD_OUT
    held = problem.of_rows(is_held)
    shape = problem.shape._replace(variance_floor=float(_FLOORS[0]))
    trained = problem.of_rows(~is_held)._replace(shape=shape)
    training = kind(estimator, trained, max_iter=_ITERATIONS)
    ascent = training.best_of_starts(Silent(), 1)
    folded = ascent.standardization.fold(shape.unpack(ascent.theta))
    unit = ascent.standardization.output_scale**2

    def held_out_density(floor: float) -> float:
        raised = folded._replace(variance=np.maximum(folded.variance, floor * unit))
        network = _network(estimator, raised, problem)
        return float(held.weights @ network.log_density(held.X, held.targets))

    return float(_FLOORS[np.argmax([held_out_density(floor) for floor in _FLOORS])])


def _numbers_of_rows(problem: Problem) -> np.ndarray:
    """Return a pseudorandom number in [0, 1) for every row, from its values only.

    Equal rows are held out together. The choice depends neither on the order of the rows nor on
    whether a row is repeated or has a weight.
    """
    values = np.ascontiguousarray(np.hstack([problem.X, problem.targets]))
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values]
    return np.frombuffer(b"".join(digests), dtype="<u8") / 2.0**64


def _network(estimator: Any, parameters: Parameters, problem: Problem) -> FittedNetwork:
    coefs, intercepts = problem.shape.to_lists(parameters)
    return FittedNetwork(
        coefs, intercepts, problem.engine, estimator.n_jobs, problem.shape.family,
        parameters.variance,
    )  # fmt: skip
