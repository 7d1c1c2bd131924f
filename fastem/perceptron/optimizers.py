"""Stochastic optimizers: the schedules of their learning rates, and their moments."""

from typing import Any

import numpy as np

from fastem.kernels.descent import Rule, State
from fastem.parameters import Array

_SMALLEST_RATE = 1e-6


class Adam:
    """Adam (Kingma and Ba 2015).

    Parameters
    ----------
    theta : array (n_parameters,)
        Determines length and precision of the moments.
    learning_rate_init, beta_1, beta_2, epsilon : float
        As in scikit-learn's MLP.

    Attributes
    ----------
    rate : float
        Learning rate.
    n_steps : int
        Number of steps taken.
    """

    def __init__(
        self, theta: Array, learning_rate_init: float, beta_1: float, beta_2: float, epsilon: float
    ) -> None:
        self.rate = float(learning_rate_init)
        self.n_steps = 0
        self._betas = beta_1, beta_2, epsilon
        self._moments = np.zeros_like(theta), np.zeros_like(theta)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled optimizer; the moments are copied, because kernels overwrite them."""
        vars(self).update(state)
        first, second = self._moments
        self._moments = np.array(first), np.array(second)

    def state(self, theta: Array) -> State:
        """Return parameters and moments in the form that kernels read."""
        return State(theta, *self._moments)

    def rule(self) -> Rule:
        """Return the rule of the next steps."""
        return Rule.adam(self.rate, *self._betas)

    def end_epoch(self, n_seen: int) -> None:
        """Do nothing: Adam has no schedule."""

    def meet_plateau(self) -> tuple[bool, str]:
        """Return whether training ends, and a message about it."""
        return True, "Stopping."


class Sgd:
    """Gradient descent with momentum and a schedule of the learning rate.

    Parameters
    ----------
    theta : array (n_parameters,)
        Determines length and precision of the velocity.
    learning_rate_init : float
    learning_rate : {"constant", "invscaling", "adaptive"}
    power_t, momentum : float
    nesterovs_momentum : bool
        As in scikit-learn's MLP.

    Attributes
    ----------
    rate : float
        Learning rate of the next steps.
    n_steps : int
        Number of steps taken.
    """

    def __init__(
        self,
        theta: Array,
        learning_rate_init: float,
        learning_rate: str,
        power_t: float,
        momentum: float,
        nesterovs_momentum: bool,
    ) -> None:
        self.rate = self._first_rate = float(learning_rate_init)
        self.n_steps = 0
        self._schedule, self._power = learning_rate, power_t
        self._momentum = momentum, nesterovs_momentum
        self._velocity = np.zeros_like(theta)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled optimizer; the velocity is copied, because kernels overwrite it."""
        vars(self).update(state)
        self._velocity = np.array(self._velocity)

    def state(self, theta: Array) -> State:
        """Return parameters and velocity in the form that kernels read."""
        return State(theta, self._velocity, self._velocity)

    def rule(self) -> Rule:
        """Return the rule of the next steps."""
        return Rule.sgd(self.rate, *self._momentum)

    def end_epoch(self, n_seen: int) -> None:
        """Set the rate of "invscaling" after ``n_seen`` rows: ``rate_init / (n_seen + 1)**power``.

        The other schedules do not change at the end of an epoch.
        """
        if self._schedule == "invscaling":
            with np.errstate(over="ignore"):  # the power may overflow: the rate is then zero
                self.rate = float(self._first_rate / np.power(n_seen + 1.0, self._power))

    def meet_plateau(self) -> tuple[bool, str]:
        """Return whether training ends, and a message.

        The schedule "adaptive" divides its rate by five instead, until it is 1e-6 or less.
        """
        if self._schedule != "adaptive":
            return True, "Stopping."
        if self.rate <= _SMALLEST_RATE:
            return True, "Learning rate too small. Stopping."
        self.rate /= 5.0
        return False, f"Setting learning rate to {self.rate:f}"


Optimizer = Adam | Sgd
