"""Pipelines in a form that skl2onnx converts as scikit-learn evaluates them."""

from typing import Any

from sklearn.pipeline import Pipeline

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.onnx.registration import HiddenUnits


def exportable(model: Any) -> Any:
    """Return the model with searches replaced by their best estimator.

    In pipelines, models of this package that are not the last step transform: they are replaced by
    their method `transform`. The model itself is not changed.

    Raises
    ------
    ValueError
        If a search has no best estimator.
    """
    if hasattr(model, "cv_results_"):
        if not hasattr(model, "best_estimator_"):
            raise ValueError(
                f"{type(model).__name__} has no best_estimator_. Fit it with refit=True."
            )
        return exportable(model.best_estimator_)
    if isinstance(model, Pipeline):
        steps = [(name, step) for name, step in model.steps if step not in (None, "passthrough")]
        if not steps:
            raise ValueError("The pipeline has no steps.")
        *first, (name, last) = steps
        inner = [(own, _transformer(step)) for own, step in first]
        # a Pipeline that is not the last step ends with a transformer
        return Pipeline([*inner, (name, exportable(last))])
    return model


def _transformer(step: Any) -> Any:
    if isinstance(step, FastEMClassifier | FastEMRegressor):
        return HiddenUnits(step)
    if isinstance(step, Pipeline):
        *first, (name, last) = step.steps
        inner = [(own, _transformer(other)) for own, other in first]
        return Pipeline([*inner, (name, _transformer(last))])
    return step


def last_step(model: Any) -> Any:
    """Return the estimator that predicts."""
    return last_step(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def first_step(model: Any) -> Any:
    """Return the estimator that takes the input."""
    return first_step(model.steps[0][1]) if isinstance(model, Pipeline) else model
