"""The saddle point of the integrand, for one Gaussian number."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREY, ORANGE, RED, GaussianRow, Nodes, use_style

random = np.random.RandomState(3)
row = GaussianRow(
    log_odds=random.normal(0.0, 1.0, 10), v=random.normal(0.0, 0.8, 10), c=0.0, variance=0.25, y=6.0
)
p = row.exact()
nodes = row.nodes(1e-10)
delta = nodes.delta
error = abs(nodes.integral(row.integrand) / p - 1.0)  # of the rule through the saddle point
on_axis = Nodes(0.0, nodes.step / 2.0, 4 * nodes.n_nodes)  # more nodes do not help
error_on_axis = abs(on_axis.integral(row.integrand) / p - 1.0)
loss = row.integrand(0.0).real / row.integrand(delta).real  # integrand at 0, at the saddle point

use_style()
figure, axes = plt.subplots(2, 2, figsize=(6.6, 6.0), layout="constrained")
x, t = np.linspace(-2.0, 2.0 * delta + 2.0, 300), np.linspace(-9.0, 9.0, 400)
size = np.log10(np.abs(row.integrand(x + 1j * t[:, None])))
plane = axes[0, 0]
levels = np.arange(-12, 7, 1)
filled = plane.contourf(x, t, size, levels=levels, cmap="viridis", extend="both")
figure.colorbar(filled, ax=plane, label="log10 of the modulus")
plane.axvline(delta, color="white", linewidth=1.0)
both = np.concatenate([-nodes.t[:0:-1], nodes.t])
plane.plot(np.full(len(both), delta), both, "o", color="white", markersize=2.5)
plane.plot(delta, 0.0, "*", color=RED, markersize=11, markeredgecolor="white")
plane.axvline(0.0, color="white", linewidth=0.8, linestyle=":")
plane.set(xlabel="Re ω", ylabel="Im ω", title="Modulus of the integrand", ylim=(-9, 9))

axis = axes[0, 1]
axis.semilogy(x, row.integrand(x).real, color=GREY)
axis.plot(delta, row.integrand(delta).real, "*", color=RED, markersize=11)
axis.annotate(
    "saddle point", (delta, row.integrand(delta).real), (0, 22), textcoords="offset points",
    ha="center", color=RED,
)  # fmt: skip
axis.set(xlabel="ω on the real line", ylabel="integrand", title="Real line: a minimum")

fine = np.linspace(0.0, nodes.t[-1], 800)
for ax, rule, colour, name in (
    (axes[1, 0], nodes, BLUE, "Line through the saddle point"),
    (axes[1, 1], on_axis, ORANGE, "Line Re ω = 0"),
):
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    ax.plot(fine, row.integrand(rule.delta + 1j * fine).real / p, color=colour)
    ax.set(xlabel="Im ω", ylabel="real part of the integrand / p", title=name)
    ax.set_xlim(-0.15, 4.5)
axes[1, 0].plot(nodes.t, row.integrand(nodes.w).real / p, "o", color=BLUE, markersize=3.5)
