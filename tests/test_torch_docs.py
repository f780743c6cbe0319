"""The pages of the documentation whose code needs PyTorch, run from top to bottom.

The documentation's own build runs all others, and of these the parts that need no PyTorch.
"""

from __future__ import annotations

import doctest
import re

import pytest

import ufm.torch
from conftest import ROOT

pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
pytest.importorskip("torchmetrics", reason="TorchMetrics is not installed (extra torch)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra torch)")


def code_of(page):
    """The blocks with prompts of a Markdown page, joined."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "torch" in code_of(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(code_of(page), {}, page.stem, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(example, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)


def test_there_are_such_pages():
    assert {"conventions", "practitioner"} <= {page.stem for page in PAGES}


def test_examples_of_docstrings():
    """Each is run by itself, as a reader would copy it."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    finder = doctest.DocTestFinder()
    report: list[str] = []
    for name in ufm.torch.__all__:
        for example in finder.find(getattr(ufm.torch, name), name, globs={}):
            runner.run(example, out=report.append)
    assert runner.tries > 20
    assert runner.failures == 0, "".join(report)
