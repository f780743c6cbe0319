"""How much memory can be had, and errors that say what it did not suffice for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_GIB = 2.0**30
# Bytes below which asking how much is free would take longer than the work.
_ASK_FROM = 2.0**24


def free_memory() -> float:
    """Bytes of memory that can be had, infinity where the system does not tell.

    The least of what the system has free and what the limits of this process (``ulimit -v``) and
    of its control group (containers, batch systems) leave.
    """
    return min(_system_memory(), _address_space(), _group_memory())


def _system_memory() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * float(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES")) * float(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _address_space() -> float:
    """Bytes that the limit on the address space leaves."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return math.inf
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return max(limit - float(pages) * os.sysconf("SC_PAGE_SIZE"), 0.0)
    except (ImportError, AttributeError, OSError, ValueError, IndexError):
        return math.inf


def _group_memory() -> float:
    """Bytes that the control group leaves, of which file caches are given back when asked for."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = float((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        if not limit.isdecimal():  # "max"
            return math.inf
        stat = dict(line.split() for line in lines)
        cached = float(stat["active_file"]) + float(stat["inactive_file"])
        return max(float(limit) - used + cached, 0.0)
    except (OSError, ValueError, KeyError):
        return math.inf


def _size(amount: float) -> str:
    """An amount of bytes with a unit.

    >>> _size(2.0**31), _size(80000.0)
    ('2 GiB', '0.0763 MiB')
    """
    return f"{amount / _GIB:.3g} GiB" if amount >= _GIB else f"{1024 * amount / _GIB:.3g} MiB"


def several_arrays(rows: int, columns: int) -> str:
    """The need for more than one array of doubles, in words."""
    return f"needs several arrays of {rows} x {columns} doubles, {_size(8.0 * rows * columns)} each"


def require_memory(what: str, rows: int, columns: int, instead: str = "") -> None:
    """Raise a MemoryError if an array of doubles cannot fit.

    Parameters
    ----------
    what : str
        What needs the array.
    rows, columns : int
        Its shape.
    instead : str
        What else to do.
    """
    needed = 8.0 * rows * columns
    if needed > _ASK_FROM and needed > free_memory():
        raise MemoryError(
            f"{what} needs {rows} x {columns} entries, {_size(needed)}, more than is free"
            + (f"; {instead}" if instead else "")
        )


@contextmanager
def explained_memory(what: str | Callable[[], str]) -> Iterator[None]:
    """Say what did not fit where a MemoryError inside the block does not.

    Parameters
    ----------
    what : str or callable
        What was being done and what it needs, or a function that tells.
    """
    try:
        yield
    except MemoryError as error:
        raise memory_error(error, what if isinstance(what, str) else what()) from None


def memory_error(error: MemoryError, what: str) -> MemoryError:
    """An error that says what did not fit, from one that may not."""
    reason = str(error)
    reason = "" if reason in ("", "std::bad_alloc") else f" ({reason})"
    free = free_memory()
    left = f"; {_size(free)} are free" if math.isfinite(free) else ""
    return MemoryError(f"{what}, and the memory did not suffice{reason}{left}")
