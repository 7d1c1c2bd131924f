"""
Several labels per row that depend on each other
================================================

A part from a machine can have several defects at once: scratches, burrs, cracks, bubbles. One
logistic regression per defect predicts how probable each of them is. Which defects occur together
is not part of these models: they treat the defects as independent given the features.

In a network with stochastic hidden units, the labels are independent given the *hidden states*.
Given the features alone they depend on each other, because they share the hidden units. The example
compares the joint probability of all labels under both models, shows the dependence that the hidden
units explain, and uses it to predict one defect from the others.
"""

# %%
# Data
# ----
# The data are simulated parts with two measured features: the age of the tool and the temperature,
# in standard deviations from their means. Two faults cause the six defects: a worn tool and
# overheating. The faults are not recorded. Each of them is more probable for some values of the
# features.
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from fastem import FastEMClassifier, e_step

DEFECTS = ["scratch", "burr", "crack", "bubble", "stain", "warp"]
INTO_FAULTS = np.array([[1.0, 0.5], [-0.8, 1.2]]), np.array([-0.3, -0.5])
INTO_DEFECTS = (
    np.array([[2.5, 2.0, 3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.5, 2.5, 3.0, 2.0]]),
    np.array([-2.0, -1.5, -2.5, -2.0, -2.5, -1.5]),
)


def draw(n_rows, rng):
    """Return the features, the faults, and the defects of random parts."""
    X = rng.normal(size=(n_rows, 2))
    faults = rng.random((n_rows, 2)) < expit(X @ INTO_FAULTS[0] + INTO_FAULTS[1])
    defects = rng.random((n_rows, 6)) < expit(faults @ INTO_DEFECTS[0] + INTO_DEFECTS[1])
    return X, faults, defects.astype(int)


rng = np.random.default_rng(0)
X_train, _, Y_train = draw(1000, rng)
X_test, faults, Y_test = draw(2000, rng)
print("  age  temperature  ", *(f"{name:>7}" for name in DEFECTS))
for features, labels in zip(X_train[:4], Y_train[:4], strict=True):
    print(f"{features[0]:5.1f} {features[1]:8.1f}      ", *(f"{label:7d}" for label in labels))

# %%
# Models
# ------
# :class:`fastem.FastEMClassifier` fits all labels jointly if y is a matrix of 0 and 1. The Bayesian
# information criterion (BIC) of the training rows selects the number of hidden units. Lower is
# better.
models = {
    size: FastEMClassifier((size,), alpha=0.5, max_iter=1000, random_state=0).fit(X_train, Y_train)
    for size in (1, 2, 3, 4)
}
criteria = {size: model.bic(X_train, Y_train) for size, model in models.items()}
for size, criterion in criteria.items():
    print(f"{size} hidden units: BIC {criterion:.0f}")
model = models[min(criteria, key=criteria.get)]

# %%
# There are two models for comparison. The first is a logistic regression per label. The second is
# a chain of logistic regressions: the regression of a label has the features and all earlier labels
# as inputs. The product of its conditional probabilities is the joint probability of the labels.


def log_probability(inputs, labels):
    """Fit a logistic regression; return the log-probability of held-out labels per row (nats)."""
    (train, test), (label_train, label_test) = inputs, labels
    regression = LogisticRegression().fit(train, label_train)
    return regression.predict_log_proba(test)[np.arange(len(test)), label_test]


independent = chain = 0.0
for k in range(len(DEFECTS)):
    labels = Y_train[:, k], Y_test[:, k]
    independent += log_probability((X_train, X_test), labels)
    earlier = np.hstack([X_train, Y_train[:, :k]]), np.hstack([X_test, Y_test[:, :k]])
    chain += log_probability(earlier, labels)

# %%
# Joint log-likelihood
# --------------------
# The table has the mean log-probability of all six labels of a held-out row. Higher is better. The
# true joint probability is known, because the data are simulated from the same kind of network:
# :func:`fastem.e_step` evaluates it at the true parameters.
truth = e_step(
    X_test,
    Y_test,
    [INTO_FAULTS[0], INTO_DEFECTS[0]],
    [INTO_FAULTS[1], INTO_DEFECTS[1]],
    family="bernoulli",
)
scores = {
    "independent logistic regressions": independent.mean(),
    "chain of logistic regressions": chain.mean(),
    "hidden units": model.log_likelihood(X_test, Y_test) / len(Y_test),
    "true distribution": truth.log_likelihood.mean(),
}
print("model                              nats per held-out row")
for name, score in scores.items():
    print(f"{name:34} {score:7.3f}")

