"""
Deep networks of binary units, trained exactly
==============================================

In a network with several layers of stochastic binary units, every layer sets the probabilities of
the next one. Such networks are usually trained with approximations. ``FastEMClassifier`` trains
them by exact EM: with ``hidden_layer_sizes=(6, 4)``, the E-step sums over all states of both
layers.

Do further layers improve predictions? The example compares networks with nearly equal numbers of
parameters on two problems. Further layers are clearly better on one of them, and slightly worse on
the other. The posterior of each layer then shows what the units represent.
"""

# %%
# Two problems
# ------------
# The labels of the first problem are the colours of a 3 x 3 checkerboard. A single fact about the
# position, such as "left of the line x = 1", contains little information on the label. Only
# combinations of such facts determine it. The second problem is two half moons, which one curve
# separates.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.metrics import log_loss

from fastem import EStep, FastEMClassifier


def checkerboard(n_rows, seed):
    """Return points in a square with side 3, and the colours of their fields."""
    X = np.random.default_rng(seed).uniform(0.0, 3.0, size=(n_rows, 2))
    return X, np.floor(X).sum(axis=1).astype(int) % 2


def moons(n_rows, seed):
    """Return two interleaved half moons."""
    return make_moons(n_rows, noise=0.2, random_state=seed)


# %%
# Depth at equal size
# -------------------
# One layer of 12 units, two layers of 6 and 4, and three layers of 4 have 62, 56 and 62 parameters.
# Each network is fitted to three data sets of 600 rows, with the same penalty and five random
# starts. The table shows the mean log-loss of 3000 new rows. Lower is better.

NETWORKS = ((12,), (6, 4), (4, 4, 4))
PROBLEMS = {"checkerboard": checkerboard, "moons": moons}


def fit(layers, X, y):
    """Return a fitted network with the given hidden layers."""
    return FastEMClassifier(layers, alpha=0.05, n_init=5, random_state=0).fit(X, y)


models, losses = {}, {}
for problem, draw in PROBLEMS.items():
    for layers in NETWORKS:
        found = []
        for seed in range(3):
            model = fit(layers, *draw(600, seed))
            models.setdefault((problem, layers), model)  # the first one is drawn below
            X_new, y_new = draw(3000, 100 + seed)
            found.append(log_loss(y_new, model.predict_proba(X_new)))
        losses[problem, layers] = np.array(found)

print(f"{'layers':10} parameters" + "".join(f"{problem:>14}" for problem in PROBLEMS))
for layers in NETWORKS:
    model = models["moons", layers]
    n_parameters = sum(part.size for part in (*model.coefs_, *model.intercepts_))
    means = "".join(f"{losses[problem, layers].mean():14.3f}" for problem in PROBLEMS)
    print(f"{layers!s:10} {n_parameters:10}" + means)

# %%
# On the checkerboard the deep networks have about half the log-loss of the network with one layer.
# On the moons, one layer is slightly better.
#
# Given the units of the last hidden layer, the log-odds of the label are a *sum* of one term per
# unit. With two units, a sum cannot represent "exactly one of them is on". A further layer can:
# its units combine the units below. The checkerboard needs such combinations, the moons do not.

colours = ListedColormap(["#2166ac", "#b2182b"])
figure, axes = plt.subplots(2, 2, figsize=(7.0, 6.4), layout="constrained")
for row, (problem, draw) in zip(axes, PROBLEMS.items(), strict=True):
    X, y = draw(600, 0)
    for ax, layers in zip(row, NETWORKS[:2], strict=True):
        display = DecisionBoundaryDisplay.from_estimator(
            models[problem, layers],
            X,
            ax=ax,
            response_method="predict_proba",
            cmap="RdBu_r",
            alpha=0.6,
            levels=20,
            vmin=0.0,
            vmax=1.0,
            eps=0.2,
        )
        ax.scatter(X[:, 0], X[:, 1], c=y, cmap=colours, edgecolor="white", linewidth=0.5, s=14)
        ax.set(title=f"{problem}, layers {layers}", xlabel="feature 1", ylabel="feature 2")
figure.colorbar(display.surface_, ax=axes, label="P(red | x)", ticks=[0.0, 0.25, 0.5, 0.75, 1.0])
plt.show()

# %%
# The posterior of each layer
# ---------------------------
# :meth:`fastem.EStep.layer_posteriors` returns the probability that a unit is on, given the
# features *and* the label of a row, for every layer. The first layer comes first.

X, y = checkerboard(600, 0)
model = models["checkerboard", (6, 4)]
oracle = EStep(X, y, hidden_layer_sizes=(6, 4))
first, second = oracle.layer_posteriors(model.coefs_, model.intercepts_)
print("shapes:", first.shape, second.shape)

# %%
# Each small picture shows one unit, and each point one row of the checkerboard. Four units of the
# first layer are the four lines between the fields. In the second layer, one unit recognises the
# four corners and another one the centre. The remaining units are not used: their posterior is the
# same for all rows.

units = [(1, unit) for unit in range(6)] + [(2, unit) for unit in range(4)]
figure, axes = plt.subplots(2, 5, figsize=(8, 3.9), sharex=True, sharey=True, layout="constrained")
for ax, (layer, unit) in zip(axes.flat, units, strict=True):
    posterior = (first, second)[layer - 1][:, unit]
    points = ax.scatter(X[:, 0], X[:, 1], c=posterior, s=4, vmin=0.0, vmax=1.0)
    ax.set(title=f"layer {layer}, unit {unit}", xticks=range(4), yticks=range(4))
figure.colorbar(points, ax=axes, label="P(unit is on | x, y)", shrink=0.8)
figure.supxlabel("feature 1")
figure.supylabel("feature 2")
plt.show()

# %%
# .. seealso:: Guide: :doc:`/guide/deep`. Theory: :doc:`/theory/deep`.
