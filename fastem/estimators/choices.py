"""Values that stand for "auto": the solver, the M-step, the penalty and the number of units."""

import copy
from typing import Any, NamedTuple

from fastem.engines import Engine, Sampling, cheapest_engine, shape_of_plan
from fastem.estimators.ascent import Problem
from fastem.parameters import Parameters, Shape

SMALL_PENALTY = 0.01
"""Penalty of ``alpha="auto"`` with too few rows to choose one."""

_FIRST_OF_CLASSES, _FIRST_OF_NUMBERS = 0.15, 0.5
# A fit takes this many E-steps. The first M-steps are complete; quasi-Newton steps follow.
_E_STEPS, _M_STEPS = 200, 20
_SECONDS_PER_FLOP = 1e-10
_FEW_SECONDS = 5.0  # an exact fit that is faster is not replaced by mini-batches
_SAMPLES = 100  # per row of a mini-batch
_PASSES = 50  # epochs of a typical fit by mini-batches
_SLOW_PREDICTION = 2.0  # seconds; samples predict in place of an exact sum that takes longer
_SECONDS_OF_NEWTON = 0.02  # of a step; more only in proportion to the E-step
_SECONDS_OF_BOUND = 0.5  # of its matrix; L-BFGS needs none

# Values of learning_rate_init="auto". The gradient M-step multiplies a sum over rows by its rate.
# The rate of Adam is about the length of a step. In `partial_fit` it is constant. In `fit` it falls
# from the last of these values to zero, which ends closer to the optimum in fewer epochs.
_RATE_OF_GRADIENT_STEPS = 0.005
_RATE_OF_STREAMS = 0.05
RATE_OF_FIRST_EPOCH = 0.2
# Values of batch_size="auto": the largest in `partial_fit`, otherwise a sixteenth of the rows.
_BATCH_SIZES = 50, 200


class Choice(NamedTuple):
    """What a fit uses in place of "auto".

    Attributes
    ----------
    settings : BaseFastEM
        A copy of the estimator whose `solver`, `m_step` and `alpha` are not "auto".
    problem : Problem
        With the engine that trains.
    engine : Engine
        The engine that predicts.
    attributes : dict
        Fitted attributes that describe the choice.
    start : Parameters or None
        Starting values in the units of X and y, if the choice has found some.
    """

    settings: Any
    problem: Problem
    engine: Engine
    attributes: dict[str, Any]
    start: Parameters | None = None


def with_values(estimator: Any, **values: Any) -> Any:
    """Return a copy of an estimator with other parameters."""
    settings = copy.copy(estimator)
    for name, value in values.items():
        setattr(settings, name, value)
    return settings


def first_penalty(shape: Shape) -> float:
    """Return the penalty that is tried first, and that streams of rows have."""
    return _FIRST_OF_CLASSES if shape.has_classes else _FIRST_OF_NUMBERS


def known_penalty(estimator: Any, shape: Shape) -> float:
    """Return `alpha` if it is a number, else that of an earlier fit, else the first penalty."""
    if isinstance(estimator.alpha, str):
        return float(getattr(estimator, "alpha_", first_penalty(shape)))
    return float(estimator.alpha)


def without_choice(estimator: Any, shape: Shape, solver: str) -> Any:
    """Return a copy of an estimator that uses fixed values in place of "auto"."""
    return with_values(
        estimator,
        solver=solver if estimator.solver == "auto" else estimator.solver,
        m_step="newton" if estimator.m_step == "auto" else estimator.m_step,
        alpha=known_penalty(estimator, shape),
    )


