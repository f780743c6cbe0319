"""A running solve can be stopped: Ctrl-C, time limit, iteration limit, progress, other threads."""

from __future__ import annotations

import math
import os
import threading
import time

import numpy as np
import pytest

import ufm
from interrupted import interrupt, needs_sigint
from problems import METHODS, Problem, assert_certified

# A subprocess says when it starts to solve and, if it outlives the signal, how it ended.
INTERRUPT_SCRIPT = """
import sys, time
import numpy as np
import ufm
counts = np.linspace(1.0, 3000.0, {classes}) ** 2
ufm.solve(counts[:8], 1e-4, 0.01)
print("ready", flush=True)
try:
    solution = ufm.solve(counts, 1e-3 / counts.sum(), 0.01, tol=1e-15, method={method!r},
                         max_iterations=2**30)
    print("status", solution.status.name, flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


def hard_problem(classes: int = 300) -> Problem:
    """Return a problem of distinct counts that cannot reach its tolerance soon."""
    counts = np.linspace(1.0, 3000.0, classes) ** 2
    return Problem(tuple(counts), 1e-3 / counts.sum(), 0.01)


@needs_sigint
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [400, pytest.param(1000, marks=pytest.mark.slow)])
def test_interrupt_signal_stops_within_a_second_or_so(method, classes):
    script = INTERRUPT_SCRIPT.format(classes=classes, method=method)
    outcome, taken = interrupt(script, after=1.0)
    assert outcome in {"KeyboardInterrupt", "status INTERRUPTED"}
    assert taken < (2.0 if classes < 1000 else 4.0)


@pytest.mark.parametrize("method", METHODS)
def test_time_limit(method):
    problem = hard_problem()
    start = time.perf_counter()
    solution = problem.solve(tol=1e-15, method=method, time_limit=0.5)
    assert time.perf_counter() - start < 10.0  # generous: machines are shared
    assert solution.status is ufm.Status.TIME_LIMIT
    assert not solution.converged
    assert_certified(problem, solution, 1e-15, must_converge=False)


EARLY_STOPS_SCRIPT = """
import numpy as np
import ufm
counts = np.linspace(1.0, 3000.0, 1000) ** 2
ufm.solve(counts[:80], 1 / counts.sum(), 0.01)  # load everything that loads lazily
for limit in np.linspace(0.01, 0.3, {limits}):
    solution = ufm.solve(counts, 0.15 / counts.sum(), 0.01, tol=1e-15, method={method!r},
                         time_limit=float(limit), threads=1)
    assert solution.status is ufm.Status.TIME_LIMIT, solution
    assert np.isfinite(solution.b).all() and solution.column(0).shape == counts.shape
"""


@pytest.mark.parametrize("method", METHODS)
def test_time_limit_during_the_preparation(method, run_python):
    """A limit may strike before the first iterate exists; in a child, lest it crash the suite."""
    # Under a sanitizer each certificate takes seconds.
    limits = 3 if "UFM_SANITIZED" in os.environ else 15
    done = run_python(EARLY_STOPS_SCRIPT.format(method=method, limits=limits))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_iteration_limit(method):
    problem = hard_problem(60)
    solution = problem.solve(tol=1e-15, method=method, max_iterations=3)
    assert solution.status is ufm.Status.MAX_ITERATIONS
    assert solution.iterations <= 3
    assert_certified(problem, solution, 1e-15, must_converge=False)


@pytest.mark.parametrize("method", METHODS)
def test_progress_reports(method):
    reports: list[tuple[int, float, float]] = []
    solution = hard_problem().solve(
        tol=1e-15,
        method=method,
        time_limit=1.5,
        progress=lambda *report: reports.append(report),
    )
    assert 1 <= len(reports) <= 25  # at most about ten a second
    for iteration, objective, gap in reports:
        assert isinstance(iteration, int)
        assert math.isfinite(objective) and objective > 0
        assert gap >= 0 or math.isnan(gap)  # not every iteration computes one
    iterations = [iteration for iteration, _, _ in reports]
    assert iterations == sorted(iterations)
    assert solution.iterations >= iterations[-1]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_better_than_the_result_was_seen(method):
    """An unreachable tolerance or a late stop must not lose the best certified iterate."""
    gaps: list[float] = []
    solution = hard_problem(150).solve(
        tol=1e-15, method=method, time_limit=2.0, progress=lambda *report: gaps.append(report[2])
    )
    seen = [gap for gap in gaps if not math.isnan(gap)]
    assert solution.relative_gap <= 1.1 * min(seen, default=math.inf)


@pytest.mark.parametrize("method", METHODS)
def test_progress_may_ask_to_stop(method):
    problem = hard_problem(300)
    solution = problem.solve(
        tol=1e-15, method=method, time_limit=20.0, progress=lambda *report: True
    )
    assert solution.status is ufm.Status.INTERRUPTED
    assert not solution.converged
    assert solution.seconds < 5.0
    assert_certified(problem, solution, 1e-15, must_converge=False)


class StopHereError(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("method", METHODS)
def test_progress_may_raise(method):
    def stop(iteration: int, objective: float, gap: float) -> None:
        raise StopHereError

    start = time.perf_counter()
    with pytest.raises(StopHereError):
        hard_problem().solve(tol=1e-15, method=method, time_limit=20.0, progress=stop)
    assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize("method", METHODS)
def test_other_threads_run_during_a_solve(method):
    """A thread that sleeps a millisecond at a time gets through many rounds if the GIL is free."""
    rounds, done = 0, threading.Event()

    def count() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = rounds
        hard_problem().solve(tol=1e-15, method=method, time_limit=1.0, threads=1)
        progress = rounds - before
    finally:
        done.set()
        thread.join()
    assert progress > 50


def test_solves_in_several_threads_at_once():
    problem = Problem(tuple(np.arange(1.0, 41.0) ** 2), 2e-5, 0.01)
    expected = problem.solve()
    results: list[ufm.Solution] = []
    threads = [threading.Thread(target=lambda: results.append(problem.solve())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for solution in results:
        assert solution.converged
        assert solution.objective == pytest.approx(expected.objective, rel=1.01e-6)
