"""Running a batch: threads, speed, time limit, Ctrl-C."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

import ufm
from interrupted import interrupt, needs_sigint

ARRAYS = (
    "objective",
    "dual_objective",
    "relative_gap",
    "status_code",
    "rank",
    "collapsed_classes",
    "iterations",
    "num_classes",
)


def two_cluster_arrays(size: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return random two-cluster problems: counts of shape (size, classes) and lambda_z."""
    rng = np.random.default_rng(size)
    levels = np.round(10 ** rng.uniform(1, 3, (size, 2)))
    counts = levels[:, (np.arange(classes) >= classes // 2).astype(int)]
    unit = np.sqrt(counts.max(axis=1)) / counts.sum(axis=1)
    return counts, unit * 10 ** rng.uniform(-2, 0.2, size)


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(5)
    rows = [rng.choice([500.0, 120.0, 40.0, 7.0, 1.0], size=k) for k in rng.integers(1, 30, 300)]
    rows += [np.arange(1.0, 71.0) ** 1.5, np.arange(1.0, 101.0) ** 2]  # LAPACK's share
    lambda_z = 10 ** rng.uniform(-2, 0, len(rows)) / np.sqrt([row.sum() for row in rows])
    one, *others = (ufm.solve_many(rows, lambda_z, 0.02, threads=t) for t in (1, 2, 4, None))
    for other in others:
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.method == other.method).all()
        for left, right in zip(one, other, strict=True):
            assert left.between.dense().tobytes() == right.between.dense().tobytes()
            assert left.b.tobytes() == right.b.tobytes()
            assert left.amplitudes.tobytes() == right.amplitudes.tobytes()
    for row, weight, solution in zip(rows[-2:], lambda_z[-2:], one[-2:], strict=True):
        single = ufm.solve(row, weight, 0.02)
        assert solution.linear_algebra == single.linear_algebra
        assert solution.objective == pytest.approx(single.objective, rel=2e-6)


def test_two_cluster_problems_go_the_short_way():
    counts, lambda_z = two_cluster_arrays(20_000)
    batch = ufm.solve_many(counts, lambda_z, 0.02, tol=1e-8, threads=2)
    assert batch.converged.all() and set(batch.method) <= {"two clusters", "closed form"}


def test_other_threads_run_during_a_batch():
    rounds, done = 0, threading.Event()

    def count() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            time.sleep(0.001)

    counts = np.linspace(1.0, 3000.0, 150) ** 2
    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = rounds
        ufm.solve_many(
            [counts] * 4, 1e-3 / counts.sum(), 0.01, tol=1e-15, time_limit=1.0, threads=1
        )
        progress = rounds - before
    finally:
        done.set()
        thread.join()
    assert progress > 50


def test_time_limit():
    counts = np.linspace(1.0, 3000.0, 500) ** 2
    start = time.perf_counter()
    batch = ufm.solve_many(
        [counts, counts, counts, [5.0], [5.0, 3.0, 3.0], counts],
        1e-3 / counts.sum(),
        0.01,
        tol=1e-15,
        max_iterations=2**30,
        time_limit=0.5,
        threads=1,
    )
    assert time.perf_counter() - start < 5.0
    assert batch.status[0] is ufm.Status.TIME_LIMIT
    # Never started: Z = 0, with its own objective and the dual value 0.
    for index in (2, 4, 5):
        solution = batch[index]
        assert solution.status is ufm.Status.TIME_LIMIT and solution.method == "none"
        assert solution.objective == pytest.approx(math.log(solution.num_classes))
        assert solution.dual_objective == 0.0 and solution.relative_gap == 1.0
        assert not solution.Z.any() and not solution.b.any()
        assert batch.rank[index] == solution.rank == 0
        assert batch.collapsed_classes[index] == solution.collapsed.sum()
    assert batch.objective[3] == 0.0 and batch.converged[3]


INTERRUPT_SCRIPT = """
import numpy as np
import ufm
{setup}
ufm.solve_many([5, 3], 0.1, 0.1)
print("ready", flush=True)
try:
    ufm.solve_many(counts, lambda_z, 0.01, tol=1e-15, max_iterations=2**30, threads=2)
    print("not interrupted", flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""
SETUPS = {
    "few hard": "counts = [np.linspace(1.0, 3000.0, 300) ** 2] * 50\n"
    "lambda_z = 1e-3 / counts[0].sum()",
    "many easy": "counts = [60.0, 60.0, 5.0, 3.0]\nlambda_z = np.geomspace(1e-6, 1e-3, 400_000)",
}


@needs_sigint
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_interrupt_signal_stops_the_batch(setup):
    outcome, taken = interrupt(INTERRUPT_SCRIPT.format(setup=setup), after=1.0)
    assert outcome == "KeyboardInterrupt"
    assert taken < 2.0


def test_batches_in_several_threads_at_once():
    counts, lambda_z = two_cluster_arrays(500)
    expected = ufm.solve_many(counts, lambda_z, 0.02)
    results: list[ufm.Batch] = []
    threads = [
        threading.Thread(target=lambda: results.append(ufm.solve_many(counts, lambda_z, 0.02)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result.objective, expected.objective)
