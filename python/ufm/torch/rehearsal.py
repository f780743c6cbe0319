"""A few steps of a run, thrown away: whether it works here, and how long it will take."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ufm.problem import check_limit
from ufm.torch._device import check_device
from ufm.torch._world import World
from ufm.torch.config import RunConfig
from ufm.torch.data import Images
from ufm.torch.training import _Training

_PROBES = (0.0, 0.5, 1.0)  # parts of the training whose rate, ramp and slope are tried


@dataclass(frozen=True)
class Rehearsal:
    """What a few steps of a run have shown.

    Attributes
    ----------
    name : str
        Of the run.
    device : str
        Where the steps were taken.
    counts : tuple of int
        Images of each class.
    parameters : int
        Numbers in the network that are trained.
    steps : int
        Steps of the whole run.
    losses : tuple of float
        Of each step that was taken.
    lambda_z, lambda_b : float
        Penalties that act, weight decay counted in.
    seconds_per_step : float
        Median of the steps after the first.
    seconds : float
        Of the whole run at this pace, without measurements and the end phase.
    """

    name: str
    device: str
    counts: tuple[int, ...]
    parameters: int
    steps: int
    losses: tuple[float, ...]
    lambda_z: float
    lambda_b: float
    seconds_per_step: float
    seconds: float

    @property
    def works(self) -> bool:
        """Whether every loss is finite."""
        return all(math.isfinite(loss) for loss in self.losses)


def rehearse(
    config: RunConfig,
    *,
    steps: int = 4,
    images: Images | None = None,
    device: str | torch.device | None = None,
) -> Rehearsal:
    """Prepare a run as :func:`ufm.torch.train` does and take a few steps; nothing is written.

    The steps are taken with the learning rate, ramp and slope of the beginning, the middle and the
    end in turn.

    Parameters
    ----------
    config : RunConfig
        The run.
    steps : int
        Optimizer steps, at least 2: the first one warms up.
    images : Images, optional
        The data set, instead of the one that ``config.data`` names.
    device : str or torch.device, optional
        Where; the CPU by default.

    Returns
    -------
    Rehearsal

    Raises
    ------
    ValueError
        If the configuration does not suit the data.
    FileNotFoundError
        If the data set is not found.
    """
    number = check_limit("steps", steps)
    if number is None or number < 2:
        raise ValueError(f"steps must be at least 2, got {steps!r}")
    place = check_device(device)
    rng_devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=rng_devices):
        run = _Training(config, Path(), images, World(0, 1, place), math.inf, None)
        losses, times = _take(run, number)
    pace = sorted(times[1:])[len(times[1:]) // 2]
    whole = run.batches.steps * config.training.epochs
    return Rehearsal(
        name=config.name,
        device=str(place),
        counts=tuple(run.counts.tolist()),
        parameters=sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        steps=whole,
        losses=tuple(losses),
        lambda_z=run.effective.lambda_z,
        lambda_b=run.effective.lambda_b,
        seconds_per_step=pace,
        seconds=pace * whole,
    )


def _take(run: _Training, number: int) -> tuple[list[float], list[float]]:
    """Losses and seconds of the first steps of an epoch."""
    losses, times = [], []
    epoch = 0
    run.model.train()
    batches = run.batches.epoch(epoch, run.world.device)
    for i in range(number):
        rows = next(batches, None)
        if rows is None:
            epoch += 1
            batches = run.batches.epoch(epoch, run.world.device)
            rows = next(batches)
        start = time.perf_counter()
        loss = run.stepper.step(rows, _PROBES[i % len(_PROBES)])
        losses.append(float(loss))  # waits for the device
        times.append(time.perf_counter() - start)
    return losses, times
