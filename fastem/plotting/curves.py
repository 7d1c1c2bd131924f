"""Learning curves against iterations or wall time."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastem.parameters import Array
from fastem.plotting._matplotlib import (
    final_step,
    new_figure,
    require_matplotlib,
    save_figure,
)
from fastem.plotting.records import label_losses, label_of_iterations, loss_curve, loss_seconds

_AXES = ("iterations", "seconds")
_CURVES = ("data", "objective")
_SCALES = ("auto", "linear", "log")
_LONG = 50  # with more iterations, "auto" selects a logarithmic axis
_STEEP = 10.0  # with a larger ratio of losses, "auto" selects a logarithmic axis


class LossCurveDisplay:
    """Learning curves: the loss after each iteration, for one fit or several.

    By default, the curves are losses per row without penalty. They can be compared between
    estimators that have the same kind of loss. Solid lines belong to the training rows. Dashed
    lines belong to held-out rows, if the estimator recorded them.

    * The curves of `FastEMClassifier` and `FastEMRegressor` start at iteration 0, the starting
      values. Every value is the loss of the parameters at that iteration.
    * The curves of `FastMLPClassifier` and `FastMLPRegressor` start at 1, the first epoch.
      With ``solver="sgd"`` and ``"adam"`` a training loss is the mean over the batches of an
      epoch, during which the weights change.
    * scikit-learn's networks record training losses with penalty only. If their penalty is not
      zero, their names in the legend end in "with penalty".

    An iteration of EM and an epoch of backpropagation differ in cost.

    Parameters
    ----------
    iterations : list of arrays (n_points,)
        One array per curve, ascending and not negative. Seconds are allowed.
    losses : list of arrays (n_points,)
        One array per curve: mean training loss per row (per unit weight).
    validation_losses : list of arrays (n_points,) or None, optional
        One array per curve: mean loss of held-out rows at the same iterations, NaN where it is
        not known. None for a curve without held-out rows.
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
    validation_lines_ : list of matplotlib Line2D or None
        One per curve; None for a curve without held-out rows.

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

    lines_: list[Any]
    validation_lines_: list[Any]

    def __init__(
        self,
        *,
        iterations: Sequence[Any],
        losses: Sequence[Any],
        validation_losses: Sequence[Any] | None = None,
        names: Sequence[str] | None = None,
        x_label: str = "iteration",
        y_label: str = "loss without penalty",
    ) -> None:
        self.iterations = [np.asarray(steps) for steps in iterations]
        self.losses: list[Array] = [np.asarray(values, dtype=np.float64) for values in losses]
        n_curves = len(self.losses)
        given = [None] * n_curves if validation_losses is None else validation_losses
        self.validation_losses = [
            None if values is None else np.asarray(values, dtype=np.float64) for values in given
        ]
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
        held_out = [None if x is None else x.shape for x in self.validation_losses]
        if len(held_out) != n_curves or any(
            shape not in (None, own) for shape, own in zip(held_out, shapes[1], strict=True)
        ):
            raise ValueError(
                f"validation_losses must have {n_curves} entries, one per curve: None, or a vector "
                f"as long as the losses. Got shapes {held_out} for losses of shapes {shapes[1]}."
            )
        for steps in self.iterations:
            if steps.size > 0 and (steps.min() < 0 or (np.diff(steps) <= 0).any()):
                raise ValueError(
                    "iterations must not be negative and must ascend; sort the points by iteration."
                )
        if isinstance(names, str):
            raise ValueError(f"names must be a list, one name per curve; got {names!r}.")
        if self.names is not None and len(self.names) != n_curves:
            raise ValueError(
                f"names must have one entry per curve ({n_curves}), got {len(self.names)}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        x: str = "iterations",
        curve: str = "data",
        name: str | None = None,
        ax: Any = None,
        x_scale: str = "auto",
        y_scale: str = "auto",
        curve_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Self:
        """Plot the losses that fitted estimators recorded.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimator
            Any estimator with ``loss_curve_``, or a pipeline that ends with one.
            The keys of a dict appear in the legend.
        x : {"iterations", "seconds"}
            Horizontal axis; seconds are taken from ``loss_curve_seconds_``.
        curve : {"data", "objective"}
            "data" plots ``data_loss_curve_`` and ``validation_loss_curve_``, the losses of
            training rows and held-out rows without penalty. "objective" plots ``loss_curve_``,
            the training loss with penalty.
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
            If an estimator records no losses or no times, x or curve is unknown, or a name is
            given together with a dict.
        ImportError
            If matplotlib is not installed.

        Warns
        -----
        UserWarning
            If the held-out losses of an estimator are left out, because some of its fits had
            held-out rows and others had none.

        Notes
        -----
        If the estimators have different kinds of loss, their names in the legend contain the
        kinds. The heights of such curves cannot be compared.
        """
        for option, value, choices in (("x", x, _AXES), ("curve", curve, _CURVES)):
            if value not in choices:
                raise ValueError(
                    f"{option} must be {choices[0]!r} or {choices[1]!r}. Got {value!r}."
                )
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
            positions = [record.iterations for record in curves]
            x_label = label_of_iterations(finals)
        else:
            positions, x_label = [loss_seconds(final) for final in finals], "wall time (seconds)"
        penalised = [curve == "objective" or record.data is None for record in curves]
        names, y_label = label_losses(list(estimators), finals, penalised)
        display = cls(
            iterations=positions,
            losses=[
                record.objective if with_penalty else record.data
                for record, with_penalty in zip(curves, penalised, strict=True)
            ],
            validation_losses=[record.validation if curve == "data" else None for record in curves],
            names=names,
            x_label=x_label,
            y_label=y_label,
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

        Curves of held-out rows have the colour of their training curve and are dashed.

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
            Arguments of matplotlib's ``plot`` for all curves, or for each curve. The line style
            does not apply to held-out rows.

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
        self.lines_, self.validation_lines_ = [], []
        for i, style in enumerate(styles):
            self._plot_curve(i, style)
        counted = all((steps == np.round(steps)).all() for steps in self.iterations)
        _set_scales(ax, x_log=x_log, y_log=y_log, counted=counted)
        ax.set(xlabel=self.x_label, ylabel=self.y_label)
        if not ax.get_title():
            ax.set_title("Learning curves" if len(self.lines_) > 1 else "Learning curve")
        ax.grid(True, alpha=0.3)
        with_held_out = any(line is not None for line in self.validation_lines_)
        if with_held_out or any("label" in style for style in styles):
            ax.legend()
        return self

    def _plot_curve(self, i: int, style: dict[str, Any]) -> None:
        """Plot the training losses of a curve, and its held-out losses if there are any."""
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        (line,) = self.ax_.plot(self.iterations[i], self.losses[i], **style)
        dashed, held_out = None, self.validation_losses[i]
        if held_out is not None:
            label = style.get("label")
            line.set_label(_of_rows(label, "training rows"))
            own = {
                "color": line.get_color(),
                "linestyle": "--",
                "label": _of_rows(label, "held-out rows"),
            }
            style = normalize_kwargs(style, Line2D) | own
            (dashed,) = self.ax_.plot(self.iterations[i], held_out, **style)
        self.lines_.append(line)
        self.validation_lines_.append(dashed)

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
        held_out = [values for values in self.validation_losses if values is not None]
        values = np.concatenate(self.losses + held_out)
        values = values[np.isfinite(values)]
        return values.size > 0 and 0.0 < _STEEP * values.min() < values.max()


def save_loss_curves(
    estimators: Mapping[str, Any], path: str | os.PathLike[str], title: str
) -> None:
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
    save_figure(figure, path)


def _of_rows(label: str | None, rows: str) -> str:
    return rows if label is None else f"{label}, {rows}"


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
