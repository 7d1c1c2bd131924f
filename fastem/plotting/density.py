"""Plots of predictive densities and of their agreement with the observed values."""

import copy
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import issparse
from scipy.stats import binom
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMRegressor
from fastem.parameters import Array
from fastem.plotting._matplotlib import require_matplotlib

_LEVELS = (0.05, 0.5, 0.95)  # probabilities of the lines
_LINES = ("--", "5 % and 95 % quantile"), ("-", "median"), ("--", None)
_GRID = 161, 241  # values of x and of y
_MARGIN = 0.05  # of the grid beyond the data, as a share of their range
_MOST_BARS = 300  # more error bars cover each other
_ROWS_PER_BIN, _MOST_BINS = 10, 20  # twenty bins from 200 rows on, else ten
_SEED = 0  # of the randomised probability integral transform
_COLOUR, _CONTRAST = "Blues", 0.5  # the darkness is a power of the density


class DensityGrid(NamedTuple):
    """Conditional density of one output on a grid, given a single feature.

    Attributes
    ----------
    x : array (n_x,), unit of the feature, ascending
    y : array (n_y,), unit of y, ascending and equidistant
        Whole numbers for counts.
    density : array (n_y, n_x)
        ``p(y|x)`` per unit of y; for counts the probability of y.
    quantiles : array (n_x, 3), unit of y
        Quantiles 0.05, 0.5 and 0.95 of y given x.
    """

    x: Array
    y: Array
    density: Array
    quantiles: Array


class Forecasts(NamedTuple):
    """Predictions of one output for rows with observed values.

    Attributes
    ----------
    mean : array (n_samples,), unit of y
    interval : array (n_samples, 2), unit of y
        Central prediction interval of probability 0.9.
    transform : array (n_samples,), probability
        Probability integral transform: ``P(Y <= y | x)`` of the observed y, randomised for counts.
    """

    mean: Array
    interval: Array
    transform: Array


