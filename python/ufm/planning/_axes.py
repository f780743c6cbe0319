"""Arguments of a sweep as axes: numbers, and vectors over classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ufm.problem import FloatArray


@dataclass(frozen=True)
class Axis:
    """Values of one number; ``swept`` tells whether they make a dimension."""

    name: str
    values: FloatArray
    swept: bool

    def identity(self) -> str:
        """The values in a few words, different for different values."""
        if not self.swept:
            return repr(float(self.values[0]))
        first, last = float(self.values[0]), float(self.values[-1])
        return f"{self.values.size} values from {first!r} to {last!r} ({_digest([self.values])})"


@dataclass(frozen=True)
class Vectors:
    """One or several vectors over classes, with labels where they were named."""

    name: str
    vectors: tuple[FloatArray, ...]
    labels: tuple[str, ...] | None
    swept: bool

    def __len__(self) -> int:
        return len(self.vectors)

    def identity(self) -> str:
        """The vectors in a few words, different for different vectors."""
        digest = _digest(self.vectors)
        if not self.swept:
            return f"{self.vectors[0].size} classes ({digest})"
        named = "" if self.labels is None else f" named {json.dumps(self.labels)}"
        return f"{len(self.vectors)} vectors{named} ({digest})"


def _digest(arrays: Iterable[FloatArray]) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.size},".encode())
        hashed.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return hashed.hexdigest()[:16]


def make_axis(name: str, value: Any, check: Callable[[str, Any], float]) -> Axis:
    if value is None or isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        return Axis(name, np.array([check(name, value)]), swept=False)
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} must be a number or a non-empty list of numbers, got shape {array.shape}"
        )
    values = []
    for index, item in enumerate(array.tolist()):
        try:
            values.append(check(name, item))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}[{index}]: {error}") from None
    return Axis(name, np.array(values), swept=True)


def make_vectors(name: str, value: Any, check: Callable[[Any], FloatArray]) -> Vectors:
    if isinstance(value, Mapping):
        labels = tuple(value)
        if not all(isinstance(label, str) for label in labels):
            raise TypeError(f"the names of {name} must be strings, got {labels!r:.80}")
        items, swept = list(value.values()), True
    else:
        labels = None
        items, swept = _items(name, value)
    if not items:
        raise ValueError(f"{name} must hold at least one vector, got an empty {type(value)}")
    vectors = []
    for index, item in enumerate(items):
        try:
            vectors.append(check(item))
        except (ValueError, TypeError) as error:
            where = index if labels is None else repr(labels[index])
            raise type(error)(f"{name}[{where}]: {error}" if swept else str(error)) from None
    return Vectors(name, tuple(vectors), labels, swept)


def _items(name: str, value: Any) -> tuple[list[Any], bool]:
    """The vectors in ``value``, and whether it is a list of them."""
    if isinstance(value, (list, tuple)) and any(np.ndim(item) for item in value):
        return list(value), True
    array = np.asarray(value)
    if array.ndim == 2:
        return list(array), True
    if array.ndim == 1 and array.dtype.kind == "O" and any(np.ndim(item) for item in array):
        return list(array), True
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one vector over classes or several, got shape {array.shape}"
        )
    return [value], False
