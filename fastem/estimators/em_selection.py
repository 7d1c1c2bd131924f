"""Choice of the penalty and of the number of hidden units on rows that are held out."""

import copy
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fastem.engines import Engine, Enumeration, Quadrature
from fastem.estimators.ascent import Problem
from fastem.estimators.choices import (
    SMALL_PENALTY,
    Choice,
    first_penalty,
    resized,
    resolve_solver,
    with_values,
)
from fastem.estimators.em_epochs import EpochTraining
from fastem.estimators.em_training import Training
from fastem.estimators.inference import FittedNetwork
from fastem.oracle import row_gradients
from fastem.parameters import Array, Parameters
from fastem.runtime import DivergenceError
from fastem.selection import LeaveOneOut, largest_good, leave_one_out, search, split_rows
from fastem.sparse import SparseFeatures

FIRST_SIZE = 10
"""Units with which ``hidden_layer_sizes="auto"`` begins."""

_SIZES = (64,)
_SIZES_FOR_NUMBERS = 16, 32
_SLOWEST_GROWTH = 0.1  # seconds of an E-step, for outputs that are not classes
_FEWEST_ROWS = 20  # with fewer rows, leave-one-out says nothing
_MANY_ROWS, _FEW_FOLDS = 500, 3  # with so many rows, three of the five folds suffice
_MOST_ROWS_IN_FOLDS = 5000
_SLOW_E_STEP = 0.02  # seconds; slower ones are repeated for one split only
_LARGEST_SHARE = 0.05  # parameters per row up to which leave-one-out is approximated
_LARGEST_LEVERAGE = 0.75
_LEAST_GAIN = 0.01  # relative, of a larger network
_TINY_PENALTY = 0.05  # at most: the number of units limits the fit
_FEWEST_ROWS_TO_GROW = 500
_SOLVED = 0.01  # nats per row that are left at most: more units cannot gain
_ROWS_PER_PARAMETER = 20  # at least: the same
_MANY_CLASSES = 5


class _Fold:
    """A network on the training rows of a split, followed along a path of penalties.

    Parameters
    ----------
    settings : BaseFastEM
    trained, held : Problem
    engine : Engine
        The engine that predicts.
    """

    def __init__(self, settings: Any, trained: Problem, held: Problem, engine: Engine) -> None:
        kind = EpochTraining if settings.solver == "adam" else Training
        self._training = kind(with_values(settings, alpha=1.0), trained)
        self._held, self._engine, self._n_jobs = held, engine, settings.n_jobs
        self._random_state = check_random_state(copy.deepcopy(settings.random_state))
        self._by_epochs = settings.solver == "adam"
        self._base: Array | None = None
        self._solutions: dict[float, Array] = {}

    def solve(self, alpha: float) -> Array:
        """Return the parameters under a penalty, on standardised features.

        EM begins at the solution under the penalty that is closest. Runs by mini-batches all begin
        at the parameters of one longer run, because later ones would gain from further epochs.
        """
        training = self._training
        if self._solutions and not self._by_epochs:
            last = min(self._solutions, key=lambda other: abs(np.log(other / alpha)))
            theta = self._solutions[last]
        elif self._base is None:
            theta = training.start(self._random_state)
            training.model.set_penalty(alpha)
            theta = training.settled(theta, self._random_state)
            theta = training.follow(theta, alpha, self._random_state, begins=True)
            self._base = theta
        else:
            theta = self._base
        if self._by_epochs or self._solutions:
            theta = training.follow(theta, alpha, self._random_state)
        self._solutions[alpha] = theta
        return theta

    def log_density(self, alpha: float) -> Array:
        """Return the log-density of every held-out row under a penalty, in nats."""
        self.solve(alpha)
        held, parameters = self._held, self.parameters(alpha)
        coefs, intercepts = held.shape.to_lists(parameters)
        network = FittedNetwork(
            coefs, intercepts, self._engine, self._n_jobs, held.shape.family, parameters.variance
        )
        return network.log_density(held.X, held.targets)

    def parameters(self, alpha: float) -> Parameters:
        """Return the parameters found under a penalty, in the units of X and y."""
        return self._training.folded(self._solutions[alpha])

    def training_score(self, alpha: float) -> float:
        """Return the mean log-likelihood of the training rows, in nats."""
        model, theta = self._training.model, self._solutions[alpha]
        return -self._training.loss(model.objective(theta) + model.penalty(theta))

    def leave_one_out(self, alpha: float) -> LeaveOneOut:
        """Return approximate leave-one-out scores of the training rows under a penalty."""
        theta, training = self.solve(alpha), self._training
        rows, shape = training.rows, training.shape
        gradients = row_gradients(Enumeration(), rows, shape, shape.unpack(theta), 1)
        _, statistics = training.model.expect(theta)
        penalty = alpha * shape.penalty_weights()
        return leave_one_out(gradients, statistics.log_likelihood, rows.weights, penalty)


