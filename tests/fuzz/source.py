"""Bytes read as values, and what every target shares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads values from bytes; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def byte(self) -> int:
        place = self._place
        self._place += 1
        return self._data[place] if place < len(self._data) else 0

    def below(self, limit: int) -> int:
        return self.byte() % limit

    def choice(self, items: Sequence[T]) -> T:
        return items[self.byte() % len(items)]

    def take(self, size: int) -> bytes:
        taken = self._data[self._place : self._place + size]
        self._place += size
        return taken.ljust(size, b"\0")

    def rest(self) -> bytes:
        taken = self._data[self._place :]
        self._place = len(self._data)
        return taken


@contextmanager
def refusals(*allowed: type[Exception], names: Callable[[str], bool]) -> Iterator[None]:
    """Let the allowed exceptions pass in silence, if their message says what is wrong.

    ``names`` tells whether a message names the fault; a message must also be short, since it
    goes to a person.
    """
    refusal: Exception | None = None
    try:
        yield
    except allowed as error:
        refusal = error
    if refusal is not None and not names(str(refusal)):
        raise AssertionError(f"does not say what is wrong: {refusal!r:.300}") from refusal
    if refusal is not None and len(str(refusal)) > 1000:
        raise AssertionError(f"too long a message: {refusal!r:.300}") from refusal


def scratch_folder() -> Path:
    """A folder for files that targets read, in memory where the system offers that; one a process.

    It is removed with its contents at the end.
    """
    global _scratch
    if _scratch is None:
        memory = Path("/dev/shm")
        where = memory if os.access(memory, os.W_OK) else None
        _scratch = tempfile.TemporaryDirectory(prefix="ufm-fuzz-", dir=where)
    return Path(_scratch.name)


_scratch: tempfile.TemporaryDirectory[str] | None = None
