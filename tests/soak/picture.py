"""The picture of a soak: what was checked, how it ended, and memory over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_COLOURS = {
    "CONVERGED": "#2f6db3",
    "TIME_LIMIT": "#d9902f",
    "MAX_ITERATIONS": "#7fb3a0",
    "INTERRUPTED": "#9a9a9a",
    "NUMERICAL_ERROR": "#8a5fa8",
    "EXCEPTION": "#b3372f",
}


def draw(summary: dict[str, Any], path: Path) -> None:
    """Write the picture; the suffix of `path` chooses the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.4), dpi=140, layout="constrained", facecolor="white")
    status, memory = figure.subplots(2, 1, height_ratios=[3, 2])
    names = list(summary["kinds"])
    places, left = np.arange(len(names)), np.zeros(len(names))
    totals = np.array([summary["kinds"][name]["checked"] for name in names], dtype=float)
    for name, colour in _COLOURS.items():
        parts = np.array([summary["kinds"][kind]["status"].get(name, 0) for kind in names])
        if parts.any():
            share = 100 * parts / totals
            status.barh(places, share, left=left, color=colour, label=name, height=0.7)
            left += share
    told = [f"{name} ({summary['kinds'][name]['checked']:,})" for name in names]
    status.set_yticks(places, told)
    status.invert_yaxis()
    status.set(xlim=(0, 100), xlabel="per cent of the solves checked")
    status.legend(ncols=5, fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    samples = np.array(summary["memory"]["samples"])
    memory.plot(samples[:, 0] / 60, samples[:, 1], color="#2b2b2b", linewidth=0.8)
    memory.set(xlabel="minutes", ylabel="resident memory (MiB)", ylim=(0, None))
    memory.set_xlim(0, summary["seconds"] / 60)
    for axes in (status, memory):
        axes.spines[["top", "right"]].set_visible(False)
    temporary = path.with_name(f".writing-{path.name}")
    figure.savefig(temporary)
    temporary.replace(path)
