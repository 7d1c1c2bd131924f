"""Check whether predicted probabilities are right: calibration curves of three classes.

scikit-learn's `CalibrationDisplay` draws the observed frequency of a class against its predicted
probability. The probabilities are right on average where the curve follows the diagonal.
`CalibrationDisplay.from_estimator` is for two classes. With more classes, every class is compared
with the rest: `CalibrationDisplay.from_predictions(y == k, probability of class k)`.

The classes of the data overlap: a tenth of the labels is random. The script fits exact EM and a
perceptron of the same size with their default settings on 400 rows. For 4000 new rows it prints
the log-loss and the calibration error, which is the mean distance of the curves from the diagonal,
weighted by the rows of each point.

Run: ``python examples/calibration.py [FILE]``; with the name of an image file it also draws the
curves.
"""

import sys
import warnings

import numpy as np
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier, FastMLPClassifier

N_UNITS = 8
N_BINS = 10


def rows(n_train=400, n_test=4000, seed=0):
    """Return X_train, X_test, y_train, y_test with the labels "a", "b" and "c"."""
    X, y = make_classification(
        n_train + n_test, n_features=8, n_informative=5, n_redundant=0, n_classes=3, flip_y=0.1,
        random_state=seed,
    )  # fmt: skip
    return train_test_split(X, np.array(["a", "b", "c"])[y], test_size=n_test, random_state=seed)


def estimators():
    """Return both methods, not fitted."""
    network = FastMLPClassifier((N_UNITS,), max_iter=2000, random_state=0)
    return {
        "exact EM": FastEMClassifier((N_UNITS,), random_state=0),
        "perceptron": make_pipeline(StandardScaler(), network),
    }


def calibration_error(labels, probability):
    """Return the mean distance between frequency and probability in bins with equally many rows.

    Parameters
    ----------
    labels : array (n_samples, n_classes) of bool
    probability : array (n_samples, n_classes)
    """
    distances = []
    for observed, predicted in zip(labels.T, probability.T, strict=True):
        parts = np.array_split(np.argsort(predicted), N_BINS)
        means = [(observed[part].mean(), predicted[part].mean()) for part in parts]
        distances.append(np.abs(np.subtract(*np.transpose(means))).mean())
    return float(np.mean(distances))


def draw(models, X, y, path):
    """Draw the calibration curves of every class against the rest, one plot per method."""
    from matplotlib.figure import Figure
    from sklearn.calibration import CalibrationDisplay

    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots(1, len(models), sharey=True)
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        for k, probability in zip(model.classes_, model.predict_proba(X).T, strict=True):
            CalibrationDisplay.from_predictions(
                y == k, probability, n_bins=N_BINS, strategy="quantile", name=f"class {k}", ax=ax
            )
        ax.set(xlabel="predicted probability", ylabel="observed frequency", aspect="equal")
        ax.set_title(f"{name}, {N_UNITS} hidden units")
        ax.legend(loc="lower right", fontsize="small")
        ax.grid(True, alpha=0.3)
    axes[1].set_ylabel("")
    figure.savefig(path, dpi=110)
    print(path)


def main(path=None):
    """Print log-loss and calibration error of both methods, and draw the curves."""
    X_train, X_test, y_train, y_test = rows()
    models = estimators()
    print(f"{len(y_train)} training rows, {len(y_test)} new rows, {N_UNITS} hidden units")
    print("method      log-loss (nats)  calibration error")
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X_train, y_train)
        probability = model.predict_proba(X_test)
        error = calibration_error(y_test[:, None] == model.classes_, probability)
        print(f"{name:11} {log_loss(y_test, probability):15.3f} {error:18.3f}")
    if path is not None:
        try:
            draw(models, X_test, y_test, path)
        except ImportError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:2])
