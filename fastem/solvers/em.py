"""The EM loop. Models and steps are passed to it."""

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


class Stepper(Protocol):
    """A rule that computes the next iterate from the current one."""

    def advance(self, model: Any, iterate: Iterate) -> Iterate | None:
        """Return the next iterate; None if no step was found."""

    def restart(self) -> None:
        """Discard the memory of earlier iterates."""


class PlainStep:
    """An M-step and an E-step: the plain EM algorithm."""

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate of plain EM."""
        theta = model.maximize(iterate.theta, iterate.statistics)
        return Iterate(theta, *model.expect(theta))

    def restart(self) -> None:
        """Do nothing: plain EM has no memory."""


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


def run_em(
    model: Model, theta: Array, monitor: Monitor, max_iter: int, stepper: Stepper | None = None
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
    if not monitor.start(iterate.objective):
        stepper.restart()
    for _ in range(max_iter):
        try:
            candidate = stepper.advance(model, iterate)
        except KeyboardInterrupt:
            monitor.interrupted = True
            break
        if candidate is None:
            monitor.converged = False
            break
        stop = monitor.update(candidate.objective, candidate.theta)
        if not monitor.fell:
            iterate = candidate
        if stop:
            break
    return iterate.theta
