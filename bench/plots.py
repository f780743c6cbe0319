"""The pictures of the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.peers import PEERS

Record = dict[str, Any]

# Colours that also differ in brightness; ours are dark and thick.
STYLES = {
    "ufm-auto": ("#000000", "o"),
    "ufm-continuum": ("#0072b2", "s"),
    "ufm-factored": ("#d55e00", "^"),
    "ufm-proximal": ("#009e73", "v"),
    "cvxpy-clarabel": ("#cc79a7", "D"),
    "cvxpy-scs": ("#e69f00", "P"),
    "scipy-lbfgs": ("#56b4e9", "X"),
    "numpy-apg": ("#7f7f7f", "<"),
    "torch-lbfgs": ("#b2912f", ">"),
    "torch-adam": ("#a05050", "*"),
}


def _style(name: str) -> dict[str, Any]:
    colour, marker = STYLES[name]
    ours = name.startswith("ufm-")
    return {
        "color": colour,
        "marker": marker,
        "markersize": 4.5,
        "linewidth": 1.8 if ours else 1.0,
        "linestyle": "-" if ours else "--",
        "label": PEERS[name].label,
    }


def _legend(figure: Figure, axes: list[Axes]) -> None:
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = [peer.label for peer in PEERS.values() if peer.label in entries]
    handles = [entries[label] for label in order]
    figure.legend(handles, order, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _log_axes(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)


def time_against_size(records: list[Record], path: Path) -> None:
    """Time to each gap against K, a row a regime."""
    chosen = [r for r in records if r["case"]["kind"] == "distinct" and r["time_to"]]
    factors = sorted({r["case"]["factor"] for r in chosen})
    targets = list(chosen[0]["time_to"])
    figure, grid = plt.subplots(
        len(factors),
        len(targets),
        figsize=(3.4 * len(targets), 2.9 * len(factors) + 0.8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, factor in zip(grid, factors, strict=True):
        for ax, target in zip(row, targets, strict=True):
            _log_axes(ax)
            _time_curves(ax, [r for r in chosen if r["case"]["factor"] == factor], target)
            ax.set_title(rf"gap {target}, $\lambda_Z = {factor:g}\sqrt{{\min n}}/N$", fontsize=9)
        row[0].set_ylabel("seconds")
    for ax in grid[-1]:
        ax.set_xlabel("classes K, all counts different")
    _legend(figure, list(grid.ravel()))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _time_curves(ax: Axes, records: list[Record], target: str) -> None:
    for name in PEERS:
        points = sorted(
            (r["case"]["size"], r["time_to"][target])
            for r in records
            if r["peer"] == name and r["time_to"].get(target) is not None
        )
        if points:
            ax.plot(*zip(*points, strict=True), **_style(name))


def gap_against_time(records: list[Record], path: Path, size: int = 100) -> None:
    """Relative gap against time at one K: trajectories, or one point a tolerance."""
    distinct = [r for r in records if r["case"]["kind"] == "distinct" and r.get("points")]
    sizes = {r["case"]["size"] for r in distinct}
    size = min(sizes, key=lambda K: abs(K - size))
    chosen = [r for r in distinct if r["case"]["size"] == size]
    factors = sorted({r["case"]["factor"] for r in chosen})
    figure, axes = plt.subplots(
        1,
        len(factors),
        figsize=(4.8 * len(factors), 4.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, factor in zip(axes[0], factors, strict=True):
        _log_axes(ax)
        for record in chosen:
            if record["case"]["factor"] == factor:
                _gap_curve(ax, record)
        ax.set_title(rf"K = {size}, $\lambda_Z = {factor:g}\sqrt{{\min n}}/N$", fontsize=9)
        ax.set_xlabel("seconds")
        ax.set_ylim(1e-10, 2.0)
    axes[0][0].set_ylabel("relative duality gap")
    _legend(figure, list(axes[0]))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _gap_curve(ax: Axes, record: Record) -> None:
    style = _style(record["peer"])
    times = [point["seconds"] for point in record["points"]]
    gaps = [max(point["gap"], 1.2e-10) for point in record["points"]]
    if PEERS[record["peer"]].watched:
        style |= {"markersize": 3.0, "markevery": max(1, len(times) // 8)}
    ax.plot(times, gaps, **style)
