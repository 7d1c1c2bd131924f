"""Choice of the penalty and of the number of hidden units for rows in parts."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastem.engines import cheapest_engine
from fastem.estimators.choices import SMALL_PENALTY, Choice, with_values
from fastem.estimators.em_selection import (
    SizePath,
    grows_too_slowly,
    largest_that_gains,
    may_grow,
    needs_more_units,
    sizes_to_try,
)
from fastem.estimators.parts.divided_rows import PreparedParts
from fastem.estimators.parts.problem import PartsProblem
from fastem.estimators.parts.training import PartsFold, PartsTraining
from fastem.estimators.penalty_search import Found, PenaltySearch
from fastem.estimators.standardization import Standardization
from fastem.runtime import doing

_FEWEST_HELD_OUT = 4  # with fewer distinct rows, as in small tables, scores are too noisy


class Size(NamedTuple):
    """What `needs_more_units` reads of the rows.

    Attributes
    ----------
    n_distinct : int
        At most so many rows are distinct.
    unit : float
        Mean weight of a row.
    """

    n_distinct: int
    unit: float


def choose_on_parts(
    settings: Any,
    problem: PartsProblem,
    standardization: Standardization,
    parts: PreparedParts,
    *,
    grows: bool,
    alpha: float | None,
    fits: Callable[[PartsProblem], bool],
) -> Choice:
    """Choose the penalty, and the number of units, on a split of the rows of all parts.

    Parameters
    ----------
    settings : BaseFastEM
        Without "auto", except for `alpha` and the number of units.
    problem : PartsProblem
        With the first size, if the number of units is to be chosen.
    standardization : Standardization
    parts : PreparedParts
        With rows that are held out.
    grows : bool
        Whether to choose the number of units.
    alpha : float or None
        The penalty, if it is given.
    fits : callable
        Returns whether the work on a problem fits into the memory of the workers.
    """
    counts = problem.counts
    size = Size(counts.n_distinct, problem.features.weight / counts.size)

    def training_on(tried: PartsProblem) -> PartsTraining:
        quiet = with_values(settings, alpha=1.0, verbose=0)
        return PartsTraining(quiet, tried, standardization, parts, is_trial=True)

    def found_for(training: PartsTraining) -> Found:
        search = PenaltySearch(settings, training.shape, size.unit, alpha)
        return search.by_folds([PartsFold(training, settings)], [training.held_weights])

    training = training_on(problem)
    if not training.can_hold_out(1 if counts.hold_out.has_few_values else _FEWEST_HELD_OUT):
        alpha = SMALL_PENALTY * size.unit if alpha is None else alpha
        return Choice(
            with_values(settings, alpha=alpha), problem, problem.engine,
            {"alpha_": alpha, "solver_": settings.solver},
        )  # fmt: skip
    found = found_for(training)
    best = _choice(settings, problem, found, alpha)
    if not grows:
        return best
    sizes = SizePath(problem.features.weight)

    def candidates() -> Iterator[tuple[Choice, Found]]:
        for n_units in sizes_to_try(problem.shape):
            larger = resized_problem(problem, n_units)
            is_slow = grows_too_slowly(larger.engine, larger.shape, max(problem.n_rows))
            if not larger.engine.is_exact or is_slow or not fits(larger):
                return
            with doing("choosing the number of units"):
                found = found_for(training_on(larger))
            yield _choice(settings, larger, found, alpha), found

    needs_more = may_grow(settings) and needs_more_units(found, problem.shape, size)
    best = largest_that_gains(best, found, sizes, candidates() if needs_more else ())
    best.attributes["size_path_"] = sizes.columns()
    return best


def resized_problem(problem: PartsProblem, n_units: int) -> PartsProblem:
    """Return the problem for another number of hidden units."""
    shape = problem.shape._replace(hidden_layer_sizes=(n_units,))
    return problem._replace(shape=shape, engine=cheapest_engine(shape, max(problem.n_rows)))


def _choice(settings: Any, problem: PartsProblem, found: Found, given: float | None) -> Choice:
    attributes = {"alpha_": found.alpha, "solver_": settings.solver}
    if given is None:
        attributes["alpha_path_"] = found.path
    settings = with_values(settings, alpha=found.alpha)
    return Choice(settings, problem, problem.engine, attributes, found.start)
