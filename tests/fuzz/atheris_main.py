"""Fuzzes one target: ``python atheris_main.py NAME [options and folders of libFuzzer]``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz import targets


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in targets.NAMES:
        sys.exit(f"give one of {', '.join(targets.NAMES)}, got {name!r}")
    with atheris.instrument_imports(include=["ufm", "tomllib", "fuzz"]):
        target = targets.load(name)
    # As under pytest: no call may leave a warning behind.
    warnings.simplefilter("error")
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


main()
