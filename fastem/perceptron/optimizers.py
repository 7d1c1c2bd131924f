"""Stochastic optimisers: the schedule of their rates, and what they remember."""

import math

import numpy as np

from fastem.kernels.descent import descend
from fastem.parameters import Array
from fastem.perceptron.layers import Rule, State

_SLOWEST = 1e-6


class Adam:
    """Adam (Kingma and Ba 2015).

    Parameters
    ----------
    theta : array (n_parameters,)
        Gives length and precision of the moments.
    learning_rate_init, beta_1, beta_2, epsilon : float
        As scikit-learn's MLP names them.
    """

    def __init__(
        self, theta: Array, learning_rate_init: float, beta_1: float, beta_2: float, epsilon: float
    ) -> None:
        self.rate = float(learning_rate_init)
        self.n_steps = 0
        self._betas = beta_1, beta_2, epsilon
        self._moments = np.zeros_like(theta), np.zeros_like(theta)

    def __setstate__(self, state: dict) -> None:
        """Restore a pickled optimizer with moments of its own, which kernels overwrite."""
        vars(self).update(state)
        self._moments = np.array(self._moments[0]), np.array(self._moments[1])

    def state(self, theta: Array) -> State:
        """Return parameters and memory as kernels take them."""
        return State(theta, *self._moments)

    def rule(self) -> Rule:
        """Return the rule at the present rate."""
        return Rule.adam(self.rate, *self._betas)

    def step(self, theta: Array, gradient: Array) -> None:
        """Step down a gradient; ``theta`` is modified in place."""
        self.n_steps += 1
        beta_1, beta_2, _ = self._betas
        correction = math.sqrt(1.0 - beta_2**self.n_steps) / (1.0 - beta_1**self.n_steps)
        descend(self.rule(), self.rate * correction, theta, gradient, 0.0, 1.0, *self._moments)

    def end_epoch(self, n_seen: int) -> None:
        """Do nothing: Adam has no schedule."""

    def meet_plateau(self) -> tuple[bool, str]:
        """Return whether training is over, and the words to say so."""
        return True, "Stopping."


class Sgd:
    """Gradient descent with momentum, and a schedule of its rate.

    Parameters
    ----------
    theta : array (n_parameters,)
        Gives length and precision of the velocity.
    learning_rate_init : float
    learning_rate : {"constant", "invscaling", "adaptive"}
    power_t, momentum : float
    nesterovs_momentum : bool
        As scikit-learn's MLP names them.
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

    def __setstate__(self, state: dict) -> None:
        """Restore a pickled optimizer with a velocity of its own, which kernels overwrite."""
        vars(self).update(state)
        self._velocity = np.array(self._velocity)

    def state(self, theta: Array) -> State:
        """Return parameters and memory as kernels take them."""
        return State(theta, self._velocity, self._velocity)

    def rule(self) -> Rule:
        """Return the rule at the present rate."""
        return Rule.sgd(self.rate, *self._momentum)

    def end_epoch(self, n_seen: int) -> None:
        """Set the rate that "invscaling" has after so many rows."""
        if self._schedule == "invscaling":
            with np.errstate(over="ignore"):  # a power beyond numbers leaves no rate
                self.rate = float(self._first_rate / np.power(n_seen + 1.0, self._power))

    def meet_plateau(self) -> tuple[bool, str]:
        """Divide the rate of "adaptive" by five; return whether training is over, and the words."""
        if self._schedule != "adaptive":
            return True, "Stopping."
        if self.rate <= _SLOWEST:
            return True, "Learning rate too small. Stopping."
        self.rate /= 5.0
        return False, f"Setting learning rate to {self.rate:f}"


Optimizer = Adam | Sgd
