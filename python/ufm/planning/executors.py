"""Chunks on any executor, with workers that may die."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from typing import Any

from ufm.planning.chunk import Arrays, Chunk, solve_chunk
from ufm.problem import check_limit

# A chunk that was under way this often when its worker died is likely to be the cause.
MOST_LOSSES = 3
_LOOK_AROUND = 0.2  # seconds until Ctrl-C is noticed at the latest
_PATIENCE = 4.0  # seconds that running chunks get to finish when a sweep is stopped


class WorkersLostError(RuntimeError):
    """Workers died, and the chunks they had could not be finished."""


class Pool:
    """One way to run chunks: an executor, and how to get another one when it breaks.

    Parameters
    ----------
    executor
        None (this process), a number of worker processes, a `concurrent.futures.Executor`, a
        `dask.distributed.Client`, or a function that makes an executor.
    """

    def __init__(self, executor: Any) -> None:
        self._make: Callable[[], Executor] | None = None
        self._client: Any = None
        self._owned = False
        self.executor: Executor | None = None
        if executor is None or isinstance(executor, Executor):
            self.executor = executor
        elif hasattr(executor, "get_executor"):
            if getattr(executor, "status", None) in ("closing", "closed"):
                raise ValueError(f"executor must take work, but this client is closed: {executor}")
            self._client = executor
            self.executor = executor.get_executor()
        elif callable(executor):
            self._make, self._owned = executor, True
        else:
            try:
                workers = check_limit("executor", executor)
            except TypeError:
                raise TypeError(
                    "executor must be None, a number of processes, a concurrent.futures.Executor, "
                    "a dask.distributed.Client or a function that makes an executor, "
                    f"got {executor!r:.80}"
                ) from None
            self._make, self._owned = (lambda: _processes(workers)), True

    @property
    def is_this_process(self) -> bool:
        """Whether chunks run right here."""
        return self.executor is None and self._make is None

    def open(self) -> Executor:
        """The executor, made anew where the last one broke."""
        if self.executor is None and self._make is not None:
            made = self._make()
            if not isinstance(made, Executor):
                raise TypeError(
                    f"executor made {made!r:.80}, which is no concurrent.futures.Executor"
                )
            self.executor = made
        if self.executor is None:
            raise RuntimeError("this process has no executor")
        return self.executor

    def window(self) -> int:
        """How many chunks to hand out at a time: each worker has one more to go on with."""
        if self._client is not None:
            workers = sum(int(n) for n in self._client.nthreads().values())
        else:
            workers = int(getattr(self.executor, "_max_workers", 0) or 32)
        return max(2 * workers, 2)

    def drop_broken(self) -> bool:
        """Forget a broken executor; False where no other can be made."""
        if not self._owned:
            return False
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor = None
        return True

    def close(self, *, at_once: bool) -> None:
        """End an executor that was made here; ``at_once`` waits only briefly for running chunks."""
        if not self._owned or self.executor is None:
            return
        processes = list((getattr(self.executor, "_processes", None) or {}).values())
        self.executor.shutdown(wait=not at_once, cancel_futures=True)
        if at_once:
            # A worker that is ended while it hands over a result leaves half of it in the pipe, and
            # this interpreter could then not exit. Most chunks are done soon.
            until = time.monotonic() + _PATIENCE
            for process in processes:
                process.join(max(until - time.monotonic(), 0.0))
            for process in processes:
                process.terminate()
        self.executor = None


def run_chunks(
    indices: Iterable[int],
    make: Callable[[int], Chunk],
    pool: Pool,
    keep: Callable[[int, Arrays], None],
) -> None:
    """Solve chunks and hand each result to ``keep`` in the order in which they are done.

    Parameters
    ----------
    indices : iterable of int
        The chunks.
    make : callable
        Makes the chunk of an index, when its turn comes.
    pool : Pool
        Where to run.
    keep : callable
        Called in this thread with the index and the result.

    Raises
    ------
    WorkersLostError
        If workers die and the executor cannot be replaced, or again and again.
    """
    if pool.is_this_process:
        for index in indices:
            keep(index, solve_chunk(make(index)))
        return
    run = _Run(deque(indices), make, pool, keep)
    done = False
    try:
        while run.waiting or run.pending:
            run.hand_out()
            run.collect()
        done = True
    finally:
        for future in run.pending:
            future.cancel()
        pool.close(at_once=not done)


class _Run:
    """Chunks that wait and chunks that are out."""

    def __init__(
        self,
        waiting: deque[int],
        make: Callable[[int], Chunk],
        pool: Pool,
        keep: Callable[[int, Arrays], None],
    ) -> None:
        self.waiting = waiting
        self.pending: dict[Future[Arrays], int] = {}
        self._make = make
        self._pool = pool
        self._keep = keep
        self._losses: Counter[int] = Counter()

    def hand_out(self) -> None:
        """Keep every worker busy, without holding many results at a time."""
        executor = self._pool.open()
        while self.waiting and len(self.pending) < self._pool.window():
            index = self.waiting[0]
            try:
                future = executor.submit(solve_chunk, self._make(index))
            except BrokenExecutor as error:
                self.waiting.popleft()
                self._replace(error, [index])
                return
            except RuntimeError as error:
                # All executors say so in these words, and have no error of its own for it.
                if "after shutdown" not in str(error):
                    raise
                raise ValueError(
                    f"executor must take work, but it was shut down before the sweep was done: "
                    f"{executor!r:.80}"
                ) from error
            self.pending[future] = index
            self.waiting.popleft()

    def collect(self) -> None:
        """Take what is done."""
        done, _ = wait(self.pending, timeout=_LOOK_AROUND, return_when=FIRST_COMPLETED)
        deaths: dict[int, BaseException] = {}
        for future in done:
            index = self.pending.pop(future)
            error = _error(future)
            if error is None:
                self._keep(index, future.result())
            elif _is_worker_death(error):
                deaths[index] = error
            else:
                error.add_note(f"while solving chunk {index} of a sweep")
                raise error
        for error in deaths.values():
            if isinstance(error, BrokenExecutor):
                self._replace(error, list(deaths))
                return
        if deaths:
            self._put_back(next(iter(deaths.values())), list(deaths))

    def _replace(self, error: BaseException, lost: list[int]) -> None:
        """Get over a broken executor, with which all is lost that was out and not yet done."""
        for future, index in self.pending.items():
            if future.done() and _error(future) is None:
                self._keep(index, future.result())
            else:
                lost.append(index)
        self.pending.clear()
        if not self._pool.drop_broken():
            raise WorkersLostError(
                f"the executor's workers died and it takes no more work ({error}); run the sweep "
                "again with a new executor, or pass a number of processes or a function that "
                "makes an executor, so that it can be replaced"
            ) from error
        self._put_back(error, lost)

    def _put_back(self, error: BaseException, lost: list[int]) -> None:
        self._losses.update(lost)
        worst, times = self._losses.most_common(1)[0]
        if times > MOST_LOSSES:
            raise WorkersLostError(
                f"workers died {times} times while they had chunk {worst} of the sweep ({error})"
            ) from error
        self.waiting.extendleft(sorted(lost, reverse=True))


def _error(future: Future[Arrays]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _is_worker_death(error: BaseException) -> bool:
    """Whether the chunk may well succeed elsewhere."""
    if isinstance(error, (BrokenExecutor, CancelledError)):
        return True
    # By name, so that dask is not needed to tell.
    return any(base.__name__ == "KilledWorker" for base in type(error).__mro__)


def _processes(workers: int | None) -> Executor:
    # A forked copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_alone)


def _leave_interrupts_alone() -> None:
    """In a worker: Ctrl-C reaches the whole process group, and the driver ends its workers."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
