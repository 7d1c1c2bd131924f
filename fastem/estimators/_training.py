"""The course of a fit: starts, ascents, and the best of them."""

import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.engines import Engine
from fastem.estimators import _checks
from fastem.estimators._progress import Progress
from fastem.estimators._scaling import Scaling
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import sort_by_class
from fastem.runtime import effective_n_jobs, single_threaded_blas
from fastem.solvers import (
    AdamState,
    DampedStep,
    Monitor,
    Network,
    PlainStep,
    QuasiNewtonStep,
    SmoothedMonitor,
    Stepper,
    StochasticStep,
    draw_start,
    run_em,
    run_lbfgs,
)


class Ascent(NamedTuple):
    """An ascent that has ended, and what it takes to go on with it.

    Attributes
    ----------
    theta : array (n_parameters,)
        Parameters on standardised features.
    monitor : Monitor
    stepper : Stepper or AdamState
    scaling : Scaling
    median_effective_size : float or None
        Of its last E-step, if that drew.
    """

    theta: Array
    monitor: Monitor
    stepper: Stepper | AdamState
    scaling: Scaling
    median_effective_size: float | None = None


class Training:
    """A call of ``fit`` on checked data.

    Parameters
    ----------
    estimator : FastEMClassifier
        Its parameters are read and it is not changed.
    shape : Shape
    engine : Engine
    X : array (n_samples, n_features)
    labels : array of int (n_samples,)
        Class indices.
    weights : array (n_samples,)
        Rows of weight zero are left out.
    scaling : Scaling, optional
        Of the features; by default that of these rows.
    """

    def __init__(
        self,
        estimator: Any,
        shape: Shape,
        engine: Engine,
        X: Array,
        labels: np.ndarray,
        weights: Array,
        scaling: Scaling | None = None,
    ) -> None:
        self._estimator = estimator
        self._shape, self._engine = shape, engine
        kept = weights > 0.0
        X, labels, weights = X[kept], labels[kept], weights[kept]
        if scaling is None and estimator.standardize:
            scaling = Scaling.of(X, weights, centred=shape.fit_intercept)
        elif scaling is None:
            _checks.check_scale(X)
            scaling = Scaling.identity(X.shape[1])
        self._scaling = scaling
        self._class_weights = np.bincount(labels, weights, minlength=shape.n_classes)
        self._model = self._model_of(scaling.apply(X), labels, weights, engine)

    def _model_of(self, X: Array, labels: np.ndarray, weights: Array, engine: Engine) -> Any:
        """Return what is climbed, for standardised features."""
        estimator = self._estimator
        return Network(
            sort_by_class(X, labels, weights, self._shape),
            self._shape,
            engine,
            estimator.m_step if estimator.solver == "em" else None,
            alpha=float(estimator.alpha),
            learning_rate=_checks.learning_rate(estimator),
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    @property
    def total_weight(self) -> float:
        """Summed weight of all rows."""
        return float(self._class_weights.sum())

    def continue_from(
        self, parameters: Parameters, last: Ascent | None, progress: Progress
    ) -> Ascent:
        """Go on from earlier parameters, and from the ascent that led to them if known."""
        theta = self._shape.pack(self._scaling.unfold(parameters))
        random_state = check_random_state(self._estimator.random_state)
        stepper, monitor = self._new_stepper(random_state), self._new_monitor()
        same_length = last is not None and last.theta.size == self._shape.n_parameters
        if same_length and type(last.stepper) is type(stepper):
            led_here = self._shape.pack(last.scaling.fold(self._shape.unpack(last.theta)))
            if np.array_equal(led_here, self._shape.pack(parameters)):
                # copies: a fit that fails must leave the earlier one as it was
                stepper = deepcopy(last.stepper)
                monitor.follow(last.monitor)
                if all(map(np.array_equal, last.scaling, self._scaling)):
                    # exact, where folding and unfolding would round; a copy, as it may be mapped
                    theta = np.array(last.theta)
        with single_threaded_blas():
            return self._ascend(theta, monitor, stepper, progress)

    def best_of_starts(self, progress: Progress) -> Ascent:
        """Climb from every start; return the ascent that ended highest.

        Raises
        ------
        ValueError
            If no start has a finite objective.
        """
        estimator = self._estimator
        random_state = check_random_state(estimator.random_state)
        best, failure = None, None
        for start in range(estimator.n_init):
            theta = self._start(random_state)
            try:
                with single_threaded_blas():
                    stepper = self._new_stepper(random_state)
                    ascent = self._ascend(theta, self._new_monitor(), stepper, progress)
            except KeyboardInterrupt:
                if best is None:
                    raise  # there is nothing yet to keep
                best.monitor.interrupted, best.monitor.converged = True, False
                break
            except FloatingPointError as error:
                failure = error
                warnings.warn(
                    f"Start {start + 1} of {estimator.n_init} is dropped: {error}",
                    ConvergenceWarning,
                    stacklevel=5,
                )
                continue
            if best is None or ascent.monitor.objective > best.monitor.objective:
                best = ascent
            if ascent.monitor.interrupted:
                # what was interrupted may still be the best; the user is told either way
                best.monitor.interrupted, best.monitor.converged = True, False
                break
        if best is None:
            raise ValueError(
                f"No start led to a finite objective: {failure} Use smaller coefs_init, a "
                "smaller alpha, or standardize=True."
            )
        return best

    def attributes(self, theta: Array, monitor: Monitor) -> dict[str, Any]:
        """Return the fitted attributes that parameters and their history stand for."""
        coefs, intercepts = self.lists(theta)
        losses = [-objective / self.total_weight for objective in monitor.history]
        return {
            "coefs_": coefs,
            "intercepts_": intercepts,
            "n_iter_": monitor.n_iter,
            "converged_": monitor.converged,
            "loss_": -monitor.objective / self.total_weight,
            "loss_curve_": losses,
            "loss_curve_seconds_": list(monitor.seconds),
        }

    def lists(self, theta: Array) -> tuple[list[Array], list[Array]]:
        """Return ``coefs_`` and ``intercepts_`` in the features' units."""
        return self._shape.to_lists(self._scaling.fold(self._shape.unpack(theta)))

    def _new_monitor(self) -> Monitor:
        kind = Monitor if self._engine.is_exact else SmoothedMonitor
        return kind(float(self._estimator.tol))

    def _new_stepper(self, random_state: np.random.RandomState) -> Any:
        """Return a way from one iterate to the next that has learnt nothing yet."""
        if not self._engine.is_exact:
            return StochasticStep(float(self._estimator.tol))
        if self._estimator.m_step == "gradient":
            return DampedStep()
        return QuasiNewtonStep() if self._estimator.accelerate else PlainStep()

    def _start(
        self, random_state: np.random.RandomState, class_weights: Array | None = None
    ) -> Array:
        """Return starting values on standardised features; draw what is not given.

        ``class_weights`` (n_classes,) are by default those of the rows.
        """
        estimator, shape = self._estimator, self._shape
        coefs, intercepts = _checks.check_start(
            estimator.coefs_init, estimator.intercepts_init, shape
        )
        class_weights = self._class_weights if class_weights is None else class_weights
        drawn = draw_start(shape, class_weights, random_state)
        if coefs is None and intercepts is None:
            return shape.pack(drawn)
        drawn_coefs, drawn_intercepts = shape.to_lists(self._scaling.fold(drawn))
        given = shape.from_lists(
            drawn_coefs if coefs is None else coefs,
            drawn_intercepts if intercepts is None else intercepts,
        )
        return shape.pack(self._scaling.unfold(given))

    def _ascend(self, theta: Array, monitor: Monitor, stepper: Any, progress: Progress) -> Ascent:
        def report(n_iter: int, objective: float, theta: Array) -> bool:
            return progress.iterate(n_iter, objective, lambda: self.attributes(theta, monitor))

        monitor.report = report
        progress.begin_start()
        theta = self._run(theta, monitor, stepper)
        monitor.report = None
        progress.end_start(lambda: self.attributes(theta, monitor))
        folded = self._scaling.fold(self._shape.unpack(theta))
        _checks.check_finite(self._shape.pack(folded))
        effective = self._model.median_effective_size()
        return Ascent(theta, monitor, stepper, self._scaling, effective)

    def _run(self, theta: Array, monitor: Monitor, stepper: Any) -> Array:
        max_iter = self._estimator.max_iter
        if self._estimator.solver == "lbfgs":
            return run_lbfgs(self._model, theta, monitor, max_iter)
        return run_em(self._model, theta, monitor, max_iter, stepper)


def seeded(engine: Engine, estimator: Any, continued: bool) -> Engine:
    """Return the engine with its seed; what goes on keeps the seed of what it goes on with."""
    before = getattr(estimator, "e_step_", None)
    if continued and type(before) is type(engine) and not engine.is_exact:
        return engine.seeded(before.random_state)
    return engine.seeded(estimator.random_state)
