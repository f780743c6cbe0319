"""How clusters merge as lambda_z grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ufm.clusters import Cluster
    from ufm.solution import Solution

_MOST_CURVES = 8
_COLOURS = "viridis"


def collapse_path(solutions: Sequence[Solution]) -> Figure:
    """Draw own-class entries and rank of solutions over lambda_z.

    The upper panel has one curve a cluster: the own-class entry z_kk of Z.
    Dotted lines mark the thresholds above which the classes of a cluster of
    two or more share one mean prediction, lambda_z = w sqrt(n) / N (Hong and
    Ling, arXiv:2309.09725; class weights w: derived). The lower panel has the
    rank of Z.

    Parameters
    ----------
    solutions : sequence of Solution
        At least two solutions of one problem at different lambda_z, any order.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If there are fewer than two solutions or their counts differ.

    Examples
    --------
    >>> import ufm
    >>> from ufm import figures
    >>> path = ufm.path([500] * 5 + [100] * 5, lambda_b=0.02, num=10)
    >>> figure = figures.collapse_path(path.solutions)
    >>> len(figure.axes)
    2
    """
    if len(solutions) < 2:
        raise ValueError(f"solutions: at least two are needed, got {len(solutions)}")
    ordered = sorted(solutions, key=lambda solution: solution.lambda_z)
    if any(not np.array_equal(ordered[0].counts, other.counts) for other in ordered[1:]):
        raise ValueError("solutions: all must have the same counts")
    figure = new_figure(6.4, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    lambdas = np.array([solution.lambda_z for solution in ordered])
    positions = _shown_clusters(ordered[0])
    clusters = [ordered[0].clusters[position] for position in positions]
    colours = _colours(len(clusters))
    for position, cluster, colour in zip(positions, clusters, colours, strict=True):
        entries = [solution.clusters[position].own_logit for solution in ordered]
        classes = "1 class" if cluster.multiplicity == 1 else f"{cluster.multiplicity} classes"
        label = f"{classes} of {short(cluster.count)}"
        upper.plot(lambdas, entries, color=colour, linewidth=1.6, label=label)
    ranks = [solution.rank for solution in ordered]
    lower.step(lambdas, ranks, where="mid", color=INK, linewidth=1.4)
    _mark_thresholds([upper, lower], clusters, colours, lambdas)
    _finish(upper, "own-class entry of Z")
    _finish(lower, "rank of Z")
    lower.set_xlabel(r"$\lambda_Z$", fontsize=NORMAL, color=INK)
    lower.yaxis.get_major_locator().set_params(integer=True)
    _label_lambdas(lower, lambdas[-1] / lambdas[0])
    upper.legend(
        frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )
    return figure


def _shown_clusters(solution: Solution) -> list[int]:
    """All clusters, or some evenly spaced ones, by falling count."""
    last = solution.num_clusters - 1
    return [round(x) for x in np.linspace(0, last, min(last + 1, _MOST_CURVES))]


def _colours(number: int) -> list[str]:
    """Dark for large counts, light for small ones; the palest end is left out."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps[_COLOURS](x)) for x in np.linspace(0.1, 0.72, number)]


def _mark_thresholds(
    axes: Sequence[Axes],
    clusters: Sequence[Cluster],
    colours: Sequence[str],
    lambdas: NDArray[np.float64],
) -> None:
    """A dotted line where the classes of a cluster merge."""
    last_labelled = np.inf
    for cluster, colour in zip(clusters, colours, strict=True):
        threshold = cluster.threshold  # nan for a single class
        if not lambdas[0] < threshold < lambdas[-1]:
            continue
        for ax in axes:
            ax.axvline(threshold, color=colour, linewidth=1.0, linestyle=(0, (1, 1.5)))
        # A label needs about a tenth of the axis; where lines crowd, some go without.
        if threshold < last_labelled * (lambdas[-1] / lambdas[0]) ** -0.12:
            last_labelled = threshold
            _label_threshold(axes[0], threshold, colour)


def _label_threshold(ax: Axes, threshold: float, colour: str) -> None:
    ax.annotate(
        f"merge at\n{threshold:.4g}",
        (threshold, 1.0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=SMALL,
        color=colour,
    )


def _finish(ax: Axes, label: str) -> None:
    ax.set_xscale("log")
    ax.set_ylabel(label, fontsize=SMALL, color=INK)
    top = ax.get_ylim()[1]
    ax.set_ylim(-0.02 * top, top)  # a curve at zero stays visible
    ax.grid(axis="y", linewidth=0.4, color="#dddddd")
    ax.set_axisbelow(True)
    ax.tick_params(which="both", labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT)


def _label_lambdas(ax: Axes, ratio: float) -> None:
    """Plain decimals on a short axis; a long one keeps powers of ten."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    if ratio < 300:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio > 5 else (1, 2, 3, 4, 6, 8)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(NullFormatter())
