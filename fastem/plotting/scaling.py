"""Plots of a profile; matplotlib is imported only when something is drawn."""

import os
from collections.abc import Iterable, Sequence
from itertools import combinations, groupby
from typing import Any, Self

import numpy as np

from fastem.engines import ENGINES
from fastem.plotting._matplotlib import new_figure, require_matplotlib, save_figure
from fastem.profiling import ScalingProfile, ScalingRow, crossings

_ABOVE = 3.0  # distance of the reference line above the slowest curve, as a factor


class ScalingDisplay:
    """Time of E-steps against hidden units, one curve per engine and number of rows.

    A dotted line is the dgemm limit: the time of the ``6 n 2**m`` flops of enumeration at the
    rate of a matrix product. A dashed grey line doubles with every unit. Crosses mark sizes at
    which two exact engines take the same time.

    Parameters
    ----------
    rows : list of ScalingRow
        The attribute ``rows`` of the result of `profile_scaling`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        The measured curves.
    limits_ : list of matplotlib Line2D
        The dgemm limits, one per number of rows, classes and threads.
    guide_ : matplotlib Line2D
        The line that doubles with every unit.
    crossings_ : list of Crossing
        The marked crossings.

    See Also
    --------
    ScalingDisplay.from_results : Plots the result of `profile_scaling`.

    Examples
    --------
    >>> from fastem import ScalingDisplay, profile_scaling
    >>> profile = profile_scaling([2, 3], [50], engines="enumeration", n_jobs=1)
    >>> display = ScalingDisplay(profile.rows)  # call display.plot() to see it
    >>> len(display.rows)
    2
    """

    lines_: list[Any]
    limits_: list[Any]
    crossings_: list[Any]
    guide_: Any

    def __init__(self, rows: Iterable[ScalingRow]) -> None:
        self.rows = list(rows)
        if not self.rows:
            raise ValueError("There is nothing to plot: no size was measured.")
        if not all(isinstance(row, ScalingRow) for row in self.rows):
            raise ValueError("rows must be the rows of a ScalingProfile.")

    @classmethod
    def from_results(
        cls, results: ScalingProfile | Sequence[ScalingProfile], *, ax: Any = None
    ) -> Self:
        """Plot one profile, or several in one figure.

        Parameters
        ----------
        results : ScalingProfile, or list of ScalingProfile
        ax : matplotlib Axes, optional
            See `plot`.

        Returns
        -------
        display : ScalingDisplay

        Raises
        ------
        ValueError
            If nothing was measured.
        ImportError
            If matplotlib is not installed.
        """
        profiles = [results] if isinstance(results, ScalingProfile) else list(results)
        if not all(isinstance(profile, ScalingProfile) for profile in profiles):
            raise ValueError("results must be a ScalingProfile, or a list of them.")
        display = cls(row for profile in profiles for row in profile.rows)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to plot on; by default those of a new figure.

        Returns
        -------
        self : ScalingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        require_matplotlib("ScalingDisplay.plot")
        from matplotlib.ticker import MaxNLocator

        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_, self.limits_, self.crossings_ = [], [], []
        ax.set_yscale("log")
        for problem, rows in _grouped(self.rows, lambda row: (*row[1:2], *row[4:6])):
            self._draw_problem(self._description(problem), rows)
        self._draw_guide()
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="number of hidden units", ylabel="time per E-step (seconds)")
        if not ax.get_title():
            ax.set_title("E-step with gradients")
        ax.grid(True, alpha=0.3)
        ax.legend()
        return self

    def _draw_problem(self, description: str, rows: list[ScalingRow]) -> None:
        """Plot the curves of all engines for problems that differ only in hidden units."""
        ax, curves = self.ax_, {}
        for engine, own in _grouped(rows, lambda row: row.engine):
            times: dict[int, float] = {}
            for row in own:  # if a problem was measured twice: the minimum time
                times[row.n_hidden] = min(row.seconds, times.get(row.n_hidden, np.inf))
            curves[engine] = times = dict(sorted(times.items()))
            marker = "o" if len(times) < 40 else None
            label = f"{engine}, {description}"
            self.lines_ += ax.plot(*_unzip(times), marker=marker, markersize=4, label=label)
        # points of the limit above ``top`` would compress the curves
        top = _ABOVE * max(row.seconds for row in self.rows)
        limits = {row.n_hidden: _at_dgemm_rate(row) for row in rows}
        limit = {m: seconds for m, seconds in limits.items() if seconds <= top} or limits
        style = {"linestyle": ":", "color": self.lines_[-len(curves)].get_color()}
        label = f"dgemm limit, {description}"
        self.limits_ += ax.plot(*_unzip(dict(sorted(limit.items()))), label=label, **style)
        exact = [name for name in curves if name not in ENGINES or ENGINES[name]().is_exact]
        for a, b in combinations(exact, 2):
            for crossing in crossings(curves[a], curves[b]):
                self.crossings_.append(crossing)
                ax.plot(*crossing, marker="X", markersize=9, color="black", zorder=3)
                text = f"equal time\nat {crossing.size:.1f} units"
                # below and to the right of a crossing there is no curve
                place = {"xytext": (6, -6), "textcoords": "offset points", "va": "top"}
                ax.annotate(text, crossing, fontsize="small", **place)

    def _draw_guide(self) -> None:
        """Plot a line that doubles with every unit, above the curves that also double."""
        m = np.array([row.n_hidden for row in self.rows])
        doubling = [row for row in self.rows if row.share_of_dgemm is not None] or self.rows
        anchor = max(doubling, key=lambda row: row.seconds)
        floor = min(line.get_ydata().min() for line in (*self.lines_, *self.limits_))
        top = _ABOVE * max(row.seconds for row in self.rows)
        log2_there = np.log2(_ABOVE * anchor.seconds)
        ends = np.array([m.min(), m.max()], dtype=np.float64)
        # within the range of the curves, otherwise constant curves would be compressed
        ends[0] = max(ends[0], anchor.n_hidden + np.log2(floor) - log2_there)
        ends[1] = min(ends[1], anchor.n_hidden + np.log2(top) - log2_there)
        times = np.exp2(log2_there + ends - anchor.n_hidden)
        style = {"linestyle": "--", "color": "grey", "linewidth": 1.0}
        (self.guide_,) = self.ax_.plot(ends, times, label="doubles with every unit", **style)

    def _description(self, problem: tuple[int, int, int]) -> str:
        """Return rows as text, and classes and threads if the curves differ in them."""
        n_samples, n_classes, n_threads = problem
        parts = [f"{n_samples} rows"]
        if len({row.n_classes for row in self.rows}) > 1:
            parts.append(f"{n_classes} classes")
        if len({row.n_threads for row in self.rows}) > 1:
            parts.append(f"{n_threads} thread(s)")
        return ", ".join(parts)


def save_scaling(profile: ScalingProfile, path: str | os.PathLike[str]) -> None:
    """Write a figure of a profile to a file; this needs no screen.

    Parameters
    ----------
    profile : ScalingProfile
    path : path
        Its suffix is one of ``plotting.FIGURE_SUFFIXES`` and selects the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    figure = new_figure("save_scaling")
    display = ScalingDisplay.from_results(profile, ax=figure.subplots())
    row = profile.rows[0]
    sizes = f"{row.n_classes} classes, {row.n_threads} thread(s)"
    display.ax_.set_title(f"E-step with gradients: {sizes}")
    save_figure(figure, path)


def _grouped(rows: list[ScalingRow], key: Any) -> list[tuple[Any, list[ScalingRow]]]:
    return [(value, list(group)) for value, group in groupby(sorted(rows, key=key), key)]


def _at_dgemm_rate(row: ScalingRow) -> float:
    return 6 * row.n_samples * row.n_configs / row.dgemm_rate


def _unzip(curve: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(curve), list(curve.values())
