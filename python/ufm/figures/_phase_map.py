"""Phase diagram of two sizes of classes, lambda_z against their ratio: drawing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure, require_matplotlib
from ufm.figures._heatmap import _root

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Regions -1 to 3, from unsolved to Z = 0.
_REGIONS = {
    -1: ("not solved", "#ffffff"),
    0: ("no class collapsed", "#d6e6f2"),
    1: ("minority merged", "#f6c98b"),
    2: ("minority at zero", "#d98a4b"),
    3: ("all at zero (Z = 0)", "#8c8c8c"),
}
_LOG_FROM = 5.0  # ratio of the ends of an axis from which it is logarithmic
_CURVES = {
    "minority_collapse": (r"$\sqrt{n_B}/N$, minority merges", "#1b4f8a", "-"),
    "lambda_c": (r"$\lambda_c$, minority at zero", "#7a2d0b", "-"),
    "majority_collapse": (r"$\sqrt{n_A}/N$, majority merges", "#1f1f1f", "-"),
    "lambda_max": (r"$\lambda_{max}$, Z = 0", "#f2f2f2", (0, (3, 3))),
}


def phase_map(
    ratios: ArrayLike,
    lambda_z: ArrayLike,
    regions: ArrayLike,
    curves: Mapping[str, ArrayLike] | None = None,
    ax: Axes | None = None,
    *,
    marks: Sequence[tuple[float, float]] = (),
    title: str = "",
    relative: bool = False,
) -> Figure:
    """Draw which classes are merged over the ratio r = n_A / n_B and lambda_z.

    Parameters
    ----------
    ratios : array_like of shape (R,)
        r, rising. The axis is logarithmic where it spans more than a factor of five.
    lambda_z : array_like of shape (L,)
        Rising; the axis as above.
    regions : array_like of int, shape (L, R)
        0 no class collapsed, 1 minority merged, 2 minority at zero, 3 Z = 0, -1 not solved.
    curves : mapping of str to array_like of shape (R,), optional
        Thresholds in lambda_z, by the names "minority_collapse", "lambda_c",
        "majority_collapse" and "lambda_max".
    ax : matplotlib Axes, optional
        Where; by default in a new figure.
    marks : sequence of (r, lambda_z)
        Points to mark, for example the problems of another figure.
    title : str
        Above the axes.
    relative : bool
        Whether `lambda_z` and the curves are multiples of sqrt(n_B) / N.

    Returns
    -------
    matplotlib.figure.Figure
        The figure drawn into.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If shapes do not fit, or a region or curve has no meaning.
    """
    r, lambdas, found = (np.asarray(values) for values in (ratios, lambda_z, regions))
    if found.shape != (lambdas.size, r.size):
        raise ValueError(
            f"regions must have shape ({lambdas.size}, {r.size}), lambda_z by ratios, "
            f"got {found.shape}"
        )
    if not np.isin(found, list(_REGIONS)).all():
        raise ValueError("regions must hold integers from -1 to 3")
    require_matplotlib()
    if ax is None:
        ax = new_figure(7.4, 4.4).add_subplot()
    _fill(ax, r, lambdas, found)
    for name, curve in (curves or {}).items():
        if name not in _CURVES:
            raise ValueError(f"curves must be named {', '.join(_CURVES)}, got {name!r:.80}")
        label, colour, style = _CURVES[name]
        heights = np.asarray(curve, dtype=np.float64)
        if np.isfinite(heights).any():  # a single class has no threshold
            ax.plot(r, heights, color=colour, linestyle=style, linewidth=1.5, label=label)
    inside = [(x, y) for x, y in marks if r[0] <= x <= r[-1] and lambdas[0] <= y <= lambdas[-1]]
    if inside:
        at, height = zip(*inside, strict=True)
        ax.plot(
            at,
            height,
            "o",
            color="white",
            markeredgecolor=INK,
            clip_on=False,
            zorder=5,
            markersize=4,
            label="panels of the paper",
        )
    _finish(ax, found, title)
    ax.set_xlabel("$r = n_A / n_B$", fontsize=NORMAL, color=INK)
    label = r"$\lambda_Z$ in units of $\sqrt{n_B}/N$" if relative else r"$\lambda_Z$"
    ax.set_ylabel(label, fontsize=NORMAL, color=INK)
    return _root(ax.figure)


def _fill(ax: Axes, r: NDArray[Any], lambdas: NDArray[Any], found: NDArray[Any]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap([colour for _, colour in _REGIONS.values()])
    norm = BoundaryNorm(np.arange(-1.5, 4), colours.N)
    # Drawn as one image in pdf and svg: a million paths would be unreadable.
    ax.pcolormesh(r, lambdas, found, cmap=colours, norm=norm, shading="nearest", rasterized=True)
    for axis, values in (("x", r), ("y", lambdas)):
        if spans_much(values):
            getattr(ax, f"set_{axis}scale")("log")
        # Thresholds outside of what was solved stay outside of the picture.
        getattr(ax, f"set_{axis}lim")(values.min(), values.max())
    plain_ticks(ax)
    ax.autoscale(False)


def spans_much(values: NDArray[Any]) -> bool:
    """Whether an axis with these rising values is to be logarithmic."""
    return bool(values[0] > 0 and values[-1] / values[0] > _LOG_FROM)


def plain_ticks(ax: Axes) -> None:
    """Decimals instead of powers of ten on logarithmic axes of less than three decades."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() == "log" and high / low < 1e3:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())


def _finish(ax: Axes, found: NDArray[Any], title: str) -> None:
    from matplotlib.patches import Patch

    seen = np.unique(found)
    patches = [Patch(facecolor=_REGIONS[i][1], label=_REGIONS[i][0], edgecolor=FAINT) for i in seen]
    handles, _ = ax.get_legend_handles_labels()
    legend = ax.legend(
        handles=[*patches, *handles],
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
    )
    for handle in legend.get_lines():
        if handle.get_color() == _CURVES["lambda_max"][1]:
            handle.set_color(FAINT)  # nearly white on the grey region, grey on the page
    ax.set_title(title, fontsize=NORMAL, color=INK, loc="left")
    ax.tick_params(which="both", labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=FAINT)
