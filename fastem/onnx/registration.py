"""Converters of the estimators for skl2onnx."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import (
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    FastMLPRegressor,
)
from fastem.families import Bernoulli
from fastem.onnx import em, perceptrons
from fastem.onnx.nodes import Nodes

_REMEDY = "The export of models needs onnx and skl2onnx: pip install 'fastem[onnx]'"


def register_converters() -> None:
    """Register the estimators of this package in skl2onnx.

    ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` can then convert pipelines and
    meta-estimators that contain them. `fastem.to_onnx` calls this function itself.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.

    Notes
    -----
    The converters have these options of skl2onnx: ``zipmap`` and ``output_class_labels``
    of classifiers, as for those of scikit-learn; ``return_std`` of `fastem.FastEMRegressor` adds
    the output "std". Regressors have an output (n_samples, n_outputs), as skl2onnx defines it, also
    for a single output. If a model is not the last step of a pipeline, use `fastem.to_onnx`, which
    exports its method `transform`; skl2onnx itself would pass on the predictions. The smallest
    ``target_opset`` is 13.

    Examples
    --------
    >>> import numpy as np, skl2onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastem import FastEMClassifier
    >>> from fastem.onnx import register_converters
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), FastEMClassifier((3,), random_state=0))
    >>> pipeline = pipeline.fit(X, y)
    >>> register_converters()
    >>> graph = skl2onnx.to_onnx(pipeline, X[:1].astype(np.float32), options={"zipmap": False})
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    from fastem.onnx.steps import STEPS  # imports much of scikit-learn

    skl2onnx = imported()
    options = {
        "zipmap": [True, False, "columns"],
        "nocl": [False],  # skl2onnx asks for it; the outputs are always class labels
        "output_class_labels": [False, True],
    }
    for model in (FastEMClassifier, FastMLPClassifier):
        skl2onnx.update_registered_converter(
            model,
            f"fastem{model.__name__}",
            _fill_types_of_classes,
            _convert_classifier,
            options=options,
        )
    skl2onnx.update_registered_converter(
        FastEMRegressor,
        "fastemFastEMRegressor",
        _fill_types_of_numbers,
        _convert_em_regressor,
        parser=_parse_em_regressor,
        options={"return_std": [True, False]},
    )
    skl2onnx.update_registered_converter(
        FastMLPRegressor,
        "fastemFastMLPRegressor",
        _fill_types_of_numbers,
        _convert_mlp_regressor,
    )
    for step in STEPS:
        skl2onnx.update_registered_converter(
            step, f"fastem{step.__name__}", _fill_types_of_step, _convert_step
        )


def imported() -> Any:
    """Return skl2onnx.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.
    """
    try:
        import onnx  # noqa: F401  the error names the remedy
        import skl2onnx
    except ImportError as error:
        raise ImportError(f"{_REMEDY} ({error})") from None
    return skl2onnx


def has_labels(model: FastEMClassifier | FastMLPClassifier) -> bool:
    """Whether y of a classifier has several labels, each absent or present."""
    if isinstance(model, FastEMClassifier):
        return isinstance(model.family_, Bernoulli)
    return model._label_binarizer.y_type_ == "multilabel-indicator"


def class_labels(model: FastEMClassifier | FastMLPClassifier) -> np.ndarray:
    """Return the classes as int64 or text.

    Raises
    ------
    ValueError
        If they are neither whole numbers nor text.
    """
    classes = np.asarray(model.classes_)
    listed = classes.tolist()
    if all(isinstance(label, str) for label in listed):
        return classes.astype(str)
    if classes.dtype.kind in "biufO":
        try:
            with np.errstate(invalid="ignore"):  # too large numbers are refused below
                whole = classes.astype(np.int64)
        except (TypeError, ValueError, OverflowError):
            whole = None
        if whole is not None and whole.tolist() == listed:
            return whole
    raise ValueError(
        f"The classes {listed} are neither whole numbers (int64) nor text, the labels that ONNX "
        "has. Fit the model with other labels."
    )


def _real_type(operator: Any) -> type:
    """Return the tensor type of outputs: double if an input has doubles, else float."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    is_double = any(isinstance(x.type, DoubleTensorType) for x in operator.inputs)
    return DoubleTensorType if is_double else FloatTensorType


def _dtype(operator: Any) -> Any:
    return np.float64 if _real_type(operator).__name__ == "DoubleTensorType" else np.float32


def _check_input(operator: Any) -> None:
    """Raise ValueError unless the features are one table of numbers of the right width."""
    from skl2onnx.common.data_types import StringTensorType

    from fastem.onnx.steps import STEPS

    model, inputs = operator.raw_operator, operator.inputs
    if not isinstance(model, STEPS):
        check_is_fitted(model)
    if len(inputs) != 1 or isinstance(inputs[0].type, StringTensorType):
        raise ValueError(
            f"The input of {type(model).__name__} must be one tensor of numbers, got "
            f"{[str(x.type) for x in inputs]}. Put a ColumnTransformer or an encoder before it."
        )
    shape = inputs[0].type.shape
    width = shape[1] if len(shape) == 2 else None
    if width is not None and width != model.n_features_in_:
        raise ValueError(
            f"{type(model).__name__} has {model.n_features_in_} features, and the graph passes "
            f"{width} to it."
        )


def _fill_types_of_classes(operator: Any) -> None:
    """Set the types and shapes of labels and probabilities."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    _check_input(operator)
    model, n_samples = operator.raw_operator, operator.inputs[0].get_first_dimension()
    classes = class_labels(model)
    shape = [n_samples, len(classes)] if has_labels(model) else [n_samples]
    label_type = Int64TensorType if classes.dtype == np.int64 else StringTensorType
    operator.outputs[0].set_type(label_type(shape))
    operator.outputs[1].set_type(_real_type(operator)([n_samples, len(classes)]))


def _fill_types_of_numbers(operator: Any) -> None:
    """Set the types and shapes of predicted numbers and their standard deviations."""
    _check_input(operator)
    _set_real_outputs(operator, len(operator.raw_operator.intercepts_[-1]))


def _fill_types_of_step(operator: Any) -> None:
    """Set the type and shape of the features that a step returns."""
    from fastem.onnx.steps import Columns

    if not isinstance(operator.raw_operator, Columns):
        _check_input(operator)
    _set_real_outputs(operator, operator.raw_operator.n_outputs)


def _set_real_outputs(operator: Any, n_columns: int) -> None:
    shape = [operator.inputs[0].get_first_dimension(), n_columns]
    for output in operator.outputs:
        output.set_type(_real_type(operator)(shape))


def _features(nodes: Nodes, operator: Any) -> str:
    return nodes.cast(operator.inputs[0].full_name, np.float64)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    X, dtype = _features(nodes, operator), _dtype(operator)
    if isinstance(model, FastEMClassifier):
        probability = em.class_probabilities(nodes, X, model, dtype)
    else:
        probability = perceptrons.probabilities(nodes, X, model)
    label = operator.outputs[0].full_name
    if has_labels(model):
        nodes.cast_as(label, nodes.add("Greater", probability, nodes.constant(0.5)), np.int64)
    else:
        most_probable = nodes.add("ArgMax", probability, axis=1, keepdims=0)
        nodes.add_as(label, "Gather", nodes.constant(class_labels(model)), most_probable)
    nodes.cast_as(operator.outputs[1].full_name, probability, dtype)


def _parse_em_regressor(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    from skl2onnx.common.data_types import guess_tensor_type

    operator = scope.declare_local_operator("fastemFastEMRegressor", model)
    operator.inputs = inputs
    names = ["variable"]
    if scope.get_options(model, {"return_std": False})["return_std"]:
        names.append("std")
    for name in names:
        operator.outputs.append(
            scope.declare_local_variable(name, guess_tensor_type(inputs[0].type))
        )
    return operator.outputs


def _convert_em_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, dtype = Nodes(scope, container), _dtype(operator)
    mean, variance = em.moments(nodes, _features(nodes, operator), operator.raw_operator)
    nodes.cast_as(operator.outputs[0].full_name, mean, dtype)
    if len(operator.outputs) > 1:
        nodes.cast_as(operator.outputs[1].full_name, nodes.add("Sqrt", variance), dtype)


def _convert_mlp_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    found = perceptrons.outputs(nodes, _features(nodes, operator), operator.raw_operator)
    nodes.cast_as(operator.outputs[0].full_name, found, _dtype(operator))


def _convert_step(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    found = operator.raw_operator.append(nodes, [x.full_name for x in operator.inputs])
    nodes.cast_as(operator.outputs[0].full_name, found, _dtype(operator))
