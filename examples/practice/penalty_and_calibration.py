"""
Penalty path and calibration
============================

Two questions decide whether predicted probabilities can be used. Is the model neither too flexible
nor too rigid for its data? Do its probabilities agree with the frequencies of new rows?

The answer to the first question is the L2 penalty ``alpha``. By default, a fit chooses it by the
log-likelihood of held-out rows. The answer to the second one is a calibration curve: the observed
frequency of a class against its predicted probability. The example has 400 training rows of three
overlapping classes. It compares EM with perceptrons and logistic regression.
"""

# %%
# Data
# ----
# The data have eight features and three classes. A tenth of the labels is random, so that no model
# can be certain. There are 400 training rows. The models are checked on 4000 new rows.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, FastMLPClassifier, PenaltyDisplay

X, y = make_classification(
    4400, n_features=8, n_informative=5, n_redundant=0, n_classes=3, flip_y=0.1, random_state=0
)
y = np.array(["class a", "class b", "class c"])[y]
X_train, X_new, y_train, y_new = train_test_split(X, y, test_size=4000, random_state=0)
print(f"{len(y_train)} training rows, {len(y_new)} new rows")

# %%
# The penalty path
# ----------------
# With ``alpha="auto"``, the default, the fit compares penalties on the training rows alone. Here it
# uses cross-validation. ``alpha_`` is the chosen penalty, and ``alpha_path_`` has all scores: mean
# log-likelihoods per row, in nats.
model = FastEMClassifier((8,), random_state=0).fit(X_train, y_train)
path = model.alpha_path_
print(f"chosen penalty: {model.alpha_:g}")

# %%
# Is this penalty also the best one for the new rows? We fit the model once per penalty.
on_new_rows = []
for alpha in path["alpha"]:
    fixed = FastEMClassifier((8,), alpha=alpha, max_iter=2000, random_state=0)
    fixed.fit(X_train, y_train)
    on_new_rows.append(fixed.log_likelihood(X_new, y_new) / len(y_new))
print("  alpha  training  cross-validation  new rows")
for row in zip(path["alpha"], path["training"], path["cross_validation"], on_new_rows, strict=True):
    print("{:7g} {:9.3f} {:13.3f} {:13.3f}".format(*row))

# %%
# :class:`fastem.PenaltyDisplay` plots the path. The training score rises as the penalty falls. It
# is no basis for a choice: the smallest penalty fits the training rows best and predicts new rows
# worst. The scores of cross-validation and of new rows are highest at the same penalty.
fig, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
display = PenaltyDisplay.from_estimator(model, ax=ax)
ax.plot(path["alpha"], on_new_rows, "k*--", label="new rows")
ax.set_title("400 rows, 3 classes, 8 hidden units: choice of the penalty")
ax.legend(fontsize="small")
plt.show()

# %%
# Calibration on new rows
# -----------------------
# We compare five models: EM with the chosen penalty and with the smallest one of the path,
# perceptrons with 8 hidden units and with 100 (the default), trained by backpropagation, and
# logistic regression.


def perceptron(n_units):
    """Return a network trained by Adam on standardised features, not fitted."""
    network = FastMLPClassifier((n_units,), max_iter=2000, random_state=0)
    return make_pipeline(StandardScaler(), network)


smallest = FastEMClassifier((8,), alpha=path["alpha"].min(), max_iter=2000, random_state=0)
models = {
    "exact EM, 8 units": model,
    f"exact EM, alpha={smallest.alpha:g}": smallest.fit(X_train, y_train),
    "perceptron, 8 units": perceptron(8).fit(X_train, y_train),
    "perceptron, 100 units": perceptron(100).fit(X_train, y_train),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()).fit(
        X_train, y_train
    ),
}

# %%
# The calibration error is the mean distance between observed frequency and predicted probability in
# ten bins with equally many rows, averaged over the classes.


def calibration_error(observed, probability, n_bins=10):
    """Return the mean distance between frequency and probability, for arrays (rows, classes)."""
    distances = []
    for is_class, predicted in zip(observed.T, probability.T, strict=True):
        bins = np.array_split(np.argsort(predicted), n_bins)
        means = [(is_class[rows].mean(), predicted[rows].mean()) for rows in bins]
        distances.append(np.abs(np.subtract(*np.transpose(means))).mean())
    return float(np.mean(distances))


results = {}
print("model                   accuracy  log-loss (nats)  calibration error")
for name, fitted in models.items():
    probability = fitted.predict_proba(X_new)
    results[name] = (
        accuracy_score(y_new, fitted.predict(X_new)),
        log_loss(y_new, probability),
        calibration_error(y_new[:, None] == fitted.classes_, probability),
    )
    print("{:23} {:8.3f} {:12.3f} {:15.3f}".format(name, *results[name]))

# %%
# The curves of :class:`sklearn.calibration.CalibrationDisplay`, for every class against the rest.
# The overfitted perceptron is overconfident: classes with a high predicted probability are less
# frequent than predicted, and classes with a low one are more frequent.
fig, axes = plt.subplots(2, 2, figsize=(8.4, 8.0), sharex=True, sharey=True, layout="constrained")
shown = [name for name in models if "alpha" not in name]
for ax, name in zip(axes.flat, shown, strict=True):
    fitted = models[name]
    for label, probability in zip(fitted.classes_, fitted.predict_proba(X_new).T, strict=True):
        CalibrationDisplay.from_predictions(
            y_new == label, probability, n_bins=10, strategy="quantile", name=label, ax=ax
        )
    ax.set(xlabel="predicted probability", ylabel="observed frequency", aspect="equal")
    ax.set_title(f"{name}: calibration on new rows", fontsize="medium")
    ax.legend(loc="lower right", fontsize="small")
    ax.label_outer()
plt.show()

# %%
# A small calibration error is not enough. A model that predicts the overall frequencies of the
# classes for every row is calibrated and useless. Logistic regression has the smallest calibration
# error here, but its accuracy is far below that of EM with the chosen penalty. The log-loss
# measures both: whether the probabilities are right, and how well they separate the classes.
best = min(results, key=lambda name: results[name][1])
print(f"lowest log-loss: {best}")

# %%
# .. seealso:: Guide: :doc:`/guide/penalty_and_size`. Theory: :doc:`/theory/training`.
