"""Phase diagrams and sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light to dark: what is lost from phase to phase.
_REGIONS = ("#eef3f8", "#bcd3e6", "#7fa6c9", "#44607f")
_TEXT = (INK, INK, INK, "white")
_NAMES = (
    "all classes distinct",
    "minority classes merged",
    "minority predicted\nby the bias alone",
    "Z = 0",
)
# Variable: label, colour, dashes.
_LINES = {
    "minority_collapse": (r"minority merges: $\sqrt{n_B}\,/N$", "#b3412e", "-"),
    "bias_only": (r"minority vanishes: $\lambda_c$", "#d98c21", "-"),
    "majority_collapse": (r"majority merges: $\sqrt{n_A}\,/N$", "#111111", "-"),
    "lambda_max": (r"Z vanishes: $\lambda_{max}$", "#f2f2f2", (0, (4, 3))),
}
_MOST_LINES = 8
_LOG_FROM = 5.0  # ratio of the ends of an axis from which it is logarithmic


def phase_diagram(dataset: xr.Dataset) -> Figure:
    """Draw the phases of two clusters over ratio and lambda_z.

    Regions show what the solutions have in common at every point that was solved; lines are the
    thresholds, computed on their own, so that the picture checks one against the other.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :func:`ufm.phase_diagram`, or a file that it wrote, opened with xarray.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If the dataset is no phase diagram, or has fewer than two values of ratio or lambda_z.
    """
    missing = [name for name in ("phase", *_LINES) if name not in dataset]
    if missing:
        raise ValueError(f"dataset: no phase diagram, it lacks {', '.join(missing)}")
    across, up = dataset["phase"].dims
    if min(dataset.sizes[across], dataset.sizes[up]) < 2:
        raise ValueError("dataset: at least two ratios and two values of lambda_z are needed")
    figure = new_figure(6.6, 4.6)
    ax = figure.add_subplot()
    order = dataset.sortby([across, up])
    ratio, height = order[across].values, order[up].values
    phase = order["phase"].values
    _draw_regions(ax, ratio, height, phase)
    _draw_lines(ax, order, ratio, height)
    _label_regions(ax, ratio, height, phase)
    ax.set_xlabel(r"ratio $r = n_A / n_B$", fontsize=NORMAL, color=INK)
    relative = up == "relative_lambda_z"
    label = r"$\lambda_Z$ in units of $\sqrt{n_B}\,/N$" if relative else r"$\lambda_Z$"
    ax.set_ylabel(label, fontsize=NORMAL, color=INK)
    k_a, k_b = (int(k) for k in np.broadcast_to(dataset["multiplicity"].values, 2))
    bias = float(dataset["lambda_b"])
    told = "no bias" if np.isinf(bias) else rf"$\lambda_b = {bias:g}$"
    n_b = float(dataset["count"].min())
    ax.set_title(
        rf"$k_A = {k_a}$, $k_B = {k_b}$, $n_B = {n_b:g}$, {told}",
        fontsize=NORMAL,
        color=INK,
        loc="left",
    )
    return figure


def _draw_regions(ax: Axes, ratio: NDArray[Any], height: NDArray[Any], phase: NDArray[Any]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    ax.pcolormesh(
        ratio,
        height,
        phase.T,
        cmap=ListedColormap(_REGIONS),
        norm=BoundaryNorm(np.arange(-0.5, len(_REGIONS)), len(_REGIONS)),
        shading="nearest",
        rasterized=True,
    )
    for axis, values in (("x", ratio), ("y", height)):
        if values[-1] / values[0] > _LOG_FROM:
            getattr(ax, f"set_{axis}scale")("log")
        getattr(ax, f"set_{axis}lim")(values[0], values[-1])
    _plain_ticks(ax)
    ax.tick_params(which="both", labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    ax.spines[:].set(linewidth=0.6, color=FAINT)


def _plain_ticks(ax: Axes) -> None:
    """Decimals instead of powers of ten on logarithmic axes of less than three decades."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() == "log" and high / low < 1e3:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())


