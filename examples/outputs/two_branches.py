"""
Density regression on two branches
==================================

A regression usually predicts the mean of y given x. The mean is of little use if y can lie on
either of two branches, because it lies between them, where y does not occur. A network with
stochastic hidden units predicts the whole density of y given x. Its number of modes and its spread
depend on x.

The example shows how to fit such a density, how to plot it, how good it is on held-out rows, and
what its prediction intervals cover. The data are simulated, so that the true density is known. The
last section has data that are harder for these networks.
"""

# %%
# Data
# ----
# ``y = sin x + 1.5 s + noise``. The sign s is +1 with probability ``sigmoid(x / 2)``, otherwise
# -1. The upper branch is therefore rare on the left and frequent on the right. The standard
# deviation of the noise grows with x. A quarter of the 1600 rows is held out.
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from scipy.stats import norm
from sklearn.model_selection import train_test_split

from fastem import DensityDisplay, FastEMRegressor, FastMLPRegressor


def deviation(x):
    """Return the standard deviation of the noise: from 0.1 on the left to 0.4 on the right."""
    return 0.1 + 0.05 * (x + 3.0)


def branches(x):
    """Return probability and mean of the upper and of the lower branch."""
    return (expit(x / 2), np.sin(x) + 1.5), (expit(-x / 2), np.sin(x) - 1.5)


def draw(branches, n_rows, rng):
    """Return x and y of random rows."""
    x = rng.uniform(-3.0, 3.0, size=n_rows)
    (probability, upper), (_, lower) = branches(x)
    centre = np.where(rng.random(n_rows) < probability, upper, lower)
    return x, centre + deviation(x) * rng.standard_normal(n_rows)


x, y = draw(branches, 1600, np.random.default_rng(0))
X_train, X_test, y_train, y_test = train_test_split(x[:, None], y, test_size=0.25, random_state=0)
print(f"{len(y_train)} training rows, {len(y_test)} held-out rows")

# %%
# A predicted mean
# ----------------
# A network with deterministic hidden units, trained by backpropagation on the squared error,
# predicts the mean. A density needs a variance too. Here it is a normal density around the mean,
# with the variance of the training errors.


def fit_mean(X, y):
    """Return a network for the mean of y, and the standard deviation of its training errors."""
    network = FastMLPRegressor(hidden_layer_sizes=(50, 50), max_iter=500, random_state=0)
    network.fit(X, y)
    return network, np.sqrt(np.mean((y - network.predict(X)) ** 2))


network, spread = fit_mean(X_train, y_train)
grid = np.linspace(-3.0, 3.0, 200)
mean = network.predict(grid[:, None])
fig, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
ax.scatter(X_test[:, 0], y_test, s=8, color="black", alpha=0.6, label="held-out rows")
ax.plot(grid, mean, color="C3", label="predicted mean")
low, high = mean - 1.645 * spread, mean + 1.645 * spread
ax.fill_between(grid, low, high, color="C3", alpha=0.15, linewidth=0, label="90 % interval")
ax.set(xlabel="x", ylabel="y", title="Mean with constant variance, and held-out rows")
ax.legend(loc="upper left", fontsize="small")
plt.show()

# %%
# A predicted density
# -------------------
# :class:`fastem.FastEMRegressor` has binary hidden units that are random given x. Given their
# states, y is normal. Given x alone, y is therefore a mixture of ``2**10`` normal densities.
#
# The likelihood has several local optima. EM runs from three random starts and keeps the best
# result.
model = FastEMRegressor((10,), alpha=0.05, n_init=3, max_iter=2000, random_state=0)
model.fit(X_train, y_train)
losses = sorted(start["loss"] for start in model.starts_)
print("loss of every start, nats per row:", *(f"{loss:.2f}" for loss in losses))

# %%
# :class:`fastem.DensityDisplay` plots the density as shade, three quantiles as lines, and the
# held-out rows as points. Both branches appear. There is almost no density between them. The
# median is no good prediction either: it moves from the lower branch to the upper one where both
# are equally probable.
display = DensityDisplay.from_estimator(model, X_test, y_test)
display.axes_[0].set_title("Density of y given x by EM, and held-out rows")
# sphinx_gallery_thumbnail_number = 2
plt.show()

# %%
# Meaning of the units
# --------------------
# The effects of the units add up. One unit has a large weight into y: it switches between the
# branches. In the data, the branches are 3 apart, and the log-odds of the upper one are ``0.5 x``.
# The other units have small weights. Together they form the curve of both branches.
weights_out = model.coefs_[1][:, 0]
switch = np.argmax(np.abs(weights_out))
sign = np.sign(weights_out[switch])  # a unit may as well be on in the lower branch
slope, intercept = model.coefs_[0][0, switch], model.intercepts_[0][switch]
print(f"weight of the unit into y: {sign * weights_out[switch]:.2f}")
print(f"log-odds of the upper branch: {sign * slope:.2f} x {sign * intercept:+.2f}")
others = np.delete(weights_out, switch)
print("weights of the other units:", *np.sort(np.abs(others)).round(2))

