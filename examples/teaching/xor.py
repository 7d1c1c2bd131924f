r"""
XOR by EM, with the hidden states shown
=======================================

Four points, two classes: the output is 1 if exactly one of the two inputs is 1. No straight line
separates the classes. A network with **two stochastic binary hidden units** does, and EM finds it
in a few iterations.

This page answers three questions. What does EM find? Which hidden states belong to which point?
Why is a hidden layer necessary?
"""

# %%
# XOR by EM in ten lines
# ----------------------
# The classifier below has two hidden units. Each of them is on or off at random, with a probability
# that depends on the point. ``fit`` maximises the exact likelihood of the four labels.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

import fastem

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([0, 1, 1, 0])
model = fastem.FastEMClassifier((2,), alpha=0.001, random_state=1).fit(X, y)
print("P(y = 1 | x):", model.predict_proba(X)[:, 1].round(3))
print(model.n_iter_, "iterations, loss", round(model.loss_, 4), "nats per point")

# %%
# All four labels are predicted with a probability near 0.99. The small penalty ``alpha`` keeps the
# weights finite. Without it, the likelihood would rise as long as the weights grow. (The pictures
# below need some of the imports.)

# %%
# A picture of the network
# ------------------------
# Unit h has probability 1/2 on the straight line :math:`w_h'x + b_h = 0`. The picture shows the
# two lines and the probability of class 1. Between the lines both units are probably off, and the
# class is 1. Beyond each line one unit is probably on, and the class is 0.

axis = np.linspace(-0.5, 1.5, 101)
first, second = np.meshgrid(axis, axis)
plane = np.column_stack([first.ravel(), second.ravel()])
probability = model.predict_proba(plane)[:, 1].reshape(first.shape)
hidden = model.transform(plane).T.reshape(2, *first.shape)

figure, ax = plt.subplots(figsize=(6.4, 5.0), layout="constrained")
surface = ax.contourf(first, second, probability, levels=np.linspace(0, 1, 21), cmap="RdBu_r")
for unit, style in enumerate(("--", ":")):
    ax.contour(first, second, hidden[unit], levels=[0.5], colors="black", linestyles=style)
    ax.plot([], [], color="black", linestyle=style, label=f"P(Z$_{unit + 1}$ = 1 | x) = 1/2")
for label, colour in ((0, "#2166ac"), (1, "#b2182b")):
    ax.scatter(
        *X[y == label].T, s=140, color=colour, edgecolor="white", zorder=3, label=f"class {label}"
    )
ax.set(xlabel="input 1", ylabel="input 2", title="XOR by two stochastic hidden units")
figure.legend(loc="outside lower center", ncols=2)
figure.colorbar(surface, ax=ax, label="P(y = 1 | x), probability", ticks=np.linspace(0, 1, 6))
plt.show()

# %%
# The hidden states of each point
# -------------------------------
# Two units have four joint states: 00, 10, 01 and 11. The E-step computes the posterior
# probability of these states for every point, given its inputs *and its label*.
# :class:`fastem.EStep` evaluates it at any parameters. Its method ``pair_moments`` returns
# :math:`E[Z_h Z_k \mid x, y]`. Three such numbers determine the four probabilities.

oracle = fastem.EStep(X, y, hidden_layer_sizes=2)


def state_posterior(coefs, intercepts):
    """Return P(state | x, y) of the states 00, 10, 01 and 11, shape (4 points, 4 states)."""
    moments = oracle.pair_moments(coefs, intercepts)
    both = moments[:, 0, 1]
    only_first, only_second = moments[:, 0, 0] - both, moments[:, 1, 1] - both
    return np.column_stack([1.0 - only_first - only_second - both, only_first, only_second, both])


posterior = state_posterior(model.coefs_, model.intercepts_)
print("point   state 00      10      01      11")
for point, row in zip(X, posterior, strict=True):
    print(f"({point[0]:.0f}, {point[1]:.0f})  " + "".join(f"{p:8.3f}" for p in row))

# %%
# The two points of class 1 share the state 00. Each point of class 0 has a state of its own. The
# output layer therefore has an easy task: class 1 if both units are off, otherwise class 0.

# %%
# How EM finds these states
# -------------------------
# At first the states are uncertain. The E-step of each iteration computes their posterior. The
# M-step then changes the weights so that the labels and the states become more probable on average
# under this posterior. A fit with ``max_iter=k`` stops after k iterations. It warns that it has not
# converged. Here we ignore that warning.

snapshots = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    for k in (1, 5, model.n_iter_):
        early = fastem.FastEMClassifier((2,), alpha=0.001, random_state=1, max_iter=k).fit(X, y)
        snapshots[k] = state_posterior(early.coefs_, early.intercepts_)

