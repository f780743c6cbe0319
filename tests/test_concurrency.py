"""Threads and processes: the same bits as one alone, no more threads than asked for, forks."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

import ufm
from ufm import _core, _linalg
from ufm._workers import available_cpus

FEW = [60.0, 60.0, 20.0, 5.0, 5.0, 1.0]
MANY = tuple(np.arange(1.0, 71.0) ** 1.5)  # LAPACK's share
NODES = tuple(np.linspace(1.0, 3e3, 200) ** 1.2)  # solved by nodes


def solution_bits(solution: Any) -> bytes:
    """All numbers of a result that depend on the arithmetic."""
    parts = [np.array([solution.objective, solution.dual_objective, solution.relative_gap])]
    solution = getattr(solution, "penalised", solution)
    between = solution.between
    parts += [getattr(between, n) for n in ("matrix", "d", "left", "right") if hasattr(between, n)]
    parts += [solution.b, solution.amplitudes]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def batch_bits(batch: ufm.Batch) -> bytes:
    return b"".join(solution_bits(solution) for solution in batch)


def unit(counts: Any) -> float:
    """Threshold of the smallest classes."""
    return math.sqrt(min(counts)) / sum(counts)


# One job of each kind, each a function that a process pool can be sent.
def job(name: str) -> str:
    """Do a job and return a digest of the result's bits."""
    return hashlib.sha256(JOBS[name]()).hexdigest()[:16]


def _solve(counts: Any, factor: float, **options: Any) -> bytes:
    lambda_b = options.pop("lambda_b", 0.01)
    return solution_bits(ufm.solve(counts, factor * unit(counts), lambda_b, **options))


def _mixed_batch() -> bytes:
    rng = np.random.default_rng(3)
    rows = [rng.choice([500.0, 120.0, 7.0, 1.0], size=k) for k in rng.integers(1, 30, 40)]
    rows += [np.array(MANY)]
    return batch_bits(ufm.solve_many(rows, [0.3 * unit(row) for row in rows], 0.02))


JOBS: dict[str, Callable[[], bytes]] = {
    **{
        f"{method}, few": lambda method=method: _solve(FEW, 0.4, method=method)
        for method in ("auto", "factored", "proximal", "continuum")
    },
    **{
        f"{method}, many": lambda method=method: _solve(MANY, 0.7, method=method, tol=1e-4)
        for method in ("auto", "factored", "continuum")
    },
    "proximal, many": lambda: _solve(MANY, 2.0, method="proximal", max_iterations=40),
    "nodes": lambda: _solve(NODES, 0.5),
    "no bias": lambda: _solve(MANY, 1.5, lambda_b=math.inf),
    "smoothing": lambda: _solve(FEW, 0.4, loss=ufm.losses.label_smoothing(0.1)),
    "vector scaling": lambda: _solve(
        FEW, 0.4, loss=ufm.losses.vector_scaling(FEW, gamma=0.2, tau=0.7)
    ),
    "weights": lambda: _solve(FEW, 0.4, class_weights=1 / np.sqrt(FEW)),
    "nonnegative": lambda: solution_bits(ufm.nonnegative_solution(FEW, unit(FEW), 0.02)),
    "layer peeled": lambda: solution_bits(ufm.layer_peeled(FEW, 1.0, 1.0)),
    "batch": _mixed_batch,
}


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """Digest of every job, done one after the other."""
    return {name: job(name) for name in JOBS}


def test_many_threads_give_the_same_bits_as_one(alone):
    names = list(JOBS) * 3
    np.random.default_rng(0).shuffle(names)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, digest in zip(names, pool.map(job, names), strict=True):
            assert digest == alone[name], name


START_METHODS = [m for m in ("fork", "spawn", "forkserver")
                 if m in multiprocessing.get_all_start_methods()]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", START_METHODS)
def test_process_pools_give_the_same_bits(alone, start):
    # After batches on several threads and BLAS calls in this process, whose threads a fork lacks.
    ufm.solve_many([FEW] * 64, np.geomspace(1e-4, 1e-2, 64), 0.02, threads=4)
    context = multiprocessing.get_context(start)
    names = list(JOBS) if start == "fork" else ["batch", "factored, many", "nonnegative"]
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        found = dict(zip(names, pool.map(job, names, timeout=120), strict=True))
    assert found == {name: alone[name] for name in names}


# ---------------------------------------------------------------------- forks

