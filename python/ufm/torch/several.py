"""Many runs, one after the other or several at once: :func:`train_many`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from ufm.problem import check_limit
from ufm.torch.config import RunConfig
from ufm.torch.run_folder import Run, load_run
from ufm.torch.training import Report, train

_SECONDS_BETWEEN_REPORTS = 0.25

# Of a process of the pool: the queue that its reports go to, where someone listens.
_reports: Any = None


def train_many(
    configs: Sequence[RunConfig],
    folder: str | os.PathLike[str],
    *,
    jobs: int = 1,
    device: str | torch.device | None = None,
    progress: Callable[[Report], Any] | None = None,
) -> Iterator[Run]:
    """Train every run that is missing; yield each as it is finished.

    Parameters
    ----------
    configs : sequence of RunConfig
        Runs of different names.
    folder : path
        Run ``config`` is kept in ``folder / config.name``.
    jobs : int
        Processes that train at the same time, one run each. Small networks leave most of a GPU
        idle, so that several fill it; on the CPU each process takes one thread.
    device : str or torch.device, optional
        Where to train; the CPU by default.
    progress : callable, optional
        As for :func:`ufm.torch.train`; ``Report.name`` tells runs apart. With several jobs a
        run reports at most four times a second.

    Yields
    ------
    Run
        In the order of `configs` for one job, as they finish for several. Whoever stops early
        (Ctrl-C, an error, a closed generator) ends the processes at once; what they had trained
        is in their last checkpoints.

    Raises
    ------
    ValueError
        If two runs have the same name, or a run cannot be trained.
    """
    folder = Path(folder)
    jobs = check_limit("jobs", jobs) or 1
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise ValueError("configs must have different names, since each run has its own folder")
    return (
        _one_by_one(configs, folder, device, progress)
        if jobs == 1
        else _together(configs, folder, jobs, device, progress)
    )


def _one_by_one(
    configs: Sequence[RunConfig],
    folder: Path,
    device: str | torch.device | None,
    progress: Callable[[Report], Any] | None,
) -> Iterator[Run]:
    for config in configs:
        yield train(config, folder / config.name, device=device, progress=progress)


def _together(
    configs: Sequence[RunConfig],
    folder: Path,
    jobs: int,
    device: str | torch.device | None,
    progress: Callable[[Report], Any] | None,
) -> Iterator[Run]:
    # Neither CUDA nor PyTorch's thread pool survives a fork.
    context = multiprocessing.get_context("spawn")
    name = None if device is None else str(device)
    # Processes end when the pipe's other end is closed: by us, or by the system if we are killed.
    reader, writer = context.Pipe(duplex=False)
    reports = None if progress is None else context.SimpleQueue()
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_enter, initargs=(reader, reports)
    )
    try:
        waiting = {pool.submit(_train_alone, c, folder / c.name, name) for c in configs}
        while waiting:
            patience = None if reports is None else _SECONDS_BETWEEN_REPORTS
            done, waiting = wait(waiting, timeout=patience, return_when=FIRST_COMPLETED)
            while reports is not None and progress is not None and not reports.empty():
                progress(reports.get())
            for future in done:
                yield load_run(future.result())
    except BaseException:
        writer.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        writer.close()
        reader.close()


def _enter(reader: Any, reports: Any) -> None:
    """Prepare a process of the pool."""
    global _reports
    _reports = reports
    # Ctrl-C reaches every process of a terminal; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()


def _end_with(reader: Any) -> None:
    """End this process, whatever it is doing, when the pipe is closed. Files are never half."""
    try:
        reader.recv()
    except (EOFError, OSError):
        os._exit(1)


def _train_alone(config: RunConfig, folder: Path, device: str | None) -> Path:
    return train(config, folder, device=device, progress=_reporter()).folder


def _reporter() -> Callable[[Report], Any] | None:
    """What passes reports on, now and then."""
    reports, last = _reports, -_SECONDS_BETWEEN_REPORTS
    if reports is None:
        return None

    def report(found: Report) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            reports.put(found)

    return report
