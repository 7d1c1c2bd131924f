"""Functions of a part of the rows that need a whole estimator."""

from typing import Any


def partial_fit_part(
    X: Any, y: Any, sample_weight: Any, model: Any, classes: dict[str, Any]
) -> Any:
    """Return the estimator after the rows of a part, in mini-batches.

    Parameters
    ----------
    X, y, sample_weight
        As in `partial_fit`. There may be no rows.
    model : FastEMClassifier or FastEMRegressor
    classes : dict
        The argument ``classes`` of `FastEMClassifier.partial_fit`, by its name; else empty.
    """
    if X.shape[0] == 0:
        return model
    return model.partial_fit(X, y, sample_weight=sample_weight, **classes)


def log_likelihood_of_part(X: Any, y: Any, sample_weight: Any, model: Any) -> float:
    """Return the total log-likelihood of the rows of a part under a fitted model, in nats."""
    return 0.0 if X.shape[0] == 0 else model.log_likelihood(X, y, sample_weight)
