"""Enumeration as matrix products of two halves of the units, for the rows of one class."""

import matplotlib.pyplot as plt
import numpy as np
from rules import prior, states, use_style
from scipy.special import softmax

import fastem

random = np.random.RandomState(0)
n_rows, m, low = 6, 6, 3  # units 0 to 2 are the low half, units 3 to 5 the high half
X, W = random.normal(0.0, 1.0, (n_rows, 2)), random.normal(0.0, 1.0, (2, m))
b, V, c = random.normal(0.0, 0.5, m), random.normal(0.0, 1.5, (m, 3)), np.zeros(3)
y = np.zeros(n_rows, dtype=int)
log_odds = X @ W + b

A = np.array([prior(a[low:]) for a in log_odds])  # (rows, states of the high half)
B = np.array([prior(a[:low]) for a in log_odds])  # (rows, states of the low half)
T = softmax(states(m) @ V + c, axis=1)[:, 0].reshape(2 ** (m - low), 2**low)
M = A @ T
p = (M * B).sum(axis=1)
N = B @ T.T
R = T * ((A / p[:, None]).T @ B)  # expected weight of every state


def fold(vectors):
    """Return the probabilities (rows, units) of units from weights of their states (rows, 2**b)."""
    found = []
    while vectors.shape[1] > 1:
        half = vectors.shape[1] // 2
        found.append(vectors[:, half:].sum(axis=1))
        vectors = vectors[:, :half] + vectors[:, half:]
    return np.stack(found[::-1], axis=1)


posterior = np.hstack([fold(M * B), fold(N * A)]) / p[:, None]
expected = fastem.e_step(X, y, [W, V], [b, c])
error = np.abs(np.log(p) - expected.log_likelihood).max()
error_of_posterior = np.abs(posterior - expected.hidden_posterior).max()

use_style()
figure, axes = plt.subplots(
    3, 3, figsize=(6.4, 7.2), layout="constrained", gridspec_kw={"width_ratios": [1, 1, 1]}
)
pictures = [
    [(A, "A", "rows", "high states"), (T, "T", "high states", "low states"),
     (M, "M = A T", "rows", "low states")],
    [(M * B, "M * B", "rows", "low states"), (p[:, None], "p = row sums", "rows", ""),
     (posterior[:, :low], "fold(M * B) / p", "rows", "low units")],
    [(N, "N = B T'", "rows", "high states"), (posterior[:, low:], "fold(N * A) / p", "rows",
     "high units"), (R, "R = T * ((A / p)' B)", "high states", "low states")],
]  # fmt: skip
for line, line_of_axes in zip(pictures, axes, strict=True):
    for (values, title, vertical, horizontal), ax in zip(line, line_of_axes, strict=True):
        ax.imshow(values, cmap="Blues", vmin=0.0)
        size = " \u00d7 ".join(map(str, values.shape))
        ax.set(title=f"{title}\n{size}", xticks=[], yticks=[], xlabel=horizontal, ylabel=vertical)
        for spine in ax.spines.values():
            spine.set_visible(True)
