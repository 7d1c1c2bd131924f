"""The two passes of a network with several hidden layers."""

import matplotlib.pyplot as plt
from rules import BLUE, GREY, ORANGE, use_style

boxes = ("data rows", "layer 1", "layer 2", "layer 3", "softmax")
details = ("n rows", "$2^{m_1}$ states", "$2^{m_2}$ states", "$2^{m_3}$ states", "g classes")
down = ("p(y | x)", r"$\beta(z_1)$", r"$\beta(z_2)$", r"$\beta(z_3) = o(z_3)$")  # to the box below
up = ("$R(z_1)$", "$R(z_2)$", "$R(z_3)$", "gradient of V")

use_style()
figure, ax = plt.subplots(figsize=(5.2, 5.4), layout="constrained")
for level, (name, detail) in enumerate(zip(boxes, details, strict=True)):
    ax.add_patch(plt.Rectangle((-1.2, 2 * level - 0.45), 2.4, 0.9, fill=False, edgecolor=GREY))
    ax.text(0, 2 * level + 0.13, name, ha="center", va="center", weight="bold")
    ax.text(0, 2 * level - 0.2, detail, ha="center", va="center", color=GREY, fontsize=8)
for level, text in enumerate(down):
    top, bottom = 2 * (level + 1) - 0.45, 2 * level + 0.45
    ax.annotate("", (-0.5, bottom), (-0.5, top), arrowprops={"arrowstyle": "->", "color": BLUE})
    ax.text(-0.65, 0.5 * (top + bottom), text, ha="right", va="center", color=BLUE)
for level, text in enumerate(up):
    top, bottom = 2 * (level + 1) - 0.45, 2 * level + 0.45
    ax.annotate("", (0.5, top), (0.5, bottom), arrowprops={"arrowstyle": "->", "color": ORANGE})
    ax.text(0.65, 0.5 * (top + bottom), text, ha="left", va="center", color=ORANGE)
ax.text(-1.4, 4, "1. downward:\ntables", ha="right", va="center", color=BLUE)
ax.text(1.4, 4, "2. upward:\nexpected weights", ha="left", va="center", color=ORANGE)
ax.set(xlim=(-3.4, 3.4), ylim=(-0.7, 8.7))
ax.axis("off")
