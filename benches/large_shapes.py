"""Time and memory of fits and predictions of large and odd shapes, each in a process of its own.

``python benches/large_shapes.py`` prints the table of ``docs/hosts.md``. It takes some minutes.
"""

import resource
import subprocess
import sys
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier

CASES = {
    "2 000 000 x 10, EM, 4 units, 20 iterations": (
        (2_000_000, 10, 2),
        lambda: FastEMClassifier(4, alpha=0.15, max_iter=20, random_state=0),
    ),
    "2 000 000 x 10, EM for numbers, 4 units, 10 iterations": (
        (2_000_000, 10, None),
        lambda: FastEMRegressor((4,), alpha=0.5, variance_floor=0.05, max_iter=10, random_state=0),
    ),
    "2 000 000 x 10, perceptron, 20 units, 3 epochs": (
        (2_000_000, 10, 2),
        lambda: FastMLPClassifier((20,), max_iter=3, random_state=0),
    ),
    "200 x 20 000, EM, defaults": ((200, 20_000, 2), lambda: FastEMClassifier(random_state=0)),
    "200 x 20 000, EM, 10 units, alpha 0.15": (
        (200, 20_000, 2),
        lambda: FastEMClassifier(10, alpha=0.15, random_state=0),
    ),
    "200 x 20 000, EM for numbers, defaults": (
        (200, 20_000, None),
        lambda: FastEMRegressor(random_state=0),
    ),
    "2 000 x 10, 100 classes, EM, 10 units, alpha 0.15": (
        (2_000, 10, 100),
        lambda: FastEMClassifier(10, alpha=0.15, random_state=0),
    ),
}


def rows(n_samples, n_features, n_classes):
    """Return X, and y that depends on the first five features."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features))
    score = X[:, :5].sum(axis=1) + rng.normal(size=n_samples)
    if n_classes is None:
        return X, score
    edges = np.quantile(score, np.linspace(0.0, 1.0, n_classes + 1)[1:-1])
    return X, np.digitize(score, edges)


def measure(name):
    """Fit and predict one case in this process; print a row of the table."""
    shape, make = CASES[name]
    small, targets = rows(max(200, 2 * (shape[2] or 0)), min(shape[1], 10), shape[2])
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", message="The fit predicts the same for every row")
    compiled = make().fit(small, targets)  # compiles
    predict = "predict_proba" if shape[2] else "predict"
    getattr(compiled, predict)(small)
    X, y = rows(*shape)
    start = time.perf_counter()
    model = make().fit(X, y)
    fitted = time.perf_counter()
    getattr(model, predict)(X)
    seconds = fitted - start, time.perf_counter() - fitted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {name} | {seconds[0]:.1f} s | {seconds[1]:.2f} s | {peak:.2f} GB |", flush=True)


def main():
    """Print the table, or one row for the name of a case."""
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    print("| case | fit | prediction of all rows | peak memory |\n|---|---:|---:|---:|", flush=True)
    for name in CASES:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
