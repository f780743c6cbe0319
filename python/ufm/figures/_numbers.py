"""Writing the numbers behind a picture beside it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from ufm._files import write_text

_SUFFIXES = (".csv", ".json")


def check_numbers_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """The path of a table to write, refused early where writing must fail.

    Parameters
    ----------
    path : str or path-like
        Where the numbers are to go.
    name : str
        What messages call it.

    Raises
    ------
    ValueError
        If the folder does not exist or the name ends neither in .csv nor in .json.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{name}: it must end in {' or '.join(_SUFFIXES)}, got '{path}'")
    if not path.parent.is_dir():
        raise ValueError(f"{name}: the folder '{path.parent}' does not exist")
    if path.is_dir():
        raise ValueError(f"{name}: '{path}' is a folder")
    return path


def write_numbers(
    description: dict[str, Any], records: list[dict[str, Any]], path: str | os.PathLike[str]
) -> Path:
    """Write records as a table, or with their description as one JSON object.

    The file is written under a temporary name and then renamed, so that `path` never holds half
    of it.

    Parameters
    ----------
    description : dict
        The whole as plain values; what a JSON file holds.
    records : list of dict
        At least one, all with the same keys: the rows of a CSV file.
    path : str or path-like
        Ends in .csv or .json.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ValueError
        As `check_numbers_path`.
    OSError
        If the file cannot be written.
    """
    path = check_numbers_path(path)
    if path.suffix.lower() == ".json":
        text = json.dumps(_without_nan(description), indent=1, allow_nan=False) + "\n"
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        text = table.getvalue()
    write_text(path, text)
    return path


def _without_nan(value: Any) -> Any:
    """`value` with what JSON lacks replaced: NaN by None, infinities by "inf" and "-inf"."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
