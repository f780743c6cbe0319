"""Sweeps on executors: the same dataset from all, and workers that die."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import ufm
from conftest import child_environment
from ufm.planning import executors
from ufm.planning.chunk import solve_chunk
from ufm.planning.executors import MOST_LOSSES, WorkersLostError

xr = pytest.importorskip("xarray")

COUNTS = [500.0] * 5 + [100.0] * 5
SPAWN = multiprocessing.get_context("spawn")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")


def run(executor=None, **changes):
    """Run a small sweep of twenty chunks."""
    return ufm.sweep(
        COUNTS,
        lambda_z=np.geomspace(1e-3, 1e-2, 40),
        lambda_b=[0.02, np.inf],
        ratio=[1.0, 3.0],
        executor=executor,
        chunk_size=8,
        **changes,
    )


@pytest.fixture(scope="module")
def expected():
    """Return what every executor must give."""
    return run()


def test_threads(expected):
    with ThreadPoolExecutor(2) as pool:
        xr.testing.assert_identical(run(pool), expected)
        assert pool.submit(int, 3).result() == 3  # it was not ours to shut down


def test_processes(expected):
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        xr.testing.assert_identical(run(pool), expected)


def test_number_of_processes(expected):
    xr.testing.assert_identical(run(1), expected)


class Deadly(ProcessPoolExecutor):
    """A pool of which a worker is killed when some chunks were handed out."""

    def __init__(self, after: int) -> None:
        super().__init__(1, mp_context=SPAWN)
        self.left = after

    def submit(self, *args, **kwargs):
        future = super().submit(*args, **kwargs)
        self.left -= 1
        if self.left == 0:
            os.kill(next(iter(self._processes)), signal.SIGKILL)
        return future


@needs_signals
def test_killed_worker_is_replaced(expected):
    made = []

    def make():
        made.append(Deadly(after=6 if not made else 1000))
        return made[-1]

    xr.testing.assert_identical(run(make), expected)
    assert len(made) == 2


@needs_signals
def test_killed_worker_of_a_given_pool(tmp_path, expected):
    pytest.importorskip("netCDF4")
    path = tmp_path / "out.nc"
    with Deadly(after=8) as pool, pytest.raises(WorkersLostError) as caught:
        run(pool, store=path)
    assert "takes no more work" in str(caught.value) and "out.nc.partial" in str(caught.value)
    steps = []
    resumed = run(store=path, progress=lambda done, total: steps.append(done))
    assert 0 < len(steps) < 21
    xr.testing.assert_identical(resumed, expected)


class Scripted(ThreadPoolExecutor):
    """Runs chunks at once, except that some of them end in an error of choice."""

    def __init__(self, fail) -> None:
        super().__init__(1)
        self.fail = fail
        self.starts: list[int] = []

    def submit(self, function, chunk):
        assert function is solve_chunk
        self.starts.append(chunk.start)
        future = Future()
        error = self.fail(chunk)
        if error is None:
            future.set_result(function(chunk))
        else:
            future.set_exception(error)
        return future


class KilledWorker(Exception):
    """What dask raises, by its name."""


def test_a_chunk_that_kills_its_workers_ends_the_sweep():
    pool = Scripted(lambda chunk: KilledWorker("gone") if chunk.start == 8 else None)
    with pytest.raises(WorkersLostError, match="chunk 1 of the sweep"):
        run(pool)
    assert pool.starts.count(8) == MOST_LOSSES + 1


def test_a_chunk_that_is_lost_once_is_solved_again(expected):
    lost = set()

    def fail(chunk):
        if chunk.start in (8, 16) and chunk.start not in lost:
            lost.add(chunk.start)
            return KilledWorker("gone")
        return None

    xr.testing.assert_identical(run(Scripted(fail)), expected)


def test_an_error_in_a_chunk_is_not_retried():
    pool = Scripted(lambda chunk: MemoryError("full") if chunk.start == 8 else None)
    with pytest.raises(MemoryError, match="full") as caught:
        run(pool)
    assert pool.starts.count(8) == 1
    assert "chunk 1" in caught.value.__notes__[0]


def test_worker_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("ufm.planning.chunk.__version__", "0.0.1")
    with pytest.raises(RuntimeError, match=r"a worker has ufm 0\.0\.1"):
        run()


def test_a_function_that_makes_no_executor():
    with pytest.raises(TypeError, match="which is no concurrent"):
        run(lambda: 3)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_executor_that_was_shut_down(kind):
    pool = kind(1)
    pool.shutdown()
    with pytest.raises(ValueError, match=f"executor must take work.*shut down.*{kind.__name__}"):
        run(pool)


def test_other_errors_of_an_executor_pass():
    class Full(Scripted):
        def submit(self, *args, **kwargs):
            raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(Full(lambda chunk: None))


def test_few_chunks_are_out_at_a_time(monkeypatch):
    """Results that nobody has taken yet are few, however long the sweep."""
    out = []
    collect = executors._Run.collect

    def watched(self):
        out.append(len(self.pending))
        collect(self)

    monkeypatch.setattr(executors._Run, "collect", watched)
    with ThreadPoolExecutor(2) as pool:
        run(pool)
    assert max(out) == 4


@pytest.fixture(scope="module")
def cluster():
    """Start a dask cluster of two worker processes on loopback, without nannies to restart them."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


def test_dask_client_and_its_executor(cluster, expected):
    from distributed import Client

    with Client(cluster) as client:
        xr.testing.assert_identical(run(client), expected)
        with client.get_executor() as pool:
            xr.testing.assert_identical(run(pool), expected)
    for ended in (pool, client):
        with pytest.raises(ValueError, match="executor must take work"):
            run(ended)


DRIVER = """
import sys
import numpy as np
from distributed import Client
import ufm
if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        ufm.sweep(np.arange(1.0, 26.0) ** 2, lambda_z=np.geomspace(1e-5, 1e-3, 30), lambda_b=0.02,
                  store=sys.argv[2], chunk_size=1, executor=client,
                  progress=lambda done, total: print(done, flush=True))
"""


@needs_signals
def test_dask_driver_killed_half_way(cluster, tmp_path):
    """The run of another process is killed; this one finishes it on the same cluster."""
    from distributed import Client

    pytest.importorskip("zarr")
    path = tmp_path / "out.zarr"
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, cluster.scheduler_address, str(path)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        while (line := child.stdout.readline()) and int(line) < 10:
            pass
        child.kill()
    assert not path.exists()
    arguments = {"lambda_z": np.geomspace(1e-5, 1e-3, 30), "lambda_b": 0.02}
    counts = np.arange(1.0, 26.0) ** 2
    steps = []
    with Client(cluster) as client:
        resumed = ufm.sweep(
            counts, **arguments, store=path, executor=client,
            progress=lambda done, total: steps.append(done),
        )  # fmt: skip
    assert 0 < len(steps) - 1 <= 20
    xr.testing.assert_identical(resumed, ufm.sweep(counts, **arguments))


@needs_signals
def test_dask_worker_killed_half_way(cluster, expected):
    from distributed import Client

    with Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        killed = []

        def progress(done: int, total: int) -> None:
            if done > total // 4 and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(done)

        xr.testing.assert_identical(run(client, progress=progress), expected)
        assert killed
