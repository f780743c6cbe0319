"""A comparison as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ufm.comparison import Comparison

_MOST_ROWS = 12
_MOST_BLOCKS = 4


def summary(found: Comparison) -> str:
    """Errors, cosines and verdicts, a column for each theory."""
    return "\n".join([*_heading(found), *_errors(found), *_cosines(found), *_verdicts(found)])


def _heading(found: Comparison) -> list[str]:
    lines = [
        f"{found.counts.size} classes, {found.counts.sum():.10g} samples, "
        f"lambda_z = {found.lambda_z:.6g}, lambda_b = {found.lambda_b:.6g}"
    ]
    for fit in found.fits:
        if not fit.solution.converged:
            lines.append(
                f"{fit.name}: {fit.solution.status.name}, gap {fit.solution.relative_gap:.1e}"
            )
    if len(found.fits) > 1:
        best = found.best
        lines.append(
            "nearer theory: the two predict the same Z here"
            if best is None
            else f"nearer theory: {best.name} features"
        )
    return lines


def _errors(found: Comparison) -> list[str]:
    """One column for each theory."""
    rows = [
        ("Z, relative error", "Z_relative", ".4f"),
        ("Z, rms error in logits", "Z_rms", ".2e"),
        ("Z, largest error in logits", "Z_max", ".2e"),
    ]
    if found.b is not None:
        rows += [
            ("b, relative error", "b_relative", ".4f"),
            ("b centred, relative error", "b_centred_relative", ".4f"),
            ("b centred, largest in logits", "b_centred_max", ".2e"),
        ]
    lines = ["", f"{'':30s}" + "".join(f"{fit.name:>13s}" for fit in found.fits)]
    for text, name, form in rows:
        values = [format(getattr(fit.errors, name), form) for fit in found.fits]
        lines.append(f"{text:30s}" + "".join(f"{value:>13s}" for value in values))
    for text, name in (("W W^T, relative error", "W"), ("M M^T, relative error", "M")):
        if any(fit.grams is not None for fit in found.fits):
            values = [f"{getattr(f.grams, name):.4f}" if f.grams else "-" for f in found.fits]
            lines.append(f"{text:30s}" + "".join(f"{value:>13s}" for value in values))
    return lines


def _cosines(found: Comparison) -> list[str]:
    number = len(found.cosines)
    if number > _MOST_BLOCKS:
        return ["", *(f"largest cosine error, {f.name}: {f.cosine_error:.4f}" for f in found.fits)]
    sizes = -np.unique(-found.counts)
    heads = "".join(f"{fit.name:>13s}" for fit in found.fits)
    lines = ["", f"{'mean cosine, classes of':30s}{'measured':>10s}{heads}"]
    for i in range(number):
        for j in range(i, number):
            if math.isnan(found.cosines[i, j]):
                continue
            text = f"  {sizes[i]:.6g} and {sizes[j]:.6g}"
            values = "".join(f"{fit.cosines[i, j]:>13.4f}" for fit in found.fits)
            lines.append(f"{text:30s}{found.cosines[i, j]:>10.4f}{values}")
    return lines


def _verdicts(found: Comparison) -> list[str]:
    """Measured beside predicted verdicts, each with the spread in logits."""
    heads = "".join(f"{fit.name:>22s}" for fit in found.fits)
    lines = ["", f"{'count':>8s} {'classes':>7s}{'measured':>22s}{heads}"]
    total = len(found.clusters)
    shown = range(total) if total <= _MOST_ROWS else [*range(_MOST_ROWS // 2)]
    if total > _MOST_ROWS:
        shown = [*shown, *range(total - _MOST_ROWS // 2, total)]
    last = -1
    for i in shown:
        if i != last + 1:
            lines.append(f"{'...':>8s}")
        last = i
        cluster = found.clusters[i]
        cells = [_cell(cluster.collapsed, cluster.spread)]
        cells += [_cell(fit.collapsed[i], fit.spreads[i]) for fit in found.fits]
        row = "".join(f"{cell:>22s}" for cell in cells)
        lines.append(f"{cluster.count:>8.6g} {cluster.multiplicity:>7d}{row}")
    lines += [
        f"verdicts as predicted with {fit.name} features: {'yes' if fit.agrees else 'no'}"
        for fit in found.fits
    ]
    return lines


def _cell(collapsed: bool | None, spread: float) -> str:
    if collapsed is None:
        return "single"
    return f"{'merged' if collapsed else 'separate'} ({spread:.2e})"
