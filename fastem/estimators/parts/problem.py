"""The problem of a fit to rows in parts: the network, and sums over all rows."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem._version import __version__
from fastem.engines import Engine
from fastem.estimators.hyperparameters import check_em_parameters
from fastem.estimators.parts.counts import RowCounts, count_rows
from fastem.estimators.parts.summary import PartSummary
from fastem.estimators.standardization import (
    Moments,
    Standardization,
    extremes_of,
    feature_deviations,
)
from fastem.estimators.validation import check_raw_features, check_weights
from fastem.parameters import Array, Shape
from fastem.rows import LARGEST_WEIGHT


class PartsProblem(NamedTuple):
    """A network to be trained, and sums over the rows of all parts.

    Attributes
    ----------
    shape : Shape
    engine : Engine
    features : Moments
        Centred, as ``outputs``.
    outputs : Moments or None
        None for classes.
    extremes : array (2, n_outputs) or None
        Smallest and largest value of every output that is a number.
    factors : array (n_classes,) or None
        Weight of every class, which multiplies the weights of its rows.
    n_rows : tuple of int
        Number of rows of every part.
    counts : RowCounts
    held_out : None
        No rows are held out during the fit.
    """

    shape: Shape
    engine: Engine
    features: Moments
    outputs: Moments | None
    extremes: Array | None
    factors: Array | None
    n_rows: tuple[int, ...]
    counts: RowCounts
    held_out: None = None

    def standardization(self, *, features: bool) -> Standardization:
        """Return the standardisation of outputs and, if requested, of features.

        Raises
        ------
        ValueError
            If features that are not standardised are too large, or an output varies too little.
        """
        shape = self.shape
        if not features:
            check_raw_features(self.features.largest)
        outputs = self.outputs if shape.family.has_variance else None
        moments = [self.features if features else None, outputs]
        if not shape.fit_intercept:
            moments = [None if found is None else found.uncentred() for found in moments]
        return Standardization.from_moments(shape, *moments, self.extremes)


def learn_problem(
    model: Any, found: Sequence[PartSummary | None], n_threads: int, *, resumes: bool
) -> PartsProblem:
    """Return the problem of all parts, and set the attributes of the model that depend on it.

    Parameters
    ----------
    model : BaseFastEM
    found : sequence of PartSummary or None
        One per part.
    n_threads : int
        Number of parts that are worked on at the same time.
    resumes : bool
        Whether the network must be that of an earlier fit.

    Raises
    ------
    ValueError
        If there are no rows, parts contradict each other, no exact E-step is affordable, or as in
        `fit`.
    """
    sizes = check_em_parameters(model)
    summaries = _in_agreement(found)
    n_rows = tuple(0 if summary is None else summary.n_rows for summary in found)
    check_weights(np.array([summary.largest_weight for summary in summaries]), LARGEST_WEIGHT)
    y, weights, extremes = _typical_targets(summaries)
    n_features = _learn_columns(model, summaries[0], resumes=resumes)
    family, targets = model._learn_targets(y, weights, None, resumes=resumes)
    weighted = model._with_class_weights(targets, weights, incremental=False)
    factors = None
    n_outputs = targets.shape[1] if targets.ndim == 2 else len(model.classes_)
    if targets.ndim == 1:
        factors = np.divide(weighted, weights, out=np.zeros(n_outputs), where=weights > 0.0)
    shape = model._shape_for(sizes, n_features, n_outputs, family, resumes=resumes)
    features = _merged_features(model, summaries, factors)
    if not (resumes and hasattr(model, "feature_deviation_")):
        model.feature_deviation_ = feature_deviations(features)
    outputs = [summary.outputs for summary in summaries if summary.outputs is not None]
    return PartsProblem(
        shape, _exact_engine(model, shape, -(-sum(n_rows) // n_threads), resumes=resumes),
        features, Moments.merged(outputs) if outputs else None, extremes, factors, n_rows,
        count_rows(summaries, getattr(model, "classes_", None)),
    )  # fmt: skip


def _learn_columns(model: Any, summary: PartSummary, *, resumes: bool) -> int:
    """Store number and names of the features, or compare them with those of an earlier fit."""
    if not resumes:
        model.n_features_in_ = summary.n_features
        vars(model).pop("feature_names_in_", None)
        if summary.names is not None:
            model.feature_names_in_ = summary.names
        return summary.n_features
    names = getattr(model, "feature_names_in_", None)
    if summary.n_features != model.n_features_in_ or not np.array_equal(summary.names, names):
        raise ValueError(
            f"warm_start=True needs the {model.n_features_in_} features of the earlier fit, in the "
            f"same order; X has {summary.n_features} features. Use warm_start=False."
        )
    return summary.n_features


def _in_agreement(found: Sequence[PartSummary | None]) -> list[PartSummary]:
    """Return the summaries of parts with rows, if they agree; parts are numbered from 1."""
    numbered = [(i, summary) for i, summary in enumerate(found, start=1) if summary is not None]
    if not numbered:
        raise ValueError(f"X has no rows: all {len(found)} partitions are empty.")
    first_number, first = numbered[0]
    for number, summary in numbered:
        if summary.version != __version__:
            raise ValueError(
                f"Partition {number} was read by fastem {summary.version}, and this process runs "
                f"fastem {__version__}. Install the same version on all workers."
            )
        if summary.n_features != first.n_features:
            raise ValueError(
                f"Partition {number} of X has {summary.n_features} features, partition "
                f"{first_number} has {first.n_features}."
            )
        if not np.array_equal(summary.names, first.names):
            raise ValueError(
                f"Partitions {first_number} and {number} of X have different column names."
            )
        for what, has in (("kind of labels", _kind), ("number of outputs", _n_outputs)):
            if has(summary) != has(first):
                raise ValueError(
                    f"y has {has(summary)} in partition {number}, and {has(first)} in partition "
                    f"{first_number}. All partitions must have the same {what}."
                )
    return [summary for _, summary in numbered]


def _kind(summary: PartSummary) -> str:
    if summary.labels is None:
        return "several columns or numbers"
    if summary.labels.dtype.kind in "biuf":
        return "numbers as labels"
    kinds = sorted({type(label).__name__ for label in summary.labels.tolist()})
    return f"labels of type {', '.join(kinds)}"


def _n_outputs(summary: PartSummary) -> str:
    n_outputs = 1 if summary.n_outputs is None else summary.n_outputs
    return f"{n_outputs} column(s)"


def _typical_targets(
    summaries: Sequence[PartSummary],
) -> tuple[np.ndarray, Array, Array | None]:
    """Return one row of y per class with its summed weight, or the extremes of y twice."""
    if summaries[0].labels is None:
        extremes = extremes_of(
            np.concatenate([part.extremes for part in summaries if part.extremes is not None])
        )
        return extremes[:, 0] if extremes.shape[1] == 1 else extremes, np.ones(2), extremes
    labels = np.unique(np.concatenate([summary.labels for summary in summaries]))
    weights = np.zeros(len(labels))
    for summary in summaries:
        weights[np.searchsorted(labels, summary.labels)] += summary.weights
    return labels, weights, None


def _merged_features(
    model: Any, summaries: Sequence[PartSummary], factors: Array | None
) -> Moments:
    """Return the moments of the features of all rows, weighted by class if classes have weights."""
    parts = []
    for summary in summaries:
        of_labels = np.ones(len(summary.features))
        if factors is not None and model.class_weight is not None:
            of_labels = factors[np.searchsorted(model.classes_, summary.labels)]
        for moments, factor in zip(summary.features, of_labels, strict=True):
            if moments is not None and factor > 0.0:
                parts.append(moments._replace(weight=factor * moments.weight))
    return Moments.merged(parts)


def _exact_engine(model: Any, shape: Shape, n_rows: int, *, resumes: bool) -> Engine:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning that "auto" falls back to sampling
        engine = model._engine_for(shape, n_rows, resumes)
    if engine.is_exact:
        return engine
    raise ValueError(
        f"e_step={model.e_step!r} gives {engine.name} for hidden_layer_sizes="
        f"{shape.hidden_layer_sizes} and {shape.n_outputs} outputs, and a fit to partitions needs "
        "exact E-steps. Use fewer hidden units, more workers, or partial_fit with solver='adam'."
    )
