"""Draw the pictures of the documentation.

Run: ``python examples/pictures.py [FOLDER]``; the default folder is docs/images.
"""

import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.preprocessing import StandardScaler

from fastem import (
    DensityDisplay,
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    HiddenUnitsDisplay,
    LossCurveDisplay,
    ScalingDisplay,
    profile_scaling,
    warmup,
)

FOLDER = "docs/images"
ENGINES = ("enumeration", "quadrature", "sampling")
N_UNITS = 12
PENALTY = 0.15  # both methods: times half the sum of squared weights, against the summed loss


def save(figure, path):
    """Write a small PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(path)


def perceptron(n_rows, max_iter):
    """Return a network to be trained by backpropagation, with the penalty of EM.

    `FastMLPClassifier` applies its ``alpha`` once per batch, so ``alpha`` is the penalty divided
    by the number of batches.
    """
    batch_size = min(200, n_rows)
    n_batches = -(-n_rows // batch_size)
    return FastMLPClassifier(
        (N_UNITS,), "logistic", alpha=PENALTY / n_batches, batch_size=batch_size,
        max_iter=max_iter, random_state=0,
    )  # fmt: skip


def learning_curves(em, X, y, max_iter):
    """Plot the losses of EM and backpropagation on digits against wall time."""
    network = perceptron(len(y), 5 * max_iter).fit(X, y)
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    LossCurveDisplay.from_estimator(
        {"exact EM": em, "backpropagation (Adam)": network}, x="seconds", ax=figure.subplots()
    ).ax_.set_title(f"Digits, {N_UNITS} hidden units, the same penalty for both methods")
    return figure


def hidden_units(em, X, y):
    """Plot the weights of every hidden unit, and its mean activation for every digit."""
    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    HiddenUnitsDisplay.from_estimator(em, X, y, figure=figure)
    return figure


def moons(max_iter):
    """Plot the probability of a class for two interleaved half moons."""
    X, y = make_moons(300, noise=0.2, random_state=0)
    model = FastEMClassifier((6,), max_iter=max_iter, random_state=0).fit(X, y)
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    display = DecisionBoundaryDisplay.from_estimator(
        model, X, ax=figure.subplots(), response_method="predict_proba",
        cmap="RdBu_r", alpha=0.7, levels=20, vmin=0.0, vmax=1.0,
    )  # fmt: skip
    colours = ListedColormap(["#2166ac", "#b2182b"])
    display.ax_.scatter(X[:, 0], X[:, 1], c=y, cmap=colours, edgecolor="white", s=25)
    display.ax_.set_title("Two moons, six hidden units: P(red | x)")
    figure.colorbar(display.surface_, ax=display.ax_)
    return figure


def density(max_iter):
    """Plot the density of y given x for two branches whose noise grows with x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, size=2500)
    y = rng.choice([-1.0, 1.0], size=2500) * (np.sin(x) + 1.5)
    y += (0.05 + 0.05 * (x + 3.0)) * rng.standard_normal(2500)
    X, new = x[:2000, None], x[2000:, None]
    model = FastEMRegressor((N_UNITS,), alpha=0.02, max_iter=max_iter, n_init=4, random_state=0)
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    ax = figure.subplots()
    DensityDisplay.from_estimator(model.fit(X, y[:2000]), new, y[2000:], ax=ax)
    ax.set_title(f"Two branches, {N_UNITS} hidden units: density by EM and new data")
    return figure


def engines(largest, n_rows):
    """Plot the time of an E-step against the number of hidden units, for every engine."""
    few = [m for m in range(4, 23, 2) if m <= largest]
    many = [m for m in (24, 32, 48, 64, 100) if m <= largest]
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    for ax, classes in zip(figure.subplots(1, 2, sharey=True), (2, 3), strict=True):
        profiles = [profile_scaling(few, [n_rows], n_classes=classes, engines=ENGINES)]
        if many:  # too many for enumeration
            profiles.append(profile_scaling(many, [n_rows], n_classes=classes, engines=ENGINES[1:]))
        ScalingDisplay.from_results(profiles, ax=ax)
        ax.set_title(f"E-step with gradients, {classes} classes")
    return figure


def main(folder=FOLDER, max_iter=200, n_rows=None, largest=100):
    """Write all figures to a folder."""
    matplotlib.use("Agg")
    X, y = load_digits(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:n_rows]), y[:n_rows]  # comparable weights
    folder = Path(folder)
    warmup()  # times do not include compilation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        perceptron(len(y), 1).fit(X, y)  # compiles this network's kernels
        em = FastEMClassifier((N_UNITS,), alpha=PENALTY, max_iter=max_iter, random_state=0)
        em.fit(X, y)
        save(learning_curves(em, X, y, max_iter), folder / "learning_curves.png")
        save(hidden_units(em, X, y), folder / "hidden_units.png")
        save(moons(max_iter), folder / "moons.png")
        save(density(5 * max_iter), folder / "density.png")
    save(engines(largest, min(1000, len(y))), folder / "engines.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])