class _Found(NamedTuple):
    """The best penalty for a network, and the path that led to it.

    Attributes
    ----------
    alpha : float
    path : dict of arrays
    score : float
        Mean log-likelihood of held-out rows, in nats.
    of_split : float
        The same for the rows of the single split only; NaN if they were not scored.
    start : Parameters or None
        Parameters of the single split under the penalty.
    """

    alpha: float
    path: dict[str, Array]
    score: float
    of_split: float
    start: Parameters | None


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
    """

    def __init__(self, settings: Any, problem: Problem, engine: Engine) -> None:
        self._settings = with_values(settings, verbose=0)
        counts = problem.weights if problem.counts is None else problem.counts
        split = split_rows(problem.X, problem.targets, counts)
        ratio = problem.weights[split.rows] / counts[split.rows]
        self._problem = problem.of_rows(split.rows)._replace(weights=split.weights * ratio)
        self._problem = self._problem._replace(counts=None, held_out=None)
        self._held = split.held * ratio
        self._engine, self.size = engine, split.size

    def best(self, *, single: bool) -> _Found:
        """Return the best penalty, by a single split or in the best affordable way."""
        shape, engine = self._problem.shape, self._problem.engine
        seconds = engine.seconds(shape, len(self._problem.weights))
        is_fast = self._settings.solver != "adam" and engine.is_exact and seconds < _SLOW_E_STEP
        if single or not is_fast or self.size >= _MOST_ROWS_IN_FOLDS:
            return self._by_folds(1)
        is_small = shape.n_parameters <= _LARGEST_SHARE * self.size
        is_dense = not isinstance(self._problem.X, SparseFeatures)
        if is_small and is_dense and shape.has_classes and _enumerates(engine, shape):
            found = self._by_leave_one_out()
            if found is not None:
                return found
        return self._by_folds(len(self._held) if self.size < _MANY_ROWS else _FEW_FOLDS)

    def _by_folds(self, n_folds: int) -> _Found:
        shares = [held for held in self._held[:n_folds] if held.any()]
        folds = [self._fold(held) for held in shares]
        weights = np.concatenate([held[held > 0.0] for held in shares])
        n_first = np.count_nonzero(shares[0])
        by_row: dict[float, Array] = {}
        training: dict[float, float] = {}
        failures: list[FloatingPointError] = []

        def score(alpha: float) -> float:
            try:
                by_row[alpha] = np.concatenate([fold.log_density(alpha) for fold in folds])
            except FloatingPointError as error:
                failures.append(error)
                return -np.inf
            training[alpha] = float(np.mean([fold.training_score(alpha) for fold in folds]))
            return float(np.average(by_row[alpha], weights=weights))

        first, coarse = first_penalty(self._problem.shape), self._settings.solver == "adam"
        scores = search(score, first, coarse=coarse)
        if not by_row:
            raise DivergenceError(
                f"No penalty of alpha='auto' has a finite objective: {failures[0]} Use smaller "
                "coefs_init, standardize=True, or a number as alpha."
            ) from failures[0]
        alpha = largest_good(by_row, weights)
        path = _path(scores, cross_validation=scores, training=training)
        of_split = float(np.average(by_row[alpha][:n_first], weights=weights[:n_first]))
        start = folds[0].parameters(alpha) if len(folds) == 1 else None
        return _Found(alpha, path, scores[alpha], of_split, start)

    def _fold(self, held: Array) -> _Fold:
        problem = self._problem
        weights = problem.weights - held
        trained = problem._replace(weights=np.where(weights > 1e-9 * problem.weights, weights, 0.0))
        trained = trained.of_rows(trained.weights > 0.0)
        tested = problem._replace(weights=held).of_rows(held > 0.0)
        return _Fold(self._settings, trained, tested, self._engine)

    def _by_leave_one_out(self) -> _Found | None:
        """Return the best penalty by approximate leave-one-out; None if it is not reliable."""
        fold = self._fold(np.zeros(len(self._problem.weights)))
        leverages: dict[float, float] = {}
        columns: dict[str, dict[float, float]] = {"effective_parameters": {}, "training": {}}

        def score(alpha: float) -> float:
            try:
                found = fold.leave_one_out(alpha)
            except FloatingPointError:
                leverages[alpha] = np.inf
                return -np.inf
            leverages[alpha] = found.leverage
            columns["effective_parameters"][alpha] = found.effective_parameters
            columns["training"][alpha] = fold.training_score(alpha)
            return found.score

        scores = search(score, first_penalty(self._problem.shape))
        alpha = max(scores, key=scores.get)
        if not leverages[alpha] <= _LARGEST_LEVERAGE:
            return None
        path = _path(scores, leave_one_out=scores, **columns)
        return _Found(alpha, path, scores[alpha], np.nan, None)


def _enumerates(engine: Engine, shape: Any) -> bool:
    """Return whether gradients of single rows are sums over all configurations."""
    return shape.depth == 1 and isinstance(engine, (Enumeration, Quadrature)) and shape.first <= 12


def _path(scores: dict[float, float], **columns: dict[float, float]) -> dict[str, Array]:
    """Return the path as columns of equal length; NaN where a value was not computed."""
    names = "leave_one_out", "cross_validation", "training", "effective_parameters"
    path = {"alpha": np.array(list(scores))}
    for name in names:
        values = columns.get(name, {})
        path[name] = np.array([values.get(alpha, np.nan) for alpha in scores])
    return path


def choose(estimator: Any, problem: Problem, *, grows: bool, alpha: float | None = None) -> Choice:
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

    Returns
    -------
    choice : Choice
    """
    settings, problem, engine = resolve_solver(estimator, problem)
    if not isinstance(estimator.alpha, str):
        alpha = float(estimator.alpha)
    if alpha is not None and not grows:
        settings = with_values(settings, alpha=alpha)
        return Choice(settings, problem, engine, {"alpha_": alpha, "solver_": settings.solver})
    kept = problem.of_rows(problem.weights > 0.0)
    selection = _Selection(settings, kept, engine)
    if selection.size < _FEWEST_ROWS:
        alpha = SMALL_PENALTY if alpha is None else alpha
        settings = with_values(settings, alpha=alpha)
        return Choice(settings, problem, engine, {"alpha_": alpha, "solver_": settings.solver})
    found = selection.best(single=False)
    best = Choice(
        with_values(settings, alpha=found.alpha), problem, engine,
        {"alpha_": found.alpha, "alpha_path_": found.path, "solver_": settings.solver},
        found.start,
    )  # fmt: skip
    if grows and _needs_more_units(found, problem, selection.size):
        return _grown(estimator, problem, best, found, selection)
    return best


