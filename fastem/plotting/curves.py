"""Learning curves against iterations or wall time."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMClassifier
from fastem.parameters import Array
from fastem.plotting._matplotlib import final_step, new_figure, require_matplotlib

_AXES = ("iterations", "seconds")
_SCALES = ("auto", "linear", "log")
_LONG = 50  # with more iterations, "auto" selects a logarithmic axis
_STEEP = 10.0  # with a larger ratio of losses, "auto" selects a logarithmic axis


class LossCurveDisplay:
    """Learning curves: the training loss after each iteration, for one fit or several.

    Every curve is the objective that the estimator recorded, including its penalty. A lower
    curve is therefore a better fit only if the penalties are equal:

    * The curve of `FastEMClassifier` starts at iteration 0, the starting values. Every value is
      the loss of the parameters at that iteration.
    * The curves of `FastMLPClassifier` and `FastMLPRegressor` start at 1, the first epoch.
      With ``solver="sgd"`` and ``"adam"`` a value is the mean over the batches of an epoch,
      during which the weights change.

    An iteration of EM and an epoch of backpropagation differ in cost.

    Parameters
    ----------
    iterations : list of arrays (n_points,)
        One array per curve, ascending and not negative. Seconds are allowed.
    losses : list of arrays (n_points,)
        One array per curve: mean loss per row (per unit weight).
    names : list of str, optional
        Names of the curves in the legend.
    x_label, y_label : str
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per curve, in the order given.

    See Also
    --------
    LossCurveDisplay.from_estimator : Plots the curves of fitted estimators.

    Examples
    --------
    >>> from fastem import LossCurveDisplay
    >>> display = LossCurveDisplay(iterations=[[0, 1, 2]], losses=[[1.1, 0.5, 0.4]])
    >>> display.losses
    [array([1.1, 0.5, 0.4])]
    """

    def __init__(
        self,
        *,
        iterations: Sequence[Any],
        losses: Sequence[Any],
        names: Sequence[str] | None = None,
        x_label: str = "iteration",
        y_label: str = "training loss with penalty",
    ) -> None:
        self.iterations = [np.asarray(steps) for steps in iterations]
        self.losses: list[Array] = [np.asarray(values, dtype=np.float64) for values in losses]
        self.names = None if names is None else list(names)
        self.x_label = x_label
        self.y_label = y_label
        shapes = [x.shape for x in self.iterations], [x.shape for x in self.losses]
        if not self.losses:
            raise ValueError("There must be at least one curve: losses is empty.")
        if shapes[0] != shapes[1] or any(len(s) != 1 for s in shapes[0]):
            raise ValueError(
                "iterations and losses must be lists of vectors, one per curve, with equal "
                f"lengths. Got shapes {shapes[0]} and {shapes[1]}."
            )
        for steps in self.iterations:
            if steps.size > 0 and (steps.min() < 0 or (np.diff(steps) <= 0).any()):
                raise ValueError(
                    "iterations must not be negative and must ascend; sort the points by iteration."
                )
        if isinstance(names, str):
            raise ValueError(f"names must be a list, one name per curve; got {names!r}.")
        if self.names is not None and len(self.names) != len(self.losses):
            raise ValueError(
                f"names must have one entry per curve ({len(self.losses)}), got {len(self.names)}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        x: str = "iterations",
        name: str | None = None,
        ax: Any = None,
        x_scale: str = "auto",
        y_scale: str = "auto",
        curve_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Self:
        """Plot the attribute ``loss_curve_`` of fitted estimators.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimator
            Any estimator with ``loss_curve_``, or a pipeline that ends with one.
            The keys of a dict appear in the legend.
        x : {"iterations", "seconds"}
            Horizontal axis; seconds are taken from ``loss_curve_seconds_``.
        name : str, optional
            Name of a single estimator, by default the name of its class.
        ax, x_scale, y_scale, curve_kwargs
            See `plot`.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        ValueError
            If an estimator records no losses or no times, x is unknown, or a name is given
            together with a dict.
        ImportError
            If matplotlib is not installed.
        """
        if x not in _AXES:
            raise ValueError(f"x must be 'iterations' or 'seconds'. Got {x!r}.")
        if isinstance(estimator, Mapping):
            if name is not None:
                raise ValueError(
                    f"name={name!r} is for a single estimator; the keys of a dict are the names."
                )
            estimators = dict(estimator)
            if not estimators:
                raise ValueError("There is no estimator to plot: the dict is empty.")
        else:
            estimators = {name or type(final_step(estimator)).__name__: estimator}
        require_matplotlib("LossCurveDisplay.from_estimator")
        curves = [loss_curve(fitted) for fitted in estimators.values()]
        finals = [final_step(fitted) for fitted in estimators.values()]
        if x == "iterations":
            positions, x_label = [iterations for iterations, _ in curves], _x_label(finals)
        else:
            positions, x_label = [_seconds(final) for final in finals], "wall time (seconds)"
        display = cls(
            iterations=positions,
            losses=[losses for _, losses in curves],
            names=list(estimators),
            x_label=x_label,
            y_label=_y_label(finals),
        )
        return display.plot(ax, x_scale=x_scale, y_scale=y_scale, curve_kwargs=curve_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        x_scale: str = "auto",
        y_scale: str = "auto",
        curve_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Self:
        """Plot the curves. The dot at the end of a curve marks the end of the fit.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to plot on; by default those of a new figure.
        x_scale : {"auto", "linear", "log"}
            A logarithmic axis is linear from 0 to 1, so that it contains iteration 0. "auto"
            selects it if a curve has more than 50 iterations.
        y_scale : {"auto", "linear", "log"}
            "auto" selects "log" if all losses are positive and the largest is more than ten
            times the smallest.
        curve_kwargs : dict, or list of dict, optional
            Arguments of matplotlib's ``plot`` for all curves, or for each curve.

        Returns
        -------
        self : LossCurveDisplay

        Raises
        ------
        ValueError
            If a scale is unknown, or the number of ``curve_kwargs`` differs from that of curves.
        ImportError
            If matplotlib is not installed.
        """
        styles = self._styles(curve_kwargs)
        x_log = _is_log("x_scale", x_scale, self._is_long())
        y_log = _is_log("y_scale", y_scale, self._is_steep())
        require_matplotlib("LossCurveDisplay.plot")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = []
        for steps, values, style in zip(self.iterations, self.losses, styles, strict=True):
            self.lines_ += ax.plot(steps, values, **style)
        counted = all((steps == np.round(steps)).all() for steps in self.iterations)
        _set_scales(ax, x_log=x_log, y_log=y_log, counted=counted)
        ax.set(xlabel=self.x_label, ylabel=self.y_label)
        if not ax.get_title():
            ax.set_title("Learning curves" if len(self.lines_) > 1 else "Learning curve")
        ax.grid(True, alpha=0.3)
        if any("label" in style for style in styles):
            ax.legend()
        return self

    def _styles(self, curve_kwargs: Any) -> list[dict[str, Any]]:
        """Return the plot arguments of every curve; those of the caller override the defaults."""
        if curve_kwargs is None or isinstance(curve_kwargs, Mapping):
            curve_kwargs = [curve_kwargs or {}] * len(self.losses)
        if len(curve_kwargs) != len(self.losses):
            raise ValueError(
                f"curve_kwargs must be a dict, or a list of {len(self.losses)}, one per curve. "
                f"Got {len(curve_kwargs)}."
            )
        labels = (
            [{}] * len(self.losses) if self.names is None else [{"label": n} for n in self.names]
        )
        usual = {"marker": "o", "markevery": slice(-1, None)}
        return [
            usual | own | given for own, given in zip(labels, map(dict, curve_kwargs), strict=True)
        ]

    def _is_long(self) -> bool:
        return max(steps.max(initial=0) for steps in self.iterations) > _LONG

    def _is_steep(self) -> bool:
        values = np.concatenate(self.losses)
        values = values[np.isfinite(values)]
        return values.size > 0 and 0.0 < _STEEP * values.min() < values.max()


def loss_curve(estimator: Any) -> tuple[np.ndarray, Array]:
    """Return the losses that a fitted estimator recorded during training.

    Parameters
    ----------
    estimator : fitted estimator, or pipeline that ends in one

    Returns
    -------
    iterations : array (n_points,) of int
        Starts at 0 (starting values) for `FastEMClassifier` and at 1 for all others. After a
        warm start, earlier fits are included. Empty if L-BFGS ended at its starting values.
    losses : array (n_points,)
        Mean loss per unit weight, including the penalty; in nats for log-loss.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator records no losses.
    """
    final = final_step(estimator)
    check_is_fitted(final)
    if getattr(final, "loss_curve_", None) is None:
        raise ValueError(
            f"{type(final).__name__} has recorded no losses: it has no loss_curve_ to plot"
        )
    losses = np.asarray(final.loss_curve_, dtype=np.float64)
    first = 0 if isinstance(final, FastEMClassifier) else 1
    return first + np.arange(losses.size), losses


def save_loss_curves(estimators: Mapping[str, Any], path: str | os.PathLike, title: str) -> None:
    """Write a figure of learning curves to a file; this needs no screen.

    Parameters
    ----------
    estimators : dict of str to fitted estimator
    path : path
        Its suffix is one of `FIGURE_SUFFIXES` and selects the format.
    title : str
        Plain text: a dollar sign does not start a formula.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    figure = new_figure("save_loss_curves")
    display = LossCurveDisplay.from_estimator(estimators, ax=figure.subplots())
    display.ax_.set_title(title, parse_math=False)
    figure.savefig(path, dpi=150)


