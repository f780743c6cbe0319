"""Many threads at once give the very answers of one thread, and none holds the interpreter's lock.

The tests hold on every CPython. On a free-threaded build, all tests of threads must pass before the
compiled core may declare that it does without the global interpreter lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import ufm

THREADS = 8
ROUNDS = 12

FIRST_USE = """
import sys, threading
import ufm
from concurrent.futures import ThreadPoolExecutor
barrier = threading.Barrier(8)
def first(k):
    barrier.wait()
    # 64 sizes: beyond the crossover, so that LAPACK is loaded by all threads at once.
    solution = ufm.solve([float(n) for n in range(20, 84)], 1e-3, 0.02)
    return solution.objective, solution.method, solution.Z.sum()
with ThreadPoolExecutor(8) as pool:
    answers = set(pool.map(first, range(8)))
assert len(answers) == 1, answers
print("ok")
"""


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """What a call returns for 0, 1, ..., made by threads that all start together."""
    barrier = threading.Barrier(THREADS)

    def run(thread: int) -> list[Any]:
        barrier.wait()
        return [call(thread * ROUNDS + i) for i in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [value for part in pool.map(run, range(THREADS)) for value in part]


def problem(index: int) -> tuple[list[float], float, float]:
    """A problem of a few or of some dozen clusters."""
    rng = np.random.default_rng(index)
    classes = 60 if index % 6 == 0 else int(rng.integers(2, 9))
    counts = [float(n) for n in rng.integers(1, 1000, classes)]
    return counts, float(rng.uniform(0.02, 0.5)) * min(counts) ** 0.5 / sum(counts), 0.02


def test_solves_give_the_answers_of_one_thread():
    def call(index: int) -> tuple[Any, ...]:
        solution = ufm.solve(*problem(index))
        values = solution.singular_values.tolist(), solution.b.tolist(), solution.Z[0].tolist()
        return solution.objective, solution.dual_objective, solution.rank, values

    assert at_once(call) == [call(i) for i in range(THREADS * ROUNDS)]


def test_one_solution_read_by_all_threads():
    """What a solution works out on first use is worked out by several threads at once."""
    expected = ufm.solve(*problem(1))
    shared = [ufm.solve(*problem(1)) for _ in range(ROUNDS)]

    def call(index: int) -> bool:
        solution = shared[index % ROUNDS]
        return (
            bool(np.array_equal(solution.Z, expected.Z))
            and solution.rank == expected.rank
            and bool(np.array_equal(solution.collapsed, expected.collapsed))
            and bool(np.array_equal(solution.singular_values, expected.singular_values))
            and len(solution.clusters) == len(expected.clusters)
        )

    assert all(at_once(call))


def test_batches_theory_and_primitives():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 500, (40, 5)).astype(float)
    lambda_z = 0.1 * np.sqrt(counts.min(axis=1)) / counts.sum(axis=1)

    def call(index: int) -> tuple[Any, ...]:
        rows = slice(index % 20, index % 20 + 20)
        batch = ufm.solve_many(counts[rows], lambda_z[rows], 0.02, threads=2)
        svt = ufm.svt(np.outer(counts[index % 40], counts[index % 40]), 1.0)
        thresholds = ufm.thresholds(counts[index % 40], lambda_b=0.02)
        loss, *gradients = ufm.cross_entropy(np.eye(5), np.zeros(5), counts[index % 40])
        return (
            batch.objective.tolist(),
            batch.rank.tolist(),
            svt.tolist(),
            thresholds.summary(),
            loss,
            [g.tolist() for g in gradients],
        )

    assert at_once(call) == [call(i) for i in range(THREADS * ROUNDS)]


def test_progress_callbacks_of_several_solves():
    """Each solve calls back into Python from the thread it runs in, and only there."""
    counts = np.linspace(1.0, 3000.0, 100) ** 2

    def call(index: int) -> bool:
        seen = set()

        def progress(*_: Any) -> bool:
            seen.add(threading.get_ident())
            return True

        solution = ufm.solve(
            counts, 1e-3 / counts.sum(), 0.01, tol=1e-15, max_iterations=2**30, progress=progress
        )
        stopped = solution.status in (ufm.Status.INTERRUPTED, ufm.Status.NUMERICAL_ERROR)
        return stopped and seen <= {threading.get_ident()}

    barrier = threading.Barrier(4)

    def run(index: int) -> bool:
        barrier.wait()
        return call(index)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


@pytest.mark.parametrize("attempt", range(2))
def test_first_use_by_all_threads_at_once(run_python, attempt):
    """Lazy imports and the loading of LAPACK happen once, whoever comes first."""
    done = run_python(FIRST_USE, timeout=600.0)  # eight threads on a busy machine
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"
