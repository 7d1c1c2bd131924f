"""A fit to rows in parts."""

from typing import Any

from fastem.estimators.checkpoints import Checkpoints
from fastem.estimators.choices import (
    Choice,
    exact_solver,
    known_penalty,
    with_values,
)
from fastem.estimators.hyperparameters import check_em_parameters
from fastem.estimators.noise import MOST_ROWS, needs_rows, variance_floor
from fastem.estimators.parts.divided_rows import DividedRows
from fastem.estimators.parts.part import Preparation, bytes_of_rows, bytes_of_work, prepare_part
from fastem.estimators.parts.problem import PartsProblem, learn_problem
from fastem.estimators.parts.sample import sample_rows
from fastem.estimators.parts.summary import summary_of_part
from fastem.estimators.parts.training import PartsTraining
from fastem.estimators.rollback import unchanged_on_failure
from fastem.estimators.standardization import warn_of_constant_outputs
from fastem.runtime import doing, format_bytes


def fit_parts(
    model: Any, rows: DividedRows, arguments: tuple, checkpoints: Checkpoints | None = None
) -> None:
    """Fit a model to rows in parts, and set its fitted attributes.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
    rows : DividedRows
    arguments : tuple (X, y, sample_weight)
        For callbacks.
    checkpoints : Checkpoints, optional
        Writes iterates of the ascent to a file.

    Raises
    ------
    ValueError, DivergenceError, KeyboardInterrupt
        As in `fit` of the model. ValueError also if a part does not fit into memory.

    Warns
    -----
    ConvergenceWarning, RuntimeWarning
        As in `fit` of the model.
    """
    with unchanged_on_failure(model):
        check_em_parameters(model)
        check_parts_parameters(model)
        resumes = model.warm_start and hasattr(model, "coefs_")
        with doing("reading the partitions"):
            found = rows.map("fastem-scan", summary_of_part, _unfitted(model))
        problem = learn_problem(model, found, rows.n_threads, resumes=resumes)
        model._forget_choices(problem.shape, resumes=resumes)
        if problem.shape.n_variances > 0:
            problem = _with_variance_floor(model, problem, rows, resumes=resumes)
        settings = _settings(model, problem, rows.n_threads)
        choice = Choice(
            settings, problem, problem.engine,
            {"alpha_": float(settings.alpha), "solver_": settings.solver},
        )  # fmt: skip
        training = _training(model, choice, rows)
        training.checkpoints = checkpoints
        model._ascend(training, choice, arguments, resumes=resumes, X_fit=None)


def check_parts_parameters(model: Any) -> None:
    """Check the parameters that have fewer values for rows in parts.

    Raises
    ------
    ValueError
        If the solver or the M-step needs all rows at once.
    """
    if model.solver == "adam":
        raise ValueError(
            "solver='adam' trains by mini-batches: call partial_fit, or use solver='em' or "
            "'lbfgs' for fit."
        )
    if model.m_step == "newton":
        raise ValueError(
            "m_step='newton' needs several passes over the rows in an iteration; use "
            "m_step='bound', which needs one."
        )


def _with_variance_floor(
    model: Any, problem: PartsProblem, rows: DividedRows, *, resumes: bool
) -> PartsProblem:
    """Return the problem with a lower bound of the noise variance, which the model stores."""
    warn_of_constant_outputs(problem.extremes, problem.outputs)
    sample = None
    if needs_rows(model, resumes=resumes):
        sample = sample_rows(_reader(model), rows, problem, MOST_ROWS)
    model.variance_floor_ = variance_floor(model, sample, resumes=resumes, streams=False)
    return problem._replace(shape=problem.shape._replace(variance_floor=model.variance_floor_))


def _reader(model: Any) -> Any:
    """Return a copy of a model with the attributes by which it checks rows."""
    reader = _unfitted(model)
    for name in ("classes_", "family_", "n_features_in_", "feature_names_in_"):
        if hasattr(model, name):
            setattr(reader, name, getattr(model, name))
    return reader


def memory_error(number: int, n_parts: int, what: str, needed: int, memory: float) -> ValueError:
    """Return the error for a part whose work does not fit into the memory of a worker.

    Parameters
    ----------
    number : int
        Of the part, from 1 on.
    n_parts : int
    what : str
        What needs the memory.
    needed, memory : bytes
    """
    return ValueError(
        f"Partition {number} of {n_parts} is too large: its {what} needs {format_bytes(needed)}, "
        f"and a worker has {format_bytes(int(memory))}. Use smaller partitions, fewer hidden "
        "units, or workers with more memory."
    )


def _unfitted(model: Any) -> Any:
    """Return a copy of a model without fitted attributes."""
    parameters = model.get_params(deep=False)
    parameters["random_state"] = None  # a generator would be copied to every part
    return type(model)(**parameters)


def _settings(model: Any, problem: PartsProblem, n_threads: int) -> Any:
    """Return a copy of the model without "auto"."""
    n_rows = -(-sum(problem.n_rows) // n_threads)
    m_step, solver = model.m_step, model.solver
    if solver == "auto":
        solver = exact_solver(problem.shape, n_rows) if m_step == "auto" else "em"
    if m_step == "auto":
        m_step = "bound"
    alpha = known_penalty(model, problem.shape)
    return with_values(model, solver=solver, m_step=m_step, alpha=alpha)


def _training(model: Any, choice: Choice, rows: DividedRows) -> PartsTraining:
    settings, problem = choice.settings, choice.problem
    standardization = problem.standardization(features=model.standardize)
    shape, engine = problem.shape, problem.engine
    m_step = settings.m_step if settings.solver == "em" else "gradient"
    n_bytes = [
        bytes_of_rows(shape, n) + bytes_of_work(shape, engine, m_step, n) for n in problem.n_rows
    ]
    for number, needed in enumerate(n_bytes, start=1):
        if needed > rows.memory:
            what = f"E-step on {problem.n_rows[number - 1]} rows"
            raise memory_error(number, len(n_bytes), what, needed, rows.memory)
    how = Preparation(_reader(model), shape, engine, standardization, problem.factors, m_step)
    with doing("preparing the partitions"):
        parts = rows.prepare("fastem-prepare", prepare_part, how, n_bytes=n_bytes)
    return PartsTraining(settings, problem, standardization, parts)
