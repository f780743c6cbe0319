"""The pictures of the report, as SVG (needs matplotlib)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ufm.planning._wording import brief

if TYPE_CHECKING:
    from ufm.planning.advice import Advice
    from ufm.problem import FloatArray

_INK, _FAINT = "#2b2b2b", "#8a8a8a"
_MERGED, _NARROW, _APART, _SINGLE = "#b3372f", "#d9902f", "#2f6db3", "#9a9a9a"
_SIZE = (8.0, 3.4)
# Identifiers inside the file from a fixed seed: the same advice gives the same bytes.
_STYLE: Any = {"svg.hashsalt": "ufm", "font.size": 9.5, "axes.edgecolor": _FAINT}


def draw(advice: Advice) -> dict[str, bytes]:
    """SVG files by name: "counts", "index", and "plan" where there is one."""
    with matplotlib.rc_context(_STYLE):
        pictures = {"counts": _svg(_counts(advice))}
        if advice.counts.size > 1:
            pictures["index"] = _svg(_index(advice))
        plan = _plan(advice)
        if plan is not None:
            pictures["plan"] = _svg(plan)
    return pictures


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _new() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, facecolor="white")
    figure.subplots_adjust(left=0.085, right=0.985, bottom=0.15, top=0.965)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _groups(advice: Advice) -> list[tuple[str, str, list[int]]]:
    """Label, colour and clusters of each kind that occurs."""
    kinds: dict[tuple[str, str], list[int]] = {
        ("merged", _MERGED): [],
        ("within the margin", _NARROW): [],
        ("separate", _APART): [],
        ("alone in their size", _SINGLE): [],
    }
    merged, narrow, apart, single = kinds.values()
    for position, cluster in enumerate(advice.clusters):
        if cluster.multiplicity == 1:
            single.append(position)
        elif cluster.merged:
            merged.append(position)
        else:
            (narrow if cluster.ratio * (1 + advice.margin) > 1 else apart).append(position)
    return [(label, colour, which) for (label, colour), which in kinds.items() if which]


def _counts(advice: Advice) -> Figure:
    figure, axes = _new()
    ends = np.cumsum([cluster.multiplicity for cluster in advice.clusters])
    for label, colour, which in _groups(advice):
        x, y = _segments(advice, ends, which)
        axes.plot(x, y, color=colour, linewidth=4, solid_capstyle="butt", label=label)
    _line(axes, advice.merging_count, "-", "merge")
    _line(axes, advice.merging_count * (1 + advice.margin) ** 2, "--", "")
    _finish(axes, advice.counts, advice.merging_count, float(ends[-1]))
    return figure


def _segments(advice: Advice, ends: FloatArray, which: list[int]) -> tuple[FloatArray, FloatArray]:
    """A level piece for each cluster, at least one class wide, with gaps between."""
    clusters = [advice.clusters[position] for position in which]
    right = np.array([float(ends[position]) for position in which])
    left = right - [cluster.multiplicity for cluster in clusters]
    # Thin pieces vanish in print: none is less than a three-hundredth of the picture wide.
    right = np.maximum(right, left + float(ends[-1]) / 300)
    count = np.array([cluster.count for cluster in clusters])
    gap = np.full(count.size, np.nan)
    return np.stack([left, right, gap], 1).ravel(), np.stack([count, count, gap], 1).ravel()


def _line(axes: Axes, level: float, style: str, label: str) -> None:
    axes.axhline(level, color=_INK, linewidth=1.0, linestyle=style)
    if label:
        axes.annotate(
            f"{label} on or below {level:.4g}",
            (0, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, -4),
            textcoords="offset points",
            ha="left",
            va="top",
            color=_INK,
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )


def _finish(axes: Axes, counts: FloatArray, level: float, classes: float) -> None:
    axes.set_yscale("log")
    low, high = min(float(counts.min()), level), max(float(counts.max()), level)
    room = max((high / low) ** 0.1, 1.15)
    axes.set_ylim(low / room**1.5, high * room)
    axes.set_xlim(0, classes)
    axes.set_xlabel("classes, from the largest to the smallest")
    axes.set_ylabel("samples")
    _label(axes.yaxis, high / low)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def _index(advice: Advice) -> Figure:
    figure, axes = _new()
    count = np.array([cluster.count for cluster in advice.clusters])
    index = np.array([cluster.soft_collapse for cluster in advice.clusters])
    grid = np.geomspace(count.min() * 0.8, count.max() * 1.25, 400)
    ratio = advice.lambda_z * advice.num_samples / np.sqrt(grid)
    axes.plot(grid, np.minimum(ratio, 1.0), color=_INK, linewidth=1.0, label="lambda_z / threshold")
    for label, colour, which in _groups(advice):
        hollow = colour == _SINGLE
        axes.scatter(
            count[which],
            index[which],
            s=16,
            facecolors="none" if hollow else colour,
            edgecolors=colour,
            linewidths=0.9,
            label=label,
            zorder=2 if hollow else 3,
            rasterized=len(which) > 500,
        )
    axes.set_xscale("log")
    axes.set_xlim(grid[0], grid[-1])
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("samples of the class")
    axes.set_ylabel("soft-collapse index")
    _label(axes.xaxis, grid[-1] / grid[0])
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def _plan(advice: Advice) -> Figure | None:
    plan = advice.oversampling
    if not plan.needed:
        return None
    samples, strength = plan.samples, advice.lambda_z
    if samples is None:
        assert plan.best_samples is not None and plan.best_lambda_z is not None
        samples, strength = plan.best_samples, plan.best_lambda_z
    total = float(samples.sum())
    level = (strength * advice.penalties.at(total) / advice.lambda_z * total) ** 2
    figure, axes = _new()
    order = np.argsort(-advice.counts, kind="stable")
    steps = np.arange(order.size + 1)
    before, after = advice.counts[order], samples[order]
    if order.size > 2000:  # more steps than points of the picture
        keep = np.unique(np.linspace(0, order.size - 1, 2000).astype(int))
        steps = np.append(keep, order.size)
        before, after = before[keep], after[keep]
    axes.stairs(after, steps, baseline=before, fill=True, color=_MERGED, alpha=0.25, label="added")
    axes.stairs(before, steps, baseline=None, color=_FAINT, linewidth=1.2, label="before")
    axes.stairs(after, steps, baseline=None, color=_APART, linewidth=1.8, label="after")
    words = "then merge" if plan.feasible else f"then merge, at lambda_z = {strength:.3g},"
    _line(axes, level, "-", words)
    _finish(axes, np.append(advice.counts, after.max()), level, float(order.size))
    return figure


def _label(axis: Axis, ratio: float) -> None:
    """Ticks of a logarithmic axis: powers of ten, and 2 and 5 between them where there is room."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 2000 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))
    axis.set_minor_formatter(NullFormatter())
