"""The form of a protocol's TOML file, told before anything of it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ufm.torch.config import to_toml

_TABLES = ("data", "model", "penalty", "training")
# A slip of the pen in a grid should be an error message, not an exhausted memory.
_MOST_RUNS = 100_000


def check_form(record: Mapping[str, Any], where: str) -> None:
    """Check the types of a protocol's own keys, and that its runs can be counted.

    What the runs' tables hold is checked where the runs are built.

    Parameters
    ----------
    record : mapping
        The TOML file's content.
    where : str
        What errors call the file.

    Raises
    ------
    ValueError
        If a value has the wrong type or there are too many runs; the message names file and key.
    """
    _check(where, record, "title", isinstance(record.get("title", ""), str), "a string")
    _check(where, record, "runs_of", isinstance(record.get("runs_of", ""), str), "a string")
    _check(where, record, "seed", _is_integer(record.get("seed", 0)), "an integer")
    for key in ("seeds", "figure"):
        values = record.get(key, [])
        fits = isinstance(values, list) and all(map(_is_integer, values))
        _check(where, record, key, fits, "a list of integers")
    _check_names(where, record, "only")
    for key in (*_TABLES, "grid", "variants", "as_published"):
        _check_table(where, record, key)
    for name in record.get("variants", {}):
        inner = f"{where}: variants"
        _check_table(inner, record["variants"], name)
        _check_table(f"{inner}.{name}", record["variants"][name], "when")
    published = record.get("as_published", {})
    inner = f"{where}: as_published"
    for key in ("only", "variants"):
        _check_names(inner, published, key)
    for key in (*_TABLES, "grid"):
        _check_table(inner, published, key)
    for table in (record.get("grid", {}), published.get("grid", {})):
        _check_grid(where, table)
    _check_number(where, record, published)


def _check(where: str, table: Mapping[str, Any], key: str, fits: bool, wanted: str) -> None:
    if not fits:
        raise ValueError(f"{where}: '{key:.80}' must be {wanted}, got {table[key]!r:.80}")


def _check_table(where: str, table: Mapping[str, Any], key: str) -> None:
    _check(where, table, key, isinstance(table.get(key, {}), Mapping), "a table")


def _check_names(where: str, table: Mapping[str, Any], key: str) -> None:
    values = table.get(key, [])
    fits = isinstance(values, list) and all(isinstance(value, str) for value in values)
    _check(where, table, key, fits, "a list of names")


def _check_grid(where: str, grid: Mapping[str, Any]) -> None:
    for key, values in grid.items():
        fits = isinstance(values, list) and bool(values)
        _check(f"{where}: grid", grid, key, fits, "a list of values")
        if not all(key.split(".")):
            raise ValueError(f"{where}: grid: '{key:.80}' is no dotted key")
        try:
            to_toml({key: values})
        except TypeError:
            _check(f"{where}: grid", grid, key, False, "a list of numbers, strings or lists")


def _check_number(where: str, record: Mapping[str, Any], published: Mapping[str, Any]) -> None:
    grid = record.get("grid", {})
    for lists in (grid, {**grid, **published.get("grid", {})}):
        sizes = [len(values) for values in lists.values()]
        number = math.prod(sizes) * max(1, len(record.get("seeds", [])))
        number *= max(1, len(record.get("variants", {})))
        if number > _MOST_RUNS:
            raise ValueError(f"{where}: {number:.6g} runs, at most {_MOST_RUNS:,} are allowed")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
