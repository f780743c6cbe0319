"""Many runs, one after the other or several at once: :func:`train_many`."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from ufm.problem import check_limit
from ufm.torch.config import RunConfig
from ufm.torch.run_folder import Run, load_run
from ufm.torch.training import Report, train


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
        As for :func:`ufm.torch.train`, where ``jobs=1``.

    Yields
    ------
    Run
        In the order of `configs` for one job, as they finish for several.

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
        else _together(configs, folder, jobs, device)
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
    configs: Sequence[RunConfig], folder: Path, jobs: int, device: str | torch.device | None
) -> Iterator[Run]:
    # Neither CUDA nor PyTorch's thread pool survives a fork.
    context = multiprocessing.get_context("spawn")
    name = None if device is None else str(device)
    pool = ProcessPoolExecutor(jobs, mp_context=context)
    try:
        waiting = [pool.submit(_train_alone, c, folder / c.name, name) for c in configs]
        for done in as_completed(waiting):
            yield load_run(done.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _train_alone(config: RunConfig, folder: Path, device: str | None) -> Path:
    torch.set_num_threads(1)
    return train(config, folder, device=device).folder
