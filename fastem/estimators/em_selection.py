"""Choice of the penalty and of the number of hidden units on rows that are held out."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastem.engines import Engine, Enumeration, Quadrature
from fastem.estimators.ascent import Problem
from fastem.estimators.choices import (
    SMALL_PENALTY,
    Choice,
    resized,
    resolve_solver,
    with_values,
)
from fastem.estimators.em_folds import Fold
from fastem.estimators.penalty_search import Found, PenaltySearch, path_of
from fastem.parameters import Array, Shape
from fastem.runtime import doing
from fastem.selection import split_rows
from fastem.sparse import SparseFeatures

FIRST_SIZE = 10
"""Units with which ``hidden_layer_sizes="auto"`` begins."""

_SIZES = (64,)
_SIZES_FOR_NUMBERS = 16, 32
_SLOWEST_GROWTH = 0.1  # seconds of an E-step, for outputs that are not classes
FEWEST_ROWS = 20  # with fewer rows, scores of held-out rows are too noisy
_MANY_ROWS, _FEW_FOLDS = 500, 3  # with so many rows, three of the five folds suffice
MOST_ROWS_IN_FOLDS = 5000
_SLOW_E_STEP = 0.02  # seconds; slower ones are repeated for one split only
_LARGEST_SHARE = 0.05  # parameters per row up to which leave-one-out is approximated
_LARGEST_LEVERAGE = 0.75
_LEAST_GAIN = 0.01  # relative, of a larger network
_FEWEST_ROWS_TO_GROW = 500
_SOLVED = 0.01  # nats per row; with a smaller loss, more units cannot gain
# The number of units limits the fit if the penalty per unit weight is at most the first of these
# values, or if rows per parameter or classes exceed the others.
_TINY_PENALTY, _ROWS_PER_PARAMETER, _MANY_CLASSES = 0.05, 20, 5


class _Selection:
    """Scores of penalties for one network.

    Parameters
    ----------
    settings : BaseFastEM
        Without "auto", except for `alpha`.
    problem : Problem
        Rows have positive weights.
    engine : Engine
        The engine that predicts.
    alpha : float, optional
        The only penalty to score. By default the penalties are those of the path, in units of the
        mean weight if weights are not numbers of rows.

    Attributes
    ----------
    size : int
        Number of rows; a row counts as often as it can be held out.
    n_distinct : int
    weight : float
        Summed weight.
    unit : float
        Mean weight of a row.
    alpha : float or None
    """

    def __init__(
        self, settings: Any, problem: Problem, engine: Engine, alpha: float | None = None
    ) -> None:
        self._settings, self._shown = with_values(settings, verbose=0), settings
        self.alpha = alpha
        counts = problem.weights if problem.counts is None else problem.counts
        split = split_rows(problem.X, problem.targets, counts)
        ratio = problem.weights[split.rows] / counts[split.rows]
        self._problem = problem.of_rows(split.rows)._replace(weights=split.weights * ratio)
        self._problem = self._problem._replace(counts=None, held_out=None)
        self._held = split.held * ratio
        self._engine, self.size, self.n_distinct = engine, split.size, len(split.rows)
        self.weight = float(self._problem.weights.sum())
        self.unit = self.weight / split.size

    def resized(self, settings: Any, problem: Problem, engine: Engine) -> "_Selection":
        """Return the same rows, divided in the same way, for another network."""
        other = copy.copy(self)
        other._settings, other._shown = with_values(settings, verbose=0), settings
        other._engine = engine
        other._problem = self._problem._replace(shape=problem.shape, engine=problem.engine)
        return other

    @property
    def can_hold_out(self) -> bool:
        """Whether the single split has rows; it has none if every class has a single row."""
        return bool(self._held[0].any())

    def best(self, *, single: bool) -> Found:
        """Return the best penalty, by a single split or in the best affordable way."""
        shape, engine = self._problem.shape, self._problem.engine
        seconds = engine.seconds(shape, len(self._problem.weights))
        is_fast = self._settings.solver != "adam" and engine.is_exact and seconds < _SLOW_E_STEP
        if single or not is_fast or self.size >= MOST_ROWS_IN_FOLDS:
            return self._by_folds(1)
        is_small = self.alpha is None and shape.n_parameters <= _LARGEST_SHARE * self.size
        is_dense = not isinstance(self._problem.X, SparseFeatures)
        if is_small and is_dense and shape.has_classes and _enumerates(engine, shape):
            found = self._by_leave_one_out()
            if found is not None:
                return found
        return self._by_folds(len(self._held) if self.size < _MANY_ROWS else _FEW_FOLDS)

    def _by_folds(self, n_folds: int) -> Found:
        shares = [held for held in self._held[:n_folds] if held.any()]
        folds = [self._fold(held) for held in shares]
        return self._penalties().by_folds(folds, [held[held > 0.0] for held in shares])

    def _penalties(self) -> PenaltySearch:
        return PenaltySearch(self._shown, self._problem.shape, self.unit, self.alpha)

    def _fold(self, held: Array) -> Fold:
        problem = self._problem
        weights = problem.weights - held
        trained = problem._replace(weights=np.where(weights > 1e-9 * problem.weights, weights, 0.0))
        trained = trained.of_rows(trained.weights > 0.0)
        tested = problem._replace(weights=held).of_rows(held > 0.0)
        return Fold(self._settings, trained, tested, self._engine)

    def _by_leave_one_out(self) -> Found | None:
        """Return the best penalty by approximate leave-one-out; None if it is not reliable."""
        fold = self._fold(np.zeros(len(self._problem.weights)))
        leverages: dict[float, float] = {}
        columns: dict[str, dict[float, float]] = {"effective_parameters": {}, "training": {}}

        def score(alpha: float) -> float:
            try:
                found = fold.leave_one_out(alpha, self.unit)
            except FloatingPointError:
                leverages[alpha] = np.inf
                return -np.inf
            leverages[alpha] = found.leverage
            columns["effective_parameters"][alpha] = found.effective_parameters
            columns["training"][alpha] = fold.training_score(alpha)
            return found.score

        scores = self._penalties().search(score)
        alpha = max(scores, key=scores.get)
        if not leverages[alpha] <= _LARGEST_LEVERAGE:
            return None
        path = path_of(scores, leave_one_out=scores, **columns)
        return Found(alpha, path, scores[alpha], np.nan, None)


def _enumerates(engine: Engine, shape: Any) -> bool:
    """Return whether gradients of single rows are sums over all configurations."""
    return shape.depth == 1 and isinstance(engine, (Enumeration, Quadrature)) and shape.first <= 12


def choose(
    estimator: Any,
    problem: Problem,
    *,
    grows: bool,
    alpha: float | None = None,
    is_exact: bool = False,
) -> Choice:
    """Replace every "auto" of an estimator for given rows.

    Parameters
    ----------
    estimator : BaseFastEM
    problem : Problem
        With the first size, if the number of units is to be chosen.
    grows : bool
        Whether to choose the number of units.
    alpha : float, optional
        Penalty to use in place of "auto": that of an earlier fit.
    is_exact : bool, default=False
        Whether to choose only among numbers of units that have an exact E-step.

    Returns
    -------
    choice : Choice
    """
    settings, problem, engine = resolve_solver(estimator, problem)
    if not isinstance(estimator.alpha, str):
        alpha = float(estimator.alpha)
    if alpha is not None and not grows:
        return _without_path(settings, problem, engine, alpha)
    kept = problem.of_rows(problem.weights > 0.0)
    selection = _Selection(settings, kept, engine, alpha)
    if selection.size < FEWEST_ROWS or not selection.can_hold_out:
        alpha = SMALL_PENALTY * selection.unit if alpha is None else alpha
        return _without_path(settings, problem, engine, alpha)
    found = selection.best(single=False)
    best = _with_path(settings, problem, engine, found, alpha)
    if not grows:
        return best
    sizes = SizePath(selection.weight)
    if may_grow(estimator) and needs_more_units(found, problem.shape, selection):
        if np.isnan(found.of_split):
            found = selection.best(single=True)
        larger = _larger(estimator, selection, best, is_exact=is_exact)
        best = largest_that_gains(best, found, sizes, larger)
    else:
        sizes.add(problem.shape, found)
    best.attributes["size_path_"] = sizes.columns()
    return best


def _without_path(settings: Any, problem: Problem, engine: Engine, alpha: float) -> Choice:
    """Return the choice of a network and a penalty that was not compared with others."""
    attributes = {"alpha_": alpha, "solver_": settings.solver}
    return Choice(with_values(settings, alpha=alpha), problem, engine, attributes)


def _with_path(
    settings: Any, problem: Problem, engine: Engine, found: Found, given: float | None
) -> Choice:
    """Return the choice of a network and its best penalty, or of the given one."""
    choice = _without_path(settings, problem, engine, found.alpha)
    if given is None:
        choice.attributes["alpha_path_"] = found.path
    return choice._replace(start=found.start)


class SizePath:
    """Numbers of hidden units that were compared, and their scores.

    Parameters
    ----------
    weight : float
        Summed weight of all rows.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._entries: list[tuple[float, ...]] = []

    def add(self, shape: Shape, found: Found) -> None:
        """Add the best result for a size."""
        training = float(found.path["training"][found.path["alpha"] == found.alpha][0])
        k = shape.n_parameters - (shape.output_shape[0] if shape.has_classes else 0)
        deviance = -2.0 * self._weight * training
        held_out = found.score if np.isnan(found.of_split) else found.of_split
        bic = deviance + k * np.log(self._weight)
        self._entries.append((shape.first, found.alpha, held_out, deviance + 2.0 * k, bic))

    def columns(self) -> dict[str, Array]:
        """Return the path as arrays of equal length."""
        names = "n_hidden", "alpha", "held_out", "aic", "bic"
        return dict(zip(names, map(np.array, zip(*self._entries, strict=True)), strict=True))