# %%
# Dependence given the features
# -----------------------------
# :meth:`fastem.FastEMClassifier.predict_proba` returns the probability of every label by itself.
# The residuals, labels minus these probabilities, would be uncorrelated if the labels were
# independent given the features. They are correlated, and the model predicts which labels are. For
# its prediction, :meth:`fastem.FastEMClassifier.sample` draws labels for the same rows, 20 times
# per row.


def residual_correlation(X, Y):
    """Return the correlation between the residuals of every two labels."""
    return np.corrcoef((Y - model.predict_proba(X)).T)


observed = residual_correlation(X_test, Y_test)
repeated = np.repeat(X_test, 20, axis=0)
predicted = residual_correlation(repeated, model.sample(repeated, random_state=0)[0])

fig, axes = plt.subplots(1, 2, figsize=(8.0, 4.1), sharey=True, layout="constrained")
for ax, values, name in zip(axes, (observed, predicted), ("held-out rows", "model"), strict=True):
    shown = np.where(np.eye(6, dtype=bool), np.nan, values)
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
    ax.set_xticks(range(6), DEFECTS, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(6), DEFECTS)
    ax.set_title(f"Residual correlation: {name}", fontsize="medium")
fig.colorbar(image, ax=axes, shrink=0.75, label="correlation")
plt.show()

# %%
# The next figure has the same numbers for the 15 pairs of labels. Independent labels have the
# correlation zero.
pairs = np.triu_indices(6, 1)
fig, ax = plt.subplots(figsize=(5.0, 4.4), layout="constrained")
ax.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.8, linestyle="--")
ax.scatter(observed[pairs], predicted[pairs], color="C0", label="hidden units")
ax.scatter(observed[pairs], np.zeros(15), color="C3", marker="s", s=20, label="independent labels")
ax.set(xlabel="observed correlation", ylabel="correlation under the model", aspect="equal")
ax.set_title("Residual correlation of all pairs of labels")
ax.legend(loc="upper left")
plt.show()

# %%
# Meaning of the hidden units
# ---------------------------
# A positive weight from a unit to a label means: the unit makes this defect more probable. A unit
# could also be on where its fault is absent. Its sign is therefore chosen so that the sum of its
# weights is positive. :meth:`fastem.FastEMClassifier.posterior` returns the probability of every
# unit given features *and* defects. It is compared here with the faults of the held-out parts,
# which are not part of the data of any model.
sign = np.sign(model.coefs_[1].sum(axis=1))
posterior = model.posterior(X_test, Y_test)
posterior = np.where(sign > 0, posterior, 1.0 - posterior)
print("log-odds ", *(f"{name:>7}" for name in DEFECTS))
for unit, weights in enumerate(sign[:, None] * model.coefs_[1]):
    print(f"unit {unit}:  ", *(f"{weight:7.1f}" for weight in weights))
correlations = np.corrcoef(faults.T, posterior.T)[:2, 2:]
matches = correlations.argmax(axis=1)
for fault, match in zip(("worn tool", "overheating"), matches, strict=True):
    print(f"{fault}: unit {match}, correlation {correlations[:, match].max():.2f}")

# %%
# One label given the others
# --------------------------
# The joint probability also predicts one defect of a part whose other defects are known. The
# probability of a crack, given features and other labels, follows from the joint probabilities of
# the labels with a crack and without one.


def log_joint(X, Y):
    """Return the joint log-probability of the labels of every row (nats)."""
    result = e_step(X, Y, model.coefs_, model.intercepts_, family="bernoulli")
    return result.log_likelihood


part = np.array([[0.0, 0.0]])  # average age and temperature
crack = DEFECTS.index("crack")
print(f"P(crack | features) = {model.predict_proba(part)[0, crack]:.2f}")
given_others = {}
for others in ((), ("scratch",), ("scratch", "burr"), ("scratch", "burr", "bubble", "stain")):
    labels = np.array([[int(name in others) for name in DEFECTS]])
    without, with_crack = labels.copy(), labels.copy()
    with_crack[0, crack] = 1
    log_odds = log_joint(part, with_crack) - log_joint(part, without)
    given_others[others] = expit(log_odds[0])
    known = ", ".join(others) or "no other defect"
    print(f"P(crack | features, {known}) = {given_others[others]:.2f}")

# %%
# .. seealso:: Guide: :doc:`/guide/several_labels`. Theory: :doc:`/theory/families`.
