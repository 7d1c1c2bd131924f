r"""
A loss and a step of backpropagation by hand
============================================

Two seminars compute losses and one step of backpropagation with pencil and paper. This page
computes the same numbers with :func:`fastem.backpropagate`: a mean squared error, a cross-entropy,
and the step. Each number by hand is checked to its last digit.
"""

# %%
# A mean squared error
# --------------------
# There are five predictions and five observations. The errors are 1, -1, 0, 3 and -3. Their squares
# add up to 20, and the mean is 4. A network of one layer that returns its input gives the same.
# ``backpropagate`` minimises *half* the squared error, so its loss is doubled here.

import matplotlib.pyplot as plt
import numpy as np

import fastem

predicted = np.array([11.0, 19.0, 30.0, 43.0, 47.0])
observed = np.array([10.0, 20.0, 30.0, 40.0, 50.0])

result = fastem.backpropagate(
    predicted[:, None],
    observed[:, None],
    coefs=[np.ones((1, 1))],
    intercepts=[np.zeros(1)],
    output_activation="identity",
    loss="squared_error",
)
mean_squared_error = 2.0 * result.loss
print(f"mean squared error: {mean_squared_error:.6f}   by hand: 4")

# %%
# A cross-entropy
# ---------------
# There are four rows and three classes. The loss of a row is minus the logarithm of the probability
# of its own class. Here these are 0.3, 0.8, 0.6 and 0.4. A softmax of logarithms returns the
# probabilities, so the same one-layer network gives the loss. It is a mean over the rows. The
# seminar has the sum.

probabilities = np.array([[0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
classes = np.array([0, 1, 0, 2])

result = fastem.backpropagate(
    np.log(probabilities),
    np.eye(3)[classes],
    coefs=[np.eye(3)],
    intercepts=[np.zeros(3)],
    output_activation="softmax",
    loss="log_loss",
)
cross_entropy = len(classes) * result.loss
print(f"cross-entropy, total: {cross_entropy:.6f} nats   by hand: 2.85")

# %%
# One step of backpropagation: the network
# ----------------------------------------
# The network has two inputs, two hidden units and two outputs. Hidden units and outputs are
# logistic, and there are no intercepts. The loss is half the squared error. The seminar states the
# weights of the first layer, one output weight, 0.4, and the sums of the two outputs, 0.27 and
# 0.43. It does not state the other three output weights and the second target. We choose weights
# that give both sums.

x = np.array([[0.2, 0.5]])
target = np.array([[0.2, 0.5]])  # the second is our choice
W = np.array([[0.1, 0.2], [0.3, 0.1]])
V = np.array([[0.4, 0.5], [0.1, 0.3]])  # only 0.4 is stated


def backpropagate(V, target):
    """Return loss, output and gradients of the network."""
    return fastem.backpropagate(
        x,
        target,
        [W, V],
        [np.zeros(2), np.zeros(2)],
        activation="logistic",
        output_activation="logistic",
        loss="squared_error",
    )


step = backpropagate(V, target)
hidden = 1.0 / (1.0 + np.exp(-x @ W))[0]
sums = np.log(step.output / (1.0 - step.output))[0]
output = step.output[0]

# %%
# The picture shows the network, with the value of each unit inside it.

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
layers = x[0], hidden, output
for column, (weights, colour) in enumerate(((W, "0.4"), (V, "#b2182b"))):
    for (i, j), weight in np.ndenumerate(weights):
        stated = column == 0 or (i, j) == (0, 0)
        ax.plot([column, column + 1], [-i, -j], "-" if stated else ":", color=colour, zorder=1)
        place = 0.3
        ax.text(
            column + place,
            -i + place * (i - j),
            f"{weight}",
            ha="center",
            va="center",
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
for column, values in enumerate(layers):
    for i, value in enumerate(values):
        ax.scatter(column, -i, s=1700, color="#d1e5f0", edgecolor="black", zorder=2)
        ax.text(column, -i, f"{value:.2f}", ha="center", va="center", zorder=3)
for column, name in enumerate(("inputs", "hidden units", "outputs")):
    ax.text(column, 0.42, name, ha="center")
for i, value in enumerate(target[0]):
    ax.text(2.25, -i, f"target {value}", va="center")
ax.set(xlim=(-0.3, 2.75), ylim=(-1.35, 0.6))
ax.axis("off")
ax.set_title("Values of the units and weights")
plt.show()

# %%
# Dotted lines are the three weights that the seminar does not state.

# %%
# The gradient of one weight
# --------------------------
# The chain rule for the weight 0.4, from hidden unit 1 to output 1, has three factors: the error of
# the output, the slope of the logistic function, and the value of the hidden unit,
#
# .. math:: \frac{\partial L}{\partial v_{11}} = (o_1 - t_1)\; o_1 (1 - o_1)\; h_1.

factors = output[0] - target[0, 0], output[0] * (1.0 - output[0]), hidden[0]
gradient = step.coef_gradients[1][0, 0]
rate = 0.3
new_weight = V[0, 0] - rate * gradient
print("factors:", *(f"{factor:.4f}" for factor in factors), f" product: {np.prod(factors):.6f}")

rows = [
    ("sum at output 1", sums[0], "0.27"),
    ("sum at output 2", sums[1], "0.43"),
    ("output 1", output[0], "0.57"),
    ("output 2", output[1], "0.61"),
    ("gradient", gradient, "0.049"),
    ("new weight", new_weight, "0.3853"),
]
print(f"{'':16} computed  by hand")
for name, value, by_hand in rows:
    print(f"{name:16} {value:8.6f} {by_hand:>8}")

# %%
# The loss along the weight
# -------------------------
# The gradient is the slope of the loss at 0.4. A step moves the weight by 0.3 times this slope
# downhill. One such step is short. We repeat it 300 times, and draw the weight every 30 steps.


def loss_and_slope(weight):
    """Return the loss of the network with this weight, and its derivative."""
    moved = np.array([[weight, V[0, 1]], V[1]])
    result = backpropagate(moved, target)
    return result.loss, result.coef_gradients[1][0, 0]


path = [V[0, 0]]
for _ in range(300):
    path.append(path[-1] - rate * loss_and_slope(path[-1])[1])

weights = np.linspace(-3.0, 1.5, 91)
figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
ax.plot(weights, [loss_and_slope(weight)[0] for weight in weights], label="loss")
tangent = step.loss + gradient * (weights - V[0, 0])
ax.plot(weights, tangent, "--", color="0.5", label=f"slope {gradient:.3f} at 0.4")
ax.plot(path[::30], [loss_and_slope(w)[0] for w in path[::30]], "o", label="every 30 steps")
ax.set(xlabel="weight from hidden unit 1 to output 1", ylabel="half the squared error")
ax.set_title("Loss along one weight, and the steps")
ax.set_ylim(0.0, 0.14)
ax.legend(loc="upper left")
plt.show()

# %%
# Try it
# ------
# - Change the second target, or a weight into output 2. Why does the gradient of 0.4 not change?
# - Repeat the step 20000 times. At which weight does it end? Is this the minimum in the picture?
# - Replace the logistic output and the squared error by ``output_activation="logistic"`` and
#   ``loss="log_loss"``. Which of the three factors disappears?
#
# .. seealso:: Guide: :doc:`/guide/perceptrons`.
