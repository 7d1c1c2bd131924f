"""Data of the interactive figure: parameters and loss of every iteration of some runs of EM.

Iterations come from the public interface: with ``warm_start=True`` and ``max_iter=1``, each call
of ``fit`` is one iteration, an E-step and an M-step.
"""

import functools
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier

ALPHA = 0.05
TOL = 1e-4
MAX_ITER = 100


@functools.cache
def figure_data() -> dict[str, Any]:
    """Return what the figure shows, as dictionaries, lists and numbers for JSON.

    Returns
    -------
    data : dict
        "alpha", and "problems". Every problem has "title", "X" (n_samples, 2), "y" (n_samples,),
        "n_classes", "extent" (half the width of the picture) and "runs". Every run has "title",
        "loss" (nats per row, of the starting values and of every iteration) and "iterations":
        "W" (2, m), "b" (m,), "V" (m, n_classes) and "c" (n_classes,) of each of these.
    """
    return {"alpha": ALPHA, "problems": [_exclusive_or(), _two_moons(), _three_arms()]}


def _exclusive_or() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    centres = np.array([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    X = np.repeat(centres, 30, axis=0) + 0.4 * rng.standard_normal((120, 2))
    y = np.repeat([0, 0, 1, 1], 30)
    starts = {
        "start A": _random_start(1, 2, 2),
        "start B": _random_start(0, 2, 2),
        "two equal units": _equal_units(_random_start(0, 2, 2)),
    }
    return _problem("Exclusive or, 2 hidden units", X, y, starts)


def _two_moons() -> dict[str, Any]:
    X, y = make_moons(120, noise=0.15, random_state=0)
    starts = {"start A": _random_start(1, 4, 2), "start B": _random_start(0, 4, 2)}
    return _problem("Two moons, 4 hidden units", 1.3 * (X - [0.5, 0.25]), y, starts)


def _three_arms() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    radius = np.tile(np.linspace(0.5, 2.0, 40), 3)
    y = np.repeat([0, 1, 2], 40)
    angle = 2.0 * np.pi / 3.0 * y + 0.95 * radius + 0.12 * rng.standard_normal(len(y))
    X = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    starts = {"start A": _random_start(2, 4, 3), "start B": _random_start(11, 4, 3)}
    return _problem("Three arms, 4 hidden units", X, y, starts)


def _problem(title: str, X: np.ndarray, y: np.ndarray, starts: dict[str, tuple]) -> dict[str, Any]:
    X = X.round(3)
    return {
        "title": title,
        "X": X.tolist(),
        "y": y.tolist(),
        "n_classes": int(y.max()) + 1,
        "extent": 2.3,
        "runs": [{"title": name, **_run(X, y, *start)} for name, start in starts.items()],
    }


def _random_start(seed: int, n_hidden: int, n_classes: int) -> tuple[list, list]:
    rng = np.random.default_rng(seed)
    W, b = rng.standard_normal((2, n_hidden)), 0.5 * rng.standard_normal(n_hidden)
    return [W, rng.standard_normal((n_hidden, n_classes))], [b, np.zeros(n_classes)]


def _equal_units(start: tuple[list, list]) -> tuple[list, list]:
    """Return the start with the weights of the first unit in all units."""
    (W, V), (b, c) = start
    return [0.0 * W + W[:, :1], 0.0 * V + V[:1]], [0.0 * b + b[0], c]


def _run(X: np.ndarray, y: np.ndarray, coefs: list, intercepts: list) -> dict[str, Any]:
    """Run plain EM, and return loss and parameters of every iteration."""
    model = FastEMClassifier(
        len(intercepts[0]), coefs_init=coefs, intercepts_init=intercepts, alpha=ALPHA,
        solver="em", e_step="enumeration", m_step="newton", accelerate=False, standardize=False,
        max_iter=1, tol=TOL, warm_start=True,
    )  # fmt: skip
    iterations = [_numbers(coefs, intercepts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "All hidden units of a layer are equal")
        while len(iterations) <= MAX_ITER:
            model.fit(X, y)
            iterations.append(_numbers(model.coefs_, model.intercepts_))
            if model.converged_:
                break
    return {"loss": list(model.loss_curve_), "iterations": iterations}


def _numbers(coefs: list, intercepts: list) -> dict[str, list]:
    names = zip("WVbc", [*coefs, *intercepts], strict=True)
    return {name: values.tolist() for name, values in names}
