"""The pages of the documentation: every public name is in the reference, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ufm
from conftest import ROOT
from ufm import figures, losses, metrics

DOCS = ROOT / "docs"
OTHERS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "bench/README.md",
    "examples/README.md",
    "tests/README.md",
)
PAGES = [
    *(path for path in sorted(DOCS.rglob("*.md")) if not {"_build", "generated"} & set(path.parts)),
    *(ROOT / name for name in OTHERS if (ROOT / name).is_file()),
]


def documented(page: str) -> set[str]:
    """Names in the lists of a page of the reference."""
    return set(re.findall(r"^   ([\w.]+)$", (DOCS / "api" / page).read_text(), re.MULTILINE))


def test_every_public_name_is_in_the_reference():
    pages = ("solving", "losses", "theory", "planning", "networks")
    known = set.union(*(documented(f"{page}.rst") for page in pages))
    rooms = {"losses", "metrics", "counts", "figures", "torch", "__version__"}
    assert set(ufm.__all__) - rooms <= known
    assert {f"losses.{name}" for name in losses.__all__ if name != "Loss"} <= known
    assert set(metrics.__all__) <= documented("metrics.rst")
    assert set(figures.__all__) <= documented("figures.rst")
    assert set(ufm.counts.__all__) <= documented("counts.rst")
    assert set(ufm.torch.__all__) <= documented("networks.rst")


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as code-hosting sites and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="not a checkout: no folder bench")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\((?!\w+:)([^)\s]*)\)", text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"
