"""Plot of the choice of the penalty: scores and effective parameters against it."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.parameters import Array
from fastem.plotting._matplotlib import final_step, require_matplotlib

_SCORES = {  # columns of alpha_path_: label, style
    "leave_one_out": ("approximate leave-one-out", {"color": "C0", "marker": "o"}),
    "cross_validation": ("cross-validation", {"color": "C1", "marker": "s"}),
    "training": ("training rows", {"color": "C2", "marker": "^", "linestyle": ":"}),
}
_COUNT = "effective_parameters"


class PenaltyDisplay:
    """Scores of all penalties that `fit` compared, and the penalty that it chose.

    The scores are mean log-likelihoods per row (per unit weight) without penalty, in nats. Higher
    is better. The training score rises as the penalty falls. The scores of rows that were not in
    the fit, by approximate leave-one-out or by cross-validation, are highest where the model
    neither underfits nor overfits. The effective number of parameters has its own axis at the
    right.

    Parameters
    ----------
    alpha : array (n_penalties,)
        Penalties, positive; in any order.
    leave_one_out, cross_validation, training : array (n_penalties,), optional
        Scores in nats. NaN and infinite values are left out of the plot.
    effective_parameters : array (n_penalties,), optional
        Effective number of parameters; NaN is left out.
    chosen : float, optional
        The penalty in use, marked by a vertical line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the scores.
    parameters_ax_ : matplotlib Axes or None
        Axes of the effective parameters; None without them.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        The plotted curves by the names of the arguments, and the mark as "chosen".

    See Also
    --------
    PenaltyDisplay.from_estimator : Plots the path of a fitted estimator.

    Examples
    --------
    >>> from fastem import PenaltyDisplay
    >>> display = PenaltyDisplay(
    ...     alpha=[5.0, 0.5, 0.05], leave_one_out=[-0.6, -0.4, -0.5], chosen=0.5
    ... )
    >>> display.alpha
    array([0.05, 0.5 , 5.  ])
    """

    def __init__(
        self,
        *,
        alpha: Any,
        leave_one_out: Any = None,
        cross_validation: Any = None,
        training: Any = None,
        effective_parameters: Any = None,
        chosen: float | None = None,
    ) -> None:
        penalties = np.asarray(alpha, dtype=np.float64)
        if penalties.ndim != 1 or penalties.size == 0:
            raise ValueError(
                f"alpha must be a vector of at least one penalty. Got shape {penalties.shape}."
            )
        _check_positive("alpha", penalties)
        if chosen is not None:
            _check_positive("chosen", np.asarray(chosen, dtype=np.float64))
        given = {
            "leave_one_out": leave_one_out,
            "cross_validation": cross_validation,
            "training": training,
            _COUNT: effective_parameters,
        }
        order = np.argsort(penalties, kind="stable")
        columns: dict[str, Array | None] = {}
        for name, values in given.items():
            column = None if values is None else np.asarray(values, dtype=np.float64)
            if column is not None and column.shape != penalties.shape:
                raise ValueError(
                    f"{name} must have one value for each of the {penalties.size} penalties. "
                    f"Got shape {column.shape}."
                )
            columns[name] = None if column is None else column[order]
        if not any(x is not None and np.isfinite(x).any() for x in columns.values()):
            raise ValueError("There is nothing to plot: no score has a finite value.")
        self.alpha: Array = penalties[order]
        self.leave_one_out = columns["leave_one_out"]
        self.cross_validation = columns["cross_validation"]
        self.training = columns["training"]
        self.effective_parameters = columns[_COUNT]
        self.chosen = None if chosen is None else float(chosen)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the attribute ``alpha_path_`` of an estimator that chose its penalty.

        Parameters
        ----------
        estimator : fitted FastEMClassifier or FastEMRegressor, or a pipeline that ends with one
            With ``alpha="auto"``.
        ax : matplotlib Axes, optional
            See `plot`.

        Returns
        -------
        display : PenaltyDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no ``alpha_path_``, because its penalty was not chosen in `fit`.
        ImportError
            If matplotlib is not installed.
        """
        final = final_step(estimator)
        check_is_fitted(final)
        path = getattr(final, "alpha_path_", None)
        if path is None:
            alpha = getattr(final, "alpha", None)
            given = "" if alpha is None or isinstance(alpha, str) else f" Its alpha is {alpha:g}."
            raise ValueError(
                f"{type(final).__name__} has no alpha_path_ to plot.{given} Use FastEMClassifier "
                "or FastEMRegressor with alpha='auto', and fit again."
            )
        require_matplotlib("PenaltyDisplay.from_estimator")
        columns = {name: path.get(name) for name in (*_SCORES, _COUNT)}
        display = cls(alpha=path["alpha"], **columns, chosen=getattr(final, "alpha_", None))
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the scores on a logarithmic axis of penalties.

        Scores far below the others, as overfitted models have, are cut off. All training scores
        and the best of the other scores are visible.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to plot on; by default those of a new figure. The effective parameters have a
            second axis at its right side.

        Returns
        -------
        self : PenaltyDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("PenaltyDisplay.plot")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_, self.parameters_ax_ = ax, ax.figure, None
        self.lines_: dict[str, Any] = {}
        ax.set_xscale("log")
        for name, (label, style) in _SCORES.items():
            self._plot_column(ax, name, label, style)
        self._limit_scores(ax)
        if self.effective_parameters is not None and np.isfinite(self.effective_parameters).any():
            right = self.parameters_ax_ = ax.twinx()
            style = {"color": "0.5", "linestyle": "--", "linewidth": 1.2}
            self._plot_column(right, _COUNT, "effective parameters (right)", style)
            right.set_ylabel("effective parameters", color="0.4")
            right.tick_params(axis="y", colors="0.4")
            right.set_ylim(bottom=0.0)
        if self.chosen is not None:
            label = f"chosen: {self.chosen:.3g}"
            self.lines_["chosen"] = ax.axvline(
                self.chosen, color="black", linewidth=1.0, label=label
            )
        ax.set(xlabel="penalty alpha", ylabel="mean log-likelihood (nats per row)")
        if not ax.get_title():
            ax.set_title("Choice of the penalty")
        ax.grid(True, alpha=0.3)
        handles = list(self.lines_.values())
        ax.legend(handles, [line.get_label() for line in handles], fontsize="small")
        return self

    def _plot_column(self, ax: Any, name: str, label: str, style: Mapping[str, Any]) -> None:
        values = getattr(self, name)
        if values is None:
            return
        known = np.isfinite(values)
        if known.any():
            (line,) = ax.plot(self.alpha[known], values[known], label=label, **style)
            self.lines_[name] = line

    def _limit_scores(self, ax: Any) -> None:
        """Cut off scores that are so low that the others could not be distinguished."""
        scores = {name: line.get_ydata() for name, line in self.lines_.items()}
        if not scores:
            return
        # every training score, and the best of the others, must be visible
        lowest = min(x.min() if name == "training" else x.max() for name, x in scores.items())
        values = np.concatenate(list(scores.values()))
        highest = values.max()
        end, margin = 2.0 * lowest - highest, 0.1 * (highest - lowest)
        if lowest < highest and values.min() < end:
            ax.set_ylim(end - margin, highest + margin)


def _check_positive(name: str, values: Array) -> None:
    if not (np.isfinite(values).all() and (values > 0.0).all()):
        raise ValueError(
            f"{name} must be positive and finite, because the axis is logarithmic. "
            f"Got {values.tolist()}."
        )
