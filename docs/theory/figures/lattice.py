"""Three classes: the star that aliases must not enter, the two lattices, and the nodes."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, GREY, ORANGE, RED, Lattice, use_style

LAMBDA = 1.0  # unit of the first picture
D = np.array([[3.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])  # vertices of the triangle D
re_entrant = np.array([[2, 1], [1, 2], [-1, 1], [-2, -1], [-1, -2], [1, -1]], dtype=float)


def height(points):
    """Return ``max(0, l1, l2) - (l1 + l2) / 3``: D is where it is below Lambda."""
    points = np.asarray(points)
    return np.maximum(points.max(axis=-1), 0.0) - points.sum(axis=-1) / 3.0


def is_inside_star(points):
    """Return which points are inside D or -D; the boundary is outside."""
    points = np.asarray(points)
    return np.minimum(height(points), height(-points)) < LAMBDA - 1e-12


whole = np.arange(-7, 8)
grid = np.stack(np.meshgrid(whole, whole), axis=-1).reshape(-1, 2)
triangular = grid[(grid.sum(axis=1) % 3 == 0) & (grid != 0).any(axis=1)] * LAMBDA
square = grid[(grid != 0).any(axis=1)] * 3.0 * LAMBDA
# area of a cell of the lattice of aliases: the number of nodes is proportional to it
cells = {"triangular": 3.0 * LAMBDA**2, "square": 9.0 * LAMBDA**2}

use_style()
figure, axes = plt.subplots(2, 1, figsize=(6.2, 10.6), layout="constrained")
star = axes[0]
for sign, colour, name in ((1.0, BLUE, "D"), (-1.0, ORANGE, "\u2212D")):
    star.fill(*(sign * D.T), color=colour, alpha=0.22, label=name)
    star.fill(*(sign * D.T), fill=False, edgecolor=colour, linewidth=1.2)
near = np.abs(triangular).max(axis=1) <= 4.0
star.plot(*triangular[near].T, "o", color="black", ms=5, label="triangular lattice, r = \u039b")
near = np.abs(square).max(axis=1) <= 4.0
star.plot(*square[near].T, "s", color=GREY, ms=8, mfc="none", label="square lattice, r = 3\u039b")
star.plot(*re_entrant.T, "o", color=RED, ms=10, mfc="none", label="re-entrant vertices")
star.plot(0.0, 0.0, "+", color="black", ms=10)
names = {
    (3, 3): (-8, -4, "right"), (-3, 0): (-6, 8, "right"), (0, -3): (8, -4, "left"),
    (-3, -3): (8, -4, "left"), (3, 0): (6, 8, "left"), (0, 3): (-8, -4, "right"),
}  # fmt: skip
for (x, y), (dx, dy, side) in names.items():
    text = f"({x}, {y}) \u039b".replace("-", "\u2212")
    star.annotate(text, (x, y), (dx, dy), textcoords="offset points", ha=side, va="center")
star.set(
    xlabel="l1, in units of \u039b", ylabel="l2, in units of \u039b",
    xlim=(-4.4, 4.4), ylim=(-4.4, 4.4), aspect="equal",
    title="Aliases l: no lattice point except zero may lie inside the star",
)  # fmt: skip
star.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)

nodes = Lattice(1.0 / 3.0, 1.0 / 3.0, period=8.0, reach=3.0)  # few nodes: to be seen
t = nodes.t
computed = t[:, 0] - t[:, 1] > -1e-9  # one of t and -t, and both of them on the diagonal
rho = nodes.reach
corners = rho * np.array([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]], dtype=float)
hexagon = axes[1]
hexagon.fill(*corners.T, color=BLUE, alpha=0.12)
hexagon.fill(*corners.T, fill=False, edgecolor=BLUE, linewidth=1.2)
hexagon.plot(*t[computed].T, "o", color="black", ms=4, label="nodes that are computed")
hexagon.plot(*t[~computed].T, "o", color="black", mfc="none", ms=4, label="complex conjugates")
for corner, text, (dx, dy), side in zip(
    corners,
    ("(\u03c1, 0)", "(0, \u03c1)", "(\u2212\u03c1, \u03c1)", "(\u2212\u03c1, 0)",
     "(0, \u2212\u03c1)", "(\u03c1, \u2212\u03c1)"),
    ((8, 6), (8, 8), (-8, 8), (-8, -6), (-8, -8), (8, -8)),
    ("left", "left", "right", "right", "right", "left"),
    strict=True,
):  # fmt: skip
    hexagon.plot(*corner, "o", color=RED, ms=5)
    hexagon.annotate(text, corner, (dx, dy), textcoords="offset points", ha=side, va="center")
for middle, text, (dx, dy), angle in (
    ((0.5, 0.5), "t1 + t2 = \u03c1", (10, 10), -45), ((1.0, -0.5), "t1 = \u03c1", (9, 0), 90),
    ((-0.5, 1.0), "t2 = \u03c1", (0, 9), 0),
):  # fmt: skip
    hexagon.annotate(
        text, rho * np.array(middle), (dx, dy), textcoords="offset points", ha="center",
        va="center", rotation=angle, color=BLUE,
    )  # fmt: skip
hexagon.set(
    xlabel="t1", ylabel="t2", aspect="equal", xlim=(-4.2, 4.2), ylim=(-4.2, 4.2),
    title="Nodes t: the dual lattice, inside a hexagon",
)  # fmt: skip
hexagon.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
