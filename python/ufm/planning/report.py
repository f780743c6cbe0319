"""The advice as a page: self-contained HTML for readers who have not met the theory."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ufm._version import __version__
from ufm.planning import _margin_words as margins
from ufm.planning import _page_text as prose
from ufm.planning import _wording as wording
from ufm.planning._options import Option, options

if TYPE_CHECKING:
    from ufm.planning.advice import Advice, ClusterAdvice

_MOST_SIZES = 40


def page(advice: Advice, *, pictures: bool | None = None) -> str:
    """The report; see :meth:`Advice.html`."""
    drawn = _pictures(advice, pictures)
    body = [
        f"<h1>{escape(prose.TITLE)}</h1>",
        f'<p class="{_mood(advice)}">{escape(advice.verdict)}</p>',
        *_asked(advice),
        *_sizes(advice, drawn),
        *_recommendations(advice, drawn),
        *_alone(advice),
        *_positive_margin(advice),
        *_checks(advice),
        "<h2>What this assumes</h2>",
        _items(prose.ASSUMPTIONS),
        "<h2>Words used</h2>",
        _glossary(),
        f"<footer>Made by ufm {escape(__version__)}. Model and thresholds: {escape(prose.SOURCE)}"
        "</footer>",
    ]
    return _frame("\n".join(body))


def _frame(body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(prose.TITLE)}</title>\n<style>\n{prose.STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _mood(advice: Advice) -> str:
    if not advice.confirmed:
        return "verdict bad"
    if advice.merged.any() or advice.everything_collapsed:
        return "verdict bad"
    close = any(cluster.ratio * (1 + advice.margin) > 1 for cluster in advice.clusters)
    return "verdict warn" if close else "verdict good"


# ---------------------------------------------------------------------- sections


def _asked(advice: Advice) -> list[str]:
    given, counts = advice.penalties, advice.counts
    rows = [
        ("Classes", wording.sizes_line(advice)),
        (
            "Samples",
            f"{wording.number(advice.num_samples)} in all, from {wording.number(counts.min())} to "
            f"{wording.number(counts.max())} a class",
        ),
    ]
    if given.weight_decay is not None and given.feature_decay is not None:
        rows += [
            ("Weight decay", f"{given.weight_decay:.6g}"),
            ("Feature decay", f"{given.feature_decay:.6g} on the {given.feature_penalty}"),
        ]
    rows += [
        ("Regularisation", f"lambda_z = {advice.lambda_z:.6g}"),
        ("Bias penalty", prose.bias_words(advice.lambda_b)),
        ("Safety margin", f"thresholds at least {1 + advice.margin:.3g} times lambda_z"),
        ("To keep apart", prose.PROTECT[advice.protect]),
    ]
    return [
        "<h2>What was asked</h2>",
        f"<p>{escape(prose.QUESTION)}</p>",
        _table(None, rows, "facts"),
    ]


def _sizes(advice: Advice, drawn: dict[str, str]) -> list[str]:
    parts = ["<h2>Which classes merge</h2>", f"<p>{escape(prose.rule(advice))}</p>"]
    parts += _figure(drawn, "counts", prose.CAPTIONS["counts"])
    named = wording.names_of(advice, [c for c in reversed(advice.clusters) if c.merged])
    if named:
        parts.append(f"<p>Merged, smallest first: {escape(named)}.</p>")
    columns = [name.replace("\n", " ") for name in wording.COLUMNS]
    parts.append(_table(columns, [wording.row(part) for part in wording.ranges(advice)]))
    parts += _figure(drawn, "index", prose.CAPTIONS["index"])
    return parts


def _recommendations(advice: Advice, drawn: dict[str, str]) -> list[str]:
    parts = ["<h2>What prevents it</h2>"]
    found = options(advice)
    if not found:
        return [*parts, f"<p>{escape(prose.NOTHING_TIED)}</p>"]
    parts.append(f"<p>{escape(prose.OPTIONS)}</p>")
    parts.append(_ways(advice, found))
    return parts + _figure(drawn, "plan", prose.CAPTIONS["plan"])


def _positive_margin(advice: Advice) -> list[str]:
    """The other target, if it was asked for."""
    if advice.positive_margin is None:
        return []
    return [
        "<h2>What makes every class win its own samples</h2>",
        f"<p>{escape(margins.verdict(advice))}</p>",
        f"<p>{escape(prose.POSITIVE_MARGIN[advice.positive_margin.features])}</p>",
        _ways(advice, margins.margin_options(advice)),
    ]


def _ways(advice: Advice, found: Iterable[Option]) -> str:
    rows = [
        (option.name, option.action, option.cost, wording.confirmation(advice, option.check))
        for option in found
    ]
    return _table(["way", "what to do", "cost", "solved again"], rows, "words")


def _alone(advice: Advice) -> list[str]:
    """Sizes one by one, the smallest first."""
    short = [c for c in reversed(advice.clusters) if c.protected and c.factor_alone != 1]
    if not short:
        return []
    rows = [_alone_row(cluster) for cluster in short[:_MOST_SIZES]]
    parts = [
        "<details><summary>One size at a time</summary>",
        f"<p>{escape(prose.ALONE)}</p>",
        _table(
            ["samples", "classes", "factor", "samples then", "added in all", "others that merge"],
            rows,
        ),
    ]
    if len(short) > _MOST_SIZES:
        more = wording.number(len(short) - _MOST_SIZES)
        parts.append(f"<p>And {more} larger sizes.</p>")
    return [*parts, "</details>"]


def _alone_row(cluster: ClusterAdvice) -> list[str]:
    start = [wording.number(cluster.count), wording.number(cluster.multiplicity)]
    if cluster.factor_alone is None or cluster.samples_alone is None:
        return [*start, "no factor helps", "-", "-", "-"]
    return [
        *start,
        wording.short(cluster.factor_alone),
        wording.number(cluster.samples_alone),
        wording.number(cluster.added_alone or 0.0),
        wording.number(cluster.also_merge),
    ]


def _checks(advice: Advice) -> list[str]:
    rows = [
        [
            check.name,
            f"{check.lambda_z:.6g}",
            wording.number(check.num_samples),
            f"{wording.number(check.merged)} (expected {wording.number(check.expected_merged)})",
            wording.short(check.soft_collapse),
            f"{check.relative_gap:.1e}",
            "yes" if check.confirmed else f"NO ({check.status})",
        ]
        for check in advice.checks
    ]
    head = [
        "problem",
        "lambda_z",
        "samples",
        "merged",
        "largest index",
        "relative gap",
        "confirmed",
    ]
    joint = [row for row in rows if not row[0].endswith(" alone")]
    single = [row for row in rows if row[0].endswith(" alone")]
    parts = [
        "<h2>How this was verified</h2>",
        f"<p>{escape(prose.verification(advice))}</p>",
        _table(head, joint, "checks"),
    ]
    if single:
        many = wording.plural(len(single), "solve", "solves")
        parts.append(
            f"<details><summary>One size at a time: {many}</summary>"
            f"{_table(head, single, 'checks')}</details>"
        )
    return parts


def _glossary() -> str:
    terms = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in prose.GLOSSARY
    )
    return f"<dl>{terms}</dl>"


# ---------------------------------------------------------------------- pieces


def _items(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(head: Sequence[str] | None, rows: Iterable[Sequence[str]], kind: str = "") -> str:
    top = ""
    if head is not None:
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
        top = f"<thead><tr>{cells}</tr></thead>"
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def _figure(drawn: dict[str, str], name: str, caption: str) -> list[str]:
    if name not in drawn:
        return [] if drawn else [f'<p class="faint">{escape(prose.NO_PICTURE)}</p>']
    return [
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{drawn[name]}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    ]


def _pictures(advice: Advice, wanted: bool | None) -> dict[str, str]:
    """Pictures by name as base64; none where they are not wanted or cannot be drawn."""
    if wanted is False:
        return {}
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        if wanted:
            raise ImportError('pictures need matplotlib: pip install "ufm[plot]"') from None
        return {}
    from ufm.planning._pictures import draw

    return {name: base64.b64encode(svg).decode("ascii") for name, svg in draw(advice).items()}


# ---------------------------------------------------------------------- file


def check_report_path(path: str | os.PathLike[str]) -> Path:
    """The path of a report to write, refused early where writing must fail.

    Raises
    ------
    ValueError
        If it is a folder, or its folder does not exist.
    """
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"html: '{target}' is a folder")
    if not target.parent.is_dir():
        raise ValueError(f"html: the folder '{target.parent}' does not exist")
    return target
