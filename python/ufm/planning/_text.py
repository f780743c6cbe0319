"""The advice as plain text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ufm.planning import _margin_words as margins
from ufm.planning import _wording as wording
from ufm.planning._options import Option, options

if TYPE_CHECKING:
    from ufm.planning.advice import Advice


def text(advice: Advice) -> str:
    """The advice as plain text, at most 100 characters wide."""
    lines = [
        f"{wording.sizes_line(advice)}, {wording.number(advice.num_samples)} samples",
        wording.penalties_line(advice),
        f"classes of one size merge at or below {advice.merging_count:.4g} samples",
        "",
        *_wrapped(advice.verdict),
        "",
        *_table(advice),
    ]
    found = options(advice)
    if found:
        lines += ["", f"To keep classes apart (margin {advice.margin:.3g}), either:"]
        lines += _ways(advice, found)
    if advice.positive_margin is not None:
        lines += ["", *_wrapped(margins.verdict(advice)), *_wrapped(margins.heading(advice))]
        lines += _ways(advice, margins.margin_options(advice))
    lines += ["", *_wrapped(wording.closing(advice))]
    return "\n".join(lines)


def _ways(advice: Advice, found: list[Option]) -> list[str]:
    lines = []
    for option in found:
        lines += _wrapped(f"{option.name}: {option.action}.", "  - ", "    ")
        told = wording.confirmation(advice, option.check)
        lines += _wrapped(f"cost: {option.cost}; {told}", "    ", "    ")
    return lines


def _table(advice: Advice) -> list[str]:
    head = [column.split("\n") for column in wording.COLUMNS]
    rows = [[part[0] for part in head], [part[1] if len(part) > 1 else "" for part in head]]
    rows += [wording.row(part) for part in wording.ranges(advice)]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(wording.COLUMNS))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    ]


def _wrapped(words: str, first: str = "", other: str = "") -> list[str]:
    return textwrap.wrap(words, 98, initial_indent=first, subsequent_indent=other)
