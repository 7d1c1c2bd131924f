"""The table of the softmax over all states, built unit by unit: each unit doubles it."""

import matplotlib.pyplot as plt
import numpy as np
from rules import BLUE, ORANGE, states, use_style
from scipy.special import softmax

random = np.random.RandomState(7)
V, c = random.normal(0.0, 1.2, (4, 3)), np.array([0.3, 0.0, -0.3])
unnormalised = [np.exp(c)[:, None]]  # exp of the logits (classes, states) of the first units
for weights in V:
    off = unnormalised[-1]
    unnormalised.append(np.hstack([off, np.exp(weights)[:, None] * off]))
tables = [entries / entries.sum(axis=0) for entries in unnormalised]
direct = softmax(states(4) @ V + c, axis=1).T  # (classes, states), without doubling
largest_difference = np.abs(tables[-1] - direct).max()

use_style()
figure, axes = plt.subplots(5, 1, figsize=(6.2, 5.6), layout="constrained", sharex=True)
for n_units, (ax, table) in enumerate(zip(axes, tables, strict=True)):
    n = 2**n_units
    old = max(n // 2, 1) if n_units else 1
    ax.bar(np.arange(old), table[0, :old], color=BLUE, width=0.85)
    ax.bar(np.arange(old, n), table[0, old:], color=ORANGE, width=0.85)
    for s in range(n):
        name = format(s, f"0{n_units}b") if n_units else "none"
        ax.text(s, -0.08, name, ha="center", va="top", fontsize=7)
    ax.set(
        ylim=(0, 1),
        yticks=[0, 1],
        xticks=[],
        ylabel="1 unit" if n_units == 1 else f"{n_units} units",
    )
    ax.spines["bottom"].set_visible(False)
axes[0].bar([0], [0], color=BLUE, label="newest unit off: the old entries")
axes[0].bar([0], [0], color=ORANGE, label="newest unit on: one product per old entry")
axes[0].legend(frameon=False, loc="center", bbox_to_anchor=(0.6, 0.5))
axes[0].set_title("P(y = 0 | z) of all states z of the first units")
axes[-1].set_xlabel("state z (newest unit first)", labelpad=14)