def may_grow(estimator: Any) -> bool:
    """Return whether neither the engine nor the starting values are given: they fix the size."""
    is_given = estimator.coefs_init is not None or estimator.intercepts_init is not None
    return isinstance(estimator.e_step, str) and estimator.e_step == "auto" and not is_given


def needs_more_units(found: Found, shape: Shape, selection: _Selection) -> bool:
    """Return whether the number of units, and not the noise, limits the fit to distinct rows."""
    size = selection.n_distinct
    if size < _FEWEST_ROWS_TO_GROW or (shape.has_classes and found.score > -_SOLVED):
        return False
    return (
        found.alpha <= _TINY_PENALTY * selection.unit
        or size >= _ROWS_PER_PARAMETER * shape.n_parameters
        or (shape.has_classes and shape.n_outputs > _MANY_CLASSES)
    )


def sizes_to_try(shape: Shape) -> tuple[int, ...]:
    """Return the numbers of units that are tried after the first, in ascending order."""
    return _SIZES if shape.has_classes else _SIZES_FOR_NUMBERS


def grows_too_slowly(engine: Engine, shape: Shape, n_samples: int) -> bool:
    """Return whether the E-step of a larger network takes too long to be tried."""
    if shape.has_classes:
        return False
    return not engine.is_exact or engine.seconds(shape, n_samples) > _SLOWEST_GROWTH


