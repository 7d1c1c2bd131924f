"""Maximisation of the objective of a network with stochastic units, wherever its rows are."""

import operator
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastem.engines import Engine
from fastem.estimators.ascent import Ascent, Optimizer, ended_in
from fastem.estimators.checkpoints import Checkpoints
from fastem.estimators.held_out import HeldOutRows, losses_of
from fastem.estimators.progress import Progress
from fastem.estimators.standardization import Standardization
from fastem.estimators.starting_values import given_start
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import DivergenceError, single_threaded_blas
from fastem.solvers import (
    FLOORS_OF_STARTS,
    DampedStep,
    Monitor,
    PenalisedNetwork,
    PlainStep,
    QuasiNewtonStep,
    SmoothedMonitor,
    StochasticStep,
    draw_start,
    run_em,
    run_lbfgs,
    settle,
)

# Runs that only compare penalties are coarse. Each but the first begins with few EM steps, because
# the optimum under the last penalty is close.
_COARSE_TOL, _COARSE_ITER, _PLAIN_STEPS_BETWEEN = 2e-4, 100, 2


class BaseTraining:
    """Training by EM or L-BFGS of a model that a subclass provides.

    Parameters
    ----------
    estimator : BaseFastEM
        Its parameters are read. It is not changed.
    shape : Shape
    engine : Engine
    standardization : Standardization
    typical : array (n_outputs,)
        Weight of every class, or mean of every standardised output.
    total_weight : float

    Attributes
    ----------
    model : PenalisedNetwork
        The model whose objective is maximised, for standardised features. The subclass sets it.
    checkpoints : Checkpoints or None
        Writes iterates of `ascend` to a file.
    """

    model: PenalisedNetwork
    checkpoints: Checkpoints | None = None
    _held_out: HeldOutRows | None = None

    def __init__(
        self,
        estimator: Any,
        shape: Shape,
        engine: Engine,
        standardization: Standardization,
        typical: Array,
        total_weight: float,
    ) -> None:
        self._estimator, self.shape, self._engine = estimator, shape, engine
        self._standardization, self._typical = standardization, typical
        self._total_weight = total_weight
        self._scale = total_weight if shape.n_variances > 0 else 0.0

    def resume(self, parameters: Parameters, last: Ascent | None, progress: Progress) -> Ascent:
        """Continue from earlier parameters.

        If the ascent ``last`` ended in these parameters, its monitor and optimizer continue too.
        If it was running, and the rows are the same, `max_iter` includes its iterations.

        Raises
        ------
        DivergenceError
            If an objective is not finite.
        """
        theta = self.shape.pack(self._standardization.unfold(parameters))
        random_state = check_random_state(self._estimator.random_state)
        optimizer, monitor = self.new_optimizer(random_state), self.new_monitor()
        end, is_running = None, False
        if ended_in(last, self.shape, parameters) and type(last.optimizer) is type(optimizer):
            optimizer = deepcopy(last.optimizer)  # a failed fit must not change the earlier one
            monitor.follow(last.monitor)
            if all(map(np.array_equal, last.standardization, self._standardization)):
                theta = np.array(last.theta)  # a copy; exact, unlike unfolded values
                end, is_running = last.end, last.is_running
        try:
            with single_threaded_blas():
                if end is not None and self._is_last(end, monitor):
                    theta = np.array(end)
                n_before = 0
                if is_running and self._is_last(theta, monitor):
                    n_before, monitor.converged = monitor.n_iter, last.monitor.converged
                    if self._is_over(monitor):
                        return self.finished(theta, monitor, optimizer)
                return self.ascend(theta, monitor, optimizer, progress, n_before)
        except FloatingPointError as error:
            raise DivergenceError(str(error)) from error

    def _is_last(self, theta: Array, monitor: Monitor) -> bool:
        """Return whether parameters have the last recorded objective: then the rows are the same.

        An ascent continues at its last iterate, on other rows at the one that it has kept.
        """
        is_coarse = monitor.before_correction is not None
        coarse = self.model.begin_in_single_precision() if is_coarse else None
        objective, _ = self.model.expect(theta, monitor.n_iter)
        if coarse is None:
            return objective == monitor.objective
        coarse.end()
        return objective == monitor.before_correction

    def _is_over(self, monitor: Monitor) -> bool:
        """Return whether no iteration is left, and the last objective is exact."""
        is_exact = monitor.before_correction is None
        return monitor.converged or (is_exact and monitor.n_iter >= self._estimator.max_iter)

    def attributes(self, theta: Array, monitor: Monitor) -> dict[str, Any]:
        """Return the fitted attributes for these parameters and their history."""
        losses = [self.loss(objective) for objective in monitor.history]
        likelihoods = map(operator.add, monitor.history, monitor.penalties)
        return {
            **self.weights(theta),
            "n_iter_": monitor.n_iter,
            "converged_": monitor.converged,
            "loss_": self.loss(monitor.kept_objective),
            "loss_curve_": losses,
            "data_loss_curve_": [self.loss(value) for value in likelihoods],
            "loss_curve_seconds_": list(monitor.seconds),
            **losses_of(self._held_out, monitor.held_out),
        }

    def weights(self, theta: Array) -> dict[str, Any]:
        """Return the fitted weights, and noise variances if any, in the units of X and y."""
        folded = self._standardization.fold(self.shape.unpack(theta))
        coefs, intercepts = self.shape.to_lists(folded)
        weights = {"coefs_": coefs, "intercepts_": intercepts}
        return weights | ({"variance_": folded.variance} if self.shape.n_variances else {})

    def loss(self, objective: float) -> float:
        """Return an objective (nats) as a loss per unit weight in the unit of y."""
        return self._standardization.log_scale - objective / self._total_weight

    def new_monitor(self) -> Monitor:
        """Return an empty record."""
        kind = Monitor if self._engine.is_exact else SmoothedMonitor
        monitor = kind(float(self._estimator.tol), scale=self._scale)
        monitor.penalty, monitor.loss = self.model.penalty, self.loss
        return monitor

    def new_optimizer(self, random_state: np.random.RandomState) -> Optimizer:
        """Return an optimizer without memory of earlier iterates."""
        if not self._engine.is_exact:
            return StochasticStep(float(self._estimator.tol))
        if self._estimator.m_step == "gradient":
            return DampedStep()
        if not self._estimator.accelerate:
            return PlainStep()
        return QuasiNewtonStep(is_short=self._estimator.m_step == "bound")

    def start(self, random_state: np.random.RandomState, typical: Array | None = None) -> Array:
        """Return starting values on standardised features.

        The random numbers drawn do not depend on `coefs_init` and `intercepts_init`.

        Parameters
        ----------
        random_state : RandomState
        typical : array (n_outputs,), optional
            Weight of every class, or mean of every output; by default those of the rows.
        """
        shape = self.shape
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
        shape = self.shape
        if shape.n_variances == 0 or self._estimator.coefs_init is not None:
            return theta
        floors = [floor for floor in FLOORS_OF_STARTS if floor > shape.variance_floor]
        run = self.run_shortly(random_state)
        found = [shape.unpack(theta)]
        found += [last for _, last in settle(self.model, found[0], run, floors)]
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

    def follow(
        self,
        theta: Array,
        alpha: float,
        random_state: np.random.RandomState,
        *,
        begins: bool = False,
    ) -> tuple[Array, float]:
        """Return the parameters under a penalty, and their log-likelihood (nats).

        The run is short: its precision is a small part of that of a fit.

        Parameters
        ----------
        theta : array (n_parameters,)
            Starting values, such as the parameters under another penalty.
        alpha : float
        random_state : RandomState
        begins : bool, default=False
            Whether theta is random.
        """
        self.model.set_penalty(alpha)
        monitor, optimizer = self.new_monitor(), self.new_optimizer(random_state)
        monitor.tol = max(monitor.tol, _COARSE_TOL)
        if isinstance(optimizer, QuasiNewtonStep) and not begins:
            optimizer = QuasiNewtonStep(
                _PLAIN_STEPS_BETWEEN, is_short=self._estimator.m_step == "bound"
            )
        with single_threaded_blas():
            theta = self.run(theta, monitor, optimizer, _COARSE_ITER)
        if monitor.interrupted:
            raise KeyboardInterrupt
        return theta, monitor.objective + self.model.penalty(theta)

    def folded(self, theta: Array) -> Parameters:
        """Return parameters in the units of X and y."""
        return self._standardization.fold(self.shape.unpack(theta))

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
        start = self.shape.unpack(self.start(random_state))
        with single_threaded_blas():
            try:
                for floor, found in settle(
                    self.model, start, self.run_shortly(random_state), floors
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
        held_out = self._held_out

        def report(n_iter: int, objective: float, theta: Array) -> bool:
            loss = None if held_out is None else held_out.loss(monitor.held_out.history[-1])
            fitted = partial(self.attributes, theta, monitor)
            if self.checkpoints is not None:
                ascent = Ascent(theta, monitor, optimizer, self._standardization, is_running=True)
                self.checkpoints.offer(ascent, fitted, is_coarse=self.model.is_single)
            return progress.iterate(n_iter, objective, fitted, loss)

        monitor.report = report
        monitor.held_out = None if held_out is None else held_out.new_record(monitor.held_out)
        progress.begin_start()
        end = self.run(theta, monitor, optimizer, self._estimator.max_iter - n_before)
        theta = self._kept(end, monitor)
        monitor.detach()
        progress.end_start(lambda: self.attributes(theta, monitor))
        return self.finished(theta, monitor, optimizer, end)

    def finished(
        self, theta: Array, monitor: Monitor, optimizer: Optimizer, end: Array | None = None
    ) -> Ascent:
        """Return a finished ascent; ``end`` is its last iterate, if another one is kept.

        Raises
        ------
        ValueError
            If a weight overflows in the units of X and y.
        """
        monitor.detach()
        self._check_finite(theta)
        effective = self.model.median_effective_size()
        end = None if end is theta else end
        return Ascent(theta, monitor, optimizer, self._standardization, effective, end)

    def _kept(self, theta: Array, monitor: Monitor) -> Array:
        """Return the iterate to keep: the last one, or the best one on held-out rows."""
        kept = monitor.kept
        if kept is None or monitor.held_out.index == monitor.n_iter:
            return theta
        index = monitor.held_out.index
        try:
            objective, _ = self.model.expect(kept, index)
        except KeyboardInterrupt:
            monitor.interrupted, monitor.converged = True, False
            objective = monitor.history[index]
        monitor.settle(objective)
        return kept

    def _check_finite(self, theta: Array) -> None:
        folded = self._standardization.fold(self.shape.unpack(theta))
        if not np.isfinite(folded.flat).all():
            raise ValueError("A weight overflows in the units of X and y; rescale X and y.")

    def run(self, theta: Array, monitor: Monitor, optimizer: Optimizer, max_iter: int) -> Array:
        """Run at most so many iterations; return the last iterate."""
        if self._estimator.solver == "lbfgs":
            return run_lbfgs(self.model, theta, monitor, max_iter)
        coarse = None
        # a run that is continued begins in the precision in which it ended, to the bit
        if not monitor.history or monitor.before_correction is not None:
            coarse = self.model.begin_in_single_precision()
        return run_em(self.model, theta, monitor, max_iter, optimizer, coarse)