# %%
# Comparison with the true density
# --------------------------------
# :meth:`fastem.FastEMRegressor.log_density` returns ``log p(y | x)``. At three values of x, the
# predicted density is plotted together with the density from which the data were drawn.


def true_log_density(X, y, branches):
    """Return the log-density from which the data were drawn, for every row (nats)."""
    x = X[:, 0]
    parts = [np.log(p) + norm.logpdf(y, centre, deviation(x)) for p, centre in branches(x)]
    return np.logaddexp(*parts)


values = np.linspace(-4.0, 4.0, 801)
fig, axes = plt.subplots(1, 3, figsize=(8.4, 3.4), layout="constrained")
for ax, at in zip(axes, (-2.0, 0.0, 2.0), strict=True):
    rows = np.full((len(values), 1), at)
    ax.plot(values, np.exp(true_log_density(rows, values, branches)), "k--", label="true density")
    ax.plot(values, np.exp(model.log_density(rows, values)), "C0", label="EM")
    constant = norm.pdf(values, network.predict(rows), spread)
    ax.plot(values, constant, "C3", linewidth=1, label="mean with constant variance")
    ax.set(title=f"x = {at:g}", xlabel="y", ylim=(0.0, None))
axes[0].set_ylabel("density per unit of y")
fig.suptitle("Density of y at three values of x")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
# The mean log-density of the held-out rows measures how good a density is. Higher is better. On
# average, no density is better than the true one.


def mean_log_densities(X, y, model, network, spread, branches):
    """Return the mean log-density of the rows under the three densities, in nats per row."""
    return {
        "mean with constant variance": norm.logpdf(y, network.predict(X), spread).mean(),
        "stochastic hidden units": model.log_density(X, y).mean(),
        "true density": true_log_density(X, y, branches).mean(),
    }


scores = mean_log_densities(X_test, y_test, model, network, spread, branches)
print("density                      nats per held-out row")
for name, score in scores.items():
    print(f"{name:28} {score:7.3f}")

# %%
# Prediction intervals
# --------------------
# :meth:`fastem.FastEMRegressor.predict_interval` returns central intervals: the same probability
# is left out at both ends. Intervals are calibrated if they contain their share of new values.
coverages = {}
print("interval  held-out values inside")
for coverage in (0.5, 0.8, 0.9, 0.98):
    low, high = model.predict_interval(X_test, coverage=coverage).T
    coverages[coverage] = np.mean((low <= y_test) & (y_test <= high))
    print(f"{100 * coverage:6.0f} % {100 * coverages[coverage]:10.0f} %")

# %%
# A central interval can contain the gap between the branches. Where the shape of the density
# matters, use the density itself, or draw values from it. :meth:`fastem.FastEMRegressor.sample`
# returns values of y, and the hidden states from which they were drawn. Few drawn values are in the
# middle of the gap, as few as in the data.
drawn, states = model.sample(X_test, random_state=0)
middle = np.abs(np.array([y_test, drawn]) - np.sin(X_test[:, 0])) < 0.5
shares = 100.0 * middle.mean(axis=1)
print(f"in the middle of the gap: {shares[0]:.1f} % of the held-out values,", end=" ")
print(f"{shares[1]:.1f} % of the drawn ones")

# %%
# Branches that are harder
# ------------------------
# Let the branches mirror each other: ``y = s (sin x + 1.5) + noise``, with both signs equally
# probable. A unit that raises the upper branch now has to lower the lower one. One unit cannot do
# that, because effects add up. More units are needed, their combinations also produce values of y
# that do not occur, and more starts are needed to find a good solution. The density is still much
# better than the one with constant variance, but further from the true one than above.


def mirrored(x):
    """Return probability and mean of both branches."""
    return (0.5 + 0.0 * x, np.sin(x) + 1.5), (0.5 + 0.0 * x, -np.sin(x) - 1.5)


x, y = draw(mirrored, 1600, np.random.default_rng(0))
X_train, X_test, y_train, y_test = train_test_split(x[:, None], y, test_size=0.25, random_state=0)
harder = FastEMRegressor((10,), alpha=0.05, n_init=6, max_iter=2000, random_state=0)
harder.fit(X_train, y_train)
mirrored_scores = mean_log_densities(X_test, y_test, harder, *fit_mean(X_train, y_train), mirrored)
print("density                      nats per held-out row")
for name, score in mirrored_scores.items():
    print(f"{name:28} {score:7.3f}")

# %%
# .. seealso:: Guide: :doc:`/guide/regress`. Theory: :doc:`/theory/families`.
