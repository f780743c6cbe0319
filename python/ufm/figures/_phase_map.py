"""Phase diagram of two sizes of classes, lambda_z against their ratio: drawing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure, require_matplotlib
from ufm.figures._heatmap import _root
from ufm.figures._path import _label_lambdas

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
) -> Figure:
    """Draw which classes are merged over the ratio r = n_A / n_B and lambda_z.

    Parameters
    ----------
    ratios : array_like of shape (R,)
        r, rising; evenly spaced on a logarithmic axis.
    lambda_z : array_like of shape (L,)
        Rising; evenly spaced on a logarithmic axis.
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
        ax.plot(r, np.asarray(curve), color=colour, linestyle=style, linewidth=1.5, label=label)
    if marks:
        at, height = zip(*marks, strict=True)
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
    _finish(ax, r, lambdas, found, title)
    return _root(ax.figure)


def _fill(ax: Axes, r: ArrayLike, lambdas: ArrayLike, found: ArrayLike) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap([colour for _, colour in _REGIONS.values()])
    norm = BoundaryNorm(np.arange(-1.5, 4), colours.N)
    ax.set_xscale("log")
    ax.set_yscale("log")
    # Drawn as one image in pdf and svg: a million paths would be unreadable.
    ax.pcolormesh(r, lambdas, found, cmap=colours, norm=norm, shading="nearest", rasterized=True)


def _finish(ax: Axes, r: ArrayLike, lambdas: ArrayLike, found: ArrayLike, title: str) -> None:
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
    ax.set_xlim(np.min(r), np.max(r))
    _label_lambdas(ax, float(np.max(r)) / float(np.min(r)))
    ax.set_ylim(np.min(lambdas), np.max(lambdas))
    ax.set_xlabel("$r = n_A / n_B$", fontsize=NORMAL, color=INK)
    ax.set_ylabel(r"$\lambda_Z$", fontsize=NORMAL, color=INK)
    ax.set_title(title, fontsize=NORMAL, color=INK, loc="left")
    ax.tick_params(which="both", labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=FAINT)
