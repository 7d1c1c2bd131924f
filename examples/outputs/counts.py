"""
Counts that vary more than a Poisson distribution
=================================================

A Poisson regression predicts the mean of a count. Its variance then equals its mean. Real counts
often vary much more: something that was not recorded multiplies the rate in some rows. This is
called overdispersion. Intervals and probabilities of a Poisson regression are then wrong, even if
its mean is right.

A network with stochastic hidden units and Poisson outputs is a mixture of Poisson distributions.
Its hidden units can stand for what was not recorded. The example compares both models on held-out
rows.
"""

# %%
# Data
# ----
# The data are simulated calls to a help desk, per hour, between 8 and 20 o'clock. Most calls come
# at 11. During an outage there are four times as many. Outages become more frequent in the course
# of the day. They were not recorded: only the hour and the count are data. From one day to the
# next, the rate also varies by a factor with a gamma distribution. The model does not contain this
# variation.
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import nbinom, poisson
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from fastem import DensityDisplay, FastEMRegressor

SHAPE = 20.0  # of the gamma distribution, whose mean is 1


def rates(hour):
    """Return the calls per hour without outage, and the probability of an outage."""
    calls = 4.0 + 6.0 * np.exp(-0.5 * ((hour - 11.0) / 1.5) ** 2)
    return calls, 0.05 + 0.35 * (hour - 8.0) / 12.0


def draw(n_rows, rng):
    """Return the hour, the number of calls, and whether there was an outage."""
    hour = rng.uniform(8.0, 20.0, size=n_rows)
    calls, probability = rates(hour)
    outage = rng.random(n_rows) < probability
    daily = rng.gamma(SHAPE, 1.0 / SHAPE, size=n_rows)
    return hour[:, None], rng.poisson(calls * np.where(outage, 4.0, 1.0) * daily), outage


rng = np.random.default_rng(0)
X_train, y_train, _ = draw(1500, rng)
X_test, y_test, outage = draw(1500, rng)
print("hour ", *(f"{hour:5.1f}" for hour in X_train[:8, 0]))
print("calls", *(f"{count:5d}" for count in y_train[:8]))

# %%
# Two models
# ----------
# scikit-learn's Poisson regression has spline features, so that its mean can follow the curve of
# the day. The network has six hidden units.
#
# The dispersion is the mean of ``(y - mean)**2 / variance`` over the held-out rows. It is 1 if the
# predicted variance is right.
regression = make_pipeline(SplineTransformer(8), PoissonRegressor(alpha=1e-3, max_iter=1000))
regression.fit(X_train, y_train)
model = FastEMRegressor((6,), family="poisson", alpha=0.1, max_iter=2000, random_state=0)
model.fit(X_train, y_train)

regression_mean = regression.predict(X_test)
mean, standard_deviation = model.predict(X_test, return_std=True)
dispersions = {
    "Poisson regression": np.mean((y_test - regression_mean) ** 2 / regression_mean),
    "hidden units": np.mean((y_test - mean) ** 2 / standard_deviation**2),
}
print("                    mean count  dispersion")
for name, value in zip(dispersions, (regression_mean, mean), strict=True):
    print(f"{name:20} {value.mean():9.2f} {dispersions[name]:11.2f}")

# %%
# The predicted distribution
# --------------------------
# :class:`fastem.DensityDisplay` plots the probability of every count given the hour. The two bands
# are hours without and with an outage.
display = DensityDisplay.from_estimator(model, X_test, y_test)
display.axes_[0].set(
    xlabel="hour", ylabel="calls", title="Probability of the number of calls, and held-out rows"
)
display.figure_.axes[1].set_ylabel("probability given the hour")
plt.show()

# %%
# The next figure compares counts of the held-out rows between 16 and 18 o'clock with both predicted
# distributions at 17 o'clock. :meth:`fastem.FastEMRegressor.log_density` returns the
# log-probability of a count. The maximum of the Poisson distribution lies between the two groups of
# counts.
counts = np.arange(36)
at_17 = np.full((len(counts), 1), 17.0)
near = np.abs(X_test[:, 0] - 17.0) < 1.0
fig, ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
share = np.bincount(y_test[near], minlength=len(counts))[: len(counts)] / near.sum()
ax.bar(counts, share, color="0.75", label=f"{near.sum()} held-out rows, 16 to 18 o'clock")
ax.plot(counts, np.exp(model.log_density(at_17, counts)), "C0o-", ms=4, label="hidden units")
ax.plot(
    counts,
    poisson.pmf(counts, regression.predict(at_17)),
    "C3s-",
    ms=4,
    label="Poisson regression",
)
ax.set(xlabel="calls per hour", ylabel="probability", title="Predicted calls at 17 o'clock")
ax.legend()
# sphinx_gallery_thumbnail_number = 2
plt.show()

