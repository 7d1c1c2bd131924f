"""The EM loop and nothing else: it knows neither networks nor how a step is made."""

from typing import Any, NamedTuple, Protocol

from fastem.parameters import Array
from fastem.solvers.monitor import Monitor

_MAX_HALVINGS = 60


class Model(Protocol):
    """A latent-variable model whose parameters are one flat vector."""

    def expect(self, theta: Array) -> tuple[float, Any]:
        """Run the E-step: return the objective (nats) and what the M-step needs."""

    def maximize(self, theta: Array, statistics: Any) -> Array:
        """Run the M-step: return new parameters.

        `PlainStep` needs an expected objective that is no lower there, as EM has it. For
        `DampedStep` it is enough that the way there begins uphill.
        """


class Iterate(NamedTuple):
    """Parameters, their objective (nats), and the expectations under them."""

    theta: Array
    objective: float
    statistics: Any


class Stepper(Protocol):
    """A way from one iterate to the next, never down."""

    def advance(self, model: Any, iterate: Iterate) -> Iterate:
        """Return the next iterate."""

    def restart(self) -> None:
        """Forget what was learnt from earlier iterates."""


class PlainStep:
    """An M-step and an E-step: the EM algorithm as it is written."""

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate of plain EM."""
        theta = model.maximize(iterate.theta, iterate.statistics)
        return Iterate(theta, *model.expect(theta))

    def restart(self) -> None:
        """Forget nothing: plain EM has no memory."""


class DampedStep:
    """An EM step that is halved until the objective does not fall.

    For M-steps that go uphill on Q by a length of their own choice.
    """

    def advance(self, model: Model, iterate: Iterate) -> Iterate:
        """Return the next iterate; the same one if no length of step holds."""
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
        return Iterate(iterate.theta, *model.expect(iterate.theta))

    def restart(self) -> None:
        """Forget nothing: every step begins at full length."""


def run_em(
    model: Model, theta: Array, monitor: Monitor, max_iter: int, stepper: Stepper | None = None
) -> Array:
    """Climb the likelihood by EM steps.

    Parameters
    ----------
    model : Model
    theta : array (n_parameters,)
        Starting values.
    monitor : Monitor
        Keeps the history, also across calls: continuing with the same monitor and stepper
        equals not having stopped.
    max_iter : int
    stepper : Stepper, optional
        By default `PlainStep`.

    Returns
    -------
    theta : array (n_parameters,)
        The best iterate, which is the last; on ``KeyboardInterrupt`` too, after which
        ``monitor.interrupted`` is True.

    Raises
    ------
    FloatingPointError
        If the objective at the starting values is not finite.
    """
    stepper = PlainStep() if stepper is None else stepper
    iterate = Iterate(theta, *model.expect(theta))
    if not monitor.start(iterate.objective):
        stepper.restart()
    for _ in range(max_iter):
        try:
            candidate = stepper.advance(model, iterate)
        except KeyboardInterrupt:
            monitor.interrupted = True
            break
        stop = monitor.update(candidate.objective, candidate.theta)
        if not monitor.fell:
            iterate = candidate
        if stop:
            break
    return iterate.theta
