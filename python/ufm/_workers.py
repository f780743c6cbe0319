"""How many threads a batch gets, so that batches that overlap do not crowd the processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from threadpoolctl import LibController, register

from ufm import _core


class _Controller(LibController):  # type: ignore[misc, unused-ignore]
    """Makes ``threadpoolctl.threadpool_limits`` hold for batches, as for BLAS and OpenMP."""

    user_api = "ufm"
    internal_api = "ufm"
    filename_prefixes = ("_core",)
    check_symbols = ("ufm_get_num_threads", "ufm_set_num_threads")

    def get_num_threads(self) -> int:
        """Threads that the next batch may use."""
        return int(self.dynlib.ufm_get_num_threads()) or available_cpus()

    def set_num_threads(self, num_threads: int) -> None:
        """Limit the threads of batches; all CPUs are no limit."""
        limited = num_threads if 0 < num_threads < available_cpus() else 0
        self.dynlib.ufm_set_num_threads(limited)

    def get_version(self) -> str:
        """Version of ufm."""
        from ufm._version import __version__

        return __version__

    def set_additional_attributes(self) -> None:
        """There are none."""


register(_Controller)


def available_cpus() -> int:
    """Number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


class _Busy:
    """Threads of the batches under way in this process."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.threads = 0


_busy = _Busy()


def _after_fork() -> None:
    global _busy
    _busy = _Busy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def batch_threads(threads: int | None) -> Iterator[int]:
    """Number of threads for a batch, counted as busy inside the block.

    Parameters
    ----------
    threads : int or None
        What the caller asked for, which is granted. None: one for each CPU that no other batch
        has, within the limit that threadpoolctl has set, and one at the least.
    """
    busy: Any = _busy
    with busy.lock:
        limit = _core.thread_limit() or available_cpus()
        granted = threads or max(min(limit, available_cpus()) - busy.threads, 1)
        busy.threads += granted
    try:
        yield granted
    finally:
        with busy.lock:
            busy.threads -= granted
