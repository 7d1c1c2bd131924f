"""Training of networks with stochastic units on all rows at once."""

import operator
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.engines import Enumeration
from fastem.estimators.ascent import Ascent, Optimizer, Problem, ended_in
from fastem.estimators.progress import Progress
from fastem.estimators.standardization import Standardization
from fastem.estimators.starting_values import given_start
from fastem.estimators.validation import check_raw_features
from fastem.oracle import row_gradients
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import sort_rows
from fastem.runtime import DivergenceError, effective_n_jobs, single_threaded_blas, warn_user
from fastem.selection import LeaveOneOut, leave_one_out
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

# Values of learning_rate_init="auto". The gradient M-step multiplies a sum over rows by its rate. The
# rate of Adam is about the length of a step. In `partial_fit` it is constant. In `fit` it falls
# from the second value to zero, which ends closer to the optimum in fewer epochs.
_RATE_OF_GRADIENT_STEPS = 0.005
_RATE_OF_STREAMS = 0.05
RATE_OF_FIRST_EPOCH = 0.2
# Values of batch_size="auto": 200 in `partial_fit`, otherwise a sixteenth of the rows, within limits.
_BATCH_SIZES = 50, 200


# Runs that only compare penalties are coarse. Each but the first begins with few EM steps, because
# the optimum under the last penalty is close.
_COARSE_TOL, _COARSE_ITER, _PLAIN_STEPS_BETWEEN = 2e-4, 100, 2


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
        self._rows = sort_rows(problem.X, problem.targets, problem.weights, self._shape)
        return Network(
            self._rows,
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
        optimizer, monitor = self.new_optimizer(random_state), self.new_monitor()
        if ended_in(last, self._shape, parameters) and type(last.optimizer) is type(optimizer):
            optimizer = deepcopy(last.optimizer)  # a failed fit must not change the earlier one
            monitor.follow(last.monitor)
            if all(map(np.array_equal, last.standardization, self._standardization)):
                theta = np.array(last.theta)  # a copy; exact, unlike unfolded values
        try:
            with single_threaded_blas():
                return self.ascend(theta, monitor, optimizer, progress)
        except FloatingPointError as error:
            raise DivergenceError(str(error)) from error

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
        """Return the fitted weights, and noise variances if any, in the units of X and y."""
        folded = self._standardization.fold(self._shape.unpack(theta))
        coefs, intercepts = self._shape.to_lists(folded)
        weights = {"coefs_": coefs, "intercepts_": intercepts}
        return weights | ({"variance_": folded.variance} if self._shape.n_variances else {})

    def loss(self, objective: float) -> float:
        """Return an objective (nats) as a loss per unit weight in the unit of y."""
        return self._standardization.log_scale - objective / self._total_weight

    def new_monitor(self) -> Monitor:
        """Return an empty record."""
        kind = Monitor if self._engine.is_exact else SmoothedMonitor
        monitor = kind(float(self._estimator.tol), scale=self._scale)
        monitor.penalty = self._model.penalty
        return monitor

    def new_optimizer(self, random_state: np.random.RandomState) -> Optimizer:
        """Return an optimizer without memory of earlier iterates."""
        if not self._engine.is_exact:
            return StochasticStep(float(self._estimator.tol))
        if self._estimator.m_step == "gradient":
            return DampedStep()
        return QuasiNewtonStep() if self._estimator.accelerate else PlainStep()

    def start(self, random_state: np.random.RandomState, typical: Array | None = None) -> Array:
        """Return starting values on standardised features.

        The random numbers drawn do not depend on `coefs_init` and `intercepts_init`.

        Parameters
        ----------
        random_state : RandomState
        typical : array (n_outputs,), optional
            Weight of every class, or mean of every output; by default those of the rows.
        """
        shape = self._shape
        coefs, intercepts = given_start(self._estimator, shape)
        drawn = draw_start(shape, self._typical if typical is None else typical, random_state)
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

    def settled(self, theta: Array, random_state: np.random.RandomState) -> Array:
        """Return random starting values, improved if the outputs have noise variances."""
        shape = self._shape
        if shape.n_variances == 0 or self._estimator.coefs_init is not None:
            return theta
        floors = [floor for floor in FLOORS_OF_STARTS if floor > shape.variance_floor]
        run = self.run_shortly(random_state)
        found = [shape.unpack(theta)]
        found += [last for _, last in settle(self._model, found[0], run, floors)]
        return shape.pack(found[-1])

    def run_shortly(
        self, random_state: np.random.RandomState
    ) -> Callable[[Array, float, int], tuple[Array, bool]]:
        """Return a function that runs a few iterations from given starting values."""

        def run(theta: Array, tol: float, max_iter: int) -> tuple[Array, bool]:
            monitor = self.new_monitor()
            monitor.tol = max(monitor.tol, tol)
            theta = self.run(theta, monitor, self.new_optimizer(random_state), max_iter)
            return theta, monitor.interrupted

        return run

    def set_penalty(self, alpha: float) -> None:
        """Change the penalty."""
        self._model.set_penalty(alpha)

    def follow(
        self, theta: Array, alpha: float, random_state: np.random.RandomState, *, begins: bool = False
    ) -> Array:
        """Return the parameters under a penalty, with a small part of the precision of a fit.

        Parameters
        ----------
        theta : array (n_parameters,)
            Starting values, such as the parameters under another penalty.
        alpha : float
        random_state : RandomState
        begins : bool, default=False
            Whether theta is random.
        """
        self._model.set_penalty(alpha)
        monitor, optimizer = self.new_monitor(), self.new_optimizer(random_state)
        monitor.tol = max(monitor.tol, _COARSE_TOL)
        if isinstance(optimizer, QuasiNewtonStep) and not begins:
            optimizer = QuasiNewtonStep(_PLAIN_STEPS_BETWEEN)
        with single_threaded_blas():
            theta = self.run(theta, monitor, optimizer, _COARSE_ITER)
        if monitor.interrupted:
            raise KeyboardInterrupt
        return theta

    def mean_log_likelihood(self, theta: Array) -> float:
        """Return the mean log-likelihood of the rows without penalty, in nats in the unit of y."""
        model = self._model
        return -self.loss(model.objective(theta) + model.penalty(theta))

    def leave_one_out(self, theta: Array, alpha: float) -> LeaveOneOut:
        """Return approximate leave-one-out scores, for one hidden layer of few units."""
        shape, rows = self._shape, self._rows
        gradients = row_gradients(Enumeration(), rows, shape, shape.unpack(theta), 1)
        _, statistics = self._model.expect(theta)
        penalty = alpha * shape.penalty_weights()
        return leave_one_out(gradients, statistics.log_likelihood, rows.weights, penalty)

    def folded(self, theta: Array) -> Parameters:
        """Return parameters in the units of X and y."""
        return self._standardization.fold(self._shape.unpack(theta))

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
        start = self._shape.unpack(self.start(random_state))
        with single_threaded_blas():
            try:
                for floor, found in settle(
                    self._model, start, self.run_shortly(random_state), floors
                ):
                    yield floor, self._standardization.fold(found)
            except FloatingPointError as error:
                raise DivergenceError(str(error)) from error

    def ascend(
        self,
        theta: Array,
        monitor: Monitor,
        optimizer: Optimizer,
        progress: Progress,
        n_before: int = 0,
    ) -> Ascent:
        """Maximise the objective; ``n_before`` is the number of iterations that are done."""

        def report(n_iter: int, objective: float, theta: Array) -> bool:
            return progress.iterate(n_iter, objective, lambda: self.attributes(theta, monitor))

        monitor.report = report
        progress.begin_start()
        n_left = self._estimator.max_iter - n_before
        theta = self.run(theta, monitor, optimizer, n_left)
        monitor.report = None
        progress.end_start(lambda: self.attributes(theta, monitor))
        return self.finished(theta, monitor, optimizer)

    def finished(self, theta: Array, monitor: Monitor, optimizer: Optimizer) -> Ascent:
        """Return a finished ascent.

        Raises
        ------
        ValueError
            If a weight overflows in the units of X and y.
        """
        monitor.penalty = None  # the ascent is stored without the model
        self._check_finite(theta)
        effective = self._model.median_effective_size()
        return Ascent(theta, monitor, optimizer, self._standardization, effective)

    def _check_finite(self, theta: Array) -> None:
        folded = self._standardization.fold(self._shape.unpack(theta))
        if not np.isfinite(folded.flat).all():
            raise ValueError("A weight overflows in the units of X and y; rescale X and y.")

    def run(self, theta: Array, monitor: Monitor, optimizer: Optimizer, max_iter: int) -> Array:
        """Run at most so many iterations; return the last iterate."""
        if self._estimator.solver == "lbfgs":
            return run_lbfgs(self._model, theta, monitor, max_iter)
        coarse = None
        # a run that is continued begins in the precision in which it ended, to the bit
        if not monitor.history or monitor.before_correction is not None:
            coarse = self._model.begin_in_single_precision()
        return run_em(self._model, theta, monitor, max_iter, optimizer, coarse)


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
