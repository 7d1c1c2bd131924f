"""Evaluate a saved model on rows with known targets: losses, errors and calibration."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.cli.comparison.compare import mean_log_loss
from fastem.cli.comparison.regression import number_figures
from fastem.parameters import Array

N_BINS = 10


def evaluate_classes(model: Any, X: Any, y: NDArray[Any]) -> dict[str, Any]:
    """Return log-loss, accuracy and calibration of predicted classes.

    Parameters
    ----------
    model : FastEMClassifier
    X : array or DataFrame (n_samples, n_features)
    y : array (n_samples,)
        Labels, all among ``model.classes_``.

    Returns
    -------
    evaluation : dict
        Plain Python values that JSON can store: ``log_loss`` (mean, nats), ``accuracy``,
        ``calibration`` and ``expected_calibration_error``. The calibration has one entry for every
        tenth of the probability of the predicted class that occurs: its limits, the number of
        rows, their mean probability, and the share of correct predictions among them. The
        expected calibration error is the mean over rows of the absolute difference of the last
        two.
    """
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import accuracy_score

    probabilities = model.predict_proba(X)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    highest = np.minimum(probabilities.max(axis=1), 1.0)  # a sum may round to more than one
    is_correct = (predicted == y).astype(int)
    shares, means = calibration_curve(is_correct, highest, pos_label=1, n_bins=N_BINS)
    limits = np.linspace(0.0, 1.0, N_BINS + 1)
    n_rows = np.bincount(np.searchsorted(limits[1:-1], highest), minlength=N_BINS)
    occur = np.flatnonzero(n_rows).tolist()
    calibration = [
        {
            "from": k / N_BINS,
            "to": (k + 1) / N_BINS,
            "rows": int(n_rows[k]),
            "mean_probability": float(mean),
            "share_correct": float(share),
        }
        for k, mean, share in zip(occur, means, shares, strict=True)
    ]
    error = n_rows[occur] @ np.abs(means - shares) / len(y)
    return {
        "log_loss": mean_log_loss(model, X, y),
        "accuracy": float(accuracy_score(y, predicted)),
        "expected_calibration_error": float(error),
        "calibration": calibration,
    }


def evaluate_numbers(model: Any, X: Any, y: Array) -> dict[str, Any]:
    """Return log density, error and calibration of predicted distributions.

    Parameters
    ----------
    model : FastEMRegressor
        With one output.
    X : array or DataFrame (n_samples, n_features)
    y : array (n_samples,)
        Numbers, or counts if the family of the model is discrete.

    Returns
    -------
    evaluation : dict
        Plain Python values that JSON can store: ``log_density`` (mean, nats per unit of y) and
        ``rmse``; or ``log_probability`` (mean, nats) and ``deviance`` (mean Poisson deviance) for
        counts; ``coverage`` and mean ``width`` of the 90 % interval; and ``calibration``, with one
        entry for every tenth of probability: its limits, and the share of rows whose y has a
        cumulative probability between them, which is 0.1 if the model is right. The cumulative
        probability of a count is spread evenly from ``P(Y < y)`` to ``P(Y <= y)`` [1]_.

    References
    ----------
    .. [1] C. Czado, T. Gneiting, L. Held, "Predictive model assessment for count data",
       Biometrics 65 (2009), 1254-1261, equation 2.
    """
    is_count = model.family_.is_discrete
    figures, _ = number_figures(model, X, y, "count" if is_count else "regression")
    above = model.predict_cdf(X, y)
    below = above
    if is_count:
        below = np.where(y > 0.0, model.predict_cdf(X, np.maximum(y - 1.0, 0.0)), 0.0)
    limits = np.linspace(0.0, 1.0, N_BINS + 1)
    shares = _shares_of_bins(below, above, limits)
    return {
        **{name.removeprefix("test_"): value for name, value in figures.items()},
        "calibration": [
            {"from": k / N_BINS, "to": (k + 1) / N_BINS, "share": share}
            for k, share in enumerate(shares.tolist())
        ],
    }


def _shares_of_bins(below: Array, above: Array, limits: Array) -> Array:
    """Return the share of rows in every bin, if each row is spread evenly over an interval.

    Parameters
    ----------
    below, above : array (n_samples,), probability
        Ends of the intervals, which may be equal.
    limits : array (n_bins + 1,), probability

    Returns
    -------
    shares : array (n_bins,)
        They sum to one.
    """
    width = above - below
    is_point = width <= 0.0
    at_points = np.bincount(
        np.searchsorted(limits[1:-1], above[is_point]), minlength=len(limits) - 1
    )
    start, width = below[~is_point, None], width[~is_point, None]
    reached = np.clip((limits - start) / width, 0.0, 1.0).sum(axis=0)
    return (np.diff(reached) + at_points) / len(above)
