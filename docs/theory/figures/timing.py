"""Time of an exact E-step against the number of hidden units, from the stored benchmarks."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import rules
from rules import BLUE, GREEN, ORANGE, use_style

ROWS = {"two classes": 10_000, "three classes": 1000, "one Gaussian number": 10_000}


def measured():
    """Return (m, microseconds per row by quadrature, by enumeration or NaN) of every problem."""
    stored = Path(rules.__file__).resolve().parents[2] / "benchmarks.json"
    found = {name: [] for name in ROWS}
    for entry in json.loads(stored.read_text())["benchmarks"]:
        info = entry["extra_info"]
        if entry["group"] == "e_step: engines":
            name = {2: "two classes", 3: "three classes"}[info["g"]]
        elif entry["group"] == "e_step: engines for one number":
            name = "one Gaussian number"
        else:
            continue
        seconds = entry["stats"]["min"]
        ratio = info.get("enumeration_over_quadrature", np.nan)
        found[name].append(1e6 / ROWS[name] * np.array([info["m"] * ROWS[name] / 1e6, seconds,
                                                        seconds * ratio]))  # fmt: skip
    return {name: np.array(sorted(rows, key=lambda row: row[0])).T for name, rows in found.items()}


times = measured()
use_style()
figure, ax = plt.subplots(figsize=(6.2, 4.4), layout="constrained")
for (name, (m, quadrature, enumeration)), colour in zip(
    times.items(), (BLUE, GREEN, ORANGE), strict=True
):
    ax.loglog(m, quadrature, "o-", color=colour, ms=4, label=f"quadrature, {name}")
    ax.loglog(m, enumeration, "s--", color=colour, mfc="none", ms=4,
              label=f"enumeration, {name}")  # fmt: skip
ticks = [6, 8, 12, 16, 23, 50, 100, 200, 1000]
ax.set_xticks(ticks, [str(m) for m in ticks])
ax.minorticks_off()
ax.set(xlabel="hidden units m", ylabel="time per row (\u00b5s)")
ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.42, 0.42))