# %%
# Quantiles and intervals
# -----------------------
# :meth:`fastem.FastEMRegressor.predict_quantile` returns the smallest count whose distribution
# function is at least q. With 0.95, the capacity in the last column is enough in 95 of 100 hours.
hours = np.array([[9.0], [11.0], [14.0], [19.0]])
quantiles = model.predict_quantile(hours, [0.05, 0.5, 0.95])
print("hour   5 %  median  95 %   95 % by Poisson regression")
for hour, (low, middle, high), rate in zip(
    hours[:, 0], quantiles, regression.predict(hours), strict=True
):
    print(f"{hour:4.0f} {low:5.0f} {middle:7.0f} {high:5.0f} {poisson.ppf(0.95, rate):8.0f}")

low, high = model.predict_interval(X_test, coverage=0.9).T
by_regression = poisson.ppf([[0.05], [0.95]], regression_mean)
coverages = {
    "Poisson regression": np.mean((by_regression[0] <= y_test) & (y_test <= by_regression[1])),
    "hidden units": np.mean((low <= y_test) & (y_test <= high)),
}
for name, value in coverages.items():
    print(f"90 % intervals of {name} contain {100 * value:.0f} % of the held-out counts")

# %%
# Intervals of counts contain more than 90 % even under the true distribution, because only whole
# numbers can be limits.
#
# Is the distribution right everywhere?
# -------------------------------------
# A rootogram compares how often every count occurs with how often a model expects it, over all
# held-out rows. Square roots make differences of rare and frequent counts comparable: if the model
# is right, the bars have a standard deviation of about 0.5. Small and large counts are more
# frequent than Poisson regression expects. Counts in between are less frequent.
counts = np.arange(60)
observed = np.bincount(y_test, minlength=len(counts))[: len(counts)]
every_row, every_count = np.repeat(X_test, len(counts), axis=0), np.tile(counts, len(y_test))
probability = np.exp(model.log_density(every_row, every_count)).reshape(len(y_test), -1)
expected = {
    "Poisson regression": poisson.pmf(counts, regression_mean[:, None]).sum(axis=0),
    "hidden units": probability.sum(axis=0),
}
differences = {name: np.sqrt(observed) - np.sqrt(value) for name, value in expected.items()}
fig, axes = plt.subplots(2, 1, figsize=(7.0, 5.0), sharex=True, sharey=True, layout="constrained")
for ax, colour, (name, value) in zip(axes, ("C3", "C0"), differences.items(), strict=True):
    ax.bar(counts, value, color=colour)
    ax.axhspan(-1.0, 1.0, color="black", alpha=0.1, linewidth=0)
    ax.set(title=name, ylabel="√observed - √expected")
axes[1].set_xlabel("calls per hour")
fig.suptitle("Rootogram of the held-out rows; grey: two standard deviations of a right model")
plt.show()

# %%
# The mean log-likelihood of the held-out counts puts all this into one number. Under the true
# distribution, the gamma variation makes a negative binomial distribution of every Poisson one.
calls, p = rates(X_test[:, 0])
without, during = (
    nbinom.logpmf(y_test, SHAPE, SHAPE / (SHAPE + factor * calls)) for factor in (1.0, 4.0)
)
scores = {
    "Poisson regression": poisson.logpmf(y_test, regression_mean).mean(),
    "hidden units": model.log_density(X_test, y_test).mean(),
    "true distribution": np.logaddexp(np.log(1.0 - p) + without, np.log(p) + during).mean(),
}
print("distribution         nats per held-out row")
for name, score in scores.items():
    print(f"{name:20} {score:7.3f}")

# %%
# Meaning of the hidden units
# ---------------------------
# The weights into y are log-rates: a unit that is on multiplies the rate by ``exp(weight)``. The
# unit with the largest weight multiplies it by about 4, as an outage does. Its posterior
# probability, given the hour and the count, is high in hours with an outage. The outages of the
# held-out rows are known here, because the data are simulated.
factors = np.exp(np.abs(model.coefs_[1][:, 0]))
unit = np.argmax(factors)
posterior = model.posterior(X_test, y_test)[:, unit]
if model.coefs_[1][unit, 0] < 0:  # this unit is off during an outage
    posterior = 1.0 - posterior
print("factors of the units:", *factors.round(1))
print(f"mean posterior probability in hours with an outage:    {posterior[outage].mean():.2f}")
print(f"mean posterior probability in hours without an outage: {posterior[~outage].mean():.2f}")

# %%
# .. seealso:: Guide: :doc:`/guide/counts`. Theory: :doc:`/theory/families`.