def _draw_lines(ax: Axes, dataset: xr.Dataset, ratio: NDArray[Any], height: NDArray[Any]) -> None:
    # The thresholds are absolute; a relative axis has another unit at every ratio.
    unit: Any = 1.0
    if dataset["phase"].dims[1] == "relative_lambda_z":
        unit = (dataset["lambda_z"] / dataset["relative_lambda_z"]).values[:, 0]
    for name, (label, colour, dashes) in _LINES.items():
        values = dataset[name].values / unit
        if np.isfinite(values).any():
            width = 1.4 if name == "lambda_max" else 2.0
            ax.plot(ratio, values, color=colour, linestyle=dashes, linewidth=width, label=label)
    ax.set_ylim(height[0], height[-1])
    legend = ax.figure.legend(
        loc="outside lower center", ncols=2, frameon=True, fontsize=SMALL, labelcolor=INK
    )
    # The dashes of lambda_max are pale, since they run on dark ground.
    legend.get_frame().set(facecolor="#c9d3de", edgecolor="none")


def _label_regions(
    ax: Axes, ratio: NDArray[Any], height: NDArray[Any], phase: NDArray[Any]
) -> None:
    """Name each region in the middle of where it is widest, if there is room."""
    span = ax.transAxes.inverted().transform(
        ax.transData.transform(np.column_stack([np.full_like(height, ratio[0]), height]))
    )[:, 1]
    across = ax.transAxes.inverted().transform(
        ax.transData.transform(np.column_stack([ratio, np.full_like(ratio, height[0])]))
    )[:, 0]
    for code, (name, colour) in enumerate(zip(_NAMES, _TEXT, strict=True)):
        inside = phase == code
        extent = np.array([np.ptp(span[row]) if row.any() else 0.0 for row in inside])
        # Away from the sides, so that the text stays in the picture.
        extent[(across < 0.25) | (across > 0.78)] = 0.0
        if extent.max() < 0.05:
            continue
        column = int(np.argmax(np.where(extent > 0.9 * extent.max(), 1 - abs(across - 0.5), 0)))
        middle = span[inside[column]].min() + extent[column] / 2
        near = np.flatnonzero(abs(across - across[column]) < 0.13)
        row = int(np.argmin(abs(span - middle)))
        fits = extent[column] > 0.1 and inside[near, row].all()
        if not fits:
            # A strip too narrow for its name gets it from below, where there is most room: on the
            # right, away from the name of the large region.
            column = int(np.flatnonzero(extent > 0).max())
            middle = span[inside[column]].mean()
        ax.annotate(
            name if extent[column] > 0.16 else name.replace("\n", " "),
            (across[column], middle),
            xycoords="axes fraction",
            xytext=(0, 0) if fits else (-30, -52),
            textcoords="offset points",
            arrowprops=None if fits else {"arrowstyle": "-", "color": INK, "linewidth": 0.7},
            ha="center",
            va="center",
            fontsize=SMALL,
            color=colour if fits else INK,
        )


def sweep(dataset: xr.Dataset) -> Figure:
    """Draw the rank of Z over the one or two dimensions of a sweep.

    With one dimension, the own-class entries of Z of every cluster are drawn as well.

    Parameters
    ----------
    dataset : xarray.Dataset
        From :func:`ufm.sweep`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If the dataset holds no sweep, or one with no or more than two dimensions.
    """
    if "phase" in dataset:
        return phase_diagram(dataset)
    if "rank" not in dataset or not 1 <= dataset["rank"].ndim <= 2:
        raise ValueError("dataset: a sweep over one or two parameters is needed")
    return _one(dataset) if dataset["rank"].ndim == 1 else _two(dataset)