def largest_that_gains(
    best: Choice, found: Found, sizes: SizePath, larger: Iterable[tuple[Choice, Found]]
) -> Choice:
    """Return the choice of the last size in a row that gains on the single split.

    Parameters
    ----------
    best : Choice
        Of the first size.
    found : Found
        Of the first size, with its score on the single split.
    sizes : SizePath
        All sizes that are tried are added.
    larger : iterable of tuple of Choice and Found
        Of ascending sizes. Every one is computed when it is needed.
    """
    sizes.add(best.problem.shape, found)
    of_split = found.of_split
    for choice, candidate in larger:
        sizes.add(choice.problem.shape, candidate)
        if candidate.of_split < of_split + _LEAST_GAIN * abs(of_split):
            break
        of_split, best = candidate.of_split, choice
    return best


def _larger(
    estimator: Any, selection: _Selection, first: Choice, *, is_exact: bool
) -> Iterator[tuple[Choice, Found]]:
    """Yield the best choices for larger networks."""
    for n_units in sizes_to_try(first.problem.shape):
        larger = resized(estimator, first.problem, n_units, first.engine)
        if is_exact and not larger.engine.is_exact:
            return
        settings, larger, engine = resolve_solver(estimator, larger)
        if grows_too_slowly(larger.engine, larger.shape, len(larger.weights)):
            return
        with doing("choosing the number of units"):
            found = selection.resized(settings, larger, engine).best(single=True)
        yield _with_path(settings, larger, engine, found, selection.alpha), found
