"""Plots of hidden units: weights in and out of the first hidden layer, activation by class."""

from collections.abc import Sequence
from math import isqrt
from typing import Any, Self

import numpy as np

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.parameters import Array
from fastem.plotting._matplotlib import require_matplotlib
from fastem.plotting.first_layer import (
    deviations,
    first_layer,
    fitted_network,
    mean_activations,
    names_of_features,
    network_inputs,
)

_COLOURS = "RdBu_r"
_MIN_IMAGE = 64  # features; "auto" plots fewer as bars even if they form a square
_MAX_COLUMNS = 6
_PANEL_WIDTH = 3.0  # inches, of a heat map beside the units


class HiddenUnitsDisplay:
    """Weights into and out of the first hidden layer, and its mean activation in every class.

    Left, one plot per unit: the weights of the features, as bars or as an image. `from_estimator`
    multiplies every weight by the standard deviation of its feature. The product does not depend
    on the unit of the feature, so that different features can be compared. If the deviations are
    unknown, images show the weights themselves, because all pixels have the same unit.

    Right: the weights from every unit to the classes or outputs, and for a classifier by EM with
    rows and labels, the mean posterior probability of every unit in every class.

    For a network with several hidden layers, only the first layer is plotted, because its
    weights belong to the features. The weights on the right are then those to the second hidden
    layer.

    Parameters
    ----------
    weights : array (n_features, n_units)
        Values to plot for every feature and unit.
    weight_label : str, default="weight"
        What these values are.
    unit_names : list of str, optional
        By default the numbers of the units, starting at 0.
    feature_names : list of str, optional
        Labels of the bars, by default the numbers of the features.
    image_shape : tuple of two ints, or "auto", optional
        Plot the weights of a unit as an image of this shape. "auto" selects a square if the
        number of features is a square number of at least 64, otherwise bars; None selects bars.
    next_weights : array (n_units, n_next), optional
        Weights to the next layer: the classes or outputs. Outputs in different units share
        one colour scale.
    next_names : list of str, optional
        Labels of the columns of ``next_weights``, by default their numbers.
    next_label : str, default="output"
        What these columns are.
    activations : array (n_units, n_classes), optional
        Mean posterior probability of every unit over the rows of a class.
    classes : array (n_classes,), optional
        Labels of the columns of ``activations``.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One per unit, then one for ``next_weights`` and one for ``activations``, if given.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from fastem import HiddenUnitsDisplay
    >>> display = HiddenUnitsDisplay(weights=[[1.0, -2.0], [0.5, 0.0]])
    >>> display.unit_names
    ['unit 0', 'unit 1']
    """

    def __init__(
        self,
        *,
        weights: Any,
        weight_label: str = "weight",
        unit_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, int] | str | None = None,
        next_weights: Any = None,
        next_names: Sequence[str] | None = None,
        next_label: str = "output",
        activations: Any = None,
        classes: Any = None,
    ) -> None:
        self.weights: Array = np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise ValueError(
                "weights must have shape (n_features, n_units), both at least 1. "
                f"Got {self.weights.shape}."
            )
        n_features, n_units = self.weights.shape
        self.weight_label, self.next_label = weight_label, next_label
        self.unit_names = _names("unit_names", unit_names, "unit ", n_units)
        self.feature_names = _names("feature_names", feature_names, "feature ", n_features)
        self.image_shape = _image_shape(image_shape, n_features)
        self.next_weights, self.next_names = None, None
        if next_weights is not None:
            self.next_weights = _by_unit("next_weights", "n_next", next_weights, n_units)
            n_next = self.next_weights.shape[1]
            self.next_names = _names("next_names", next_names, "", n_next)
        self.activations, self.classes = None, None
        if activations is not None:
            self.activations = _by_unit("activations", "n_classes", activations, n_units)
            n_classes = self.activations.shape[1]
            self.classes = np.arange(n_classes) if classes is None else np.asarray(classes)
            if self.classes.shape != (n_classes,):
                raise ValueError(f"Got {self.classes.size} classes for {n_classes} columns.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        image_shape: tuple[int, int] | str | None = "auto",
        max_units: int | None = None,
        figure: Any = None,
    ) -> Self:
        """Plot the units of the first hidden layer of a fitted estimator.

        The weights are multiplied by the standard deviations of the features in training.
        `FastEMClassifier` and `FastEMRegressor` contain them. After a `StandardScaler`, which must
        be the step before the last one of the pipeline, they are 1. For all other estimators they
        are those of X.

        Parameters
        ----------
        estimator : fitted estimator or pipeline
            `FastEMClassifier`, `FastEMRegressor`, `FastMLPClassifier`, `FastMLPRegressor`,
            scikit-learn's `MLPClassifier` or `MLPRegressor`, or a pipeline that ends with one of
            them. Bars then have the names of the features that the earlier steps return.
        X : array-like or sparse matrix (n_samples, n_features), optional
            Rows as for ``estimator.predict``.
        y : array-like (n_samples,) or (n_samples, n_labels), optional
            Labels of X, only for `FastEMClassifier`. The mean of P(Z_h = 1 | x, y) over the rows
            of every class is plotted. In a deep network this sums over the states of all higher
            layers.
        image_shape : tuple of two ints, "auto" or None, default="auto"
            See the class.
        max_units : int, optional
            Plot only the first units.
        figure : matplotlib Figure, optional
            See `plot`.

        Returns
        -------
        display : HiddenUnitsDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has another type.
        ValueError
            If there is no hidden layer, the standard deviations are unknown and X is missing, or
            X and y do not match each other or the estimator.
        ImportError
            If matplotlib is not installed.
        """
        network = fitted_network(estimator)
        if X is None and y is not None:
            raise ValueError("y holds the labels of X: pass X too.")
        if y is not None and not isinstance(network, FastEMClassifier):
            raise ValueError(
                "The mean activation by class needs a FastEMClassifier, which has a posterior and "
                f"classes. Got y for a {type(network).__name__}: do not pass y."
            )
        layer = first_layer(network, max_units)
        require_matplotlib("HiddenUnitsDisplay.from_estimator")
        shape = _image_shape(image_shape, len(layer.weights))
        scale = deviations(estimator, X)
        if scale is None and shape is None:
            raise ValueError(
                "Bars show a weight times the standard deviation of its feature, and "
                f"{type(network).__name__} does not contain these deviations. Pass the training "
                "rows as X. If all features have the same unit, as pixels have, "
                "image_shape=(height, width) plots the weights as images, without X."
            )
        weights = layer.weights if scale is None else layer.weights * scale[:, None]
        label = _label(network, shape is not None, scale is not None)
        activations = classes = None
        if y is not None:
            activations, classes = mean_activations(network, network_inputs(estimator, X), y)
            activations = activations[: weights.shape[1]]
        display = cls(
            weights=weights,
            weight_label=label,
            unit_names=layer.unit_names,
            feature_names=names_of_features(estimator),
            image_shape=shape,
            next_weights=layer.next_weights,
            next_names=layer.next_names,
            next_label=layer.next_label,
            activations=activations,
            classes=classes,
        )
        return display.plot(figure)

    def plot(self, figure: Any = None) -> Self:
        """Plot all units on one scale, symmetric about zero.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Figure to plot on; by default a new one. Every unit has its own Axes.

        Returns
        -------
        self : HiddenUnitsDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("HiddenUnitsDisplay.plot")
        n_features, n_units = self.weights.shape
        n_columns = min(n_units, _MAX_COLUMNS)
        n_rows = -(-n_units // n_columns)
        n_panels = sum(x is not None for x in (self.next_weights, self.activations))
        widths = 1.5 * n_columns + 1.2, _PANEL_WIDTH * n_panels
        if figure is None:
            import matplotlib.pyplot as plt

            height = 1.5 if self.image_shape else max(1.5, 0.22 * n_features + 0.6)
            size = max(widths[0], 4.0) + widths[1], max(height * n_rows + 0.6, 2.6)
            figure = plt.figure(figsize=size, layout="constrained")
        self.figure_ = figure
        left, right = figure, None
        if n_panels > 0:
            left, right = figure.subfigures(1, 2, width_ratios=widths)
        grid = left.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
        for unused in grid[n_units:]:
            unused.remove()
        self.axes_ = list(grid[:n_units])
        draw = self._images if self.image_shape else self._bars
        draw(left, _limit(self.weights))
        for ax, name in zip(self.axes_, self.unit_names, strict=True):
            ax.set_title(name, fontsize="small")
        if right is not None:
            self._panels(right, n_panels)
        return self

    def _images(self, figure: Any, limit: float) -> None:
        for ax, weights in zip(self.axes_, self.weights.T, strict=True):
            pixels = weights.reshape(self.image_shape)
            image = ax.imshow(pixels, cmap=_COLOURS, vmin=-limit, vmax=limit)
            ax.set(xticks=[], yticks=[])
        figure.colorbar(image, ax=self.axes_, label=self.weight_label, shrink=0.8)

    def _bars(self, figure: Any, limit: float) -> None:
        positions = np.arange(len(self.weights))
        for ax, weights in zip(self.axes_, self.weights.T, strict=True):
            ax.barh(positions, weights, color=["C3" if w > 0 else "C0" for w in weights])
            ax.axvline(0.0, color="black", linewidth=0.8)
            ax.set(xlim=(-1.05 * limit, 1.05 * limit))
        first = self.axes_[0]  # all axes share its ticks
        first.set_yticks(positions, self.feature_names)
        first.set_ylim(len(positions) - 0.5, -0.5)
        figure.supxlabel(self.weight_label, fontsize="medium")

    def _panels(self, figure: Any, n_panels: int) -> None:
        """Plot the heat maps: one row per unit."""
        axes = list(figure.subplots(1, n_panels, squeeze=False, sharey=True).ravel())
        self.axes_ += axes
        axes[0].set_yticks(range(len(self.unit_names)), self.unit_names)
        if self.next_weights is not None:
            limit = _limit(self.next_weights)
            scale = {"cmap": _COLOURS, "vmin": -limit, "vmax": limit}
            title = "weights out of the units"
            _heat_map(axes[0], self.next_weights, self.next_names, self.next_label, title, scale)
        if self.activations is not None:
            scale = {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
            names, title = [str(k) for k in self.classes], "mean posterior activation"
            _heat_map(axes[-1], self.activations, names, "class", title, scale)


def _label(network: Any, is_image: bool, is_scaled: bool) -> str:
    """Return the name of the plotted values."""
    if not is_scaled:
        return "weight"
    feature = "pixel" if is_image else "feature"
    unit = " (log-odds)" if isinstance(network, (FastEMClassifier, FastEMRegressor)) else ""
    return f"weight times standard deviation\nof the {feature}{unit}"


def _heat_map(
    ax: Any, values: Array, names: Sequence[str], label: str, title: str, scale: dict[str, Any]
) -> None:
    image = ax.imshow(values, aspect="auto", **scale)
    is_long = max(map(len, names)) > 3
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    ax.set_xticks(range(len(names)), names, **slanted)
    ax.set(xlabel=label)
    ax.set_title(title, fontsize="small")
    ax.figure.colorbar(image, ax=ax)


def _limit(values: Array) -> float:
    """Return the end of a colour scale that is symmetric about zero."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def _by_unit(what: str, columns: str, values: Any, n_units: int) -> Array:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or len(found) != n_units or found.shape[1] == 0:
        raise ValueError(
            f"{what} must have shape ({n_units}, {columns}), one row per unit. Got {found.shape}."
        )
    return found


def _names(what: str, names: Sequence[str] | None, prefix: str, n: int) -> list[str]:
    if names is None:
        return [f"{prefix}{i}" for i in range(n)]
    if isinstance(names, str) or len(names) != n:
        raise ValueError(f"{what} must be a list of {n}. Got {names!r}.")
    return [str(name) for name in names]


def _image_shape(shape: Any, n_features: int) -> tuple[int, int] | None:
    if shape is None:
        return None
    if isinstance(shape, str):
        if shape != "auto":
            raise ValueError(f"image_shape must be two ints, 'auto' or None. Got {shape!r}.")
        side = isqrt(n_features)
        return (side, side) if side**2 == n_features >= _MIN_IMAGE else None
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != n_features:
        raise ValueError(f"image_shape {shape} does not match {n_features} features.")
    return int(shape[0]), int(shape[1])
