"""Drawing of trained networks beside the theory: curves."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import FAINT, INK, NORMAL, SMALL, new_figure
from ufm.figures._runs import cosines as mean_cosines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ufm.figures._runs import RunResult

_COLOURS = ("#1b4f8a", "#c2571a", "#5b8c3a", "#7a4f9a", "#8a7a1b", "#3a8c8c", "#b03060")
_SHAPES = {"o": "circles", "s": "squares", "^": "triangles", "D": "diamonds", "v": "wedges"}
_MARKERS = tuple(_SHAPES)
_FEATURES = {"linear": "linear features", "relu": "features after a ReLU"}


def spread(results: list[RunResult]) -> Figure:
    """Spread of the smallest classes and error of Z against lambda_z over the threshold."""
    groups = _by(results, "features")
    colours = dict(zip(_by(results, "variant"), cycle(_COLOURS), strict=False))
    figure = new_figure(3.0 * len(groups) + 0.4, 4.3)
    axes = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    for column, (features, group) in enumerate(groups.items()):
        top, bottom = axes[:, column]
        rows = [found.record() for found in group]
        rows.sort(key=lambda row: float(row["lambda_z_over_threshold"]))
        for name in _by(group, "variant"):
            mine = [row for row in rows if row["variant"] == name]
            x = [row["lambda_z_over_threshold"] for row in mine]
            style: dict[str, Any] = {"color": colours[name], "marker": "o", "markersize": 3.5}
            top.plot(x, [row["spread"] for row in mine], label=name, **style)
            bottom.plot(x, [row["error_z"] for row in mine], label=name, **style)
        x = [row["lambda_z_over_threshold"] for row in rows]
        predicted = [row["spread_predicted"] for row in rows]
        top.plot(x, predicted, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label="theory")
        bottom.axhline(0.015, color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)))
        _log_scale(bottom)
        top.set_title(_FEATURES[features], fontsize=NORMAL, color=INK, loc="left")
        bottom.set_xlabel("$\\lambda_Z$ / threshold", fontsize=SMALL, color=INK)
    axes[0, 0].set_ylabel("spread in Z", fontsize=SMALL, color=INK)
    axes[1, 0].set_ylabel("error of Z (dashed: 1.5 %)", fontsize=SMALL, color=INK)
    for ax in axes.ravel():
        _tidy(ax)
    _legend_below(figure, list(axes[0]), ncols=4)
    return figure


def nc1(results: list[RunResult]) -> Figure:
    """Figure 1: NC1 against epoch, a panel for each list of counts and kind of features."""
    grid = _grid(results)
    figure, axes = _grid_figure(grid)
    colours = dict(zip(_by(results, "variant"), cycle(_COLOURS), strict=False))
    for ax, group in _cells(axes, grid):
        for found in group:
            colour = colours[found.variant]
            metrics = found.run.metrics
            trained = metrics["polish_iterations"] == 0
            values = metrics["nc1"]
            ax.plot(metrics["epoch"][trained], values[trained], color=colour, label=found.variant)
            if not trained.all():
                end = float(metrics["epoch"][-1]), float(values[-1])
                ax.plot(*end, color=colour, marker="D", markersize=4, linestyle="none")
        _log_scale(ax)
    _label_grid(axes, "epoch (diamond: after the end phase)", "NC1")
    _legend_below(figure, list(axes.ravel()), ncols=4)
    return figure


def errors(results: list[RunResult]) -> Figure:
    """Figure 3: relative errors of Z and of the centred b against epoch, a row each."""
    grid = _grid(results)
    columns = max(len(row) for row in grid.values())
    figure = new_figure(2.9 * columns + 0.4, 3.3 * len(grid) + 0.8)
    axes = figure.subplots(2 * len(grid), columns, squeeze=False, sharex=True, sharey="row")
    colours = dict(zip(_by(results, "variant"), cycle(_COLOURS), strict=False))
    for pair, cells in zip(axes.reshape(len(grid), 2, columns), grid.items(), strict=True):
        label, groups = cells
        for column, (features, group) in enumerate(groups.items()):
            for found in group:
                _error_curves(pair[:, column], found, colours[found.variant])
            title = f"{_FEATURES[features]}, {label}"
            pair[0, column].set_title(title, fontsize=SMALL, color=INK, loc="left")
        pair[0, 0].set_ylabel("error of Z", fontsize=SMALL, color=INK)
        pair[1, 0].set_ylabel("error of b, centred", fontsize=SMALL, color=INK)
    for ax in axes.ravel():
        _log_scale(ax)
        _tidy(ax)
    for ax in axes[-1]:
        ax.set_xlabel("epoch, then iterations of the end phase", fontsize=SMALL, color=INK)
    for style, text in (
        ("-", "Frobenius or 2-norm"),
        ("--", "max norm"),
        (":", "Frobenius norm, theory of the other features"),
    ):
        axes[0, 0].plot([], [], color=FAINT, linestyle=style, linewidth=1.2, label=text)
    _legend_below(figure, list(axes.ravel()), ncols=3)
    return figure


def _error_curves(axes: NDArray[Any], found: RunResult, colour: str) -> None:
    history, epochs = found.history(), found.epochs
    options: dict[str, Any] = {"color": colour, "linewidth": 1.2}
    axes[0].plot(epochs, history["error_z"], label=found.variant, **options)
    axes[0].plot(epochs, history["error_z_max_norm"], "--", **options)
    axes[0].plot(epochs, history["error_z_other_theory"], ":", **options)
    axes[1].plot(epochs, history["error_b_centred"], **options)
    axes[1].plot(epochs, history["error_b_max_norm"], "--", **options)


def cosines(results: list[RunResult], vectors: str = "columns") -> Figure:
    """Figure 9: mean cosines of columns or rows of Z against n_A, with both theories."""
    groups = _by(results, "features")
    figure = new_figure(4.4 * len(groups) + 0.4, 3.9)
    axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    markers = dict(zip(_by(results, "variant"), cycle(_MARKERS), strict=False))
    names = {"cosine_a": "inside A", "cosine_b": "inside B", "cosine_ab": "between"}
    for ax, (features, group) in zip(axes, groups.items(), strict=True):
        group = sorted(group, key=lambda found: float(found.counts.max()))
        rows = [found.record(vectors) for found in group]
        others = [mean_cosines(found.other.Z, found.counts, vectors) for found in group]
        x = [found.counts.max() for found in group]
        for i, ((key, label), colour) in enumerate(zip(names.items(), _COLOURS, strict=False)):
            ax.plot([], [], "o", color=colour, markersize=4.5, label=label)
            for variant, marker in markers.items():
                mine = [j for j, found in enumerate(group) if found.variant == variant]
                points = [x[j] for j in mine], [rows[j][key] for j in mine]
                ax.plot(*points, marker, color=colour, markersize=4.5)
            ax.plot(x, [row[f"predicted_{key}"] for row in rows], color=colour, linewidth=1.2)
            ax.plot(x, [other[i] for other in others], color=colour, linewidth=0.9, linestyle=":")
        limit = -1 / (len(group[0].counts) - 1)
        ax.axhline(limit, color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)))
        ax.set_title(_FEATURES[features], fontsize=NORMAL, color=INK, loc="left")
        ax.set_xlabel("$n_A$", fontsize=SMALL, color=INK)
        _tidy(ax)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + 0.35 * (high - low))
    axes[0].set_ylabel(f"mean cosine of {vectors} of Z", fontsize=SMALL, color=INK)
    _legend(axes[-1], ncols=3)
    told = ""
    if len(markers) > 1:
        shapes = (f"{_SHAPES[marker]} {variant}" for variant, marker in markers.items())
        told = f" ({', '.join(shapes)})"
    figure.supxlabel(
        f"points: networks{told}; lines: theory of these features, dotted: of the others",
        fontsize=SMALL,
        color=INK,
    )
    return figure


def accuracy(results: list[RunResult]) -> Figure:
    """Accuracy on test images of the largest and the smallest classes, a point for each run."""
    groups = _by(results, "variant")
    figure = new_figure(1.25 * len(groups) + 1.6, 3.6)
    ax = figure.add_subplot()
    for i, group in enumerate(groups.values()):
        rows = [found.record() for found in group]
        for shift, key, colour in (
            (-0.16, "test_accuracy_majority", _COLOURS[0]),
            (0.16, "test_accuracy_minority", _COLOURS[1]),
        ):
            values = np.array([row[key] for row in rows])
            label = f"{'larger' if shift < 0 else 'smallest'} classes" if i == 0 else None
            ax.bar(i + shift, values.mean(), 0.3, color=colour, alpha=0.35, label=label)
            ax.plot(np.full(len(values), i + shift), values, "o", color=colour, markersize=3)
    ax.set_xticks(range(len(groups)), [name.replace("-", "\n") for name in groups])
    ax.set_ylabel("accuracy on test images", fontsize=SMALL, color=INK)
    ax.set_ylim(0, max(ax.get_ylim()[1] * 1.15, 0.05))
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= 1])
    _tidy(ax)
    _legend(ax, ncols=2)
    return figure


def _by(results: list[RunResult], name: str) -> dict[str, list[RunResult]]:
    groups: dict[str, list[RunResult]] = {}
    for found in results:
        groups.setdefault(str(getattr(found, name)), []).append(found)
    return dict(sorted(groups.items()))


def _grid(results: list[RunResult]) -> dict[str, dict[str, list[RunResult]]]:
    """Runs by data set and counts, then by features."""
    several = len({found.source for found in results}) > 1
    groups: dict[str, list[RunResult]] = {}
    for found in results:
        counts = found.run.config.data.counts
        groups.setdefault(f"{found.source}, {counts}" if several else counts, []).append(found)
    return {label: _by(group, "features") for label, group in groups.items()}


def _grid_figure(grid: dict[str, dict[str, list[RunResult]]]) -> tuple[Figure, NDArray[Any]]:
    columns = max(len(row) for row in grid.values())
    figure = new_figure(2.7 * columns + 0.4, 1.9 * len(grid) + 0.3)
    axes = figure.subplots(len(grid), columns, squeeze=False, sharex=True, sharey=True)
    return figure, axes


def _cells(
    axes: NDArray[Any], grid: dict[str, dict[str, list[RunResult]]]
) -> list[tuple[Axes, list[RunResult]]]:
    cells = []
    for row, (label, groups) in zip(axes, grid.items(), strict=True):
        for ax, (features, group) in zip(row, groups.items(), strict=False):
            title = f"{_FEATURES[features]}, {label}"
            ax.set_title(title, fontsize=SMALL, color=INK, loc="left")
            cells.append((ax, sorted(group, key=lambda found: found.variant)))
    return cells


def _label_grid(axes: NDArray[Any], x: str, y: str) -> None:
    for ax in axes[-1]:
        ax.set_xlabel(x, fontsize=SMALL, color=INK)
    for ax in axes[:, 0]:
        ax.set_ylabel(y, fontsize=SMALL, color=INK)
    for ax in axes.ravel():
        _tidy(ax)


def _log_scale(ax: Axes) -> None:
    """A logarithmic axis, if there is anything to show on it."""
    if any(np.any(np.asarray(line.get_ydata()) > 0) for line in ax.lines):
        ax.set_yscale("log")


def _tidy(ax: Axes) -> None:
    ax.grid(axis="y", linewidth=0.4, color="#dddddd")
    ax.set_axisbelow(True)
    ax.minorticks_off()
    ax.tick_params(which="both", labelsize=SMALL, length=2, width=0.6, color=FAINT, labelcolor=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT)


def _legend_below(figure: Figure, axes: list[Axes], ncols: int) -> None:
    """One legend for all panels, each name once."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        loc="outside lower center",
        ncols=ncols,
    )


def _legend(ax: Axes, ncols: int = 1) -> None:
    ax.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper right", ncols=ncols)
