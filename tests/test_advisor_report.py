"""The advisor's text and page: readable, well-formed, self-contained, whole or not there."""

from __future__ import annotations

import base64
import os
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import ufm
from ufm.planning import _wording as wording

VOID = {"meta", "img", "br", "hr", "link", "input"}
# Attributes through which a page can load something.
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """A page whose tags must close in order; keeps its text and what it loads."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        assert not any(name.startswith("on") for name in names)
        self.loaded += [value for name, value in attributes if name in LOADING]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def advice(counts=(500,) * 5 + (100,) * 5, lambda_z=0.0035, **options):
    return ufm.advise(counts, lambda_z=lambda_z, lambda_b=0.02, **options)


CASES = {
    "feasible": {},
    "infeasible": {"lambda_z": 0.0051},
    "nothing": {"lambda_z": 0.001},
    "everything": {"lambda_z": 0.01},
    "mean": {"lambda_z": 0.0051, "feature_penalty": "mean"},
    "single sizes": {"counts": (500, 300, 20), "lambda_z": 0.01},
    "single sizes, all": {"counts": (500, 300, 20), "lambda_z": 0.006, "protect": "all"},
    "balanced": {"counts": (50,) * 4, "lambda_z": 0.05},
    "one": {"counts": (5,)},
    "many": {
        "counts": (*np.repeat(np.arange(3, 40), 2).tolist(), 10**6, 28_787_591, 27_086_011),
        "lambda_z": 5e-6,
        "cluster_checks": 1,
    },
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    return advice(**CASES[request.param])


def test_page_is_well_formed_and_self_contained(case):
    source = case.html(pictures=False)
    page = Page(source)
    assert page.seen[0] == "html" and "script" not in page.seen and "link" not in page.seen
    assert page.loaded == []
    assert "url(" not in source and "@import" not in source
    assert not re.search(r"\b(nan|None|inf)\b", page.text.replace("lambda_b = inf", ""))
    for part in (case.verdict, "What was asked", "How this was verified", "assumes", "Words used"):
        assert part in page.text
    for check in case.checks:
        assert check.name in page.text and f"{check.relative_gap:.1e}" in page.text


@pytest.mark.parametrize("name", ["feasible", "infeasible", "nothing", "one", "many"])
def test_pictures_are_inside(name):
    pytest.importorskip("matplotlib")
    case = advice(**CASES[name])
    page = Page(case.html(pictures=True))
    prefix = "data:image/svg+xml;base64,"
    expected = 1 + (case.counts.size > 1) + case.oversampling.needed
    assert len(page.loaded) == expected == page.seen.count("img")
    for source in page.loaded:
        assert source.startswith(prefix)
        picture = base64.b64decode(source.removeprefix(prefix), validate=True)
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
        for element in root.iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:"))


def test_same_advice_same_page():
    pytest.importorskip("matplotlib")
    one = advice()
    assert one.html() == one.html()


def test_text_fits_and_tells(case):
    lines = str(case).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 60
    joined = " ".join(" ".join(lines).split())
    assert case.verdict in joined
    assert not re.search(r"\b(nan|None)\b", joined)


def test_rows_cover_all_classes(case):
    rows = wording.ranges(case)
    assert sum(row.num_classes for row in rows) == case.counts.size
    assert sum(row.merged for row in rows) == case.merged.sum()
    assert len(rows) <= wording.MOST_ROWS + 4
    assert [c for row in rows for c in row.clusters] == case.clusters


def test_names_are_escaped():
    names = ["<script>alert(1)</script>", "A & B", 'quote"', "'", "</table>"] * 2
    source = advice(names=names, lambda_z=0.0051).html(pictures=False)
    page = Page(source)
    assert "script" not in page.seen and "<script>" not in source
    assert "<script>alert(1)</script>" in page.text and "A & B" in page.text


def test_save(tmp_path):
    path = tmp_path / "report.html"
    assert advice().save_html(path, pictures=False) == path
    Page(path.read_text(encoding="utf-8"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        advice().save_html(path, pictures=False)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["none/report.html", "."])
def test_bad_path(tmp_path, name):
    with pytest.raises(ValueError, match="html"):
        advice().save_html(tmp_path / name)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(advice().html())
    assert page.loaded == [] and 'pip install "ufm[plot]"' in page.text
    with pytest.raises(ImportError, match=r"ufm\[plot\]"):
        advice().html(pictures=True)
