"""Stochastic optimisers: the schedule of their rates, and what they remember."""

from typing import Any

import numpy as np

from fastem.layers import Rule, State
from fastem.parameters import Array

_SLOWEST = 1e-6


class Optimizer:
    """A rule of descent, its rate, and its memory of earlier steps.

    Parameters
    ----------
    settings : estimator
        Whose parameters of the names of scikit-learn's MLP are read.
    theta : array (n_parameters,)
        Gives length and precision of the memory.
    """

    def __init__(self, settings: Any, theta: Array) -> None:
        self.rate = float(settings.learning_rate_init)
        self.n_steps = 0
        self._first = np.zeros_like(theta)
        self._settings = {
            name: getattr(settings, name)
            for name in (
                "solver", "learning_rate", "learning_rate_init", "power_t", "momentum",
                "nesterovs_momentum", "beta_1", "beta_2", "epsilon",
            )
        }  # fmt: skip
        self._second = np.zeros_like(theta) if settings.solver == "adam" else self._first

    def state(self, theta: Array) -> State:
        """Return parameters and memory as kernels take them."""
        return State(theta, self._first, self._second)

    def rule(self) -> Rule:
        """Return the rule at the present rate."""
        of = self._settings
        if of["solver"] == "adam":
            return Rule.adam(of["learning_rate_init"], of["beta_1"], of["beta_2"], of["epsilon"])
        return Rule.sgd(self.rate, of["momentum"], of["nesterovs_momentum"])

    def end_epoch(self, n_seen: int) -> None:
        """Set the rate that "invscaling" has after so many rows."""
        of = self._settings
        if of["solver"] == "sgd" and of["learning_rate"] == "invscaling":
            self.rate = float(of["learning_rate_init"]) / (n_seen + 1) ** of["power_t"]

    def meet_plateau(self) -> tuple[bool, str]:
        """Divide the rate of "adaptive" by five; return whether training is over, and the words."""
        of = self._settings
        if of["solver"] != "sgd" or of["learning_rate"] != "adaptive":
            return True, "Stopping."
        if self.rate <= _SLOWEST:
            return True, "Learning rate too small. Stopping."
        self.rate /= 5.0
        return False, f"Setting learning rate to {self.rate:f}"
