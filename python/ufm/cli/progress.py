"""Progress of a solve, shown to people only."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

_PATIENCE = 0.5  # seconds of silence: most solves are done by then


class Progress:
    """A context manager around one solve, with the callback for the solver.

    The bar measures how far the relative gap has come from its first value to
    `tol`, on a logarithmic scale. Nothing is shown when stderr is not a
    terminal or the solve takes less than about half a second.

    Parameters
    ----------
    tol : float
        Relative gap at which the solve ends.
    """

    def __init__(self, tol: float) -> None:
        self._tol = tol
        self._start = time.monotonic()
        self._first_gap = 0.0
        self._last_gap = math.inf
        self._bar: Bar | None = None
        self._watched = sys.stderr.isatty()

    @property
    def callback(self) -> Callable[[int, float, float], None] | None:
        """What to pass as ``progress=``: nothing when nobody watches."""
        return self._update if self._watched else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _update(self, iteration: int, objective: float, relative_gap: float) -> None:
        if math.isfinite(relative_gap):  # nan where the solver has not computed one
            self._first_gap = max(self._first_gap, relative_gap)
            self._last_gap = relative_gap
        if time.monotonic() - self._start < _PATIENCE:
            return
        done = self._fraction(self._last_gap)
        fields: dict[str, Any] = {
            "iteration": iteration,
            "objective": objective,
            "gap": self._gap_text(),
        }
        if self._bar is None:
            self._bar = self._make_bar()
            self._bar.add_task("solve", total=1.0, completed=0, **fields)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, **fields)

    def _make_bar(self) -> Bar:
        return Bar(
            TextColumn("iteration {task.fields[iteration]}"),
            TextColumn("objective {task.fields[objective]:.8g}"),
            TextColumn(f"gap {{task.fields[gap]}} (goal {self._tol:.0e})"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def _gap_text(self) -> str:
        return f"{self._last_gap:.1e}" if math.isfinite(self._last_gap) else "unknown"

    def _fraction(self, gap: float) -> float:
        """Part of the way from the first gap to the goal, between 0 and 1."""
        if not (0 < self._tol < self._first_gap) or not math.isfinite(gap):
            return 0.0
        way = math.log(self._first_gap / max(gap, self._tol))
        return min(max(way / math.log(self._first_gap / self._tol), 0.0), 1.0)