points = [f"({u:.0f}, {v:.0f}), y = {c}" for (u, v), c in zip(X, y, strict=True)]
figure, axes = plt.subplots(3, 1, figsize=(5.6, 6.8), layout="constrained", sharex=True)
for ax, (k, table) in zip(axes, snapshots.items(), strict=True):
    image = ax.imshow(table, cmap="Purples", vmin=0.0, vmax=1.0, aspect="auto")
    for (i, s), p in np.ndenumerate(table):
        ax.text(s, i, f"{p:.2f}", ha="center", va="center", color="white" if p > 0.5 else "black")
    ax.set_yticks(range(4), points)
    ax.set_title(f"P(state | x, y) after iteration {k}")
axes[-1].set_xticks(range(4), ["00", "10", "01", "11"])
axes[-1].set_xlabel("state of the two units")
figure.colorbar(image, ax=axes, label="probability")
plt.show()

# %%
# After the first iteration, the states of three points are uncertain. In the end, all are certain.

# %%
# Why a hidden layer is necessary
# -------------------------------
# Without a hidden layer the output is linear in the inputs. We fit OR, AND and XOR by least
# squares, and count the outputs on the correct side of 0.5. We do the same with two deterministic
# tanh units. Each network is trained from ten starts, and the one with the smallest squared error
# is kept.

gates = {"OR": np.array([0, 1, 1, 1]), "AND": np.array([0, 0, 0, 1]), "XOR": y}


def least_squares(target, hidden_layer_sizes):
    """Return the network with the smallest squared error among ten starts."""
    settings = {"activation": "tanh", "solver": "lbfgs", "alpha": 0.0, "tol": 1e-10}
    networks = [
        fastem.FastMLPRegressor(
            hidden_layer_sizes=hidden_layer_sizes, max_iter=1000, random_state=seed, **settings
        )
        for seed in range(10)
    ]
    return min((network.fit(X, target) for network in networks), key=lambda fit: fit.loss_)


outputs, correct = {}, {}
print("gate  hidden units  output at 00, 01, 10, 11         correct")
for gate, target in gates.items():
    for sizes in ((), (2,)):
        case = gate, sum(sizes)
        outputs[case] = least_squares(target, sizes).predict(X).round(6) + 0.0
        correct[case] = int(np.sum((outputs[case] > 0.5) == target))
        cells = "".join(f"{value:7.3f}" for value in outputs[case])
        print(f"{gate:5} {sum(sizes):12}  {cells}     {correct[case]}/4")

# %%
# For XOR, the linear function with the smallest squared error is the constant 0.5. Some lines
# classify more points correctly, but none classifies all four. The following grid of lines contains
# every split of the four points by a straight line.

best_line = {}
for gate, target in gates.items():
    best_line[gate] = max(
        int(np.sum((X @ [u, v] + b > 0.0) == target))
        for u in (-1.0, 0.0, 1.0)
        for v in (-1.0, 0.0, 1.0)
        for b in (-1.5, -0.5, 0.5, 1.5)
    )
print("largest number of correct points by a straight line:", best_line)

# %%
# A solution without training
# ---------------------------
# A ReLU unit returns :math:`\max(0, a)`. With two of them, XOR has an explicit solution:
# :math:`\max(0, x_1 + x_2) - 2 \max(0, x_1 + x_2 - 1)`. :func:`fastem.backpropagate` confirms it.
# The loss is zero, and so is every gradient.

coefs = [np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([[1.0], [-2.0]])]
intercepts = [np.array([0.0, -1.0]), np.array([0.0])]
fixed = fastem.backpropagate(
    X,
    y[:, None],
    coefs,
    intercepts,
    activation="relu",
    output_activation="identity",
    loss="squared_error",
)
largest = max(abs(gradient).max() for gradient in fixed.coef_gradients)
print("output:", fixed.output[:, 0], " loss:", fixed.loss, " largest gradient:", largest)

# %%
# Training that begins at a solution must not leave it. It does not.

trained = fastem.FastMLPRegressor(
    hidden_layer_sizes=(2,),
    activation="relu",
    solver="lbfgs",
    alpha=0.0,
    coefs_init=coefs,
    intercepts_init=intercepts,
).fit(X, y)
print("weights after training:", *[W.tolist() for W in trained.coefs_])

# %%
# Try it
# ------
# - Change ``random_state``. Which states do the four points have then? Some starts draw the two
#   lines along the other diagonal.
# - Set ``alpha=0.01``. Some starts now end in a local optimum: the loss is 0.46 or 0.69 in place of
#   0.19. ``n_init=10`` tries ten starts and keeps the best.
# - Use a single hidden unit: ``(1,)`` with ``n_init=10``. How many points are classified correctly?
# - Which state has a fifth point in the centre, ``[0.5, 0.5]``? Add it with either label.
#
# .. seealso:: The same problem in an interactive figure: :doc:`/teaching/index`.
