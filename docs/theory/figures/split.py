"""A bimodal S: no line has a small rounding error, but each of two conditional parts has one."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREY, ORANGE, TwoClassRow, prior, states, use_style
from scipy.special import expit

from fastem.kernels.line import rounding_error

TOL = 1e-10
random = np.random.RandomState(4)
unit = 0  # separates the two modes
log_odds, v = random.normal(0.0, 1.0, 11), random.normal(0.0, 1.5, 11)
log_odds[unit], v[unit] = -38.0, 80.0
row = TwoClassRow(log_odds, v, -40.0)
p = row.exact()

on = states(len(v))[:, unit] == 1
logits, weights = states(len(v)) @ v + row.c, prior(log_odds)
terms = weights * expit(logits)  # they sum to p
share_of_on = terms[on].sum() / p  # P(Z = 1 | x, y) of the unit


def given(state):
    """Return the row given the state of the unit, which becomes part of the intercept."""
    rest = np.arange(len(v)) != unit
    return TwoClassRow(log_odds[rest], v[rest], row.c + state * v[unit])


parts = {0: given(0), 1: given(1)}
joint = {z: expit(log_odds[unit] if z else -log_odds[unit]) * parts[z].exact() for z in parts}


def rounding_over_p(own, delta):
    """Return the rounding error of a line, relative to the probability of the row itself."""
    amplitude = own.integrand(delta).real / own.exact()
    return rounding_error(len(own.v)) * amplitude


deltas = np.linspace(0.002, 0.998, 500)
errors = {"whole row": rounding_over_p(row, deltas)}
errors |= {f"given Z = {z}": rounding_over_p(part, deltas) for z, part in parts.items()}

use_style()
figure, axes = plt.subplots(2, 1, figsize=(6.2, 6.2), layout="constrained")
edges = np.arange(-52, 53, 2.0)
for state, colour in ((0, BLUE), (1, ORANGE)):
    own = on == bool(state)
    axes[0].hist(
        logits[own], edges, weights=weights[own], color=colour, alpha=0.35,
        label=f"P(S), states with Z = {state}",
    )  # fmt: skip
    axes[0].hist(
        logits[own], edges, weights=terms[own], histtype="step", color=colour, lw=1.6,
        label=f"P(S) sigmoid(S), Z = {state}",
    )  # fmt: skip
axes[0].set(
    yscale="log", ylim=(1e-26, 1e3), xlabel="S (log-odds)", ylabel="probability per bin of 2",
    title="Distribution of S, and the two parts of p",
)  # fmt: skip
axes[0].legend(frameon=False, ncols=2, fontsize=8, loc="upper center")
for (name, error), colour in zip(errors.items(), (GREY, BLUE, ORANGE), strict=True):
    axes[1].semilogy(deltas, error, color=colour, label=name)
axes[1].axhline(TOL, color="black", lw=0.8, ls="--")
axes[1].text(0.5, 1.6 * TOL, "tolerance", ha="center")
axes[1].set(
    xlabel="\u03b4, the real part of the line", ylabel="rounding error / probability",
    ylim=(1e-16, 1e6), title="Rounding error of every line",
)  # fmt: skip
axes[1].legend(frameon=False, ncols=3, loc="upper center")
