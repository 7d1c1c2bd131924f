"""Parts of a model whose graph by skl2onnx would predict other values, or would not run."""

from collections.abc import Iterator
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV


def check_parts(model: Any) -> None:
    """Raise an error if a part of a model cannot be exported.

    Of searches, only the best estimators are parts.

    Raises
    ------
    TypeError
        If a part is an estimator of `fastem.dask`.
    ValueError
        If the graph of a part would predict other values, or would not run.
    """
    for part in _parts(model):
        if type(part).__module__.startswith("fastem.dask"):
            raise TypeError(
                f"{type(part).__name__} predicts on a cluster. Export the local model: "
                "fastem.to_onnx(model.to_local())."
            )
        reason = _refusal(part)
        if reason:
            raise ValueError(f"{type(part).__name__} cannot be exported: {reason}")


def _parts(model: Any) -> Iterator[Any]:
    """Yield a model and its parameters; those of a search are those of its best estimator."""
    if hasattr(model, "best_estimator_"):
        yield from _parts(model.best_estimator_)
        return
    yield model
    parts = model.get_params(deep=True)
    searches = {name: x for name, x in parts.items() if hasattr(x, "best_estimator_")}
    of_searches = tuple(f"{name}__" for name in searches)
    for name, part in parts.items():
        if name in searches:
            yield from _parts(part)
        elif not name.startswith(of_searches):
            yield part


def _refusal(part: Any) -> str | None:
    if isinstance(part, CalibratedClassifierCV) and part.method != "sigmoid":
        return (
            f"skl2onnx does not compute method={part.method!r} as scikit-learn does. Use "
            "method='sigmoid'."
        )
    if isinstance(part, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return (
            "skl2onnx ignores its threshold. Export its estimator_, and compare the probabilities "
            "with best_threshold_ or threshold after the graph."
        )
    if isinstance(part, KNNImputer):
        return "skl2onnx fills in other values. Use SimpleImputer."
    if isinstance(part, SimpleImputer) and part.add_indicator:
        return "skl2onnx has no indicators. Use add_indicator=False."
    if isinstance(part, StackingClassifier) and part.stack_method == "predict":
        return "ONNX Runtime cannot run its graph. Use stack_method='predict_proba'."
    return None


def check_operators(graph: Any) -> None:
    """Raise ValueError if ONNX Runtime lacks an operator of a graph in its type."""
    from onnx import TensorProto, shape_inference

    imputed = {node.input[0] for node in graph.graph.node if node.op_type == "Imputer"}
    if not imputed:
        return
    typed = shape_inference.infer_shapes(graph).graph
    for value in (*typed.input, *typed.value_info):
        if value.name in imputed and value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            raise ValueError(
                "SimpleImputer within another estimator cannot be exported in float64: ONNX "
                "Runtime imputes float32 only. Use dtype=float32, or put the imputer before that "
                "estimator in a pipeline."
            )
