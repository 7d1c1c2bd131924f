"""
How certain is a prediction?
============================

A fitted network predicts a probability. With few rows, this probability is uncertain itself. Hidden
units can be exchanged, so single weights have no meaning. Predictions and average effects of
features do have one. :class:`fastem.Inference` computes their standard errors, and
:func:`fastem.likelihood_ratio_test` tests the number of hidden units.

The data come from a network that we know, so every answer can be compared with the truth.
"""

# %%
# Patients of an invented trial
# -----------------------------
# A medicine helps in the middle range of doses: the first hidden unit turns on with the dose, the
# second one turns the effect off again, for older patients at smaller doses. The height has no
# effect.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit

from fastem import FastEMClassifier, Inference, bootstrap, likelihood_ratio_test


def true_probability(X):
    """Return the probability of getting better: a sum over the states of two hidden units."""
    on = expit(1.5 * (X["dose"] - 3.0))
    off = expit(1.5 * (X["dose"] - 7.0) + 0.1 * (X["age"] - 50.0))
    helps = on * (1.0 - off)
    harms = (1.0 - on) * off
    return helps * expit(1.5) + harms * expit(-4.5) + (1.0 - helps - harms) * expit(-1.5)


rng = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "dose": rng.uniform(0.0, 10.0, 500),
        "age": rng.uniform(20.0, 80.0, 500),
        "height": rng.normal(170.0, 10.0, 500),
    }
)
y = np.where(rng.random(500) < true_probability(X), "better", "same")

# %%
# The summary
# -----------
# An average marginal effect is the mean slope of the probability per unit of a feature. The table
# has effects with standard errors, z-values, p-values and 95 % intervals.

model = FastEMClassifier((2,), alpha=0.15, n_init=5, random_state=0).fit(X, y)
inference = Inference(model, X, y)
summary = inference.summary()
print(summary)

# %%
# We compute the true effects by small changes of each feature. All of them are within the
# intervals.

truth = {}
for j, name in enumerate(X):
    up, down = (true_probability(X.assign(**{name: X[name] + step})) for step in (1e-3, -1e-3))
    truth[name] = np.mean(up - down) / 2e-3
    low, high = summary.effect_intervals[j, 0]
    print(f"{name:7} true effect {truth[name]:8.5f}, interval {low:8.5f} to {high:8.5f}")

# %%
# The average effect of the dose is small, because the probability first rises and then falls. An
# average is not the whole answer. The next picture has the probability itself.
#
# Intervals of a predicted probability
# ------------------------------------
# ``interval`` returns the lower and the upper end for every row and class. ``Inference`` uses the
# second derivatives of the likelihood. :func:`fastem.bootstrap` fits the network again to resampled
# rows, here 100 times. It makes fewer assumptions, and takes longer. We look at patients of age 50
# with growing doses.

doses = np.linspace(0.0, 10.0, 101)
patients = pd.DataFrame({"dose": doses, "age": 50.0, "height": 170.0})
probability = model.predict_proba(patients)[:, 0]
refits = bootstrap(model, X, y, n_resamples=100, random_state=0)
intervals = {
    "Inference": inference.interval(patients)[:, 0],
    "bootstrap": refits.interval(patients)[:, 0],
}
for name, interval in intervals.items():
    print(f"{name}: mean width of the intervals {np.mean(interval[:, 1] - interval[:, 0]):.3f}")

# %%
# Both methods agree. An interval holds for each dose by itself. Near dose 8 the true probability is
# just outside.

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
ax.fill_between(doses, *intervals["Inference"].T, alpha=0.3, label="95 % interval, Inference")
ax.plot(doses, intervals["bootstrap"], color="C1", linewidth=1)
ax.plot([], [], color="C1", linewidth=1, label="95 % interval, bootstrap")
ax.plot(doses, probability, color="C0", label="fitted")
ax.plot(doses, true_probability(patients), "k--", label="true")
ax.set(xlabel="dose", ylabel="P(better | dose, age 50)", ylim=(0.0, 1.0))
ax.grid(alpha=0.3)
ax.legend(loc="upper left", fontsize="small")
plt.show()

# %%
# How many hidden units?
# ----------------------
# The test compares m with m + 1 units. The usual chi-squared distribution does not hold, because
# the further unit is not identified under the hypothesis. The test simulates data from the smaller
# model instead. With 19 simulations the smallest possible p-value is 1/20. Use 99 or more in your
# work.

tests = []
for m in (1, 2):
    smaller = FastEMClassifier((m,), alpha=0.15, n_init=5, random_state=0).fit(X, y)
    tests.append(likelihood_ratio_test(smaller, X, y, n_resamples=19, random_state=0))
    print(tests[-1], end="\n\n")

# %%
# One unit is too few: the data are far outside the simulations. A third unit is not needed.

figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
for ax, test in zip(axes, tests, strict=True):
    ax.hist(test.null_statistics, bins=10, color="0.7", label="simulated")
    ax.axvline(test.statistic, color="C3", linewidth=2, label="data")
    ax.set_title(f"{test.n_hidden} against {test.n_hidden + 1} hidden units")
    ax.set(xlabel="likelihood-ratio statistic", ylabel="simulations")
    ax.yaxis.get_major_locator().set_params(integer=True)
axes[0].legend()
plt.show()

# %%
# .. seealso:: Guide: :doc:`/guide/calibrate_and_explain`.
