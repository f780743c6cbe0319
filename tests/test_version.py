"""One source states the version, and everything that repeats it agrees."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

import ufm
from conftest import ROOT


def text_of(name: str) -> str:
    """A file of the source tree; wheels are tested without it."""
    path = ROOT / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the tests")
    return path.read_text(encoding="utf-8")


def test_form():
    # Release, or development, alpha, beta and candidate releases of it.
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", ufm.__version__)


def test_installed_metadata():
    try:
        installed = importlib.metadata.version("ufm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ufm is on the path but not installed")
    assert installed == ufm.__version__


def test_build_reads_it_from_the_package():
    settings = text_of("pyproject.toml")
    assert 'dynamic = ["version"]' in settings
    assert 'metadata.version.input = "python/ufm/_version.py"' in settings


def test_newest_entry_of_the_changes():
    newest = re.search(r"^## (\S+)", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == ufm.__version__


def test_citation():
    stated = re.search(r"^version: (\S+)$", text_of("CITATION.cff"), flags=re.MULTILINE)
    assert stated is not None
    assert stated.group(1).strip("\"'") == ufm.__version__
