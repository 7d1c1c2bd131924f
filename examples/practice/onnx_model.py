"""
A model that leaves Python
==========================

A fitted model can be used without Python: in a web page, in a service written in C# or Java, or on
a phone. :func:`fastem.to_onnx` returns it as an *ONNX graph*. ONNX is a file format for
computations. Programs called *runtimes* evaluate such files.

This example fits a pipeline of scikit-learn, exports it, and evaluates the file with ONNX Runtime.
It compares the probabilities with those of Python, and measures how the time per row depends on
the number of hidden units. It needs ``pip install 'fastem[onnx]' onnxruntime``.
"""

# %%
# A pipeline with missing values
# ------------------------------
#
# The rows lie on three arms of a spiral, one arm per class. A tenth of the values is missing. The
# pipeline replaces missing values by the mean of their column. The network has eight hidden units.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from fastem import FastEMClassifier, to_onnx

rng = np.random.default_rng(0)
n_rows = 600
arm = rng.integers(0, 3, n_rows)
radius = rng.uniform(0.3, 3.0, n_rows)
angle = 2.0 * np.pi * arm / 3.0 + 0.8 * radius + rng.normal(0.0, 0.15, n_rows)
X = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
y = np.array(["blue", "green", "red"])[arm]
with_gaps = np.where(rng.random(X.shape) < 0.1, np.nan, X)

model = make_pipeline(
    SimpleImputer(), FastEMClassifier((8,), alpha=0.1, max_iter=2000, random_state=0)
)
model.fit(with_gaps, y)
print(f"accuracy on rows without gaps: {model.score(X, y):.3f}")

# %%
# The graph
# ---------
#
# The graph contains the whole pipeline. It takes one tensor X and returns the label and the
# probabilities of the classes. The numbers are in single precision (float32) by default.

graph = to_onnx(model)
content = graph.SerializeToString()  # the content of a file model.onnx

for value in (*graph.graph.input, *graph.graph.output):
    print(value.name, [d.dim_value or "rows" for d in value.type.tensor_type.shape.dim])
print(f"{len(graph.graph.node)} nodes, {len(content) / 1000.0:.0f} kB")

# %%
# Evaluation in another program
# -----------------------------
#
# ``InferenceSession`` is the class of ONNX Runtime for Python. It uses the same compiled code as
# ONNX Runtime in other languages, and neither fastem nor scikit-learn.

session = onnxruntime.InferenceSession(content)
rows = np.array([[1.5, 0.0], [-1.0, 2.0], [np.nan, -2.0]], dtype=np.float32)
label, probability = session.run(None, {"X": rows})
for row, name, p in zip(rows, label, probability, strict=True):
    print(row, name, p.round(3))

# %%
# The same probabilities
# ----------------------
#
# Both programs compute the probabilities of a grid of points. The left picture shows those of ONNX
# Runtime: the colour is a mixture of the colours of the classes. The right picture is a histogram
# of the differences from ``predict_proba``. Equal probabilities are counted at 1e-17. In single
# precision, differences are up to about 1e-7. A graph in double precision (``dtype=np.float64``)
# agrees to about 1e-15.

side = np.linspace(-3.5, 3.5, 200)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
grid = grid.astype(np.float32).astype(np.float64)  # both programs get the same numbers
by_python = model.predict_proba(grid)

by_runtime, largest = {}, {}
for dtype in (np.float32, np.float64):
    session = onnxruntime.InferenceSession(to_onnx(model, dtype=dtype).SerializeToString())
    by_runtime[dtype] = session.run(["probabilities"], {"X": grid.astype(dtype)})[0]
    largest[dtype] = np.abs(by_runtime[dtype] - by_python).max(axis=1)
    print(f"{dtype.__name__}: largest difference {largest[dtype].max():.1e}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2), layout="constrained")
colours = np.array([[0.25, 0.45, 0.85], [0.30, 0.70, 0.35], [0.90, 0.35, 0.30]])
image = (by_runtime[np.float32] @ colours).reshape(200, 200, 3)
left.imshow(np.clip(image, 0.0, 1.0), origin="lower", extent=(-3.5, 3.5, -3.5, 3.5), alpha=0.75)
for k, name in enumerate(model.classes_):
    left.scatter(*X[y == name].T, s=9, color=0.75 * colours[k], label=name)
left.set(title="Probabilities by ONNX Runtime", xlabel="x1", ylabel="x2")
left.legend(title="class", loc="upper right")

bins = np.arange(-18.0, -5.5, 0.25)
for dtype, colour in ((np.float32, "tab:orange"), (np.float64, "tab:purple")):
    log_difference = np.log10(np.maximum(largest[dtype], 1e-17))
    right.hist(log_difference, bins, color=colour, label=dtype.__name__)
right.set(
    title="Difference from predict_proba",
    xlabel="log10 of the largest difference",
    ylabel="number of points",
)
right.legend(title="precision of the graph")
plt.show()

# %%
# Time per row
# ------------
#
# The graph sums over all ``2**m`` states of m hidden units, as ``predict_proba`` does. If the sums
# take most of the time, the time per row therefore doubles with every further unit. The limit is 16
# units. With ``prediction="plugin"``, the graph is the deterministic network of the mean
# activations instead. Its probabilities are approximations, and its cost is proportional to m. The
# networks below are trained on 50 rows only, because the time does not depend on the weights.

sizes = [2, 4, 6, 8, 10, 12, 14, 16]
batch = grid[:2000].astype(np.float32)
microseconds = {"marginal": [], "plugin": []}
for m in sizes:
    network = FastEMClassifier((m,), e_step="enumeration", solver="adam", random_state=0)
    network.partial_fit(X[:50], y[:50], classes=model.classes_)
    for prediction, times in microseconds.items():
        network.set_params(prediction=prediction)
        session = onnxruntime.InferenceSession(to_onnx(network).SerializeToString())
        seconds = []
        for _ in range(3):
            began = perf_counter()
            session.run(["probabilities"], {"X": batch})
            seconds.append(perf_counter() - began)
        times.append(1e6 * min(seconds) / len(batch))

figure, ax = plt.subplots(figsize=(6.0, 3.8), layout="constrained")
for prediction, marker in (("marginal", "o"), ("plugin", "s")):
    ax.semilogy(sizes, microseconds[prediction], marker=marker, label=prediction)
ax.set(xlabel="number of hidden units m", ylabel="time per row (µs)", xticks=sizes)
ax.set_title("ONNX Runtime, 2000 rows, 3 classes, float32")
ax.legend(title="prediction")
ax.grid(True, alpha=0.3)
plt.show()

# %%
# The file in other languages
# ---------------------------
#
# ``open("model.onnx", "wb").write(content)`` writes the file. The guide has short programs that
# read it in JavaScript and C#: :doc:`/guide/onnx`.