def _seconds(estimator: Any) -> Array:
    seconds = getattr(estimator, "loss_curve_seconds_", None)
    if seconds is None or len(seconds) != len(estimator.loss_curve_):
        raise ValueError(
            f"{type(estimator).__name__} has not recorded a time for every loss: it has no "
            "loss_curve_seconds_ to plot. Use x='iterations', or fit again."
        )
    return np.asarray(seconds, dtype=np.float64)


def _x_label(estimators: Sequence[Any]) -> str:
    kinds = {
        "epoch" if getattr(x, "solver", "") in ("sgd", "adam") else "iteration" for x in estimators
    }
    return kinds.pop() if len(kinds) == 1 else "iteration of EM, or epoch of backpropagation"


def _y_label(estimators: Sequence[Any]) -> str:
    in_nats = all(getattr(x, "loss", "log_loss") == "log_loss" for x in estimators)
    return f"training loss with penalty ({'nats' if in_nats else 'mean'} per row)"


def _is_log(name: str, scale: str, automatic: bool) -> bool:
    if scale not in _SCALES:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, _SCALES))}. Got {scale!r}.")
    return automatic if scale == "auto" else scale == "log"


def _set_scales(ax: Any, *, x_log: bool, y_log: bool, counted: bool) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if x_log:
        ax.set_xscale("symlog", linthresh=1.0, linscale=0.3, subs=range(2, 10))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif counted:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if y_log:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
