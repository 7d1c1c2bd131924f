"""The gallery's example of ONNX: the file gives the probabilities of Python."""

import numpy as np
import pytest
from gallery import run_example

pytest.importorskip("matplotlib")
pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")


def test_onnx_model():
    names, printed = run_example("practice/onnx_model")
    model = names["model"]
    assert model.score(names["X"], names["y"]) > 0.97
    assert names["largest"][np.float32].max() < 1e-6
    assert names["largest"][np.float64].max() < 1e-12
    rows = names["rows"].astype(float)
    assert np.isnan(rows).sum() == 1  # the graph contains the imputation
    np.testing.assert_allclose(names["probability"], model.predict_proba(rows), atol=1e-6)
    assert (names["label"] == model.predict(rows)).all()
    assert "probabilities ['rows', 3]" in printed


def test_onnx_model_reaches_the_limit_of_units():
    names, _ = run_example("practice/onnx_model")
    assert names["sizes"][-1] == 16
    for times in names["microseconds"].values():
        assert len(times) == len(names["sizes"])
        assert min(times) > 0.0
