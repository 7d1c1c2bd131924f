"""The integrand of two classes: poles at the whole numbers, and the line between two of them."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREY, RED, TwoClassRow, use_style
from scipy.optimize import minimize_scalar

random = np.random.RandomState(1)
row = TwoClassRow(log_odds=random.normal(0.0, 1.0, 10), v=random.normal(-0.6, 1.2, 10), c=-3.0)
p = row.exact()
nodes = row.nodes(1e-10)
error = abs(nodes.integral(row.integrand) / p - 1.0)
saddle = minimize_scalar(lambda x: row.integrand(x).real, bounds=(0.01, 0.99), method="bounded").x

use_style()
figure, axes = plt.subplots(2, 1, figsize=(6.2, 6.4), layout="constrained")
x, t = np.linspace(-1.45, 2.45, 400), np.linspace(-2.6, 2.6, 301)
size = np.log10(np.abs(row.integrand(x + 1j * t[:, None])))
plane = axes[0]
filled = plane.contourf(x, t, size, levels=np.arange(-7, 4.5, 0.5), cmap="viridis", extend="both")
figure.colorbar(filled, ax=plane, label="log10 of the modulus")
poles = np.array([-1.0, 0.0, 1.0, 2.0])
plane.plot(poles, 0.0 * poles, "x", color="black", ms=8, mew=2, label="poles")
for pole in (0.0, 1.0):
    plane.axvline(pole, color="black", linewidth=0.8, linestyle="--")
both = np.concatenate([-nodes.t[:0:-1], nodes.t])
plane.plot(np.full(len(both), nodes.delta), both, "o", color="white", ms=3, mec=GREY, label="nodes")
plane.plot(saddle, 0.0, "*", color=RED, ms=11, mec="white", label="saddle point")
plane.legend(loc="lower right")
plane.set(
    xlabel="Re w", ylabel="Im w", ylim=(t[0], t[-1]), xlim=(x[0], x[-1]),
    title="Modulus of the integrand",
)  # fmt: skip

fine = np.linspace(0.0, nodes.t[-1], 800)
contour = axes[1]
contour.axhline(0.0, color=GREY, linewidth=0.6)
contour.plot(fine, row.integrand(nodes.delta + 1j * fine).real / p, color=BLUE)
contour.plot(nodes.t, row.integrand(nodes.w).real / p, "o", color=BLUE, markersize=3.5)
contour.set(
    xlabel="Im w", ylabel="real part of the integrand / p", xlim=(-0.05, 3.0),
    title=f"Along the line Re w = {nodes.delta:.2f}",
)  # fmt: skip
