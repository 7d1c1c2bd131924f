r"""
EM and backpropagation on a noisy curve
=======================================

Which network fits a noisy curve better: a deterministic one, trained by backpropagation, or one
with stochastic hidden units, trained by EM? The first predicts a number. The second predicts a
whole distribution, with a mean and a band.

This page fits both to a sine with noise. The deterministic network and its settings are those of a
student report: 1-150-150-1, with two optimisers, several activations and two batch sizes. The data
of the report are not available, so we draw our own.
"""

# %%
# The data
# --------
# There are 250 points. A fifth of them is for testing. The noise has variance 0.01. No model can be
# expected to reach a smaller mean squared error on the test rows.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

import fastem

noise = 0.1  # standard deviation
rng = np.random.default_rng(0)
x = rng.uniform(-3.0, 3.0, size=250)
y = np.sin(x) + rng.normal(scale=noise, size=250)
X_train, X_test, y_train, y_test = train_test_split(x[:, None], y, test_size=0.2, random_state=0)

line = LinearRegression().fit(X_train, y_train)
line_error = np.mean((y_test - line.predict(X_test)) ** 2)
print(f"mean squared error on the test rows: straight line {line_error:.2f}, noise {noise**2:.2f}")

# %%
# Two measures
# ------------
# The mean squared error judges the predicted mean. The log-density of the test rows judges the
# predicted distribution. For a deterministic network we take a normal distribution around its
# output. Its variance is the mean squared error of the training rows. This suits our data, whose
# noise has the same variance everywhere. The density that the data were drawn from has 0.88 nats on
# average.


def measures(network):
    """Return the squared errors of training and test rows, and the test log-density (nats)."""
    train_error = np.mean((y_train - network.predict(X_train)) ** 2)
    test_error = np.mean((y_test - network.predict(X_test)) ** 2)
    if isinstance(network, fastem.FastEMRegressor):
        return train_error, test_error, network.log_density(X_test, y_test).mean()
    log_density = norm.logpdf(y_test, network.predict(X_test), np.sqrt(train_error)).mean()
    return train_error, test_error, log_density


best_possible = -0.5 * np.log(2.0 * np.pi * np.e * noise**2)
print(f"expected log-density of the true distribution: {best_possible:.2f} nats")

# %%
# Backpropagation
# ---------------
# We vary one setting at a time. Training stops when the loss no longer decreases, or after 100
# epochs. It then warns, and we ignore the warning, because the table has the number of epochs.


