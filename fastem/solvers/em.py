"""The EM loop. Models and steps are passed to it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fastem.parameters import Array
from fastem.solvers.monitor import Monitor

_MAX_HALVINGS = 60


class Model(Protocol):
    """A latent-variable model whose parameters are one flat vector."""

    def expect(self, theta: Array, draw: int = 0) -> tuple[float, Any]:
        """Run the E-step: return the objective (nats) and the statistics for the M-step.

        ``draw`` is the number of the random draw. A model without random numbers ignores it.
        """

    def maximize(self, theta: Array, statistics: Any) -> Array:
        """Run the M-step: return new parameters.

        With `PlainStep` the expected objective must not be lower at the new parameters. With
        `DampedStep` it is enough that the direction towards them is an ascent direction.
        """


class Iterate(NamedTuple):
    """Parameters, their objective (nats), and the statistics under them.

    ``draw`` is the number of the random draw that the statistics come from.
    """

    theta: Array
    objective: float
    statistics: Any
    draw: int = 0


class CoarsePhase(NamedTuple):
    """The first phase of a run, in which E-steps are faster and less exact.

    Attributes
    ----------
    error : float, nats
        Largest error to be expected of the objective.
    end : callable
        Makes the following E-steps of the model exact.
    """

    error: float
    end: Callable[[], None]


class Stepper(Protocol):
    """A rule that computes the next iterate from the current one."""

    def advance(self, model: Any, iterate: Iterate) -> Iterate | None:
        """Return the next iterate; None if no step was found."""

    def restart(self) -> None:
        """Discard the memory of earlier iterates."""

    def may_converge(self) -> bool:
        """Return whether a small gain of the last step means convergence."""


class PlainStep:
    """An M-step and an E-step: the plain EM algorithm."""

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate of plain EM."""
        theta = model.maximize(iterate.theta, iterate.statistics)
        return Iterate(theta, *model.expect(theta))

    def restart(self) -> None:
        """Do nothing: plain EM has no memory."""

    def may_converge(self) -> bool:
        """Return True: a small gain means convergence."""
        return True


class DampedStep:
    """An EM step that is halved until the objective does not fall.

    For M-steps that move along an ascent direction of Q by a length that may be too large.
    """

    def advance(self, model: Model, iterate: Iterate) -> Iterate | None:
        """Return the next iterate; None if the objective falls at every length."""
        step = model.maximize(iterate.theta, iterate.statistics) - iterate.theta
        for _ in range(_MAX_HALVINGS):
            theta = iterate.theta + step
            try:
                candidate = Iterate(theta, *model.expect(theta))
            except FloatingPointError:  # the step overflows
                candidate = None
            if candidate is not None and candidate.objective >= iterate.objective:
                return candidate
            step = 0.5 * step
        return None

    def restart(self) -> None:
        """Do nothing: every step starts at full length."""

    def may_converge(self) -> bool:
        """Return True: a small gain means convergence."""
        return True


def run_em(
    model: Model,
    theta: Array,
    monitor: Monitor,
    max_iter: int,
    stepper: Stepper | None = None,
    coarse: CoarsePhase | None = None,
) -> Array:
    """Maximise the likelihood by EM steps.

    Parameters
    ----------
    model : Model
    theta : array (n_parameters,)
        Starting values.
    monitor : Monitor
        Records the history. A run that continues with the same monitor and stepper equals a run
        that was not interrupted: random draws are numbered on from ``monitor.n_iter``.
    max_iter : int
    stepper : Stepper, default=PlainStep()
    coarse : CoarsePhase, optional
        The phase of the model at the start. It ends when an iteration gains too little: this
        iteration is dropped, and the last objective is computed again. Recorded objectives
        therefore never fall, and the last one is exact.

    Returns
    -------
    theta : array (n_parameters,)
        The last iterate, which is the best, also after ``KeyboardInterrupt``. Then
        ``monitor.interrupted`` is True. If the stepper found no step, the run ends and
        ``monitor.converged`` is False.

    Raises
    ------
    FloatingPointError
        If the objective at the starting values is not finite.
    """
    stepper = PlainStep() if stepper is None else stepper
    draw = monitor.n_iter
    iterate = Iterate(theta, *model.expect(theta, draw), draw)
    if not monitor.start(iterate.objective, theta):
        stepper.restart()
    monitor.limit = monitor.n_iter + max_iter
    n_iter = 0
    while n_iter < max_iter:
        try:
            candidate = stepper.advance(model, iterate)
        except KeyboardInterrupt:
            monitor.interrupted = True
            break
        if coarse is not None and not _gains(candidate, iterate, coarse.error, monitor, stepper):
            iterate, coarse = _exact(model, iterate, coarse, monitor), None
            continue
        if candidate is None:
            monitor.converged = False
            break
        n_iter += 1
        stop = monitor.update(candidate.objective, candidate.theta, stepper.may_converge)
        if not monitor.fell:
            iterate = candidate
        if stop:
            break
    if coarse is not None:
        objective = monitor.objective
        _exact(model, iterate, coarse, monitor)
        monitor.before_correction = objective
    return iterate.theta


def _gains(
    candidate: Iterate | None, last: Iterate, error: float, monitor: Monitor, stepper: Stepper
) -> bool:
    """Return whether a step of a coarse phase gains more than errors of both objectives can hide.

    A gain that would end the run does not count.
    """
    if candidate is None:
        return False
    least = 2.0 * error
    if stepper.may_converge():
        least = max(least, monitor.smallest_gain(last.objective, candidate.objective))
    return candidate.objective - last.objective > least


def _exact(model: Model, iterate: Iterate, coarse: CoarsePhase, monitor: Monitor) -> Iterate:
    """End the coarse phase; return the iterate with its exact objective, which is recorded."""
    coarse.end()
    iterate = Iterate(iterate.theta, *model.expect(iterate.theta, iterate.draw), iterate.draw)
    monitor.correct(iterate.objective)
    return iterate
