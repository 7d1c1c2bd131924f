"""`to_onnx`: a fitted model or pipeline as an ONNX graph."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMRegressor
from fastem.onnx.registration import imported, register_converters

if TYPE_CHECKING:
    import onnx

_OPSETS = {"": 18, "ai.onnx.ml": 3}


def to_onnx(model: Any, X: Any = None, *, dtype: DTypeLike = np.float32) -> "onnx.ModelProto":
    """Return a fitted model, or a pipeline that contains one, as an ONNX graph.

    ONNX Runtime and other programs evaluate such a graph without Python. The graph contains
    everything that `predict` and `predict_proba` compute, the scaling of features and outputs
    included.

    Parameters
    ----------
    model : estimator
        Fitted `FastEMClassifier`, `FastEMRegressor`, `FastMLPClassifier` or `FastMLPRegressor`; or
        a `Pipeline`, a search or another meta-estimator of scikit-learn whose parts skl2onnx can
        convert; or a pipeline that `load_pipeline` returns.
    X : DataFrame or array, optional
        Some rows of data, whose types become those of the inputs. Needed only if the first step
        takes columns of a DataFrame by name (`ColumnTransformer`), or if features are text.
    dtype : {float32, float64}, default=float32
        Type of real inputs and outputs, and of large sums over hidden states.

    Returns
    -------
    graph : onnx.ModelProto
        Write it by ``open("model.onnx", "wb").write(graph.SerializeToString())``. The input is
        "X" (n_samples, n_features) of the type `dtype`; or one input (n_samples, 1) for every
        column of a DataFrame, with its name, or with a digit after it if an output has this name.
        Any number of rows is possible. The outputs of classifiers are
        "label" (n_samples,), int64 or text, and "probabilities" (n_samples, n_classes); for several
        labels both are (n_samples, n_labels). The output of regressors is "variable", the
        prediction, (n_samples,) or (n_samples, n_outputs). `FastEMRegressor` has the output "std"
        of the same shape too, the standard deviation of y given x.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.
    TypeError
        If the model is not an estimator, or an estimator of `fastem.dask`.
    NotFittedError
        If the model is not fitted.
    ValueError
        If a hidden layer has more than 16 units and the outputs need the sum over its states; if a
        step of a pipeline cannot be exported; if class labels are neither whole numbers nor text;
        if X is needed or has other columns; or if dtype is another type.

    Notes
    -----
    **Size.** `FastEMClassifier` sums over the ``2**m`` states of the first hidden layer: at most 16
    units per layer, in any number of layers. With ``prediction="plugin"``, a classifier of any size
    is exported. So are Gaussian and Poisson outputs above one layer, whose moments have closed
    forms.

    **Exactness.** A graph of several layers, or of a model fitted by `Sampling`, contains the exact
    sum, where `predict_proba` and `predict` of such models may return averages over samples.

    **Accuracy.** Probabilities agree with those of Python, for the same inputs, to 1e-6 in float32
    and 1e-12 in float64. Predicted numbers agree to the same relative errors. Graphs of both types
    compute sums over features in float64. Two exceptions: models fitted by `Quadrature` predict in
    Python to the tolerance of this engine; and steps of scikit-learn before the model compute in
    `dtype`. In float32, a StandardScaler on numbers with a large mean loses digits: leave the
    scaling to the model, or use float64.

    **Cost.** With one layer, a row costs about ``2 n_classes 2**m`` flops and
    ``n_classes 2**(m / 2)`` numbers of memory; the file contains ``n_classes 2**m`` numbers. For
    more layers, the export costs about ``2 n_classes 2**(m + m_above)`` flops per pair of layers,
    and a row the same as for one layer.

    **Input.** The graph does not check its input. NaN in a row gives NaN in its real outputs, and
    the first class as its label. If a column has the name of an output, its input gets another
    name: ``graph.graph.input`` has the names.

    **Operators.** Operator set 18 of ONNX and 3 of ``ai.onnx.ml``, which ONNX Runtime supports
    from version 1.14 on. Some nodes compute in float64.

    See Also
    --------
    fastem.onnx.register_converters : Converters for ``skl2onnx.to_onnx``.

    Examples
    --------
    >>> import numpy as np, onnxruntime
    >>> from sklearn.datasets import load_iris
    >>> import fastem
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fastem.FastEMClassifier((4,), random_state=0).fit(X, y)
    >>> graph = fastem.to_onnx(model, dtype=np.float64)
    >>> session = onnxruntime.InferenceSession(graph.SerializeToString())
    >>> label, probability = session.run(None, {"X": X})
    >>> bool(np.abs(probability - model.predict_proba(X)).max() < 1e-12)
    True
    """
    # these modules import much of scikit-learn
    from fastem.onnx.inputs import input_types, remove_unused_inputs, restore_input_names
    from fastem.onnx.pipelines import exportable, last_step
    from fastem.onnx.refusals import check_operators, check_parts

    real = _checked_dtype(dtype)
    _check_type(model)
    check_parts(model)
    check_is_fitted(model)
    skl2onnx = imported()
    register_converters()
    model = exportable(model)
    types = input_types(model, X, real)
    last = last_step(model)
    options: dict[int, dict[str, bool]] = {}
    if is_classifier(last):
        options[id(last)] = {"zipmap": False}
    elif type(last) is FastEMRegressor:
        options[id(last)] = {"return_std": True}
    try:
        graph = skl2onnx.convert_sklearn(
            model,
            type(last).__name__,
            initial_types=types,
            target_opset=_OPSETS,
            options=options,
        )
    except (ValueError, ImportError, MemoryError):
        raise
    except Exception as error:  # skl2onnx raises errors of many types
        raise ValueError(_reason(error)) from error
    restore_input_names(graph, types)
    remove_unused_inputs(graph)
    if is_regressor(last):
        _squeeze_single_columns(graph)
    _check_graph(graph)
    check_operators(graph)
    return graph


def _checked_dtype(dtype: Any) -> np.dtype:
    try:
        real = None if dtype is None else np.dtype(dtype)
    except TypeError:
        real = None
    if real is None or real not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}.")
    return real


def _check_type(model: Any) -> None:
    """Raise TypeError unless the model is an estimator."""
    if not isinstance(model, BaseEstimator):
        is_class = isinstance(model, type)
        got = f"the class {model.__name__}" if is_class else type(model).__name__
        raise TypeError(
            "model must be a fitted FastEMClassifier, FastEMRegressor, FastMLPClassifier or "
            f"FastMLPRegressor, or a Pipeline of scikit-learn that contains one; got {got}."
        )


def _reason(error: Exception) -> str:
    """Return why skl2onnx could not convert a model, and what to do."""
    message = str(error).strip()
    kind = re.search(r"type '<class '[\w.]*?(\w+)'>'", message)
    if kind:
        why = f"skl2onnx has no converter for {kind.group(1)}."
    else:
        first = message.splitlines()[0] if message else type(error).__name__
        why = f"skl2onnx cannot convert this model: {first}"
    return (
        f"{why} Replace this part by another one; or export the steps after it by themselves, and "
        "compute this part before the graph."
    )


def _check_graph(graph: "onnx.ModelProto") -> None:
    """Raise ValueError if a converter of skl2onnx has built an invalid graph."""
    import onnx

    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # of the checker, or of the inference of shapes
        raise ValueError(
            f"skl2onnx built an invalid graph for a part of this model: {str(error).strip()} "
            "If dtype is float64, try float32. Otherwise replace the part of the model."
        ) from error


def _squeeze_single_columns(graph: "onnx.ModelProto") -> None:
    """Turn real outputs (n_samples, 1) into (n_samples,), the shape of predictions."""
    from onnx import helper, numpy_helper

    for output in graph.graph.output:
        dims = output.type.tensor_type.shape.dim
        if len(dims) != 2 or dims[1].dim_value != 1:
            continue
        column = f"{output.name}_column"
        for node in graph.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == output.name:
                        names[i] = column
        axes = numpy_helper.from_array(np.array([1]), f"{output.name}_axes")
        graph.graph.initializer.append(axes)
        graph.graph.node.append(helper.make_node("Squeeze", [column, axes.name], [output.name]))
        del dims[1]