FORKING = """
import os, sys, threading, time
import numpy as np
import ufm
from threadpoolctl import threadpool_info

counts = np.linspace(1.0, 3000.0, 150) ** 2
small = np.arange(1.0, 61.0)
ufm.solve(small, 1e-3, 0.01)

def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

unlimited = blas_threads()

def busy():
    ufm.solve(counts, 1e-3 / counts.sum(), 0.01, tol=1e-15, time_limit=1.5, threads=1)

def batch():
    ufm.solve_many([counts] * 4, 1e-3 / counts.sum(), 0.01, tol=1e-15, time_limit=1.5, threads=2)

threads = [threading.Thread(target=busy), threading.Thread(target=batch)]
for thread in threads:
    thread.start()
time.sleep(0.5)
before = ufm.solve(small, 1e-3, 0.01).objective
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:  # while the other threads hold locks and limits
        solution = ufm.solve(small, 1e-3, 0.01)
        many = ufm.solve_many([[5, 3], [5, 3, 1]], 0.1, 0.02)
        free = blas_threads() == unlimited
        good = solution.objective == before and many.converged.all() and free
        os._exit(0 if good else 3)
    children.append(child)
codes = []
deadline = time.monotonic() + 30
for child in children:
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            codes.append(os.waitstatus_to_exitcode(status))
            break
        time.sleep(0.02)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        codes.append("hung")
for thread in threads:
    thread.join()
print(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("attempt", range(2))
def test_fork_while_other_threads_solve(run_python, monkeypatch, attempt):
    """The child has neither their locks nor their limits on the BLAS threads."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")
    done = run_python(FORKING)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0, 0]"


# ---------------------------------------------------------------------- numbers of threads


def blas_numbers() -> set[int]:
    """Threads of the BLAS libraries, but for those built without any (SCS brings one)."""
    pools = ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools if pool.get("threading_layer") != "disabled"}


def seen_during(work: Callable[[Callable[..., bool]], Any], probe: Callable[[], Any]) -> list[Any]:
    """What a probe sees from another thread while some work is done.

    The work is given a progress callback that ends it once enough is seen.
    """
    seen, done = [], threading.Event()

    def enough(*report: Any) -> bool:
        return len(seen) >= 20

    def watch() -> None:
        while not done.is_set():
            seen.append(probe())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work(enough)
    finally:
        done.set()
        watcher.join()
    return seen


HARD = np.linspace(1.0, 3000.0, 60) ** 2
LONG = 30.0  # seconds: long enough to be seen at work on a busy machine


def hard(progress: Callable[..., Any] | None = None, **options: Any) -> ufm.Solution:
    """A solve that its time limit ends."""
    endless = {"tol": 1e-15, "method": "proximal", "max_iterations": 2**30, "time_limit": 0.3}
    lambda_z = 1e-3 / HARD.sum()
    return ufm.solve(HARD, lambda_z, 0.01, progress=progress, **{**endless, **options})


def test_threads_are_honoured_and_the_users_limit_is_restored():
    hard(time_limit=0.05)  # load everything that loads lazily
    with threadpool_limits(2, user_api="blas"):
        for threads in (1, 2, 3):
            seen = seen_during(
                lambda enough, t=threads: hard(enough, threads=t, time_limit=LONG), blas_numbers
            )
            assert {threads} in seen and all(numbers <= {2, threads} for numbers in seen)
            assert blas_numbers() == {2}
    with threadpool_limits(1, user_api="blas"):
        seen = seen_during(lambda enough: hard(enough, time_limit=LONG), blas_numbers)
        assert set.union(*seen) == {1}
        assert blas_numbers() == {1}


def test_a_library_without_threads_is_left_out():
    """SCS brings an OpenBLAS that always says 1; the others are set and restored all the same."""
    pytest.importorskip("scs")
    _linalg._blas_pools.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        seen = seen_during(lambda enough: hard(enough, threads=1, time_limit=LONG), blas_numbers)
        assert {1} in seen
        assert blas_numbers() == {2}


def test_another_thread_than_the_first_is_limited_too():
    """threadpoolctl lets only the first thread that asks change OpenBLAS."""
    hard(time_limit=0.05)
    with threadpool_limits(2, user_api="blas"), concurrent.futures.ThreadPoolExecutor(1) as pool:
        seen = seen_during(
            lambda enough: pool.submit(hard, enough, threads=1, time_limit=LONG).result(),
            blas_numbers,
        )
        assert {1} in seen
        assert blas_numbers() == {2}


def test_overlapping_blocks_never_mix_numbers_of_threads():
    """Each sees its own number throughout, though they all want to begin at once."""
    wrong: list[Any] = []

    def one(threads: int) -> None:
        with _linalg.limited_threads(threads):
            before = blas_numbers()
            time.sleep(0.002)
            if not before == blas_numbers() == {threads}:
                wrong.append((threads, before, blas_numbers()))

    with threadpool_limits(2, user_api="blas"):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(one, np.random.default_rng(0).integers(1, 4, size=200).tolist()))
        assert not wrong
        assert blas_numbers() == {2}
    assert not _linalg._shared_threads._holders and not _linalg._shared_threads._queue