class DensityDisplay:
    """Predictive density of y given x, beside observed values.

    With a single feature, the conditional density p(y|x) is plotted as shade, its quantiles 0.05,
    0.5 and 0.95 as lines, and the observed values as points. The darkness is proportional to the
    square root of the density, so that flat parts of the density remain visible.

    With several features there are two plots. Left: the predicted mean against the observed y,
    with the 90 % prediction interval as an error bar, for at most 300 rows at equal distances in
    the data. Right: the histogram of the probability integral transform ``P(Y <= y | x)`` of all
    rows, and the line of the uniform distribution. The histogram is flat if the model is
    calibrated. If the predicted densities are too narrow, the bars at both ends are high. If they
    are too wide, the bars in the middle are high. Under a uniform distribution, 90 % of the bars
    end in the grey band.
    There are twenty bins from 200 rows on, otherwise ten.

    The transform of a count is not uniform even if the model is right. For counts it is therefore
    randomised: every row has a random value, uniform between ``P(Y < y | x)`` and
    ``P(Y <= y | x)``. `from_estimator` draws these values with a fixed seed.

    Parameters
    ----------
    y : array (n_samples,)
        Observed values of one output.
    x : array (n_samples,), optional
        Observed values of the single feature; together with ``grid``.
    grid : tuple of arrays, optional
        ``x (n_x,)``, ``y (n_y,)``, ``density (n_y, n_x)`` per unit of y, and the three
        ``quantiles (n_x, 3)``. Values of x and of y are equidistant.
    forecasts : tuple of arrays, optional
        ``mean (n_samples,)``, ``interval (n_samples, 2)`` and ``transform (n_samples,)``,
        for several features. Pass either this or ``grid``.
    is_discrete : bool, default=False
        Whether y is a count: the density is then plotted in cells, the quantiles as steps.
    x_label, y_label : str
        Name of the feature, and of the output.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for a single feature, otherwise two.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Single feature: the quantiles 0.05, 0.5 and 0.95.

    See Also
    --------
    DensityDisplay.from_estimator : Plots the densities of a fitted estimator.

    Examples
    --------
    >>> from fastem import DensityDisplay
    >>> display = DensityDisplay(y=[0.3], forecasts=([0.0], [[-1.6, 1.6]], [0.6]))
    >>> display.forecasts.interval
    array([[-1.6,  1.6]])
    """

    def __init__(
        self,
        *,
        y: Any,
        x: Any = None,
        grid: Sequence[Any] | None = None,
        forecasts: Sequence[Any] | None = None,
        is_discrete: bool = False,
        x_label: str = "x",
        y_label: str = "y",
    ) -> None:
        if (grid is None) == (forecasts is None) or (x is None) != (grid is None):
            raise ValueError("Pass either x and grid, or forecasts.")
        self.y: Array = _array("y", y, (None,))
        n_samples = len(self.y)
        self.x, self.grid, self.forecasts = None, None, None
        if grid is not None:
            grid = DensityGrid(*grid)
            n_x, n_y = np.size(grid.x), np.size(grid.y)
            self.x = _array("x", x, (n_samples,))
            shapes = (n_x,), (n_y,), (n_y, n_x), (n_x, len(_LEVELS))
            self.grid = DensityGrid(*_arrays("grid", grid, shapes))
        else:
            forecasts, shapes = Forecasts(*forecasts), ((n_samples,), (n_samples, 2), (n_samples,))
            self.forecasts = Forecasts(*_arrays("forecasts", forecasts, shapes))
        self.is_discrete = is_discrete
        self.x_label, self.y_label = x_label, y_label

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, output: int = 0, ax: Any = None, axes: Any = None
    ) -> Self:
        """Plot the predictive densities of a fitted `FastEMRegressor`.

        A single feature needs about 39 000 log-densities and 480 quantiles, several features one
        interval and one distribution function per row.

        Parameters
        ----------
        estimator : FastEMRegressor
        X : array-like or sparse matrix (n_samples, n_features)
            Held-out rows show whether the densities are right for new rows.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Observed values of all outputs.
        output : int, default=0
            Column of y to plot, if there are several outputs.
        ax, axes
            See `plot`.

        Returns
        -------
        display : DensityDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is not a `FastEMRegressor`.
        ValueError
            If there is no row or no such output, or X or y do not match the estimator.
        ImportError
            If matplotlib is not installed.
        """
        if not isinstance(estimator, FastEMRegressor):
            raise TypeError(
                "DensityDisplay supports FastEMRegressor, which predicts densities. "
                f"Got {type(estimator).__name__}."
            )
        check_is_fitted(estimator, "coefs_")
        require_matplotlib("DensityDisplay.from_estimator")
        estimator.log_density(X, y)  # checks X and y
        if not (issparse(X) and X.shape[1] > 1):  # sparse rows of several features stay sparse
            X = np.asarray(X.toarray() if issparse(X) else X, dtype=np.float64)
        y_of_all = np.asarray(y, dtype=np.float64).reshape(X.shape[0], -1)
        of_output = _of_output(estimator, output)
        column, n_outputs = y_of_all[:, output], y_of_all.shape[1]
        one_feature = X.shape[1] == 1
        names = getattr(estimator, "feature_names_in_", ["x"])
        display = cls(
            y=column,
            x=X[:, 0] if one_feature else None,
            grid=_grid(of_output, X[:, 0], column) if one_feature else None,
            forecasts=None if one_feature else _forecasts(of_output, X, column),
            is_discrete=estimator.family_.is_discrete,
            x_label=str(names[0]),
            y_label="y" if n_outputs == 1 else f"y, output {output}",
        )
        return display.plot(ax=ax, axes=axes)

    def plot(self, *, ax: Any = None, axes: Any = None) -> Self:
        """Plot the density, or the forecasts and their calibration.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes for a single feature; by default those of a new figure.
        axes : sequence of two matplotlib Axes, optional
            Axes for several features; by default those of a new figure.

        Returns
        -------
        self : DensityDisplay

        Raises
        ------
        ValueError
            If ``ax`` is passed for several features, or ``axes`` for a single one.
        ImportError
            If matplotlib is not installed.
        """
        n_axes = 1 if self.grid is not None else 2
        if n_axes == 2 and ax is not None:
            raise ValueError("Several features need two Axes: pass axes, not ax.")
        if n_axes == 1 and axes is not None:
            raise ValueError("A single feature needs one Axes: pass ax, not axes.")
        if axes is not None and np.size(axes) != n_axes:
            raise ValueError(f"axes must be two Axes. Got {np.size(axes)}.")
        require_matplotlib("DensityDisplay.plot")
        given = [ax] if ax is not None else axes
        if given is None:
            import matplotlib.pyplot as plt

            size = (6.4, 4.4) if n_axes == 1 else (9.6, 4.2)
            _, given = plt.subplots(1, n_axes, figsize=size, squeeze=False, layout="constrained")
        self.axes_ = list(np.ravel(given))
        self.figure_ = self.axes_[0].figure
        self.lines_: list[Any] = []
        if self.grid is not None:
            self._density(self.axes_[0], self.grid)
        else:
            self._means(self.axes_[0], self.forecasts)
            self._calibration(self.axes_[1], self.forecasts)
        return self

    def _density(self, ax: Any, grid: DensityGrid) -> None:
        from matplotlib.colors import PowerNorm

        x_edges, y_edges = _edges(grid.x), _edges(grid.y)
        norm = PowerNorm(_CONTRAST, vmin=0.0, vmax=float(grid.density.max()) or 1.0)
        image = ax.pcolormesh(
            x_edges, y_edges, grid.density, cmap=_COLOUR, norm=norm, rasterized=True
        )
        size = float(np.clip(2000.0 / max(len(self.y), 1), 3.0, 16.0))
        ax.scatter(
            self.x, self.y, s=size, color="black", alpha=0.55, linewidths=0.0, label="observed"
        )
        drawstyle = "steps-mid" if self.is_discrete else "default"
        for values, (style, label) in zip(grid.quantiles.T, _LINES, strict=True):
            line = {"color": "C1", "linestyle": style, "linewidth": 1.5, "drawstyle": drawstyle}
            self.lines_ += ax.plot(grid.x, values, label=label, **line)
        of_y = "probability of y" if self.is_discrete else "density of y"
        ax.figure.colorbar(image, ax=ax, label=f"{of_y} given {self.x_label}")
        ax.set(xlabel=self.x_label, ylabel=self.y_label)
        ax.set(xlim=x_edges[[0, -1]], ylim=y_edges[[0, -1]])
        if not ax.get_title():
            ax.set_title("Predictive density")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 3}
        ax.legend(**below, fontsize="small", frameon=False)

    def _means(self, ax: Any, forecasts: Forecasts) -> None:
        step = max(1, -(-len(self.y) // _MOST_BARS))
        y, mean, interval = self.y[::step], forecasts.mean[::step], forecasts.interval[::step]
        ax.vlines(y, *interval.T, color="C0", alpha=0.35, linewidth=1.0, label="90 % interval")
        ax.scatter(y, mean, s=12.0, color="C0", label="mean", zorder=3)
        ends = [min(y.min(), interval.min()), max(y.max(), interval.max())]
        ax.plot(ends, ends, color="black", linewidth=0.8, linestyle="--", label="observed value")
        ax.set(xlabel=f"observed {self.y_label}", ylabel=f"predicted {self.y_label}")
        if not ax.get_title():
            low, high = forecasts.interval.T
            share = np.mean((low <= self.y) & (self.y <= high))
            ax.set_title(f"90 % intervals contain {100.0 * share:.0f} % of {len(self.y)} values")
        ax.legend(loc="upper left", fontsize="small")

    def _calibration(self, ax: Any, forecasts: Forecasts) -> None:
        n_samples = len(self.y)
        n_bins = _MOST_BINS if n_samples >= _ROWS_PER_BIN * _MOST_BINS else _MOST_BINS // 2
        edges = np.linspace(0.0, 1.0, n_bins + 1)
        ax.hist(forecasts.transform, edges, color="C0", alpha=0.6, edgecolor="white")
        expected, label = n_samples / n_bins, "uniform distribution"
        ax.axhline(expected, color="black", linewidth=0.8, linestyle="--", label=label)
        by_chance = binom.ppf([0.05, 0.95], n_samples, 1.0 / n_bins)
        ax.axhspan(
            *by_chance, color="black", alpha=0.12, linewidth=0.0, label="90 % of bars, if uniform"
        )
        symbol = "randomised P(Y ≤ y | x)" if self.is_discrete else "P(Y ≤ y | x)"
        ax.set(xlabel=f"{symbol} of the observed y", ylabel="rows", xlim=(0.0, 1.0))
        if not ax.get_title():
            ax.set_title("Calibration: flat if the densities are right")
        ax.legend(loc="lower center", fontsize="small")


def _of_output(estimator: FastEMRegressor, output: int) -> FastEMRegressor:
    """Return the model of one output by itself: a network with the same hidden units.

    It has no names of features, because it is evaluated on arrays.
    """
    n_outputs = len(estimator.intercepts_[-1])
    if not (isinstance(output, Integral) and 0 <= output < n_outputs):
        choices = "0, the only output" if n_outputs == 1 else f"from 0 to {n_outputs - 1}"
        raise ValueError(f"output must be {choices}. Got {output!r}.")
    own = copy.copy(estimator)
    vars(own).pop("feature_names_in_", None)
    chosen = [output]
    own.coefs_ = [*estimator.coefs_[:-1], estimator.coefs_[-1][:, chosen]]
    own.intercepts_ = [*estimator.intercepts_[:-1], estimator.intercepts_[-1][chosen]]
    if estimator.family_.has_variance:
        own.variance_ = estimator.variance_[chosen]
    return own


def _grid(estimator: FastEMRegressor, x: Array, y: Array) -> DensityGrid:
    """Return the density on a grid that contains the data and the plotted quantiles."""
    grid_x = _equidistant(x.min(), x.max(), _GRID[0])
    quantiles = estimator.predict_quantile(grid_x[:, None], _LEVELS)
    low, high = min(y.min(), quantiles.min()), max(y.max(), quantiles.max())
    if estimator.family_.is_discrete:
        step = max(1.0, np.ceil((high - low) / _GRID[1]))
        grid_y = np.arange(low, high + step, step)
    else:
        grid_y = _equidistant(low, high, _GRID[1])
    pairs = np.tile(grid_x, len(grid_y)), np.repeat(grid_y, len(grid_x))
    log_density = estimator.log_density(pairs[0][:, None], pairs[1])
    density = np.exp(log_density).reshape(len(grid_y), len(grid_x))
    return DensityGrid(grid_x, grid_y, density, quantiles)


def _forecasts(estimator: FastEMRegressor, X: Array, y: Array) -> Forecasts:
    transform = estimator.predict_cdf(X, y)
    if estimator.family_.is_discrete:
        probability = np.exp(estimator.log_density(X, y))
        below = np.maximum(transform - probability, 0.0)
        uniform = np.random.RandomState(_SEED).uniform(size=len(y))
        transform = below + uniform * (transform - below)
    return Forecasts(estimator.predict(X), estimator.predict_interval(X, coverage=0.9), transform)


def _equidistant(low: float, high: float, n: int) -> Array:
    """Return n values from below ``low`` to above ``high``, also if both are equal."""
    margin = _MARGIN * (high - low) or 0.5 * abs(low) or 0.5
    return np.linspace(low - margin, high + margin, n)


def _edges(centres: Array) -> Array:
    """Return the borders of cells around equidistant values."""
    half = 0.5 * (centres[1] - centres[0]) if len(centres) > 1 else 0.5
    return np.append(centres - half, centres[-1] + half)


def _arrays(what: str, values: Any, shapes: tuple[Any, ...]) -> list[Array]:
    named = zip(values._fields, values, shapes, strict=True)
    return [_array(f"{what}: {name}", value, shape) for name, value, shape in named]


def _array(name: str, values: Any, shape: tuple[Any, ...]) -> Array:
    found = np.asarray(values, dtype=np.float64)
    wanted = tuple(len(found) if n is None and found.ndim else n for n in shape)
    if found.shape != wanted or found.size == 0:
        text = str(shape).replace("None", "n_samples")
        raise ValueError(f"{name} must have shape {text} with at least one row, got {found.shape}.")
    return found
