"""Times a solver, judges its answers outside the time, and reports both as events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.cases import Array, Case
from bench.gap import Gap, judge
from bench.memory import peak_bytes, reset_peak

Point = tuple[Array, Array]
Emit = Callable[[dict[str, Any]], None]

GROWTH = 1.05  # a running solver is judged whenever its time has grown by this factor
TRIM_FROM = 100  # below this K the judge's memory does not matter, but trimming it costs the solver
JUDGE_SHARE = 0.25  # and not before it has run for this share of what a judgement takes


class Recorder:
    """Clock and judge of one solver on one case.

    A solver that hands out iterates calls :meth:`offer` with each; one that cannot be watched is
    run with :meth:`attempt` once per tolerance.
    """

    def __init__(self, case: Case, targets: tuple[float, ...], limit: float, emit: Emit) -> None:
        self.case = case
        self.targets = targets
        self.limit = limit
        self._emit = emit
        self._paused = 0.0
        self._next = 0.0
        self._reset_peak()
        self._start = time.perf_counter()

    @property
    def goal(self) -> float:
        """The smallest gap that is asked for."""
        return min(self.targets)

    @property
    def elapsed(self) -> float:
        """Seconds the solver has had."""
        return time.perf_counter() - self._start - self._paused

    def offer(self, point: Callable[[], Point], final: bool = False) -> bool:
        """Judge the iterate if it is time to; return whether the solver should stop."""
        seconds = self.elapsed
        if final or seconds >= self._next or seconds > self.limit:
            judged = time.perf_counter()
            gap = self._judge(point, seconds, {})
            cost = time.perf_counter() - judged
            self._paused += cost
            self._next = seconds + max((GROWTH - 1.0) * seconds, JUDGE_SHARE * cost)
            return gap.relative <= self.goal or seconds > self.limit
        return False

    def attempt(
        self, solve: Callable[[], Point | None], repeat_below: float = 0.0, **labels: Any
    ) -> float:
        """Time one complete solve; return the gap reached, infinity for no answer.

        Solves faster than ``repeat_below`` seconds are repeated and their median counts.
        """
        self._emit({"event": "attempt", **labels})
        self._reset_peak()
        answer, seconds = _timed(solve)
        if answer is None:
            self._emit({"event": "unanswered", "seconds": seconds, **labels})
            return float("inf")
        times = [seconds]
        while seconds < repeat_below and len(times) < 15:
            times.append(_timed(solve)[1])
        if seconds < repeat_below:
            labels["spread"] = [min(times), max(times)]
        return self._judge(lambda: answer, statistics.median(times), labels).relative

    def _judge(self, point: Callable[[], Point], seconds: float, labels: dict[str, Any]) -> Gap:
        peak = peak_bytes()
        Z, b = point()
        gap = judge(Z, b, self.case)
        record = {"seconds": seconds, "gap": gap.relative, "primal": gap.primal, "dual": gap.dual}
        self._emit({"event": "point", "peak": peak, **record, **labels})
        self._reset_peak()
        return gap

    def _reset_peak(self) -> None:
        if self.case.size >= TRIM_FROM:
            reset_peak()


def _timed(solve: Callable[[], Point | None]) -> tuple[Point | None, float]:
    start = time.perf_counter()
    answer = solve()
    return answer, time.perf_counter() - start
