"""Tilt and groups of a Gaussian family: exponents within the range of floating-point numbers."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREEN, GREY, ORANGE, RED, prior, states, use_style
from scipy.special import expit, log_expit

import fastem
from fastem.engines.grouping import LARGEST_SPAN, groups_of_targets
from fastem.parameters import Parameters, Shape
from fastem.rows import sort_rows

random = np.random.RandomState(6)
n_rows, m, variance = 400, 8, 0.02
X, W = random.normal(0.0, 1.0, (n_rows, 2)), random.normal(0.0, 1.0, (2, m))
b, V, c = random.normal(0.0, 0.5, m), random.normal(0.0, 2.0, (m, 1)), np.zeros(1)
z = random.uniform(size=(n_rows, m)) < expit(X @ W + b)
y = (z @ V + c + np.sqrt(variance) * random.normal(size=(n_rows, 1))).ravel()

shape = Shape(2, (m,), 1, family=fastem.Gaussian())
parameters = Parameters((np.vstack([W, b]),), np.vstack([V, c]), np.array([variance]))
rows = sort_rows(X, y[:, None], np.ones(n_rows), shape)
groups = groups_of_targets(rows, parameters, shape, LARGEST_SPAN)
sorted_y = rows.targets[:, 0]
edges = groups.starts
reach = np.abs(V).sum() / variance
widths = np.array([np.ptp(sorted_y[a:e]) for a, e in pairwise(edges)])

# one row: log p(y|x) from the table of its group and tilted log-odds
row = int(np.abs(groups.tilts[:, 0]).argmax())  # the largest tilt of all rows
group = int(np.searchsorted(edges, row, side="right") - 1)
reference, own = groups.references[group, 0], sorted_y[row]
eta = states(m) @ V[:, 0] + c[0]
log_table = -0.5 * (reference - eta) ** 2 / variance  # relative to its maximum over eta
a = rows.inputs[row] @ parameters.hidden[0]
tilted = a + V[:, 0] * (own - reference) / variance
ratio = (log_expit(-a) - log_expit(-tilted)).sum()  # softplus of tilted minus softplus of a
log_p = groups.constants[row] + ratio + np.log(prior(tilted) @ np.exp(log_table))
direct = fastem.e_step(
    X, y, [W, V], [b, c], family=fastem.Gaussian(), variance=[variance]
).log_likelihood[rows.order[row]]  # fmt: skip
error = abs(log_p - direct)

use_style()
figure, axes = plt.subplots(2, 1, figsize=(6.2, 6.8), layout="constrained")
for k, (start, stop) in enumerate(pairwise(edges)):
    colour = (BLUE, ORANGE, GREEN, GREY)[k % 4]
    axes[0].plot(np.arange(start, stop), sorted_y[start:stop], ".", color=colour, ms=4)
    axes[0].hlines(groups.references[k, 0], start, stop - 1, color=RED, lw=1.6)
axes[0].plot([], [], color=RED, lw=1.6, label="reference value t of a group")
axes[0].legend(frameon=False)
axes[0].set(xlabel="rows, sorted by y", ylabel="y", title=f"{len(widths)} groups of similar y")

x = np.linspace(eta.min(), eta.max(), 500)
axes[1].plot(
    x, -0.5 * x**2 / variance, color=GREY, ls=":", label="\u2212A(\u03b7)/s, without a reference"
)
axes[1].plot(x, -0.5 * (x - reference) ** 2 / variance, color=BLUE, label="table: log p(t|z)")
axes[1].plot(
    x, (own - reference) * (x - own) / variance, color=ORANGE, label="tilt: (y \u2212 t) \u03b7/s"
)
axes[1].plot(x, -0.5 * (x - own) ** 2 / variance, color=GREEN, label="log p(y|z)")
axes[1].axhline(-745.0, color=RED, lw=0.8, ls="--")
axes[1].text(x[-1], -735.0, "exp is zero below", color=RED, va="bottom", ha="right", fontsize=8)
axes[1].axvline(reference, color=RED, lw=0.8)
axes[1].axvline(own, color=GREEN, lw=0.8)
axes[1].set(
    ylim=(-950, 200), xlabel="natural parameter \u03b7 = z V + c", ylabel="exponent (nats)",
    title="One row: its table, its tilt, and their sum",
)  # fmt: skip
axes[1].legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