def _needs_more_units(found: _Found, problem: Problem, size: int) -> bool:
    """Return whether the number of units, and not the noise, limits the fit."""
    shape = problem.shape
    if size < _FEWEST_ROWS_TO_GROW or (shape.has_classes and found.score > -_SOLVED):
        return False
    return (
        found.alpha <= _TINY_PENALTY
        or size >= _ROWS_PER_PARAMETER * shape.n_parameters
        or (shape.has_classes and shape.n_outputs > _MANY_CLASSES)
    )


def _grown(
    estimator: Any, problem: Problem, best: Choice, found: _Found, selection: _Selection
) -> Choice:
    """Return the best choice among larger networks, as long as they gain."""
    if np.isnan(found.of_split):
        found = selection.best(single=True)
    of_split = found.of_split
    has_classes = problem.shape.has_classes
    for n_units in _SIZES if has_classes else _SIZES_FOR_NUMBERS:
        larger = resized(estimator, problem, n_units, best.engine)
        settings, larger, engine = resolve_solver(estimator, larger)
        if not has_classes:
            seconds = larger.engine.seconds(larger.shape, len(larger.weights))
            if not larger.engine.is_exact or seconds > _SLOWEST_GROWTH:
                break
        kept = larger.of_rows(larger.weights > 0.0)
        candidate = _Selection(settings, kept, engine).best(single=True)
        if candidate.of_split < of_split + _LEAST_GAIN * abs(of_split):
            break
        of_split = candidate.of_split
        attributes = {
            "alpha_": candidate.alpha, "alpha_path_": candidate.path, "solver_": settings.solver
        }  # fmt: skip
        settings = with_values(settings, alpha=candidate.alpha)
        best = Choice(settings, larger, engine, attributes, candidate.start)
    return best
