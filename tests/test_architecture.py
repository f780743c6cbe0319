"""Which room imports what: the table of docs/architecture.md, read off the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "python" / "ufm"
if not PACKAGE.is_dir() or not (ROOT / "cpp").is_dir():
    pytest.skip("the sources of the package are not here", allow_module_level=True)
ROOMS = ("theory", "planning", "metrics", "torch", "figures", "cli")
# Not even inside a function.
FORBIDDEN = {
    "base": {"torch", "matplotlib", "xarray", "click", "rich", "ufm.cli"},
    "theory": {"torch", "matplotlib", "xarray", "click", "rich", "ufm.cli", "ufm.figures"},
    "metrics": {"torch", "matplotlib", "xarray", "click", "rich", "ufm.cli", "ufm.figures"},
    "planning": {"torch", "click", "rich", "ufm.cli", "ufm.figures"},
    "torch": {"xarray", "matplotlib", "click", "rich", "ufm.cli", "ufm.figures"},
    "figures": {"click", "rich", "ufm.cli"},
}
# Reaches for the pictures when it is called.
EXCEPTIONS = {("comparison.py", "ufm.figures")}
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in ROOMS else "base"


def imports(path: Path) -> set[str]:
    """Top-level packages and rooms of ufm that a file imports at run time."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    rooms = {".".join(name.split(".")[:2]) for name in found if name.startswith("ufm.")}
    return rooms | {name.split(".")[0] for name in found if not name.startswith("ufm.")}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_room_imports_only_what_it_may(room):
    files = [path for path in SOURCES if room_of(path) == room]
    assert files
    broken = {
        (str(path.relative_to(PACKAGE)), name)
        for path in files
        for name in imports(path) & FORBIDDEN[room]
    }
    assert broken <= EXCEPTIONS


def test_no_room_is_left_out():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_the_core_knows_no_python():
    for path in [*(ROOT / "cpp" / "src").iterdir(), *(ROOT / "cpp" / "include" / "ufm").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert "pybind11" not in text and "Python.h" not in text, path.name


def test_only_the_certificate_computes_gaps():
    """`relative_gap` is defined in one place of the core; the Python side only passes it on."""
    makers = [
        path.name
        for path in (ROOT / "cpp" / "src").glob("*.cpp")
        if "double relative_gap(" in path.read_text(encoding="utf-8")
    ]
    assert makers == ["certificate.cpp"]
