"""Three classes: the triangle of lines of integration, its poles, and the grid of moments."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, ORANGE, RED, ThreeClassRow, use_style

from fastem.kernels.plane_plan import BEYOND, TRIANGLE

random = np.random.RandomState(2)
row = ThreeClassRow(
    random.normal(0.0, 1.0, 10), random.normal(0.0, 1.0, (2, 10)), np.array([1.0, -2.0])
)
nodes = row.nodes(1e-10)
error = abs(nodes.integral(row) / row.exact() - 1.0)

use_style()
figure, ax = plt.subplots(figsize=(6.2, 5.6), layout="constrained")
ax.fill([0, 1, 0], [0, 0, 1], color=BLUE, alpha=0.15)
for ends, label, place, angle in (
    (((0, 0), (-1.6, 2.6)), "d1 = 0: poles of \u0393(\u03c91)", (-0.11, -0.78), 90),
    (((-1.6, 2.6), (0, 0)), "d2 = 0: poles of \u0393(\u03c92)", (-0.85, -0.11), 0),
    (((-1.6, 2.6), (2.6, -1.6)), "d1 + d2 = 1: poles of \u0393(1 \u2212 \u03c91 \u2212 \u03c92)",
     (1.65, -0.78), -45),
):  # fmt: skip
    ax.plot(*ends, color=RED, lw=1.2)
    ax.text(*place, label, color=RED, rotation=angle, ha="center", va="center", fontsize=8,
            rotation_mode="anchor")  # fmt: skip
inside = np.zeros(len(TRIANGLE.points), dtype=bool)
inside[TRIANGLE.inside] = True
ax.plot(*TRIANGLE.points[inside].T, "o", color=BLUE, ms=6, label="grid, inside: candidates for d")
ax.plot(*TRIANGLE.points[~inside].T, "o", color=BLUE, mfc="white", ms=6, label="grid, on an edge")
ax.plot(*BEYOND.T, "s", color=ORANGE, ms=6, label="bounds for a class that is omitted")
ax.plot(nodes.d1, nodes.d2, "*", color="black", ms=12, label="centroid: the d of this row")
ax.set(xlabel="d1", ylabel="d2", xlim=(-1.4, 2.4), ylim=(-1.4, 2.4), aspect="equal")
ax.legend(frameon=False, loc="upper right", fontsize=8)
