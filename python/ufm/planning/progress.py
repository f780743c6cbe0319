"""Progress of a sweep as one line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

Report = Callable[[int, int], Any]

_PATIENCE = 1.0  # seconds of silence


class Progress:
    """Reports how many of the problems are done.

    Parameters
    ----------
    total : int
        Number of problems.
    report : callable, bool or None
        Called with (done, total). None: a line on stderr if that is a terminal and the work takes
        more than a second; False: nothing; True: the line in any case.
    """

    def __init__(self, total: int, report: Report | bool | None) -> None:
        if not (report is None or isinstance(report, bool) or callable(report)):
            raise TypeError(f"progress must be a function, a bool or None, got {report!r:.80}")
        self._total = total
        self._done = 0
        self._begin = time.monotonic()
        self._from_store = 0
        self._shown = False
        if report is None:
            report = sys.stderr is not None and sys.stderr.isatty()
        self._report: Report | None = None if isinstance(report, bool) else report
        self._line = report is True

    def update(self, new: int, *, from_store: bool = False) -> None:
        """Count problems as done."""
        self._done += new
        if from_store:
            self._from_store += new
        if self._report is not None:
            self._report(self._done, self._total)
        elif self._line:
            self._print()

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _print(self) -> None:
        seconds = time.monotonic() - self._begin
        if seconds < _PATIENCE:
            return
        own = self._done - self._from_store
        left = f", about {seconds * (self._total - self._done) / own:.0f} s left" if own else ""
        text = f"sweep: {self._done:,} of {self._total:,} problems, {seconds:.0f} s{left}"
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()
        self._shown = True