def _one(dataset: xr.Dataset) -> Figure:
    from matplotlib import colormaps

    (name,) = dataset["rank"].dims
    dataset = dataset.sortby(name)
    clusters = "own_logit" in dataset
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots(2 if clusters else 1, 1, sharex=True, squeeze=False)[:, 0]
    axes[-1].step(
        dataset[name], dataset["rank"], "o-", where="mid", color=INK, markersize=2.5, linewidth=1
    )
    axes[-1].set_ylabel("rank of Z", fontsize=SMALL, color=INK)
    if clusters:
        shown = np.unique(np.linspace(0, dataset.sizes["cluster"] - 1, 8).round().astype(int))
        for place, cluster in zip(np.linspace(0.1, 0.72, shown.size), shown, strict=True):
            label = f"cluster {cluster}: {int(dataset['multiplicity'][cluster])} classes"
            values = dataset["own_logit"].isel(cluster=cluster)
            colour = colormaps["viridis"](place)
            axes[0].plot(dataset[name], values, "o-", ms=2.5, lw=1.2, color=colour, label=label)
        axes[0].set_ylabel("own-class entry of Z", fontsize=SMALL, color=INK)
        axes[0].legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for ax in axes:
        _scale(ax, "x", dataset[name].values)
        ax.tick_params(which="both", labelsize=SMALL, length=2, color=FAINT, labelcolor=INK)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel(name, fontsize=NORMAL, color=INK)
    return figure


def _two(dataset: xr.Dataset) -> Figure:
    across, up = dataset["rank"].dims
    figure = new_figure(6.2, 4.4)
    ax = figure.add_subplot()
    dataset = dataset.sortby([across, up])
    values = [np.asarray(dataset[name].values) for name in (across, up)]
    positions = [v if _is_scale(v) else np.arange(v.size, dtype=float) for v in values]
    image = ax.pcolormesh(*positions, dataset["rank"].values.T, shading="nearest", rasterized=True)
    for axis, name, given in zip("xy", (across, up), values, strict=True):
        _scale(ax, axis, given)
        getattr(ax, f"set_{axis}label")(name, fontsize=NORMAL, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, length=2, color=FAINT, labelcolor=INK)
    if across == "ratio" and up in ("lambda_z", "relative_lambda_z"):
        _mark_collapse(ax, dataset, values[0], values[1])
    bar = figure.colorbar(image, ax=ax)
    bar.set_label("rank of Z", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _mark_collapse(
    ax: Axes, dataset: xr.Dataset, ratio: NDArray[Any], height: NDArray[Any]
) -> None:
    """A line where the classes of each cluster merge."""
    if dataset.sizes.get("cluster", _MOST_LINES + 1) > _MOST_LINES:
        return
    unit: Any = 1.0
    if dataset["rank"].dims[1] == "relative_lambda_z":
        unit = (dataset["lambda_z"] / dataset["relative_lambda_z"]).values[:, 0]
    dashes = ("-", "--", ":", "-.")
    for cluster in range(dataset.sizes["cluster"]):
        threshold = dataset["collapse_threshold"].isel(cluster=cluster).values / unit
        inside = (threshold >= height[0]) & (threshold <= height[-1])
        if inside.any():
            classes = int(dataset["multiplicity"][cluster])
            label = f"cluster {cluster} ({classes} classes) merges"
            style = dashes[cluster % len(dashes)]
            ax.plot(ratio, np.where(inside, threshold, np.nan), style, color="#d62f2f", label=label)
    if ax.get_legend_handles_labels()[0]:
        ax.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL)


def _is_scale(values: NDArray[Any]) -> bool:
    """Whether values can be positions; names, and a list with infinity, cannot."""
    return values.dtype.kind in "fiu" and bool(np.isfinite(values).all()) and values.size > 1


def _scale(ax: Axes, axis: str, values: NDArray[Any]) -> None:
    if not _is_scale(values):
        ticks = np.arange(values.size)
        getattr(ax, f"set_{axis}ticks")(ticks, [str(value) for value in values])
    elif values[0] > 0 and values[-1] / values[0] > _LOG_FROM:
        getattr(ax, f"set_{axis}scale")("log")
        _plain_ticks(ax)
