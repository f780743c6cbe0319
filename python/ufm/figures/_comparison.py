"""Z of a network beside the predicted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ufm.figures._canvas import new_figure
from ufm.figures._heatmap import _checked_limit, _colour_bar, _draw, _entries, _norm, _title
from ufm.figures._selection import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ufm.comparison import Comparison


def comparison(found: Comparison, *, max_classes: int = 400) -> Figure:
    """Draw the measured mean prediction matrix and each predicted one on one colour scale.

    Parameters
    ----------
    found : Comparison
        From :func:`ufm.compare_prediction`.
    max_classes : int
        With more classes than this, a representative part is drawn and the titles say so.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    ValueError
        If `max_classes` is below 2.
    """
    selection = select(found.fits[0].solution, _checked_limit(max_classes))
    panels = [found.Z[selection.classes][:, selection.classes]]
    titles = [f"network\n$\\lambda_Z$ = {found.lambda_z:.4g}"]
    for fit in found.fits:
        panels.append(_entries(fit.solution, selection))
        titles.append(f"theory, {fit.name} features\nerror of Z {_percent(fit.errors.Z_relative)}")
    figure = new_figure(2.6 * len(panels) + 0.9, 3.2)
    axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    norm = _norm(panels)
    for position, (ax, values) in enumerate(zip(axes, panels, strict=True)):
        image = _draw(ax, values, selection, norm, labels=position == 0)
        _title(ax, titles[position], selection, found.counts.size)
    _colour_bar(figure, image, axes, panels)
    return figure


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if value < 1e3 else "undefined: Z* is 0"
