"""Gradient M-step: the step of eqs. 12 and 15 with a given rate."""

from fastem.expectations import Statistics
from fastem.m_step.base import MStep
from fastem.parameters import Array


class Gradient(MStep):
    """One gradient step on the summed Q, its rate halved where Q would fall."""

    def _hidden(self, hidden: Array, statistics: Statistics) -> Array:
        step = self.learning_rate * self.hidden.gradient(hidden, statistics)
        return self.hidden.damped(hidden, step, statistics)

    def _output(self, joined: Array, statistics: Statistics) -> Array:
        step = self.learning_rate * self.output.gradient(joined, statistics)
        return self.output.damped(joined, step, statistics)
