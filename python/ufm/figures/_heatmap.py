"""Heat maps of the mean prediction matrix Z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure, require_matplotlib, short
from ufm.figures._selection import Selection, select, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure, SubFigure

    from ufm.solution import Solution

_MOST_CLASSES = 400
_MOST_BORDERS = 16
_COLOURS = "RdBu_r"
# The scale turns linear below a typical entry, which lies this far below the largest one.
_LINEAR_PARTS = (1e-6, 3e-2)


def heatmap(solution: Solution, ax: Axes | None = None, *, max_classes: int = 400) -> Figure:
    """Draw the mean prediction matrix Z of a solution.

    Row j, column k is the logit (without bias) of class j in the mean
    prediction of class k. Classes are in descending order of their counts,
    which label the axes; lines separate clusters. Colours are on a symmetric
    logarithmic scale, white is zero.

    Parameters
    ----------
    solution : Solution
        What to draw.
    ax : matplotlib Axes, optional
        Where; by default in a new figure.
    max_classes : int
        With more classes than this, a representative part is drawn and the
        title says so.

    Returns
    -------
    matplotlib.figure.Figure
        The figure drawn into; `ufm.figures.save` or ``savefig`` writes it.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If `max_classes` is below 2.

    Examples
    --------
    >>> import ufm
    >>> from ufm import figures
    >>> solution = ufm.solve([500] * 5 + [100] * 5, lambda_z=0.0027, lambda_b=0.02)
    >>> figure = figures.heatmap(solution)
    >>> figure.axes[0].get_xlabel()
    'prediction of the class with count'
    """
    if ax is None:
        ax = new_figure(4.6, 4.0).add_subplot()
    require_matplotlib()
    selection = select(solution, _checked_limit(max_classes))
    values = _entries(solution, selection)
    norm = _norm([values])
    image = _draw(ax, values, selection, norm)
    _title(ax, describe(solution), selection, solution.num_classes)
    _colour_bar(ax.figure, image, [ax], [values])
    return _root(ax.figure)


def heatmaps(
    solutions: Sequence[Solution],
    titles: Sequence[str] | None = None,
    *,
    max_classes: int = _MOST_CLASSES,
) -> Figure:
    """Draw several solutions side by side on one colour scale.

    Parameters
    ----------
    solutions : sequence of Solution
        At least one, drawn from left to right.
    titles : sequence of str, optional
        One a solution; by default lambda_z, rank and merged classes.
    max_classes : int
        As in `heatmap`, for each panel.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If there is no solution, `titles` has another length, or `max_classes`
        is below 2.

    Examples
    --------
    >>> import ufm
    >>> from ufm import figures
    >>> counts = [500] * 5 + [100] * 5
    >>> figure = figures.heatmaps([ufm.solve(counts, z, 0.02) for z in (0.0027, 0.0051)])
    >>> len(figure.axes)  # two panels and the scale
    3
    """
    if not solutions:
        raise ValueError("solutions: at least one is needed, got none")
    if titles is None:
        titles = [describe(solution) for solution in solutions]
    if len(titles) != len(solutions):
        raise ValueError(f"titles: {len(titles)} given for {len(solutions)} solutions")
    figure = new_figure(2.35 * len(solutions) + 0.9, 3.0)
    axes = list(figure.subplots(1, len(solutions), squeeze=False)[0])
    limit = _checked_limit(max_classes)
    selections = [select(solution, limit) for solution in solutions]
    entries = [_entries(*pair) for pair in zip(solutions, selections, strict=True)]
    norm = _norm(entries)
    for position, ax in enumerate(axes):
        image = _draw(ax, entries[position], selections[position], norm, labels=position == 0)
        _title(ax, titles[position], selections[position], solutions[position].num_classes)
    _colour_bar(figure, image, axes, entries)
    return figure


def describe(solution: Solution) -> str:
    """Two lines for the title of a panel: lambda_z, rank, merged classes."""
    merged = int(np.count_nonzero(solution.collapsed))
    num_classes = solution.num_classes
    state = "none merged" if merged == 0 else f"{merged} of {num_classes} merged"
    return f"$\\lambda_Z$ = {solution.lambda_z:.4g}\nrank {solution.rank}, {state}"


def _root(figure: Figure | SubFigure) -> Figure:
    """Return the figure that can be written: that of a subfigure is its parent."""
    from matplotlib.figure import SubFigure

    return figure.figure if isinstance(figure, SubFigure) else figure


def _checked_limit(max_classes: int) -> int:
    if max_classes < 2:
        raise ValueError(f"max_classes must be at least 2, got {max_classes}")
    return max_classes


def _entries(solution: Solution, selection: Selection) -> NDArray[np.float64]:
    """The part of Z to draw, from its blocks: Z itself may not fit in memory."""
    blocks = solution.blocks
    clusters = blocks.cluster_of[selection.classes]
    values: NDArray[np.float64] = blocks.between[np.ix_(clusters, clusters)]
    np.fill_diagonal(values, blocks.own[clusters])
    return values


def _norm(values: Sequence[NDArray[np.float64]]) -> SymLogNorm:
    """One symmetric logarithmic scale for all panels."""
    from matplotlib.colors import SymLogNorm

    sizes = np.concatenate([np.abs(panel).ravel() for panel in values])
    top = float(sizes.max()) or 1.0
    seen = sizes[sizes > 1e-9 * top]
    typical = float(np.median(seen)) if seen.size else top
    lowest, highest = _LINEAR_PARTS
    linear = min(max(typical / 2, lowest * top), highest * top)
    return SymLogNorm(linthresh=linear, linscale=0.4, vmin=-top, vmax=top)


def _draw(
    ax: Axes,
    values: NDArray[np.float64],
    selection: Selection,
    norm: SymLogNorm,
    labels: bool = True,
    colours: str = _COLOURS,
    border: str = INK,
) -> ScalarMappable:
    """The image with cluster borders and counts along both axes."""
    image = ax.imshow(values, cmap=colours, norm=norm, interpolation="nearest", aspect="equal")
    borders = selection.edges[1:-1] - 0.5
    if len(borders) < _MOST_BORDERS:
        for position in borders:
            ax.axhline(position, color=border, linewidth=0.7)
            ax.axvline(position, color=border, linewidth=0.7)
    positions, counts = ticks(selection)
    names = [short(count) for count in counts]
    ax.set_xticks(positions, names, fontsize=SMALL, color=INK)
    ax.set_yticks(positions if labels else [], names if labels else [], fontsize=SMALL, color=INK)
    ax.tick_params(length=2, width=0.6, color=FAINT)
    ax.set_xlabel("prediction of the class with count", fontsize=SMALL, color=INK)
    if labels:
        ax.set_ylabel("logit of the class with count", fontsize=SMALL, color=INK)
    for spine in ax.spines.values():
        spine.set(linewidth=0.7, color=INK)
    return image


def _title(ax: Axes, text: str, selection: Selection, num_classes: int) -> None:
    if not selection.complete:
        text += f"\n{len(selection.classes)} of {num_classes:,} classes drawn"
    ax.set_title(text, fontsize=NORMAL, color=INK, loc="left")


def _colour_bar(
    figure: Figure | SubFigure,
    image: ScalarMappable,
    axes: list[Axes],
    values: Sequence[NDArray[np.float64]],
) -> None:
    """A colour bar cut to the entries that occur; the colours stay symmetric."""
    norm = cast("SymLogNorm", image.norm)
    low = min(0.0, *(float(panel.min()) for panel in values))
    high = max(0.0, *(float(panel.max()) for panel in values))
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, aspect=24)
    if high > low:
        bar.ax.set_ylim(low, high)
    marks = _bar_ticks(float(norm.vmax or 1.0), norm.linthresh)
    marks = [mark for mark in marks if low <= mark <= high]
    bar.set_ticks(marks, labels=[f"{mark:g}".replace("-", "\N{MINUS SIGN}") for mark in marks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    bar.outline.set(linewidth=0.5, color=FAINT)
    bar.set_label("entry of Z", fontsize=SMALL, color=INK)


def _bar_ticks(top: float, linear: float) -> list[float]:
    """Zero and the powers of ten on the logarithmic part, both signs."""
    powers = range(math.ceil(math.log10(linear)), math.floor(math.log10(top)) + 1)
    positive = [10.0**power for power in powers]
    return [-value for value in reversed(positive)] + [0.0, *positive]
