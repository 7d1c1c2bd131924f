"""Learning curves, against iterations or wall time."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMClassifier
from fastem.parameters import Array
from fastem.plotting._matplotlib import figure_of_its_own, final_step, require_matplotlib

_AXES = ("iterations", "seconds")
_SCALES = ("auto", "linear", "log")
_LONG = 50  # iterations that a linear axis still tells apart
_STEEP = 10.0  # largest over smallest loss that a linear axis still shows


class LossCurveDisplay:
    """Learning curves: the training loss after each iteration, of one fit or several.

    Every curve is what its estimator recorded of its own objective, the penalty included, so
    a curve below another one is the better fit only where the penalties are the same:

    * that of `FastEMClassifier` begins at iteration 0, the starting point, and each value is
      the loss of the parameters at that moment;
    * those of `FastMLPClassifier` and `FastMLPRegressor` begin at 1, because backpropagation
      looks at its loss in the first epoch for the first time. Under ``solver="sgd"`` and
      ``"adam"`` a value is the mean over the batches of an epoch, while the weights moved.

    An iteration of one method is not an epoch of another: neither costs the same, nor counts
    the same.

    Parameters
    ----------
    iterations : list of arrays (n_points,)
        One per curve; ascending, and not negative. May be seconds.
    losses : list of arrays (n_points,)
        One per curve, mean per row (per unit weight).
    names : list of str, optional
        What the legend calls the curves.
    x_label, y_label : str
        Of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per curve, in the order given.

    See Also
    --------
    LossCurveDisplay.from_estimator : The curves of estimators that are fitted.

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
        y_label: str = "training loss, penalty included",
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
                "iterations and losses must be lists of vectors of the same lengths, one each "
                f"per curve. Got shapes {shapes[0]} and {shapes[1]}."
            )
        for steps in self.iterations:
            if steps.size > 0 and (steps.min() < 0 or (np.diff(steps) <= 0).any()):
                raise ValueError("iterations must not be negative, and must ascend.")
        if isinstance(names, str):
            raise ValueError(f"names must be a list, one name per curve; got {names!r}.")
        if self.names is not None and len(self.names) != len(self.losses):
            raise ValueError(f"Got {len(self.names)} names for {len(self.losses)} curve(s).")

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
        """Draw what fitted estimators recorded in ``loss_curve_``.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimator
            Anything that has ``loss_curve_``, or a pipeline that ends in it.
            The names of a dict are those of the legend.
        x : {"iterations", "seconds"}
            What the curves are drawn against: seconds are those of ``loss_curve_seconds_``.
        name : str, optional
            Name of a single estimator, by default that of its class.
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
            If an estimator records no losses, or not their times, x is unknown, or a name is
            given beside a dict.
        ImportError
            If matplotlib is not installed.
        """
        if x not in _AXES:
            raise ValueError(f"x must be 'iterations' or 'seconds'. Got {x!r}.")
        if isinstance(estimator, Mapping):
            if name is not None:
                raise ValueError("name is for a single estimator; the names of a dict are its keys")
            estimators = dict(estimator)
            if not estimators:
                raise ValueError("There is no estimator to draw: the dict is empty.")
        else:
            estimators = {name or type(final_step(estimator)).__name__: estimator}
        require_matplotlib("LossCurveDisplay.from_estimator")
        curves = [loss_curve(of) for of in estimators.values()]
        finals = [final_step(of) for of in estimators.values()]
        steps = [at for at, _ in curves] if x == "iterations" else [_seconds(of) for of in finals]
        display = cls(
            iterations=steps,
            losses=[losses for _, losses in curves],
            names=list(estimators),
            x_label=_x_label(finals) if x == "iterations" else "wall time (seconds)",
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
        """Draw the curves. The dot at the end of each is where its fit ended.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default a figure of its own.
        x_scale : {"auto", "linear", "log"}
            A logarithmic axis is linear from 0 to 1, so that it has a place for the starting
            point. "auto" takes it where a curve has more than 50 iterations.
        y_scale : {"auto", "linear", "log"}
            "auto" takes "log" where all losses are positive and the largest is more than ten
            times the smallest.
        curve_kwargs : dict, or list of dict, optional
            For matplotlib's ``plot``: of all curves, or one for each.

        Returns
        -------
        self : LossCurveDisplay

        Raises
        ------
        ValueError
            If a scale is unknown, or there are not as many ``curve_kwargs`` as curves.
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
        """Return the keyword arguments of every curve, the caller's over the usual ones."""
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
    """Return what a fitted estimator recorded of its training.

    Parameters
    ----------
    estimator : fitted estimator, or pipeline that ends in one

    Returns
    -------
    iterations : array (n_points,) of int
        From 0, the starting point, for `FastEMClassifier`; from 1 for all others. They count
        what was recorded: after a warm start that is more than the last fit did, and nothing
        where L-BFGS ended at its starting point.
    losses : array (n_points,)
        Mean per unit weight, penalty included; nats under log-loss.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it is of a kind that records no losses.
    """
    final = final_step(estimator)
    check_is_fitted(final)
    if getattr(final, "loss_curve_", None) is None:
        raise ValueError(
            f"{type(final).__name__} has recorded no losses: there is no loss_curve_ to draw"
        )
    losses = np.asarray(final.loss_curve_, dtype=np.float64)
    first = 0 if isinstance(final, FastEMClassifier) else 1
    return first + np.arange(losses.size), losses


def save_loss_curves(estimators: Mapping[str, Any], path: str | os.PathLike, title: str) -> None:
    """Write a figure of learning curves to a file, on a machine with or without a display.

    Parameters
    ----------
    estimators : dict of str to fitted estimator
    path : path
        Its suffix is one of `FIGURE_SUFFIXES`, and says the format.
    title : str
        Taken to the letter: a dollar sign begins no formula.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    figure = figure_of_its_own("save_loss_curves")
    display = LossCurveDisplay.from_estimator(estimators, ax=figure.subplots())
    display.ax_.set_title(title, parse_math=False)
    figure.savefig(path, dpi=150)


def _seconds(estimator: Any) -> Array:
    seconds = getattr(estimator, "loss_curve_seconds_", None)
    if seconds is None or len(seconds) != len(estimator.loss_curve_):
        raise ValueError(
            f"{type(estimator).__name__} has not recorded a time for every loss: there is no "
            "loss_curve_seconds_ to draw. Use x='iterations', or fit anew."
        )
    return np.asarray(seconds, dtype=np.float64)


def _x_label(estimators: Sequence[Any]) -> str:
    kinds = {
        "epoch" if getattr(x, "solver", "") in ("sgd", "adam") else "iteration" for x in estimators
    }
    return kinds.pop() if len(kinds) == 1 else "iteration, or epoch of backpropagation"


def _y_label(estimators: Sequence[Any]) -> str:
    in_nats = all(getattr(x, "loss", "log_loss") == "log_loss" for x in estimators)
    return f"training loss, penalty included ({'nats' if in_nats else 'mean'} per row)"


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
