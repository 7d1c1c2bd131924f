"""Parts of a model whose graph by skl2onnx would predict other values, or would not run."""

from collections.abc import Iterator
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV


def check_parts(model: Any) -> None:
    """Raise ValueError or TypeError if a part of a model cannot be exported rightly.

    Parameters
    ----------
    model : estimator
        Of a search, the best estimator.
    """
    for part in _parts(model):
        reason = _refusal(part)
        if reason:
            raise ValueError(f"{type(part).__name__} cannot be exported: {reason}")


def _parts(model: Any) -> Iterator[Any]:
    """Yield a model and its parts; of a search within it, the parts of its best estimator."""
    yield model
    for part in model.get_params(deep=True).values():
        yield part
        if hasattr(part, "best_estimator_"):
            yield from _parts(part.best_estimator_)


def _refusal(part: Any) -> str | None:
    if type(part).__module__.startswith("fastem.dask"):
        return "it predicts on a cluster. Use its local model, part.to_local()."
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
    from onnx import TensorProto

    kinds = {x.name: x.type.tensor_type.elem_type for x in _typed(graph)}
    for node in graph.graph.node:
        if node.op_type == "Imputer" and kinds.get(node.input[0]) == TensorProto.DOUBLE:
            raise ValueError(
                "SimpleImputer within another estimator cannot be exported in float64: ONNX "
                "Runtime imputes float32 only. Use dtype=float32, or put the imputer before that "
                "estimator in a pipeline."
            )


def _typed(graph: Any) -> Iterator[Any]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(graph).graph
    yield from inferred.input
    yield from inferred.value_info
