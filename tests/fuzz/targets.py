"""All targets by name, imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
_HOMES = {
    "counts": "text_targets",
    "csv": "text_targets",
    "options": "text_targets",
    "problem": "problem_target",
    "protocol": "file_targets",
    "store": "file_targets",
    "idx": "run_targets",
    "run": "run_targets",
}
NAMES = tuple(_HOMES)


def needs_torch(name: str) -> bool:
    return _HOMES[name] == "run_targets"


def names_here() -> list[str]:
    """Targets that can run with what is installed."""
    return [name for name in NAMES if find_spec("torch") is not None or not needs_torch(name)]


def load(name: str) -> Callable[[bytes], None]:
    target: Callable[[bytes], None] = getattr(import_module(f"fuzz.{_HOMES[name]}"), name)
    return target


def corpus(name: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted(path for path in (FOLDER / "corpus" / name).iterdir() if path.is_file())