def test_a_solve_in_a_callback_does_not_wait_for_the_outer_one():
    def inner(*report: Any) -> bool:
        hard(threads=2, time_limit=0.1)
        return True

    begin = time.perf_counter()
    assert hard(inner, threads=1, time_limit=30.0).status is ufm.Status.INTERRUPTED
    assert time.perf_counter() - begin < 25.0


def test_waiting_counts_towards_the_time_limit():
    hard(time_limit=0.05)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with _linalg.limited_threads(2):
            inside.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(20)
        begin = time.perf_counter()
        solution = hard(threads=1, time_limit=0.4)
        taken = time.perf_counter() - begin
    finally:
        done.set()
        holder.join()
    # Half of the limit was spent waiting; then it went ahead all the same.
    assert solution.status is ufm.Status.TIME_LIMIT and solution.seconds > 0.2
    # Well before the holder let go. Less would ask too much of a busy machine: a thread of the
    # free-threaded CPython 3.13 was seen to stand still for 5 s there, in numpy and scipy alone.
    assert taken < 30.0


def test_a_wait_longer_than_the_time_limit_leaves_a_certified_solution(monkeypatch):
    """A thread may be woken late; what is then left of the limit is less than nothing."""
    wait = _linalg._SharedThreads._wait_for_turn

    def late(shared: Any, block: Any) -> None:
        wait(shared, block)
        time.sleep(0.1)

    monkeypatch.setattr(_linalg._SharedThreads, "_wait_for_turn", late)
    solution = hard(threads=1, time_limit=0.05)
    assert solution.status is ufm.Status.TIME_LIMIT and solution.seconds > 0.1
    assert math.isfinite(solution.relative_gap)
    assert np.isfinite(solution.Z).all()


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def most_threads(work: Callable[[], Any]) -> int:
    """The most threads of this process at any time during some work, beyond those before."""
    before = thread_count()
    for _ in range(20):  # threads of what came before may still be ending
        time.sleep(0.005)
        before = min(before, thread_count())
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, thread_count())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most - before - 1  # the watcher itself


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
class TestThreadsOfBatches:
    counts = np.linspace(1.0, 3000.0, 200) ** 2

    def batch(self, **options: Any) -> ufm.Batch:
        return ufm.solve_many(
            [self.counts] * 64, 1e-3 / self.counts.sum(), 0.01, tol=1e-15, time_limit=0.3, **options
        )

    @pytest.fixture(autouse=True)
    def _loaded(self):
        ufm.solve(self.counts[:60], 1e-3, 0.01)

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_threads_are_honoured(self, threads):
        assert most_threads(lambda: self.batch(threads=threads)) == threads

    def test_one_for_each_cpu_by_default(self):
        assert most_threads(self.batch) == available_cpus()

    def test_threadpoolctl_is_respected_and_restored(self):
        free = ThreadpoolController().select(user_api="ufm").info()
        assert [pool["num_threads"] for pool in free] == [available_cpus()]
        with threadpool_limits(1):
            assert most_threads(self.batch) == 1
            # What the caller asks for goes before.
            assert most_threads(lambda: self.batch(threads=2)) == 2
        assert ThreadpoolController().select(user_api="ufm").info() == free
        assert _core.thread_limit() == 0

    def test_batches_at_once_share_the_cpus(self):
        """Five batches of all CPUs would be five times as many; each needs one at the least."""

        def at_once() -> None:
            with concurrent.futures.ThreadPoolExecutor(5) as pool:
                list(pool.map(lambda _: self.batch(), range(5)))

        assert most_threads(at_once) <= 5 + available_cpus() + 4


CPU_TIME = """
import json, time
import numpy as np
import ufm
counts = np.linspace(1.0, 3000.0, 500) ** 2
ufm.solve(counts[:60], 1e-3, 0.01)
begin, used = time.perf_counter(), time.process_time()
ufm.solve(counts, 1e-3 / counts.sum(), 0.01, tol=1e-15, method="factored", time_limit=1.5,
          threads=1)
print(json.dumps([time.process_time() - used, time.perf_counter() - begin]))
"""


def test_one_thread_uses_one_processor(run_python, monkeypatch):
    """Processor time never exceeds wall time, though BLAS may use four threads."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    done = run_python(CPU_TIME)
    assert done.returncode == 0, done.stderr
    used, wall = json.loads(done.stdout)
    assert used <= 1.1 * wall + 0.1


def test_sweeps_on_every_executor_agree():
    xr = pytest.importorskip("xarray")
    arguments = {"lambda_z": np.geomspace(1e-4, 1e-2, 6), "lambda_b": [0.01, 0.1], "chunk_size": 3}
    plain = ufm.sweep(MANY, **arguments)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        xr.testing.assert_identical(ufm.sweep(MANY, executor=pool, **arguments), plain)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        xr.testing.assert_identical(ufm.sweep(MANY, executor=pool, **arguments), plain)
