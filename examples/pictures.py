"""Draw the pictures of the documentation.

Run: ``python examples/pictures.py [FOLDER]``; the default folder is docs/images. It takes about
one minute.
"""

import runpy
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_digits, make_classification, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastem import (
    DensityDisplay,
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    HiddenUnitsDisplay,
    LossCurveDisplay,
    PenaltyDisplay,
    ScalingDisplay,
    profile_scaling,
    warmup,
)

FOLDER = "docs/images"
ENGINES = ("enumeration", "quadrature", "sampling")
FEW, MANY = (4, 8, 12, 16, 20, 22), (50, 100)  # units; many are too many for enumeration
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


def learning_curves(X, y, max_iter):
    """Plot the losses of EM and backpropagation on digits against wall time."""
    X, X_val, y, y_val = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    held_out = {"X_val": X_val, "y_val": y_val}
    em = FastEMClassifier((N_UNITS,), alpha=PENALTY, max_iter=max_iter, random_state=0)
    network = perceptron(len(y), 5 * max_iter)
    perceptron(len(y), 1).fit(X, y, **held_out)  # compiles this network's kernels
    estimators = {
        "exact EM": em.fit(X, y, **held_out),
        "backpropagation (Adam)": network.fit(X, y, **held_out),
    }
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    LossCurveDisplay.from_estimator(estimators, x="seconds", ax=figure.subplots()).ax_.set_title(
        f"Digits, {N_UNITS} hidden units, the same penalty for both methods"
    )
    return figure


def hidden_units(X, y, max_iter):
    """Plot the weights of every hidden unit on digits, and its mean activation for every digit."""
    em = FastEMClassifier((N_UNITS,), alpha=PENALTY, max_iter=max_iter, random_state=0).fit(X, y)
    figure = Figure(figsize=(15.0, 3.8), layout="constrained")
    HiddenUnitsDisplay.from_estimator(em, X, y, figure=figure)
    return figure


def table(max_iter):
    """Plot the weights of a few hidden units on a table of thirty features."""
    data = load_breast_cancer(as_frame=True)
    names = data.target_names[data.target]
    em = FastEMClassifier((4,), max_iter=max_iter, random_state=0).fit(data.data, names)
    figure = Figure(figsize=(12.0, 6.0), layout="constrained")
    HiddenUnitsDisplay.from_estimator(em, data.data, names, figure=figure)
    return figure


def penalty(n_rows, max_iter):
    """Plot the scores of the penalties from which a fit chose."""
    X, y = make_classification(
        n_rows, n_features=8, n_informative=5, n_redundant=0, n_classes=3, flip_y=0.15,
        random_state=0,
    )  # fmt: skip
    model = FastEMClassifier((6,), alpha="auto", max_iter=max_iter, random_state=0).fit(X, y)
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    PenaltyDisplay.from_estimator(model, ax=figure.subplots()).ax_.set_title(
        f"{n_rows} rows, 3 classes, 6 hidden units: choice of the penalty"
    )
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
    few, many = ([m for m in sizes if m <= largest] for sizes in (FEW, MANY))
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    for ax, classes in zip(figure.subplots(1, 2, sharey=True), (2, 3), strict=True):
        profiles = [profile_scaling(few, [n_rows], n_classes=classes, engines=ENGINES)]
        if many:
            profiles.append(profile_scaling(many, [n_rows], n_classes=classes, engines=ENGINES[1:]))
        ScalingDisplay.from_results(profiles, ax=ax).ax_.legend(loc="lower right")
        ax.set_title(f"E-step with gradients, {classes} classes")
    return figure


def draw_example(name, path, **options):
    """Let another example draw its picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))["main"](str(path), **options)


def main(folder=FOLDER, max_iter=200, n_rows=None, largest=100, n_repeats=300):
    """Write all figures to a folder."""
    matplotlib.use("Agg")
    X, y = load_digits(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:n_rows]), y[:n_rows]
    folder = Path(folder)
    warmup()  # times do not include compilation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        save(learning_curves(X, y, max_iter), folder / "learning_curves.png")
        save(hidden_units(X, y, max_iter), folder / "hidden_units.png")
        save(table(max_iter), folder / "table_units.png")
        save(penalty(min(300, len(y)), max_iter), folder / "penalty.png")
        save(moons(max_iter), folder / "moons.png")
        save(density(5 * max_iter), folder / "density.png")
    draw_example("calibration", folder / "calibration.png")
    draw_example("gradient_estimators", folder / "gradient_estimators.png", n_repeats=n_repeats)
    save(engines(largest, min(500, len(y))), folder / "engines.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])
