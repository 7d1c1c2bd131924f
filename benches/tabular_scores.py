"""Scores of predicted probabilities of classes, over five folds that all methods share."""

import time

import numpy as np
from measure import convergence_warnings_ignored
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

N_BINS = 10
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def brier_score(indicators: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float:
    """Return the mean over rows of the sum over classes of squared differences, from 0 to 2.

    Both arrays have shape (n_samples, n_classes). A row of ``indicators`` is one at its class.
    """
    return float(np.mean(np.sum((probabilities - indicators) ** 2, axis=1)))


def calibration_error(hits: NDArray[np.bool_], confidences: NDArray[np.float64]) -> float:
    """Return the expected calibration error of the predicted class, a probability.

    ``confidences`` are the probabilities of the predicted classes, and ``hits`` says which of
    these classes are right; shape (n_samples,). The rows are put into ten bins of equal width:
    bin k has confidences from k / 10 to (k + 1) / 10, without the upper limit, except that the
    last bin includes one. The error is the sum over bins of the absolute difference between the
    share of hits and the mean confidence in the bin, weighted by the share of rows in the bin.
    """
    bins = np.minimum((N_BINS * confidences).astype(int), N_BINS - 1)
    excess = np.bincount(bins, weights=confidences - hits, minlength=N_BINS)
    return float(np.sum(np.abs(excess)) / len(hits))


def cross_validate(model: BaseEstimator, X, y) -> dict:
    """Return the scores of a model on a table; the model itself is not fitted.

    Each key of "folds" has a score for each fold, and "mean" their means. The exception is the
    calibration error: it is computed once from the held-out predictions of all folds, because
    bins with few rows bias it upwards. "seconds" is the median time of a fit.
    """
    folds = {name: [] for name in ("log_loss", "brier", "accuracy", "seconds")}
    hits, confidences = [], []
    classes = np.unique(y)
    for train, test in FOLDS.split(X, y):
        fitted = clone(model)
        start = time.perf_counter()
        with convergence_warnings_ignored():
            fitted.fit(X.iloc[train], y[train])
        folds["seconds"].append(time.perf_counter() - start)
        probabilities = np.asarray(fitted.predict_proba(X.iloc[test]), np.float64)
        hit = classes[probabilities.argmax(axis=1)] == y[test]
        folds["log_loss"].append(float(log_loss(y[test], probabilities, labels=classes)))
        folds["brier"].append(brier_score(y[test, None] == classes, probabilities))
        folds["accuracy"].append(float(np.mean(hit)))
        hits.append(hit)
        confidences.append(probabilities.max(axis=1))
    mean = {name: float(np.mean(folds[name])) for name in ("log_loss", "brier", "accuracy")}
    mean["calibration_error"] = calibration_error(np.concatenate(hits), np.concatenate(confidences))
    return {"mean": mean, "seconds": float(np.median(folds["seconds"])), "folds": folds}
