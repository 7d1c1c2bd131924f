"""Pipelines in a form that skl2onnx converts as scikit-learn evaluates them."""

import copy
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.onnx.steps import Columns, HiddenUnits, Imputed


def exportable(model: Any) -> Any:
    """Return a model that skl2onnx can convert, with equal predictions.

    Searches are replaced by their best estimator. In pipelines, models of this package that are not
    the last step transform: they are replaced by their method `transform`. So are steps for which
    skl2onnx has no converter, or one that ONNX Runtime cannot run in float64. The model itself is
    not changed.

    Raises
    ------
    ValueError
        If a search has no best estimator, a pipeline has no steps, or a model of this package
        transforms within another estimator.
    """
    if hasattr(model, "cv_results_"):
        if not hasattr(model, "best_estimator_"):
            raise ValueError(
                f"{type(model).__name__} has no best_estimator_. Fit it with refit=True."
            )
        return exportable(model.best_estimator_)
    if isinstance(model, Pipeline):
        steps = _steps_of(model)
        if not steps:
            raise ValueError("The pipeline has no steps.")
        return make_pipeline(*map(_transformer, steps[:-1]), exportable(steps[-1]))
    for part in model.get_params(deep=True).values():
        if isinstance(part, Pipeline) and any(map(_is_model, _steps_of(part)[:-1])):
            raise ValueError(
                f"A model of fastem transforms within {type(model).__name__}, which cannot be "
                "exported. Put it into the pipeline before this estimator."
            )
    if isinstance(model, VotingClassifier):
        model = copy.copy(model)
        model.flatten_transform = False  # skl2onnx requires it; it does not concern predictions
        if model.weights is not None:
            model.weights = np.asarray(model.weights)  # skl2onnx takes arrays only
    return _transformer(model, transforms=False)


def _transformer(step: Any, *, transforms: bool = True) -> Any:
    """Return a step; ``transforms`` is False if it is the last one, whose predictions are used."""
    if transforms and _is_model(step):
        return HiddenUnits(step)
    if isinstance(step, SimpleImputer) and Imputed.supports(step):
        return Imputed(step)
    if isinstance(step, ColumnTransformer):
        return _of_columns(step)
    if isinstance(step, FeatureUnion):
        branches = [
            (name, other if isinstance(other, str) else _transformer(other))
            for name, other in step.transformer_list
            if other not in ("drop", None)
        ]
        return FeatureUnion(branches, transformer_weights=step.transformer_weights)
    if isinstance(step, Pipeline):
        if _takes_raw_columns(step):
            return Columns(step)
        return make_pipeline(*map(_transformer, _steps_of(step)))
    return step


def _is_model(step: Any) -> bool:
    return isinstance(step, FastEMClassifier | FastEMRegressor)


def _steps_of(pipeline: Pipeline) -> list[Any]:
    """Return the steps of a pipeline and of those in it, without steps that pass everything on."""
    steps = []
    for _, step in pipeline.steps:
        if isinstance(step, Pipeline) and not _takes_raw_columns(step):
            steps += _steps_of(step)
        elif step is not None and step != "passthrough":
            steps.append(step)
    return steps


def _of_columns(step: ColumnTransformer) -> ColumnTransformer:
    """Return a copy whose branches are exportable."""
    changed = copy.copy(step)
    changed.transformers_ = [
        (name, other if isinstance(other, str) else _transformer(other), columns)
        for name, other, columns in step.transformers_
    ]
    return changed


def _takes_raw_columns(step: Pipeline) -> bool:
    """Return whether this is the step "preparation" of `load_pipeline`."""
    first = step.steps[0][1]
    module = getattr(getattr(first, "func", None), "__module__", "")
    return isinstance(first, FunctionTransformer) and module == "fastem.preparation.raw_columns"


def last_step(model: Any) -> Any:
    """Return the estimator that predicts."""
    return last_step(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def first_step(model: Any) -> Any:
    """Return the estimator that takes the input."""
    return first_step(model.steps[0][1]) if isinstance(model, Pipeline) else model
