"""Drawing of solved paper figures: rows of heat maps, and cosines against the count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure, short
from ufm.figures._heatmap import _colour_bar, _draw, _entries
from ufm.figures._paper import verdict
from ufm.figures._path import _finish
from ufm.figures._selection import select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    from ufm.figures._panels import Panel
    from ufm.figures._paper import PaperFigure
    from ufm.solution import Solution

_PER_ROW = 5
_LINEAR_BELOW = 0.03  # the paper's scale is linear up to here, logarithmic beyond
_GREYS = "gray"
_BORDER = "#d9480f"
_LINES = ("#1b4f8a", "#c2571a", "#5b8c3a")
_FEATURE_NAMES = {"free": "free features", "nonnegative": "nonnegative features"}


def panel_figure(solved: PaperFigure) -> Figure:
    """Figures 5 to 8: Z of each panel in grey, five panels a row, one scale a row."""
    rows = -(-len(solved.panels) // _PER_ROW)
    figure = new_figure(1.86 * _PER_ROW + 0.9, 2.4 * rows + 0.5)
    axes = figure.subplots(rows, _PER_ROW, squeeze=False)
    for row in range(rows):
        part = slice(row * _PER_ROW, (row + 1) * _PER_ROW)
        _draw_row(figure, list(axes[row]), solved, part)
    figure.supxlabel("prediction of the class with count", fontsize=SMALL, color=INK)
    figure.supylabel("logit of the class with count", fontsize=SMALL, color=INK)
    figure.suptitle(_headline(solved), fontsize=NORMAL, color=INK, x=0.01, ha="left")
    return figure


def _draw_row(figure: Figure, axes: list[Axes], solved: PaperFigure, part: slice) -> None:
    solutions, panels = solved.solutions[part], solved.panels[part]
    selections = [select(solution, solution.num_classes) for solution in solutions]
    entries = [_entries(*pair) for pair in zip(solutions, selections, strict=True)]
    norm = _grey_norm(entries)
    for position, ax in enumerate(axes):
        image = _draw(
            ax,
            entries[position],
            selections[position],
            norm,
            colours=_GREYS,
            border=_BORDER,
        )
        ax.set(xlabel="", ylabel="")
        title = _panel_title(solved.number, panels[position], solutions[position])
        ax.set_title(title, fontsize=SMALL, color=INK, loc="left")
    _colour_bar(figure, image, axes, entries)


def _grey_norm(values: Sequence[NDArray[np.float64]]) -> SymLogNorm:
    """Symmetric, so that zero has the same grey in every row and figure."""
    from matplotlib.colors import SymLogNorm

    top = max(float(np.abs(panel).max()) for panel in values)
    top = max(top, 2 * _LINEAR_BELOW)  # a row of zeros needs a scale too
    return SymLogNorm(linthresh=_LINEAR_BELOW, linscale=0.4, vmin=-top, vmax=top)


def _panel_title(number: int, panel: Panel, solution: Solution) -> str:
    multiple = f"{panel.lambda_z / panel.threshold:.3g} $\\lambda^*$"
    if number in (5, 6):
        value = f"$\\lambda_Z$ = {panel.lambda_z:.4f} = {multiple}"
    else:
        value = f"$n_A$ = {short(panel.count_a)}, $\\lambda_Z$ = {multiple}"
    return f"{value}\n{verdict(solution)}"


def _headline(solved: PaperFigure) -> str:
    panel = solved.panels[0]
    features = _FEATURE_NAMES[solved.features]
    classes = f"{panel.classes_b} of {short(panel.count_b)}"
    threshold = "$\\lambda^* = \\sqrt{n_B}/N$"
    if solved.features != "free":
        threshold += " (free features)"  # a reference only: theirs is slightly lower
    if solved.number in (5, 6):
        classes = f"{panel.classes_a} classes of {short(panel.count_a)}, {classes}"
        facts = f"{classes}; {threshold} = {panel.threshold:.6f}"
    else:
        at = f"{panel.critical_count_a:.1f}"
        facts = (
            f"{panel.classes_a} classes of $n_A$, {classes}; $\\lambda_Z$ = {panel.lambda_z:g}, "
            f"which {threshold} falls to at $n_A$ = {at}"
        )
    return f"Figure {solved.number}, {features}: Z for {facts}"


def limit_figure(solved: PaperFigure) -> Figure:
    """Figure 9: mean cosines against n_A, with the limit -1/(K-1)."""
    figure = new_figure(6.4, 3.8)
    ax = figure.add_subplot()
    records = solved.records()
    counts = np.array([row["n_a"] for row in records])
    limit = -1 / (len(solved.solutions[0].counts) - 1)
    ax.axhline(limit, color=FAINT, linewidth=1.0, linestyle=(0, (4, 2)))
    for (key, label), colour in zip(_curves(), _LINES, strict=True):
        values = np.array([row[key] for row in records])
        ax.plot(counts, values, color=colour, marker="o", markersize=3.5, label=label)
    _finish(ax, f"mean cosine of {solved.vectors} of Z")
    ax.set_xscale("linear")
    _frame_cosines(ax, records, limit)
    ax.set_xlabel("$n_A$  ($n_B = n_A/2$, five classes each)", fontsize=SMALL, color=INK)
    ax.annotate(
        f"$-1/9$ = {limit:.4f}".replace("= -", "= \N{MINUS SIGN}"),
        (1.0, limit),
        xycoords=ax.get_yaxis_transform(),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=FAINT,
    )
    ax.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper right", ncols=3)
    ax.set_title(_limit_title(solved), fontsize=NORMAL, color=INK, loc="left")
    return figure


def _curves() -> tuple[tuple[str, str], ...]:
    return (
        ("cosine_inside_a", "inside A"),
        ("cosine_inside_b", "inside B"),
        ("cosine_between", "between A and B"),
    )


def _frame_cosines(ax: Axes, records: list[dict[str, Any]], limit: float) -> None:
    """The limit in the middle, room for the legend above, never a hair's breadth of range."""
    values = np.array([row[key] for row in records for key, _ in _curves()])
    spread = max(float(np.nanmax(np.abs(values - limit), initial=0.0)), 0.01)
    ax.set_ylim(limit - 1.25 * spread, limit + 1.6 * spread)


def _limit_title(solved: PaperFigure) -> str:
    if solved.mode == "corrected":
        regularised = "$\\lambda_Z = 0.1/N$"
    else:
        first, last = solved.panels[0], solved.panels[-1]
        low, high = (panel.lambda_z * panel.num_samples for panel in (first, last))
        regularised = f"with weight decay, $N\\lambda_Z$ = {low:.2f} to {high:.2f}"
    return f"Figure {solved.number}, {_FEATURE_NAMES[solved.features]}, {regularised}"
