"""
Hidden units of digits
======================

The hidden units of a network by EM are binary random variables. Their probability given an image is
the *prior* ``P(Z_h = 1 | x)``. Their probability given the image and its class is the *posterior*
``P(Z_h = 1 | x, y)``. The M-step of EM moves the prior of every training row towards its posterior.

The example trains twelve units on images of digits and plots what they respond to. It prints the
code of every digit. Prior and posterior then show why one digit is classified wrongly.
"""

# %%
# Data and fit
# ------------
# There are 1797 images of 8 x 8 pixels. A quarter of them is held out. Twelve binary units have
# 4096 hidden states. The probabilities of the ten classes depend on the image only through the
# state. The E-step sums over all states.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastem import FastEMClassifier, HiddenUnitsDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = FastEMClassifier((12,), alpha=0.15, tol=1e-5, max_iter=1000, random_state=0)
model.fit(X_train, y_train)
print(f"accuracy on held-out digits: {model.score(X_test, y_test):.3f}")

# %%
# Weights of the pixels
# ---------------------
# :class:`fastem.HiddenUnitsDisplay` plots the weights from the pixels to every unit as an image.
# Ink on red pixels makes it more probable that the unit is on, ink on blue pixels that it is off.
# Every weight is multiplied by the standard deviation of its pixel: a large weight has little
# effect if the pixel is the same in nearly all images.
display = HiddenUnitsDisplay(
    weights=model.coefs_[0] * model.feature_deviation_[:, None],
    weight_label="weight x deviation\nof the pixel (log-odds)",
    image_shape=(8, 8),
)
display.plot(plt.figure(figsize=(8.4, 3.2), layout="constrained"))
display.figure_.suptitle("Weights from the pixels to the twelve units")
plt.show()

# %%
# ``HiddenUnitsDisplay.from_estimator(model, X_train, y_train)`` plots these images, the weights
# from the units to the classes, and the mean activations of the next section on one wide figure.
#
# The code of a digit
# -------------------
# Most states are nearly certain given the image. Most mean posterior probabilities, over the
# training images of a digit, are close to 0 or 1 as well: every digit has a code of twelve bits.
# Where the mean is near 0.5, the state differs between images of the same digit.
prior = model.transform(X_test)
certain = np.mean((prior < 0.1) | (prior > 0.9))
print(f"{100 * certain:.0f} % of the states have a prior probability below 0.1 or above 0.9")

posterior = model.posterior(X_train, y_train)
code = np.array([posterior[y_train == digit].mean(axis=0) for digit in range(10)])
fig, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
image = ax.imshow(code, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
ax.set(xlabel="unit", ylabel="digit", xticks=range(12), yticks=range(10))
ax.set_title("Mean posterior probability of every unit, for every digit")
fig.colorbar(image, label="probability of being on")
plt.show()

# %%
# Different digits differ in several units. A single wrong state need not change the class.
difference = np.abs(code[:, None] - code).sum(axis=2)  # expected number of different states
np.fill_diagonal(difference, np.inf)
first, second = np.unravel_index(difference.argmin(), difference.shape)
print(f"most similar codes: {first} and {second}, which differ in {difference.min():.1f} units")

# %%
# A digit that is classified wrongly
# ----------------------------------
# Among the held-out digits with a wrong class, we take the one with the largest difference between
# prior and posterior of a unit.
probability = model.predict_proba(X_test)
true_posterior = model.posterior(X_test, y_test)
wrong = np.flatnonzero(model.predict(X_test) != y_test)
surprise = np.abs(true_posterior - prior)[wrong]
row = wrong[surprise.max(axis=1).argmax()]
unit = np.abs(true_posterior - prior)[row].argmax()
true, predicted = y_test[row], probability[row].argmax()
print(f"{len(wrong)} of {len(y_test)} held-out digits have a wrong class")
print(f"this digit is {true}, and P({predicted} | x) = {probability[row, predicted]:.2f}")
print(f"unit {unit}: prior {prior[row, unit]:.2f}, posterior {true_posterior[row, unit]:.2f}")

fig, (left, right) = plt.subplots(
    1, 2, figsize=(8.6, 3.2), width_ratios=(1, 2.6), layout="constrained"
)
left.imshow(X_test[row].reshape(8, 8), cmap="gray_r")
left.set(title=f"{true}, classified as {predicted}", xticks=[], yticks=[])
units = np.arange(12)
right.bar(units - 0.2, prior[row], width=0.4, color="0.6", label="given the image")
right.bar(
    units + 0.2,
    true_posterior[row],
    width=0.4,
    color="C0",
    label=f"given the image and the class {true}",
)
right.set(
    xlabel="unit",
    ylabel="probability of being on",
    xticks=units,
    yticks=(0.0, 0.5, 1.0),
    ylim=(0.0, 1.3),
)
right.set_title("Hidden states of this digit")
right.legend(loc="upper center", ncols=2, fontsize="small")
plt.show()

# %%
# Meaning of the unit
# -------------------
# The held-out images with the lowest and the highest log-odds of this unit show what it responds
# to. Its code shows for which digits it is on.
log_odds = X_test @ model.coefs_[0][:, unit] + model.intercepts_[0][unit]
order = np.argsort(log_odds)
fig, axes = plt.subplots(2, 10, figsize=(8.6, 2.4), layout="constrained")
for images, rows, name in zip(axes, (order[:10], order[::-1][:10]), ("off", "on"), strict=True):
    for ax, image in zip(images, X_test[rows], strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    images[0].set_ylabel(name)
fig.suptitle(f"Images with the lowest and the highest log-odds of unit {unit}")
plt.show()
for name, digits in (("off", np.flatnonzero(code[:, unit] < 0.3)), ("on", code[:, unit] > 0.7)):
    print(f"unit {unit} is {name} for the digits", *np.arange(10)[digits])

# %%
# Class probabilities for a given state
# -------------------------------------
# What would the class be if the state of this unit were known? By Bayes' rule,
# ``P(y | x, Z_h = 1) = P(y | x) P(Z_h = 1 | x, y) / P(Z_h = 1 | x)``. The model computes all three
# factors on the right. For this image, a single wrong state leads to the wrong class.
digits = model.classes_
given_class = model.posterior(np.repeat(X_test[[row]], 10, axis=0), digits)[:, unit]
p, u = probability[row], prior[row, unit]
if_on, if_off = p * given_class / u, p * (1.0 - given_class) / (1.0 - u)
fig, ax = plt.subplots(figsize=(7.0, 3.2), layout="constrained")
for shift, values, colour, name in (
    (-0.27, p, "0.6", "unknown"),
    (0.0, if_on, "C3", "on"),
    (0.27, if_off, "C0", "off"),
):
    ax.bar(digits + shift, values, width=0.27, color=colour, label=f"unit {unit} {name}")
ax.set(xlabel="class", ylabel="probability", xticks=digits, ylim=(0.0, 1.0))
ax.set_title(f"Classes of the digit for both states of unit {unit}")
ax.legend(loc="upper center")
plt.show()
print(f"unit {unit} on:  P({true}) = {if_on[true]:.2f}, P({predicted}) = {if_on[predicted]:.2f}")
print(f"unit {unit} off: P({true}) = {if_off[true]:.2f}, P({predicted}) = {if_off[predicted]:.2f}")

# %%
# .. seealso:: Guide: :doc:`/guide/calibrate_and_explain`, :doc:`/guide/classify`.
