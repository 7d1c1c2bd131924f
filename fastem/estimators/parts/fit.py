"""A fit to rows in parts."""

from typing import Any

from fastem.estimators.checkpoints import Checkpoints
from fastem.estimators.choices import (
    Choice,
    exact_solver,
    known_penalty,
    with_values,
)
from fastem.estimators.em_selection import MOST_ROWS_IN_FOLDS, choose
from fastem.estimators.hyperparameters import check_em_parameters
from fastem.estimators.noise import MOST_ROWS, needs_rows, variance_floor
from fastem.estimators.parts.divided_rows import DividedRows, PreparedParts
from fastem.estimators.parts.part import PartPreparation, Work, bytes_of_part, prepare_part
from fastem.estimators.parts.problem import PartsProblem, learn_problem
from fastem.estimators.parts.sample import sample_rows
from fastem.estimators.parts.selection import (
    choose_on_parts,
    resized_problem,
)
from fastem.estimators.parts.summary import summary_of_part
from fastem.estimators.parts.training import PartsTraining, m_step_in_use
from fastem.estimators.rollback import unchanged_on_failure
from fastem.estimators.standardization import Standardization, warn_of_constant_outputs
from fastem.runtime import doing, format_bytes


def fit_parts(
    model: Any,
    rows: DividedRows,
    arguments: tuple[Any, ...],
    checkpoints: Checkpoints | None = None,
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
        _check_parameters(model)
        resumes = model.warm_start and hasattr(model, "coefs_")
        with doing("reading the partitions"):
            found = rows.map("fastem-scan", summary_of_part, _unfitted(model))
        problem = learn_problem(model, found, rows.n_threads, resumes=resumes)
        model._forget_choices(problem.shape, resumes=resumes)
        if problem.shape.n_variances > 0:
            problem = _with_variance_floor(model, problem, rows, resumes=resumes)
        settings = _settings(model, problem, rows.n_threads)
        standardization = problem.standardization(features=model.standardize)
        choice, parts = _choose(model, settings, problem, standardization, rows, resumes=resumes)
        training = PartsTraining(choice.settings, choice.problem, standardization, parts)
        training.checkpoints = checkpoints
        model._ascend(training, choice, arguments, resumes=resumes, X_fit=None)


def _check_parameters(model: Any) -> None:
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
    """Return a copy of the model in which neither solver nor M-step is "auto"."""
    n_rows = -(-sum(problem.n_rows) // n_threads)
    m_step, solver = model.m_step, model.solver
    if solver == "auto":
        solver = exact_solver(problem.shape, n_rows) if m_step == "auto" else "em"
    return with_values(model, solver=solver, m_step="bound" if m_step == "auto" else m_step)


def _choose(
    model: Any,
    settings: Any,
    problem: PartsProblem,
    standardization: Standardization,
    rows: DividedRows,
    *,
    resumes: bool,
) -> tuple[Choice, PreparedParts]:
    """Return the choice of penalty and units, and the prepared parts.

    All rows come to this process for the choice if they are few.
    """
    grows = isinstance(model.hidden_layer_sizes, str) and not resumes
    is_given = resumes or not isinstance(model.alpha, str)
    alpha = known_penalty(model, problem.shape) if is_given else None
    n_rows, hold_out = problem.counts.n_rows, None
    attributes = {"alpha_": alpha, "solver_": settings.solver}
    if is_given and not grows:
        settings = with_values(settings, alpha=alpha)
    elif n_rows <= MOST_ROWS_IN_FOLDS:
        sample = sample_rows(_reader(model), rows, problem, n_rows)
        local = choose(model, sample, grows=grows, alpha=alpha, is_exact=True)
        sizes = local.problem.shape.hidden_layer_sizes
        if sizes != problem.shape.hidden_layer_sizes:
            problem = resized_problem(problem, *sizes)
        attributes = {**local.attributes, "solver_": settings.solver}
        settings = with_values(settings, alpha=local.settings.alpha)
    else:
        hold_out = problem.counts.hold_out
    n_bytes = _checked_memory(settings, problem, rows.memory)
    how = PartPreparation(_reader(model), problem.shape, standardization, problem.factors, hold_out)
    with doing("preparing the partitions"):
        parts = rows.prepare("fastem-prepare", prepare_part, how, n_bytes=n_bytes)
    if hold_out is None:
        return Choice(settings, problem, problem.engine, attributes), parts

    def fits(larger: PartsProblem) -> bool:
        return max(_bytes_of_parts(settings, larger)) <= rows.memory

    choice = choose_on_parts(
        settings, problem, standardization, parts, grows=grows, alpha=alpha, fits=fits
    )
    return choice, parts


def _bytes_of_parts(settings: Any, problem: PartsProblem) -> list[int]:
    """Return the memory of every prepared part and of its E-steps."""
    work = Work(problem.shape, problem.engine, m_step_in_use(settings))
    return [bytes_of_part(work, n) for n in problem.n_rows]


def _checked_memory(settings: Any, problem: PartsProblem, memory: float) -> list[int]:
    """Return the memory of every part; raise ValueError if one exceeds that of a worker."""
    n_bytes = _bytes_of_parts(settings, problem)
    for number, needed in enumerate(n_bytes, start=1):
        if needed > memory:
            what = f"E-step on {problem.n_rows[number - 1]} rows"
            raise memory_error(number, len(n_bytes), what, needed, memory)
    return n_bytes
