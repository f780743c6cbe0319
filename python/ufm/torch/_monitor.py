"""How a running solve reports and is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ufm.solution import Status

_SECONDS_BETWEEN_REPORTS = 0.1


class StopRequest(Exception):
    """Ends a computation early; the best iterate is still certified."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class Monitor:
    """Passes progress on and asks for a stop; without arguments it does neither.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(iteration, objective, relative_gap)`` at most ten times a second; a
        true return value asks for a stop.
    time_limit : float
        Seconds until a stop is asked for.
    """

    def __init__(
        self,
        progress: Callable[[int, float, float], Any] | None = None,
        time_limit: float = math.inf,
    ) -> None:
        self._progress = progress
        self._last_report = time.perf_counter()
        self._deadline = self._last_report + time_limit

    def check(self) -> None:
        """Raise `StopRequest` when the time is up."""
        if time.perf_counter() > self._deadline:
            raise StopRequest(Status.TIME_LIMIT)

    def report(self, iteration: int, objective: float, relative_gap: float) -> None:
        """Report one iteration, with a NaN gap where none was computed."""
        now = time.perf_counter()
        if self._progress is None or now - self._last_report < _SECONDS_BETWEEN_REPORTS:
            return
        self._last_report = now
        if self._progress(iteration, objective, relative_gap):
            raise StopRequest(Status.INTERRUPTED)
