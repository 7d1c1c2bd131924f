"""Plots of hidden units: weights of the first hidden layer, and activation by class."""

from collections.abc import Sequence
from math import isqrt
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import BaseFastMLP, FastEMClassifier
from fastem.parameters import Array
from fastem.plotting._matplotlib import require_matplotlib

_COLOURS = "RdBu_r"
_MIN_IMAGE = 16  # features; fewer are plotted as bars even if they form a square
_MAX_COLUMNS = 6


class HiddenUnitsDisplay:
    """Weights of the first hidden layer, and the mean activation of its units in every class.

    For a network with several hidden layers, only the first layer is plotted, because its
    weights belong to the features. The inputs of higher layers are hidden states.

    Parameters
    ----------
    weights : array (n_features, n_units)
        For `FastEMClassifier`: log-odds per unit of the feature.
    unit_names : list of str, optional
        By default the numbers of the units, starting at 0.
    feature_names : list of str, optional
        Labels of the bars, by default the numbers of the features.
    image_shape : tuple of two ints, or "auto", optional
        Plot the weights of a unit as an image of this shape. "auto" selects a square if the
        number of features is a square number of at least 16, otherwise bars; None selects bars.
    activations : array (n_units, n_classes), optional
        Mean posterior probability of every unit over the rows of a class.
    classes : array (n_classes,), optional
        Labels of the columns of ``activations``.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One per unit, followed by one for the activations, if given.
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
        unit_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, int] | str | None = None,
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
        self.unit_names = _names("unit_names", unit_names, "unit", n_units)
        self.feature_names = _names("feature_names", feature_names, "feature", n_features)
        self.image_shape = _image_shape(image_shape, n_features)
        self.activations, self.classes = None, None
        if activations is not None:
            self.activations = np.asarray(activations, dtype=np.float64)
            n_classes = self.activations.shape[-1]
            if self.activations.shape != (n_units, n_classes):
                raise ValueError(
                    f"activations must have shape ({n_units}, n_classes), one row per unit. "
                    f"Got {self.activations.shape}."
                )
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

        Parameters
        ----------
        estimator : FastEMClassifier, FastMLPClassifier or FastMLPRegressor
        X : array-like or sparse matrix (n_samples, n_features), optional
            Rows for the mean activations, only for `FastEMClassifier`.
        y : array-like (n_samples,), optional
            Their labels. The mean of P(Z_h = 1 | x, y) over the rows of every class is plotted.
            In a deep network this sums over the states of all higher layers.
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
            If there is no hidden layer, or X and y do not match each other or the estimator.
        ImportError
            If matplotlib is not installed.
        """
        if not isinstance(estimator, FastEMClassifier | BaseFastMLP):
            raise TypeError(
                "HiddenUnitsDisplay supports FastEMClassifier, FastMLPClassifier and "
                f"FastMLPRegressor. Got {type(estimator).__name__}."
            )
        check_is_fitted(estimator, "coefs_")
        if (X is None) != (y is None):
            raise ValueError("X and y belong together: pass both, or neither.")
        if X is not None and not isinstance(estimator, FastEMClassifier):
            raise ValueError(f"{type(estimator).__name__} has no posterior: do not pass X and y.")
        if len(estimator.coefs_) < 2:
            raise ValueError("There is no hidden layer to plot.")
        weights, names = _first_layer(estimator, max_units)
        require_matplotlib("HiddenUnitsDisplay.from_estimator")
        activations = classes = None
        if X is not None:
            posterior = estimator.posterior(X, y)[:, : weights.shape[1]]
            classes = estimator.classes_[np.isin(estimator.classes_, y)]
            labels = np.asarray(y)
            activations = np.column_stack([posterior[labels == k].mean(axis=0) for k in classes])
        display = cls(
            weights=weights,
            unit_names=names,
            feature_names=getattr(estimator, "feature_names_in_", None),
            image_shape=image_shape,
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
        height = 1.5 if self.image_shape else max(1.5, 0.22 * n_features + 0.6)
        with_activations = self.activations is not None
        if figure is None:
            import matplotlib.pyplot as plt

            width = max(1.5 * n_columns + 1.2, 4.0) + (3.2 if with_activations else 0.0)
            figure = plt.figure(figsize=(width, height * n_rows + 0.6), layout="constrained")
        self.figure_ = figure
        left, right = figure, None
        if with_activations:
            left, right = figure.subfigures(1, 2, width_ratios=(1.5 * n_columns + 1.2, 3.2))
        grid = left.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
        for unused in grid[n_units:]:
            unused.remove()
        self.axes_ = list(grid[:n_units])
        finite = np.abs(self.weights[np.isfinite(self.weights)])
        limit = float(finite.max(initial=0.0)) or 1.0
        draw = self._images if self.image_shape else self._bars
        draw(left, limit)
        for ax, name in zip(self.axes_, self.unit_names, strict=True):
            ax.set_title(name, fontsize="small")
        if right is not None:
            self._activations(right)
        return self

    def _images(self, figure: Any, limit: float) -> None:
        for ax, weights in zip(self.axes_, self.weights.T, strict=True):
            pixels = weights.reshape(self.image_shape)
            image = ax.imshow(pixels, cmap=_COLOURS, vmin=-limit, vmax=limit)
            ax.set(xticks=[], yticks=[])
        figure.colorbar(image, ax=self.axes_, label="weight", shrink=0.8)

    def _bars(self, figure: Any, limit: float) -> None:
        positions = np.arange(len(self.weights))
        for ax, weights in zip(self.axes_, self.weights.T, strict=True):
            ax.barh(positions, weights, color=["C3" if w > 0 else "C0" for w in weights])
            ax.axvline(0.0, color="black", linewidth=0.8)
            ax.set(xlim=(-1.05 * limit, 1.05 * limit), xlabel="weight")
        first = self.axes_[0]  # all axes share its ticks
        first.set_yticks(positions, self.feature_names)
        first.set_ylim(len(positions) - 0.5, -0.5)

    def _activations(self, figure: Any) -> None:
        ax = figure.subplots()
        image = ax.imshow(self.activations, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
        ax.set_xticks(range(len(self.classes)), [str(k) for k in self.classes])
        ax.set_yticks(range(len(self.unit_names)), self.unit_names)
        ax.set(xlabel="class")
        ax.set_title("mean posterior activation", fontsize="small")
        figure.colorbar(image, ax=ax)
        self.axes_.append(ax)


def _first_layer(estimator: Any, max_units: int | None) -> tuple[Array, list[str]]:
    """Return weights and names of the first units; a maxout unit has two pieces."""
    weights = estimator.coefs_[0]
    n_units, n_pieces = weights.shape[1], 1
    activation = getattr(estimator, "activation", None)
    if (activation if isinstance(activation, str) else (activation or [""])[0]) == "maxout":
        n_units, n_pieces = n_units // 2, 2
    if max_units is not None and max_units < 1:
        raise ValueError(f"max_units must be at least 1. Got {max_units}.")
    n_drawn = n_units if max_units is None else min(max_units, n_units)
    columns = [h + piece * n_units for h in range(n_drawn) for piece in range(n_pieces)]
    pieces = [""] if n_pieces == 1 else [", first", ", second"]
    return weights[:, columns], [f"unit {h}{piece}" for h in range(n_drawn) for piece in pieces]


def _names(what: str, names: Sequence[str] | None, kind: str, n: int) -> list[str]:
    if names is None:
        return [f"{kind} {i}" for i in range(n)]
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
