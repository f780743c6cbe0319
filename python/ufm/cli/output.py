"""Where output goes: JSON, the console, and terminals without unicode."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

import numpy as np
from rich.console import Console

_PIPE_WIDTH = 100


def make_streams_safe() -> None:
    """Never fail on a character that the terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich would exit with status 1, which means something else here


def console() -> Console:
    """A console on stdout; into a file or pipe it writes lines of fixed width."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return _Console(width=width, highlight=False, soft_wrap=False)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on one line; an error if it is not strict JSON."""
    print(json.dumps(strict(record), allow_nan=False))


def strict(value: Any) -> Any:
    """`value` with what JSON lacks replaced: nan by null, infinities by "inf" and "-inf"."""
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