def resolve_solver(estimator: Any, problem: Problem) -> tuple[Any, Problem, Engine]:
    """Replace ``solver="auto"`` and ``m_step="auto"``.

    The solver is EM, unless a fit by exact E-steps takes long and mini-batches over samples of the
    hidden states are much faster. Newton's M-step is replaced by the bound if it takes much longer
    than the E-step, as it does with hundreds of features. With thousands of features, the matrix of
    the bound takes longer than a whole fit by L-BFGS, which is then the solver.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem

    Returns
    -------
    settings : BaseFastEM
    problem : Problem
    engine : Engine
        The engine that predicts.
    """
    shape, n_samples, engine = problem.shape, len(problem.weights), problem.engine
    solver = estimator.solver
    if solver == "auto":
        solver = "em"
        if isinstance(estimator.e_step, str) and estimator.e_step == "auto" and shape.has_classes:
            batches = Sampling(_SAMPLES)
            if _prefers_batches(shape, n_samples, engine, batches):
                solver = "adam"
                # a seed is drawn only if it is used: a RandomState would change
                batches = batches.seeded(estimator.random_state, engine)
                problem = problem._replace(engine=batches)
                if engine.seconds(shape, n_samples) > _SLOW_PREDICTION:
                    engine = Sampling().seeded(estimator.random_state, batches)
    m_step = estimator.m_step
    if m_step == "auto":
        if solver == "em" and estimator.solver == "auto" and engine.is_exact:
            solver = exact_solver(shape, n_samples)
        m_step = "newton"
        if _newton_seconds(shape, n_samples) > max(
            _SECONDS_OF_NEWTON, 5.0 * engine.seconds(shape, n_samples)
        ):
            m_step = "bound"
    return with_values(estimator, solver=solver, m_step=m_step), problem, engine


def _prefers_batches(shape: Shape, n_samples: int, engine: Engine, batches: Engine) -> bool:
    """Return whether a fit by mini-batches is much faster than one by EM."""
    if not engine.is_exact:
        return True
    seconds = _E_STEPS * engine.seconds(shape, n_samples)
    seconds += _M_STEPS * _output_flops(shape) * _SECONDS_PER_FLOP
    by_batches = _PASSES * batches.seconds(shape, n_samples)
    return seconds > max(_FEW_SECONDS, 2.0 * by_batches)


def _output_flops(shape: Shape) -> float:
    """Return the cost of Newton's step for the output layer by enumeration."""
    g, m = shape.n_outputs, min(shape.last, 60)
    return g**2 * 2.0**m * (2.0 + m / 8.0)


def _newton_seconds(shape: Shape, n_samples: int) -> float:
    p, m = shape.n_inputs, shape.first
    return (2.0 * n_samples * p**2 * m + 0.7 * p**3 * m) * _SECONDS_PER_FLOP


def exact_solver(shape: Shape, n_samples: int) -> str:
    """Return the solver for exact E-steps: L-BFGS if the matrix of the bound takes long."""
    p = shape.n_inputs
    seconds_of_bound = (n_samples * p**2 + p**3 / 3.0) * _SECONDS_PER_FLOP
    return "lbfgs" if seconds_of_bound > _SECONDS_OF_BOUND else "em"


def resized(estimator: Any, problem: Problem, n_units: int, earlier: Engine | None) -> Problem:
    """Return the problem for another number of hidden units."""
    shape = problem.shape._replace(hidden_layer_sizes=(n_units,))
    engine = cheapest_engine(shape_of_plan(shape, problem.X), len(problem.weights))
    return problem._replace(shape=shape, engine=engine.seeded(estimator.random_state, earlier))


def learning_rate(estimator: Any) -> float:
    """Return `learning_rate_init` as a number; for Adam, the rate of `partial_fit`."""
    if not isinstance(estimator.learning_rate_init, str):
        return float(estimator.learning_rate_init)
    return _RATE_OF_STREAMS if estimator.solver == "adam" else _RATE_OF_GRADIENT_STEPS


def rows_per_e_step(estimator: Any, n_samples: int, *, streams: bool = False) -> int:
    """Return the number of rows of one E-step: all rows, or a mini-batch.

    ``streams`` is True in `partial_fit`.
    """
    if estimator.solver != "adam":
        return n_samples
    smallest, largest = _BATCH_SIZES
    if not isinstance(estimator.batch_size, str):
        return int(estimator.batch_size)
    return largest if streams else min(max(n_samples // 16, smallest), largest)
