"""Phase diagrams and sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure
from ufm.figures._phase_map import phase_map, plain_ticks, spans_much

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Thresholds in a dataset, and what the drawing calls them.
_CURVES = {
    "minority_collapse": "minority_collapse",
    "bias_only": "lambda_c",
    "majority_collapse": "majority_collapse",
    "lambda_max": "lambda_max",
}
_MOST_LINES = 8


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
    missing = [name for name in ("phase", *_CURVES) if name not in dataset]
    if missing:
        raise ValueError(f"dataset: no phase diagram, it lacks {', '.join(missing)}")
    across, up = dataset["phase"].dims
    if min(dataset.sizes[across], dataset.sizes[up]) < 2:
        raise ValueError("dataset: at least two ratios and two values of lambda_z are needed")
    order = dataset.sortby([across, up])
    relative = up == "relative_lambda_z"
    # The thresholds are absolute; a relative axis has another unit at every ratio.
    unit: Any = (order["lambda_z"] / order[up]).values[:, 0] if relative else 1.0
    k_a, k_b = (int(k) for k in np.broadcast_to(dataset["multiplicity"].values, 2))
    bias = float(dataset["lambda_b"])
    told = "no bias" if np.isinf(bias) else f"$\\lambda_b$ = {bias:g}"
    n_b = float(dataset["count"].min())
    return phase_map(
        order[across].values,
        order[up].values,
        order["phase"].values.T,
        {curve: order[name].values / unit for name, curve in _CURVES.items()},
        title=f"{k_a} classes of $n_A$, {k_b} of $n_B$ = {n_b:g}, {told}",
        relative=relative,
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
    elif spans_much(values):
        getattr(ax, f"set_{axis}scale")("log")
        plain_ticks(ax)
