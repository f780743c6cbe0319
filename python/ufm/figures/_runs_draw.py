"""Drawing of trained networks beside the theory: heat maps of Z."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ufm.figures._canvas import INK, SMALL, new_figure, short
from ufm.figures._heatmap import _colour_bar
from ufm.figures._paper_draw import _BORDER, _GREYS, _grey_norm
from ufm.figures._runs_curves import _by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ufm.figures._runs import RunResult

Matrix = NDArray[np.float64]
# What decides theory's Z: data set (its name only), counts that the loss sees, lambda_z, weights.
Problem = tuple[str, tuple[float, ...], float, tuple[float, ...]]

_KINDS = {"linear": "linear", "relu": "ReLU"}
_PAIRED_FROM = 4  # runs from which on figure 4 has two side by side


def panels(results: list[RunResult]) -> Figure:
    """Figures 5 to 8: Z of theory and of each variant, a row each, a column for each problem."""
    rows = _rows(results)
    everything = [Z for _, row in rows for Z in row.values()]
    figure, axes, image = _table(results, rows, _grey_norm(everything))
    _colour_bar(figure, image, axes, everything)
    return figure


def standardised(results: list[RunResult]) -> Figure:
    """Figure 2: as `panels`, with each Z scaled to fill 0 to 1, so that its pattern shows."""
    rows = [
        (label, {problem: _scaled(Z) for problem, Z in row.items()})
        for label, row in _rows(results)
    ]
    figure, axes, image = _table(results, rows, None)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=24, pad=0.02)
    bar.set_ticks([0, 1], labels=["min", "max"], fontsize=SMALL)
    bar.set_label("entry of Z, panel by panel", fontsize=SMALL, color=INK)
    return figure


def beside(results: list[RunResult]) -> Figure:
    """Figure 4: Z of each network beside both predictions, on one scale for each network."""
    results = sorted(results, key=lambda found: (found.features, found.variant))
    across = 2 if len(results) >= _PAIRED_FROM else 1
    down = -(-len(results) // across)
    figure = new_figure(across * (3 * 1.75 + 0.9) + 0.3, 2.15 * down + 0.2)
    parts = figure.subfigures(down, across, squeeze=False).ravel()
    for part, found in zip(parts, results, strict=False):
        axes = list(part.subplots(1, 3, squeeze=False)[0])
        shown = [found.run.final["Z"], found.free.Z, found.nonnegative.Z]
        norm = _grey_norm(shown)
        for ax, Z in zip(axes, shown, strict=True):
            _panel(ax, Z, norm, _borders(found))
        own, other = found.history()["error_z"][-1], found.history()["error_z_other_theory"][-1]
        free, positive = (own, other) if found.features == "linear" else (other, own)
        names = {"linear": "free", "relu": "nonnegative"}
        for ax, text in zip(
            axes,
            (
                f"{found.variant}, {_KINDS[found.features]}\n$\\lambda_Z$ = {_ratio(found)}",
                f"theory, free\nerror {_percent(free)}",
                f"theory, nonnegative\nerror {_percent(positive)}",
            ),
            strict=True,
        ):
            mine = f"theory, {names[found.features]}" in text
            weight = "bold" if mine else "normal"
            ax.set_title(text, fontsize=SMALL, color=INK, loc="left", fontweight=weight)
        label = f"{found.source},\n{found.run.config.data.counts.replace(',', chr(10))}"
        axes[0].set_ylabel(label, fontsize=SMALL - 1, color=INK)
        _colour_bar(part, axes[0].images[0], axes, shown)
    return figure


def _percent(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:.3g} %"


def _rows(results: list[RunResult]) -> list[tuple[str, dict[Problem, Matrix]]]:
    """Both theories, each followed by the networks whose features it is about."""
    rows = []
    groups = _by(results, "features")
    theory: dict[str, Callable[[RunResult], Matrix]] = {
        "linear": lambda found: found.free.Z,
        "relu": lambda found: found.nonnegative.Z,
    }
    for features, predicted in theory.items():
        kind = _KINDS[features]
        rows.append((f"theory,\n{kind}", {_problem(found): predicted(found) for found in results}))
        for variant, runs in _by(groups.get(features, []), "variant").items():
            networks = {_problem(found): found.run.final["Z"] for found in runs}
            rows.append((f"{variant},\n{kind}", networks))
    return rows


def _problem(found: RunResult) -> Problem:
    theory = found.theory
    counts = tuple(np.asarray(theory.counts, dtype=np.float64).tolist())
    weights = found.run.config.training.class_weights
    return found.source, counts, round(theory.lambda_z, 12), weights


def _scaled(Z: Matrix) -> Matrix:
    low, high = float(Z.min()), float(Z.max())
    scaled: Matrix = (Z - low) / (high - low) if high > low else np.full_like(Z, 0.5)
    return scaled


def _table(
    results: list[RunResult], rows: Sequence[tuple[str, dict[Problem, Matrix]]], norm: Any
) -> tuple[Figure, list[Axes], AxesImage]:
    """A panel for each row and problem; with few problems these are the rows instead."""
    problems = _problems(results)
    across, down = len(problems), len(rows)
    turned = down > 2 * across
    if turned:
        across, down = down, across
    figure = new_figure(1.02 * across + 1.4, 1.08 * down + 0.7)
    axes = figure.subplots(down, across, squeeze=False)
    cells = axes.T if turned else axes
    names = [label for label, _ in rows]
    titles = [_problem_title(found, list(problems.values())) for found in problems.values()]
    for ax, text in zip(axes[0], names if turned else titles, strict=True):
        ax.set_title(text, fontsize=SMALL, color=INK)
    for ax, text in zip(axes[:, 0], titles if turned else names, strict=True):
        ax.set_ylabel(text, fontsize=SMALL, color=INK)
    for i, (_, row) in enumerate(rows):
        for j, (problem, found) in enumerate(problems.items()):
            _panel(cells[i, j], row.get(problem), norm, _borders(found))
    return figure, list(axes.ravel()), cells[0, 0].images[0]


def _problems(results: list[RunResult]) -> dict[Problem, RunResult]:
    """The problems in their order, each with one of its runs."""
    found: dict[Problem, RunResult] = {}
    for result in results:
        found.setdefault(_problem(result), result)
    return found


def _borders(found: RunResult) -> Matrix:
    borders: Matrix = np.flatnonzero(np.diff(found.counts)).astype(np.float64) + 0.5
    return borders


def _problem_title(found: RunResult, everything: list[RunResult]) -> str:
    """What tells this problem from the others, and lambda_z over the threshold."""
    parts = []
    if len({other.source for other in everything}) > 1:
        parts.append(found.source)
    counts = {other.run.config.data.counts: other.counts for other in everything}
    largest = {float(values.max()) for values in counts.values()}
    if len(counts) > 1 and len(largest) == len(counts):
        parts.append(f"$n_A$={short(found.counts.max())}")
    elif len(counts) > 1:
        sizes = dict.fromkeys(found.counts.tolist())
        parts.append("/".join(short(size) for size in sizes))
    else:
        parts.append(f"$\\lambda_Z$={found.theory.lambda_z:.4g}")
    return "\n".join([*parts, _ratio(found)])


def _ratio(found: RunResult) -> str:
    return f"{found.record()['lambda_z_over_threshold']:.3g} $\\lambda^*$"


def _panel(ax: Axes, Z: Matrix | None, norm: Any, borders: Matrix) -> None:
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=INK)
    if Z is None:
        ax.text(0.5, 0.5, "no run", transform=ax.transAxes, ha="center", fontsize=SMALL)
        return
    ax.imshow(Z, cmap=_GREYS, norm=norm, interpolation="nearest", aspect="equal")
    for position in borders:
        ax.axhline(position, color=_BORDER, linewidth=0.6)
        ax.axvline(position, color=_BORDER, linewidth=0.6)
