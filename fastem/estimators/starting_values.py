"""Starting values that the user gives, random starts, and the race between them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem.estimators.ascent import Ascent, Optimizer, Problem
from fastem.estimators.progress import Progress
from fastem.estimators.validation import check_start
from fastem.parameters import Array, Shape
from fastem.runtime import DivergenceError, doing, single_threaded_blas, warn_user
from fastem.solvers import Monitor

_SHORT = 30  # iterations of every start, before the best starts are continued


def given_start(estimator: Any, shape: Shape) -> tuple[list[Array] | None, list[Array] | None]:
    """Return `coefs_init` and `intercepts_init`, checked."""
    units = [shape.n_features, *shape.hidden_layer_sizes, shape.n_outputs]
    coefs, intercepts = check_start(estimator, list(pairwise(units)), [(m,) for m in units[1:]])
    if intercepts is not None and not shape.fit_intercept and any(b.any() for b in intercepts):
        raise ValueError(
            "intercepts_init must be zeros or None when fit_intercept=False; it has other values."
        )
    return coefs, intercepts


class _Run(NamedTuple):
    """A start, after its short run if there is one."""

    number: int
    theta: Array
    monitor: Monitor
    optimizer: Optimizer


def n_finalists(estimator: Any, problem: Problem) -> int:
    """Return the number of random starts that run until convergence.

    These are a third of `n_init`, and at least two, after short runs of all starts. With Adam,
    L-BFGS, held-out rows, and E-steps that are estimates, every start runs to its end.
    """
    races = estimator.solver == "em" and problem.engine.is_exact and problem.held_out is None
    if not races:
        return estimator.n_init
    return min(estimator.n_init, max(2, -(-estimator.n_init // 3)))


class Starts:
    """The random starts of a fit.

    Parameters
    ----------
    training : Training
    estimator : BaseFastEM
        Its parameters are read.
    n_finalists : int
        Number of starts that run until convergence.
    """

    def __init__(self, training: Any, estimator: Any, n_finalists: int) -> None:
        self._training, self._estimator = training, estimator
        self._n_finalists = n_finalists
        self._records: list[dict[str, Any] | None] = [None] * estimator.n_init
        self._failure: FloatingPointError | None = None

    def best(self, progress: Progress) -> Ascent:
        """Run all starts; return the ascent with the highest objective.

        Raises
        ------
        DivergenceError
            If no start has a finite objective.

        Warns
        -----
        ConvergenceWarning
            If a start is dropped because its objective is not finite.
        """
        random_state = check_random_state(self._estimator.random_state)
        best: Ascent | None = None
        try:
            if self._n_finalists < self._estimator.n_init:
                runs = self._finalists(random_state)
            else:
                runs = self._begun(random_state, 0)
            for run in runs:
                ascent = self._to_its_end(run, progress)
                if ascent is None:
                    continue
                if best is None or ascent.monitor.merit > best.monitor.merit:
                    best = ascent
                if ascent.monitor.interrupted:
                    # warn even if an earlier start is the best
                    best.monitor.interrupted, best.monitor.converged = True, False
                    break
        except KeyboardInterrupt:
            if best is None:
                raise  # there is no result to keep
            best.monitor.interrupted, best.monitor.converged = True, False
        if best is None:
            raise DivergenceError(
                f"No start reached a finite objective: {self._failure} Use smaller coefs_init, a "
                "smaller alpha, or standardize=True."
            ) from self._failure
        return best

    @property
    def records(self) -> list[dict[str, Any]]:
        """The starts that were run: loss, iterations, and parameters in the units of X and y."""
        return [record for record in self._records if record is not None]

    def _finalists(self, random_state: np.random.RandomState) -> list[_Run]:
        """Return the starts with the highest objectives after short runs.

        After Ctrl-C, this is the best start so far, whose run is marked as interrupted.
        """
        runs = []
        try:
            for run in self._begun(random_state, min(_SHORT, self._estimator.max_iter)):
                runs.append(run)
                if run.monitor.interrupted:
                    break
            is_interrupted = bool(runs) and runs[-1].monitor.interrupted
        except KeyboardInterrupt:
            if not runs:
                raise
            is_interrupted = True
        runs.sort(key=lambda run: -run.monitor.objective)
        if is_interrupted:
            runs = runs[:1]
            runs[0].monitor.interrupted, runs[0].monitor.converged = True, False
        return runs[: self._n_finalists]

    def _begun(self, random_state: np.random.RandomState, n_iter: int) -> Iterator[Any]:
        """Yield every start after some iterations."""
        training = self._training
        for number in range(self._estimator.n_init):
            theta, monitor = training.start(random_state), training.new_monitor()
            try:
                with self._reporting(number), single_threaded_blas():
                    theta = training.settled(theta, random_state)
                    optimizer = training.new_optimizer(random_state)
                    if n_iter > 0:
                        theta = training.run(theta, monitor, optimizer, n_iter)
            except FloatingPointError as error:
                self._drop(number, error)
                continue
            run = _Run(number, theta, monitor, optimizer)
            self._record(run)
            yield run

    def _to_its_end(self, run: _Run, progress: Progress) -> Ascent | None:
        """Return the finished ascent of a start; None if the start is dropped."""
        training = self._training
        _, theta, monitor, optimizer = run
        n_before = monitor.n_iter
        try:
            with self._reporting(run.number), single_threaded_blas():
                if n_before > 0 and (monitor.converged or monitor.interrupted):
                    ascent = training.finished(theta, monitor, optimizer)
                else:
                    ascent = training.ascend(theta, monitor, optimizer, progress, n_before)
        except FloatingPointError as error:
            self._drop(run.number, error)
            return None
        self._record(run._replace(theta=ascent.theta))
        return ascent

    def _reporting(self, number: int) -> AbstractContextManager[None]:
        """Return a context that reports the number of a start, if there are several."""
        n_starts = self._estimator.n_init
        return doing(f"start {number + 1} of {n_starts}") if n_starts > 1 else nullcontext()

    def _record(self, run: _Run) -> None:
        if not run.monitor.history:
            return
        fitted = self._training.attributes(run.theta, run.monitor)
        names = "loss_", "n_iter_", "converged_", "coefs_", "intercepts_", "variance_"
        self._records[run.number] = {n.rstrip("_"): fitted[n] for n in names if n in fitted}

    def _drop(self, number: int, error: FloatingPointError) -> None:
        self._failure = error
        warn_user(
            f"Start {number + 1} of {self._estimator.n_init} is dropped: {error}",
            ConvergenceWarning,
        )
