"""Parts that the theory figures share: exact sums, quadrature rules in NumPy, and colours.

The sums here are a few lines of NumPy each. The line, the plane and the nodes are those that the
engine `fastem.Quadrature` chooses: they come from its compiled functions.
"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, gamma, softmax

from fastem.kernels import gaussian_plan, line, plane, plane_plan

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#d9730d", "#2e7d4f", "#b3261e", "#6b6b6b"


def use_style():
    """Set matplotlib's parameters. Sphinx resets them between figures, so every script calls it."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def states(n_hidden):
    """Return all states (2**n_hidden, n_hidden) of the units; bit h of the number is unit h."""
    return (np.arange(2**n_hidden)[:, None] >> np.arange(n_hidden)) & 1


def prior(log_odds):
    """Return P(z | x) (2**n_hidden,) of all states."""
    z = states(len(log_odds))
    return np.where(z == 1, expit(log_odds), expit(-log_odds)).prod(axis=1)


class Nodes(NamedTuple):
    """Nodes of a rule on the line ``Re w = delta``: ``w = delta + i k step``, k = 0, 1, ..."""

    delta: float
    step: float
    n_nodes: int

    @property
    def t(self):
        """Imaginary parts (n_nodes,)."""
        return self.step * np.arange(self.n_nodes)

    @property
    def w(self):
        """Nodes (n_nodes,) in the complex plane."""
        return self.delta + 1j * self.t

    def integral(self, integrand):
        """Return the trapezoidal sum; conjugate nodes are counted by twice the real part."""
        values = integrand(self.w).real
        return self.step / np.pi * (values.sum() - 0.5 * values[0])


class TwoClassRow(NamedTuple):
    """One row of a network with two classes and the label 1; ``S = c + v . Z``."""

    log_odds: np.ndarray
    v: np.ndarray
    c: float

    def exact(self):
        """Return ``p = E sigmoid(S)`` as a sum over all states."""
        return prior(self.log_odds) @ expit(states(len(self.v)) @ self.v + self.c)

    def moment(self, w):
        """Return ``E exp(w S)`` at complex numbers w."""
        w = np.asarray(w)[..., None]
        factors = expit(-self.log_odds) + expit(self.log_odds) * np.exp(w * self.v)
        return np.exp(w[..., 0] * self.c) * factors.prod(axis=-1)

    def integrand(self, w):
        """Return ``pi / sin(pi w) E exp(w S)``."""
        return np.pi / np.sin(np.pi * w) * self.moment(w)

    def plan(self, tol, expected):
        """Return the engine's `LinePlan` for a tolerance and an estimate of p."""
        plan = line.LinePlan(*np.empty((len(line.LinePlan._fields), 1)))
        line.plan_rows(
            self.log_odds[None], np.ones(1), self.v, self.c, tol,
            line.rounding_error(len(self.v)), np.log([expected]), plan,
        )  # fmt: skip
        return plan

    def nodes(self, tol):
        """Return the nodes that the engine chooses for a tolerance, given the exact p."""
        plan = self.plan(tol, self.exact())
        step = 2.0 * np.pi / plan.period[0]
        return Nodes(plan.abscissa[0], step, int(plan.reach[0] / step) + 1)


class GaussianRow(NamedTuple):
    """One row of a network with one number: ``y | z`` is normal with mean ``c + v . z``."""

    log_odds: np.ndarray
    v: np.ndarray
    c: float
    variance: float
    y: float

    def exact(self):
        """Return ``p(y | x)`` as a sum over all states."""
        mean = states(len(self.v)) @ self.v + self.c
        density = np.exp(-0.5 * (self.y - mean) ** 2 / self.variance)
        return prior(self.log_odds) @ density / np.sqrt(2.0 * np.pi * self.variance)

    def integrand(self, w):
        """Return ``exp(variance w^2 / 2 + w (c - y)) prod_h (1 - u_h + u_h exp(w v_h))``."""
        w = np.asarray(w)
        factors = expit(-self.log_odds) + expit(self.log_odds) * np.exp(w[..., None] * self.v)
        return np.exp(0.5 * self.variance * w**2 + w * (self.c - self.y)) * factors.prod(axis=-1)

    def nodes(self, tol):
        """Return the nodes that the engine chooses for a tolerance, given the exact p."""
        plan = gaussian_plan.GaussianPlan(*np.empty((len(gaussian_plan.GaussianPlan._fields), 1)))
        own = self.log_odds[None], np.array([self.c - self.y]), self.v, self.variance
        gaussian_plan.find_saddles(*own, plan)
        gaussian_plan.plan_rows(*own, tol, np.log([self.exact()]), plan)
        step = 2.0 * np.pi / plan.period[0]
        return Nodes(plan.abscissa[0], step, int(plan.reach[0] / step) + 1)


class ThreeClassRow(NamedTuple):
    """One row of a network with three classes and the label 0; ``S = (A, B) = c + v . Z``."""

    log_odds: np.ndarray
    v: np.ndarray  # (2, n_hidden)
    c: np.ndarray  # (2,)

    def exact(self):
        """Return ``p = E 1 / (1 + exp(A) + exp(B))`` as a sum over all states."""
        logits = states(len(self.log_odds)) @ self.v.T + self.c
        return prior(self.log_odds) @ softmax(np.insert(logits, 0, 0.0, axis=1), axis=1)[:, 0]

    def log_moments(self):
        """Return ``log E exp(-w . S)`` (nats) at the 28 points of the grid."""
        moments = np.zeros((1, plane_plan.N_POINTS))
        points = plane_plan.TRIANGLE.points
        plane.add_log_moments(self.log_odds[None], self.v, self.c, points, moments)
        return moments

    def nodes(self, tol):
        """Return the lattice that the engine chooses for a tolerance, given the exact p."""
        plan = plane_plan.PlanePlan(*np.empty((len(plane_plan.PlanePlan._fields), 1)))
        plane_plan.plan_rows(
            self.log_odds[None], self.v, self.c, self.log_moments(), plane_plan.TRIANGLE, tol,
            plane_plan.rounding_error(len(self.log_odds)), np.log([self.exact()]), plan,
        )  # fmt: skip
        return Lattice(plan.d1[0], plan.d2[0], plan.period[0], plan.reach[0])


class Lattice(NamedTuple):
    """Nodes of a rule over a plane: ``w = d + i t`` for t of a lattice inside a hexagon."""

    d1: float
    d2: float
    period: float
    reach: float

    @property
    def t(self):
        """Return the nodes t (n_nodes, 2): ``(j, k) eta``, j - k a multiple of three."""
        eta = 2.0 * np.pi / (3.0 * self.period)
        size = int(self.reach / eta)
        j, k = np.mgrid[-size : size + 1, -size : size + 1].reshape(2, -1)
        kept = ((j - k) % 3 == 0) & (abs(j + k) <= size)
        return eta * np.stack([j[kept], k[kept]], axis=1)

    def integral(self, row):
        """Return the trapezoidal sum for a `ThreeClassRow`."""
        w1, w2 = (np.array([self.d1, self.d2]) + 1j * self.t).T
        exponents = -np.outer(w1, row.v[0]) - np.outer(w2, row.v[1])
        moments = (expit(-row.log_odds) + expit(row.log_odds) * np.exp(exponents)).prod(axis=1)
        moments *= np.exp(-w1 * row.c[0] - w2 * row.c[1])
        values = gamma(w1) * gamma(w2) * gamma(1.0 - w1 - w2) * moments
        return values.real.sum() / (3.0 * self.period**2)
