"""Error of the trapezoid rules against their number of nodes, and the tolerance that is chosen."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREEN, GREY, ORANGE, GaussianRow, ThreeClassRow, TwoClassRow, use_style

random = np.random.RandomState(5)
log_odds, v = random.normal(0.0, 1.0, 12), random.normal(0.0, 0.7, 12)
rows = {
    "two classes": TwoClassRow(log_odds, v, 0.3),
    "one Gaussian number": GaussianRow(log_odds, v, 0.0, 0.5, 2.0),
    "three classes": ThreeClassRow(log_odds, random.normal(0.0, 0.7, (2, 12)), np.zeros(2)),
}
tolerances = 10.0 ** -np.arange(1.0, 13.5, 0.5)


def rule_of(row, tol):
    """Return the number of nodes and the relative error of the rule for one tolerance."""
    nodes = row.nodes(tol)
    if isinstance(row, ThreeClassRow):
        return len(nodes.t) // 2 + 1, abs(nodes.integral(row) / row.exact() - 1.0)
    return nodes.n_nodes, abs(nodes.integral(row.integrand) / row.exact() - 1.0)


n_nodes, errors = {}, {}
for name, row in rows.items():
    found = [rule_of(row, tol) for tol in tolerances]
    n_nodes[name], errors[name] = (np.array(values) for values in zip(*found, strict=True))

use_style()
figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.5), layout="constrained", sharey=True)
for name, colour in (("two classes", BLUE), ("one Gaussian number", ORANGE)):
    axes[0].semilogy(n_nodes[name], tolerances, "--", color=colour, lw=0.9)
    axes[0].semilogy(n_nodes[name], errors[name] + 1e-17, "o", color=colour, label=name, ms=4)
axes[0].set(xlabel="nodes", ylabel="relative error of p(y|x)", title="Lines")
name = "three classes"
axes[1].semilogy(np.sqrt(n_nodes[name]), tolerances, "--", color=GREEN, lw=0.9)
axes[1].semilogy(np.sqrt(n_nodes[name]), errors[name] + 1e-17, "o", color=GREEN, label=name, ms=4)
axes[1].set(xlabel="square root of the number of nodes", title="Plane")
for ax in axes:
    ax.plot([], [], "--", color=GREY, lw=0.9, label="tolerance")
    ax.legend(frameon=False)
    ax.set_ylim(1e-17, 1.0)
