"""Fitted models as ONNX graphs, which run without Python.

The packages onnx and skl2onnx, and the estimators of scikit-learn, are imported when a function is
called.
"""

from fastem.onnx.export import to_onnx
from fastem.onnx.registration import register_converters

__all__ = ["register_converters", "to_onnx"]