def by_backpropagation(solver, activation, batch_size, rate, max_iter=100):
    """Return a fitted network with two hidden layers of 150 units."""
    network = fastem.FastMLPRegressor(
        hidden_layer_sizes=(150, 150),
        activation=activation,
        solver=solver,
        alpha=0.0,
        batch_size=batch_size,
        learning_rate_init=rate,
        max_iter=max_iter,
        tol=1e-5,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(X_train, y_train)


def show(name, network, seconds):
    """Print a row of the table."""
    train_error, test_error, log_density = measures(network)
    cells = f"{train_error:7.4f} {test_error:7.4f} {log_density:6.2f}"
    print(f"{name:22} {cells} {network.n_iter_:7} {seconds:8.2f}")


networks = {}
print(
    f"{'':22} squared error\n{'solver activation batch':24} train    test  log p  epochs  seconds"
)
for solver, activation, batch_size, rate in (
    ("sgd", "relu", 8, 0.03),
    ("sgd", "tanh", 8, 0.03),
    ("sgd", "logistic", 8, 0.03),
    ("adam", "relu", 8, 0.003),
    ("adam", "logistic", 8, 0.003),
    ("sgd", "relu", 1, 0.01),
):
    began = time.perf_counter()
    network = by_backpropagation(solver, activation, batch_size, rate)
    networks[solver, activation, batch_size] = network
    show(f"{solver:6} {activation:10} {batch_size:4}", network, time.perf_counter() - began)

# %%
# All networks follow the curve: their errors are far below that of a straight line. The best
# activation depends on the optimiser. It is ReLU for SGD and the logistic function for Adam.
#
# The last row has batches of one row. The report found batches of eight rows worse than single
# rows. It multiplied the mean input of a batch by the mean error. This product is not the gradient
# of the mean loss. With the exact gradient, batches of eight do no harm.

# %%
# EM
# --
# Stochastic units are on or off. Given their states, y is normal. We fit 5 and 10 units, from three
# starts each, and keep the best start.

for n_hidden in (5, 10):
    began = time.perf_counter()
    network = fastem.FastEMRegressor((n_hidden,), alpha=0.01, n_init=3, random_state=0)
    networks[n_hidden] = network.fit(X_train, y_train)
    show(f"EM, {n_hidden} binary units", network, time.perf_counter() - began)

# %%
# Fits and bands
# --------------
# Above: the mean and the 90 % band of a deterministic network. Its band has the same width
# everywhere. Below: the same for EM with 10 units, whose band is ``predict_interval``.

grid = np.linspace(-3.0, 3.0, 301)[:, None]
perceptron, em = networks["sgd", "relu", 8], networks[10]
half = norm.ppf(0.95) * np.sqrt(measures(perceptron)[0])
bands = {
    "backpropagation, ReLU": (
        perceptron,
        np.column_stack([perceptron.predict(grid) - half, perceptron.predict(grid) + half]),
    ),
    "EM, 10 binary units": (em, em.predict_interval(grid, coverage=0.9)),
}

figure, axes = plt.subplots(2, 1, figsize=(6.4, 7.0), layout="constrained", sharex=True)
for ax, (title, (network, band)) in zip(axes, bands.items(), strict=True):
    ax.fill_between(grid[:, 0], *band.T, color="#92c5de", alpha=0.6, label="90 % band")
    ax.plot(X_train[:, 0], y_train, ".", color="0.6", markersize=4, label="training rows")
    ax.plot(X_test[:, 0], y_test, "k.", markersize=5, label="test rows")
    ax.plot(grid[:, 0], network.predict(grid), color="#b2182b", label="mean")
    ax.set(ylabel="y", title=title)
axes[0].legend(loc="upper left")
axes[1].set_xlabel("x")
plt.show()

# %%
# How many test rows lie in the bands?

inside = {}
low, high = em.predict_interval(X_test, coverage=0.9).T
inside["EM"] = np.mean((low < y_test) & (y_test < high))
inside["backpropagation"] = np.mean(abs(y_test - perceptron.predict(X_test)) < half)
print(
    "share of the test rows in the 90 % band:", {k: round(float(v), 2) for k, v in inside.items()}
)

# %%
# Why the band of EM changes its width
# ------------------------------------
# A unit that is on with probability u adds variance to y. If its weight to the output is v, it adds
# :math:`v^2 u (1 - u)`. The variance at x is
#
# .. math:: \sigma^2 + \sum_h v_h^2\, u_h(x)\, (1 - u_h(x)).
#
# Where the curve is steep, some unit switches between off and on, and its u is near 1/2. The band
# must be wider there, although our noise is the same everywhere.

mean, deviation = em.predict(grid, return_std=True)
u = em.transform(grid)
v = em.coefs_[1][:, 0]
by_formula = np.sqrt(em.variance_[0] + (u * (1.0 - u)) @ v**2)
print(f"largest difference from the formula: {abs(deviation - by_formula).max():.0e}")

figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 5.0), layout="constrained", sharex=True)
top.plot(grid[:, 0], u)
top.set(ylabel="P(unit is on | x)", title="EM, 10 binary units")
bottom.plot(grid[:, 0], deviation, color="#b2182b", label="standard deviation by EM")
bottom.axhline(noise, color="black", linestyle="--", label="noise of the data")
bottom.set(xlabel="x", ylabel="standard deviation of y")
bottom.set_ylim(0.0, None)
bottom.legend()
plt.show()

# %%
# So for these data the deterministic network is the better choice: it assumes constant noise, and
# the noise is constant. For data of the opposite kind, where y has several branches, see
# :ref:`the example of two branches <sphx_glr_gallery_outputs_two_branches.py>`.

# %%
# Try it
# ------
# - Fit 20 units. The steps between the states become smaller. Does the band become narrower?
# - Let the noise grow with x: ``scale=0.05 + 0.05 * (x + 3)``. Which model has the better
#   log-density now?
# - Use ``alpha="auto"`` for EM. It takes longer. Which penalty does it choose?
# - Train a network with 500 points. Which of the test errors come closer to 0.01?
#
# .. seealso:: Guide: :doc:`/guide/regress`, :doc:`/guide/perceptrons`.
