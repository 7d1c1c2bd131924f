"""Training of networks with stochastic units on all rows at once."""

import operator
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.estimators.ascent import Ascent, Optimizer, Problem, ended_in
from fastem.estimators.progress import Progress
from fastem.estimators.standardization import Standardization, feature_deviations
from fastem.estimators.validation import check_raw_features, check_start
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import sort_rows
from fastem.runtime import DivergenceError, effective_n_jobs, single_threaded_blas, warn_user
from fastem.solvers import (
    FLOORS_OF_STARTS,
    BatchedNetwork,
    DampedStep,
    Monitor,
    Network,
    PlainStep,
    QuasiNewtonStep,
    SmoothedMonitor,
    StochasticStep,
    draw_start,
    run_em,
    run_lbfgs,
    settle,
)

# Values of learning_rate_init="auto". The length of a step of Adam is about its rate. The gradient
# M-step multiplies a sum over rows by its rate. This command compares Adam with EM for several
# rates: python benches/choose_defaults.py --settings "solver='adam',learning_rate_init=0.05"
_LEARNING_RATES = {"adam": 0.05, "em": 0.005, "lbfgs": 0.005}
_BATCH_SIZE = 200  # value of batch_size="auto"


class Training:
    """Training on all rows at once, by EM or L-BFGS.

    Parameters
    ----------
    estimator : BaseFastEM
        Its parameters are read. It is not changed.
    problem : Problem
        Rows of weight zero are removed.
    standardization : Standardization, optional
        By default that of these rows.
    """

    def __init__(
        self,
        estimator: Any,
        problem: Problem,
        standardization: Standardization | None = None,
    ) -> None:
        self._estimator = estimator
        self._shape, self._engine = problem.shape, problem.engine
        problem = problem.of_rows(problem.weights > 0.0)
        self._deviations = getattr(estimator, "feature_deviation_", None)
        if standardization is None or self._deviations is None:
            self._deviations = feature_deviations(problem.X, problem.weights)
        if standardization is None:
            if not estimator.standardize:
                check_raw_features(problem.X)
            standardization = Standardization.of(
                problem.X,
                problem.targets,
                problem.weights,
                self._shape,
                features=estimator.standardize,
            )
        self._standardization = standardization
        problem = problem._replace(
            X=standardization.apply(problem.X),
            targets=standardization.apply_to_targets(problem.targets),
        )
        self._typical = self._typical_outputs(problem)
        summed = self._typical if self._shape.has_classes else problem.weights
        self._total_weight = float(summed.sum())
        self._scale = self._total_weight if self._shape.n_variances > 0 else 0.0
        self._model = self._new_model(problem)

    def _typical_outputs(self, problem: Problem) -> Array:
        """Return the weight of every class, or the mean of every output."""
        if self._shape.has_classes:
            n_classes = self._shape.n_outputs
            return np.bincount(problem.targets, problem.weights, minlength=n_classes)
        return problem.weights @ problem.targets / problem.weights.sum()

    def _new_model(self, problem: Problem) -> Network | BatchedNetwork:
        """Return the model whose objective is maximised, for standardised features."""
        estimator = self._estimator
        if self._engine.is_exact:
            problem = problem.merged()
        return Network(
            sort_rows(problem.X, problem.targets, problem.weights, self._shape),
            self._shape,
            self._engine,
            estimator.m_step if estimator.solver == "em" else None,
            alpha=float(estimator.alpha),
            learning_rate=learning_rate(estimator),
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    def resume(self, parameters: Parameters, last: Ascent | None, progress: Progress) -> Ascent:
        """Continue from earlier parameters.

        If the ascent ``last`` ended in these parameters, its monitor and optimizer continue too.

        Raises
        ------
        DivergenceError
            If an objective is not finite.
        """
        theta = self._shape.pack(self._standardization.unfold(parameters))
        random_state = check_random_state(self._estimator.random_state)
        optimizer, monitor = self._new_optimizer(random_state), self._new_monitor()
        if ended_in(last, self._shape, parameters) and type(last.optimizer) is type(optimizer):
            optimizer = deepcopy(last.optimizer)  # a failed fit must not change the earlier one
            monitor.follow(last.monitor)
            if all(map(np.array_equal, last.standardization, self._standardization)):
                theta = np.array(last.theta)  # a copy; exact, unlike unfolded values
        try:
            with single_threaded_blas():
                return self._ascend(theta, monitor, optimizer, progress)
        except FloatingPointError as error:
            raise DivergenceError(str(error)) from error

    def best_of_starts(self, progress: Progress) -> Ascent:
        """Run an ascent from every start; return the one with the highest objective.

        Raises
        ------
        DivergenceError
            If no start has a finite objective.

        Warns
        -----
        ConvergenceWarning
            If a start is dropped because its objective is not finite.
        """
        estimator = self._estimator
        random_state = check_random_state(estimator.random_state)
        best, failure = None, None
        for start in range(estimator.n_init):
            theta, monitor = self._start(random_state, self._typical), self._new_monitor()
            try:
                with single_threaded_blas():
                    theta = self._settled(theta, random_state)
                    optimizer = self._new_optimizer(random_state)
                    ascent = self._ascend(theta, monitor, optimizer, progress)
            except KeyboardInterrupt:
                if best is None:
                    raise  # there is no result to keep
                best.monitor.interrupted, best.monitor.converged = True, False
                break
            except FloatingPointError as error:
                failure = error
                warn_user(
                    f"Start {start + 1} of {estimator.n_init} is dropped: {error}",
                    ConvergenceWarning,
                )
                continue
            if best is None or ascent.monitor.objective > best.monitor.objective:
                best = ascent
            if ascent.monitor.interrupted:
                # warn even if an earlier start is the best
                best.monitor.interrupted, best.monitor.converged = True, False
                break
        if best is None:
            raise DivergenceError(
                f"No start reached a finite objective: {failure} Use smaller coefs_init, a "
                "smaller alpha, or standardize=True."
            ) from failure
        return best

    def attributes(self, theta: Array, monitor: Monitor) -> dict[str, Any]:
        """Return the fitted attributes for these parameters and their history."""
        losses = [self.loss(objective) for objective in monitor.history]
        likelihoods = map(operator.add, monitor.history, monitor.penalties)
        return {
            **self.weights(theta),
            "n_iter_": monitor.n_iter,
            "converged_": monitor.converged,
            "loss_": self.loss(monitor.objective),
            "loss_curve_": losses,
            "data_loss_curve_": [self.loss(value) for value in likelihoods],
            "loss_curve_seconds_": list(monitor.seconds),
        }

    def weights(self, theta: Array) -> dict[str, Any]:
        """Return the fitted weights, and noise variances if any, in the units of X and y.

        The standard deviations of the features belong to them.
        """
        folded = self._standardization.fold(self._shape.unpack(theta))
        coefs, intercepts = self._shape.to_lists(folded)
        weights = {"coefs_": coefs, "intercepts_": intercepts}
        weights["feature_deviation_"] = self._deviations
        return weights | ({"variance_": folded.variance} if self._shape.n_variances else {})

    def loss(self, objective: float) -> float:
        """Return an objective (nats) as a loss per unit weight in the unit of y."""
        return self._standardization.log_scale - objective / self._total_weight

    def _new_monitor(self) -> Monitor:
        kind = Monitor if self._engine.is_exact else SmoothedMonitor
        return kind(float(self._estimator.tol), scale=self._scale)

    def _new_optimizer(self, random_state: np.random.RandomState) -> Optimizer:
        """Return an optimizer without memory of earlier iterates."""
        if not self._engine.is_exact:
            return StochasticStep(float(self._estimator.tol))
        if self._estimator.m_step == "gradient":
            return DampedStep()
        return QuasiNewtonStep() if self._estimator.accelerate else PlainStep()

    def _start(self, random_state: np.random.RandomState, typical: Array) -> Array:
        """Return starting values on standardised features.

        The random numbers drawn do not depend on `coefs_init` and `intercepts_init`.
        """
        estimator, shape = self._estimator, self._shape
        coefs, intercepts = _given_start(estimator, shape)
        drawn = draw_start(shape, typical, random_state)
        if coefs is None and intercepts is None:
            return shape.pack(drawn)
        folded = self._standardization.fold(drawn)
        drawn_coefs, drawn_intercepts = shape.to_lists(folded)
        given = shape.from_lists(
            drawn_coefs if coefs is None else coefs,
            drawn_intercepts if intercepts is None else intercepts,
            folded.variance,
        )
        return shape.pack(self._standardization.unfold(given))

    def _settled(self, theta: Array, random_state: np.random.RandomState) -> Array:
        """Return random starting values, improved if the outputs have noise variances."""
        shape = self._shape
        if shape.n_variances == 0 or self._estimator.coefs_init is not None:
            return theta
        floors = [floor for floor in FLOORS_OF_STARTS if floor > shape.variance_floor]
        run = self._run_shortly(random_state)
        found = [shape.unpack(theta)]
        found += [last for _, last in settle(self._model, found[0], run, floors)]
        return shape.pack(found[-1])

    def _run_shortly(
        self, random_state: np.random.RandomState
    ) -> Callable[[Array, float, int], tuple[Array, bool]]:
        """Return a function that runs a few iterations from given starting values."""

        def run(theta: Array, tol: float, max_iter: int) -> tuple[Array, bool]:
            monitor = self._new_monitor()
            monitor.tol = max(monitor.tol, tol)
            theta = self._run(theta, monitor, self._new_optimizer(random_state), max_iter)
            return theta, monitor.interrupted

        return run

    def path(self, floors: Iterable[float]) -> Iterator[tuple[float, Parameters]]:
        """Yield every bound of the noise variance with the parameters found under it.

        The run under a bound begins where the last one ended.

        Parameters
        ----------
        floors : iterable of float
            Shares of the variances of y, from the largest to the smallest.

        Yields
        ------
        floor : float
        parameters : Parameters
            In the units of X and y.

        Raises
        ------
        DivergenceError
            If an objective is not finite.
        """
        random_state = check_random_state(self._estimator.random_state)
        start = self._shape.unpack(self._start(random_state, self._typical))
        with single_threaded_blas():
            try:
                for floor, found in settle(
                    self._model, start, self._run_shortly(random_state), floors
                ):
                    yield floor, self._standardization.fold(found)
            except FloatingPointError as error:
                raise DivergenceError(str(error)) from error

    def _ascend(
        self, theta: Array, monitor: Monitor, optimizer: Optimizer, progress: Progress
    ) -> Ascent:
        def report(n_iter: int, objective: float, theta: Array) -> bool:
            return progress.iterate(n_iter, objective, lambda: self.attributes(theta, monitor))

        monitor.report, monitor.penalty = report, self._model.penalty
        progress.begin_start()
        theta = self._run(theta, monitor, optimizer, self._estimator.max_iter)
        monitor.report = monitor.penalty = None
        progress.end_start(lambda: self.attributes(theta, monitor))
        self._check_finite(theta)
        effective = self._model.median_effective_size()
        return Ascent(theta, monitor, optimizer, self._standardization, effective)

    def _check_finite(self, theta: Array) -> None:
        folded = self._standardization.fold(self._shape.unpack(theta))
        if not np.isfinite(folded.flat).all():
            raise ValueError("A weight overflows in the units of X and y; rescale X and y.")

    def _run(self, theta: Array, monitor: Monitor, optimizer: Optimizer, max_iter: int) -> Array:
        if self._estimator.solver == "lbfgs":
            return run_lbfgs(self._model, theta, monitor, max_iter)
        coarse = None
        # a run that is continued begins in the precision in which it ended, to the bit
        if not monitor.history or monitor.before_correction is not None:
            coarse = self._model.begin_in_single_precision()
        return run_em(self._model, theta, monitor, max_iter, optimizer, coarse)


def _given_start(estimator: Any, shape: Shape) -> tuple[list[Array] | None, list[Array] | None]:
    """Return `coefs_init` and `intercepts_init`, checked."""
    units = [shape.n_features, *shape.hidden_layer_sizes, shape.n_outputs]
    coefs, intercepts = check_start(estimator, list(pairwise(units)), [(m,) for m in units[1:]])
    if intercepts is not None and not shape.fit_intercept and any(b.any() for b in intercepts):
        raise ValueError(
            "intercepts_init must be zeros or None when fit_intercept=False; it has other values."
        )
    return coefs, intercepts


def learning_rate(estimator: Any) -> float:
    """Return `learning_rate_init` as a number."""
    rate = estimator.learning_rate_init
    return _LEARNING_RATES[estimator.solver] if isinstance(rate, str) else float(rate)


def rows_per_e_step(estimator: Any, n_samples: int) -> int:
    """Return the number of rows of one E-step: all rows, or a mini-batch."""
    if estimator.solver != "adam":
        return n_samples
    return _BATCH_SIZE if isinstance(estimator.batch_size, str) else int(estimator.batch_size)


def warn_of_ending(estimator: Any, monitor: Monitor) -> None:
    """Warn if the ascent ended before convergence.

    Warns
    -----
    ConvergenceWarning
        If the fit was interrupted or did not converge.
    RuntimeWarning
        If the objective fell, which is an error in the package.
    """
    if monitor.fell:
        warn_user(
            f"The penalised log-likelihood fell in iteration {monitor.n_iter + 1}. This is an "
            "error in fastem, not convergence; please report it. The parameters before the fall "
            "are kept.",
            RuntimeWarning,
        )
    elif monitor.interrupted or monitor.stopped:
        warn_user(
            f"The fit was interrupted after {monitor.n_iter} iterations. The best parameters "
            "so far are kept.",
            ConvergenceWarning,
        )
    elif not monitor.converged and monitor.n_iter < estimator.max_iter:
        remedy = f"Use a smaller learning_rate_init than {learning_rate(estimator):g}."
        if estimator.solver == "lbfgs":
            remedy = "Use solver='em', standardize=True, or other starting values."
        warn_user(
            f"The fit stopped after {monitor.n_iter} iterations without convergence: no step "
            f"increased the objective. {remedy}",
            ConvergenceWarning,
        )
    elif not monitor.converged:
        warn_user(
            f"The fit did not converge in {estimator.max_iter} iterations. Increase max_iter or "
            "tol, or increase alpha, which makes the optimum better determined.",
            ConvergenceWarning,
        )
