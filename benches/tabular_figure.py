"""The figure of docs/tabular.md: ratios of log-losses for every table."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabular_methods import BEST_OF, FASTEM
from tabular_report import complete, present_methods, ratios
from tabular_tables import FOR_CHOICES, FOR_JUDGEMENT

LIMITS = (0.25, 8.0)  # of the axis of ratios
_STYLES = {
    "logistic_tuned": {"marker": "x", "color": "0.35", "s": 22, "linewidths": 1},
    "mlp_tuned": {"marker": "+", "color": "0.35", "s": 32, "linewidths": 1},
    "forest": {"marker": "^", "color": "0.65", "s": 18},
    "boosting": {"marker": "s", "color": "0.65", "s": 14},
    "em": {"marker": "o", "color": "tab:red", "s": 34},
}


def draw(ax: Axes, results: dict) -> None:
    """Draw the ratios of the tables that have all methods, sorted by the ratio of EM."""
    full = complete(results)
    if not full:
        ax.set_axis_off()
        return
    present = [m for m in (*BEST_OF, *reversed(FASTEM)) if m in present_methods(results)]
    order = np.argsort(ratios(full, present[-1]), kind="stable")[::-1]
    height = np.arange(len(full))
    for method in present:
        shown = ratios(full, method)[order]
        inside = (shown >= LIMITS[0]) & (shown <= LIMITS[1])
        style = {"zorder": 3, **_STYLES[method]}
        ax.scatter(shown[inside], height[inside], label=method, **style)
        beyond = np.clip(shown[~inside], *LIMITS)
        ax.scatter(beyond, height[~inside], **{**style, "marker": ">"}, clip_on=False)
    ax.axvline(1.0, color="black", linewidth=0.8)
    ax.set_yticks(height, [list(full)[i] for i in order])
    ax.set_xscale("log")
    ax.set_xlim(*LIMITS)
    ticks = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.grid(axis="y", color="0.92")
    ax.set_xlabel("log-loss / log-loss of the best peer\n(triangles at the edge: beyond it)")


def save_figure(results: dict, path: str | Path) -> None:
    """Write the figure: the tables for judgement on the left, those for choices on the right."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    titles = ("tables for judgement", "tables for choices")
    axes = figure.subplots(1, 2)
    for ax, title, names in zip(axes, titles, (FOR_JUDGEMENT, FOR_CHOICES), strict=True):
        draw(ax, {name: results[name] for name in names if name in results})
        ax.set_title(title)
    handles = max((ax.get_legend_handles_labels() for ax in axes), key=lambda found: len(found[0]))
    figure.legend(*handles, loc="outside lower center", ncols=6, frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
