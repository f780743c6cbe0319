"""How results show themselves: one line as text, small tables in notebooks.

A result class takes :class:`Shown` as its base; what it shows is one function in `ufm._views`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeVar

MOST_ROWS = 10
_DASH = "\N{EN DASH}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# Colours are left to the page, so that light and dark notebooks both stay readable.
_STYLE = (
    "<style>"
    ".ufm-result table{border-collapse:collapse;margin:.3em 0 .8em}"
    ".ufm-result caption{text-align:left;font-weight:bold;white-space:nowrap}"
    ".ufm-result th,.ufm-result td{padding:.15em .7em;text-align:right;white-space:nowrap}"
    ".ufm-result thead th{border-bottom:1px solid}"
    ".ufm-result .ufm-text th,.ufm-result .ufm-text td{text-align:left;white-space:normal}"
    ".ufm-result .ufm-text th{white-space:nowrap}.ufm-result td[colspan]{text-align:center}"
    "</style>"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """A small table; the first cell of each row names the row.

    Attributes
    ----------
    caption : str
        Its heading.
    columns : sequence of str
        Names of the columns.
    rows : list of (sequence of str or None)
        Cells as plain text; None stands for rows left out.
    sentences : bool
        Whether the cells hold words to be wrapped, not numbers.
    """

    caption: str
    columns: Sequence[str]
    rows: list[Sequence[str] | None]
    sentences: bool = False

    def html(self) -> str:
        """The table, with scopes that tell a screen reader what each number belongs to."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = "".join(self._row(row) for row in self.rows)
        kind = ' class="ufm-text"' if self.sentences else ""
        return (
            f"<table{kind}><caption>{escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _row(self, row: Sequence[str] | None) -> str:
        if row is None:
            return f'<tr><td colspan="{len(self.columns)}">{_ELLIPSIS}</td></tr>'
        first, *others = map(escape, row)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        return f'<tr><th scope="row">{first}</th>{cells}</tr>'


@dataclass(frozen=True)
class View:
    """What a result shows.

    Attributes
    ----------
    title : str
        What it is, for people.
    headline : str
        The one line that its repr gives.
    facts : dict of str
        Names and values, as plain text.
    tables : list of Table
        Such as a row a cluster.
    notes : sequence of str
        Remarks below.
    """

    title: str
    headline: str
    facts: dict[str, str]
    tables: list[Table] = field(default_factory=list)
    notes: Sequence[str] = ()

    def html(self, name: str) -> str:
        """A fragment of HTML; all texts are escaped."""
        rows = "".join(
            f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>'
            for key, value in self.facts.items()
        )
        facts = (
            f'<table class="ufm-text"><caption>{escape(self.title)}</caption>'
            f"<tbody>{rows}</tbody></table>"
        )
        return (
            f'<div class="ufm-result" role="group" aria-label="{escape(name)}">{_STYLE}'
            + facts
            + "".join(table.html() for table in self.tables)
            + "".join(f"<p>{escape(note)}</p>" for note in self.notes)
            + "</div>"
        )


class Shown:
    """Base of results: a repr of one line, and tables in notebooks."""

    def __repr__(self) -> str:
        from ufm._views import view_of

        return f"<ufm.{type(self).__name__}: {view_of(self).headline}>"

    def _repr_html_(self) -> str:
        from ufm._views import view_of

        return view_of(self).html(f"ufm.{type(self).__name__}")


def elided(items: Sequence[T]) -> list[T | None]:
    """The first and last items, with None for what is left out between them."""
    if len(items) <= MOST_ROWS:
        return list(items)
    half = MOST_ROWS // 2
    return [*items[:half], None, *items[-half:]]


def number(value: float, digits: int = 6) -> str:
    """A number to some digits; a dash for NaN."""
    if math.isnan(value):
        return _DASH
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    return f"{value:.{digits}g}"


def yes_no(value: bool | None) -> str:
    """A verdict in a word; a dash where there is none."""
    return _DASH if value is None else "yes" if value else "no"
